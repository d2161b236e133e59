//! Which sessions are looked at for MQTT: those of proxies whose rules look at it, or whose options ask for it. Derived once per generation.

use ringmain_model::rule::{Action, Condition, IntegerValue, Rule, Stick, VariableValue};
use ringmain_model::{Backend, Expression, Frontend, Needs};

/// What a frontend or a backend wants of sessions that may be MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interest {
    /// Their first packets are counted.
    pub counts: bool,
    /// They are told to go when their server is drained: so many each second on each shard.
    pub drain_rate: Option<u32>,
}

impl Interest {
    /// Whether their sessions are looked at.
    pub fn any(self) -> bool {
        self.counts || self.drain_rate.is_some()
    }

    /// What both want; the lower rate holds.
    pub fn and(self, other: Self) -> Self {
        let rates = [self.drain_rate, other.drain_rate];
        Self { counts: self.counts || other.counts, drain_rate: rates.into_iter().flatten().min() }
    }

    /// A frontend's.
    pub fn of_frontend(frontend: &Frontend) -> Self {
        let rules = &frontend.rules;
        let counts = frontend.options.mqtt_stats || actions(&rules.content) || rules.routes.iter().any(|rule| condition(&rule.condition));
        Self { counts, drain_rate: frontend.options.mqtt_drain }
    }

    /// A backend's.
    pub fn of_backend(backend: &Backend) -> Self {
        let rules = &backend.rules;
        let counts = actions(&rules.content)
            || actions(&rules.response)
            || rules.servers.iter().any(|rule| condition(&rule.condition))
            || sticks(&rules.stick_request)
            || sticks(&rules.stick_response)
            || rules.force_persist.iter().any(tests)
            || backend.hash_key.as_ref().is_some_and(expression);
        Self { counts, drain_rate: backend.options.mqtt_drain }
    }
}

fn expression(expression: &Expression) -> bool {
    expression.needs.intersects(Needs::MQTT)
}

fn tests(condition: &Condition) -> bool {
    let terms = condition.alternatives.iter().flatten();
    terms.flat_map(|term| &term.acl.tests).any(|test| expression(&test.expression))
}

fn condition(condition: &Option<Condition>) -> bool {
    condition.as_ref().is_some_and(tests)
}

fn sticks(rules: &[Rule<Stick>]) -> bool {
    rules.iter().any(|rule| expression(&rule.action.key) || condition(&rule.condition))
}

fn actions(rules: &[Rule<Action>]) -> bool {
    rules.iter().any(|rule| action(&rule.action) || condition(&rule.condition))
}

fn action(action: &Action) -> bool {
    match action {
        Action::SetVariable(_, VariableValue::Expression(value), _)
        | Action::Track { key: value, .. }
        | Action::AddCounter(_, IntegerValue::Expression(value))
        | Action::SetTag(_, IntegerValue::Expression(value))
        | Action::Capture { expression: value, .. }
        | Action::SetSource(value)
        | Action::SetSourcePort(value)
        | Action::SetDestination(value)
        | Action::SetDestinationPort(value) => expression(value),
        Action::SetVariable(_, VariableValue::Format(format), _) => format.expressions().any(expression),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_rate_of_two_holds() {
        let rate = |rate| Interest { counts: false, drain_rate: rate };
        assert_eq!(rate(Some(100)).and(rate(Some(20))), rate(Some(20)));
        assert_eq!(rate(None).and(rate(Some(20))), rate(Some(20)));
        assert!(!rate(None).any() && rate(Some(1)).any());
        assert!(Interest { counts: true, drain_rate: None }.any());
    }

    #[test]
    fn a_backend_that_hashes_by_client_is_looked_at() {
        let key = |needs| Expression {
            source: "".into(),
            fetch: ringmain_model::Call { entry: 0, arguments: Box::default() },
            converters: Box::default(),
            output: ringmain_model::SampleType::String,
            needs,
        };
        let backend = |needs| Backend { hash_key: Some(key(needs)), ..Backend::new("b") };
        assert!(Interest::of_backend(&backend(Needs::REQUEST.and(Needs::MQTT))).counts);
        assert!(!Interest::of_backend(&backend(Needs::REQUEST)).any());
    }
}
