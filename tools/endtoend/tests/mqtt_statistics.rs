//! `show mqtt` and the warning about keep alive: what is counted with rules and without, for every version, in pieces, and for what is no MQTT.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use endtoend::client::{connect, drain};
use endtoend::logs::Logs;
use endtoend::mqtt::{Broker, Client, connect_packet, connect_packet_v5};
use endtoend::peer::Peer;
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};

const ONE: &str = "nbthread 1";
const TWO: &str = "nbthread 2";
const PORTABLE: &str = "tune.ring.mode portable";

struct Stage {
    proxy: Proxy,
    listen: u16,
    logs: Logs,
}

/// A proxy with these lines in `global`: `front` and `back` are lines of frontend `f` and backend `b`, whose only server has this port.
fn start(global: &str, front: &str, back: &str, server: u16) -> Stage {
    let (listen, logs) = (port::free(), Logs::start());
    let text = format!(
        "global\n  log 127.0.0.1:{} local0\n  {global}\n  stats socket @SOCKET@ level admin\ndefaults\n  mode tcp\n  log global\n  \
         timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n\
         frontend f\n  bind 127.0.0.1:{listen}\n  default_backend b\n  {front}\nbackend b\n  {back}\n  server s 127.0.0.1:{server}\n",
        logs.port()
    );
    Stage { proxy: Proxy::start(Kind::Ringmain, &text), listen, logs }
}

impl Stage {
    /// Waits until a line of `show mqtt` is there for a proxy.
    fn expect(&self, proxy: &str, line: &str) {
        let shown = || self.proxy.command("show mqtt");
        let found = || {
            let text = shown();
            let mut section = text.lines().skip_while(|other| *other != proxy).skip(1).take_while(|other| other.starts_with("  "));
            section.any(|other| other.trim() == line)
        };
        assert!(wait::reached(wait::SOON, found), "no '{line}' for {proxy} in\n{}", shown());
    }
}

/// Sends bytes in pieces and returns the connection.
fn say(port: u16, pieces: &[&[u8]]) -> TcpStream {
    let mut stream = connect(port);
    stream.set_nodelay(true).expect("set an option");
    for piece in pieces {
        stream.write_all(piece).expect("send");
        thread::sleep(Duration::from_millis(2));
    }
    stream
}

fn answer(stream: &mut TcpStream) -> [u8; 4] {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).expect("a CONNACK");
    bytes
}

/// CONNECT of MQTT 3.1.
fn connect_packet_v31(id: &str) -> Vec<u8> {
    let mut body = b"\x00\x06MQIsdp\x03\x02\x00\x3c".to_vec();
    body.extend((id.len() as u16).to_be_bytes());
    body.extend(id.as_bytes());
    let mut packet = vec![0x10, body.len() as u8];
    packet.extend(body);
    packet
}

const RULES: &str = "tcp-request inspect-delay 5s\n  tcp-request content reject unless { req.payload(0,0),mqtt_is_valid }";

fn counts_of_every_kind(global: &str, front: &str, back: &str) {
    let folder = tempfile::tempdir().expect("make a folder");
    let broker = Broker::start(folder.path(), port::free(), "one");
    let stage = start(global, front, back, broker.port);
    for number in 0..3 {
        Client::connect(stage.listen, &format!("three-{number}")).expect("a CONNACK").disconnect();
    }
    for packet in [connect_packet_v31("old"), connect_packet("pieces"), connect_packet_v5("new")] {
        let pieces: Vec<&[u8]> = packet.chunks(1).collect();
        let mut stream = say(stage.listen, &pieces);
        assert_eq!(answer(&mut stream)[0], 0x20);
    }
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &b"\x16\x03\x01\x02\x00\x01\x00"[..], &connect_packet("half")[..9]] {
        let mut stream = say(stage.listen, &[bytes]);
        stream.shutdown(std::net::Shutdown::Write).expect("shut down");
        drain(&mut stream);
    }
    stage.expect("frontend f", "CONNECT 3.1: 1, 3.1.1: 4, 5.0: 1, invalid: 3, too large: 0");
    stage.expect("frontend f", "CONNACK of version 3, code 0 (accepted): 5");
    stage.expect("frontend f", "CONNACK of version 5, code 0 (success): 1");
    stage.expect("frontend f", "CONNACK invalid: 0");
    stage.expect("backend b", "CONNACK of version 5, code 0 (success): 1");
    let text = stage.proxy.command("show mqtt");
    assert_eq!(text.matches("(6 answers)").count(), 2, "times in frontend and backend: {text}");
    let json = stage.proxy.command("show mqtt json");
    assert!(json.starts_with("[{\"proxy\":\"f\",\"type\":\"frontend\",\"connects\":{\"3.1\":1,\"3.1.1\":4,\"5.0\":1}"), "{json}");
    assert!(json.contains("\"connack_ms\":{\"count\":6,\"p50\":"), "{json}");
    stage.proxy.command("clear counters all");
    assert!(stage.proxy.command("show mqtt").starts_with("No MQTT has been seen."));
    Client::connect(stage.listen, "after").expect("a CONNACK").disconnect();
    stage.expect("frontend f", "CONNECT 3.1: 0, 3.1.1: 1, 5.0: 0, invalid: 0, too large: 0");
}

#[test]
fn rules_that_look_at_mqtt_have_it_counted() {
    counts_of_every_kind(ONE, RULES, "balance roundrobin");
}

#[test]
fn rules_of_a_backend_have_it_counted() {
    counts_of_every_kind(ONE, "", &RULES.replace("reject unless", "accept if"));
}

#[test]
fn without_rules_the_option_has_it_counted() {
    counts_of_every_kind(TWO, "option mqtt-stats", "balance roundrobin");
}

#[test]
fn the_portable_ring_counts_the_same() {
    counts_of_every_kind(PORTABLE, "option mqtt-stats", "balance roundrobin");
    counts_of_every_kind(PORTABLE, RULES, "balance roundrobin");
}

#[test]
fn an_inspected_answer_is_counted_once() {
    let response = "tcp-response inspect-delay 5s\n  tcp-response content accept if { res.payload(0,0),mqtt_is_valid }";
    counts_of_every_kind(ONE, "option mqtt-stats", response);
}

#[test]
fn nobody_looks_when_nobody_asks() {
    let folder = tempfile::tempdir().expect("make a folder");
    let broker = Broker::start(folder.path(), port::free(), "one");
    let stage = start(ONE, "", "balance roundrobin", broker.port);
    Client::connect(stage.listen, "a").expect("a CONNACK").disconnect();
    assert!(stage.proxy.command("show mqtt").starts_with("No MQTT has been seen."));
}

/// A server whose first answer is this, in single bytes.
fn answering(bytes: &'static [u8]) -> Peer {
    Peer::start(move |mut stream| {
        let _ = stream.set_nodelay(true);
        let _ = stream.read(&mut [0; 256]);
        for byte in bytes {
            let _ = stream.write_all(&[*byte]);
            thread::sleep(Duration::from_millis(2));
        }
        drain(&mut stream);
    })
}

#[test]
fn refusals_and_nonsense_of_servers_are_counted_and_nothing_is_lost() {
    for (bytes, line) in [
        (&b"\x20\x02\x00\x05then more"[..], "CONNACK of version 3, code 5 (not authorized): 1"),
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "CONNACK invalid: 1"),
    ] {
        let server = answering(bytes);
        let stage = start(ONE, "option mqtt-stats", "", server.port());
        let mut stream = say(stage.listen, &[&connect_packet("a")]);
        let mut got = vec![0; bytes.len()];
        stream.read_exact(&mut got).expect("all of the answer");
        assert_eq!(got, bytes);
        stage.expect("backend b", line);
    }
}

#[test]
fn the_time_is_that_of_the_answer() {
    let server = Peer::start(|mut stream| {
        let _ = stream.read(&mut [0; 256]);
        thread::sleep(Duration::from_millis(120));
        let _ = stream.write_all(&[0x20, 2, 0, 0]);
        drain(&mut stream);
    });
    let stage = start(ONE, "option mqtt-stats", "", server.port());
    let mut stream = say(stage.listen, &[&connect_packet("a")]);
    answer(&mut stream);
    let line = wait::for_value("a time", wait::SOON, || {
        stage.proxy.command("show mqtt").lines().find(|line| line.contains("CONNECT to CONNACK")).map(str::to_owned)
    });
    let max: f64 = line.split("max ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|text| text.parse().ok()).expect("a time");
    assert!(max >= 119.0, "{line}");
}

#[test]
fn a_keep_alive_that_is_too_long_is_said_once_and_counted() {
    let folder = tempfile::tempdir().expect("make a folder");
    let broker = Broker::start(folder.path(), port::free(), "one");
    // The test's clients announce 60 s.
    let stage = start(TWO, "option mqtt-stats\n  timeout client 89s", "", broker.port);
    for number in 0..3 {
        Client::connect(stage.listen, &format!("c{number}")).expect("a CONNACK").disconnect();
    }
    stage.expect("frontend f", "keep alive too long for the timeout: 3");
    let line = stage.logs.wait_for("keep alive of 60s");
    assert!(line.contains("frontend f:") && line.contains("Set 'timeout client' to 90s at least"), "{line}");
    assert_eq!(stage.logs.containing("keep alive of 60s").len(), 1);

    let enough = start(ONE, "option mqtt-stats\n  timeout client 89s", "timeout tunnel 90s", broker.port);
    Client::connect(enough.listen, "d").expect("a CONNACK").disconnect();
    enough.expect("frontend f", "CONNECT 3.1: 0, 3.1.1: 1, 5.0: 0, invalid: 0, too large: 0");
    enough.expect("frontend f", "keep alive too long for the timeout: 0");
}

#[test]
fn the_keep_alive_that_a_server_sets_is_the_one_that_counts() {
    // CONNACK of MQTT 5.0 with server keep alive 200 s, then 10 s.
    for (seconds, expected) in [(200, "1"), (10, "0")] {
        let server = Peer::start(move |mut stream| {
            let _ = stream.read(&mut [0; 256]);
            let _ = stream.write_all(&[0x20, 6, 0, 0, 3, 0x13, 0, seconds]);
            drain(&mut stream);
        });
        let stage = start(ONE, "option mqtt-stats\n  timeout client 80s", "", server.port());
        let mut stream = say(stage.listen, &[&connect_packet_v5("a")]);
        stream.read_exact(&mut [0; 8]).expect("a CONNACK");
        stage.expect("frontend f", "CONNACK of version 5, code 0 (success): 1");
        stage.expect("frontend f", &format!("keep alive too long for the timeout: {expected}"));
    }
}

#[test]
fn counters_stay_over_a_reload_and_each_configuration_is_warned_of() {
    let folder = tempfile::tempdir().expect("make a folder");
    let broker = Broker::start(folder.path(), port::free(), "one");
    let (listen, logs) = (port::free(), Logs::start());
    let log_port = logs.port();
    let text = |timeout: &str| {
        format!(
            "global\n  log 127.0.0.1:{} local0\n  stats socket @SOCKET@ level admin\ndefaults\n  mode tcp\n  timeout connect 2s\n  \
             timeout client {timeout}\n  timeout server 60s\nlisten f\n  bind 127.0.0.1:{listen}\n  option mqtt-stats\n  \
             server s 127.0.0.1:{}\n",
            log_port, broker.port
        )
    };
    let stage = Stage { proxy: Proxy::start(Kind::Ringmain, &text("30s")), listen, logs };
    let kept = Client::connect(listen, "kept").expect("a CONNACK");
    stage.logs.wait_for("after 30s of silence");
    stage.proxy.reload(&text("40s"));
    Client::connect(listen, "new").expect("a CONNACK").disconnect();
    stage.logs.wait_for("after 40s of silence");
    stage.expect("frontend f", "CONNECT 3.1: 0, 3.1.1: 2, 5.0: 0, invalid: 0, too large: 0");
    stage.expect("backend f", "CONNECT 3.1: 0, 3.1.1: 2, 5.0: 0, invalid: 0, too large: 0");
    assert_eq!(stage.proxy.command("show mqtt").matches("(2 answers)").count(), 2);
    kept.disconnect();
}
