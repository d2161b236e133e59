//! Opening a snapshot: everything is checked once, and rows are found again by their place, oldest first.

use ringmain_model::Milliseconds;
use ringmain_model::table::{ARRAY_LENGTH_MAX, Column, DataType, KeyType, Table};
use xxhash_rust::xxh3::xxh3_64;

use super::super::key::Key;
use super::super::message::{Cell, Row, Value};
use super::{BLOCK_END, BLOCK_ROWS, BLOCK_TABLE, Damage, FOREVER, MAGIC, VERSION, checksum, key_type_code};

/// A snapshot and what of it fits the tables that there are now.
#[derive(Debug)]
pub struct Snapshot<'a> {
    bytes: &'a [u8],
    elapsed_ms: u64,
    tables: Vec<Option<Found>>,
    damage: Option<Damage>,
}

/// One table of the snapshot whose rows are wanted.
#[derive(Debug)]
struct Found {
    columns: Vec<Stored>,
    /// Time since the last use, and where the row begins.
    rows: Vec<(u64, usize)>,
}

/// A column as it was written.
#[derive(Clone, Debug)]
struct Stored {
    /// `None` when the table does not have it any more: it is read over.
    data: Option<DataType>,
    elements: u32,
    is_name: bool,
}

impl<'a> Snapshot<'a> {
    /// Looks at the whole snapshot once. `tables` are those of the configuration, `now_ms` the time in milliseconds since 1970: entries
    /// that have expired since the snapshot was written are left out.
    ///
    /// # Errors
    /// When the bytes are no snapshot, or one of an unknown version. Damage further in does not fail: see [`Snapshot::damage`].
    pub fn open(bytes: &'a [u8], now_ms: u64, tables: &[Table]) -> Result<Self, Damage> {
        let mut input = Input { bytes, at: 0 };
        if input.take(MAGIC.len()) != Some(MAGIC) {
            return Err(Damage::NotASnapshot);
        }
        match input.u32().ok_or(Damage::Truncated)? {
            VERSION => {}
            version => return Err(Damage::UnknownVersion(version)),
        }
        let saved_at_ms = input.u64().ok_or(Damage::Truncated)?;
        let header = &bytes[..input.at];
        if input.u64().ok_or(Damage::Truncated)? != xxh3_64(header) {
            return Err(Damage::Damaged(0));
        }
        // A clock that was set back must not make entries younger than they were.
        let elapsed_ms = now_ms.saturating_sub(saved_at_ms);
        let mut snapshot = Self { bytes, elapsed_ms, tables: tables.iter().map(|_| None).collect(), damage: None };
        snapshot.damage = snapshot.scan(input, tables).err();
        for found in snapshot.tables.iter_mut().flatten() {
            found.rows.sort_unstable_by_key(|&(idle_ms, _)| std::cmp::Reverse(idle_ms));
        }
        Ok(snapshot)
    }

    /// What was found damaged; the rows in front of it are good.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// How many rows there are for the table at this place of the tables that it was opened with.
    pub fn count(&self, table: usize) -> usize {
        self.tables.get(table).and_then(Option::as_ref).map_or(0, |found| found.rows.len())
    }

    /// These rows, the one longest unused first.
    pub fn rows(&self, table: usize) -> impl Iterator<Item = Row> {
        let found = self.tables.get(table).and_then(Option::as_ref);
        let row = |found: &Found, at| read_row(&mut Input { bytes: self.bytes, at }, &found.columns);
        found.into_iter().flat_map(move |found| {
            found.rows.iter().filter_map(move |&(_, at)| {
                let mut row = row(found, at)?;
                row.idle_ms = row.idle_ms.saturating_add(self.elapsed_ms);
                row.remaining_ms = row.remaining_ms.map(|remaining| remaining.saturating_sub(self.elapsed_ms));
                Some(row)
            })
        })
    }

    fn scan(&mut self, mut input: Input<'a>, tables: &[Table]) -> Result<(), Damage> {
        let mut current: Option<usize> = None;
        loop {
            let start = input.at;
            let kind = input.u8().ok_or(Damage::Truncated)?;
            let length = input.u32().ok_or(Damage::Truncated)? as usize;
            let from = input.at;
            let payload = input.take(length).ok_or(Damage::Truncated)?;
            if input.u64().ok_or(Damage::Truncated)? != checksum(kind, payload) {
                return Err(Damage::Damaged(start));
            }
            let block = Input { bytes: &self.bytes[..from + length], at: from };
            let read = match kind {
                BLOCK_TABLE => self.read_table(block, tables).map(|table| current = table),
                BLOCK_ROWS => self.read_rows(block, current, tables),
                BLOCK_END if length == 0 && input.at == self.bytes.len() => return Ok(()),
                _ => None,
            };
            read.ok_or(Damage::Damaged(start))?;
        }
    }

    /// The place of the table that the block describes, if its rows are wanted.
    fn read_table(&mut self, mut input: Input<'_>, tables: &[Table]) -> Option<Option<usize>> {
        let name = input.text()?;
        let key = (input.u8()?, input.u32()?);
        let count = input.u8()?;
        let place = tables.iter().position(|table| *table.name == *name && same_keys(key, table.key));
        let mut columns = Vec::new();
        for _ in 0..count {
            let data = DataType::from_name(input.text()?);
            let (period, elements, is_name) = (input.u32()?, input.u32()?, input.u8()? != 0);
            if elements > ARRAY_LENGTH_MAX {
                return None;
            }
            let period = Some(Milliseconds(period)).filter(|period| period.0 > 0);
            let wanted = |data: &DataType| {
                let column = place.and_then(|place| tables.get(place)?.column(*data));
                column.is_some_and(|&Column { period: now, .. }| now == period) && is_name == (*data == DataType::ServerKey)
            };
            columns.push(Stored { data: data.filter(wanted), elements, is_name });
        }
        let found = self.tables.get_mut(place.unwrap_or(usize::MAX));
        if !input.is_at_end() {
            return None;
        }
        Some(found.map(|found| *found = Some(Found { columns, rows: Vec::new() })).and(place))
    }

    fn read_rows(&mut self, mut input: Input<'_>, table: Option<usize>, tables: &[Table]) -> Option<()> {
        // Rows of a table that is gone, or has other keys now.
        let Some(table) = table else { return Some(()) };
        let (found, table) = (self.tables.get_mut(table)?.as_mut()?, tables.get(table)?);
        while !input.is_at_end() {
            let at = input.at;
            let row = read_row(&mut input, &found.columns)?;
            let alive = row.remaining_ms.is_none_or(|remaining| remaining > self.elapsed_ms);
            if alive && key_fits(&row.key, table.key) {
                found.rows.push((row.idle_ms, at));
            }
        }
        Some(())
    }
}

fn read_row(input: &mut Input<'_>, columns: &[Stored]) -> Option<Row> {
    let length = input.u32()? as usize;
    let key = Key::new(input.take(length)?);
    let remaining_ms = Some(input.u64()?).filter(|&remaining| remaining != FOREVER);
    let idle_ms = input.u64()?;
    let mut cells = Vec::new();
    for column in columns {
        for index in 0..column.elements {
            let value = if column.is_name {
                let name = input.text()?;
                Value::Name((!name.is_empty()).then(|| name.into()))
            } else {
                Value::Number(input.number()?)
            };
            cells.extend(column.data.map(|data| Cell { data, index, value }));
        }
    }
    Some(Row { key, references: 0, remaining_ms, idle_ms, cells })
}

/// Whether keys of a stored type are keys of a table today; texts may have another length.
fn same_keys(stored: (u8, u32), key: KeyType) -> bool {
    let now = key_type_code(key);
    stored.0 == now.0 && (stored.1 == now.1 || matches!(key, KeyType::String { .. }))
}

fn key_fits(key: &Key, key_type: KeyType) -> bool {
    let (bytes, (_, length)) = (key.as_bytes(), key_type_code(key_type));
    match key_type {
        KeyType::String { .. } => bytes.len() <= length as usize,
        _ => bytes.len() == length as usize,
    }
}

/// Bytes that are read in order; every read may find the end.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.array().map(u16::from_le_bytes)?;
        str::from_utf8(self.take(usize::from(length))?).ok()
    }

    /// A LEB128 number of at most 64 bits.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
