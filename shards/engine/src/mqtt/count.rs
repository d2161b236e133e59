//! Counting what was learned of a watched session, in its frontend and, as soon as it has one, in its backend; and the lint on keep alive.

use std::sync::atomic::Ordering;

use ringmain_model::BackendId;

use super::{Connack, Counted, First, Opening};
use crate::live::{Counter, MqttCounters, MqttLive};
use crate::mailbox::Report;
use crate::ring;
use crate::session::Session;

/// A client may be silent for one and a half times its keep alive before a server gives it up (MQTT 3.1.1 section 3.1.2.10).
const KEEPALIVE_TO_MS: u64 = 1500;

/// Takes in what a client began with, if that is news, and counts it where it was not counted yet.
pub(super) fn opening(session: &Session, news: Option<Opening>) {
    let backend = session.assigned.backend.get();
    let due = session.hold.with_watch(|watch| {
        if let (Some(opening), First::Unknown { .. }) = (news, &watch.first) {
            watch.first = First::Known(opening);
            watch.connect_us = ring::now_us();
        }
        let First::Known(opening) = watch.first else { return None };
        let before = watch.counted;
        watch.counted = if backend.is_some() { Counted::InBackend } else { before.max(Counted::InFrontend) };
        Some((opening, before))
    });
    let Some((opening, before)) = due.flatten() else { return };
    let counter = |counters: &MqttCounters| match opening {
        Opening::Connect { version, .. } => counters.connects_of(version).add(1),
        Opening::Invalid => counters.invalid_connects.add(1),
        Opening::TooLarge => counters.large_connects.add(1),
    };
    if before == Counted::Nowhere {
        counter(frontend(session));
    }
    if let (Some(backend), true) = (backend, before < Counted::InBackend) {
        counter(of(session, &session.road.generation.backend(backend).mqtt));
    }
}

/// Counts a server's answer to a CONNECT: a CONNACK, or something else. It came after so many microseconds.
pub(super) fn answer(session: &Session, connack: Option<Connack>, duration_us: u64) {
    let generation = &session.road.generation;
    let backend = session.assigned.backend.get();
    let lives = [Some(&generation.frontend(session.frontend).mqtt), backend.map(|id| &generation.backend(id).mqtt)];
    for counters in lives.into_iter().flatten().map(|live| of(session, live)) {
        match connack {
            Some(connack) => {
                if let Some((_, _, counter)) = counters.connacks_of(connack.version).find(|(code, _, _)| *code == connack.code) {
                    counter.add(1);
                }
            }
            None => counters.invalid_connacks.add(1),
        }
    }
    if let Some(connack) = connack {
        session.shard.mqtt_times.record(generation.frontend(session.frontend), backend.map(|id| generation.backend(id)), duration_us);
        if let (Some(backend), 0) = (backend, connack.code) {
            lint(session, backend, connack.keepalive_s);
        }
    }
}

/// Counts a client that is told to go.
pub(crate) fn drained(session: &Session) {
    both(session, |counters| &counters.drained);
}

/// Counts a client whose keep alive is longer than its connection may be silent, and has it said once for each frontend and generation.
fn lint(session: &Session, backend: BackendId, keepalive_s: u16) {
    let (generation, client) = (&session.road.generation, session.frontend_config().timeouts.client);
    let tunnel = session.road.model().backend(backend).timeouts.tunnel;
    let Some(timeout) = tunnel.or(client) else { return };
    let needed_ms = u64::from(keepalive_s) * KEEPALIVE_TO_MS;
    if timeout.get() >= needed_ms {
        return;
    }
    both(session, |counters| &counters.long_keepalives);
    let warned = &generation.frontend(session.frontend).keepalive_warned;
    if warned.load(Ordering::Relaxed) < generation.number && warned.fetch_max(generation.number, Ordering::Relaxed) < generation.number {
        let frontend = session.frontend_config().name.clone();
        let report = Report::LongKeepalive { frontend, keepalive_s, timeout_ms: timeout.get(), is_tunnel: tunnel.is_some() };
        // With the control thread that far behind, one line less is no loss: the counter has it.
        let _ = session.shard.control.send(report);
    }
}

fn both(session: &Session, counter: fn(&MqttCounters) -> &Counter) {
    counter(frontend(session)).add(1);
    if let Some(backend) = session.assigned.backend.get() {
        counter(of(session, &session.road.generation.backend(backend).mqtt)).add(1);
    }
}

fn frontend(session: &Session) -> &MqttCounters {
    of(session, &session.road.generation.frontend(session.frontend).mqtt)
}

fn of<'a>(session: &Session, live: &'a MqttLive) -> &'a MqttCounters {
    &live.counters[session.shard.index]
}
