//! Dates of seconds, milliseconds or microseconds since 1970: `http_date` (RFC 9110), `utime`, `ltime` and their kin (strftime(3)).

use std::io::Write;

use ringmain_model::{Argument, SampleType};
use smallvec::SmallVec;

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Data, Evaluation, Outcome, Sample, Value};
use super::strftime::{Moment, format};
use super::{Run, answer, entry, number, words};

const INTEGER: SampleType = SampleType::Integer;
/// HAProxy keeps this many bits of a date.
const DATE_BITS: i64 = 0x007f_ffff_ffff_ffff;
/// Longest formatted date, in bytes: a chunk of HAProxy's.
const TEXT_LIMIT: usize = 16_384;

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry(
        "http_date",
        &[Parameter::Integer, Parameter::Word(&["s", "ms", "us"])],
        INTEGER,
        SampleType::String,
        "A date for header fields, after adding an offset; in seconds, milliseconds or microseconds",
        http_date,
    )
    .requires(0),
    dated("ltime", "Local time in the format of strftime(3), of seconds", |e, s, a| formatted(e, s, a, 1, true)),
    dated("utime", "UTC in the format of strftime(3), of seconds", |e, s, a| formatted(e, s, a, 1, false)),
    dated("ms_ltime", "Local time in the format of strftime(3), of milliseconds; %N is their fraction", |e, s, a| {
        formatted(e, s, a, 1000, true)
    }),
    dated("ms_utime", "UTC in the format of strftime(3), of milliseconds; %N is their fraction", |e, s, a| formatted(e, s, a, 1000, false)),
    dated("us_ltime", "Local time in the format of strftime(3), of microseconds; %N is their fraction", |e, s, a| {
        formatted(e, s, a, 1_000_000, true)
    }),
    dated("us_utime", "UTC in the format of strftime(3), of microseconds; %N is their fraction", |e, s, a| {
        formatted(e, s, a, 1_000_000, false)
    }),
];

const fn dated(name: &'static str, summary: &'static str, run: Run) -> ConverterEntry {
    entry(name, &[Parameter::Text, Parameter::Integer], INTEGER, SampleType::String, summary, run).requires(1)
}

/// The value with its offset, as whole seconds and the rest.
fn split(sample: &Sample<'_>, arguments: &[Argument], position: usize, per_second: i64) -> (i64, i64) {
    let offset = match *argument(arguments, position) {
        Argument::Integer(offset) => offset,
        _ => 0,
    };
    let value = number(&sample.value).wrapping_add(offset);
    ((value / per_second) & DATE_BITS, (value % per_second).abs())
}

fn http_date<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (per_second, digits) = match words(arguments, 1) {
        b"ms" => (1000, 3),
        b"us" => (1_000_000, 6),
        _ => (1, 0),
    };
    let (seconds, rest) = split(&sample, arguments, 0, per_second);
    let moment = Moment::new(seconds, 0, "GMT");
    let mut out: SmallVec<[u8; 64]> = SmallVec::new();
    format(b"%a, %d %b ", &moment, None, TEXT_LIMIT, &mut out);
    // Writing to memory does not fail.
    let _ = write!(out, "{:04}", moment.year);
    format(b" %T", &moment, None, TEXT_LIMIT, &mut out);
    if digits > 0 {
        let _ = write!(out, ".{rest:0digits$}");
    }
    out.extend_from_slice(b" GMT");
    answer(sample.may_change, Value::String(Data::Owned(out)))
}

fn formatted<'a>(evaluation: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument], per_second: i64, local: bool) -> Outcome<'a> {
    let (seconds, rest) = split(&sample, arguments, 1, per_second);
    let (offset, zone) = if local { evaluation.facts.local_zone(seconds) } else { (0, "GMT") };
    let moment = Moment::new(seconds, offset, zone);
    let fraction = match per_second {
        1000 => Some((rest, 3)),
        1_000_000 => Some((rest, 6)),
        _ => None,
    };
    let mut out = SmallVec::new();
    format(words(arguments, 0), &moment, fraction, TEXT_LIMIT, &mut out);
    answer(sample.may_change, Value::String(Data::Owned(out)))
}
