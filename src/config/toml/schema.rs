//! Which keyword a TOML key is, and in which forms its value may be written.
//!
//! Keys follow from the keyword registry by one rule: the words and dotted parts of a keyword's name are nested keys, dashes become
//! underscores (`timeout client-fin` is `timeout.client_fin`, `tune.rcvbuf.client` is `tune.rcvbuf.client`). Only what is better written
//! otherwise in TOML is listed here. Used by the lowering, and by the converter for spellings.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use super::super::draft::SectionKind;
use super::super::keyword::{self, Keyword, Meaning, Places, Scope};

/// The syntax of keywords whose argument is a number.
const NUMBER: &str = "<number>";

/// What a path of keys stands for.
pub enum Resolution {
    /// A keyword of the registry.
    Keyword(&'static Keyword),
    /// The first word of several keywords (`timeout`, `option`): a table of them.
    Family,
    /// Lines that begin with the second word of one of several keywords: `tcp_request.rules`.
    Rules(&'static str),
    /// No keyword, and what was probably meant.
    Unknown {
        /// As a path of keys.
        nearest: Option<String>,
    },
}

/// In which form a value may be written.
#[derive(Clone, Copy)]
pub enum Form {
    /// `true`, or `false` for the opposite keyword.
    Flag {
        /// The keyword that says the opposite.
        opposite: Option<&'static str>,
    },
    /// `true`, `false` or arguments.
    Option,
    /// One argument, taken as it is.
    Text,
    /// One number. haproxy.cfg reads any word as one; in TOML a word is a mistake.
    Number,
    /// Arguments split like a line of haproxy.cfg.
    Words,
    /// The same, each item of an array being a line of its own.
    Lines,
    /// A line, a table of parameters, or an array of these.
    Records(&'static Record),
    /// A stick table: a line or a table of its parts.
    StickTable,
    /// `log`.
    Log,
    /// `log-format`, with names for the built-in formats.
    LogFormat,
    /// A table of environment variables.
    Variables,
    /// Whatever: the keyword is refused or has no effect, so its arguments do not matter.
    Any,
}

/// A line whose parameters may be a table.
pub struct Record {
    /// The scope that knows its parameters; `None` when parameters are spelled as they are.
    pub scope: Option<Scope>,
    /// Keys of the parameters with a fixed place, in order, and whether they must be there.
    pub positional: &'static [(&'static str, bool)],
    /// Keys that are spelled otherwise in haproxy.cfg.
    pub renamed: &'static [(&'static str, &'static str)],
}

static BIND: Record = Record { scope: Some(Scope::Bind), positional: &[("address", true)], renamed: &[("tls", "ssl")] };
static SERVER: Record = Record { scope: Some(Scope::Server), positional: &[("name", true), ("address", true)], renamed: &[("tls", "ssl")] };
static DEFAULT_SERVER: Record = Record { scope: Some(Scope::Server), positional: &[], renamed: &[("tls", "ssl")] };
static SOURCE: Record = Record { scope: None, positional: &[("address", true)], renamed: &[] };

/// Keys that do not follow from the name of their keyword: path of keys, keyword.
const RENAMED: &[(&str, &str)] = &[("servers", "server"), ("shards", "nbthread"), ("ring", "tune.ring")];

/// Keys of lists of rules of all kinds that begin with one word.
const RULES: &[(&str, &str)] = &[("tcp_request.rules", "tcp-request"), ("tcp_response.rules", "tcp-response")];

/// The keyword that a path of keys stands for in a kind of section.
pub fn resolve(kind: SectionKind, keys: &[&str]) -> Resolution {
    let index = index(kind);
    let path = keys.join(".");
    if let Some(keyword) = index.keywords.get(path.as_str()) {
        return Resolution::Keyword(keyword);
    }
    if index.families.contains(path.as_str()) {
        return Resolution::Family;
    }
    if let Some((_, keyword)) = RULES.iter().find(|(key, _)| *key == path).filter(|_| kind != SectionKind::Global) {
        return Resolution::Rules(keyword);
    }
    Resolution::Unknown { nearest: nearest_path(index, kind, keys) }
}

/// The keyword that a path of keys joined by dots stands for.
pub fn keyword_at(kind: SectionKind, path: &str) -> Option<&'static Keyword> {
    index(kind).keywords.get(path).copied()
}

/// The parameter of a bind or a server that a key of its table stands for.
pub fn parameter_at(scope: Scope, key: &str) -> Option<&'static Keyword> {
    parameters(scope).get(key).copied()
}

/// Whether a key means something at the top of a kind of section.
pub fn is_key(kind: SectionKind, key: &str) -> bool {
    !matches!(resolve(kind, &[key]), Resolution::Unknown { .. })
}

/// The path of keys that a keyword is: `timeout.client_fin`.
pub fn path_of(name: &str) -> String {
    for (key, renamed) in RENAMED {
        match name.strip_prefix(renamed) {
            Some("") => return (*key).to_owned(),
            Some(rest) if rest.starts_with('.') => return format!("{key}{}", rest.replace('-', "_")),
            _ => {}
        }
    }
    name.replace(' ', ".").replace('-', "_")
}

/// A keyword of any scope as a key: a path in its section, or a key in the table of a bind or a server.
pub fn key_of(scope: Scope, name: &str) -> String {
    match scope {
        Scope::Global | Scope::Proxy => path_of(name),
        Scope::Bind | Scope::Server | Scope::Peers => name.replace('-', "_"),
    }
}

/// Whether a keyword may stand without its argument.
pub fn is_argument_optional(keyword: &Keyword) -> bool {
    keyword.syntax.is_empty() || keyword.syntax.starts_with('[')
}

/// The forms in which a keyword's value may be written.
pub fn form(keyword: &Keyword) -> Form {
    if matches!(keyword.meaning, Meaning::NoEffect | Meaning::Unsupported) {
        return Form::Any;
    }
    match keyword.name {
        "bind" | "stats socket" => Form::Records(&BIND),
        "server" => Form::Records(&SERVER),
        "default-server" => Form::Records(&DEFAULT_SERVER),
        "source" => Form::Records(&SOURCE),
        "log" => Form::Log,
        "log-format" => Form::LogFormat,
        "setenv" | "presetenv" => Form::Variables,
        "use_backend" | "cpu-map" | "acl" | "stick" | "use-server" | "force-persist" | "ignore-persist" | "declare capture" | "set-var"
        | "set-var-fmt" => Form::Lines,
        "tcp-request connection" | "tcp-request session" | "tcp-request content" | "tcp-response content" => Form::Lines,
        "stick-table" => Form::StickTable,
        // Its syntax names one word, but algorithms may take arguments.
        "balance" => Form::Words,
        "disabled" => Form::Flag { opposite: Some("enabled") },
        "enabled" => Form::Flag { opposite: Some("disabled") },
        name if name.starts_with("option ") => Form::Option,
        _ if keyword.syntax.is_empty() => Form::Flag { opposite: None },
        _ if keyword.syntax == NUMBER => Form::Number,
        _ if keyword.syntax.contains(' ') => Form::Words,
        _ => Form::Text,
    }
}

/// One parameter of a record's table.
pub struct Parameter {
    /// Its word in haproxy.cfg.
    pub name: Cow<'static, str>,
    /// Its entry, unless nobody knows it.
    pub keyword: Option<&'static Keyword>,
}

impl Parameter {
    /// The parameter that a key of a record's table stands for.
    pub fn of(record: &Record, key: &str) -> Self {
        let key = record.renamed.iter().find(|(from, _)| *from == key).map_or(key, |(_, to)| to);
        let keyword = record.scope.and_then(|scope| parameters(scope).get(key).copied());
        Self { name: keyword.map_or_else(|| Cow::Owned(key.replace('_', "-")), |keyword| Cow::Borrowed(keyword.name)), keyword }
    }

    /// The word that switches it off, where there is one.
    pub fn off(&self, record: &Record) -> Option<&'static str> {
        let opposite = match &*self.name {
            "disabled" => "enabled".to_owned(),
            "enabled" => "disabled".to_owned(),
            name => format!("no-{name}"),
        };
        record.scope.and_then(|scope| parameters(scope).get(&*opposite)).map(|keyword| keyword.name)
    }

    /// Whether its value is a number.
    pub fn takes_number(&self) -> bool {
        self.keyword.is_some_and(|keyword| keyword.syntax == NUMBER)
    }

    /// Whether its value is split into several words.
    pub fn takes_words(&self) -> bool {
        self.keyword.is_some_and(|keyword| keyword.syntax.contains(' '))
    }

    /// The table that may stand for its value.
    pub fn inner_record(&self) -> Option<&'static Record> {
        (self.name == "source").then_some(&SOURCE)
    }

    /// Whether it is refused whatever its value is.
    pub fn is_unsupported(&self) -> bool {
        self.keyword.is_some_and(|keyword| matches!(keyword.meaning, Meaning::Unsupported))
    }
}

/// The candidate that is a slip of the finger away.
pub fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    keyword::nearest(text, candidates)
}

/// Parameters of a line by their names in both spellings.
type Parameters = HashMap<Cow<'static, str>, &'static Keyword>;

static BIND_PARAMETERS: LazyLock<Parameters> = LazyLock::new(|| parameters_of(Scope::Bind));
static SERVER_PARAMETERS: LazyLock<Parameters> = LazyLock::new(|| parameters_of(Scope::Server));

fn parameters(scope: Scope) -> &'static Parameters {
    if scope == Scope::Server { &SERVER_PARAMETERS } else { &BIND_PARAMETERS }
}

fn parameters_of(scope: Scope) -> Parameters {
    let spellings = |keyword: &'static Keyword| [(keyword.name.into(), keyword), (keyword.name.replace('-', "_").into(), keyword)];
    keyword::all(scope).flat_map(spellings).collect()
}

/// The keys of one scope.
struct Index {
    keywords: HashMap<String, &'static Keyword>,
    /// Every beginning of a path that is longer.
    families: BTreeSet<String>,
}

static GLOBAL: LazyLock<Index> = LazyLock::new(|| Index::new(Scope::Global));
static PROXY: LazyLock<Index> = LazyLock::new(|| Index::new(Scope::Proxy));

fn index(kind: SectionKind) -> &'static Index {
    if kind == SectionKind::Global { &GLOBAL } else { &PROXY }
}

impl Index {
    fn new(scope: Scope) -> Self {
        let mut index = Self { keywords: HashMap::new(), families: BTreeSet::new() };
        for keyword in keyword::all(scope) {
            let path = path_of(keyword.name);
            for (dot, _) in path.match_indices('.') {
                index.families.insert(path[..dot].to_owned());
            }
            index.keywords.insert(path, keyword);
        }
        index
    }
}

/// What was probably meant by a path of keys whose last key means nothing: a key of the same table, or the same words nested otherwise.
fn nearest_path(index: &Index, kind: SectionKind, keys: &[&str]) -> Option<String> {
    let (last, outer) = keys.split_last()?;
    let place = Places::of(kind);
    let fitting: Vec<&str> =
        index.keywords.iter().filter(|(_, keyword)| keyword.places.contains(place)).map(|(path, _)| path.as_str()).collect();
    let flat = |text: &str| text.replace([' ', '-', '.'], "_");
    let written = flat(&keys.join("."));
    if let Some(same) = fitting.iter().find(|path| flat(path) == written) {
        return Some(format!("'{same}'"));
    }
    let prefix = if outer.is_empty() { String::new() } else { format!("{}.", outer.join(".")) };
    let beside: BTreeSet<&str> =
        fitting.iter().filter_map(|path| path.strip_prefix(&prefix)).filter_map(|rest| rest.split('.').next()).collect();
    if let Some(near) = nearest(last, beside.into_iter()) {
        return Some(format!("'{near}'"));
    }
    // haproxy.cfg's own name, where the key is another one.
    let names = index.keywords.values().filter(|keyword| keyword.places.contains(place)).map(|keyword| keyword.name);
    if let Some(name) = nearest(&keys.join(" ").replace('_', "-"), names) {
        return Some(format!("'{}'", path_of(name)));
    }
    let mut fitting = fitting;
    fitting.sort_unstable();
    nearest(&keys.join("."), fitting.into_iter()).map(|near| format!("'{near}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_has_a_path_of_its_own() {
        for (scope, kind) in [(Scope::Global, SectionKind::Global), (Scope::Proxy, SectionKind::Listen)] {
            for keyword in keyword::all(scope) {
                let path = path_of(keyword.name);
                let keys: Vec<&str> = path.split('.').collect();
                match resolve(kind, &keys) {
                    Resolution::Keyword(found) => assert_eq!(found.name, keyword.name, "{path}"),
                    _ => panic!("'{}' cannot be reached by '{path}'", keyword.name),
                }
            }
        }
    }

    #[test]
    fn every_parameter_can_be_written_as_a_key() {
        for (record, scope) in [(&BIND, Scope::Bind), (&SERVER, Scope::Server), (&DEFAULT_SERVER, Scope::Server)] {
            for keyword in keyword::all(scope) {
                assert_eq!(Parameter::of(record, &keyword.name.replace('-', "_")).name, keyword.name);
                assert_eq!(Parameter::of(record, keyword.name).name, keyword.name);
            }
        }
    }
}
