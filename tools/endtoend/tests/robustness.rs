//! What must not break an operator's day: limits changed while clients wait, peers that vanish half-way, stops and reloads in the middle of
//! everything.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use endtoend::client::{connect, exchange, half_close};
use endtoend::peer::{self, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};
use nix::sys::signal::Signal;

/// Both proxies where HAProxy says what is right.
const BOTH: [Kind; 2] = [Kind::HaProxy, Kind::Ringmain];

/// How long it takes until the other side ends the connection.
fn lifetime(stream: &mut TcpStream) -> Duration {
    let start = Instant::now();
    let ended = stream.read(&mut [0; 16]);
    assert!(!matches!(ended, Ok(1..)) && start.elapsed() < Duration::from_secs(20), "the connection is to end: {ended:?}");
    start.elapsed()
}

#[test]
fn a_raised_global_limit_lets_in_who_waits() {
    let server = Peer::start(peer::echo);
    let listen = port::free();
    let proxy = Proxy::start(
        Kind::Ringmain,
        &format!(
            "global\n  stats socket @SOCKET@ level admin\n  nbthread 2\n  maxconn 20\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
             timeout client 60s\n  timeout server 60s\nlisten entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{}\n",
            server.port()
        ),
    );
    assert_eq!(proxy.command("set maxconn global 2").trim(), "");
    let mut lasting: Vec<_> = (0..2).map(|_| connect(listen)).collect();
    for stream in &mut lasting {
        exchange(stream, b"first").expect("served");
    }
    let mut late: Vec<_> = (0..6).map(|_| connect(listen)).collect();
    // Held back by the time a later command has been answered twice.
    wait::until("the limit to be reached", || proxy.info("CurrConns") == "2");
    proxy.command("set maxconn global 10");
    for stream in &mut late {
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set a timeout");
        exchange(stream, b"second").expect("served when the limit was raised, though nobody left");
    }
}

/// The client's time begins when its connection is let in, not when the kernel had it: a limit queues clients without charging them for it.
#[test]
fn waiting_for_a_limit_does_not_use_up_the_clients_time() {
    for kind in BOTH {
        let server = Peer::start(peer::echo);
        let listen = port::free();
        let proxy = Proxy::start(
            kind,
            &format!(
                "global\n  stats socket @SOCKET@ level admin\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
                 timeout queue 20s\n  timeout client 1500ms\n  timeout server 60s\nlisten entry\n  bind 127.0.0.1:{listen}\n  maxconn 2\n  \
                 backlog 100\n  server s 127.0.0.1:{} maxconn 1\n",
                server.port()
            ),
        );
        let mut first = connect(listen);
        exchange(&mut first, b"hello").expect("served");
        let mut queued = connect(listen);
        wait::until("the second to queue", || proxy.stat("entry", "BACKEND", "qcur") == "1" || proxy.stat("entry", "s", "qcur") == "1");
        let mut held = connect(listen);
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Keeps the only slot until everybody else has gone.
                while start.elapsed() < Duration::from_millis(3500) {
                    exchange(&mut first, b"still here").expect("served");
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
            lifetime(&mut queued);
            let gone = start.elapsed();
            lifetime(&mut held);
            let left = start.elapsed() - gone;
            assert!(left > Duration::from_millis(1200), "{kind:?}: the one that was held back was given {left:?} of its 1.5 s");
        });
    }
}

/// A client that has said all and takes nothing more is given up after `timeout client` even when servers have no timeout.
#[test]
fn a_silent_client_that_stops_reading_is_given_up() {
    for kind in BOTH {
        let server = Peer::start(|mut stream: TcpStream| {
            use std::io::Write;
            let _ = stream.read(&mut [0; 16]);
            // Answers only when the client's end has long been seen.
            std::thread::sleep(Duration::from_millis(600));
            while stream.write_all(&[7; 65536]).is_ok() {}
        });
        let listen = port::free();
        let proxy = Proxy::start(
            kind,
            &format!(
                "global\n  stats socket @SOCKET@ level admin\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1s\n\
                 listen entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{}\n",
                server.port()
            ),
        );
        let client = connect(listen);
        half_close(&client);
        wait::until("the session", || proxy.stat("entry", "FRONTEND", "stot") == "1");
        let ended = wait::reached(Duration::from_secs(8), || proxy.stat("entry", "FRONTEND", "scur") == "0");
        assert!(ended, "{kind:?}: the session of a client that reads nothing goes on for ever");
    }
}

/// Sessions that stand when a soft stop comes, on whichever shard and however fresh, go on to their end; then the process leaves. Reloads
/// asked for at the same moment change nothing about that.
#[test]
fn a_soft_stop_in_a_rush_ends_no_session() {
    let server = Peer::start(peer::echo);
    let listen = port::free();
    let mut proxy = Proxy::start(
        Kind::Ringmain,
        &format!(
            "global\n  stats socket @SOCKET@ level admin\n  nbthread 2\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
             timeout server 60s\nlisten entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{}\n",
            server.port()
        ),
    );
    let standing = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Ok(mut stream) = TcpStream::connect(("127.0.0.1", listen)) {
                    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set a timeout");
                    // The kernel resets those that no listener has taken when the last one closes.
                    if exchange(&mut stream, b"before").is_ok() {
                        standing.lock().expect("no panic").push(stream);
                    }
                }
            });
        }
        wait::until("a rush", || standing.lock().expect("no panic").len() > 200);
        for signal in [Signal::SIGUSR2, Signal::SIGUSR2, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGUSR1] {
            proxy.process.signal(signal);
        }
    });
    let mut standing = standing.into_inner().expect("no panic");
    println!("{} sessions", standing.len());
    // Time for a process that believes itself drained to end what it should not.
    std::thread::sleep(Duration::from_millis(200));
    for stream in &mut standing {
        exchange(stream, b"after").expect("a session goes on");
    }
    drop(standing);
    assert!(proxy.process.wait(wait::SOON).success());
}

/// Results of checks and reloads that take the servers away arrive together.
#[test]
fn checked_servers_may_go_at_any_moment() {
    let server = Peer::start(peer::echo);
    let listen = port::free();
    let config = |servers: usize| {
        let mut text = format!(
            "global\n  stats socket @SOCKET@ level admin\n  nbthread 2\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
             timeout server 60s\nlisten entry\n  bind 127.0.0.1:{listen}\n"
        );
        for index in 0..servers {
            text.push_str(&format!("  server s{index} 127.0.0.1:{} check inter 3ms\n", server.port()));
        }
        text
    };
    let mut proxy = Proxy::start(Kind::Ringmain, &config(40));
    for round in 0..60 {
        proxy.reload(&config(if round % 2 == 0 { 1 } else { 40 }));
    }
    assert!(proxy.process.is_running());
    assert_eq!(exchange(&mut connect(listen), b"hello").expect("served"), b"hello");
}
