//! The two ways to an end: soft, when the last session has gone, and now.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ringmain_engine::mailbox::Mail;
use ringmain_model::Level;

use super::core::Core;
use super::state::Phase;
use super::timers::Timer;

/// How long shards may take to end everything.
const SHARDS_PATIENCE: Duration = Duration::from_secs(3);
/// How long the log writer may take to send what it has.
const LOGS_PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks at threads that are ending.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// What is known about a stop.
#[derive(Debug)]
pub struct Stopping {
    /// The signal that ended the process at once.
    pub signal: Option<Signal>,
    /// The process could not go on.
    pub failed: bool,
    closed: bool,
    drained: Vec<bool>,
}

impl Stopping {
    /// No stop is under way.
    pub fn new(shards: usize) -> Self {
        Self { signal: None, failed: false, closed: false, drained: vec![false; shards] }
    }
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All sessions finished.
    Softly,
    /// By this signal.
    BySignal(Signal),
    /// It could not go on.
    Failed,
}

impl Core {
    /// SIGUSR1: finish the sessions, then exit.
    pub(super) fn stop_softly(&mut self) {
        if self.state.phase != Phase::Running {
            return;
        }
        self.state.phase = Phase::Stopping;
        self.notifier.stopping("finishing the last sessions");
        let global = &self.fleet.model().global;
        match global.grace.filter(|grace| grace.get() > 0) {
            Some(grace) => self.timers.add(self.fleet.now_ms() + grace.get(), Timer::GraceEnds),
            None => self.close_listeners(),
        }
    }

    /// Listeners close for good; with the last session the process ends.
    pub(super) fn close_listeners(&mut self) {
        if std::mem::replace(&mut self.stopping.closed, true) {
            return;
        }
        self.runtime.stop_listening();
        self.fleet.stop_all();
        self.carry_out_effects();
        self.outbox.broadcast(|| Mail::SoftStop);
        if let Some(limit) = self.fleet.model().global.hard_stop_after {
            self.timers.add(self.fleet.now_ms() + limit.get(), Timer::HardStop);
        }
    }

    pub(super) fn on_hard_stop_timer(&mut self) {
        if self.state.phase == Phase::Stopping {
            self.announce(Level::Warning, "soft-stop running for too long, performing a hard-stop.");
            self.state.phase = Phase::Ending;
        }
    }

    pub(super) fn on_drained(&mut self, shard: usize) {
        if let Some(drained) = self.stopping.drained.get_mut(shard) {
            *drained = true;
        }
        if self.state.phase == Phase::Stopping && self.stopping.drained.iter().all(|drained| *drained) {
            self.state.phase = Phase::Ending;
        }
    }

    /// SIGTERM and SIGINT: end everything.
    pub(super) fn stop_now(&mut self, signal: Option<Signal>) {
        self.stopping.signal = signal.or(self.stopping.signal);
        self.state.phase = Phase::Ending;
        self.notifier.stopping("ending");
    }

    /// Saves the tables, then ends the shards and the log writer, each within its time.
    pub(super) fn finish(mut self) -> Ended {
        self.save_last();
        self.outbox.broadcast(|| Mail::HardStop);
        let deadline = Instant::now() + SHARDS_PATIENCE;
        while !self.threads.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
            self.outbox.retry();
            self.outbox.ring();
            // A thread whose reports nobody takes would never end.
            while self.reports.try_recv().is_ok() {}
            std::thread::sleep(LOOK_PAUSE);
        }
        self.logs.stop(LOGS_PATIENCE);
        match self.stopping {
            Stopping { failed: true, .. } => Ended::Failed,
            Stopping { signal: Some(signal), .. } => Ended::BySignal(signal),
            _ => Ended::Softly,
        }
    }
}
