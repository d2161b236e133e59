//! The state of one shard's ring, and the one way to reach it.
//!
//! One [`Core`] per thread, found through a thread-local pointer. Everything inside is a `Cell` or a `RefCell`; no
//! borrow spans a wake or a poll, so code that runs during a wake-up can use the ring freely. A core whose work was
//! abandoned stays in memory for ever, because the kernel or a forgotten task may still refer to it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use io_uring::{opcode, squeue, types};
use slab::Slab;

use super::accept::ListenState;
use super::buffer::Pool;
use super::doorbell::Bell;
use super::kernel::Kernel;
use super::pipe::PipePool;
use super::probe::{Features, Mode};
use super::send::Batched;
use super::slot::*;
use super::sock::S;
use super::wheel::Wheel;

/// What a completion belongs to; the top byte of `user_data`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Ignore = 0,
    Receive,
    ReadPoll,
    WritePoll,
    ClosePoll,
    Send,
    Rest,
    Connect,
    Accept,
    Doorbell,
}

impl Kind {
    pub(super) fn of(user_data: u64) -> Kind {
        match user_data >> 56 {
            1 => Kind::Receive,
            2 => Kind::ReadPoll,
            3 => Kind::WritePoll,
            4 => Kind::ClosePoll,
            5 => Kind::Send,
            6 => Kind::Rest,
            7 => Kind::Connect,
            8 => Kind::Accept,
            9 => Kind::Doorbell,
            _ => Kind::Ignore,
        }
    }
}

/// kind 8 | generation 24 | index 32
pub(super) fn user_data(kind: Kind, generation: u32, index: u32) -> u64 {
    (kind as u64) << 56 | ((generation & GENERATION_MASK) as u64) << 32 | index as u64
}

/// Running totals, for [`super::Counters`].
#[derive(Default)]
pub(super) struct Totals {
    pub(super) turns: Cell<u64>,
    pub(super) sleeps: Cell<u64>,
    pub(super) enobufs: Cell<u64>,
    pub(super) recv_cancels: Cell<u64>,
    pub(super) short_sends: Cell<u64>,
    pub(super) queue_full: Cell<u64>,
    pub(super) strays: Cell<u64>,
}

pub(super) fn bump(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// One shard's ring and all that hangs on it.
pub(super) struct Core {
    // First, so that the ring ends before the memory it refers to.
    pub(super) kernel: RefCell<Option<Kernel>>,
    pub(super) features: Features,
    pub(super) fast: bool,
    pub(super) pool: Pool,
    pub(super) slots: Slots,
    pub(super) batch: RefCell<Vec<Batched>>,
    // Boxed, because the kernel reads them where they are until the enter.
    #[allow(clippy::vec_box)]
    pub(super) addresses: RefCell<Vec<Box<socket2::SockAddr>>>,
    pub(super) backlog: RefCell<VecDeque<squeue::Entry>>,
    pub(super) starved: RefCell<Vec<u32>>,
    /// Above zero: somebody waits for the fate of this batch's sends, so the next enter must not sleep.
    pub(super) must_return: Cell<u32>,
    pub(super) wheel: RefCell<Wheel>,
    pub(super) listeners: RefCell<Slab<Rc<ListenState>>>,
    pub(super) bell: Bell,
    pub(super) pipes: PipePool,
    pub(super) in_flight: Cell<u32>,
    pub(super) closing: Cell<bool>,
    pub(super) totals: Totals,
}

thread_local! {
    static CORE: Cell<*const Core> = const { Cell::new(std::ptr::null()) };
    // An abandoned core serves no operation any more, but its buffers stay readable.
    static DEAD: Cell<bool> = const { Cell::new(false) };
}

/// Makes `core` this thread's ring; `false` if there is one already.
pub(super) fn install(core: *const Core) -> bool {
    if !CORE.get().is_null() {
        return false;
    }
    CORE.set(core);
    true
}

/// Whether this thread has a ring, living or abandoned.
pub(super) fn occupied() -> bool {
    !CORE.get().is_null()
}

/// This thread has no ring any more.
pub(super) fn uninstall() {
    CORE.set(std::ptr::null());
}

/// Cores whose memory must stay for ever. Never read: the list says that they are kept on purpose.
static ABANDONED: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// The ring is given up: operations fail from now on, memory stays.
pub(super) fn abandon() {
    DEAD.set(true);
    ABANDONED.lock().unwrap_or_else(PoisonError::into_inner).push(CORE.get().addr());
}

fn with_any<R>(f: impl FnOnce(&Core) -> R) -> Option<R> {
    let core = CORE.get();
    if core.is_null() {
        return None;
    }
    // SAFETY: set by `install` to a core that is freed only after `uninstall`, by the driver, which never runs inside
    // this closure; an abandoned core is never freed. Only shared references are ever made.
    Some(f(unsafe { &*core }))
}

/// Runs `f` on this thread's ring; `None` when there is none.
pub(super) fn with<R>(f: impl FnOnce(&Core) -> R) -> Option<R> {
    if DEAD.get() { None } else { with_any(f) }
}

/// Address of a byte of a buffer that is out.
pub(super) fn pool_data(id: u16, offset: u16) -> *mut u8 {
    with_any(|core| core.pool.pointer(id, offset)).unwrap_or(std::ptr::NonNull::dangling().as_ptr())
}

/// Gives a buffer back.
pub(super) fn release_buffer(id: u16) {
    with_any(|core| core.pool.release(id, core.fast));
}

impl Core {
    pub(super) fn new(kernel: Kernel, features: Features, pool: Pool, bell: Bell, pipe_size: u32, now_ms: u64) -> Core {
        Core {
            kernel: RefCell::new(Some(kernel)),
            fast: features.mode == Mode::Fast,
            features,
            pool,
            slots: Slots::new(),
            batch: RefCell::new(Vec::new()),
            addresses: RefCell::new(Vec::new()),
            backlog: RefCell::new(VecDeque::new()),
            starved: RefCell::new(Vec::new()),
            must_return: Cell::new(0),
            wheel: RefCell::new(Wheel::new(now_ms)),
            listeners: RefCell::new(Slab::new()),
            bell,
            pipes: PipePool::new(pipe_size),
            in_flight: Cell::new(0),
            closing: Cell::new(false),
            totals: Totals::default(),
        }
    }

    /// Queues an entry. Never fails: a full queue is handed to the kernel, and what still finds no room waits in
    /// `backlog`, in order.
    pub(super) fn push(&self, entry: squeue::Entry) {
        let kernel = self.kernel.borrow();
        let Some(kernel) = kernel.as_ref() else { return };
        if self.backlog.borrow().is_empty() {
            if kernel.push(&entry) {
                return;
            }
            bump(&self.totals.queue_full);
            // An error here only means that no room was made.
            let _ = kernel.submit();
            if kernel.push(&entry) {
                return;
            }
        }
        self.backlog.borrow_mut().push_back(entry);
    }

    /// Moves waiting entries into the queue as far as there is room.
    pub(super) fn flush_backlog(&self, kernel: &Kernel) {
        let mut backlog = self.backlog.borrow_mut();
        while let Some(entry) = backlog.front() {
            if !kernel.push(entry) {
                return;
            }
            backlog.pop_front();
        }
    }

    /// Queues an operation of a slot that will post a completion.
    pub(super) fn start(&self, index: u32, kind: Kind, entry: squeue::Entry) {
        let slot = self.slots.at(index);
        slot.out.set(slot.out.get() + 1);
        self.in_flight.set(self.in_flight.get() + 1);
        self.push(entry.user_data(user_data(kind, slot.generation.get(), index)));
    }

    /// The last completion of an operation of this slot has come in.
    pub(super) fn ended(&self, slot: &Slot) {
        debug_assert!(slot.out.get() > 0);
        slot.out.set(slot.out.get().saturating_sub(1));
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// Asks the kernel to end one operation of a slot.
    pub(super) fn cancel(&self, index: u32, kind: Kind) {
        let target = user_data(kind, self.slots.at(index).generation.get(), index);
        self.push_quiet(opcode::AsyncCancel::new(target).build());
    }

    /// Queues an entry nobody waits for.
    pub(super) fn push_quiet(&self, entry: squeue::Entry) {
        let entry = entry.user_data(user_data(Kind::Ignore, 0, 0));
        self.push(if self.features.skip_success { entry.flags(squeue::Flags::SKIP_SUCCESS) } else { entry });
    }

    /// Closes a descriptor through the ring.
    pub(super) fn close(&self, fd: i32) {
        self.push_quiet(opcode::Close::new(types::Fd(fd)).build());
    }

    /// The slot a handle means; `None` if its socket is gone.
    pub(super) fn live(&self, s: S) -> Option<(u32, &Slot)> {
        let index = s.index();
        if index as usize >= self.slots.capacity() {
            return None;
        }
        let slot = self.slots.at(index);
        let current = slot.flags.get() & (LIVE | ORPHAN) == LIVE && s.matches(slot.generation.get());
        current.then_some((index, slot))
    }

    /// The owner is gone: end what is in flight, give back what is held, close when the last completion is in.
    pub(super) fn orphan(&self, index: u32) {
        let slot = self.slots.at(index);
        slot.raise(ORPHAN);
        slot.lower(RECV_WAIT | SEND_WAIT | RECV_STARVED | SHUT_WANTED);
        drop((slot.recv_waker.take(), slot.send_waker.take()));
        while let Some(buf) = self.pool.pop(&slot.head, &slot.tail) {
            drop(buf);
        }
        let all = [
            (RECV_ARMED, Kind::Receive),
            (READ_POLL, Kind::ReadPoll),
            (WRITE_POLL, Kind::WritePoll),
            (CLOSE_POLL, Kind::ClosePoll),
            (CONNECTING, Kind::Connect),
            (SEND_SLOW, Kind::Rest),
        ];
        for (flag, kind) in all {
            if slot.has(flag) {
                self.cancel(index, kind);
            }
        }
        // In fast mode the kernel reads from the rest: it stays until the completion (see `settle`).
        if !self.fast {
            drop(slot.rest.take());
        }
        if slot.has(SEND_BATCHED) {
            self.must_return.set(self.must_return.get() + 1);
        }
        self.settle(index, slot);
    }

    /// Closes and frees an orphan that has nothing in flight.
    pub(super) fn settle(&self, index: u32, slot: &Slot) {
        if slot.has(ORPHAN) && slot.out.get() == 0 {
            drop(slot.rest.take());
            self.close(slot.fd.get());
            self.slots.release(index);
        }
    }

    /// Takes every waker there is: used when the shard ends, to let all tasks see it.
    pub(super) fn all_wakers(&self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for index in 0..self.slots.capacity() as u32 {
            let slot = self.slots.at(index);
            wakers.extend(slot.recv_waker.take());
            wakers.extend(slot.send_waker.take());
        }
        self.wheel.borrow_mut().take_wakers(&mut wakers);
        wakers.extend(self.listeners.borrow().iter().filter_map(|(_, listener)| listener.waker.take()));
        wakers.extend(self.bell.waker.take());
        wakers
    }
}
