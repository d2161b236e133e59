//! A reload: what servers and frontends keep, and what the new configuration decides.
//!
//! Health, counters and times stay with whoever keeps its identity. What an operator changed at runtime stays unless the configuration of
//! that very item changed: then the file's word is the newer one.

use std::collections::HashMap;
use std::sync::Arc;

use ringmain_engine::live::{Generation, ServerLive};
use ringmain_model::{Model, Server, ServerHost, ServerId};
use ringmain_policy::health;

use super::health::followers_of;
use super::{BackendState, Effect, Fleet, FrontendService, FrontendState, ServerState};

impl Fleet {
    /// Takes over a new generation, not yet known to the shards: afterwards every backend's new snapshot is published.
    pub fn adopt(&mut self, generation: Arc<Generation>) {
        let old = std::mem::replace(&mut self.generation, generation);
        let new = self.generation.clone();
        self.health = health::Fleet::reloaded(&new.model, &self.health, &old.model, self.now_ms);
        self.followers = followers_of(&new);
        let gone = self.adopt_servers(&old);
        self.adopt_backends(&old);
        self.adopt_frontends(&old);
        for index in 0..self.servers.len() {
            let id = ServerId::new(index);
            // An address that an operator gave at runtime resolves what the file could not.
            if new.model.servers[index].address.host == ServerHost::Unresolved && self.servers[index].host != ServerHost::Unresolved {
                self.set_resolved(id, true);
            }
            self.copy_state(id);
            self.effects.push(Effect::Reschedule(id));
        }
        self.settle_all();
        // Whoever waited for a server that is gone chooses again, from the snapshot that was just published.
        gone.iter().for_each(|live| {
            live.queue.dissolve();
        });
    }

    /// Carries the states of servers over, and gives those that are gone.
    fn adopt_servers(&mut self, old: &Generation) -> Vec<Arc<ServerLive>> {
        let new = self.generation.clone();
        let old_places: HashMap<*const ServerLive, usize> =
            old.servers.iter().enumerate().map(|(index, live)| (Arc::as_ptr(live), index)).collect();
        let mut states = Vec::with_capacity(new.servers.len());
        let mut kept = vec![false; old.servers.len()];
        for (live, server) in new.servers.iter().zip(&new.model.servers) {
            states.push(match old_places.get(&Arc::as_ptr(live)) {
                Some(&place) => {
                    kept[place] = true;
                    self.servers[place].carried_over(&old.model.servers[place], server)
                }
                None => {
                    self.next_key += 1;
                    ServerState::new(server, self.next_key - 1)
                }
            });
        }
        self.servers = states;
        self.places = self.servers.iter().enumerate().map(|(index, state)| (state.key, ServerId::new(index))).collect();
        old.servers.iter().zip(kept).filter(|(_, kept)| !kept).map(|(live, _)| live.clone()).collect()
    }

    fn adopt_backends(&mut self, old: &Generation) {
        let states = self.generation.backends.iter().map(|live| {
            let place = old.backends.iter().position(|other| Arc::ptr_eq(live, other));
            let fresh = BackendState { last_change_ms: self.now_ms, ..BackendState::default() };
            place.and_then(|place| self.backends.get(place).cloned()).unwrap_or(fresh)
        });
        self.backends = states.collect();
    }

    fn adopt_frontends(&mut self, old: &Generation) {
        let new = self.generation.clone();
        let states = new.frontends.iter().enumerate().map(|(index, live)| {
            let frontend = &new.model.frontends[index];
            let place = old.frontends.iter().position(|other| Arc::ptr_eq(live, other));
            let kept = place.and_then(|place| Some((self.frontends.get(place)?, old.model.frontends.get(place)?)));
            let mut state = FrontendState::new(frontend, self.now_ms);
            if let Some((before, configured)) = kept {
                state.last_change_ms = before.last_change_ms;
                state.maxconn = before.maxconn.filter(|_| configured.maxconn == frontend.maxconn);
                if before.service == FrontendService::Paused && !frontend.disabled {
                    state.service = FrontendService::Paused;
                }
            }
            live.sessions.set_limit(state.maxconn.unwrap_or(frontend.maxconn));
            for (bind, bind_live) in frontend.binds.iter().zip(&new.binds[index]) {
                bind_live.sessions.set_limit(bind.maxconn.unwrap_or(0));
            }
            state
        });
        self.frontends = states.collect();
        self.effects.push(Effect::LimitsRaised);
    }
}

impl ServerState {
    /// This state under a new configuration of the same server; health is carried over by its own machine.
    fn carried_over(&self, old: &Server, new: &Server) -> Self {
        let mut state = self.clone();
        if (old.maxconn, old.minconn) != (new.maxconn, new.minconn) {
            (state.maxconn, state.minconn) = (new.maxconn, new.minconn);
        }
        if old.address != new.address {
            (state.host, state.port) = (new.address.host.clone(), new.address.port);
        }
        let target = |server: &Server| server.check.map(|check| (check.port, check.address));
        if target(old) != target(new) {
            (state.check.port, state.check.address) = (None, None);
        }
        state
    }
}

/// What a reload cannot carry out because it needs a new process, one sentence each.
pub(crate) fn needs_restart(old: &Model, new: &Model) -> Vec<String> {
    let (old, new) = (&old.global, &new.global);
    let changed = [
        (old.shards != new.shards, "the number of shards ('nbthread')"),
        (old.shard_cpus != new.shard_cpus, "'cpu-map'"),
        ((old.uid, old.gid) != (new.uid, new.gid), "'user' and 'group'"),
        (old.chroot != new.chroot, "'chroot'"),
        (old.daemon != new.daemon, "'daemon'"),
        (old.pidfile != new.pidfile, "'pidfile'"),
        (old.ulimit_n != new.ulimit_n, "'ulimit-n'"),
        (old.tuning.ring != new.tuning.ring, "the rings' settings"),
    ];
    changed.iter().filter(|(changed, _)| *changed).map(|(_, what)| format!("{what} changed, which takes effect after a restart")).collect()
}
