//! Commands that change frontends, counters and the whole process.

use ringmain_model::StatsLevel;

use crate::control::fleet::FrontendService;
use crate::control::state::Request;
use crate::runtime::{Call, Command, Reply};
use crate::stats::clear::{Scope, clear};

/// Frontends, counters, reload.
pub const CHANGES: &[Command] = &[
    Command {
        words: &["disable", "frontend"],
        level: StatsLevel::Admin,
        usage: "disable frontend <frontend>",
        summary: "stop a frontend from listening until it is enabled",
        listed: true,
        run: |call| set_service(call, FrontendService::Paused),
    },
    Command {
        words: &["enable", "frontend"],
        level: StatsLevel::Admin,
        usage: "enable frontend <frontend>",
        summary: "let a disabled frontend listen again",
        listed: true,
        run: |call| set_service(call, FrontendService::Open),
    },
    Command {
        words: &["shutdown", "frontend"],
        level: StatsLevel::Admin,
        usage: "shutdown frontend <frontend>",
        summary: "close the listeners of a frontend for good",
        listed: true,
        run: |call| set_service(call, FrontendService::Stopped),
    },
    Command {
        words: &["clear", "counters"],
        level: StatsLevel::Operator,
        usage: "clear counters [all]",
        summary: "start the maxima over, with all every counter",
        listed: true,
        run: clear_counters,
    },
    Command {
        words: &["reload"],
        level: StatsLevel::Admin,
        usage: "reload",
        summary: "read the configuration again and show how that ended",
        listed: true,
        run: reload,
    },
];

fn set_service(call: &mut Call<'_, '_>, service: FrontendService) -> Reply {
    if call.word(2).is_empty() {
        return Reply::message("A frontend name is expected.");
    }
    match call.context.fleet.find_frontend(call.word(2)) {
        Ok(id) => call.context.fleet.set_frontend_service(id, service).into(),
        Err(message) => Reply::Message(message),
    }
}

fn clear_counters(call: &mut Call<'_, '_>) -> Reply {
    let scope = if call.word(2) == "all" { Scope::All } else { Scope::Maxima };
    if scope == Scope::All && !call.allows(StatsLevel::Admin) {
        return Reply::message("Permission denied");
    }
    clear(call.context.fleet.generation(), &call.context.state.process, scope);
    Reply::Done
}

/// Any number of connections may wait for the same reload.
fn reload(call: &mut Call<'_, '_>) -> Reply {
    let requests = &mut call.context.state.requests;
    if !requests.contains(&Request::Reload) {
        requests.push(Request::Reload);
    }
    Reply::AfterReload
}
