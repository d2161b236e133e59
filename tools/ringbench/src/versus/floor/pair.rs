//! Two sockets and the bytes between them.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::epoll::EpollFlags;
use nix::unistd::pipe2;
use socket2::Socket;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;

/// The client's and the server's.
pub(super) const SIDES: usize = 2;
/// The shared read buffer: small enough to stay in the cache.
pub(super) const BUFFER_BYTES: usize = 16 << 10;
/// Full buffers in a row after which a direction splices.
const FULL_READS: u8 = 4;
/// Wanted size of a pipe; where the kernel refuses it, its default is used.
const PIPE_BYTES: i32 = 1 << 20;
/// Reads per turn and direction.
const LOADS_PER_TURN: usize = 4;

/// What a pair needs next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Advance {
    /// News from the kernel.
    Wait,
    /// Another turn: there is work for which no event will come.
    Again,
    /// Nothing: it is over.
    Over,
}

/// A client and its server.
pub(super) struct Pair {
    sockets: [Socket; SIDES],
    /// Index is the side that bytes come from.
    directions: [Direction; SIDES],
    /// Waits for another turn already.
    pub(super) queued: bool,
}

#[derive(Default)]
struct Direction {
    /// The source may have bytes or an end of stream.
    readable: bool,
    /// The source has ended; remembered, because no edge follows the one that said it.
    hung_up: bool,
    /// The sink had no room and has not said otherwise.
    blocked: bool,
    full_reads: u8,
    /// Read and not yet written, when the sink is full.
    held: Vec<u8>,
    pipe: Option<Pipe>,
    ended: bool,
}

struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    bytes: usize,
    capacity: usize,
}

enum Step {
    Moved,
    /// The source is empty or the sink full.
    Stuck,
    End,
    Failed,
}

impl Pair {
    pub(super) fn new(sockets: [Socket; SIDES]) -> Self {
        Self { sockets, directions: Default::default(), queued: false }
    }

    pub(super) fn socket(&self, side: usize) -> &Socket {
        &self.sockets[side % SIDES]
    }

    /// Remembers what epoll said about one side.
    pub(super) fn note(&mut self, side: usize, flags: EpollFlags) {
        let broken = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        let source = &mut self.directions[side % SIDES];
        source.readable |= flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | broken);
        source.hung_up |= flags.intersects(EpollFlags::EPOLLRDHUP | broken);
        if flags.intersects(EpollFlags::EPOLLOUT | broken) {
            self.directions[(side + 1) % SIDES].blocked = false;
        }
    }

    /// Moves what can be moved.
    pub(super) fn advance(&mut self, buffer: &mut [u8]) -> Advance {
        self.queued = false;
        let [client, server] = &self.sockets;
        let [up, down] = &mut self.directions;
        let mut again = false;
        for (direction, source, sink) in [(up, client, server), (down, server, client)] {
            match direction.advance(source, sink, buffer) {
                Ok(more) => again |= more,
                Err(()) => return Advance::Over,
            }
        }
        match (&self.directions, again) {
            ([up, down], _) if up.ended && down.ended => Advance::Over,
            (_, true) => Advance::Again,
            (_, false) => Advance::Wait,
        }
    }
}

impl Direction {
    /// True when there is more to do at once; an error ends the pair.
    fn advance(&mut self, source: &Socket, sink: &Socket, buffer: &mut [u8]) -> Result<bool, ()> {
        for _ in 0..LOADS_PER_TURN {
            if self.ended || self.blocked || !self.flush(sink)? || !self.readable {
                return Ok(false);
            }
            let step = if self.full_reads < FULL_READS { self.copy(source, sink, buffer) } else { self.splice(source) };
            match step {
                Step::Moved => {}
                Step::Stuck => return Ok(false),
                Step::Failed => return Err(()),
                Step::End => {
                    self.ended = true;
                    // A sink that is gone already needs no goodbye; its own event ends the pair.
                    let _ = sink.shutdown(Shutdown::Write);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Writes what is held; false when the sink is full.
    fn flush(&mut self, sink: &Socket) -> Result<bool, ()> {
        while !self.held.is_empty() {
            let Some(count) = attempt((&mut &*sink).write(&self.held))? else {
                self.blocked = true;
                return Ok(false);
            };
            self.held.drain(..count);
        }
        let Some(pipe) = self.pipe.as_mut() else { return Ok(true) };
        while pipe.bytes > 0 {
            match splice(&pipe.out, None, sink, None, pipe.bytes, flags()) {
                Ok(count) => pipe.bytes -= count.min(pipe.bytes),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.blocked = true;
                    return Ok(false);
                }
                Err(_) => return Err(()),
            }
        }
        Ok(true)
    }

    fn copy(&mut self, source: &Socket, sink: &Socket, buffer: &mut [u8]) -> Step {
        let count = match attempt((&mut &*source).read(buffer)) {
            Ok(Some(0)) => return Step::End,
            Ok(Some(count)) => count,
            Ok(None) => {
                self.readable = false;
                return Step::Stuck;
            }
            Err(()) => return Step::Failed,
        };
        let full = count == buffer.len();
        self.full_reads = if full { self.full_reads + 1 } else { 0 };
        // A short read has emptied the socket; only an end of stream can be behind it.
        self.readable = full || self.hung_up;
        let bytes = buffer.get(..count).unwrap_or_default();
        let sent = match attempt((&mut &*sink).write(bytes)) {
            Ok(sent) => sent.unwrap_or(0),
            Err(()) => return Step::Failed,
        };
        if sent < count {
            self.held.extend_from_slice(bytes.get(sent..).unwrap_or_default());
            self.blocked = true;
            return Step::Stuck;
        }
        Step::Moved
    }

    /// Fills the pipe; the next `flush` empties it.
    fn splice(&mut self, source: &Socket) -> Step {
        if self.pipe.is_none() {
            self.pipe = Pipe::new();
        }
        let Some(pipe) = self.pipe.as_mut() else {
            self.full_reads = 0;
            return Step::Moved;
        };
        match splice(source, None, &pipe.into, None, pipe.capacity, flags()) {
            Ok(0) => Step::End,
            Ok(count) => {
                pipe.bytes += count;
                Step::Moved
            }
            Err(Errno::EINTR) => Step::Moved,
            Err(Errno::EAGAIN) => {
                self.readable = false;
                Step::Stuck
            }
            Err(_) => Step::Failed,
        }
    }
}

impl Pipe {
    fn new() -> Option<Self> {
        let (out, into) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok()?;
        let capacity = fcntl(&into, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).or_else(|_| fcntl(&into, FcntlArg::F_GETPIPE_SZ)).ok()?;
        Some(Self { out, into, bytes: 0, capacity: usize::try_from(capacity).ok()? })
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE
}

/// A count, or none when the socket is not ready.
fn attempt(result: std::io::Result<usize>) -> Result<Option<usize>, ()> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(_) => Err(()),
    }
}
