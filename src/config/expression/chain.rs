//! Words -> a fetch and its converters, with names found and types checked.

use ringmain_model::{Call, Expression, Needs, SampleType};
use ringmain_policy::expression::{CONVERTERS, FETCHES, converter, fetch_entry};

use super::Compiler;
use super::argument::Signature;
use super::known;
use super::syntax::{self, WrittenCall};
use super::text::Text;
use crate::config::draft::Word;
use crate::config::keyword::nearest;

/// Most converters of one expression.
const CONVERTER_COUNT_LIMIT: usize = 64;

impl Compiler<'_, '_> {
    /// Joins the words of one expression: those after a comma, and with `isolated` those that name a converter. Nothing is left of them in the
    /// list.
    pub(super) fn take_text(&mut self, words: &mut &[Word], isolated: bool) -> Option<Text> {
        let (first, mut rest) = words.split_first()?;
        let mut text = Text::new(first, self.shared.sources);
        while let Some((next, others)) = rest.split_first() {
            let inside = in_arguments(text.as_str());
            let separator = match text.as_str().ends_with(',') {
                true if inside || next.text.starts_with(|character: char| character.is_ascii_alphabetic()) => "",
                false if isolated && !inside && names_converter(&next.text) => ",",
                _ => break,
            };
            text.append(next, separator, self.shared.sources);
            rest = others;
        }
        *words = rest;
        Some(text)
    }

    /// Compiles the expression that begins at a byte of the text, and says where it ends: at the end of the text or at a `]`.
    pub(super) fn chain(&mut self, text: &Text, start: usize) -> Option<(Expression, usize)> {
        self.chain_as(text, start, None)
    }

    /// The same, with another fetch in place of the one written: the names that ACLs have for some fetches.
    pub(super) fn chain_as(&mut self, text: &Text, start: usize, fetch_name: Option<&str>) -> Option<(Expression, usize)> {
        let (calls, end) = match syntax::calls(text, start) {
            Ok(found) => found,
            Err(fault) => {
                let finding = self.diagnostics.error(text.span(fault.range), fault.message);
                if let Some(help) = fault.help {
                    finding.help(help);
                }
                return None;
            }
        };
        let (first, converters) = calls.split_first()?;
        if let Some(extra) = converters.get(CONVERTER_COUNT_LIMIT) {
            let message = format!("more than {CONVERTER_COUNT_LIMIT} converters in one expression");
            self.diagnostics.error(text.span(extra.whole.clone()), message);
            return None;
        }
        let (fetch, output, needs) = self.fetch(text, first, fetch_name)?;
        let mut expression = Expression { source: source(text, start, &calls).into(), fetch, converters: Box::default(), output, needs };
        let mut list = Vec::with_capacity(converters.len());
        for written in converters {
            list.push(self.converter(text, written, &mut expression)?);
        }
        expression.converters = list.into();
        Some((expression, end))
    }

    fn fetch(&mut self, text: &Text, written: &WrittenCall, name: Option<&str>) -> Option<(Call, SampleType, Needs)> {
        let name = name.unwrap_or_else(|| text.as_str().get(written.name.clone()).unwrap_or(""));
        let Some((index, entry)) = fetch_entry(name) else {
            self.unknown_fetch(text, written, name);
            return None;
        };
        let signature = Signature {
            kind: "fetch",
            name: entry.name,
            parameters: entry.parameters,
            required: entry.required,
            output: entry.output,
            check: entry.check,
        };
        let arguments = self.arguments(text, written, &signature)?;
        Some((Call { entry: index, arguments: arguments.into() }, entry.output, entry.needs))
    }

    fn converter(&mut self, text: &Text, written: &WrittenCall, expression: &mut Expression) -> Option<Call> {
        let name = text.as_str().get(written.name.clone()).unwrap_or("");
        let Some((index, entry)) = converter(name) else {
            self.unknown_converter(text, written, name);
            return None;
        };
        let signature = Signature {
            kind: "converter",
            name: entry.name,
            parameters: entry.parameters,
            required: entry.required,
            output: entry.output,
            check: entry.check,
        };
        let arguments = self.arguments(text, written, &signature)?;
        if !expression.output.casts_to(entry.input) {
            let message = format!("'{name}' takes {}, and what comes is {}", described(entry.input), described(expression.output));
            self.diagnostics.error(text.span(written.name.clone()), message);
            return None;
        }
        if entry.output != SampleType::Same {
            expression.output = entry.output;
        } else if entry.input != SampleType::Any {
            expression.output = entry.input;
        }
        expression.needs = expression.needs.and(entry.needs);
        Some(Call { entry: index, arguments: arguments.into() })
    }

    fn unknown_fetch(&mut self, text: &Text, written: &WrittenCall, name: &str) {
        let span = text.span(written.name.clone());
        if known::is_known_fetch(name) {
            self.diagnostics.unsupported(span, format!("HAProxy's fetch '{name}' is not supported here yet"));
            return;
        }
        let finding = self.diagnostics.error(span, format!("there is no fetch '{name}'"));
        let candidates = FETCHES.iter().map(|entry| entry.name);
        if let Some((fetch, method)) = known::with_method(name) {
            finding.help(format!("write '{fetch} -m {method}'"));
        } else if converter(name).is_some() {
            finding.help(format!("'{name}' is a converter: write a fetch and a comma before it"));
        } else if let Some(near) = nearest(name, candidates) {
            finding.help(format!("did you mean '{near}'?"));
        }
    }

    fn unknown_converter(&mut self, text: &Text, written: &WrittenCall, name: &str) {
        let span = text.span(written.name.clone());
        if known::is_known_converter(name) {
            self.diagnostics.unsupported(span, format!("HAProxy's converter '{name}' is not supported here yet"));
            return;
        }
        let finding = self.diagnostics.error(span, format!("there is no converter '{name}'"));
        if let Some(near) = nearest(name, CONVERTERS.iter().map(|entry| entry.name)) {
            finding.help(format!("did you mean '{near}'?"));
        } else if fetch_entry(name).is_some() {
            finding.help(format!("'{name}' is a fetch: it can only be the first"));
        }
    }
}

/// The expression without the blanks between words and commas that mean nothing.
fn source(text: &Text, start: usize, calls: &[WrittenCall]) -> String {
    let end = calls.last().map_or(start, |last| last.whole.end);
    let written = text.as_str().get(start..end).unwrap_or("");
    let count = calls.len().saturating_sub(1);
    let commas = calls.windows(2).filter_map(|pair| Some(pair.get(1)?.whole.start - pair.first()?.whole.end)).sum::<usize>();
    if commas == count {
        return written.to_owned();
    }
    let parts: Vec<&str> = calls.iter().filter_map(|call| text.as_str().get(call.whole.clone())).collect();
    parts.join(",")
}

/// Whether a text ends within a list of arguments.
fn in_arguments(text: &str) -> bool {
    let (mut inside, mut quote, mut escaped) = (false, None, false);
    for character in text.chars() {
        match (character, quote) {
            _ if escaped => escaped = false,
            ('\\', None | Some('"')) if inside => escaped = true,
            (character, Some(open)) => quote = (character != open).then_some(open),
            ('"' | '\'', None) if inside => quote = Some(character),
            ('(', None) => inside = true,
            (')', None) => inside = false,
            _ => {}
        }
    }
    inside
}

/// Whether a word begins with the name of a converter.
fn names_converter(word: &str) -> bool {
    let length = word.find(|character| !syntax::is_name_character(character)).unwrap_or(word.len());
    let (name, rest) = word.split_at(length);
    (rest.is_empty() || rest.starts_with(['(', ','])) && (converter(name).is_some() || known::is_known_converter(name))
}

/// A type with its article.
pub(super) fn described(kind: SampleType) -> String {
    match kind {
        SampleType::Integer | SampleType::Address | SampleType::Ipv4 | SampleType::Ipv6 => format!("an {}", kind.name()),
        SampleType::Any | SampleType::Same => "anything".to_owned(),
        SampleType::Binary => "binary data".to_owned(),
        SampleType::Boolean | SampleType::String => format!("a {}", kind.name()),
    }
}
