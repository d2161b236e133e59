//! A storm: clients of every temper, servers that die, operators who change everything, reloads without end, with limits and queues in force.
//! Afterwards nothing may be left: no session, slot, descriptor, buffer, timer or task; and a fresh client is served.
//!
//! `STORM_SEED` repeats the choices of an earlier run (threads still interleave as they like), `STORM_SECONDS` makes it longer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use endtoend::client::{exchange, reset};
use endtoend::peer::{self, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};
use nix::sys::signal::Signal;

const CLIENTS: u64 = 24;
const SERVERS: usize = 5;
/// What a ring holds; afterwards as before.
const HELD: [&str; 7] = ["slots", "listeners", "buffers_out", "pipes_in_use", "timers", "tasks", "in_flight"];

/// xorshift64*: enough for choices.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pause(&mut self, milliseconds: u64) {
        thread::sleep(Duration::from_millis(self.below(milliseconds + 1)));
    }
}

/// A server by temper: most echo, some are no help.
fn serve(temper: usize) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |mut stream| match temper {
        3 => {
            let _ = stream.read(&mut [0; 64]);
            thread::sleep(Duration::from_millis(300));
            reset(stream);
        }
        4 => {
            let _ = stream.write_all(b"hello");
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
            while let Ok(1..) = stream.read(&mut [0; 4096]) {}
        }
        _ => {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(8)));
            peer::echo(stream);
        }
    }
}

struct Storm {
    ring: &'static str,
    ports: Vec<u16>,
    servers: Vec<SocketAddr>,
}

impl Storm {
    /// The configuration before and after: everything listens, nothing is checked.
    fn calm(&self) -> String {
        self.config(true, |_| true, "maxconn 10")
    }

    /// Any other.
    fn rough(&self, random: &mut Random) -> String {
        let (binds, servers) = (random.below(16), random.below(32) | 1);
        let limit =
            ["maxconn 2", "maxconn 6 minconn 1", "maxconn 3 maxqueue 2", "check inter 100ms", "maxconn 1 check inter 50ms fall 1 rise 1"];
        let limit = limit[random.below(limit.len() as u64) as usize];
        self.config(random.one_in(2), |place| if place < 8 { binds >> place & 1 == 1 } else { servers >> (place - 8) & 1 == 1 }, limit)
    }

    /// Places 0 to 7 are optional binds, from 8 on servers.
    fn config(&self, side: bool, wants: impl Fn(usize) -> bool, limit: &str) -> String {
        let mut text = format!(
            "global\n  stats socket @SOCKET@ level admin\n  nbthread 2\n{}  maxconn 60\ndefaults\n  mode tcp\n  timeout connect 500ms\n  timeout queue 1s\n  \
             timeout client 1s\n  timeout server 1s\n  retries 2\n  option redispatch\n  backlog 100\nfrontend main\n  maxconn 40\n  bind 127.0.0.1:{}\n",
            self.ring, self.ports[0]
        );
        for (place, port) in self.ports[1..4].iter().enumerate().filter(|(place, _)| wants(*place)) {
            let _ = writeln!(text, "  bind 127.0.0.1:{port} maxconn {}", 3 + place);
        }
        if wants(3) {
            text.push_str("  bind unix@@SOCKET@.main\n");
        }
        text.push_str("  default_backend pool\n");
        if side {
            let _ = write!(
                text,
                "frontend side\n  maxconn 4\n  bind 127.0.0.1:{}\n  default_backend spare\nbackend spare\n  balance leastconn\n  server x {} maxconn 2\n",
                self.ports[4], self.servers[0]
            );
        }
        text.push_str("backend pool\n  balance roundrobin\n");
        for (index, server) in self.servers.iter().enumerate().filter(|(index, _)| wants(8 + index)) {
            let _ = writeln!(text, "  server s{index} {server} {limit}");
        }
        text
    }
}

/// Ends the storm when dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One client after another until the storm is over; counts those that were served.
fn clients(mut random: Random, storm: &Storm, unix: &std::path::Path, over: &AtomicBool, served: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        if random.one_in(8) {
            let Ok(mut stream) = UnixStream::connect(unix) else { continue };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.write_all(b"hello");
            let _ = stream.read(&mut [0; 16]);
            continue;
        }
        let port = storm.ports[if random.one_in(2) { 0 } else { random.below(5) as usize }];
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
        if misbehave_or_ask(&mut random, stream) {
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a client does with its connection; whether it got an answer.
fn misbehave_or_ask(random: &mut Random, mut stream: TcpStream) -> bool {
    match random.below(8) {
        0 => reset(stream),
        1 => {
            let _ = stream.write_all(b"say and go");
            let _ = stream.shutdown(Shutdown::Write);
            return stream.read_to_end(&mut Vec::new()).is_ok_and(|length| length > 0);
        }
        2 => {
            // Sends much and reads nothing for a while.
            let _ = stream.set_write_timeout(Some(Duration::from_millis(300)));
            let _ = stream.write_all(&vec![1; 4 << 20]);
            random.pause(1500);
            if random.one_in(2) {
                reset(stream);
            }
        }
        3 => {
            random.pause(300);
            let _ = stream.write_all(b"late");
            random.pause(300);
        }
        4 => {
            let bulk = vec![7; 1 << 20];
            let Ok(mut writer) = stream.try_clone() else { return false };
            let sender = thread::spawn(move || writer.write_all(&bulk).and_then(|()| writer.shutdown(Shutdown::Write)));
            let mut back = Vec::new();
            let read = stream.read_to_end(&mut back);
            let _ = stream.shutdown(Shutdown::Both);
            let _ = sender.join();
            return read.is_ok() && !back.is_empty();
        }
        // Goes before it is served.
        5 => drop(stream),
        _ => return exchange(&mut stream, b"a question").is_ok(),
    }
    false
}

/// One act of an operator, or of fate.
fn act(random: &mut Random, storm: &Storm, proxy: &Proxy, peers: &mut [Option<Peer>]) {
    let server = random.below(SERVERS as u64) as usize;
    match random.below(12) {
        0..4 => {
            proxy.rewrite(&storm.rough(random));
            for _ in 0..=random.below(3) {
                proxy.process.signal(if random.one_in(2) { Signal::SIGUSR2 } else { Signal::SIGHUP });
            }
        }
        4 => {
            let state = ["ready", "drain", "maint"][random.below(3) as usize];
            proxy.command(&format!("set server pool/s{server} state {state}"));
        }
        5 => drop(proxy.command(&format!("set server pool/s{server} weight {}", random.below(257)))),
        6 => drop(proxy.command(&format!("set maxconn server pool/s{server} {}", random.below(8)))),
        7 => drop(proxy.command(&format!("set maxconn frontend main {}", 1 + random.below(30)))),
        8 => drop(proxy.command(&format!("set maxconn global {}", 1 + random.below(60)))),
        9 => drop(proxy.command(&format!("shutdown sessions server pool/s{server}"))),
        10 => {
            let verb = if random.one_in(2) { "disable" } else { "enable" };
            proxy.command(&format!("{verb} frontend side;show stat;show servers conn;clear counters all"));
        }
        _ => {
            // A server dies, or comes back where it was.
            peers[server] = match peers[server].take() {
                Some(_) => None,
                None => Some(Peer::start_at(storm.servers[server], serve(server))),
            };
        }
    }
}

/// The totals of `show pools`.
fn pools(proxy: &Proxy) -> BTreeMap<String, u64> {
    let text = proxy.command("show pools");
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, rest)| (name.to_owned(), rest.split(' ').next().and_then(|total| total.parse().ok()).unwrap_or(0))).collect()
}

fn is_calm(proxy: &Proxy) -> bool {
    let idle = |row: &BTreeMap<String, String>| ["scur", "qcur"].iter().all(|column| matches!(row[*column].as_str(), "" | "0"));
    proxy.info("CurrConns") == "0" && proxy.table().values().all(idle)
}

fn weather(ring: &'static str) {
    let now_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (seed, seconds) = (number("STORM_SEED").unwrap_or(now_ns), number("STORM_SECONDS").unwrap_or(8));
    println!("STORM_SEED={seed} ring{ring:?}");
    let peers: Vec<_> = (0..SERVERS).map(|temper| Peer::start(serve(temper))).collect();
    let servers = peers.iter().map(|peer| SocketAddr::from(([127, 0, 0, 1], peer.port()))).collect();
    let mut peers: Vec<_> = peers.into_iter().map(Some).collect();
    let storm = Storm { ring, ports: (0..5).map(|_| port::free()).collect(), servers };
    let mut proxy = Proxy::start(Kind::Ringmain, &storm.calm());
    let unix = proxy.folder().join("runtime.sock.main");
    let before = (pools(&proxy), proxy.process.descriptors());
    let (over, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut random = Random::new(seed);
    thread::scope(|scope| {
        // Clients end with this thread, also when it fails.
        let end = End(&over);
        for client in 0..CLIENTS {
            let (storm, unix, over, served) = (&storm, &unix, &over, &served);
            scope.spawn(move || clients(Random::new(seed ^ client), storm, unix, over, served));
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(seconds) {
            act(&mut random, &storm, &proxy, &mut peers);
            random.pause(60);
        }
        drop(end);
    });
    for (index, peer) in peers.iter_mut().enumerate() {
        peer.get_or_insert_with(|| Peer::start_at(storm.servers[index], serve(index)));
    }
    settle(&storm, &mut proxy, &unix, &before);
    println!("{} served, {} reloads, {} failed", served.load(Ordering::Relaxed), proxy.info("Reloads"), proxy.info("FailedReloads"));
    assert!(served.load(Ordering::Relaxed) > 20, "the storm served somebody");
}

/// Back to calm: nothing is left, and new clients are served everywhere.
fn settle(storm: &Storm, proxy: &mut Proxy, unix: &std::path::Path, before: &(BTreeMap<String, u64>, usize)) {
    wait::until("the last reload of the storm to end", || {
        let reloads = proxy.info("Reloads");
        thread::sleep(Duration::from_millis(300));
        reloads == proxy.info("Reloads")
    });
    proxy.reload(&storm.calm());
    proxy.command("set maxconn global 0;set maxconn frontend main 0;enable frontend side");
    for index in 0..SERVERS {
        proxy.command(&format!("set server pool/s{index} state ready;set weight pool/s{index} 1;set maxconn server pool/s{index} 10"));
    }
    let calm = wait::reached(wait::SOON, || is_calm(proxy));
    assert!(calm, "sessions or places are left:\n{}\n{}", proxy.command("show stat"), proxy.command("show info"));
    for attempt in 0..8 {
        let mut stream = TcpStream::connect(("127.0.0.1", storm.ports[attempt % 5])).expect("a listener");
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        stream.write_all(b"fresh").expect("send");
        // Servers 3 and 4 answer in their own way.
        let _ = stream.read(&mut [0; 16]).unwrap_or_else(|error| panic!("port {}: {error}", storm.ports[attempt % 5]));
    }
    drop(UnixStream::connect(unix).expect("the unix listener"));
    let left = || {
        let now = pools(proxy);
        let differs = |name: &&&str| now[**name] != before.0[**name];
        HELD.iter().filter(differs).map(|name| format!("{name} {} was {}", now[*name], before.0[*name])).collect::<Vec<_>>()
    };
    let clean = wait::reached(wait::SOON, || left().is_empty());
    assert!(clean, "the rings hold more than before: {:?}", left());
    let after = pools(proxy);
    assert_eq!((after["panics"], after["strays"]), (0, 0), "panics and strays");
    let pipes = 2 * usize::try_from(after["pipes_total"]).expect("few");
    let settled = wait::reached(wait::SOON, || proxy.process.descriptors() <= before.1 + pipes);
    assert!(settled, "{} descriptors, {} before and {pipes} of spare pipes", proxy.process.descriptors(), before.1);
    assert!(proxy.process.is_running() && !proxy.output().contains("panicked"), "{}", proxy.output());
}

#[test]
fn a_storm_leaves_nothing_behind() {
    weather("");
}

#[test]
fn a_storm_leaves_nothing_behind_on_the_portable_ring() {
    weather("  tune.ring.mode portable\n");
}
