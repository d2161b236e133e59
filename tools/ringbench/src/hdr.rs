//! Histograms as bytes: the compressed V2 encoding that every HdrHistogram implementation reads. Pure.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// The histogram, compressed.
pub fn compress(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory fails only for counts beyond what the encoding can hold, 2^63: then there is nothing useful to keep.
    if V2DeflateSerializer::new().serialize(histogram, &mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}

/// The histogram back; none when the bytes are not one.
pub fn expand(bytes: &[u8]) -> Option<Histogram<u64>> {
    Deserializer::new().deserialize(&mut &*bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::latency_histogram;

    #[test]
    fn histograms_come_back_whole_and_small() {
        let mut histogram = latency_histogram();
        for value in 0..100_000_u64 {
            histogram.saturating_record(value * 997 % 50_000_000);
        }
        let bytes = compress(&histogram);
        assert!(bytes.len() < 40_000, "{} bytes", bytes.len());
        assert_eq!(expand(&bytes), Some(histogram));
        assert_eq!(expand(&bytes[..20]), None);
        assert_eq!(expand(b"nonsense"), None);
    }
}
