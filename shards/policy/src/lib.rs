//! Pure decisions of the data plane: which server, how healthy, wait or retry, how fast.
//!
//! Called by the engine's shards and by the control thread. Nothing here does I/O, reads a clock or draws a random number: time
//! (milliseconds of a monotonic clock) and randomness are arguments, so that everything can be simulated with seeds.

pub mod balance;
pub mod expression;
pub mod health;
pub mod log;
pub mod pattern;
pub mod queue;
pub mod rate;
pub mod record;
pub mod retry;
pub mod rule;
pub mod table;
