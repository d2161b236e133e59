//! Converters that look values up in map files: `map`, `map_METHOD`, `map_METHOD_TYPE`.

use std::net::IpAddr;

use ringmain_model::pattern::{Map, Pattern};
use ringmain_model::{Argument, SampleType};
use smallvec::SmallVec;

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::sample::leading_integer;
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::substitute::expand;
use super::{answer, data, entry, words};
use crate::pattern::find;

const STRING: SampleType = SampleType::String;
const INTEGER: SampleType = SampleType::Integer;
const ADDRESS: SampleType = SampleType::Address;

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    text("map", STRING, "The value of a key in a map file, keys compared whole"),
    text("map_str", STRING, "The value of a key in a map file, keys compared whole"),
    text("map_beg", STRING, "The value of the longest key that the text begins with"),
    text("map_sub", STRING, "The value of the first key that is in the text"),
    text("map_dir", STRING, "The value of the first key between slashes of the text"),
    text("map_dom", STRING, "The value of the first key between dots of the text"),
    text("map_end", STRING, "The value of the first key that the text ends with"),
    text("map_reg", STRING, "The value of the first regular expression that matches"),
    text("map_int", INTEGER, "The value of the first number or range that the number is in"),
    text("map_ip", ADDRESS, "The value of the smallest network that the address is in"),
    entry(
        "map_regm",
        &[Parameter::Map, Parameter::MapDefault],
        STRING,
        STRING,
        "The value of the first regular expression that matches, with its groups put in",
        lookup_template,
    )
    .requires(1)
    .checks(check_templates),
    integer("map_str_int", STRING, "The number of a key in a map file, keys compared whole"),
    integer("map_beg_int", STRING, "The number of the longest key that the text begins with"),
    integer("map_sub_int", STRING, "The number of the first key that is in the text"),
    integer("map_dir_int", STRING, "The number of the first key between slashes of the text"),
    integer("map_dom_int", STRING, "The number of the first key between dots of the text"),
    integer("map_end_int", STRING, "The number of the first key that the text ends with"),
    integer("map_reg_int", STRING, "The number of the first regular expression that matches"),
    integer("map_int_int", INTEGER, "The number of the first number or range that the number is in"),
    integer("map_ip_int", ADDRESS, "The number of the smallest network that the address is in"),
    address("map_str_ip", STRING, "The address of a key in a map file, keys compared whole"),
    address("map_beg_ip", STRING, "The address of the longest key that the text begins with"),
    address("map_sub_ip", STRING, "The address of the first key that is in the text"),
    address("map_dir_ip", STRING, "The address of the first key between slashes of the text"),
    address("map_dom_ip", STRING, "The address of the first key between dots of the text"),
    address("map_end_ip", STRING, "The address of the first key that the text ends with"),
    address("map_reg_ip", STRING, "The address of the first regular expression that matches"),
    address("map_int_ip", INTEGER, "The address of the first number or range that the number is in"),
    address("map_ip_ip", ADDRESS, "The address of the smallest network that the address is in"),
];

const fn text(name: &'static str, input: SampleType, summary: &'static str) -> ConverterEntry {
    entry(name, &[Parameter::Map, Parameter::MapDefault], input, STRING, summary, lookup_text).requires(1)
}

const fn integer(name: &'static str, input: SampleType, summary: &'static str) -> ConverterEntry {
    entry(name, &[Parameter::Map, Parameter::Integer], input, INTEGER, summary, lookup_integer).requires(1).checks(check_integers)
}

const fn address(name: &'static str, input: SampleType, summary: &'static str) -> ConverterEntry {
    entry(name, &[Parameter::Map, Parameter::MapDefault], input, ADDRESS, summary, lookup_address).requires(1).checks(check_addresses)
}

fn map(arguments: &[Argument]) -> Option<&Map> {
    match argument(arguments, 0) {
        Argument::Map(map) => Some(map),
        _ => None,
    }
}

/// The pattern and the value that an input finds.
fn look_up<'a>(sample: &Sample<'a>, arguments: &'a [Argument]) -> Option<(&'a Pattern, &'a [u8])> {
    let map = map(arguments)?;
    let position = find(&map.keys, &sample.value)?;
    Some((map.keys.list().get(position)?, map.values.get(position)?))
}

/// The default value as text, when there is one.
fn default_text(arguments: &[Argument]) -> Option<&[u8]> {
    match argument(arguments, 1) {
        Argument::Text(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn lookup_text<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let found = look_up(&sample, arguments).map(|(_, value)| value);
    let value = found.or_else(|| default_text(arguments)).ok_or(Absent::Missing)?;
    answer(sample.may_change, Value::text(value))
}

fn lookup_template<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let Some((Pattern::Regex(regex), template)) = look_up(&sample, arguments) else {
        let value = default_text(arguments).ok_or(Absent::Missing)?;
        return answer(sample.may_change, Value::text(value));
    };
    let text = data(sample.value);
    let mut captures = regex.compiled().capture_locations();
    let mut out = SmallVec::new();
    if regex.compiled().captures_read(&mut captures, text.bytes()).is_some() {
        expand(template, |group| captures.get(group).and_then(|(start, end)| text.bytes().get(start..end)), &mut out);
    }
    answer(sample.may_change, Value::String(Data::Owned(out)))
}

fn lookup_integer<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let found = look_up(&sample, arguments).map(|(_, value)| leading_integer(value));
    let default = || match *argument(arguments, 1) {
        Argument::Integer(number) => Some(number),
        _ => None,
    };
    answer(sample.may_change, Value::Integer(found.or_else(default).ok_or(Absent::Missing)?))
}

fn lookup_address<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let found = look_up(&sample, arguments).and_then(|(_, value)| parse_address(value));
    let default = || match *argument(arguments, 1) {
        Argument::Ipv4(address) => Some(Value::Ipv4(address)),
        Argument::Ipv6(address) => Some(Value::Ipv6(address)),
        _ => None,
    };
    answer(sample.may_change, found.or_else(default).ok_or(Absent::Missing)?)
}

fn parse_address<'a>(text: &[u8]) -> Option<Value<'a>> {
    Some(match std::str::from_utf8(text).ok()?.parse().ok()? {
        IpAddr::V4(address) => Value::Ipv4(address),
        IpAddr::V6(address) => Value::Ipv6(address),
    })
}

/// Checks every value of the map; the error shows the first wrong one.
fn check_values(arguments: &[Argument], is_right: impl Fn(&[u8]) -> bool, wanted: &str) -> Result<(), (usize, String)> {
    let Some(map) = map(arguments) else { return Ok(()) };
    match map.values.iter().find(|value| !is_right(value)) {
        Some(value) => Err((0, format!("the value '{}' in '{}' is not {wanted}", String::from_utf8_lossy(value), map.file))),
        None => Ok(()),
    }
}

fn check_integers(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let is_integer = |value: &[u8]| {
        let digits = value.strip_prefix(b"-").or(value.strip_prefix(b"+")).unwrap_or(value);
        digits.iter().all(u8::is_ascii_digit)
    };
    check_values(arguments, is_integer, "a whole number")
}

fn check_addresses(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    check_values(arguments, |value| parse_address(value).is_some(), "an IP address")?;
    if let Some(default @ Argument::Text(_)) = arguments.get_mut(1) {
        *default = match parse_address(words(std::slice::from_ref(default), 0)) {
            Some(Value::Ipv4(address)) => Argument::Ipv4(address),
            Some(Value::Ipv6(address)) => Argument::Ipv6(address),
            _ => return Err((1, "the default value must be an IP address".to_owned())),
        };
    }
    Ok(())
}

fn check_templates(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    check_values(arguments, |value| super::substitute::check_template(value).is_ok(), "a complete replacement: an escape is cut off")
}
