//! The driver: the one place where the shard enters the kernel, and the only one where it sleeps.
//!
//! A turn: let tasks run until a yield ran nobody (three rounds at most), enter (publishing buffers, submitting,
//! sleeping until something happens), then take all completions. Taking completions sets flags, moves bytes and wakes
//! tasks; it never runs one. What must not wait for a task is done here: the fate of silent sends, rests of short ones,
//! flow control, starved receives, timers, orphans.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::task::Waker;

use io_uring::cqueue;

use super::buffer::Pool;
use super::core::{self, Core, Kind, bump};
use super::doorbell::Bell;
use super::kernel::{Kernel, Wait};
use super::probe::{self, Mode, RingError};
use super::task;
use super::{Config, clock};

/// Rounds of letting tasks run before the kernel is asked again.
const ROUNDS: u32 = 3;
/// Completions handled per copy out of the queue.
const CHUNK: usize = 64;
/// Enters per turn to get all entries and completions across.
const SETTLE_LIMIT: u32 = 16;
/// Time tasks get to end once they have been told to, in milliseconds.
const CLOSING_MS: u64 = 1_000;

/// Makes the ring, runs `main` in it, ends it. See [`super::run`].
pub(super) async fn run<T: 'static>(config: Config, main: impl Future<Output = T> + 'static) -> Result<T, RingError> {
    let mut guard = Guard::install(&config)?;
    let core = guard.core;
    // SAFETY: `Guard` frees the core, and it lives to the end of this function.
    let core = unsafe { &*core };
    let result: Rc<Cell<Option<T>>> = Rc::new(Cell::new(None));
    let done = Rc::new(Cell::new(false));
    let (result_of_main, main_done) = (result.clone(), Ended(done.clone()));
    // Boxed: main may be large, and starting a task moves it several times.
    let main = Box::pin(main);
    task::spawn(async move {
        let _ended = main_done;
        result_of_main.set(Some(main.await));
    });
    let mut driver = Driver { core, fired: Vec::new() };
    loop {
        let busy = driver.quiesce().await;
        // Asked after tasks ran: an enter that follows main's end would sleep for ever.
        if done.get() {
            break;
        }
        driver.enter(busy, None)?;
    }
    driver.wind_down(config.drain_ms).await?;
    guard.drained = driver.is_drained();
    drop(guard);
    result.take().ok_or_else(|| RingError::System("running the shard's main task", io::Error::other("it panicked")))
}

/// Tells the driver that main has ended, by a return or a panic.
struct Ended(Rc<Cell<bool>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// Owns the core; on drop frees it, or abandons it if something may still refer to it.
struct Guard {
    core: *mut Core,
    drained: bool,
}

impl Guard {
    fn install(config: &Config) -> Result<Guard, RingError> {
        config.check()?;
        if core::occupied() {
            return Err(RingError::Occupied);
        }
        let features = probe::examine(config.mode)?;
        let fast = features.mode == Mode::Fast;
        let opened = Kernel::open(config.entries, !fast);
        let (mut kernel, setup) = opened.map_err(|error| probe::explain(error, &features.kernel))?;
        let pool = Pool::new(config.buffer_count, config.buffer_size, fast)
            .ok_or_else(|| RingError::System("allocating receive buffers", io::ErrorKind::OutOfMemory.into()))?;
        if fast {
            kernel.register_buffers(&pool).map_err(|error| RingError::System("registering receive buffers", error))?;
        }
        let bell = Bell::new().map_err(|error| RingError::System("making the doorbell", error))?;
        let features = probe::with_setup(features, setup);
        let now_ms = clock::refresh() / 1_000;
        let core = Box::into_raw(Box::new(Core::new(kernel, features, pool, bell, config.pipe_size, now_ms)));
        core::install(core);
        Ok(Guard { core, drained: false })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        clock::forget();
        // SAFETY: made by `install`, freed below at most once.
        let core = unsafe { &*self.core };
        if self.drained {
            core::uninstall();
            // SAFETY: nothing is in flight, no slot, buffer, timer, listener or task is left, and the thread's pointer
            // is gone: this is the last reference.
            drop(unsafe { Box::from_raw(self.core) });
            return;
        }
        // Forgotten tasks may hold handles and buffers, the kernel may still write: the ring ends, the memory stays.
        core::abandon();
        let kernel = core.kernel.borrow_mut().take();
        if let Some(kernel) = &kernel {
            let _ = kernel.submit();
        }
        drop(kernel);
    }
}

struct Driver<'a> {
    core: &'a Core,
    fired: Vec<Waker>,
}

impl Driver<'_> {
    /// Runs tasks until a yield ran nobody. One yield is not enough: a task woken by a task stands behind the driver.
    /// A task that gave up its turn wants the kernel asked before it runs again.
    async fn quiesce(&mut self) -> bool {
        for _ in 0..ROUNDS {
            let (polls, yields) = (task::polls(), task::yields());
            task::let_tasks_run().await;
            if task::polls() == polls {
                return false;
            }
            if task::yields() != yields {
                return true;
            }
        }
        true
    }

    /// Asks the kernel; sleeps if nothing is left to do.
    fn enter(&mut self, busy: bool, limit_us: Option<u64>) -> Result<(), RingError> {
        let core = self.core;
        bump(&core.totals.turns);
        core.arm_bell();
        core.pool.publish();
        {
            let kernel = core.kernel.borrow();
            let Some(kernel) = kernel.as_ref() else { return Ok(()) };
            core.flush_backlog(kernel);
            let may_sleep = !busy && core.must_return.get() == 0 && core.backlog.borrow().is_empty();
            let wait = if may_sleep && core.bell.lie_down() { self.time_to_sleep(limit_us) } else { Wait::No };
            if !matches!(wait, Wait::No) {
                bump(&core.totals.sleeps);
            }
            tolerate(kernel.enter(wait))?;
        }
        core.bell.get_up();
        let now_us = clock::refresh();
        self.reap()?;
        core.feed_starved();
        core.wheel.borrow_mut().advance(now_us / 1_000, &mut self.fired);
        self.fired.drain(..).for_each(Waker::wake);
        Ok(())
    }

    fn time_to_sleep(&self, limit_us: Option<u64>) -> Wait {
        let next_us = self.core.wheel.borrow().next_ms().map(|next| next.saturating_mul(1_000));
        let wait_us = next_us.map(|next| next.saturating_sub(clock::now_us()));
        match (wait_us, limit_us) {
            (None, None) => Wait::Forever,
            (Some(0), _) => Wait::No,
            (Some(wait), None) | (None, Some(wait)) => Wait::Microseconds(wait),
            (Some(wait), Some(limit)) => Wait::Microseconds(wait.min(limit)),
        }
    }

    /// Takes all completions. A silent send may be called successful only when the kernel has consumed every entry and
    /// holds no completion back.
    fn reap(&mut self) -> Result<(), RingError> {
        let core = self.core;
        let kernel = core.kernel.borrow();
        let Some(kernel) = kernel.as_ref() else { return Ok(()) };
        let mut consumed = kernel.pending() == 0 && core.backlog.borrow().is_empty();
        for _ in 0..SETTLE_LIMIT {
            self.take_completions(kernel);
            if consumed && !kernel.overflowed() {
                core.close_batch();
                return Ok(());
            }
            core.flush_backlog(kernel);
            tolerate(kernel.enter(Wait::No))?;
            consumed = kernel.pending() == 0 && core.backlog.borrow().is_empty();
        }
        // The kernel is short of something: keep the batch open and come back without sleeping.
        core.must_return.set(1);
        Ok(())
    }

    fn take_completions(&self, kernel: &Kernel) {
        let mut space = [const { MaybeUninit::<cqueue::Entry>::uninit() }; CHUNK];
        loop {
            let taken = kernel.completions(&mut space);
            if taken.is_empty() {
                return;
            }
            for completion in taken.iter() {
                self.dispatch(completion);
            }
        }
    }

    fn dispatch(&self, completion: &cqueue::Entry) {
        let core = self.core;
        let (user_data, result, flags) = (completion.user_data(), completion.result(), completion.flags());
        let (kind, index) = (Kind::of(user_data), user_data as u32);
        match kind {
            Kind::Ignore => return,
            Kind::Send => return core.on_send(index, result),
            Kind::Accept => return core.on_accept(index, result, flags),
            Kind::Doorbell => return core.on_bell(flags),
            _ => {}
        }
        // By construction a completion finds its slot as it left it; this only guards the memory behind it.
        let generation = (user_data >> 32) as u32 & super::slot::GENERATION_MASK;
        let known = (index as usize) < core.slots.capacity() && core.slots.at(index).generation.get() == generation;
        debug_assert!(known, "completion {kind:?} for a slot that was freed");
        if !known {
            bump(&core.totals.strays);
            return;
        }
        match kind {
            Kind::Receive => core.on_receive(index, result, flags),
            Kind::Rest => core.on_rest(index, result),
            Kind::Connect => core.on_connect(index, result),
            _ => core.on_poll(kind, index, result),
        }
    }

    /// Lets sockets and tasks end by themselves for `drain_ms`, then ends the tasks, then gives up.
    async fn wind_down(&mut self, drain_ms: u64) -> Result<(), RingError> {
        self.drain_until(clock::now_ms() + drain_ms).await?;
        self.core.closing.set(true);
        self.core.disarm_bell();
        let deadline_ms = clock::now_ms() + CLOSING_MS;
        while !self.is_drained() && clock::now_ms() < deadline_ms {
            self.core.all_wakers().into_iter().for_each(Waker::wake);
            self.step().await?;
        }
        self.core.pipes.clear();
        // Closes that were queued last.
        self.enter(true, None)
    }

    async fn drain_until(&mut self, deadline_ms: u64) -> Result<(), RingError> {
        while clock::now_ms() < deadline_ms && !(task::alive() == 0 && self.core.slots.live() == 0) {
            self.step().await?;
        }
        Ok(())
    }

    /// A turn that sleeps 10 ms at most.
    async fn step(&mut self) -> Result<(), RingError> {
        let busy = self.quiesce().await;
        self.enter(busy, Some(10_000))
    }

    /// Whether nothing refers to the core any more.
    fn is_drained(&self) -> bool {
        let core = self.core;
        task::alive() == 0
            && core.slots.live() == 0
            && core.in_flight.get() == 0
            && core.pool.out() == 0
            && core.wheel.borrow().live() == 0
            && core.listeners.borrow().is_empty()
            && core.pipes.in_use() == 0
    }
}

/// An enter may be interrupted, time out, or find the kernel short of memory or room: the next turn tries again.
fn tolerate(entered: io::Result<usize>) -> Result<(), RingError> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => Ok(()),
            _ => Err(RingError::System("entering the ring", error)),
        },
    }
}
