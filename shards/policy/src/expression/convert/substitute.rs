//! Substitution by regular expressions: `regsub`, and the templates of `map_regm`.

use ringmain_model::pattern::Regex;
use ringmain_model::{Argument, SampleType};
use smallvec::SmallVec;

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{TEXT_LIMIT, answer, data, entry, words};

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[entry(
    "regsub",
    &[Parameter::Regex, Parameter::Text, Parameter::Text],
    SampleType::String,
    SampleType::String,
    "What matches a regular expression replaced; flags are g for all matches and i for either case",
    regsub,
)
.requires(2)
.checks(check)];

/// Compiles the expression anew when the flags say that case does not count.
fn check(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let flags = words(arguments, 2).to_vec();
    if let Some(&flag) = flags.iter().find(|flag| !b"gi".contains(flag)) {
        return Err((2, format!("the flag '{}' is neither g nor i", char::from(flag))));
    }
    check_template(words(arguments, 1)).map_err(|message| (1, message))?;
    if flags.contains(&b'i')
        && let Some(Argument::Regex(regex)) = arguments.first_mut()
    {
        *regex = Regex::new(regex.source(), true).map_err(|error| (0, error.to_string()))?;
    }
    Ok(())
}

/// Whether what is put in has only complete escapes.
pub(super) fn check_template(template: &[u8]) -> Result<(), String> {
    let mut rest = template;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        rest = match &rest[at + 1..] {
            [] => return Err("the replacement must not end with a backslash".to_owned()),
            [b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            [b'x', ..] => return Err("two hexadecimal digits must follow \\x".to_owned()),
            [_, after @ ..] => after,
        };
    }
    Ok(())
}

fn regsub<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let Argument::Regex(regex) = argument(arguments, 0) else { return Err(Absent::Missing) };
    let (template, all) = (words(arguments, 1), words(arguments, 2).contains(&b'g'));
    let data = data(sample.value);
    let value = match replaced(regex.compiled(), data.bytes(), template, all) {
        Some(out) => Data::Owned(out),
        None => data,
    };
    answer(sample.may_change, Value::String(value))
}

/// The text with matches replaced; `None` when there is no match.
fn replaced(regex: &regex::bytes::Regex, text: &[u8], template: &[u8], all: bool) -> Option<SmallVec<[u8; 64]>> {
    let mut captures = regex.capture_locations();
    let mut out = SmallVec::new();
    let (mut copied, mut from) = (0, 0);
    // Unlike the regex crate's own iteration, an empty match may follow right behind a match.
    while from <= text.len() && out.len() < TEXT_LIMIT {
        let Some(found) = regex.captures_read_at(&mut captures, text, from) else { break };
        let (start, end) = (found.start(), found.end());
        out.extend_from_slice(text.get(copied..start).unwrap_or_default());
        expand(template, |group| captures.get(group).and_then(|(start, end)| text.get(start..end)), &mut out);
        copied = end;
        from = end;
        if !all {
            break;
        }
        if start == end {
            out.extend_from_slice(text.get(end..end + 1).unwrap_or_default());
            (copied, from) = (end + 1, end + 1);
        }
    }
    if copied == 0 && out.is_empty() && from == 0 {
        return None;
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    out.truncate(TEXT_LIMIT);
    Some(out)
}

/// Appends a template: `\N` is a group of the match, `\xHH` a byte, a backslash before anything else is taken away.
pub(super) fn expand<'t>(template: &[u8], group: impl Fn(usize) -> Option<&'t [u8]>, out: &mut SmallVec<[u8; 64]>) {
    let mut rest = template;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = match &rest[at + 1..] {
            [digit @ b'0'..=b'9', after @ ..] => {
                out.extend_from_slice(group(usize::from(digit - b'0')).unwrap_or_default());
                after
            }
            [b'x', high, low, after @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
                out.push(digit(*high) << 4 | digit(*low));
                after
            }
            [byte, after @ ..] => {
                out.push(*byte);
                after
            }
            [] => &[],
        };
    }
    out.extend_from_slice(rest);
}
