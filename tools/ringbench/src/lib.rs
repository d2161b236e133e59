//! Latency benchmark and embedded servers for proxies.
//!
//! The binary `ringbench` is a thin shell over this library: `server` (what a proxy forwards to), `load` (what drives it), `report`
//! (what is printed and stored), `demo` and `versus` (whole runs). End-to-end tests use the same parts. Nothing here is on a proxy's
//! data path; blocking threads and plain epoll keep its own cost small and visible.

pub mod cli;
pub mod cpu;
pub mod demo;
pub mod hdr;
pub mod load;
pub mod mqtt;
pub mod output;
pub mod pattern;
pub mod poller;
pub mod progress;
pub mod protocol;
pub mod proxy;
pub mod report;
pub mod server;
pub mod tls;
pub mod transport;
pub mod units;
pub mod versus;
