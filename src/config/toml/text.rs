//! Strings of a TOML file as words: environment variables, splitting of rule strings, and where each word stands in the file.
//!
//! Strings in double quotes expand `${NAME}` and `${NAME-default}`; strings in single quotes are taken as they are, as in haproxy.cfg. A
//! string that holds a rule is split like a line of haproxy.cfg: blanks separate, quotes group, the same escapes; `#` is a character like any
//! other, since TOML has its own comments.

use std::ops::Range;

use super::super::diagnostic::{SourceId, Span};
use super::super::draft::Word;
use super::super::environment::Environment;

/// Longest string, before and after its variables are expanded, in bytes; as in haproxy.cfg.
const STRING_SIZE_LIMIT: usize = 1 << 20;

/// One TOML string with its place.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    /// The text file it is from.
    pub source: SourceId,
    /// The string as TOML understands it.
    pub value: &'a str,
    /// As written, with its quotes.
    pub raw: &'a str,
    /// Byte offset of `raw` in the file.
    pub offset: usize,
}

/// What is wrong with a string: where and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    /// Where.
    pub span: Span,
    /// One sentence without a final period.
    pub message: String,
}

/// One character after environment variables were expanded.
#[derive(Clone, Copy)]
struct Piece {
    character: char,
    /// Bytes of `Text::value` that it came from.
    from: usize,
    to: usize,
    /// It came out of a variable: never a separator, quote or escape.
    literal: bool,
}

impl<'a> Text<'a> {
    /// The whole string as one word.
    pub fn word(&self, environment: &Environment) -> Result<Word, TextError> {
        let span = self.span(0..self.value.len());
        self.check_value()?;
        if !self.value.contains("${") {
            return Ok(Word { text: self.value.to_owned(), span });
        }
        let pieces = self.pieces(environment, false)?;
        Ok(Word { text: pieces.iter().map(|piece| piece.character).collect(), span })
    }

    /// The string split like a line of haproxy.cfg; may be empty.
    pub fn words(&self, environment: &Environment) -> Result<Vec<Word>, TextError> {
        let pieces = self.pieces(environment, true)?;
        Splitter { text: self, words: Vec::new(), word: None, end: 0 }.run(&pieces)
    }

    /// Where a part of `value` stands in the file. Strings with TOML escapes are marked whole: their offsets cannot be mapped.
    pub fn span(&self, part: Range<usize>) -> Span {
        let whole = self.offset..self.offset + self.raw.len();
        let inside = if part == (0..self.value.len()) { None } else { self.value_offset() };
        let range = inside.map_or(whole, |start| start + part.start..start + part.end);
        Span { source: self.source, start: range.start as u32, end: range.end as u32 }
    }

    /// Where `value` begins in the file, when it stands there as it is.
    fn value_offset(&self) -> Option<usize> {
        let quoted = self.raw.len() - self.raw.trim_start_matches(['"', '\'']).len();
        let inside = self.raw.get(quoted..)?;
        let newline = ["\r\n", "\n"].iter().find(|newline| quoted == 3 && inside.starts_with(**newline)).map_or(0, |newline| newline.len());
        inside.get(newline..)?.starts_with(self.value).then_some(self.offset + quoted + newline)
    }

    /// The characters with variables expanded. Within a rule string, single quotes protect from expansion.
    fn pieces(&self, environment: &Environment, single_quotes_protect: bool) -> Result<Vec<Piece>, TextError> {
        self.check_value()?;
        let expands = self.raw.starts_with('"');
        let mut pieces = Vec::with_capacity(self.value.len());
        let mut protected = false;
        let mut double_quoted = false;
        let mut at = 0;
        while let Some(character) = self.value.get(at..).and_then(|rest| rest.chars().next()) {
            let rest = self.value.get(at..).unwrap_or("");
            if expands && !protected && rest.starts_with("${") {
                let (expansion, length) = self.variable(at, rest, environment)?;
                self.check_size(pieces.len() + expansion.len())?;
                pieces.extend(expansion.chars().map(|character| Piece { character, from: at, to: at + length, literal: true }));
                at += length;
                continue;
            }
            if single_quotes_protect {
                match character {
                    '\'' if !double_quoted => protected = !protected,
                    '"' if !protected => double_quoted = !double_quoted,
                    _ => {}
                }
            }
            let to = at + character.len_utf8();
            pieces.push(Piece { character, from: at, to, literal: false });
            at = to;
        }
        Ok(pieces)
    }

    /// What no string may be: too long, or something that the system would cut off at its NUL.
    fn check_value(&self) -> Result<(), TextError> {
        if self.value.contains('\0') {
            let message = "a NUL byte cannot be part of a string".into();
            return Err(TextError { span: self.span(0..self.value.len()), message });
        }
        self.check_size(self.value.len())
    }

    fn check_size(&self, size: usize) -> Result<(), TextError> {
        if size <= STRING_SIZE_LIMIT {
            return Ok(());
        }
        let message = format!("this string is longer than {STRING_SIZE_LIMIT} bytes once its variables are expanded");
        Err(TextError { span: self.span(0..self.value.len()), message })
    }

    /// Expansion and written length of the variable that `rest` begins with.
    fn variable(&self, at: usize, rest: &str, environment: &Environment) -> Result<(String, usize), TextError> {
        let Some(length) = rest.find('}').map(|brace| brace + 1) else {
            return Err(TextError {
                span: self.span(at..self.value.len()),
                message: "'${' without '}'; single quotes take a string as it is".into(),
            });
        };
        let inside = rest.get(2..length - 1).unwrap_or("");
        let (name, default) = inside.split_once('-').map_or((inside, None), |(name, default)| (name, Some(default)));
        if !is_variable_name(name) {
            let message = format!("'{name}' is not the name of an environment variable");
            return Err(TextError { span: self.span(at..at + length), message });
        }
        let value = environment.get(name).or(default).unwrap_or("").to_owned();
        Ok((value, length))
    }
}

/// Whether a variable of the environment can have this name: letters, digits and `_`, no digit first.
pub fn is_variable_name(name: &str) -> bool {
    let legal = |(index, byte): (usize, u8)| byte == b'_' || byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit());
    !name.is_empty() && name.bytes().enumerate().all(legal)
}

/// Splits pieces into words.
struct Splitter<'t, 'a> {
    text: &'t Text<'a>,
    words: Vec<Word>,
    /// The word being read and where it began.
    word: Option<(String, usize)>,
    /// One past the last byte of the word being read.
    end: usize,
}

impl Splitter<'_, '_> {
    fn run(mut self, pieces: &[Piece]) -> Result<Vec<Word>, TextError> {
        let mut quote: Option<(char, usize)> = None;
        let mut rest = pieces;
        while let [piece, after @ ..] = rest {
            rest = after;
            match (piece.character, quote) {
                (character, _) if piece.literal => self.push(piece, Some(character)),
                ('\\', None | Some(('"', _))) => rest = self.escape(piece, after),
                (mark, Some((open, _))) if mark == open => {
                    self.push(piece, None);
                    quote = None;
                }
                (mark @ ('"' | '\''), None) => {
                    self.push(piece, None);
                    quote = Some((mark, piece.from));
                }
                (' ' | '\t' | '\n' | '\r', None) => self.finish(),
                (character, _) => self.push(piece, Some(character)),
            }
        }
        if let Some((mark, from)) = quote {
            let span = self.text.span(from..from + mark.len_utf8());
            return Err(TextError { span, message: "this quote is never closed".into() });
        }
        self.finish();
        Ok(self.words)
    }

    /// Takes what follows a backslash, gives what comes after it. Before any other character a backslash stands for itself.
    fn escape<'p>(&mut self, backslash: &Piece, after: &'p [Piece]) -> &'p [Piece] {
        let hexadecimal = |piece: &Piece| if piece.literal { None } else { piece.character.to_digit(16) };
        let character = match after.first().filter(|piece| !piece.literal).map(|piece| piece.character) {
            Some(character @ (' ' | '\\' | '#' | '"' | '\'' | '$')) => character,
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('x') => match (after.get(1).and_then(hexadecimal), after.get(2).and_then(hexadecimal)) {
                (Some(high @ 0..=7), Some(low)) if high + low > 0 => {
                    self.push(backslash, char::from_u32(high * 16 + low));
                    self.end = after.get(2).map_or(self.end, |piece| piece.to);
                    return after.get(3..).unwrap_or(&[]);
                }
                _ => {
                    self.push(backslash, Some('\\'));
                    return after;
                }
            },
            _ => {
                self.push(backslash, Some('\\'));
                return after;
            }
        };
        self.push(backslash, Some(character));
        self.end = after.first().map_or(self.end, |piece| piece.to);
        after.get(1..).unwrap_or(&[])
    }

    fn push(&mut self, piece: &Piece, character: Option<char>) {
        let (text, _) = self.word.get_or_insert_with(|| (String::new(), piece.from));
        text.extend(character);
        self.end = piece.to;
    }

    fn finish(&mut self) {
        if let Some((text, start)) = self.word.take() {
            self.words.push(Word { text, span: self.text.span(start..self.end) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text<'a>(raw: &'a str, value: &'a str) -> Text<'a> {
        Text { source: SourceId(0), value, raw, offset: 10 }
    }

    fn environment() -> Environment {
        [("HOST", "a b'c"), ("EMPTY", "")].map(|(name, value)| (name.into(), value.into())).into_iter().collect()
    }

    fn split(raw: &str) -> Result<Vec<String>, String> {
        let value = raw.get(1..raw.len() - 1).expect("quoted");
        let words = text(raw, value).words(&environment()).map_err(|error| error.message)?;
        for word in &words {
            let (start, end) = (word.span.start as usize - 10, word.span.end as usize - 10);
            assert!(raw.get(start..end).is_some(), "{word:?}");
        }
        Ok(words.into_iter().map(|word| word.text).collect())
    }

    #[test]
    fn splits_like_a_line_of_haproxy_cfg() {
        assert_eq!(split(r#""content  reject unless { req.payload(0,0),m }""#).expect("fine").len(), 6);
        assert_eq!(split(r##""a 'b c'd \e\ f "" "g h" '' \x41# \x""##).expect("fine"), ["a", "b cd", r"\e f", "", "g h", "", "A#", r"\x"]);
        assert_eq!(split(r#""a 'b""#), Err("this quote is never closed".into()));
    }

    #[test]
    fn variables_are_expanded_in_double_quotes_only_and_never_split() {
        assert_eq!(split(r#""x ${HOST}:${PORT-80}${EMPTY}""#).expect("fine"), ["x", "a b'c:80"]);
        assert_eq!(split(r#"'x ${HOST}'"#).expect("fine"), ["x", "${HOST}"]);
        assert_eq!(split(r#""'${HOST}'""#).expect("fine"), ["${HOST}"]);
        assert_eq!(split(r#""${HOST""#), Err("'${' without '}'; single quotes take a string as it is".into()));
        assert_eq!(split(r#""${a b}""#), Err("'a b' is not the name of an environment variable".into()));
    }

    #[test]
    fn size_is_bounded_before_and_after_expansion() {
        let long = "x".repeat(STRING_SIZE_LIMIT + 1);
        assert!(text(&format!("'{long}'"), &long).word(&environment()).is_err());
        assert!(text(&format!("'{long}'"), &long).words(&environment()).is_err());
        let environment: Environment = [("X".to_owned(), "y".repeat(1000))].into_iter().collect();
        let growing = "${X}".repeat(1100);
        assert!(text(&format!("\"{growing}\""), &growing).words(&environment).is_err());
        assert!(text(&format!("\"{}\"", &growing[..400]), &growing[..400]).words(&environment).is_ok());
    }

    #[test]
    fn words_point_at_themselves() {
        let raw = r#""ab ${HOST} cd""#;
        let words = text(raw, &raw[1..raw.len() - 1]).words(&environment()).expect("fine");
        let places: Vec<_> = words.iter().map(|word| (word.span.start, word.span.end)).collect();
        assert_eq!(places, [(11, 13), (14, 21), (22, 24)]);
        let escaped = text(r#""a\u0020b""#, "a b").words(&environment()).expect("fine");
        assert_eq!((escaped[1].span.start, escaped[1].span.end), (10, 20), "an escaped string is marked whole");
    }

    proptest! {
        #[test]
        fn any_string_gives_words_or_an_error(value in "[ -~\u{e9}\n]{0,40}") {
            let raw = format!("\"{value}\"");
            let text = text(&raw, &value);
            let _ = text.word(&environment());
            if let Ok(words) = text.words(&environment()) {
                prop_assert!(words.iter().all(|word| word.span.start <= word.span.end));
            }
        }

        #[test]
        fn plain_words_come_back(words in prop::collection::vec("[a-z0-9(),.:{}%-]{1,8}", 0..8)) {
            let value = words.join("  ");
            let raw = format!("'{value}'");
            let found: Vec<String> = text(&raw, &value).words(&environment()).expect("fine").into_iter().map(|word| word.text).collect();
            prop_assert_eq!(found, words);
        }
    }
}
