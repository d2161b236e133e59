//! All servers of a model with their health: how the fleet is made, carried over a reload, and fed with news of checks.

use std::collections::HashMap;
use std::sync::Arc;

use ringmain_model::{Balance, HashMethod, Model, OnError};

use super::check::{CheckOutcome, CheckState, CheckStatus, first_delay_ms};
use super::slowstart::{STEP_MS, throttle};
use super::{Admin, Effect, Operation, Sessions};
use crate::balance::{FULL_THROTTLE, ServerView};

/// Intervals below this do not count for the spread of first checks.
const SPREAD_THRESHOLD_MS: u64 = 1000;

/// The health of one server. Read by statistics; changed only through [`Fleet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHealth {
    /// Its name.
    pub name: Arc<str>,
    /// Host as configured, for log lines about its resolution.
    pub host: Arc<str>,
    /// HAProxy's server id.
    pub id: u32,
    /// Index of its backend in the model.
    pub backend: usize,
    /// `backup`.
    pub backup: bool,
    /// Index of the server that it tracks.
    pub track: Option<usize>,
    /// Whether it serves.
    pub operation: Operation,
    /// What operators want of it.
    pub admin: Admin,
    /// Its own check, if it has one.
    pub check: Option<CheckState>,
    /// Weight now in force, 0 to 256.
    pub weight: u16,
    /// Weight as configured.
    pub configured_weight: u16,
    /// Sixteenths of the weight that slow start allows.
    pub throttle: u8,
    /// When it last went up or down, monotonic milliseconds (column `lastchg`).
    pub changed_at_ms: u64,
    /// Transitions to down and into maintenance (column `chkdown`).
    pub down_transitions: u64,
    /// Milliseconds spent down before the last change (column `downtime`).
    pub down_time_ms: u64,
    pub(super) followers: Vec<usize>,
    pub(super) slowstart_seconds: u64,
    pub(super) next_step_ms: Option<u64>,
    pub(super) on_error: OnError,
    pub(super) shutdown_sessions_when_down: bool,
    pub(super) shutdown_backup_sessions_when_up: bool,
    pub(super) maxconn: u32,
    /// What the last line about administration was based on.
    pub(super) announced_admin: Admin,
}

impl ServerHealth {
    /// Serves and may take new sessions by balancing.
    pub fn is_usable(&self) -> bool {
        let serves = matches!(self.operation, Operation::Running | Operation::Starting);
        serves && !self.admin.in_maintenance() && !self.admin.drains() && self.weight > 0
    }

    /// Percent of its `maxconn` that slow start allows now, by whole seconds; 100 outside of slow start. It changes with the steps of the
    /// weight, each of which publishes.
    pub fn slowstart_percent(&self, now_ms: u64) -> u32 {
        let elapsed_seconds = now_ms.saturating_sub(self.changed_at_ms) / 1000;
        if self.operation != Operation::Starting || elapsed_seconds >= self.slowstart_seconds {
            return 100;
        }
        (100 * elapsed_seconds / self.slowstart_seconds) as u32
    }

    /// Milliseconds of down time up to now, the running one included (column `downtime`).
    pub fn down_time_ms(&self, now_ms: u64) -> u64 {
        let running = if self.operation == Operation::Stopped { now_ms.saturating_sub(self.changed_at_ms) } else { 0 };
        self.down_time_ms + running
    }
}

/// A backend's part in the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    /// `backend`, or `proxy` for a `listen`: what HAProxy calls it in log lines.
    pub(super) kind: &'static str,
    pub(super) members: std::ops::Range<usize>,
    pub(super) logs_checks: bool,
    pub(super) redispatches: bool,
    /// Whether the balancing method follows weights while it runs; else slow start does not throttle.
    pub(super) is_dynamic: bool,
}

/// The health of all servers of a model; indexes are the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    pub(super) servers: Vec<ServerHealth>,
    pub(super) groups: Vec<Group>,
}

impl Fleet {
    /// The fleet of a model as it starts: all servers up, those that are `disabled`, without address, or track such a one in maintenance,
    /// first checks spread over their interval.
    pub fn new(model: &Model, now_ms: u64) -> Self {
        let groups = model.backends.iter().map(|backend| group(model, backend)).collect();
        let mut fleet = Self { servers: Vec::with_capacity(model.servers.len()), groups };
        let checks = model.servers.iter().filter_map(|server| server.check);
        let count = checks.clone().count();
        let shortest = checks.map(|check| check.inter.get()).filter(|&inter| inter >= SPREAD_THRESHOLD_MS).min().unwrap_or(0);
        let mut position = 0;
        for server in &model.servers {
            let check = server.check.map(|check| {
                let delay = first_delay_ms(check.inter.get(), shortest, position, count);
                position += 1;
                CheckState::new(check, now_ms + delay)
            });
            fleet.servers.push(start(server, check, now_ms));
        }
        fleet.link(model);
        fleet
    }

    /// The fleet of a new model after a reload. Servers known before, by the names of backend and server, keep state, administration,
    /// runtime weight and counters; of these, what the configuration itself changed (weight, `disabled`, the settings of the check) is taken
    /// from the new one. Checks that go on keep their time. Whether a server has an address is as the new model says.
    pub fn reloaded(model: &Model, previous: &Fleet, previous_model: &Model, now_ms: u64) -> Self {
        let mut fleet = Self::new(model, now_ms);
        let known: HashMap<(&str, &str), usize> = (0..previous.servers.len()).map(|index| (previous.identity(index), index)).collect();
        for index in 0..fleet.servers.len() {
            let Some(&old_index) = known.get(&fleet.identity(index)) else { continue };
            let (Some(old), Some(before), Some(configured)) =
                (previous.servers.get(old_index), previous_model.servers.get(old_index), model.servers.get(index))
            else {
                continue;
            };
            let unchanged = before.disabled == configured.disabled;
            let member = &mut fleet.servers[index];
            inherit(member, old, unchanged);
        }
        fleet.inherit_admin_of_tracked();
        fleet
    }

    /// The number of servers.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// One server; `None` for an index outside the model.
    pub fn get(&self, server: usize) -> Option<&ServerHealth> {
        self.servers.get(server)
    }

    /// Active and backup servers in use in a backend (columns `act` and `bck`).
    pub fn servers_in_use(&self, backend: usize) -> (u32, u32) {
        let members = self.groups.get(backend).and_then(|group| self.servers.get(group.members.clone())).unwrap_or_default();
        let count = |backup| members.iter().filter(|member| member.backup == backup && member.is_usable()).count() as u32;
        (count(false), count(true))
    }

    /// What a picker must know of a backend's servers, in their order.
    pub fn views(&self, backend: usize) -> Vec<ServerView> {
        let members = self.groups.get(backend).and_then(|group| self.servers.get(group.members.clone())).unwrap_or_default();
        let view = |member: &ServerHealth| ServerView {
            id: member.id,
            usable: member.is_usable(),
            backup: member.backup,
            configured_weight: member.configured_weight,
            weight: member.weight,
            throttle: member.throttle,
        };
        members.iter().map(view).collect()
    }

    /// When something is due next for a server: its check or a step of its slow start. `None` when nothing is.
    pub fn due_at_ms(&self, server: usize) -> Option<u64> {
        let member = self.servers.get(server)?;
        let check = member.check.as_ref().filter(|check| check.enabled && !check.in_progress).map(|check| check.next_at_ms);
        check.into_iter().chain(member.next_step_ms).min()
    }

    /// Starts the check of a server if it is due: the caller must then try a connection and report with [`Fleet::check_ended`]. While the
    /// server is in maintenance its turns pass without a check.
    pub fn begin_check(&mut self, server: usize, now_ms: u64) -> bool {
        let Some(member) = self.servers.get_mut(server) else { return false };
        let paused = member.admin.in_maintenance();
        let Some(check) = member.check.as_mut().filter(|check| check.enabled && !check.in_progress && check.next_at_ms <= now_ms) else {
            return false;
        };
        if paused {
            check.next_at_ms = now_ms + check.settings.inter.get().max(1);
            return false;
        }
        check.in_progress = true;
        true
    }

    /// Takes in the outcome of a check that took `duration_ms`. The next is due one interval later.
    pub fn check_ended(
        &mut self,
        server: usize,
        outcome: CheckOutcome,
        duration_ms: u64,
        now_ms: u64,
        sessions: &dyn Sessions,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(member) = self.servers.get_mut(server) else { return effects };
        let counts = !member.admin.in_maintenance();
        let Some(check) = member.check.as_mut().filter(|check| check.in_progress) else { return effects };
        check.in_progress = false;
        // What was switched off meanwhile does not count any more.
        if counts && check.enabled {
            let (status, code, info) = match outcome {
                CheckOutcome::Connected => (CheckStatus::Layer4Ok, None, String::new()),
                CheckOutcome::Failed(info) => (CheckStatus::Layer4Failed, None, info),
                CheckOutcome::TimedOut => (CheckStatus::Layer4Timeout, None, String::new()),
                CheckOutcome::Accepted { code } => (CheckStatus::Layer7Ok, Some(code), String::new()),
                CheckOutcome::Refused { code, info } => (CheckStatus::Layer7Refused, Some(code), info),
                CheckOutcome::Invalid(info) => (CheckStatus::Layer7Invalid, None, info),
                CheckOutcome::Unanswered => (CheckStatus::Layer7Timeout, None, String::new()),
                CheckOutcome::LocalError => (CheckStatus::SocketError, None, String::new()),
            };
            check.code = code;
            if status == CheckStatus::SocketError {
                check.status = status;
                check.duration_ms = None;
            } else {
                self.count_news(server, status, info, Some(duration_ms), now_ms, sessions, &mut effects);
            }
        }
        if let Some(check) = self.servers.get_mut(server).and_then(|member| member.check.as_mut()) {
            check.next_at_ms = now_ms + check.interval_ms();
        }
        effects
    }

    /// Takes in that traffic saw `errors` failures in a row, the server's `error-limit` (`observe layer4`), and does what `on-error` says.
    /// Whatever that is, the next check comes within `fastinter`.
    pub fn error_limit_reached(&mut self, server: usize, errors: u32, now_ms: u64, sessions: &dyn Sessions) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(member) = self.servers.get_mut(server) else { return effects };
        if member.admin.in_maintenance() {
            return effects;
        }
        let on_error = member.on_error;
        let Some(check) = member.check.as_mut().filter(|check| check.enabled) else { return effects };
        match on_error {
            OnError::FastInter | OnError::FailCheck => {}
            OnError::SuddenDeath => check.health = check.health.min(check.settings.rise + 1),
            OnError::MarkDown => check.health = check.health.min(check.settings.rise),
        }
        if on_error != OnError::FastInter {
            check.code = None;
            let info = format!("Detected {errors} consecutive errors, last one was: L4 unsuccessful connection");
            self.count_news(server, CheckStatus::Observed, info, None, now_ms, sessions, &mut effects);
        }
        if let Some(check) = self.servers.get_mut(server).and_then(|member| member.check.as_mut()) {
            check.next_at_ms = check.next_at_ms.min(now_ms + check.settings.fastinter.get().max(1));
        }
        effects
    }

    /// Carries a slow start on if a step is due.
    pub fn slowstart_step(&mut self, server: usize, now_ms: u64, sessions: &dyn Sessions) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(member) = self.servers.get_mut(server).filter(|member| member.next_step_ms.is_some_and(|step| step <= now_ms)) else {
            return effects;
        };
        member.next_step_ms = None;
        if member.operation != Operation::Starting {
            return effects;
        }
        if now_ms.saturating_sub(member.changed_at_ms) / 1000 >= member.slowstart_seconds {
            self.finish_slowstart(server, now_ms, sessions, &mut effects);
        } else {
            member.next_step_ms = Some(now_ms + STEP_MS);
            effects.push(Effect::Publish { backend: member.backend });
            self.update_throttle(server, now_ms);
        }
        effects
    }

    /// Changes the weight now in force, 0 to 256 (`set server ... weight`).
    pub fn set_weight(&mut self, server: usize, weight: u16) -> Vec<Effect> {
        match self.servers.get_mut(server) {
            Some(member) if member.weight != weight.min(256) => {
                member.weight = weight.min(256);
                vec![Effect::Publish { backend: member.backend }]
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn update_throttle(&mut self, server: usize, now_ms: u64) {
        let Some(member) = self.servers.get_mut(server) else { return };
        let is_dynamic = self.groups.get(member.backend).is_some_and(|group| group.is_dynamic);
        member.throttle = match member.operation {
            Operation::Starting if is_dynamic => throttle(now_ms.saturating_sub(member.changed_at_ms), member.slowstart_seconds),
            _ => FULL_THROTTLE as u8,
        };
    }

    pub(super) fn full_name(&self, server: usize) -> String {
        let (backend, name) = self.identity(server);
        format!("{backend}/{name}")
    }

    fn identity(&self, server: usize) -> (&str, &str) {
        let Some(member) = self.servers.get(server) else { return ("", "") };
        (self.groups.get(member.backend).map_or("", |group| &group.name), &member.name)
    }

    /// Ties followers to the servers they track; HAProxy tells them of changes last declared first.
    fn link(&mut self, model: &Model) {
        for (index, server) in model.servers.iter().enumerate() {
            let tracked = server.track.map(|id| id.index()).filter(|&tracked| tracked < self.servers.len() && tracked != index);
            self.servers[index].track = tracked;
            if let Some(tracked) = tracked {
                self.servers[tracked].followers.insert(0, index);
            }
        }
        self.inherit_admin_of_tracked();
    }

    /// Gives every follower the wishes and the state of the server that it tracks, without telling anybody.
    fn inherit_admin_of_tracked(&mut self) {
        for index in 0..self.servers.len() {
            let root = self.root_of(index);
            if root == index {
                continue;
            }
            let mut chain_admin = Admin::default();
            let mut place = self.servers[index].track;
            for _ in 0..self.servers.len() {
                let Some(tracked) = place else { break };
                chain_admin = chain_admin.with(self.servers[tracked].admin);
                place = self.servers[tracked].track;
            }
            let operation = self.servers[root].operation;
            let member = &mut self.servers[index];
            member.admin = member.admin.without(Admin::INHERITED_MAINTENANCE).without(Admin::INHERITED_DRAIN);
            if chain_admin.in_maintenance() {
                member.admin = member.admin.with(Admin::INHERITED_MAINTENANCE);
            }
            if chain_admin.drains() {
                member.admin = member.admin.with(Admin::INHERITED_DRAIN);
            }
            member.operation = match (operation, member.operation) {
                _ if member.admin.in_maintenance() => Operation::Stopped,
                (Operation::Stopped | Operation::Stopping, _) => operation,
                // A slow start is each server's own.
                (_, Operation::Starting) => Operation::Starting,
                _ => Operation::Running,
            };
            member.announced_admin = member.admin;
        }
    }
}

fn group(model: &Model, backend: &ringmain_model::Backend) -> Group {
    let is_listen = model.frontends.iter().any(|frontend| frontend.proxy_id == backend.proxy_id);
    let is_map = matches!(backend.balance, Balance::Source | Balance::Hash) && backend.hash.method == HashMethod::MapBased;
    Group {
        name: backend.name.clone(),
        kind: if is_listen { "proxy" } else { "backend" },
        members: backend.servers.clone(),
        logs_checks: backend.options.log_health_checks,
        redispatches: backend.redispatch_interval != 0,
        is_dynamic: backend.balance != Balance::StaticRoundRobin && !is_map,
    }
}

fn start(server: &ringmain_model::Server, mut check: Option<CheckState>, now_ms: u64) -> ServerHealth {
    let mut admin = Admin::default();
    if server.disabled {
        admin = admin.with(Admin::FORCED_MAINTENANCE).with(Admin::CONFIGURED_MAINTENANCE);
    }
    if server.address.host == ringmain_model::ServerHost::Unresolved {
        admin = admin.with(Admin::UNRESOLVED);
    }
    if let Some(check) = check.as_mut().filter(|_| admin.in_maintenance()) {
        check.health = 0;
    }
    ServerHealth {
        name: server.name.clone(),
        host: server.address.host_text.clone(),
        id: server.id,
        backend: server.backend.index(),
        backup: server.backup,
        track: None,
        operation: if admin.in_maintenance() { Operation::Stopped } else { Operation::Running },
        admin,
        check,
        weight: server.weight,
        configured_weight: server.weight,
        throttle: FULL_THROTTLE as u8,
        changed_at_ms: now_ms,
        down_transitions: 0,
        down_time_ms: 0,
        followers: Vec::new(),
        slowstart_seconds: server.slowstart.map_or(0, |slowstart| slowstart.get().div_ceil(1000)),
        next_step_ms: None,
        on_error: server.on_error,
        shutdown_sessions_when_down: server.shutdown_sessions_when_down,
        shutdown_backup_sessions_when_up: server.shutdown_backup_sessions_when_up,
        maxconn: server.maxconn,
        announced_admin: admin,
    }
}

/// Gives a server what it had before a reload.
fn inherit(member: &mut ServerHealth, old: &ServerHealth, admin_stays: bool) {
    if old.configured_weight == member.configured_weight {
        member.weight = old.weight;
    }
    member.down_transitions = old.down_transitions;
    member.down_time_ms = old.down_time_ms;
    // An address that was found or lost while running is the control plane's business: the new model's answer stands.
    let unresolved = member.admin.has(Admin::UNRESOLVED);
    if admin_stays {
        member.admin = old.admin.without(Admin::UNRESOLVED);
        if unresolved {
            member.admin = member.admin.with(Admin::UNRESOLVED);
        }
    }
    member.announced_admin = member.admin;
    let checked_as_before = member.check.is_some() == old.check.is_some();
    if let (Some(check), Some(old_check)) = (&mut member.check, &old.check) {
        inherit_check(check, old_check);
    }
    match (old.admin.in_maintenance(), member.admin.in_maintenance()) {
        (_, true) => {
            member.operation = Operation::Stopped;
            if let Some(check) = &mut member.check {
                check.health = 0;
            }
        }
        // Enabled by the configuration: it starts as at boot.
        (true, false) => {
            if let Some(check) = &mut member.check {
                check.health = check.settings.rise;
            }
        }
        (false, false) if checked_as_before => {
            member.operation = old.operation;
            member.throttle = old.throttle;
            member.next_step_ms = old.next_step_ms;
        }
        (false, false) => {}
    }
    if member.operation == old.operation {
        member.changed_at_ms = old.changed_at_ms;
    }
}

/// Health in the terms of the new rise and fall: down stays down, up stays up; what lies between starts anew when they changed.
fn inherit_check(check: &mut CheckState, old: &CheckState) {
    let same_terms = (old.settings.rise, old.settings.fall) == (check.settings.rise, check.settings.fall);
    check.health = match (old.is_up(), old.health == old.full_health()) {
        _ if same_terms => old.health,
        (true, true) => check.full_health(),
        (true, false) => check.settings.rise,
        (false, _) => 0,
    };
    check.enabled = old.enabled;
    check.in_progress = old.in_progress;
    check.status = old.status;
    check.info.clone_from(&old.info);
    check.duration_ms = old.duration_ms;
    check.failures = old.failures;
    check.next_at_ms = old.next_at_ms;
}
