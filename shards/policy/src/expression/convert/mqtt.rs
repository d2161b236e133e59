//! `mqtt_is_valid` and `mqtt_field_value`: the first packet of a client or a server, as HAProxy sees it.

use ringmain_model::{Argument, Needs, SampleType};
use ringmain_wire::mqtt::haproxy::{self, Field, PacketType, Tri};

use super::super::evaluate::argument;
use super::super::registry::{ConverterEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{answer, data, entry, words};

const BINARY: SampleType = SampleType::Binary;

/// The entries.
pub const ENTRIES: &[ConverterEntry] = &[
    entry("mqtt_is_valid", &[], BINARY, SampleType::Boolean, "Whether the bytes begin with a valid CONNECT or CONNACK of MQTT", is_valid)
        .needs(Needs::MQTT),
    entry(
        "mqtt_field_value",
        &[Parameter::Text, Parameter::Text],
        BINARY,
        // HAProxy, too, says text where lines are checked and gives bytes where they run.
        SampleType::String,
        "A field or, by its number, a property of a CONNECT or CONNACK of MQTT",
        field_value,
    )
    .needs(Needs::MQTT)
    .checks(check),
];

/// Fields with names; the check puts a field's place in here behind all property numbers into the argument.
const NAMED: [Field; 10] = [
    Field::Flags,
    Field::ProtocolName,
    Field::ProtocolVersion,
    Field::ClientIdentifier,
    Field::WillTopic,
    Field::WillPayload,
    Field::Username,
    Field::Password,
    Field::Keepalive,
    Field::ReasonCode,
];
const FIRST_NAMED: i64 = 256;

/// Understands both names once, so that the data path compares no text.
fn check(arguments: &mut Vec<Argument>) -> Result<(), (usize, String)> {
    let text = |position| std::str::from_utf8(words(arguments, position)).unwrap_or_default();
    let packet = PacketType::from_name(text(0))
        .ok_or_else(|| (0, format!("the packet must be one of {}, or its number", PacketType::NAMES.join(", "))))?;
    let field = Field::from_name(packet, text(1)).ok_or_else(|| {
        let names: Vec<&str> = Field::names(packet).collect();
        let numbers: Vec<String> = Field::properties(packet).iter().map(u8::to_string).collect();
        let (packet, names, numbers) = (packet.name(), names.join(", "), numbers.join(", "));
        (1, format!("a field of {packet} is one of {names}, or the number of a property: {numbers}"))
    })?;
    let code = match field {
        Field::Property(number) => i64::from(number),
        named => FIRST_NAMED + NAMED.iter().position(|known| *known == named).map_or(0, |at| at as i64),
    };
    *arguments = vec![Argument::Integer(if packet == PacketType::Connect { 1 } else { 2 }), Argument::Integer(code)];
    Ok(())
}

fn is_valid<'a>(_: Evaluation<'a>, sample: Sample<'a>, _: &'a [Argument]) -> Outcome<'a> {
    // What the first bytes say is final: bytes behind them change nothing.
    match haproxy::is_valid(data(sample.value).bytes()) {
        Tri::Yes => answer(false, Value::Boolean(true)),
        Tri::No => answer(false, Value::Boolean(false)),
        Tri::NeedMore => Err(Absent::Missing),
    }
}

fn field_value<'a>(_: Evaluation<'a>, sample: Sample<'a>, arguments: &'a [Argument]) -> Outcome<'a> {
    let (&Argument::Integer(packet), &Argument::Integer(code)) = (argument(arguments, 0), argument(arguments, 1)) else {
        return Err(Absent::Missing);
    };
    let packet = if packet == 1 { PacketType::Connect } else { PacketType::Connack };
    let named = || NAMED.get(usize::try_from(code - FIRST_NAMED).ok()?).copied();
    let field = u8::try_from(code).ok().map(Field::Property).or_else(named).ok_or(Absent::Missing)?;
    let value = match data(sample.value) {
        Data::Borrowed(bytes) => {
            let found = haproxy::field(bytes, packet, field).ok_or(Absent::Missing)?;
            found.borrowed().map_or_else(|| Data::made(found.as_bytes()), Data::Borrowed)
        }
        Data::Owned(bytes) => Data::made(haproxy::field(&bytes, packet, field).ok_or(Absent::Missing)?.as_bytes()),
    };
    answer(false, Value::Binary(value))
}
