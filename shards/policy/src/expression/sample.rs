//! Values with a type, and the casts between the types (HAProxy manual section 7.2).

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use ringmain_model::SampleType;
use smallvec::SmallVec;

/// Bytes of a value: borrowed from where they were found as long as nothing changed them.
#[derive(Clone, Debug)]
pub enum Data<'a> {
    /// As found.
    Borrowed(&'a [u8]),
    /// Made by a converter or a cast; short ones stay on the stack.
    Owned(SmallVec<[u8; 64]>),
}

impl Data<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// A copy that borrows from nothing.
    pub fn to_owned(&self) -> Data<'static> {
        Data::Owned(SmallVec::from_slice(self.bytes()))
    }

    /// The bytes, copied when they are borrowed.
    pub fn into_owned(self) -> SmallVec<[u8; 64]> {
        match self {
            Self::Borrowed(bytes) => SmallVec::from_slice(bytes),
            Self::Owned(bytes) => bytes,
        }
    }

    /// The part from `start` to `end`, both cut to the length. Copies only what is not borrowed.
    pub fn part(self, start: usize, end: usize) -> Self {
        let clamp = |length: usize| (start.min(length), end.min(length).max(start.min(length)));
        match self {
            Self::Borrowed(bytes) => {
                let (start, end) = clamp(bytes.len());
                Self::Borrowed(&bytes[start..end])
            }
            Self::Owned(mut bytes) => {
                let (start, end) = clamp(bytes.len());
                bytes.truncate(end);
                bytes.drain(..start);
                Self::Owned(bytes)
            }
        }
    }

    /// A copy of these bytes.
    pub fn made(bytes: &[u8]) -> Self {
        Self::Owned(SmallVec::from_slice(bytes))
    }

    /// Text as `format!` writes it, without an allocation when it is short.
    pub fn written(text: std::fmt::Arguments<'_>) -> Self {
        use std::io::Write;
        let mut out: SmallVec<[u8; 64]> = SmallVec::new();
        // Writing to memory does not fail.
        let _ = out.write_fmt(text);
        Self::Owned(out)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// The bytes as text, what is no UTF-8 replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }
}

impl<'a> From<&'a [u8]> for Data<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a> From<&'a str> for Data<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text.as_bytes())
    }
}

impl From<Vec<u8>> for Data<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(SmallVec::from_vec(bytes))
    }
}

impl From<String> for Data<'_> {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

/// A value.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// Yes or no.
    Boolean(bool),
    /// A number.
    Integer(i64),
    /// An IPv4 address.
    Ipv4(Ipv4Addr),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// Text, of any bytes.
    String(Data<'a>),
    /// Bytes; as text they end at the first zero byte.
    Binary(Data<'a>),
}

impl<'a> Value<'a> {
    /// Text that lives as long as the facts.
    pub fn text(text: impl Into<Data<'a>>) -> Self {
        Self::String(text.into())
    }

    /// Its type.
    pub fn kind(&self) -> SampleType {
        match self {
            Self::Boolean(_) => SampleType::Boolean,
            Self::Integer(_) => SampleType::Integer,
            Self::Ipv4(_) => SampleType::Ipv4,
            Self::Ipv6(_) => SampleType::Ipv6,
            Self::String(_) => SampleType::String,
            Self::Binary(_) => SampleType::Binary,
        }
    }

    /// A copy that borrows from nothing, for variables.
    pub fn to_owned(&self) -> Value<'static> {
        match self {
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Ipv4(value) => Value::Ipv4(*value),
            Self::Ipv6(value) => Value::Ipv6(*value),
            Self::String(data) => Value::String(data.to_owned()),
            Self::Binary(data) => Value::Binary(data.to_owned()),
        }
    }

    /// The same value borrowed from this one.
    pub fn reborrow(&self) -> Value<'_> {
        match self {
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Ipv4(value) => Value::Ipv4(*value),
            Self::Ipv6(value) => Value::Ipv6(*value),
            Self::String(data) => Value::String(Data::Borrowed(data.bytes())),
            Self::Binary(data) => Value::Binary(Data::Borrowed(data.bytes())),
        }
    }

    /// This value as the wanted type; `None` when it cannot be.
    pub fn cast(self, to: SampleType) -> Option<Self> {
        use SampleType as T;
        Some(match (self, to) {
            (value, T::Any | T::Same) => value,
            (value @ (Self::Ipv4(_) | Self::Ipv6(_)), T::Address) => value,
            (value, to) if value.kind() == to => value,
            (Self::Boolean(value), T::Integer) => Self::Integer(value.into()),
            (Self::Boolean(value), T::String) => Self::text(if value { "1" } else { "0" }),
            (Self::Boolean(value), T::Binary) => Self::Binary(Data::made(&i64::from(value).to_be_bytes())),
            (Self::Integer(value), T::Boolean) => Self::Boolean(value != 0),
            (Self::Integer(value), T::Ipv4 | T::Address) => Self::Ipv4(Ipv4Addr::from_bits(value as u32)),
            (Self::Integer(value), T::Ipv6) => Self::Ipv6(Ipv4Addr::from_bits(value as u32).to_ipv6_mapped()),
            (Self::Integer(value), T::String) => Self::String(Data::written(format_args!("{value}"))),
            (Self::Integer(value), T::Binary) => Self::Binary(Data::made(&value.to_be_bytes())),
            (Self::Ipv4(value), T::Ipv6) => Self::Ipv6(value.to_ipv6_mapped()),
            (Self::Ipv4(value), T::Boolean) => Self::Boolean(value.to_bits() != 0),
            (Self::Ipv4(value), T::Integer) => Self::Integer(value.to_bits().into()),
            (Self::Ipv4(value), T::String) => Self::String(Data::written(format_args!("{value}"))),
            (Self::Ipv4(value), T::Binary) => Self::Binary(Data::made(&value.octets())),
            (Self::Ipv6(value), T::Ipv4) => Self::Ipv4(value.to_ipv4_mapped()?),
            (Self::Ipv6(value), T::String) => Self::String(ipv6_text(value)),
            (Self::Ipv6(value), T::Binary) => Self::Binary(Data::made(&value.octets())),
            (Self::String(data), T::Binary) => Self::Binary(data),
            (Self::String(data), to) => cast_text(data.bytes(), to)?,
            // Text ends at the first zero byte.
            (Self::Binary(data), T::String) => {
                let end = memchr::memchr(0, data.bytes());
                Self::String(match end {
                    Some(end) => data.part(0, end),
                    None => data,
                })
            }
            _ => return None,
        })
    }
}

/// A value with what is known of its stability.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// The value.
    pub value: Value<'a>,
    /// More bytes may change it.
    pub may_change: bool,
}

impl<'a> Sample<'a> {
    /// A value that stays.
    pub fn fixed(value: Value<'a>) -> Self {
        Self { value, may_change: false }
    }
}

/// As inet_ntop(3) of the C library writes it: the last 32 bits of mapped and compatible addresses in dotted form.
fn ipv6_text<'a>(address: Ipv6Addr) -> Data<'a> {
    let low = Ipv4Addr::from_bits(address.to_bits() as u32);
    let is_compatible = address.to_bits() >> 32 == 0 && low.to_bits() >> 16 != 0;
    if is_compatible { Data::written(format_args!("::{low}")) } else { Data::written(format_args!("{address}")) }
}

fn cast_text<'a>(text: &[u8], to: SampleType) -> Option<Value<'a>> {
    let ipv6 = || std::str::from_utf8(text).ok()?.parse().ok().map(Value::Ipv6);
    let ipv4 = || parse_ipv4(text).map(Value::Ipv4);
    let number = || if text.is_empty() { None } else { Some(leading_integer(text)) };
    match to {
        SampleType::Integer => number().map(Value::Integer),
        SampleType::Boolean => number().map(|number| Value::Boolean(number != 0)),
        SampleType::Ipv4 => ipv4(),
        SampleType::Ipv6 => ipv6(),
        SampleType::Address => ipv4().or_else(ipv6),
        _ => None,
    }
}

/// Four decimal numbers up to 255, with leading zeros if they like. What follows the last one does not count, except another dot.
fn parse_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut octets, mut rest) = ([0; 4], text);
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(b".")?;
        }
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let add = |value: u32, digit: &u8| Some(value * 10 + u32::from(digit - b'0')).filter(|&value| value <= 255);
        *octet = number.iter().try_fold(0, add).filter(|_| digits > 0)? as u8;
        rest = after;
    }
    (rest.first() != Some(&b'.')).then(|| octets.into())
}

/// The number that a text begins with, saturated; 0 when it begins with none.
pub(crate) fn leading_integer(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let mut value: i64 = 0;
    for &digit in digits.iter().take_while(|digit| digit.is_ascii_digit()) {
        let digit = i64::from(digit - b'0');
        value = value.saturating_mul(10);
        value = if negative { value.saturating_sub(digit) } else { value.saturating_add(digit) };
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: Value<'_>) -> String {
        match value.cast(SampleType::String) {
            Some(Value::String(data)) => data.text().into_owned(),
            other => panic!("no text: {other:?}"),
        }
    }

    #[test]
    fn every_announced_cast_exists_for_some_value() {
        use SampleType as T;
        let values = [
            Value::Boolean(true),
            Value::Integer(7),
            Value::Ipv4(Ipv4Addr::LOCALHOST),
            Value::Ipv6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
            Value::text("1"),
            Value::text("1.2.3.4"),
            Value::text("::1"),
            Value::Binary(Data::from(&b"ab"[..])),
        ];
        let types = [T::Boolean, T::Integer, T::Address, T::Ipv4, T::Ipv6, T::String, T::Binary];
        for from in types {
            for to in types {
                let works = values.iter().any(|value| value.kind() == from && value.clone().cast(to).is_some());
                let exists = from == T::Address || from.casts_to(to);
                assert!(from == T::Address || works == exists, "{} to {}", from.name(), to.name());
            }
        }
    }

    #[test]
    fn casts_to_text_and_numbers() {
        assert_eq!(text(Value::Integer(-42)), "-42");
        assert_eq!(text(Value::Boolean(true)), "1");
        assert_eq!(text(Value::Binary(Data::from(&b"ab\0cd"[..]))), "ab");
        let ipv6 = |address: &str| text(Value::Ipv6(address.parse().unwrap()));
        assert_eq!(
            [ipv6("::1"), ipv6("::102:304"), ipv6("::ffff:102:304"), ipv6("::100")],
            ["::1", "::1.2.3.4", "::ffff:1.2.3.4", "::100"]
        );
        let number = |text: &'static str| match Value::text(text).cast(SampleType::Integer) {
            Some(Value::Integer(value)) => value,
            other => panic!("{other:?}"),
        };
        assert_eq!([number("12ab"), number("-7"), number("x"), number("99999999999999999999")], [12, -7, 0, i64::MAX]);
    }

    #[test]
    fn parts_are_cut_to_the_length() {
        let part = |start, end| Data::from(&b"abcdef"[..]).part(start, end).bytes().to_vec();
        assert_eq!([part(1, 3), part(4, 99), part(9, 99), part(3, 1)], [&b"bc"[..], b"ef", b"", b""]);
        assert_eq!(Data::from(b"abcdef".to_vec()).part(1, 3).bytes(), b"bc");
    }
}
