//! The comparison as Markdown, to paste into a document. Pure.

use super::report::Report;
use crate::units;
use std::fmt::Write;

/// Tables with machine, versions and date.
pub(super) fn page(report: &Report) -> String {
    let mut text = String::new();
    for threads in [1, 2] {
        cpu(report, threads, &mut text);
    }
    latency(report, &mut text);
    idle(report, &mut text);
    footer(report, &mut text);
    text
}

fn header(columns: &[String], text: &mut String) {
    let _ = writeln!(text, "| {} |", columns.join(" | "));
    let _ = writeln!(text, "|---{}|", "|---:".repeat(columns.len() - 1));
}

/// One row for each proxy, one column for each workload.
fn cpu(report: &Report, threads: usize, text: &mut String) {
    let tables: Vec<_> = report.workloads.iter().filter(|table| (table.baseline == "haproxy") == (threads == 1)).collect();
    if tables.is_empty() {
        return;
    }
    let subject = if threads == 1 { "One pinned core" } else { "Two threads" };
    let _ = writeln!(
        text,
        "{subject}: CPU per unit, ratio to HAProxy (range over the rounds){}\n",
        if threads == 1 { ", multiple of the bare floor" } else { "" }
    );
    let columns = tables.iter().map(|table| format!("{}<br>{}", table.description, table.unit));
    header(&["proxy".to_owned()].into_iter().chain(columns).collect::<Vec<_>>(), text);
    for proxy in &report.proxies {
        let cells: Vec<Option<String>> = tables
            .iter()
            .map(|table| {
                let line = table.lines.iter().find(|line| line.proxy == proxy.key)?;
                let ratio = line.ratio.map_or_else(String::new, |ratio| format!(" **{ratio:.2}**"));
                let range = line
                    .ratio_by_round
                    .filter(|_| line.proxy != table.baseline)
                    .map_or_else(String::new, |all| format!(" ({:.2}-{:.2})", all.min, all.max));
                let floor = line.floor_multiple.map_or_else(String::new, |multiple| format!(" {multiple:.2}x"));
                Some(format!("{}{ratio}{range}{floor}", units::significant(line.cpu_per_unit.median)))
            })
            .collect();
        if cells.iter().any(Option::is_some) {
            let cells: Vec<String> = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".to_owned())).collect();
            let _ = writeln!(text, "| {} | {} |", proxy.title, cells.join(" | "));
        }
    }
    text.push('\n');
}

fn latency(report: &Report, text: &mut String) {
    for table in report.workloads.iter().filter(|table| table.workload.starts_with("rate:")) {
        let _ = writeln!(text, "Latency, {}\n", table.description);
        header(&["proxy", "p50", "p99", "p99.9", "p99.9 range"].map(str::to_owned), text);
        for line in &table.lines {
            let show = |us: f64| units::latency((us * 1000.0) as u64);
            let (Some(p50), Some(p99), Some(p999)) = (line.p50_us, line.p99_us, line.p999_us) else { continue };
            let range = format!("{} - {}", show(p999.min), show(p999.max));
            let _ = writeln!(text, "| {} | {} | {} | {} | {range} |", line.title, show(p50), show(p99), show(p999.median));
        }
        text.push('\n');
    }
}

fn idle(report: &Report, text: &mut String) {
    let traced = report.traced();
    if report.idle.is_empty() && traced.is_empty() {
        return;
    }
    let workloads: Vec<&str> = traced.first().map(|(_, calls)| calls.iter().map(|(workload, _)| *workload).collect()).unwrap_or_default();
    let mut columns = vec!["proxy".to_owned(), "bytes per idle connection, net".to_owned(), "gross".to_owned()];
    columns.extend(workloads.iter().map(|workload| format!("system calls, {workload}")));
    header(&columns, text);
    for proxy in &report.proxies {
        let sample = report.idle.iter().find(|sample| sample.proxy == proxy.key);
        let calls = traced.iter().find(|(key, _)| *key == proxy.key).map(|(_, calls)| calls);
        if sample.is_none() && calls.is_none() {
            continue;
        }
        let bytes = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
        let net = bytes(sample.map(|sample| sample.net_bytes_per_connection));
        let _ = write!(text, "| {} | {net} | {} |", proxy.title, bytes(sample.map(|sample| sample.gross_bytes_per_connection)));
        for name in &workloads {
            let count = calls.and_then(|calls| calls.iter().find(|(workload, _)| workload == name));
            let _ = write!(text, " {} |", count.map_or_else(|| "-".to_owned(), |(_, count)| format!("{count:.2}")));
        }
        text.push('\n');
    }
    text.push('\n');
}

fn footer(report: &Report, text: &mut String) {
    let machine = &report.machine;
    let _ = writeln!(
        text,
        "Measured {} with {}: {} rounds of {} s, interleaved, seed {}; {}, {} cores, Linux {}.",
        report.date, report.tool, report.rounds, report.run_s, report.seed, machine.processor, machine.cores, machine.kernel
    );
    let _ = writeln!(text, "Versions: {}.", report.versions().join("; "));
    for note in report.notes() {
        let _ = writeln!(text, "Note: {note}.");
    }
    for failure in &report.failures {
        let _ = writeln!(text, "Not measured: {} ({}).", failure.what, failure.reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::report::tests::report;

    #[test]
    fn tables_are_complete() {
        let text = page(&report());
        assert!(text.contains("| Ringmain | 9.50 **0.76** (0.75-0.77) 1.12x |"), "{text}");
        assert!(text.contains("| Ringmain | 800 | 1000 | 2.00 |"), "{text}");
        assert!(text.contains("1970-01-02") && text.contains("Not measured: nginx stream"), "{text}");
        let rows: Vec<usize> = text.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
        assert_eq!(rows, [3, 3, 3, 3, 3, 5, 5, 5]);
    }
}
