//! Stickiness: which server a key sticks to, and who wins when two sessions ask at once.

use std::sync::Arc;

use ringmain_model::table::DataType;

use super::message::{Answer, StickServer};
use super::share::Share;
use super::store::word;

impl Share {
    /// The server of a key; the use refreshes the entry.
    pub(super) fn match_server(&mut self, key: &[u8]) -> Option<StickServer> {
        let slot = self.find(key)?;
        self.touch(slot);
        let server = self.server(slot)?;
        self.settle_claim(slot);
        Some(server)
    }

    /// Gives the key a server unless another session was faster.
    pub(super) fn claim(&mut self, key: &[u8], expected: Option<&StickServer>, server: &StickServer) -> Answer {
        let Some((slot, created)) = self.obtain(key) else { return Answer::Refused };
        if let Some(stored) = self.server(slot).filter(|stored| !expected.is_some_and(|expected| same(stored, expected))) {
            self.settle_claim(slot);
            return Answer::Claimed { server: stored, won: false };
        }
        self.write_server(slot, server);
        let flags = &mut self.store.header_mut(slot)[word::FLAGS];
        *flags |= word::CLAIMED | if created { word::CREATED } else { 0 };
        Answer::Claimed { server: server.clone(), won: true }
    }

    /// Gives the key a server whatever was there.
    pub(super) fn store_server(&mut self, key: &[u8], server: &StickServer) -> Answer {
        let Some((slot, _)) = self.obtain(key) else { return Answer::Refused };
        self.write_server(slot, server);
        self.settle_claim(slot);
        Answer::Done(true)
    }

    /// Takes a claim back that nobody but the claimer has used.
    pub(super) fn withdraw(&mut self, key: &[u8], server: &StickServer) -> bool {
        let Some(slot) = self.find(key) else { return false };
        let flags = self.store.header(slot)[word::FLAGS];
        let claimed = flags & word::CLAIMED != 0 && self.server(slot).is_some_and(|stored| same(&stored, server));
        if !claimed {
            return false;
        }
        if flags & word::CREATED != 0 && self.references(slot) == 0 {
            self.remove(slot);
        } else {
            self.settle_claim(slot);
            self.write(slot, DataType::ServerId, 0, 0);
            self.write_name(slot, &self.nameless.clone());
        }
        true
    }

    /// Somebody relies on the entry: its claim cannot be taken back any more.
    pub(super) fn settle_claim(&mut self, slot: u32) {
        self.store.header_mut(slot)[word::FLAGS] &= !(word::CLAIMED | word::CREATED);
    }

    /// Somebody else's values are in the entry now: taking the claim back must not remove it.
    pub(super) fn outlive_claim(&mut self, slot: u32) {
        self.store.header_mut(slot)[word::FLAGS] &= !word::CREATED;
    }

    fn server(&mut self, slot: u32) -> Option<StickServer> {
        let id = self.read(slot, DataType::ServerId, 0).unwrap_or(0) as u32;
        let name = self.name(slot);
        (id != 0 || name.is_some()).then(|| StickServer { id, name: name.unwrap_or_else(|| self.nameless.clone()) })
    }

    fn write_server(&mut self, slot: u32, server: &StickServer) {
        self.write(slot, DataType::ServerId, 0, u64::from(server.id));
        self.write_name(slot, &server.name);
    }

    pub(super) fn name(&mut self, slot: u32) -> Option<Arc<str>> {
        let place = self.store.layout().place(DataType::ServerKey)?.words(0)?;
        let number = self.store.record(slot)[place.start];
        self.store.names.get(number).cloned()
    }

    pub(super) fn write_name(&mut self, slot: u32, name: &Arc<str>) -> bool {
        let Some(place) = self.store.layout().place(DataType::ServerKey).and_then(|place| place.words(0)) else { return false };
        let new = self.store.names.acquire(name);
        let old = std::mem::replace(&mut self.store.record(slot)[place.start], new);
        self.store.names.release(old);
        true
    }
}

/// Whether both mean the same server: by name where both have one, otherwise by number.
fn same(one: &StickServer, other: &StickServer) -> bool {
    if one.name.is_empty() || other.name.is_empty() { one.id == other.id } else { one.name == other.name }
}
