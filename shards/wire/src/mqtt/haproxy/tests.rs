//! Tests without HAProxy; those with it are in the crate's `tests` folder.

use super::*;

const PLAIN: &[u8] = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3C\x00\x04abcd";

fn text(bytes: &[u8], packet: &str, name: &str) -> Option<String> {
    let packet = PacketType::from_name(packet).unwrap();
    let value = field(bytes, packet, Field::from_name(packet, name).unwrap());
    value.map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap())
}

#[test]
fn names() {
    for name in ["connect", "CONNECT", "1", "01", "001"] {
        assert_eq!(PacketType::from_name(name), Some(PacketType::Connect), "{name}");
    }
    for name in ["Connack", "2"] {
        assert_eq!(PacketType::from_name(name), Some(PacketType::Connack));
    }
    for name in ["", "0", "3", "publish", "+1", "-1", "1x", "0x1", " connect", "257"] {
        assert_eq!(PacketType::from_name(name), None, "{name}");
    }
    for packet in [PacketType::Connect, PacketType::Connack] {
        assert_eq!(PacketType::from_name(packet.name()), Some(packet));
        for name in Field::names(packet) {
            assert!(Field::from_name(packet, name).is_some());
            assert_eq!(Field::from_name(packet, &name.to_uppercase()), Field::from_name(packet, name));
        }
        for name in ["", "will", "033", "+33", "-1", "33x", "11", "35", "0", "256", "289"] {
            assert_eq!(Field::from_name(packet, name), None, "{name}");
        }
        let numbers: Vec<u8> = (0..=u8::MAX).filter(|number| Field::from_name(packet, &number.to_string()).is_some()).collect();
        assert_eq!(numbers, Field::properties(packet));
    }
    assert_eq!(Field::from_name(PacketType::Connack, "client_identifier"), None);
    assert_eq!(Field::from_name(PacketType::Connect, "reason_code"), None);
}

#[test]
fn values() {
    assert_eq!(text(PLAIN, "connect", "client_identifier").as_deref(), Some("abcd"));
    assert_eq!(text(PLAIN, "connect", "keepalive").as_deref(), Some("60"));
    assert_eq!(text(PLAIN, "connect", "protocol_version").as_deref(), Some("4"));
    assert_eq!(text(PLAIN, "connect", "username"), None);
    assert_eq!(text(PLAIN, "connack", "flags"), None);
    assert_eq!(text(b"\x20\x03\x01\x87\x00", "connack", "reason_code").as_deref(), Some("135"));
    assert_eq!(text(b"\x20\x03\x01\x87\x00", "connack", "33").as_deref(), Some("0"));
    assert_eq!(text(b"\x20\x02\x01\x05", "connack", "33"), None);
    for (number, digits) in [(0, "0"), (9, "9"), (10, "10"), (u32::MAX, "4294967295")] {
        assert_eq!(FieldValue::number(number).as_bytes(), digits.as_bytes());
    }
    assert_eq!(field(PLAIN, PacketType::Connect, Field::ClientIdentifier).and_then(|value| value.borrowed()), Some(&b"abcd"[..]));
}

#[test]
fn prefixes_wait_and_more_bytes_do_not_matter() {
    for end in 0..PLAIN.len() {
        assert_eq!(is_valid(&PLAIN[..end]), Tri::NeedMore);
    }
    assert_eq!(is_valid(PLAIN), Tri::Yes);
    assert_eq!(is_valid(&[PLAIN, PLAIN].concat()), Tri::Yes);
    assert_eq!(is_valid(b"G"), Tri::NeedMore);
    assert_eq!(is_valid(b"GE"), Tri::No);
    assert_eq!(is_valid(b"\x40\x02\x00"), Tri::NeedMore);
    assert_eq!(is_valid(b"\x40\x02\x00\x01"), Tri::No);
}

#[test]
fn differences() {
    assert_eq!(is_valid(b"\x20\x02\x00\x00\x90\x03"), Tri::Yes, "bytes behind a CONNACK");
    assert_eq!(is_valid(b"\x10\x80"), Tri::NeedMore, "half a length");
    assert_eq!(is_valid(b"\x10\x10\x00\x06MQIsdp\x03\xC2\x00\x3C\x00\x02id"), Tri::Yes, "version 3.1 without the announced user");
    assert_eq!(is_valid(b"\x10\x0E\x00\x04MQTT\x04\xC2\x00\x3C\x00\x02id"), Tri::No, "but not version 3.1.1");
}
