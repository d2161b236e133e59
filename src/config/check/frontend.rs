//! The listening halves: where their sessions go, and the model's frontends.

use std::collections::HashMap;

use ringmain_model::rule::FrontendRules;
use ringmain_model::{BackendId, Bind, Endpoint, Frontend, FrontendOptions, FrontendTimeouts, Ipv6Binding, Mode, SplicePolicy};

use super::at;
use super::backend::Directory;
use super::builder::{BindBuilder, ProxyBuilder};
use super::capacity::{self, Limits};
use super::lint::Logs;
use super::number;
use super::sections::Gathered;
use crate::config::diagnostic::{Diagnostics, Sources, Span};
use crate::config::draft::Word;
use crate::config::keyword;

/// Where the sessions of one proxy go.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Where those go that no rule sends elsewhere.
    pub target: Option<BackendId>,
    /// Where all of them go, when that is known: the target of a rule without condition, if none stands before it, else `target`.
    pub always: Option<BackendId>,
    /// All backends that are named.
    pub reachable: Vec<BackendId>,
}

/// Resolves `use_backend` and `default_backend` of all proxies, by position.
pub fn routes(proxies: &[ProxyBuilder], directory: &Directory, diagnostics: &mut Diagnostics) -> Vec<Route> {
    let mut routes = Vec::with_capacity(proxies.len());
    for (position, proxy) in proxies.iter().enumerate() {
        let own = directory.at_position(position);
        let mut route = Route::default();
        // A backend's are resolved, too: HAProxy ignores them but not their mistakes.
        let lines = &proxy.rules.use_backends;
        let names = lines.iter().filter_map(|line| line.words.first()).filter(|name| !is_computed(name));
        for word in names.chain(&proxy.default_backend) {
            let target = resolve(proxy, word, own, directory, diagnostics);
            route.reachable.extend(target);
        }
        if proxy.is_front() {
            let default = proxy.default_backend.as_ref().and_then(|word| directory.named(&word.text));
            route.target = default.filter(|default| Some(*default) != own).or(own);
            route.always = match lines.first().map(|line| line.words.as_slice()) {
                None => route.target,
                Some([name]) if !is_computed(name) => directory.named(&name.text),
                Some(_) => None,
            };
        }
        routes.push(route);
    }
    routes
}

/// Whether a backend's or a server's name is a format string.
pub fn is_computed(name: &Word) -> bool {
    name.text.contains('%')
}

fn resolve(
    proxy: &ProxyBuilder,
    word: &Word,
    own: Option<BackendId>,
    directory: &Directory,
    diagnostics: &mut Diagnostics,
) -> Option<BackendId> {
    // A disabled proxy may name what does not exist, as in HAProxy.
    let Some(target) = directory.named(&word.text) else {
        if !proxy.disabled {
            let finding = diagnostics.error(word.span, format!("there is no backend '{}'", word.text));
            if let Some(near) = keyword::nearest(&word.text, directory.names()) {
                finding.help(format!("did you mean '{near}'?"));
            }
        }
        return None;
    };
    if own == Some(target) {
        diagnostics
            .error(word.span, format!("{} sends its sessions to itself", proxy.title()))
            .help("a listen uses its own servers without this line");
        return None;
    }
    Some(target)
}

/// The model's frontends, in order.
pub fn build(
    gathered: &Gathered,
    numbers: &HashMap<Span, u32>,
    routes: &[Route],
    limits: &Limits,
    logs: &Logs,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Vec<Frontend> {
    let mut taken = Taken::default();
    let serving: Vec<&ProxyBuilder> = gathered.proxies.iter().filter(|proxy| proxy.is_back()).collect();
    let mut frontends = Vec::new();
    for (position, proxy) in gathered.proxies.iter().enumerate().filter(|(_, proxy)| proxy.is_front()) {
        let (route, always) = routes.get(position).map_or((None, None), |route| (route.target, route.always));
        let target = always.and_then(|id| serving.get(id.index()).copied());
        let maxconn = capacity::frontend_maxconn(proxy, limits);
        frontends.push(Frontend {
            name: proxy.name.clone(),
            proxy_id: numbers.get(&proxy.span).copied().unwrap_or_default(),
            description: proxy.description.clone(),
            disabled: proxy.disabled,
            mode: Mode::Tcp,
            binds: binds(proxy, maxconn, &mut taken, sources, diagnostics),
            maxconn,
            rate_limit_sessions: proxy.rate_limit_sessions,
            route,
            timeouts: FrontendTimeouts { client: proxy.timeouts.client, client_fin: proxy.timeouts.client_fin },
            options: options(proxy, target, gathered.global.no_splice),
            log: logs.of(proxy),
            rules: FrontendRules::default(),
            captures: Vec::new(),
        });
    }
    frontends
}

fn options(proxy: &ProxyBuilder, target: Option<&ProxyBuilder>, no_splice: bool) -> FrontendOptions {
    let flags = proxy.flags;
    let splice =
        |pick: fn(&ProxyBuilder) -> SplicePolicy| if no_splice { SplicePolicy::Never } else { splice(pick(proxy), target.map(pick)) };
    FrontendOptions {
        dontlognull: flags.dontlognull,
        dontlog_normal: flags.dontlog_normal,
        logasap: flags.logasap,
        log_separate_errors: flags.log_separate_errors,
        client_tcp_keepalive: flags.client_tcp_keepalive,
        nolinger: flags.nolinger,
        independent_streams: flags.independent_streams,
        splice_request: splice(|proxy| proxy.splice_request),
        splice_response: splice(|proxy| proxy.splice_response),
        mqtt_stats: flags.mqtt_stats,
        mqtt_drain: proxy.mqtt_drain,
        socket_stats: flags.socket_stats,
    }
}

/// Splicing is on when either half asks for it, as in HAProxy; off when one forbids it and the other says nothing.
fn splice(front: SplicePolicy, back: Option<SplicePolicy>) -> SplicePolicy {
    let sides = [front, back.unwrap_or_default()];
    if sides.contains(&SplicePolicy::Always) {
        SplicePolicy::Always
    } else if sides.contains(&SplicePolicy::Never) {
        SplicePolicy::Never
    } else {
        SplicePolicy::Adaptive
    }
}

/// Addresses that are listened on: what makes two of them the same.
type Identity = (Endpoint, Option<std::sync::Arc<str>>, Ipv6Binding);

#[derive(Default)]
struct Taken {
    by: HashMap<Identity, (std::sync::Arc<str>, Span)>,
}

fn binds(proxy: &ProxyBuilder, maxconn: u32, taken: &mut Taken, sources: &Sources, diagnostics: &mut Diagnostics) -> Vec<Bind> {
    number::report_duplicates(proxy.binds.iter().filter_map(|bind| bind.id), "bind", sources, diagnostics);
    let asked = proxy.binds.iter().flat_map(|bind| bind.endpoints.iter().map(|_| bind.id.map(|(number, _)| number)));
    let numbers = number::assign(asked.collect::<Vec<_>>().into_iter());
    let mut list = Vec::with_capacity(numbers.len());
    let endpoints = proxy.binds.iter().flat_map(|bind| bind.endpoints.iter().map(move |endpoint| (bind, endpoint)));
    for ((bind, endpoint), id) in endpoints.zip(numbers) {
        if !proxy.disabled && !claim(proxy, bind, endpoint, taken, sources, diagnostics) {
            continue;
        }
        let frontend_backlog = if proxy.backlog > 0 { proxy.backlog } else { maxconn };
        list.push(Bind {
            endpoint: endpoint.clone(),
            name: bind.name.clone(),
            id,
            interface: bind.interface.clone(),
            backlog: bind.backlog.unwrap_or(frontend_backlog),
            maxconn: bind.maxconn,
            ipv6: bind.ipv6,
            permissions: bind.permissions,
            location: sources.location(bind.span).into(),
        });
    }
    list
}

/// Whether an address is free. The same address twice in one frontend is left out; in two frontends it would split clients at random.
fn claim(
    proxy: &ProxyBuilder,
    bind: &BindBuilder,
    endpoint: &Endpoint,
    taken: &mut Taken,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> bool {
    let identity = (endpoint.clone(), bind.interface.clone(), bind.ipv6);
    let Some((owner, first)) = taken.by.get(&identity) else {
        taken.by.insert(identity, (proxy.name.clone(), bind.span));
        return true;
    };
    if *owner == proxy.name {
        diagnostics.warning(bind.span, format!("this address is listened on already, {}; it is left out here", at(sources, *first)));
    } else {
        diagnostics
            .error(bind.span, format!("frontend '{owner}' listens on this address already, {}", at(sources, *first)))
            .help("clients would get one of the two at random");
    }
    false
}
