//! Tasks: the only way to start one, and to give up a turn.
//!
//! Every task is wrapped, so that the driver can tell whether a yield ran anybody (see `driver.rs`), so that a panic ends
//! one task and not the shard, and so that all tasks end with the ring.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::core;

thread_local! {
    static POLLS: Cell<u64> = const { Cell::new(0) };
    static YIELDS: Cell<u64> = const { Cell::new(0) };
    static ALIVE: Cell<u32> = const { Cell::new(0) };
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Polls of tasks so far; changes whenever a yield ran somebody.
pub(super) fn polls() -> u64 {
    POLLS.get()
}

/// Voluntary yields so far.
pub(super) fn yields() -> u64 {
    YIELDS.get()
}

/// Tasks that exist.
pub(super) fn alive() -> u32 {
    ALIVE.get()
}

/// Tasks that ended by a panic.
pub(super) fn panics() -> u64 {
    PANICS.get()
}

struct Counted<F> {
    task: Option<F>,
}

impl<F> Drop for Counted<F> {
    fn drop(&mut self) {
        ALIVE.set(ALIVE.get().saturating_sub(1));
    }
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        POLLS.set(POLLS.get() + 1);
        // SAFETY: structural pinning of the only field: `task` is never moved out, only dropped in place by
        // `Pin::set`, and `Counted` has no other access to it and is not Unpin unless `F` is.
        let mut task = unsafe { self.map_unchecked_mut(|counted| &mut counted.task) };
        let Some(running) = task.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        if core::with(|core| core.closing.get()).unwrap_or(true) {
            // The ring ends: a task ends by being dropped, wherever it stands.
            task.set(None);
            return Poll::Ready(());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| running.poll(context)));
        match outcome {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(_) => PANICS.set(PANICS.get() + 1),
        }
        task.set(None);
        Poll::Ready(())
    }
}

/// Starts a task on this shard, detached: it ends when it is done, when it panics (the others go on) or when the ring
/// ends. Must be called from within [`super::run`].
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    ALIVE.set(ALIVE.get() + 1);
    glommio::spawn_local(Counted { task: Some(task) }).detach();
}

/// Gives up the turn: the kernel is asked for news before this task runs again. For long work.
pub fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        YIELDS.set(YIELDS.get() + 1);
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// The driver's own yield: all tasks that are ready run before it comes back.
pub(super) fn let_tasks_run() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}
