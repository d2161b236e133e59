//! Events per period of one entry, counted as HAProxy counts them: a running period that begins with its first event, and the one before.
//!
//! Not `crate::rate::Rate`, whose periods all begin at multiples of their length and whose period number wraps after 65536 of them: an
//! entry may rest for weeks, and its rate must then be nothing.

/// Words that one takes in a record.
pub(super) const FREQUENCY_WORDS: usize = 3;

/// Counts of two periods. Times are the low 32 bits of milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frequency {
    pub start_ms: u32,
    pub current: u32,
    pub previous: u32,
}

impl Frequency {
    pub fn from_words(words: &[u32]) -> Self {
        match words {
            &[start_ms, current, previous] => Self { start_ms, current, previous },
            _ => Self::default(),
        }
    }

    pub fn words(self) -> [u32; FREQUENCY_WORDS] {
        [self.start_ms, self.current, self.previous]
    }

    /// With `events` more at `now_ms`.
    pub fn add(mut self, now_ms: u32, period_ms: u32, events: u32) -> Self {
        let elapsed = now_ms.wrapping_sub(self.start_ms);
        if elapsed >= period_ms {
            let successive = elapsed - period_ms < period_ms;
            self.previous = if successive { self.current } else { 0 };
            self.start_ms = if successive { self.start_ms.wrapping_add(period_ms) } else { now_ms };
            self.current = 0;
        }
        self.current = self.current.saturating_add(events);
        self
    }

    /// Events of the last period. A lone event counts as one until its period and the next are over.
    pub fn read(self, now_ms: u32, period_ms: u32) -> u32 {
        let period = u64::from(period_ms.max(1));
        let elapsed = u64::from(now_ms.wrapping_sub(self.start_ms));
        let (current, previous, remaining) = if elapsed < period {
            (u64::from(self.current), u64::from(self.previous), period - elapsed)
        } else if elapsed < 2 * period {
            (0, u64::from(self.current), 2 * period - elapsed)
        } else {
            (0, 0, 0)
        };
        if current == 0 && previous <= 1 {
            return previous as u32;
        }
        // Each product is below 2^64, their sum may not be.
        ((u128::from(current * period) + u128::from(previous * remaining)) / u128::from(period)).min(u128::from(u32::MAX)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_begins_with_its_first_event() {
        let mut rate = Frequency::default();
        for step in 0..100 {
            rate = rate.add(10_700 + step * 10, 1000, 1);
        }
        assert_eq!(rate.read(11_690, 1000), 100);
        assert_eq!(rate.read(11_700, 1000), 100);
        assert_eq!(rate.read(11_950, 1000), 75);
        assert_eq!(rate.read(12_700, 1000), 0);
        let rate = rate.add(11_950, 1000, 10);
        assert_eq!(rate, Frequency { start_ms: 11_700, current: 10, previous: 100 });
        assert_eq!(rate.read(11_950, 1000), 85);
    }

    #[test]
    fn a_lone_event_counts_until_the_next_period_is_over() {
        let rate = Frequency::default().add(5_300, 1000, 1);
        assert_eq!((rate.read(5_300, 1000), rate.read(7_299, 1000), rate.read(7_300, 1000)), (1, 1, 0));
    }

    #[test]
    fn the_largest_counts_and_periods_do_not_overflow() {
        let rate = Frequency { start_ms: 7, current: u32::MAX, previous: u32::MAX };
        assert_eq!(rate.read(8, u32::MAX), u32::MAX);
        assert_eq!(rate.add(8, u32::MAX, 5).current, u32::MAX);
        assert_eq!(Frequency::default().add(9, 0, 3).read(9, 0), 3);
    }
}
