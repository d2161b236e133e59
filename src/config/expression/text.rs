//! Words joined to one text, with the place in the file of each of its bytes: carets point at an argument, not at its line.

use std::ops::Range;

use crate::config::diagnostic::{Sources, Span};
use crate::config::draft::Word;

/// One or more words of a statement as one text.
#[derive(Clone, Debug)]
pub struct Text {
    text: String,
    pieces: Vec<Piece>,
}

/// What came from one word.
#[derive(Clone, Debug)]
struct Piece {
    /// Its first byte in the text.
    start: usize,
    /// Its bytes.
    length: usize,
    /// The word.
    word: Span,
    /// Where in the word each byte was written, the end included; `None` marks the whole word.
    places: Option<Places>,
}

#[derive(Clone, Debug)]
enum Places {
    /// The text stands in the file as it is, so many bytes after the word's first.
    Shifted(u32),
    /// Byte by byte.
    Listed(Vec<u32>),
}

impl Text {
    /// One word.
    pub fn new(word: &Word, sources: &Sources) -> Self {
        let mut text = Self { text: String::new(), pieces: Vec::new() };
        text.append(word, "", sources);
        text
    }

    /// Adds a word, with a separator before it.
    pub fn append(&mut self, word: &Word, separator: &str, sources: &Sources) {
        self.text.push_str(separator);
        let (start, length) = (self.text.len(), word.text.len());
        self.pieces.push(Piece { start, length, word: word.span, places: places(word, sources) });
        self.text.push_str(&word.text);
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Text from a byte on; empty beyond the end and within a character.
    pub fn from(&self, start: usize) -> &str {
        self.text.get(start..).unwrap_or("")
    }

    /// Where a part of the text was written.
    pub fn span(&self, part: Range<usize>) -> Span {
        let first = self.piece(part.start);
        let last = if part.is_empty() { first } else { self.piece(part.end - 1) };
        let (Some(first), Some(last)) = (first, last) else {
            // Not reached: a text has at least one piece.
            return Span { source: crate::config::diagnostic::SourceId(0), start: 0, end: 0 };
        };
        let start = first.place(part.start).map_or(first.word.start, |(start, _)| start);
        let end = match last.place(part.end.saturating_sub(1)) {
            _ if part.is_empty() && first.places.is_some() => start,
            Some((_, end)) => end,
            None => last.word.end,
        };
        Span { source: first.word.source, start, end: end.max(start) }
    }

    /// The whole text.
    pub fn whole(&self) -> Span {
        self.span(0..self.text.len())
    }

    fn piece(&self, at: usize) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.start <= at);
        self.pieces.get(after.saturating_sub(1))
    }
}

impl Piece {
    /// Where the byte at this position of the text was written: from and to.
    fn place(&self, at: usize) -> Option<(u32, u32)> {
        let offset = at.saturating_sub(self.start).min(self.length);
        let next = (offset + 1).min(self.length);
        let (from, to) = match self.places.as_ref()? {
            Places::Shifted(shift) => (shift + offset as u32, shift + next as u32),
            Places::Listed(list) => (*list.get(offset)?, *list.get(next)?),
        };
        Some((self.word.start + from, self.word.start + to))
    }
}

/// Where in a word each byte of its text was written.
fn places(word: &Word, sources: &Sources) -> Option<Places> {
    let Span { source, start, end } = word.span;
    let raw = sources.get(source).and_then(|source| source.text.get(start as usize..end as usize));
    match raw {
        Some(raw) if raw == word.text => Some(Places::Shifted(0)),
        Some(raw) => unquoted(raw.as_bytes(), word.text.as_bytes()).map(Places::Listed),
        None => match (end.saturating_sub(start) as usize).checked_sub(word.text.len()) {
            Some(0) => Some(Places::Shifted(0)),
            Some(2) => Some(Places::Shifted(1)),
            _ => None,
        },
    }
}

/// Follows quotes and escapes as the lexer does; `None` when that does not give the text, as with variables.
fn unquoted(raw: &[u8], text: &[u8]) -> Option<Vec<u32>> {
    let mut list = Vec::with_capacity(text.len() + 1);
    let (mut at, mut quote) = (0, None);
    while let Some(&byte) = raw.get(at) {
        let (length, value) = match (byte, quote) {
            (b'"' | b'\'', None) => {
                quote = Some(byte);
                at += 1;
                continue;
            }
            (byte, Some(open)) if byte == open => {
                quote = None;
                at += 1;
                continue;
            }
            (b'\\', None | Some(b'"')) => escape(raw.get(at + 1..)?, quote.is_some()),
            (byte, _) => (1, byte),
        };
        if text.get(list.len()) != Some(&value) {
            return None;
        }
        list.push(at as u32);
        at += length;
    }
    if list.len() != text.len() {
        return None;
    }
    // The end of the text is before a closing quote.
    let end = if matches!(raw.last(), Some(b'"' | b'\'')) { raw.len() - 1 } else { raw.len() };
    list.push(end as u32);
    Some(list)
}

/// An escape's length, backslash included, and its byte.
fn escape(rest: &[u8], quoted: bool) -> (usize, u8) {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8);
    match rest.first() {
        Some(&byte @ (b' ' | b'\\' | b'#' | b'"' | b'\'')) => (2, byte),
        Some(b'$') if quoted => (2, b'$'),
        Some(b'n') => (2, b'\n'),
        Some(b'r') => (2, b'\r'),
        Some(b't') => (2, b'\t'),
        Some(b'x') => match (digit(rest.get(1)), digit(rest.get(2))) {
            (Some(high), Some(low)) => (4, high * 16 + low),
            _ => (1, b'\\'),
        },
        _ => (1, b'\\'),
    }
}

/// Words as they would be written in a rule, blanks between them.
pub fn written<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// One word with quotes and escapes where the grammar of rules needs them.
pub fn quoted(word: &str) -> String {
    let plain = |character: char| !character.is_ascii_whitespace() && !matches!(character, '"' | '\'' | '\\' | '#' | '\x0b');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if !word.contains(['\'', '\r', '\n']) {
        return format!("'{word}'");
    }
    let mut text = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' | '$' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(sources: &mut Sources, raw: &str, text: &str) -> Word {
        let source = sources.add("a.cfg", raw);
        Word { text: text.to_owned(), span: Span { source, start: 0, end: raw.len() as u32 } }
    }

    fn part(raw: &str, text: &str, needle: &str) -> String {
        let mut sources = Sources::default();
        let word = word(&mut sources, raw, text);
        let joined = Text::new(&word, &sources);
        let start = text.find(needle).expect("in the text");
        let span = joined.span(start..start + needle.len());
        raw[span.start as usize..span.end as usize].to_owned()
    }

    #[test]
    fn parts_are_found_behind_quotes_and_escapes() {
        assert_eq!(part("str(abc),upper", "str(abc),upper", "abc"), "abc");
        assert_eq!(part("\"str(abc)\"", "str(abc)", "abc"), "abc");
        assert_eq!(part("'str(abc)'", "str(abc)", "abc)"), "abc)");
        assert_eq!(part("str(a\\ b\\x41),lower", "str(a bA),lower", "bA"), "b\\x41");
        assert_eq!(part("str(a\\ b),lower", "str(a b),lower", "lower"), "lower");
        assert_eq!(part("\"str($X),lower\"", "str(value),lower", "lower"), "\"str($X),lower\"", "the whole word");
    }

    #[test]
    fn words_are_written_so_that_they_are_read_back() {
        assert_eq!(written(["if", "{", "src", "a b", "it's", ""].into_iter()), "if { src 'a b' \"it's\" ''");
        assert_eq!(quoted("a'$\n"), "\"a'\\$\\n\"");
    }
}
