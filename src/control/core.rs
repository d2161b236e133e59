//! The control loop: sleeps until a signal, a report, a runtime client or a timer wants something, does it, and sleeps again.
//!
//! `start` builds a `Core` and runs it; `reload` and `stop` hold what it does on those occasions. Nothing here spins: with nothing due it
//! sleeps for good.

use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::signal::Signal;
use ringmain_engine::live::ServerLive;
use ringmain_engine::mailbox::{ControlPort, FlushTicket, Mail, Report};
use ringmain_engine::ring;
use ringmain_model::{FrontendId, Level, ServerId};
use ringmain_policy::log::LogChannel;

use super::checks::Checks;
use super::console::{Console, Severity};
use super::fleet::{Effect, Fleet, FrontendService, Proxy};
use super::listeners::Listeners;
use super::load::Loader;
use super::notify::Notifier;
use super::outbox::Outbox;
use super::registry::Registry;
use super::reload::Reloading;
use super::signals::Signals;
use super::snapshot::Snapshots;
use super::state::{ControlState, Phase, Request};
use super::stop::{Ended, Stopping};
use super::timers::{Timer, Timers};
use crate::log::{Logs, Reporter};
use crate::runtime::{ControlContext, Interest, RuntimeServer};
use crate::stats::Averages;

/// How long after sessions have ended their memory is given back: once for many, and not while others may need it again at once.
const MEMORY_PAUSE_MS: u64 = 1000;
/// Pause before mail that a full mailbox refused is sent again, ms.
const MAIL_PAUSE_MS: u64 = 10;
/// How long a runtime command waits for shards to bring their counters up to date.
const FLUSH_PATIENCE: Duration = Duration::from_millis(20);
/// Reports taken in one turn before timers and clients have theirs.
const REPORTS_PER_TURN: usize = 4096;

/// Everything the control thread owns.
pub struct Core {
    pub(super) fleet: Fleet,
    pub(super) state: ControlState,
    pub(super) registry: Registry,
    pub(super) listeners: Listeners,
    pub(super) checks: Checks,
    pub(super) timers: Timers,
    pub(super) outbox: Outbox,
    pub(super) reports: Receiver<Report>,
    pub(super) control_port: ControlPort,
    pub(super) signals: Signals,
    pub(super) runtime: RuntimeServer,
    pub(super) averages: Averages,
    pub(super) logs: Logs,
    pub(super) reporter: Reporter,
    pub(super) channels: Channels,
    pub(super) console: Console,
    pub(super) notifier: Notifier,
    pub(super) loader: Arc<Loader>,
    pub(super) reloading: Reloading,
    pub(super) stopping: Stopping,
    pub(super) snapshots: Snapshots,
    pub(super) threads: Vec<JoinHandle<()>>,
}

/// Log targets of the process and of backends; those of frontends are part of the generation.
pub(super) struct Channels {
    pub(super) global: Arc<LogChannel>,
    pub(super) backends: Vec<Arc<LogChannel>>,
}

impl Channels {
    /// The channels of a model.
    pub(super) fn new(model: &ringmain_model::Model, program: &str) -> Self {
        let (tag, hostname) = (model.global.log_tag.as_ref(), model.global.log_hostname.as_ref());
        let channel = |backend: &ringmain_model::Backend| Arc::new(LogChannel::new(&backend.log, tag, hostname, program));
        Self { global: Arc::new(LogChannel::global(&model.global, program)), backends: model.backends.iter().map(channel).collect() }
    }

    /// All channels of a generation, those of its frontends included.
    pub(super) fn all(&self, generation: &ringmain_engine::live::Generation) -> Vec<Arc<LogChannel>> {
        let mut all = vec![self.global.clone()];
        all.extend(self.backends.iter().cloned());
        all.extend(generation.log_channels.iter().cloned());
        all
    }
}

/// What woke the loop.
struct Wakes {
    reports: bool,
    reload: bool,
    clients: Vec<(RawFd, PollFlags)>,
}

impl Core {
    /// Runs until the process is to end. Returns how it ended.
    pub fn run(mut self) -> Ended {
        let mut wakes = Wakes { reports: true, reload: true, clients: Vec::new() };
        loop {
            self.fleet.set_now(ring::now_ms());
            self.turn(&wakes);
            if self.state.phase == Phase::Ending {
                return self.finish();
            }
            wakes = self.sleep();
        }
    }

    fn turn(&mut self, wakes: &Wakes) {
        while let Some(signal) = self.signals.next() {
            self.on_signal(signal);
        }
        if wakes.reports {
            self.take_reports();
            self.take_saved();
        }
        if wakes.reload {
            self.take_loaded();
        }
        self.serve_clients(&wakes.clients);
        self.fire_timers();
        self.carry_out_requests();
        self.carry_out_effects();
        if !self.outbox.is_empty() && !self.outbox.retry() {
            self.timers.add(self.fleet.now_ms() + MAIL_PAUSE_MS, Timer::Mail);
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGTERM | Signal::SIGINT => self.stop_now(Some(signal)),
            Signal::SIGUSR1 => self.stop_softly(),
            Signal::SIGUSR2 | Signal::SIGHUP => self.start_reload(),
            Signal::SIGTTOU => self.pause_all(true),
            Signal::SIGTTIN => self.pause_all(false),
            Signal::SIGQUIT => self.show_status(),
            _ => {}
        }
    }

    /// SIGTTOU and SIGTTIN: all frontends rest, or accept again.
    fn pause_all(&mut self, pause: bool) {
        let wanted = if pause { FrontendService::Paused } else { FrontendService::Open };
        for index in 0..self.fleet.model().frontends.len() {
            let id = FrontendId::new(index);
            if self.fleet.frontend(id).service != FrontendService::Stopped {
                // Frontends that are in this state already need nothing.
                let _ = self.fleet.set_frontend_service(id, wanted);
            }
        }
    }

    /// SIGQUIT: a few lines about the process for whoever looks at standard error.
    fn show_status(&self) {
        let sessions = self.state.process.sessions.inside();
        self.console.notice(&format!("{sessions} sessions on {} shards.", self.outbox.shards()));
        for entry in self.state.generations() {
            self.console.notice(&format!("Generation {}: {} sessions.", entry.number, entry.sessions()));
        }
    }

    fn take_reports(&mut self) {
        for _ in 0..REPORTS_PER_TURN {
            let Ok(report) = self.reports.try_recv() else { return };
            self.take(report);
        }
        // There may be more: come back without sleeping.
        let _ = self.control_port.bell().write(1);
    }

    /// Does what a shard's report asks for.
    pub(super) fn take(&mut self, report: Report) {
        match report {
            Report::Probe { id, outcome, duration_us } => self.checks.ended(&mut self.fleet, id, outcome, duration_us),
            Report::ErrorLimit(live) => {
                if let Some(id) = self.server_of(&live) {
                    self.fleet.errors_observed(id);
                }
            }
            Report::LongKeepalive { frontend, keepalive_s, timeout_ms, is_tunnel } => {
                let text = super::keepalive::warning(&frontend, keepalive_s, timeout_ms, is_tunnel);
                self.announce(Level::Warning, &text);
            }
            Report::Adopted { shard, generation } => self.on_adopted(shard, generation),
            Report::Drained { shard } => self.on_drained(shard),
            Report::AcceptTrouble { shard, error } => self.on_accept_trouble(shard, error),
            Report::Started { shard, ring } => self.on_started(shard, ring),
            Report::Shrunk { .. } => self.timers.add_once(self.fleet.now_ms() + MEMORY_PAUSE_MS, Timer::GiveBackMemory),
        }
    }

    fn server_of(&self, live: &Arc<ServerLive>) -> Option<ServerId> {
        self.fleet.generation().servers.iter().position(|other| Arc::ptr_eq(live, other)).map(ServerId::new)
    }

    /// A shard that started is known from start-up; later this means that its ring broke.
    fn on_started(&mut self, shard: usize, ring: Result<String, String>) {
        if let Err(reason) = ring {
            self.announce(Level::Emerg, &format!("Shard {shard} has stopped: {reason}. The process ends."));
            self.stop_now(None);
            self.stopping.failed = true;
        }
    }

    fn on_accept_trouble(&mut self, shard: usize, error: i32) {
        let reason = super::listen::errno_text(error);
        self.announce(Level::Emerg, &format!("Shard {shard} cannot accept connections: {reason}."));
    }

    fn serve_clients(&mut self, ready: &[(RawFd, PollFlags)]) {
        if ready.is_empty() {
            self.runtime.expire(self.fleet.now_ms());
            return;
        }
        self.flush_counters();
        self.state.dropped_logs = self.logs.dropped();
        for (descriptor, events) in ready {
            let mut context = ControlContext { fleet: &mut self.fleet, state: &mut self.state, averages: &mut self.averages };
            self.runtime.ready(*descriptor, *events, &mut context);
        }
        self.runtime.expire(self.fleet.now_ms());
    }

    /// Lets shards add what running sessions have forwarded to the counters that a command may show.
    fn flush_counters(&mut self) {
        let ticket = FlushTicket::new(self.outbox.shards());
        self.outbox.broadcast(|| Mail::FlushCounters(ticket.clone()));
        let deadline = Instant::now() + FLUSH_PATIENCE;
        while !ticket.is_complete() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn fire_timers(&mut self) {
        while let Some(timer) = self.timers.pop_due(self.fleet.now_ms()) {
            match timer {
                Timer::Server(key) => self.check(key),
                Timer::Mail => drop(self.outbox.retry()),
                Timer::GraceEnds => self.close_listeners(),
                Timer::GiveBackMemory if self.fleet.model().global.keeps_memory => {}
                Timer::GiveBackMemory => super::memory::give_back(),
                Timer::HardStop => self.on_hard_stop_timer(),
                Timer::SaveTables => self.on_save_timer(),
                Timer::GenerationsEnd(number) => self.outbox.broadcast(|| Mail::ShutdownGenerationsBefore(number)),
            }
        }
    }

    fn check(&mut self, key: u64) {
        if let Some(probe) = self.checks.due(&mut self.fleet, key, &mut self.timers) {
            let shard = self.checks.shard_of(probe.id, self.outbox.shards());
            self.outbox.send(shard, Mail::Probe(probe));
        }
    }

    fn carry_out_requests(&mut self) {
        for request in std::mem::take(&mut self.state.requests) {
            match request {
                Request::Reload => self.start_reload(),
            }
        }
    }

    /// Does what the fleet wants done outside, until it wants nothing more.
    pub(super) fn carry_out_effects(&mut self) {
        loop {
            let effects = self.fleet.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Log { proxy, level, text, console_text } => {
                self.report(proxy, level, &text);
                let severity = if level <= Level::Crit && level != Level::Alert { Severity::Alert } else { Severity::Warning };
                self.console.say(severity, console_text.as_deref().unwrap_or(&text));
            }
            Effect::ShutdownSessions(server) => self.outbox.broadcast(|| Mail::ShutdownSessions(server.clone())),
            Effect::DrainMqtt(server) => self.outbox.broadcast(|| Mail::DrainMqtt(server.clone())),
            Effect::KillSessions(server) => self.outbox.broadcast(|| Mail::KillSessions(server.clone())),
            Effect::ShutdownBackupSessions(backend) => self.outbox.broadcast(|| Mail::ShutdownBackupSessions(backend.clone())),
            Effect::Reschedule(id) => self.checks.reschedule(&self.fleet, id, &mut self.timers),
            Effect::Listeners(id) => self.apply_service(id),
            Effect::LimitsRaised => self.outbox.ring(),
        }
    }

    /// A line to a proxy's log targets.
    fn report(&mut self, proxy: Proxy, level: Level, text: &str) {
        let channel = match proxy {
            Proxy::Frontend(id) => self.fleet.generation().log_channels.get(id.index()),
            Proxy::Backend(id) => self.channels.backends.get(id.index()),
        };
        if let Some(channel) = channel {
            self.reporter.report(channel, level, text);
        }
    }

    /// A line about the process to the global log targets and standard error.
    pub(super) fn announce(&mut self, level: Level, text: &str) {
        self.reporter.report(&self.channels.global, level, text);
        let severity = match level {
            Level::Emerg | Level::Alert | Level::Crit | Level::Err => Severity::Alert,
            Level::Warning => Severity::Warning,
            _ => Severity::Notice,
        };
        self.console.say(severity, text);
    }

    fn sleep(&mut self) -> Wakes {
        let mut interests: Vec<Interest> = Vec::new();
        self.runtime.interests(&mut interests);
        let deadline = [self.timers.next_due(), self.runtime.next_deadline()].into_iter().flatten().min();
        let timeout = deadline.map_or(PollTimeout::NONE, |due_ms| poll_timeout(due_ms.saturating_sub(ring::now_ms())));
        let bell: &EventFd = self.control_port.bell();
        let mut polled = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(bell.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.reloading.bell().as_fd(), PollFlags::POLLIN),
        ];
        polled.extend(interests.iter().map(|interest| PollFd::new(borrow(interest.descriptor), interest.events)));
        // EINTR and the like mean another turn, nothing else.
        let _ = poll(&mut polled, timeout);
        let events: Vec<PollFlags> = polled.iter().map(|entry| entry.revents().unwrap_or(PollFlags::empty())).collect();
        let (own, clients) = events.split_at(3);
        let rang = |place: usize| own.get(place).is_some_and(|events| !events.is_empty());
        let ready = interests.iter().zip(clients).filter(|(_, events)| !events.is_empty());
        let wakes =
            Wakes { reports: rang(1), reload: rang(2), clients: ready.map(|(interest, events)| (interest.descriptor, *events)).collect() };
        // Bells are read empty before what they announce is taken, so that nothing is missed.
        if wakes.reports {
            let _ = bell.read();
        }
        if wakes.reload {
            let _ = self.reloading.bell().read();
        }
        wakes
    }
}

fn poll_timeout(milliseconds: u64) -> PollTimeout {
    // Longer sleeps end early, which costs one turn a day.
    PollTimeout::try_from(milliseconds.min(86_400_000) as u32).unwrap_or(PollTimeout::ZERO)
}

#[allow(unsafe_code)]
fn borrow<'a>(descriptor: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the runtime server keeps the descriptors of its interests open until it is called again, which is after the poll.
    unsafe { BorrowedFd::borrow_raw(descriptor) }
}
