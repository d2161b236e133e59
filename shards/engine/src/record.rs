//! Record stage: counters and the log line of a session.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use ringmain_policy::log::{Line, Moment, render_accept, verdict};
use ringmain_policy::record::{Cause, Connections, Marks, Peer, Phase, Record, Termination, Timers};
use socket2::SockAddr;

use crate::live::{FrontendCounters, ServiceCounters};
use crate::ring::{self, Sock};
use crate::session::Session;
use crate::socket;

thread_local! {
    /// Lines are put together here; it grows to the longest line once.
    static LINE: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Facts for the line that must be asked for while the sockets are open.
#[derive(Clone, Copy, Default)]
pub(crate) struct Addresses {
    pub local: Option<Peer>,
    pub server: Option<Peer>,
    pub source: Option<Peer>,
}

/// A client's address, small: most are IPv4.
pub(crate) enum Address {
    /// Nobody needs it.
    NotAsked,
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
    Unix,
}

impl Address {
    pub fn of(peer: Option<Peer>) -> Self {
        match peer {
            None => Self::NotAsked,
            Some(Peer::Inet(SocketAddr::V4(address))) => Self::V4(address),
            Some(Peer::Inet(SocketAddr::V6(address))) => Self::V6(Box::new(address)),
            Some(Peer::Unix) => Self::Unix,
        }
    }

    /// For a log line; an address that was not asked for is not in the line either.
    pub fn peer(&self) -> Peer {
        match self {
            Self::V4(address) => Peer::Inet(SocketAddr::V4(*address)),
            Self::V6(address) => Peer::Inet(SocketAddr::V6(**address)),
            Self::NotAsked | Self::Unix => Peer::Unix,
        }
    }

    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::V4(address) => Some(IpAddr::V4(*address.ip())),
            Self::V6(address) => Some(IpAddr::V6(*address.ip())),
            Self::NotAsked | Self::Unix => None,
        }
    }
}

/// Now, microseconds since 1970, on the ring's cached clock.
pub(crate) fn wall_us() -> u64 {
    u64::try_from(ring::wall_since_epoch().as_micros()).unwrap_or(u64::MAX)
}

/// The "Connect from" line of frontends without a log format, and addresses that later lines need.
pub(crate) fn at_accept(session: &Session) {
    let run = session.road.run(session.frontend);
    if run.needs_local_address {
        let local = session.client.local().ok().map(|address| socket::peer(&address));
        session.addresses.borrow_mut().get_or_insert_default().local = local;
    }
    if run.moment != Some(Moment::Accept) {
        return;
    }
    let (client, local) = (session.client_address.peer(), addresses(session).local.unwrap_or(Peer::Unix));
    let config = session.frontend_config();
    let channel = &session.road.generation.log_channels[session.frontend.index()];
    LINE.with_borrow_mut(|(line, _)| {
        line.clear();
        render_accept(client, local, session.road.bind_id(session.frontend, session.bind), &config.name, channel.longest_line(), line);
        let written_us = wall_us();
        push(session, Line { channel, level: ringmain_model::Level::Info, written_us, text: line, structured_data: &[] });
    });
}

/// The addresses of an attempt to connect, for lines that name them: also when it failed.
pub(crate) fn at_attempt(session: &Session, server: &Sock, address: &SockAddr) {
    let run = session.road.run(session.frontend);
    if run.needs_source_address {
        session.addresses.borrow_mut().get_or_insert_default().source = socket::local_of(&server.fd()).ok();
    }
    if run.needs_server_address {
        session.addresses.borrow_mut().get_or_insert_default().server = Some(socket::peer(address));
    }
}

/// The early line of `option logasap`.
pub(crate) fn at_connect(session: &Session) {
    let run = session.road.run(session.frontend);
    if run.moment == Some(Moment::Connect) {
        let written = write_line(session, Termination::NORMAL, false);
        // A line that was not worth writing yet may be at the end.
        session.assigned.logged.set(written);
    }
}

/// Counts the session and writes its line.
pub(crate) fn at_end(session: &Session, termination: Termination) {
    flush(session);
    count_end(session, termination);
    let moment = session.road.run(session.frontend).moment;
    if matches!(moment, Some(Moment::End | Moment::Connect)) && !session.assigned.logged.get() {
        write_line(session, termination, true);
    }
}

/// Moves what the session has forwarded since the last time into the counters of its frontend, backend and server.
pub(crate) fn flush(session: &Session) {
    let (bytes_in, bytes_out) = (session.up.bytes.get(), session.down.bytes.get());
    let more_in = bytes_in - session.flushed_in.replace(bytes_in);
    let more_out = bytes_out - session.flushed_out.replace(bytes_out);
    if more_in == 0 && more_out == 0 {
        return;
    }
    let (shard, generation) = (session.shard.index, &session.road.generation);
    session.shard.process.counters[shard].bytes.add(more_in + more_out);
    for counters in
        [&generation.frontend(session.frontend).counters[shard], &generation.bind(session.frontend, session.bind).counters[shard]]
    {
        counters.bytes_in.add(more_in);
        counters.bytes_out.add(more_out);
    }
    let Some(backend) = session.assigned.backend.get() else { return };
    let counters = &generation.backend(backend).counters[shard];
    counters.bytes_in.add(more_in);
    counters.bytes_out.add(more_out);
    if let Some(server) = &*session.assigned.server.borrow() {
        server.counters[shard].bytes_in.add(more_in);
        server.counters[shard].bytes_out.add(more_out);
    }
}

fn count_end(session: &Session, termination: Termination) {
    let (shard, generation) = (session.shard.index, &session.road.generation);
    let frontend: &FrontendCounters = &generation.frontend(session.frontend).counters[shard];
    let Some(backend) = session.assigned.backend.get() else {
        if termination.cause == Cause::ClientAbort {
            frontend.request_errors.add(1);
        }
        return;
    };
    let backend: &ServiceCounters = &generation.backend(backend).counters[shard];
    let server = session.assigned.server.borrow();
    let server: Option<&ServiceCounters> = server.as_ref().map(|server| &*server.counters[shard]);
    if let Some(server) = server {
        // A session that never had a server has no times that would say anything about servers.
        let timers = timers(session);
        let times_ms = [timers.queue_ms, timers.connect_ms, timers.total_ms].map(|milliseconds| u64::try_from(milliseconds).unwrap_or(0));
        backend.add_times(times_ms);
        server.add_times(times_ms);
    }
    let timed_out_waiting = termination == Termination { cause: Cause::ServerTimeout, phase: Phase::Queue };
    if timed_out_waiting || termination.phase == Phase::Connect && server.is_none() {
        backend.connect_errors.add(1);
    }
    let aborts = match (termination.cause, termination.phase) {
        (Cause::ClientAbort, _) => Some((&backend.client_aborts, server.map(|server| &server.client_aborts))),
        (Cause::ServerAbort, Phase::Data) => Some((&backend.server_aborts, server.map(|server| &server.server_aborts))),
        _ => None,
    };
    if let Some((of_backend, of_server)) = aborts {
        of_backend.add(1);
        if let Some(counter) = of_server {
            counter.add(1);
        }
    }
}

fn addresses(session: &Session) -> Addresses {
    session.addresses.borrow().as_deref().copied().unwrap_or_default()
}

fn timers(session: &Session) -> Timers {
    let assigned = &session.assigned;
    let mark = |value: u64| (value != 0).then_some(value);
    Timers::between(&Marks {
        accepted_us: session.accepted_us,
        ready_us: session.accepted_us,
        assigned_us: mark(assigned.assigned_us.get()),
        queued: assigned.queued.get(),
        connected_us: mark(assigned.connected_us.get()),
        ended_us: ring::now_us(),
    })
}

/// Writes the session's line, unless the frontend's options say that there should be none; tells whether.
fn write_line(session: &Session, termination: Termination, ended: bool) -> bool {
    let (generation, config) = (&session.road.generation, session.frontend_config());
    let channel = &generation.log_channels[session.frontend.index()];
    let assigned = &session.assigned;
    let server = assigned.server.borrow();
    let backend = assigned.backend.get().map(|id| (&session.road.model().backend(id).name, generation.backend(id)));
    let counters = &generation.frontend(session.frontend).counters[session.shard.index];
    let addresses = addresses(session);
    let record = Record {
        accepted_us: session.accepted_wall_us,
        client: session.client_address.peer(),
        local: addresses.local.unwrap_or(Peer::Unix),
        bind_id: session.road.bind_id(session.frontend, session.bind),
        frontend: &config.name,
        tls: None,
        backend: backend.as_ref().map_or(&config.name, |(name, _)| name),
        server: server.as_ref().map(|server| &*server.name),
        server_address: addresses.server,
        source_address: addresses.source,
        timers: timers(session),
        bytes_to_client: session.down.bytes.get(),
        bytes_from_client: session.up.bytes.get(),
        termination,
        connections: Connections {
            process: session.shard.process.sessions.inside(),
            frontend: generation.frontend(session.frontend).sessions.inside(),
            backend: backend.as_ref().map_or(0, |(_, live)| live.sessions.inside()),
            server: server.as_ref().map_or(0, |server| server.active.load(std::sync::atomic::Ordering::Relaxed)),
        },
        retries: assigned.retries.get(),
        redispatched: assigned.redispatched.get(),
        server_queue: assigned.server_queue.get(),
        backend_queue: assigned.backend_queue.get(),
        session_number: session.number,
        log_number: generation
            .frontend(session.frontend)
            .counters
            .iter()
            .map(|shard| shard.log_lines.get() as u32)
            .fold(0, u32::wrapping_add),
        early: config.options.logasap,
    };
    let Some(level) = verdict(&config.options, &record, ended) else { return false };
    counters.log_lines.add(1);
    if !channel.wants(level) {
        return true;
    }
    // `error-log-format` is for handshakes that fail before there is a session; every session has the frontend's own format.
    let format = &config.log.format;
    LINE.with_borrow_mut(|(line, structured)| {
        line.clear();
        structured.clear();
        let mut renderer = session.shard.renderer.borrow_mut();
        let limit = channel.longest_line();
        if let Some(format) = format {
            renderer.render(format, &record, None, limit, line);
        }
        if let Some(format) = &config.log.structured_data {
            renderer.render(format, &record, None, limit, structured);
        }
        drop(renderer);
        push(session, Line { channel, level, written_us: wall_us(), text: line, structured_data: structured });
    });
    true
}

fn push(session: &Session, line: Line<'_>) {
    if !session.shard.log.borrow_mut().push(line) {
        session.shard.process.counters[session.shard.index].dropped_logs.add(1);
    }
}
