//! The PROXY protocol, versions 1 and 2: the header by which a proxy in front tells whose connection it passes on (HAProxy's
//! proxy-protocol.txt).
//!
//! The inspect stage parses headers of clients (`expect-proxy`). Extensions (TLVs) are checked for their lengths and passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, its line end included.
pub const VERSION_1_MAX: usize = 107;
/// Longest header of version 2 that is accepted: as much as HAProxy's buffer takes.
pub const VERSION_2_MAX: usize = 16_384;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX: &[u8; 6] = b"PROXY ";

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection is of these two.
    Inet {
        /// The client.
        source: SocketAddr,
        /// The address that it connected to.
        destination: SocketAddr,
    },
    /// The addresses are of a family without ports, or unknown: those of the connection itself stand.
    Unknown,
    /// The proxy speaks for itself, as for a health check (`LOCAL`): the addresses of the connection stand.
    Local,
}

/// Outcome of parsing what has come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    NeedMore,
    /// A header of this many bytes.
    Done(Header, usize),
    /// This is no header.
    Invalid,
}

/// Parses the header that a connection begins with. Never looks further than the header.
pub fn parse(bytes: &[u8]) -> Progress {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, expected)| byte == expected);
    if bytes.is_empty() {
        return Progress::NeedMore;
    }
    if begins(PREFIX) {
        return if bytes.len() < PREFIX.len() { Progress::NeedMore } else { version_1(bytes) };
    }
    if begins(SIGNATURE) {
        return if bytes.len() < 16 { Progress::NeedMore } else { version_2(bytes) };
    }
    Progress::Invalid
}

fn version_1(bytes: &[u8]) -> Progress {
    let window = &bytes[..bytes.len().min(VERSION_1_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < VERSION_1_MAX { Progress::NeedMore } else { Progress::Invalid };
    };
    let Ok(line) = std::str::from_utf8(&window[PREFIX.len()..end]) else { return Progress::Invalid };
    let mut words = line.split(' ');
    let header = match words.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => Some(Header::Unknown),
        Some("TCP4") => endpoints(words, |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)),
        Some("TCP6") => endpoints(words, |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)),
        _ => None,
    };
    header.map_or(Progress::Invalid, |header| Progress::Done(header, end + 2))
}

fn endpoints<'a>(words: impl Iterator<Item = &'a str>, address: impl Fn(&str) -> Option<IpAddr>) -> Option<Header> {
    let words: Vec<&str> = words.take(5).collect();
    let [source, destination, source_port, destination_port] = words[..] else { return None };
    let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    Some(Header::Inet {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })
}

fn version_2(bytes: &[u8]) -> Progress {
    let (version_and_command, family) = (bytes[12], bytes[13]);
    let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let total = 16 + length;
    if version_and_command >> 4 != 2 || total > VERSION_2_MAX {
        return Progress::Invalid;
    }
    let Some(body) = bytes.get(16..total) else { return Progress::NeedMore };
    let (header, used) = match (version_and_command & 15, family) {
        (0, _) => (Some(Header::Local), 0),
        (1, 0x11 | 0x12) => (inet::<4>(body), 12),
        (1, 0x21 | 0x22) => (inet::<16>(body), 36),
        (1, 0x31 | 0x32) => ((body.len() >= 216).then_some(Header::Unknown), 216),
        (1, _) => (Some(Header::Unknown), 0),
        _ => (None, 0),
    };
    match header {
        Some(Header::Inet { .. }) if !extensions_fit(&body[used.min(body.len())..]) => Progress::Invalid,
        Some(header) => Progress::Done(header, total),
        None => Progress::Invalid,
    }
}

/// Two addresses of N bytes and two ports.
fn inet<const N: usize>(body: &[u8]) -> Option<Header> {
    let address = |at: usize| -> Option<IpAddr> {
        let octets = body.get(at..at + N)?;
        match N {
            4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?))),
            _ => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?))),
        }
    };
    let port = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    Some(Header::Inet { source: SocketAddr::new(address(0)?, port(2 * N)?), destination: SocketAddr::new(address(N)?, port(2 * N + 2)?) })
}

/// Whether the extensions fill their room exactly.
fn extensions_fit(mut rest: &[u8]) -> bool {
    while let [_, high, low, tail @ ..] = rest {
        let Some(next) = tail.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { return false };
        rest = next;
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(source: &str, destination: &str) -> Header {
        Header::Inet { source: source.parse().expect("an address"), destination: destination.parse().expect("an address") }
    }

    fn version_2_header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn lines_of_version_1() {
        let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET";
        assert_eq!(parse(line), Progress::Done(header("192.168.0.1:56324", "192.168.0.11:443"), line.len() - 3));
        let line = b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n";
        assert_eq!(parse(line), Progress::Done(header("[2001:db8::1]:65535", "[::1]:0"), line.len()));
        let line = b"PROXY UNKNOWN ffff::1 whatever\r\n";
        assert_eq!(parse(line), Progress::Done(Header::Unknown, line.len()));
        let wrong =
            ["TCP4 1.2.3.4 5.6.7.8 1\r\n", "TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", "TCP4 ::1 ::1 1 2\r\n", "UDP4 1.2.3.4 1.2.3.4 1 2\r\n"];
        for rest in
            wrong.into_iter().chain(["TCP4 1.2.3.4  5.6.7.8 1 2\r\n", "TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", "TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n"])
        {
            assert_eq!(parse(format!("PROXY {rest}").as_bytes()), Progress::Invalid, "{rest}");
        }
        assert_eq!(parse(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat()), Progress::Invalid, "no line end in time");
    }

    #[test]
    fn headers_of_version_2() {
        let mut body = vec![10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 80];
        let bytes = version_2_header(1, 0x11, &body);
        assert_eq!(parse(&bytes), Progress::Done(header("10.0.0.1:4660", "10.0.0.2:80"), bytes.len()));
        body.extend([4, 0, 2, 0, 0]);
        assert!(matches!(parse(&version_2_header(1, 0x11, &body)), Progress::Done(..)), "an extension");
        body.push(9);
        assert_eq!(parse(&version_2_header(1, 0x11, &body)), Progress::Invalid, "half an extension");
        assert_eq!(parse(&version_2_header(0, 0, b"")), Progress::Done(Header::Local, 16));
        assert_eq!(parse(&version_2_header(1, 0, b"xyz")), Progress::Done(Header::Unknown, 19));
        assert_eq!(parse(&version_2_header(2, 0x11, &[0; 12])), Progress::Invalid, "no such command");
        assert_eq!(parse(&version_2_header(1, 0x21, &[0; 12])), Progress::Invalid, "too short for its family");
        let mut version_3 = version_2_header(1, 0x11, &[0; 12]);
        version_3[12] = 0x31;
        assert_eq!(parse(&version_3), Progress::Invalid);
    }

    #[test]
    fn every_beginning_of_a_header_needs_more() {
        let headers = [b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(), version_2_header(1, 0x11, &[1; 12])];
        for bytes in headers {
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Progress::NeedMore, "{end}");
            }
        }
        assert_eq!(parse(b"GET / HTTP/1.1"), Progress::Invalid);
        assert_eq!(parse(b"\r\n\r\nX"), Progress::Invalid);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_nothing_beyond_the_header_matters(
            start in prop_oneof![Just(SIGNATURE.to_vec()), Just(PREFIX.to_vec()), Just(Vec::new())],
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, rest].concat();
            if let Progress::Done(header, length) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(parse(&bytes[..length]), Progress::Done(header, length));
                prop_assert_eq!(parse(&bytes[..length - 1]), Progress::NeedMore);
            }
        }
    }
}
