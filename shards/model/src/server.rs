//! Servers: where sessions go.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::{BackendId, Milliseconds, ServerId};

/// One `server` line with its `default-server` applied (HAProxy manual section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name, unique in its backend.
    pub name: Arc<str>,
    /// `id`, else numbered from 1 within the backend; column `sid`.
    pub id: u32,
    /// The backend it belongs to.
    pub backend: BackendId,
    /// Configured address; the running one may differ (`set server ... addr`).
    pub address: ServerAddress,
    /// Configured weight, 0 to 256.
    pub weight: u16,
    /// Health check, when `check` is set.
    pub check: Option<Check>,
    /// `backup`.
    pub backup: bool,
    /// `disabled`: starts in maintenance.
    pub disabled: bool,
    /// Sessions at once (`maxconn`); 0 is without limit.
    pub maxconn: u32,
    /// `minconn`: the dynamic limit's floor; equals `maxconn` when not used.
    pub minconn: u32,
    /// Sessions that may wait for this very server (`maxqueue`); 0 is without limit.
    pub maxqueue: u32,
    /// `maxconnrate`: new connections per second, at even distances over all shards; 0 is without limit. Ours, not HAProxy's.
    pub maxconnrate: u32,
    /// `slowstart`.
    pub slowstart: Option<Milliseconds>,
    /// `observe`.
    pub observe: Option<Observe>,
    /// Observed errors that trigger `on_error` (`error-limit`), default 10.
    pub error_limit: u32,
    /// `on-error`.
    pub on_error: OnError,
    /// `on-marked-down shutdown-sessions`.
    pub shutdown_sessions_when_down: bool,
    /// `on-marked-up shutdown-backup-sessions`.
    pub shutdown_backup_sessions_when_up: bool,
    /// `track BACKEND/SERVER`: its state follows that one's.
    pub track: Option<ServerId>,
    /// `source` of this server (else the backend's, already resolved here).
    pub source: Option<SourceAddress>,
}

/// The address of a server as configured and resolved at load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// Host as written (name or address), for messages, `show servers state` and re-resolution.
    pub host_text: Arc<str>,
    /// What it resolved to at load (`init-addr`).
    pub host: ServerHost,
    /// Port rule.
    pub port: ServerPort,
}

impl ServerAddress {
    /// The fixed TCP address when host and port are known without a client.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match (&self.host, self.port) {
            (ServerHost::Ip(ip), ServerPort::Fixed(port)) => Some(SocketAddr::new(*ip, port)),
            _ => None,
        }
    }
}

/// Where a server's host resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerHost {
    /// TCP.
    Ip(IpAddr),
    /// Unix stream socket.
    Unix(PathBuf),
    /// Abstract unix stream socket.
    Abstract(Arc<str>),
    /// Not resolved (`init-addr none`): the server starts in maintenance for want of an address.
    Unresolved,
}

/// The port a server is reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerPort {
    /// As written.
    Fixed(u16),
    /// None given: the port the client connected to.
    Client,
    /// `+N` or `-N`: the client's destination port plus this.
    Offset(i32),
}

/// Health check by TCP connection (`check` and its parameters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Interval when UP and stable (`inter`), default 2000 ms.
    pub inter: Milliseconds,
    /// Interval while changing (`fastinter`), default `inter`.
    pub fastinter: Milliseconds,
    /// Interval when DOWN (`downinter`), default `inter`.
    pub downinter: Milliseconds,
    /// Successes to come UP (`rise`), default 2.
    pub rise: u32,
    /// Failures to go DOWN (`fall`), default 3.
    pub fall: u32,
    /// `port`, else the server's.
    pub port: Option<u16>,
    /// `addr`, else the server's.
    pub address: Option<IpAddr>,
}

/// `observe MODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observe {
    /// `layer4`: outcomes of connections.
    Layer4,
}

/// `on-error ACTION`, taken when `error_limit` observed errors came in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// `fastinter`: force the fast interval.
    FastInter,
    /// `fail-check`: count as one failed check. The default.
    #[default]
    FailCheck,
    /// `sudden-death`: pretend that one more failed check takes it down.
    SuddenDeath,
    /// `mark-down`: down at once.
    MarkDown,
}

/// `source ADDRESS[:PORT] [interface NAME]`: where outgoing connections come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceAddress {
    /// Address to bind; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// SO_BINDTODEVICE for outgoing connections.
    pub interface: Option<Arc<str>>,
}
