//! What is counted of MQTT, for frontends and for backends. Counters are written by their shard; times are kept by each shard for itself and
//! added here when counters are flushed, so that reading them never gets in the way of a session.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;
use hdrhistogram::Histogram;
use ringmain_wire::mqtt::{Version, connack_codes};

use super::Counter;

/// The longest time from CONNECT to CONNACK that is told apart, in microseconds; longer ones count as this long.
pub const LONGEST_US: u64 = 600_000_000;
/// Decimal digits that times are exact to.
const DIGITS: u8 = 2;

/// MQTT of one frontend or one backend.
#[derive(Debug)]
pub struct MqttLive {
    /// Counters, by shard.
    pub counters: Box<[CachePadded<MqttCounters>]>,
    /// Times from CONNECT to CONNACK in microseconds, as of the last flush. Locked by shards for as long as it takes to add theirs.
    times: Mutex<Option<Box<Histogram<u64>>>>,
}

/// What one shard counted.
#[derive(Debug, Default)]
pub struct MqttCounters {
    /// Valid CONNECTs by version: 3.1, 3.1.1, 5.0.
    pub connects: [Counter; 3],
    /// Clients that began with something else than a valid CONNECT.
    pub invalid_connects: Counter,
    /// Clients whose CONNECT is longer than what is looked at.
    pub large_connects: Counter,
    /// CONNACKs of MQTT 3 by return code, in the order of `connack_codes`.
    pub return_codes: [Counter; RETURN_CODES],
    /// CONNACKs of MQTT 5.0 by reason code, in the order of `connack_codes`.
    pub reason_codes: [Counter; REASON_CODES],
    /// Servers that answered a CONNECT with something else than a CONNACK.
    pub invalid_connacks: Counter,
    /// Clients whose keep alive is too long for the timeout that ends them.
    pub long_keepalives: Counter,
    /// Clients told to go by draining.
    pub drained: Counter,
}

/// Return codes that MQTT 3 knows.
const RETURN_CODES: usize = connack_codes(Version::V3_1_1).len();
/// Reason codes that a CONNACK of MQTT 5.0 can have.
const REASON_CODES: usize = connack_codes(Version::V5).len();

impl MqttCounters {
    /// The counter of CONNECTs of a version.
    pub fn connects_of(&self, version: Version) -> &Counter {
        let [v3_1, v3_1_1, v5] = &self.connects;
        match version {
            Version::V3_1 => v3_1,
            Version::V3_1_1 => v3_1_1,
            Version::V5 => v5,
        }
    }

    /// The counters of CONNACKs of a version with their codes and words.
    pub fn connacks_of(&self, version: Version) -> impl Iterator<Item = (u8, &'static str, &Counter)> {
        let counters: &[Counter] = match version {
            Version::V5 => &self.reason_codes,
            Version::V3_1 | Version::V3_1_1 => &self.return_codes,
        };
        connack_codes(version).iter().zip(counters).map(|((code, text), counter)| (*code, *text, counter))
    }

    /// All that only ever grow, for `clear counters all`.
    pub fn totals(&self) -> impl Iterator<Item = &Counter> {
        let single = [&self.invalid_connects, &self.large_connects, &self.invalid_connacks, &self.long_keepalives, &self.drained];
        self.connects.iter().chain(&self.return_codes).chain(&self.reason_codes).chain(single)
    }
}

impl MqttLive {
    /// Nothing counted yet.
    pub fn new(shards: usize) -> Self {
        Self { counters: (0..shards).map(|_| CachePadded::default()).collect(), times: Mutex::default() }
    }

    /// Adds a shard's times.
    pub(crate) fn add_times(&self, more: &Histogram<u64>) {
        let mut times = self.lock();
        match &mut *times {
            // Both were made by `histogram`, so that the one takes the other's values.
            Some(times) => drop(times.add(more)),
            None => *times = Some(Box::new(more.clone())),
        }
    }

    /// The times from CONNECT to CONNACK in microseconds; `None` without any.
    pub fn times(&self) -> Option<Histogram<u64>> {
        self.lock().as_deref().cloned()
    }

    /// Forgets all of it (`clear counters all`); what a shard counts at this moment may survive.
    pub fn clear(&self) {
        self.counters.iter().flat_map(|counters| counters.totals()).for_each(|counter| counter.set(0));
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Histogram<u64>>>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A histogram for times from CONNECT to CONNACK; `None` cannot happen, as its bounds are fixed and valid.
pub(crate) fn histogram() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST_US, DIGITS).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_counter_of_its_own() {
        let counters = MqttCounters::default();
        for version in [Version::V3_1_1, Version::V5] {
            assert_eq!(counters.connacks_of(version).count(), connack_codes(version).len());
            for (code, text, counter) in counters.connacks_of(version) {
                assert_eq!(counter.get(), 0, "{version} {code}");
                assert!(!text.is_empty());
                counter.add(1);
            }
        }
        counters.connects_of(Version::V5).add(1);
        assert_eq!(counters.totals().map(Counter::get).sum::<u64>() as usize, RETURN_CODES + REASON_CODES + 1);
    }

    #[test]
    fn times_of_shards_add_up_and_the_longest_is_kept() {
        let (live, mut times) = (MqttLive::new(2), histogram().expect("valid bounds"));
        assert!(live.times().is_none());
        times.saturating_record(1500);
        live.add_times(&times);
        times.saturating_record(u64::MAX);
        live.add_times(&times);
        let all = live.times().expect("some times");
        assert_eq!(all.len(), 3);
        assert!(all.max() >= LONGEST_US && all.value_at_quantile(0.5).abs_diff(1500) <= 15);
        live.clear();
        assert!(live.times().is_none());
    }
}
