//! Mean times of about the last 1024 sessions, as HAProxy's columns `qtime`, `ctime` and `ttime` want them.
//!
//! Shards only add up times and sessions; a mean over the last sessions needs the sums at an earlier moment. `Averages` keeps, per server
//! and backend, a sliding mean that is brought up to date whenever statistics are read: the sessions that ended since the last look count
//! with their own mean, and each pushes what was there before back by one part in 1024, as HAProxy's sliding sum does session by session.
//! The less often it is read the coarser it gets; read for the first time, it is the plain mean since the start.

use std::collections::HashMap;
use std::sync::Arc;

use ringmain_engine::live::{BackendLive, Generation, ServerLive};

/// Sessions over which the mean slides.
const WINDOW: f64 = 1024.0;

/// Mean times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanTimes {
    /// In the queue.
    pub queue_ms: f64,
    /// To connect.
    pub connect_ms: f64,
    /// From accept to end.
    pub total_ms: f64,
}

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    ended: u64,
    queue_ms: u64,
    connect_ms: u64,
    total_ms: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sliding {
    seen: Sums,
    mean: MeanTimes,
}

impl Sliding {
    fn observe(&mut self, sums: Sums) {
        if sums.ended < self.seen.ended {
            // Counters were cleared.
            *self = Self::default();
        }
        let fresh = sums.ended - self.seen.ended;
        if fresh == 0 {
            return;
        }
        let kept = if self.seen.ended == 0 { 0.0 } else { kept_part(self.seen.ended, fresh) };
        let slide = |mean: f64, now: u64, before: u64| {
            let fresh_mean = now.saturating_sub(before) as f64 / fresh as f64;
            fresh_mean + (mean - fresh_mean) * kept
        };
        self.mean = MeanTimes {
            queue_ms: slide(self.mean.queue_ms, sums.queue_ms, self.seen.queue_ms),
            connect_ms: slide(self.mean.connect_ms, sums.connect_ms, self.seen.connect_ms),
            total_ms: slide(self.mean.total_ms, sums.total_ms, self.seen.total_ms),
        };
        self.seen = sums;
    }
}

/// How much of a mean over `before` sessions is left after `fresh` more: their share while all fit into the window, then 1023/1024 for each.
fn kept_part(before: u64, fresh: u64) -> f64 {
    let (before, fresh) = (before as f64, fresh as f64);
    if before + fresh <= WINDOW {
        return before / (before + fresh);
    }
    ((WINDOW - 1.0) / WINDOW).powf(fresh)
}

/// The sliding means of all servers and backends of the current generation.
#[derive(Debug, Default)]
pub struct Averages {
    servers: HashMap<usize, (Arc<ServerLive>, Sliding)>,
    backends: HashMap<usize, (Arc<BackendLive>, Sliding)>,
}

impl Averages {
    /// Brings all means up to date; servers and backends that are gone are forgotten.
    pub fn refresh(&mut self, generation: &Generation) {
        let servers = std::mem::take(&mut self.servers);
        self.servers = generation.servers.iter().map(|live| renew(&servers, live, server_sums(live))).collect();
        let backends = std::mem::take(&mut self.backends);
        self.backends = generation.backends.iter().map(|live| renew(&backends, live, backend_sums(live))).collect();
    }

    /// The means of a server; zeros when it has had no session.
    pub fn server(&self, live: &Arc<ServerLive>) -> MeanTimes {
        self.servers.get(&identity(live)).map_or_else(MeanTimes::default, |(_, sliding)| sliding.mean)
    }

    /// The means of a backend.
    pub fn backend(&self, live: &Arc<BackendLive>) -> MeanTimes {
        self.backends.get(&identity(live)).map_or_else(MeanTimes::default, |(_, sliding)| sliding.mean)
    }
}

/// The address of a live object, which no other has while the map holds on to it.
fn identity<T>(live: &Arc<T>) -> usize {
    Arc::as_ptr(live) as usize
}

fn renew<T>(before: &HashMap<usize, (Arc<T>, Sliding)>, live: &Arc<T>, sums: Sums) -> (usize, (Arc<T>, Sliding)) {
    let mut sliding = before.get(&identity(live)).map_or_else(Sliding::default, |(_, sliding)| *sliding);
    sliding.observe(sums);
    (identity(live), (live.clone(), sliding))
}

fn server_sums(live: &ServerLive) -> Sums {
    let mut sums = Sums::default();
    for counters in &live.counters {
        sums.ended += counters.sessions.get();
        sums.queue_ms += counters.queue_time_ms.get();
        sums.connect_ms += counters.connect_time_ms.get();
        sums.total_ms += counters.total_time_ms.get();
    }
    let open = live.active.load(std::sync::atomic::Ordering::Relaxed);
    sums.ended = sums.ended.saturating_sub(u64::from(open));
    sums
}

fn backend_sums(live: &BackendLive) -> Sums {
    let mut sums = Sums::default();
    for counters in &live.counters {
        sums.ended += counters.sessions.get();
        sums.queue_ms += counters.queue_time_ms.get();
        sums.connect_ms += counters.connect_time_ms.get();
        sums.total_ms += counters.total_time_ms.get();
    }
    sums.ended = sums.ended.saturating_sub(u64::from(live.sessions.inside()));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(ended: u64, total_ms: u64) -> Sums {
        Sums { ended, total_ms, ..Sums::default() }
    }

    #[test]
    fn a_first_look_is_the_plain_mean() {
        let mut sliding = Sliding::default();
        sliding.observe(total(4, 40));
        assert_eq!(sliding.mean.total_ms, 10.0);
        sliding.observe(total(4, 40));
        assert_eq!(sliding.mean.total_ms, 10.0, "nothing new, nothing changes");
        sliding.observe(total(8, 120));
        assert!((sliding.mean.total_ms - 15.0).abs() < 1e-9, "few sessions: the mean of all");
    }

    #[test]
    fn old_sessions_fade_out() {
        let mut sliding = Sliding::default();
        sliding.observe(total(1_000_000, 1_000_000_000));
        sliding.observe(total(1_001_024, 1_000_000_000 + 1024 * 2000));
        let expected = 2000.0 - 1000.0 / std::f64::consts::E;
        assert!((sliding.mean.total_ms - expected).abs() < 1.0, "{}", sliding.mean.total_ms);
        sliding.observe(total(1_021_024, 1_000_000_000 + 21_024 * 2000));
        assert!((sliding.mean.total_ms - 2000.0).abs() < 0.01);
    }

    #[test]
    fn cleared_counters_start_over() {
        let mut sliding = Sliding::default();
        sliding.observe(total(100, 1000));
        sliding.observe(total(2, 14));
        assert_eq!(sliding.mean.total_ms, 7.0);
    }
}
