//! Listening sockets of the runtime interface: unix, abstract unix, TCP and inherited descriptors.
//!
//! Called at start and by a reload, before privileges are dropped. A socket is ready for connections when `bind` returns; nothing here
//! accepts or reads.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ringmain_model::{Endpoint, StatsLevel, StatsSocket, UnixPermissions};
use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that the kernel keeps before they are accepted.
const BACKLOG: i32 = 128;

/// Bytes in the name of an abstract socket: HAProxy pads names with zeros to the full length.
const ABSTRACT_NAME_LENGTH: usize = 107;

/// One listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    settings: StatsSocket,
}

/// Why a runtime socket could not be opened; `Display` names the address.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind stats socket ({reason}) [{address}]")]
pub struct BindError {
    address: String,
    reason: io::Error,
}

impl Listener {
    /// Opens a socket. A unix socket appears under its name only when it is ready and has its owner and mode; what stood there before, such
    /// as the socket of a process that is gone, is replaced.
    ///
    /// # Errors
    /// Whatever the system says: address in use, no such directory, not permitted, descriptor is no listening socket.
    pub fn bind(settings: &StatsSocket) -> Result<Self, BindError> {
        let socket = match &settings.endpoint {
            Endpoint::Inet(address) => bind_inet(*address),
            Endpoint::Unix(path) => bind_unix(path, &settings.permissions),
            Endpoint::Abstract(name) => bind_abstract(name),
            Endpoint::Descriptor(number) => inherit(*number),
        };
        let ready = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        match ready {
            Ok(socket) => Ok(Self { socket, settings: settings.clone() }),
            Err(reason) => Err(BindError { address: describe(&settings.endpoint), reason }),
        }
    }

    /// Accepts one connection; `WouldBlock` when there is none.
    ///
    /// # Errors
    /// Whatever accept(2) says.
    pub fn accept(&self) -> io::Result<Socket> {
        let (connection, _) = self.socket.accept()?;
        connection.set_nonblocking(true)?;
        Ok(connection)
    }

    /// The descriptor to poll.
    pub fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// What the configuration says of it.
    pub fn settings(&self) -> &StatsSocket {
        &self.settings
    }

    /// What its users may do.
    pub fn level(&self) -> StatsLevel {
        self.settings.level
    }

    /// The address it listens on, for TCP bound to port 0 the real one.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()?.as_socket()
    }
}

/// An endpoint in HAProxy's spelling with its family in front.
pub fn describe(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Inet(address @ SocketAddr::V4(_)) => format!("ipv4@{address}"),
        Endpoint::Inet(address) => format!("ipv6@{address}"),
        Endpoint::Unix(path) => format!("unix@{}", path.display()),
        Endpoint::Abstract(name) => format!("abns@{name}"),
        Endpoint::Descriptor(number) => format!("fd@{number}"),
    }
}

fn bind_inet(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn bind_unix(path: &Path, permissions: &UnixPermissions) -> io::Result<Socket> {
    let temporary = temporary_name(path);
    remove_if_there(&temporary)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&temporary)?)?;
    let placed = place(&socket, &temporary, path, permissions);
    if placed.is_err() {
        // The first error is the one to report; the leftover is removed as far as possible.
        let _ = std::fs::remove_file(&temporary);
    }
    placed.map(|()| socket)
}

/// Gives a fresh socket its mode and owner, then its name.
fn place(socket: &Socket, temporary: &Path, path: &Path, permissions: &UnixPermissions) -> io::Result<()> {
    if let Some(mode) = permissions.mode {
        std::fs::set_permissions(temporary, std::fs::Permissions::from_mode(mode))?;
    }
    if permissions.uid.is_some() || permissions.gid.is_some() {
        std::os::unix::fs::chown(temporary, permissions.uid, permissions.gid)?;
    }
    socket.listen(BACKLOG)?;
    std::fs::rename(temporary, path)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn bind_abstract(name: &str) -> io::Result<Socket> {
    if name.is_empty() || name.len() > ABSTRACT_NAME_LENGTH {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "abstract names have 1 to 107 bytes"));
    }
    let mut padded = name.as_bytes().to_vec();
    padded.resize(ABSTRACT_NAME_LENGTH, 0);
    let address = nix::sys::socket::UnixAddr::new_abstract(&padded)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Takes a copy of an inherited listening socket, so that closing ours leaves the parent's descriptor alone.
fn inherit(number: i32) -> io::Result<Socket> {
    let socket = Socket::from(duplicate(number)?);
    if socket.is_listener()? { Ok(socket) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening socket")) }
}

#[allow(unsafe_code)]
fn duplicate(number: i32) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the borrow ends with this statement and the number is not -1; on a number that is not open the duplication fails with EBADF.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}
