//! One accepted connection: bytes in, bytes out, by mode.
//!
//! Driven by the server's loop; it never waits. What it holds is bounded: it stops reading while [`OUTPUT_BYTES_MAX`] are unsent.

use super::broker::{Broker, Session, Who};
use super::http::HttpService;
use super::{Failure, Mode, ServerOptions};
use crate::mqtt::Packet;
use crate::pattern;
use crate::poller::Interest;
use crate::protocol::{REQUEST_HEADER_BYTES, Request, ResponseHeader, ServerName, Summary};
use crate::transport::Transport;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Reading pauses while more than this is unsent, in bytes.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// A subscriber that leaves more than this unread is closed, in bytes.
const BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Stream bytes written per call, in bytes.
const STREAM_WRITE_BYTES: usize = 64 * 1024;

/// What the loop does next with a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Continue,
    /// Something was answered: send it at once, or `hold` it for the server's delay and this one.
    Answered(Duration),
    Close,
}

/// A framed connection's place in the protocol.
enum Framed {
    Header { have: usize, bytes: [u8; REQUEST_HEADER_BYTES] },
    Body { left: usize, response_bytes: u32, sequence: u32 },
    Stream(Stream),
}

/// A flow of pattern bytes in one or both directions.
struct Stream {
    verify: bool,
    received: u64,
    sent: u64,
    /// Bytes still to send; `u64::MAX` until the client half-closes.
    send_left: u64,
    endless: bool,
    wait_for_end: bool,
    first_mismatch: Option<u64>,
    summed_up: bool,
}

enum Role {
    Echo,
    Discard,
    Framed(Framed),
    /// Raw source: a stream without a header or a summary.
    Source(Stream),
    Http(HttpService),
    Mqtt(Session),
}

pub(super) struct Conversation {
    stream: Transport,
    birth: u32,
    name: ServerName,
    failure: Failure,
    connack: u8,
    role: Role,
    output: Vec<u8>,
    written: usize,
    held: bool,
    input_ended: bool,
    close_when_flushed: bool,
}

impl Conversation {
    pub(super) fn new(stream: Transport, who: Who, options: &ServerOptions) -> Self {
        let role = match options.mode {
            Mode::Echo => Role::Echo,
            Mode::Discard => Role::Discard,
            Mode::NamedEcho | Mode::Tls => Role::Framed(Framed::Header { have: 0, bytes: [0; REQUEST_HEADER_BYTES] }),
            Mode::Source => Role::Source(Stream::new(false, true, false, 0)),
            Mode::Http => Role::Http(HttpService::new(options.status)),
            Mode::Mqtt => Role::Mqtt(Session::new(who)),
        };
        Self {
            stream,
            birth: who.1,
            name: options.name,
            failure: options.failure,
            connack: options.connack,
            role,
            output: Vec::new(),
            written: 0,
            held: false,
            input_ended: false,
            close_when_flushed: false,
        }
    }

    pub(super) fn stream(&self) -> &Transport {
        &self.stream
    }

    pub(super) fn birth(&self) -> u32 {
        self.birth
    }

    pub(super) fn interest(&self) -> Interest {
        if self.held {
            return Interest { read: false, write: false };
        }
        let pending = self.output.len() - self.written;
        let streaming = self.current_stream().is_some_and(|stream| stream.wants_to_write(self.input_ended));
        Interest { read: !self.input_ended && pending < OUTPUT_BYTES_MAX, write: pending > 0 || streaming || self.stream.wants_write() }
    }

    /// Begins the delay of an answer: nothing is read or written until its end.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Ends the delay of an answer.
    pub(super) fn release(&mut self) {
        self.held = false;
    }

    /// Reads what there is, at most once the size of `scratch`, and answers what is complete.
    pub(super) fn readable(&mut self, scratch: &mut [u8], answered: &AtomicU64, broker: &mut Broker) -> Verdict {
        let verdict = self.read(scratch, answered, broker);
        if matches!(verdict, Verdict::Continue | Verdict::Answered(_)) && self.stream.end_is_next() {
            return match self.read(scratch, answered, broker) {
                Verdict::Continue => verdict,
                other => other,
            };
        }
        verdict
    }

    fn read(&mut self, scratch: &mut [u8], answered: &AtomicU64, broker: &mut Broker) -> Verdict {
        let count = match self.stream.read(scratch) {
            Ok(count) => count,
            Err(error) if retry(&error) => return Verdict::Continue,
            Err(_) => return Verdict::Close,
        };
        let input = scratch.get(..count).unwrap_or_default();
        if count == 0 {
            self.input_ended = true;
            return self.end_of_input();
        }
        match self.failure {
            Failure::Silent => return Verdict::Continue,
            Failure::HangUp => return Verdict::Close,
            _ => {}
        }
        let before = self.output.len();
        let Some(delay) = self.consume(input, answered, broker) else { return Verdict::Close };
        if self.output.len() == before {
            return Verdict::Continue;
        }
        if self.failure == Failure::Truncate {
            self.output.truncate(before + (self.output.len() - before) / 2);
            self.close_when_flushed = true;
        }
        Verdict::Answered(delay)
    }

    /// Queues an MQTT message for this client; false when it has left too much unread.
    pub(super) fn deliver(&mut self, message: Packet) -> bool {
        if let Role::Mqtt(session) = &mut self.role {
            session.deliver(message, &mut self.output);
        }
        self.output.len() - self.written <= BACKLOG_BYTES_MAX
    }

    /// True while an answer is delayed.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// The connection ends: what others know of it goes too.
    pub(super) fn leave(&self, broker: &mut Broker) {
        if let Role::Mqtt(session) = &self.role {
            session.leave(broker);
        }
    }

    /// Writes what there is room for.
    pub(super) fn writable(&mut self) -> Verdict {
        loop {
            while self.written < self.output.len() {
                match self.stream.write(self.output.get(self.written..).unwrap_or_default()) {
                    Ok(count) => self.written += count,
                    Err(error) if retry(&error) => return Verdict::Continue,
                    Err(_) => return Verdict::Close,
                }
            }
            self.output.clear();
            self.written = 0;
            if self.stream.flush().is_err() {
                return Verdict::Close;
            }
            if self.stream.wants_write() {
                return Verdict::Continue;
            }
            if self.close_when_flushed {
                self.stream.end_writing();
                return Verdict::Close;
            }
            // One large write per turn: other connections of this server wait behind it.
            let name = self.name;
            let framed = matches!(self.role, Role::Framed(_));
            let ended = self.input_ended;
            let Some(stream) = current_stream(&mut self.role) else { return Verdict::Continue };
            if stream.send_left > 0 {
                return match self.stream.write(stream.next_bytes()) {
                    Ok(count) => {
                        stream.advance(count);
                        Verdict::Continue
                    }
                    Err(error) if retry(&error) => Verdict::Continue,
                    Err(_) => Verdict::Close,
                };
            }
            if !stream.wants_to_write(ended) {
                return Verdict::Continue;
            }
            stream.summed_up = true;
            self.close_when_flushed = true;
            if framed {
                let summary = Summary { name, received: stream.received, sent: stream.sent, first_mismatch: stream.first_mismatch };
                self.output.extend_from_slice(&summary.encode());
            }
        }
    }

    fn end_of_input(&mut self) -> Verdict {
        match current_stream(&mut self.role) {
            Some(stream) => {
                if stream.endless {
                    stream.send_left = 0;
                }
                Verdict::Continue
            }
            None if self.written < self.output.len() => {
                self.close_when_flushed = true;
                Verdict::Continue
            }
            None => {
                // The close may still have to pass unread bytes of ours; an explicit end of stream is never mistaken for a reset.
                self.stream.end_writing();
                Verdict::Close
            }
        }
    }

    fn current_stream(&self) -> Option<&Stream> {
        match &self.role {
            Role::Source(stream) | Role::Framed(Framed::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    /// Takes input; none when it breaks the protocol, else the delay that the input itself asked for.
    fn consume(&mut self, input: &[u8], answered: &AtomicU64, broker: &mut Broker) -> Option<Duration> {
        match &mut self.role {
            Role::Echo => self.output.extend_from_slice(input),
            Role::Discard | Role::Source(_) => {}
            Role::Framed(framed) => return framed.consume(input, self.name, &mut self.output, answered).then_some(Duration::ZERO),
            Role::Http(http) => {
                let consumed = http.consume(input, self.name, &mut self.output);
                answered.fetch_add(consumed.answered, Ordering::Relaxed);
                self.close_when_flushed |= consumed.close;
                return Some(consumed.delay);
            }
            Role::Mqtt(session) => match session.consume(input, broker, self.name, self.connack, &mut self.output) {
                Some(count) => drop(answered.fetch_add(count, Ordering::Relaxed)),
                // A refusal is still to be sent.
                None if self.written < self.output.len() => self.close_when_flushed = true,
                None => return None,
            },
        }
        Some(Duration::ZERO)
    }
}

impl Framed {
    fn consume(&mut self, mut input: &[u8], name: ServerName, output: &mut Vec<u8>, answered: &AtomicU64) -> bool {
        loop {
            match self {
                Self::Header { have, bytes } => {
                    let missing = bytes.get_mut(*have..).unwrap_or_default();
                    let count = missing.len().min(input.len());
                    let (part, rest) = input.split_at(count);
                    missing[..count].copy_from_slice(part);
                    *have += count;
                    input = rest;
                    if *have < REQUEST_HEADER_BYTES {
                        return true;
                    }
                    *self = match Request::decode(bytes) {
                        Ok(Request::Exchange { request_bytes, response_bytes, sequence }) => {
                            let left = (request_bytes as usize).saturating_sub(REQUEST_HEADER_BYTES);
                            Self::Body { left, response_bytes, sequence }
                        }
                        Ok(Request::Stream { up, down, verify, down_bytes }) => Self::Stream(Stream::new(up, down, verify, down_bytes)),
                        Err(_) => return false,
                    };
                }
                Self::Body { left, response_bytes, sequence } => {
                    let count = (*left).min(input.len());
                    *left -= count;
                    input = input.split_at(count).1;
                    if *left > 0 {
                        return true;
                    }
                    let header = ResponseHeader { name, sequence: *sequence }.encode();
                    output.extend_from_slice(&header);
                    let filler = (*response_bytes as usize).saturating_sub(header.len());
                    pattern::append(output, u64::from(*sequence), filler);
                    answered.fetch_add(1, Ordering::Relaxed);
                    *self = Self::Header { have: 0, bytes: [0; REQUEST_HEADER_BYTES] };
                }
                Self::Stream(stream) => {
                    stream.receive(input);
                    return true;
                }
            }
        }
    }
}

impl Stream {
    fn new(up: bool, down: bool, verify: bool, down_bytes: u64) -> Self {
        let endless = down && down_bytes == 0;
        let send_left = match (down, endless) {
            (false, _) => 0,
            (true, true) => u64::MAX,
            (true, false) => down_bytes,
        };
        let wait_for_end = up || endless;
        Self { verify, received: 0, sent: 0, send_left, endless, wait_for_end, first_mismatch: None, summed_up: false }
    }

    fn receive(&mut self, input: &[u8]) {
        if self.verify && self.first_mismatch.is_none() {
            self.first_mismatch = pattern::first_difference(self.received, input);
        }
        self.received += input.len() as u64;
    }

    /// True while pattern bytes or the summary are due.
    fn wants_to_write(&self, input_ended: bool) -> bool {
        self.send_left > 0 || (!self.summed_up && (input_ended || !self.wait_for_end))
    }

    fn next_bytes(&self) -> &'static [u8] {
        let room = usize::try_from(self.send_left).unwrap_or(usize::MAX).min(STREAM_WRITE_BYTES);
        // Without a check the same hot buffer goes out again and again, so that the source costs as little as it can.
        pattern::slice(if self.verify { self.sent } else { 0 }, room)
    }

    fn advance(&mut self, count: usize) {
        self.sent += count as u64;
        if !self.endless {
            self.send_left = self.send_left.saturating_sub(count as u64);
        }
    }
}

fn current_stream(role: &mut Role) -> Option<&mut Stream> {
    match role {
        Role::Source(stream) | Role::Framed(Framed::Stream(stream)) => Some(stream),
        _ => None,
    }
}

/// True when the call was merely too early.
fn retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
