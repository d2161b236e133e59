//! Clean TOML text: sections of settings, related keys gathered in one table, strings that load back as they are.
//!
//! Used by the converter; knows no setting.

use std::fmt::Write;

use crate::config::draft::SectionKind;

/// Lists that fit into this many characters stay on one line.
const LINE_WIDTH: usize = 100;

/// A value to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A number.
    Number(i64),
    /// A boolean.
    Flag(bool),
    /// An array.
    List(Vec<Value>),
    /// An inline table.
    Table(Vec<(String, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

/// One section: a header and its settings in the order they were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it is.
    pub kind: SectionKind,
    header: String,
    /// Paths of one or more keys joined by dots, and values.
    pub settings: Vec<(String, Value)>,
}

impl Section {
    /// An empty section: `[kind]` or `[kind.name]`.
    pub fn new(kind: SectionKind, name: Option<&str>) -> Self {
        let table = match kind {
            SectionKind::Global => "global",
            SectionKind::Defaults => "defaults",
            SectionKind::Frontend => "frontend",
            SectionKind::Backend => "backend",
            SectionKind::Listen => "listen",
            // Where tables of 'peers' sections are written, too.
            SectionKind::Peers | SectionKind::Table => "table",
        };
        let header = name.map_or_else(|| table.to_owned(), |name| format!("{table}.{}", key(name)));
        Self { kind, header, settings: Vec::new() }
    }

    /// Adds a setting. `path` holds keys joined by dots; keys with the same beginning are written as one table.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) {
        self.settings.push((path.to_owned(), value.into()));
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// The section as text, ending in an empty line.
    pub fn render(&self) -> String {
        let mut text = format!("[{}]\n", self.header);
        for (name, value) in gather(&self.settings) {
            line(&mut text, &name, &value);
        }
        text.push('\n');
        text
    }
}

/// Settings with nested tables in place of paths; each table stands where its first key stood.
fn gather(settings: &[(String, Value)]) -> Vec<(String, Value)> {
    let mut gathered: Vec<(String, Value)> = Vec::new();
    for (path, value) in settings {
        insert(&mut gathered, path, value);
    }
    gathered
}

fn insert(table: &mut Vec<(String, Value)>, path: &str, value: &Value) {
    let Some((first, rest)) = path.split_once('.') else {
        table.push((path.to_owned(), value.clone()));
        return;
    };
    let found = table.iter().position(|(name, value)| name == first && matches!(value, Value::Table(_)));
    let index = found.unwrap_or_else(|| {
        table.push((first.to_owned(), Value::Table(Vec::new())));
        table.len() - 1
    });
    if let Some((_, Value::Table(inner))) = table.get_mut(index) {
        insert(inner, rest, value);
    }
}

/// One setting. A table that is too long for a line becomes a line for each of its keys.
fn line(text: &mut String, path: &str, value: &Value) {
    match value {
        Value::Table(entries) if path.len() + inline(value).len() > LINE_WIDTH && !entries.is_empty() => {
            for (name, value) in entries {
                line(text, &format!("{path}.{}", key(name)), value);
            }
        }
        _ => {
            let _ = writeln!(text, "{path} = {}", top_level(value, path.len() + 3));
        }
    }
}

/// A value after `key = `: long lists get a line for each item.
fn top_level(value: &Value, indent: usize) -> String {
    let short = inline(value);
    match value {
        Value::List(items) if items.len() > 1 && (indent + short.len() > LINE_WIDTH || matches!(items.first(), Some(Value::Table(_)))) => {
            let lines: String = items.iter().map(|item| format!("  {},\n", inline(item))).collect();
            format!("[\n{lines}]")
        }
        _ => short,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Text(text) => string(text),
        Value::Number(number) => grouped(*number),
        Value::Flag(flag) => flag.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Table(entries) => {
            let entries: Vec<String> = entries.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// Digits in groups of three from ten thousand on.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let sign = if number < 0 { "-" } else { "" };
    if digits.len() < 5 {
        return format!("{sign}{digits}");
    }
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    format!("{sign}{}", groups.join("_"))
}

/// A key, quoted where it must be.
pub fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { basic(name) }
}

/// A string that loads as this very text: nothing in it may be taken for an environment variable.
fn string(text: &str) -> String {
    if !text.contains("${") {
        return basic(text);
    }
    if !text.contains('\'') && !text.contains(char::is_control) {
        return format!("'{text}'");
    }
    // A variable that does not exist gives its default: the dollar sign.
    basic(&text.replace("${", "${RINGMAIN_NO_VARIABLE-$}{"))
}

fn basic(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A duration in the largest unit that holds it exactly.
pub fn duration(milliseconds: u32) -> Value {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let exact = units.into_iter().find(|(unit, _)| milliseconds > 0 && milliseconds.is_multiple_of(*unit));
    let (unit, name) = exact.unwrap_or((1, "ms"));
    Value::Text(format!("{}{name}", milliseconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn related_keys_become_one_table() {
        let mut section = Section::new(SectionKind::Frontend, Some("a b"));
        section.set("timeout.connect", duration(10_000));
        section.set("maxconn", 1_024_000_u32);
        section.set("timeout.client", duration(90_000));
        section.set("bind", Value::List(vec!["*:1883".into(), Value::Table(vec![("address".into(), "*:1884".into())])]));
        section.set("tune.ring.mode", "fast");
        insta::assert_snapshot!(section.render(), @r#"
        [frontend."a b"]
        timeout = { connect = "10s", client = "90s" }
        maxconn = 1_024_000
        bind = ["*:1883", { address = "*:1884" }]
        tune = { ring = { mode = "fast" } }
        "#);
    }

    #[test]
    fn durations_use_the_largest_exact_unit() {
        let written: Vec<Value> = [0, 1, 1500, 2000, 60_000, 90_000, 3_600_000, 86_400_000].into_iter().map(duration).collect();
        let expected = ["0ms", "1ms", "1500ms", "2s", "1m", "90s", "1h", "1d"].map(Value::from);
        assert_eq!(written, expected);
    }

    proptest! {
        #[test]
        fn every_string_is_toml_that_says_the_same(text in "\\PC{0,20}|[a-z$\\{\\}'\"\\\\\n\t\u{1}]{0,20}") {
            let quoted = string(&text);
            let parsed: ::toml::Table = format!("a = {quoted}").parse().expect("TOML");
            let value = parsed.get("a").and_then(|value| value.as_str()).expect("a string");
            prop_assert_eq!(value.replace("${RINGMAIN_NO_VARIABLE-$}", "$"), text);
        }

        #[test]
        fn every_key_is_toml_that_says_the_same(name in "\\PC{0,20}") {
            let parsed: ::toml::Table = format!("{} = 1", key(&name)).parse().expect("TOML");
            prop_assert!(parsed.contains_key(&name));
        }
    }
}
