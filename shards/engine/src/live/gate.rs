//! Gates: how many sessions may be inside at once. Global, frontend and bind limits are all gates.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Maximum;

/// A shared count with a limit. The limit may be lowered below the count; then nobody enters until enough have left.
#[derive(Debug)]
pub struct Gate {
    inside: AtomicU32,
    limit: AtomicU32,
    /// Highest count seen.
    pub peak: Maximum,
}

impl Gate {
    /// A gate; `limit` 0 means no limit.
    pub fn new(limit: u32) -> Self {
        Self { inside: AtomicU32::new(0), limit: AtomicU32::new(limit), peak: Maximum::default() }
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
