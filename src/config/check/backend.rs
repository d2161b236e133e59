//! The serving halves: their names, and the model's backends.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use ringmain_model::rule::BackendRules;
use ringmain_model::{Backend, BackendId, BackendOptions, BackendTimeouts, LogSettings, Mode};

use super::at;
use super::builder::ProxyBuilder;
use crate::config::diagnostic::{Diagnostics, Sources, Span};

/// Which proxy is which backend.
pub struct Directory {
    /// Positions in the list of proxies, by backend id.
    positions: Vec<usize>,
    by_name: HashMap<Arc<str>, BackendId>,
    by_position: HashMap<usize, BackendId>,
}

impl Directory {
    /// Lists the serving halves and reports names that two proxies cannot share: those of two listening or two serving halves.
    pub fn new(proxies: &[ProxyBuilder], sources: &Sources, diagnostics: &mut Diagnostics) -> Self {
        let mut directory = Self { positions: Vec::new(), by_name: HashMap::new(), by_position: HashMap::new() };
        let mut fronts: HashMap<Arc<str>, usize> = HashMap::new();
        let mut backs: HashMap<Arc<str>, usize> = HashMap::new();
        for (position, proxy) in proxies.iter().enumerate() {
            let other_front = proxy.is_front().then(|| fronts.get(&proxy.name)).flatten();
            let other = other_front.or_else(|| proxy.is_back().then(|| backs.get(&proxy.name)).flatten());
            if let Some(other) = other.and_then(|other| proxies.get(*other)) {
                let message = format!("{} has the same name as {} {}", proxy.title(), other.title(), at(sources, other.span));
                diagnostics.error(proxy.span, message);
            }
            if proxy.is_front() {
                fronts.entry(proxy.name.clone()).or_insert(position);
            }
            if proxy.is_back() {
                backs.entry(proxy.name.clone()).or_insert(position);
                let id = BackendId::new(directory.positions.len());
                directory.by_name.entry(proxy.name.clone()).or_insert(id);
                directory.by_position.insert(position, id);
                directory.positions.push(position);
            }
        }
        directory
    }

    /// The backend with this name.
    pub fn named(&self, name: &str) -> Option<BackendId> {
        self.by_name.get(name).copied()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }

    /// The serving half of the proxy at this position.
    pub fn at_position(&self, position: usize) -> Option<BackendId> {
        self.by_position.get(&position).copied()
    }

    /// Number of backends.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// The backends with their ids, in order.
    pub fn backends<'a>(&'a self, proxies: &'a [ProxyBuilder]) -> impl Iterator<Item = (BackendId, &'a ProxyBuilder)> {
        self.positions.iter().filter_map(|position| proxies.get(*position)).enumerate().map(|(index, proxy)| (BackendId::new(index), proxy))
    }
}

/// The model of one serving half.
pub fn build(proxy: &ProxyBuilder, numbers: &HashMap<Span, u32>, servers: Range<usize>, fullconn: u32, log: LogSettings) -> Backend {
    let (timeouts, flags) = (proxy.timeouts, proxy.flags);
    Backend {
        name: proxy.name.clone(),
        proxy_id: numbers.get(&proxy.span).copied().unwrap_or_default(),
        description: proxy.description.clone(),
        disabled: proxy.disabled,
        mode: Mode::Tcp,
        servers,
        balance: proxy.balance,
        hash: proxy.hash,
        fullconn,
        retries: proxy.retries,
        redispatch_interval: proxy.redispatch_interval,
        timeouts: BackendTimeouts {
            connect: timeouts.connect,
            server: timeouts.server,
            server_fin: timeouts.server_fin,
            queue: timeouts.queue.or(timeouts.connect),
            check: timeouts.check,
            tunnel: timeouts.tunnel,
        },
        options: BackendOptions {
            all_backups: flags.all_backups,
            abort_on_close: flags.abort_on_close,
            persist: flags.persist,
            server_tcp_keepalive: flags.server_tcp_keepalive,
            nolinger: flags.nolinger,
            log_health_checks: flags.log_health_checks,
            independent_streams: flags.independent_streams,
            mqtt_drain: proxy.mqtt_drain,
        },
        mqtt_check: proxy.mqtt_check.clone(),
        source: proxy.source.clone(),
        log,
        rules: BackendRules::default(),
        hash_key: None,
    }
}
