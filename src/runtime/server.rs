//! The runtime sockets and their connections, driven by the control loop's poll.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};

use nix::poll::PollFlags;
use ringmain_model::{Global, StatsLevel, StatsSocket};
use socket2::Socket;

use super::client::{Client, Fate};
use super::listener::{Listener, describe};
use super::{BindError, ControlContext, Surroundings};
use crate::stats::RuntimeTotals;

/// How long accepting rests after it failed for want of descriptors or memory, ms.
const ACCEPT_REST_MS: u64 = 1000;

/// A descriptor and what to poll it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The descriptor; open until the next call that changes the server.
    pub descriptor: RawFd,
    /// The events. Hang-ups and errors are reported in any case.
    pub events: PollFlags,
}

/// The listeners of a new configuration, opened but not in use.
#[derive(Debug)]
pub struct Prepared {
    listeners: Vec<Listener>,
    kept: Vec<StatsSocket>,
    timeout_ms: u64,
    maxconn: usize,
}

/// All runtime sockets and connections of the process.
pub struct RuntimeServer {
    listeners: Vec<Listener>,
    sockets: Vec<(String, StatsLevel)>,
    clients: HashMap<RawFd, Client>,
    maxconn: usize,
    timeout_ms: u64,
    accept_after_ms: Option<u64>,
    totals: RuntimeTotals,
}

impl RuntimeServer {
    /// Opens the `stats socket`s of a configuration.
    ///
    /// # Errors
    /// The first socket that cannot be opened, with the system's reason.
    pub fn bind(global: &Global) -> Result<Self, BindError> {
        let mut server = Self {
            listeners: Vec::new(),
            sockets: Vec::new(),
            clients: HashMap::new(),
            maxconn: 0,
            timeout_ms: 0,
            accept_after_ms: None,
            totals: RuntimeTotals::default(),
        };
        let prepared = server.prepare(global)?;
        server.adopt(prepared);
        Ok(server)
    }

    /// Opens the sockets that a new configuration adds; nothing changes yet, and dropping the result takes them back.
    ///
    /// # Errors
    /// The first socket that cannot be opened, with the system's reason.
    pub fn prepare(&self, global: &Global) -> Result<Prepared, BindError> {
        let (kept, added): (Vec<_>, Vec<_>) =
            global.stats_sockets.iter().partition(|wanted| self.listeners.iter().any(|open| open.settings() == *wanted));
        let listeners = added.into_iter().map(Listener::bind).collect::<Result<Vec<_>, _>>()?;
        Ok(Prepared {
            listeners,
            kept: kept.into_iter().cloned().collect(),
            timeout_ms: global.stats_timeout.get(),
            maxconn: global.stats_maxconn as usize,
        })
    }

    /// Takes the sockets of a new configuration into use and closes those that it no longer has. Connections stay.
    pub fn adopt(&mut self, prepared: Prepared) {
        self.listeners.retain(|open| prepared.kept.contains(open.settings()));
        self.listeners.extend(prepared.listeners);
        self.maxconn = prepared.maxconn;
        self.timeout_ms = prepared.timeout_ms;
        let listeners = self.listeners.iter();
        self.sockets = listeners.map(|open| (describe(&open.settings().endpoint), open.level())).collect();
        self.totals.sockets = self.listeners.len() as u32;
    }

    /// Closes the listening sockets (soft stop). Connections stay.
    pub fn stop_listening(&mut self) {
        self.listeners.clear();
        self.sockets.clear();
        self.totals.sockets = 0;
    }

    /// The listening sockets.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// How many connections are open.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Appends what to poll. Listeners are left out while all places are taken.
    pub fn interests(&self, into: &mut Vec<Interest>) {
        if self.clients.len() < self.maxconn && self.accept_after_ms.is_none() {
            let listeners = self.listeners.iter();
            into.extend(listeners.map(|open| Interest { descriptor: open.descriptor(), events: PollFlags::POLLIN }));
        }
        into.extend(self.clients.iter().map(|(&descriptor, client)| Interest { descriptor, events: client.interest() }));
    }

    /// A descriptor of ours is ready; others are ignored.
    pub fn ready(&mut self, descriptor: RawFd, events: PollFlags, context: &mut ControlContext<'_>) {
        if let Some(client) = self.clients.get_mut(&descriptor) {
            let mut surroundings = Surroundings { sockets: &self.sockets, totals: self.totals };
            let fate = client.ready(events, &mut surroundings, context);
            self.totals = surroundings.totals;
            if fate == Fate::Close {
                self.clients.remove(&descriptor);
                self.totals.open = self.clients.len() as u32;
            }
        } else if let Some(place) = self.listeners.iter().position(|open| open.descriptor() == descriptor) {
            self.accept(place, context);
        }
    }

    /// Tells those who gave a `reload` command how it ended; the text may have several lines.
    pub fn reload_finished(&mut self, text: &str, context: &mut ControlContext<'_>) {
        // An empty line ends an answer, so there must be none inside.
        let text: String = text.lines().filter(|line| !line.trim().is_empty()).map(|line| format!("{line}\n")).collect();
        let waiting = self.clients.iter().filter(|(_, client)| client.awaits_reload());
        let waiting: Vec<RawFd> = waiting.map(|(&descriptor, _)| descriptor).collect();
        for descriptor in waiting {
            let Some(client) = self.clients.get_mut(&descriptor) else { continue };
            let mut surroundings = Surroundings { sockets: &self.sockets, totals: self.totals };
            let fate = client.reload_finished(&text, &mut surroundings, context);
            self.totals = surroundings.totals;
            if fate == Fate::Close {
                self.clients.remove(&descriptor);
                self.totals.open = self.clients.len() as u32;
            }
        }
    }

    /// When `expire` has something to do, monotonic ms.
    pub fn next_deadline(&self) -> Option<u64> {
        self.clients.values().filter_map(Client::deadline_ms).chain(self.accept_after_ms).min()
    }

    /// Closes connections that were silent for too long and ends a rest from accepting.
    pub fn expire(&mut self, now_ms: u64) {
        self.clients.retain(|_, client| client.deadline_ms().is_none_or(|deadline_ms| deadline_ms > now_ms));
        self.totals.open = self.clients.len() as u32;
        if self.accept_after_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            self.accept_after_ms = None;
        }
    }

    fn accept(&mut self, place: usize, context: &mut ControlContext<'_>) {
        while self.clients.len() < self.maxconn {
            let Some(listener) = self.listeners.get(place) else { return };
            match listener.accept() {
                Ok(socket) => {
                    let level = listener.level();
                    self.welcome(socket, level, context);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        self.accept_after_ms = Some(context.fleet.now_ms() + ACCEPT_REST_MS);
                        return;
                    }
                    Some(libc::ECONNABORTED | libc::EINTR) => {}
                    _ => return,
                },
            }
        }
    }

    /// Takes a connection; a command that came with it is run at once.
    fn welcome(&mut self, socket: Socket, level: StatsLevel, context: &mut ControlContext<'_>) {
        let descriptor = socket.as_raw_fd();
        let mut client = Client::new(socket, level, self.timeout_ms, context.fleet.now_ms());
        self.totals.connections += 1;
        self.totals.open = self.clients.len() as u32 + 1;
        let mut surroundings = Surroundings { sockets: &self.sockets, totals: self.totals };
        let fate = client.ready(PollFlags::POLLIN, &mut surroundings, context);
        self.totals = surroundings.totals;
        if fate == Fate::Keep {
            self.clients.insert(descriptor, client);
        }
        self.totals.open = self.clients.len() as u32;
    }
}
