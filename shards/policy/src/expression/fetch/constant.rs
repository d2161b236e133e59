//! Fetches that give what is written: `bool`, `int`, `str`, `always_true` (manual section 7.3.2).

use ringmain_model::{Argument, Needs, SampleType};

use super::super::evaluate::{argument, text};
use super::super::registry::{FetchEntry, Parameter};
use super::super::{Absent, Evaluation, Outcome, Sample, Value};

/// The entries.
pub const ENTRIES: &[FetchEntry] = &[
    entry("always_true", &[], SampleType::Boolean, "True", |_, _| Ok(Sample::fixed(Value::Boolean(true)))),
    entry("always_false", &[], SampleType::Boolean, "False", |_, _| Ok(Sample::fixed(Value::Boolean(false)))),
    entry("int", &[Parameter::Integer], SampleType::Integer, "The number given", int),
    entry("str", &[Parameter::Text], SampleType::String, "The text given", str),
];

const fn entry(
    name: &'static str,
    parameters: &'static [Parameter],
    output: SampleType,
    summary: &'static str,
    run: for<'a> fn(Evaluation<'a>, &'a [Argument]) -> Outcome<'a>,
) -> FetchEntry {
    FetchEntry { name, parameters, required: parameters.len(), output, needs: Needs::NOTHING, summary, check: None, run }
}

fn int<'a>(_: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    match argument(arguments, 0) {
        Argument::Integer(value) => Ok(Sample::fixed(Value::Integer(*value))),
        _ => Err(Absent::Missing),
    }
}

fn str<'a>(_: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    text(arguments, 0).map(|text| Sample::fixed(Value::text(text))).ok_or(Absent::Missing)
}
