//! What is measured: each piece of work with its data.

use std::fmt::Write;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ringmain::config::check::{Context, Names};
use ringmain::config::environment::Environment;
use ringmain::config::haproxy::log_format;
use ringmain::config::load_texts;
use ringmain_model::pattern::{MatchMethod, Pattern, Patterns};
use ringmain_model::table::{Column, DataType, KeyType, Table};
use ringmain_model::{Milliseconds, Model};
use ringmain_policy::balance::{Input, Key, Load, Picker, ServerView};
use ringmain_policy::expression::testing::{Literal, expression};
use ringmain_policy::expression::{Evaluation, evaluate};
use ringmain_policy::log::Renderer;
use ringmain_policy::pattern;
use ringmain_policy::record::{Captures, Connections, Peer, Record, Termination, Timers};
use ringmain_policy::table::{self, Request, Share, StickServer};
use ringmain_wire::syslog::{self, Date, Envelope};

/// Servers of the configuration that is loaded.
const CONFIGURED: usize = 1000;
/// Servers to choose from.
const CANDIDATES: usize = 100;
/// Keys of the stick table.
const KEYS: u64 = 100_000;
/// Longest log line, in bytes.
const LINE_BYTES: usize = 1024;

/// One thing to measure.
pub struct Work {
    /// Its name on the command line and in files.
    pub name: &'static str,
    /// Does it once.
    pub run: Box<dyn FnMut()>,
}

/// Everything there is to measure.
pub fn all() -> Vec<Work> {
    let mut all = vec![
        load("load/haproxy-1000-servers", "bench.cfg", haproxy_text()),
        load("load/toml-1000-servers", "bench.toml", toml_text()),
        build("balance/build-1000-servers"),
    ];
    for (name, balance) in [
        ("balance/pick-roundrobin", "roundrobin"),
        ("balance/pick-static-rr", "static-rr"),
        ("balance/pick-leastconn", "leastconn"),
        ("balance/pick-first", "first"),
        ("balance/pick-source", "source"),
        ("balance/pick-source-consistent", "source\n    hash-type consistent"),
        ("balance/pick-random", "random(2)"),
    ] {
        all.push(pick(name, balance));
    }
    all.push(stick_table("table/match-100k-keys"));
    all.extend([client_id("expression/mqtt-client-id"), condition("expression/acl-1000-networks")]);
    all.extend([render("log/tcp-line"), envelope("syslog/rfc3164", syslog::rfc3164), envelope("syslog/rfc5424", rfc5424)]);
    all
}

struct NoNames;

impl Names for NoNames {
    fn host(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn user(&self, _: &str) -> Option<u32> {
        None
    }

    fn group(&self, _: &str) -> Option<u32> {
        None
    }
}

fn model(name: &str, text: &str) -> Model {
    let context = Context { descriptor_limit: 100_000, cpu_count: 2, host_name: "bench", names: &NoNames };
    let loaded = load_texts(&[(name, text)], Environment::default(), &context);
    loaded.model.unwrap_or_else(|| panic!("the bench's configuration has errors: {:?}", loaded.diagnostics))
}

fn load(name: &'static str, file: &'static str, text: String) -> Work {
    assert_eq!(model(file, &text).servers.len(), CONFIGURED, "{name}");
    Work { name, run: Box::new(move || drop(black_box(model(file, black_box(&text))))) }
}

fn haproxy_text() -> String {
    let mut text =
        "global\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n".to_owned();
    text.push_str("frontend f\n  bind 127.0.0.1:8000\n  option tcplog\n  default_backend b0\n");
    for backend in 0..CONFIGURED / 100 {
        let _ = writeln!(text, "backend b{backend}\n  balance leastconn");
        for server in 0..100 {
            let _ = writeln!(text, "  server s{server} 10.1.{backend}.{server}:1883 check inter 2s weight {} maxconn 500", server + 1);
        }
    }
    text
}

fn toml_text() -> String {
    let mut text =
        "[global]\nmaxconn = 1000\n[defaults]\nmode = \"tcp\"\ntimeout = { connect = \"5s\", client = \"1m\", server = \"1m\" }\n"
            .to_owned();
    text.push_str("[frontend.f]\nbind = [\"127.0.0.1:8000\"]\ndefault_backend = \"b0\"\n");
    for backend in 0..CONFIGURED / 100 {
        let _ = writeln!(text, "[backend.b{backend}]\nbalance = \"leastconn\"\nservers = [");
        for server in 0..100 {
            let _ = writeln!(
                text,
                "  {{ name = \"s{server}\", address = \"10.1.{backend}.{server}:1883\", check = true, inter = \"2s\", weight = {}, maxconn = 500 }},",
                server + 1
            );
        }
        text.push_str("]\n");
    }
    text
}

fn views(count: usize) -> Vec<ServerView> {
    let view = |index: usize| {
        let weight = (index % 7 + 1) as u16;
        ServerView { id: index as u32 + 1, usable: true, backup: false, configured_weight: weight, weight, throttle: 16 }
    };
    (0..count).map(view).collect()
}

fn backend_of(balance: &str) -> ringmain_model::Backend {
    let text = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\nlisten b\n  bind 127.0.0.1:8000\n  balance {balance}\n  server s 127.0.0.1:1\n"
    );
    model("bench.cfg", &text).backends.swap_remove(0)
}

fn build(name: &'static str) -> Work {
    let (backend, views) = (backend_of("roundrobin"), views(1000));
    Work { name, run: Box::new(move || drop(black_box(Picker::build(&backend, black_box(&views))))) }
}

/// A stick table of clients that return one after the other. It is filled at the first use: the other benches need not wait for it.
fn stick_table(name: &'static str) -> Work {
    let column = |data| Column { data, period: None, length: 1 };
    let declared = Table {
        name: "b".into(),
        key: KeyType::String { length: 32 },
        size: KEYS as u32,
        expire: Some(Milliseconds(1_800_000)),
        no_purge: false,
        write_to: None,
        columns: vec![column(DataType::ServerId), column(DataType::ServerKey)],
    };
    let key = |number: u64| table::Key::new(format!("client-{number:013}").as_bytes());
    let fill = move || {
        let mut share = Share::new(&declared, 0, 1, 1);
        for number in 0..KEYS {
            let server = StickServer { id: 1, name: "s1".into() };
            share.apply(0, &Request::Store { key: key(number), server });
        }
        share
    };
    let (mut share, mut turn) = (None, 0_u64);
    let run = move || {
        turn += 1;
        // The step has no factor in common with the number of keys, so that each comes, far from the one before.
        let request = Request::Match { key: key(turn.wrapping_mul(70_001) % KEYS) };
        black_box(share.get_or_insert_with(&fill).apply(turn / 1000, &request));
    };
    Work { name, run: Box::new(run) }
}

/// Every server has a free slot and some connections, no two neighbours the same number.
fn pick(name: &'static str, balance: &str) -> Work {
    let picker = Picker::build(&backend_of(balance), &views(CANDIDATES));
    let ticket = AtomicU64::new(0);
    let mut state = 1_u64;
    let run = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut random = state;
        let choice = picker.pick(Input {
            ticket: &ticket,
            key: Key::Address(IpAddr::V4(Ipv4Addr::from_bits((state >> 32) as u32))),
            load: |index: usize| Load { active: (index * 37 % 101) as u32, limit: 500, ..Load::default() },
            random: || {
                random = random.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                random
            },
            exclude: None,
        });
        assert!(black_box(choice).server().is_some());
    };
    Work { name, run: Box::new(run) }
}

/// A client's CONNECT, and its identifier by HAProxy's converter.
fn client_id(name: &'static str) -> Work {
    let connect = b"\x10\x15\x00\x04MQTT\x04\x02\x00\x3c\x00\x09client-42";
    let facts = Literal::of_request(connect, true);
    let source = "req.payload(0,0),mqtt_field_value(connect,client_identifier)";
    let expression = expression(source).unwrap_or_else(|message| panic!("{message}"));
    let run = move || {
        let evaluation = Evaluation { facts: &facts, is_final: true };
        let sample = evaluate(black_box(&expression), evaluation);
        assert!(black_box(sample).is_ok());
    };
    Work { name, run: Box::new(run) }
}

/// A client's address among networks, the last of which it is in.
fn condition(name: &'static str) -> Work {
    let network = |number: u32| Pattern::Ipv4(Ipv4Addr::from_bits(0x0a00_0000 + (number << 8)), Ipv4Addr::new(255, 255, 255, 0));
    let patterns = Patterns::new(MatchMethod::Ip, false, (0..1000).map(network).collect());
    let expression = expression("src").unwrap_or_else(|message| panic!("{message}"));
    let client = Ipv4Addr::from_bits(0x0a00_0000 + (999 << 8) + 7);
    let facts = Literal { client: Some((client, 1883).into()), ..Literal::default() };
    let run = move || {
        let sample = evaluate(black_box(&expression), Evaluation { facts: &facts, is_final: true });
        let found = sample.ok().and_then(|sample| pattern::find(&patterns, &sample.value));
        assert_eq!(black_box(found), Some(999));
    };
    Work { name, run: Box::new(run) }
}

fn peer(port: u16) -> Peer {
    Peer::Inet((Ipv4Addr::new(10, 0, 1, 2), port).into())
}

fn record(moment: u64) -> Record<'static> {
    Record {
        accepted_us: 1_795_284_670_000_000 + moment,
        client: peer(33_313),
        local: peer(80),
        bind_id: 1,
        frontend: "mqtt-in",
        tls: None,
        backend: "brokers",
        server: Some("emqx1"),
        server_address: Some(peer(1883)),
        source_address: Some(peer(40_000)),
        timers: Timers { handshake_ms: 0, queue_ms: 0, connect_ms: 1, data_ms: 5006, total_ms: 5007 },
        bytes_to_client: 212_000,
        bytes_from_client: 9_000,
        termination: Termination::NORMAL,
        connections: Connections { process: 400, frontend: 300, backend: 200, server: 100 },
        retries: 0,
        redispatched: false,
        server_queue: 0,
        backend_queue: 0,
        session_number: 10,
        log_number: 11,
        early: false,
        captures: Captures::default(),
    }
}

fn render(name: &'static str) -> Work {
    let format = log_format::tcp();
    let mut renderer = Renderer::new("bench".into(), 77, Arc::default());
    let mut line = Vec::with_capacity(LINE_BYTES);
    let mut moment = 0;
    let run = move || {
        // A thousand lines a second: the date is new now and then.
        moment += 1000;
        line.clear();
        renderer.render(&format, black_box(&record(moment)), None, LINE_BYTES, &mut line);
        assert!(!black_box(&line).is_empty());
    };
    Work { name, run: Box::new(run) }
}

fn rfc5424(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    syslog::rfc5424(envelope, b"-", out);
}

fn envelope(name: &'static str, frame: fn(&Envelope<'_>, &mut Vec<u8>)) -> Work {
    let mut line = Vec::with_capacity(LINE_BYTES);
    let mut moment = 1_795_284_670_000_000;
    let run = move || {
        moment += 1000;
        line.clear();
        let date = Date::new(black_box(moment), 3600);
        frame(&Envelope { facility: 16, severity: 6, date, hostname: Some("bench"), tag: "ringmain", process_id: 77 }, &mut line);
        assert!(!black_box(&line).is_empty());
    };
    Work { name, run: Box::new(run) }
}
