//! Where `policy::health` meets live objects: events go in, its effects are carried out, and the readable state follows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmain_engine::live::Generation;
use ringmain_engine::mailbox::{MqttAnswer as Answer, ProbeOutcome};
use ringmain_model::{BackendId, Level, ServerId};
use ringmain_policy::health::{self, CheckOutcome, Sessions};

use super::{Effect, Fleet, Proxy};

pub use ringmain_policy::health::{AdminState as WantedState, ForcedHealth as WantedHealth};

/// The numbers of sessions that log lines mention.
struct LiveSessions<'a>(&'a Generation);

impl Sessions for LiveSessions<'_> {
    fn active(&self, server: usize) -> u32 {
        self.0.servers.get(server).map_or(0, |live| live.active.load(Ordering::Relaxed))
    }

    fn queued(&self, server: usize) -> u32 {
        self.0.servers.get(server).map_or(0, |live| live.queue.len())
    }

    fn backend_queued(&self, backend: usize) -> u32 {
        self.0.backends.get(backend).map_or(0, |live| live.queue.len())
    }
}

impl Fleet {
    /// When something is due next for a server, its check or a step of its slowstart, monotonic ms. `None` while it is in maintenance,
    /// when nothing is.
    pub fn due_at_ms(&self, id: ServerId) -> Option<u64> {
        let paused = self.health.get(id.index()).is_none_or(|server| server.admin.in_maintenance());
        self.health.due_at_ms(id.index()).filter(|_| !paused)
    }

    /// Whether the check of a server is due: it counts as begun then, and `probe_ended` must follow.
    pub fn begin_check(&mut self, id: ServerId) -> bool {
        let begun = self.health.begin_check(id.index(), self.now_ms);
        self.refresh(id);
        begun
    }

    /// A check that was begun has ended.
    pub fn probe_ended(&mut self, id: ServerId, outcome: ProbeOutcome, duration_ms: u64) {
        let outcome = match outcome {
            ProbeOutcome::Connected => CheckOutcome::Connected,
            ProbeOutcome::TimedOut => CheckOutcome::TimedOut,
            ProbeOutcome::Failed(errno) => CheckOutcome::Failed(crate::control::listen::errno_text(errno)),
            ProbeOutcome::Answered(answer) => said(answer),
            ProbeOutcome::Local(_) => CheckOutcome::LocalError,
        };
        let generation = self.generation.clone();
        let effects = self.health.check_ended(id.index(), outcome, duration_ms, self.now_ms, &LiveSessions(&generation));
        self.carry_out(id, effects);
    }

    /// A server reached its `error-limit` of errors seen in traffic (`observe`); what happens is up to `on-error`.
    pub fn errors_observed(&mut self, id: ServerId) {
        let limit = self.model().server(id).error_limit;
        let generation = self.generation.clone();
        let effects = self.health.error_limit_reached(id.index(), limit, self.now_ms, &LiveSessions(&generation));
        self.carry_out(id, effects);
    }

    /// The next step of a slowstart, if one is due.
    pub fn warm_up_due(&mut self, id: ServerId) {
        let generation = self.generation.clone();
        let effects = self.health.slowstart_step(id.index(), self.now_ms, &LiveSessions(&generation));
        if !effects.is_empty() {
            self.carry_out(id, effects);
        }
    }

    /// `set server ... state`, `enable server`, `disable server`.
    pub fn set_state(&mut self, id: ServerId, wanted: WantedState) {
        let generation = self.generation.clone();
        let effects = self.health.set_state(id.index(), wanted, self.now_ms, &LiveSessions(&generation));
        self.carry_out(id, effects);
    }

    /// `set server ... health`.
    ///
    /// # Errors
    /// HAProxy's words for a server that tracks another.
    pub fn set_health(&mut self, id: ServerId, wanted: WantedHealth) -> Result<(), String> {
        let generation = self.generation.clone();
        let effects = self.health.set_health(id.index(), wanted, self.now_ms, &LiveSessions(&generation));
        let effects = effects.ok_or("cannot change health on a tracking server.")?;
        self.carry_out(id, effects);
        Ok(())
    }

    /// A server got its address, or lost it.
    pub(super) fn set_resolved(&mut self, id: ServerId, resolved: bool) {
        let generation = self.generation.clone();
        let effects = self.health.set_resolved(id.index(), resolved, self.now_ms, &LiveSessions(&generation));
        self.carry_out(id, effects);
    }

    /// Gives a server its weight now in force, 0 to 256.
    pub(super) fn change_weight(&mut self, id: ServerId, weight: u16) {
        let backend = self.model().server(id).backend;
        let was_up = self.backends[backend.index()].up();
        let effects = self.health.set_weight(id.index(), weight);
        self.carry_out(id, effects);
        if was_up && !self.backends[backend.index()].up() {
            let (model, proxy) = (self.model(), self.model().backend(backend));
            let kind = if model.frontends.iter().any(|frontend| frontend.proxy_id == proxy.proxy_id) { "proxy" } else { "backend" };
            let text = format!("{kind} {} has no server available!", proxy.name);
            self.say_of_backend(backend, Level::Emerg, text);
        }
    }

    /// Does what health asks for after an event of this server, and brings its readable state and its followers' up to date.
    fn carry_out(&mut self, id: ServerId, effects: Vec<health::Effect>) {
        self.refresh(id);
        for effect in effects {
            match effect {
                health::Effect::Publish { backend } => self.settle_backend(BackendId::new(backend)),
                health::Effect::Requeue { server } => {
                    self.generation.servers[server].queue.dissolve();
                }
                health::Effect::ShutdownSessions { server } => {
                    self.effects.push(Effect::ShutdownSessions(self.generation.servers[server].clone()));
                }
                health::Effect::ShutdownBackupSessions { backend } => {
                    self.effects.push(Effect::ShutdownBackupSessions(self.generation.backends[backend].clone()));
                }
                health::Effect::Log { backend, level, text } => self.say_of_backend(BackendId::new(backend), level, text),
            }
        }
    }

    /// Copies what health knows of a server and all its followers into their readable state, and has their timers looked at.
    fn refresh(&mut self, id: ServerId) {
        let mut pending = vec![id];
        // Each server is pushed by the one it tracks; the count bounds circles, which the checker refuses.
        for _ in 0..=self.servers.len() {
            let Some(id) = pending.pop() else { return };
            self.copy_state(id);
            self.effects.push(Effect::Reschedule(id));
            pending.extend(self.followers.get(id.index()).into_iter().flatten().copied());
        }
    }

    /// Copies what health knows of one server into its readable state.
    pub(super) fn copy_state(&mut self, id: ServerId) {
        if let (Some(state), Some(server)) = (self.servers.get_mut(id.index()), self.health.get(id.index())) {
            let was_leaving = state.is_leaving();
            state.follow(server);
            let leaves = state.is_leaving() && !was_leaving;
            if leaves && self.drains_mqtt(id) {
                self.effects.push(Effect::DrainMqtt(self.generation.server(id).clone()));
            }
        }
    }

    /// Whether clients of a server may be told to go.
    fn drains_mqtt(&self, id: ServerId) -> bool {
        let model = &self.generation.model;
        let own = model.backend(model.server(id).backend).options.mqtt_drain.is_some();
        own || model.frontends.iter().any(|frontend| frontend.options.mqtt_drain.is_some())
    }

    fn say_of_backend(&mut self, id: BackendId, level: Level, text: String) {
        let name = self.model().backend(id).name.clone();
        // HAProxy quotes the name on standard error, and only there.
        let console_text = (level == Level::Emerg).then(|| text.replacen(&format!(" {name} "), &format!(" '{name}' "), 1));
        self.effects.push(Effect::Log { proxy: Proxy::Backend(id), level, text, console_text });
    }
}

/// What an answer to a check's CONNECT means.
fn said(answer: Answer) -> CheckOutcome {
    match answer {
        Answer::Accepted => CheckOutcome::Accepted { code: 0 },
        Answer::Refused { code, text } => CheckOutcome::Refused { code: code.into(), info: format!("CONNACK code {code}: {text}") },
        Answer::Invalid(why) => CheckOutcome::Invalid(format!("no CONNACK: {why}")),
        Answer::Closed => CheckOutcome::Invalid("connection closed without CONNACK".into()),
        Answer::Failed(errno) => CheckOutcome::Invalid(crate::control::listen::errno_text(errno)),
        Answer::TimedOut => CheckOutcome::Unanswered,
    }
}

/// Which servers track each server directly.
pub(super) fn followers_of(generation: &Arc<Generation>) -> Vec<Vec<ServerId>> {
    let servers = &generation.model.servers;
    let mut followers = vec![Vec::new(); servers.len()];
    for (index, server) in servers.iter().enumerate() {
        if let Some(list) = server.track.and_then(|tracked| followers.get_mut(tracked.index())) {
            list.push(ServerId::new(index));
        }
    }
    followers
}
