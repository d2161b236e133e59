//! A stored run, read back from its JSON, and several of them side by side as text.

use crate::hdr;
use crate::load::ErrorKind;
use crate::units;
use anyhow::Context;
use base64::Engine;
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One second of a stored run.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Second {
    pub(super) second: u64,
    pub(super) operations: u64,
    pub(super) errors: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct Stored {
    plan: Planned,
    measured_s: f64,
    operations: u64,
    rate_per_s: f64,
    #[serde(default)]
    begun_unix_s: f64,
    errors: BTreeMap<String, u64>,
    bytes_up: u64,
    bytes_down: u64,
    latency_histogram: String,
    intervals: Vec<Second>,
    generator: Vec<Cost>,
    generator_saturated: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Cost {
    busy: f64,
}

/// The part of a plan that a comparison shows.
#[derive(Clone, Debug, Deserialize)]
struct Planned {
    target: String,
    workload: String,
    protocol: String,
    connections: u64,
    threads: u64,
    unit: String,
    rate_per_s: Option<f64>,
    pipeline: u64,
    tls: Option<String>,
}

/// A run under a name, as `load --json` stored it.
#[derive(Clone, Debug)]
pub struct Run {
    pub(super) name: String,
    /// What was done, in one line.
    pub(super) description: String,
    pub(super) unit: String,
    pub(super) open_loop: bool,
    pub(super) bulk: bool,
    pub(super) measured_s: f64,
    pub(super) begun_unix_s: f64,
    pub(super) operations: u64,
    pub(super) rate_per_s: f64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    /// Failures by kind, in plain words.
    pub(super) errors: Vec<(String, u64)>,
    pub(super) latency: Histogram<u64>,
    pub(super) seconds: Vec<Second>,
    /// Cores that the generator used.
    pub(super) generator_cores: f64,
    pub(super) saturated: bool,
}

impl Run {
    /// Reads a run.
    ///
    /// # Errors
    /// When a field is missing or is not what `load --json` writes.
    pub fn from_json(name: &str, value: &Value) -> anyhow::Result<Self> {
        let stored = Stored::deserialize(value)?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(&stored.latency_histogram).context("the histogram is not base64")?;
        let latency = hdr::expand(&bytes).context("the histogram is damaged")?;
        let errors = stored.errors.into_iter().map(|(kind, count)| (describe(&kind), count)).collect();
        Ok(Self {
            name: name.to_owned(),
            description: stored.plan.describe(stored.measured_s),
            unit: stored.plan.unit.clone(),
            open_loop: stored.plan.rate_per_s.is_some(),
            bulk: stored.plan.workload.starts_with("bulk"),
            measured_s: stored.measured_s,
            begun_unix_s: stored.begun_unix_s,
            operations: stored.operations,
            rate_per_s: stored.rate_per_s,
            bytes_up: stored.bytes_up,
            bytes_down: stored.bytes_down,
            errors,
            latency,
            seconds: stored.intervals,
            generator_cores: stored.generator.iter().map(|cost| cost.busy).sum(),
            saturated: stored.generator_saturated,
        })
    }

    pub(super) fn errors_total(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }
}

impl Planned {
    fn describe(&self, measured_s: f64) -> String {
        let protocol = match self.tls {
            Some(_) => format!("{} over TLS", self.protocol),
            None => self.protocol.clone(),
        };
        let (connections, threads) = (counted(self.connections, "connection"), counted(self.threads, "thread"));
        let mut text = format!("{} {protocol}, {connections}, {threads}", self.workload);
        if self.pipeline > 1 {
            let _ = write!(text, ", {} pipelined", self.pipeline);
        }
        match self.rate_per_s {
            Some(rate) => text.push_str(&format!(", open loop at {}/s", units::count(rate))),
            None => text.push_str(", closed loop"),
        }
        let _ = write!(text, ", {measured_s:.1} s, against {}", self.target);
        text
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A stored kind of failure in plain words; an unknown one as it is.
fn describe(kind: &str) -> String {
    serde_json::from_value::<ErrorKind>(Value::from(kind)).map_or_else(|_| kind.to_owned(), |kind| kind.describe().to_owned())
}

/// Runs side by side: figures, and their ratio to the first run's.
pub fn comparison(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let _ = writeln!(text, "{}: {}", run.name, run.description);
    }
    let _ = write!(text, "\n  {:<12}", "");
    let width = runs.iter().map(|run| run.name.chars().count()).max().unwrap_or(0).max(18) + 2;
    for run in runs {
        let _ = write!(text, "{:>width$}", run.name);
    }
    let mut row = |title: &str, values: Vec<(f64, String)>| {
        let _ = write!(text, "\n  {title:<12}");
        let first = values.first().map_or(0.0, |(value, _)| *value);
        for (index, (value, shown)) in values.iter().enumerate() {
            let ratio = if index > 0 && first > 0.0 { format!(" x{:.2}", value / first) } else { String::new() };
            let _ = write!(text, "{:>width$}", format!("{shown}{ratio}"));
        }
    };
    row("rate", runs.iter().map(|run| (run.rate_per_s, format!("{}/s", units::count(run.rate_per_s)))).collect());
    if runs.iter().any(|run| run.bulk) {
        let down = |run: &Run| (run.bytes_up + run.bytes_down) as f64 / run.measured_s.max(1e-9);
        row("bytes", runs.iter().map(|run| (down(run), format!("{}/s", units::bytes(down(run))))).collect());
    }
    let histograms: Vec<&Histogram<u64>> = runs.iter().map(|run| &run.latency).collect();
    for (title, values) in super::percentile_rows(&histograms) {
        let cells = values.into_iter().map(|value| value.map_or((0.0, "-".to_owned()), |value| (value as f64, units::latency(value))));
        row(title, cells.collect());
    }
    row("errors", runs.iter().map(|run| (0.0, run.errors_total().to_string())).collect());
    text.push('\n');
    for run in runs.iter().filter(|run| run.saturated) {
        let _ = writeln!(text, "  WARNING: {}: the generator used or wanted nearly all of a core; figures may be its own limits", run.name);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::load::{ErrorKind, Plan};

    /// A run with latencies of 1 to 1000 times `unit_us`.
    pub(in crate::report) fn run(name: &str, unit_us: u64) -> Run {
        let mut outcome = crate::report::json::tests::outcome();
        for value in 1..=1000 {
            outcome.latency.saturating_record(value * unit_us * 1000);
        }
        outcome.operations = 1000;
        outcome.errors.add(ErrorKind::Status5xx, 3);
        let plan = Plan::new(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        Run::from_json(name, &crate::report::json(&plan, &outcome)).expect("what was written is read")
    }

    #[test]
    fn a_stored_run_keeps_its_histogram_and_errors() {
        let read = run("one", 10);
        assert_eq!((read.latency.len(), read.operations, read.errors_total()), (1000, 1000, 3));
        assert_eq!(read.errors, [("answered with a status of 500 or above".to_owned(), 3)]);
        assert!(Run::from_json("none", &serde_json::json!({ "plan": 1 })).is_err());
    }

    #[test]
    fn runs_are_compared_with_the_first() {
        let text = comparison(&[run("one", 10), run("two", 20)]);
        let median = text.lines().find(|line| line.trim_start().starts_with("p50")).expect("a row");
        assert!(median.contains("5.00 ms") && median.contains("10.0 ms x2.00"), "{text}");
        assert!(text.lines().any(|line| line.trim_start().starts_with("errors") && line.trim_end().ends_with('3')), "{text}");
    }
}
