//! Process-wide settings (`global`, HAProxy manual section 3).

use std::path::PathBuf;
use std::sync::Arc;

use crate::expression::Variable;
use crate::rule::VariableValue;
use crate::{Endpoint, LogTarget, Milliseconds, UnixPermissions};

/// The `global` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Connections served at once by the whole process; resolved (`maxconn`, else derived from the file descriptor limit).
    pub maxconn: u32,
    /// Number of shards (`nbthread`, `shards`); resolved: the CPUs the process may run on when not given.
    pub shards: u16,
    /// For each shard the CPU it is pinned to (`cpu-map`), `None` leaves the choice to the process.
    pub shard_cpus: Vec<Option<u16>>,
    /// Detach from the terminal (`daemon`).
    pub daemon: bool,
    /// `strict-limits`: a limit of open files too low for `maxconn` is an error. Otherwise `maxconn` is lowered with a warning: unlike
    /// HAProxy's default, so that a configuration made for a bigger machine still serves.
    pub strict_limits: bool,
    /// `no-memory-trimming`: memory of ended sessions is kept for later ones.
    pub keeps_memory: bool,
    /// `pidfile`.
    pub pidfile: Option<PathBuf>,
    /// `log`, several.
    pub log_targets: Vec<LogTarget>,
    /// `log-tag`; `None` is the program's name.
    pub log_tag: Option<Arc<str>>,
    /// `log-send-hostname [NAME]`: the host name in log headers.
    pub log_hostname: Option<Arc<str>>,
    /// `node`; shown in statistics.
    pub node: Option<Arc<str>>,
    /// `description`.
    pub description: Option<Arc<str>>,
    /// `uid` or the id of `user`: dropped to after everything is open.
    pub uid: Option<u32>,
    /// `gid` or the id of `group`.
    pub gid: Option<u32>,
    /// `chroot`: entered after everything is open.
    pub chroot: Option<PathBuf>,
    /// `ulimit-n`.
    pub ulimit_n: Option<u64>,
    /// `hard-stop-after`: bound on a soft stop and on old generations.
    pub hard_stop_after: Option<Milliseconds>,
    /// `grace`: listeners stay open this long after a soft stop was asked for.
    pub grace: Option<Milliseconds>,
    /// Environment after `setenv`, `presetenv`, `unsetenv`, `resetenv`, as passed to children: pairs that differ from the inherited one.
    pub environment: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// `stats socket`, several.
    pub stats_sockets: Vec<StatsSocket>,
    /// `stats timeout`: inactivity on a runtime socket, default 10 s.
    pub stats_timeout: Milliseconds,
    /// `stats maxconn`: runtime connections at once, default 10.
    pub stats_maxconn: u32,
    /// `tune.*` that mean something here.
    pub tuning: Tuning,
    /// `state-file`: where stick tables are kept over restarts.
    pub state_file: Option<PathBuf>,
    /// `set-var` and `set-var-fmt`: process variables set when the configuration starts to be used, in order.
    pub variables: Vec<(Variable, VariableValue)>,
}

/// `tune.*` settings with a meaning in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// `tune.pipesize`, bytes; 0 is 256 KiB, or the kernel's default where it refuses that.
    pub pipe_size: u32,
    /// `tune.rcvbuf.client`, bytes.
    pub client_receive_buffer: Option<u32>,
    /// `tune.sndbuf.client`, bytes.
    pub client_send_buffer: Option<u32>,
    /// `tune.rcvbuf.server`, bytes.
    pub server_receive_buffer: Option<u32>,
    /// `tune.sndbuf.server`, bytes.
    pub server_send_buffer: Option<u32>,
    /// `tune.bufsize`, bytes: with `reserved_bytes` it bounds what rules see of a connection.
    pub buffer_bytes: u32,
    /// `tune.maxrewrite`, bytes, at most half of `buffer_bytes`.
    pub reserved_bytes: u32,
    /// The shards' rings.
    pub ring: RingTuning,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            pipe_size: 0,
            client_receive_buffer: None,
            client_send_buffer: None,
            server_receive_buffer: None,
            server_send_buffer: None,
            buffer_bytes: 16384,
            reserved_bytes: 1024,
            ring: RingTuning::default(),
        }
    }
}

impl Tuning {
    /// The most bytes of a peer that rules can see: HAProxy's buffer without the part it keeps for rewriting; at least 1.
    pub fn inspected_bytes(&self) -> u32 {
        self.buffer_bytes.saturating_sub(self.reserved_bytes.min(self.buffer_bytes / 2)).max(1)
    }
}

/// `[global] ring = { ... }` in TOML, `tune.ring.*` in haproxy.cfg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingTuning {
    /// Which kernel interface the ring uses.
    pub mode: RingMode,
    /// Receive buffers per shard, a power of two, 16 to 32768.
    pub buffer_count: u16,
    /// Size of one receive buffer in bytes, 512 to 65536.
    pub buffer_size: u32,
}

impl Default for RingTuning {
    fn default() -> Self {
        Self { mode: RingMode::Auto, buffer_count: 512, buffer_size: 4096 }
    }
}

/// Which kernel interface a ring uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RingMode {
    /// Probe at start. The default.
    #[default]
    Auto,
    /// Linux 6.1 and later: multishot operations and provided buffers.
    Fast,
    /// Linux 5.15: one-shot readiness and plain calls.
    Portable,
}

/// One `stats socket` (HAProxy management guide section 9.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsSocket {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// What its users may do.
    pub level: StatsLevel,
    /// Ownership of the socket's file.
    pub permissions: UnixPermissions,
}

/// Rights on a runtime socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatsLevel {
    /// Least sensitive reads.
    User,
    /// All reads. The default.
    #[default]
    Operator,
    /// Everything.
    Admin,
}
