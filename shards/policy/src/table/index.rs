//! From a key's tag to its slot: linear hashing over many small hash tables.
//!
//! One hash table of a million entries stops the shard for tens of milliseconds when it grows. Here the directory grows by one small
//! table at a time, which takes over half of another one's entries; no step moves more than about two thousand. Tags are kept beside
//! the slots, so that moving entries does not read their keys.

use hashbrown::HashTable;

/// Entries per hash table on average, before the directory grows.
const ENTRIES_PER_TABLE: usize = 1024;
/// Longest directory; beyond it the tables themselves grow.
const DIRECTORY_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Item {
    tag: u32,
    slot: u32,
}

/// The index of one share.
#[derive(Debug, Default)]
pub(super) struct Index {
    directory: Vec<HashTable<Item>>,
    count: usize,
}

impl Index {
    /// Takes address space for an index of `entries`, so that the directory does not move later. Untouched, it costs no memory.
    pub fn reserve(&mut self, entries: usize) {
        let wanted = (entries / ENTRIES_PER_TABLE + 1).min(DIRECTORY_MAX);
        self.directory.reserve(wanted.saturating_sub(self.directory.len()));
    }

    /// Empties the index; what it held goes to `retired`, because to free it all at once would take too long.
    pub fn retire(&mut self, retired: &mut Self) {
        retired.directory.append(&mut self.directory);
        self.count = 0;
    }

    /// Frees one hash table of a retired index; whether there was one.
    pub fn free_one(&mut self) -> bool {
        self.directory.pop().is_some()
    }

    /// Whether nothing is left to free.
    pub fn is_freed(&self) -> bool {
        self.directory.is_empty()
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The slot with this tag that `matches`.
    pub fn find(&self, tag: u32, mut matches: impl FnMut(u32) -> bool) -> Option<u32> {
        let table = self.directory.get(self.place(tag))?;
        table.find(spread(tag), |item| item.tag == tag && matches(item.slot)).map(|item| item.slot)
    }

    /// Adds a slot that is not in yet.
    pub fn insert(&mut self, tag: u32, slot: u32) {
        if self.count >= self.directory.len() * ENTRIES_PER_TABLE && self.directory.len() < DIRECTORY_MAX {
            self.split();
        }
        let place = self.place(tag);
        if let Some(table) = self.directory.get_mut(place) {
            table.insert_unique(spread(tag), Item { tag, slot }, |item| spread(item.tag));
            self.count += 1;
        }
    }

    /// Removes a slot.
    pub fn remove(&mut self, tag: u32, slot: u32) {
        let place = self.place(tag);
        let Some(table) = self.directory.get_mut(place) else { return };
        if let Ok(entry) = table.find_entry(spread(tag), |item| item.slot == slot) {
            entry.remove();
            self.count -= 1;
        }
    }

    /// The table of a tag: as many low bits as the directory has filled.
    fn place(&self, tag: u32) -> usize {
        let length = self.directory.len();
        if length <= 1 {
            return 0;
        }
        let bits = (length - 1).ilog2() + 1;
        let wide = tag as usize & ((1 << bits) - 1);
        if wide < length { wide } else { tag as usize & ((1 << (bits - 1)) - 1) }
    }

    /// Adds one table, which takes those entries of its older half that now belong to it.
    fn split(&mut self) {
        let new = self.directory.len();
        self.directory.push(HashTable::new());
        if new == 0 {
            return;
        }
        let bit = 1 << new.ilog2();
        let old = std::mem::take(&mut self.directory[new - bit]);
        let mut halves = [HashTable::with_capacity(old.len() / 2), HashTable::with_capacity(old.len() / 2)];
        for item in old {
            let half = &mut halves[usize::from(item.tag as usize & bit != 0)];
            half.insert_unique(spread(item.tag), item, |item| spread(item.tag));
        }
        let [stays, moves] = halves;
        self.directory[new - bit] = stays;
        self.directory[new] = moves;
    }
}

/// The hash within a table: all tags of one table share their low bits, which hashbrown takes for the position.
fn spread(tag: u32) -> u64 {
    let product = u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ product >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_findable_while_the_directory_grows() {
        let mut index = Index::default();
        let tag = |slot: u32| (spread(slot) >> 7) as u32;
        for slot in 0..50_000 {
            index.insert(tag(slot), slot);
        }
        assert!(index.directory.len() >= 48);
        for slot in 0..50_000 {
            assert_eq!(index.find(tag(slot), |found| found == slot), Some(slot));
        }
        assert!(index.directory.iter().all(|table| table.len() < 4 * ENTRIES_PER_TABLE));
        for slot in (0..50_000).step_by(2) {
            index.remove(tag(slot), slot);
        }
        assert_eq!((index.len(), index.find(tag(4), |found| found == 4)), (25_000, None));
        assert_eq!(index.find(tag(5), |found| found == 5), Some(5));
    }

    #[test]
    fn equal_tags_are_told_apart() {
        let mut index = Index::default();
        index.insert(7, 1);
        index.insert(7, 2);
        assert_eq!(index.find(7, |slot| slot == 2), Some(2));
        index.remove(7, 2);
        assert_eq!((index.find(7, |slot| slot == 2), index.find(7, |slot| slot == 1)), (None, Some(1)));
    }
}
