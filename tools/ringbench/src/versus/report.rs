//! The comparison as tables and as JSON. Pure.

use super::Results;
use super::plan::VersusWorkload;
use super::sample::Sample;
use super::subject::{BASELINE, Subject};
use crate::{cpu, units};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Median and range of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    let median = if sorted.len() % 2 == 1 { upper } else { (upper + sorted.get(middle.checked_sub(1)?)?) / 2.0 };
    Some(Spread { median, min, max })
}

/// One proxy under one workload, over all rounds.
#[derive(Clone, Debug, serde::Serialize)]
struct Line {
    proxy: &'static str,
    cpu_per_unit: Spread,
    /// Median over the baseline's median.
    ratio: Option<f64>,
    /// Range of the ratios within each round.
    ratio_range: Option<(f64, f64)>,
    rate_per_s: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    p999_us: Option<f64>,
    errors: u64,
}

fn lines(workload: VersusWorkload, proxies: &[&'static str], samples: &[Sample]) -> Vec<Line> {
    let name = workload.to_string();
    let of = |proxy: &'static str| samples.iter().filter(|sample| sample.proxy == proxy && sample.workload == name).collect::<Vec<_>>();
    let baseline = of(BASELINE);
    let baseline_median = spread(baseline.iter().map(|sample| sample.cpu_per_unit)).map(|cpu| cpu.median);
    let line = |proxy: &'static str| {
        let samples = of(proxy);
        let cpu_per_unit = spread(samples.iter().map(|sample| sample.cpu_per_unit))?;
        let paired = samples.iter().filter_map(|sample| {
            let partner = baseline.iter().find(|other| other.round == sample.round)?;
            Some(sample.cpu_per_unit / partner.cpu_per_unit)
        });
        let median = |pick: fn(&Sample) -> Option<f64>| spread(samples.iter().filter_map(|sample| pick(sample))).map(|all| all.median);
        Some(Line {
            proxy,
            cpu_per_unit,
            ratio: baseline_median.map(|base| cpu_per_unit.median / base),
            ratio_range: spread(paired).map(|ratios| (ratios.min, ratios.max)),
            rate_per_s: median(|sample| Some(sample.rate_per_s)).unwrap_or(0.0),
            p50_us: median(|sample| sample.p50_us),
            p99_us: median(|sample| sample.p99_us),
            p999_us: median(|sample| sample.p999_us),
            errors: samples.iter().map(|sample| sample.errors).sum(),
        })
    };
    proxies.iter().filter_map(|proxy| line(proxy)).collect()
}

/// All tables, ready to print.
pub(super) fn tables(subjects: &[Subject], workloads: &[VersusWorkload], results: &Results) -> String {
    let proxies: Vec<&'static str> = subjects.iter().map(|subject| subject.key).collect();
    let title = |key: &str| subjects.iter().find(|subject| subject.key == key).map_or("", |subject| subject.title);
    let mut text = String::new();
    for &workload in workloads {
        let _ = writeln!(text, "\n{workload}  {}", workload.describe());
        text.push_str(
            "  proxy                 CPU/unit   (min - max)        ratio  (min - max)     rate/s       p50       p99     p99.9\n",
        );
        for line in lines(workload, &proxies, &results.samples) {
            text.push_str(&row(title(line.proxy), &line, workload.is_bulk()));
        }
    }
    if !results.idle.is_empty() {
        let _ = writeln!(text, "\nidle  resident memory per idle connection");
        for sample in &results.idle {
            let _ = writeln!(
                text,
                "  {:<21} {:>7.0} B  ({} connections, from {} to {}){}",
                title(sample.proxy),
                sample.bytes_per_connection,
                sample.connections,
                units::bytes(sample.before_bytes as f64),
                units::bytes(sample.held_bytes as f64),
                failures(sample.errors)
            );
        }
    }
    text.push_str(&warnings(&results.samples));
    text
}

fn row(title: &str, line: &Line, bulk: bool) -> String {
    let cpu = &line.cpu_per_unit;
    let three = units::significant;
    let range = format!("({} - {})", three(cpu.min), three(cpu.max));
    let ratio = line.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
    let ratios = line.ratio_range.map_or_else(String::new, |(min, max)| format!("({min:.2} - {max:.2})"));
    let rate = if bulk { format!("{:.2} GB", line.rate_per_s) } else { units::count(line.rate_per_s) };
    let latency = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |us| units::latency((us * 1000.0) as u64));
    format!(
        "  {title:<21} {:>8}   {range:<17} {ratio:>6}  {ratios:<14} {rate:>8} {:>9} {:>9} {:>9}{}\n",
        three(cpu.median),
        latency(line.p50_us),
        latency(line.p99_us),
        latency(line.p999_us),
        failures(line.errors)
    )
}

fn failures(errors: u64) -> String {
    if errors == 0 { String::new() } else { format!("  {errors} ERRORS") }
}

/// What limits the figures, said once for the whole comparison.
fn warnings(samples: &[Sample]) -> String {
    let mut text = String::new();
    let total = samples.len();
    let saturated = samples.iter().filter(|sample| sample.generator_saturated).count();
    if saturated > 0 {
        let _ = writeln!(
            text,
            "\nnote: in {saturated} of {total} runs the generator's core was full: rate and latency are lower bounds of what the proxy can do"
        );
    }
    let starved = samples.iter().filter(|sample| sample.starved > 0.1).count();
    if starved > 0 {
        let _ = writeln!(
            text,
            "note: in {starved} of {total} runs something else took more than a tenth of the proxy's core: rate and latency are disturbed, CPU per unit less so"
        );
    }
    text
}

/// Everything, for programs.
pub(super) fn json(subjects: &[Subject], workloads: &[VersusWorkload], results: &Results, seed: u64) -> Value {
    let proxies: Vec<&'static str> = subjects.iter().map(|subject| subject.key).collect();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    let named = subjects.iter().map(|subject| json!({ "key": subject.key, "title": subject.title, "version": subject.version }));
    let tables = workloads.iter().map(|workload| {
        let bulk = workload.is_bulk();
        json!({
            "workload": workload.to_string(),
            "description": workload.describe(),
            "cpu_unit": if bulk { "s/GB" } else { "us" },
            "lines": lines(*workload, &proxies, &results.samples),
        })
    });
    json!({
        "tool": concat!("ringbench ", env!("CARGO_PKG_VERSION")),
        "unix_time": now,
        "machine": { "processor": cpu::model_name(), "cores": cpu::available_cores(), "kernel": kernel.trim() },
        "seed": seed,
        "baseline": BASELINE,
        "proxies": named.collect::<Vec<_>>(),
        "workloads": tables.collect::<Vec<_>>(),
        "idle": results.idle,
        "samples": results.samples,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(proxy: &'static str, round: usize, cpu_per_unit: f64) -> Sample {
        Sample {
            proxy,
            workload: "pp:1".to_owned(),
            round,
            cpu_s: 1.0,
            units: 1.0,
            cpu_per_unit,
            rate_per_s: 1000.0 * round as f64,
            p50_us: Some(50.0),
            p99_us: Some(90.0),
            p999_us: Some(100.0),
            errors: 1,
            starved: 0.0,
            generator_saturated: false,
        }
    }

    #[test]
    fn medians_and_ranges() {
        assert_eq!(spread([3.0, 1.0, 2.0].into_iter()), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0].into_iter()).map(|all| all.median), Some(2.5));
        assert_eq!(spread(std::iter::empty()), None);
    }

    #[test]
    fn ratios_pair_the_rounds() {
        let samples = [sample("haproxy", 1, 10.0), sample("haproxy", 2, 20.0), sample("nginx", 1, 9.0), sample("nginx", 2, 12.0)];
        let lines = lines(VersusWorkload::Messages(1), &["nginx", "haproxy", "absent"], &samples);
        assert_eq!(lines.len(), 2);
        let nginx = lines.first().expect("measured");
        assert_eq!(nginx.ratio, Some(0.7));
        assert_eq!(nginx.ratio_range, Some((0.6, 0.9)));
        assert_eq!((nginx.rate_per_s, nginx.errors), (1500.0, 2));
        assert!(row("nginx", nginx, false).contains("0.70") && row("nginx", nginx, false).contains("2 ERRORS"));
    }

    #[test]
    fn without_a_baseline_there_is_no_ratio() {
        let lines = lines(VersusWorkload::Messages(1), &["nginx"], &[sample("nginx", 1, 9.0)]);
        assert_eq!(lines.first().map(|line| (line.ratio, line.ratio_range)), Some((None, None)));
    }
}
