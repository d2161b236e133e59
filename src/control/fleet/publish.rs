//! From state to what shards choose from: counts per backend, and a new snapshot whenever something that matters changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmain_engine::live::{Generation, Snapshot, SnapshotServer};
use ringmain_model::{BackendId, Level, Model, ServerId};
use ringmain_policy::balance::{Picker, ServerView};

use super::{Effect, Fleet, Operational, Proxy, ServerState};

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

    /// The same for a server that stopped taking sessions: those who wait for it choose again. Returns how many were sent away.
    pub(super) fn settle_down(&mut self, id: ServerId) -> u32 {
        self.settle(id);
        // After the new snapshot is out, so that nobody chooses this server again.
        self.generation.server(id).queue.dissolve()
    }

    /// Changes the service state and keeps the times; publishes nothing.
    pub(super) fn change_operational(&mut self, id: ServerId, next: Operational) {
        let now_ms = self.now_ms;
        let state = &mut self.servers[id.index()];
        if state.operational == next {
            return;
        }
        if state.operational == Operational::Stopped {
            state.downtime_ms += now_ms.saturating_sub(state.last_change_ms);
        }
        if next == Operational::Stopped {
            state.down_transitions += 1;
        }
        state.operational = next;
        state.last_change_ms = now_ms;
    }

    /// Recounts the usable servers, publishes the snapshot and notes the loss or return of the whole backend.
    pub(super) fn settle_backend(&mut self, id: BackendId) {
        let was_up = self.backends[id.index()].up();
        let (mut active, mut backup, mut weight) = (0, 0, 0_u32);
        for (server, configured) in self.generation.model.servers_of(id) {
            let state = &self.servers[server.index()];
            if state.usable() {
                *(if configured.backup { &mut backup } else { &mut active }) += 1;
                weight = weight.saturating_add(state.effective_weight());
            }
        }
        let state = &mut self.backends[id.index()];
        (state.active_servers, state.backup_servers, state.total_weight) = (active, backup, weight);
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
        if was_up && !is_up {
            self.say_no_server(id);
        }
    }

    /// Publishes what shards choose from. Turns go on where the previous snapshot stood.
    fn publish(&self, id: BackendId) {
        let live = self.generation.backend(id);
        let previous = live.snapshot();
        let picker = build_picker(self.model(), id, &self.servers);
        let picker = picker.continue_from(&previous.picker, live.ticket.load(Ordering::Relaxed));
        let active = self.backends[id.index()].active_servers;
        let snapshot = build_snapshot(&self.generation, id, &self.servers, picker, active);
        live.publish(Arc::new(snapshot), self.model().backend(id).fullconn);
    }

    /// A server came up (or left maintenance) for lack of a reason not to: warm-up first, where configured.
    pub(super) fn start(&mut self, id: ServerId) {
        match self.model().server(id).slowstart.filter(|duration| duration.get() > 0) {
            Some(_) => {
                self.change_operational(id, Operational::Starting);
                self.warm_up(id);
            }
            None => self.change_operational(id, Operational::Running),
        }
    }

    /// Takes the next step of a slowstart: sixteen steps over its duration. Called by the loop at the time that it was given.
    pub fn warm_up_due(&mut self, id: ServerId) {
        if self.servers[id.index()].operational != Operational::Starting {
            return;
        }
        self.warm_up(id);
        self.settle(id);
        if self.servers[id.index()].operational == Operational::Running {
            let text = format!("{} is UP", self.title(id));
            self.say_with_tail(id, Level::Notice, text, super::message::Tail::Up { requeued: 0 });
        }
    }

    fn warm_up(&mut self, id: ServerId) {
        let duration_ms = self.model().server(id).slowstart.map_or(0, |duration| duration.get());
        let state = &mut self.servers[id.index()];
        let elapsed_ms = self.now_ms.saturating_sub(state.last_change_ms);
        if elapsed_ms >= duration_ms {
            state.throttle = 16;
            state.operational = Operational::Running;
            return;
        }
        let step = 16 * elapsed_ms / duration_ms.max(1);
        state.throttle = (step + 1).min(16) as u8;
        let next_ms = state.last_change_ms + ((step + 1) * duration_ms).div_ceil(16);
        self.effects.push(Effect::WarmUpAt(id, next_ms));
    }

    /// Writes a line to a frontend's log targets.
    pub fn say_of_frontend(&mut self, id: ringmain_model::FrontendId, level: Level, text: String) {
        self.effects.push(Effect::Log { proxy: Proxy::Frontend(id), level, text, console_text: None });
    }
}

/// The balancer over a backend's servers in the given states.
fn build_picker(model: &Model, id: BackendId, states: &[ServerState]) -> Picker {
    let views: Vec<ServerView> = model
        .servers_of(id)
        .map(|(server, configured)| {
            let state = &states[server.index()];
            ServerView {
                id: configured.id,
                usable: state.usable(),
                backup: configured.backup,
                configured_weight: configured.weight,
                weight: state.user_weight,
                throttle: state.throttle,
            }
        })
        .collect();
    Picker::build(model.backend(id), &views)
}

fn build_snapshot(generation: &Generation, id: BackendId, states: &[ServerState], picker: Picker, active_servers: u32) -> Snapshot {
    let servers = generation.model.servers_of(id).map(|(server, configured)| {
        let state = &states[server.index()];
        SnapshotServer {
            id: server,
            live: generation.server(server).clone(),
            destination: state.destination(),
            usable: state.usable(),
            maxconn: state.maxconn,
            minconn: state.minconn,
            maxqueue: configured.maxqueue,
        }
    });
    Snapshot { generation: generation.number, model: generation.model.clone(), picker, servers: servers.collect(), active_servers }
}
