//! The writer's loop: drain the rings, write envelopes, send batches, sleep until there is more.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use ringmain_model::LogDestination;
use ringmain_policy::log::{Entry, LocalTime, LogReader, Wake};
use ringmain_wire::syslog::Date;

use super::envelope::{self, Outgoing};
use super::sink::Sink;

/// Lines taken from one ring before the next ring has its turn and batches are sent.
const LINES_PER_TURN: usize = 256;

/// How long the writer waits after a turn with work before it looks again. While it does, shards need no system call to reach it; a line
/// is at most this late.
const LINGER: Duration = Duration::from_millis(5);

/// Longest pause between attempts at a target that takes nothing.
const RETRY_LIMIT: Duration = Duration::from_secs(1);

/// What the control thread tells the writer.
#[derive(Debug)]
pub enum Command {
    /// New targets, and all that the present configuration names.
    Targets {
        /// Opened by the sender.
        opened: Vec<(LogDestination, Sink)>,
        /// Others may rest.
        wanted: Vec<LogDestination>,
    },
    /// A refreshed table of local time.
    LocalTime(Arc<LocalTime>),
}

/// The state of the writer's thread.
pub struct Writer {
    readers: Vec<LogReader>,
    inbox: Receiver<Command>,
    stopping: Arc<AtomicBool>,
    wake: Arc<Wake>,
    local_time: Arc<LocalTime>,
    process_id: u32,
    sinks: HashMap<LogDestination, Sink>,
    unaddressed: Arc<AtomicU64>,
    text: Vec<u8>,
    structured_data: Vec<u8>,
}

impl Writer {
    /// A writer that has not started.
    pub fn new(
        readers: Vec<LogReader>,
        inbox: Receiver<Command>,
        stopping: Arc<AtomicBool>,
        wake: Arc<Wake>,
        local_time: Arc<LocalTime>,
    ) -> Self {
        let process_id = std::process::id();
        let (sinks, unaddressed, text, structured_data) = Default::default();
        Self { readers, inbox, stopping, wake, local_time, process_id, sinks, unaddressed, text, structured_data }
    }

    /// Counts lines whose target nobody opened.
    pub fn unaddressed_counter(&self) -> Arc<AtomicU64> {
        self.unaddressed.clone()
    }

    /// Runs until told to stop and everything is sent or given up.
    pub fn run(mut self) {
        let mut retry_pause = LINGER;
        loop {
            self.obey();
            let stopping = self.stopping.load(Ordering::Acquire);
            let lines = self.drain();
            let waiting = self.flush();
            if lines > 0 {
                retry_pause = LINGER;
                if !self.has_lines() {
                    std::thread::park_timeout(LINGER);
                }
                continue;
            }
            if stopping && !waiting {
                return;
            }
            retry_pause = if waiting { (retry_pause * 2).min(RETRY_LIMIT) } else { LINGER };
            self.sleep(waiting.then_some(if stopping { LINGER } else { retry_pause }));
        }
    }

    fn obey(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            match command {
                Command::LocalTime(local_time) => self.local_time = local_time,
                Command::Targets { opened, wanted } => {
                    for (destination, sink) in opened {
                        if let Some(mut replaced) = self.sinks.insert(destination, sink) {
                            replaced.drop_waiting();
                        }
                    }
                    self.sinks.iter_mut().filter(|(destination, _)| !wanted.contains(destination)).for_each(|(_, sink)| sink.rest());
                }
            }
        }
    }

    /// Moves lines from the rings to their sinks, and gives their number.
    fn drain(&mut self) -> usize {
        let mut lines = 0;
        for index in 0..self.readers.len() {
            for _ in 0..LINES_PER_TURN {
                self.text.clear();
                self.structured_data.clear();
                let Some(entry) = self.readers[index].pop(&mut self.text, &mut self.structured_data) else { break };
                self.spread(&entry);
                lines += 1;
            }
        }
        lines
    }

    /// Whether a ring holds lines.
    fn has_lines(&self) -> bool {
        self.readers.iter().any(|reader| !reader.is_empty())
    }

    /// Gives one line to the sinks of its channel.
    fn spread(&mut self, entry: &Entry) {
        let offset_s = self.local_time.offset_at((entry.written_us / 1_000_000) as i64);
        let line = Outgoing {
            level: entry.level,
            date: Date::new(entry.written_us, offset_s),
            hostname: entry.channel.hostname(),
            tag: entry.channel.tag(),
            process_id: self.process_id,
            text: &self.text,
            structured_data: &self.structured_data,
        };
        for target in entry.channel.targets() {
            let wanted = envelope::takes(&target.target, line.level) && target.sampler.as_ref().is_none_or(|sampler| sampler.take());
            if !wanted {
                continue;
            }
            match self.sinks.get_mut(&target.target.destination) {
                Some(sink) => sink.add(|out| envelope::write(&line, &target.target, out)),
                // Channels are opened before their first line; a line of another one must not vanish unseen.
                None => {
                    self.unaddressed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Sends all batches, and tells whether some wait for a slow target.
    fn flush(&mut self) -> bool {
        let now = Instant::now();
        let mut waiting = false;
        for sink in self.sinks.values_mut() {
            waiting |= sink.flush(now);
        }
        waiting
    }

    /// Sleeps until a producer or the control thread wakes it, or for this long. The last look at rings and inbox is after the announcement,
    /// so that nothing pushed before it is overslept.
    fn sleep(&mut self, at_most: Option<Duration>) {
        self.wake.announce_sleep();
        let work = !self.inbox.is_empty() || self.has_lines();
        if !work && (at_most.is_some() || !self.stopping.load(Ordering::Acquire)) {
            match at_most {
                Some(pause) => std::thread::park_timeout(pause),
                None => std::thread::park(),
            }
        }
        self.wake.announce_awake();
    }
}
