//! Slow start: how much of its weight a server may have after it came up. In whole seconds and sixteenths, as HAProxy does.

use crate::balance::FULL_THROTTLE;

/// Time between two steps of a slow start.
pub(super) const STEP_MS: u64 = 1000;

/// Sixteenths of the weight allowed `elapsed_ms` after the server came up, 1 to 16; 16 once `slowstart_seconds` are over.
pub fn throttle(elapsed_ms: u64, slowstart_seconds: u64) -> u8 {
    let elapsed_seconds = elapsed_ms / 1000;
    if slowstart_seconds == 0 || elapsed_seconds >= slowstart_seconds {
        return FULL_THROTTLE as u8;
    }
    // Below 17 as the elapsed part is below the whole.
    ((u64::from(FULL_THROTTLE) * elapsed_seconds + slowstart_seconds) / slowstart_seconds) as u8
}

/// The same in percent of the weight, rounded up: column `throttle` of the statistics.
pub fn throttle_percent(throttle: u8) -> u32 {
    (100 * u32::from(throttle)).div_ceil(FULL_THROTTLE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slow_start_of_ten_seconds() {
        // Effective weights of a server of weight 10 as HAProxy 2.6.12 shows them each second, rounded up.
        let weights: Vec<u32> = (0..=10).map(|second| (10 * u32::from(throttle(second * 1000, 10))).div_ceil(16)).collect();
        assert_eq!(weights, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]);
        assert_eq!(throttle_percent(11), 69);
        assert_eq!(throttle(0, 0), 16);
    }

    proptest! {
        #[test]
        fn weight_only_grows(slowstart in 1_u64..4000, elapsed in 0_u64..5_000_000) {
            let now = throttle(elapsed, slowstart);
            prop_assert!((1..=16).contains(&now));
            prop_assert!(throttle(elapsed + 1000, slowstart) >= now);
            prop_assert!(elapsed < slowstart * 1000 || now == 16);
        }
    }
}
