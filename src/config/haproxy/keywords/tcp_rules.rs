//! ACLs and rules for connections and their bytes (manual sections 4.2 and 7): kept as words here, understood by `check/rules.rs`.

use ringmain_model::Milliseconds;

use crate::config::check::action::capture_length as captured_length;
use crate::config::check::builder::{Arguments, GlobalBuilder, ProxyBuilder};
use crate::config::draft::SectionKind;
use crate::config::keyword::{Keyword, Meaning, Places};

const RULE: &str = "<action> [if|unless <condition>]";

/// The entries of proxies.
pub const KEYWORDS: &[Keyword] = &[
    entry("acl", Places::PROXY, "<name> <criterion> [<flag>...] [<value>...]", "Name a condition", acl),
    entry("tcp-request connection", Places::FRONT, RULE, "Rules for connections of which only addresses are known", connection).strict(),
    entry("tcp-request session", Places::FRONT, RULE, "Rules for connections after their handshakes", session).strict(),
    entry("tcp-request content", Places::PROXY, RULE, "Rules for the client's first bytes", content),
    entry(
        "tcp-request inspect-delay",
        Places::PROXY,
        "<time>",
        "Longest time that rules wait for the client's first bytes (they do not wait when not given)",
        inspect_delay,
    ),
    entry("tcp-response content", Places::BACK, RULE, "Rules for the server's first bytes", response).strict(),
    entry(
        "tcp-response inspect-delay",
        Places::BACK,
        "<time>",
        "Longest time that rules wait for the server's first bytes (they do not wait when not given)",
        response_inspect_delay,
    )
    .strict(),
    entry(
        "declare capture",
        Places::FRONT.without(Places::DEFAULTS),
        "request len <bytes>",
        "Reserve room for a captured value in log lines",
        declare_capture,
    )
    .strict(),
];

/// The entries of `global`.
pub const GLOBAL_KEYWORDS: &[Keyword] = &[
    Keyword::new("set-var", Places::GLOBAL, "<name> <expression>", "Set a process variable at start", Meaning::Global(set_variable)),
    Keyword::new(
        "set-var-fmt",
        Places::GLOBAL,
        "<name> <format>",
        "Set a process variable from a format at start",
        Meaning::Global(set_variable_format),
    ),
];

const fn entry(
    name: &'static str,
    places: Places,
    syntax: &'static str,
    summary: &'static str,
    apply: fn(&mut ProxyBuilder, &mut Arguments<'_>),
) -> Keyword {
    Keyword::new(name, places, syntax, summary, Meaning::Proxy(apply))
}

/// Rules and ACLs need a `defaults` section with a name, as nobody sees what an anonymous one gives to the proxies behind it.
fn is_allowed(proxy: &ProxyBuilder, arguments: &mut Arguments<'_>) -> bool {
    let anonymous = proxy.kind == SectionKind::Defaults && proxy.name.is_empty();
    if anonymous {
        let (span, message) = (arguments.span(), format!("'{}' is not allowed in a 'defaults' section without a name", arguments.name()));
        arguments.diagnostics.error(span, message).help("name the section, and name it after 'from' in the proxies that use it");
    }
    !anonymous
}

/// HAProxy's warning that the order of lines is not the order of evaluation.
fn warn_order(arguments: &mut Arguments<'_>, earlier: &[(&str, bool)]) {
    if let Some((name, _)) = earlier.iter().find(|(_, present)| *present) {
        let (span, message) = (arguments.span(), format!("this rule stands after '{name}' rules, but is evaluated before them"));
        arguments.diagnostics.warning(span, message);
    }
}

fn acl(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if !is_allowed(proxy, arguments) {
        return;
    }
    let line = arguments.rule_line();
    match line.words.as_slice() {
        [] => {
            arguments.required("a name and a criterion");
        }
        [name] => {
            arguments.error(name, format!("the ACL '{}' has no criterion", name.text)).help("such as 'src 10.0.0.0/8'");
        }
        _ => proxy.rules.acls.push(line),
    }
}

fn connection(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if is_allowed(proxy, arguments) {
        let rules = &mut proxy.rules;
        warn_order(
            arguments,
            &[
                ("tcp-request content", !rules.content.is_empty()),
                ("tcp-request session", !rules.session.is_empty()),
                ("use_backend", !rules.use_backends.is_empty()),
                ("use-server", !rules.use_servers.is_empty()),
            ],
        );
        rules.connection.push(arguments.rule_line());
    }
}

fn session(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if is_allowed(proxy, arguments) {
        let rules = &mut proxy.rules;
        warn_order(
            arguments,
            &[
                ("tcp-request content", !rules.content.is_empty()),
                ("use_backend", !rules.use_backends.is_empty()),
                ("use-server", !rules.use_servers.is_empty()),
            ],
        );
        rules.session.push(arguments.rule_line());
    }
}

fn content(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if is_allowed(proxy, arguments) {
        let rules = &mut proxy.rules;
        warn_order(arguments, &[("use_backend", !rules.use_backends.is_empty()), ("use-server", !rules.use_servers.is_empty())]);
        rules.content.push(arguments.rule_line());
    }
}

fn response(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if is_allowed(proxy, arguments) {
        proxy.rules.response.push(arguments.rule_line());
    }
}

fn inspect_delay(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(delay) = delay(proxy, arguments) {
        proxy.rules.inspect_delay = Some(delay);
    }
}

fn response_inspect_delay(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(delay) = delay(proxy, arguments) {
        proxy.rules.response_inspect_delay = Some(delay);
    }
}

fn delay(proxy: &ProxyBuilder, arguments: &mut Arguments<'_>) -> Option<Milliseconds> {
    let delay = if is_allowed(proxy, arguments) { arguments.time(0) } else { None };
    super::process::warn_extra(arguments);
    delay
}

fn declare_capture(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let Some(direction) = arguments.required("'request'") else { return };
    match direction.text.as_str() {
        "request" => {}
        "response" => {
            arguments.unsupported(direction, "'declare capture response'");
            return;
        }
        unknown => {
            arguments.error(direction, format!("'declare capture' does not know '{unknown}'")).help("it takes 'request'");
            return;
        }
    }
    if let Some(length) = capture_length(arguments) {
        super::process::warn_extra(arguments);
        proxy.rules.captures.push((proxy.rules.content.len(), length));
    }
}

/// `len N`.
fn capture_length(arguments: &mut Arguments<'_>) -> Option<u32> {
    let word = arguments.required("'len' and a number of bytes")?;
    if word.text != "len" {
        arguments.error(word, format!("unexpected '{}': the length of the value is written 'len <bytes>'", word.text));
        return None;
    }
    let word = arguments.required("a number of bytes after 'len'")?;
    let length = captured_length(&word.text);
    if length.is_none() {
        arguments.error(word, format!("'{}' is not a length of captured values", word.text)).help("1 to 65535 bytes");
    }
    length
}

fn set_variable(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let line = arguments.rule_line();
    if line.words.len() < 2 {
        arguments.required("the name of a process variable and an expression");
        return;
    }
    global.variables.push((line, false));
}

fn set_variable_format(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let line = arguments.rule_line();
    if line.words.len() < 2 {
        arguments.required("the name of a process variable and a format");
        return;
    }
    global.variables.push((line, true));
}
