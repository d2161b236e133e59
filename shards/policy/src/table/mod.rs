//! Stick tables: one shard's share of a table, asked and answered by messages.
//!
//! A key belongs to the shard that [`owner`] names; that shard alone holds the entry, in its [`Share`] of the table. Sessions on any shard
//! send a [`Request`] there and get an [`Answer`]. Nothing here does I/O or reads a clock, and no single operation takes long: growing,
//! expiring, taking up a new layout and dumping all go in bounded steps.
//!
//! What a table does, as HAProxy 2.6 does it (`tests/haproxy_tables.rs` compares):
//! - An entry lives `expire` after its last use. `stick` rules, tracking, counting by rules and `set table` are uses, and the end of a
//!   tracked connection is one if `conn_cur` or its bytes are stored. Reading is not (`in_table`, `table_*`, `sc_*`, `show table`).
//! - Tracking counts the connection at every level. `sess_cnt` and `sess_rate` count entries tracked by `tcp-request connection` and
//!   `session` rules, when the session begins, and not those tracked by `content` rules. Bytes are counted when the connection ends.
//! - When the table is full the entry longest unused makes room, unless a session tracks it. HAProxy drops a 256th of the table and one
//!   more at once; here one entry goes at a time. With `nopurge` new keys are refused instead.
//! - An entry that a session tracks is never removed, neither by time nor by room nor by command; one whose time has passed meanwhile goes
//!   when the last session lets it go.
//! - A rate's period begins with its first event; a lone event counts as one until its period and the next are over.
//! - String keys keep `len` bytes, 31 without `len`, and end at the first zero byte; binary keys are cut or filled to `len`, 32 without;
//!   numbers keep their low 32 bits; `ip` takes `::ffff:a.b.c.d` but no other IPv6 address. An empty string is a key like any other.
//! - Counters stop at their largest value; HAProxy's start over at 0.

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
pub mod snapshot;
mod stick;
mod store;

pub use key::{INLINE_BYTES, Key, owner};
pub use message::{
    Answer, CONDITIONS_MAX, Cell, Condition, Event, Filter, Handle, Operator, Page, Request, Row, StickServer, Target, Value,
};
pub use share::Share;

#[cfg(test)]
mod tests;
