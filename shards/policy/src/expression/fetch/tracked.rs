//! Fetches of stick table entries: of those that a session tracks (`sc_*`, `sc0_*` to `sc2_*`) and of that of the client's address
//! (`src_*`), manual section 7.3.3.
//!
//! As in HAProxy: a counter that tracks nothing has no value; a key without an entry has the value 0; an entry without the column has none.

use ringmain_model::table::DataType;
use ringmain_model::{Argument, Needs, SampleType, TableId};

use super::super::evaluate::argument;
use super::super::facts::{Facts, TableQuery, TableSubject};
use super::super::registry::{FetchEntry, Parameter};
use super::super::stored::{ask, is_stored, read};
use super::super::{Absent, Evaluation, Outcome};
use super::{checked, entry, flag, known, number, optional_from};
use crate::table::Key;

/// Most entries that a session tracks.
const COUNTERS: i64 = 3;

/// What a fetch does with a cell.
#[derive(Clone, Copy)]
enum Work {
    Read,
    /// Reads bytes as kilobytes.
    ReadKilobytes,
    /// Adds one to a general purpose counter.
    Increment,
    /// Adds one to the connections; nothing where they are not stored.
    Update,
    Clear,
}

/// An entry of a table.
struct Target {
    table: TableId,
    subject: TableSubject,
    /// The entry is made when it is not there.
    creates: bool,
}

macro_rules! single {
    ($(($name:literal, $work:ident, $data:ident, $summary:literal)),* $(,)?) => {
        &[$(
            optional_from(1, checked(|arguments| check_counter(arguments), entry(
                concat!("sc_", $name), &[Parameter::Integer, Parameter::OtherTable], SampleType::Integer, Needs::TABLE,
                concat!($summary, ", of the entry tracked by this counter"),
                |e, a| run(e, numbered(e, a, 0)?, Work::$work, DataType::$data, 0),
            ))),
            fixed(concat!("sc0_", $name), concat!($summary, ", of the first tracked entry"),
                |e, a| run(e, tracked(e, 0, argument(a, 0))?, Work::$work, DataType::$data, 0)),
            fixed(concat!("sc1_", $name), concat!($summary, ", of the second tracked entry"),
                |e, a| run(e, tracked(e, 1, argument(a, 0))?, Work::$work, DataType::$data, 0)),
            fixed(concat!("sc2_", $name), concat!($summary, ", of the third tracked entry"),
                |e, a| run(e, tracked(e, 2, argument(a, 0))?, Work::$work, DataType::$data, 0)),
            source(concat!("src_", $name), &[Parameter::Table], concat!($summary, ", of the client's address"),
                |e, a| run(e, of_source(e, argument(a, 0))?, Work::$work, DataType::$data, 0)),
        )*]
    };
}

macro_rules! arrays {
    ($(($name:literal, $work:ident, $data:ident, $summary:literal)),* $(,)?) => {
        &[$(
            optional_from(2, checked(|arguments| check_element_and_counter(arguments), entry(
                concat!("sc_", $name), &[Parameter::Integer, Parameter::Integer, Parameter::OtherTable], SampleType::Integer, Needs::TABLE,
                concat!($summary, ", of the entry tracked by this counter"),
                |e, a| run(e, numbered(e, a, 1)?, Work::$work, DataType::$data, element(a)?),
            ))),
            optional_from(1, checked(|arguments| check_element(arguments), source(
                concat!("src_", $name), &[Parameter::Integer, Parameter::Table], concat!($summary, ", of the client's address"),
                |e, a| run(e, of_source(e, argument(a, 1))?, Work::$work, DataType::$data, element(a)?),
            ))),
        )*]
    };
}

/// Fetches of single columns.
pub const SINGLE: &[FetchEntry] = single![
    ("bytes_in_rate", Read, BytesInRate, "Bytes from clients per period"),
    ("bytes_out_rate", Read, BytesOutRate, "Bytes to clients per period"),
    ("clr_gpc0", Clear, Gpc0, "Clears the first general purpose counter and gives its old value"),
    ("clr_gpc1", Clear, Gpc1, "Clears the second general purpose counter and gives its old value"),
    ("conn_cnt", Read, ConnCnt, "Connections received"),
    ("conn_cur", Read, ConnCur, "Connections open now"),
    ("conn_rate", Read, ConnRate, "Connections received per period"),
    ("get_gpc0", Read, Gpc0, "First general purpose counter"),
    ("get_gpc1", Read, Gpc1, "Second general purpose counter"),
    ("get_gpt0", Read, Gpt0, "First general purpose tag"),
    ("glitch_cnt", Read, GlitchCnt, "Protocol glitches"),
    ("glitch_rate", Read, GlitchRate, "Protocol glitches per period"),
    ("gpc0_rate", Read, Gpc0Rate, "Increments of the first general purpose counter per period"),
    ("gpc1_rate", Read, Gpc1Rate, "Increments of the second general purpose counter per period"),
    ("http_err_cnt", Read, HttpErrCnt, "HTTP requests that the client did wrong"),
    ("http_err_rate", Read, HttpErrRate, "HTTP requests that the client did wrong per period"),
    ("http_fail_cnt", Read, HttpFailCnt, "HTTP requests that failed on the server's side"),
    ("http_fail_rate", Read, HttpFailRate, "HTTP requests that failed on the server's side per period"),
    ("http_req_cnt", Read, HttpReqCnt, "HTTP requests"),
    ("http_req_rate", Read, HttpReqRate, "HTTP requests per period"),
    ("inc_gpc0", Increment, Gpc0, "Increments the first general purpose counter and gives its new value"),
    ("inc_gpc1", Increment, Gpc1, "Increments the second general purpose counter and gives its new value"),
    ("kbytes_in", ReadKilobytes, BytesInCnt, "Kilobytes from clients"),
    ("kbytes_out", ReadKilobytes, BytesOutCnt, "Kilobytes to clients"),
    ("sess_cnt", Read, SessCnt, "Connections that became sessions"),
    ("sess_rate", Read, SessRate, "Connections that became sessions per period"),
];

/// Fetches of array columns.
pub const ARRAYS: &[FetchEntry] = arrays![
    ("clr_gpc", Clear, Gpc, "Clears a general purpose counter and gives its old value"),
    ("get_gpc", Read, Gpc, "A general purpose counter"),
    ("get_gpt", Read, Gpt, "A general purpose tag"),
    ("gpc_rate", Read, GpcRate, "Increments of a general purpose counter per period"),
    ("inc_gpc", Increment, Gpc, "Increments a general purpose counter and gives its new value"),
];

/// Fetches of the tracking itself, and the one that counts a connection without tracking.
pub const STATE: &[FetchEntry] = &[
    source("src_updt_conn_cnt", &[Parameter::Table], "Counts a connection of the client's address and gives the new number", |e, a| {
        run(e, of_source(e, argument(a, 0))?, Work::Update, DataType::ConnCnt, 0)
    }),
    optional_from(
        1,
        checked(
            |arguments| check_counter(arguments),
            entry("sc_tracked", COUNTER, SampleType::Boolean, Needs::TABLE, TRACKED, |e, a| match argument(a, 0) {
                Argument::Integer(counter) => is_tracked(e, *counter),
                _ => Err(Absent::Missing),
            }),
        ),
    ),
    tracked_flag("sc0_tracked", |e, _| is_tracked(e, 0)),
    tracked_flag("sc1_tracked", |e, _| is_tracked(e, 1)),
    tracked_flag("sc2_tracked", |e, _| is_tracked(e, 2)),
    optional_from(
        1,
        checked(
            |arguments| check_counter(arguments),
            entry("sc_trackers", COUNTER, SampleType::Integer, Needs::TABLE, TRACKERS, |e, a| trackers(e, numbered(e, a, 0)?)),
        ),
    ),
    fixed("sc0_trackers", TRACKERS, |e, a| trackers(e, tracked(e, 0, argument(a, 0))?)),
    fixed("sc1_trackers", TRACKERS, |e, a| trackers(e, tracked(e, 1, argument(a, 0))?)),
    fixed("sc2_trackers", TRACKERS, |e, a| trackers(e, tracked(e, 2, argument(a, 0))?)),
];

const COUNTER: &[Parameter] = &[Parameter::Integer, Parameter::OtherTable];
const TRACKED: &str = "Whether the session tracks an entry with this counter";
const TRACKERS: &str = "Sessions that track the same entry";

const fn fixed(name: &'static str, summary: &'static str, run: super::Run) -> FetchEntry {
    optional_from(0, entry(name, &[Parameter::OtherTable], SampleType::Integer, Needs::TABLE, summary, run))
}

const fn tracked_flag(name: &'static str, run: super::Run) -> FetchEntry {
    optional_from(0, entry(name, &[Parameter::OtherTable], SampleType::Boolean, Needs::TABLE, TRACKED, run))
}

const fn source(name: &'static str, parameters: &'static [Parameter], summary: &'static str, run: super::Run) -> FetchEntry {
    optional_from(0, entry(name, parameters, SampleType::Integer, Needs::TABLE.and(Needs::CLIENT_ADDRESS), summary, run))
}

fn check_counter(arguments: &[Argument]) -> Result<(), (usize, String)> {
    check_range(arguments, 0, COUNTERS, "a session tracks three entries, by the counters 0, 1 and 2")
}

fn check_element(arguments: &[Argument]) -> Result<(), (usize, String)> {
    check_range(arguments, 0, i64::from(ringmain_model::table::ARRAY_LENGTH_MAX), "elements are numbered from 0 to 99")
}

fn check_element_and_counter(arguments: &[Argument]) -> Result<(), (usize, String)> {
    check_element(arguments)?;
    check_range(arguments, 1, COUNTERS, "a session tracks three entries, by the counters 0, 1 and 2")
}

fn check_range(arguments: &[Argument], at: usize, end: i64, why: &str) -> Result<(), (usize, String)> {
    match argument(arguments, at) {
        Argument::Integer(value) if !(0..end).contains(value) => Err((at, String::from(why))),
        _ => Ok(()),
    }
}

fn element(arguments: &[Argument]) -> Result<u8, Absent> {
    match argument(arguments, 0) {
        Argument::Integer(index) => u8::try_from(*index).map_err(|_| Absent::Missing),
        _ => Err(Absent::Missing),
    }
}

/// The entry of the counter whose number is the argument at this position, in the table of the next argument.
fn numbered(evaluation: Evaluation<'_>, arguments: &[Argument], at: usize) -> Result<Target, Absent> {
    match argument(arguments, at) {
        Argument::Integer(counter) => tracked(evaluation, *counter, argument(arguments, at + 1)),
        _ => Err(Absent::Missing),
    }
}

fn tracked(evaluation: Evaluation<'_>, counter: i64, table: &Argument) -> Result<Target, Absent> {
    let counter = u8::try_from(counter).map_err(|_| Absent::Missing)?;
    let own = known(evaluation.facts.tracked(counter))?;
    Ok(match table {
        Argument::Table(other) if *other != own => {
            Target { table: *other, subject: TableSubject::Tracked(counter, Some(*other)), creates: false }
        }
        _ => Target { table: own, subject: TableSubject::Tracked(counter, None), creates: false },
    })
}

fn of_source(evaluation: Evaluation<'_>, table: &Argument) -> Result<Target, Absent> {
    let Argument::Table(table) = table else { return Err(Absent::Missing) };
    let address = known(evaluation.facts.client())?.ip();
    let key = known(Key::from_address(address, evaluation.facts.table_key_type(*table)))?;
    Ok(Target { table: *table, subject: TableSubject::Key(*table, key), creates: true })
}

fn run<'a>(evaluation: Evaluation<'a>, target: Target, work: Work, data: DataType, index: u8) -> Outcome<'a> {
    let facts = evaluation.facts;
    match work {
        Work::Read => number(read(facts, target.table, target.subject, data, index)?),
        Work::ReadKilobytes => number(read(facts, target.table, target.subject, data, index)? >> 10),
        Work::Increment => {
            let rate = match data {
                DataType::Gpc0 => DataType::Gpc0Rate,
                DataType::Gpc1 => DataType::Gpc1Rate,
                _ => DataType::GpcRate,
            };
            if !is_stored(facts, target.table, data, index) && !is_stored(facts, target.table, rate, index) {
                return known(facts.table_definition(target.table)).and_then(|_| number(0));
            }
            change(facts, target, |subject| TableQuery::Add(subject, data, index, 1))
        }
        Work::Update if !is_stored(facts, target.table, data, index) => Err(Absent::Missing),
        Work::Update => change(facts, target, |subject| TableQuery::Add(subject, data, index, 1)),
        // A missing column is told apart from a missing entry.
        Work::Clear if !is_stored(facts, target.table, data, index) => number(read(facts, target.table, target.subject, data, index)?),
        Work::Clear => change(facts, target, |subject| TableQuery::Clear(subject, data, index)),
    }
}

/// Gives an order. The key that a session tracks in one table has no entry made in another one.
fn change<'a>(facts: &dyn Facts, target: Target, order: impl FnOnce(TableSubject) -> TableQuery) -> Outcome<'a> {
    let Target { subject, creates, .. } = target;
    if !creates
        && matches!(subject, TableSubject::Tracked(_, Some(_)))
        && ask(facts, &TableQuery::Exists(subject.clone()))?.unwrap_or(0) == 0
    {
        return number(0);
    }
    number(ask(facts, &order(subject))?.unwrap_or(0))
}

fn is_tracked<'a>(evaluation: Evaluation<'a>, counter: i64) -> Outcome<'a> {
    flag(u8::try_from(counter).is_ok_and(|counter| evaluation.facts.tracked(counter).is_some()))
}

fn trackers<'a>(evaluation: Evaluation<'a>, target: Target) -> Outcome<'a> {
    number(ask(evaluation.facts, &TableQuery::Trackers(target.subject))?.unwrap_or(0))
}
