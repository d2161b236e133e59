//! Names of packets and fields as they stand in a configuration, and the values that come out.

/// Packets that fields can be taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// The client's first packet.
    Connect,
    /// The server's first packet.
    Connack,
}

impl PacketType {
    /// The names, for messages.
    pub const NAMES: &[&str] = &["connect", "connack"];

    /// The packet of a name in any case or of a decimal number; `None` also for packets of MQTT that HAProxy knows but has no fields of.
    pub fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("connect") {
            return Some(Self::Connect);
        }
        if name.eq_ignore_ascii_case("connack") {
            return Some(Self::Connack);
        }
        match decimal(name)? {
            1 => Some(Self::Connect),
            2 => Some(Self::Connack),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connack => "connack",
        }
    }
}

/// A number of digits only, which may start with zeros.
fn decimal(text: &str) -> Option<u8> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `flags`: the connect flags, or whether a session is present.
    Flags,
    /// `protocol_name`, of CONNECT.
    ProtocolName,
    /// `protocol_version`: the protocol level.
    ProtocolVersion,
    /// `client_identifier`, of CONNECT.
    ClientIdentifier,
    /// `will_topic`, of CONNECT.
    WillTopic,
    /// `will_payload`, of CONNECT.
    WillPayload,
    /// `username`, of CONNECT.
    Username,
    /// `password`, of CONNECT.
    Password,
    /// `keepalive` in seconds, of CONNECT.
    Keepalive,
    /// `reason_code`, of CONNACK.
    ReasonCode,
    /// A property by its number (MQTT 5.0 section 2.2.2.2), of the packet or of its will.
    Property(u8),
}

/// Fields with names, in the manual's order.
const CONNECT_FIELDS: &[(&str, Field)] = &[
    ("flags", Field::Flags),
    ("protocol_name", Field::ProtocolName),
    ("protocol_version", Field::ProtocolVersion),
    ("client_identifier", Field::ClientIdentifier),
    ("will_topic", Field::WillTopic),
    ("will_payload", Field::WillPayload),
    ("username", Field::Username),
    ("password", Field::Password),
    ("keepalive", Field::Keepalive),
];
const CONNACK_FIELDS: &[(&str, Field)] =
    &[("flags", Field::Flags), ("protocol_version", Field::ProtocolVersion), ("reason_code", Field::ReasonCode)];

/// Properties that can be asked for, those of the will among them.
const CONNECT_PROPERTIES: &[u8] = &[1, 2, 3, 8, 9, 17, 21, 22, 23, 24, 25, 33, 34, 38, 39];
const CONNACK_PROPERTIES: &[u8] = &[17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42];

impl Field {
    /// The field of a packet with this name in any case, or with this property number, written without sign or leading zeros.
    pub fn from_name(packet: PacketType, name: &str) -> Option<Self> {
        if let Some((_, field)) = Self::named(packet).iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Some(*field);
        }
        let number = decimal(name).filter(|number| !name.starts_with('0') && Self::properties(packet).contains(number))?;
        Some(Self::Property(number))
    }

    /// The names of a packet's fields, for messages; property numbers are in [`Field::properties`].
    pub fn names(packet: PacketType) -> impl Iterator<Item = &'static str> {
        Self::named(packet).iter().map(|(name, _)| *name)
    }

    /// The numbers of the properties that can be asked for.
    pub fn properties(packet: PacketType) -> &'static [u8] {
        match packet {
            PacketType::Connect => CONNECT_PROPERTIES,
            PacketType::Connack => CONNACK_PROPERTIES,
        }
    }

    fn named(packet: PacketType) -> &'static [(&'static str, Field)] {
        match packet {
            PacketType::Connect => CONNECT_FIELDS,
            PacketType::Connack => CONNACK_FIELDS,
        }
    }
}

/// The value of a field, at least one byte. Its sample type is always binary; cast to a string it ends before its first null byte in
/// HAProxy's logs.
#[derive(Clone, Copy, Debug)]
pub struct FieldValue<'a>(Inner<'a>);

#[derive(Clone, Copy, Debug)]
enum Inner<'a> {
    /// Bytes of the packet.
    Bytes(&'a [u8]),
    /// Digits from this index on.
    Number([u8; 10], u8),
}

impl<'a> FieldValue<'a> {
    /// Bytes of the packet; none are no value.
    pub(super) fn bytes(bytes: &'a [u8]) -> Option<Self> {
        if bytes.is_empty() { None } else { Some(Self(Inner::Bytes(bytes))) }
    }

    /// A number as decimal text.
    pub(super) fn number(mut number: u32) -> Self {
        let mut digits = [b'0'; 10];
        let mut start = 10;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
            start -= 1;
            if number == 0 {
                break;
            }
        }
        Self(Inner::Number(digits, start))
    }

    /// The value as HAProxy has it.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Inner::Bytes(bytes) => bytes,
            Inner::Number(digits, start) => digits.get(usize::from(*start)..).unwrap_or_default(),
        }
    }

    /// The value where it is part of the packet, to be kept as long as this; `None` for numbers.
    pub fn borrowed(&self) -> Option<&'a [u8]> {
        match self.0 {
            Inner::Bytes(bytes) => Some(bytes),
            Inner::Number(..) => None,
        }
    }
}
