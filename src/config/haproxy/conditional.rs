//! Conditional blocks and messages (`.if`, `.notice` and so on, manual section 2.4).

use super::super::diagnostic::{Diagnostics, Span};
use super::super::draft::Word;
use super::super::environment::Environment;
use super::super::keyword;
use super::condition;

/// Deepest nesting of `.if`.
const DEPTH_LIMIT: usize = 1024;
const DIRECTIVES: &[&str] = &[".if", ".elif", ".else", ".endif", ".notice", ".warning", ".alert", ".diag"];

/// The blocks that are open at a line.
#[derive(Default)]
pub struct Blocks {
    open: Vec<Block>,
}

struct Block {
    /// The `.if`.
    span: Span,
    state: State,
    /// `.else` was seen.
    last: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its lines are read.
    Taken,
    /// A branch after this one may still be read.
    Waiting,
    /// One branch was read, or the whole block is inside of a skipped one.
    Done,
}

impl Blocks {
    /// Whether the lines at this place are left out.
    pub fn skipping(&self) -> bool {
        self.open.last().is_some_and(|block| block.state != State::Taken)
    }

    /// Obeys one line that begins with a dot.
    pub fn directive(&mut self, words: &[Word], environment: &Environment, diagnostics: &mut Diagnostics) {
        let Some((name, arguments)) = words.split_first() else { return };
        match name.text.as_str() {
            ".if" => self.begin(name, arguments, environment, diagnostics),
            ".elif" => self.otherwise(name, Some(arguments), environment, diagnostics),
            ".else" | ".endif" if !arguments.is_empty() => {
                diagnostics.error(arguments[0].span, format!("'{}' takes no argument", name.text));
                if name.text == ".endif" {
                    self.open.pop();
                }
            }
            ".else" => self.otherwise(name, None, environment, diagnostics),
            ".endif" => {
                if self.open.pop().is_none() {
                    diagnostics.error(name.span, "'.endif' without '.if'");
                }
            }
            _ if self.skipping() => {}
            ".notice" | ".warning" | ".alert" | ".diag" => message(name, arguments, diagnostics),
            unknown => {
                let finding = diagnostics.error(name.span, format!("unknown directive '{unknown}'"));
                if let Some(near) = keyword::nearest(unknown, DIRECTIVES.iter().copied()) {
                    finding.help(format!("did you mean '{near}'?"));
                }
            }
        }
    }

    /// Reports what the end of the text left open.
    pub fn finish(self, diagnostics: &mut Diagnostics) {
        for block in self.open {
            diagnostics.error(block.span, "this '.if' has no '.endif'");
        }
    }

    fn begin(&mut self, name: &Word, arguments: &[Word], environment: &Environment, diagnostics: &mut Diagnostics) {
        if self.open.len() == DEPTH_LIMIT {
            diagnostics.error(name.span, format!("'.if' is nested deeper than {DEPTH_LIMIT} levels"));
            return;
        }
        let state = if self.skipping() { State::Done } else { choose(name, arguments, environment, diagnostics) };
        self.open.push(Block { span: name.span, state, last: false });
    }

    fn otherwise(&mut self, name: &Word, condition: Option<&[Word]>, environment: &Environment, diagnostics: &mut Diagnostics) {
        let Some(block) = self.open.last_mut() else {
            diagnostics.error(name.span, format!("'{}' without '.if'", name.text));
            return;
        };
        if block.last {
            diagnostics.error(name.span, format!("'{}' after '.else'", name.text));
            return;
        }
        block.last = condition.is_none();
        block.state = match (block.state, condition) {
            (State::Waiting, Some(arguments)) => choose(name, arguments, environment, diagnostics),
            (State::Waiting, None) => State::Taken,
            (State::Taken | State::Done, _) => State::Done,
        };
    }
}

fn choose(name: &Word, arguments: &[Word], environment: &Environment, diagnostics: &mut Diagnostics) -> State {
    let text = arguments.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
    match condition::evaluate(&text, environment) {
        Ok(true) => State::Taken,
        Ok(false) => State::Waiting,
        Err(problem) => {
            let end = arguments.last().map_or(name.span.end, |last| last.span.end);
            let start = arguments.first().map_or(name.span.start, |first| first.span.start);
            diagnostics.error(Span { start, end, ..name.span }, format!("bad condition: {problem}"));
            // Neither branch is read: what it says may be meant for something else.
            State::Done
        }
    }
}

fn message(name: &Word, arguments: &[Word], diagnostics: &mut Diagnostics) {
    let (text, extra) = match arguments {
        [] => ("", None),
        [text, extra @ ..] => (text.text.as_str(), extra.first()),
    };
    if let Some(extra) = extra {
        diagnostics.error(extra.span, format!("'{}' takes one argument", name.text)).help("put the message in quotes");
        return;
    }
    match name.text.as_str() {
        ".alert" => diagnostics.error(name.span, text),
        ".warning" => diagnostics.warning(name.span, text),
        _ => diagnostics.no_effect(name.span, text),
    };
}
