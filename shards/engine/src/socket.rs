//! Socket calls that do not block: making outgoing sockets, options, addresses. Called by sessions and checks; never waits for a peer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ringmain_model::{SourceAddress, Tuning};
use ringmain_policy::expression::TcpField;
use ringmain_policy::record::Peer;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use crate::live::Destination;
use crate::ring::S;

/// Where to connect and the socket to do it with.
pub(crate) struct Outgoing {
    pub socket: OwnedFd,
    pub address: SockAddr,
}

/// The concrete address of a destination; `client_port` finds out the port the client connected to, where that matters.
///
/// # Errors
/// `InvalidInput` when a mapped port leaves 1-65535 or a path is too long for a socket address.
pub(crate) fn resolve(destination: &Destination, client_port: impl FnOnce() -> u16) -> io::Result<SockAddr> {
    match destination {
        Destination::Inet(address) => Ok(SockAddr::from(*address)),
        Destination::Mapped(ip, offset) => {
            let port = u16::try_from(i32::from(client_port()).saturating_add(*offset)).map_err(|_| io::ErrorKind::InvalidInput)?;
            Ok(SockAddr::from(SocketAddr::new(*ip, port)))
        }
        Destination::Unix(path) => SockAddr::unix(path),
        Destination::Abstract(name) => SockAddr::unix(abstract_path(name)),
    }
}

/// An abstract name as the path form socket2 understands: a leading zero byte, padded with zeros to the full length as HAProxy does.
pub fn abstract_path(name: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    const SUN_PATH: usize = 108;
    let mut path = vec![0u8];
    path.extend(name.bytes().take(SUN_PATH - 1));
    path.resize(SUN_PATH, 0);
    std::ffi::OsString::from_vec(path)
}

/// A non-blocking socket for a connection to `address`, bound to `source` where there is one.
///
/// # Errors
/// Whatever socket(2), bind(2) or setsockopt(2) says; `EMFILE` and friends mean that this side is short of something.
pub(crate) fn outgoing(address: SockAddr, source: Option<&SourceAddress>, tuning: &Tuning) -> io::Result<Outgoing> {
    let domain = address.domain();
    let inet = domain != Domain::UNIX;
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(domain, kind, inet.then_some(Protocol::TCP))?;
    if inet {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(source) = source.filter(|_| inet) {
        bind_source(&socket, source, domain)?;
    }
    if let Some(size) = tuning.server_receive_buffer {
        socket.set_recv_buffer_size(size as usize)?;
    }
    if let Some(size) = tuning.server_send_buffer {
        socket.set_send_buffer_size(size as usize)?;
    }
    Ok(Outgoing { socket: socket.into(), address })
}

fn bind_source(socket: &Socket, source: &SourceAddress, domain: Domain) -> io::Result<()> {
    if let Some(interface) = &source.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    let same_family = source.address.is_ipv4() == (domain == Domain::IPV4);
    if !same_family || (source.address.ip().is_unspecified() && source.address.port() == 0) {
        return Ok(());
    }
    if source.address.port() != 0 {
        socket.set_reuse_address(true)?;
    } else if let Err(error) = set_bind_address_no_port(socket) {
        // Kernels before 4.2 lack the option; the port is then chosen at bind, which works with fewer connections per source.
        if error.raw_os_error() != Some(libc::ENOPROTOOPT) {
            return Err(error);
        }
    }
    socket.bind(&SockAddr::from(source.address))
}

/// IP_BIND_ADDRESS_NO_PORT: the kernel chooses the port at connect, so that one source address reaches 64k connections per destination.
fn set_bind_address_no_port(socket: &Socket) -> io::Result<()> {
    nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true).map_err(io::Error::from)
}

/// Options of a listening socket, which the connections it accepts inherit: none need be set for each of them.
///
/// # Errors
/// Whatever setsockopt(2) says; connections then work with the kernel's defaults.
pub(crate) fn prepare_listener(socket: &OwnedFd, keepalive: bool, tuning: &Tuning) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if socket.domain()? != Domain::UNIX {
        socket.set_tcp_nodelay(true)?;
        socket.set_keepalive(keepalive)?;
    }
    if let Some(size) = tuning.client_receive_buffer {
        socket.set_recv_buffer_size(size as usize)?;
    }
    if let Some(size) = tuning.client_send_buffer {
        socket.set_send_buffer_size(size as usize)?;
    }
    Ok(())
}

/// SO_KEEPALIVE on a connection to a server.
pub(crate) fn set_keepalive(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_keepalive(true)
}

/// The type-of-service byte of what is sent to the client (`set-tos`). A kernel that refuses leaves it as it is, as HAProxy does.
pub(crate) fn set_type_of_service(socket: S, value: u8) {
    use nix::sys::socket::{setsockopt, sockopt};
    let _ = socket.sock_ref(|socket| {
        match socket.domain()? {
            Domain::IPV4 => setsockopt(&*socket, sockopt::Ipv4Tos, &i32::from(value))?,
            Domain::IPV6 => setsockopt(&*socket, sockopt::Ipv6TClass, &i32::from(value))?,
            _ => {}
        }
        Ok(())
    });
}

/// Lets the client believe that the connection still stands (`silent-drop`): the close that follows sends nothing, or with too few rights
/// for that, a reset that gets no further than the first router.
pub(crate) fn forget(socket: S) {
    use nix::sys::socket::{setsockopt, sockopt};
    let _ = socket.sock_ref(|socket| {
        if set_repair(&socket).is_err() {
            socket.set_linger(Some(std::time::Duration::ZERO))?;
            match socket.domain()? {
                Domain::IPV4 => socket.set_ttl_v4(1)?,
                Domain::IPV6 => setsockopt(&*socket, sockopt::Ipv6Ttl, &1)?,
                _ => {}
            }
        }
        Ok(())
    });
}

/// TCP_REPAIR: a socket in this mode closes without a word. Needs CAP_NET_ADMIN.
#[allow(unsafe_code)]
fn set_repair(socket: &SockRef<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the value is a readable int of the length given, and the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether this host has an address: only then may a socket be bound to it.
pub(crate) fn is_own_address(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// One of the kernel's figures about a TCP connection (TCP_INFO).
#[allow(unsafe_code)]
pub(crate) fn tcp_info(socket: S, field: TcpField) -> Option<i64> {
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let done = socket.sock_ref(|socket| {
        // SAFETY: the kernel writes at most `length` bytes into a structure of that size.
        let result =
            unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    });
    done.ok()?;
    Some(
        match field {
            TcpField::RttUs => info.tcpi_rtt,
            TcpField::RttVarianceUs => info.tcpi_rttvar,
            TcpField::Unacked => info.tcpi_unacked,
            TcpField::Sacked => info.tcpi_sacked,
            TcpField::Retransmissions => info.tcpi_retrans,
            TcpField::ForwardAcked => info.tcpi_fackets,
            TcpField::Lost => info.tcpi_lost,
            TcpField::Reordering => info.tcpi_reordering,
        }
        .into(),
    )
}

/// The other end of a connection.
pub(crate) fn peer_of(socket: &impl AsFd) -> io::Result<Peer> {
    SockRef::from(socket).peer_addr().map(|address| peer(&address))
}

/// This end of a connection.
pub(crate) fn local_of(socket: &impl AsFd) -> io::Result<Peer> {
    SockRef::from(socket).local_addr().map(|address| peer(&address))
}

/// A socket address as a log line knows it.
pub(crate) fn peer(address: &SockAddr) -> Peer {
    address.as_socket().map_or(Peer::Unix, Peer::Inet)
}
