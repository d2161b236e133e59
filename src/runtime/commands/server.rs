//! Commands that change one server.

use ringmain_model::{ServerId, StatsLevel};

use crate::control::fleet::{WantedHealth, WantedState};
use crate::runtime::{Call, Command, Reply};

/// `set server` and its older forms.
pub const SERVERS: &[Command] = &[
    Command {
        words: &["set", "server"],
        level: StatsLevel::Admin,
        usage: "set server <bk>/<srv> [opts]",
        summary: "change the state, weight, address or health of a server",
        listed: true,
        run: |call| on_server(call, 2, set_server),
    },
    Command {
        words: &["set", "weight"],
        level: StatsLevel::Admin,
        usage: "set weight <bk>/<srv> <weight>[%]",
        summary: "change the weight of a server",
        listed: true,
        run: |call| on_server(call, 2, |call, id| set_weight(call, id, 3)),
    },
    Command {
        words: &["get", "weight"],
        level: StatsLevel::User,
        usage: "get weight <bk>/<srv>",
        summary: "show the weight of a server",
        listed: true,
        run: |call| on_server(call, 2, get_weight),
    },
    Command {
        words: &["disable", "server"],
        level: StatsLevel::Admin,
        usage: "disable server <bk>/<srv>",
        summary: "put a server into maintenance",
        listed: true,
        run: |call| on_server(call, 2, |call, id| set_state(call, id, WantedState::Maintenance)),
    },
    Command {
        words: &["enable", "server"],
        level: StatsLevel::Admin,
        usage: "enable server <bk>/<srv>",
        summary: "take a server out of maintenance",
        listed: true,
        run: |call| on_server(call, 2, |call, id| set_state(call, id, WantedState::Ready)),
    },
    Command {
        words: &["disable", "health"],
        level: StatsLevel::Admin,
        usage: "disable health <bk>/<srv>",
        summary: "stop the checks of a server",
        listed: true,
        run: |call| on_server(call, 2, |call, id| call.context.fleet.set_check_enabled(id, false).into()),
    },
    Command {
        words: &["enable", "health"],
        level: StatsLevel::Admin,
        usage: "enable health <bk>/<srv>",
        summary: "start the checks of a server again",
        listed: true,
        run: |call| on_server(call, 2, |call, id| call.context.fleet.set_check_enabled(id, true).into()),
    },
    Command {
        words: &["shutdown", "sessions", "server"],
        level: StatsLevel::Admin,
        usage: "shutdown sessions server <bk>/<srv>",
        summary: "end all sessions on a server",
        listed: true,
        run: |call| on_server(call, 3, shutdown_sessions),
    },
    Command {
        words: &["add", "server"],
        level: StatsLevel::Admin,
        usage: "add server",
        summary: "not supported yet",
        listed: false,
        run: |_| Reply::message("'add server' is not supported yet: add the server to the configuration and reload."),
    },
    Command {
        words: &["del", "server"],
        level: StatsLevel::Admin,
        usage: "del server",
        summary: "not supported yet",
        listed: false,
        run: |_| Reply::message("'del server' is not supported yet: take the server out of the configuration and reload."),
    },
];

const SET_SERVER_USAGE: &str = "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | \
                                check-addr | check-port | fqdn | health | ssl | state | weight";

/// Finds the server that a word names and goes on with it.
fn on_server(call: &mut Call<'_, '_>, position: usize, then: impl FnOnce(&mut Call<'_, '_>, ServerId) -> Reply) -> Reply {
    match call.context.fleet.find_server(call.word(position)) {
        Ok(id) => then(call, id),
        Err(message) => Reply::Message(message),
    }
}

fn set_state(call: &mut Call<'_, '_>, id: ServerId, state: WantedState) -> Reply {
    call.context.fleet.set_state(id, state);
    Reply::Done
}

fn shutdown_sessions(call: &mut Call<'_, '_>, id: ServerId) -> Reply {
    call.context.fleet.shutdown_sessions(id);
    Reply::Done
}

fn set_weight(call: &mut Call<'_, '_>, id: ServerId, position: usize) -> Reply {
    let weight = call.word(position).to_string();
    call.context.fleet.set_weight(id, &weight).into()
}

fn get_weight(call: &mut Call<'_, '_>, id: ServerId) -> Reply {
    let fleet = &call.context.fleet;
    Reply::Message(format!("{} (initial {})", fleet.server(id).user_weight, fleet.model().server(id).weight))
}

fn set_server(call: &mut Call<'_, '_>, id: ServerId) -> Reply {
    let value = call.word(4).to_string();
    match call.word(3) {
        "weight" => set_weight(call, id, 4),
        "state" => match value.as_str() {
            "ready" => set_state(call, id, WantedState::Ready),
            "drain" => set_state(call, id, WantedState::Drain),
            "maint" => set_state(call, id, WantedState::Maintenance),
            _ => Reply::message("'set server <srv> state' expects 'ready', 'drain' and 'maint'."),
        },
        "health" => match value.as_str() {
            "up" => call.context.fleet.set_health(id, WantedHealth::Up).into(),
            "stopping" => call.context.fleet.set_health(id, WantedHealth::Stopping).into(),
            "down" => call.context.fleet.set_health(id, WantedHealth::Down).into(),
            _ => Reply::message("'set server <srv> health' expects 'up', 'stopping', or 'down'."),
        },
        "addr" => set_address(call, id, &value),
        "check-addr" => set_check_address(call, id, &value),
        // HAProxy says nothing when it worked.
        "check-port" => call.context.fleet.set_check_port(id, &value).map(|_| ()).into(),
        "agent" | "agent-addr" | "agent-port" | "agent-send" => Reply::message("agent checks are not enabled on this server."),
        "fqdn" => Reply::message("set server <b>/<s> fqdn failed because no resolution is configured."),
        "ssl" => Reply::message("'set server <srv> ssl' cannot be set.  default-server should define ssl settings"),
        _ => Reply::message(SET_SERVER_USAGE),
    }
}

/// The port after the word `port`, empty when only that word is there.
fn port_argument(call: &Call<'_, '_>) -> Option<String> {
    (call.word(5) == "port").then(|| call.word(6).to_string())
}

fn set_address(call: &mut Call<'_, '_>, id: ServerId, address: &str) -> Reply {
    if address.is_empty() {
        return Reply::message("set server <b>/<s> addr requires an address and optionally a port.");
    }
    let port = port_argument(call);
    let (Ok(message) | Err(message)) = call.context.fleet.set_address(id, address, port.as_deref());
    Reply::Message(message)
}

fn set_check_address(call: &mut Call<'_, '_>, id: ServerId, address: &str) -> Reply {
    if address.is_empty() {
        return Reply::message("set server <b>/<s> check-addr requires an address and optionally a port.");
    }
    let port = port_argument(call);
    call.context.fleet.set_check_address(id, address, port.as_deref()).into()
}
