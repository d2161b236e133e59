//! Files that public HdrHistogram tools read: percentiles as text (`.hgrm`) and a log of one histogram per second (`.hlog`).

use crate::hdr;
use crate::load::Outcome;
use anyhow::Context;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use std::fmt::Write;
use std::time::Duration;

/// Nanoseconds in the unit of `.hgrm` values, a millisecond.
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;
/// Lines per halving of the distance to 100 %, as the reference implementation writes by default.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// The percentile distribution in the format of the reference implementation's `outputPercentileDistribution`, in milliseconds.
pub fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let milliseconds = |nanoseconds: f64| nanoseconds / NANOSECONDS_PER_MILLISECOND;
    let mut below = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        below += step.count_since_last_iteration();
        let (value, quantile) = (milliseconds(step.value_iterated_to() as f64), step.quantile_iterated_to());
        let _ = write!(text, "{value:>12.6} {quantile:>14.12} {below:>10}");
        text.push_str(&if quantile < 1.0 { format!(" {:>14.2}\n", 1.0 / (1.0 - quantile)) } else { "            inf\n".to_owned() });
    }
    let (mean, deviation) = (milliseconds(histogram.mean()), milliseconds(histogram.stdev()));
    let _ = writeln!(text, "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]");
    let _ = writeln!(text, "#[Max     = {:>12.6}, Total count    = {:>12}]", milliseconds(histogram.max() as f64), histogram.len());
    let (buckets, subbuckets) = shape(histogram);
    let _ = writeln!(text, "#[Buckets = {buckets:>12}, SubBuckets     = {subbuckets:>12}]");
    text
}

/// Buckets and sub-buckets, as the reference implementation counts them.
fn shape(histogram: &Histogram<u64>) -> (u32, u64) {
    let resolution = 2 * 10_u64.pow(u32::from(histogram.sigfig()));
    let subbuckets = resolution.next_power_of_two();
    let unit = histogram.low().max(1).ilog2();
    let (mut largest, mut buckets) = (subbuckets << unit, 1);
    while largest <= histogram.high() && largest < 1 << 62 {
        largest <<= 1;
        buckets += 1;
    }
    (buckets, subbuckets)
}

/// One histogram for each second, in nanoseconds, in the interval log format 1.3 with the compressed V2 encoding.
///
/// # Errors
/// When an interval cannot be encoded.
pub fn hlog(outcome: &Outcome) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment(concat!(
            "[Histogram log format version 1.3]\nwritten by ringbench ",
            env!("CARGO_PKG_VERSION"),
            ", values in nanoseconds"
        ))
        .with_start_time(outcome.begun)
        .with_base_time(outcome.begun)
        .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND);
    let mut log = builder.begin_log_with(&mut bytes, &mut serializer)?;
    for point in &outcome.intervals {
        let histogram = hdr::expand(&point.histogram).context("an interval's histogram is damaged")?;
        let rest = outcome.measured.saturating_sub(Duration::from_secs(point.second));
        let length = rest.clamp(Duration::from_millis(1), Duration::from_secs(1));
        log.write_histogram(&histogram, Duration::from_secs(point.second), length, None)
            .map_err(|error| anyhow::anyhow!("cannot encode an interval: {error}"))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{IntervalPoint, latency_histogram};
    use base64::Engine;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use std::time::SystemTime;

    fn histogram(values: impl Iterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = latency_histogram();
        values.for_each(|value| histogram.saturating_record(value));
        histogram
    }

    #[test]
    fn the_log_is_read_back_as_it_was_measured() {
        let mut outcome = crate::report::json::tests::outcome();
        outcome.begun = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        outcome.measured = Duration::from_millis(1500);
        let seconds = [histogram((1..1000).map(|value| value * 5000)), histogram((1..50).map(|value| value * 100_000))];
        for (second, latency) in seconds.iter().enumerate() {
            let histogram = hdr::compress(latency);
            let (second, errors, bytes_up, bytes_down) = (second as u64, 0, 0, 0);
            outcome.intervals.push(IntervalPoint {
                second,
                operations: 1,
                errors,
                bytes_up,
                bytes_down,
                p50_us: 0.0,
                p99_us: 0.0,
                max_us: 0.0,
                histogram,
            });
        }
        let log = hlog(&outcome).expect("written");
        let text = String::from_utf8(log.clone()).expect("text");
        assert!(text.starts_with("#[Histogram log format version 1.3]\n"), "{text}");
        assert!(text.contains("#[StartTime: 1700000000.250 (seconds since epoch)]"), "{text}");
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.expect("a valid line") {
                let bytes = base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram()).expect("base64");
                read.push((interval.start_timestamp(), interval.duration(), hdr::expand(&bytes).expect("a histogram")));
            }
        }
        let [first, second] = seconds;
        let expected = [(Duration::ZERO, Duration::from_secs(1), first), (Duration::from_secs(1), Duration::from_millis(500), second)];
        assert_eq!(read, expected);
    }

    #[test]
    fn percentiles_are_written_as_the_reference_writes_them() {
        let text = hgrm(&histogram((1..=1000).map(|value| value * 1_000_000)));
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("       Value     Percentile TotalCount 1/(1-Percentile)"));
        let rows: Vec<Vec<f64>> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().expect("a number")).collect())
            .collect();
        assert!(rows.len() > 20 && rows.iter().all(|row| row.len() == 4));
        let median = rows.iter().find(|row| (row[1] - 0.5).abs() < 1e-9).expect("the median");
        assert!((median[0] - 500.0).abs() < 1.0 && (median[2] - 500.0).abs() <= 1.0 && (median[3] - 2.0).abs() < 1e-9, "{median:?}");
        let last = rows.last().expect("rows");
        assert!(
            (last[0] - 1000.0).abs() < 1.0 && (last[1] - 1.0).abs() < 1e-12 && last[2] as u64 == 1000 && last[3].is_infinite(),
            "{last:?}"
        );
        assert!(text.contains("Total count    =         1000]") && text.contains("SubBuckets     =         2048]"), "{text}");
    }
}
