//! What may interrupt a session while it waits for something else: an order to end, the client's departure, its timeout, a stage's timeout.
//!
//! Used by the stages before forwarding (queue, connect, turn-around); forwarding sees these events through its own reads.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use ringmain_policy::record::{Cause, Phase, Termination};

use crate::held::{self, State};
use crate::ring;
use crate::session::Session;

/// How long a wait may last before the client's departure is looked for: connections to servers nearby stand long before, and are spared
/// the extra operation.
const PATIENCE_MS: u64 = 30;

/// Why a wait ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// The session was ordered to end.
    Ordered(Termination),
    /// The client has gone and its departure counts.
    ClientGone,
    /// The client's connection has failed.
    ClientReset,
    /// The client sent nothing for `timeout client`.
    ClientTimeout,
    /// The stage's own deadline.
    Deadline,
}

impl Interruption {
    /// How the session ends by it in this phase; `None` for the stage's own deadline.
    pub fn termination(self, phase: Phase) -> Option<Termination> {
        let cause = match self {
            Self::Ordered(termination) => return Some(termination),
            Self::ClientGone => Cause::ClientAbort,
            // Wherever the session is, HAProxy logs a reset as one of data.
            Self::ClientReset => return Some(Termination { cause: Cause::ClientAbort, phase: Phase::Data }),
            Self::ClientTimeout => Cause::ClientTimeout,
            Self::Deadline => return None,
        };
        Some(Termination { cause, phase })
    }
}

/// Waits for the first interruption. `deadline_ms` is the stage's, on the ring's clock; `abort_on_close` makes a departure count even when
/// the client left data to be sent.
pub(crate) async fn interruption(session: &Session, deadline_ms: Option<u64>, abort_on_close: bool) -> Interruption {
    let client_deadline_ms = client_deadline_ms(session);
    let look_at_client_ms = ring::now_ms() + PATIENCE_MS;
    let mut looks_at_client = false;
    let mut departure = pin!(Some(session.client.closed()));
    loop {
        let next = [deadline_ms, client_deadline_ms, (!looks_at_client).then_some(look_at_client_ms)];
        match next.into_iter().flatten().min() {
            Some(next) => session.timer.set(next),
            None => session.timer.clear(),
        }
        let event = poll_fn(|context| {
            if session.ended.poll_taken(context).is_ready() {
                return Poll::Ready(Event::Ordered);
            }
            if looks_at_client
                && let Some(departure) = departure.as_mut().as_pin_mut()
                && departure.poll(context).is_ready()
            {
                return Poll::Ready(Event::Departure);
            }
            pin!(session.timer.fired()).poll(context).map(|()| Event::Timer)
        })
        .await;
        let now_ms = ring::now_ms();
        match event {
            Event::Ordered => {
                if let Some(ending) = session.ending() {
                    return Interruption::Ordered(ending.termination());
                }
            }
            Event::Departure => {
                if is_reset(session) {
                    return Interruption::ClientReset;
                }
                if abort_on_close || !has_left_something(session) {
                    return Interruption::ClientGone;
                }
                departure.set(None);
            }
            Event::Timer if deadline_ms.is_some_and(|deadline| deadline <= now_ms) => return Interruption::Deadline,
            Event::Timer if client_deadline_ms.is_some_and(|deadline| deadline <= now_ms) => return Interruption::ClientTimeout,
            Event::Timer if !looks_at_client && look_at_client_ms <= now_ms => {
                looks_at_client = true;
                if session.hold.with(|_| ()).is_some() {
                    Box::pin(held::park(session)).await;
                }
            }
            Event::Timer => {}
        }
    }
}

enum Event {
    Ordered,
    Departure,
    Timer,
}

/// Waits for an order to end, the stage's deadline or the client's, whichever is first. For a stage that reads the client itself.
pub(crate) async fn expiry(session: &Session, deadline_ms: u64, client_deadline_ms: Option<u64>) -> Interruption {
    session.timer.set(client_deadline_ms.map_or(deadline_ms, |client| client.min(deadline_ms)));
    loop {
        let is_timer = poll_fn(|context| {
            if session.ended.poll_taken(context).is_ready() {
                return Poll::Ready(false);
            }
            pin!(session.timer.fired()).poll(context).map(|()| true)
        })
        .await;
        if is_timer {
            let is_stage = deadline_ms <= client_deadline_ms.unwrap_or(u64::MAX);
            return if is_stage { Interruption::Deadline } else { Interruption::ClientTimeout };
        }
        if let Some(ending) = session.ending() {
            return Interruption::Ordered(ending.termination());
        }
    }
}

/// When `timeout client` runs out for a client that has not sent anything yet; one whose bytes wait for a server is not inactive.
fn client_deadline_ms(session: &Session) -> Option<u64> {
    if session.hold.with(|hold| !hold.client.is_empty()) == Some(true) {
        return None;
    }
    let timeout = session.frontend_config().timeouts.client?;
    Some(session.accepted_us / 1000 + timeout.get())
}

/// Whether the client's connection has failed. The error is taken: the session ends by it.
fn is_reset(session: &Session) -> bool {
    matches!(session.client.receive_ended(), Some(Err(_))) || !matches!(session.client.take_error(), Ok(None))
}

/// Whether the client left bytes that a server could still be given, or rules have let it through although it had finished.
fn has_left_something(session: &Session) -> bool {
    if session.hold.with(|hold| !hold.client.is_empty() || hold.client.state() == State::Ended) == Some(true) {
        return true;
    }
    let mut byte = [std::mem::MaybeUninit::uninit(); 1];
    session.client.sock_ref(|socket| socket.peek(&mut byte)).is_ok_and(|count| count > 0)
}
