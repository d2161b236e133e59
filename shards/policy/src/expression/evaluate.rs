//! Runs an expression.

use ringmain_model::{Argument, Expression, SampleType};

use super::facts::Facts;
use super::registry::{CONVERTERS, FETCHES};
use super::sample::Sample;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// There is none, and it stays so.
    Missing,
    /// There is none yet: more bytes may bring it.
    NotYet,
    /// A stick table's answer must be fetched first; `Facts::table` has noted which. Then evaluate again.
    Table,
}

/// A value or why there is none.
pub type Outcome<'a> = Result<Sample<'a>, Absent>;

/// One evaluation: what fetches and converters may ask.
#[derive(Clone, Copy)]
pub struct Evaluation<'a> {
    /// The session, or what stands for it.
    pub facts: &'a dyn Facts,
    /// Nothing more will come: what is there is all there is, and nothing may change any more.
    pub is_final: bool,
}

/// The value of an expression. Allocates only where a converter makes new bytes longer than 64.
///
/// # Errors
/// When there is no value.
pub fn evaluate<'a>(expression: &'a Expression, evaluation: Evaluation<'a>) -> Outcome<'a> {
    let fetch = FETCHES.get(usize::from(expression.fetch.entry)).ok_or(Absent::Missing)?;
    let mut sample = (fetch.run)(evaluation, &expression.fetch.arguments).map_err(|absent| settled(absent, evaluation))?;
    for call in &expression.converters {
        let converter = CONVERTERS.get(usize::from(call.entry)).ok_or(Absent::Missing)?;
        let may_change = sample.may_change;
        let absent = move || if may_change && !evaluation.is_final { Absent::NotYet } else { Absent::Missing };
        sample.value = sample.value.cast(converter.input).ok_or_else(absent)?;
        sample = (converter.run)(evaluation, sample, &call.arguments).map_err(|why| match why {
            Absent::Missing => absent(),
            other => settled(other, evaluation),
        })?;
    }
    sample.may_change &= !evaluation.is_final;
    Ok(sample)
}

/// The value of an expression as a given type.
///
/// # Errors
/// When there is no value, or none of this type.
pub fn evaluate_as<'a>(expression: &'a Expression, wanted: SampleType, evaluation: Evaluation<'a>) -> Outcome<'a> {
    let Sample { value, may_change } = evaluate(expression, evaluation)?;
    match value.cast(wanted) {
        Some(value) => Ok(Sample { value, may_change }),
        None if may_change => Err(Absent::NotYet),
        None => Err(Absent::Missing),
    }
}

fn settled(absent: Absent, evaluation: Evaluation<'_>) -> Absent {
    if evaluation.is_final && absent == Absent::NotYet { Absent::Missing } else { absent }
}

/// The arguments of a call by position; missing ones are `Absent`.
pub(super) fn argument(arguments: &[Argument], position: usize) -> &Argument {
    arguments.get(position).unwrap_or(&Argument::Absent)
}

/// A number among the arguments, also of durations and sizes; a variable's value where a variable stands for it.
pub(super) fn integer(evaluation: Evaluation<'_>, arguments: &[Argument], position: usize) -> Option<i64> {
    match argument(arguments, position) {
        Argument::Integer(value) => Some(*value),
        Argument::Time(time) => i64::try_from(time.get()).ok(),
        Argument::Variable(variable) => match evaluation.facts.variable(*variable)?.cast(SampleType::Integer)? {
            super::Value::Integer(value) => Some(value),
            _ => None,
        },
        _ => None,
    }
}

/// Text among the arguments.
pub(super) fn text(arguments: &[Argument], position: usize) -> Option<&str> {
    match argument(arguments, position) {
        Argument::Text(text) => Some(text),
        _ => None,
    }
}
