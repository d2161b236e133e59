//! JSON (RFC 8259): `json` escapes a text, `json_query` finds a value.

mod find;

use ringmain_model::{Argument, SampleType};
use smallvec::SmallVec;

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{TEXT_LIMIT, answer, data, entry, words};
use find::{Token, check_path, find, leading_float, unescape};

const STRING: SampleType = SampleType::String;

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry(
        "json",
        &[Parameter::Word(&["ascii", "utf8", "utf8s", "utf8p", "utf8ps"])],
        STRING,
        STRING,
        "The text with escapes for a JSON string",
        escape,
    )
    .requires(0),
    entry(
        "json_query",
        &[Parameter::Text, Parameter::Word(&["int"])],
        STRING,
        SampleType::Any,
        "A string, number or boolean in a JSON text, by its path",
        query,
    )
    .requires(1)
    .checks(check_query),
];

type Buffer = SmallVec<[u8; 64]>;

/// What is done about text that is no UTF-8.
#[derive(Clone, Copy)]
struct Decoder {
    /// Every byte is a character (`ascii`).
    bytes: bool,
    /// Wrong characters are left out (`s`).
    skips: bool,
    /// Characters of more bytes than needed are taken (`p`).
    permissive: bool,
}

fn escape<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let decoder = match words(arguments, 0) {
        b"utf8" => Decoder { bytes: false, skips: false, permissive: false },
        b"utf8s" => Decoder { bytes: false, skips: true, permissive: false },
        b"utf8p" => Decoder { bytes: false, skips: false, permissive: true },
        b"utf8ps" => Decoder { bytes: false, skips: true, permissive: true },
        _ => Decoder { bytes: true, skips: false, permissive: false },
    };
    let data = data(sample.value);
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'/');
    if data.bytes().iter().all(is_plain) {
        return answer(sample.may_change, Value::String(data));
    }
    let (mut out, mut rest) = (Buffer::new(), data.bytes());
    while !rest.is_empty() && out.len() < TEXT_LIMIT {
        let (character, length) = if decoder.bytes { (Some(u32::from(rest[0])), 1) } else { decode(rest, decoder.permissive) };
        rest = rest.get(length..).unwrap_or_default();
        match character {
            Some(character) => escape_one(character, &mut out),
            None if decoder.skips => {}
            None => return Err(Absent::Missing),
        }
    }
    answer(sample.may_change, Value::String(Data::Owned(out)))
}

/// The first character that JSON's four digits can say, if it is one, and how many bytes it takes. Forms of five and six bytes, which UTF-8 once
/// had, are recognized to be skipped as a whole.
fn decode(text: &[u8], permissive: bool) -> (Option<u32>, usize) {
    let first = text.first().copied().unwrap_or(0);
    let (length, bits, least) = match first {
        0..=0x7f => return (Some(first.into()), 1),
        0x80..=0xbf | 0xfe.. => return (None, 1),
        0xc0..=0xdf => (2, first & 0x1f, 0x80),
        0xe0..=0xef => (3, first & 0x0f, 0x800),
        0xf0..=0xf7 => (4, first & 0x07, 0x1_0000),
        0xf8..=0xfb => (5, first & 0x03, 0x20_0000),
        0xfc..=0xfd => (6, first & 0x01, 0x400_0000),
    };
    let mut character = u32::from(bits);
    for at in 1..length {
        match text.get(at) {
            Some(&byte) if byte & 0xc0 == 0x80 => character = character << 6 | u32::from(byte & 0x3f),
            _ => return (None, at),
        }
    }
    let forbidden = matches!(character, 0xd800..=0xdfff | 0xfffe | 0xffff) || character > 0xffff;
    let overlong = character < least && !permissive;
    ((!forbidden && !overlong).then_some(character), length)
}

fn escape_one(character: u32, out: &mut Buffer) {
    let short = match character {
        0x22 => b'"',
        0x5c => b'\\',
        0x2f => b'/',
        0x08 => b'b',
        0x0c => b'f',
        0x0a => b'n',
        0x0d => b'r',
        0x09 => b't',
        0x20..=0x7e => {
            out.push(character as u8);
            return;
        }
        _ => {
            out.extend_from_slice(b"\\u");
            out.extend([12, 8, 4, 0].map(|shift| b"0123456789abcdef"[(character >> shift & 15) as usize]));
            return;
        }
    };
    out.extend([b'\\', short]);
}

fn check_query(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    check_path(words(arguments, 0)).map_err(|message| (0, message))
}

fn query<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let text = data(sample.value);
    let wants_integer = !matches!(argument(arguments, 1), Argument::Absent) && words(arguments, 1) == b"int";
    let value = match find(text.bytes(), words(arguments, 0)).ok_or(Absent::Missing)? {
        Token::Boolean(value) => Value::Boolean(value),
        Token::Text(raw) => Value::String(Data::Owned(unescape(raw).ok_or(Absent::Missing)?)),
        Token::Number(number) if wants_integer => Value::Integer(whole(number).ok_or(Absent::Missing)?),
        Token::Number(number) => Value::String(general(leading_float(number))),
    };
    answer(sample.may_change, value)
}

/// The whole part of a number; `None` at and beyond the limits of 64 bits, as in HAProxy.
fn whole(number: &[u8]) -> Option<i64> {
    let value = super::super::sample::leading_integer(number);
    (value != i64::MAX && value != i64::MIN).then_some(value)
}

/// As printf(3) writes `%g`: six significant digits, no zeros at the end.
fn general(value: f64) -> Data<'static> {
    if !value.is_finite() {
        return Data::written(format_args!("{}", if value < 0.0 { "-inf" } else { "inf" }));
    }
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| {
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
        text.to_owned()
    };
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        return Data::from(trimmed(&format!("{value:.decimals$}")));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    Data::written(format_args!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs()))
}
