//! Fetches of the process: its clock, its randomness, its shards, its variables (manual section 7.3.2).

use ringmain_model::{Argument, Needs, SampleType};

use super::super::evaluate::{argument, text};
use super::super::facts::Count;
use super::super::registry::{FetchEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{checked, flag, known, number, optional_from, unsigned, words};

const UNITS: Parameter = Parameter::Word(&["s", "ms", "us"]);

/// The entries.
pub const ENTRIES: &[FetchEntry] = &[
    entry("act_conn", &[], SampleType::Integer, "Connections of clients to the process", |e, _| count(e, Count::ProcessConnections)),
    optional_from(0, entry("date", &[Parameter::Integer, UNITS], SampleType::Integer, "Time since 1970 plus an offset", date)),
    entry("date_us", &[], SampleType::Integer, "Microseconds of the current second", |e, _| unsigned(e.facts.wall_us() % 1_000_000)),
    entry("hostname", &[], SampleType::String, "The host's name", |e, _| words(e.facts.hostname())),
    entry("nbproc", &[], SampleType::Integer, "Number of processes: always 1", |_, _| number(1)),
    entry("nbthread", &[], SampleType::Integer, "Number of shards", |e, _| count(e, Count::Shards)),
    entry("pid", &[], SampleType::Integer, "Number of the process", |e, _| number(e.facts.process_id())),
    // Nothing sets priorities, as in HAProxy without `set-priority-class` and `set-priority-offset`.
    entry("prio_class", &[], SampleType::Integer, "Priority class in the queue: always 0", |_, _| number(0)),
    entry("prio_offset", &[], SampleType::Integer, "Priority offset in the queue: always 0", |_, _| number(0)),
    entry("proc", &[], SampleType::Integer, "Position of the process: always 1", |_, _| number(1)),
    entry("quic_enabled", &[], SampleType::Boolean, "Whether QUIC listeners work: always false", |_, _| flag(false)),
    optional_from(0, entry("rand", &[Parameter::Integer], SampleType::Integer, "A random number below the one given, or below 2^32", rand)),
    entry("stopping", &[], SampleType::Boolean, "Whether the process is about to end", |e, _| flag(e.facts.stopping())),
    entry("thread", &[], SampleType::Integer, "Position of the shard, from 0", |e, _| count(e, Count::Shard)),
    checked(
        |arguments| check_uuid(arguments),
        optional_from(0, entry("uuid", &[Parameter::Integer], SampleType::String, "A random UUID of version 4 (RFC 4122)", uuid)),
    ),
    optional_from(
        1,
        entry("var", &[Parameter::Variable, Parameter::Text], SampleType::Any, "A variable's value, or the text given instead", var),
    ),
];

const fn entry(
    name: &'static str,
    parameters: &'static [Parameter],
    output: SampleType,
    summary: &'static str,
    run: super::Run,
) -> FetchEntry {
    super::entry(name, parameters, output, Needs::NOTHING, summary, run)
}

fn count(evaluation: Evaluation<'_>, count: Count) -> Outcome<'_> {
    number(known(evaluation.facts.count(count))?)
}

fn date<'a>(evaluation: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let divisor = match text(arguments, 1) {
        Some("us") => 1,
        Some("ms") => 1_000,
        _ => 1_000_000,
    };
    let offset = match argument(arguments, 0) {
        Argument::Integer(offset) => *offset,
        _ => 0,
    };
    let now = i64::try_from(evaluation.facts.wall_us() / divisor).unwrap_or(i64::MAX);
    number(now.saturating_add(offset))
}

/// Scales 32 random bits to the range as HAProxy does, wrapping, so that a range of 0 gives 0.
fn rand<'a>(evaluation: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let random = evaluation.facts.random() & u64::from(u32::MAX);
    match argument(arguments, 0) {
        Argument::Integer(range) => unsigned(random.wrapping_mul(*range as u64) >> 32),
        _ => unsigned(random),
    }
}

fn check_uuid(arguments: &[Argument]) -> Result<(), (usize, String)> {
    match argument(arguments, 0) {
        Argument::Integer(4) | Argument::Absent => Ok(()),
        _ => Err((0, String::from("only UUIDs of version 4 are made"))),
    }
}

fn uuid<'a>(evaluation: Evaluation<'a>, _: &'a [Argument]) -> Outcome<'a> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bits = u128::from(evaluation.facts.random()) << 64 | u128::from(evaluation.facts.random());
    bits = bits & !(0xf << 76) | 4 << 76;
    bits = bits & !(0b11 << 62) | 0b10 << 62;
    let mut text = smallvec::SmallVec::new();
    for (position, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        text.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    Ok(Sample::fixed(Value::String(Data::Owned(text))))
}

fn var<'a>(evaluation: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let Argument::Variable(variable) = argument(arguments, 0) else { return Err(Absent::Missing) };
    match evaluation.facts.variable(*variable) {
        Some(value) => Ok(Sample::fixed(value)),
        None => words(known(text(arguments, 1))?),
    }
}
