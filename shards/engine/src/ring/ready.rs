//! Readiness for splice(2) and raw reads, and the wait for the peer's close.
//!
//! One-shot polls in both modes: armed only while somebody waits, so that a busy transfer costs no events, and looking
//! at the socket's state when armed, so that no edge can be lost. (Multishot polls were measured equal in CPU.) While this
//! is in use the socket must have no receive or send of the ring in flight (`stop_recv`, `tx_idle`).

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use io_uring::{opcode, types};

use super::core::{self, Core, Kind};
use super::slot::*;
use super::sock::{S, errno, gone};
use super::syscall;

const POLL_IN: u32 = (libc::POLLIN | libc::POLLRDHUP) as u32;
const POLL_OUT: u32 = libc::POLLOUT as u32;
const POLL_GONE: u32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as u32;

impl S {
    /// Waits until the socket may be readable. To be awaited after a read that said `EAGAIN`.
    ///
    /// # Errors
    /// `ENOTCONN` if the socket is gone.
    pub fn readable(self) -> impl Future<Output = io::Result<()>> + use<> {
        poll_fn(move |context| {
            core::with(|core| {
                let Some((index, slot)) = core.live(self) else { return Poll::Ready(Err(gone())) };
                if slot.has(READ_READY) {
                    slot.lower(READ_READY);
                    return Poll::Ready(Ok(()));
                }
                core.arm_read_poll(index, slot);
                slot.wait_recv(context.waker());
                Poll::Pending
            })
            .unwrap_or(Poll::Ready(Err(gone())))
        })
    }

    /// Waits until the socket may be writable. To be awaited after a write that said `EAGAIN`.
    ///
    /// # Errors
    /// `ENOTCONN` if the socket is gone.
    pub fn writable(self) -> impl Future<Output = io::Result<()>> + use<> {
        poll_fn(move |context| {
            core::with(|core| {
                let Some((index, slot)) = core.live(self) else { return Poll::Ready(Err(gone())) };
                if slot.has(WRITE_READY) {
                    slot.lower(WRITE_READY);
                    return Poll::Ready(Ok(()));
                }
                core.arm_write_poll(index, slot);
                slot.wait_send(context.waker());
                Poll::Pending
            })
            .unwrap_or(Poll::Ready(Err(gone())))
        })
    }

    /// Waits until the peer has closed (or half-closed) or the socket has failed, without reading. For waits in queues
    /// and for idle connections nobody reads. Also resolves when the socket is gone.
    pub fn closed(self) -> impl Future<Output = ()> + use<> {
        poll_fn(move |context| {
            core::with(|core| {
                let Some((index, slot)) = core.live(self) else { return Poll::Ready(()) };
                if slot.has(CLOSE_SEEN) {
                    return Poll::Ready(());
                }
                if !slot.has(CLOSE_POLL) {
                    slot.raise(CLOSE_POLL);
                    core.start(index, Kind::ClosePoll, opcode::PollAdd::new(types::Fd(slot.fd.get()), POLL_GONE).build());
                }
                slot.wait_recv(context.waker());
                Poll::Pending
            })
            .unwrap_or(Poll::Ready(()))
        })
    }

    /// Non-blocking recv(2) into `into`. For bulk copies; see the module's rule on operations in flight.
    ///
    /// # Errors
    /// As recv(2), `EAGAIN` included.
    pub fn try_read(self, into: &mut [u8]) -> io::Result<usize> {
        let fd = self.raw()?;
        // SAFETY: an exclusive slice is writable for its length.
        unsafe { syscall::recv(fd, into.as_mut_ptr(), into.len()) }.map_err(|code| errno(code as u16))
    }

    /// Non-blocking send(2). For bulk copies; see the module's rule on operations in flight.
    ///
    /// # Errors
    /// As send(2), `EAGAIN` included.
    pub fn try_write(self, bytes: &[u8]) -> io::Result<usize> {
        syscall::send(self.raw()?, bytes).map_err(|code| errno(code as u16))
    }
}

impl Core {
    pub(super) fn arm_read_poll(&self, index: u32, slot: &Slot) {
        if slot.has(READ_POLL) {
            return;
        }
        slot.raise(READ_POLL);
        let poll = opcode::PollAdd::new(types::Fd(slot.fd.get()), POLL_IN);
        self.start(index, Kind::ReadPoll, poll.build());
    }

    fn arm_write_poll(&self, index: u32, slot: &Slot) {
        if slot.has(WRITE_POLL) {
            return;
        }
        slot.raise(WRITE_POLL);
        let poll = opcode::PollAdd::new(types::Fd(slot.fd.get()), POLL_OUT);
        self.start(index, Kind::WritePoll, poll.build());
    }

    /// The event of one of a slot's polls. A failed or cancelled poll counts as an event: the reader finds out by reading.
    pub(super) fn on_poll(&self, kind: Kind, index: u32, result: i32) {
        let slot = self.slots.at(index);
        self.ended(slot);
        match kind {
            Kind::ReadPoll => {
                slot.lower(READ_POLL);
                slot.raise(READ_READY);
                slot.wake_recv();
            }
            Kind::WritePoll => {
                slot.lower(WRITE_POLL);
                slot.raise(WRITE_READY);
                slot.wake_send();
            }
            _ => {
                slot.lower(CLOSE_POLL);
                if result >= 0 {
                    slot.raise(CLOSE_SEEN);
                }
                slot.wake_recv();
            }
        }
        self.settle(index, slot);
    }
}
