//! `timeout` keywords (manual section 4.2).

use crate::config::check::builder::{Arguments, ProxyBuilder, ProxyTimeouts};
use crate::config::keyword::{Keyword, Meaning, Places};

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    entry("timeout client", Places::FRONT, "Longest silence of a client", client),
    entry("timeout client-fin", Places::FRONT, "Longest silence of a client whose connection is half closed", client_fin),
    entry("timeout connect", Places::BACK, "Longest time until a connection to a server stands", connect),
    entry("timeout server", Places::BACK, "Longest silence of a server", server),
    entry("timeout server-fin", Places::BACK, "Longest silence of a server whose connection is half closed", server_fin),
    entry("timeout queue", Places::BACK, "Longest wait for a free slot of a server (timeout connect when not given)", queue),
    entry("timeout check", Places::BACK, "Time for a health check once its connection stands", check),
    entry("timeout tunnel", Places::BACK, "Longest silence once data went both ways, instead of those of client and server", tunnel),
    http_only("timeout http-keep-alive", "Longest wait for the next request; mode http only"),
    http_only("timeout http-request", "Longest time for a complete request; mode http only"),
    http_only("timeout tarpit", "How long tarpitted requests are held; mode http only"),
];

const fn entry(name: &'static str, places: Places, summary: &'static str, apply: fn(&mut ProxyBuilder, &mut Arguments<'_>)) -> Keyword {
    Keyword::new(name, places, "<time>", summary, Meaning::Proxy(apply))
}

/// In mode tcp these do nothing in HAProxy either.
const fn http_only(name: &'static str, summary: &'static str) -> Keyword {
    Keyword::new(name, Places::PROXY, "<time>", summary, Meaning::NoEffect)
}

macro_rules! timeouts {
    ($($name:ident),* $(,)?) => {
        $(fn $name(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
            set(&mut proxy.timeouts, |timeouts| &mut timeouts.$name, arguments);
        })*
    };
}

timeouts!(client, client_fin, connect, server, server_fin, queue, check, tunnel);

fn set(
    timeouts: &mut ProxyTimeouts,
    field: fn(&mut ProxyTimeouts) -> &mut Option<ringmain_model::Milliseconds>,
    arguments: &mut Arguments<'_>,
) {
    if let Some(time) = arguments.time(0)
        && arguments.finish()
    {
        *field(timeouts) = Some(time).filter(|time| time.0 > 0);
    }
}
