//! What the control thread knows about the process itself: when it started, its generations, its reloads. Read by `show info` and statistics.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use ringmain_engine::live::{Generation, ProcessLive};

use super::tables::Tables;

/// One generation that shards run or that sessions still hold.
#[derive(Debug, Clone)]
pub struct GenerationEntry {
    /// 1 is the configuration of the start.
    pub number: u64,
    /// When it was published, monotonic ms.
    pub published_ms: u64,
    generation: Weak<Generation>,
}

impl GenerationEntry {
    /// How many sessions pin it; 0 when it is gone.
    pub fn sessions(&self) -> u64 {
        self.generation.upgrade().map_or(0, |generation| generation.session_count())
    }
}

/// How the last reload went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ReloadResult {
    /// None was asked for.
    #[default]
    Never,
    /// It is being read and checked.
    Running,
    /// It was published as this generation.
    Published(u64),
    /// Nothing changed, for this reason: rendered diagnostics or one sentence.
    Failed(String),
}

/// Reloads since the start.
#[derive(Debug, Clone, Default)]
pub struct Reloads {
    /// Reloads that were published.
    pub succeeded: u64,
    /// Reloads that failed and changed nothing.
    pub failed: u64,
    /// How the last one went.
    pub last: ReloadResult,
    /// When the last one ended.
    pub last_ended: Option<SystemTime>,
}

/// The phase of the process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Serving.
    #[default]
    Running,
    /// Soft stop: listeners are closed or about to be (`grace`), sessions finish.
    Stopping,
    /// Everything ends now.
    Ending,
}

/// What a runtime command asked the control loop to do after its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Read the configuration again.
    Reload,
}

/// Facts about the process, written by the control loop only.
#[derive(Debug)]
pub struct ControlState {
    /// The program's name for log tags and messages.
    pub program: Arc<str>,
    /// Process id (after daemonising).
    pub pid: u32,
    /// When it started.
    pub started: SystemTime,
    /// The same on the monotonic clock, ms.
    pub started_ms: u64,
    /// Number of shards.
    pub shards: usize,
    /// Plain words on what each shard's ring runs on, by shard; empty until it has started.
    pub rings: Vec<String>,
    /// Log lines that were lost, in full rings and at targets; as of the last command.
    pub dropped_logs: u64,
    /// The limit of open descriptors in force.
    pub descriptor_limit: u64,
    /// The global maxconn of the configuration, upper bound of `set maxconn global`.
    pub hard_maxconn: u32,
    /// `node`, else the host's name.
    pub node: String,
    /// `description`.
    pub description: Option<Arc<str>>,
    /// Sessions, rates and totals over all frontends.
    pub process: Arc<ProcessLive>,
    /// Reloads.
    pub reloads: Reloads,
    /// The phase of life.
    pub phase: Phase,
    /// The way to stick tables.
    pub tables: Tables,
    /// Requests of runtime commands, carried out after the turn.
    pub requests: Vec<Request>,
    generations: Vec<GenerationEntry>,
}

impl ControlState {
    /// The state of a process that is about to serve.
    pub fn new(program: Arc<str>, process: Arc<ProcessLive>, started_ms: u64) -> Self {
        Self {
            program,
            pid: std::process::id(),
            started: SystemTime::now(),
            started_ms,
            shards: process.loads.len(),
            rings: vec![String::new(); process.loads.len()],
            dropped_logs: 0,
            descriptor_limit: 0,
            hard_maxconn: process.sessions.limit(),
            node: host_name(),
            description: None,
            process,
            reloads: Reloads::default(),
            phase: Phase::default(),
            tables: Tables::default(),
            requests: Vec::new(),
            generations: Vec::new(),
        }
    }

    /// Notes what the model says about the process; called for each generation.
    pub fn describe(&mut self, generation: &Arc<Generation>, now_ms: u64) {
        let global = &generation.model.global;
        self.node = global.node.as_deref().map_or_else(host_name, str::to_string);
        self.description = global.description.clone();
        self.hard_maxconn = global.maxconn;
        self.generations.retain(|entry| entry.sessions() > 0);
        self.generations.push(GenerationEntry { number: generation.number, published_ms: now_ms, generation: Arc::downgrade(generation) });
    }

    /// Generations that are current or still hold sessions, oldest first.
    pub fn generations(&self) -> Vec<GenerationEntry> {
        let newest = self.generations.last().map_or(0, |entry| entry.number);
        self.generations.iter().filter(|entry| entry.number == newest || entry.sessions() > 0).cloned().collect()
    }

    /// Sessions that pin any generation.
    pub fn sessions(&self) -> u64 {
        self.generations.iter().map(GenerationEntry::sessions).sum()
    }

    /// `set maxconn global`: 0 is back to the configured limit.
    ///
    /// # Errors
    /// HAProxy's words when the number is malformed or above the configured limit.
    pub fn set_global_maxconn(&mut self, text: &str) -> Result<(), String> {
        let wanted = super::fleet::parse_limit(text)?;
        if wanted > self.hard_maxconn {
            return Err("Value out of range.".into());
        }
        self.process.sessions.set_limit(if wanted == 0 { self.hard_maxconn } else { wanted });
        Ok(())
    }
}

/// The host's name, `localhost` when the kernel gives none that is text.
pub fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".into())
}
