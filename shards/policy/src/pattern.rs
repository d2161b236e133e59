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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ringmain_model::pattern::Regex;

    use super::*;

    fn words() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[aAbB/.]{0,4}", 0..40)
    }

    fn patterns(method: MatchMethod, ignore_case: bool, words: &[String]) -> Patterns {
        Patterns::new(method, ignore_case, words.iter().map(|word| Pattern::Bytes(word.as_bytes().into())).collect())
    }

    /// What each pattern alone says: a list of one is compared without an index.
    fn alone(method: MatchMethod, ignore_case: bool, words: &[String], value: &str) -> Vec<usize> {
        let matches = |word: &String| {
            matches_bytes(method, ignore_case, bytes_of(&patterns(method, ignore_case, std::slice::from_ref(word))), value.as_bytes())
        };
        (0..words.len()).filter(|&position| matches(&words[position])).collect()
    }

    fn bytes_of(patterns: &Patterns) -> &[u8] {
        match patterns.list() {
            [Pattern::Bytes(bytes)] => bytes,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn an_index_finds_what_one_by_one_finds(words in words(), value in "[aAbB/.]{0,12}", ignore_case in any::<bool>()) {
            for method in [MatchMethod::Exact, MatchMethod::End, MatchMethod::Substring, MatchMethod::Directory, MatchMethod::Domain] {
                let expected = alone(method, ignore_case, &words, &value).first().copied();
                let found = find(&patterns(method, ignore_case, &words), &Value::text(value.as_str()));
                prop_assert_eq!(found, expected, "{:?}", method);
            }
            let begins = |word: &&String| {
                let start = value.get(..word.len());
                start.is_some_and(|start| if ignore_case { start.eq_ignore_ascii_case(word) } else { start == word.as_str() })
            };
            let longest = words.iter().filter(begins).map(String::len).max();
            let found = find(&patterns(MatchMethod::Begin, ignore_case, &words), &Value::text(value.as_str()));
            prop_assert_eq!(found.map(|position| words[position].len()), longest);
        }

        #[test]
        fn numbers_are_found_in_the_order_written(ranges in proptest::collection::vec((0_i64..30, 0_i64..4), 0..30), value in 0_i64..34) {
            let list = ranges.iter().map(|&(from, more)| Pattern::Range(from, from + more)).collect();
            let expected = ranges.iter().position(|&(from, more)| (from..=from + more).contains(&value));
            prop_assert_eq!(find(&Patterns::new(MatchMethod::Integer, false, list), &Value::Integer(value)), expected);
        }

        #[test]
        fn the_longest_network_is_found(networks in proptest::collection::vec((any::<u8>(), 0_u32..=8), 0..40), address in any::<u8>()) {
            // Networks of the last byte only, so that many contain the address.
            let mask = |length: u32| u32::MAX.checked_shl(8 - length).unwrap_or(0);
            let list = networks.iter().map(|&(last, length)| {
                Pattern::Ipv4(Ipv4Addr::new(10, 0, 0, last), Ipv4Addr::from_bits(mask(length)))
            });
            let contains = |&&(last, length): &&(u8, u32)| (u32::from(last) ^ u32::from(address)) & mask(length) == 0;
            let longest = networks.iter().filter(contains).map(|&(_, length)| length).max();
            let patterns = Patterns::new(MatchMethod::Ip, false, list.collect());
            let ipv4 = Ipv4Addr::new(10, 0, 0, address);
            for value in [Value::Ipv4(ipv4), Value::Ipv6(ipv4.to_ipv6_mapped())] {
                prop_assert_eq!(find(&patterns, &value).map(|position| networks[position].1), longest);
            }
        }
    }

    #[test]
    fn thousands_of_patterns() {
        let words: Vec<String> = (0..20_000).map(|number| format!("client-{number}")).collect();
        for (method, value) in [
            (MatchMethod::Exact, "client-19999"),
            (MatchMethod::End, "a client-19999"),
            (MatchMethod::Begin, "client-19999x"),
            (MatchMethod::Domain, "mqtt.client-19999.example"),
        ] {
            assert_eq!(find(&patterns(method, false, &words), &Value::text(value)), Some(19_999), "{method:?}");
            assert_eq!(find(&patterns(method, false, &words), &Value::text("klient-1")), None, "{method:?}");
        }
    }

    #[test]
    fn equal_patterns_are_equal_whatever_their_index() {
        let words: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(patterns(MatchMethod::Exact, false, &words), patterns(MatchMethod::Exact, false, &words));
        assert_ne!(patterns(MatchMethod::Exact, false, &words), patterns(MatchMethod::Exact, true, &words));
        let regex = Patterns::new(MatchMethod::Regex, false, vec![Pattern::Regex(Regex::new("^a", false).unwrap())]);
        assert_eq!(find(&regex, &Value::text("ab")), Some(0));
        assert_eq!(find(&regex, &Value::text("ba")), None);
    }
}
