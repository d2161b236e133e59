//! Numbers about the process, frontends, backends and servers, for `policy::expression` fetches.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmain_model::{BackendId, ServerId};
use ringmain_policy::expression::Count;

use crate::live::{BackendLive, Snapshot, SnapshotServer};
use crate::ring;
use crate::session::Session;

/// The server of a session, once chosen.
pub(crate) fn server(session: &Session) -> Option<ServerId> {
    let chosen = session.assigned.server.borrow();
    let chosen = chosen.as_ref()?;
    let backend = session.assigned.backend.get()?;
    let mut servers = session.road.model().servers_of(backend);
    servers.find(|(id, _)| Arc::ptr_eq(session.road.generation.server(*id), chosen)).map(|(id, _)| id)
}

/// One number, as of now.
pub(crate) fn count(session: &Session, wanted: Count) -> Option<i64> {
    let (road, shard) = (&session.road, session.shard);
    let generation = &road.generation;
    let number = match wanted {
        Count::ProcessConnections => shard.process.sessions.inside().into(),
        Count::Shards => shard.ports.len() as i64,
        Count::Shard => shard.index as i64,
        Count::FrontendConnections(id) => generation.frontend(id).sessions.inside().into(),
        Count::FrontendSessionRate(id) => generation.frontend(id).session_rate.read(ring::now_ms()).into(),
        Count::BackendConnections(id) => generation.backend(id).sessions.inside().into(),
        Count::BackendSessionRate(id) => generation.backend(id).session_rate.read(ring::now_ms()).into(),
        Count::TableUsed(id) => generation.table(id).entries().into(),
        Count::TableFree(id) => road.model().table(id).size.saturating_sub(generation.table(id).entries()).into(),
        Count::BackendConnectionsFree(id) => free_connections(generation.backend(id), &road.snapshot(id)),
        Count::ConnectionSlots(id) => connection_slots(generation.backend(id), &road.snapshot(id)),
        Count::Queue(id) => queued(generation.backend(id), &road.snapshot(id)),
        Count::AverageQueue(id) => {
            let snapshot = road.snapshot(id);
            let (queued, usable) = (queued(generation.backend(id), &snapshot), usable(&snapshot));
            // Without servers everybody waits: HAProxy's number is twice the queue, so that it is never mistaken for a short one.
            if usable > 0 { (queued + usable - 1) / usable } else { queued.saturating_mul(2) }
        }
        Count::UsableServers(id) => usable(&road.snapshot(id)),
        Count::ServerConnections(id)
        | Count::ServerConnectionsFree(id)
        | Count::ServerIsUp(id)
        | Count::ServerQueue(id)
        | Count::ServerSessionRate(id)
        | Count::ServerWeight(id)
        | Count::ServerInitialWeight(id)
        | Count::ServerUserWeight(id) => return of_server(session, id, wanted),
    };
    Some(number)
}

fn of_server(session: &Session, id: ServerId, wanted: Count) -> Option<i64> {
    let model = session.road.model();
    let backend: BackendId = model.server(id).backend;
    let live = session.road.generation.server(id);
    let snapshot = session.road.snapshot(backend);
    let server = snapshot.position(live).map(|position| &snapshot.servers[position]);
    Some(match wanted {
        Count::ServerConnections(_) => live.active.load(Ordering::Relaxed).into(),
        Count::ServerConnectionsFree(_) => match server?.maxconn {
            0 => -1,
            limit => i64::from(limit).saturating_sub(live.active.load(Ordering::Relaxed).into()).max(0),
        },
        Count::ServerIsUp(_) => server.is_some_and(|server| server.runs).into(),
        Count::ServerQueue(_) => live.queue.len().into(),
        Count::ServerSessionRate(_) => live.session_rate.read(ring::now_ms()).into(),
        Count::ServerWeight(_) => server?.weight.into(),
        Count::ServerUserWeight(_) => server?.user_weight.into(),
        Count::ServerInitialWeight(_) => model.server(id).weight.into(),
        _ => return None,
    })
}

/// Usable servers; backup servers count when no other is usable, and only the first of them unless all may be used at once.
fn usable(snapshot: &Snapshot) -> i64 {
    if snapshot.active_servers > 0 {
        return snapshot.active_servers.into();
    }
    let backups = snapshot.servers.iter().filter(|server| server.usable).count();
    let all = snapshot.servers.first().is_some_and(|server| {
        let model = &snapshot.model;
        model.backend(model.server(server.id).backend).options.all_backups
    });
    if all { backups as i64 } else { backups.min(1) as i64 }
}

fn queued(backend: &BackendLive, snapshot: &Snapshot) -> i64 {
    let of_servers = snapshot.servers.iter().map(|server| i64::from(server.live.queue.len())).sum::<i64>();
    of_servers.saturating_add(backend.queue.len().into())
}

/// Free slots of usable servers; -1 as soon as one of them has no limit.
fn free_connections(backend: &BackendLive, snapshot: &Snapshot) -> i64 {
    let mut free: i64 = 0;
    for server in snapshot.servers.iter().filter(|server| server.usable) {
        match backend.limit(server) {
            0 => return -1,
            limit => free = free.saturating_add(slots(server, limit)),
        }
    }
    free
}

/// Free slots and free places in the queues of usable servers; -1 as soon as one of them has no limit.
fn connection_slots(backend: &BackendLive, snapshot: &Snapshot) -> i64 {
    let mut free: i64 = 0;
    for server in snapshot.servers.iter().filter(|server| server.usable) {
        let limit = backend.limit(server);
        if limit == 0 || server.maxqueue == 0 {
            return -1;
        }
        let places = i64::from(server.maxqueue).saturating_sub(server.live.queue.len().into());
        free = free.saturating_add(slots(server, limit)).saturating_add(places.max(0));
    }
    free
}

fn slots(server: &SnapshotServer, limit: u32) -> i64 {
    i64::from(limit).saturating_sub(server.live.active.load(Ordering::Relaxed).into()).max(0)
}
