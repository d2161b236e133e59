//! `ringbench versus`: proxies side by side on one core, by processor time per unit of work.
//!
//! All proxies run at the same time and are silent unless it is their turn, so runs can be interleaved: what disturbs the machine
//! disturbs all of them alike. Generator and server live in this process, pinned away from the proxies. A proxy that fails is left out
//! from then on, with the reason in the report; the others' figures stay.

mod floor;
mod html;
mod line;
mod markdown;
mod network;
mod plan;
mod recipe;
mod report;
mod sample;
mod subject;
mod table;
mod trace;

pub use floor::{FloorArguments, run as run_floor};
use network::Network;
pub use plan::{VersusWorkload, shuffled};

use crate::cli::VersusArguments;
use crate::{cpu, output};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use recipe::Role;
use report::{Failure, Pace, Report, Results, Setting};
use sample::Course;
use std::time::{Duration, Instant};
use subject::{BASELINE, Cores, Subject};

/// Time of the unmeasured first run of each proxy and workload.
const WARM_UP: Duration = Duration::from_millis(300);

/// Time that strace takes to attach and to detach, twice.
const TRACER: Duration = Duration::from_millis(400);

/// How long and how often.
struct Effort {
    rounds: usize,
    duration: Duration,
    idle_connections: usize,
    /// Time in which idle connections are held.
    idle_hold: Duration,
    trace: Duration,
}

impl Effort {
    fn of(arguments: &VersusArguments) -> anyhow::Result<Self> {
        let quick = arguments.quick;
        let pick = |quick_ms, full_ms| Duration::from_millis(if quick { quick_ms } else { full_ms });
        let effort = Self {
            rounds: arguments.rounds.unwrap_or(if quick { 3 } else { 8 }),
            duration: arguments.duration.unwrap_or(pick(600, 2000)),
            idle_connections: arguments.idle.unwrap_or(if quick { 2000 } else { 5000 }),
            idle_hold: pick(1200, 10_500),
            trace: pick(500, 1500),
        };
        if effort.rounds == 0 || effort.duration.is_zero() {
            bail!("there must be at least one round of more than no time");
        }
        Ok(effort)
    }
}

impl Effort {
    /// How long all of it takes, as far as that can be said beforehand: the sum of what is waited for, and of what runs like it.
    fn estimate(&self, subjects: &[Subject], workloads: &[VersusWorkload]) -> Duration {
        let count =
            |pick: &dyn Fn(&Subject) -> bool| u32::try_from(subjects.iter().filter(|subject| pick(subject)).count()).unwrap_or(u32::MAX);
        let rounds = u32::try_from(self.rounds).unwrap_or(u32::MAX);
        let runs: u32 = workloads.iter().map(|workload| count(&|subject| subject.runs(*workload))).sum();
        let peaks = u32::try_from(workloads.iter().filter(|workload| workload.calibration().is_some()).count()).unwrap_or(0);
        let run = self.duration + sample::SETTLE;
        let distinct = count(&Subject::is_distinct);
        let connections = u32::try_from(self.idle_connections).unwrap_or(u32::MAX);
        let idle = if connections == 0 { Duration::ZERO } else { sample::idle_time(connections, self.idle_hold) };
        // A traced proxy runs twice, and the second time only as long as strace takes to come and go.
        let traced = u32::try_from(trace::TRACED.len()).unwrap_or(0) * (self.trace + TRACER);
        runs * (WARM_UP + sample::SETTLE) + rounds * (runs + peaks) * run + distinct * (idle + traced)
    }
}

/// Runs the comparison, prints it and writes `versus.json` and `versus.html`; false when something failed or was not measured.
///
/// # Errors
/// When no proxy can be started, cores do not exist, or results cannot be written.
pub fn run(arguments: &VersusArguments) -> anyhow::Result<bool> {
    let effort = Effort::of(arguments)?;
    let workloads = plan::workloads(&arguments.workloads)?;
    let available = cpu::available_cores();
    let cores = Cores::of(arguments.proxy_cpu, arguments.load_cpu.unwrap_or_else(|| available.saturating_sub(1)), available);
    std::fs::create_dir_all(&arguments.output).with_context(|| format!("cannot create {}", arguments.output.display()))?;
    // First of all, while this process has one thread.
    let shared_network = network::prepare().err().map(|error| format!("{error:#}"));
    let mut results = Results { shared_network, ..Results::default() };
    let subjects = start_all(arguments, &workloads, cores, &mut results)?;
    describe(&subjects, cores, &effort, arguments.seed, &workloads);
    let begun = Instant::now();

    let mut comparison = Comparison { subjects: &subjects, workloads: &workloads, cores, effort: &effort, results, lost: Vec::new() };
    comparison.measure(arguments);
    eprintln!("measured in {}", minutes(begun.elapsed()));
    let setting = Setting { seed: arguments.seed, rounds: effort.rounds, run_s: effort.duration.as_secs_f64() };
    let report = Report::new(&subjects, &workloads, comparison.results, setting);
    let text = if arguments.markdown { markdown::page(&report) } else { table::tables(&report) };
    output::write(format_args!("{text}"));
    for (name, text) in [("versus.json", serde_json::to_string_pretty(&report)? + "\n"), ("versus.html", html::page(&report))] {
        let path = arguments.output.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("written to {}", path.display());
    }
    Ok(report.is_clean())
}

/// Starts every proxy that a workload needs; those that do not start become failures.
fn start_all(
    arguments: &VersusArguments,
    workloads: &[VersusWorkload],
    cores: Cores,
    results: &mut Results,
) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    let myself = std::env::current_exe().context("cannot find this program")?;
    for recipe in recipe::recipes(&arguments.ringmain, arguments.other_ringmain.as_deref(), &myself) {
        // Idle memory and system calls need those with one thread in any case.
        let runs = |workload: &VersusWorkload| workload.threads() == recipe.threads && recipe.role.includes(*workload);
        if (recipe.threads > 1 || recipe.role != Role::Tcp) && !workloads.iter().any(runs) {
            continue;
        }
        let network = if results.shared_network.is_some() { Ok(Network::Shared) } else { Network::own() };
        match network.and_then(|network| subject::start(&recipe, arguments, network, cores)) {
            Ok(subject) => {
                eprintln!("{}: {}", subject.title, subject.version);
                subjects.push(subject);
            }
            Err(error) => {
                eprintln!("{}: left out: {error:#}", recipe.title);
                results.failures.push(Failure { what: recipe.title.to_owned(), reason: format!("{error:#}") });
            }
        }
    }
    if subjects.is_empty() {
        bail!("there is no proxy to measure; tools/setup/install.sh versus installs HAProxy and nginx");
    }
    Ok(subjects)
}

fn describe(subjects: &[Subject], cores: Cores, effort: &Effort, seed: u64, workloads: &[VersusWorkload]) {
    let Effort { rounds, duration, .. } = effort;
    eprintln!(
        "{} proxies on core {}, generator and server on core {}; seed {seed}; {rounds} rounds of {duration:?}",
        subjects.len(),
        cores.first,
        cores.load
    );
    eprintln!("about {} on a machine that does nothing else", minutes(effort.estimate(subjects, workloads)));
    if cores.load == cores.first {
        eprintln!("note: proxies and generator share core {}; only CPU per unit means something", cores.load);
    } else if cores.second == cores.load && workloads.iter().any(|workload| workload.threads() == 2) {
        eprintln!("note: there is no third core: the second thread of proxies with two shares one with the generator");
    }
}

/// A comparison under way.
struct Comparison<'a> {
    subjects: &'a [Subject],
    workloads: &'a [VersusWorkload],
    cores: Cores,
    effort: &'a Effort,
    results: Results,
    /// Keys of proxies that failed and are not asked again.
    lost: Vec<&'static str>,
}

impl<'a> Comparison<'a> {
    fn measure(&mut self, arguments: &VersusArguments) {
        let turns = self.turns();
        let bar = progress_bar(turns.len() * (self.effort.rounds + 1));
        // Memory first, while every process is fresh: later, pools that have grown already would hide what a connection costs.
        self.idle(&bar);
        let (paced, free): (Vec<_>, Vec<_>) = turns.into_iter().partition(|(_, workload)| workload.calibration().is_some());
        for round in 0..=self.effort.rounds {
            let seed = arguments.seed.wrapping_add(round as u64);
            self.one_round(&free, round, seed, &bar);
            if !paced.is_empty() {
                // Just before, because what else runs on the machine changes: a peak of a quieter time would overload every proxy.
                self.find_paces(round);
                self.one_round(&paced, round, seed, &bar);
            }
        }
        bar.set_message("system calls");
        self.trace(&arguments.output.join("strace.txt"), &bar);
        bar.finish_and_clear();
    }

    /// Who runs what.
    fn turns(&self) -> Vec<(&'a Subject, VersusWorkload)> {
        let subjects = self.subjects;
        let of = |workload: &VersusWorkload| {
            let workload = *workload;
            subjects.iter().filter(move |subject| subject.runs(workload)).map(move |subject| (subject, workload))
        };
        self.workloads.iter().flat_map(of).collect()
    }

    fn one_round(&mut self, turns: &[(&Subject, VersusWorkload)], round: usize, seed: u64, bar: &ProgressBar) {
        for index in shuffled(turns.len(), seed) {
            if let Some(&(subject, workload)) = turns.get(index) {
                self.one_run(subject, workload, round, bar);
            }
        }
    }

    fn one_run(&mut self, subject: &Subject, workload: VersusWorkload, round: usize, bar: &ProgressBar) {
        bar.inc(1);
        let paces = self.results.paces.iter();
        let pace = paces.rev().find(|pace| pace.round == round && pace.workload == workload.to_string()).map(|pace| pace.rate_per_s);
        let unpaced = workload.calibration().is_some() && pace.is_none();
        if self.lost.contains(&subject.key) || unpaced {
            return;
        }
        bar.set_message(format!("{workload} {}", subject.title));
        // Round 0 warms caches and pools and is thrown away.
        let duration = if round == 0 { WARM_UP } else { self.effort.duration };
        match sample::run(subject, workload, round, Course { duration, load_cpu: self.cores.load, rate: pace }) {
            Ok(sample) if round > 0 => self.results.samples.push(sample),
            Ok(_) => {}
            Err(error) => self.lose(subject, &error),
        }
    }

    fn idle(&mut self, bar: &ProgressBar) {
        let connections = self.effort.idle_connections;
        if connections == 0 {
            return;
        }
        for subject in self.subjects.iter().filter(|subject| subject.is_distinct()) {
            bar.set_message(format!("{connections} idle connections, {}", subject.title));
            match sample::idle(subject, connections, self.effort.idle_hold, self.cores.load) {
                Ok(sample) => self.results.idle.push(sample),
                // It may well forward: whether it is gone the next run will tell.
                Err(error) => self.fail(&format!("idle connections, {}", subject.title), &format!("{error:#}")),
            }
        }
    }

    /// Finds HAProxy's own peak for each paced workload.
    fn find_paces(&mut self, round: usize) {
        let Some(baseline) = self.subjects.iter().find(|subject| subject.key == BASELINE && !self.lost.contains(&subject.key)) else {
            if round == 1 {
                self.fail("fixed rate", "there is no HAProxy whose peak would fix it");
            }
            return;
        };
        for (workload, closed) in self.workloads.iter().filter_map(|workload| Some((*workload, workload.calibration()?))) {
            let course = Course { duration: self.effort.duration, load_cpu: self.cores.load, rate: None };
            match sample::run(baseline, closed, round, course) {
                Ok(peak) => self.results.paces.push(Pace {
                    workload: workload.to_string(),
                    round,
                    peak_per_s: peak.rate_per_s,
                    rate_per_s: peak.rate_per_s * plan::PACE,
                }),
                Err(error) => self.lose(baseline, &error),
            }
        }
    }

    fn trace(&mut self, file: &std::path::Path, bar: &ProgressBar) {
        if let Err(error) = trace::check() {
            return self.fail("system calls", &format!("{error:#}"));
        }
        for subject in self.subjects.iter().filter(|subject| subject.is_distinct()) {
            for workload in trace::TRACED.into_iter().filter(|workload| subject.runs(*workload)) {
                bar.set_message(format!("system calls, {workload} {}", subject.title));
                if self.lost.contains(&subject.key) {
                    continue;
                }
                match trace::run(subject, workload, self.effort.trace, self.cores.load, file) {
                    Ok(sample) => self.results.traces.push(sample),
                    Err(error) => {
                        self.fail(&format!("system calls, {}", subject.title), &format!("{error:#}"));
                        break;
                    }
                }
            }
        }
    }

    fn lose(&mut self, subject: &Subject, error: &anyhow::Error) {
        self.lost.push(subject.key);
        self.fail(subject.title, &format!("{error:#}"));
    }

    fn fail(&mut self, what: &str, reason: &str) {
        self.results.failures.push(Failure { what: what.to_owned(), reason: reason.to_owned() });
    }
}

/// A length of time for people: minutes and seconds.
fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 { format!("{seconds} s") } else { format!("{} min {} s", seconds / 60, seconds % 60) }
}

fn progress_bar(runs: usize) -> ProgressBar {
    let bar = ProgressBar::new(runs as u64);
    let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar
}
