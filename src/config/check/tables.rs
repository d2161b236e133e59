//! Stick tables: what their lines say, and the model's list of them.
//!
//! The keywords of `haproxy/keywords/stick.rs` read lines by [`TableBuilder`]; `check` gathers them in file order, gives each name once and
//! resolves `write-to`. What the columns mean is for `policy::table`.

use std::collections::HashMap;
use std::sync::Arc;

use ringmain_model::table::{ARRAY_LENGTH_MAX, BINARY_LENGTH_DEFAULT, Column, DataType, KeyType, STRING_LENGTH_DEFAULT, Table};
use ringmain_model::{Milliseconds, TableId};

use super::arguments::Arguments;
use super::at;
use crate::config::diagnostic::{Diagnostics, Sources, Span};
use crate::config::draft::Word;
use crate::config::haproxy::value;
use crate::config::keyword;

/// One table as written.
#[derive(Clone, Debug)]
pub struct TableBuilder {
    /// Its name: that of its proxy, `peers/table`, or the name of a `[table.NAME]`.
    pub name: Arc<str>,
    /// Where it is declared.
    pub span: Span,
    /// `type`.
    pub key: KeyType,
    /// `size`.
    pub size: u32,
    /// `expire`; `None` is for ever.
    pub expire: Option<Milliseconds>,
    /// `nopurge`.
    pub no_purge: bool,
    /// `write-to`.
    pub write_to: Option<Word>,
    /// `store`.
    pub columns: Vec<Column>,
}

/// The tables of `peers` and `table` sections, and those of proxies, in file order.
#[derive(Clone, Debug, Default)]
pub struct TableList {
    /// The tables.
    pub tables: Vec<TableBuilder>,
}

/// Words that begin a part of a table's line.
const PARTS: &[&str] = &["type", "size", "expire", "nopurge", "store", "srvkey", "write-to", "peers", "len", "brates-factor", "recv-only"];
const TYPES: &[&str] = &["ip", "ipv6", "integer", "string", "binary"];

impl TableBuilder {
    /// Reads the words behind `stick-table`, or behind the name of a `table` line. `None` after an error, which was reported.
    pub fn read(name: Arc<str>, arguments: &mut Arguments<'_>) -> Option<Self> {
        let span = arguments.span();
        let (mut key, mut size) = (None, None);
        let built_in = KeyType::Integer;
        let mut table = Self { name, span, key: built_in, size: 0, expire: None, no_purge: false, write_to: None, columns: Vec::new() };
        while let Some(word) = arguments.take() {
            match word.text.as_str() {
                "type" => key = Some(key_type(arguments)?),
                "size" => size = Some(table_size(arguments)?),
                "expire" => table.expire = Some(arguments.time(0)?).filter(|time| time.0 > 0),
                "nopurge" => table.no_purge = true,
                "store" => table.store(arguments)?,
                "srvkey" => server_key(arguments)?,
                "write-to" => {
                    table.write_to = Some(arguments.required("the name of a table after 'write-to'")?.clone());
                    arguments
                        .diagnostics
                        .no_effect(word.span, "'write-to' has no effect here")
                        .label("there are no peers to learn entries from");
                }
                // In a 'peers' section every table is shared with the peers of that section, so that HAProxy has no such word there.
                "peers" if arguments.name() == "stick-table" => {
                    arguments.unsupported(word, "exchange of tables with peers").help("without 'peers' the table is this node's own");
                    arguments.take();
                    return None;
                }
                unknown => {
                    let finding = arguments.error(word, format!("a stick table has no setting '{unknown}'"));
                    if let Some(near) = keyword::nearest(unknown, PARTS.iter().copied()) {
                        finding.help(format!("did you mean '{near}'?"));
                    }
                    return None;
                }
            }
        }
        let (Some(key), Some(size)) = (key, size) else {
            let missing = if key.is_none() { "type" } else { "size" };
            arguments
                .diagnostics
                .error(arguments.span(), format!("this table has no '{missing}'"))
                .help("such as 'type ip size 100k expire 30m'");
            return None;
        };
        (table.key, table.size) = (key, size);
        Some(table)
    }

    /// `store LIST`, which may be empty, and may end in a comma with the rest of the list behind a blank.
    fn store(&mut self, arguments: &mut Arguments<'_>) -> Option<()> {
        while let Some(word) = arguments.peek().filter(|word| !PARTS.contains(&word.text.as_str())) {
            arguments.take();
            for item in split_list(&word.text) {
                self.add_column(word, item, arguments)?;
            }
            if !word.text.ends_with(',') {
                break;
            }
        }
        Some(())
    }

    fn add_column(&mut self, word: &Word, item: &str, arguments: &mut Arguments<'_>) -> Option<()> {
        let column = match column(item) {
            Ok(column) => column,
            Err(problem) => {
                let finding = arguments.diagnostics.error(word.part(item), problem);
                let name = item.split('(').next().unwrap_or(item);
                if DataType::from_name(name).is_none()
                    && let Some(near) = keyword::nearest(name, DataType::ALL.iter().map(|data| data.name()))
                {
                    finding.help(format!("did you mean '{near}'?"));
                }
                return None;
            }
        };
        let excludes = |one: DataType, other: DataType| one.array().is_some_and(|(array, _)| array == other);
        let rival = self.columns.iter().map(|column| column.data).find(|data| excludes(*data, column.data) || excludes(column.data, *data));
        if let Some(rival) = rival {
            let message = format!("a table cannot store both '{}' and '{}'", rival.name(), column.data.name());
            arguments.diagnostics.error(word.part(item), message).help("the first elements of the array stand for the single ones");
            return None;
        }
        if self.columns.iter().any(|known| known.data == column.data) {
            let message = format!("'{}' is stored already; the first one counts", column.data.name());
            arguments.diagnostics.warning(word.part(item), message);
        } else {
            self.columns.push(column);
        }
        Some(())
    }
}

fn key_type(arguments: &mut Arguments<'_>) -> Option<KeyType> {
    let word = arguments.required("a type: ip, ipv6, integer, string or binary")?;
    let key = match word.text.as_str() {
        "ip" => KeyType::Ip,
        "ipv6" => KeyType::Ipv6,
        "integer" => KeyType::Integer,
        "string" => KeyType::String { length: key_length(arguments)?.unwrap_or(STRING_LENGTH_DEFAULT) },
        "binary" => KeyType::Binary { length: key_length(arguments)?.unwrap_or(BINARY_LENGTH_DEFAULT) },
        unknown => {
            let finding = arguments.error(word, format!("there is no type of keys '{unknown}'"));
            match keyword::nearest(unknown, TYPES.iter().copied()) {
                Some(near) => finding.help(format!("did you mean '{near}'?")),
                None => finding.help(format!("there are {}", TYPES.join(", "))),
            };
            return None;
        }
    };
    Some(key)
}

/// Longest key: what a name or a binary block can be reasonably, and a bound on the memory of a table.
const KEY_LENGTH_MAX: i64 = 65_535;

/// `len N` behind a type: `Some(None)` when there is none, `None` after an error.
fn key_length(arguments: &mut Arguments<'_>) -> Option<Option<u32>> {
    if arguments.peek().is_none_or(|word| word.text != "len") {
        return Some(None);
    }
    arguments.take();
    let word = arguments.required("a number of bytes after 'len'")?;
    match value::leading_number(&word.text) {
        (number, clean) if (1..=KEY_LENGTH_MAX).contains(&number) => {
            if !clean {
                let message = format!("'{}' is not a number; it is read as {number}, as HAProxy does", word.text);
                arguments.diagnostics.warning(word.span, message);
            }
            Some(u32::try_from(number).ok())
        }
        _ => {
            arguments.error(word, format!("'{}' is not a length of keys, which is 1 to {KEY_LENGTH_MAX} bytes", word.text));
            None
        }
    }
}

fn table_size(arguments: &mut Arguments<'_>) -> Option<u32> {
    let word = arguments.required("a number of entries after 'size'")?;
    let size = value::size(&word.text).ok().filter(|size| *size > 0);
    if size.is_none() {
        arguments
            .error(word, format!("'{}' is not a number of entries, which is 1 or more", word.text))
            .help("digits and 'k', 'm' or 'g' for 2^10, 2^20 and 2^30");
    }
    size
}

fn server_key(arguments: &mut Arguments<'_>) -> Option<()> {
    let word = arguments.required("'name' or 'addr' after 'srvkey'")?;
    match word.text.as_str() {
        "name" => Some(()),
        "addr" => {
            arguments.unsupported(word, "'srvkey addr'").help("servers are remembered by name, as with 'srvkey name'");
            None
        }
        unknown => {
            arguments.error(word, format!("'srvkey' does not know '{unknown}'")).help("it takes 'name' or 'addr'");
            None
        }
    }
}

/// The items of a list, whose commas within parentheses belong to an item. A comma at the end is nothing.
fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut depth = 0_u32;
        let end = rest.bytes().position(|byte| {
            match byte {
                b'(' => depth += 1,
                b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            byte == b',' && depth == 0
        });
        let item = end.map_or(rest, |end| rest.get(..end).unwrap_or(rest));
        rest = end.map_or("", |end| rest.get(end + 1..).unwrap_or(""));
        Some(item)
    })
}

/// `NAME`, `NAME(PERIOD)`, `NAME(LENGTH)` or `NAME(LENGTH,PERIOD)`.
fn column(item: &str) -> Result<Column, String> {
    let (name, inside) = match item.split_once('(') {
        None => (item, None),
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(inside) => (name, Some(inside)),
            None => return Err(format!("the parenthesis of '{name}' is never closed")),
        },
    };
    let data = DataType::from_name(name).ok_or_else(|| format!("'{name}' cannot be stored: there is no such data type"))?;
    let mut arguments = inside.map(|inside| inside.split(',').map(str::trim)).into_iter().flatten();
    let mut column = Column { data, period: None, length: 1 };
    if data.is_array() {
        let text = arguments.next().ok_or_else(|| format!("'{name}' needs a length, such as '{name}(2)'"))?;
        let number = value::leading_number(text).0;
        let fits = u32::try_from(number).ok().filter(|number| (1..=ARRAY_LENGTH_MAX).contains(number));
        column.length = fits.ok_or_else(|| format!("the length of '{name}' must be between 1 and {ARRAY_LENGTH_MAX}"))?;
    }
    if data.has_period() {
        let example = if data.is_array() { "2,10s" } else { "10s" };
        let text = arguments.next().ok_or_else(|| format!("'{name}' needs a period, such as '{name}({example})'"))?;
        let time = value::time(text).ok().filter(|time| time.trailing.is_none() && time.milliseconds > 0);
        column.period = Some(Milliseconds(time.ok_or_else(|| format!("'{text}' is not the period of a rate"))?.milliseconds));
    }
    match arguments.next() {
        Some(extra) => Err(format!("unexpected '{extra}' after the arguments of '{name}'")),
        None => Ok(column),
    }
}

/// The model's tables, and which name is which.
pub struct Tables {
    /// In file order.
    pub list: Vec<Table>,
    by_name: HashMap<Arc<str>, TableId>,
}

impl Tables {
    /// Resolves what was gathered; names that are taken and `write-to` that leads nowhere are reported.
    pub fn new(gathered: &TableList, sources: &Sources, diagnostics: &mut Diagnostics) -> Self {
        let mut tables = Self { list: Vec::new(), by_name: HashMap::new() };
        let mut places: HashMap<Arc<str>, Span> = HashMap::new();
        for table in &gathered.tables {
            if let Some(first) = places.get(&table.name) {
                let message = format!("there is a stick table '{}' already, {}", table.name, at(sources, *first));
                diagnostics.error(table.span, message);
                continue;
            }
            places.insert(table.name.clone(), table.span);
            tables.by_name.insert(table.name.clone(), TableId::new(tables.list.len()));
            tables.list.push(Table {
                name: table.name.clone(),
                key: table.key,
                size: table.size,
                expire: table.expire,
                no_purge: table.no_purge,
                write_to: None,
                columns: table.columns.clone(),
            });
        }
        for table in &gathered.tables {
            let Some(word) = &table.write_to else { continue };
            let target = tables.resolve(word, diagnostics);
            let own = tables.named(&table.name);
            if target.is_some() && target == own {
                diagnostics.error(word.span, "a table cannot be written to itself");
            }
            let same_type = target.and_then(|target| tables.list.get(target.index())).is_none_or(|target| target.key == table.key);
            if !same_type {
                diagnostics.error(word.span, format!("the keys of table '{}' are of another type", word.text));
            }
            if let Some(own) = own.and_then(|own| tables.list.get_mut(own.index())) {
                own.write_to = target;
            }
        }
        tables
    }

    /// The table with this name.
    pub fn named(&self, name: &str) -> Option<TableId> {
        self.by_name.get(name).copied()
    }

    /// The table that a word names; reported when there is none.
    pub fn resolve(&self, word: &Word, diagnostics: &mut Diagnostics) -> Option<TableId> {
        let found = self.named(&word.text);
        if found.is_none() {
            let finding = diagnostics.error(word.span, format!("there is no stick table '{}'", word.text));
            if let Some(near) = keyword::nearest(&word.text, self.by_name.keys().map(|name| &**name)) {
                finding.help(format!("did you mean '{near}'?"));
            } else {
                finding.help("a table has the name of the proxy whose 'stick-table' it is");
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_commas_in_parentheses() {
        assert_eq!(split_list("gpc(2),gpc_rate(2,10s),conn_cur,").collect::<Vec<_>>(), ["gpc(2)", "gpc_rate(2,10s)", "conn_cur"]);
        assert_eq!(split_list(",gpc0").collect::<Vec<_>>(), ["", "gpc0"]);
        assert_eq!(split_list("").count(), 0);
    }

    #[test]
    fn columns_take_what_their_type_needs() {
        let read = |text: &str| column(text).map(|column| (column.data, column.period.map(|period| period.0), column.length));
        assert_eq!(read("gpc0"), Ok((DataType::Gpc0, None, 1)));
        assert_eq!(read("conn_rate(10s)"), Ok((DataType::ConnRate, Some(10_000), 1)));
        assert_eq!(read("gpc_rate(3,500)"), Ok((DataType::GpcRate, Some(500), 3)));
        assert_eq!(read("gpt(100)"), Ok((DataType::Gpt, None, 100)));
        for bad in
            ["", "gpc2", "gpc0(1)", "conn_rate", "conn_rate()", "conn_rate(0)", "conn_rate(1s", "gpc", "gpc(0)", "gpc(101)", "gpc_rate(5)"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
