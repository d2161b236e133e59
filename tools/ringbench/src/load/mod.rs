//! The load generator: a [`Plan`] in, an [`Outcome`] out.
//!
//! `run` starts one worker thread per requested thread; each owns its share of the connections, its epoll and its recorder. Workers
//! share nothing but live counters, so their cost is that of the sockets. Called by the command line, the demo, `versus` and tests.

mod bulk;
mod dialogue;
mod errors;
mod exchange;
mod http;
mod merge;
mod mqtt;
mod recorder;
mod run;
mod schedule;
mod session;
mod slot;
mod talk;

pub use dialogue::Protocol;
pub use errors::{ErrorCounts, ErrorKind};
pub use http::{HttpParts, HttpRequest};
pub use merge::IntervalPoint;
pub use mqtt::{MqttAction, MqttSession};
pub use recorder::{Handshakes, Share, latency_histogram};
pub use run::{GeneratorCost, Outcome, Snapshot, run};

use crate::tls::TlsClient;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Most requests under way on one connection.
const PIPELINE_MAX: usize = 1024;
/// Largest MQTT message; leaves room for its head in the largest packet.
const MQTT_PAYLOAD_BYTES_MAX: usize = 1000 * 1024;

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
    /// Requests under way at once on one connection; above 1 with HTTP only.
    pub pipeline: usize,
    /// What is asked with [`Protocol::Http`].
    pub http: Option<HttpRequest>,
    /// What is said with [`Protocol::Mqtt`]; without it the defaults.
    pub mqtt: Option<MqttSession>,
    /// TLS on every connection.
    pub tls: Option<TlsClient>,
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
            pipeline: 1,
            http: None,
            mqtt: None,
            tls: None,
        }
    }

    /// What one operation is called in a report.
    pub fn unit(&self) -> &'static str {
        let action = self.mqtt.as_ref().map(|session| session.action);
        match (self.protocol, self.workload) {
            (Protocol::Http, _) => "request",
            (Protocol::Handshake, _) => "handshake",
            (Protocol::Mqtt, Workload::Connect) => "session",
            (Protocol::Mqtt, _) if action == Some(MqttAction::Publish) => "message",
            (Protocol::Mqtt, _) => "ping",
            (_, workload) => workload.unit(),
        }
    }

    /// True when a connection's opening is the whole operation.
    fn opening_is_all(&self) -> bool {
        self.workload == Workload::Connect && matches!(self.protocol, Protocol::Handshake | Protocol::Mqtt)
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
        } else if self.pipeline == 0 || self.pipeline > PIPELINE_MAX {
            Some("a pipeline holds 1 to 1024 requests")
        } else if self.pipeline > 1 && (self.protocol != Protocol::Http || self.workload != Workload::Pingpong) {
            Some("only HTTP requests on connections that stay open can be pipelined")
        } else if self.workload.is_bulk() && !framed && self.protocol != Protocol::Raw {
            Some("bulk streams are framed or raw")
        } else if self.protocol == Protocol::Handshake && (self.tls.is_none() || self.workload != Workload::Connect) {
            Some("handshakes need TLS and a connection for each")
        } else if self.protocol == Protocol::Http && self.http.is_none() {
            Some("there is no HTTP request to send")
        } else if self.mqtt.as_ref().is_some_and(|session| session.qos > 2 || session.payload_bytes < 8) {
            Some("MQTT messages have at least 8 bytes and a quality of service of 0 to 2")
        } else if self.mqtt.as_ref().is_some_and(|session| session.payload_bytes > MQTT_PAYLOAD_BYTES_MAX) {
            Some("MQTT messages have at most 1000 KiB here")
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
mod protocol_tests;
#[cfg(test)]
mod tests;
