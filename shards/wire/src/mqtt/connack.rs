//! CONNACK, the first packet of a server (MQTT 3.1 section 3.2, 3.1.1 section 3.2, 5.0 section 3.2).

use super::property::{Place, Properties};
use super::reader::{Read, Reader, Stop, read_packet};
use super::{Limits, Progress, Reason, Version};

/// A valid CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    version: Version,
    session_present: bool,
    code: u8,
    properties: Properties<'a>,
}

impl<'a> Connack<'a> {
    /// Version whose form the answer has: that of the CONNECT, or 3.1.1 when a server without MQTT 5.0 refuses a client with it.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether the server kept a session of this client; always false in MQTT 3.1, which cannot say it.
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// The return code (0 to 5) or, in MQTT 5.0, the reason code (0, or 0x80 and more); 0 is acceptance.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// Whether the server accepted the connection.
    pub fn accepted(&self) -> bool {
        self.code == 0
    }

    /// The code in words of the specification.
    pub fn code_text(&self) -> &'static str {
        code_text(self.version, self.code)
    }

    /// Properties; none before MQTT 5.0.
    pub fn properties(&self) -> Properties<'a> {
        self.properties
    }
}

/// Reads the CONNACK that answers a CONNECT of `version` from everything that a server sent so far.
///
/// A server that does not know MQTT 5.0 refuses it in the form of MQTT 3.1.1: this is valid, and [`Connack::version`] says so.
pub fn parse_connack<'a>(bytes: &'a [u8], version: Version, limits: &Limits) -> Progress<Connack<'a>> {
    read_packet(bytes, 0x20, 2, limits, |reader| read_body(reader, version, limits))
}

fn read_body<'a>(reader: &mut Reader<'a>, asked: Version, limits: &Limits) -> Read<Connack<'a>> {
    let flags = reader.byte()?;
    // MQTT 3.1 does not use this byte.
    if asked != Version::V3_1 && flags & 0xFE != 0 {
        return Err(Stop::Invalid(Reason::AcknowledgeFlags));
    }
    let session_present = asked != Version::V3_1 && flags & 0x01 != 0;
    let code = reader.byte()?;
    let refused_without_v5 = asked == Version::V5 && reader.at_end();
    let version = if refused_without_v5 { Version::V3_1_1 } else { asked };
    let known = match version {
        Version::V5 => REASONS.iter().any(|(known, _)| *known == code),
        Version::V3_1 | Version::V3_1_1 => usize::from(code) < RETURN_CODES.len() && !(refused_without_v5 && code == 0),
    };
    if !known {
        return Err(Stop::Invalid(Reason::ReturnCode));
    }
    if session_present && code != 0 {
        return Err(Stop::Invalid(Reason::SessionPresentRefused));
    }
    let properties = if version == Version::V5 { Properties::read(reader, Place::Connack, limits)? } else { Properties::default() };
    Ok(Connack { version, session_present, code, properties })
}

/// All codes that a CONNACK of this version can have, with their words, in ascending order.
pub const fn connack_codes(version: Version) -> &'static [(u8, &'static str)] {
    match version {
        Version::V5 => REASONS,
        Version::V3_1 | Version::V3_1_1 => RETURN_CODES,
    }
}

/// MQTT 3.1.1, table 3.1; those of MQTT 3.1 are the same.
const RETURN_CODES: &[(u8, &str)] = &[
    (0, "accepted"),
    (1, "unacceptable protocol version"),
    (2, "identifier rejected"),
    (3, "server unavailable"),
    (4, "bad user name or password"),
    (5, "not authorized"),
];

/// MQTT 5.0, table 3-1.
const REASONS: &[(u8, &str)] = &[
    (0x00, "success"),
    (0x80, "unspecified error"),
    (0x81, "malformed packet"),
    (0x82, "protocol error"),
    (0x83, "implementation specific error"),
    (0x84, "unsupported protocol version"),
    (0x85, "client identifier not valid"),
    (0x86, "bad user name or password"),
    (0x87, "not authorized"),
    (0x88, "server unavailable"),
    (0x89, "server busy"),
    (0x8A, "banned"),
    (0x8C, "bad authentication method"),
    (0x90, "topic name invalid"),
    (0x95, "packet too large"),
    (0x97, "quota exceeded"),
    (0x99, "payload format invalid"),
    (0x9A, "retain not supported"),
    (0x9B, "QoS not supported"),
    (0x9C, "use another server"),
    (0x9D, "server moved"),
    (0x9F, "connection rate exceeded"),
];

fn code_text(version: Version, code: u8) -> &'static str {
    connack_codes(version).iter().find(|(known, _)| *known == code).map_or("unknown code", |(_, text)| *text)
}
