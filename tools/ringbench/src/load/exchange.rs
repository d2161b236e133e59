//! One worker of an exchange workload: pingpong, connect, idle.
//!
//! Called by `run` on its own thread. It owns its connections; it never waits anywhere but in its poller and at the start gate.

use super::dialogue::Dialogue;
use super::errors::ErrorKind;
use super::recorder::Recorder;
use super::run::{Clock, Gate};
use super::schedule::{Next, Schedule};
use super::slot::{Phase, Slot, Step, connect_result, start_connect};
use super::{Plan, Workload};
use crate::poller::{Interest, Poller, Ready};
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
    plan: &'a Plan,
    clock: Clock,
    pub(super) recorder: Recorder<'a>,
    poller: Poller,
    slots: Vec<Slot>,
    schedule: Schedule,
    /// Slots that can start an operation at once, with the time since when.
    free: VecDeque<(usize, u64)>,
    /// Slots that must connect first or rest.
    down: VecDeque<usize>,
    connecting: usize,
    busy: usize,
    untried: usize,
    next_sweep_ns: u64,
    ready: Vec<Ready>,
    scratch: Vec<u8>,
}

impl<'a> Exchanger<'a> {
    /// `connections` of the plan's connections; `worker` is this worker's number.
    pub(super) fn new(plan: &'a Plan, clock: Clock, recorder: Recorder<'a>, worker: usize, connections: usize) -> io::Result<Self> {
        let mut slots = Vec::with_capacity(connections);
        for index in 0..connections {
            // Far apart, so that the answers of two connections cannot be taken for each other.
            let first_sequence = (worker as u32).wrapping_mul(0x0200_0000).wrapping_add((index as u32).wrapping_mul(1013));
            let dialogue = Dialogue::new(plan.protocol, plan.request_bytes, plan.response_bytes, plan.verify, first_sequence);
            let mut slot = Slot::new(dialogue);
            slot.rest_until_ns = nanoseconds(plan.ramp).saturating_mul(index as u64) / connections.max(1) as u64;
            slots.push(slot);
        }
        Ok(Self {
            plan,
            clock,
            recorder,
            poller: Poller::new()?,
            slots,
            schedule: Schedule::closed(0, 0),
            free: VecDeque::with_capacity(connections),
            down: (0..connections).collect(),
            connecting: 0,
            busy: 0,
            untried: connections,
            next_sweep_ns: 0,
            ready: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    /// Opens what stays open, waits for the other workers, does the measured work and closes.
    pub(super) fn run(&mut self, gate: &Gate, worker: usize, limit: u64) -> io::Result<()> {
        let established = if self.plan.workload == Workload::Connect { Ok(()) } else { self.establish() };
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
        while let Some(&(index, free_since_ns)) = self.free.front() {
            let next = self.schedule.take(now_ns);
            let Next::Start { intended_ns } = next else { return next };
            self.free.pop_front();
            if self.schedule.is_open() {
                self.recorder.lag(self.clock.now().saturating_sub(intended_ns.max(free_since_ns)));
            }
            let start_ns = self.clock.now();
            // A closed loop's operation begins when it is begun, not when its turn of the loop began.
            let intended_ns = if self.schedule.is_open() { intended_ns } else { start_ns };
            self.begin(index, intended_ns, start_ns);
        }
        self.schedule.peek(now_ns)
    }

    /// Starts an operation on a free slot.
    fn begin(&mut self, index: usize, intended_ns: u64, now_ns: u64) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.intended_ns = Some(intended_ns);
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
                slot.stream = Some(stream);
                slot.phase = Phase::Connecting;
                self.connecting += 1;
            }
            Err(error) => self.fail(index, ErrorKind::of(&error)),
        }
    }

    /// Sends the request of the operation under way.
    fn ask(&mut self, index: usize, now_ns: u64) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.prepare();
        slot.phase = Phase::Busy;
        slot.deadline_ns = now_ns.saturating_add(nanoseconds(self.plan.timeout));
        self.push(index);
    }

    /// Writes what is pending and keeps the poller's interest right.
    fn push(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        match slot.write() {
            Ok(count) => self.recorder.bytes(self.clock.now(), count, 0),
            Err(kind) => return self.fail(index, kind),
        }
        let wanted = Interest { read: true, write: slot.has_output() };
        if wanted != slot.interest {
            slot.interest = wanted;
            let Some(stream) = &slot.stream else { return };
            if let Err(error) = self.poller.modify(stream, token(index, slot.birth), wanted) {
                self.fail(index, ErrorKind::of(&error));
            }
        }
    }

    fn handle(&mut self, event: Ready) {
        let (index, birth) = split(event.token);
        let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.birth == birth && slot.stream.is_some()) else { return };
        if slot.phase == Phase::Connecting {
            return match slot.stream.as_ref().and_then(connect_result) {
                None => {}
                Some(Err(kind)) => self.fail(index, kind),
                Some(Ok(())) => self.connected(index),
            };
        }
        if event.write && slot.has_output() {
            self.push(index);
        }
        if event.read {
            self.pull(index);
        }
    }

    fn connected(&mut self, index: usize) {
        let now_ns = self.clock.now();
        let Some(slot) = self.slots.get_mut(index) else { return };
        self.connecting -= 1;
        self.recorder.connected(slot.connect_ns, now_ns);
        slot.phase = Phase::Ready;
        if slot.intended_ns.is_some() {
            return self.ask(index, now_ns);
        }
        slot.deadline_ns = u64::MAX;
        self.free.push_back((index, now_ns));
        self.tried();
        // An empty push settles the interest: reading, to notice a close.
        self.push(index);
    }

    fn pull(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let mut received = 0;
        let step = slot.read(&mut self.scratch, &mut received);
        let now_ns = self.clock.now();
        self.recorder.bytes(now_ns, 0, received);
        match step {
            Step::Blocked => {}
            Step::Failed(kind) => self.fail(index, kind),
            Step::Done(server) => {
                slot.phase = Phase::Ready;
                slot.deadline_ns = u64::MAX;
                if let Some(intended_ns) = slot.intended_ns.take() {
                    self.busy -= 1;
                    let measured = intended_ns >= self.recorder.measured_from_ns();
                    let first = measured && !std::mem::replace(&mut slot.answered, true);
                    self.recorder.success(intended_ns, now_ns, server, first);
                }
                if self.plan.workload == Workload::Connect {
                    self.close(index);
                }
                self.free.push_back((index, now_ns));
            }
        }
    }

    /// Ends an operation, or a connection without one, as a failure.
    fn fail(&mut self, index: usize, kind: ErrorKind) {
        let now_ns = self.clock.now();
        let was_ready = self.slots.get(index).is_some_and(|slot| slot.phase == Phase::Ready);
        let never_connected = self.slots.get(index).is_some_and(|slot| matches!(slot.phase, Phase::Connecting | Phase::Down));
        self.close(index);
        let Some(slot) = self.slots.get_mut(index) else { return };
        match slot.intended_ns.take() {
            Some(intended_ns) => {
                self.busy -= 1;
                self.recorder.failure(intended_ns, now_ns, kind);
            }
            None => {
                self.recorder.lost(now_ns, kind);
                // A counted closed loop ends after that many attempts, also when nobody ever accepts a connection.
                if self.plan.count.is_some() && !self.schedule.is_open() {
                    self.schedule.take(now_ns);
                }
            }
        }
        slot.rest_until_ns = now_ns.saturating_add(REST_NS);
        if was_ready {
            self.free.retain(|&(other, _)| other != index);
        }
        if never_connected && self.plan.workload != Workload::Connect {
            self.tried();
        }
        self.down.push_back(index);
    }

    fn tried(&mut self) {
        self.untried = self.untried.saturating_sub(1);
    }

    fn close(&mut self, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        match slot.phase {
            Phase::Connecting => self.connecting -= 1,
            Phase::Ready | Phase::Busy => self.recorder.disconnected(),
            Phase::Down => {}
        }
        slot.stream = None;
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
            if self.plan.workload == Workload::Connect {
                self.free.push_back((index, now_ns));
            } else {
                self.open(index, now_ns);
            }
        }
    }

    fn sweep(&mut self) {
        let now_ns = self.clock.now();
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index) else { continue };
            if slot.deadline_ns <= now_ns {
                let connecting = slot.phase == Phase::Connecting;
                self.fail(index, if connecting { ErrorKind::ConnectTimeout } else { ErrorKind::Timeout });
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
