//! Fetches beside the real HAProxy: the same expressions on the same connections give the same values.
//!
//! What received bytes give is compared at every length: HAProxy says in its log how many bytes it had when a rule was decided, and
//! whether it waited until the end of the inspection.

mod support;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmain_model::table::{Column, DataType, KeyType, Table};
use ringmain_model::{BackendId, FrontendId, Milliseconds, SampleType, ServerId, TableId};
use ringmain_policy::expression::testing::{Literal, expression};
use ringmain_policy::expression::{Absent, Count, Evaluation, TableQuery, TableSubject, TcpField, Timeout, Value, evaluate};
use ringmain_policy::table::{Answer, Event, Handle, Key, Request, Share, Target};
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

/// Fetches and converters of tables in the order in which they run: each may change what the next ones find.
const TABLE_STEPS: &[&str] = &[
    "sc_tracked(0)",
    "sc0_tracked",
    "sc_tracked(0,1)",
    "sc_tracked(1)",
    "sc_trackers(0)",
    "sc0_trackers(1)",
    "sc1_trackers",
    "sc_conn_cnt(0)",
    "sc0_conn_cnt",
    "sc0_conn_cnt(0)",
    "sc_conn_cnt(0,1)",
    "sc_conn_cnt(1)",
    "sc2_conn_cnt(0)",
    "sc_conn_cur(0)",
    "sc_conn_rate(0)",
    "sc_get_gpc(0,0)",
    "sc_get_gpc(5,0)",
    "sc_inc_gpc(1,0)",
    "sc_inc_gpc(1,0)",
    "sc_inc_gpc(5,0)",
    "sc_get_gpc(1,0)",
    "sc_get_gpc1(0)",
    "sc_inc_gpc1(0)",
    "sc_get_gpc(1,0)",
    "sc_gpc_rate(1,0)",
    "sc_gpc_rate(5,0)",
    "sc_gpc1_rate(0)",
    "sc_clr_gpc(1,0)",
    "sc_get_gpc(1,0)",
    "sc_clr_gpc(5,0)",
    "sc_inc_gpc0(0)",
    "sc_get_gpc0(0)",
    "sc_gpc0_rate(0)",
    "sc_clr_gpc0(0)",
    "sc_get_gpt(1,0)",
    "sc_get_gpt(5,0)",
    "sc_get_gpt0(0)",
    "sc_kbytes_in(0)",
    "sc_kbytes_out(0)",
    "sc_bytes_in_rate(0)",
    "sc_http_req_cnt(0)",
    "sc_sess_cnt(0)",
    "sc_inc_gpc0(0,1)",
    "sc_get_gpc0(0,1)",
    "sc_clr_gpc0(0,1)",
    "sc_gpc0_rate(0,1)",
    "sc_inc_gpc0(1,1)",
    "src_conn_cnt(0)",
    "src_conn_cnt(1)",
    "src_get_gpc(1,1)",
    "src_inc_gpc0(1)",
    "src_inc_gpc0(1)",
    "src_get_gpc0(1)",
    "src_get_gpc1(1)",
    "src_gpc0_rate(1)",
    "sc_inc_gpc0(0,1)",
    "src_clr_gpc0(1)",
    "src_get_gpc0(1)",
    "src_inc_gpc0(2)",
    "src_inc_gpc0(2)",
    "src_gpc0_rate(2)",
    "src_clr_gpc0(2)",
    "src_get_gpc0(2)",
    "src_updt_conn_cnt(0)",
    "src_conn_cnt(0)",
    "src_updt_conn_cnt(1)",
    "src_conn_cur(0)",
    "src_http_req_cnt(0)",
    "src_http_req_cnt(3)",
    "src_inc_gpc0(3)",
    "src_inc_gpc0(4)",
    "src_inc_gpc0(4)",
    "src_get_gpc0(4)",
    "src_inc_gpc0(5)",
    "src_inc_gpc0(6)",
    "src_kbytes_in(0)",
    "src,table_conn_cnt(0)",
    "src,table_conn_cnt(1)",
    "src,table_conn_cnt(7)",
    "src,table_gpc0(4)",
    "src,table_gpc0(1)",
    "src,table_gpc1(0)",
    "src,table_gpc(0,0)",
    "src,table_gpc(5,0)",
    "src,table_gpc_rate(0,0)",
    "src,table_gpt(1,0)",
    "src,table_gpt0(0)",
    "src,table_server_id(0)",
    "src,table_server_id(3)",
    "src,table_sess_rate(7)",
    "src,table_http_err_cnt(7)",
    "src,table_kbytes_in(0)",
    "src,table_bytes_in_rate(0)",
    "src,in_table(0)",
    "src,in_table(7)",
    "src,table_trackers(7)",
    "src,table_idle(7)",
    "src,table_idle(7,-7)",
    "src,table_expire(7,8)",
    "src,table_expire(7)",
    "src,table_expire(4)",
    "str(127.0.0.1),table_conn_cnt(0)",
    "str(xx),table_conn_cnt(0)",
    "str(xx),in_table(0)",
    "str(xx),table_idle(0,5)",
    "str(xx),table_trackers(0)",
    "str(127.0.0.1),in_table(3)",
    "str(),in_table(3)",
    "str(),table_gpc0(3)",
    "bin(7f000001),in_table(6)",
    "bin(3132372e302e302e31),in_table(3)",
    "bin(7f000001),in_table(0)",
    "int(2130706433),in_table(0)",
    "int(2130706433),in_table(5)",
    "int(2130706433),in_table(4)",
    "ipv6(::1),in_table(0)",
    "ipv6(::ffff:127.0.0.1),in_table(0)",
    "ipv6(::1),table_idle(0,6)",
    "bool(1),in_table(5)",
    "bool(1),in_table(0)",
];

fn stored(key: KeyType, columns: &[(DataType, u32)]) -> Table {
    let column = |&(data, length): &(DataType, u32)| Column { data, period: data.has_period().then_some(Milliseconds(60_000)), length };
    let expire = Some(Milliseconds(60_000));
    Table { name: "t".into(), key, size: 10, expire, no_purge: false, write_to: None, columns: columns.iter().map(column).collect() }
}

fn tables() -> Vec<Table> {
    use DataType as D;
    let simple = [(D::ConnCnt, 1), (D::Gpc0, 1), (D::ServerId, 1)];
    let wide = [
        (D::ConnCnt, 1),
        (D::ConnCur, 1),
        (D::ConnRate, 1),
        (D::BytesInCnt, 1),
        (D::BytesInRate, 1),
        (D::Gpt, 2),
        (D::Gpc, 2),
        (D::GpcRate, 2),
    ];
    vec![
        stored(KeyType::Ip, &wide),
        stored(KeyType::Ip, &[(D::Gpc0, 1), (D::Gpc0Rate, 1)]),
        stored(KeyType::Ip, &[(D::Gpc0Rate, 1)]),
        stored(KeyType::String { length: 31 }, &simple),
        Table { expire: None, ..stored(KeyType::Ipv6, &simple) },
        stored(KeyType::Integer, &simple),
        stored(KeyType::Binary { length: 4 }, &simple),
        stored(KeyType::Ip, &[(D::ConnCnt, 1)]),
    ]
}

/// The sections that declare the tables, named by their ids.
fn declared(tables: &[Table]) -> String {
    let mut sections = String::new();
    for (id, table) in tables.iter().enumerate() {
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| match (column.data.is_array(), column.period) {
                (true, Some(_)) => format!("{}({},60s)", column.data.name(), column.length),
                (true, None) => format!("{}({})", column.data.name(), column.length),
                (false, Some(_)) => format!("{}(60s)", column.data.name()),
                (false, None) => column.data.name().to_owned(),
            })
            .collect();
        let length = if let KeyType::Binary { length } = table.key { format!(" len {length}") } else { String::new() };
        let expire = if table.expire.is_some() { " expire 60s" } else { "" };
        sections.push_str(&format!(
            "backend {id}\n stick-table type {}{length} size 10{expire} store {}\n",
            table.key.name(),
            columns.join(",")
        ));
    }
    sections
}

/// Answers table queries from shares, as the owners of the entries would.
fn answer(tables: &[Table], shares: &mut [Share], (own, handle, client): (TableId, Handle, IpAddr), query: &TableQuery) -> Option<i64> {
    const NOW_MS: u64 = 1_000_000;
    let key_in = |table: TableId| Key::from_address(client, tables[table.index()].key).unwrap();
    let target = |subject: &TableSubject| match subject {
        TableSubject::Tracked(_, None) => (own, Target::Handle(handle)),
        TableSubject::Tracked(_, Some(table)) => (*table, Target::Key(key_in(*table))),
        TableSubject::Key(table, key) => (*table, Target::Key(key.clone())),
    };
    let mut ask = |subject: &TableSubject, request: &dyn Fn(Target) -> Request| {
        let (table, target) = target(subject);
        match shares[table.index()].apply(NOW_MS, &request(target)) {
            Answer::Number(number) => number,
            Answer::Done(done) => Some(done.into()),
            Answer::Rows(page) => page.rows.first().map(|row| row.remaining_ms.unwrap_or(0) as i64),
            other => panic!("{other:?}"),
        }
    };
    match query {
        TableQuery::Exists(subject) => ask(subject, &|target| match target {
            Target::Key(key) => Request::Exists { key },
            Target::Handle(_) => Request::Exists { key: key_in(own) },
        }),
        TableQuery::Read(subject, data, index) => ask(subject, &|target| Request::Read { target, data: *data, index: (*index).into() }),
        TableQuery::Add(subject, data, index, amount) => ask(subject, &|target| {
            let event = match data {
                DataType::Gpc0 => Event::Gpc0,
                DataType::Gpc1 => Event::Gpc1,
                DataType::Gpc => Event::Gpc(u32::from(*index)),
                _ => return Request::Add { target, data: *data, index: 0, amount: (*amount).into() },
            };
            Request::Count { target, event, amount: (*amount).into() }
        }),
        TableQuery::Clear(subject, data, index) => {
            ask(subject, &|target| Request::Set { target, data: *data, index: (*index).into(), value: 0 })
        }
        TableQuery::Trackers(subject) => ask(subject, &|target| Request::Trackers { target }),
        TableQuery::Idle(subject) | TableQuery::Expire(subject) => ask(subject, &|target| Request::ReadRow { target }),
        TableQuery::ServerKey(_) => panic!("no fetch asks for names"),
    }
}

#[test]
fn entries_of_tables_are_found_and_changed_in_the_same_way() {
    if !haproxy_is_installed() {
        return;
    }
    let tables = tables();
    let rules: String =
        TABLE_STEPS.iter().enumerate().map(|(step, source)| format!(" tcp-request content set-var(txn.v{step}) {source}\n")).collect();
    let items: Vec<String> = (0..TABLE_STEPS.len()).map(|step| format!("%[var(txn.v{step})]")).collect();
    let haproxy = Haproxy::start(&format!(
        "frontend f\n mode tcp\n bind fd@LISTENER\n log-format \"#{}\"\n tcp-request connection track-sc0 src table 0\n{rules} tcp-request content reject\n{}",
        items.join("|"),
        declared(&tables),
    ));
    let mut stream = TcpStream::connect(haproxy.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = stream.local_addr().unwrap();
    let _ = stream.read(&mut [0; 1]);
    let line = log_text(&haproxy);

    let mut shares: Vec<Share> = tables.iter().map(|table| Share::new(table, 0, 1, 7)).collect();
    let key = Key::from_address(client.ip(), KeyType::Ip).unwrap();
    let Answer::Handle(Some(handle)) = shares[0].apply(1_000_000, &Request::Track { key }) else { panic!("no room") };
    let known = tables.clone();
    let shares = RefCell::new(shares);
    let tracked = (TableId::new(0), handle, client.ip());
    let facts = Literal {
        client: Some(client),
        frontend: Some((FrontendId::new(0), 1, "f")),
        tables,
        tracked: [Some(TableId::new(0)), None, None],
        answer_by: Some(Box::new(move |query| answer(&known, &mut shares.borrow_mut(), tracked, query))),
        ..Literal::default()
    };
    let theirs: Vec<&str> = line.split('|').collect();
    assert_eq!(theirs.len(), TABLE_STEPS.len(), "{line}");
    let ours: Vec<String> = TABLE_STEPS.iter().map(|source| shown(&facts, source)).collect();
    let pairs = TABLE_STEPS.iter().zip(ours.iter().map(String::as_str).zip(theirs));
    let different: Vec<_> = pairs.filter(|(_, (ours, theirs))| ours != theirs).collect();
    assert!(different.is_empty(), "haproxy is on the right: {different:#?}");
}
