//! From a model to a generation: finds the live objects of what was there before by identity, and makes those that are new.
//!
//! Identities: a frontend's or backend's name, `backend/server`, and for a bind its endpoint, interface and IPv6 binding. Called at start and
//! by each reload; opens nothing.

use std::collections::HashMap;
use std::sync::Arc;

use ringmain_engine::live::{BackendLive, BindLive, FrontendLive, Generation, ProcessVariable, ServerLive, Snapshot, TableLive};
use ringmain_model::table::{KeyType, Table};
use ringmain_model::{Bind, BindId, Endpoint, Frontend, FrontendId, Ipv6Binding, Model, Scope};
use ringmain_policy::balance::Picker;
use ringmain_policy::log::LogChannel;

/// What makes a listening address the same over a reload; the number tells apart repetitions of one address.
type BindIdentity = (Endpoint, Option<Arc<str>>, Ipv6Binding, u32);

/// One listening address of a generation.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Frontend in the generation.
    pub frontend: FrontendId,
    /// Bind in the generation.
    pub bind: BindId,
    /// Identity that stays over reloads.
    pub key: u64,
}

/// Remembers live objects from generation to generation.
#[derive(Debug)]
pub struct Registry {
    shards: usize,
    program: Arc<str>,
    number: u64,
    next_key: u64,
    frontends: HashMap<Arc<str>, Arc<FrontendLive>>,
    backends: HashMap<Arc<str>, Arc<BackendLive>>,
    servers: HashMap<(Arc<str>, Arc<str>), Arc<ServerLive>>,
    binds: HashMap<BindIdentity, (u64, Arc<BindLive>)>,
    tables: HashMap<(Arc<str>, KeyType), Arc<TableLive>>,
    variables: HashMap<Arc<str>, Arc<ProcessVariable>>,
}

/// A generation that is not published yet, with what the registry will remember once it is.
#[derive(Debug)]
pub struct Proposal {
    /// The generation.
    pub generation: Arc<Generation>,
    /// Its listening addresses.
    pub listeners: Vec<Listener>,
    remembered: Box<Registry>,
}

impl Registry {
    /// An empty registry. `program` is the default log tag.
    pub fn new(shards: usize, program: Arc<str>) -> Self {
        Self {
            shards,
            program,
            number: 0,
            next_key: 1,
            frontends: HashMap::new(),
            backends: HashMap::new(),
            servers: HashMap::new(),
            binds: HashMap::new(),
            tables: HashMap::new(),
            variables: HashMap::new(),
        }
    }

    /// Makes the next generation without changing anything: live objects of known identities are shared, others are new.
    pub fn propose(&self, model: Arc<Model>) -> Proposal {
        let number = self.number + 1;
        let mut next = Self { number, next_key: self.next_key, ..Self::new(self.shards, self.program.clone()) };
        let frontends = model.frontends.iter().map(|frontend| {
            let known = self.frontends.get(&frontend.name).cloned();
            let live = known.unwrap_or_else(|| Arc::new(FrontendLive::new(frontend.name.clone(), self.shards, frontend.maxconn)));
            next.frontends.insert(frontend.name.clone(), live.clone());
            live
        });
        let frontends: Vec<_> = frontends.collect();
        let servers: Vec<_> = model.servers.iter().map(|server| self.server(&model, server, &mut next)).collect();
        let backends = (0..model.backends.len()).map(|index| self.backend(&model, index, number, &mut next));
        let backends: Vec<_> = backends.collect();
        let (binds, listeners) = self.binds(&model, &mut next);
        let (tag, hostname) = (model.global.log_tag.as_ref(), model.global.log_hostname.as_ref());
        let channel = |frontend: &Frontend| Arc::new(LogChannel::new(&frontend.log, tag, hostname, &self.program));
        let log_channels = model.frontends.iter().map(channel).collect();
        let tables = model.tables.iter().map(|table| self.table(table, &mut next)).collect();
        let variables = model.variables.iter().map(|(scope, name)| self.variable(*scope, name, &mut next)).collect();
        let sessions = (0..self.shards).map(|_| Default::default()).collect();
        let generation = Generation { number, model, frontends, binds, backends, servers, tables, variables, log_channels, sessions };
        Proposal { generation: Arc::new(generation), listeners, remembered: Box::new(next) }
    }

    /// Remembers a proposal: it is the current generation now. What it does not name any more is forgotten.
    pub fn accept(&mut self, proposal: Proposal) -> (Arc<Generation>, Vec<Listener>) {
        for (live, config) in proposal.generation.tables.iter().zip(&proposal.generation.model.tables) {
            live.configure(Arc::new(config.clone()));
        }
        *self = *proposal.remembered;
        (proposal.generation, proposal.listeners)
    }

    fn server(&self, model: &Model, server: &ringmain_model::Server, next: &mut Self) -> Arc<ServerLive> {
        let identity = (model.backend(server.backend).name.clone(), server.name.clone());
        let known = self.servers.get(&identity).cloned();
        let live = known.unwrap_or_else(|| Arc::new(ServerLive::new(server.name.clone(), self.shards)));
        next.servers.insert(identity, live.clone());
        live
    }

    fn backend(&self, model: &Arc<Model>, index: usize, generation: u64, next: &mut Self) -> Arc<BackendLive> {
        let backend = &model.backends[index];
        let known = self.backends.get(&backend.name).cloned();
        let live = known.unwrap_or_else(|| {
            // Without a server until the fleet has decided who is usable, which is before any shard sees it.
            let picker = Picker::build(backend, &[]);
            let snapshot = Snapshot { generation, model: model.clone(), picker, servers: Vec::new(), active_servers: 0 };
            Arc::new(BackendLive::new(backend.name.clone(), self.shards, backend.fullconn, Arc::new(snapshot)))
        });
        next.backends.insert(backend.name.clone(), live.clone());
        live
    }

    fn table(&self, table: &Table, next: &mut Self) -> Arc<TableLive> {
        let identity = (table.name.clone(), table.key);
        let live = self.tables.get(&identity).cloned().unwrap_or_else(|| {
            next.next_key += 1;
            Arc::new(TableLive::new(next.next_key - 1, self.shards, Arc::new(table.clone())))
        });
        next.tables.insert(identity, live.clone());
        live
    }

    /// Variables of the process keep their values; of the others there is one for each session, elsewhere.
    fn variable(&self, scope: Scope, name: &Arc<str>, next: &mut Self) -> Arc<ProcessVariable> {
        let known = self.variables.get(name).filter(|_| scope == Scope::Process).cloned();
        let live = known.unwrap_or_default();
        if scope == Scope::Process {
            next.variables.insert(name.clone(), live.clone());
        }
        live
    }

    fn binds(&self, model: &Model, next: &mut Self) -> (Vec<Vec<Arc<BindLive>>>, Vec<Listener>) {
        let mut listeners = Vec::new();
        let mut lives = Vec::new();
        for (place, frontend) in model.frontends.iter().enumerate() {
            let mut of_frontend = Vec::new();
            for (number, bind) in frontend.binds.iter().enumerate() {
                let (key, live) = self.bind(bind, next);
                of_frontend.push(live);
                listeners.push(Listener { frontend: FrontendId::new(place), bind: BindId::new(number), key });
            }
            lives.push(of_frontend);
        }
        (lives, listeners)
    }

    fn bind(&self, bind: &Bind, next: &mut Self) -> (u64, Arc<BindLive>) {
        let mut identity = (bind.endpoint.clone(), bind.interface.clone(), bind.ipv6, 0);
        while next.binds.contains_key(&identity) {
            identity.3 += 1;
        }
        let (key, live) = self.binds.get(&identity).cloned().unwrap_or_else(|| {
            next.next_key += 1;
            (next.next_key - 1, Arc::new(BindLive::new(self.shards, bind.maxconn)))
        });
        next.binds.insert(identity, (key, live.clone()));
        (key, live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::fixture::model;

    fn program() -> Arc<str> {
        "ringmain".into()
    }

    #[test]
    fn what_keeps_its_identity_keeps_its_counters() {
        let mut registry = Registry::new(2, program());
        let first = model("listen web\n  bind 127.0.0.1:1\n  server one 127.0.0.1:9\n  server two 127.0.0.1:9\n");
        let (first, old) = registry.accept(registry.propose(first));
        let second =
            model("listen web\n  bind 127.0.0.1:2\n  bind 127.0.0.1:1\n  server two 127.0.0.1:9 weight 3\n  server new 127.0.0.1:9\n");
        let (second, new) = registry.accept(registry.propose(second));
        assert_eq!((first.number, second.number), (1, 2));
        assert!(Arc::ptr_eq(&first.frontends[0], &second.frontends[0]) && Arc::ptr_eq(&first.backends[0], &second.backends[0]));
        assert!(Arc::ptr_eq(&first.servers[1], &second.servers[0]), "'two' moved to the first place");
        assert!(!first.servers.iter().any(|live| Arc::ptr_eq(live, &second.servers[1])), "'new' is new");
        assert_eq!(new[1].key, old[0].key, "the listener is known by its address");
        assert_ne!(new[0].key, old[0].key);
    }

    #[test]
    fn a_proposal_that_is_dropped_changes_nothing() {
        let mut registry = Registry::new(1, program());
        let text = "listen web\n  bind 127.0.0.1:1\n  server one 127.0.0.1:9\n";
        let (first, _) = registry.accept(registry.propose(model(text)));
        drop(registry.propose(model("listen other\n  bind 127.0.0.1:2\n  server one 127.0.0.1:9\n")));
        let (second, _) = registry.accept(registry.propose(model(text)));
        assert_eq!(second.number, 2);
        assert!(Arc::ptr_eq(&first.servers[0], &second.servers[0]));
    }

    #[test]
    fn a_name_that_was_gone_for_one_generation_is_new() {
        let mut registry = Registry::new(1, program());
        let text = "listen web\n  bind 127.0.0.1:1\n  server one 127.0.0.1:9\n";
        let (first, old) = registry.accept(registry.propose(model(text)));
        registry.accept(registry.propose(model("listen other\n  bind 127.0.0.1:2\n  server one 127.0.0.1:9\n")));
        let (third, new) = registry.accept(registry.propose(model(text)));
        assert!(!Arc::ptr_eq(&first.servers[0], &third.servers[0]));
        assert_ne!(old[0].key, new[0].key);
    }
}
