//! What the statistics show of a server's health: HAProxy's words in columns `status` and `check_...`.

use super::check::CheckStatus;
use super::fleet::{Fleet, ServerHealth};
use super::{Admin, Operation};

/// The `check_...` columns of a server whose checks run. Empty for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Column `check_status`; `* ` before the code says that a check is running.
    pub status: String,
    /// Column `check_desc`.
    pub description: &'static str,
    /// Column `check_code`: the code in the server's answer, when it was looked at.
    pub code: Option<u16>,
    /// Column `last_chk`: more about it, or empty.
    pub info: String,
    /// Column `check_duration`, milliseconds.
    pub duration_ms: Option<u64>,
    /// Column `check_rise`.
    pub rise: u32,
    /// Column `check_fall`.
    pub fall: u32,
    /// Column `check_health`.
    pub health: u32,
}

impl Fleet {
    /// Column `status` of a server: `UP`, `UP 1/3`, `DOWN`, `DOWN 1/2`, `NOLB`, `MAINT`, `MAINT (via b/s)`, `MAINT (resolution)`, `DRAIN`,
    /// `no check`. Empty for an index outside the model.
    pub fn status_text(&self, server: usize) -> String {
        let Some(member) = self.get(server) else { return String::new() };
        if member.admin.has(Admin::UNRESOLVED) {
            return "MAINT (resolution)".into();
        }
        if member.admin.has(Admin::INHERITED_MAINTENANCE) {
            return member.track.map_or_else(|| "MAINT".into(), |via| format!("MAINT (via {})", self.full_name(via)));
        }
        if member.admin.in_maintenance() {
            return "MAINT".into();
        }
        let check = self.get(self.root_of(server)).and_then(|root| root.check.as_ref()).filter(|check| check.enabled);
        let settled = check.is_none_or(|check| check.health == check.full_health());
        let up = |word: &str| match check {
            Some(check) if !settled && check.is_up() => {
                format!("{word} {}/{}", check.health - check.settings.rise + 1, check.settings.fall)
            }
            _ => word.into(),
        };
        match member.operation {
            Operation::Running | Operation::Starting if member.admin.drains() => up("DRAIN"),
            Operation::Running | Operation::Starting if check.is_none() => "no check".into(),
            Operation::Running | Operation::Starting => up("UP"),
            Operation::Stopping => up("NOLB"),
            Operation::Stopped => match check {
                Some(check) if check.health > 0 => format!("DOWN {}/{}", check.health, check.settings.rise),
                _ => "DOWN".into(),
            },
        }
    }

    /// The server at the end of the chain of `track`: itself when it tracks none.
    pub(super) fn root_of(&self, server: usize) -> usize {
        let mut root = server;
        // A chain is no longer than the fleet; a loop, which the checker refuses, would end here too.
        for _ in 0..self.len() {
            match self.get(root).and_then(|member| member.track) {
                Some(next) => root = next,
                None => break,
            }
        }
        root
    }

    /// The `check_...` columns; `None` when the server has no check of its own or it does not run now.
    pub fn check_report(&self, server: usize) -> Option<CheckReport> {
        let member = self.get(server)?;
        let check = member.check.as_ref().filter(|check| check.enabled && !member.admin.in_maintenance())?;
        let measured = !matches!(check.status, CheckStatus::Initial | CheckStatus::Observed);
        Some(CheckReport {
            status: format!("{}{}", if check.in_progress { "* " } else { "" }, check.status.code()),
            description: check.status.description(),
            code: check.code,
            info: check.info.clone(),
            duration_ms: check.duration_ms.filter(|_| measured),
            rise: check.settings.rise,
            fall: check.settings.fall,
            health: check.health,
        })
    }
}

impl ServerHealth {
    /// HAProxy's number in `show servers state`, column `srv_op_state`.
    pub fn operation_code(&self) -> u8 {
        match self.operation {
            Operation::Stopped => 0,
            Operation::Starting => 1,
            Operation::Running => 2,
            Operation::Stopping => 3,
        }
    }
}
