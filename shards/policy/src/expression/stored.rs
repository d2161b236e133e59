//! What fetches and converters read of stick table entries.

use ringmain_model::TableId;
use ringmain_model::table::DataType;

use super::Absent;
use super::facts::{Facts, TableQuery, TableSubject};

/// The answer to a query.
///
/// # Errors
/// [`Absent::Table`] when it must be fetched first.
pub(super) fn ask(facts: &dyn Facts, query: &TableQuery) -> Result<Option<i64>, Absent> {
    facts.table(query).ok_or(Absent::Table)
}

/// Whether a table stores a data type, or an array that serves it.
pub(super) fn is_stored(facts: &dyn Facts, table: TableId, data: DataType, index: u8) -> bool {
    let Some(definition) = facts.table_definition(table) else { return false };
    let holds = |data, index| definition.column(data).is_some_and(|column| index < column.length);
    holds(data, u32::from(index)) || data.array().is_some_and(|(array, element)| holds(array, element))
}

/// A cell's value: 0 when there is no entry.
///
/// # Errors
/// [`Absent::Missing`] when there is an entry without this column.
pub(super) fn read(facts: &dyn Facts, table: TableId, subject: TableSubject, data: DataType, index: u8) -> Result<i64, Absent> {
    if is_stored(facts, table, data, index) {
        return Ok(ask(facts, &TableQuery::Read(subject, data, index))?.unwrap_or(0));
    }
    match ask(facts, &TableQuery::Exists(subject))? {
        Some(1..) => Err(Absent::Missing),
        _ => Ok(0),
    }
}
