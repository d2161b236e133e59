//! Options of `server` lines about health: checks, observation, tracking (manual section 5.2).

use ringmain_model::{Milliseconds, Observe, OnError};

use crate::config::check::address::{Address, Port};
use crate::config::check::builder::{Arguments, ServerBuilder};
use crate::config::keyword::{Keyword, Meaning, Places};

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    entry("check", Places::SERVERS, "", "Check this server's health by connecting to it", check),
    entry("no-check", Places::SERVERS, "", "No health check, whatever default-server says", no_check),
    entry("inter", Places::SERVERS, "<time>", "Time between checks (2s when not given)", inter),
    entry("fastinter", Places::SERVERS, "<time>", "Time between checks while the state may change (inter when not given)", fastinter),
    entry("downinter", Places::SERVERS, "<time>", "Time between checks of a server that is down (inter when not given)", downinter),
    entry("rise", Places::SERVERS, "<number>", "Good checks in a row that bring a server up (2 when not given)", rise),
    entry("fall", Places::SERVERS, "<number>", "Bad checks in a row that take a server down (3 when not given)", fall),
    entry("port", Places::SERVERS, "<port>", "Port that checks connect to, instead of the server's", port),
    entry("addr", Places::SERVERS, "<address>[:<port>]", "Address that checks connect to, instead of the server's", addr),
    entry("observe", Places::SERVERS, "none|layer4", "Count failed connections of sessions as bad checks", observe),
    entry("error-limit", Places::SERVERS, "<number>", "Observed errors in a row that cause on-error (10 when not given)", error_limit),
    entry(
        "on-error",
        Places::SERVERS,
        "fastinter|fail-check|sudden-death|mark-down",
        "What observed errors cause (fail-check when not given)",
        on_error,
    ),
    entry("on-marked-down", Places::SERVERS, "shutdown-sessions", "Close the sessions of a server that goes down", on_marked_down),
    entry(
        "on-marked-up",
        Places::SERVERS,
        "shutdown-backup-sessions",
        "Close the sessions of backup servers when this one comes up",
        on_marked_up,
    ),
    entry("track", Places::SERVERS, "[<backend>/]<server>", "Take over the state of another server", track),
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

fn check(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.check = Some(arguments.span());
}

fn no_check(server: &mut ServerBuilder, _: &mut Arguments<'_>) {
    server.check = None;
}

fn inter(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    interval(&mut server.inter, arguments);
}

fn fastinter(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    interval(&mut server.fastinter, arguments);
}

fn downinter(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    interval(&mut server.downinter, arguments);
}

fn interval(slot: &mut Option<Milliseconds>, arguments: &mut Arguments<'_>) {
    *slot = arguments.time(1).or(*slot);
}

fn rise(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.rise = positive(arguments).unwrap_or(server.rise);
}

fn fall(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.fall = positive(arguments).unwrap_or(server.fall);
}

fn error_limit(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.error_limit = positive(arguments).unwrap_or(server.error_limit);
}

fn positive(arguments: &mut Arguments<'_>) -> Option<u32> {
    arguments.number(1, i64::from(i32::MAX)).map(|number| number as u32)
}

fn port(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.number(0, 65535) {
        server.check_port = Some(number as u16).filter(|port| *port > 0);
    }
}

fn addr(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("an address") else { return };
    match arguments.address(word) {
        Some(Address::Inet { host, port, datagram: false }) => {
            if let Some(address) = arguments.resolve(word, &host) {
                server.check_address = Some(address);
            }
            match port {
                Port::Missing => {}
                Port::Fixed(port) => server.check_port = Some(port).filter(|port| *port > 0),
                Port::Range(..) | Port::Offset(_) => {
                    arguments.error(word, "a check connects to one port");
                }
            }
        }
        Some(Address::Unix(_) | Address::Abstract(_)) => {
            arguments.unsupported(word, "check of another unix socket");
        }
        Some(_) => {
            arguments.error(word, format!("'{}' cannot be connected to", word.text));
        }
        None => {}
    }
}

fn observe(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.peek().filter(|word| word.text == "layer7") else {
        let modes = [("none", None), ("layer4", Some(Observe::Layer4))];
        server.observe = arguments.choice(&modes).unwrap_or(server.observe);
        return;
    };
    arguments.take();
    arguments.unsupported(word, "observe layer7");
}

fn on_error(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    let actions = [
        ("fastinter", OnError::FastInter),
        ("fail-check", OnError::FailCheck),
        ("sudden-death", OnError::SuddenDeath),
        ("mark-down", OnError::MarkDown),
    ];
    server.on_error = arguments.choice(&actions).unwrap_or(server.on_error);
}

fn on_marked_down(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.shutdown_sessions_when_down |= arguments.choice(&[("shutdown-sessions", ())]).is_some();
}

fn on_marked_up(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    server.shutdown_backup_sessions_when_up |= arguments.choice(&[("shutdown-backup-sessions", ())]).is_some();
}

fn track(server: &mut ServerBuilder, arguments: &mut Arguments<'_>) {
    if let Some(word) = arguments.required("the name of a server") {
        server.track = Some(word.clone());
    }
}
