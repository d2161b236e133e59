//! Route, balance and connect: from an accepted connection to a connected server, with queues, retries and redispatch.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use ringmain_model::{Backend, BackendId, Balance, Milliseconds};
use ringmain_policy::balance::{Choice, Input, Key, Load};
use ringmain_policy::queue::{Admission, admit, joins_backend_queue};
use ringmain_policy::record::{Cause, Phase, Termination};
use ringmain_policy::retry::{self, Retry};

use crate::connect::{self, Failure};
use crate::live::{BackendLive, Grant, Queue, Slot, Snapshot, SnapshotServer, Waiter};
use crate::mailbox::Report;
use crate::ring::{self, Sock};
use crate::route::Preference;
use crate::session::Session;
use crate::signal::{Either, race};
use crate::watch::{Interruption, interruption};
use crate::{pace, stick};

/// Picks that may be lost to other shards before a session queues up.
const PICK_ROUNDS: usize = 4;

/// No server can be used.
pub(crate) const NO_SERVER: Termination = Termination { cause: Cause::ServerAbort, phase: Phase::Connect };

/// A chosen server with a slot on it.
struct Chosen {
    snapshot: Arc<Snapshot>,
    position: usize,
}

/// One search for a server, with what it keeps over retries.
struct Search<'a> {
    session: &'a Session,
    id: BackendId,
    backend: &'a Backend,
    live: &'a Arc<BackendLive>,
    preference: RefCell<Preference>,
}

/// The road of a session without rules: the default backend, and balancing alone.
///
/// # Errors
/// How the session ends without a server.
pub(crate) async fn reach_default(session: &Session) -> Result<Sock, Termination> {
    match enter(session, session.frontend_config().route) {
        Some(id) => reach(session, id, Preference::default()).await,
        None => Err(NO_SERVER),
    }
}

/// Counts the session in its backend; `None` when there is none that works.
pub(crate) fn enter(session: &Session, route: Option<BackendId>) -> Option<BackendId> {
    let id = route.filter(|&id| !session.road.model().backend(id).disabled)?;
    let live = session.road.generation.backend(id);
    live.sessions.enter();
    live.session_rate.add(ring::now_ms(), 1);
    live.counters[session.shard.index].sessions.add(1);
    session.assigned.backend.set(Some(id));
    Some(id)
}

/// Finds a server of a backend and connects to it.
///
/// # Errors
/// How the session ends without one.
pub(crate) async fn reach(session: &Session, id: BackendId, preference: Preference) -> Result<Sock, Termination> {
    let live = session.road.generation.backend(id);
    let search = Search { session, id, backend: session.road.model().backend(id), live, preference: RefCell::new(preference) };
    let mut chosen = search.choose_and_claim(None).await?;
    loop {
        chosen = search.pace(chosen).await?;
        let failure = match connect::attempt(session, id, &chosen.snapshot, chosen.position).await {
            Ok(sock) => {
                search.note_success(&chosen);
                return Ok(sock);
            }
            Err(Failure::Interrupted(termination)) => return Err(termination),
            Err(failure) => failure,
        };
        chosen = search.after_failure(chosen, failure).await?;
    }
}

impl Search<'_> {
    /// Chooses a server, and lets the session's keys stick to it; where another session was faster, goes where that one went.
    async fn choose_and_claim(&self, avoid: Option<&str>) -> Result<Chosen, Termination> {
        let mut chosen = self.choose(avoid).await?;
        if self.session.extra.borrow().is_none() {
            return Ok(chosen);
        }
        if let Some(position) = stick::claim(self.session, &chosen.snapshot, chosen.position).await {
            let winner = chosen.snapshot.servers[position].live.clone();
            if avoid != Some(&*winner.name) {
                drop(self.session.assigned.slot.take());
                self.preference.replace(Preference { server: Some(winner), persistent: true, hash: None });
                chosen = self.choose(avoid).await?;
            }
        }
        Ok(chosen)
    }

    /// Waits for the session's moment to connect, where the server's rate of new connections is limited. A session that does not stick to
    /// its server goes to another one, once, when that moment is too far away.
    async fn pace(&self, mut chosen: Chosen) -> Result<Chosen, Termination> {
        for may_move in [true, false] {
            let server = &chosen.snapshot.servers[chosen.position];
            let rate = chosen.snapshot.model.server(server.id).maxconnrate;
            if rate == 0 {
                break;
            }
            let latest_ms = self.backend.timeouts.queue.map(|timeout| ring::now_ms() + timeout.get());
            match pace::wait(self.session, server, rate, latest_ms, self.backend.options.abort_on_close).await {
                Ok(()) => {
                    self.session.assigned.assigned_us.set(ring::now_us());
                    break;
                }
                Err(pace::Refused::Ended(termination)) => return Err(termination),
                Err(pace::Refused::TooMany) if may_move && !self.preference.borrow().persistent => {
                    let full = server.live.clone();
                    drop(self.session.assigned.slot.take());
                    chosen = self.choose_and_claim(Some(&full.name)).await?;
                    if Arc::ptr_eq(&chosen.snapshot.servers[chosen.position].live, &full) {
                        return Err(pace::NO_MOMENT);
                    }
                }
                Err(pace::Refused::TooMany) => return Err(pace::NO_MOMENT),
            }
        }
        Ok(chosen)
    }

    /// The server that the session prefers, if it can be used.
    fn preferred(&self, snapshot: &Snapshot, exclude: Option<usize>) -> Option<Choice> {
        let preference = self.preference.borrow();
        let position = snapshot.position(preference.server.as_ref()?)?;
        let forced = || self.backend.options.persist || self.session.extra.borrow().as_ref().is_some_and(|extra| extra.forces_persistence);
        (Some(position) != exclude && (snapshot.servers[position].runs || forced())).then_some(Choice::Server(position))
    }

    /// Chooses a server and takes a slot on it, waiting in a queue where slots are full.
    async fn choose(&self, avoid: Option<&str>) -> Result<Chosen, Termination> {
        let session = self.session;
        let mut patience_ms = self.backend.timeouts.queue.map(Milliseconds::get).map(|timeout| ring::now_ms() + timeout);
        for round in 0.. {
            let snapshot = session.road.snapshot(self.id);
            let exclude = avoid.and_then(|name| snapshot.servers.iter().position(|server| &*server.live.name == name));
            let served = self.live.sessions.inside().saturating_sub(self.live.queue.len() + 1);
            let must_wait = avoid.is_none() && joins_backend_queue(self.backend.balance, self.live.queue.len(), served);
            let preferred = self.preferred(&snapshot, exclude);
            let choice = match preferred {
                Some(choice) => choice,
                None if must_wait && snapshot.picker.has_servers() => Choice::Full,
                None => self.pick(&snapshot, exclude),
            };
            let position = match choice {
                Choice::NoServer => return Err(NO_SERVER),
                Choice::Full => None,
                Choice::Server(position) => {
                    let server = &snapshot.servers[position];
                    if let Some(slot) = self.live.take_slot(server) {
                        if preferred.is_none() {
                            self.count_choice(server);
                        }
                        return Ok(self.assign(snapshot, position, slot));
                    }
                    let queued = server.live.queue.len();
                    match admit(self.live.limit(server), server.live.active.load(Ordering::Relaxed), queued, server.maxqueue) {
                        // Another shard was faster, or somebody waits in the backend's queue.
                        Admission::Connect if round < PICK_ROUNDS => continue,
                        Admission::Connect | Admission::QueueFull => None,
                        Admission::WaitForServer => Some(position),
                    }
                }
            };
            let grant = match position {
                Some(position) => {
                    self.count_choice(&snapshot.servers[position]);
                    self.wait(&snapshot.servers[position].live.queue, &snapshot, Some(position), &mut patience_ms).await?
                }
                None => self.wait(&self.live.queue, &snapshot, None, &mut patience_ms).await?,
            };
            let Grant::Server(server) = grant else { continue };
            let slot = self.live.granted_slot(server);
            let snapshot = session.road.snapshot(self.id);
            if let Some(position) = snapshot.position(slot.server()) {
                return Ok(self.assign(snapshot, position, slot));
            }
            // The server left the configuration between the grant and now: its slot is given back, and the choice is made anew.
        }
        Err(NO_SERVER)
    }

    fn pick(&self, snapshot: &Snapshot, exclude: Option<usize>) -> Choice {
        let session = self.session;
        let preference = self.preference.borrow();
        let key = match (self.backend.balance, session.client_address.ip(), &preference.hash) {
            (Balance::Source, Some(address), _) => Key::Address(address),
            (Balance::Hash, _, Some(hash)) => Key::Bytes(hash),
            _ => Key::None,
        };
        snapshot.picker.pick(Input {
            ticket: &self.live.ticket,
            key,
            load: |position: usize| self.load(&snapshot.servers[position]),
            random: || session.shard.random.next(),
            exclude,
        })
    }

    fn load(&self, server: &SnapshotServer) -> Load {
        Load {
            active: server.live.active.load(Ordering::Relaxed),
            queued: server.live.queue.len(),
            limit: self.live.limit(server),
            queue_limit: server.maxqueue,
            changed: server.live.changed.load(Ordering::Relaxed),
        }
    }

    /// Counts a choice by balancing, whether the session goes there at once or waits for this very server; one that takes whichever server
    /// becomes free first was not chosen for.
    fn count_choice(&self, server: &SnapshotServer) {
        let shard = self.session.shard.index;
        server.live.counters[shard].selected.add(1);
        self.live.counters[shard].selected.add(1);
    }

    /// Notes the server in the session's facts and counters.
    fn assign(&self, snapshot: Arc<Snapshot>, position: usize, slot: Slot) -> Chosen {
        let (session, server) = (self.session, &snapshot.servers[position]);
        let shard = session.shard.index;
        let counters = &server.live.counters[shard];
        counters.sessions.add(1);
        counters.last_session_ms.set(ring::now_ms());
        server.live.session_rate.add(ring::now_ms(), 1);
        self.live.counters[shard].last_session_ms.set(ring::now_ms());
        let assigned = &session.assigned;
        assigned.server_is_backup.set(snapshot.model.server(server.id).backup);
        *assigned.server.borrow_mut() = Some(server.live.clone());
        assigned.assigned_us.set(ring::now_us());
        let previous = assigned.slot.replace(Some(slot));
        drop(previous);
        Chosen { snapshot, position }
    }

    /// Waits in a queue for a slot.
    async fn wait(
        &self,
        queue: &Queue,
        snapshot: &Snapshot,
        position: Option<usize>,
        patience_ms: &mut Option<u64>,
    ) -> Result<Grant, Termination> {
        let (session, shard) = (self.session, self.session.shard);
        let token = shard.waiters.borrow_mut().insert(None);
        let ticket = shard.process.next_waiter.fetch_add(1, Ordering::Relaxed);
        let waiter = Waiter::new(ticket, shard.ports[shard.index].clone(), token as u32);
        let place = Place { session, live: self.live, queue, waiter, taken: Cell::new(false) };
        let before = queue.push(place.waiter.clone());
        session.assigned.queued.set(true);
        match position {
            Some(_) => session.assigned.server_queue.set(before + 1),
            None => session.assigned.backend_queue.set(before + 1),
        }
        // A slot may have been freed between the choice and the push, or the servers have changed: then those who waited for one that went
        // were sent to choose again before this session stood among them.
        let now = session.road.snapshot(self.id);
        match position {
            Some(_) if !std::ptr::eq(&*now, snapshot) => return Ok(Grant::Rethink),
            Some(position) => self.live.serve_queues(&snapshot.servers[position].live),
            None => now.servers.iter().for_each(|server| self.live.serve_queues(&server.live)),
        }
        drop(now);
        let interrupted = interruption(session, *patience_ms, self.backend.options.abort_on_close);
        let interruption = match race(place.granted(), interrupted).await {
            Either::Left(grant) => return Ok(place.take(grant)),
            Either::Right(interruption) => interruption,
        };
        match (interruption, place.waiter.give_up()) {
            // Granted at the very moment the time was up: it may as well be used.
            (Interruption::Deadline, Some(grant)) => Ok(place.take(grant)),
            _ => {
                let timeout = Termination { cause: Cause::ServerTimeout, phase: Phase::Queue };
                Err(interruption.termination(Phase::Queue).unwrap_or(timeout))
            }
        }
    }

    /// Again, elsewhere, or give up.
    async fn after_failure(&self, chosen: Chosen, failure: Failure) -> Result<Chosen, Termination> {
        let (session, shard) = (self.session, self.session.shard.index);
        let server = &chosen.snapshot.servers[chosen.position];
        server.live.counters[shard].connects.add(1);
        self.note_error(&chosen, failure);
        let retries_made = session.assigned.retries.get();
        let settings = retry::Settings {
            retries: self.backend.retries,
            redispatch_interval: self.backend.redispatch_interval,
            connect_timeout_ms: self.backend.timeouts.connect.map(Milliseconds::get),
            balance: self.backend.balance,
        };
        let current = session.road.snapshot(self.id);
        let facts = retry::Failure {
            retries_made,
            timed_out: matches!(failure, Failure::TimedOut),
            server_not_running: !current.position(&server.live).is_some_and(|place| current.servers[place].usable),
            active_servers: current.active_servers,
            persistent: self.preference.borrow().persistent,
        };
        let decision = retry::after_failure(facts, settings);
        let (Retry::SameServer { delay_ms } | Retry::Redispatch { delay_ms }) = decision else {
            self.count_failed_session(&chosen);
            return Err(final_termination(failure));
        };
        session.assigned.retries.set(retries_made + 1);
        if delay_ms > 0 {
            let deadline_ms = Some(ring::now_ms() + delay_ms);
            let interrupted = interruption(session, deadline_ms, self.backend.options.abort_on_close).await;
            if let Some(termination) = interrupted.termination(Phase::Connect) {
                return Err(termination);
            }
        }
        if let Retry::SameServer { .. } = decision {
            // Each attempt is a session of the server, as in HAProxy.
            server.live.counters[shard].sessions.add(1);
            server.live.session_rate.add(ring::now_ms(), 1);
            server.live.counters[shard].retries.add(1);
            self.live.counters[shard].retries.add(1);
            // Its address may have changed meanwhile; if it has left the configuration, the old one is still as good as any.
            return Ok(match current.position(&server.live) {
                Some(position) => Chosen { snapshot: current, position },
                None => chosen,
            });
        }
        drop(session.assigned.slot.take());
        self.preference.borrow_mut().persistent = false;
        let next = self.choose_and_claim(Some(&server.live.name)).await?;
        if Arc::ptr_eq(&next.snapshot.servers[next.position].live, &server.live) {
            server.live.counters[shard].retries.add(1);
            self.live.counters[shard].retries.add(1);
        } else {
            session.assigned.redispatched.set(true);
            server.live.counters[shard].redispatches.add(1);
            self.live.counters[shard].redispatches.add(1);
        }
        Ok(next)
    }

    fn note_success(&self, chosen: &Chosen) {
        let (session, server) = (self.session, &chosen.snapshot.servers[chosen.position]);
        session.assigned.connected_us.set(ring::now_us());
        server.live.counters[session.shard.index].connects.add(1);
        self.live.counters[session.shard.index].connects.add(1);
        if server.live.consecutive_errors.load(Ordering::Relaxed) != 0 {
            server.live.consecutive_errors.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a failed attempt for `observe layer4`.
    fn note_error(&self, chosen: &Chosen, failure: Failure) {
        let server = &chosen.snapshot.servers[chosen.position];
        let config = chosen.snapshot.model.server(server.id);
        if config.observe.is_none() || matches!(failure, Failure::Local | Failure::Interrupted(_)) {
            return;
        }
        let errors = server.live.consecutive_errors.fetch_add(1, Ordering::Relaxed) + 1;
        if errors >= config.error_limit {
            server.live.consecutive_errors.store(0, Ordering::Relaxed);
            let (shard, server) = (self.session.shard, server.live.clone());
            ring::spawn(async move { shard.report(Report::ErrorLimit(server)).await });
        }
    }

    fn count_failed_session(&self, chosen: &Chosen) {
        let shard = self.session.shard.index;
        chosen.snapshot.servers[chosen.position].live.counters[shard].connect_errors.add(1);
        self.live.counters[shard].connect_errors.add(1);
    }
}

fn final_termination(failure: Failure) -> Termination {
    let cause = match failure {
        Failure::TimedOut => Cause::ServerTimeout,
        Failure::Local => Cause::Resource,
        Failure::Refused => Cause::ServerAbort,
        Failure::Interrupted(termination) => return termination,
    };
    Termination { cause, phase: Phase::Connect }
}

/// A place in a queue; leaving it, however that happens, takes the session out of the queue and gives a late grant back.
struct Place<'a> {
    session: &'a Session,
    live: &'a Arc<BackendLive>,
    queue: &'a Queue,
    waiter: Arc<Waiter>,
    taken: Cell<bool>,
}

impl Place<'_> {
    /// The caller uses the grant: it is not given back.
    fn take(&self, grant: Grant) -> Grant {
        self.taken.set(true);
        grant
    }

    fn granted(&self) -> impl Future<Output = Grant> {
        poll_fn(|context| {
            if let Some(grant) = self.waiter.grant() {
                return Poll::Ready(grant);
            }
            if let Some(waker) = self.session.shard.waiters.borrow_mut().get_mut(self.waiter.token as usize) {
                *waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        match self.waiter.give_up() {
            None => self.queue.remove(&self.waiter),
            Some(Grant::Server(server)) if !self.taken.get() => drop(self.live.granted_slot(server)),
            Some(_) => {}
        }
        self.session.shard.waiters.borrow_mut().try_remove(self.waiter.token as usize);
    }
}
