//! Facts about the process: the fields of `show info`, with HAProxy's names and positions where they have a meaning here.

use std::time::UNIX_EPOCH;

use ringmain_engine::live::ProcessCounters;
use ringmain_model::FrontendId;

use super::Value;
use crate::control::fleet::FrontendService;
use crate::control::state::Phase;
use crate::control::{ControlState, Fleet};

/// What the runtime sockets add to the facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeTotals {
    /// Listening sockets.
    pub sockets: u32,
    /// Connections now.
    pub open: u32,
    /// Connections so far.
    pub connections: u64,
    /// Commands so far.
    pub commands: u64,
}

/// One field.
#[derive(Clone, Debug)]
pub struct InfoField {
    /// Position in HAProxy's table; our own fields start at `OWN_FIELDS`.
    pub position: usize,
    /// Name.
    pub name: &'static str,
    /// Origin, nature and scope (HAProxy management guide section 9.2).
    pub tags: &'static str,
    /// Meaning.
    pub description: &'static str,
    /// Value.
    pub value: Value,
}

/// The version that `show version` and `show info` report.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Position of the first field that HAProxy does not have, far beyond HAProxy's last.
pub const OWN_FIELDS: usize = 200;

/// All fields, in order.
pub fn fields(state: &ControlState, fleet: &Fleet, runtime: RuntimeTotals) -> Vec<InfoField> {
    let mut fields = product(state, fleet);
    fields.extend(load(state, fleet, runtime));
    fields.extend(condition(state, fleet, runtime));
    fields.extend(own(state, fleet));
    fields
}

fn field(position: usize, name: &'static str, tags: &'static str, description: &'static str, value: impl Into<Value>) -> InfoField {
    InfoField { position, name, tags, description, value: value.into() }
}

fn product(state: &ControlState, fleet: &Fleet) -> Vec<InfoField> {
    let uptime_s = fleet.now_ms().saturating_sub(state.started_ms) / 1000;
    vec![
        field(0, "Name", "POS", "Name of the product", "Ringmain"),
        field(1, "Version", "POS", "Version of the product", VERSION),
        field(3, "Nbthread", "CGS", "Shards, each with its own thread", state.shards as u32),
        field(4, "Nbproc", "CGS", "Processes, always 1", 1u32),
        field(5, "Process_num", "KGP", "Number of this process, always 1", 1u32),
        field(6, "Pid", "SGP", "Process id in the system", state.pid),
        field(7, "Uptime", "MDP", "Time since the start in days, hours, minutes and seconds", uptime_text(uptime_s)),
        field(8, "Uptime_sec", "MDP", "Seconds since the start", saturate(uptime_s)),
        field(13, "Ulimit-n", "CLP", "Limit of file descriptors", saturate(state.descriptor_limit)),
        field(14, "Maxsock", "CLP", "Limit of sockets", saturate(state.descriptor_limit)),
    ]
}

fn load(state: &ControlState, fleet: &Fleet, runtime: RuntimeTotals) -> Vec<InfoField> {
    let process = &state.process;
    let connections = total(state, |counters| counters.connections.get());
    let (rate, peak) = (process.session_rate.read(fleet.now_ms()), process.session_rate.peak());
    let (all, requests) = (connections + runtime.connections, connections + runtime.commands);
    vec![
        field(15, "Maxconn", "CLP", "Limit of client connections now", process.sessions.limit()),
        field(16, "Hard_maxconn", "CLP", "Limit of client connections as configured", state.hard_maxconn),
        field(17, "CurrConns", "MGP", "Client connections now", process.sessions.inside()),
        field(18, "CumConns", "MCP", "Connections so far, those to runtime sockets included", saturate(all)),
        field(19, "CumReq", "MCP", "Requests so far: sessions and runtime commands", saturate(requests)),
        field(26, "ConnRate", "MRP", "Connections in the last second", rate),
        field(27, "ConnRateLimit", "CLP", "Limit of connections per second, 0 for none", 0u32),
        field(28, "MaxConnRate", "MMP", "Most connections in a second", peak),
        field(29, "SessRate", "MRP", "Sessions in the last second", rate),
        field(30, "SessRateLimit", "CLP", "Limit of sessions per second, 0 for none", 0u32),
        field(31, "MaxSessRate", "MRP", "Most sessions in a second", peak),
    ]
}

fn condition(state: &ControlState, fleet: &Fleet, runtime: RuntimeTotals) -> Vec<InfoField> {
    let mut fields = vec![field(50, "node", "COS", "Name of this node", state.node.as_str())];
    if let Some(description) = &state.description {
        fields.push(field(51, "description", "COS", "Description of this node", &**description));
    }
    let listeners = open_binds(fleet).saturating_add(runtime.sockets);
    let jobs = state.process.sessions.inside().saturating_add(listeners).saturating_add(runtime.open);
    fields.extend([
        field(52, "Stopping", "MGP", "1 while a stop is under way", u32::from(state.phase != Phase::Running)),
        field(53, "Jobs", "MGP", "Connections, those to runtime sockets included, and listening addresses", jobs),
        field(54, "Unstoppable Jobs", "MGP", "Jobs that a soft stop does not wait for, always 0", 0u32),
        field(55, "Listeners", "MGP", "Open listening addresses", listeners),
        field(58, "DroppedLogs", "MGP", "Log lines lost, in full rings and at targets", saturate(state.dropped_logs)),
        field(61, "TotalBytesOut", "MGP", "Bytes forwarded in both directions", total(state, |counters| counters.bytes.get())),
        field(66, "Build info", "POS", "Version of the product", VERSION),
        field(70, "Start_time_sec", "MDP", "Unix time of the start", saturate(started_at_s(state))),
    ]);
    fields
}

fn own(state: &ControlState, fleet: &Fleet) -> Vec<InfoField> {
    let handed_over = total(state, |counters| counters.handed_over.get());
    let accept_errors = total(state, |counters| counters.accept_errors.get());
    let generation = fleet.generation().number;
    vec![
        field(OWN_FIELDS, "Generation", "MGP", "Number of the configuration in use, 1 at the start", generation),
        field(OWN_FIELDS + 1, "Reloads", "MCP", "Reloads that succeeded", state.reloads.succeeded),
        field(OWN_FIELDS + 2, "FailedReloads", "MCP", "Reloads that failed and changed nothing", state.reloads.failed),
        field(OWN_FIELDS + 3, "HandedOver", "MCP", "Connections handed to a lighter shard", handed_over),
        field(OWN_FIELDS + 4, "AcceptErrors", "MCP", "Connections that could not be accepted", accept_errors),
    ]
}

fn total(state: &ControlState, counter: fn(&ProcessCounters) -> u64) -> u64 {
    state.process.counters.iter().map(|counters| counter(counters)).sum()
}

fn open_binds(fleet: &Fleet) -> u32 {
    let frontends = fleet.model().frontends.iter().enumerate();
    let open = frontends.filter(|(place, _)| fleet.frontend(FrontendId::new(*place)).service == FrontendService::Open);
    saturate(open.map(|(_, frontend)| frontend.binds.len() as u64).sum())
}

fn started_at_s(state: &ControlState) -> u64 {
    state.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// HAProxy's form: `0d 0h00m01s`.
fn uptime_text(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days}d {hours}h{minutes:02}m{:02}s", seconds % 60)
}

fn saturate(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_reads_as_in_haproxy() {
        assert_eq!(uptime_text(1), "0d 0h00m01s");
        assert_eq!(uptime_text(90_061 + 3600 * 11), "1d 12h01m01s");
    }
}
