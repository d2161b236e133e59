//! Statistics: the counters of all shards and the control thread's view of servers, merged into rows with HAProxy's columns.
//!
//! Called by the runtime socket's commands, on the control thread, on demand; nothing here runs on its own or changes what it reads, except
//! `clear`. One table of columns (`column`) and one of process facts (`info`) are read by every output format.

pub mod averages;
pub mod clear;
pub mod collect;
pub mod column;
pub mod format;
pub mod info;
mod row;
mod status;

pub use averages::Averages;
pub use collect::{Collector, Selection};
pub use column::Column;
pub use info::{InfoField, RuntimeTotals};
pub use row::{ObjectKind, Row, Value};
