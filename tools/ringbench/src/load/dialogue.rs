//! What one connection says and expects: request bytes out, answer bytes in. No I/O, no clock.

use super::errors::ErrorKind;
use crate::pattern;
use crate::protocol::{REQUEST_HEADER_BYTES, RESPONSE_HEADER_BYTES, Request, ResponseHeader, ServerName};

/// How client and server understand each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The framed protocol of `serve --mode named-echo`: answers name the server.
    Framed,
    /// Bytes without framing: an `echo`, `discard` or `source` server.
    Raw,
    /// HTTP/1.1 requests and answers.
    #[value(skip)]
    Http,
    /// MQTT sessions.
    #[value(skip)]
    Mqtt,
    /// Nothing: the connection's TLS handshake is all there is.
    #[value(skip)]
    Handshake,
}

/// State of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// More bytes must come.
    Partial,
    /// The answer is complete; a framed one names its server.
    Complete(Option<ServerName>),
}

/// One connection's exchanges, one at a time.
#[derive(Clone, Debug)]
pub struct Dialogue {
    protocol: Protocol,
    request_bytes: usize,
    response_bytes: usize,
    verify: bool,
    sequence: u32,
    received: usize,
    header: [u8; RESPONSE_HEADER_BYTES],
}

impl Dialogue {
    /// A dialogue of requests and answers of fixed sizes; `first_sequence` tells connections apart. With [`Protocol::Raw`] the answer is
    /// the request, so its size is `request_bytes`.
    pub fn new(protocol: Protocol, request_bytes: usize, response_bytes: usize, verify: bool, first_sequence: u32) -> Self {
        let response_bytes = if protocol == Protocol::Raw { request_bytes } else { response_bytes };
        Self { protocol, request_bytes, response_bytes, verify, sequence: first_sequence, received: 0, header: [0; RESPONSE_HEADER_BYTES] }
    }

    /// Appends the next request.
    pub fn begin(&mut self, output: &mut Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        self.received = 0;
        if self.protocol == Protocol::Framed {
            let (request_bytes, response_bytes) = (self.request_bytes as u32, self.response_bytes as u32);
            let request = Request::Exchange { request_bytes, response_bytes, sequence: self.sequence };
            output.extend_from_slice(&request.encode());
            pattern::append(output, u64::from(self.sequence), self.request_bytes.saturating_sub(REQUEST_HEADER_BYTES));
        } else {
            pattern::append(output, u64::from(self.sequence), self.request_bytes);
        }
    }

    /// Takes bytes of the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] when they are not the expected ones, or more than expected.
    pub fn feed(&mut self, input: &[u8]) -> Result<Answer, ErrorKind> {
        let header_bytes = if self.protocol == Protocol::Framed { RESPONSE_HEADER_BYTES } else { 0 };
        let mut filler = input;
        if self.received < header_bytes {
            let missing = self.header.get_mut(self.received..).unwrap_or_default();
            let count = missing.len().min(input.len());
            let (part, rest) = input.split_at(count);
            missing[..count].copy_from_slice(part);
            self.received += count;
            filler = rest;
        }
        if self.received < header_bytes {
            return Ok(Answer::Partial);
        }
        let offset = u64::from(self.sequence) + (self.received - header_bytes) as u64;
        if self.verify && pattern::first_difference(offset, filler).is_some() {
            return Err(ErrorKind::Corrupt);
        }
        self.received += filler.len();
        if self.received < self.response_bytes {
            return Ok(Answer::Partial);
        }
        if self.received > self.response_bytes {
            return Err(ErrorKind::Corrupt);
        }
        if self.protocol == Protocol::Raw {
            return Ok(Answer::Complete(None));
        }
        match ResponseHeader::decode(&self.header) {
            Ok(header) if header.sequence == self.sequence => Ok(Answer::Complete(Some(header.name))),
            _ => Err(ErrorKind::Corrupt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(sequence: u32, length: usize) -> Vec<u8> {
        let name = ServerName::new("beta").expect("valid name");
        let mut bytes = ResponseHeader { name, sequence }.encode().to_vec();
        pattern::append(&mut bytes, u64::from(sequence), length - RESPONSE_HEADER_BYTES);
        bytes
    }

    proptest! {
        #[test]
        fn any_split_of_an_answer_completes_it_once(length in 32..400_usize, cuts in proptest::collection::vec(1..50_usize, 0..40)) {
            let mut dialogue = Dialogue::new(Protocol::Framed, 64, length, true, 9);
            let mut request = Vec::new();
            dialogue.begin(&mut request);
            prop_assert_eq!(request.len(), 64);
            let bytes = answer(10, length);
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() {
                let (part, tail) = rest.split_at(cuts.next().unwrap_or(usize::MAX).min(rest.len()));
                let state = dialogue.feed(part).expect("undamaged");
                prop_assert_eq!(matches!(state, Answer::Complete(Some(name)) if name.as_str() == "beta"), tail.is_empty());
                rest = tail;
            }
        }

        #[test]
        fn any_damaged_byte_is_noticed(length in 32..200_usize, at in 0..200_usize, bit in 0..8_u8) {
            let mut bytes = answer(1, length);
            let at = at % length;
            bytes[at] ^= 1 << bit;
            let mut dialogue = Dialogue::new(Protocol::Framed, 64, length, true, 0);
            dialogue.begin(&mut Vec::new());
            let result = dialogue.feed(&bytes);
            // A damaged letter of the name may spell another name: that is all that can pass.
            prop_assert!(result == Err(ErrorKind::Corrupt) || (at < 24 && matches!(result, Ok(Answer::Complete(Some(name))) if name.as_str() != "beta")));
        }
    }

    #[test]
    fn more_than_the_answer_is_an_error() {
        let mut dialogue = Dialogue::new(Protocol::Raw, 10, 0, false, 0);
        dialogue.begin(&mut Vec::new());
        assert_eq!(dialogue.feed(&[0; 11]), Err(ErrorKind::Corrupt));
    }
}
