//! Converters that look at or change a whole text: length, case, ends, `concat`.

use ringmain_model::{Argument, SampleType};

use super::super::evaluate::{argument, integer};
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Data, Evaluation, Outcome, Sample, Value};
use super::{TEXT_LIMIT, answer, data, entry, variable, words};

const STRING: SampleType = SampleType::String;

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry("length", &[], STRING, SampleType::Integer, "Number of bytes of a text", length),
    entry("lower", &[], STRING, STRING, "The text in small letters (ASCII)", lower),
    entry("upper", &[], STRING, STRING, "The text in capital letters (ASCII)", upper),
    entry("cut_crlf", &[], STRING, STRING, "The text up to the first carriage return or line feed", cut_crlf),
    entry("ltrim", &[Parameter::Text], STRING, STRING, "The text without the given characters at its beginning", ltrim),
    entry("rtrim", &[Parameter::Text], STRING, STRING, "The text without the given characters at its end", rtrim),
    entry("reverse", &[], STRING, STRING, "The text from its last byte to its first", reverse),
    entry(
        "concat",
        &[Parameter::Text, Parameter::Variable, Parameter::Text],
        STRING,
        STRING,
        "The text, then a text, a variable's value and a text",
        concat,
    )
    .requires(0),
    entry(
        "add_item",
        &[Parameter::Text, Parameter::Variable, Parameter::Text],
        STRING,
        STRING,
        "The text, then a delimiter where needed, a variable's value and a text",
        add_item,
    )
    .requires(1)
    .checks(has_item),
    entry(
        "bytes",
        &[Parameter::IntegerOrVariable, Parameter::IntegerOrVariable],
        SampleType::Binary,
        SampleType::Binary,
        "The bytes from an offset on, up to a length",
        bytes,
    )
    .requires(1),
    entry("host_only", &[], STRING, STRING, "The host of a Host header in small letters, without its port", host_only),
    entry("port_only", &[], STRING, SampleType::Integer, "The port of a Host header, 0 without one", port_only),
];

fn length<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    let count = data(sample.value).bytes().len();
    answer(sample.may_change, Value::Integer(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn lower<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    answer(sample.may_change, Value::String(lowered(data(sample.value))))
}

/// Copies only when there is a capital letter.
fn lowered(data: Data<'_>) -> Data<'_> {
    if data.bytes().iter().any(u8::is_ascii_uppercase) { changed(data, <[u8]>::make_ascii_lowercase) } else { data }
}

fn upper<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    let data = data(sample.value);
    let has_small = data.bytes().iter().any(u8::is_ascii_lowercase);
    answer(sample.may_change, Value::String(if has_small { changed(data, <[u8]>::make_ascii_uppercase) } else { data }))
}

fn reverse<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    answer(sample.may_change, Value::String(changed(data(sample.value), <[u8]>::reverse)))
}

fn changed<'a>(data: Data<'a>, change: fn(&mut [u8])) -> Data<'a> {
    let mut bytes = data.into_owned();
    change(&mut bytes);
    Data::Owned(bytes)
}

fn cut_crlf<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    let data = data(sample.value);
    let end = memchr::memchr2(b'\r', b'\n', data.bytes()).unwrap_or(data.bytes().len());
    answer(sample.may_change, Value::String(data.part(0, end)))
}

fn ltrim<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (data, characters) = (data(sample.value), words(arguments, 0));
    let start = data.bytes().iter().position(|byte| !characters.contains(byte)).unwrap_or(data.bytes().len());
    let end = data.bytes().len();
    answer(sample.may_change, Value::String(data.part(start, end)))
}

fn rtrim<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (data, characters) = (data(sample.value), words(arguments, 0));
    let end = data.bytes().iter().rposition(|byte| !characters.contains(byte)).map_or(0, |last| last + 1);
    answer(sample.may_change, Value::String(data.part(0, end)))
}

fn concat<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let mut out = data(sample.value).into_owned();
    out.extend_from_slice(words(arguments, 0));
    // A variable without a value adds nothing.
    if let Ok(value) = variable(evaluation, arguments, 1, STRING) {
        out.extend_from_slice(data(value).bytes());
    }
    out.extend_from_slice(words(arguments, 2));
    out.truncate(TEXT_LIMIT);
    answer(sample.may_change, Value::String(Data::Owned(out)))
}

fn has_item(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let nothing = |position| match argument(arguments, position) {
        Argument::Text(text) => text.is_empty(),
        argument => *argument == Argument::Absent,
    };
    if nothing(1) && nothing(2) { Err((0, "a variable or a text must follow the delimiter".to_owned())) } else { Ok(()) }
}

fn add_item<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let item = variable(evaluation, arguments, 1, STRING).map(data).unwrap_or(Data::Borrowed(&[]));
    let suffix = words(arguments, 2);
    let mut out = data(sample.value).into_owned();
    let adds = !item.is_empty() || !suffix.is_empty();
    if adds && !out.is_empty() {
        out.extend_from_slice(words(arguments, 0));
    }
    out.extend_from_slice(item.bytes());
    out.extend_from_slice(suffix);
    out.truncate(TEXT_LIMIT);
    answer(sample.may_change, Value::String(Data::Owned(out)))
}

fn bytes<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let data = data(sample.value);
    let length = data.bytes().len();
    let offset = integer(evaluation, arguments, 0).ok_or(super::Absent::Missing)?;
    let wanted = match argument(arguments, 1) {
        Argument::Absent => None,
        _ => Some(integer(evaluation, arguments, 1).ok_or(super::Absent::Missing)?),
    };
    // Nothing lies before the beginning; a length below zero is none.
    let start = usize::try_from(offset).unwrap_or(length).min(length);
    let end = wanted.and_then(|wanted| usize::try_from(wanted).ok()).map_or(length, |wanted| start.saturating_add(wanted));
    answer(sample.may_change, Value::Binary(data.part(start, end)))
}

/// Where the port's colon is: the last colon behind the brackets of an IPv6 address.
fn port_colon(host: &[u8]) -> Option<usize> {
    host.iter().rposition(|&byte| byte == b':' || byte == b']').filter(|&at| host.get(at) == Some(&b':'))
}

fn host_only<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    let data = data(sample.value);
    let end = port_colon(data.bytes()).unwrap_or(data.bytes().len());
    answer(sample.may_change, Value::String(lowered(data.part(0, end))))
}

fn port_only<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    let data = data(sample.value);
    let digits = port_colon(data.bytes()).and_then(|colon| data.bytes().get(colon + 1..)).unwrap_or_default();
    // HAProxy does not look whether these are digits, and keeps 32 bits.
    let port = digits.iter().fold(0_u32, |port, &byte| port.wrapping_mul(10).wrapping_add(u32::from(byte).wrapping_sub(u32::from(b'0'))));
    answer(sample.may_change, Value::Integer(port.into()))
}
