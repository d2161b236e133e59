//! One destination: what is waiting for it, what it lost, and when to try again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringmain_model::LogDestination;

use super::batch::Batch;
use super::datagram::{Progress, Udp, Unix, UnixName};
use super::descriptor::Descriptor;

/// How long lines wait for a target that takes none. Then they are dropped: old lines are worth less than the next ones.
const PATIENCE: Duration = Duration::from_secs(5);

/// One open (or lost) destination.
#[derive(Debug)]
pub struct Sink {
    outlet: Outlet,
    batch: Batch,
    dropped: Arc<AtomicU64>,
    /// Since when the target takes nothing.
    busy_since: Option<Instant>,
}

#[derive(Debug)]
enum Outlet {
    Udp(Udp),
    Unix(Unix),
    Descriptor(Descriptor),
    /// Could not be opened and never will be.
    Closed,
}

impl Sink {
    /// Opens a destination whose lost lines are counted in `dropped`. A failure is told in plain words; the sink then drops and counts its lines (unix sockets go on trying).
    pub fn open(destination: &LogDestination, dropped: Arc<AtomicU64>) -> (Self, Option<String>) {
        let opened = match destination {
            LogDestination::Udp(address) => Udp::open(*address).map(|udp| (Outlet::Udp(udp), None)),
            LogDestination::UnixDatagram(path) => Ok(unix(UnixName::Path(path.clone()))),
            LogDestination::AbstractDatagram(name) => Ok(unix(UnixName::Abstract(name.clone()))),
            LogDestination::Descriptor(number) => Descriptor::open(*number).map(|file| (Outlet::Descriptor(file), None)),
        };
        let (outlet, error) = opened.unwrap_or_else(|error| (Outlet::Closed, Some(error)));
        let failure = error.map(|error| format!("cannot open log target {}: {error}", name(destination)));
        (Self { outlet, batch: Batch::default(), dropped, busy_since: None }, failure)
    }

    /// Queues the line that `write` makes.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !self.batch.add(write) {
            self.count_dropped(1);
        }
    }

    /// Sends what waits. Tells whether something is still waiting.
    pub fn flush(&mut self, now: Instant) -> bool {
        if self.batch.is_empty() {
            return false;
        }
        let progress = match &mut self.outlet {
            Outlet::Udp(udp) => udp.send(&mut self.batch),
            Outlet::Unix(unix) => unix.send(&mut self.batch),
            Outlet::Descriptor(descriptor) => descriptor.send(&mut self.batch),
            Outlet::Closed => Progress::Gone,
        };
        let lost = self.batch.take_lost();
        self.count_dropped(lost as u64);
        let since = match progress {
            Progress::Done => None,
            Progress::Busy => Some(self.busy_since.unwrap_or(now)),
            Progress::Gone => {
                self.drop_waiting();
                None
            }
        };
        self.busy_since = since;
        if since.is_some_and(|since| now.duration_since(since) >= PATIENCE) {
            let lines = self.batch.drop_unstarted();
            self.count_dropped(lines as u64);
            self.busy_since = Some(now);
        }
        !self.batch.is_empty()
    }

    /// Closes what can be opened again by the next line.
    pub fn rest(&mut self) {
        if let Outlet::Unix(unix) = &mut self.outlet {
            unix.close();
        }
    }

    /// Throws away and counts what waits.
    pub fn drop_waiting(&mut self) {
        let lines = self.batch.drop_all();
        self.count_dropped(lines as u64);
    }

    fn count_dropped(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }
}

fn unix(name: UnixName) -> (Outlet, Option<std::io::Error>) {
    let (unix, error) = Unix::open(name);
    (Outlet::Unix(unix), error)
}

/// A destination as a configuration names it.
fn name(destination: &LogDestination) -> String {
    match destination {
        LogDestination::Udp(address) => address.to_string(),
        LogDestination::UnixDatagram(path) => path.display().to_string(),
        LogDestination::AbstractDatagram(name) => format!("abns@{name}"),
        LogDestination::Descriptor(number) => format!("fd@{number}"),
    }
}
