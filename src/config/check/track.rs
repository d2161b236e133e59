//! `track`: servers that take over the state of another one.

use std::collections::HashMap;
use std::sync::Arc;

use ringmain_model::{Backend, BackendId, Server, ServerId};

use super::backend::Directory;
use super::builder::ProxyBuilder;
use crate::config::diagnostic::Diagnostics;
use crate::config::draft::Word;
use crate::config::keyword;

type Names = HashMap<(BackendId, Arc<str>), ServerId>;

/// Resolves all `track` options, and reports targets that do not exist, have no health of their own, or track each other in a ring.
pub fn resolve(
    proxies: &[ProxyBuilder],
    directory: &Directory,
    backends: &[Backend],
    servers: &mut [Server],
    diagnostics: &mut Diagnostics,
) {
    let active = || directory.backends(proxies).filter(|(_, proxy)| !proxy.disabled);
    if !active().any(|(_, proxy)| proxy.servers.iter().any(|server| server.track.is_some())) {
        return;
    }
    let names = names(backends, servers);
    let mut links: Vec<(ServerId, &Word)> = Vec::new();
    for (backend, proxy) in active() {
        for server in &proxy.servers {
            let (Some(word), Some(name)) = (&server.track, &server.name) else { continue };
            let own = names.get(&(backend, name.text.as_str().into())).copied();
            let (Some(target), Some(own)) = (target(backend, word, directory, &names, diagnostics), own) else { continue };
            if let Some(check) = server.check {
                diagnostics.error(check, "a server cannot have checks and track another one at the same time");
            }
            if let Some(server) = servers.get_mut(own.index()) {
                server.track = Some(target);
                links.push((own, word));
            }
        }
    }
    for (own, word) in links {
        report_end(own, word, servers, diagnostics);
    }
}

fn names(backends: &[Backend], servers: &[Server]) -> Names {
    let ids = |range: std::ops::Range<usize>| range.filter_map(|index| Some((ServerId::new(index), servers.get(index)?)));
    let mut names = Names::with_capacity(servers.len());
    for backend in backends {
        for (id, server) in ids(backend.servers.clone()) {
            names.entry((server.backend, server.name.clone())).or_insert(id);
        }
    }
    names
}

fn target(own: BackendId, word: &Word, directory: &Directory, names: &Names, diagnostics: &mut Diagnostics) -> Option<ServerId> {
    let (backend, name) = match word.text.split_once('/') {
        Some((backend, name)) => match directory.named(backend) {
            Some(id) => (id, name),
            None => {
                let finding = diagnostics.error(word.span, format!("there is no backend '{backend}' to track a server of"));
                if let Some(near) = keyword::nearest(backend, directory.names()) {
                    finding.help(format!("did you mean '{near}'?"));
                }
                return None;
            }
        },
        None => (own, word.text.as_str()),
    };
    let found = names.get(&(backend, name.into())).copied();
    if found.is_none() {
        let finding = diagnostics.error(word.span, format!("there is no server '{name}' to track"));
        let others = names.keys().filter(|(other, _)| *other == backend).map(|(_, name)| &**name);
        if let Some(near) = keyword::nearest(name, others) {
            finding.help(format!("did you mean '{near}'?"));
        }
    }
    found
}

/// Follows a chain to the server whose health it is about.
fn report_end(own: ServerId, word: &Word, servers: &[Server], diagnostics: &mut Diagnostics) {
    let mut at = own;
    for _ in 0..=servers.len() {
        match servers.get(at.index()) {
            Some(server) => match server.track {
                Some(next) if next == own => {
                    diagnostics.error(word.span, "these servers track each other in a ring");
                    return;
                }
                Some(next) => at = next,
                None => {
                    if server.check.is_none() {
                        diagnostics
                            .error(word.span, format!("server '{}' cannot be tracked: it has no health check", server.name))
                            .help("add 'check' to the server that is tracked");
                    }
                    return;
                }
            },
            None => return,
        }
    }
    // A chain that ends in a ring it is not part of: the servers of the ring are reported themselves.
}
