//! The health of servers: checks, administration, tracking, slow start, and what is logged about them.
//!
//! [`Fleet`] is the whole of it: one state machine over all servers of a model. The control thread owns it, feeds it with outcomes of checks,
//! observed errors and operators' commands, and carries out the [`Effect`]s it answers with. It opens no socket, reads no clock and writes no
//! log itself. Behaviour, texts and levels are HAProxy's (manual sections 5.2 `check` to `track` and 9.3 `set server`), compared with the real
//! one in `tests/haproxy_health.rs`.

mod admin;
mod check;
mod command;
mod fleet;
mod message;
mod slowstart;
mod status;
mod transition;

use ringmain_model::Level;

pub use admin::Admin;
pub use check::{CheckOutcome, CheckState, CheckStatus, first_delay_ms};
pub use command::{AdminState, ForcedHealth};
pub use fleet::{Fleet, ServerHealth};
pub use slowstart::{throttle, throttle_percent};
pub use status::CheckReport;

/// Whether a server serves, apart from what operators want of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operation {
    /// Down.
    Stopped,
    /// Up, in slow start.
    Starting,
    /// Up.
    #[default]
    Running,
    /// Up for those who have it already (NOLB): no new sessions by balancing.
    Stopping,
}

/// What the caller has to do after an event, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The servers in use or their weights changed: build and publish a new picker for the backend at this index.
    Publish {
        /// Index of the backend in the model.
        backend: usize,
    },
    /// Write a log line to the log targets of the backend at this index.
    Log {
        /// Index of the backend in the model.
        backend: usize,
        /// Its level.
        level: Level,
        /// Its text, without an end of line.
        text: String,
    },
    /// Send the sessions that wait in this server's queue to choose again.
    Requeue {
        /// Index of the server in the model.
        server: usize,
    },
    /// Close the sessions of this server (`on-marked-down shutdown-sessions`).
    ShutdownSessions {
        /// Index of the server in the model.
        server: usize,
    },
    /// Close the sessions of the backup servers of this backend (`on-marked-up shutdown-backup-sessions`).
    ShutdownBackupSessions {
        /// Index of the backend in the model.
        backend: usize,
    },
}

/// Numbers of sessions that the log lines mention. The engine counts them; indexes are those of the model.
pub trait Sessions {
    /// Sessions that a server serves now.
    fn active(&self, server: usize) -> u32;
    /// Sessions that wait for this very server.
    fn queued(&self, server: usize) -> u32;
    /// Sessions that wait for any server of a backend.
    fn backend_queued(&self, backend: usize) -> u32;
}

#[cfg(test)]
mod tests;
