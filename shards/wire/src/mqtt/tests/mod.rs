//! Tests of the strict parsers and of the encoders.

mod invalid;
mod valid;

use super::*;

/// A CONNECT in pieces, so that each can be made wrong.
#[derive(Clone)]
struct Raw {
    first: u8,
    name: &'static [u8],
    level: u8,
    flags: u8,
    keepalive_s: u16,
    /// Everything behind the keep alive.
    rest: Vec<u8>,
}

impl Raw {
    /// A clean session of this level with the rest to follow.
    fn new(level: u8) -> Self {
        Self { first: 0x10, name: if level == 3 { b"MQIsdp" } else { b"MQTT" }, level, flags: 0x02, keepalive_s: 60, rest: Vec::new() }
    }

    fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// Appends bytes.
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.rest.extend_from_slice(bytes);
        self
    }

    /// Appends a field with its length.
    fn field(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.raw(&(bytes.len() as u16).to_be_bytes()).raw(bytes)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut body = (self.name.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(self.name);
        body.extend_from_slice(&[self.level, self.flags]);
        body.extend_from_slice(&self.keepalive_s.to_be_bytes());
        body.extend_from_slice(&self.rest);
        with_header(self.first, &body)
    }
}

/// The body with its fixed header.
fn with_header(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let more = if length > 0x7F { 0x80 } else { 0 };
        packet.push((length & 0x7F) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn connect(bytes: &[u8]) -> Progress<Connect<'_>> {
    parse_connect(bytes, &Limits::default())
}

/// The valid packet; also sees to it that every prefix asks for more, and that bytes behind the packet change nothing.
fn valid(bytes: &[u8]) -> Connect<'_> {
    let Progress::Done { packet, length } = connect(bytes) else { panic!("{bytes:02x?} gave {:?}", connect(bytes)) };
    assert_eq!(length, bytes.len());
    let mut before = 0;
    for end in 0..bytes.len() {
        let Progress::NeedMore { at_least } = connect(&bytes[..end]) else {
            panic!("{:02x?} gave {:?}", &bytes[..end], connect(&bytes[..end]))
        };
        assert!(end < at_least && before <= at_least && at_least <= length, "{at_least} of {length} at {end}");
        before = at_least;
    }
    let longer = [bytes, b"\x10\xFF"].concat();
    assert_eq!(connect(&longer), Progress::Done { packet, length });
    packet
}

/// Why the bytes are invalid; also sees to it that they are from some prefix on, always for the same reason.
fn invalid(bytes: &[u8]) -> (Reason, usize) {
    let first = (0..=bytes.len()).find(|&end| !matches!(connect(&bytes[..end]), Progress::NeedMore { .. })).expect("an end");
    let Progress::Invalid(reason) = connect(&bytes[..first]) else { panic!("{bytes:02x?} is valid") };
    for end in first..=bytes.len() {
        assert_eq!(connect(&bytes[..end]), Progress::Invalid(reason), "{:02x?}", &bytes[..end]);
    }
    (reason, first)
}
