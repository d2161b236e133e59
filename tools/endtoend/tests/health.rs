//! The same life of servers through HAProxy and Ringmain: checks, orders of operators, tracking, slowstart, observed errors. The log lines, their
//! order, and the statistics after each step must say the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use endtoend::client::{connect, drain};
use endtoend::crowd::Crowd;
use endtoend::logs::Logs;
use endtoend::peer::{self, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};

/// Columns compared after each step.
const COLUMNS: [&str; 16] = [
    "status",
    "weight",
    "act",
    "bck",
    "chkfail",
    "chkdown",
    "check_status",
    "check_rise",
    "check_fall",
    "check_health",
    "throttle",
    "tracked",
    "check_desc",
    "scur",
    "econ",
    "wredis",
];

/// Lines travel through a thread and a socket.
const QUIET_TIME: Duration = Duration::from_millis(150);

/// A proxy in front of servers that come and go, and what was seen of it.
struct Stage {
    proxy: Proxy,
    logs: Logs,
    listen: u16,
    servers: BTreeMap<&'static str, (u16, Option<Peer>)>,
    seen: Vec<String>,
    lines_seen: usize,
}

impl Stage {
    /// `section` is a backend's lines with `@NAME@` for the addresses of servers; those in `running` answer.
    fn start(kind: Kind, ring: &str, section: &str, running: &[&'static str], all: &[&'static str]) -> Self {
        let logs = Logs::start();
        let listen = port::free();
        let mut section = section.replace('\n', "\n  ");
        let mut servers = BTreeMap::new();
        for &name in all {
            let port = port::free();
            section = section.replace(&format!("@{name}@"), &format!("127.0.0.1:{port}"));
            servers.insert(name, (port, running.contains(&name).then(|| serve(name, port))));
        }
        let text = format!(
            "global\n  log 127.0.0.1:{} local0\n  stats socket @SOCKET@ level admin\n{ring}\ndefaults\n  mode tcp\n  log global\n  timeout connect 2s\n  \
             timeout client 20s\n  timeout server 20s\nfrontend entry\n  bind 127.0.0.1:{listen}\n  default_backend b\nbackend b\n  {section}\n",
            logs.port()
        );
        let proxy = Proxy::start(kind, &text);
        Self { proxy, logs, listen, servers, seen: Vec::new(), lines_seen: 0 }
    }

    fn run(&mut self, name: &'static str) {
        let slot = self.servers.get_mut(name).expect("a known server");
        slot.1 = Some(serve(name, slot.0));
    }

    fn kill(&mut self, name: &'static str) {
        let slot = self.servers.get_mut(name).expect("a known server");
        slot.1 = None;
        wait::until("a closed port", || TcpStream::connect(("127.0.0.1", slot.0)).is_err());
    }

    fn order(&mut self, command: &str) {
        let answer = self.proxy.command(command);
        self.seen.push(format!("> {command}: {}", answer.trim()));
    }

    /// Waits until a server's column has a value, then notes the lines and the statistics.
    fn expect(&mut self, server: &str, column: &str, value: &str) {
        self.expect_in("b", server, column, value);
    }

    fn expect_in(&mut self, backend: &str, server: &str, column: &str, value: &str) {
        let met = wait::reached(Duration::from_secs(10), || self.proxy.stat(backend, server, column) == value);
        if !met {
            self.seen.push(format!("! {server} {column} never {value}: {}", self.proxy.stat(backend, server, column)));
        }
        self.note();
    }

    /// Waits until a server's column has a value; what has been logged meanwhile comes with the next step.
    fn settle(&mut self, server: &str, column: &str, value: &str) {
        wait::until("a settled server", || self.proxy.stat("b", server, column) == value);
    }

    fn note(&mut self) {
        // Lines that are on their way belong to the step: wait until they have stopped coming.
        let mut lines = self.logs.lines();
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < QUIET_TIME {
            thread::sleep(Duration::from_millis(5));
            let now = self.logs.lines();
            if now.len() > lines.len() {
                quiet_since = Instant::now();
            }
            lines = now;
        }
        for line in &lines[self.lines_seen..] {
            if let Some((head, text)) = line.split_once("]: ")
                && !text.starts_with("Connect from")
                && !text.starts_with("Proxy ")
            {
                let level = head.split('>').next().unwrap_or_default();
                self.seen.push(format!("{level}> {}", mask(text)));
            }
        }
        self.lines_seen = lines.len();
        for (row, columns) in self.proxy.table() {
            if row.starts_with("entry,") {
                continue;
            }
            let mut text = format!("  {row}");
            for column in COLUMNS {
                // A star says that a check is under way.
                let _ = write!(text, " {column}={}", columns[column].trim_start_matches("* "));
            }
            self.seen.push(text);
        }
    }
}

fn serve(name: &'static str, port: u16) -> Peer {
    Peer::start_at(SocketAddr::from(([127, 0, 0, 1], port)), peer::named(name))
}

/// Without what differs from run to run: durations, and whether the session that met the last error has ended yet.
fn mask(text: &str) -> String {
    if text.contains("Health analyze") {
        return text.replace("1 sessions active", "0 sessions active");
    }
    let Some((before, rest)) = text.split_once("check duration: ") else { return text.to_owned() };
    let rest = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
    format!("{before}check duration: N{rest}")
}

struct Life {
    name: &'static str,
    section: &'static str,
    running: &'static [&'static str],
    all: &'static [&'static str],
    live: fn(&mut Stage),
}

/// Checks often enough to wait for.
const CHECKED: &str = "default-server check inter 200ms fastinter 100ms downinter 150ms rise 2 fall 2";

/// One check at the start and then none for the rest of the test, so that nothing changes but by order.
const QUIET: &str = "default-server check inter 60s rise 2 fall 2";

const LIVES: &[Life] = &[
    Life {
        name: "killed and back",
        section: "@DEFAULT@\nserver s @s@ weight 3\nserver t @t@",
        running: &["s", "t"],
        all: &["s", "t"],
        live: |stage| {
            stage.settle("t", "check_health", "3");
            stage.expect("s", "check_status", "L4OK");
            stage.kill("s");
            stage.expect("s", "status", "DOWN");
            stage.run("s");
            stage.expect("s", "status", "UP");
            stage.kill("s");
            stage.expect("s", "status", "DOWN");
            stage.kill("t");
            stage.expect("t", "status", "DOWN");
            stage.run("t");
            stage.expect("t", "status", "UP");
        },
    },
    Life {
        name: "down at the start",
        section: "@DEFAULT@\nserver s @s@\nserver t @t@",
        running: &["t"],
        all: &["s", "t"],
        live: |stage| {
            stage.settle("t", "check_health", "3");
            stage.expect("s", "status", "DOWN");
            stage.run("s");
            stage.expect("s", "status", "UP");
        },
    },
    Life {
        name: "orders",
        section: "@QUIET@\nserver s @s@\nserver t @t@",
        running: &["s", "t"],
        all: &["s", "t"],
        live: |stage| {
            stage.expect("s", "check_status", "L4OK");
            for (command, column, value) in [
                ("set server b/s state drain", "status", "DRAIN"),
                ("set server b/s state drain", "status", "DRAIN"),
                ("set server b/s state maint", "status", "MAINT"),
                ("set server b/s state ready", "status", "UP 1/2"),
                ("disable server b/s", "status", "MAINT"),
                ("set server b/s weight 50", "status", "MAINT"),
                ("enable server b/s", "status", "UP 1/2"),
                ("set server b/s weight 0", "weight", "0"),
                ("set weight b/s 100%", "weight", "1"),
                ("set server b/s health down", "status", "DOWN"),
                ("set server b/s health up", "status", "UP"),
                ("set server b/s health stopping", "status", "NOLB"),
                ("set server b/s health up", "status", "UP"),
                ("disable server b/t", "status", "UP"),
                ("disable server b/s", "status", "MAINT"),
                ("enable server b/t", "status", "MAINT"),
                ("enable server b/s", "status", "UP 1/2"),
            ] {
                stage.order(command);
                stage.expect("s", column, value);
            }
        },
    },
    Life {
        name: "maintenance of a dead server",
        section: "@DEFAULT@\nserver s @s@\nserver t @t@ backup",
        running: &["s", "t"],
        all: &["s", "t"],
        live: |stage| {
            stage.settle("t", "check_health", "3");
            stage.expect("s", "check_status", "L4OK");
            stage.kill("s");
            stage.expect("s", "status", "DOWN");
            stage.order("set server b/s state maint");
            stage.expect("s", "status", "MAINT");
            stage.run("s");
            stage.order("set server b/s state drain");
            stage.expect("s", "check_status", "L4OK");
            stage.order("set server b/s state ready");
            stage.expect("s", "status", "UP");
        },
    },
    Life {
        name: "tracking",
        section: "@DEFAULT@\nserver s @s@\nbackend c\nserver f @t@ track b/s\nserver g @t@ track c/f backup",
        running: &["s", "t"],
        all: &["s", "t"],
        live: |stage| {
            stage.expect("s", "check_status", "L4OK");
            stage.kill("s");
            stage.expect_in("c", "g", "status", "DOWN");
            stage.run("s");
            stage.expect_in("c", "g", "status", "UP");
            stage.order("set server b/s state maint");
            stage.expect_in("c", "g", "status", "MAINT (via c/f)");
            stage.order("set server b/s state ready");
            stage.expect_in("c", "g", "status", "UP");
            stage.order("set server b/s state drain");
            stage.expect_in("c", "g", "status", "DRAIN");
            stage.order("set server c/f state maint");
            stage.expect_in("c", "f", "status", "MAINT");
            stage.order("set server b/s state ready");
            stage.expect_in("b", "s", "status", "UP");
            stage.order("set server c/f state ready");
            stage.expect_in("c", "f", "status", "UP");
            stage.order("set server c/f health down");
            stage.expect_in("c", "f", "status", "UP");
        },
    },
    Life {
        name: "fail-check",
        section: "@QUIET@ observe layer4 error-limit 3 on-error fail-check\nretries 0\nserver s @s@\nserver t @t@ backup",
        running: &["s", "t"],
        all: &["s", "t"],
        live: |stage| errors(stage, 3, 2),
    },
    Life {
        name: "sudden-death",
        section: "@QUIET@ observe layer4 error-limit 2 on-error sudden-death\nretries 0\nserver s @s@",
        running: &["s"],
        all: &["s"],
        live: |stage| errors(stage, 2, 1),
    },
    Life {
        name: "mark-down",
        section: "@QUIET@ observe layer4 error-limit 2 on-error mark-down\nretries 0\nserver s @s@",
        running: &["s"],
        all: &["s"],
        live: |stage| errors(stage, 2, 1),
    },
    Life {
        name: "fastinter",
        section: "@QUIET@ observe layer4 error-limit 2 fastinter 150ms on-error fastinter\nretries 0\nserver s @s@",
        running: &["s"],
        all: &["s"],
        live: |stage| {
            stage.expect("s", "check_status", "L4OK");
            stage.kill("s");
            for _ in 0..2 {
                drain(&mut connect(stage.listen));
            }
            stage.expect("s", "status", "DOWN");
        },
    },
    Life {
        name: "sessions end when down",
        section: "@QUIET@ on-marked-down shutdown-sessions\nserver s @s@\nserver t @t@ backup on-marked-up shutdown-backup-sessions",
        running: &["s", "t"],
        all: &["s", "t"],
        live: |stage| {
            stage.expect("s", "check_status", "L4OK");
            let mut crowd = Crowd::new();
            crowd.join_many(3, stage.listen);
            crowd.wait_served(3);
            stage.note();
            stage.order("set server b/s health down");
            stage.expect("s", "status", "DOWN");
            stage.expect("s", "scur", "0");
        },
    },
    Life {
        name: "backup sessions end when up",
        section: "@DEFAULT@ on-marked-up shutdown-backup-sessions\nserver s @s@\nserver t @t@ backup",
        running: &["t"],
        all: &["s", "t"],
        live: |stage| {
            stage.settle("t", "check_health", "3");
            stage.expect("s", "status", "DOWN");
            stage.expect("t", "check_status", "L4OK");
            let mut crowd = Crowd::new();
            crowd.join_many(3, stage.listen);
            crowd.wait_served(3);
            stage.note();
            stage.run("s");
            stage.expect("s", "status", "UP");
            stage.expect("t", "scur", "0");
        },
    },
    Life {
        name: "checks off and on",
        section: "@DEFAULT@\nserver s @s@",
        running: &["s"],
        all: &["s"],
        live: |stage| {
            stage.expect("s", "check_health", "3");
            stage.order("disable health b/s");
            stage.expect("s", "status", "no check");
            stage.kill("s");
            stage.order("set server b/s health down");
            stage.expect("s", "status", "DOWN");
            stage.run("s");
            stage.order("enable health b/s");
            stage.expect("s", "status", "UP");
        },
    },
    Life {
        name: "queued while all are down",
        section: "@QUIET@ maxconn 1\noption redispatch\nserver s @s@\nserver t @t@ disabled",
        running: &["s", "t"],
        all: &["s", "t"],
        live: |stage| {
            stage.expect("s", "check_status", "L4OK");
            let mut crowd = Crowd::new();
            crowd.join(stage.listen);
            crowd.wait_served(1);
            crowd.join_many(2, stage.listen);
            wait::until("two to wait", || stage.proxy.stat("b", "BACKEND", "qcur") == "2");
            stage.order("set server b/s health down");
            stage.expect("s", "status", "DOWN");
            stage.order("enable server b/t");
            stage.expect("t", "status", "UP 1/2");
            for count in 2..=3 {
                let served = crowd.reaches(count, Duration::from_secs(3));
                let by: String = crowd.served().to_vec().into_iter().map(|number| crowd.server_of(number).to_owned()).collect();
                stage.seen.push(format!("{count} served: {served}, by {by}"));
                if let Some(&last) = crowd.served().last() {
                    crowd.leave(last);
                }
            }
        },
    },
];

/// The server refuses until the limit of observed errors, then comes back.
fn errors(stage: &mut Stage, limit: usize, rounds: usize) {
    stage.expect("s", "check_status", "L4OK");
    stage.kill("s");
    for _ in 0..rounds {
        for _ in 0..limit {
            drain(&mut connect(stage.listen));
        }
        if !wait::reached(Duration::from_secs(3), || stage.proxy.stat("b", "s", "check_status") != "L4OK") {
            stage.seen.push("! no errors were observed".into());
        }
        stage.note();
    }
}

fn live(kind: Kind, ring: &str, life: &Life) -> Vec<String> {
    let section = life.section.replace("@DEFAULT@", CHECKED).replace("@QUIET@", QUIET);
    let mut stage = Stage::start(kind, ring, &section, life.running, life.all);
    (life.live)(&mut stage);
    stage.seen
}

#[test]
fn servers_live_as_with_haproxy() {
    let report = thread::scope(|scope| {
        let lives: Vec<_> = LIVES
            .iter()
            .map(|life| {
                scope.spawn(move || {
                    let (theirs, ours) = thread::scope(|both| {
                        let ours = both.spawn(|| live(Kind::Ringmain, "  nbthread 2\n", life));
                        (live(Kind::HaProxy, "  nbthread 1\n", life), ours.join().expect("Ringmain's life"))
                    });
                    let mut report: String =
                        theirs.iter().filter(|line| line.starts_with('!')).map(|line| format!("{}: {line}\n", life.name)).collect();
                    for (place, line) in theirs.iter().enumerate() {
                        if ours.get(place) != Some(line) {
                            let _ = writeln!(
                                report,
                                "{} step {place}\n  HAProxy {line}\n  ours    {}",
                                life.name,
                                ours.get(place).map_or("", String::as_str)
                            );
                        }
                    }
                    report
                })
            })
            .collect();
        lives.into_iter().map(|life| life.join().expect("a life")).collect::<String>()
    });
    assert!(report.is_empty(), "\n{report}");
}

/// How long things take, from the moment a server dies: two failures at `fastinter`, then two successes at `downinter` and `fastinter`.
#[test]
fn checks_keep_their_intervals() {
    let section = "server s @s@ check inter 300ms fastinter 500ms downinter 900ms rise 2 fall 3";
    let times = |kind: Kind| {
        let mut stage = Stage::start(kind, "", section, &["s"], &["s"]);
        stage.expect("s", "check_status", "L4OK");
        let mut times = Vec::new();
        let start = Instant::now();
        stage.kill("s");
        wait::until("the server to be down", || stage.proxy.stat("b", "s", "status") == "DOWN");
        times.push(start.elapsed().as_millis() as i64);
        stage.run("s");
        let start = Instant::now();
        wait::until("the server to be up", || stage.proxy.stat("b", "s", "status") == "UP");
        times.push(start.elapsed().as_millis() as i64);
        times
    };
    let (theirs, ours) = thread::scope(|scope| {
        let ours = scope.spawn(|| times(Kind::Ringmain));
        (times(Kind::HaProxy), ours.join().expect("our times"))
    });
    // Down: what is left of `inter`, then twice `fastinter`. Up: what is left of `downinter`, then `fastinter`.
    for times in [&ours, &theirs] {
        assert!((1000..=1700).contains(&times[0]) && (500..=1800).contains(&times[1]), "ours {ours:?}, HAProxy {theirs:?}");
    }
}

/// A server warms up: the weight in `show stat` rises from little to all over the time, and with it its limit of sessions.
#[test]
fn slowstart_raises_the_weight_step_by_step() {
    let section = "server s @s@ weight 100 slowstart 4s maxconn 10\nserver t @t@ weight 100";
    let observe = |kind: Kind| {
        let mut stage = Stage::start(kind, "", section, &["s", "t"], &["s", "t"]);
        stage.order("set server b/s state maint");
        stage.order("set server b/s state ready");
        let start = Instant::now();
        let mut weights: Vec<i64> = Vec::new();
        let mut throttles: Vec<String> = Vec::new();
        while start.elapsed() < Duration::from_millis(4500) {
            let weight = stage.proxy.stat("b", "s", "weight").parse().expect("a weight");
            if weights.last() != Some(&weight) {
                weights.push(weight);
                throttles.push(stage.proxy.stat("b", "s", "throttle"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        stage.note();
        (weights, throttles, stage.seen)
    };
    let (theirs, ours) = thread::scope(|scope| {
        let ours = scope.spawn(|| observe(Kind::Ringmain));
        (observe(Kind::HaProxy), ours.join().expect("our weights"))
    });
    println!("ours {ours:?}\nHAProxy {theirs:?}");
    assert_eq!(ours.2, theirs.2);
    for weights in [&ours.0, &theirs.0] {
        assert!(weights.is_sorted() && weights.first() < Some(&20) && weights.last() == Some(&100), "ours {ours:?}, HAProxy {theirs:?}");
    }
    assert!(ours.0.len().abs_diff(theirs.0.len()) <= 1, "ours {ours:?}, HAProxy {theirs:?}");
}

/// During slowstart `maxconn` counts in proportion, at least one.
#[test]
fn slowstart_limits_sessions_too() {
    for kind in [Kind::HaProxy, Kind::Ringmain] {
        let section = "server s @s@ slowstart 100s maxconn 10\ntimeout queue 10s";
        let mut stage = Stage::start(kind, "", section, &["s"], &["s"]);
        stage.order("set server b/s state maint");
        stage.order("set server b/s state ready");
        println!("{kind:?}");
        let mut crowd = Crowd::new();
        crowd.join_many(5, stage.listen);
        crowd.wait_served(1);
        wait::until("the others to wait", || stage.proxy.stat("b", "BACKEND", "qcur") == "4");
        assert_eq!(crowd.served().len(), 1, "{kind:?}");
        let first = crowd.served()[0];
        crowd.leave(first);
        crowd.wait_served(2);
    }
}
