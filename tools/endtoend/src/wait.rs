//! Waiting for conditions instead of sleeping.

use std::time::{Duration, Instant};

/// Longest wait for anything that should happen soon; generous because test machines are busy.
pub const SOON: Duration = Duration::from_secs(20);

/// Calls `probe` until it gives a value; panics with `what` when it does not within `limit`.
pub fn for_value<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Calls `probe` until it is true or `limit` is over; whether it was.
pub fn reached(limit: Duration, mut probe: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !probe() {
        if start.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Waits until `probe` is true.
pub fn until(what: &str, mut probe: impl FnMut() -> bool) {
    for_value(what, SOON, || probe().then_some(()));
}
