//! One generation as a shard runs it: the model, the live objects, and a local copy of each backend's choice of servers.
//!
//! Sessions hold an `Rc<Road>`; the last one to let go ends the generation on this shard.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmain_model::log_format::{LogFormat, LogItem, LogVariable};
use ringmain_model::rule::BackendRules;
use ringmain_model::{BackendId, Balance, BindId, Frontend, FrontendId, Model, Needs, ServerId};
use ringmain_policy::expression::Backends;
use ringmain_policy::log::{Moment, moment};

use crate::live::{Generation, Snapshot};
use crate::mqtt::Interest;

/// A generation on one shard.
pub(crate) struct Road {
    pub generation: Arc<Generation>,
    shard: usize,
    snapshots: Vec<RefCell<Cached>>,
    frontends: Vec<FrontendRun>,
    /// What each backend wants of sessions that may be MQTT.
    mqtt: Vec<Interest>,
}

struct Cached {
    version: u64,
    snapshot: Option<Arc<Snapshot>>,
}

/// What is derived once per frontend so that sessions need not look it up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrontendRun {
    /// Whether the client's address must be asked for at accept: it cannot be had any more once the client has gone.
    pub needs_client_address: bool,
    /// Whether log lines name the address that the client connected to.
    pub needs_local_address: bool,
    /// Whether log lines name the server's address.
    pub needs_server_address: bool,
    /// Whether log lines name our address towards the server.
    pub needs_source_address: bool,
    /// Whether rules or tables have a say on its sessions, here or in a backend that they may come to, or in the line.
    pub has_rules: bool,
    /// Whether log lines name the rule that ended the content rules.
    pub line_names_rule: bool,
    /// Whether log lines ask stick tables.
    pub line_asks_tables: bool,
    /// What it wants of sessions that may be MQTT.
    pub mqtt: Interest,
    /// When the line is written; `None` without log targets.
    pub moment: Option<Moment>,
}

/// A session's hold on a generation: counted so that operators see how many sessions each generation still has.
pub(crate) struct Pin(std::rc::Rc<Road>);

impl Pin {
    pub fn new(road: &std::rc::Rc<Road>) -> Self {
        road.generation.sessions[road.shard].fetch_add(1, Ordering::Relaxed);
        Self(road.clone())
    }
}

impl std::ops::Deref for Pin {
    type Target = std::rc::Rc<Road>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.0.generation.sessions[self.0.shard].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backends for Road {
    fn backend_name(&self, id: BackendId) -> &str {
        &self.model().backend(id).name
    }

    fn server_name(&self, id: ServerId) -> &str {
        &self.model().server(id).name
    }

    fn frontend_name(&self, id: FrontendId) -> &str {
        &self.model().frontend(id).name
    }
}

impl Road {
    pub fn new(generation: Arc<Generation>, shard: usize) -> Self {
        let frontends = generation.model.frontends.iter().map(|frontend| derive(frontend, &generation.model)).collect();
        let snapshots = generation.backends.iter().map(|_| RefCell::new(Cached { version: 0, snapshot: None })).collect();
        let mqtt = generation.model.backends.iter().map(Interest::of_backend).collect();
        Self { generation, shard, snapshots, frontends, mqtt }
    }

    pub fn model(&self) -> &Model {
        &self.generation.model
    }

    pub fn frontend(&self, id: FrontendId) -> &Frontend {
        self.model().frontend(id)
    }

    pub fn run(&self, id: FrontendId) -> FrontendRun {
        self.frontends[id.index()]
    }

    /// What is wanted of a session that may be MQTT.
    pub fn mqtt(&self, frontend: FrontendId, backend: Option<BackendId>) -> Interest {
        let of_backend = backend.and_then(|id| self.mqtt.get(id.index())).copied().unwrap_or_default();
        self.run(frontend).mqtt.and(of_backend)
    }

    pub fn bind_id(&self, frontend: FrontendId, bind: BindId) -> u32 {
        self.frontend(frontend).binds.get(bind.index()).map_or(0, |bind| bind.id)
    }

    /// The backend's current snapshot: one atomic load unless something changed.
    pub fn snapshot(&self, id: BackendId) -> Arc<Snapshot> {
        let live = self.generation.backend(id);
        let mut cached = self.snapshots[id.index()].borrow_mut();
        let version = live.version();
        match &cached.snapshot {
            Some(snapshot) if cached.version == version => snapshot.clone(),
            _ => {
                let snapshot = live.snapshot();
                *cached = Cached { version, snapshot: Some(snapshot.clone()) };
                snapshot
            }
        }
    }
}

fn derive(frontend: &Frontend, model: &Model) -> FrontendRun {
    use LogVariable as V;
    let log = &frontend.log;
    let logs = !log.targets.is_empty();
    let uses = |wanted: &[LogVariable]| {
        let mut formats = log.format.iter().chain(&log.structured_data);
        logs && formats.any(|format| mentions(format, wanted))
    };
    let logs_connect = logs && log.format.is_none();
    let hashes_source = frontend.route.is_some_and(|backend| model.backend(backend).balance == Balance::Source);
    let shows = |needs: Needs| {
        let formats = log.format.iter().chain(&log.structured_data);
        logs && formats.flat_map(|format| format.expressions()).any(|expression| expression.needs.intersects(needs))
    };
    let early = moment(log.format.as_deref(), &frontend.options);
    FrontendRun {
        needs_client_address: hashes_source || logs_connect || uses(&[V::ClientIp, V::ClientPort]) || shows(Needs::CLIENT_ADDRESS),
        needs_local_address: logs_connect || uses(&[V::FrontendIp, V::FrontendPort]) || shows(Needs::LOCAL_ADDRESS),
        needs_server_address: uses(&[V::ServerIp, V::ServerPort]) || shows(Needs::SERVER),
        needs_source_address: uses(&[V::SourceIp, V::SourcePort]) || shows(Needs::SERVER),
        has_rules: has_rules(frontend, model) || shows(Needs::TABLE),
        line_names_rule: shows(Needs::LAST_RULE),
        line_asks_tables: shows(Needs::TABLE),
        mqtt: Interest::of_frontend(frontend),
        moment: logs.then_some(early),
    }
}

/// Whether sessions of a frontend may meet rules.
fn has_rules(frontend: &Frontend, model: &Model) -> bool {
    let rules = &frontend.rules;
    let own = !rules.connection.is_empty() || !rules.session.is_empty() || !rules.content.is_empty() || !rules.routes.is_empty();
    own || frontend.route.is_some_and(|backend| {
        let backend = model.backend(backend);
        backend.rules != BackendRules::default() || backend.balance == Balance::Hash
    })
}

fn mentions(format: &LogFormat, wanted: &[LogVariable]) -> bool {
    format.items.iter().any(|item| matches!(item, LogItem::Variable { variable, .. } if wanted.contains(variable)))
}
