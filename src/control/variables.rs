//! Variables of the process that the configuration sets (`set-var` and `set-var-fmt` in the global section).
//!
//! `start` and `reload` call this before shards see a generation, so that its rules find the values from their first connection on.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmain_engine::live::Generation;
use ringmain_engine::ring;
use ringmain_model::log_format::LogFormat;
use ringmain_model::rule::VariableValue;
use ringmain_model::table::KeyType;
use ringmain_model::{BackendId, FrontendId, Scope, ServerId, TableId, Variable};
use ringmain_policy::expression::{Backends, Count, Evaluation, Facts, TableQuery, Value, evaluate};
use ringmain_policy::log::Renderer;
use ringmain_policy::record::{Captures, Connections, Peer, Record, Termination, Timers};

/// Most bytes of a variable made by a format.
const FORMAT_LIMIT: usize = 16 * 1024;

/// Sets them in the order of their lines. An expression without a value leaves its variable as it is.
pub(super) fn set(generation: &Generation, hostname: &str) {
    let facts = Process { generation, hostname, random: Cell::new(unix_us() | 1) };
    for (variable, value) in &generation.model.global.variables {
        let Some(live) = generation.variables.get(usize::from(variable.slot)) else { continue };
        let value = match value {
            VariableValue::Expression(expression) => {
                evaluate(expression, Evaluation { facts: &facts, is_final: true }).ok().map(|sample| sample.value.to_owned())
            }
            VariableValue::Format(format) => Some(Value::text(facts.text(format))),
        };
        if value.is_some() {
            live.set(value);
        }
    }
}

/// What can be asked when there is no session.
struct Process<'a> {
    generation: &'a Generation,
    hostname: &'a str,
    random: Cell<u64>,
}

impl Process<'_> {
    fn text(&self, format: &LogFormat) -> Vec<u8> {
        let nowhere = Record {
            accepted_us: unix_us(),
            client: Peer::Unix,
            local: Peer::Unix,
            bind_id: 0,
            frontend: "",
            tls: None,
            backend: "",
            server: None,
            server_address: None,
            source_address: None,
            timers: Timers { handshake_ms: 0, queue_ms: -1, connect_ms: -1, data_ms: -1, total_ms: 0 },
            bytes_to_client: 0,
            bytes_from_client: 0,
            termination: Termination::NORMAL,
            connections: Connections { process: 0, frontend: 0, backend: 0, server: 0 },
            retries: 0,
            redispatched: false,
            server_queue: 0,
            backend_queue: 0,
            session_number: 0,
            log_number: 0,
            early: false,
            captures: Captures::default(),
        };
        let mut renderer = Renderer::new(self.hostname.into(), std::process::id(), Arc::new(crate::log::local_time()));
        let mut text = Vec::new();
        renderer.render_text(format, &nowhere, self, FORMAT_LIMIT, &mut text);
        text
    }
}

impl Backends for Process<'_> {
    fn backend_name(&self, id: BackendId) -> &str {
        &self.generation.model.backend(id).name
    }

    fn server_name(&self, id: ServerId) -> &str {
        &self.generation.model.server(id).name
    }

    fn frontend_name(&self, id: FrontendId) -> &str {
        &self.generation.model.frontend(id).name
    }
}

impl Facts for Process<'_> {
    fn now_ms(&self) -> u64 {
        ring::now_ms()
    }

    fn wall_us(&self) -> u64 {
        unix_us()
    }

    /// xorshift64*: nothing here needs secrecy.
    fn random(&self) -> u64 {
        let mut state = self.random.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random.set(state);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn hostname(&self) -> &str {
        self.hostname
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }

    fn count(&self, count: Count) -> Option<i64> {
        match count {
            Count::Shards => Some(self.generation.model.global.shards.into()),
            Count::Shard | Count::ProcessConnections => Some(0),
            _ => None,
        }
    }

    fn names(&self) -> &dyn Backends {
        self
    }

    fn frontend_number(&self, id: FrontendId) -> u32 {
        self.generation.model.frontend(id).proxy_id
    }

    fn backend_number(&self, id: BackendId) -> u32 {
        self.generation.model.backend(id).proxy_id
    }

    fn server_number(&self, id: ServerId) -> u32 {
        self.generation.model.server(id).id
    }

    fn variable(&self, variable: Variable) -> Option<Value<'_>> {
        let live = self.generation.variables.get(usize::from(variable.slot)).filter(|_| variable.scope == Scope::Process)?;
        live.get()
    }

    fn table(&self, _query: &TableQuery) -> Option<Option<i64>> {
        Some(None)
    }

    fn table_text(&self, _query: &TableQuery) -> Option<Option<Arc<str>>> {
        Some(None)
    }

    fn table_key_type(&self, id: TableId) -> KeyType {
        self.generation.model.table(id).key
    }
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
