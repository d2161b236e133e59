//! Listening: one accept task per socket, connections that wait for admission, hand-over to lighter shards.
//!
//! A connection that finds a gate closed is held, its listener pauses, and later ones wait in the kernel's backlog; so limits queue
//! connections and never refuse them, as in HAProxy.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmain_model::{BindId, FrontendId};

use crate::admission::{self, Held, Obstacle};
use crate::mailbox::{Handover, Mail, Publication, Report};
use crate::ring::{self, Listener};
use crate::road::Road;
use crate::session;
use crate::shard::{Arrival, Shard, Stage};
use crate::signal::{Either, Signal, race};
use crate::socket;

/// Sessions by which a shard must lead the lightest one, beside an eighth of the load, before it hands connections over. Short
/// connections even out by themselves; only a lasting lead is worth two wake-ups.
const HANDOVER_LEAD: u32 = 16;
/// How long a frontend over its session rate waits before it looks again.
const RATE_RETRY_MS: u64 = 20;
/// Connections accepted in a row before sessions have their turn.
const ACCEPTS_PER_TURN: u32 = 128;

/// A listening socket of this shard. Its accept task owns the socket; this is how others steer the task.
pub(crate) struct Listening {
    place: RefCell<Place>,
    /// Another descriptor of the socket: for its options, and for what is still in its backlog when it closes.
    spare: RefCell<Option<OwnedFd>>,
    wanted: Cell<Wanted>,
    changed: Signal,
    /// Accepted, waiting for a gate, oldest first. Bounded by what one reap of the ring can bring, as the listener pauses.
    held: RefCell<VecDeque<Held>>,
    /// Its accept task is there.
    open: Cell<bool>,
    /// Raised when the socket is closed.
    gone: Signal,
}

/// What connections of a listener belong to; replaced by a reload.
#[derive(Clone)]
struct Place {
    road: Rc<Road>,
    frontend: FrontendId,
    bind: BindId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Accepting,
    /// Stopped by an operator.
    Stopped,
    Closed,
}

/// Swaps to a new generation: keeps the listeners it names, starts new ones, closes the others, and returns these.
pub(crate) fn adopt(shard: &'static Shard, publication: &Publication) -> Vec<Rc<Listening>> {
    let road = Rc::new(Road::new(publication.generation.clone(), shard.index));
    *shard.road.borrow_mut() = Some(road.clone());
    let mails = publication.listeners.get(shard.index).map(|mails| {
        let mut mails = mails.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::take(&mut *mails)
    });
    let mails = mails.unwrap_or_default();
    let closing = close(shard, |key| !mails.iter().any(|mail| mail.key == key));
    for mail in mails {
        let place = Place { road: road.clone(), frontend: mail.frontend, bind: mail.bind };
        let known = shard.listeners.borrow().get(&mail.key).cloned();
        match (known, mail.socket) {
            (Some(listening), _) => listening.belong_to(place),
            (None, Some(socket)) => open(shard, mail.key, place, socket),
            // The control thread believes that this shard has the socket; without it there is nothing to listen on.
            (None, None) => debug_assert!(false, "listener {} was never sent", mail.key),
        }
    }
    shard.gate_opened.raise();
    closing
}

/// Closes every listener (soft stop).
pub(crate) fn close_all(shard: &Shard) {
    close(shard, |_| true);
}

/// Closes the listeners with these keys. They stay in the shard's sight until nobody waits in them any more.
fn close(shard: &Shard, goes: impl Fn(u64) -> bool) -> Vec<Rc<Listening>> {
    let closing: Vec<_> = shard.listeners.borrow_mut().extract_if(|key, _| goes(*key)).map(|(_, listening)| listening).collect();
    closing.iter().for_each(|listening| listening.close());
    shard.closed_listeners.borrow_mut().extend(closing.iter().cloned());
    closing
}

/// Stops or resumes one listener by order of an operator.
pub(crate) fn set_accepting(shard: &Shard, key: u64, accepting: bool) {
    if let Some(listening) = shard.listeners.borrow().get(&key) {
        listening.wanted.set(if accepting { Wanted::Accepting } else { Wanted::Stopped });
        listening.changed.raise();
    }
}

impl Listening {
    /// Connections accepted from now on belong to this place.
    fn belong_to(&self, place: Place) {
        let keepalive = place.road.frontend(place.frontend).options.client_tcp_keepalive;
        if let Some(socket) = &*self.spare.borrow() {
            // Connections without these options are still connections.
            let _ = socket::prepare_listener(socket, keepalive, &place.road.model().global.tuning);
        }
        *self.place.borrow_mut() = place;
    }

    fn close(&self) {
        self.wanted.set(Wanted::Closed);
        self.changed.raise();
    }

    /// Waits until the address is free again. For one task, once the listener was told to close.
    pub fn closed(&self) -> impl Future<Output = ()> + '_ {
        self.gone.taken()
    }

    /// Whether connections may still come out of it.
    fn is_of_use(&self) -> bool {
        self.open.get() || !self.held.borrow().is_empty()
    }
}

fn open(shard: &'static Shard, key: u64, place: Place, socket: OwnedFd) {
    let listening = Rc::new(Listening {
        place: RefCell::new(place.clone()),
        spare: RefCell::new(socket.try_clone().ok()),
        wanted: Cell::new(Wanted::Accepting),
        changed: Signal::default(),
        held: RefCell::default(),
        open: Cell::new(true),
        gone: Signal::default(),
    });
    listening.belong_to(place);
    shard.listeners.borrow_mut().insert(key, listening.clone());
    ring::spawn(accept_all(shard, listening, socket));
}

async fn accept_all(shard: &'static Shard, listening: Rc<Listening>, socket: OwnedFd) {
    let listener = Listener::adopt(socket);
    let (mut in_trouble, mut in_a_row) = (false, 0);
    loop {
        if in_a_row == ACCEPTS_PER_TURN {
            in_a_row = 0;
            ring::yield_now().await;
        }
        match race(listening.changed.taken(), listener.accept()).await {
            Either::Left(()) => match listening.wanted.get() {
                Wanted::Closed => break,
                Wanted::Accepting if listening.held.borrow().is_empty() => listener.resume(),
                Wanted::Accepting | Wanted::Stopped => listener.pause(),
            },
            Either::Right(Ok(accepted)) => {
                in_trouble = false;
                in_a_row += 1;
                arrive(shard, &listening, accepted.fd);
            }
            Either::Right(Err(error)) => {
                shard.process.counters[shard.index].accept_errors.add(1);
                if !std::mem::replace(&mut in_trouble, true) {
                    let error = error.raw_os_error().unwrap_or(0);
                    shard.report(Report::AcceptTrouble { shard: shard.index, error }).await;
                }
            }
        }
    }
    // What was connected before the close is served: the kernel would reset it.
    listener.pause();
    while let Some(accepted) = listener.take_last().await {
        arrive(shard, &listening, accepted.fd);
    }
    drop(listener);
    let spare = listening.spare.take();
    while let Some(Ok(connection)) = spare.as_ref().map(accept_now) {
        arrive(shard, &listening, connection);
    }
    drop(spare);
    // The ring closes its descriptor when it is next entered.
    ring::yield_now().await;
    listening.open.set(false);
    listening.gone.raise();
    shard.gate_opened.raise();
}

fn accept_now(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let (connection, _) = socket2::SockRef::from(listener).accept()?;
    connection.set_nonblocking(true)?;
    Ok(connection.into())
}

/// A connection was accepted: admit it, or hold it and pause.
fn arrive(shard: &'static Shard, listening: &Rc<Listening>, connection: OwnedFd) {
    let place = listening.place.borrow().clone();
    let arrival = Arrival { road: place.road, frontend: place.frontend, bind: place.bind, connection, accepted_us: ring::now_us() };
    shard.process.counters[shard.index].connections.add(1);
    arrival.road.generation.frontend(arrival.frontend).counters[shard.index].connections.add(1);
    let first = listening.held.borrow().is_empty();
    match first && admission::enter(shard, &arrival).is_ok() {
        true => admit(shard, arrival),
        false => {
            listening.held.borrow_mut().push_back(Held::new(shard, arrival));
            shard.process.parked[shard.index].store(true, Ordering::SeqCst);
            listening.changed.raise();
            // Somebody may have left between the refusal and the flag.
            shard.gate_opened.raise();
        }
    }
}

/// Serves an admitted connection here, or on a shard that has noticeably less to do.
fn admit(shard: &'static Shard, arrival: Arrival) {
    let (lightest, load) = shard.process.lightest();
    let lead = shard.load().saturating_sub(load);
    if lightest == shard.index || shard.stage.get() != Stage::Serving || lead <= HANDOVER_LEAD + load / 8 {
        return session::start(shard, arrival);
    }
    let handover = Handover {
        generation: arrival.road.generation.clone(),
        frontend: arrival.frontend,
        bind: arrival.bind,
        socket: arrival.connection,
        accepted_us: arrival.accepted_us,
    };
    // Counted before it is sent: a burst must not all go to a shard that has not had time to notice.
    shard.process.handed[lightest].fetch_add(1, Ordering::Relaxed);
    match shard.ports[lightest].send(Mail::Handover(handover)) {
        Ok(()) => shard.process.counters[shard.index].handed_over.add(1),
        // Its mailbox is full: it is not as idle as it looked.
        Err(mail) => {
            shard.process.handed[lightest].fetch_sub(1, Ordering::Relaxed);
            if let Mail::Handover(handover) = *mail {
                session::start(
                    shard,
                    Arrival {
                        road: arrival.road,
                        frontend: arrival.frontend,
                        bind: arrival.bind,
                        connection: handover.socket,
                        accepted_us: arrival.accepted_us,
                    },
                );
            }
        }
    }
}

/// Serves a connection that another shard accepted and admitted.
pub(crate) fn take_over(shard: &'static Shard, handover: Handover) {
    let current = shard.road.borrow().clone();
    let road = match current {
        Some(road) if Arc::ptr_eq(&road.generation, &handover.generation) => road,
        _ => Rc::new(Road::new(handover.generation, shard.index)),
    };
    let Handover { frontend, bind, socket, accepted_us, .. } = handover;
    session::start(shard, Arrival { road, frontend, bind, connection: socket, accepted_us });
    shard.process.handed[shard.index].fetch_sub(1, Ordering::Relaxed);
}

/// Admits held connections when a gate has opened, for the life of the shard.
pub(crate) async fn reopen_gates(shard: &'static Shard) {
    let mut rate_limited = false;
    loop {
        if rate_limited {
            race(shard.gate_opened.taken(), ring::sleep_ms(RATE_RETRY_MS)).await;
        } else {
            shard.gate_opened.taken().await;
        }
        if shard.stage.get() == Stage::Ending {
            return;
        }
        let listeners: Vec<_> = shard.listeners.borrow().values().chain(shard.closed_listeners.borrow().iter()).cloned().collect();
        rate_limited = false;
        let mut holding = false;
        for listening in listeners {
            match admit_held(shard, &listening) {
                Ok(()) => {}
                Err(obstacle) => {
                    holding = true;
                    rate_limited |= matches!(obstacle, Obstacle::Rate);
                }
            }
        }
        shard.closed_listeners.borrow_mut().retain(|listening| listening.is_of_use());
        shard.process.parked[shard.index].store(holding, Ordering::SeqCst);
    }
}

fn admit_held(shard: &'static Shard, listening: &Rc<Listening>) -> Result<(), Obstacle> {
    let mut admitted = false;
    loop {
        let entered = listening.held.borrow_mut().front_mut().map(|first| first.try_enter(shard)).transpose()?;
        let Some(mut held) = entered.and_then(|()| listening.held.borrow_mut().pop_front()) else { break };
        admitted = true;
        // Its time begins now, as if the kernel had kept it until now.
        held.arrival.accepted_us = ring::now_us();
        admit(shard, held.arrival);
    }
    if admitted {
        listening.changed.raise();
    }
    Ok(())
}
