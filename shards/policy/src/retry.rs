//! What follows a failed attempt to connect to a server: again, elsewhere, or give up (HAProxy manual, `retries`, `option redispatch`).
//! A pure decision, called by the session's connect stage after each failure.

use ringmain_model::Balance;

/// The pause before the same server is tried again, in milliseconds, unless `timeout connect` is shorter.
pub const TURN_AROUND_MS: u64 = 1000;

/// A failed attempt and what it happened in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Retries made so far, this failed attempt's own not included: 0 after the first attempt.
    pub retries_made: u32,
    /// The attempt ran into `timeout connect`; else it was refused or failed at once.
    pub timed_out: bool,
    /// The server is no longer fully up: down, or in slow start.
    pub server_not_running: bool,
    /// Servers of the backend in use now, active ones (`act` of the statistics), backup ones not counted.
    pub active_servers: u32,
    /// The server was fixed by persistence (a cookie or table) rather than chosen by balancing.
    pub persistent: bool,
}

/// The settings a retry obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `retries`: attempts after the first.
    pub retries: u32,
    /// `option redispatch [N]`: 0 is off, N above 0 allows another server at every Nth retry, below 0 at the last but (-N - 1) retries.
    pub redispatch_interval: i32,
    /// `timeout connect`, milliseconds.
    pub connect_timeout_ms: Option<u64>,
    /// `balance`.
    pub balance: Balance,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same server again, after `delay_ms`. The session keeps its slot; counted in `wretr`.
    SameServer {
        /// Milliseconds to wait first; 0 is at once.
        delay_ms: u64,
    },
    /// Choose a server anew, avoiding this one, after `delay_ms`. The slot is given back. When the choice falls on another server it counts
    /// as a redispatch: `wredis`, and a `+` before the retries in the log.
    Redispatch {
        /// Milliseconds to wait first; 0 is at once. Not 0 when there is no other active server.
        delay_ms: u64,
    },
    /// Retries are used up: the session ends with a connection error (`SC`, or `sC` after a timeout).
    GiveUp,
}

/// Decides after a failed attempt. Every answer but `GiveUp` counts as one more retry.
pub fn after_failure(failure: Failure, settings: Settings) -> Retry {
    if failure.retries_made >= settings.retries {
        return Retry::GiveUp;
    }
    let retry = failure.retries_made + 1;
    let redispatches = settings.redispatch_interval != 0
        && (failure.server_not_running || is_redispatch_turn(retry, settings) || goes_on_freely(failure, settings.balance));
    // A refusal is likely to repeat itself at once; a timeout has already waited. No pause when another server is at hand.
    let same_server_likely = !redispatches || failure.active_servers <= 1;
    let delay_ms = if failure.timed_out || !same_server_likely {
        0
    } else {
        settings.connect_timeout_ms.filter(|&timeout| timeout > 0).map_or(TURN_AROUND_MS, |timeout| timeout.min(TURN_AROUND_MS))
    };
    if redispatches { Retry::Redispatch { delay_ms } } else { Retry::SameServer { delay_ms } }
}

/// Whether the interval of `option redispatch` falls on this retry, counted from 1.
fn is_redispatch_turn(retry: u32, settings: Settings) -> bool {
    let interval = match settings.redispatch_interval {
        interval @ 1.. => i64::from(interval),
        interval => i64::from(settings.retries) + 1 + i64::from(interval),
    };
    interval > 0 && i64::from(retry) % interval == 0
}

/// Methods that do not hash lose nothing by going on to another server at once, when there is one.
fn goes_on_freely(failure: Failure, balance: Balance) -> bool {
    !matches!(balance, Balance::Source | Balance::Hash) && failure.active_servers > 1 && !failure.persistent
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: Settings = Settings { retries: 3, redispatch_interval: -1, connect_timeout_ms: Some(5000), balance: Balance::Source };
    const REFUSED: Failure = Failure { retries_made: 0, timed_out: false, server_not_running: false, active_servers: 2, persistent: false };

    #[test]
    fn redispatch_only_on_the_last_retry_by_default() {
        let steps: Vec<Retry> = (0..4).map(|retries_made| after_failure(Failure { retries_made, ..REFUSED }, SETTINGS)).collect();
        let again = Retry::SameServer { delay_ms: 1000 };
        assert_eq!(steps, [again, again, Retry::Redispatch { delay_ms: 0 }, Retry::GiveUp]);
    }

    #[test]
    fn an_interval_redispatches_every_so_many_retries() {
        let settings = Settings { redispatch_interval: 2, retries: 4, ..SETTINGS };
        let elsewhere: Vec<bool> = (0..4)
            .map(|retries_made| matches!(after_failure(Failure { retries_made, ..REFUSED }, settings), Retry::Redispatch { .. }))
            .collect();
        assert_eq!(elsewhere, [false, true, false, true]);
    }

    #[test]
    fn methods_without_hash_go_on_at_once_unless_alone_or_persistent() {
        let settings = Settings { balance: Balance::RoundRobin, ..SETTINGS };
        assert_eq!(after_failure(REFUSED, settings), Retry::Redispatch { delay_ms: 0 });
        assert_eq!(after_failure(Failure { active_servers: 1, ..REFUSED }, settings), Retry::SameServer { delay_ms: 1000 });
        assert_eq!(after_failure(Failure { persistent: true, ..REFUSED }, settings), Retry::SameServer { delay_ms: 1000 });
        assert_eq!(
            after_failure(REFUSED, Settings { redispatch_interval: 0, ..settings }),
            Retry::SameServer { delay_ms: 1000 },
            "without the option the server is kept"
        );
    }

    #[test]
    fn a_server_that_went_down_is_left() {
        assert_eq!(after_failure(Failure { server_not_running: true, ..REFUSED }, SETTINGS), Retry::Redispatch { delay_ms: 0 });
        assert_eq!(
            after_failure(Failure { server_not_running: true, active_servers: 1, ..REFUSED }, SETTINGS),
            Retry::Redispatch { delay_ms: 1000 }
        );
    }

    #[test]
    fn the_pause_is_bounded_by_timeout_connect_and_skipped_after_a_timeout() {
        let quick = Settings { connect_timeout_ms: Some(200), ..SETTINGS };
        assert_eq!(after_failure(REFUSED, quick), Retry::SameServer { delay_ms: 200 });
        assert_eq!(after_failure(Failure { timed_out: true, ..REFUSED }, SETTINGS), Retry::SameServer { delay_ms: 0 });
        assert_eq!(after_failure(REFUSED, Settings { retries: 0, ..SETTINGS }), Retry::GiveUp);
    }

    proptest! {
        #[test]
        fn every_connection_comes_to_an_end(retries in 0_u32..50, redispatch_interval in -60_i32..60, not_running: bool, timed_out: bool, active_servers in 0_u32..4) {
            let settings = Settings { retries, redispatch_interval, ..SETTINGS };
            let failure = |retries_made| Failure { retries_made, timed_out, server_not_running: not_running, active_servers, persistent: false };
            let attempts = (0..).take_while(|&made| after_failure(failure(made), settings) != Retry::GiveUp).count();
            prop_assert_eq!(attempts as u32, retries);
        }
    }
}
