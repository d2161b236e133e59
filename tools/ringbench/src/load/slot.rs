//! One client connection of an exchange worker: its transport and the operations it carries.

use super::errors::ErrorKind;
use super::talk::{Event, Talk};
use crate::poller::Interest;
use crate::protocol::ServerName;
use crate::transport::Transport;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No socket.
    Down,
    /// The connect has not ended.
    Connecting,
    /// Connected; the TLS handshake is under way.
    Securing,
    /// Connected and secured; the protocol's own opening is under way.
    Opening,
    /// Established, nothing asked.
    Ready,
    /// At least one operation is under way.
    Busy,
    /// All done but for the server's TLS tickets, which are needed for the next connection.
    Lingering,
}

/// What an attempt to read came to, besides the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The kernel has no more for now.
    Blocked,
    /// The session is open.
    Opened,
    /// The connection failed.
    Failed(ErrorKind),
}

/// An answer: the server that gave it, or what was wrong with it.
pub(super) type Verdict = Result<Option<ServerName>, ErrorKind>;

/// One operation under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    /// Start that its latency counts from.
    pub(super) intended_ns: u64,
    /// When its answer is given up.
    pub(super) deadline_ns: u64,
}

pub(super) struct Slot {
    pub(super) transport: Option<Transport>,
    pub(super) phase: Phase,
    /// Grows with every socket of this slot, so that a late event for the last one is recognised.
    pub(super) birth: u32,
    /// Operations under way, oldest first; more than one only with pipelining.
    pub(super) operations: VecDeque<Operation>,
    /// Start of the connect under way.
    pub(super) connect_ns: u64,
    /// When the connect or the opening is given up.
    pub(super) deadline_ns: u64,
    /// No new connect before this time.
    pub(super) rest_until_ns: u64,
    /// True once a measured answer came on this connection.
    pub(super) answered: bool,
    /// True once this slot has tried to connect.
    pub(super) tried: bool,
    pub(super) talk: Talk,
    pub(super) interest: Interest,
    output: Vec<u8>,
    written: usize,
}

impl Slot {
    pub(super) fn new(talk: Talk) -> Self {
        Self {
            transport: None,
            phase: Phase::Down,
            birth: 0,
            operations: VecDeque::new(),
            connect_ns: 0,
            deadline_ns: u64::MAX,
            rest_until_ns: 0,
            answered: false,
            tried: false,
            talk,
            interest: Interest::WRITE,
            output: Vec::new(),
            written: 0,
        }
    }

    /// Puts the next request into the buffer.
    pub(super) fn prepare(&mut self) {
        self.talk.begin(&mut self.output);
    }

    /// Puts the protocol's opening into the buffer; true when it has to be answered.
    pub(super) fn introduce(&mut self) -> bool {
        self.output.clear();
        self.written = 0;
        self.talk.open(&mut self.output)
    }

    /// Says goodbye where the protocol has a word for it, as far as there is room: nobody waits for it.
    pub(super) fn say_goodbye(&mut self) {
        if matches!(self.phase, Phase::Ready | Phase::Opening) {
            self.talk.farewell(&mut self.output);
            let _ = self.write();
        }
        if let Some(transport @ Transport::Tls(_)) = self.transport.as_mut().filter(|_| self.phase != Phase::Securing) {
            transport.end_writing();
        }
    }

    pub(super) fn has_output(&self) -> bool {
        self.written < self.output.len() || self.transport.as_ref().is_some_and(Transport::wants_write)
    }

    /// When the slot's connect, opening or oldest operation is given up.
    pub(super) fn earliest_deadline_ns(&self) -> u64 {
        self.operations.front().filter(|_| self.phase == Phase::Busy).map_or(self.deadline_ns, |operation| operation.deadline_ns)
    }

    /// Writes what there is room for and returns the bytes written.
    pub(super) fn write(&mut self) -> Result<u64, ErrorKind> {
        let Some(transport) = self.transport.as_mut() else { return Ok(0) };
        let before = self.written;
        while self.written < self.output.len() {
            match transport.write(self.output.get(self.written..).unwrap_or_default()) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ErrorKind::of(&error)),
            }
        }
        let count = self.written - before;
        if self.written == self.output.len() {
            self.output.clear();
            self.written = 0;
            transport.flush().map_err(|error| ErrorKind::of(&error))?;
        }
        Ok(count as u64)
    }

    /// Reads until something is answered or the kernel has no more; adds the bytes read to `received` and appends the answers.
    pub(super) fn read(&mut self, scratch: &mut [u8], received: &mut u64, answers: &mut Vec<Verdict>) -> Step {
        loop {
            let Some(transport) = self.transport.as_mut() else { return Step::Blocked };
            let count = match transport.read(scratch) {
                Ok(0) => return self.end(answers),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Some servers close without a TLS goodbye; an answer that ends with the connection is still one.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return self.end(answers),
                Err(error) => return Step::Failed(ErrorKind::of(&error)),
            };
            *received += count as u64;
            let mut rest = scratch.get(..count).unwrap_or_default();
            let (before, mut opened) = (answers.len(), false);
            while !rest.is_empty() {
                let asked = self.phase == Phase::Opening || self.operations.len() > answers.len();
                match self.talk.feed(rest, asked, &mut self.output) {
                    Ok((used, event)) => {
                        rest = rest.get(used..).unwrap_or_default();
                        match event {
                            Event::Partial => {}
                            Event::Opened => opened = true,
                            Event::Answered(verdict) => answers.push(verdict),
                        }
                    }
                    Err(kind) => return Step::Failed(kind),
                }
            }
            if opened {
                return Step::Opened;
            }
            let more = count == scratch.len() || self.transport.as_ref().is_some_and(Transport::end_is_next);
            if answers.len() > before || !more {
                return Step::Blocked;
            }
        }
    }

    fn end(&mut self, answers: &mut Vec<Verdict>) -> Step {
        let asked = self.operations.len() > answers.len();
        if let Ok(Event::Answered(verdict)) = self.talk.end(asked) {
            answers.push(verdict);
            return Step::Blocked;
        }
        Step::Failed(ErrorKind::Closed)
    }
}

/// Starts a non-blocking connect.
pub(super) fn start_connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// How a connect ended, once its socket is writable; none when it has not.
pub(super) fn connect_result(stream: &TcpStream) -> Option<Result<(), ErrorKind>> {
    match stream.take_error() {
        Ok(Some(error)) | Err(error) => Some(Err(match ErrorKind::of(&error) {
            ErrorKind::Timeout => ErrorKind::ConnectTimeout,
            kind => kind,
        })),
        Ok(None) => stream.peer_addr().is_ok().then_some(Ok(())),
    }
}
