//! Keywords of the listening half of a proxy: `bind`, limits, routing (manual section 4.2).

use crate::config::check::builder::{Arguments, ProxyBuilder};
use crate::config::keyword::{Keyword, Meaning, Places};

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    entry("bind", Places::FRONTEND.and(Places::LISTEN), "<address>[,...] [<option>...]", "Listen on these addresses", bind),
    entry(
        "maxconn",
        Places::FRONT,
        "<number>",
        "Connections served at once; more wait in the kernel (the global maxconn when not given)",
        maxconn,
    ),
    entry("backlog", Places::FRONT, "<number>", "Connections the kernel holds until they are accepted (maxconn when not given)", backlog),
    entry("rate-limit sessions", Places::FRONT, "<number>", "New sessions accepted per second", rate_limit),
    entry("default_backend", Places::FRONT, "<backend>", "Where sessions go that no use_backend took", default_backend),
    entry(
        "use_backend",
        Places::FRONTEND.and(Places::LISTEN),
        "<backend> [if|unless <condition>]",
        "Where sessions go; the first rule that applies decides",
        use_backend,
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

fn bind(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    proxy.binds.extend(super::apply_bind_line(arguments, false));
}

fn maxconn(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.count()
        && arguments.finish()
    {
        proxy.maxconn = number;
    }
}

fn backlog(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.count()
        && arguments.finish()
    {
        proxy.backlog = number;
    }
}

fn rate_limit(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("a number of sessions per second") else { return };
    match word.text.parse::<u32>() {
        Ok(number) => {
            proxy.rate_limit_sessions = number;
            super::process::warn_extra(arguments);
        }
        Err(_) => {
            arguments.error(word, format!("'{}' is not a number of sessions per second", word.text));
        }
    }
}

fn default_backend(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(word) = arguments.only("the name of a backend") {
        proxy.default_backend = Some(word.clone());
    }
}

fn use_backend(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let line = arguments.rule_line();
    match line.words.as_slice() {
        [] => {
            arguments.required("the name of a backend");
        }
        [_, extra, ..] if !matches!(extra.text.as_str(), "if" | "unless") => {
            arguments
                .error(extra, format!("unexpected '{}' after the name of the backend", extra.text))
                .help("only 'if' or 'unless' may follow");
        }
        _ => proxy.rules.use_backends.push(line),
    }
}
