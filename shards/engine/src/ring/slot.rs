//! One slot per socket: what the driver must know about it, in little more than a cache line.
//!
//! Invariants: at most one receive, one send, one connect and one poll per half are in flight. A slot is freed, its
//! generation advanced and its descriptor closed only when `out` is zero, that is when the last completion of every
//! operation has come in: a completion therefore never meets a slot that has been used again.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use super::buffer::NO_BUFFER;

/// The slot belongs to a socket.
pub(super) const LIVE: u32 = 1;
/// The owner has dropped the socket; close it when nothing is in flight.
pub(super) const ORPHAN: u32 = 1 << 1;
/// A multishot receive is in flight (fast mode).
pub(super) const RECV_ARMED: u32 = 1 << 2;
/// The receive has been asked to stop.
pub(super) const RECV_CANCELLED: u32 = 1 << 3;
/// The peer has finished sending.
pub(super) const RECV_EOF: u32 = 1 << 4;
/// A task waits for bytes, readiness or the end of the receive.
pub(super) const RECV_WAIT: u32 = 1 << 5;
/// The receive ended for want of buffers and waits for some.
pub(super) const RECV_STARVED: u32 = 1 << 6;
/// A readiness poll for reading is in flight.
pub(super) const READ_POLL: u32 = 1 << 7;
/// The socket may be readable.
pub(super) const READ_READY: u32 = 1 << 8;
/// A readiness poll for writing is in flight.
pub(super) const WRITE_POLL: u32 = 1 << 9;
/// The socket may be writable.
pub(super) const WRITE_READY: u32 = 1 << 10;
/// A poll for the peer's close is in flight.
pub(super) const CLOSE_POLL: u32 = 1 << 11;
/// The peer has closed or the socket has failed.
pub(super) const CLOSE_SEEN: u32 = 1 << 12;
/// A send of the present batch: its fate is known at the end of the next reap.
pub(super) const SEND_BATCHED: u32 = 1 << 13;
/// The kernel did not take all of a send; the rest is on its way.
pub(super) const SEND_SLOW: u32 = 1 << 14;
/// A task waits for a send or for writability.
pub(super) const SEND_WAIT: u32 = 1 << 15;
/// Shut down the writing half once all sends are done.
pub(super) const SHUT_WANTED: u32 = 1 << 16;
/// A connect is in flight.
pub(super) const CONNECTING: u32 = 1 << 17;
/// The connect has ended, its result is in `send_error`.
pub(super) const CONNECTED: u32 = 1 << 18;

/// Bits of a generation in `user_data`.
pub(super) const GENERATION_MASK: u32 = 0x00ff_ffff;

/// What is left of a send the kernel did not take at once.
pub(super) struct Rest {
    pub(super) data: Box<[u8]>,
    pub(super) sent: usize,
}

/// The state of one socket.
pub(super) struct Slot {
    pub(super) recv_waker: Cell<Option<Waker>>,
    pub(super) send_waker: Cell<Option<Waker>>,
    pub(super) rest: Cell<Option<Box<Rest>>>,
    pub(super) fd: Cell<i32>,
    pub(super) generation: Cell<u32>,
    pub(super) flags: Cell<u32>,
    pub(super) next_free: Cell<u32>,
    pub(super) queued_bytes: Cell<u32>,
    pub(super) head: Cell<u16>,
    pub(super) tail: Cell<u16>,
    pub(super) recv_error: Cell<u16>,
    pub(super) send_error: Cell<u16>,
    pub(super) out: Cell<u16>,
}

impl Slot {
    fn empty() -> Slot {
        Slot {
            recv_waker: Cell::new(None),
            send_waker: Cell::new(None),
            rest: Cell::new(None),
            fd: Cell::new(-1),
            generation: Cell::new(0),
            flags: Cell::new(0),
            next_free: Cell::new(NONE),
            queued_bytes: Cell::new(0),
            head: Cell::new(NO_BUFFER),
            tail: Cell::new(NO_BUFFER),
            recv_error: Cell::new(0),
            send_error: Cell::new(0),
            out: Cell::new(0),
        }
    }

    pub(super) fn has(&self, flags: u32) -> bool {
        self.flags.get() & flags != 0
    }

    pub(super) fn raise(&self, flags: u32) {
        self.flags.set(self.flags.get() | flags);
    }

    pub(super) fn lower(&self, flags: u32) {
        self.flags.set(self.flags.get() & !flags);
    }

    /// Keeps the waker of whoever waits on the reading half.
    pub(super) fn wait_recv(&self, waker: &Waker) {
        keep(&self.recv_waker, waker);
        self.raise(RECV_WAIT);
    }

    /// Keeps the waker of whoever waits on the writing half.
    pub(super) fn wait_send(&self, waker: &Waker) {
        keep(&self.send_waker, waker);
        self.raise(SEND_WAIT);
    }

    /// Wakes the reading half if somebody waits there.
    pub(super) fn wake_recv(&self) {
        if self.has(RECV_WAIT) {
            self.lower(RECV_WAIT);
            wake(&self.recv_waker);
        }
    }

    /// Wakes the writing half if somebody waits there.
    pub(super) fn wake_send(&self) {
        if self.has(SEND_WAIT) {
            self.lower(SEND_WAIT);
            wake(&self.send_waker);
        }
    }
}

// Wakers stay in the slot: a message costs neither a clone nor a drop, and a task never has more than a handful of
// references (the executor counts them in 16 bits).
pub(super) fn keep(cell: &Cell<Option<Waker>>, waker: &Waker) {
    match cell.take() {
        Some(kept) if kept.will_wake(waker) => cell.set(Some(kept)),
        stale => {
            cell.set(Some(waker.clone()));
            drop(stale);
        }
    }
}

pub(super) fn wake(cell: &Cell<Option<Waker>>) {
    if let Some(waker) = cell.take() {
        waker.wake_by_ref();
        cell.set(Some(waker));
    }
}

const NONE: u32 = u32::MAX;
const CHUNK: usize = 128;
/// Handles carry 22 bits of index.
pub(super) const SLOT_LIMIT: usize = 1 << 22;

/// All slots of a shard. Slots keep their address for the life of the table.
pub(super) struct Slots {
    chunks: RefCell<Vec<*const Slot>>,
    capacity: Cell<usize>,
    free: Cell<u32>,
    live: Cell<u32>,
}

impl Slots {
    pub(super) fn new() -> Slots {
        Slots { chunks: RefCell::new(Vec::new()), capacity: Cell::new(0), free: Cell::new(NONE), live: Cell::new(0) }
    }

    /// Slots in use, orphans included.
    pub(super) fn live(&self) -> u32 {
        self.live.get()
    }

    /// The number of slots that exist, used or not.
    pub(super) fn capacity(&self) -> usize {
        self.capacity.get()
    }

    /// The slot at `index`, which must be below [`Slots::capacity`].
    pub(super) fn at(&self, index: u32) -> &Slot {
        let index = index as usize;
        assert!(index < self.capacity.get(), "slot index out of range");
        let chunk = self.chunks.borrow()[index / CHUNK];
        // SAFETY: chunks are leaked boxes of CHUNK slots that are freed only when the table is dropped, and slots are
        // only ever used through shared references.
        unsafe { &*chunk.add(index % CHUNK) }
    }

    /// Takes a free slot for `fd`; `None` at the limit of 2^22 sockets.
    pub(super) fn acquire(&self, fd: i32) -> Option<u32> {
        if self.free.get() == NONE && !self.grow() {
            return None;
        }
        let index = self.free.get();
        let slot = self.at(index);
        self.free.set(slot.next_free.get());
        self.live.set(self.live.get() + 1);
        slot.fd.set(fd);
        slot.flags.set(LIVE);
        Some(index)
    }

    /// Frees a slot nothing refers to any more.
    pub(super) fn release(&self, index: u32) {
        let slot = self.at(index);
        debug_assert_eq!(slot.out.get(), 0);
        debug_assert_eq!(slot.head.get(), NO_BUFFER);
        slot.flags.set(0);
        slot.fd.set(-1);
        slot.queued_bytes.set(0);
        slot.recv_error.set(0);
        slot.send_error.set(0);
        slot.generation.set((slot.generation.get() + 1) & GENERATION_MASK);
        slot.next_free.set(self.free.get());
        self.free.set(index);
        self.live.set(self.live.get() - 1);
    }

    fn grow(&self) -> bool {
        let start = self.capacity.get();
        if start + CHUNK > SLOT_LIMIT {
            return false;
        }
        let chunk: Box<[Slot]> = (0..CHUNK).map(|_| Slot::empty()).collect();
        self.chunks.borrow_mut().push(Box::into_raw(chunk).cast::<Slot>());
        self.capacity.set(start + CHUNK);
        for index in (start..start + CHUNK).rev() {
            self.at(index as u32).next_free.set(self.free.get());
            self.free.set(index as u32);
        }
        true
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for chunk in self.chunks.get_mut().drain(..) {
            // SAFETY: made by `Box::into_raw` from a box of exactly CHUNK slots; no reference outlives the table.
            unsafe { drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(chunk.cast_mut(), CHUNK))) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_stays_small() {
        assert!(size_of::<Slot>() <= 80, "{}", size_of::<Slot>());
    }

    #[test]
    fn a_released_slot_gets_a_new_generation() {
        let slots = Slots::new();
        let first = slots.acquire(7).expect("slot");
        let generation = slots.at(first).generation.get();
        slots.release(first);
        let second = slots.acquire(8).expect("slot");
        assert_eq!(first, second);
        assert_ne!(generation, slots.at(second).generation.get());
        slots.release(second);
        assert_eq!(slots.live(), 0);
    }
}
