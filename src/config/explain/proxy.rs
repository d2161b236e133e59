//! One proxy section of a model as TOML: a frontend, a backend, or both as a `listen`.

use crate::config::draft::SectionKind;
use ringmain_model::{
    Backend, BackendOptions, Balance, Bind, Expression, Frontend, FrontendOptions, Hash, HashFunction, HashMethod, Ipv6Binding,
    LogSettings, Milliseconds, Model, MqttCheck, MqttVersion, SplicePolicy, TableId,
};

use super::writer::{Section, Value, duration};
use super::{ALL, DERIVED, PLAIN, Part, Proxy, address, backend_name, global, rules, server};
use crate::config::expression::quoted;

/// The section of one proxy, with its number where it must be written.
pub fn print(proxy: &Proxy<'_>, own_table: Option<TableId>, model: &Model, references: &[Model], number: Option<u32>) -> Section {
    let (kind, name, description, disabled, log) = match (proxy.front, proxy.back) {
        (Some((_, front)), back) => {
            let kind = if back.is_some() { SectionKind::Listen } else { SectionKind::Frontend };
            (kind, &front.name, &front.description, front.disabled, &front.log)
        }
        (None, Some((_, back))) => (SectionKind::Backend, &back.name, &back.description, back.disabled, &back.log),
        (None, None) => return Section::new(SectionKind::Listen, None),
    };
    let mut section = Section::new(kind, Some(name));
    if let Some(description) = description {
        section.set("description", &**description);
    }
    if let Some(number) = number {
        section.set("id", number);
    }
    if disabled {
        section.set("disabled", true);
    }
    if let Some((index, _)) = proxy.front {
        frontend(&mut section, model, references, index, proxy.back.map(|(index, _)| index));
    }
    logging(&mut section, log, model);
    rules::print(&mut section, proxy.front.map(|(_, front)| front), proxy.back.map(|(_, back)| back), own_table, model);
    if let Some((index, _)) = proxy.back {
        backend(&mut section, model, references, index, proxy.front.is_some());
    }
    section
}

fn frontend(section: &mut Section, model: &Model, references: &[Model], index: usize, own_back: Option<usize>) {
    let front: Part<'_, Frontend> = Part::of(model, references, |model| &model.frontends[index]);
    let own = front.own;
    binds(section, &front);
    if front.differs(PLAIN, |front| front.maxconn) {
        section.set("maxconn", own.maxconn);
    }
    if front.differs(PLAIN, |front| front.rate_limit_sessions) {
        section.set("rate_limit.sessions", own.rate_limit_sessions);
    }
    timeout(section, &front, PLAIN, "client", |front| front.timeouts.client);
    timeout(section, &front, PLAIN, "client_fin", |front| front.timeouts.client_fin);
    frontend_options(section, &front.inner(&own.options, |front| Some(&front.options)));
    if let Some(route) = own.route.filter(|route| Some(route.index()) != own_back)
        && let Some(name) = backend_name(model, route)
    {
        section.set("default_backend", name);
    }
}

fn frontend_options(section: &mut Section, options: &Part<'_, FrontendOptions>) {
    let own = options.own;
    let flags = [
        ("dontlognull", own.dontlognull),
        ("dontlog_normal", own.dontlog_normal),
        ("logasap", own.logasap),
        ("log_separate_errors", own.log_separate_errors),
        ("clitcpka", own.client_tcp_keepalive),
        ("nolinger", own.nolinger),
        ("independent_streams", own.independent_streams),
        ("socket_stats", own.socket_stats),
        ("mqtt_stats", own.mqtt_stats),
    ];
    set_flags(section, &flags);
    drain(section, own.mqtt_drain);
    splice(section, options, "option.splice_request", |options| options.splice_request);
    splice(section, options, "option.splice_response", |options| options.splice_response);
}

fn splice(section: &mut Section, options: &Part<'_, FrontendOptions>, path: &str, policy: impl Fn(&FrontendOptions) -> SplicePolicy) {
    if options.differs(PLAIN, &policy) {
        section.set(path, policy(options.own) == SplicePolicy::Always);
    }
}

fn binds(section: &mut Section, front: &Part<'_, Frontend>) {
    let own = front.own;
    let all_numbered = front.differs(ALL, |front| front.binds.iter().map(|bind| bind.id).collect::<Vec<_>>());
    let part = |index: usize| own.binds.get(index).map(|bind| front.inner(bind, |front| front.binds.get(index)));
    // What most binds say differently from their default is said once, for the frontend.
    let backlogs: Vec<u32> = (0..own.binds.len())
        .filter_map(part)
        .filter(|bind| bind.differs(DERIVED, |bind| bind.backlog))
        .map(|bind| bind.own.backlog)
        .collect();
    let shared =
        backlogs.first().copied().filter(|first| backlogs.iter().filter(|backlog| *backlog == first).count() * 2 > own.binds.len());
    let values: Vec<Value> = (0..own.binds.len()).filter_map(part).map(|bind| bind_value(&bind, all_numbered, shared)).collect();
    match <[Value; 1]>::try_from(values) {
        Ok([only]) => section.set("bind", only),
        Err(values) if values.is_empty() => {}
        Err(values) => section.set("bind", Value::List(values)),
    }
    if let Some(backlog) = shared {
        section.set("backlog", backlog);
    }
}

fn bind_value(bind: &Part<'_, Bind>, numbered: bool, shared_backlog: Option<u32>) -> Value {
    let own = bind.own;
    let numbered = numbered || bind.differs(DERIVED, |bind| bind.id);
    let backlog = match shared_backlog {
        Some(shared) => own.backlog != shared,
        None => bind.differs(DERIVED, |bind| bind.backlog),
    };
    let mut parameters: Vec<(String, Value)> = Vec::new();
    let mut add = |name: &str, value: Option<Value>| parameters.extend(value.map(|value| (name.to_owned(), value)));
    add("name", own.name.as_deref().map(Value::from));
    add("id", numbered.then(|| own.id.into()));
    add("interface", own.interface.as_deref().map(Value::from));
    add("backlog", backlog.then(|| own.backlog.into()));
    add("maxconn", own.maxconn.map(Value::from));
    add("v4v6", (own.ipv6 == Ipv6Binding::Both).then_some(Value::Flag(true)));
    add("v6only", (own.ipv6 == Ipv6Binding::Only).then_some(Value::Flag(true)));
    parameters.extend(address::permissions(&own.permissions));
    let address = address::endpoint(&own.endpoint);
    if parameters.is_empty() {
        return address.into();
    }
    parameters.insert(0, ("address".into(), address.into()));
    Value::Table(parameters)
}

fn backend(section: &mut Section, model: &Model, references: &[Model], index: usize, in_listen: bool) {
    let back: Part<'_, Backend> = Part::of(model, references, |model| &model.backends[index]);
    let own = back.own;
    if back.differs(PLAIN, |back| back.balance) {
        section.set("balance", balance(own.balance, own.hash_key.as_ref()));
    }
    if back.differs(PLAIN, |back| back.hash) {
        section.set("hash_type", hash(own.hash));
    }
    if back.differs(DERIVED, |back| back.fullconn) {
        section.set("fullconn", own.fullconn);
    }
    if back.differs(PLAIN, |back| back.retries) {
        section.set("retries", own.retries);
    }
    timeout(section, &back, PLAIN, "connect", |back| back.timeouts.connect);
    timeout(section, &back, PLAIN, "server", |back| back.timeouts.server);
    timeout(section, &back, PLAIN, "server_fin", |back| back.timeouts.server_fin);
    timeout(section, &back, DERIVED, "queue", |back| back.timeouts.queue);
    timeout(section, &back, PLAIN, "check", |back| back.timeouts.check);
    timeout(section, &back, PLAIN, "tunnel", |back| back.timeouts.tunnel);
    if back.differs(PLAIN, |back| back.redispatch_interval) {
        match own.redispatch_interval {
            0 => section.set("option.redispatch", false),
            -1 => section.set("option.redispatch", true),
            interval => section.set("option.redispatch", interval),
        }
    }
    backend_options(section, &own.options, in_listen);
    if !in_listen {
        drain(section, own.options.mqtt_drain);
    }
    if let Some(check) = &own.mqtt_check {
        section.set("option.mqtt_check", mqtt_check(check));
    }
    if let Some(source) = &own.source {
        section.set("source", address::source(source));
    }
    server::print(section, model, references, index);
}

fn backend_options(section: &mut Section, own: &BackendOptions, in_listen: bool) {
    let flags = [
        ("allbackups", own.all_backups),
        ("abortonclose", own.abort_on_close),
        ("persist", own.persist),
        ("srvtcpka", own.server_tcp_keepalive),
        // The listening half has said these two already.
        ("nolinger", own.nolinger && !in_listen),
        ("log_health_checks", own.log_health_checks),
        ("independent_streams", own.independent_streams && !in_listen),
    ];
    set_flags(section, &flags);
}

fn drain(section: &mut Section, rate: Option<u32>) {
    if let Some(rate) = rate {
        section.set("option.mqtt_drain", format!("rate {rate}").as_str());
    }
}

fn mqtt_check(check: &MqttCheck) -> Value {
    let mut words = Vec::new();
    if check.version != MqttVersion::default() {
        words.push(format!("version {}", check.version.name()));
    }
    let texts = [("user", &check.user), ("password", &check.password), ("client-id", &check.client_id)];
    words.extend(texts.iter().filter_map(|(name, text)| text.as_deref().map(|text| format!("{name} {}", quoted(text)))));
    if words.is_empty() { Value::Flag(true) } else { words.join(" ").as_str().into() }
}

fn set_flags(section: &mut Section, flags: &[(&str, bool)]) {
    for (name, _) in flags.iter().filter(|(_, on)| *on) {
        section.set(&format!("option.{name}"), true);
    }
}

/// One timeout. No timeout at all is written as 0, which both languages take for "infinite".
fn timeout<T>(section: &mut Section, part: &Part<'_, T>, level: usize, name: &str, value: impl Fn(&T) -> Option<Milliseconds>) {
    if part.differs(level, &value) {
        section.set(&format!("timeout.{name}"), duration(value(part.own).map_or(0, |time| time.0)));
    }
}

fn logging(section: &mut Section, log: &LogSettings, model: &Model) {
    if !log.targets.is_empty() && log.targets == model.global.log_targets {
        section.set("log", "global");
    } else if !log.targets.is_empty() {
        section.set("log", Value::List(log.targets.iter().map(global::log_target).collect()));
    } else if log.format.is_some() && !model.global.log_targets.is_empty() {
        // Without it, a format shared by all proxies would bring the global targets with it.
        section.set("log", Value::List(Vec::new()));
    }
    if let Some(format) = &log.format {
        section.set("log_format", if format.source == crate::config::haproxy::log_format::TCP { "tcp" } else { &format.source });
    }
    if let Some(format) = &log.error_format {
        section.set("error_log_format", &*format.source);
    }
    if let Some(format) = &log.structured_data {
        section.set("log_format_sd", &*format.source);
    }
    if let Some(tag) = log.tag.as_ref().filter(|tag| Some(*tag) != model.global.log_tag.as_ref()) {
        section.set("log_tag", &**tag);
    }
}

fn balance(balance: Balance, key: Option<&Expression>) -> String {
    match balance {
        Balance::RoundRobin => "roundrobin".into(),
        Balance::StaticRoundRobin => "static-rr".into(),
        Balance::LeastConnections => "leastconn".into(),
        Balance::First => "first".into(),
        Balance::Source => "source".into(),
        Balance::Hash => format!("hash {}", quoted(key.map_or("", |key| &*key.source))),
        Balance::Random { draws } => format!("random({draws})"),
    }
}

fn hash(hash: Hash) -> String {
    let method = match hash.method {
        HashMethod::MapBased => "map-based",
        HashMethod::Consistent => "consistent",
    };
    let function = match hash.function {
        HashFunction::Sdbm => "sdbm",
        HashFunction::Djb2 => "djb2",
        HashFunction::Wt6 => "wt6",
        HashFunction::Crc32 => "crc32",
        HashFunction::None => "none",
    };
    let avalanche = if hash.avalanche { " avalanche" } else { "" };
    format!("{method} {function}{avalanche}")
}
