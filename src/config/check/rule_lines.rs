//! Lines of rules as their keywords leave them: words, kept until every name they may hold is known.
//!
//! `haproxy/keywords/tcp_rules.rs` and `stick.rs` fill them, `check/rules.rs` makes rules of them.

use std::sync::Arc;

use ringmain_model::Milliseconds;

use super::arguments::Arguments;
use super::tables::TableBuilder;
use crate::config::diagnostic::Span;
use crate::config::draft::{SectionKind, Word};

/// One line of a rule.
#[derive(Clone, Debug)]
pub struct RuleLine {
    /// The keyword.
    pub span: Span,
    /// What follows it.
    pub words: Vec<Word>,
}

/// All lines of rules of one proxy.
#[derive(Clone, Debug, Default)]
pub struct RuleLines {
    /// Those of the `defaults` section that the proxy starts from; they come first, and see the ACLs of their own section only.
    pub inherited: Option<Arc<RuleLines>>,
    /// The header of the section that they stand in, when it is a `defaults`.
    pub defaults: Option<Span>,
    /// `acl`.
    pub acls: Vec<RuleLine>,
    /// `tcp-request connection`.
    pub connection: Vec<RuleLine>,
    /// `tcp-request session`.
    pub session: Vec<RuleLine>,
    /// `tcp-request content`.
    pub content: Vec<RuleLine>,
    /// `tcp-response content`.
    pub response: Vec<RuleLine>,
    /// `tcp-request inspect-delay`; 0 is none.
    pub inspect_delay: Option<Milliseconds>,
    /// `tcp-response inspect-delay`; 0 is none.
    pub response_inspect_delay: Option<Milliseconds>,
    /// `declare capture request`: how many rules of `content` stand before it, and the longest value.
    pub captures: Vec<(usize, u32)>,
    /// `use_backend`.
    pub use_backends: Vec<RuleLine>,
    /// `use-server`.
    pub use_servers: Vec<RuleLine>,
    /// `stick`.
    pub sticks: Vec<RuleLine>,
    /// `force-persist`.
    pub force_persist: Vec<RuleLine>,
    /// `ignore-persist`.
    pub ignore_persist: Vec<RuleLine>,
    /// `stick-table`; the gathering moves it to the list of all tables.
    pub stick_table: Option<TableBuilder>,
    /// `balance hash`: the expression.
    pub hash_key: Option<RuleLine>,
}

impl RuleLines {
    /// What a section of this kind starts with.
    pub fn of(kind: SectionKind, span: Span, base: Option<&Self>) -> Self {
        let is_defaults = kind == SectionKind::Defaults;
        Self {
            // Another 'defaults' takes no rules: HAProxy refuses rules there, and lets ACLs behind.
            inherited: base.filter(|base| !is_defaults && base.has_rules()).cloned().map(Arc::new),
            defaults: is_defaults.then_some(span),
            inspect_delay: base.and_then(|base| base.inspect_delay),
            response_inspect_delay: base.and_then(|base| base.response_inspect_delay),
            hash_key: base.and_then(|base| base.hash_key.clone()),
            ..Self::default()
        }
    }

    /// Whether there is a rule that a proxy would inherit.
    pub fn has_rules(&self) -> bool {
        [&self.connection, &self.session, &self.content, &self.response].iter().any(|lines| !lines.is_empty())
    }
}

impl Arguments<'_> {
    /// The rest of the line.
    pub fn rule_line(&mut self) -> RuleLine {
        RuleLine { span: self.span(), words: self.rest().to_vec() }
    }

    /// The rest of a line that is a condition; reported when it is none.
    pub fn condition_line(&mut self) -> Option<RuleLine> {
        let line = self.rule_line();
        match line.words.first() {
            Some(word) if matches!(word.text.as_str(), "if" | "unless") => return Some(line),
            Some(word) => self.error(word, format!("unexpected '{}': only a condition may stand here", word.text)),
            None => {
                let (span, message) = (self.span(), format!("'{}' needs a condition", self.name()));
                self.diagnostics.error(span, message)
            }
        }
        .help("write 'if' or 'unless' and a condition");
        None
    }
}
