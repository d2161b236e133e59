//! Stick tables, stick rules, persistence and the choice of servers by rules (manual section 4.2), and the tables of `peers` sections.

use crate::config::check::builder::{Arguments, ProxyBuilder};
use crate::config::check::tables::{TableBuilder, TableList};
use crate::config::keyword::{Keyword, Meaning, Places};

const TABLE_SYNTAX: &str = "type <type> [len <bytes>] size <number> [expire <time>] [nopurge] [write-to <table>] [store <data type>,...]";
const BACK_ONLY: Places = Places::BACK.without(Places::DEFAULTS);

/// The entries of proxies.
pub const KEYWORDS: &[Keyword] = &[
    entry("stick-table", Places::PROXY.without(Places::DEFAULTS), TABLE_SYNTAX, "A table of keys, named after this proxy", stick_table),
    entry(
        "stick",
        BACK_ONLY,
        "on|match|store-request|store-response <expression> [table <table>] [if|unless <condition>]",
        "Keep a key on its server: use the server stored under it, store the server used, or both",
        stick,
    ),
    entry("use-server", BACK_ONLY, "<server> if|unless <condition>", "Choose a server by condition", use_server).strict(),
    entry("force-persist", BACK_ONLY, "if|unless <condition>", "Stick to servers even when they are down", force_persist),
    // HAProxy, too, heeds it for cookies only: stick rules go on.
    entry(
        "ignore-persist",
        BACK_ONLY,
        "if|unless <condition>",
        "Ignore persistence by cookie, which tcp mode does not have",
        ignore_persist,
    )
    .without_effect(),
];

/// The entries of `peers` sections, which hold tables only as long as there are no peers.
pub const PEERS_KEYWORDS: &[Keyword] = &[
    Keyword::new("table", Places::PEERS, "<name> ...", "A stick table that belongs to no proxy, as 'section/name'", Meaning::Peers(table)),
    Keyword::new("enabled", Places::PEERS, "", "Exchange tables; there are no peers to do so with", Meaning::NoEffect),
    Keyword::new("disabled", Places::PEERS, "", "Do not exchange tables; there are no peers to do so with", Meaning::NoEffect),
    peer("peer", "<name> <address>:<port> ...", "A node to exchange tables with"),
    peer("server", "<name> [<address>:<port> ...]", "A node to exchange tables with"),
    peer("bind", "[<address>:<port>] [<option>...]", "Where nodes connect to exchange tables"),
    peer("default-bind", "<option>...", "Options of the bind line"),
    peer("default-server", "<option>...", "Options of the server lines"),
    peer("log", "<address> <facility> ...", "Where exchanges are logged"),
    peer("shards", "<number>", "Spread tables over peers"),
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

const fn peer(name: &'static str, syntax: &'static str, summary: &'static str) -> Keyword {
    Keyword::new(name, Places::PEERS, syntax, summary, Meaning::Unsupported)
}

fn stick_table(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let Some(table) = TableBuilder::read(proxy.name.clone(), arguments) else { return };
    if proxy.rules.stick_table.is_some() {
        let message = format!("{} has a 'stick-table' already", proxy.title());
        arguments
            .diagnostics
            .error(arguments.span(), message)
            .help("a table for another purpose needs a backend of its own, or a 'table' in a 'peers' section");
        return;
    }
    proxy.rules.stick_table = Some(table);
}

fn table(tables: &mut TableList, section: &str, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("a name") else { return };
    let name = if section.is_empty() { word.text.as_str().into() } else { format!("{section}/{}", word.text).into() };
    tables.tables.extend(TableBuilder::read(name, arguments));
}

const STICK: &[&str] = &["on", "match", "store-request", "store-response"];

fn stick(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let expected = "'on', 'match', 'store-request' or 'store-response'";
    match arguments.peek() {
        Some(word) if STICK.contains(&word.text.as_str()) => {}
        Some(word) => {
            let finding = arguments.error(word, format!("'stick' does not know '{}'", word.text));
            match crate::config::keyword::nearest(&word.text, STICK.iter().copied()) {
                Some(near) => finding.help(format!("did you mean '{near}'?")),
                None => finding.help(format!("it takes {expected}")),
            };
            return;
        }
        None => {
            arguments.required(expected);
            return;
        }
    }
    proxy.rules.sticks.push(arguments.rule_line());
}

fn use_server(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    let line = arguments.rule_line();
    match line.words.as_slice() {
        [] => {
            arguments.required("the name of a server and a condition");
        }
        [_, condition, ..] if matches!(condition.text.as_str(), "if" | "unless") => proxy.rules.use_servers.push(line),
        [name] => {
            arguments.error(name, "'use-server' needs a condition").help("write 'if' or 'unless' and a condition after the name");
        }
        [_, extra, ..] => {
            arguments
                .error(extra, format!("unexpected '{}' after the name of the server", extra.text))
                .help("only 'if' or 'unless' may follow");
        }
    }
}

fn force_persist(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(line) = arguments.condition_line() {
        proxy.rules.force_persist.push(line);
    }
}

fn ignore_persist(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if let Some(line) = arguments.condition_line() {
        proxy.rules.ignore_persist.push(line);
    }
}
