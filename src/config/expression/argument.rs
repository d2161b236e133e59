//! Arguments of fetches and converters, each checked by its [`Parameter`] with the caret under it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ringmain_model::pattern::Regex;
use ringmain_model::{Argument, Milliseconds, SampleType, Scope};
use ringmain_policy::expression::{ArgumentCheck, Parameter};

use super::Compiler;
use super::pattern::explain_regex;
use super::syntax::{WrittenArgument, WrittenCall};
use super::text::Text;
use crate::config::diagnostic::Span;
use crate::config::haproxy::value;
use crate::config::keyword::nearest;

/// What a call may have in its parentheses.
pub struct Signature {
    /// "fetch" or "converter".
    pub kind: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub parameters: &'static [Parameter],
    /// How many must be given.
    pub required: usize,
    /// The type of its value.
    pub output: SampleType,
    /// Further checks.
    pub check: Option<ArgumentCheck>,
}

/// An argument that is about to be understood.
struct Given<'t> {
    text: &'t Text,
    written: &'t WrittenArgument,
    /// The argument behind it, for flags of regular expressions.
    next: Option<&'t WrittenArgument>,
    signature: &'t Signature,
}

impl Given<'_> {
    fn value(&self) -> &str {
        &self.written.value
    }

    fn span(&self) -> Span {
        self.text.span(self.written.range.clone())
    }
}

impl Compiler<'_, '_> {
    /// Understands the arguments of a call.
    pub(super) fn arguments(&mut self, text: &Text, written: &WrittenCall, signature: &Signature) -> Option<Vec<Argument>> {
        let given = &written.arguments;
        if let Some(extra) = given.get(signature.parameters.len()) {
            let message = match signature.parameters.len() {
                0 => format!("{} '{}' takes no argument", signature.kind, signature.name),
                1 => format!("{} '{}' takes one argument", signature.kind, signature.name),
                count => format!("{} '{}' takes {count} arguments at most", signature.kind, signature.name),
            };
            self.diagnostics.error(text.span(extra.range.clone()), message);
            return None;
        }
        let mut list = Vec::with_capacity(signature.parameters.len());
        let mut complete = true;
        for (position, parameter) in signature.parameters.iter().enumerate() {
            let argument = match given.get(position) {
                Some(one) if !one.value.is_empty() || takes_empty(*parameter) => {
                    self.argument(*parameter, &Given { text, written: one, next: given.get(position + 1), signature })
                }
                one => {
                    let place = one.map(|one| one.range.clone());
                    self.missing(*parameter, position, place, (text, written), signature)
                }
            };
            complete &= argument.is_some();
            list.extend(argument);
        }
        if !complete {
            return None;
        }
        if let Some(check) = signature.check
            && let Err((position, message)) = check(&mut list)
        {
            let range = given.get(position).map_or(written.whole.clone(), |argument| argument.range.clone());
            self.diagnostics.error(text.span(range), format!("{message} in '{}'", signature.name));
            return None;
        }
        while list.last() == Some(&Argument::Absent) {
            list.pop();
        }
        Some(list)
    }

    /// An argument that is not there: a name's default, or nothing.
    fn missing(
        &mut self,
        parameter: Parameter,
        position: usize,
        place: Option<Range<usize>>,
        (text, call): (&Text, &WrittenCall),
        signature: &Signature,
    ) -> Option<Argument> {
        let span = text.span(place.clone().filter(|place| !place.is_empty()).unwrap_or(call.whole.clone()));
        let required = position < signature.required;
        match parameter {
            Parameter::Backend => match self.current.backend {
                Some(id) => return Some(Argument::Backend(id)),
                None => {
                    let message = format!("'{}' is about a backend, and {} is none", signature.name, self.current.title);
                    self.diagnostics.error(span, message).help(format!("name one: '{}(BACKEND)'", signature.name));
                }
            },
            Parameter::Frontend => match self.current.frontend {
                Some(id) => return Some(Argument::Frontend(id)),
                None => {
                    let message = format!("'{}' is about a frontend, and {} is none", signature.name, self.current.title);
                    self.diagnostics.error(span, message).help(format!("name one: '{}(FRONTEND)'", signature.name));
                }
            },
            Parameter::Table => match self.shared.names.table(&self.current.name) {
                Some(id) => return Some(Argument::Table(id)),
                None => {
                    let message = format!("'{}' is about a stick table, and {} has none", signature.name, self.current.title);
                    self.diagnostics.error(span, message).help("name the section that declares the table");
                }
            },
            _ if required => {
                let message = format!("'{}' needs {} as argument {}", signature.name, expected(parameter), position + 1);
                self.diagnostics.error(span, message);
            }
            // Between others an empty argument would be taken for something else by HAProxy.
            _ if place.is_some() && call.arguments.get(position + 1).is_some() && !may_be_empty(parameter) => {
                let message =
                    format!("argument {} of '{}' is empty, and {} was expected", position + 1, signature.name, expected(parameter));
                self.diagnostics.error(span, message);
            }
            _ => return Some(Argument::Absent),
        }
        None
    }

    fn argument(&mut self, parameter: Parameter, given: &Given<'_>) -> Option<Argument> {
        let text = given.value();
        match parameter {
            Parameter::Integer => match integer(text) {
                Some(number) => Some(Argument::Integer(number)),
                None => self.unfit(parameter, given),
            },
            Parameter::Text => Some(Argument::Text(text.into())),
            Parameter::Word(words) => self.word(words, given),
            Parameter::Mask4 => match mask4(text) {
                Some(mask) => Some(Argument::Ipv4(mask)),
                None => self.unfit(parameter, given),
            },
            Parameter::Mask6 => match mask6(text) {
                Some(mask) => Some(Argument::Ipv6(mask)),
                None => self.unfit(parameter, given),
            },
            Parameter::Time => match value::time(text) {
                Ok(time) if time.trailing.is_none() => Some(Argument::Time(Milliseconds(time.milliseconds))),
                _ => self.unfit(parameter, given),
            },
            Parameter::Size => match value::size(text) {
                Ok(size) => Some(Argument::Integer(i64::from(size))),
                Err(_) => self.unfit(parameter, given),
            },
            Parameter::Frontend | Parameter::Backend | Parameter::Table | Parameter::OtherTable | Parameter::Server => {
                self.named(parameter, given)
            }
            Parameter::Environment => Some(match self.shared.environment.get(text) {
                Some(value) => Argument::Text(value.into()),
                None => Argument::Absent,
            }),
            Parameter::Variable => self.variable(text, given.span()).map(Argument::Variable),
            Parameter::VariableName if !starts_with_scope(text) => Some(Argument::Text(text.into())),
            Parameter::VariableName => self.variable(text, given.span()).map(Argument::Variable),
            Parameter::IntegerOrVariable => match integer(text) {
                Some(number) => Some(Argument::Integer(number)),
                None if text.contains('.') => self.variable(text, given.span()).map(Argument::Variable),
                None => self.unfit(parameter, given),
            },
            Parameter::Regex => self.regex(given),
            Parameter::Map => self.map(given.signature.name, text, given.span()).map(Argument::Map),
            Parameter::MapDefault => self.map_default(given),
        }
    }

    fn word(&mut self, words: &'static [&'static str], given: &Given<'_>) -> Option<Argument> {
        if let Some(word) = words.iter().find(|word| **word == given.value()) {
            return Some(Argument::Text((*word).into()));
        }
        let message = format!("'{}' does not know '{}'", given.signature.name, given.value().escape_debug());
        let finding = self.diagnostics.error(given.span(), message);
        match nearest(given.value(), words.iter().copied()) {
            Some(near) => finding.help(format!("did you mean '{near}'?")),
            None => finding.help(format!("it takes {}", words.join(", "))),
        };
        None
    }

    /// A frontend, backend, table or server.
    fn named(&mut self, parameter: Parameter, given: &Given<'_>) -> Option<Argument> {
        let (text, names) = (given.value(), &self.shared.names);
        let found = match parameter {
            Parameter::Frontend => names.frontend(text).map(Argument::Frontend),
            Parameter::Backend => names.backend(text).map(Argument::Backend),
            Parameter::Table | Parameter::OtherTable => names.table(text).map(Argument::Table),
            _ => return self.server(given),
        };
        if found.is_some() {
            return found;
        }
        let (what, near) = match parameter {
            Parameter::Frontend => ("frontend", nearest(text, names.frontends())),
            Parameter::Backend => ("backend", nearest(text, names.backends())),
            _ => ("stick table", nearest(text, names.tables())),
        };
        let finding = self.diagnostics.error(given.span(), format!("there is no {what} '{}'", text.escape_debug()));
        match near {
            Some(near) => finding.help(format!("did you mean '{near}'?")),
            None if what == "stick table" => finding.help("a table has the name of the section with its 'stick-table' line"),
            None => finding,
        };
        None
    }

    /// `backend/server`, or `server` of the current backend.
    fn server(&mut self, given: &Given<'_>) -> Option<Argument> {
        let (text, names) = (given.value(), &self.shared.names);
        let (backend, server) = match text.split_once('/') {
            Some((backend, server)) => (names.backend(backend), server),
            None => (self.current.backend, text),
        };
        let Some(backend) = backend else {
            let finding = self.diagnostics.error(given.span(), format!("there is no backend for server '{}'", text.escape_debug()));
            let name = text.split_once('/').map(|(backend, _)| backend);
            match name.and_then(|name| nearest(name, names.backends())) {
                Some(near) => finding.help(format!("did you mean '{near}/{server}'?")),
                None => finding.help("write 'BACKEND/SERVER'"),
            };
            return None;
        };
        if let Some(id) = names.server(backend, server) {
            return Some(Argument::Server(id));
        }
        let finding = self.diagnostics.error(given.span(), format!("there is no server '{}'", text.escape_debug()));
        if let Some(near) = nearest(server, names.servers(backend)) {
            finding.help(format!("did you mean '{near}'?"));
        }
        None
    }

    fn regex(&mut self, given: &Given<'_>) -> Option<Argument> {
        let ignore_case = given.next.is_some_and(|flags| flags.value.contains('i'));
        match Regex::new(given.value(), ignore_case) {
            Ok(regex) => Some(Argument::Regex(regex)),
            Err(error) => {
                let (message, help) = explain_regex(given.value(), &error);
                self.diagnostics.error(given.span(), message).help(help);
                None
            }
        }
    }

    /// The value when a map has none; it must fit the type that the map gives.
    fn map_default(&mut self, given: &Given<'_>) -> Option<Argument> {
        let text = given.value();
        let fits = match given.signature.output {
            SampleType::Integer => integer(text).is_some(),
            SampleType::Address | SampleType::Ipv4 | SampleType::Ipv6 => text.parse::<std::net::IpAddr>().is_ok(),
            _ => true,
        };
        if fits {
            return Some(Argument::Text(text.into()));
        }
        let kind = super::chain::described(given.signature.output);
        let message = format!("'{}' gives {kind}, and '{}' is none", given.signature.name, text.escape_debug());
        self.diagnostics.error(given.span(), message);
        None
    }

    fn unfit(&mut self, parameter: Parameter, given: &Given<'_>) -> Option<Argument> {
        let message =
            format!("'{}' is not {}, which '{}' needs here", given.value().escape_debug(), expected(parameter), given.signature.name);
        self.diagnostics.error(given.span(), message);
        None
    }
}

/// Whether a text names a variable.
fn starts_with_scope(text: &str) -> bool {
    text.split_once('.').is_some_and(|(scope, _)| Scope::ALL.iter().any(|known| known.name() == scope))
}

/// Whether an empty text is a value of its own.
fn takes_empty(parameter: Parameter) -> bool {
    matches!(parameter, Parameter::Text | Parameter::VariableName)
}

/// Whether an argument that is left out between others is plainly absent.
fn may_be_empty(parameter: Parameter) -> bool {
    matches!(parameter, Parameter::VariableName | Parameter::Variable | Parameter::MapDefault | Parameter::Word(_))
}

fn expected(parameter: Parameter) -> &'static str {
    match parameter {
        Parameter::Integer => "a whole number",
        Parameter::Text => "a text",
        Parameter::Word(_) => "a word",
        Parameter::Mask4 => "an IPv4 mask or the length of one",
        Parameter::Mask6 => "an IPv6 mask or the length of one",
        Parameter::Time => "a duration",
        Parameter::Size => "a size in bytes",
        Parameter::Frontend => "a frontend",
        Parameter::Backend => "a backend",
        Parameter::Server => "a server",
        Parameter::Table | Parameter::OtherTable => "a stick table",
        Parameter::Environment => "the name of an environment variable",
        Parameter::Variable => "a variable such as 'txn.name'",
        Parameter::VariableName => "a text or a variable such as 'txn.name'",
        Parameter::IntegerOrVariable => "a whole number or a variable such as 'txn.name'",
        Parameter::Regex => "a regular expression",
        Parameter::Map => "a map file",
        Parameter::MapDefault => "a default value",
    }
}

/// A whole number; one that is too large is the largest, as in HAProxy.
pub(super) fn integer(text: &str) -> Option<i64> {
    match value::leading_number(text) {
        (number, true) => Some(number),
        _ => None,
    }
}

fn mask4(text: &str) -> Option<Ipv4Addr> {
    if let Ok(length @ 0..=32) = text.parse::<u32>() {
        return Some(Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - length).unwrap_or(0)));
    }
    text.parse().ok()
}

fn mask6(text: &str) -> Option<Ipv6Addr> {
    if let Ok(length @ 0..=128) = text.parse::<u32>() {
        return Some(Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - length).unwrap_or(0)));
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_lengths_or_addresses() {
        assert_eq!(mask4("24"), Some(Ipv4Addr::new(255, 255, 255, 0)));
        assert_eq!((mask4("0"), mask4("32")), (Some(Ipv4Addr::UNSPECIFIED), Some(Ipv4Addr::BROADCAST)));
        assert_eq!(mask4("255.0.255.0"), Some(Ipv4Addr::new(255, 0, 255, 0)));
        assert_eq!((mask4("33"), mask4("x"), mask4("-1")), (None, None, None));
        assert_eq!(mask6("64"), "ffff:ffff:ffff:ffff::".parse().ok());
        assert_eq!((mask6("0"), mask6("129")), (Some(Ipv6Addr::UNSPECIFIED), None));
    }

    #[test]
    fn numbers_are_whole_and_saturate() {
        assert_eq!((integer("-5"), integer("+5"), integer("5x"), integer("")), (Some(-5), Some(5), None, None));
        assert_eq!(integer("99999999999999999999"), Some(i64::MAX));
    }
}
