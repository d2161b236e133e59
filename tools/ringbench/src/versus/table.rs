//! The comparison as tables for a terminal. Pure.

use super::line::Line;
use super::report::Report;
use crate::units;
use std::fmt::Write;

/// All tables, ready to print.
pub(super) fn tables(report: &Report) -> String {
    let mut text = String::new();
    for table in &report.workloads {
        let _ = writeln!(text, "\n{}  {}; {}", table.workload, table.description, table.unit);
        text.push_str(
            "  proxy                CPU/unit  (min - max)        ratio  (by round)      x floor    rate/s       p50       p99     p99.9\n",
        );
        for line in &table.lines {
            text.push_str(&row(line, table.bulk));
        }
    }
    text.push_str(&idle(report));
    text.push_str(&system_calls(report));
    for note in report.notes() {
        let _ = writeln!(text, "\nnote: {note}");
    }
    for failure in &report.failures {
        let _ = writeln!(text, "\nNOT MEASURED: {}: {}", failure.what, failure.reason);
    }
    text
}

fn row(line: &Line, bulk: bool) -> String {
    let three = units::significant;
    let cpu = &line.cpu_per_unit;
    let range = format!("({} - {})", three(cpu.min), three(cpu.max));
    let two = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let ratios = line.ratio_by_round.map_or_else(String::new, |all| format!("({:.2} - {:.2})", all.min, all.max));
    let rate = if bulk { format!("{:.2} GB", line.rate_per_s) } else { units::count(line.rate_per_s) };
    format!(
        "  {:<20} {:>8}  {range:<17} {:>6}  {ratios:<14} {:>8} {rate:>9} {:>9} {:>9} {:>9}{}\n",
        line.title,
        three(cpu.median),
        two(line.ratio),
        two(line.floor_multiple),
        latency(line.p50_us),
        latency(line.p99_us),
        latency(line.p999_us.map(|all| all.median)),
        failed(line.errors)
    )
}

fn idle(report: &Report) -> String {
    let mut text = String::new();
    if let Some(first) = report.idle.first() {
        let _ = writeln!(text, "\nidle  {} connections; resident bytes per connection, processor time while silent", first.connections);
        text.push_str("  proxy                     net     gross   fresh process      all held   CPU while silent\n");
    }
    for sample in &report.idle {
        let _ = writeln!(
            text,
            "  {:<20} {:>6.0} B  {:>6.0} B  {:>14} {:>13}   {:.2} ms in {:.1} s{}",
            report.title(sample.proxy),
            sample.net_bytes_per_connection,
            sample.gross_bytes_per_connection,
            units::bytes(sample.before_bytes as f64),
            units::bytes(sample.held_bytes as f64),
            sample.silent_cpu_ms,
            sample.silent_s,
            failed(sample.errors)
        );
    }
    text
}

fn system_calls(report: &Report) -> String {
    let mut text = String::new();
    let traced = report.traced();
    if !traced.is_empty() {
        text.push_str("\nsystem calls  per exchange (two messages) or connection, in a separate run under strace\n");
    }
    for (key, calls) in traced {
        let _ = write!(text, "  {:<20}", report.title(key));
        for (workload, count) in calls {
            let _ = write!(text, "  {workload} {count:>5.2}");
        }
        text.push('\n');
    }
    text
}

fn latency(value_us: Option<f64>) -> String {
    value_us.map_or_else(|| "-".to_owned(), |us| units::latency((us * 1000.0) as u64))
}

fn failed(errors: u64) -> String {
    if errors == 0 { String::new() } else { format!("  {errors} ERRORS") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::report::tests::report;

    #[test]
    fn every_part_is_there() {
        let text = tables(&report());
        let row = text.lines().find(|line| line.starts_with("  Ringmain")).expect("a row");
        assert!(row.contains("9.50") && row.contains("0.76") && row.contains("1.12") && row.contains("2 ERRORS"), "{row}");
        for part in ["800 B", "1000 B", "pp:1  2.00", "NOT MEASURED: nginx stream: not here (nginx)", "7000 exchanges/s"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
