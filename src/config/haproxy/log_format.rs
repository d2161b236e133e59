//! `log-format` strings -> compiled programs (HAProxy manual section 8.2.6). Called by the checker for both languages.
//!
//! Names and flags are understood here once, so that a shard never looks up a name. Nothing in here renders a line.

use ringmain_model::log_format::{LogFlags, LogFormat, LogItem, LogVariable};
use ringmain_model::{Expression, Needs};

use crate::config::diagnostic::{Diagnostics, Sources, Span};
use crate::config::draft::Word;
use crate::config::expression::{Compiler, Site, Text};
use crate::config::keyword::nearest;

/// The text of the format of `option tcplog`.
pub const TCP: &str = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq";

/// Variables that HAProxy has only in HTTP mode.
const HTTP_ONLY: &[&str] = &["CC", "CS", "HM", "HP", "HPO", "HQ", "HU", "HV", "Ta", "Ti", "Tq", "TR", "Tr", "r", "tr", "trg", "trl"];

const PERCENT: &str = "write '%%' for a percent sign";

/// The format that `option tcplog` stands for.
pub fn tcp() -> LogFormat {
    let word = Word { text: TCP.to_owned(), span: NOWHERE };
    parse(&word, &Sources::default(), &mut Diagnostics::default()).unwrap_or_default()
}

/// The place of texts that nobody wrote.
const NOWHERE: Span = Span { source: crate::config::diagnostic::SourceId(u32::MAX), start: 0, end: 0 };

/// Who compiles the expressions in a format, and takes the findings.
pub trait Host {
    /// Where findings go.
    fn diagnostics(&mut self) -> &mut Diagnostics;
    /// Compiles the expression that begins at a byte of the text, and says where it ends. `None` after an error, which was reported.
    fn expression(&mut self, text: &Text, start: usize) -> Option<(Expression, usize)>;
    /// Whether several blanks are one, as in lines; elsewhere each one counts.
    fn merges_blanks(&self) -> bool {
        true
    }
}

/// Formats without expressions.
impl Host for Diagnostics {
    fn diagnostics(&mut self) -> &mut Diagnostics {
        self
    }

    fn expression(&mut self, text: &Text, start: usize) -> Option<(Expression, usize)> {
        self.error(text.span(start..text.as_str().len()), "no expression can be used in this format");
        None
    }
}

/// Formats with the expressions of a proxy.
pub struct WithExpressions<'w, 'c, 'a> {
    /// Compiles them.
    pub compiler: &'w mut Compiler<'c, 'a>,
    /// Where the format stands.
    pub site: Site,
}

impl Host for WithExpressions<'_, '_, '_> {
    fn diagnostics(&mut self) -> &mut Diagnostics {
        self.compiler.diagnostics
    }

    fn expression(&mut self, text: &Text, start: usize) -> Option<(Expression, usize)> {
        self.compiler.embedded(text, start, self.site)
    }

    fn merges_blanks(&self) -> bool {
        // Only lines are written when a session has ended.
        self.site.available.intersects(Needs::END)
    }
}

/// Compiles one format. Reports all that is wrong with it; `None` when that makes it unusable.
pub fn parse(word: &Word, sources: &Sources, host: &mut dyn Host) -> Option<LogFormat> {
    let text = Text::new(word, sources);
    let mut parser = Parser { text: &text, position: 0, defaults: LogFlags::default(), items: Vec::new(), failed: false, host };
    parser.run();
    let Parser { items, failed, .. } = parser;
    (!failed).then(|| LogFormat { source: word.text.clone(), items })
}

struct Parser<'a> {
    text: &'a Text,
    /// Byte that is read next.
    position: usize,
    /// Flags of `%o`, which every later variable starts with.
    defaults: LogFlags,
    items: Vec<LogItem>,
    failed: bool,
    host: &'a mut dyn Host,
}

impl<'a> Parser<'a> {
    fn run(&mut self) {
        while let Some(next) = self.rest().chars().next() {
            match next {
                '%' => self.percent(),
                ' ' if self.host.merges_blanks() => {
                    self.position += 1;
                    if self.items.last() != Some(&LogItem::Blank) {
                        self.items.push(LogItem::Blank);
                    }
                }
                _ => {
                    let rest = self.rest();
                    let ends = |letter| letter == '%' || letter == ' ' && self.host.merges_blanks();
                    let length = rest.find(ends).unwrap_or(rest.len());
                    self.literal(&rest[..length]);
                    self.position += length;
                }
            }
        }
    }

    /// Text from the next byte on.
    fn rest(&self) -> &'a str {
        self.text.from(self.position)
    }

    fn literal(&mut self, text: &str) {
        if let Some(LogItem::Text(last)) = self.items.last_mut() {
            *last = [last, text].concat().into();
        } else {
            self.items.push(LogItem::Text(text.into()));
        }
    }

    /// Reads what begins with `%`.
    fn percent(&mut self) {
        let start = self.position;
        self.position += 1;
        match self.rest().chars().next() {
            Some('%') => {
                self.position += 1;
                self.literal("%");
            }
            Some('{') => self.arguments(start),
            Some('[') => self.expression(start, self.defaults),
            Some(first) if first.is_ascii_alphabetic() => self.variable(start, self.defaults),
            None => {
                self.error(start, "the format ends after '%'").help(PERCENT);
            }
            Some(first) if first.is_ascii_digit() || first.is_ascii_whitespace() => {
                self.error(start, "'%' without a variable's name").help(PERCENT);
            }
            Some(_) => {
                let span = self.span(start, self.position);
                self.host.diagnostics().warning(span, "this '%' is left out of the line").help(PERCENT);
            }
        }
    }

    /// Reads `{...}` and the variable behind it.
    fn arguments(&mut self, start: usize) {
        let Some(end) = self.rest().find('}') else {
            self.position = self.text.as_str().len();
            self.error(start, "missing '}'");
            return;
        };
        let list = &self.rest()[1..end];
        let list_start = self.position + 1;
        self.position += end + 1;
        let flags = self.flags(list, list_start);
        match self.rest().chars().next() {
            Some('[') => self.expression(start, flags),
            Some(first) if first.is_ascii_alphabetic() => self.variable(start, flags),
            _ => {
                self.error(start, "flags without a variable behind them");
            }
        }
    }

    /// Applies `+Q,-X` to the flags of `%o`.
    fn flags(&mut self, list: &str, list_start: usize) -> LogFlags {
        let mut flags = self.defaults;
        let mut start = list_start;
        for argument in list.split(',') {
            let end = start + argument.len();
            // Blanks behind a flag make it an unknown one in HAProxy, too.
            let name = argument.trim_start_matches(' ');
            // HAProxy repeats a sign without harm, and takes `++Q` as `+Q`.
            let letter = name.trim_start_matches(['+', '-']);
            let signs = &name[..name.len() - letter.len()];
            let on = signs.ends_with('+');
            match (signs.is_empty(), letter) {
                (false, "Q") => flags.quote = on,
                (false, "X") => flags.hexadecimal = on,
                (false, "E") => flags.escape = on,
                // "Mandatory" concerns sample expressions only.
                (false, "M") => {}
                _ if name.is_empty() => {}
                _ => {
                    let span = self.span(start, end);
                    let finding = self.host.diagnostics().warning(span, format!("unknown flag '{name}' is ignored"));
                    finding.help("flags are Q, X and E with '+' or '-' before them, separated by commas");
                }
            }
            start = end + 1;
        }
        flags
    }

    /// Reads the name of a variable.
    fn variable(&mut self, start: usize, flags: LogFlags) {
        let rest = self.rest();
        let length = rest.find(|character: char| !character.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = &rest[..length];
        self.position += length;
        if name == "o" {
            self.defaults = flags;
        } else if let Some(variable) = LogVariable::from_name(name) {
            self.items.push(LogItem::Variable { variable, flags });
        } else if HTTP_ONLY.contains(&name) {
            self.error(start, &format!("log variable '%{name}' exists only in HTTP mode"));
        } else {
            let near = nearest(name, LogVariable::ALL.iter().map(|variable| variable.name()));
            let help = near.map_or("write '%%' for a percent sign".to_owned(), |near| {
                format!("did you mean '%{near}'? (write '%%' for a percent sign)")
            });
            self.error(start, &format!("unknown log variable '%{name}'")).help(help);
        }
    }

    /// Reads `[...]`.
    fn expression(&mut self, start: usize, flags: LogFlags) {
        let Some((expression, end)) = self.host.expression(self.text, self.position + 1) else {
            self.failed = true;
            // Go on behind it, as far as that can be told.
            let rest = self.rest();
            self.position += rest.find(']').map_or(rest.len(), |end| end + 1);
            return;
        };
        self.position = end;
        if self.rest().starts_with(']') {
            self.position += 1;
            self.items.push(LogItem::Expression { expression: Box::new(expression), flags });
        } else {
            self.position = self.text.as_str().len();
            self.error(start, "missing ']'");
        }
    }

    /// Reports an error from `start` to what was read last.
    fn error(&mut self, start: usize, message: &str) -> &mut crate::config::diagnostic::Diagnostic {
        self.failed = true;
        let span = self.span(start, self.position);
        self.host.diagnostics().error(span, message)
    }

    fn span(&self, start: usize, end: usize) -> Span {
        self.text.span(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::{Class, SourceId};
    use proptest::prelude::*;

    fn word(text: &str) -> Word {
        Word { text: text.to_owned(), span: Span { source: SourceId(0), start: 100, end: 102 + text.len() as u32 } }
    }

    fn parsed(text: &str) -> Vec<LogItem> {
        let mut diagnostics = Diagnostics::default();
        let format = parse(&word(text), &Sources::default(), &mut diagnostics).expect("a format");
        assert!(diagnostics.list().is_empty(), "{diagnostics:?}");
        assert_eq!(format.source, text);
        format.items
    }

    /// Class, first and last byte of the word, and message of each finding.
    fn findings(text: &str) -> Vec<(Class, usize, usize, String)> {
        let mut diagnostics = Diagnostics::default();
        let format = parse(&word(text), &Sources::default(), &mut diagnostics);
        assert_eq!(format.is_none(), diagnostics.failed());
        let place = |span: Option<Span>| span.map_or((0, 0), |span| (span.start as usize - 101, span.end as usize - 101));
        diagnostics
            .list()
            .iter()
            .map(|finding| (finding.class, place(finding.span).0, place(finding.span).1, finding.message.clone()))
            .collect()
    }

    fn text(text: &str) -> LogItem {
        LogItem::Text(text.into())
    }

    fn variable(name: &str, flags: &str) -> LogItem {
        let flags = LogFlags { quote: flags.contains('Q'), hexadecimal: flags.contains('X'), escape: flags.contains('E') };
        LogItem::Variable { variable: LogVariable::from_name(name).expect("a variable"), flags }
    }

    #[test]
    fn text_blanks_and_variables() {
        assert_eq!(parsed("a  %ci:%cp%%ci"), [text("a"), LogItem::Blank, variable("ci", ""), text(":"), variable("cp", ""), text("%ci")]);
        assert_eq!(parsed("%ci_x%tsc"), [variable("ci", ""), text("_x"), variable("tsc", "")]);
        assert_eq!(parsed("a\tb"), [text("a\tb")]);
        assert_eq!(parsed(""), []);
    }

    #[test]
    fn flags_and_their_defaults() {
        assert_eq!(parsed("%{+Q}ci%cp"), [variable("ci", "Q"), variable("cp", "")]);
        assert_eq!(parsed("%{+Q, +X}ci%{+Q,-Q}ci%{-Q,++E}ci"), [variable("ci", "QX"), variable("ci", ""), variable("ci", "E")]);
        assert_eq!(
            parsed("%H%{+Q,+E}o%s%{-Q}b%{+X}o%ci%{-Q}o%f"),
            [variable("H", ""), variable("s", "QE"), variable("b", "E"), variable("ci", "QEX"), variable("f", "EX")]
        );
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        use Class::{Error, Warning};
        assert_eq!(findings("a %cj b"), [(Error, 2, 5, "unknown log variable '%cj'".into())]);
        assert_eq!(findings("%B %Tr"), [(Error, 3, 6, "log variable '%Tr' exists only in HTTP mode".into())]);
        assert_eq!(findings("%"), [(Error, 0, 1, "the format ends after '%'".into())]);
        assert_eq!(findings("100% ok"), [(Error, 3, 4, "'%' without a variable's name".into())]);
        assert_eq!(findings("%{+Q ci"), [(Error, 0, 7, "missing '}'".into())]);
        assert_eq!(findings("x%{+Q} ci"), [(Error, 1, 6, "flags without a variable behind them".into())]);
        assert_eq!(findings("%[src] x"), [(Error, 2, 8, "no expression can be used in this format".into())]);
        assert_eq!(findings("%{+Q,Z}ci"), [(Warning, 5, 6, "unknown flag 'Z' is ignored".into())]);
        assert_eq!(findings("%-x"), [(Warning, 0, 1, "this '%' is left out of the line".into())]);
        assert_eq!(findings("%nosuch %ci %zz").len(), 2);
    }

    #[test]
    fn a_near_name_is_proposed() {
        let mut diagnostics = Diagnostics::default();
        parse(&word("%Tz"), &Sources::default(), &mut diagnostics);
        let help = diagnostics.list()[0].help.clone().expect("help");
        assert!(help.starts_with("did you mean '%T"), "{help}");
    }

    #[test]
    fn the_tcp_format_is_one_that_waits_for_the_end() {
        let format = tcp();
        assert_eq!(format.source, TCP);
        assert!(format.needs_end());
        assert_eq!(format.items.iter().filter(|item| matches!(item, LogItem::Variable { .. })).count(), 18);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_format_or_errors_inside_the_word(text in "[%{}\\[\\]+,QXEoci Tt0é\t\"]{0,40}") {
            let mut diagnostics = Diagnostics::default();
            let word = word(&text);
            let format = parse(&word, &Sources::default(), &mut diagnostics);
            prop_assert_eq!(format.is_none(), diagnostics.failed());
            for finding in diagnostics.list() {
                let span = finding.span.expect("a place");
                prop_assert!(word.span.start <= span.start && span.start <= span.end && span.end <= word.span.end);
            }
        }
    }
}
