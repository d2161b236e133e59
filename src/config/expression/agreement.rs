//! HAProxy 2.6.12 and this compiler read the same lines and must agree on which are valid.
//!
//! The lines and HAProxy's verdicts are in `agreement.cases`. `STRICTER` and `LAXER` say where and why this compiler differs on purpose. What
//! is not supported here yet is left out of the comparison.

use std::io::Write;
use std::process::{Command, Stdio};

use super::tests::{Finding, with_lines};
use super::*;
use crate::config::diagnostic::Class;
use crate::config::draft::Statement;

const CASES: &str = include_str!("agreement.cases");

/// The file around a line, for HAProxy.
const FILE: &str = "defaults\n mode tcp\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n\
    backend b1\n server s1 127.0.0.1:1\n stick-table type ip size 10 store gpc0,conn_cnt\n\
    frontend f1\n log 127.0.0.1 local0\n bind 127.0.0.1:9999\n default_backend b1\n ";

/// One in so many lines is given to the real HAProxy in an ordinary run. `RINGMAIN_COMPARE=all` gives it all of them.
const SAMPLING: usize = 16;

/// What HAProxy accepts, or accepts without a warning, and this compiler does not, and why.
const STRICTER: &[(&str, &str)] = &[
    ("acl a req.len ne 5", "the manual has no 'ne'"),
    ("acl a req.len ge", "compared with nothing"),
    ("tcp-request content reject if { int(5) gt }", "compared with nothing"),
    ("acl a str(a) -m reg (?=a)", "PCRE looks around"),
    ("acl a req.payload(0,0) upper", "compared with nothing, which HAProxy warns about elsewhere"),
    ("acl a req.payload(-1,0) -m bin 0a", "a negative offset, for which there is never a value"),
    ("acl a sc_conn_cnt(3) gt 1", "HAProxy finds out at run time"),
    ("tcp-request content reject if", "an empty condition"),
    ("tcp-request content reject if !", "an empty condition"),
    ("tcp-request content reject if TRUE or", "an empty alternative"),
    ("tcp-request content reject if or TRUE", "an empty alternative"),
    ("tcp-request content reject if TRUE or or FALSE", "an empty alternative"),
    ("tcp-request content reject if TRUE ! or FALSE", "nothing to negate"),
    ("use_backend b1 if { src 10.0.0.0/8 } or", "an empty alternative"),
];

/// What HAProxy refuses and this compiler does not, and why.
const LAXER: &[(&str, &str)] = &[];

/// Verdict and line of each case.
fn cases() -> impl Iterator<Item = (char, &'static str)> {
    CASES.lines().filter_map(|line| Some((line.chars().next()?, line.get(1..)?))).filter(|(verdict, _)| matches!(verdict, '+' | '!' | '-'))
}

/// Understands a line as the rules do.
fn compile(compiler: &mut Compiler<'_, '_>, line: &Statement) -> bool {
    let words = line.words.as_slice();
    let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    match text.as_slice() {
        ["acl", ..] => {
            compiler.define_acls(&[RuleLine { span: line.span, words: words[1..].to_vec() }]);
            true
        }
        ["log-format", _] => compiler.format(&words[1], Site::LOG).is_some(),
        ["use_backend", _, ..] => compiler.optional_condition(&words[2..], Site::ROUTE).is_some(),
        ["tcp-request", place, "reject", ..] => compiler.optional_condition(&words[3..], site(place)).is_some(),
        ["tcp-request", place, "track-sc0", ..] => action(compiler, &words[3..], site(place)),
        ["tcp-request", place, set, ..] if set.starts_with("set-var(") => action(compiler, &words[3..], site(place)),
        _ => panic!("a line of another kind: {text:?}"),
    }
}

fn site(place: &str) -> Site {
    if place == "connection" { Site::CONNECTION } else { Site::FRONTEND_CONTENT }
}

fn action(compiler: &mut Compiler<'_, '_>, mut words: &[Word], site: Site) -> bool {
    let expression = compiler.expression(&mut words, site);
    expression.is_some() && compiler.optional_condition(words, site).is_some()
}

fn ours(line: &str) -> (char, Vec<Finding>) {
    let (complete, findings, ..) = with_lines(line, compile);
    let class = |class: Class| findings.iter().any(|finding| finding.class == class);
    let verdict = match () {
        () if class(Class::Unsupported) => '?',
        () if class(Class::Error) || !complete => '-',
        () if class(Class::Warning) => '!',
        () => '+',
    };
    (verdict, findings)
}

/// HAProxy's verdict; `None` when it is not installed.
fn haproxys(line: &str) -> Option<char> {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(format!("{FILE}{line}\n").as_bytes()).expect("written");
    let output = Command::new("haproxy").arg("-c").arg("-f").arg(file.path()).stdin(Stdio::null()).output().ok()?;
    Some(match (output.status.success(), String::from_utf8_lossy(&output.stderr).contains("[WARNING]")) {
        (false, _) => '-',
        (true, true) => '!',
        (true, false) => '+',
    })
}

#[test]
fn verdicts_are_haproxys() {
    let excused = |list: &[(&str, &str)], line: &str| list.iter().any(|(known, _)| *known == line);
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for (theirs, line) in cases() {
        let (verdict, findings) = ours(line);
        compared += usize::from(verdict != '?');
        let agreed = match (theirs, verdict) {
            (_, '?') => true,
            (theirs, '-') if theirs != '-' => excused(STRICTER, line),
            ('+', '!') => excused(STRICTER, line),
            ('-', '+' | '!') => excused(LAXER, line),
            (theirs, verdict) => theirs == verdict,
        };
        if !agreed {
            let messages: Vec<_> = findings.iter().map(|finding| format!("{} [{}]", finding.message, finding.marked)).collect();
            wrong.push(format!("HAProxy {theirs}, ours {verdict}: {line}    {messages:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared >= 150, "{compared}");
}

#[test]
fn differences_are_differences() {
    for (line, why) in STRICTER {
        assert!(cases().any(|(theirs, case)| case == *line && theirs != '-') && ours(line).0 != '+', "{line}: {why}");
    }
    for (line, why) in LAXER {
        assert!(cases().any(|(theirs, case)| case == *line && theirs == '-') && ours(line).0 != '-', "{line}: {why}");
    }
}

/// The recorded verdicts are those of the HAProxy that is installed.
#[test]
fn recorded_verdicts_are_true() {
    let all = std::env::var_os("RINGMAIN_COMPARE").is_some_and(|value| value == "all");
    let mut wrong = Vec::new();
    for (recorded, line) in cases().step_by(if all { 1 } else { SAMPLING }) {
        match haproxys(line) {
            Some(found) if found != recorded => wrong.push(format!("{found} not {recorded}: {line}")),
            Some(_) => {}
            None => return eprintln!("skipped: there is no haproxy to compare with"),
        }
    }
    assert!(wrong.is_empty(), "HAProxy sees these differently:\n{}", wrong.join("\n"));
}
