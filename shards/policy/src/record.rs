//! What is known about one session when its line is written: the facts of a log line, no text.
//!
//! The engine fills a `Record` when a session ends (or its connection stands, with `option logasap`), `log` prints it. Nothing in here
//! reads a clock or owns a name.

use std::net::SocketAddr;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Inet(SocketAddr),
    /// Unix socket; lines show `unix` and the bind's id.
    Unix,
}

/// All facts of one session that its log line needs. Names are borrowed from the model generation that the session is pinned to.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When the connection was accepted, microseconds since 1970.
    pub accepted_us: u64,
    /// The client.
    pub client: Peer,
    /// The address the client connected to.
    pub local: Peer,
    /// Id of the bind that accepted (`id` of the bind line, or its number).
    pub bind_id: u32,
    /// Name of the frontend.
    pub frontend: &'a str,
    /// TLS on the client's side.
    pub tls: Option<Tls<'a>>,
    /// Name of the backend; the frontend's own when no backend was chosen.
    pub backend: &'a str,
    /// Name of the last server tried; `None` prints `<NOSRV>`.
    pub server: Option<&'a str>,
    /// Address of that server.
    pub server_address: Option<Peer>,
    /// Our own address on the connection to it.
    pub source_address: Option<Peer>,
    /// Durations.
    pub timers: Timers,
    /// Bytes from server to client.
    pub bytes_to_client: u64,
    /// Bytes from client to server.
    pub bytes_from_client: u64,
    /// How it ended.
    pub termination: Termination,
    /// Sessions alive when the line is written, this one included where HAProxy counts it.
    pub connections: Connections,
    /// Connection attempts after the first.
    pub retries: u32,
    /// A retry went to another server.
    pub redispatched: bool,
    /// Sessions that were before this one in its server's queue, 0 when it did not wait there.
    pub server_queue: u32,
    /// The same for the backend's queue.
    pub backend_queue: u32,
    /// Sessions the process accepted before this one.
    pub session_number: u32,
    /// Lines the frontend logged before this one.
    pub log_number: u32,
    /// The frontend has `option logasap`: `+` before total times and bytes, whenever the line is written.
    pub early: bool,
    /// What rules captured of the request.
    pub captures: Captures<'a>,
}

/// What rules captured, by the frontend's slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captures<'a> {
    /// How many slots the frontend has; with none of them a line says nothing of captures.
    pub slots: usize,
    /// The first slots; one that is missing or `None` has captured nothing.
    pub values: &'a [Option<Box<[u8]>>],
}

/// TLS facts of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls<'a> {
    /// Protocol version, such as `TLSv1.3`.
    pub version: &'a str,
    /// Cipher suite, in OpenSSL's spelling as HAProxy logs it.
    pub cipher: &'a str,
}

/// Durations in milliseconds; -1 where the session never got there (HAProxy manual section 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// `Th`: from accept to the end of handshakes; never -1.
    pub handshake_ms: i64,
    /// `Tw`: in queues.
    pub queue_ms: i64,
    /// `Tc`: until the server's connection stood, retries included.
    pub connect_ms: i64,
    /// `Td`: from then to the end.
    pub data_ms: i64,
    /// `Tt`: from accept to the end; never -1.
    pub total_ms: i64,
}

/// Points in time of one session on one monotonic clock, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Accepted.
    pub accepted_us: u64,
    /// Handshakes done; equals `accepted_us` without any.
    pub ready_us: u64,
    /// Left the queue (or did not need to wait) for its last server; `None` when none was assigned.
    pub assigned_us: Option<u64>,
    /// Gave up in a queue: the waiting counts as queue time although no server was assigned.
    pub queued: bool,
    /// The server's connection stood.
    pub connected_us: Option<u64>,
    /// The end, or the moment of an early line.
    pub ended_us: u64,
}

impl Timers {
    /// Durations between marks. Each is rounded down from differences of whole milliseconds since accept, so that the parts add up to the
    /// total, as HAProxy's do.
    pub fn between(marks: &Marks) -> Self {
        let since_accept = |mark_us: u64| (mark_us.saturating_sub(marks.accepted_us) / 1000) as i64;
        let ready = since_accept(marks.ready_us);
        let total = since_accept(marks.ended_us).max(ready);
        let assigned = match marks.assigned_us {
            Some(mark) => Some(since_accept(mark).max(ready)),
            None if marks.queued => Some(total),
            None => None,
        };
        let connected = marks.connected_us.zip(assigned).map(|(mark, assigned)| since_accept(mark).max(assigned));
        Self {
            handshake_ms: ready,
            queue_ms: assigned.map_or(-1, |assigned| assigned - ready),
            connect_ms: connected.zip(assigned).map_or(-1, |(connected, assigned)| connected - assigned),
            data_ms: connected.map_or(-1, |connected| (total - connected).max(0)),
            total_ms: total.max(connected.unwrap_or(0)),
        }
    }
}

/// Sessions alive in each place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// In the process.
    pub process: u32,
    /// In the frontend.
    pub frontend: u32,
    /// In the backend.
    pub backend: u32,
    /// On the server; 0 without a server.
    pub server: u32,
}

/// How a session ended: who or what ended it, and in which phase (HAProxy manual section 8.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Termination {
    /// First letter.
    pub cause: Cause,
    /// Second letter.
    pub phase: Phase,
}

impl Termination {
    /// `--`: both ends closed and nothing was left to send.
    pub const NORMAL: Self = Self { cause: Cause::None, phase: Phase::Done };

    /// The two letters.
    pub const fn letters(self) -> [u8; 2] {
        [self.cause.letter(), self.phase.letter()]
    }
}

/// The first event that led to the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// `-`: nothing unusual.
    None,
    /// `L`: answered here, no server was needed.
    Local,
    /// `C`: the client broke off.
    ClientAbort,
    /// `c`: the client was silent for too long.
    ClientTimeout,
    /// `S`: the server refused or broke off, or there was no server to use.
    ServerAbort,
    /// `s`: the server, its connection or its queue took too long.
    ServerTimeout,
    /// `P`: refused by a limit or a rule of the proxy.
    Proxy,
    /// `R`: out of memory, descriptors or source ports.
    Resource,
    /// `I`: an internal error.
    Internal,
    /// `D`: the server went down and its sessions are closed with it (`on-marked-down shutdown-sessions`).
    Down,
    /// `U`: an active server came back and backups are left (`on-marked-up shutdown-backup-sessions`).
    Up,
    /// `K`: closed by an administrator.
    Killed,
}

impl Cause {
    /// HAProxy's letter.
    pub const fn letter(self) -> u8 {
        match self {
            Self::None => b'-',
            Self::Local => b'L',
            Self::ClientAbort => b'C',
            Self::ClientTimeout => b'c',
            Self::ServerAbort => b'S',
            Self::ServerTimeout => b's',
            Self::Proxy => b'P',
            Self::Resource => b'R',
            Self::Internal => b'I',
            Self::Down => b'D',
            Self::Up => b'U',
            Self::Killed => b'K',
        }
    }

    /// Whether it makes the session one with an error (`option log-separate-errors`, `option dontlog-normal`).
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::None | Self::Local)
    }
}

/// Where a session was when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// `-`: the transfer was complete.
    Done,
    /// `R`: waiting for the client's request (in tcp mode: content inspection).
    Request,
    /// `Q`: waiting in a queue.
    Queue,
    /// `C`: connecting to the server.
    Connect,
    /// `D`: data was flowing.
    Data,
    /// `L`: the server had finished, the last bytes were on their way to the client.
    Last,
    /// `T`: held in a tarpit.
    Tarpit,
}

impl Phase {
    /// HAProxy's letter.
    pub const fn letter(self) -> u8 {
        match self {
            Self::Done => b'-',
            Self::Request => b'R',
            Self::Queue => b'Q',
            Self::Connect => b'C',
            Self::Data => b'D',
            Self::Last => b'L',
            Self::Tarpit => b'T',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks {
        accepted_us: 1_000_700,
        ready_us: 1_000_700,
        assigned_us: Some(1_003_600),
        queued: false,
        connected_us: Some(1_010_699),
        ended_us: 1_500_700,
    };

    #[test]
    fn parts_add_up_to_the_total() {
        let timers = Timers::between(&MARKS);
        assert_eq!(timers, Timers { handshake_ms: 0, queue_ms: 2, connect_ms: 7, data_ms: 491, total_ms: 500 });
    }

    #[test]
    fn phases_never_reached_are_minus_one() {
        let refused = Timers::between(&Marks { connected_us: None, ..MARKS });
        assert_eq!((refused.queue_ms, refused.connect_ms, refused.data_ms, refused.total_ms), (2, -1, -1, 500));
        let unassigned = Timers::between(&Marks { assigned_us: None, connected_us: None, ..MARKS });
        assert_eq!((unassigned.queue_ms, unassigned.connect_ms, unassigned.data_ms), (-1, -1, -1));
        let expired = Timers::between(&Marks { assigned_us: None, connected_us: None, queued: true, ..MARKS });
        assert_eq!((expired.queue_ms, expired.connect_ms, expired.total_ms), (500, -1, 500));
    }

    #[test]
    fn marks_out_of_order_never_give_negative_times() {
        let timers = Timers::between(&Marks { ended_us: 0, ..MARKS });
        assert!(timers.total_ms >= 0 && timers.data_ms >= 0 && timers.queue_ms >= 0);
    }
}
