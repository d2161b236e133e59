//! Keywords of a proxy as a whole and of its serving half: mode, balancing, retries, names (manual section 4.2).

use ringmain_model::{Balance, Hash, HashFunction, HashMethod};

use crate::config::check::builder::{Arguments, ModeSetting, ProxyBuilder};
use crate::config::draft::Word;
use crate::config::haproxy::value;
use crate::config::keyword::{self, Keyword, Meaning, Places};

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    entry("mode", Places::PROXY, "tcp", "How bytes are understood; only tcp is supported yet", mode),
    entry(
        "balance",
        Places::BACK,
        "<algorithm>",
        "How a server is chosen: roundrobin, static-rr, leastconn, first, source, hash <expression>, random(<draws>)",
        balance,
    ),
    entry(
        "hash-type",
        Places::BACK,
        "<method> [<function> [avalanche]]",
        "How a hash becomes a server: map-based or consistent; sdbm, djb2, wt6, crc32",
        hash_type,
    ),
    entry("retries", Places::BACK, "<number>", "Attempts to connect after the first (3 when not given)", retries),
    entry("fullconn", Places::BACK, "<number>", "Sessions at which servers with minconn reach their full maxconn", fullconn),
    entry("source", Places::BACK, "<address>[:<port>] [interface <name>]", "Where connections to servers come from", source),
    entry("id", Places::PROXY.without(Places::DEFAULTS), "<number>", "Number of this proxy in statistics", id),
    entry("description", Places::PROXY.without(Places::DEFAULTS), "<text>...", "Free text shown in statistics", description),
    entry("disabled", Places::PROXY, "", "Leave this proxy out", disabled),
    entry("enabled", Places::PROXY, "", "Start this proxy although its defaults section says disabled", enabled),
    Keyword::new("bind-process", Places::PROXY, "<processes>", "Processes this proxy runs on; there is only one", Meaning::NoEffect),
];

const fn entry(
    name: &'static str,
    places: Places,
    syntax: &'static str,
    summary: &'static str,
    apply: fn(&mut ProxyBuilder, &mut Arguments<'_>),
) -> Keyword {
    Keyword::new(name, places, syntax, summary, Meaning::Proxy(apply))
}

fn mode(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.only("'tcp' or 'http'") else { return };
    match word.text.as_str() {
        "tcp" => proxy.mode = ModeSetting::Tcp,
        // Reported where a proxy uses it: many files say 'mode http' in 'defaults' and 'mode tcp' in each proxy.
        "http" => proxy.mode = ModeSetting::Unsupported(word.span),
        "health" => {
            arguments.diagnostics.unsupported(word.span, "'mode health' was removed from HAProxy and is not supported here");
        }
        unknown => {
            let finding = arguments.error(word, format!("there is no mode '{unknown}'"));
            if let Some(near) = keyword::nearest(unknown, ["tcp", "http"].into_iter()) {
                finding.help(format!("did you mean '{near}'?"));
            }
        }
    }
}

const ALGORITHMS: &[&str] =
    &["roundrobin", "static-rr", "leastconn", "first", "source", "random", "uri", "url_param", "hdr", "rdp-cookie", "hash", "sticky"];

fn balance(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.take() else {
        // HAProxy takes a bare 'balance' for its default.
        (proxy.balance, proxy.rules.hash_key) = (Balance::RoundRobin, None);
        return;
    };
    let (name, parameter) = match word.text.split_once('(') {
        Some((name, rest)) => (name, Some(rest)),
        None => (word.text.as_str(), None),
    };
    let algorithm = match name {
        "roundrobin" if parameter.is_none() => Balance::RoundRobin,
        "static-rr" if parameter.is_none() => Balance::StaticRoundRobin,
        "leastconn" if parameter.is_none() => Balance::LeastConnections,
        "first" if parameter.is_none() => Balance::First,
        "source" if parameter.is_none() => Balance::Source,
        "random" => match draws(word, parameter, arguments) {
            Some(draws) => Balance::Random { draws },
            None => return,
        },
        "hash" if parameter.is_none() => {
            let line = arguments.rule_line();
            if line.words.is_empty() {
                arguments.error(word, "'balance hash' needs an expression").help("such as 'balance hash src'");
                return;
            }
            (proxy.balance, proxy.rules.hash_key) = (Balance::Hash, Some(line));
            return;
        }
        "uri" | "url_param" | "hdr" | "rdp-cookie" => {
            arguments.unsupported(word, &format!("balance {name}"));
            return;
        }
        unknown => {
            let finding = arguments.error(word, format!("there is no balancing algorithm '{}'", word.text));
            match keyword::nearest(unknown, ALGORITHMS.iter().copied()) {
                Some(near) => finding.help(format!("did you mean '{near}'?")),
                None => finding.help("such as 'roundrobin', 'leastconn', 'first', 'source' or 'random'"),
            };
            return;
        }
    };
    (proxy.balance, proxy.rules.hash_key) = (algorithm, None);
    super::process::warn_extra(arguments);
}

fn draws(word: &Word, parameter: Option<&str>, arguments: &mut Arguments<'_>) -> Option<u32> {
    let Some(parameter) = parameter else { return Some(2) };
    let Some((number, _)) = parameter.split_once(')') else {
        arguments.error(word, "the parenthesis of 'random' is never closed");
        return None;
    };
    if number.is_empty() {
        return Some(2);
    }
    match value::leading_number(number) {
        (draws, true) if (1..=i64::from(u32::MAX)).contains(&draws) => Some(draws as u32),
        _ => {
            arguments.error(word, format!("'{number}' is not a number of draws, which is 1 or more"));
            None
        }
    }
}

fn hash_type(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let methods = [("map-based", HashMethod::MapBased), ("consistent", HashMethod::Consistent)];
    let Some(method) = arguments.choice(&methods) else { return };
    let mut hash = Hash { method, ..Hash::default() };
    let functions =
        [("sdbm", HashFunction::Sdbm), ("djb2", HashFunction::Djb2), ("wt6", HashFunction::Wt6), ("crc32", HashFunction::Crc32)];
    match arguments.peek() {
        None => {
            // HAProxy's default: consistent hashes are stirred, map-based ones are not.
            hash.avalanche = method == HashMethod::Consistent;
            proxy.hash = hash;
            return;
        }
        Some(_) => match arguments.choice(&functions) {
            Some(function) => hash.function = function,
            None => return,
        },
    }
    match arguments.take() {
        None => {}
        Some(word) if word.text == "avalanche" => hash.avalanche = true,
        Some(word) => {
            arguments.error(word, format!("'{}' does not go with a hash function", word.text)).help("only 'avalanche' does");
            return;
        }
    }
    super::process::warn_extra(arguments);
    proxy.hash = hash;
}

fn retries(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.count()
        && arguments.finish()
    {
        proxy.retries = number;
    }
}

fn fullconn(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.count()
        && arguments.finish()
    {
        proxy.fullconn = number;
    }
}

fn source(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(source) = super::source_address(arguments)
        && arguments.finish()
    {
        proxy.source = Some(source);
    }
}

fn id(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.only("a number") else { return };
    if let Some(number) = arguments.number_of(word, 1, i64::from(i32::MAX)) {
        proxy.id = Some((number as u32, word.span));
    }
}

fn description(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    proxy.description = super::process::text(arguments).or(proxy.description.take());
}

fn disabled(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    proxy.disabled |= arguments.finish();
}

fn enabled(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    proxy.disabled &= !arguments.finish();
}
