//! One collector and one renderer for everything that is wrong with a configuration: file, line, caret, and what was probably meant.
//!
//! Every stage of loading reports here and goes on, so that one run shows all errors of all files. Never prints by itself: the command line
//! and the reload ask for the text (`render`).

mod render;

use std::sync::Arc;

pub use render::{RenderOptions, render};

/// Index of a source text in `Sources`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(pub u32);

/// A byte range of a source text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which text.
    pub source: SourceId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// One text that was loaded.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name shown in messages: the path as given.
    pub name: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
    /// Byte offsets at which lines start, ascending; the first is 0.
    line_starts: Arc<[u32]>,
}

impl Source {
    /// Keeps a text with the index of its lines.
    pub fn new(name: &str, text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(offset, _)| offset as u32 + 1);
        let line_starts = std::iter::once(0).chain(newlines).collect();
        Self { name: name.into(), text: text.into(), line_starts }
    }

    /// Line of a byte offset, from 1; offsets beyond the end belong to the last line.
    pub fn line_number(&self, offset: u32) -> usize {
        self.line_starts.partition_point(|&start| start <= offset).max(1)
    }

    /// Byte range of the line that holds an offset, without its line end.
    pub fn line_range(&self, offset: u32) -> std::ops::Range<usize> {
        let number = self.line_number(offset);
        let start = self.line_starts.get(number - 1).copied().unwrap_or(0) as usize;
        let end = self.line_starts.get(number).map_or(self.text.len(), |&next| (next as usize).saturating_sub(1));
        let line = self.text.get(start..end).unwrap_or("");
        start..start + line.trim_end_matches('\r').len()
    }
}

/// All texts of one load.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    texts: Vec<Source>,
}

impl Sources {
    /// Keeps a text and gives its id.
    pub fn add(&mut self, name: &str, text: &str) -> SourceId {
        self.texts.push(Source::new(name, text));
        SourceId((self.texts.len() - 1) as u32)
    }

    /// The text with this id.
    pub fn get(&self, id: SourceId) -> Option<&Source> {
        self.texts.get(id.0 as usize)
    }

    /// `file:line` of a span, lines from 1.
    pub fn location(&self, span: Span) -> Arc<str> {
        let Some(source) = self.get(span.source) else { return "?".into() };
        format!("{}:{}", source.name, source.line_number(span.start)).into()
    }
}

/// Classes of diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The configuration is wrong.
    Error,
    /// HAProxy knows this, Ringmain does not support it yet. Fails the load like an error.
    Unsupported,
    /// Legal but probably not what was meant.
    Warning,
    /// Accepted without effect here (pure tuning of HAProxy's own engine); shown by `-c -V`.
    NoEffect,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad.
    pub class: Class,
    /// Where; `None` for findings about no particular text (a missing file).
    pub span: Option<Span>,
    /// What is wrong, one sentence without a final period.
    pub message: String,
    /// Short text beside the caret.
    pub label: Option<String>,
    /// What to do, such as "did you mean 'timeout client'?".
    pub help: Option<String>,
}

impl Diagnostic {
    /// Adds a text beside the caret.
    pub fn label(&mut self, text: impl Into<String>) -> &mut Self {
        self.label = Some(text.into());
        self
    }

    /// Adds advice.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help = Some(text.into());
        self
    }
}

/// All findings of one load, in the order found.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds an error.
    pub fn error(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Class::Error, span.into(), message.into())
    }

    /// Adds an error of the class "known to HAProxy, not supported here yet".
    pub fn unsupported(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Class::Unsupported, span.into(), message.into())
    }

    /// Adds a warning.
    pub fn warning(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Class::Warning, span.into(), message.into())
    }

    /// Adds a note about a setting that is accepted and has no effect.
    pub fn no_effect(&mut self, span: impl Into<Option<Span>>, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Class::NoEffect, span.into(), message.into())
    }

    /// Whether the load has failed.
    pub fn failed(&self) -> bool {
        self.list.iter().any(|finding| matches!(finding.class, Class::Error | Class::Unsupported))
    }

    /// All findings.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// All findings, taken out.
    pub fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }

    /// Adds a finding made elsewhere.
    pub fn push(&mut self, finding: Diagnostic) {
        self.list.push(finding);
    }

    fn add(&mut self, class: Class, span: Option<Span>, message: String) -> &mut Diagnostic {
        let index = self.list.len();
        self.list.push(Diagnostic { class, span, message, label: None, help: None });
        &mut self.list[index]
    }
}
