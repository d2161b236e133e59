//! Configuration: text in either language -> draft (spans kept) -> checked model.
//!
//! `load` is the only entrance; the command line, a reload and the converter call it. Nothing in here opens a socket or starts anything.

pub mod check;
pub mod diagnostic;
pub mod draft;
pub mod environment;
pub mod explain;
pub mod expression;
pub mod haproxy;
pub mod keyword;
pub mod manual;
pub mod source;
pub mod toml;

use std::path::{Path, PathBuf};

use ringmain_model::Model;

use check::Context;
use diagnostic::{Diagnostics, Sources};
use draft::Draft;
use environment::Environment;
use source::{Input, Language, Request};

/// What a load came to.
#[derive(Debug)]
pub struct Loaded {
    /// The checked configuration; `None` when the diagnostics hold an error.
    pub model: Option<Model>,
    /// Everything that was found, for `diagnostic::render`.
    pub diagnostics: Diagnostics,
    /// The texts that the diagnostics point into.
    pub sources: Sources,
}

/// Reads and checks what `-f` names, with the environment of this process.
///
/// Reads files and, for names of hosts, users and groups, asks `context`; may block on both. All errors of all files are in the diagnostics.
pub fn load(request: &Request, context: &Context<'_>) -> Loaded {
    let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
    let inputs = source::read(request, &mut sources, &mut diagnostics);
    check_all(&inputs, request.directory.clone(), sources, diagnostics, Environment::inherited(), context)
}

/// Checks texts that are in memory, as if they were files with these names, in this order.
pub fn load_texts(texts: &[(&str, &str)], environment: Environment, context: &Context<'_>) -> Loaded {
    let mut sources = Sources::default();
    let input = |(name, text): &(&str, &str)| Input { source: sources.add(name, text), language: Language::of(Path::new(name)) };
    let inputs: Vec<Input> = texts.iter().map(input).collect();
    check_all(&inputs, None, sources, Diagnostics::default(), environment, context)
}

fn check_all(
    inputs: &[Input],
    directory: Option<PathBuf>,
    sources: Sources,
    mut diagnostics: Diagnostics,
    mut environment: Environment,
    context: &Context<'_>,
) -> Loaded {
    let mut draft = Draft { directory, ..Draft::default() };
    // A file that could not be read makes the rest look wrong: its sections would be missed.
    let mut complete = !diagnostics.failed();
    for input in inputs {
        let sections = match input.language {
            Language::Haproxy => Some(haproxy::parse(input.source, &sources, &mut environment, &mut diagnostics)),
            Language::Toml => toml::parse(input.source, &sources, &draft.sections, &mut environment, &mut diagnostics),
        };
        complete &= sections.is_some();
        draft.sections.extend(sections.into_iter().flatten());
    }
    let model = if complete { check::check(&draft, &sources, &environment, context, &mut diagnostics) } else { None };
    Loaded { model, diagnostics, sources }
}
