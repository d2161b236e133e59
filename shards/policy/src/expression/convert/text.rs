//! Converters of text (manual section 7.3.1).

use ringmain_model::{Argument, Needs, SampleType};

use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Evaluation, Outcome, Sample, Value};

/// The entries.
pub const ENTRIES: &[ConverterEntry] =
    &[entry("length", &[], SampleType::String, SampleType::Integer, "Number of bytes of a text", length)];

const fn entry(
    name: &'static str,
    parameters: &'static [Parameter],
    input: SampleType,
    output: SampleType,
    summary: &'static str,
    run: for<'a> fn(Evaluation<'a>, Sample<'a>, &'a [Argument]) -> Outcome<'a>,
) -> ConverterEntry {
    ConverterEntry { name, parameters, required: parameters.len(), input, output, needs: Needs::NOTHING, summary, check: None, run }
}

fn length<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    let count = match &sample.value {
        Value::String(data) | Value::Binary(data) => data.bytes().len(),
        _ => 0,
    };
    Ok(Sample { value: Value::Integer(count as i64), ..sample })
}
