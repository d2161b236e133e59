//! The checked, immutable configuration that shards run.
//!
//! Written by the control plane's configuration checker, published as one `Arc<Model>` per generation, read by every shard. Nothing in
//! here opens a socket, knows a file format or changes after it was published. What must outlive a reload (listeners, health, counters,
//! queues) is never in here: the model only names it, by identity (`backend/server`, frontend name, bind address).

pub mod backend;
pub mod expression;
pub mod frontend;
pub mod global;
pub mod id;
pub mod location;
pub mod log;
pub mod log_format;
pub mod mqtt;
pub mod pattern;
pub mod rule;
pub mod server;
pub mod table;
pub mod time;

pub use backend::{Backend, BackendOptions, BackendTimeouts, Balance, Hash, HashFunction, HashMethod};
pub use expression::{Argument, Call, Expression, Needs, SampleType, Scope, Variable};
pub use frontend::{Bind, Endpoint, Frontend, FrontendOptions, FrontendTimeouts, Ipv6Binding, UnixPermissions};
pub use global::{Global, RingMode, RingTuning, StatsLevel, StatsSocket, Tuning};
pub use id::{BackendId, BindId, FrontendId, ServerId, TableId};
pub use location::Location;
pub use log::{Facility, Level, LogDestination, LogEncoding, LogSample, LogSettings, LogTarget};
pub use mqtt::{MqttCheck, MqttVersion};
pub use server::{Check, Observe, OnError, Server, ServerAddress, ServerHost, ServerPort, SourceAddress};
pub use time::Milliseconds;

/// Protocol level at which a proxy works (`mode`, HAProxy manual section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Bytes are forwarded as they are.
    Tcp,
}

/// Which directions may be moved by splice(2) (`option splice-auto`, `splice-request`, `splice-response`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplicePolicy {
    /// Small messages go through the ring, bulk through splice(2), decided per direction while it flows. The default.
    #[default]
    Adaptive,
    /// Splice whenever the direction allows it (`option splice-request` / `splice-response` force it on).
    Always,
    /// Never splice (`no option splice-...`, `-dS`).
    Never,
}

/// One checked configuration. Ids index the vectors: `FrontendId(3)` is `frontends[3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Process-wide settings.
    pub global: Global,
    /// Frontends and the listening halves of `listen` sections, in file order.
    pub frontends: Vec<Frontend>,
    /// Backends and the serving halves of `listen` sections, in file order.
    pub backends: Vec<Backend>,
    /// All servers of all backends; each backend holds the range of its own.
    pub servers: Vec<Server>,
    /// Stick tables in file order; a table's name is its identity over reloads.
    pub tables: Vec<table::Table>,
    /// Names of variables without their scope, by `Variable::slot`; the same name in another scope has another slot.
    pub variables: Vec<(Scope, std::sync::Arc<str>)>,
}

impl Model {
    /// A model without proxies.
    pub fn empty(global: Global) -> Self {
        Self { global, frontends: Vec::new(), backends: Vec::new(), servers: Vec::new(), tables: Vec::new(), variables: Vec::new() }
    }

    /// The frontend with this id; ids come from the same model, so the index is always valid.
    pub fn frontend(&self, id: FrontendId) -> &Frontend {
        &self.frontends[id.index()]
    }

    /// The backend with this id.
    pub fn backend(&self, id: BackendId) -> &Backend {
        &self.backends[id.index()]
    }

    /// The server with this id.
    pub fn server(&self, id: ServerId) -> &Server {
        &self.servers[id.index()]
    }

    /// The stick table with this id.
    pub fn table(&self, id: TableId) -> &table::Table {
        &self.tables[id.index()]
    }

    /// The servers of one backend, in file order, with their ids.
    pub fn servers_of(&self, id: BackendId) -> impl ExactSizeIterator<Item = (ServerId, &Server)> {
        let range = self.backend(id).servers.clone();
        let first = range.start;
        self.servers[range].iter().enumerate().map(move |(offset, server)| (ServerId::new(first + offset), server))
    }
}
