//! The framed protocol that the load generator and the embedded servers speak.
//!
//! A client always speaks first and sends a 16-byte request header. An *exchange* asks for one answer of a given size that begins with
//! the name of the server, so that a client behind a proxy learns who answered. A *stream* turns the connection into a one-way or
//! two-way flow of bytes that ends with a summary from the server. All integers are big-endian. Pure: no I/O, no clock.

use std::fmt;

/// Bytes of a request header.
pub const REQUEST_HEADER_BYTES: usize = 16;
/// Bytes of the header that starts every answer to an exchange; also the smallest answer.
pub const RESPONSE_HEADER_BYTES: usize = 32;
/// Bytes of the summary that ends a stream.
pub const SUMMARY_BYTES: usize = 64;
/// Longest server name, in bytes.
pub const NAME_BYTES: usize = 24;
/// Largest request or answer of an exchange, in bytes: bounds what a peer can make the other side hold.
pub const MESSAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;

const EXCHANGE_MAGIC: [u8; 4] = *b"RBx1";
const STREAM_MAGIC: [u8; 4] = *b"RBs1";
const RESPONSE_MAGIC: [u8; 4] = *b"RBa1";
const SUMMARY_MAGIC: [u8; 8] = *b"RBsum1\r\n";
const FLAG_UP: u32 = 1;
const FLAG_DOWN: u32 = 2;
const FLAG_VERIFY: u32 = 4;

/// Why bytes are not a message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The first bytes are not one of the known magics.
    UnknownMagic,
    /// A length is below the header's own length or above [`MESSAGE_BYTES_MAX`].
    BadLength,
    /// A server name is empty, too long, or not printable ASCII.
    BadName,
    /// A stream header carries flags that do not exist, or asks for no direction.
    BadFlags,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownMagic => "not a ringbench message",
            Self::BadLength => "message length out of range",
            Self::BadName => "server name must be 1 to 24 printable ASCII characters without blanks",
            Self::BadFlags => "stream flags out of range",
        })
    }
}

impl std::error::Error for ProtocolError {}

/// Name of a server, padded with zero bytes; 1 to 24 printable ASCII characters without blanks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName([u8; NAME_BYTES]);

impl ServerName {
    /// Checks and pads a name.
    ///
    /// # Errors
    /// [`ProtocolError::BadName`] when the name is empty, longer than 24 bytes or holds anything but printable ASCII.
    pub fn new(name: &str) -> Result<Self, ProtocolError> {
        let mut padded = [0; NAME_BYTES];
        match padded.get_mut(..name.len()) {
            Some(room) if !name.is_empty() => room.copy_from_slice(name.as_bytes()),
            _ => return Err(ProtocolError::BadName),
        }
        Self::decode(padded)
    }

    fn decode(padded: [u8; NAME_BYTES]) -> Result<Self, ProtocolError> {
        let length = padded.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
        let (name, rest) = padded.split_at(length);
        let plain = !name.is_empty() && name.iter().all(u8::is_ascii_graphic) && rest.iter().all(|&byte| byte == 0);
        if plain { Ok(Self(padded)) } else { Err(ProtocolError::BadName) }
    }

    /// The name without its padding.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
        self.0.get(..length).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ServerName({:?})", self.as_str())
    }
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// One answer to one request; may be repeated on the same connection.
    Exchange {
        /// Bytes of the whole request, header included: 16 to [`MESSAGE_BYTES_MAX`].
        request_bytes: u32,
        /// Bytes of the whole answer, header included: 32 to [`MESSAGE_BYTES_MAX`].
        response_bytes: u32,
        /// Number that the answer repeats; also where its filler starts in the pattern.
        sequence: u32,
    },
    /// A flow of pattern bytes until the end of the connection.
    Stream {
        /// The client sends until it half-closes.
        up: bool,
        /// The server sends.
        down: bool,
        /// The server compares what it receives with the pattern.
        verify: bool,
        /// Bytes that the server sends; 0 means until the client half-closes.
        down_bytes: u64,
    },
}

impl Request {
    /// The header as it goes on the wire.
    pub fn encode(&self) -> [u8; REQUEST_HEADER_BYTES] {
        let (magic, first, last) = match *self {
            Self::Exchange { request_bytes, response_bytes, sequence } => {
                (EXCHANGE_MAGIC, request_bytes, (u64::from(response_bytes) << 32) | u64::from(sequence))
            }
            Self::Stream { up, down, verify, down_bytes } => {
                let flag = |set: bool, bit: u32| if set { bit } else { 0 };
                (STREAM_MAGIC, flag(up, FLAG_UP) | flag(down, FLAG_DOWN) | flag(verify, FLAG_VERIFY), down_bytes)
            }
        };
        let mut header = [0; REQUEST_HEADER_BYTES];
        header[..4].copy_from_slice(&magic);
        header[4..8].copy_from_slice(&first.to_be_bytes());
        header[8..].copy_from_slice(&last.to_be_bytes());
        header
    }

    /// Reads a header from the wire.
    ///
    /// # Errors
    /// Any [`ProtocolError`] but `BadName`; nothing is accepted that [`Request::encode`] could not have written for a valid request.
    pub fn decode(header: &[u8; REQUEST_HEADER_BYTES]) -> Result<Self, ProtocolError> {
        let [m0, m1, m2, m3, f0, f1, f2, f3, l0, l1, l2, l3, l4, l5, l6, l7] = *header;
        let first = u32::from_be_bytes([f0, f1, f2, f3]);
        let last = u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
        match [m0, m1, m2, m3] {
            EXCHANGE_MAGIC => {
                let response_bytes = u32::from_be_bytes([l0, l1, l2, l3]);
                let sequence = u32::from_be_bytes([l4, l5, l6, l7]);
                let long_enough = first as usize >= REQUEST_HEADER_BYTES && response_bytes as usize >= RESPONSE_HEADER_BYTES;
                if !long_enough || first > MESSAGE_BYTES_MAX || response_bytes > MESSAGE_BYTES_MAX {
                    return Err(ProtocolError::BadLength);
                }
                Ok(Self::Exchange { request_bytes: first, response_bytes, sequence })
            }
            STREAM_MAGIC => {
                let (up, down) = (first & FLAG_UP != 0, first & FLAG_DOWN != 0);
                if first > FLAG_UP | FLAG_DOWN | FLAG_VERIFY || !(up || down) {
                    return Err(ProtocolError::BadFlags);
                }
                Ok(Self::Stream { up, down, verify: first & FLAG_VERIFY != 0, down_bytes: last })
            }
            _ => Err(ProtocolError::UnknownMagic),
        }
    }
}

/// The start of every answer to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The server that answered.
    pub name: ServerName,
    /// The request's number.
    pub sequence: u32,
}

impl ResponseHeader {
    /// The header as it goes on the wire: the padded name, a magic, the sequence.
    pub fn encode(&self) -> [u8; RESPONSE_HEADER_BYTES] {
        let mut header = [0; RESPONSE_HEADER_BYTES];
        header[..NAME_BYTES].copy_from_slice(&self.name.0);
        header[NAME_BYTES..28].copy_from_slice(&RESPONSE_MAGIC);
        header[28..].copy_from_slice(&self.sequence.to_be_bytes());
        header
    }

    /// Reads a header from the wire.
    ///
    /// # Errors
    /// `UnknownMagic` or `BadName`.
    pub fn decode(header: &[u8; RESPONSE_HEADER_BYTES]) -> Result<Self, ProtocolError> {
        let mut name = [0; NAME_BYTES];
        name.copy_from_slice(&header[..NAME_BYTES]);
        if header[NAME_BYTES..28] != RESPONSE_MAGIC {
            return Err(ProtocolError::UnknownMagic);
        }
        let mut sequence = [0; 4];
        sequence.copy_from_slice(&header[28..]);
        Ok(Self { name: ServerName::decode(name)?, sequence: u32::from_be_bytes(sequence) })
    }
}

/// The end of every stream: the server's own account of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The server that speaks.
    pub name: ServerName,
    /// Bytes received after the request header.
    pub received: u64,
    /// Pattern bytes sent, without this summary.
    pub sent: u64,
    /// Offset of the first received byte that differs from the pattern.
    pub first_mismatch: Option<u64>,
}

impl Summary {
    /// The summary as it goes on the wire; no mismatch is all ones.
    pub fn encode(&self) -> [u8; SUMMARY_BYTES] {
        let mut bytes = [0; SUMMARY_BYTES];
        bytes[..8].copy_from_slice(&SUMMARY_MAGIC);
        bytes[8..32].copy_from_slice(&self.name.0);
        bytes[32..40].copy_from_slice(&self.received.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.sent.to_be_bytes());
        bytes[48..56].copy_from_slice(&self.first_mismatch.unwrap_or(u64::MAX).to_be_bytes());
        bytes
    }

    /// Reads a summary from the wire.
    ///
    /// # Errors
    /// `UnknownMagic` or `BadName`.
    pub fn decode(bytes: &[u8; SUMMARY_BYTES]) -> Result<Self, ProtocolError> {
        if bytes[..8] != SUMMARY_MAGIC {
            return Err(ProtocolError::UnknownMagic);
        }
        let mut name = [0; NAME_BYTES];
        name.copy_from_slice(&bytes[8..32]);
        let number = |from: usize| {
            let mut digits = [0; 8];
            digits.copy_from_slice(&bytes[from..from + 8]);
            u64::from_be_bytes(digits)
        };
        let mismatch = number(48);
        Ok(Self {
            name: ServerName::decode(name)?,
            received: number(32),
            sent: number(40),
            first_mismatch: (mismatch != u64::MAX).then_some(mismatch),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_checked() {
        assert_eq!(ServerName::new("emqx1").map(|name| name.as_str().to_owned()), Ok("emqx1".to_owned()));
        assert_eq!(ServerName::new(&"a".repeat(24)).map(|name| name.as_str().len()), Ok(24));
        for bad in ["", "two words", "caf\u{e9}", "a\0b", &"a".repeat(25)] {
            assert_eq!(ServerName::new(bad), Err(ProtocolError::BadName), "{bad:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        for (request_bytes, response_bytes) in [(15, 32), (16, 31), (MESSAGE_BYTES_MAX + 1, 32), (16, MESSAGE_BYTES_MAX + 1)] {
            let header = Request::Exchange { request_bytes, response_bytes, sequence: 0 }.encode();
            assert_eq!(Request::decode(&header), Err(ProtocolError::BadLength));
        }
        let nowhere = Request::Stream { up: false, down: false, verify: true, down_bytes: 1 }.encode();
        assert_eq!(Request::decode(&nowhere), Err(ProtocolError::BadFlags));
    }

    proptest! {
        #[test]
        fn exchanges_come_back(request_bytes in 16..=MESSAGE_BYTES_MAX, response_bytes in 32..=MESSAGE_BYTES_MAX, sequence: u32) {
            let request = Request::Exchange { request_bytes, response_bytes, sequence };
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }

        #[test]
        fn any_accepted_header_is_canonical(header: [u8; REQUEST_HEADER_BYTES], magic in prop_oneof![Just(EXCHANGE_MAGIC), Just(STREAM_MAGIC)]) {
            let mut header = header;
            header[..4].copy_from_slice(&magic);
            if let Ok(request) = Request::decode(&header) {
                prop_assert_eq!(request.encode(), header);
            }
        }

        #[test]
        fn answers_and_summaries_come_back(name in "[!-~]{1,24}", sequence: u32, received: u64, sent: u64, mismatch in proptest::option::of(0..u64::MAX)) {
            let name = ServerName::new(&name).expect("printable");
            let header = ResponseHeader { name, sequence };
            prop_assert_eq!(ResponseHeader::decode(&header.encode()), Ok(header));
            let summary = Summary { name, received, sent, first_mismatch: mismatch };
            prop_assert_eq!(Summary::decode(&summary.encode()), Ok(summary));
        }
    }
}
