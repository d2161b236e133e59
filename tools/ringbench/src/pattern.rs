//! The byte pattern that fills messages and streams, and its exact check.
//!
//! Both ends compute the same pattern, so a received stream is compared byte for byte with what must have been sent, at the speed of
//! memory comparison. The period is a prime just below 1 MiB: no power-of-two buffer, lost or repeated, can hide in it.

use std::sync::OnceLock;

/// Length after which the pattern repeats, in bytes; a prime.
pub const PERIOD: usize = 1_048_573;
/// Longest slice handed out at once, in bytes.
pub const SLICE_BYTES_MAX: usize = 256 * 1024;

/// At most `length` (and [`SLICE_BYTES_MAX`]) bytes of the pattern from `offset` on.
pub fn slice(offset: u64, length: usize) -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(build);
    let start = usize::try_from(offset % PERIOD as u64).unwrap_or(0);
    table.get(start..start + length.min(SLICE_BYTES_MAX)).unwrap_or_default()
}

/// Appends `length` bytes of the pattern from `offset` on.
pub fn append(output: &mut Vec<u8>, offset: u64, length: usize) {
    let mut written = 0;
    while written < length {
        let part = slice(offset.wrapping_add(written as u64), length - written);
        output.extend_from_slice(part);
        written += part.len();
    }
}

/// Offset in the stream of the first byte that differs from the pattern, when `bytes` stand at `offset`.
pub fn first_difference(offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut checked = 0;
    for part in bytes.chunks(SLICE_BYTES_MAX) {
        let expected = slice(offset.wrapping_add(checked), part.len());
        if part != expected {
            let index = part.iter().zip(expected).position(|(got, want)| got != want).unwrap_or(0);
            return Some(offset.wrapping_add(checked + index as u64));
        }
        checked += part.len() as u64;
    }
    None
}

/// One period plus one slice, so that every slice is contiguous. xorshift64*, fixed seed.
fn build() -> Vec<u8> {
    let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut table = Vec::with_capacity(PERIOD + SLICE_BYTES_MAX);
    while table.len() < PERIOD {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes();
        let room = PERIOD - table.len();
        table.extend(word.iter().take(room));
    }
    table.extend_from_within(..SLICE_BYTES_MAX);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_continuous_over_the_period() {
        let mut whole = Vec::new();
        append(&mut whole, 0, PERIOD + 1000);
        assert_eq!(first_difference(0, &whole), None);
        assert_eq!(whole.get(PERIOD..), whole.get(..1000));
        assert_eq!(first_difference(77, whole.get(77..).unwrap_or_default()), None);
    }

    #[test]
    fn damage_is_found_where_it_is() {
        let mut bytes = Vec::new();
        append(&mut bytes, 1_000_000, 600_000);
        bytes[400_001] ^= 1;
        assert_eq!(first_difference(1_000_000, &bytes), Some(1_400_001));
        assert!(first_difference(1_000_000 + 65_536, bytes.get(..65_536).unwrap_or_default()).is_some(), "a shifted buffer is noticed");
    }
}
