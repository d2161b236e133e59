//! `option mqtt-check` against real brokers and against servers that answer oddly.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use endtoend::client::drain;
use endtoend::logs::Logs;
use endtoend::peer::{self, BlackHole, Peer};
use endtoend::process::{Process, find};
use endtoend::proxy::{Kind, Proxy, wait_for_port};
use endtoend::{port, wait};

/// A proxy whose backend `b` has these options and servers; all are checked every 100 ms.
fn start(options: &str, servers: &[(&str, u16)], logs: &Logs) -> Proxy {
    let servers: String =
        servers.iter().map(|(name, port)| format!("  server {name} 127.0.0.1:{port} check inter 100 rise 1 fall 1\n")).collect();
    let text = format!(
        "global\n  log 127.0.0.1:{} local0\n  stats socket @SOCKET@ level admin\ndefaults\n  mode tcp\n  log global\n  timeout connect 2s\n  \
         timeout client 20s\n  timeout server 20s\nbackend b\n  option log-health-checks\n  {options}\n{servers}\
         frontend f\n  bind 127.0.0.1:{}\n  default_backend b\n",
        logs.port(),
        port::free()
    );
    Proxy::start(Kind::Ringmain, &text)
}

fn becomes(proxy: &Proxy, server: &str, status: &str) {
    let code = || proxy.stat("b", server, "check_status").trim_start_matches("* ").to_owned();
    let met = wait::reached(wait::SOON, || code() == status);
    assert!(met, "{server} should be {status}, it is {}: {}", code(), proxy.stat("b", server, "last_chk"));
}

/// A broker that wants a password: user `lena`, password `secret word`.
fn guarded_broker(folder: &Path) -> (Process, u16) {
    let (port, passwords) = (port::free(), folder.join("passwords"));
    let made = Command::new(find("mosquitto_passwd").expect("mosquitto_passwd is installed"))
        .args(["-b", "-c", &passwords.to_string_lossy(), "lena", "secret word"])
        .status();
    assert!(made.expect("run mosquitto_passwd").success());
    let config = folder.join("guarded.conf");
    // As root, mosquitto becomes another user before it reads the file.
    let text =
        format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\npersistence false\n", passwords.display());
    std::fs::write(&config, text).expect("write a broker's file");
    let program = find("mosquitto").expect("mosquitto is installed (make test installs it)");
    let process = Process::start(Command::new(program).arg("-v").arg("-c").arg(config), &folder.join("guarded.log"));
    wait_for_port(port);
    (process, port)
}

#[test]
fn a_broker_with_passwords_tells_who_may_connect() {
    let (folder, logs) = (tempfile::tempdir().expect("make a folder"), Logs::start());
    let (_broker, port) = guarded_broker(folder.path());
    for (options, status, code, info) in [
        ("option mqtt-check", "L7STS", "5", "CONNACK code 5: not authorized"),
        ("option mqtt-check user lena password wrong", "L7STS", "5", "CONNACK code 5: not authorized"),
        ("option mqtt-check version 5 user lena password wrong", "L7STS", "135", "CONNACK code 135: not authorized"),
        ("option mqtt-check user lena password \"secret word\"", "L7OK", "0", ""),
        ("option mqtt-check version 5 user lena password \"secret word\" client-id the-check", "L7OK", "0", ""),
    ] {
        let proxy = start(options, &[("s", port)], &logs);
        becomes(&proxy, "s", status);
        assert_eq!((proxy.stat("b", "s", "check_code"), proxy.stat("b", "s", "last_chk")), (code.to_owned(), info.to_owned()), "{options}");
        assert_eq!(proxy.stat("b", "s", "status"), if status == "L7OK" { "UP" } else { "DOWN" });
    }
    logs.wait_for("Health check for server b/s failed, reason: Layer7 wrong status, code: 5, info: \"CONNACK code 5: not authorized\"");
    logs.wait_for("Health check for server b/s succeeded, reason: Layer7 check passed, code: 0, check duration:");
    let log = || std::fs::read_to_string(folder.path().join("guarded.log")).unwrap_or_default();
    wait::until("the broker to see a check leave in order", || log().contains("Client the-check disconnected."));
    assert!(log().contains("as the-check (p5, c1, k60, u'lena')"), "{}", log());
}

/// Reads a CONNECT, then does something.
fn after_connect(act: impl Fn(TcpStream) + Send + Sync + 'static) -> Peer {
    Peer::start(move |mut stream| {
        if matches!(stream.read(&mut [0; 256]), Ok(1..)) {
            act(stream);
        }
    })
}

fn says(bytes: &'static [u8]) -> Peer {
    after_connect(move |mut stream| {
        let _ = stream.write_all(bytes);
        drain(&mut stream);
    })
}

#[test]
fn odd_servers_are_told_apart() {
    let (sender, received) = mpsc::sync_channel(64);
    let split = after_connect(move |mut stream| {
        for byte in [0x20, 2, 0, 0] {
            let _ = stream.write_all(&[byte]);
            thread::sleep(Duration::from_millis(5));
        }
        let _ = sender.try_send(drain(&mut stream));
    });
    let (refusing, web, closing) = (says(&[0x20, 2, 0, 3]), says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), after_connect(drop));
    let (silent, half) = (Peer::start(peer::silent), says(&[0x20, 2, 0]));
    let (hole, dead, logs) = (BlackHole::start(), port::free(), Logs::start());
    let servers = [
        ("split", split.port()),
        ("refusing", refusing.port()),
        ("web", web.port()),
        ("closing", closing.port()),
        ("silent", silent.port()),
        ("half", half.port()),
        ("hole", hole.port()),
        ("dead", dead),
    ];
    let proxy = start("option mqtt-check\n  timeout check 100", &servers, &logs);
    let last = |server: &str| proxy.stat("b", server, "last_chk");
    becomes(&proxy, "split", "L7OK");
    assert_eq!(received.recv().expect("what a check sends after CONNACK"), [0xe0, 0], "a DISCONNECT, then the end");
    becomes(&proxy, "refusing", "L7STS");
    assert_eq!(last("refusing"), "CONNACK code 3: server unavailable");
    becomes(&proxy, "web", "L7RSP");
    assert_eq!(last("web"), "no CONNACK: not the expected MQTT packet type");
    becomes(&proxy, "closing", "L7RSP");
    assert_eq!(last("closing"), "connection closed without CONNACK");
    becomes(&proxy, "silent", "L7TOUT");
    becomes(&proxy, "half", "L7TOUT");
    becomes(&proxy, "hole", "L4TOUT");
    becomes(&proxy, "dead", "L4CON");
    logs.wait_for(
        "Health check for server b/web failed, reason: Layer7 invalid response, info: \"no CONNACK: not the expected MQTT packet type\"",
    );
    logs.wait_for("Health check for server b/silent failed, reason: Layer7 timeout, check duration:");
}

/// Without `timeout check` the interval bounds the whole check; a slow answer within it is good.
#[test]
fn a_slow_broker_has_the_interval() {
    let slow = after_connect(|mut stream| {
        thread::sleep(Duration::from_millis(100));
        let _ = stream.write_all(&[0x20, 2, 0, 0]);
        drain(&mut stream);
    });
    let text = format!(
        "global\n  stats socket @SOCKET@ level admin\ndefaults\n  mode tcp\n  timeout connect 2s\n  timeout client 20s\n  timeout server 20s\n\
         backend b\n  option mqtt-check\n  server s 127.0.0.1:{} check inter 5s\n",
        slow.port()
    );
    let proxy = Proxy::start(Kind::Ringmain, &text);
    becomes(&proxy, "s", "L7OK");
    let duration: u64 = proxy.stat("b", "s", "check_duration").parse().expect("a number of ms");
    assert!(duration >= 95, "the answer took 100 ms, the check {duration}");
}
