//! The model's servers: addresses resolved, defaults filled in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use ringmain_model::{BackendId, Check, Milliseconds, Server, ServerAddress, ServerHost, ServerPort};

use super::address::{self, Address, AddressError, Family, Host, Port};
use super::at;
use super::builder::{InitAddress, ProxyBuilder, ServerBuilder};
use super::context::Context;
use super::number;
use crate::config::diagnostic::{Diagnostics, Sources, Span};
use crate::config::draft::Word;

/// HAProxy's default interval of checks.
const CHECK_INTERVAL: Milliseconds = Milliseconds(2000);

/// Appends the servers of a backend to the model's list and gives their range. A server that cannot be used is kept out; why was reported.
pub fn append(
    proxy: &ProxyBuilder,
    backend: BackendId,
    sources: &Sources,
    context: &Context<'_>,
    servers: &mut Vec<Server>,
    diagnostics: &mut Diagnostics,
) -> Range<usize> {
    let start = servers.len();
    report_twins(proxy, sources, diagnostics);
    number::report_duplicates(proxy.servers.iter().filter_map(|server| server.id), "server", sources, diagnostics);
    let numbers = number::assign(proxy.servers.iter().map(|server| server.id.map(|(number, _)| number)));
    for (server, id) in proxy.servers.iter().zip(numbers) {
        servers.extend(build(proxy, server, id, backend, context, diagnostics));
    }
    start..servers.len()
}

fn report_twins(proxy: &ProxyBuilder, sources: &Sources, diagnostics: &mut Diagnostics) {
    let mut seen: HashMap<&str, Span> = HashMap::with_capacity(proxy.servers.len());
    for name in proxy.servers.iter().filter_map(|server| server.name.as_ref()) {
        match seen.get(name.text.as_str()) {
            Some(first) => {
                diagnostics.error(name.span, format!("{} has a server '{}' already, {}", proxy.title(), name.text, at(sources, *first)));
            }
            None => {
                seen.insert(&name.text, name.span);
            }
        }
    }
}

fn build(
    proxy: &ProxyBuilder,
    server: &ServerBuilder,
    id: u32,
    backend: BackendId,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Server> {
    let (name, word) = (server.name.as_ref()?, server.address.as_ref()?);
    let address = address(server, word, context, diagnostics)?;
    // HAProxy raises maxconn to minconn, and without minconn the limit does not move.
    let maxconn = server.maxconn.max(server.minconn);
    let minconn = if server.minconn > 0 { server.minconn } else { maxconn };
    Some(Server {
        name: name.text.as_str().into(),
        id,
        backend,
        check: check(server, &address, diagnostics),
        address,
        weight: server.weight,
        backup: server.backup,
        disabled: server.disabled,
        maxconn,
        minconn,
        maxqueue: server.maxqueue,
        maxconnrate: server.maxconnrate,
        slowstart: server.slowstart,
        observe: server.observe,
        error_limit: server.error_limit,
        on_error: server.on_error,
        shutdown_sessions_when_down: server.shutdown_sessions_when_down,
        shutdown_backup_sessions_when_up: server.shutdown_backup_sessions_when_up,
        track: None,
        source: server.source.clone().or_else(|| proxy.source.clone()),
    })
}

fn check(server: &ServerBuilder, address: &ServerAddress, diagnostics: &mut Diagnostics) -> Option<Check> {
    let span = server.check?;
    let needs_port = matches!(address.host, ServerHost::Ip(_) | ServerHost::Unresolved);
    if needs_port && server.check_port.is_none() && !matches!(address.port, ServerPort::Fixed(_)) {
        diagnostics
            .error(span, "this server has no port of its own that a check could connect to")
            .help("give the address a port, or add 'port <number>'");
    }
    let inter = server.inter.unwrap_or(CHECK_INTERVAL);
    Some(Check {
        inter,
        fastinter: server.fastinter.unwrap_or(inter),
        downinter: server.downinter.unwrap_or(inter),
        rise: server.rise,
        fall: server.fall,
        port: server.check_port,
        address: server.check_address,
    })
}

fn address(server: &ServerBuilder, word: &Word, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Option<ServerAddress> {
    let parsed = match address::parse(&word.text) {
        Ok(parsed) => parsed,
        Err(AddressError::Host(name)) => {
            diagnostics.error(word.span, format!("'{name}' has no address of this family"));
            return None;
        }
        Err(error @ AddressError::Unsupported(_)) => {
            diagnostics.unsupported(word.span, error.to_string());
            return None;
        }
        Err(error) => {
            diagnostics.error(word.span, error.to_string());
            return None;
        }
    };
    let unix = |host, text: &str| Some(ServerAddress { host_text: text.into(), host, port: ServerPort::Fixed(0) });
    match parsed {
        Address::Unix(path) => unix(ServerHost::Unix(path), &word.text),
        Address::Abstract(name) => unix(ServerHost::Abstract(name.into()), &word.text),
        Address::Descriptor(_) => {
            diagnostics.error(word.span, "a server cannot be a file descriptor");
            None
        }
        Address::Inet { datagram: true, .. } => {
            diagnostics.error(word.span, "a server cannot be reached by datagrams");
            None
        }
        Address::Inet { host, port, .. } => {
            let port = port_of(word, port, diagnostics)?;
            let (host_text, host) = host_of(server, word, host, context, diagnostics)?;
            Some(ServerAddress { host_text, host, port })
        }
    }
}

fn port_of(word: &Word, port: Port, diagnostics: &mut Diagnostics) -> Option<ServerPort> {
    match port {
        Port::Missing | Port::Fixed(0) => Some(ServerPort::Client),
        Port::Fixed(port) => Some(ServerPort::Fixed(port)),
        Port::Offset(offset) => Some(ServerPort::Offset(offset)),
        Port::Range(..) => {
            diagnostics.error(word.span, "a server has one port, not a range");
            None
        }
    }
}

fn host_of(
    server: &ServerBuilder,
    word: &Word,
    host: Host,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<(Arc<str>, ServerHost)> {
    match host {
        Host::Any(_) => {
            client_address(word, diagnostics);
            None
        }
        Host::Ip(address) if address.is_unspecified() => {
            client_address(word, diagnostics);
            None
        }
        Host::Ip(address) => Some((address.to_string().into(), ServerHost::Ip(address))),
        Host::Name(name, family) => {
            let host = resolve(server, word, &name, family, context, diagnostics)?;
            Some((name.into(), host))
        }
    }
}

fn client_address(word: &Word, diagnostics: &mut Diagnostics) {
    diagnostics
        .unsupported(word.span, "a server at the address that the client connected to is not supported here yet")
        .label("no host, '*' or '0.0.0.0'");
}

/// Finds the address of a name by the methods of `init-addr`, in order.
fn resolve(
    server: &ServerBuilder,
    word: &Word,
    name: &str,
    family: Family,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<ServerHost> {
    let methods = if server.init_addr.is_empty() { &[InitAddress::Last, InitAddress::Libc][..] } else { &server.init_addr };
    let mut tried = false;
    for method in methods {
        match method {
            InitAddress::Last => {}
            InitAddress::Libc => {
                tried = true;
                if let Ok(address) = address::resolve(&Host::Name(name.to_owned(), family), context.names) {
                    return Some(ServerHost::Ip(address));
                }
            }
            InitAddress::None => {
                if tried {
                    diagnostics.warning(word.span, format!("the name '{name}' cannot be resolved; this server starts in maintenance"));
                }
                return Some(ServerHost::Unresolved);
            }
            InitAddress::Ip(address) => {
                if tried {
                    diagnostics.warning(word.span, format!("the name '{name}' cannot be resolved; {address} is used"));
                }
                return Some(ServerHost::Ip(IpAddr::clone(address)));
            }
        }
    }
    let finding = diagnostics.error(word.span, format!("the name '{name}' cannot be resolved"));
    if tried {
        finding.help("to start without an address add 'init-addr last,libc,none'");
    } else {
        finding.help("'init-addr' allows no method that gives an address");
    }
    None
}
