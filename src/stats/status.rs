//! The words of the `status` column.

use ringmain_engine::live::{BindLive, FrontendLive};
use ringmain_model::{Check, Model, ServerId};

use crate::control::fleet::{Admin, BackendState, Fleet, FrontendService, FrontendState, Operational, ServerState};

/// The state of a frontend.
pub(super) fn frontend(state: &FrontendState, live: &FrontendLive) -> &'static str {
    match state.service {
        FrontendService::Stopped => "STOP",
        FrontendService::Paused => "PAUSED",
        FrontendService::Open if live.sessions.full() => "FULL",
        FrontendService::Open => "OPEN",
    }
}

/// The state of a listener.
pub(super) fn listener(live: &BindLive) -> &'static str {
    if live.sessions.full() { "FULL" } else { "OPEN" }
}

/// The state of a backend; `counted` adds how many of its servers are up, as HAProxy does when servers that are not are hidden.
pub(super) fn backend(fleet: &Fleet, state: &BackendState, servers: std::ops::Range<usize>, counted: bool) -> String {
    let total = servers.len();
    let word = if state.total_weight > 0 || total == 0 { "UP" } else { "DOWN" };
    if !counted {
        return word.to_string();
    }
    let up = servers.filter(|&index| fleet.server(ServerId::new(index)).up()).count();
    format!("{word} ({up}/{total})")
}

/// The state of a server. One that tracks another goes by that one's check.
pub(super) fn server(fleet: &Fleet, model: &Model, id: ServerId) -> String {
    let state = fleet.server(id);
    if state.admin.any(Admin::MAINTENANCE) {
        return maintenance(model, id, state);
    }
    let checked = checked_server(model, id);
    let check = model.server(checked).check.as_ref();
    let reference = fleet.server(checked);
    let enabled = check.is_some() && reference.check.enabled;
    let progress = check.filter(|_| enabled).map_or(Progress::Settled, |check| progress(check, reference.check.health));
    match (state.operational, progress) {
        (Operational::Stopped, Progress::Rising(text)) => format!("DOWN {text}"),
        (Operational::Stopped, _) => "DOWN".to_string(),
        (Operational::Stopping, Progress::Falling(text)) => format!("NOLB {text}"),
        (Operational::Stopping, _) => "NOLB".to_string(),
        _ if state.admin.any(Admin::DRAIN) => "DRAIN".to_string(),
        (_, Progress::Falling(text)) => format!("UP {text}"),
        _ if !enabled => "no check".to_string(),
        _ => "UP".to_string(),
    }
}

fn maintenance(model: &Model, id: ServerId, state: &ServerState) -> String {
    if state.admin.any(Admin::FORCED_MAINTENANCE) {
        return "MAINT".to_string();
    }
    if state.admin.any(Admin::INHERITED_MAINTENANCE) {
        return match model.server(id).track {
            Some(tracked) => format!("MAINT (via {})", server_path(model, tracked)),
            None => "MAINT".to_string(),
        };
    }
    "MAINT (resolution)".to_string()
}

/// `backend/server`.
pub(super) fn server_path(model: &Model, id: ServerId) -> String {
    let server = model.server(id);
    format!("{}/{}", model.backend(server.backend).name, server.name)
}

/// The server at the end of a chain of `track`; chains are checked to be without loops at load, the bound only keeps that promise.
fn checked_server(model: &Model, id: ServerId) -> ServerId {
    let mut reference = id;
    for _ in 0..model.servers.len() {
        match model.server(reference).track {
            Some(next) => reference = next,
            None => break,
        }
    }
    reference
}

enum Progress {
    /// Nothing is changing.
    Settled,
    /// Down, some checks passed.
    Rising(String),
    /// Up, some checks failed.
    Falling(String),
}

fn progress(check: &Check, health: u32) -> Progress {
    let top = (check.rise + check.fall).saturating_sub(1);
    if health == 0 || health >= top {
        Progress::Settled
    } else if health < check.rise {
        Progress::Rising(format!("{health}/{}", check.rise))
    } else {
        Progress::Falling(format!("{}/{}", health - check.rise + 1, check.fall))
    }
}
