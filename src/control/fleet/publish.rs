//! From state to what shards choose from: counts per backend, and a new snapshot whenever something that matters changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmain_engine::live::{Snapshot, SnapshotServer};
use ringmain_model::{BackendId, ServerId};
use ringmain_policy::balance::{FULL_THROTTLE, Picker};

use super::Fleet;

impl Fleet {
    /// Recounts and publishes every backend (start, reload).
    pub(super) fn settle_all(&mut self) {
        for index in 0..self.backends.len() {
            self.settle_backend(BackendId::new(index));
        }
    }

    /// Recounts and publishes the backend of a server whose state changed.
    pub(super) fn settle(&mut self, id: ServerId) {
        self.settle_backend(self.model().server(id).backend);
    }

    /// Recounts the usable servers, publishes the snapshot and notes the loss or return of the whole backend.
    pub(super) fn settle_backend(&mut self, id: BackendId) {
        let was_up = self.backends[id.index()].up();
        let mut weight = 0_u32;
        for (server, _) in self.generation.model.servers_of(id) {
            // Followers in this backend may have changed together with the server that the event was about.
            if let (Some(state), Some(health)) = (self.servers.get_mut(server.index()), self.health.get(server.index())) {
                state.follow(health);
                weight = weight.saturating_add(if state.usable() { state.effective_weight() } else { 0 });
            }
        }
        let state = &mut self.backends[id.index()];
        (state.active_servers, state.backup_servers) = self.health.servers_in_use(id.index());
        state.total_weight = weight;
        let is_up = state.up();
        if was_up != is_up {
            if is_up {
                state.downtime_ms += self.now_ms.saturating_sub(state.last_change_ms);
            } else {
                state.down_transitions += 1;
            }
            state.last_change_ms = self.now_ms;
        }
        self.publish(id);
    }

    /// Publishes what shards choose from. Turns go on where the previous snapshot stood.
    fn publish(&self, id: BackendId) {
        let live = self.generation.backend(id);
        let backend = self.model().backend(id);
        let picker = Picker::build(backend, &self.health.views(id.index()));
        let picker = picker.continue_from(&live.snapshot().picker, live.ticket.load(Ordering::Relaxed));
        let snapshot = self.build_snapshot(id, picker);
        live.publish(Arc::new(snapshot), backend.fullconn);
    }

    fn build_snapshot(&self, id: BackendId, picker: Picker) -> Snapshot {
        let generation = &self.generation;
        let servers = generation.model.servers_of(id).map(|(server, configured)| {
            let state = &self.servers[server.index()];
            SnapshotServer {
                id: server,
                live: generation.server(server).clone(),
                destination: state.destination(),
                usable: state.usable(),
                runs: state.up(),
                weight: u16::try_from(state.effective_weight().div_ceil(FULL_THROTTLE)).unwrap_or(u16::MAX),
                user_weight: state.user_weight,
                maxconn: state.maxconn,
                minconn: state.minconn,
                maxqueue: configured.maxqueue,
                limit_percent: self.health.get(server.index()).map_or(100, |health| health.slowstart_percent(self.now_ms)),
            }
        });
        let active_servers = self.backends[id.index()].active_servers;
        Snapshot { generation: generation.number, model: generation.model.clone(), picker, servers: servers.collect(), active_servers }
    }
}
