//! Latency percentiles and the summary of a run as plain text.

use super::QUANTILES;
use crate::load::{Outcome, Plan};
use crate::units;
use hdrhistogram::Histogram;
use std::fmt::Write;

/// Rows of one or more histograms side by side: a name, then one value in nanoseconds for each; none when the histogram is empty.
pub fn percentile_rows(histograms: &[&Histogram<u64>]) -> Vec<(&'static str, Vec<Option<u64>>)> {
    let each = |pick: &dyn Fn(&Histogram<u64>) -> u64| -> Vec<Option<u64>> {
        histograms.iter().map(|histogram| (!histogram.is_empty()).then(|| pick(histogram))).collect()
    };
    let mut rows = vec![("min", each(&Histogram::min))];
    rows.extend(QUANTILES.map(|(name, quantile)| (name, each(&|histogram| histogram.value_at_quantile(quantile)))));
    rows.push(("max", each(&Histogram::max)));
    rows
}

/// A percentile table with one column for each titled histogram.
pub fn percentiles(columns: &[(&str, &Histogram<u64>)]) -> String {
    let mut text = String::from("  latency   ");
    for (title, _) in columns {
        let _ = write!(text, "{title:>14}");
    }
    text.push('\n');
    let histograms: Vec<&Histogram<u64>> = columns.iter().map(|(_, histogram)| *histogram).collect();
    for (name, values) in percentile_rows(&histograms) {
        let _ = write!(text, "  {name:<10}");
        for value in values {
            let _ = write!(text, "{:>14}", value.map_or_else(|| "-".to_owned(), units::latency));
        }
        text.push('\n');
    }
    text
}

/// Everything a person wants to know of a run.
pub fn summary(plan: &Plan, outcome: &Outcome) -> String {
    let seconds = outcome.measured.as_secs_f64();
    let unit = plan.unit();
    let mut text = String::new();
    let per_second = |value: f64| value / seconds.max(1e-9);
    if plan.workload.is_bulk() {
        let _ = writeln!(
            text,
            "{} streams ended in {seconds:.2} s; sent {} ({}/s), received {} ({}/s)",
            outcome.operations,
            units::bytes(outcome.bytes_up as f64),
            units::bytes(per_second(outcome.bytes_up as f64)),
            units::bytes(outcome.bytes_down as f64),
            units::bytes(per_second(outcome.bytes_down as f64)),
        );
    } else {
        let _ = writeln!(text, "{} {unit}s in {seconds:.2} s: {}/s", outcome.operations, units::count(outcome.rate()));
        let title = if plan.rate.is_some() { "from due time" } else { unit };
        text.push_str(&percentiles(&[(title, &outcome.latency), ("connect", &outcome.connect)]));
    }
    let handshakes = outcome.handshakes;
    if handshakes.full + handshakes.resumed > 0 {
        let _ = writeln!(text, "  TLS handshakes: {} full, {} resumed", handshakes.full, handshakes.resumed);
    }
    text.push_str(&errors(outcome));
    text.push_str(&super::distribution(outcome));
    text.push_str(&generator(plan, outcome));
    text
}

fn errors(outcome: &Outcome) -> String {
    let total = outcome.errors.total();
    if total == 0 {
        return "  errors: none\n".to_owned();
    }
    let attempts = total + outcome.operations;
    let mut text = format!("  errors: {total} of {attempts} ({:.2} %)\n", 100.0 * total as f64 / attempts as f64);
    for (kind, count) in outcome.errors.iter() {
        let note = if kind.counts_as_latency() { " (in the percentiles with the time waited)" } else { "" };
        let _ = writeln!(text, "    {count:>10}  {}{note}", kind.describe());
        if let Some(words) = outcome.examples.get(&kind) {
            let _ = writeln!(text, "                such as: {words}");
        }
    }
    text
}

fn generator(plan: &Plan, outcome: &Outcome) -> String {
    let mut text = String::from("  generator: ");
    let costs = outcome.generator.iter();
    let each: Vec<String> =
        costs.map(|cost| format!("{:.0} % of a core, {:.0} % waiting for one", 100.0 * cost.busy, 100.0 * cost.starved)).collect();
    let _ = writeln!(text, "{}", each.join("; "));
    if plan.rate.is_some() && !outcome.lag.is_empty() {
        let late = units::latency(outcome.lag.value_at_quantile(0.99));
        let _ = writeln!(text, "  generator sent late by itself: p99 {late}, max {}", units::latency(outcome.lag.max()));
    }
    if outcome.saturated() {
        text.push_str(
            "  WARNING: the generator used or wanted nearly all of a core: rate and latency may be its own limits, not the target's\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{ErrorKind, latency_histogram};

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = latency_histogram();
        for microsecond in 1..=10_000 {
            histogram.saturating_record(microsecond * 1000);
        }
        let rows = percentile_rows(&[&histogram, &latency_histogram()]);
        let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["min", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
        let expected_us = [1.0, 5000.0, 9000.0, 9900.0, 9990.0, 9999.0, 10_000.0];
        for ((name, values), expected) in rows.iter().zip(expected_us) {
            let got = values.first().copied().flatten().expect("recorded") as f64 / 1000.0;
            assert!((got - expected).abs() <= expected * 0.002 + 0.07, "{name}: {got} for {expected}");
            assert_eq!(values.get(1), Some(&None), "an empty histogram has no percentiles");
        }
    }

    #[test]
    fn a_table_has_one_column_each() {
        let mut histogram = latency_histogram();
        histogram.saturating_record(50_000);
        let text = percentiles(&[("message", &histogram), ("connection", &latency_histogram())]);
        assert!(text.lines().next().is_some_and(|line| line.contains("message") && line.contains("connection")), "{text}");
        assert!(text.lines().any(|line| line.contains("p99.9 ") && line.contains("50.0 us") && line.ends_with('-')), "{text}");
    }

    #[test]
    fn errors_name_their_kind_and_share() {
        let mut outcome = crate::report::json::tests::outcome();
        assert_eq!(errors(&outcome), "  errors: none\n");
        outcome.operations = 99;
        outcome.errors.add(ErrorKind::Timeout, 1);
        let text = errors(&outcome);
        assert!(text.contains("1 of 100 (1.00 %)") && text.contains("answer timed out"), "{text}");
    }
}
