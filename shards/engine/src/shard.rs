//! One core: a pinned executor with its ring, the shard's own state, and its main loop over the mailbox.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use glommio::{LocalExecutorBuilder, Placement};
use hashbrown::HashMap;
use ringmain_model::{BindId, FrontendId};
use ringmain_policy::log::{LocalTime, LogHandle, Renderer};
use ringmain_policy::record::Cause;
use slab::Slab;

use crate::listen::Listening;
use crate::live::ProcessLive;
use crate::mailbox::{ControlPort, Mail, Port, Report};
use crate::random::Random;
use crate::ring;
use crate::road::Road;
use crate::session::{Ending, Session};
use crate::signal::Signal;
use crate::tables::{self, Tables};
use crate::{drain, mqtt};

/// Mail taken in one turn before sessions run again.
const MAIL_PER_TURN: usize = 64;
/// Sessions looked at in one turn when some are to be ended.
const SESSIONS_PER_TURN: usize = 512;
/// A shard that had at least this many sessions and lost three quarters of them offers memory back to the system.
const PEAK_WORTH_SHRINKING: u32 = 1024;
/// glommio registers this much memory with each of its rings; it needs none of it, as the data path uses the shard's own ring.
const EXECUTOR_MEMORY: usize = 64 * 1024;

/// All that a shard needs to start. It serves nothing until the first `Mail::Publish`.
pub struct ShardSetup {
    /// 0 to the number of shards - 1.
    pub index: usize,
    /// CPU to pin to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// The ring's settings.
    pub ring: ring::Config,
    /// Process-wide live state.
    pub process: Arc<ProcessLive>,
    /// Ports of all shards, this one included, by index.
    pub ports: Vec<Arc<Port>>,
    /// The receiving end of this shard's port.
    pub inbox: Receiver<Mail>,
    /// Reports to the control thread.
    pub control: ControlPort,
    /// Where log lines go.
    pub log: LogHandle,
    /// Makes log lines of records.
    pub renderer: Renderer,
}

/// Starts the shard's thread. The first report is `Report::Started`.
///
/// # Errors
/// When the thread or its executor cannot be made (memlock limit, threads), with the reason in plain words.
pub fn start(setup: ShardSetup) -> Result<JoinHandle<()>, String> {
    let index = setup.index;
    std::thread::Builder::new()
        .name(format!("shard-{index}"))
        .spawn(move || run(setup))
        .map_err(|error| format!("cannot start the thread of shard {index}: {error}"))
}

fn run(setup: ShardSetup) {
    let (index, control) = (setup.index, setup.control.clone());
    let placement = setup.cpu.map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement).io_memory(EXECUTOR_MEMORY).name("shard").make();
    let failure = match executor {
        Ok(executor) => executor.run(async move {
            let config = setup.ring.clone();
            ring::run(config, main(setup)).await.err().map(|error| error.to_string())
        }),
        Err(error) => Some(format!("the executor cannot start: {error}")),
    };
    if let Some(reason) = failure {
        insist(&control, Report::Started { shard: index, ring: Err(reason) });
    }
    insist(&control, Report::Drained { shard: index });
}

/// Sends a report from a thread whose ring has ended, where waiting is allowed.
fn insist(control: &ControlPort, mut report: Report) {
    while let Err(returned) = control.send(report) {
        report = *returned;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// What the shard is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Serving,
    /// No listener any more; sessions finish.
    Draining,
    /// Everything ends.
    Ending,
}

/// A shard's own state. One per thread, for the life of the process.
pub(crate) struct Shard {
    pub index: usize,
    pub process: Arc<ProcessLive>,
    pub ports: Vec<Arc<Port>>,
    pub control: ControlPort,
    pub log: RefCell<LogHandle>,
    pub renderer: RefCell<Renderer>,
    pub random: Random,
    pub hostname: Arc<str>,
    pub local_time: RefCell<Arc<LocalTime>>,
    pub stage: Cell<Stage>,
    pub road: RefCell<Option<Rc<Road>>>,
    pub listeners: RefCell<HashMap<u64, Rc<Listening>>>,
    /// Listeners that are closing, or closed but still hold accepted connections.
    pub closed_listeners: RefCell<Vec<Rc<Listening>>>,
    pub sessions: RefCell<Slab<Rc<Session>>>,
    pub waiters: RefCell<Slab<Option<Waker>>>,
    pub tables: Tables,
    /// Times from CONNECT to CONNACK.
    pub mqtt_times: mqtt::Times,
    /// The pace at which MQTT clients are told to go.
    pub drain_pace: drain::Pace,
    /// Most sessions at once since memory was last offered back.
    peak_load: Cell<u32>,
    /// Raised when a gate may have opened that a held connection waits for.
    pub gate_opened: Signal,
}

/// An accepted connection before it is a session.
pub(crate) struct Arrival {
    pub road: Rc<Road>,
    pub frontend: FrontendId,
    pub bind: BindId,
    pub connection: OwnedFd,
    pub accepted_us: u64,
}

impl Shard {
    /// Waits until every report of this kind is taken; the control thread is never far behind.
    pub async fn report(&self, mut report: Report) {
        while let Err(returned) = self.control.send(report) {
            report = *returned;
            ring::sleep_ms(5).await;
        }
    }

    /// Sessions that live here, as other shards see it.
    pub fn load(&self) -> u32 {
        self.process.loads[self.index].load(Ordering::Relaxed)
    }

    /// Counts a session that begins.
    pub fn session_begins(&self) {
        let load = self.load().saturating_add(1);
        self.process.loads[self.index].store(load, Ordering::Relaxed);
        self.peak_load.set(self.peak_load.get().max(load));
    }

    /// Counts a session that has ended.
    pub fn session_ended(&self) {
        let load = self.load().saturating_sub(1);
        self.process.loads[self.index].store(load, Ordering::Relaxed);
        if self.peak_load.get() >= PEAK_WORTH_SHRINKING && load <= self.peak_load.get() / 4 {
            self.peak_load.set(load);
            // When the channel is full the control thread has better things to do.
            let _ = self.control.send(Report::Shrunk { shard: self.index });
        }
    }

    /// Ends the sessions for which `ending` gives a cause.
    async fn end_sessions(&self, ending: impl Fn(&Session) -> Option<Ending>) {
        self.visit_sessions(|session| {
            if let Some(ending) = ending(session) {
                session.end(ending);
            }
        })
        .await;
    }

    /// Calls `visit` for every session, in bounded steps. Sessions that start meanwhile may be missed.
    pub async fn visit_sessions(&self, visit: impl Fn(&Rc<Session>)) {
        let mut next = 0;
        loop {
            let (chosen, end, all) = {
                let sessions = self.sessions.borrow();
                let end = sessions.capacity().min(next + SESSIONS_PER_TURN);
                ((next..end).filter_map(|key| sessions.get(key).cloned()).collect::<Vec<_>>(), end, sessions.capacity())
            };
            chosen.iter().for_each(&visit);
            if end >= all {
                return;
            }
            next = end;
            ring::yield_now().await;
        }
    }
}

async fn main(setup: ShardSetup) {
    let ShardSetup { index, process, ports, inbox, control, log, renderer, .. } = setup;
    // One shard per thread for the life of the process: a plain reference keeps the futures of sessions small.
    let shard: &'static Shard = Box::leak(Box::new(Shard {
        index,
        process,
        ports,
        control,
        log: RefCell::new(log),
        hostname: renderer.hostname().clone(),
        local_time: RefCell::new(renderer.local_time().clone()),
        renderer: RefCell::new(renderer),
        random: Random::seeded(index as u64),
        stage: Cell::new(Stage::Serving),
        road: RefCell::default(),
        listeners: RefCell::default(),
        closed_listeners: RefCell::default(),
        sessions: RefCell::default(),
        waiters: RefCell::default(),
        tables: Tables::default(),
        mqtt_times: mqtt::Times::default(),
        drain_pace: drain::Pace::default(),
        peak_load: Cell::new(0),
        gate_opened: Signal::default(),
    }));
    shard.ports[index].install_doorbell(ring::doorbell());
    shard
        .report(Report::Started { shard: index, ring: Ok(ring::features().map(|features| features.to_string()).unwrap_or_default()) })
        .await;
    ring::spawn(crate::listen::reopen_gates(shard));
    loop {
        let more = read_mail(shard, &inbox).await;
        if shard.stage.get() == Stage::Ending {
            return;
        }
        if more {
            ring::yield_now().await;
        } else {
            ring::rung().await;
        }
    }
}

/// Takes a bounded amount of mail and all granted waiters; `true` when there may be more.
async fn read_mail(shard: &'static Shard, inbox: &Receiver<Mail>) -> bool {
    wake_granted(shard);
    if shard.process.parked[shard.index].load(Ordering::Acquire) {
        shard.gate_opened.raise();
    }
    for _ in 0..MAIL_PER_TURN {
        let Ok(mail) = inbox.try_recv() else { return false };
        handle(shard, mail).await;
    }
    true
}

fn wake_granted(shard: &Shard) {
    while let Some(waiter) = shard.ports[shard.index].next_granted() {
        let waker = shard.waiters.borrow_mut().get_mut(waiter.token as usize).and_then(Option::take);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

async fn handle(shard: &'static Shard, mail: Mail) {
    match mail {
        Mail::Publish(publication) => {
            let generation = publication.generation.number;
            tables::adopt(shard, &publication.generation);
            let closing = crate::listen::adopt(shard, &publication);
            ring::spawn(async move {
                // The next generation may want an address that this one has left.
                for listening in closing {
                    listening.closed().await;
                }
                shard.report(Report::Adopted { shard: shard.index, generation }).await;
            });
        }
        Mail::Table(mail) => tables::serve(shard, *mail),
        Mail::TableAnswer(token, answer) => tables::take_answer(shard, token, answer),
        Mail::TableOrder(order) => {
            // Nobody waits for the answer any more when this fails.
            let _ = order.reply.try_send(tables::apply(shard, &order.table, &order.request));
        }
        Mail::Handover(handover) => crate::listen::take_over(shard, handover),
        Mail::Probe(probe) => ring::spawn(crate::check::probe(shard, probe)),
        Mail::ShutdownSessions(server) => {
            let ending = move |session: &Session| session.is_on(&server).then_some(Ending::new(Cause::Down));
            ring::spawn(async move { shard.end_sessions(ending).await });
        }
        Mail::KillSessions(server) => {
            let ending = move |session: &Session| session.is_on(&server).then_some(Ending::new(Cause::Killed));
            ring::spawn(async move { shard.end_sessions(ending).await });
        }
        Mail::DrainMqtt(server) => ring::spawn(drain::leave_server(shard, server)),
        Mail::KillFrontendSessions(frontend) => {
            let ending = move |session: &Session| session.came_through(&frontend).then_some(Ending::new(Cause::Killed));
            ring::spawn(async move { shard.end_sessions(ending).await });
        }
        Mail::ShutdownBackupSessions(backend) => {
            let ending = move |session: &Session| session.is_on_backup_of(&backend).then_some(Ending::new(Cause::Up));
            ring::spawn(async move { shard.end_sessions(ending).await });
        }
        Mail::ShutdownGenerationsBefore(number) => {
            let ending = move |session: &Session| (session.generation() < number).then_some(Ending::new(Cause::Killed));
            ring::spawn(async move { shard.end_sessions(ending).await });
        }
        Mail::SetAccepting(key, accepting) => crate::listen::set_accepting(shard, key, accepting),
        Mail::SetLocalTime(local_time) => {
            shard.renderer.borrow_mut().set_local_time(local_time.clone());
            *shard.local_time.borrow_mut() = local_time;
        }
        Mail::FlushCounters(ticket) => {
            ring::spawn(async move {
                shard.visit_sessions(|session| crate::record::flush_served(session)).await;
                shard.mqtt_times.flush();
                *shard.process.rings[shard.index].lock().unwrap_or_else(PoisonError::into_inner) = ring::counters();
                ticket.done();
            });
        }
        Mail::SoftStop => {
            shard.stage.set(Stage::Draining);
            crate::listen::close_all(shard);
            ring::spawn(drain::stop(shard));
            ring::spawn(report_drained(shard));
        }
        Mail::HardStop => {
            shard.stage.set(Stage::Ending);
            // Its task waits for nothing that the end of the ring would wake.
            shard.gate_opened.raise();
        }
    }
}

/// Tells the control thread when the last session of the process has gone, as until then another shard may hand one over; the shard itself
/// lives on until `HardStop`.
async fn report_drained(shard: &'static Shard) {
    while shard.process.sessions.inside() != 0 || !shard.closed_listeners.borrow().is_empty() {
        ring::sleep_ms(20).await;
    }
    shard.report(Report::Drained { shard: shard.index }).await;
}
