//! Opens listening sockets: one SO_REUSEPORT socket per shard for TCP, one socket shared by all shards for unix addresses.
//!
//! All sockets of a load are opened before anything changes, so that a failure leaves everything as it was. Shards close them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::socket::{self as sys, AddressFamily, SockFlag, SockType, UnixAddr, sockopt};
use ringmain_model::{Bind, Endpoint, Ipv6Binding, Model};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::registry::Listener;

/// Sockets of one listener, one per shard.
pub type ShardSockets = Vec<OwnedFd>;
/// New listeners by the key that stays over reloads, with their sockets.
pub type KeyedSockets = Vec<(u64, ShardSockets)>;

/// How careful to be about ports that another process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbours {
    /// A port held by anybody else is an error, also by one that would share it.
    Refuse,
    /// Old processes that this one replaces (`-sf`, `-st`) may hold it.
    Share,
}

/// Opens the sockets of new listeners.
///
/// # Errors
/// One line for each address that could not be had, as HAProxy words it; then nothing is open.
pub fn open(
    model: &Model,
    wanted: &[&Listener],
    held: &[SocketAddr],
    shards: usize,
    neighbours: Neighbours,
) -> Result<KeyedSockets, Vec<String>> {
    let mut failures = Vec::new();
    let held_ports: HashSet<u16> = held.iter().map(SocketAddr::port).collect();
    if neighbours == Neighbours::Refuse {
        for listener in wanted {
            let bind = bind_of(model, listener);
            // A port where this process listens already, on another address, says nothing about others.
            if let Endpoint::Inet(address) = &bind.endpoint
                && !held_ports.contains(&address.port())
                && let Err(failure) = probe(bind, *address)
            {
                failures.push(describe(model, listener, &failure));
            }
        }
    }
    if !failures.is_empty() {
        return Err(failures);
    }
    let mut opened = Vec::new();
    let mut renames = Vec::new();
    for listener in wanted {
        match open_one(bind_of(model, listener), shards, &mut renames) {
            Ok(sockets) => opened.push((listener.key, sockets)),
            Err(failure) => failures.push(describe(model, listener, &failure)),
        }
    }
    if failures.is_empty() {
        // Unix sockets take their places only when all is well: the old ones work until then.
        let renamed = renames.iter().try_for_each(|(from, to)| fs::rename(from, to).map_err(|error| (to, error)));
        match renamed {
            Ok(()) => return Ok(opened),
            Err((path, error)) => failures.push(format!("cannot switch UNIX socket [{}]: {error}", path.display())),
        }
    }
    renames.iter().for_each(|(temporary, _)| drop(fs::remove_file(temporary)));
    Err(failures)
}

/// What went wrong with one socket.
struct Failure {
    what: &'static str,
    error: io::Error,
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure { what, error }
}

fn bind_of<'a>(model: &'a Model, listener: &Listener) -> &'a Bind {
    &model.frontend(listener.frontend).binds[listener.bind.index()]
}

/// `Binding [file:line] for frontend f: cannot bind socket (Address already in use) for [address]`.
fn describe(model: &Model, listener: &Listener, failure: &Failure) -> String {
    let bind = bind_of(model, listener);
    let name = &model.frontend(listener.frontend).name;
    let Failure { what, error } = failure;
    let reason = error.raw_os_error().map_or_else(|| error.to_string(), errno_text);
    format!("Binding [{}] for frontend {name}: {what} ({reason}) for [{}]", bind.location, show(&bind.endpoint))
}

/// The kernel's words for an errno, without Rust's number behind them.
pub fn errno_text(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_string()
}

/// An endpoint as messages show it.
pub fn show(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Inet(address) => format!("{}:{}", address.ip(), address.port()),
        Endpoint::Unix(path) => format!("unix@{}", path.display()),
        Endpoint::Abstract(name) => format!("abns@{name}"),
        Endpoint::Descriptor(number) => format!("fd@{number}"),
    }
}

fn open_one(bind: &Bind, shards: usize, renames: &mut Vec<(PathBuf, PathBuf)>) -> Result<ShardSockets, Failure> {
    match &bind.endpoint {
        Endpoint::Inet(address) => (0..shards).map(|_| open_inet(bind, *address)).collect(),
        Endpoint::Unix(path) => {
            let (socket, temporary) = open_unix(bind, path)?;
            renames.push((temporary, path.clone()));
            share(socket, shards)
        }
        Endpoint::Abstract(name) => share(open_abstract(bind, name)?, shards),
        Endpoint::Descriptor(number) => share(adopt(*number)?, shards),
    }
}

/// One socket for all shards: each gets a descriptor of its own.
fn share(socket: OwnedFd, shards: usize) -> Result<ShardSockets, Failure> {
    let mut sockets = ShardSockets::new();
    for _ in 1..shards {
        sockets.push(socket.try_clone().map_err(failed("cannot duplicate socket"))?);
    }
    sockets.push(socket);
    Ok(sockets)
}

fn configure(bind: &Bind, address: SocketAddr) -> Result<Socket, Failure> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP)).map_err(failed("cannot create listening socket"))?;
    socket.set_reuse_address(true).map_err(failed("cannot set SO_REUSEADDR"))?;
    if address.is_ipv6() {
        match bind.ipv6 {
            Ipv6Binding::System => Ok(()),
            Ipv6Binding::Both => socket.set_only_v6(false),
            Ipv6Binding::Only => socket.set_only_v6(true),
        }
        .map_err(failed("cannot set IPV6_V6ONLY"))?;
    }
    if let Some(interface) = &bind.interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(failed("cannot bind listener to device"))?;
    }
    Ok(socket)
}

/// Whether the port is free: SO_REUSEPORT would let this process join another one that listens there and steal half of its connections.
fn probe(bind: &Bind, address: SocketAddr) -> Result<(), Failure> {
    let socket = configure(bind, address)?;
    socket.bind(&address.into()).map_err(failed("cannot bind socket"))?;
    // Two sockets may be bound to one address with SO_REUSEADDR as long as none listens.
    socket.listen(1).map_err(failed("cannot listen to socket"))
}

fn open_inet(bind: &Bind, address: SocketAddr) -> Result<OwnedFd, Failure> {
    let socket = configure(bind, address)?;
    socket.set_reuse_port(true).map_err(failed("cannot set SO_REUSEPORT"))?;
    socket.bind(&address.into()).map_err(failed("cannot bind socket"))?;
    socket.listen(backlog(bind)).map_err(failed("cannot listen to socket"))?;
    Ok(socket.into())
}

fn backlog(bind: &Bind) -> i32 {
    i32::try_from(bind.backlog).unwrap_or(i32::MAX)
}

/// Binds under a temporary name beside the wanted one, so that a socket that is there now works until the new one takes its place.
fn open_unix(bind: &Bind, path: &Path) -> Result<(OwnedFd, PathBuf), Failure> {
    let mut temporary = path.as_os_str().to_os_string();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("cannot unlink UNIX socket")(error)),
        _ => {}
    }
    let address = UnixAddr::new(&temporary).map_err(|error| failed("path too long or wrong")(error.into()))?;
    let socket = unix_socket(&address)?;
    let secured = secure(bind, &temporary).and_then(|()| listen_unix(bind, &socket));
    if let Err(failure) = secured {
        let _ = fs::remove_file(&temporary);
        return Err(failure);
    }
    Ok((socket, temporary))
}

fn unix_socket(address: &UnixAddr) -> Result<OwnedFd, Failure> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = sys::socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|error| failed("cannot create UNIX socket")(error.into()))?;
    sys::bind(socket.as_raw_fd(), address).map_err(|error| failed("cannot bind UNIX socket")(error.into()))?;
    Ok(socket)
}

fn listen_unix(bind: &Bind, socket: &OwnedFd) -> Result<(), Failure> {
    SockRef::from(socket).listen(backlog(bind)).map_err(failed("cannot listen to UNIX socket"))
}

fn secure(bind: &Bind, path: &Path) -> Result<(), Failure> {
    let permissions = &bind.permissions;
    if permissions.uid.is_some() || permissions.gid.is_some() {
        std::os::unix::fs::chown(path, permissions.uid, permissions.gid).map_err(failed("cannot change UNIX socket ownership"))?;
    }
    match permissions.mode {
        Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed("cannot set UNIX socket mode")),
        None => Ok(()),
    }
}

fn open_abstract(bind: &Bind, name: &str) -> Result<OwnedFd, Failure> {
    let address = abstract_address(name).map_err(|error| failed("cannot use this name")(error.into()))?;
    let socket = unix_socket(&address)?;
    listen_unix(bind, &socket)?;
    Ok(socket)
}

/// The address of an abstract name, padded with zeros to the full length as HAProxy does.
///
/// # Errors
/// When the name is longer than 107 bytes.
pub fn abstract_address(name: &str) -> nix::Result<UnixAddr> {
    const LENGTH: usize = 107;
    let mut padded = name.as_bytes().to_vec();
    padded.resize(LENGTH.max(padded.len()), 0);
    UnixAddr::new_abstract(&padded)
}

/// A listening socket that whoever started the process left open; the original stays open for the next reload.
fn adopt(number: i32) -> Result<OwnedFd, Failure> {
    let path = format!("/proc/self/fd/{number}");
    fs::metadata(path).map_err(failed("no such descriptor"))?;
    let copy = duplicate(number).map_err(failed("cannot duplicate socket"))?;
    let listening = sys::getsockopt(&copy, sockopt::AcceptConn).map_err(|error| failed("not a socket")(error.into()))?;
    if !listening {
        return Err(failed("not a listening socket")(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(copy.as_fd(), nix::fcntl::FcntlArg::F_SETFL(flags)).map_err(|error| failed("cannot configure")(error.into()))?;
    Ok(copy)
}

/// A close-on-exec copy of a descriptor that is known by number only.
#[allow(unsafe_code)]
fn duplicate(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is only borrowed for this call. It was inherited and nothing in this process owns or closes it; if it were
    // closed meanwhile, the call fails with EBADF.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::control::fixture::model;
    use crate::control::registry::Registry;

    fn open_all(sections: &str, shards: usize) -> Result<KeyedSockets, Vec<String>> {
        let proposal = Registry::new(shards, "ringmain".into()).propose(model(sections));
        let wanted: Vec<&Listener> = proposal.listeners.iter().collect();
        open(&proposal.generation.model, &wanted, &[], shards, Neighbours::Refuse)
    }

    fn accepts(socket: &OwnedFd) -> bool {
        // The connection is closed at once.
        SockRef::from(socket).accept().is_ok()
    }

    #[test]
    fn a_unix_socket_takes_the_place_of_a_stale_one_with_its_mode() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("web.sock");
        drop(UnixListener::bind(&path).expect("a socket that nobody serves any more"));
        assert!(UnixStream::connect(&path).is_err());
        let sections = format!("listen web\n  bind unix@{} mode 600\n  server one 127.0.0.1:9\n", path.display());
        let sockets = open_all(&sections, 2).expect("opened");
        assert_eq!(sockets[0].1.len(), 2);
        let mut client = UnixStream::connect(&path).expect("served");
        client.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a timeout");
        assert!(accepts(&sockets[0].1[0]) && !accepts(&sockets[0].1[1]), "both are one socket");
        assert_eq!(client.read(&mut [0]).expect("the accepted one was closed"), 0);
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "no temporary name is left");
    }

    #[test]
    fn a_failure_leaves_everything_as_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("web.sock");
        let old = UnixListener::bind(&path).expect("a socket");
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = taken.local_addr().expect("an address");
        let sections =
            format!("listen web\n  bind unix@{}\n  bind unix@/nonexistent/directory/web.sock\n  server one 127.0.0.1:9\n", path.display());
        let failures = open_all(&sections, 1).expect_err("no such directory");
        assert_eq!(failures.len(), 1);
        assert!(failures[0].ends_with("(No such file or directory) for [unix@/nonexistent/directory/web.sock]"), "{failures:?}");
        assert!(UnixStream::connect(&path).is_ok(), "the old socket still stands under its name");
        let sections = format!("listen web\n  bind {address}\n  server one 127.0.0.1:9\n");
        let failures = open_all(&sections, 1).expect_err("taken");
        assert_eq!(
            failures,
            [format!("Binding [test.cfg:7] for frontend web: cannot bind socket (Address already in use) for [{address}]")]
        );
        drop(old);
    }

    #[test]
    fn every_shard_has_its_own_tcp_socket() {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a port");
        let sockets = open_all(&format!("listen web\n  bind {free}\n  server one 127.0.0.1:9\n"), 2).expect("opened");
        for _ in 0..200 {
            std::net::TcpStream::connect(free).expect("served");
        }
        assert!(sockets[0].1.iter().all(accepts), "the kernel spreads connections over both");
    }

    #[test]
    fn abstract_names_are_padded_as_haproxy_pads_them() {
        let name = format!("ringmain-test-{}", std::process::id());
        let sockets = open_all(&format!("listen web\n  bind abns@{name}\n  server one 127.0.0.1:9\n"), 1).expect("opened");
        let client = sys::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        let address = abstract_address(&name).expect("short enough");
        sys::connect(client.as_raw_fd(), &address).expect("served");
        assert!(accepts(&sockets[0].1[0]));
        assert!(abstract_address(&"x".repeat(108)).is_err());
    }

    #[test]
    fn an_inherited_descriptor_must_listen() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let number = listener.as_raw_fd();
        let sockets = open_all(&format!("listen web\n  bind fd@{number}\n  server one 127.0.0.1:9\n"), 2).expect("opened");
        std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("served");
        assert!(accepts(&sockets[0].1[1]));
        assert!(!accepts(&sockets[0].1[0]), "it does not block");
        let file = fs::File::open("/dev/null").expect("a file");
        let failures = open_all(&format!("listen web\n  bind fd@{}\n  server one 127.0.0.1:9\n", file.as_raw_fd()), 1);
        assert!(failures.expect_err("no socket")[0].contains("not a socket"));
        assert!(open_all("listen web\n  bind fd@9999\n  server one 127.0.0.1:9\n", 1).is_err());
    }
}
