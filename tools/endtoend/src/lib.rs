//! End-to-end tests: the real binary against real peers, and HAProxy beside it with the same file.
//!
//! `proxy` starts Ringmain or HAProxy, `peer` is the servers behind them, `crowd` the clients in front, `logs` collects their lines, `wait` waits for conditions. The
//! tests themselves are in `tests/`. Traffic stays on loopback; processes are ended by pid.

pub mod client;
pub mod crowd;
pub mod logs;
pub mod mqtt;
pub mod peer;
pub mod port;
pub mod process;
pub mod proxy;
pub mod wait;
