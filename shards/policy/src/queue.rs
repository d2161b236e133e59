//! When a session must wait for a slot, where it waits, and who is served first. Pure decisions over numbers that the engine keeps; called
//! by shards at every assignment once a `maxconn` is set.

/// How many sessions a server may have now (HAProxy manual, `minconn`, `maxconn`, `fullconn`): between `minconn` and `maxconn` in
/// proportion to the backend's load, `maxconn` once the backend has `fullconn` sessions. 0 is no limit.
pub fn dynamic_limit(minconn: u32, maxconn: u32, fullconn: u32, backend_sessions: u32) -> u32 {
    if maxconn == 0 || minconn >= maxconn || backend_sessions >= fullconn {
        return maxconn;
    }
    // fullconn is above backend_sessions here, hence not 0, and the quotient is below maxconn.
    let share = u64::from(backend_sessions) * u64::from(maxconn) / u64::from(fullconn);
    minconn.max(share as u32)
}

/// The limit of a server in slow start: `percent` of it (see [`crate::health::ServerHealth::slowstart_percent`]), at least 1. 0 stays without
/// limit, and 100 percent changes nothing.
pub fn throttled_limit(limit: u32, percent: u32) -> u32 {
    if limit == 0 || percent >= 100 {
        return limit;
    }
    ((u64::from(limit) * u64::from(percent) / 100) as u32).max(1)
}

/// What a session does with the server that was chosen for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Take a slot and connect.
    Connect,
    /// Wait for this very server.
    WaitForServer,
    /// The server's own queue is full (`maxqueue`): choose another server if the session may leave this one, else refuse it.
    QueueFull,
}

/// Decides for a session whose server was chosen by hash, persistence or balancing. `limit` is the dynamic limit (0 is none), `active` and
/// `queued` what the server has, `maxqueue` its bound (0 is none).
pub fn admit(limit: u32, active: u32, queued: u32, maxqueue: u32) -> Admission {
    if limit == 0 || (queued == 0 && active < limit) {
        Admission::Connect
    } else if maxqueue > 0 && queued >= maxqueue {
        Admission::QueueFull
    } else {
        Admission::WaitForServer
    }
}

/// Whether a new session must go to the end of the backend's queue without looking for a server: with methods that pass over full servers
/// somebody waiting means that all are full, and a newcomer must not overtake. `sessions_served` are the backend's sessions that have a
/// server; with none of them nobody would ever wake the queue, so the newcomer goes ahead.
pub fn joins_backend_queue(balance: ringmain_model::Balance, backend_queued: u32, sessions_served: u32) -> bool {
    use ringmain_model::Balance;
    let passes_over_full = matches!(balance, Balance::RoundRobin | Balance::StaticRoundRobin | Balance::First);
    passes_over_full && backend_queued > 0 && sessions_served > 0
}

/// Where the next session for a freed slot comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueChoice {
    /// The server's own queue.
    Server,
    /// The backend's queue.
    Backend,
}

/// Which queue is served first when a server has a free slot: the one whose first session has waited longer, the server's own when both
/// came together. `server_first` and `backend_first` are the arrival orders of the heads, `None` when empty. The backend's queue counts only
/// if the server is `usable`: one that drains or is in maintenance finishes its own queue and takes no more.
pub fn next_queue(server_first: Option<u64>, backend_first: Option<u64>, usable: bool) -> Option<QueueChoice> {
    match (server_first, backend_first.filter(|_| usable)) {
        (None, None) => None,
        (Some(_), None) => Some(QueueChoice::Server),
        (None, Some(_)) => Some(QueueChoice::Backend),
        (Some(own), Some(common)) => Some(if own <= common { QueueChoice::Server } else { QueueChoice::Backend }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use ringmain_model::Balance;

    use super::*;

    #[test]
    fn limit_follows_the_manuals_example() {
        // HAProxy manual, `fullconn`: minconn 100, maxconn 1000, fullconn 10000.
        assert_eq!(dynamic_limit(100, 1000, 10_000, 10), 100);
        assert_eq!(dynamic_limit(100, 1000, 10_000, 1000), 100);
        assert_eq!(dynamic_limit(100, 1000, 10_000, 5000), 500);
        assert_eq!(dynamic_limit(100, 1000, 10_000, 10_000), 1000);
        assert_eq!(dynamic_limit(100, 100, 0, 3), 100);
        assert_eq!(dynamic_limit(5, 0, 10, 3), 0);
        assert_eq!(dynamic_limit(1, u32::MAX, u32::MAX, u32::MAX - 1), u32::MAX - 1);
    }

    #[test]
    fn slow_start_throttles_the_limit() {
        assert_eq!(throttled_limit(100, 0), 1);
        assert_eq!(throttled_limit(30, 50), 15);
        assert_eq!(throttled_limit(100, 100), 100);
        assert_eq!(throttled_limit(0, 1), 0);
    }

    #[test]
    fn admission_at_the_borders() {
        assert_eq!(admit(0, 1000, 0, 0), Admission::Connect);
        assert_eq!(admit(2, 1, 0, 0), Admission::Connect);
        assert_eq!(admit(2, 1, 1, 0), Admission::WaitForServer);
        assert_eq!(admit(2, 2, 0, 1), Admission::WaitForServer);
        assert_eq!(admit(2, 2, 1, 1), Admission::QueueFull);
    }

    #[test]
    fn newcomers_do_not_overtake() {
        assert!(joins_backend_queue(Balance::RoundRobin, 1, 4));
        assert!(!joins_backend_queue(Balance::RoundRobin, 1, 0));
        assert!(!joins_backend_queue(Balance::RoundRobin, 0, 4));
        assert!(!joins_backend_queue(Balance::LeastConnections, 1, 4));
    }

    #[test]
    fn oldest_first_and_own_queue_on_ties() {
        assert_eq!(next_queue(Some(3), Some(2), true), Some(QueueChoice::Backend));
        assert_eq!(next_queue(Some(3), Some(3), true), Some(QueueChoice::Server));
        assert_eq!(next_queue(None, Some(2), false), None);
        assert_eq!(next_queue(Some(9), Some(2), false), Some(QueueChoice::Server));
    }

    proptest! {
        #[test]
        fn the_limit_grows_with_load_between_its_bounds(minconn in 1_u32..1000, more in 0_u32..1000, fullconn in 1_u32..5000, load in 0_u32..6000) {
            let maxconn = minconn + more;
            let limit = dynamic_limit(minconn, maxconn, fullconn, load);
            prop_assert!((minconn..=maxconn).contains(&limit));
            prop_assert!(dynamic_limit(minconn, maxconn, fullconn, load + 1) >= limit);
        }

        /// One server and its two queues under random arrivals and departures: the limit holds, nobody is lost, and sessions start in order
        /// of arrival.
        #[test]
        fn sessions_start_in_order_of_arrival(events in prop::collection::vec(0_u8..4, 1..200), limit in 1_u32..5, maxqueue in 0_u32..4) {
            let (mut own, mut common) = (VecDeque::new(), VecDeque::new());
            let (mut active, mut started, mut refused) = (0_u32, Vec::new(), 0);
            for (arrival, event) in (0_u64..).zip(&events) {
                match event {
                    0 | 1 => match admit(limit, active, own.len() as u32 + common.len() as u32, maxqueue) {
                        Admission::Connect => { active += 1; started.push(arrival); }
                        Admission::WaitForServer if *event == 0 => own.push_back(arrival),
                        Admission::WaitForServer => common.push_back(arrival),
                        Admission::QueueFull => refused += 1,
                    },
                    _ => active = active.saturating_sub(1),
                }
                while active < limit {
                    let next = match next_queue(own.front().copied(), common.front().copied(), true) {
                        Some(QueueChoice::Server) => own.pop_front(),
                        Some(QueueChoice::Backend) => common.pop_front(),
                        None => break,
                    };
                    active += 1;
                    started.extend(next);
                }
                prop_assert!(active <= limit);
                prop_assert!(maxqueue == 0 || (own.len() + common.len()) as u32 <= maxqueue);
            }
            prop_assert!(started.is_sorted());
            let arrivals = events.iter().filter(|event| **event < 2).count();
            prop_assert_eq!(started.len() + own.len() + common.len() + refused, arrivals);
        }
    }
}
