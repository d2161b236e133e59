//! One or more runs as a web page with charts that needs nothing else: no network, no fonts, no libraries.

use super::percentile_rows;
use super::run::Run;
use serde_json::{Value, json};

/// The page around the data.
const TEMPLATE: &str = include_str!("page.html");
/// Where the data goes in it.
const DATA_MARK: &str = "/*DATA*/";
/// Points per halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 20;

/// The page of these runs, overlaid; the first is what the others are compared with.
pub fn page(runs: &[Run]) -> String {
    let data = Value::from(runs.iter().map(data).collect::<Vec<_>>());
    // A name must not be able to end the script it stands in.
    let text = data.to_string().replace('<', "\\u003c");
    TEMPLATE.replacen(DATA_MARK, &text, 1)
}

fn data(run: &Run) -> Value {
    let rows = percentile_rows(&[&run.latency]);
    let percentile = |values: &[Option<u64>]| values.first().copied().flatten().map(|value| value as f64 / 1000.0);
    json!({
        "name": run.name,
        "description": run.description,
        "unit": run.unit,
        "openLoop": run.open_loop,
        "bulk": run.bulk,
        "begun": run.begun_unix_s,
        "measured": run.measured_s,
        "operations": run.operations,
        "rate": run.rate_per_s,
        "bytesUp": run.bytes_up,
        "bytesDown": run.bytes_down,
        "errors": run.errors,
        "errorsTotal": run.errors_total(),
        "saturated": run.saturated,
        "generator": run.generator_cores,
        "mean": (!run.latency.is_empty()).then(|| run.latency.mean() / 1000.0),
        "percentiles": rows.iter().map(|(name, values)| json!([name, percentile(values)])).collect::<Vec<_>>(),
        "curve": curve(run),
        "seconds": run.seconds.iter().map(|second| json!([
            second.second, second.operations, second.errors, second.p50_us, second.p99_us, second.max_us, second.bytes_up + second.bytes_down
        ])).collect::<Vec<_>>(),
    })
}

/// Points of the percentile curve: how many operations there are for each one that is slower, and the latency in microseconds. It ends
/// where a single operation is left: beyond that there is nothing to know.
fn curve(run: &Run) -> Vec<(f64, f64)> {
    let most = run.latency.len() as f64;
    let mut points = Vec::new();
    for step in run.latency.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        let inverse = (1.0 / (1.0 - step.quantile_iterated_to()).max(f64::MIN_POSITIVE)).min(most);
        points.push((inverse, step.value_iterated_to() as f64 / 1000.0));
        if inverse >= most {
            break;
        }
    }
    if let Some(last) = points.last_mut() {
        *last = (most, run.latency.max() as f64 / 1000.0);
    }
    points
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::run;
    use super::*;

    #[test]
    fn a_page_holds_its_runs_and_asks_for_nothing() {
        let text = page(&[run("one", 10), run("</script><b>two", 20)]);
        assert!(text.contains("\"name\":\"one\"") && text.contains("\\u003c/script>\\u003cb>two"));
        assert_eq!(text.matches("</script>").count(), 1, "the page's own");
        assert!(!text.contains(DATA_MARK));
        for outside in ["src=", "href=", "@import", "url(", "fetch(", "http://", "https://"] {
            assert!(!text.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_curve_rises_to_the_maximum() {
        let one = run("one", 10);
        let points = curve(&one);
        assert!(points.len() > 50 && points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1), "{points:?}");
        let (inverse, latency) = points.last().copied().expect("points");
        assert!((inverse - 1000.0).abs() < 1e-9 && (latency - 10_000.0).abs() < 10.0);
        let middle = points.iter().find(|(inverse, _)| *inverse >= 2.0).expect("the median");
        assert!((middle.1 - 5000.0).abs() < 20.0, "{middle:?}");
    }
}
