//! Values of expressions and outcomes of conditions beside the real HAProxy 2.6: every converter, every cast and every match method, in about a
//! thousand cases. `expressions/values.cases` has an expression on each line, `expressions/matches.cases` what may stand between the braces of a
//! condition; `FILES` stands for that directory. Both programs read the same lines.

mod config_common;
#[path = "../shards/policy/tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

use ringmain_model::rule::{Action, Rule, VariableValue};
use ringmain_model::{Model, SampleType};
use ringmain_policy::expression::testing::Literal;
use ringmain_policy::expression::{Evaluation, Value, evaluate};
use ringmain_policy::rule::{Next, next};

const VALUES: &str = include_str!("expressions/values.cases");
const MATCHES: &str = include_str!("expressions/matches.cases");

/// Variables that the cases use.
const VARIABLES: [(&str, &str); 13] = [
    ("five", "int(5)"),
    ("str", "str(7)"),
    ("strx", "str(x)"),
    ("bin", "bin(0102)"),
    ("ip", "str(1.2.3.4),ipmask(32)"),
    ("ip6", "str(2001:db8::1),ipmask(32,128)"),
    ("bool", "bool(true)"),
    ("abc", "str(abc)"),
    ("empty", "str()"),
    ("long", "str(abcdefghijklmnopqrstuvwxyz)"),
    ("b64key", "str(a2V5)"),
    ("key", "str(key)"),
    ("set", "int(1)"),
];

/// Cases that differ, because HAProxy casts without changing the type where the bytes stay the same: a boolean that numbers are added to stays
/// one, and text that bytes are taken from stays text. It shows where a variable with such a value is cast once more.
const DIFFERENT: [&str; 3] = ["bool(true),add(1)", "str(abc),bytes(1)", "str(x),bytes(0,9223372036854775807)"];

/// Cases whose values HAProxy gives in one answer: it must fit its buffer.
const CASES_PER_ANSWER: usize = 12;

/// The arguments of a rule's action, quoted for the line, with the condition if there is one.
fn rules() -> Vec<(&'static str, String)> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$"));
    let values = VALUES.lines().map(|case| (case, quoted(case)));
    let matches = MATCHES.lines().map(|case| (case, format!("str(yes) if {{ {case} }}")));
    values.chain(matches).collect()
}

/// The lines of a frontend that set the cases' variables, `txn.r0` and so on.
fn lines(keyword: &str) -> String {
    let mut text = String::new();
    for (name, value) in VARIABLES {
        let _ = writeln!(text, " {keyword} set-var(txn.{name}) {value}");
    }
    for (number, (_, rule)) in rules().iter().enumerate() {
        let _ = writeln!(text, " {keyword} set-var(txn.r{number}) {rule}");
    }
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expressions");
    text.replace("FILES", &files.display().to_string())
}

/// Length as text, bytes, text and number of each value, as HAProxy says them.
fn of_haproxy() -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let count = rules().len();
    let mut frontend = format!("frontend f\n mode http\n bind fd@LISTENER\n{}", lines("http-request"));
    let answers = count.div_ceil(CASES_PER_ANSWER);
    for answer in 0..answers {
        let file = directory.path().join(answer.to_string());
        let text = (answer * CASES_PER_ANSWER..count.min((answer + 1) * CASES_PER_ANSWER)).map(|number| {
            let variable = format!("var(txn.r{number})");
            format!("%[{variable},length]|%[{variable},hex]|%[{variable},concat(),hex]|%[{variable},add(0)]\n")
        });
        std::fs::write(&file, text.collect::<String>()).expect("written");
        let _ = writeln!(
            frontend,
            " http-request return status 200 content-type text/plain lf-file {} if {{ path /{answer} }}",
            file.display()
        );
    }
    let haproxy = support::Haproxy::start(&frontend);
    let mut all = Vec::new();
    for answer in 0..answers {
        let text = haproxy.ask(None, &format!("GET /{answer} HTTP/1.0\r\n\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        all.extend(body.lines().map(str::to_owned));
    }
    all
}

/// Runs rules that only set variables.
fn carry_out(rules: &[Rule<Action>]) -> Literal {
    let mut facts = Literal::default();
    let mut position = 0;
    loop {
        let evaluation = Evaluation { facts: &facts, is_final: true };
        let Next::Apply(at) = next(rules, position, evaluation) else { return facts };
        let Action::SetVariable(variable, VariableValue::Expression(expression), _) = &rules[at].action else { panic!("another rule") };
        let value = evaluate(expression, evaluation).ok().map(|sample| sample.value.to_owned());
        if let Some(value) = value {
            facts.variables.insert(*variable, value);
        }
        position = at + 1;
    }
}

fn model() -> Model {
    let text = format!(
        "defaults\n mode tcp\n timeout client 1s\n timeout server 1s\n timeout connect 1s\nfrontend f\n bind 127.0.0.1:9999\n{} \
         default_backend b\nbackend b\n server s 127.0.0.1:1\n",
        lines("tcp-request content")
    );
    config_common::model("cases.cfg", &text)
}

fn hexadecimal(value: Option<Value<'_>>) -> String {
    match value {
        Some(Value::String(data) | Value::Binary(data)) => data.bytes().iter().map(|byte| format!("{byte:02X}")).collect(),
        _ => String::new(),
    }
}

/// The same of ours.
fn of_ringmain() -> Vec<String> {
    let model = model();
    let facts = carry_out(&model.frontends[0].rules.content);
    let named: HashMap<&str, &Value<'static>> =
        facts.variables.iter().map(|(at, value)| (&*model.variables[usize::from(at.slot)].1, value)).collect();
    let shown = |number: usize| {
        let Some(value) = named.get(format!("r{number}").as_str()) else { return "|||".to_owned() };
        let cast = |to| value.reborrow().cast(to);
        let text = hexadecimal(cast(SampleType::String));
        let number = match cast(SampleType::Integer) {
            Some(Value::Integer(number)) => number.to_string(),
            _ => String::new(),
        };
        format!("{}|{}|{text}|{number}", text.len() / 2, hexadecimal(cast(SampleType::Binary)))
    };
    (0..rules().len()).map(shown).collect()
}

#[test]
fn values_and_outcomes_are_those_of_haproxy() {
    let rules = rules();
    assert!(rules.len() > 1000, "{} cases", rules.len());
    let ours = of_ringmain();
    if !support::haproxy_is_installed() {
        return;
    }
    let theirs = of_haproxy();
    assert_eq!(ours.len(), theirs.len());
    let mut differences = String::new();
    for (((case, _), ours), theirs) in rules.iter().zip(&ours).zip(&theirs) {
        if (ours != theirs) != DIFFERENT.contains(case) {
            let _ = writeln!(differences, "{case}\n  HAProxy {theirs}\n  ours    {ours}");
        }
    }
    assert!(differences.is_empty(), "length|bytes|text|number differ:\n{differences}");
}
