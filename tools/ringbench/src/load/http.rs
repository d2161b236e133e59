//! One HTTP/1.1 connection's requests and answers (RFC 9112). No I/O, no clock.

use super::errors::ErrorKind;
use super::talk::Event;
use crate::pattern;
use crate::protocol::ServerName;
use std::sync::Arc;

/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most headers of an answer.
const HEADERS_MAX: usize = 100;
/// Longest line of a chunk's size, in bytes.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// Bytes kept of the first line of a body that is verified: the server's name.
const FIRST_LINE_BYTES_MAX: usize = 64;

/// What is asked on every connection, ready to be sent.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    head: Arc<[u8]>,
    body_bytes: usize,
    /// HEAD answers have no body whatever they say.
    bodiless: bool,
    name_header: String,
    verify: bool,
}

/// Why a request cannot be made.
const BAD_REQUEST: &str = "method, path, host and headers must not hold blanks or control characters where HTTP has no room for them";

/// A request in parts.
#[derive(Clone, Debug)]
pub struct HttpParts {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Value of the Host header, unless `headers` has one.
    pub host: String,
    /// Further headers, each `Name: value`.
    pub headers: Vec<String>,
    /// Bytes of the body; 0 sends none.
    pub body_bytes: usize,
    /// Asks the server to close after its answer.
    pub close: bool,
    /// Header in which answers name their server.
    pub name_header: String,
    /// Bodies must be those of `ringbench serve --mode http`: the server's name, a line end, and the byte pattern.
    pub verify: bool,
}

impl Default for HttpParts {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: "localhost".to_owned(),
            headers: Vec::new(),
            body_bytes: 0,
            close: false,
            name_header: "x-served-by".to_owned(),
            verify: false,
        }
    }
}

impl HttpRequest {
    /// Puts a request together.
    ///
    /// # Errors
    /// When a part would break the request apart.
    pub fn new(parts: &HttpParts) -> Result<Self, &'static str> {
        let token = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let line = |text: &str| !text.bytes().any(|byte| byte < 32 && byte != b'\t' || byte == 127);
        let named = parts.headers.iter().all(|header| header.split_once(':').is_some_and(|(name, _)| token(name)) && line(header));
        if ![&parts.method, &parts.path, &parts.host, &parts.name_header].into_iter().all(|text| token(text)) || !named {
            return Err(BAD_REQUEST);
        }
        let mut head = format!("{} {} HTTP/1.1\r\n", parts.method, parts.path);
        let names_host = |header: &String| header.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("host"));
        if !parts.headers.iter().any(names_host) {
            head.push_str(&format!("Host: {}\r\n", parts.host));
        }
        for header in &parts.headers {
            head.push_str(&format!("{header}\r\n"));
        }
        if parts.body_bytes > 0 {
            head.push_str(&format!("Content-Length: {}\r\n", parts.body_bytes));
        }
        head.push_str(if parts.close { "Connection: close\r\n\r\n" } else { "\r\n" });
        Ok(Self {
            head: head.into_bytes().into(),
            body_bytes: parts.body_bytes,
            bodiless: parts.method.eq_ignore_ascii_case("HEAD"),
            name_header: parts.name_header.clone(),
            verify: parts.verify,
        })
    }
}

/// Where an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Head,
    /// Bytes left of a body of known length.
    Length(u64),
    ChunkLine,
    Chunk(u64),
    /// The line end after a chunk: bytes left of it.
    ChunkEnd(u8),
    Trailers,
    UntilClose,
}

/// One connection's exchanges; several may be under way (pipelining), their answers come in order.
#[derive(Clone, Debug)]
pub(super) struct HttpDialogue {
    request: HttpRequest,
    stage: Stage,
    /// The unfinished head or line.
    buffer: Vec<u8>,
    server: Option<ServerName>,
    status: u16,
    closes: bool,
    body_at: u64,
    first_line: Vec<u8>,
}

impl HttpDialogue {
    pub(super) fn new(request: HttpRequest) -> Self {
        Self { request, stage: Stage::Head, buffer: Vec::new(), server: None, status: 0, closes: false, body_at: 0, first_line: Vec::new() }
    }

    /// Forgets what the last connection left.
    pub(super) fn reset(&mut self) {
        (self.stage, self.closes) = (Stage::Head, false);
        self.buffer.clear();
    }

    pub(super) fn begin(&mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.request.head);
        pattern::append(output, 0, self.request.body_bytes);
    }

    /// True when the server will close, or has said so.
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// The end of the connection: the end of an answer without a length, or a failure.
    pub(super) fn end(&mut self) -> Result<Event, ErrorKind> {
        if self.stage == Stage::UntilClose { Ok(self.complete()) } else { Err(ErrorKind::Closed) }
    }

    /// Takes bytes up to the end of one answer at most; returns how many.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<(usize, Event), ErrorKind> {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            if rest.is_empty() {
                return Ok((used, Event::Partial));
            }
            let (count, event) = match self.stage {
                Stage::Head => self.head(rest)?,
                Stage::Length(left) => {
                    let count = self.body(rest, left)?;
                    let left = left - count as u64;
                    self.stage = Stage::Length(left);
                    (count, if left == 0 { self.complete() } else { Event::Partial })
                }
                Stage::ChunkLine => self.chunk_line(rest)?,
                Stage::Chunk(left) => {
                    let count = self.body(rest, left)?;
                    let left = left - count as u64;
                    self.stage = if left == 0 { Stage::ChunkEnd(2) } else { Stage::Chunk(left) };
                    (count, Event::Partial)
                }
                Stage::ChunkEnd(left) => {
                    let expected = if left == 2 { b'\r' } else { b'\n' };
                    if rest.first() != Some(&expected) {
                        return Err(ErrorKind::Corrupt);
                    }
                    self.stage = if left == 2 { Stage::ChunkEnd(1) } else { Stage::ChunkLine };
                    (1, Event::Partial)
                }
                Stage::Trailers => self.trailers(rest)?,
                Stage::UntilClose => (self.body(rest, u64::MAX)?, Event::Partial),
            };
            used += count;
            if !matches!(event, Event::Partial) {
                return Ok((used, event));
            }
        }
    }

    fn complete(&mut self) -> Event {
        self.stage = Stage::Head;
        if self.request.verify && self.server.is_none() {
            return Event::Answered(Err(ErrorKind::Corrupt));
        }
        Event::Answered(match self.status {
            400..=499 => Err(ErrorKind::Status4xx),
            500.. => Err(ErrorKind::Status5xx),
            _ => Ok(self.server),
        })
    }

    fn head(&mut self, input: &[u8]) -> Result<(usize, Event), ErrorKind> {
        // Mostly a head comes in one piece and needs no copy.
        if self.buffer.is_empty()
            && let Some(length) = self.parse_head(input)?
        {
            return Ok((length, self.after_head()));
        }
        let before = self.buffer.len();
        self.buffer.extend_from_slice(input);
        let buffer = std::mem::take(&mut self.buffer);
        let Some(length) = self.parse_head(&buffer)? else {
            self.buffer = buffer;
            return if self.buffer.len() > HEAD_BYTES_MAX { Err(ErrorKind::Corrupt) } else { Ok((input.len(), Event::Partial)) };
        };
        Ok((length.saturating_sub(before), self.after_head()))
    }

    /// Event after a head: the answer may be complete with it.
    fn after_head(&mut self) -> Event {
        (self.body_at, self.first_line) = (0, Vec::new());
        match self.stage {
            Stage::Length(0) => self.complete(),
            _ => Event::Partial,
        }
    }

    /// Length of the head, when it is complete; sets what follows from it.
    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, ErrorKind> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(ErrorKind::Corrupt),
        };
        let status = response.code.unwrap_or(0);
        // An interim answer: the real one follows (RFC 9110, section 15.2).
        if (100..200).contains(&status) {
            self.stage = Stage::Head;
            return Ok(Some(length));
        }
        let (mut content_length, mut chunked, mut closes, mut server) = (None, false, response.version == Some(0), None);
        for header in response.headers.iter() {
            let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                content_length = Some(value.parse::<u64>().map_err(|_| ErrorKind::Corrupt)?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.rsplit(',').next().is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"));
            } else if header.name.eq_ignore_ascii_case("connection") {
                let has = |token: &str| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(token));
                closes = has("close") || closes && !has("keep-alive");
            } else if header.name.eq_ignore_ascii_case(&self.request.name_header) {
                server = ServerName::new(value).ok();
            }
        }
        (self.status, self.server) = (status, server);
        self.stage = match (chunked, content_length) {
            _ if self.request.bodiless || matches!(status, 204 | 304) => Stage::Length(0),
            (true, _) => Stage::ChunkLine,
            (false, Some(bytes)) => Stage::Length(bytes),
            (false, None) => Stage::UntilClose,
        };
        self.closes = closes || self.stage == Stage::UntilClose;
        Ok(Some(length))
    }

    /// Takes at most `left` bytes of the body and compares them if asked to.
    fn body(&mut self, input: &[u8], left: u64) -> Result<usize, ErrorKind> {
        let count = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = input.get(..count).unwrap_or_default();
        if self.request.verify && self.status < 400 {
            self.compare(part)?;
        }
        self.body_at += count as u64;
        Ok(count)
    }

    /// The first line is the server's name, the rest the pattern.
    fn compare(&mut self, part: &[u8]) -> Result<(), ErrorKind> {
        let mut rest = part;
        while self.first_line.last() != Some(&b'\n') {
            let Some((&byte, tail)) = rest.split_first() else { return Ok(()) };
            self.first_line.push(byte);
            rest = tail;
            if self.first_line.len() > FIRST_LINE_BYTES_MAX {
                return Err(ErrorKind::Corrupt);
            }
        }
        let name = self.first_line.strip_suffix(b"\n").unwrap_or_default();
        let offset = (self.body_at + (part.len() - rest.len()) as u64).saturating_sub(self.first_line.len() as u64);
        let right = self.server.is_some_and(|server| server.as_str().as_bytes() == name);
        if right && pattern::first_difference(offset, rest).is_none() { Ok(()) } else { Err(ErrorKind::Corrupt) }
    }

    /// Collects a line into the buffer; none while it is not complete.
    fn line(&mut self, input: &[u8]) -> Result<(usize, Option<Vec<u8>>), ErrorKind> {
        let end = memchr::memchr(b'\n', input);
        let count = end.map_or(input.len(), |at| at + 1);
        self.buffer.extend_from_slice(input.get(..count).unwrap_or_default());
        if self.buffer.len() > CHUNK_LINE_BYTES_MAX {
            return Err(ErrorKind::Corrupt);
        }
        Ok((count, end.map(|_| std::mem::take(&mut self.buffer))))
    }

    fn chunk_line(&mut self, input: &[u8]) -> Result<(usize, Event), ErrorKind> {
        let (count, line) = self.line(input)?;
        if let Some(line) = line {
            self.stage = match httparse::parse_chunk_size(&line) {
                Ok(httparse::Status::Complete((_, 0))) => Stage::Trailers,
                Ok(httparse::Status::Complete((_, bytes))) => Stage::Chunk(bytes),
                _ => return Err(ErrorKind::Corrupt),
            };
        }
        Ok((count, Event::Partial))
    }

    fn trailers(&mut self, input: &[u8]) -> Result<(usize, Event), ErrorKind> {
        let (count, line) = self.line(input)?;
        let last = line.is_some_and(|line| line == b"\r\n" || line == b"\n");
        Ok((count, if last { self.complete() } else { Event::Partial }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dialogue(method: &str) -> HttpDialogue {
        HttpDialogue::new(HttpRequest::new(&HttpParts { method: method.to_owned(), ..HttpParts::default() }).expect("valid"))
    }

    /// Feeds an input in pieces; returns what was answered.
    fn all(dialogue: &mut HttpDialogue, input: &[u8], piece: usize) -> Result<Vec<Result<Option<ServerName>, ErrorKind>>, ErrorKind> {
        let mut answers = Vec::new();
        for part in input.chunks(piece.max(1)) {
            let mut rest = part;
            while !rest.is_empty() {
                let (used, event) = dialogue.feed(rest)?;
                rest = &rest[used..];
                if let Event::Answered(answer) = event {
                    answers.push(answer);
                }
            }
        }
        Ok(answers)
    }

    proptest! {
        #[test]
        fn pipelined_answers_are_told_apart_however_they_are_cut(piece in 1..200_usize) {
            let input = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Served-By: one\r\n\r\nhello\
                HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Served-By: two\r\n\r\n\
                5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nTrailer: t\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n\
                HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 204 None\r\n\r\n";
            let names = |name: &str| Ok(ServerName::new(name).ok());
            let expected = vec![names("one"), names("two"), Err(ErrorKind::Status5xx), Err(ErrorKind::Status4xx), Ok(None)];
            let mut dialogue = dialogue("GET");
            prop_assert_eq!(all(&mut dialogue, input, piece), Ok(expected));
            prop_assert!(!dialogue.closes());
        }

        #[test]
        fn any_bytes_are_read_without_panic(input in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..50_usize) {
            let _ = all(&mut dialogue("GET"), &input, piece);
            let mut framed = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            framed.extend_from_slice(&input);
            let _ = all(&mut dialogue("GET"), &framed, piece);
        }
    }

    #[test]
    fn an_answer_without_a_length_ends_with_the_connection() {
        let mut until_close = dialogue("GET");
        assert_eq!(all(&mut until_close, b"HTTP/1.0 200 OK\r\n\r\nsome text", 7), Ok(vec![]));
        assert!(until_close.closes() && matches!(until_close.end(), Ok(Event::Answered(Ok(None)))));
        let mut cut = dialogue("GET");
        assert_eq!(all(&mut cut, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nsome", 9), Ok(vec![]));
        assert!(matches!(cut.end(), Err(ErrorKind::Closed)));
        assert_eq!(all(&mut dialogue("HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", 9), Ok(vec![Ok(None)]));
    }

    #[test]
    fn bodies_are_compared_when_asked() {
        let request = HttpRequest::new(&HttpParts { verify: true, ..HttpParts::default() }).expect("valid");
        let mut body = b"one\n".to_vec();
        pattern::append(&mut body, 0, 96);
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nX-Served-By: one\r\n\r\n".to_vec();
        answer.extend_from_slice(&body);
        for piece in [1, 7, 1000] {
            assert_eq!(all(&mut HttpDialogue::new(request.clone()), &answer, piece), Ok(vec![Ok(ServerName::new("one").ok())]));
        }
        *answer.last_mut().expect("not empty") ^= 1;
        assert_eq!(all(&mut HttpDialogue::new(request), &answer, 7), Err(ErrorKind::Corrupt));
    }

    #[test]
    fn requests_that_would_break_apart_are_refused() {
        let make = |method: &str, path: &str, header: &str| {
            let (method, path, headers) = (method.to_owned(), path.to_owned(), vec![header.to_owned()]);
            HttpRequest::new(&HttpParts { method, path, headers, ..HttpParts::default() }).map(drop)
        };
        assert_eq!(make("GET", "/", "A: b"), Ok(()));
        for (method, path, header) in [("G T", "/", "A: b"), ("GET", "/ x", "A: b"), ("GET", "/", "A: b\r\nB: c"), ("GET", "/", "none")] {
            assert!(make(method, path, header).is_err(), "{method} {path} {header:?}");
        }
    }
}
