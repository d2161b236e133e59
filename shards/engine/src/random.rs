//! Random numbers for choices that need no secrecy (`balance random`, spreading). One generator per shard, no locks.

use std::cell::Cell;

/// xorshift64*: a few instructions per number.
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// A generator whose numbers differ by shard and by start of the process.
    pub fn seeded(shard: u64) -> Self {
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |elapsed| elapsed.as_nanos() as u64);
        Self(Cell::new((time ^ shard.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
