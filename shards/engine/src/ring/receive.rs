//! Receiving: one multishot receive per socket into the shared buffers (fast), or poll and recv(2) (portable).
//!
//! Flow control lives here and not in the tasks: a socket that holds too many received bytes has its receive cancelled
//! and started again once its reader has taken them; a receive that ended for want of buffers waits for some.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use io_uring::{cqueue, opcode, types};

use super::buffer::{Buf, GROUP};
use super::core::{self, Core, Kind, bump};
use super::slot::*;
use super::sock::{S, errno, gone};
use super::syscall;

/// Received bytes a socket may hold before its receive is cancelled. The kernel repeats a receive 32 times before it looks
/// at anything else, so a fast sender gets up to about a hundred buffers in before the cancellation reaches it.
const QUEUE_LIMIT: u32 = 64 << 10;

impl S {
    /// Waits for bytes: some, or `None` at the end of the stream. Dropping the future loses nothing. At most one
    /// task may wait on the reading half of a socket (`recv`, `readable`, `closed`) at a time.
    ///
    /// # Errors
    /// As recv(2): `ECONNRESET`, `ETIMEDOUT`...; the error stays, further calls return it again.
    pub fn recv(self) -> impl Future<Output = io::Result<Option<Buf>>> + use<> {
        poll_fn(move |context| core::with(|core| core.poll_recv(self, context)).unwrap_or(Poll::Ready(Err(gone()))))
    }

    /// Takes bytes that have been received already, without asking for more.
    pub fn take_queued(self) -> Option<Buf> {
        core::with(|core| {
            let (_, slot) = core.live(self)?;
            core.take_queued(slot)
        })
        .flatten()
    }

    /// How the ring's receives ended, once what they brought has been taken: `Ok` for the end of the stream, else the
    /// error. The kernel reports an error only once, so whoever reads the socket by other means must ask here first.
    pub fn receive_ended(self) -> Option<io::Result<()>> {
        core::with(|core| {
            let (_, slot) = core.live(self)?;
            match slot.recv_error.get() {
                0 => slot.has(RECV_EOF).then_some(Ok(())),
                code => Some(Err(errno(code))),
            }
        })
        .flatten()
    }

    /// Ends the receive in flight and waits until the kernel has let go; what it received until then stays queued
    /// and the next [`S::recv`] starts a new one. To be awaited before reading the socket by other means.
    pub fn stop_recv(self) -> impl Future<Output = ()> + use<> {
        poll_fn(move |context| {
            core::with(|core| {
                let Some((index, slot)) = core.live(self) else { return Poll::Ready(()) };
                slot.lower(RECV_STARVED);
                if !slot.has(RECV_ARMED) {
                    return Poll::Ready(());
                }
                core.stop_receive(index, slot);
                slot.wait_recv(context.waker());
                Poll::Pending
            })
            .unwrap_or(Poll::Ready(()))
        })
    }
}

impl Core {
    fn take_queued(&self, slot: &Slot) -> Option<Buf> {
        let buf = self.pool.pop(&slot.head, &slot.tail)?;
        slot.queued_bytes.set(slot.queued_bytes.get().saturating_sub(buf.len() as u32));
        Some(buf)
    }

    fn poll_recv(&self, s: S, context: &mut Context<'_>) -> Poll<io::Result<Option<Buf>>> {
        let Some((index, slot)) = self.live(s) else { return Poll::Ready(Err(gone())) };
        if let Some(buf) = self.take_queued(slot) {
            return Poll::Ready(Ok(Some(buf)));
        }
        if slot.recv_error.get() != 0 {
            return Poll::Ready(Err(errno(slot.recv_error.get())));
        }
        if slot.has(RECV_EOF) {
            return Poll::Ready(Ok(None));
        }
        if self.fast {
            if !slot.has(RECV_ARMED | RECV_STARVED) {
                self.arm_receive(index, slot);
            }
        } else if let Some(outcome) = self.receive_now(index, slot) {
            return Poll::Ready(outcome);
        }
        slot.wait_recv(context.waker());
        Poll::Pending
    }

    fn arm_receive(&self, index: u32, slot: &Slot) {
        slot.raise(RECV_ARMED);
        slot.lower(RECV_STARVED);
        self.start(index, Kind::Receive, opcode::RecvMulti::new(types::Fd(slot.fd.get()), GROUP).build());
    }

    fn stop_receive(&self, index: u32, slot: &Slot) {
        if slot.has(RECV_ARMED) && !slot.has(RECV_CANCELLED) {
            slot.raise(RECV_CANCELLED);
            self.cancel(index, Kind::Receive);
        }
    }

    /// Portable mode: recv(2) if the poll said so, else start a poll.
    fn receive_now(&self, index: u32, slot: &Slot) -> Option<io::Result<Option<Buf>>> {
        if slot.has(RECV_STARVED) {
            return None;
        }
        if !slot.has(READ_READY) {
            self.arm_read_poll(index, slot);
            return None;
        }
        let Some(id) = self.pool.take() else {
            self.starve(index, slot);
            return None;
        };
        let size = self.pool.size() as usize;
        // SAFETY: buffer `id` has just been taken from the free list: nobody else refers to its `size` bytes.
        let result = unsafe { syscall::recv(slot.fd.get(), self.pool.pointer(id, 0), size) };
        let outcome = match result {
            Ok(0) => {
                slot.raise(RECV_EOF);
                Some(Ok(None))
            }
            Ok(length) => {
                // A short read has most likely emptied the socket; the next poll finds out for sure.
                if length < size {
                    slot.lower(READ_READY);
                }
                return Some(Ok(Some(Buf::new(id, length as u16))));
            }
            Err(libc::EAGAIN | libc::EINTR) => {
                slot.lower(READ_READY);
                self.arm_read_poll(index, slot);
                None
            }
            Err(code) => {
                slot.recv_error.set(code as u16);
                Some(Err(errno(code as u16)))
            }
        };
        self.pool.release(id, false);
        outcome
    }

    fn starve(&self, index: u32, slot: &Slot) {
        bump(&self.totals.enobufs);
        slot.raise(RECV_STARVED);
        self.starved.borrow_mut().push(index);
    }

    /// A completion of a multishot receive.
    pub(super) fn on_receive(&self, index: u32, result: i32, flags: u32) {
        let slot = self.slots.at(index);
        let last = !cqueue::more(flags);
        let stopped = slot.has(RECV_CANCELLED);
        if last {
            slot.lower(RECV_ARMED | RECV_CANCELLED);
            self.ended(slot);
        }
        if let Some(id) = cqueue::buffer_select(flags)
            && self.pool.taken_by_kernel(id)
        {
            if result > 0 && !slot.has(ORPHAN) {
                self.pool.append(&slot.head, &slot.tail, id, result as u16);
                slot.queued_bytes.set(slot.queued_bytes.get() + result as u32);
                self.limit_queue(index, slot);
            } else {
                self.pool.release(id, true);
            }
        }
        match -result {
            0 => slot.raise(RECV_EOF),
            // A reader that stopped on purpose is not starved; one that waits is started again by the driver.
            libc::ENOBUFS if !stopped && slot.has(RECV_WAIT) => return self.starve(index, slot),
            code if code > 0 && !matches!(code, libc::ECANCELED | libc::EAGAIN | libc::EINTR | libc::ENOBUFS) => {
                slot.recv_error.set(code as u16);
            }
            _ => {}
        }
        slot.wake_recv();
        self.settle(index, slot);
    }

    /// Stops a receive whose reader is behind. When few buffers are left, a socket may hold but a few.
    fn limit_queue(&self, index: u32, slot: &Slot) {
        let scarce = self.pool.available() < self.pool.count() as u32 / 4;
        let limit = if scarce { self.pool.size() * 4 } else { QUEUE_LIMIT };
        if slot.queued_bytes.get() >= limit.min(QUEUE_LIMIT) && slot.has(RECV_ARMED) && !slot.has(RECV_CANCELLED) {
            bump(&self.totals.recv_cancels);
            self.stop_receive(index, slot);
        }
    }

    /// Lets starved sockets receive again once some buffers are free.
    pub(super) fn feed_starved(&self) {
        let enough = (self.pool.count() as u32 / 4).clamp(1, 8);
        if self.starved.borrow().is_empty() || self.pool.available() < enough {
            return;
        }
        // Published now, so that the receives that follow find them.
        self.pool.publish();
        for index in std::mem::take(&mut *self.starved.borrow_mut()) {
            let slot = self.slots.at(index);
            if !slot.has(RECV_STARVED) {
                continue;
            }
            slot.lower(RECV_STARVED);
            if self.fast && !slot.has(RECV_ARMED) {
                self.arm_receive(index, slot);
            } else {
                slot.wake_recv();
            }
        }
    }
}
