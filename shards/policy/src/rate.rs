//! Events per period, as HAProxy counts them: `rate-limit sessions` and the rates of the statistics.
//!
//! The count of the running period is kept beside the whole count of the one before; the rate is the running count plus the part of the
//! earlier one that still lies within the last period. So the rate neither jumps at the borders nor needs a list of events. Called by
//! shards for every session; time is an argument.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Period of the session rates, in milliseconds.
pub const SECOND_MS: u64 = 1000;

/// A count over two successive periods: a value, without any clock of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// Number of the running period: time divided by the period, wrapped.
    period: u16,
    /// Events in the running period.
    current: u32,
    /// Events in the period before.
    previous: u32,
}

/// Largest count per period; more are not counted.
const COUNT_MAX: u32 = (1 << 24) - 1;

impl Rate {
    /// Moves the counts into the period that `now_ms` lies in. Time that goes back is taken as the running period.
    fn at(mut self, now_ms: u64, period_ms: u64) -> Self {
        let period = (now_ms / period_ms.max(1)) as u16;
        match period.wrapping_sub(self.period) {
            0 => {}
            1 => {
                self.previous = self.current;
                self.current = 0;
            }
            // Half the numbers are the past: clocks read on two cores may be a little apart.
            2..0x8000 => {
                self.previous = 0;
                self.current = 0;
            }
            _ => return self,
        }
        self.period = period;
        self
    }

    /// With `events` more at `now_ms`.
    pub fn add(self, now_ms: u64, period_ms: u64, events: u32) -> Self {
        let mut rate = self.at(now_ms, period_ms);
        rate.current = rate.current.saturating_add(events).min(COUNT_MAX);
        rate
    }

    /// Events in the last period, up to `now_ms`. A lone event counts as one until its period and the next are over, so that low rates
    /// do not flicker.
    pub fn read(self, now_ms: u64, period_ms: u64) -> u32 {
        (self.total(now_ms, period_ms) / period_ms.max(1)) as u32
    }

    /// How many more events fit under `limit` per period.
    pub fn remaining(self, now_ms: u64, period_ms: u64, limit: u32) -> u32 {
        limit.saturating_sub(self.read(now_ms, period_ms))
    }

    /// Milliseconds to wait until one more event fits under `limit` per period; 0 when it fits now. With `limit` 0 nothing ever fits and
    /// a whole period is the answer.
    pub fn wait_ms(self, now_ms: u64, period_ms: u64, limit: u32) -> u64 {
        if limit == 0 {
            return period_ms.max(1);
        }
        let total = self.total(now_ms, period_ms);
        let room = u64::from(limit) * period_ms.max(1);
        if total < room { 0 } else { ((total - room) / u64::from(limit)).max(1) }
    }

    /// Events of the last period, times the period.
    fn total(self, now_ms: u64, period_ms: u64) -> u64 {
        let period_ms = period_ms.max(1);
        let rate = self.at(now_ms, period_ms);
        let current = u64::from(rate.current);
        let previous = u64::from(rate.previous);
        if current == 0 && previous <= 1 {
            return previous * period_ms;
        }
        current * period_ms + previous * (period_ms - now_ms % period_ms)
    }

    fn pack(self) -> u64 {
        u64::from(self.period) << 48 | u64::from(self.current.min(COUNT_MAX)) << 24 | u64::from(self.previous.min(COUNT_MAX))
    }

    fn unpack(bits: u64) -> Self {
        let mask = u64::from(COUNT_MAX);
        Self { period: (bits >> 48) as u16, current: (bits >> 24 & mask) as u32, previous: (bits & mask) as u32 }
    }
}

/// A [`Rate`] per second that any number of shards add to, with its peak.
#[derive(Debug, Default)]
pub struct SharedRate {
    rate: AtomicU64,
    peak: AtomicU32,
}

impl SharedRate {
    /// Counts events at `now_ms`. Returns how many the running second holds with them.
    pub fn add(&self, now_ms: u64, events: u32) -> u32 {
        let count = |bits| Rate::unpack(bits).add(now_ms, SECOND_MS, events);
        // Relaxed: a rate orders nothing. The closure always answers, so both arms carry the value before.
        let before = match self.rate.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some(count(bits).pack())) {
            Ok(bits) | Err(bits) => bits,
        };
        let current = count(before).current;
        if current > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(current, Ordering::Relaxed);
        }
        current
    }

    /// The rate as a value.
    pub fn load(&self) -> Rate {
        Rate::unpack(self.rate.load(Ordering::Relaxed))
    }

    /// Events in the second before `now_ms` (columns `rate`, `conn_rate`).
    pub fn read(&self, now_ms: u64) -> u32 {
        self.load().read(now_ms, SECOND_MS)
    }

    /// How many more events fit under `limit` per second (`rate-limit sessions`).
    pub fn remaining(&self, now_ms: u64, limit: u32) -> u32 {
        self.load().remaining(now_ms, SECOND_MS, limit)
    }

    /// Milliseconds until one more event fits under `limit` per second; 0 when it fits now.
    pub fn wait_ms(&self, now_ms: u64, limit: u32) -> u64 {
        self.load().wait_ms(now_ms, SECOND_MS, limit)
    }

    /// Most events that one second held (columns `rate_max`, `conn_rate_max`).
    pub fn peak(&self) -> u32 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Starts the peak over (`clear counters`).
    pub fn reset_peak(&self) {
        self.peak.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn earlier_events_fade_over_the_next_period() {
        let mut rate = Rate::default();
        for step in 0..100 {
            rate = rate.add(10_000 + step * 10, SECOND_MS, 1);
        }
        assert_eq!(rate.read(10_999, SECOND_MS), 100);
        assert_eq!(rate.read(11_000, SECOND_MS), 100);
        assert_eq!(rate.read(11_250, SECOND_MS), 75);
        assert_eq!(rate.read(11_999, SECOND_MS), 0);
        assert_eq!(rate.read(12_000, SECOND_MS), 0);
    }

    #[test]
    fn a_lone_event_does_not_flicker() {
        let rate = Rate::default().add(5_500, SECOND_MS, 1);
        assert_eq!(rate.read(5_999, SECOND_MS), 1);
        assert_eq!(rate.read(6_900, SECOND_MS), 1);
        assert_eq!(rate.read(7_000, SECOND_MS), 0);
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing() {
        let rate = Rate::default().add(5_000, SECOND_MS, 3).add(4_999, SECOND_MS, 1);
        assert_eq!(rate.read(5_001, SECOND_MS), 4);
    }

    #[test]
    fn a_limit_lets_events_through_at_its_pace() {
        let shared = SharedRate::default();
        let (mut now, mut passed) = (20_000, 0);
        while now < 30_000 {
            if shared.remaining(now, 50) > 0 {
                shared.add(now, 1);
                passed += 1;
            } else {
                now += shared.wait_ms(now, 50);
            }
        }
        assert!((475..=550).contains(&passed), "{passed} events in ten seconds at 50 per second");
        assert!(shared.peak() <= 51);
        assert_eq!(shared.wait_ms(31_000, 0), 1000);
    }

    #[test]
    fn shards_count_together() {
        let shared = SharedRate::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        shared.add(7_000, 1);
                    }
                });
            }
        });
        assert_eq!((shared.read(7_000), shared.peak()), (4000, 4000));
        shared.reset_peak();
        assert_eq!(shared.peak(), 0);
    }

    proptest! {
        #[test]
        fn packing_keeps_everything(period: u16, current in 0..=COUNT_MAX, previous in 0..=COUNT_MAX) {
            let rate = Rate { period, current, previous };
            prop_assert_eq!(Rate::unpack(rate.pack()), rate);
        }

        #[test]
        fn a_rate_never_exceeds_what_happened_in_two_periods(events in prop::collection::vec((0_u64..500, 1_u32..5), 1..100)) {
            let (mut rate, mut now, mut history) = (Rate::default(), 100_000_u64, Vec::new());
            for (step, count) in events {
                now += step;
                rate = rate.add(now, SECOND_MS, count);
                history.push((now, count));
                let lately: u32 = history.iter().filter(|(at, _)| at + 2 * SECOND_MS > now).map(|(_, count)| count).sum();
                let running: u32 = history.iter().filter(|(at, _)| at / SECOND_MS == now / SECOND_MS).map(|(_, count)| count).sum();
                let read = rate.read(now, SECOND_MS);
                prop_assert!(running <= read && read <= lately, "{} <= {} <= {}", running, read, lately);
            }
        }
    }
}
