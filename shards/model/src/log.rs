//! Log settings: where lines go, in which envelope, and what they say.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::log_format::LogFormat;

/// How one proxy logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Resolved targets (`log global` is already replaced by the global ones).
    pub targets: Vec<LogTarget>,
    /// Line of a session; `None` is HAProxy's default "Connect from" line, written at accept.
    pub format: Option<Arc<LogFormat>>,
    /// `error-log-format`: line of a session that failed before a backend was chosen; `None` uses `format`.
    pub error_format: Option<Arc<LogFormat>>,
    /// `log-format-sd`: RFC 5424 structured data.
    pub structured_data: Option<Arc<LogFormat>>,
    /// `log-tag` of the proxy, else the global one.
    pub tag: Option<Arc<str>>,
}

/// One `log` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTarget {
    /// Where lines go.
    pub destination: LogDestination,
    /// Envelope of a line (`format`); `None` is `local`, or `rfc3164` once `log-send-hostname` is set, as in HAProxy.
    pub encoding: Option<LogEncoding>,
    /// Longest line in bytes (`len`), default 1024, 80 to 65535.
    pub length: u16,
    /// `facility`.
    pub facility: Facility,
    /// Lines less severe than this are dropped.
    pub level: Level,
    /// Lines are sent at most as severe as this (`minlevel`).
    pub minimum_level: Level,
    /// `sample RANGES:SIZE`.
    pub sample: Option<LogSample>,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogDestination {
    /// UDP syslog.
    Udp(SocketAddr),
    /// Unix datagram socket, such as `/dev/log`.
    UnixDatagram(PathBuf),
    /// Abstract unix datagram socket.
    AbstractDatagram(Arc<str>),
    /// An inherited descriptor (`fd@N`); `stdout` is 1, `stderr` 2.
    Descriptor(i32),
}

/// Envelope of a line (`log ... format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEncoding {
    /// RFC 3164.
    Rfc3164,
    /// RFC 5424.
    Rfc5424,
    /// RFC 3164 without host name.
    Local,
    /// Level in angle brackets, then the text (systemd).
    Priority,
    /// The same without facility arithmetic (`short`).
    Short,
    /// Level and ISO date (`timed`).
    Timed,
    /// ISO date (`iso`).
    Iso,
    /// The text alone (`raw`).
    Raw,
}

/// `sample 1,3-5:8`: of every `size` lines those at these positions (from 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSample {
    /// Inclusive ranges within `1..=size`, ascending and disjoint.
    pub ranges: Vec<(u32, u32)>,
    /// Lines per round.
    pub size: u32,
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),* }

        impl $name {
            /// All values, in the order of their numeric codes.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// The spelling used in configurations.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }

            /// The syslog code (RFC 5424 section 6.2.1).
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The value with this spelling.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }
    };
}

named!(
    /// Syslog facilities with HAProxy's names.
    #[allow(missing_docs)]
    Facility {
        Kern = "kern", User = "user", Mail = "mail", Daemon = "daemon", Auth = "auth", Syslog = "syslog", Lpr = "lpr", News = "news",
        Uucp = "uucp", Cron = "cron", Auth2 = "auth2", Ftp = "ftp", Ntp = "ntp", Audit = "audit", Alert = "alert", Cron2 = "cron2",
        Local0 = "local0", Local1 = "local1", Local2 = "local2", Local3 = "local3", Local4 = "local4", Local5 = "local5",
        Local6 = "local6", Local7 = "local7",
    }
);

named!(
    /// Syslog severities with HAProxy's names; smaller is more severe.
    #[allow(missing_docs)]
    Level {
        Emerg = "emerg", Alert = "alert", Crit = "crit", Err = "err", Warning = "warning", Notice = "notice", Info = "info",
        Debug = "debug",
    }
);
