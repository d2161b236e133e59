//! Actions of `tcp-request` and `tcp-response` rules: which there are, where each may stand, and what its words mean (manual section 4.2).
//!
//! `rules.rs` asks for the action at the beginning of a rule and reads the condition behind it. Nothing here acts.

mod reader;

use ringmain_model::rule::Action;
use ringmain_model::table::KeyType;
use ringmain_model::{Expression, SampleType, TableId};

use super::tables::Tables;
use crate::config::diagnostic::Span;
use crate::config::draft::Word;
use crate::config::expression::{Compiler, Site};
use crate::config::keyword;
use reader::Reader;

pub use reader::capture_length;

/// Sets of rules, and sets of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleSet(u8);

impl RuleSet {
    /// `tcp-request connection`.
    pub const CONNECTION: Self = Self(1);
    /// `tcp-request session`.
    pub const SESSION: Self = Self(2);
    /// `tcp-request content`.
    pub const CONTENT: Self = Self(4);
    /// `tcp-response content`.
    pub const RESPONSE: Self = Self(8);
    const REQUEST: Self = Self(7);
    const ALL: Self = Self(15);
    const CONTENTS: Self = Self(12);

    const NAMES: [(Self, &'static str); 4] = [
        (Self::CONNECTION, "tcp-request connection"),
        (Self::SESSION, "tcp-request session"),
        (Self::CONTENT, "tcp-request content"),
        (Self::RESPONSE, "tcp-response content"),
    ];

    fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(set, _)| self.contains(*set)).map(|(_, name)| *name).collect()
    }

    /// The keyword of one set.
    pub fn name(self) -> &'static str {
        self.names().first().copied().unwrap_or("")
    }
}

/// How the words of an action are read.
type Read = fn(&mut Reader<'_, '_, '_, '_, '_>) -> Option<Action>;

/// One action: its name, where it may stand, and how it is read; `None` when it is not supported.
struct Entry {
    name: &'static str,
    sets: RuleSet,
    read: Option<Read>,
}

const fn entry(name: &'static str, sets: RuleSet, read: Read) -> Entry {
    Entry { name, sets, read: Some(read) }
}

const fn unsupported(name: &'static str, sets: RuleSet) -> Entry {
    Entry { name, sets, read: None }
}

const ACTIONS: &[Entry] = &[
    entry("accept", RuleSet::ALL, |_| Some(Action::Accept)),
    entry("reject", RuleSet::ALL, |_| Some(Action::Reject)),
    entry("close", RuleSet::RESPONSE, |_| Some(Action::Close)),
    entry("silent-drop", RuleSet::ALL, |reader| reader.silent_drop()),
    entry("expect-proxy", RuleSet::CONNECTION, |reader| reader.expect_proxy()),
    entry("track-sc", RuleSet::REQUEST, |reader| reader.track()),
    entry("sc-inc-gpc", RuleSet::ALL, |reader| reader.array_column().map(Action::IncrementCounter)),
    entry("sc-inc-gpc0", RuleSet::ALL, |reader| reader.single_column(0).map(Action::IncrementCounter)),
    entry("sc-inc-gpc1", RuleSet::ALL, |reader| reader.single_column(1).map(Action::IncrementCounter)),
    entry("sc-add-gpc", RuleSet::ALL, |reader| Some(Action::AddCounter(reader.array_column()?, reader.integer()?))),
    entry("sc-set-gpt", RuleSet::ALL, |reader| Some(Action::SetTag(reader.array_column()?, reader.integer()?))),
    entry("sc-set-gpt0", RuleSet::ALL, |reader| Some(Action::SetTag(reader.single_column(0)?, reader.integer()?))),
    entry("set-var", RuleSet::ALL, |reader| reader.set_variable()),
    entry("set-var-fmt", RuleSet::ALL, |reader| reader.set_variable_format()),
    entry("unset-var", RuleSet::ALL, |reader| reader.variable_name().map(Action::UnsetVariable)),
    entry("capture", RuleSet::CONTENT, |reader| reader.capture()),
    entry("set-src", RuleSet::REQUEST, |reader| reader.value(SampleType::Address).map(Action::SetSource)),
    entry("set-src-port", RuleSet::REQUEST, |reader| reader.value(SampleType::Integer).map(Action::SetSourcePort)),
    entry("set-dst", RuleSet::REQUEST, |reader| reader.value(SampleType::Address).map(Action::SetDestination)),
    entry("set-dst-port", RuleSet::REQUEST, |reader| reader.value(SampleType::Integer).map(Action::SetDestinationPort)),
    entry("set-mark", RuleSet::ALL, |reader| reader.fixed(u32::MAX).map(Action::SetMark)),
    entry("set-tos", RuleSet::ALL, |reader| reader.fixed(255).and_then(|tos| u8::try_from(tos).ok()).map(Action::SetTos)),
    entry("set-log-level", RuleSet::CONTENTS, |reader| reader.log_level()),
    entry("set-nice", RuleSet::CONTENTS, |reader| reader.nice()),
    entry("do-log", RuleSet::ALL, |reader| reader.do_log()),
    unsupported("expect-netscaler-cip", RuleSet::CONNECTION),
    unsupported("set-fc-mark", RuleSet::ALL),
    unsupported("set-fc-tos", RuleSet::ALL),
    unsupported("set-bc-mark", RuleSet::CONTENT),
    unsupported("set-bc-tos", RuleSet::CONTENT),
    unsupported("set-priority-class", RuleSet::CONTENT),
    unsupported("set-priority-offset", RuleSet::CONTENT),
    unsupported("set-bandwidth-limit", RuleSet::CONTENTS),
    unsupported("switch-mode", RuleSet::CONTENT),
    unsupported("use-service", RuleSet::CONTENT),
    unsupported("do-resolve", RuleSet::CONTENT),
    unsupported("send-spoe-group", RuleSet::CONTENTS),
    unsupported("attach-srv", RuleSet::SESSION),
    unsupported("ot-group", RuleSet::CONTENTS),
];

/// What actions are read with.
pub struct ActionContext<'t> {
    /// The stick tables.
    pub tables: &'t Tables,
    /// The proxy's own table.
    pub own_table: Option<TableId>,
    /// `frontend 'f'`, for messages.
    pub title: String,
    /// The slots of captured values, with the most bytes of each; `None` where values cannot be captured.
    pub captures: Option<&'t mut Vec<u32>>,
}

/// Takes the words of an action off the front of a rule's words. Reports what is wrong; `None` then.
pub fn read(
    set: RuleSet,
    site: Site,
    place: Span,
    words: &mut &[Word],
    compiler: &mut Compiler<'_, '_>,
    context: &mut ActionContext<'_>,
) -> Option<Action> {
    let Some(first) = words.first() else {
        compiler.diagnostics.error(place, format!("'{}' needs an action", set.name())).help("such as 'accept' or 'reject'");
        return None;
    };
    let (name, inside) = call(words);
    let base = if name.starts_with("track-sc") { "track-sc" } else { name };
    let Some(entry) = ACTIONS.iter().find(|entry| entry.name == base) else {
        unknown(set, first, base, compiler);
        return None;
    };
    if !entry.sets.contains(set) {
        let message = format!("'{base}' is not allowed in '{}' rules", set.name());
        compiler.diagnostics.error(first.span, message).help(format!("it belongs into {}", entry.sets.names().join(", ")));
        return None;
    }
    let Some(read) = entry.read else {
        compiler.diagnostics.unsupported(first.span, format!("HAProxy's action '{base}' is not supported here yet"));
        return None;
    };
    let mut reader = Reader { site, name: first, base, inside, words, compiler, context };
    let action = read(&mut reader);
    *words = reader.words;
    action
}

fn unknown(set: RuleSet, word: &Word, base: &str, compiler: &mut Compiler<'_, '_>) {
    if base.starts_with("lua.") {
        compiler.diagnostics.unsupported(word.span, "HAProxy's actions in Lua are not supported here");
        return;
    }
    let finding = compiler.diagnostics.error(word.span, format!("'{}' has no action '{}'", set.name(), word.text));
    let here: Vec<&str> = ACTIONS.iter().filter(|entry| entry.sets.contains(set)).map(|entry| entry.name).collect();
    match keyword::nearest(base, here.iter().copied()) {
        Some(near) => finding.help(format!("did you mean '{near}'?")),
        None => finding.help(format!("there are {}", here.join(", "))),
    };
}

/// Takes `name` or `name(argument,...)`, whose arguments may have blanks after their commas. The arguments are `None` without parentheses, and
/// when those are never closed: then the whole word is the name.
fn call<'w>(words: &mut &'w [Word]) -> (&'w str, Option<Vec<String>>) {
    let Some((first, mut rest)) = words.split_first() else { return ("", None) };
    let Some((name, start)) = first.text.split_once('(') else {
        *words = rest;
        return (&first.text, None);
    };
    let mut inside = start.to_owned();
    while !inside.ends_with(')') {
        // Only a comma says that the next word belongs to it.
        match rest.split_first() {
            Some((next, after)) if inside.ends_with(',') => {
                inside.push_str(&next.text);
                rest = after;
            }
            _ => {
                *words = words.get(1..).unwrap_or(&[]);
                return (&first.text, None);
            }
        }
    }
    *words = rest;
    inside.pop();
    (name, Some(inside.split(',').map(|part| part.trim().to_owned()).collect()))
}

/// Takes `table NAME`, if it is there; otherwise it is the proxy's own table.
pub fn table(words: &mut &[Word], place: Span, compiler: &mut Compiler<'_, '_>, context: &ActionContext<'_>) -> Option<TableId> {
    match *words {
        [keyword, name, rest @ ..] if keyword.text == "table" => {
            *words = rest;
            context.tables.resolve(name, compiler.diagnostics)
        }
        [keyword] if keyword.text == "table" => {
            compiler.diagnostics.error(keyword.span, "the name of a table is missing after 'table'");
            None
        }
        _ => {
            if context.own_table.is_none() {
                compiler
                    .diagnostics
                    .error(place, format!("no table is named, and {} has no 'stick-table'", context.title))
                    .help("add a 'stick-table', or name one with 'table NAME'");
            }
            context.own_table
        }
    }
}

/// Reports a key whose value cannot become one of the table.
pub fn check_key(key: &Expression, place: Span, table: TableId, tables: &Tables, compiler: &mut Compiler<'_, '_>) -> Option<()> {
    let table = tables.list.get(table.index())?;
    let wanted = match table.key {
        KeyType::Ip => SampleType::Ipv4,
        KeyType::Ipv6 => SampleType::Ipv6,
        KeyType::Integer => SampleType::Integer,
        KeyType::String { .. } => SampleType::String,
        KeyType::Binary { .. } => SampleType::Binary,
    };
    if key.output.casts_to(wanted) {
        return Some(());
    }
    let message =
        format!("'{}' gives a {}, but the keys of table '{}' are of type {}", key.source, key.output.name(), table.name, table.key.name());
    compiler.diagnostics.error(place, message);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::SourceId;

    fn words(text: &str) -> Vec<Word> {
        let span = Span { source: SourceId(0), start: 0, end: 0 };
        text.split(' ').map(|text| Word { text: text.to_owned(), span }).collect()
    }

    #[test]
    fn arguments_may_have_blanks_after_their_commas() {
        let read = |text: &str| {
            let words = words(text);
            let mut rest = words.as_slice();
            let (name, inside) = call(&mut rest);
            (name.to_owned(), inside.map(|inside| inside.join("|")), rest.len())
        };
        assert_eq!(read("set-var(txn.a,ifset) src"), ("set-var".into(), Some("txn.a|ifset".into()), 1));
        assert_eq!(read("set-var(txn.a, ifset) src"), ("set-var".into(), Some("txn.a|ifset".into()), 1));
        assert_eq!(read("accept if x"), ("accept".into(), None, 2));
        assert_eq!(read("set-var(txn.a src"), ("set-var(txn.a".into(), None, 1));
        assert_eq!(read("set-var(txn.a,"), ("set-var(txn.a,".into(), None, 0));
    }

    #[test]
    fn names_are_listed_once() {
        for (position, entry) in ACTIONS.iter().enumerate() {
            assert!(ACTIONS.iter().skip(position + 1).all(|other| other.name != entry.name), "{}", entry.name);
        }
    }
}
