//! Record stage: counters and the log line of a session.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use ringmain_model::Needs;
use ringmain_model::log_format::LogFormat;
use ringmain_policy::expression::{Absent, Evaluation, Facts, evaluate};
use ringmain_policy::log::{Line, Moment, render_accept, verdict};
use ringmain_policy::record::{Captures, Cause, Connections, Marks, Peer, Phase, Record, Termination, Timers};
use socket2::SockAddr;

use crate::live::{FrontendCounters, ServiceCounters};
use crate::ring::{self, Sock};
use crate::session::Session;
use crate::socket;
use crate::view::{Answers, View};

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
        session.extra.borrow_mut().get_or_insert_default().addresses.local = local;
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
        session.extra.borrow_mut().get_or_insert_default().addresses.source = socket::local_of(&server.fd()).ok();
    }
    if run.needs_server_address {
        session.extra.borrow_mut().get_or_insert_default().addresses.server = Some(socket::peer(address));
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

/// Brings the counters up to date while the session runs. Before a server serves it nobody knows whose bytes they are.
pub(crate) fn flush_served(session: &Session) {
    if session.assigned.connected_us.get() != 0 {
        flush(session);
    }
}

/// Moves what the session has forwarded since the last time into the counters of its frontend, backend and server.
fn flush(session: &Session) {
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

/// Counts a response that rules refuse.
pub(crate) fn count_refused_response(session: &Session) {
    let (shard, generation) = (session.shard.index, &session.road.generation);
    generation.frontend(session.frontend).counters[shard].denied_responses.add(1);
    if let Some(backend) = session.assigned.backend.get() {
        generation.backend(backend).counters[shard].denied_responses.add(1);
    }
    if let Some(server) = &*session.assigned.server.borrow() {
        server.counters[shard].denied_responses.add(1);
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
    session.extra.borrow().as_ref().map(|extra| extra.addresses).unwrap_or_default()
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

/// Writes the session's line, unless the frontend's options or a rule say that there should be none; tells whether.
fn write_line(session: &Session, termination: Termination, ended: bool) -> bool {
    let (generation, config) = (&session.road.generation, session.frontend_config());
    let channel = &generation.log_channels[session.frontend.index()];
    with_record(session, termination, |record| {
        let Some(level) = verdict(&config.options, record, ended) else { return false };
        let Some(level) = session.extra.borrow().as_ref().and_then(|extra| extra.log_level).unwrap_or(Some(level)) else { return true };
        generation.frontend(session.frontend).counters[session.shard.index].log_lines.add(1);
        if !channel.wants(level) {
            return true;
        }
        // `error-log-format` is for handshakes that fail before there is a session; every session has the frontend's own format.
        LINE.with_borrow_mut(|(line, structured)| {
            line.clear();
            structured.clear();
            let limit = channel.longest_line();
            let formats = [(&config.log.format, &mut *line), (&config.log.structured_data, &mut *structured)];
            for (format, out) in formats {
                if let Some(format) = format {
                    render_line(session, format, record, limit, out);
                }
            }
            push(session, Line { channel, level, written_us: wall_us(), text: line, structured_data: structured });
        });
        true
    })
}

fn render_line(session: &Session, format: &LogFormat, record: &Record<'_>, limit: usize, out: &mut Vec<u8>) {
    let none = Answers::default();
    let extra = session.extra.borrow();
    let mut view = View::new(session, extra.as_ref().and_then(|extra| extra.log_answers.as_deref()).unwrap_or(&none));
    view.termination = Some(record.termination);
    session.shard.renderer.borrow_mut().render(format, record, Some(&view), limit, out);
}

/// Renders a format string outside of log lines: names of backends and servers, variables.
pub(crate) fn format(session: &Session, format: &LogFormat, facts: &dyn Facts, limit: usize, out: &mut Vec<u8>) {
    with_record(session, Termination::NORMAL, |record| {
        // Only addresses that the line of a session shows are noted when it begins.
        let client = facts.client().map_or(record.client, Peer::Inet);
        let local = facts.local().map_or(record.local, Peer::Inet);
        let record = Record { client, local, ..*record };
        session.shard.renderer.borrow_mut().render_text(format, &record, facts, limit, out);
    });
}

/// `do-log`: a line as of now.
pub(crate) fn now(session: &Session) {
    write_line(session, Termination::NORMAL, true);
}

/// Gets what tables must answer for the session's line, before the line is written.
pub(crate) async fn prepare_line(session: &Session) {
    let log = &session.frontend_config().log;
    let formats = log.format.iter().chain(&log.structured_data);
    let expressions = formats.flat_map(|format| format.expressions()).filter(|expression| expression.needs.intersects(Needs::TABLE));
    let expressions: Vec<_> = expressions.collect();
    let answers = Answers::default();
    loop {
        {
            let view = View::new(session, &answers);
            let evaluation = Evaluation { facts: &view, is_final: true };
            // In the order of the line: answers are used again in the order of the questions.
            let missed = expressions.iter().any(|expression| matches!(evaluate(expression, evaluation), Err(Absent::Table)));
            if !missed {
                break;
            }
        }
        if !answers.fetch(session).await {
            break;
        }
    }
    session.extra.borrow_mut().get_or_insert_default().log_answers = Some(Box::new(answers));
}

fn with_record<T>(session: &Session, termination: Termination, run: impl FnOnce(&Record<'_>) -> T) -> T {
    let (generation, config) = (&session.road.generation, session.frontend_config());
    let assigned = &session.assigned;
    let server = assigned.server.borrow();
    let backend = assigned.backend.get().map(|id| (&session.road.model().backend(id).name, generation.backend(id)));
    let addresses = addresses(session);
    let extra = session.extra.borrow();
    let given = extra.as_ref().map(|extra| (extra.client, extra.local)).unwrap_or_default();
    let log_number = generation.frontend(session.frontend).counters.iter();
    run(&Record {
        accepted_us: session.accepted_wall_us,
        client: given.0.unwrap_or_else(|| session.client_address.peer()),
        local: given.1.or(addresses.local).unwrap_or(Peer::Unix),
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
        log_number: log_number.map(|shard| shard.log_lines.get() as u32).fold(0, u32::wrapping_add),
        early: config.options.logasap,
        captures: Captures {
            slots: config.captures.len(),
            values: extra.as_ref().map(|extra| extra.captures.as_slice()).unwrap_or_default(),
        },
    })
}

fn push(session: &Session, line: Line<'_>) {
    if !session.shard.log.borrow_mut().push(line) {
        session.shard.process.counters[session.shard.index].dropped_logs.add(1);
    }
}
