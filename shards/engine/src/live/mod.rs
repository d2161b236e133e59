//! What outlives a reload: listeners' gates, sessions counts, queues, health as the shards see it, counters.
//!
//! The control thread creates these objects by identity (frontend name, `backend/server`, bind address) and reuses them from generation to
//! generation; shards reach them through the `Generation` they pinned. Single-writer rules are said at each field. Nothing here does I/O.

mod backend;
mod counter;
mod frontend;
mod gate;
mod generation;
mod mqtt;
mod process;
mod queue;
mod server;
mod service;
mod table;

#[cfg(test)]
mod tests;

pub use backend::{BackendLive, Snapshot, SnapshotServer};
pub use counter::{Counter, Maximum};
pub use frontend::{BindLive, FrontendCounters, FrontendLive};
pub use gate::{Gate, NOBODY};
pub use generation::Generation;
pub(crate) use mqtt::histogram as mqtt_histogram;
pub use mqtt::{LONGEST_US as MQTT_LONGEST_US, MqttCounters, MqttLive};
pub use process::{ProcessCounters, ProcessLive};
pub use queue::{Grant, Queue, Waiter};
pub use server::{Destination, ServerLive, Slot};
pub use service::ServiceCounters;
pub use table::{ProcessVariable, TableLive};
