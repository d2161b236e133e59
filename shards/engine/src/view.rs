//! A session as rules and log lines see it: the engine's answers to `policy::expression::Facts`.
//!
//! A [`View`] lives for one evaluation. Tables of other shards cannot answer within it: it notes the question in [`Answers`], and
//! [`Answers::fetch`] gets the answer before the evaluation is made again.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringmain_model::table::{DataType, KeyType, Table};
use ringmain_model::{BackendId, FrontendId, Scope, ServerId, TableId, Variable};
use ringmain_policy::expression::{Backends, Bytes, Count, Facts, TableQuery, TableSubject, TcpField, Timeout, Value};
use ringmain_policy::log::LocalTime;
use ringmain_policy::record::{Peer, Termination};
use ringmain_policy::table::{self, Answer, Event, Key, Request, Target};

use crate::extra::Extra;
use crate::live::TableLive;
use crate::record::Address;
use crate::ring;
use crate::session::Session;
use crate::shard::Stage;
use crate::{count, held, record, socket, tables};

/// What tables have answered during one evaluation, in the order of the questions.
#[derive(Default)]
pub(crate) struct Answers {
    known: RefCell<Vec<(TableQuery, Known)>>,
    /// Questions already put in this run of the evaluation.
    asked: Cell<usize>,
    pending: RefCell<Option<(TableQuery, Question)>>,
    /// Answers fetched since it was cleared.
    fetched: Cell<u32>,
}

/// Answers that one evaluation may fetch: one whose questions are new each time, as with `rand`, would never end.
const FETCHES: u32 = 64;

/// An answer as fetches want it.
#[derive(Clone)]
enum Known {
    Number(Option<i64>),
    Text(Option<Arc<str>>),
}

/// A question on its way to the owner.
struct Question {
    owner: usize,
    table: Arc<TableLive>,
    request: Request,
}

impl Answers {
    /// Gets the answer that the last evaluation missed; `false` when it missed none, or has asked too often.
    pub async fn fetch(&self, session: &Session) -> bool {
        let Some((query, Question { owner, table, request })) = self.pending.take() else { return false };
        if self.fetched.replace(self.fetched.get() + 1) >= FETCHES {
            return false;
        }
        let answer = tables::ask(session.shard, owner, &table, request).await;
        let known = read(&query, answer);
        self.known.borrow_mut().push((query, known));
        true
    }

    /// Forgets everything, before another evaluation than the one it was made for.
    pub fn clear(&self) {
        self.known.borrow_mut().clear();
        self.asked.set(0);
        self.fetched.set(0);
        self.pending.take();
    }

    /// Whether the last evaluation missed an answer.
    pub fn misses(&self) -> bool {
        self.pending.borrow().is_some()
    }

    fn put(&self, session: &Session, extra: Option<&Extra>, query: &TableQuery) -> Option<Known> {
        let place = self.asked.get();
        let mut known = self.known.borrow_mut();
        if let Some((_, answer)) = known.get(place).filter(|(asked, _)| asked == query) {
            self.asked.set(place + 1);
            return Some(answer.clone());
        }
        // The evaluation went another way than last time: what was known for that way is of no use.
        known.truncate(place);
        let Some(question) = question(session, extra, query) else { return Some(read(query, Answer::Refused)) };
        if question.owner == session.shard.index {
            let answer = read(query, tables::apply(session.shard, &question.table, &question.request));
            known.push((query.clone(), answer.clone()));
            self.asked.set(place + 1);
            return Some(answer);
        }
        self.pending.replace(Some((query.clone(), question)));
        None
    }
}

fn read(query: &TableQuery, answer: Answer) -> Known {
    match (query, answer) {
        (TableQuery::ServerKey(_), Answer::Rows(page)) => {
            let cells = page.rows.into_iter().flat_map(|row| row.cells);
            let name = cells.into_iter().find_map(|cell| match cell.value {
                table::Value::Name(name) => name,
                table::Value::Number(_) => None,
            });
            Known::Text(name)
        }
        (TableQuery::Idle(_), Answer::Rows(page)) => Known::Number(page.rows.first().and_then(|row| i64::try_from(row.idle_ms).ok())),
        (TableQuery::Expire(_), Answer::Rows(page)) => {
            Known::Number(page.rows.first().and_then(|row| row.remaining_ms).and_then(|left| i64::try_from(left).ok()))
        }
        (_, Answer::Done(done)) => Known::Number(Some(done.into())),
        (_, Answer::Number(number)) => Known::Number(number),
        (TableQuery::ServerKey(_), _) => Known::Text(None),
        _ => Known::Number(None),
    }
}

/// Who is to be asked what; `None` when nothing is tracked there.
fn question(session: &Session, extra: Option<&Extra>, query: &TableQuery) -> Option<Question> {
    let (subject, request): (_, fn(Target, &TableQuery) -> Request) = match query {
        TableQuery::Exists(subject) => (subject, |target, _| match target {
            Target::Key(key) => Request::Exists { key },
            target @ Target::Handle(_) => Request::Trackers { target },
        }),
        TableQuery::Read(subject, ..) => (subject, |target, query| match *query {
            TableQuery::Read(_, data, index) => Request::Read { target, data, index: index.into() },
            _ => Request::ReadRow { target },
        }),
        TableQuery::Add(subject, ..) => (subject, |target, query| match *query {
            TableQuery::Add(_, data, index, amount) => match general_counter(data, index) {
                Some(event) => Request::Count { target, event, amount: amount.into() },
                None => Request::Add { target, data, index: index.into(), amount: amount.into() },
            },
            _ => Request::ReadRow { target },
        }),
        TableQuery::Clear(subject, ..) => (subject, |target, query| match *query {
            TableQuery::Clear(_, data, index) => Request::Set { target, data, index: index.into(), value: 0 },
            _ => Request::ReadRow { target },
        }),
        TableQuery::Trackers(subject) => (subject, |target, _| Request::Trackers { target }),
        TableQuery::Idle(subject) | TableQuery::Expire(subject) | TableQuery::ServerKey(subject) => {
            (subject, |target, _| Request::ReadRow { target })
        }
    };
    let (table, owner, target) = match subject {
        TableSubject::Tracked(counter, other) => {
            let tracked = extra?.tracked(*counter)?;
            let table = other.map(|id| session.road.generation.table(id));
            match table.filter(|table| !Arc::ptr_eq(table, &tracked.table)) {
                None => (tracked.table.clone(), tracked.owner, Target::Handle(tracked.handle)),
                Some(table) => (table.clone(), owner(session, &tracked.key), Target::Key(tracked.key.clone())),
            }
        }
        TableSubject::Key(id, key) => (session.road.generation.table(*id).clone(), owner(session, key), Target::Key(key.clone())),
    };
    Some(Question { owner, table, request: request(target, query) })
}

/// The general purpose counter that a column is of: its counter and its rate count together.
fn general_counter(data: DataType, index: u8) -> Option<Event> {
    match data {
        DataType::Gpc0 | DataType::Gpc0Rate => Some(Event::Gpc0),
        DataType::Gpc1 | DataType::Gpc1Rate => Some(Event::Gpc1),
        DataType::Gpc | DataType::GpcRate => Some(Event::Gpc(index.into())),
        _ => None,
    }
}

/// The shard that owns a key.
pub(crate) fn owner(session: &Session, key: &Key) -> usize {
    table::owner(key, session.shard.ports.len())
}

/// A session during one evaluation.
pub(crate) struct View<'a> {
    session: &'a Session,
    extra: Ref<'a, Option<Box<Extra>>>,
    answers: &'a Answers,
    /// What the client has sent and is held.
    pub request: Option<Bytes<'a>>,
    /// What the server has sent and is held.
    pub response: Option<Bytes<'a>>,
    /// For log lines of the end.
    pub termination: Option<Termination>,
    /// Only there when local time was asked for.
    local_time: OnceCell<Arc<LocalTime>>,
}

impl<'a> View<'a> {
    /// Begins an evaluation; `answers` must be those of this very evaluation.
    pub fn new(session: &'a Session, answers: &'a Answers) -> Self {
        answers.asked.set(0);
        Self {
            session,
            extra: session.extra.borrow(),
            answers,
            request: None,
            response: None,
            termination: None,
            local_time: OnceCell::new(),
        }
    }

    /// The client's address, asked for now when nobody needed it before.
    fn own_client(&self) -> Option<Peer> {
        match &self.session.client_address {
            Address::NotAsked => self.session.client.peer().ok().map(|address| socket::peer(&address)),
            address => Some(address.peer()),
        }
    }

    fn own_local(&self) -> Option<Peer> {
        self.session.client.local().ok().map(|address| socket::peer(&address))
    }

    fn peer(&self, pick: impl Fn(&Extra) -> Option<Peer>, own: impl FnOnce() -> Option<Peer>) -> Option<SocketAddr> {
        match self.extra.as_deref().and_then(pick).or_else(own)? {
            Peer::Inet(address) => Some(address),
            Peer::Unix => None,
        }
    }
}

impl Facts for View<'_> {
    fn now_ms(&self) -> u64 {
        ring::now_ms()
    }

    fn wall_us(&self) -> u64 {
        record::wall_us()
    }

    fn local_zone(&self, seconds: i64) -> (i32, &str) {
        let table = self.local_time.get_or_init(|| self.session.shard.local_time.borrow().clone());
        (table.offset_at(seconds), table.name_at(seconds))
    }

    fn random(&self) -> u64 {
        self.session.shard.random.next()
    }

    fn hostname(&self) -> &str {
        &self.session.shard.hostname
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }

    fn count(&self, wanted: Count) -> Option<i64> {
        count::count(self.session, wanted)
    }

    fn names(&self) -> &dyn Backends {
        &**self.session.road
    }

    fn frontend_number(&self, id: FrontendId) -> u32 {
        self.session.road.model().frontend(id).proxy_id
    }

    fn backend_number(&self, id: BackendId) -> u32 {
        self.session.road.model().backend(id).proxy_id
    }

    fn server_number(&self, id: ServerId) -> u32 {
        self.session.road.model().server(id).id
    }

    fn client(&self) -> Option<SocketAddr> {
        self.peer(|extra| extra.client, || self.own_client())
    }

    fn original_client(&self) -> Option<SocketAddr> {
        self.peer(|_| None, || self.own_client())
    }

    fn original_local(&self) -> Option<SocketAddr> {
        self.peer(|extra| extra.addresses.local, || self.own_local())
    }

    fn is_own_address(&self, address: IpAddr) -> Option<bool> {
        Some(socket::is_own_address(address))
    }

    fn bind_connections(&self) -> Option<i64> {
        Some(self.session.road.generation.bind(self.session.frontend, self.session.bind).sessions.inside().into())
    }

    fn received_proxy_header(&self) -> Option<bool> {
        Some(self.extra.as_deref().is_some_and(|extra| extra.had_proxy_header))
    }

    fn stopping(&self) -> bool {
        self.session.shard.stage.get() != Stage::Serving
    }

    fn timeout_ms(&self, timeout: Timeout) -> Option<u64> {
        let backend = self.backend().map(|id| self.session.road.model().backend(id).timeouts);
        let value = match timeout {
            Timeout::Client => self.session.frontend_config().timeouts.client,
            Timeout::Server | Timeout::CurrentServer => backend?.server,
            Timeout::Tunnel | Timeout::CurrentTunnel => backend?.tunnel,
        };
        Some(value.map_or(0, |value| value.get()))
    }

    fn last_rule(&self) -> Option<(&str, u32)> {
        let place = self.extra.as_deref()?.last_rule.as_ref()?;
        let (file, line) = place.rsplit_once(':')?;
        Some((file, line.parse().ok()?))
    }

    fn default_backend(&self) -> Option<BackendId> {
        self.session.frontend_config().route
    }

    fn inspected_bytes_max(&self) -> usize {
        held::limit(&self.session.road.model().global.tuning)
    }

    fn table_definition(&self, id: TableId) -> Option<&Table> {
        Some(self.session.road.model().table(id))
    }

    fn tracked(&self, counter: u8) -> Option<TableId> {
        let tracked = self.extra.as_deref()?.tracked(counter)?;
        let tables = &self.session.road.generation.tables;
        tables.iter().position(|table| Arc::ptr_eq(table, &tracked.table)).map(TableId::new)
    }

    fn local(&self) -> Option<SocketAddr> {
        self.peer(|extra| extra.local.or(extra.addresses.local), || self.own_local())
    }

    fn server_side_local(&self) -> Option<SocketAddr> {
        self.peer(|extra| extra.addresses.source, || None)
    }

    fn server_side_remote(&self) -> Option<SocketAddr> {
        self.peer(|extra| extra.addresses.server, || None)
    }

    fn bind(&self) -> Option<(u32, Option<&str>)> {
        let bind = self.session.frontend_config().binds.get(self.session.bind.index())?;
        Some((bind.id, bind.name.as_deref()))
    }

    fn frontend(&self) -> Option<FrontendId> {
        Some(self.session.frontend)
    }

    fn backend(&self) -> Option<BackendId> {
        self.session.assigned.backend.get()
    }

    fn server(&self) -> Option<ServerId> {
        count::server(self.session)
    }

    fn request(&self) -> Option<Bytes<'_>> {
        self.request
    }

    fn response(&self) -> Option<Bytes<'_>> {
        self.response
    }

    fn transferred(&self) -> (u64, u64) {
        (self.session.up.bytes.get(), self.session.down.bytes.get())
    }

    fn variable(&self, variable: Variable) -> Option<Value<'_>> {
        match variable.scope {
            Scope::Process => self.session.road.generation.variables.get(usize::from(variable.slot))?.get(),
            _ => self.extra.as_deref()?.variable(variable).map(Value::reborrow),
        }
    }

    fn table(&self, query: &TableQuery) -> Option<Option<i64>> {
        match self.answers.put(self.session, self.extra.as_deref(), query)? {
            Known::Number(number) => Some(number),
            Known::Text(_) => Some(None),
        }
    }

    fn table_text(&self, query: &TableQuery) -> Option<Option<Arc<str>>> {
        match self.answers.put(self.session, self.extra.as_deref(), query)? {
            Known::Text(text) => Some(text),
            Known::Number(_) => Some(None),
        }
    }

    fn table_key_type(&self, id: TableId) -> KeyType {
        self.session.road.model().table(id).key
    }

    fn termination(&self) -> Option<[u8; 2]> {
        self.termination.map(Termination::letters)
    }

    fn age_us(&self) -> u64 {
        ring::now_us().saturating_sub(self.session.accepted_us)
    }

    fn client_tcp_info(&self, field: TcpField) -> Option<i64> {
        socket::tcp_info(self.session.client, field)
    }
}
