//! The shard's clock: read once per driver turn, so that everything done in a turn has one time.
//!
//! Outside a ring the same functions read the system's clock directly.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

thread_local! {
    // Zero means that this thread has no ring: read the clock each time.
    static NOW_US: Cell<u64> = const { Cell::new(0) };
    static WALL: Cell<Option<SystemTime>> = const { Cell::new(None) };
}

fn read_us() -> u64 {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(time) => (time.tv_sec() as u64) * 1_000_000 + (time.tv_nsec() as u64) / 1_000,
        // CLOCK_MONOTONIC cannot fail on Linux; a stopped clock is still better than a panic.
        Err(_) => NOW_US.get(),
    }
}

/// Reads the clock; called by the driver once per turn, right after it slept.
pub(super) fn refresh() -> u64 {
    let now = read_us().max(1);
    NOW_US.set(now);
    WALL.set(None);
    now
}

/// The thread has no ring any more.
pub(super) fn forget() {
    NOW_US.set(0);
    WALL.set(None);
}

/// Monotonic time in microseconds, as of the start of this driver turn.
pub fn now_us() -> u64 {
    match NOW_US.get() {
        0 => read_us(),
        now => now,
    }
}

/// Monotonic time in milliseconds, as of the start of this driver turn. The clock of [`super::Timer`].
pub fn now_ms() -> u64 {
    now_us() / 1_000
}

/// Time of day, read at most once per driver turn.
pub fn wall() -> SystemTime {
    if NOW_US.get() == 0 {
        return SystemTime::now();
    }
    if let Some(time) = WALL.get() {
        return time;
    }
    let time = SystemTime::now();
    WALL.set(Some(time));
    time
}

/// Time of day as the duration since 1970-01-01 UTC (zero when the clock stands before that).
pub fn wall_since_epoch() -> Duration {
    wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
