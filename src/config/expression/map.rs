//! Map files of the `map_*` converters (HAProxy manual, `map`): how keys match follows from the converter's name.

use std::sync::Arc;

use ringmain_model::pattern::{Map, MatchMethod, Patterns};

use super::Compiler;
use super::files;
use super::pattern::{Operator, Reading, read};
use crate::config::diagnostic::Span;

/// How the keys of a map match, from the name of its converter.
fn method(name: &str) -> MatchMethod {
    let word = name.strip_prefix("map_").and_then(|rest| rest.split('_').next()).unwrap_or("str");
    match word {
        "regm" => MatchMethod::Regex,
        word => MatchMethod::ALL.iter().find(|(_, name)| *name == word).map_or(MatchMethod::Exact, |(method, _)| *method),
    }
}

impl Compiler<'_, '_> {
    /// Reads a map file for a converter.
    pub(super) fn map(&mut self, converter: &str, file: &str, span: Span) -> Option<Arc<Map>> {
        let text = match self.shared.files.read(file) {
            Ok(text) => text,
            Err(message) => {
                self.diagnostics.error(span, message);
                return None;
            }
        };
        let reading = Reading { method: method(converter), ignore_case: false, dotted: false, hosts: Some(self.shared.context.names) };
        let (mut list, mut values) = (Vec::new(), Vec::new());
        for (number, line) in files::entries(&text) {
            let (key, value) = files::key_and_value(line);
            match read(key, Operator::Equal, reading) {
                Ok(pattern) => {
                    list.push(pattern);
                    values.push(Arc::from(value.as_bytes()));
                }
                Err((message, help)) => {
                    let finding = self.diagnostics.error(span, format!("{file}:{number}: {message}"));
                    if let Some(help) = help {
                        finding.help(help);
                    }
                    return None;
                }
            }
        }
        let keys = Patterns::new(reading.method, false, list);
        Some(Arc::new(Map { file: file.into(), keys, values }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_converter_says_how_keys_match() {
        let pairs = [("map", MatchMethod::Exact), ("map_str", MatchMethod::Exact), ("map_str_int", MatchMethod::Exact)];
        for (name, expected) in pairs.into_iter().chain([
            ("map_beg", MatchMethod::Begin),
            ("map_ip_int", MatchMethod::Ip),
            ("map_int", MatchMethod::Integer),
            ("map_regm", MatchMethod::Regex),
            ("map_dom_ip", MatchMethod::Domain),
        ]) {
            assert_eq!(method(name), expected, "{name}");
        }
    }
}
