//! haproxy.cfg -> sections of statements: lexer, conditional blocks, environment, section headers (manual section 2).
//!
//! Called by `load` for each text. Understands no setting except those that change later expansions (`setenv` and its relatives): what a
//! statement means is decided by the keyword registry and the checker, for both languages alike.

pub mod condition;
mod conditional;
pub(super) mod header;
pub mod keywords;
mod lexer;
pub mod log_format;
pub mod value;

use super::diagnostic::{Diagnostics, SourceId, Sources};
use super::draft::{Negation, Section, SectionKind, Statement, Word};
use super::environment::Environment;
use conditional::Blocks;
use lexer::LineContext;

/// Reads one text into sections. Mistakes are reported and the reading goes on with the next line.
pub fn parse(source: SourceId, sources: &Sources, environment: &mut Environment, diagnostics: &mut Diagnostics) -> Vec<Section> {
    let Some(text) = sources.get(source) else { return Vec::new() };
    let mut reader =
        Reader { source, file: &text.name, environment, diagnostics, sections: Vec::new(), place: Place::Outside, label: String::new() };
    let mut blocks = Blocks::default();
    let mut offset = 0;
    for (index, line) in text.text.split_inclusive('\n').enumerate() {
        reader.line(index + 1, offset, line.strip_suffix('\n').unwrap_or(line), &mut blocks);
        offset += line.len();
    }
    if !text.text.is_empty() && !text.text.ends_with('\n') {
        reader.missing_line_feed(&text.text);
    }
    blocks.finish(reader.diagnostics);
    reader.sections
}

/// What the lines being read belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing yet.
    Outside,
    /// The last of the sections.
    Section,
    /// A section that was refused: its lines are skipped, so that one mistake is reported once.
    Refused,
}

struct Reader<'a> {
    source: SourceId,
    file: &'a str,
    environment: &'a mut Environment,
    diagnostics: &'a mut Diagnostics,
    sections: Vec<Section>,
    place: Place,
    /// `.SECTION`: the name of the section being read, else its kind.
    label: String,
}

impl Reader<'_> {
    fn line(&mut self, number: usize, offset: usize, line: &str, blocks: &mut Blocks) {
        let context =
            LineContext { source: self.source, offset, number, file: self.file, section: &self.label, environment: self.environment };
        let Some(mut words) = lexer::words(line, context, self.diagnostics) else { return };
        let Some(first) = words.first() else { return };
        if first.text.starts_with('.') {
            return blocks.directive(&words, self.environment, self.diagnostics);
        }
        if blocks.skipping() {
            return;
        }
        let span = super::diagnostic::Span { end: words.last().map_or(first.span.end, |last| last.span.end), ..first.span };
        let negation = match first.text.as_str() {
            "no" => Some(Negation::No),
            "default" => Some(Negation::Default),
            _ => None,
        };
        if negation.is_some() {
            words.remove(0);
            if words.is_empty() {
                self.diagnostics.error(span, "a keyword is missing after this word");
                return;
            }
        } else if header::is_section(&words[0].text) {
            return self.header(&words);
        }
        self.statement(Statement { words, negation, span });
    }

    fn header(&mut self, words: &[Word]) {
        self.place = Place::Refused;
        if let Some(section) = header::read(words, self.diagnostics) {
            self.label = section.name.as_ref().map_or_else(|| words[0].text.clone(), |name| name.text.clone());
            self.sections.push(section);
            self.place = Place::Section;
        }
    }

    fn statement(&mut self, statement: Statement) {
        match (self.place, self.sections.last_mut()) {
            (Place::Refused, _) => {}
            (Place::Section, Some(section)) => {
                if section.kind == SectionKind::Global {
                    apply_environment(&statement, self.environment);
                }
                section.statements.push(statement);
            }
            _ => {
                let word = &statement.words[0];
                let finding = self.diagnostics.error(word.span, format!("'{}' stands outside of any section", word.text));
                match super::keyword::nearest(&word.text, header::SECTION_NAMES.iter().copied()) {
                    Some(name) => finding.help(format!("did you mean the section '{name}'?")),
                    None => finding.help("a file begins with a section such as 'global', 'defaults', 'frontend', 'backend' or 'listen'"),
                };
            }
        }
    }

    /// HAProxy refuses a file that does not end with a line feed: it may have been cut off.
    fn missing_line_feed(&mut self, text: &str) {
        let start = text.trim_end().char_indices().next_back().map_or(0, |(at, _)| at);
        let context =
            LineContext { source: self.source, offset: 0, number: 0, file: self.file, section: "", environment: self.environment };
        let span = context.span(start, text.len());
        self.diagnostics
            .error(span, "the last line does not end with a line feed; the file may have been cut off")
            .help("end the file with an empty line if it is complete");
    }
}

/// Makes `setenv`, `presetenv`, `unsetenv` and `resetenv` visible to the lines that follow. The checker reports their mistakes.
pub fn apply_environment(statement: &Statement, environment: &mut Environment) {
    let arguments = statement.words.get(1..).unwrap_or_default();
    match (statement.words[0].text.as_str(), arguments) {
        ("setenv", [name, value, ..]) => environment.set(&name.text, &value.text),
        ("presetenv", [name, value, ..]) => environment.preset(&name.text, &value.text),
        ("unsetenv", names) => names.iter().for_each(|name| environment.unset(&name.text)),
        ("resetenv", names) => environment.reset(names.iter().map(|name| name.text.as_str())),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
