//! Options of `bind` and `stats socket` lines (manual section 5.1).

use std::net::SocketAddr;

use ringmain_model::{Endpoint, Ipv6Binding, StatsLevel, UnixPermissions};

use crate::config::check::address::{Address, Port};
use crate::config::check::builder::{Arguments, BindBuilder};
use crate::config::draft::Word;
use crate::config::keyword::{Keyword, Meaning, Places, Scope};

/// Most addresses of one line, which a port range can reach.
const ENDPOINTS_LIMIT: usize = 65_536;

/// The entries that are understood.
pub const KEYWORDS: &[Keyword] = &[
    entry("name", Places::BINDS, "<name>", "Name of this listener in statistics", name),
    entry("id", Places::BINDS, "<number>", "Number of this listener in statistics", id),
    entry("interface", Places::BINDS, "<name>", "Accept connections from this network interface only", interface),
    entry("backlog", Places::BINDS, "<number>", "Connections the kernel holds until they are accepted", backlog),
    entry("maxconn", Places::BINDS, "<number>", "Connections of this listener at once", maxconn),
    entry("v4v6", Places::BINDS, "", "Accept IPv4 on an IPv6 address, too", v4v6),
    entry("v6only", Places::BINDS, "", "Accept IPv6 only", v6only),
    entry("mode", Places::BINDS, "<octal>", "Access rights of a unix socket's file", mode),
    entry("user", Places::BINDS, "<name>", "Owner of a unix socket's file", user),
    entry("uid", Places::BINDS, "<number>", "Owner of a unix socket's file, by id", uid),
    entry("group", Places::BINDS, "<name>", "Group of a unix socket's file", group),
    entry("gid", Places::BINDS, "<number>", "Group of a unix socket's file, by id", gid),
    entry("level", Places::BINDS, "user|operator|admin", "What users of a runtime socket may do", level),
    entry("nice", Places::BINDS, "<number>", "Priority of this listener's tasks", nice).without_effect(),
    entry("process", Places::BINDS, "<set>", "Processes and threads of this listener; every shard listens", process).without_effect(),
    entry("thread", Places::BINDS, "<set>", "Threads of this listener; every shard listens", thread).without_effect(),
    entry("shards", Places::BINDS, "<number>|by-thread", "Sockets of this listener; every shard has one", shards).without_effect(),
    nothing("expose-fd", "listeners", "Give sockets to a new process; hand-over has a socket of its own"),
];

/// The entries that HAProxy knows beyond them.
pub const UNSUPPORTED: &[Keyword] = &[
    unknown("accept-netscaler-cip", "<number>", "Take the client's address from a NetScaler header"),
    unknown("accept-proxy", "", "Take the client's address from a PROXY protocol header"),
    unknown("allow-0rtt", "", "Accept early data of TLS 1.3"),
    unknown("alpn", "<protocols>", "Application protocols offered in TLS"),
    unknown("ca-file", "<file>", "Authorities that client certificates are checked against"),
    unknown("ca-ignore-err", "<errors>", "Errors of authorities that are ignored"),
    unknown("ca-sign-file", "<file>", "Authority that signs generated certificates"),
    unknown("ca-sign-pass", "<text>", "Password of the signing authority"),
    unknown("ca-verify-file", "<file>", "Authorities that are not announced to clients"),
    unknown("ciphers", "<list>", "Ciphers up to TLS 1.2"),
    unknown("ciphersuites", "<list>", "Ciphers of TLS 1.3"),
    unknown("crl-file", "<file>", "Revoked certificates"),
    unknown("crt", "<file>", "Certificate and private key"),
    unknown("crt-ignore-err", "<errors>", "Errors of certificates that are ignored"),
    unknown("crt-list", "<file>", "List of certificates"),
    unknown("curves", "<list>", "Elliptic curves"),
    unknown("defer-accept", "", "Accept a connection once it has data"),
    unknown("ecdhe", "<curve>", "Elliptic curve of key exchanges"),
    unknown("force-sslv3", "", "SSL 3.0 only"),
    unknown("force-tlsv10", "", "TLS 1.0 only"),
    unknown("force-tlsv11", "", "TLS 1.1 only"),
    unknown("force-tlsv12", "", "TLS 1.2 only"),
    unknown("force-tlsv13", "", "TLS 1.3 only"),
    unknown("generate-certificates", "", "Make certificates as clients ask for names"),
    unknown("mss", "<bytes>", "Largest TCP segment"),
    unknown("namespace", "<name>", "Listen in this network name space"),
    unknown("no-ca-names", "", "Do not announce authorities to clients"),
    unknown("no-sslv3", "", "Refuse SSL 3.0"),
    unknown("no-tls-tickets", "", "No session tickets"),
    unknown("no-tlsv10", "", "Refuse TLS 1.0"),
    unknown("no-tlsv11", "", "Refuse TLS 1.1"),
    unknown("no-tlsv12", "", "Refuse TLS 1.2"),
    unknown("no-tlsv13", "", "Refuse TLS 1.3"),
    unknown("npn", "<protocols>", "Application protocols, by an extension before ALPN"),
    unknown("ocsp-update", "on|off", "Fetch certificate status"),
    unknown("prefer-client-ciphers", "", "The client's order of ciphers counts"),
    unknown("proto", "<name>", "Protocol without negotiation"),
    unknown("quic-cc-algo", "<name>", "QUIC congestion control"),
    unknown("quic-force-retry", "", "QUIC address validation"),
    unknown("severity-output", "none|number|string", "Severity in front of runtime answers"),
    unknown("ssl", "", "Decrypt TLS"),
    unknown("ssl-max-ver", "<version>", "Highest TLS version"),
    unknown("ssl-min-ver", "<version>", "Lowest TLS version"),
    unknown("strict-sni", "", "Refuse names without certificate"),
    unknown("tcp-ut", "<time>", "Longest wait for acknowledgements"),
    unknown("tfo", "", "TCP fast open"),
    unknown("tls-ticket-keys", "<file>", "Keys of session tickets"),
    unknown("transparent", "", "Listen on foreign addresses"),
    unknown("verify", "none|optional|required", "Whether clients need certificates"),
];

const fn entry(
    name: &'static str,
    places: Places,
    syntax: &'static str,
    summary: &'static str,
    apply: fn(&mut BindBuilder, &mut Arguments<'_>),
) -> Keyword {
    Keyword::new(name, places, syntax, summary, Meaning::Bind(apply))
}

const fn nothing(name: &'static str, syntax: &'static str, summary: &'static str) -> Keyword {
    Keyword::new(name, Places::BINDS, syntax, summary, Meaning::NoEffect)
}

const fn unknown(name: &'static str, syntax: &'static str, summary: &'static str) -> Keyword {
    Keyword::new(name, Places::BINDS, syntax, summary, Meaning::Unsupported)
}

/// Reads the addresses and options of a line. `None` when there is no address to listen on; everything wrong was reported.
pub fn apply_line(arguments: &mut Arguments<'_>, stats: bool) -> Option<BindBuilder> {
    let word = arguments.required("an address")?;
    let endpoints = endpoints(word, arguments);
    let mut bind = BindBuilder {
        endpoints: endpoints.unwrap_or_default(),
        span: word.span,
        stats,
        name: None,
        id: None,
        interface: None,
        backlog: None,
        maxconn: None,
        ipv6: Ipv6Binding::System,
        permissions: UnixPermissions::default(),
        level: StatsLevel::Operator,
    };
    let place = if stats { Places::STATS_SOCKET } else { Places::BIND };
    arguments.options(Scope::Bind, place, |keyword, arguments| {
        if let Meaning::Bind(apply) = keyword.meaning {
            apply(&mut bind, arguments);
        }
    });
    (!bind.endpoints.is_empty()).then_some(bind)
}

fn endpoints(word: &Word, arguments: &mut Arguments<'_>) -> Option<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    // HAProxy takes "a:80," but nothing empty before another address.
    let list = word.text.strip_suffix(',').unwrap_or(&word.text);
    for part in list.split(',') {
        if part.is_empty() {
            arguments.error(word, "an address is missing between the commas").help("an environment variable may be empty");
            return None;
        }
        let part = Word { text: part.to_owned(), span: word.span };
        match arguments.address(&part)? {
            Address::Unix(path) => endpoints.push(Endpoint::Unix(path)),
            Address::Abstract(name) => endpoints.push(Endpoint::Abstract(name.into())),
            Address::Descriptor(number) => endpoints.push(Endpoint::Descriptor(number)),
            Address::Inet { datagram: true, .. } => {
                arguments.error(word, format!("'{}' is for datagrams; a proxy accepts streams", part.text));
                return None;
            }
            Address::Inet { host, port, .. } => {
                let (low, high) = match port {
                    Port::Fixed(port) if port > 0 => (port, port),
                    Port::Range(low, high) if low > 0 => (low, high),
                    Port::Offset(_) => {
                        arguments.error(word, format!("a port offset cannot be listened on, in '{}'", part.text));
                        return None;
                    }
                    Port::Missing => {
                        arguments.error(word, format!("'{}' has no port", part.text)).help("such as ':443' or '127.0.0.1:8080'");
                        return None;
                    }
                    Port::Fixed(_) | Port::Range(..) => {
                        arguments.error(word, format!("port 0 cannot be listened on, in '{}'", part.text));
                        return None;
                    }
                };
                let address = arguments.resolve(&part, &host)?;
                if endpoints.len() + usize::from(high - low) >= ENDPOINTS_LIMIT {
                    arguments.error(word, format!("more than {ENDPOINTS_LIMIT} addresses on one line"));
                    return None;
                }
                endpoints.extend((low..=high).map(|port| Endpoint::Inet(SocketAddr::new(address, port))));
            }
        }
    }
    Some(endpoints)
}

fn name(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    if let Some(word) = arguments.required("a name") {
        bind.name = Some(word.text.as_str().into());
    }
}

fn id(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("a number") else { return };
    if bind.endpoints.len() > 1 {
        arguments.error(word, "'id' needs a line with a single address").help("write one 'bind' line for each address");
        return;
    }
    match word.text.parse::<u32>() {
        Ok(number) if (1..=i32::MAX as u32).contains(&number) => bind.id = Some((number, word.span)),
        _ => {
            arguments.error(word, format!("'{}' is not a number above 0", word.text));
        }
    }
}

fn interface(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("the name of an interface") else { return };
    // IFNAMSIZ with its closing zero.
    if word.text.len() > 15 {
        arguments.error(word, format!("'{}' is too long for the name of an interface (15 bytes at most)", word.text));
        return;
    }
    bind.interface = Some(word.text.as_str().into());
}

fn backlog(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    bind.backlog = arguments.count().filter(|number| *number > 0);
}

fn maxconn(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    bind.maxconn = arguments.count().filter(|number| *number > 0);
}

fn v4v6(bind: &mut BindBuilder, _: &mut Arguments<'_>) {
    bind.ipv6 = Ipv6Binding::Both;
}

fn v6only(bind: &mut BindBuilder, _: &mut Arguments<'_>) {
    bind.ipv6 = Ipv6Binding::Only;
}

fn mode(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("access rights in octal") else { return };
    match u32::from_str_radix(&word.text, 8) {
        Ok(mode) if mode <= 0o7777 => bind.permissions.mode = Some(mode),
        _ => {
            arguments.error(word, format!("'{}' is not an octal number of access rights", word.text)).help("such as '660'");
        }
    }
}

fn user(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("a user's name") else { return };
    bind.permissions.uid = arguments.context.names.user(&word.text);
    if bind.permissions.uid.is_none() {
        arguments.error(word, format!("there is no user '{}' on this system", word.text));
    }
}

fn group(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("a group's name") else { return };
    bind.permissions.gid = arguments.context.names.group(&word.text);
    if bind.permissions.gid.is_none() {
        arguments.error(word, format!("there is no group '{}' on this system", word.text));
    }
}

fn uid(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    bind.permissions.uid = arguments.number(0, i64::from(u32::MAX)).map(|number| number as u32);
}

fn gid(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    bind.permissions.gid = arguments.number(0, i64::from(u32::MAX)).map(|number| number as u32);
}

fn level(bind: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    let levels = [("user", StatsLevel::User), ("operator", StatsLevel::Operator), ("admin", StatsLevel::Admin)];
    bind.level = arguments.choice(&levels).unwrap_or(bind.level);
    if !bind.stats {
        let span = arguments.span();
        arguments.diagnostics.no_effect(span, "'level' is for runtime sockets");
    }
}

fn nice(_: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    arguments.number(-1024, 1024);
}

fn process(_: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    thread_set(arguments);
}

fn thread(_: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    thread_set(arguments);
}

fn thread_set(arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("a set of threads") else { return };
    if !word.text.split('/').all(|part| super::global::number_set(part).is_some()) {
        arguments.error(word, format!("'{}' is not a set of threads", word.text)).help("such as 'all', 'odd', '1-4' or '1/1-4'");
    }
}

fn shards(_: &mut BindBuilder, arguments: &mut Arguments<'_>) {
    if arguments.peek().is_some_and(|word| word.text == "by-thread") {
        arguments.take();
    } else {
        arguments.number(1, i64::from(super::SHARDS_LIMIT));
    }
}
