//! Process-wide live state: the global gate, the load of each shard, totals.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use ringmain_policy::rate::SharedRate;

use super::{Counter, Gate};
use crate::ring;

/// Process-wide live state, one for the life of the process.
#[derive(Debug)]
pub struct ProcessLive {
    /// Global `maxconn`.
    pub sessions: Gate,
    /// Sessions that live on each shard; the accept hand-over compares them. Written by their shard.
    pub loads: Box<[CachePadded<AtomicU32>]>,
    /// Connections on their way to each shard from another, not yet in its load.
    pub handed: Box<[CachePadded<AtomicU32>]>,
    /// Set for a shard whose accept loop waits for a gate to open.
    pub parked: Box<[CachePadded<AtomicBool>]>,
    /// New sessions per second over all frontends.
    pub session_rate: SharedRate,
    /// Next unique request counter (`%rt`).
    pub next_session: AtomicU64,
    /// Order of arrival in queues.
    pub next_waiter: AtomicU64,
    /// What each shard's ring held when it last flushed its counters.
    pub rings: Box<[Mutex<ring::Counters>]>,
    /// Counters, by shard.
    pub counters: Box<[CachePadded<ProcessCounters>]>,
}

/// Totals of one shard.
#[derive(Debug, Default)]
pub struct ProcessCounters {
    /// Connections accepted.
    pub connections: Counter,
    /// Connections handed over to a lighter shard.
    pub handed_over: Counter,
    /// Accept errors for want of descriptors or memory.
    pub accept_errors: Counter,
    /// Bytes forwarded, both directions.
    pub bytes: Counter,
    /// Log lines lost because the shard's log ring was full.
    pub dropped_logs: Counter,
}

impl ProcessLive {
    /// State for this many shards.
    pub fn new(shards: usize, maxconn: u32) -> Self {
        Self {
            sessions: Gate::new(maxconn),
            loads: (0..shards).map(|_| CachePadded::default()).collect(),
            handed: (0..shards).map(|_| CachePadded::default()).collect(),
            parked: (0..shards).map(|_| CachePadded::default()).collect(),
            session_rate: SharedRate::default(),
            next_session: AtomicU64::new(0),
            next_waiter: AtomicU64::new(0),
            rings: (0..shards).map(|_| Mutex::default()).collect(),
            counters: (0..shards).map(|_| CachePadded::default()).collect(),
        }
    }

    /// The shard with the fewest sessions, those on their way to it included, and that number.
    pub fn lightest(&self) -> (usize, u32) {
        let total = |(load, handed): (&CachePadded<AtomicU32>, &CachePadded<AtomicU32>)| {
            load.load(Ordering::Relaxed).saturating_add(handed.load(Ordering::Relaxed))
        };
        let loads = self.loads.iter().zip(&self.handed).map(total).enumerate();
        loads.min_by_key(|&(_, load)| load).unwrap_or((0, 0))
    }
}
