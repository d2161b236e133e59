//! The grammar of expressions: `fetch(argument,...),converter(argument,...),...` (HAProxy manual sections 2.2 and 7.3).
//!
//! Splits a text into calls with the place of each part. Knows no fetch and no converter.

use std::ops::Range;

use super::text::Text;

/// One fetch or converter as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenCall {
    /// Its name.
    pub name: Range<usize>,
    /// What is in its parentheses.
    pub arguments: Vec<WrittenArgument>,
    /// All of it.
    pub whole: Range<usize>,
}

/// One argument as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenArgument {
    /// Without quotes and escapes.
    pub value: String,
    /// Whether there were quotes: an empty text in quotes was meant.
    pub quoted: bool,
    /// Its place.
    pub range: Range<usize>,
}

/// What is wrong with the grammar of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub range: Range<usize>,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: Option<&'static str>,
}

impl Fault {
    fn new(range: Range<usize>, message: impl Into<String>) -> Self {
        Self { range, message: message.into(), help: None }
    }
}

/// Whether a character may be part of the name of a fetch or converter.
pub fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | '+')
}

/// Reads the calls from a byte of the text on, up to its end or to a character that cannot belong to them, and says where that is. The first
/// call is the fetch.
///
/// # Errors
/// The first mistake.
pub fn calls(text: &Text, start: usize) -> Result<(Vec<WrittenCall>, usize), Fault> {
    let mut reader = Reader { text, at: start };
    let mut calls = Vec::new();
    loop {
        let rest = text.from(reader.at);
        let length = rest.find(|character| !is_name_character(character)).unwrap_or(rest.len());
        if length == 0 {
            let what = if calls.is_empty() { "the name of a fetch is missing" } else { "the name of a converter is missing" };
            return Err(Fault::new(reader.at..reader.at + rest.chars().next().map_or(0, char::len_utf8), what));
        }
        calls.push(reader.call(length)?);
        if !reader.skip_commas() || text.from(reader.at).is_empty() || text.from(reader.at).starts_with(']') {
            return Ok((calls, reader.at));
        }
    }
}

struct Reader<'a> {
    text: &'a Text,
    at: usize,
}

impl Reader<'_> {
    fn next(&self) -> Option<char> {
        self.text.from(self.at).chars().next()
    }

    /// Commas before a converter: HAProxy does not count them.
    fn skip_commas(&mut self) -> bool {
        let before = self.at;
        while self.next() == Some(',') {
            self.at += 1;
        }
        self.at > before
    }

    fn call(&mut self, name_length: usize) -> Result<WrittenCall, Fault> {
        let start = self.at;
        self.at += name_length;
        let name = start..self.at;
        let arguments = if self.next() == Some('(') { self.arguments(&name)? } else { Vec::new() };
        match self.next() {
            None | Some(',' | ']') => Ok(WrittenCall { name, arguments, whole: start..self.at }),
            Some(other) => {
                let name = self.text.as_str().get(name).unwrap_or("");
                let message = format!("unexpected '{}' after '{name}'", other.escape_debug());
                let mut fault = Fault::new(self.at..self.at + other.len_utf8(), message);
                fault.help = Some("a comma separates a fetch and its converters");
                Err(fault)
            }
        }
    }

    /// Reads from the opening parenthesis to the closing one.
    fn arguments(&mut self, name: &Range<usize>) -> Result<Vec<WrittenArgument>, Fault> {
        let open = self.at;
        self.at += 1;
        let mut arguments = Vec::new();
        loop {
            let argument = self.argument()?;
            let closed = match self.next() {
                Some(')') => true,
                Some(_) => false,
                None => {
                    let name = self.text.as_str().get(name.clone()).unwrap_or("");
                    let mut fault = Fault::new(open..open + 1, format!("the parenthesis of '{name}' is never closed"));
                    fault.help = Some("blanks may follow commas only; put other ones into quotes, such as 'str(a b)'");
                    return Err(fault);
                }
            };
            arguments.push(argument);
            self.at += 1;
            if closed {
                let none = matches!(arguments.as_slice(), [only] if only.value.is_empty() && !only.quoted);
                return Ok(if none { Vec::new() } else { arguments });
            }
        }
    }

    /// Reads up to a comma or closing parenthesis outside of quotes.
    fn argument(&mut self) -> Result<WrittenArgument, Fault> {
        let start = self.at;
        let mut value = String::new();
        let mut quote: Option<(char, usize)> = None;
        let mut quoted = false;
        while let Some(character) = self.next() {
            let length = character.len_utf8();
            match (character, quote) {
                (',' | ')', None) => break,
                ('"' | '\'', None) => {
                    quote = Some((character, self.at));
                    quoted = true;
                }
                (character, Some((open, _))) if character == open => quote = None,
                ('\\', None | Some(('"', _))) => {
                    let (length, character) = escape(self.text.from(self.at + 1));
                    value.push(character);
                    self.at += length;
                    continue;
                }
                (character, _) => value.push(character),
            }
            self.at += length;
        }
        if let Some((_, at)) = quote {
            return Err(Fault::new(at..at + 1, "this quote is never closed"));
        }
        Ok(WrittenArgument { value, quoted, range: start..self.at })
    }
}

/// An escape's length, backslash included, and its character. Other backslashes stand for themselves.
fn escape(rest: &str) -> (usize, char) {
    match rest.as_bytes().first() {
        Some(b'n') => (2, '\n'),
        Some(b'r') => (2, '\r'),
        Some(b't') => (2, '\t'),
        Some(&byte @ (b' ' | b'\\' | b'"' | b'\'')) => (2, char::from(byte)),
        _ => (1, '\\'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::{SourceId, Sources, Span};
    use crate::config::draft::Word;

    fn text(text: &str) -> Text {
        let span = Span { source: SourceId(0), start: 0, end: text.len() as u32 };
        Text::new(&Word { text: text.into(), span }, &Sources::default())
    }

    fn arguments(written: &str) -> Vec<String> {
        let (calls, _) = calls(&text(written), 0).expect("an expression");
        calls[0].arguments.iter().map(|argument| argument.value.clone()).collect()
    }

    /// Values as HAProxy 2.6.12 has them.
    #[test]
    fn quotes_and_escapes_are_haproxys() {
        for (written, value) in [
            ("str(a b)", "a b"),
            ("str( a)", " a"),
            (r#"str("a,b"c)"#, "a,bc"),
            (r#"str(x"a,b"c)"#, "xa,bc"),
            ("str('a,b')", "a,b"),
            (r"str('a\,b')", r"a\,b"),
            (r#"str("a\,b")"#, r"a\,b"),
            (r#"str("a\"b")"#, r#"a"b"#),
            (r#"str("a\nb")"#, "a\nb"),
            (r"str(a\nb)", "a\nb"),
            (r"str(a\\b)", r"a\b"),
            (r"str(a\ b)", "a b"),
            (r"str(a\#b)", r"a\#b"),
            (r#"str("a\$b")"#, r"a\$b"),
            (r#"str("a)b")"#, "a)b"),
            (r#"str( "a" )"#, " a "),
            (r"str(\x41)", r"\x41"),
            ("str(a(b)", "a(b"),
        ] {
            assert_eq!(arguments(written), [value], "{written}");
        }
        assert_eq!(arguments(r"concat(\,)"), ["\\", ""]);
        assert_eq!(arguments(r#"concat(",",,b)"#), [",", "", "b"]);
        assert!(arguments("src()").is_empty() && arguments("src").is_empty());
        assert_eq!(arguments(r#"str("")"#), [""]);
    }

    #[test]
    fn calls_end_where_the_expression_does() {
        let names = |written: &str| {
            let text = text(written);
            let (calls, end) = calls(&text, 0).expect("an expression");
            let names: Vec<String> = calls.iter().map(|call| text.as_str()[call.name.clone()].to_owned()).collect();
            (names.join(" "), end)
        };
        assert_eq!(names("src,ipmask(24,64),,hex"), ("src ipmask hex".into(), 22));
        assert_eq!(names("src,"), ("src".into(), 4));
        assert_eq!(names("str(]),hex]x"), ("str hex".into(), 10));
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let fault = |written: &str| calls(&text(written), 0).expect_err("a mistake").range;
        assert_eq!(fault(""), 0..0);
        assert_eq!(fault("(a)"), 0..1);
        assert_eq!(fault("src,(a)"), 4..5);
        assert_eq!(fault("str(a"), 3..4);
        assert_eq!(fault("str('a)"), 4..5);
        assert_eq!(fault("str(a)b,c"), 6..7);
        assert_eq!(fault("src;"), 3..4);
    }
}
