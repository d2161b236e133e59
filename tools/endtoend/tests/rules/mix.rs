//! A mix of clients through both proxies: sections with rules, clients that come one after the other, and everything that can be seen of them
//! afterwards, compared.

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
pub enum Then {
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
pub type Visit = (u8, Vec<u8>, Then);

/// Sections with rules, and clients that come one after the other.
pub struct Scenario {
    name: &'static str,
    frontend: String,
    backend: String,
    visits: Vec<Visit>,
}

/// Clients that say something and end their half; those with nothing to say wait for the server first.
pub fn visits(list: &[(u8, &str)]) -> Vec<Visit> {
    let visit = |&(source, bytes): &(u8, &str)| (source, bytes.as_bytes().to_vec(), if bytes.is_empty() { Then::Asks } else { Then::Ends });
    list.iter().map(visit).collect()
}

/// Clients that say nothing before they are served: what is received before something looks at it is a matter of timing.
pub fn asking(count: usize) -> Vec<Visit> {
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

/// Runs scenarios through HAProxy once and through Ringmain with each of these globals: all must be the same.
pub fn compare(scenarios: &[Scenario], globals: &[&str]) {
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

/// What Ringmain is run with.
pub const GLOBALS: [&str; 3] = ["  nbthread 1\n", "  nbthread 2\n", "  nbthread 2\n  tune.ring.mode portable\n"];
/// Both servers.
pub const TWO: &str = "server a @a@\nserver b @b@";

/// A scenario by its parts.
pub fn scenario(name: &'static str, frontend: &str, backend: &str, visits: Vec<Visit>) -> Scenario {
    Scenario { name, frontend: frontend.to_owned(), backend: backend.to_owned(), visits }
}
