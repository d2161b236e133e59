//! Real traffic: databases' own clients, a gibibyte each way with its hash intact, thousands of idle connections that leave nothing behind.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use endtoend::client::{connect, exchange};
use endtoend::peer::{self, Peer};
use endtoend::process::{Process, find};
use endtoend::proxy::{Kind, Proxy, wait_for_port};
use endtoend::{port, wait};

fn forward_to(server: u16, extra_global: &str) -> (Proxy, u16) {
    let listen = port::free();
    let text = format!(
        "global\n  stats socket @SOCKET@ level admin\n{extra_global}\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 120s\n  \
         timeout server 120s\nlisten entry\n  bind 127.0.0.1:{listen}\n  server s 127.0.0.1:{server}\n"
    );
    (Proxy::start(Kind::Ringmain, &text), listen)
}

#[test]
fn redis_clients_work() {
    let folder = tempfile::tempdir().expect("make a folder");
    let server = port::free();
    let program = find("redis-server").expect("redis-server is installed (make test installs it)");
    let arguments = ["--port", &server.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"].map(str::to_owned);
    let _redis = Process::start(Command::new(program).args(arguments).current_dir(folder.path()), &folder.path().join("redis.log"));
    wait_for_port(server);
    let (_proxy, listen) = forward_to(server, "");
    let cli = |arguments: &[&str]| {
        let output = Command::new("redis-cli").args(["-p", &listen.to_string()]).args(arguments).output().expect("run redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(cli(&["ping"]), "PONG");
    assert_eq!(cli(&["set", "road", "connected"]), "OK");
    assert_eq!(cli(&["get", "road"]), "connected");
    let bench = Command::new("redis-benchmark")
        .args(["-p", &listen.to_string(), "-q", "-n", "5000", "-c", "20", "-P", "8", "-t", "set,get"])
        .output();
    let bench = bench.expect("run redis-benchmark");
    assert!(bench.status.success(), "{}", String::from_utf8_lossy(&bench.stderr));
}

#[test]
fn memcached_clients_work() {
    let folder = tempfile::tempdir().expect("make a folder");
    let server = port::free();
    let program = find("memcached").expect("memcached is installed (make test installs it)");
    let mut command = Command::new(program);
    command.args(["-l", "127.0.0.1", "-p", &server.to_string(), "-u", "root", "-U", "0"]);
    let _memcached = Process::start(&mut command, &folder.path().join("memcached.log"));
    wait_for_port(server);
    let (_proxy, listen) = forward_to(server, "");
    let mut client = connect(listen);
    let value = "v".repeat(100_000);
    client.write_all(format!("set key 0 60 {}\r\n{value}\r\nget key\r\n", value.len()).as_bytes()).expect("send commands");
    let expected = format!("STORED\r\nVALUE key 0 {}\r\n{value}\r\nEND\r\n", value.len());
    let mut answer = vec![0; expected.len()];
    client.read_exact(&mut answer).expect("read answers");
    assert_eq!(String::from_utf8_lossy(&answer), expected);
}

/// A stream of bytes that depend on their position, and the FNV-1a hash of what was read of it.
struct Pattern(u64);

impl Pattern {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn hash(state: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(state, |state, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (state ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

const PIECE: usize = 128 * 1024;

/// Sends `total` patterned bytes; the hash of what was sent.
fn send(mut stream: &TcpStream, seed: u64, total: u64) -> u64 {
    let (mut pattern, mut buffer, mut state) = (Pattern(seed), vec![0; PIECE], 0);
    for _ in 0..total / PIECE as u64 {
        pattern.fill(&mut buffer);
        state = hash(state, &buffer);
        stream.write_all(&buffer).expect("send");
    }
    stream.shutdown(std::net::Shutdown::Write).expect("half-close");
    state
}

/// Reads to the end in whole pieces; count and hash.
fn receive(mut stream: &TcpStream) -> (u64, u64) {
    let (mut buffer, mut state, mut total) = (vec![0; PIECE], 0, 0);
    while stream.read_exact(&mut buffer).is_ok() {
        state = hash(state, &buffer);
        total += PIECE as u64;
    }
    (total, state)
}

/// Both directions at once, `total` bytes each, every stream with its own content.
fn both_ways(total: u64, extra_global: &str) {
    let (results, inbox) = std::sync::mpsc::channel();
    let results = std::sync::Mutex::new(results);
    let server = Peer::start(move |stream| {
        let seen = thread::scope(|scope| {
            let sent = scope.spawn(|| send(&stream, 2, total));
            (receive(&stream), sent.join().expect("the server's sender"))
        });
        results.lock().expect("report").send(seen).expect("report");
    });
    let (proxy, listen) = forward_to(server.port(), extra_global);
    let stream = connect(listen);
    let (sent, received) = thread::scope(|scope| {
        let sent = scope.spawn(|| send(&stream, 1, total));
        let received = receive(&stream);
        (sent.join().expect("the client's sender"), received)
    });
    let (server_received, server_sent) = inbox.recv_timeout(Duration::from_secs(60)).expect("the server's account");
    assert_eq!(server_received, (total, sent), "client to server");
    assert_eq!(received, (total, server_sent), "server to client");
    wait::until("the session to end", || proxy.info("CurrConns") == "0");
    assert_eq!(proxy.stat("entry", "FRONTEND", "bin"), total.to_string());
    assert_eq!(proxy.stat("entry", "FRONTEND", "bout"), total.to_string());
}

#[test]
fn a_gibibyte_each_way_arrives_intact() {
    both_ways(1 << 30, "");
}

#[test]
fn the_portable_ring_delivers_intact() {
    both_ways(1 << 28, "  tune.ring.mode portable\n");
}

/// Descriptors that this process and the proxy may have: two of each for a connection of either.
fn idle_connections() -> usize {
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("read the limit");
    8000.min((soft as usize).saturating_sub(500) / 2 - 100)
}

#[test]
fn thousands_of_idle_connections_leave_nothing_behind() {
    let count = idle_connections();
    let ringbench = endtoend::proxy::built("ringbench", "RINGBENCH_BIN");
    let folder = tempfile::tempdir().expect("make a folder");
    let server_port = port::free();
    let mut serve = Command::new(ringbench);
    serve.args(["serve", "--mode", "echo", "--listen", &format!("127.0.0.1:{server_port}")]);
    let _server = Process::start(&mut serve, &folder.path().join("server.log"));
    wait_for_port(server_port);
    let (proxy, listen) = forward_to(server_port, "  nbthread 2\n  maxconn 9000\n");
    // Once through, so that what is allocated once and kept is there already.
    hold_and_use(listen, 200, &proxy);
    wait::until("the first sessions to end", || proxy.info("CurrConns") == "0");
    let (descriptors, memory_kb) = (settled_descriptors(&proxy), proxy.process.status_kb("VmRSS"));
    let held_kb = hold_and_use(listen, count, &proxy);
    wait::until("all sessions to end", || proxy.info("CurrConns") == "0");
    wait::until("descriptors to be closed", || proxy.process.descriptors() <= descriptors);
    wait::until("rings to be empty", || ring_is_empty(&proxy));
    // Half of what was held, and the tables that stay for the next ones.
    let enough_kb = memory_kb + held_kb.saturating_sub(memory_kb) / 2 + 2048;
    wait::until("memory to come back", || proxy.process.status_kb("VmRSS") < enough_kb);
    let after_kb = proxy.process.status_kb("VmRSS");
    let per_connection = (held_kb.saturating_sub(memory_kb)) as f64 * 1024.0 / count as f64;
    println!("{count} idle connections: {per_connection:.0} bytes each; resident {memory_kb} kB before, {held_kb} held, {after_kb} after");
}

fn settled_descriptors(proxy: &Proxy) -> usize {
    wait::until("rings to be empty", || ring_is_empty(proxy));
    proxy.process.descriptors()
}

/// Whether no shard holds a socket, buffer, pipe or session's timer: `show pools` lists what the rings hold.
fn ring_is_empty(proxy: &Proxy) -> bool {
    let pools = proxy.command("show pools");
    let held = |name: &str| {
        let values = pools.lines().filter_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
        let totals = values.filter_map(|value| value.split(' ').next()?.parse::<u64>().ok());
        totals.sum::<u64>()
    };
    assert!(pools.contains("slots: "), "no ring counters in {pools}");
    ["slots", "buffers_out", "pipes_in_use", "timers"].iter().all(|name| held(name) == 0)
}

/// Opens connections, lets all exchange a message, keeps them, lets all exchange another, closes them; resident kB while held.
fn hold_and_use(port: u16, count: usize, proxy: &Proxy) -> u64 {
    let mut streams: Vec<TcpStream> = (0..count).map(|_| connect(port)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        let message = format!("first {number}");
        assert_eq!(exchange(stream, message.as_bytes()).expect("an echo"), message.as_bytes());
    }
    assert_eq!(proxy.info("CurrConns"), count.to_string());
    let held_kb = proxy.process.status_kb("VmRSS");
    for (number, stream) in streams.iter_mut().enumerate() {
        let message = format!("second {number}");
        assert_eq!(exchange(stream, message.as_bytes()).expect("an echo"), message.as_bytes());
    }
    held_kb
}

#[test]
fn peers_that_talk_first_and_half_close_are_served() {
    let server = Peer::start(peer::greet_and_half_close);
    let (_proxy, listen) = forward_to(server.port(), "");
    let mut stream = connect(listen);
    let mut greeting = Vec::new();
    stream.read_to_end(&mut greeting).expect("read to the server's end");
    assert_eq!(greeting, b"hello");
    stream.write_all(b"still sending").expect("the other half is open");
}
