//! Decisions between values: `iif`, `strcmp`, `secure_memcmp`.

use ringmain_model::{Argument, SampleType};

use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Evaluation, Outcome, Sample, Value};
use super::{answer, data, entry, number, variable, words};

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry(
        "iif",
        &[Parameter::Text, Parameter::Text],
        SampleType::Boolean,
        SampleType::String,
        "The first text when true, else the second",
        choose,
    ),
    entry(
        "strcmp",
        &[Parameter::Variable],
        SampleType::String,
        SampleType::Integer,
        "0 when a variable has this text, else below or above 0 as the text comes before or after it",
        compare,
    ),
    entry(
        "secure_memcmp",
        &[Parameter::Variable],
        SampleType::Binary,
        SampleType::Boolean,
        "Whether a variable has these bytes, compared in constant time",
        is_same,
    ),
];

fn choose<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let chosen = words(arguments, usize::from(number(&sample.value) == 0));
    answer(sample.may_change, Value::text(chosen))
}

fn compare<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (left, right) = (data(sample.value), data(variable(evaluation, arguments, 0, SampleType::String)?));
    let (left, right) = (left.bytes(), right.bytes());
    // The first bytes that differ are subtracted, as the C library's function does on most machines.
    let first = left.iter().zip(right).find(|(left, right)| left != right);
    let order = match first {
        Some((&left, &right)) => i64::from(left) - i64::from(right),
        None => left.len().cmp(&right.len()) as i64,
    };
    answer(sample.may_change, Value::Integer(order))
}

fn is_same<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (left, right) = (data(sample.value), data(variable(evaluation, arguments, 0, SampleType::Binary)?));
    let (left, right) = (left.bytes(), right.bytes());
    // Every byte is looked at, wherever the first difference is.
    let difference = left.iter().zip(right).fold(0, |difference, (left, right)| std::hint::black_box(difference | (left ^ right)));
    answer(sample.may_change, Value::Boolean(left.len() == right.len() && difference == 0))
}
