//! Which listening addresses are open, and what shards are told about them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use ringmain_engine::live::Generation;
use ringmain_engine::mailbox::{ListenerMail, Mail, Publication};
use ringmain_model::{Endpoint, FrontendId, Model};

use super::core::Core;
use super::fleet::{Fleet, FrontendService};
use super::listen::KeyedSockets;
use super::registry::Listener;

/// The listening addresses of the current generation, and those of them that shards hold open.
#[derive(Debug, Default)]
pub struct Listeners {
    all: Vec<Listener>,
    open: HashMap<u64, Endpoint>,
}

impl Listeners {
    /// Listeners that these ones would add: of frontends that are not disabled, and not open yet.
    pub fn missing<'a>(&self, model: &Model, wanted: &'a [Listener]) -> Vec<&'a Listener> {
        let enabled = |listener: &&Listener| !model.frontend(listener.frontend).disabled;
        wanted.iter().filter(enabled).filter(|listener| !self.open.contains_key(&listener.key)).collect()
    }

    /// What the new configuration says differently of listeners that stay open, one sentence each: their sockets are not touched.
    pub fn changed(&self, old: &Model, new: &Model, wanted: &[Listener]) -> Vec<String> {
        let bind_of = |model: &Model, listener: &Listener| model.frontend(listener.frontend).binds.get(listener.bind.index()).cloned();
        let differs = |listener: &Listener| {
            let before = self.all.iter().find(|other| other.key == listener.key && self.open.contains_key(&other.key))?;
            let (before, now) = (bind_of(old, before)?, bind_of(new, listener)?);
            let changed = before.backlog != now.backlog || before.permissions != now.permissions;
            changed.then(|| format!("backlog or permissions of [{}] changed, which takes effect after a restart", now.location))
        };
        wanted.iter().filter_map(differs).collect()
    }

    /// TCP addresses where this process listens.
    pub fn held(&self) -> Vec<SocketAddr> {
        let address = |endpoint: &Endpoint| if let Endpoint::Inet(address) = endpoint { Some(*address) } else { None };
        self.open.values().filter_map(address).collect()
    }

    /// Takes over the listeners of a new generation.
    pub fn replace(&mut self, all: Vec<Listener>) {
        self.all = all;
    }

    /// What shards are to be told: all listeners of frontends that are not stopped, with the sockets that are new.
    pub fn publication(&mut self, fleet: &Fleet, mut opened: KeyedSockets, shards: usize) -> Arc<Publication> {
        let generation: &Arc<Generation> = fleet.generation();
        let mut mails: Vec<Vec<ListenerMail>> = (0..shards).map(|_| Vec::new()).collect();
        let mut open = HashMap::new();
        for listener in &self.all {
            if fleet.frontend(listener.frontend).service == FrontendService::Stopped {
                continue;
            }
            let place = opened.iter().position(|(key, _)| *key == listener.key);
            let mut sockets: Vec<Option<OwnedFd>> = match place {
                Some(place) => opened.swap_remove(place).1.into_iter().map(Some).collect(),
                None if self.open.contains_key(&listener.key) => Vec::new(),
                None => continue,
            };
            sockets.resize_with(shards, || None);
            for (mail, socket) in mails.iter_mut().zip(sockets) {
                let (frontend, bind, key) = (listener.frontend, listener.bind, listener.key);
                mail.push(ListenerMail { frontend, bind, key, socket });
            }
            let bind = &generation.model.frontend(listener.frontend).binds[listener.bind.index()];
            open.insert(listener.key, bind.endpoint.clone());
        }
        self.open = open;
        let listeners = mails.into_iter().map(Mutex::new).collect();
        Arc::new(Publication { generation: generation.clone(), listeners })
    }

    /// Keys of the open listeners of a frontend.
    fn keys_of(&self, id: FrontendId) -> Vec<u64> {
        let of_frontend = self.all.iter().filter(|listener| listener.frontend == id).map(|listener| listener.key);
        of_frontend.filter(|key| self.open.contains_key(key)).collect()
    }
}

impl Core {
    /// Tells shards what a frontend's state means for its listeners.
    pub(super) fn apply_service(&mut self, id: FrontendId) {
        let accepting = match self.fleet.frontend(id).service {
            FrontendService::Open => true,
            FrontendService::Paused => false,
            FrontendService::Stopped => return self.publish(Vec::new()),
        };
        for key in self.listeners.keys_of(id) {
            self.outbox.broadcast(|| Mail::SetAccepting(key, accepting));
        }
    }

    /// Sends the current generation and its listeners to all shards.
    pub(super) fn publish(&mut self, opened: KeyedSockets) {
        let publication = self.listeners.publication(&self.fleet, opened, self.outbox.shards());
        self.outbox.broadcast(|| Mail::Publish(publication.clone()));
    }
}
