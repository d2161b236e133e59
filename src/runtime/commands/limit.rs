//! Commands that change limits.

use ringmain_model::StatsLevel;

use crate::runtime::{Call, Command, Reply};

/// `set maxconn` and `set rate-limit`.
pub const LIMITS: &[Command] = &[
    Command {
        words: &["set", "maxconn", "frontend"],
        level: StatsLevel::Admin,
        usage: "set maxconn frontend <frontend> <value>",
        summary: "change the session limit of a frontend, 0 for the configured one",
        listed: true,
        run: set_frontend_maxconn,
    },
    Command {
        words: &["set", "maxconn", "global"],
        level: StatsLevel::Admin,
        usage: "set maxconn global <value>",
        summary: "change the session limit of the process, 0 for the configured one",
        listed: true,
        run: set_global_maxconn,
    },
    Command {
        words: &["set", "maxconn", "server"],
        level: StatsLevel::Admin,
        usage: "set maxconn server <bk>/<srv> <value>",
        summary: "change the session limit of a server",
        listed: true,
        run: set_server_maxconn,
    },
    Command {
        words: &["set", "rate-limit"],
        level: StatsLevel::Admin,
        usage: "set rate-limit",
        summary: "not supported yet",
        listed: false,
        run: |_| Reply::message("'set rate-limit' is not supported yet: there is no limit of rates over the whole process."),
    },
];

fn set_frontend_maxconn(call: &mut Call<'_, '_>) -> Reply {
    if call.word(3).is_empty() {
        return Reply::message("A frontend name is expected.");
    }
    match call.context.fleet.find_frontend(call.word(3)) {
        Ok(id) => {
            let value = call.word(4).to_string();
            call.context.fleet.set_frontend_maxconn(id, &value).into()
        }
        Err(message) => Reply::Message(message),
    }
}

fn set_global_maxconn(call: &mut Call<'_, '_>) -> Reply {
    if call.word(3).is_empty() {
        return Reply::message("Expects an integer value.");
    }
    let value = call.word(3).to_string();
    let changed = call.context.state.set_global_maxconn(&value);
    if changed.is_ok() {
        call.context.fleet.process_limit_changed();
    }
    changed.into()
}

fn set_server_maxconn(call: &mut Call<'_, '_>) -> Reply {
    match call.context.fleet.find_server(call.word(3)) {
        Ok(id) => {
            let value = call.word(4).to_string();
            call.context.fleet.set_server_maxconn(id, &value).into()
        }
        Err(message) => Reply::Message(message),
    }
}
