//! HAProxy 2.6.12 and this checker read the same small configurations and must agree on which are valid.
//!
//! The cases and HAProxy's verdicts are in `agreement.cases`. Where this checker is stricter on purpose, `STRICTER` says
//! why; nothing is laxer.

use std::io::Write;
use std::process::{Command, Stdio};

use super::tests::load;
use crate::config::diagnostic::Class;

const CASES: &str = include_str!("agreement.cases");
const PRE: &str = "defaults\n mode tcp\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n";
const LISTEN: &str = "listen l\n bind 127.0.0.1:9999\n server z 127.0.0.1:1";

/// What HAProxy accepts and this checker does not: place, line, and why.
const STRICTER: &[(&str, &str, &str)] = &[
    ("global", "uid x", "HAProxy warns and keeps root's rights"),
    ("global", "maxconn -5", "a negative limit"),
    ("listen-lines", "maxconn -1", "a negative limit"),
    ("listen-lines", "maxconn 99999999999", "HAProxy wraps around to 1215752191"),
    ("listen-lines", "retries -1", "a negative count"),
    ("listen-lines", "option redispatch x", "HAProxy takes this for 0 and switches redispatch off"),
    ("server", "*:80", "not supported yet"),
    ("server-option", "port 70000", "HAProxy keeps the lower 16 bits"),
    ("server-option", "maxconn -1", "a negative limit"),
    ("bind-option", "interface a-name-longer-than-the-kernel-allows", "the bind fails when HAProxy starts"),
    ("frontend-rule", "tcp-request connection accept if", "a condition without a term never holds"),
    ("frontend-rule", "tcp-request connection accept unless", "a condition without a term always holds"),
    ("frontend-rule", "tcp-request content reject if TRUE or", "an alternative without a term"),
    ("frontend-rule", "tcp-request content reject if or TRUE", "an alternative without a term"),
    ("frontend-rule", "tcp-request connection sc-inc-gpc(100,0)", "no array is that long"),
    ("frontend-rule", "tcp-request connection sc-set-gpt0(0) -1", "a negative tag"),
    ("frontend-rule", "tcp-request connection sc-set-gpt0(0)", "HAProxy takes the missing value for 0"),
    ("frontend-rule", "tcp-request connection sc-set-gpt(0,0) 4294967296", "HAProxy keeps the lower 32 bits"),
    ("frontend-rule", "tcp-request connection set-src req.len", "no byte was received yet"),
    ("frontend-rule", "tcp-request connection set-mark -1", "a negative mark"),
    ("frontend-rule", "tcp-request connection set-mark 4294967296", "HAProxy keeps the lower 32 bits"),
    ("frontend-rule", "tcp-request connection set-tos 256", "HAProxy keeps the lower 8 bits"),
    ("frontend-rule", "tcp-request connection expect-netscaler-cip layer4", "not supported yet"),
    ("frontend-rule", "tcp-request content set-priority-class int(5)", "not supported yet"),
    ("frontend-rule", "tcp-request content set-priority-offset int(5)", "not supported yet"),
    ("frontend-rule", "tcp-request content switch-mode http", "not supported yet"),
    ("backend-rule", "use-server s1 if", "a condition without a term never holds"),
    ("backend-rule", "force-persist if", "a condition without a term never holds"),
    ("stick-table", "stick-table type string len -5 size 1k", "a negative length"),
    ("stick-table", "stick-table type string len 100000 size 1k", "a bound on the memory of a key"),
    ("stick-table", "stick-table type ip size 1k srvkey addr", "not supported yet"),
    ("stick-table", "stick-table type ip size 1k store gpc0_rate(0)", "a rate without a period"),
    ("stick-table", "stick-table type ip size 1k store gpc_rate(5,0)", "a rate without a period"),
    ("stick-table", "stick-table type ip size 1k store gpc0_rate(10s,5)", "HAProxy ignores the second argument"),
    ("peers", "table t type ip size 1k| table t type ip size 2k", "one of them could never be named"),
    ("peers", "table t type ip size 1k nopurge srvkey addr", "not supported yet"),
    ("process-variable", "set-var proc.a,ifexists int(5)", "HAProxy takes the condition for a part of the name"),
];

/// One in so many cases is given to the real HAProxy in an ordinary run. `RINGMAIN_COMPARE=all` gives it all of them.
const SAMPLING: usize = 16;

/// A small configuration.
struct Case {
    place: &'static str,
    text: String,
    valid: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let (mut place, mut before, mut after) = ("", "", "");
    for line in CASES.lines() {
        if let Some(header) = line.strip_prefix("@ ") {
            let (name, template) = header.split_once(' ').expect("a place has a name and a template");
            place = name;
            (before, after) = template.split_once('^').expect("a template has two parts");
        } else if let Some(case) = line.strip_prefix(['+', '-']) {
            cases.push(Case { place, text: file(before, after, case), valid: line.starts_with('+') });
        }
    }
    cases
}

fn file(before: &str, after: &str, line: &str) -> String {
    let part = |template: &str| template.replace('%', line).replace('|', "\n");
    format!("{}{PRE}{LISTEN}{}\n", part(before), part(after))
}

/// HAProxy's verdict; `None` when it is not installed.
fn haproxy_accepts(text: &str) -> Option<bool> {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(text.as_bytes()).expect("written");
    let mut command = Command::new("haproxy");
    command.args(["-c", "-q", "-f"]).arg(file.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Some(command.status().ok()?.success())
}

#[test]
fn verdicts_are_haproxys() {
    let cases = cases();
    let mut wrong = Vec::new();
    for case in &cases {
        let loaded = load(&case.text);
        if loaded.model.is_some() != case.valid {
            let bad = loaded.diagnostics.list().iter().filter(|finding| finding.class != Class::Warning);
            let ours: Vec<_> = bad.map(|finding| &finding.message).collect();
            wrong.push(format!("{}: HAProxy says {}, ours: {ours:?}\n{}", case.place, case.valid, case.text));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 1000, "{}", cases.len());
}

#[test]
fn what_is_refused_on_purpose_is_accepted_by_haproxy() {
    for (place, line, why) in STRICTER {
        let header = CASES.lines().find_map(|header| header.strip_prefix("@ ")?.strip_prefix(place)?.strip_prefix(' '));
        let (before, after) = header.and_then(|template| template.split_once('^')).expect("a known place");
        let text = file(before, after, line);
        assert!(load(&text).model.is_none(), "{line}: {why}");
        assert_ne!(haproxy_accepts(&text), Some(false), "HAProxy refuses it, too: {line}");
    }
}

/// The recorded verdicts are those of the HAProxy that is installed.
#[test]
fn recorded_verdicts_are_true() {
    let all = std::env::var_os("RINGMAIN_COMPARE").is_some_and(|value| value == "all");
    let mut wrong = Vec::new();
    for case in cases().into_iter().step_by(if all { 1 } else { SAMPLING }) {
        match haproxy_accepts(&case.text) {
            Some(found) if found != case.valid => wrong.push(case.text),
            Some(_) => {}
            None => return eprintln!("skipped: there is no haproxy to compare with"),
        }
    }
    assert!(wrong.is_empty(), "HAProxy sees these differently:\n{}", wrong.join("\n"));
}
