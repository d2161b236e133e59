//! Lines of `show table`: the title of a table and one line for each entry.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use ringmain_engine::live::TableLive;
use ringmain_model::table::{KeyType, Table};
use ringmain_policy::table::{Cell, Key, Row, Value};

/// `# table: NAME, type: TYPE, size:SIZE, used:ENTRIES`.
pub(super) fn header(table: &TableLive) -> String {
    let config = table.config();
    format!("# table: {}, type: {}, size:{}, used:{}\n", config.name, config.key.name(), config.size, table.entries())
}

/// `0xIDENTITY: key=KEY use=SESSIONS exp=MILLISECONDS NAME=VALUE ...`.
pub(super) fn line(out: &mut String, table: &TableLive, config: &Table, row: &Row) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{:#x}: key=", identity(table, &row.key));
    match config.key {
        KeyType::String { .. } => escape(out, row.key.as_bytes()),
        _ => out.push_str(&row.key.display(config.key).to_string()),
    }
    let _ = write!(out, " use={} exp={}", row.references, row.remaining_ms.unwrap_or(0));
    for cell in &row.cells {
        out.push(' ');
        column(out, config, cell);
        match &cell.value {
            Value::Number(number) => out.push_str(&number.to_string()),
            Value::Name(Some(name)) => out.push_str(name),
            Value::Name(None) => out.push('-'),
        }
    }
    out.push('\n');
}

/// Where HAProxy shows an address in memory: a number that stays with the entry and differs from others, of the same shape.
fn identity(table: &TableLive, key: &Key) -> u64 {
    let mut hasher = DefaultHasher::new();
    table.identity.hash(&mut hasher);
    key.as_bytes().hash(&mut hasher);
    0x5500_0000_0000 | (hasher.finish() >> 24 & !0xF)
}

/// `gpc0_rate(10000)=`: the element's number stands within the name of an array, the period in milliseconds behind that of a rate.
fn column(out: &mut String, config: &Table, cell: &Cell) {
    let name = cell.data.name();
    match name.get(3..) {
        Some(rest) if cell.data.is_array() => {
            out.push_str(name.get(..3).unwrap_or(name));
            out.push_str(&cell.index.to_string());
            out.push_str(rest);
        }
        _ => out.push_str(name),
    }
    if let Some(period) = config.column(cell.data).and_then(|column| column.period) {
        out.push_str(&format!("({})", period.0));
    }
    out.push('=');
}

/// Text that cannot be mistaken for what surrounds it: blanks, `=`, backslashes and unprintable bytes are escaped.
fn escape(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b' ' | b'=' | b'\\' => out.extend(['\\', char::from(byte)]),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            0x1B => out.push_str("\\e"),
            b'!'..=b'~' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "\\x{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_escaped() {
        let mut text = String::new();
        escape(&mut text, b"a b=c\\d\"\r\n\t\x1b\x01\xc3\xa9~");
        assert_eq!(text, "a\\ b\\=c\\\\d\"\\r\\n\\t\\e\\x01\\xC3\\xA9~");
    }
}
