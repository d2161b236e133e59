//! MQTT as seen from outside: the first packet of either side is read along while it is forwarded, for statistics, for the lint on keep
//! alive and for draining (`drain.rs`).
//!
//! A session is watched when its frontend or backend wants it ([`Interest`]); others have nothing of this. The stages tell what comes by:
//! `prepare` while rules hold the client's bytes, `held` when they go to the server, the two directions from then on. Nothing is ever held
//! back for it, and nothing is read that would not be read anyway.

mod count;
mod interest;
mod times;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ringmain_wire::mqtt::{Framer, Limits, Progress, PropertyId, PropertyValue, Reason, Version, parse_connack, parse_connect};

pub(crate) use count::drained as count_drained;
pub(crate) use interest::Interest;
pub(crate) use times::Times;

use crate::drain;
use crate::forward::{End, Meter, code};
use crate::held;
use crate::ring::{self, Buf, S, Sent};
use crate::session::Session;

/// The longest CONNACK that is read.
const LONGEST_CONNACK: u32 = 64 << 10;

/// What is known about a watched session.
pub(crate) struct Watch {
    first: First,
    answer: Answer,
    counted: Counted,
    /// When the CONNECT was complete, monotonic microseconds.
    connect_us: u64,
    /// Where the server's packets begin and end, for sessions that may be told to go.
    framer: Option<Framer>,
}

/// The client's first packet.
enum First {
    /// Not complete.
    Unknown {
        /// The bytes so far that are on their way to the server already.
        sent: Vec<u8>,
        /// The fewest bytes that can be all of it: a packet that comes byte by byte is not read from its beginning for each of them.
        at_least: usize,
        /// Something has come.
        has_begun: bool,
    },
    /// It is known.
    Known(Opening),
}

/// What a client began with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// A valid CONNECT.
    Connect { version: Version, keepalive_s: u16 },
    /// Something else.
    Invalid,
    /// A CONNECT that is longer than what is read.
    TooLarge,
}

/// The server's first packet.
#[derive(PartialEq, Eq)]
enum Answer {
    /// Not complete: the bytes so far.
    Unknown(Vec<u8>),
    /// A CONNACK that accepts.
    Accepted,
    /// Something else.
    Other,
}

/// What a CONNACK says.
#[derive(Clone, Copy)]
struct Connack {
    version: Version,
    code: u8,
    /// The keep alive in force, seconds.
    keepalive_s: u16,
}

/// How far the CONNECT was counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    Nowhere,
    InFrontend,
    InBackend,
}

impl Watch {
    fn new(interest: Interest) -> Self {
        Self {
            first: First::Unknown { sent: Vec::new(), at_least: 1, has_begun: false },
            answer: Answer::Unknown(Vec::new()),
            counted: Counted::Nowhere,
            connect_us: 0,
            framer: interest.drain_rate.map(|_| Framer::new()),
        }
    }

    /// Whether the client's next bytes are of interest.
    fn awaits_client(&self) -> bool {
        matches!(self.first, First::Unknown { .. })
    }

    /// Whether the server's next bytes are of interest.
    fn awaits_server(&self) -> bool {
        let may_come = matches!(self.first, First::Unknown { .. } | First::Known(Opening::Connect { .. }));
        self.framer.is_some() || may_come && matches!(self.answer, Answer::Unknown(_))
    }

    /// Whether a DISCONNECT means something to the client.
    pub fn understands_disconnect(&self) -> bool {
        matches!(self.first, First::Known(Opening::Connect { version: Version::V5, .. })) && self.answer == Answer::Accepted
    }
}

/// Looks at all that the client has sent so far and that waits for its rules.
pub(crate) fn look(session: &Session, bytes: &[u8]) {
    if !watch(session) {
        return;
    }
    let limit = held::limit(&session.road.model().global.tuning);
    let opening = session.hold.with_watch(|watch| {
        let First::Unknown { has_begun, .. } = &mut watch.first else { return None };
        *has_begun |= !bytes.is_empty();
        judge(bytes, limit).ok()
    });
    count::opening(session, opening.flatten());
}

/// Takes note of bytes that go from the client to the server.
pub(crate) fn client_bytes(session: &Session, bytes: &[u8]) {
    let limit = held::limit(&session.road.model().global.tuning);
    let opening = session.hold.with_watch(|watch| {
        let First::Unknown { sent, at_least, has_begun } = &mut watch.first else { return None };
        *has_begun |= !bytes.is_empty();
        if sent.len().saturating_add(bytes.len()) < *at_least {
            sent.extend_from_slice(bytes);
            return None;
        }
        // Most come in one piece, which need not be copied.
        let judged = match sent.is_empty() {
            true => judge(bytes, limit),
            false => {
                sent.extend_from_slice(bytes);
                judge(sent, limit)
            }
        };
        *at_least = match judged {
            Ok(opening) => return Some(opening),
            Err(at_least) => at_least,
        };
        if sent.is_empty() {
            sent.extend_from_slice(bytes);
        }
        None
    });
    count::opening(session, opening.flatten());
}

/// What a client's first bytes are; while that is open, the fewest bytes that can be all of it.
fn judge(bytes: &[u8], limit: usize) -> Result<Opening, usize> {
    let limits = Limits { packet_bytes: u32::try_from(limit).unwrap_or(u32::MAX), ..Limits::default() };
    match parse_connect(bytes, &limits) {
        Progress::NeedMore { at_least } => Err(at_least),
        Progress::Done { packet, .. } => Ok(Opening::Connect { version: packet.version(), keepalive_s: packet.keepalive_s() }),
        Progress::Invalid(Reason::PacketTooLarge) => Ok(Opening::TooLarge),
        Progress::Invalid(_) => Ok(Opening::Invalid),
    }
}

/// Takes note of bytes that the server sent and that go to the client.
pub(crate) fn server_bytes(session: &Session, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let answered = session.hold.with_watch(|watch| {
        if let Some(framer) = &mut watch.framer {
            framer.feed(bytes);
        }
        let Answer::Unknown(so_far) = &mut watch.answer else { return None };
        let First::Known(Opening::Connect { version, keepalive_s }) = watch.first else {
            // It speaks first: whatever this is, it answers nothing.
            watch.answer = Answer::Other;
            return None;
        };
        so_far.extend_from_slice(bytes);
        let limits = Limits { packet_bytes: LONGEST_CONNACK, ..Limits::default() };
        let connack = match parse_connack(so_far, version, &limits) {
            Progress::NeedMore { .. } => return None,
            Progress::Done { packet, .. } => {
                // A server may set another keep alive than the client asked for (MQTT 5.0 section 3.2.2.3.14).
                let keepalive_s = match packet.properties().find(PropertyId::ServerKeepAlive) {
                    Some(PropertyValue::Number(seconds)) => u16::try_from(seconds).unwrap_or(u16::MAX),
                    _ => keepalive_s,
                };
                Some(Connack { version: packet.version(), code: packet.code(), keepalive_s })
            }
            Progress::Invalid(_) => None,
        };
        watch.answer = if connack.is_some_and(|connack| connack.code == 0) { Answer::Accepted } else { Answer::Other };
        Some((connack, watch.connect_us))
    });
    if let Some((connack, connect_us)) = answered.flatten() {
        count::answer(session, connack, ring::now_us().saturating_sub(connect_us));
    }
}

/// Starts to watch the session if somebody wants it; tells whether it is watched.
pub(crate) fn watch(session: &Session) -> bool {
    let interest = session.road.mqtt(session.frontend, session.assigned.backend.get());
    if interest.any() {
        session.hold.put_watch(
            || Watch::new(interest),
            |watch| {
                if interest.drain_rate.is_some() && watch.framer.is_none() {
                    watch.framer = Some(Framer::new());
                }
            },
        );
    }
    interest.any()
}

/// The server's connection stands: the backend is known, too.
pub(crate) fn begin(session: &Session) {
    if watch(session) {
        count::opening(session, None);
    }
}

/// The session ends: a client that never finished its first packet is counted.
pub(crate) fn conclude(session: &Session) {
    let unfinished = session.hold.with_watch(|watch| matches!(watch.first, First::Unknown { has_begun: true, .. }));
    if unfinished == Some(true) {
        count::opening(session, Some(Opening::Invalid));
    }
}

/// Whether the direction from the client begins with [`follow_client`].
pub(crate) fn follows_client(session: &Session) -> bool {
    session.hold.with_watch(|watch| watch.awaits_client()) == Some(true)
}

/// Whether the direction from the server begins with [`follow_server`].
pub(crate) fn follows_server(session: &Session) -> bool {
    session.hold.with_watch(|watch| watch.awaits_server()) == Some(true)
}

/// Whether the session can be told to go between two packets.
pub(crate) fn can_drain(session: &Session) -> bool {
    session.hold.with_watch(|watch| watch.framer.is_some()) == Some(true)
}

/// The direction from the client until its first packet is known; what ends it, or `None` when it goes on as any other.
pub(crate) async fn follow_client(session: Rc<Session>, client: S, server: S) -> Option<End> {
    while follows_client(&session) {
        let buf = match client.recv().await {
            Ok(Some(buf)) => buf,
            // The direction receives it again.
            Ok(None) => return None,
            Err(error) => return Some(End::ReadError(code(&error))),
        };
        session.up.read(buf.len());
        client_bytes(&session, &buf);
        if let Err(end) = pass_on(client, server, &session.up, buf, |bytes| client_bytes(&session, bytes)).await {
            return Some(end);
        }
    }
    release(&session);
    None
}

/// The direction from the server: until its first packet is known, or for good if the client may be told to go. What ends it, or `None` when
/// it goes on as any other.
pub(crate) async fn follow_server(session: Rc<Session>, server: S, client: S) -> Option<End> {
    while follows_server(&session) {
        let buf = match next(&session, server).await {
            Next::Bytes(buf) => buf,
            // The direction receives it again.
            Next::Eof => return None,
            Next::Error(errno) => return Some(End::ReadError(errno)),
            Next::Order(reason) => {
                let disconnect = session.hold.with_watch(|watch| watch.understands_disconnect()) == Some(true);
                return Some(drain::see_off(&session, server, client, disconnect.then_some(reason)).await);
            }
        };
        session.down.read(buf.len());
        server_bytes(&session, &buf);
        if let Err(end) = pass_on(server, client, &session.down, buf, |bytes| server_bytes(&session, bytes)).await {
            return Some(end);
        }
    }
    release(&session);
    None
}

/// Forgets a session of which nothing more is to be learned.
fn release(session: &Session) {
    if session.hold.with_watch(|watch| !watch.awaits_client() && !watch.awaits_server()) == Some(true) {
        session.hold.end_watch();
    }
}

/// What the direction from the server does next.
enum Next {
    Bytes(Buf),
    Eof,
    Error(i32),
    /// Nothing is here to be forwarded, no packet has begun, and the client is to be told to go.
    Order(u8),
}

async fn next(session: &Session, server: S) -> Next {
    let mut received = pin!(server.recv());
    poll_fn(|context| {
        if let Poll::Ready(received) = received.as_mut().poll(context) {
            return Poll::Ready(match received {
                Ok(Some(buf)) => Next::Bytes(buf),
                Ok(None) => Next::Eof,
                Err(error) => Next::Error(code(&error)),
            });
        }
        let Some(reason) = session.ending().and_then(|ending| ending.disconnect) else { return Poll::Pending };
        let is_between = session.hold.with_watch(|watch| watch.framer.is_some_and(|framer| framer.is_between_packets()));
        if is_between == Some(true) { Poll::Ready(Next::Order(reason)) } else { Poll::Pending }
    })
    .await
}

/// Hands a received buffer on. A receiver that is slow gets a copy, and its sender waits: it must not hold the shared buffers.
async fn pass_on(from: S, to: S, meter: &Meter, buf: Buf, more: impl Fn(&[u8])) -> Result<(), End> {
    let failed = |error: std::io::Error| End::WriteError(code(&error));
    if let Sent::Slow(buf) = to.send_unless_slow(buf).await.map_err(failed)? {
        from.stop_recv().await;
        let mut spill = buf.to_vec();
        drop(buf);
        while let Some(buf) = from.take_queued() {
            meter.read(buf.len());
            more(&buf);
            spill.extend_from_slice(&buf);
        }
        to.send_owned(spill.into()).await.map_err(failed)?;
    }
    meter.all_written();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(Rc<Session>, S, S) -> F) -> usize {
        size_of::<F>()
    }

    /// A session that may be told to go has these for as long as it lives.
    #[test]
    fn a_watched_session_stays_small() {
        let (watch, future) = (size_of::<Watch>(), size_of_future(follow_server));
        assert!(watch <= 96 && future <= 320, "watch {watch} bytes, future {future} bytes");
    }

    #[test]
    fn a_first_packet_is_judged_as_soon_as_it_can_be() {
        let packet = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
        assert!(judge(packet, 1000) == Ok(Opening::Connect { version: Version::V3_1_1, keepalive_s: 60 }));
        assert!(judge(packet, 10) == Ok(Opening::TooLarge));
        assert!(judge(b"GET", 1000) == Ok(Opening::Invalid));
        for length in 2..packet.len() {
            assert!(judge(&packet[..length], 1000) == Err(packet.len()), "{length} bytes");
        }
    }
}
