//! One line of haproxy.cfg -> words: quotes, escapes, comments and environment variables (manual sections 2.2 and 2.3).
//!
//! Called for every line by the reader of sections. Each word keeps the bytes it was written with as its span. Knows no keyword.

use super::super::diagnostic::{Diagnostics, SourceId, Span};
use super::super::draft::Word;
use super::super::environment::Environment;

/// Most words of a line, HAProxy's MAX_LINE_ARGS.
pub const WORDS_LIMIT: usize = 64;
/// Longest line in bytes.
pub const LINE_SIZE_LIMIT: usize = 1 << 20;
/// Longest word after expansion, in bytes; bounds what variables that hold variables can grow to.
const WORD_SIZE_LIMIT: usize = 1 << 20;

/// What a line is read with.
#[derive(Clone, Copy)]
pub struct LineContext<'a> {
    /// The text the line is in.
    pub source: SourceId,
    /// Offset of the line's first byte in that text.
    pub offset: usize,
    /// Number of the line, from 1 (`.LINE`).
    pub number: usize,
    /// Name of the file (`.FILE`).
    pub file: &'a str,
    /// Name of the section being read, or its kind (`.SECTION`).
    pub section: &'a str,
    /// Where variables are looked up.
    pub environment: &'a Environment,
}

/// Cuts a line into words. `None` after an error, which was reported; an empty list for a blank line or a comment.
pub fn words(line: &str, context: LineContext<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<Word>> {
    let mut lexer = Lexer { line: line.as_bytes(), at: 0, context, words: Vec::new(), word: None };
    match lexer.run() {
        Ok(()) => Some(lexer.words),
        Err(fault) => {
            let span = context.span(fault.start.min(line.len()), character_end(line, fault.end));
            let finding = diagnostics.error(span, fault.message);
            if let Some(help) = fault.help {
                finding.help(help);
            }
            None
        }
    }
}

impl LineContext<'_> {
    /// The span of bytes of this line.
    pub fn span(&self, start: usize, end: usize) -> Span {
        Span { source: self.source, start: (self.offset + start) as u32, end: (self.offset + end) as u32 }
    }

    fn pseudo_variable(&self, name: &str) -> Option<String> {
        match name {
            ".FILE" => Some(self.file.to_owned()),
            ".LINE" => Some(self.number.to_string()),
            ".SECTION" => Some(self.section.to_owned()),
            _ => None,
        }
    }
}

struct Fault {
    start: usize,
    end: usize,
    message: String,
    help: Option<&'static str>,
}

impl Fault {
    fn new(start: usize, end: usize, message: impl Into<String>) -> Self {
        Self { start, end, message: message.into(), help: None }
    }
}

struct Lexer<'a> {
    line: &'a [u8],
    at: usize,
    context: LineContext<'a>,
    words: Vec<Word>,
    /// The word being read: where it began and its bytes so far.
    word: Option<(usize, Vec<u8>)>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), Fault> {
        if self.line.len() > LINE_SIZE_LIMIT {
            return Err(Fault::new(0, 1, format!("this line is longer than {LINE_SIZE_LIMIT} bytes")));
        }
        let mut weak_quote = None;
        while let Some(byte) = self.peek(0) {
            match byte {
                // As HAProxy does: the line ends here, whatever follows.
                b'\r' => break,
                0 => return Err(Fault::new(self.at, self.at + 1, "a NUL byte in the configuration")),
                b'#' if weak_quote.is_none() => break,
                b' ' | b'\t' | 0x0b | 0x0c if weak_quote.is_none() => {
                    self.finish()?;
                    self.at += 1;
                }
                b'"' => {
                    weak_quote = if weak_quote.is_some() { None } else { Some(self.at) };
                    self.begin();
                    self.at += 1;
                }
                b'\'' if weak_quote.is_none() => self.strong_quote()?,
                b'\\' => self.escape(weak_quote.is_some())?,
                b'$' if weak_quote.is_some() => self.variable()?,
                byte => self.push(byte)?,
            }
        }
        if let Some(start) = weak_quote {
            return Err(Fault::new(start, start + 1, "this quote is never closed"));
        }
        self.finish()
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.line.get(self.at + ahead).copied()
    }

    fn begin(&mut self) -> &mut Vec<u8> {
        let at = self.at;
        &mut self.word.get_or_insert_with(|| (at, Vec::new())).1
    }

    fn push(&mut self, byte: u8) -> Result<(), Fault> {
        self.begin().push(byte);
        self.at += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        let Some((start, bytes)) = self.word.take() else { return Ok(()) };
        self.add_word(start, self.at, bytes)
    }

    fn add_word(&mut self, start: usize, end: usize, bytes: Vec<u8>) -> Result<(), Fault> {
        if self.words.len() >= WORDS_LIMIT {
            return Err(Fault::new(start, end, format!("more than {WORDS_LIMIT} words on this line")));
        }
        if bytes.len() > WORD_SIZE_LIMIT {
            return Err(Fault::new(
                start,
                end,
                format!("this word is longer than {WORD_SIZE_LIMIT} bytes once its variables are expanded"),
            ));
        }
        let text = String::from_utf8(bytes).map_err(|_| Fault::new(start, end, "the escapes in this word do not make UTF-8 text"))?;
        self.words.push(Word { text, span: self.context.span(start, end) });
        Ok(())
    }

    fn strong_quote(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let end = self.line[start + 1..].iter().position(|&byte| byte == b'\'' || byte == b'\r');
        match end {
            Some(length) if self.line[start + 1 + length] == b'\'' => {
                let text = &self.line[start + 1..start + 1 + length];
                self.begin().extend_from_slice(text);
                self.at = start + length + 2;
                Ok(())
            }
            _ => Err(Fault::new(start, start + 1, "this quote is never closed")),
        }
    }

    fn escape(&mut self, quoted: bool) -> Result<(), Fault> {
        let (byte, length) = match self.peek(1) {
            Some(byte @ (b' ' | b'\\' | b'#' | b'"' | b'\'')) => (byte, 2),
            Some(byte @ b'$') if quoted => (byte, 2),
            Some(b'n') => (b'\n', 2),
            Some(b'r') => (b'\r', 2),
            Some(b't') => (b'\t', 2),
            Some(b'x') => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                match (digit(self.peek(2)), digit(self.peek(3))) {
                    (Some(0), Some(0)) => return Err(Fault::new(self.at, self.at + 4, "a NUL byte cannot be part of a word")),
                    (Some(high), Some(low)) => ((high * 16 + low) as u8, 4),
                    _ => return Err(Fault::new(self.at, self.at + 2, "'\\x' needs two hexadecimal digits")),
                }
            }
            // Any other backslash stands for itself.
            _ => (b'\\', 1),
        };
        self.begin().push(byte);
        self.at += length;
        Ok(())
    }

    /// `$NAME`, `${NAME}`, `${NAME-default}`, `${NAME[*]}`; `self.at` is at the dollar.
    fn variable(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.begin();
        let braced = self.peek(1) == Some(b'{');
        let name_start = start + if braced { 2 } else { 1 };
        let name_length = variable_name_length(&self.line[name_start..]);
        let mut end = name_start + name_length;
        let name = str::from_utf8(&self.line[name_start..end]).unwrap_or_default().to_owned();
        if name.is_empty() || (name.starts_with('.') && self.context.pseudo_variable(&name).is_none()) {
            let mut fault = Fault::new(start, name_start, "a variable's name begins with a letter or '_'");
            fault.help = Some("write '\\$' for a dollar sign in double quotes");
            return Err(fault);
        }
        let mut expand_list = false;
        let mut default = None;
        if braced {
            if self.line.get(end) == Some(&b'[') {
                if !self.line[end..].starts_with(b"[*]") {
                    return Err(Fault::new(end, end + 1, "only '[*]' may follow a variable's name"));
                }
                expand_list = true;
                end += 3;
            }
            let line_end = self.line.iter().position(|&byte| byte == b'\r').unwrap_or(self.line.len());
            let close = self.line[..line_end].iter().skip(end).position(|&byte| byte == b'}').map(|length| end + length);
            let unclosed = || Fault::new(start, name_start, "the brace of this variable is never closed");
            let close = close.ok_or_else(unclosed)?;
            match self.line.get(end) {
                Some(b'}') => {}
                Some(b'-') => default = Some(String::from_utf8_lossy(&self.line[end + 1..close]).into_owned()),
                _ => return Err(Fault::new(name_start, end + 1, "this character cannot be part of a variable's name")),
            }
            end = close + 1;
        }
        let value = self.context.pseudo_variable(&name).or_else(|| self.context.environment.get(&name).map(str::to_owned));
        let value = value.or(default).unwrap_or_default();
        self.insert(&value, expand_list, start, end)
    }

    /// Appends a variable's value to the word, as one text or as a list of words.
    fn insert(&mut self, value: &str, expand_list: bool, start: usize, end: usize) -> Result<(), Fault> {
        let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        if !expand_list {
            self.begin().extend_from_slice(value.as_bytes());
            self.at = end;
            return Ok(());
        }
        let mut rest = value.as_bytes();
        loop {
            let length = rest.iter().position(blank).unwrap_or(rest.len());
            self.begin().extend_from_slice(&rest[..length]);
            rest = &rest[length..];
            let skipped = rest.iter().position(|byte| !blank(byte)).unwrap_or(rest.len());
            rest = &rest[skipped..];
            if rest.is_empty() {
                break;
            }
            let word_start = self.word.as_ref().map_or(start, |(word_start, _)| *word_start);
            let bytes = self.word.take().map(|(_, bytes)| bytes).unwrap_or_default();
            self.add_word(word_start, end, bytes)?;
            self.word = Some((start, Vec::new()));
        }
        self.at = end;
        Ok(())
    }
}

/// The end of the character that an offset is in or behind; faults begin at whole characters, since they begin at ASCII.
fn character_end(line: &str, offset: usize) -> usize {
    (offset..line.len()).find(|end| line.is_char_boundary(*end)).unwrap_or(line.len())
}

/// Length of the variable name at the beginning of a text: letters, digits and `_`, no digit first, one dot before a pseudo-variable.
fn variable_name_length(text: &[u8]) -> usize {
    let dot = usize::from(text.first() == Some(&b'.'));
    match text.get(dot) {
        Some(first) if first.is_ascii_alphabetic() || *first == b'_' => {}
        _ => return 0,
    }
    let name = &text[dot..];
    dot + name.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_').unwrap_or(name.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment() -> Environment {
        let pairs = [("E1", "one two  three"), ("E2", ""), ("E3", "q\"uo'te#x"), ("E4", " lead trail ")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect()
    }

    fn lex(line: &str) -> Result<Vec<String>, String> {
        let environment = environment();
        let context =
            LineContext { source: SourceId(0), offset: 0, number: 2, file: "f.cfg", section: "global", environment: &environment };
        let mut diagnostics = Diagnostics::default();
        match words(line, context, &mut diagnostics) {
            Some(words) => Ok(words.into_iter().map(|word| word.text).collect()),
            None => Err(diagnostics.list()[0].message.clone()),
        }
    }

    /// Expected results are what HAProxy 2.6.12 printed for `.notice WORD`.
    #[test]
    fn words_are_cut_as_haproxy_does() {
        let cases: &[(&str, &[&str])] = &[
            (r"a\b", &[r"a\b"]),
            (r#""a\qb""#, &[r"a\qb"]),
            (r#""a\$b""#, &["a$b"]),
            (r"a\$b", &[r"a\$b"]),
            ("$E1", &["$E1"]),
            (r#""$E1""#, &["one two  three"]),
            (r#""x${E1}y""#, &["xone two  threey"]),
            (r#""a ${E1[*]} b""#, &["a one", "two", "three b"]),
            (r#""${E1[*]}${E1[*]}""#, &["one", "two", "threeone", "two", "three"]),
            (r#""${E4[*]}""#, &["", "lead", "trail"]),
            (r#""${E2[*]}""#, &[""]),
            (r#""${NO[*]-d e}""#, &["d", "e"]),
            (r#""${E2-def}""#, &[""]),
            (r#""${NO-def}""#, &["def"]),
            (r#""${NO-}""#, &[""]),
            (r#""${NO-$E1}""#, &["$E1"]),
            (r#""${NO-a\}b}""#, &[r"a\b}"]),
            (r#""$E3""#, &["q\"uo'te#x"]),
            (r"'$E1\'", &[r"$E1\"]),
            (r#"a\"b "a\"b""#, &["a\"b", "a\"b"]),
            (r#""a\nb\t" a\x41b"#, &["a\nb\t", "aAb"]),
            (r#""$E1.x" "$E1[*]""#, &["one two  three.x", "one two  three[*]"]),
            (r#""${.LINE}" "$.FILE" "${.SECTION}""#, &["2", "f.cfg", "global"]),
            (r#"a""b a"b c"d a'b c'd"#, &["ab", "ab cd", "ab cd"]),
            (r#""a'b" 'a"b'"#, &["a'b", "a\"b"]),
            (r#"a#b"#, &["a"]),
            (r##""a#b" a\#b a\ b"##, &["a#b", "a#b", "a b"]),
            ("a\rb", &["a"]),
            ("a\x0bb\x0cc", &["a", "b", "c"]),
            (r#""" ''"#, &["", ""]),
            ("\\", &["\\"]),
            ("  # nothing", &[]),
            ("é", &["é"]),
            (r"\xc3\xa9", &["é"]),
        ];
        for (line, expected) in cases {
            assert_eq!(lex(line).as_deref(), Ok(expected.iter().map(|text| text.to_string()).collect::<Vec<_>>().as_slice()), "{line}");
        }
    }

    #[test]
    fn what_haproxy_refuses_is_refused() {
        for line in [
            "\"a",
            "'a",
            "\"a\rb\"",
            r"a\x4",
            r"\xzz",
            r#""\x""#,
            r#""$""#,
            r#""a$ ""#,
            r#""${}""#,
            r#""${1A}""#,
            r#""${E1.x}""#,
            r#""${.FOO}""#,
            r#""${E1""#,
            r#""${E1-""#,
            r#""${E1[x]}""#,
            r#""${E1[*}""#,
            r#""${E1 }""#,
            r#""${NO-a}b"}""#,
            r"\xff",
        ] {
            assert!(lex(line).is_err(), "{line}");
        }
        assert!(lex(&"a ".repeat(64)).is_ok());
        assert_eq!(lex(&"a ".repeat(65)), Err("more than 64 words on this line".into()));
    }

    proptest! {
        #[test]
        fn any_line_gives_words_within_it(line in r#"([ a-z0-9#'"\\$\{\}\[\]\*\.xn_-]|\PC|E1|\r|\t){0,60}"#) {
            let environment = environment();
            let context = LineContext { source: SourceId(0), offset: 7, number: 1, file: "f", section: "", environment: &environment };
            let mut diagnostics = Diagnostics::default();
            if let Some(words) = words(&line, context, &mut diagnostics) {
                for word in words {
                    prop_assert!(word.span.start >= 7 && word.span.start <= word.span.end && word.span.end as usize <= line.len() + 7);
                }
            } else {
                let span = diagnostics.list()[0].span.expect("errors have a place");
                prop_assert!(span.start >= 7 && span.start <= span.end && span.end as usize <= line.len() + 7, "{span:?}");
            }
        }
    }
}
