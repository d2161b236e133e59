//! Where clients are placed: by the hash of what they say, by tables while servers are drained, and counted exactly however many shards there
//! are. HAProxy runs beside with the same file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;

use endtoend::crowd::connect_from;
use endtoend::mqtt::connect_packet;
use endtoend::peer::{Peer, named};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{client, port, wait};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A proxy in front of servers that say their names.
struct Stage {
    proxy: Proxy,
    listen: u16,
    _servers: Vec<Peer>,
}

impl Stage {
    /// Five servers behind `frontend` and `backend`; `@NAME@` is a server's address.
    fn start(kind: Kind, global: &str, frontend: &str, backend: &str) -> Self {
        let servers: Vec<_> = NAMES.iter().map(|name| Peer::start(named(name))).collect();
        let listen = port::free();
        let mut text = format!(
            "global\n  stats socket @SOCKET@ level admin\n{global}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  \
             timeout server 30s\nfrontend f\n  bind 127.0.0.1:{listen}\n{frontend}\n  default_backend b\nbackend b\n{backend}\n"
        );
        for (name, server) in NAMES.iter().zip(&servers) {
            let _ = writeln!(text, "  server {name} 127.0.0.1:{}", server.port());
        }
        Self { proxy: Proxy::start(kind, &text), listen, _servers: servers }
    }

    fn order(&self, order: &str) {
        assert_eq!(self.proxy.command(order).trim(), "", "{order}");
    }

    /// The server that a client with these first bytes gets; the client leaves before the next one comes.
    fn server_of(&self, first: &[u8]) -> String {
        let mut stream = client::connect(self.listen);
        stream.write_all(first).expect("send the first bytes");
        let name = client::server_name(&stream).expect("a server");
        client::reset(stream);
        wait::until("the session to end", || self.proxy.stat("b", "BACKEND", "scur") == "0");
        name
    }

    fn homes(&self, ids: &[String]) -> BTreeMap<String, String> {
        ids.iter().map(|id| (id.clone(), self.server_of(&connect_packet(id)))).collect()
    }
}

const MQTT: &str = "  tcp-request inspect-delay 10s\n  tcp-request content reject unless { req.payload(0,0),mqtt_is_valid }";

/// HAProxy 2.6 does not see the request's bytes any more when it balances: every key is empty there. What it noted before counts.
const NOTED: &str = "  tcp-request inspect-delay 10s\n  \
                     tcp-request content set-var(txn.id) req.payload(0,0),mqtt_field_value(connect,client_identifier)\n  \
                     tcp-request content reject unless { req.payload(0,0),mqtt_is_valid }";

#[test]
fn client_ids_are_placed_by_hash_as_by_haproxy_and_few_move() {
    let ids: Vec<String> = (0..200).map(|number| format!("meter-{number}")).collect();
    let run = |kind: Kind, global: &str, frontend: &str, key: &str| {
        let stage = Stage::start(kind, global, frontend, &format!("  balance hash {key}\n  hash-type consistent"));
        let all = stage.homes(&ids);
        stage.order("set server b/c state maint");
        let without = stage.homes(&ids);
        stage.order("set server b/c state ready");
        [all, without, stage.homes(&ids)]
    };
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| run(Kind::HaProxy, "", NOTED, "var(txn.id)"));
        let key = "req.payload(0,0),mqtt_field_value(connect,client_identifier)";
        let ours = [("  nbthread 1\n", MQTT, key), ("  nbthread 2\n", MQTT, key), ("  nbthread 2\n", NOTED, "var(txn.id)")]
            .map(|(global, frontend, key)| run(Kind::Ringmain, global, frontend, key));
        (theirs.join().expect("HAProxy's choices"), ours)
    });
    for [all, without, again] in &ours {
        for (id, home) in all {
            assert_eq!(*home, theirs[0][id], "{id} with all servers");
            assert_eq!(without[id], theirs[1][id], "{id} without one");
            assert_eq!(again[id], *home, "{id} with all servers again");
            assert!(home == "c" || without[id] == *home, "{id} moved from {home} to {}", without[id]);
        }
        let moved = all.values().filter(|home| *home == "c").count();
        assert!((10..=80).contains(&moved), "a fifth of 200, more or less: {moved}");
    }
}

#[test]
fn drained_servers_keep_those_who_stick_to_them() {
    let backend = "  stick-table type string len 32 size 1k expire 30m\n  \
                   stick on req.payload(0,0),mqtt_field_value(connect,client_identifier)";
    let old: Vec<String> = (0..10).map(|number| format!("old-{number}")).collect();
    let new: Vec<String> = (0..8).map(|number| format!("new-{number}")).collect();
    let newest: Vec<String> = (0..5).map(|number| format!("newest-{number}")).collect();
    let run = |kind: Kind, global: &str| {
        let stage = Stage::start(kind, global, MQTT, backend);
        let before = stage.homes(&old);
        stage.order("set server b/c state drain");
        let drained = [stage.homes(&old), stage.homes(&new)];
        stage.order("set server b/c state maint");
        let gone = stage.homes(&old);
        stage.order("set server b/c state ready");
        (before, drained, gone, stage.homes(&old), stage.homes(&newest))
    };
    let theirs = run(Kind::HaProxy, "");
    for global in ["  nbthread 1\n", "  nbthread 2\n"] {
        let ours = run(Kind::Ringmain, global);
        let (before, [still, new], gone, after, newest) = &ours;
        assert_eq!(still, before, "those who stick to it come back");
        assert!(before.values().any(|home| home == "c") && new.values().all(|home| home != "c"), "nobody new");
        assert!(gone.values().all(|home| home != "c"), "in maintenance it serves nobody");
        assert_eq!(after, gone, "those who moved stay where they are");
        assert!(newest.values().any(|home| home == "c"), "ready again");
        assert!(ours == theirs, "with{global}\n{ours:#?}\nHAProxy\n{theirs:#?}");
    }
}

/// What `show table` says of each key.
fn entries(proxy: &Proxy) -> BTreeMap<String, BTreeMap<String, u64>> {
    let answer = proxy.command("show table f");
    let entry = |line: &str| {
        let (_, rest) = line.split_once("key=")?;
        let (key, facts) = rest.split_once(' ')?;
        let facts = facts.split_whitespace().filter_map(|fact| fact.split_once('='));
        Some((key.to_owned(), facts.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()))
    };
    answer.lines().filter_map(entry).collect()
}

/// Sources come through all shards at once: no connection is counted twice or not at all.
#[test]
fn counters_are_exact_on_two_shards() {
    const SOURCES: u8 = 5;
    const EACH: usize = 100;
    const KEPT: usize = 7;
    let frontend = "  stick-table type ip size 100 expire 10m store conn_cnt,conn_cur,sess_cnt,gpc0,gpc1,bytes_in_cnt,bytes_out_cnt\n  \
                    tcp-request connection track-sc0 src\n  tcp-request session sc-inc-gpc0(0)\n  \
                    tcp-request content sc-inc-gpc1(0)";
    for global in ["  nbthread 2\n", "  nbthread 2\n  tune.ring.mode portable\n"] {
        let stage = Stage::start(Kind::Ringmain, global, frontend, "");
        let come = |source: u8| -> Vec<TcpStream> {
            let streams = (0..EACH).map(|_| {
                let stream = connect_from([127, 0, 0, source].into(), stage.listen);
                client::server_name(&stream).expect("a server");
                stream
            });
            let mut streams: Vec<_> = streams.collect();
            streams.split_off(EACH - KEPT)
        };
        let kept: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=SOURCES).map(|source| scope.spawn(move || come(source))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a client thread")).collect()
        });
        let expect = |open: usize| {
            let (each, open) = (EACH as u64, open as u64);
            wait::until("sessions to end", || entries(&stage.proxy).values().all(|entry| entry["conn_cur"] == open));
            let mut wanted = vec![("conn_cnt", each), ("conn_cur", open), ("sess_cnt", each), ("gpc0", each), ("gpc1", each)];
            if open == 0 {
                // While sessions run their bytes are told now and then. "a\n" is what each of them got.
                wanted.extend([("bytes_in_cnt", 0), ("bytes_out_cnt", 2 * each)]);
            }
            let entries = entries(&stage.proxy);
            assert_eq!(entries.len(), usize::from(SOURCES));
            for (source, entry) in entries {
                let got: Vec<_> = wanted.iter().map(|(name, _)| (*name, entry[*name])).collect();
                assert_eq!(got, wanted, "{source} with{global}");
            }
        };
        expect(KEPT);
        drop(kept);
        expect(0);
    }
}
