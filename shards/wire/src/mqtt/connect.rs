//! CONNECT, the first packet of a client (MQTT 3.1 section 3.1, 3.1.1 section 3.1, 5.0 section 3.1).

use super::property::{Place, Properties, check_topic};
use super::reader::{Read, Reader, Stop, read_packet};
use super::{Limits, Progress, Reason, Version};

/// Bits of the connect flags.
const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS: u8 = 0x18;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// A valid CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    version: Version,
    flags: u8,
    keepalive_s: u16,
    properties: Properties<'a>,
    client_id: &'a str,
    will: Option<Will<'a>>,
    username: Option<&'a str>,
    password: Option<&'a [u8]>,
}

/// What the server publishes when the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    qos: u8,
    retain: bool,
    properties: Properties<'a>,
    topic: &'a str,
    payload: &'a [u8],
}

impl<'a> Connect<'a> {
    /// Version of the protocol.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The byte of connect flags as it came.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the client wants no old session: clean session before MQTT 5.0, clean start in it.
    pub fn clean(&self) -> bool {
        self.flags & CLEAN != 0
    }

    /// Longest silence of the client in seconds, 0 to 65,535; 0 is without end.
    pub fn keepalive_s(&self) -> u16 {
        self.keepalive_s
    }

    /// The client identifier; empty when the server is to choose one.
    pub fn client_id(&self) -> &'a str {
        self.client_id
    }

    /// The will.
    pub fn will(&self) -> Option<Will<'a>> {
        self.will
    }

    /// The user name.
    pub fn username(&self) -> Option<&'a str> {
        self.username
    }

    /// The password.
    pub fn password(&self) -> Option<&'a [u8]> {
        self.password
    }

    /// Properties of the connection; none before MQTT 5.0.
    pub fn properties(&self) -> Properties<'a> {
        self.properties
    }
}

impl<'a> Will<'a> {
    /// Quality of service, 0 to 2.
    pub fn qos(&self) -> u8 {
        self.qos
    }

    /// Whether the message is to be retained.
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// Properties of the message; none before MQTT 5.0.
    pub fn properties(&self) -> Properties<'a> {
        self.properties
    }

    /// Topic to publish to.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The message, up to 65,535 bytes.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Reads a CONNECT from everything that a client sent so far.
pub fn parse_connect<'a>(bytes: &'a [u8], limits: &Limits) -> Progress<Connect<'a>> {
    // The shortest is that of MQTT 3.1.1 with an empty client identifier.
    read_packet(bytes, 0x10, 12, limits, |reader| read_body(reader, limits))
}

fn read_body<'a>(reader: &mut Reader<'a>, limits: &Limits) -> Read<Connect<'a>> {
    let version = read_version(reader)?;
    let flags = reader.byte()?;
    check_flags(flags, version)?;
    let keepalive_s = reader.short()?;
    let properties = if version == Version::V5 { Properties::read(reader, Place::Connect, limits)? } else { Properties::default() };
    let client_id = read_client_id(reader, version, flags, limits)?;
    let will = if flags & WILL != 0 { Some(read_will(reader, version, flags, limits)?) } else { None };
    // The first versions had neither; where they are missing from the end of a packet, MQTT 3.1 section 3.1 ignores their flags.
    let missing = |reader: &Reader<'_>| version == Version::V3_1 && reader.at_end();
    let username = if flags & USER_NAME != 0 && !missing(reader) { Some(reader.text()?) } else { None };
    let password = if flags & PASSWORD != 0 && !missing(reader) { Some(reader.binary()?) } else { None };
    Ok(Connect { version, flags, keepalive_s, properties, client_id, will, username, password })
}

fn read_version(reader: &mut Reader<'_>) -> Read<Version> {
    let name: &[u8] = match read_name_length(reader)? {
        4 => b"MQTT",
        6 => b"MQIsdp",
        _ => return Err(Stop::Invalid(Reason::ProtocolName)),
    };
    for &expected in name {
        if reader.byte()? != expected {
            return Err(Stop::Invalid(Reason::ProtocolName));
        }
    }
    match (name.len(), reader.byte()?) {
        (6, 3) => Ok(Version::V3_1),
        (4, 4) => Ok(Version::V3_1_1),
        (4, 5) => Ok(Version::V5),
        _ => Err(Stop::Invalid(Reason::ProtocolLevel)),
    }
}

/// Reads byte for byte, so that something else is refused by its first byte.
fn read_name_length(reader: &mut Reader<'_>) -> Read<u8> {
    match reader.byte()? {
        0 => reader.byte(),
        _ => Err(Stop::Invalid(Reason::ProtocolName)),
    }
}

fn check_flags(flags: u8, version: Version) -> Read<()> {
    let wrong = if flags & 0x01 != 0 {
        Reason::ReservedFlag
    } else if flags & WILL_QOS == WILL_QOS {
        Reason::WillQos
    } else if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        Reason::WillFlagsWithoutWill
    } else if version != Version::V5 && flags & PASSWORD != 0 && flags & USER_NAME == 0 {
        Reason::PasswordWithoutUserName
    } else {
        return Ok(());
    };
    Err(Stop::Invalid(wrong))
}

fn read_client_id<'a>(reader: &mut Reader<'a>, version: Version, flags: u8, limits: &Limits) -> Read<&'a str> {
    let mut ahead = *reader;
    let length = ahead.short()?;
    if length > limits.client_id_bytes {
        return Err(Stop::Invalid(Reason::ClientIdTooLong));
    }
    match version {
        Version::V3_1 if length == 0 => Err(Stop::Invalid(Reason::ClientIdEmpty)),
        Version::V3_1_1 if length == 0 && flags & CLEAN == 0 => Err(Stop::Invalid(Reason::ClientIdEmptyWithSession)),
        _ => reader.text(),
    }
}

fn read_will<'a>(reader: &mut Reader<'a>, version: Version, flags: u8, limits: &Limits) -> Read<Will<'a>> {
    let properties = if version == Version::V5 { Properties::read(reader, Place::Will, limits)? } else { Properties::default() };
    let topic = reader.text()?;
    check_topic(topic)?;
    let payload = reader.binary()?;
    Ok(Will { qos: (flags & WILL_QOS) >> 3, retain: flags & WILL_RETAIN != 0, properties, topic, payload })
}
