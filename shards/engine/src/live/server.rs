//! Live state of servers: slots, queue, counters.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use ringmain_policy::rate::SharedRate;

use crate::pace::Pace;

use super::{BackendLive, Maximum, Queue, ServiceCounters};

/// Where a server is reached now. `Client` variants need the client's destination port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// TCP.
    Inet(SocketAddr),
    /// TCP; the port is the client's destination port plus this.
    Mapped(std::net::IpAddr, i32),
    /// Unix stream socket.
    Unix(PathBuf),
    /// Abstract unix stream socket.
    Abstract(Arc<str>),
}

/// Live state of a server; its identity is `backend/server`.
#[derive(Debug)]
pub struct ServerLive {
    /// The server's name.
    pub name: Arc<str>,
    /// Sessions that hold a slot: connecting or established.
    pub active: CachePadded<AtomicU32>,
    /// When `active` last changed, as a number that grows over the whole backend; `leastconn` orders equals by it.
    pub changed: AtomicU64,
    /// Sessions waiting for this very server.
    pub queue: Queue,
    /// When new connections may begin (`maxconnrate`).
    pub pace: Pace,
    /// Errors in a row seen by `observe`; a success sets it to 0.
    pub consecutive_errors: AtomicU32,
    /// Highest `active`.
    pub active_peak: Maximum,
    /// Sessions per second.
    pub session_rate: SharedRate,
    /// Counters, by shard.
    pub counters: Box<[CachePadded<ServiceCounters>]>,
}

impl ServerLive {
    /// A fresh server.
    pub fn new(name: Arc<str>, shards: usize) -> Self {
        Self {
            name,
            active: CachePadded::default(),
            changed: AtomicU64::new(0),
            queue: Queue::default(),
            pace: Pace::default(),
            consecutive_errors: AtomicU32::new(0),
            active_peak: Maximum::default(),
            session_rate: SharedRate::default(),
            counters: (0..shards).map(|_| CachePadded::default()).collect(),
        }
    }

    /// Takes a slot if fewer than `limit` are taken; 0 is no limit.
    pub fn try_acquire(&self, limit: u32) -> bool {
        let taken = self
            .active
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |active| (limit == 0 || active < limit).then(|| active.saturating_add(1)));
        if let Ok(before) = taken {
            self.active_peak.raise(before.saturating_add(1));
        }
        taken.is_ok()
    }
}

/// A slot of a server, held from the choice of the server to the end of the session. Dropping it gives the slot to the next in the queues.
#[derive(Debug)]
pub struct Slot {
    server: Arc<ServerLive>,
    backend: Arc<BackendLive>,
}

impl Slot {
    /// Wraps a slot that `try_acquire` has just taken.
    pub(crate) fn new(server: Arc<ServerLive>, backend: Arc<BackendLive>) -> Self {
        backend.stamp(&server);
        Self { server, backend }
    }

    /// The server.
    pub fn server(&self) -> &Arc<ServerLive> {
        &self.server
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // One order over slots and queues: either the slot is seen free by whoever joins a queue, or they are seen waiting here.
        self.server.active.fetch_sub(1, Ordering::SeqCst);
        self.backend.stamp(&self.server);
        self.backend.serve_queues(&self.server);
    }
}
