//! `option` keywords (manual section 4.2).

use ringmain_model::SplicePolicy;

use crate::config::check::builder::{Arguments, LogFormatSetting, ProxyBuilder};
use crate::config::haproxy::value;
use crate::config::keyword::{Keyword, Meaning, Places};

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    flag("option dontlognull", Places::FRONT, "Do not log connections without any data", dontlognull),
    flag("option dontlog-normal", Places::FRONT, "Do not log sessions without error", dontlog_normal),
    flag("option logasap", Places::FRONT, "Log as soon as the server is connected, with '+' before times and sizes", logasap),
    flag("option log-separate-errors", Places::FRONT, "Log sessions with errors at level err", log_separate_errors),
    flag("option clitcpka", Places::FRONT, "TCP keep-alive towards clients", client_tcp_keepalive),
    flag("option srvtcpka", Places::BACK, "TCP keep-alive towards servers", server_tcp_keepalive),
    // HAProxy has 'no' for the two halves only.
    Keyword::new("option tcpka", Places::PROXY, "", "TCP keep-alive on both sides", Meaning::Proxy(tcp_keepalive)),
    flag("option nolinger", Places::PROXY, "Close connections with a reset, leaving nothing in the kernel", nolinger),
    flag("option independent-streams", Places::PROXY, "Sent data does not count as activity of the receiver", independent_streams),
    flag("option socket-stats", Places::FRONT, "Statistics for each bind", socket_stats),
    flag("option allbackups", Places::BACK, "Use all backup servers at once, not only the first", all_backups),
    flag("option persist", Places::BACK, "Keep clients on the server they stick to although it is down", persist),
    flag("option abortonclose", Places::BACK, "Drop clients that leave while they wait for a server", abort_on_close),
    flag("option log-health-checks", Places::BACK, "Log every change of a health check's result", log_health_checks),
    flag("option splice-auto", Places::PROXY, "Use splice(2) in both directions whenever possible", splice_auto),
    flag("option splice-request", Places::PROXY, "Use splice(2) from client to server whenever possible", splice_request),
    flag("option splice-response", Places::PROXY, "Use splice(2) from server to client whenever possible", splice_response),
    Keyword::new(
        "option redispatch",
        Places::BACK,
        "[<interval>]",
        "Let a retry choose another server: the last one, or every <interval> retries",
        Meaning::Proxy(redispatch),
    )
    .negatable(),
    Keyword::new("option tcplog", Places::PROXY, "", "Log sessions with HAProxy's TCP format", Meaning::Proxy(tcplog)),
    Keyword::new("option httplog", Places::PROXY, "[clf]", "Log requests; in mode tcp the same as tcplog", Meaning::Proxy(httplog)),
    nothing("option contstats", Places::FRONT, "Keep statistics of running sessions up to date; they always are"),
    nothing("option tcp-smart-accept", Places::FRONT, "Delay the first acknowledgement; left to the kernel"),
    nothing("option tcp-smart-connect", Places::BACK, "Delay the handshake's last packet; left to the kernel"),
];

const fn flag(name: &'static str, places: Places, summary: &'static str, apply: fn(&mut ProxyBuilder, &mut Arguments<'_>)) -> Keyword {
    Keyword::new(name, places, "", summary, Meaning::Proxy(apply)).negatable()
}

const fn nothing(name: &'static str, places: Places, summary: &'static str) -> Keyword {
    Keyword::new(name, places, "", summary, Meaning::NoEffect).negatable()
}

macro_rules! flags {
    ($($name:ident),* $(,)?) => {
        $(fn $name(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
            if arguments.finish() {
                proxy.flags.$name = arguments.switch(false);
            }
        })*
    };
}

flags!(
    dontlognull,
    dontlog_normal,
    logasap,
    log_separate_errors,
    client_tcp_keepalive,
    server_tcp_keepalive,
    nolinger,
    independent_streams,
    socket_stats,
    all_backups,
    abort_on_close,
    persist,
    log_health_checks,
);

fn tcp_keepalive(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if arguments.finish() {
        proxy.flags.client_tcp_keepalive = true;
        proxy.flags.server_tcp_keepalive = true;
    }
}

fn splice_auto(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(policy) = splice_policy(arguments) {
        (proxy.splice_request, proxy.splice_response) = (policy, policy);
    }
}

fn splice_request(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    proxy.splice_request = splice_policy(arguments).unwrap_or(proxy.splice_request);
}

fn splice_response(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    proxy.splice_response = splice_policy(arguments).unwrap_or(proxy.splice_response);
}

/// Splicing is adaptive unless it is asked for or forbidden.
fn splice_policy(arguments: &mut Arguments<'_>) -> Option<SplicePolicy> {
    use crate::config::draft::Negation;
    let policy = match arguments.negation() {
        None => SplicePolicy::Always,
        Some(Negation::No) => SplicePolicy::Never,
        Some(Negation::Default) => SplicePolicy::Adaptive,
    };
    arguments.finish().then_some(policy)
}

fn redispatch(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if !arguments.switch(false) {
        arguments.rest();
        proxy.redispatch_interval = 0;
        return;
    }
    let interval = match arguments.take() {
        None => -1,
        // HAProxy reads "x" as 0 and switches redispatch off, which nobody means.
        Some(word) if value::leading_number(&word.text) == (0, false) => {
            arguments.error(word, format!("'{}' is not a number of retries", word.text));
            return;
        }
        Some(word) => match arguments.number_of(word, i64::from(i32::MIN), i64::from(i32::MAX)) {
            Some(number) => number as i32,
            None => return,
        },
    };
    super::process::warn_extra(arguments);
    proxy.redispatch_interval = interval;
}

fn tcplog(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if arguments.finish() {
        proxy.log_format = Some((LogFormatSetting::Tcp, arguments.span()));
    }
}

fn httplog(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if arguments.peek().is_some_and(|word| word.text == "clf") {
        arguments.take();
    }
    if arguments.finish() {
        proxy.log_format = Some((LogFormatSetting::Http, arguments.span()));
    }
}
