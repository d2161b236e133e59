//! Pipes for splice(2), pooled: a direction holds one only while bytes are in it.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

use super::core;
use super::sock::{S, gone};

/// Empty pipes kept for the next user; more are closed.
const KEPT: usize = 32;
/// Size of pipes where the configuration gives none. With the kernel's own 64 KiB each system call moves less and bulk costs more; with
/// much more than this a slow reader could hold too much of the kernel's memory, as the pipe is what a stalled direction may hold.
const DEFAULT_BYTES: u32 = 256 << 10;

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

/// The shard's empty pipes.
pub(super) struct PipePool {
    size: u32,
    empty: RefCell<Vec<Ends>>,
    in_use: Cell<u32>,
}

impl PipePool {
    pub(super) fn new(size: u32) -> PipePool {
        PipePool { size, empty: RefCell::new(Vec::new()), in_use: Cell::new(0) }
    }

    /// Pipes that exist.
    pub(super) fn total(&self) -> u32 {
        self.in_use.get() + self.empty.borrow().len() as u32
    }

    /// Pipes somebody holds.
    pub(super) fn in_use(&self) -> u32 {
        self.in_use.get()
    }

    /// Closes the empty pipes.
    pub(super) fn clear(&self) {
        let closed = std::mem::take(&mut *self.empty.borrow_mut());
        drop(closed);
    }

    fn take(&self) -> io::Result<Ends> {
        let kept = self.empty.borrow_mut().pop();
        let ends = match kept {
            Some(ends) => ends,
            None => {
                let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
                let size = if self.size > 0 { self.size } else { DEFAULT_BYTES };
                // Refused beyond the user's share (pipe-user-pages-soft): the kernel's own size works too.
                let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(size as i32));
                let capacity = fcntl(&write, FcntlArg::F_GETPIPE_SZ).unwrap_or(65_536).max(4_096) as usize;
                Ends { read, write, capacity }
            }
        };
        self.in_use.set(self.in_use.get() + 1);
        Ok(ends)
    }
}

/// A pipe and the number of bytes in it. Dropped empty it goes back to the pool, else it is closed.
pub struct Pipe {
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// Takes an empty pipe from the pool or makes one.
    ///
    /// # Errors
    /// As pipe2(2): `EMFILE`, `ENFILE`; `ENOTCONN` without a ring.
    pub fn take() -> io::Result<Pipe> {
        let ends = core::with(|core| core.pipes.take()).unwrap_or(Err(gone()))?;
        Ok(Pipe { ends: Some(ends), held: 0 })
    }

    /// Bytes in the pipe.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what a socket has received into the pipe, without blocking. Zero is the end of the stream.
    ///
    /// # Errors
    /// As splice(2); `EAGAIN` when the socket has nothing or the pipe is full, `EINVAL` when the socket cannot splice.
    pub fn fill(&mut self, from: S) -> io::Result<usize> {
        let raw = from.raw()?;
        let ends = self.ends.as_ref().ok_or_else(gone)?;
        // SAFETY: a live handle's descriptor is open and is closed at the driver's next enter at the earliest.
        let socket = unsafe { BorrowedFd::borrow_raw(raw) };
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let count = splice(socket, None, &ends.write, None, ends.capacity, flags)?;
        self.held += count;
        Ok(count)
    }

    /// Moves bytes from the pipe to a socket, without blocking.
    ///
    /// # Errors
    /// As splice(2); `EAGAIN` when the socket has no room.
    pub fn drain(&mut self, to: S) -> io::Result<usize> {
        let raw = to.raw()?;
        let ends = self.ends.as_ref().ok_or_else(gone)?;
        // SAFETY: as in `fill`.
        let socket = unsafe { BorrowedFd::borrow_raw(raw) };
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        let count = splice(&ends.read, None, socket, None, self.held, flags)?;
        self.held -= count.min(self.held);
        Ok(count)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        let held = self.held;
        core::with(move |core| {
            let pool = &core.pipes;
            pool.in_use.set(pool.in_use.get() - 1);
            if held == 0 && pool.empty.borrow().len() < KEPT {
                pool.empty.borrow_mut().push(ends);
            }
        });
    }
}
