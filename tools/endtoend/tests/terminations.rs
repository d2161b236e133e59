//! The same file through HAProxy and Ringmain, the same scenarios: the log lines must say the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use endtoend::client::{connect, drain, exchange, half_close, reset};
use endtoend::logs::Logs;
use endtoend::peer::{self, BlackHole, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};

/// Servers that scenarios connect to.
struct Peers {
    echo: Peer,
    reset: Peer,
    reset_after_first: Peer,
    silent: Peer,
    greet_and_close: Peer,
    greet_and_half_close: Peer,
    read_then_silent: Peer,
    close: Peer,
    black_hole: BlackHole,
    nobody: u16,
}

impl Peers {
    fn start() -> Self {
        Self {
            echo: Peer::start(peer::echo),
            reset: Peer::start(peer::reset_soon),
            reset_after_first: Peer::start(peer::reset_after_first),
            silent: Peer::start(peer::silent),
            greet_and_close: Peer::start(peer::greet_and_close),
            greet_and_half_close: Peer::start(peer::greet_and_half_close),
            read_then_silent: Peer::start(peer::read_then_silent),
            close: Peer::start(drop),
            black_hole: BlackHole::start(),
            nobody: port::free(),
        }
    }
}

type Drive = fn(u16, &Proxy, &str);

/// One scenario: a `listen` section and what a client does with it.
struct Scenario {
    name: &'static str,
    section: String,
    drive: Drive,
}

fn scenario(name: &'static str, section: String, drive: Drive) -> Scenario {
    Scenario { name, section, drive }
}

fn scenarios(peers: &Peers) -> Vec<Scenario> {
    let server = |peer: &Peer| format!("server s 127.0.0.1:{}", peer.port());
    let nobody = format!("127.0.0.1:{}", peers.nobody);
    let echo = format!("127.0.0.1:{}", peers.echo.port());
    let hole = format!("server s 127.0.0.1:{}", peers.black_hole.port());
    let limited = format!("server s 127.0.0.1:{} maxconn 1", peers.silent.port());
    vec![
        scenario("normal", server(&peers.echo), send_and_receive),
        scenario("client-closes-unused", server(&peers.echo), |port, _, _| drop(connect(port))),
        scenario("server-closes", server(&peers.greet_and_close), just_read),
        scenario("server-closes-at-once", server(&peers.close), just_read),
        scenario("client-resets", server(&peers.silent), send_then_reset),
        scenario("server-resets", server(&peers.reset_after_first), send_then_read),
        scenario("server-resets-unasked", server(&peers.reset), just_read),
        scenario("refused", format!("timeout client 9s\nserver s {nobody}"), just_read),
        scenario("refused-twice", format!("timeout client 9s\nserver s {nobody}\nserver t {nobody}"), just_read),
        scenario("refused-no-retries", format!("retries 0\nserver s {nobody}"), just_read),
        scenario("redispatched", format!("option redispatch\nserver s {nobody}\nserver t {echo}"), send_and_receive),
        scenario("redispatched-by-turn", format!("option redispatch 1\nserver s {nobody}\nserver t {echo}"), send_and_receive),
        scenario("redispatch-alone", format!("timeout client 9s\noption redispatch\nserver s {nobody}"), just_read),
        scenario("connect-timeout", format!("timeout client 9s\nretries 1\n{hole}"), just_read),
        scenario("client-leaves-while-connecting", hole.clone(), leave),
        scenario("client-sends-and-leaves", format!("retries 0\n{hole}"), send_and_leave),
        scenario("abortonclose", format!("retries 0\noption abortonclose\n{hole}"), send_and_leave),
        scenario("client-timeout", server(&peers.silent), just_read),
        scenario("server-timeout", format!("timeout client 3s\ntimeout server 2s\n{}", server(&peers.silent)), just_read),
        scenario("equal-timeouts", format!("timeout server 2s\n{}", server(&peers.silent)), just_read),
        scenario("tunnel-timeout", format!("timeout tunnel 1s\n{}", server(&peers.silent)), just_read),
        scenario("queue-timeout", limited.clone(), occupy_and_wait),
        scenario("leaves-queue", limited, occupy_and_leave),
        scenario("no-server", String::new(), just_read),
        scenario("maintenance", format!("server s {echo} disabled"), just_read),
        scenario("client-half-closes", server(&peers.read_then_silent), send_and_half_close),
        scenario(
            "client-half-closes-fin",
            format!("timeout client-fin 500ms\ntimeout server-fin 1s\n{}", server(&peers.read_then_silent)),
            send_and_half_close,
        ),
        scenario("server-half-closes", server(&peers.greet_and_half_close), |port, _, _| read_and_stay(port)),
        scenario(
            "server-half-closes-fin",
            format!("timeout client-fin 500ms\ntimeout server-fin 1s\n{}", server(&peers.greet_and_half_close)),
            |port, _, _| read_and_stay(port),
        ),
        scenario("half-closed-then-reset", server(&peers.greet_and_half_close), read_then_reset),
        scenario("killed", server(&peers.silent), |port, proxy, name| order(port, proxy, &format!("shutdown sessions server {name}/s"))),
        scenario("marked-down", format!("{} on-marked-down shutdown-sessions", server(&peers.silent)), |port, proxy, name| {
            order(port, proxy, &format!("disable server {name}/s"))
        }),
        scenario("early-log", format!("option logasap\n{}", server(&peers.echo)), send_and_receive),
        scenario("null-not-logged", format!("option dontlognull\n{}", server(&peers.silent)), leave),
        scenario("normal-not-logged", format!("option dontlog-normal\n{}", server(&peers.echo)), send_and_receive),
        scenario("errors-separate", format!("option log-separate-errors\nretries 0\nserver s {nobody}"), just_read),
    ]
}

fn send_and_receive(port: u16, _: &Proxy, _: &str) {
    exchange(&mut connect(port), &[b'x'; 100]).expect("an echo");
}

fn just_read(port: u16, _: &Proxy, _: &str) {
    drain(&mut connect(port));
}

fn send_then_read(port: u16, _: &Proxy, _: &str) {
    let mut stream = connect(port);
    std::io::Write::write_all(&mut stream, b"x").expect("send");
    drain(&mut stream);
}

fn send_then_reset(port: u16, _: &Proxy, _: &str) {
    let mut stream = connect(port);
    std::io::Write::write_all(&mut stream, b"x").expect("send");
    thread::sleep(Duration::from_millis(200));
    reset(stream);
}

fn leave(port: u16, _: &Proxy, _: &str) {
    let stream = connect(port);
    thread::sleep(Duration::from_millis(300));
    drop(stream);
}

fn send_and_leave(port: u16, _: &Proxy, _: &str) {
    let mut stream = connect(port);
    std::io::Write::write_all(&mut stream, b"abc").expect("send");
    thread::sleep(Duration::from_millis(300));
}

fn occupy_and_wait(port: u16, _: &Proxy, _: &str) {
    let mut first = connect(port);
    thread::sleep(Duration::from_millis(100));
    drain(&mut connect(port));
    drain(&mut first);
}

fn occupy_and_leave(port: u16, _: &Proxy, _: &str) {
    let mut first = connect(port);
    thread::sleep(Duration::from_millis(100));
    let second = connect(port);
    thread::sleep(Duration::from_millis(200));
    drop(second);
    drain(&mut first);
}

fn send_and_half_close(port: u16, _: &Proxy, _: &str) {
    let mut stream = connect(port);
    std::io::Write::write_all(&mut stream, b"x").expect("send");
    thread::sleep(Duration::from_millis(100));
    half_close(&stream);
    drain(&mut stream);
}

fn read_and_stay(port: u16) {
    let mut stream = connect(port);
    drain(&mut stream);
    thread::sleep(Duration::from_secs(4));
}

fn read_then_reset(port: u16, _: &Proxy, _: &str) {
    let mut stream = connect(port);
    drain(&mut stream);
    thread::sleep(Duration::from_millis(100));
    reset(stream);
}

fn order(port: u16, proxy: &Proxy, command: &str) {
    let mut stream = connect(port);
    std::io::Write::write_all(&mut stream, b"x").expect("send");
    thread::sleep(Duration::from_millis(200));
    proxy.command(command);
    drain(&mut stream);
}

/// A tcplog line, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Logged {
    level: String,
    server: String,
    times_ms: Vec<i64>,
    early: bool,
    bytes: String,
    termination: String,
    /// feconn/beconn/srv_conn/retries: the number of sessions in the process is left out, as scenarios run together.
    counts: String,
    queues: String,
}

impl Logged {
    fn parse(line: &str) -> Option<Self> {
        let (head, rest) = line.split_once("]: ")?;
        let fields: Vec<&str> = rest.split_once("] ")?.1.split(' ').collect();
        let [_frontend, server, times, bytes, termination, counts, queues] = fields[..] else { return None };
        let early = times.contains('+');
        Some(Self {
            level: head.split('>').next().unwrap_or_default().to_owned(),
            server: server.to_owned(),
            times_ms: times.split('/').filter_map(|time| time.trim_start_matches('+').parse().ok()).collect(),
            early,
            bytes: bytes.to_owned(),
            termination: termination.to_owned(),
            counts: counts.split_once('/')?.1.to_owned(),
            queues: queues.to_owned(),
        })
    }

    /// What differs from the other proxy's line, times only when they are further apart than the noise of a busy machine.
    fn differences(&self, other: &Self) -> String {
        let mut text = String::new();
        let pairs = [
            ("level", &self.level, &other.level),
            ("server", &self.server, &other.server),
            ("bytes", &self.bytes, &other.bytes),
            ("termination", &self.termination, &other.termination),
            ("counts", &self.counts, &other.counts),
            ("queues", &self.queues, &other.queues),
        ];
        for (name, ours, theirs) in pairs {
            if ours != theirs {
                let _ = write!(text, " {name}: {ours}, HAProxy {theirs};");
            }
        }
        let close = |(&ours, &theirs): (&i64, &i64)| (ours < 0) == (theirs < 0) && (ours - theirs).abs() <= 350;
        if self.times_ms.len() != other.times_ms.len() || !self.times_ms.iter().zip(&other.times_ms).all(close) || self.early != other.early
        {
            let _ = write!(text, " times: {:?}, HAProxy {:?};", self.times_ms, other.times_ms);
        }
        text
    }
}

/// Runs all scenarios at once through one proxy; the lines by scenario.
fn run(kind: Kind, extra_global: &str) -> BTreeMap<&'static str, Vec<Logged>> {
    let (logs, peers) = (Logs::start(), Peers::start());
    let scenarios = scenarios(&peers);
    let ports: Vec<u16> = scenarios.iter().map(|_| port::free()).collect();
    let mut text = format!(
        "global\n  log 127.0.0.1:{} local0\n  stats socket @SOCKET@ level admin\n{extra_global}\ndefaults\n  mode tcp\n  log global\n  \
         option tcplog\n  timeout connect 1500\n  timeout client 2s\n  timeout server 3s\n  timeout queue 1s\n",
        logs.port()
    );
    for (scenario, port) in scenarios.iter().zip(&ports) {
        let body = scenario.section.replace('\n', "\n  ");
        let _ = write!(text, "listen {}\n  bind 127.0.0.1:{port}\n  {body}\n", scenario.name);
    }
    let last_port = port::free();
    let _ = write!(text, "listen last\n  bind 127.0.0.1:{last_port}\n  server s 127.0.0.1:{}\n", peers.echo.port());
    let proxy = Proxy::start(kind, &text);
    thread::scope(|scope| {
        for (scenario, &port) in scenarios.iter().zip(&ports) {
            let proxy = &proxy;
            scope.spawn(move || (scenario.drive)(port, proxy, scenario.name));
        }
    });
    wait::until("all sessions to end", || proxy.info("CurrConns") == "0");
    // Lines travel by UDP after the session has ended: the last one is a session of our own.
    exchange(&mut connect(last_port), b"last").expect("an echo");
    logs.wait_for(" last last/s ");
    let mut found = BTreeMap::new();
    for scenario in &scenarios {
        let lines = logs.containing(&format!(" {} {}/", scenario.name, scenario.name));
        found.insert(scenario.name, lines.iter().filter_map(|line| Logged::parse(line)).collect());
    }
    found
}

fn compare(extra_global: &str) {
    let (ours, theirs) = thread::scope(|scope| {
        let ours = scope.spawn(|| run(Kind::Ringmain, extra_global));
        let theirs = run(Kind::HaProxy, "");
        (ours.join().expect("Ringmain's scenarios"), theirs)
    });
    let mut report = String::new();
    for (name, theirs) in &theirs {
        let ours = &ours[name];
        if ours.len() != theirs.len() {
            let _ = writeln!(report, "{name}: {} lines, HAProxy {}\n  {ours:?}\n  {theirs:?}", ours.len(), theirs.len());
            continue;
        }
        for (ours, theirs) in ours.iter().zip(theirs) {
            let differences = ours.differences(theirs);
            if !differences.is_empty() {
                let _ = writeln!(report, "{name}:{differences}");
            }
        }
    }
    assert!(report.is_empty(), "log lines differ:\n{report}");
}

#[test]
fn sessions_end_and_are_logged_as_haproxy_does() {
    compare("");
}

#[test]
fn the_portable_ring_behaves_the_same() {
    compare("  tune.ring.mode portable\n");
}

#[test]
fn two_shards_behave_the_same() {
    compare("  nbthread 2\n");
}
