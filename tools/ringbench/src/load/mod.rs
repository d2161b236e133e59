//! The load generator: a [`Plan`] in, an [`Outcome`] out.
//!
//! `run` starts one worker thread per requested thread; each owns its share of the connections, its epoll and its recorder. Workers
//! share nothing but live counters, so their cost is that of the sockets. Called by the command line, the demo, `versus` and tests.

mod bulk;
mod dialogue;
mod errors;
mod exchange;
mod merge;
mod recorder;
mod run;
mod schedule;
mod slot;

pub use dialogue::Protocol;
pub use errors::{ErrorCounts, ErrorKind};
pub use merge::IntervalPoint;
pub use recorder::{Share, latency_histogram};
pub use run::{GeneratorCost, Outcome, Snapshot, run};

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Requests and answers on connections that stay open.
    Pingpong,
    /// Connect, one exchange, close, again and again.
    Connect,
    /// The client sends as fast as it can.
    BulkUp,
    /// The server sends as fast as it can.
    BulkDown,
    /// Both send as fast as they can.
    BulkBoth,
    /// One exchange on every connection, silence, one more exchange, close.
    Idle,
}

impl Workload {
    /// True for flows of bytes, which have a throughput but no latency.
    pub fn is_bulk(self) -> bool {
        matches!(self, Self::BulkUp | Self::BulkDown | Self::BulkBoth)
    }

    /// What one operation is called in a report.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Pingpong | Self::Idle => "exchange",
            Self::Connect => "connection",
            Self::BulkUp | Self::BulkDown | Self::BulkBoth => "stream",
        }
    }
}

/// One load run, completely described.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to connect.
    pub target: SocketAddr,
    /// What the connections do.
    pub workload: Workload,
    /// How they speak.
    pub protocol: Protocol,
    /// Connections, over all threads; at least 1.
    pub connections: usize,
    /// Worker threads, 1 to `connections`.
    pub threads: usize,
    /// Cores for the workers, used in turn; none leaves the choice to the kernel.
    pub cpus: Vec<usize>,
    /// Bytes of a request; a framed one has at least 16.
    pub request_bytes: usize,
    /// Bytes of an answer; a framed one has at least 32. Ignored by raw protocols.
    pub response_bytes: usize,
    /// Bytes of each bulk stream per direction; none streams until the time is over.
    pub stream_bytes: Option<u64>,
    /// Measured time; with `count` the longest time.
    pub duration: Duration,
    /// Operations to do; none goes on for the whole duration.
    pub count: Option<u64>,
    /// Open loop: operations per second over all connections; none is a closed loop.
    pub rate: Option<f64>,
    /// Time before the measured part.
    pub warmup: Duration,
    /// Time over which connections are opened.
    pub ramp: Duration,
    /// Longest wait for a connect and for an answer.
    pub timeout: Duration,
    /// Compare every byte with what must have been sent.
    pub verify: bool,
}

/// Why a plan cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError(&'static str);

impl fmt::Display for PlanError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// A closed-loop pingpong of 128-byte messages on one connection for one second: a starting point.
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            workload: Workload::Pingpong,
            protocol: Protocol::Framed,
            connections: 1,
            threads: 1,
            cpus: Vec::new(),
            request_bytes: 128,
            response_bytes: 128,
            stream_bytes: None,
            duration: Duration::from_secs(1),
            count: None,
            rate: None,
            warmup: Duration::ZERO,
            ramp: Duration::ZERO,
            timeout: Duration::from_secs(10),
            verify: false,
        }
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// The first contradiction, in plain words.
    pub fn check(&self) -> Result<(), PlanError> {
        use crate::protocol::{MESSAGE_BYTES_MAX, REQUEST_HEADER_BYTES, RESPONSE_HEADER_BYTES};
        let framed = self.protocol == Protocol::Framed;
        let largest = MESSAGE_BYTES_MAX as usize;
        let problem = if self.connections == 0 || self.threads == 0 {
            Some("connections and threads must be at least 1")
        } else if self.threads > self.connections {
            Some("there cannot be more threads than connections")
        } else if self.request_bytes == 0 || self.request_bytes > largest || self.response_bytes > largest {
            Some("message sizes must be 1 byte to 16 MiB")
        } else if framed && (self.request_bytes < REQUEST_HEADER_BYTES || self.response_bytes < RESPONSE_HEADER_BYTES) {
            Some("framed requests have at least 16 bytes and answers 32; use --protocol raw with an echo server for smaller ones")
        } else if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            Some("the rate must be above 0")
        } else if self.rate.is_some() && !matches!(self.workload, Workload::Pingpong | Workload::Connect) {
            Some("a rate is possible for pingpong and connect only")
        } else if self.duration.is_zero() {
            Some("the duration must be above 0")
        } else if self.timeout.is_zero() {
            Some("the timeout must be above 0")
        } else if self.verify && !framed && self.workload == Workload::BulkUp {
            Some("a discard server cannot tell what it received; use the framed protocol to verify an upload")
        } else if self.verify && !framed && self.workload == Workload::BulkDown {
            Some("a raw source repeats one buffer; use the framed protocol to verify a download")
        } else {
            None
        };
        problem.map_or(Ok(()), |words| Err(PlanError(words)))
    }
}

#[cfg(test)]
mod tests;
