//! Sockets: [`Sock`] owns one, [`S`] is the handle that operations and their futures use.
//!
//! Called by every stage of a session. Operations on a handle whose `Sock` is gone fail with `ENOTCONN`; they never
//! reach another socket. Receiving is in `receive.rs`, sending in `send.rs`, readiness and splice in `ready.rs`.

use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::task::Poll;

use io_uring::{opcode, types};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use socket2::{SockAddr, SockRef};

use super::core::{self, Core, Kind};
use super::slot::*;

const INDEX_BITS: u32 = 22;
const STALE: u32 = u32::MAX;

/// A socket owned by the shard. Dropping it cancels what is in flight and closes it through the ring: it neither
/// blocks nor leaks, and bytes not yet handed to the kernel are lost (await [`S::tx_idle`] first to keep them).
pub struct Sock {
    s: S,
}

/// Handle of a [`Sock`]: four bytes, freely copied, for this thread only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct S {
    packed: u32,
    _local: PhantomData<*const ()>,
}

pub(super) fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOTCONN)
}

pub(super) fn errno(code: u16) -> io::Error {
    io::Error::from_raw_os_error(code as i32)
}

impl Sock {
    /// Takes over a socket, making it non-blocking if it is not. Without a ring on this thread, or beyond 2^22
    /// sockets, the descriptor is closed and every operation fails with `ENOTCONN`.
    pub fn adopt(fd: OwnedFd) -> Sock {
        let flags = fcntl(&fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain).unwrap_or(OFlag::empty());
        if !flags.contains(OFlag::O_NONBLOCK) {
            // Fails only for a descriptor that is not open, and then so does everything after.
            let _ = fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK));
        }
        Sock::adopt_nonblocking(fd)
    }

    /// Like [`Sock::adopt`] for a socket known to be non-blocking, such as an accepted one.
    pub fn adopt_nonblocking(fd: OwnedFd) -> Sock {
        let raw = fd.as_raw_fd();
        let packed = core::with(|core| {
            let index = core.slots.acquire(raw)?;
            let generation = core.slots.at(index).generation.get();
            Some(S::pack(index, generation))
        })
        .flatten();
        if packed.is_some() {
            let _ = fd.into_raw_fd();
        }
        Sock { s: packed.unwrap_or(S { packed: STALE, _local: PhantomData }) }
    }

    /// The handle to operate on.
    pub fn handle(&self) -> S {
        self.s
    }

    /// The descriptor, for socket options and addresses. -1 is never returned: without a ring it is standard error's.
    pub fn fd(&self) -> BorrowedFd<'_> {
        let raw = self.s.raw().unwrap_or(libc::STDERR_FILENO);
        // SAFETY: the slot keeps the descriptor open as long as this `Sock` exists.
        unsafe { BorrowedFd::borrow_raw(raw) }
    }

    /// Closes with a reset (RST) instead of an orderly end; unsent data is thrown away.
    pub fn reset(self) {
        // A socket that cannot linger (not TCP) is simply closed.
        let _ = self.s.sock_ref(|socket| socket.set_linger(Some(std::time::Duration::ZERO)));
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        core::with(|core| {
            if let Some((index, _)) = core.live(self.s) {
                core.orphan(index);
            }
        });
    }
}

impl S {
    fn pack(index: u32, generation: u32) -> S {
        S { packed: (generation << INDEX_BITS) | index, _local: PhantomData }
    }

    pub(super) fn index(self) -> u32 {
        self.packed & ((1 << INDEX_BITS) - 1)
    }

    pub(super) fn matches(self, generation: u32) -> bool {
        self.packed >> INDEX_BITS == generation & (u32::MAX >> INDEX_BITS)
    }

    /// The descriptor behind the handle.
    pub(super) fn raw(self) -> io::Result<i32> {
        core::with(|core| core.live(self).map(|(_, slot)| slot.fd.get())).flatten().ok_or_else(gone)
    }

    /// Runs `f` on the socket behind the handle.
    ///
    /// # Errors
    /// `ENOTCONN` if the socket is gone, else what `f` returns.
    pub fn sock_ref<T>(self, f: impl FnOnce(SockRef<'_>) -> io::Result<T>) -> io::Result<T> {
        let raw = self.raw()?;
        // SAFETY: the slot is live, so the descriptor is open, and it cannot be closed while `f` runs: closing happens
        // at the driver's next enter.
        let fd = unsafe { BorrowedFd::borrow_raw(raw) };
        f(SockRef::from(&fd))
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// As getpeername(2).
    pub fn peer(self) -> io::Result<SockAddr> {
        self.sock_ref(|socket| socket.peer_addr())
    }

    /// The address of this side.
    ///
    /// # Errors
    /// As getsockname(2).
    pub fn local(self) -> io::Result<SockAddr> {
        self.sock_ref(|socket| socket.local_addr())
    }

    /// Takes the socket's pending error (`SO_ERROR`), if any.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn take_error(self) -> io::Result<Option<io::Error>> {
        self.sock_ref(|socket| socket.take_error())
    }

    /// Connects. The attempt starts now, not at the first poll, and goes on until it ends or the [`Sock`] is dropped.
    ///
    /// # Errors
    /// As connect(2): `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`...; `EALREADY` if an attempt is in flight.
    pub fn connect(self, address: &SockAddr) -> impl Future<Output = io::Result<()>> + use<> {
        let mut early = core::with(|core| core.connect(self, address)).unwrap_or(Err(gone())).err();
        poll_fn(move |context| {
            if let Some(error) = early.take() {
                return Poll::Ready(Err(error));
            }
            core::with(|core| {
                let Some((_, slot)) = core.live(self) else { return Poll::Ready(Err(gone())) };
                if !slot.has(CONNECTED) {
                    slot.wait_send(context.waker());
                    return Poll::Pending;
                }
                slot.lower(CONNECTED);
                match slot.send_error.replace(0) {
                    0 => Poll::Ready(Ok(())),
                    code => Poll::Ready(Err(errno(code))),
                }
            })
            .unwrap_or(Poll::Ready(Err(gone())))
        })
    }
}

impl Core {
    fn connect(&self, s: S, address: &SockAddr) -> io::Result<()> {
        let (index, slot) = self.live(s).ok_or_else(gone)?;
        if slot.has(CONNECTING | CONNECTED) {
            return Err(io::Error::from_raw_os_error(libc::EALREADY));
        }
        // Unix sockets connect or fail at once; a full backlog (EAGAIN) would make the kernel's retry spin.
        if self.fast && !address.is_unix() {
            let address = Box::new(address.clone());
            let (pointer, length) = (address.as_ptr().cast(), address.len());
            self.addresses.borrow_mut().push(address);
            slot.raise(CONNECTING);
            self.start(index, Kind::Connect, opcode::Connect::new(types::Fd(slot.fd.get()), pointer, length).build());
            return Ok(());
        }
        match s.sock_ref(|socket| socket.connect(address)) {
            Ok(()) => slot.raise(CONNECTED),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                slot.raise(CONNECTING);
                let poll = opcode::PollAdd::new(types::Fd(slot.fd.get()), libc::POLLOUT as u32);
                self.start(index, Kind::Connect, poll.build());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A connect, or the poll that stands for it, has ended.
    pub(super) fn on_connect(&self, index: u32, result: i32) {
        let slot = self.slots.at(index);
        self.ended(slot);
        slot.lower(CONNECTING);
        if !slot.has(ORPHAN) {
            slot.raise(CONNECTED);
            let mut code = if result < 0 { -result } else { 0 };
            if result >= 0 {
                // SAFETY: as in `sock_ref`: a live slot's descriptor is open.
                let fd = unsafe { BorrowedFd::borrow_raw(slot.fd.get()) };
                // In fast mode the result is the error; a poll leaves it in the socket.
                let pending = if self.fast { None } else { SockRef::from(&fd).take_error().unwrap_or_else(Some) };
                code = pending.and_then(|error| error.raw_os_error()).unwrap_or(0);
            }
            slot.send_error.set(code as u16);
            slot.wake_send();
        }
        self.settle(index, slot);
    }
}

/// Wraps a descriptor a completion has brought.
pub(super) fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us in a completion that is read once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
