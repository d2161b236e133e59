//! A small HTTP/1.1 origin server (RFC 9112): every answer names its server in the header `X-Served-By` and in the first line of its
//! body. No I/O: bytes in, bytes out.
//!
//! Paths: `/bytes/N` has a body of N bytes (the name's line, then the byte pattern), `/status/N` is answered with that status, and
//! `/delay/MS` that many milliseconds late. Everything else is answered with the name alone.

use crate::pattern;
use crate::protocol::{MESSAGE_BYTES_MAX, ServerName};
use std::time::Duration;

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Longest delay that a path may ask for.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// What a request came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Consumed {
    /// Requests answered.
    pub(super) answered: u64,
    /// Delay that a path asked for.
    pub(super) delay: Duration,
    /// Close once the answers are sent.
    pub(super) close: bool,
}

/// An answer that waits for the rest of its request's body.
#[derive(Clone, Copy, Debug)]
struct Answer {
    status: u16,
    body_bytes: Option<u32>,
    without_body: bool,
    close: bool,
    delay: Duration,
}

/// One connection of the server.
#[derive(Debug)]
pub(super) struct HttpService {
    /// The unfinished head.
    buffer: Vec<u8>,
    body_left: u64,
    answer: Option<Answer>,
    /// Status of every answer, when one was asked for.
    status: Option<u16>,
    ended: bool,
}

impl HttpService {
    pub(super) fn new(status: Option<u16>) -> Self {
        Self { buffer: Vec::new(), body_left: 0, answer: None, status, ended: false }
    }

    /// Takes input, with any number of requests in it, and appends the answers.
    pub(super) fn consume(&mut self, input: &[u8], name: ServerName, output: &mut Vec<u8>) -> Consumed {
        let mut consumed = Consumed::default();
        let mut rest = input;
        while !self.ended && (!rest.is_empty() || self.answer.is_some()) {
            if self.answer.is_none() {
                rest = self.head(rest, output);
                if self.answer.is_none() {
                    break;
                }
            }
            let count = rest.len().min(usize::try_from(self.body_left).unwrap_or(usize::MAX));
            rest = rest.get(count..).unwrap_or_default();
            self.body_left -= count as u64;
            if self.body_left > 0 {
                break;
            }
            let Some(answer) = self.answer.take() else { break };
            write_answer(answer, name, output);
            consumed.answered += 1;
            consumed.delay = consumed.delay.max(answer.delay);
            self.ended = answer.close;
        }
        consumed.close = self.ended;
        consumed
    }

    /// Takes bytes of a head; returns what follows it.
    fn head<'a>(&mut self, input: &'a [u8], output: &mut Vec<u8>) -> &'a [u8] {
        let before = self.buffer.len();
        let parsed = if before == 0 {
            self.parse(input)
        } else {
            self.buffer.extend_from_slice(input);
            let buffer = std::mem::take(&mut self.buffer);
            let parsed = self.parse(&buffer);
            self.buffer = buffer;
            parsed
        };
        match parsed {
            Ok(Some((length, expects))) => {
                self.buffer.clear();
                if expects {
                    output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                return input.get(length.saturating_sub(before)..).unwrap_or_default();
            }
            Ok(None) => {
                if before == 0 {
                    self.buffer.extend_from_slice(input);
                }
                if self.buffer.len() > HEAD_BYTES_MAX {
                    self.refuse(431);
                }
            }
            Err(status) => self.refuse(status),
        }
        &[]
    }

    /// The request cannot be understood: say so and close.
    fn refuse(&mut self, status: u16) {
        self.body_left = 0;
        self.answer = Some(Answer { status, body_bytes: None, without_body: false, close: true, delay: Duration::ZERO });
    }

    /// Length of a complete head and whether the client waits for leave to send its body; the error is a status.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(usize, bool)>, u16> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(431),
            Err(_) => return Err(400),
        };
        let (mut body_left, mut close, mut expects) = (0, request.version == Some(0), false);
        for header in request.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                body_left = value.parse::<u64>().map_err(|_| 400_u16)?;
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                // Every client of this server knows the length of its body.
                return Err(411);
            } else if header.name.eq_ignore_ascii_case("expect") {
                expects = value.eq_ignore_ascii_case("100-continue");
            } else if header.name.eq_ignore_ascii_case("connection") {
                let has = |token: &str| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(token));
                close = has("close") || close && !has("keep-alive");
            }
        }
        let path = request.path.unwrap_or("/");
        let mut answer = route(path.split('?').next().unwrap_or(path)).ok_or(400_u16)?;
        answer.status = self.status.unwrap_or(answer.status);
        answer.without_body = request.method == Some("HEAD") || matches!(answer.status, 204 | 304);
        answer.close = close;
        self.body_left = body_left;
        self.answer = Some(answer);
        Ok(Some((length, expects)))
    }
}

/// The answer to a path; none when its number is out of range.
fn route(path: &str) -> Option<Answer> {
    let plain = Answer { status: 200, body_bytes: None, without_body: false, close: false, delay: Duration::ZERO };
    let mut parts = path.trim_start_matches('/').split('/');
    match (parts.next(), parts.next()) {
        (Some("bytes"), Some(number)) => {
            let bytes = number.parse().ok().filter(|bytes| *bytes <= MESSAGE_BYTES_MAX)?;
            Some(Answer { body_bytes: Some(bytes), ..plain })
        }
        (Some("status"), Some(number)) => {
            let status = number.parse().ok().filter(|status| (200..=599).contains(status))?;
            Some(Answer { status, ..plain })
        }
        (Some("delay"), Some(number)) => {
            let delay = Duration::from_millis(number.parse().ok()?);
            (delay <= DELAY_MAX).then_some(Answer { delay, ..plain })
        }
        _ => Some(plain),
    }
}

fn write_answer(answer: Answer, name: ServerName, output: &mut Vec<u8>) {
    let name = name.as_str();
    let line_bytes = name.len() + 1;
    let body_bytes = answer.body_bytes.map_or(line_bytes, |bytes| bytes as usize);
    let reason = reason(answer.status);
    let head = format!("HTTP/1.1 {} {reason}\r\nServer: ringbench\r\nX-Served-By: {name}\r\nContent-Type: text/plain\r\n", answer.status);
    output.extend_from_slice(head.as_bytes());
    if !matches!(answer.status, 204 | 304) {
        output.extend_from_slice(format!("Content-Length: {body_bytes}\r\n").as_bytes());
    }
    output.extend_from_slice(if answer.close { b"Connection: close\r\n\r\n" } else { b"\r\n" });
    if answer.without_body {
        return;
    }
    let line = name.bytes().chain([b'\n']).take(body_bytes);
    output.extend(line);
    pattern::append(output, 0, body_bytes.saturating_sub(line_bytes));
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        411 => "Length Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answers(input: &[u8], piece: usize) -> (String, Consumed) {
        let name = ServerName::new("one").expect("valid");
        let mut service = HttpService::new(None);
        let (mut output, mut sum) = (Vec::new(), Consumed::default());
        for part in input.chunks(piece.max(1)) {
            let consumed = service.consume(part, name, &mut output);
            sum.answered += consumed.answered;
            sum.close |= consumed.close;
            sum.delay = sum.delay.max(consumed.delay);
        }
        (String::from_utf8_lossy(&output).into_owned(), sum)
    }

    proptest! {
        #[test]
        fn requests_are_told_apart_however_they_are_cut(piece in 1..120_usize) {
            let input = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nPOST /status/503 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloHEAD /bytes/9 HTTP/1.1\r\n\r\n\
                GET /delay/7 HTTP/1.1\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n";
            let (text, consumed) = answers(input, piece);
            prop_assert_eq!(consumed, Consumed { answered: 4, delay: Duration::from_millis(7), close: true });
            let statuses: Vec<&str> = text.lines().filter(|line| line.starts_with("HTTP/")).collect();
            prop_assert_eq!(statuses, ["HTTP/1.1 200 OK", "HTTP/1.1 503 Service Unavailable", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK"]);
            prop_assert_eq!(text.matches("X-Served-By: one\r\n").count(), 4);
            prop_assert!(text.contains("Content-Length: 9\r\n\r\nHTTP/1.1 200"), "{}", text);
        }

        #[test]
        fn any_bytes_are_answered_without_panic(input in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..50_usize) {
            answers(&input, piece);
        }
    }

    #[test]
    fn bodies_have_the_length_asked_for() {
        for length in [0, 2, 4, 1000] {
            let (text, _) = answers(format!("GET /bytes/{length} HTTP/1.0\r\n\r\n").as_bytes(), 1000);
            assert!(text.contains(&format!("Content-Length: {length}\r\nConnection: close\r\n")), "{text}");
        }
        let (text, consumed) = answers(b"GET /bytes/999999999 HTTP/1.1\r\n\r\n", 1000);
        assert!(text.starts_with("HTTP/1.1 400 ") && consumed.close, "{text}");
        assert!(answers(b"\x16\x03\x01", 3).0.starts_with("HTTP/1.1 400 "));
    }
}
