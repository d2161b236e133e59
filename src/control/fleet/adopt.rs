//! A reload: what servers and frontends keep, and what the new configuration decides.
//!
//! Health, counters and times stay with whoever keeps its identity. What an operator changed at runtime stays unless the configuration of
//! that very item changed: then the file's word is the newer one.

use std::collections::HashMap;
use std::sync::Arc;

use ringmain_engine::live::{Generation, ServerLive};
use ringmain_model::{Check, Model, Server, ServerHost, ServerId};

use super::{Admin, BackendState, Effect, Fleet, FrontendService, FrontendState, Operational, ServerState};

impl Fleet {
    /// Takes over a new generation, not yet known to the shards: afterwards every backend's new snapshot is published.
    pub fn adopt(&mut self, generation: Arc<Generation>) {
        let old = std::mem::replace(&mut self.generation, generation);
        let new = self.generation.clone();
        let old_places: HashMap<*const ServerLive, usize> =
            old.servers.iter().enumerate().map(|(index, live)| (Arc::as_ptr(live), index)).collect();
        let mut states = Vec::with_capacity(new.model.servers.len());
        let mut kept = vec![false; old.servers.len()];
        for (index, live) in new.servers.iter().enumerate() {
            let server = &new.model.servers[index];
            states.push(match old_places.get(&Arc::as_ptr(live)) {
                Some(&place) => {
                    kept[place] = true;
                    self.servers[place].carried_over(&old.model.servers[place], server, self.now_ms)
                }
                None => {
                    self.next_key += 1;
                    ServerState::new(server, self.next_key - 1, self.now_ms)
                }
            });
        }
        self.servers = states;
        self.places = self.servers.iter().enumerate().map(|(index, state)| (state.key, ServerId::new(index))).collect();
        self.backends = new
            .backends
            .iter()
            .map(|live| {
                let place = old.backends.iter().position(|other| Arc::ptr_eq(live, other));
                let fresh = BackendState { last_change_ms: self.now_ms, ..BackendState::default() };
                place.and_then(|place| self.backends.get(place).cloned()).unwrap_or(fresh)
            })
            .collect();
        self.adopt_frontends(&old);
        self.follow_tracked();
        self.settle_all();
        // Whoever waited for a server that is gone chooses again, from the snapshot that was just published.
        old.servers.iter().zip(kept).filter(|(_, kept)| !kept).for_each(|(live, _)| drop(live.queue.dissolve()));
        (0..self.servers.len()).for_each(|index| self.effects.push(Effect::CheckSooner(ServerId::new(index))));
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
            for (number, bind) in frontend.binds.iter().enumerate() {
                if let Some(bind_live) = new.binds[index].get(number) {
                    bind_live.sessions.set_limit(bind.maxconn.unwrap_or(0));
                }
            }
            state
        });
        self.frontends = states.collect();
    }

    /// Servers that track another one take its state, in the order in which they follow each other.
    pub(super) fn follow_tracked(&mut self) {
        let model = self.model().clone();
        for index in 0..self.servers.len() {
            let mut chain = vec![index];
            while let Some(next) = chain.last().and_then(|place| model.servers[*place].track).map(ServerId::index) {
                // A circle is refused by the checker; going round once more would never end.
                if chain.contains(&next) {
                    break;
                }
                chain.push(next);
            }
            for pair in chain.windows(2).rev() {
                let [follower, leader] = *pair else { continue };
                self.take_state_of(follower, leader);
            }
        }
    }

    fn take_state_of(&mut self, follower: usize, leader: usize) {
        let (admin, operational) = (self.servers[leader].admin, self.servers[leader].operational);
        let state = &mut self.servers[follower];
        state.admin = state.admin.without(Admin::INHERITED_MAINTENANCE).without(Admin::INHERITED_DRAIN);
        if admin.any(Admin::MAINTENANCE) {
            state.admin = state.admin.with(Admin::INHERITED_MAINTENANCE);
        }
        if admin.any(Admin::DRAIN) {
            state.admin = state.admin.with(Admin::INHERITED_DRAIN);
        }
        let wanted = if state.admin.any(Admin::MAINTENANCE) { Operational::Stopped } else { operational };
        if state.operational != wanted && !(wanted == Operational::Starting && state.operational == Operational::Running) {
            self.change_operational(ServerId::new(follower), wanted);
        }
    }
}

impl ServerState {
    /// This state under a new configuration of the same server.
    fn carried_over(&self, old: &Server, new: &Server, now_ms: u64) -> Self {
        let fresh = Self::new(new, self.key, now_ms);
        let mut state = self.clone();
        if old.weight != new.weight {
            state.user_weight = new.weight;
        }
        if (old.maxconn, old.minconn) != (new.maxconn, new.minconn) {
            (state.maxconn, state.minconn) = (new.maxconn, new.minconn);
        }
        if old.address != new.address {
            (state.host, state.port) = (fresh.host.clone(), fresh.port);
        }
        state.check.carry_over(old.check, new.check, &fresh);
        state.change_maintenance(old, new, now_ms);
        if new.check.is_none() && new.track.is_none() && (old.check.is_some() || old.track.is_some()) {
            // Nobody watches it any more: it counts as up.
            state.admin = state.admin.without(Admin::INHERITED_MAINTENANCE).without(Admin::INHERITED_DRAIN);
            if state.operational == Operational::Stopped && !state.admin.any(Admin::MAINTENANCE) {
                state.operational = Operational::Running;
                state.last_change_ms = now_ms;
            }
        }
        if new.slowstart.is_none() && state.operational == Operational::Starting {
            state.operational = Operational::Running;
            state.throttle = fresh.throttle;
        }
        state
    }

    fn change_maintenance(&mut self, old: &Server, new: &Server, now_ms: u64) {
        let was = self.admin.any(Admin::MAINTENANCE);
        let configured = Admin::FORCED_MAINTENANCE.with(Admin::CONFIGURED_MAINTENANCE);
        if old.disabled != new.disabled {
            self.admin = if new.disabled { self.admin.with(configured) } else { self.admin.without(configured) };
        }
        let unresolved = self.host == ServerHost::Unresolved;
        self.admin = match unresolved {
            true => self.admin.with(Admin::UNRESOLVED_MAINTENANCE),
            false => self.admin.without(Admin::UNRESOLVED_MAINTENANCE),
        };
        let is = self.admin.any(Admin::MAINTENANCE);
        if was != is {
            self.operational = if is { Operational::Stopped } else { Operational::Running };
            self.check.paused = is && self.check.enabled;
            if !is {
                self.check.health = new.check.map_or(self.check.health, |check| check.rise);
            }
            self.last_change_ms = now_ms;
        }
    }
}

impl super::CheckState {
    fn carry_over(&mut self, old: Option<Check>, new: Option<Check>, fresh: &ServerState) {
        let Some(new) = new else {
            let paused = self.paused;
            *self = Self { paused, ..fresh.check.clone() };
            return;
        };
        let Some(old) = old else {
            *self = fresh.check.clone();
            return;
        };
        if (old.port, old.address) != (new.port, new.address) {
            (self.port, self.address) = (None, None);
        }
        if (old.rise, old.fall) != (new.rise, new.fall) {
            let top = new.rise.saturating_add(new.fall).saturating_sub(1);
            self.health = if self.health >= old.rise { top } else { self.health.min(new.rise.saturating_sub(1)) };
        }
    }
}

/// Whether a reload cannot carry a change of these settings out: it needs a new process. The texts say which.
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
