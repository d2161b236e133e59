//! The words after a keyword, with the checks that most keywords share: missing, extra, numbers, durations.

use std::net::IpAddr;

use ringmain_model::Milliseconds;

use super::address::{self, Address, AddressError};
use super::context::Context;
use crate::config::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::config::draft::{Negation, Word};
use crate::config::haproxy::value::{self, ValueError};
use crate::config::keyword::{self, Keyword, Meaning, Places, Scope};

/// A cursor over the words after a keyword.
pub struct Arguments<'a> {
    /// The keyword they belong to, and where it stands.
    pub(super) keyword: &'static Keyword,
    pub(super) span: Span,
    /// Words not taken yet.
    pub(super) words: &'a [Word],
    /// What stood in front of the keyword.
    pub(super) negation: Option<Negation>,
    /// Where findings go.
    pub diagnostics: &'a mut Diagnostics,
    /// The machine.
    pub context: &'a Context<'a>,
}

impl<'a> Arguments<'a> {
    /// The keyword's name.
    pub fn name(&self) -> &'static str {
        self.keyword.name
    }

    /// Where the keyword stands.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The keyword with its remaining arguments.
    pub fn whole_span(&self) -> Span {
        Span { end: self.words.last().map_or(self.span.end, |last| last.span.end), ..self.span }
    }

    /// Whether the keyword switches something on: not so after `no`; `default` gives the built-in value.
    pub fn switch(&self, built_in: bool) -> bool {
        match self.negation {
            None => true,
            Some(Negation::No) => false,
            Some(Negation::Default) => built_in,
        }
    }

    /// What stood in front of the keyword.
    pub fn negation(&self) -> Option<Negation> {
        self.negation
    }

    /// Takes the next word.
    pub fn take(&mut self) -> Option<&'a Word> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    /// The next word, left where it is.
    pub fn peek(&self) -> Option<&'a Word> {
        self.words.first()
    }

    /// Takes all words that are left.
    pub fn rest(&mut self) -> &'a [Word] {
        std::mem::take(&mut self.words)
    }

    /// Takes the next word, which must exist and not be empty; `what` completes "'name' needs ...".
    pub fn required(&mut self, what: &str) -> Option<&'a Word> {
        match self.take() {
            Some(word) if !word.text.is_empty() => Some(word),
            _ => {
                let message = format!("'{}' needs {what}", self.name());
                self.diagnostics.error(self.span, message);
                None
            }
        }
    }

    /// Reports words that are left over.
    pub fn finish(&mut self) -> bool {
        let Some(extra) = self.take() else { return true };
        let message = format!("unexpected '{}' after the arguments of '{}'", extra.text, self.name());
        self.diagnostics.error(extra.span, message);
        self.words = &[];
        false
    }

    /// Takes the only argument.
    pub fn only(&mut self, what: &str) -> Option<&'a Word> {
        let word = self.required(what)?;
        self.finish().then_some(word)
    }

    /// Whether the arguments of a keyword without effect fit its syntax, as far as that can be told from it.
    pub(super) fn plausible(&mut self) -> bool {
        match self.keyword.syntax {
            "" => self.finish(),
            "<time>" => self.time(0).is_some() && self.finish(),
            syntax if syntax.starts_with('[') => true,
            _ => self.required("an argument").is_some(),
        }
    }

    /// Takes a whole number between bounds, both allowed. What HAProxy reads as a number although it is none is taken the same way, with a
    /// warning.
    pub fn number(&mut self, lowest: i64, highest: i64) -> Option<i64> {
        let word = self.required("a number")?;
        self.number_of(word, lowest, highest)
    }

    /// The same for a word that was taken already.
    pub fn number_of(&mut self, word: &Word, lowest: i64, highest: i64) -> Option<i64> {
        let (number, clean) = value::leading_number(&word.text);
        if number < lowest || number > highest {
            self.diagnostics
                .error(word.span, format!("'{}' must be between {lowest} and {highest}", self.keyword.name))
                .label(format!("this is {}", if number == i64::MAX { "too large".to_owned() } else { number.to_string() }));
            return None;
        }
        if !clean {
            self.diagnostics.warning(word.span, format!("'{}' is not a number; it is read as {number}, as HAProxy does", word.text));
        }
        Some(number)
    }

    /// Takes a number that counts something, 0 to the largest.
    pub fn count(&mut self) -> Option<u32> {
        self.number(0, i64::from(i32::MAX)).map(|number| number as u32)
    }

    /// Takes a duration of at least `lowest` milliseconds.
    pub fn time(&mut self, lowest: u32) -> Option<Milliseconds> {
        let word = self.required("a duration, such as '10s'")?;
        let time = match value::time(&word.text) {
            Ok(time) => time,
            Err(ValueError::Overflow) => {
                self.diagnostics
                    .error(word.span, format!("'{}' is too long a time for '{}'", word.text, self.keyword.name))
                    .help("the longest is 2147483647 milliseconds, about 24.8 days");
                return None;
            }
            Err(ValueError::Unexpected(letter)) => {
                let letter = letter.map_or_else(|| "end of the word".to_owned(), |letter| format!("'{}'", letter.escape_debug()));
                self.diagnostics
                    .error(word.span, format!("unexpected {letter} in the duration of '{}'", self.keyword.name))
                    .help("a number and one of 'us', 'ms', 's', 'm', 'h', 'd'; milliseconds without a unit");
                return None;
            }
        };
        if time.milliseconds < lowest {
            self.diagnostics.error(word.span, format!("'{}' must be more than 0", self.keyword.name));
            return None;
        }
        if let Some(letter) = time.trailing {
            self.diagnostics
                .warning(word.span, format!("'{}' and what follows is ignored in the duration '{}'", letter.escape_debug(), word.text));
        }
        Some(Milliseconds(time.milliseconds))
    }

    /// Takes a size in bytes: digits and `k`, `m` or `g`, or any number as HAProxy reads it.
    pub fn size(&mut self) -> Option<u32> {
        let word = self.required("a number of bytes")?;
        match value::size(&word.text) {
            Ok(size) => Some(size),
            Err(_) => self.number_of(word, 0, i64::from(u32::MAX)).map(|number| number as u32),
        }
    }

    /// Takes one of several words.
    pub fn choice<T: Copy>(&mut self, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("'{name}'")).collect();
        let expected = names.join(", ");
        let word = self.required(&format!("one of {expected}"))?;
        let found = choices.iter().find(|(name, _)| *name == word.text);
        if found.is_none() {
            let finding = self.diagnostics.error(word.span, format!("'{}' does not know '{}'", self.keyword.name, word.text));
            match keyword::nearest(&word.text, choices.iter().map(|(name, _)| *name)) {
                Some(near) => finding.help(format!("did you mean '{near}'?")),
                None => finding.help(format!("it takes {expected}")),
            };
        }
        found.map(|(_, value)| *value)
    }

    /// Takes all words that are left as options of a line; `apply` is called for each one that is understood, and takes its arguments.
    pub fn options(&mut self, scope: Scope, place: Places, mut apply: impl FnMut(&'static Keyword, &mut Self)) {
        let line = (self.keyword, self.span);
        while let Some(word) = self.take() {
            (self.keyword, self.span) = line;
            let Some((option, _)) = keyword::find(scope, std::slice::from_ref(word)) else {
                self.unknown_option(word, scope, place);
                continue;
            };
            (self.keyword, self.span) = (option, word.span);
            match option.meaning {
                _ if !option.places.contains(place) => {
                    let message = format!("'{}' is ignored on a '{}' line", option.name, line.0.name);
                    self.diagnostics.warning(word.span, message);
                    self.skip(option.arguments);
                }
                Meaning::Unsupported => {
                    let message = format!("HAProxy's option '{}' is not supported here yet", option.name);
                    self.diagnostics.unsupported(word.span, message).label(option.summary);
                    self.skip(option.arguments);
                }
                Meaning::NoEffect => {
                    self.diagnostics.no_effect(word.span, format!("'{}' has no effect here", option.name)).label(option.summary);
                    self.skip(option.arguments);
                }
                _ => apply(option, self),
            }
            if option.without_effect {
                self.diagnostics.no_effect(word.span, format!("'{}' has no effect here", option.name)).label(option.summary);
            }
        }
        (self.keyword, self.span) = line;
    }

    /// Reports a word that is no option and goes on at the next one that is: what lies between is taken for its arguments.
    fn unknown_option(&mut self, word: &Word, scope: Scope, place: Places) {
        let finding = self.diagnostics.error(word.span, format!("'{}' is no option of '{}'", word.text, self.keyword.name));
        let names = keyword::all(scope).filter(|option| option.places.contains(place)).map(|option| option.name);
        if let Some(near) = keyword::nearest(&word.text, names) {
            finding.help(format!("did you mean '{near}'?"));
        }
        while self.peek().is_some_and(|next| keyword::find(scope, std::slice::from_ref(next)).is_none()) {
            self.take();
        }
    }

    fn skip(&mut self, count: u8) {
        for _ in 0..count {
            self.take();
        }
    }

    /// Reads an address; its mistakes are reported at the word.
    pub fn address(&mut self, word: &Word) -> Option<Address> {
        match address::parse(&word.text) {
            Ok(address) => Some(address),
            Err(error) => {
                self.bad_address(word, error);
                None
            }
        }
    }

    /// Resolves a host to the first of its addresses of the wanted family.
    pub fn resolve(&mut self, word: &Word, host: &address::Host) -> Option<IpAddr> {
        match address::resolve(host, self.context.names) {
            Ok(address) => Some(address),
            Err(error) => {
                self.bad_address(word, error);
                None
            }
        }
    }

    /// An error at a word.
    pub fn error(&mut self, word: &Word, message: impl Into<String>) -> &mut Diagnostic {
        self.diagnostics.error(word.span, message)
    }

    /// "known to HAProxy, not supported here yet", at a word.
    pub fn unsupported(&mut self, word: &Word, what: &str) -> &mut Diagnostic {
        self.diagnostics.unsupported(word.span, format!("HAProxy's {what} is not supported here yet"))
    }

    fn bad_address(&mut self, word: &Word, error: AddressError) {
        match error {
            AddressError::Unsupported(what) => {
                self.diagnostics.unsupported(word.span, format!("HAProxy's {what} is not supported here yet"))
            }
            error => self.diagnostics.error(word.span, error.to_string()),
        };
    }
}
