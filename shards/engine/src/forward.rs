//! Forwarding: one direction of a session, from one socket to another.
//!
//! Messages travel through the ring: the received buffer is the buffer that is sent. After a few full buffers in a row
//! (bulk), or when the receiver is slow, the direction moves to `splice.rs`, and back when things are quiet. A session
//! joins two directions; it half-closes, times out and counts, this module does not.

use std::cell::Cell;
use std::rc::Rc;

use crate::ring::{self, S, Sent};
use crate::splice::{self, Bulk};

/// Full buffers in a row that make a direction a bulk transfer.
const FULL_BUFFERS: u8 = 4;

/// How a direction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The sender has finished and all its bytes were handed to the receiver's socket.
    Eof,
    /// Reading failed, with this errno.
    ReadError(i32),
    /// Writing failed, with this errno.
    WriteError(i32),
    /// An inspection of the first bytes refuses them: the session ends at once.
    Refused,
    /// An inspection of the first bytes wants the session to end now that they have been delivered.
    Finished,
    /// The receiver was told to go, and it has gone or had time to.
    SentOff,
    /// The sender's inactivity timeout ran out during an inspection that let it pass.
    TimedOut,
}

/// A direction's meter, and what comes before it.
pub trait Way: AsRef<Meter> + Clone + 'static {
    /// Whether something is to be done with the first bytes before any are forwarded. Asked once.
    fn has_first(&self) -> bool {
        false
    }

    /// Does it: what it takes from `from` it hands to `to`. Returns the end of the direction, or `None` when it goes on.
    fn first(self, _from: S, _to: S) -> impl Future<Output = Option<End>> {
        std::future::ready(None)
    }
}

impl Way for Rc<Meter> {}

/// When a direction uses splice(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Splice {
    /// For bulk, found out as it goes.
    #[default]
    Adaptive,
    /// Never: bulk is copied through a large buffer.
    Never,
    /// From the first byte, and it stays so.
    Always,
}

/// What a direction has done, for counters, logs and inactivity timeouts. Times are on the clock of
/// [`ring::now_ms`]; zero means never.
#[derive(Default, Debug)]
pub struct Meter {
    /// Bytes read from the sender.
    pub bytes: Cell<u64>,
    /// Bytes read that the receiver's socket has not taken yet (as far as the direction itself holds them).
    pub pending: Cell<u64>,
    /// When bytes were last read, in milliseconds.
    pub last_read_ms: Cell<u64>,
    /// When bytes were last handed over, in milliseconds.
    pub last_write_ms: Cell<u64>,
    /// Times the direction went over to bulk.
    pub bulk_phases: Cell<u32>,
}

impl Meter {
    /// A meter at rest.
    pub fn new() -> Meter {
        Meter::default()
    }

    pub(crate) fn read(&self, count: usize) {
        self.bytes.set(self.bytes.get() + count as u64);
        self.pending.set(self.pending.get() + count as u64);
        self.last_read_ms.set(ring::now_ms());
    }

    /// Bytes read for inspection: not yet on their way to the receiver.
    pub(crate) fn held(&self, count: usize) {
        self.bytes.set(self.bytes.get() + count as u64);
        self.last_read_ms.set(ring::now_ms());
    }

    pub(crate) fn all_written(&self) {
        self.pending.set(0);
        self.last_write_ms.set(ring::now_ms());
    }

    pub(crate) fn written(&self, count: usize) {
        self.pending.set(self.pending.get().saturating_sub(count as u64));
        self.last_write_ms.set(ring::now_ms());
    }
}

/// Forwards `from` to `to` until the stream ends or fails. After [`End::Eof`] every byte is in the kernel's hands. The
/// sockets must be non-blocking. Dropping the future stops forwarding; bytes it holds are lost with it.
/// `meter` leads to the direction's meter; a session passes a handle on itself, which holds both.
pub fn direction<M>(from: S, to: S, meter: M, splice: Splice) -> impl Future<Output = End>
where
    M: Way,
{
    // Written for size: no reference and nothing that can be looked up again is held across a wait.
    async move {
        if meter.has_first()
            && let Some(end) = Box::pin(meter.clone().first(from, to)).await
        {
            return end;
        }
        let mut full = if splice == Splice::Always { FULL_BUFFERS } else { 0 };
        loop {
            let mut held = None;
            if full < FULL_BUFFERS {
                let buf = match from.recv().await {
                    Ok(Some(buf)) => buf,
                    Ok(None) => break,
                    Err(error) => return End::ReadError(code(&error)),
                };
                full = if buf.len() == ring::buffer_size() { full + 1 } else { 0 };
                meter.as_ref().read(buf.len());
                match to.send_unless_slow(buf).await {
                    Ok(Sent::Taken) => {
                        meter.as_ref().all_written();
                        continue;
                    }
                    Ok(Sent::Slow(buf)) => held = Some(buf),
                    Err(error) => return End::WriteError(code(&error)),
                }
            }
            // Rare and large: boxed, so that an idle session does not carry it.
            match Box::pin(splice::bulk(from, to, meter.clone(), splice, held)).await {
                Bulk::Quiet => full = 0,
                Bulk::End(end) => return end,
            }
        }
        match to.tx_idle().await {
            Ok(()) => End::Eof,
            Err(error) => End::WriteError(code(&error)),
        }
    }
}

/// Reads of [`discard_unread`] at most.
const DISCARDS: usize = 4;

/// Throws away what a peer has sent and nobody will read: a socket closed with unread bytes is reset instead of ended, and the peer may lose
/// what it was sent before. Bounded: a peer that sends faster than that is reset all the same.
pub(crate) fn discard_unread(from: S) {
    let mut bytes = [0; 16 << 10];
    for _ in 0..DISCARDS {
        if !matches!(from.try_read(&mut bytes), Ok(1..)) {
            return;
        }
    }
}

/// The errno of an error.
pub(crate) fn code(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_direction<F: Future>(_: impl FnOnce(S, S, Rc<Meter>, Splice) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_direction_fits_a_cache_line() {
        let size = size_of_direction(direction);
        assert!(size <= 64, "{size} bytes");
    }
}
