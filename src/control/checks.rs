//! When to check whom: timers for what `fleet` says is due, and the probes that are on their way. Probes themselves are made by shards.
//!
//! The loop calls `reschedule` when something about a server changed, `due` when its timer fires, and `ended` when a probe comes back.

use std::collections::HashMap;

use ringmain_engine::mailbox::{Probe, ProbeOutcome};
use ringmain_model::ServerId;

use super::fleet::Fleet;
use super::timers::{Timer, Timers};

/// The timers and probes of all checks; servers are known by the key of their state, which survives reloads.
#[derive(Debug, Default)]
pub struct Checks {
    /// When the timer of a server fires; others that were set for it are out of date.
    due_ms: HashMap<u64, u64>,
    next_probe: u64,
    /// Keys of servers by probe.
    probes: HashMap<u64, u64>,
}

impl Checks {
    /// Sets the timer of a server to what is due next for it.
    pub fn reschedule(&mut self, fleet: &Fleet, id: ServerId, timers: &mut Timers) {
        let key = fleet.server(id).key;
        match fleet.due_at_ms(id) {
            Some(due_ms) => self.set(key, due_ms, timers),
            None => drop(self.due_ms.remove(&key)),
        }
    }

    /// Forgets servers that are gone.
    pub fn forget_missing(&mut self, fleet: &Fleet) {
        self.due_ms.retain(|key, _| fleet.server_by_key(*key).is_some());
        self.probes.retain(|_, key| fleet.server_by_key(*key).is_some());
    }

    /// A server's timer fired: does a step of its slowstart, and gives the probe to send if its check is due.
    pub fn due(&mut self, fleet: &mut Fleet, key: u64, timers: &mut Timers) -> Option<Probe> {
        if self.due_ms.get(&key).is_none_or(|due_ms| *due_ms > fleet.now_ms()) {
            return None;
        }
        self.due_ms.remove(&key);
        let id = fleet.server_by_key(key)?;
        fleet.warm_up_due(id);
        let probe = self.probe(fleet, id, key);
        self.reschedule(fleet, id, timers);
        probe
    }

    fn probe(&mut self, fleet: &mut Fleet, id: ServerId, key: u64) -> Option<Probe> {
        let server = fleet.model().server(id);
        let check = server.check?;
        let backend = fleet.model().backend(server.backend);
        let (timeouts, mqtt) = (&backend.timeouts, backend.mqtt_check.clone());
        // `timeout check` bounds what comes after the connection; then `timeout connect` bounds the connection itself.
        let connect = timeouts.connect.filter(|_| timeouts.check.is_some()).map_or(u64::MAX, |limit| limit.get());
        let timeout_ms = connect.min(check.inter.get()).max(1);
        let answer_timeout_ms = timeouts.check.map(|limit| limit.get().max(1));
        let (destination, source) = (fleet.server(id).check_destination(&check), server.source.clone());
        if !fleet.begin_check(id) {
            return None;
        }
        let Some(destination) = destination else {
            // Without a fixed port there is nothing to connect to; the checker refuses that unless an operator made it so.
            fleet.probe_ended(id, ProbeOutcome::Local(libc::EDESTADDRREQ), 0);
            return None;
        };
        let probe = Probe { id: self.next_probe, destination, source, timeout_ms, mqtt, answer_timeout_ms };
        self.probes.insert(probe.id, key);
        self.next_probe += 1;
        Some(probe)
    }

    /// The shard that checks the server of this probe, of so many.
    pub fn shard_of(&self, probe: u64, shards: usize) -> usize {
        self.probes.get(&probe).map_or(0, |key| (key % shards.max(1) as u64) as usize)
    }

    /// A probe came back: tells the fleet, which says when the next one is due. Probes of servers that are gone are ignored.
    pub fn ended(&mut self, fleet: &mut Fleet, probe: u64, outcome: ProbeOutcome, duration_us: u64) {
        let id = self.probes.remove(&probe).and_then(|key| fleet.server_by_key(key));
        if let Some(id) = id {
            fleet.probe_ended(id, outcome, duration_us / 1000);
        }
    }

    fn set(&mut self, key: u64, due_ms: u64, timers: &mut Timers) {
        if self.due_ms.insert(key, due_ms) != Some(due_ms) {
            timers.add(due_ms, Timer::Server(key));
        }
    }
}
