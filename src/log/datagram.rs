//! Targets that take one datagram per line: UDP and unix datagram sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};

use super::batch::Batch;
use super::send_many::{MESSAGES_LIMIT, send_many};

/// Bytes of a name in the abstract name space; shorter ones are padded with zeros, as HAProxy does.
const ABSTRACT_NAME_BYTES: usize = 107;

/// What became of a batch.
#[derive(Debug)]
pub enum Progress {
    /// All is sent.
    Done,
    /// The target takes no more for now; the rest waits in the batch.
    Busy,
    /// The target does not exist or refuses: the rest is of no use to it.
    Gone,
}

/// A UDP target. The socket is not connected, so that no ICMP message of a dead collector fails later lines.
#[derive(Debug)]
pub struct Udp {
    socket: Socket,
    address: SockAddr,
}

impl Udp {
    /// Makes the socket.
    ///
    /// # Errors
    /// When no descriptor is left or the address family is not there.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.cloexec().nonblocking(), None)?;
        Ok(Self { socket, address: address.into() })
    }

    /// Sends what it can.
    pub fn send(&self, batch: &mut Batch) -> Progress {
        send_lines(self.socket.as_fd(), Some(&self.address), batch)
    }
}

/// Where a unix datagram target is.
#[derive(Clone, Debug)]
pub enum UnixName {
    /// A path, such as `/dev/log`.
    Path(PathBuf),
    /// A name in the abstract name space.
    Abstract(Arc<str>),
}

/// A unix datagram target. Connected, so that a `/dev/log` from before a chroot stays reachable; connected again when its owner restarts.
#[derive(Debug)]
pub struct Unix {
    name: UnixName,
    socket: Option<UnixDatagram>,
}

impl Unix {
    /// A target, connected if it is there; and else why not.
    pub fn open(name: UnixName) -> (Self, Option<io::Error>) {
        match connect(&name) {
            Ok(socket) => (Self { name, socket: Some(socket) }, None),
            Err(error) => (Self { name, socket: None }, Some(error)),
        }
    }

    /// Sends what it can. A connection that turns out dead is made again once.
    pub fn send(&mut self, batch: &mut Batch) -> Progress {
        if let Some(socket) = &self.socket {
            match send_lines(socket.as_fd(), None, batch) {
                Progress::Gone => {}
                progress => return progress,
            }
        }
        self.socket = None;
        match connect(&self.name) {
            Ok(socket) => {
                let progress = send_lines(socket.as_fd(), None, batch);
                self.socket = Some(socket);
                progress
            }
            Err(_) => Progress::Gone,
        }
    }

    /// Closes the socket; the next line connects again.
    pub fn close(&mut self) {
        self.socket = None;
    }
}

fn connect(name: &UnixName) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match name {
        UnixName::Path(path) => socket.connect(path as &Path)?,
        UnixName::Abstract(name) => {
            let mut padded = [0; ABSTRACT_NAME_BYTES];
            let length = name.len().min(ABSTRACT_NAME_BYTES);
            padded[..length].copy_from_slice(&name.as_bytes()[..length]);
            socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(padded)?)?;
        }
    }
    Ok(socket)
}

/// Sends each line of a batch as a datagram.
pub fn send_lines(socket: BorrowedFd<'_>, address: Option<&SockAddr>, batch: &mut Batch) -> Progress {
    while !batch.is_empty() {
        let sent = {
            let messages: Vec<&[u8]> = batch.lines().take(MESSAGES_LIMIT).collect();
            send_many(socket, address, &messages)
        };
        match sent {
            Ok(count) => batch.sent_lines(count.max(1)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_busy(&error) => return Progress::Busy,
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => batch.lose_line(),
            Err(_) => return Progress::Gone,
        }
    }
    Progress::Done
}

/// Whether waiting may help.
pub fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}
