//! The control thread: start-up, the loop (signals, timers, commands, reports of the shards), reload, stop.
//!
//! It may block for short moments and is never on the data path. It is the single writer of all server state (`fleet`) and of facts about
//! the process (`state`); shards learn of changes through snapshots and mail.

mod checks;
pub mod console;
mod core;
mod daemon;
#[cfg(test)]
mod fixture;
pub mod fleet;
mod keepalive;
pub mod limits;
mod listen;
mod listeners;
pub mod load;
mod memory;
mod notify;
mod outbox;
mod privileges;
pub mod registry;
mod reload;
mod signals;
mod snapshot;
pub mod start;
pub mod state;
pub mod stop;
pub mod tables;
mod timers;
mod variables;

pub use fleet::Fleet;
pub use state::ControlState;
