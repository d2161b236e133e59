//! Times from CONNECT to CONNACK, kept by each shard for itself until counters are flushed.

use std::cell::RefCell;
use std::sync::Arc;

use hashbrown::HashMap;
use hdrhistogram::Histogram;

use crate::live::{BackendLive, FrontendLive, MQTT_LONGEST_US, MqttLive, mqtt_histogram};

/// A shard's times since the last flush, by the address of what they belong to. At most one for each frontend and backend.
#[derive(Default)]
pub(crate) struct Times(RefCell<HashMap<usize, Kept>>);

struct Kept {
    owner: Owner,
    times: Histogram<u64>,
}

enum Owner {
    Frontend(Arc<FrontendLive>),
    Backend(Arc<BackendLive>),
}

impl Owner {
    fn mqtt(&self) -> &MqttLive {
        match self {
            Self::Frontend(live) => &live.mqtt,
            Self::Backend(live) => &live.mqtt,
        }
    }
}

impl Times {
    /// Keeps the time of a session.
    pub fn record(&self, frontend: &Arc<FrontendLive>, backend: Option<&Arc<BackendLive>>, duration_us: u64) {
        self.record_for(Arc::as_ptr(frontend) as usize, || Owner::Frontend(frontend.clone()), duration_us);
        if let Some(backend) = backend {
            self.record_for(Arc::as_ptr(backend) as usize, || Owner::Backend(backend.clone()), duration_us);
        }
    }

    fn record_for(&self, key: usize, owner: impl FnOnce() -> Owner, duration_us: u64) {
        let mut kept = self.0.borrow_mut();
        if !kept.contains_key(&key) {
            let Some(times) = mqtt_histogram() else { return };
            kept.insert(key, Kept { owner: owner(), times });
        }
        if let Some(kept) = kept.get_mut(&key) {
            kept.times.saturating_record(duration_us.clamp(1, MQTT_LONGEST_US));
        }
    }

    /// Moves them to where the control thread reads them.
    pub fn flush(&self) {
        for kept in self.0.borrow_mut().values_mut().filter(|kept| !kept.times.is_empty()) {
            kept.owner.mqtt().add_times(&kept.times);
            kept.times.reset();
        }
        // What nobody else knows any more went with a configuration.
        self.0.borrow_mut().retain(|_, kept| match &kept.owner {
            Owner::Frontend(live) => Arc::strong_count(live) > 1,
            Owner::Backend(live) => Arc::strong_count(live) > 1,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_through_at_a_flush_and_once() {
        let (times, frontend) = (Times::default(), Arc::new(FrontendLive::new("f".into(), 1, 10)));
        times.record(&frontend, None, 2000);
        times.record(&frontend, None, u64::MAX);
        assert!(frontend.mqtt.times().is_none());
        times.flush();
        times.flush();
        assert_eq!(frontend.mqtt.times().map(|times| times.len()), Some(2));
        drop(frontend);
        times.flush();
        assert!(times.0.borrow().is_empty(), "nothing is kept of what is gone");
    }
}
