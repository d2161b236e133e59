//! From bytes to commands: lines, `;`, escapes and payloads of the runtime socket's language (HAProxy management guide section 9.3).
//!
//! Called by `client` with whatever the socket gave; the answer does not depend on how the bytes were cut. Pure: no socket, no clock.

/// Bytes of one command with its payload at most, as HAProxy's default `tune.bufsize`.
pub const LINE_LIMIT: usize = 16384;

/// Words of one command that are looked at; what follows is ignored, as HAProxy does.
pub const WORD_LIMIT: usize = 64;

/// What the reader found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A command is complete.
    Command {
        /// Its text, without the delimiter and the payload mark, escapes still in it.
        text: Vec<u8>,
        /// The lines after `<<`, each with its line end; `None` without that mark.
        payload: Option<Vec<u8>>,
        /// Whether it was the last of its line.
        ends_line: bool,
    },
    /// A payload has begun or goes on: an interactive client is shown `+ `.
    PayloadLine,
    /// More than `LINE_LIMIT` bytes without an end. Nothing more can be read.
    TooLong,
}

/// Cuts a stream of bytes into commands. Holds at most `LINE_LIMIT` bytes that were not asked for yet.
#[derive(Debug, Default)]
pub struct LineReader {
    buffer: Vec<u8>,
    /// First byte that was not handed out.
    start: usize,
    /// Bytes from `start` on that hold no delimiter.
    scanned: usize,
    /// The byte at the scan position is escaped.
    escaped: bool,
    pending: Option<Pending>,
}

/// A command whose payload is being read.
#[derive(Debug)]
struct Pending {
    text: Vec<u8>,
    payload: Vec<u8>,
}

impl LineReader {
    /// How many bytes `push` still takes.
    pub fn room(&self) -> usize {
        LINE_LIMIT.saturating_sub(self.held())
    }

    /// Whether no byte waits and no command is half read.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len() && self.pending.is_none()
    }

    /// Adds bytes; the caller reads no more than `room` from its socket, what goes beyond is dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.room());
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start >= LINE_LIMIT {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes.get(..taken).unwrap_or(bytes));
    }

    /// The next command, or `None` until more bytes come.
    pub fn next_input(&mut self) -> Option<Input> {
        if self.pending.is_some() {
            return self.next_payload_line();
        }
        let Some((line, delimiter)) = self.take(true) else { return self.overflow() };
        let text = without_return(&line);
        if let Some(command) = payload_command(text) {
            self.pending = Some(Pending { text: command.to_vec(), payload: Vec::new() });
            return Some(Input::PayloadLine);
        }
        Some(Input::Command { text: text.to_vec(), payload: None, ends_line: delimiter == b'\n' })
    }

    fn next_payload_line(&mut self) -> Option<Input> {
        let Some((line, _)) = self.take(false) else { return self.overflow() };
        let line = without_return(&line);
        if line.is_empty() {
            let pending = self.pending.take()?;
            return Some(Input::Command { text: pending.text, payload: Some(pending.payload), ends_line: true });
        }
        if let Some(pending) = &mut self.pending {
            pending.payload.extend_from_slice(line);
            pending.payload.push(b'\n');
        }
        Some(Input::PayloadLine)
    }

    /// Takes the bytes up to the next delimiter, if it is there. A payload knows neither `;` nor escapes.
    fn take(&mut self, command: bool) -> Option<(Vec<u8>, u8)> {
        let waiting = self.buffer.get(self.start..)?;
        for (offset, &byte) in waiting.iter().enumerate().skip(self.scanned) {
            if self.escaped {
                self.escaped = false;
            } else if command && byte == b'\\' {
                self.escaped = true;
            } else if byte == b'\n' || command && byte == b';' {
                let line = waiting.get(..offset)?.to_vec();
                self.start += offset + 1;
                self.scanned = 0;
                return Some((line, byte));
            }
        }
        self.scanned = waiting.len();
        None
    }

    fn overflow(&self) -> Option<Input> {
        (self.room() == 0).then_some(Input::TooLong)
    }

    fn held(&self) -> usize {
        let pending = self.pending.as_ref().map_or(0, |pending| pending.text.len() + pending.payload.len());
        self.buffer.len() - self.start + pending
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The command before a `<<` that is the last word of its line, or `None`.
fn payload_command(text: &[u8]) -> Option<&[u8]> {
    let command = text.strip_suffix(b"<<")?;
    command.last().is_none_or(|&byte| byte == b' ' || byte == b'\t').then_some(command)
}

/// Cuts a command into its words: blanks and tabs separate, a backslash takes the next byte as it is, bytes that are not UTF-8 become
/// replacement characters. Any input is fine; at most `WORD_LIMIT` words come out.
pub fn split_words(text: &[u8]) -> Vec<String> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut inside = false;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b' ' || byte == b'\t' {
            inside = false;
            continue;
        }
        if !inside {
            if words.len() == WORD_LIMIT {
                break;
            }
            words.push(Vec::new());
            inside = true;
        }
        let literal = if byte == b'\\' { bytes.next() } else { Some(byte) };
        if let (Some(word), Some(literal)) = (words.last_mut(), literal) {
            word.push(literal);
        }
    }
    words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `pieces` one after the other, asking for everything in between.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Input> {
        let mut reader = LineReader::default();
        let mut found = Vec::new();
        for piece in pieces {
            let mut rest = piece;
            loop {
                let taken = rest.len().min(reader.room());
                reader.push(&rest[..taken]);
                rest = &rest[taken..];
                while let Some(input) = reader.next_input() {
                    if input == Input::TooLong {
                        found.push(input);
                        return found;
                    }
                    found.push(input);
                }
                if rest.is_empty() {
                    break;
                }
            }
        }
        found
    }

    fn command(text: &str, ends_line: bool) -> Input {
        Input::Command { text: text.into(), payload: None, ends_line }
    }

    #[test]
    fn semicolons_and_lines_cut() {
        let all: &[u8] = b"show info;show stat\nquit\r\n";
        let expected = [command("show info", false), command("show stat", true), command("quit", true)];
        assert_eq!(read([all]), expected);
    }

    #[test]
    fn the_cut_of_the_input_does_not_matter() {
        let all: &[u8] = b"show env A\\;B;x\\\ny <<\nk;1\\\r\nk2\n\r\n;\nlast";
        let whole = read([all]);
        assert!(whole.contains(&Input::Command { text: b"x\\\ny ".to_vec(), payload: Some(b"k;1\\\nk2\n".to_vec()), ends_line: true }));
        for place in 0..all.len() {
            assert_eq!(read([&all[..place], &all[place..]]), whole, "cut at {place}");
        }
        assert_eq!(read(all.chunks(1)), whole);
    }

    #[test]
    fn the_payload_mark_stands_alone_at_the_end() {
        for text in ["show env A<<\n", "show env << A\n", "show env A << \n"] {
            assert!(matches!(read([text.as_bytes()])[..], [Input::Command { payload: None, .. }]), "{text:?}");
        }
        assert_eq!(read([&b"set x <<\n"[..]]), [Input::PayloadLine]);
    }

    #[test]
    fn a_line_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
        let mut text = vec![b'a'; LINE_LIMIT - 1];
        text.push(b'\n');
        assert!(matches!(read([&text[..]])[..], [Input::Command { .. }]));
        text.insert(0, b'a');
        assert_eq!(read([&text[..]]), [Input::TooLong]);
        let payload = [b"set x <<\n".to_vec(), vec![b'k'; LINE_LIMIT]].concat();
        assert_eq!(read([&payload[..]]), [Input::PayloadLine, Input::TooLong]);
    }

    #[test]
    fn words_are_cut_at_blanks_with_escapes() {
        assert_eq!(split_words(b"  show \t stat  "), ["show", "stat"]);
        assert_eq!(split_words(b"show\\ version a\\\\b c\\"), ["show version", "a\\b", "c"]);
        assert_eq!(split_words(&b"x ".repeat(100)).len(), WORD_LIMIT);
        assert_eq!(split_words(b"\xff\xfe").len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_read_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..20) {
            prop_assert_eq!(read([&bytes[..]]), read(bytes.chunks(size)));
        }

        #[test]
        fn dense_syntax_in_any_pieces_reads_the_same(text in "[a<;\\\\ \r\n]{0,80}", size in 1usize..5) {
            prop_assert_eq!(read([text.as_bytes()]), read(text.as_bytes().chunks(size)));
            split_words(text.as_bytes());
        }
    }
}
