//! What must hold for any bytes that are read as MQTT packets.

use ringmain_wire::mqtt::haproxy::{Field, PacketType, Tri, field, is_valid};
use ringmain_wire::mqtt::{
    Connack, Connect, Limits, Progress, Properties, PropertyId, PropertyValue, Version, parse_connack, parse_connect,
};

/// The most prefixes of an input that are parsed, so that long inputs stay fast.
const PREFIXES: usize = 300;

/// Reads the bytes as every packet there is a parser for. The first byte chooses the limits, and whether the rest is taken as it is or as
/// what stands behind the start of a packet, which is hard to guess. Panics, for the fuzzer, when an answer is impossible or changes with
/// how the bytes are cut.
pub fn parse(bytes: &[u8]) {
    let Some((&choice, rest)) = bytes.split_first() else { return };
    let limits = match choice & 0x80 {
        0 => Limits::default(),
        _ => Limits { packet_bytes: 64, client_id_bytes: 4, user_properties: 1 },
    };
    match choice & 0x03 {
        0 => check(rest, &limits),
        1 => check(&packet(0x10, b"\x00\x06MQIsdp\x03", rest), &limits),
        2 => check(&packet(0x10, b"\x00\x04MQTT", rest), &limits),
        _ => check(&packet(0x20, b"", rest), &limits),
    }
}

/// A packet of these bytes with the right length, up to 127.
fn packet(first: u8, start: &[u8], rest: &[u8]) -> Vec<u8> {
    let body: Vec<u8> = start.iter().chain(rest).copied().take(127).collect();
    [&[first, body.len() as u8], body.as_slice()].concat()
}

fn check(bytes: &[u8], limits: &Limits) {
    if let Some((packet, length)) = follow(bytes, |bytes| parse_connect(bytes, limits)) {
        visit_connect(&packet);
        // Whatever the specification allows, HAProxy's view allows, but for data of an authentication method without a name.
        let nameless = packet.properties().find(PropertyId::AuthenticationMethod) == Some(PropertyValue::Text(""));
        assert!(is_valid(bytes) == Tri::Yes || nameless, "refused by the view of HAProxy");
        if let (Tri::Yes, false) = (is_valid(bytes), packet.client_id().is_empty()) {
            let id = field(bytes, PacketType::Connect, Field::ClientIdentifier).expect("a client identifier");
            assert_eq!(id.as_bytes(), packet.client_id().as_bytes());
        }
        assert_eq!(is_valid(&bytes[..length]), is_valid(bytes), "bytes behind the packet change its validity");
    }
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        if let Some((packet, _)) = follow(bytes, |bytes| parse_connack(bytes, version, limits)) {
            visit_connack(&packet);
        }
    }
    view(bytes);
}

/// Parses the bytes and their prefixes; gives the packet if they are one.
fn follow<'a, T: PartialEq + std::fmt::Debug>(bytes: &'a [u8], parse: impl Fn(&'a [u8]) -> Progress<T>) -> Option<(T, usize)> {
    let whole = parse(bytes);
    let mut before = 0;
    for end in 0..bytes.len().min(PREFIXES) {
        match parse(&bytes[..end]) {
            Progress::NeedMore { at_least } => {
                assert!(at_least > end && at_least >= before, "asks for {at_least} after {before} at {end}");
                before = at_least;
            }
            early => {
                assert_eq!(early, whole, "the answer at {end} is another");
                break;
            }
        }
    }
    match whole {
        Progress::Done { packet, length } => {
            assert!(length <= bytes.len() && length >= before, "{length} bytes");
            Some((packet, length))
        }
        Progress::NeedMore { at_least } => {
            assert!(at_least > bytes.len());
            None
        }
        Progress::Invalid(reason) => {
            assert!(!reason.to_string().is_empty());
            None
        }
    }
}

fn visit_properties(properties: Properties<'_>) {
    let first = properties.iter().next();
    assert_eq!(first.is_none(), properties.is_empty());
    for property in &properties {
        assert!(properties.find(property.id).is_some());
    }
}

fn visit_connect(connect: &Connect<'_>) {
    visit_properties(connect.properties());
    if let Some(will) = connect.will() {
        assert!(will.qos() < 3 && !will.topic().is_empty());
        visit_properties(will.properties());
    }
    assert!(connect.flags() & 1 == 0 && !connect.client_id().contains('\0'));
}

fn visit_connack(connack: &Connack<'_>) {
    visit_properties(connack.properties());
    assert!(connack.accepted() || !connack.session_present());
    assert_ne!(connack.code_text(), "unknown code");
}

/// HAProxy's view: fields only of valid packets of their type, and no change of mind about a packet that is complete.
fn view(bytes: &[u8]) {
    let whole = is_valid(bytes);
    for packet in [PacketType::Connect, PacketType::Connack] {
        let names = Field::names(packet).map(|name| Field::from_name(packet, name).expect("a name"));
        for name in names.chain(Field::properties(packet).iter().map(|number| Field::Property(*number))) {
            if let Some(value) = field(bytes, packet, name) {
                assert!(whole == Tri::Yes && !value.as_bytes().is_empty());
            }
        }
    }
    for end in 0..bytes.len().min(PREFIXES) {
        match is_valid(&bytes[..end]) {
            Tri::NeedMore => {}
            early => {
                assert_eq!(early, whole, "the view changes at {end}");
                break;
            }
        }
    }
}
