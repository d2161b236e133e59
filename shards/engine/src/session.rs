//! The road of a connection, top to bottom: accept -> route -> balance -> connect -> forward -> record.
//!
//! `listen` admits a connection and calls `start`; everything that happens to it afterwards is in `serve`, stage by stage. A session is one
//! task; its facts are in `Session`, which the shard's table also holds so that sessions can be ended by order.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ringmain_model::{BackendId, BindId, Frontend, FrontendId, Scope};
use ringmain_policy::record::{Cause, Phase, Termination};

use crate::extra::Extra;
use crate::forward::{End, Meter, Way};
use crate::held::HoldCell;
use crate::live::{BackendLive, FrontendLive, ServerLive, Slot};
use crate::record::Address;
use crate::ring::{self, S, Sock, Timer};
use crate::road::Pin;
use crate::shard::{Arrival, Shard};
use crate::signal::Signal;
use crate::{action, admission, assign, exchange, forward, mqtt, prepare, record, response, socket};

/// An order to end a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub cause: Cause,
    /// The client is told first, with this reason code of MQTT, if the session can do that.
    pub disconnect: Option<u8>,
}

impl Ending {
    pub fn new(cause: Cause) -> Self {
        Self { cause, disconnect: None }
    }

    pub fn termination(self) -> Termination {
        Termination { cause: self.cause, phase: Phase::Done }
    }
}

/// The facts of one session.
pub(crate) struct Session {
    pub shard: &'static Shard,
    pub road: Pin,
    pub frontend: FrontendId,
    pub bind: BindId,
    pub client: S,
    pub client_address: Address,
    pub accepted_us: u64,
    pub accepted_wall_us: u64,
    pub number: u32,
    key: Cell<u32>,
    ending: Cell<Option<Ending>>,
    pub ended: Signal,
    pub timer: Timer,
    /// From the client to the server.
    pub up: Meter,
    /// From the server to the client.
    pub down: Meter,
    /// Bytes already in the counters.
    pub flushed_in: Cell<u64>,
    /// Bytes already in the counters.
    pub flushed_out: Cell<u64>,
    /// What only some sessions have.
    pub extra: RefCell<Option<Box<Extra>>>,
    /// What rules look at, while they do.
    pub hold: HoldCell,
    pub assigned: Assigned,
}

/// What became of the search for a server.
#[derive(Default)]
pub(crate) struct Assigned {
    /// Set while the session counts in its backend.
    pub backend: Cell<Option<BackendId>>,
    /// The last server tried is a backup.
    pub server_is_backup: Cell<bool>,
    /// The last server tried; outlives the slot, for counters and the log line.
    pub server: RefCell<Option<Arc<ServerLive>>>,
    /// The slot held there.
    pub slot: RefCell<Option<Slot>>,
    pub retries: Cell<u32>,
    pub redispatched: Cell<bool>,
    pub queued: Cell<bool>,
    pub server_queue: Cell<u32>,
    pub backend_queue: Cell<u32>,
    pub assigned_us: Cell<u64>,
    pub connected_us: Cell<u64>,
    pub logged: Cell<bool>,
}

/// A session's meter of the direction from the client to the server.
#[derive(Clone)]
pub(crate) struct Up(pub Rc<Session>);

impl AsRef<Meter> for Up {
    fn as_ref(&self) -> &Meter {
        &self.0.up
    }
}

/// A session's meter of the direction from the server to the client.
#[derive(Clone)]
pub(crate) struct Down(pub Rc<Session>);

impl AsRef<Meter> for Down {
    fn as_ref(&self) -> &Meter {
        &self.0.down
    }
}

impl Way for Up {
    fn has_first(&self) -> bool {
        mqtt::follows_client(&self.0)
    }

    fn first(self, from: S, to: S) -> impl Future<Output = Option<End>> {
        mqtt::follow_client(self.0, from, to)
    }
}

impl Way for Down {
    fn has_first(&self) -> bool {
        response::is_planned(&self.0) || mqtt::follows_server(&self.0)
    }

    fn first(self, from: S, to: S) -> impl Future<Output = Option<End>> {
        async move {
            if response::is_planned(&self.0)
                && let Some(end) = response::inspect(self.0.clone(), from, to).await
            {
                return Some(end);
            }
            mqtt::follow_server(self.0, from, to).await
        }
    }
}

/// Starts a session for an admitted connection.
pub(crate) fn start(shard: &'static Shard, arrival: Arrival) {
    if let Some((session, client)) = Session::open(shard, arrival) {
        ring::spawn(serve(session, client));
    }
}

fn serve(session: Rc<Session>, client: Sock) -> impl Future<Output = ()> {
    async move {
        let reached = match session.road.run(session.frontend).has_rules {
            true => Box::pin(prepare::reach(&session)).await,
            false => Box::pin(assign::reach_default(&session)).await,
        };
        let termination = match reached {
            Ok(server) => exchange::run(&session, client, server).await,
            Err(termination) => {
                forward::discard_unread(client.handle());
                drop(client);
                termination
            }
        };
        // Rules have noted something, or the line shows what tables say.
        let has_more = session.extra.borrow().is_some() || session.road.run(session.frontend).line_asks_tables;
        if has_more {
            Box::pin(prepare::conclude(&session)).await;
        }
        session.close(termination);
        if has_more {
            Box::pin(action::untrack(&session)).await;
        }
    }
}

impl Session {
    /// Adopts the connection and enters it in the shard's table. `None` when the connection is already dead.
    fn open(shard: &'static Shard, arrival: Arrival) -> Option<(Rc<Self>, Sock)> {
        let Arrival { road, frontend, bind, connection, accepted_us } = arrival;
        shard.session_begins();
        let needs_address = road.run(frontend).needs_client_address;
        let Ok(client_address) = needs_address.then(|| socket::peer_of(&connection)).transpose() else {
            // The client has reset the connection before anybody looked at it.
            shard.session_ended();
            admission::leave(shard, &road.generation, frontend, bind);
            return None;
        };
        let client = Sock::adopt_nonblocking(connection);
        let session = Rc::new(Self {
            shard,
            road: Pin::new(&road),
            frontend,
            bind,
            client: client.handle(),
            client_address: Address::of(client_address),
            accepted_us,
            accepted_wall_us: record::wall_us().saturating_sub(ring::now_us().saturating_sub(accepted_us)),
            number: shard.process.next_session.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as u32,
            key: Cell::new(0),
            ending: Cell::new(None),
            ended: Signal::default(),
            timer: Timer::new(),
            up: Meter::new(),
            down: Meter::new(),
            flushed_in: Cell::new(0),
            flushed_out: Cell::new(0),
            extra: RefCell::default(),
            hold: HoldCell::default(),
            assigned: Assigned::default(),
        });
        let key = shard.sessions.borrow_mut().insert(session.clone());
        session.key.set(key as u32);
        if !road.run(frontend).has_rules {
            session.count();
        }
        record::at_accept(&session);
        Some((session, client))
    }

    /// Counts it as a session: rules on the connection, if there are any, have let it in.
    pub fn count(&self) {
        let (generation, shard) = (&self.road.generation, self.shard.index);
        generation.frontend(self.frontend).counters[shard].sessions.add(1);
        generation.bind(self.frontend, self.bind).counters[shard].sessions.add(1);
    }

    /// The server is reached: what only the request needed goes, which an idle session must not carry.
    pub fn end_request(&self) {
        let mut place = self.extra.borrow_mut();
        let Some(extra) = &mut *place else { return };
        let variables = &self.road.model().variables;
        extra.end_scope(Scope::Request, |slot| variables.get(usize::from(slot)).map(|(scope, _)| *scope));
        extra.sticking = None;
        if extra.is_spent() {
            *place = None;
        }
    }

    /// The end: free what is held, count, write the line, leave the gates. The sockets are closed already. The slot goes first, so that
    /// the line shows the counts without this session, as HAProxy's does.
    fn close(&self, termination: Termination) {
        drop(self.assigned.slot.take());
        if let Some(backend) = self.assigned.backend.get() {
            self.road.generation.backend(backend).sessions.leave();
        }
        mqtt::conclude(self);
        record::at_end(self, termination);
        self.shard.sessions.borrow_mut().try_remove(self.key.get() as usize);
        self.shard.session_ended();
        admission::leave(self.shard, &self.road.generation, self.frontend, self.bind);
    }

    /// Orders the session to end; it does so at its next turn.
    pub fn end(&self, ending: Ending) {
        self.ending.set(Some(ending));
        self.ended.raise();
    }

    /// The order to end, if one was given.
    pub fn ending(&self) -> Option<Ending> {
        self.ending.get()
    }

    pub fn frontend_config(&self) -> &Frontend {
        self.road.frontend(self.frontend)
    }

    /// The number of the generation that the session is pinned to.
    pub fn generation(&self) -> u64 {
        self.road.generation.number
    }

    /// Whether it holds a slot of this server.
    pub fn is_on(&self, server: &Arc<ServerLive>) -> bool {
        self.assigned.slot.borrow().as_ref().is_some_and(|slot| Arc::ptr_eq(slot.server(), server))
    }

    /// Whether it came in through this frontend.
    pub fn came_through(&self, frontend: &Arc<FrontendLive>) -> bool {
        Arc::ptr_eq(self.road.generation.frontend(self.frontend), frontend)
    }

    /// Whether it is served by a backup server of this backend.
    pub fn is_on_backup_of(&self, backend: &Arc<BackendLive>) -> bool {
        let here = self.assigned.backend.get().is_some_and(|id| Arc::ptr_eq(self.road.generation.backend(id), backend));
        here && self.assigned.server_is_backup.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(Rc<Session>, Sock) -> F) -> usize {
        size_of::<F>()
    }

    /// 10,000 idle MQTT clients hold 10,000 of these.
    #[test]
    fn a_session_stays_small() {
        let (future, facts) = (size_of_future(serve), size_of::<Session>());
        assert!(future <= 272 && facts <= 312, "future {future} bytes, facts {facts} bytes");
    }
}
