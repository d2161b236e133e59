//! Converters that pick a part out of a text: `field`, `word`, `param`.

use ringmain_model::{Argument, SampleType};

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Evaluation, Outcome, Sample, Value};
use super::{answer, data, entry, words};

const STRING: SampleType = SampleType::String;
const PART: &[Parameter] = &[Parameter::Integer, Parameter::Text, Parameter::Integer];

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry("field", PART, STRING, STRING, "Fields between delimiters, counted from 1, or from the end when negative", field)
        .requires(2)
        .checks(check),
    entry("word", PART, STRING, STRING, "Words between runs of delimiters, counted from 1, or from the end when negative", word)
        .requires(2)
        .checks(check),
    entry("param", &[Parameter::Text, Parameter::Text], STRING, STRING, "The value of a parameter in a list such as a=1&b=2", param)
        .requires(1)
        .checks(check_param),
];

fn check(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    if argument(arguments, 0) == &Argument::Integer(0) {
        return Err((0, "the index must not be 0: it counts from 1, or from -1 for the last".to_owned()));
    }
    if words(arguments, 1).is_empty() { Err((1, "there must be a delimiter".to_owned())) } else { Ok(()) }
}

fn check_param(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    if words(arguments, 0).is_empty() {
        return Err((0, "the parameter's name must not be empty".to_owned()));
    }
    if words(arguments, 1).len() > 1 { Err((1, "the delimiter must be a single character".to_owned())) } else { Ok(()) }
}

/// Which part is meant.
struct Wanted<'a> {
    /// From 1.
    index: usize,
    from_end: bool,
    delimiters: &'a [u8],
    /// How many in a row; all that remain without one.
    count: Option<usize>,
}

fn wanted(arguments: &[Argument]) -> Result<Wanted<'_>, Absent> {
    let Argument::Integer(index) = *argument(arguments, 0) else { return Err(Absent::Missing) };
    let count = match *argument(arguments, 2) {
        Argument::Integer(count) => usize::try_from(count).ok().filter(|&count| count > 0),
        _ => Some(1),
    };
    let position = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    Ok(Wanted { index: position, from_end: index < 0, delimiters: words(arguments, 1), count })
}

fn field<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (data, wanted) = (data(sample.value), wanted(arguments)?);
    let (start, end) = range(data.bytes(), &wanted, true).ok_or(Absent::Missing)?;
    answer(sample.may_change, Value::String(data.part(start, end)))
}

fn word<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (data, wanted) = (data(sample.value), wanted(arguments)?);
    // Unlike a field, a word that is not there is an empty one.
    let (start, end) = range(data.bytes(), &wanted, false).unwrap_or_default();
    answer(sample.may_change, Value::String(data.part(start, end)))
}

/// Where the parts begin and end; `None` when there are not so many. Parts that are fewer than wanted reach to the end of the text, with the
/// delimiters there.
fn range(text: &[u8], wanted: &Wanted<'_>, keep_empty: bool) -> Option<(usize, usize)> {
    let is_delimiter = |byte: &u8| wanted.delimiters.contains(byte);
    let counts = |&(start, end): &(usize, usize)| keep_empty || start < end;
    let skipped = wanted.index.saturating_sub(1);
    if wanted.from_end {
        let mut limit = text.len();
        let mut parts = text
            .rsplit(is_delimiter)
            .map(|part| {
                let (start, end) = (limit.saturating_sub(part.len()), limit);
                limit = start.saturating_sub(1);
                (start, end)
            })
            .filter(counts);
        let (mut start, end) = parts.nth(skipped)?;
        match wanted.count {
            Some(1) => {}
            Some(count) => start = parts.nth(count - 2).map_or(0, |(start, _)| start),
            None => start = 0,
        }
        return Some((start, end));
    }
    let mut limit = 0;
    let mut parts = text
        .split(is_delimiter)
        .map(|part| {
            let (start, end) = (limit, limit + part.len());
            limit = end + 1;
            (start, end)
        })
        .filter(counts);
    let (start, mut end) = parts.nth(skipped)?;
    match wanted.count {
        Some(1) => {}
        Some(count) => end = parts.nth(count - 2).map_or(text.len(), |(_, end)| end),
        None => end = text.len(),
    }
    Some((start, end))
}

fn param<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (data, name) = (data(sample.value), words(arguments, 0));
    let delimiter = words(arguments, 1).first().copied().unwrap_or(b'&');
    let mut start = 0;
    for part in data.bytes().split(|&byte| byte == delimiter) {
        if let Some(rest) = part.strip_prefix(name) {
            match rest.first() {
                None => return answer(sample.may_change, Value::text("")),
                Some(b'=') => {
                    let (from, to) = (start + name.len() + 1, start + part.len());
                    return answer(sample.may_change, Value::String(data.part(from, to)));
                }
                Some(_) => {}
            }
        }
        start += part.len() + 1;
    }
    Err(Absent::Missing)
}
