//! What the parsers refuse, why, and after how many bytes.

use super::*;

#[test]
fn other_protocols_are_refused_by_their_first_bytes() {
    for (bytes, reason, at) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Reason::PacketType, 1),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", Reason::HeaderFlags, 1),
        (b"\x00\x00\x00\x00", Reason::PacketType, 1),
        (b"\x20\x02\x00\x00", Reason::PacketType, 1),
        (b"\x30\x05\x00\x01aaa", Reason::PacketType, 1),
        (b"\x1Fgarbage", Reason::HeaderFlags, 1),
        (b"\x10\x00", Reason::PacketTooShort, 2),
        (b"\x10\x0B\x00\x04MQTT\x04\x02\x00\x3C\x00", Reason::PacketTooShort, 2),
        (b"\x10\x0E\xFF", Reason::ProtocolName, 3),
        (b"\x10\x0E\x00\x05", Reason::ProtocolName, 4),
        (b"\x10\x0E\x00\x04HTTP", Reason::ProtocolName, 5),
        (b"\x10\x0E\x00\x04MQTt\x04", Reason::ProtocolName, 8),
        (b"\x10\x10\x00\x06MQISDP\x03", Reason::ProtocolName, 8),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Reason::PacketType, 1),
        (b"\x0D\x0A\x0D\x0A\x00\x0D\x0AQUIT\x0A", Reason::PacketType, 1),
    ] {
        assert_eq!(invalid(bytes), (reason, at), "{bytes:02x?}");
    }
    assert_eq!(invalid(b"GET").0.to_string(), "not the expected MQTT packet type");
}

#[test]
fn lengths() {
    for (bytes, reason, at) in [
        (&b"\x10\x80\x80\x80\x80\x01"[..], Reason::LengthTooLong, 5),
        (b"\x10\xFF\xFF\xFF\xFF", Reason::LengthTooLong, 5),
        (b"\x10\x90\x00", Reason::LengthNotMinimal, 3),
        (b"\x10\x90\x80\x80\x00", Reason::LengthNotMinimal, 5),
        (b"\x10\xFF\xFF\xFF\x7F", Reason::PacketTooLarge, 5),
    ] {
        assert_eq!(invalid(bytes), (reason, at), "{bytes:02x?}");
    }
    assert_eq!(connect(b"\x10\xFF\xFF\xFF"), Progress::NeedMore { at_least: 5 });
    let limits = Limits { packet_bytes: 16, ..Limits::default() };
    assert!(matches!(parse_connect(b"\x10\x0E", &limits), Progress::NeedMore { at_least: 16 }));
    assert_eq!(parse_connect(b"\x10\x0F", &limits), Progress::Invalid(Reason::PacketTooLarge));
}

#[test]
fn protocol_levels() {
    for level in 0..=u8::MAX {
        let with = |name| Raw { name, level, ..Raw::new(4) }.field("id").bytes();
        if level != 4 && level != 5 {
            assert_eq!(invalid(&with(b"MQTT")), (Reason::ProtocolLevel, 9));
        }
        if level != 3 {
            assert_eq!(invalid(&with(b"MQIsdp")), (Reason::ProtocolLevel, 11));
        }
    }
}

#[test]
fn fields_and_ends() {
    assert_eq!(invalid(&Raw::new(4).field("id").raw(b"x").bytes()).0, Reason::TrailingBytes);
    assert_eq!(invalid(&Raw::new(4).field("id").field("user").bytes()).0, Reason::TrailingBytes);
    assert_eq!(invalid(&Raw::new(4).raw(b"\x00\x05four").bytes()), (Reason::FieldPastEnd, 14));
    assert_eq!(invalid(&Raw::new(4).flags(0x06).field("id").bytes()).0, Reason::FieldPastEnd);
    assert_eq!(invalid(&Raw::new(4).flags(0x06).field("id").field("topic").bytes()).0, Reason::FieldPastEnd);
    assert_eq!(invalid(&Raw::new(4).flags(0xC2).field("id").field("user").bytes()).0, Reason::FieldPastEnd);
    assert_eq!(invalid(&Raw::new(4).flags(0x06).field("id").field("").field("p").bytes()).0, Reason::TopicEmpty);
    assert_eq!(invalid(&Raw::new(4).flags(0x06).field("id").field("a/#").field("p").bytes()).0, Reason::TopicWildcard);
    assert_eq!(invalid(&Raw::new(4).flags(0x06).field("id").field("a/+/b").field("p").bytes()).0, Reason::TopicWildcard);
    let limits = Limits { client_id_bytes: 2, ..Limits::default() };
    assert!(matches!(parse_connect(&Raw::new(4).field("id").bytes(), &limits), Progress::Done { .. }));
    assert_eq!(parse_connect(&Raw::new(4).field("idx").bytes(), &limits), Progress::Invalid(Reason::ClientIdTooLong));
}

#[test]
fn texts() {
    for (text, expected, at) in [
        (&b"a\0b"[..], Reason::NullCharacter, 2),
        (b"\xC0\x80", Reason::Utf8, 1),
        (b"ab\xFFcd", Reason::Utf8, 3),
        (b"\xED\xA0\x80", Reason::Utf8, 2),
        (b"\xED\xBF\xBF", Reason::Utf8, 2),
        (b"\xF4\x90\x80\x80", Reason::Utf8, 2),
        (b"\xE2\x82", Reason::Utf8, 2),
        (b"\xE2\x82x", Reason::Utf8, 3),
        (b"\0\xFF", Reason::NullCharacter, 1),
    ] {
        assert_eq!(invalid(&Raw::new(4).field(text).bytes()), (expected, 14 + at), "{text:02x?}");
        assert_eq!(invalid(&Raw::new(4).flags(0x82).field("id").field(text).bytes()).0, expected);
        assert_eq!(invalid(&Raw::new(4).flags(0x06).field("id").field(text).field("p").bytes()).0, expected);
        assert_eq!(invalid(&Raw::new(5).raw(&[text.len() as u8 + 3, 21, 0, text.len() as u8]).raw(text).field("id").bytes()).0, expected);
        valid(&Raw::new(4).flags(0xC2).field("id").field("user").field(text).bytes());
        valid(&Raw::new(4).flags(0x06).field("id").field("topic").field(text).bytes());
    }
    for text in ["\u{FEFF}", "\u{FFFF}", "\u{10FFFF}", "\u{1}", "é", "日本"] {
        assert_eq!(valid(&Raw::new(4).field(text).bytes()).client_id(), text);
    }
}

/// A list of properties in CONNECT and what is wrong with it.
fn properties(list: &[u8]) -> Reason {
    invalid(&Raw::new(5).raw(&[list.len() as u8]).raw(list).field("id").bytes()).0
}

#[test]
fn property_lists() {
    for (list, reason) in [
        (&b"\x00"[..], Reason::PropertyUnknown),
        (b"\x7F\x00", Reason::PropertyUnknown),
        (b"\x91\x00\x00\x00\x00\x01", Reason::PropertyUnknown),
        (b"\x01\x01", Reason::PropertyMisplaced),
        (b"\x0B\x01", Reason::PropertyMisplaced),
        (b"\x12\x00\x00", Reason::PropertyMisplaced),
        (b"\x23\x00\x01", Reason::PropertyMisplaced),
        (b"\x21\x00\x01\x21\x00\x01", Reason::PropertyRepeated),
        (b"\x15\x00\x00\x15\x00\x00", Reason::PropertyRepeated),
        (b"\x21\x00\x00", Reason::PropertyValue),
        (b"\x27\x00\x00\x00\x00", Reason::PropertyValue),
        (b"\x17\x02", Reason::PropertyValue),
        (b"\x19\x02", Reason::PropertyValue),
        (b"\x16\x00\x01x", Reason::AuthenticationDataWithoutMethod),
        (b"\x11\x00\x00\x00", Reason::FieldPastEnd),
        (b"\x26\x00\x01k", Reason::FieldPastEnd),
        (b"\x26\x00\x01k\x00\x02v", Reason::FieldPastEnd),
        (b"\x26\x00\x01\x00\x00\x00", Reason::NullCharacter),
        (b"\x17", Reason::FieldPastEnd),
    ] {
        assert_eq!(properties(list), reason, "{list:02x?}");
    }
    let with = |bytes: &[u8]| invalid(&Raw::new(5).raw(bytes).field("id").bytes()).0;
    assert_eq!(with(b"\x40"), Reason::FieldPastEnd);
    assert_eq!(with(b"\x80\x00"), Reason::LengthNotMinimal);
    assert_eq!(with(b"\x80\x80\x80\x80\x00"), Reason::LengthTooLong);
    assert_eq!(invalid(&Raw::new(5).field("id").bytes()).0, Reason::FieldPastEnd, "the first length is that of properties");
}

#[test]
fn every_property_in_every_place() {
    let value = |id: PropertyId| match id.kind() {
        PropertyKind::Byte | PropertyKind::Variable => b"\x01".to_vec(),
        PropertyKind::TwoBytes => b"\x00\x01".to_vec(),
        PropertyKind::FourBytes => b"\x00\x00\x00\x01".to_vec(),
        PropertyKind::Text | PropertyKind::Binary => b"\x00\x01x".to_vec(),
        PropertyKind::Pair => b"\x00\x01k\x00\x01v".to_vec(),
    };
    let (mut in_connect, mut in_will, mut in_connack) = (Vec::new(), Vec::new(), Vec::new());
    for &id in PropertyId::ALL {
        assert_eq!(PropertyId::from_number(id.number()), Some(id));
        let one = [&[id.number()][..], &value(id)].concat();
        // Data needs a method with it.
        let method: &[u8] = if id == PropertyId::AuthenticationData { b"\x15\x00\x01m" } else { b"" };
        let list = [&[(one.len() + method.len()) as u8][..], &one, method].concat();
        let twice = [&[(2 * one.len() + method.len()) as u8][..], &one, &one, method].concat();
        let in_place = |list: &[u8], place: &mut Vec<u8>, bytes: &dyn Fn(&[u8]) -> Result<(), Reason>| match bytes(list) {
            Ok(()) => {
                place.push(id.number());
                let repeated = if id == PropertyId::UserProperty { Ok(()) } else { Err(Reason::PropertyRepeated) };
                assert_eq!(bytes(&twice), repeated, "{id} twice");
            }
            Err(reason) => assert_eq!(reason, Reason::PropertyMisplaced, "{id}"),
        };
        in_place(&list, &mut in_connect, &|list| outcome(connect(&Raw::new(5).raw(list).field("id").bytes())));
        in_place(&list, &mut in_will, &|list| {
            outcome(connect(&Raw::new(5).flags(6).raw(&[0]).field("id").raw(list).field("t").field("p").bytes()))
        });
        in_place(&list, &mut in_connack, &|list| {
            let bytes = with_header(0x20, &[&[0, 0], list].concat());
            outcome(parse_connack(&bytes, Version::V5, &Limits::default()))
        });
    }
    assert_eq!(in_connect, [17, 21, 22, 23, 25, 33, 34, 38, 39]);
    assert_eq!(in_will, [1, 2, 3, 8, 9, 24, 38]);
    assert_eq!(in_connack, [17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42]);
}

fn outcome<T: std::fmt::Debug>(progress: Progress<T>) -> Result<(), Reason> {
    match progress {
        Progress::Done { .. } => Ok(()),
        Progress::Invalid(reason) => Err(reason),
        Progress::NeedMore { .. } => panic!("{progress:?}"),
    }
}

#[test]
fn connacks() {
    let limits = Limits::default();
    for (bytes, version, reason) in [
        (&b"\x10\x02"[..], Version::V3_1_1, Reason::PacketType),
        (b"\x21", Version::V3_1_1, Reason::HeaderFlags),
        (b"\x20\x01", Version::V3_1_1, Reason::PacketTooShort),
        (b"\x20\x02\x02", Version::V3_1_1, Reason::AcknowledgeFlags),
        (b"\x20\x02\x00\x06", Version::V3_1_1, Reason::ReturnCode),
        (b"\x20\x02\x00\x06", Version::V3_1, Reason::ReturnCode),
        (b"\x20\x02\x01\x05", Version::V3_1_1, Reason::SessionPresentRefused),
        (b"\x20\x03\x00\x00", Version::V3_1_1, Reason::TrailingBytes),
        (b"\x20\x03\x00\x00", Version::V3_1, Reason::TrailingBytes),
        (b"\x20\x02\x00\x00", Version::V5, Reason::ReturnCode),
        (b"\x20\x03\x00\x01", Version::V5, Reason::ReturnCode),
        (b"\x20\x03\x00\x8B", Version::V5, Reason::ReturnCode),
        (b"\x20\x03\x01\x80", Version::V5, Reason::SessionPresentRefused),
        (b"\x20\x04\x00\x00\x00", Version::V5, Reason::TrailingBytes),
        (b"\x20\x03\x00\x00\x01", Version::V5, Reason::FieldPastEnd),
        (b"\x20\x05\x00\x00\x02\x24\x02", Version::V5, Reason::PropertyValue),
        (b"HTTP/1.1 400", Version::V5, Reason::PacketType),
    ] {
        assert_eq!(parse_connack(bytes, version, &limits), Progress::Invalid(reason), "{bytes:02x?}");
        for end in 0..bytes.len() {
            assert!(matches!(parse_connack(&bytes[..end], version, &limits), Progress::NeedMore { .. } | Progress::Invalid(_)));
        }
    }
    for code in 0..=u8::MAX {
        let bytes = [0x20, 2, 0, code];
        assert_eq!(matches!(parse_connack(&bytes, Version::V3_1_1, &limits), Progress::Done { .. }), code <= 5);
    }
    let known = (0..=u8::MAX).filter(|&code| matches!(parse_connack(&[0x20, 3, 0, code, 0], Version::V5, &limits), Progress::Done { .. }));
    assert_eq!(known.count(), 22);
}
