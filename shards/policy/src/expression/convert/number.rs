//! Arithmetic and bits: 64 bits with sign; results that do not fit stop at the largest or smallest number.

use ringmain_model::{Argument, SampleType};

use super::super::evaluate::integer;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Evaluation, Outcome, Sample, Value};
use super::{answer, entry, number};

const INTEGER: SampleType = SampleType::Integer;
const OPERAND: &[Parameter] = &[Parameter::IntegerOrVariable];

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry("add", OPERAND, INTEGER, INTEGER, "Sum", |e, s, a| calculate(e, s, a, i64::saturating_add)),
    entry("sub", OPERAND, INTEGER, INTEGER, "Difference", |e, s, a| calculate(e, s, a, i64::saturating_sub)),
    entry("mul", OPERAND, INTEGER, INTEGER, "Product", |e, s, a| calculate(e, s, a, i64::saturating_mul)),
    entry("div", OPERAND, INTEGER, INTEGER, "Quotient; the largest number when divided by zero", |e, s, a| calculate(e, s, a, divide)),
    entry("mod", OPERAND, INTEGER, INTEGER, "Remainder; 0 when divided by zero", |e, s, a| calculate(e, s, a, remainder)),
    entry("and", OPERAND, INTEGER, INTEGER, "Bits that both have", |e, s, a| calculate(e, s, a, |left, right| left & right)),
    entry("or", OPERAND, INTEGER, INTEGER, "Bits that either has", |e, s, a| calculate(e, s, a, |left, right| left | right)),
    entry("xor", OPERAND, INTEGER, INTEGER, "Bits that one of both has", |e, s, a| calculate(e, s, a, |left, right| left ^ right)),
    entry("cpl", &[], INTEGER, INTEGER, "All bits flipped", |_, s, _| change(s, |value| Value::Integer(!value))),
    entry("neg", &[], INTEGER, INTEGER, "The opposite number", |_, s, _| change(s, |value| Value::Integer(value.saturating_neg()))),
    entry("bool", &[], INTEGER, SampleType::Boolean, "True when not 0", |_, s, _| change(s, |value| Value::Boolean(value != 0))),
    entry("not", &[], INTEGER, SampleType::Boolean, "True when 0", |_, s, _| change(s, |value| Value::Boolean(value == 0))),
    entry("odd", &[], INTEGER, SampleType::Boolean, "True when odd", |_, s, _| change(s, |value| Value::Boolean(value & 1 == 1))),
    entry("even", &[], INTEGER, SampleType::Boolean, "True when even", |_, s, _| change(s, |value| Value::Boolean(value & 1 == 0))),
];

fn calculate<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument], operation: fn(i64, i64) -> i64) -> Outcome<'a> {
    let operand = integer(evaluation, arguments, 0).ok_or(Absent::Missing)?;
    answer(sample.may_change, Value::Integer(operation(number(&sample.value), operand)))
}

fn change<'a>(sample: Sample<'a>, change: fn(i64) -> Value<'static>) -> Outcome<'a> {
    answer(sample.may_change, change(number(&sample.value)))
}

fn divide(left: i64, right: i64) -> i64 {
    // The smallest number divided by -1 does not fit either.
    left.checked_div(right).unwrap_or(i64::MAX)
}

fn remainder(left: i64, right: i64) -> i64 {
    left.checked_rem(right).unwrap_or(0)
}
