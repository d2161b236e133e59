//! Expressions, ACLs and conditions: text -> the checked programs of `ringmain_model` (HAProxy manual chapter 7).
//!
//! The check stage makes one [`Compilation`] for a configuration and one [`Compiler`] for each proxy in it; both languages and every rule,
//! log format, table and balancing method come through there. Names are looked up in the registries of `ringmain_policy::expression`;
//! nothing here knows what a fetch or converter does. Files of patterns and maps are read here, at load.

mod acl;
mod argument;
mod chain;
mod condition;
mod files;
mod known;
pub mod manual;
mod map;
mod names;
mod pattern;
mod predefined;
mod site;
mod syntax;
mod text;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use ringmain_model::log_format::LogFormat;
use ringmain_model::rule::Acl;
use ringmain_model::{BackendId, Expression, FrontendId, Scope, Variable};

use super::check::Context;
use super::check::builder::ProxyBuilder;
use super::check::rule_lines::RuleLine;
use super::diagnostic::{Diagnostics, Sources, Span};
use super::draft::Word;
use super::environment::Environment;
use super::haproxy::log_format;
use files::Files;
use names::Variables;

pub use known::{is_known_converter, is_known_fetch};
pub use names::Names;
pub use predefined::TCP as PREDEFINED_ACLS;
pub use site::Site;
pub use text::{Text, quoted, written};

/// What the expressions of one configuration share.
pub struct Compilation<'a> {
    names: Names,
    variables: Variables,
    files: Files,
    sources: &'a Sources,
    context: &'a Context<'a>,
    environment: &'a Environment,
    /// Findings in settings that came from `defaults`, which every proxy would repeat.
    reported: HashSet<(Span, String)>,
    /// The ACLs compiled before, by the header of the proxy and the first of their lines.
    acls: HashMap<(Span, Option<Span>), Acls>,
}

/// The ACLs of a proxy by name, its own and those predefined ones that it uses; `None` for those with mistakes.
type Acls = HashMap<Arc<str>, Option<Arc<Acl>>>;

impl<'a> Compilation<'a> {
    /// Begins with what the sections declare. Relative names of files start at the directory (`-C`), if there is one.
    pub fn new(
        names: Names,
        directory: Option<PathBuf>,
        sources: &'a Sources,
        environment: &'a Environment,
        context: &'a Context<'a>,
    ) -> Self {
        let files = Files::new(directory);
        Self {
            names,
            variables: Variables::default(),
            files,
            sources,
            context,
            environment,
            reported: HashSet::new(),
            acls: HashMap::new(),
        }
    }

    /// What may be named.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Compiles something for one proxy, with these `acl` lines in sight. What is wrong with them is reported once, although every kind of
    /// rule may ask.
    pub fn proxy<T>(
        &mut self,
        proxy: &ProxyBuilder,
        acls: &[RuleLine],
        diagnostics: &mut Diagnostics,
        compile: impl FnOnce(&mut Compiler<'_, 'a>) -> T,
    ) -> T {
        let mut found = Diagnostics::default();
        let current = Current {
            name: proxy.name.clone(),
            title: proxy.title(),
            frontend: proxy.is_front().then(|| self.names.frontend(&proxy.name)).flatten(),
            backend: proxy.is_back().then(|| self.names.backend(&proxy.name)).flatten(),
        };
        let key = (proxy.span, acls.first().map(|line| line.span));
        let known = self.acls.remove(&key);
        let is_new = known.is_none();
        let mut compiler = Compiler { shared: self, diagnostics: &mut found, current, acls: known.unwrap_or_default() };
        if is_new {
            compiler.define_acls(acls);
        }
        let made = compile(&mut compiler);
        let acls = compiler.acls;
        self.acls.insert(key, acls);
        for finding in found.into_list() {
            let new = finding.span.is_none_or(|span| self.reported.insert((span, finding.message.clone())));
            if new {
                diagnostics.push(finding);
            }
        }
        made
    }

    /// `Model::variables`, when everything is compiled.
    pub fn into_variables(self) -> Vec<(Scope, Arc<str>)> {
        self.variables.into_list()
    }
}

/// The proxy whose settings are compiled.
struct Current {
    name: Arc<str>,
    /// For messages.
    title: String,
    frontend: Option<FrontendId>,
    backend: Option<BackendId>,
}

/// Compiles the expressions of one proxy. Every method reports what is wrong and gives `None` then.
pub struct Compiler<'c, 'a> {
    shared: &'c mut Compilation<'a>,
    /// Where findings go; callers may add their own.
    pub diagnostics: &'c mut Diagnostics,
    current: Current,
    acls: Acls,
}

impl<'a> Compiler<'_, 'a> {
    /// What may be named.
    pub fn names(&self) -> &Names {
        &self.shared.names
    }

    /// The texts that words are from.
    pub fn sources(&self) -> &'a Sources {
        self.shared.sources
    }

    /// Takes the words of an expression off the front of the list. After a comma the next word belongs to it, too; so does a word that names a
    /// converter, as in HAProxy. What the expression looks at must be available at the site.
    pub fn expression(&mut self, words: &mut &[Word], site: Site) -> Option<Expression> {
        let text = self.take_text(words, true)?;
        let (expression, end) = self.chain(&text, 0)?;
        if end < text.as_str().len() {
            self.diagnostics.error(text.span(end..end + 1), "unexpected ']' in an expression");
            return None;
        }
        let expression = site.seen_from(expression);
        self.available(&expression, text.whole(), site)?;
        Some(expression)
    }

    /// Compiles a log-format string.
    pub fn format(&mut self, word: &Word, site: Site) -> Option<Arc<LogFormat>> {
        log_format::parse(word, self.shared.sources, &mut log_format::WithExpressions { compiler: self, site }).map(Arc::new)
    }

    /// The expression within `%[...]` of a format, and where it ends.
    pub(crate) fn embedded(&mut self, text: &Text, start: usize, site: Site) -> Option<(Expression, usize)> {
        let (expression, end) = self.chain(text, start)?;
        if text.as_str().get(start..end).is_some_and(|written| written.ends_with(',')) {
            self.diagnostics.error(text.span(end - 1..end), "a converter is missing after this comma");
            return None;
        }
        let expression = site.seen_from(expression);
        self.available(&expression, text.span(start..end), site)?;
        Some((expression, end))
    }

    /// The variable of this full name, such as `txn.id`, in the parenthesis of `set-var(...)` and the like.
    pub fn variable(&mut self, name: &str, span: Span) -> Option<Variable> {
        match self.shared.variables.intern(name) {
            Ok(variable) => Some(variable),
            Err(message) => {
                self.diagnostics.error(span, message);
                None
            }
        }
    }

    /// The ACL of this name, the proxy's own or a predefined one; nothing is reported when there is none.
    pub fn acl(&mut self, name: &str) -> Option<Arc<Acl>> {
        self.find_acl(name).flatten()
    }

    /// Reports what an expression needs and the site does not have, as HAProxy does.
    pub(crate) fn available(&mut self, expression: &Expression, span: Span, site: Site) -> Option<()> {
        let Some(missing) = site.missing(expression.needs) else { return Some(()) };
        let message = format!("'{}' looks at {missing}, which cannot be used in {}", expression.source, site.name);
        self.diagnostics.error(span, message);
        None
    }
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;
