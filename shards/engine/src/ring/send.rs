//! Sending: silent sends in batches (fast), or send(2) at once (portable); rests are finished by the driver.
//!
//! A send resolves when the kernel has the bytes in its hands or surely will at the next enter: success posts no
//! completion, so nobody waits for it. What the kernel did not take is copied out of the shared buffers and sent when
//! the socket has room; the sender notices only if it sends again, shuts down or closes: that is the back-pressure.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::task::{Context, Poll};

use io_uring::{opcode, squeue, types};

use super::buffer::Buf;
use super::core::{self, Core, Kind, bump, user_data};
use super::slot::*;
use super::sock::{S, errno, gone};
use super::syscall;

/// Most bytes in one operation: the kernel takes less than 2 GiB at a time.
const LONGEST: usize = 1 << 30;

/// Bytes to send, and what keeps them alive.
pub(super) enum Payload {
    Pooled(Buf),
    Heap(Box<[u8]>),
}

impl Payload {
    fn bytes(&self) -> &[u8] {
        match self {
            Payload::Pooled(buf) => buf,
            Payload::Heap(data) => data,
        }
    }

    /// What follows the first `sent` bytes, out of the shared buffers: a slow reader must not hold those.
    fn into_rest(self, sent: usize) -> Option<Box<Rest>> {
        match self {
            Payload::Heap(data) if sent < data.len() => Some(Box::new(Rest { data, sent })),
            Payload::Pooled(buf) if sent < buf.len() => Some(Box::new(Rest { data: buf[sent..].into(), sent: 0 })),
            _ => None,
        }
    }
}

/// A silent send of the present batch.
pub(super) struct Batched {
    index: u32,
    payload: Payload,
    /// Set by a completion; without one the send has succeeded.
    result: Option<i32>,
}

/// What became of a send that does not wait for a slow reader.
pub enum Sent {
    /// The bytes are on their way.
    Taken,
    /// The reader is slow: earlier bytes are still waiting. Here is the buffer back.
    Slow(Buf),
}

impl S {
    /// Sends a buffer. Resolves at once unless an earlier send of this socket is not finished. Bytes go out in the
    /// order of the calls. At most one task may wait on the writing half of a socket at a time.
    ///
    /// # Errors
    /// As send(2): `EPIPE`, `ECONNRESET`... An error may belong to an earlier send; it stays.
    pub fn send(self, buf: Buf) -> impl Future<Output = io::Result<()>> + use<> {
        let mut buf = Some(buf);
        poll_fn(move |context| {
            core::with(|core| core.poll_send(self, &mut || buf.take().map(Payload::Pooled), context)).unwrap_or(Poll::Ready(Err(gone())))
        })
    }

    /// Sends a buffer unless the reader is slow; waits no longer than one turn of the driver.
    ///
    /// # Errors
    /// As [`S::send`].
    pub fn send_unless_slow(self, buf: Buf) -> impl Future<Output = io::Result<Sent>> + use<> {
        let mut buf = Some(buf);
        poll_fn(move |context| {
            let slow = core::with(|core| core.live(self).is_some_and(|(_, slot)| slot.has(SEND_SLOW)));
            if slow == Some(true)
                && let Some(buf) = buf.take()
            {
                return Poll::Ready(Ok(Sent::Slow(buf)));
            }
            core::with(|core| core.poll_send(self, &mut || buf.take().map(Payload::Pooled), context))
                .unwrap_or(Poll::Ready(Err(gone())))
                .map_ok(|()| Sent::Taken)
        })
    }

    /// Sends a copy of `bytes`, of any length; nothing is borrowed across the wait.
    ///
    /// # Errors
    /// As [`S::send`].
    pub fn send_bytes(self, bytes: &[u8]) -> impl Future<Output = io::Result<()>> + use<> {
        self.send_owned(bytes.into())
    }

    /// Sends bytes the caller has on the heap, of any length, without copying them.
    ///
    /// # Errors
    /// As [`S::send`].
    pub fn send_owned(self, bytes: Box<[u8]>) -> impl Future<Output = io::Result<()>> + use<> {
        let mut payload = Some(Payload::Heap(bytes));
        poll_fn(move |context| core::with(|core| core.poll_send(self, &mut || payload.take(), context)).unwrap_or(Poll::Ready(Err(gone()))))
    }

    /// Waits until the kernel has taken all bytes sent so far.
    ///
    /// # Errors
    /// As [`S::send`].
    pub fn tx_idle(self) -> impl Future<Output = io::Result<()>> + use<> {
        poll_fn(move |context| core::with(|core| core.poll_idle(self, context)).unwrap_or(Poll::Ready(Err(gone()))))
    }

    /// Whether bytes sent earlier are still waiting for the reader to make room.
    pub fn is_slow(self) -> bool {
        core::with(|core| core.live(self).is_some_and(|(_, slot)| slot.has(SEND_SLOW))).unwrap_or(false)
    }

    /// Sends the end of the stream (FIN) once all bytes sent so far are on their way; does not wait.
    ///
    /// # Errors
    /// As shutdown(2); `ENOTCONN` if the socket is gone.
    pub fn shutdown_write(self) -> io::Result<()> {
        let busy = core::with(|core| {
            let (_, slot) = core.live(self)?;
            if slot.has(SEND_BATCHED | SEND_SLOW) {
                slot.raise(SHUT_WANTED);
                core.must_return.set(core.must_return.get() + 1);
            }
            Some(slot.has(SEND_BATCHED | SEND_SLOW))
        });
        match busy.flatten() {
            None => Err(gone()),
            Some(true) => Ok(()),
            Some(false) => self.sock_ref(|socket| socket.shutdown(Shutdown::Write)),
        }
    }
}

impl Core {
    fn poll_idle(&self, s: S, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((_, slot)) = self.live(s) else { return Poll::Ready(Err(gone())) };
        if slot.has(SEND_BATCHED | SEND_SLOW) {
            if slot.has(SEND_BATCHED) {
                self.must_return.set(self.must_return.get() + 1);
            }
            slot.wait_send(context.waker());
            return Poll::Pending;
        }
        match slot.send_error.get() {
            0 => Poll::Ready(Ok(())),
            code => Poll::Ready(Err(errno(code))),
        }
    }

    fn poll_send(&self, s: S, payload: &mut dyn FnMut() -> Option<Payload>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_idle(s, context) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let (Some((index, slot)), Some(payload)) = (self.live(s), payload()) else {
            return Poll::Ready(Ok(()));
        };
        if payload.bytes().is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.fast && payload.bytes().len() <= LONGEST {
            self.send_silently(index, slot, payload);
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.send_now(index, slot, payload))
    }

    fn send_silently(&self, index: u32, slot: &Slot, payload: Payload) {
        let mut batch = self.batch.borrow_mut();
        let bytes = payload.bytes();
        // MSG_DONTWAIT makes the kernel finish the send inside the enter, MSG_WAITALL makes a short one a failure,
        // which posts a completion in spite of the flag.
        let entry = opcode::Send::new(types::Fd(slot.fd.get()), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(Kind::Send, 0, batch.len() as u32));
        batch.push(Batched { index, payload, result: None });
        drop(batch);
        slot.raise(SEND_BATCHED);
        slot.out.set(slot.out.get() + 1);
        self.in_flight.set(self.in_flight.get() + 1);
        self.push(entry);
    }

    /// Portable mode, and sends too long for one operation.
    fn send_now(&self, index: u32, slot: &Slot, payload: Payload) -> io::Result<()> {
        let sent = match syscall::send(slot.fd.get(), payload.bytes()) {
            Ok(sent) => sent,
            Err(libc::EAGAIN | libc::EINTR) => 0,
            Err(code) => {
                slot.send_error.set(code as u16);
                return Err(errno(code as u16));
            }
        };
        if let Some(rest) = payload.into_rest(sent) {
            bump(&self.totals.short_sends);
            slot.rest.set(Some(rest));
            self.send_rest(index, slot);
        }
        Ok(())
    }

    /// Sends what is left: an ordinary send (fast), or a poll for room (portable).
    fn send_rest(&self, index: u32, slot: &Slot) {
        let Some(rest) = slot.rest.take() else { return };
        slot.raise(SEND_SLOW);
        let fd = types::Fd(slot.fd.get());
        let entry = if self.fast {
            let bytes = &rest.data[rest.sent..];
            opcode::Send::new(fd, bytes.as_ptr(), bytes.len().min(LONGEST) as u32).flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build()
        } else {
            opcode::PollAdd::new(fd, libc::POLLOUT as u32).build()
        };
        slot.rest.set(Some(rest));
        self.start(index, Kind::Rest, entry);
    }

    /// A silent send did post a completion: it failed or was short.
    pub(super) fn on_send(&self, index: u32, result: i32) {
        match self.batch.borrow_mut().get_mut(index as usize) {
            Some(batched) => batched.result = Some(result),
            None => bump(&self.totals.strays),
        }
    }

    /// All completions of the batch are in: what posted none has succeeded.
    pub(super) fn close_batch(&self) {
        self.must_return.set(0);
        self.addresses.borrow_mut().clear();
        if self.batch.borrow().is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut *self.batch.borrow_mut());
        for batched in batch.drain(..) {
            self.close_send(batched);
        }
        // Keeps the allocation: nothing was sent meanwhile, because no task ran.
        *self.batch.borrow_mut() = batch;
    }

    fn close_send(&self, batched: Batched) {
        let index = batched.index;
        let slot = self.slots.at(index);
        self.ended(slot);
        slot.lower(SEND_BATCHED);
        let sent = match batched.result {
            None => usize::MAX,
            Some(result) if result >= 0 => result as usize,
            Some(result) if matches!(-result, libc::EAGAIN | libc::EINTR) => 0,
            Some(result) => {
                slot.send_error.set(-result as u16);
                usize::MAX
            }
        };
        if !slot.has(ORPHAN)
            && let Some(rest) = batched.payload.into_rest(sent)
        {
            bump(&self.totals.short_sends);
            slot.rest.set(Some(rest));
            self.send_rest(index, slot);
            // Whoever waits learns that the reader is slow.
            slot.wake_send();
            return;
        }
        self.sends_done(index, slot);
    }

    /// A completion for the rest of a send.
    pub(super) fn on_rest(&self, index: u32, result: i32) {
        let slot = self.slots.at(index);
        self.ended(slot);
        slot.lower(SEND_SLOW);
        let mut rest = slot.rest.take();
        if slot.has(ORPHAN) {
            drop(rest);
            return self.settle(index, slot);
        }
        let outcome = match (&rest, self.fast) {
            (Some(rest), false) => syscall::send(slot.fd.get(), &rest.data[rest.sent..]),
            _ => usize::try_from(result).map_err(|_| -result),
        };
        match outcome {
            Ok(sent) => {
                if let Some(rest) = &mut rest {
                    rest.sent += sent;
                }
            }
            Err(libc::EAGAIN | libc::EINTR) => {}
            Err(code) => {
                slot.send_error.set(code as u16);
                rest = None;
            }
        }
        match rest {
            Some(rest) if rest.sent < rest.data.len() => {
                slot.rest.set(Some(rest));
                self.send_rest(index, slot);
            }
            _ => self.sends_done(index, slot),
        }
    }

    fn sends_done(&self, index: u32, slot: &Slot) {
        if slot.has(SHUT_WANTED) {
            slot.lower(SHUT_WANTED);
            // A socket that is not connected any more has nothing to shut down.
            // SAFETY: plain system call on a descriptor the slot keeps open.
            unsafe { libc::shutdown(slot.fd.get(), libc::SHUT_WR) };
        }
        slot.wake_send();
        self.settle(index, slot);
    }
}
