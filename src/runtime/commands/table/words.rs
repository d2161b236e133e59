//! The words behind a table's name: conditions of `show` and `clear`, values of `set`.

use ringmain_model::table::{DataClass, DataType, Table};
use ringmain_policy::table::{CONDITIONS_MAX, Cell, Condition, Filter, Operator, Value};

use super::Act;
use crate::runtime::Call;

/// Where conditions begin.
const FILTER_AT: usize = 3;
/// Where values begin.
const VALUES_AT: usize = 5;

/// What a command wants to be given.
pub(super) fn usage(act: Act) -> &'static str {
    match act {
        Act::Show => "Optional argument only supports \"data.<store_data_type>\" <operator> <value> and key <key>",
        Act::Clear => "Required arguments: <table> \"data.<store_data_type>\" <operator> <value> or <table> key <key>",
        Act::Set => "Required arguments: <table> key <key> [data.<store_data_type> <value>]*",
    }
}

/// The conditions of `show table NAME data.TYPE OPERATOR VALUE ...`.
///
/// # Errors
/// HAProxy's words about the first mistake.
pub(super) fn filter(call: &Call<'_, '_>, table: &Table) -> Result<Filter, String> {
    let mut conditions = Vec::new();
    let mut at = FILTER_AT;
    while conditions.len() < CONDITIONS_MAX && !call.word(at).is_empty() {
        let condition = condition([call.word(at), call.word(at + 1), call.word(at + 2)], table);
        conditions.push(condition.map_err(|mistake| format!("Filter entry #{}: {mistake}", conditions.len() + 1))?);
        at += 3;
    }
    if !call.word(at).is_empty() {
        return Err(format!("Detected extra data in filter, {}th word of input, after '{}'", at + 1, call.word(at - 1)));
    }
    Ok(Filter { conditions })
}

fn condition([data, operator, value]: [&str; 3], table: &Table) -> Result<Condition, &'static str> {
    let data = stored(data, table)?;
    let operator = Operator::from_name(operator).ok_or("Require and operator among \"eq\", \"ne\", \"le\", \"ge\", \"lt\", \"gt\"")?;
    let value = integer(value).ok_or("Require a valid integer value to compare against")?;
    Ok(Condition { data, index: 0, operator, value })
}

/// The values of `set table NAME key KEY data.TYPE VALUE ...` up to the first mistake, and that mistake in HAProxy's words.
pub(super) fn values(call: &Call<'_, '_>, table: &Table) -> (Vec<Cell>, Option<&'static str>) {
    let mut cells = Vec::new();
    let mut at = VALUES_AT;
    while !call.word(at).is_empty() {
        if !call.word(at).starts_with("data.") {
            return (cells, Some("\"data.<type>\" followed by a value expected"));
        }
        match value(call.word(at), call.word(at + 1), table) {
            Ok(cell) => cells.extend(cell),
            Err(mistake) => return (cells, Some(mistake)),
        }
        at += 2;
    }
    (cells, None)
}

/// The cell to write; none for a server's name, which no number can be.
fn value(data: &str, number: &str, table: &Table) -> Result<Option<Cell>, &'static str> {
    let data = stored(data, table)?;
    let number = integer(number).ok_or("Require a valid integer value to store")?;
    let value = match data.class() {
        DataClass::ServerKey => return Ok(None),
        DataClass::Large => number as u64,
        // The low 32 bits, as HAProxy stores them.
        DataClass::Number | DataClass::Rate | DataClass::ServerId => u64::from(number as u32),
    };
    Ok(Some(Cell { data, index: 0, value: Value::Number(value) }))
}

/// The stored type of `data.TYPE`. HAProxy does not look at the five characters in front of the type, so that only the first condition
/// must begin with `data.`.
fn stored(word: &str, table: &Table) -> Result<DataType, &'static str> {
    let data = word.get("data.".len()..).and_then(DataType::from_name).ok_or("Unknown data type")?;
    table.column(data).map(|column| column.data).ok_or("Data type not stored in this table")
}

/// A 64-bit number as HAProxy reads it: a minus sign may stand in front, a plus sign may not, and a minus sign alone is 0.
fn integer(text: &str) -> Option<i64> {
    match text {
        "-" => Some(0),
        _ if text.starts_with('+') => None,
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_haproxy() {
        for (text, number) in [
            ("05", Some(5)),
            ("-5", Some(-5)),
            ("-", Some(0)),
            ("+5", None),
            ("", None),
            ("5x", None),
            ("0x5", None),
            ("--5", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
        ] {
            assert_eq!(integer(text), number, "{text}");
        }
    }
}
