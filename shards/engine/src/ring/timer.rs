//! Timers on the shard's wheel. Resolution 4 ms: a timer fires between 0 and 4 ms after its deadline, never before.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::task::Poll;

use super::clock::now_ms;
use super::core;

/// A timer of this shard, to be set any number of times. Without a ring on this thread it never fires.
pub struct Timer {
    id: Option<u32>,
    _local: PhantomData<*const ()>,
}

impl Timer {
    /// A timer that is not set.
    pub fn new() -> Timer {
        Timer { id: core::with(|core| core.wheel.borrow_mut().create()), _local: PhantomData }
    }

    /// Sets the deadline, in milliseconds on the clock of [`now_ms`], earlier or later than before; one that has
    /// passed fires at the next turn. Deadlines may be years away.
    pub fn set(&self, deadline_ms: u64) {
        if let Some(id) = self.id {
            core::with(|core| core.wheel.borrow_mut().set(id, deadline_ms));
        }
    }

    /// Moves the deadline later, which is one store: for inactivity timeouts, at every message. An earlier deadline is
    /// obeyed too, at the price of [`Timer::set`].
    pub fn touch(&self, deadline_ms: u64) {
        self.set(deadline_ms);
    }

    /// Takes the deadline back, and the memory of having fired.
    pub fn clear(&self) {
        if let Some(id) = self.id {
            core::with(|core| core.wheel.borrow_mut().clear(id));
        }
    }

    /// Waits until the timer has fired since it was last set; at once if it has. For ever if it is not set.
    pub fn fired(&self) -> impl Future<Output = ()> {
        let id = self.id;
        poll_fn(move |context| {
            let Some(id) = id else { return Poll::Pending };
            let polled = core::with(|core| core.wheel.borrow_mut().poll(id, context.waker()));
            match polled {
                Some((true, _)) => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
    }
}

impl Default for Timer {
    fn default() -> Timer {
        Timer::new()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = core::with(|core| core.wheel.borrow_mut().destroy(id));
            drop(waker);
        }
    }
}

/// Sleeps for at least `milliseconds`.
pub async fn sleep_ms(milliseconds: u64) {
    let timer = Timer::new();
    // The cached clock is rounded down.
    timer.set(now_ms().saturating_add(milliseconds).saturating_add(1));
    timer.fired().await;
}
