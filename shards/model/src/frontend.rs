//! Frontends: where connections come in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::rule::FrontendRules;
use crate::{BackendId, Location, LogSettings, Milliseconds, Mode, SplicePolicy};

/// One `frontend`, or the listening half of a `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// Section name; the identity under which counters survive a reload.
    pub name: Arc<str>,
    /// HAProxy's proxy id (`id`, else numbered in file order); column `iid` of the statistics.
    pub proxy_id: u32,
    /// Free text shown in statistics (`description`).
    pub description: Option<Arc<str>>,
    /// Parsed but not started (`disabled`).
    pub disabled: bool,
    /// `mode`.
    pub mode: Mode,
    /// Listening addresses, lists and port ranges expanded, in file order.
    pub binds: Vec<Bind>,
    /// Connections served at once, after which the listeners stop accepting (`maxconn`); already resolved against the global limit.
    pub maxconn: u32,
    /// New sessions accepted per second (`rate-limit sessions`); 0 means no limit.
    pub rate_limit_sessions: u32,
    /// Where sessions go that no `use_backend` rule sends elsewhere: `default_backend`, else the `listen`'s own half. `None` refuses.
    pub route: Option<BackendId>,
    /// Timeouts of the client side.
    pub timeouts: FrontendTimeouts,
    /// Flags.
    pub options: FrontendOptions,
    /// How sessions of this frontend are logged.
    pub log: LogSettings,
    /// Rules for connections and their first bytes.
    pub rules: FrontendRules,
    /// Slots of `declare capture request` and of `tcp-request content capture`, in order: the longest value kept, in bytes.
    pub captures: Vec<u32>,
}

/// Timeouts of the client side (HAProxy manual section 4.2, `timeout ...`). `None` is infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendTimeouts {
    /// Inactivity on the client side (`timeout client`).
    pub client: Option<Milliseconds>,
    /// Inactivity once the client half is closed (`timeout client-fin`).
    pub client_fin: Option<Milliseconds>,
}

/// Flags of a frontend, named after their `option`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendOptions {
    /// `option dontlognull`: no log line for connections without any data.
    pub dontlognull: bool,
    /// `option dontlog-normal`: no log line for sessions without error.
    pub dontlog_normal: bool,
    /// `option logasap`: log as soon as the fields are known, with `+` before times and sizes.
    pub logasap: bool,
    /// `option log-separate-errors`: raise the level of sessions with errors to `err`.
    pub log_separate_errors: bool,
    /// `option clitcpka` (or `tcpka`): TCP keep-alive on the client side.
    pub client_tcp_keepalive: bool,
    /// `option nolinger` on the client side.
    pub nolinger: bool,
    /// `option independent-streams`: writing to the client does not refresh the client timeout.
    pub independent_streams: bool,
    /// How the request direction (client to server) may be moved.
    pub splice_request: SplicePolicy,
    /// How the response direction (server to client) may be moved.
    pub splice_response: SplicePolicy,
    /// `option mqtt-stats`: MQTT's first packets are counted although no rule looks at them.
    pub mqtt_stats: bool,
    /// `option mqtt-drain`: clients of servers that are drained, and all when the process stops softly, are told to go; at most so many
    /// each second on each shard.
    pub mqtt_drain: Option<u32>,
    /// `option socket-stats`: counters per bind are shown in statistics.
    pub socket_stats: bool,
}

/// Where a bind listens, also the form of addresses that a server has on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// Unix stream socket at a path (`unix@/path`, or a bare path).
    Unix(PathBuf),
    /// Unix stream socket in Linux's abstract name space (`abns@name`), padded with zeros to the full length as HAProxy does.
    Abstract(Arc<str>),
    /// A listening socket inherited as a file descriptor (`fd@N`).
    Descriptor(i32),
}

/// One listening address of a frontend (`bind`, HAProxy manual section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it listens. Together with `interface` and `ipv6` this is the identity under which a listener survives a reload.
    pub endpoint: Endpoint,
    /// `name`, shown in statistics; HAProxy shows `sock-ID` when there is none.
    pub name: Option<Arc<str>>,
    /// `id`, else numbered from 1 within the frontend.
    pub id: u32,
    /// `interface`: SO_BINDTODEVICE.
    pub interface: Option<Arc<str>>,
    /// Length of the kernel's queue of unaccepted connections (`backlog` of the bind, else of the frontend, else its maxconn).
    pub backlog: u32,
    /// Connections accepted at once by this bind over all shards (`maxconn`); `None` is without limit of its own.
    pub maxconn: Option<u32>,
    /// `v4v6` / `v6only`.
    pub ipv6: Ipv6Binding,
    /// `mode`, `uid`/`user`, `gid`/`group` of a unix socket.
    pub permissions: UnixPermissions,
    /// Line in the configuration, for messages (`file:line`); takes no part in equality.
    pub location: Location,
}

/// What an IPv6 wildcard bind accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ipv6Binding {
    /// Whatever net.ipv6.bindv6only says.
    #[default]
    System,
    /// Both families (`v4v6`).
    Both,
    /// IPv6 only (`v6only`).
    Only,
}

/// Ownership of a unix socket's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnixPermissions {
    /// `mode`, octal permission bits.
    pub mode: Option<u32>,
    /// `uid` or the id of `user`.
    pub uid: Option<u32>,
    /// `gid` or the id of `group`.
    pub gid: Option<u32>,
}
