//! Everything that a comparison found, ready to be shown: `table` for terminals, `markdown` for documents, `html` for browsers, JSON by
//! its own definition.

use super::line::{Line, lines, spread};
use super::plan::VersusWorkload;
use super::sample::{IdleSample, Sample};
use super::subject::Subject;
use super::trace::TraceSample;
use crate::cpu;
use ringmain_wire::calendar::Calendar;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// A share of waiting above which a run counts as disturbed.
const STARVED: f64 = 0.1;

/// What was measured in one call.
#[derive(Default)]
pub(super) struct Results {
    pub(super) samples: Vec<Sample>,
    pub(super) idle: Vec<IdleSample>,
    pub(super) traces: Vec<TraceSample>,
    pub(super) failures: Vec<Failure>,
    /// Fixed rates of paced workloads, by their names.
    pub(super) paces: Vec<Pace>,
    /// Why all proxies were in the machine's own network; none when each had its own.
    pub(super) shared_network: Option<String>,
}

/// Something that could not be measured. The rest is valid.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    /// Title of the proxy, or the part of the comparison.
    pub(super) what: String,
    pub(super) reason: String,
}

/// The fixed rate of a paced workload.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pace {
    pub(super) workload: String,
    /// Round, from 0, which warms up.
    pub(super) round: usize,
    /// HAProxy's own peak in operations per second, measured in that round.
    pub(super) peak_per_s: f64,
    /// What all proxies get.
    pub(super) rate_per_s: f64,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) tool: &'static str,
    pub(super) date: String,
    pub(super) machine: Machine,
    pub(super) seed: u64,
    pub(super) rounds: usize,
    pub(super) run_s: f64,
    pub(super) proxies: Vec<Named>,
    pub(super) workloads: Vec<Table>,
    pub(super) paces: Vec<Pace>,
    pub(super) idle: Vec<IdleSample>,
    pub(super) system_calls: Vec<TraceSample>,
    pub(super) noise: Noise,
    /// Why all proxies were in the machine's own network; absent when each had its own.
    pub(super) shared_network: Option<String>,
    pub(super) failures: Vec<Failure>,
    pub(super) samples: Vec<Sample>,
}

/// Where it was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
}

/// A proxy.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Named {
    pub(super) key: &'static str,
    pub(super) title: &'static str,
    pub(super) version: String,
}

/// One workload.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Table {
    pub(super) workload: String,
    pub(super) description: String,
    pub(super) unit: &'static str,
    /// Throughput in bytes, no latency.
    pub(super) bulk: bool,
    pub(super) baseline: &'static str,
    pub(super) lines: Vec<Line>,
}

/// How much else went on.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Noise {
    pub(super) runs: usize,
    /// Runs in which something else took more than a tenth of the proxy's core.
    pub(super) starved_runs: usize,
    /// Runs in which the generator's core was full.
    pub(super) saturated_runs: usize,
}

/// How the comparison was run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) seed: u64,
    pub(super) rounds: usize,
    pub(super) run_s: f64,
}

impl Report {
    pub(super) fn new(subjects: &[Subject], workloads: &[VersusWorkload], results: Results, setting: Setting) -> Self {
        let proxies: Vec<Named> =
            subjects.iter().map(|subject| Named { key: subject.key, title: subject.title, version: subject.version.clone() }).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let machine = Machine { processor: cpu::model_name(), cores: cpu::available_cores(), kernel: kernel.trim().to_owned() };
        Self::of(proxies, workloads, results, setting, machine, now)
    }

    /// The pure part.
    pub(super) fn of(
        proxies: Vec<Named>,
        workloads: &[VersusWorkload],
        results: Results,
        setting: Setting,
        machine: Machine,
        unix_s: u64,
    ) -> Self {
        let Results { samples, idle, traces, failures, paces, shared_network } = results;
        let names: Vec<(&str, &str)> = proxies.iter().map(|proxy| (proxy.key, proxy.title)).collect();
        let table = |workload: &VersusWorkload| Table {
            workload: workload.to_string(),
            description: workload.describe(),
            unit: workload.unit(),
            bulk: workload.is_bulk(),
            baseline: workload.baseline(),
            lines: lines(*workload, &names, &samples),
        };
        let noise = Noise {
            runs: samples.len(),
            starved_runs: samples.iter().filter(|sample| sample.starved > STARVED).count(),
            saturated_runs: samples.iter().filter(|sample| sample.generator_saturated).count(),
        };
        Self {
            tool: concat!("ringbench ", env!("CARGO_PKG_VERSION")),
            date: date(unix_s),
            machine,
            seed: setting.seed,
            rounds: setting.rounds,
            run_s: setting.run_s,
            workloads: workloads.iter().map(table).filter(|table| !table.lines.is_empty()).collect(),
            proxies,
            paces,
            idle,
            system_calls: traces,
            noise,
            shared_network,
            failures,
            samples,
        }
    }

    /// Title of a proxy.
    pub(super) fn title(&self, key: &str) -> &'static str {
        self.proxies.iter().find(|proxy| proxy.key == key).map_or("", |proxy| proxy.title)
    }

    /// What the programs say their versions are, each once.
    pub(super) fn versions(&self) -> Vec<&str> {
        let mut versions: Vec<&str> = Vec::new();
        for proxy in &self.proxies {
            if !versions.contains(&proxy.version.as_str()) {
                versions.push(&proxy.version);
            }
        }
        versions
    }

    /// What limits the figures, in sentences.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let Noise { runs, starved_runs, saturated_runs } = self.noise;
        if saturated_runs > 0 {
            notes.push(format!(
                "in {saturated_runs} of {runs} runs the generator's core was full: rate and latency are limits of the generator, CPU per unit is not"
            ));
        }
        if starved_runs > 0 {
            notes.push(format!(
                "in {starved_runs} of {runs} runs something else took more than a tenth of the proxy's core: rate and latency are disturbed, CPU per unit less so"
            ));
        }
        if let Some(reason) = &self.shared_network {
            notes.push(format!(
                "all proxies shared one network ({reason}): ports that a run left in TIME_WAIT made connections of later runs dearer"
            ));
        }
        for table in &self.workloads {
            let rates = self.paces.iter().filter(|pace| pace.round > 0 && pace.workload == table.workload).map(|pace| pace.rate_per_s);
            if let Some(rates) = spread(rates) {
                notes.push(format!(
                    "{}: {:.0} exchanges/s ({:.0} - {:.0}), which is {:.0} % of HAProxy's own peak in the same round",
                    table.workload,
                    rates.median,
                    rates.min,
                    rates.max,
                    100.0 * super::plan::PACE
                ));
            }
        }
        notes
    }

    /// Whether everything was measured and no operation failed.
    pub(super) fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.samples.iter().all(|sample| sample.errors == 0) && self.idle.iter().all(|idle| idle.errors == 0)
    }

    /// Traced proxies, each with its calls per operation by workload.
    pub(super) fn traced(&self) -> Vec<(&'static str, Vec<(&str, f64)>)> {
        let of = |key: &'static str| {
            let mine = self.system_calls.iter().filter(|trace| trace.proxy == key);
            (key, mine.map(|trace| (trace.workload.as_str(), trace.calls_per_operation)).collect::<Vec<_>>())
        };
        self.proxies.iter().map(|proxy| of(proxy.key)).filter(|(_, calls)| !calls.is_empty()).collect()
    }
}

fn date(unix_s: u64) -> String {
    let now = Calendar::from_seconds(i64::try_from(unix_s).unwrap_or(i64::MAX));
    format!("{:04}-{:02}-{:02} {:02}:{:02} UTC", now.year, now.month, now.day, now.hour, now.minute)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::versus::line::tests::sample;

    /// A small complete report.
    pub(in crate::versus) fn report() -> Report {
        let named = |key, title| Named { key, title, version: format!("{title} 1.0 <test>") };
        let proxies = vec![named("floor", "bare floor"), named("ringmain", "Ringmain"), named("haproxy", "HAProxy")];
        let samples = vec![
            sample("floor", 1, 8.0),
            sample("floor", 2, 9.0),
            sample("ringmain", 1, 9.0),
            sample("ringmain", 2, 10.0),
            sample("haproxy", 1, 12.0),
            sample("haproxy", 2, 13.0),
        ];
        let idle = vec![IdleSample {
            proxy: "ringmain",
            connections: 5000,
            before_bytes: 1_000_000,
            half_bytes: 4_000_000,
            held_bytes: 6_000_000,
            gross_bytes_per_connection: 1000.0,
            net_bytes_per_connection: 800.0,
            silent_cpu_ms: 0.0,
            silent_s: 10.0,
            errors: 0,
        }];
        let traces = vec![TraceSample {
            proxy: "ringmain",
            workload: "pp:1".to_owned(),
            calls_per_operation: 2.0,
            operations: 1000,
            most_frequent: vec![("io_uring_enter".to_owned(), 2.0)],
        }];
        let failures = vec![Failure { what: "nginx stream".to_owned(), reason: "not here (nginx)".to_owned() }];
        let paces = vec![Pace { workload: "pp:1".to_owned(), round: 1, peak_per_s: 10_000.0, rate_per_s: 7_000.0 }];
        let results = Results { samples, idle, traces, failures, paces, shared_network: None };
        let machine = Machine { processor: "Test & Co".to_owned(), cores: 2, kernel: "6.1".to_owned() };
        Report::of(proxies, &[VersusWorkload::Messages(1)], results, Setting { seed: 1, rounds: 2, run_s: 1.0 }, machine, 86_400)
    }

    #[test]
    fn a_report_says_what_failed_and_what_limits_it() {
        let report = report();
        assert_eq!(report.date, "1970-01-02 00:00 UTC");
        assert!(!report.is_clean());
        assert_eq!(report.traced(), [("ringmain", vec![("pp:1", 2.0)])]);
        assert!(report.notes().iter().any(|note| note.contains("7000 exchanges/s")), "{:?}", report.notes());
        let json = serde_json::to_value(&report).expect("plain data");
        assert_eq!(json["workloads"][0]["lines"][1]["proxy"], "ringmain");
        assert_eq!(json["failures"][0]["reason"], "not here (nginx)");
    }
}
