//! Writes CONNECT and DISCONNECT, for health checks and for draining, and CONNACK, which tests and stand-ins for servers answer with.
//!
//! A packet is appended to the caller's buffer, which is left as it was on an error. Lengths and what a version cannot express are
//! checked; the rules for contents (well-formed topics, values of properties) are those of the parsers.

use std::fmt;

use super::Version;
use super::property::{Property, PropertyKind, PropertyValue};

/// A CONNECT to be written.
#[derive(Clone, Copy, Debug)]
pub struct ConnectPacket<'a> {
    /// Version of the protocol.
    pub version: Version,
    /// Clean session, clean start in MQTT 5.0.
    pub clean: bool,
    /// Keep alive in seconds; 0 is without end.
    pub keepalive_s: u16,
    /// Client identifier, up to 65,535 bytes.
    pub client_id: &'a str,
    /// User name, up to 65,535 bytes.
    pub username: Option<&'a str>,
    /// Password, up to 65,535 bytes; without a user name only in MQTT 5.0.
    pub password: Option<&'a [u8]>,
    /// The will.
    pub will: Option<WillMessage<'a>>,
    /// Properties, only in MQTT 5.0.
    pub properties: &'a [Property<'a>],
}

/// A will to be written.
#[derive(Clone, Copy, Debug)]
pub struct WillMessage<'a> {
    /// Quality of service, 0 to 2.
    pub qos: u8,
    /// Whether the message is to be retained.
    pub retain: bool,
    /// Topic, up to 65,535 bytes.
    pub topic: &'a str,
    /// The message, up to 65,535 bytes.
    pub payload: &'a [u8],
    /// Properties, only in MQTT 5.0.
    pub properties: &'a [Property<'a>],
}

/// A CONNACK to be written.
#[derive(Clone, Copy, Debug)]
pub struct ConnackPacket<'a> {
    /// Version of the protocol.
    pub version: Version,
    /// Whether there is a session of the client.
    pub session_present: bool,
    /// Return code, reason code in MQTT 5.0.
    pub code: u8,
    /// Properties, only in MQTT 5.0.
    pub properties: &'a [Property<'a>],
}

/// Why a packet cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A field or the packet is longer than its length can say.
    TooLong,
    /// The version has no properties.
    PropertiesNeedVersion5,
    /// The version has no password without a user name.
    PasswordNeedsUserName,
    /// The quality of service is not 0, 1 or 2.
    Qos,
    /// A property's value is not of its kind.
    PropertyKind,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "a field or the packet is too long",
            Self::PropertiesNeedVersion5 => "properties need MQTT 5.0",
            Self::PasswordNeedsUserName => "a password needs a user name before MQTT 5.0",
            Self::Qos => "the quality of service is not 0, 1 or 2",
            Self::PropertyKind => "the value of a property is of another kind",
        })
    }
}

impl std::error::Error for EncodeError {}

type Written = Result<(), EncodeError>;

impl<'a> ConnectPacket<'a> {
    /// A clean session of a minute's keep alive without user, will or properties.
    pub fn new(version: Version, client_id: &'a str) -> Self {
        Self { version, clean: true, keepalive_s: 60, client_id, username: None, password: None, will: None, properties: &[] }
    }

    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) -> Written {
        packet(0x10, out, |out| self.body(out))
    }

    fn body(&self, out: &mut Vec<u8>) -> Written {
        if self.password.is_some() && self.username.is_none() && self.version != Version::V5 {
            return Err(EncodeError::PasswordNeedsUserName);
        }
        let will_flags = match self.will {
            Some(will) if will.qos > 2 => return Err(EncodeError::Qos),
            Some(will) => 0x04 | will.qos << 3 | u8::from(will.retain) << 5,
            None => 0,
        };
        let flags =
            u8::from(self.clean) << 1 | will_flags | u8::from(self.password.is_some()) << 6 | u8::from(self.username.is_some()) << 7;
        field(self.version.protocol_name().as_bytes(), out)?;
        out.extend_from_slice(&[self.version.level(), flags]);
        out.extend_from_slice(&self.keepalive_s.to_be_bytes());
        properties(self.version, self.properties, out)?;
        field(self.client_id.as_bytes(), out)?;
        if let Some(will) = self.will {
            properties(self.version, will.properties, out)?;
            field(will.topic.as_bytes(), out)?;
            field(will.payload, out)?;
        }
        self.username.map_or(Ok(()), |name| field(name.as_bytes(), out))?;
        self.password.map_or(Ok(()), |password| field(password, out))
    }
}

impl ConnackPacket<'_> {
    /// Appends the packet.
    pub fn encode(&self, out: &mut Vec<u8>) -> Written {
        packet(0x20, out, |out| {
            out.extend_from_slice(&[u8::from(self.session_present), self.code]);
            properties(self.version, self.properties, out)
        })
    }
}

/// Appends a DISCONNECT; `reason` is a reason code of MQTT 5.0 (section 3.14.2.1) and left out before it.
pub fn encode_disconnect(version: Version, reason: u8, out: &mut Vec<u8>) {
    match version {
        Version::V5 => out.extend_from_slice(&[0xE0, 2, reason, 0]),
        Version::V3_1 | Version::V3_1_1 => out.extend_from_slice(&[0xE0, 0]),
    }
}

/// Appends what `body` writes with the fixed header before it; nothing if it fails.
fn packet(first_byte: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>) -> Written) -> Written {
    let start = out.len();
    out.push(first_byte);
    let written = counted(out, body);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Appends what `body` writes with its length before it.
fn counted(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>) -> Written) -> Written {
    let start = out.len();
    body(out)?;
    let mut length = out.len().saturating_sub(start);
    let mut bytes = [0; 4];
    let mut count = 0;
    for byte in &mut bytes {
        *byte = (length & 0x7F) as u8;
        length >>= 7;
        count += 1;
        if length == 0 {
            out.splice(start..start, bytes.into_iter().take(count));
            return Ok(());
        }
        *byte |= 0x80;
    }
    Err(EncodeError::TooLong)
}

/// Appends bytes with their length of two bytes before them.
fn field(bytes: &[u8], out: &mut Vec<u8>) -> Written {
    let length = u16::try_from(bytes.len()).map_err(|_| EncodeError::TooLong)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn properties(version: Version, properties: &[Property<'_>], out: &mut Vec<u8>) -> Written {
    match version {
        Version::V5 => counted(out, |out| properties.iter().try_for_each(|one| property(one, out))),
        Version::V3_1 | Version::V3_1_1 if properties.is_empty() => Ok(()),
        Version::V3_1 | Version::V3_1_1 => Err(EncodeError::PropertiesNeedVersion5),
    }
}

fn property(property: &Property<'_>, out: &mut Vec<u8>) -> Written {
    out.push(property.id.number());
    match (property.id.kind(), property.value) {
        (PropertyKind::Byte, PropertyValue::Number(number)) => {
            out.push(u8::try_from(number).map_err(|_| EncodeError::TooLong)?);
        }
        (PropertyKind::TwoBytes, PropertyValue::Number(number)) => {
            out.extend_from_slice(&u16::try_from(number).map_err(|_| EncodeError::TooLong)?.to_be_bytes());
        }
        (PropertyKind::FourBytes, PropertyValue::Number(number)) => out.extend_from_slice(&number.to_be_bytes()),
        (PropertyKind::Text, PropertyValue::Text(text)) => field(text.as_bytes(), out)?,
        (PropertyKind::Binary, PropertyValue::Binary(bytes)) => field(bytes, out)?,
        (PropertyKind::Pair, PropertyValue::Pair(name, value)) => {
            field(name.as_bytes(), out)?;
            field(value.as_bytes(), out)?;
        }
        _ => return Err(EncodeError::PropertyKind),
    }
    Ok(())
}
