//! `option mqtt-drain`: clients of a server that is left are told to go, at a bounded rate, between two packets, and nobody else is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use endtoend::client::{connect, drain};
use endtoend::logs::Logs;
use endtoend::mqtt::{Broker, connect_packet, connect_packet_v5};
use endtoend::peer::Peer;
use endtoend::process::find;
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};
use nix::sys::signal::Signal;

const USE_ANOTHER_SERVER: [u8; 4] = [0xe0, 2, 0x9c, 0];
const SHUTTING_DOWN: [u8; 4] = [0xe0, 2, 0x8b, 0];

const ONE: &str = "nbthread 1";
const TWO: &str = "nbthread 2";
const PORTABLE: &str = "nbthread 2\n  tune.ring.mode portable";

struct Stage {
    proxy: Proxy,
    listen: u16,
    logs: Logs,
}

fn start(global: &str, front: &str, back: &str, servers: &[u16]) -> Stage {
    let (listen, logs) = (port::free(), Logs::start());
    let servers: String = (1..).zip(servers).map(|(number, port)| format!("  server s{number} 127.0.0.1:{port}\n")).collect();
    let text = format!(
        "global\n  log 127.0.0.1:{} local0\n  {global}\n  stats socket @SOCKET@ level admin\ndefaults\n  mode tcp\n  log global\n  \
         option tcplog\n  timeout connect 2s\n  timeout client 120s\n  timeout server 120s\n\
         frontend f\n  bind 127.0.0.1:{listen}\n  default_backend b\n  {front}\nbackend b\n  balance roundrobin\n  {back}\n{servers}",
        logs.port()
    );
    Stage { proxy: Proxy::start(Kind::Ringmain, &text), listen, logs }
}

impl Stage {
    fn sessions(&self, server: &str) -> usize {
        self.proxy.stat("b", server, "scur").parse().expect("a number")
    }
}

/// Everything up to the end of the stream, which must come in order.
fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the end of the stream");
    bytes
}

/// A client that has its CONNACK, and the length of that.
fn client(port: u16, packet: &[u8]) -> TcpStream {
    let mut stream = connect(port);
    stream.write_all(packet).expect("send a CONNECT");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a CONNACK");
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).expect("a CONNACK");
    assert_eq!((head[0], body[1]), (0x20, 0));
    stream
}

fn brokers(folder: &Path, count: usize) -> Vec<Broker> {
    (0..count).map(|number| Broker::start(folder, port::free(), &format!("broker-{number}"))).collect()
}

#[test]
fn clients_of_a_drained_server_are_told_and_others_are_not() {
    let folder = tempfile::tempdir().expect("make a folder");
    let brokers = brokers(folder.path(), 2);
    for (global, place, order) in [
        (TWO, "front", "set server b/s1 state drain"),
        (TWO, "back", "set server b/s1 state maint"),
        (ONE, "front", "disable server b/s1"),
        (PORTABLE, "back", "set server b/s1 state drain"),
    ] {
        let (front, back) = if place == "front" { ("option mqtt-drain", "") } else { ("", "option mqtt-drain") };
        let stage = start(global, front, back, &[brokers[0].port, brokers[1].port]);
        // Round robin: even ones are on s1, odd ones on s2.
        let mut clients: Vec<TcpStream> = (0..8)
            .map(|number| match number % 4 {
                0 | 1 => client(stage.listen, &connect_packet_v5(&format!("{place}-{number}"))),
                _ => client(stage.listen, &connect_packet(&format!("{place}-{number}"))),
            })
            .collect();
        assert_eq!((stage.sessions("s1"), stage.sessions("s2")), (4, 4));
        assert_eq!(stage.proxy.command(order).trim(), "");
        for (number, stream) in clients.iter_mut().enumerate().filter(|(number, _)| number % 2 == 0) {
            let expected: &[u8] = if number % 4 == 0 { &USE_ANOTHER_SERVER } else { &[] };
            assert_eq!(rest_of(stream), expected, "client {number}");
        }
        let stayed: Vec<TcpStream> = clients.into_iter().skip(1).step_by(2).collect();
        wait::until("the drained server to be empty", || stage.sessions("s1") == 0);
        assert_eq!(stage.sessions("s2"), stayed.len(), "nobody else is touched");
        wait::until("lines of four ends", || stage.logs.containing(" K- ").len() == 4);
        let text = stage.proxy.command("show mqtt");
        assert_eq!(text.matches("  told to go: 4\n").count(), 2, "{text}");
    }
}

#[test]
fn the_server_hears_an_end_too_and_mosquitto_sub_understands() {
    let folder = tempfile::tempdir().expect("make a folder");
    let brokers = brokers(folder.path(), 1);
    let stage = start(ONE, "option mqtt-drain", "", &[brokers[0].port]);
    let program = find("mosquitto_sub").expect("mosquitto_sub is installed (make test installs it)");
    let mut subscriber = Command::new(program)
        .args(["-h", "127.0.0.1", "-p", &stage.listen.to_string(), "-V", "mqttv5", "-i", "told", "-t", "road", "-d"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run mosquitto_sub");
    wait::until("a session", || stage.sessions("s1") == 1);
    let log = || std::fs::read_to_string(folder.path().join(format!("mosquitto-{}.log", brokers[0].port))).unwrap_or_default();
    wait::until("a subscriber", || log().contains("as told "));
    stage.proxy.command("set server b/s1 state drain");
    wait::until("the broker to see the end", || log().contains("Client told "));
    let mut said = String::new();
    let mut output = subscriber.stdout.take().expect("its output");
    wait::until("the session to end", || stage.sessions("s1") == 0);
    let _ = subscriber.kill();
    let _ = subscriber.wait();
    let _ = output.read_to_string(&mut said);
    assert!(said.contains("DISCONNECT") && said.contains("156"), "reason 0x9C is 156: {said}");
}

/// A server that accepts and then sends packets of which each ends late.
fn slow_packets(stream: TcpStream) {
    let mut stream = stream;
    let _ = stream.set_nodelay(true);
    let _ = stream.read(&mut [0; 256]);
    let _ = stream.write_all(&[0x20, 3, 0, 0, 0]);
    let mut packet = vec![0x30, 103, 0, 1, b't'];
    packet.extend([0xe0; 100]);
    for _ in 0..40 {
        for byte in &packet {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    drain(&mut stream);
}

#[test]
fn the_word_comes_between_two_packets() {
    let server = Peer::start(slow_packets);
    let stage = start(ONE, "", "option mqtt-drain", &[server.port()]);
    let mut streams: Vec<TcpStream> = (0..5).map(|number| client(stage.listen, &connect_packet_v5(&format!("c{number}")))).collect();
    thread::sleep(Duration::from_millis(130));
    stage.proxy.command("set server b/s1 state drain");
    for stream in &mut streams {
        let bytes = rest_of(stream);
        let (packets, word) = bytes.split_at(bytes.len().saturating_sub(4));
        assert_eq!(word, USE_ANOTHER_SERVER);
        assert!(!packets.is_empty() && packets.len().is_multiple_of(105), "{} bytes are no whole packets", packets.len());
    }
}

#[test]
fn a_packet_that_never_ends_does_not_keep_the_session() {
    let server = Peer::start(|mut stream| {
        let _ = stream.read(&mut [0; 256]);
        let _ = stream.write_all(&[0x20, 3, 0, 0, 0, 0x30, 100, 1, 2, 3]);
        drain(&mut stream);
    });
    let stage = start(ONE, "", "option mqtt-drain", &[server.port()]);
    let mut stream = client(stage.listen, &connect_packet_v5("c"));
    let mut half = [0; 5];
    stream.read_exact(&mut half).expect("half a packet");
    let began = Instant::now();
    stage.proxy.command("set server b/s1 state maint");
    assert_eq!(rest_of(&mut stream), b"", "closed where it was");
    assert!(began.elapsed() >= Duration::from_secs(4), "it had time to end: {:?}", began.elapsed());
}

#[test]
fn the_rate_is_kept() {
    let folder = tempfile::tempdir().expect("make a folder");
    let brokers = brokers(folder.path(), 1);
    let stage = start(ONE, "", "option mqtt-drain rate 20", &[brokers[0].port]);
    let mut streams: Vec<TcpStream> = (0..40).map(|number| client(stage.listen, &connect_packet_v5(&format!("c{number}")))).collect();
    let began = Instant::now();
    stage.proxy.command("set server b/s1 state drain");
    for stream in &mut streams {
        assert_eq!(rest_of(stream), USE_ANOTHER_SERVER);
    }
    // 39 distances of 50 ms; busy machines may be late, never early.
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?} for forty clients at 20 a second", began.elapsed());
}

#[test]
fn a_server_that_comes_back_keeps_the_rest() {
    let folder = tempfile::tempdir().expect("make a folder");
    let brokers = brokers(folder.path(), 1);
    let stage = start(ONE, "", "option mqtt-drain rate 5", &[brokers[0].port]);
    let mut streams: Vec<TcpStream> = (0..20).map(|number| client(stage.listen, &connect_packet_v5(&format!("c{number}")))).collect();
    stage.proxy.command("set server b/s1 state drain");
    assert_eq!(rest_of(&mut streams[0]), USE_ANOTHER_SERVER);
    stage.proxy.command("set server b/s1 state ready");
    let told = || {
        let text = stage.proxy.command("show mqtt");
        let line = text.lines().find_map(|line| line.trim().strip_prefix("told to go: ").map(str::to_owned));
        line.and_then(|number| number.parse::<usize>().ok()).expect("a number")
    };
    let after = told();
    thread::sleep(Duration::from_millis(600));
    assert_eq!(told(), after, "nobody is told to go once the server is back");
    assert!(after < 20, "{after}");
    let last = streams.last_mut().expect("a client");
    last.write_all(&[0xc0, 0]).expect("send a ping");
    let mut pong = [0; 2];
    last.read_exact(&mut pong).expect("a ping's answer");
}

#[test]
fn a_soft_stop_tells_all_and_the_process_ends() {
    let folder = tempfile::tempdir().expect("make a folder");
    let brokers = brokers(folder.path(), 2);
    let mut stage = start(TWO, "option mqtt-drain", "", &[brokers[0].port, brokers[1].port]);
    let mut streams: Vec<TcpStream> = (0..10).map(|number| client(stage.listen, &connect_packet_v5(&format!("c{number}")))).collect();
    stage.proxy.process.signal(Signal::SIGUSR1);
    for stream in &mut streams {
        assert_eq!(rest_of(stream), SHUTTING_DOWN);
    }
    drop(streams);
    assert!(stage.proxy.process.wait(Duration::from_secs(10)).success());
}

#[test]
fn without_the_option_sessions_stay() {
    let folder = tempfile::tempdir().expect("make a folder");
    let brokers = brokers(folder.path(), 1);
    let stage = start(ONE, "option mqtt-stats", "", &[brokers[0].port]);
    let mut stream = client(stage.listen, &connect_packet_v5("c"));
    stage.proxy.command("set server b/s1 state drain");
    stream.write_all(&[0xc0, 0]).expect("send a ping");
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).expect("a ping's answer");
    assert_eq!((pong, stage.sessions("s1")), ([0xd0, 0], 1));
}

/// Bulk goes through the same direction whole, packet after packet, while a client that reads slowly holds it up.
#[test]
fn large_messages_pass_unharmed() {
    const MESSAGES: usize = 200;
    let server = Peer::start(|mut stream| {
        let _ = stream.read(&mut [0; 256]);
        let _ = stream.write_all(&[0x20, 3, 0, 0, 0]);
        let mut packet = vec![0x30, 0xff, 0xff, 0x03, 0, 1, b't'];
        packet.extend((0..65_532u32).map(|index| index as u8));
        for _ in 0..MESSAGES {
            if stream.write_all(&packet).is_err() {
                return;
            }
        }
        drain(&mut stream);
    });
    for global in [ONE, PORTABLE] {
        receive_slowly(&start(global, "", "option mqtt-drain", &[server.port()]), MESSAGES);
    }
}

fn receive_slowly(stage: &Stage, messages: usize) {
    let mut stream = client(stage.listen, &connect_packet_v5("c"));
    let mut packet = vec![0; 65_539];
    for number in 0..messages {
        stream.read_exact(&mut packet).expect("a message");
        assert_eq!(packet[..7], [0x30, 0xff, 0xff, 0x03, 0, 1, b't'], "message {number}");
        assert!(packet[7..].iter().enumerate().all(|(index, byte)| *byte == index as u8), "message {number}");
        if number % 50 == 0 {
            thread::sleep(Duration::from_millis(50));
        }
    }
    stage.proxy.command("set server b/s1 state drain");
    assert_eq!(rest_of(&mut stream), USE_ANOTHER_SERVER);
}
