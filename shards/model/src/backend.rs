//! Backends: how a server is chosen and reached.

use std::ops::Range;
use std::sync::Arc;

use crate::rule::BackendRules;
use crate::{Expression, LogSettings, Milliseconds, Mode, MqttCheck, SourceAddress};

/// One `backend`, or the serving half of a `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Section name; with a server's name the identity under which health and counters survive a reload.
    pub name: Arc<str>,
    /// HAProxy's proxy id; shared with the frontend half of a `listen`.
    pub proxy_id: u32,
    /// Free text shown in statistics.
    pub description: Option<Arc<str>>,
    /// Parsed but not used (`disabled`).
    pub disabled: bool,
    /// `mode`.
    pub mode: Mode,
    /// Indexes of its servers in `Model::servers`, in file order.
    pub servers: Range<usize>,
    /// `balance`.
    pub balance: Balance,
    /// `hash-type`.
    pub hash: Hash,
    /// Sessions at which servers with `minconn` reach their full `maxconn` (`fullconn`), resolved: HAProxy's default is 10 % of the sum of
    /// the maxconn of the frontends that may use it.
    pub fullconn: u32,
    /// Connection attempts after the first (`retries`), default 3.
    pub retries: u32,
    /// `option redispatch [N]`: 0 means off; N > 0 allows another server every N retries; -N... -1 (the default when given) only on the last.
    pub redispatch_interval: i32,
    /// Timeouts of the server side.
    pub timeouts: BackendTimeouts,
    /// Flags.
    pub options: BackendOptions,
    /// `option mqtt-check`: how servers with a check are checked once their connection stands; without it the connection is all.
    pub mqtt_check: Option<Arc<MqttCheck>>,
    /// `source` of the backend, unless a server has its own.
    pub source: Option<SourceAddress>,
    /// Where state changes of its servers are logged.
    pub log: LogSettings,
    /// Rules for the first bytes, persistence and the choice of servers.
    pub rules: BackendRules,
    /// The key of `balance hash`.
    pub hash_key: Option<Expression>,
}

impl Backend {
    /// A backend without servers, with the values HAProxy takes for everything that is not written.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            proxy_id: 2,
            description: None,
            disabled: false,
            mode: Mode::Tcp,
            servers: 0..0,
            balance: Balance::default(),
            hash: Hash::default(),
            fullconn: 0,
            retries: 3,
            redispatch_interval: 0,
            timeouts: BackendTimeouts::default(),
            options: BackendOptions::default(),
            mqtt_check: None,
            source: None,
            log: LogSettings::default(),
            rules: BackendRules::default(),
            hash_key: None,
        }
    }
}

/// Timeouts of the server side. `None` is infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendTimeouts {
    /// `timeout connect`.
    pub connect: Option<Milliseconds>,
    /// `timeout server`.
    pub server: Option<Milliseconds>,
    /// `timeout server-fin`.
    pub server_fin: Option<Milliseconds>,
    /// `timeout queue`; HAProxy falls back to `timeout connect`, which the checker has done here.
    pub queue: Option<Milliseconds>,
    /// `timeout check`: additional time for a check after its connection stands.
    pub check: Option<Milliseconds>,
    /// `timeout tunnel`: replaces client and server timeouts once data flowed both ways.
    pub tunnel: Option<Milliseconds>,
}

/// Flags of a backend, named after their `option`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendOptions {
    /// `option allbackups`: all backup servers are used, not only the first.
    pub all_backups: bool,
    /// `option abortonclose`: a client that leaves while queued or connecting is dropped.
    pub abort_on_close: bool,
    /// `option srvtcpka` (or `tcpka`).
    pub server_tcp_keepalive: bool,
    /// `option nolinger` on the server side.
    pub nolinger: bool,
    /// `option persist`: a session goes to the server it sticks to although that is down.
    pub persist: bool,
    /// `option log-health-checks`: every change of a check's result is logged.
    pub log_health_checks: bool,
    /// `option independent-streams` on the server side.
    pub independent_streams: bool,
    /// `option mqtt-drain`: as of frontends; the lower rate of the two holds.
    pub mqtt_drain: Option<u32>,
}

/// How a server is chosen (`balance`, HAProxy manual section 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// `roundrobin`: smooth weighted round robin.
    #[default]
    RoundRobin,
    /// `static-rr`: weighted round robin on a fixed map.
    StaticRoundRobin,
    /// `leastconn`.
    LeastConnections,
    /// `first`: the first server with a free slot.
    First,
    /// `source`: hash of the client's address.
    Source,
    /// `hash EXPRESSION`: hash of the value of `Backend::hash_key`.
    Hash,
    /// `random(N)`: the least loaded of N draws; N is at least 1, default 2.
    Random {
        /// Number of draws.
        draws: u32,
    },
}

/// `hash-type METHOD FUNCTION MODIFIER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash {
    /// Map-based or consistent.
    pub method: HashMethod,
    /// The function over the key.
    pub function: HashFunction,
    /// `avalanche`: full avalanche of the result.
    pub avalanche: bool,
}

/// How a hash becomes a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashMethod {
    /// `map-based`: hash modulo the static map of weights.
    #[default]
    MapBased,
    /// `consistent`: a ring of points.
    Consistent,
}

/// The hash over the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashFunction {
    /// `sdbm`, the default.
    #[default]
    Sdbm,
    /// `djb2`.
    Djb2,
    /// `wt6`.
    Wt6,
    /// `crc32`.
    Crc32,
    /// `none` (HAProxy 2.7): the key is the hash.
    None,
}
