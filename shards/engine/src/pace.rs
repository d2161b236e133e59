//! Storm control: a server that is to get at most so many new connections per second gets them at even distances, so that clients who all
//! come back at once do not take it down again.
//!
//! `assign` calls [`wait`] between the choice of a server and the connection to it. The moments are given out by one atomic per server, so
//! that all shards together keep the rate.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ringmain_policy::record::{Cause, Phase, Termination};

use crate::live::SnapshotServer;
use crate::ring;
use crate::session::Session;
use crate::watch::interruption;

/// A server's next free moment, and who waits for theirs.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the next connection may begin, monotonic microseconds.
    next_us: AtomicU64,
    /// Sessions waiting for their moment.
    waiting: AtomicU32,
}

/// No moment in time: the session goes elsewhere or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// `maxqueue` sessions wait already, or it would be later than `timeout queue`.
    TooMany,
    /// The session has ended.
    Ended(Termination),
}

impl Pace {
    /// Sessions waiting for their moment.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Reserves the next moment at `rate` connections per second. `None` when it is later than `latest_us`.
    fn reserve(&self, now_us: u64, rate: u32, latest_us: Option<u64>) -> Option<u64> {
        let interval_us = 1_000_000 / u64::from(rate.max(1));
        let mut moment_us = now_us;
        let reserved = self.next_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next_us| {
            moment_us = next_us.max(now_us);
            latest_us.is_none_or(|latest_us| moment_us <= latest_us).then_some(moment_us.saturating_add(interval_us))
        });
        reserved.ok().map(|_| moment_us)
    }
}

/// Waits for the session's moment to connect to this server. `latest_ms` is when `timeout queue` will have run out.
///
/// # Errors
/// When there is none in time.
pub(crate) async fn wait(
    session: &Session,
    server: &SnapshotServer,
    rate: u32,
    latest_ms: Option<u64>,
    abort_on_close: bool,
) -> Result<(), Refused> {
    let pace = &server.live.pace;
    let counters = &server.live.counters[session.shard.index];
    let now_us = ring::now_us();
    let before = pace.waiting();
    let full = server.maxqueue > 0 && before >= server.maxqueue;
    let moment_us = (!full).then(|| pace.reserve(now_us, rate, latest_ms.map(|latest_ms| latest_ms.saturating_mul(1000)))).flatten();
    let Some(moment_us) = moment_us else {
        counters.rate_refused.add(1);
        return Err(Refused::TooMany);
    };
    if moment_us <= now_us {
        return Ok(());
    }
    counters.rate_delayed.add(1);
    session.assigned.queued.set(true);
    session.assigned.server_queue.set(before + 1);
    let _place = Place::take(pace);
    let interrupted = interruption(session, Some(moment_us.div_ceil(1000)), abort_on_close).await;
    match interrupted.termination(Phase::Queue) {
        None => Ok(()),
        Some(termination) => Err(Refused::Ended(termination)),
    }
}

/// How a session ends that gets no moment anywhere: as one that waited in vain.
pub(crate) const NO_MOMENT: Termination = Termination { cause: Cause::ServerTimeout, phase: Phase::Queue };

/// Counts a waiting session, however its wait ends.
struct Place<'a>(&'a Pace);

impl<'a> Place<'a> {
    fn take(pace: &'a Pace) -> Self {
        pace.waiting.fetch_add(1, Ordering::Relaxed);
        Self(pace)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_even_and_never_before_now() {
        let pace = Pace::default();
        let moments: Vec<_> = (0..4).map(|_| pace.reserve(1_000, 100, None)).collect();
        assert_eq!(moments, [Some(1_000), Some(11_000), Some(21_000), Some(31_000)]);
        assert_eq!(pace.reserve(500_000, 100, None), Some(500_000), "a pause is not saved up");
        assert_eq!(pace.reserve(500_000, 100, None), Some(510_000));
    }

    #[test]
    fn a_moment_that_is_too_late_is_not_taken() {
        let pace = Pace::default();
        assert_eq!(pace.reserve(0, 10, Some(150_000)), Some(0));
        assert_eq!(pace.reserve(0, 10, Some(150_000)), Some(100_000));
        assert_eq!(pace.reserve(0, 10, Some(150_000)), None);
        assert_eq!(pace.reserve(0, 10, None), Some(200_000), "the refusal took nothing");
    }

    #[test]
    fn many_threads_together_keep_the_rate() {
        let pace = Pace::default();
        let mut moments: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..250).filter_map(|_| pace.reserve(0, 1000, None)).collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        moments.sort_unstable();
        assert_eq!(moments, (0..1000).map(|turn| turn * 1000).collect::<Vec<u64>>());
    }
}
