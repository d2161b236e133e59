//! Converters that look a value up in a stick table (manual section 7.3.1, `in_table` and `table_*`).
//!
//! The input becomes a key as the table's type wants it; what cannot become one has no value. No lookup refreshes an entry.

use std::net::IpAddr;

use ringmain_model::table::DataType;
use ringmain_model::{Argument, Needs, SampleType, TableId};

use super::super::evaluate::argument;
use super::super::facts::{Facts, TableQuery, TableSubject};
use super::super::registry::{ArgumentCheck, ConverterEntry, Parameter};
use super::super::stored::{ask, read};
use super::super::{Absent, Evaluation, Outcome, Sample, Value};
use crate::table::Key;
use ringmain_model::table::KeyType;

type Run = for<'a> fn(Evaluation<'a>, Sample<'a>, &'a [Argument]) -> Outcome<'a>;

macro_rules! columns {
    ($(($name:literal, $data:ident, $summary:literal)),* $(,)?) => {
        &[$(
            entry(concat!("table_", $name), TABLE, 0, SampleType::Integer, concat!($summary, ", of this key"),
                |e, s, a| column(e, s, argument(a, 0), DataType::$data, 0)),
        )*]
    };
}

const TABLE: &[Parameter] = &[Parameter::Table];
const TABLE_AND_DEFAULT: &[Parameter] = &[Parameter::Table, Parameter::Integer];
const ELEMENT_AND_TABLE: &[Parameter] = &[Parameter::Integer, Parameter::Table];

/// Converters that give a column.
pub const COLUMNS: &[ConverterEntry] = columns![
    ("bytes_in_rate", BytesInRate, "Bytes from clients per period"),
    ("bytes_out_rate", BytesOutRate, "Bytes to clients per period"),
    ("conn_cnt", ConnCnt, "Connections received"),
    ("conn_cur", ConnCur, "Connections open now"),
    ("conn_rate", ConnRate, "Connections received per period"),
    ("glitch_cnt", GlitchCnt, "Protocol glitches"),
    ("glitch_rate", GlitchRate, "Protocol glitches per period"),
    ("gpc0", Gpc0, "First general purpose counter"),
    ("gpc0_rate", Gpc0Rate, "Increments of the first general purpose counter per period"),
    ("gpc1", Gpc1, "Second general purpose counter"),
    ("gpc1_rate", Gpc1Rate, "Increments of the second general purpose counter per period"),
    ("gpt0", Gpt0, "First general purpose tag"),
    ("http_err_cnt", HttpErrCnt, "HTTP requests that the client did wrong"),
    ("http_err_rate", HttpErrRate, "HTTP requests that the client did wrong per period"),
    ("http_fail_cnt", HttpFailCnt, "HTTP requests that failed on the server's side"),
    ("http_fail_rate", HttpFailRate, "HTTP requests that failed on the server's side per period"),
    ("http_req_cnt", HttpReqCnt, "HTTP requests"),
    ("http_req_rate", HttpReqRate, "HTTP requests per period"),
    ("server_id", ServerId, "Number of the server"),
    ("sess_cnt", SessCnt, "Connections that became sessions"),
    ("sess_rate", SessRate, "Connections that became sessions per period"),
];

/// The others.
pub const ENTRIES: &[ConverterEntry] = &[
    entry("in_table", TABLE, 0, SampleType::Boolean, "Whether the table has an entry with this key", in_table),
    entry("table_kbytes_in", TABLE, 0, SampleType::Integer, "Kilobytes from clients, of this key", |e, s, a| {
        kilobytes(e, s, a, DataType::BytesInCnt)
    }),
    entry("table_kbytes_out", TABLE, 0, SampleType::Integer, "Kilobytes to clients, of this key", |e, s, a| {
        kilobytes(e, s, a, DataType::BytesOutCnt)
    }),
    entry("table_trackers", TABLE, 0, SampleType::Integer, "Sessions that track the entry with this key", trackers),
    entry("table_idle", TABLE_AND_DEFAULT, 0, SampleType::Integer, "Milliseconds since the entry with this key was used", idle),
    entry("table_expire", TABLE_AND_DEFAULT, 0, SampleType::Integer, "Milliseconds until the entry with this key expires", expire),
    element("table_gpc", "A general purpose counter, of this key", |e, s, a| array(e, s, a, DataType::Gpc)),
    element("table_gpc_rate", "Increments of a general purpose counter per period, of this key", |e, s, a| {
        array(e, s, a, DataType::GpcRate)
    }),
    element("table_gpt", "A general purpose tag, of this key", |e, s, a| array(e, s, a, DataType::Gpt)),
];

const fn entry(
    name: &'static str,
    parameters: &'static [Parameter],
    required: usize,
    output: SampleType,
    summary: &'static str,
    run: Run,
) -> ConverterEntry {
    ConverterEntry { name, parameters, required, input: SampleType::Any, output, needs: Needs::TABLE, summary, check: None, run }
}

const fn element(name: &'static str, summary: &'static str, run: Run) -> ConverterEntry {
    const CHECK: ArgumentCheck = |arguments| check_element(arguments);
    ConverterEntry { check: Some(CHECK), ..entry(name, ELEMENT_AND_TABLE, 1, SampleType::Integer, summary, run) }
}

fn check_element(arguments: &[Argument]) -> Result<(), (usize, String)> {
    match argument(arguments, 0) {
        Argument::Integer(0..100) => Ok(()),
        _ => Err((0, String::from("elements are numbered from 0 to 99"))),
    }
}

/// The entry whose key is a value.
fn subject(facts: &dyn Facts, value: &Value<'_>, table: &Argument) -> Result<(TableId, TableSubject), Absent> {
    let Argument::Table(table) = table else { return Err(Absent::Missing) };
    let key = key(value, facts.table_key_type(*table)).ok_or(Absent::Missing)?;
    Ok((*table, TableSubject::Key(*table, key)))
}

/// A value as a table's key; `None` when it cannot be one.
fn key(value: &Value<'_>, key_type: KeyType) -> Option<Key> {
    match value {
        Value::Boolean(value) => match key_type {
            KeyType::Integer | KeyType::String { .. } => Key::from_integer((*value).into(), key_type),
            KeyType::Ip | KeyType::Ipv6 | KeyType::Binary { .. } => None,
        },
        Value::Integer(value) => Key::from_integer(*value, key_type),
        Value::Ipv4(address) => Key::from_address(IpAddr::V4(*address), key_type),
        Value::Ipv6(address) => Key::from_address(IpAddr::V6(*address), key_type),
        Value::String(data) => Key::from_text(data.bytes(), key_type),
        Value::Binary(data) => Key::from_bytes(data.bytes(), key_type),
    }
}

fn integer(sample: &Sample<'_>, value: i64) -> Sample<'static> {
    Sample { value: Value::Integer(value), may_change: sample.may_change }
}

fn column<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, table: &Argument, data: DataType, index: u8) -> Outcome<'a> {
    let (table, subject) = subject(evaluation.facts, &sample.value, table)?;
    Ok(integer(&sample, read(evaluation.facts, table, subject, data, index)?))
}

fn array<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &[Argument], data: DataType) -> Outcome<'a> {
    let Argument::Integer(index) = argument(arguments, 0) else { return Err(Absent::Missing) };
    column(evaluation, sample, argument(arguments, 1), data, u8::try_from(*index).map_err(|_| Absent::Missing)?)
}

fn kilobytes<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &[Argument], data: DataType) -> Outcome<'a> {
    let (table, subject) = subject(evaluation.facts, &sample.value, argument(arguments, 0))?;
    Ok(integer(&sample, read(evaluation.facts, table, subject, data, 0)? >> 10))
}

fn in_table<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (_, subject) = subject(evaluation.facts, &sample.value, argument(arguments, 0))?;
    let exists = ask(evaluation.facts, &TableQuery::Exists(subject))?.unwrap_or(0) != 0;
    Ok(Sample { value: Value::Boolean(exists), may_change: sample.may_change })
}

fn trackers<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (_, subject) = subject(evaluation.facts, &sample.value, argument(arguments, 0))?;
    Ok(integer(&sample, ask(evaluation.facts, &TableQuery::Trackers(subject))?.unwrap_or(0)))
}

fn idle<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (_, subject) = subject(evaluation.facts, &sample.value, argument(arguments, 0))?;
    let found = ask(evaluation.facts, &TableQuery::Idle(subject))?;
    Ok(integer(&sample, or_default(found, arguments)?))
}

fn expire<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (table, subject) = subject(evaluation.facts, &sample.value, argument(arguments, 0))?;
    let expires = evaluation.facts.table_definition(table).is_some_and(|table| table.expire.is_some());
    let found = if expires {
        ask(evaluation.facts, &TableQuery::Expire(subject))?
    } else {
        // Entries that never expire have nothing left, as in HAProxy.
        ask(evaluation.facts, &TableQuery::Exists(subject))?.filter(|&exists| exists != 0).map(|_| 0)
    };
    Ok(integer(&sample, or_default(found, arguments)?))
}

fn or_default(found: Option<i64>, arguments: &[Argument]) -> Result<i64, Absent> {
    match (found, argument(arguments, 1)) {
        (Some(value), _) => Ok(value),
        (None, Argument::Integer(value)) => Ok(*value),
        _ => Err(Absent::Missing),
    }
}
