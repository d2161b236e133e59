//! The comparison as one self-contained page: bars with their spread, tables, machine, versions. No scripts, nothing from a network. Pure.

use super::line::Line;
use super::report::{Report, Table};
use super::subject::FLOOR;
use crate::units;
use std::fmt::Write;

const STYLE: &str = include_str!("versus.css");
/// Width of the drawing; the page scales it.
const WIDTH: f64 = 1030.0;
/// Where bars begin: names stand before it.
const LEFT: f64 = 170.0;
/// Where the longest whisker ends: figures stand behind it.
const RIGHT: f64 = 760.0;
const ROW: f64 = 30.0;
const BAR: f64 = 18.0;

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut body = String::new();
    intro(report, &mut body);
    for table in &report.workloads {
        let _ = write!(body, "<h2>{}</h2><p>{}, {}. Lower is better.</p>", escape(&table.workload), escape(&table.description), table.unit);
        chart(table, &mut body);
        figures(table, &mut body);
    }
    idle(report, &mut body);
    system_calls(report, &mut body);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Ringmain beside HAProxy and nginx</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

fn intro(report: &Report, body: &mut String) {
    let machine = &report.machine;
    let _ = write!(
        body,
        "<h1>Ringmain beside HAProxy and nginx</h1><p>{}; {}, {} cores, Linux {}; {}: {} rounds of {} s, interleaved, order from seed {}.</p>",
        escape(&report.date),
        escape(&machine.processor),
        machine.cores,
        escape(&machine.kernel),
        report.tool,
        report.rounds,
        report.run_s,
        report.seed
    );
    body.push_str(
        "<p>Bars are medians of the proxy's processor time per unit of work; lines on them go from the best to the worst round; the dashed \
         line is HAProxy. The bare floor is a small epoll loop that forwards the same bytes with no features at all.</p>\
         <p class=\"legend\"><span style=\"background:var(--ours)\"></span>Ringmain<span style=\"background:var(--base)\"></span>HAProxy, \
         the baseline<span style=\"background:var(--floor)\"></span>bare floor<span style=\"background:var(--other)\"></span>others</p><ul>",
    );
    for failure in &report.failures {
        let _ = write!(body, "<li class=\"bad\">Not measured: {}: {}</li>", escape(&failure.what), escape(&failure.reason));
    }
    for note in report.notes() {
        let _ = write!(body, "<li>Note: {}.</li>", escape(&note));
    }
    let versions: Vec<String> = report.versions().into_iter().map(escape).collect();
    let _ = write!(body, "<li>Versions: {}.</li>", versions.join("; "));
    body.push_str("</ul>");
}

fn class(proxy: &str, baseline: &str) -> &'static str {
    match proxy {
        _ if proxy.starts_with("ringmain") => "ours",
        _ if proxy == baseline => "base",
        FLOOR => "floor",
        _ => "",
    }
}

fn chart(table: &Table, body: &mut String) {
    let longest = table.lines.iter().map(|line| line.cpu_per_unit.max).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / longest;
    let height = ROW * table.lines.len() as f64 + 8.0;
    let _ = write!(body, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", escape(&table.description));
    if let Some(base) = table.lines.iter().find(|line| line.proxy == table.baseline) {
        let at = x(base.cpu_per_unit.median);
        let _ = write!(body, "<line class=\"reference\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{height}\"/>");
    }
    for (index, line) in table.lines.iter().enumerate() {
        bar(line, table.baseline, ROW * index as f64 + 4.0, x, body);
    }
    body.push_str("</svg>");
}

fn bar(line: &Line, baseline: &str, top: f64, x: impl Fn(f64) -> f64, body: &mut String) {
    let cpu = line.cpu_per_unit;
    let (middle, text) = (top + BAR / 2.0, top + BAR / 2.0 + 4.5);
    let _ = write!(
        body,
        "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
         <rect class=\"bar {}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>",
        LEFT - 10.0,
        line.title,
        class(line.proxy, baseline),
        x(cpu.median) - LEFT
    );
    let (low, high) = (x(cpu.min), x(cpu.max));
    let _ = write!(body, "<path class=\"whisker\" d=\"M{low:.1} {middle}H{high:.1}");
    for end in [low, high] {
        let _ = write!(body, "M{end:.1} {:.1}v8", middle - 4.0);
    }
    let ratio = line.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2} of HAProxy"));
    let floor = line.floor_multiple.map_or_else(String::new, |multiple| format!("{multiple:.2} x floor"));
    let _ = write!(
        body,
        "\"/><text x=\"{:.1}\" y=\"{text:.1}\">{}</text><text class=\"soft\" x=\"{:.1}\" y=\"{text:.1}\">{ratio}</text>\
         <text class=\"soft\" x=\"{:.1}\" y=\"{text:.1}\">{floor}</text>",
        RIGHT + 12.0,
        units::significant(cpu.median),
        RIGHT + 64.0,
        RIGHT + 180.0
    );
}

fn open_table(columns: &[&str], body: &mut String) {
    body.push_str("<div class=\"scroll\"><table><tr>");
    for column in columns {
        let _ = write!(body, "<th>{}</th>", escape(column));
    }
    body.push_str("</tr>");
}

fn table_row(proxy: &str, cells: &[String], body: &mut String) {
    let _ = write!(body, "<tr class=\"{}\">", if proxy.starts_with("ringmain") { "ours" } else { "" });
    for cell in cells {
        let _ = write!(body, "<td>{}</td>", escape(cell));
    }
    body.push_str("</tr>");
}

fn figures(table: &Table, body: &mut String) {
    let columns = ["proxy", "CPU per unit", "min - max", "of HAProxy", "by round", "x floor", "errors", "rate/s", "p50", "p99", "p99.9"];
    // Streams have no latency.
    let shown = if table.bulk { 8 } else { columns.len() };
    open_table(columns.get(..shown).unwrap_or_default(), body);
    let two = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2}"));
    let latency = |us: Option<f64>| us.map_or_else(String::new, |us| units::latency((us * 1000.0) as u64));
    for line in &table.lines {
        let cpu = line.cpu_per_unit;
        let rate = if table.bulk { format!("{:.2} GB", line.rate_per_s) } else { units::count(line.rate_per_s) };
        let cells = [
            line.title.to_owned(),
            units::significant(cpu.median),
            format!("{} - {}", units::significant(cpu.min), units::significant(cpu.max)),
            two(line.ratio),
            line.ratio_by_round.map_or_else(String::new, |all| format!("{:.2} - {:.2}", all.min, all.max)),
            two(line.floor_multiple),
            line.errors.to_string(),
            rate,
            latency(line.p50_us),
            latency(line.p99_us),
            latency(line.p999_us.map(|all| all.median)),
        ];
        table_row(line.proxy, cells.get(..shown).unwrap_or_default(), body);
    }
    body.push_str("</table></div>");
}

fn idle(report: &Report, body: &mut String) {
    let Some(first) = report.idle.first() else { return };
    let _ = write!(
        body,
        "<h2>Idle connections</h2><p>Resident memory for each of {} established, silent connections. Net: what one more costs. Gross: growth \
         since the fresh process, pools of fixed size included.</p>",
        first.connections
    );
    open_table(&["proxy", "net", "gross", "fresh process", "all held", "CPU while silent"], body);
    for sample in &report.idle {
        let cells = [
            report.title(sample.proxy).to_owned(),
            format!("{:.0} B", sample.net_bytes_per_connection),
            format!("{:.0} B", sample.gross_bytes_per_connection),
            units::bytes(sample.before_bytes as f64),
            units::bytes(sample.held_bytes as f64),
            format!("{:.2} ms in {:.1} s", sample.silent_cpu_ms, sample.silent_s),
        ];
        table_row(sample.proxy, &cells, body);
    }
    body.push_str("</table></div>");
}

fn system_calls(report: &Report, body: &mut String) {
    if report.system_calls.is_empty() {
        return;
    }
    body.push_str(
        "<h2>System calls</h2><p>For each exchange (two forwarded messages) or connection, counted by strace in a separate run.</p>",
    );
    open_table(&["proxy", "workload", "calls", "most frequent"], body);
    for trace in &report.system_calls {
        let frequent: Vec<String> = trace.most_frequent.iter().map(|(name, count)| format!("{name} {count:.2}")).collect();
        let title = report.title(trace.proxy).to_owned();
        let cells = [title, trace.workload.clone(), format!("{:.2}", trace.calls_per_operation), frequent.join(", ")];
        table_row(trace.proxy, &cells, body);
    }
    body.push_str("</table></div>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::report::tests::report;

    #[test]
    fn the_page_is_complete_and_self_contained() {
        let page = page(&report());
        for part in
            ["Test &amp; Co", "&lt;test&gt;", "0.76 of HAProxy", "class=\"bar ours\"", "800 B", "io_uring_enter 2.00", "not here (nginx)"]
        {
            assert!(page.contains(part), "{part}");
        }
        for foreign in ["http:", "https:", "<script", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<tr").count(), page.matches("</tr>").count());
    }

    #[test]
    fn bars_stay_inside_the_drawing() {
        let page = page(&report());
        let widths = page.split("width=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
        assert!(widths.into_iter().all(|width| (0.0..=RIGHT - LEFT + 0.1).contains(&width)));
    }
}
