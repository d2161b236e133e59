//! The data plane: one shard per core, its ring, and the road of a session.
//!
//! The only crate that names glommio and io-uring. The control plane starts shards with `shard::start`, talks to them through
//! `mailbox::Port` and hears from them through `mailbox::ControlPort`; what both see is in `live`.

// An `async fn` keeps its arguments twice, once as given and once as used; sessions are counted in bytes.
#![allow(clippy::manual_async_fn)]

mod action;
mod admission;
mod assign;
mod check;
mod connect;
mod count;
mod drain;
mod exchange;
mod extra;
pub mod forward;
pub mod held;
mod inspect;
mod listen;
pub mod live;
pub mod mailbox;
mod mqtt;
mod pace;
mod prepare;
mod proxy;
mod random;
mod record;
mod response;
pub mod ring;
mod road;
mod route;
mod session;
pub mod shard;
mod signal;
pub mod socket;
pub mod splice;
mod stick;
mod tables;
mod view;
mod watch;
