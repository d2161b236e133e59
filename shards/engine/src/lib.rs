//! The data plane: one shard per core, its ring, and the road of a session.
//!
//! The only crate that names glommio and io-uring. The control plane starts shards with `shard::start`, talks to them through
//! `mailbox::Port` and hears from them through `mailbox::ControlPort`; what both see is in `live`.
pub mod forward;
pub mod ring;
pub mod splice;
