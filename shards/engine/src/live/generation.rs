//! One published model with the live objects it names.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_utils::CachePadded;
use ringmain_model::{BackendId, BindId, FrontendId, Model, ServerId, TableId};
use ringmain_policy::log::LogChannel;

use super::{BackendLive, BindLive, FrontendLive, ProcessVariable, ServerLive, TableLive};

/// A model and the live objects behind its ids, published to all shards at once. A session pins the generation it was routed with.
#[derive(Debug)]
pub struct Generation {
    /// 1 for the configuration of the start, one more for each reload that succeeded.
    pub number: u64,
    /// The configuration.
    pub model: Arc<Model>,
    /// By `FrontendId`.
    pub frontends: Vec<Arc<FrontendLive>>,
    /// By `FrontendId`, then `BindId`.
    pub binds: Vec<Vec<Arc<BindLive>>>,
    /// By `BackendId`.
    pub backends: Vec<Arc<BackendLive>>,
    /// By `ServerId`.
    pub servers: Vec<Arc<ServerLive>>,
    /// By `TableId`.
    pub tables: Vec<Arc<TableLive>>,
    /// By `Variable::slot`; only those of scope `proc` are used.
    pub variables: Vec<Arc<ProcessVariable>>,
    /// Where the lines of each frontend go, by `FrontendId`.
    pub log_channels: Vec<Arc<LogChannel>>,
    /// Sessions that pin this generation, by shard. Written by their shard.
    pub sessions: Box<[CachePadded<AtomicU64>]>,
}

impl Generation {
    /// Live state of a frontend.
    pub fn frontend(&self, id: FrontendId) -> &Arc<FrontendLive> {
        &self.frontends[id.index()]
    }

    /// Live state of a bind.
    pub fn bind(&self, frontend: FrontendId, bind: BindId) -> &Arc<BindLive> {
        &self.binds[frontend.index()][bind.index()]
    }

    /// Live state of a backend.
    pub fn backend(&self, id: BackendId) -> &Arc<BackendLive> {
        &self.backends[id.index()]
    }

    /// Live state of a server.
    pub fn server(&self, id: ServerId) -> &Arc<ServerLive> {
        &self.servers[id.index()]
    }

    /// Live state of a stick table.
    pub fn table(&self, id: TableId) -> &Arc<TableLive> {
        &self.tables[id.index()]
    }

    /// How many sessions pin this generation, over all shards.
    pub fn session_count(&self) -> u64 {
        self.sessions.iter().map(|count| count.load(std::sync::atomic::Ordering::Relaxed)).sum()
    }
}
