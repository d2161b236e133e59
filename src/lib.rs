//! Ringmain's control plane: configuration, control loop, runtime socket, logs. May block; never on the data path.

pub mod cli;
pub mod config;
pub mod control;
pub mod log;
pub mod runtime;
pub mod stats;
