//! Compares values with patterns (HAProxy manual sections 7.1.1 to 7.1.6).
//!
//! ACLs and map converters call [`find`]. Never allocates beyond the casts that a method asks for.

use std::net::{Ipv4Addr, Ipv6Addr};

use ringmain_model::SampleType;
use ringmain_model::pattern::{MatchMethod, Pattern, Patterns};

use crate::expression::Value;

/// The position of the first pattern that the value matches. `Found`, and `Boolean` without patterns, give 0 when they hold.
pub fn find(patterns: &Patterns, value: &Value<'_>) -> Option<usize> {
    let value = value.reborrow();
    match patterns.method {
        MatchMethod::Found => Some(0),
        MatchMethod::Boolean => {
            let Value::Boolean(value) = value.cast(SampleType::Boolean)? else { return None };
            if patterns.list().is_empty() {
                return value.then_some(0);
            }
            patterns.list().iter().position(|pattern| *pattern == Pattern::Boolean(value))
        }
        MatchMethod::Integer => {
            let Value::Integer(value) = value.cast(SampleType::Integer)? else { return None };
            in_range(patterns, value)
        }
        MatchMethod::Length => {
            let Value::String(data) = value.cast(SampleType::String)? else { return None };
            in_range(patterns, i64::try_from(data.bytes().len()).unwrap_or(i64::MAX))
        }
        MatchMethod::Ip => match value.cast(SampleType::Address)? {
            Value::Ipv4(address) => patterns.list().iter().position(|pattern| contains_ipv4(pattern, address)),
            Value::Ipv6(address) => patterns.list().iter().position(|pattern| contains_ipv6(pattern, address)),
            _ => None,
        },
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

fn in_range(patterns: &Patterns, value: i64) -> Option<usize> {
    patterns.list().iter().position(|pattern| matches!(pattern, Pattern::Range(from, to) if (*from..=*to).contains(&value)))
}

fn contains_ipv4(pattern: &Pattern, address: Ipv4Addr) -> bool {
    match pattern {
        Pattern::Ipv4(network, mask) => address.to_bits() & mask.to_bits() == network.to_bits() & mask.to_bits(),
        Pattern::Ipv6(..) => contains_ipv6(pattern, address.to_ipv6_mapped()),
        _ => false,
    }
}

fn contains_ipv6(pattern: &Pattern, address: Ipv6Addr) -> bool {
    match pattern {
        Pattern::Ipv6(network, length) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(*length).min(128)).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        Pattern::Ipv4(..) => match Value::Ipv6(address).cast(SampleType::Ipv4) {
            Some(Value::Ipv4(address)) => contains_ipv4(pattern, address),
            _ => false,
        },
        _ => false,
    }
}

fn find_bytes(patterns: &Patterns, value: &[u8]) -> Option<usize> {
    patterns.list().iter().position(|pattern| match pattern {
        Pattern::Bytes(bytes) => matches_bytes(patterns.method, patterns.ignore_case, bytes, value),
        Pattern::Regex(regex) => regex.compiled().is_match(value),
        _ => false,
    })
}

fn matches_bytes(method: MatchMethod, ignore_case: bool, pattern: &[u8], value: &[u8]) -> bool {
    let same = |left: &[u8], right: &[u8]| if ignore_case { left.eq_ignore_ascii_case(right) } else { left == right };
    let (length, size) = (pattern.len(), value.len());
    match method {
        MatchMethod::Exact | MatchMethod::Binary => same(pattern, value),
        MatchMethod::Begin => size >= length && same(pattern, &value[..length]),
        MatchMethod::End => size >= length && same(pattern, &value[size - length..]),
        MatchMethod::Substring => length == 0 || value.windows(length).any(|window| same(pattern, window)),
        MatchMethod::Directory => has_part(pattern, value, &same, |byte| matches!(byte, b'/' | b'?')),
        MatchMethod::Domain => has_part(pattern, value, &same, |byte| matches!(byte, b'/' | b'?' | b'.' | b':')),
        _ => false,
    }
}

/// Whether the pattern stands in the value between two separators, an end being one; separators around the pattern itself do not count.
fn has_part(pattern: &[u8], value: &[u8], same: &impl Fn(&[u8], &[u8]) -> bool, separates: impl Fn(u8) -> bool) -> bool {
    let start = pattern.iter().position(|&byte| !separates(byte)).unwrap_or(pattern.len());
    let end = pattern.iter().rposition(|&byte| !separates(byte)).map_or(start, |last| last + 1);
    let pattern = &pattern[start..end];
    if pattern.is_empty() || pattern.len() > value.len() {
        return false;
    }
    value.windows(pattern.len()).enumerate().any(|(at, window)| {
        let starts = at == 0 || separates(value[at - 1]);
        let after = at + pattern.len();
        let ends = after == value.len() || separates(value[after]);
        starts && ends && same(pattern, window)
    })
}
