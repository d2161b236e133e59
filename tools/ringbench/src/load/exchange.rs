//! One worker of an exchange workload: pingpong, connect, idle.
//!
//! Called by `run` on its own thread. It owns its connections; it never waits anywhere but in its poller and at the start gate. How a
//! connection comes to be ready for operations is in `session`.

use super::errors::ErrorKind;
use super::recorder::Recorder;
use super::run::{Clock, Gate};
use super::schedule::{Next, Schedule};
use super::slot::{Operation, Phase, Slot, Step, Verdict, start_connect};
use super::talk::Talk;
use super::{Plan, Workload};
use crate::poller::{Interest, Poller, Ready};
use crate::tls::TlsClient;
use crate::transport::Transport;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// Connects under way at once, so that a long ramp does not overrun the listener's queue.
const CONNECTING_MAX: usize = 256;
/// Rest of a connection after a failure, so that a dead target is not hammered.
const REST_NS: u64 = 10_000_000;
/// Bytes read at once.
const SCRATCH_BYTES: usize = 256 * 1024;

pub(super) struct Exchanger<'a> {
    pub(super) plan: &'a Plan,
    pub(super) tls: Option<TlsClient>,
    pub(super) clock: Clock,
    pub(super) recorder: Recorder<'a>,
    pub(super) poller: Poller,
    pub(super) slots: Vec<Slot>,
    schedule: Schedule,
    /// Slots that can start an operation at once, with the time since when; with pipelining once for each operation they have room for.
    pub(super) free: VecDeque<(usize, u64)>,
    /// Slots that must connect first or rest.
    pub(super) down: VecDeque<usize>,
    /// Slots with requests that wait for the rest of their pipeline, so that all go out in one write.
    unsent: Vec<usize>,
    pub(super) connecting: usize,
    busy: usize,
    untried: usize,
    /// True while connections are made only for the tickets that the first measured ones need.
    pub(super) priming: bool,
    next_sweep_ns: u64,
    ready: Vec<Ready>,
    answers: Vec<Verdict>,
    pub(super) scratch: Vec<u8>,
}

impl<'a> Exchanger<'a> {
    /// `connections` of the plan's connections; `worker` is this worker's number.
    pub(super) fn new(plan: &'a Plan, clock: Clock, recorder: Recorder<'a>, worker: usize, connections: usize) -> io::Result<Self> {
        let mut slots = Vec::with_capacity(connections);
        for index in 0..connections {
            let mut slot = Slot::new(Talk::new(plan, worker, index));
            slot.rest_until_ns = nanoseconds(plan.ramp).saturating_mul(index as u64) / connections.max(1) as u64;
            slots.push(slot);
        }
        let tls = plan.tls.as_ref().map(TlsClient::for_worker);
        Ok(Self {
            plan,
            priming: plan.workload == Workload::Connect && tls.as_ref().is_some_and(TlsClient::resumes),
            tls,
            clock,
            recorder,
            poller: Poller::new()?,
            slots,
            schedule: Schedule::closed(0, 0),
            free: VecDeque::with_capacity(connections.saturating_mul(plan.pipeline)),
            down: (0..connections).collect(),
            unsent: Vec::new(),
            connecting: 0,
            busy: 0,
            untried: connections,
            next_sweep_ns: 0,
            ready: Vec::new(),
            answers: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Opens what stays open, waits for the other workers, does the measured work and closes.
    pub(super) fn run(&mut self, gate: &Gate, worker: usize, limit: u64) -> io::Result<()> {
        let established = if self.plan.workload == Workload::Connect && !self.priming { Ok(()) } else { self.establish() };
        self.priming = false;
        // Whatever happened, the others must not wait for ever.
        let begin_ns = gate.pass(self.clock);
        established?;
        // Idle connections have nothing to warm up: their first exchange belongs to the figures.
        let warmup = if self.plan.workload == Workload::Idle { Duration::ZERO } else { self.plan.warmup };
        let from_ns = begin_ns.saturating_add(nanoseconds(warmup));
        let until_ns = from_ns.saturating_add(nanoseconds(self.plan.duration));
        self.recorder.window(from_ns, until_ns);
        match self.plan.workload {
            Workload::Idle => self.hold(until_ns)?,
            _ => {
                self.schedule = match self.plan.rate {
                    Some(rate) => Schedule::open(rate, worker, self.plan.threads, begin_ns, until_ns, limit),
                    None => Schedule::closed(until_ns, limit),
                };
                self.exchange(until_ns)?;
            }
        }
        for index in 0..self.slots.len() {
            self.close(index);
        }
        Ok(())
    }

    /// Tries to connect every slot once.
    fn establish(&mut self) -> io::Result<()> {
        while self.untried > 0 {
            let now_ns = self.clock.now();
            self.open_down(now_ns);
            self.turn(now_ns, u64::MAX)?;
        }
        Ok(())
    }

    /// Starts operations as scheduled until none is due and none under way.
    fn exchange(&mut self, until_ns: u64) -> io::Result<()> {
        let give_up_ns = until_ns.saturating_add(nanoseconds(self.plan.timeout));
        loop {
            let now_ns = self.clock.now();
            self.open_down(now_ns);
            let next = self.start_due(now_ns);
            if self.busy == 0 && (next == Next::Finished || now_ns >= until_ns && !self.schedule.is_open()) {
                return Ok(());
            }
            if now_ns >= give_up_ns && next != Next::Finished {
                self.abandon_backlog();
            }
            let wake_ns = match next {
                Next::Wait { until_ns } if !self.free.is_empty() => until_ns,
                _ => u64::MAX,
            };
            self.turn(now_ns, wake_ns)?;
        }
    }

    /// One exchange on every connection, silence, one more.
    fn hold(&mut self, until_ns: u64) -> io::Result<()> {
        self.all_once()?;
        loop {
            let now_ns = self.clock.now();
            if now_ns >= until_ns {
                break;
            }
            self.turn(now_ns, until_ns)?;
        }
        self.all_once()
    }

    fn all_once(&mut self) -> io::Result<()> {
        for (index, _) in std::mem::take(&mut self.free) {
            let now_ns = self.clock.now();
            self.begin(index, now_ns, now_ns);
        }
        while self.busy > 0 {
            let now_ns = self.clock.now();
            self.turn(now_ns, u64::MAX)?;
        }
        Ok(())
    }

    /// Waits once, at most until `wake_ns`, and handles what is ready or overdue.
    fn turn(&mut self, now_ns: u64, wake_ns: u64) -> io::Result<()> {
        let rest_ns = self.down.front().and_then(|&index| self.slots.get(index)).map_or(u64::MAX, |slot| slot.rest_until_ns);
        let sweep_every_ns = (nanoseconds(self.plan.timeout) / 20).clamp(10_000_000, 500_000_000);
        if self.next_sweep_ns == 0 {
            self.next_sweep_ns = now_ns.saturating_add(sweep_every_ns);
        }
        let wait_ns = wake_ns.min(rest_ns.max(now_ns.saturating_add(1_000_000))).min(self.next_sweep_ns).saturating_sub(now_ns);
        let mut ready = std::mem::take(&mut self.ready);
        self.poller.wait(Some(Duration::from_nanos(wait_ns)), &mut ready)?;
        for event in &ready {
            self.handle(*event);
        }
        self.ready = ready;
        if self.clock.now() >= self.next_sweep_ns {
            self.sweep();
            self.next_sweep_ns = self.clock.now().saturating_add(sweep_every_ns);
        }
        Ok(())
    }

    fn start_due(&mut self, now_ns: u64) -> Next {
        let mut last = None;
        while let Some(&(index, free_since_ns)) = self.free.front() {
            let next = self.schedule.take(now_ns);
            let Next::Start { intended_ns } = next else {
                last = Some(next);
                break;
            };
            self.free.pop_front();
            if self.schedule.is_open() {
                self.recorder.lag(self.clock.now().saturating_sub(intended_ns.max(free_since_ns)));
            }
            let start_ns = self.clock.now();
            // A closed loop's operation begins when it is begun, not when its turn of the loop began.
            let intended_ns = if self.schedule.is_open() { intended_ns } else { start_ns };
            self.begin(index, intended_ns, start_ns);
        }
        for index in std::mem::take(&mut self.unsent) {
            self.push(index);
        }
        last.unwrap_or_else(|| self.schedule.peek(now_ns))
    }

    /// Starts an operation on a free slot.
    fn begin(&mut self, index: usize, intended_ns: u64, now_ns: u64) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.operations.push_back(Operation { intended_ns, deadline_ns: u64::MAX });
        self.busy += 1;
        if slot.phase == Phase::Down {
            self.open(index, now_ns);
        } else {
            self.ask(index, now_ns);
        }
    }

    fn open(&mut self, index: usize, now_ns: u64) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.connect_ns = now_ns;
        slot.deadline_ns = now_ns.saturating_add(nanoseconds(self.plan.timeout));
        slot.birth = slot.birth.wrapping_add(1);
        slot.answered = false;
        slot.interest = Interest::WRITE;
        let opened = start_connect(self.plan.target).and_then(|stream| {
            self.poller.add(&stream, token(index, slot.birth), slot.interest)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                slot.transport = Some(Transport::Plain(stream));
                slot.phase = Phase::Connecting;
                self.connecting += 1;
            }
            Err(error) => self.fail(index, ErrorKind::of(&error)),
        }
    }

    /// Sends the request of the newest operation under way.
    pub(super) fn ask(&mut self, index: usize, now_ns: u64) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.prepare();
        slot.phase = Phase::Busy;
        if let Some(operation) = slot.operations.back_mut() {
            operation.deadline_ns = now_ns.saturating_add(nanoseconds(self.plan.timeout));
        }
        if self.plan.pipeline == 1 {
            self.push(index);
        } else if self.unsent.last() != Some(&index) {
            self.unsent.push(index);
        }
    }

    /// Writes what is pending and keeps the poller's interest right.
    pub(super) fn push(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        match slot.write() {
            Ok(count) => self.recorder.bytes(self.clock.now(), count, 0),
            Err(kind) => return self.fail(index, kind),
        }
        self.settle(index);
    }

    /// Keeps the poller's interest right.
    pub(super) fn settle(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let wanted = Interest { read: true, write: slot.has_output() };
        if wanted != slot.interest {
            slot.interest = wanted;
            let Some(transport) = &slot.transport else { return };
            if let Err(error) = self.poller.modify(transport, token(index, slot.birth), wanted) {
                self.fail(index, ErrorKind::of(&error));
            }
        }
    }

    fn handle(&mut self, event: Ready) {
        let (index, birth) = split(event.token);
        let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.birth == birth && slot.transport.is_some()) else { return };
        match slot.phase {
            Phase::Connecting => self.connected(index),
            Phase::Securing => self.secure(index),
            Phase::Lingering => self.linger(index),
            _ => {
                if event.write && slot.has_output() {
                    self.push(index);
                }
                if event.read {
                    self.pull(index);
                }
            }
        }
    }

    /// Reads, and ends the operations that were answered.
    fn pull(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let mut received = 0;
        let mut answers = std::mem::take(&mut self.answers);
        let step = slot.read(&mut self.scratch, &mut received, &mut answers);
        let now_ns = self.clock.now();
        self.recorder.bytes(now_ns, 0, received);
        let count = answers.len();
        for verdict in answers.drain(..) {
            self.answered(index, verdict, now_ns);
        }
        self.answers = answers;
        if count > 0 && self.go_on(index, count, now_ns) {
            return;
        }
        match step {
            Step::Blocked => {}
            Step::Opened => self.opened(index),
            Step::Failed(kind) => return self.fail(index, kind),
        }
        // The protocol may have replied to what it read.
        if self.slots.get(index).is_some_and(Slot::has_output) {
            self.push(index);
        }
    }

    /// Ends the oldest operation of a slot with its answer.
    pub(super) fn answered(&mut self, index: usize, verdict: Verdict, now_ns: u64) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let Some(Operation { intended_ns, .. }) = slot.operations.pop_front() else { return };
        self.busy -= 1;
        if slot.operations.is_empty() {
            slot.phase = Phase::Ready;
            slot.deadline_ns = u64::MAX;
        }
        match verdict {
            Ok(server) => {
                let measured = intended_ns >= self.recorder.measured_from_ns();
                let first = measured && !std::mem::replace(&mut slot.answered, true);
                self.recorder.success(intended_ns, now_ns, server, first);
            }
            Err(kind) => self.recorder.failure(intended_ns, now_ns, kind),
        }
    }

    /// After answers: the slot is free for as many operations, or its connection ends; true when it ended.
    fn go_on(&mut self, index: usize, count: usize, now_ns: u64) -> bool {
        let Some(slot) = self.slots.get_mut(index) else { return true };
        if self.plan.workload == Workload::Connect {
            self.close(index);
            self.free.push_back((index, now_ns));
            return true;
        }
        if slot.talk.closes() {
            if !slot.operations.is_empty() {
                // Requests behind the last answer were sent in vain.
                self.fail(index, ErrorKind::Closed);
                return true;
            }
            self.close(index);
            self.free.retain(|&(other, _)| other != index);
            if let Some(slot) = self.slots.get_mut(index) {
                slot.rest_until_ns = now_ns;
            }
            self.down.push_back(index);
            return true;
        }
        self.free.extend(std::iter::repeat_n((index, now_ns), count));
        false
    }

    /// Ends a slot's operations, or a connection without one, as failures.
    pub(super) fn fail(&mut self, index: usize, kind: ErrorKind) {
        let now_ns = self.clock.now();
        let was_free = self.slots.get(index).is_some_and(|slot| slot.phase == Phase::Ready || self.plan.pipeline > 1);
        self.close(index);
        let Some(slot) = self.slots.get_mut(index) else { return };
        if slot.operations.is_empty() {
            self.recorder.lost(now_ns, kind);
            // A counted closed loop ends after that many attempts, also when nobody ever accepts a connection.
            if self.plan.count.is_some() && !self.schedule.is_open() {
                self.schedule.take(now_ns);
            }
        }
        for operation in slot.operations.drain(..) {
            self.busy -= 1;
            self.recorder.failure(operation.intended_ns, now_ns, kind);
        }
        slot.rest_until_ns = now_ns.saturating_add(REST_NS);
        if was_free {
            self.free.retain(|&(other, _)| other != index);
        }
        self.tried(index);
        self.down.push_back(index);
    }

    pub(super) fn tried(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        if !std::mem::replace(&mut slot.tried, true) {
            self.untried = self.untried.saturating_sub(1);
        }
    }

    pub(super) fn close(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.say_goodbye();
        match slot.phase {
            Phase::Connecting | Phase::Securing | Phase::Opening => self.connecting -= 1,
            Phase::Ready | Phase::Busy | Phase::Lingering => self.recorder.disconnected(),
            Phase::Down => {}
        }
        slot.transport = None;
        slot.phase = Phase::Down;
        slot.deadline_ns = u64::MAX;
    }

    /// Brings rested slots back: connect workloads make them free, the others connect them.
    fn open_down(&mut self, now_ns: u64) {
        while self.connecting < CONNECTING_MAX {
            let rested = self.down.front().and_then(|&index| self.slots.get(index)).is_some_and(|slot| slot.rest_until_ns <= now_ns);
            if !rested {
                return;
            }
            let Some(index) = self.down.pop_front() else { return };
            if self.plan.workload == Workload::Connect && !self.priming {
                self.free.push_back((index, now_ns));
            } else {
                self.open(index, now_ns);
            }
        }
    }

    fn sweep(&mut self) {
        let now_ns = self.clock.now();
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index).filter(|slot| slot.earliest_deadline_ns() <= now_ns) else { continue };
            match slot.phase {
                Phase::Lingering => self.leave(index),
                Phase::Connecting => self.fail(index, ErrorKind::ConnectTimeout),
                _ => self.fail(index, ErrorKind::Timeout),
            }
        }
    }

    /// Everything that was due and could not be sent is a failure with the time waited so far.
    fn abandon_backlog(&mut self) {
        let now_ns = self.clock.now();
        while let Next::Start { intended_ns } = self.schedule.take(now_ns) {
            self.recorder.failure(intended_ns, now_ns, ErrorKind::Unsent);
        }
    }
}

/// The birth number in a token keeps an event for a closed socket from reaching the next one in its slot.
pub(super) fn token(index: usize, birth: u32) -> u64 {
    (u64::from(birth & 0x7FFF_FFFF) << 32) | (index as u64 & 0xFFFF_FFFF)
}

fn split(token: u64) -> (usize, u32) {
    ((token & 0xFFFF_FFFF) as usize, (token >> 32) as u32)
}

/// A duration as nanoseconds; five centuries are enough for ever.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
