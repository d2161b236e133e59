//! Lowering alone: which statements TOML becomes, and what is said about its mistakes. What statements mean is tested with the checker.

use super::*;
use crate::config::diagnostic::{RenderOptions, render};
use crate::config::draft::Negation;
use crate::config::keyword::{self, Scope, Status};

struct Lowered {
    sections: Vec<Section>,
    sources: Sources,
    diagnostics: Diagnostics,
}

fn lower_text(text: &str) -> Lowered {
    let mut sources = Sources::default();
    let source = sources.add("a.toml", text);
    let mut environment: Environment = [("PORT".to_owned(), "1883".to_owned())].into_iter().collect();
    let mut diagnostics = Diagnostics::default();
    let sections = parse(source, &sources, &[], &mut environment, &mut diagnostics).unwrap_or_default();
    Lowered { sections, sources, diagnostics }
}

/// The draft as lines of haproxy.cfg.
fn lines(text: &str) -> String {
    let lowered = lower_text(text);
    assert!(!lowered.diagnostics.failed(), "{}", render(&lowered.sources, &lowered.diagnostics, RenderOptions::default()));
    let mut all = String::new();
    for section in &lowered.sections {
        let name = section.name.as_ref().map(|name| format!(" {}", name.text)).unwrap_or_default();
        let from = section.from.as_ref().map(|from| format!(" from {}", from.text)).unwrap_or_default();
        all.push_str(&format!("{:?}{name}{from}\n", section.kind).to_lowercase());
        for statement in &section.statements {
            let negation = match statement.negation {
                None => "",
                Some(Negation::No) => "no ",
                Some(Negation::Default) => "default ",
            };
            let words: Vec<String> = statement
                .words
                .iter()
                .map(|word| if word.text.contains(' ') { format!("'{}'", word.text) } else { word.text.clone() })
                .collect();
            all.push_str(&format!("  {negation}{}\n", words.join(" ")));
        }
    }
    all
}

fn messages(text: &str) -> Vec<String> {
    lower_text(text).diagnostics.list().iter().map(|finding| finding.message.clone()).collect()
}

#[test]
fn the_native_language_becomes_statements() {
    let text = r#"
[global]
maxconn = 1_024_000
log = [{ to = "127.0.0.1:514", facility = "local3", level = "info" }]
shards = 0x2
ring = { mode = "fast", buffers = 64 }
tune.rcvbuf.client = 4096
stats.socket = [{ address = "/run/a.sock", mode = 0o660, level = "admin" }, "fd@3 level user"]
setenv = { HOST = "a b" }

[defaults]
mode = "tcp"
log_format = "tcp"
log = "global"
timeout = { connect = "10s", client = 240_000 }
option = { dontlognull = true, redispatch = -1, tcpka = false }

[frontend.mqtt]
bind = ["*:${PORT}", { address = ["a:1", "b:2"], interface = "eth0", v4v6 = true, v6only = false }]
default_backend = "brokers"
use_backend = ["x if { src 10.0.0.0/8 }", "y"]
rate_limit.sessions = 10

[backend.brokers]
balance = "random(3)"
hash_type = ["consistent", "djb2"]
servers = [
  { name = "emqx1", address = "h:1883", check = true, weight = 5, on_marked_down = "shutdown-sessions" },
  { name = "${PORT}", address = "${HOST}", check = false, disabled = false, source = { address = "1.2.3.4", interface = "lo" } },
  "emqx3 h:1 check",
]
default_server = { inter = "2s" }
source = "10.0.0.1 interface eth1"
description = "two words"
disabled = false
"#;
    insta::assert_snapshot!(lines(text), @r"
    global
      maxconn 1024000
      log 127.0.0.1:514 local3 info
      nbthread 2
      tune.ring.mode fast
      tune.ring.buffers 64
      tune.rcvbuf.client 4096
      stats socket /run/a.sock mode 660 level admin
      stats socket fd@3 level user
      setenv HOST 'a b'
    defaults
      mode tcp
      option tcplog
      log global
      timeout connect 10s
      timeout client 240000
      option dontlognull
      option redispatch -1
      no option tcpka
    frontend mqtt
      bind *:1883
      bind a:1,b:2 interface eth0 v4v6
      default_backend brokers
      rate-limit sessions 10
      use_backend x if { src 10.0.0.0/8 }
      use_backend y
    backend brokers
      default-server inter 2s
      balance random(3)
      hash-type consistent djb2
      server emqx1 h:1883 check weight 5 on-marked-down shutdown-sessions
      server 1883 'a b' no-check enabled source 1.2.3.4 interface lo
      server emqx3 h:1 check
      source 10.0.0.1 interface eth1
      description 'two words'
      enabled
    ");
}

#[test]
fn sections_come_in_the_order_that_their_meaning_needs() {
    let text = "[frontend.b]\n[backend.a]\n[defaults.x]\nfrom = 'y'\n[listen.c]\nfrom = \"x\"\n[frontend.a]\n[global]\n[defaults.y]\n";
    assert_eq!(lines(text), "global\ndefaults x from y\ndefaults y\ndefaults\nfrontend b\nbackend a\nlisten c from x\nfrontend a\n");
    let plain = "[frontend.b]\n[defaults]\nretries = 1\n[defaults.timeout]\nclient = 1\n[defaults.t]\nretries = 2\n";
    assert_eq!(lines(plain), "defaults t\n  retries 2\ndefaults\n  retries 1\n  timeout client 1\nfrontend b\n");
}

#[test]
fn plain_defaults_hold_for_the_files_that_follow() {
    let mut sources = Sources::default();
    let first = sources.add("1.toml", "[defaults]\nretries = 1\n");
    let second = sources.add("2.toml", "[defaults.x]\nretries = 2\n[backend.b]\n");
    let (mut environment, mut diagnostics) = (Environment::default(), Diagnostics::default());
    let before = parse(first, &sources, &[], &mut environment, &mut diagnostics).expect("TOML");
    let sections = parse(second, &sources, &before, &mut environment, &mut diagnostics).expect("TOML");
    assert_eq!(sections.len(), 3);
    assert_eq!(sections[1], before[0]);
    assert!(diagnostics.list().is_empty());
}

#[test]
fn arrays_of_tables_are_servers_too() {
    let text = "[[backend.a.servers]]\nname = 'x'\naddress = 'h:1'\n[[backend.a.servers]]\naddress = 'h:2'\nname = 'y'\nbackup = true\n";
    assert_eq!(lines(text), "backend a\n  server x h:1\n  server y h:2 backup\n");
}

#[test]
fn what_is_not_supported_yet_keeps_its_place() {
    let text = "[frontend.a]\nbind = { address = '*:1', tls = { certificate = ['a'], verify = 'required' }, name = 'x' }\n\
        [backend.b]\ncookie = { rules = ['x'] }\n";
    let lowered = lower_text(text);
    assert!(!lowered.diagnostics.failed(), "{:?}", lowered.diagnostics);
    let bind = &lowered.sections[0].statements[0];
    let words: Vec<&str> = bind.words.iter().map(|word| word.text.as_str()).collect();
    assert_eq!(words, ["bind", "*:1", "ssl", "name", "x"]);
    let tls = bind.words[2].span;
    assert_eq!(&text[tls.start as usize..tls.end as usize], "tls");
    assert_eq!(lowered.sections[1].statements[0].words[0].text, "cookie");
}

#[test]
fn rules_and_tables_become_lines() {
    let text = "[frontend.a]\nuse_backend = 'b if m'\ntcp_request.rules = ['content reject unless { m }', 'connection accept']\n\
        tcp_request.inspect_delay = '10s'\nstick_table = { size = '100k', store = ['gpc0', 'conn_rate(10s)'], length = 32, type = 'string' }\n\
        [table.'p/t']\ntype = 'ip'\nsize = 5\nnopurge = true\n";
    let lowered = lower_text(text);
    assert!(!lowered.diagnostics.failed(), "{:?}", lowered.diagnostics);
    let line = |statement: &Statement| statement.words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = lowered.sections.iter().flat_map(|section| section.statements.iter().map(line)).collect();
    let expected = [
        "tcp-request inspect-delay 10s",
        "stick-table type string len 32 size 100k store gpc0,conn_rate(10s)",
        "tcp-request connection accept",
        "tcp-request content reject unless { m }",
        "use_backend b if m",
        "table p/t type ip size 5 nopurge",
    ];
    assert_eq!(lines, expected);
    let rule = lowered.sections[0].statements[3].words[1].span;
    assert_eq!(&text[rule.start as usize..rule.end as usize], "content");
    let table = lowered.sections[1].statements[0].words[1].span;
    assert_eq!(&text[table.start as usize..table.end as usize], "'p/t'");
}

#[test]
fn every_supported_keyword_can_be_written() {
    for (scope, section) in [(Scope::Global, "global"), (Scope::Proxy, "listen.x")] {
        for keyword in keyword::all(scope).filter(|keyword| keyword.status() != Status::Unsupported) {
            let key = key_of(scope, keyword.name);
            let value = match schema::form(keyword) {
                schema::Form::Flag { .. } | schema::Form::Option | schema::Form::Any => "true",
                schema::Form::Variables => "{ A = 'b' }",
                schema::Form::Number => "7",
                _ => "'x y'",
            };
            let lowered = lower_text(&format!("[{section}]\n{key} = {value}\n"));
            let statement = lowered.sections.first().and_then(|section| section.statements.first());
            let statement = statement.unwrap_or_else(|| panic!("'{}' as '{key}': {:?}", keyword.name, lowered.diagnostics));
            let (found, _) = keyword::find(scope, &statement.words).expect("a keyword");
            assert_eq!(found.name, keyword.name, "written as '{key}'");
        }
    }
    for (scope, line) in [(Scope::Bind, "bind = { address = 'a:1'"), (Scope::Server, "servers = { name = 'n', address = 'a:1'")] {
        for keyword in keyword::all(scope).filter(|keyword| keyword.status() != Status::Unsupported) {
            let value = if keyword.syntax.is_empty() { "true" } else { "'1'" };
            let text = format!("[listen.x]\n{line}, {} = {value} }}\n", key_of(scope, keyword.name));
            let lowered = lower_text(&text);
            let words = &lowered.sections[0].statements[0].words;
            assert!(words.iter().skip(2).any(|word| word.text == keyword.name), "{text}{words:?}");
        }
    }
}

#[test]
fn mistakes_are_named() {
    let cases: &[(&str, &str)] = &[
        ("[globl]\n", "unknown section 'globl'"),
        ("a = 1\n", "unknown key 'a'"),
        ("[peers.x]\n", "HAProxy's section 'peers' is not supported here yet"),
        ("global = 1\n", "expected a table, found an integer"),
        ("[frontend]\nbind = 'x'\n", "'bind' stands outside of any frontend"),
        ("[frontend.'a b']\n", "' ' cannot be part of the name of a frontend"),
        ("[global]\nmaxcon = 1\n", "unknown key 'maxcon' in [global]"),
        ("[listen.x]\ntimeout = { clint = 1 }\n", "unknown key 'clint' in 'timeout' of [listen.x]"),
        ("[listen.x]\ntimeout = '10s'\n", "expected a table, found a string"),
        ("[listen.x]\nretries = 1.5\n", "expected a number, found a fraction"),
        ("[listen.x]\nretries = 'many'\n", "expected a number, found 'many'"),
        ("[listen.x]\ntimeout = { client = true }\n", "expected a string or an integer, found a boolean"),
        ("[listen.x]\nservers = [{ name = 'a', adress = 'b' }]\n", "unknown key 'adress'"),
        ("[listen.x]\nservers = [{ name = 'a', address = 'b', weight = '1x' }]\n", "expected a number, found '1x'"),
        ("[listen.x]\noption = { redispatch = [1] }\n", "expected true, false or the option's arguments, found an array"),
        ("[listen.x]\ndisabled = 'yes'\n", "expected true or false, found a string"),
        ("[listen.x]\nservers = [{ name = 'a' }]\n", "this table needs a key 'address'"),
        ("[listen.x]\nbind = 1979-05-27\n", "expected a string or a table, found a date"),
        ("[listen.x]\nbind = '\"a'\n", "this quote is never closed"),
        ("[listen.x]\nbind = \"${A\"\n", "'${' without '}'; single quotes take a string as it is"),
        (
            "[listen.x]\nservers = [{ name = 'a', address = 'b', weight = { x = 1 } }]\n",
            "expected a string, an integer or a boolean, found a table",
        ),
        ("[global]\nlog = { too = 'a' }\n", "unknown key 'too' in the table of 'log'"),
        ("[global]\nlog = { to = 'a', facility = 'local0', minimum_level = 'err' }\n", "this table needs a key 'level'"),
        ("[global]\nsetenv = { 'A=B' = 1 }\n", "'A=B' is not the name of an environment variable"),
        ("[global]\nnode = \"a\\u0000\"\n", "a NUL byte cannot be part of a string"),
        ("[global]\nsetenv = 'A'\n", "expected a table of variables and their values, found a string"),
        ("[global]\na = 1\na = 2\n", "not TOML: duplicate key"),
        ("[global\n", "not TOML: unclosed table, expected `]`"),
    ];
    for (text, message) in cases {
        assert_eq!(messages(text), [*message], "{text}");
    }
}

#[test]
fn unknown_keys_are_guessed_in_the_spelling_of_toml() {
    let help = |text: &str| lower_text(text).diagnostics.list().first().and_then(|finding| finding.help.clone()).unwrap_or_default();
    assert_eq!(help("[listen.x]\ntimeout_client = '1s'\n"), "did you mean 'timeout.client'?");
    assert_eq!(help("[listen.x]\n'timeout client' = '1s'\n"), "did you mean 'timeout.client'?");
    assert_eq!(help("[listen.x]\noption = { dontlognul = true }\n"), "did you mean 'dontlognull'?");
    assert_eq!(help("[listen.x]\nserver = 'a b'\n"), "did you mean 'servers'?");
    assert_eq!(help("[global]\nnbthread = 2\n"), "did you mean 'shards'?");
    assert_eq!(help("[frontends.x]\n"), "did you mean 'frontend'?");
}

#[test]
fn syntax_errors_are_bounded_and_several_are_told() {
    let found = messages(&"= 1\n".repeat(1000));
    assert_eq!(found.len(), SYNTAX_ERROR_LIMIT);
    assert!(found.iter().all(|message| message.starts_with("not TOML: ")), "{found:?}");
    assert_eq!(messages(&"= 1\n".repeat(RECOVERY_SIZE_LIMIT / 2)).len(), 1);
    assert_eq!(messages(&format!("a = {}", "[".repeat(100_000))).len(), 1);
}

#[test]
fn defaults_with_a_format_log_to_the_global_targets() {
    let global = "[global]\nlog = \"127.0.0.1:514 local3\"\n";
    let implied = lines(&format!("{global}[defaults]\nlog_format = \"tcp\"\n"));
    assert!(implied.contains("log global"), "{implied}");
    for quiet in ["[defaults]\nlog_format = \"tcp\"\n".to_owned(), format!("{global}[defaults]\nlog = []\nlog_format = \"tcp\"\n")] {
        assert!(!lines(&quiet).contains("log global"), "{quiet}");
    }
}
