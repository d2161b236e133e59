//! Conditions: `if` or `unless` and ACLs joined by `or` and by standing next to each other (HAProxy manual section 7.2).

use std::sync::Arc;

use ringmain_model::rule::{Acl, Condition, Term};

use super::Compiler;
use super::acl;
use super::site::Site;
use super::text::{Text, written};
use crate::config::diagnostic::Span;
use crate::config::draft::Word;

impl Compiler<'_, '_> {
    /// Compiles the condition at the end of a rule, if there is one: `Some(None)` without words, `None` after an error.
    pub fn optional_condition(&mut self, words: &[Word], site: Site) -> Option<Option<Condition>> {
        if words.is_empty() { Some(None) } else { self.condition(words, site).map(Some) }
    }

    /// Compiles a condition, from `if` or `unless` to the end of the line.
    pub fn condition(&mut self, words: &[Word], site: Site) -> Option<Condition> {
        let (keyword, rest) = words.split_first()?;
        let negated = match keyword.text.as_str() {
            "if" => false,
            "unless" => true,
            other => {
                let message = format!("unexpected '{}'", other.escape_debug());
                self.diagnostics.error(keyword.span, message).help("a rule ends here, or with 'if' or 'unless' and a condition");
                return None;
            }
        };
        let alternatives = self.alternatives(keyword, rest, site)?;
        let source = written(words.iter().map(|word| word.text.as_str())).into();
        Some(Condition { source, negated, alternatives })
    }

    fn alternatives(&mut self, keyword: &Word, mut words: &[Word], site: Site) -> Option<Vec<Vec<Term>>> {
        let mut alternatives = vec![Vec::new()];
        let mut complete = true;
        let mut last = keyword;
        let mut negated = false;
        while let Some((word, rest)) = words.split_first() {
            let name = word.text.trim_start_matches('!');
            negated ^= (word.text.len() - name.len()) % 2 == 1;
            words = rest;
            if name.is_empty() {
                last = word;
                continue;
            }
            if name == "||" || name.eq_ignore_ascii_case("or") {
                if last.text.ends_with('!') || alternatives.last().is_none_or(Vec::is_empty) {
                    self.diagnostics.error(word.span, format!("a condition is missing before '{name}'"));
                    return None;
                }
                alternatives.push(Vec::new());
                last = word;
                continue;
            }
            last = word;
            let text = Text::new(word, self.shared.sources);
            let span = text.span(word.text.len() - name.len()..word.text.len());
            let acl = if name == "{" { self.anonymous(word, &mut words)? } else { self.used_acl(name, span) };
            match acl {
                Some(acl) => {
                    self.check_acl(&acl, span, site);
                    if let Some(terms) = alternatives.last_mut() {
                        terms.push(Term { negated, acl });
                    }
                }
                None => {
                    complete = false;
                    // What has a mistake stands for a term, so that a following `or` is none.
                    if let Some(terms) = alternatives.last_mut() {
                        terms.push(Term { negated, acl: Arc::new(Acl { name: None, tests: Vec::new() }) });
                    }
                }
            }
            negated = false;
        }
        if alternatives.last().is_none_or(Vec::is_empty) || last.text == "!" {
            self.diagnostics.error(last.span, format!("a condition is missing after '{}'", last.text));
            return None;
        }
        complete.then_some(alternatives)
    }

    /// Reads from `{` to `}`. The outer `None`: there is no `}`.
    fn anonymous(&mut self, open: &Word, words: &mut &[Word]) -> Option<Option<Arc<Acl>>> {
        let Some(length) = words.iter().position(|word| word.text == "}") else {
            let finding = self.diagnostics.error(open.span, "this '{' is never closed");
            if words.iter().any(|word| word.text.ends_with('}')) {
                finding.help("put a blank before '}'");
            }
            return None;
        };
        let (inside, rest) = words.split_at(length);
        *words = rest.get(1..).unwrap_or(&[]);
        Some(self.test(inside, open.span).map(|test| Arc::new(Acl { name: None, tests: vec![test] })))
    }

    /// Warns about an ACL that looks at what cannot be seen, as HAProxy does.
    fn check_acl(&mut self, acl: &Acl, span: Span, site: Site) {
        let Some(missing) = site.missing(acl::needs(acl)) else { return };
        let sources = acl.tests.iter().filter(|test| site.missing(test.expression.needs).is_some());
        let source = sources.map(|test| &*test.expression.source).next().unwrap_or("");
        let message = format!("this never matches: '{source}' looks at {missing}, which cannot be used in {}", site.name);
        self.diagnostics.warning(span, message);
    }
}
