//! MQTT drain (`option mqtt-drain`): clients of a server that is to be left, and all of them when the process stops softly, are told to go at
//! a bounded rate, instead of all at once or never.
//!
//! `shard` starts a round for each order. A client of MQTT 5.0 gets DISCONNECT with a reason between two packets of its server; a client of
//! MQTT 3 is closed there, as its protocol has no word for it. Both get the end of the stream, and so does the server. A session that is not
//! between two packets within [`PATIENCE_MS`] is closed where it is. HAProxy's letter for sessions ended by order is in the log: `K-`.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use ringmain_policy::record::Cause;
use ringmain_wire::mqtt::{Version, encode_disconnect};

use crate::forward::{End, code};
use crate::live::ServerLive;
use crate::mqtt;
use crate::ring::{self, S};
use crate::session::{Ending, Session};
use crate::shard::{Shard, Stage};
use crate::signal::{Either, race};

/// How long a session may take to come to the end of a packet, and then to its end.
const PATIENCE_MS: u64 = 5000;
/// How long a client that was told to go may take to close its side before both are closed.
const LINGER_MS: u64 = 1000;
/// Pause before sessions are looked for again: their connection did not stand yet, or they were on their way to this shard.
const PAUSE_MS: u64 = 200;
/// Rounds at most: what is not connected after two minutes never was.
const ROUNDS: u32 = 600;
/// Reason code of DISCONNECT: use another server (MQTT 5.0 section 3.14.2.1).
const USE_ANOTHER_SERVER: u8 = 0x9C;
/// Reason code of DISCONNECT: server shutting down.
const SHUTTING_DOWN: u8 = 0x8B;

/// How late a moment may be made up for: timers are exact to a millisecond, and high rates have several moments in one.
const SLACK_US: u64 = 2000;

/// When a shard's next client may be told to go, over all orders.
#[derive(Default)]
pub(crate) struct Pace(Cell<u64>);

impl Pace {
    /// The moment of the next client at this rate, monotonic microseconds; it may have passed already.
    fn next(&self, now_us: u64, rate: u32) -> u64 {
        let moment_us = self.0.get().max(now_us.saturating_sub(SLACK_US));
        self.0.set(moment_us + 1_000_000 / u64::from(rate.max(1)));
        moment_us
    }
}

/// Tells the clients of a server to use another one.
pub(crate) async fn leave_server(shard: &'static Shard, server: Arc<ServerLive>) {
    let concerns = |session: &Session| session.is_on(&server);
    drain(shard, concerns, USE_ANOTHER_SERVER, || shard.stage.get() != Stage::Ending && is_left(shard, &server)).await;
}

/// Whether a server still takes no new sessions: an operator may have brought it back in the middle of a round.
fn is_left(shard: &Shard, server: &Arc<ServerLive>) -> bool {
    let Some(road) = shard.road.borrow().clone() else { return true };
    let position = road.generation.servers.iter().position(|live| Arc::ptr_eq(live, server));
    // One that a reload took away does not come back.
    let Some(config) = position.and_then(|position| road.model().servers.get(position)) else { return true };
    let snapshot = road.snapshot(config.backend);
    let place = snapshot.position(server).and_then(|place| snapshot.servers.get(place));
    place.is_none_or(|place| !place.usable)
}

/// Tells all clients that the process is going.
pub(crate) async fn stop(shard: &'static Shard) {
    drain(shard, |_| true, SHUTTING_DOWN, || shard.stage.get() == Stage::Draining).await;
}

async fn drain(shard: &'static Shard, concerns: impl Fn(&Session) -> bool, reason: u8, goes_on: impl Fn() -> bool) {
    let ordered_us = ring::now_us();
    for round in 0..ROUNDS {
        let found = std::cell::RefCell::new(Vec::new());
        let waits = Cell::new(false);
        let wanted = |session: &Session| {
            session.accepted_us <= ordered_us && session.ending().is_none() && rate(session).is_some() && concerns(session)
        };
        shard
            .visit_sessions(|session| {
                if wanted(session) {
                    match is_connected(session) {
                        true => found.borrow_mut().push(Rc::downgrade(session)),
                        false => waits.set(true),
                    }
                }
            })
            .await;
        for session in found.into_inner() {
            let Some(rate) = session.upgrade().and_then(|session| rate(&session)) else { continue };
            let moment_us = shard.drain_pace.next(ring::now_us(), rate);
            ring::sleep_ms(moment_us.saturating_sub(ring::now_us()).div_ceil(1000)).await;
            if !goes_on() {
                return;
            }
            if let Some(session) = session.upgrade().filter(|session| wanted(session)) {
                order(&session, reason);
            }
        }
        // The second round finds those that were on their way from one shard to another.
        if round > 0 && !waits.get() || !goes_on() {
            return;
        }
        ring::sleep_ms(PAUSE_MS).await;
    }
}

/// At what rate sessions like this one are told to go, if they are.
fn rate(session: &Session) -> Option<u32> {
    session.road.mqtt(session.frontend, session.assigned.backend.get()).drain_rate
}

fn is_connected(session: &Session) -> bool {
    session.assigned.connected_us.get() != 0 && mqtt::can_drain(session)
}

fn order(session: &Rc<Session>, reason: u8) {
    mqtt::count_drained(session);
    session.end(Ending { cause: Cause::Killed, disconnect: Some(reason) });
    let session = Rc::downgrade(session);
    ring::spawn(insist(session));
}

/// Ends a session that has not ended in time although it was told to.
async fn insist(session: Weak<Session>) {
    ring::sleep_ms(PATIENCE_MS).await;
    if let Some(session) = session.upgrade() {
        session.end(Ending::new(Cause::Killed));
    }
}

/// Ends the direction from the server to the client in order: the DISCONNECT if there is to be one, the end of the stream, and a moment for
/// the client to close its side, in which the server is not read for anybody any more.
pub(crate) async fn see_off(session: &Session, server: S, client: S, reason: Option<u8>) -> End {
    if let Some(reason) = reason {
        let mut packet = Vec::new();
        encode_disconnect(Version::V5, reason, &mut packet);
        session.down.read(packet.len());
        if let Err(error) = client.send_owned(packet.into()).await {
            return End::WriteError(code(&error));
        }
        session.down.all_written();
    }
    if let Err(error) = client.tx_idle().await {
        return End::WriteError(code(&error));
    }
    // The session ends whether or not the client can still be told.
    let _ = client.shutdown_write();
    let rest = async { while let Ok(Some(_)) = server.recv().await {} };
    match race(rest, ring::sleep_ms(LINGER_MS)).await {
        Either::Left(()) | Either::Right(()) => End::SentOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_go_at_even_distances_over_all_orders() {
        let pace = Pace::default();
        let moments: Vec<u64> = (0..4).map(|_| pace.next(1_000_000, 100)).collect();
        assert_eq!(moments, [998_000, 1_008_000, 1_018_000, 1_028_000]);
        assert_eq!(pace.next(1_000_000, 10), 1_038_000, "another order waits for its turn");
        assert_eq!(pace.next(9_000_000, 100), 8_998_000, "rest is not saved up");
    }
}
