//! What a worker measures: latency histograms per interval, errors, bytes, who answered. One per worker, merged by the run.

use super::errors::{ErrorCounts, ErrorKind};
use crate::protocol::ServerName;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

/// Longest latency told apart, in nanoseconds (one hour); longer ones count as this.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
/// Length of one interval of the time series, in nanoseconds.
pub(super) const INTERVAL_NS: u64 = 1_000_000_000;

/// An empty latency histogram: nanoseconds, 64 ns to one hour, three significant digits.
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(64, LATENCY_MAX_NS, 3).unwrap_or_else(|_| unreachable!("constant bounds are valid"))
}

/// Live counts, read by the progress line while workers run.
#[derive(Debug, Default)]
pub struct Live {
    /// Operations completed since the run began, warm-up included.
    pub operations: AtomicU64,
    /// Failures since the run began.
    pub errors: AtomicU64,
    /// Bytes sent and received.
    pub bytes: AtomicU64,
    /// Connections established now.
    pub connected: AtomicU64,
}

/// What one server answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Exchanges answered, or streams summed up.
    pub answers: u64,
    /// Connections whose first answer came from it.
    pub connections: u64,
}

/// TLS handshakes completed in the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Handshakes {
    /// Full ones.
    pub full: u64,
    /// Those that resumed an earlier session.
    pub resumed: u64,
}

/// One interval of one worker.
pub struct Interval {
    /// Number of the interval since the measured part began, from 0.
    pub index: u64,
    /// Latencies of operations that ended in it.
    pub latency: Histogram<u64>,
    /// Times until a connection was ready for operations.
    pub connect: Histogram<u64>,
    /// Open loop: how late the generator itself was when a connection was free.
    pub lag: Histogram<u64>,
    /// Operations completed.
    pub operations: u64,
    /// Failures.
    pub errors: ErrorCounts,
    /// Bytes sent.
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
    /// TLS handshakes.
    pub handshakes: Handshakes,
}

impl Interval {
    /// Nothing measured yet.
    pub fn empty(index: u64) -> Self {
        Self {
            index,
            latency: latency_histogram(),
            connect: latency_histogram(),
            lag: latency_histogram(),
            operations: 0,
            errors: ErrorCounts::default(),
            bytes_up: 0,
            bytes_down: 0,
            handshakes: Handshakes::default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.operations == 0 && self.errors.total() == 0 && self.bytes_up == 0 && self.bytes_down == 0 && self.connect.is_empty()
    }
}

/// Collects one worker's measurements and hands them over interval by interval.
pub struct Recorder<'a> {
    live: &'a Live,
    sender: Sender<Interval>,
    measure_from_ns: u64,
    measure_until_ns: u64,
    current: Interval,
    shares: HashMap<ServerName, Share>,
    last_ns: u64,
    examples: BTreeMap<ErrorKind, String>,
}

/// What is left of a recorder at its end.
pub struct Finished {
    /// Who answered.
    pub shares: HashMap<ServerName, Share>,
    /// When the last measured thing happened.
    pub last_ns: u64,
    /// The first failure of some kinds, in the words of what noticed it.
    pub examples: BTreeMap<ErrorKind, String>,
}

impl<'a> Recorder<'a> {
    /// Measures nothing but connects until `window` is called.
    pub fn new(live: &'a Live, sender: Sender<Interval>) -> Self {
        let current = Interval::empty(0);
        Self {
            live,
            sender,
            measure_from_ns: u64::MAX,
            measure_until_ns: u64::MAX,
            current,
            shares: HashMap::new(),
            last_ns: 0,
            examples: BTreeMap::new(),
        }
    }

    /// From now on measures what is intended between the two times; what was intended before the first is warm-up and only counts as
    /// live.
    pub fn window(&mut self, measure_from_ns: u64, measure_until_ns: u64) {
        (self.measure_from_ns, self.measure_until_ns) = (measure_from_ns, measure_until_ns);
    }

    /// Start of the measured part, in nanoseconds since the run began.
    pub fn measured_from_ns(&self) -> u64 {
        self.measure_from_ns
    }

    /// A completed operation.
    pub fn success(&mut self, intended_ns: u64, now_ns: u64, server: Option<ServerName>, first_on_connection: bool) {
        self.live.operations.fetch_add(1, Ordering::Relaxed);
        if intended_ns < self.measure_from_ns {
            return;
        }
        self.turn(now_ns);
        self.current.operations += 1;
        self.current.latency.saturating_record(now_ns.saturating_sub(intended_ns));
        if let Some(name) = server {
            let share = self.shares.entry(name).or_default();
            share.answers += 1;
            share.connections += u64::from(first_on_connection);
        }
    }

    /// A failed operation. Where the time waited is a lower bound of the latency it enters the percentiles too.
    pub fn failure(&mut self, intended_ns: u64, now_ns: u64, kind: ErrorKind) {
        self.live.errors.fetch_add(1, Ordering::Relaxed);
        if intended_ns < self.measure_from_ns {
            return;
        }
        self.turn(now_ns);
        self.current.errors.add(kind, 1);
        if kind.counts_as_latency() {
            self.current.latency.saturating_record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// A connection failed that carried no operation: counted always, as there is no start that could lie in the warm-up.
    pub fn lost(&mut self, now_ns: u64, kind: ErrorKind) {
        self.live.errors.fetch_add(1, Ordering::Relaxed);
        self.turn(now_ns);
        self.current.errors.add(kind, 1);
    }

    /// A connection was established.
    pub fn connected(&mut self, begun_ns: u64, now_ns: u64) {
        self.live.connected.fetch_add(1, Ordering::Relaxed);
        self.turn(now_ns);
        self.current.connect.saturating_record(now_ns.saturating_sub(begun_ns));
    }

    /// A TLS handshake is complete; before the measured part it does not count.
    pub fn handshake(&mut self, now_ns: u64, resumed: bool) {
        if now_ns >= self.measure_from_ns {
            self.turn(now_ns);
            self.current.handshakes.full += u64::from(!resumed);
            self.current.handshakes.resumed += u64::from(resumed);
        }
    }

    /// A connection that was established is gone.
    pub fn disconnected(&mut self) {
        self.live.connected.fetch_sub(1, Ordering::Relaxed);
    }

    /// How late the generator was with an operation that nothing but itself held up.
    pub fn lag(&mut self, late_ns: u64) {
        self.current.lag.saturating_record(late_ns);
    }

    /// Bytes moved; outside the measured time they count as live only.
    pub fn bytes(&mut self, now_ns: u64, up: u64, down: u64) {
        self.live.bytes.fetch_add(up + down, Ordering::Relaxed);
        if (self.measure_from_ns..self.measure_until_ns).contains(&now_ns) {
            self.turn(now_ns);
            self.current.bytes_up += up;
            self.current.bytes_down += down;
        }
    }

    /// Keeps the words of the first failure of a kind.
    pub fn example(&mut self, kind: ErrorKind, words: &impl ToString) {
        self.examples.entry(kind).or_insert_with(|| words.to_string());
    }

    /// Hands over the last interval.
    pub fn finish(mut self) -> Finished {
        self.hand_over(u64::MAX);
        Finished { shares: self.shares, last_ns: self.last_ns, examples: self.examples }
    }

    fn turn(&mut self, now_ns: u64) {
        self.last_ns = self.last_ns.max(now_ns);
        let index = now_ns.saturating_sub(self.measure_from_ns) / INTERVAL_NS;
        if index > self.current.index {
            self.hand_over(index);
        }
    }

    fn hand_over(&mut self, next: u64) {
        let done = std::mem::replace(&mut self.current, Interval::empty(next));
        if !done.is_empty() {
            // The run listens until every worker is done; if it went away nobody wants the figures.
            let _ = self.sender.send(done);
        }
    }
}
