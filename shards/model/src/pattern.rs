//! Patterns that values are compared with, compiled at load: the right-hand side of ACLs, and map files (HAProxy manual sections 7.1.1 to
//! 7.1.6 and `map`).
//!
//! The configuration's parser fills them, `policy::pattern` matches. Never reads files.

mod index;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub use index::{Index, Networks, Numbers, Texts};

/// How a value is compared with patterns (`-m METHOD`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchMethod {
    /// `found`: there is a value.
    Found,
    /// `bool`.
    Boolean,
    /// `int`: numbers, ranges, comparisons.
    Integer,
    /// `ip`: addresses and networks.
    Ip,
    /// `bin`: bytes in hexadecimal.
    Binary,
    /// `len`: the length of the value.
    Length,
    /// `str`: the same text.
    Exact,
    /// `beg`.
    Begin,
    /// `sub`.
    Substring,
    /// `dir`: a part between slashes.
    Directory,
    /// `dom`: a part between dots.
    Domain,
    /// `end`.
    End,
    /// `reg`.
    Regex,
}

impl MatchMethod {
    /// All methods with their names.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Found, "found"),
        (Self::Boolean, "bool"),
        (Self::Integer, "int"),
        (Self::Ip, "ip"),
        (Self::Binary, "bin"),
        (Self::Length, "len"),
        (Self::Exact, "str"),
        (Self::Begin, "beg"),
        (Self::Substring, "sub"),
        (Self::Directory, "dir"),
        (Self::Domain, "dom"),
        (Self::End, "end"),
        (Self::Regex, "reg"),
    ];
}

impl MatchMethod {
    /// For methods that look for a part of the value: whether a byte ends a part (section 7.1.3).
    pub fn separator(self) -> Option<fn(u8) -> bool> {
        match self {
            Self::Directory => Some(|byte| matches!(byte, b'/' | b'?')),
            Self::Domain => Some(|byte| matches!(byte, b'/' | b'?' | b'.' | b':')),
            _ => None,
        }
    }
}

/// Separators around a pattern do not count.
fn trim(pattern: &mut Pattern, separates: fn(u8) -> bool) {
    if let Pattern::Bytes(bytes) = pattern {
        let start = bytes.iter().position(|&byte| !separates(byte)).unwrap_or(bytes.len());
        let end = bytes.iter().rposition(|&byte| !separates(byte)).map_or(start, |last| last + 1);
        if end - start < bytes.len() {
            *bytes = bytes[start..end].into();
        }
    }
}

/// The patterns of one ACL line or map, and how they match.
#[derive(Clone, Debug)]
pub struct Patterns {
    /// How.
    pub method: MatchMethod,
    /// `-i`: letters of either case are equal.
    pub ignore_case: bool,
    list: Vec<Pattern>,
    index: Arc<Index>,
}

impl Patterns {
    /// Patterns to compare with, in the order written; `Found` and `Boolean` may have none.
    pub fn new(method: MatchMethod, ignore_case: bool, mut list: Vec<Pattern>) -> Self {
        if let Some(separates) = method.separator() {
            for pattern in &mut list {
                trim(pattern, separates);
            }
        }
        let index = Arc::new(Index::new(method, ignore_case, &list));
        Self { method, ignore_case, list, index }
    }

    /// What to compare with, in the order written.
    pub fn list(&self) -> &[Pattern] {
        &self.list
    }

    /// How to find one of them.
    pub fn index(&self) -> &Index {
        &self.index
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        // The index follows from the rest.
        (self.method, self.ignore_case, &self.list) == (other.method, other.ignore_case, &other.list)
    }
}

impl Eq for Patterns {}

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Yes or no.
    Boolean(bool),
    /// Whole numbers from and to, both included; open ends are `i64::MIN` and `i64::MAX`. Lengths use it too.
    Range(i64, i64),
    /// An IPv4 network: address and mask.
    Ipv4(Ipv4Addr, Ipv4Addr),
    /// An IPv6 network: address and length of its prefix.
    Ipv6(Ipv6Addr, u8),
    /// Bytes: text, or binary for `bin`.
    Bytes(Arc<[u8]>),
    /// A regular expression.
    Regex(Regex),
}

/// A map file: keys as patterns, each with its value (`map_*` converters).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The file as named in the configuration.
    pub file: Arc<str>,
    /// The keys.
    pub keys: Patterns,
    /// The value of each key, by position; converted to the output type when it is used.
    pub values: Vec<Arc<[u8]>>,
}

/// A compiled regular expression; equal to another when the text and the flag are.
#[derive(Clone, Debug)]
pub struct Regex {
    source: Arc<str>,
    ignore_case: bool,
    compiled: Arc<regex::bytes::Regex>,
}

impl Regex {
    /// Compiles the text. Memory of the compiled form is bounded by the regex crate's limit.
    ///
    /// # Errors
    /// The regex crate's explanation: back-references and look-around do not exist.
    pub fn new(source: &str, ignore_case: bool) -> Result<Self, regex::Error> {
        // HAProxy's expressions work on bytes, and its classes know ASCII only.
        let compiled = regex::bytes::RegexBuilder::new(source).case_insensitive(ignore_case).unicode(false).build()?;
        Ok(Self { source: source.into(), ignore_case, compiled: Arc::new(compiled) })
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What matches.
    pub fn compiled(&self) -> &regex::bytes::Regex {
        &self.compiled
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, self.ignore_case) == (&other.source, other.ignore_case)
    }
}

impl Eq for Regex {}
