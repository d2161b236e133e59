//! Timers of the control loop: a heap of what is due when. The loop sleeps until the first one, so nothing here ever polls.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What comes due. Timers cannot be taken back; whoever handles one that is out of date ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Something of the server with this key: its check or a step of its slowstart.
    Server(u64),
    /// Mail that a full mailbox refused is sent again.
    Mail,
    /// The listeners close: `grace` is over.
    GraceEnds,
    /// All that is left of a soft stop ends now (`hard-stop-after`).
    HardStop,
    /// Memory of sessions that have ended goes back to the system.
    GiveBackMemory,
    /// Stick tables go into the state file.
    SaveTables,
    /// Sessions of generations before this one end now (`hard-stop-after`).
    GenerationsEnd(u64),
}

/// The heap.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(u64, Timer)>>,
}

impl Timers {
    /// Adds a timer unless one of the same kind is there already.
    pub fn add_once(&mut self, due_ms: u64, timer: Timer) {
        if !self.heap.iter().any(|Reverse((_, other))| *other == timer) {
            self.add(due_ms, timer);
        }
    }

    /// Adds a timer at a time of the monotonic clock, ms.
    pub fn add(&mut self, due_ms: u64, timer: Timer) {
        self.heap.push(Reverse((due_ms, timer)));
    }

    /// Takes the first timer that is due.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<Timer> {
        let Reverse((due_ms, _)) = self.heap.peek()?;
        if *due_ms > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }

    /// When the first timer is due, monotonic ms.
    pub fn next_due(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((due_ms, _))| *due_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_and_not_too_early() {
        let mut timers = Timers::default();
        timers.add(20, Timer::Mail);
        timers.add(10, Timer::Server(7));
        assert_eq!(timers.next_due(), Some(10));
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(25), Some(Timer::Server(7)));
        assert_eq!(timers.pop_due(25), Some(Timer::Mail));
        assert_eq!((timers.pop_due(25), timers.next_due()), (None, None));
    }
}
