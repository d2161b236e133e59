//! When to check whom: the schedule of health checks. Probes themselves are made by shards; what they mean is the fleet's business.
//!
//! The loop calls `start` once per generation, `due` when a check's timer fires and `ended` when a probe comes back.

use std::collections::HashMap;

use ringmain_engine::mailbox::{Probe, ProbeOutcome};
use ringmain_model::ServerId;

use super::fleet::{CheckStatus, Fleet, ProbeResult};
use super::listen::errno_text;
use super::timers::{Timer, Timers};

/// Checks with a shorter interval start on their own; longer ones are spread over the shortest of their intervals (as HAProxy does).
const SPREAD_FROM_MS: u64 = 1000;
/// Pause before a probe is tried again that a full mailbox refused.
const BUSY_PAUSE_MS: u64 = 10;

#[derive(Debug, Default)]
struct Entry {
    /// When the next check is due; timers for other times are out of date.
    due_ms: Option<u64>,
    /// The probe that is on its way.
    probe: Option<u64>,
}

/// The schedule of all checks, by the key of a server's state.
#[derive(Debug, Default)]
pub struct Checks {
    entries: HashMap<u64, Entry>,
    next_probe: u64,
    /// Keys of servers by probe.
    probes: HashMap<u64, u64>,
}

impl Checks {
    /// Schedules the first check of servers that have none scheduled (at start, all: spread over the shortest interval), and forgets
    /// servers that are gone.
    pub fn start(&mut self, fleet: &Fleet, timers: &mut Timers) {
        let now_ms = fleet.now_ms();
        self.entries.retain(|key, _| fleet.server_by_key(*key).is_some());
        self.probes.retain(|_, key| self.entries.contains_key(key));
        let new: Vec<(u64, u64)> = checked_servers(fleet).filter(|(key, _)| !self.entries.contains_key(key)).collect();
        let shortest = new.iter().map(|(_, interval)| *interval).filter(|interval| *interval >= SPREAD_FROM_MS).min().unwrap_or(0);
        let count = new.len() as u64;
        for (place, (key, interval)) in new.into_iter().enumerate() {
            let span = shortest.max(interval);
            self.set(key, now_ms + span * place as u64 / count.max(1), timers);
        }
    }

    /// The check of a server should not wait longer than its interval from now: it changed, or checks were switched on again.
    pub fn sooner(&mut self, fleet: &Fleet, id: ServerId, timers: &mut Timers) {
        let Some(check) = fleet.model().server(id).check else { return };
        let state = fleet.server(id);
        if !state.check.enabled || state.check.paused {
            return;
        }
        let entry = self.entries.entry(state.key).or_default();
        let latest = match entry.due_ms {
            // Nothing was scheduled while it was switched off: check at once.
            None if entry.probe.is_none() => fleet.now_ms(),
            None => return,
            Some(due_ms) => due_ms.min(fleet.now_ms() + state.check_interval(&check).get()),
        };
        self.set(state.key, latest, timers);
    }

    /// A check's timer fired: the probe to send, unless the timer is out of date or checks are switched off.
    pub fn due(&mut self, fleet: &mut Fleet, key: u64) -> Option<Probe> {
        let now_ms = fleet.now_ms();
        let entry = self.entries.get_mut(&key)?;
        if entry.due_ms.is_none_or(|due_ms| due_ms > now_ms) || entry.probe.is_some() {
            return None;
        }
        entry.due_ms = None;
        let id = fleet.server_by_key(key)?;
        let (state, server) = (fleet.server(id), fleet.model().server(id));
        let check = server.check.filter(|_| state.check.enabled && !state.check.paused)?;
        let destination = state.check_destination(&check)?;
        let timeouts = &fleet.model().backend(server.backend).timeouts;
        // `timeout check` bounds what comes after the connection; then `timeout connect` bounds the connection itself.
        let connect = timeouts.connect.filter(|_| timeouts.check.is_some()).map_or(u64::MAX, |limit| limit.get());
        let probe =
            Probe { id: self.next_probe, destination, source: server.source.clone(), timeout_ms: connect.min(check.inter.get()).max(1) };
        entry.probe = Some(probe.id);
        self.probes.insert(probe.id, key);
        self.next_probe += 1;
        fleet.probe_started(id);
        Some(probe)
    }

    /// The shard that checks this server, of so many.
    pub fn shard_of(&self, probe: u64, shards: usize) -> usize {
        self.probes.get(&probe).map_or(0, |key| (key % shards.max(1) as u64) as usize)
    }

    /// A full mailbox gave a probe back: try again shortly.
    pub fn refused(&mut self, fleet: &Fleet, probe: u64, timers: &mut Timers) {
        let Some(key) = self.probes.remove(&probe) else { return };
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.probe = None;
            self.set(key, fleet.now_ms() + BUSY_PAUSE_MS, timers);
        }
    }

    /// A probe came back: tells the fleet and schedules the next one. Probes of servers that are gone are ignored.
    pub fn ended(&mut self, fleet: &mut Fleet, probe: u64, outcome: ProbeOutcome, duration_us: u64, timers: &mut Timers) {
        let Some(key) = self.probes.remove(&probe) else { return };
        let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.probe == Some(probe)) else { return };
        entry.probe = None;
        let Some(id) = fleet.server_by_key(key) else { return };
        fleet.probe_ended(id, describe(outcome, duration_us));
        let Some(check) = fleet.model().server(id).check else { return };
        let state = fleet.server(id);
        if state.check.enabled && !state.check.paused {
            let due_ms = fleet.now_ms() + state.check_interval(&check).get();
            self.set(key, due_ms, timers);
        }
    }

    fn set(&mut self, key: u64, due_ms: u64, timers: &mut Timers) {
        self.entries.entry(key).or_default().due_ms = Some(due_ms);
        timers.add(due_ms, Timer::Check(key));
    }
}

/// Keys and first intervals of the servers that are checked now.
fn checked_servers(fleet: &Fleet) -> impl Iterator<Item = (u64, u64)> {
    fleet.servers().filter_map(|(id, state)| {
        let check = fleet.model().server(id).check?;
        (state.check.enabled && !state.check.paused).then(|| (state.key, state.check_interval(&check).get()))
    })
}

fn describe(outcome: ProbeOutcome, duration_us: u64) -> ProbeResult {
    let (status, info) = match outcome {
        ProbeOutcome::Connected => (CheckStatus::Layer4Ok, String::new()),
        ProbeOutcome::TimedOut => (CheckStatus::Layer4Timeout, String::new()),
        ProbeOutcome::Failed(errno) => (CheckStatus::Layer4Connection, errno_text(errno)),
        ProbeOutcome::Local(errno) => (CheckStatus::SocketError, errno_text(errno)),
    };
    ProbeResult { status, info, duration_ms: duration_us / 1000 }
}
