//! Listening sockets: multishot accept (fast), or poll and accept4 (portable).
//!
//! Connections the kernel has handed over and nobody has taken yet belong to the listener: they are given out by the
//! next [`Listener::accept`] or closed with it. Dropping an accept future loses nothing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, Waker};

use io_uring::{cqueue, opcode, types};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{SockFlag, accept4};

use super::clock::now_ms;
use super::core::{self, Core, Kind, user_data};
use super::slot::{keep, wake};
use super::sock::{Sock, gone, own};
use super::timer::Timer;

/// How long a listener rests after the system ran out of descriptors or memory, in milliseconds.
const BACK_OFF_MS: u64 = 100;
/// Accepted connections a listener may hold before it leaves the rest in the kernel's backlog.
const QUEUE_LIMIT: usize = 256;

/// A listening socket owned by the shard. Dropping it stops accepting and closes it, and the connections nobody took.
pub struct Listener {
    state: Rc<ListenState>,
    index: Option<u32>,
}

/// A new connection: non-blocking and close-on-exec.
pub struct Accepted {
    /// The connection.
    pub fd: OwnedFd,
}

impl Accepted {
    /// Makes it a socket of this shard.
    pub fn into_sock(self) -> Sock {
        Sock::adopt_nonblocking(self.fd)
    }
}

/// What driver and listener share.
pub(super) struct ListenState {
    fd: Cell<Option<i32>>,
    pub(super) waker: Cell<Option<Waker>>,
    queue: RefCell<VecDeque<OwnedFd>>,
    error: Cell<i32>,
    armed: Cell<bool>,
    cancelled: Cell<bool>,
    ready: Cell<bool>,
    paused: Cell<bool>,
    orphan: Cell<bool>,
    resting_until_ms: Cell<u64>,
}

impl Listener {
    /// Takes over a listening socket, making it non-blocking if it is not. Without a ring on this thread it is closed
    /// and `accept` fails with `ENOTCONN`.
    pub fn adopt(fd: OwnedFd) -> Listener {
        let flags = fcntl(&fd, FcntlArg::F_GETFL).map(OFlag::from_bits_retain).unwrap_or(OFlag::empty());
        // Fails only for a descriptor that is not open, and then so does everything after.
        let _ = fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK));
        let state = Rc::new(ListenState {
            fd: Cell::new(None),
            waker: Cell::new(None),
            queue: RefCell::new(VecDeque::new()),
            error: Cell::new(0),
            armed: Cell::new(false),
            cancelled: Cell::new(false),
            ready: Cell::new(true),
            paused: Cell::new(false),
            orphan: Cell::new(false),
            resting_until_ms: Cell::new(0),
        });
        let index = core::with(|core| core.listeners.borrow_mut().insert(state.clone()) as u32);
        if index.is_some() {
            state.fd.set(Some(fd.into_raw_fd()));
        }
        Listener { state, index }
    }

    /// The descriptor, for its address and options or to hand a duplicate to another process; `None` without a ring.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        // SAFETY: open as long as the listener exists.
        self.state.fd.get().map(|fd| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// A duplicate of the listening socket, for hand-over.
    ///
    /// # Errors
    /// As dup(2).
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.fd().ok_or_else(gone)?.try_clone_to_owned()
    }

    /// Waits for a connection. One task at a time.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`: returned once, and the listener then rests for 100 ms while connections
    /// wait in the kernel's backlog. `ENOTCONN` without a ring. Errors of a single connection are not reported.
    pub async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let error = self.next().await;
            match error {
                Ok(fd) => return Ok(Accepted { fd }),
                Err(None) => {
                    let timer = Timer::new();
                    timer.set(self.state.resting_until_ms.get());
                    timer.fired().await;
                }
                Err(Some(error)) => return Err(error),
            }
        }
    }

    /// Stops taking connections; those already taken are still given out, others wait in the kernel's backlog.
    pub fn pause(&self) {
        self.state.paused.set(true);
        core::with(|core| {
            if let Some(index) = self.index {
                core.stop_accept(index, &self.state);
            }
        });
    }

    /// Takes connections again.
    pub fn resume(&self) {
        self.state.paused.set(false);
        wake(&self.state.waker);
    }

    /// After `pause`: the next connection that was taken before, and `None` when the kernel will bring no more.
    pub fn take_last(&self) -> impl Future<Output = Option<Accepted>> + '_ {
        poll_fn(|context| {
            let state = &self.state;
            if let Some(fd) = state.queue.borrow_mut().pop_front() {
                return Poll::Ready(Some(Accepted { fd }));
            }
            if !state.armed.get() {
                return Poll::Ready(None);
            }
            keep(&state.waker, context.waker());
            Poll::Pending
        })
    }

    /// A connection, an error to report, or `Err(None)`: rest first.
    async fn next(&self) -> Result<OwnedFd, Option<io::Error>> {
        poll_fn(|context| {
            let state = &self.state;
            if let Some(fd) = state.queue.borrow_mut().pop_front() {
                return Poll::Ready(Ok(fd));
            }
            match state.error.replace(0) {
                0 => {}
                code => {
                    state.resting_until_ms.set(now_ms() + BACK_OFF_MS);
                    return Poll::Ready(Err(Some(io::Error::from_raw_os_error(code))));
                }
            }
            let Some(index) = self.index else { return Poll::Ready(Err(Some(gone()))) };
            if !state.paused.get() && now_ms() < state.resting_until_ms.get() {
                return Poll::Ready(Err(None));
            }
            keep(&state.waker, context.waker());
            if state.paused.get() {
                return Poll::Pending;
            }
            core::with(|core| core.poll_accept(index, state)).unwrap_or(Poll::Ready(Err(Some(gone()))))
        })
        .await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(index) = self.index else { return };
        core::with(|core| {
            self.state.orphan.set(true);
            drop(self.state.waker.take());
            for fd in self.state.queue.borrow_mut().drain(..) {
                core.close(fd.into_raw_fd());
            }
            core.stop_accept(index, &self.state);
            core.settle_listener(index, &self.state);
        });
    }
}

fn is_exhaustion(code: i32) -> bool {
    matches!(code, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
}

impl Core {
    fn poll_accept(&self, index: u32, state: &ListenState) -> Poll<Result<OwnedFd, Option<io::Error>>> {
        if !self.features.multishot_accept {
            while state.ready.get() {
                let Some(raw) = state.fd.get() else { return Poll::Pending };
                match accept4(raw, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK) {
                    Ok(fd) => return Poll::Ready(Ok(own(fd))),
                    Err(error) if error as i32 == libc::EAGAIN => state.ready.set(false),
                    Err(error) if is_exhaustion(error as i32) => {
                        state.resting_until_ms.set(now_ms() + BACK_OFF_MS);
                        return Poll::Ready(Err(Some(error.into())));
                    }
                    // The error of one connection (ECONNABORTED...): the next may be sound.
                    Err(_) => {}
                }
            }
        }
        self.arm_accept(index, state);
        Poll::Pending
    }

    fn arm_accept(&self, index: u32, state: &ListenState) {
        let Some(fd) = state.fd.get() else { return };
        if state.armed.replace(true) {
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        let entry = if self.features.multishot_accept {
            opcode::AcceptMulti::new(types::Fd(fd)).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).build()
        } else {
            opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32).build()
        };
        self.push(entry.user_data(user_data(Kind::Accept, 0, index)));
    }

    fn stop_accept(&self, index: u32, state: &ListenState) {
        if state.armed.get() && !state.cancelled.replace(true) {
            self.push_quiet(opcode::AsyncCancel::new(user_data(Kind::Accept, 0, index)).build());
        }
    }

    /// A completion of an accept, or of the poll that stands for it.
    pub(super) fn on_accept(&self, index: u32, result: i32, flags: u32) {
        let Some(state) = self.listeners.borrow().get(index as usize).cloned() else { return };
        if !cqueue::more(flags) {
            state.armed.set(false);
            state.cancelled.set(false);
            self.in_flight.set(self.in_flight.get().saturating_sub(1));
        }
        if result >= 0 && self.features.multishot_accept {
            if state.orphan.get() {
                self.close(result);
            } else {
                state.queue.borrow_mut().push_back(own(result));
                if state.queue.borrow().len() >= QUEUE_LIMIT {
                    self.stop_accept(index, &state);
                }
            }
        } else if result >= 0 {
            state.ready.set(true);
        } else if is_exhaustion(-result) {
            state.error.set(-result);
        }
        // Any other error concerns one connection or is our cancellation; the waiter arms again.
        if !state.orphan.get() {
            wake(&state.waker);
        }
        self.settle_listener(index, &state);
    }

    fn settle_listener(&self, index: u32, state: &ListenState) {
        if state.orphan.get() && !state.armed.get() {
            if let Some(fd) = state.fd.take() {
                self.close(fd);
            }
            let removed = self.listeners.borrow_mut().try_remove(index as usize);
            drop(removed);
        }
    }
}

impl AsRawFd for Accepted {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}
