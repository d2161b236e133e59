//! Log lines of real sessions: every variable of `log-format`, the options that choose lines, every kind of target, and targets that are dead,
//! come back, or take nothing. The words are compared with HAProxy's, the rest is about ours.

use std::fmt::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use endtoend::client::{connect, drain, exchange};
use endtoend::logs::Logs;
use endtoend::peer::{self, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};

fn text(global: &str, sections: &str) -> String {
    format!(
        "global\n  stats socket @SOCKET@ level admin\n{global}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n{sections}"
    )
}

/// A pattern of what a line looks like: digits become `N`, so that lines of two runs can be compared.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for letter in line.chars() {
        match letter {
            '0'..='9' if shape.ends_with('N') => {}
            '0'..='9' => shape.push('N'),
            other => shape.push(other),
        }
    }
    shape
}

/// Every variable that has a meaning for a TCP connection, those of time apart.
const EXACT: &str = "[%B] [%U] [%b] [%bc] [%bi] [%bq] [%ci] [%f] [%fc] [%fi] [%ft] [%lc] [%rc] [%s] [%sc] [%si] [%sq] [%ts] [%{+Q}b] [%{+X}ci] [%{+E,+Q}o %b] [%ac] [%H] [%%]";
/// Those of which only the form can be the same.
const SHAPES: &str = "[%T] [%Tl] [%t] [%Ts] [%ms] [%Tc] [%Th] [%Tt] [%Tw] [%cp] [%fp] [%sp] [%bp] [%pid] [%rt] [%{+Q}T] [%Td]";

fn lines_of_a_session(kind: Kind, global: &str, server: u16, format: &str) -> Vec<String> {
    let (logs, listen) = (Logs::start(), port::free());
    let quoted = format.replace('"', "\\\"").replace(' ', "\\ ");
    let sections = format!(
        "frontend entry\n  bind 127.0.0.1:{listen} id 7 name door\n  log 127.0.0.1:{} local3\n  log-format {quoted}\n  default_backend b\n\
         backend b\n  server first 127.0.0.1:{server}\n",
        logs.port()
    );
    let proxy = Proxy::start(kind, &text(global, &sections));
    for _ in 0..2 {
        let mut stream = connect(listen);
        exchange(&mut stream, b"hello there").expect("an echo");
        drop(stream);
        wait::until("the session to end", || proxy.stat("entry", "FRONTEND", "scur") == "0");
    }
    wait::until("two lines", || logs.lines().len() >= 2);
    logs.lines().iter().map(|line| line.split_once("]: ").map_or(line.clone(), |(_, text)| text.to_owned())).collect()
}

#[test]
fn every_variable_says_what_it_says_in_haproxy() {
    let server = Peer::start(peer::echo);
    let mut report = String::new();
    for (format, exact) in [(EXACT, true), (SHAPES, false)] {
        let theirs = lines_of_a_session(Kind::HaProxy, "", server.port(), format);
        for global in ["  nbthread 1\n", "  nbthread 2\n", "  nbthread 2\n  tune.ring.mode portable\n"] {
            let ours = lines_of_a_session(Kind::Ringmain, global, server.port(), format);
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let (a, b) = if exact { (ours.clone(), theirs.clone()) } else { (shape(ours), shape(theirs)) };
                if a != b {
                    let _ = writeln!(report, "with{global}  ours    {ours}\n  HAProxy {theirs}");
                }
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

/// What the options make of the same four sessions: an idle one, one with data, one refused, one refused without retries.
fn lines_with(kind: Kind, global: &str, options: &str) -> Vec<String> {
    let (logs, server, slow) = (Logs::start(), Peer::start(peer::echo), Peer::start(peer::silent));
    let (one, two, three, nobody) = (port::free(), port::free(), port::free(), port::free());
    let options = options.replace('\n', "\n  ");
    let sections = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n  log 127.0.0.1:{} local0 info\n  {options}\n\
         listen works\n  bind 127.0.0.1:{one}\n  server s 127.0.0.1:{}\n\
         listen refuses\n  retries 0\n  bind 127.0.0.1:{two}\n  server s 127.0.0.1:{nobody}\n\
         listen silent\n  timeout server 300ms\n  bind 127.0.0.1:{three}\n  server s 127.0.0.1:{}\n",
        logs.port(),
        server.port(),
        slow.port()
    );
    let proxy = Proxy::start(kind, &text(global, &sections));
    let ended = |name: &str| wait::until("a session to end", || proxy.stat(name, "FRONTEND", "scur") == "0");
    // An idle client that leaves.
    let idle = connect(one);
    wait::until("the session", || server.connections() == 1);
    // The server has it; the proxy must have noticed too, and nothing shows when.
    thread::sleep(Duration::from_millis(150));
    drop(idle);
    ended("works");
    let mut stream = connect(one);
    exchange(&mut stream, b"hello").expect("an echo");
    drop(stream);
    ended("works");
    drain(&mut connect(two));
    ended("refuses");
    drain(&mut connect(three));
    ended("silent");
    // Lines come in order; the last one tells that all are there.
    let mut stream = connect(one);
    exchange(&mut stream, b"the last").expect("an echo");
    drop(stream);
    ended("works");
    wait::reached(Duration::from_millis(300), || logs.lines().len() >= 5);
    let lines = logs.lines();
    let lines = lines.iter().filter(|line| !line.contains("has no server") && !line.contains("Proxy "));
    let words = |line: &String| {
        let (level, rest) = line.split_once('>').unwrap_or_default();
        format!("{level}> {}", shape(rest.split_once("]: ").map_or(rest, |(_, text)| text)))
    };
    let mut lines: Vec<String> = lines.map(words).collect();
    // Lines of several shards are not sorted by time.
    lines.sort();
    lines
}

#[test]
fn options_choose_the_same_lines_as_in_haproxy() {
    let cases = [
        "",
        "option tcplog",
        "option tcplog\noption dontlognull",
        "option tcplog\noption dontlog-normal",
        "option tcplog\noption log-separate-errors",
        "option tcplog\noption logasap",
        "option tcplog\noption logasap\noption dontlognull",
        "log-format %ts,%B,%si,%bi\nerror-log-format failed:%ts,%b\noption log-separate-errors",
        "error-log-format failed:%ts,%b\noption tcplog",
    ];
    let report = thread::scope(|scope| {
        let threads = cases.map(|case| {
            scope.spawn(move || {
                let theirs = lines_with(Kind::HaProxy, "  nbthread 1\n", case);
                let mut report = String::new();
                for global in ["  nbthread 1\n", "  nbthread 2\n"] {
                    let ours = lines_with(Kind::Ringmain, global, case);
                    if ours != theirs {
                        let _ = writeln!(report, "{case:?} with{global}  ours    {ours:#?}\n  HAProxy {theirs:#?}");
                    }
                }
                report
            })
        });
        threads.into_iter().map(|thread| thread.join().expect("a case")).collect::<String>()
    });
    assert!(report.is_empty(), "\n{report}");
}

/// Collects datagrams of a unix socket.
fn collect(path: &Path) -> Arc<Mutex<Vec<String>>> {
    let socket = UnixDatagram::bind(path).expect("bind a datagram socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set a timeout");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let collected = lines.clone();
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length) = socket.recv(&mut buffer) {
            collected.lock().expect("collect a line").push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    });
    lines
}

/// All formats to a unix socket and to standard output, beside HAProxy.
#[test]
fn formats_and_targets_are_haproxys() {
    let server = Peer::start(peer::echo);
    let listen = port::free();
    let run = |kind: Kind| {
        let folder = tempfile::tempdir().expect("make a folder");
        let path = folder.path().join("log");
        let lines = collect(&path);
        let mut section = format!(
            "listen entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{}\n  log-format mark,%s\n  log-format-sd [a@1\\ s=\"%s\"]\n",
            server.port()
        );
        for format in ["local", "rfc3164", "rfc5424", "raw", "short", "priority", "timed", "iso"] {
            let _ = writeln!(section, "  log {} format {format} local4 notice info", path.display());
            let _ = writeln!(section, "  log {} format {format} local4 info", path.display());
        }
        section.push_str("  log stdout format raw local0\n  log fd@2 format short daemon\n");
        let proxy = Proxy::start(kind, &text("  log-tag proxy\n  log-send-hostname host.example\n", &section));
        exchange(&mut connect(listen), b"x").expect("an echo");
        wait::until("the lines", || lines.lock().expect("read lines").iter().filter(|line| line.contains("mark")).count() >= 8);
        wait::until("the output", || proxy.output().matches("mark,s").count() >= 2);
        let mut all: Vec<String> =
            lines.lock().expect("read lines").iter().filter(|line| line.contains("mark")).map(|line| months(&shape(line))).collect();
        all.extend(proxy.output().lines().filter(|line| line.contains("mark,s")).map(str::to_owned));
        // Two descriptors that lead to one file: either may be written first.
        all.sort();
        all
    };
    let (theirs, ours) = (run(Kind::HaProxy), run(Kind::Ringmain));
    assert_eq!(ours, theirs);
}

/// Two lines of HAProxy's `rfc3164` differ by the spaces before the day.
fn months(line: &str) -> String {
    line.replace("  N", " N")
}

/// A unix socket that is removed and made again, as by a restart of the log daemon, gets lines again.
#[test]
fn a_socket_made_again_gets_lines_again() {
    let server = Peer::start(peer::echo);
    let folder = tempfile::tempdir().expect("make a folder");
    let (path, listen) = (folder.path().join("log"), port::free());
    let first = UnixDatagram::bind(&path).expect("bind a datagram socket");
    first.set_read_timeout(Some(Duration::from_secs(20))).expect("set a timeout");
    let sections = format!(
        "listen entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{}\n  log {} local0\n  option tcplog\n",
        server.port(),
        path.display()
    );
    let proxy = Proxy::start(Kind::Ringmain, &text("", &sections));
    exchange(&mut connect(listen), b"one").expect("an echo");
    let mut buffer = [0; 8192];
    let length = first.recv(&mut buffer).expect("the first line");
    assert!(String::from_utf8_lossy(&buffer[..length]).contains("entry entry/s"));
    drop(first);
    std::fs::remove_file(&path).expect("remove the socket");
    let second = collect(&path);
    wait::until("a line on the new socket", || {
        exchange(&mut connect(listen), b"two").expect("an echo");
        second.lock().expect("read lines").iter().any(|line| line.contains("entry entry/s"))
    });
    std::fs::remove_file(&path).expect("remove the socket");
    drop(proxy);
}

/// Nobody reads the socket: sessions go on as fast as ever, and what is lost is counted.
#[test]
fn a_target_that_takes_nothing_slows_nobody_and_losses_are_counted() {
    for global in ["  nbthread 1\n", "  nbthread 2\n  tune.ring.mode portable\n"] {
        let server = Peer::start(peer::echo);
        let folder = tempfile::tempdir().expect("make a folder");
        let (path, listen) = (folder.path().join("log"), port::free());
        let silent = UnixDatagram::bind(&path).expect("bind a datagram socket");
        let logs = Logs::start();
        let sections = format!(
            "listen entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{}\n  log {} len 8192 local0\n  log 127.0.0.1:{} local0\n  log-format %ts,%[str({})]\n",
            server.port(),
            path.display(),
            logs.port(),
            "x"
        )
        .replace(",%[str(x)]", &format!(",{}", "long".repeat(250)));
        let proxy = Proxy::start(Kind::Ringmain, &text(global, &sections));
        let mut longest = Duration::ZERO;
        for _ in 0..1500 {
            let start = Instant::now();
            exchange(&mut connect(listen), b"hello").expect("an echo");
            longest = longest.max(start.elapsed());
        }
        assert!(longest < Duration::from_secs(2), "a session took {longest:?}");
        // The other target gets every line.
        wait::until("all lines at the other target", || logs.lines().len() >= 1500);
        wait::until("losses to be counted", || proxy.info("DroppedLogs").parse::<u64>().expect("a number") > 0);
        drop(silent);
    }
}

/// A collector that does not exist is no reason to do anything differently.
#[test]
fn dead_targets_lose_their_lines_only() {
    let server = Peer::start(peer::echo);
    let (logs, listen, nobody) = (Logs::start(), port::free(), port::free());
    let sections = format!(
        "listen entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{}\n  option tcplog\n  log 127.0.0.1:{nobody} local0\n  log /nonexistent/socket local0\n  \
         log 127.0.0.1:{} local0\n",
        server.port(),
        logs.port()
    );
    let proxy = Proxy::start(Kind::Ringmain, &text("  nbthread 2\n", &sections));
    for _ in 0..50 {
        exchange(&mut connect(listen), b"hello").expect("an echo");
    }
    wait::until("fifty lines", || logs.containing("entry entry/s").len() == 50);
    wait::until("losses of the missing socket", || proxy.info("DroppedLogs").parse::<u64>().expect("a number") >= 50);
}
