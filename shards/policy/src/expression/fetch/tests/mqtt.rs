//! MQTT's fetches on a CONNECT that comes byte by byte.

use super::super::super::testing::Literal;
use super::{check, given};

/// MQTT 5.0, clean start, will, user name, keepalive 60, client identifier "id".
const CONNECT: &[u8] = b"\x10\x1b\x00\x04MQTT\x05\x86\x00\x3c\x00\x00\x02id\x00\x00\x01t\x00\x01m\x00\x03joe";

const ALL: &[(&str, &str)] = &[
    ("mqtt.valid", "1"),
    ("mqtt.version", "5"),
    ("mqtt.client_id", "id"),
    ("mqtt.username", "joe"),
    ("mqtt.keepalive", "60"),
    ("mqtt.clean", "1"),
    ("mqtt.will_topic", "t"),
];

#[test]
fn all_fields_wait_for_the_whole_packet() {
    for length in 0..CONNECT.len() {
        for (source, _) in ALL {
            let open = Literal::of_request(&CONNECT[..length], false);
            assert_eq!(given(&open, source, false), "?", "{source} after {length} bytes");
            let end = if *source == "mqtt.valid" { "0" } else { "-" };
            assert_eq!(given(&open, source, true), end, "{source} after {length} bytes");
            assert_eq!(given(&Literal::of_request(&CONNECT[..length], true), source, false), end, "{source} after {length} bytes");
        }
    }
    check(&Literal::of_request(CONNECT, false), ALL);
    check(&Literal::of_request(&[CONNECT, b"\xc0\x00"].concat(), false), ALL);
}

#[test]
fn fields_that_are_not_there_have_no_value() {
    let facts = Literal::of_request(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", false);
    check(
        &facts,
        &[
            ("mqtt.valid", "1"),
            ("mqtt.version", "4"),
            ("mqtt.client_id", "-"),
            ("mqtt.username", "-"),
            ("mqtt.will_topic", "-"),
            ("mqtt.keepalive", "0"),
        ],
    );
}

#[test]
fn something_else_is_refused_at_its_first_byte() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"\x20\x02\x00\x00"] {
        check(&Literal::of_request(bytes, false), &[("mqtt.valid", "0"), ("mqtt.client_id", "-")]);
    }
    // A packet that does not fit what is kept will never be complete.
    let small = Literal { inspected_bytes_max: 20, ..Literal::of_request(&CONNECT[..10], false) };
    check(&small, &[("mqtt.valid", "0"), ("mqtt.client_id", "-")]);
    check(&Literal::default(), &[("mqtt.valid", "-"), ("mqtt.connack_code", "-")]);
}

#[test]
fn the_servers_code_whatever_the_version() {
    let answer =
        |bytes: &[u8]| given(&Literal { response: Some((bytes.to_vec(), false)), ..Literal::default() }, "mqtt.connack_code", false);
    assert_eq!([answer(b""), answer(b"\x20"), answer(b"\x20\x02"), answer(b"\x20\x02\x00")], ["?", "?", "?", "?"]);
    assert_eq!([answer(b"\x20\x02\x00\x00"), answer(b"\x20\x02\x01\x00"), answer(b"\x20\x02\x00\x05")], ["0", "0", "5"]);
    assert_eq!([answer(b"\x20\x03\x00\x87\x00"), answer(b"\x20\x03\x00\x00"), answer(b"HTTP")], ["135", "?", "-"]);
}
