//! Fetches that give what is written: `bool`, `int`, `str`, `bin`, `ipv4`, `ipv6`, `env`, `always_true` (manual section 7.3.2).

use std::net::{Ipv4Addr, Ipv6Addr};

use ringmain_model::{Argument, Needs, SampleType};

use super::super::evaluate::{argument, text};
use super::super::registry::{FetchEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{checked, flag, known, number, optional_from, words};

/// The entries.
pub const ENTRIES: &[FetchEntry] = &[
    entry("always_true", &[], SampleType::Boolean, "True", |_, _| flag(true)),
    entry("always_false", &[], SampleType::Boolean, "False", |_, _| flag(false)),
    checked(check_bool, entry("bool", &[Parameter::Text], SampleType::Boolean, "The truth value given: true, false, 1 or 0", bool)),
    entry("int", &[Parameter::Integer], SampleType::Integer, "The number given", int),
    optional_from(0, entry("str", &[Parameter::Text], SampleType::String, "The text given", str)),
    checked(|arguments| check_bin(arguments), entry("bin", &[Parameter::Text], SampleType::Binary, "The bytes given in hexadecimal", bin)),
    checked(check_ipv4, entry("ipv4", &[Parameter::Text], SampleType::Ipv4, "The IPv4 address given", ipv4)),
    checked(check_ipv6, entry("ipv6", &[Parameter::Text], SampleType::Ipv6, "The IPv6 address given", ipv6)),
    optional_from(0, entry("env", &[Parameter::Environment], SampleType::String, "An environment variable's value at load", env)),
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

fn check_bool(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let value = match text(arguments, 0).unwrap_or_default() {
        "1" => 1,
        "0" => 0,
        word if word.eq_ignore_ascii_case("true") => 1,
        word if word.eq_ignore_ascii_case("false") => 0,
        word => return Err((0, format!("'{word}' is none of true, false, 1 and 0"))),
    };
    *arguments = vec![Argument::Integer(value)];
    Ok(())
}

fn check_bin(arguments: &[Argument]) -> Result<(), (usize, String)> {
    let digits = text(arguments, 0).unwrap_or_default();
    if let Some(wrong) = digits.chars().find(|digit| !digit.is_ascii_hexdigit()) {
        return Err((0, format!("'{wrong}' is no hexadecimal digit")));
    }
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return Err((0, String::from("each byte takes two hexadecimal digits")));
    }
    Ok(())
}

fn check_ipv4(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let given = text(arguments, 0).unwrap_or_default();
    let address: Ipv4Addr = given.parse().map_err(|_| (0, format!("'{given}' is no IPv4 address")))?;
    *arguments = vec![Argument::Ipv4(address)];
    Ok(())
}

fn check_ipv6(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let given = text(arguments, 0).unwrap_or_default();
    let address: Ipv6Addr = given.parse().map_err(|_| (0, format!("'{given}' is no IPv6 address")))?;
    *arguments = vec![Argument::Ipv6(address)];
    Ok(())
}

fn bool<'a>(_: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    match argument(arguments, 0) {
        Argument::Integer(value) => flag(*value != 0),
        _ => Err(Absent::Missing),
    }
}

fn int<'a>(_: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    match argument(arguments, 0) {
        Argument::Integer(value) => number(*value),
        _ => Err(Absent::Missing),
    }
}

fn str<'a>(_: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    words(text(arguments, 0).unwrap_or_default())
}

fn bin<'a>(_: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<smallvec::SmallVec<[u8; 64]>> = known(text(arguments, 0))?.as_bytes().chunks(2).map(byte).collect();
    Ok(Sample::fixed(Value::Binary(Data::Owned(known(bytes)?))))
}

fn ipv4<'a>(_: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    match argument(arguments, 0) {
        Argument::Ipv4(address) => Ok(Sample::fixed(Value::Ipv4(*address))),
        _ => Err(Absent::Missing),
    }
}

fn ipv6<'a>(_: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    match argument(arguments, 0) {
        Argument::Ipv6(address) => Ok(Sample::fixed(Value::Ipv6(*address))),
        _ => Err(Absent::Missing),
    }
}

fn env<'a>(_: Evaluation<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    words(known(text(arguments, 0))?)
}
