//! Lines that wait for their target, in order, with a bound.

/// Bytes that may wait for one target; lines beyond are dropped.
pub const BATCH_BYTES: usize = 256 * 1024;

/// Finished lines, end of line included, that were not sent yet.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each line ends in `bytes`.
    ends: Vec<usize>,
    /// Lines at the front that were sent, and where the first unsent one begins.
    sent_lines: usize,
    sent_bytes: usize,
    /// Lines that were given up one by one.
    lost: usize,
}

impl Batch {
    /// Appends the line that `write` makes, if there is room for more. Tells whether there was.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.bytes.len() >= BATCH_BYTES {
            return false;
        }
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
        true
    }

    /// Lines not sent yet.
    pub fn len(&self) -> usize {
        self.ends.len() - self.sent_lines
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The unsent lines, each by itself.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let ends = &self.ends[self.sent_lines..];
        let starts = std::iter::once(self.sent_bytes).chain(ends.iter().copied());
        starts.zip(ends).map(|(start, &end)| &self.bytes[start.min(end)..end])
    }

    /// As many whole unsent lines as fit in `limit` bytes, but one at least, as one piece.
    pub fn piece(&self, limit: usize) -> &[u8] {
        let ends = &self.ends[self.sent_lines..];
        let fitting = ends.partition_point(|&end| end - self.sent_bytes <= limit).max(1);
        let end = ends.get(fitting - 1).copied().unwrap_or(self.sent_bytes);
        &self.bytes[self.sent_bytes..end]
    }

    /// Notes that this many lines were sent.
    pub fn sent_lines(&mut self, count: usize) {
        let last = (self.sent_lines + count).min(self.ends.len());
        self.sent_lines = last;
        self.sent_bytes = if last == 0 { 0 } else { self.ends[last - 1] };
        self.reuse();
    }

    /// Notes that this many bytes were sent; a line that was sent in part stays with its rest.
    pub fn sent_bytes(&mut self, count: usize) {
        self.sent_bytes = (self.sent_bytes + count).min(self.bytes.len());
        let sent_bytes = self.sent_bytes;
        self.sent_lines += self.ends[self.sent_lines..].partition_point(|&end| end <= sent_bytes);
        self.reuse();
    }

    /// Gives up the next line.
    pub fn lose_line(&mut self) {
        self.lost += 1;
        self.sent_lines(1);
    }

    /// The number of lines given up by `lose_line` since the last call.
    pub fn take_lost(&mut self) -> usize {
        std::mem::take(&mut self.lost)
    }

    /// Throws away the lines of which nothing was sent yet, and gives their number. The rest of a line that was sent in part stays: without it
    /// the next line would continue it.
    pub fn drop_unstarted(&mut self) -> usize {
        let started = self.sent_bytes > self.sent_lines.checked_sub(1).map_or(0, |last| self.ends[last]);
        let kept = self.sent_lines + usize::from(started && self.sent_lines < self.ends.len());
        let dropped = self.ends.len() - kept;
        self.ends.truncate(kept);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
        self.reuse();
        dropped
    }

    /// Throws all unsent lines away and gives their number.
    pub fn drop_all(&mut self) -> usize {
        let lines = self.len();
        self.sent_lines(lines);
        lines
    }

    fn reuse(&mut self) {
        if self.is_empty() {
            self.bytes.clear();
            self.ends.clear();
            (self.sent_lines, self.sent_bytes) = (0, 0);
        } else if self.sent_bytes > BATCH_BYTES / 2 {
            // What was sent must not count against the bound for ever.
            self.bytes.drain(..self.sent_bytes);
            self.ends.drain(..self.sent_lines);
            self.ends.iter_mut().for_each(|end| *end -= self.sent_bytes);
            (self.sent_lines, self.sent_bytes) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lines: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            assert!(batch.add(|out| out.extend_from_slice(line.as_bytes())));
        }
        batch
    }

    #[test]
    fn lines_leave_in_order() {
        let mut batch = batch(&["one\n", "two\n", "three\n"]);
        batch.sent_lines(1);
        assert_eq!(batch.lines().collect::<Vec<_>>(), [b"two\n".as_slice(), b"three\n"]);
        assert!(batch.add(|out| out.extend_from_slice(b"four\n")));
        assert_eq!((batch.piece(10), batch.piece(1)), (b"two\nthree\n".as_slice(), b"two\n".as_slice()));
        batch.lose_line();
        assert_eq!((batch.take_lost(), batch.take_lost(), batch.piece(100)), (1, 0, b"three\nfour\n".as_slice()));
        batch.sent_bytes(2);
        assert_eq!((batch.len(), batch.piece(100)), (2, b"ree\nfour\n".as_slice()));
        assert_eq!(batch.drop_all(), 2);
        assert!(batch.is_empty() && batch.bytes.is_empty());
        assert_eq!(batch.piece(100), b"");
    }

    #[test]
    fn a_line_that_was_begun_is_finished() {
        let mut batch = batch(&["one\n", "two\n", "three\n"]);
        batch.sent_bytes(6);
        assert_eq!((batch.drop_unstarted(), batch.piece(100)), (1, b"o\n".as_slice()));
        assert!(batch.add(|out| out.extend_from_slice(b"four\n")));
        assert_eq!(batch.piece(100), b"o\nfour\n");
        batch.sent_bytes(2);
        assert_eq!((batch.drop_unstarted(), batch.is_empty()), (1, true));
        assert_eq!(batch.drop_unstarted(), 0);
    }

    #[test]
    fn the_bound_counts_what_waits() {
        let mut batch = Batch::default();
        let line = |out: &mut Vec<u8>| out.resize(out.len() + 1000, b'x');
        while batch.add(line) {}
        let lines = batch.len();
        assert!((BATCH_BYTES..BATCH_BYTES + 1000).contains(&(lines * 1000)));
        batch.sent_lines(lines - 3);
        assert!(batch.add(line));
        assert_eq!(batch.lines().map(<[u8]>::len).collect::<Vec<_>>(), [1000; 4]);
    }
}
