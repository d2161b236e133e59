//! The runtime socket's language and its behaviour towards slow, silent, hasty and rude clients.

mod runtime_common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use runtime_common::{PATIENCE, Process, ask, connect, expect, read_all};

const CONFIGURATION: &str = "
global
  nbthread 2
  stats socket DIR/admin.sock mode 600 level admin
  stats socket DIR/operator.sock
  stats socket DIR/user.sock level user
  stats timeout 1h
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
listen web
  bind 127.0.0.1:1
  server s1 127.0.0.1:2 weight 5
  server s2 127.0.0.1:3
";

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\n\n");

fn start() -> Process {
    Process::start(CONFIGURATION)
}

#[test]
fn one_line_is_answered_and_the_connection_ends() {
    let process = start();
    assert_eq!(process.ask("show version"), VERSION);
    assert_eq!(process.ask("show version;show version"), VERSION.repeat(2));
    assert_eq!(process.ask("show version\r"), VERSION);
    let mut open = connect(&process.path("admin.sock"));
    open.write_all(b"show version\n").expect("write");
    assert_eq!(read_all(&mut open), VERSION, "also when the client keeps its half open");
}

#[test]
fn lines_that_come_together_are_all_answered() {
    let process = start();
    assert_eq!(ask(&process.path("admin.sock"), b"show version\nshow version\n"), VERSION.repeat(2));
}

#[test]
fn the_cut_of_the_input_does_not_matter() {
    let process = start();
    let line = b"show version;get weight web/s1;nothing\\;;show version\n";
    let whole = ask(&process.path("admin.sock"), line);
    assert!(whole.starts_with(VERSION) && whole.ends_with(VERSION) && whole.contains("5 (initial 5)\n\n"), "{whole}");
    for place in 0..line.len() {
        let mut stream = connect(&process.path("admin.sock"));
        stream.write_all(&line[..place]).expect("write");
        // A turn of the loop in between makes sure that the pieces are read one by one.
        process.with(|_| ());
        stream.write_all(&line[place..]).expect("write");
        stream.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(read_all(&mut stream), whole, "cut at {place}");
    }
}

#[test]
fn an_unfinished_line_is_not_run() {
    let process = start();
    assert_eq!(ask(&process.path("admin.sock"), b"set weight web/s1 1"), "");
    assert_eq!(process.ask("get weight web/s1"), "5 (initial 5)\n\n");
}

#[test]
fn the_prompt_keeps_the_connection_open() {
    let process = start();
    let mut stream = connect(&process.path("admin.sock"));
    stream.write_all(b"prompt\n").expect("write");
    expect(&mut stream, "\n> ");
    stream.write_all(b"show version\n").expect("write");
    expect(&mut stream, &format!("{VERSION}> "));
    stream.write_all(b"set weight web/s1 <<\n").expect("write");
    expect(&mut stream, "+ ");
    stream.write_all(b"7\n\n").expect("write");
    expect(&mut stream, "+ Require <weight> or <weight%>.\n\n> ");
    stream.write_all(b"prompt;show version\n").expect("write");
    expect(&mut stream, &format!("\n{VERSION}"));
    assert_eq!(read_all(&mut stream), "", "without a prompt the connection ends with the line");
}

#[test]
fn quit_ends_at_once() {
    let process = start();
    assert_eq!(process.ask("show version;quit;show version"), VERSION);
}

#[test]
fn a_line_over_the_limit_is_refused() {
    let process = start();
    for size in [16_384, 100_000] {
        let answer = ask(&process.path("admin.sock"), &[vec![b'a'; size], b"\n".to_vec()].concat());
        assert_eq!(answer, "Command line too long.\n\n");
    }
    process.wait("the connections to end", |running| running.clients() == 0);
}

#[test]
fn levels_bound_what_may_be_done() {
    let process = start();
    let user = |command: &str| ask(&process.path("user.sock"), format!("{command}\n").as_bytes());
    let operator = |command: &str| ask(&process.path("operator.sock"), format!("{command}\n").as_bytes());
    const DENIED: &str = "Permission denied\n\n";
    for command in ["show env", "show errors", "clear counters", "set weight web/s1 1", "operator", "show sess", "reload"] {
        assert_eq!(user(command), DENIED, "{command}");
    }
    assert_eq!(operator("clear counters"), "\n");
    for command in ["clear counters all", "set server web/s1 state maint", "disable frontend web", "set maxconn global 1"] {
        assert_eq!(operator(command), DENIED, "{command}");
    }
    assert_eq!(process.ask("show cli level;operator;show cli level;set weight web/s1 1"), format!("admin\n\n\noperator\n\n{DENIED}"));
    assert!(user("show stat").contains("web,s1,") && !user("show stat").contains("127.0.0.1"), "addresses are for operators");
    assert!(operator("show stat").contains("127.0.0.1:2"));
    assert!(!user("help").contains("set server") && process.ask("help").contains("set server"));
}

#[test]
fn a_slow_reader_holds_nobody_up_and_little_memory() {
    let servers: String = (0..3000).map(|number| format!("  server many{number} 127.0.0.1:{}\n", number + 1)).collect();
    let process = Process::start(&format!("{CONFIGURATION}{servers}"));
    let mut slow = connect(&process.path("admin.sock"));
    slow.write_all(b"show stat;show stat json\n").expect("write");
    // The slow one has not read a byte; others are served meanwhile.
    for _ in 0..20 {
        assert_eq!(process.ask("show version"), VERSION);
    }
    let answer = read_all(&mut slow);
    assert_eq!(answer.matches(",no check,").count(), 3002);
    assert_eq!(answer.matches("\"value\":\"no check\"").count(), 3002);
    assert!(answer.ends_with("]]\n\n"));
}

#[test]
fn answers_of_any_size_come_to_their_end() {
    let servers: String = (0..300).map(|number| format!("  server many{number} 127.0.0.1:{}\n", number + 1)).collect();
    let process = Process::start(&format!("{CONFIGURATION}{servers}"));
    let one = process.ask("show servers conn");
    for count in 1..=60 {
        let mut stream = connect(&process.path("admin.sock"));
        let line = vec!["show servers conn"; count].join(";");
        stream.write_all(format!("{line}\n").as_bytes()).expect("write");
        assert_eq!(read_all(&mut stream).len(), one.len() * count, "{count} answers");
    }
}

#[test]
fn a_silent_connection_is_closed_after_its_timeout() {
    let process = Process::start(&CONFIGURATION.replace("timeout 1h", "timeout 500ms"));
    let mut silent = connect(&process.path("admin.sock"));
    assert_eq!(read_all(&mut silent), "");
    let mut patient = connect(&process.path("admin.sock"));
    patient.write_all(b"prompt;set timeout cli 1h\n").expect("write");
    expect(&mut patient, "\n> \n> ");
    let mut silent = connect(&process.path("admin.sock"));
    assert_eq!(read_all(&mut silent), "");
    patient.write_all(b"quit\n").expect("the longer timeout holds");
    assert_eq!(read_all(&mut patient), "");
}

#[test]
fn connections_over_the_limit_wait_for_a_place() {
    let process = Process::start(&CONFIGURATION.replace("stats timeout 1h", "stats timeout 1h\n  stats maxconn 2"));
    let held: Vec<_> = (0..2).map(|_| connect(&process.path("admin.sock"))).collect();
    process.wait("both connections", |running| running.clients() == 2);
    let mut third = connect(&process.path("admin.sock"));
    third.write_all(b"show version\n").expect("write");
    process.with(|_| ());
    assert_eq!(process.with(|running| running.clients()), 2);
    drop(held);
    assert_eq!(read_all(&mut third), VERSION);
}

#[test]
fn a_reload_is_answered_when_it_has_ended() {
    let process = start();
    let mut stream = connect(&process.path("admin.sock"));
    stream.write_all(b"reload;show version\n").expect("write");
    process.wait("the request", Process::reload_requested);
    process.with(|running| running.finish_reload("nothing changed:\n\n  line 3 is wrong\n\n"));
    assert_eq!(read_all(&mut stream), format!("nothing changed:\n  line 3 is wrong\n\n{VERSION}"));
}

#[test]
fn who_leaves_while_waiting_for_a_reload_is_forgotten() {
    let process = start();
    let mut stream = connect(&process.path("admin.sock"));
    stream.write_all(b"reload\n").expect("write");
    process.wait("the request", Process::reload_requested);
    drop(stream);
    process.wait("the end of the connection", |running| running.clients() == 0);
    process.with(|running| running.finish_reload("done"));
}

/// A value of a row of `show stat`, by title.
fn statistic(process: &Process, object: &str, title: &str) -> String {
    let answer = process.ask("show stat");
    let mut lines = answer.lines().map(|line| line.trim_start_matches("# ").split(',').collect::<Vec<_>>());
    let titles = lines.next().expect("titles");
    let place = titles.iter().position(|found| *found == title).expect("title");
    let row = lines.find(|fields| fields.get(1) == Some(&object)).expect("row");
    row[place].to_string()
}

#[test]
fn counters_of_all_shards_are_summed_and_cleared() {
    let process = start();
    process.with(|running| {
        let server = running.fleet.generation().servers[0].clone();
        server.counters[0].sessions.add(3);
        server.counters[1].sessions.add(4);
        server.counters[0].total_time_ms.add(60);
        server.counters[1].total_time_ms.add(10);
        server.counters[0].total_time_max_ms.raise(50);
        server.counters[1].total_time_max_ms.raise(7);
        assert!(server.try_acquire(0) && server.try_acquire(0));
        server.active.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    });
    let all = |titles: &[&str]| titles.iter().map(|title| statistic(&process, "s1", title)).collect::<Vec<_>>();
    let titles = ["scur", "smax", "stot", "ttime", "ttime_max"];
    // Six of the seven sessions have ended.
    assert_eq!(all(&titles), ["1", "2", "7", "11", "50"]);
    process.ask("clear counters");
    assert_eq!(all(&titles), ["1", "1", "7", "11", "0"]);
    process.ask("clear counters all");
    assert_eq!(all(&["scur", "stot"]), ["1", "0"]);
}

#[test]
fn unix_sockets_have_their_mode_and_replace_stale_ones() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
    let text = CONFIGURATION.replace("DIR/admin.sock", &path.display().to_string());
    let _process = Process::start(&text);
    assert_eq!(std::fs::metadata(&path).expect("socket").permissions().mode() & 0o777, 0o600);
    assert_eq!(ask(&path, b"show version\n"), VERSION);
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("directory").collect();
    assert_eq!(left.len(), 1, "no temporary name is left");
}

#[test]
fn tcp_sockets_work_the_same() {
    // A free port: bound and given back, then opened again by the server; nobody else on loopback takes it in between.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("port");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let process = Process::start(&CONFIGURATION.replace("DIR/user.sock level user", &format!("{address} level user")));
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.write_all(b"show cli level\n").expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    assert_eq!(answer, "user\n\n");
    assert!(process.ask("show cli sockets").contains(&format!("ipv4@{address} user all\n")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(lines in proptest::collection::vec(line(), 1..8)) {
        thread_local!(static PROCESS: Process = start());
        PROCESS.with(|process| {
            ask(&process.path("admin.sock"), &lines.join(&b'\n'));
            assert_eq!(process.ask("show version"), VERSION);
        });
    }
}

/// Half of the time commands with odd arguments, else anything.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let words = proptest::sample::select(vec![
        "show",
        "set",
        "stat",
        "info",
        "server",
        "servers",
        "state",
        "conn",
        "web/s1",
        "web",
        "weight",
        "addr",
        "-1",
        "4",
        "json",
        "typed",
        "health",
        "up",
        "maint",
        "ready",
        "drain",
        "127.0.0.1",
        "::1",
        "port",
        "+5",
        "99999999999999999999",
        "maxconn",
        "frontend",
        "global",
        "clear",
        "counters",
        "all",
        "enable",
        "disable",
        "help",
        "prompt",
        ";",
        "<<",
        "\\",
        "timeout",
        "cli",
        "é",
        "0",
        "check-port",
        "check-addr",
        "get",
        "env",
        "errors",
        "sess",
        "domain",
        "proxy",
        "desc",
        "no-maint",
        "shutdown",
        "sessions",
        "50%",
    ]);
    prop_oneof![
        proptest::collection::vec(words, 0..7).prop_map(|words| words.join(" ").into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..200),
    ]
}
