//! Tests of the way from lines of rules and stick tables to the model.

use ringmain_model::rule::{Action, IntegerValue, SetWhen, Target, VariableValue};
use ringmain_model::table::{Column, DataType, KeyType};
use ringmain_model::*;

use super::tests::load;
use crate::config::diagnostic::{Class, Diagnostic, RenderOptions, render};

const PRE: &str = "defaults\n timeout connect 1s\n timeout client 2s\n timeout server 3s\n";

fn model(text: &str) -> Model {
    let loaded = load(&format!("{PRE}{text}"));
    let said = render(&loaded.sources, &loaded.diagnostics, RenderOptions::default());
    loaded.model.unwrap_or_else(|| panic!("{said}"))
}

fn findings(text: &str) -> Vec<Diagnostic> {
    load(&format!("{PRE}{text}")).diagnostics.list().to_vec()
}

/// What is said about a line, with its class, and with the words that the caret points at.
fn said(text: &str) -> Vec<(Class, String, String)> {
    let text = format!("{PRE}{text}");
    let loaded = load(&text);
    let point = |finding: &Diagnostic| finding.span.map_or("", |span| &text[span.start as usize..span.end as usize]).to_owned();
    loaded.diagnostics.list().iter().map(|finding| (finding.class, finding.message.clone(), point(finding))).collect()
}

fn in_frontend(lines: &str) -> String {
    format!(
        "frontend f\n bind :1\n default_backend b\n{lines}\nbackend b\n stick-table type ip size 1k\n server s 192.0.2.1:1\n server t 192.0.2.2:1\n"
    )
}

fn in_backend(lines: &str) -> String {
    format!("backend b\n stick-table type ip size 1k\n server s 192.0.2.1:1\n server t 192.0.2.2:1\n{lines}\n")
}

#[test]
fn rules_become_programs_in_their_order() {
    let lines = " acl local src 127.0.0.0/8\n tcp-request connection track-sc1 src table b if !local\n tcp-request connection silent-drop unless \
                 local\n tcp-request session set-var(sess.a,ifnotexists) src_port\n tcp-request inspect-delay 5s\n tcp-request content \
                 sc-inc-gpc1(2)\n tcp-request content sc-set-gpt(3,1) 9 if WAIT_END\n tcp-request content set-log-level silent\n use_backend b \
                 if local\n use_backend x-%[src]";
    let model = model(&in_frontend(lines));
    let rules = &model.frontends[0].rules;
    assert!(matches!(&rules.connection[0].action, Action::Track { counter: 1, table, .. } if table.index() == 0));
    let condition = rules.connection[0].condition.as_ref().expect("a condition");
    assert!(!condition.negated && condition.alternatives[0][0].negated);
    assert_eq!(&*condition.source, "if !local");
    assert_eq!(rules.connection[1].action, Action::SilentDrop);
    assert!(rules.connection[1].condition.as_ref().is_some_and(|condition| condition.negated));
    let Action::SetVariable(variable, VariableValue::Expression(value), when) = &rules.session[0].action else { panic!("{rules:?}") };
    assert_eq!((variable.scope, &*value.source), (Scope::Session, "src_port"));
    assert_eq!(*when, SetWhen { exists: Some(false), ..SetWhen::default() });
    assert_eq!(model.variables, [(Scope::Session, "a".into())]);
    assert_eq!(rules.inspect_delay, Some(Milliseconds(5000)));
    let columns: Vec<_> = rules.content.iter().map(|rule| rule.action.clone()).collect();
    let column = |counter, array, index| rule::TrackedColumn { counter, array, index };
    assert_eq!(columns[0], Action::IncrementCounter(column(2, false, 1)));
    assert_eq!(columns[1], Action::SetTag(column(1, true, 3), IntegerValue::Fixed(9)));
    assert_eq!(columns[2], Action::SetLogLevel(None));
    assert_eq!(rules.routes[0].action, Target::Fixed(BackendId::new(0)));
    assert!(matches!(&rules.routes[1].action, Target::Format(format) if format.source == "x-%[src]"));
    assert_eq!(&*rules.routes[1].location, "f.cfg:17");
    assert_eq!(model.frontends[0].route, Some(BackendId::new(0)));
}

#[test]
fn sticking_needs_a_table_and_gives_it_columns() {
    let lines = " stick on src\n stick match src if { src_port 5 }\n stick store-response src table other\n use-server t if { src 192.0.2.9 }\n \
                 force-persist if TRUE\nbackend other\n stick-table type string len 8 size 2k expire 30m store gpc0,conn_rate(10s) nopurge";
    let model = model(&in_backend(lines));
    let column = |data, period| Column { data, period, length: 1 };
    let (server, key) = (column(DataType::ServerId, None), column(DataType::ServerKey, None));
    assert_eq!(model.tables[0].columns, [server, key]);
    let rate = column(DataType::ConnRate, Some(Milliseconds(10_000)));
    assert_eq!(model.tables[1].columns, [column(DataType::Gpc0, None), rate, server, key]);
    let other = &model.tables[1];
    assert_eq!((other.key, other.size, other.expire), (KeyType::String { length: 8 }, 2048, Some(Milliseconds(1_800_000))));
    assert!(other.no_purge && &*other.name == "other");
    let rules = &model.backends[0].rules;
    let kinds: Vec<_> = rules.stick_request.iter().map(|rule| (rule.action.matches, rule.action.stores)).collect();
    assert_eq!(kinds, [(true, true), (true, false)]);
    let response = &rules.stick_response[0].action;
    assert_eq!((response.matches, response.stores, response.table.index()), (false, true, 1));
    assert_eq!(rules.servers[0].action, Target::Fixed(ServerId::new(1)));
    assert_eq!(rules.force_persist.len(), 1);
}

#[test]
fn tables_of_peers_sections_have_two_names() {
    let text = "peers p\n table t type ip size 1k store conn_cur\nbackend b\n stick on src table p/t\n server s 192.0.2.1:1\n";
    let model = model(text);
    assert_eq!((model.tables.len(), &*model.tables[0].name), (1, "p/t"));
    let found = said("peers p\n peer a 192.0.2.1:1024\n");
    assert_eq!(found, [(Class::Unsupported, "HAProxy's 'peer' is not supported here yet".into(), "peer".into())]);
    let twice = said("peers p\n table t type ip size 1k\n table t type ip size 1k\n");
    assert_eq!(twice[0].1, "there is a stick table 'p/t' already, at f.cfg:6");
}

#[test]
fn captured_values_have_slots_in_the_order_of_lines() {
    let lines = " declare capture request len 5\n tcp-request content capture src len 9\n declare capture request len 7";
    let model = model(&in_frontend(lines));
    assert_eq!(model.frontends[0].captures, [5, 9, 7]);
    assert!(matches!(model.frontends[0].rules.content[0].action, Action::Capture { slot: 1, length: 9, .. }));
}

#[test]
fn rules_of_defaults_come_first_and_keep_their_acls() {
    let text = "defaults d\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n acl a src 192.0.2.1\n tcp-request content reject if a\n \
                tcp-request inspect-delay 3s\nfrontend f from d\n bind :1\n acl a src 192.0.2.2\n tcp-request content accept if a\n \
                default_backend b\nfrontend g from d\n bind :2\n default_backend b\ndefaults\n timeout connect 1s\n timeout server 1s\nbackend \
                b\n server s 192.0.2.1:1\n";
    let model = model(text);
    let rules = &model.frontends[0].rules;
    assert_eq!((rules.content.len(), rules.inspect_delay), (2, Some(Milliseconds(3000))));
    let tests: Vec<&str> = rules
        .content
        .iter()
        .filter_map(|rule| rule.condition.as_ref())
        .map(|condition| &*condition.alternatives[0][0].acl.tests[0].source)
        .collect();
    assert_eq!(tests, ["src 192.0.2.1", "src 192.0.2.2"]);
    assert_eq!(model.frontends[1].rules.content.len(), 1);
}

#[test]
fn variables_are_numbered_by_name_and_those_not_used_are_left_out() {
    let text = "global\n set-var proc.z int(5)\n set-var-fmt proc.b \"%[int(1)]\"\n";
    let lines = " acl unused var(txn.n) -m found\n tcp-request content set-var(txn.y) var(proc.b)\n tcp-request content unset-var(sess.x)";
    let model = model(&format!("{text}{}", in_frontend(lines)));
    let names: Vec<String> = model.variables.iter().map(|(scope, name)| format!("{}.{name}", scope.name())).collect();
    assert_eq!(names, ["proc.b", "proc.z", "sess.x", "txn.y"]);
    assert_eq!(model.global.variables.iter().map(|(variable, _)| variable.slot).collect::<Vec<_>>(), [1, 0]);
    let Action::SetVariable(variable, VariableValue::Expression(value), _) = &model.frontends[0].rules.content[0].action else { panic!() };
    assert_eq!((variable.slot, &value.fetch.arguments[0]), (3, &Argument::Variable(Variable { scope: Scope::Process, slot: 0 })));
}

#[test]
fn mistakes_are_shown_at_their_words() {
    use Class::{Error, Unsupported, Warning};
    let cases = [
        ("tcp-request conection accept", Error, "there is no 'tcp-request conection'", "conection"),
        ("tcp-request content acept", Error, "'tcp-request content' has no action 'acept'", "acept"),
        ("tcp-request content", Error, "'tcp-request content' needs an action", "tcp-request content"),
        ("tcp-request session capture src len 5", Error, "'capture' is not allowed in 'tcp-request session' rules", "capture"),
        ("tcp-request content switch-mode http", Unsupported, "HAProxy's action 'switch-mode' is not supported here yet", "switch-mode"),
        ("tcp-request content lua.x", Unsupported, "HAProxy's actions in Lua are not supported here", "lua.x"),
        ("tcp-request content track-sc3 src", Error, "'track-sc3': there is no such tracked counter", "track-sc3"),
        ("tcp-request content track-sc0 src", Error, "no table is named, and frontend 'f' has no 'stick-table'", "track-sc0"),
        ("tcp-request content track-sc0 src table c", Error, "there is no stick table 'c'", "c"),
        ("tcp-request content sc-inc-gpc0(7)", Error, "'7' is not the number of a tracked counter", "7"),
        ("tcp-request content sc-inc-gpc(200,0)", Error, "'200' is not a place in an array", "200"),
        ("tcp-request content set-var(txn.a,ifexist) src", Error, "there is no condition 'ifexist' for setting a variable", "ifexist"),
        ("tcp-request content set-log-level inf", Error, "there is no log level 'inf'", "inf"),
        ("tcp-request content set-tos 256", Error, "'256' is not a number between 0 and 255", "256"),
        ("tcp-request content reject now", Error, "unexpected 'now'", "now"),
        ("tcp-request content reject if nosuch", Error, "there is no ACL 'nosuch'", "nosuch"),
        ("tcp-response content accept", Error, "'tcp-response content' is not allowed in 'frontend'", "tcp-response content"),
        ("use_backend c if TRUE", Error, "there is no backend 'c'", "c"),
        ("use_backend b when TRUE", Error, "unexpected 'when' after the name of the backend", "when"),
        ("stick-table type ipv5 size 1k", Error, "there is no type of keys 'ipv5'", "ipv5"),
        (
            "stick-table type ip size 1k store gpc0,conrate(3s)",
            Error,
            "'conrate' cannot be stored: there is no such data type",
            "conrate(3s)",
        ),
        ("stick-table type ip size 1k peers p", Unsupported, "HAProxy's exchange of tables with peers is not supported here yet", "peers"),
        ("stick on src", Warning, "'stick' is ignored: frontend 'f' has no serving half", "stick"),
        (
            "tcp-request content capture req.len len 5",
            Warning,
            "this rule captures 'req.len' without waiting for the client's data, which may come later",
            "tcp-request content",
        ),
        (
            "tcp-request content accept\n tcp-request connection accept",
            Warning,
            "this rule stands after 'tcp-request content' rules, but is evaluated before them",
            "tcp-request connection",
        ),
    ];
    for (line, class, message, point) in cases {
        let found = said(&in_frontend(&format!(" {line}")));
        assert_eq!(found, [(class, message.to_owned(), point.to_owned())], "{line}");
    }
}

#[test]
fn mistakes_of_backends_are_shown_at_their_words() {
    let cases = [
        ("stick onn src", "'stick' does not know 'onn'", "onn"),
        ("stick on", "'stick on' needs an expression", "on"),
        ("stick on src table", "the name of a table is missing after 'table'", "table"),
        ("stick on bool(1)", "'bool(1)' gives a boolean, but the keys of table 'b' are of type ip", "bool(1)"),
        ("use-server s", "'use-server' needs a condition", "s"),
        ("use-server u if TRUE", "this backend has no server 'u'", "u"),
        ("force-persist", "'force-persist' needs a condition", "force-persist"),
        ("tcp-request connection accept", "'tcp-request connection' is not allowed in 'backend'", "tcp-request connection"),
        ("tcp-request content capture src len 5", "backend 'b' has no listening half, which captured values belong to", "capture"),
        ("stick-table type ip size 1k", "backend 'b' has a 'stick-table' already", "stick-table"),
        ("balance hash", "'balance hash' needs an expression", "hash"),
        ("balance hash src extra", "unexpected 'extra' after the expression of 'balance hash'", "extra"),
    ];
    for (line, message, point) in cases {
        let found = said(&in_backend(&format!(" {line}")));
        assert_eq!(found, [(Class::Error, message.to_owned(), point.to_owned())], "{line}");
    }
}

#[test]
fn near_names_are_proposed() {
    let help = |text: String| findings(&text).iter().filter_map(|finding| finding.help.clone()).collect::<Vec<_>>();
    assert_eq!(help(in_frontend(" tcp-request content rejct")), ["did you mean 'reject'?"]);
    assert_eq!(help(in_frontend(" tcp-request content set-nise 5")), ["did you mean 'set-nice'?"]);
    assert_eq!(help(in_frontend(" stick-table tpye ip size 1k")), ["did you mean 'type'?"]);
    assert_eq!(help(in_frontend(" stick-table type ip size 1k store con_cur")), ["did you mean 'conn_cur'?"]);
    assert_eq!(help(in_backend(" stick on src table bb")), ["did you mean 'b'?"]);
    assert_eq!(help(in_backend(" use-server ss if TRUE")), ["did you mean 's'?"]);
}

/// The customer's configuration to the letter, with blanks after commas within parentheses, which HAProxy itself refuses.
#[test]
fn the_first_document_loads_without_a_finding() {
    let text = "global  \n  log 127.0.0.1 local3 info \n  daemon  \n  maxconn 1024000\n\ndefaults  \n  log global \n  mode tcp \n  option \
                tcplog \n  #option dontlognull  \n  timeout connect 10000 \n  # timeout > mqtt\u{306e}keepalive * 1.2  \n  timeout client \
                240s  \n  timeout server 240s \n  maxconn 20000\n\nbackend mqtt_backend\n  mode tcp\n  stick-table type string len 32 \
                size 100k expire 30m\n  stick on req.payload(0,0), mqtt_field_value(connect, client_identifier)\n  server emqx1 \
                emqx1-cluster.emqx.io:1883\n  server emqx2 emqx2-cluster.emqx.io:1883\n  server emqx3 emqx3-cluster.emqx.io:1883\n\n\
                frontend mqtt_servers\n  bind *:1883\n  mode tcp\n  tcp-request inspect-delay 10s\n  tcp-request content reject unless { \
                req.payload(0,0), mqtt_is_valid }\n  default_backend mqtt_backend\n";
    let loaded = load(text);
    assert!(loaded.diagnostics.list().is_empty(), "{:#?}", loaded.diagnostics);
    let model = loaded.model.expect("valid");
    let (front, back) = (&model.frontends[0].rules, &model.backends[0].rules);
    assert_eq!(front.inspect_delay, Some(Milliseconds(10_000)));
    let condition = front.content[0].condition.as_ref().expect("a condition");
    assert_eq!((&front.content[0].action, condition.negated), (&Action::Reject, true));
    assert_eq!(&*condition.alternatives[0][0].acl.tests[0].expression.source, "req.payload(0,0),mqtt_is_valid");
    assert_eq!(&*back.stick_request[0].action.key.source, "req.payload(0,0),mqtt_field_value(connect,client_identifier)");
    let table = &model.tables[0];
    let expected = ("mqtt_backend", KeyType::String { length: 32 }, 102_400, Some(Milliseconds(1_800_000)));
    assert_eq!((&*table.name, table.key, table.size, table.expire), expected);
    let without_blanks = load(&text.replace("), mqtt", "),mqtt").replace("connect, ", "connect,")).model.expect("valid");
    assert_eq!((&model.backends, &model.tables), (&without_blanks.backends, &without_blanks.tables));
}
