//! Keys and values of a parsed TOML file with their places, and scalars as words.
//!
//! Used by everything in `toml`; knows TOML's types, no keyword.

use std::borrow::Cow;
use std::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeInteger, DeTable, DeValue};

use super::super::diagnostic::{Diagnostics, SourceId, Span};
use super::super::draft::Word;
use super::super::environment::Environment;
use super::text::{Text, TextError};

/// One `key = value` of a table.
#[derive(Clone, Copy)]
pub struct Entry<'t> {
    /// The key as TOML understands it.
    pub key: &'t str,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node<'t>,
}

/// A value with its place.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    /// The value.
    pub value: &'t DeValue<'t>,
    /// Where it stands.
    pub span: Span,
    file: File<'t>,
}

/// The file that nodes are from.
#[derive(Clone, Copy)]
pub struct File<'t> {
    /// Its id.
    pub source: SourceId,
    /// Its whole text.
    pub text: &'t str,
}

impl<'t> File<'t> {
    /// A span of this file.
    pub fn span(&self, range: Range<usize>) -> Span {
        Span { source: self.source, start: range.start as u32, end: range.end as u32 }
    }

    /// The entries of a table in the order written.
    pub fn entries(&self, table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
        let entry = |(key, value): (&'t Spanned<Cow<'t, str>>, &'t Spanned<DeValue<'t>>)| Entry {
            key: key.get_ref().as_ref(),
            key_span: self.span(key.span()),
            value: self.node(value),
        };
        let mut entries: Vec<Entry<'t>> = table.iter().map(entry).collect();
        entries.sort_by_key(|entry| entry.key_span.start);
        entries
    }

    fn node(&self, value: &'t Spanned<DeValue<'t>>) -> Node<'t> {
        Node { value: value.get_ref(), span: self.span(value.span()), file: *self }
    }
}

impl<'t> Node<'t> {
    /// The entries of a table in the order written, `None` for other types.
    pub fn entries(&self) -> Option<Vec<Entry<'t>>> {
        self.value.as_table().map(|table| self.file.entries(table))
    }

    /// The items of an array, `None` for other types.
    pub fn items(&self) -> Option<Vec<Node<'t>>> {
        self.value.as_array().map(|items| items.iter().map(|item| self.file.node(item)).collect())
    }

    /// The boolean, `None` for other types.
    pub fn boolean(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// The name of the type with its article, for messages.
    pub fn type_name(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        }
    }

    /// A string or an integer as one word. Anything else, and a string that does not expand, is reported.
    pub fn word(&self, expected: &str, environment: &Environment, diagnostics: &mut Diagnostics) -> Option<Word> {
        match self.value {
            DeValue::String(value) => report(self.text(value).word(environment), diagnostics),
            DeValue::Integer(integer) => Some(Word { text: decimal(integer), span: self.span }),
            _ => {
                self.wrong_type(expected, diagnostics);
                None
            }
        }
    }

    /// A string split like a line of haproxy.cfg, an integer as one word. Anything else is reported.
    pub fn words(&self, expected: &str, environment: &Environment, diagnostics: &mut Diagnostics) -> Option<Vec<Word>> {
        match self.value {
            DeValue::String(value) => report(self.text(value).words(environment), diagnostics),
            _ => self.word(expected, environment, diagnostics).map(|word| vec![word]),
        }
    }

    /// An integer, or a string of digits (a variable may give them), as one word. Anything else is reported.
    pub fn number_word(&self, environment: &Environment, diagnostics: &mut Diagnostics) -> Option<Word> {
        let word = self.word("a number", environment, diagnostics)?;
        let digits = word.text.strip_prefix('-').unwrap_or(&word.text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            diagnostics.error(self.span, format!("expected a number, found '{}'", word.text));
            return None;
        }
        Some(word)
    }

    /// Permission bits: octal digits, written as a string, as `0o660` or as `660`.
    pub fn octal_word(&self, environment: &Environment, diagnostics: &mut Diagnostics) -> Option<Word> {
        match self.value {
            DeValue::Integer(integer) if matches!(integer.radix(), 8 | 10) => {
                Some(Word { text: integer.as_str().to_owned(), span: self.span })
            }
            _ => self.word("permission bits such as \"660\" or 0o660", environment, diagnostics),
        }
    }

    /// Reports that this value has the wrong type.
    pub fn wrong_type(&self, expected: &str, diagnostics: &mut Diagnostics) {
        diagnostics.error(self.span, format!("expected {expected}, found {}", self.type_name()));
    }

    fn text<'s>(&'s self, value: &'s str) -> Text<'s> {
        let range = self.span.start as usize..self.span.end as usize;
        Text { source: self.file.source, value, raw: self.file.text.get(range).unwrap_or(""), offset: self.span.start as usize }
    }
}

fn report<T>(result: Result<T, TextError>, diagnostics: &mut Diagnostics) -> Option<T> {
    result.map_err(|error| diagnostics.error(error.span, error.message).span).ok()
}

/// The integer in decimal digits; one that is out of every range keeps its own spelling, which the checker refuses by its place.
fn decimal(integer: &DeInteger<'_>) -> String {
    match integer.radix() {
        10 => integer.as_str().trim_start_matches('+').to_owned(),
        radix => u128::from_str_radix(integer.as_str(), radix).map_or_else(|_| integer.to_string(), |value| value.to_string()),
    }
}
