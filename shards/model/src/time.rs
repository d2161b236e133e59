//! Durations as configurations write them: whole milliseconds, the resolution of every timer.

use std::time::Duration;

/// A duration in milliseconds, 0 to `u32::MAX` (about 49.7 days; HAProxy's own limit is 24.8 days).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Milliseconds(pub u32);

impl Milliseconds {
    /// The count of milliseconds.
    pub const fn get(self) -> u64 {
        self.0 as u64
    }

    /// As a standard duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }
}
