//! Map files (HAProxy manual section 7.3.1, `map`): a key and its value on each line.

use std::sync::Arc;

use super::{MatchMethod, Pattern, Patterns};

/// Most entries of one map.
const ENTRIES_LIMIT: usize = 4_000_000;
/// Longest key or value, in bytes.
const WORD_LIMIT: usize = 65_536;

/// A map file: keys as patterns, each with its value (`map_*` converters).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The file as named in the configuration.
    pub file: Arc<str>,
    /// The keys.
    pub keys: Patterns,
    /// The value of each key, by position; converted to the output type when it is used.
    pub values: Vec<Arc<[u8]>>,
}

/// What is wrong with a map file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapError {
    /// The line, from 1.
    pub line: usize,
    /// A sentence without a full stop.
    pub message: String,
}

impl Map {
    /// Reads the contents of a map file. Blanks before a key and around a value do not count; lines that are empty or begin with `#` are
    /// skipped; a key without a value has an empty one.
    ///
    /// # Errors
    /// The first line whose key is no pattern of the method, or that exceeds a limit: 4,000,000 entries, 65,536 bytes per key and value.
    pub fn parse(file: &str, method: MatchMethod, contents: &[u8]) -> Result<Self, MapError> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (line, key, value) in entries(contents) {
            let error = |message: String| MapError { line, message };
            if keys.len() == ENTRIES_LIMIT {
                return Err(error(format!("a map can have {ENTRIES_LIMIT} entries at most")));
            }
            if key.len().max(value.len()) > WORD_LIMIT {
                return Err(error(format!("keys and values can have {WORD_LIMIT} bytes at most")));
            }
            keys.push(Pattern::parse(method, false, key).map_err(error)?);
            values.push(Arc::from(value));
        }
        Ok(Self { file: file.into(), keys: Patterns::new(method, false, keys), values })
    }
}

impl Patterns {
    /// Reads the contents of a file of patterns (`-f`), one a line; of a map file (`-M`), only the keys count.
    ///
    /// # Errors
    /// As for [`Map::parse`].
    pub fn parse_file(method: MatchMethod, ignore_case: bool, is_map: bool, contents: &[u8]) -> Result<Vec<Pattern>, MapError> {
        let mut list = Vec::new();
        for (line, word) in lines(contents) {
            let error = |message: String| MapError { line, message };
            let word = if is_map { split(word).0 } else { word };
            if list.len() == ENTRIES_LIMIT {
                return Err(error(format!("a file can have {ENTRIES_LIMIT} patterns at most")));
            }
            if word.len() > WORD_LIMIT {
                return Err(error(format!("a pattern can have {WORD_LIMIT} bytes at most")));
            }
            list.push(Pattern::parse(method, ignore_case, word).map_err(error)?);
        }
        Ok(list)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Lines that count, from the first byte that is no blank, with their numbers. A `#` counts as a comment only at the line's beginning.
fn lines(contents: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    contents.split(|&byte| byte == b'\n').enumerate().filter_map(|(index, line)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.first() == Some(&b'#') {
            return None;
        }
        let start = line.iter().position(|&byte| !is_blank(byte))?;
        Some((index + 1, &line[start..]))
    })
}

fn entries(contents: &[u8]) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
    lines(contents).map(|(number, line)| {
        let (key, value) = split(line);
        (number, key, value)
    })
}

fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|&byte| is_blank(byte)).unwrap_or(line.len());
    let (key, rest) = line.split_at(end);
    let start = rest.iter().position(|&byte| !is_blank(byte)).unwrap_or(rest.len());
    let end = rest.iter().rposition(|&byte| !is_blank(byte)).map_or(start, |last| last + 1);
    (key, &rest[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_into_keys_and_values() {
        let map = Map::parse("file", MatchMethod::Exact, b"# comment\n\n  2.22.246.0/23\tUnited Kingdom  \r\nalone\n #x y").unwrap();
        let expected: [(&[u8], &[u8]); 3] = [(b"2.22.246.0/23", b"United Kingdom"), (b"alone", b""), (b"#x", b"y")];
        let keys: Vec<Pattern> = expected.iter().map(|(key, _)| Pattern::Bytes((*key).into())).collect();
        assert_eq!(map.keys.list(), keys);
        assert_eq!(map.values.iter().map(|value| &value[..]).collect::<Vec<_>>(), expected.map(|(_, value)| value));
    }

    #[test]
    fn wrong_keys_are_named_by_line() {
        let error = Map::parse("file", MatchMethod::Ip, b"1.2.3.4 a\n\nx b\n").unwrap_err();
        assert_eq!(error.line, 3);
        assert!(error.message.contains("'x'"), "{}", error.message);
        assert!(Map::parse("file", MatchMethod::Exact, &[b'a'; WORD_LIMIT + 1]).is_err());
    }

    #[test]
    fn pattern_files() {
        let words = |is_map| Patterns::parse_file(MatchMethod::Exact, false, is_map, b"one two\n#x\n three").unwrap();
        let pattern = |word: &str| Pattern::Bytes(word.as_bytes().into());
        assert_eq!(words(false), [pattern("one two"), pattern("three")]);
        assert_eq!(words(true), [pattern("one"), pattern("three")]);
    }
}
