//! The doorbell: how other threads wake a shard that sleeps in its ring.
//!
//! Ringing is an atomic store; only the first ring after the shard went to sleep writes to its eventfd. The eventfd is
//! polled in the ring, so nothing waits in the executor's own reactor.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use io_uring::{cqueue, opcode, types};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::core::{self, Core, Kind, user_data};
use super::slot::{keep, wake};

struct Shared {
    eventfd: EventFd,
    rung: AtomicBool,
    asleep: AtomicBool,
}

/// Wakes one shard from any thread. Clones ring the same shard; ringing one that has ended does nothing.
#[derive(Clone)]
pub struct Doorbell {
    shared: Option<Arc<Shared>>,
}

impl Doorbell {
    /// Makes [`rung`] resolve in the shard. Rings that the shard has not yet noticed count as one. Publish what the
    /// shard is to find *before* ringing.
    pub fn ring(&self) {
        let Some(shared) = &self.shared else { return };
        if !shared.rung.swap(true, Ordering::SeqCst) && shared.asleep.swap(false, Ordering::SeqCst) {
            // A full counter is as good as a written one.
            let _ = shared.eventfd.write(1);
        }
    }
}

/// The shard's own doorbell, to be handed to other threads. Without a ring on this thread it rings nowhere.
pub fn doorbell() -> Doorbell {
    Doorbell { shared: core::with(|core| core.bell.shared.clone()) }
}

/// Waits until the doorbell has rung since the last time this resolved. One task at a time.
pub fn rung() -> impl Future<Output = ()> {
    poll_fn(|context| {
        core::with(|core| {
            let shared = &core.bell.shared;
            let now = shared.rung.load(Ordering::Relaxed) && shared.rung.swap(false, Ordering::SeqCst);
            if core.bell.pending.take() || now {
                return Poll::Ready(());
            }
            keep(&core.bell.waker, context.waker());
            Poll::Pending
        })
        .unwrap_or(Poll::Pending)
    })
}

/// The shard's side.
pub(super) struct Bell {
    shared: Arc<Shared>,
    pub(super) waker: Cell<Option<Waker>>,
    pending: Cell<bool>,
    armed: Cell<bool>,
}

impl Bell {
    pub(super) fn new() -> io::Result<Bell> {
        let eventfd = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let shared = Shared { eventfd, rung: AtomicBool::new(false), asleep: AtomicBool::new(false) };
        Ok(Bell { shared: Arc::new(shared), waker: Cell::new(None), pending: Cell::new(false), armed: Cell::new(false) })
    }

    /// Announces sleep; `false` if the bell has rung meanwhile and the shard must not sleep.
    pub(super) fn lie_down(&self) -> bool {
        self.shared.asleep.store(true, Ordering::SeqCst);
        // A ring before the store sees no sleeper and writes nothing, so it must be seen here.
        !self.shared.rung.load(Ordering::SeqCst)
    }

    /// The shard is awake; wakes whoever waits if the bell has rung.
    pub(super) fn get_up(&self) {
        self.shared.asleep.store(false, Ordering::Relaxed);
        if self.shared.rung.load(Ordering::Relaxed) && self.shared.rung.swap(false, Ordering::SeqCst) {
            // Remembered here, so that a bell nobody listens to does not keep the shard awake.
            self.pending.set(true);
            wake(&self.waker);
        }
    }
}

impl Core {
    /// Makes sure that the eventfd is polled.
    pub(super) fn arm_bell(&self) {
        if self.closing.get() || self.bell.armed.replace(true) {
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        let fd = types::Fd(self.bell.shared.eventfd.as_fd().as_raw_fd());
        let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(self.fast);
        self.push(poll.build().user_data(user_data(Kind::Doorbell, 0, 0)));
    }

    /// Ends the poll of the eventfd.
    pub(super) fn disarm_bell(&self) {
        if self.bell.armed.get() {
            self.push_quiet(opcode::AsyncCancel::new(user_data(Kind::Doorbell, 0, 0)).build());
        }
    }

    /// The eventfd was written.
    pub(super) fn on_bell(&self, flags: u32) {
        // Empties the counter; EAGAIN means that an earlier event has done so.
        let _ = self.bell.shared.eventfd.read();
        if !cqueue::more(flags) {
            self.bell.armed.set(false);
            self.in_flight.set(self.in_flight.get().saturating_sub(1));
        }
    }
}
