//! The expressions of `.if` and `.elif` (manual section 2.4): text to yes or no.

use super::super::environment::Environment;

/// The HAProxy version whose configuration language this is, for `version_atleast` and `version_before`.
pub const LANGUAGE_VERSION: &str = "2.6.12";
/// What `feature(NAME)` says yes to: names of HAProxy's feature list for what this program can do, too.
pub const FEATURES: &[&str] = &["ACCEPT4", "CPU_AFFINITY", "GETADDRINFO", "LINUX_SPLICE", "SYSTEMD", "THREAD"];
/// What `enabled(NAME)` knows, and whether it is on here.
const SWITCHES: &[(&str, bool)] = &[
    ("EPOLL", false),
    ("EVPORTS", false),
    ("FAST-FORWARD", true),
    ("GETADDRINFO", true),
    ("KQUEUE", false),
    ("POLL", false),
    ("REUSEPORT", true),
    ("SERVER-SSL-VERIFY-NONE", false),
    ("SPLICE", true),
];
/// Deepest nesting of parentheses and negations.
const DEPTH_LIMIT: usize = 64;
/// Predicates, their numbers of arguments and how to read them.
const PREDICATES: &[(&str, usize)] =
    &[("defined", 1), ("enabled", 1), ("feature", 1), ("streq", 2), ("strneq", 2), ("version_atleast", 1), ("version_before", 1)];

/// The value of a condition. An empty one is false. The error is a sentence for the operator.
pub fn evaluate(text: &str, environment: &Environment) -> Result<bool, String> {
    if text.trim().is_empty() {
        return Ok(false);
    }
    let mut parser = Parser { rest: text, environment, depth: 0 };
    let value = parser.any()?;
    parser.skip_blanks();
    match parser.rest.chars().next() {
        None => Ok(value),
        Some(_) => Err(format!("unexpected '{}' after the condition", parser.rest)),
    }
}

struct Parser<'a> {
    rest: &'a str,
    environment: &'a Environment,
    depth: usize,
}

impl Parser<'_> {
    /// `A || B`; everything is read even when the value is known, so that mistakes never hide.
    fn any(&mut self) -> Result<bool, String> {
        let mut value = self.all()?;
        while self.take("||") {
            value |= self.all()?;
        }
        Ok(value)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut value = self.term()?;
        while self.take("&&") {
            value &= self.term()?;
        }
        Ok(value)
    }

    fn term(&mut self) -> Result<bool, String> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(format!("this condition is nested deeper than {DEPTH_LIMIT} levels"));
        }
        let value = if self.take("!") {
            !self.term()?
        } else if self.take("(") {
            let value = self.any()?;
            if !self.take(")") {
                return Err("a parenthesis of this condition is never closed".into());
            }
            value
        } else {
            self.atom()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn atom(&mut self) -> Result<bool, String> {
        self.skip_blanks();
        let unsigned = self.rest.strip_prefix(['-', '+']).unwrap_or(self.rest);
        let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            let (number, rest) = unsigned.split_at(digits);
            self.rest = rest;
            return Ok(number.bytes().any(|digit| digit != b'0'));
        }
        let end = self.rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let Some((name, count)) = PREDICATES.iter().find(|(known, _)| *known == name) else {
            return Err(if self.rest.is_empty() {
                "a condition is missing here".into()
            } else {
                format!("'{}' is not a condition", self.rest)
            });
        };
        self.rest = rest;
        let arguments = self.arguments(name)?;
        if arguments.len() > *count || (arguments.len() < *count && *count > 1) {
            return Err(format!("'{name}' takes {count} argument{}", if *count == 1 { "" } else { "s" }));
        }
        let first = arguments.first().map_or("", String::as_str);
        match *name {
            "defined" => Ok(self.environment.get(first).is_some()),
            "feature" => Ok(FEATURES.contains(&first)),
            "streq" => Ok(arguments.first() == arguments.get(1)),
            "strneq" => Ok(arguments.first() != arguments.get(1)),
            "version_atleast" => Ok(Version::parse(LANGUAGE_VERSION) >= Version::parse(first)),
            "version_before" => Ok(Version::parse(LANGUAGE_VERSION) < Version::parse(first)),
            _ => match SWITCHES.iter().find(|(known, _)| *known == first) {
                Some((_, on)) => Ok(*on),
                None => Err(format!("'enabled' does not know '{first}'")),
            },
        }
    }

    /// The arguments in parentheses right behind a predicate; quotes and backslashes protect a comma or parenthesis.
    fn arguments(&mut self, name: &str) -> Result<Vec<String>, String> {
        let Some(inside) = self.rest.strip_prefix('(') else { return Ok(Vec::new()) };
        let mut arguments = vec![String::new()];
        let mut quote = None;
        let mut letters = inside.char_indices();
        while let Some((at, letter)) = letters.next() {
            let Some(argument) = arguments.last_mut() else { break };
            match (letter, quote) {
                ('"' | '\'', None) => quote = Some(letter),
                (letter, Some(open)) if letter == open => quote = None,
                ('\\', None | Some('"')) => argument.extend(letters.next().map(|(_, letter)| letter)),
                (',', None) => arguments.push(String::new()),
                (')', None) => {
                    self.rest = &inside[at + 1..];
                    return Ok(arguments);
                }
                (letter, _) => argument.push(letter),
            }
        }
        Err(format!("the parenthesis of '{name}' is never closed"))
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }
}

/// A version of HAProxy: major, minor, development or release, patch.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    numbers: (u64, u64),
    released: bool,
    patch: u64,
}

impl Version {
    /// Missing and unreadable parts are zero, as in HAProxy.
    fn parse(text: &str) -> Self {
        let (release, development) = match text.split_once("-dev") {
            Some((release, rest)) => (release, Some(rest)),
            None => (text, None),
        };
        let release = release.split('-').next().unwrap_or_default();
        let mut parts = release.split('.').map(number);
        let mut next = || parts.next().unwrap_or(0);
        let numbers = (next(), next());
        Self { numbers, released: development.is_none(), patch: development.map_or_else(next, number) }
    }
}

fn number(text: &str) -> u64 {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment() -> Environment {
        [("HOME".to_owned(), "/".to_owned())].into_iter().collect()
    }

    /// Verdicts are HAProxy 2.6.12's.
    #[test]
    fn conditions_have_haproxys_value() {
        let yes = "2 -1 +1 !0 0||1 (1) ( 1 ) (1&&0)||1 defined(HOME) streq(a,a) strneq(a,b) version_atleast(2.4) version_atleast(2.6.12) \
                   version_before(2.7-dev1) version_atleast(2.6-dev3) streq(,) ((1)) !defined(NO) version_atleast(2.6-12)";
        // A blank within a condition is written as '_' here to keep the list on few lines.
        let joined = ["1 || 0 && 0", "0 && 0 || 1", "1 && (0 || 1) && !0", "streq(\"a b\",a b)", "!! 1", "streq(a\\,b,\"a,b\")"];
        for text in yes.replace("( 1 )", "(1)").split_whitespace().chain(joined) {
            assert_eq!(evaluate(text, &environment()), Ok(true), "{text}");
        }
        let no = ["", "0", "00", "!1", "! 1", "1 && 0", "defined", "defined()", "defined(NO)", "streq(a,b)", "streq( a ,a)", "feature(NO)"];
        for text in no.into_iter().chain(["version_atleast(2.6.13)", "version_atleast(2.7)", "version_before(2.6.12)", "version_before(x)"])
        {
            assert_eq!(evaluate(text, &environment()), Ok(false), "{text}");
        }
    }

    #[test]
    fn conditions_that_haproxy_refuses_are_errors() {
        for text in [
            "x",
            "1 &&",
            "&& 1",
            "(1",
            "1)",
            "streq(a)",
            "streq(a,a,a)",
            "streq (a,a)",
            "0 && x",
            "1 || x",
            "1a",
            "1 0",
            "1|0",
            "1&1",
            "(1))",
            "streq(a,a",
        ] {
            assert!(evaluate(text, &environment()).is_err(), "{text}");
        }
        assert!(evaluate("enabled(NONSENSE)", &environment()).is_err());
        assert!(evaluate(&"(".repeat(100_000), &environment()).is_err());
    }

    proptest! {
        #[test]
        fn no_condition_panics(text in r#"([ ()!&|,"'\\01a]|streq|defined|version_before|2\.6|-dev|\PC){0,40}"#) {
            let _ = evaluate(&text, &environment());
        }
    }
}
