//! Converters, one file per family (HAProxy manual section 7.3.1). Each family is a list of entries that `registry` joins.
//!
//! A converter gets its input already cast to the type it takes and arguments that the configuration's parser has checked. Bytes stay
//! borrowed where a part of the input is the answer.

// Checks have the type of `ArgumentCheck`, whether they need all of it or not.
#![allow(clippy::ptr_arg)]

mod crypto;
mod date;
mod encoding;
mod fix;
mod hash;
mod json;
mod logic;
mod map;
mod mqtt;
mod network;
mod number;
mod protobuf;
mod split;
mod strftime;
mod substitute;
mod table;
mod text;

use ringmain_model::{Argument, Needs, SampleType};

use super::registry::{ConverterEntry, Parameter};
use super::{Absent, Data, Evaluation, Outcome, Sample, Value};

/// All families.
pub(super) const FAMILIES: &[&[ConverterEntry]] = &[
    text::ENTRIES,
    split::ENTRIES,
    substitute::ENTRIES,
    number::ENTRIES,
    logic::ENTRIES,
    hash::ENTRIES,
    crypto::ENTRIES,
    encoding::ENTRIES,
    network::ENTRIES,
    date::ENTRIES,
    map::ENTRIES,
    json::ENTRIES,
    protobuf::ENTRIES,
    fix::ENTRIES,
    mqtt::ENTRIES,
    table::COLUMNS,
    table::ENTRIES,
];

/// Longest text that a converter makes, in bytes; the rest is cut off.
const TEXT_LIMIT: usize = 1 << 20;

/// The code of a converter.
type Run = for<'a> fn(Evaluation<'a>, Sample<'a>, &'a [Argument]) -> Outcome<'a>;

/// An entry whose arguments are all needed and need no further check.
const fn entry(
    name: &'static str,
    parameters: &'static [Parameter],
    input: SampleType,
    output: SampleType,
    summary: &'static str,
    run: Run,
) -> ConverterEntry {
    ConverterEntry { name, parameters, required: parameters.len(), input, output, needs: Needs::NOTHING, summary, check: None, run }
}

impl ConverterEntry {
    /// The same entry with only the first arguments needed.
    const fn requires(self, required: usize) -> Self {
        Self { required, ..self }
    }

    /// The same entry, looking at more than its input.
    const fn needs(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    /// The same entry with a check of its arguments.
    const fn checks(self, check: super::registry::ArgumentCheck) -> Self {
        Self { check: Some(check), ..self }
    }
}

/// The bytes of a text or binary value.
fn data(value: Value<'_>) -> Data<'_> {
    match value {
        Value::String(data) | Value::Binary(data) => data,
        _ => Data::Borrowed(&[]),
    }
}

/// The number of an integer value.
fn number(value: &Value<'_>) -> i64 {
    match *value {
        Value::Integer(number) => number,
        Value::Boolean(holds) => holds.into(),
        _ => 0,
    }
}

/// An answer as stable as the input.
fn answer<'a>(may_change: bool, value: Value<'a>) -> Outcome<'a> {
    Ok(Sample { value, may_change })
}

/// The bytes of a text argument; nothing when it was left out.
fn words(arguments: &[Argument], position: usize) -> &[u8] {
    super::evaluate::text(arguments, position).unwrap_or_default().as_bytes()
}

/// The value of a variable among the arguments as a type.
fn variable<'a>(evaluation: Evaluation<'a>, arguments: &[Argument], position: usize, wanted: SampleType) -> Result<Value<'a>, Absent> {
    match super::evaluate::argument(arguments, position) {
        Argument::Variable(variable) => evaluation.facts.variable(*variable).and_then(|value| value.cast(wanted)).ok_or(Absent::Missing),
        _ => Err(Absent::Missing),
    }
}

#[cfg(test)]
mod tests;
