//! One shard's share of a table: finding, creating, using, expiring and removing entries.

use std::sync::Arc;

use ringmain_model::table::{KeyType, Table};

use super::index::Index;
use super::key::tag;
use super::layout::Layout;
use super::message::Handle;
use super::order::Order;
use super::store::{Segment, Store, word};

/// Entries that are looked at to make room for a new one.
const EVICTION_STEPS: usize = 32;

/// The entries of one table that one shard owns. Each operation takes bounded time, far below a millisecond.
#[derive(Debug)]
pub struct Share {
    pub(super) key_type: KeyType,
    pub(super) expire_ms: Option<u64>,
    pub(super) store: Store,
    pub(super) nameless: Arc<str>,
    /// The latest time that was told; time does not go back.
    pub(super) now_ms: u64,
    /// The entry restored last, near which the next one belongs.
    pub(super) restored: Option<u32>,
    no_purge: bool,
    capacity: usize,
    seed: u64,
    index: Index,
    order: Order,
    /// What is left of an earlier table, freed bit by bit.
    retired: Vec<Segment>,
    retired_index: Index,
}

impl Share {
    /// An empty share for shard `shard` of `shards`. `seed` should be random: it keeps clients from choosing keys that collide.
    pub fn new(table: &Table, shard: usize, shards: usize, seed: u64) -> Self {
        let capacity = share_of(table.size, shard, shards);
        let mut index = Index::default();
        index.reserve(capacity);
        Self {
            key_type: table.key,
            expire_ms: table.expire.map(|expire| expire.get()),
            store: Store::new(Layout::new(table, None), capacity),
            nameless: "".into(),
            now_ms: 0,
            restored: None,
            no_purge: table.no_purge,
            capacity,
            seed,
            index,
            order: Order::default(),
            retired: Vec::new(),
            retired_index: Index::default(),
        }
    }

    /// Takes up a changed declaration. Entries stay with the columns that stay; another key type (for binary keys also another length)
    /// starts empty. Entries beyond a smaller size go oldest first, in the steps of [`Share::expire`] and with each new entry.
    pub fn reconfigure(&mut self, table: &Table, shard: usize, shards: usize) {
        let capacity = share_of(table.size, shard, shards);
        let keeps = match (self.key_type, table.key) {
            (KeyType::String { .. }, KeyType::String { .. }) => true,
            (old, new) => old == new,
        };
        if keeps {
            let layout = Layout::new(table, Some(self.store.layout()));
            self.store.set_layout(layout, capacity);
        } else {
            let layout = Layout::restarted(table, self.store.layout());
            self.retired.append(&mut self.store.restart(layout, capacity));
            self.index.retire(&mut self.retired_index);
            self.order = Order::default();
            self.restored = None;
        }
        self.index.reserve(capacity);
        self.key_type = table.key;
        self.expire_ms = table.expire.map(|expire| expire.get());
        self.no_purge = table.no_purge;
        self.capacity = capacity;
    }

    /// Entries of this share, expired ones that were not removed yet included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Most entries of this share.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Does up to `budget` steps of what is due: removes entries that have expired or lie beyond a size that became smaller, frees what a
    /// reload left. Returns how many entries it removed. Call it when [`Share::next_expiry_ms`] has come.
    pub fn expire(&mut self, now_ms: u64, budget: usize) -> usize {
        self.advance(now_ms);
        let mut removed = 0;
        for _ in 0..budget {
            if self.retired.pop().is_some() || self.retired_index.free_one() {
                continue;
            }
            let Some(slot) = self.order.oldest() else { break };
            if !self.is_expired(slot) && self.len() <= self.capacity {
                break;
            }
            if self.references(slot) > 0 {
                self.order.unlink(&mut self.store, slot);
            } else {
                self.remove(slot);
                removed += 1;
            }
        }
        removed
    }

    /// When [`Share::expire`] has something to do, in milliseconds of the same clock; `None` while nothing is going to expire.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        if !self.retired.is_empty() || !self.retired_index.is_freed() {
            return Some(self.now_ms);
        }
        let oldest = self.order.oldest()?;
        if self.len() > self.capacity {
            return Some(self.now_ms);
        }
        let due = self.store.used_ms(oldest).saturating_add_unsigned(self.expire_ms?);
        Some(due.max(0) as u64)
    }

    pub(super) fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Milliseconds since the entry was last used.
    pub(super) fn idle_ms(&self, slot: u32) -> u64 {
        (self.now_ms as i64).saturating_sub(self.store.used_ms(slot)).max(0) as u64
    }

    pub(super) fn is_expired(&self, slot: u32) -> bool {
        self.expire_ms.is_some_and(|expire| self.idle_ms(slot) >= expire)
    }

    pub(super) fn references(&self, slot: u32) -> u32 {
        self.store.header(slot)[word::REFERENCES]
    }

    /// The entry of a key. One that has expired is gone, whether or not it was removed already; tracked ones stay.
    pub(super) fn find(&mut self, key: &[u8]) -> Option<u32> {
        let slot = self.index.find(tag(key, self.seed), |slot| self.store.key_is(slot, key))?;
        if self.references(slot) == 0 && self.is_expired(slot) {
            self.remove(slot);
            return None;
        }
        Some(slot)
    }

    /// The slot of a handle that still holds.
    pub(super) fn held(&self, handle: Handle) -> Option<u32> {
        let holds = self.store.is_live(handle.slot) && self.store.header(handle.slot)[word::GENERATION] == handle.generation;
        holds.then_some(handle.slot)
    }

    /// Finds or creates an entry and makes it the newest. The flag tells whether it is new. `None` when there is no room.
    pub(super) fn obtain(&mut self, key: &[u8]) -> Option<(u32, bool)> {
        if let Some(slot) = self.find(key) {
            self.touch(slot);
            return Some((slot, false));
        }
        let slot = self.create(key)?;
        self.touch(slot);
        Some((slot, true))
    }

    /// A new entry, not in the order of use yet.
    pub(super) fn create(&mut self, key: &[u8]) -> Option<u32> {
        if !self.make_room() {
            return None;
        }
        let slot = self.store.allocate(key)?;
        self.index.insert(tag(key, self.seed), slot);
        Some(slot)
    }

    /// Whether one more entry fits, after the oldest have made room if they may.
    fn make_room(&mut self) -> bool {
        for _ in 0..EVICTION_STEPS {
            if self.len() < self.capacity {
                return true;
            }
            let Some(slot) = self.order.oldest() else { return false };
            if self.no_purge && !self.is_expired(slot) {
                return false;
            }
            if self.references(slot) > 0 {
                self.order.unlink(&mut self.store, slot);
            } else {
                self.remove(slot);
            }
        }
        self.len() < self.capacity
    }

    /// The entry was used now.
    pub(super) fn touch(&mut self, slot: u32) {
        self.order.touch(&mut self.store, slot, self.now_ms as i64);
    }

    /// Puts an entry that is not in the order of use back into it.
    pub(super) fn restore_order(&mut self, slot: u32) {
        self.order.insert(&mut self.store, slot, self.restored);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let tag = tag(&self.store.key(slot), self.seed);
        self.index.remove(tag, slot);
        self.order.unlink(&mut self.store, slot);
        self.store.free(slot);
    }

    /// Holds the entry.
    pub(super) fn acquire(&mut self, slot: u32) -> Handle {
        let header = self.store.header_mut(slot);
        header[word::REFERENCES] = header[word::REFERENCES].saturating_add(1);
        Handle { slot, generation: header[word::GENERATION] }
    }

    /// Lets the entry go; removes it if it should have expired meanwhile.
    pub(super) fn release(&mut self, slot: u32) {
        let header = self.store.header_mut(slot);
        header[word::REFERENCES] = header[word::REFERENCES].saturating_sub(1);
        if header[word::REFERENCES] > 0 {
            return;
        }
        let linked = header[word::FLAGS] & word::LINKED != 0;
        if self.is_expired(slot) {
            self.remove(slot);
        } else if !linked {
            self.order.insert(&mut self.store, slot, None);
        }
    }
}

/// How many of `size` entries belong to a shard: the remainder goes to the first ones. At least one, so that no key is ever homeless.
fn share_of(size: u32, shard: usize, shards: usize) -> usize {
    let (size, shards) = (size as usize, shards.max(1));
    (size / shards + usize::from(shard < size % shards)).max(1)
}
