//! `ringbench floor`: the smallest forwarder that moves the same bytes, with no features. What it costs is the kernel's TCP path and
//! little else, so every proxy's figure can be shown as a multiple of it.
//!
//! One thread, edge-triggered epoll; read and write for messages, splice(2) once a direction is in bulk. It knows no timeouts, no
//! limits, no log, no statistics. Only `versus` starts it; never a proxy to use.

mod pair;

use anyhow::Context;
use clap::Args;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use pair::{Advance, Pair, SIDES};
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Listen queue.
const BACKLOG: i32 = 4096;
/// Token of the listener; pairs have smaller ones.
const LISTENER: u64 = u64::MAX;
/// Events taken per wait.
const EVENTS_MAX: usize = 512;
/// Connections taken per turn.
const ACCEPTS_MAX: usize = 64;

/// `ringbench floor`.
#[derive(Debug, Args)]
pub struct FloorArguments {
    /// Address to listen on.
    #[arg(long)]
    pub listen: SocketAddr,
    /// Where everything is forwarded to.
    #[arg(long)]
    pub target: SocketAddr,
}

/// Forwards until it is killed.
///
/// # Errors
/// When it cannot listen, or the kernel's epoll fails.
pub fn run(arguments: &FloorArguments) -> anyhow::Result<bool> {
    let listener = listen(arguments.listen).with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let mut floor = Floor::new(listener, arguments.target)?;
    loop {
        floor.turn()?;
    }
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let listener = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    listener.set_reuse_address(true)?;
    listener.bind(&address.into())?;
    listener.listen(BACKLOG)?;
    Ok(listener)
}

struct Floor {
    epoll: Epoll,
    listener: Socket,
    target: SocketAddr,
    pairs: Vec<Option<Box<Pair>>>,
    free: Vec<usize>,
    /// Slots that ended in this turn: reused only in the next one, because events for them may still follow.
    ended: Vec<usize>,
    /// Pairs with work left although no new edge will come for it.
    again: VecDeque<usize>,
    buffer: Box<[u8]>,
}

impl Floor {
    fn new(listener: Socket, target: SocketAddr) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        let buffer = vec![0; pair::BUFFER_BYTES].into();
        Ok(Self { epoll, listener, target, pairs: Vec::new(), free: Vec::new(), ended: Vec::new(), again: VecDeque::new(), buffer })
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let timeout = if self.again.is_empty() { EpollTimeout::NONE } else { EpollTimeout::ZERO };
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(count) {
            match event.data() {
                LISTENER => self.accept(),
                token => self.on_event(token as usize, event.events()),
            }
        }
        for _ in 0..self.again.len() {
            if let Some(index) = self.again.pop_front() {
                self.advance(index);
            }
        }
        self.free.append(&mut self.ended);
        Ok(())
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            let Ok(client) = accept_nonblocking(&self.listener) else { return };
            // Nobody to tell: a client whose server cannot be reached is closed.
            let _ = self.open(Socket::from(client));
        }
    }

    fn open(&mut self, client: Socket) -> io::Result<()> {
        let server = Socket::new(Domain::for_address(self.target), Type::STREAM.nonblocking(), None)?;
        client.set_tcp_nodelay(true)?;
        server.set_tcp_nodelay(true)?;
        match server.connect(&self.target.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let index = self.free.pop().unwrap_or(self.pairs.len());
        if index == self.pairs.len() {
            self.pairs.push(None);
        }
        let pair = Box::new(Pair::new([client, server]));
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        for side in 0..SIDES {
            let event = EpollEvent::new(interest, (index * SIDES + side) as u64);
            if let Err(error) = self.epoll.add(pair.socket(side).as_fd(), event) {
                self.ended.push(index);
                return Err(error.into());
            }
        }
        if let Some(slot) = self.pairs.get_mut(index) {
            *slot = Some(pair);
        }
        Ok(())
    }

    fn on_event(&mut self, token: usize, flags: EpollFlags) {
        let (index, side) = (token / SIDES, token % SIDES);
        if let Some(Some(pair)) = self.pairs.get_mut(index) {
            pair.note(side, flags);
            self.advance(index);
        }
    }

    fn advance(&mut self, index: usize) {
        let Some(slot) = self.pairs.get_mut(index) else { return };
        let Some(pair) = slot else { return };
        match pair.advance(&mut self.buffer) {
            Advance::Wait => {}
            Advance::Again => {
                if !pair.queued {
                    self.again.push_back(index);
                }
                pair.queued = true;
            }
            Advance::Over => {
                *slot = None;
                self.ended.push(index);
            }
        }
    }
}

/// accept4(2) with a non-blocking result: one system call, where the safe wrappers need three.
#[allow(unsafe_code)]
fn accept_nonblocking(listener: &Socket) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open, null asks for no address; the result is checked.
    let fd = unsafe {
        libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Plan, Workload};
    use crate::protocol::ServerName;
    use crate::server::{Server, ServerOptions};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::JoinHandle;

    /// A floor in a thread; ends with the first connection after `over` is set.
    struct Running {
        address: SocketAddr,
        over: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    impl Running {
        fn start(target: SocketAddr) -> Self {
            let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
            let address = listener.local_addr().expect("bound").as_socket().expect("an IP address");
            let over = Arc::new(AtomicBool::new(false));
            let mut floor = Floor::new(listener, target).expect("epoll");
            let until = over.clone();
            let thread = std::thread::spawn(move || {
                while !until.load(Ordering::Acquire) {
                    floor.turn().expect("a turn");
                }
            });
            Self { address, over, thread: Some(thread) }
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.over.store(true, Ordering::Release);
            let _wake = std::net::TcpStream::connect(self.address);
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }

    #[test]
    fn every_byte_arrives_under_every_load() {
        let name = ServerName::new("target").expect("a name");
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), ServerOptions::named(name)).expect("a server");
        let floor = Running::start(server.address());
        let workloads = [
            (Workload::Pingpong, 8, Some(2000), None, 128),
            (Workload::Pingpong, 3, Some(60), None, 300_000),
            (Workload::Connect, 8, Some(400), None, 128),
            (Workload::BulkDown, 3, None, Some(30_000_000), 128),
            (Workload::BulkBoth, 2, None, Some(20_000_000), 128),
        ];
        for (workload, connections, count, stream_bytes, bytes) in workloads {
            let plan = Plan {
                workload,
                connections,
                count,
                stream_bytes,
                request_bytes: bytes,
                response_bytes: bytes,
                verify: true,
                duration: std::time::Duration::from_secs(60),
                ..Plan::new(floor.address)
            };
            let outcome = crate::load::run(&plan, |_| {}).expect("a run");
            assert_eq!(outcome.errors.total(), 0, "{workload:?}");
            assert_eq!(outcome.operations, count.unwrap_or(connections as u64), "{workload:?}");
        }
    }
}
