//! How a server changes state, what follows from it for its backend and its followers, and which lines are written.

use ringmain_model::Level;

use super::check::CheckStatus;
use super::fleet::Fleet;
use super::message::{self, Cause, Counts};
use super::slowstart::STEP_MS;
use super::{Admin, Effect, Operation, Sessions};

impl Fleet {
    /// Counts news of a server's check, writes the line about it and follows the verdict.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn count_news(
        &mut self,
        server: usize,
        status: CheckStatus,
        info: String,
        duration_ms: Option<u64>,
        now_ms: u64,
        sessions: &dyn Sessions,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.servers.get_mut(server) else { return };
        let Some(check) = member.check.as_mut() else { return };
        let passed = status.passed();
        check.info = info;
        check.duration_ms = duration_ms;
        let is_news = check.count(status, passed);
        let (check, backend) = (check.clone(), member.backend);
        let logs_checks = self.groups.get(backend).is_some_and(|group| group.logs_checks);
        if is_news && logs_checks {
            let text = message::check_line(self, server, &self.servers[server], &check, passed);
            effects.push(Effect::Log { backend, level: Level::Notice, text });
        }
        let cause = Cause { check: if logs_checks { None } else { Some(&check) }, words: None };
        if passed && check.is_up() {
            self.set_running(server, &cause, now_ms, sessions, effects);
        } else if !passed && check.health == 0 {
            self.set_stopped(server, &cause, now_ms, sessions, effects);
        }
    }

    /// Takes a server and its followers down.
    pub(super) fn set_stopped(
        &mut self,
        server: usize,
        cause: &Cause<'_>,
        now_ms: u64,
        sessions: &dyn Sessions,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.servers.get(server) else { return };
        if member.admin.in_maintenance() || member.operation == Operation::Stopped {
            return;
        }
        let was_leaving = member.operation == Operation::Stopping || member.admin.drains();
        let (backend, followers) = (member.backend, member.followers.clone());
        let level = if was_leaving { Level::Notice } else { Level::Alert };
        let before = self.servers_in_use(backend);
        self.go_down(server, now_ms);
        let counts = self.departure(server, sessions, effects);
        let text = format!("{} is DOWN{}{}{}.", message::subject(self, server), message::via(self, server), cause.text(), counts.text());
        effects.push(Effect::Log { backend, level, text });
        self.report_backend_down(backend, before, effects);
        self.announce_drain(server, effects);
        for follower in followers {
            self.set_stopped(follower, &Cause::NONE, now_ms, sessions, effects);
        }
    }

    /// Brings a server and its followers up, through slow start where it is set.
    pub(super) fn set_running(
        &mut self,
        server: usize,
        cause: &Cause<'_>,
        now_ms: u64,
        sessions: &dyn Sessions,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.servers.get(server) else { return };
        if member.admin.in_maintenance() || matches!(member.operation, Operation::Running | Operation::Starting) {
            return;
        }
        let followers = member.followers.clone();
        self.go_up(server, now_ms);
        self.announce_up(server, cause, sessions, effects);
        for follower in followers {
            self.set_running(follower, &Cause::NONE, now_ms, sessions, effects);
        }
    }

    /// Takes a server and its followers out of balancing while they stay up (NOLB).
    pub(super) fn set_stopping(
        &mut self,
        server: usize,
        cause: &Cause<'_>,
        now_ms: u64,
        sessions: &dyn Sessions,
        effects: &mut Vec<Effect>,
    ) {
        let Some(member) = self.servers.get_mut(server) else { return };
        if member.admin.in_maintenance() || member.operation == Operation::Stopping {
            return;
        }
        let (backend, followers) = (member.backend, member.followers.clone());
        let before = self.servers_in_use(backend);
        self.leave_down_time(server, now_ms);
        let member = &mut self.servers[server];
        member.operation = Operation::Stopping;
        member.changed_at_ms = now_ms;
        member.next_step_ms = None;
        self.update_throttle(server, now_ms);
        effects.push(Effect::Publish { backend });
        let counts = self.counts(server, 0, sessions);
        let text =
            format!("{} is stopping{}{}{}.", message::subject(self, server), message::via(self, server), cause.text(), counts.text());
        effects.push(Effect::Log { backend, level: Level::Notice, text });
        self.report_backend_down(backend, before, effects);
        self.announce_drain(server, effects);
        for follower in followers {
            self.set_stopping(follower, &Cause::NONE, now_ms, sessions, effects);
        }
    }

    /// Ends a slow start: HAProxy writes the line of a server that comes up once more, without a reason.
    pub(super) fn finish_slowstart(&mut self, server: usize, now_ms: u64, sessions: &dyn Sessions, effects: &mut Vec<Effect>) {
        if let Some(member) = self.servers.get_mut(server) {
            member.operation = Operation::Running;
        }
        self.update_throttle(server, now_ms);
        self.announce_up(server, &Cause::NONE, sessions, effects);
    }

    fn announce_up(&mut self, server: usize, cause: &Cause<'_>, sessions: &dyn Sessions, effects: &mut Vec<Effect>) {
        let Some(member) = self.servers.get(server) else { return };
        let (backend, shuts_backups) = (member.backend, member.shutdown_backup_sessions_when_up && !member.backup && member.weight > 0);
        let waiting = if member.is_usable() { sessions.backend_queued(backend) } else { 0 };
        let taken = if member.maxconn == 0 { waiting } else { waiting.min(member.maxconn) };
        effects.push(Effect::Publish { backend });
        if shuts_backups {
            effects.push(Effect::ShutdownBackupSessions { backend });
        }
        let counts = self.counts(server, taken, sessions);
        let text = format!("{} is UP{}{}{}.", message::subject(self, server), message::via(self, server), cause.text(), counts.text());
        effects.push(Effect::Log { backend, level: Level::Notice, text });
        self.announce_drain(server, effects);
    }

    /// Sets a wish and lets followers inherit it.
    pub(super) fn set_admin(&mut self, server: usize, flag: Admin, now_ms: u64, sessions: &dyn Sessions, effects: &mut Vec<Effect>) {
        let Some(member) = self.servers.get_mut(server) else { return };
        if member.admin.has(flag) {
            return;
        }
        let kind = kind_of(flag);
        let had_it_already = member.admin.has(kind);
        member.admin = member.admin.with(flag);
        let followers = member.followers.clone();
        self.announce_admin(server, now_ms, sessions, effects);
        if had_it_already {
            return;
        }
        for follower in followers {
            self.set_admin(follower, inherited(kind), now_ms, sessions, effects);
        }
    }

    /// Clears a wish, also from the followers that inherited it, unless the same is still wished for another reason.
    pub(super) fn clear_admin(&mut self, server: usize, flag: Admin, now_ms: u64, sessions: &dyn Sessions, effects: &mut Vec<Effect>) {
        let Some(member) = self.servers.get_mut(server) else { return };
        if !member.admin.has(flag) {
            return;
        }
        let kind = kind_of(flag);
        member.admin = member.admin.without(flag);
        let still_has_it = member.admin.has(kind);
        let followers = member.followers.clone();
        self.announce_admin(server, now_ms, sessions, effects);
        if still_has_it {
            return;
        }
        for follower in followers {
            self.clear_admin(follower, inherited(kind), now_ms, sessions, effects);
        }
    }

    /// Follows a change of wishes with the state and the lines it calls for.
    fn announce_admin(&mut self, server: usize, now_ms: u64, sessions: &dyn Sessions, effects: &mut Vec<Effect>) {
        let Some(member) = self.servers.get_mut(server) else { return };
        let (before, now, backend) = (member.announced_admin, member.admin, member.backend);
        member.announced_admin = now;
        match (before.in_maintenance(), now.in_maintenance()) {
            (false, true) => self.enter_maintenance(server, before, now_ms, sessions, effects),
            (true, false) => self.leave_maintenance(server, before, now_ms, effects),
            (true, true) => {
                let cleared = |flag| before.has(flag) && !now.has(flag);
                let subject = message::subject(self, server);
                let text = if cleared(Admin::FORCED_MAINTENANCE) {
                    Some(format!("{subject} is leaving forced maintenance but remains in maintenance{}.", message::via(self, server)))
                } else if cleared(Admin::UNRESOLVED) {
                    let host = &self.servers[server].host;
                    Some(format!("{subject} ('{host}') resolves again but remains in maintenance."))
                } else if cleared(Admin::INHERITED_MAINTENANCE) {
                    Some(format!("{subject} remains in forced maintenance."))
                } else {
                    None
                };
                effects.extend(text.map(|text| Effect::Log { backend, level: Level::Notice, text }));
            }
            (false, false) => {}
        }
        if !now.in_maintenance() {
            self.enter_or_leave_drain(server, before, sessions, effects);
        }
    }

    fn enter_maintenance(&mut self, server: usize, before: Admin, now_ms: u64, sessions: &dyn Sessions, effects: &mut Vec<Effect>) {
        let Some(member) = self.servers.get_mut(server) else { return };
        let (backend, was_down) = (member.backend, member.operation == Operation::Stopped);
        let was_leaving = member.operation == Operation::Stopping || before.drains();
        let forced = member.admin.has(Admin::FORCED_MAINTENANCE);
        if let Some(check) = member.check.as_mut() {
            check.health = 0;
        }
        let via = if forced { String::new() } else { message::via(self, server) };
        let subject = message::subject(self, server);
        if was_down {
            let text = format!("{subject} was DOWN and now enters maintenance{via}.");
            effects.push(Effect::Log { backend, level: Level::Notice, text });
            return;
        }
        // The wish is in force already; servers in use are counted as they were before it.
        let in_use_before = self.in_use_with(server, before);
        self.go_down(server, now_ms);
        let counts = self.departure(server, sessions, effects);
        let level = if was_leaving { Level::Notice } else { Level::Alert };
        let text = format!("{subject} is going DOWN for maintenance{via}{}.", counts.text());
        effects.push(Effect::Log { backend, level, text });
        self.report_backend_down(backend, in_use_before, effects);
    }

    fn leave_maintenance(&mut self, server: usize, before: Admin, now_ms: u64, effects: &mut Vec<Effect>) {
        let Some(member) = self.servers.get_mut(server) else { return };
        let (backend, track) = (member.backend, member.track);
        if let Some(check) = member.check.as_mut() {
            // Up at once, one failure away from going down.
            check.health = check.settings.rise;
        }
        let tracked = track.and_then(|tracked| self.servers.get(tracked)).map(|tracked| tracked.operation);
        match tracked {
            Some(Operation::Stopped) => {}
            Some(Operation::Stopping) => {
                self.go_up(server, now_ms);
                self.servers[server].operation = Operation::Stopping;
            }
            _ => self.go_up(server, now_ms),
        }
        effects.push(Effect::Publish { backend });
        let member = &self.servers[server];
        let state = if member.operation == Operation::Stopped { "DOWN" } else { "UP" };
        let wish = if member.admin.drains() { "DRAIN" } else { "READY" };
        let subject = message::subject(self, server);
        let text = if before.has(Admin::UNRESOLVED) && !before.has(Admin::FORCED_MAINTENANCE) && !before.has(Admin::INHERITED_MAINTENANCE) {
            format!("{subject} ('{}') is {state}/{wish} (resolves again).", member.host)
        } else {
            let forced = if before.has(Admin::FORCED_MAINTENANCE) { "forced " } else { "" };
            format!("{subject} is {state}/{wish} (leaving {forced}maintenance).")
        };
        effects.push(Effect::Log { backend, level: Level::Notice, text });
    }

    fn enter_or_leave_drain(&mut self, server: usize, before: Admin, sessions: &dyn Sessions, effects: &mut Vec<Effect>) {
        let Some(member) = self.servers.get(server) else { return };
        let (backend, now, was_down) = (member.backend, member.admin, member.operation == Operation::Stopped);
        match (before.drains(), now.drains()) {
            (false, true) => {
                let in_use_before = self.in_use_with(server, before);
                effects.push(Effect::Publish { backend });
                let via = if now.has(Admin::FORCED_DRAIN) { String::new() } else { message::via(self, server) };
                let counts = self.counts(server, 0, sessions);
                let text = format!("{} enters drain state{via}{}.", message::subject(self, server), counts.text());
                effects.push(Effect::Log { backend, level: Level::Notice, text });
                self.report_backend_down(backend, in_use_before, effects);
            }
            (true, false) => {
                effects.push(Effect::Publish { backend });
                let state = if was_down { "DOWN" } else { "UP" };
                let text = format!("{} is {state} (leaving forced drain).", message::subject(self, server));
                effects.push(Effect::Log { backend, level: Level::Notice, text });
            }
            (true, true) => self.announce_drain(server, effects),
            (false, false) => {}
        }
    }

    /// HAProxy reminds of a drain that goes on after every change of a server, whatever changed.
    fn announce_drain(&self, server: usize, effects: &mut Vec<Effect>) {
        let Some(member) = self.servers.get(server).filter(|member| member.admin.drains()) else { return };
        let subject = message::subject(self, server);
        let text = if member.admin.has(Admin::FORCED_DRAIN) {
            format!("{subject} remains in forced drain mode.")
        } else {
            format!("{subject} is leaving forced drain but remains in drain mode{}.", message::via(self, server))
        };
        effects.push(Effect::Log { backend: member.backend, level: Level::Notice, text });
    }

    fn go_down(&mut self, server: usize, now_ms: u64) {
        let Some(member) = self.servers.get_mut(server) else { return };
        member.operation = Operation::Stopped;
        member.changed_at_ms = now_ms;
        member.down_transitions += 1;
        member.next_step_ms = None;
        self.update_throttle(server, now_ms);
    }

    fn go_up(&mut self, server: usize, now_ms: u64) {
        self.leave_down_time(server, now_ms);
        let Some(member) = self.servers.get_mut(server) else { return };
        member.changed_at_ms = now_ms;
        if member.slowstart_seconds > 0 {
            member.operation = Operation::Starting;
            member.next_step_ms = Some(now_ms + STEP_MS);
        } else {
            member.operation = Operation::Running;
            member.next_step_ms = None;
        }
        self.update_throttle(server, now_ms);
    }

    fn leave_down_time(&mut self, server: usize, now_ms: u64) {
        if let Some(member) = self.servers.get_mut(server).filter(|member| member.operation == Operation::Stopped) {
            member.down_time_ms += now_ms.saturating_sub(member.changed_at_ms);
        }
    }

    /// What becomes of the sessions of a server that went down.
    fn departure(&self, server: usize, sessions: &dyn Sessions, effects: &mut Vec<Effect>) -> Counts {
        let Some(member) = self.servers.get(server) else { return self.counts(server, 0, sessions) };
        effects.push(Effect::Publish { backend: member.backend });
        if member.shutdown_sessions_when_down {
            effects.push(Effect::ShutdownSessions { server });
        }
        // Without `option redispatch` waiting sessions stay with their server, as HAProxy leaves them.
        let redispatches = self.groups.get(member.backend).is_some_and(|group| group.redispatches);
        let queued = sessions.queued(server);
        if redispatches && queued > 0 {
            effects.push(Effect::Requeue { server });
        }
        let requeued = if redispatches { queued } else { 0 };
        Counts { queued: queued - requeued, ..self.counts(server, requeued, sessions) }
    }

    fn counts(&self, server: usize, requeued: u32, sessions: &dyn Sessions) -> Counts {
        let member = self.servers.get(server);
        Counts {
            in_use: member.map_or((0, 0), |member| self.servers_in_use(member.backend)),
            active: sessions.active(server),
            requeued,
            queued: sessions.queued(server),
            is_down: member.is_some_and(|member| member.operation == Operation::Stopped),
        }
    }

    /// Servers in use of a server's backend if it still had the wishes it had `before`.
    fn in_use_with(&mut self, server: usize, before: Admin) -> (u32, u32) {
        let Some(member) = self.servers.get_mut(server) else { return (0, 0) };
        let backend = member.backend;
        let now = std::mem::replace(&mut member.admin, before);
        let in_use = self.servers_in_use(backend);
        if let Some(member) = self.servers.get_mut(server) {
            member.admin = now;
        }
        in_use
    }

    /// The line about a backend that has just lost its last server.
    fn report_backend_down(&self, backend: usize, before: (u32, u32), effects: &mut Vec<Effect>) {
        if before == (0, 0) || self.servers_in_use(backend) != (0, 0) {
            return;
        }
        if let Some(group) = self.groups.get(backend) {
            let text = format!("{} {} has no server available!", group.kind, group.name);
            effects.push(Effect::Log { backend, level: Level::Emerg, text });
        }
    }
}

fn kind_of(flag: Admin) -> Admin {
    if Admin::MAINTENANCE.has(flag) { Admin::MAINTENANCE } else { Admin::DRAIN }
}

fn inherited(kind: Admin) -> Admin {
    if kind == Admin::MAINTENANCE { Admin::INHERITED_MAINTENANCE } else { Admin::INHERITED_DRAIN }
}
