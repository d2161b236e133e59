//! The compiler as its callers use it: lines of a frontend in, programs and findings out.

use std::net::IpAddr;

use ringmain_model::pattern::{MatchMethod, Pattern};
use ringmain_model::rule::Condition;
use ringmain_model::{Argument, BackendId, SampleType, ServerId, TableId};
use ringmain_policy::expression::fetch_entry;

use proptest::prelude::*;

use super::*;
use crate::config::check::Names as HostNames;
use crate::config::diagnostic::Class;
use crate::config::draft::{SectionKind, Statement};
use crate::config::haproxy;

/// A machine whose only host is this one.
pub(super) struct OneHost;

impl HostNames for OneHost {
    fn host(&self, name: &str) -> Vec<IpAddr> {
        if name == "localhost" { vec![IpAddr::from([127, 0, 0, 1])] } else { Vec::new() }
    }

    fn user(&self, _: &str) -> Option<u32> {
        None
    }

    fn group(&self, _: &str) -> Option<u32> {
        None
    }
}

/// A finding: its class, the part of the line it marks, its message and its help.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub class: Class,
    pub marked: String,
    pub message: String,
    pub help: Option<String>,
}

/// Compiles with the names of `frontend f1` and `backend b1`, which has server `s1` and a table. The last line is for the caller; `acl` lines
/// before it are known.
pub(super) fn with_lines<T>(
    lines: &str,
    compile: impl FnOnce(&mut Compiler<'_, '_>, &Statement) -> T,
) -> (T, Vec<Finding>, Diagnostics, Sources) {
    let mut sources = Sources::default();
    let source = sources.add("a.cfg", &format!("frontend f1\n{lines}\n"));
    let mut environment = Environment::default();
    environment.set("NAME", "value");
    let mut diagnostics = Diagnostics::default();
    let sections = haproxy::parse(source, &sources, &mut environment, &mut diagnostics);
    let mut statements: Vec<Statement> = sections.into_iter().flat_map(|section| section.statements).collect();
    let last = statements.pop().unwrap_or_else(|| Statement {
        words: vec![Word { text: String::new(), span: Span { source, start: 12, end: 12 } }],
        negation: None,
        span: Span { source, start: 12, end: 12 },
    });
    let acl = |statement: Statement| statement.words.split_first().map(|(name, words)| RuleLine { span: name.span, words: words.to_vec() });
    let acls: Vec<RuleLine> = statements.into_iter().filter_map(acl).collect();
    let proxies = proxies(last.span);
    let mut names = Names::new(&proxies);
    names.add_table("b1".into(), TableId::new(0));
    let context = Context { descriptor_limit: 1000, cpu_count: 1, host_name: "host", names: &OneHost };
    let mut compilation = Compilation::new(names, None, &sources, &environment, &context);
    let made = compilation.proxy(&proxies[0], &acls, &mut diagnostics, |compiler| compile(compiler, &last));
    let text = sources.get(source).map(|source| source.text.clone()).unwrap_or_default();
    let findings = diagnostics.list().iter().map(|finding| Finding {
        class: finding.class,
        marked: finding.span.and_then(|span| text.get(span.start as usize..span.end as usize)).unwrap_or("?").to_owned(),
        message: finding.message.clone(),
        help: finding.help.clone(),
    });
    (made, findings.collect(), diagnostics.clone(), sources)
}

fn proxies(span: Span) -> [ProxyBuilder; 2] {
    let front = ProxyBuilder::new(SectionKind::Frontend, "f1".into(), span, None);
    let mut back = ProxyBuilder::new(SectionKind::Backend, "b1".into(), span, None);
    let mut server = back.default_server.clone();
    server.name = Some(Word { text: "s1".into(), span });
    back.servers.push(server);
    [front, back]
}

const EVERYTHING: ringmain_model::Needs = Site::RESPONSE.available.and(Site::SERVER_CHOICE.available).and(Site::LOG.available);

fn expression(text: &str) -> (Option<Expression>, Vec<Finding>) {
    let (made, findings, ..) = with_lines(text, |compiler, line| {
        let mut words = line.words.as_slice();
        compiler.expression(&mut words, Site { name: "everywhere", available: EVERYTHING }).filter(|_| words.is_empty())
    });
    (made, findings)
}

fn compiled(text: &str) -> Expression {
    let (made, findings) = expression(text);
    made.unwrap_or_else(|| panic!("{text}: {findings:?}"))
}

fn condition(text: &str) -> (Option<Condition>, Vec<Finding>) {
    let (made, findings, ..) = with_lines(text, |compiler, line| compiler.condition(&line.words, Site::FRONTEND_CONTENT));
    (made, findings)
}

/// The only finding: class, what is marked, message.
fn only(findings: &[Finding]) -> (Class, &str, &str) {
    let [finding] = findings else { panic!("{findings:?}") };
    (finding.class, &finding.marked, &finding.message)
}

#[test]
fn names_become_ids_and_types_follow_the_converters() {
    let be_conn = compiled("be_conn(b1)");
    assert_eq!(be_conn.fetch.arguments.as_ref(), [Argument::Backend(BackendId::new(0))]);
    assert_eq!(fetch_entry("be_conn").map(|(index, _)| index), Some(be_conn.fetch.entry));
    assert_eq!(compiled("srv_conn(b1/s1)").fetch.arguments.as_ref(), [Argument::Server(ServerId::new(0))]);
    assert_eq!(compiled("str(abc),length").output, SampleType::Integer);
    assert_eq!(compiled("str(abc)").output, SampleType::String);
    assert_eq!(compiled("env(NAME)").fetch.arguments.as_ref(), [Argument::Text("value".into())]);
    assert_eq!(compiled("var(txn.a)").output, SampleType::Any);
}

#[test]
fn blanks_after_commas_belong_to_the_expression() {
    let client = compiled("req.payload(0,0), mqtt_field_value(connect, client_identifier)");
    assert_eq!(client, compiled("req.payload(0,0),mqtt_field_value(connect,client_identifier)"));
    let joined = compiled("req.payload(0, 16), field(1, :, 2), concat(a, txn.b)");
    assert_eq!(joined, compiled("req.payload(0,16),field(1,:,2),concat(a,txn.b)"));
    assert_eq!(&*joined.source, "req.payload(0,16),field(1,:,2),concat(a,txn.b)");
    assert_eq!(&*compiled("str(abc) length").source, "str(abc),length", "HAProxy takes a word that names a converter");
    assert_eq!(&*compiled("str(abc),,length,").source, "str(abc),length");
    let (made, findings, ..) = with_lines("x str(abc), length if TRUE", |compiler, line| {
        let mut words = &line.words[1..];
        let expression = compiler.expression(&mut words, Site::LOG);
        (expression.map(|expression| expression.source), words.len())
    });
    assert_eq!((made.0.as_deref(), made.1, findings.len()), (Some("str(abc),length"), 2, 0));
}

#[test]
fn mistakes_are_marked_where_they_are() {
    let mistake = |text: &str| {
        let (made, findings) = expression(text);
        assert!(made.is_none(), "{text}");
        let (class, marked, message) = only(&findings);
        assert_eq!(class, Class::Error, "{message}");
        (marked.to_owned(), message.to_owned())
    };
    assert_eq!(mistake("be_conn(b2)"), ("b2".into(), "there is no backend 'b2'".into()));
    assert_eq!(mistake("be_conn"), ("be_conn".into(), "'be_conn' is about a backend, and frontend 'f1' is none".into()));
    assert_eq!(mistake("int(1x)").0, "1x");
    assert_eq!(mistake("int(1,2)"), ("2".into(), "fetch 'int' takes one argument".into()));
    assert_eq!(mistake("str(abc),length(5)").0, "5");
    assert_eq!(mistake("str(abc),lenght"), ("lenght".into(), "there is no converter 'lenght'".into()));
    assert_eq!(mistake("srcc"), ("srcc".into(), "there is no fetch 'srcc'".into()));
    assert_eq!(mistake("str(abc").0, "(");
    assert_eq!(mistake("str(a b)").0, "(", "a blank that is no part of an argument");
    assert_eq!(mistake("str(abc);").0, ";");
    assert_eq!(mistake("'str(a\\,\"b)'").0, "\"");
    assert_eq!(mistake("var(a)").0, "a");
    assert_eq!(mistake("var(txn.a-b)").1, "'-' cannot be part of a variable's name");
    assert_eq!(mistake("str(abc), length, foo(x)").0, "foo");
    assert_eq!(mistake("\"str(abc),length(  5 )\"").0, "  5 ");
}

#[test]
fn slips_are_guessed_and_what_haproxy_has_is_named() {
    let help = |text: &str| expression(text).1.remove(0).help;
    assert_eq!(help("srcc").as_deref(), Some("did you mean 'src'?"));
    assert_eq!(help("str(a),lenght").as_deref(), Some("did you mean 'length'?"));
    assert_eq!(help("length").as_deref(), Some("'length' is a converter: write a fetch and a comma before it"));
    assert_eq!(help("src,src").as_deref(), Some("'src' is a fetch: it can only be the first"));
    assert_eq!(help("str_beg(a)").as_deref(), Some("write 'str -m beg'"));
    assert_eq!(help("be_conn(b2)").as_deref(), Some("did you mean 'b1'?"));
    let (_, findings) = expression("ssl_fc_cipher");
    assert_eq!(only(&findings), (Class::Unsupported, "ssl_fc_cipher", "HAProxy's fetch 'ssl_fc_cipher' is not supported here yet"));
    let (_, findings) = expression("str(a),aes_gcm_dec(128,a,b,c)");
    assert_eq!(only(&findings).0, Class::Unsupported);
    assert_eq!(only(&findings).1, "aes_gcm_dec");
}

#[test]
fn what_cannot_be_seen_is_an_error_in_an_expression_and_a_warning_in_a_condition() {
    let (made, findings, ..) = with_lines("req.len", |compiler, line| {
        let mut words = line.words.as_slice();
        compiler.expression(&mut words, Site::CONNECTION)
    });
    assert!(made.is_none());
    let message = "'req.len' looks at the client's data, which cannot be used in tcp-request connection";
    assert_eq!(only(&findings), (Class::Error, "req.len", message));
    let (made, findings, ..) = with_lines("if { req.len gt 0 }", |compiler, line| compiler.condition(&line.words, Site::CONNECTION));
    assert!(made.is_some());
    assert_eq!((only(&findings).0, only(&findings).1), (Class::Warning, "{"));
}

#[test]
fn lines_of_one_name_are_alternatives() {
    let (made, findings, ..) =
        with_lines("acl a src 10.0.0.0/8\nacl b dst_port 80\nacl a src 192.168.0.0/16\nif a !b", |compiler, line| {
            compiler.condition(&line.words, Site::CONNECTION)
        });
    assert_eq!(findings, []);
    let condition = made.expect("a condition");
    assert_eq!(&*condition.source, "if a !b");
    let [terms] = condition.alternatives.as_slice() else { panic!("{condition:?}") };
    assert_eq!(terms.iter().map(|term| (term.negated, term.acl.tests.len())).collect::<Vec<_>>(), [(false, 2), (true, 1)]);
    assert_eq!(&*terms[0].acl.tests[1].source, "src 192.168.0.0/16");
}

#[test]
fn conditions_are_alternatives_of_terms() {
    let shape = |text: &str| {
        let (made, findings) = condition(text);
        let condition = made.unwrap_or_else(|| panic!("{text}: {findings:?}"));
        let alternatives = condition.alternatives.iter().map(|terms| terms.iter().map(|term| term.negated).collect::<Vec<_>>());
        (condition.negated, alternatives.collect::<Vec<_>>())
    };
    assert_eq!(shape("if TRUE"), (false, vec![vec![false]]));
    assert_eq!(shape("unless TRUE !FALSE or { src 1.1.1.1 } || !{ src ::1 }"), (true, vec![vec![false, true], vec![false], vec![true]]));
    assert_eq!(shape("if ! TRUE !!FALSE"), (false, vec![vec![true, false]]));
    assert_eq!(shape("if { str(a), length 1 }"), (false, vec![vec![false]]));
}

#[test]
fn mistakes_in_conditions_are_marked() {
    let mistake = |text: &str| {
        let (made, findings) = condition(text);
        assert!(made.is_none(), "{text}");
        let (_, marked, message) = only(&findings);
        (marked.to_owned(), message.to_owned())
    };
    assert_eq!(mistake("if nosuch"), ("nosuch".into(), "there is no ACL 'nosuch'".into()));
    assert_eq!(mistake("if TRUE !nosuch"), ("nosuch".into(), "there is no ACL 'nosuch'".into()));
    assert_eq!(mistake("when TRUE").0, "when");
    assert_eq!(mistake("if"), ("if".into(), "a condition is missing after 'if'".into()));
    assert_eq!(mistake("if TRUE or").0, "or");
    assert_eq!(mistake("if or TRUE").0, "or");
    assert_eq!(mistake("if TRUE !").0, "!");
    assert_eq!(mistake("if { src 1.1.1.1").0, "{");
    assert_eq!(mistake("if { src 1.1.1.300 }").0, "1.1.1.300");
    assert_eq!(mistake("if { dst_port 80 5:1 }").0, "5:1");
    assert_eq!(mistake("if { }").0, "{");
    assert_eq!(mistake("if { bin(00) 00 }").1, "'bin(00)' gives binary data: how to compare it must be said");
    assert_eq!(mistake("if { bin(00) -m ip 1.1.1.1 }").1, "'bin(00)' gives binary data, which '-m ip' cannot compare");
    assert_eq!(mistake("if { str(a) -m reg (a)\\1 }").0, "(a)\\1");
    assert_eq!(mistake("if { src -x 1.1.1.1 }").0, "-x");
    assert_eq!(mistake("if { str(a) -m rge a }").0, "rge");
    assert_eq!(mistake("if HTTP"), ("HTTP".into(), "HAProxy's predefined ACL 'HTTP' is not supported here yet".into()));
    let (_, findings) = condition("if TRUE and FALSE");
    assert_eq!(findings[0].help.as_deref(), Some("conditions next to each other are joined by 'and' already"));
    let (_, findings) = condition("if {src 1.1.1.1 }");
    assert!(findings.iter().any(|finding| finding.help.as_deref() == Some("put a blank behind '{' and before '}'")), "{findings:?}");
}

#[test]
fn patterns_are_read_by_the_method_of_the_type() {
    let patterns = |criterion: &str| {
        let (made, findings) = condition(&format!("if {{ {criterion} }}"));
        let condition = made.unwrap_or_else(|| panic!("{criterion}: {findings:?}"));
        condition.alternatives[0][0].acl.tests[0].patterns.clone()
    };
    assert_eq!(patterns("dst_port 80 gt 1024").list(), [Pattern::Range(80, 80), Pattern::Range(1025, i64::MAX)]);
    assert_eq!(patterns("always_true").method, MatchMethod::Boolean);
    assert_eq!(patterns("payload(0,1) 0a").method, MatchMethod::Binary);
    assert_eq!(patterns("str(a) -i B").list(), [Pattern::Bytes(b"B".as_slice().into())]);
    assert!(patterns("str(a) -i B").ignore_case);
    assert_eq!(patterns("str(a) -m len 5:").list(), [Pattern::Range(5, i64::MAX)]);
    assert_eq!(patterns("str(a) -- -i").list(), [Pattern::Bytes(b"-i".as_slice().into())]);
    assert_eq!(patterns("str(a) -m found").method, MatchMethod::Found);
}

#[test]
fn pattern_files_and_maps_are_read_at_load() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let list = file("list", "# networks\n10.0.0.0/8\n\n 192.168.0.0/16\n");
    let (made, _) = condition(&format!("if {{ src -f {list} 172.16.0.0/12 }}"));
    assert_eq!(made.expect("a condition").alternatives[0][0].acl.tests[0].patterns.list().len(), 3);
    let keyed = file("keyed", "10.0.0.0/8 office\n");
    assert!(condition(&format!("if {{ src -M -f {keyed} }}")).0.is_some());
    let (made, findings) = condition(&format!("if {{ src -f {keyed} }}"));
    assert!(made.is_none() && findings[0].message.contains("keyed:1: '10.0.0.0/8 office' has a mask"), "{findings:?}");
    let (made, findings) = condition("if { src -f /nonexistent/file }");
    assert!(made.is_none());
    assert_eq!((only(&findings).1, only(&findings).2), ("/nonexistent/file", "cannot read '/nonexistent/file': No such file or directory"));
}

#[test]
fn formats_hold_expressions() {
    let format = |text: &str| {
        let (made, findings, ..) = with_lines(&format!("log-format {text}"), |compiler, line| compiler.format(&line.words[1], Site::LOG));
        (made, findings)
    };
    let (made, findings) = format("'%[src] %{+Q}[str(a]b),length]/%ci'");
    assert_eq!(findings, []);
    let made = made.expect("a format");
    let sources: Vec<&str> = made.expressions().map(|expression| &*expression.source).collect();
    assert_eq!(sources, ["src", "str(a]b),length"]);
    let mistake = |text: &str| {
        let (made, findings) = format(text);
        assert!(made.is_none(), "{text}");
        only(&findings).1.to_owned()
    };
    assert_eq!(mistake("'a %[srcc] b'"), "srcc");
    assert_eq!(mistake("'a %[int(x)] b'"), "x");
    assert_eq!(mistake("'%[req.len] b'"), "req.len");
    assert_eq!(mistake("\"%[str(a) x] b\""), " ");
    assert_eq!(mistake("%[src"), "%[src");
}

/// Parts that lines are made of: names, punctuation, patterns and rubbish.
const PARTS: &[&str] = &[
    "src",
    "str(",
    "int(",
    "be_conn(",
    "req.payload(0,",
    "length",
    "concat(",
    "map(",
    "regsub(",
    "var(txn.",
    "ipmask(",
    "word(1,",
    "b1",
    "s1",
    "b1/s1",
    "a",
    "1",
    "-1",
    "24",
    "99999999999999999999",
    ")",
    "(",
    ",",
    ",,",
    " ",
    " ",
    "\\ ",
    "\"",
    "'",
    "]",
    "[",
    "%[",
    "{",
    "}",
    " { ",
    " } ",
    "!",
    "or",
    " or ",
    "||",
    "if ",
    "unless ",
    "TRUE",
    "HTTP",
    "-m ",
    "-m str ",
    "-m reg ",
    "-f ",
    "/dev/null",
    "-i ",
    "-n ",
    "-- ",
    "-u ",
    "gt ",
    "1:5",
    ":",
    "1.2.3.4",
    "::1/64",
    "/24",
    "0a",
    "^a(",
    "\\1",
    "%",
    "%{+Q}",
    "%ci",
    "é",
    "$NAME",
    "\t",
    "#",
];

fn lines() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(PARTS), 1..24).prop_map(|parts| parts.concat())
}

/// What a compile of any text must be: something, or an error; with all findings on its line.
fn check_findings(made: bool, diagnostics: &Diagnostics, sources: &Sources) -> Result<(), TestCaseError> {
    prop_assert!(made || diagnostics.failed(), "nothing was made and nothing was reported");
    for finding in diagnostics.list() {
        let Some(span) = finding.span else { continue };
        let text = &sources.get(span.source).expect("a known text").text;
        prop_assert!(text.get(span.start as usize..span.end as usize).is_some(), "{finding:?}");
        prop_assert!(text.starts_with("frontend f1\n") && span.start >= 12, "{finding:?}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_expression_is_made_or_reported(line in lines()) {
        let (made, _, diagnostics, sources) = with_lines(&line, |compiler, statement| {
            let mut words = statement.words.as_slice();
            compiler.expression(&mut words, Site::LOG).is_some()
        });
        check_findings(made, &diagnostics, &sources)?;
    }

    #[test]
    fn any_condition_is_made_or_reported(line in lines()) {
        let (made, _, diagnostics, sources) = with_lines(&format!("if {line}"), |compiler, statement| {
            compiler.condition(&statement.words, Site::FRONTEND_CONTENT).is_some()
        });
        check_findings(made, &diagnostics, &sources)?;
    }

    #[test]
    fn any_acl_is_made_or_reported(line in lines()) {
        let (made, _, diagnostics, sources) = with_lines(&format!("acl x {line}\nif x"), |compiler, statement| {
            compiler.condition(&statement.words, Site::RESPONSE).is_some()
        });
        check_findings(made, &diagnostics, &sources)?;
    }

    #[test]
    fn any_format_is_made_or_reported(line in lines()) {
        let (made, _, diagnostics, sources) = with_lines(&format!("x \"{}\"", line.replace(['"', '$'], "")), |compiler, statement| {
            statement.words.get(1).is_none_or(|word| compiler.format(word, Site::LOG).is_some())
        });
        check_findings(made, &diagnostics, &sources)?;
    }

    /// What was compiled and is written again as its source compiles to the same.
    #[test]
    fn sources_compile_to_the_same(line in lines()) {
        let compile = |line: &str| with_lines(line, |compiler, statement| compiler.condition(&statement.words, Site::RESPONSE)).0;
        if let Some(first) = compile(&format!("if {line}")) {
            let again = compile(&first.source);
            prop_assert_eq!(again.as_ref().map(|condition| &condition.alternatives), Some(&first.alternatives), "{}", first.source);
        }
    }
}
