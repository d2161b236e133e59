//! Health: what check results, observed errors and operators make of a server, and how followers follow.

use ringmain_model::{Level, OnError, ServerId};

use super::message::Tail;
use super::{Admin, CheckResult, CheckStatus, Effect, Fleet, Operational};

/// How one check ended, as far as the fleet cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    /// Layer 4 outcome.
    pub status: CheckStatus,
    /// More about it, such as `Connection refused`; empty when there is nothing to add.
    pub info: String,
    /// How long it took, ms.
    pub duration_ms: u64,
}

/// The argument of `set server ... health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedHealth {
    /// UP.
    Up,
    /// No new sessions (NOLB).
    Stopping,
    /// DOWN.
    Down,
}

/// Why the service state changes, for the line about it.
enum Why {
    Check,
    Operator,
    Tracking(ServerId),
}

impl Fleet {
    /// A probe was sent.
    pub fn probe_started(&mut self, id: ServerId) {
        self.servers[id.index()].check.in_progress = true;
    }

    /// A check has ended. Ignored when the server's checks were switched off meanwhile.
    pub fn probe_ended(&mut self, id: ServerId, result: ProbeResult) {
        let Some(check) = self.model().server(id).check else { return };
        self.servers[id.index()].check.in_progress = false;
        if !self.servers[id.index()].check.enabled || self.servers[id.index()].check.paused {
            return;
        }
        let top = check.rise.saturating_add(check.fall).saturating_sub(1);
        let state = &mut self.servers[id.index()].check;
        let (before, status_before) = (state.health, state.status);
        (state.status, state.info, state.duration_ms) = (result.status, result.info, Some(result.duration_ms));
        state.result = match result.status {
            CheckStatus::Layer4Ok => CheckResult::Passed,
            CheckStatus::SocketError => CheckResult::Neutral,
            _ => CheckResult::Failed,
        };
        match state.result {
            CheckResult::Passed => state.pass(check.rise, top),
            CheckResult::Failed => state.fail(check.rise),
            _ => {}
        }
        let changed = state.health != before || state.status != status_before;
        self.after_check(id, changed);
    }

    /// Logs the check where asked for and moves the server as its health says.
    fn after_check(&mut self, id: ServerId, changed: bool) {
        let server = self.model().server(id);
        let Some(check) = server.check else { return };
        let logged = self.model().backend(server.backend).options.log_health_checks;
        if logged && changed {
            self.say_check(id, check.rise, check.fall);
        }
        let health = self.servers[id.index()].check.health;
        match self.servers[id.index()].check.result {
            CheckResult::Failed if health < check.rise => self.go(id, Operational::Stopped, &Why::Check),
            CheckResult::Passed if health >= check.rise => self.go(id, Operational::Running, &Why::Check),
            _ => {}
        }
    }

    fn say_check(&mut self, id: ServerId, rise: u32, fall: u32) {
        let server = self.model().server(id);
        let backend = self.model().backend(server.backend);
        let kind = if server.backup { "backup server" } else { "server" };
        let state = &self.servers[id.index()].check;
        let outcome = match state.result {
            CheckResult::Passed => "succeeded",
            CheckResult::Failed => "failed",
            _ => "conditionally succeeded",
        };
        let status =
            if state.health >= rise { format!("{}/{fall} UP", state.health - rise + 1) } else { format!("{}/{rise} DOWN", state.health) };
        let reason = Self::reason(state);
        let text = format!("Health check for {kind} {}/{} {outcome}{reason}, status: {status}.", backend.name, server.name);
        self.say(id, Level::Notice, text);
    }

    /// Moves a server to a service state, with its followers.
    fn go(&mut self, id: ServerId, wanted: Operational, why: &Why) {
        let state = &self.servers[id.index()];
        if state.admin.any(Admin::MAINTENANCE) {
            return;
        }
        let before = state.operational;
        let already = match wanted {
            Operational::Running | Operational::Starting => matches!(before, Operational::Running | Operational::Starting),
            other => before == other,
        };
        if already {
            return;
        }
        match wanted {
            Operational::Stopped => self.go_down(id, before, why),
            Operational::Stopping => {
                self.change_operational(id, Operational::Stopping);
                let requeued = self.settle_down(id);
                let text = format!("{} is stopping{}", self.title(id), self.why(id, why));
                self.say_with_tail(id, Level::Notice, text, Tail::Up { requeued });
            }
            Operational::Running | Operational::Starting => self.go_up(id, why),
        }
        for follower in self.followers(id) {
            self.go(follower, wanted, &Why::Tracking(id));
        }
    }

    fn go_down(&mut self, id: ServerId, before: Operational, why: &Why) {
        // No alarm for a server that took no sessions anyway.
        let quiet = before == Operational::Stopping || self.servers[id.index()].admin.any(Admin::DRAIN);
        self.change_operational(id, Operational::Stopped);
        if self.model().server(id).shutdown_sessions_when_down {
            self.effects.push(Effect::ShutdownSessions(self.generation.server(id).clone()));
        }
        let emerg_at = self.effects.len();
        let requeued = self.settle_down(id);
        // The line about the backend comes after the one about its last server.
        let backend_lines = self.effects.split_off(emerg_at);
        let text = format!("{} is DOWN{}", self.title(id), self.why(id, why));
        let level = if quiet { Level::Notice } else { Level::Alert };
        self.say_with_tail(id, level, text, Tail::Down { requeued });
        self.effects.extend(backend_lines);
    }

    fn go_up(&mut self, id: ServerId, why: &Why) {
        self.start(id);
        if self.model().server(id).shutdown_backup_sessions_when_up {
            let backend = self.model().server(id).backend;
            self.effects.push(Effect::ShutdownBackupSessions(self.generation.backend(backend).clone()));
        }
        self.settle(id);
        let text = format!("{} is UP{}", self.title(id), self.why(id, why));
        self.say_with_tail(id, Level::Notice, text, Tail::Up { requeued: 0 });
    }

    fn why(&self, id: ServerId, why: &Why) -> String {
        match why {
            Why::Operator => ", changed from CLI".to_string(),
            Why::Tracking(tracked) => self.cause(id, Some(*tracked)),
            // `option log-health-checks` has already said it on a line of its own.
            Why::Check if self.model().backend(self.model().server(id).backend).options.log_health_checks => String::new(),
            Why::Check => Self::reason(&self.servers[id.index()].check),
        }
    }

    /// `set server ... health`.
    ///
    /// # Errors
    /// HAProxy's words for a server that tracks another.
    pub fn set_health(&mut self, id: ServerId, wanted: WantedHealth) -> Result<(), String> {
        if self.model().server(id).track.is_some() {
            return Err("cannot change health on a tracking server.".into());
        }
        let (rise, fall) = self.model().server(id).check.map_or((2, 3), |check| (check.rise, check.fall));
        let up = rise.saturating_add(fall).saturating_sub(1);
        let (health, operational) = match wanted {
            WantedHealth::Up => (up, Operational::Running),
            WantedHealth::Stopping => (up, Operational::Stopping),
            WantedHealth::Down => (0, Operational::Stopped),
        };
        self.servers[id.index()].check.health = health;
        self.go(id, operational, &Why::Operator);
        self.effects.push(Effect::CheckSooner(id));
        Ok(())
    }

    /// A server reached its `error-limit` of errors seen in traffic (`observe`); what happens is up to `on-error`.
    pub fn errors_observed(&mut self, id: ServerId) {
        let server = self.model().server(id);
        let (Some(check), on_error, limit) = (server.check, server.on_error, server.error_limit) else { return };
        let state = &mut self.servers[id.index()].check;
        if !state.enabled || state.paused {
            return;
        }
        self.effects.push(Effect::CheckSooner(id));
        if on_error == OnError::FastInter {
            return;
        }
        if on_error == OnError::MarkDown || on_error == OnError::SuddenDeath && state.health > check.rise {
            state.health = check.rise;
        }
        state.status = CheckStatus::Observed;
        state.result = CheckResult::Failed;
        state.duration_ms = None;
        state.info = format!("Detected {limit} consecutive errors, last one was: L4 unsuccessful connection");
        state.fail(check.rise);
        self.after_check(id, true);
    }
}
