//! Storm control with `maxconnrate`: a server that is to get at most so many new connections per second gets them at even distances, and
//! whoever cannot be served in time goes elsewhere or is told so. HAProxy has no such limit.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use endtoend::crowd::Crowd;
use endtoend::logs::Logs;
use endtoend::peer::{Peer, echo};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};

/// A server that notes when connections came.
struct Clock {
    peer: Peer,
    moments: Arc<Mutex<Vec<Instant>>>,
}

impl Clock {
    fn start(name: &'static str) -> Self {
        let moments = Arc::new(Mutex::new(Vec::new()));
        let noted = moments.clone();
        let peer = Peer::start(move |mut stream| {
            noted.lock().expect("note a moment").push(Instant::now());
            if std::io::Write::write_all(&mut stream, format!("{name}\n").as_bytes()).is_ok() {
                echo(stream);
            }
        });
        Self { peer, moments }
    }

    /// Since the first of them.
    fn moments(&self) -> Vec<Duration> {
        let mut moments = self.moments.lock().expect("read moments").clone();
        moments.sort();
        moments.iter().map(|moment| moment.duration_since(moments[0])).collect()
    }
}

fn start(shards: u32, section: &str, listen: u16, log: u16) -> Proxy {
    let text = format!(
        "global\n  log 127.0.0.1:{log} local0\n  nbthread {shards}\n  stats socket @SOCKET@ level admin\n\ndefaults\n  mode tcp\n  log global\n  \
         option tcplog\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  backlog 1000\n\nlisten storm\n  \
         bind 127.0.0.1:{listen}\n{section}"
    );
    Proxy::start(Kind::Ringmain, &text)
}

#[test]
fn a_storm_reaches_the_server_at_even_distances() {
    for shards in [1, 2] {
        let (server, listen, logs) = (Clock::start("a"), port::free(), Logs::start());
        let proxy = start(shards, &format!("  server a 127.0.0.1:{} maxconnrate 100\n", server.peer.port()), listen, logs.port());
        let mut crowd = Crowd::new();
        crowd.join_many(50, listen);
        crowd.wait_served(50);
        let moments = server.moments();
        // 49 distances of 10 ms; a busy machine may make any of them longer, never all of them together shorter.
        assert!(moments[49] >= Duration::from_millis(470), "50 connections at 100 per second took {:?}", moments[49]);
        for (number, moment) in moments.iter().enumerate() {
            let allowed = moment.as_millis() / 10 + 2;
            assert!(number as u128 <= allowed, "{} connections within {moment:?}", number + 1);
        }
        assert_eq!(crowd.shares(&["a"]), [50]);
        drop(crowd);
        wait::until("all sessions to end", || proxy.stat("storm", "BACKEND", "scur") == "0");
        assert_eq!(proxy.stat("storm", "a", "stot"), "50");
    }
}

#[test]
fn who_would_wait_too_long_is_refused() {
    for (name, options, section) in [("maxqueue", "maxqueue 4", ""), ("timeout", "", "  timeout queue 400\n")] {
        let (server, listen, logs) = (Clock::start("a"), port::free(), Logs::start());
        let section = format!("{section}  server a 127.0.0.1:{} maxconnrate 10 {options}\n", server.peer.port());
        let proxy = start(2, &section, listen, logs.port());
        let mut crowd = Crowd::new();
        crowd.join_many(20, listen);
        wait::until("an end of waiting", || crowd.waiting() == 0);
        // One at once, and four at distances of 100 ms; on a slow machine later ones come when there is room again.
        let served = crowd.served().len();
        assert!((3..=9).contains(&served), "{name}: {served} of 20 are served");
        let refused: Vec<usize> = (0..20).filter(|&number| crowd.turned_away(number)).collect();
        assert_eq!(refused.len(), 20 - served);
        drop(crowd);
        wait::until("all sessions to end", || proxy.stat("storm", "BACKEND", "scur") == "0");
        let lines = || (logs.containing(" sQ ").len(), logs.containing(" storm storm/").len());
        wait::until(&format!("{name}: {} lines with sQ of 20", refused.len()), || lines() == (refused.len(), 20));
    }
}

#[test]
fn other_servers_take_over() {
    let (slow, fast, listen, logs) = (Clock::start("slow"), Clock::start("fast"), port::free(), Logs::start());
    let section = format!(
        "  balance roundrobin\n  server slow 127.0.0.1:{} maxconnrate 1 maxqueue 1\n  server fast 127.0.0.1:{}\n",
        slow.peer.port(),
        fast.peer.port()
    );
    let proxy = start(2, &section, listen, logs.port());
    let mut crowd = Crowd::new();
    crowd.join_many(40, listen);
    crowd.wait_served(40);
    let shares = crowd.shares(&["slow", "fast"]);
    assert!((2..=8).contains(&shares[0]) && shares[0] + shares[1] == 40, "half of them would be slow's turn: {shares:?}");
    drop(crowd);
    wait::until("all sessions to end", || proxy.stat("storm", "BACKEND", "scur") == "0");
    assert_eq!(logs.containing(" sQ ").len(), 0);
}
