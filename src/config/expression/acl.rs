//! `acl` lines and the criteria of anonymous ACLs: an expression, flags, patterns (HAProxy manual section 7.1).

use std::sync::Arc;

use ringmain_model::pattern::{MatchMethod, Pattern, Patterns};
use ringmain_model::rule::{Acl, Test};
use ringmain_model::{Expression, Needs};

use super::Compiler;
use super::files;
use super::known;
use super::pattern::{self, Operator, Reading};
use super::predefined;
use super::text::written;
use crate::config::check::rule_lines::RuleLine;
use crate::config::diagnostic::{SourceId, Span};
use crate::config::draft::Word;
use crate::config::keyword::nearest;

/// The place of words that nobody wrote.
const NOWHERE: Span = Span { source: SourceId(u32::MAX), start: 0, end: 0 };

/// Flags in front of patterns.
struct Flags {
    method: Option<MatchMethod>,
    ignore_case: bool,
    resolve: bool,
    /// `-M`: files have values behind their keys.
    keyed: bool,
    /// `-f`, in order.
    files: Vec<Word>,
}

impl Compiler<'_, '_> {
    /// Compiles `acl` lines; those of one name are alternatives.
    pub(super) fn define_acls(&mut self, lines: &[RuleLine]) {
        for line in lines {
            let Some((name, criterion)) = line.words.split_first() else {
                self.diagnostics.error(line.span, "'acl' needs a name and a criterion").help("such as 'acl local src 127.0.0.0/8'");
                continue;
            };
            if !self.acl_name(name) {
                continue;
            }
            let test = self.test(criterion, name.span);
            let known = self.acls.entry(name.text.as_str().into());
            let acl = known.or_insert_with(|| Some(Arc::new(Acl { name: Some(name.text.as_str().into()), tests: Vec::new() })));
            match (acl.as_mut(), test) {
                (Some(acl), Some(test)) => Arc::make_mut(acl).tests.push(test),
                // A name with a mistake is known all the same: its uses are not mistakes.
                _ => *acl = None,
            }
        }
    }

    fn acl_name(&mut self, name: &Word) -> bool {
        let bad = |character: &char| !character.is_ascii_alphanumeric() && !matches!(character, '_' | '-' | '.' | ':');
        if let Some(bad) = name.text.chars().find(bad) {
            let message = format!("'{}' cannot be part of an ACL's name", bad.escape_debug());
            self.diagnostics.error(name.span, message).help("letters, digits, '_', '-', '.' and ':' can");
            return false;
        }
        if name.text.eq_ignore_ascii_case("or") {
            self.diagnostics.error(name.span, "'or' joins ACLs and cannot be the name of one");
            return false;
        }
        true
    }

    /// The ACL of a name. The outer `None`: there is none; the inner one: it has mistakes, which were reported.
    pub(super) fn find_acl(&mut self, name: &str) -> Option<Option<Arc<Acl>>> {
        if let Some(found) = self.acls.get(name) {
            return Some(found.clone());
        }
        let (known, criterion) = predefined::TCP.iter().find(|(known, _)| *known == name)?;
        let words: Vec<Word> = criterion.split(' ').map(|word| Word { text: word.to_owned(), span: NOWHERE }).collect();
        let acl = self.test(&words, NOWHERE).map(|test| Arc::new(Acl { name: Some((*known).into()), tests: vec![test] }));
        self.acls.insert((*known).into(), acl.clone());
        Some(acl)
    }

    /// The ACL that a condition names.
    pub(super) fn used_acl(&mut self, name: &str, span: Span) -> Option<Arc<Acl>> {
        if let Some(found) = self.find_acl(name) {
            return found;
        }
        if predefined::HTTP.contains(&name) {
            self.diagnostics.unsupported(span, format!("HAProxy's predefined ACL '{name}' is not supported here yet"));
            return None;
        }
        let names = self.acls.keys().map(|name| &**name).chain(predefined::TCP.iter().map(|(name, _)| *name));
        let near = nearest(name, names).map(str::to_owned);
        let finding = self.diagnostics.error(span, format!("there is no ACL '{}'", name.escape_debug()));
        if matches!(name, "and" | "&&") {
            finding.help("conditions next to each other are joined by 'and' already");
        } else if name.starts_with('{') || name.ends_with('}') {
            finding.help("put a blank behind '{' and before '}'");
        } else if let Some(near) = near {
            finding.help(format!("did you mean '{near}'?"));
        }
        None
    }

    /// Compiles a criterion with its flags and patterns; `place` is where it would stand when there is none.
    pub(super) fn test(&mut self, words: &[Word], place: Span) -> Option<Test> {
        let mut rest = words;
        let Some(first) = words.first().filter(|first| !first.text.is_empty()) else {
            self.diagnostics.error(place, "a criterion is missing").help("such as 'src 10.0.0.0/8'");
            return None;
        };
        let (expression, preset) = self.criterion(&mut rest)?;
        let flags = self.flags(&mut rest)?;
        let method = self.method(&expression, preset, flags.method, first.span)?;
        let hosts = flags.resolve.then_some(self.shared.context.names);
        let reading = Reading { method, ignore_case: flags.ignore_case, dotted: known::is_version(first_name(&first.text)), hosts };
        let mut list = Vec::new();
        for file in &flags.files {
            self.pattern_file(file, flags.keyed, reading, &mut list)?;
        }
        self.patterns(rest, reading, &mut list)?;
        let takes_patterns = !matches!(method, MatchMethod::Found | MatchMethod::Boolean);
        if takes_patterns && list.is_empty() && flags.files.is_empty() && flags.method.is_none() {
            let message = format!("'{}' is compared with nothing and never matches", expression.source);
            self.diagnostics.warning(first.span, message).help("add patterns, or '-m found'");
        }
        let source = written(words.iter().map(|word| word.text.as_str())).into();
        Some(Test { source, expression, patterns: Patterns::new(method, flags.ignore_case, list) })
    }

    /// The expression in front, and the method that belongs to its name.
    fn criterion(&mut self, words: &mut &[Word]) -> Option<(Expression, Option<MatchMethod>)> {
        let mut rest = *words;
        let mut text = self.take_text(&mut rest, false)?;
        let named = known::acl_keyword(first_name(text.as_str()));
        let (mut expression, mut end) = self.chain_as(&text, 0, named.map(|(fetch, _)| fetch))?;
        // As in HAProxy, words that name converters belong to an expression that could not be compared without a method.
        if named.is_none() && pattern::default_method(expression.output).is_none() {
            let mut longer = *words;
            text = self.take_text(&mut longer, true)?;
            if longer.len() < rest.len() {
                (expression, end) = self.chain(&text, 0)?;
                rest = longer;
            }
        }
        if end < text.as_str().len() {
            self.diagnostics.error(text.span(end..end + 1), "unexpected ']' in an expression");
            return None;
        }
        *words = rest;
        let direct = expression.converters.is_empty();
        Some((expression, named.map(|(_, method)| method).filter(|_| direct)))
    }

    fn flags(&mut self, words: &mut &[Word]) -> Option<Flags> {
        let mut flags = Flags { method: None, ignore_case: false, resolve: true, keyed: false, files: Vec::new() };
        while let Some((word, rest)) = words.split_first().filter(|(word, _)| word.text.starts_with('-')) {
            *words = rest;
            match word.text.as_str() {
                "--" => break,
                "-i" => flags.ignore_case = true,
                "-n" => flags.resolve = false,
                "-M" => flags.keyed = true,
                "-f" => flags.files.push(self.flag_value(word, words, "the name of a file")?.clone()),
                "-m" if !flags.files.is_empty() => {
                    self.diagnostics.error(word.span, "'-m' stands before the files and patterns that it is about");
                    return None;
                }
                "-m" => flags.method = Some(self.method_flag(word, words)?),
                "-u" => {
                    let value = self.flag_value(word, words, "a number")?;
                    if value.text.parse::<u32>().is_err() {
                        self.diagnostics.error(value.span, format!("'{}' is not a number", value.text.escape_debug()));
                        return None;
                    }
                    self.diagnostics.no_effect(word.span, "'-u' has no effect here").label("numbers an ACL for the runtime socket");
                }
                other => {
                    let message = format!("there is no flag '{}'", other.escape_debug());
                    self.diagnostics.error(word.span, message).help("write '--' before patterns that begin with '-'");
                    return None;
                }
            }
        }
        Some(flags)
    }

    fn flag_value<'w>(&mut self, flag: &Word, words: &mut &'w [Word], what: &str) -> Option<&'w Word> {
        let Some((value, rest)) = words.split_first() else {
            self.diagnostics.error(flag.span, format!("'{}' needs {what}", flag.text));
            return None;
        };
        *words = rest;
        Some(value)
    }

    fn method_flag(&mut self, flag: &Word, words: &mut &[Word]) -> Option<MatchMethod> {
        let value = self.flag_value(flag, words, "a method")?;
        let names = MatchMethod::ALL.iter().map(|(_, name)| *name);
        let found = MatchMethod::ALL.iter().find(|(_, name)| *name == value.text).map(|(method, _)| *method);
        if found.is_none() {
            let message = format!("there is no method '{}'", value.text.escape_debug());
            let finding = self.diagnostics.error(value.span, message);
            match nearest(&value.text, names.clone()) {
                Some(near) => finding.help(format!("did you mean '{near}'?")),
                None => finding.help(format!("there are {}", names.collect::<Vec<_>>().join(", "))),
            };
        }
        found
    }

    /// The method: the one asked for, the one of the name, the one of the type.
    fn method(
        &mut self,
        expression: &Expression,
        preset: Option<MatchMethod>,
        asked: Option<MatchMethod>,
        span: Span,
    ) -> Option<MatchMethod> {
        let Some(method) = asked.or(preset).or_else(|| pattern::default_method(expression.output)) else {
            let message =
                format!("'{}' gives {}: how to compare it must be said", expression.source, super::chain::described(expression.output));
            self.diagnostics.error(span, message).help("add '-m' and a method before the patterns, such as '-m str', '-m bin' or '-m len'");
            return None;
        };
        let wanted = pattern::compared_as(method);
        if !expression.output.casts_to(wanted) {
            let name = MatchMethod::ALL.iter().find(|(known, _)| *known == method).map_or("", |(_, name)| *name);
            let kind = super::chain::described(expression.output);
            self.diagnostics.error(span, format!("'{}' gives {kind}, which '-m {name}' cannot compare", expression.source));
            return None;
        }
        Some(method)
    }

    fn pattern_file(&mut self, file: &Word, keyed: bool, reading: Reading<'_>, list: &mut Vec<Pattern>) -> Option<()> {
        let text = match self.shared.files.read(&file.text) {
            Ok(text) => text,
            Err(message) => {
                self.diagnostics.error(file.span, message);
                return None;
            }
        };
        for (number, line) in files::entries(&text) {
            let entry = if keyed { files::key_and_value(line).0 } else { line };
            match pattern::read(entry, Operator::Equal, reading) {
                Ok(pattern) => list.push(pattern),
                Err((message, help)) => {
                    let finding = self.diagnostics.error(file.span, format!("{}:{number}: {message}", file.text));
                    if let Some(help) = help {
                        finding.help(help);
                    }
                    return None;
                }
            }
        }
        Some(())
    }

    fn patterns(&mut self, words: &[Word], reading: Reading<'_>, list: &mut Vec<Pattern>) -> Option<()> {
        let compares_numbers = matches!(reading.method, MatchMethod::Integer | MatchMethod::Length);
        let mut operator = Operator::Equal;
        let mut complete = true;
        let mut unused = None;
        for word in words.iter().filter(|word| !word.text.is_empty() || !compares_numbers) {
            if compares_numbers && let Some(found) = Operator::from_name(&word.text) {
                operator = found;
                unused = Some(word);
                continue;
            }
            unused = None;
            if matches!(reading.method, MatchMethod::Found | MatchMethod::Boolean) {
                self.diagnostics.no_effect(word.span, format!("'{}' is not compared with anything here", word.text.escape_debug()));
                continue;
            }
            match pattern::read(&word.text, operator, reading) {
                Ok(pattern) => list.push(pattern),
                Err((message, help)) => {
                    complete = false;
                    let finding = self.diagnostics.error(word.span, message);
                    if let Some(help) = help {
                        finding.help(help);
                    }
                }
            }
        }
        if let Some(operator) = unused {
            complete = false;
            self.diagnostics.error(operator.span, format!("a number is missing after '{}'", operator.text));
        }
        complete.then_some(())
    }
}

/// What an ACL looks at.
pub fn needs(acl: &Acl) -> Needs {
    acl.tests.iter().fold(Needs::NOTHING, |sum, test| sum.and(test.expression.needs))
}

/// The name in front of a criterion.
fn first_name(text: &str) -> &str {
    let length = text.find(|character| !super::syntax::is_name_character(character)).unwrap_or(text.len());
    &text[..length]
}
