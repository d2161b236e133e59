//! `server` and `default-server` lines and their options except health checks (manual section 5.2).

use crate::config::check::builder::{Arguments, InitAddress, ProxyBuilder, ServerBuilder};
use crate::config::keyword::{Keyword, Meaning, Places, Scope};

/// The lines.
pub const LINES: &[Keyword] = &[
    Keyword::new(
        "server",
        Places::BACKEND.and(Places::LISTEN),
        "<name> <address>[:<port>] [<option>...]",
        "A server that sessions may go to",
        Meaning::Proxy(server),
    )
    .strict(),
    Keyword::new("default-server", Places::BACK, "[<option>...]", "Options of the servers that follow", Meaning::Proxy(default_server))
        .strict(),
];

/// The entries of options.
pub const KEYWORDS: &[Keyword] = &[
    entry("id", Places::SERVER, "<number>", "Number of this server in statistics", id),
    entry("weight", Places::SERVERS, "<number>", "Share of this server, 0 to 256 (1 when not given)", weight),
    entry("backup", Places::SERVERS, "", "Use this server only when all others are down", backup),
    entry("no-backup", Places::SERVERS, "", "Not a backup, whatever default-server says", no_backup),
    entry("disabled", Places::SERVERS, "", "Start in maintenance", disabled),
    entry("enabled", Places::SERVERS, "", "Do not start in maintenance, whatever default-server says", enabled),
    entry("maxconn", Places::SERVERS, "<number>", "Sessions at once; more wait in a queue", maxconn),
    entry("minconn", Places::SERVERS, "<number>", "Lowest value of a limit that grows with load up to maxconn", minconn),
    entry("maxqueue", Places::SERVERS, "<number>", "Sessions that may wait for this server", maxqueue),
    entry(
        "maxconnrate",
        Places::SERVERS,
        "<number>",
        "New connections per second, at even distances; more wait, at most maxqueue and timeout queue (not in HAProxy)",
        maxconnrate,
    ),
    entry("slowstart", Places::SERVERS, "<time>", "Time over which a server that came back takes its full share", slowstart),
    entry("source", Places::SERVERS, "<address>[:<port>] [interface <name>]", "Where connections to this server come from", source),
    entry(
        "init-addr",
        Places::SERVERS,
        "last|libc|none|<ip>[,...]",
        "How the address is found at start (last,libc when not given)",
        init_addr,
    ),
    nothing("no-check-send-proxy", "Checks without PROXY protocol, as here"),
    nothing("no-check-ssl", "Checks without TLS, as here"),
    nothing("no-send-proxy", "No PROXY protocol, as here"),
    nothing("no-send-proxy-v2", "No PROXY protocol version 2, as here"),
    nothing("no-send-proxy-v2-ssl", "No PROXY protocol with TLS facts, as here"),
    nothing("no-send-proxy-v2-ssl-cn", "No PROXY protocol with the certificate's name, as here"),
    nothing("no-ssl", "No TLS towards this server, as here"),
    nothing("no-agent-check", "No agent check, as here"),
    nothing("no-tfo", "No TCP fast open, as here"),
];

const fn entry(
    name: &'static str,
    places: Places,
    syntax: &'static str,
    summary: &'static str,
    apply: fn(&mut ServerBuilder, &mut Arguments<'_>),
) -> Keyword {
    Keyword::new(name, places, syntax, summary, Meaning::Server(apply))
}

const fn nothing(name: &'static str, summary: &'static str) -> Keyword {
    Keyword::new(name, Places::SERVERS, "", summary, Meaning::NoEffect)
}

fn server(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let Some(name) = arguments.required("a name and an address") else { return };
    if arguments.peek().is_none_or(|word| word.text.is_empty()) {
        arguments.error(name, "'server' needs an address after the name");
        return;
    }
    if let Some(bad) = name.text.chars().find(|letter| !letter.is_ascii_alphanumeric() && !"-_.:".contains(*letter)) {
        arguments
            .error(name, format!("'{}' cannot be part of a server's name", bad.escape_debug()))
            .help("letters, digits, '-', '_', '.' and ':' can");
    }
    let mut server = proxy.default_server.clone();
    server.name = Some(name.clone());
    server.address = arguments.take().cloned();
    server.span = arguments.span();
    options(&mut server, Places::SERVER, arguments);
    proxy.servers.push(server);
}

fn default_server(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    options(&mut proxy.default_server, Places::DEFAULT_SERVER, arguments);
}

fn options(server: &mut ServerBuilder, place: Places, arguments: &mut Arguments<'_>) {
    arguments.options(Scope::Server, place, |keyword, arguments| {
        if let Meaning::Server(apply) = keyword.meaning {
            apply(server, arguments);
        }
    });
}

fn id(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("a number") else { return };
    if let Some(number) = arguments.number_of(word, 1, i64::from(i32::MAX)) {
        server.id = Some((number as u32, word.span));
    }
}

fn weight(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.number(0, 256) {
        server.weight = number as u16;
    }
}

fn backup(server: &mut ServerBuilder, _: &mut Arguments<'_>) {
    server.backup = true;
}

fn no_backup(server: &mut ServerBuilder, _: &mut Arguments<'_>) {
    server.backup = false;
}

fn disabled(server: &mut ServerBuilder, _: &mut Arguments<'_>) {
    server.disabled = true;
}

fn enabled(server: &mut ServerBuilder, _: &mut Arguments<'_>) {
    server.disabled = false;
}

fn maxconn(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.maxconn = arguments.count().unwrap_or(server.maxconn);
}

fn minconn(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.minconn = arguments.count().unwrap_or(server.minconn);
}

fn maxconnrate(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.maxconnrate = arguments.number(0, 1_000_000).map_or(server.maxconnrate, |number| number as u32);
}

fn maxqueue(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.maxqueue = arguments.count().unwrap_or(server.maxqueue);
}

fn slowstart(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    if let Some(time) = arguments.time(0) {
        // HAProxy counts whole seconds here, begun ones included.
        let seconds = time.0.div_ceil(1000);
        server.slowstart = (seconds > 0).then_some(ringmain_model::Milliseconds(seconds.saturating_mul(1000)));
    }
}

fn source(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    if let Some(source) = super::source_address(arguments) {
        server.source = Some(source);
    }
}

fn init_addr(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("a list of methods") else { return };
    let mut methods = Vec::new();
    for method in word.text.split(',').filter(|method| !method.is_empty()) {
        methods.push(match method {
            "last" => InitAddress::Last,
            "libc" => InitAddress::Libc,
            "none" => InitAddress::None,
            address => match address.parse() {
                Ok(address) => InitAddress::Ip(address),
                Err(_) => {
                    arguments.error(word, format!("'{address}' is neither 'last', 'libc', 'none' nor an IP address"));
                    return;
                }
            },
        });
    }
    server.init_addr = methods;
}
