//! Log lines against the real HAProxy: one session goes through it, its own line gives the facts, and our line of the same facts must have
//! the same bytes. Every variable and flag is covered; `log_envelopes` does the same for envelopes.

mod log_common;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use log_common::{HaProxy, inherited, offset_s, received, receiver, refusing, session};
use ringmain::config::diagnostic::{Diagnostics, SourceId, Sources, Span};
use ringmain::config::draft::Word;
use ringmain::config::haproxy::log_format;
use ringmain_model::log_format::{LogFormat, LogVariable};
use ringmain_policy::log::{LocalTime, Renderer, render_accept};
use ringmain_policy::record::{Captures, Cause, Connections, Peer, Phase, Record, Termination, Timers};

/// The facts, in front of every format under test.
const FACTS: &str =
    "%ci;%cp;%fi;%fp;%bi;%bp;%si;%sp;%f;%b;%s;%Ts;%ms;%Th;%Tw;%Tc;%Td;%Tt;%B;%U;%ts;%ac;%fc;%bc;%sc;%rc;%sq;%bq;%pid;%rt;%lc;%H;%Tl|";

/// A server that answers the first bytes and closes.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 64];
            let _ = stream.read(&mut buffer).and_then(|_| stream.write_all(b"answer"));
        }
    });
    address
}

fn compiled(text: &str) -> LogFormat {
    let span = Span { source: SourceId(0), start: 0, end: text.len() as u32 };
    let mut diagnostics = Diagnostics::default();
    let format = log_format::parse(&Word { text: text.to_owned(), span }, &Sources::default(), &mut diagnostics);
    assert!(diagnostics.list().is_empty(), "{text}: {diagnostics:?}");
    format.expect("a format")
}

/// The facts HAProxy wrote, by variable.
struct Facts(HashMap<String, String>);

impl Facts {
    fn parse(line: &str) -> Self {
        let names = FACTS.trim_end_matches('|').split(';').map(|name| name[1..].to_owned());
        let values = line.split('|').next().expect("facts").split(';').map(str::to_owned);
        Self(names.zip(values).collect())
    }

    fn text(&self, name: &str) -> &str {
        &self.0[name]
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, name: &str) -> T {
        self.text(name).trim_start_matches('+').parse().expect(name)
    }

    fn peer(&self, ip: &str, port: &str) -> Option<Peer> {
        match self.text(ip) {
            "-" => None,
            "unix" => Some(Peer::Unix),
            ip => Some(Peer::Inet(SocketAddr::new(ip.parse().expect("an address"), self.number(port)))),
        }
    }

    fn termination(&self) -> Termination {
        let cause = match &self.text("ts")[..1] {
            "-" => Cause::None,
            "S" => Cause::ServerAbort,
            "c" => Cause::ClientTimeout,
            "s" => Cause::ServerTimeout,
            other => panic!("unexpected cause {other}"),
        };
        let phase = match &self.text("ts")[1..] {
            "-" => Phase::Done,
            "C" => Phase::Connect,
            "D" => Phase::Data,
            "Q" => Phase::Queue,
            other => panic!("unexpected phase {other}"),
        };
        Termination { cause, phase }
    }

    fn record(&self, early: bool) -> Record<'_> {
        let accepted_us = (self.number::<u64>("Ts") * 1000 + self.number::<u64>("ms")) * 1000;
        Record {
            accepted_us,
            client: self.peer("ci", "cp").expect("a client"),
            local: self.peer("fi", "fp").expect("a frontend"),
            bind_id: if self.text("ci") == "unix" { self.number("cp") } else { 0 },
            frontend: self.text("f"),
            tls: None,
            backend: self.text("b"),
            server: Some(self.text("s")).filter(|name| *name != "<NOSRV>"),
            server_address: self.peer("si", "sp"),
            source_address: self.peer("bi", "bp"),
            timers: Timers {
                handshake_ms: self.number("Th"),
                queue_ms: self.number("Tw"),
                connect_ms: self.number("Tc"),
                data_ms: self.number("Td"),
                total_ms: self.number("Tt"),
            },
            bytes_to_client: self.number("B"),
            bytes_from_client: self.number("U"),
            termination: self.termination(),
            connections: Connections {
                process: self.number("ac"),
                frontend: self.number("fc"),
                backend: self.number("bc"),
                server: self.number("sc"),
            },
            retries: self.number("rc"),
            redispatched: self.text("rc").starts_with('+'),
            server_queue: self.number("sq"),
            backend_queue: self.number("bq"),
            session_number: self.number("rt"),
            log_number: self.number("lc"),
            early,
            captures: Captures::default(),
        }
    }

    /// The table of local time in which HAProxy ran.
    fn local_time(&self) -> Arc<LocalTime> {
        let offset = self.text("Tl").rsplit(' ').next().expect("an offset");
        Arc::new(LocalTime::new(vec![(0, offset_s(offset))]))
    }
}

/// All variables with one set of flags.
fn all_variables(flags: &str) -> String {
    LogVariable::ALL.iter().map(|variable| format!("{name}=%{flags}{name}", name = variable.name())).collect::<Vec<_>>().join(" ")
}

/// Formats under test.
fn formats() -> Vec<String> {
    let mut formats: Vec<String> = ["", "{+Q}", "{+X}", "{+E}", "{+Q,+E}", "{+Q,+X}", "{+M}"].map(all_variables).to_vec();
    formats.push(log_format::tcp().source);
    formats.extend(
        [
            "%{+Q}o %ci %{-Q}cp %H %{+X}o%cp%{-X}ci %s",
            "  a  %hr  b%hs %%c  %ID%hrl \t x  %hsl ",
            "%{+X,-X}cp%ci_%cp.%f]\"%s\\%b#{|}~",
            "%{ +Q, +X}cp é %{-Q,+Q}s",
        ]
        .map(str::to_owned),
    );
    formats
}

/// How a scenario reaches the frontend.
#[derive(Clone, Copy)]
enum Client {
    Ipv4,
    Ipv6,
    DualStack,
    Unix,
}

/// Runs one session per format through one HAProxy and compares all lines.
fn compare(client: Client, frontend: &str, backend: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let logs = receiver();
    let mut config = format!(
        "global\n log {} len 8192 format raw local0\ndefaults\n mode tcp\n log global\n timeout client 500\n timeout server 500\n \
         timeout connect 500\n timeout queue 200\n",
        logs.local_addr().expect("an address")
    );
    let mut formats: Vec<String> = formats().iter().map(|format| format!("{FACTS}{format}")).collect();
    if matches!(client, Client::Unix) {
        // HAProxy ends the line at an address of a unix socket in hexadecimal.
        formats.retain(|format| !format.contains("+X"));
    }
    let mut tcp = Vec::new();
    let mut unix = Vec::new();
    for (number, format) in formats.iter().enumerate() {
        let bind = match client {
            Client::Unix => {
                let path = directory.path().join(number.to_string());
                let listener = UnixListener::bind(&path).expect("a listener");
                unix.push((listener, path));
                inherited(&unix[number].0)
            }
            _ => {
                let address = ["127.0.0.1:0", "[::1]:0", "[::]:0"][client as usize];
                tcp.push(TcpListener::bind(address).expect("a listener"));
                inherited(&tcp[number])
            }
        };
        // Within strong quotes everything but the quote itself is taken as it is.
        config += &format!(
            "frontend f{number}\n bind {bind} id {}\n {frontend}\n log-format '{format}'\n default_backend b{number}\n",
            number + 7
        );
        config += &format!("backend b{number}\n {backend}\n");
    }
    let haproxy = HaProxy::start(directory.path(), &config);
    for (number, format) in formats.iter().enumerate() {
        match client {
            Client::Unix => session(UnixStream::connect(&unix[number].1).expect("connected")),
            Client::DualStack => {
                let port = tcp[number].local_addr().expect("an address").port();
                session(TcpStream::connect(("127.0.0.1", port)).expect("connected"));
            }
            _ => session(TcpStream::connect(tcp[number].local_addr().expect("an address")).expect("connected")),
        }
        let expected = received(&logs);
        let facts = Facts::parse(&expected);
        assert_eq!(facts.number::<u32>("pid"), haproxy.id());
        let record = facts.record(frontend.contains("logasap"));
        let mut renderer = Renderer::new(facts.text("H").into(), facts.number("pid"), facts.local_time());
        let mut line = Vec::new();
        renderer.render(&compiled(format), &record, None, 8191, &mut line);
        line.push(b'\n');
        assert_eq!(String::from_utf8_lossy(&line), expected, "format {format}");
    }
}

#[test]
fn a_normal_session() {
    compare(Client::Ipv4, "", &format!("server srv1 {}", server()));
}

#[test]
fn a_session_over_ipv6() {
    compare(Client::Ipv6, "", &format!("server srv1 {}", server()));
    compare(Client::DualStack, "", &format!("server srv1 {}", server()));
}

#[test]
fn a_session_without_any_server() {
    compare(Client::Ipv4, "", &format!("server srv1 {} disabled", server()));
}

#[test]
fn a_refused_connection() {
    let (_held, closed) = refusing();
    compare(Client::Ipv4, "", &format!("retries 0\n server srv1 {closed}"));
    compare(Client::Ipv4, "option logasap", &format!("retries 0\n server srv1 {closed}"));
}

#[test]
fn a_redispatched_session() {
    let (_held, closed) = refusing();
    compare(Client::Ipv4, "", &format!("retries 1\n option redispatch\n server dead {closed}\n server srv2 {}", server()));
}

#[test]
fn a_line_before_the_end() {
    compare(Client::Ipv4, "option logasap", &format!("server srv1 {}", server()));
}

#[test]
fn a_session_over_unix_sockets() {
    compare(Client::Unix, "", &format!("server srv1 {}", server()));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("server");
    let listener = UnixListener::bind(&path).expect("a listener");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 64];
            let _ = stream.read(&mut buffer).and_then(|_| stream.write_all(b"answer"));
        }
    });
    compare(Client::Unix, "", &format!("server srv1 unix@{}", path.display()));
}

#[test]
fn a_silent_server() {
    // It never accepts: the kernel does, and nothing is ever said.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = silent.local_addr().expect("an address");
    compare(Client::Ipv4, "", &format!("timeout server 100\n server srv1 {address}"));
}

#[test]
fn a_session_that_waits_in_the_queue_for_too_long() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = silent.local_addr().expect("an address");
    let occupant = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let logs = receiver();
    let directory = tempfile::tempdir().expect("a directory");
    let format = format!("{FACTS}{}", all_variables(""));
    let config = format!(
        "global\n log {} len 8192 format raw local0\ndefaults\n mode tcp\n log global\n timeout client 20s\n timeout server 20s\n \
         timeout connect 500\n timeout queue 100\nfrontend fe\n bind {}\n log-format '{format}'\n default_backend be\n\
         backend be\n server srv1 {address} maxconn 1\n",
        logs.local_addr().expect("an address"),
        inherited(&occupant)
    );
    let _haproxy = HaProxy::start(directory.path(), &config);
    let port = occupant.local_addr().expect("an address");
    let _first = TcpStream::connect(port).expect("connected");
    let _reaches_the_server = silent.accept().expect("the first session's connection");
    session(TcpStream::connect(port).expect("connected"));
    let expected = received(&logs);
    let facts = Facts::parse(&expected);
    assert_eq!((facts.text("ts"), facts.text("bq")), ("sQ", "1"));
    let mut line = Vec::new();
    Renderer::new(facts.text("H").into(), facts.number("pid"), facts.local_time()).render(
        &compiled(&format),
        &facts.record(false),
        None,
        8191,
        &mut line,
    );
    line.push(b'\n');
    assert_eq!(String::from_utf8_lossy(&line), expected);
}

#[test]
fn the_line_of_a_frontend_without_a_format() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bind");
    let logs = receiver();
    let (ipv4, ipv6) = (TcpListener::bind("127.0.0.1:0").expect("a listener"), TcpListener::bind("[::1]:0").expect("a listener"));
    let unix = UnixListener::bind(&path).expect("a listener");
    let config = format!(
        "global\n log {} format raw local0\nlisten fe\n mode tcp\n log global\n timeout client 1s\n timeout server 1s\n \
         timeout connect 1s\n bind {}\n bind {}\n bind {} id 9\n server srv1 {}\n",
        logs.local_addr().expect("an address"),
        inherited(&ipv4),
        inherited(&ipv6),
        inherited(&unix),
        server()
    );
    let _haproxy = HaProxy::start(directory.path(), &config);
    let check = |client: Peer, local: Peer| {
        let mut line = Vec::new();
        render_accept(client, local, 9, "fe", 1023, &mut line);
        line.push(b'\n');
        assert_eq!(String::from_utf8_lossy(&line), received(&logs));
    };
    for listener in [&ipv4, &ipv6] {
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        check(Peer::Inet(stream.local_addr().expect("an address")), Peer::Inet(stream.peer_addr().expect("an address")));
        session(stream);
    }
    session(UnixStream::connect(&path).expect("connected"));
    check(Peer::Unix, Peer::Unix);
}
