//! Live state of frontends and binds.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_utils::CachePadded;
use ringmain_policy::rate::SharedRate;

use super::{Counter, Gate, MqttLive};

/// Live state of a frontend; its identity is the section's name.
#[derive(Debug)]
pub struct FrontendLive {
    /// The section's name.
    pub name: Arc<str>,
    /// `maxconn` of the frontend.
    pub sessions: Gate,
    /// New sessions per second, for `rate-limit sessions` and statistics.
    pub session_rate: SharedRate,
    /// Counters, by shard.
    pub counters: Box<[CachePadded<FrontendCounters>]>,
    /// What is counted of MQTT.
    pub mqtt: MqttLive,
    /// Number of the last generation that was warned of clients with a keep alive that is too long for its timeout; 0 is none.
    pub keepalive_warned: AtomicU64,
}

/// What one shard counted for one frontend.
#[derive(Debug, Default)]
pub struct FrontendCounters {
    /// Connections accepted (`conn_tot`).
    pub connections: Counter,
    /// Sessions started (`stot`).
    pub sessions: Counter,
    /// Bytes from clients (`bin`).
    pub bytes_in: Counter,
    /// Bytes to clients (`bout`).
    pub bytes_out: Counter,
    /// Requests denied by `tcp-request content` (`dreq`).
    pub denied_requests: Counter,
    /// Responses denied by `tcp-response content` (`dresp`).
    pub denied_responses: Counter,
    /// Connections denied by `tcp-request connection` (`dcon`).
    pub denied_connections: Counter,
    /// Sessions denied by `tcp-request session` (`dses`).
    pub denied_sessions: Counter,
    /// Log lines written (`%lc`).
    pub log_lines: Counter,
    /// Client errors (`ereq`).
    pub request_errors: Counter,
}

impl FrontendLive {
    /// A fresh frontend.
    pub fn new(name: Arc<str>, shards: usize, maxconn: u32) -> Self {
        Self {
            name,
            sessions: Gate::new(maxconn),
            session_rate: SharedRate::default(),
            counters: (0..shards).map(|_| CachePadded::default()).collect(),
            mqtt: MqttLive::new(shards),
            keepalive_warned: AtomicU64::new(0),
        }
    }
}

/// Live state of one listening address; its identity is endpoint, interface and IPv6 binding.
#[derive(Debug)]
pub struct BindLive {
    /// `maxconn` of the bind; no limit when it has none.
    pub sessions: Gate,
    /// Counters of the sessions that came in here (`option socket-stats`), by shard.
    pub counters: Box<[CachePadded<FrontendCounters>]>,
}

impl BindLive {
    /// A fresh bind.
    pub fn new(shards: usize, maxconn: Option<u32>) -> Self {
        Self { sessions: Gate::new(maxconn.unwrap_or(0)), counters: (0..shards).map(|_| CachePadded::default()).collect() }
    }
}
