//! What rules do, beside the real HAProxy with the same file: whom they let in, where they send them, what clients get, what the log line
//! says, and every counter of the statistics that rules move.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use endtoend::crowd::connect_from;
use endtoend::logs::Logs;
use endtoend::peer::{Peer, echo};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{client, port, wait};

/// Columns of the statistics that are exact.
const COLUMNS: [&str; 18] = [
    "scur", "stot", "bin", "bout", "dreq", "dresp", "ereq", "econ", "eresp", "wretr", "wredis", "lbtot", "dcon", "dses", "conn_tot",
    "cli_abrt", "srv_abrt", "qcur",
];

/// How a client goes on after its first bytes.
#[derive(Clone, Copy)]
enum Then {
    /// It ends its half and reads to the end.
    Ends,
    /// It ends its half once a server serves it.
    Asks,
    /// It resets the connection once a server serves it.
    Resets,
    /// It expects to be forgotten: nothing comes, not even an end.
    Silence,
}

/// A client: the last byte of its address in 127.0.0.0/24, its first bytes, and how it goes on.
type Visit = (u8, Vec<u8>, Then);

/// Sections with rules, and clients that come one after the other.
struct Scenario {
    name: &'static str,
    frontend: String,
    backend: String,
    visits: Vec<Visit>,
}

/// Clients that say something and end their half; those with nothing to say wait for the server first.
fn visits(list: &[(u8, &str)]) -> Vec<Visit> {
    let visit = |&(source, bytes): &(u8, &str)| (source, bytes.as_bytes().to_vec(), if bytes.is_empty() { Then::Asks } else { Then::Ends });
    list.iter().map(visit).collect()
}

/// Clients that say nothing before they are served: what is received before something looks at it is a matter of timing.
fn asking(count: usize) -> Vec<Visit> {
    vec![(1, Vec::new(), Then::Asks); count]
}

fn visit(visit: &Visit, port: u16) -> String {
    let (source, bytes, then) = visit;
    let mut stream = connect_from([127, 0, 0, *source].into(), port);
    let patience = if matches!(then, Then::Silence) { 400 } else { 10_000 };
    stream.set_read_timeout(Some(Duration::from_millis(patience))).expect("set an option");
    // Whoever is refused early may find the connection closed.
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    match then {
        Then::Ends => drop(stream.shutdown(std::net::Shutdown::Write)),
        Then::Asks => {
            got.extend(client::server_name(&stream).unwrap_or_default().into_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        Then::Resets => {
            let served = client::server_name(&stream);
            client::reset(stream);
            return format!("{served:?}");
        }
        Then::Silence => {}
    }
    match stream.read_to_end(&mut got) {
        Ok(_) => String::from_utf8_lossy(&got).into_owned(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => format!("{} and silence", String::from_utf8_lossy(&got)),
        // A close with unread bytes is a reset: whether they had come is a matter of luck.
        Err(_) => String::from_utf8_lossy(&got).into_owned(),
    }
}

/// Everything that is compared.
#[derive(PartialEq, Debug)]
struct Outcome {
    clients: Vec<String>,
    lines: Vec<String>,
    rows: Vec<String>,
    table: Vec<String>,
}

/// Says a name in one piece, then echoes: rules on responses see all of it at once.
fn server(name: &'static [u8]) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |mut stream| {
        if stream.write_all(name).is_ok() {
            echo(stream);
        }
    }
}

/// Two servers and a port that nobody listens at.
struct Servers {
    a: Peer,
    b: Peer,
    nobody: u16,
}

const FORMAT: &str = "%ci %fi %bi %ts %U %B %b/%s %rc";

fn text(scenarios: &[Scenario], ports: &[u16], servers: &Servers, global: &str, log: u16) -> String {
    let mut text = format!(
        "global\n  log 127.0.0.1:{log} local0\n  stats socket @SOCKET@ level admin\n{global}\ndefaults\n  mode tcp\n  log global\n  retries 1\n  \
         timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
    );
    for (Scenario { name, frontend, backend, .. }, port) in scenarios.iter().zip(ports) {
        let format = if frontend.contains("log-format") { String::new() } else { format!("log-format \"{FORMAT}\"\n") };
        let frontend = format!("{format}{frontend}").replace("log-format \"", &format!("log-format \"in {name}: "));
        let _ = write!(
            text,
            "frontend {name}\n  bind 127.0.0.1:{port}\n{frontend}\n  default_backend to-{name}\nbackend to-{name}\n{backend}\n"
        );
    }
    for (name, port) in [("@a@", servers.a.port()), ("@b@", servers.b.port()), ("@nobody@", servers.nobody)] {
        text = text.replace(name, &format!("127.0.0.1:{port}"));
    }
    text
}

fn run(kind: Kind, global: &str, scenarios: &[Scenario]) -> BTreeMap<&'static str, Outcome> {
    let logs = Logs::start();
    let servers = Servers { a: Peer::start(server(b"a\n")), b: Peer::start(server(b"b\n")), nobody: port::free() };
    let ports: Vec<u16> = scenarios.iter().map(|_| port::free()).collect();
    let last_port = port::free();
    let mut text = text(scenarios, &ports, &servers, global, logs.port());
    let _ = write!(
        text,
        "listen last\n  bind 127.0.0.1:{last_port}\n  log-format \"in last: end\"\n  server s 127.0.0.1:{}\n",
        servers.a.port()
    );
    let proxy = Proxy::start(kind, &text);
    let clients: Vec<Vec<String>> = thread::scope(|scope| {
        let threads = scenarios.iter().zip(&ports).map(|(scenario, &port)| {
            let proxy = &proxy;
            scope.spawn(move || {
                let come = |each| {
                    let got = visit(each, port);
                    wait::until("the session to end", || proxy.stat(scenario.name, "FRONTEND", "scur") == "0");
                    got
                };
                scenario.visits.iter().map(come).collect()
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
    });
    // Lines travel by UDP after the session has ended: the last one is a session of our own.
    drop(client::connect(last_port));
    logs.wait_for("in last: ");
    let rows = proxy.table();
    let outcome = |(scenario, clients): (&Scenario, Vec<String>)| {
        let mark = format!("in {}: ", scenario.name);
        // With the priority, which is the level.
        let lines = logs.lines().into_iter().filter_map(|line| {
            let (before, rest) = line.split_once(&mark)?;
            Some(format!("{}> {}", before.split_once('>')?.0, rest.trim_end()))
        });
        // Lines of two shards may overtake each other.
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        let outcome = Outcome { clients, lines, rows: counters(&rows, scenario.name), table: keys(&proxy, scenario.name) };
        (scenario.name, outcome)
    };
    scenarios.iter().zip(clients).map(outcome).collect()
}

/// The rows of a scenario's frontend, backends and servers.
fn counters(rows: &BTreeMap<String, BTreeMap<String, String>>, name: &str) -> Vec<String> {
    let belongs = |row: &&String| {
        row.split(',').next().is_some_and(|proxy| proxy.split('.').next().unwrap_or_default().trim_start_matches("to-") == name)
    };
    let keys = rows.keys().filter(belongs);
    let row = |key: &String| {
        let cells = COLUMNS.iter().map(|column| format!("{column}={}", rows[key][*column]));
        format!("{key}: {}", cells.collect::<Vec<_>>().join(" "))
    };
    keys.map(row).collect()
}

/// Entries of a scenario's table without what differs between any two processes: address, remaining time.
fn keys(proxy: &Proxy, name: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for table in [name.to_owned(), format!("to-{name}")] {
        let answer = proxy.command(&format!("show table {table}"));
        for (_, rest) in answer.lines().filter_map(|line| line.split_once("key=")) {
            keys.push(rest.split_whitespace().filter(|word| !word.starts_with("exp=")).collect::<Vec<_>>().join(" "));
        }
    }
    keys.sort();
    keys
}

fn compare(scenarios: &[Scenario], globals: &[&str]) {
    let theirs = run(Kind::HaProxy, "", scenarios);
    let mut report = String::new();
    for global in globals {
        let ours = run(Kind::Ringmain, global, scenarios);
        for (name, theirs) in &theirs {
            let ours = &ours[name];
            if ours != theirs {
                let _ = write!(report, "{name} with {global:?}:\n{}", difference(ours, theirs));
            }
        }
    }
    assert!(report.is_empty(), "rules do otherwise:\n{report}");
}

fn difference(ours: &Outcome, theirs: &Outcome) -> String {
    let mut report = String::new();
    let parts = [
        ("clients", &ours.clients, &theirs.clients),
        ("lines", &ours.lines, &theirs.lines),
        ("rows", &ours.rows, &theirs.rows),
        ("table", &ours.table, &theirs.table),
    ];
    for (what, ours, theirs) in parts {
        for index in 0..ours.len().max(theirs.len()) {
            let (ours, theirs) = (ours.get(index), theirs.get(index));
            if ours != theirs {
                let _ = writeln!(report, "  {what}\n    {ours:?}\n    {theirs:?} HAProxy");
            }
        }
    }
    report
}

const GLOBALS: [&str; 3] = ["  nbthread 1\n", "  nbthread 2\n", "  nbthread 2\n  tune.ring.mode portable\n"];
const TWO: &str = "server a @a@\nserver b @b@";

fn scenario(name: &'static str, frontend: &str, backend: &str, visits: Vec<Visit>) -> Scenario {
    Scenario { name, frontend: frontend.to_owned(), backend: backend.to_owned(), visits }
}

#[test]
fn refusals_are_counted_and_logged_as_by_haproxy() {
    let two = [(1, "hello"), (2, "hello"), (1, "bad"), (2, "bad"), (1, "hello")];
    let delay = "tcp-request inspect-delay 5s";
    let bad = format!("{delay}\ntcp-request content reject if {{ req.payload(0,3) -m str bad }}");
    let forgotten = |name, rule: &str| {
        let visits = [(1, Then::Asks), (2, Then::Silence), (1, Then::Asks)];
        scenario(name, rule, TWO, visits.map(|(source, then)| (source, Vec::new(), then)).to_vec())
    };
    let scenarios = [
        scenario("connection", "tcp-request connection reject if { src 127.0.0.2 }", TWO, visits(&two)),
        scenario("session", "tcp-request session reject if { src 127.0.0.2 }", TWO, visits(&two)),
        scenario("content", &bad, TWO, visits(&two)),
        scenario("content-behind", "", &format!("{bad}\n{TWO}"), visits(&two)),
        scenario(
            "answer",
            "",
            &format!("tcp-response inspect-delay 5s\ntcp-response content reject if {{ res.payload(0,1) -m str b }}\n{TWO}"),
            asking(4),
        ),
        scenario(
            "answer-closed",
            "",
            &format!("tcp-response inspect-delay 5s\ntcp-response content close if {{ res.payload(0,1) -m str b }}\n{TWO}"),
            asking(4),
        ),
        forgotten("forgotten-connection", "tcp-request connection silent-drop if { src 127.0.0.2 }"),
        forgotten("forgotten-session", "tcp-request session silent-drop if { src 127.0.0.2 }"),
        forgotten("forgotten-content", "tcp-request content silent-drop if { src 127.0.0.2 }"),
        scenario(
            "quiet",
            &format!("{delay}\ntcp-request content set-log-level silent if {{ req.payload(0,3) -m str bad }}"),
            TWO,
            visits(&two),
        ),
        scenario("nobody", "", "server a @nobody@", asking(2)),
        scenario("leaves", "", TWO, vec![(1, Vec::new(), Then::Resets), (1, b"hello".to_vec(), Then::Ends)]),
        scenario("no-server", "", "server a @a@ disabled", asking(2)),
        scenario("until-end", "tcp-request inspect-delay 300\ntcp-request content accept if WAIT_END", TWO, visits(&two[..2])),
        scenario(
            "long-enough",
            &format!("{delay}\ntcp-request content accept if {{ req.len gt 4 }}\ntcp-request content reject"),
            TWO,
            visits(&two),
        ),
        scenario(
            "accepted-early",
            "tcp-request connection accept if { src 127.0.0.2 }\ntcp-request connection reject\ntcp-request session accept\n\
             tcp-request session reject",
            TWO,
            visits(&two),
        ),
    ];
    compare(&scenarios, &GLOBALS);
}

#[test]
fn connections_go_where_haproxy_sends_them() {
    let folder = tempfile::tempdir().expect("make a folder");
    let map = folder.path().join("map");
    std::fs::write(&map, "# a comment\none to-mapped.one\n  two   to-mapped.two\nnone nowhere\n").expect("write a map");
    let words = [(1, "one.."), (1, "two.."), (1, "three"), (1, "none."), (1, "xx"), (1, "")];
    let delay = "tcp-request inspect-delay 1s\ntcp-request content accept if { req.len ge 5 }";
    let backends = |name: &str| format!("server d @b@\nbackend to-{name}.one\nserver one @a@\nbackend to-{name}.two\nserver two @b@");
    let scenarios = [
        scenario(
            "chosen",
            &format!(
                "{delay}\nacl first req.payload(0,3) -m str one\nuse_backend to-chosen.one if first\n\
                 use_backend to-chosen.two if {{ req.payload(0,5) -m beg two thr }}"
            ),
            &backends("chosen"),
            visits(&words),
        ),
        scenario(
            "mapped",
            &format!("{delay}\nuse_backend %[req.payload(0,5),field(1,.),map_str({},to-mapped)]", map.display()),
            &backends("mapped"),
            visits(&words),
        ),
        scenario(
            "named",
            &format!("{delay}\nuse_backend to-named.%[req.payload(0,3)] if {{ req.len ge 5 }}"),
            &backends("named"),
            visits(&words),
        ),
        scenario(
            "server",
            delay,
            &format!(
                "use-server b if {{ req.payload(0,3) -m str one }}\nuse-server c unless {{ req.len gt 2 }}\n{TWO}\nserver c @a@ weight 0"
            ),
            visits(&words),
        ),
        scenario(
            "source",
            "",
            "balance hash src\nhash-type consistent\nserver a @a@\nserver b @b@",
            (1..=9).map(|source| (source, b"hello".to_vec(), Then::Ends)).collect(),
        ),
    ];
    compare(&scenarios, &GLOBALS);
}

#[test]
fn values_reach_the_log_as_in_haproxy() {
    let two = [(1, "hello"), (2, "other"), (1, "third"), (2, "")];
    let delay = "tcp-request inspect-delay 1s";
    let scenarios = [
        scenario(
            "variables",
            &format!(
                "tcp-request connection set-var(sess.from) src\ntcp-request session set-var(sess.port) int(7)\n{delay}\n\
                 tcp-request content set-var(txn.word) req.payload(0,5),upper if {{ req.len ge 5 }}\n\
                 tcp-request content set-var(req.word) req.payload(0,1) if {{ req.len ge 5 }}\n\
                 tcp-request content set-var(proc.rules_last) req.payload(0,5) if {{ req.len ge 5 }}\n\
                 tcp-request content unset-var(sess.port) if {{ src 127.0.0.2 }}\n\
                 log-format \"%[var(sess.from)] %[var(sess.port)] %[var(txn.word)] [%[var(req.word)]] [%[var(res.word)]] %[var(proc.rules_last)] %[var(txn.back)]\""
            ),
            &format!(
                "tcp-request content set-var(txn.back) var(req.word),concat(-,txn.word)\ntcp-response inspect-delay 1s\n\
                 tcp-response content set-var(res.word) res.payload(0,1)\n{TWO}"
            ),
            visits(&two),
        ),
        scenario(
            "captured",
            &format!(
                "{delay}\ntcp-request content capture req.payload(0,5) len 4 if {{ req.len ge 5 }}\n\
                 tcp-request content capture src len 20\nlog-format \"%hr\""
            ),
            TWO,
            visits(&two),
        ),
        scenario(
            "tagged",
            &format!(
                "stick-table type ip size 100 expire 1m store gpt0,gpc0,gpc1,conn_cnt,sess_cnt,bytes_in_cnt,bytes_out_cnt\n\
                 tcp-request connection track-sc0 src\n{delay}\ntcp-request content reject if {{ sc0_get_gpt0 eq 9 }} {{ req.len gt 0 }}\n\
                 tcp-request content sc-set-gpt0(0) 9 if {{ req.payload(0,5) -m str other }}\n\
                 tcp-request content sc-inc-gpc0(0)\ntcp-request content sc-inc-gpc1(0) if {{ req.len ge 5 }}\n\
                 log-format \"%ci %ts %[sc0_get_gpt0] %[sc0_get_gpc0] %[sc0_get_gpc1] %[sc0_conn_cnt] %[sc0_sess_cnt] %[sc0_conn_cur] %[src_get_gpt0]\""
            ),
            TWO,
            visits(&[(1, "hello"), (2, "other"), (2, "hello"), (1, "third"), (2, ""), (1, "other"), (1, "hello")]),
        ),
        scenario(
            "moved",
            &format!(
                "tcp-request connection set-src str(10.1.2.3) if {{ src 127.0.0.2 }}\n\
                 tcp-request connection set-src-port int(4444) if {{ src 10.1.2.3 }}\n{delay}\n\
                 tcp-request content set-dst str(10.9.9.9) if {{ src 10.1.2.3 }}\n\
                 tcp-request content set-dst-port int(5555) if {{ src 10.1.2.3 }}\n\
                 log-format \"%ci %fi %[src] %[dst] %[dst_port,sub(5555)]\""
            ),
            TWO,
            visits(&[(2, "hello"), (2, "")]),
        ),
        scenario(
            "levels",
            &format!(
                "{delay}\ntcp-request content set-log-level silent if {{ req.payload(0,3) -m str thi }}\n\
                 tcp-request content set-log-level err if {{ src 127.0.0.2 }}\nlog-format \"%ci\""
            ),
            TWO,
            visits(&two),
        ),
    ];
    compare(&scenarios, &GLOBALS);
}

/// A PROXY header of version 2 with addresses of version 4.
fn proxy_v2(command: u8, source: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, 0x11, 0, 12]);
    bytes.extend(source);
    bytes.extend([10, 0, 0, 9]);
    bytes.extend(port.to_be_bytes());
    bytes.extend(1883_u16.to_be_bytes());
    bytes
}

#[test]
fn proxy_headers_are_expected_from_whom_the_rule_says() {
    let headers: Vec<(u8, Vec<u8>)> = vec![
        (2, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 1883\r\nhello".to_vec()),
        (2, b"PROXY UNKNOWN\r\nhello".to_vec()),
        (2, b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 1883\r\nhello".to_vec()),
        (2, [proxy_v2(1, [192, 0, 2, 8], 4712), b"hello".to_vec()].concat()),
        (2, [proxy_v2(0, [192, 0, 2, 9], 4713), b"hello".to_vec()].concat()),
        (2, b"hello without a header\r\n".to_vec()),
        (2, b"PROXY TCP4 192.0.2.x 198.51.100.1 4711 1883\r\nhello".to_vec()),
        (2, b"PROXY TCP4 192.0.2.7".to_vec()),
        (1, b"hello".to_vec()),
        (1, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 1883\r\nhello".to_vec()),
    ];
    let all: Vec<Visit> = headers.into_iter().map(|(source, bytes)| (source, bytes, Then::Ends)).collect();
    let format = "log-format \"%ci %[src] %[dst] %ts %U %B %s\"";
    let scenarios = [
        scenario("expected", &format!("tcp-request connection expect-proxy layer4 if {{ src 127.0.0.2 }}\n{format}"), TWO, all.clone()),
        scenario(
            "expected-then-refused",
            &format!(
                "tcp-request connection expect-proxy layer4 if {{ src 127.0.0.2 }}\n\
                 tcp-request session reject if {{ src 192.0.2.8 }}\ntcp-request content reject if {{ src 2001:db8::7 }} {{ req.len ge 0 }}\n{format}"
            ),
            TWO,
            all,
        ),
    ];
    compare(&scenarios, &GLOBALS);
}

#[test]
fn tables_are_matched_and_stored_apart() {
    let words = [(1, "aaaaa"), (1, "bbbbb"), (1, "aaaaa"), (1, "ccccc"), (1, "bbbbb"), (1, "aa"), (1, "ccccc")];
    let delay = "tcp-request inspect-delay 1s\ntcp-request content accept if { req.len ge 5 }";
    let table = "stick-table type string len 8 size 100 expire 1m";
    let scenarios = [
        scenario(
            "split",
            delay,
            &format!(
                "{table}\nstick match req.payload(0,5) if {{ req.len ge 5 }}\nstick store-request req.payload(0,5) unless {{ req.payload(0,1) -m str b }}\n{TWO}"
            ),
            visits(&words),
        ),
        scenario("answered", delay, &format!("{table}\nstick store-response res.payload(0,1)\n{TWO}"), visits(&words)),
        scenario(
            "answered-then-asked",
            delay,
            &format!("{table}\nstick match req.payload(0,1)\nstick store-response res.payload(0,1)\n{TWO}"),
            visits(&words),
        ),
        scenario(
            "elsewhere",
            delay,
            &format!("stick on req.payload(0,5) table to-elsewhere.keys\n{TWO}\nbackend to-elsewhere.keys\n{table} store conn_cnt"),
            visits(&words),
        ),
        scenario(
            "two-keys",
            delay,
            &format!("{table}\nstick match req.payload(0,1)\nstick on req.payload(0,5)\nstick store-request req.payload(0,1)\n{TWO}"),
            visits(&words),
        ),
    ];
    compare(&scenarios, &GLOBALS);
}
