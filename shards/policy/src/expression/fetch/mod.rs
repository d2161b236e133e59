//! Fetches, one file per family. Each family is a list of entries that `registry` joins.
//!
//! Arguments have been checked at load; what a fetch wants to know it asks [`super::Facts`]. None of them has a side effect except those of
//! `tracked` whose names say so (`sc_inc_gpc0`, `src_clr_gpc0`).

mod address;
mod constant;
mod load;
mod mqtt;
mod payload;
mod process;
mod rdp;
mod session;
mod tracked;

use ringmain_model::{Argument, Expression, Needs, SampleType};

use super::registry::{ArgumentCheck, CONVERTERS, FETCHES, FetchEntry, Parameter, fetch_entry};
use super::{Absent, Evaluation, Outcome, Sample, Value};

/// All families.
pub(super) const FAMILIES: &[&[FetchEntry]] = &[
    constant::ENTRIES,
    process::ENTRIES,
    load::ENTRIES,
    address::ENTRIES,
    session::ENTRIES,
    tracked::SINGLE,
    tracked::ARRAYS,
    tracked::STATE,
    payload::ENTRIES,
    mqtt::ENTRIES,
    rdp::ENTRIES,
];

/// The same expression where a response is looked at: there `payload` and `payload_lv` are of the response (manual section 7.3.5).
pub fn of_response(mut expression: Expression) -> Expression {
    let name = FETCHES.get(usize::from(expression.fetch.entry)).and_then(|entry| payload::response_name(entry.name));
    if let Some((index, entry)) = name.and_then(fetch_entry) {
        expression.fetch.entry = index;
        let converters = expression.converters.iter().filter_map(|call| CONVERTERS.get(usize::from(call.entry)));
        expression.needs = converters.fold(entry.needs, |needs, converter| needs.and(converter.needs));
    }
    expression
}

type Run = for<'a> fn(Evaluation<'a>, &'a [Argument]) -> Outcome<'a>;

/// An entry whose arguments must all be given.
const fn entry(
    name: &'static str,
    parameters: &'static [Parameter],
    output: SampleType,
    needs: Needs,
    summary: &'static str,
    run: Run,
) -> FetchEntry {
    FetchEntry { name, parameters, required: parameters.len(), output, needs, summary, check: None, run }
}

/// The same entry with arguments that may be left out from this position on.
const fn optional_from(required: usize, entry: FetchEntry) -> FetchEntry {
    FetchEntry { required, ..entry }
}

/// The same entry with a check of its arguments.
const fn checked(check: ArgumentCheck, entry: FetchEntry) -> FetchEntry {
    FetchEntry { check: Some(check), ..entry }
}

fn flag<'a>(value: bool) -> Outcome<'a> {
    Ok(Sample::fixed(Value::Boolean(value)))
}

fn number<'a>(value: impl Into<i64>) -> Outcome<'a> {
    Ok(Sample::fixed(Value::Integer(value.into())))
}

/// A number that has no sign, saturated.
fn unsigned<'a>(value: u64) -> Outcome<'a> {
    number(i64::try_from(value).unwrap_or(i64::MAX))
}

fn words(value: &str) -> Outcome<'_> {
    Ok(Sample::fixed(Value::text(value)))
}

/// What is not there stays so.
fn known<T>(value: Option<T>) -> Result<T, Absent> {
    value.ok_or(Absent::Missing)
}

#[cfg(test)]
mod tests;
