//! The registry: every keyword once, with where it may stand, what it means and how it is applied.
//!
//! The checker, `--help-keyword`, README's table and "did you mean" all read these entries, so they cannot drift. The entries themselves are
//! in `haproxy/keywords/`, one file per family; this file only knows how to look them up.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::check::builder::{Arguments, BindBuilder, GlobalBuilder, ProxyBuilder, ServerBuilder};
use super::check::tables::TableList;
use super::draft::{SectionKind, Word};
use super::haproxy::keywords;

/// Which list of keywords a word is looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Settings of the `global` section.
    Global,
    /// Settings of `defaults`, `frontend`, `backend` and `listen`.
    Proxy,
    /// Options of `bind` and `stats socket` lines.
    Bind,
    /// Options of `server` and `default-server` lines.
    Server,
    /// Lines of `peers` sections.
    Peers,
}

/// A set of places where a keyword may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places(u16);

impl Places {
    /// `global`.
    pub const GLOBAL: Self = Self(1);
    /// `defaults`.
    pub const DEFAULTS: Self = Self(2);
    /// `frontend`.
    pub const FRONTEND: Self = Self(4);
    /// `listen`.
    pub const LISTEN: Self = Self(8);
    /// `backend`.
    pub const BACKEND: Self = Self(16);
    /// `bind` lines.
    pub const BIND: Self = Self(32);
    /// `server` lines.
    pub const SERVER: Self = Self(64);
    /// `default-server` lines.
    pub const DEFAULT_SERVER: Self = Self(128);
    /// `stats socket` lines.
    pub const STATS_SOCKET: Self = Self(256);
    /// `peers`.
    pub const PEERS: Self = Self(512);
    /// Whatever has a listening half, and `defaults`.
    pub const FRONT: Self = Self::DEFAULTS.and(Self::FRONTEND).and(Self::LISTEN);
    /// Whatever has a serving half, and `defaults`.
    pub const BACK: Self = Self::DEFAULTS.and(Self::BACKEND).and(Self::LISTEN);
    /// All proxy sections and `defaults`.
    pub const PROXY: Self = Self::FRONT.and(Self::BACK);
    /// `server` and `default-server` lines.
    pub const SERVERS: Self = Self::SERVER.and(Self::DEFAULT_SERVER);
    /// `bind` and `stats socket` lines.
    pub const BINDS: Self = Self::BIND.and(Self::STATS_SOCKET);

    const NAMES: [(Self, &'static str); 10] = [
        (Self::GLOBAL, "global"),
        (Self::DEFAULTS, "defaults"),
        (Self::FRONTEND, "frontend"),
        (Self::LISTEN, "listen"),
        (Self::BACKEND, "backend"),
        (Self::BIND, "bind"),
        (Self::SERVER, "server"),
        (Self::DEFAULT_SERVER, "default-server"),
        (Self::STATS_SOCKET, "stats socket"),
        (Self::PEERS, "peers"),
    ];

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether a place is in this set.
    pub const fn contains(self, place: Self) -> bool {
        self.0 & place.0 != 0
    }

    /// The place that a kind of section is.
    pub const fn of(kind: SectionKind) -> Self {
        match kind {
            SectionKind::Global => Self::GLOBAL,
            SectionKind::Defaults => Self::DEFAULTS,
            SectionKind::Frontend => Self::FRONTEND,
            SectionKind::Backend => Self::BACKEND,
            SectionKind::Listen => Self::LISTEN,
            SectionKind::Peers | SectionKind::Table => Self::PEERS,
        }
    }

    /// The names of the places, such as `["defaults", "listen"]`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(place, _)| self.contains(*place)).map(|(_, name)| *name)
    }
}

/// How a keyword is understood.
#[derive(Clone, Copy, Debug)]
pub enum Meaning {
    /// A setting of `global`.
    Global(fn(&mut GlobalBuilder, &mut Arguments<'_>)),
    /// A setting of a proxy.
    Proxy(fn(&mut ProxyBuilder, &mut Arguments<'_>)),
    /// An option of a `bind` line.
    Bind(fn(&mut BindBuilder, &mut Arguments<'_>)),
    /// An option of a `server` line.
    Server(fn(&mut ServerBuilder, &mut Arguments<'_>)),
    /// A line of a `peers` section, whose name comes second.
    Peers(fn(&mut TableList, &str, &mut Arguments<'_>)),
    /// Accepted; it tunes something that does not exist here.
    NoEffect,
    /// Known to HAProxy, not supported here yet.
    Unsupported,
}

/// What README and `--help-keyword` say about the support of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does what HAProxy's manual says.
    Supported,
    /// Accepted without effect.
    NoEffect,
    /// An error of its own class.
    Unsupported,
}

/// One keyword.
#[derive(Clone, Copy, Debug)]
pub struct Keyword {
    /// One or two words, such as `timeout client`.
    pub name: &'static str,
    /// Where it may stand.
    pub places: Places,
    /// The line in HAProxy's notation, without the name.
    pub syntax: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// How it is understood.
    pub meaning: Meaning,
    /// `no` may stand in front.
    pub negatable: bool,
    /// In a section that lacks the half it is about: an error instead of HAProxy's warning.
    pub strict: bool,
    /// Its arguments are checked, and then nothing is done with them.
    pub without_effect: bool,
    /// Arguments to skip after an option of a line that is not understood.
    pub arguments: u8,
}

impl Keyword {
    /// An entry; `negatable` and the rest are added by the methods below.
    pub const fn new(name: &'static str, places: Places, syntax: &'static str, summary: &'static str, meaning: Meaning) -> Self {
        let arguments = if syntax.is_empty() { 0 } else { 1 };
        Self { name, places, syntax, summary, meaning, negatable: false, strict: false, without_effect: false, arguments }
    }

    /// The same entry, and `no` may stand in front.
    pub const fn negatable(mut self) -> Self {
        self.negatable = true;
        self
    }

    /// The same entry, refused in a section that lacks the half it is about.
    pub const fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The same entry, whose arguments are checked and then not used.
    pub const fn without_effect(mut self) -> Self {
        self.without_effect = true;
        self
    }

    /// Its support.
    pub const fn status(&self) -> Status {
        match self.meaning {
            _ if self.without_effect => Status::NoEffect,
            Meaning::NoEffect => Status::NoEffect,
            Meaning::Unsupported => Status::Unsupported,
            _ => Status::Supported,
        }
    }

    /// `--help-keyword NAME`: the entry as text for a terminal.
    pub fn help(&self) -> String {
        let status = match self.status() {
            Status::Supported => "supported",
            Status::NoEffect => "accepted, without effect here",
            Status::Unsupported => "known to HAProxy, not supported here yet",
        };
        let places: Vec<_> = self.places.names().collect();
        let negation = if self.negatable { "[no] " } else { "" };
        let line = format!("{negation}{} {}", self.name, self.syntax);
        format!("{}\n  {}\n  in: {}\n  status: {status}\n", line.trim_end(), self.summary, places.join(", "))
    }
}

/// All entries of a scope, family by family.
pub fn all(scope: Scope) -> impl Iterator<Item = &'static Keyword> + Clone {
    keywords::families(scope).iter().flat_map(|family| family.iter())
}

/// The entry for the first words of a statement, and how many words its name is.
pub fn find(scope: Scope, words: &[Word]) -> Option<(&'static Keyword, usize)> {
    let index = &INDEX[scope as usize];
    let first = words.first()?;
    if let Some(second) = words.get(1)
        && FIRST_WORDS[scope as usize].contains_key(first.text.as_str())
        && let Some(keyword) = index.get(format!("{} {}", first.text, second.text).as_str())
    {
        return Some((keyword, 2));
    }
    index.get(first.text.as_str()).map(|keyword| (*keyword, 1))
}

/// The second words that may follow a first one that is no keyword alone (`timeout`, `option`).
pub fn second_words(scope: Scope, first: &str) -> Option<&'static [&'static str]> {
    FIRST_WORDS[scope as usize].get(first).map(Vec::as_slice)
}

/// The known keyword nearest to what was written, for "did you mean": of those that may stand at this place.
pub fn suggestion(scope: Scope, place: Places, words: &[Word]) -> Option<String> {
    let first = words.first()?;
    if let (Some(seconds), Some(second)) = (second_words(scope, &first.text), words.get(1)) {
        return nearest(&second.text, seconds.iter().copied()).map(|near| format!("{} {near}", first.text));
    }
    let names = all(scope).filter(|keyword| keyword.places.contains(place)).map(|keyword| keyword.name);
    let whole = words.get(1).map_or_else(|| first.text.clone(), |second| format!("{} {}", first.text, second.text));
    let firsts = names.clone().filter_map(|name| name.split(' ').next());
    let found = nearest(&first.text, firsts).map(str::to_owned);
    // "timeoutclient" or "time-out client": compare the whole name, too.
    found.or_else(|| nearest(&whole, names.clone()).map(str::to_owned)).or_else(|| nearest(&first.text, names).map(str::to_owned))
}

/// What stands for a keyword that HAProxy itself no longer knows.
pub fn replacement(name: &str) -> Option<&'static str> {
    REMOVED.iter().find(|(removed, _)| *removed == name).map(|(_, replacement)| *replacement)
}

const REMOVED: &[(&str, &str)] = &[
    ("clitimeout", "'timeout client'"),
    ("contimeout", "'timeout connect'"),
    ("srvtimeout", "'timeout server'"),
    ("redispatch", "'option redispatch'"),
    ("block", "'http-request deny'"),
    ("reqadd", "'http-request add-header'"),
    ("reqdel", "'http-request del-header'"),
    ("reqidel", "'http-request del-header'"),
    ("reqrep", "'http-request replace-header'"),
    ("reqirep", "'http-request replace-header'"),
    ("reqdeny", "'http-request deny'"),
    ("reqideny", "'http-request deny'"),
    ("rspadd", "'http-response add-header'"),
    ("rspdel", "'http-response del-header'"),
    ("rspidel", "'http-response del-header'"),
    ("rsprep", "'http-response replace-header'"),
    ("rspirep", "'http-response replace-header'"),
];

/// The candidate with the fewest edits, if few enough to be a slip of the finger: a third of the letters, at least one.
pub fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters: Vec<char> = text.chars().take(64).collect();
    let limit = (letters.len() / 3).max(1);
    let distances = candidates.map(|candidate| (distance(&letters, candidate, limit), candidate));
    distances.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Edits (insert, remove, replace, swap neighbours) from one word to the other; more than `limit` may be reported as any larger number.
fn distance(from: &[char], to: &str, limit: usize) -> usize {
    let to: Vec<char> = to.chars().collect();
    if from.len().abs_diff(to.len()) > limit {
        return usize::MAX;
    }
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let replace = last[column] + usize::from(letter != other);
            let mut best = replace.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *letter == to[column - 1] && from[row - 1] == *other {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(0)
}

type Index = HashMap<&'static str, &'static Keyword>;
type FirstWords = HashMap<&'static str, Vec<&'static str>>;
const SCOPES: [Scope; 5] = [Scope::Global, Scope::Proxy, Scope::Bind, Scope::Server, Scope::Peers];

static INDEX: LazyLock<[Index; 5]> = LazyLock::new(|| SCOPES.map(|scope| all(scope).map(|keyword| (keyword.name, keyword)).collect()));

static FIRST_WORDS: LazyLock<[FirstWords; 5]> = LazyLock::new(|| {
    SCOPES.map(|scope| {
        let mut words = FirstWords::new();
        for (first, second) in all(scope).filter_map(|keyword| keyword.name.split_once(' ')) {
            words.entry(first).or_default().push(second);
        }
        words
    })
});

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_entry_is_complete_and_unique() {
        for scope in SCOPES {
            let mut seen = HashSet::new();
            for keyword in all(scope) {
                assert!(seen.insert(keyword.name), "{scope:?}: '{}' is listed twice", keyword.name);
                assert!(!keyword.summary.is_empty() && !keyword.summary.ends_with('.'), "{scope:?}: summary of '{}'", keyword.name);
                assert!(keyword.places.names().next().is_some(), "{scope:?}: '{}' stands nowhere", keyword.name);
                assert!(keyword.name.split(' ').count() <= 2, "'{}'", keyword.name);
            }
        }
    }

    #[test]
    fn slips_find_what_was_meant() {
        let near = |text: &str| nearest(text, all(Scope::Proxy).map(|keyword| keyword.name));
        assert_eq!(near("maxcon"), Some("maxconn"));
        assert_eq!(near("blaance"), Some("balance"));
        assert_eq!(near("default-backend"), Some("default_backend"));
        assert_eq!(near("nonsense-altogether"), None);
        assert_eq!(nearest("chek", ["check", "cookie"].into_iter()), Some("check"));
    }
}
