//! One attempt to connect to the chosen server.

use std::io;

use ringmain_model::{BackendId, Milliseconds};
use ringmain_policy::record::{Peer, Phase, Termination};

use crate::live::Snapshot;
use crate::record;
use crate::ring::{self, Sock};
use crate::session::Session;
use crate::signal::{Either, race};
use crate::socket;
use crate::watch::{Interruption, interruption};

/// Why an attempt failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// The server refused, or the network says that it cannot be reached.
    Refused,
    /// `timeout connect` ran out.
    TimedOut,
    /// This side is short of descriptors, ports or memory, or may not do it: the server is not to blame.
    Local,
    /// The session ends, whatever the server does.
    Interrupted(Termination),
}

/// Connects to the server at `position` of the snapshot.
pub(crate) async fn attempt(session: &Session, backend: BackendId, snapshot: &Snapshot, position: usize) -> Result<Sock, Failure> {
    let chosen = &snapshot.servers[position];
    let config = snapshot.model.server(chosen.id);
    let backend_config = session.road.model().backend(backend);
    let destination = chosen.destination.as_ref().ok_or(Failure::Refused)?;
    let address = socket::resolve(destination, || client_port(session)).map_err(|_| Failure::Local)?;
    let tuning = &snapshot.model.global.tuning;
    let outgoing = socket::outgoing(address, config.source.as_ref(), tuning).map_err(|_| Failure::Local)?;
    if backend_config.options.server_tcp_keepalive {
        socket::set_keepalive(&outgoing.socket).map_err(|_| Failure::Local)?;
    }
    let sock = Sock::adopt_nonblocking(outgoing.socket);
    let deadline_ms = backend_config.timeouts.connect.map(Milliseconds::get).map(|timeout| ring::now_ms() + timeout);
    let watch = interruption(session, deadline_ms, backend_config.options.abort_on_close);
    let outcome = race(sock.handle().connect(&outgoing.address), watch).await;
    record::at_attempt(session, &sock, &outgoing.address);
    match outcome {
        Either::Left(Ok(())) => Ok(sock),
        Either::Left(Err(error)) => Err(classify(&error)),
        Either::Right(Interruption::Deadline) => Err(Failure::TimedOut),
        Either::Right(other) => match other.termination(Phase::Connect) {
            Some(termination) => Err(Failure::Interrupted(termination)),
            None => Err(Failure::TimedOut),
        },
    }
}

/// The port the client connected to, for servers without a port of their own; 0 for unix sockets.
fn client_port(session: &Session) -> u16 {
    match session.client.local().map(|address| socket::peer(&address)) {
        Ok(Peer::Inet(address)) => address.port(),
        _ => 0,
    }
}

fn classify(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(
            libc::EMFILE
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENOMEM
            | libc::EAGAIN
            | libc::EADDRINUSE
            | libc::EADDRNOTAVAIL
            | libc::EPERM,
        ) => Failure::Local,
        Some(libc::ETIMEDOUT) => Failure::TimedOut,
        _ => Failure::Refused,
    }
}
