//! The io_uring itself: set-up with the flags this kernel has, pushing entries, entering.
//!
//! Knows nothing of sockets or tasks. Used by the driver, and by the probe.

use std::io;
use std::mem::MaybeUninit;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, Submitter, cqueue, squeue};

use super::buffer::{GROUP, Pool};

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;

/// How the kernel set the ring up.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Setup {
    pub(super) single_issuer: bool,
    pub(super) deferred_task_work: bool,
    pub(super) submit_all: bool,
    pub(super) registered_ring: bool,
}

/// How long an enter may sleep.
pub(super) enum Wait {
    No,
    Forever,
    Microseconds(u64),
}

/// One ring. Must be used by the thread that made it.
pub(super) struct Kernel {
    // Declared before the ring it borrows from, so that it is dropped first.
    submitter: Submitter<'static>,
    ring: Box<IoUring>,
    buffers_registered: bool,
}

impl Kernel {
    /// Makes a ring of `entries` submissions. `plain` asks for none of the newer set-up flags.
    pub(super) fn open(entries: u32, plain: bool) -> io::Result<(Kernel, Setup)> {
        let (ring, mut setup) = build(entries, plain)?;
        let ring = Box::new(ring);
        // SAFETY: the ring is boxed, so its address is stable; `Kernel` never takes a mutable reference to it and
        // drops the submitter before it.
        let mut submitter = unsafe { std::mem::transmute::<Submitter<'_>, Submitter<'static>>(ring.submitter()) };
        setup.registered_ring = !plain && submitter.register_ring_fd().is_ok();
        Ok((Kernel { submitter, ring, buffers_registered: false }, setup))
    }

    /// Whether the kernel honours "no completion on success" (5.17).
    pub(super) fn can_skip_success(&self) -> bool {
        self.ring.params().is_feature_skip_cqe_on_success()
    }

    /// Whether an enter can carry a timeout (5.11).
    pub(super) fn can_time_out(&self) -> bool {
        self.ring.params().is_feature_ext_arg()
    }

    /// Registers the pool as buffer group 0; the pool must live until `unregister_buffers` or the ring's end.
    pub(super) fn register_buffers(&mut self, pool: &Pool) -> io::Result<()> {
        // SAFETY: the pool's ring is page aligned, has `count` initialised entries, and outlives the registration:
        // the core drops its kernel before its pool.
        unsafe { self.submitter.register_buf_ring_with_flags(pool.ring_address(), pool.count(), GROUP, 0)? };
        self.buffers_registered = true;
        pool.publish();
        Ok(())
    }

    /// Adds an entry; `false` when the queue is full.
    pub(super) fn push(&self, entry: &squeue::Entry) -> bool {
        // SAFETY: single thread, and no other view of the queue exists while this one does. What the entry points
        // to is kept alive by the core until its completion (see `Slot`, `Batched`, `Core::addresses`).
        unsafe { self.ring.submission_shared().push(entry).is_ok() }
    }

    /// Entries not yet handed to the kernel.
    pub(super) fn pending(&self) -> usize {
        // SAFETY: as in `push`.
        unsafe { self.ring.submission_shared().len() }
    }

    /// Whether completions wait inside the kernel for room in the queue.
    pub(super) fn overflowed(&self) -> bool {
        // SAFETY: as in `push`.
        unsafe { self.ring.submission_shared().cq_overflow() }
    }

    /// Hands entries to the kernel to make room, without running completions.
    pub(super) fn submit(&self) -> io::Result<usize> {
        let count = self.pending() as u32;
        // SAFETY: plain submit, no argument.
        unsafe { self.submitter.enter::<libc::sigset_t>(count, 0, 0, None) }
    }

    /// Hands entries over, runs completions and sleeps as `wait` says.
    pub(super) fn enter(&self, wait: Wait) -> io::Result<usize> {
        let count = self.pending() as u32;
        match wait {
            Wait::No if count == 0 && !self.has_work() => Ok(0),
            // SAFETY: no argument.
            Wait::No => unsafe { self.submitter.enter::<libc::sigset_t>(count, 0, ENTER_GETEVENTS, None) },
            // SAFETY: no argument.
            Wait::Forever => unsafe { self.submitter.enter::<libc::sigset_t>(count, 1, ENTER_GETEVENTS, None) },
            Wait::Microseconds(us) => {
                let time = Timespec::new().sec(us / 1_000_000).nsec((us % 1_000_000) as u32 * 1_000);
                let arguments = SubmitArgs::new().timespec(&time);
                let flags = ENTER_GETEVENTS | ENTER_EXT_ARG;
                // SAFETY: `SubmitArgs` is the structure EXT_ARG announces, alive during the call.
                unsafe { self.submitter.enter(count, 1, flags, Some(&arguments)) }
            }
        }
    }

    /// Takes completions out of the queue.
    pub(super) fn completions<'a>(&self, space: &'a mut [MaybeUninit<cqueue::Entry>]) -> &'a mut [cqueue::Entry] {
        // SAFETY: single thread, and no other view of the queue exists while this one does.
        unsafe { self.ring.completion_shared().fill(space) }
    }

    fn has_work(&self) -> bool {
        // SAFETY: as in `push`.
        let queue = unsafe { self.ring.submission_shared() };
        queue.taskrun() || queue.cq_overflow()
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if self.buffers_registered {
            // The ring's end unregisters as well: a failure here loses nothing.
            let _ = self.submitter.unregister_buf_ring(GROUP);
        }
        let _ = self.submitter.unregister_ring_fd();
    }
}

fn build(entries: u32, plain: bool) -> io::Result<(IoUring, Setup)> {
    let mut builder = IoUring::builder();
    builder.setup_clamp().setup_cqsize(entries.saturating_mul(8));
    if plain {
        return Ok((builder.build(entries)?, Setup::default()));
    }
    let mut best = builder.clone();
    best.setup_submit_all().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
    if let Ok(ring) = best.build(entries) {
        let setup = Setup { single_issuer: true, deferred_task_work: true, submit_all: true, registered_ring: false };
        return Ok((ring, setup));
    }
    let mut good = builder.clone();
    good.setup_submit_all().setup_coop_taskrun().setup_taskrun_flag();
    if let Ok(ring) = good.build(entries) {
        return Ok((ring, Setup { submit_all: true, ..Setup::default() }));
    }
    Ok((builder.build(entries)?, Setup::default()))
}
