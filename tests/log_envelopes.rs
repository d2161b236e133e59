//! Envelopes of log lines against the real HAProxy: what arrives at a target of every `format`, through HAProxy and through our writer.

mod log_common;

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use log_common::{HaProxy, TIMEOUT, inherited, offset_s, received, receiver, session};
use ringmain::log::Logs;
use ringmain_model::{Facility, Level, LogDestination, LogEncoding, LogSettings, LogTarget};
use ringmain_policy::log::{Line, LocalTime, LogChannel};

/// The moment and its offset of HAProxy's `format iso`.
fn iso_date(line: &str) -> (u64, i32) {
    let (date, rest) = line.split_at(26);
    let (day, time) = date.split_once('T').expect("a time");
    let fields: Vec<u64> = day.split('-').chain(time.split([':', '.'])).map(|field| field.parse().expect("a number")).collect();
    let [year, month, day, hour, minute, second, microsecond] = fields[..] else { panic!("a date: {date}") };
    let offset = offset_s(&rest[..6]);
    // Days of years and months before, counted one by one: independent of the calendar under test.
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let days = years + lengths[..month as usize - 1].iter().sum::<u64>() + day - 1;
    let local = ((days * 24 + hour) * 60 + minute) * 60 + second;
    (local.checked_add_signed(-i64::from(offset)).expect("a time") * 1_000_000 + microsecond, offset)
}

/// Every encoding; the dates of the first and the last are the earliest and the latest.
const ENCODINGS: [(&str, LogEncoding); 8] = [
    ("iso", LogEncoding::Iso),
    ("local", LogEncoding::Local),
    ("rfc3164", LogEncoding::Rfc3164),
    ("rfc5424", LogEncoding::Rfc5424),
    ("priority", LogEncoding::Priority),
    ("short", LogEncoding::Short),
    ("raw", LogEncoding::Raw),
    ("timed", LogEncoding::Timed),
];

const STRUCTURED_DATA: &str = r#"[ex@1 s="%s"]  "#;

/// The lines that HAProxy sends for one session, in the order of the encodings, all from the same second; and its process id.
fn haproxy_envelopes(global: &str, text: &str, length: u16) -> (Vec<String>, u32) {
    loop {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let sockets = ENCODINGS.map(|_| receiver());
        let mut config = format!("global\n {global}\n");
        for (socket, (name, _)) in sockets.iter().zip(ENCODINGS) {
            let address = socket.local_addr().expect("an address");
            config += &format!(" log {address} len {length} format {name} local3 info notice\n");
        }
        config += &format!(
            "listen fe\n bind {}\n mode tcp\n log global\n option log-separate-errors\n timeout client 1s\n timeout server 1s\n \
             timeout connect 1s\n log-format '{text}'\n log-format-sd '{STRUCTURED_DATA}'\n server srv1 127.0.0.1:9 disabled\n",
            inherited(&listener)
        );
        let haproxy = HaProxy::start(directory.path(), &config);
        session(TcpStream::connect(listener.local_addr().expect("an address")).expect("connected"));
        let lines: Vec<String> = sockets.iter().map(received).collect();
        if iso_date(&lines[0]).0 / 1_000_000 == iso_date(&lines[7][3..]).0 / 1_000_000 {
            return (lines, haproxy.id());
        }
    }
}

/// Compares the lines of every encoding with what our writer sends for the same facts.
fn compare_envelopes(global: &str, tag: &str, hostname: Option<&str>, text: &str, length: u16) {
    let (expected, theirs) = haproxy_envelopes(global, text, length);
    let (first_us, offset) = iso_date(&expected[0]);
    let (logs, mut handles) = Logs::start(1, Arc::new(LocalTime::new(vec![(0, offset)]))).expect("a writer");
    for (expected, (name, encoding)) in expected.iter().zip(ENCODINGS) {
        let socket = receiver();
        let target = LogTarget {
            destination: LogDestination::Udp(socket.local_addr().expect("an address")),
            encoding: Some(encoding),
            length,
            facility: Facility::Local3,
            level: Level::Info,
            minimum_level: Level::Notice,
            sample: None,
        };
        let settings = LogSettings { targets: vec![target], ..LogSettings::default() };
        let channel = Arc::new(LogChannel::new(&settings, Some(&tag.into()), hostname.map(Into::into).as_ref(), "other"));
        assert!(logs.open(std::slice::from_ref(&channel)).is_empty());
        // Each of HAProxy's lines has its own microsecond.
        let date_start = match encoding {
            LogEncoding::Timed => 3,
            LogEncoding::Rfc5424 => 7,
            _ => 0,
        };
        let dated = matches!(encoding, LogEncoding::Iso | LogEncoding::Timed | LogEncoding::Rfc5424);
        let written_us = if dated { iso_date(&expected[date_start..]).0 } else { first_us };
        let structured_data = STRUCTURED_DATA.replace("%s", "<NOSRV>");
        let rendered = &text.as_bytes()[..text.len().min(channel.longest_line())];
        let structured_data = structured_data.as_bytes();
        assert!(handles[0].push(Line { channel: &channel, level: Level::Err, written_us, text: rendered, structured_data }));
        let line = received(&socket);
        if text.len() >= usize::from(length) {
            // Process ids may differ in length, so only the length of cut lines can be compared.
            assert_eq!(line.len(), expected.len(), "format {name}");
            continue;
        }
        let ours = std::process::id();
        let line = line.replacen(&format!("[{ours}]"), &format!("[{theirs}]"), 1).replacen(&format!(" {ours} "), &format!(" {theirs} "), 1);
        assert_eq!(&line, expected, "format {name}");
    }
    assert!(logs.stop(TIMEOUT));
}

#[test]
fn envelopes_have_the_same_bytes() {
    compare_envelopes("", "haproxy", None, "some text", 1024);
    compare_envelopes("log-tag proxy\n log-send-hostname", "proxy", Some(host_name().as_str()), "some text ", 1024);
    compare_envelopes("log-send-hostname a.b", "haproxy", Some("a.b"), "\"x\\y\"", 1024);
}

#[test]
fn cut_lines_have_the_same_length() {
    compare_envelopes("", "haproxy", None, &"0123456789".repeat(50), 300);
}

fn host_name() -> String {
    nix::unistd::gethostname().expect("a name").into_string().expect("text")
}
