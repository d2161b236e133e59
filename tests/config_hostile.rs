//! Bad input: whatever a file holds, loading ends with a model or with diagnostics that can be shown; it never panics or hangs.
//!
//! `RINGMAIN_MUTATIONS=10000` tries so many mutations of each example; by default it is so many of all examples together.

mod config_common;

use config_common::{Random, examples, load, read, said};
use ringmain::config::keyword::{self, Scope};
use ringmain::config::toml::key_of;

/// What mutations insert: the marks of both languages, numbers at their edges, words from the wrong places.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "\\",
    "#",
    "$",
    "${",
    "}",
    "{",
    "[",
    "]",
    "[[",
    "=",
    ",",
    ".",
    ":",
    "@",
    "*",
    "-",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\0",
    "\u{1b}",
    "\u{feff}",
    "é",
    "\u{202e}",
    "0",
    "-1",
    "65536",
    "4294967296",
    "99999999999999999999",
    "1e9",
    "0x",
    "1-65535",
    "24d",
    "25d",
    "us",
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "from",
    "no",
    "default",
    "server",
    "default-server",
    "bind",
    "use_backend",
    "track",
    "timeout",
    "option",
    "log",
    "source",
    "${PATH}",
    "${A-",
    "${.LINE}",
    ".if",
    ".elif",
    ".else",
    ".endif",
    ".if defined(",
    "true",
    "false",
    "1979-05-27",
    "\"\"\"",
    "'''",
    "inf",
    "\\x00",
    "\\u0000",
];

fn mutate(text: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(40)).min(bytes.len());
        match random.below(7) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let piece = *random.pick(PIECES);
                bytes.splice(at..at, piece.bytes());
            }
            2 => {
                let piece = *random.pick(PIECES);
                bytes.splice(at..end, piece.bytes());
            }
            3 => {
                let copy = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            4 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            5 => bytes.truncate(at),
            _ => {
                let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
                let (left, right) = (random.below(lines.len()), random.below(lines.len()));
                lines.swap(left, right);
                bytes = lines.join(&b'\n');
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Loads, renders, and holds the one thing that must always be true.
fn survives(name: &str, text: &str) {
    let loaded = load(name, text);
    let shown = said(&loaded);
    assert_eq!(loaded.model.is_none(), loaded.diagnostics.failed(), "a model or a reason, for this {name}:\n{text}\n{shown}");
    assert!(loaded.model.is_some() || !shown.is_empty());
    let hidden = |character: char| character.is_control() && character != '\n';
    assert!(!shown.contains(hidden), "{shown:?}");
}

#[test]
fn every_prefix_of_every_example() {
    for path in examples() {
        let (name, text) = read(&path);
        for (end, _) in text.char_indices() {
            survives(&name, &text[..end]);
        }
    }
}

#[test]
fn random_mutations_of_every_example() {
    let examples = examples();
    let each = std::env::var("RINGMAIN_MUTATIONS").ok().and_then(|text| text.parse().ok());
    let count = each.unwrap_or(10_000_u64.div_ceil(examples.len() as u64));
    for (index, path) in examples.into_iter().enumerate() {
        let (name, text) = read(&path);
        for seed in 0..count {
            let mut random = Random(seed + ((index as u64) << 32));
            survives(&name, &mutate(&text, &mut random));
        }
    }
}

#[test]
fn deep_and_long_texts() {
    let line = "a ".repeat(200_000);
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{b=".repeat(50_000)),
        "a.".repeat(100_000),
        format!("[frontend.x]\nbind = \"{}\"\n", "a,".repeat(100_000)),
        format!("[global]\ndescription = \"{}\"\n", "${A-".repeat(10_000)),
        format!("global\n  description {line}\n"),
        format!("frontend x\n  bind {}\n", "127.0.0.1:1-65535,".repeat(50)),
        ".if 1\n".repeat(100_000),
        "global\n".repeat(100_000),
        "\"".repeat(100_000),
    ] {
        survives("a.toml", &text);
        survives("a.cfg", &text);
    }
}

/// Values of every type, and strings that are none of a keyword's.
const VALUES: &[&str] = &[
    "true",
    "false",
    "0",
    "-1",
    "18446744073709551616",
    "0xffffffffffffffffffffffffffffffffffff",
    "0o777",
    "1.5",
    "nan",
    "1979-05-27",
    "\"\"",
    "\" \"",
    "'x'",
    "\"a b c d e f\"",
    "\"\\u0000\"",
    "[]",
    "[[]]",
    "[1, 'a', { b = 2 }]",
    "{}",
    "{ address = {} }",
    "{ name = 'a', address = [], check = [[]], mode = 1.5 }",
    "{ to = 1, facility = true }",
    "{ A = { B = 1 } }",
];

#[test]
fn every_keyword_with_values_of_every_type() {
    for scope in [Scope::Global, Scope::Proxy, Scope::Bind, Scope::Server, Scope::Peers] {
        for keyword in keyword::all(scope) {
            let key = key_of(scope, keyword.name);
            for value in VALUES {
                let text = match scope {
                    Scope::Global => format!("[global]\n{key} = {value}\n"),
                    Scope::Proxy => format!("[listen.a]\n{key} = {value}\n"),
                    Scope::Bind => format!("[listen.a]\nbind = {{ address = ':1', {key} = {value} }}\n"),
                    Scope::Server => format!("[listen.a]\nservers = [{{ name = 's', address = '127.0.0.1:1', {key} = {value} }}]\n"),
                    Scope::Peers => format!("[table.a]\ntype = {value}\nstore = {value}\n[table.b]\n{key} = {value}\n"),
                };
                survives("a.toml", &text);
            }
            for words in ["", "a", "-1", "0", "99999999999999999999", "a b c d e f g", "'' ''"] {
                let line = format!("{} {words}", keyword.name);
                let text = match scope {
                    Scope::Global => format!("global\n  {line}\n"),
                    Scope::Proxy => format!("listen a\n  {line}\n  no {line}\n  default {line}\n"),
                    Scope::Bind => format!("listen a\n  bind :1 {line}\nglobal\n  stats socket /s {line}\n"),
                    Scope::Server => format!("listen a\n  default-server {line}\n  server s 127.0.0.1:1 {line}\n"),
                    Scope::Peers => format!("peers a\n  {line}\n  no {line}\n"),
                };
                survives("a.cfg", &text);
            }
        }
    }
}
