//! Failures by kind. Every operation that was due ends either in the latency figures or here, never in neither.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The connect was refused.
    Refused,
    /// The connect was not answered in time.
    ConnectTimeout,
    /// The connection was reset.
    Reset,
    /// The connection ended before the answer was complete.
    Closed,
    /// The answer did not come in time.
    Timeout,
    /// The answer or stream is not what was sent.
    Corrupt,
    /// HTTP: an answer that blames the request (400 to 499).
    Status4xx,
    /// HTTP: an answer that tells of a failure of the server or a proxy (500 and above).
    Status5xx,
    /// MQTT: the server refused the session, a subscription or a message.
    Rejected,
    /// TLS: the handshake or a record was not acceptable to one side.
    Tls,
    /// TLS: a full handshake where the resumption of a session was asked for.
    NotResumed,
    /// Open loop: due before the end, but no connection was free to send it in time.
    Unsent,
    /// The generator ran out of local ports.
    LocalPorts,
    /// The generator ran out of descriptors or memory.
    LocalResources,
    /// Any other error of the network.
    Network,
}

impl ErrorKind {
    /// The kind of an error of an established connection, or of a local failure to make one.
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => Self::Refused,
            Some(libc::ECONNRESET | libc::EPIPE) => Self::Reset,
            Some(libc::ETIMEDOUT) => Self::Timeout,
            Some(libc::EADDRNOTAVAIL) => Self::LocalPorts,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => Self::LocalResources,
            _ if error.kind() == io::ErrorKind::InvalidData => Self::Tls,
            _ if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Network,
        }
    }

    /// True when the time waited is a lower bound of a latency and belongs into the percentiles.
    pub fn counts_as_latency(self) -> bool {
        matches!(self, Self::Timeout | Self::ConnectTimeout | Self::Unsent)
    }

    /// The kind in plain words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::ConnectTimeout => "connect timed out",
            Self::Reset => "connection reset",
            Self::Closed => "connection closed before the answer",
            Self::Timeout => "answer timed out",
            Self::Corrupt => "answer damaged",
            Self::Status4xx => "answered with a status of 400 to 499",
            Self::Status5xx => "answered with a status of 500 or above",
            Self::Rejected => "refused by the MQTT server",
            Self::Tls => "TLS not acceptable",
            Self::NotResumed => "TLS session not resumed",
            Self::Unsent => "due but never sent",
            Self::LocalPorts => "no local port left",
            Self::LocalResources => "no local descriptors or memory left",
            Self::Network => "other network error",
        }
    }
}

/// Failures counted by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ErrorCounts(BTreeMap<ErrorKind, u64>);

impl ErrorCounts {
    /// Counts `count` failures.
    pub fn add(&mut self, kind: ErrorKind, count: u64) {
        if count > 0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// Adds all counts of another set.
    pub fn merge(&mut self, other: &Self) {
        for (&kind, &count) in &other.0 {
            self.add(kind, count);
        }
    }

    /// All failures.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Failures of one kind.
    pub fn of(&self, kind: ErrorKind) -> u64 {
        self.0.get(&kind).copied().unwrap_or(0)
    }

    /// Kinds that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (ErrorKind, u64)> + '_ {
        self.0.iter().map(|(&kind, &count)| (kind, count))
    }
}
