//! What a configuration says, gathered keyword by keyword: values are checked one by one, references to other sections are still words.
//!
//! The keyword entries fill these in; the rest of `check` turns them into the model.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ringmain_model::{
    Balance, Endpoint, Hash, Ipv6Binding, LogTarget, Milliseconds, MqttCheck, Observe, OnError, SourceAddress, SplicePolicy, StatsLevel,
    StatsSocket, Tuning, UnixPermissions,
};

pub use super::arguments::Arguments;
use super::rule_lines::{RuleLine, RuleLines};
use crate::config::diagnostic::Span;
use crate::config::draft::{SectionKind, Word};

/// A value and where it was written.
pub type Placed<T> = (T, Span);

/// The `global` sections, all of them together.
#[derive(Clone, Debug, Default)]
pub struct GlobalBuilder {
    /// `maxconn`; `None` and 0 leave it to the descriptor limit.
    pub maxconn: Option<u32>,
    /// `nbthread`.
    pub shards: Option<u16>,
    /// `cpu-map`: shard (from 0) and the CPUs it may use, in the order written.
    pub cpu_map: Vec<(u16, Vec<u16>)>,
    /// `daemon`.
    pub daemon: bool,
    /// `strict-limits`.
    pub strict_limits: bool,
    /// `no-memory-trimming`.
    pub keeps_memory: bool,
    /// `pidfile`.
    pub pidfile: Option<PathBuf>,
    /// `state-file`.
    pub state_file: Option<PathBuf>,
    /// `set-var` and, marked, `set-var-fmt`.
    pub variables: Vec<(RuleLine, bool)>,
    /// `log`.
    pub log_targets: Vec<LogTarget>,
    /// `log-tag`.
    pub log_tag: Option<Arc<str>>,
    /// `log-send-hostname`.
    pub log_hostname: Option<Arc<str>>,
    /// `node`.
    pub node: Option<Arc<str>>,
    /// `description`.
    pub description: Option<Arc<str>>,
    /// `uid` or `user`.
    pub uid: Option<u32>,
    /// `gid` or `group`.
    pub gid: Option<u32>,
    /// `chroot`.
    pub chroot: Option<PathBuf>,
    /// `ulimit-n`.
    pub ulimit_n: Option<u64>,
    /// `fd-hard-limit`.
    pub descriptor_limit: Option<u64>,
    /// `hard-stop-after`.
    pub hard_stop_after: Option<Milliseconds>,
    /// `grace`.
    pub grace: Option<Milliseconds>,
    /// `stats socket`.
    pub stats_sockets: Vec<StatsSocket>,
    /// `stats timeout`.
    pub stats_timeout: Option<Milliseconds>,
    /// `stats maxconn`.
    pub stats_maxconn: Option<u32>,
    /// The number of proxies before the first `stats` line: HAProxy counts its runtime socket as a proxy.
    pub stats_position: Option<usize>,
    /// `nosplice`.
    pub no_splice: bool,
    /// `zero-warning`: where it stands.
    pub zero_warning: Option<Span>,
    /// `tune.*`.
    pub tuning: Tuning,
}

/// A proxy's `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeSetting {
    /// `mode tcp`.
    Tcp,
    /// A mode that is not supported yet, and where it was asked for.
    Unsupported(Span),
}

/// The format a proxy logs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormatSetting {
    /// `log-format`.
    Custom(Word),
    /// `option tcplog`.
    Tcp,
    /// `option httplog`, which falls back to tcplog outside of `mode http`.
    Http,
}

/// One target of a proxy's logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEntry {
    /// `log global`.
    Global,
    /// A target of its own.
    Target(LogTarget),
}

/// A proxy's flags that default to off.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct ProxyFlags {
    pub dontlognull: bool,
    pub dontlog_normal: bool,
    pub logasap: bool,
    pub log_separate_errors: bool,
    pub client_tcp_keepalive: bool,
    pub server_tcp_keepalive: bool,
    pub nolinger: bool,
    pub independent_streams: bool,
    pub socket_stats: bool,
    pub all_backups: bool,
    pub abort_on_close: bool,
    pub persist: bool,
    pub log_health_checks: bool,
    pub mqtt_stats: bool,
}

/// A proxy's timeouts as written; 0 is infinite.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct ProxyTimeouts {
    pub client: Option<Milliseconds>,
    pub client_fin: Option<Milliseconds>,
    pub connect: Option<Milliseconds>,
    pub server: Option<Milliseconds>,
    pub server_fin: Option<Milliseconds>,
    pub queue: Option<Milliseconds>,
    pub check: Option<Milliseconds>,
    pub tunnel: Option<Milliseconds>,
}

/// A `defaults`, `frontend`, `backend` or `listen` section. One that follows a `defaults` section starts as its copy.
#[derive(Clone, Debug)]
pub struct ProxyBuilder {
    /// What it is.
    pub kind: SectionKind,
    /// Its name; empty for anonymous `defaults`.
    pub name: Arc<str>,
    /// Its header.
    pub span: Span,
    /// `mode`.
    pub mode: ModeSetting,
    /// `disabled`.
    pub disabled: bool,
    /// `id`.
    pub id: Option<Placed<u32>>,
    /// `description`.
    pub description: Option<Arc<str>>,
    /// `bind`, one entry per line.
    pub binds: Vec<BindBuilder>,
    /// `maxconn`; 0 means the global one.
    pub maxconn: u32,
    /// `backlog`; 0 means maxconn.
    pub backlog: u32,
    /// `rate-limit sessions`.
    pub rate_limit_sessions: u32,
    /// `default_backend`.
    pub default_backend: Option<Word>,
    /// Lines of rules.
    pub rules: RuleLines,
    /// `balance`.
    pub balance: Balance,
    /// `hash-type`.
    pub hash: Hash,
    /// `retries`.
    pub retries: u32,
    /// `option redispatch`: interval, 0 for off.
    pub redispatch_interval: i32,
    /// `fullconn`; 0 means HAProxy's default.
    pub fullconn: u32,
    /// `source`.
    pub source: Option<SourceAddress>,
    /// `timeout`.
    pub timeouts: ProxyTimeouts,
    /// `option`.
    pub flags: ProxyFlags,
    /// `option mqtt-drain`: clients each second on each shard.
    pub mqtt_drain: Option<u32>,
    /// `option mqtt-check`.
    pub mqtt_check: Option<Arc<MqttCheck>>,
    /// `option splice-request` and `splice-auto`.
    pub splice_request: SplicePolicy,
    /// `option splice-response` and `splice-auto`.
    pub splice_response: SplicePolicy,
    /// `log`.
    pub log_targets: Vec<LogEntry>,
    /// `log-format`, `option tcplog`; where, for the warning that nothing is logged.
    pub log_format: Option<Placed<LogFormatSetting>>,
    /// `error-log-format`.
    pub error_log_format: Option<Word>,
    /// `log-format-sd`.
    pub structured_data: Option<Word>,
    /// `log-tag`.
    pub log_tag: Option<Arc<str>>,
    /// What `default-server` lines so far say.
    pub default_server: ServerBuilder,
    /// `server`.
    pub servers: Vec<ServerBuilder>,
}

impl ProxyBuilder {
    /// A section with HAProxy's built-in values, or a copy of a `defaults` section.
    pub fn new(kind: SectionKind, name: Arc<str>, span: Span, base: Option<&Self>) -> Self {
        let mut new = base.cloned().unwrap_or_else(|| Self::built_in(span));
        (new.kind, new.name, new.span) = (kind, name, span);
        new.rules = RuleLines::of(kind, span, base.map(|base| &base.rules));
        if kind == SectionKind::Backend {
            new.default_backend = None;
        }
        new
    }

    /// Whether it has a listening half.
    pub fn is_front(&self) -> bool {
        matches!(self.kind, SectionKind::Frontend | SectionKind::Listen)
    }

    /// Whether it has a serving half.
    pub fn is_back(&self) -> bool {
        matches!(self.kind, SectionKind::Backend | SectionKind::Listen)
    }

    /// `frontend 'www'`, for messages.
    pub fn title(&self) -> String {
        let kind = match self.kind {
            SectionKind::Frontend => "frontend",
            SectionKind::Backend => "backend",
            SectionKind::Defaults => "defaults",
            SectionKind::Listen | SectionKind::Global | SectionKind::Peers | SectionKind::Table => "proxy",
        };
        format!("{kind} '{}'", self.name)
    }

    fn built_in(span: Span) -> Self {
        Self {
            kind: SectionKind::Defaults,
            name: "".into(),
            span,
            mode: ModeSetting::Tcp,
            disabled: false,
            id: None,
            description: None,
            binds: Vec::new(),
            maxconn: 0,
            backlog: 0,
            rate_limit_sessions: 0,
            default_backend: None,
            rules: RuleLines::default(),
            balance: Balance::default(),
            hash: Hash::default(),
            retries: 3,
            redispatch_interval: 0,
            fullconn: 0,
            source: None,
            timeouts: ProxyTimeouts::default(),
            flags: ProxyFlags::default(),
            mqtt_drain: None,
            mqtt_check: None,
            splice_request: SplicePolicy::default(),
            splice_response: SplicePolicy::default(),
            log_targets: Vec::new(),
            log_format: None,
            error_log_format: None,
            structured_data: None,
            log_tag: None,
            default_server: ServerBuilder::built_in(span),
            servers: Vec::new(),
        }
    }
}

/// One `bind` or `stats socket` line.
#[derive(Clone, Debug)]
pub struct BindBuilder {
    /// The line's addresses, lists and port ranges expanded.
    pub endpoints: Vec<Endpoint>,
    /// The word that names the addresses.
    pub span: Span,
    /// Whether this is a `stats socket`.
    pub stats: bool,
    /// `name`.
    pub name: Option<Arc<str>>,
    /// `id`.
    pub id: Option<Placed<u32>>,
    /// `interface`.
    pub interface: Option<Arc<str>>,
    /// `backlog`.
    pub backlog: Option<u32>,
    /// `maxconn`.
    pub maxconn: Option<u32>,
    /// `v4v6`, `v6only`.
    pub ipv6: Ipv6Binding,
    /// `mode`, `uid`, `gid`, `user`, `group`.
    pub permissions: UnixPermissions,
    /// `level`.
    pub level: StatsLevel,
}

/// Steps of `init-addr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitAddress {
    /// `last`: the state file of an earlier process; there is none, so the next step is tried.
    Last,
    /// `libc`: the system's resolver.
    Libc,
    /// `none`: start without an address.
    None,
    /// This address.
    Ip(IpAddr),
}

/// One `server` line, or the sum of the `default-server` lines.
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    /// Its name.
    pub name: Option<Word>,
    /// Its address as written.
    pub address: Option<Word>,
    /// The keyword `server`.
    pub span: Span,
    /// `id`.
    pub id: Option<Placed<u32>>,
    /// `weight`.
    pub weight: u16,
    /// `check`: where it was asked for.
    pub check: Option<Span>,
    /// `inter`.
    pub inter: Option<Milliseconds>,
    /// `fastinter`.
    pub fastinter: Option<Milliseconds>,
    /// `downinter`.
    pub downinter: Option<Milliseconds>,
    /// `rise`.
    pub rise: u32,
    /// `fall`.
    pub fall: u32,
    /// `port`.
    pub check_port: Option<u16>,
    /// `addr`.
    pub check_address: Option<IpAddr>,
    /// `backup`.
    pub backup: bool,
    /// `disabled`.
    pub disabled: bool,
    /// `maxconn`.
    pub maxconn: u32,
    /// `minconn`.
    pub minconn: u32,
    /// `maxqueue`.
    pub maxqueue: u32,
    /// `maxconnrate`.
    pub maxconnrate: u32,
    /// `slowstart`.
    pub slowstart: Option<Milliseconds>,
    /// `observe`.
    pub observe: Option<Observe>,
    /// `error-limit`.
    pub error_limit: u32,
    /// `on-error`.
    pub on_error: OnError,
    /// `on-marked-down shutdown-sessions`.
    pub shutdown_sessions_when_down: bool,
    /// `on-marked-up shutdown-backup-sessions`.
    pub shutdown_backup_sessions_when_up: bool,
    /// `track`.
    pub track: Option<Word>,
    /// `source`.
    pub source: Option<SourceAddress>,
    /// `init-addr`; empty means `last,libc`.
    pub init_addr: Vec<InitAddress>,
}

impl ServerBuilder {
    fn built_in(span: Span) -> Self {
        Self {
            name: None,
            address: None,
            span,
            id: None,
            weight: 1,
            check: None,
            inter: None,
            fastinter: None,
            downinter: None,
            rise: 2,
            fall: 3,
            check_port: None,
            check_address: None,
            backup: false,
            disabled: false,
            maxconn: 0,
            minconn: 0,
            maxqueue: 0,
            maxconnrate: 0,
            slowstart: None,
            observe: None,
            error_limit: 10,
            on_error: OnError::default(),
            shutdown_sessions_when_down: false,
            shutdown_backup_sessions_when_up: false,
            track: None,
            source: None,
            init_addr: Vec::new(),
        }
    }
}
