//! What the parsers accept and what they then say, and the encoders.

use super::*;

#[test]
fn all_versions_with_everything() {
    let user = [Property { id: PropertyId::UserProperty, value: PropertyValue::Pair("k", "v") }; 3];
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let properties: &[Property<'_>] = if version == Version::V5 { &user } else { &[] };
        let will = WillMessage { qos: 2, retain: true, topic: "a/b", payload: b"\0gone", properties };
        let packet = ConnectPacket {
            clean: false,
            keepalive_s: 65_535,
            username: Some("user"),
            password: Some(b"\xFFsecret"),
            will: Some(will),
            properties,
            ..ConnectPacket::new(version, "client")
        };
        let mut bytes = Vec::new();
        packet.encode(&mut bytes).unwrap();
        let connect = valid(&bytes);
        assert_eq!((connect.version(), connect.clean(), connect.keepalive_s(), connect.flags()), (version, false, 65_535, 0xF4));
        assert_eq!((connect.client_id(), connect.username(), connect.password()), ("client", Some("user"), Some(&b"\xFFsecret"[..])));
        let will = connect.will().unwrap();
        assert_eq!((will.qos(), will.retain(), will.topic(), will.payload()), (2, true, "a/b", &b"\0gone"[..]));
        assert_eq!(connect.properties().iter().collect::<Vec<_>>(), properties);
        assert_eq!(will.properties().iter().collect::<Vec<_>>(), properties);
    }
}

#[test]
fn the_example_of_the_specification() {
    // MQTT 3.1.1 section 3.1.2.11: user name, password, a will with QoS 1, clean session, ten seconds.
    let raw = Raw { keepalive_s: 10, ..Raw::new(4) }.flags(0xCE);
    let bytes = raw.field("id").field("t").field("m").field("u").field("p").bytes();
    assert_eq!(bytes[..12], *b"\x10\x1A\x00\x04MQTT\x04\xCE\x00\x0A");
    let connect = valid(&bytes);
    assert_eq!(connect.will().map(|will| (will.qos(), will.retain())), Some((1, false)));
    assert!(connect.clean());
}

#[test]
fn every_combination_of_flags() {
    for level in [3, 4, 5] {
        for flags in 0..=u8::MAX {
            let mut raw = Raw::new(level).flags(flags);
            let lists: &[u8] = if level == 5 { &[0] } else { &[] };
            raw = raw.raw(lists).field("id");
            if flags & 0x04 != 0 {
                raw = raw.raw(lists).field("topic").field("payload");
            }
            if flags & 0x80 != 0 {
                raw = raw.field("user");
            }
            if flags & 0x40 != 0 {
                raw = raw.field("password");
            }
            let bytes = raw.bytes();
            let (will, qos, retain) = (flags & 0x04 != 0, flags >> 3 & 3, flags & 0x20 != 0);
            let expected = if flags & 1 != 0 {
                Some(Reason::ReservedFlag)
            } else if qos == 3 {
                Some(Reason::WillQos)
            } else if !will && (qos != 0 || retain) {
                Some(Reason::WillFlagsWithoutWill)
            } else if level != 5 && flags & 0xC0 == 0x40 {
                Some(Reason::PasswordWithoutUserName)
            } else {
                None
            };
            match expected {
                // The byte of flags is the tenth after the protocol name of four bytes.
                Some(reason) => assert_eq!(invalid(&bytes), (reason, if level == 3 { 12 } else { 10 }), "{flags:02x}"),
                None => {
                    let connect = valid(&bytes);
                    assert_eq!(connect.flags(), flags);
                    assert_eq!(connect.clean(), flags & 2 != 0);
                    assert_eq!(connect.will().map(|will| (will.qos(), will.retain())), will.then_some((qos, retain)));
                    assert_eq!(connect.username(), (flags & 0x80 != 0).then_some("user"));
                    assert_eq!(connect.password(), (flags & 0x40 != 0).then_some(&b"password"[..]));
                }
            }
        }
    }
}

#[test]
fn identifiers_of_any_length() {
    for length in [1, 22, 23, 24, 113, 114, 127, 128, 16_000, 16_371, 16_372, 65_535] {
        let id = "i".repeat(length);
        for level in [3, 4, 5] {
            let raw = Raw::new(level).raw(if level == 5 { &[0] } else { &[] }).field(&id);
            let bytes = raw.bytes();
            if length < 1000 {
                valid(&bytes);
            }
            let Progress::Done { packet, length } = connect(&bytes) else { panic!("{length} bytes in version {level}") };
            assert_eq!((packet.client_id(), length), (id.as_str(), bytes.len()));
        }
    }
}

#[test]
fn empty_identifiers() {
    assert_eq!(invalid(&Raw::new(3).field("").bytes()).0, Reason::ClientIdEmpty);
    assert_eq!(invalid(&Raw::new(4).flags(0).field("").bytes()).0, Reason::ClientIdEmptyWithSession);
    assert_eq!(valid(&Raw::new(4).field("").bytes()).client_id(), "");
    assert_eq!(valid(&Raw::new(5).flags(0).raw(&[0]).field("").bytes()).client_id(), "");
}

#[test]
fn the_largest_packet_of_version_3() {
    let field = "f".repeat(65_535);
    let raw = Raw::new(4).flags(0xC6).field(&field).field(&field).field(&field).field(&field).field(&field);
    let bytes = raw.bytes();
    assert_eq!(bytes[1..4].iter().map(|byte| byte & 0x80).collect::<Vec<_>>(), [0x80, 0x80, 0]);
    assert!(matches!(connect(&bytes), Progress::Done { length, .. } if length == bytes.len()));
}

#[test]
fn a_length_of_four_bytes() {
    // User properties fill a packet of more than 2 MiB.
    let pair = [&b"\x26"[..], &[0xFF, 0xFF], &vec![b'k'; 65_535], &[0, 0]].concat();
    let list = pair.repeat(33);
    let counted = with_header(0, &list)[1..].to_vec();
    let bytes = Raw::new(5).raw(&counted).field("id").bytes();
    assert!(bytes[3] & 0x80 != 0 && bytes[4] & 0x80 == 0);
    let limits = Limits { packet_bytes: u32::MAX, ..Limits::default() };
    let Progress::Done { packet, .. } = parse_connect(&bytes, &limits) else { panic!("not accepted") };
    assert_eq!(packet.properties().iter().count(), 33);
    assert_eq!(connect(&bytes[..5]), Progress::Invalid(Reason::PacketTooLarge));
    let few = Limits { user_properties: 32, ..limits };
    assert_eq!(parse_connect(&bytes, &few), Progress::Invalid(Reason::TooManyUserProperties));
}

#[test]
fn version_3_1_may_leave_user_and_password_out() {
    let connect = |bytes: &[u8]| {
        let connect = valid(bytes);
        (connect.username().map(str::to_owned), connect.password().map(<[u8]>::to_vec))
    };
    assert_eq!(connect(&Raw::new(3).flags(0xC2).field("id").bytes()), (None, None));
    assert_eq!(connect(&Raw::new(3).flags(0xC2).field("id").field("u").bytes()), (Some("u".to_owned()), None));
    assert_eq!(invalid(&Raw::new(4).flags(0x82).field("id").bytes()).0, Reason::FieldPastEnd);
}

#[test]
fn properties_of_version_5() {
    let number = |id, number| Property { id, value: PropertyValue::Number(number) };
    let properties = [
        number(PropertyId::SessionExpiryInterval, u32::MAX),
        number(PropertyId::ReceiveMaximum, 1),
        number(PropertyId::MaximumPacketSize, 1),
        number(PropertyId::TopicAliasMaximum, 0),
        number(PropertyId::RequestResponseInformation, 1),
        number(PropertyId::RequestProblemInformation, 0),
        Property { id: PropertyId::AuthenticationData, value: PropertyValue::Binary(b"\0") },
        Property { id: PropertyId::UserProperty, value: PropertyValue::Pair("", "") },
        Property { id: PropertyId::AuthenticationMethod, value: PropertyValue::Text("") },
        Property { id: PropertyId::UserProperty, value: PropertyValue::Pair("ключ", "値") },
    ];
    let will = [
        number(PropertyId::WillDelayInterval, 7),
        number(PropertyId::PayloadFormatIndicator, 1),
        number(PropertyId::MessageExpiryInterval, 0),
        Property { id: PropertyId::ContentType, value: PropertyValue::Text("") },
        Property { id: PropertyId::ResponseTopic, value: PropertyValue::Text("r/1") },
        Property { id: PropertyId::CorrelationData, value: PropertyValue::Binary(b"") },
    ];
    let message = WillMessage { qos: 0, retain: false, topic: "t", payload: b"", properties: &will };
    let packet = ConnectPacket { properties: &properties, will: Some(message), ..ConnectPacket::new(Version::V5, "") };
    let mut bytes = Vec::new();
    packet.encode(&mut bytes).unwrap();
    let connect = valid(&bytes);
    assert_eq!(connect.properties().iter().collect::<Vec<_>>(), properties);
    assert_eq!(connect.will().unwrap().properties().iter().collect::<Vec<_>>(), will);
    assert_eq!(connect.properties().find(PropertyId::ReceiveMaximum), Some(PropertyValue::Number(1)));
    assert_eq!(connect.properties().find(PropertyId::UserProperty), Some(PropertyValue::Pair("", "")));
    assert_eq!(connect.properties().find(PropertyId::ContentType), None);
}

#[test]
fn connack_of_every_version() {
    let limits = Limits::default();
    let done = |bytes: &[u8], version| match parse_connack(bytes, version, &limits) {
        Progress::Done { packet, length } => (packet.version(), packet.session_present(), packet.code(), length),
        other => panic!("{bytes:02x?} gave {other:?}"),
    };
    assert_eq!(done(b"\x20\x02\x01\x00", Version::V3_1_1), (Version::V3_1_1, true, 0, 4));
    assert_eq!(done(b"\x20\x02\x00\x05\x30", Version::V3_1_1), (Version::V3_1_1, false, 5, 4));
    assert_eq!(done(b"\x20\x02\xFF\x00", Version::V3_1), (Version::V3_1, false, 0, 4));
    assert_eq!(done(b"\x20\x03\x01\x00\x00", Version::V5), (Version::V5, true, 0, 5));
    assert_eq!(done(b"\x20\x06\x00\x9C\x03\x21\x00\x07", Version::V5), (Version::V5, false, 0x9C, 8));
    assert_eq!(done(b"\x20\x02\x00\x01", Version::V5), (Version::V3_1_1, false, 1, 4), "a server of version 3.1.1 refuses");
    let Progress::Done { packet, .. } = parse_connack(b"\x20\x06\x00\x9C\x03\x21\x00\x07", Version::V5, &limits) else { panic!() };
    assert_eq!(packet.properties().find(PropertyId::ReceiveMaximum), Some(PropertyValue::Number(7)));
    assert_eq!((packet.code_text(), packet.accepted()), ("use another server", false));
    for end in 0..8 {
        let progress = parse_connack(&b"\x20\x06\x00\x9C\x03\x21\x00\x07"[..end], Version::V5, &limits);
        assert_eq!(progress, Progress::NeedMore { at_least: if end < 2 { 2 } else { 8 } });
    }
}

#[test]
fn what_cannot_be_encoded() {
    let base = ConnectPacket::new(Version::V3_1_1, "id");
    let refused = |packet: ConnectPacket<'_>| {
        let mut out = b"before".to_vec();
        let error = packet.encode(&mut out).unwrap_err();
        assert_eq!(out, b"before");
        error
    };
    let long = "x".repeat(65_536);
    assert_eq!(refused(ConnectPacket { client_id: &long, ..base }), EncodeError::TooLong);
    assert_eq!(refused(ConnectPacket { password: Some(b""), ..base }), EncodeError::PasswordNeedsUserName);
    let will = WillMessage { qos: 3, retain: false, topic: "t", payload: b"", properties: &[] };
    assert_eq!(refused(ConnectPacket { will: Some(will), ..base }), EncodeError::Qos);
    let one = [Property { id: PropertyId::ReceiveMaximum, value: PropertyValue::Number(65_536) }];
    assert_eq!(refused(ConnectPacket { properties: &one, ..base }), EncodeError::PropertiesNeedVersion5);
    assert_eq!(refused(ConnectPacket { properties: &one, version: Version::V5, ..base }), EncodeError::TooLong);
    let other = [Property { id: PropertyId::ReceiveMaximum, value: PropertyValue::Text("1") }];
    assert_eq!(refused(ConnectPacket { properties: &other, version: Version::V5, ..base }), EncodeError::PropertyKind);
}

#[test]
fn disconnect() {
    let encoded = |version| {
        let mut out = Vec::new();
        encode_disconnect(version, 0x9C, &mut out);
        out
    };
    assert_eq!(encoded(Version::V3_1), b"\xE0\x00");
    assert_eq!(encoded(Version::V3_1_1), b"\xE0\x00");
    assert_eq!(encoded(Version::V5), b"\xE0\x02\x9C\x00");
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn packets_of_mosquitto_clients() {
    let bytes = from_hex("102000064d514973647003c2003c0005646576333100036a6f650006736563726574");
    let connect = valid(&bytes);
    assert_eq!((connect.version(), connect.client_id(), connect.username()), (Version::V3_1, "dev31", Some("joe")));
    assert_eq!(connect.password(), Some(&b"secret"[..]));

    let bytes = from_hex("102200044d515454042e001e000664657633313100086c6173742f6465760004676f6e65");
    let connect = valid(&bytes);
    assert_eq!((connect.version(), connect.client_id(), connect.keepalive_s()), (Version::V3_1_1, "dev311", 30));
    let will = connect.will().unwrap();
    assert_eq!((will.qos(), will.retain(), will.topic(), will.payload()), (1, true, "last/dev", &b"gone"[..]));

    let bytes = from_hex(
        "104a00044d51545405c6003c16110000012c2600047369746500056e6f72746821001400046465763505180000000500086c6173742f6465760004676f6e65\
         00036a6f650006736563726574",
    );
    let connect = valid(&bytes);
    assert_eq!((connect.version(), connect.client_id(), connect.username()), (Version::V5, "dev5", Some("joe")));
    assert_eq!(connect.properties().find(PropertyId::SessionExpiryInterval), Some(PropertyValue::Number(300)));
    assert_eq!(connect.properties().find(PropertyId::UserProperty), Some(PropertyValue::Pair("site", "north")));
    assert_eq!(connect.will().unwrap().properties().find(PropertyId::WillDelayInterval), Some(PropertyValue::Number(5)));

    assert_eq!(valid(&from_hex("101000044d5154540502003c032100140000")).client_id(), "");
    assert_eq!(valid(&from_hex("100c00044d5154540402003c0000")).client_id(), "");
}

#[test]
fn packets_of_a_mosquitto_server() {
    let bytes = from_hex("203500003222000a1200296175746f2d44374438454646432d303745382d433345432d454239352d353636453938323441433939210014");
    let Progress::Done { packet, .. } = parse_connack(&bytes, Version::V5, &Limits::default()) else { panic!("not accepted") };
    let assigned = PropertyValue::Text("auto-D7D8EFFC-07E8-C3EC-EB95-566E9824AC99");
    assert_eq!(packet.properties().find(PropertyId::AssignedClientIdentifier), Some(assigned));
    assert_eq!(packet.properties().find(PropertyId::TopicAliasMaximum), Some(PropertyValue::Number(10)));
    let Progress::Done { packet, .. } = parse_connack(b"\x20\x02\x00\x02", Version::V3_1, &Limits::default()) else {
        panic!("not accepted")
    };
    assert_eq!((packet.accepted(), packet.code_text()), (false, "identifier rejected"));
}
