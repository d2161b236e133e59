//! Warnings: what is legal but probably not meant, as HAProxy warns and a little beyond.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ringmain_model::log_format::LogFormat;
use ringmain_model::{LogSettings, LogTarget};

use super::builder::{LogEntry, LogFormatSetting, ModeSetting, ProxyBuilder};
use super::frontend::Route;
use super::sections::Gathered;
use crate::config::diagnostic::{Class, Diagnostics, Span};
use crate::config::draft::Word;
use crate::config::expression::{Compilation, Compiler, Site};
use crate::config::haproxy::log_format;

/// Reports modes that are not supported, once for each place that asks for one and is used.
pub fn modes(proxies: &[ProxyBuilder], diagnostics: &mut Diagnostics) {
    let mut reported = HashSet::new();
    for proxy in proxies.iter().filter(|proxy| !proxy.disabled) {
        if let ModeSetting::Unsupported(span) = proxy.mode
            && reported.insert(span)
        {
            diagnostics.unsupported(span, "HAProxy's 'mode http' is not supported here yet").label("used by at least one proxy");
        }
    }
}

/// Warnings about whole proxies.
pub fn warn(gathered: &Gathered, routes: &[Route], diagnostics: &mut Diagnostics) {
    let serving: Vec<&ProxyBuilder> = gathered.proxies.iter().filter(|proxy| proxy.is_back()).collect();
    for (position, proxy) in gathered.proxies.iter().enumerate().filter(|(_, proxy)| !proxy.disabled) {
        if proxy.is_front() {
            listening(proxy, diagnostics);
            if let Some(route) = routes.get(position) {
                routing(proxy, route, &serving, diagnostics);
            }
        }
        timeouts(proxy, diagnostics);
        weights(proxy, diagnostics);
    }
}

fn listening(proxy: &ProxyBuilder, diagnostics: &mut Diagnostics) {
    if proxy.binds.is_empty() {
        diagnostics
            .warning(proxy.span, format!("{} has no 'bind' and never gets a connection", proxy.title()))
            .help("make it a 'backend' if that is meant");
    }
}

fn routing(proxy: &ProxyBuilder, route: &Route, serving: &[&ProxyBuilder], diagnostics: &mut Diagnostics) {
    let Some(target) = route.always.and_then(|id| serving.get(id.index())) else {
        if proxy.default_backend.is_none() && proxy.rules.use_backends.is_empty() {
            diagnostics
                .warning(proxy.span, format!("{} has no backend: every connection is closed", proxy.title()))
                .help("add 'default_backend NAME'");
        }
        return;
    };
    let elsewhere = target.span != proxy.span;
    if elsewhere && proxy.is_back() && !proxy.servers.is_empty() {
        let message = format!("the servers of {} are never used: its sessions go to '{}'", proxy.title(), target.name);
        diagnostics.warning(proxy.span, message);
    }
    if target.servers.is_empty() && !target.disabled {
        diagnostics.warning(proxy.span, format!("the sessions of {} go to '{}', which has no server", proxy.title(), target.name));
    }
}

/// HAProxy's warning about timeouts without which sessions may hang forever.
fn timeouts(proxy: &ProxyBuilder, diagnostics: &mut Diagnostics) {
    let mut missing = Vec::new();
    let times = proxy.timeouts;
    if proxy.is_front() && times.client.is_none() {
        missing.push("client");
    }
    if proxy.is_back() && !proxy.servers.is_empty() {
        if times.connect.is_none() {
            missing.push("connect");
        }
        if times.server.is_none() && times.tunnel.is_none() {
            missing.push("server");
        }
    }
    if !missing.is_empty() {
        diagnostics
            .warning(proxy.span, format!("{} has no timeout {}: sessions may hang forever", proxy.title(), missing.join(", no timeout ")))
            .help("set 'timeout client', 'timeout connect' and 'timeout server', for example in 'defaults'");
    }
}

fn weights(proxy: &ProxyBuilder, diagnostics: &mut Diagnostics) {
    if proxy.is_back() && !proxy.servers.is_empty() && proxy.servers.iter().all(|server| server.weight == 0) {
        diagnostics.warning(proxy.span, format!("all servers of {} have weight 0: none gets a session", proxy.title()));
    }
}

/// `zero-warning`: what is only a warning elsewhere makes the configuration unusable.
pub fn refuse_warnings(span: Span, diagnostics: &mut Diagnostics) {
    if diagnostics.list().iter().any(|finding| finding.class == Class::Warning) {
        diagnostics.error(span, "there are warnings, and 'zero-warning' allows none");
    }
}

/// Compiles the log formats of all proxies.
fn formats(
    proxies: &[ProxyBuilder],
    compilation: &mut Compilation<'_>,
    diagnostics: &mut Diagnostics,
) -> HashMap<(Span, Span), Option<Arc<LogFormat>>> {
    let mut formats = HashMap::new();
    for proxy in proxies {
        let custom = match &proxy.log_format {
            Some((LogFormatSetting::Custom(word), _)) => Some(word),
            _ => None,
        };
        for word in custom.into_iter().chain(&proxy.error_log_format).chain(&proxy.structured_data) {
            let compile = |compiler: &mut Compiler<'_, '_>| compiler.format(word, Site::LOG);
            let format = compilation.proxy(proxy, &proxy.rules.acls, diagnostics, compile);
            formats.insert((proxy.span, word.span), format);
        }
    }
    formats
}

/// Log settings of proxies, resolved.
pub struct Logs {
    global_targets: Vec<LogTarget>,
    global_tag: Option<Arc<str>>,
    tcp: Arc<LogFormat>,
    /// Formats by proxy and by the word that says them.
    formats: HashMap<(Span, Span), Option<Arc<LogFormat>>>,
}

impl Logs {
    /// Prepares them and warns about formats that nothing uses.
    pub fn new(gathered: &Gathered, compilation: &mut Compilation<'_>, diagnostics: &mut Diagnostics) -> Self {
        let global = &gathered.global;
        let logs = Self {
            global_targets: global.log_targets.clone(),
            global_tag: global.log_tag.clone(),
            tcp: Arc::new(log_format::tcp()),
            formats: formats(&gathered.proxies, compilation, diagnostics),
        };
        let mut reported = HashSet::new();
        let mut empty_global = false;
        for proxy in gathered.proxies.iter().filter(|proxy| !proxy.disabled) {
            let wants_global = proxy.log_targets.contains(&LogEntry::Global);
            if wants_global && logs.global_targets.is_empty() && !std::mem::replace(&mut empty_global, true) {
                diagnostics
                    .warning(proxy.span, format!("{} logs to the targets of 'global', which has none", proxy.title()))
                    .help("add 'log <address> <facility>' to 'global'");
            }
            if !proxy.is_front() {
                continue;
            }
            let Some((format, span)) = &proxy.log_format else { continue };
            if logs.targets(proxy).is_empty() && !wants_global && reported.insert((*span, false)) {
                diagnostics.warning(*span, format!("this log format is not used: {} has no log target", proxy.title()));
            }
            if *format == LogFormatSetting::Http && reported.insert((*span, true)) {
                diagnostics.warning(*span, format!("'option httplog' is 'option tcplog' for {}: it is not in mode http", proxy.title()));
            }
        }
        logs
    }

    /// The settings of one proxy.
    pub fn of(&self, proxy: &ProxyBuilder) -> LogSettings {
        let compiled = |word: &Word| self.formats.get(&(proxy.span, word.span)).cloned().flatten();
        let format = proxy.log_format.as_ref().and_then(|(format, _)| match format {
            LogFormatSetting::Custom(word) => compiled(word),
            LogFormatSetting::Tcp | LogFormatSetting::Http => Some(self.tcp.clone()),
        });
        LogSettings {
            targets: self.targets(proxy),
            format,
            error_format: proxy.error_log_format.as_ref().and_then(compiled),
            structured_data: proxy.structured_data.as_ref().and_then(compiled),
            tag: proxy.log_tag.clone().or_else(|| self.global_tag.clone()),
        }
    }

    fn targets(&self, proxy: &ProxyBuilder) -> Vec<LogTarget> {
        let resolved = proxy.log_targets.iter().flat_map(|entry| match entry {
            LogEntry::Global => self.global_targets.as_slice(),
            LogEntry::Target(target) => std::slice::from_ref(target),
        });
        resolved.cloned().collect()
    }
}
