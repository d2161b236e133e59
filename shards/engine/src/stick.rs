//! Stick rules of a session: which server its key sticks to, and letting the key stick to the server that was chosen.
//!
//! A key that has no server yet is claimed between the choice of a server and the connection to it, at the key's owner: of two sessions
//! with the same new key one wins, and the other goes where the winner went. HAProxy stores after the connection stands, so that such two
//! sessions may end on two servers.

use std::sync::Arc;

use ringmain_model::rule::{Rule, Stick};
use ringmain_model::{BackendId, Expression, TableId};
use ringmain_policy::expression::{Absent, Bytes, Evaluation, Value, evaluate_as};
use ringmain_policy::rule::{Verdict, holds};
use ringmain_policy::table::{Answer, Key, Request, StickServer};

use crate::live::{ServerLive, Snapshot, TableLive};
use crate::session::Session;
use crate::tables;
use crate::view::{self, Answers, View};

/// Keys that one session may store, as in HAProxy.
const STORES: usize = 8;

/// What stick rules found and are to store.
#[derive(Default)]
pub(crate) struct Sticking {
    /// The server that a key sticks to, if it still serves.
    pub server: Option<Arc<ServerLive>>,
    pub stores: Vec<Store>,
}

/// A key that is to stick to the session's server.
#[derive(Clone)]
pub(crate) struct Store {
    table: Arc<TableLive>,
    key: Key,
    /// What the entry says as far as this session knows.
    known: Option<StickServer>,
    /// This session's claim made it so.
    claimed: bool,
}

/// Evaluates the request rules of a backend: finds the server to go to, and notes what is to be stored.
pub(crate) async fn consult(session: &Session, backend: BackendId, request: Bytes<'_>) {
    let rules = &session.road.model().backend(backend).rules.stick_request;
    let mut sticking = Sticking::default();
    for rule in rules {
        let Some(key) = key_of(session, rule, Seen::Request(request)).await else { continue };
        let table = session.road.generation.table(rule.action.table).clone();
        let mut known = None;
        if rule.action.matches && sticking.server.is_none() {
            let owner = view::owner(session, &key);
            if let Answer::Server(Some(server)) = tables::ask(session.shard, owner, &table, Request::Match { key: key.clone() }).await {
                let snapshot = session.road.snapshot(backend);
                sticking.server = position(&snapshot, &server)
                    .map(|position| &snapshot.servers[position])
                    .filter(|candidate| candidate.runs || persists(session, backend))
                    .map(|candidate| candidate.live.clone());
                known = Some(server);
            }
        }
        let is_new = !sticking.stores.iter().any(|store| Arc::ptr_eq(&store.table, &table));
        if rule.action.stores && is_new && sticking.stores.len() < STORES {
            sticking.stores.push(Store { table, key, known, claimed: false });
        }
    }
    if sticking.server.is_some() || !sticking.stores.is_empty() {
        session.extra.borrow_mut().get_or_insert_default().sticking = Some(Box::new(sticking));
    }
}

/// Whether a server that is down is used all the same by sessions that stick to it.
fn persists(session: &Session, backend: BackendId) -> bool {
    session.road.model().backend(backend).options.persist || session.extra.borrow().as_ref().is_some_and(|extra| extra.forces_persistence)
}

/// Lets the session's keys stick to the chosen server. Returns the position of another server when somebody else was faster with the first
/// key and that server can be used: the session is to go there instead.
pub(crate) async fn claim(session: &Session, snapshot: &Snapshot, position: usize) -> Option<usize> {
    let count = session.extra.borrow().as_ref().and_then(|extra| extra.sticking.as_ref()).map_or(0, |sticking| sticking.stores.len());
    for index in 0..count {
        let Some(store) = store(session, index) else { break };
        let server = identity(snapshot, position);
        if store.known.as_ref() == Some(&server) {
            continue;
        }
        let owner = view::owner(session, &store.key);
        let mut expected = store.known.clone();
        // Twice: what was known may be outdated, and what has come instead may be a server that is down.
        for _ in 0..2 {
            let request = Request::Claim { key: store.key.clone(), expected: expected.clone(), server: server.clone() };
            let Answer::Claimed { server: winner, won } = tables::ask(session.shard, owner, &store.table, request).await else { break };
            if won || winner == server {
                note(session, index, winner, won);
                break;
            }
            let elsewhere = self::position(snapshot, &winner).filter(|&place| snapshot.servers[place].runs);
            note(session, index, winner.clone(), false);
            match elsewhere {
                Some(place) if index == 0 => return Some(place),
                // Keys of one session may stick to different servers; the first key decides.
                _ => expected = Some(winner),
            }
        }
    }
    None
}

/// Takes claims back whose connection never stood.
pub(crate) async fn withdraw(session: &Session) {
    let stores = session.extra.borrow().as_ref().and_then(|extra| extra.sticking.as_ref()).map(|sticking| sticking.stores.clone());
    for store in stores.unwrap_or_default() {
        if let Some(server) = store.known.filter(|_| store.claimed) {
            let owner = view::owner(session, &store.key);
            tables::ask(session.shard, owner, &store.table, Request::Withdraw { key: store.key, server }).await;
        }
    }
}

/// Evaluates the response rules of the session's backend: stores what they say.
pub(crate) async fn store_response(session: &Session, response: Bytes<'_>) {
    let Some(backend) = session.assigned.backend.get() else { return };
    for rule in &session.road.model().backend(backend).rules.stick_response {
        let Some(key) = key_of(session, rule, Seen::Response(response)).await else { continue };
        let snapshot = session.road.snapshot(backend);
        let place = session.assigned.server.borrow().as_ref().and_then(|live| snapshot.position(live));
        let Some(place) = place else { return };
        let table = session.road.generation.table(rule.action.table);
        let owner = view::owner(session, &key);
        let server = identity(&snapshot, place);
        tables::ask(session.shard, owner, table, Request::Store { key, server }).await;
    }
}

fn store(session: &Session, index: usize) -> Option<Store> {
    session.extra.borrow().as_ref()?.sticking.as_ref()?.stores.get(index).cloned()
}

fn note(session: &Session, index: usize, server: StickServer, claimed: bool) {
    let mut extra = session.extra.borrow_mut();
    if let Some(store) = extra.as_mut().and_then(|extra| extra.sticking.as_mut()?.stores.get_mut(index)) {
        store.known = Some(server);
        store.claimed |= claimed;
    }
}

fn identity(snapshot: &Snapshot, position: usize) -> StickServer {
    let server = &snapshot.servers[position];
    StickServer { id: snapshot.model.server(server.id).id, name: server.live.name.clone() }
}

/// The position of a stored server: by its name, as numbers may move with a reload, and by its number when no name is stored.
fn position(snapshot: &Snapshot, stored: &StickServer) -> Option<usize> {
    snapshot.servers.iter().position(|server| match &*stored.name {
        "" => snapshot.model.server(server.id).id == stored.id,
        name => &*server.live.name == name,
    })
}

/// Whose bytes an expression may look at.
#[derive(Clone, Copy)]
pub(crate) enum Seen<'a> {
    Request(Bytes<'a>),
    Response(Bytes<'a>),
}

impl<'a> Seen<'a> {
    /// A session seen with these bytes.
    pub fn view(self, session: &'a Session, answers: &'a Answers) -> View<'a> {
        let mut view = View::new(session, answers);
        match self {
            Self::Request(bytes) => view.request = Some(bytes),
            Self::Response(bytes) => view.response = Some(bytes),
        }
        view
    }
}

/// The key of a rule, if its condition holds and there is one.
async fn key_of(session: &Session, rule: &Rule<Stick>, seen: Seen<'_>) -> Option<Key> {
    let answers = Answers::default();
    loop {
        {
            let view = seen.view(session, &answers);
            let evaluation = Evaluation { facts: &view, is_final: true };
            match rule.condition.as_ref().map_or(Verdict::Pass, |condition| holds(condition, evaluation)) {
                Verdict::Pass => match key(session, &rule.action.key, rule.action.table, evaluation) {
                    Ok(key) => return Some(key),
                    Err(Absent::Table) => {}
                    Err(_) => return None,
                },
                Verdict::Table => {}
                Verdict::Fail | Verdict::NotYet => return None,
            }
        }
        if !answers.fetch(session).await {
            return None;
        }
    }
}

/// A table's key from the value of an expression.
///
/// # Errors
/// When there is no value, or none that the table can hold.
pub(crate) fn key(session: &Session, expression: &Expression, table: TableId, evaluation: Evaluation<'_>) -> Result<Key, Absent> {
    let key_type = session.road.model().table(table).key;
    let sample = evaluate_as(expression, ringmain_model::SampleType::Any, evaluation)?;
    let made = match sample.value {
        Value::Boolean(value) => Key::from_integer(value.into(), key_type),
        Value::Integer(value) => Key::from_integer(value, key_type),
        Value::Ipv4(address) => Key::from_address(address.into(), key_type),
        Value::Ipv6(address) => Key::from_address(address.into(), key_type),
        Value::String(data) => Key::from_text(data.bytes(), key_type),
        Value::Binary(data) => Key::from_bytes(data.bytes(), key_type),
    };
    made.ok_or(if sample.may_change { Absent::NotYet } else { Absent::Missing })
}
