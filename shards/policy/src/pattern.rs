//! Compares values with patterns (HAProxy manual sections 7.1.1 to 7.1.6).
//!
//! ACLs and map converters call [`find`]. Never allocates beyond the casts that a method asks for.

use std::net::{Ipv4Addr, Ipv6Addr};

use aho_corasick::AhoCorasick;
use memchr::memmem;
use ringmain_model::SampleType;
use ringmain_model::pattern::{Index, MatchMethod, Networks, Pattern, Patterns};

use crate::expression::Value;

/// The position of the pattern that the value matches: the longest one for `beg` and `ip`, else the first one. `Found` and `Boolean` give 0
/// when they hold, whatever their patterns.
pub fn find(patterns: &Patterns, value: &Value<'_>) -> Option<usize> {
    let value = value.reborrow();
    match patterns.method {
        MatchMethod::Found => Some(0),
        MatchMethod::Boolean => match value.cast(SampleType::Boolean)? {
            Value::Boolean(holds) => holds.then_some(0),
            Value::Integer(number) => (number != 0).then_some(0),
            _ => None,
        },
        MatchMethod::Integer => match value.cast(SampleType::Integer)? {
            Value::Integer(value) => find_number(patterns, value),
            _ => None,
        },
        MatchMethod::Length => {
            let Value::String(data) = value.cast(SampleType::String)? else { return None };
            find_number(patterns, i64::try_from(data.bytes().len()).unwrap_or(i64::MAX))
        }
        MatchMethod::Ip => {
            let Index::Networks(networks) = patterns.index() else { return None };
            match value.cast(SampleType::Address)? {
                Value::Ipv4(address) => find_ipv4(patterns, networks, address),
                Value::Ipv6(address) => find_ipv6(patterns, networks, address),
                _ => None,
            }
        }
        MatchMethod::Binary => {
            let Value::Binary(data) = value.cast(SampleType::Binary)? else { return None };
            find_bytes(patterns, data.bytes())
        }
        _ => {
            let Value::String(data) = value.cast(SampleType::String)? else { return None };
            find_bytes(patterns, data.bytes())
        }
    }
}

fn find_number(patterns: &Patterns, value: i64) -> Option<usize> {
    match patterns.index() {
        Index::Numbers(numbers) => numbers.first(value),
        _ => {
            let contains = |pattern: &Pattern| matches!(pattern, Pattern::Range(from, to) if (*from..=*to).contains(&value));
            patterns.list().iter().position(contains)
        }
    }
}

/// IPv4 networks come first, then the address mapped into IPv6 is looked for.
fn find_ipv4(patterns: &Patterns, networks: &Networks, address: Ipv4Addr) -> Option<usize> {
    let mapped = || networks.ipv6(address.to_ipv6_mapped());
    networks.ipv4(address).or_else(mapped).or_else(|| networks.irregular(patterns.list(), address))
}

/// IPv6 networks come first, then the IPv4 address that is embedded in the address is looked for.
fn find_ipv6(patterns: &Patterns, networks: &Networks, address: Ipv6Addr) -> Option<usize> {
    let embedded = || {
        let address = embedded_ipv4(address)?;
        networks.ipv4(address).or_else(|| networks.irregular(patterns.list(), address))
    };
    networks.ipv6(address).or_else(embedded)
}

fn find_bytes(patterns: &Patterns, value: &[u8]) -> Option<usize> {
    let list = patterns.list();
    match (patterns.index(), patterns.method) {
        (Index::Texts(texts), MatchMethod::Begin) => texts.longest_beginning(list, value),
        (Index::Texts(texts), MatchMethod::End) => texts.first_ending(list, value),
        (Index::Texts(texts), _) => texts.whole(list, value),
        (Index::Parts(automaton), method) => find_part(automaton, method, value),
        _ => list.iter().position(|pattern| match pattern {
            Pattern::Bytes(bytes) => matches_bytes(patterns.method, patterns.ignore_case, bytes, value),
            Pattern::Regex(regex) => regex.compiled().is_match(value),
            _ => false,
        }),
    }
}

fn find_part(automaton: &AhoCorasick, method: MatchMethod, value: &[u8]) -> Option<usize> {
    let found = automaton.find_overlapping_iter(value).filter(|found| {
        if found.is_empty() { is_like_nothing(method, value) } else { stands_alone(method, value, found.start(), found.end()) }
    });
    found.map(|found| found.pattern().as_usize()).min()
}

/// Whether nothing but separators or ends is around a part; substrings may have anything around them.
fn stands_alone(method: MatchMethod, value: &[u8], start: usize, end: usize) -> bool {
    let Some(separates) = method.separator() else { return true };
    let free = |byte: Option<&u8>| byte.is_none_or(|&byte| separates(byte));
    free(start.checked_sub(1).and_then(|before| value.get(before))) && free(value.get(end))
}

fn matches_bytes(method: MatchMethod, ignore_case: bool, pattern: &[u8], value: &[u8]) -> bool {
    let same = |left: &[u8], right: &[u8]| if ignore_case { left.eq_ignore_ascii_case(right) } else { left == right };
    let (length, size) = (pattern.len(), value.len());
    match method {
        MatchMethod::Exact => same(pattern, value),
        MatchMethod::Binary => pattern == value,
        MatchMethod::End => size >= length && same(pattern, &value[size - length..]),
        MatchMethod::Substring if !ignore_case => memmem::find(value, pattern).is_some(),
        MatchMethod::Substring => length == 0 || value.windows(length).any(|window| same(pattern, window)),
        MatchMethod::Directory | MatchMethod::Domain if length == 0 => is_like_nothing(method, value),
        MatchMethod::Directory | MatchMethod::Domain => value
            .windows(length)
            .enumerate()
            .any(|(start, window)| same(pattern, window) && stands_alone(method, value, start, start + length)),
        _ => false,
    }
}

/// Whether an empty pattern matches: for `dir` and `dom` nothing is left of a pattern of separators, and only a value of separators is like it.
fn is_like_nothing(method: MatchMethod, value: &[u8]) -> bool {
    method.separator().is_none_or(|separates| value.iter().all(|&byte| separates(byte)))
}

/// The IPv4 address within a mapped (`::ffff:a.b.c.d`), compatible (`::a.b.c.d`) or 6to4 (`2002:...`) address, section 7.1.6.
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [first, second, a, b, c, d, ..] = address.octets();
    if [first, second] == [0x20, 0x02] {
        return Some(Ipv4Addr::new(a, b, c, d));
    }
    let compatible = address.to_bits() >> 32 == 0;
    let low = Ipv4Addr::from_bits(address.to_bits() as u32);
    address.to_ipv4_mapped().or(compatible.then_some(low))
}
