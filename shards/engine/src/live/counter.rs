//! Counters that one shard writes and any thread reads: plain loads and stores, no locked instruction on the data path.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A monotonic counter with a single writer (its shard). Readers may be a moment behind.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; must only be called by the owning shard. Wraps after 2^64, which no counter reaches.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Raises a value that is a maximum; must only be called by the owning shard.
    pub fn raise(&self, value: u64) {
        if value > self.get() {
            self.set(value);
        }
    }

    /// Sets the value (`clear counters`); a concurrent `add` may win.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A high-water mark with any number of writers.
#[derive(Debug, Default)]
pub struct Maximum(AtomicU32);

impl Maximum {
    /// Raises the mark; costs one load unless it really rises.
    pub fn raise(&self, value: u32) {
        if value > self.0.load(Ordering::Relaxed) {
            self.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// The mark.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Starts over from a value (`clear counters`).
    pub fn reset(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }
}
