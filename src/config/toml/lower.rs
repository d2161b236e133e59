//! One setting of the native language -> the statements that the same setting is in haproxy.cfg.
//!
//! `schema` says which keyword a key is and in which form its value may stand; this file makes the words. Whether a keyword is legal
//! where it stands, and what its words mean, is for the checker of both languages alone.

use super::super::diagnostic::{Diagnostics, Span};
use super::super::draft::{Negation, SectionKind, Statement, Word};
use super::super::environment::Environment;
use super::super::haproxy::apply_environment;
use super::super::keyword::Keyword;
use super::node::{Entry, Node};
use super::schema::{self, Form, Parameter, Record, Resolution};
use super::text::is_variable_name;

/// Lowers the settings of one section.
pub struct Lowering<'a> {
    /// Variables that strings may name; `setenv` changes it.
    pub environment: &'a mut Environment,
    /// Where findings go.
    pub diagnostics: &'a mut Diagnostics,
    /// The kind of the section.
    pub kind: SectionKind,
    /// The section's header as users write it, for messages.
    pub header: String,
    /// What was made so far.
    pub statements: Vec<Statement>,
}

/// The keys that lead to a value, outermost first, with their places.
type Path<'t> = Vec<(&'t str, Span)>;

impl Lowering<'_> {
    /// Lowers one `key = value` of the section's table.
    pub fn setting(&mut self, entry: Entry<'_>) {
        self.at_path(&mut vec![(entry.key, entry.key_span)], entry.value);
    }

    fn at_path<'t>(&mut self, path: &mut Path<'t>, value: Node<'t>) {
        let keys: Vec<&str> = path.iter().map(|(key, _)| *key).collect();
        match schema::resolve(self.kind, &keys) {
            Resolution::Keyword(keyword) => {
                let written = Written::new(keyword.name, path, value.span);
                self.form(&written, schema::form(keyword), keyword, value);
            }
            Resolution::Family => match value.entries() {
                Some(entries) => {
                    for entry in entries {
                        path.push((entry.key, entry.key_span));
                        self.at_path(path, entry.value);
                        path.pop();
                    }
                }
                None => value.wrong_type("a table", self.diagnostics),
            },
            Resolution::Rules(keyword) => {
                let written = Written::new(keyword, path, value.span);
                self.each(&written, value, |lowering, written, item| lowering.line(written, "a string", item));
            }
            Resolution::Unknown { nearest } => self.unknown(path, nearest),
        }
    }

    /// A stick table that belongs to no proxy: `[table.NAME]`.
    pub fn table(&mut self, name: Entry<'_>, entries: &[Entry<'_>]) {
        let word = |text: &str| Word { text: text.to_owned(), span: name.key_span };
        let Some(parts) = self.stick_table_parts(entries) else { return };
        let words = [word("table"), word(name.key)].into_iter().chain(parts).collect();
        self.statements.push(Statement { words, negation: None, span: name.key_span });
    }

    fn stick_table(&mut self, written: &Written, value: Node<'_>) {
        match value.entries() {
            Some(entries) => {
                if let Some(words) = self.stick_table_parts(&entries) {
                    self.push(written, words, None);
                }
            }
            None => self.line(written, "a string or a table", value),
        }
    }

    /// The parts of a stick table in the words of haproxy.cfg; the length of keys stands behind their type there.
    fn stick_table_parts(&mut self, entries: &[Entry<'_>]) -> Option<Vec<Word>> {
        const PARTS: [(&str, &str); 8] = [
            ("type", "type"),
            ("length", "len"),
            ("size", "size"),
            ("expire", "expire"),
            ("nopurge", "nopurge"),
            ("srvkey", "srvkey"),
            ("write_to", "write-to"),
            ("store", "store"),
        ];
        let known = PARTS.map(|(key, _)| key);
        if let Some(entry) = entries.iter().find(|entry| !known.contains(&entry.key)) {
            self.unknown_part(entry, &known, "stick_table");
            return None;
        }
        let mut words = Vec::new();
        for (key, name) in PARTS {
            let Some(entry) = entries.iter().find(|entry| entry.key == key) else { continue };
            let keyword = Word { text: name.to_owned(), span: entry.key_span };
            match (key, entry.value.boolean()) {
                ("nopurge", Some(true)) => words.push(keyword),
                ("nopurge", Some(false)) => {}
                ("nopurge", None) => {
                    entry.value.wrong_type("true or false", self.diagnostics);
                    return None;
                }
                _ => {
                    words.push(keyword);
                    words.push(self.positional(entry.value)?);
                }
            }
        }
        Some(words)
    }

    fn unknown(&mut self, path: &Path<'_>, nearest: Option<String>) {
        let Some((key, span)) = path.last() else { return };
        let outer: Vec<&str> = path.iter().rev().skip(1).rev().map(|(key, _)| *key).collect();
        let place = if outer.is_empty() { self.header.clone() } else { format!("'{}' of {}", outer.join("."), self.header) };
        let finding = self.diagnostics.error(*span, format!("unknown key '{key}' in {place}"));
        if let Some(nearest) = nearest {
            finding.help(format!("did you mean {nearest}?"));
        }
    }

    fn form(&mut self, written: &Written, form: Form, keyword: &Keyword, value: Node<'_>) {
        match form {
            Form::Flag { opposite } => self.flag(written, opposite, keyword.negatable, value),
            Form::Option => self.option(written, value),
            Form::Text => self.arguments(written, keyword, value, |lowering, item| {
                item.word("a string or an integer", lowering.environment, lowering.diagnostics).map(|word| vec![word])
            }),
            Form::Number => self.arguments(written, keyword, value, |lowering, item| {
                item.number_word(lowering.environment, lowering.diagnostics).map(|word| vec![word])
            }),
            Form::Words => self.arguments(written, keyword, value, |lowering, item| {
                item.words("a string or an integer", lowering.environment, lowering.diagnostics)
            }),
            Form::Lines => self.each(written, value, |lowering, written, item| lowering.line(written, "a string", item)),
            Form::Records(record) => self.each(written, value, |lowering, written, item| match item.entries() {
                Some(entries) => {
                    if let Some(words) = lowering.record(record, &entries, item.span) {
                        lowering.push(written, words, None);
                    }
                }
                None => lowering.line(written, "a string or a table", item),
            }),
            Form::StickTable => self.stick_table(written, value),
            Form::Log => self.each(written, value, Self::log),
            Form::LogFormat => self.log_format(written, value),
            Form::Variables => self.variables(written, value),
            Form::Any => {
                let negation = (keyword.negatable && value.boolean() == Some(false)).then_some(Negation::No);
                self.push(written, Vec::new(), negation);
            }
        }
    }

    /// `true` is the keyword alone; `false` its opposite where there is one, else nothing.
    fn flag(&mut self, written: &Written, opposite: Option<&str>, negatable: bool, value: Node<'_>) {
        match (value.boolean(), opposite) {
            (Some(true), _) => self.push(written, Vec::new(), None),
            (Some(false), _) if negatable => self.push(written, Vec::new(), Some(Negation::No)),
            (Some(false), Some(word)) => {
                let words = vec![Word { text: word.to_owned(), span: written.span() }];
                self.statements.push(Statement { words, negation: None, span: written.whole });
            }
            (Some(false), None) => {}
            (None, _) => value.wrong_type("true or false", self.diagnostics),
        }
    }

    /// `true` or the option's arguments switch it on, `false` off.
    fn option(&mut self, written: &Written, value: Node<'_>) {
        match value.boolean() {
            Some(true) => self.push(written, Vec::new(), None),
            Some(false) => self.push(written, Vec::new(), Some(Negation::No)),
            None => {
                if let Some(words) = value.words("true, false or the option's arguments", self.environment, self.diagnostics) {
                    self.push(written, words, None);
                }
            }
        }
    }

    /// One statement: an array gives its items as arguments, `true` is the keyword alone where it may stand alone.
    fn arguments(
        &mut self,
        written: &Written,
        keyword: &Keyword,
        value: Node<'_>,
        words: impl Fn(&mut Self, Node<'_>) -> Option<Vec<Word>>,
    ) {
        match value.boolean() {
            Some(true) if schema::is_argument_optional(keyword) => return self.push(written, Vec::new(), None),
            Some(false) if keyword.negatable => return self.push(written, Vec::new(), Some(Negation::No)),
            _ => {}
        }
        let items = value.items().unwrap_or_else(|| vec![value]);
        let mut all = Vec::new();
        for item in items {
            let Some(found) = words(self, item) else { return };
            all.extend(found);
        }
        self.push(written, all, None);
    }

    /// One statement for a value, or one for each item of an array.
    fn each(&mut self, written: &Written, value: Node<'_>, lower: impl Fn(&mut Self, &Written, Node<'_>)) {
        match value.items() {
            Some(items) => {
                for item in items {
                    lower(self, &written.spanning(item.span), item);
                }
            }
            None => lower(self, written, value),
        }
    }

    /// The keyword followed by the words of a string; `true` is the keyword alone.
    fn line(&mut self, written: &Written, expected: &str, value: Node<'_>) {
        if value.boolean() == Some(true) {
            return self.push(written, Vec::new(), None);
        }
        if let Some(words) = value.words(expected, self.environment, self.diagnostics) {
            self.push(written, words, None);
        }
    }

    /// The words of a table of parameters: those with a fixed place first, then the others by name in the order written. `None` when
    /// something was refused.
    fn record(&mut self, record: &Record, entries: &[Entry<'_>], span: Span) -> Option<Vec<Word>> {
        let mut words = Vec::new();
        for &(key, required) in record.positional {
            match entries.iter().find(|entry| entry.key == key) {
                Some(entry) => words.push(self.positional(entry.value)?),
                None if required => {
                    self.missing(key, entries, span);
                    return None;
                }
                None => {}
            }
        }
        for entry in entries.iter().filter(|entry| !record.positional.iter().any(|(key, _)| *key == entry.key)) {
            self.parameter(record, entry, &mut words)?;
        }
        Some(words)
    }

    /// Reports that a key is missing, at the key that was probably meant to be it.
    fn missing(&mut self, key: &str, entries: &[Entry<'_>], span: Span) {
        match entries.iter().find(|entry| schema::nearest(entry.key, std::iter::once(key)).is_some()) {
            Some(slip) => {
                self.diagnostics.error(slip.key_span, format!("unknown key '{}'", slip.key)).help(format!("did you mean '{key}'?"))
            }
            None => self.diagnostics.error(span, format!("this table needs a key '{key}'")).label(format!("no '{key}' in here")),
        };
    }

    /// A string, or an array of strings that haproxy.cfg joins with commas.
    fn positional(&mut self, value: Node<'_>) -> Option<Word> {
        let Some(items) = value.items() else {
            return value.word("a string", self.environment, self.diagnostics);
        };
        let mut texts = Vec::new();
        for item in items {
            texts.push(item.word("a string", self.environment, self.diagnostics)?.text);
        }
        Some(Word { text: texts.join(","), span: value.span })
    }

    /// Adds the words of one parameter; `None` when its value was refused.
    fn parameter(&mut self, record: &Record, entry: &Entry<'_>, words: &mut Vec<Word>) -> Option<()> {
        let parameter = Parameter::of(record, entry.key);
        let word = |text: &str| Word { text: text.to_owned(), span: entry.key_span };
        if let Some(on) = entry.value.boolean() {
            match (on, parameter.off(record), parameter.keyword) {
                (false, Some(off), _) => words.push(word(off)),
                (false, None, Some(_)) => {}
                // Also what nobody knows: the checker says so.
                _ => words.push(word(&parameter.name)),
            }
            return Some(());
        }
        words.push(word(&parameter.name));
        if parameter.is_unsupported() {
            // The checker refuses the word and skips its arguments.
            let arguments = parameter.keyword.map_or(0, |keyword| keyword.arguments);
            words.extend((0..arguments).map(|_| Word { text: String::new(), span: entry.value.span }));
            return Some(());
        }
        match (entry.value.entries(), parameter.inner_record()) {
            (Some(entries), Some(inner)) => words.extend(self.record(inner, &entries, entry.value.span)?),
            (Some(_), None) => {
                entry.value.wrong_type("a string, an integer or a boolean", self.diagnostics);
                return None;
            }
            _ if parameter.name == "mode" => words.push(entry.value.octal_word(self.environment, self.diagnostics)?),
            _ if parameter.takes_number() => words.push(entry.value.number_word(self.environment, self.diagnostics)?),
            _ if parameter.takes_words() => words.extend(entry.value.words("a string", self.environment, self.diagnostics)?),
            _ => words.push(self.positional(entry.value)?),
        }
        Some(())
    }

    /// `log`: a string, `false`, or a table that names the parts of HAProxy's line.
    fn log(&mut self, written: &Written, value: Node<'_>) {
        if value.boolean() == Some(false) {
            return self.push(written, Vec::new(), Some(Negation::No));
        }
        let Some(entries) = value.entries() else { return self.line(written, "a string or a table", value) };
        let known = ["to", "length", "format", "sample", "facility", "level", "minimum_level"];
        if let Some(entry) = entries.iter().find(|entry| !known.contains(&entry.key)) {
            return self.unknown_part(entry, &known, "log");
        }
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        let mut words = Vec::new();
        let parts: [(&str, Option<&str>); 7] = [
            ("to", None),
            ("length", Some("len")),
            ("format", Some("format")),
            ("sample", Some("sample")),
            ("facility", None),
            ("level", None),
            ("minimum_level", None),
        ];
        for (key, name) in parts {
            let Some(entry) = find(key) else {
                let needed_by = match key {
                    "to" | "facility" => true,
                    "level" => find("minimum_level").is_some(),
                    _ => false,
                };
                if needed_by {
                    return self.missing(key, &entries, value.span);
                }
                continue;
            };
            words.extend(name.map(|name| Word { text: name.to_owned(), span: entry.key_span }));
            match entry.value.word("a string", self.environment, self.diagnostics) {
                Some(word) => words.push(word),
                None => return,
            }
        }
        self.push(written, words, None);
    }

    /// `log_format`: the name of a built-in format stands for the option that selects it.
    fn log_format(&mut self, written: &Written, value: Node<'_>) {
        let Some(word) = value.word("a string", self.environment, self.diagnostics) else { return };
        let option = match word.text.as_str() {
            "tcp" => "tcplog",
            "http" => "httplog",
            "https" => "httpslog",
            _ => return self.push(written, vec![word], None),
        };
        let words = ["option", option].map(|text| Word { text: text.to_owned(), span: word.span }).to_vec();
        self.statements.push(Statement { words, negation: None, span: written.whole });
    }

    /// `setenv = { NAME = "value" }`: one statement for each variable.
    fn variables(&mut self, written: &Written, value: Node<'_>) {
        let Some(entries) = value.entries() else {
            return value.wrong_type("a table of variables and their values", self.diagnostics);
        };
        for entry in entries {
            if !is_variable_name(entry.key) {
                self.diagnostics.error(entry.key_span, format!("'{}' is not the name of an environment variable", entry.key));
                continue;
            }
            let Some(word) = entry.value.word("a string or an integer", self.environment, self.diagnostics) else { continue };
            let name = Word { text: entry.key.to_owned(), span: entry.key_span };
            self.push(written, vec![name, word], None);
        }
    }

    fn unknown_part(&mut self, entry: &Entry<'_>, known: &[&str], what: &str) {
        let finding = self.diagnostics.error(entry.key_span, format!("unknown key '{}' in the table of '{what}'", entry.key));
        match schema::nearest(entry.key, known.iter().copied()) {
            Some(nearest) => finding.help(format!("did you mean '{nearest}'?")),
            None => finding.help(format!("known keys: {}", known.join(", "))),
        };
    }

    fn push(&mut self, written: &Written, arguments: Vec<Word>, negation: Option<Negation>) {
        let mut words = written.words.clone();
        words.extend(arguments);
        let statement = Statement { words, negation, span: written.whole };
        if self.kind == SectionKind::Global {
            apply_environment(&statement, self.environment);
        }
        self.statements.push(statement);
    }
}

/// A keyword as it is written in one place.
struct Written {
    /// Its words, with the places of the keys that they are.
    words: Vec<Word>,
    /// Key and value.
    whole: Span,
}

impl Written {
    /// Each word of the name gets the place of the key it comes from, the last word the last key's.
    fn new(name: &str, path: &Path<'_>, value: Span) -> Self {
        let key_span = path.last().map_or(value, |(_, span)| *span);
        let count = name.split(' ').count();
        let place = |index: usize| if index + 1 == count { key_span } else { path.get(index).map_or(key_span, |(_, span)| *span) };
        let words = name.split(' ').enumerate().map(|(index, text)| Word { text: text.to_owned(), span: place(index) }).collect();
        let whole = Span { source: value.source, start: key_span.start.min(value.start), end: key_span.end.max(value.end) };
        Self { words, whole }
    }

    fn span(&self) -> Span {
        self.words.last().map_or(self.whole, |word| word.span)
    }

    /// The same keyword for one item of an array.
    fn spanning(&self, item: Span) -> Self {
        Self { words: self.words.clone(), whole: item }
    }
}
