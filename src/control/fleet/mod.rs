//! The fleet: the control thread's truth about servers, backends and frontends. It is the single writer of all their state.
//!
//! The control loop feeds it check results, timers and reports; the runtime socket calls the commands in `command`; statistics read it. It
//! never waits and does no I/O: what must happen outside (mail to shards, log lines, listeners to open) is left in a list of effects that
//! the loop carries out at the end of its turn. Time is an argument, given once per turn with `set_now`.

mod adopt;
mod command;
mod frontend;
mod health;
mod publish;
mod server;

use std::collections::HashMap;
use std::sync::Arc;

use ringmain_engine::live::{BackendLive, Generation, ServerLive};
use ringmain_model::{BackendId, FrontendId, Level, Model, ServerId};
use ringmain_policy::health as health_machine;

pub(crate) use adopt::needs_restart;
pub(crate) use command::parse_limit;
pub use health::{WantedHealth, WantedState};
pub use ringmain_policy::balance::FULL_THROTTLE as WEIGHT_SCALE;
pub use server::{Admin, CheckResult, CheckState, CheckStatus, Operational, ServerState};

/// Something that the control loop has to do on behalf of the fleet.
#[derive(Debug, Clone)]
pub enum Effect {
    /// A line for the proxy's log targets and, in the foreground, for standard error.
    Log {
        /// Whose targets.
        proxy: Proxy,
        /// Severity on the log targets.
        level: Level,
        /// The text without a line end.
        text: String,
        /// What standard error shows instead, where HAProxy words it differently; with `[ALERT]` for `Level::Emerg`, else `[WARNING]`.
        console_text: Option<String>,
    },
    /// End the sessions of this server on all shards: it went down.
    ShutdownSessions(Arc<ServerLive>),
    /// End the sessions of this server on all shards: an operator said so.
    KillSessions(Arc<ServerLive>),
    /// Tell the MQTT clients of this server to use another one: an operator takes it out of service.
    DrainMqtt(Arc<ServerLive>),
    /// End the sessions on backup servers of this backend on all shards.
    ShutdownBackupSessions(Arc<BackendLive>),
    /// What is due next for this server may have changed: look at its timer again.
    Reschedule(ServerId),
    /// The listeners of this frontend have to accept, to rest or to close, as its state says.
    Listeners(FrontendId),
    /// A limit was raised: shards whose accept loop waits at a gate must look again.
    LimitsRaised,
}

/// Whose log targets a line goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// The frontend's.
    Frontend(FrontendId),
    /// The backend's.
    Backend(BackendId),
}

/// What the control thread knows about one backend beyond the model and the shards' counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendState {
    /// When it last changed between having a usable server and having none, monotonic ms.
    pub last_change_ms: u64,
    /// Milliseconds without a usable server before the last change.
    pub downtime_ms: u64,
    /// Times that its last usable server was lost (`chkdown`).
    pub down_transitions: u64,
    /// Usable servers that are not backups (`act`).
    pub active_servers: u32,
    /// Usable backup servers (`bck`).
    pub backup_servers: u32,
    /// Sum of the effective weights in use, in sixteenths.
    pub total_weight: u32,
}

impl BackendState {
    /// Whether it has a usable server.
    pub fn up(&self) -> bool {
        self.active_servers + self.backup_servers > 0
    }

    /// Milliseconds without a usable server up to now; 0 for a backend that has no servers at all.
    pub fn downtime_until(&self, now_ms: u64) -> u64 {
        let current = if self.up() { 0 } else { now_ms.saturating_sub(self.last_change_ms) };
        self.downtime_ms + current
    }
}

/// Whether a frontend listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrontendService {
    /// It accepts connections.
    #[default]
    Open,
    /// Paused by `disable frontend` or SIGTTOU; `enable frontend` opens it again.
    Paused,
    /// Stopped for good (`shutdown frontend`, `disabled`, soft stop).
    Stopped,
}

/// What the control thread knows about one frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontendState {
    /// Whether it listens.
    pub service: FrontendService,
    /// `set maxconn frontend`; `None` is the configured limit.
    pub maxconn: Option<u32>,
    /// When it started or was reopened, monotonic ms.
    pub last_change_ms: u64,
}

/// All servers, backends and frontends of the current generation.
#[derive(Debug)]
pub struct Fleet {
    generation: Arc<Generation>,
    servers: Vec<ServerState>,
    backends: Vec<BackendState>,
    frontends: Vec<FrontendState>,
    /// The state machine of `policy::health` over the same servers; `servers` follows it.
    health: health_machine::Fleet,
    /// Which servers track each server directly.
    followers: Vec<Vec<ServerId>>,
    /// Where the server with a key is now.
    places: HashMap<u64, ServerId>,
    next_key: u64,
    effects: Vec<Effect>,
    now_ms: u64,
}

impl Fleet {
    /// The fleet of the first generation. Publishes the first snapshot of each backend.
    pub fn new(generation: Arc<Generation>, now_ms: u64) -> Self {
        let model = generation.model.clone();
        let servers: Vec<_> = model.servers.iter().enumerate().map(|(index, server)| ServerState::new(server, index as u64)).collect();
        let places = (0..servers.len()).map(|index| (index as u64, ServerId::new(index))).collect();
        let next_key = servers.len() as u64;
        let backends = vec![BackendState { last_change_ms: now_ms, ..BackendState::default() }; model.backends.len()];
        let frontends = model.frontends.iter().map(|frontend| FrontendState::new(frontend, now_ms)).collect();
        let effects = Vec::new();
        let health = health_machine::Fleet::new(&model, now_ms);
        let followers = health::followers_of(&generation);
        let mut fleet = Self { generation, servers, backends, frontends, health, followers, places, next_key, effects, now_ms };
        fleet.settle_all();
        fleet.effects.extend((0..fleet.servers.len()).map(|index| Effect::Reschedule(ServerId::new(index))));
        fleet
    }

    /// The generation whose ids are valid here.
    pub fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// The current model.
    pub fn model(&self) -> &Arc<Model> {
        &self.generation.model
    }

    /// State of a server.
    pub fn server(&self, id: ServerId) -> &ServerState {
        &self.servers[id.index()]
    }

    /// The server whose state has this key, wherever it stands in the current model.
    pub fn server_by_key(&self, key: u64) -> Option<ServerId> {
        self.places.get(&key).copied()
    }

    /// All servers with their ids.
    pub fn servers(&self) -> impl Iterator<Item = (ServerId, &ServerState)> {
        self.servers.iter().enumerate().map(|(index, state)| (ServerId::new(index), state))
    }

    /// The state of a server in HAProxy's words (column `status`).
    pub fn status_text(&self, id: ServerId) -> String {
        self.health.status_text(id.index())
    }

    /// State of a backend.
    pub fn backend(&self, id: BackendId) -> &BackendState {
        &self.backends[id.index()]
    }

    /// State of a frontend.
    pub fn frontend(&self, id: FrontendId) -> &FrontendState {
        &self.frontends[id.index()]
    }

    /// The time of this turn, monotonic ms.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Sets the time of this turn, monotonic ms.
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// What has to be done outside, in order; empties the list.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The server called `backend/server`, as runtime commands name it.
    ///
    /// # Errors
    /// HAProxy's words for a malformed name, an unknown backend and an unknown server.
    pub fn find_server(&self, name: &str) -> Result<ServerId, String> {
        let (backend, server) = name.split_once('/').ok_or("Require 'backend/server'.")?;
        let backend = self.find_backend(backend).ok_or("No such backend.")?;
        let found = self.model().servers_of(backend).find(|(_, candidate)| names(&candidate.name, candidate.id, server));
        found.map(|(id, _)| id).ok_or_else(|| "No such server.".to_string())
    }

    /// The backend with this name, or with this number after `#`.
    pub fn find_backend(&self, name: &str) -> Option<BackendId> {
        self.model().backends.iter().position(|backend| names(&backend.name, backend.proxy_id, name)).map(BackendId::new)
    }

    /// The frontend with this name, or with this number after `#`.
    ///
    /// # Errors
    /// HAProxy's words when there is none.
    pub fn find_frontend(&self, name: &str) -> Result<FrontendId, String> {
        let place = self.model().frontends.iter().position(|frontend| names(&frontend.name, frontend.proxy_id, name));
        place.map(FrontendId::new).ok_or_else(|| "No such frontend.".to_string())
    }
}

/// Whether `wanted` is the name, or `#` and the number.
fn names(name: &str, number: u32, wanted: &str) -> bool {
    name == wanted || wanted.strip_prefix('#').is_some_and(|digits| digits.parse() == Ok(number))
}

#[cfg(test)]
mod tests;
