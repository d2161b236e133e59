//! One run of one proxy: load on one side, its processor time and memory on the other.

use super::plan::VersusWorkload;
use super::subject::Subject;
use crate::load::{self, Plan, Workload};
use serde::Serialize;
use std::thread;
use std::time::Duration;

/// Time for a proxy to finish closing what a run left, so that its cost falls into the run that caused it.
const SETTLE: Duration = Duration::from_millis(40);

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

/// Memory of idle connections.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IdleSample {
    /// Key of the proxy.
    pub(crate) proxy: &'static str,
    /// Connections held.
    pub(crate) connections: usize,
    /// Resident memory before, in bytes.
    pub(crate) before_bytes: u64,
    /// Resident memory while they were held, in bytes.
    pub(crate) held_bytes: u64,
    /// Growth per connection, in bytes.
    pub(crate) bytes_per_connection: f64,
    /// Failed operations.
    pub(crate) errors: u64,
}

/// Drives one proxy for `duration`.
pub(super) fn run(subject: &Subject, workload: VersusWorkload, round: usize, duration: Duration, cpu: usize) -> anyhow::Result<Sample> {
    let plan = workload.load(subject.address, duration, cpu);
    let before = subject.cpu_time()?;
    let outcome = load::run(&plan, |_| {})?;
    thread::sleep(SETTLE);
    let used = subject.cpu_time()?.since(before);
    let units = if workload.is_bulk() { outcome.bytes_down as f64 / 1e9 } else { outcome.operations as f64 };
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
        cpu_per_unit: scale * cpu_s / units.max(f64::MIN_POSITIVE),
        rate_per_s: units / seconds,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        errors: outcome.errors.total(),
        starved: used.waiting.as_secs_f64() / seconds,
        generator_saturated: outcome.saturated(),
    })
}

/// Holds idle connections through one proxy and reads its memory meanwhile.
pub(super) fn idle(subject: &Subject, connections: usize, hold: Duration, cpu: usize) -> anyhow::Result<IdleSample> {
    let plan = Plan { workload: Workload::Idle, connections, duration: hold, cpus: vec![cpu], ..Plan::new(subject.address) };
    let before_bytes = subject.resident_bytes()?;
    let mut held_bytes = Ok(before_bytes);
    let outcome = load::run(&plan, |snapshot| {
        // Only while every connection stands and has carried its first exchange; the last reading counts.
        if snapshot.connected == connections as u64 && snapshot.operations == connections as u64 {
            held_bytes = subject.resident_bytes();
        }
    })?;
    let held_bytes = held_bytes?;
    Ok(IdleSample {
        proxy: subject.key,
        connections,
        before_bytes,
        held_bytes,
        bytes_per_connection: held_bytes.saturating_sub(before_bytes) as f64 / connections.max(1) as f64,
        errors: outcome.errors.total(),
    })
}
