//! Log formats compiled at load: a program of literal text and variables that a shard renders without looking up a name.
//!
//! The configuration's parser builds it, `policy::log::render` runs it. Never formats anything by itself.

use crate::expression::{Expression, Needs};

/// One compiled `log-format`, `log-format-sd` or `error-log-format` string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFormat {
    /// The format as written, for `convert` and messages; the built-in formats have HAProxy's equivalent string.
    pub source: String,
    /// What to print, in order.
    pub items: Vec<LogItem>,
}

impl LogFormat {
    /// Whether a value is asked for that is only final when the session has ended. Without one, HAProxy logs a session as soon as its
    /// connection to the server stands.
    pub fn needs_end(&self) -> bool {
        self.items.iter().any(|item| match item {
            LogItem::Variable { variable, .. } => variable.needs_end(),
            LogItem::Expression { expression, .. } => expression.needs.intersects(Needs::END),
            LogItem::Text(_) | LogItem::Blank => false,
        })
    }

    /// The expressions in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.items.iter().filter_map(|item| match item {
            LogItem::Expression { expression, .. } => Some(&**expression),
            _ => None,
        })
    }
}

/// One step of a log format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// Bytes copied as they are.
    Text(Box<str>),
    /// One or more blanks in the format: one blank in the line, none at its beginning or after another.
    Blank,
    /// A value.
    Variable {
        /// Which.
        variable: LogVariable,
        /// How it is written.
        flags: LogFlags,
    },
    /// The value of an expression (`%[...]`); empty when there is none.
    Expression {
        /// Which.
        expression: Box<Expression>,
        /// How it is written.
        flags: LogFlags,
    },
}

/// How a value is written (HAProxy manual section 8.2.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFlags {
    /// `Q`: strings and addresses in double quotes.
    pub quote: bool,
    /// `X`: addresses, ports, times stamps and counters in hexadecimal.
    pub hexadecimal: bool,
    /// `E`: a backslash before `"`, `\` and `]` in strings.
    pub escape: bool,
}

macro_rules! variables {
    ($($(#[$doc:meta])* $variant:ident = $text:literal $($end:ident)?),* $(,)?) => {
        /// Values of a log line that exist in tcp mode, with HAProxy's short names (manual section 8.2.6).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum LogVariable { $($(#[$doc])* $variant),* }

        impl LogVariable {
            /// All variables.
            pub const ALL: &'static [LogVariable] = &[$(LogVariable::$variant),*];

            /// The name after `%`.
            pub const fn name(self) -> &'static str {
                match self { $(LogVariable::$variant => $text),* }
            }

            /// Whether HAProxy waits for the end of the session before it logs this value.
            pub const fn needs_end(self) -> bool {
                match self { $(LogVariable::$variant => variables!(@end $($end)?)),* }
            }

            /// The variable with this name, upper and lower case distinct.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|variable| variable.name() == name)
            }
        }
    };
    (@end end) => { true };
    (@end) => { false };
}

variables! {
    /// Bytes from server to client.
    BytesToClient = "B" end,
    /// Name of this host.
    Hostname = "H",
    /// Unique id; `-` as long as no `unique-id-format` exists.
    UniqueId = "ID" end,
    /// Status code; 0 in tcp mode.
    Status = "ST",
    /// Accept date in GMT, to the second.
    DateGmt = "T",
    /// Time to connect to the server, ms.
    TimeConnect = "Tc" end,
    /// Time of the data phase, ms.
    TimeData = "Td" end,
    /// Accept date in local time with its offset, to the second.
    DateLocal = "Tl",
    /// Time of the handshakes after accept, ms.
    TimeHandshake = "Th" end,
    /// Accept date in seconds since 1970.
    Timestamp = "Ts",
    /// Total time, ms.
    TimeTotal = "Tt" end,
    /// Total time as the client sees it, ms.
    TimeUser = "Tu" end,
    /// Time in queues, ms.
    TimeQueue = "Tw" end,
    /// Bytes from client to server.
    BytesFromClient = "U" end,
    /// Connections of the process.
    ProcessConnections = "ac" end,
    /// Name of the backend.
    Backend = "b",
    /// Connections of the backend.
    BackendConnections = "bc" end,
    /// Our address towards the server.
    SourceIp = "bi",
    /// Our port towards the server.
    SourcePort = "bp",
    /// Sessions that were before this one in the backend's queue.
    BackendQueue = "bq" end,
    /// Client's address.
    ClientIp = "ci",
    /// Client's port, or the bind's id for a unix socket.
    ClientPort = "cp",
    /// Name of the frontend.
    Frontend = "f",
    /// Connections of the frontend.
    FrontendConnections = "fc" end,
    /// Address the client connected to.
    FrontendIp = "fi",
    /// Port the client connected to, or the bind's id for a unix socket.
    FrontendPort = "fp",
    /// Name of the frontend, `~` behind it when the client uses TLS.
    FrontendTransport = "ft",
    /// What was captured of the request.
    RequestHeaders = "hr",
    /// What was captured of the request, as a list.
    RequestHeaderList = "hrl",
    /// Captured response headers; empty in tcp mode.
    ResponseHeaders = "hs",
    /// Captured response headers as a list; empty in tcp mode.
    ResponseHeaderList = "hsl",
    /// Lines the frontend logged before this one.
    LogCount = "lc",
    /// Milliseconds of the accept date, three digits.
    Milliseconds = "ms",
    /// Process id.
    ProcessId = "pid",
    /// Connection retries, `+` before it after a redispatch.
    Retries = "rc" end,
    /// Number of the session since start, from 0.
    RequestCount = "rt",
    /// Name of the server, `<NOSRV>` when there is none.
    Server = "s",
    /// Connections of the server.
    ServerConnections = "sc" end,
    /// Address of the server.
    ServerIp = "si",
    /// Port of the server.
    ServerPort = "sp",
    /// Sessions that were before this one in the server's queue.
    ServerQueue = "sq" end,
    /// TLS cipher of the client's connection.
    TlsCipher = "sslc",
    /// TLS version of the client's connection.
    TlsVersion = "sslv",
    /// Accept date in local time, to the millisecond.
    Date = "t",
    /// Termination state, two letters.
    TerminationState = "ts" end,
    /// Termination state and cookie state, four letters; the last two are `--` in tcp mode.
    TerminationStateCookie = "tsc",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_found_again() {
        for variable in LogVariable::ALL {
            assert_eq!(LogVariable::from_name(variable.name()), Some(*variable));
        }
        assert_eq!(LogVariable::from_name("Ci"), None);
    }

    #[test]
    fn only_final_values_wait_for_the_end() {
        let item = |variable| LogItem::Variable { variable, flags: LogFlags::default() };
        let early = LogFormat { source: String::new(), items: vec![item(LogVariable::ServerIp), LogItem::Blank] };
        assert!(!early.needs_end());
        let late = LogFormat { source: String::new(), items: vec![item(LogVariable::ServerIp), item(LogVariable::BytesToClient)] };
        assert!(late.needs_end());
    }
}
