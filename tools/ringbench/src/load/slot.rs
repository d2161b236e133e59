//! One client connection of an exchange worker: its socket and the operation it carries.

use super::dialogue::{Answer, Dialogue};
use super::errors::ErrorKind;
use crate::poller::Interest;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No socket.
    Down,
    /// The connect has not ended.
    Connecting,
    /// Established, nothing asked.
    Ready,
    /// An exchange is under way.
    Busy,
}

/// What an attempt to read or write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The kernel has no more for now.
    Blocked,
    /// The exchange is complete.
    Done(Option<crate::protocol::ServerName>),
    /// The exchange or the connection failed.
    Failed(ErrorKind),
}

pub(super) struct Slot {
    pub(super) stream: Option<TcpStream>,
    pub(super) phase: Phase,
    /// Grows with every socket of this slot, so that a late event for the last one is recognised.
    pub(super) birth: u32,
    /// Start of the operation under way, if there is one.
    pub(super) intended_ns: Option<u64>,
    /// Start of the connect under way.
    pub(super) connect_ns: u64,
    pub(super) deadline_ns: u64,
    /// No new connect before this time.
    pub(super) rest_until_ns: u64,
    /// True once a measured answer came on this connection.
    pub(super) answered: bool,
    pub(super) dialogue: Dialogue,
    pub(super) interest: Interest,
    output: Vec<u8>,
    written: usize,
}

impl Slot {
    pub(super) fn new(dialogue: Dialogue) -> Self {
        Self {
            stream: None,
            phase: Phase::Down,
            birth: 0,
            intended_ns: None,
            connect_ns: 0,
            deadline_ns: u64::MAX,
            rest_until_ns: 0,
            answered: false,
            dialogue,
            interest: Interest::WRITE,
            output: Vec::new(),
            written: 0,
        }
    }

    /// Puts the next request into the buffer.
    pub(super) fn prepare(&mut self) {
        self.dialogue.begin(&mut self.output);
        self.written = 0;
    }

    pub(super) fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Writes what there is room for and returns the bytes written.
    pub(super) fn write(&mut self) -> Result<u64, ErrorKind> {
        let Some(stream) = self.stream.as_mut() else { return Ok(0) };
        let before = self.written;
        while self.written < self.output.len() {
            match stream.write(self.output.get(self.written..).unwrap_or_default()) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ErrorKind::of(&error)),
            }
        }
        Ok((self.written - before) as u64)
    }

    /// Reads until the answer is complete or the kernel has no more; adds the bytes read to `received`.
    pub(super) fn read(&mut self, scratch: &mut [u8], received: &mut u64) -> Step {
        let Some(stream) = self.stream.as_mut() else { return Step::Blocked };
        loop {
            let count = match stream.read(scratch) {
                Ok(0) => return Step::Failed(ErrorKind::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Step::Failed(ErrorKind::of(&error)),
            };
            *received += count as u64;
            // Bytes that nobody asked for are as wrong as wrong bytes.
            if self.phase != Phase::Busy {
                return Step::Failed(ErrorKind::Corrupt);
            }
            match self.dialogue.feed(scratch.get(..count).unwrap_or_default()) {
                Ok(Answer::Partial) if count < scratch.len() => return Step::Blocked,
                Ok(Answer::Partial) => {}
                Ok(Answer::Complete(server)) => return Step::Done(server),
                Err(kind) => return Step::Failed(kind),
            }
        }
    }
}

/// Starts a non-blocking connect.
pub(super) fn start_connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// How a connect ended, once its socket is writable; none when it has not.
pub(super) fn connect_result(stream: &TcpStream) -> Option<Result<(), ErrorKind>> {
    match stream.take_error() {
        Ok(Some(error)) | Err(error) => Some(Err(match ErrorKind::of(&error) {
            ErrorKind::Timeout => ErrorKind::ConnectTimeout,
            kind => kind,
        })),
        Ok(None) => stream.peer_addr().is_ok().then_some(Ok(())),
    }
}
