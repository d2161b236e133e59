//! The order of use: a list through the records, the entry longest unused first. All entries live equally long after their last use, so
//! this is also the order in which they expire, and a reload that changes `expire` need not touch it.

use super::store::{NONE, Store, word};

/// Steps that an insertion out of order walks at most before it gives in.
const WALK_MAX: usize = 64;

/// Both ends of the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    oldest: u32,
    newest: u32,
}

impl Default for Order {
    fn default() -> Self {
        Self { oldest: NONE, newest: NONE }
    }
}

impl Order {
    /// The entry longest unused.
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Makes the entry the newest one.
    pub fn touch(&mut self, store: &mut Store, slot: u32, now_ms: i64) {
        self.unlink(store, slot);
        store.set_used_ms(slot, now_ms);
        self.link(store, slot, self.newest);
    }

    /// Puts an entry that was taken out, or an old one of a snapshot, back where its last use belongs. Gives in after a few steps: then
    /// the entry counts as used when its neighbour was, which keeps the list sorted.
    pub fn insert(&mut self, store: &mut Store, slot: u32, hint: Option<u32>) {
        self.unlink(store, slot);
        let used = store.used_ms(slot);
        let hint = hint.filter(|&hint| store.is_live(hint) && store.header(hint)[word::FLAGS] & word::LINKED != 0);
        let mut before = hint.unwrap_or(NONE);
        for _ in 0..WALK_MAX {
            let next = self.after(store, before);
            if before != NONE && store.used_ms(before) > used {
                before = store.header(before)[word::OLDER];
            } else if next != NONE && store.used_ms(next) < used {
                before = next;
            } else {
                break;
            }
        }
        let (lowest, highest) = (before, self.after(store, before));
        let lowest = if lowest == NONE { i64::MIN } else { store.used_ms(lowest) };
        let highest = if highest == NONE { i64::MAX } else { store.used_ms(highest) };
        store.set_used_ms(slot, used.clamp(lowest, highest.max(lowest)));
        self.link(store, slot, before);
    }

    fn after(&self, store: &Store, before: u32) -> u32 {
        if before == NONE { self.oldest } else { store.header(before)[word::NEWER] }
    }

    /// Takes the entry out, if it is in.
    pub fn unlink(&mut self, store: &mut Store, slot: u32) {
        let header = store.header_mut(slot);
        if header[word::FLAGS] & word::LINKED == 0 {
            return;
        }
        header[word::FLAGS] &= !word::LINKED;
        let (older, newer) = (header[word::OLDER], header[word::NEWER]);
        match older {
            NONE => self.oldest = newer,
            _ => store.header_mut(older)[word::NEWER] = newer,
        }
        match newer {
            NONE => self.newest = older,
            _ => store.header_mut(newer)[word::OLDER] = older,
        }
    }

    fn link(&mut self, store: &mut Store, slot: u32, older: u32) {
        let newer = self.after(store, older);
        let header = store.header_mut(slot);
        header[word::FLAGS] |= word::LINKED;
        header[word::OLDER] = older;
        header[word::NEWER] = newer;
        match older {
            NONE => self.oldest = slot,
            _ => store.header_mut(older)[word::NEWER] = slot,
        }
        match newer {
            NONE => self.newest = slot,
            _ => store.header_mut(newer)[word::OLDER] = slot,
        }
    }
}
