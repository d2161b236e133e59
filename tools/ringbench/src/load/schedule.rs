//! When operations are due. Pure: time is an argument, in nanoseconds since the run began.
//!
//! A closed loop starts an operation whenever a connection is free. An open loop fixes every start in advance; an operation that cannot
//! start on time keeps its intended start, and its latency counts from there. So a server that stalls cannot hide the requests it kept
//! from being sent (coordinated omission).

/// What a free connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start an operation that was intended at this time.
    Start {
        /// Intended start.
        intended_ns: u64,
    },
    /// Nothing is due before this time.
    Wait {
        /// The next intended start.
        until_ns: u64,
    },
    /// Nothing will be due any more.
    Finished,
}

/// The starts of one worker.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Time between two starts of this worker; absent in a closed loop.
    period_ns: Option<f64>,
    first_ns: u64,
    end_ns: u64,
    limit: u64,
    started: u64,
}

impl Schedule {
    /// A closed loop from `begin_ns` to `end_ns` with at most `limit` operations.
    pub fn closed(end_ns: u64, limit: u64) -> Self {
        Self { period_ns: None, first_ns: 0, end_ns, limit, started: 0 }
    }

    /// Worker number `worker` (from 0) of `workers` in an open loop at `rate` operations per second over all workers: the workers' starts
    /// interleave evenly. `rate` must be above zero.
    pub fn open(rate: f64, worker: usize, workers: usize, begin_ns: u64, end_ns: u64, limit: u64) -> Self {
        let between_all = 1e9 / rate;
        let first_ns = begin_ns.saturating_add((between_all * worker as f64) as u64);
        Self { period_ns: Some(between_all * workers as f64), first_ns, end_ns, limit, started: 0 }
    }

    /// True for an open loop.
    pub fn is_open(&self) -> bool {
        self.period_ns.is_some()
    }

    /// Looks at the next start without taking it.
    pub fn peek(&self, now_ns: u64) -> Next {
        if self.started >= self.limit {
            return Next::Finished;
        }
        let intended_ns = match self.period_ns {
            // Multiplied, not added up: no drift over a long run.
            Some(period) => self.first_ns.saturating_add((period * self.started as f64) as u64),
            None => now_ns,
        };
        if intended_ns >= self.end_ns {
            Next::Finished
        } else if intended_ns > now_ns {
            Next::Wait { until_ns: intended_ns }
        } else {
            Next::Start { intended_ns }
        }
    }

    /// Takes the next start if it is due.
    pub fn take(&mut self, now_ns: u64) -> Next {
        let next = self.peek(now_ns);
        if matches!(next, Next::Start { .. }) {
            self.started += 1;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_closed_loop_starts_at_once_until_its_end_or_limit() {
        let mut schedule = Schedule::closed(100, 2);
        assert_eq!(schedule.take(5), Next::Start { intended_ns: 5 });
        assert_eq!(schedule.take(99), Next::Start { intended_ns: 99 });
        assert_eq!(schedule.take(99), Next::Finished);
        assert_eq!(Schedule::closed(100, 2).take(100), Next::Finished);
    }

    #[test]
    fn a_stall_leaves_every_due_start_with_its_intended_time() {
        let mut schedule = Schedule::open(1000.0, 0, 1, 0, 1_000_000_000, u64::MAX);
        assert_eq!(schedule.take(0), Next::Start { intended_ns: 0 });
        assert_eq!(schedule.take(10), Next::Wait { until_ns: 1_000_000 });
        // Nobody could send for 100 ms: all hundred are still there, each with its own time.
        let mut intended = Vec::new();
        while let Next::Start { intended_ns } = schedule.take(100_000_000) {
            intended.push(intended_ns);
        }
        assert_eq!(intended.len(), 100);
        assert_eq!((intended.first(), intended.last()), (Some(&1_000_000), Some(&100_000_000)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]
        #[test]
        fn workers_share_the_rate_without_drift(rate in 10.0..20_000.0_f64, workers in 1..8_usize) {
            let end_ns = 500_000_000;
            let mut all = Vec::new();
            for worker in 0..workers {
                let mut schedule = Schedule::open(rate, worker, workers, 0, end_ns, u64::MAX);
                while let Next::Start { intended_ns } = schedule.take(u64::MAX) {
                    all.push(intended_ns);
                }
            }
            all.sort_unstable();
            prop_assert!((all.len() as f64 - rate / 2.0).abs() <= 1.0 + workers as f64);
            let period = 1e9 / rate;
            prop_assert!(all.windows(2).all(|pair| ((pair[1] - pair[0]) as f64 - period).abs() <= 2.0));
        }
    }
}
