//! Bytes received from a peer before they are forwarded: for rules that look at the first bytes of a connection.
//!
//! On the client's side the inspect stage owns a [`Held`], waits with `wait` and evaluates its rules each time; what it held goes into
//! the session's `Hold` and from there to the server, ahead of everything else. On the server's side an `Inspection` looks at the
//! first bytes while the other direction flows already (`response.rs`). Nothing in here knows a rule.
//!
//! # How inspected sessions end
//! HAProxy 2.6 never ends a session just because its inspection was cut short: whatever happens, the rules are evaluated a last time with
//! what has come, and their verdict counts first. Seen with `tcplog`'s fields (`%ts`, `%U`, `%B`, `%b`, `%s`):
//!
//! | what makes the evaluation the last one | the rules refuse | the rules accept, or none matches |
//! |---|---|---|
//! | client sends FIN, with or without bytes before | `PR` | goes on; the FIN follows the bytes; no departure any more for queue and connect |
//! | client resets | `PR` | `CR`, backend chosen and logged, no server (`<NOSRV>`) |
//! | `timeout client`, counted from accept or from the last byte | `PR` | `cR`, backend chosen and logged, no server |
//! | the inspect delay has passed | `PR` | goes on |
//! | `tune.bufsize` less `tune.maxrewrite` bytes are there | `PR` | goes on |
//! | the rules decide without needing more | `PR` | goes on |
//! | server sends FIN | `PD` | goes on, as without inspection |
//! | server resets | `PD` | `SD` |
//! | `timeout server` | `PD` | `sD`; the bytes held are delivered |
//! | client resets while the server is inspected | `CD` | `CD` |
//! | `timeout client` while the server is inspected | `cD` | `cD` |
//!
//! Refused clients have no backend (`%b` is the frontend's name) and no server. Bytes held count as read: `%U` (and `%B` on the server's
//! side) has them although nobody was sent any, at most as many as the rules could see. `tcp-response content close` delivers what is
//! held and ends the session with `--`. The time spent waiting is in `%Tw`. Without an inspect delay the first evaluation is the last.
//!
//! After inspection, while the session waits for a server: a client that resets ends it with `CD`, whatever was held; one that had sent
//! bytes is not subject to `timeout client` any more.

use std::cell::Cell;
use std::io::{self, Read};

use ringmain_model::Tuning;
use ringmain_policy::record::{Cause, Phase, Termination};

use crate::forward::{Meter, code};
use crate::mqtt::{self, Watch};
use crate::response::{Inspection, Response};
use crate::ring::S;
use crate::session::Session;
use crate::signal::{Either, race};
use crate::watch::{Interruption, expiry};

/// Bytes read at once by [`Held::take_ready`].
const READY_BYTES: usize = 4096;

/// What is known about the sender of held bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// More may come.
    Open,
    /// It has finished (FIN): what is held is all there will be.
    Ended,
    /// The connection has failed, with this errno.
    Failed(i32),
    /// As many bytes as rules may see are here; nothing more is received until they are forwarded.
    Full,
}

/// The first bytes of one peer. Holds no memory before the first byte comes, and none of the shard's shared buffers afterwards.
#[derive(Debug)]
pub struct Held {
    bytes: Vec<u8>,
    limit: u32,
    /// How many of them are in the meter.
    counted: u32,
    state: State,
    /// The ring has been asked to receive: from then on nobody else may read the socket, or bytes change places.
    receiving: bool,
}

impl Held {
    /// Nothing held yet. Rules will see at most `limit` bytes (at least 1), see `limit`.
    pub fn new(limit: usize) -> Held {
        Held { bytes: Vec::new(), limit: u32::try_from(limit).unwrap_or(u32::MAX).max(1), counted: 0, state: State::Open, receiving: false }
    }

    /// The bytes that rules may look at, from the first one on.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.limit as usize).unwrap_or(&self.bytes)
    }

    /// What is known about the sender.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether nothing has come.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Receives more: returns when bytes have come or the state has changed, at once unless it is [`State::Open`]. Dropping the future
    /// loses nothing. Bytes that rules can see are counted in `meter` as they come.
    pub async fn more(&mut self, from: S, meter: &Meter) -> State {
        if self.state != State::Open {
            return self.state;
        }
        self.receiving = true;
        match from.recv().await {
            Ok(Some(buf)) => self.append(&buf, meter),
            Ok(None) => self.state = State::Ended,
            Err(error) => self.state = State::Failed(code(&error)),
        }
        self.take_queued(from, meter);
        if self.state == State::Full {
            // Back-pressure: what the sender sends on stays in its socket.
            from.stop_recv().await;
        }
        self.state
    }

    fn take_queued(&mut self, from: S, meter: &Meter) {
        while self.state == State::Open
            && let Some(buf) = from.take_queued()
        {
            self.append(&buf, meter);
        }
    }

    /// Takes what has come already, without waiting.
    pub fn take_ready(&mut self, from: S, meter: &Meter) {
        if self.receiving {
            return self.take_queued(from, meter);
        }
        let mut bytes = [0; READY_BYTES];
        while self.state == State::Open {
            match from.sock_ref(|socket| (&*socket).read(&mut bytes)) {
                Ok(0) => self.state = State::Ended,
                Ok(count) => self.append(&bytes[..count], meter),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.state = State::Failed(code(&error)),
            }
        }
    }

    /// Takes the first bytes away for good: they were for us. They do not count as the client's.
    pub fn drop_first(&mut self, count: usize, meter: &Meter) {
        let count = count.min(self.bytes.len());
        self.bytes.drain(..count);
        let counted = u32::try_from(count).unwrap_or(u32::MAX).min(self.counted);
        self.counted -= counted;
        meter.bytes.set(meter.bytes.get().saturating_sub(counted.into()));
        if self.state == State::Full && self.bytes.len() < self.limit as usize {
            self.state = State::Open;
        }
        self.count(self.bytes.len().min(self.limit as usize), meter);
    }

    /// Keeps received bytes behind those held, also beyond the limit; copied, so that
    /// their buffer can go back at once.
    pub fn append(&mut self, bytes: &[u8], meter: &Meter) {
        if self.bytes.is_empty() {
            // Most first messages come in one piece: to the size.
            self.bytes.reserve_exact(bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        self.count(self.bytes.len().min(self.limit as usize), meter);
        if self.bytes.len() >= self.limit as usize && self.state == State::Open {
            self.state = State::Full;
        }
    }

    /// The bytes, to be sent; all of them are in the meter now.
    pub fn take(&mut self, meter: &Meter) -> Box<[u8]> {
        self.count(self.bytes.len(), meter);
        self.counted = 0;
        std::mem::take(&mut self.bytes).into_boxed_slice()
    }

    fn count(&mut self, up_to: usize, meter: &Meter) {
        let up_to = u32::try_from(up_to).unwrap_or(u32::MAX);
        let more = up_to.saturating_sub(self.counted);
        if more > 0 {
            meter.held(more as usize);
            self.counted = up_to;
        }
    }
}

/// The most bytes of a peer that rules may see: HAProxy's buffer without the part it keeps for rewriting.
pub(crate) fn limit(tuning: &Tuning) -> usize {
    tuning.inspected_bytes() as usize
}

/// Why an evaluation of rules is the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// The sender has finished.
    Ended,
    /// The connection has failed.
    Failed,
    /// No more bytes can be looked at.
    Full,
    /// The sender's inactivity timeout.
    Timeout,
    /// The inspect delay has passed.
    Delay,
}

impl Last {
    /// What the state says by itself.
    pub fn of(state: State) -> Option<Last> {
        match state {
            State::Open => None,
            State::Ended => Some(Last::Ended),
            State::Failed(_) => Some(Last::Failed),
            State::Full => Some(Last::Full),
        }
    }

    /// How a session ends although the rules have let its client through; `None` when it goes on. The backend is chosen first.
    pub fn client_termination(self) -> Option<Termination> {
        let cause = match self {
            Last::Failed => Cause::ClientAbort,
            Last::Timeout => Cause::ClientTimeout,
            Last::Ended | Last::Full | Last::Delay => return None,
        };
        Some(Termination { cause, phase: Phase::Request })
    }
}

/// How a session ends that the rules refuse by its client's bytes.
pub(crate) const CLIENT_REFUSED: Termination = Termination { cause: Cause::Proxy, phase: Phase::Request };

/// How a session ends that the rules refuse by its server's bytes.
pub(crate) const SERVER_REFUSED: Termination = Termination { cause: Cause::Proxy, phase: Phase::Data };

/// What a wait for the client's bytes brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Bytes: evaluate again.
    Bytes,
    /// Evaluate a last time.
    Last(Last),
    /// The session was ordered to end.
    Ordered(Termination),
}

/// Waits until there is more of the client to look at, or there is a reason not to wait any longer. `delay_end_ms` is when the inspect
/// delay will have passed, on the ring's clock; without one the first evaluation is the last.
pub(crate) async fn wait(session: &Session, held: &mut Held, delay_end_ms: Option<u64>) -> Waited {
    if let Some(last) = Last::of(held.state) {
        return Waited::Last(last);
    }
    let Some(delay_end_ms) = delay_end_ms else { return Waited::Last(Last::Delay) };
    let timeout = session.frontend_config().timeouts.client;
    let active_ms = session.up.last_read_ms.get().max(session.accepted_us / 1000);
    let client_end_ms = timeout.map(|timeout| active_ms + timeout.get());
    match race(held.more(session.client, &session.up), expiry(session, delay_end_ms, client_end_ms)).await {
        Either::Left(state) => Last::of(state).map_or(Waited::Bytes, Waited::Last),
        Either::Right(Interruption::Ordered(termination)) => Waited::Ordered(termination),
        Either::Right(Interruption::Deadline) => Waited::Last(Last::Delay),
        Either::Right(_) => Waited::Last(Last::Timeout),
    }
}

/// What a session with rules keeps besides its facts: only there while something is held or inspected.
pub(crate) struct Hold {
    /// The client's bytes on their way to the server.
    pub client: Held,
    /// The inspection of the server's first bytes, see `response.rs`.
    pub response: Option<Response>,
    /// What is known of it as MQTT, see `mqtt.rs`.
    pub mqtt: Option<Box<Watch>>,
}

/// A session's place for its [`Hold`]: one word.
#[derive(Default)]
pub(crate) struct HoldCell(Cell<Option<Box<Hold>>>);

impl HoldCell {
    /// Runs `f` on it if there is one. `f` must not come back here.
    pub fn with<T>(&self, f: impl FnOnce(&mut Hold) -> T) -> Option<T> {
        let mut hold = self.0.take()?;
        let value = f(&mut hold);
        self.0.set(Some(hold));
        Some(value)
    }

    /// Keeps what the inspect stage held of the client, for the stages that follow and for the server. Also without a byte yet when the ring
    /// is receiving, so that a session that waits for long is parked.
    pub fn put_client(&self, held: Held) {
        if held.is_empty() && held.state == State::Open && !held.receiving {
            return;
        }
        let mut hold = self.take_or_new();
        hold.client = held;
        self.0.set(Some(hold));
    }

    /// Has the server's first bytes inspected, from the moment its connection stands.
    pub fn put_inspection(&self, inspection: Inspection) {
        let mut hold = self.take_or_new();
        hold.response = Some(Response::Planned(inspection));
        self.0.set(Some(hold));
    }

    /// Has the session watched, or changes how it is.
    pub fn put_watch(&self, new: impl FnOnce() -> Watch, change: impl FnOnce(&mut Watch)) {
        let mut hold = self.take_or_new();
        change(hold.mqtt.get_or_insert_with(|| Box::new(new())));
        self.0.set(Some(hold));
    }

    /// Runs `f` on what is known of the session as MQTT, if it is watched. `f` must not come back here.
    pub fn with_watch<T>(&self, f: impl FnOnce(&mut Watch) -> T) -> Option<T> {
        self.with(|hold| hold.mqtt.as_deref_mut().map(f)).flatten()
    }

    /// Nothing more is to be learned of the session as MQTT.
    pub fn end_watch(&self) {
        self.with(|hold| hold.mqtt = None);
        self.tidy();
    }

    fn take_or_new(&self) -> Box<Hold> {
        self.0.take().unwrap_or_else(|| Box::new(Hold { client: Held::new(1), response: None, mqtt: None }))
    }

    /// Lets go of it unless the server's bytes are still to be looked at.
    fn tidy(&self) {
        let hold = self.0.take();
        self.0.set(hold.filter(|hold| hold.response.is_some() || hold.mqtt.is_some()));
    }

    /// The server's inspection is over.
    pub fn end_inspection(&self) {
        self.with(|hold| hold.response = None);
        self.tidy();
    }
}

/// Takes what the ring has received of a client since its inspection: a session that waits for long holds none of the shared buffers.
pub(crate) async fn park(session: &Session) {
    session.client.stop_recv().await;
    session.hold.with(|hold| {
        while let Some(buf) = session.client.take_queued() {
            hold.client.append(&buf, &session.up);
        }
    });
}

/// Sends the server what was held of the client, ahead of what follows. Waits only for what was sent to this server before.
///
/// # Errors
/// As send(2).
pub(crate) async fn hand_over(session: &Session, server: S) -> io::Result<()> {
    let bytes = session.hold.with(|hold| hold.client.take(&session.up)).unwrap_or_default();
    session.hold.tidy();
    mqtt::client_bytes(session, &bytes);
    if !bytes.is_empty() {
        session.up.pending.set(session.up.pending.get() + bytes.len() as u64);
        server.send_owned(bytes).await?;
        session.up.all_written();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_see_no_more_than_the_limit_and_bytes_are_counted_once() {
        let (mut held, meter) = (Held::new(10), Meter::new());
        held.append(b"abcdef", &meter);
        assert_eq!((held.as_slice(), held.state(), meter.bytes.get()), (&b"abcdef"[..], State::Open, 6));
        held.append(b"ghijklmn", &meter);
        assert_eq!((held.as_slice(), held.state(), meter.bytes.get()), (&b"abcdefghij"[..], State::Full, 10));
        held.append(b"op", &meter);
        assert_eq!((held.as_slice().len(), meter.bytes.get(), meter.pending.get()), (10, 10, 0));
        assert_eq!((&*held.take(&meter), meter.bytes.get()), (&b"abcdefghijklmnop"[..], 16));
        assert!(held.is_empty());
        assert_eq!((held.take(&meter).len(), meter.bytes.get()), (0, 16));
    }

    #[test]
    fn nothing_is_allocated_for_nothing_and_one_message_takes_its_own_size() {
        let (mut held, meter) = (Held::new(16384), Meter::new());
        assert_eq!(held.bytes.capacity(), 0);
        held.append(&[7; 37], &meter);
        assert_eq!(held.bytes.capacity(), 37);
        assert_eq!(size_of::<HoldCell>(), 8);
        assert!(size_of::<Held>() <= 48 && size_of::<Hold>() <= 96, "{} {}", size_of::<Held>(), size_of::<Hold>());
    }

    #[test]
    fn only_a_reset_and_a_timeout_end_what_the_rules_let_through() {
        let letters = |last: Last| last.client_termination().map(Termination::letters);
        assert_eq!(letters(Last::Failed), Some(*b"CR"));
        assert_eq!(letters(Last::Timeout), Some(*b"cR"));
        assert_eq!([Last::Ended, Last::Full, Last::Delay].map(letters), [None; 3]);
        assert_eq!((CLIENT_REFUSED.letters(), SERVER_REFUSED.letters()), (*b"PR", *b"PD"));
    }
}
