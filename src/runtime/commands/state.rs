//! Commands that show backends and servers: `show backend`, `show servers state`, `show servers conn`.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use ringmain_model::{BackendId, Server, ServerHost, ServerId, StatsLevel};

use crate::control::Fleet;
use crate::control::fleet::{Admin, ServerState};
use crate::runtime::reply::STEP_BYTES;
use crate::runtime::{Call, Command, ControlContext, Producer, Progress, Reply};
use crate::stats::collect::shown_port;

/// Backends and servers.
pub const STATES: &[Command] = &[
    Command {
        words: &["show", "backend"],
        level: StatsLevel::User,
        usage: "show backend",
        summary: "list the backends",
        listed: true,
        run: show_backends,
    },
    Command {
        words: &["show", "servers", "conn"],
        level: StatsLevel::User,
        usage: "show servers conn [<backend>]",
        summary: "show the connections of servers",
        listed: true,
        run: |call| servers(call, View::Connections),
    },
    Command {
        words: &["show", "servers", "state"],
        level: StatsLevel::User,
        usage: "show servers state [<backend>]",
        summary: "show the state of servers in the form of HAProxy's state file",
        listed: true,
        run: |call| servers(call, View::State),
    },
];

/// What HAProxy keeps an idle connection for at most, ms; there are none in tcp mode.
const PURGE_DELAY_MS: u32 = 5000;

/// Version and titles of HAProxy's state file (management guide section 9.3, `show servers state`).
const STATE_HEADER: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
                            srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
                            srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl \
                            srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";

fn show_backends(call: &mut Call<'_, '_>) -> Reply {
    let mut text = "# name\n".to_string();
    for backend in call.context.fleet.model().backends.iter().filter(|backend| !backend.disabled) {
        text.push_str(&backend.name);
        text.push('\n');
    }
    Reply::Text(text)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    State,
    Connections,
}

fn servers(call: &mut Call<'_, '_>, view: View) -> Reply {
    let fleet = &call.context.fleet;
    let backends: Vec<BackendId> = match call.word(3) {
        "" => (0..fleet.model().backends.len()).map(BackendId::new).collect(),
        name => match fleet.find_backend(name) {
            Some(id) => vec![id],
            None => return Reply::message("Can't find backend."),
        },
    };
    let wanted = backends.into_iter().filter(|&id| !fleet.model().backend(id).disabled);
    let servers = wanted.flat_map(|id| fleet.model().servers_of(id).map(|(server, _)| server)).collect();
    Reply::Stream(Box::new(Servers { servers, next: 0, generation: fleet.generation().number, view }))
}

/// Lines about servers, some at a time. Ends early when the configuration changes while it is being read.
struct Servers {
    servers: Vec<ServerId>,
    next: usize,
    generation: u64,
    view: View,
}

impl Producer for Servers {
    fn produce(&mut self, context: &mut ControlContext<'_>, out: &mut String) -> Progress {
        let shards = context.state.shards;
        if self.next == 0 {
            match self.view {
                View::State => out.push_str(STATE_HEADER),
                View::Connections => out.push_str(&connections_header(shards)),
            }
        }
        if context.fleet.generation().number != self.generation {
            return Progress::Done;
        }
        while let Some(&id) = self.servers.get(self.next) {
            if out.len() >= STEP_BYTES {
                return Progress::More;
            }
            self.next += 1;
            match self.view {
                View::State => out.push_str(&state_line(context.fleet, id)),
                View::Connections => out.push_str(&connections_line(context.fleet, id, shards)),
            }
        }
        Progress::Done
    }
}

fn state_line(fleet: &Fleet, id: ServerId) -> String {
    let (settings, state) = (fleet.model().server(id), fleet.server(id));
    let backend = fleet.model().backend(settings.backend);
    let changed_s = fleet.now_ms().saturating_sub(state.last_change_ms) / 1000;
    let check = settings.check.as_ref();
    let check_port = state.check.port.or(check.and_then(|check| check.port)).unwrap_or(0);
    // HAProxy gives the configured `port` to the agent check too.
    let agent_port = check.and_then(|check| check.port).unwrap_or(0);
    let check_address = state.check.address.or(check.and_then(|check| check.address));
    format!(
        "{} {} {} {} {} {} {} {} {} {changed_s} {} {} {} {} 0 0 0 {} {} - 0 {check_port} {} - {agent_port}\n",
        backend.proxy_id,
        backend.name,
        settings.id,
        settings.name,
        host(state),
        state.operational as u8,
        state.admin.0,
        state.user_weight,
        settings.weight,
        state.check.status.number(),
        state.check.result as u8,
        state.check.health,
        check_flags(settings, state),
        host_name(settings),
        port(state),
        check_address.map_or_else(|| "-".to_string(), |address| address.to_string()),
    )
}

/// The name that the address was resolved from, if it was written as one.
fn host_name(settings: &Server) -> &str {
    let written = &*settings.address.host_text;
    let resolved = matches!(settings.address.host, ServerHost::Ip(_) | ServerHost::Unresolved);
    let literal = written.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if resolved && !literal && !written.is_empty() && written != "*" { written } else { "-" }
}

/// HAProxy's bits: 1 in progress, 2 configured, 4 enabled, 8 paused.
fn check_flags(settings: &Server, state: &ServerState) -> u8 {
    let configured = settings.check.is_some();
    // HAProxy pauses the check that a server in configured maintenance does not even have.
    let paused = if configured { state.check.paused } else { state.admin.any(Admin::CONFIGURED_MAINTENANCE) };
    u8::from(configured && state.check.in_progress)
        | u8::from(configured) << 1
        | u8::from(configured && state.check.enabled) << 2
        | u8::from(paused) << 3
}

fn connections_header(shards: usize) -> String {
    format!(
        "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb safe_nb idle_lim idle_cur \
         idle_per_thr[{shards}]\n"
    )
}

fn connections_line(fleet: &Fleet, id: ServerId, shards: usize) -> String {
    let (settings, state) = (fleet.model().server(id), fleet.server(id));
    let backend = fleet.model().backend(settings.backend);
    let live = fleet.generation().server(id);
    let (used, peak) = (live.active.load(Ordering::Relaxed), live.active_peak.get());
    format!(
        "{}/{} {}/{} {} {} - {PURGE_DELAY_MS} {used} {peak} {peak} 0 0 -1 0{}\n",
        backend.name,
        settings.name,
        backend.proxy_id,
        settings.id,
        host(state),
        port(state),
        " 0".repeat(shards),
    )
}

fn host(state: &ServerState) -> String {
    match &state.host {
        ServerHost::Ip(address) => address.to_string(),
        ServerHost::Unix(_) | ServerHost::Abstract(_) | ServerHost::Unresolved => "-".to_string(),
    }
}

fn port(state: &ServerState) -> u16 {
    match state.host {
        ServerHost::Unix(_) | ServerHost::Abstract(_) => 0,
        ServerHost::Ip(_) | ServerHost::Unresolved => shown_port(state.port),
    }
}
