//! Sections -> builders: `defaults` copied into what follows them, every statement given to its entry of the registry.

use std::collections::HashMap;
use std::sync::Arc;

use super::arguments::Arguments;
use super::at;
use super::builder::{GlobalBuilder, ProxyBuilder};
use super::context::Context;
use super::tables::TableList;
use crate::config::diagnostic::{Diagnostics, Sources, Span};
use crate::config::draft::{Draft, Section, SectionKind, Statement, Word};
use crate::config::keyword::{self, Keyword, Meaning, Places, Scope};

/// Findings after which nothing more is suggested: a file that is wrong everywhere was not written for us.
const SUGGESTIONS_LIMIT: usize = 200;

/// All settings of a draft.
#[derive(Default)]
pub struct Gathered {
    /// The `global` sections.
    pub global: GlobalBuilder,
    /// `frontend`, `backend` and `listen` sections, in order.
    pub proxies: Vec<ProxyBuilder>,
    /// `defaults` sections with rules or ACLs.
    pub ruled_defaults: Vec<ProxyBuilder>,
    /// Stick tables, in order.
    pub tables: TableList,
}

/// Reads all sections.
pub fn gather(draft: &Draft, sources: &Sources, context: &Context<'_>, diagnostics: &mut Diagnostics) -> Gathered {
    let mut gathered = Gathered::default();
    let mut defaults = DefaultsList::default();
    let mut peers: HashMap<&str, Span> = HashMap::new();
    for section in &draft.sections {
        let place = Places::of(section.kind);
        match section.kind {
            SectionKind::Global => {
                for statement in &section.statements {
                    global_statement(statement, &mut gathered, context, diagnostics);
                }
                continue;
            }
            SectionKind::Peers | SectionKind::Table => {
                if let Some(name) = section.name.as_ref().filter(|_| section.kind == SectionKind::Peers)
                    && let Some(first) = peers.insert(&name.text, name.span)
                {
                    diagnostics.error(name.span, format!("there is a 'peers' section '{}' already, {}", name.text, at(sources, first)));
                }
                tables(section, &mut gathered, context, diagnostics);
                continue;
            }
            _ => {}
        }
        let base = defaults.base(section, sources, diagnostics);
        let name: Arc<str> = section.name.as_ref().map_or("", |name| &name.text).into();
        let span = section.name.as_ref().map_or(section.span, |name| name.span);
        if section.kind == SectionKind::Defaults && base.is_some_and(|base| base.rules.has_rules()) {
            diagnostics
                .error(span, "a 'defaults' section cannot start from one that has rules")
                .help("name the section with the rules in the proxies themselves");
        }
        let mut proxy = ProxyBuilder::new(section.kind, name, span, base);
        for statement in &section.statements {
            proxy_statement(statement, place, &mut proxy, context, diagnostics);
        }
        match section.kind {
            SectionKind::Defaults => {
                if !proxy.rules.acls.is_empty() || proxy.rules.has_rules() {
                    gathered.ruled_defaults.push(proxy.clone());
                }
                defaults.add(proxy);
            }
            // The reader has reported the missing name.
            _ if section.name.is_none() => {}
            _ => {
                gathered.tables.tables.extend(proxy.rules.stick_table.clone());
                gathered.proxies.push(proxy);
            }
        }
    }
    gathered
}

/// A `peers` section, or a table of its own in the native language, which has its whole name in its line.
fn tables(section: &Section, gathered: &mut Gathered, context: &Context<'_>, diagnostics: &mut Diagnostics) {
    let name = section.name.as_ref().filter(|_| section.kind == SectionKind::Peers).map_or("", |name| &name.text);
    for statement in &section.statements {
        let understood = understand(statement, Scope::Peers, Places::PEERS, context, diagnostics);
        if let Some((keyword, mut arguments)) = understood
            && let Meaning::Peers(apply) = keyword.meaning
        {
            apply(&mut gathered.tables, name, &mut arguments);
        }
    }
}

fn global_statement(statement: &Statement, gathered: &mut Gathered, context: &Context<'_>, diagnostics: &mut Diagnostics) {
    let Some((keyword, mut arguments)) = understand(statement, Scope::Global, Places::GLOBAL, context, diagnostics) else { return };
    if let Meaning::Global(apply) = keyword.meaning {
        if keyword.name.starts_with("stats ") {
            gathered.global.stats_position.get_or_insert(gathered.proxies.len());
        }
        apply(&mut gathered.global, &mut arguments);
    }
}

fn proxy_statement(statement: &Statement, place: Places, proxy: &mut ProxyBuilder, context: &Context<'_>, diagnostics: &mut Diagnostics) {
    let Some((keyword, mut arguments)) = understand(statement, Scope::Proxy, place, context, diagnostics) else { return };
    if !keyword.places.contains(place) {
        let message = format!(
            "'{}' is ignored: {} has no {} half",
            keyword.name,
            proxy.title(),
            if proxy.is_back() { "listening" } else { "serving" }
        );
        arguments.diagnostics.warning(arguments.span(), message).help(format!("it belongs into {}", list(keyword.places)));
    }
    // What is ignored is read all the same, so that its mistakes show; the half that it sets is never built.
    if let Meaning::Proxy(apply) = keyword.meaning {
        apply(proxy, &mut arguments);
    }
}

/// Finds a statement's keyword and checks that it may stand here. `None` when there is nothing to apply; the reason was reported.
fn understand<'a>(
    statement: &'a Statement,
    scope: Scope,
    place: Places,
    context: &'a Context<'a>,
    diagnostics: &'a mut Diagnostics,
) -> Option<(&'static Keyword, Arguments<'a>)> {
    let Some((keyword, length)) = keyword::find(scope, &statement.words) else {
        unknown(statement, scope, place, diagnostics);
        return None;
    };
    let (name, words) = statement.words.split_at(length);
    let (first, last) = (name.first()?, name.last()?);
    let span = Span { end: last.span.end, ..first.span };
    if !keyword.places.contains(place) && (place == Places::DEFAULTS || keyword.strict) {
        let here = list(place);
        diagnostics
            .error(span, format!("'{}' is not allowed in '{here}'", keyword.name))
            .help(format!("it belongs into {}", list(keyword.places)));
        return None;
    }
    if statement.negation.is_some() && !keyword.negatable {
        diagnostics.error(Span { end: span.end, ..statement.span }, format!("'{}' cannot be negated", keyword.name));
        return None;
    }
    match keyword.meaning {
        Meaning::Unsupported if statement.negation.is_some() => {
            diagnostics.no_effect(span, format!("'{}' is off anyway: it is not supported here yet", keyword.name));
            None
        }
        Meaning::Unsupported => {
            diagnostics.unsupported(span, format!("HAProxy's '{}' is not supported here yet", keyword.name)).label(keyword.summary);
            None
        }
        Meaning::NoEffect => {
            let mut arguments = Arguments { keyword, span, words, negation: statement.negation, diagnostics, context };
            if arguments.plausible() {
                arguments.diagnostics.no_effect(span, format!("'{}' has no effect here", keyword.name)).label(keyword.summary);
            }
            None
        }
        _ => Some((keyword, Arguments { keyword, span, words, negation: statement.negation, diagnostics, context })),
    }
}

fn unknown(statement: &Statement, scope: Scope, place: Places, diagnostics: &mut Diagnostics) {
    let Some(first) = statement.words.first() else { return };
    let suggest = diagnostics.list().len() < SUGGESTIONS_LIMIT;
    let suggestion = if suggest { keyword::suggestion(scope, place, &statement.words) } else { None };
    let other = if scope == Scope::Global { Scope::Proxy } else { Scope::Global };
    let misplaced = keyword::find(other, &statement.words).filter(|_| keyword::second_words(scope, &first.text).is_none());
    let finding = match (keyword::second_words(scope, &first.text), statement.words.get(1)) {
        (Some(_), None) => diagnostics.error(first.span, format!("'{}' needs another word", first.text)),
        (Some(_), Some(second)) => diagnostics.error(second.span, format!("there is no '{} {}'", first.text, second.text)),
        _ if misplaced.is_some() => diagnostics.error(first.span, format!("'{}' is not allowed in '{}'", first.text, list(place))),
        _ => diagnostics.error(first.span, format!("unknown keyword '{}'", first.text)),
    };
    if let Some(replacement) = keyword::replacement(&first.text) {
        finding.help(format!("HAProxy removed it; use {replacement}"));
    } else if let Some((keyword, _)) = misplaced {
        finding.help(format!("it belongs into {}", list(keyword.places)));
    } else if let Some(near) = suggestion {
        finding.help(format!("did you mean '{near}'?"));
    } else if let Some(seconds) = keyword::second_words(scope, &first.text).filter(|seconds| seconds.len() <= 12) {
        finding.help(format!("there are: {}", seconds.join(", ")));
    }
}

fn list(places: Places) -> String {
    places.names().collect::<Vec<_>>().join(", ")
}

/// The `defaults` sections so far.
#[derive(Default)]
struct DefaultsList {
    sections: Vec<Defaults>,
    by_name: HashMap<Arc<str>, Vec<usize>>,
}

struct Defaults {
    settings: ProxyBuilder,
    explicit: bool,
    implicit: bool,
    warned: bool,
}

impl DefaultsList {
    fn add(&mut self, settings: ProxyBuilder) {
        if !settings.name.is_empty() {
            self.by_name.entry(settings.name.clone()).or_default().push(self.sections.len());
        }
        self.sections.push(Defaults { settings, explicit: false, implicit: false, warned: false });
    }

    /// What a section starts from: the one it names, else the last one before it; another `defaults` starts from nothing.
    fn base(&mut self, section: &Section, sources: &Sources, diagnostics: &mut Diagnostics) -> Option<&ProxyBuilder> {
        let index = match &section.from {
            Some(from) => self.named(from, sources, diagnostics)?,
            None if section.kind == SectionKind::Defaults => return None,
            None => self.sections.len().checked_sub(1)?,
        };
        let used = self.sections.get_mut(index)?;
        if section.kind != SectionKind::Defaults {
            let explicit = section.from.is_some();
            used.explicit |= explicit;
            used.implicit |= !explicit;
            if used.explicit && used.implicit && !used.warned && !used.settings.name.is_empty() {
                used.warned = true;
                let message =
                    format!("defaults '{}' is used by name elsewhere and as the last one here, or the other way round", used.settings.name);
                diagnostics.warning(section.span, message).help("write 'from' everywhere, or end with a 'defaults' section of its own");
            }
        }
        Some(&used.settings)
    }

    fn named(&self, from: &Word, sources: &Sources, diagnostics: &mut Diagnostics) -> Option<usize> {
        match self.by_name.get(from.text.as_str()).map(Vec::as_slice) {
            Some([index]) => Some(*index),
            Some([first, second, ..]) => {
                let place =
                    |index: &usize| self.sections.get(*index).map(|defaults| at(sources, defaults.settings.span)).unwrap_or_default();
                let message = format!("there are several defaults sections '{}': {} and {}", from.text, place(first), place(second));
                diagnostics.error(from.span, message).help("give each a name of its own");
                None
            }
            _ => {
                let finding = diagnostics.error(from.span, format!("there is no defaults section '{}' above this line", from.text));
                if let Some(near) = keyword::nearest(&from.text, self.by_name.keys().map(|name| &**name)) {
                    finding.help(format!("did you mean '{near}'?"));
                }
                None
            }
        }
    }
}
