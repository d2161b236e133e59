//! FIX, Financial Information eXchange: `fix_is_valid` and `fix_tag_value` look at the first message of a connection.

use ringmain_model::{Argument, SampleType};

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{answer, data, entry, words};

const BINARY: SampleType = SampleType::Binary;
/// The end of each field.
const SEPARATOR: u8 = 1;
const VERSIONS: [&[u8]; 6] = [b"FIX.4.0", b"FIX.4.1", b"FIX.4.2", b"FIX.4.3", b"FIX.4.4", b"FIXT.1.1"];
const NAMES: [(&str, i64); 6] =
    [("BeginString", 8), ("BodyLength", 9), ("MsgType", 35), ("SenderCompID", 49), ("TargetCompID", 56), ("CheckSum", 10)];

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry("fix_is_valid", &[], BINARY, SampleType::Boolean, "Whether the bytes begin with a valid FIX message", is_valid),
    entry("fix_tag_value", &[Parameter::Text], BINARY, BINARY, "The value of a tag of a FIX message, by number or name", tag_value)
        .checks(check_tag),
];

/// Why a message cannot be read.
#[derive(Debug, PartialEq, Eq)]
enum Problem {
    /// Its end is not there yet.
    Short,
    /// It is no FIX message.
    Invalid,
}

/// A tag with its value, and how many bytes both take with the separator.
fn next_field(message: &[u8]) -> Result<(i64, &[u8], usize), Problem> {
    let end = memchr::memchr(SEPARATOR, message).ok_or(Problem::Short)?;
    let (field, length) = (&message[..end], end + 1);
    let equals = memchr::memchr(b'=', field).ok_or(Problem::Invalid)?;
    let (tag, value) = (&field[..equals], &field[equals + 1..]);
    // HAProxy waits for more when a value is empty.
    if value.is_empty() {
        return Err(Problem::Short);
    }
    if tag.is_empty() || tag.len() > 9 || !tag.iter().all(u8::is_ascii_digit) {
        return Err(Problem::Invalid);
    }
    Ok((super::super::sample::leading_integer(tag), value, length))
}

fn validate(message: &[u8]) -> Result<(), Problem> {
    let (tag, version, first) = next_field(message)?;
    if tag != 8 || !VERSIONS.contains(&version) {
        return Err(Problem::Invalid);
    }
    let (tag, length, second) = next_field(&message[first..])?;
    let body_start = first + second;
    let body_length = std::str::from_utf8(length).ok().and_then(|length| length.parse::<usize>().ok()).ok_or(Problem::Invalid)?;
    if tag != 9 {
        return Err(Problem::Invalid);
    }
    let (tag, ..) = next_field(&message[body_start..])?;
    if tag != 35 {
        return Err(Problem::Invalid);
    }
    let mut at = body_start;
    loop {
        let (tag, value, length) = next_field(&message[at..])?;
        if tag == 10 {
            let sum = message[..at].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            let claimed = std::str::from_utf8(value).ok().filter(|value| value.len() == 3).and_then(|value| value.parse::<u8>().ok());
            let is_right = claimed == Some(sum) && at - body_start == body_length;
            return if is_right { Ok(()) } else { Err(Problem::Invalid) };
        }
        at += length;
    }
}

fn is_valid<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    match validate(data(sample.value).bytes()) {
        Ok(()) => answer(sample.may_change, Value::Boolean(true)),
        Err(Problem::Invalid) => answer(sample.may_change, Value::Boolean(false)),
        Err(Problem::Short) => Err(Absent::Missing),
    }
}

fn check_tag(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let word = words(arguments, 0);
    let by_name = NAMES.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word)).map(|&(_, tag)| tag);
    let is_number = !word.is_empty() && word.len() <= 9 && word.iter().all(u8::is_ascii_digit);
    let tag = by_name.or_else(|| is_number.then(|| super::super::sample::leading_integer(word)).filter(|&tag| tag > 0));
    match (tag, arguments.first_mut()) {
        (Some(tag), Some(argument)) => {
            *argument = Argument::Integer(tag);
            Ok(())
        }
        _ => Err((0, format!("the tag must be a number above 0 or one of {}", NAMES.map(|(name, _)| name).join(", ")))),
    }
}

fn tag_value<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let Argument::Integer(wanted) = *argument(arguments, 0) else { return Err(Absent::Missing) };
    let data: Data<'a> = data(sample.value);
    let mut at = 0;
    loop {
        let Ok((tag, value, length)) = next_field(&data.bytes()[at..]) else { return Err(Absent::Missing) };
        if tag == wanted {
            let end = at + length - 1;
            let start = end - value.len();
            return answer(sample.may_change, Value::Binary(data.part(start, end)));
        }
        at += length;
    }
}
