//! Protocol Buffers (encoding as of protobuf.dev): `protobuf` finds a field by the path of its numbers.

use ringmain_model::{Argument, SampleType};

use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Evaluation, Outcome, Sample, Value};
use super::{answer, data, entry, words};

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[entry(
    "protobuf",
    &[Parameter::Text, Parameter::Word(TYPES)],
    SampleType::Binary,
    SampleType::Any,
    "A field of a Protocol Buffers message by its numbers, such as 48.59.1; with a type, as a number",
    field,
)
.requires(1)
.checks(check)];

const TYPES: &[&str] = &[
    "int32", "uint32", "sint32", "int64", "uint64", "sint64", "bool", "enum", "fixed64", "sfixed64", "double", "fixed32", "sfixed32",
    "float",
];
/// Deepest path of field numbers.
const DEPTH_LIMIT: usize = 32;

fn check(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let is_number = |part: &[u8]| !part.is_empty() && part.len() <= 9 && part.iter().all(u8::is_ascii_digit);
    let path = words(arguments, 0);
    if path.split(|&byte| byte == b'.').all(is_number) && path.split(|&byte| byte == b'.').count() <= DEPTH_LIMIT {
        return Ok(());
    }
    Err((0, format!("the field must be numbers joined by dots, at most {DEPTH_LIMIT}, such as 48.59.1")))
}

/// A field as it stands on the wire.
#[derive(Clone, Copy)]
enum Field<'a> {
    /// Its bytes, and the number in them.
    Varint(&'a [u8], u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
}

/// Takes a varint from the front.
fn varint<'a>(message: &mut &'a [u8]) -> Option<(&'a [u8], u64)> {
    let length = message.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (bytes, rest) = message.split_at(length);
    *message = rest;
    // Bits beyond the 64th of a tenth byte fall off.
    let value = bytes.iter().rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((bytes, value))
}

/// Takes a field from the front: its number and content.
fn next_field<'a>(message: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let (_, key) = varint(message)?;
    let content = match key & 7 {
        0 => varint(message).map(|(bytes, value)| Field::Varint(bytes, value))?,
        1 => Field::Fixed64(*take(message, 8)?.first_chunk()?),
        2 => {
            let length = varint(message)?.1;
            Field::Bytes(take(message, usize::try_from(length).ok()?)?)
        }
        5 => Field::Fixed32(*take(message, 4)?.first_chunk()?),
        // Groups are deprecated, and HAProxy does not know them either.
        _ => return None,
    };
    Some((key >> 3, content))
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

/// The first field at a path, where every number but the last is of a message.
fn find<'a>(message: &'a [u8], path: &[u8]) -> Option<Field<'a>> {
    let mut rest = message;
    let mut numbers = path.split(|&byte| byte == b'.').map(super::super::sample::leading_integer).peekable();
    while let Some(number) = numbers.next() {
        let found = loop {
            let (known, content) = next_field(&mut rest)?;
            if i64::try_from(known) == Ok(number) {
                break content;
            }
        };
        match (found, numbers.peek()) {
            (content, None) => return Some(content),
            (Field::Bytes(inner), Some(_)) => rest = inner,
            _ => return None,
        }
    }
    None
}

fn field<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let message = data(sample.value);
    let found = find(message.bytes(), words(arguments, 0)).ok_or(Absent::Missing)?;
    let value = match words(arguments, 1) {
        [] => {
            let fixed: &[u8] = match &found {
                Field::Varint(bytes, _) | Field::Bytes(bytes) => bytes,
                Field::Fixed64(bytes) => bytes,
                Field::Fixed32(bytes) => bytes,
            };
            Value::Binary(super::Data::made(fixed))
        }
        kind => Value::Integer(as_number(kind, found).ok_or(Absent::Missing)?),
    };
    answer(sample.may_change, value)
}

/// The number in a field; `None` when a field of this type is not on the wire like that.
fn as_number(kind: &[u8], field: Field<'_>) -> Option<i64> {
    Some(match (kind, field) {
        (b"int32" | b"uint32" | b"int64" | b"uint64" | b"bool" | b"enum", Field::Varint(_, value)) => value as i64,
        (b"sint32" | b"sint64", Field::Varint(_, value)) => (value >> 1) as i64 ^ -((value & 1) as i64),
        (b"fixed64" | b"sfixed64", Field::Fixed64(bytes)) => i64::from_le_bytes(bytes),
        (b"double", Field::Fixed64(bytes)) => f64::from_le_bytes(bytes) as i64,
        (b"fixed32", Field::Fixed32(bytes)) => u32::from_le_bytes(bytes).into(),
        (b"sfixed32", Field::Fixed32(bytes)) => i32::from_le_bytes(bytes).into(),
        (b"float", Field::Fixed32(bytes)) => f32::from_le_bytes(bytes) as i64,
        _ => return None,
    })
}
