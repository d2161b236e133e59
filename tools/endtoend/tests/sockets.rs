//! The addresses that listeners and servers may have: lists, ranges, IPv6, unix and abstract sockets, inherited ones, interfaces, mapped ports.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

use endtoend::client::{connect, server_name};
use endtoend::crowd::connect_from;
use endtoend::logs::Logs;
use endtoend::peer::{self, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};

const RINGS: [(Kind, &str); 3] =
    [(Kind::HaProxy, ""), (Kind::Ringmain, "  nbthread 1\n"), (Kind::Ringmain, "  nbthread 2\n  tune.ring.mode portable\n")];

fn text(global: &str, sections: &str) -> String {
    format!(
        "global\n  stats socket @SOCKET@ level admin\n{global}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n{sections}"
    )
}

/// Ports that follow one another, all free.
fn consecutive(count: u16) -> u16 {
    loop {
        let first = port::free();
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}

#[test]
fn lists_ranges_and_addresses_all_listen() {
    for (kind, ring) in RINGS {
        let server = Peer::start(peer::named("s"));
        let (first, one, two, three) = (consecutive(4), port::free(), port::free(), port::free());
        let sections = format!(
            "listen entry\n  bind 127.0.0.1:{first}-{},127.0.0.1:{one}\n  bind [::1]:{two} interface lo\n  bind *:{three} interface lo maxconn 10 backlog 5\n  \
             server s 127.0.0.1:{}\n",
            first + 3,
            server.port()
        );
        let _proxy = Proxy::start(kind, &text(ring, &sections));
        for port in (first..first + 4).chain([one, three]) {
            assert_eq!(server_name(&connect(port)).as_deref(), Some("s"), "{kind:?} {port}");
        }
        let six = TcpStream::connect(SocketAddr::new(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), two)).expect("connect over IPv6");
        assert_eq!(server_name(&six).as_deref(), Some("s"), "{kind:?}");
    }
}

#[test]
fn an_ipv6_listener_takes_ipv4_when_told_to() {
    for (kind, ring) in RINGS {
        let server = Peer::start(peer::named("s"));
        let (both, only) = (port::free(), port::free());
        let sections = format!("listen entry\n  bind :::{both} v4v6\n  bind :::{only} v6only\n  server s 127.0.0.1:{}\n", server.port());
        let _proxy = Proxy::start(kind, &text(ring, &sections));
        assert_eq!(server_name(&connect(both)).as_deref(), Some("s"), "{kind:?}");
        assert!(TcpStream::connect(("127.0.0.1", only)).is_err(), "{kind:?}");
        for port in [both, only] {
            let six = TcpStream::connect(("::1", port)).expect("connect over IPv6");
            assert_eq!(server_name(&six).as_deref(), Some("s"), "{kind:?}");
        }
    }
}

/// HAProxy fills an abstract name with zero bytes to its full length.
fn abstract_address(name: &str) -> std::os::unix::net::SocketAddr {
    let mut name = name.as_bytes().to_vec();
    name.resize(107, 0);
    std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("an abstract address")
}

fn say(stream: &UnixStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("read a name");
    line.trim_end().to_owned()
}

#[test]
fn unix_and_abstract_sockets_work_on_both_sides() {
    for (number, (kind, ring)) in RINGS.into_iter().enumerate() {
        let folder = tempfile::tempdir().expect("make a folder");
        let (front, back) = (folder.path().join("front.sock"), folder.path().join("back.sock"));
        let names = ["front", "back"].map(|side| format!("ringmain-{side}-{}-{number}", std::process::id()));
        let unix = UnixListener::bind(&back).expect("listen on a unix socket");
        let hidden = UnixListener::bind_addr(&abstract_address(&names[1])).expect("listen on an abstract socket");
        for (listener, name) in [(unix, "unix"), (hidden, "abstract")] {
            thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let _ = writeln!(stream, "{name}");
                    let _ = stream.read(&mut [0; 8]);
                }
            });
        }
        let sections = format!(
            "listen one\n  bind unix@{} mode 640\n  server s abns@{}\nlisten two\n  bind abns@{}\n  server s unix@{}\n",
            front.display(),
            names[1],
            names[0],
            back.display()
        );
        let _proxy = Proxy::start(kind, &text(ring, &sections));
        // The runtime socket answers while others are still given their names.
        wait::until("the socket's file", || front.exists());
        let mode = std::fs::metadata(&front).expect("the socket's file").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{kind:?}");
        assert_eq!(say(&UnixStream::connect(&front).expect("connect")), "abstract", "{kind:?}");
        assert_eq!(say(&UnixStream::connect_addr(&abstract_address(&names[0])).expect("connect")), "unix", "{kind:?}");
    }
}

#[test]
fn an_inherited_descriptor_is_listened_on() {
    for (kind, ring) in RINGS {
        let server = Peer::start(peer::named("s"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let port = listener.local_addr().expect("a bound socket").port();
        // Without close-on-exec the child has it under the same number.
        let inherited = nix::unistd::dup(&listener).expect("duplicate");
        let sections = format!("listen entry\n  bind fd@{}\n  server s 127.0.0.1:{}\n", inherited.as_raw_fd(), server.port());
        let proxy = Proxy::start(kind, &text(ring, &sections));
        drop((listener, inherited));
        for _ in 0..4 {
            assert_eq!(server_name(&connect(port)).as_deref(), Some("s"), "{kind:?}");
        }
        drop(proxy);
    }
}

#[test]
fn sources_and_mapped_ports() {
    for (kind, ring) in RINGS {
        // Says the client's address and its own port.
        let tell = |mut stream: TcpStream| {
            let (client, own) = (stream.peer_addr().expect("a peer"), stream.local_addr().expect("an address"));
            let _ = writeln!(stream, "{}:{}", client.ip(), own.port());
        };
        let listen = loop {
            let candidate = port::free();
            if TcpListener::bind(("127.0.0.2", candidate)).is_ok() && TcpListener::bind(("127.0.0.2", candidate + 1000)).is_ok() {
                break candidate;
            }
        };
        let same = Peer::start_at(SocketAddr::from(([127, 0, 0, 2], listen)), tell);
        let shifted = Peer::start_at(SocketAddr::from(([127, 0, 0, 2], listen + 1000)), tell);
        let (other, third) = (port::free(), port::free());
        let logs = Logs::start();
        let sections = format!(
            "defaults\n  mode tcp\n  retries 0\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nfrontend one\n  bind 127.0.0.1:{listen}\n  bind 127.0.0.1:{other}\n  default_backend same\n\
             backend same\n  server s 127.0.0.2 source 127.0.0.9\n\
             frontend two\n  log 127.0.0.1:{} local0\n  log-format \"%bi %si:%sp %fi:%fp %ci\"\n  bind 127.0.0.1:{third}\n  default_backend shifted\n\
             backend shifted\n  source 127.0.0.8\n  server s 127.0.0.2:+{}\n",
            logs.port(),
            i32::from(listen) + 1000 - i32::from(third)
        );
        if i32::from(listen) + 1000 < i32::from(third) {
            continue;
        }
        let _proxy = Proxy::start(kind, &text(ring, &sections));
        assert_eq!(server_name(&connect(listen)), Some(format!("127.0.0.9:{}", same.port())), "{kind:?}");
        // Nobody listens at the mapped port.
        assert_eq!(server_name(&connect(other)), None, "{kind:?}");
        let client = connect_from(IpAddr::from([127, 0, 0, 77]), third);
        assert_eq!(server_name(&client), Some(format!("127.0.0.8:{}", shifted.port())), "{kind:?}");
        drop(client);
        let line = logs.wait_for(&format!("127.0.0.8 127.0.0.2:{} 127.0.0.1:{third} 127.0.0.77", shifted.port()));
        assert!(!line.is_empty(), "{kind:?}");
    }
}
