//! Other spellings of the same bytes: hexadecimal, base64 (RFC 4648), URL encoding (RFC 3986), numbers of several bytes.

use std::io::Write;

use ringmain_model::{Argument, SampleType};
use smallvec::SmallVec;

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{Run, TEXT_LIMIT, answer, data, entry, words};

const STRING: SampleType = SampleType::String;
const BINARY: SampleType = SampleType::Binary;
const CHUNKS: &[Parameter] = &[Parameter::Text, Parameter::Integer, Parameter::Integer];
const UPPER_DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry("hex", &[], BINARY, STRING, "Two hexadecimal digits per byte", |_, s, _| text_of(s, hexadecimal)),
    entry("hex2i", &[], STRING, SampleType::Integer, "The number in hexadecimal digits", hex2i),
    entry("base64", &[], BINARY, STRING, "Base64", |_, s, _| text_of(s, |bytes, out| encode(bytes, Alphabet::Standard, out))),
    entry("ub64enc", &[], BINARY, STRING, "Base64 for URLs, without padding", |_, s, _| {
        text_of(s, |bytes, out| encode(bytes, Alphabet::Url, out))
    }),
    entry("b64dec", &[], STRING, BINARY, "The bytes in base64", |_, s, _| decoded(s, Alphabet::Standard)),
    entry("ub64dec", &[], STRING, BINARY, "The bytes in base64 for URLs, without padding", |_, s, _| decoded(s, Alphabet::Url)),
    entry("be2hex", CHUNKS, BINARY, STRING, "Hexadecimal digits with a separator after every so many bytes", be2hex)
        .requires(0)
        .checks(check_hex_chunks),
    chunks("be2dec", "Numbers of so many bytes, the most significant first, with a separator", |_, s, a| numbers(s, a, false)),
    chunks("le2dec", "Numbers of so many bytes, the least significant first, with a separator", |_, s, a| numbers(s, a, true)),
    entry("url_dec", &[Parameter::Integer], STRING, STRING, "URL decoding; with 1, + is a blank everywhere", url_dec).requires(0),
    entry("url_enc", &[Parameter::Word(&["query"])], STRING, STRING, "URL encoding", |_, s, _| text_of(s, url_enc)).requires(0),
];

const fn chunks(name: &'static str, summary: &'static str, run: Run) -> ConverterEntry {
    entry(name, CHUNKS, BINARY, STRING, summary, run).requires(2).checks(check_number_chunks)
}

type Buffer = SmallVec<[u8; 64]>;

fn text_of<'a>(sample: Sample<'a>, write: fn(&[u8], &mut Buffer)) -> Outcome<'a> {
    let mut out = Buffer::new();
    write(data(sample.value).bytes(), &mut out);
    out.truncate(TEXT_LIMIT);
    answer(sample.may_change, Value::String(Data::Owned(out)))
}

fn hexadecimal(bytes: &[u8], out: &mut Buffer) {
    out.reserve(bytes.len().saturating_mul(2));
    for byte in bytes {
        out.extend([UPPER_DIGITS[usize::from(byte >> 4)], UPPER_DIGITS[usize::from(byte & 15)]]);
    }
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

fn hex2i<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    // Digits beyond the sixteenth push the first ones out.
    let number = data(sample.value).bytes().iter().try_fold(0_u64, |number, &byte| Some(number << 4 | u64::from(digit(byte)?)));
    answer(sample.may_change, Value::Integer(number.ok_or(Absent::Missing)? as i64))
}

/// Which 64 characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// With `+`, `/` and padding.
    Standard,
    /// With `-`, `_` and no padding.
    Url,
}

fn encode(bytes: &[u8], alphabet: Alphabet, out: &mut Buffer) {
    const FIRST: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let last = if alphabet == Alphabet::Standard { b"+/" } else { b"-_" };
    let character = |bits: u32| {
        let index = (bits & 63) as usize;
        FIRST.get(index).copied().unwrap_or(last[index & 1])
    };
    out.reserve(bytes.len().div_ceil(3).saturating_mul(4));
    for group in bytes.chunks(3) {
        let bits = group.iter().chain([&0, &0]).take(3).fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
        let characters = [character(bits >> 18), character(bits >> 12), character(bits >> 6), character(bits)];
        out.extend_from_slice(&characters[..=group.len()]);
        if alphabet == Alphabet::Standard {
            out.extend_from_slice(&b"=="[..3 - group.len()]);
        }
    }
}

fn decoded<'a>(sample: Sample<'a>, alphabet: Alphabet) -> Outcome<'a> {
    let bytes = decode(data(sample.value).bytes(), alphabet).ok_or(Absent::Missing)?;
    answer(sample.may_change, Value::Binary(bytes))
}

fn value_of(character: u8, alphabet: Alphabet) -> Option<u8> {
    Some(match (character, alphabet) {
        (b'A'..=b'Z', _) => character - b'A',
        (b'a'..=b'z', _) => character - b'a' + 26,
        (b'0'..=b'9', _) => character - b'0' + 52,
        (b'+', Alphabet::Standard) | (b'-', Alphabet::Url) => 62,
        // HAProxy takes a padding character in the URL alphabet for the last value.
        (b'/', Alphabet::Standard) | (b'_' | b'=', Alphabet::Url) => 63,
        _ => return None,
    })
}

/// The bytes of a base64 text. Padding may stand at the end of each group of four, not only of the last; in the URL alphabet the last group may
/// be shorter.
pub(super) fn decode(text: &[u8], alphabet: Alphabet) -> Option<Data<'static>> {
    if alphabet == Alphabet::Standard && !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Buffer::with_capacity(text.len().div_ceil(4).saturating_mul(3));
    for group in text.chunks(4) {
        let padding =
            if alphabet == Alphabet::Standard { group.iter().rev().take_while(|&&character| character == b'=').count() } else { 0 };
        let characters = &group[..group.len() - padding];
        // One character alone is six bits, less than a byte: only padding can follow it.
        if characters.is_empty() || (characters.len() == 1 && padding == 0) {
            return None;
        }
        let mut bits = 0_u32;
        for &character in characters {
            bits = bits << 6 | u32::from(value_of(character, alphabet)?);
        }
        let bits = bits << (6 * (4 - characters.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..characters.len()]);
    }
    Some(Data::Owned(out))
}

/// The arguments of `be2hex` and its kin: separator, bytes in a chunk, whether a shorter last chunk is left out.
fn chunk_arguments(arguments: &[Argument]) -> (&[u8], usize, bool) {
    let size = match *argument(arguments, 1) {
        Argument::Integer(size) => usize::try_from(size).unwrap_or(0),
        _ => 0,
    };
    (words(arguments, 0), size, matches!(*argument(arguments, 2), Argument::Integer(flag) if flag != 0))
}

fn check_hex_chunks(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let negative = matches!(*argument(arguments, 1), Argument::Integer(size) if size < 0);
    let (separator, size, truncate) = chunk_arguments(arguments);
    if negative || (size == 0 && (truncate || !separator.is_empty())) {
        return Err((1, "the number of bytes per chunk must be above 0".to_owned()));
    }
    Ok(())
}

fn check_number_chunks(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    match chunk_arguments(arguments).1 {
        1..=8 => Ok(()),
        _ => Err((1, "the number of bytes per chunk must be 1 to 8".to_owned())),
    }
}

fn in_chunks<'a>(sample: Sample<'a>, arguments: &'a [Argument], write: impl Fn(&[u8], &mut Buffer)) -> Outcome<'a> {
    let (data, (separator, size, truncate)) = (data(sample.value), chunk_arguments(arguments));
    let size = if size == 0 { data.bytes().len().max(1) } else { size };
    let mut out = Buffer::new();
    for (index, chunk) in data.bytes().chunks(size).enumerate() {
        if truncate && chunk.len() < size {
            break;
        }
        if index > 0 {
            out.extend_from_slice(separator);
        }
        write(chunk, &mut out);
        if out.len() > TEXT_LIMIT {
            out.truncate(TEXT_LIMIT);
            break;
        }
    }
    answer(sample.may_change, Value::String(Data::Owned(out)))
}

fn be2hex<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    in_chunks(sample, arguments, hexadecimal)
}

fn numbers<'a>(sample: Sample<'a>, arguments: &'a [Argument], least_first: bool) -> Outcome<'a> {
    let add = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
    in_chunks(sample, arguments, |chunk, out| {
        let number = if least_first { chunk.iter().rev().fold(0, add) } else { chunk.iter().fold(0, add) };
        // Writing to memory does not fail.
        let _ = write!(out, "{number}");
    })
}

fn url_dec<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let data = data(sample.value);
    let mut in_form = matches!(*argument(arguments, 0), Argument::Integer(flag) if flag != 0);
    if memchr::memchr2(b'%', b'+', data.bytes()).is_none() {
        return answer(sample.may_change, Value::String(data));
    }
    let mut out = Buffer::new();
    let mut bytes = data.bytes().iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' if in_form => b' ',
            b'%' => {
                let mut next = || bytes.next().and_then(digit).ok_or(Absent::Missing);
                next()? << 4 | next()?
            }
            byte => byte,
        });
        in_form |= byte == b'?';
    }
    answer(sample.may_change, Value::String(Data::Owned(out)))
}

fn url_enc(bytes: &[u8], out: &mut Buffer) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(byte);
        } else {
            out.push(b'%');
            hexadecimal(&[byte], out);
        }
    }
}
