//! Ports for listeners that a configuration file must name: free ones, outside the range from which the kernel takes ports for outgoing
//! connections, and never the same twice in a process.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// A free port on 127.0.0.1.
pub fn free() -> u16 {
    let offset = std::process::id().wrapping_mul(7919) % COUNT;
    for _ in 0..COUNT {
        let port = FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind(("0.0.0.0", port as u16)).is_ok() {
            return port as u16;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}
