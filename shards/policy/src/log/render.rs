//! Runs a compiled log format over a record (HAProxy manual section 8.2.6), and writes the line of frontends without a format (8.2.1).

use std::net::IpAddr;
use std::sync::Arc;

use ringmain_model::log_format::{LogFlags, LogFormat, LogItem, LogVariable};
use ringmain_model::{Expression, SampleType};

use super::date::{Dates, LocalTime};
use super::text::Text;
use crate::expression::{Evaluation, Facts, Value, evaluate_as};
use crate::record::{Captures, Peer, Record};

/// Renders session lines: one per shard, with what lines need and records do not hold.
#[derive(Debug)]
pub struct Renderer {
    hostname: Arc<str>,
    process_id: u32,
    dates: Dates,
}

impl Renderer {
    /// A renderer for this host (`%H`) and process (`%pid`).
    pub fn new(hostname: Arc<str>, process_id: u32, local_time: Arc<LocalTime>) -> Self {
        Self { hostname, process_id, dates: Dates::new(local_time) }
    }

    /// The host's name.
    pub fn hostname(&self) -> &Arc<str> {
        &self.hostname
    }

    /// The table of local time in use.
    pub fn local_time(&self) -> &Arc<LocalTime> {
        self.dates.local_time()
    }

    /// Takes a refreshed table of local time.
    pub fn set_local_time(&mut self, local_time: Arc<LocalTime>) {
        self.dates.set_local_time(local_time);
    }

    /// Appends the line, without envelope and end of line, at most `limit` bytes (`LogChannel::longest_line`). Allocates only when `out`
    /// must grow.
    pub fn render(&mut self, format: &LogFormat, record: &Record<'_>, facts: Option<&dyn Facts>, limit: usize, out: &mut Vec<u8>) {
        self.items(format, record, facts, &mut Text::new(out, limit));
    }

    /// Appends a text that is no line, such as a name or a variable's value: what is empty stays empty.
    pub fn render_text(&mut self, format: &LogFormat, record: &Record<'_>, facts: &dyn Facts, limit: usize, out: &mut Vec<u8>) {
        self.items(format, record, Some(facts), &mut Text::new(out, limit).unmarked());
    }

    fn items(&mut self, format: &LogFormat, record: &Record<'_>, facts: Option<&dyn Facts>, text: &mut Text<'_>) {
        // A blank is written once, and not before the first thing that is: values may be empty.
        let mut after_blank = true;
        for item in &format.items {
            let before = text.len();
            match item {
                LogItem::Text(literal) => text.bytes(literal.as_bytes()),
                LogItem::Blank => {
                    if !after_blank {
                        text.byte(b' ');
                        after_blank = true;
                    }
                    continue;
                }
                LogItem::Variable { variable, flags } => self.value(*variable, *flags, record, text),
                LogItem::Expression { expression: wanted, flags } => expression(wanted, *flags, facts, text),
            }
            if text.len() > before {
                after_blank = false;
            }
        }
    }

    fn value(&mut self, variable: LogVariable, flags: LogFlags, record: &Record<'_>, out: &mut Text<'_>) {
        use LogVariable as V;
        let seconds = record.accepted_us / 1_000_000;
        match variable {
            V::ClientIp => address(Some(record.client), flags, out),
            V::FrontendIp => address(Some(record.local), flags, out),
            V::SourceIp => address(record.source_address, flags, out),
            V::ServerIp => address(record.server_address, flags, out),
            V::ClientPort => port(Some(record.client), record.bind_id, flags, out),
            V::FrontendPort => port(Some(record.local), record.bind_id, flags, out),
            V::SourcePort => port(record.source_address, 0, flags, out),
            V::ServerPort => port(record.server_address, 0, flags, out),
            V::Hostname => string(&self.hostname, "", flags, out),
            V::UniqueId => string("", "", flags, out),
            V::Backend => string(record.backend, "", flags, out),
            V::Server => string(record.server.unwrap_or("<NOSRV>"), "", flags, out),
            V::Frontend => string(record.frontend, "", flags, out),
            V::FrontendTransport => string(record.frontend, if record.tls.is_some() { "~" } else { "" }, flags, out),
            V::TlsCipher => string(record.tls.map_or("", |tls| tls.cipher), "", flags, out),
            V::TlsVersion => string(record.tls.map_or("", |tls| tls.version), "", flags, out),
            V::RequestHeaders => captures(record.captures, flags, out),
            V::RequestHeaderList => capture_list(record.captures, flags, out),
            V::ResponseHeaders | V::ResponseHeaderList => {}
            V::DateGmt => self.dates.gmt(seconds, out),
            V::DateLocal => self.dates.local(seconds, out),
            V::Date => self.dates.local_milliseconds(record.accepted_us, out),
            V::Timestamp => counter(seconds, flags, 4, 1, out),
            V::Milliseconds => counter(record.accepted_us / 1000 % 1000, flags, 2, 3, out),
            V::ProcessId => counter(u64::from(self.process_id), flags, 4, 1, out),
            V::LogCount => counter(u64::from(record.log_number), flags, 4, 1, out),
            V::RequestCount => counter(u64::from(record.session_number), flags, 4, 1, out),
            V::TerminationState => out.bytes(&record.termination.letters()),
            V::TerminationStateCookie => {
                out.bytes(&record.termination.letters());
                out.bytes(b"--");
            }
            _ => number(variable, record, out),
        }
    }
}

/// The value of an expression; without one it is written as an empty string is.
fn expression(expression: &Expression, flags: LogFlags, facts: Option<&dyn Facts>, out: &mut Text<'_>) {
    let sample = facts.and_then(|facts| evaluate_as(expression, SampleType::String, Evaluation { facts, is_final: true }).ok());
    match sample.map(|sample| sample.value) {
        Some(Value::String(data)) => bytes(data.bytes(), b"", flags, out),
        _ => bytes(b"", b"", flags, out),
    }
}

/// Values that are plain decimal numbers whatever the flags.
fn number(variable: LogVariable, record: &Record<'_>, out: &mut Text<'_>) {
    use LogVariable as V;
    let timers = &record.timers;
    let plus = match variable {
        V::BytesToClient | V::TimeTotal | V::TimeUser => record.early,
        V::Retries => record.redispatched,
        _ => false,
    };
    if plus {
        out.byte(b'+');
    }
    match variable {
        V::TimeHandshake => out.signed(timers.handshake_ms),
        V::TimeQueue => out.signed(timers.queue_ms),
        V::TimeConnect => out.signed(timers.connect_ms),
        V::TimeData => out.signed(timers.data_ms),
        V::TimeTotal | V::TimeUser => out.signed(timers.total_ms),
        V::BytesToClient => out.decimal(record.bytes_to_client),
        V::BytesFromClient => out.decimal(record.bytes_from_client),
        V::ProcessConnections => out.decimal(u64::from(record.connections.process)),
        V::FrontendConnections => out.decimal(u64::from(record.connections.frontend)),
        V::BackendConnections => out.decimal(u64::from(record.connections.backend)),
        V::ServerConnections => out.decimal(u64::from(record.connections.server)),
        V::Retries => out.decimal(u64::from(record.retries)),
        V::ServerQueue => out.decimal(u64::from(record.server_queue)),
        V::BackendQueue => out.decimal(u64::from(record.backend_queue)),
        // The status code of a session that never spoke HTTP.
        _ => out.decimal(0),
    }
}

/// A string, `-` when it is empty and not quoted. The suffix stands inside the quotes.
fn string(value: &str, suffix: &str, flags: LogFlags, out: &mut Text<'_>) {
    bytes(value.as_bytes(), suffix.as_bytes(), flags, out);
}

fn bytes(value: &[u8], suffix: &[u8], flags: LogFlags, out: &mut Text<'_>) {
    if flags.quote {
        out.byte(b'"');
    } else if value.is_empty() && out.marks_empty() {
        out.byte(b'-');
    }
    for &byte in value {
        if flags.escape && matches!(byte, b'"' | b'\\' | b']') {
            out.byte(b'\\');
        }
        out.byte(byte);
    }
    out.bytes(suffix);
    if flags.quote {
        out.byte(b'"');
    }
}

/// All captures between braces; nothing at all where the frontend has no slots.
fn captures(captures: Captures<'_>, flags: LogFlags, out: &mut Text<'_>) {
    if captures.slots == 0 {
        return;
    }
    let quote: &[u8] = if flags.quote { b"\"" } else { b"" };
    out.bytes(quote);
    for slot in 0..captures.slots {
        out.byte(if slot == 0 { b'{' } else { b'|' });
        captured(captures.values.get(slot).and_then(|value| value.as_deref()).unwrap_or_default(), flags, out);
    }
    out.byte(b'}');
    out.bytes(quote);
}

/// Each capture by itself.
fn capture_list(captures: Captures<'_>, flags: LogFlags, out: &mut Text<'_>) {
    let quote: &[u8] = if flags.quote { b"\"" } else { b"" };
    for slot in 0..captures.slots {
        if slot > 0 {
            out.byte(b' ');
        }
        out.bytes(quote);
        match captures.values.get(slot).and_then(|value| value.as_deref()) {
            Some(value) => captured(value, flags, out),
            None if flags.quote => {}
            None => out.byte(b'-'),
        }
        out.bytes(quote);
    }
}

/// Bytes as HAProxy writes captured ones: those that would be taken for something else, and all that are not plain, as `#` and two digits.
fn captured(value: &[u8], flags: LogFlags, out: &mut Text<'_>) {
    for &byte in value {
        match byte {
            b'"' | b'#' | b'{' | b'|' | b'}' | ..b' ' | 0x7f.. => {
                out.byte(b'#');
                out.hexadecimal(byte.into(), 2);
            }
            b'\\' | b']' if flags.escape => out.bytes(&[b'\\', byte]),
            byte => out.byte(byte),
        }
    }
}

fn address(peer: Option<Peer>, flags: LogFlags, out: &mut Text<'_>) {
    let Some(Peer::Inet(socket)) = peer else {
        return string(if peer.is_some() { "unix" } else { "" }, "", flags, out);
    };
    if flags.hexadecimal {
        return out.address_hexadecimal(socket.ip());
    }
    if flags.quote {
        out.byte(b'"');
    }
    out.address(socket.ip());
    if flags.quote {
        out.byte(b'"');
    }
}

/// A port; on a unix socket the number given instead, which is the bind's id towards the client and 0 towards the server.
fn port(peer: Option<Peer>, unix_port: u32, flags: LogFlags, out: &mut Text<'_>) {
    match peer {
        Some(Peer::Inet(socket)) => counter(u64::from(socket.port()), flags, 4, 1, out),
        Some(Peer::Unix) => counter(u64::from(unix_port), flags, 4, 1, out),
        None => string("", "", flags, out),
    }
}

fn counter(value: u64, flags: LogFlags, hexadecimal_width: usize, width: usize, out: &mut Text<'_>) {
    if flags.hexadecimal {
        out.hexadecimal(value, hexadecimal_width);
    } else {
        out.padded(value, width);
    }
}

/// The line of a frontend without a format, written at accept: `Connect from 10.0.0.1:3312 to 10.0.0.2:80 (frontend/TCP)`; on a unix
/// socket `Connect to unix:ID (frontend/TCP)`.
pub fn render_accept(client: Peer, local: Peer, bind_id: u32, frontend: &str, limit: usize, out: &mut Vec<u8>) {
    let mut text = Text::new(out, limit);
    text.bytes(b"Connect ");
    if let (Peer::Inet(client), Peer::Inet(local)) = (client, local) {
        text.bytes(b"from ");
        endpoint(client.ip(), client.port(), &mut text);
        text.bytes(b" to ");
        endpoint(local.ip(), local.port(), &mut text);
    } else {
        text.bytes(b"to unix:");
        text.decimal(u64::from(bind_id));
    }
    text.bytes(b" (");
    text.bytes(frontend.as_bytes());
    text.bytes(b"/TCP)");
}

fn endpoint(ip: IpAddr, port: u16, text: &mut Text<'_>) {
    text.address(ip);
    text.byte(b':');
    text.decimal(u64::from(port));
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Connections, Termination, Timers, Tls};

    fn peer(text: &str) -> Peer {
        Peer::Inet(text.parse().expect("socket address"))
    }

    pub fn record() -> Record<'static> {
        Record {
            accepted_us: 1_795_284_670_874_321,
            client: peer("10.0.1.2:33313"),
            local: peer("[2001:db8::1]:80"),
            bind_id: 3,
            frontend: "fnt",
            tls: None,
            backend: "bck",
            server: Some("srv1"),
            server_address: Some(peer("127.0.0.1:8000")),
            source_address: Some(peer("127.0.0.1:40000")),
            timers: Timers { handshake_ms: 0, queue_ms: 0, connect_ms: 1, data_ms: 5006, total_ms: 5007 },
            bytes_to_client: 212,
            bytes_from_client: 9,
            termination: Termination::NORMAL,
            connections: Connections { process: 4, frontend: 3, backend: 2, server: 1 },
            retries: 0,
            redispatched: false,
            server_queue: 0,
            backend_queue: 0,
            session_number: 10,
            log_number: 11,
            early: false,
            captures: Captures::default(),
        }
    }

    fn line(items: &[LogItem], record: &Record<'_>) -> String {
        let format = LogFormat { source: String::new(), items: items.to_vec() };
        let mut out = Vec::new();
        Renderer::new("node".into(), 77, Arc::default()).render(&format, record, None, 1024, &mut out);
        String::from_utf8(out).expect("text")
    }

    fn value(variable: LogVariable, flags: LogFlags, record: &Record<'_>) -> String {
        line(&[LogItem::Variable { variable, flags }], record)
    }

    const PLAIN: LogFlags = LogFlags { quote: false, hexadecimal: false, escape: false };
    const QUOTED: LogFlags = LogFlags { quote: true, ..PLAIN };
    const HEXADECIMAL: LogFlags = LogFlags { hexadecimal: true, ..PLAIN };

    #[test]
    fn addresses_and_ports() {
        use LogVariable::*;
        let record = record();
        assert_eq!(value(ClientIp, PLAIN, &record), "10.0.1.2");
        assert_eq!(value(ClientIp, QUOTED, &record), "\"10.0.1.2\"");
        assert_eq!(value(ClientIp, LogFlags { quote: true, ..HEXADECIMAL }, &record), "0A000102");
        assert_eq!(value(FrontendIp, HEXADECIMAL, &record), "20010DB8000000000000000000000001");
        assert_eq!(value(FrontendPort, HEXADECIMAL, &record), "0050");
        let unix = Record { client: Peer::Unix, server_address: None, ..record };
        assert_eq!((value(ClientIp, QUOTED, &unix), value(ClientPort, PLAIN, &unix)), ("\"unix\"".into(), "3".into()));
        assert_eq!((value(ServerIp, PLAIN, &unix), value(ServerPort, QUOTED, &unix)), ("-".into(), "\"\"".into()));
    }

    #[test]
    fn numbers_with_marks() {
        use LogVariable::*;
        let early = Record { early: true, redispatched: true, retries: 3, ..record() };
        assert_eq!(
            [BytesToClient, BytesFromClient, TimeTotal, TimeUser, Retries].map(|variable| value(variable, PLAIN, &early)),
            ["+212", "9", "+5007", "+5007", "+3"]
        );
        let record = record();
        assert_eq!([Milliseconds, ProcessId, Timestamp].map(|variable| value(variable, HEXADECIMAL, &record)), ["36A", "004D", "6B01DEBE"]);
        assert_eq!(value(Status, PLAIN, &record), "0");
    }

    #[test]
    fn strings() {
        use LogVariable::*;
        let secure = Record { tls: Some(Tls { version: "TLSv1.3", cipher: "A]B" }), server: None, ..record() };
        assert_eq!(value(FrontendTransport, QUOTED, &secure), "\"fnt~\"");
        assert_eq!(value(TlsCipher, LogFlags { escape: true, ..PLAIN }, &secure), "A\\]B");
        assert_eq!(value(Server, PLAIN, &secure), "<NOSRV>");
        assert_eq!((value(UniqueId, PLAIN, &secure), value(UniqueId, QUOTED, &secure)), ("-".into(), "\"\"".into()));
    }

    /// HAProxy 2.6's lines for the same captures.
    #[test]
    fn what_was_captured() {
        use LogVariable::*;
        let values = [None, Some(b"h|{e}l\"\x01lo wo]\\x #\xc3\xa4"[..].into()), Some(b"127.0.0.1"[..].into())];
        let record = Record { captures: Captures { slots: 3, values: &values }, ..record() };
        let encoded = "h#7C#7Be#7Dl#22#01lo wo]\\x #23#C3#A4";
        assert_eq!(value(RequestHeaders, PLAIN, &record), format!("{{|{encoded}|127.0.0.1}}"));
        assert_eq!(value(RequestHeaders, QUOTED, &record), format!("\"{{|{encoded}|127.0.0.1}}\""));
        assert_eq!(value(RequestHeaderList, PLAIN, &record), format!("- {encoded} 127.0.0.1"));
        assert_eq!(value(RequestHeaderList, QUOTED, &record), format!("\"\" \"{encoded}\" \"127.0.0.1\""));
        let escaped = value(RequestHeaderList, LogFlags { escape: true, ..PLAIN }, &record);
        assert_eq!(escaped, "- h#7C#7Be#7Dl#22#01lo wo\\]\\\\x #23#C3#A4 127.0.0.1");
        let nothing = Record { captures: Captures { slots: 2, values: &[] }, ..record };
        assert_eq!((value(RequestHeaders, PLAIN, &nothing), value(RequestHeaderList, PLAIN, &nothing)), ("{|}".into(), "- -".into()));
    }

    #[test]
    fn blanks_are_squeezed_around_empty_values() {
        let text = |text: &str| LogItem::Text(text.into());
        let empty = LogItem::Variable { variable: LogVariable::RequestHeaders, flags: PLAIN };
        let items =
            [LogItem::Blank, empty.clone(), LogItem::Blank, text("x"), LogItem::Blank, empty, LogItem::Blank, text("y"), LogItem::Blank];
        assert_eq!(line(&items, &record()), "x y ");
    }

    #[test]
    fn lines_of_frontends_without_a_format() {
        let mut out = Vec::new();
        render_accept(peer("[::1]:5"), peer("1.2.3.4:80"), 9, "fe", 1024, &mut out);
        out.push(b'|');
        render_accept(Peer::Unix, Peer::Unix, 9, "fe", 1024, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), "Connect from ::1:5 to 1.2.3.4:80 (fe/TCP)|Connect to unix:9 (fe/TCP)");
    }

    proptest! {
        #[test]
        fn a_shorter_limit_gives_a_prefix(
            items in prop::collection::vec((0..LogVariable::ALL.len() + 2, any::<(bool, bool, bool)>()), 0..12),
            limit in 0..200usize,
        ) {
            let items = items.into_iter().map(|(index, (quote, hexadecimal, escape))| match LogVariable::ALL.get(index) {
                Some(&variable) => LogItem::Variable { variable, flags: LogFlags { quote, hexadecimal, escape } },
                None if index == LogVariable::ALL.len() => LogItem::Blank,
                None => LogItem::Text("text".into()),
            });
            let format = LogFormat { source: String::new(), items: items.collect() };
            let mut renderer = Renderer::new("node".into(), 77, Arc::default());
            let (mut whole, mut cut) = (Vec::new(), Vec::new());
            renderer.render(&format, &record(), None, usize::MAX, &mut whole);
            renderer.render(&format, &record(), None, limit, &mut cut);
            prop_assert_eq!(&whole[..limit.min(whole.len())], &cut[..]);
        }
    }
}
