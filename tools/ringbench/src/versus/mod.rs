//! `ringbench versus`: proxies side by side on one core, by processor time per unit of work.
//!
//! All proxies run at the same time and are silent unless it is their turn, so runs can be interleaved: what disturbs the machine
//! disturbs all of them alike. Generator and server live in this process, pinned away from the proxies.

mod floor;
mod plan;
mod report;
mod sample;
mod subject;

pub use floor::{FloorArguments, run as run_floor};
pub use plan::{VersusWorkload, shuffled};

use crate::cli::VersusArguments;
use crate::cpu;
use crate::protocol::ServerName;
use crate::server::{Server, ServerOptions};
use crate::{output, say};
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sample::{IdleSample, Sample};
use std::net::SocketAddr;
use std::time::Duration;
use subject::Subject;

/// Time of the unmeasured first run of each proxy and workload.
const WARM_UP: Duration = Duration::from_millis(300);
/// Time in which connections must be held for the memory figure.
const IDLE_HOLD: Duration = Duration::from_millis(1500);

/// Everything measured in one call.
pub(crate) struct Results {
    pub(crate) samples: Vec<Sample>,
    pub(crate) idle: Vec<IdleSample>,
}

/// Runs the comparison, prints its tables and writes `versus.json`; false when a run had errors.
///
/// # Errors
/// When no proxy can be started, cores do not exist, or results cannot be written.
pub fn run(arguments: &VersusArguments) -> anyhow::Result<bool> {
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 8 });
    let duration = arguments.duration.unwrap_or(Duration::from_secs(if arguments.quick { 1 } else { 2 }));
    let workloads = plan::workloads(&arguments.workloads)?;
    if rounds == 0 || duration.is_zero() {
        bail!("there must be at least one round of more than no time");
    }
    let load_cpu = arguments.load_cpu.unwrap_or_else(|| cpu::available_cores().saturating_sub(1));
    if load_cpu == arguments.proxy_cpu {
        say!("note: proxies and generator share core {load_cpu}; only CPU per unit means something");
    }
    std::fs::create_dir_all(&arguments.output).with_context(|| format!("cannot create {}", arguments.output.display()))?;
    let mut options = ServerOptions::named(ServerName::new("target")?);
    options.cpu = Some(load_cpu);
    let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), options)?;
    let subjects = subject::start_all(arguments, server.address())?;
    say!(
        "cores: proxies {}, generator and server {load_cpu}; seed {}; {rounds} rounds of {duration:?}",
        arguments.proxy_cpu,
        arguments.seed
    );

    let idle_connections = arguments.idle.unwrap_or(if arguments.quick { 2000 } else { 5000 });
    let bar = progress_bar(subjects.len(), workloads.len(), rounds);
    let mut results = Results { samples: Vec::new(), idle: Vec::new() };
    // Memory first, while every process is fresh: later, pools that have grown already would hide what a connection costs.
    if idle_connections > 0 {
        for subject in &subjects {
            bar.set_message(format!("{idle_connections} idle connections, {}", subject.title));
            results.idle.push(sample::idle(subject, idle_connections, IDLE_HOLD, load_cpu)?);
        }
    }
    let course = Course { rounds, duration, load_cpu, seed: arguments.seed };
    results.samples = measure(&subjects, &workloads, &course, &bar)?;
    bar.finish_and_clear();
    output::write(format_args!("{}", report::tables(&subjects, &workloads, &results)));
    let path = arguments.output.join("versus.json");
    let text = serde_json::to_string_pretty(&report::json(&subjects, &workloads, &results, arguments.seed))?;
    std::fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    say!("written to {}", path.display());
    Ok(results.samples.iter().all(|sample| sample.errors == 0) && results.idle.iter().all(|sample| sample.errors == 0))
}

/// How long, how often, where and in which order.
struct Course {
    rounds: usize,
    duration: Duration,
    load_cpu: usize,
    seed: u64,
}

fn measure(subjects: &[Subject], workloads: &[VersusWorkload], course: &Course, bar: &ProgressBar) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for round in 0..=course.rounds {
        // Round 0 warms caches and pools and is thrown away.
        let duration = if round == 0 { WARM_UP } else { course.duration };
        for index in shuffled(subjects.len() * workloads.len(), course.seed.wrapping_add(round as u64)) {
            let (Some(subject), Some(workload)) = (subjects.get(index % subjects.len()), workloads.get(index / subjects.len())) else {
                continue;
            };
            bar.set_message(format!("{workload} {}", subject.title));
            let sample = sample::run(subject, *workload, round, duration, course.load_cpu)?;
            if round > 0 {
                samples.push(sample);
            }
            bar.inc(1);
        }
    }
    Ok(samples)
}

fn progress_bar(subjects: usize, workloads: usize, rounds: usize) -> ProgressBar {
    let bar = ProgressBar::new((subjects * workloads * (rounds + 1)) as u64);
    let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar
}
