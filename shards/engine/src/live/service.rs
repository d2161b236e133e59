//! Counters of those who serve sessions: servers and backends.

use super::Counter;

/// What one shard counted for one server or for one backend. A backend counts for itself: its servers may come and go.
#[derive(Debug, Default)]
pub struct ServiceCounters {
    /// Sessions assigned (`stot`).
    pub sessions: Counter,
    /// Times balancing chose a server (`lbtot`).
    pub selected: Counter,
    /// Bytes from clients (`bin`).
    pub bytes_in: Counter,
    /// Bytes to clients (`bout`).
    pub bytes_out: Counter,
    /// Requests denied by rules (`dreq`).
    pub denied_requests: Counter,
    /// Responses denied by rules (`dresp`).
    pub denied_responses: Counter,
    /// Failed connections (`econ`).
    pub connect_errors: Counter,
    /// Broken responses (`eresp`).
    pub response_errors: Counter,
    /// Retries (`wretr`).
    pub retries: Counter,
    /// Redispatches away (`wredis`).
    pub redispatches: Counter,
    /// Sessions aborted by the client (`cli_abrt`).
    pub client_aborts: Counter,
    /// Sessions aborted by the server (`srv_abrt`).
    pub server_aborts: Counter,
    /// Sessions that waited for their moment under `maxconnrate`.
    pub rate_delayed: Counter,
    /// Sessions that got no moment in time under `maxconnrate`.
    pub rate_refused: Counter,
    /// Connection attempts (`connect`).
    pub connects: Counter,
    /// Sum of times in milliseconds and their count, for the averages of the last 1024 (`qtime ctime ttime`).
    pub queue_time_ms: Counter,
    /// See `queue_time_ms`.
    pub connect_time_ms: Counter,
    /// See `queue_time_ms`.
    pub total_time_ms: Counter,
    /// Longest queue time, ms; a maximum, raised with `Counter::raise`.
    pub queue_time_max_ms: Counter,
    /// Longest connect time, ms; a maximum.
    pub connect_time_max_ms: Counter,
    /// Longest total time, ms; a maximum.
    pub total_time_max_ms: Counter,
    /// When this shard's last session was assigned, monotonic ms (`lastsess`); 0 is never.
    pub last_session_ms: Counter,
}

impl ServiceCounters {
    /// All that only ever grow, for `clear counters all`.
    pub fn totals(&self) -> [&Counter; 18] {
        [
            &self.sessions,
            &self.selected,
            &self.bytes_in,
            &self.bytes_out,
            &self.denied_requests,
            &self.denied_responses,
            &self.connect_errors,
            &self.response_errors,
            &self.retries,
            &self.redispatches,
            &self.client_aborts,
            &self.server_aborts,
            &self.rate_delayed,
            &self.rate_refused,
            &self.connects,
            &self.queue_time_ms,
            &self.connect_time_ms,
            &self.total_time_ms,
        ]
    }

    /// The longest times: queue, connect, total.
    pub fn maxima(&self) -> [&Counter; 3] {
        [&self.queue_time_max_ms, &self.connect_time_max_ms, &self.total_time_max_ms]
    }

    /// Adds the times of a session: queue, connect, total.
    pub(crate) fn add_times(&self, times_ms: [u64; 3]) {
        let sums = [&self.queue_time_ms, &self.connect_time_ms, &self.total_time_ms];
        for ((milliseconds, sum), longest) in times_ms.into_iter().zip(sums).zip(self.maxima()) {
            sum.add(milliseconds);
            longest.raise(milliseconds);
        }
    }
}
