//! Fetches of the bytes received and not forwarded yet (manual section 7.3.5, layer 6).
//!
//! What is not there may still come, so these fetches tell apart what is missing for good and what is missing so far
//! ([`Absent::NotYet`]). What lies beyond [`super::super::Facts::inspected_bytes_max`] is missing for good from the beginning.

use ringmain_model::{Argument, Needs, SampleType};

use super::super::evaluate::{argument, text};
use super::super::facts::Bytes;
use super::super::registry::{FetchEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{checked, entry, known, optional_from};

/// The entries.
pub const ENTRIES: &[FetchEntry] = &[
    length("req.len", Needs::REQUEST, |e, _| length_of(e.facts.request())),
    length("req_len", Needs::REQUEST, |e, _| length_of(e.facts.request())),
    length("res.len", Needs::RESPONSE, |e, _| length_of(e.facts.response())),
    block("req.payload", Needs::REQUEST, |e, a| block_of(e, e.facts.request(), a)),
    block("payload", Needs::REQUEST, |e, a| block_of(e, e.facts.request(), a)),
    block("res.payload", Needs::RESPONSE, |e, a| block_of(e, e.facts.response(), a)),
    sized_block("req.payload_lv", Needs::REQUEST, |e, a| sized_block_of(e, e.facts.request(), a)),
    sized_block("payload_lv", Needs::REQUEST, |e, a| sized_block_of(e, e.facts.request(), a)),
    sized_block("res.payload_lv", Needs::RESPONSE, |e, a| sized_block_of(e, e.facts.response(), a)),
];

/// The name of the response's fetch for those that are of whatever is looked at.
pub(super) fn response_name(name: &str) -> Option<&'static str> {
    match name {
        "payload" => Some("res.payload"),
        "payload_lv" => Some("res.payload_lv"),
        _ => None,
    }
}

const fn length(name: &'static str, needs: Needs, run: super::Run) -> FetchEntry {
    entry(name, &[], SampleType::Integer, needs, "Number of bytes received and not forwarded yet", run)
}

const fn block(name: &'static str, needs: Needs, run: super::Run) -> FetchEntry {
    const PARAMETERS: &[Parameter] = &[Parameter::Integer, Parameter::Integer];
    checked(
        |arguments| check_block(arguments),
        entry(name, PARAMETERS, SampleType::Binary, needs, "Received bytes from an offset on: so many, or all for 0", run),
    )
}

const fn sized_block(name: &'static str, needs: Needs, run: super::Run) -> FetchEntry {
    const PARAMETERS: &[Parameter] = &[Parameter::Integer, Parameter::Integer, Parameter::Text];
    let summary = "Received bytes whose number is given by bytes before them";
    optional_from(2, checked(check_sized_block, entry(name, PARAMETERS, SampleType::Binary, needs, summary, run)))
}

fn check_block(arguments: &[Argument]) -> Result<(), (usize, String)> {
    for (position, what) in ["offset", "length"].into_iter().enumerate() {
        if matches!(argument(arguments, position), Argument::Integer(..0)) {
            return Err((position, format!("the {what} must not be negative")));
        }
    }
    Ok(())
}

/// Turns the third argument into a number, followed by 1 when it counts from the end of the length on. Without a sign it is absolute, as the
/// manual says; HAProxy 2.6 itself mistakes such numbers for others.
fn check_sized_block(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let (Argument::Integer(offset), Argument::Integer(width)) = (argument(arguments, 0), argument(arguments, 1)) else { return Ok(()) };
    let (offset, width) = (*offset, *width);
    if offset < 0 {
        return Err((0, String::from("the offset must not be negative")));
    }
    if width <= 0 {
        return Err((1, String::from("the length takes at least one byte")));
    }
    let Some(given) = text(arguments, 2).filter(|given| !given.is_empty()) else {
        arguments.truncate(2);
        return Ok(());
    };
    let start: i64 = given.parse().map_err(|_| (2, format!("'{given}' is no number")))?;
    let relative = given.starts_with(['+', '-']);
    if relative && offset.saturating_add(width).saturating_add(start) < 0 {
        return Err((2, String::from("this lies before the first byte")));
    }
    arguments.truncate(2);
    arguments.extend([Argument::Integer(start), Argument::Integer(relative.into())]);
    Ok(())
}

fn length_of<'a>(bytes: Option<Bytes<'a>>) -> Outcome<'a> {
    let bytes = known(bytes)?;
    Ok(Sample { value: Value::Integer(i64::try_from(bytes.data.len()).unwrap_or(i64::MAX)), may_change: !bytes.complete })
}

fn block_of<'a>(evaluation: Evaluation<'a>, bytes: Option<Bytes<'a>>, arguments: &[Argument]) -> Outcome<'a> {
    let (offset, length) = (position(arguments, 0)?, position(arguments, 1)?);
    cut(evaluation, known(bytes)?, offset, (length > 0).then_some(length))
}

fn sized_block_of<'a>(evaluation: Evaluation<'a>, bytes: Option<Bytes<'a>>, arguments: &[Argument]) -> Outcome<'a> {
    let (offset, width) = (position(arguments, 0)?, position(arguments, 1)?);
    let bytes = known(bytes)?;
    let end = offset.saturating_add(width);
    let Sample { value: Value::Binary(Data::Borrowed(digits)), .. } = cut(evaluation, bytes, offset, Some(width))? else {
        return Err(Absent::Missing);
    };
    // A length that needs more than eight bytes is too large anyway.
    let excess = digits.len().saturating_sub(8);
    let (high, low) = digits.split_at(excess);
    let length = low.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
    if length == 0 || high.iter().any(|&byte| byte != 0) {
        return Err(Absent::Missing);
    }
    let start = match (argument(arguments, 2), argument(arguments, 3)) {
        (Argument::Integer(start), Argument::Integer(0)) => usize::try_from(*start).map_err(|_| Absent::Missing)?,
        (Argument::Integer(start), _) => {
            let distance = isize::try_from(*start).map_err(|_| Absent::Missing)?;
            known(end.checked_add_signed(distance))?
        }
        _ => end,
    };
    cut(evaluation, bytes, start, Some(usize::try_from(length).map_err(|_| Absent::Missing)?))
}

/// A part of the bytes; without a length up to the last one, which more may follow.
fn cut<'a>(evaluation: Evaluation<'a>, bytes: Bytes<'a>, offset: usize, length: Option<usize>) -> Outcome<'a> {
    let end = known(offset.checked_add(length.unwrap_or(0)))?;
    if end > evaluation.facts.inspected_bytes_max().max(bytes.data.len()) {
        return Err(Absent::Missing);
    }
    let part = match length {
        Some(_) => bytes.data.get(offset..end),
        None => bytes.data.get(offset..),
    };
    match part {
        Some(part) => Ok(Sample { value: Value::Binary(Data::Borrowed(part)), may_change: length.is_none() && !bytes.complete }),
        None => Err(if bytes.complete { Absent::Missing } else { Absent::NotYet }),
    }
}

fn position(arguments: &[Argument], at: usize) -> Result<usize, Absent> {
    match argument(arguments, at) {
        Argument::Integer(value) => usize::try_from(*value).map_err(|_| Absent::Missing),
        _ => Err(Absent::Missing),
    }
}
