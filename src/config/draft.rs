//! The draft: where both languages meet. Sections of statements whose words keep their spans; names are not resolved yet.
//!
//! `haproxy` and `toml` produce it, `check` consumes it. A TOML key becomes the statement that the same setting is in haproxy.cfg, so each
//! keyword is understood in one place only.

use std::path::PathBuf;

use super::diagnostic::Span;

/// One word of a statement after quoting, escapes and environment variables were resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The resolved text.
    pub text: String,
    /// Where it was written.
    pub span: Span,
}

impl Word {
    /// The place of a part of this word; of the whole word where quotes, escapes or variables make that unclear. Where the part occurs several
    /// times, the last one is meant.
    pub fn part(&self, text: &str) -> Span {
        let is_written_so = (self.span.end.saturating_sub(self.span.start)) as usize == self.text.len();
        match self.text.rfind(text).filter(|_| is_written_so && !text.is_empty()) {
            Some(at) => Span { start: self.span.start + at as u32, end: self.span.start + (at + text.len()) as u32, ..self.span },
            None => self.span,
        }
    }
}

/// One setting: its keyword and arguments (`timeout`, `client`, `30s`). Never empty; `no` and `default` prefixes are in `negation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Keyword first, then the arguments.
    pub words: Vec<Word>,
    /// `no ...` or `default ...` in front of the keyword.
    pub negation: Option<Negation>,
    /// The whole statement.
    pub span: Span,
}

/// What stood before a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negation {
    /// `no`: switch it off.
    No,
    /// `default`: back to the built-in value.
    Default,
}

/// Kinds of sections that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// `global`.
    Global,
    /// `defaults [NAME] [from NAME]`.
    Defaults,
    /// `frontend NAME [from NAME]`.
    Frontend,
    /// `backend NAME [from NAME]`.
    Backend,
    /// `listen NAME [from NAME]`.
    Listen,
    /// `peers NAME`, of which only `table` lines are supported.
    Peers,
    /// `[table.NAME]` of the native language: a stick table that belongs to no proxy.
    Table,
}

/// One section with its statements in the order written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is.
    pub kind: SectionKind,
    /// Its name, where it has one.
    pub name: Option<Word>,
    /// The `from NAME` of a proxy or `defaults` section.
    pub from: Option<Word>,
    /// The settings.
    pub statements: Vec<Statement>,
    /// The header line.
    pub span: Span,
}

/// All sections of all files, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The sections.
    pub sections: Vec<Section>,
    /// Where relative names of files start (`-C`); the working directory without it.
    pub directory: Option<PathBuf>,
}
