//! Facts from literals and expressions without names, for tests of expressions here and in the crates above. Nothing else calls it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ringmain_model::table::{KeyType, Table};
use ringmain_model::{Argument, BackendId, Call, Expression, FrontendId, Needs, SampleType, ServerId, TableId, Variable};

use super::facts::{Backends, Bytes, Count, Facts, TableQuery, TcpField, Timeout};
use super::registry::{Parameter, converter, fetch_entry};
use super::sample::Value;

/// Answers table queries, each at once.
pub type AnswerBy = Box<dyn Fn(&TableQuery) -> Option<i64>>;

/// Facts as a test wants them; what it does not set is as in a process without sessions.
pub struct Literal {
    /// Microseconds since 1970.
    pub wall_us: u64,
    /// What `random` gives, counted up by each use.
    pub random: Cell<u64>,
    /// The client, before and after rules changed it.
    pub client: Option<SocketAddr>,
    /// The client before rules changed it, where that differs.
    pub original_client: Option<SocketAddr>,
    /// Where the client connected to.
    pub local: Option<SocketAddr>,
    /// Both ends of the connection to the server.
    pub server_side: Option<(SocketAddr, SocketAddr)>,
    /// Addresses of this host.
    pub own_addresses: Vec<IpAddr>,
    /// Number and name of the bind.
    pub bind: Option<(u32, Option<&'static str>)>,
    /// The frontend, with its number and name.
    pub frontend: Option<(FrontendId, u32, &'static str)>,
    /// The backend, with its number and name.
    pub backend: Option<(BackendId, u32, &'static str)>,
    /// The server, with its number and name.
    pub server: Option<(ServerId, u32, &'static str)>,
    /// What the client sent, whether that is all, and what fetches see of it.
    pub request: Option<(Vec<u8>, bool)>,
    /// What the server sent, and whether that is all.
    pub response: Option<(Vec<u8>, bool)>,
    /// Most bytes that are looked at.
    pub inspected_bytes_max: usize,
    /// Numbers by what is counted.
    pub counts: Vec<(Count, i64)>,
    /// Timeouts in milliseconds.
    pub timeouts: Vec<(Timeout, u64)>,
    /// What the kernel knows of the client's connection.
    pub tcp: Vec<(TcpField, i64)>,
    /// Variables.
    pub variables: HashMap<Variable, Value<'static>>,
    /// Tables by their id.
    pub tables: Vec<Table>,
    /// Tables of tracked entries by counter.
    pub tracked: [Option<TableId>; 3],
    /// Answers to table queries; a query without one must be fetched first.
    pub answers: Vec<(TableQuery, Option<i64>)>,
    /// Answers queries that have none in `answers`.
    pub answer_by: Option<AnswerBy>,
    /// All queries so far.
    pub asked: RefCell<Vec<TableQuery>>,
    /// The last rule's file and line.
    pub last_rule: Option<(&'static str, u32)>,
    /// The process is about to end.
    pub stopping: bool,
}

impl Default for Literal {
    fn default() -> Self {
        Self {
            wall_us: 0,
            random: Cell::new(0),
            client: None,
            original_client: None,
            local: None,
            server_side: None,
            own_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            bind: None,
            frontend: None,
            backend: None,
            server: None,
            request: None,
            response: None,
            inspected_bytes_max: 16_384,
            counts: Vec::new(),
            timeouts: Vec::new(),
            tcp: Vec::new(),
            variables: HashMap::new(),
            tables: Vec::new(),
            tracked: [None; 3],
            answers: Vec::new(),
            answer_by: None,
            asked: RefCell::new(Vec::new()),
            last_rule: None,
            stopping: false,
        }
    }
}

impl Literal {
    /// A session whose client sent these bytes; `complete` when nothing will follow.
    pub fn of_request(bytes: &[u8], complete: bool) -> Self {
        Self { request: Some((bytes.to_vec(), complete)), ..Self::default() }
    }
}

fn found<K: PartialEq, V: Copy>(list: &[(K, V)], key: &K) -> Option<V> {
    list.iter().find(|(known, _)| known == key).map(|(_, value)| *value)
}

fn bytes(kept: &Option<(Vec<u8>, bool)>) -> Option<Bytes<'_>> {
    kept.as_ref().map(|(data, complete)| Bytes { data, complete: *complete })
}

impl Backends for Literal {
    fn backend_name(&self, _: BackendId) -> &str {
        self.backend.map_or("", |(_, _, name)| name)
    }
    fn server_name(&self, _: ServerId) -> &str {
        self.server.map_or("", |(_, _, name)| name)
    }
    fn frontend_name(&self, _: FrontendId) -> &str {
        self.frontend.map_or("", |(_, _, name)| name)
    }
}

impl Facts for Literal {
    fn now_ms(&self) -> u64 {
        self.wall_us / 1000
    }
    fn wall_us(&self) -> u64 {
        self.wall_us
    }
    fn random(&self) -> u64 {
        let value = self.random.get();
        self.random.set(value.wrapping_add(1));
        value
    }
    fn hostname(&self) -> &str {
        "host"
    }
    fn process_id(&self) -> u32 {
        4711
    }
    fn count(&self, count: Count) -> Option<i64> {
        found(&self.counts, &count)
    }
    fn names(&self) -> &dyn Backends {
        self
    }
    fn frontend_number(&self, _: FrontendId) -> u32 {
        self.frontend.map_or(0, |(_, number, _)| number)
    }
    fn backend_number(&self, _: BackendId) -> u32 {
        self.backend.map_or(0, |(_, number, _)| number)
    }
    fn server_number(&self, _: ServerId) -> u32 {
        self.server.map_or(0, |(_, number, _)| number)
    }
    fn client(&self) -> Option<SocketAddr> {
        self.client
    }
    fn original_client(&self) -> Option<SocketAddr> {
        self.original_client.or(self.client)
    }
    fn local(&self) -> Option<SocketAddr> {
        self.local
    }
    fn server_side_local(&self) -> Option<SocketAddr> {
        self.server_side.map(|(local, _)| local)
    }
    fn server_side_remote(&self) -> Option<SocketAddr> {
        self.server_side.map(|(_, remote)| remote)
    }
    fn is_own_address(&self, address: IpAddr) -> Option<bool> {
        Some(self.own_addresses.contains(&address))
    }
    fn bind(&self) -> Option<(u32, Option<&str>)> {
        self.bind
    }
    fn bind_connections(&self) -> Option<i64> {
        self.bind.map(|_| 1)
    }
    fn received_proxy_header(&self) -> Option<bool> {
        self.client.map(|_| false)
    }
    fn stopping(&self) -> bool {
        self.stopping
    }
    fn timeout_ms(&self, timeout: Timeout) -> Option<u64> {
        found(&self.timeouts, &timeout)
    }
    fn last_rule(&self) -> Option<(&str, u32)> {
        self.last_rule
    }
    fn default_backend(&self) -> Option<BackendId> {
        self.backend.map(|(id, ..)| id)
    }
    fn frontend(&self) -> Option<FrontendId> {
        self.frontend.map(|(id, ..)| id)
    }
    fn backend(&self) -> Option<BackendId> {
        self.backend.map(|(id, ..)| id)
    }
    fn server(&self) -> Option<ServerId> {
        self.server.map(|(id, ..)| id)
    }
    fn request(&self) -> Option<Bytes<'_>> {
        bytes(&self.request)
    }
    fn response(&self) -> Option<Bytes<'_>> {
        bytes(&self.response)
    }
    fn inspected_bytes_max(&self) -> usize {
        self.inspected_bytes_max
    }
    fn transferred(&self) -> (u64, u64) {
        let length = |kept: &Option<(Vec<u8>, bool)>| kept.as_ref().map_or(0, |(data, _)| data.len() as u64);
        (length(&self.request), length(&self.response))
    }
    fn variable(&self, variable: Variable) -> Option<Value<'_>> {
        self.variables.get(&variable).map(Value::reborrow)
    }
    fn table_definition(&self, table: TableId) -> Option<&Table> {
        self.tables.get(table.index())
    }
    fn tracked(&self, counter: u8) -> Option<TableId> {
        self.tracked.get(usize::from(counter)).copied().flatten()
    }
    fn table(&self, query: &TableQuery) -> Option<Option<i64>> {
        self.asked.borrow_mut().push(query.clone());
        found(&self.answers, query).or_else(|| self.answer_by.as_ref().map(|answer| answer(query)))
    }
    fn table_text(&self, _: &TableQuery) -> Option<Option<Arc<str>>> {
        None
    }
    fn table_key_type(&self, id: TableId) -> KeyType {
        self.tables.get(id.index()).map_or(KeyType::Ip, |table| table.key)
    }
    fn client_tcp_info(&self, field: TcpField) -> Option<i64> {
        found(&self.tcp, &field)
    }
}

/// An expression as written, without blanks and quotes in arguments: names of tables, proxies and servers are their ids, variables are
/// slots of the transaction, and an environment variable stands for its own name.
///
/// # Errors
/// A sentence about what is wrong.
pub fn expression(source: &str) -> Result<Expression, String> {
    let mut calls = Vec::new();
    let mut rest = source;
    loop {
        let end = rest.find(['(', ',']).unwrap_or(rest.len());
        let (name, mut behind) = rest.split_at(end);
        let mut given: Vec<&str> = Vec::new();
        if let Some(inside) = behind.strip_prefix('(') {
            let (arguments, after) = inside.split_once(')').ok_or_else(|| format!("'{source}' has no closing parenthesis"))?;
            given = arguments.split(',').collect();
            behind = after;
        }
        calls.push((name, given));
        match behind.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    let mut output = SampleType::Any;
    let mut needs = Needs::NOTHING;
    let mut built = Vec::new();
    for (position, (name, given)) in calls.iter().enumerate() {
        let (index, parameters, check, more) = if position == 0 {
            let (index, entry) = fetch_entry(name).ok_or_else(|| format!("no fetch '{name}'"))?;
            output = entry.output;
            (index, (entry.parameters, entry.required), entry.check, entry.needs)
        } else {
            let (index, entry) = converter(name).ok_or_else(|| format!("no converter '{name}'"))?;
            if !output.casts_to(entry.input) {
                return Err(format!("'{name}' does not take {}", output.name()));
            }
            output = if entry.output == SampleType::Same { output } else { entry.output };
            (index, (entry.parameters, entry.required), entry.check, entry.needs)
        };
        needs = needs.and(more);
        let mut arguments = arguments(name, given, parameters)?;
        if let Some(check) = check {
            check(&mut arguments).map_err(|(position, message)| format!("argument {} of '{name}': {message}", position + 1))?;
        }
        built.push(Call { entry: index, arguments: arguments.into() });
    }
    let fetch = built.remove(0);
    Ok(Expression { source: source.into(), fetch, converters: built.into(), output, needs })
}

fn arguments(name: &str, given: &[&str], (parameters, required): (&[Parameter], usize)) -> Result<Vec<Argument>, String> {
    if given.len() > parameters.len() || given.len() < required {
        return Err(format!("'{name}' takes {required} to {} arguments", parameters.len()));
    }
    given.iter().zip(parameters).map(|(text, parameter)| argument(text, *parameter)).collect()
}

fn argument(text: &str, parameter: Parameter) -> Result<Argument, String> {
    let wrong = |_| format!("'{text}' is wrong");
    let index = || text.parse::<usize>().map_err(|_| format!("'{text}' is no id"));
    Ok(match parameter {
        Parameter::Integer => Argument::Integer(text.parse().map_err(wrong)?),
        Parameter::Word(words) if !words.contains(&text) => return Err(format!("'{text}' is none of {words:?}")),
        Parameter::Text | Parameter::Word(_) | Parameter::Environment => Argument::Text(text.into()),
        Parameter::Frontend => Argument::Frontend(FrontendId::new(index()?)),
        Parameter::Backend => Argument::Backend(BackendId::new(index()?)),
        Parameter::Server => Argument::Server(ServerId::new(index()?)),
        Parameter::Table | Parameter::OtherTable => Argument::Table(TableId::new(index()?)),
        Parameter::Variable => {
            Argument::Variable(Variable { scope: ringmain_model::Scope::Transaction, slot: text.parse().map_err(wrong)? })
        }
        other => return Err(format!("{other:?} is not read here")),
    })
}
