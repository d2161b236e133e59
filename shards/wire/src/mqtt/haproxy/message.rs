//! A packet read as HAProxy reads it: only when it is complete, and with fewer checks than the specification has.

use super::field::{Field, FieldValue, PacketType};
use crate::mqtt::property::{Place, PropertyId, PropertyKind};
use crate::mqtt::reader::{Reader, Stop};

/// A valid packet.
pub(super) enum Message<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
}

/// Fields of a CONNECT; those that it does not have are empty.
pub(super) struct Connect<'a> {
    name: &'a [u8],
    level: u8,
    flags: u8,
    keepalive_s: u16,
    properties: List<'a>,
    client_id: &'a [u8],
    will: Option<Will<'a>>,
    username: &'a [u8],
    password: &'a [u8],
}

struct Will<'a> {
    properties: List<'a>,
    topic: &'a [u8],
    payload: &'a [u8],
}

/// Fields of a CONNACK.
pub(super) struct Connack<'a> {
    flags: u8,
    code: u8,
    properties: List<'a>,
}

/// Checked properties; `None` before MQTT 5.0.
type List<'a> = Option<&'a [u8]>;

/// A property's value before its text is looked at.
#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u32),
    Bytes(&'a [u8]),
    Pair,
}

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Bytes are missing, or HAProxy says so.
    NoSample,
    /// The packet is invalid.
    Invalid,
}

impl From<Stop> for Refusal {
    fn from(_: Stop) -> Self {
        Self::Invalid
    }
}

type Read<T> = Result<T, Refusal>;

/// The flags that HAProxy expects in the fixed header of each packet type; there is no type 0.
const HEADER_FLAGS: [u8; 15] = [0, 0, 15, 0, 0, 2, 0, 2, 0, 2, 0, 0, 0, 0, 0];

impl<'a> Message<'a> {
    /// Reads the packet that the bytes start with.
    pub(super) fn read(bytes: &'a [u8]) -> Read<Self> {
        let Some((&first, rest)) = bytes.split_first().filter(|(_, rest)| !rest.is_empty()) else { return Err(Refusal::NoSample) };
        if usize::from(first >> 4).checked_sub(1).and_then(|index| HEADER_FLAGS.get(index)) != Some(&(first & 0x0F)) {
            return Err(Refusal::Invalid);
        }
        let mut header = Reader::new(rest, usize::MAX);
        let body = match header.variable(false).and_then(|length| header.take(length as usize)) {
            Ok(body) => body,
            Err(Stop::NeedMore) => return Err(Refusal::NoSample),
            Err(Stop::Invalid(_)) => return Err(Refusal::Invalid),
        };
        let mut reader = Reader::new(body, body.len());
        let message = match first {
            0x10 => Self::Connect(read_connect(&mut reader)?),
            0x20 => Self::Connack(read_connack(&mut reader)?),
            _ => return Err(Refusal::Invalid),
        };
        if reader.at_end() { Ok(message) } else { Err(Refusal::Invalid) }
    }

    /// Which packet it is.
    pub(super) fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::Connack(_) => PacketType::Connack,
        }
    }

    /// One of its fields.
    pub(super) fn field(&self, field: Field) -> Option<FieldValue<'a>> {
        match self {
            Self::Connect(connect) => connect.field(field),
            Self::Connack(connack) => connack.field(field),
        }
    }
}

impl<'a> Connect<'a> {
    fn field(&self, field: Field) -> Option<FieldValue<'a>> {
        let will = self.will.as_ref();
        match field {
            Field::Flags => Some(FieldValue::number(self.flags.into())),
            Field::ProtocolName => FieldValue::bytes(self.name),
            Field::ProtocolVersion => Some(FieldValue::number(self.level.into())),
            Field::ClientIdentifier => FieldValue::bytes(self.client_id),
            Field::WillTopic => FieldValue::bytes(will?.topic),
            Field::WillPayload => FieldValue::bytes(will?.payload),
            Field::Username => FieldValue::bytes(self.username),
            Field::Password => FieldValue::bytes(self.password),
            Field::Keepalive => Some(FieldValue::number(self.keepalive_s.into())),
            Field::ReasonCode => None,
            Field::Property(number) => {
                let id = PropertyId::from_number(number)?;
                if id.belongs(Place::Connect) {
                    property(self.properties?, id)
                } else if id.belongs(Place::Will) {
                    property(will?.properties?, id)
                } else {
                    None
                }
            }
        }
    }
}

impl<'a> Connack<'a> {
    fn field(&self, field: Field) -> Option<FieldValue<'a>> {
        match field {
            Field::Flags => Some(FieldValue::number(self.flags.into())),
            Field::ProtocolVersion => Some(FieldValue::number(if self.properties.is_some() { 5 } else { 4 })),
            Field::ReasonCode => Some(FieldValue::number(self.code.into())),
            Field::Property(number) => {
                let id = PropertyId::from_number(number)?;
                if id.belongs(Place::Connack) { property(self.properties?, id) } else { None }
            }
            _ => None,
        }
    }
}

fn property(list: &[u8], id: PropertyId) -> Option<FieldValue<'_>> {
    match find(list, id) {
        Some(Value::Number(number)) => Some(FieldValue::number(number)),
        Some(Value::Bytes(bytes)) => FieldValue::bytes(bytes),
        Some(Value::Pair) => None,
        None => match id.kind() {
            PropertyKind::Byte | PropertyKind::TwoBytes | PropertyKind::FourBytes => Some(FieldValue::number(0)),
            _ => None,
        },
    }
}

/// The value of a property in a checked list.
fn find(list: &[u8], id: PropertyId) -> Option<Value<'_>> {
    let mut reader = Reader::new(list, list.len());
    while !reader.at_end() {
        let found = PropertyId::from_number(reader.byte().ok()?)?;
        let value = read_value(&mut reader, found).ok()?;
        if found == id {
            return Some(value);
        }
    }
    None
}

fn read_connect<'a>(reader: &mut Reader<'a>) -> Read<Connect<'a>> {
    let name = reader.binary()?;
    if !name.eq_ignore_ascii_case(b"MQTT") && !name.eq_ignore_ascii_case(b"MQIsdp") {
        return Err(Refusal::Invalid);
    }
    let level = reader.byte()?;
    let flags = reader.byte()?;
    if !(3..=5).contains(&level) || flags & 0x01 != 0 || flags & 0x3C == 0x18 {
        return Err(Refusal::Invalid);
    }
    let keepalive_s = reader.short()?;
    let properties = if level == 5 { Some(read_properties(reader, Place::Connect)?) } else { None };
    let client_id = reader.binary()?;
    let will = if flags & 0x04 != 0 { Some(read_will(reader, level)?) } else { None };
    let missing = |reader: &Reader<'_>| level == 3 && reader.at_end();
    let username = if flags & 0x80 != 0 && !missing(reader) { reader.binary()? } else { &[] };
    let password = if flags & 0x40 != 0 && !missing(reader) { reader.binary()? } else { &[] };
    Ok(Connect { name, level, flags, keepalive_s, properties, client_id, will, username, password })
}

fn read_will<'a>(reader: &mut Reader<'a>, level: u8) -> Read<Will<'a>> {
    let properties = if level == 5 { Some(read_properties(reader, Place::Will)?) } else { None };
    Ok(Will { properties, topic: reader.binary()?, payload: reader.binary()? })
}

fn read_connack<'a>(reader: &mut Reader<'a>) -> Read<Connack<'a>> {
    let flags = reader.byte()?;
    if flags & 0xFE != 0 {
        return Err(Refusal::Invalid);
    }
    let code = reader.byte()?;
    let properties = if reader.at_end() { None } else { Some(read_properties(reader, Place::Connack)?) };
    Ok(Connack { flags, code, properties })
}

fn read_properties<'a>(reader: &mut Reader<'a>, place: Place) -> Read<&'a [u8]> {
    let length = reader.variable(false)?;
    let list = reader.take(length as usize)?;
    let mut rest = Reader::new(list, list.len());
    let mut seen = 0_u64;
    while !rest.at_end() {
        let id = PropertyId::from_number(rest.byte()?);
        let Some(id) = id.filter(|id| id.belongs(place)) else {
            return Err(if place == Place::Connack { Refusal::NoSample } else { Refusal::Invalid });
        };
        let value = read_value(&mut rest, id)?;
        let bit = 1_u64.checked_shl(id.number().into()).unwrap_or_default();
        let repeated = seen & bit != 0 && id != PropertyId::UserProperty;
        let wrong = match value {
            Value::Number(number) => !id.allows(number),
            Value::Bytes(bytes) => id == PropertyId::AssignedClientIdentifier && bytes.is_empty(),
            Value::Pair => false,
        };
        if repeated || wrong {
            return Err(Refusal::Invalid);
        }
        seen |= bit;
    }
    let empty = |id| !matches!(find(list, id), Some(Value::Bytes(bytes)) if !bytes.is_empty());
    if place == Place::Connect && empty(PropertyId::AuthenticationMethod) && !empty(PropertyId::AuthenticationData) {
        return Err(Refusal::Invalid);
    }
    Ok(list)
}

fn read_value<'a>(reader: &mut Reader<'a>, id: PropertyId) -> Read<Value<'a>> {
    Ok(match id.kind() {
        PropertyKind::Byte => Value::Number(reader.number(1)?),
        PropertyKind::TwoBytes => Value::Number(reader.number(2)?),
        PropertyKind::FourBytes => Value::Number(reader.number(4)?),
        PropertyKind::Variable => Value::Number(reader.variable(false)?),
        PropertyKind::Text | PropertyKind::Binary => Value::Bytes(reader.binary()?),
        PropertyKind::Pair => {
            reader.binary()?;
            reader.binary()?;
            Value::Pair
        }
    })
}
