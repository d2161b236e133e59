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
/// Size of pipes for directions whose receivers keep up, where the configuration gives none: fewer and larger loads.
const LARGE_BYTES: u32 = 1 << 20;
/// Large pipes that may hold bytes at once: what receivers that suddenly stall can hold beyond the usual pipes.
const LARGE_IN_USE: u32 = 16;

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
    large: bool,
}

/// The shard's empty pipes.
pub(super) struct PipePool {
    size: u32,
    empty: RefCell<Vec<Ends>>,
    empty_large: RefCell<Vec<Ends>>,
    in_use: Cell<u32>,
    large_in_use: Cell<u32>,
    /// The kernel has refused a large one, as it will the next.
    refused: Cell<bool>,
}

impl PipePool {
    pub(super) fn new(size: u32) -> PipePool {
        PipePool {
            size,
            empty: RefCell::new(Vec::new()),
            empty_large: RefCell::new(Vec::new()),
            in_use: Cell::new(0),
            large_in_use: Cell::new(0),
            refused: Cell::new(false),
        }
    }

    /// Pipes that exist.
    pub(super) fn total(&self) -> u32 {
        self.in_use.get() + (self.empty.borrow().len() + self.empty_large.borrow().len()) as u32
    }

    /// Pipes somebody holds.
    pub(super) fn in_use(&self) -> u32 {
        self.in_use.get()
    }

    /// Closes the empty pipes.
    pub(super) fn clear(&self) {
        for kept in [&self.empty, &self.empty_large] {
            let closed = std::mem::take(&mut *kept.borrow_mut());
            drop(closed);
        }
    }

    fn take(&self, load: Load) -> io::Result<Ends> {
        let large = load == Load::Large && self.size == 0 && !self.refused.get() && self.large_in_use.get() < LARGE_IN_USE;
        let kept = if large { self.empty_large.borrow_mut().pop() } else { self.empty.borrow_mut().pop() };
        let ends = match kept {
            Some(ends) => ends,
            None => self.make(large)?,
        };
        self.in_use.set(self.in_use.get() + 1);
        self.large_in_use.set(self.large_in_use.get() + u32::from(ends.large));
        Ok(ends)
    }

    fn make(&self, large: bool) -> io::Result<Ends> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let granted = large && fcntl(&write, FcntlArg::F_SETPIPE_SZ(LARGE_BYTES as i32)).is_ok();
        self.refused.set(self.refused.get() || large && !granted);
        if !granted {
            let size = if self.size > 0 { self.size } else { DEFAULT_BYTES };
            // Refused beyond the user's share (pipe-user-pages-soft): the kernel's own size works too.
            let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(size as i32));
        }
        let capacity = fcntl(&write, FcntlArg::F_GETPIPE_SZ).unwrap_or(65_536).max(4_096) as usize;
        Ok(Ends { read, write, capacity, large: granted })
    }

    fn give_back(&self, ends: Ends, held: usize) {
        self.in_use.set(self.in_use.get() - 1);
        self.large_in_use.set(self.large_in_use.get() - u32::from(ends.large));
        let mut kept = if ends.large { self.empty_large.borrow_mut() } else { self.empty.borrow_mut() };
        if held == 0 && kept.len() < KEPT {
            kept.push(ends);
        }
    }
}

/// How much a direction may move at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// What a receiver that stalls may hold.
    Usual,
    /// Several times as much, for a receiver that keeps up. No promise: large pipes are few, and not every user may have them.
    Large,
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
    pub fn take(load: Load) -> io::Result<Pipe> {
        let ends = core::with(|core| core.pipes.take(load)).unwrap_or(Err(gone()))?;
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
        core::with(move |core| core.pipes.give_back(ends, held));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pipes_are_large_and_they_come_back() {
        let pool = PipePool::new(0);
        let take = |load| pool.take(load).expect("a pipe");
        let large: Vec<Ends> = (0..LARGE_IN_USE).map(|_| take(Load::Large)).collect();
        assert!(large.iter().all(|ends| ends.capacity >= LARGE_BYTES as usize));
        let usual = [take(Load::Large), take(Load::Usual)];
        assert!(usual.iter().all(|ends| ends.capacity < LARGE_BYTES as usize));
        let made = pool.total();
        large.into_iter().chain(usual).for_each(|ends| pool.give_back(ends, 0));
        assert_eq!((pool.in_use(), pool.total()), (0, made));
        // One with bytes in it is of no use to anybody else.
        pool.give_back(take(Load::Large), 1);
        assert_eq!(pool.total(), made - 1);
    }

    #[test]
    fn a_configured_size_is_kept() {
        let pool = PipePool::new(128 << 10);
        assert_eq!(pool.take(Load::Large).expect("a pipe").capacity, 128 << 10);
    }
}
