//! Which server gets the next connection: every method, exact where it is exact whatever the number of shards, and the same server as HAProxy
//! chooses where a key decides.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::thread;

use endtoend::client::{connect, server_name};
use endtoend::crowd::{Crowd, connect_from};
use endtoend::peer::{self, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A proxy in front of four servers named a to d, whose addresses stand for `@a@` to `@d@` in the backend's lines.
struct Stage {
    proxy: Proxy,
    listen: u16,
    _servers: Vec<Peer>,
}

impl Stage {
    fn start(kind: Kind, global: &str, section: &str) -> Self {
        let servers: Vec<Peer> = NAMES.iter().map(|name| Peer::start(peer::named(name))).collect();
        let listen = port::free();
        let mut section = section.replace('\n', "\n  ");
        for (name, server) in NAMES.iter().zip(&servers) {
            section = section.replace(&format!("@{name}@"), &format!("127.0.0.1:{}", server.port()));
        }
        let text = format!(
            "global\n  stats socket @SOCKET@ level admin\n{global}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen b\n  bind 127.0.0.1:{listen}\n  {section}\n"
        );
        Self { proxy: Proxy::start(kind, &text), listen, _servers: servers }
    }

    /// One connection after the other; the servers' names.
    fn ask(&self, times: usize) -> String {
        (0..times).map(|_| server_name(&connect(self.listen)).unwrap_or_else(|| "-".into())).collect()
    }

    fn ask_from(&self, sources: &[IpAddr]) -> String {
        sources.iter().map(|&source| server_name(&connect_from(source, self.listen)).unwrap_or_else(|| "-".into())).collect()
    }

    /// `count` connections from eight threads at once, all closed again; how many each server got.
    fn storm(&self, count: usize) -> Vec<usize> {
        let names: Vec<String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| self.ask(count / 8))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a client thread")).collect()
        });
        let all = names.concat();
        NAMES.iter().map(|name| all.matches(name).count()).collect()
    }
}

#[test]
fn round_robin_is_exact_whatever_the_number_of_shards() {
    for global in ["  nbthread 1\n", "  nbthread 2\n", "  nbthread 4\n", "  nbthread 2\n  tune.ring.mode portable\n"] {
        for (method, weights) in [("roundrobin", [1, 1, 1, 1]), ("roundrobin", [4, 1, 2, 3]), ("static-rr", [3, 3, 1, 1])] {
            let mut section = format!("balance {method}");
            for (name, weight) in NAMES.iter().zip(weights) {
                let _ = write!(section, "\nserver {name} @{name}@ weight {weight}");
            }
            let stage = Stage::start(Kind::Ringmain, global, &section);
            let total: usize = weights.iter().sum();
            let got = stage.storm(240);
            for ((name, weight), got) in NAMES.iter().zip(weights).zip(got) {
                let fair = 240 * weight / total;
                assert!(got.abs_diff(fair) <= weight, "{method} {weights:?} with{global}: {name} got {got} of 240, not {fair}");
            }
        }
    }
}

/// An order of the runtime socket, and how many connections after it.
type Steps = Vec<(&'static str, usize)>;

/// The same steps through both proxies, one connection after the other: the same servers in the same order.
fn same(name: &str, section: &str, steps: &[(&str, usize)]) -> String {
    let run = |kind: Kind, global: &str| {
        let stage = Stage::start(kind, global, section);
        let answers = steps.iter().map(|(order, times)| {
            if !order.is_empty() {
                let answer = stage.proxy.command(order);
                assert_eq!(answer.trim(), "", "{order}");
            }
            // One at a time: what a server holds decides.
            let ask = |_| {
                wait::until("the last one to be gone", || stage.proxy.stat("b", "BACKEND", "scur") == "0");
                stage.ask(1)
            };
            (0..*times).map(ask).collect::<String>()
        });
        answers.collect::<Vec<_>>()
    };
    let theirs = run(Kind::HaProxy, "  nbthread 1\n");
    let mut report = String::new();
    for global in ["  nbthread 1\n", "  nbthread 2\n"] {
        let ours = run(Kind::Ringmain, global);
        if ours != theirs {
            let _ = writeln!(report, "{name} with{global}  ours    {ours:?}\n  HAProxy {theirs:?}");
        }
    }
    report
}

#[test]
fn turns_are_taken_as_by_haproxy() {
    let plain = "server a @a@\nserver b @b@\nserver c @c@";
    let weighted = "server a @a@ weight 10\nserver b @b@ weight 20\nserver c @c@ weight 5";
    let backups = "server a @a@\nserver b @b@ backup\nserver c @c@ backup weight 2\nserver d @d@ backup";
    let off = [("", 4), ("disable server b/a", 6), ("disable server b/b", 4), ("enable server b/a", 4)];
    let mut cases: Vec<(String, String, Steps)> = Vec::new();
    for method in ["roundrobin", "static-rr", "first", "leastconn"] {
        cases.push((format!("{method} plain"), format!("balance {method}\n{plain}"), vec![("", 12)]));
        cases.push((format!("{method} backups"), format!("balance {method}\n{backups}"), off.to_vec()));
        // Where HAProxy goes on in a fixed map that has changed is an accident of its index, and equally idle servers are equally good.
        if method == "static-rr" || method == "leastconn" {
            continue;
        }
        cases.push((format!("{method} allbackups"), format!("balance {method}\noption allbackups\n{backups}"), off.to_vec()));
    }
    cases.push(("static-rr weighted".into(), format!("balance static-rr\n{weighted}"), vec![("", 70)]));
    let nobody = vec![("disable server b/a", 0), ("disable server b/b", 0), ("disable server b/c", 3), ("enable server b/b", 2)];
    cases.push(("nobody left".into(), format!("balance roundrobin\n{plain}"), nobody));
    let report = thread::scope(|scope| {
        let threads: Vec<_> = cases.iter().map(|(name, section, steps)| scope.spawn(|| same(name, section, steps))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a case")).collect::<String>()
    });
    assert!(report.is_empty(), "\n{report}");
}

/// Over a whole round of the weights each server has exactly its share, in any order, through changes of weight and state.
#[test]
fn shares_follow_weights_as_they_change() {
    let section = "server a @a@ weight 10\nserver b @b@ weight 20\nserver c @c@ weight 30";
    let steps = [
        ("", [10, 20, 30]),
        ("set server b/a weight 30", [30, 20, 30]),
        ("set server b/c weight 0", [30, 20, 0]),
        ("set server b/b state drain", [30, 0, 0]),
        ("set server b/c weight 100%", [30, 0, 30]),
        ("set server b/b state ready", [30, 20, 30]),
    ];
    for (kind, global) in [(Kind::HaProxy, ""), (Kind::Ringmain, "  nbthread 1\n"), (Kind::Ringmain, "  nbthread 2\n")] {
        let stage = Stage::start(kind, global, section);
        for (order, shares) in steps {
            if !order.is_empty() {
                stage.proxy.command(order);
            }
            let got = stage.ask(shares.iter().sum());
            for (name, share) in NAMES.iter().zip(shares) {
                let count = got.matches(name).count();
                assert!(
                    count.abs_diff(share) <= 2 && (share > 0 || count == 0),
                    "{kind:?} after {order:?}: {name} got {count} of {shares:?}: {got}"
                );
            }
        }
    }
}

#[test]
fn the_least_loaded_gets_the_next() {
    let section = "balance leastconn\nserver a @a@ weight 1\nserver b @b@ weight 2\nserver c @c@ weight 3";
    for (kind, global) in [(Kind::HaProxy, ""), (Kind::Ringmain, "  nbthread 1\n"), (Kind::Ringmain, "  nbthread 2\n")] {
        let stage = Stage::start(kind, global, section);
        let mut crowd = Crowd::new();
        for count in 1..=60 {
            crowd.join(stage.listen);
            crowd.wait_served(count);
        }
        let shares = crowd.shares(&NAMES[..3]);
        assert!(shares.iter().zip([10_usize, 20, 30]).all(|(got, fair)| got.abs_diff(fair) <= 1), "{kind:?}: {shares:?}");
        // All of c's leave: the next ones go there.
        let gone: Vec<usize> = (0..60).filter(|&number| crowd.server_of(number) == "c").collect();
        gone.iter().for_each(|&number| crowd.leave(number));
        wait::until("c to be idle", || stage.proxy.stat("b", "c", "scur") == "0");
        for count in 61..=85 {
            crowd.join(stage.listen);
            crowd.wait_served(count);
        }
        assert!((60..85).all(|number| crowd.server_of(number) == "c"), "{kind:?}");
    }
}

#[test]
fn the_first_with_a_free_slot_gets_the_next() {
    let section = "balance first\nserver a @a@ maxconn 2 id 30\nserver b @b@ maxconn 3 id 10\nserver c @c@ maxconn 1 id 20";
    for (kind, global) in [(Kind::HaProxy, ""), (Kind::Ringmain, "  nbthread 1\n"), (Kind::Ringmain, "  nbthread 2\n")] {
        let stage = Stage::start(kind, global, section);
        let mut crowd = Crowd::new();
        for count in 1..=6 {
            crowd.join(stage.listen);
            crowd.wait_served(count);
        }
        let order: String = (0..6).map(|number| crowd.server_of(number).to_owned()).collect();
        assert_eq!(order, "bbbcaa", "{kind:?}");
    }
}

fn sources() -> Vec<IpAddr> {
    (0..60_u8).map(|number| IpAddr::from([127, number.wrapping_mul(37), number.wrapping_mul(11), number + 1])).collect()
}

#[test]
fn a_source_reaches_the_same_server_as_with_haproxy() {
    let servers = "server a @a@ weight 10\nserver b @b@ weight 20\nserver c @c@ weight 30\nserver d @d@ weight 5";
    let orders = ["", "set server b/b state maint", "set server b/b state ready", "set server b/a state drain"];
    let weights = ["", "set server b/b weight 3", "set server b/c weight 0", "set server b/b weight 100%"];
    let hashes = [
        ("", &orders[..]),
        ("hash-type map-based wt6", &orders[..]),
        ("hash-type map-based djb2 avalanche", &orders[..]),
        ("hash-type consistent", &orders[..]),
        ("hash-type consistent sdbm avalanche", &weights[..]),
        ("hash-type consistent crc32", &weights[..]),
    ];
    let sources = sources();
    let report = thread::scope(|scope| {
        let threads = hashes.iter().map(|(hash, orders)| {
            let sources = &sources;
            scope.spawn(move || {
                let section = format!("balance source\n{hash}\n{servers}");
                let run = |kind: Kind, global: &str| {
                    let stage = Stage::start(kind, global, &section);
                    let answers = orders.iter().map(|order| {
                        if !order.is_empty() {
                            assert_eq!(stage.proxy.command(order).trim(), "", "{order}");
                        }
                        stage.ask_from(sources)
                    });
                    answers.collect::<Vec<_>>()
                };
                let (theirs, ours) = (run(Kind::HaProxy, ""), run(Kind::Ringmain, "  nbthread 2\n"));
                if ours == theirs { String::new() } else { format!("{hash}\n  ours    {ours:?}\n  HAProxy {theirs:?}\n") }
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("a hash")).collect::<String>()
    });
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn random_reaches_all_by_weight_and_load() {
    let section = "balance random(2)\nserver a @a@\nserver b @b@\nserver c @c@ weight 2";
    for (kind, global) in [(Kind::HaProxy, ""), (Kind::Ringmain, "  nbthread 2\n")] {
        let stage = Stage::start(kind, global, section);
        let mut crowd = Crowd::new();
        for count in 1..=100 {
            crowd.join(stage.listen);
            crowd.wait_served(count);
        }
        let shares = crowd.shares(&NAMES[..3]);
        assert!(shares.iter().zip([25_usize, 25, 50]).all(|(got, fair)| got.abs_diff(fair) <= 10), "{kind:?}: {shares:?}");
    }
}
