//! Connections whose first bytes are looked at, through HAProxy and Ringmain: however the inspection is cut short, the log lines and what the
//! client gets must be the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use endtoend::client::{connect, exchange, reset};
use endtoend::logs::Logs;
use endtoend::peer::{self, BlackHole, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};

/// What a client does; what it got.
type Drive = fn(TcpStream) -> String;

/// One scenario: lines of a frontend and of its backend, and a client.
struct Scenario {
    name: &'static str,
    frontend: String,
    backend: String,
    drive: Drive,
}

const DELAY: &str = "tcp-request inspect-delay 10s\n";
const TEN_BYTES: &str = "tcp-request inspect-delay 10s\ntcp-request content accept if { req.len ge 10 }\ntcp-request content reject";
const AT_THE_END: &str = "tcp-request inspect-delay 10s\ntcp-request content accept if WAIT_END";
const SOON: &str = "tcp-request inspect-delay 700ms\ntcp-request content accept if WAIT_END";
const NINE_BACK: &str = "tcp-response inspect-delay 10s\ntcp-response content accept if { res.len ge 9 }\ntcp-response content reject";
const BACK_AT_THE_END: &str = "tcp-response inspect-delay 10s\ntcp-response content accept if WAIT_END";

/// What came until the end, and whether that was a reset.
fn got(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => format!("{} bytes", bytes.len()),
        Err(error) => format!("{} bytes, {:?}", bytes.len(), error.kind()),
    }
}

fn stay(mut stream: TcpStream) -> String {
    got(&mut stream)
}

fn send(mut stream: TcpStream, bytes: &[u8]) -> TcpStream {
    // A proxy that has seen enough may close before it has read all of them.
    let _ = stream.write_all(bytes);
    stream
}

fn three_bytes(stream: TcpStream) -> String {
    stay(send(stream, b"abc"))
}

fn end(mut stream: TcpStream) -> String {
    thread::sleep(Duration::from_millis(200));
    // The proxy may have closed before.
    let _ = stream.shutdown(Shutdown::Write);
    got(&mut stream)
}

fn three_bytes_and_end(stream: TcpStream) -> String {
    end(send(stream, b"abc"))
}

fn leave_by_reset(stream: TcpStream) -> String {
    thread::sleep(Duration::from_millis(200));
    reset(stream);
    String::new()
}

fn three_bytes_and_reset(stream: TcpStream) -> String {
    leave_by_reset(send(stream, b"abc"))
}

fn slowly(mut stream: TcpStream) -> String {
    for byte in b"abcdefghij" {
        stream = send(stream, &[*byte]);
        thread::sleep(Duration::from_millis(150));
    }
    end(stream)
}

fn forty_thousand(stream: TcpStream) -> String {
    end(send(stream, &[b'x'; 40_000]))
}

/// Servers, kept while scenarios run.
struct Peers {
    echo: Peer,
    hello: Peer,
    hello_and_close: Peer,
    close: Peer,
    reset: Peer,
    quiet: Peer,
    parts: Peer,
    hole: BlackHole,
}

fn sink(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

impl Peers {
    fn start() -> Self {
        Self {
            echo: Peer::start(peer::echo),
            hello: Peer::start(|stream| sink(send(stream, b"hello"))),
            hello_and_close: Peer::start(peer::greet_and_close),
            close: Peer::start(drop),
            reset: Peer::start(peer::reset_soon),
            quiet: Peer::start(sink),
            parts: Peer::start(|mut stream| {
                for part in [b"hel", b"lo ", b"you"] {
                    stream = send(stream, part);
                    thread::sleep(Duration::from_millis(200));
                }
                sink(stream);
            }),
            hole: BlackHole::start(),
        }
    }
}

fn scenarios(peers: &Peers) -> Vec<Scenario> {
    let scenario = |name, frontend: &str, backend: &str, server: u16, drive| Scenario {
        name,
        frontend: frontend.to_owned(),
        backend: format!("{backend}\nserver s 127.0.0.1:{server}"),
        drive,
    };
    let request = |name, frontend: &str, drive| scenario(name, frontend, "", peers.echo.port(), drive);
    let waiting = |name, frontend: &str, backend: &str, drive| scenario(name, frontend, backend, peers.hole.port(), drive);
    let response = |name, backend: &str, server: &Peer, drive| scenario(name, "", backend, server.port(), drive);
    let any = format!("{DELAY}tcp-request content accept if {{ req.len gt 0 }}");
    let none = format!("{DELAY}tcp-request content reject if {{ req.len gt 0 }}");
    let full = format!("{DELAY}tcp-request content reject if WAIT_END");
    let answer = |action: &str| format!("tcp-response inspect-delay 10s\ntcp-response content {action} if {{ res.len gt 0 }}");
    vec![
        request("silent-refused", TEN_BYTES, stay),
        request("silent-accepted", AT_THE_END, stay),
        request("silent-soon", SOON, stay),
        request("few-refused", TEN_BYTES, three_bytes),
        request("few-accepted", AT_THE_END, three_bytes),
        request("few-soon", SOON, three_bytes),
        request("end-refused", TEN_BYTES, end),
        request("end-accepted", AT_THE_END, end),
        request("few-end-refused", TEN_BYTES, three_bytes_and_end),
        request("few-end-accepted", AT_THE_END, three_bytes_and_end),
        request("reset-refused", TEN_BYTES, leave_by_reset),
        request("reset-accepted", AT_THE_END, leave_by_reset),
        request("few-reset-refused", TEN_BYTES, three_bytes_and_reset),
        request("few-reset-accepted", AT_THE_END, three_bytes_and_reset),
        request("refused-at-once", &none, three_bytes),
        request("byte-by-byte", TEN_BYTES, slowly),
        request("full-refused", &full, forty_thousand),
        request("full-accepted", AT_THE_END, forty_thousand),
        waiting("connecting-end", &any, "", three_bytes_and_end),
        waiting("connecting-end-counts", &any, "option abortonclose", three_bytes_and_end),
        waiting("connecting-end-seen", AT_THE_END, "", end),
        waiting("connecting-reset", &any, "", three_bytes_and_reset),
        waiting("connecting-silent", SOON, "timeout connect 3s", three_bytes),
        response("answer-refused", &answer("reject"), &peers.hello, three_bytes),
        response("answer-closes", &answer("close"), &peers.hello, three_bytes),
        response("answer-in-parts", NINE_BACK, &peers.parts, |stream| {
            let stream = send(stream, b"abc");
            thread::sleep(Duration::from_millis(900));
            end(stream)
        }),
        response("answer-too-short", NINE_BACK, &peers.hello_and_close, three_bytes),
        response("answer-missing", NINE_BACK, &peers.close, three_bytes),
        response("answer-reset-refused", NINE_BACK, &peers.reset, three_bytes),
        response("answer-reset-accepted", BACK_AT_THE_END, &peers.reset, three_bytes),
        response("answer-late-refused", &format!("timeout server 1s\n{NINE_BACK}"), &peers.quiet, three_bytes),
        response("answer-after-delay", &NINE_BACK.replace("10s", "700ms"), &peers.quiet, three_bytes),
        response("client-times-out", NINE_BACK, &peers.hello, three_bytes),
        response("client-resets", NINE_BACK, &peers.hello, three_bytes_and_reset),
    ]
}

/// What is known of one session.
#[derive(Debug)]
struct Outcome {
    /// Termination, bytes, backend and server.
    line: String,
    total_ms: i64,
    client: String,
}

fn run(kind: Kind, extra_global: &str) -> BTreeMap<&'static str, Outcome> {
    let (logs, peers) = (Logs::start(), Peers::start());
    let scenarios = scenarios(&peers);
    let ports: Vec<u16> = scenarios.iter().map(|_| port::free()).collect();
    let mut text = format!(
        "global\n  log 127.0.0.1:{} local0\n  stats socket @SOCKET@ level admin\n{extra_global}\ndefaults\n  mode tcp\n  log global\n  \
         retries 0\n  timeout connect 1500\n  timeout client 2s\n  timeout server 3s\n  log-format \"in %f: %ts %U %B %b %s %Tt\"\n",
        logs.port()
    );
    for (Scenario { name, frontend, backend, .. }, port) in scenarios.iter().zip(&ports) {
        let _ = write!(
            text,
            "frontend {name}\n  bind 127.0.0.1:{port}\n{frontend}\n  default_backend to-{name}\nbackend to-{name}\n{backend}\n"
        );
    }
    let last_port = port::free();
    let _ = write!(text, "listen last\n  bind 127.0.0.1:{last_port}\n  server s 127.0.0.1:{}\n", peers.echo.port());
    let proxy = Proxy::start(kind, &text);
    let clients: Vec<String> = thread::scope(|scope| {
        let drives: Vec<_> =
            scenarios.iter().zip(&ports).map(|(scenario, &port)| scope.spawn(move || (scenario.drive)(connect(port)))).collect();
        drives.into_iter().map(|drive| drive.join().expect("a client")).collect()
    });
    wait::until("all sessions to end", || proxy.info("CurrConns") == "0");
    // Lines travel by UDP after the session has ended: the last one is a session of our own.
    exchange(&mut connect(last_port), b"last").expect("an echo");
    logs.wait_for("in last: ");
    let outcome = |(scenario, client): (&Scenario, String)| {
        let line = logs.wait_for(&format!("in {}: ", scenario.name));
        let facts = line.split_once(&format!("in {}: ", scenario.name)).map_or("", |(_, facts)| facts).trim_end();
        let (line, total_ms) = facts.rsplit_once(' ').unwrap_or((facts, ""));
        (scenario.name, Outcome { line: line.to_owned(), total_ms: total_ms.parse().unwrap_or(-1), client })
    };
    scenarios.iter().zip(clients).map(outcome).collect()
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
        // Times may be apart by the noise of a busy machine.
        if ours.line != theirs.line || ours.client != theirs.client || (ours.total_ms - theirs.total_ms).abs() > 450 {
            let _ = writeln!(report, "{name}:\n  {ours:?}\n  {theirs:?} HAProxy");
        }
    }
    assert!(report.is_empty(), "inspections end otherwise:\n{report}");
}

#[test]
fn inspections_end_as_haproxys_do() {
    compare("");
}

#[test]
fn inspections_end_alike_on_the_portable_ring() {
    compare("  tune.ring.mode portable\n");
}
