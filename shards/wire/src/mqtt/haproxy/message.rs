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

/// What is invalid needs no reason here.
struct Invalid;

impl From<Stop> for Invalid {
    fn from(_: Stop) -> Self {
        Self
    }
}

impl<'a> Message<'a> {
    /// `None` as long as bytes are missing, `Some(None)` if the packet is invalid.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Option<Self>> {
        let (first, rest) = bytes.split_first()?;
        if rest.is_empty() {
            return None;
        }
        if !matches!(first, 0x10 | 0x20) {
            return Some(None);
        }
        let mut header = Reader::new(rest, usize::MAX);
        let body = match header.variable(false).and_then(|length| header.take(length as usize)) {
            Ok(body) => body,
            Err(Stop::NeedMore) => return None,
            Err(Stop::Invalid(_)) => return Some(None),
        };
        let mut reader = Reader::new(body, body.len());
        let message = match first {
            0x10 => read_connect(&mut reader).map(Message::Connect),
            _ => read_connack(&mut reader).map(Message::Connack),
        };
        Some(message.ok().filter(|_| reader.at_end()))
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
        let (found, value) = read_property(&mut reader).ok()?;
        if found == id {
            return Some(value);
        }
    }
    None
}

fn read_connect<'a>(reader: &mut Reader<'a>) -> Result<Connect<'a>, Invalid> {
    let name = reader.binary()?;
    if !name.eq_ignore_ascii_case(b"MQTT") && !name.eq_ignore_ascii_case(b"MQIsdp") {
        return Err(Invalid);
    }
    let level = reader.byte()?;
    let flags = reader.byte()?;
    if !(3..=5).contains(&level) || flags & 0x01 != 0 || flags & 0x3C == 0x18 {
        return Err(Invalid);
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

fn read_will<'a>(reader: &mut Reader<'a>, level: u8) -> Result<Will<'a>, Invalid> {
    let properties = if level == 5 { Some(read_properties(reader, Place::Will)?) } else { None };
    Ok(Will { properties, topic: reader.binary()?, payload: reader.binary()? })
}

fn read_connack<'a>(reader: &mut Reader<'a>) -> Result<Connack<'a>, Invalid> {
    let flags = reader.byte()?;
    if flags & 0xFE != 0 {
        return Err(Invalid);
    }
    let code = reader.byte()?;
    let properties = if reader.at_end() { None } else { Some(read_properties(reader, Place::Connack)?) };
    Ok(Connack { flags, code, properties })
}

fn read_properties<'a>(reader: &mut Reader<'a>, place: Place) -> Result<&'a [u8], Invalid> {
    let length = reader.variable(false)?;
    let list = reader.take(length as usize)?;
    let mut rest = Reader::new(list, list.len());
    let mut seen = 0_u64;
    while !rest.at_end() {
        let (id, value) = read_property(&mut rest)?;
        let bit = 1_u64.checked_shl(id.number().into()).unwrap_or_default();
        let repeated = seen & bit != 0 && id != PropertyId::UserProperty;
        let wrong = match value {
            Value::Number(number) => !id.allows(number),
            Value::Bytes(bytes) => id == PropertyId::AssignedClientIdentifier && bytes.is_empty(),
            Value::Pair => false,
        };
        if repeated || wrong || !id.belongs(place) {
            return Err(Invalid);
        }
        seen |= bit;
    }
    let empty = |id| !matches!(find(list, id), Some(Value::Bytes(bytes)) if !bytes.is_empty());
    if place == Place::Connect && empty(PropertyId::AuthenticationMethod) && !empty(PropertyId::AuthenticationData) {
        return Err(Invalid);
    }
    Ok(list)
}

fn read_property<'a>(reader: &mut Reader<'a>) -> Result<(PropertyId, Value<'a>), Invalid> {
    let id = PropertyId::from_number(reader.byte()?).ok_or(Invalid)?;
    let value = match id.kind() {
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
    };
    Ok((id, value))
}
