//! Where each column of a table lies in an entry's record of 32-bit words. Only stored columns take room.

use ringmain_model::table::{Column, DataClass, DataType, KeyType, Table};

use super::frequency::FREQUENCY_WORDS;

/// Words in front of the key: time of the last use (2), links (2), references, generation, length of the key, flags.
pub(super) const HEADER_WORDS: usize = 8;
/// Longest key that lies in the record itself, in bytes. Longer ones mostly do not fill their length: an allocation per key is smaller.
const KEY_ROOM_MAX: usize = 40;

/// The shape of the records of one or more segments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Bytes of the record kept for the key; `None` when keys have their own allocations.
    pub key_room: Option<usize>,
    /// Words of one record.
    pub stride: usize,
    /// Reconfigurations before this one.
    pub epoch: u32,
    /// Columns in the order of `show table`.
    pub places: Vec<Place>,
    by_type: [u8; DataType::COUNT],
}

/// One column's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub column: Column,
    /// First word within the record.
    pub offset: usize,
    /// Epoch of the first layout since which the table has this column without a break.
    pub since: u32,
}

const ABSENT: u8 = u8::MAX;

impl Place {
    /// Period of a rate in milliseconds, at least 1.
    pub fn period_ms(&self) -> u32 {
        self.column.period.map_or(1, |period| period.0.max(1))
    }

    /// Words of one element.
    pub fn width(&self) -> usize {
        width(self.column.data)
    }

    /// The words of one element within a record; `None` beyond the array.
    pub fn words(&self, index: u32) -> Option<std::ops::Range<usize>> {
        let start = self.offset + index as usize * self.width();
        (index < self.column.length).then_some(start..start + self.width())
    }
}

impl Layout {
    /// The layout of a table's entries. `before` is the layout that it follows: columns that stay keep their age, keys their room.
    pub fn new(table: &Table, before: Option<&Layout>) -> Self {
        let epoch = before.map_or(0, |layout| layout.epoch + 1);
        let length = key_length(table.key);
        let key_room = match before.map(|layout| layout.key_room) {
            Some(None) => None,
            Some(Some(room)) => Some(room.max(length)),
            None => Some(length),
        };
        let key_room = key_room.filter(|&room| room <= KEY_ROOM_MAX);
        let mut columns = table.columns.clone();
        columns.sort_by_key(|column| column.data);
        columns.dedup_by_key(|column| column.data);
        let mut stride = HEADER_WORDS + key_room.map_or(0, |room| room.div_ceil(4));
        let mut by_type = [ABSENT; DataType::COUNT];
        let mut places = Vec::with_capacity(columns.len());
        for column in columns {
            let stayed = before.and_then(|layout| layout.place(column.data)).filter(|place| compatible(place.column, column));
            by_type[column.data.index()] = places.len() as u8;
            places.push(Place { column, offset: stride, since: stayed.map_or(epoch, |place| place.since) });
            stride += width(column.data) * column.length.max(1) as usize;
        }
        Self { key_room, stride, epoch, places, by_type }
    }

    /// The layout of a table that starts over after `before`: nothing is handed on.
    pub fn restarted(table: &Table, before: &Layout) -> Self {
        let mut layout = Self::new(table, None);
        layout.epoch = before.epoch + 1;
        layout.places.iter_mut().for_each(|place| place.since = before.epoch + 1);
        layout
    }

    /// The column of exactly this type.
    pub fn place(&self, data: DataType) -> Option<&Place> {
        self.places.get(usize::from(self.by_type[data.index()]))
    }

    /// The column and element that serve this type: `gpc0` may be the first element of `gpc`.
    pub fn serve(&self, data: DataType, index: u32) -> Option<(&Place, u32)> {
        if let Some(place) = self.place(data) {
            return Some((place, index));
        }
        let (array, element) = data.array()?;
        self.place(array).map(|place| (place, element))
    }

    /// Columns whose values a record of the layout `old` hands on to this one: pairs of old and new place.
    pub fn kept<'a>(&'a self, old: &'a Layout) -> impl Iterator<Item = (&'a Place, &'a Place)> {
        let pair = |new: &'a Place| old.place(new.column.data).filter(|_| new.since <= old.epoch).map(|place| (place, new));
        self.places.iter().filter_map(pair)
    }
}

/// Whether values of the one may be taken over as values of the other. Counts of another period mean nothing.
fn compatible(old: Column, new: Column) -> bool {
    old.data == new.data && old.period == new.period
}

fn width(data: DataType) -> usize {
    match data.class() {
        DataClass::Number | DataClass::ServerId | DataClass::ServerKey => 1,
        DataClass::Large => 2,
        DataClass::Rate => FREQUENCY_WORDS,
    }
}

fn key_length(key: KeyType) -> usize {
    match key {
        KeyType::Ip | KeyType::Integer => 4,
        KeyType::Ipv6 => 16,
        KeyType::String { length } | KeyType::Binary { length } => length as usize,
    }
}
