//! Rules, ACLs and stick tables of a model as TOML: structure as tables, rules as strings in HAProxy's grammar.

use std::sync::Arc;

use ringmain_model::expression::Variable;
use ringmain_model::rule::{Acl, Action, Condition, IntegerValue, Rule, SetWhen, Stick, Target, TrackedColumn, VariableValue};
use ringmain_model::table::{BINARY_LENGTH_DEFAULT, Column, DataType, KeyType, STRING_LENGTH_DEFAULT, Table};
use ringmain_model::{Backend, Expression, Frontend, Global, Milliseconds, Model, ServerId, TableId};

use super::backend_name;
use super::writer::{Section, Value, duration};
use crate::config::expression::{PREDEFINED_ACLS, quoted};

/// Writes what one proxy declares for its rules, and the rules.
pub fn print(section: &mut Section, front: Option<&Frontend>, back: Option<&Backend>, own_table: Option<TableId>, model: &Model) {
    if let Some(table) = own_table.and_then(|id| model.tables.get(id.index())) {
        section.set("stick_table", Value::Table(table_parts(table, own_table, model)));
    }
    let acls = named_acls(front, back);
    if !acls.is_empty() {
        section.set("acl", Value::List(acls.iter().flat_map(|acl| acl_lines(acl)).collect()));
    }
    let writer = Writer { model, own_table };
    if let Some(front) = front {
        writer.frontend(section, front);
    }
    if let Some(back) = back {
        writer.backend(section, back, front.is_some());
    }
}

/// A stick table that belongs to no proxy.
pub fn table(section: &mut Section, id: TableId, model: &Model) {
    if let Some(table) = model.tables.get(id.index()) {
        for (name, value) in table_parts(table, Some(id), model) {
            section.set(&name, value);
        }
    }
}

/// `set-var` and `set-var-fmt`.
pub fn variables(section: &mut Section, global: &Global, model: &Model) {
    let writer = Writer { model, own_table: None };
    let (mut plain, mut formats) = (Vec::new(), Vec::new());
    for (variable, value) in &global.variables {
        let (list, text) = match value {
            VariableValue::Expression(expression) => (&mut plain, &*expression.source),
            VariableValue::Format(format) => (&mut formats, format.source.as_str()),
        };
        list.push(Value::from(format!("{} {}", writer.variable(*variable), quoted(text))));
    }
    for (name, list) in [("set_var", plain), ("set_var_fmt", formats)] {
        if !list.is_empty() {
            section.set(name, Value::List(list));
        }
    }
}

struct Writer<'a> {
    model: &'a Model,
    own_table: Option<TableId>,
}

impl Writer<'_> {
    fn frontend(&self, section: &mut Section, front: &Frontend) {
        let rules = &front.rules;
        let captured = rules.content.iter().filter(|rule| matches!(rule.action, Action::Capture { .. })).count();
        let declared = front.captures.len().saturating_sub(captured);
        if declared > 0 {
            let lines = front.captures.iter().take(declared).map(|length| format!("request len {length}").into());
            section.set("declare.capture", Value::List(lines.collect()));
        }
        delay(section, "tcp_request.inspect_delay", rules.inspect_delay);
        let sets = [("connection", &rules.connection), ("session", &rules.session), ("content", &rules.content)];
        let lines = sets.iter().flat_map(|(name, rules)| rules.iter().map(move |rule| self.rule(&format!("{name} "), rule, Self::action)));
        set_list(section, "tcp_request.rules", lines.collect());
        let route = |writer: &Self, target: &Target<_>| match target {
            Target::Fixed(id) => backend_name(writer.model, *id).unwrap_or_default().to_owned(),
            Target::Format(format) => quoted(&format.source),
        };
        set_list(section, "use_backend", rules.routes.iter().map(|rule| self.rule("", rule, route)).collect());
    }

    fn backend(&self, section: &mut Section, back: &Backend, in_listen: bool) {
        let rules = &back.rules;
        if !in_listen {
            delay(section, "tcp_request.inspect_delay", rules.inspect_delay);
            let content = rules.content.iter().map(|rule| self.rule("content ", rule, Self::action));
            set_list(section, "tcp_request.rules", content.collect());
        }
        set_list(section, "force_persist", rules.force_persist.iter().map(condition).collect());
        set_list(section, "ignore_persist", rules.ignore_persist.iter().map(condition).collect());
        let sticks = rules.stick_request.iter().chain(&rules.stick_response).map(|rule| {
            let in_response = rules.stick_response.iter().any(|other| std::ptr::eq(other, rule));
            self.rule("", rule, |writer, stick| writer.stick(stick, in_response))
        });
        set_list(section, "stick", sticks.collect());
        let server = |writer: &Self, target: &Target<ServerId>| match target {
            Target::Fixed(id) => writer.model.servers.get(id.index()).map(|server| server.name.to_string()).unwrap_or_default(),
            Target::Format(format) => quoted(&format.source),
        };
        set_list(section, "use_server", rules.servers.iter().map(|rule| self.rule("", rule, server)).collect());
        delay(section, "tcp_response.inspect_delay", rules.response_inspect_delay);
        let response = rules.response.iter().map(|rule| self.rule("content ", rule, Self::action));
        set_list(section, "tcp_response.rules", response.collect());
    }

    fn rule<A>(&self, before: &str, rule: &Rule<A>, action: impl Fn(&Self, &A) -> String) -> Value {
        let condition = rule.condition.as_ref().map(|condition| format!(" {}", condition.source)).unwrap_or_default();
        format!("{before}{}{condition}", action(self, &rule.action)).into()
    }

    fn stick(&self, stick: &Stick, in_response: bool) -> String {
        let kind = match (stick.matches, stick.stores) {
            (true, true) => "on",
            (true, false) => "match",
            (false, _) if in_response => "store-response",
            (false, _) => "store-request",
        };
        format!("{kind} {}{}", quoted(&stick.key.source), self.table(stick.table))
    }

    /// ` table NAME`, unless it is the section's own.
    fn table(&self, id: TableId) -> String {
        let name = self.model.tables.get(id.index()).filter(|_| self.own_table != Some(id)).map(|table| &*table.name);
        name.map(|name| format!(" table {name}")).unwrap_or_default()
    }

    fn variable(&self, variable: Variable) -> String {
        let name = self.model.variables.get(usize::from(variable.slot)).map_or("", |(_, name)| name);
        format!("{}.{name}", variable.scope.name())
    }

    fn action(&self, action: &Action) -> String {
        let with = |name: &str, expression: &Expression| format!("{name} {}", quoted(&expression.source));
        match action {
            Action::Accept => "accept".into(),
            Action::Reject => "reject".into(),
            Action::Close => "close".into(),
            Action::SilentDrop => "silent-drop".into(),
            Action::SetVariable(variable, value, when) => {
                let target = format!("({}{})", self.variable(*variable), set_when(*when));
                match value {
                    VariableValue::Expression(expression) => with(&format!("set-var{target}"), expression),
                    VariableValue::Format(format) => format!("set-var-fmt{target} {}", quoted(&format.source)),
                }
            }
            Action::UnsetVariable(variable) => format!("unset-var({})", self.variable(*variable)),
            Action::Track { counter, key, table } => format!("track-sc{counter} {}{}", quoted(&key.source), self.table(*table)),
            Action::IncrementCounter(column) => tracked("sc-inc-gpc", *column),
            Action::AddCounter(column, value) => format!("{} {}", tracked("sc-add-gpc", *column), integer(value)),
            Action::SetTag(column, value) => format!("{} {}", tracked("sc-set-gpt", *column), integer(value)),
            Action::ExpectProxy => "expect-proxy layer4".into(),
            Action::Capture { expression, length, .. } => format!("{} len {length}", with("capture", expression)),
            Action::SetSource(expression) => with("set-src", expression),
            Action::SetSourcePort(expression) => with("set-src-port", expression),
            Action::SetDestination(expression) => with("set-dst", expression),
            Action::SetDestinationPort(expression) => with("set-dst-port", expression),
            Action::SetMark(mark) => format!("set-mark {mark}"),
            Action::SetTos(tos) => format!("set-tos {tos}"),
            Action::SetLogLevel(level) => format!("set-log-level {}", level.map_or("silent", |level| level.name())),
            Action::SetNice(nice) => format!("set-nice {nice}"),
            Action::DoLog => "do-log".into(),
        }
    }
}

fn tracked(name: &str, column: TrackedColumn) -> String {
    if column.array {
        format!("{name}({},{})", column.index, column.counter)
    } else {
        format!("{name}{}({})", column.index, column.counter)
    }
}

fn integer(value: &IntegerValue) -> String {
    match value {
        IntegerValue::Fixed(number) => number.to_string(),
        IntegerValue::Expression(expression) => quoted(&expression.source),
    }
}

fn set_when(when: SetWhen) -> String {
    let conditions = [
        (when.exists, "ifexists", "ifnotexists"),
        (when.empty, "ifempty", "ifnotempty"),
        (when.set, "ifset", "ifnotset"),
        (when.greater, "ifgt", "iflt"),
    ];
    conditions.into_iter().filter_map(|(wanted, yes, no)| Some(format!(",{}", if wanted? { yes } else { no }))).collect()
}

fn condition(condition: &Condition) -> Value {
    (&*condition.source).into()
}

fn delay(section: &mut Section, path: &str, delay: Option<Milliseconds>) {
    if let Some(delay) = delay {
        section.set(path, duration(delay.0));
    }
}

fn set_list(section: &mut Section, path: &str, list: Vec<Value>) {
    if !list.is_empty() {
        section.set(path, Value::List(list));
    }
}

/// The named ACLs that the rules of a proxy use, in the order of their first use.
fn named_acls<'a>(front: Option<&'a Frontend>, back: Option<&'a Backend>) -> Vec<&'a Acl> {
    let front = front.map(|front| &front.rules);
    let back = back.map(|back| &back.rules);
    let actions = front.into_iter().flat_map(|rules| [&rules.connection, &rules.session, &rules.content]);
    let actions = actions.chain(back.into_iter().flat_map(|rules| [&rules.content, &rules.response]));
    let routes = front.into_iter().flat_map(|rules| &rules.routes).filter_map(|rule| rule.condition.as_ref());
    let servers = back.into_iter().flat_map(|rules| &rules.servers).filter_map(|rule| rule.condition.as_ref());
    let sticks = back.into_iter().flat_map(|rules| rules.stick_request.iter().chain(&rules.stick_response));
    let persist = back.into_iter().flat_map(|rules| rules.force_persist.iter().chain(&rules.ignore_persist));
    let conditions = actions.flatten().filter_map(|rule| rule.condition.as_ref()).chain(routes).chain(servers);
    let conditions = conditions.chain(sticks.filter_map(|rule| rule.condition.as_ref())).chain(persist);
    let mut found: Vec<&Acl> = Vec::new();
    for acl in conditions.flat_map(|condition| &condition.alternatives).flatten().map(|term| &*term.acl) {
        if acl.name.is_some() && !is_predefined(acl) && !found.iter().any(|known| known.name == acl.name) {
            found.push(acl);
        }
    }
    found
}

/// Whether an ACL is there without being declared.
fn is_predefined(acl: &Acl) -> bool {
    match (&acl.name, acl.tests.as_slice()) {
        (Some(name), [test]) => PREDEFINED_ACLS.iter().any(|(known, criterion)| **known == **name && **criterion == *test.source),
        _ => false,
    }
}

fn acl_lines(acl: &Acl) -> impl Iterator<Item = Value> {
    let name: Arc<str> = acl.name.clone().unwrap_or_else(|| "".into());
    acl.tests.iter().map(move |test| format!("{name} {}", test.source).into())
}

/// The parts of a stick table.
fn table_parts(table: &Table, id: Option<TableId>, model: &Model) -> Vec<(String, Value)> {
    let mut parts: Vec<(String, Value)> = vec![("type".into(), table.key.name().into())];
    let mut add = |name: &str, value: Option<Value>| parts.extend(value.map(|value| (name.to_owned(), value)));
    let length = match table.key {
        KeyType::String { length } => Some(length).filter(|length| *length != STRING_LENGTH_DEFAULT),
        KeyType::Binary { length } => Some(length).filter(|length| *length != BINARY_LENGTH_DEFAULT),
        KeyType::Ip | KeyType::Ipv6 | KeyType::Integer => None,
    };
    add("length", length.map(Value::from));
    add("size", Some(table.size.into()));
    add("expire", table.expire.map(|time| duration(time.0)));
    add("nopurge", table.no_purge.then_some(true.into()));
    add("write_to", table.write_to.and_then(|id| model.tables.get(id.index())).map(|target| (&*target.name).into()));
    let columns = stored(table, id, model);
    add("store", (!columns.is_empty()).then(|| Value::List(columns.iter().map(|column| column_text(column).into()).collect())));
    parts
}

/// The columns without those that stick rules bring with them.
fn stored<'t>(table: &'t Table, id: Option<TableId>, model: &Model) -> &'t [Column] {
    let mut sticks = model.backends.iter().flat_map(|back| back.rules.stick_request.iter().chain(&back.rules.stick_response));
    let is_stuck_to = sticks.any(|rule| Some(rule.action.table) == id);
    match table.columns.as_slice() {
        [columns @ .., server, key] if is_stuck_to && (server.data, key.data) == (DataType::ServerId, DataType::ServerKey) => columns,
        columns => columns,
    }
}

fn column_text(column: &Column) -> String {
    let name = column.data.name();
    let time = column.period.map(|period| match duration(period.0) {
        Value::Text(text) => text,
        _ => period.0.to_string(),
    });
    match (column.data.is_array(), time) {
        (true, Some(time)) => format!("{name}({},{time})", column.length),
        (true, None) => format!("{name}({})", column.length),
        (false, Some(time)) => format!("{name}({time})"),
        (false, None) => name.to_owned(),
    }
}
