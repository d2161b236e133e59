//! Fetches beside the real HAProxy: the same expressions on the same connections give the same values.
//!
//! What received bytes give is compared at every length: HAProxy says in its log how many bytes it had when a rule was decided, and
//! whether it waited until the end of the inspection.

#[path = "../support/mod.rs"]
mod support;
mod tables;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmain_model::{BackendId, FrontendId, SampleType, ServerId};
use ringmain_policy::expression::testing::{Literal, expression};
use ringmain_policy::expression::{Absent, Count, Evaluation, TcpField, Timeout, Value, evaluate};
use socket2::Socket;
use support::{Haproxy, NamedServer, PATIENCE, address_of, bound_socket, haproxy_is_installed};

/// A value as a log line has it; `-` when there is none.
fn shown(facts: &Literal, source: &str) -> String {
    let expression = expression(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    match evaluate(&expression, Evaluation { facts, is_final: true }) {
        Ok(sample) => match sample.value {
            Value::Binary(data) => data.text().into_owned(),
            value => match value.cast(SampleType::String) {
                Some(Value::String(data)) => data.text().into_owned(),
                other => panic!("{source}: {other:?}"),
            },
        },
        Err(Absent::Table) => panic!("{source} was not answered"),
        Err(_) => String::from("-"),
    }
}

/// The next log line without what syslog puts in front.
fn log_text(haproxy: &Haproxy) -> String {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(line) = haproxy.log_line()
            && let Some((_, text)) = line.split_once("> ").or(line.split_once('>'))
            && let Some((_, text)) = text.split_once('#')
        {
            return text.to_owned();
        }
    }
    panic!("haproxy logged nothing");
}

fn inherited_listener() -> Socket {
    let socket = bound_socket();
    socket.listen(1024).unwrap();
    socket.set_cloexec(false).unwrap();
    socket
}

/// Longest time that HAProxy waits for bytes here. Whoever decided did so long before it.
const INSPECTION_MS: u64 = 1000;

/// HAProxy's buffers, unless it is told otherwise.
const BUFFER_BYTES: usize = 16_384;

/// Without absolute second offsets: HAProxy 2.6 reads `req.payload_lv(0,1,4)` at byte 2 and `(0,1,3)` two bytes behind the length, where its
/// manual promises bytes 4 and 3. Ours are as the manual says.
const PAYLOADS: &[&str] = &[
    "req.payload(0,0)",
    "req.payload(0,3)",
    "req.payload(2,3)",
    "req.payload(2,0)",
    "req.payload(5,0)",
    "req.payload(20000,3)",
    "req.payload(16380,4)",
    "req.payload(16380,5)",
    "payload(1,2)",
    "req.payload_lv(0,1)",
    "req.payload_lv(0,2)",
    "req.payload_lv(0,1,+1)",
    "req.payload_lv(1,1,-1)",
    "req.payload_lv(2,1,-0)",
    "req.payload_lv(0,2,-2)",
    "req.payload_lv(0,2,0)",
    "req.payload_lv(0,3)",
    "req.payload_lv(0,9)",
    "payload_lv(1,1)",
    "wait_end",
    "req.rdp_cookie",
    "rdp_cookie(MSTSHASH)",
    "req.rdp_cookie(msts)",
];

const REQUESTS: &[&[u8]] = &[
    b"abcdefgh",
    b"\x03abcdef",
    b"\x00\x03abcdef",
    b"\x01\x02abcdef",
    b"\x00\x00\x00\x00",
    b"\0\0\0\0\0\0\0\0\x02abc",
    b"\x03\x00\x00\x1d\x18\xe0\0\0\0\0\0Cookie: msts=j\r\n",
];

#[test]
fn received_bytes_give_the_same_at_every_length() {
    if !haproxy_is_installed() {
        return;
    }
    let listeners: Vec<Socket> = PAYLOADS.iter().map(|_| inherited_listener()).collect();
    let mut sections = String::from("frontend unused\n bind fd@LISTENER\n");
    for (number, (source, listener)) in PAYLOADS.iter().zip(&listeners).enumerate() {
        sections.push_str(&format!(
            "frontend f{number}\n bind fd@{}\n log-format \"#%cp:%fp %[var(txn.found)] %[var(txn.length)] %Tt %[var(txn.value)]\"\n\
             \x20tcp-request inspect-delay {INSPECTION_MS}ms\n\
             \x20tcp-request content set-var(txn.found) int(1) if {{ {source} -m found }}\n\
             \x20tcp-request content set-var(txn.length) req.len\n\
             \x20tcp-request content set-var(txn.value) {source},hex if {{ {source} -m found }}\n\
             \x20tcp-request content reject\n",
            listener.as_raw_fd()
        ));
    }
    let haproxy =
        Haproxy::start(&sections.replacen("frontend unused", "defaults\n mode tcp\n log global\n timeout client 10s\nfrontend unused", 1));
    for half_closes in [false, true] {
        let lengths = |request: &&'static [u8]| (0..=request.len()).zip(std::iter::repeat(*request));
        let mut left: Vec<(usize, (usize, &[u8]))> =
            (0..PAYLOADS.len()).flat_map(|place| REQUESTS.iter().flat_map(lengths).map(move |sent| (place, sent))).collect();
        let deadline = Instant::now() + 3 * PATIENCE;
        while !left.is_empty() {
            assert!(Instant::now() < deadline, "haproxy did not log {left:?}");
            // The log's socket holds about so many lines; what it drops nevertheless is tried again.
            let batch = left.split_off(left.len().saturating_sub(200));
            left.extend(compare_payloads(&haproxy, &listeners, batch, half_closes));
        }
    }
}

/// Sends so many bytes of each request and compares what HAProxy logs; gives back what it did not log.
fn compare_payloads(
    haproxy: &Haproxy,
    listeners: &[Socket],
    batch: Vec<(usize, (usize, &'static [u8]))>,
    half_closes: bool,
) -> Vec<(usize, (usize, &'static [u8]))> {
    let mut connections = HashMap::new();
    for (place, (length, request)) in batch {
        let mut stream = TcpStream::connect(address_of(&listeners[place])).unwrap();
        // A rejected connection may be gone before its last byte or its end is sent.
        let _ = stream.write_all(&request[..length]);
        if half_closes {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let ports = format!("{}:{}", stream.local_addr().unwrap().port(), address_of(&listeners[place]).port());
        connections.insert(ports, (stream, (place, (length, request))));
    }
    let deadline = Instant::now() + Duration::from_millis(INSPECTION_MS) + PATIENCE / 10;
    while !connections.is_empty() && Instant::now() < deadline {
        let Some(line) = haproxy.log_line() else { continue };
        let Some((_, text)) = line.split_once('#') else { continue };
        let words: Vec<&str> = text.split(' ').collect();
        if let Some((_, (place, (_, request)))) = connections.remove(words[0]) {
            compare_payload(PAYLOADS[place], request, &words[1..], half_closes);
        }
    }
    connections.into_values().map(|(_, sent)| sent).collect()
}

/// HAProxy's words: whether there was a value, of how many bytes, after how many milliseconds, and the value in hexadecimal.
fn compare_payload(source: &str, request: &[u8], words: &[&str], half_closes: bool) {
    let length: usize = words[1].parse().unwrap();
    // Its two clocks may differ by some milliseconds.
    let waited = words[2].parse::<u64>().unwrap() >= INSPECTION_MS - 100;
    let case = format!("{source} with {length} bytes of {} (waited: {waited}): haproxy says {words:?}", request.escape_ascii());
    let facts = Literal { inspected_bytes_max: BUFFER_BYTES, ..Literal::of_request(&request[..length], false) };
    let expression = expression(source).unwrap();
    let outcome = |is_final| evaluate(&expression, Evaluation { facts: &facts, is_final });
    if words[0] == "1" {
        let decided = outcome(waited || half_closes).unwrap_or_else(|why| panic!("{case}; {why:?}"));
        let value = match decided.value {
            Value::Binary(data) | Value::String(data) => data.bytes().iter().map(|byte| format!("{byte:02X}")).collect(),
            Value::Boolean(value) => format!("{:016X}", u8::from(value)),
            other => panic!("{case}; {other:?}"),
        };
        let expected = if words[3] == "-" { "" } else { words[3] };
        assert_eq!(value, expected, "{case}");
    } else if waited {
        assert_eq!(outcome(false).map(|_| ()), Err(Absent::NotYet), "{case}");
    } else if half_closes {
        assert_eq!(outcome(true).map(|_| ()), Err(Absent::Missing), "{case}");
    } else {
        assert_eq!(outcome(false).map(|_| ()), Err(Absent::Missing), "{case}");
    }
}

/// Expressions whose values follow from the connection and the configuration: HAProxy's spelling, and ours where names are ids.
const VALUES: &[(&str, &str)] = &[
    ("src", "src"),
    ("src_port", "src_port"),
    ("src_is_local", "src_is_local"),
    ("dst", "dst"),
    ("dst_port", "dst_port"),
    ("dst_is_local", "dst_is_local"),
    ("dst_conn", "dst_conn"),
    ("fc_src", "fc_src"),
    ("fc_src_port", "fc_src_port"),
    ("fc_src_is_local", "fc_src_is_local"),
    ("fc_dst", "fc_dst"),
    ("fc_dst_port", "fc_dst_port"),
    ("fc_dst_is_local", "fc_dst_is_local"),
    ("fc_rcvd_proxy", "fc_rcvd_proxy"),
    ("fc_lost", "fc_lost"),
    ("fc_retrans", "fc_retrans"),
    ("bc_src", "bc_src"),
    ("bc_dst", "bc_dst"),
    ("bc_dst_port", "bc_dst_port"),
    ("be_id", "be_id"),
    ("be_name", "be_name"),
    ("be_server_timeout", "be_server_timeout"),
    ("be_tunnel_timeout", "be_tunnel_timeout"),
    ("fe_id", "fe_id"),
    ("fe_name", "fe_name"),
    ("fe_defbe", "fe_defbe"),
    ("fe_client_timeout", "fe_client_timeout"),
    ("srv_id", "srv_id"),
    ("srv_name", "srv_name"),
    ("so_id", "so_id"),
    ("so_name", "so_name"),
    ("always_true", "always_true"),
    ("always_false", "always_false"),
    ("bool(TRUE)", "bool(TRUE)"),
    ("bool(0)", "bool(0)"),
    ("int(-5)", "int(-5)"),
    ("str(x)", "str(x)"),
    ("str(abc),length", "str(abc),length"),
    ("bin(4865)", "bin(4865)"),
    ("ipv4(1.2.3.4)", "ipv4(1.2.3.4)"),
    ("ipv6(2001:db8:0:0::1)", "ipv6(2001:db8:0:0::1)"),
    ("ipv6(::ffff:1.2.3.4)", "ipv6(::ffff:1.2.3.4)"),
    ("env(RINGMAIN_IS_NOT_SET)", "env"),
    ("hostname", "hostname"),
    ("nbproc", "nbproc"),
    ("proc", "proc"),
    ("thread", "thread"),
    ("prio_class", "prio_class"),
    ("prio_offset", "prio_offset"),
    ("rand(0)", "rand(0)"),
    ("rand(1)", "rand(1)"),
    ("stopping", "stopping"),
    ("var(txn.none)", "var(0)"),
    ("var(txn.none,dd)", "var(0,dd)"),
    ("last_rule_line", "last_rule_line"),
    ("nbsrv(b)", "nbsrv(0)"),
    ("be_conn_free(unlimited)", "be_conn_free(1)"),
    ("connslots(unlimited)", "connslots(1)"),
    ("queue(b)", "queue(0)"),
    ("avg_queue(b)", "avg_queue(0)"),
    ("srv_is_up(b/down)", "srv_is_up(0)"),
    ("srv_is_up(b/up)", "srv_is_up(1)"),
    ("srv_iweight(b/down)", "srv_iweight(0)"),
    ("srv_weight(b/up)", "srv_weight(1)"),
    ("srv_uweight(b/up)", "srv_uweight(1)"),
    ("srv_conn_free(unlimited/any)", "srv_conn_free(2)"),
    ("srv_queue(b/up)", "srv_queue(1)"),
    ("wait_end", "wait_end"),
];

#[test]
fn values_of_sessions_are_the_same() {
    if !haproxy_is_installed() {
        return;
    }
    let server = NamedServer::start(String::from("up"), false);
    let items: Vec<String> = VALUES.iter().map(|(theirs, _)| format!("%[{theirs}]")).collect();
    let haproxy = Haproxy::start(&format!(
        "defaults\n mode tcp\n log global\n timeout connect 2s\n timeout client 5s\n timeout server 6s\n timeout tunnel 7s\n\
         frontend f\n id 42\n bind fd@LISTENER name sock id 77\n default_backend b\n log-format \"#{}\"\n\
         backend b\n id 43\n server down 127.0.0.1:1 weight 7 disabled\n server up {} id 9 weight 5 maxconn 10\n\
         backend unlimited\n server any 127.0.0.1:1\n",
        items.join("|"),
        server.0,
    ));
    let mut stream = TcpStream::connect(haproxy.address).unwrap();
    let client = stream.local_addr().unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    drop(stream);
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let (backend, unlimited) = (BackendId::new(0), BackendId::new(1));
    let (down, up, any) = (ServerId::new(0), ServerId::new(1), ServerId::new(2));
    let facts = Literal {
        client: Some(client),
        local: Some(haproxy.address),
        server_side: Some((loopback, server.0)),
        bind: Some((77, Some("sock"))),
        frontend: Some((FrontendId::new(0), 42, "f")),
        backend: Some((backend, 43, "b")),
        server: Some((up, 9, "up")),
        timeouts: vec![(Timeout::Client, 5000), (Timeout::Server, 6000), (Timeout::Tunnel, 7000)],
        tcp: vec![(TcpField::Lost, 0), (TcpField::Retransmissions, 0)],
        counts: vec![
            (Count::Shard, 0),
            (Count::UsableServers(backend), 1),
            (Count::BackendConnectionsFree(unlimited), -1),
            (Count::ConnectionSlots(unlimited), -1),
            (Count::Queue(backend), 0),
            (Count::AverageQueue(backend), 0),
            (Count::ServerIsUp(down), 0),
            (Count::ServerIsUp(up), 1),
            (Count::ServerInitialWeight(down), 7),
            (Count::ServerWeight(up), 5),
            (Count::ServerUserWeight(up), 5),
            (Count::ServerConnectionsFree(any), -1),
            (Count::ServerQueue(up), 0),
        ],
        ..Literal::default()
    };
    let line = log_text(&haproxy);
    let theirs: Vec<&str> = line.split('|').collect();
    assert_eq!(theirs.len(), VALUES.len(), "{line}");
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for ((name, ours), theirs) in VALUES.iter().zip(theirs) {
        // HAProxy runs with as many threads as there are cores; ours come from the facts, and so does the host's name.
        match *name {
            "thread" => assert!(theirs.parse::<u32>().is_ok(), "{name}: {theirs}"),
            "hostname" => assert_eq!(theirs, hostname.trim(), "{name}"),
            _ => assert_eq!(shown(&facts, ours), theirs, "{name}: haproxy is on the right"),
        }
    }
}

#[test]
fn dates_random_numbers_and_uuids_look_the_same() {
    if !haproxy_is_installed() {
        return;
    }
    let sources = ["date", "date(-7)", "date(5,s)", "date(0,ms)", "date(1000,us)", "date_us", "rand", "rand(5)", "uuid", "uuid(4)"];
    let items: Vec<String> = sources.iter().map(|source| format!("%[{source}]")).collect();
    let haproxy = Haproxy::start(&format!(
        "frontend f\n mode tcp\n bind fd@LISTENER\n log-format \"#{}\"\n tcp-request content reject\n",
        items.join("|")
    ));
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let _ = TcpStream::connect(haproxy.address).unwrap().read(&mut [0; 1]);
    let line = log_text(&haproxy);
    let facts = Literal { wall_us: before.as_micros() as u64, ..Literal::default() };
    facts.random.set(0x8123_4567_89ab_cdef);
    for (source, theirs) in sources.iter().zip(line.split('|')) {
        let ours = shown(&facts, source);
        match *source {
            "uuid" | "uuid(4)" => {
                let shape = |text: &str| text.replace(|letter: char| letter.is_ascii_hexdigit() && !letter.is_uppercase(), "x");
                assert_eq!(shape(&ours), shape(theirs), "{source}");
                assert!(ours.as_bytes()[14] == b'4' && theirs.as_bytes()[14] == b'4', "{ours} {theirs}");
                assert!(b"89ab".contains(&ours.as_bytes()[19]) && b"89ab".contains(&theirs.as_bytes()[19]), "{ours} {theirs}");
            }
            "date_us" => assert!(theirs.parse::<u64>().unwrap() < 1_000_000 && ours.parse::<u64>().unwrap() < 1_000_000),
            "rand" => assert!(theirs.parse::<u64>().unwrap() < 1 << 32 && ours.parse::<u64>().unwrap() < 1 << 32),
            "rand(5)" => assert!(theirs.parse::<u64>().unwrap() < 5 && ours.parse::<u64>().unwrap() < 5),
            _ => {
                let unit = if source.contains("ms") {
                    1_000
                } else if source.contains("us") {
                    1_000_000
                } else {
                    1
                };
                let late = theirs.parse::<i64>().unwrap() - ours.parse::<i64>().unwrap();
                // HAProxy reads the clock once per turn of its loop, maybe before we did.
                assert!((-unit..=PATIENCE.as_secs() as i64 * unit).contains(&late), "{source}: {ours} and {theirs}");
            }
        }
    }
}
