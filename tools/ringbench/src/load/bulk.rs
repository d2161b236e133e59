//! One worker of a bulk workload: streams in one or both directions, optionally checked byte for byte.
//!
//! Called by `run` on its own thread. A stream ends orderly: the client half-closes, the server sums up, and both accounts must agree.

use super::dialogue::Protocol;
use super::errors::ErrorKind;
use super::exchange::{nanoseconds, token};
use super::recorder::Recorder;
use super::run::{Clock, Gate};
use super::slot::{connect_result, start_connect};
use super::{Plan, Workload};
use crate::pattern;
use crate::poller::{Interest, Poller, Ready};
use crate::protocol::{Request, SUMMARY_BYTES, Summary};
use crate::tls::TlsClient;
use crate::transport::Transport;
use std::io;
use std::time::Duration;

/// Bytes offered to one write.
const WRITE_BYTES: usize = 64 * 1024;
/// Bytes asked of one read.
const SCRATCH_BYTES: usize = 256 * 1024;
/// Longest wait before deadlines are looked at.
const SWEEP: Duration = Duration::from_millis(50);

/// One connection's stream.
struct Flow {
    /// None once the stream has ended, well or badly.
    stream: Option<Transport>,
    connected: bool,
    /// True once the stream may flow: connected, and secured where TLS is asked for.
    ready: bool,
    begun_ns: u64,
    /// Last time a byte moved.
    progress_ns: u64,
    header: Vec<u8>,
    header_written: usize,
    /// Upward bytes still to send; 0 in a pure download.
    up_left: u64,
    up_sent: u64,
    half_closed: bool,
    received: Received,
    interest: Interest,
}

/// What came down: counted, checked, and its last bytes kept as they may be the summary.
struct Received {
    verify: bool,
    keep_tail: bool,
    /// Bytes of the stream itself.
    flow: u64,
    tail: Vec<u8>,
    first_mismatch: Option<u64>,
}

impl Received {
    fn take(&mut self, input: &[u8]) {
        if !self.keep_tail {
            return self.pass(input);
        }
        if input.len() >= SUMMARY_BYTES {
            let older = std::mem::take(&mut self.tail);
            self.pass(&older);
            let (flow, tail) = input.split_at(input.len() - SUMMARY_BYTES);
            self.pass(flow);
            self.tail.extend_from_slice(tail);
            return;
        }
        self.tail.extend_from_slice(input);
        let surplus = self.tail.len().saturating_sub(SUMMARY_BYTES);
        let older: Vec<u8> = self.tail.drain(..surplus).collect();
        self.pass(&older);
    }

    fn pass(&mut self, flow: &[u8]) {
        if self.verify && self.first_mismatch.is_none() {
            self.first_mismatch = pattern::first_difference(self.flow, flow);
        }
        self.flow += flow.len() as u64;
    }

    fn summary(&self) -> Option<Summary> {
        Summary::decode(self.tail.as_slice().try_into().ok()?).ok()
    }
}

pub(super) struct Streamer<'a> {
    plan: &'a Plan,
    tls: Option<TlsClient>,
    clock: Clock,
    pub(super) recorder: Recorder<'a>,
    poller: Poller,
    flows: Vec<Flow>,
    open: usize,
    scratch: Vec<u8>,
}

impl<'a> Streamer<'a> {
    pub(super) fn new(plan: &'a Plan, clock: Clock, recorder: Recorder<'a>, connections: usize) -> io::Result<Self> {
        let up = plan.workload != Workload::BulkDown;
        let down = plan.workload != Workload::BulkUp;
        let framed = plan.protocol == Protocol::Framed;
        let down_bytes = if down { plan.stream_bytes.unwrap_or(0) } else { 0 };
        let request = Request::Stream { up, down, verify: plan.verify, down_bytes };
        let flows = (0..connections).map(|_| Flow {
            stream: None,
            connected: false,
            ready: false,
            begun_ns: 0,
            progress_ns: 0,
            header: if framed { request.encode().to_vec() } else { Vec::new() },
            header_written: 0,
            up_left: if up { plan.stream_bytes.unwrap_or(u64::MAX) } else { 0 },
            up_sent: 0,
            half_closed: false,
            received: Received { verify: plan.verify, keep_tail: framed, flow: 0, tail: Vec::new(), first_mismatch: None },
            interest: Interest::WRITE,
        });
        let flows = flows.collect();
        Ok(Self {
            plan,
            tls: plan.tls.as_ref().map(TlsClient::for_worker),
            clock,
            recorder,
            poller: Poller::new()?,
            flows,
            open: 0,
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Connects all streams at the common start, lets them flow until their end, and closes them orderly.
    pub(super) fn run(&mut self, gate: &Gate) -> io::Result<()> {
        let begin_ns = gate.pass(self.clock);
        let from_ns = begin_ns.saturating_add(nanoseconds(self.plan.warmup));
        let until_ns = from_ns.saturating_add(nanoseconds(self.plan.duration));
        self.recorder.window(from_ns, until_ns);
        for index in 0..self.flows.len() {
            self.open(index);
        }
        let mut ready: Vec<Ready> = Vec::new();
        let mut ending = false;
        let mut next_sweep_ns = 0;
        while self.open > 0 {
            self.poller.wait(Some(SWEEP), &mut ready)?;
            for event in &ready {
                self.handle((event.token & 0xFFFF_FFFF) as usize, *event);
            }
            let now_ns = self.clock.now();
            if now_ns >= next_sweep_ns {
                self.sweep(now_ns);
                next_sweep_ns = now_ns.saturating_add(nanoseconds(SWEEP));
            }
            if !ending && now_ns >= until_ns {
                ending = true;
                for index in 0..self.flows.len() {
                    self.end_upward(index);
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, index: usize) {
        let now_ns = self.clock.now();
        let Some(flow) = self.flows.get_mut(index) else { return };
        (flow.begun_ns, flow.progress_ns) = (now_ns, now_ns);
        self.open += 1;
        let opened = start_connect(self.plan.target).and_then(|stream| {
            self.poller.add(&stream, token(index, 0), flow.interest)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => flow.stream = Some(Transport::Plain(stream)),
            Err(error) => self.end(index, Err(ErrorKind::of(&error))),
        }
    }

    fn handle(&mut self, index: usize, event: Ready) {
        let Some(flow) = self.flows.get_mut(index) else { return };
        let Some(stream) = &flow.stream else { return };
        if !flow.connected {
            match connect_result(stream.socket()) {
                None => return,
                Some(Err(kind)) => return self.end(index, Err(kind)),
                Some(Ok(())) => flow.connected = true,
            }
            if let Err(kind) = self.begin(index) {
                return self.end(index, Err(kind));
            }
        }
        match self.secured(index) {
            Ok(true) => {}
            Ok(false) => return self.settle(index),
            Err(kind) => return self.end(index, Err(kind)),
        }
        let Some(flow) = self.flows.get(index) else { return };
        let mut result = if event.read && flow.interest.read { self.receive(index) } else { Ok(false) };
        if result == Ok(false) && self.flows.get(index).and_then(|flow| flow.stream.as_ref()).is_some_and(Transport::end_is_next) {
            result = self.receive(index);
        }
        let result = match result {
            Ok(false) => self.send(index).map(|()| false),
            other => other,
        };
        match result {
            Ok(false) => self.settle(index),
            Ok(true) => {
                let verdict = self.verdict(index);
                self.end(index, verdict);
            }
            Err(kind) => self.end(index, Err(kind)),
        }
    }

    /// Puts TLS on a connection that was just made, where it is asked for.
    fn begin(&mut self, index: usize) -> Result<(), ErrorKind> {
        let Some(flow) = self.flows.get_mut(index) else { return Ok(()) };
        let Some(tls) = &self.tls else {
            flow.ready = true;
            self.recorder.connected(flow.begun_ns, self.clock.now());
            return Ok(());
        };
        let session = tls.connect().map_err(|_| ErrorKind::Tls)?;
        flow.stream = match flow.stream.take() {
            Some(Transport::Plain(socket)) => Some(Transport::secured(socket, session.into())),
            other => other,
        };
        Ok(())
    }

    /// Carries a TLS handshake on; true when the stream may flow.
    fn secured(&mut self, index: usize) -> Result<bool, ErrorKind> {
        let Some(flow) = self.flows.get_mut(index) else { return Ok(false) };
        let Some(stream) = flow.stream.as_mut().filter(|_| !flow.ready) else { return Ok(flow.ready) };
        flow.ready = stream.handshake().map_err(|error| {
            let kind = ErrorKind::of(&error);
            if kind == ErrorKind::Tls {
                self.recorder.example(kind, &error);
            }
            kind
        })?;
        if flow.ready {
            let now_ns = self.clock.now();
            flow.progress_ns = now_ns;
            self.recorder.connected(flow.begun_ns, now_ns);
            self.recorder.handshake(now_ns, stream.resumed() == Some(true));
        }
        Ok(flow.ready)
    }

    /// Reads once; true at the end of the stream.
    fn receive(&mut self, index: usize) -> Result<bool, ErrorKind> {
        let Some(flow) = self.flows.get_mut(index) else { return Ok(false) };
        let Some(stream) = flow.stream.as_mut() else { return Ok(false) };
        match stream.read(&mut self.scratch) {
            Ok(0) => Ok(true),
            Ok(count) => {
                let now_ns = self.clock.now();
                flow.progress_ns = now_ns;
                flow.received.take(self.scratch.get(..count).unwrap_or_default());
                self.recorder.bytes(now_ns, 0, count as u64);
                // A raw source has no end of its own.
                let enough = self.plan.protocol == Protocol::Raw
                    && self.plan.workload == Workload::BulkDown
                    && self.plan.stream_bytes.is_some_and(|bytes| flow.received.flow >= bytes);
                Ok(enough)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(ErrorKind::of(&error)),
        }
    }

    /// Writes the header, then one piece of the stream; half-closes after the last.
    fn send(&mut self, index: usize) -> Result<(), ErrorKind> {
        let Some(flow) = self.flows.get_mut(index) else { return Ok(()) };
        let Some(stream) = flow.stream.as_mut() else { return Ok(()) };
        while flow.header_written < flow.header.len() {
            match write_some(stream, flow.header.get(flow.header_written..).unwrap_or_default())? {
                0 => return Ok(()),
                count => flow.header_written += count,
            }
        }
        if flow.up_left > 0 {
            let room = usize::try_from(flow.up_left).unwrap_or(usize::MAX).min(WRITE_BYTES);
            let offset = if self.plan.verify { flow.up_sent } else { 0 };
            let count = write_some(stream, pattern::slice(offset, room))? as u64;
            flow.up_sent += count;
            if self.plan.stream_bytes.is_some() {
                flow.up_left -= count;
            }
            if count > 0 {
                let now_ns = self.clock.now();
                flow.progress_ns = now_ns;
                self.recorder.bytes(now_ns, count, 0);
            }
        }
        stream.flush().map_err(|error| ErrorKind::of(&error))?;
        if flow.up_left == 0 && self.plan.workload != Workload::BulkDown {
            self.end_upward(index);
        }
        Ok(())
    }

    /// Half-closes: the end of an upload, and the sign for an endless source to stop.
    fn end_upward(&mut self, index: usize) {
        let Some(flow) = self.flows.get_mut(index) else { return };
        let Some(stream) = flow.stream.as_mut() else { return };
        flow.up_left = 0;
        if !flow.half_closed && flow.ready && flow.header_written == flow.header.len() {
            flow.half_closed = true;
            stream.end_writing();
            self.settle(index);
        }
    }

    fn settle(&mut self, index: usize) {
        let Some(flow) = self.flows.get_mut(index) else { return };
        let Some(stream) = &flow.stream else { return };
        let pending = flow.ready && !flow.half_closed && (flow.header_written < flow.header.len() || flow.up_left > 0);
        let wanted = Interest { read: true, write: pending || stream.wants_write() };
        if wanted != flow.interest {
            flow.interest = wanted;
            if let Err(error) = self.poller.modify(stream, token(index, 0), wanted) {
                self.end(index, Err(ErrorKind::of(&error)));
            }
        }
    }

    fn sweep(&mut self, now_ns: u64) {
        let limit_ns = nanoseconds(self.plan.timeout);
        for index in 0..self.flows.len() {
            let Some(flow) = self.flows.get(index).filter(|flow| flow.stream.is_some()) else { continue };
            if now_ns.saturating_sub(flow.progress_ns) > limit_ns {
                let kind = if flow.connected { ErrorKind::Timeout } else { ErrorKind::ConnectTimeout };
                self.end(index, Err(kind));
            }
        }
    }

    /// Compares both sides' accounts of a stream that has ended.
    fn verdict(&self, index: usize) -> Result<Option<Summary>, ErrorKind> {
        let Some(flow) = self.flows.get(index) else { return Err(ErrorKind::Closed) };
        if flow.received.first_mismatch.is_some() {
            return Err(ErrorKind::Corrupt);
        }
        if self.plan.protocol == Protocol::Raw {
            let whole = match (self.plan.workload, self.plan.stream_bytes) {
                (Workload::BulkDown, Some(bytes)) => flow.received.flow >= bytes,
                (Workload::BulkBoth, _) => flow.half_closed && flow.received.flow == flow.up_sent,
                _ => flow.half_closed,
            };
            return if whole { Ok(None) } else { Err(ErrorKind::Closed) };
        }
        let summary = flow.received.summary().ok_or(ErrorKind::Closed)?;
        let agreed = summary.first_mismatch.is_none() && summary.received == flow.up_sent && summary.sent == flow.received.flow;
        if agreed { Ok(Some(summary)) } else { Err(ErrorKind::Corrupt) }
    }

    fn end(&mut self, index: usize, verdict: Result<Option<Summary>, ErrorKind>) {
        let now_ns = self.clock.now();
        let Some(flow) = self.flows.get_mut(index) else { return };
        self.open = self.open.saturating_sub(1);
        flow.stream = None;
        if flow.ready {
            self.recorder.disconnected();
        }
        // A stream counts even when it began in the warm-up: its bytes are measured by the clock.
        let begun_ns = flow.begun_ns.max(self.recorder.measured_from_ns());
        match verdict {
            Ok(summary) => self.recorder.success(begun_ns, now_ns, summary.map(|summary| summary.name), true),
            Err(kind) => self.recorder.lost(now_ns, kind),
        }
    }
}

/// Bytes written; 0 when there is no room.
fn write_some(stream: &mut Transport, bytes: &[u8]) -> Result<usize, ErrorKind> {
    match stream.write(bytes) {
        Ok(count) => Ok(count),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        Err(error) => Err(ErrorKind::of(&error)),
    }
}
