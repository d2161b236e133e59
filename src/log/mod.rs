//! Where log lines go: one writer thread that reads the shards' rings, puts lines into their envelopes and sends them in batches.
//!
//! The control thread starts it after daemonising (threads do not survive a fork) and before it gives up root and enters a chroot: `open`
//! opens what cannot be opened later. A slow or dead target costs its own lines, which are counted, and never a session.

mod batch;
mod datagram;
mod descriptor;
mod envelope;
mod reporter;
mod send_many;
mod sink;
mod writer;
mod zone;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use ringmain_model::LogDestination;
use ringmain_policy::log::{LocalTime, LogChannel, LogHandle, Wake, ring};

use sink::Sink;
use writer::{Command, Writer};

pub use reporter::Reporter;
pub use zone::local_time;

/// Commands that may wait for the writer, which never blocks for long.
const COMMANDS: usize = 64;

/// How often `stop` looks whether the writer has finished.
const STOP_POLL: Duration = Duration::from_millis(1);

/// What the control thread knows of a destination.
#[derive(Debug, Default)]
struct Target {
    /// Lines that it lost.
    dropped: Arc<AtomicU64>,
    /// It is the writer's to send to; else the next `open` tries again.
    open: bool,
}

/// The log writer as the control thread holds it.
#[derive(Debug)]
pub struct Logs {
    wake: Arc<Wake>,
    commands: Sender<Command>,
    stopping: Arc<AtomicBool>,
    /// Lines lost on the way to the targets: in each full ring, and for want of an opened target.
    ring_drops: Vec<Arc<AtomicU64>>,
    /// Every destination ever named.
    targets: Mutex<HashMap<LogDestination, Target>>,
    thread: JoinHandle<()>,
}

impl Logs {
    /// Starts the writer with one ring for each of `producers`: the shards and the control thread.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(producers: usize, local_time: Arc<LocalTime>) -> io::Result<(Self, Vec<LogHandle>)> {
        let wake = Arc::new(Wake::default());
        let (handles, readers): (Vec<_>, Vec<_>) = (0..producers).map(|_| ring(wake.clone())).unzip();
        let mut ring_drops: Vec<_> = readers.iter().map(|reader| reader.dropped_counter()).collect();
        let stopping = Arc::new(AtomicBool::new(false));
        let (commands, inbox) = crossbeam_channel::bounded(COMMANDS);
        let writer = Writer::new(readers, inbox, stopping.clone(), wake.clone(), local_time);
        ring_drops.push(writer.unaddressed_counter());
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || writer.run())?;
        wake.set_writer(thread.thread().clone());
        let logs = Self { wake, commands, stopping, ring_drops, targets: Mutex::default(), thread };
        Ok((logs, handles))
    }

    /// Opens the targets of these channels that are not open yet, on the calling thread with its rights and its root directory, and closes
    /// sockets that no channel names any more. Called at start and after each reload. The result says what could not be opened, in plain
    /// words; lines for those targets are dropped and counted, and unix sockets are tried again with each batch of lines.
    pub fn open(&self, channels: &[Arc<LogChannel>]) -> Vec<String> {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = Vec::new();
        let mut opened = Vec::new();
        let mut failures = Vec::new();
        for target in channels.iter().flat_map(|channel| channel.targets()) {
            let destination = &target.target.destination;
            if wanted.contains(destination) {
                continue;
            }
            wanted.push(destination.clone());
            let known = targets.entry(destination.clone()).or_default();
            if !known.open {
                let (sink, failure) = Sink::open(destination, known.dropped.clone());
                known.open = failure.is_none();
                failures.extend(failure);
                opened.push((destination.clone(), sink));
            }
        }
        self.command(Command::Targets { opened, wanted });
        failures
    }

    /// Gives the writer a refreshed table of local time.
    pub fn set_local_time(&self, local_time: Arc<LocalTime>) {
        self.command(Command::LocalTime(local_time));
    }

    /// Lines lost since start, in full rings and at targets (`DroppedLogs` of `show info`).
    pub fn dropped(&self) -> u64 {
        let rings: u64 = self.ring_drops.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        rings + targets.values().map(|target| target.dropped.load(Ordering::Relaxed)).sum::<u64>()
    }

    /// Lines lost at each target since start.
    pub fn dropped_by_target(&self) -> Vec<(LogDestination, u64)> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        targets.iter().map(|(destination, target)| (destination.clone(), target.dropped.load(Ordering::Relaxed))).collect()
    }

    /// Lets the writer send what is in the rings and ends it. Gives up on slow targets after `patience`, and tells whether it ended in time.
    pub fn stop(self, patience: Duration) -> bool {
        self.stopping.store(true, Ordering::Release);
        self.wake_now();
        let deadline = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(STOP_POLL);
        }
        self.thread.is_finished() && self.thread.join().is_ok()
    }

    fn command(&self, command: Command) {
        // The writer lives as long as this handle, so the channel is open.
        let _ = self.commands.send(command);
        self.wake_now();
    }

    fn wake_now(&self) {
        self.wake.announce_awake();
        self.thread.thread().unpark();
    }
}

#[cfg(test)]
mod tests;
