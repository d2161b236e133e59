//! Numbers of variables that do not depend on the order in which they were met: those that are used, in the order of their names.
//!
//! `check` calls it once, when the model is complete. So two configurations that mean the same give the same model, whatever they declare
//! and do not use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ringmain_model::expression::Variable;
use ringmain_model::log_format::{LogFormat, LogItem};
use ringmain_model::rule::{Acl, Action, Condition, IntegerValue, Rule, Target, VariableValue};
use ringmain_model::{Argument, Expression, LogSettings, Model, Scope};

/// A variable's scope and name.
type Named = (Scope, Arc<str>);

/// What is done with each variable.
type Visit<'v> = &'v mut dyn FnMut(&mut Variable);

/// Numbers the variables of a model anew.
pub fn renumber(model: &mut Model) {
    if model.variables.is_empty() {
        return;
    }
    let mut used: BTreeSet<u16> = BTreeSet::new();
    each(model, &mut |variable| {
        used.insert(variable.slot);
    });
    let mut sorted: Vec<(Named, u16)> = used
        .into_iter()
        .filter_map(|slot| model.variables.get(usize::from(slot)).map(|(scope, name)| ((*scope, name.clone()), slot)))
        .collect();
    sorted.sort_by(|((one, name), _), ((other, other_name), _)| (one.name(), name).cmp(&(other.name(), other_name)));
    let slots: BTreeMap<u16, u16> =
        sorted.iter().enumerate().filter_map(|(new, (_, old))| Some((*old, u16::try_from(new).ok()?))).collect();
    let changes = slots.iter().any(|(old, new)| old != new);
    model.variables = sorted.into_iter().map(|(named, _)| named).collect();
    if changes {
        each(model, &mut |variable| variable.slot = slots.get(&variable.slot).copied().unwrap_or(variable.slot));
    }
}

/// Every place of a variable in a model.
fn each(model: &mut Model, visit: Visit<'_>) {
    for (variable, value) in &mut model.global.variables {
        visit(variable);
        in_value(value, visit);
    }
    for front in &mut model.frontends {
        let rules = &mut front.rules;
        for rule in rules.connection.iter_mut().chain(&mut rules.session).chain(&mut rules.content) {
            in_action(rule, visit);
        }
        for rule in &mut rules.routes {
            in_target(&mut rule.action, visit);
            in_condition(rule.condition.as_mut(), visit);
        }
        in_log(&mut front.log, visit);
    }
    for back in &mut model.backends {
        let rules = &mut back.rules;
        for rule in rules.content.iter_mut().chain(&mut rules.response) {
            in_action(rule, visit);
        }
        for rule in &mut rules.servers {
            in_target(&mut rule.action, visit);
            in_condition(rule.condition.as_mut(), visit);
        }
        for rule in rules.stick_request.iter_mut().chain(&mut rules.stick_response) {
            in_expression(&mut rule.action.key, visit);
            in_condition(rule.condition.as_mut(), visit);
        }
        for condition in rules.force_persist.iter_mut().chain(&mut rules.ignore_persist) {
            in_condition(Some(condition), visit);
        }
        if let Some(key) = &mut back.hash_key {
            in_expression(key, visit);
        }
        in_log(&mut back.log, visit);
    }
}

fn in_action(rule: &mut Rule<Action>, visit: Visit<'_>) {
    match &mut rule.action {
        Action::SetVariable(variable, value, _) => {
            visit(variable);
            in_value(value, visit);
        }
        Action::UnsetVariable(variable) => visit(variable),
        Action::Track { key: expression, .. }
        | Action::Capture { expression, .. }
        | Action::AddCounter(_, IntegerValue::Expression(expression))
        | Action::SetTag(_, IntegerValue::Expression(expression))
        | Action::SetSource(expression)
        | Action::SetSourcePort(expression)
        | Action::SetDestination(expression)
        | Action::SetDestinationPort(expression) => in_expression(expression, visit),
        Action::Accept
        | Action::Reject
        | Action::Close
        | Action::SilentDrop
        | Action::IncrementCounter(_)
        | Action::AddCounter(_, IntegerValue::Fixed(_))
        | Action::SetTag(_, IntegerValue::Fixed(_))
        | Action::ExpectProxy
        | Action::SetMark(_)
        | Action::SetTos(_)
        | Action::SetLogLevel(_)
        | Action::SetNice(_)
        | Action::DoLog => {}
    }
    in_condition(rule.condition.as_mut(), visit);
}

fn in_value(value: &mut VariableValue, visit: Visit<'_>) {
    match value {
        VariableValue::Expression(expression) => in_expression(expression, visit),
        VariableValue::Format(format) => in_format(format, visit),
    }
}

fn in_target<Id>(target: &mut Target<Id>, visit: Visit<'_>) {
    if let Target::Format(format) = target {
        in_format(format, visit);
    }
}

fn in_condition(condition: Option<&mut Condition>, visit: Visit<'_>) {
    for term in condition.into_iter().flat_map(|condition| &mut condition.alternatives).flatten() {
        in_acl(&mut term.acl, visit);
    }
}

/// ACLs are shared, and may hold long lists: only those with variables are taken apart.
fn in_acl(acl: &mut Arc<Acl>, visit: Visit<'_>) {
    if acl.tests.iter().any(|test| has_variable(&test.expression)) {
        for test in &mut Arc::make_mut(acl).tests {
            in_expression(&mut test.expression, visit);
        }
    }
}

fn in_log(log: &mut LogSettings, visit: Visit<'_>) {
    for format in [&mut log.format, &mut log.error_format, &mut log.structured_data].into_iter().flatten() {
        in_format(format, visit);
    }
}

fn in_format(format: &mut Arc<LogFormat>, visit: Visit<'_>) {
    if format.expressions().any(has_variable) {
        for item in &mut Arc::make_mut(format).items {
            if let LogItem::Expression { expression, .. } = item {
                in_expression(expression, visit);
            }
        }
    }
}

fn in_expression(expression: &mut Expression, visit: Visit<'_>) {
    let converters = expression.converters.iter_mut().flat_map(|call| &mut call.arguments);
    for argument in expression.fetch.arguments.iter_mut().chain(converters) {
        if let Argument::Variable(variable) = argument {
            visit(variable);
        }
    }
}

fn has_variable(expression: &Expression) -> bool {
    let converters = expression.converters.iter().flat_map(|call| &call.arguments);
    expression.fetch.arguments.iter().chain(converters).any(|argument| matches!(argument, Argument::Variable(_)))
}
