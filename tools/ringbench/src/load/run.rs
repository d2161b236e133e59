//! Starts the workers of a plan, merges what they measure, and returns the outcome.

use super::bulk::Streamer;
use super::errors::{ErrorCounts, ErrorKind};
use super::exchange::{Exchanger, nanoseconds};
use super::merge::Merged;
use super::recorder::{Finished, Handshakes, Live, Recorder, Share};
use super::{IntervalPoint, Plan, PlanError};
use crate::cpu::{self, CpuTime};
use crate::protocol::ServerName;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Time since the run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn now(self) -> u64 {
        nanoseconds(self.0.elapsed())
    }
}

/// Where workers wait until all connections stand; the schedule begins for all at the same time.
pub(super) struct Gate {
    barrier: Barrier,
    begin_ns: OnceLock<u64>,
}

impl Gate {
    /// Waits for the others and returns the common start.
    pub(super) fn pass(&self, clock: Clock) -> u64 {
        self.barrier.wait();
        *self.begin_ns.get_or_init(|| clock.now())
    }
}

/// Progress of a run, for a live line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// Time since the schedule began; absent while connections are being opened.
    pub elapsed: Option<Duration>,
    /// Operations completed.
    pub operations: u64,
    /// Failures.
    pub errors: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Connections established now.
    pub connected: u64,
}

/// What the generator itself cost, per worker.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GeneratorCost {
    /// Processor time over the worker's life, as a share of one core (0 to 1).
    pub busy: f64,
    /// Share of the time it wanted a core and had none.
    pub starved: f64,
}

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Latency of operations in nanoseconds, from the intended start; timeouts included with the time waited.
    pub latency: Histogram<u64>,
    /// Time until a connection was ready for operations, in nanoseconds: connect, TLS handshake, the protocol's own opening.
    pub connect: Histogram<u64>,
    /// Open loop: how late the generator itself sent, in nanoseconds.
    pub lag: Histogram<u64>,
    /// Operations completed in the measured part.
    pub operations: u64,
    /// Failures.
    pub errors: ErrorCounts,
    /// The first failure of some kinds, in the words of what noticed it.
    pub examples: BTreeMap<ErrorKind, String>,
    /// Bytes sent in the measured part.
    pub bytes_up: u64,
    /// Bytes received in the measured part.
    pub bytes_down: u64,
    /// TLS handshakes in the measured part.
    pub handshakes: Handshakes,
    /// Length of the measured part, until the last measured operation ended.
    pub measured: Duration,
    /// Answers by server name; empty when answers name no server.
    pub servers: BTreeMap<String, Share>,
    /// When the measured part began.
    pub begun: SystemTime,
    /// Second by second.
    pub intervals: Vec<IntervalPoint>,
    /// Cost of each worker.
    pub generator: Vec<GeneratorCost>,
}

impl Outcome {
    /// Completed operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.measured.as_secs_f64().max(1e-9)
    }

    /// True when a worker used or wanted nearly all of its core, so that its figures may be the generator's own limit.
    pub fn saturated(&self) -> bool {
        self.generator.iter().any(|cost| cost.busy + cost.starved > 0.9)
    }
}

/// Runs a plan and calls `observe` about ten times a second.
///
/// # Errors
/// When the plan contradicts itself, a worker cannot be pinned or the process is out of descriptors. Failures of single connections are
/// no errors of the run: they are counted in the outcome.
pub fn run(plan: &Plan, mut observe: impl FnMut(Snapshot)) -> io::Result<Outcome> {
    plan.check().map_err(|error: PlanError| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let live = Live::default();
    let clock = Clock(Instant::now());
    let wall = SystemTime::now();
    let gate = Gate { barrier: Barrier::new(plan.threads), begin_ns: OnceLock::new() };
    let (sender, receiver) = channel();
    let mut merged = Merged::new();
    let reports = thread::scope(|scope| {
        let mut workers = Vec::new();
        for worker in 0..plan.threads {
            let recorder = Recorder::new(&live, sender.clone());
            let gate = &gate;
            workers.push(scope.spawn(move || work(plan, clock, gate, recorder, worker)));
        }
        drop(sender);
        merged.collect(&receiver, || {
            let begin_ns = gate.begin_ns.get().copied();
            observe(Snapshot {
                elapsed: begin_ns.map(|begin| Duration::from_nanos(clock.now().saturating_sub(begin))),
                operations: live.operations.load(Ordering::Relaxed),
                errors: live.errors.load(Ordering::Relaxed),
                bytes: live.bytes.load(Ordering::Relaxed),
                connected: live.connected.load(Ordering::Relaxed),
            });
        });
        let panicked = || io::Error::other("a load worker panicked");
        workers.into_iter().map(|worker| worker.join().map_err(|_| panicked())?).collect::<io::Result<Vec<Report>>>()
    })?;
    let begin_ns = gate.begin_ns.get().copied().unwrap_or(0);
    let begun = wall + Duration::from_nanos(begin_ns) + plan.warmup;
    Ok(merged.finish(plan, &reports, begun))
}

/// What a worker reports at its end.
pub(super) struct Report {
    pub(super) shares: HashMap<ServerName, Share>,
    pub(super) examples: BTreeMap<ErrorKind, String>,
    pub(super) measured_ns: u64,
    pub(super) cost: GeneratorCost,
}

fn work(plan: &Plan, clock: Clock, gate: &Gate, recorder: Recorder<'_>, worker: usize) -> io::Result<Report> {
    let prepared = match plan.cpus.get(worker % plan.cpus.len().max(1)) {
        Some(&cpu) => cpu::pin_current_thread(cpu),
        None => Ok(()),
    };
    let before = cpu::current_thread_time().unwrap_or_default();
    let begun = Instant::now();
    let connections = part(plan.connections as u64, worker, plan.threads) as usize;
    let limit = plan.count.map_or(u64::MAX, |count| part(count, worker, plan.threads));
    // A worker that cannot start still passes the gate: the others must not wait for it.
    let give_up = |error: io::Error| {
        gate.pass(clock);
        error
    };
    let recorder = if plan.workload.is_bulk() {
        let streamer = prepared.and_then(|()| Streamer::new(plan, clock, recorder, connections));
        let mut streamer = streamer.map_err(give_up)?;
        streamer.run(gate)?;
        streamer.recorder
    } else {
        let exchanger = prepared.and_then(|()| Exchanger::new(plan, clock, recorder, worker, connections));
        let mut exchanger = exchanger.map_err(give_up)?;
        exchanger.run(gate, worker, limit)?;
        exchanger.recorder
    };
    let used = cpu::current_thread_time().unwrap_or_default().since(before);
    let from_ns = recorder.measured_from_ns();
    let Finished { shares, last_ns, examples } = recorder.finish();
    Ok(Report { shares, examples, measured_ns: last_ns.saturating_sub(from_ns), cost: cost(used, begun.elapsed()) })
}

fn cost(used: CpuTime, wall: Duration) -> GeneratorCost {
    let share = |time: Duration| time.as_secs_f64() / wall.as_secs_f64().max(1e-9);
    GeneratorCost { busy: share(used.running), starved: share(used.waiting) }
}

/// Part number `index` of `total` split evenly.
fn part(total: u64, index: usize, parts: usize) -> u64 {
    let parts = parts.max(1) as u64;
    total / parts + u64::from((index as u64) < total % parts)
}
