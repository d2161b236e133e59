//! `log` and its formats, in `global` and in proxies (manual sections 3.1, 4.2 and 8.2).

use std::net::{Ipv6Addr, SocketAddr};

use ringmain_model::{Facility, Level, LogDestination, LogEncoding, LogSample, LogTarget};

use crate::config::check::address::{Address, Host, Port};
use crate::config::check::builder::{Arguments, GlobalBuilder, LogEntry, LogFormatSetting, ProxyBuilder};
use crate::config::draft::Word;
use crate::config::keyword::{self, Keyword, Meaning, Places};

const LOG_SYNTAX: &str = "<address> [len <bytes>] [format <format>] [sample <ranges>:<size>] <facility> [<level> [<minimum level>]]";
const DEFAULT_LENGTH: u16 = 1024;
const SYSLOG_PORT: u16 = 514;

/// The entries of `global`.
pub const GLOBAL_KEYWORDS: &[Keyword] = &[
    Keyword::new("log", Places::GLOBAL, LOG_SYNTAX, "A target for logs; proxies use it with 'log global'", Meaning::Global(global_log))
        .negatable(),
    Keyword::new(
        "log-tag",
        Places::GLOBAL,
        "<text>",
        "Name in front of log lines (the program's name when not given)",
        Meaning::Global(global_tag),
    ),
    Keyword::new("log-send-hostname", Places::GLOBAL, "[<name>]", "Put the host's name into log headers", Meaning::Global(send_hostname)),
];

/// The entries of proxies.
pub const PROXY_KEYWORDS: &[Keyword] = &[
    Keyword::new("log", Places::PROXY, "global | <target>", "A target for the logs of this proxy", Meaning::Proxy(proxy_log)).negatable(),
    Keyword::new("log-tag", Places::PROXY, "<text>", "Name in front of the log lines of this proxy", Meaning::Proxy(proxy_tag)),
    Keyword::new("log-format", Places::PROXY, "<format>", "What a log line of a session says", Meaning::Proxy(format)),
    Keyword::new("log-format-sd", Places::PROXY, "<format>", "RFC 5424 structured data of log lines", Meaning::Proxy(structured_data)),
    Keyword::new(
        "error-log-format",
        Places::PROXY,
        "<format>",
        "What a log line says about a connection that failed early",
        Meaning::Proxy(error_format),
    ),
];

fn global_log(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if arguments.negation().is_some() {
        if arguments.finish() {
            global.log_targets.clear();
        }
        return;
    }
    if let Some(word) = arguments.peek().filter(|word| word.text == "global") {
        arguments.error(word, "'log global' is for proxies: this is the global section");
        return;
    }
    global.log_targets.extend(target(arguments));
}

fn proxy_log(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if arguments.negation().is_some() {
        if arguments.finish() {
            proxy.log_targets.clear();
        }
        return;
    }
    if arguments.peek().is_some_and(|word| word.text == "global") {
        arguments.take();
        if arguments.finish() {
            proxy.log_targets.push(LogEntry::Global);
        }
        return;
    }
    proxy.log_targets.extend(target(arguments).map(LogEntry::Target));
}

fn target(arguments: &mut Arguments<'_>) -> Option<LogTarget> {
    let address = arguments.required("an address and a facility")?;
    let destination = destination(address, arguments)?;
    let (mut length, mut encoding, mut sample) = (DEFAULT_LENGTH, None, None);
    // In this order, each at most once, as HAProxy reads them.
    if let Some(word) = option(arguments, "len")? {
        length = arguments.number_of(word, 80, 65535)? as u16;
    }
    if let Some(word) = option(arguments, "format")? {
        encoding = Some(log_encoding(word, arguments)?);
    }
    if let Some(word) = option(arguments, "sample")? {
        sample = Some(log_sample(word, arguments)?);
    }
    let word = arguments.required("a facility, such as 'local0'")?;
    let facility = named(word, "log facility", Facility::from_name, Facility::ALL.iter().map(|facility| facility.name()), arguments)?;
    let mut level = || match arguments.take() {
        Some(word) => named(word, "log level", Level::from_name, Level::ALL.iter().map(|level| level.name()), arguments).map(Some),
        None => Some(None),
    };
    let (level, minimum) = (level()?, level()?);
    arguments.finish().then_some(LogTarget {
        destination,
        encoding,
        length,
        facility,
        level: level.unwrap_or(Level::Debug),
        minimum_level: minimum.unwrap_or(Level::Emerg),
        sample,
    })
}

/// The value of an optional word pair: `Some(None)` when the pair is not there, `None` after an error.
fn option<'a>(arguments: &mut Arguments<'a>, name: &str) -> Option<Option<&'a Word>> {
    if arguments.peek().is_none_or(|word| word.text != name) {
        return Some(None);
    }
    arguments.take();
    arguments.required(&format!("a value after '{name}'")).map(Some)
}

fn destination(word: &Word, arguments: &mut Arguments<'_>) -> Option<LogDestination> {
    match word.text.as_str() {
        "stdout" => return Some(LogDestination::Descriptor(1)),
        "stderr" => return Some(LogDestination::Descriptor(2)),
        _ => {}
    }
    match arguments.address(word)? {
        Address::Unix(path) => Some(LogDestination::UnixDatagram(path)),
        Address::Abstract(name) => Some(LogDestination::AbstractDatagram(name.into())),
        Address::Descriptor(number) => Some(LogDestination::Descriptor(number)),
        Address::Inet { .. } if word.text.starts_with("tcp") || word.text.starts_with("stream+") => {
            arguments.unsupported(word, "log target over TCP");
            None
        }
        Address::Inet { host, port, .. } => {
            let port = match port {
                Port::Fixed(port) if port > 0 => port,
                Port::Fixed(_) | Port::Missing => SYSLOG_PORT,
                Port::Range(..) | Port::Offset(_) => {
                    arguments.error(word, "a log target has one port");
                    return None;
                }
            };
            let mut address = arguments.resolve(word, &host)?;
            if matches!(host, Host::Any(_)) {
                // The kernel takes the unspecified address for the host itself; say what is meant.
                address = if address.is_ipv6() { Ipv6Addr::LOCALHOST.into() } else { std::net::Ipv4Addr::LOCALHOST.into() };
            }
            Some(LogDestination::Udp(SocketAddr::new(address, port)))
        }
    }
}

const ENCODINGS: &[(&str, LogEncoding)] = &[
    ("local", LogEncoding::Local),
    ("rfc3164", LogEncoding::Rfc3164),
    ("rfc5424", LogEncoding::Rfc5424),
    ("priority", LogEncoding::Priority),
    ("short", LogEncoding::Short),
    ("timed", LogEncoding::Timed),
    ("iso", LogEncoding::Iso),
    ("raw", LogEncoding::Raw),
];

fn log_encoding(word: &Word, arguments: &mut Arguments<'_>) -> Option<LogEncoding> {
    let find = |text: &str| ENCODINGS.iter().find(|(name, _)| *name == text).map(|(_, encoding)| *encoding);
    named(word, "log format", find, ENCODINGS.iter().map(|(name, _)| *name), arguments)
}

fn named<T>(
    word: &Word,
    what: &str,
    find: impl Fn(&str) -> Option<T>,
    names: impl Iterator<Item = &'static str>,
    arguments: &mut Arguments<'_>,
) -> Option<T> {
    let found = find(&word.text);
    if found.is_none() {
        let names: Vec<_> = names.collect();
        let finding = arguments.error(word, format!("there is no {what} '{}'", word.text));
        match keyword::nearest(&word.text, names.iter().copied()) {
            Some(near) => finding.help(format!("did you mean '{near}'?")),
            None => finding.help(format!("there are {}", names.join(", "))),
        };
    }
    found
}

/// `1,3-5:8`: positions within a round of eight.
fn log_sample(word: &Word, arguments: &mut Arguments<'_>) -> Option<LogSample> {
    let sample = read_sample(&word.text);
    if let Err(problem) = &sample {
        arguments.error(word, *problem).help("such as '1:10' for every tenth line or '1,3-5:8'");
    }
    sample.ok()
}

fn read_sample(text: &str) -> Result<LogSample, &'static str> {
    let (list, size) = text.split_once(':').ok_or("a sample needs ranges and a size")?;
    let size: u32 = size.parse().ok().filter(|size| *size > 0).ok_or("the size of this sample is not a number above 0")?;
    let mut ranges = Vec::new();
    for part in list.split(',') {
        let range = part.split_once('-');
        let (low, high) = range.unwrap_or((part, part));
        match (low.parse::<u32>(), high.parse::<u32>()) {
            // HAProxy refuses a range of one, such as '2-2'.
            (Ok(low), Ok(high)) if low >= 1 && (low < high || range.is_none()) => ranges.push((low, high)),
            _ => return Err("this sample has a range that is none"),
        }
    }
    ranges.sort_unstable();
    if ranges.windows(2).any(|pair| pair[1].0 <= pair[0].1) {
        return Err("the ranges of this sample overlap");
    }
    if ranges.last().is_some_and(|(_, high)| *high > size) {
        return Err("this sample has a range beyond its size");
    }
    Ok(LogSample { ranges, size })
}

fn global_tag(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(word) = arguments.only("a text") {
        global.log_tag = Some(word.text.as_str().into());
    }
}

fn proxy_tag(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(word) = arguments.required("a text") {
        super::process::warn_extra(arguments);
        proxy.log_tag = Some(word.text.as_str().into());
    }
}

fn send_hostname(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let name = arguments.take().map_or(arguments.context.host_name, |word| word.text.as_str());
    global.log_hostname = Some(name.into());
    super::process::warn_extra(arguments);
}

fn format(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let span = arguments.span();
    if let Some(format) = one(arguments) {
        proxy.log_format = Some((LogFormatSetting::Custom(format), span));
    }
}

fn structured_data(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    proxy.structured_data = one(arguments).or(proxy.structured_data.take());
}

fn error_format(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    proxy.error_log_format = one(arguments).or(proxy.error_log_format.take());
}

/// The only argument. It is understood when all names are known.
fn one(arguments: &mut Arguments<'_>) -> Option<Word> {
    let word = arguments.required("a format")?;
    if let Some(extra) = arguments.take() {
        let message = format!("'{}' takes one argument", arguments.name());
        arguments.error(extra, message).help("put the format in quotes, or a backslash before its blanks");
        return None;
    }
    Some(word.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_ascending_and_within_their_size() {
        assert_eq!(read_sample("3-5,1:8"), Ok(LogSample { ranges: vec![(1, 1), (3, 5)], size: 8 }));
        for text in ["1", "2-1:3", "2-2:3", "1:x", "3:2", "1,1:3", "0:3", ":3", "1:0", "a:3"] {
            assert!(read_sample(text).is_err(), "{text}");
        }
    }
}
