//! What the ring's tests share: running a future on a ring in both modes, socket pairs, and the check that nothing is
//! left behind.
//!
//! Under AddressSanitizer: `RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test -p ringmain-engine --target
//! x86_64-unknown-linux-gnu --test 'ring_*'`.
#![allow(dead_code)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use ringmain_engine::ring::{self, Config, Mode, S, Sock};

/// Longest a single run may take; a hang fails the test instead of blocking the suite.
const PATIENCE: Duration = Duration::from_secs(20);

/// A small ring: little memory, and its limits are soon reached.
pub fn small(mode: Mode) -> Config {
    Config { mode, buffer_count: 64, buffer_size: 4096, ..Config::default() }
}

/// Runs `main` on a ring of its own, on a thread of its own, and returns its output.
pub fn on_ring<T, F>(config: Config, main: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(64 << 10).make().expect("executor");
        let output = executor.run(async move { ring::run(config, main()).await });
        sender.send(output).expect("test thread");
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(output) => {
            // The executor's descriptors are gone when its thread is.
            thread.join().expect("test thread");
            output.expect("ring")
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the ring did not finish in time"),
        Err(mpsc::RecvTimeoutError::Disconnected) => std::panic::resume_unwind(thread.join().expect_err("panic")),
    }
}

/// Runs the same test in both modes.
pub fn in_both_modes<F>(main: impl Fn(Mode) -> F + Send + Clone + 'static)
where
    F: Future<Output = ()> + 'static,
{
    for mode in [Mode::Fast, Mode::Portable] {
        let main = main.clone();
        on_ring(small(mode), move || async move {
            main(mode).await;
            settled().await;
        });
    }
}

/// Waits until everything has been given back, and fails if it is not.
pub async fn settled() {
    let deadline_ms = ring::now_ms() + 5_000;
    loop {
        let now = ring::counters();
        assert_eq!((now.strays, now.panics), (0, 0), "{now:?}");
        let held = now.slots + now.listeners + now.buffers_out + now.pipes_in_use + now.timers;
        // The main task and the doorbell's poll remain.
        if held == 0 && now.tasks == 1 && now.in_flight <= 1 {
            return;
        }
        assert!(ring::now_ms() < deadline_ms, "not given back: {now:?}");
        ring::yield_now().await;
    }
}

/// A connected TCP pair: ours as a ring socket, and the far end as a blocking stream.
pub fn pair() -> (Sock, TcpStream) {
    let (near, far) = tcp_pair();
    (Sock::adopt(OwnedFd::from(near)), far)
}

/// Two connected TCP streams.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let near = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (far, _) = listener.accept().expect("accept");
    near.set_nodelay(true).expect("nodelay");
    far.set_nodelay(true).expect("nodelay");
    (near, far)
}

/// A listening TCP socket on a free port.
pub fn listening() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let address = listener.local_addr().expect("address");
    (OwnedFd::from(listener), address)
}

/// Shrinks a socket's buffers: to the least the kernel allows for sending, and for receiving to the least with which
/// loopback TCP does not crawl at the pace of its window probes.
pub fn shrink(socket: impl std::os::fd::AsFd) {
    let socket = socket2::SockRef::from(&socket);
    socket.set_send_buffer_size(1).expect("send buffer");
    socket.set_recv_buffer_size(16 << 10).expect("receive buffer");
}

/// Receives exactly `count` bytes.
pub async fn receive(s: S, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        match s.recv().await.expect("recv") {
            Some(buf) => bytes.extend_from_slice(&buf),
            None => break,
        }
    }
    bytes
}

/// A small generator of repeatable pseudo-random numbers (xorshift64*).
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]));
    }
}

/// FNV-1a over 64 bits, to compare streams without keeping them.
pub struct Hash(pub u64);

impl Hash {
    pub fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
