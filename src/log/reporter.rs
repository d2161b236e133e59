//! The control thread's own lines: server states, proxies that start and stop, failed reloads.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmain_model::Level;
use ringmain_policy::log::{Line, LogChannel, LogHandle};

/// Writes lines that belong to no session. Like a shard's, they are dropped and counted when the ring is full.
#[derive(Debug)]
pub struct Reporter {
    handle: LogHandle,
}

impl Reporter {
    /// A reporter over its own ring.
    pub fn new(handle: LogHandle) -> Self {
        Self { handle }
    }

    /// Logs one line, without end of line, to the targets of a channel, now.
    pub fn report(&mut self, channel: &Arc<LogChannel>, level: Level, text: &str) {
        let written_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        self.handle.push(Line { channel, level, written_us, text: text.as_bytes(), structured_data: b"" });
    }
}
