//! The lines that HAProxy writes about servers and proxies, word for word, because operators' alarms match them.

use std::sync::atomic::Ordering;

use ringmain_model::{BackendId, FrontendId, Level, ServerId};

use super::{CheckState, Effect, Fleet, Proxy};

/// The counts at the end of a line about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// It takes no more sessions.
    Down {
        /// Waiters sent to choose again.
        requeued: u32,
    },
    /// It takes sessions, or at least serves its own.
    Up {
        /// Waiters sent to choose again.
        requeued: u32,
    },
}

impl Fleet {
    /// `Server b/s`, `Backup Server b/s`.
    pub(super) fn title(&self, id: ServerId) -> String {
        let server = self.model().server(id);
        let backend = self.model().backend(server.backend);
        let kind = if server.backup { "Backup Server" } else { "Server" };
        format!("{kind} {}/{}", backend.name, server.name)
    }

    /// ` via b/s` for a change that came from the tracked server.
    pub(super) fn cause(&self, id: ServerId, via: Option<ServerId>) -> String {
        let tracked = via.or(self.model().server(id).track);
        let Some(tracked) = tracked.filter(|_| self.model().server(id).track.is_some()) else { return String::new() };
        let server = self.model().server(tracked);
        format!(" via {}/{}", self.model().backend(server.backend).name, server.name)
    }

    /// `, reason: ..., info: "...", check duration: Nms`.
    pub(super) fn reason(check: &CheckState) -> String {
        let mut text = format!(", reason: {}", check.status.description());
        if !check.info.is_empty() {
            text.push_str(&format!(", info: \"{}\"", check.info));
        }
        if let Some(duration) = check.duration_ms {
            text.push_str(&format!(", check duration: {duration}ms"));
        }
        text
    }

    /// A line to the server's backend.
    pub(super) fn say(&mut self, id: ServerId, level: Level, text: String) {
        let proxy = Proxy::Backend(self.model().server(id).backend);
        self.effects.push(Effect::Log { proxy, level, text, console_text: None });
    }

    /// A line that ends with the counts of servers and sessions.
    pub(super) fn say_with_tail(&mut self, id: ServerId, level: Level, mut text: String, tail: Tail) {
        let backend = self.model().server(id).backend;
        let counts = &self.backends[backend.index()];
        let live = self.generation.server(id);
        let queued = live.queue.len();
        text.push_str(&format!(". {} active and {} backup servers ", counts.active_servers, counts.backup_servers));
        text.push_str(match tail {
            Tail::Down { .. } => "left",
            Tail::Up { .. } => "online",
        });
        if counts.active_servers == 0 && counts.backup_servers > 0 {
            text.push_str(". Running on backup");
        }
        text.push_str(&match tail {
            Tail::Down { requeued } => {
                let active = live.active.load(Ordering::Relaxed);
                format!(". {active} sessions active, {requeued} requeued, {queued} remaining in queue.")
            }
            Tail::Up { requeued } => format!(". {requeued} sessions requeued, {queued} total in queue."),
        });
        self.say(id, level, text);
    }

    /// The backend lost its last server.
    pub(super) fn say_no_server(&mut self, id: BackendId) {
        let name = &self.model().backend(id).name;
        let text = format!("backend {name} has no server available!");
        let console_text = Some(format!("backend '{name}' has no server available!"));
        self.effects.push(Effect::Log { proxy: Proxy::Backend(id), level: Level::Emerg, text, console_text });
    }

    /// `Proxy NAME stopped (cumulated conns: FE: N, BE: N).`
    pub fn stopped_text(&self, id: FrontendId) -> String {
        let name = &self.model().frontend(id).name;
        let frontend: u64 = self.generation.frontend(id).counters.iter().map(|shard| shard.sessions.get()).sum();
        let backend: u64 = self
            .find_backend(name)
            .map_or(0, |backend| self.generation.backend(backend).counters.iter().map(|shard| shard.sessions.get()).sum());
        format!("Proxy {name} stopped (cumulated conns: FE: {frontend}, BE: {backend}).")
    }
}
