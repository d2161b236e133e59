//! What the control thread knows about one server, and the words HAProxy has for it.
//!
//! Only `Fleet` changes these values; the runtime commands and statistics read them.

use std::net::IpAddr;

use ringmain_engine::live::Destination;
use ringmain_model::{Check, Server, ServerHost, ServerPort};
use ringmain_policy::balance::FULL_THROTTLE;
use ringmain_policy::health::{self, Operation, ServerHealth};

/// Why a server is not in normal service, as bits with HAProxy's values (`srv_admin_state` in `show servers state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admin(pub u8);

impl Admin {
    /// Put into maintenance by an operator.
    pub const FORCED_MAINTENANCE: Admin = Admin(health::Admin::FORCED_MAINTENANCE.bits());
    /// In maintenance because the server that it tracks is.
    pub const INHERITED_MAINTENANCE: Admin = Admin(health::Admin::INHERITED_MAINTENANCE.bits());
    /// `disabled` in the configuration, until an operator changes it.
    pub const CONFIGURED_MAINTENANCE: Admin = Admin(health::Admin::CONFIGURED_MAINTENANCE.bits());
    /// In maintenance for want of an address.
    pub const UNRESOLVED_MAINTENANCE: Admin = Admin(health::Admin::UNRESOLVED.bits());
    /// All kinds of maintenance.
    pub const MAINTENANCE: Admin = Admin(health::Admin::MAINTENANCE.bits());
    /// All kinds of drain mode.
    pub const DRAIN: Admin = Admin(health::Admin::DRAIN.bits());

    /// Whether any of these bits is set.
    pub const fn any(self, bits: Admin) -> bool {
        self.0 & bits.0 != 0
    }
}

/// The state of service that checks and operators gave a server, with HAProxy's numbers (`srv_op_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operational {
    /// Down.
    Stopped = 0,
    /// Up and warming up (`slowstart`).
    Starting = 1,
    /// Up.
    Running = 2,
    /// Up for sessions that must go there, taking no new ones (NOLB).
    Stopping = 3,
}

/// What the last check said, with HAProxy's short names (`check_status` of `show stat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckStatus {
    /// No check is configured.
    #[default]
    Unknown,
    /// Not checked yet.
    Initializing,
    /// Errors were observed in the traffic.
    Observed,
    /// No socket could be made here.
    SocketError,
    /// The connection stood.
    Layer4Ok,
    /// No answer in time.
    Layer4Timeout,
    /// Refused or unreachable.
    Layer4Connection,
    /// The connection stood, and no answer came in time.
    Layer7Timeout,
    /// The answer makes no sense.
    Layer7Response,
    /// The server accepted what the check said.
    Layer7Ok,
    /// The server answered that it does not serve.
    Layer7Status,
}

impl CheckStatus {
    /// HAProxy's number (`srv_check_status` of `show servers state`).
    pub const fn number(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Initializing => 1,
            Self::Observed => 4,
            Self::SocketError => 5,
            Self::Layer4Ok => 6,
            Self::Layer4Timeout => 7,
            Self::Layer4Connection => 8,
            Self::Layer7Timeout => 12,
            Self::Layer7Response => 13,
            Self::Layer7Ok => 15,
            Self::Layer7Status => 17,
        }
    }

    /// The short name (`check_status`).
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "UNK",
            Self::Initializing => "INI",
            Self::Observed => "HANA",
            Self::SocketError => "SOCKERR",
            Self::Layer4Ok => "L4OK",
            Self::Layer4Timeout => "L4TOUT",
            Self::Layer4Connection => "L4CON",
            Self::Layer7Timeout => "L7TOUT",
            Self::Layer7Response => "L7RSP",
            Self::Layer7Ok => "L7OK",
            Self::Layer7Status => "L7STS",
        }
    }

    /// The sentence in log lines and on the statistics page (`check_desc`).
    pub const fn description(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Initializing => "Initializing",
            Self::Observed => "Health analyze",
            Self::SocketError => "Socket error",
            Self::Layer4Ok => "Layer4 check passed",
            Self::Layer4Timeout => "Layer4 timeout",
            Self::Layer4Connection => "Layer4 connection problem",
            Self::Layer7Timeout => "Layer7 timeout",
            Self::Layer7Response => "Layer7 invalid response",
            Self::Layer7Ok => "Layer7 check passed",
            Self::Layer7Status => "Layer7 wrong status",
        }
    }
}

/// How the last check ended, with HAProxy's numbers (`srv_check_result`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckResult {
    /// None has ended.
    #[default]
    Unknown = 0,
    /// It says nothing about the server (a local problem).
    Neutral = 1,
    /// It failed.
    Failed = 2,
    /// It passed.
    Passed = 3,
}

/// The check of one server: its counters and what the last run said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckState {
    /// Whether checks run: configured and not switched off by `disable health`.
    pub enabled: bool,
    /// Switched off while the server is in maintenance.
    pub paused: bool,
    /// A probe is on its way.
    pub in_progress: bool,
    /// HAProxy's counter: 0 to `rise - 1` is DOWN, `rise` to `rise + fall - 1` is UP.
    pub health: u32,
    /// What the last check said.
    pub status: CheckStatus,
    /// How it ended.
    pub result: CheckResult,
    /// How long it took, ms; `None` before the first.
    pub duration_ms: Option<u64>,
    /// The code in the server's answer, when the check looked at it (`check_code`).
    pub code: Option<u16>,
    /// More about it, such as `Connection refused`; empty when there is nothing to add.
    pub info: String,
    /// Checks that failed while the server was UP (`chkfail`).
    pub failures: u64,
    /// `set server ... check-port`; overrides the configuration.
    pub port: Option<u16>,
    /// `set server ... check-addr`; overrides the configuration.
    pub address: Option<IpAddr>,
}

/// The rise and fall that HAProxy gives servers without a check; they show in `show servers state`.
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;

impl CheckState {
    fn follow(&mut self, health: &ServerHealth) {
        let paused = health.admin.in_maintenance();
        let Some(check) = &health.check else {
            let up = health.operation != Operation::Stopped;
            let never_changed = health.down_transitions == 0;
            self.health = match (up, never_changed) {
                (false, _) => 0,
                (true, true) => DEFAULT_RISE,
                (true, false) => DEFAULT_RISE + DEFAULT_FALL - 1,
            };
            (self.enabled, self.paused, self.status, self.result) = (false, paused, CheckStatus::Initializing, CheckResult::Unknown);
            return;
        };
        (self.enabled, self.paused, self.in_progress) = (check.enabled, paused, check.in_progress);
        (self.health, self.duration_ms, self.failures) = (check.health, check.duration_ms, check.failures);
        self.code = check.code;
        if self.info != check.info {
            self.info.clone_from(&check.info);
        }
        (self.status, self.result) = match check.status {
            health::CheckStatus::Initial => (CheckStatus::Initializing, CheckResult::Unknown),
            health::CheckStatus::SocketError => (CheckStatus::SocketError, CheckResult::Neutral),
            health::CheckStatus::Layer4Ok => (CheckStatus::Layer4Ok, CheckResult::Passed),
            health::CheckStatus::Layer4Timeout => (CheckStatus::Layer4Timeout, CheckResult::Failed),
            health::CheckStatus::Layer4Failed => (CheckStatus::Layer4Connection, CheckResult::Failed),
            health::CheckStatus::Layer7Ok => (CheckStatus::Layer7Ok, CheckResult::Passed),
            health::CheckStatus::Layer7Timeout => (CheckStatus::Layer7Timeout, CheckResult::Failed),
            health::CheckStatus::Layer7Invalid => (CheckStatus::Layer7Response, CheckResult::Failed),
            health::CheckStatus::Layer7Refused => (CheckStatus::Layer7Status, CheckResult::Failed),
            health::CheckStatus::Observed => (CheckStatus::Observed, CheckResult::Failed),
        };
    }
}

/// Everything the control thread knows about one server beyond the model and the counters of the shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Number of this server for the life of the process, whatever its place in the model.
    pub key: u64,
    /// Maintenance and drain flags.
    pub admin: Admin,
    /// Service state.
    pub operational: Operational,
    /// Weight that operators gave (`set server ... weight`), else the configured one; 0 to 256.
    pub user_weight: u16,
    /// Sixteenths of the weight that slowstart allows now, 1 to 16.
    pub throttle: u8,
    /// Weight in sixteenths as balancing last had it: a change waits for the end of maintenance.
    balanced_weight: u32,
    /// Host in use; differs from the model after `set server ... addr`.
    pub host: ServerHost,
    /// Port in use.
    pub port: ServerPort,
    /// `maxconn` in use.
    pub maxconn: u32,
    /// `minconn` in use.
    pub minconn: u32,
    /// When the service or admin state last changed, monotonic ms.
    pub last_change_ms: u64,
    /// Milliseconds spent DOWN before the last change; add the time since for a server that is down (`down_time`).
    pub downtime_ms: u64,
    /// Transitions to DOWN (`chkdown`).
    pub down_transitions: u64,
    /// Its check, also filled for servers without one (all defaults).
    pub check: CheckState,
}

impl ServerState {
    /// A server at the start of the process, or new in a reload; `follow` gives it its health.
    pub(super) fn new(server: &Server, key: u64) -> Self {
        Self {
            key,
            admin: Admin::default(),
            operational: Operational::Running,
            user_weight: server.weight,
            throttle: FULL_THROTTLE as u8,
            balanced_weight: u32::from(server.weight) * FULL_THROTTLE,
            host: server.address.host.clone(),
            port: server.address.port,
            maxconn: server.maxconn,
            minconn: server.minconn,
            last_change_ms: 0,
            downtime_ms: 0,
            down_transitions: 0,
            check: CheckState::default(),
        }
    }

    /// Takes over what `policy::health` says of this server.
    pub(super) fn follow(&mut self, health: &ServerHealth) {
        self.admin = Admin(health.admin.bits());
        self.operational = match health.operation {
            Operation::Stopped => Operational::Stopped,
            Operation::Starting => Operational::Starting,
            Operation::Running => Operational::Running,
            Operation::Stopping => Operational::Stopping,
        };
        (self.user_weight, self.throttle) = (health.weight, health.throttle);
        if !health.admin.in_maintenance() {
            self.balanced_weight = self.effective_weight();
        }
        self.last_change_ms = health.changed_at_ms;
        self.downtime_ms = health.down_time_ms;
        self.down_transitions = health.down_transitions;
        self.check.follow(health);
    }

    /// Whether balancing may choose it now.
    pub fn usable(&self) -> bool {
        !self.admin.any(Admin::MAINTENANCE)
            && !self.admin.any(Admin::DRAIN)
            && self.user_weight > 0
            && matches!(self.operational, Operational::Running | Operational::Starting)
    }

    /// Whether an operator or the configuration wants its sessions to end: drain or maintenance, of its own or of the server that it tracks.
    pub(super) fn is_leaving(&self) -> bool {
        [Admin::FORCED_MAINTENANCE, Admin::INHERITED_MAINTENANCE, Admin::CONFIGURED_MAINTENANCE, Admin::DRAIN]
            .into_iter()
            .any(|flag| self.admin.any(flag))
    }

    /// Whether it serves sessions at all (statistics count it as up).
    pub fn up(&self) -> bool {
        self.operational != Operational::Stopped
    }

    /// The weight in use in sixteenths: lower than the user's during slowstart.
    pub fn effective_weight(&self) -> u32 {
        u32::from(self.user_weight) * u32::from(self.throttle)
    }

    /// The weight as statistics show it: the one that balancing has, in the user's unit, rounded up.
    pub fn shown_weight(&self) -> u32 {
        self.balanced_weight.div_ceil(FULL_THROTTLE)
    }

    /// Milliseconds spent DOWN up to now.
    pub fn downtime_until(&self, now_ms: u64) -> u64 {
        let current = if self.operational == Operational::Stopped { now_ms.saturating_sub(self.last_change_ms) } else { 0 };
        self.downtime_ms + current
    }

    /// Where sessions connect to; `None` while there is no address.
    pub fn destination(&self) -> Option<Destination> {
        match (&self.host, self.port) {
            (ServerHost::Ip(ip), ServerPort::Fixed(port)) => Some(Destination::Inet((*ip, port).into())),
            (ServerHost::Ip(ip), ServerPort::Client) => Some(Destination::Mapped(*ip, 0)),
            (ServerHost::Ip(ip), ServerPort::Offset(offset)) => Some(Destination::Mapped(*ip, offset)),
            (ServerHost::Unix(path), _) => Some(Destination::Unix(path.clone())),
            (ServerHost::Abstract(name), _) => Some(Destination::Abstract(name.clone())),
            (ServerHost::Unresolved, _) => None,
        }
    }

    /// Where checks connect to: the check's own address and port first, then the server's. `None` while that is not known.
    pub fn check_destination(&self, check: &Check) -> Option<Destination> {
        let own_address = self.check.address.or(check.address);
        let own_port = self.check.port.or(check.port);
        let host = own_address.map_or_else(|| self.host.clone(), ServerHost::Ip);
        match (host, own_port, self.port) {
            (ServerHost::Ip(ip), Some(port), _) | (ServerHost::Ip(ip), None, ServerPort::Fixed(port)) => {
                Some(Destination::Inet((ip, port).into()))
            }
            (ServerHost::Unix(path), ..) => Some(Destination::Unix(path)),
            (ServerHost::Abstract(name), ..) => Some(Destination::Abstract(name)),
            _ => None,
        }
    }
}
