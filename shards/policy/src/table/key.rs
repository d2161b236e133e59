//! Keys of stick tables: owned, small, and the same bytes whichever way a sample came by them.
//!
//! Sessions make a key from a sample, send it to the shard that owns it, and never look inside. The conversions are HAProxy's own,
//! checked against the real one in `tests/haproxy_tables.rs`. Bytes per type: `ip` 4 and `ipv6` 16 in network order, `integer` 4 (big
//! endian), `string` the text without what lies behind its length, `binary` exactly the length.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ringmain_model::table::KeyType;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Longest key that needs no allocation of its own, in bytes.
pub const INLINE_BYTES: usize = 38;

/// A key in the form in which one table stores it.
#[derive(Clone)]
pub struct Key(Form);

#[derive(Clone)]
enum Form {
    Inline { length: u8, bytes: [u8; INLINE_BYTES] },
    Boxed(Box<[u8]>),
}

impl Key {
    /// A key from bytes that already have the form of the table.
    pub fn new(bytes: &[u8]) -> Self {
        let mut inline = [0; INLINE_BYTES];
        match inline.get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                Self(Form::Inline { length: bytes.len() as u8, bytes: inline })
            }
            None => Self(Form::Boxed(bytes.into())),
        }
    }

    /// From an address sample. `None` when the table cannot hold it: an IPv6 address other than `::ffff:a.b.c.d` in a table of type `ip`, or
    /// any IPv6 address in one of type `integer`.
    pub fn from_address(address: IpAddr, key_type: KeyType) -> Option<Self> {
        match (key_type, address) {
            (KeyType::Ip, IpAddr::V4(address)) => Some(Self::new(&address.octets())),
            (KeyType::Ip, IpAddr::V6(address)) => Some(Self::new(&address.to_ipv4_mapped()?.octets())),
            (KeyType::Ipv6, IpAddr::V4(address)) => Some(Self::new(&address.to_ipv6_mapped().octets())),
            (KeyType::Ipv6, IpAddr::V6(address)) => Some(Self::new(&address.octets())),
            (KeyType::Integer, IpAddr::V4(address)) => Some(Self::new(&address.octets())),
            (KeyType::Integer, IpAddr::V6(_)) => None,
            (KeyType::String { .. }, IpAddr::V4(address)) => Self::from_text(address.to_string().as_bytes(), key_type),
            (KeyType::String { .. }, IpAddr::V6(address)) => Self::from_text(V6Text(address).to_string().as_bytes(), key_type),
            (KeyType::Binary { .. }, IpAddr::V4(address)) => Self::from_bytes(&address.octets(), key_type),
            (KeyType::Binary { .. }, IpAddr::V6(address)) => Self::from_bytes(&address.octets(), key_type),
        }
    }

    /// From an integer sample; tables hold the low 32 bits.
    pub fn from_integer(number: i64, key_type: KeyType) -> Option<Self> {
        let low = number as u32;
        match key_type {
            KeyType::Integer => Some(Self::new(&low.to_be_bytes())),
            KeyType::Ip => Some(Self::new(&low.to_be_bytes())),
            KeyType::Ipv6 => Some(Self::new(&Ipv4Addr::from(low).to_ipv6_mapped().octets())),
            KeyType::String { .. } => Self::from_text(number.to_string().as_bytes(), key_type),
            KeyType::Binary { .. } => Self::from_bytes(&number.to_be_bytes(), key_type),
        }
    }

    /// From a string sample. A text that is no address gives no key in tables of addresses; in tables of numbers the digits in front count,
    /// no digits are 0, and an empty text gives no key. A string key ends at the first zero byte and may be empty: HAProxy stores an entry for it, too.
    pub fn from_text(text: &[u8], key_type: KeyType) -> Option<Self> {
        let words = || str::from_utf8(text).ok();
        match key_type {
            KeyType::Ip => Some(Self::new(&words()?.parse::<Ipv4Addr>().ok()?.octets())),
            KeyType::Ipv6 => Some(Self::new(&words()?.parse::<Ipv6Addr>().ok()?.octets())),
            KeyType::Integer => Self::from_integer(leading_integer(text)?, key_type),
            KeyType::String { length } => {
                let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len()).min(length as usize);
                Some(Self::new(&text[..end]))
            }
            KeyType::Binary { .. } => Self::from_bytes(text, key_type),
        }
    }

    /// From a binary sample. `None` in tables of addresses and numbers, which HAProxy refuses when it reads the configuration.
    pub fn from_bytes(bytes: &[u8], key_type: KeyType) -> Option<Self> {
        match key_type {
            KeyType::Binary { length } => {
                let length = length as usize;
                let mut block = bytes[..bytes.len().min(length)].to_vec();
                block.resize(length, 0);
                Some(Self::new(&block))
            }
            KeyType::String { .. } => Self::from_text(bytes, key_type),
            KeyType::Ip | KeyType::Ipv6 | KeyType::Integer => None,
        }
    }

    /// From a command's text (`show table NAME key TEXT`): unlike a sample, a number must be a whole one from 0 to 4294967295, and the
    /// bytes of a binary key are written in hexadecimal digits.
    pub fn from_command(text: &str, key_type: KeyType) -> Option<Self> {
        match key_type {
            KeyType::Integer => Some(Self::new(&text.parse::<u32>().ok()?.to_be_bytes())),
            KeyType::Binary { .. } => {
                let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
                let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
                Self::from_bytes(&bytes?, key_type)
            }
            _ => Self::from_text(text.as_bytes(), key_type),
        }
    }

    /// The bytes in the table's form.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Inline { length, bytes } => &bytes[..usize::from(*length).min(INLINE_BYTES)],
            Form::Boxed(bytes) => bytes,
        }
    }

    /// The key as `show table` prints it.
    pub fn display(&self, key_type: KeyType) -> impl fmt::Display {
        Displayed { key: self.clone(), key_type }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({})", self.as_bytes().escape_ascii())
    }
}

/// The shard that owns a key, 0 to `shards - 1`: the same in every process, so that a snapshot finds its way back.
pub fn owner(key: &Key, shards: usize) -> usize {
    // The high half chooses the shard. Multiplying instead of dividing is as even and takes no division.
    (((xxh3_64(key.as_bytes()) >> 32) * shards.max(1) as u64) >> 32) as usize
}

/// The key's place within a share. Seeded, so that who chooses keys (any MQTT client) cannot choose keys that collide.
pub(super) fn tag(key: &[u8], seed: u64) -> u32 {
    xxh3_64_with_seed(key, seed) as u32
}

struct Displayed {
    key: Key,
    key_type: KeyType,
}

impl fmt::Display for Displayed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.key.as_bytes();
        let four = || <[u8; 4]>::try_from(bytes).unwrap_or_default();
        match self.key_type {
            KeyType::Ip => Ipv4Addr::from(four()).fmt(formatter),
            KeyType::Ipv6 => V6Text(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap_or_default())).fmt(formatter),
            KeyType::Integer => u32::from_be_bytes(four()).fmt(formatter),
            KeyType::String { .. } => String::from_utf8_lossy(bytes).fmt(formatter),
            KeyType::Binary { .. } => bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02X}")),
        }
    }
}

/// An IPv6 address as inet_ntop(3) writes it: unlike Rust, it shows `::a.b.c.d` with dots.
struct V6Text(Ipv6Addr);

impl fmt::Display for V6Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.segments() {
            [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
                write!(formatter, "::{}", Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
            }
            _ => self.0.fmt(formatter),
        }
    }
}

/// The number that a text begins with, as HAProxy reads integers out of strings; 0 without any digit and
/// nothing without any text.
fn leading_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        None => return None,
        _ => (false, text),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let magnitude = digits[..count].iter().fold(0_i64, |sum, byte| sum.saturating_mul(10).saturating_add(i64::from(byte - b'0')));
    Some(if negative { -magnitude } else { magnitude })
}
