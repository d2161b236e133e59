//! One run of one proxy: load on one side, its processor time and memory on the other.

use super::plan::VersusWorkload;
use super::subject::Subject;
use crate::cpu::CpuTime;
use crate::load::{Plan, Workload};
use serde::Serialize;
use std::thread;
use std::time::{Duration, Instant};

/// Time for a proxy to finish closing what a run left, so that its cost falls into the run that caused it.
pub(super) const SETTLE: Duration = Duration::from_millis(40);
/// Time after the last exchange before idle connections count as idle.
const QUIET: Duration = Duration::from_millis(200);

/// Time between the opening of two idle connections.
const BETWEEN_CONNECTS: Duration = Duration::from_micros(400);
/// Attempts to hold idle connections.
const ATTEMPTS: usize = 3;

/// What one run measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Key of the proxy.
    pub(crate) proxy: &'static str,
    /// Name of the workload.
    pub(crate) workload: String,
    /// Round, from 1.
    pub(crate) round: usize,
    /// CPU seconds of the proxy.
    pub(crate) cpu_s: f64,
    /// Exchanges, connections or gigabytes (10^9 bytes).
    pub(crate) units: f64,
    /// CPU per unit: microseconds, for bulk seconds.
    pub(crate) cpu_per_unit: f64,
    /// Units per second.
    pub(crate) rate_per_s: f64,
    /// Median latency in microseconds; none for bulk.
    pub(crate) p50_us: Option<f64>,
    /// 99th percentile in microseconds.
    pub(crate) p99_us: Option<f64>,
    /// 99.9th percentile in microseconds.
    pub(crate) p999_us: Option<f64>,
    /// Failed operations.
    pub(crate) errors: u64,
    /// Share of the run in which the proxy wanted its core and had none.
    pub(crate) starved: f64,
    /// The generator used or wanted all of its core.
    pub(crate) generator_saturated: bool,
}

/// Memory and processor time of idle connections.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IdleSample {
    /// Key of the proxy.
    pub(crate) proxy: &'static str,
    /// Connections held.
    pub(crate) connections: usize,
    /// Resident memory of the fresh process, in bytes.
    pub(crate) before_bytes: u64,
    /// Resident memory while half of them were held, in bytes.
    pub(crate) half_bytes: u64,
    /// Resident memory while all were held, in bytes.
    pub(crate) held_bytes: u64,
    /// Growth per connection since the fresh process, pools of fixed size included, in bytes.
    pub(crate) gross_bytes_per_connection: f64,
    /// Growth per connection from the first half to all, in bytes: what one more connection costs.
    pub(crate) net_bytes_per_connection: f64,
    /// Processor time used while all were held and silent, in milliseconds.
    pub(crate) silent_cpu_ms: f64,
    /// How long that was, in seconds.
    pub(crate) silent_s: f64,
    /// Failed operations.
    pub(crate) errors: u64,
}

/// How and where a run is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    /// Measured time.
    pub(super) duration: Duration,
    /// Core of the generator.
    pub(super) load_cpu: usize,
    /// Operations per second of paced workloads.
    pub(super) rate: Option<f64>,
}

/// Drives one proxy once.
///
/// # Errors
/// When the proxy has ended or the generator cannot run.
pub(super) fn run(subject: &Subject, workload: VersusWorkload, round: usize, course: Course) -> anyhow::Result<Sample> {
    let plan = workload.load(subject.address, course.duration, course.load_cpu, course.rate);
    let before = subject.cpu_time()?;
    let outcome = subject.load(&plan, |_| {})?;
    thread::sleep(SETTLE);
    let used = subject.cpu_time()?.since(before);
    let units = if workload.is_bulk() { outcome.bytes_down as f64 / 1e9 } else { outcome.operations as f64 };
    anyhow::ensure!(units > 0.0, "nothing came through under {workload}: {} errors", outcome.errors.total());
    let cpu_s = used.running.as_secs_f64();
    let scale = if workload.is_bulk() { 1.0 } else { 1e6 };
    let seconds = outcome.measured.as_secs_f64().max(1e-9);
    let quantile = |quantile: f64| (!workload.is_bulk()).then(|| outcome.latency.value_at_quantile(quantile) as f64 / 1000.0);
    Ok(Sample {
        proxy: subject.key,
        workload: workload.to_string(),
        round,
        cpu_s,
        units,
        cpu_per_unit: scale * cpu_s / units,
        rate_per_s: units / seconds,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        errors: outcome.errors.total(),
        starved: used.waiting.as_secs_f64() / seconds,
        generator_saturated: outcome.saturated(),
    })
}

/// Holds idle connections through a fresh proxy, first half of them, then all, and reads its memory and processor time meanwhile.
///
/// # Errors
/// As [`run`]; also when the connections never stood.
pub(super) fn idle(subject: &Subject, connections: usize, hold: Duration, cpu: usize) -> anyhow::Result<IdleSample> {
    let before_bytes = subject.resident_bytes()?;
    let half = (connections / 2).max(1);
    let first = hold_patiently(subject, half, QUIET * 4, cpu)?;
    let all = hold_patiently(subject, connections, hold, cpu)?;
    let growth = |from: u64, to: u64, count: usize| (to as f64 - from as f64) / count.max(1) as f64;
    Ok(IdleSample {
        proxy: subject.key,
        connections,
        before_bytes,
        half_bytes: first.resident_bytes,
        held_bytes: all.resident_bytes,
        gross_bytes_per_connection: growth(before_bytes, all.resident_bytes, connections),
        net_bytes_per_connection: growth(first.resident_bytes, all.resident_bytes, connections - half),
        silent_cpu_ms: all.silent_cpu.as_secs_f64() * 1000.0,
        silent_s: all.silent.as_secs_f64(),
        errors: first.errors + all.errors,
    })
}

/// How long [`idle`] takes.
pub(super) fn idle_time(connections: u32, hold: Duration) -> Duration {
    BETWEEN_CONNECTS * (connections / 2 + connections) + QUIET * 4 + hold
}

struct Held {
    resident_bytes: u64,
    silent_cpu: Duration,
    silent: Duration,
    errors: u64,
}

/// On a busy machine the first exchanges of all connections may take longer than they were to be held: then they are held longer.
fn hold_patiently(subject: &Subject, connections: usize, hold: Duration, cpu: usize) -> anyhow::Result<Held> {
    let mut hold = hold;
    for _ in 1..ATTEMPTS {
        if let Ok(held) = hold_idle(subject, connections, hold, cpu) {
            return Ok(held);
        }
        hold *= 3;
    }
    hold_idle(subject, connections, hold, cpu)
}

fn hold_idle(subject: &Subject, connections: usize, hold: Duration, cpu: usize) -> anyhow::Result<Held> {
    // Opened one after the other: a burst measures what allocators keep of its peak instead of what a connection needs.
    let ramp = BETWEEN_CONNECTS * u32::try_from(connections).unwrap_or(u32::MAX);
    let plan = Plan { workload: Workload::Idle, connections, ramp, duration: hold, cpus: vec![cpu], ..Plan::new(subject.address) };
    let mut complete: Option<Instant> = None;
    let mut first: Option<(Instant, CpuTime)> = None;
    let (mut last, mut unconfirmed) = (None, None);
    let mut problem = None;
    let outcome = subject.load(&plan, |snapshot| {
        // Only while every connection stands and has carried its first exchange; the last reading counts.
        if snapshot.connected != connections as u64 || snapshot.operations != connections as u64 {
            return;
        }
        let since = *complete.get_or_insert_with(Instant::now);
        if since.elapsed() < QUIET {
            return;
        }
        match subject.cpu_time().and_then(|time| Ok((Instant::now(), time, subject.resident_bytes()?))) {
            Ok((now, time, resident_bytes)) => {
                first.get_or_insert((now, time));
                // A reading counts once the next look finds the connections still silent: their last exchange may fall into it.
                last = unconfirmed.replace((now, time, resident_bytes)).or(last);
            }
            Err(error) => problem = Some(error),
        }
    })?;
    if let Some(error) = problem {
        return Err(error);
    }
    let (Some((begun, at_first)), Some((ended, at_last, resident_bytes))) = (first, last) else {
        anyhow::bail!("{connections} idle connections never stood: {} errors", outcome.errors.total());
    };
    let silent_cpu = at_last.since(at_first).running;
    Ok(Held { resident_bytes, silent_cpu, silent: ended.duration_since(begun), errors: outcome.errors.total() })
}
