//! Inspection of a server's first bytes, while the direction from the client to the server flows already.
//!
//! The stages before forwarding leave an [`Inspection`] with the session; the direction from the server runs it before it forwards
//! anything, and is an ordinary direction afterwards. The rules of the backend decide (`inspect.rs`), this module holds, waits and delivers.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::forward::{End, code};
use crate::held::{self, Held, Last};
use crate::inspect::ResponseRules;
use crate::mqtt;
use crate::ring::{self, S, Timer};
use crate::session::Session;

/// What rules see of the server's first bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    pub bytes: &'a [u8],
    /// Set when it must decide now: waiting counts as passing.
    pub last: Option<Last>,
}

/// A verdict on a server's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Hold them and ask again when there are more.
    Wait,
    /// Let them and all that follows through.
    Pass,
    /// End the session; nothing of them is delivered.
    Refuse,
    /// Deliver them, then end the session in order.
    Close,
}

/// Inspection of a server's first bytes, asked for before its connection stands.
pub(crate) struct Inspection {
    /// The inspect delay, counted from the moment the connection stands, in milliseconds; without one the first call is the last.
    pub delay_ms: Option<u64>,
}

/// How far the inspection is.
pub(crate) enum Response {
    /// The connection does not stand yet.
    Planned(Inspection),
    /// It goes on.
    Inspecting,
    /// It goes on and `timeout server` has run out: the next evaluation is the last.
    TimedOut,
}

/// Whether the server's first bytes are to be inspected.
pub(crate) fn is_planned(session: &Session) -> bool {
    session.hold.with(|hold| matches!(hold.response, Some(Response::Planned(_)))) == Some(true)
}

/// Tells a running inspection that the server has been silent for too long; `false` when there is none.
pub(crate) fn time_out(session: &Session) -> bool {
    let told = session.hold.with(|hold| {
        let running = matches!(hold.response, Some(Response::Inspecting | Response::TimedOut));
        if running {
            hold.response = Some(Response::TimedOut);
        }
        running
    });
    told == Some(true)
}

/// The first part of the direction from the server: `None` when the direction goes on as any other.
pub(crate) async fn inspect(session: Rc<Session>, server: S, client: S) -> Option<End> {
    let planned = session.hold.with(|hold| hold.response.replace(Response::Inspecting)).flatten();
    let Some(Response::Planned(inspection)) = planned else {
        session.hold.end_inspection();
        return None;
    };
    let mut held = Held::new(held::limit(&session.road.model().global.tuning));
    let (decision, last) = decide(&session, inspection, server, &mut held).await;
    session.hold.end_inspection();
    if decision == Decision::Refuse {
        mqtt::server_bytes(&session, held.as_slice());
        return Some(End::Refused);
    }
    let bytes = held.take(&session.down);
    mqtt::server_bytes(&session, &bytes);
    if !bytes.is_empty() {
        session.down.pending.set(bytes.len() as u64);
        if let Err(error) = client.send_owned(bytes).await {
            return Some(End::WriteError(code(&error)));
        }
        session.down.all_written();
    }
    match (decision, last) {
        (Decision::Close, _) => Some(client.tx_idle().await.map_or_else(|error| End::WriteError(code(&error)), |()| End::Finished)),
        (_, Some(Last::Timeout)) => Some(End::TimedOut),
        // An end of stream or an error is what the direction receives next.
        _ => None,
    }
}

/// Asks the rules until they decide.
async fn decide(session: &Rc<Session>, inspection: Inspection, server: S, held: &mut Held) -> (Decision, Option<Last>) {
    let timer = Timer::new();
    let mut rules = ResponseRules::default();
    let mut last = match inspection.delay_ms {
        None => Some(Last::Delay),
        Some(delay_ms) => {
            timer.set(ring::now_ms() + delay_ms);
            None
        }
    };
    loop {
        let decision = rules.evaluate(session, Look { bytes: held.as_slice(), last }).await;
        if decision != Decision::Wait || last.is_some() {
            return (decision, last);
        }
        last = next(session, server, held, &timer).await;
    }
}

/// Waits for more to look at; tells why it will be all.
async fn next(session: &Session, server: S, held: &mut Held, timer: &Timer) -> Option<Last> {
    let mut more = pin!(held.more(server, &session.down));
    poll_fn(|context| {
        if let Poll::Ready(state) = more.as_mut().poll(context) {
            return Poll::Ready(Last::of(state));
        }
        if session.hold.with(|hold| matches!(hold.response, Some(Response::TimedOut))) == Some(true) {
            return Poll::Ready(Some(Last::Timeout));
        }
        pin!(timer.fired()).poll(context).map(|()| Some(Last::Delay))
    })
    .await
}
