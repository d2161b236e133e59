//! Embedded servers: one epoll thread each, for load runs, the demo and the end-to-end tests.
//!
//! A [`Server`] listens from `start` until it is dropped. Its answers can be late or broken on request. It never panics on what a client
//! sends: bad bytes close that connection.

mod broker;
mod conversation;
mod delay;
mod http;

use crate::cpu;
use crate::poller::{Doorbell, Interest, Poller, Ready};
use crate::protocol::ServerName;
use crate::tls::TlsServer;
use crate::transport::Transport;
use broker::{Broker, Outgoing};
use conversation::{Conversation, Verdict};
pub use delay::Delay;
use delay::DelayDraw;
use socket2::{Domain, Protocol, Socket, Type};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Speaks the framed protocol; each answer names the server.
    NamedEcho,
    /// Sends every byte back.
    Echo,
    /// Reads and forgets.
    Discard,
    /// Sends the byte pattern until the client closes.
    Source,
    /// Answers HTTP/1.1 requests; header `X-Served-By` and body name the server. Paths: /bytes/N, /status/N, /delay/MS.
    Http,
    /// Speaks the framed protocol over TLS (--tls does so for the other modes).
    Tls,
    /// A small MQTT broker (3.1.1 and 5.0, quality of service 0 to 2).
    Mqtt,
}

/// How a server misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Failure {
    /// Not at all.
    None,
    /// Holds the port without listening: connects are refused.
    Refuse,
    /// Closes each connection as soon as it is accepted.
    Close,
    /// Resets each connection as soon as it is accepted.
    Reset,
    /// Reads and never answers.
    Silent,
    /// Closes when the first bytes of a request arrive.
    HangUp,
    /// Sends the first half of an answer, then closes.
    Truncate,
}

/// How a server is made.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Name in the answers.
    pub name: ServerName,
    /// What it does.
    pub mode: Mode,
    /// How it misbehaves.
    pub failure: Failure,
    /// Time between a request and its answer. Requests that arrive together (pipelined) are answered together.
    pub delay: Delay,
    /// Core of its thread.
    pub cpu: Option<usize>,
    /// TLS on every connection.
    pub tls: Option<TlsServer>,
    /// HTTP: status of every answer, whatever was asked.
    pub status: Option<u16>,
    /// MQTT: code of every CONNACK; above 0 refuses the session.
    pub connack: u8,
}

impl ServerOptions {
    /// A healthy, prompt `named-echo` server.
    pub fn named(name: ServerName) -> Self {
        let (mode, failure, delay) = (Mode::NamedEcho, Failure::None, Delay::None);
        Self { name, mode, failure, delay, cpu: None, tls: None, status: None, connack: 0 }
    }
}

/// What a server counted; read from any thread.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
    /// Exchanges answered.
    pub answered: AtomicU64,
    stall_ns: AtomicU64,
}

/// A running server; dropping it closes the listener and all connections.
pub struct Server {
    name: ServerName,
    address: SocketAddr,
    counters: Arc<Counters>,
    doorbell: Arc<Doorbell>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// Held, not listening, for [`Failure::Refuse`].
    _reserved: Option<Socket>,
}

impl Server {
    /// Binds `listen` (port 0 takes a free one) and serves it in a new thread.
    ///
    /// # Errors
    /// When the address cannot be bound, the thread cannot be pinned, or TLS is asked for without a certificate.
    pub fn start(listen: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        if options.mode == Mode::Tls && options.tls.is_none() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a TLS server needs a certificate"));
        }
        let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&listen.into())?;
        let unsupported = || io::Error::new(io::ErrorKind::Unsupported, "not an IP address");
        let address = socket.local_addr()?.as_socket().ok_or_else(unsupported)?;
        let counters = Arc::new(Counters::default());
        let doorbell = Arc::new(Doorbell::new()?);
        let mut server =
            Self { name: options.name, address, counters: counters.clone(), doorbell: doorbell.clone(), thread: None, _reserved: None };
        if options.failure == Failure::Refuse {
            server._reserved = Some(socket);
            return Ok(server);
        }
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        let mut service = Service::new(socket.into(), options, counters, doorbell)?;
        let thread = std::thread::Builder::new().name(format!("server-{}", server.name.as_str()));
        server.thread = Some(thread.spawn(move || service.run())?);
        Ok(server)
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name in its answers.
    pub fn name(&self) -> ServerName {
        self.name
    }

    /// What it counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Makes the whole server stop once for this long, as a machine that swaps or collects garbage does.
    pub fn stall(&self, duration: Duration) {
        self.counters.stall_ns.store(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.doorbell.ring();
    }

    /// Waits until the server ends by itself, which it does only on a broken listener.
    ///
    /// # Errors
    /// What broke the listener.
    pub fn wait(mut self) -> io::Result<()> {
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the server's thread panicked"))),
            None => loop {
                std::thread::park();
            },
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.counters.stall_ns.store(STOP, Ordering::Relaxed);
            self.doorbell.ring();
            let _ = thread.join();
        }
    }
}

/// In place of a stall: end the thread.
const STOP: u64 = u64::MAX;
const LISTENER_TOKEN: u64 = u64::MAX - 1;
const DOORBELL_TOKEN: u64 = u64::MAX - 2;
/// Read at once from one connection, in bytes.
const SCRATCH_BYTES: usize = 128 * 1024;
/// Rest of the listener when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The thread's side of a server.
struct Service {
    listener: TcpListener,
    options: ServerOptions,
    counters: Arc<Counters>,
    doorbell: Arc<Doorbell>,
    poller: Poller,
    conversations: Vec<Option<Conversation>>,
    vacant: Vec<usize>,
    /// Conversations whose answer is held back, soonest first.
    held: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    delay: DelayDraw,
    broker: Broker,
    accept_again: Option<Instant>,
    births: u32,
}

impl Service {
    fn new(listener: TcpListener, options: ServerOptions, counters: Arc<Counters>, doorbell: Arc<Doorbell>) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER_TOKEN, Interest::READ)?;
        poller.add(&*doorbell, DOORBELL_TOKEN, Interest::READ)?;
        Ok(Self {
            listener,
            delay: DelayDraw::new(options.delay),
            broker: Broker::new(options.name),
            options,
            counters,
            doorbell,
            poller,
            conversations: Vec::new(),
            vacant: Vec::new(),
            held: BinaryHeap::new(),
            accept_again: None,
            births: 0,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        if let Some(cpu) = self.options.cpu {
            cpu::pin_current_thread(cpu)?;
        }
        let mut ready: Vec<Ready> = Vec::new();
        let mut scratch = vec![0; SCRATCH_BYTES];
        loop {
            let next = self.held.peek().map(|Reverse((at, ..))| *at).into_iter().chain(self.accept_again).min();
            let timeout = next.map(|at| at.saturating_duration_since(Instant::now()));
            self.poller.wait(timeout, &mut ready)?;
            for event in &ready {
                match event.token {
                    LISTENER_TOKEN => self.accept()?,
                    DOORBELL_TOKEN => {
                        self.doorbell.answer();
                        match self.counters.stall_ns.swap(0, Ordering::Relaxed) {
                            STOP => return Ok(()),
                            stall => std::thread::sleep(Duration::from_nanos(stall)),
                        }
                    }
                    _ => self.serve(*event, &mut scratch),
                }
            }
            self.release_held();
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)) => {
                    self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
                    return self.poller.modify(&self.listener, LISTENER_TOKEN, Interest { read: false, write: false });
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EFAULT)) => {
                    return Err(error);
                }
                // The client or the network gave up between its connect and our accept.
                Err(_) => continue,
            };
            self.counters.accepted.fetch_add(1, Ordering::Relaxed);
            match self.options.failure {
                Failure::Close => drop(stream),
                Failure::Reset => reset(stream),
                // A connection that cannot be served is closed; the server goes on.
                _ => drop(self.adopt(stream)),
            }
        }
    }

    fn adopt(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let slot = self.vacant.last().copied().unwrap_or(self.conversations.len());
        self.births = self.births.wrapping_add(1);
        let transport = match &self.options.tls {
            Some(tls) => Transport::secured(stream, tls.accept().map_err(io::Error::other)?.into()),
            None => Transport::Plain(stream),
        };
        let conversation = Conversation::new(transport, (slot, self.births), &self.options);
        self.poller.add(conversation.stream(), token(slot, self.births), conversation.interest())?;
        match self.conversations.get_mut(slot) {
            Some(entry) => {
                self.vacant.pop();
                *entry = Some(conversation);
            }
            None => self.conversations.push(Some(conversation)),
        }
        self.counters.open.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn serve(&mut self, event: Ready, scratch: &mut [u8]) {
        let (slot, birth) = split(event.token);
        let Some(conversation) = self.conversations.get_mut(slot).and_then(Option::as_mut).filter(|one| one.birth() == birth) else {
            return;
        };
        let before = conversation.interest();
        let mut verdict = Verdict::Continue;
        if event.read && before.read {
            verdict = conversation.readable(scratch, &self.counters.answered, &mut self.broker);
        }
        if let Verdict::Answered(asked) = verdict {
            let delay = self.delay.next() + asked;
            if !delay.is_zero() {
                conversation.hold();
                self.held.push(Reverse((Instant::now() + delay, slot, birth)));
            }
        }
        if verdict != Verdict::Close && !conversation.is_held() {
            verdict = conversation.writable();
        }
        self.settle(slot, before, verdict);
        self.dispatch();
    }

    /// Takes MQTT messages to their subscribers.
    fn dispatch(&mut self) {
        while let Some(((slot, birth), outgoing)) = self.broker.next() {
            let Some(conversation) = self.conversations.get_mut(slot).and_then(Option::as_mut).filter(|one| one.birth() == birth) else {
                continue;
            };
            let before = conversation.interest();
            let verdict = match outgoing {
                Outgoing::Replaced => Verdict::Close,
                Outgoing::Message(message) => match conversation.deliver(message) {
                    false => Verdict::Close,
                    true if conversation.is_held() => Verdict::Continue,
                    true => conversation.writable(),
                },
            };
            self.settle(slot, before, verdict);
        }
    }

    /// Lets the answers go whose delay is over, and wakes a listener that rested.
    fn release_held(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((_, slot, birth))) = self.held.peek().filter(|Reverse((at, ..))| *at <= now) {
            self.held.pop();
            let Some(conversation) = self.conversations.get_mut(slot).and_then(Option::as_mut).filter(|one| one.birth() == birth) else {
                continue;
            };
            let before = conversation.interest();
            conversation.release();
            let verdict = conversation.writable();
            self.settle(slot, before, verdict);
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            // Failing here means that the listener is gone, which the next wait reports.
            let _ = self.poller.modify(&self.listener, LISTENER_TOKEN, Interest::READ);
        }
    }

    fn settle(&mut self, slot: usize, before: Interest, verdict: Verdict) {
        let Some(entry) = self.conversations.get_mut(slot) else { return };
        let Some(conversation) = entry.as_mut() else { return };
        let after = conversation.interest();
        let lost = match verdict {
            Verdict::Continue | Verdict::Answered(_) if after == before => false,
            Verdict::Continue | Verdict::Answered(_) => {
                self.poller.modify(conversation.stream(), token(slot, conversation.birth()), after).is_err()
            }
            Verdict::Close => true,
        };
        if lost {
            conversation.leave(&mut self.broker);
            *entry = None;
            self.vacant.push(slot);
            self.counters.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The birth number in a token keeps an event for a closed connection from reaching the next one in its slot.
fn token(slot: usize, birth: u32) -> u64 {
    (u64::from(birth) << 32) | (slot as u64 & 0xFFFF_FFFF)
}

fn split(token: u64) -> (usize, u32) {
    ((token & 0xFFFF_FFFF) as usize, (token >> 32) as u32)
}

/// Closes with RST instead of FIN.
fn reset(stream: TcpStream) {
    // When the option cannot be set the client sees an orderly close, which is the nearest thing.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests;
