//! Tables as bytes, so that they outlive a restart (`[global] state_file`).
//!
//! The control thread pages rows out of the shares into a [`Writer`] and puts the bytes into a file; at the next start it opens them as a
//! [`Snapshot`] and sends each row to its owner with `Request::Restore`. Nothing here touches a file. Any bytes may be opened: what is
//! damaged is left out and told, never trusted.
//!
//! Format, version 1, numbers little endian: the header is `RINGTABL`, the version (u32) and the time of saving (u64, milliseconds since
//! 1970), and the XXH3 of these bytes (u64). Blocks follow, each a kind (u8), the length of its payload (u32), the payload, and the
//! payload's XXH3 with the kind as its seed (u64):
//! - 1, a table: name, key type (u8) and length (u32), number of columns (u8), then of each its name, period in ms (u32, 0 for none),
//!   elements (u32) and whether it holds names (u8).
//! - 2, rows of the table before: of each the key (length u32, bytes), the remaining life (u64 ms, all ones for none), the time since its
//!   last use (u64 ms), and each element of each column: a LEB128 number, or a name.
//! - 3, the end: nothing may follow, and without it something is missing.
//!
//! Names are a length (u16) and UTF-8 text.

mod read;

use std::fmt;

use ringmain_model::table::{Column, DataClass, KeyType, Table};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::message::{Cell, Row, Value};

pub use read::Snapshot;

const MAGIC: &[u8; 8] = b"RINGTABL";
const VERSION: u32 = 1;
const BLOCK_TABLE: u8 = 1;
const BLOCK_ROWS: u8 = 2;
const BLOCK_END: u8 = 3;
/// Bytes of rows after which a block is closed.
const BLOCK_BYTES: usize = 256 * 1024;
/// Stands for no end of life.
const FOREVER: u64 = u64::MAX;

/// Why bytes are not a whole snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It does not begin like a snapshot.
    NotASnapshot,
    /// It was written in a format of this number, which is not known.
    UnknownVersion(u32),
    /// It ends too early.
    Truncated,
    /// The block that begins at this byte is not what was written.
    Damaged(usize),
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASnapshot => formatter.write_str("this is not a snapshot of stick tables"),
            Self::UnknownVersion(version) => write!(formatter, "the snapshot has format {version}; only format {VERSION} is known"),
            Self::Truncated => formatter.write_str("the snapshot ends too early"),
            Self::Damaged(offset) => write!(formatter, "the snapshot is damaged from byte {offset} on"),
        }
    }
}

impl std::error::Error for Damage {}

/// Writes tables, piece by piece: take the bytes out after each page to keep memory small.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    columns: Vec<Column>,
}

impl Writer {
    /// A snapshot of this moment, in milliseconds since 1970.
    pub fn new(saved_at_ms: u64) -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(saved_at_ms.to_le_bytes());
        bytes.extend(xxh3_64(&bytes).to_le_bytes());
        Self { bytes, columns: Vec::new() }
    }

    /// The rows that follow belong to this table.
    pub fn table(&mut self, table: &Table) {
        self.columns = table.columns.clone();
        self.columns.sort_by_key(|column| column.data);
        self.columns.truncate(usize::from(u8::MAX));
        let mut payload = Vec::new();
        put_text(&mut payload, &table.name);
        let (kind, length) = key_type_code(table.key);
        payload.push(kind);
        payload.extend(length.to_le_bytes());
        payload.push(self.columns.len() as u8);
        for column in &self.columns {
            put_text(&mut payload, column.data.name());
            payload.extend(column.period.map_or(0, |period| period.0).to_le_bytes());
            payload.extend(column.length.to_le_bytes());
            payload.push(u8::from(column.data.class() == DataClass::ServerKey));
        }
        self.block(BLOCK_TABLE, &payload);
    }

    /// Rows of the table, in any order. Values of columns that the table did not have count as 0.
    pub fn rows(&mut self, rows: &[Row]) {
        let mut payload = Vec::new();
        for row in rows {
            put_row(&mut payload, row, &self.columns);
            if payload.len() >= BLOCK_BYTES {
                self.block(BLOCK_ROWS, &payload);
                payload.clear();
            }
        }
        if !payload.is_empty() {
            self.block(BLOCK_ROWS, &payload);
        }
    }

    /// The bytes since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The last bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.block(BLOCK_END, &[]);
        self.bytes
    }

    fn block(&mut self, kind: u8, payload: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend((payload.len() as u32).to_le_bytes());
        self.bytes.extend(payload);
        self.bytes.extend(checksum(kind, payload).to_le_bytes());
    }
}

/// A block's checksum: of its kind, too.
fn checksum(kind: u8, payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, kind.into())
}

fn put_row(payload: &mut Vec<u8>, row: &Row, columns: &[Column]) {
    let key = row.key.as_bytes();
    payload.extend((key.len() as u32).to_le_bytes());
    payload.extend(key);
    payload.extend(row.remaining_ms.unwrap_or(FOREVER).to_le_bytes());
    payload.extend(row.idle_ms.to_le_bytes());
    let mut cells = row.cells.iter();
    for column in columns {
        for index in 0..column.length {
            let is_it = |cell: &&Cell| cell.data == column.data && cell.index == index;
            // Rows mostly have these columns in this order; after a reload they may not.
            let cell = cells.next().filter(is_it).or_else(|| row.cells.iter().find(is_it));
            match (column.data.class(), cell.map(|cell| &cell.value)) {
                (DataClass::ServerKey, Some(Value::Name(Some(name)))) => put_text(payload, name),
                (DataClass::ServerKey, _) => put_text(payload, ""),
                (_, Some(Value::Number(number))) => put_number(payload, *number),
                _ => put_number(payload, 0),
            }
        }
    }
}

/// A text of at most 65,535 bytes; a longer one, which no configuration has, is left empty.
fn put_text(payload: &mut Vec<u8>, text: &str) {
    let text = if text.len() > usize::from(u16::MAX) { "" } else { text };
    payload.extend((text.len() as u16).to_le_bytes());
    payload.extend(text.as_bytes());
}

fn put_number(payload: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        payload.push(number as u8 | 0x80);
        number >>= 7;
    }
    payload.push(number as u8);
}

fn key_type_code(key: KeyType) -> (u8, u32) {
    match key {
        KeyType::Ip => (1, 4),
        KeyType::Ipv6 => (2, 16),
        KeyType::Integer => (3, 4),
        KeyType::String { length } => (4, length),
        KeyType::Binary { length } => (5, length),
    }
}
