//! Every file in configs/ loads, both languages say the same, HAProxy accepts what is written for it, nothing supported is left out.

mod config_common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use config_common::{examples, model, read};
use ringmain::config::keyword::{self, Scope, Status};

#[test]
fn pairs_give_identical_models() {
    let mut pairs = 0;
    for path in examples().iter().filter(|path| path.extension().is_some_and(|extension| extension == "cfg")) {
        let (haproxy_name, haproxy) = read(path);
        let (toml_name, toml) = read(&path.with_extension("toml"));
        let (left, right) = (model(&haproxy_name, &haproxy), model(&toml_name, &toml));
        assert_eq!(left.global, right.global, "{haproxy_name}");
        assert_eq!(left.frontends, right.frontends, "{haproxy_name}");
        assert_eq!(left.backends, right.backends, "{haproxy_name}");
        assert_eq!(left.servers, right.servers, "{haproxy_name}");
        assert_eq!(left.tables, right.tables, "{haproxy_name}");
        assert_eq!(left.variables, right.variables, "{haproxy_name}");
        pairs += 1;
    }
    assert!(pairs >= 4);
}

#[test]
fn every_example_loads() {
    for path in examples() {
        let (name, text) = read(&path);
        let model = model(&name, &text);
        assert!(!model.frontends.is_empty(), "{name}");
    }
}

/// Skipped where HAProxy is not installed: it is the judge, not a dependency.
#[test]
fn haproxy_accepts_what_is_written_for_it() {
    for path in examples().iter().filter(|path| path.extension().is_some_and(|extension| extension == "cfg")) {
        let Ok(output) = Command::new("haproxy").arg("-c").arg("-f").arg(path).output() else {
            eprintln!("haproxy is not installed");
            return;
        };
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
}

/// What a configuration for everybody to load cannot hold.
const LEFT_OUT: &[&str] = &[
    "user",
    "group",
    "uid",
    "gid",
    "chroot",
    "daemon",
    "nbproc",
    "resetenv",
    "zero-warning",
    "state-file",
    "maxconnrate",
    "option mqtt-check",
    "option mqtt-drain",
    "option mqtt-stats",
    "tune.ring.mode",
    "tune.ring.buffers",
    "tune.ring.buffer-size",
];

#[test]
fn all_keywords_are_in_all_keywords() {
    let (_, text) = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/all-keywords.cfg"));
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().skip_while(|word| *word == "no").collect()).collect();
    let starts: BTreeSet<String> = lines
        .iter()
        .flat_map(|words| {
            [words.iter().take(1).copied().collect::<Vec<_>>().join(" "), words.iter().take(2).copied().collect::<Vec<_>>().join(" ")]
        })
        .collect();
    let options: BTreeSet<&str> = lines
        .iter()
        .filter(|words| matches!(words.first(), Some(&("bind" | "server" | "default-server" | "stats"))))
        .flat_map(|words| words.iter().skip(1).copied())
        .collect();
    let mut missing = Vec::new();
    for scope in [Scope::Global, Scope::Proxy, Scope::Bind, Scope::Server, Scope::Peers] {
        for keyword in keyword::all(scope).filter(|keyword| keyword.status() == Status::Supported) {
            let found = match scope {
                Scope::Global | Scope::Proxy | Scope::Peers => starts.contains(keyword.name),
                Scope::Bind | Scope::Server => options.contains(keyword.name),
            };
            let negative = keyword.name.strip_prefix("no-").is_some_and(|name| options.contains(name));
            if !found && !negative && !LEFT_OUT.contains(&keyword.name) {
                missing.push(format!("{scope:?} {}", keyword.name));
            }
        }
    }
    assert!(missing.is_empty(), "not in configs/all-keywords.cfg: {missing:?}");
}
