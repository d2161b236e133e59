//! The words of the `status` column.

use ringmain_engine::live::{BindLive, FrontendLive};
use ringmain_model::{Model, ServerId};

use crate::control::fleet::{BackendState, Fleet, FrontendService, FrontendState};

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

/// `backend/server`.
pub(super) fn server_path(model: &Model, id: ServerId) -> String {
    let server = model.server(id);
    format!("{}/{}", model.backend(server.backend).name, server.name)
}
