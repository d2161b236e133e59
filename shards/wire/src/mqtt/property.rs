//! The properties of MQTT 5.0 (section 2.2.2): their table, their checks, and a list that is read when it is asked for.

use std::fmt;

use super::reader::{Read, Reader, Stop};
use super::{Limits, Reason};

/// How a property's value is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyKind {
    /// A number of one byte.
    Byte,
    /// A number of two bytes.
    TwoBytes,
    /// A number of four bytes.
    FourBytes,
    /// A number of one to four bytes with seven bits each.
    Variable,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// Two UTF-8 texts: name and value.
    Pair,
}

/// Where a property may stand, of the places that are read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Connect,
    Will,
    Connack,
}

macro_rules! properties {
    ($($id:ident = $number:literal, $kind:ident, $name:literal, [$($place:ident)*];)*) => {
        /// The properties that the specification knows (MQTT 5.0 section 2.2.2.2).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $(#[doc = concat!($name, " (", $number, ").")] $id = $number,)*
        }

        impl PropertyId {
            /// Every property, by number.
            pub const ALL: &[Self] = &[$(Self::$id),*];

            /// The property with this number; `None` when the specification has none.
            pub fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$id),)*
                    _ => None,
                }
            }

            /// Its name in the specification, in lower case.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)*
                }
            }

            /// How its value is encoded.
            pub fn kind(self) -> PropertyKind {
                match self {
                    $(Self::$id => PropertyKind::$kind,)*
                }
            }

            /// Whether it may stand there.
            pub(super) fn belongs(self, place: Place) -> bool {
                let places: &[Place] = match self {
                    $(Self::$id => &[$(Place::$place),*],)*
                };
                places.contains(&place)
            }
        }
    };
}

properties! {
    PayloadFormatIndicator = 1, Byte, "payload format indicator", [Will];
    MessageExpiryInterval = 2, FourBytes, "message expiry interval", [Will];
    ContentType = 3, Text, "content type", [Will];
    ResponseTopic = 8, Text, "response topic", [Will];
    CorrelationData = 9, Binary, "correlation data", [Will];
    SubscriptionIdentifier = 11, Variable, "subscription identifier", [];
    SessionExpiryInterval = 17, FourBytes, "session expiry interval", [Connect Connack];
    AssignedClientIdentifier = 18, Text, "assigned client identifier", [Connack];
    ServerKeepAlive = 19, TwoBytes, "server keep alive", [Connack];
    AuthenticationMethod = 21, Text, "authentication method", [Connect Connack];
    AuthenticationData = 22, Binary, "authentication data", [Connect Connack];
    RequestProblemInformation = 23, Byte, "request problem information", [Connect];
    WillDelayInterval = 24, FourBytes, "will delay interval", [Will];
    RequestResponseInformation = 25, Byte, "request response information", [Connect];
    ResponseInformation = 26, Text, "response information", [Connack];
    ServerReference = 28, Text, "server reference", [Connack];
    ReasonString = 31, Text, "reason string", [Connack];
    ReceiveMaximum = 33, TwoBytes, "receive maximum", [Connect Connack];
    TopicAliasMaximum = 34, TwoBytes, "topic alias maximum", [Connect Connack];
    TopicAlias = 35, TwoBytes, "topic alias", [];
    MaximumQos = 36, Byte, "maximum QoS", [Connack];
    RetainAvailable = 37, Byte, "retain available", [Connack];
    UserProperty = 38, Pair, "user property", [Connect Will Connack];
    MaximumPacketSize = 39, FourBytes, "maximum packet size", [Connect Connack];
    WildcardSubscriptionAvailable = 40, Byte, "wildcard subscription available", [Connack];
    SubscriptionIdentifierAvailable = 41, Byte, "subscription identifier available", [Connack];
    SharedSubscriptionAvailable = 42, Byte, "shared subscription available", [Connack];
}

impl PropertyId {
    /// Its number on the wire.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Whether a number is one that this property may have (the sections of CONNECT and CONNACK, 3.1.2.11, 3.1.3.2 and 3.2.2.3).
    pub(super) fn allows(self, number: u32) -> bool {
        match self {
            Self::ReceiveMaximum | Self::MaximumPacketSize => number > 0,
            _ => self.kind() != PropertyKind::Byte || number <= 1,
        }
    }
}

impl fmt::Display for PropertyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The value of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyValue<'a> {
    /// A number, however many bytes it has on the wire.
    Number(u32),
    /// A text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// A name and a value.
    Pair(&'a str, &'a str),
}

/// One property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    /// Which.
    pub id: PropertyId,
    /// Its value, of the variant that belongs to [`PropertyId::kind`].
    pub value: PropertyValue<'a>,
}

/// A list of properties that was checked when its packet was parsed; empty before MQTT 5.0.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// Reads and checks the list at the reader's place, its length first.
    pub(super) fn read(reader: &mut Reader<'a>, place: Place, limits: &Limits) -> Read<Self> {
        let length = reader.variable(true)?;
        let section = reader.section(length as usize)?;
        let mut rest = section;
        let (mut seen, mut user_properties) = (0_u64, 0_u16);
        while !rest.at_end() {
            let property = read_property(&mut rest, |id| {
                let repeatable = id == PropertyId::UserProperty;
                if !id.belongs(place) {
                    Err(Reason::PropertyMisplaced)
                } else if !repeatable && seen & bit(id) != 0 {
                    Err(Reason::PropertyRepeated)
                } else if repeatable && user_properties >= limits.user_properties {
                    Err(Reason::TooManyUserProperties)
                } else {
                    Ok(())
                }
            })?;
            seen |= bit(property.id);
            user_properties = user_properties.saturating_add(u16::from(property.id == PropertyId::UserProperty));
            check_value(&property)?;
        }
        if place == Place::Connect && seen & bit(PropertyId::AuthenticationData) != 0 && seen & bit(PropertyId::AuthenticationMethod) == 0 {
            return Err(Stop::Invalid(Reason::AuthenticationDataWithoutMethod));
        }
        Ok(Self(section.whole()?))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The properties in the order of the packet.
    pub fn iter(&self) -> PropertiesIter<'a> {
        PropertiesIter(Reader::new(self.0, self.0.len()))
    }

    /// The value of the first property of this kind.
    pub fn find(&self, id: PropertyId) -> Option<PropertyValue<'a>> {
        self.iter().find(|property| property.id == id).map(|property| property.value)
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

/// Iterates over a list of properties.
#[derive(Clone, Debug)]
pub struct PropertiesIter<'a>(Reader<'a>);

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        if self.0.at_end() { None } else { read_property(&mut self.0, |_| Ok(())).ok() }
    }
}

/// The bit of a property in a set; every number is below 64.
fn bit(id: PropertyId) -> u64 {
    1_u64.checked_shl(id.number().into()).unwrap_or_default()
}

/// Reads one property; `accept` is asked about its number before its value is read.
fn read_property<'a>(reader: &mut Reader<'a>, accept: impl FnOnce(PropertyId) -> Result<(), Reason>) -> Read<Property<'a>> {
    // The number has a variable size, but every known one takes one byte and more bytes than needed are forbidden.
    let id = PropertyId::from_number(reader.byte()?).ok_or(Stop::Invalid(Reason::PropertyUnknown))?;
    accept(id).map_err(Stop::Invalid)?;
    let value = match id.kind() {
        PropertyKind::Byte => PropertyValue::Number(reader.number(1)?),
        PropertyKind::TwoBytes => PropertyValue::Number(reader.number(2)?),
        PropertyKind::FourBytes => PropertyValue::Number(reader.number(4)?),
        PropertyKind::Variable => PropertyValue::Number(reader.variable(true)?),
        PropertyKind::Text => PropertyValue::Text(reader.text()?),
        PropertyKind::Binary => PropertyValue::Binary(reader.binary()?),
        PropertyKind::Pair => PropertyValue::Pair(reader.text()?, reader.text()?),
    };
    Ok(Property { id, value })
}

fn check_value(property: &Property<'_>) -> Read<()> {
    match property.value {
        PropertyValue::Number(number) if !property.id.allows(number) => Err(Stop::Invalid(Reason::PropertyValue)),
        PropertyValue::Text(topic) if property.id == PropertyId::ResponseTopic => check_topic(topic),
        _ => Ok(()),
    }
}

/// A topic that messages are published to has a character and no wildcard (MQTT 5.0 sections 4.7.1 and 4.7.3).
pub(super) fn check_topic(topic: &str) -> Read<()> {
    if topic.is_empty() {
        return Err(Stop::Invalid(Reason::TopicEmpty));
    }
    if topic.contains(['+', '#']) {
        return Err(Stop::Invalid(Reason::TopicWildcard));
    }
    Ok(())
}
