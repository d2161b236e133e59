//! Why bytes are no valid packet, in words for logs and statistics.

use std::fmt;

/// Why a packet is invalid. The sections are those of MQTT 5.0 unless another version is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The first byte is not of the packet type that was expected (2.1.2).
    PacketType,
    /// The lower four bits of the first byte are not zero (2.1.3).
    HeaderFlags,
    /// A length of variable size has a fifth byte (1.5.5).
    LengthTooLong,
    /// A length of variable size has more bytes than it needs (1.5.5).
    LengthNotMinimal,
    /// The packet is longer than [`super::Limits::packet_bytes`].
    PacketTooLarge,
    /// The packet is too short for what every packet of its type has.
    PacketTooShort,
    /// A field runs past the end of the packet or of its property list.
    FieldPastEnd,
    /// Bytes follow the last field within the packet.
    TrailingBytes,
    /// The protocol name is neither `MQTT` nor `MQIsdp` (3.1.2.1).
    ProtocolName,
    /// The protocol level does not belong to the protocol name or is of an unknown version (3.1.2.2).
    ProtocolLevel,
    /// The reserved bit of the connect flags is set (3.1.2.3).
    ReservedFlag,
    /// The will's quality of service is 3 (3.1.2.6).
    WillQos,
    /// Quality of service or retain of a will without a will (3.1.2.6, 3.1.2.7).
    WillFlagsWithoutWill,
    /// A password without a user name, which only MQTT 5.0 allows (3.1.1: 3.1.2.9).
    PasswordWithoutUserName,
    /// A text is not well-formed UTF-8 (1.5.4).
    Utf8,
    /// A text contains the character U+0000 (1.5.4).
    NullCharacter,
    /// MQTT 3.1 and a client identifier of no bytes (3.1: 3.1).
    ClientIdEmpty,
    /// MQTT 3.1.1 and a client identifier of no bytes without a clean session (3.1.1: 3.1.3.1).
    ClientIdEmptyWithSession,
    /// The client identifier is longer than [`super::Limits::client_id_bytes`].
    ClientIdTooLong,
    /// The topic of the will or of its response is empty (4.7.3).
    TopicEmpty,
    /// The topic of the will or of its response has a wildcard (4.7.1).
    TopicWildcard,
    /// A property that the specification does not know (2.2.2.2).
    PropertyUnknown,
    /// A property that does not belong here (2.2.2.2).
    PropertyMisplaced,
    /// A property that may only occur once occurs again (2.2.2.2).
    PropertyRepeated,
    /// A property has a value that it cannot have, such as a receive maximum of 0.
    PropertyValue,
    /// Authentication data without an authentication method (3.1.2.11.10).
    AuthenticationDataWithoutMethod,
    /// More user properties than [`super::Limits::user_properties`].
    TooManyUserProperties,
    /// A reserved bit of the acknowledge flags is set (3.2.2.1).
    AcknowledgeFlags,
    /// A return or reason code that CONNACK cannot have (3.2.2.2).
    ReturnCode,
    /// A session is said to be present although the connection is refused (3.2.2.1.1).
    SessionPresentRefused,
}

impl Reason {
    /// The reason in a few plain words, without a full stop.
    pub fn text(self) -> &'static str {
        match self {
            Self::PacketType => "not the expected MQTT packet type",
            Self::HeaderFlags => "reserved bits of the fixed header are set",
            Self::LengthTooLong => "a length has more than four bytes",
            Self::LengthNotMinimal => "a length has more bytes than it needs",
            Self::PacketTooLarge => "the packet is larger than allowed",
            Self::PacketTooShort => "the packet is too short",
            Self::FieldPastEnd => "a field runs past its end",
            Self::TrailingBytes => "bytes follow the last field",
            Self::ProtocolName => "unknown protocol name",
            Self::ProtocolLevel => "unknown protocol level",
            Self::ReservedFlag => "the reserved connect flag is set",
            Self::WillQos => "the quality of service of the will is 3",
            Self::WillFlagsWithoutWill => "will flags without a will",
            Self::PasswordWithoutUserName => "a password without a user name",
            Self::Utf8 => "a text is not UTF-8",
            Self::NullCharacter => "a text contains a null character",
            Self::ClientIdEmpty => "the client identifier is empty",
            Self::ClientIdEmptyWithSession => "the client identifier is empty without a clean session",
            Self::ClientIdTooLong => "the client identifier is longer than allowed",
            Self::TopicEmpty => "a topic is empty",
            Self::TopicWildcard => "a topic name has a wildcard",
            Self::PropertyUnknown => "unknown property",
            Self::PropertyMisplaced => "a property does not belong here",
            Self::PropertyRepeated => "a property is repeated",
            Self::PropertyValue => "a property has a value that is not allowed",
            Self::AuthenticationDataWithoutMethod => "authentication data without an authentication method",
            Self::TooManyUserProperties => "more user properties than allowed",
            Self::AcknowledgeFlags => "reserved acknowledge flags are set",
            Self::ReturnCode => "unknown return code",
            Self::SessionPresentRefused => "a session is present although the connection is refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}
