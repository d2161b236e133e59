//! Live state of backends: the current choice of servers, the backend's queue, counters.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_utils::CachePadded;
use ringmain_model::{Balance, Model, ServerId};
use ringmain_policy::balance::Picker;
use ringmain_policy::queue::{QueueChoice, next_queue};
use ringmain_policy::rate::SharedRate;

use super::{Destination, Gate, MqttLive, Queue, ServerLive, ServiceCounters, Slot};

/// Live state of a backend; its identity is the section's name.
#[derive(Debug)]
pub struct BackendLive {
    /// The section's name.
    pub name: Arc<str>,
    /// Sessions in this backend, queued ones included.
    pub sessions: Gate,
    /// Sessions waiting for any server.
    pub queue: Queue,
    /// Round-robin position; every pick takes the next.
    pub ticket: CachePadded<AtomicU64>,
    /// Sessions per second.
    pub session_rate: SharedRate,
    /// Counters, by shard.
    pub counters: Box<[CachePadded<ServiceCounters>]>,
    /// What is counted of MQTT.
    pub mqtt: MqttLive,
    /// Bumped after each new snapshot; shards compare it with the one they hold.
    version: CachePadded<AtomicU64>,
    snapshot: Mutex<Arc<Snapshot>>,
    fullconn: AtomicU32,
    orders_changes: AtomicBool,
    changes: CachePadded<AtomicU64>,
}

/// What shards choose from: replaced as a whole by the control thread at every transition (health, weight, address, reload).
#[derive(Debug)]
pub struct Snapshot {
    /// Number of the generation that it was made for.
    pub generation: u64,
    /// The model of that generation.
    pub model: Arc<Model>,
    /// The balancer over `servers`, same positions.
    pub picker: Picker,
    /// The backend's servers, in file order.
    pub servers: Vec<SnapshotServer>,
    /// Usable servers that are not backups (`act`).
    pub active_servers: u32,
}

/// One server in a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotServer {
    /// Its id in the snapshot's model.
    pub id: ServerId,
    /// Live state.
    pub live: Arc<ServerLive>,
    /// Where to connect; `None` while it has no address.
    pub destination: Option<Destination>,
    /// Whether new sessions may go there.
    pub usable: bool,
    /// Whether sessions that stick to it may still go there: also while it is drained, not while it is down or in maintenance.
    pub runs: bool,
    /// Weight now in force, slow start applied, 0 to 256.
    pub weight: u16,
    /// Weight as the operator has set it, 0 to 256.
    pub user_weight: u16,
    /// Most sessions at once; 0 is no limit.
    pub maxconn: u32,
    /// Floor of the dynamic limit.
    pub minconn: u32,
    /// Most sessions in its own queue; 0 is no limit.
    pub maxqueue: u32,
    /// Percent of its limit that slowstart allows now, 100 outside of it.
    pub limit_percent: u32,
}

impl Snapshot {
    /// The position of a live server, for a slot granted from a queue.
    pub fn position(&self, live: &Arc<ServerLive>) -> Option<usize> {
        self.servers.iter().position(|server| Arc::ptr_eq(&server.live, live))
    }
}

impl BackendLive {
    /// A fresh backend with its first snapshot.
    pub fn new(name: Arc<str>, shards: usize, fullconn: u32, snapshot: Arc<Snapshot>) -> Self {
        Self {
            name,
            sessions: Gate::new(0),
            queue: Queue::default(),
            ticket: CachePadded::default(),
            session_rate: SharedRate::default(),
            counters: (0..shards).map(|_| CachePadded::default()).collect(),
            mqtt: MqttLive::new(shards),
            version: CachePadded::new(AtomicU64::new(1)),
            orders_changes: AtomicBool::new(orders_changes(&snapshot)),
            changes: CachePadded::default(),
            snapshot: Mutex::new(snapshot),
            fullconn: AtomicU32::new(fullconn),
        }
    }

    /// Replaces the snapshot; only the control thread calls this. Waiters are offered what became free.
    pub fn publish(self: &Arc<Self>, snapshot: Arc<Snapshot>, fullconn: u32) {
        self.fullconn.store(fullconn, Ordering::Relaxed);
        self.orders_changes.store(orders_changes(&snapshot), Ordering::Relaxed);
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        self.version.fetch_add(1, Ordering::Release);
        for server in &snapshot.servers {
            self.serve_queues(&server.live);
        }
    }

    /// Marks a server's load as just changed, for balancing methods that look at the order of changes.
    pub(super) fn stamp(&self, server: &ServerLive) {
        if self.orders_changes.load(Ordering::Relaxed) {
            server.changed.store(self.changes.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// The version of the current snapshot; one load.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The current snapshot. The lock is held for the copy of a pointer only, and only after a transition.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of sessions a server of this backend may have now (HAProxy manual, `minconn`, `fullconn`, `slowstart`); 0 is no limit.
    pub fn limit(&self, server: &SnapshotServer) -> u32 {
        let fullconn = self.fullconn.load(Ordering::Relaxed);
        let limit = ringmain_policy::queue::dynamic_limit(server.minconn, server.maxconn, fullconn, self.sessions.inside());
        ringmain_policy::queue::throttled_limit(limit, server.limit_percent)
    }

    /// Takes a slot of a server of the given snapshot, unless it is full or others were first.
    pub fn take_slot(self: &Arc<Self>, server: &SnapshotServer) -> Option<Slot> {
        let limit = self.limit(server);
        if limit != 0 && !(server.live.queue.is_empty() && self.queue.is_empty()) {
            return None;
        }
        server.live.try_acquire(limit).then(|| Slot::new(server.live.clone(), self.clone()))
    }

    /// Wraps a slot that came with a grant.
    pub fn granted_slot(self: &Arc<Self>, live: Arc<ServerLive>) -> Slot {
        Slot::new(live, self.clone())
    }

    /// Hands free slots of a server to those who wait, oldest first over its own queue and the backend's. Called when a slot was freed,
    /// after a waiter was queued (so that a slot freed in between is not missed) and after a transition.
    pub fn serve_queues(self: &Arc<Self>, live: &Arc<ServerLive>) {
        if live.queue.is_empty() && self.queue.is_empty() {
            return;
        }
        let snapshot = self.snapshot();
        let Some(server) = snapshot.position(live).map(|place| &snapshot.servers[place]) else { return };
        loop {
            let queue = match next_queue(live.queue.first_ticket(), self.queue.first_ticket(), server.usable) {
                Some(QueueChoice::Server) => &live.queue,
                Some(QueueChoice::Backend) => &self.queue,
                None => return,
            };
            if !live.try_acquire(self.limit(server)) {
                return;
            }
            if !queue.grant(live) {
                live.active.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

fn orders_changes(snapshot: &Snapshot) -> bool {
    let backend = snapshot.servers.first().map(|server| snapshot.model.server(server.id).backend);
    backend.is_some_and(|id| snapshot.model.backend(id).balance == Balance::LeastConnections)
}
