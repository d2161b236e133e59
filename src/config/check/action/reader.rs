//! Reads the arguments of one action, method by method; `ACTIONS` says which method reads which action.

use ringmain_model::rule::{Action, IntegerValue, SetWhen, TrackedColumn, VariableValue};
use ringmain_model::table::ARRAY_LENGTH_MAX;
use ringmain_model::{Expression, Level, SampleType, Variable};

use super::{ActionContext, check_key, table};
use crate::config::diagnostic::Span;
use crate::config::draft::Word;
use crate::config::expression::{Compiler, Site};
use crate::config::haproxy::value;
use crate::config::keyword;

/// Counters that a session may track, as in HAProxy.
const TRACKED_COUNTERS: u8 = 3;

/// Reads one action.
pub(super) struct Reader<'r, 'w, 'c, 'a, 't> {
    pub(super) site: Site,
    /// The word of the action.
    pub(super) name: &'w Word,
    /// Its name without numbers and parentheses.
    pub(super) base: &'w str,
    /// What is in its parentheses.
    pub(super) inside: Option<Vec<String>>,
    /// What follows.
    pub(super) words: &'w [Word],
    pub(super) compiler: &'r mut Compiler<'c, 'a>,
    pub(super) context: &'r mut ActionContext<'t>,
}

impl<'w> Reader<'_, 'w, '_, '_, '_> {
    fn take(&mut self) -> Option<&'w Word> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    /// Takes the next word, which must be there and not begin the condition.
    fn required(&mut self, what: &str) -> Option<&'w Word> {
        match self.words.first() {
            Some(word) if !matches!(word.text.as_str(), "if" | "unless") => self.take(),
            _ => {
                self.compiler.diagnostics.error(self.name.span, format!("'{}' needs {what}", self.base));
                None
            }
        }
    }

    fn error<T>(&mut self, span: Span, message: impl Into<String>, help: &str) -> Option<T> {
        self.compiler.diagnostics.error(span, message).help(help);
        None
    }

    /// An expression of whatever type.
    fn expression(&mut self) -> Option<Expression> {
        if self.words.first().is_none_or(|word| matches!(word.text.as_str(), "if" | "unless")) {
            self.required("an expression");
            return None;
        }
        self.compiler.expression(&mut self.words, self.site)
    }

    /// An expression whose value can become one of a type.
    pub(super) fn value(&mut self, to: SampleType) -> Option<Expression> {
        let place = self.words.first().map_or(self.name.span, |word| word.span);
        let expression = self.expression()?;
        if !expression.output.casts_to(to) {
            let message = format!("'{}' gives a {}, which cannot become a {}", expression.source, expression.output.name(), to.name());
            return self.error(place, message, &format!("'{}' needs a {}", self.base, to.name()));
        }
        Some(expression)
    }

    pub(super) fn silent_drop(&mut self) -> Option<Action> {
        if let Some(word) = self.words.first().filter(|word| word.text == "rst-ttl") {
            self.compiler.diagnostics.unsupported(word.span, "HAProxy's 'silent-drop rst-ttl' is not supported here yet");
            return None;
        }
        Some(Action::SilentDrop)
    }

    pub(super) fn expect_proxy(&mut self) -> Option<Action> {
        let word = self.required("'layer4'")?;
        if word.text != "layer4" {
            return self.error(word.span, format!("'expect-proxy' does not know '{}'", word.text), "it takes 'layer4'");
        }
        Some(Action::ExpectProxy)
    }

    pub(super) fn do_log(&mut self) -> Option<Action> {
        if let Some(word) = self.words.first().filter(|word| word.text == "profile") {
            self.compiler.diagnostics.unsupported(word.span, "HAProxy's log profiles are not supported here yet");
            return None;
        }
        Some(Action::DoLog)
    }

    pub(super) fn track(&mut self) -> Option<Action> {
        let digits = self.name.text.strip_prefix("track-sc").unwrap_or("");
        // HAProxy takes a missing number for 0.
        let counter = if digits.is_empty() { Some(0) } else { digits.parse().ok().filter(|number| *number < TRACKED_COUNTERS) };
        let Some(counter) = counter else {
            let message = format!("'{}': there is no such tracked counter", self.name.text);
            return self.error(self.name.span, message, "there are track-sc0, track-sc1 and track-sc2");
        };
        let place = self.words.first().map_or(self.name.span, |word| word.span);
        let key = self.expression()?;
        let table = table(&mut self.words, self.name.span, self.compiler, self.context)?;
        check_key(&key, place, table, self.context.tables, self.compiler)?;
        Some(Action::Track { counter, key, table })
    }

    /// The number of a tracked counter.
    fn counter(&mut self, text: &str) -> Option<u8> {
        match text.parse().ok().filter(|number| *number < TRACKED_COUNTERS) {
            Some(number) => Some(number),
            None => {
                let message = format!("'{text}' is not the number of a tracked counter");
                self.error(self.name.part(text), message, "there are 0, 1 and 2")
            }
        }
    }

    /// `(sc)` of a single column; without parentheses HAProxy means 0.
    pub(super) fn single_column(&mut self, index: u8) -> Option<TrackedColumn> {
        let inside = self.inside.take();
        let counter = match inside.as_deref() {
            None if self.name.text == self.base => 0,
            Some([counter]) => self.counter(counter)?,
            _ => return self.arguments(&format!("{}(0)", self.base)),
        };
        Some(TrackedColumn { counter, array: false, index })
    }

    /// `(index,sc)` of an array.
    pub(super) fn array_column(&mut self) -> Option<TrackedColumn> {
        let Some([index, counter]) = self.inside.take().and_then(|inside| <[String; 2]>::try_from(inside).ok()) else {
            return self.arguments(&format!("{}(0,0)", self.base));
        };
        let fits = index.parse::<u8>().ok().filter(|index| u32::from(*index) < ARRAY_LENGTH_MAX);
        let Some(found) = fits else {
            let message = format!("'{index}' is not a place in an array");
            return self.error(self.name.part(&index), message, &format!("the last one is {}", ARRAY_LENGTH_MAX - 1));
        };
        Some(TrackedColumn { counter: self.counter(&counter)?, array: true, index: found })
    }

    fn arguments<T>(&mut self, example: &str) -> Option<T> {
        let message = format!("'{}' needs arguments in parentheses", self.base);
        self.error(self.name.span, message, &format!("such as '{example}'"))
    }

    /// A number as it is, or an expression that gives one.
    pub(super) fn integer(&mut self) -> Option<IntegerValue> {
        if let Some(word) = self.words.first()
            && let Ok(number) = word.text.parse::<i64>()
        {
            self.take();
            return match u32::try_from(number) {
                Ok(number) => Some(IntegerValue::Fixed(number.into())),
                Err(_) => self.error(word.span, format!("'{}' is not a number between 0 and {}", word.text, u32::MAX), "32 bits are kept"),
            };
        }
        self.value(SampleType::Integer).map(IntegerValue::Expression)
    }

    /// A number up to a limit, decimal, or hexadecimal behind `0x`.
    pub(super) fn fixed(&mut self, limit: u32) -> Option<u32> {
        let word = self.required("a number")?;
        let number = match word.text.strip_prefix("0x").or_else(|| word.text.strip_prefix("0X")) {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => word.text.parse().ok(),
        };
        match number.filter(|number| *number <= limit) {
            Some(number) => Some(number),
            None => {
                let message = format!("'{}' is not a number between 0 and {limit}", word.text);
                self.error(word.span, message, "decimal, or hexadecimal behind '0x'")
            }
        }
    }

    pub(super) fn log_level(&mut self) -> Option<Action> {
        let word = self.required("a level, or 'silent'")?;
        if word.text == "silent" {
            return Some(Action::SetLogLevel(None));
        }
        match Level::from_name(&word.text) {
            Some(level) => Some(Action::SetLogLevel(Some(level))),
            None => {
                let names: Vec<&str> = Level::ALL.iter().map(|level| level.name()).chain(["silent"]).collect();
                let help = match keyword::nearest(&word.text, names.iter().copied()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("there are {}", names.join(", ")),
                };
                self.error(word.span, format!("there is no log level '{}'", word.text), &help)
            }
        }
    }

    pub(super) fn nice(&mut self) -> Option<Action> {
        let word = self.required("a number")?;
        let (number, clean) = value::leading_number(&word.text);
        if !clean {
            let message = format!("'{}' is not a number; it is read as {number}, as HAProxy does", word.text);
            self.compiler.diagnostics.warning(word.span, message);
        }
        self.compiler.diagnostics.no_effect(self.name.span, "'set-nice' has no effect here").label("every session has its turn");
        Some(Action::SetNice(i16::try_from(number.clamp(-1024, 1024)).unwrap_or(0)))
    }

    pub(super) fn capture(&mut self) -> Option<Action> {
        let expression = self.value(SampleType::String)?;
        let word = self.required("'len' and a number of bytes")?;
        if word.text != "len" {
            return self.error(word.span, format!("unexpected '{}'", word.text), "the length of the value is written 'len <bytes>'");
        }
        let word = self.required("a number of bytes after 'len'")?;
        let Some(length) = capture_length(&word.text) else {
            return self.error(word.span, format!("'{}' is not a length of captured values", word.text), "1 to 65535 bytes");
        };
        let title = &self.context.title;
        let Some(captures) = self.context.captures.as_deref_mut() else {
            let message = format!("{title} has no listening half, which captured values belong to");
            return self.error(self.name.span, message, "capture in the frontend");
        };
        let Ok(slot) = u16::try_from(captures.len()) else {
            return self.error(self.name.span, "there are more than 65536 captured values", "leave some out");
        };
        captures.push(length);
        Some(Action::Capture { expression, slot, length })
    }

    /// The variable's name in the parentheses, alone.
    pub(super) fn variable_name(&mut self) -> Option<Variable> {
        match self.inside.take().as_deref() {
            Some([name]) if !name.is_empty() => self.compiler.variable(name, self.name.part(name)),
            Some([_, condition, ..]) => {
                let message = format!("'{}' takes no condition in its parentheses", self.base);
                self.error(self.name.part(condition), message, "only 'set-var' and 'set-var-fmt' do")
            }
            _ => self.arguments(&format!("{}(txn.name)", self.base)),
        }
    }

    /// The variable's name in the parentheses, and the conditions behind it.
    fn variable(&mut self) -> Option<(Variable, SetWhen)> {
        let inside = self.inside.take().unwrap_or_default();
        let Some((name, conditions)) = inside.split_first().filter(|(name, _)| !name.is_empty()) else {
            return self.arguments(&format!("{}(txn.name)", self.base));
        };
        let when = set_when(conditions, self.name, self.compiler)?;
        let variable = self.compiler.variable(name, self.name.part(name))?;
        Some((variable, when))
    }

    pub(super) fn set_variable(&mut self) -> Option<Action> {
        let (variable, when) = self.variable()?;
        let expression = self.expression()?;
        Some(Action::SetVariable(variable, VariableValue::Expression(expression), when))
    }

    pub(super) fn set_variable_format(&mut self) -> Option<Action> {
        let (variable, when) = self.variable()?;
        let word = self.required("a format")?;
        let format = self.compiler.format(word, self.site)?;
        Some(Action::SetVariable(variable, VariableValue::Format(format), when))
    }
}

/// Longest captured value, in bytes: a line of a log has no room for more.
const CAPTURE_LENGTH_MAX: i64 = 65_535;

/// A length of captured values.
pub fn capture_length(text: &str) -> Option<u32> {
    let (length, clean) = value::leading_number(text);
    u32::try_from(length).ok().filter(|_| clean && (1..=CAPTURE_LENGTH_MAX).contains(&length))
}

/// Conditions of `set-var`, in HAProxy's names.
pub const SET_CONDITIONS: &[&str] = &["ifexists", "ifnotexists", "ifempty", "ifnotempty", "ifset", "ifnotset", "ifgt", "iflt"];

/// Reads the conditions behind a variable's name.
pub fn set_when(conditions: &[String], word: &Word, compiler: &mut Compiler<'_, '_>) -> Option<SetWhen> {
    let mut when = SetWhen::default();
    for condition in conditions {
        match condition.as_str() {
            "ifexists" => when.exists = Some(true),
            "ifnotexists" => when.exists = Some(false),
            "ifempty" => when.empty = Some(true),
            "ifnotempty" => when.empty = Some(false),
            "ifset" => when.set = Some(true),
            "ifnotset" => when.set = Some(false),
            "ifgt" => when.greater = Some(true),
            "iflt" => when.greater = Some(false),
            unknown => {
                let finding =
                    compiler.diagnostics.error(word.part(unknown), format!("there is no condition '{unknown}' for setting a variable"));
                match keyword::nearest(unknown, SET_CONDITIONS.iter().copied()) {
                    Some(near) => finding.help(format!("did you mean '{near}'?")),
                    None => finding.help(format!("there are {}", SET_CONDITIONS.join(", "))),
                };
                return None;
            }
        }
    }
    Some(when)
}
