//! Patterns: what stands behind a criterion, understood by the method that compares (HAProxy manual sections 7.1.1 to 7.1.6).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringmain_model::SampleType;
use ringmain_model::pattern::{MatchMethod, Pattern, Regex};

use crate::config::check::Names as HostNames;

/// How the patterns of one list are read.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// How they are compared.
    pub method: MatchMethod,
    /// `-i`.
    pub ignore_case: bool,
    /// Versions such as `3.1` stand for numbers.
    pub dotted: bool,
    /// Where names of hosts are looked up; `None` after `-n`.
    pub hosts: Option<&'a dyn HostNames>,
}

/// What is wrong with a pattern: a sentence, and what to do.
pub type Mistake = (String, Option<String>);

/// The type that values are cast to for a method.
pub const fn compared_as(method: MatchMethod) -> SampleType {
    match method {
        MatchMethod::Found => SampleType::Any,
        MatchMethod::Boolean => SampleType::Boolean,
        MatchMethod::Integer => SampleType::Integer,
        MatchMethod::Ip => SampleType::Address,
        MatchMethod::Binary => SampleType::Binary,
        _ => SampleType::String,
    }
}

/// The method for values of a type when none is asked for.
pub const fn default_method(output: SampleType) -> Option<MatchMethod> {
    match output {
        SampleType::Boolean => Some(MatchMethod::Boolean),
        SampleType::Integer => Some(MatchMethod::Integer),
        SampleType::Address | SampleType::Ipv4 | SampleType::Ipv6 => Some(MatchMethod::Ip),
        SampleType::String => Some(MatchMethod::Exact),
        SampleType::Binary | SampleType::Any | SampleType::Same => None,
    }
}

/// An operator in front of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `eq`.
    Equal,
    /// `gt`.
    Greater,
    /// `ge`.
    GreaterOrEqual,
    /// `lt`.
    Less,
    /// `le`.
    LessOrEqual,
}

impl Operator {
    /// The operator of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "eq" => Self::Equal,
            "gt" => Self::Greater,
            "ge" => Self::GreaterOrEqual,
            "lt" => Self::Less,
            "le" => Self::LessOrEqual,
            _ => return None,
        })
    }

    /// The numbers that compare so with a number or range.
    fn apply(self, low: i64, high: i64) -> Pattern {
        match self {
            Self::Equal => Pattern::Range(low, high),
            Self::GreaterOrEqual => Pattern::Range(low, i64::MAX),
            Self::LessOrEqual => Pattern::Range(i64::MIN, high),
            Self::Greater => low.checked_add(1).map_or(Pattern::Range(1, 0), |low| Pattern::Range(low, i64::MAX)),
            Self::Less => high.checked_sub(1).map_or(Pattern::Range(1, 0), |high| Pattern::Range(i64::MIN, high)),
        }
    }
}

/// Reads one pattern.
///
/// # Errors
/// What is wrong with it.
pub fn read(text: &str, operator: Operator, reading: Reading<'_>) -> Result<Pattern, Mistake> {
    match reading.method {
        MatchMethod::Found | MatchMethod::Boolean => Ok(Pattern::Boolean(true)),
        MatchMethod::Integer | MatchMethod::Length => {
            let (low, high) = range(text, reading.dotted)?;
            Ok(operator.apply(low, high))
        }
        MatchMethod::Ip => network(text, reading.hosts),
        MatchMethod::Binary => hexadecimal(text),
        MatchMethod::Regex => match Regex::new(text, reading.ignore_case) {
            Ok(regex) => Ok(Pattern::Regex(regex)),
            Err(error) => {
                let (message, help) = explain_regex(text, &error);
                Err((message, Some(help)))
            }
        },
        _ => Ok(Pattern::Bytes(text.as_bytes().into())),
    }
}

/// `5`, `1:5`, `:5`, `5:`; for versions also `3.1:3.3`. A dash is a colon, as it always was in HAProxy: `1-5`, and `-5` is everything up to 5,
/// since numbers in patterns have no sign.
fn range(text: &str, dotted: bool) -> Result<(i64, i64), Mistake> {
    let number = |text: &str| if dotted { version(text) } else { whole(text) };
    let mistake = || {
        let help = "a number, a range such as '1:5', ':5' or '5:', or one of eq, ge, gt, le, lt and a number";
        (format!("'{}' is no number and no range", text.escape_debug()), Some(help.to_owned()))
    };
    let (low, high) = match text.split_once([':', '-']) {
        None => {
            let number = number(text).ok_or_else(mistake)?;
            (number, number)
        }
        Some(("", "")) => return Err(mistake()),
        Some((low, high)) => (
            if low.is_empty() { i64::MIN } else { number(low).ok_or_else(mistake)? },
            if high.is_empty() { i64::MAX } else { number(high).ok_or_else(mistake)? },
        ),
    };
    if low > high {
        return Err((format!("the range '{text}' ends before it begins"), None));
    }
    Ok((low, high))
}

fn whole(text: &str) -> Option<i64> {
    super::argument::integer(text).filter(|_| text.starts_with(|first: char| first.is_ascii_digit()))
}

/// A version: the major number in the upper 16 bits.
fn version(text: &str) -> Option<i64> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let part = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
    Some(i64::from(part(major)?) << 16 | i64::from(part(minor)?))
}

/// An address, network or host.
fn network(text: &str, hosts: Option<&dyn HostNames>) -> Result<Pattern, Mistake> {
    let (address, mask) = text.split_once('/').map_or((text, None), |(address, mask)| (address, Some(mask)));
    if let Some(address) = ipv4(address) {
        let mask = match mask {
            None => Some(Ipv4Addr::BROADCAST),
            Some(mask) => mask4(mask),
        };
        let mask = mask.ok_or_else(|| (format!("'{}' has a mask that is none", text.escape_debug()), mask_help("32")))?;
        return Ok(Pattern::Ipv4(address, mask));
    }
    if let Ok(address) = address.parse::<Ipv6Addr>() {
        let length = mask.map_or(Some(128), |mask| mask.parse::<u8>().ok().filter(|length| *length <= 128));
        let length = length.ok_or_else(|| (format!("'{}' has a prefix that is none", text.escape_debug()), mask_help("128")))?;
        return Ok(Pattern::Ipv6(address, length));
    }
    let is_name = mask.is_none() && text.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_'));
    let host = if is_name { hosts.and_then(|hosts| hosts.host(text).into_iter().next()) } else { None };
    match host {
        Some(IpAddr::V4(address)) => Ok(Pattern::Ipv4(address, Ipv4Addr::BROADCAST)),
        Some(IpAddr::V6(address)) => Ok(Pattern::Ipv6(address, 128)),
        None => Err((format!("'{}' is no address and no network", text.escape_debug()), None)),
    }
}

fn mask_help(longest: &str) -> Option<String> {
    Some(format!("a number from 0 to {longest}, or for IPv4 a mask such as 255.255.0.0"))
}

/// An IPv4 address of one to four numbers. The last one fills what is left, as in inet_aton(3): `10.12` is 10.0.0.12, not 10.12.0.0.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let count = text.split('.').count();
    let mut bits = 0_u32;
    for (index, part) in text.split('.').enumerate() {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = part.parse().ok().filter(|_| is_number && index < 4)?;
        let last = index + 1 == count;
        let (limit, shift) = if last { (u32::MAX >> (8 * index), 0) } else { (255, 24 - 8 * index) };
        if number > limit {
            return None;
        }
        bits |= number << shift;
    }
    Some(Ipv4Addr::from_bits(bits))
}

fn mask4(text: &str) -> Option<Ipv4Addr> {
    match text.parse::<u32>() {
        Ok(length) => (length <= 32).then(|| Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - length).unwrap_or(0))),
        Err(_) => text.parse().ok(),
    }
}

fn hexadecimal(text: &str) -> Result<Pattern, Mistake> {
    if let Some(bad) = text.chars().find(|character| !character.is_ascii_hexdigit()) {
        return Err((format!("'{}' is no hexadecimal digit", bad.escape_debug()), Some("bytes in hexadecimal, such as 16030a".into())));
    }
    if text.len() % 2 == 1 {
        return Err((format!("'{text}' has an odd number of hexadecimal digits"), Some("two digits for each byte".into())));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    let bytes = text.as_bytes().chunks_exact(2).map(|pair| pair.iter().fold(0, |sum, byte| sum << 4 | digit(*byte)));
    Ok(Pattern::Bytes(bytes.collect()))
}

/// What is wrong with a regular expression, and what to do.
pub fn explain_regex(source: &str, error: &dyn std::fmt::Display) -> (String, String) {
    let text = error.to_string();
    let reason = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or("it is too large");
    let written = source.escape_debug().to_string().replace("\\\\", "\\");
    let message = format!("'{written}' cannot be used as a regular expression: {reason}");
    let backward = text.contains("backreferences") || text.contains("look-around");
    let help = if backward {
        "expressions are matched in time linear to the text, without looking back or around; write it as several conditions"
    } else {
        "the syntax is that of PCRE without back-references and look-around"
    };
    (message, help.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(method: MatchMethod) -> Reading<'static> {
        Reading { method, ignore_case: false, dotted: false, hosts: None }
    }

    fn number(text: &str, operator: Operator) -> Option<Pattern> {
        read(text, operator, reading(MatchMethod::Integer)).ok()
    }

    #[test]
    fn numbers_ranges_and_operators() {
        use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
        assert_eq!(number("5", Equal), Some(Pattern::Range(5, 5)));
        assert_eq!(number("1:5", Equal), Some(Pattern::Range(1, 5)));
        assert_eq!(number(":5", Equal), Some(Pattern::Range(i64::MIN, 5)));
        assert_eq!(number("-5", Equal), Some(Pattern::Range(i64::MIN, 5)), "a dash is a colon");
        assert_eq!(number("1-5", Equal), Some(Pattern::Range(1, 5)));
        assert_eq!(number("5", Greater), Some(Pattern::Range(6, i64::MAX)));
        assert_eq!(number("5", GreaterOrEqual), Some(Pattern::Range(5, i64::MAX)));
        assert_eq!(number("5", Less), Some(Pattern::Range(i64::MIN, 4)));
        assert_eq!(number("5", LessOrEqual), Some(Pattern::Range(i64::MIN, 5)));
        assert_eq!(number("9223372036854775807", Greater), Some(Pattern::Range(1, 0)), "nothing");
        for bad in ["5:1", "x", "", ":", "1.2", "5k", "1:2:3", "--5", "-5:", "-6:-4", "+5"] {
            assert_eq!(number(bad, Equal), None, "{bad}");
        }
    }

    #[test]
    fn versions_are_numbers_with_a_dot() {
        let version = |text: &str| read(text, Operator::Equal, Reading { dotted: true, ..reading(MatchMethod::Integer) }).ok();
        assert_eq!(version("3.1"), Some(Pattern::Range(0x30001, 0x30001)));
        assert_eq!(version("3.0:3.3"), Some(Pattern::Range(0x30000, 0x30003)));
        assert_eq!(version("3"), Some(Pattern::Range(0x30000, 0x30000)));
        assert_eq!(version("3.x"), None);
    }

    #[test]
    fn networks() {
        let network = |text: &str| read(text, Operator::Equal, reading(MatchMethod::Ip)).ok();
        let all = Ipv4Addr::BROADCAST;
        assert_eq!(network("1.2.3.4"), Some(Pattern::Ipv4(Ipv4Addr::new(1, 2, 3, 4), all)));
        assert_eq!(network("1.2/16"), Some(Pattern::Ipv4(Ipv4Addr::new(1, 0, 0, 2), Ipv4Addr::new(255, 255, 0, 0))));
        assert_eq!(network("1.2.772"), Some(Pattern::Ipv4(Ipv4Addr::new(1, 2, 3, 4), all)));
        assert_eq!(network("0.0.0.0/0"), Some(Pattern::Ipv4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED)));
        assert_eq!(network("10.0.0.1/255.0.0.255"), Some(Pattern::Ipv4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(255, 0, 0, 255))));
        assert_eq!(network("2001:db8::/32"), Some(Pattern::Ipv6("2001:db8::".parse().expect("an address"), 32)));
        for bad in
            ["1.2.3.4/33", "1.2.3.4/", "::1/129", "::/ffff::", "1.2.3.4,5.6.7.8", "1.2.3.4.5", "256.1", "1.2.3.256", "", "localhost", "+1"]
        {
            assert_eq!(network(bad), None, "{bad}");
        }
    }

    #[test]
    fn bytes_have_two_digits() {
        let bytes = |text: &str| read(text, Operator::Equal, reading(MatchMethod::Binary)).ok();
        assert_eq!(bytes("0aFf"), Some(Pattern::Bytes([0x0a, 0xff].as_slice().into())));
        assert_eq!((bytes("0"), bytes("xx"), bytes("é")), (None, None, None));
    }

    #[test]
    fn regular_expressions_say_what_is_wrong() {
        let regex = |text: &str| read(text, Operator::Equal, reading(MatchMethod::Regex)).map_err(|(message, _)| message);
        assert!(regex("^a(b|c)$").is_ok());
        let message = regex(r"(a)\1").expect_err("a back-reference");
        assert!(message.contains("backreferences are not supported"), "{message}");
        assert!(regex("(?=a)").expect_err("look-around").contains("look-around"), "named");
        assert!(regex("(").expect_err("unclosed").contains("unclosed group"), "named");
    }
}
