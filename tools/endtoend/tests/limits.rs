//! Limits: `maxconn` of the process, frontends, binds and servers, session rates, queues and their bounds. Clients over a limit wait and are
//! served in order; nobody is refused who may wait. HAProxy runs beside wherever its answer is exact.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use endtoend::crowd::Crowd;
use endtoend::logs::Logs;
use endtoend::peer::{self, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};

/// What each scenario is run with.
const RINGS: [&str; 3] = ["  nbthread 1\n", "  nbthread 2\n", "  nbthread 2\n  tune.ring.mode portable\n"];

/// The backlog is by default as long as the limit, and the kernel makes whoever finds it full try again after a second.
fn text(global: &str, sections: &str) -> String {
    format!(
        "global\n  stats socket @SOCKET@ level admin\n{global}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         backlog 1000\n{sections}"
    )
}

/// Twelve clients against a limit of three: never more than three at once, everybody in the end, and in order with one accept queue.
fn at_most_three(proxy: &Proxy, listen: u16, server: &Peer, ordered: bool) {
    let mut crowd = Crowd::new();
    crowd.join_many(12, listen);
    for gone in 0..12 {
        crowd.wait_served((gone + 3).min(12));
        assert_eq!(crowd.served().len(), (gone + 3).min(12), "more than the limit were served");
        let next = crowd.served()[gone];
        crowd.leave(next);
    }
    assert_eq!(server.connections(), 12);
    if ordered {
        let order = crowd.served().to_vec();
        // Those who start together may be seen in any order.
        assert!(order.iter().enumerate().all(|(place, &number)| place.abs_diff(number) <= 2), "served in order {order:?}");
    }
    wait::until("all sessions to end", || proxy.info("CurrConns") == "0");
    assert_eq!(proxy.stat("entry", "FRONTEND", "stot"), "12");
}

fn limit_of_three(global: &str, section: &str) {
    for (kind, ring) in [(Kind::HaProxy, "")].into_iter().chain(RINGS.map(|ring| (Kind::Ringmain, ring))) {
        let server = Peer::start(peer::named("s"));
        let listen = port::free();
        let section = section.replace("@BIND@", &format!("bind 127.0.0.1:{listen}"));
        let sections = format!("listen entry\n  {section}\n  server s 127.0.0.1:{}\n", server.port());
        let proxy = Proxy::start(kind, &text(&format!("{ring}{global}"), &sections));
        println!("{kind:?} with{ring}");
        at_most_three(&proxy, listen, &server, ring == RINGS[0]);
        if kind == Kind::Ringmain {
            // HAProxy counts one that a bind's limit holds back.
            assert_eq!(proxy.stat("entry", "FRONTEND", "smax"), "3", "the most at once");
        }
    }
}

#[test]
fn the_process_limit_is_exact_and_nobody_is_refused() {
    limit_of_three("  maxconn 3\n", "@BIND@");
}

#[test]
fn a_frontend_limit_is_exact_and_nobody_is_refused() {
    limit_of_three("", "@BIND@\n  maxconn 3");
}

#[test]
fn a_bind_limit_is_exact_and_nobody_is_refused() {
    limit_of_three("", "@BIND@ maxconn 3");
}

/// Two shards wait for one place: those who were accepted first on either go first, so neither shard's clients wait for ever.
#[test]
fn shards_take_turns_at_a_full_gate() {
    let server = Peer::start(peer::named("s"));
    let listen = port::free();
    let sections = format!("listen entry\n  bind 127.0.0.1:{listen}\n  maxconn 1\n  server s 127.0.0.1:{}\n", server.port());
    let proxy = Proxy::start(Kind::Ringmain, &text("  nbthread 2\n", &sections));
    let mut crowd = Crowd::new();
    crowd.join_many(40, listen);
    let mut longest_wait = 0;
    for gone in 0..60 {
        crowd.wait_served(gone + 1);
        let next = crowd.served()[gone];
        longest_wait = longest_wait.max(gone.saturating_sub(next));
        crowd.leave(next);
        // A newcomer for everyone who leaves: the line never gets shorter.
        crowd.join(listen);
    }
    // The line is 40 long, and half of them at least are on the other shard.
    assert!(longest_wait <= 60, "somebody was overtaken {longest_wait} times");
    let served_early = crowd.served().iter().filter(|&&number| number < 40).count();
    assert!(served_early >= 30, "only {served_early} of the first 40 were among the first 60 served");
    drop(crowd);
    wait::until("all sessions to end", || proxy.info("CurrConns") == "0");
}

#[test]
fn limits_change_at_run_time() {
    // HAProxy 2.6 notices a raised limit of a frontend only when something else happens there.
    for (kind, ring) in RINGS.map(|ring| (Kind::Ringmain, ring)) {
        let server = Peer::start(peer::named("s"));
        let listen = port::free();
        let sections =
            format!("listen entry\n  bind 127.0.0.1:{listen}\n  maxconn 2\n  server s 127.0.0.1:{} maxconn 100\n", server.port());
        let proxy = Proxy::start(kind, &text(&format!("{ring}  maxconn 50\n"), &sections));
        println!("{kind:?} with{ring}");
        let mut crowd = Crowd::new();
        crowd.join_many(20, listen);
        crowd.wait_served(2);
        assert_eq!(proxy.command("set maxconn frontend entry 5").trim(), "");
        crowd.wait_served(5);
        assert_eq!((crowd.served().len(), proxy.stat("entry", "FRONTEND", "slim")), (5, "5".into()), "{kind:?}");
        // Lowering it sends nobody away.
        proxy.command("set maxconn frontend entry 3");
        for gone in 0..2 {
            let number = crowd.served()[gone];
            crowd.leave(number);
        }
        wait::until("two to be gone", || proxy.stat("entry", "FRONTEND", "scur") == "3");
        assert_eq!(crowd.served().len(), 5, "{kind:?}: nobody may enter at the limit");
        // The process's limit holds too.
        proxy.command("set maxconn global 4");
        proxy.command("set maxconn frontend entry 30");
        crowd.wait_served(6);
        wait::until("four to be inside", || proxy.stat("entry", "FRONTEND", "scur") == "4");
        assert_eq!((crowd.served().len(), proxy.info("Maxconn")), (6, "4".into()), "{kind:?}");
        // And the server's: two more may come in, none of them to the server.
        proxy.command("set maxconn server entry/s 4");
        proxy.command("set maxconn global 6");
        wait::until("two to wait for the server", || {
            proxy.stat("entry", "s", "qcur") == "2" || proxy.stat("entry", "BACKEND", "qcur") == "2"
        });
        assert_eq!(crowd.served().len(), 6);
        assert_eq!(proxy.stat("entry", "s", "slim"), "4");
        proxy.command("set maxconn global 50");
        proxy.command("set maxconn server entry/s 0");
        crowd.wait_served(20);
    }
}

#[test]
fn a_session_rate_holds() {
    for (kind, ring) in [(Kind::HaProxy, ""), (Kind::Ringmain, RINGS[0]), (Kind::Ringmain, RINGS[1])] {
        let server = Peer::start(peer::named("s"));
        let listen = port::free();
        let sections =
            format!("listen entry\n  bind 127.0.0.1:{listen}\n  rate-limit sessions 10\n  server s 127.0.0.1:{}\n", server.port());
        let proxy = Proxy::start(kind, &text(ring, &sections));
        let mut crowd = Crowd::new();
        let start = Instant::now();
        crowd.join_many(25, listen);
        crowd.wait_served(25);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(1300), "{kind:?}: 25 sessions at 10 a second took {took:?}");
        let most: u32 = proxy.stat("entry", "FRONTEND", "rate_max").parse().expect("a number");
        // HAProxy lets a burst pass when it wakes up.
        assert!(kind == Kind::HaProxy || (8..=11).contains(&most), "{kind:?}: at most {most} in a second");
        assert_eq!(proxy.stat("entry", "FRONTEND", "rate_lim"), "10", "{kind:?}");
    }
}

/// What a queue did, as far as it is the same whenever it is run.
#[derive(Debug, PartialEq, Eq)]
struct Queueing {
    order: Vec<usize>,
    /// Termination and queue positions of each line, by order of end.
    lines: Vec<(String, String)>,
    columns: Vec<(String, String)>,
}

struct QueueCase {
    name: &'static str,
    section: &'static str,
    clients: usize,
    at_once: usize,
}

const QUEUE_CASES: [QueueCase; 6] = [
    QueueCase { name: "backend's queue", section: "server s @S@ maxconn 1\nserver t @T@ maxconn 1", clients: 8, at_once: 2 },
    QueueCase { name: "least", section: "balance leastconn\nserver s @S@ maxconn 2", clients: 7, at_once: 2 },
    QueueCase { name: "first", section: "balance first\nserver s @S@ maxconn 1\nserver t @T@ maxconn 2", clients: 8, at_once: 3 },
    QueueCase { name: "server's queue", section: "balance source\nserver s @S@ maxconn 2", clients: 7, at_once: 2 },
    QueueCase { name: "static", section: "balance static-rr\nserver s @S@ maxconn 2\nserver t @T@ maxconn 1", clients: 8, at_once: 3 },
    QueueCase { name: "maxqueue", section: "balance roundrobin\nserver s @S@ maxconn 1 maxqueue 2", clients: 5, at_once: 1 },
];

fn run_queue(kind: Kind, ring: &str, case: &QueueCase) -> Queueing {
    let (s, t, logs) = (Peer::start(peer::named("s")), Peer::start(peer::named("t")), Logs::start());
    let listen = port::free();
    let section = case.section.replace("@S@", &format!("127.0.0.1:{}", s.port())).replace("@T@", &format!("127.0.0.1:{}", t.port()));
    let sections = format!(
        "listen entry\n  bind 127.0.0.1:{listen}\n  log 127.0.0.1:{} local0\n  log-format \"%ts %sq/%bq\"\n  {}\n",
        logs.port(),
        section.replace('\n', "\n  ")
    );
    let proxy = Proxy::start(kind, &text(ring, &sections));
    let mut crowd = Crowd::new();
    for number in 0..case.clients {
        crowd.join(listen);
        // One after the other, so that the order of arrival is known.
        wait::until("a session", || proxy.stat("entry", "BACKEND", "stot") == (number + 1).to_string());
        assert!(crowd.reaches((number + 1).min(case.at_once), Duration::from_secs(3)), "{kind:?} {}: {number}", case.name);
    }
    let queued: Vec<_> = columns(&proxy, &["qcur", "qmax", "scur"]);
    let mut order = Vec::new();
    for gone in 0..case.clients {
        // All places are taken before the next one is freed, so that only one session moves up at a time.
        if !crowd.reaches((gone + case.at_once).min(case.clients), Duration::from_secs(3)) {
            order.push(usize::MAX);
            break;
        }
        let next = crowd.served()[gone];
        order.push(next);
        crowd.leave(next);
        wait::until("its line", || logs.lines().len() > gone);
    }
    let mut found = queued;
    found.extend(columns(&proxy, &["qmax", "smax", "stot", "lbtot"]));
    let lines = logs.lines();
    let lines = lines.iter().filter_map(|line| line.split_once("]: ")?.1.split_once(' '));
    Queueing { order, lines: lines.map(|(state, queues)| (state.to_owned(), queues.to_owned())).collect(), columns: found }
}

fn columns(proxy: &Proxy, names: &[&str]) -> Vec<(String, String)> {
    let table = proxy.table();
    let rows = ["s", "t", "BACKEND"].into_iter().filter(|row| table.contains_key(&format!("entry,{row}")));
    rows.flat_map(|row| {
        names.iter().map(|name| (format!("{row} {name}"), table[&format!("entry,{row}")][*name].clone())).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn queues_are_served_in_order_and_logged_as_by_haproxy() {
    let report = thread::scope(|scope| {
        let cases = QUEUE_CASES.iter().map(|case| {
            scope.spawn(move || {
                let theirs = run_queue(Kind::HaProxy, RINGS[0], case);
                let mut report = String::new();
                for ring in RINGS {
                    let ours = run_queue(Kind::Ringmain, ring, case);
                    if ours != theirs {
                        let _ = writeln!(report, "{} with{ring}ours   {ours:?}\nHAProxy {theirs:?}", case.name);
                    }
                }
                report
            })
        });
        let cases: Vec<_> = cases.collect();
        cases.into_iter().map(|case| case.join().expect("a case")).collect::<String>()
    });
    assert!(report.is_empty(), "{report}");
}

/// The limit grows with the backend's sessions from `minconn` to `maxconn` at `fullconn`. HAProxy lets waiting sessions profit from that only
/// when one ends; here they do at once.
#[test]
fn a_dynamic_limit_follows_the_load() {
    for ring in RINGS {
        let server = Peer::start(peer::named("s"));
        let listen = port::free();
        let sections =
            format!("listen entry\n  bind 127.0.0.1:{listen}\n  fullconn 8\n  server s 127.0.0.1:{} minconn 1 maxconn 4\n", server.port());
        let proxy = Proxy::start(Kind::Ringmain, &text(ring, &sections));
        let mut crowd = Crowd::new();
        for (sessions, limit) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3), (8, 4), (9, 4)] {
            crowd.join(listen);
            crowd.wait_served(limit);
            wait::until("a session", || proxy.stat("entry", "BACKEND", "scur") == sessions.to_string());
            let queued = sessions - limit;
            wait::until("the others to wait", || proxy.stat("entry", "BACKEND", "qcur") == queued.to_string());
            assert_eq!(proxy.stat("entry", "s", "scur"), limit.to_string());
        }
    }
}

/// Sixty sessions through one slot on two shards: served in the order in which they were queued, whichever shard they are on.
#[test]
fn a_queue_is_fifo_over_shards() {
    let server = Peer::start(peer::named("s"));
    let listen = port::free();
    let sections = format!("listen entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{} maxconn 1\n", server.port());
    let proxy = Proxy::start(Kind::Ringmain, &text("  nbthread 2\n", &sections));
    let mut crowd = Crowd::new();
    for number in 0..60 {
        crowd.join(listen);
        wait::until("a session", || proxy.stat("entry", "BACKEND", "stot") == (number + 1).to_string());
    }
    for gone in 0..60 {
        crowd.wait_served(gone + 1);
        let next = crowd.served()[gone];
        crowd.leave(next);
    }
    assert!(crowd.served().is_sorted(), "served in order {:?}", crowd.served());
    assert_eq!(proxy.stat("entry", "s", "smax"), "1");
    assert_eq!(proxy.stat("entry", "BACKEND", "qmax"), "59");
}

#[test]
fn impatient_sessions_leave_the_queue_and_the_others_move_up() {
    for (kind, ring) in [(Kind::HaProxy, ""), (Kind::Ringmain, RINGS[0]), (Kind::Ringmain, RINGS[1])] {
        let (server, logs) = (Peer::start(peer::named("s")), Logs::start());
        let listen = port::free();
        let sections = format!(
            "listen entry\n  bind 127.0.0.1:{listen}\n  timeout queue 700ms\n  log 127.0.0.1:{} local0\n  log-format \"%ts %sq/%bq %Tw\"\n  \
             server s 127.0.0.1:{} maxconn 1\n",
            logs.port(),
            server.port()
        );
        let proxy = Proxy::start(kind, &text(ring, &sections));
        let mut crowd = Crowd::new();
        for number in 0..4 {
            crowd.join(listen);
            wait::until("a session", || proxy.stat("entry", "BACKEND", "stot") == (number + 1).to_string());
        }
        wait::until("three to give up", || logs.containing("sQ").len() == 3);
        assert!((1..4).all(|number| wait::reached(Duration::from_secs(5), || crowd.turned_away(number))), "{kind:?}");
        let lines: Vec<String> = logs.containing("sQ");
        for line in &lines {
            let waited: i64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a queue time");
            assert!((650..1500).contains(&waited), "{kind:?}: {line}");
        }
        crowd.join(listen);
        crowd.leave(0);
        wait::until("the newcomer", || crowd.served().contains(&4));
        assert_eq!((proxy.stat("entry", "BACKEND", "qcur"), proxy.stat("entry", "s", "qcur")), ("0".into(), "0".into()), "{kind:?}");
    }
}

/// Long-lived connections end up even over shards, whatever the kernel's hash made of their ports, and none is lost.
#[test]
fn connections_are_handed_over_until_shards_are_even() {
    for ring in &RINGS[1..] {
        let server = Peer::start(peer::named("s"));
        let listen = port::free();
        let sections = format!("listen entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{}\n", server.port());
        let proxy = Proxy::start(Kind::Ringmain, &text(ring, &sections));
        let mut crowd = Crowd::new();
        crowd.join_many(400, listen);
        crowd.wait_served(400);
        assert_eq!(proxy.info("CurrConns"), "400");
        let loads = shard_loads(&proxy);
        assert_eq!(loads.iter().sum::<u64>(), 400, "{loads:?}");
        assert!(loads.iter().all(|load| load.abs_diff(200) <= 50), "{loads:?}");
        for number in 0..400 {
            let answer = endtoend::client::exchange(crowd.stream(number), b"still there?").expect("an echo");
            assert_eq!(answer, b"still there?");
        }
        drop(crowd);
        wait::until("all sessions to end", || proxy.info("CurrConns") == "0");
        assert_eq!(shard_loads(&proxy), [0, 0]);
    }
}

/// Sessions on each shard.
fn shard_loads(proxy: &Proxy) -> Vec<u64> {
    let info = proxy.command("show activity");
    let line = info.lines().find_map(|line| line.strip_prefix("sessions: ")).unwrap_or_else(|| panic!("no sessions in {info}"));
    // The sum comes first.
    line.split_whitespace().filter_map(|value| value.parse().ok()).skip(1).collect()
}
