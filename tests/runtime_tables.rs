//! Commands about stick tables on the real HAProxy and on the real binary, with one shard and with several: the answers are compared byte
//! for byte, except for the addresses of entries, their order, and milliseconds that pass between two questions.

mod process_support;

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use process_support::{Process, Site, ask, free_port, wait_for};

const CONFIGURATION: &str = "
global
  stats socket @/run.sock level admin
  stats socket @/operator.sock level operator
  stats socket @/user.sock level user
  nbthread SHARDS
  set-var proc.n int(5)
  set-var proc.neg int(-5)
  set-var proc.s str(x=y)
  set-var proc.b bool(true)
  set-var proc.i str(1.2.3.4),ipmask(24)
  set-var proc.six str(::1),ipmask(24,128)
  set-var proc.raw str(ab),sha1
  set-var-fmt proc.f \"x %[int(3)]\"
  set-var proc.sum var(proc.n),add(proc.neg),add(7)
  set-var-fmt proc.both %[var(proc.n)]-%[str(a),upper]
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend fe
  bind 127.0.0.1:PORT
  stick-table type ip size 1k expire 1h store gpt0,gpc0,gpc0_rate(10m),conn_cnt,conn_cur,conn_rate(30m),bytes_in_cnt,bytes_out_rate(1h),sess_cnt
  tcp-request inspect-delay 30s
  tcp-request connection track-sc0 src
  tcp-request content accept if WAIT_END
  default_backend names
backend names
  stick-table type string len 32 size 100k expire 30m store server_id,server_key,gpc1
  stick on src
  server s1 127.0.0.1:1
backend numbers
  stick-table type integer size 100 store gpt(3),gpc(2),gpc_rate(2,10m)
backend six
  stick-table type ipv6 size 100 expire 5m store gpc0
backend blocks
  stick-table type binary len 5 size 10 store gpc0,http_req_cnt
";

/// The real one, ended when dropped.
struct Haproxy {
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both with their ports, or `None` where HAProxy is not installed.
fn both(shards: &str) -> Option<((Haproxy, u16), (Process, u16))> {
    let (their_port, our_port) = (free_port(), free_port());
    let directory = tempfile::tempdir().expect("a directory");
    let text = |port: u16| CONFIGURATION.replace("PORT", &port.to_string());
    let theirs = text(their_port).replace("SHARDS", "1").replace('@', &directory.path().display().to_string());
    let path = directory.path().join("haproxy.cfg");
    std::fs::write(&path, theirs).expect("configuration");
    let spawned = Command::new("haproxy").arg("-db").arg("-f").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{error}"),
    };
    let haproxy = Haproxy { child, directory };
    wait_for("HAProxy's socket", || ask(&haproxy.directory.path().join("user.sock"), "show info").is_some());
    Some(((haproxy, their_port), (Site::new(&text(our_port).replace("SHARDS", shards)).start(&[]), our_port)))
}

/// Asks both and compares.
fn same(haproxy: &Haproxy, process: &Process, socket: &str, command: &str) {
    let theirs = ask(&haproxy.directory.path().join(socket), command).expect("HAProxy answers");
    let ours = ask(&process.path(socket), command).expect("we answer");
    assert_eq!(normal(&ours), normal(&theirs), "{command} on {socket}");
}

/// Lines in order, without addresses, with times that are over or not.
fn normal(text: &str) -> String {
    let line = |line: &str| {
        let word = |word: &str| match word {
            address if address.starts_with("0x") && address.ends_with(':') => "ADDRESS:".to_string(),
            "exp=0" => word.to_string(),
            expiry if expiry.starts_with("exp=") => {
                format!("exp={}", expiry["exp=".len()..].parse::<u64>().expect("a number").div_ceil(60_000))
            }
            other => other.to_string(),
        };
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<String> = text.split('\n').map(line).collect();
    // The title, the entries, and the blank line with the end.
    let end = lines.len().saturating_sub(2);
    if let Some(entries) = lines.get_mut(1..end) {
        entries.sort();
    }
    lines.join("\n")
}

/// Commands in the order in which they are given.
const COMMANDS: &[&str] = &[
    "show table",
    "show table nope",
    "show table fe",
    "show table fe foo",
    "show table fe data",
    "show table fe key",
    "show table fe key 1.2.3.4",
    "show table fe key 1.2.3.4 data.gpc0 gt 1",
    "show table blocks key",
    "clear table",
    "clear table nope",
    "clear table fe foo",
    "clear table fe key",
    "clear table fe key 1.1.1.1",
    "clear table numbers key x",
    "set table",
    "set table nope",
    "set table fe",
    "set table fe foo",
    "set table fe key",
    "set table fe data.gpc0 1",
    "set table fe key 1.1.1.1",
    "set table fe key 1.1.1.1 data.foo",
    "set table fe key 1.1.1.1 data.foo 1",
    "set table fe key 1.1.1.1 data.gpc1 1",
    "set table fe key 1.1.1.1 data.gpc0",
    "set table fe key 1.1.1.1 gpc0 1",
    "set table fe key 1.1.1.1 data.gpc0 5",
    "set table fe key 1.1.1.2 data.gpc0 5 data.gpc0_rate 7 data.conn_cnt 3 data.conn_cur 1 data.conn_rate 9 data.bytes_in_cnt 9999999999",
    "set table fe key 1.1.1.3 data.gpc0 5x",
    "set table fe key 1.1.1.4 data.gpc0 -5 data.bytes_in_cnt -5",
    "set table fe key 1.1.1.5 data.gpc0 4294967296",
    "set table fe key 1.1.1.6 data.gpc0 99999999999999999999999999",
    "set table fe key 1.1.1.7 data.gpc0 5 data.nope 3",
    "set table fe key 1.1.1.8 data.gpc0 6 junk",
    "set table fe key 1.1.1.9 data.bytes_out_rate 77 data.sess_cnt +5",
    "show table fe",
    "show table fe data.",
    "show table fe data.nope",
    "show table fe data.nope gt 1",
    "show table fe data.gpc1 gt 1",
    "show table fe data.gpc0",
    "show table fe data.gpc0 gt",
    "show table fe data.gpc0 foo 1",
    "show table fe data.gpc0 gt 1x",
    "show table fe data.gpc0 gt 4",
    "show table fe data.gpc0 le 5",
    "show table fe data.gpc0 eq 5 data.conn_cnt eq 3",
    "show table fe data.gpc0 ne 5",
    "show table fe data.gpc0_rate ge 7",
    "show table fe data.gpc0 gt 4 data.conn_cnt",
    "show table fe data.gpc0 gt 4 data.conn_cnt eq",
    "show table fe data.gpc0 gt 4 xxxx.conn_cnt lt 1",
    "show table fe data.gpc0 gt 1 data.gpc0 gt 2 data.gpc0 gt 3 data.gpc0 gt 4",
    "show table fe data.gpc0 gt 1 data.gpc0 gt 2 data.gpc0 gt 3 data.gpc0 gt 4 data.gpc0 gt 9",
    "show table fe key 1.1.1.2",
    "show table fe key 1.1.1.2 foo",
    "clear table fe data.gpc0",
    "clear table fe data.gpc0 eq 5 data.conn_cnt eq 3",
    "show table fe",
    "clear table fe key 1.1.1.4 x",
    "show table fe",
    "set table numbers key 5 data.gpc 3",
    "set table numbers key 5 data.gpt -",
    "set table numbers key 5 data.gpc(1) 3",
    "set table numbers key 5 data.gpc0 3",
    "set table numbers key -1",
    "set table numbers key 4294967295 data.gpc_rate 100",
    "set table numbers key 4294967296",
    "set table numbers key x",
    "set table numbers key +12",
    "show table numbers",
    "show table numbers key 5",
    "show table numbers key x",
    "show table numbers data.gpc eq 3",
    "show table numbers data.gpc_rate ge 100",
    "set table six key ::1 data.gpc0 3",
    "set table six key 1.2.3.4 data.gpc0 3",
    "set table six key ::1.2.3.4 data.gpc0 3",
    "set table six key ::ffff:1.2.3.4 data.gpc0 3",
    "set table six key 2001:db8::1:0:0:1 data.gpc0 3",
    "set table six key foo data.gpc0 3",
    "show table six",
    "show table six key ::2",
    "clear table six key ::1",
    "clear table six key ::1",
    "set table names key abc data.server_id 1",
    "set table names key a\\ b data.gpc1 4",
    "set table names key \"x\" data.gpc1 4",
    "set table names key 012345678901234567890123456789012345678901234567890 data.gpc1 3",
    "set table names key abd data.server_key 3",
    "set table names key abd data.server_key s1",
    "set table names key ~=\u{7f}\u{1}%é<\\;&\\\\ data.gpc1 3",
    "show table names",
    "show table names key a\\ b",
    "show table names data.server_id eq 1",
    "clear table names data.gpc1 eq 3",
    "show table names",
    "clear table names",
    "show table names",
    "show table",
];

fn commands_are_answered_alike(shards: &str) {
    let Some(((haproxy, _), (process, _))) = both(shards) else { return };
    for command in COMMANDS {
        same(&haproxy, &process, "run.sock", command);
    }
}

#[test]
fn commands_are_answered_alike_on_one_shard() {
    commands_are_answered_alike("1");
}

#[test]
fn commands_are_answered_alike_across_shards() {
    commands_are_answered_alike("3");
}

#[test]
fn rights_are_those_of_haproxy() {
    let Some(((haproxy, _), (process, _))) = both("1") else { return };
    for (socket, command) in [
        ("operator.sock", "set table fe key 1.1.1.1 data.gpc0 1"),
        ("operator.sock", "show table fe"),
        ("operator.sock", "show table fe key 1.1.1.1"),
        ("user.sock", "show table"),
        ("user.sock", "show table fe"),
        ("user.sock", "show table fe data.gpc0 gt 0"),
        ("user.sock", "show table fe data.foo gt 0"),
        ("user.sock", "show table fe foo"),
        ("user.sock", "show table fe key"),
        ("user.sock", "show table fe key 1.1.1.1"),
        ("user.sock", "show table numbers key x"),
        ("user.sock", "set table"),
        ("user.sock", "set table nope"),
        ("user.sock", "set table fe"),
        ("user.sock", "set table fe key 1.1.1.1 data.gpc0 2"),
        ("user.sock", "clear table"),
        ("user.sock", "clear table fe key 1.1.1.1"),
        ("operator.sock", "show table fe"),
        ("operator.sock", "clear table fe key 1.1.1.1"),
        ("operator.sock", "show table fe"),
    ] {
        same(&haproxy, &process, socket, command);
    }
    assert_eq!(ask(&process.path("user.sock"), "clear table fe").as_deref(), Some("Permission denied\n\n"));
}

#[test]
fn entries_of_running_sessions_stay() {
    for shards in ["1", "2"] {
        let Some(((haproxy, their_port), (process, our_port))) = both(shards) else { return };
        let connections = [their_port, our_port].map(|port| TcpStream::connect(("127.0.0.1", port)).expect("accepted"));
        let sockets = [haproxy.directory.path().join("run.sock"), process.path("run.sock")];
        for socket in &sockets {
            wait_for("the entry", || ask(socket, "show table fe key 127.0.0.1").is_some_and(|answer| answer.contains("use=1")));
        }
        for command in ["clear table fe key 127.0.0.1", "clear table fe", "clear table fe data.conn_cnt ge 0", "show table fe"] {
            same(&haproxy, &process, "run.sock", command);
        }
        drop(connections);
        for socket in &sockets {
            wait_for("the end", || ask(socket, "show table fe key 127.0.0.1").is_some_and(|answer| answer.contains("use=0")));
        }
        same(&haproxy, &process, "run.sock", "clear table fe key 127.0.0.1");
        same(&haproxy, &process, "run.sock", "show table fe");
    }
}

/// Variables of the process are not tables, but set by the same kinds of rules and asked for at the same socket.
#[test]
fn variables_of_the_process_are_shown_alike() {
    let Some(((haproxy, _), (process, _))) = both("1") else { return };
    let names = [
        "",
        " proc.n",
        " proc.neg",
        " proc.s",
        " proc.b",
        " proc.i",
        " proc.six",
        " proc.raw",
        " proc.f",
        " proc.f x",
        " proc.sum",
        " proc.both",
        " proc.nobody",
    ];
    for name in names.into_iter().chain([" proc.nope", " sess.n", " n", " proc."]) {
        for socket in ["operator.sock", "user.sock"] {
            same(&haproxy, &process, socket, &format!("get var{name}"));
        }
    }
}

/// More entries than one step shows or removes, in the answer of one command.
#[test]
fn long_tables_are_shown_and_cleared_whole() {
    let Some((_, (process, _))) = both("2") else { return };
    let keys: Vec<String> = (0..3000).map(|number| format!("key{number}")).collect();
    for some in keys.chunks(100) {
        let commands: Vec<String> = some.iter().map(|key| format!("set table names key {key} data.gpc1 1")).collect();
        assert_eq!(process.ask(&commands.join(";")).expect("an answer").trim(), "");
    }
    let shown = process.ask("show table names").expect("an answer");
    let mut found: Vec<&str> = shown.lines().filter_map(|line| line.split_once("key=")?.1.split(' ').next()).collect();
    found.sort_unstable();
    let mut wanted: Vec<&str> = keys.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    assert_eq!(process.ask("show table names data.gpc1 gt 1").expect("an answer").lines().count(), 2, "the title and the end");
    assert_eq!(process.ask("clear table names").as_deref(), Some("\n"));
    assert!(process.ask("show table names").expect("an answer").contains("used:0\n"));
}
