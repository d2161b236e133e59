//! Gates: how many sessions may be inside at once. Global, frontend and bind limits are all gates.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Maximum;

/// A shared count with a limit. The limit may be lowered below the count; then nobody enters until enough have left.
#[derive(Debug)]
pub struct Gate {
    inside: AtomicU32,
    limit: AtomicU32,
    /// Highest count seen.
    pub peak: Maximum,
    /// Tickets of those who wait outside, on whichever shard: one for each listener that holds connections back.
    waiting: Mutex<BTreeSet<u64>>,
    /// The smallest of them, `NOBODY` when there is none.
    first: AtomicU64,
}

/// The ticket of somebody who has not waited: behind everybody who has.
pub const NOBODY: u64 = u64::MAX;

impl Gate {
    /// A gate; `limit` 0 means no limit.
    pub fn new(limit: u32) -> Self {
        Self {
            inside: AtomicU32::new(0),
            limit: AtomicU32::new(limit),
            peak: Maximum::default(),
            waiting: Mutex::default(),
            first: AtomicU64::new(NOBODY),
        }
    }

    /// Whether the holder of this ticket must wait: the gate is full, or somebody came earlier.
    pub fn holds_back(&self, ticket: u64) -> bool {
        self.full() || ticket > self.first.load(Ordering::SeqCst)
    }

    /// Waits outside with this ticket, until `stop_waiting`.
    pub fn wait(&self, ticket: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(ticket);
        self.first.store(waiting.first().copied().unwrap_or(NOBODY), Ordering::SeqCst);
    }

    /// Waits no longer. Returns whether others do, who may be first now.
    pub fn stop_waiting(&self, ticket: u64) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&ticket);
        self.first.store(waiting.first().copied().unwrap_or(NOBODY), Ordering::SeqCst);
        !waiting.is_empty()
    }

    /// Enters if there is room; `true` means that `leave` must be called once.
    pub fn enter(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let entered = self
            .inside
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |inside| (limit == 0 || inside < limit).then(|| inside.saturating_add(1)));
        if let Ok(before) = entered {
            self.peak.raise(before.saturating_add(1));
        }
        entered.is_ok()
    }

    /// Leaves. Returns whether the gate was full, so that somebody may be waiting outside.
    pub fn leave(&self) -> bool {
        let before = self.inside.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a gate was left more often than entered");
        let limit = self.limit.load(Ordering::Relaxed);
        limit != 0 && before >= limit
    }

    /// How many are inside.
    pub fn inside(&self) -> u32 {
        self.inside.load(Ordering::Relaxed)
    }

    /// The limit; 0 is none.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether nobody could enter now.
    pub fn full(&self) -> bool {
        let limit = self.limit();
        limit != 0 && self.inside() >= limit
    }

    /// Changes the limit (reload, `set maxconn`).
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_above_the_limit_and_says_when_it_was_full() {
        let gate = Gate::new(2);
        assert!(gate.enter() && gate.enter());
        assert!(gate.full() && !gate.enter());
        assert!(gate.leave(), "it was full");
        assert!(!gate.leave(), "one was inside of two");
        assert_eq!((gate.inside(), gate.peak.get()), (0, 2));
    }

    #[test]
    fn whoever_waited_longest_is_next() {
        let gate = Gate::new(2);
        assert!(!gate.holds_back(NOBODY), "nobody waits");
        gate.wait(7);
        gate.wait(3);
        assert!(gate.holds_back(NOBODY) && gate.holds_back(7) && !gate.holds_back(3));
        assert!(gate.stop_waiting(3) && !gate.holds_back(7));
        assert!(!gate.stop_waiting(7) && !gate.holds_back(NOBODY));
        assert!(gate.enter() && gate.enter() && gate.holds_back(3), "full is full");
    }

    #[test]
    fn a_lowered_limit_holds_newcomers_back() {
        let gate = Gate::new(0);
        assert!((0..5).all(|_| gate.enter()));
        gate.set_limit(3);
        assert!(!gate.enter());
        for _ in 0..3 {
            gate.leave();
        }
        assert!(gate.enter());
    }
}
