//! The servers of a backend as TOML.

use ringmain_model::{Check, Milliseconds, Model, Observe, OnError, Server, ServerHost};

use super::writer::{Section, Value, duration};
use super::{ALL, DERIVED, PLAIN, Part, address, backend_name};
use crate::config::keyword::{Places, Scope};
use crate::config::toml::parameter_at;

/// Writes the servers of one backend.
pub fn print(section: &mut Section, model: &Model, references: &[Model], backend: usize) {
    let range = model.backends[backend].servers.clone();
    if range.is_empty() {
        return;
    }
    let part = |index: usize| Part::of(model, references, move |model| &model.servers[index]);
    let all_numbered = range.clone().any(|index| part(index).differs(ALL, |server: &Server| server.id));
    let mut servers: Vec<Vec<(String, Value)>> = range.map(|index| server(&part(index), model, all_numbered)).collect();
    let shared = take_shared(&mut servers);
    if !shared.is_empty() {
        section.set("default_server", Value::Table(shared));
    }
    section.set("servers", Value::List(servers.into_iter().map(Value::Table).collect()));
}

/// Takes out what all of several servers say, to be said once.
fn take_shared(servers: &mut [Vec<(String, Value)>]) -> Vec<(String, Value)> {
    let [first, _, ..] = servers else { return Vec::new() };
    let mut shared = first.clone();
    shared.retain(|(name, value)| {
        let keyword = parameter_at(Scope::Server, name);
        // A role or a state belongs to its server, even where all have it.
        let is_setting =
            keyword.is_some_and(|keyword| keyword.places.contains(Places::DEFAULT_SERVER)) && !matches!(&**name, "backup" | "disabled");
        is_setting && servers.iter().all(|server| server.iter().any(|(other, given)| other == name && given == value))
    });
    for server in servers {
        server.retain(|(name, _)| !shared.iter().any(|(taken, _)| taken == name));
    }
    shared
}

fn server(server: &Part<'_, Server>, model: &Model, all_numbered: bool) -> Vec<(String, Value)> {
    let own = server.own;
    let numbered = all_numbered || server.differs(DERIVED, |server| server.id);
    let mut parameters: Vec<(String, Value)> =
        vec![("name".into(), (&*own.name).into()), ("address".into(), address::server(&own.address).into())];
    let mut add = |name: &str, value: Option<Value>| parameters.extend(value.map(|value| (name.to_owned(), value)));
    add("id", numbered.then(|| own.id.into()));
    add("weight", server.differs(PLAIN, |server| server.weight).then(|| u32::from(own.weight).into()));
    add("backup", own.backup.then_some(true.into()));
    add("disabled", own.disabled.then_some(true.into()));
    add("init_addr", initial_address(server));
    add("maxconn", server.differs(PLAIN, |server| server.maxconn).then(|| own.maxconn.into()));
    add("minconn", server.differs(DERIVED, |server| server.minconn).then(|| own.minconn.into()));
    add("maxqueue", server.differs(PLAIN, |server| server.maxqueue).then(|| own.maxqueue.into()));
    add("maxconnrate", server.differs(PLAIN, |server| server.maxconnrate).then(|| own.maxconnrate.into()));
    add("slowstart", time(own.slowstart));
    add("source", server.differs(DERIVED, |server| server.source.clone()).then(|| own.source.as_ref().map(address::source)).flatten());
    parameters
        .extend(own.check.as_ref().map(|check| check_parameters(&server.inner(check, |server| server.check.as_ref()))).unwrap_or_default());
    parameters.extend(reactions(server));
    if let Some(tracked) = own.track.and_then(|id| model.servers.get(id.index())) {
        let backend = backend_name(model, tracked.backend).unwrap_or_default();
        parameters.push(("track".into(), format!("{backend}/{}", tracked.name).into()));
    }
    parameters
}

/// How the name became an address, where it is not what the resolver says.
fn initial_address(server: &Part<'_, Server>) -> Option<Value> {
    match &server.own.address.host {
        ServerHost::Unresolved => Some("none".into()),
        // Nothing is known yet: whatever the resolver says, the text must load.
        ServerHost::Ip(_) if server.references.is_empty() => Some("libc,none".into()),
        ServerHost::Ip(ip) if server.differs(PLAIN, |server| server.address.host.clone()) => Some(ip.to_string().into()),
        _ => None,
    }
}

fn check_parameters(check: &Part<'_, Check>) -> Vec<(String, Value)> {
    let own = check.own;
    let mut parameters = vec![("check".to_owned(), Value::Flag(true))];
    let mut add = |name: &str, value: Option<Value>| parameters.extend(value.map(|value| (name.to_owned(), value)));
    add("inter", check.differs(PLAIN, |check| check.inter).then(|| duration(own.inter.0)));
    add("fastinter", check.differs(DERIVED, |check| check.fastinter).then(|| duration(own.fastinter.0)));
    add("downinter", check.differs(DERIVED, |check| check.downinter).then(|| duration(own.downinter.0)));
    add("rise", check.differs(PLAIN, |check| check.rise).then(|| own.rise.into()));
    add("fall", check.differs(PLAIN, |check| check.fall).then(|| own.fall.into()));
    add("port", own.port.map(|port| u32::from(port).into()));
    add("addr", own.address.map(|address| address.to_string().into()));
    parameters
}

/// What a server does when something happens to it.
fn reactions(server: &Part<'_, Server>) -> Vec<(String, Value)> {
    let own = server.own;
    let mut parameters = Vec::new();
    let mut add = |name: &str, value: Option<Value>| parameters.extend(value.map(|value| (name.to_owned(), value)));
    add("observe", own.observe.map(|Observe::Layer4| "layer4".into()));
    add("error_limit", server.differs(PLAIN, |server| server.error_limit).then(|| own.error_limit.into()));
    let on_error = match own.on_error {
        OnError::FastInter => "fastinter",
        OnError::FailCheck => "fail-check",
        OnError::SuddenDeath => "sudden-death",
        OnError::MarkDown => "mark-down",
    };
    add("on_error", server.differs(PLAIN, |server| server.on_error).then(|| on_error.into()));
    add("on_marked_down", own.shutdown_sessions_when_down.then(|| "shutdown-sessions".into()));
    add("on_marked_up", own.shutdown_backup_sessions_when_up.then(|| "shutdown-backup-sessions".into()));
    parameters
}

fn time(time: Option<Milliseconds>) -> Option<Value> {
    time.map(|time| duration(time.0))
}
