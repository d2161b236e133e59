//! `clear counters`: maxima start over from now, with `all` every counter does.

use ringmain_engine::live::{Counter, FrontendCounters, Gate, Generation, ProcessLive};

/// What is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The highest values seen.
    Maxima,
    /// Those and all sums. A shard that counts at this very moment may keep its old sum.
    All,
}

/// Clears the counters of a generation's frontends, binds, backends and servers and of the process.
pub fn clear(generation: &Generation, process: &ProcessLive, scope: Scope) {
    let all = scope == Scope::All;
    restart(&process.sessions);
    process.session_rate.reset_peak();
    for frontend in &generation.frontends {
        restart(&frontend.sessions);
        frontend.session_rate.reset_peak();
        if all {
            frontend.mqtt.clear();
        }
        frontend.counters.iter().filter(|_| all).for_each(|counters| zero(&frontend_counters(counters)));
    }
    for bind in generation.binds.iter().flatten() {
        restart(&bind.sessions);
        bind.counters.iter().filter(|_| all).for_each(|counters| zero(&frontend_counters(counters)));
    }
    for backend in &generation.backends {
        restart(&backend.sessions);
        backend.session_rate.reset_peak();
        backend.queue.peak.reset(backend.queue.len());
        backend.counters.iter().for_each(|counters| zero(&counters.maxima()));
        if all {
            backend.mqtt.clear();
        }
        backend.counters.iter().filter(|_| all).for_each(|counters| zero(&counters.totals()));
    }
    for server in &generation.servers {
        server.session_rate.reset_peak();
        server.queue.peak.reset(server.queue.len());
        server.active_peak.reset(server.active.load(std::sync::atomic::Ordering::Relaxed));
        server.counters.iter().for_each(|counters| zero(&counters.maxima()));
        server.counters.iter().filter(|_| all).for_each(|counters| zero(&counters.totals()));
    }
}

fn restart(gate: &Gate) {
    gate.peak.reset(gate.inside());
}

fn zero(counters: &[&Counter]) {
    counters.iter().for_each(|counter| counter.set(0));
}

fn frontend_counters(counters: &FrontendCounters) -> [&Counter; 9] {
    [
        &counters.connections,
        &counters.sessions,
        &counters.bytes_in,
        &counters.bytes_out,
        &counters.denied_requests,
        &counters.denied_responses,
        &counters.denied_connections,
        &counters.denied_sessions,
        &counters.request_errors,
    ]
}
