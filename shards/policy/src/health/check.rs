//! One server's health check: how outcomes add up to a verdict, and when the next one is due.

use ringmain_model::Check;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The connection stood.
    Connected,
    /// The connection failed; the system's word for it, such as `Connection refused`.
    Failed(String),
    /// No answer in time.
    TimedOut,
    /// The server accepted what a check said to it once connected.
    Accepted {
        /// The code in its answer.
        code: u16,
    },
    /// The server answered that it does not serve.
    Refused {
        /// The code in its answer.
        code: u16,
        /// The answer in words.
        info: String,
    },
    /// The server's answer makes no sense; why.
    Invalid(String),
    /// The connection stood, and no answer came in time.
    Unanswered,
    /// No connection could be tried for want of local resources. Says nothing about the server, so nothing is counted (HAProxy counts a
    /// failure, and takes all servers down when it runs out of descriptors).
    LocalError,
}

/// The last news of a check, with HAProxy's codes and words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckStatus {
    /// None yet.
    #[default]
    Initial,
    /// Could not be made.
    SocketError,
    /// Passed.
    Layer4Ok,
    /// No answer.
    Layer4Timeout,
    /// Refused or unreachable.
    Layer4Failed,
    /// The server accepted what it was told.
    Layer7Ok,
    /// The connection stood, and no answer came in time.
    Layer7Timeout,
    /// The answer makes no sense.
    Layer7Invalid,
    /// The answer says that it does not serve.
    Layer7Refused,
    /// Not a check: errors observed in traffic (`observe`).
    Observed,
}

impl CheckStatus {
    /// Whether it speaks for the server.
    pub fn passed(self) -> bool {
        matches!(self, Self::Layer4Ok | Self::Layer7Ok)
    }

    /// Column `check_status` of the statistics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Initial => "INI",
            Self::SocketError => "SOCKERR",
            Self::Layer4Ok => "L4OK",
            Self::Layer4Timeout => "L4TOUT",
            Self::Layer4Failed => "L4CON",
            Self::Layer7Ok => "L7OK",
            Self::Layer7Timeout => "L7TOUT",
            Self::Layer7Invalid => "L7RSP",
            Self::Layer7Refused => "L7STS",
            Self::Observed => "HANA",
        }
    }

    /// The words used in log lines and in column `check_desc`.
    pub fn description(self) -> &'static str {
        match self {
            Self::Initial => "Initializing",
            Self::SocketError => "Socket error",
            Self::Layer4Ok => "Layer4 check passed",
            Self::Layer4Timeout => "Layer4 timeout",
            Self::Layer4Failed => "Layer4 connection problem",
            Self::Layer7Ok => "Layer7 check passed",
            Self::Layer7Timeout => "Layer7 timeout",
            Self::Layer7Invalid => "Layer7 invalid response",
            Self::Layer7Refused => "Layer7 wrong status",
            Self::Observed => "Health analyze",
        }
    }
}

/// The running state of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckState {
    /// Its settings.
    pub settings: Check,
    /// 0 to `rise - 1` is down, counting successes; `rise` to `rise + fall - 1` is up, counting down with failures.
    pub health: u32,
    /// Off by `disable health`.
    pub enabled: bool,
    /// A connection is being tried.
    pub in_progress: bool,
    /// Last news.
    pub status: CheckStatus,
    /// The code in the server's answer (column `check_code`), when it was looked at.
    pub code: Option<u16>,
    /// More about it; empty when there is nothing to say.
    pub info: String,
    /// How long it took; `None` when nothing was measured.
    pub duration_ms: Option<u64>,
    /// When the next one starts, monotonic milliseconds.
    pub next_at_ms: u64,
    /// Failed checks so far (column `chkfail`).
    pub failures: u64,
}

impl CheckState {
    /// A check of a server that starts up, one failure away from going down, first due at `next_at_ms`.
    pub(super) fn new(settings: Check, next_at_ms: u64) -> Self {
        let settings = Check { rise: settings.rise.max(1), fall: settings.fall.max(1), ..settings };
        Self {
            settings,
            health: settings.rise,
            enabled: true,
            in_progress: false,
            status: CheckStatus::Initial,
            code: None,
            info: String::new(),
            duration_ms: None,
            next_at_ms,
            failures: 0,
        }
    }

    /// The highest health: up with nothing held against it.
    pub fn full_health(&self) -> u32 {
        self.settings.rise.saturating_add(self.settings.fall) - 1
    }

    /// Whether the checks hold the server for up.
    pub fn is_up(&self) -> bool {
        self.health >= self.settings.rise
    }

    /// Milliseconds from the end of a check to the next: `inter` when up and stable, `downinter` when down and out, `fastinter` in between.
    pub fn interval_ms(&self) -> u64 {
        let settings = &self.settings;
        let interval = if self.health == self.full_health() {
            settings.inter
        } else if self.health == 0 {
            settings.downinter
        } else {
            settings.fastinter
        };
        interval.get().max(1)
    }

    /// Milliseconds after which a check without answer has failed: the interval, or `timeout connect` if that is shorter and `timeout
    /// check` is set.
    pub fn timeout_ms(&self, timeout_connect_ms: Option<u64>, timeout_check_ms: Option<u64>) -> u64 {
        let inter = self.settings.inter.get().max(1);
        match (timeout_check_ms, timeout_connect_ms) {
            (Some(_), Some(connect)) => inter.min(connect.max(1)),
            _ => inter,
        }
    }

    /// Counts news. Returns whether they are worth a line under `option log-health-checks`.
    pub(super) fn count(&mut self, status: CheckStatus, passed: bool) -> bool {
        let before = (self.status, self.health);
        self.status = status;
        if passed {
            if self.health < self.full_health() {
                self.health += 1;
                if self.is_up() {
                    self.health = self.full_health();
                }
            }
        } else if self.health > 0 {
            self.failures += 1;
            self.health -= 1;
            if !self.is_up() {
                self.health = 0;
            }
            return true;
        }
        before != (self.status, self.health)
    }
}

/// Delay of the first check of the server at `position` of `count` checked servers, in milliseconds. HAProxy spreads the first checks over
/// one interval: the server's own, but at least `shortest_ms`, the shortest interval of a second or more that any server has.
pub fn first_delay_ms(inter_ms: u64, shortest_ms: u64, position: usize, count: usize) -> u64 {
    inter_ms.max(shortest_ms) * position as u64 / (count as u64).max(1)
}
