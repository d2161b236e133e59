//! Which sessions are logged and how severely, against the real HAProxy: the same options and the same session must give the same verdict.

mod log_common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use log_common::{HaProxy, inherited, receiver, refusing, session};
use ringmain::config::haproxy::log_format;
use ringmain_model::{FrontendOptions, Level};
use ringmain_policy::log::{Moment, moment, verdict};
use ringmain_policy::record::{Captures, Cause, Connections, Peer, Phase, Record, Termination, Timers};

/// What happens to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Question, answer, end.
    Normal,
    /// The client says nothing; the server speaks and closes.
    Silent,
    /// The server's port is closed.
    Refused,
    /// The first server's port is closed, the second's is not.
    Redispatched,
    /// The server takes the question and never answers.
    Unanswered,
}

const FATES: [Fate; 5] = [Fate::Normal, Fate::Silent, Fate::Refused, Fate::Redispatched, Fate::Unanswered];

/// A server that answers and closes; it asks for a question first, or not.
fn server(questioned: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            if !questioned || stream.read(&mut [0; 64]).is_ok() {
                let _ = stream.write_all(b"answer");
            }
        }
    });
    address
}

/// The facts of a fate that a verdict looks at, at its end.
fn record(fate: Fate) -> Record<'static> {
    let normal = Record {
        accepted_us: 0,
        client: Peer::Unix,
        local: Peer::Unix,
        bind_id: 1,
        frontend: "fe",
        tls: None,
        backend: "be",
        server: None,
        server_address: None,
        source_address: None,
        timers: Timers { handshake_ms: 0, queue_ms: 0, connect_ms: 0, data_ms: 0, total_ms: 0 },
        bytes_to_client: 6,
        bytes_from_client: 2,
        termination: Termination::NORMAL,
        connections: Connections::default(),
        retries: 0,
        redispatched: false,
        server_queue: 0,
        backend_queue: 0,
        session_number: 0,
        log_number: 0,
        early: false,
        captures: Captures::default(),
    };
    match fate {
        Fate::Normal => normal,
        Fate::Silent => Record { bytes_from_client: 0, ..normal },
        Fate::Refused => Record { termination: Termination { cause: Cause::ServerAbort, phase: Phase::Connect }, ..normal },
        Fate::Redispatched => Record { retries: 1, redispatched: true, ..normal },
        Fate::Unanswered => Record { termination: Termination { cause: Cause::ServerTimeout, phase: Phase::Data }, ..normal },
    }
}

/// The verdict that our rules give: a session whose early line is not wanted is judged again at its end.
fn ours(fate: Fate, options: &FrontendOptions) -> Option<Level> {
    let connected = fate != Fate::Refused;
    let at_end = record(fate);
    let at_connect = Record { termination: Termination::NORMAL, bytes_from_client: 0, ..at_end };
    let early = connected && moment(Some(&log_format::tcp()), options) == Moment::Connect;
    early.then(|| verdict(options, &at_connect, false)).flatten().or_else(|| verdict(options, &at_end, true))
}

/// Puts every fate through a HAProxy with these options, and compares.
fn compare(options: FrontendOptions) {
    let written: String = [
        (options.dontlognull, "dontlognull"),
        (options.dontlog_normal, "dontlog-normal"),
        (options.log_separate_errors, "log-separate-errors"),
        (options.logasap, "logasap"),
    ]
    .iter()
    .filter(|(on, _)| *on)
    .map(|(_, name)| format!(" option {name}\n"))
    .collect();
    let (_held, closed) = refusing();
    let directory = tempfile::tempdir().expect("a directory");
    let (logs, alive, eager) = (receiver(), server(true), server(false));
    let mute = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let mut config = format!(
        "global\n log {} format short local0\ndefaults\n mode tcp\n log global\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n \
         retries 0\n{written}",
        logs.local_addr().expect("an address")
    );
    let mut listeners = Vec::new();
    for fate in FATES {
        listeners.push(TcpListener::bind("127.0.0.1:0").expect("a listener"));
        let servers = match fate {
            // The second between two attempts lets HAProxy read what the client sent.
            Fate::Refused => format!("retries 1\n server a {closed}"),
            Fate::Redispatched => format!("retries 1\n option redispatch\n server a {closed}\n server b {alive}"),
            Fate::Unanswered => format!("timeout server 100\n server a {}", mute.local_addr().expect("an address")),
            Fate::Silent => format!("server a {eager}"),
            Fate::Normal => format!("server a {alive}"),
        };
        let bind = inherited(&listeners[listeners.len() - 1]);
        config += &format!("listen {fate:?}\n bind {bind}\n log-format {fate:?},%B\n {servers}\n");
    }
    let haproxy = HaProxy::start(directory.path(), &config);
    for (listener, fate) in listeners.iter().zip(FATES) {
        let mut stream = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        if fate == Fate::Silent {
            let _ = stream.read_to_end(&mut Vec::new());
        } else {
            session(stream);
        }
    }
    haproxy.finish();
    // Datagrams on the loopback interface are there as soon as they were sent.
    logs.set_nonblocking(true).expect("non-blocking");
    let mut buffer = [0; 1024];
    let next = || logs.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned());
    let lines: Vec<String> = std::iter::from_fn(next).collect();
    for fate in FATES {
        let line = lines.iter().find(|line| line.contains(&format!(">{fate:?},")));
        let theirs = line.map(|line| Level::ALL[usize::from(line.as_bytes()[1] - b'0')]);
        assert_eq!(ours(fate, &options), theirs, "{fate:?} with {options:?}");
    }
}

#[test]
fn every_combination_of_options() {
    std::thread::scope(|scope| {
        for bits in 0..16 {
            let on = |bit: u32| bits >> bit & 1 == 1;
            let options = FrontendOptions {
                dontlognull: on(0),
                dontlog_normal: on(1),
                log_separate_errors: on(2),
                logasap: on(3),
                ..FrontendOptions::default()
            };
            scope.spawn(move || compare(options));
        }
    });
}
