//! Stick tables: one shard's share of a table, asked and answered by messages.
//!
//! A key belongs to the shard that [`owner`] names; that shard alone holds the entry, in its [`Share`] of the table. Sessions on any shard
//! send a [`Request`] there and get an [`Answer`]. Nothing here does I/O or reads a clock, and no single operation takes long: growing,
//! expiring, taking up a new layout and dumping all go in bounded steps.
//!
//! What a table does, as HAProxy 2.6 does it (`tests/haproxy_tables.rs` compares):
//! - An entry lives `expire` after its last use. `stick` rules, tracking, counting by rules and `set table` are uses; reading is not.
//! - When the table is full the entry longest unused makes room, unless a session tracks it. HAProxy drops a 256th of the table at once;
//!   here one entry goes at a time. With `nopurge` new keys are refused instead.
//! - An entry that a session tracks is never removed, neither by time nor by room nor by command.

mod apply;
mod cells;
mod frequency;
mod index;
mod key;
mod layout;
mod message;
mod name;
mod order;
mod rows;
mod share;
mod stick;
mod store;

pub use key::{INLINE_BYTES, Key, owner};
pub use message::{
    Answer, CONDITIONS_MAX, Cell, Condition, Event, Filter, Handle, Operator, Page, Request, Row, StickServer, Target, Value,
};
pub use share::Share;
