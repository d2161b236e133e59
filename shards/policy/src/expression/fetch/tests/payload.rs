//! What received bytes give at every prefix, as HAProxy 2.6 showed it with bytes sent one by one.

use super::super::super::testing::{Literal, expression};
use super::super::of_response;
use super::{check, given, refused};

/// Values at every prefix from nothing to all bytes, of a request that goes on.
fn at_prefixes(source: &str, bytes: &[u8]) -> Vec<String> {
    (0..=bytes.len())
        .map(|length| given(&Literal { inspected_bytes_max: 1024, ..Literal::of_request(&bytes[..length], false) }, source, false))
        .collect()
}

/// The same of a request that has ended.
fn at_ends(source: &str, bytes: &[u8]) -> Vec<String> {
    (0..=bytes.len())
        .map(|length| given(&Literal { inspected_bytes_max: 1024, ..Literal::of_request(&bytes[..length], true) }, source, false))
        .collect()
}

#[test]
fn everything_from_an_offset_on_may_change() {
    assert_eq!(at_prefixes("req.payload(0,0)", b"abc"), ["~", "~a", "~ab", "~abc"]);
    assert_eq!(at_prefixes("req.payload(2,0)", b"abc"), ["?", "?", "~", "~c"]);
    assert_eq!(at_ends("req.payload(2,0)", b"abc"), ["-", "-", "", "c"]);
}

#[test]
fn a_block_is_there_whole_or_not_at_all() {
    assert_eq!(at_prefixes("req.payload(0,3)", b"abcd"), ["?", "?", "?", "abc", "abc"]);
    assert_eq!(at_prefixes("req.payload(2,1)", b"abcd"), ["?", "?", "?", "c", "c"]);
    assert_eq!(at_ends("req.payload(2,1)", b"abcd"), ["-", "-", "-", "c", "c"]);
    assert_eq!(at_prefixes("payload(0,1)", b"ab"), ["?", "a", "a"]);
}

#[test]
fn what_lies_beyond_the_buffer_is_missing_from_the_beginning() {
    let open = Literal { inspected_bytes_max: 1024, ..Literal::of_request(b"", false) };
    check(&open, &[("req.payload(1020,4)", "?"), ("req.payload(1020,5)", "-"), ("req.payload(2000,3)", "-"), ("req.payload(1024,0)", "?")]);
    check(&open, &[("req.payload(9223372036854775807,9223372036854775807)", "-"), ("req.payload_lv(9223372036854775807,2)", "-")]);
}

#[test]
fn a_length_stands_before_its_bytes() {
    assert_eq!(at_prefixes("req.payload_lv(0,1)", b"\x03abcd"), ["?", "?", "?", "?", "abc", "abc"]);
    assert_eq!(at_ends("req.payload_lv(0,1)", b"\x03abcd"), ["-", "-", "-", "-", "abc", "abc"]);
    assert_eq!(at_prefixes("req.payload_lv(0,2)", b"\x00\x03abcd")[..3], ["?", "?", "?"]);
    assert_eq!(at_prefixes("req.payload_lv(0,2)", b"\x00\x03abcd")[4..], ["?", "abc", "abc"]);
    // A length of nothing is known at once, and so is one that never fits.
    assert_eq!(at_prefixes("req.payload_lv(0,1)", b"\x00ab"), ["?", "-", "-", "-"]);
    assert_eq!(at_prefixes("req.payload_lv(0,2)", b"abc"), ["?", "?", "-", "-"]);
    assert_eq!(at_prefixes("req.payload_lv(0,9)", &[1; 12])[8..], ["?", "-", "-", "-", "-"]);
    assert_eq!(at_prefixes("req.payload_lv(0,9)", b"\0\0\0\0\0\0\0\0\x01x")[9..], ["?", "x"]);
}

#[test]
fn the_second_offset_is_absolute_or_counts_from_behind_the_length() {
    let bytes = b"\x01\x02abcdef";
    let expected = [
        ("req.payload_lv(0,1)", "\x02"),
        ("req.payload_lv(0,1,3)", "b"),
        ("req.payload_lv(0,1,+1)", "a"),
        ("req.payload_lv(1,1,-1)", "\x02a"),
        ("req.payload_lv(1,1,-0)", "ab"),
        ("req.payload_lv(1,1,0)", "\x01\x02"),
        ("req.payload_lv(1,1,)", "ab"),
        ("payload_lv(1,1,-2)", "\x01\x02"),
    ];
    check(&Literal::of_request(bytes, false), &expected);
}

#[test]
fn lengths_of_what_is_there() {
    assert_eq!(at_prefixes("req.len", b"ab"), ["~0", "~1", "~2"]);
    assert_eq!(at_ends("req_len", b"ab"), ["0", "1", "2"]);
    assert_eq!(given(&Literal::of_request(b"ab", false), "req.len", true), "2");
    check(&Literal::default(), &[("req.len", "-"), ("req.payload(0,0)", "-"), ("res.payload_lv(0,1)", "-")]);
}

#[test]
fn responses_are_apart_from_requests() {
    let facts = Literal { response: Some((b"\x01xy".to_vec(), false)), ..Literal::of_request(b"abc", true) };
    check(
        &facts,
        &[("res.len", "~3"), ("res.payload(1,0)", "~xy"), ("res.payload_lv(0,1)", "x"), ("req.len", "3"), ("res.payload(2,2)", "?")],
    );
    for (source, in_response) in
        [("payload(1,0)", "res.payload(1,0)"), ("payload_lv(0,1),length", "res.payload_lv(0,1),length"), ("req.len", "req.len")]
    {
        let (moved, meant) = (of_response(expression(source).unwrap()), expression(in_response).unwrap());
        assert_eq!((moved.fetch, moved.needs), (meant.fetch, meant.needs), "{source}");
    }
}

#[test]
fn wrong_arguments_are_named() {
    for (source, part) in [
        ("req.payload(-1,0)", "argument 1 of"),
        ("req.payload(0,-1)", "argument 2 of"),
        ("req.payload_lv(-1,2)", "argument 1 of"),
        ("req.payload_lv(0,0)", "argument 2 of"),
        ("req.payload_lv(0,2,-3)", "argument 3 of"),
        ("req.payload_lv(0,2,x)", "argument 3 of"),
        ("req.payload(0)", "takes 2 to 2"),
    ] {
        assert!(refused(source).contains(part), "{source}: {}", refused(source));
    }
}

#[test]
fn nothing_is_awaited_after_the_end_of_inspection() {
    let facts = Literal::of_request(b"ab", false);
    for (source, value) in
        [("req.payload(0,3)", "-"), ("req.payload(0,0)", "ab"), ("req.payload_lv(0,3)", "-"), ("req.payload(0,3),length", "-")]
    {
        assert_eq!(given(&facts, source, true), value, "{source}");
    }
    assert_eq!([given(&facts, "req.payload(0,0),length", false), given(&facts, "req.payload(0,3),length", false)], ["~2", "?"]);
}

/// What is known of a prefix, as far as it may be relied on.
fn settled(source: &str, bytes: &[u8]) -> Option<String> {
    let facts = Literal { inspected_bytes_max: 64, ..Literal::of_request(bytes, false) };
    Some(given(&facts, source, false)).filter(|value| value != "?" && !value.starts_with('~'))
}

proptest::proptest! {
    #[test]
    fn what_is_settled_stays_so(bytes in proptest::collection::vec(0u8..6, 0..64), cut in 0usize..64, first in 0i64..70, second in 1i64..12, third in -9i64..9) {
        let end = cut.min(bytes.len());
        let sources = [
            format!("req.payload({first},{second})"),
            format!("req.payload({first},0)"),
            format!("req.payload_lv({first},{second})"),
            format!("req.payload_lv({first},{second},{})", third.abs()),
            format!("req.payload_lv({first},{second},{:+})", third.max(-first - second)),
            String::from("mqtt.client_id"),
            String::from("req.rdp_cookie"),
        ];
        for source in sources {
            if let Some(value) = settled(&source, &bytes[..end]) {
                proptest::prop_assert_eq!(Some(value), settled(&source, &bytes), "{}", source);
            }
        }
    }
}
