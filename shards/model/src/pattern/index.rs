//! Finds one pattern among thousands without looking at all of them.
//!
//! Built once with the patterns, asked by `policy::pattern`. Texts are found by hash (whole, or the part of each length that patterns
//! have), networks by hash per prefix length, substrings by one Aho-Corasick automaton, numbers by hash with true ranges beside.

use std::hash::{BuildHasher, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr};

use aho_corasick::AhoCorasick;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::{MatchMethod, Pattern};

/// Up to so many patterns are compared one by one where the outcome is the same.
const FEW: usize = 4;

/// How the patterns of one method are found.
#[derive(Debug)]
pub enum Index {
    /// One by one, in the order written.
    Each,
    /// Texts by hash.
    Texts(Texts),
    /// Networks by address.
    Networks(Networks),
    /// Numbers by hash, ranges one by one.
    Numbers(Numbers),
    /// Substrings.
    Parts(Box<AhoCorasick>),
}

impl Index {
    /// An index of the patterns, when one helps or the method has an order of its own (the longest prefix wins).
    pub(super) fn new(method: MatchMethod, ignore_case: bool, list: &[Pattern]) -> Self {
        match method {
            MatchMethod::Ip => Self::Networks(Networks::new(list)),
            MatchMethod::Begin => Self::Texts(Texts::new(ignore_case, list)),
            _ if list.len() <= FEW => Self::Each,
            MatchMethod::Exact | MatchMethod::End => Self::Texts(Texts::new(ignore_case, list)),
            MatchMethod::Binary => Self::Texts(Texts::new(false, list)),
            MatchMethod::Integer | MatchMethod::Length => Self::Numbers(Numbers::new(list)),
            MatchMethod::Substring | MatchMethod::Directory | MatchMethod::Domain => automaton(ignore_case, list),
            MatchMethod::Found | MatchMethod::Boolean | MatchMethod::Regex => Self::Each,
        }
    }
}

fn bytes_of(pattern: &Pattern) -> &[u8] {
    match pattern {
        Pattern::Bytes(bytes) => bytes,
        _ => &[],
    }
}

fn automaton(ignore_case: bool, list: &[Pattern]) -> Index {
    // Too many bytes of patterns for one automaton: slower, but right.
    let built = AhoCorasick::builder().ascii_case_insensitive(ignore_case).build(list.iter().map(bytes_of));
    built.map_or(Index::Each, |automaton| Index::Parts(Box::new(automaton)))
}

/// Texts by hash; the texts themselves stay in the list.
#[derive(Debug)]
pub struct Texts {
    ignore_case: bool,
    hasher: DefaultHashBuilder,
    positions: HashTable<u32>,
    /// Lengths that patterns have, ascending.
    lengths: Vec<usize>,
}

impl Texts {
    fn new(ignore_case: bool, list: &[Pattern]) -> Self {
        let mut texts = Self { ignore_case, hasher: DefaultHashBuilder::default(), positions: HashTable::new(), lengths: Vec::new() };
        let mut positions = HashTable::with_capacity(list.len());
        for (position, pattern) in (0_u32..).zip(list) {
            let bytes = bytes_of(pattern);
            let hash = texts.hash(bytes);
            let known =
                positions.find(hash, |&known: &u32| list.get(known as usize).is_some_and(|known| texts.same(bytes_of(known), bytes)));
            if known.is_none() {
                let hash_of = |&known: &u32| list.get(known as usize).map_or(0, |known| texts.hash(bytes_of(known)));
                positions.insert_unique(hash, position, hash_of);
                texts.lengths.push(bytes.len());
            }
        }
        texts.positions = positions;
        texts.lengths.sort_unstable();
        texts.lengths.dedup();
        texts
    }

    fn same(&self, left: &[u8], right: &[u8]) -> bool {
        if self.ignore_case { left.eq_ignore_ascii_case(right) } else { left == right }
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        if self.ignore_case {
            let mut buffer = [0; 64];
            for chunk in bytes.chunks(buffer.len()) {
                let buffer = &mut buffer[..chunk.len()];
                buffer.copy_from_slice(chunk);
                buffer.make_ascii_lowercase();
                hasher.write(buffer);
            }
        } else {
            hasher.write(bytes);
        }
        hasher.finish()
    }

    /// The first pattern that is this text.
    pub fn whole(&self, list: &[Pattern], text: &[u8]) -> Option<usize> {
        let is_same = |&position: &u32| list.get(position as usize).is_some_and(|pattern| self.same(bytes_of(pattern), text));
        self.positions.find(self.hash(text), is_same).map(|&position| position as usize)
    }

    /// The longest pattern that the text begins with.
    pub fn longest_beginning(&self, list: &[Pattern], text: &[u8]) -> Option<usize> {
        self.lengths.iter().rev().find_map(|&length| self.whole(list, text.get(..length)?))
    }

    /// The first pattern that the text ends with.
    pub fn first_ending(&self, list: &[Pattern], text: &[u8]) -> Option<usize> {
        let endings = self.lengths.iter().filter_map(|&length| text.get(text.len().checked_sub(length)?..));
        endings.filter_map(|ending| self.whole(list, ending)).min()
    }
}

/// Networks of both families.
#[derive(Debug)]
pub struct Networks {
    ipv4: Prefixes,
    ipv6: Prefixes,
    /// Positions of IPv4 patterns whose mask is no prefix.
    irregular: Vec<u32>,
}

impl Networks {
    fn new(list: &[Pattern]) -> Self {
        let (mut ipv4, mut ipv6, mut irregular) = (Prefixes::default(), Prefixes::default(), Vec::new());
        for (position, pattern) in (0..).zip(list) {
            match *pattern {
                Pattern::Ipv4(address, mask) if mask.to_bits().leading_ones() == mask.to_bits().count_ones() => {
                    ipv4.insert(u128::from(address.to_bits()) << 96, mask.to_bits().count_ones() as u8, position);
                }
                Pattern::Ipv4(..) => irregular.push(position),
                Pattern::Ipv6(address, length) => ipv6.insert(address.to_bits(), length, position),
                _ => {}
            }
        }
        ipv4.lengths.sort_unstable();
        ipv6.lengths.sort_unstable();
        Self { ipv4, ipv6, irregular }
    }

    /// The longest IPv4 prefix that the address is in.
    pub fn ipv4(&self, address: Ipv4Addr) -> Option<usize> {
        self.ipv4.longest(u128::from(address.to_bits()) << 96)
    }

    /// The longest IPv6 prefix that the address is in.
    pub fn ipv6(&self, address: Ipv6Addr) -> Option<usize> {
        self.ipv6.longest(address.to_bits())
    }

    /// The first IPv4 pattern with a mask that is no prefix which the address fits.
    pub fn irregular(&self, list: &[Pattern], address: Ipv4Addr) -> Option<usize> {
        let fits = |pattern: &Pattern| match pattern {
            Pattern::Ipv4(network, mask) => (address.to_bits() ^ network.to_bits()) & mask.to_bits() == 0,
            _ => false,
        };
        self.irregular.iter().map(|&position| position as usize).find(|&position| list.get(position).is_some_and(fits))
    }
}

/// Prefixes of one family, left-aligned in 128 bits.
#[derive(Debug, Default)]
struct Prefixes {
    /// Lengths that occur, ascending once built.
    lengths: Vec<u8>,
    positions: HashMap<(u8, u128), u32>,
}

impl Prefixes {
    fn insert(&mut self, address: u128, length: u8, position: u32) {
        if !self.lengths.contains(&length) {
            self.lengths.push(length);
        }
        self.positions.entry((length, cut(address, length))).or_insert(position);
    }

    fn longest(&self, address: u128) -> Option<usize> {
        let position = self.lengths.iter().rev().find_map(|&length| self.positions.get(&(length, cut(address, length))))?;
        Some(*position as usize)
    }
}

fn cut(address: u128, length: u8) -> u128 {
    address & u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

/// Single numbers by hash, and ranges.
#[derive(Debug)]
pub struct Numbers {
    single: HashMap<i64, u32>,
    ranges: Vec<(i64, i64, u32)>,
}

impl Numbers {
    fn new(list: &[Pattern]) -> Self {
        let (mut single, mut ranges) = (HashMap::new(), Vec::new());
        for (position, pattern) in (0..).zip(list) {
            match *pattern {
                Pattern::Range(from, to) if from == to => {
                    single.entry(from).or_insert(position);
                }
                Pattern::Range(from, to) => ranges.push((from, to, position)),
                _ => {}
            }
        }
        Self { single, ranges }
    }

    /// The first number or range that the value is in.
    pub fn first(&self, value: i64) -> Option<usize> {
        let single = self.single.get(&value).copied();
        let range = self.ranges.iter().find(|(from, to, _)| (*from..=*to).contains(&value)).map(|&(_, _, position)| position);
        single.into_iter().chain(range).min().map(|position| position as usize)
    }
}
