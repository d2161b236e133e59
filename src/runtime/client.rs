//! One connection to a runtime socket.
//!
//! Reads no further while an answer is being made or drained, so what a connection holds is bounded: a command of `LINE_LIMIT` bytes and an
//! answer of `OUTPUT_LIMIT` bytes and one step.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use nix::poll::PollFlags;
use ringmain_model::StatsLevel;
use socket2::Socket;

use super::line::{Input, LineReader};
use super::{ControlContext, Producer, Progress, Reply, Session, Surroundings, execute};

/// Bytes of answers that wait for their reader before no more are made.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// Times that one wake-up fills the output before other connections get their turn.
const ROUNDS: usize = 8;

/// Pieces of a long answer that are made before others get their turn: a search that finds little has little to send.
const PIECES: usize = 32;

/// After an overlong line, bytes that are read and dropped so that the error reaches the client.
const DISCARD_LIMIT: usize = 1024 * 1024;

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Keep,
    /// It has ended; drop it.
    Close,
}

/// What a connection is busy with.
enum Task {
    /// Waiting for a command.
    Idle,
    /// Making a long answer.
    Producing(Box<dyn Producer>),
    /// Waiting for a reload to end.
    AwaitingReload,
    /// Nothing more is read; ends when the output is drained.
    Closing,
    /// The output is drained and shut down; so many bytes are still dropped before the end.
    Discarding(usize),
}

/// One connection.
pub(super) struct Client {
    socket: Socket,
    session: Session,
    reader: LineReader,
    output: Vec<u8>,
    sent: usize,
    task: Task,
    /// The client has shut down its half.
    input_ended: bool,
    /// The last read took all there was.
    input_drained: bool,
    /// A whole line was answered; without a prompt the connection ends when no more has come.
    line_answered: bool,
    /// The output was full before all input was worked off.
    stalled: bool,
    /// The line was too long.
    overflowed: bool,
    last_activity_ms: u64,
}

impl Client {
    /// A new connection.
    pub(super) fn new(socket: Socket, level: StatsLevel, timeout_ms: u64, now_ms: u64) -> Self {
        let session = Session { level, interactive: false, expert: false, experimental: false, timeout_ms };
        Self {
            socket,
            session,
            reader: LineReader::default(),
            output: Vec::new(),
            sent: 0,
            task: Task::Idle,
            input_ended: false,
            input_drained: false,
            line_answered: false,
            stalled: false,
            overflowed: false,
            last_activity_ms: now_ms,
        }
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        let reads = matches!(self.task, Task::Idle) && self.reader.room() > 0 || matches!(self.task, Task::Discarding(_));
        if self.sent == self.output.len() && reads && !self.input_ended {
            flags |= PollFlags::POLLIN;
        }
        if self.sent < self.output.len() || self.has_more_to_do() {
            flags |= PollFlags::POLLOUT;
        }
        flags
    }

    /// Whether it wants another turn although nothing may come from outside: its turn ended before its work did.
    fn has_more_to_do(&self) -> bool {
        self.stalled || matches!(self.task, Task::Idle) && !self.input_drained
    }

    /// When it is closed for want of activity, monotonic ms.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let waits = matches!(self.task, Task::AwaitingReload);
        (!waits).then(|| self.last_activity_ms.saturating_add(self.session.timeout_ms))
    }

    /// Whether it waits for a reload.
    pub(super) fn awaits_reload(&self) -> bool {
        matches!(self.task, Task::AwaitingReload)
    }

    /// The descriptor is ready. Counts the commands that were run in `surroundings`.
    pub(super) fn ready(&mut self, events: PollFlags, surroundings: &mut Surroundings<'_>, context: &mut ControlContext<'_>) -> Fate {
        self.last_activity_ms = context.fleet.now_ms();
        if self.awaits_reload() && events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
            return Fate::Close;
        }
        for _ in 0..ROUNDS {
            if self.fill() == Fate::Close {
                return Fate::Close;
            }
            self.advance(surroundings, context);
            if self.flush() == Fate::Close {
                return Fate::Close;
            }
            if self.sent < self.output.len() {
                return Fate::Keep;
            }
            match self.task {
                Task::Closing if self.overflowed && !self.input_ended => self.start_discarding(),
                Task::Closing => return Fate::Close,
                _ if self.stalled => {}
                Task::Idle if self.input_drained && self.input_ended => return Fate::Close,
                Task::Idle if self.input_drained && self.done_without_prompt() => return Fate::Close,
                Task::Idle if !self.input_drained => {}
                _ => return Fate::Keep,
            }
        }
        Fate::Keep
    }

    /// The reload that it waits for has ended.
    pub(super) fn reload_finished(&mut self, text: &str, surroundings: &mut Surroundings<'_>, context: &mut ControlContext<'_>) -> Fate {
        self.output.extend_from_slice(text.as_bytes());
        self.task = Task::Idle;
        self.end_answer();
        self.input_drained = false;
        self.ready(PollFlags::POLLIN, surroundings, context)
    }

    fn done_without_prompt(&self) -> bool {
        self.line_answered && !self.session.interactive && self.reader.is_empty()
    }

    /// Reads what is there, as far as there is room for it.
    fn fill(&mut self) -> Fate {
        if let Task::Discarding(left) = self.task {
            return self.discard(left);
        }
        if !matches!(self.task, Task::Idle) {
            return Fate::Keep;
        }
        if self.input_ended {
            self.input_drained = true;
            return Fate::Keep;
        }
        let mut buffer = [0u8; 4096];
        self.input_drained = false;
        while self.reader.room() > 0 {
            let size = buffer.len().min(self.reader.room());
            match self.socket.read(buffer.get_mut(..size).unwrap_or_default()) {
                Ok(0) => {
                    self.input_ended = true;
                    self.input_drained = true;
                    break;
                }
                Ok(count) => self.reader.push(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.input_drained = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Fate::Close,
            }
        }
        Fate::Keep
    }

    fn discard(&mut self, mut left: usize) -> Fate {
        let mut buffer = [0u8; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Fate::Close,
                Ok(count) if count < left => left -= count,
                Ok(_) => return Fate::Close,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Fate::Close,
            }
        }
        self.task = Task::Discarding(left);
        Fate::Keep
    }

    fn start_discarding(&mut self) {
        // A failure means that the client is gone; the next read says so.
        let _ = self.socket.shutdown(Shutdown::Write);
        self.task = Task::Discarding(DISCARD_LIMIT);
    }

    /// Runs commands until there is none, one has to wait, or enough output is there.
    fn advance(&mut self, surroundings: &mut Surroundings<'_>, context: &mut ControlContext<'_>) {
        self.stalled = false;
        let mut pieces = 0;
        loop {
            if self.output.len() - self.sent >= OUTPUT_LIMIT || pieces >= PIECES {
                self.stalled = true;
                return;
            }
            match &mut self.task {
                Task::Producing(producer) => {
                    pieces += 1;
                    let mut piece = String::new();
                    let progress = producer.produce(context, &mut piece);
                    self.output.extend_from_slice(piece.as_bytes());
                    if progress == Progress::Done {
                        self.task = Task::Idle;
                        self.input_drained = false;
                        self.end_answer();
                    }
                }
                Task::Idle => match self.reader.next_input() {
                    Some(Input::Command { text, payload, ends_line }) => {
                        surroundings.totals.commands += 1;
                        self.line_answered = ends_line;
                        let reply = execute(&text, payload.as_deref(), &mut self.session, *surroundings, context);
                        self.take_reply(reply);
                    }
                    Some(Input::PayloadLine) if self.session.interactive => self.output.extend_from_slice(b"+ "),
                    Some(Input::PayloadLine) => {}
                    Some(Input::TooLong) => {
                        self.output.extend_from_slice(b"Command line too long.\n\n");
                        self.overflowed = true;
                        self.task = Task::Closing;
                    }
                    None => return,
                },
                Task::AwaitingReload | Task::Closing | Task::Discarding(_) => return,
            }
        }
    }

    fn take_reply(&mut self, reply: Reply) {
        match reply {
            Reply::Done => {}
            Reply::Text(text) => self.output.extend_from_slice(text.as_bytes()),
            Reply::Message(text) => {
                self.output.extend_from_slice(text.as_bytes());
                self.output.push(b'\n');
            }
            Reply::Stream(producer) => {
                self.task = Task::Producing(producer);
                return;
            }
            Reply::AfterReload => {
                self.task = Task::AwaitingReload;
                return;
            }
            Reply::Close => {
                self.task = Task::Closing;
                return;
            }
        }
        self.end_answer();
    }

    fn end_answer(&mut self) {
        self.output.extend_from_slice(if self.session.interactive { b"\n> " } else { b"\n" });
    }

    /// Writes what the socket takes.
    fn flush(&mut self) -> Fate {
        while self.sent < self.output.len() {
            match self.socket.write(self.output.get(self.sent..).unwrap_or_default()) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Fate::Keep,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Fate::Close,
            }
        }
        self.output.clear();
        self.sent = 0;
        if self.output.capacity() > OUTPUT_LIMIT {
            self.output.shrink_to(OUTPUT_LIMIT);
        }
        Fate::Keep
    }
}
