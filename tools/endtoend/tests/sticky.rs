//! Client ids on their brokers: the MQTT configuration of the first document, three real mosquitto brokers, and HAProxy's answers where
//! it has any.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use endtoend::logs::Logs;
use endtoend::mqtt::{Broker, broker_of, connect_packet};
use endtoend::peer::{Peer, named};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{client, port, wait};
use nix::sys::signal::Signal;

/// The document's sections, the blanks after commas as it has them.
const BACKEND: &str = "backend mqtt_backend\n  mode tcp\n  stick-table type string len 32 size 100k expire 30m\n  \
                       stick on req.payload(0,0), mqtt_field_value(connect, client_identifier)\n";

fn frontend(listen: u16, delay: &str) -> String {
    format!(
        "frontend mqtt_servers\n  bind 127.0.0.1:{listen}\n  mode tcp\n  # MQTTメッセージ解析のためバッファが溜まるのを待つ\n  \
         tcp-request inspect-delay {delay}\n  # MQTT以外の接続を拒否\n  \
         tcp-request content reject unless {{ req.payload(0,0), mqtt_is_valid }}\n  default_backend mqtt_backend\n"
    )
}

fn global(shards: u32, log: u16) -> String {
    format!(
        "global\n  log 127.0.0.1:{log} local3 info\n  maxconn 5000\n  nbthread {shards}\n  stats socket @SOCKET@ level admin\n\n\
         defaults\n  log global\n  mode tcp\n  option tcplog\n  timeout connect 10000\n  timeout client 240s\n  timeout server 240s\n  \
         maxconn 2000\n\n"
    )
}

struct Cluster {
    brokers: Vec<Broker>,
    listen: u16,
    logs: Logs,
    proxy: Proxy,
    text: String,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// `options` go to the backend, `server` to each of its servers.
    fn start(shards: u32, options: &str, server: &str) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let brokers: Vec<_> = (1..=3).map(|number| Broker::start(folder.path(), port::free(), &format!("emqx{number}"))).collect();
        let (listen, logs) = (port::free(), Logs::start());
        let mut text = global(shards, logs.port()) + BACKEND + options;
        for broker in &brokers {
            let _ = writeln!(text, "  server {} 127.0.0.1:{} {server}", broker.name, broker.port);
        }
        text += &frontend(listen, "10s");
        let proxy = Proxy::start(Kind::Ringmain, &text);
        Self { brokers, listen, logs, proxy, text, folder }
    }

    /// Where each of these ids is served, asked over several connections at once.
    fn homes(&self, ids: &[String]) -> HashMap<String, String> {
        let listen = self.listen;
        std::thread::scope(|scope| {
            let parts: Vec<_> = ids.chunks(ids.len().div_ceil(4).max(1)).collect();
            let threads: Vec<_> = parts
                .into_iter()
                .map(|part| {
                    scope.spawn(move || {
                        let home = |id: &String| (id.clone(), broker_of(listen, id).unwrap_or_else(|| panic!("{id} is not served")));
                        part.iter().map(home).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a client thread")).collect()
        })
    }
}

/// A shuffle that is the same in every run (xorshift).
fn shuffled(ids: &[String], seed: u64) -> Vec<String> {
    let (mut ids, mut state) = (ids.to_vec(), seed | 1);
    for index in (1..ids.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ids.swap(index, (state % (index as u64 + 1)) as usize);
    }
    ids
}

fn a_thousand_ids_keep_their_brokers(shards: u32) {
    let cluster = Cluster::start(shards, "", "");
    let ids: Vec<String> = (0..1000).map(|number| format!("meter-{number}")).collect();
    let homes = cluster.homes(&ids);
    let share = |name: &str| homes.values().filter(|home| *home == name).count();
    let shares = [share("emqx1"), share("emqx2"), share("emqx3")];
    assert!(shares.iter().all(|share| (323..=344).contains(share)), "turns are even: {shares:?}");
    assert_eq!(cluster.homes(&shuffled(&ids, 7)), homes, "every id is back on its broker");
    cluster.proxy.reload(&cluster.text.replace("maxconn 5000", "maxconn 4000"));
    assert_eq!(cluster.homes(&shuffled(&ids, 11)), homes, "also after a reload");
}

#[test]
fn ids_keep_their_brokers_on_one_shard() {
    a_thousand_ids_keep_their_brokers(1);
}

#[test]
fn ids_keep_their_brokers_on_two_shards() {
    a_thousand_ids_keep_their_brokers(2);
}

#[test]
fn ids_of_a_dead_broker_move_once() {
    let mut cluster = Cluster::start(2, "  option redispatch\n", "check inter 100 rise 2 fall 2");
    let ids: Vec<String> = (0..150).map(|number| format!("meter-{number}")).collect();
    let before = cluster.homes(&ids);
    let victim = cluster.brokers[1].port;
    cluster.brokers[1].process.signal(Signal::SIGKILL);
    cluster.brokers[1].process.wait(Duration::from_secs(5));
    cluster.logs.wait_for("Server mqtt_backend/emqx2 is DOWN");
    let during = cluster.homes(&shuffled(&ids, 3));
    for id in &ids {
        assert_ne!(during[id], "emqx2", "{id}");
        assert!(before[id] == "emqx2" || during[id] == before[id], "{id} was not concerned");
    }
    cluster.brokers[1] = Broker::start(cluster.folder.path(), victim, "emqx2");
    cluster.logs.wait_for("Server mqtt_backend/emqx2 is UP");
    assert_eq!(cluster.homes(&shuffled(&ids, 5)), during, "those that moved stay where they are");
}

/// What a proxy does with one client: the flags of its line, the bytes it answers, and whether it closed before the delay.
fn fate(kind: Kind, first: &[u8], closes: bool) -> (String, Vec<u8>, bool) {
    let (listen, logs) = (port::free(), Logs::start());
    let server = Peer::start(named("broker"));
    let mut text = global(1, logs.port()) + BACKEND;
    let _ = writeln!(text, "  server one 127.0.0.1:{}", server.port());
    text += &frontend(listen, "700");
    if kind == Kind::HaProxy {
        text = text.replace(", mqtt", ",mqtt").replace("(connect, ", "(connect,");
    }
    let proxy = Proxy::start(kind, &text);
    let mut stream = client::connect(listen);
    let started = Instant::now();
    stream.write_all(first).expect("send the first bytes");
    if closes {
        client::half_close(&stream);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let early = started.elapsed() < Duration::from_millis(600);
    drop(stream);
    let line = logs.wait_for("mqtt_servers ");
    drop(proxy);
    let flags = line.split_whitespace().find(|word| word.len() == 2 && word.chars().all(|letter| letter.is_alphabetic() || letter == '-'));
    (flags.unwrap_or_else(|| panic!("no flags in {line}")).to_owned(), answer, early)
}

#[test]
fn what_is_not_mqtt_is_closed_as_haproxy_does() {
    let connect = connect_packet("meter");
    let half = &connect[..connect.len() / 2];
    let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 194]].concat();
    let cases: [(&str, &[u8], bool); 6] = [
        ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", false),
        ("tls", &hello, false),
        ("garbage", &[0xff; 40], false),
        ("half a CONNECT", half, false),
        ("half a CONNECT and the end", half, true),
        ("nothing and the end", b"", true),
    ];
    for (name, first, closes) in cases {
        let (ours, theirs) = (fate(Kind::Ringmain, first, closes), fate(Kind::HaProxy, first, closes));
        assert_eq!(ours, theirs, "{name}: flags, answer, closed before the delay");
        assert_eq!(ours.0, "PR", "{name}");
    }
}

#[test]
fn a_connect_that_comes_byte_by_byte_is_served() {
    let cluster = Cluster::start(1, "", "");
    let mut stream = client::connect(cluster.listen);
    stream.set_nodelay(true).expect("set an option");
    for byte in connect_packet("slow") {
        stream.write_all(&[byte]).expect("send a byte");
        std::thread::yield_now();
    }
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("a CONNACK");
    assert_eq!(answer, [0x20, 2, 0, 0]);
}

/// Lines of `show table` without what differs between any two processes: address, remaining time.
fn keys(proxy: &Proxy) -> Vec<String> {
    let table = proxy.command("show table mqtt_backend");
    let mut keys: Vec<_> = table.lines().filter_map(|line| line.split_once("key=")).map(|(_, rest)| rest.to_owned()).collect();
    keys.iter_mut().for_each(|line| {
        *line = line.split_whitespace().filter(|word| !word.starts_with("exp=")).collect::<Vec<_>>().join(" ");
    });
    keys.sort();
    keys
}

#[test]
fn long_ids_are_cut_as_in_haproxy() {
    let mut seen = Vec::new();
    for kind in [Kind::Ringmain, Kind::HaProxy] {
        let (listen, logs) = (port::free(), Logs::start());
        let servers = [Peer::start(named("a")), Peer::start(named("b"))];
        let mut text = global(1, logs.port()) + BACKEND;
        for (number, server) in servers.iter().enumerate() {
            let _ = writeln!(text, "  server s{number} 127.0.0.1:{}", server.port());
        }
        text += &frontend(listen, "5s");
        if kind == Kind::HaProxy {
            text = text.replace(", mqtt", ",mqtt").replace("(connect, ", "(connect,");
        }
        let proxy = Proxy::start(kind, &text);
        let mut chosen = Vec::new();
        // The last one differs from the one before only behind the table's length.
        let long = "x".repeat(32);
        for id in ["a", &"b".repeat(31), &"c".repeat(32), &"d".repeat(33), &format!("{long}1"), &format!("{long}2"), &"e".repeat(200)] {
            let mut stream = client::connect(listen);
            stream.write_all(&connect_packet(id)).expect("send a CONNECT");
            chosen.push(client::server_name(&stream).expect("a server"));
        }
        seen.push((chosen, keys(&proxy)));
    }
    assert_eq!(seen[0], seen[1]);
}

/// Two connections with the same new key at the same moment, many times: never two servers.
#[test]
fn one_new_key_never_gets_two_servers() {
    let listen = port::free();
    let servers: Vec<_> = ["a", "b", "c"].into_iter().map(|name| Peer::start(named(name))).collect();
    let mut text = format!(
        "global\n  nbthread 2\n  maxconn 4000\n  stats socket @SOCKET@ level admin\n\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
         timeout client 30s\n  timeout server 30s\n\nfrontend keys\n  bind 127.0.0.1:{listen}\n  tcp-request inspect-delay 10s\n  \
         tcp-request content accept if {{ req.len ge 8 }}\n  default_backend keys_backend\n\nbackend keys_backend\n  \
         stick-table type string len 16 size 200k expire 30m\n  stick on req.payload(0,8)\n"
    );
    for (number, server) in servers.iter().enumerate() {
        let _ = writeln!(text, "  server s{number} 127.0.0.1:{}", server.port());
    }
    let proxy = Proxy::start(Kind::Ringmain, &text);
    let rounds: usize = std::env::var("STICKY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2_000);
    let barrier = Barrier::new(2);
    let ask = || {
        let answers = (0..rounds).map(|round| {
            let mut stream = TcpStream::connect(("127.0.0.1", listen)).expect("connect");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set an option");
            barrier.wait();
            stream.write_all(format!("{round:08}").as_bytes()).expect("send a key");
            let name = client::server_name(&stream).expect("a server's name");
            // The kernel keeps no memory of connections that were reset.
            client::reset(stream);
            name
        });
        answers.collect::<Vec<_>>()
    };
    let (left, right) = std::thread::scope(|scope| {
        let (left, right) = (scope.spawn(ask), scope.spawn(ask));
        (left.join().expect("a client thread"), right.join().expect("a client thread"))
    });
    let differing = left.iter().zip(&right).filter(|(left, right)| left != right).count();
    assert_eq!(differing, 0, "of {rounds} keys");
    let counts = ["a", "b", "c"].map(|name| left.iter().filter(|server| *server == name).count());
    assert!(counts.iter().all(|count| *count > rounds / 6), "all servers are used: {counts:?}");
    wait::until("all sessions to end", || proxy.stat("keys_backend", "BACKEND", "scur") == "0");
}

/// Which connections of a schedule are served, by source address.
fn served_by(kind: Kind, rule: &str) -> Vec<bool> {
    let listen = port::free();
    let server = Peer::start(named("a"));
    let text = format!(
        "global\n  stats socket @SOCKET@ level admin\n\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  \
         timeout server 30s\n\nfrontend limited\n  bind 127.0.0.1:{listen}\n  stick-table type ip size 1k expire 1m store \
         conn_rate(60s),conn_cnt,conn_cur,gpc0\n{rule}  default_backend servers\n\nbackend servers\n  server one 127.0.0.1:{}\n",
        server.port()
    );
    let proxy = Proxy::start(kind, &text);
    let mut kept = Vec::new();
    let mut served = Vec::new();
    for turn in 0..60u8 {
        let source = [127, 0, 0, 2 + (turn % 5 * 7 % 5)];
        let stream = endtoend::crowd::connect_from(source.into(), listen);
        served.push(client::server_name(&stream).is_some());
        if turn % 3 == 0 {
            kept.push(stream);
        } else {
            drop(stream);
            // What is counted as open must have been seen to close before the next one comes.
            let open = kept.len().to_string();
            wait::until("a session to end", || {
                let current = proxy.stat("servers", "one", "scur");
                current.parse::<usize>().is_ok_and(|current| current <= open.parse().unwrap_or(0))
            });
        }
    }
    served
}

#[test]
fn rates_and_counts_refuse_whom_haproxy_refuses() {
    let rules = [
        "  tcp-request connection track-sc0 src\n  tcp-request connection reject if { sc_conn_rate(0) gt 7 }\n",
        "  tcp-request content track-sc1 src\n  tcp-request content reject if { sc1_conn_cnt ge 5 }\n",
        "  tcp-request session track-sc2 src\n  tcp-request content sc-inc-gpc0(2)\n  tcp-request content reject if { sc2_get_gpc0 gt 6 }\n",
        "  tcp-request connection track-sc0 src\n  tcp-request connection reject if { src_conn_cur gt 2 }\n",
    ];
    for rule in rules {
        let (ours, theirs) = (served_by(Kind::Ringmain, rule), served_by(Kind::HaProxy, rule));
        assert_eq!(ours, theirs, "{rule}");
        assert!(ours.contains(&true) && ours.contains(&false), "the schedule meets the limit: {rule}");
    }
}
