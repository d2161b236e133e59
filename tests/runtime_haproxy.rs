//! The same configuration and the same commands on the real HAProxy and on our runtime server: the answers are compared byte for byte,
//! except for values that cannot be the same (versions, times, process numbers) and for help texts, whose words are our own.

mod runtime_common;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ringmain_engine::mailbox::ProbeOutcome;
use runtime_common::{PATIENCE, Process, ask};

/// Checks are a day apart, so that both sides stay in the states that commands give; only HAProxy's very first check, that of `be/s1`, runs
/// within the test, and ours is told the same outcome.
const CONFIGURATION: &str = "
global
  stats socket DIR/admin.sock mode 600 level admin
  stats socket DIR/user.sock level user
  stats timeout 2m
  maxconn 500
  nbthread 1
  node here
  description a, \"b\"
defaults
  mode tcp
  timeout connect 2s
  timeout client 10s
  timeout server 10s
frontend fe
  bind unix@DIR/fe1.sock
  bind unix@DIR/fe2.sock name second
  bind unix@DIR/fe3.sock maxconn 7
  option socket-stats
  maxconn 100
  default_backend be
backend be
  balance roundrobin
  server s1 127.0.0.1:PORT check inter 24h rise 3 fall 4 weight 5
  server s2 127.0.0.1:18412 weight 2 maxconn 10 maxqueue 7
  server s3 127.0.0.1:18413 track be/s1
  server s4 127.0.0.1:18414 backup disabled
  server s5 [::1]:18415 check inter 24h
  server s6 127.0.0.1 check port 18411 inter 24h
  server s7 127.0.0.1:18417 minconn 3 maxconn 8
backend empty
  balance leastconn
backend backups
  balance source
  fullconn 77
  server b1 127.0.0.1:18421 backup
  server b2 127.0.0.1:18422 backup weight 3
listen li
  bind unix@DIR/li.sock
  rate-limit sessions 50
  option allbackups
  balance static-rr
  server a 127.0.0.1:18431 backup
  server b unix@DIR/b.sock backup weight 4
";

/// The real one, ended when dropped.
struct Haproxy {
    child: Child,
    version: String,
    directory: tempfile::TempDir,
}

impl Haproxy {
    /// Starts it with the configuration; `None` when it is not installed.
    fn start(text: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("directory");
        let text = text.replace("DIR", &directory.path().display().to_string());
        let path = directory.path().join("haproxy.cfg");
        std::fs::write(&path, text).expect("configuration");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("{error}"),
        };
        let mut haproxy = Self { child, version: String::new(), directory };
        let start = Instant::now();
        let socket = haproxy.directory.path().join("admin.sock");
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(start.elapsed() < PATIENCE, "haproxy does not open its socket");
            std::thread::yield_now();
        }
        haproxy.version = haproxy.ask("admin.sock", "show version\n").trim().to_string();
        while !haproxy.ask("admin.sock", "show stat\n").contains("L4CON") {
            assert!(start.elapsed() < PATIENCE, "haproxy does not check the first server");
        }
        Some(haproxy)
    }

    fn ask(&self, socket: &str, input: &str) -> String {
        ask(&self.directory.path().join(socket), input.as_bytes())
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both, or `None` where HAProxy is not installed.
fn both() -> Option<(Haproxy, Process)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("address").port();
    // Nobody listens there from now on: connections are refused.
    drop(listener);
    let text = CONFIGURATION.replace("PORT", &port.to_string());
    let haproxy = Haproxy::start(&text)?;
    let process = Process::start(&text);
    process.with(|running| {
        let id = running.fleet.find_server("be/s1").expect("server");
        assert!(running.fleet.begin_check(id), "the first check is due at once");
        running.fleet.probe_ended(id, ProbeOutcome::Failed(libc::ECONNREFUSED), 0);
    });
    Some((haproxy, process))
}

/// Asks both and compares.
fn same(haproxy: &Haproxy, process: &Process, input: &str) {
    for socket in ["admin.sock", "user.sock"] {
        let theirs = normal(&haproxy.ask(socket, input), &haproxy.version, haproxy.directory.path());
        let ours = ask(&process.path(socket), input.as_bytes());
        let ours = normal(&ours, env!("CARGO_PKG_VERSION"), process.directory.path());
        alike(&ours, &theirs, '\n', &format!("{input:?} on {socket}"));
    }
}

/// Fails at the first line (or other part) that differs.
fn alike(ours: &str, theirs: &str, separator: char, what: &str) {
    for (ours, theirs) in ours.split(separator).zip(theirs.split(separator)) {
        assert_eq!(ours, theirs, "{what}");
    }
    assert_eq!(ours.split(separator).count(), theirs.split(separator).count(), "{what}\nours:\n{ours}\ntheirs:\n{theirs}");
}

/// Takes out what cannot be the same: versions, directories, dates, and in `show servers state` the seconds since the last change.
fn normal(text: &str, version: &str, directory: &Path) -> String {
    let text = text.replace(version, "VERSION").replace(&directory.display().to_string(), "DIR");
    let lines = text.split('\n').map(|line| {
        let mut words: Vec<&str> = line.split(' ').collect();
        let admin_state;
        if words.len() == 25 && !line.starts_with('#') {
            words[9] = "SECONDS";
            // HAProxy leaves the flag of configured maintenance when an operator ends it.
            admin_state = (words[6].parse::<u8>().expect("flags") & !4).to_string();
            words[6] = &admin_state;
            // State and counter of a check that is not there.
            if words[13] == "0" || words[13] == "8" {
                (words[12], words[13]) = ("HEALTH", "NONE");
            }
        }
        // Connections in `show servers conn`: HAProxy counts that of the check.
        if words.len() == 14 && words[0] == "be/s1" {
            (words[7], words[8]) = ("PEAK", "PEAK");
        }
        match line.split_once("captured on [").and_then(|(before, after)| Some((before, after.split_once(']')?.1))) {
            Some((before, after)) => format!("{before}DATE{after}"),
            None => words.join(" "),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn lines_prompts_and_levels_are_answered_alike() {
    let Some((haproxy, process)) = both() else { return };
    for input in [
        "",
        "show version",
        "show version\n",
        "show version;show version\n",
        "show version\r\n",
        "show  \tversion\n",
        "show version\nshow version\n",
        "prompt\n",
        "prompt\nshow version\nshow version;show version\n",
        "prompt;show version\nshow version\n",
        "prompt\nprompt;show version\nshow version\n",
        "prompt\nshow cli level\noperator\nshow cli level\nuser\nshow cli level\noperator\n",
        "prompt\nshow version <<\nfoo;bar\nx\n\nshow version\n",
        "prompt\nshow version <<\nfoo;bar\n",
        "prompt\nquit;show version\n",
        "quit;show version\n",
        "show version;quit;show version\n",
        "show env HO\\;ME\n",
        "show env NO\\PE\n",
        "set weight be/s1 <<\n5\n\n",
        "set timeout cli 30s\n",
        "set timeout\n",
        "set timeout cli\n",
        "set timeout cli 0\n",
        "set timeout cli x\n",
        "set timeout cli 9999999999\n",
        "show cli level\n",
        "show cli sockets\n",
        "expert-mode\n",
        "expert-mode on\n",
        "experimental-mode off\n",
        "prompt\nexpert-mode on\nexpert-mode\nexpert-mode off\nexpert-mode\n",
    ] {
        same(&haproxy, &process, input);
    }
}

#[test]
fn unknown_commands_are_introduced_alike() {
    let Some((haproxy, process)) = both() else { return };
    for input in
        ["foo\n", "\n", ";\n", "show\n", "set maxconn\n", "show servers\n", "help\n", "help show st\n", "\"show version\"\n", "#\n"]
    {
        let first_and_tail = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            let names = lines.iter().rev().take(4).map(|line| line.split("  ").find(|part| !part.is_empty()).unwrap_or(""));
            (lines.first().unwrap_or(&"").to_string(), names.map(str::to_string).collect::<Vec<_>>(), text.ends_with("\n\n"))
        };
        let theirs = haproxy.ask("admin.sock", input);
        let ours = ask(&process.path("admin.sock"), input.as_bytes());
        assert_eq!(first_and_tail(&ours), first_and_tail(&theirs), "{input:?}");
    }
}

#[test]
fn commands_and_their_errors_are_answered_alike() {
    let Some((haproxy, process)) = both() else { return };
    for command in [
        "show backend",
        "show errors",
        "show errors nope",
        "show errors fe",
        "show errors -1",
        "show env NOPE",
        "show env HOME",
        "show servers state",
        "show servers state li",
        "show servers state #3",
        "show servers state nope",
        "show servers conn",
        "show servers conn be",
        "show stat domain foo",
        "show stat nope 1 -1",
        "get weight",
        "get weight be",
        "get weight be/zz",
        "get weight zz/s1",
        "get weight be/s1",
        "get weight #3/s1",
        "get weight be/#1",
        "set weight",
        "set weight be/s1",
        "set weight be/s1 300",
        "set weight be/s1 -1",
        "set weight be/s1 50%",
        "get weight be/s1",
        "set weight be/s1 1000%",
        "get weight be/s1",
        "set weight be/s1 5 foo",
        "set weight li/a 50%",
        "set weight li/b 3",
        "set weight li/b 0",
        "set weight li/b 4",
        "set server",
        "set server be",
        "set server be/s1",
        "set server be/zz weight 1",
        "set server xx/s1 state up",
        "set server be/s1 foo",
        "set server be/s1 weight",
        "set server be/s1 weight 7",
        "set server be/s1 state",
        "set server be/s1 state foo",
        "set server be/s1 health foo",
        "set server be/s3 health up",
        "set server be/s1 addr",
        "set server be/s1 addr foo",
        "set server be/s2 addr 127.0.0.2 port 99",
        "set server be/s2 addr 127.0.0.2 port 99",
        "set server be/s2 addr 127.0.0.3",
        "set server be/s2 addr 127.0.0.3 port",
        "set server be/s2 addr 127.0.0.3 port x",
        "set server be/s1 addr 127.0.0.1 port +5",
        "set server be/s1 agent up",
        "set server be/s1 fqdn x",
        "set server be/s1 ssl on",
        "set server be/s5 check-port 5",
        "set server be/s5 check-addr 127.0.0.1",
        "set maxconn server",
        "set maxconn server be/s2",
        "set maxconn server be/s2 20",
        "set maxconn frontend",
        "set maxconn frontend fe",
        "set maxconn frontend nope 5",
        "set maxconn frontend fe 90",
        "set maxconn global",
        "set maxconn global 100000",
        "set maxconn global 400",
        "disable server",
        "disable server be",
        "disable server be/s2",
        "enable server be/s2",
        "enable server be/zz",
        "disable health be/s5",
        "disable health be/s2",
        "enable health be/s5",
        "enable health be/s2",
        "disable frontend",
        "disable frontend nope",
        "enable frontend li",
        "disable frontend li",
        "disable frontend li",
        "enable frontend li",
        "shutdown frontend",
        "shutdown frontend nope",
        "shutdown frontend li",
        "shutdown frontend li",
        "enable frontend li",
        "disable frontend li",
        "shutdown sessions server",
        "shutdown sessions server be/s1",
        "shutdown sessions server be/zz",
        "clear counters",
        "clear counters all",
        "show servers state",
    ] {
        same(&haproxy, &process, &format!("{command}\n"));
    }
}

/// Columns that time moves, and one in which HAProxy counts the connection of the check.
const MOVING: &[&str] = &["lastchg", "downtime", "need_conn_est"];

fn rows(text: &str) -> (Vec<String>, HashMap<String, Vec<String>>) {
    let mut lines = text.lines();
    let titles = lines.next().unwrap_or("").split(',').map(str::to_string).collect();
    let rows = lines.filter(|line| !line.is_empty()).map(|line| {
        let fields: Vec<String> = line.split(',').map(str::to_string).collect();
        (format!("{}/{}", fields[0], fields[1]), fields)
    });
    (titles, rows.collect())
}

fn compare_statistics(haproxy: &Haproxy, process: &Process, command: &str) {
    for socket in ["admin.sock", "user.sock"] {
        let (titles, theirs) = rows(&haproxy.ask(socket, &format!("{command}\n")));
        let (our_titles, ours) = rows(&ask(&process.path(socket), format!("{command}\n").as_bytes()));
        assert_eq!(our_titles, titles);
        let mut names: Vec<_> = theirs.keys().collect();
        names.sort();
        let mut our_names: Vec<_> = ours.keys().collect();
        our_names.sort();
        assert_eq!(our_names, names, "{command}");
        for (name, their_fields) in &theirs {
            let our_fields = &ours[name];
            assert_eq!(our_fields.len(), their_fields.len(), "{name}");
            for (title, (our_field, their_field)) in titles.iter().zip(our_fields.iter().zip(their_fields)) {
                if MOVING.contains(&title.as_str()) {
                    assert_eq!(our_field.is_empty(), their_field.is_empty(), "{title} of {name}, {command}");
                } else {
                    assert_eq!(our_field, their_field, "{title} of {name}, {command}");
                }
            }
        }
    }
}

#[test]
fn statistics_have_the_same_columns_gaps_and_values() {
    let Some((haproxy, process)) = both() else { return };
    let steps = [
        "show version",
        "set server be/s1 state drain;set server be/s5 state maint;disable server be/s2",
        "set server be/s1 state maint",
        "set server be/s1 state ready;set server be/s5 state ready;enable server be/s2;enable server be/s4",
        "set weight be/s2 0;set weight be/s1 50%;set weight li/b 0",
        "set server be/s2 health down;set server be/s1 health down",
        "set server be/s2 health stopping;set server be/s1 health stopping",
        "set server be/s2 health up;set server be/s1 health up;set maxconn server be/s2 33;set maxconn frontend fe 44",
        "disable health be/s5;disable frontend fe",
        "enable frontend fe;shutdown frontend li",
    ];
    let views =
        ["show stat", "show stat up", "show stat no-maint", "show stat be -1 -1", "show stat -1 9 -1", "show stat -1 4 2", "show stat #3"];
    for step in steps {
        haproxy.ask("admin.sock", &format!("{step}\n"));
        process.ask(step);
        for view in views {
            compare_statistics(&haproxy, &process, view);
        }
        same(&haproxy, &process, "show servers state\n");
    }
}

#[test]
fn typed_and_json_statistics_have_the_same_types_and_tags() {
    let Some((haproxy, process)) = both() else { return };
    let still = |text: &str, separator: &str| {
        let moves =
            |value: &str| MOVING.iter().any(|title| value.contains(&format!(".{title}.")) || value.contains(&format!("\"{title}\"")));
        text.split(separator).filter(|value| !moves(value)).collect::<Vec<_>>().join("\n")
    };
    for (command, separator) in [("show stat typed", "\n"), ("show stat json", "},{\"objType")] {
        let theirs = haproxy.ask("admin.sock", &format!("{command}\n"));
        alike(&still(&process.ask(command), separator), &still(&theirs, separator), '\n', command);
    }
}

#[test]
fn process_facts_have_the_same_names_places_and_tags() {
    let Some((haproxy, process)) = both() else { return };
    let key = |line: &str| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":");
    let theirs: Vec<String> = haproxy.ask("user.sock", "show info typed\n").lines().map(key).collect();
    let ours = ask(&process.path("user.sock"), b"show info typed\n");
    let mut position = 0;
    for line in ours.lines().filter(|line| !line.is_empty() && !line.starts_with("20")) {
        let found = theirs.iter().skip(position).position(|theirs| *theirs == key(line));
        position += found.unwrap_or_else(|| panic!("{line} is not there or out of order: {theirs:#?}")) + 1;
    }
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}: ")));
        line.map(str::to_string)
    };
    let (theirs, ours) = (haproxy.ask("user.sock", "show info\n"), process.ask("show info"));
    for name in ["Nbthread", "Nbproc", "Process_num", "Maxconn", "CurrConns", "node", "description", "Stopping", "Jobs", "Listeners"] {
        assert_eq!(value(&ours, name), value(&theirs, name));
    }
}
