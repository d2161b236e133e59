//! The log lines about servers, word for word as HAProxy 2.6 writes them, so that tools made for them keep working.

use std::fmt::Write;

use super::check::CheckState;
use super::fleet::{Fleet, ServerHealth};

/// Why a line is written.
pub(super) struct Cause<'a> {
    /// The check to explain it with; not given under `option log-health-checks`, which has its own line.
    pub(super) check: Option<&'a CheckState>,
    /// Other words for it, such as `changed from CLI`.
    pub(super) words: Option<&'a str>,
}

impl Cause<'_> {
    pub(super) const NONE: Cause<'static> = Cause { check: None, words: None };
}

/// Numbers at the end of a line about a server that comes or goes.
pub(super) struct Counts {
    /// Servers of the backend in use afterwards.
    pub(super) in_use: (u32, u32),
    pub(super) active: u32,
    pub(super) requeued: u32,
    pub(super) queued: u32,
    /// The server is down.
    pub(super) is_down: bool,
}

/// `Server b/s`, or `Backup Server b/s`.
pub(super) fn subject(fleet: &Fleet, server: usize) -> String {
    let backup = fleet.get(server).is_some_and(|member| member.backup);
    format!("{}Server {}", if backup { "Backup " } else { "" }, fleet.full_name(server))
}

/// ` via b/s` for a server that tracks another; empty for others.
pub(super) fn via(fleet: &Fleet, server: usize) -> String {
    fleet.get(server).and_then(|member| member.track).map(|tracked| format!(" via {}", fleet.full_name(tracked))).unwrap_or_default()
}

/// `, reason: ..., info: "...", check duration: 0ms`.
pub(super) fn explanation(check: &CheckState) -> String {
    let mut text = format!(", reason: {}", check.status.description());
    if let Some(code) = check.code {
        let _ = write!(text, ", code: {code}");
    }
    if !check.info.is_empty() {
        let _ =
            write!(text, ", info: \"{}\"", check.info.replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n").replace('"', "\\\""));
    }
    if let Some(duration) = check.duration_ms {
        let _ = write!(text, ", check duration: {duration}ms");
    }
    text
}

impl Cause<'_> {
    pub(super) fn text(&self) -> String {
        match (self.check, self.words) {
            (Some(check), _) => explanation(check),
            (None, Some(words)) => format!(", {words}"),
            (None, None) => String::new(),
        }
    }
}

impl Counts {
    pub(super) fn text(&self) -> String {
        let (active, backup) = self.in_use;
        let running_on_backup = if active == 0 && backup > 0 { " Running on backup." } else { "" };
        if self.is_down {
            format!(
                ". {active} active and {backup} backup servers left.{running_on_backup} {} sessions active, {} requeued, {} remaining in queue",
                self.active, self.requeued, self.queued
            )
        } else {
            format!(
                ". {active} active and {backup} backup servers online.{running_on_backup} {} sessions requeued, {} total in queue",
                self.requeued, self.queued
            )
        }
    }
}

/// The line of `option log-health-checks` after a check.
pub(super) fn check_line(fleet: &Fleet, server: usize, member: &ServerHealth, check: &CheckState, passed: bool) -> String {
    let (number, of, word) = if check.is_up() {
        (check.health - check.settings.rise + 1, check.settings.fall, if member.weight > 0 { "UP" } else { "DRAIN" })
    } else {
        (check.health, check.settings.rise, "DOWN")
    };
    format!(
        "Health check for {}server {} {}{}, status: {number}/{of} {word}.",
        if member.backup { "backup " } else { "" },
        fleet.full_name(server),
        if passed { "succeeded" } else { "failed" },
        explanation(check),
    )
}
