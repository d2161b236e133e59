//! Finds one value in a JSON text by a path such as `$.name.list[2]`, reading no further than needed. Never recurses.

use smallvec::SmallVec;

/// A value that was found.
#[derive(Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// `true` or `false`.
    Boolean(bool),
    /// A number as written.
    Number(&'a [u8]),
    /// A string without its quotes, escapes as written.
    Text(&'a [u8]),
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    /// A member; a backslash in the name takes the meaning from the byte after it.
    Key(&'a [u8]),
    /// An element.
    Element(usize),
}

/// Whether a path has only steps that [`find`] knows.
pub(super) fn check_path(path: &[u8]) -> Result<(), String> {
    let wrong = || "the path must be $ followed by .name or [number], any number of times".to_owned();
    let mut rest = path.strip_prefix(b"$").ok_or_else(wrong)?;
    while !rest.is_empty() {
        rest = next_step(rest).ok_or_else(wrong)?.1;
    }
    Ok(())
}

fn next_step(path: &[u8]) -> Option<(Step<'_>, &[u8])> {
    match path {
        [b'.', rest @ ..] => {
            let mut end = 0;
            while let Some(&byte) = rest.get(end).filter(|&&byte| byte != b'.' && byte != b'[') {
                end += if byte == b'\\' { 2 } else { 1 };
            }
            let end = end.min(rest.len());
            let (name, after) = rest.split_at(end);
            (!name.is_empty() && name != b"*").then_some((Step::Key(name), after))
        }
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|&byte| byte == b']')?;
            let number = std::str::from_utf8(&rest[..end]).ok()?;
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            let element = if is_number { number.parse().ok()? } else { return None };
            Some((Step::Element(element), &rest[end + 1..]))
        }
        _ => None,
    }
}

/// The scalar at the path; `None` when there is none, or the text is no JSON up to there.
pub(super) fn find<'a>(text: &'a [u8], path: &[u8]) -> Option<Token<'a>> {
    let mut scanner = Scanner { text, at: 0 };
    let mut rest = path.strip_prefix(b"$")?;
    while !rest.is_empty() {
        let (step, after) = next_step(rest)?;
        match step {
            Step::Key(name) => scanner.enter_member(name)?,
            Step::Element(index) => scanner.enter_element(index)?,
        }
        rest = after;
    }
    scanner.scalar()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// The next byte that is no blank, not yet taken.
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.text.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// Goes to the value of a member of the object here.
    fn enter_member(&mut self, name: &[u8]) -> Option<()> {
        self.take(b'{')?;
        loop {
            let key = self.string()?;
            self.take(b':')?;
            if is_key(name, key) {
                return Some(());
            }
            self.skip()?;
            self.take(b',')?;
        }
    }

    /// Goes to an element of the array here.
    fn enter_element(&mut self, index: usize) -> Option<()> {
        self.take(b'[')?;
        for _ in 0..index {
            self.skip()?;
            self.take(b',')?;
        }
        Some(())
    }

    /// A string, without its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            match self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(start..self.at - 1)
    }

    fn scalar(&mut self) -> Option<Token<'a>> {
        let rest = |scanner: &Self| &scanner.text[scanner.at..];
        match self.peek()? {
            b'"' => self.string().map(Token::Text),
            b't' => self.word(b"true").map(|()| Token::Boolean(true)),
            b'f' => self.word(b"false").map(|()| Token::Boolean(false)),
            b'-' | b'0'..=b'9' => {
                let number = rest(self);
                let is_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let end = number.iter().position(|byte| !is_number(byte)).unwrap_or(number.len());
                self.at += end;
                Some(Token::Number(&number[..end]))
            }
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    /// Goes behind the value here, whatever is in it.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b'n' => self.word(b"null")?,
                _ => {
                    self.scalar()?;
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// Whether the name in a path is this key.
fn is_key(name: &[u8], key: &[u8]) -> bool {
    let mut escaped = false;
    let plain = name.iter().filter(|&&byte| {
        escaped = byte == b'\\' && !escaped;
        !escaped
    });
    plain.eq(key)
}

/// The string behind the escapes. Of `\u` only codes below 256 exist, each one byte, and `\/` does not exist, as in HAProxy.
pub(super) fn unescape(raw: &[u8]) -> Option<SmallVec<[u8; 64]>> {
    let (mut out, mut rest) = (SmallVec::new(), raw);
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (byte, after) = match &rest[at + 1..] {
            [b'u', b'0', b'0', high, low, after @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                ((digit(*high)? << 4 | digit(*low)?) as u8, after)
            }
            [b'n', after @ ..] => (b'\n', after),
            [b't', after @ ..] => (b'\t', after),
            [b'r', after @ ..] => (b'\r', after),
            [b'b', after @ ..] => (0x08, after),
            [b'f', after @ ..] => (0x0c, after),
            [byte @ (b'"' | b'\\'), after @ ..] => (*byte, after),
            _ => return None,
        };
        out.push(byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// The number that a text begins with, 0 without one.
pub(super) fn leading_float(text: &[u8]) -> f64 {
    let digits = |from: usize| text.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = usize::from(text.first() == Some(&b'-'));
    end += digits(end);
    if text.get(end) == Some(&b'.') {
        end += 1 + digits(end + 1);
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    text.get(..end).and_then(|number| std::str::from_utf8(number).ok()?.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for right in ["$", "$.a", "$.a.b[0].c", "$[1][2]", "$.my\\.key", "$.a-b"] {
            assert_eq!(check_path(right.as_bytes()), Ok(()), "{right}");
        }
        for wrong in ["", "a", "$a", "$.", "$..a", "$.a[", "$.a[x]", "$.a[-1]", "$.*", "$['a']"] {
            assert!(check_path(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values() {
        let text = br#" {"n":null,"s":"a\"b","l":[1,{"x":[],"y":{}},-2.5e3],"t":true,"my.key":"v"}"#;
        let at = |path: &str| find(text, path.as_bytes());
        assert_eq!(at("$.s"), Some(Token::Text(br#"a\"b"#)));
        assert_eq!(at("$.l[2]"), Some(Token::Number(b"-2.5e3")));
        assert_eq!(at("$.t"), Some(Token::Boolean(true)));
        assert_eq!(at("$.my\\.key"), Some(Token::Text(b"v")));
        for missing in ["$.n", "$.l", "$.l[1]", "$.l[3]", "$.l[1].x[0]", "$.none", "$", "$.t.t"] {
            assert_eq!(at(missing), None, "{missing}");
        }
    }
}
