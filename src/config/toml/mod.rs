//! The native language: a TOML file -> sections of statements, the same draft that haproxy.cfg becomes.
//!
//! Called by `load` for each text named `*.toml`. TOML gives structure, strings give rules. Every word keeps the place of the key or value it
//! came from, so that the checker both languages share points into the TOML file. Understands no setting: see `schema`.
//!
//! Two things differ from haproxy.cfg on purpose: a proxy without `from` takes the plain `[defaults]`, wherever it stands, never a named one;
//! and `[defaults]` with a `log_format` and no `log` log to the targets of `[global]`, as nobody writes a format for nothing.

mod lower;
mod node;
mod schema;
mod text;

#[cfg(test)]
mod tests;

use ::toml::de::DeTable;

use super::diagnostic::{Diagnostics, SourceId, Sources, Span};
use super::draft::{Section, SectionKind, Statement, Word};
use super::environment::Environment;
use super::haproxy::header;
pub use schema::{key_of, keyword_at, parameter_at};

use lower::Lowering;
use node::{Entry, File};

/// Most syntax errors that are reported for a file; what follows an error is often its consequence.
const SYNTAX_ERROR_LIMIT: usize = 20;
/// Texts larger than this report their first syntax error only: collecting all of them takes memory for each.
const RECOVERY_SIZE_LIMIT: usize = 1 << 20;

/// The tables a file may have, with the sections they are.
const TABLES: &[(&str, SectionKind)] = &[
    ("global", SectionKind::Global),
    ("defaults", SectionKind::Defaults),
    ("frontend", SectionKind::Frontend),
    ("backend", SectionKind::Backend),
    ("listen", SectionKind::Listen),
    ("table", SectionKind::Table),
];

/// Reads one text into sections. `None` for a file with syntax errors; after other mistakes, which are reported too, the reading goes on.
///
/// Sections come in the order `global`, named `defaults`, plain `defaults`, then the proxies as they are written. `before` are the sections
/// of the files before this one: their plain `defaults` hold here, too, unless this file has its own.
pub fn parse(
    source: SourceId,
    sources: &Sources,
    before: &[Section],
    environment: &mut Environment,
    diagnostics: &mut Diagnostics,
) -> Option<Vec<Section>> {
    let kept = sources.get(source)?;
    let file = File { source, text: &kept.text };
    let document = read(file, diagnostics)?;
    let mut headers = Vec::new();
    for entry in file.entries(&document) {
        collect(entry, &mut headers, diagnostics);
    }
    arrange(&mut headers);
    let global_logs = headers.iter().any(|header| header.kind == SectionKind::Global && header.sets("log"))
        || before.iter().any(|section| section.kind == SectionKind::Global && section.statements.iter().any(is_log));
    let implied = |header: &Header<'_>| global_logs && header.kind == SectionKind::Defaults && !header.sets("log") && !header.sets("from");
    let log_spans: Vec<Option<Span>> =
        headers.iter().map(|header| header.setting("log_format").filter(|_| implied(header)).map(|entry| entry.key_span)).collect();
    let sections = headers.into_iter().zip(log_spans).filter_map(|(header, log_span)| {
        let mut section = lower(header, environment, diagnostics)?;
        section.statements.extend(log_span.map(log_global));
        Some(section)
    });
    let mut sections: Vec<Section> = sections.collect();
    keep_plain_defaults(&mut sections, before);
    Some(sections)
}

/// The parsed document, or `None` after syntax errors, which were reported.
fn read<'t>(file: File<'t>, diagnostics: &mut Diagnostics) -> Option<DeTable<'t>> {
    let errors = match DeTable::parse(file.text) {
        Ok(document) => return Some(document.into_inner()),
        Err(first) if file.text.len() > RECOVERY_SIZE_LIMIT => vec![first],
        Err(_) => DeTable::parse_recoverable(file.text).1,
    };
    let mut last_line = None;
    let mut reported = 0;
    for error in errors {
        let span = error.span().map(|range| file.span(range));
        // The errors after the first of a line come from the first.
        let line = span.map(|span| file.text.get(..span.start as usize).map_or(0, |before| before.matches('\n').count()));
        if line == last_line && reported > 0 {
            continue;
        }
        last_line = line;
        reported += 1;
        if reported > SYNTAX_ERROR_LIMIT {
            break;
        }
        diagnostics.error(span, format!("not TOML: {}", error.message()));
    }
    None
}

/// One section to be lowered.
struct Header<'t> {
    kind: SectionKind,
    /// The word of the table: `frontend`.
    table: Entry<'t>,
    /// The entry that holds the section's settings: the key is its name, where it has one.
    name: Option<Entry<'t>>,
    settings: Vec<Entry<'t>>,
}

impl<'t> Header<'t> {
    fn setting(&self, key: &str) -> Option<&Entry<'t>> {
        self.settings.iter().find(|entry| entry.key == key)
    }

    fn sets(&self, key: &str) -> bool {
        self.setting(key).is_some()
    }
}

/// Finds the sections in one top-level entry.
fn collect<'t>(table: Entry<'t>, headers: &mut Vec<Header<'t>>, diagnostics: &mut Diagnostics) {
    let Some(&(_, kind)) = TABLES.iter().find(|(key, _)| *key == table.key) else {
        return unknown_table(&table, diagnostics);
    };
    let Some(entries) = table.value.entries() else {
        let expected = if kind == SectionKind::Global { "a table" } else { "tables of this kind of section" };
        return table.value.wrong_type(expected, diagnostics);
    };
    if kind == SectionKind::Global {
        headers.push(Header { kind, table, name: None, settings: entries });
        return;
    }
    let mut settings = Vec::new();
    for entry in entries {
        let is_section = entry.value.entries().is_some() && (kind != SectionKind::Defaults || !schema::is_key(kind, entry.key));
        match entry.value.entries() {
            Some(inner) if is_section => headers.push(Header { kind, table, name: Some(entry), settings: inner }),
            _ if kind == SectionKind::Defaults => settings.push(entry),
            _ => {
                let finding = diagnostics.error(entry.key_span, format!("'{}' stands outside of any {}", entry.key, table.key));
                finding.help(format!("begin the section with '[{}.NAME]'", table.key));
            }
        }
    }
    if !settings.is_empty() {
        headers.push(Header { kind, table, name: None, settings });
    }
}

fn unknown_table(table: &Entry<'_>, diagnostics: &mut Diagnostics) {
    if header::is_section(table.key) {
        let message = format!("HAProxy's section '{}' is not supported here yet", table.key);
        diagnostics.unsupported(table.key_span, message).label("this section was skipped");
        return;
    }
    let what = if table.value.entries().is_some() { "section" } else { "key" };
    let finding = diagnostics.error(table.key_span, format!("unknown {what} '{}'", table.key));
    match schema::nearest(table.key, TABLES.iter().map(|(key, _)| *key)) {
        Some(nearest) => finding.help(format!("did you mean '{nearest}'?")),
        None => finding
            .help("sections are [global], [defaults], [defaults.NAME], [frontend.NAME], [backend.NAME], [listen.NAME] and [table.NAME]"),
    };
}

/// Brings the sections into the order in which the checker understands them as meant: see `parse`.
fn arrange(headers: &mut [Header<'_>]) {
    let place = |header: &Header<'_>| header.name.map_or(header.table.key_span.start, |name| name.key_span.start);
    let rank = |header: &Header<'_>| match (header.kind, header.name.is_some()) {
        (SectionKind::Global, _) => 0,
        (SectionKind::Defaults, true) => 1,
        (SectionKind::Defaults, false) => 2,
        _ => 3,
    };
    headers.sort_by_key(|header| (rank(header), place(header)));
}

/// Where the last `defaults` is a named one, puts the plain one that holds so far behind it: haproxy.cfg's rule would give the named one to
/// proxies without `from`.
fn keep_plain_defaults(sections: &mut Vec<Section>, before: &[Section]) {
    let is_defaults = |section: &Section| section.kind == SectionKind::Defaults;
    let Some(last) = sections.iter().rposition(is_defaults) else { return };
    if sections[last].name.is_none() {
        return;
    }
    let plain = before.iter().rev().find(|section| is_defaults(section) && section.name.is_none()).cloned();
    let empty = || Section { kind: SectionKind::Defaults, name: None, from: None, statements: Vec::new(), span: sections[last].span };
    let plain = plain.unwrap_or_else(empty);
    sections.insert(last + 1, plain);
}

fn is_log(statement: &Statement) -> bool {
    statement.words.first().is_some_and(|word| word.text == "log")
}

/// The statement `log global`.
fn log_global(span: Span) -> Statement {
    let word = |text: &str| Word { text: text.into(), span };
    Statement { words: vec![word("log"), word("global")], negation: None, span }
}

fn lower(header: Header<'_>, environment: &mut Environment, diagnostics: &mut Diagnostics) -> Option<Section> {
    let label = match &header.name {
        Some(name) => format!("[{}.{}]", header.table.key, name.key),
        None => format!("[{}]", header.table.key),
    };
    let takes_from = header.kind != SectionKind::Global;
    let from = header.settings.iter().find(|entry| takes_from && entry.key == "from").copied();
    if let (SectionKind::Table, Some(name)) = (header.kind, header.name) {
        let mut lowering = Lowering { environment, diagnostics, kind: header.kind, header: label, statements: Vec::new() };
        lowering.table(name, &header.settings);
        let name = Some(Word { text: name.key.to_owned(), span: name.key_span });
        let span = header.table.key_span;
        return Some(Section { kind: header.kind, name, from: None, statements: lowering.statements, span });
    }
    let mut section = read_header(&header, from, environment, diagnostics)?;
    let mut lowering = Lowering { environment, diagnostics, kind: header.kind, header: label, statements: Vec::new() };
    for entry in header.settings.iter().filter(|entry| !(takes_from && entry.key == "from")) {
        lowering.setting(*entry);
    }
    section.statements = lowering.statements;
    section.statements.sort_by_key(order);
    Some(section)
}

/// In haproxy.cfg 'default-server' is for the servers that follow, and rules are best written in the order in which they are evaluated; the
/// order of keys in a TOML table means nothing.
fn order(statement: &Statement) -> u8 {
    let word = |index: usize| statement.words.get(index).map_or("", |word| word.text.as_str());
    match (word(0), word(1)) {
        ("default-server", _) => 0,
        ("declare", _) => 2,
        ("tcp-request", "connection") => 3,
        ("tcp-request", "session") => 4,
        ("tcp-request", "content") => 5,
        ("use_backend" | "use-server", _) => 6,
        _ => 1,
    }
}

/// The section without its settings, read by the same rules as a header of haproxy.cfg.
fn read_header(header: &Header<'_>, from: Option<Entry<'_>>, environment: &Environment, diagnostics: &mut Diagnostics) -> Option<Section> {
    let word = |entry: &Entry<'_>| Word { text: entry.key.to_owned(), span: entry.key_span };
    let mut words = vec![word(&header.table)];
    words.extend(header.name.as_ref().map(word));
    if let Some(from) = from {
        let base = from.value.word("the name of a [defaults.NAME] section", environment, diagnostics)?;
        words.push(word(&from));
        words.push(base);
    }
    let mut section = header::read(&words, diagnostics)?;
    section.span = header.name.as_ref().map_or(header.table.key_span, |name| name.key_span);
    Some(section)
}
