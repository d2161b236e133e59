//! Patterns as written: one word of an ACL, or one key of a file (HAProxy manual sections 7.1.2 to 7.1.6).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{MatchMethod, Pattern, Regex};

impl Pattern {
    /// Reads one word as a pattern of the method. Comparisons (`gt 5`) are several words: the caller makes [`Pattern::Range`] of them.
    ///
    /// # Errors
    /// A sentence without a full stop about what is wrong with the word.
    pub fn parse(method: MatchMethod, ignore_case: bool, word: &[u8]) -> Result<Self, String> {
        match method {
            MatchMethod::Found | MatchMethod::Boolean => Ok(Self::Boolean(true)),
            MatchMethod::Integer | MatchMethod::Length => range(word),
            MatchMethod::Ip => network(word),
            MatchMethod::Binary => binary(word),
            MatchMethod::Regex => regex(word, ignore_case),
            MatchMethod::Directory => Ok(Self::Bytes(trimmed(word, separates_directories).into())),
            MatchMethod::Domain => Ok(Self::Bytes(trimmed(word, separates_domains).into())),
            MatchMethod::Exact | MatchMethod::Begin | MatchMethod::Substring | MatchMethod::End => Ok(Self::Bytes(word.into())),
        }
    }
}

/// Whether a byte ends a part of a path, for `dir`.
pub fn separates_directories(byte: u8) -> bool {
    matches!(byte, b'/' | b'?')
}

/// Whether a byte ends a part of a name, for `dom`.
pub fn separates_domains(byte: u8) -> bool {
    matches!(byte, b'/' | b'?' | b'.' | b':')
}

/// A word without the separators around it, which do not count.
fn trimmed(word: &[u8], separates: fn(u8) -> bool) -> &[u8] {
    let start = word.iter().position(|&byte| !separates(byte)).unwrap_or(word.len());
    let end = word.iter().rposition(|&byte| !separates(byte)).map_or(start, |last| last + 1);
    &word[start..end]
}

/// The word as text for messages.
fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

/// `N`, `N:M`, `N:` or `:M`. Bounds of a range have no sign, as in HAProxy, where `-4:-2` is refused.
fn range(word: &[u8]) -> Result<Pattern, String> {
    let wrong = || format!("'{}' is not a number or a range such as 1024:65535", shown(word));
    let number = |digits: &[u8], signed: bool| -> Result<i64, String> {
        let text = std::str::from_utf8(digits).map_err(|_| wrong())?;
        let starts_well = text.starts_with(|first: char| first.is_ascii_digit() || (signed && first == '-'));
        if starts_well { text.parse().map_err(|_| wrong()) } else { Err(wrong()) }
    };
    let Some(colon) = word.iter().position(|&byte| byte == b':') else {
        let value = number(word, true)?;
        return Ok(Pattern::Range(value, value));
    };
    let (low, high) = (&word[..colon], &word[colon + 1..]);
    if low.is_empty() && high.is_empty() {
        return Err(wrong());
    }
    let from = if low.is_empty() { i64::MIN } else { number(low, false)? };
    let to = if high.is_empty() { i64::MAX } else { number(high, false)? };
    if from > to {
        return Err(format!("the range '{}' ends before it begins", shown(word)));
    }
    Ok(Pattern::Range(from, to))
}

fn binary(word: &[u8]) -> Result<Pattern, String> {
    if word.len() % 2 == 1 {
        return Err(format!("'{}' is not an even number of hexadecimal digits", shown(word)));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes: Option<Vec<u8>> = word.chunks_exact(2).map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect();
    bytes.map(|bytes| Pattern::Bytes(bytes.into())).ok_or_else(|| format!("'{}' is not made of hexadecimal digits", shown(word)))
}

fn regex(word: &[u8], ignore_case: bool) -> Result<Pattern, String> {
    let source = std::str::from_utf8(word).map_err(|_| "a regular expression must be UTF-8".to_owned())?;
    Regex::new(source, ignore_case).map(Pattern::Regex).map_err(|error| error.to_string())
}

/// An address or a network. IPv4 addresses may be abbreviated (`10.12/8`), their masks are lengths or addresses; IPv6 masks are lengths.
fn network(word: &[u8]) -> Result<Pattern, String> {
    let wrong = || format!("'{}' is not an IPv4 or IPv6 address or network", shown(word));
    let text = std::str::from_utf8(word).map_err(|_| wrong())?;
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    if address.contains(':') {
        let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
        let length = mask.map_or(Some(128), |mask| prefix_length(mask, 128)).ok_or_else(wrong)?;
        return Ok(Pattern::Ipv6(address, length));
    }
    let address = abbreviated(address).ok_or_else(wrong)?;
    let mask = match mask {
        None => Ipv4Addr::BROADCAST,
        Some(mask) if mask.contains('.') => mask.parse().map_err(|_| wrong())?,
        Some(mask) => {
            let length = u32::from(prefix_length(mask, 32).ok_or_else(wrong)?);
            Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - length).unwrap_or(0))
        }
    };
    Ok(Pattern::Ipv4(address, mask))
}

fn prefix_length(text: &str, longest: u8) -> Option<u8> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&length| digits_only && length <= longest)
}

/// One to four numbers: the last one fills all bytes that are left, as in inet_aton(3), but only decimal.
fn abbreviated(text: &str) -> Option<Ipv4Addr> {
    let mut bits: u32 = 0;
    let parts = text.split('.').count();
    for (index, part) in text.split('.').enumerate() {
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) || index > 3 {
            return None;
        }
        let value: u32 = part.parse().ok()?;
        let last = index + 1 == parts;
        let width = if last { 32 - 8 * index as u32 } else { 8 };
        if width < 32 && value >> width != 0 {
            return None;
        }
        let shift = if last { 0 } else { 24 - 8 * index as u32 };
        bits |= value << shift;
    }
    Some(Ipv4Addr::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(method: MatchMethod, word: &str) -> Option<Pattern> {
        Pattern::parse(method, false, word.as_bytes()).ok()
    }

    #[test]
    fn ranges() {
        let range = |word| parsed(MatchMethod::Integer, word);
        assert_eq!(range("5"), Some(Pattern::Range(5, 5)));
        assert_eq!(range("-5"), Some(Pattern::Range(-5, -5)));
        assert_eq!(range("1:3"), Some(Pattern::Range(1, 3)));
        assert_eq!(range(":3"), Some(Pattern::Range(i64::MIN, 3)));
        assert_eq!(range("3:"), Some(Pattern::Range(3, i64::MAX)));
        for wrong in ["", ":", "3:1", "5:5:5", "0x5", "+5", "5.0", "-6:-4", "99999999999999999999", "abc"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn networks() {
        let network = |word| parsed(MatchMethod::Ip, word);
        let ipv4 = |address: [u8; 4], mask: [u8; 4]| Some(Pattern::Ipv4(address.into(), mask.into()));
        assert_eq!(network("192.168.1/24"), ipv4([192, 168, 0, 1], [255, 255, 255, 0]));
        assert_eq!(network("10.12/8"), ipv4([10, 0, 0, 12], [255, 0, 0, 0]));
        assert_eq!(network("1.2.772"), ipv4([1, 2, 3, 4], [255; 4]));
        assert_eq!(network("1.2.3.4/255.0.255.0"), ipv4([1, 2, 3, 4], [255, 0, 255, 0]));
        assert_eq!(network("0.0.0.0/0"), ipv4([0; 4], [0; 4]));
        assert_eq!(network("::1/64"), Some(Pattern::Ipv6(Ipv6Addr::LOCALHOST, 64)));
        for wrong in
            ["", "1.2.3.4/33", "1.2.3.4/", "0x01020304", "1.2.3.4.5", "256.1.1.1", "::1/129", "::1/ffff::", "localhost", "1.2.3.4/+8"]
        {
            assert_eq!(network(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn bytes() {
        assert_eq!(parsed(MatchMethod::Binary, "61Ff"), Some(Pattern::Bytes([0x61, 0xff][..].into())));
        assert_eq!(parsed(MatchMethod::Binary, "616"), None);
        assert_eq!(parsed(MatchMethod::Binary, "zz"), None);
        assert_eq!(parsed(MatchMethod::Directory, "//png/a//"), Some(Pattern::Bytes(b"png/a"[..].into())));
        assert_eq!(parsed(MatchMethod::Domain, ":www1:"), Some(Pattern::Bytes(b"www1"[..].into())));
    }
}
