//! What rules do to a session: `decide` works out the effect from the facts, `apply` brings it about.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use ringmain_model::rule::{Action, IntegerValue, SetWhen, TrackedColumn, VariableValue};
use ringmain_model::table::DataType;
use ringmain_model::{Expression, Level, SampleType, Scope, Variable};
use ringmain_policy::expression::{Absent, Data, Evaluation, Value, evaluate, evaluate_as};
use ringmain_policy::record::{Peer, Termination};
use ringmain_policy::table::{Answer, Event, Key, Request, Target};

use crate::extra::Tracked;
use crate::held::Held;
use crate::live::TableLive;
use crate::session::Session;
use crate::{proxy, record, socket, stick, tables, view};

/// Longest text of `set-var-fmt`, in bytes.
const FORMAT_LIMIT: usize = 16384;

/// What an action will do, with all values worked out.
pub(crate) enum Effect {
    Nothing,
    Stop(Verdict),
    SetVariable(Variable, Option<Value<'static>>),
    Track { counter: u8, table: Arc<TableLive>, key: Key },
    Order { owner: usize, table: Arc<TableLive>, request: Request },
    Capture { slot: u16, value: Box<[u8]> },
    Client(Peer),
    Local(Peer),
    Mark(u32),
    TypeOfService(u8),
    LogLevel(Option<Level>),
    LogNow,
    ExpectProxy,
}

/// What becomes of the session after an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next rule.
    Continue,
    /// No further rule of this set.
    Accept,
    /// The connection is closed.
    Reject,
    /// The server's connection is closed after what it sent (responses).
    Close,
    /// The connection is forgotten.
    Drop,
    /// The session ends otherwise.
    End(Termination),
}

/// Works out what an action does.
///
/// # Errors
/// When a value that it needs is not there.
pub(crate) fn decide(session: &Session, action: &Action, evaluation: Evaluation<'_>) -> Result<Effect, Absent> {
    Ok(match action {
        Action::Accept => Effect::Stop(Verdict::Accept),
        Action::Reject => Effect::Stop(Verdict::Reject),
        Action::Close => Effect::Stop(Verdict::Close),
        Action::SilentDrop => Effect::Stop(Verdict::Drop),
        Action::SetVariable(variable, value, when) => set_variable(session, *variable, value, *when, evaluation)?,
        Action::UnsetVariable(variable) => Effect::SetVariable(*variable, None),
        Action::Track { counter, key, table } => {
            let tracked = session.extra.borrow().as_ref().is_some_and(|extra| extra.tracked(*counter).is_some());
            if tracked {
                return Ok(Effect::Nothing);
            }
            let live = session.road.generation.table(*table).clone();
            Effect::Track { counter: *counter, table: live, key: stick::key(session, key, *table, evaluation)? }
        }
        Action::IncrementCounter(column) => {
            order(session, *column, |target, column| Request::Count { target, event: counter_of(column), amount: 1 })
        }
        Action::AddCounter(column, value) => {
            let amount = u64::try_from(integer(value, evaluation)?).map_err(|_| Absent::Missing)?;
            order(session, *column, |target, column| Request::Count { target, event: counter_of(column), amount })
        }
        Action::SetTag(column, value) => {
            let value = u64::try_from(integer(value, evaluation)?).map_err(|_| Absent::Missing)?;
            order(session, *column, |target, column| {
                let (data, index) = if column.array { (DataType::Gpt, column.index.into()) } else { (DataType::Gpt0, 0) };
                Request::Set { target, data, index, value }
            })
        }
        Action::ExpectProxy => Effect::ExpectProxy,
        Action::Capture { expression, slot, length } => {
            let value = evaluate_as(expression, SampleType::String, evaluation)?.value;
            let Value::String(data) = value else { return Err(Absent::Missing) };
            let bytes = data.bytes();
            Effect::Capture { slot: *slot, value: bytes[..bytes.len().min(*length as usize)].into() }
        }
        Action::SetSource(expression) => Effect::Client(with_ip(evaluation.facts.client(), address(expression, evaluation)?)),
        Action::SetDestination(expression) => Effect::Local(with_ip(evaluation.facts.local(), address(expression, evaluation)?)),
        Action::SetSourcePort(expression) => {
            with_port(evaluation.facts.client(), port(expression, evaluation)?).map_or(Effect::Nothing, Effect::Client)
        }
        Action::SetDestinationPort(expression) => {
            with_port(evaluation.facts.local(), port(expression, evaluation)?).map_or(Effect::Nothing, Effect::Local)
        }
        Action::SetMark(mark) => Effect::Mark(*mark),
        Action::SetTos(value) => Effect::TypeOfService(*value),
        Action::SetLogLevel(level) => Effect::LogLevel(*level),
        Action::SetNice(_) => Effect::Nothing,
        Action::DoLog => Effect::LogNow,
    })
}

/// Brings an effect about.
pub(crate) async fn apply(session: &Rc<Session>, effect: Effect, held: Option<&mut Held>) -> Verdict {
    match effect {
        Effect::Nothing => {}
        Effect::Stop(verdict) => return verdict,
        Effect::SetVariable(variable, value) if variable.scope == Scope::Process => {
            if let Some(live) = session.road.generation.variables.get(usize::from(variable.slot)) {
                live.set(value);
            }
        }
        Effect::SetVariable(variable, value) => session.extra.borrow_mut().get_or_insert_default().set_variable(variable, value),
        Effect::Track { counter, table, key } => track(session, counter, table, key).await,
        Effect::Order { owner, table, request } => {
            tables::ask(session.shard, owner, &table, request).await;
        }
        Effect::Capture { slot, value } => {
            let mut extra = session.extra.borrow_mut();
            let captures = &mut extra.get_or_insert_default().captures;
            let slot = usize::from(slot);
            if captures.len() <= slot {
                captures.resize(slot + 1, None);
            }
            captures[slot] = Some(value);
        }
        Effect::Client(peer) => session.extra.borrow_mut().get_or_insert_default().client = Some(peer),
        Effect::Local(peer) => session.extra.borrow_mut().get_or_insert_default().local = Some(peer),
        // A kernel that refuses these leaves a connection without mark, as HAProxy does.
        Effect::Mark(mark) => drop(session.client.sock_ref(|socket| socket.set_mark(mark))),
        Effect::TypeOfService(value) => socket::set_type_of_service(session.client, value),
        Effect::LogLevel(level) => session.extra.borrow_mut().get_or_insert_default().log_level = Some(level),
        Effect::LogNow => record::now(session),
        Effect::ExpectProxy => {
            if let Some(held) = held
                && let Err(termination) = proxy::expect(session, held).await
            {
                return Verdict::End(termination);
            }
        }
    }
    Verdict::Continue
}

async fn track(session: &Session, counter: u8, table: Arc<TableLive>, key: Key) {
    let owner = view::owner(session, &key);
    let answer = tables::ask(session.shard, owner, &table, Request::Track { key: key.clone() }).await;
    if let Answer::Handle(Some(handle)) = answer {
        let mut extra = session.extra.borrow_mut();
        extra.get_or_insert_default().track(counter, Tracked { table, owner, handle, key });
    }
}

/// Counts the session in the entries it tracks: it has passed the rules of the connection.
pub(crate) async fn count_session(session: &Session) {
    for tracked in tracked(session) {
        let request = Request::Count { target: Target::Handle(tracked.handle), event: Event::Session, amount: 1 };
        tables::ask(session.shard, tracked.owner, &tracked.table, request).await;
    }
}

/// Tells tracked entries how many bytes were forwarded since the last time.
pub(crate) async fn count_bytes(session: &Session) {
    let now = (session.up.bytes.get(), session.down.bytes.get());
    let told = match &mut *session.extra.borrow_mut() {
        Some(extra) => std::mem::replace(&mut extra.told, now),
        None => return,
    };
    if told == now {
        return;
    }
    let (received, sent) = (now.0.saturating_sub(told.0), now.1.saturating_sub(told.1));
    for tracked in tracked(session) {
        let request = Request::Transfer { handle: tracked.handle, received, sent };
        tables::ask(session.shard, tracked.owner, &tracked.table, request).await;
    }
}

/// Lets go of the tracked entries: the session has ended.
pub(crate) async fn untrack(session: &Session) {
    for tracked in tracked(session) {
        tables::ask(session.shard, tracked.owner, &tracked.table, Request::Untrack { handle: tracked.handle }).await;
    }
    if let Some(extra) = &mut *session.extra.borrow_mut() {
        extra.untrack();
    }
}

fn tracked(session: &Session) -> Vec<Tracked> {
    session.extra.borrow().as_ref().map(|extra| extra.all_tracked().cloned().collect()).unwrap_or_default()
}

fn order(session: &Session, column: TrackedColumn, request: impl FnOnce(Target, TrackedColumn) -> Request) -> Effect {
    let extra = session.extra.borrow();
    let tracked = extra.as_ref().and_then(|extra| extra.tracked(column.counter));
    tracked.map_or(Effect::Nothing, |tracked| Effect::Order {
        owner: tracked.owner,
        table: tracked.table.clone(),
        request: request(Target::Handle(tracked.handle), column),
    })
}

/// The general purpose counter that a rule means.
fn counter_of(column: TrackedColumn) -> Event {
    match (column.array, column.index) {
        (true, index) => Event::Gpc(index.into()),
        (false, 0) => Event::Gpc0,
        (false, _) => Event::Gpc1,
    }
}

fn set_variable(
    session: &Session,
    variable: Variable,
    value: &VariableValue,
    when: SetWhen,
    evaluation: Evaluation<'_>,
) -> Result<Effect, Absent> {
    let before = evaluation.facts.variable(variable);
    let new = match value {
        VariableValue::Expression(expression) => evaluate(expression, evaluation)?.value.to_owned(),
        VariableValue::Format(format) => {
            let mut text = Vec::new();
            record::format(session, format, evaluation.facts, FORMAT_LIMIT, &mut text);
            Value::String(Data::from(text))
        }
    };
    let is_empty = match &new {
        Value::String(data) | Value::Binary(data) => data.bytes().is_empty(),
        _ => false,
    };
    let number = |value: &Value<'_>| match value.reborrow().cast(SampleType::Integer) {
        Some(Value::Integer(number)) => Some(number),
        _ => None,
    };
    let greater = || match (before.as_ref().and_then(number), number(&new)) {
        (Some(before), Some(new)) if new != before => Some(new > before),
        _ => None,
    };
    let wanted = when.exists.is_none_or(|exists| exists == before.is_some())
        && when.set.is_none_or(|set| set == before.is_some())
        && when.empty.is_none_or(|empty| empty == is_empty)
        && when.greater.is_none_or(|wanted| greater() == Some(wanted));
    Ok(if wanted { Effect::SetVariable(variable, Some(new)) } else { Effect::Nothing })
}

fn integer(value: &IntegerValue, evaluation: Evaluation<'_>) -> Result<i64, Absent> {
    match value {
        IntegerValue::Fixed(value) => Ok(*value),
        IntegerValue::Expression(expression) => match evaluate_as(expression, SampleType::Integer, evaluation)?.value {
            Value::Integer(value) => Ok(value),
            _ => Err(Absent::Missing),
        },
    }
}

fn address(expression: &Expression, evaluation: Evaluation<'_>) -> Result<IpAddr, Absent> {
    match evaluate_as(expression, SampleType::Address, evaluation)?.value {
        Value::Ipv4(address) => Ok(address.into()),
        Value::Ipv6(address) => Ok(address.into()),
        _ => Err(Absent::Missing),
    }
}

fn port(expression: &Expression, evaluation: Evaluation<'_>) -> Result<u16, Absent> {
    match evaluate_as(expression, SampleType::Integer, evaluation)?.value {
        Value::Integer(port) => Ok(port as u16),
        _ => Err(Absent::Missing),
    }
}

/// The same endpoint with another address; a unix socket becomes one with port 0.
fn with_ip(peer: Option<SocketAddr>, address: IpAddr) -> Peer {
    Peer::Inet(SocketAddr::new(address, peer.map_or(0, |peer| peer.port())))
}

/// The same endpoint with another port. Where there is no address, HAProxy takes 0.0.0.0.
fn with_port(peer: Option<SocketAddr>, port: u16) -> Option<Peer> {
    let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    Some(Peer::Inet(SocketAddr::new(address, port)))
}
