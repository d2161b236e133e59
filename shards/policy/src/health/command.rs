//! Operators' commands: `set server ... state|health`, `enable` and `disable` `server|health`, and addresses found or lost.

use super::fleet::Fleet;
use super::message::Cause;
use super::{Admin, Effect, Sessions};

/// `set server b/s state ...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminState {
    /// `ready`; also `enable server`.
    Ready,
    /// `drain`: no new sessions by balancing.
    Drain,
    /// `maint`: no sessions and no checks; also `disable server`.
    Maintenance,
}

/// `set server b/s health ...`: as if checks had found it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForcedHealth {
    /// `up`.
    Up,
    /// `stopping`.
    Stopping,
    /// `down`.
    Down,
}

impl Fleet {
    /// Changes what is wished of a server.
    pub fn set_state(&mut self, server: usize, state: AdminState, now_ms: u64, sessions: &dyn Sessions) -> Vec<Effect> {
        let mut effects = Vec::new();
        match state {
            AdminState::Ready => {
                self.clear_admin(server, Admin::FORCED_DRAIN, now_ms, sessions, &mut effects);
                self.clear_forced_maintenance(server, now_ms, sessions, &mut effects);
            }
            AdminState::Drain => {
                self.set_admin(server, Admin::FORCED_DRAIN, now_ms, sessions, &mut effects);
                self.clear_forced_maintenance(server, now_ms, sessions, &mut effects);
            }
            AdminState::Maintenance => {
                self.set_admin(server, Admin::FORCED_MAINTENANCE, now_ms, sessions, &mut effects);
                self.clear_admin(server, Admin::FORCED_DRAIN, now_ms, sessions, &mut effects);
            }
        }
        effects
    }

    /// Overrides what checks found. `None`, and nothing done, for a server that tracks another: HAProxy refuses that.
    pub fn set_health(&mut self, server: usize, health: ForcedHealth, now_ms: u64, sessions: &dyn Sessions) -> Option<Vec<Effect>> {
        let member = self.servers.get_mut(server).filter(|member| member.track.is_none())?;
        // In maintenance nothing comes of it: leaving maintenance starts health anew.
        if let Some(check) = member.check.as_mut().filter(|_| !member.admin.in_maintenance()) {
            check.health = if health == ForcedHealth::Down { 0 } else { check.full_health() };
        }
        let cause = Cause { check: None, words: Some("changed from CLI") };
        let mut effects = Vec::new();
        match health {
            ForcedHealth::Up => self.set_running(server, &cause, now_ms, sessions, &mut effects),
            ForcedHealth::Stopping => self.set_stopping(server, &cause, now_ms, sessions, &mut effects),
            ForcedHealth::Down => self.set_stopped(server, &cause, now_ms, sessions, &mut effects),
        }
        Some(effects)
    }

    /// Switches a server's check on or off (`enable health`, `disable health`). `false` when it has none.
    pub fn set_check_enabled(&mut self, server: usize, enabled: bool, now_ms: u64) -> bool {
        let Some(check) = self.servers.get_mut(server).and_then(|member| member.check.as_mut()) else { return false };
        if enabled && !check.enabled {
            check.next_at_ms = check.next_at_ms.max(now_ms);
        }
        check.enabled = enabled;
        true
    }

    /// Takes in that a server's name has an address, or has none any more: without one it is in maintenance.
    pub fn set_resolved(&mut self, server: usize, resolved: bool, now_ms: u64, sessions: &dyn Sessions) -> Vec<Effect> {
        let mut effects = Vec::new();
        if resolved {
            self.clear_admin(server, Admin::UNRESOLVED, now_ms, sessions, &mut effects);
        } else {
            self.set_admin(server, Admin::UNRESOLVED, now_ms, sessions, &mut effects);
        }
        effects
    }

    fn clear_forced_maintenance(&mut self, server: usize, now_ms: u64, sessions: &dyn Sessions, effects: &mut Vec<Effect>) {
        // The mark of the configuration goes silently with the wish it came with.
        if let Some(member) = self.servers.get_mut(server) {
            member.admin = member.admin.without(Admin::CONFIGURED_MAINTENANCE);
        }
        self.clear_admin(server, Admin::FORCED_MAINTENANCE, now_ms, sessions, effects);
    }
}
