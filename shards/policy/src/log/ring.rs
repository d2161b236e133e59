//! The road from a shard to the log writer: one bounded ring per producer, two queues inside (fixed entries and their bytes), so that a
//! push is two memcpys, no allocation, no lock and no wait.
//!
//! Full means dropped and counted. The writer is woken by a system call only when it said that it sleeps.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use ringmain_model::Level;

use super::channel::LogChannel;

/// Lines that fit in one ring.
pub const RING_LINES: usize = 4096;

/// Bytes of text that fit in one ring; the memory is touched only as far as it was ever filled.
pub const RING_BYTES: usize = 512 * 1024;

/// One line on its way to the writer.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Where it goes.
    pub channel: &'a Arc<LogChannel>,
    /// How severe it is.
    pub level: Level,
    /// When it was written, microseconds since 1970: the date of the envelope.
    pub written_us: u64,
    /// The text, without envelope and end of line.
    pub text: &'a [u8],
    /// RFC 5424 structured data as `log-format-sd` gave it; empty without.
    pub structured_data: &'a [u8],
}

/// What the ring carries beside the bytes.
#[derive(Debug)]
pub struct Entry {
    /// Where it goes.
    pub channel: Arc<LogChannel>,
    /// How severe it is.
    pub level: Level,
    /// When it was written, microseconds since 1970.
    pub written_us: u64,
    /// Bytes of text.
    text_length: u32,
    /// Bytes of structured data behind the text.
    structured_data_length: u32,
}

/// How a producer wakes the writer. Shared by all rings of one writer.
#[derive(Debug, Default)]
pub struct Wake {
    sleeping: AtomicBool,
    writer: OnceLock<Thread>,
}

impl Wake {
    /// Names the thread that reads the rings. The first call counts.
    pub fn set_writer(&self, thread: Thread) {
        let _ = self.writer.set(thread);
    }

    /// Called by the writer before its last look at the rings: from now on every push wakes it.
    pub fn announce_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Called by the writer when it found work after all, or was woken.
    pub fn announce_awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Wakes the writer if it sleeps; without a system call if it does not.
    pub fn wake(&self) {
        // Pairs with `announce_sleep`: either the writer's last look sees the push, or this load sees that it sleeps.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed)
            && self.sleeping.swap(false, Ordering::Relaxed)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }
}

/// Makes one ring: the end a producer holds and the end the writer reads.
pub fn ring(wake: Arc<Wake>) -> (LogHandle, LogReader) {
    with_capacity(wake, RING_LINES, RING_BYTES)
}

fn with_capacity(wake: Arc<Wake>, lines: usize, bytes: usize) -> (LogHandle, LogReader) {
    let (entry_producer, entry_consumer) = rtrb::RingBuffer::new(lines);
    let (byte_producer, byte_consumer) = rtrb::RingBuffer::new(bytes);
    let dropped = Arc::new(AtomicU64::new(0));
    let handle = LogHandle { entries: entry_producer, bytes: byte_producer, wake, dropped: dropped.clone() };
    (handle, LogReader { entries: entry_consumer, bytes: byte_consumer, dropped })
}

/// A producer's end of a ring: one per shard and one for the control thread.
#[derive(Debug)]
pub struct LogHandle {
    entries: rtrb::Producer<Entry>,
    bytes: rtrb::Producer<u8>,
    wake: Arc<Wake>,
    dropped: Arc<AtomicU64>,
}

impl LogHandle {
    /// Hands a line to the writer, and tells whether it fitted. Lines that no target of the channel wants are not carried. Texts beyond the
    /// channel's longest line are cut: nobody would see the rest. A line that does not fit is dropped and counted.
    pub fn push(&mut self, line: Line<'_>) -> bool {
        if !line.channel.wants(line.level) {
            return true;
        }
        let longest = line.channel.longest_line();
        let text = &line.text[..line.text.len().min(longest)];
        let structured_data = &line.structured_data[..line.structured_data.len().min(longest)];
        let entry = Entry {
            channel: line.channel.clone(),
            level: line.level,
            written_us: line.written_us,
            text_length: text.len() as u32,
            structured_data_length: structured_data.len() as u32,
        };
        // Bytes go first: an entry is the promise that its bytes are there. Room is checked before, so that none are orphaned.
        let fits = !self.entries.is_full()
            && self.bytes.slots() >= text.len() + structured_data.len()
            && self.bytes.push_entire_slice(text).is_ok()
            && self.bytes.push_entire_slice(structured_data).is_ok()
            && self.entries.push(entry).is_ok();
        if fits {
            self.wake.wake();
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    /// Lines dropped by this producer because its ring was full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The writer's end of a ring.
#[derive(Debug)]
pub struct LogReader {
    entries: rtrb::Consumer<Entry>,
    bytes: rtrb::Consumer<u8>,
    dropped: Arc<AtomicU64>,
}

impl LogReader {
    /// Takes the next line: its text and structured data are appended to the two buffers.
    pub fn pop(&mut self, text: &mut Vec<u8>, structured_data: &mut Vec<u8>) -> Option<Entry> {
        let entry = self.entries.pop().ok()?;
        self.take(entry.text_length as usize, text);
        self.take(entry.structured_data_length as usize, structured_data);
        Some(entry)
    }

    /// Whether no line waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the producer is gone and everything it pushed was read.
    pub fn is_finished(&self) -> bool {
        self.entries.is_abandoned() && self.entries.is_empty()
    }

    /// The producer's counter of dropped lines, for statistics.
    pub fn dropped_counter(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    fn take(&mut self, length: usize, into: &mut Vec<u8>) {
        // The producer wrote the bytes before the entry, so this never fails.
        if let Ok(chunk) = self.bytes.read_chunk(length) {
            let (first, second) = chunk.as_slices();
            into.extend_from_slice(first);
            into.extend_from_slice(second);
            chunk.commit_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::channel::tests::channel;

    fn line<'a>(channel: &'a Arc<LogChannel>, text: &'a [u8]) -> Line<'a> {
        Line { channel, level: Level::Info, written_us: 7, text, structured_data: b"[x]" }
    }

    #[test]
    fn lines_come_out_in_order_and_whole() {
        let channel = channel(&[(Level::Debug, 1024)]);
        let (mut handle, mut reader) = with_capacity(Arc::default(), 4, 32);
        // More rounds than the ring is long, so that texts wrap around its end.
        for round in 0..50u8 {
            let text = [round; 13];
            assert!(handle.push(line(&channel, &text)));
            let (mut got, mut data) = (Vec::new(), Vec::new());
            let entry = reader.pop(&mut got, &mut data).expect("a line");
            assert_eq!((got.as_slice(), data.as_slice(), entry.written_us), (&text[..], &b"[x]"[..], 7));
        }
        assert!(reader.is_empty() && !reader.is_finished());
        drop(handle);
        assert!(reader.is_finished());
    }

    #[test]
    fn a_full_ring_drops_whole_lines_and_counts_them() {
        let channel = channel(&[(Level::Debug, 1024)]);
        let (mut handle, mut reader) = with_capacity(Arc::default(), 4, 32);
        assert!(handle.push(line(&channel, &[1; 20])));
        assert!(!handle.push(line(&channel, &[2; 20])));
        assert!(handle.push(line(&channel, &[3; 2])));
        assert_eq!(handle.dropped(), 1);
        let (mut text, mut data) = (Vec::new(), Vec::new());
        assert!(reader.pop(&mut text, &mut data).is_some() && reader.pop(&mut text, &mut data).is_some());
        assert_eq!(text[20..], [3, 3]);
        for _ in 0..4 {
            assert!(handle.push(line(&channel, b"")));
        }
        assert!(!handle.push(line(&channel, b"")));
        assert_eq!(reader.dropped_counter().load(Ordering::Relaxed), 2);
    }

    #[test]
    fn unwanted_levels_are_not_carried_and_long_texts_are_cut() {
        let channel = channel(&[(Level::Warning, 80), (Level::Err, 100)]);
        let (mut handle, mut reader) = with_capacity(Arc::default(), 4, 512);
        assert!(handle.push(line(&channel, b"not wanted")));
        assert!(reader.is_empty());
        assert!(handle.push(Line { level: Level::Alert, ..line(&channel, &[b'x'; 300]) }));
        let (mut text, mut data) = (Vec::new(), Vec::new());
        assert!(reader.pop(&mut text, &mut data).is_some());
        assert_eq!(text.len(), 99);
    }

    #[test]
    fn no_line_is_overslept() {
        const LINES: u64 = 20_000;
        let channel = channel(&[(Level::Debug, 1024)]);
        let wake = Arc::new(Wake::default());
        let (mut handle, mut reader) = with_capacity(wake.clone(), 64, 4096);
        let sleeper = wake.clone();
        let writer = std::thread::spawn(move || {
            let (mut text, mut data, mut lines) = (Vec::new(), Vec::new(), 0);
            while lines < LINES {
                while reader.pop(&mut text, &mut data).is_some() {
                    assert_eq!(text, lines.to_string().as_bytes());
                    text.clear();
                    data.clear();
                    lines += 1;
                }
                // No timeout: a wake-up that gets lost hangs the test.
                sleeper.announce_sleep();
                if reader.is_empty() && lines < LINES {
                    std::thread::park();
                }
                sleeper.announce_awake();
            }
        });
        wake.set_writer(writer.thread().clone());
        for number in 0..LINES {
            let text = number.to_string();
            while !handle.push(line(&channel, text.as_bytes())) {
                std::thread::yield_now();
            }
        }
        writer.join().expect("all lines came, in order");
    }

    #[test]
    fn a_sleeping_writer_is_woken_once() {
        let wake = Arc::new(Wake::default());
        wake.set_writer(std::thread::current());
        wake.announce_sleep();
        wake.wake();
        std::thread::park();
        assert!(!wake.sleeping.load(Ordering::Relaxed));
    }
}
