//! Administrative states: maintenance and drain, set by operators or inherited from a tracked server.

use ringmain_model::{FrontendId, Level, ServerHost, ServerId};

use super::message::Tail;
use super::{Admin, Effect, Fleet, FrontendService, FrontendState, Operational, Proxy};

/// The argument of `set server ... state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedState {
    /// Normal service.
    Ready,
    /// No new sessions, but checks go on and existing sessions finish.
    Drain,
    /// Out of service, checks stopped.
    Maintenance,
}

impl FrontendState {
    /// The state in which a frontend starts.
    pub fn new(frontend: &ringmain_model::Frontend, now_ms: u64) -> Self {
        let service = if frontend.disabled { FrontendService::Stopped } else { FrontendService::Open };
        Self { service, maxconn: None, last_change_ms: now_ms }
    }
}

impl Fleet {
    /// `set server ... state`, `enable server`, `disable server`.
    pub fn set_state(&mut self, id: ServerId, wanted: WantedState) {
        match wanted {
            WantedState::Ready => {
                self.clear_admin(id, Admin::FORCED_DRAIN);
                self.clear_admin(id, Admin::FORCED_MAINTENANCE.with(Admin::CONFIGURED_MAINTENANCE));
            }
            WantedState::Drain => {
                self.set_admin(id, Admin::FORCED_DRAIN, None);
                self.clear_admin(id, Admin::FORCED_MAINTENANCE.with(Admin::CONFIGURED_MAINTENANCE));
            }
            WantedState::Maintenance => {
                self.set_admin(id, Admin::FORCED_MAINTENANCE, None);
                self.clear_admin(id, Admin::FORCED_DRAIN);
            }
        }
    }

    /// Sets one flag and hands its inherited form to the servers that track this one.
    pub(super) fn set_admin(&mut self, id: ServerId, flag: Admin, via: Option<ServerId>) {
        let before = self.servers[id.index()].admin;
        if before.any(flag) {
            return;
        }
        self.servers[id.index()].admin = before.with(flag);
        if flag.any(Admin::MAINTENANCE) {
            if before.any(Admin::MAINTENANCE) {
                return;
            }
            self.enter_maintenance(id, via);
        } else if flag.any(Admin::DRAIN) {
            if before.any(Admin::DRAIN) {
                return;
            }
            if !before.any(Admin::MAINTENANCE) {
                self.enter_drain(id, via);
            }
        }
        let inherited = if flag.any(Admin::MAINTENANCE) { Admin::INHERITED_MAINTENANCE } else { Admin::INHERITED_DRAIN };
        for follower in self.followers(id) {
            self.set_admin(follower, inherited, Some(id));
        }
    }

    /// Clears flags; what a follower inherited goes with the last flag of its kind.
    pub(super) fn clear_admin(&mut self, id: ServerId, flags: Admin) {
        let before = self.servers[id.index()].admin;
        if !before.any(flags) {
            return;
        }
        let after = before.without(flags);
        self.servers[id.index()].admin = after;
        let maintenance_ended = before.any(Admin::MAINTENANCE) && !after.any(Admin::MAINTENANCE);
        let drain_ended = before.any(Admin::DRAIN) && !after.any(Admin::DRAIN);
        if maintenance_ended {
            self.leave_maintenance(id, before);
            self.followers(id).into_iter().for_each(|follower| self.clear_admin(follower, Admin::INHERITED_MAINTENANCE));
        }
        if drain_ended {
            if !after.any(Admin::MAINTENANCE) {
                self.leave_drain(id, before);
            }
            self.followers(id).into_iter().for_each(|follower| self.clear_admin(follower, Admin::INHERITED_DRAIN));
        }
    }

    fn enter_maintenance(&mut self, id: ServerId, via: Option<ServerId>) {
        let state = &mut self.servers[id.index()];
        if state.check.enabled {
            state.check.paused = true;
        }
        let was_down = state.operational == Operational::Stopped;
        let cause = self.cause(id, via);
        if was_down {
            let text = format!("{} was DOWN and now enters maintenance{cause}.", self.title(id));
            self.say(id, Level::Notice, text);
            return;
        }
        self.change_operational(id, Operational::Stopped);
        let requeued = self.settle_down(id);
        let text = format!("{} is going DOWN for maintenance{cause}", self.title(id));
        self.say_with_tail(id, Level::Alert, text, Tail::Down { requeued });
    }

    fn leave_maintenance(&mut self, id: ServerId, before: Admin) {
        let tracked = self.tracked_operational(id);
        let rise = self.model().server(id).check.map(|check| check.rise);
        let state = &mut self.servers[id.index()];
        if state.check.enabled {
            state.check.paused = false;
            state.check.health = rise.unwrap_or(state.check.health);
        } else if rise.is_none() {
            state.check.health = state.check.health.max(1);
        }
        match tracked {
            Some(Operational::Stopped) => {}
            Some(Operational::Stopping) => self.change_operational(id, Operational::Stopping),
            _ => self.start(id),
        }
        self.settle(id);
        let up = if self.servers[id.index()].up() { "UP" } else { "DOWN" };
        let drained = self.servers[id.index()].admin.any(Admin::DRAIN);
        let title = self.title(id);
        let text = if before.any(Admin::FORCED_MAINTENANCE) {
            format!("{title} is {up}/{} (leaving forced maintenance).", if drained { "DRAIN" } else { "READY" })
        } else if before.any(Admin::UNRESOLVED_MAINTENANCE) {
            format!("{title} administratively READY thanks to a valid address.")
        } else {
            format!("{title} is {up}/{} (leaving maintenance).", if drained { "DRAIN" } else { "READY" })
        };
        self.say(id, Level::Notice, text);
        if drained {
            let kind = if self.servers[id.index()].admin.any(Admin::FORCED_DRAIN) { "forced drain" } else { "drain" };
            let text = format!("{title} remains in {kind} mode.");
            self.say(id, Level::Notice, text);
        }
        self.effects.push(Effect::CheckSooner(id));
    }

    fn enter_drain(&mut self, id: ServerId, via: Option<ServerId>) {
        self.servers[id.index()].last_change_ms = self.now_ms;
        let requeued = self.settle_down(id);
        let cause = self.cause(id, via);
        let text = format!("{} enters drain state{cause}", self.title(id));
        self.say_with_tail(id, Level::Notice, text, Tail::Up { requeued });
    }

    fn leave_drain(&mut self, id: ServerId, before: Admin) {
        self.servers[id.index()].last_change_ms = self.now_ms;
        self.settle(id);
        let up = if self.servers[id.index()].up() { "UP" } else { "DOWN" };
        let kind = if before.any(Admin::FORCED_DRAIN) || before.any(Admin::INHERITED_DRAIN) { "forced drain" } else { "drain" };
        let text = format!("{} is {up} (leaving {kind}).", self.title(id));
        self.say(id, Level::Notice, text);
    }

    /// A server got or lost its address.
    pub(super) fn address_changed(&mut self, id: ServerId) {
        if self.servers[id.index()].host == ServerHost::Unresolved {
            self.set_admin(id, Admin::UNRESOLVED_MAINTENANCE, None);
        } else {
            self.clear_admin(id, Admin::UNRESOLVED_MAINTENANCE);
        }
    }

    /// The servers that track this one directly.
    pub(super) fn followers(&self, id: ServerId) -> Vec<ServerId> {
        let servers = self.model().servers.iter().enumerate();
        servers.filter(|(_, server)| server.track == Some(id)).map(|(index, _)| ServerId::new(index)).collect()
    }

    fn tracked_operational(&self, id: ServerId) -> Option<Operational> {
        self.model().server(id).track.map(|tracked| self.servers[tracked.index()].operational)
    }

    /// `disable frontend`, `enable frontend` and `shutdown frontend`.
    ///
    /// # Errors
    /// HAProxy's words when the frontend is already in that state, or was stopped for good.
    pub fn set_frontend_service(&mut self, id: FrontendId, wanted: FrontendService) -> Result<(), String> {
        let name = self.model().frontend(id).name.clone();
        let state = &mut self.frontends[id.index()];
        let text = match (state.service, wanted) {
            (FrontendService::Stopped, FrontendService::Stopped) => return Err("Frontend was already shut down.".into()),
            (FrontendService::Stopped, FrontendService::Open) => {
                return Err("Frontend was previously shut down, cannot enable.".into());
            }
            (FrontendService::Stopped, FrontendService::Paused) => {
                return Err("Frontend was previously shut down, cannot disable.".into());
            }
            (FrontendService::Open, FrontendService::Open) => return Err("All sockets are already enabled.".into()),
            (FrontendService::Paused, FrontendService::Paused) => return Err("All sockets are already disabled.".into()),
            (_, FrontendService::Paused) => format!("Paused frontend {name}."),
            (_, FrontendService::Open) => format!("Resumed frontend {name}."),
            (_, FrontendService::Stopped) => String::new(),
        };
        state.service = wanted;
        state.last_change_ms = self.now_ms;
        let text = if text.is_empty() { self.stopped_text(id) } else { text };
        self.effects.push(Effect::Listeners);
        let level = Level::Warning;
        self.effects.push(Effect::Log { proxy: Proxy::Frontend(id), level, text, console_text: None });
        Ok(())
    }
}
