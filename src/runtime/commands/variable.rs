//! Commands about variables of the process: `get var`.

use ringmain_model::{Scope, StatsLevel};
use ringmain_policy::expression::Value;

use crate::runtime::{Call, Command, Reply};

/// Variables.
pub const VARIABLES: &[Command] = &[
    Command {
        words: &["get", "var"],
        level: StatsLevel::Operator,
        usage: "get var <name>",
        summary: "show the type and the value of a variable of the process",
        listed: true,
        run: get_variable,
    },
    Command {
        words: &["set", "var"],
        level: StatsLevel::Operator,
        usage: "set var",
        summary: "not supported yet",
        listed: false,
        run: |_| Reply::message("'set var' is not supported yet: rules and 'set-var' in the global section can set variables."),
    },
];

/// HAProxy ends this line with the answer, not before it.
fn get_variable(call: &mut Call<'_, '_>) -> Reply {
    if call.word(2).is_empty() {
        return Reply::message("Missing process-wide variable identifier.");
    }
    let generation = call.context.fleet.generation();
    let wanted = call.word(2).strip_prefix("proc.");
    let named = |(scope, name): &(Scope, std::sync::Arc<str>)| *scope == Scope::Process && Some(&**name) == wanted;
    let slot = generation.model.variables.iter().position(named);
    match slot.and_then(|slot| generation.variables.get(slot)?.get()) {
        Some(value) => Reply::Text(format!("{}: type={} value=<{}>", call.word(2), kind(&value), text(&value))),
        None => Reply::message("Variable not found."),
    }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value {
        Value::Boolean(_) => "bool",
        Value::Integer(_) => "sint",
        Value::Ipv4(_) => "ipv4",
        Value::Ipv6(_) => "ipv6",
        Value::String(_) => "str",
        Value::Binary(_) => "bin",
    }
}

/// Bytes that cannot be printed are shown as dots.
fn text(value: &Value<'_>) -> String {
    let printable = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' };
    match value {
        Value::Boolean(yes) => u8::from(*yes).to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Ipv4(address) => address.to_string(),
        Value::Ipv6(address) => address.to_string(),
        Value::String(data) | Value::Binary(data) => data.bytes().iter().map(printable).collect(),
    }
}
