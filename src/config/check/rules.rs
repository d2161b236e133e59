//! Lines of rules -> the model's rules of frontends and backends, when all names are known (manual sections 4.2 and 7).
//!
//! Called once for a configuration, after sections, servers and tables were listed. Every proxy's lines are compiled in the order in which
//! they are evaluated; what is inherited from a `defaults` section comes first and sees the ACLs of that section only.

use std::collections::HashMap;

use ringmain_model::rule::{
    Action, BackendRules, BackendTarget, Condition, FrontendRules, Rule, ServerTarget, Stick, Target, VariableValue,
};
use ringmain_model::table::DataType;
use ringmain_model::{Argument, Backend, BackendId, Expression, Frontend, Milliseconds, Needs, SampleType, ServerId, TableId, Variable};

use super::action::{self, ActionContext, RuleSet};
use super::backend::Directory;
use super::builder::ProxyBuilder;
use super::frontend::is_computed;
use super::rule_lines::{RuleLine, RuleLines};
use super::sections::Gathered;
use super::tables::Tables;
use crate::config::diagnostic::{Diagnostics, Span};
use crate::config::draft::{SectionKind, Word};
use crate::config::expression::{Compilation, Compiler, Site};
use crate::config::keyword;

/// The rules of one proxy.
#[derive(Default)]
struct Compiled {
    front: FrontendRules,
    back: BackendRules,
    captures: Vec<u32>,
    hash_key: Option<Expression>,
}

/// Puts the rules of all proxies into their frontends and backends, and the columns that stick rules need into the tables.
pub fn compile(
    gathered: &Gathered,
    directory: &Directory,
    tables: &mut Tables,
    compilation: &mut Compilation<'_>,
    (frontends, backends): (&mut [Frontend], &mut [Backend]),
    diagnostics: &mut Diagnostics,
) {
    check_defaults(gathered, directory, tables, compilation, diagnostics);
    let mut fronts = frontends.iter_mut();
    for (position, proxy) in gathered.proxies.iter().enumerate() {
        let mut compiled = Compiled::default();
        let backend = directory.at_position(position);
        if let Some(inherited) = &proxy.rules.inherited {
            may_inherit(proxy, inherited, diagnostics);
            let context = ProxyContext { proxy, tables, directory, own_table: None, backend };
            compilation.proxy(proxy, &inherited.acls, diagnostics, |compiler| compiled.add(inherited, &context, compiler));
        }
        let own_table = proxy.rules.stick_table.as_ref().and_then(|table| tables.named(&table.name));
        let context = ProxyContext { proxy, tables, directory, own_table, backend };
        compilation.proxy(proxy, &proxy.rules.acls, diagnostics, |compiler| compiled.add(&proxy.rules, &context, compiler));
        lint(proxy, &compiled, diagnostics);
        for stick in compiled.back.stick_request.iter().chain(&compiled.back.stick_response) {
            if let Some(table) = tables.list.get_mut(stick.action.table.index()) {
                table.require(DataType::ServerId);
                table.require(DataType::ServerKey);
            }
        }
        if let Some(front) = proxy.is_front().then(|| fronts.next()).flatten() {
            (front.rules, front.captures) = (compiled.front, compiled.captures);
        }
        if let Some(back) = backend.and_then(|id| backends.get_mut(id.index())) {
            (back.rules, back.hash_key) = (compiled.back, compiled.hash_key);
        }
    }
}

/// Rules of `defaults` sections that no proxy takes are read for their mistakes; those that are taken must be taken by one kind of proxy.
fn check_defaults(
    gathered: &Gathered,
    directory: &Directory,
    tables: &Tables,
    compilation: &mut Compilation<'_>,
    diagnostics: &mut Diagnostics,
) {
    let mut takers: HashMap<Span, bool> = HashMap::new();
    for proxy in &gathered.proxies {
        let Some(span) = proxy.rules.inherited.as_ref().and_then(|inherited| inherited.defaults) else { continue };
        let first = *takers.entry(span).or_insert(proxy.is_front());
        if first != proxy.is_front() {
            diagnostics
                .error(proxy.span, "frontends and backends cannot take rules from the same 'defaults' section")
                .help("give each kind a section of its own");
        }
    }
    for defaults in gathered.ruled_defaults.iter().filter(|defaults| !takers.contains_key(&defaults.span)) {
        let context = ProxyContext { proxy: defaults, tables, directory, own_table: None, backend: None };
        let rules = &defaults.rules;
        compilation.proxy(defaults, &rules.acls, diagnostics, |compiler| Compiled::default().add(rules, &context, compiler));
    }
}

/// HAProxy's bounds on rules in `defaults`: what they would do must be the same for all that inherit them.
fn may_inherit(proxy: &ProxyBuilder, inherited: &RuleLines, diagnostics: &mut Diagnostics) {
    let first = |lines: [&Vec<RuleLine>; 2]| lines.into_iter().flatten().next().map(|line| line.span);
    let (problem, rule) = match proxy.kind {
        SectionKind::Listen => {
            let rule = first([&inherited.connection, &inherited.session]).or(first([&inherited.content, &inherited.response]));
            ("a 'listen' cannot take rules from its 'defaults': they would apply twice", rule)
        }
        SectionKind::Backend => {
            ("a 'backend' cannot take rules for connections from its 'defaults'", first([&inherited.connection, &inherited.session]))
        }
        _ => ("a 'frontend' cannot take rules for responses from its 'defaults'", first([&inherited.response, &Vec::new()])),
    };
    if rule.is_some() {
        diagnostics.error(proxy.span, problem).help("move the rules into the proxies, or name other defaults with 'from'");
    }
}

/// What the lines of one proxy are compiled with.
struct ProxyContext<'p> {
    proxy: &'p ProxyBuilder,
    tables: &'p Tables,
    directory: &'p Directory,
    own_table: Option<TableId>,
    backend: Option<BackendId>,
}

impl Compiled {
    /// Compiles lines in the order in which they are evaluated.
    fn add(&mut self, lines: &RuleLines, context: &ProxyContext<'_>, compiler: &mut Compiler<'_, '_>) {
        // A 'defaults' section may have rules of all kinds.
        let is_defaults = context.proxy.kind == SectionKind::Defaults;
        let (is_front, is_back) = (context.proxy.is_front(), context.proxy.is_back() || is_defaults);
        let request = if is_back { Site::BACKEND_CONTENT } else { Site::FRONTEND_CONTENT };
        let captures = &mut self.captures;
        self.front.connection.extend(actions(RuleSet::CONNECTION, Site::CONNECTION, &lines.connection, captures, context, compiler));
        self.front.session.extend(actions(RuleSet::SESSION, Site::SESSION, &lines.session, captures, context, compiler));
        let content = self.content(request, lines, context, compiler);
        // The serving half of a 'listen' has been passed by the same rules already.
        if is_front {
            self.front.content.extend(content);
            self.front.inspect_delay = delay(lines.inspect_delay);
            self.front.routes.extend(lines.use_backends.iter().filter_map(|line| route(line, context, compiler)));
        } else {
            self.back.content.extend(content);
            self.back.inspect_delay = delay(lines.inspect_delay);
        }
        if is_back {
            self.back.force_persist.extend(conditions(&lines.force_persist, compiler));
            self.back.ignore_persist.extend(conditions(&lines.ignore_persist, compiler));
            self.back.servers.extend(lines.use_servers.iter().filter_map(|line| server_rule(line, context.backend, compiler)));
            for line in &lines.sticks {
                let Some((rule, in_response)) = stick(line, context, compiler) else { continue };
                if in_response { self.back.stick_response.push(rule) } else { self.back.stick_request.push(rule) }
            }
            self.hash_key = lines.hash_key.as_ref().and_then(|line| hash_key(line, compiler)).or(self.hash_key.take());
            let captures = &mut self.captures;
            self.back.response.extend(actions(RuleSet::RESPONSE, Site::RESPONSE, &lines.response, captures, context, compiler));
            self.back.response_inspect_delay = delay(lines.response_inspect_delay);
        }
    }

    /// `tcp-request content`, with the declared slots for captured values at their places between the rules.
    fn content(&mut self, site: Site, lines: &RuleLines, context: &ProxyContext<'_>, compiler: &mut Compiler<'_, '_>) -> Vec<Rule<Action>> {
        let mut rules = Vec::new();
        let mut declared = lines.captures.iter().peekable();
        for (position, line) in lines.content.iter().enumerate() {
            while let Some((_, length)) = declared.next_if(|(before, _)| *before <= position) {
                self.captures.push(*length);
            }
            rules.extend(actions(RuleSet::CONTENT, site, std::slice::from_ref(line), &mut self.captures, context, compiler));
        }
        self.captures.extend(declared.map(|(_, length)| *length));
        rules
    }
}

/// The rules of one set.
fn actions(
    set: RuleSet,
    site: Site,
    lines: &[RuleLine],
    captures: &mut Vec<u32>,
    context: &ProxyContext<'_>,
    compiler: &mut Compiler<'_, '_>,
) -> Vec<Rule<Action>> {
    let captures = (context.proxy.is_front() || context.proxy.kind == SectionKind::Defaults).then_some(captures);
    let mut tools = ActionContext { tables: context.tables, own_table: context.own_table, title: context.proxy.title(), captures };
    let rule = |line: &RuleLine| {
        let mut words = line.words.as_slice();
        let action = action::read(set, site, line.span, &mut words, compiler, &mut tools)?;
        finish(action, line, words, site, compiler)
    };
    lines.iter().filter_map(rule).collect()
}

/// A rule with the condition behind it.
fn finish<A>(action: A, line: &RuleLine, words: &[Word], site: Site, compiler: &mut Compiler<'_, '_>) -> Option<Rule<A>> {
    let condition = compiler.optional_condition(words, site)?;
    let location = compiler.sources().location(line.span).into();
    Some(Rule { action, condition, location })
}

/// A delay as written: 0 does not wait.
fn delay(written: Option<Milliseconds>) -> Option<Milliseconds> {
    written.filter(|delay| delay.0 > 0)
}

fn conditions(lines: &[RuleLine], compiler: &mut Compiler<'_, '_>) -> Vec<Condition> {
    lines.iter().filter_map(|line| compiler.condition(&line.words, Site::SERVER_CHOICE)).collect()
}

/// `use_backend`. Names that lead nowhere were reported with `default_backend`'s.
fn route(line: &RuleLine, context: &ProxyContext<'_>, compiler: &mut Compiler<'_, '_>) -> Option<Rule<BackendTarget>> {
    let (name, rest) = line.words.split_first()?;
    let target = if is_computed(name) {
        Some(Target::Format(compiler.format(name, Site::ROUTE)?))
    } else {
        context.directory.named(&name.text).map(Target::Fixed)
    };
    // The condition is read for its mistakes, whatever the name is.
    let rule = finish((), line, rest, Site::ROUTE, compiler)?;
    Some(Rule { action: target?, condition: rule.condition, location: rule.location })
}

fn server_rule(line: &RuleLine, backend: Option<BackendId>, compiler: &mut Compiler<'_, '_>) -> Option<Rule<ServerTarget>> {
    let (name, rest) = line.words.split_first()?;
    let target = if is_computed(name) {
        Target::Format(compiler.format(name, Site::SERVER_CHOICE)?)
    } else {
        Target::Fixed(own_server(name, backend?, compiler)?)
    };
    finish(target, line, rest, Site::SERVER_CHOICE, compiler)
}

/// The server of this backend that a word names.
fn own_server(name: &Word, backend: BackendId, compiler: &mut Compiler<'_, '_>) -> Option<ServerId> {
    let found = compiler.names().server(backend, &name.text);
    if found.is_none() {
        let near = keyword::nearest(&name.text, compiler.names().servers(backend)).map(str::to_owned);
        let finding = compiler.diagnostics.error(name.span, format!("this backend has no server '{}'", name.text));
        if let Some(near) = near {
            finding.help(format!("did you mean '{near}'?"));
        }
    }
    found
}

/// One `stick` line, and whether it is about the response.
fn stick(line: &RuleLine, context: &ProxyContext<'_>, compiler: &mut Compiler<'_, '_>) -> Option<(Rule<Stick>, bool)> {
    let (kind, mut words) = line.words.split_first()?;
    let (matches, stores, in_response) = match kind.text.as_str() {
        "match" => (true, false, false),
        "on" => (true, true, false),
        "store-request" => (false, true, false),
        _ => (false, true, true),
    };
    let site = if in_response { Site::RESPONSE } else { Site::SERVER_CHOICE };
    let place = words.first().map(|word| word.span);
    let Some(place) = place else {
        compiler.diagnostics.error(kind.span, format!("'stick {}' needs an expression", kind.text)).help("such as 'stick on src'");
        return None;
    };
    let key = compiler.expression(&mut words, site)?;
    let tools = ActionContext { tables: context.tables, own_table: context.own_table, title: context.proxy.title(), captures: None };
    let table = action::table(&mut words, line.span, compiler, &tools)?;
    action::check_key(&key, place, table, context.tables, compiler)?;
    Some((finish(Stick { key, table, matches, stores }, line, words, site, compiler)?, in_response))
}

fn hash_key(line: &RuleLine, compiler: &mut Compiler<'_, '_>) -> Option<Expression> {
    let mut words = line.words.as_slice();
    let place = words.first().map_or(line.span, |word| word.span);
    let key = compiler.expression(&mut words, Site::SERVER_CHOICE)?;
    if let Some(extra) = words.first() {
        compiler.diagnostics.error(extra.span, format!("unexpected '{}' after the expression of 'balance hash'", extra.text));
        return None;
    }
    if !key.output.casts_to(SampleType::Binary) {
        let message = format!("'{}' gives a {}, which has no bytes to hash", key.source, key.output.name());
        compiler.diagnostics.error(place, message);
        return None;
    }
    Some(key)
}

/// HAProxy's warnings about rules that look at bytes and do not wait for any.
fn lint(proxy: &ProxyBuilder, compiled: &Compiled, diagnostics: &mut Diagnostics) {
    if !proxy.is_front() || compiled.front.inspect_delay.is_some() {
        return;
    }
    let inherited = proxy.rules.inherited.iter().flat_map(|lines| &lines.content);
    let lines = inherited.chain(&proxy.rules.content);
    for (rule, line) in compiled.front.content.iter().zip(lines) {
        let (what, expression) = match &rule.action {
            Action::Track { key, .. } => ("tracks", key),
            Action::Capture { expression, .. } => ("captures", expression),
            _ => continue,
        };
        if expression.needs.intersects(Needs::REQUEST) {
            let message = format!("this rule {what} '{}' without waiting for the client's data, which may come later", expression.source);
            diagnostics.warning(line.span, message).help("add 'tcp-request inspect-delay'");
        }
    }
}

/// The process variables of `set-var` and `set-var-fmt`.
pub fn variables(gathered: &Gathered, compilation: &mut Compilation<'_>, diagnostics: &mut Diagnostics) -> Vec<(Variable, VariableValue)> {
    const START: Site = Site { name: "'global'", available: Needs::NOTHING };
    let lines = &gathered.global.variables;
    let Some(place) = lines.first().map(|(line, _)| line.span) else { return Vec::new() };
    let nobody = ProxyBuilder::new(SectionKind::Global, "global".into(), place, None);
    compilation.proxy(&nobody, &[], diagnostics, |compiler| {
        lines.iter().filter_map(|(line, is_format)| process_variable(line, *is_format, START, compiler)).collect()
    })
}

fn process_variable(line: &RuleLine, is_format: bool, site: Site, compiler: &mut Compiler<'_, '_>) -> Option<(Variable, VariableValue)> {
    let (name, mut rest) = line.words.split_first()?;
    if !name.text.starts_with("proc.") {
        let message = format!("'{}' cannot be set here: only variables of the process exist at start", name.text);
        let finding = compiler.diagnostics.error(name.span, message);
        if let Some(near) = keyword::nearest(name.text.split('.').next().unwrap_or(""), ["proc"].into_iter()) {
            finding.help(format!("did you mean '{near}.'?"));
        } else {
            finding.help("their names begin with 'proc.'");
        }
        return None;
    }
    let variable = compiler.variable(&name.text, name.span)?;
    let value = if is_format {
        let (format, more) = rest.split_first()?;
        rest = more;
        VariableValue::Format(compiler.format(format, site)?)
    } else {
        let place = rest.first().map_or(name.span, |word| word.span);
        let expression = compiler.expression(&mut rest, site)?;
        let converters = expression.converters.iter().flat_map(|call| &call.arguments);
        let is_state = |argument: &Argument| {
            matches!(argument, Argument::Frontend(_) | Argument::Backend(_) | Argument::Server(_) | Argument::Table(_))
        };
        if expression.fetch.arguments.iter().chain(converters).any(is_state) {
            compiler.diagnostics.error(place, format!("'{}' has no value before everything has started", expression.source));
            return None;
        }
        VariableValue::Expression(expression)
    };
    if let Some(extra) = rest.first() {
        warn_ignored(extra.span, &extra.text, compiler);
    }
    Some((variable, value))
}

/// For lines behind which HAProxy ignores further words.
fn warn_ignored(span: Span, text: &str, compiler: &mut Compiler<'_, '_>) {
    compiler.diagnostics.warning(span, format!("'{text}' and what follows is ignored"));
}
