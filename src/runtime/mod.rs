//! The runtime socket: HAProxy's command line over unix and TCP sockets (management guide section 9.3).
//!
//! The control loop owns a `RuntimeServer`, polls its descriptors, and lends it the state of the process (`ControlContext`) when one is
//! ready. Nothing here blocks, starts a thread or holds a lock; long answers are made piece by piece as their reader drains them.

mod client;
pub mod commands;
mod context;
pub mod line;
pub mod listener;
mod registry;
mod reply;
mod server;

pub use context::ControlContext;
pub use listener::{BindError, Listener};
pub use registry::{COMMANDS, Call, Command, Session, Surroundings, execute};
pub use reply::{Producer, Progress, Reply};
pub use server::{Interest, Prepared, RuntimeServer};
