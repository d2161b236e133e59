//! RDP's cookie at every prefix, as HAProxy 2.6 showed it.

use super::super::super::testing::Literal;
use super::{check, given};

const HEADER: &[u8] = b"\x03\x00\x00\x21\x1c\xe0\x00\x00\x00\x00\x00";

fn request(line: &[u8]) -> Literal {
    Literal::of_request(&[HEADER, line].concat(), false)
}

#[test]
fn the_first_cookie_is_found_whatever_its_case() {
    for line in
        [&b"Cookie: mstshash=joe\r\n"[..], b"COOKIE:MSTSHASH=joe\r\n\x01\x00\x08\x00", b"Cookie:  mstshash=joe\r\nCookie: msts=x\r\n"]
    {
        check(
            &request(line),
            &[
                ("req.rdp_cookie", "joe"),
                ("rdp_cookie(MstsHash)", "joe"),
                ("req.rdp_cookie(msts)", "-"),
                ("req.rdp_cookie_cnt", "1"),
                ("rdp_cookie_cnt(mstshash)", "1"),
                ("rdp_cookie_cnt(msts)", "0"),
            ],
        );
    }
    check(&request(b"Cookie: msts=3640205228.15629.0000\r\n"), &[("req.rdp_cookie(msts)", "3640205228.15629.0000")]);
    check(&request(b"Cookie: mstshash=\r\n"), &[("req.rdp_cookie", ""), ("req.rdp_cookie_cnt", "1")]);
}

#[test]
fn something_else_is_known_at_once() {
    for line in [&b"Cookie: mstshash\r\n"[..], b"Kookie: mstshash=joe\r\n", b"Kookie: "] {
        check(&request(line), &[("req.rdp_cookie", "-"), ("req.rdp_cookie_cnt", "0")]);
    }
}

#[test]
fn what_may_become_a_cookie_is_awaited() {
    let whole = [HEADER, b"Cookie: mstshash=joe\r\n"].concat();
    for length in 0..whole.len() {
        assert_eq!(given(&Literal::of_request(&whole[..length], false), "req.rdp_cookie(mstshash)", false), "?", "{length}");
        assert_eq!(given(&Literal::of_request(&whole[..length], true), "req.rdp_cookie_cnt", false), "-", "{length}");
    }
}
