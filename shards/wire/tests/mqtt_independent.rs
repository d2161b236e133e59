//! The parsers read what an independent codec writes, and the other way round, field by field.

use mqtt_protocol_core::mqtt::packet::{self as other, Qos, v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode};
use proptest::prelude::*;
use ringmain_wire::mqtt::{
    Connack, ConnackPacket, Connect, ConnectPacket, Limits, Progress, Properties, Property, PropertyId, PropertyKind, PropertyValue,
    Version, WillMessage, parse_connack, parse_connect,
};

/// A property that owns its value.
#[derive(Clone, Debug)]
enum Owned {
    Number(PropertyId, u32),
    Text(PropertyId, String),
    Binary(PropertyId, Vec<u8>),
    User(String, String),
}

impl Owned {
    fn ours(&self) -> Property<'_> {
        let (id, value) = match self {
            Self::Number(id, number) => (*id, PropertyValue::Number(*number)),
            Self::Text(id, text) => (*id, PropertyValue::Text(text)),
            Self::Binary(id, bytes) => (*id, PropertyValue::Binary(bytes)),
            Self::User(name, value) => (PropertyId::UserProperty, PropertyValue::Pair(name, value)),
        };
        Property { id, value }
    }

    /// The same for the other codec.
    fn theirs(&self) -> other::Property {
        macro_rules! number {
            ($name:ident, $value:expr) => {
                other::Property::$name(other::$name::new($value).unwrap())
            };
        }
        let short = |number: &u32| u16::try_from(*number).unwrap();
        match self {
            Self::User(name, value) => other::Property::UserProperty(other::UserProperty::new(name.as_str(), value.as_str()).unwrap()),
            Self::Number(id, value) => match id {
                PropertyId::PayloadFormatIndicator => {
                    let format = if *value == 0 { other::PayloadFormat::Binary } else { other::PayloadFormat::String };
                    number!(PayloadFormatIndicator, format)
                }
                PropertyId::MessageExpiryInterval => number!(MessageExpiryInterval, *value),
                PropertyId::SessionExpiryInterval => number!(SessionExpiryInterval, *value),
                PropertyId::ServerKeepAlive => number!(ServerKeepAlive, short(value)),
                PropertyId::RequestProblemInformation => number!(RequestProblemInformation, *value as u8),
                PropertyId::WillDelayInterval => number!(WillDelayInterval, *value),
                PropertyId::RequestResponseInformation => number!(RequestResponseInformation, *value as u8),
                PropertyId::ReceiveMaximum => number!(ReceiveMaximum, short(value)),
                PropertyId::TopicAliasMaximum => number!(TopicAliasMaximum, short(value)),
                PropertyId::MaximumQos => number!(MaximumQos, *value as u8),
                PropertyId::RetainAvailable => number!(RetainAvailable, *value as u8),
                PropertyId::MaximumPacketSize => number!(MaximumPacketSize, *value),
                PropertyId::WildcardSubscriptionAvailable => number!(WildcardSubscriptionAvailable, *value as u8),
                PropertyId::SubscriptionIdentifierAvailable => number!(SubscriptionIdentifierAvailable, *value as u8),
                PropertyId::SharedSubscriptionAvailable => number!(SharedSubscriptionAvailable, *value as u8),
                _ => panic!("{id} is no number"),
            },
            Self::Text(id, value) => match id {
                PropertyId::ContentType => number!(ContentType, value.as_str()),
                PropertyId::ResponseTopic => number!(ResponseTopic, value.as_str()),
                PropertyId::AssignedClientIdentifier => number!(AssignedClientIdentifier, value.as_str()),
                PropertyId::AuthenticationMethod => number!(AuthenticationMethod, value.as_str()),
                PropertyId::ResponseInformation => number!(ResponseInformation, value.as_str()),
                PropertyId::ServerReference => number!(ServerReference, value.as_str()),
                PropertyId::ReasonString => number!(ReasonString, value.as_str()),
                _ => panic!("{id} is no text"),
            },
            Self::Binary(id, value) => match id {
                PropertyId::CorrelationData => number!(CorrelationData, value),
                PropertyId::AuthenticationData => number!(AuthenticationData, value),
                _ => panic!("{id} is not binary"),
            },
        }
    }
}

const IN_CONNECT: &[u8] = &[17, 21, 23, 25, 33, 34, 39];
const IN_WILL: &[u8] = &[1, 2, 3, 8, 9, 24];
const IN_CONNACK: &[u8] = &[17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 39, 40, 41, 42];

fn text(longest: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>().prop_filter("null", |c| *c != '\0'), 0..longest)
        .prop_map(|characters| characters.into_iter().collect())
}

fn topic() -> impl Strategy<Value = String> {
    "[^\0#+]{1,20}"
}

fn value(id: PropertyId) -> BoxedStrategy<Owned> {
    match id.kind() {
        PropertyKind::Byte => (0..=1_u32).prop_map(move |number| Owned::Number(id, number)).boxed(),
        PropertyKind::TwoBytes => (1..=65_535_u32).prop_map(move |number| Owned::Number(id, number)).boxed(),
        PropertyKind::FourBytes => (1..=u32::MAX).prop_map(move |number| Owned::Number(id, number)).boxed(),
        PropertyKind::Text if id == PropertyId::ResponseTopic => topic().prop_map(move |text| Owned::Text(id, text)).boxed(),
        PropertyKind::Text => text(10).prop_map(move |text| Owned::Text(id, text)).boxed(),
        PropertyKind::Binary => prop::collection::vec(any::<u8>(), 0..20).prop_map(move |bytes| Owned::Binary(id, bytes)).boxed(),
        PropertyKind::Pair | PropertyKind::Variable => (text(10), text(10)).prop_map(|(name, value)| Owned::User(name, value)).boxed(),
    }
}

/// Some of these properties in any order, with some user properties.
fn list(numbers: &'static [u8]) -> impl Strategy<Value = Vec<Owned>> {
    let some = prop::sample::subsequence(numbers.to_vec(), 0..=numbers.len())
        .prop_flat_map(|numbers| numbers.into_iter().map(|number| value(PropertyId::from_number(number).unwrap())).collect::<Vec<_>>());
    let user = prop::collection::vec(value(PropertyId::UserProperty), 0..40);
    (some, user).prop_map(|(mut some, user)| [std::mem::take(&mut some), user].concat()).prop_shuffle()
}

/// Quality of service, retain, topic, payload and properties of a will.
type Will = (u8, bool, String, Vec<u8>, Vec<Owned>);

/// A CONNECT that owns its fields.
#[derive(Clone, Debug)]
struct Fields {
    version: Version,
    clean: bool,
    keepalive_s: u16,
    client_id: String,
    username: Option<String>,
    password: Option<Vec<u8>>,
    will: Option<Will>,
    properties: Vec<Owned>,
}

fn fields() -> impl Strategy<Value = Fields> {
    let will = (0..=2_u8, any::<bool>(), topic(), prop::collection::vec(any::<u8>(), 0..300), list(IN_WILL));
    let version = prop_oneof![Just(Version::V3_1_1), Just(Version::V5)];
    let user = prop::option::of((text(40), prop::option::of(prop::collection::vec(any::<u8>(), 0..200))));
    (version, any::<bool>(), any::<u16>(), text(200), user, prop::option::of(will), list(IN_CONNECT)).prop_map(
        |(version, clean, keepalive_s, client_id, user, mut will, mut properties)| {
            if version != Version::V5 {
                properties.clear();
                if let Some(will) = &mut will {
                    will.4.clear();
                }
            }
            let clean = clean || (version == Version::V3_1_1 && client_id.is_empty());
            let (username, password) = user.map_or((None, None), |(name, password)| (Some(name), password));
            Fields { version, clean, keepalive_s, client_id, username, password, will, properties }
        },
    )
}

fn qos(number: u8) -> Qos {
    [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(number)]
}

/// Fills either builder of the other codec.
macro_rules! build {
    ($builder:expr, $fields:expr) => {{
        let fields: &Fields = $fields;
        let mut builder = $builder.client_id(fields.client_id.as_str()).unwrap().clean_start(fields.clean).keep_alive(fields.keepalive_s);
        if let Some((number, retain, topic, payload, _)) = &fields.will {
            builder = builder.will_message(topic.as_str(), payload, qos(*number), *retain).unwrap();
        }
        if let Some(name) = &fields.username {
            builder = builder.user_name(name.as_str()).unwrap();
        }
        if let Some(password) = &fields.password {
            builder = builder.password(password).unwrap();
        }
        builder
    }};
}

/// The packet as the other codec writes it.
fn written_by_the_other(fields: &Fields) -> Vec<u8> {
    if fields.version == Version::V3_1_1 {
        return build!(v3_1_1::Connect::builder(), fields).build().unwrap().to_continuous_buffer();
    }
    let mut builder = build!(v5_0::Connect::builder(), fields).props(fields.properties.iter().map(Owned::theirs).collect::<Vec<_>>());
    if let Some((.., properties)) = &fields.will {
        builder = builder.will_props(properties.iter().map(Owned::theirs).collect::<Vec<_>>());
    }
    builder.build().unwrap().to_continuous_buffer()
}

fn written_by_us(fields: &Fields) -> Vec<u8> {
    let properties: Vec<_> = fields.properties.iter().map(Owned::ours).collect();
    let of_will: Vec<_> = fields.will.iter().flat_map(|will| &will.4).map(Owned::ours).collect();
    let will = fields.will.as_ref().map(|(qos, retain, topic, payload, _)| WillMessage {
        qos: *qos,
        retain: *retain,
        topic,
        payload,
        properties: &of_will,
    });
    let packet = ConnectPacket {
        version: fields.version,
        clean: fields.clean,
        keepalive_s: fields.keepalive_s,
        client_id: &fields.client_id,
        username: fields.username.as_deref(),
        password: fields.password.as_deref(),
        will,
        properties: &properties,
    };
    let mut out = Vec::new();
    packet.encode(&mut out).unwrap();
    out
}

fn same_list(ours: Properties<'_>, expected: &[Owned]) {
    assert_eq!(ours.iter().collect::<Vec<_>>(), expected.iter().map(Owned::ours).collect::<Vec<_>>());
}

fn same(connect: &Connect<'_>, fields: &Fields) {
    assert_eq!((connect.version(), connect.clean(), connect.keepalive_s()), (fields.version, fields.clean, fields.keepalive_s));
    assert_eq!(
        (connect.client_id(), connect.username(), connect.password()),
        (fields.client_id.as_str(), fields.username.as_deref(), fields.password.as_deref())
    );
    same_list(connect.properties(), &fields.properties);
    assert_eq!(connect.will().is_some(), fields.will.is_some());
    if let (Some(will), Some((qos, retain, topic, payload, properties))) = (connect.will(), &fields.will) {
        assert_eq!((will.qos(), will.retain(), will.topic(), will.payload()), (*qos, *retain, topic.as_str(), payload.as_slice()));
        same_list(will.properties(), properties);
    }
}

/// The bytes behind the fixed header, where the other codec starts to read.
fn body(bytes: &[u8]) -> &[u8] {
    let header = 2 + bytes[1..].iter().take_while(|byte| **byte & 0x80 != 0).count();
    &bytes[header..]
}

fn done(bytes: &[u8]) -> Connect<'_> {
    match parse_connect(bytes, &Limits::default()) {
        Progress::Done { packet, length } if length == bytes.len() => packet,
        other => panic!("{bytes:02x?} gave {other:?}"),
    }
}

fn done_connack(bytes: &[u8], version: Version) -> Connack<'_> {
    match parse_connack(bytes, version, &Limits::default()) {
        Progress::Done { packet, length } if length == bytes.len() => packet,
        other => panic!("{bytes:02x?} gave {other:?}"),
    }
}

/// Whether the other codec reads a whole CONNECT from these bytes and writes the same ones again.
fn accepted_by_the_other(bytes: &[u8]) -> bool {
    let body = body(bytes);
    match body.get(6) {
        Some(4) => {
            v3_1_1::Connect::parse(body).is_ok_and(|(packet, length)| length == body.len() && packet.to_continuous_buffer() == bytes)
        }
        Some(5) => v5_0::Connect::parse(body).is_ok_and(|(packet, length)| length == body.len() && packet.to_continuous_buffer() == bytes),
        _ => false,
    }
}

proptest! {
    #[test]
    fn connect(fields in fields()) {
        let bytes = written_by_the_other(&fields);
        same(&done(&bytes), &fields);
        prop_assert_eq!(written_by_us(&fields), bytes.clone());
        prop_assert!(accepted_by_the_other(&bytes));
    }

    #[test]
    fn every_prefix_of_connect_asks_for_more(fields in fields()) {
        let bytes = written_by_us(&fields);
        let mut before = 0;
        for end in 0..bytes.len() {
            let Progress::NeedMore { at_least } = parse_connect(&bytes[..end], &Limits::default()) else { panic!("invalid at {end}") };
            prop_assert!(end < at_least && before <= at_least && at_least <= bytes.len());
            before = at_least;
        }
    }

    // We are at least as strict: what we accept after a change, the other codec accepts, but for a password without a user name.
    #[test]
    fn changed_connect(fields in fields(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3)) {
        let mut bytes = written_by_us(&fields);
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Progress::Done { packet, length } = parse_connect(&bytes, &Limits::default()) {
            let without_user = packet.username().is_none() && packet.password().is_some();
            prop_assert!(without_user || packet.version() == Version::V3_1 || accepted_by_the_other(&bytes[..length]), "{:02x?}", bytes);
        }
    }

    #[test]
    fn connack_of_3_1_1(code in 0..6_u8, session in any::<bool>()) {
        let session = session && code == 0;
        let theirs = v3_1_1::Connack::builder().session_present(session).return_code(ConnectReturnCode::try_from(code).unwrap());
        let bytes = theirs.build().unwrap().to_buffers().iter().flat_map(|part| part.to_vec()).collect::<Vec<_>>();
        let packet = done_connack(&bytes, Version::V3_1_1);
        prop_assert_eq!((packet.session_present(), packet.code()), (session, code));
        let mut ours = Vec::new();
        ConnackPacket { version: Version::V3_1_1, session_present: session, code, properties: &[] }.encode(&mut ours).unwrap();
        prop_assert_eq!(ours, bytes);
    }

    #[test]
    fn connack_of_5(code in any::<u8>(), session in any::<bool>(), properties in list(IN_CONNACK)) {
        let known = ConnectReasonCode::try_from(code);
        let session = session && code == 0;
        let mut ours = Vec::new();
        let list: Vec<_> = properties.iter().map(Owned::ours).collect();
        ConnackPacket { version: Version::V5, session_present: session, code, properties: &list }.encode(&mut ours).unwrap();
        let Ok(reason) = known else {
            prop_assert!(matches!(parse_connack(&ours, Version::V5, &Limits::default()), Progress::Invalid(_)));
            return Ok(());
        };
        let theirs = v5_0::Connack::builder().session_present(session).reason_code(reason);
        let theirs = theirs.props(properties.iter().map(Owned::theirs).collect::<Vec<_>>()).build().unwrap();
        let bytes = theirs.to_buffers().iter().flat_map(|part| part.to_vec()).collect::<Vec<_>>();
        prop_assert_eq!(&ours, &bytes);
        let packet = done_connack(&bytes, Version::V5);
        prop_assert_eq!((packet.session_present(), packet.code()), (session, code));
        same_list(packet.properties(), &properties);
        prop_assert!(v5_0::Connack::parse(body(&ours)).is_ok());
    }
}
