//! Records of a share's entries: segments of 256, so that growing never moves what is there and a new layout is taken up bit by bit.
//!
//! A segment keeps the layout in which it was written. When a reload changes the columns, each segment is rewritten when an entry in it is
//! next used: some ten microseconds each, instead of a stop for the whole table. Slots keep their numbers through all of it.

use std::sync::Arc;

use ringmain_model::table::DataType;

use super::layout::Layout;
use super::name::Names;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;
/// Slots of a segment.
pub(super) const SEGMENT: usize = 256;

/// Words of a record's header, and its flags.
pub(super) mod word {
    pub const USED_LOW: usize = 0;
    pub const USED_HIGH: usize = 1;
    pub const OLDER: usize = 2;
    pub const NEWER: usize = 3;
    pub const REFERENCES: usize = 4;
    /// 0 marks a free slot, whose `NEWER` is the next free one.
    pub const GENERATION: usize = 5;
    pub const KEY_LENGTH: usize = 6;
    pub const FLAGS: usize = 7;

    /// The server was claimed and nobody else has used it since.
    pub const CLAIMED: u32 = 1;
    /// The claim created the entry.
    pub const CREATED: u32 = 2;
    /// The entry is in the order of use.
    pub const LINKED: u32 = 4;
}

/// 256 records.
#[derive(Debug)]
pub(super) struct Segment {
    layout: Arc<Layout>,
    words: Box<[u32]>,
    /// Keys that do not lie in the records; empty when all do.
    keys: Box<[Box<[u8]>]>,
}

impl Segment {
    fn new(layout: &Arc<Layout>) -> Self {
        let keys = if layout.key_room.is_some() { 0 } else { SEGMENT };
        Self {
            layout: layout.clone(),
            words: vec![0; layout.stride * SEGMENT].into_boxed_slice(),
            keys: vec![Box::default(); keys].into_boxed_slice(),
        }
    }

    fn record(&self, place: usize) -> &[u32] {
        &self.words[place * self.layout.stride..][..self.layout.stride]
    }

    fn record_mut(&mut self, place: usize) -> &mut [u32] {
        &mut self.words[place * self.layout.stride..][..self.layout.stride]
    }

    fn key_is(&self, place: usize, key: &[u8]) -> bool {
        let record = self.record(place);
        if record[word::KEY_LENGTH] as usize != key.len() {
            return false;
        }
        if self.layout.key_room.is_none() {
            return *self.keys[place] == *key;
        }
        key.chunks(4).zip(&record[super::layout::HEADER_WORDS..]).all(|(chunk, &stored)| pack(chunk) == stored)
    }

    fn key(&self, place: usize) -> Vec<u8> {
        if self.layout.key_room.is_none() {
            return self.keys[place].to_vec();
        }
        let record = self.record(place);
        let mut bytes: Vec<u8> = self.key_words(record).iter().flat_map(|stored| stored.to_le_bytes()).collect();
        bytes.truncate(record[word::KEY_LENGTH] as usize);
        bytes
    }

    fn key_words<'a>(&self, record: &'a [u32]) -> &'a [u32] {
        let words = self.layout.key_room.map_or(0, |room| room.div_ceil(4));
        &record[super::layout::HEADER_WORDS..][..words]
    }

    fn set_key(&mut self, place: usize, key: &[u8]) {
        self.record_mut(place)[word::KEY_LENGTH] = key.len() as u32;
        if self.layout.key_room.is_none() {
            self.keys[place] = key.into();
            return;
        }
        for (stored, chunk) in self.record_mut(place)[super::layout::HEADER_WORDS..].iter_mut().zip(key.chunks(4)) {
            *stored = pack(chunk);
        }
    }

    /// The same entries in another layout. Values of columns that are gone are given to `dropped`.
    fn in_layout(mut self, layout: &Arc<Layout>, names: &mut Names) -> Self {
        let mut new = Segment::new(layout);
        let dropped =
            self.layout.place(DataType::ServerKey).filter(|_| !layout.kept(&self.layout).any(|(old, _)| is_name(old.column.data)));
        for place in 0..SEGMENT {
            let old_record = self.record(place);
            let header = super::layout::HEADER_WORDS;
            new.record_mut(place)[..header].copy_from_slice(&old_record[..header]);
            if old_record[word::GENERATION] == 0 {
                continue;
            }
            if let Some(words) = dropped.and_then(|column| column.words(0)) {
                names.release(old_record[words.start]);
            }
            for (from, to) in layout.kept(&self.layout) {
                let words = from.width() * from.column.length.min(to.column.length) as usize;
                new.record_mut(place)[to.offset..][..words].copy_from_slice(&old_record[from.offset..][..words]);
            }
            if self.layout.key_room.is_none() {
                // Room for keys never shrinks from allocations back into records.
                new.keys[place] = std::mem::take(&mut self.keys[place]);
            } else {
                let key = self.key(place);
                new.set_key(place, &key);
            }
        }
        new
    }
}

fn is_name(data: DataType) -> bool {
    data == DataType::ServerKey
}

fn pack(chunk: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    bytes[..chunk.len()].copy_from_slice(chunk);
    u32::from_le_bytes(bytes)
}

/// All records of one share.
#[derive(Debug)]
pub(super) struct Store {
    segments: Vec<Segment>,
    layout: Arc<Layout>,
    free: u32,
    /// Slots that were ever used: all entries lie below.
    fresh: u32,
    next_generation: u32,
    pub names: Names,
}

impl Store {
    pub fn new(layout: Layout, capacity: usize) -> Self {
        let segments = Vec::with_capacity(capacity / SEGMENT + 1);
        Self { segments, layout: Arc::new(layout), free: NONE, fresh: 0, next_generation: 1, names: Names::default() }
    }

    /// Starts over without entries; later generations differ from all earlier ones, so that old handles hold nothing. Returns the old
    /// segments: to free them all at once would take too long.
    pub fn restart(&mut self, layout: Layout, capacity: usize) -> Vec<Segment> {
        let next_generation = self.next_generation;
        let old = std::mem::replace(self, Self { next_generation, ..Self::new(layout, capacity) });
        old.segments
    }

    pub fn set_layout(&mut self, layout: Layout, capacity: usize) {
        self.layout = Arc::new(layout);
        self.segments.reserve((capacity / SEGMENT + 1).saturating_sub(self.segments.len()));
    }

    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// One past the highest slot ever used.
    pub fn end(&self) -> u32 {
        self.fresh
    }

    /// A slot for a new entry, all values zero; `None` when slots have run out.
    pub fn allocate(&mut self, key: &[u8]) -> Option<u32> {
        let slot = if self.free != NONE {
            let slot = self.free;
            self.free = self.header(slot)[word::NEWER];
            slot
        } else {
            let slot = self.fresh;
            if slot == NONE {
                return None;
            }
            if slot as usize / SEGMENT >= self.segments.len() {
                self.segments.push(Segment::new(&self.layout));
            }
            self.fresh += 1;
            slot
        };
        self.settle(slot);
        let generation = self.next_generation;
        self.next_generation = generation.checked_add(1).unwrap_or(1);
        let segment = &mut self.segments[slot as usize / SEGMENT];
        let record = segment.record_mut(slot as usize % SEGMENT);
        record.fill(0);
        record[word::GENERATION] = generation;
        record[word::OLDER] = NONE;
        record[word::NEWER] = NONE;
        segment.set_key(slot as usize % SEGMENT, key);
        Some(slot)
    }

    /// Gives a slot back.
    pub fn free(&mut self, slot: u32) {
        let name = self.segments[slot as usize / SEGMENT].layout.place(DataType::ServerKey).and_then(|place| place.words(0));
        let free = std::mem::replace(&mut self.free, slot);
        let segment = &mut self.segments[slot as usize / SEGMENT];
        if let Some(key) = segment.keys.get_mut(slot as usize % SEGMENT) {
            *key = Box::default();
        }
        let record = segment.record_mut(slot as usize % SEGMENT);
        record[word::GENERATION] = 0;
        record[word::NEWER] = free;
        if let Some(words) = name {
            let number = std::mem::take(&mut record[words.start]);
            self.names.release(number);
        }
    }

    pub fn is_live(&self, slot: u32) -> bool {
        slot < self.fresh && self.header(slot)[word::GENERATION] != 0
    }

    pub fn header(&self, slot: u32) -> &[u32] {
        &self.segments[slot as usize / SEGMENT].record(slot as usize % SEGMENT)[..super::layout::HEADER_WORDS]
    }

    pub fn header_mut(&mut self, slot: u32) -> &mut [u32] {
        &mut self.segments[slot as usize / SEGMENT].record_mut(slot as usize % SEGMENT)[..super::layout::HEADER_WORDS]
    }

    /// The whole record in the current layout.
    pub fn record(&mut self, slot: u32) -> &mut [u32] {
        self.settle(slot);
        self.segments[slot as usize / SEGMENT].record_mut(slot as usize % SEGMENT)
    }

    pub fn key_is(&self, slot: u32, key: &[u8]) -> bool {
        self.segments[slot as usize / SEGMENT].key_is(slot as usize % SEGMENT, key)
    }

    pub fn key(&self, slot: u32) -> Vec<u8> {
        self.segments[slot as usize / SEGMENT].key(slot as usize % SEGMENT)
    }

    /// When the entry was last used; before the clock's zero for entries of a snapshot.
    pub fn used_ms(&self, slot: u32) -> i64 {
        let header = self.header(slot);
        (u64::from(header[word::USED_HIGH]) << 32 | u64::from(header[word::USED_LOW])) as i64
    }

    pub fn set_used_ms(&mut self, slot: u32, used_ms: i64) {
        let header = self.header_mut(slot);
        header[word::USED_LOW] = used_ms as u32;
        header[word::USED_HIGH] = (used_ms as u64 >> 32) as u32;
    }

    /// Brings the slot's segment into the current layout.
    fn settle(&mut self, slot: u32) {
        let segment = &mut self.segments[slot as usize / SEGMENT];
        if segment.layout.epoch == self.layout.epoch {
            return;
        }
        let empty = Segment { layout: self.layout.clone(), words: Box::default(), keys: Box::default() };
        let old = std::mem::replace(segment, empty);
        *segment = old.in_layout(&self.layout, &mut self.names);
    }
}
