//! Converters together: what each answers to bytes and arguments that nobody expected. Single values are compared with the real HAProxy in
//! `tests/expressions_haproxy.rs` of the program.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use proptest::prelude::*;
use ringmain_model::pattern::{Map, MatchMethod, Pattern, Patterns, Regex};
use ringmain_model::{Scope, Variable};

use super::super::registry::{CONVERTERS, Parameter};
use super::super::testing::Literal;
use super::*;

fn evaluation(facts: &Literal) -> Evaluation<'_> {
    Evaluation { facts, is_final: true }
}

/// The converter's answer, or `None`.
fn converted<'a>(facts: &'a Literal, entry: &'static ConverterEntry, value: Value<'a>, arguments: &'a [Argument]) -> Option<Value<'a>> {
    let value = value.cast(entry.input)?;
    (entry.run)(evaluation(facts), Sample::fixed(value), arguments).ok().map(|sample| sample.value)
}

fn variable_argument() -> Argument {
    Argument::Variable(Variable { scope: Scope::Transaction, slot: 0 })
}

fn map_of(keys: Vec<Pattern>, method: MatchMethod) -> Argument {
    let values = keys.iter().enumerate().map(|(index, _)| Arc::from(index.to_string().as_bytes())).collect();
    Argument::Map(Arc::new(Map { file: "file".into(), keys: Patterns::new(method, false, keys), values }))
}

fn any_argument(parameter: Parameter) -> BoxedStrategy<Argument> {
    let integer = || prop_oneof![any::<i64>(), -3_i64..10, Just(i64::MIN), Just(i64::MAX)].prop_map(Argument::Integer);
    let text = || "[ -~]{0,12}|[%A-Za-z$.0-9-]{0,20}".prop_map(|text| Argument::Text(text.into()));
    let given = match parameter {
        Parameter::Integer => integer().boxed(),
        Parameter::IntegerOrVariable => prop_oneof![integer(), Just(variable_argument())].boxed(),
        Parameter::Variable => Just(variable_argument()).boxed(),
        Parameter::VariableName => prop_oneof![text(), Just(variable_argument())].boxed(),
        Parameter::Word(words) => proptest::sample::select(words).prop_map(|word| Argument::Text(word.into())).boxed(),
        Parameter::Mask4 => any::<u32>().prop_map(|bits| Argument::Ipv4(Ipv4Addr::from_bits(bits))).boxed(),
        Parameter::Mask6 => any::<u128>().prop_map(|bits| Argument::Ipv6(Ipv6Addr::from_bits(bits))).boxed(),
        Parameter::Regex => proptest::sample::select(vec!["", "a*", "(a)|(b)", "^", "[0-9]+", "x(y)?"])
            .prop_map(|source| Argument::Regex(Regex::new(source, false).unwrap()))
            .boxed(),
        Parameter::Map => Just(map_of(vec![Pattern::Bytes(b"a"[..].into())], MatchMethod::Substring)).boxed(),
        _ => text().boxed(),
    };
    prop_oneof![1 => Just(Argument::Absent), 8 => given].boxed()
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    let bytes = prop_oneof![proptest::collection::vec(any::<u8>(), 0..80), "[ -~é%=/_:.]{0,40}".prop_map(String::into_bytes)];
    prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i64>().prop_map(Value::Integer),
        any::<u32>().prop_map(|bits| Value::Ipv4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| Value::Ipv6(Ipv6Addr::from_bits(bits))),
        bytes.clone().prop_map(|bytes| Value::String(bytes.into())),
        bytes.prop_map(|bytes| Value::Binary(bytes.into())),
    ]
}

fn any_call() -> impl Strategy<Value = (usize, Vec<Argument>)> {
    (0..CONVERTERS.len()).prop_flat_map(|index| {
        let arguments: Vec<_> = CONVERTERS[index].parameters.iter().map(|parameter| any_argument(*parameter)).collect();
        (Just(index), arguments)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_converter_panics_and_each_keeps_its_type((index, mut arguments) in any_call(), value in any_value(), held in any_value()) {
        let entry = CONVERTERS[index];
        // What the checks refuse never runs.
        if entry.check.is_some_and(|check| check(&mut arguments).is_err()) {
            return Ok(());
        }
        let mut facts = Literal::default();
        facts.variables.insert(Variable { scope: Scope::Transaction, slot: 0 }, held);
        if let Some(value) = converted(&facts, entry, value, &arguments) {
            let kind = value.kind();
            let fits = match entry.output {
                SampleType::Any | SampleType::Same => true,
                SampleType::Address => matches!(kind, SampleType::Ipv4 | SampleType::Ipv6),
                output => kind == output,
            };
            prop_assert!(fits, "{} gave {}", entry.name, kind.name());
        }
    }

    #[test]
    fn encodings_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let facts = Literal::default();
        let entry_of = |name: &str| CONVERTERS.iter().copied().find(|entry| entry.name == name).unwrap();
        for (there, back) in [("base64", "b64dec"), ("ub64enc", "ub64dec")] {
            let encoded = converted(&facts, entry_of(there), Value::Binary(bytes.clone().into()), &[]).unwrap();
            let decoded = data(converted(&facts, entry_of(back), encoded, &[]).unwrap());
            prop_assert_eq!(decoded.bytes(), &bytes[..]);
        }
        let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
        let encoded = converted(&facts, entry_of("url_enc"), Value::String(text.clone().into()), &[]).unwrap();
        let decoded = data(converted(&facts, entry_of("url_dec"), encoded, &[]).unwrap());
        prop_assert_eq!(decoded.bytes(), &text[..]);
    }
}

#[test]
fn answers_that_are_parts_of_the_input_are_not_copied() {
    let facts = Literal::default();
    let text = |text: &str| Argument::Text(text.into());
    let cases: [(&str, Vec<Argument>); 9] = [
        ("field", vec![Argument::Integer(2), text("/")]),
        ("word", vec![Argument::Integer(-1), text("/")]),
        ("lower", vec![]),
        ("ltrim", vec![text("/")]),
        ("rtrim", vec![text("/")]),
        ("cut_crlf", vec![]),
        ("bytes", vec![Argument::Integer(1), Argument::Integer(3)]),
        ("url_dec", vec![]),
        ("regsub", vec![Argument::Regex(Regex::new("x", false).unwrap()), text("y")]),
    ];
    for (name, arguments) in &cases {
        let entry = CONVERTERS.iter().copied().find(|entry| entry.name == *name).unwrap();
        let value = converted(&facts, entry, Value::text("/one/two/"), arguments).unwrap();
        assert!(matches!(data(value), Data::Borrowed(_)), "{name}");
    }
}

#[test]
fn local_time_is_what_the_facts_say() {
    let entry = CONVERTERS.iter().copied().find(|entry| entry.name == "ltime").unwrap();
    let facts = Literal::default();
    let format = [Argument::Text("%F %T %z %Z".into())];
    let value = converted(&facts, entry, Value::Integer(1_795_284_670), &format).unwrap();
    assert_eq!(data(value).text(), "2026-11-21 18:11:10 +0000 UTC");
}
