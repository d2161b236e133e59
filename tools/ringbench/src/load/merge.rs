//! Adds up what the workers hand over, while they run: totals, and a time series of bounded memory.

use super::Plan;
use super::exchange::nanoseconds;
use super::recorder::{Interval, Share, latency_histogram};
use super::run::{Outcome, Report};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

/// Intervals whose histograms are kept, so that all workers' parts of a second can be merged; older ones shrink to a point.
const RECENT: usize = 30;
/// Time between two progress reports.
const TICK: Duration = Duration::from_millis(100);

/// One second of the time series.
#[derive(Clone, Debug, Serialize)]
pub struct IntervalPoint {
    /// Seconds from the start of the measured part to the start of this interval.
    pub second: u64,
    /// Operations completed.
    pub operations: u64,
    /// Failures.
    pub errors: u64,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile in microseconds.
    pub p99_us: f64,
    /// Largest latency in microseconds.
    pub max_us: f64,
    /// The latencies themselves, compressed (HdrHistogram V2, deflated): a second of them takes a few kilobytes.
    #[serde(skip)]
    pub histogram: Vec<u8>,
}

impl IntervalPoint {
    fn of(interval: &Interval) -> Self {
        let microseconds = |value: u64| value as f64 / 1000.0;
        Self {
            second: interval.index,
            operations: interval.operations,
            errors: interval.errors.total(),
            bytes_up: interval.bytes_up,
            bytes_down: interval.bytes_down,
            p50_us: microseconds(interval.latency.value_at_quantile(0.5)),
            p99_us: microseconds(interval.latency.value_at_quantile(0.99)),
            max_us: microseconds(interval.latency.max()),
            histogram: crate::hdr::compress(&interval.latency),
        }
    }

    /// A worker that was silent for long hands over an old second.
    fn add_late(&mut self, late: &Interval) {
        let mut whole = Interval::empty(self.second);
        whole.latency = crate::hdr::expand(&self.histogram).unwrap_or_else(latency_histogram);
        whole.operations = self.operations;
        merge(&mut whole, late);
        let (errors, up, down) = (self.errors, self.bytes_up, self.bytes_down);
        *self = Self::of(&whole);
        self.errors += errors;
        self.bytes_up += up;
        self.bytes_down += down;
    }
}

/// Everything the workers handed over.
pub(super) struct Merged {
    total: Interval,
    recent: BTreeMap<u64, Interval>,
    points: BTreeMap<u64, IntervalPoint>,
}

impl Merged {
    pub(super) fn new() -> Self {
        Self { total: Interval::empty(0), recent: BTreeMap::new(), points: BTreeMap::new() }
    }

    /// Takes intervals until all workers are gone, and calls `tick` about ten times a second.
    pub(super) fn collect(&mut self, receiver: &Receiver<Interval>, mut tick: impl FnMut()) {
        let mut next_tick = Instant::now();
        loop {
            match receiver.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                Ok(interval) => self.add(interval),
                Err(RecvTimeoutError::Timeout) => {
                    tick();
                    next_tick = Instant::now() + TICK;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn add(&mut self, interval: Interval) {
        merge(&mut self.total, &interval);
        if let Some(point) = self.points.get_mut(&interval.index) {
            return point.add_late(&interval);
        }
        match self.recent.get_mut(&interval.index) {
            Some(known) => merge(known, &interval),
            None => drop(self.recent.insert(interval.index, interval)),
        }
        if self.recent.len() > RECENT {
            self.shrink_oldest();
        }
    }

    fn shrink_oldest(&mut self) {
        if let Some((index, interval)) = self.recent.pop_first() {
            self.points.insert(index, IntervalPoint::of(&interval));
        }
    }

    pub(super) fn finish(mut self, plan: &Plan, reports: &[Report], begun: SystemTime) -> Outcome {
        while !self.recent.is_empty() {
            self.shrink_oldest();
        }
        let mut servers: BTreeMap<String, Share> = BTreeMap::new();
        for (name, share) in reports.iter().flat_map(|report| &report.shares) {
            let sum = servers.entry(name.as_str().to_owned()).or_default();
            sum.answers += share.answers;
            sum.connections += share.connections;
        }
        let longest = reports.iter().map(|report| report.measured_ns).max().unwrap_or(0);
        // With a time limit the rate refers to the whole time, even when the last answer came a little before its end.
        let counted = plan.count.is_some() || plan.stream_bytes.is_some();
        let measured_ns = if counted { longest } else { longest.max(nanoseconds(plan.duration)) };
        Outcome {
            latency: self.total.latency,
            connect: self.total.connect,
            lag: self.total.lag,
            operations: self.total.operations,
            errors: self.total.errors,
            examples: reports.iter().rev().flat_map(|report| report.examples.clone()).collect(),
            bytes_up: self.total.bytes_up,
            bytes_down: self.total.bytes_down,
            handshakes: self.total.handshakes,
            measured: Duration::from_nanos(measured_ns),
            servers,
            begun,
            intervals: self.points.into_values().collect(),
            generator: reports.iter().map(|report| report.cost).collect(),
        }
    }
}

fn merge(into: &mut Interval, from: &Interval) {
    into.latency += &from.latency;
    into.connect += &from.connect;
    into.lag += &from.lag;
    into.operations += from.operations;
    into.errors.merge(&from.errors);
    into.bytes_up += from.bytes_up;
    into.bytes_down += from.bytes_down;
    into.handshakes.full += from.handshakes.full;
    into.handshakes.resumed += from.handshakes.resumed;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn interval(index: u64, latency_us: u64) -> Interval {
        let mut interval = Interval::empty(index);
        interval.operations = 1;
        interval.latency.saturating_record(latency_us * 1000);
        interval
    }

    #[test]
    fn a_long_run_keeps_every_second_and_few_histograms() {
        let mut merged = Merged::new();
        for index in 0..200 {
            merged.add(interval(index, 10 + index));
            assert!(merged.recent.len() <= RECENT);
        }
        merged.add(interval(3, 5000));
        let plan = Plan::new(SocketAddr::from(([127, 0, 0, 1], 1)));
        let outcome = merged.finish(&plan, &[], SystemTime::UNIX_EPOCH);
        assert_eq!((outcome.operations, outcome.latency.len(), outcome.intervals.len()), (201, 201, 200));
        assert!(outcome.intervals.iter().enumerate().all(|(index, point)| point.second == index as u64));
        let late = outcome.intervals.get(3).expect("there");
        assert_eq!((late.operations, crate::hdr::expand(&late.histogram).map(|histogram| histogram.len())), (2, Some(2)));
        assert!(late.max_us > 4900.0 && late.p50_us < 20.0, "{late:?}");
    }

    #[test]
    fn workers_of_the_same_second_are_merged() {
        let mut merged = Merged::new();
        merged.add(interval(0, 10));
        merged.add(interval(0, 30));
        let outcome = merged.finish(&Plan::new(SocketAddr::from(([127, 0, 0, 1], 1))), &[], SystemTime::UNIX_EPOCH);
        assert_eq!(outcome.intervals.iter().map(|point| point.operations).collect::<Vec<_>>(), [2]);
    }
}
