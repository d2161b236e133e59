//! A hierarchical timer wheel: six levels of 64 slots, 4 ms per tick, deadlines up to years.
//!
//! Pure data structure: no clock, no system call. The driver calls [`Wheel::advance`] once per turn; timers
//! (see `timer.rs`) call the rest. Inserting, removing and finding the next expiry take constant time, and
//! moving a deadline later is one store: the entry is linked again when its old place comes up.

use std::task::Waker;

/// Milliseconds in one tick: a timer fires between 0 and 4 ms after its deadline, never before.
pub(super) const TICK_MS: u64 = 4;
const LEVELS: usize = 6;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Deadlines further away than this many ticks (about eight years) are looked at again then. Two slots less than the
/// top level spans, so that a link never lands in the slot the wheel stands in.
const HORIZON: u64 = (SLOTS as u64 - 2) << (SLOT_BITS * (LEVELS as u32 - 1));
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    Idle,
    Linked,
    Fired,
}

struct Entry {
    /// When to fire, in ticks. May be later than `linked_tick`.
    deadline_tick: u64,
    /// The tick that decided the entry's place in the wheel.
    linked_tick: u64,
    previous: u32,
    next: u32,
    place: u16,
    state: State,
    waker: Option<Waker>,
}

/// The wheel of one shard.
pub(super) struct Wheel {
    entries: Vec<Entry>,
    free: u32,
    live: u32,
    heads: [u32; LEVELS * SLOTS],
    occupied: [u64; LEVELS],
    current_tick: u64,
}

impl Wheel {
    /// An empty wheel standing at `now_ms`.
    pub(super) fn new(now_ms: u64) -> Wheel {
        Wheel {
            entries: Vec::new(),
            free: NONE,
            live: 0,
            heads: [NONE; LEVELS * SLOTS],
            occupied: [0; LEVELS],
            current_tick: now_ms / TICK_MS,
        }
    }

    /// Number of timers that exist, armed or not.
    pub(super) fn live(&self) -> u32 {
        self.live
    }

    /// Makes a timer that is not armed and returns its number.
    pub(super) fn create(&mut self) -> u32 {
        self.live += 1;
        let fresh = Entry { deadline_tick: 0, linked_tick: 0, previous: NONE, next: NONE, place: 0, state: State::Idle, waker: None };
        if self.free != NONE {
            let id = self.free;
            self.free = self.entries[id as usize].next;
            self.entries[id as usize] = fresh;
            return id;
        }
        self.entries.push(fresh);
        (self.entries.len() - 1) as u32
    }

    /// Removes a timer; its waker is handed back so that it is dropped outside the wheel's borrow.
    pub(super) fn destroy(&mut self, id: u32) -> Option<Waker> {
        self.unlink(id);
        self.live -= 1;
        let free = self.free;
        let entry = &mut self.entries[id as usize];
        entry.state = State::Free;
        entry.next = free;
        self.free = id;
        entry.waker.take()
    }

    /// Arms the timer for `deadline_ms`, whatever its state was.
    pub(super) fn set(&mut self, id: u32, deadline_ms: u64) {
        let tick = deadline_ms.div_ceil(TICK_MS);
        let entry = &mut self.entries[id as usize];
        if entry.state == State::Linked && tick >= entry.linked_tick {
            entry.deadline_tick = tick;
            return;
        }
        self.unlink(id);
        self.entries[id as usize].deadline_tick = tick;
        self.link(id);
    }

    /// Disarms the timer and forgets that it fired.
    pub(super) fn clear(&mut self, id: u32) {
        self.unlink(id);
        self.entries[id as usize].state = State::Idle;
    }

    /// Whether the timer fired since it was last set; if not, `waker` is kept for the moment it does.
    pub(super) fn poll(&mut self, id: u32, waker: &Waker) -> (bool, Option<Waker>) {
        let entry = &mut self.entries[id as usize];
        if entry.state == State::Fired {
            return (true, None);
        }
        match &entry.waker {
            Some(kept) if kept.will_wake(waker) => (false, None),
            _ => (false, entry.waker.replace(waker.clone())),
        }
    }

    /// When the driver must come back, in milliseconds on the wheel's clock; `None` when nothing is armed.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.next_place().map(|(_, tick)| tick * TICK_MS)
    }

    /// Moves to `now_ms` and appends the wakers of all timers that fired to `fired`.
    pub(super) fn advance(&mut self, now_ms: u64, fired: &mut Vec<Waker>) {
        let to_tick = now_ms / TICK_MS;
        while let Some((place, tick)) = self.next_place() {
            if tick > to_tick {
                break;
            }
            self.current_tick = self.current_tick.max(tick);
            self.empty_place(place, fired);
        }
        self.current_tick = self.current_tick.max(to_tick);
    }

    /// Takes every waker, armed or not: used when the shard ends.
    pub(super) fn take_wakers(&mut self, into: &mut Vec<Waker>) {
        into.extend(self.entries.iter_mut().filter_map(|entry| entry.waker.take()));
    }

    fn empty_place(&mut self, place: usize, fired: &mut Vec<Waker>) {
        let mut id = std::mem::replace(&mut self.heads[place], NONE);
        self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
        while id != NONE {
            let current_tick = self.current_tick;
            let entry = &mut self.entries[id as usize];
            let next = entry.next;
            entry.previous = NONE;
            entry.next = NONE;
            if entry.deadline_tick <= current_tick {
                entry.state = State::Fired;
                fired.extend(entry.waker.take());
            } else {
                entry.state = State::Idle;
                self.link(id);
            }
            id = next;
        }
    }

    fn next_place(&self) -> Option<(usize, u64)> {
        for level in 0..LEVELS {
            let occupied = self.occupied[level];
            if occupied == 0 {
                continue;
            }
            let shift = SLOT_BITS * level as u32;
            let here = ((self.current_tick >> shift) & (SLOTS as u64 - 1)) as u32;
            let slot = (occupied.rotate_right(here).trailing_zeros() + here) as usize % SLOTS;
            let range = 1u64 << (shift + SLOT_BITS);
            let mut tick = (self.current_tick & !(range - 1)) + ((slot as u64) << shift);
            // Only the top level wraps round; in the others what is behind us has been emptied already. The slot
            // we stand in starts before us: it is due now.
            if slot < here as usize {
                tick += range;
            }
            return Some((level * SLOTS + slot, tick.max(self.current_tick)));
        }
        None
    }

    fn link(&mut self, id: u32) {
        let current = self.current_tick;
        let wanted = self.entries[id as usize].deadline_tick;
        let tick = wanted.clamp(current, current + HORIZON);
        let differing = (tick ^ current) | (SLOTS as u64 - 1);
        let level = (((63 - differing.leading_zeros()) / SLOT_BITS) as usize).min(LEVELS - 1);
        let slot = ((tick >> (SLOT_BITS * level as u32)) as usize) % SLOTS;
        let place = level * SLOTS + slot;
        let head = self.heads[place];
        if head != NONE {
            self.entries[head as usize].previous = id;
        }
        self.heads[place] = id;
        self.occupied[level] |= 1 << slot;
        let entry = &mut self.entries[id as usize];
        entry.linked_tick = tick;
        entry.previous = NONE;
        entry.next = head;
        entry.place = place as u16;
        entry.state = State::Linked;
    }

    fn unlink(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        if entry.state != State::Linked {
            return;
        }
        entry.state = State::Idle;
        let (previous, next, place) = (entry.previous, entry.next, entry.place as usize);
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
        } else {
            self.heads[place] = next;
            if next == NONE {
                self.occupied[place / SLOTS] &= !(1 << (place % SLOTS));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    impl Wheel {
        fn fired(&self, id: u32) -> bool {
            self.entries[id as usize].state == State::Fired
        }
    }

    #[test]
    fn fires_at_the_deadline_and_not_before() {
        let mut wheel = Wheel::new(1_000);
        let mut woken = Vec::new();
        for wait_ms in [0, 1, 3, 4, 5, 255, 256, 257, 60_000, 86_400_000, 14 * 86_400_000] {
            let start = wheel.current_tick * TICK_MS;
            let id = wheel.create();
            wheel.set(id, start + wait_ms);
            if wait_ms >= TICK_MS {
                wheel.advance(start + wait_ms - TICK_MS, &mut woken);
                assert!(!wheel.fired(id), "{wait_ms} ms fired early");
            }
            wheel.advance(start + wait_ms + TICK_MS, &mut woken);
            assert!(wheel.fired(id), "{wait_ms} ms did not fire");
            wheel.destroy(id);
        }
        assert_eq!(wheel.live(), 0);
        assert_eq!(wheel.next_ms(), None);
    }

    #[test]
    fn an_earlier_deadline_is_linked_again() {
        let mut wheel = Wheel::new(0);
        let id = wheel.create();
        wheel.set(id, 5_000);
        wheel.set(id, 1_000);
        wheel.advance(1_000, &mut Vec::new());
        assert!(wheel.fired(id));
    }

    #[test]
    fn deadlines_beyond_the_horizon_wait() {
        for start_ms in [0, 123_456_789, u64::from(u32::MAX)] {
            let mut wheel = Wheel::new(start_ms);
            let id = wheel.create();
            wheel.set(id, u64::MAX);
            let mut now_ms = start_ms;
            for _ in 0..20 {
                let next_ms = wheel.next_ms().expect("armed");
                assert!(next_ms > now_ms, "{next_ms} is not after {now_ms}");
                now_ms = next_ms;
                wheel.advance(now_ms, &mut Vec::new());
                assert!(!wheel.fired(id));
            }
        }
    }

    #[test]
    fn a_later_deadline_costs_no_early_wake() {
        let mut wheel = Wheel::new(0);
        let id = wheel.create();
        wheel.set(id, 1_000);
        wheel.set(id, 9_000);
        wheel.advance(8_900, &mut Vec::new());
        assert!(!wheel.fired(id));
        wheel.advance(9_000, &mut Vec::new());
        assert!(wheel.fired(id));
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(steps in proptest::collection::vec((0u8..5, 0u64..400_000, 0usize..16), 1..200)) {
            let mut wheel = Wheel::new(0);
            let mut now = 0;
            let ids: Vec<u32> = (0..16).map(|_| wheel.create()).collect();
            let mut model: HashMap<u32, u64> = HashMap::new();
            for (action, value, which) in steps {
                let id = ids[which];
                match action {
                    0 | 1 => {
                        wheel.set(id, now + value);
                        model.insert(id, now + value);
                    }
                    2 => {
                        wheel.clear(id);
                        model.remove(&id);
                    }
                    _ => {
                        now += value;
                        wheel.advance(now, &mut Vec::new());
                    }
                }
                let reached = now / TICK_MS;
                for (id, deadline) in &model {
                    let due = deadline.div_ceil(TICK_MS) <= reached;
                    // A deadline set in the past fires at the next advance, not at once.
                    if action > 2 {
                        prop_assert_eq!(wheel.fired(*id), due);
                    } else if !due {
                        prop_assert!(!wheel.fired(*id));
                    }
                }
                let earliest = model.iter().filter(|(id, _)| !wheel.fired(**id)).map(|(_, d)| *d).min();
                if let Some(earliest) = earliest {
                    let next = wheel.next_ms();
                    prop_assert!(next.is_some_and(|next| next <= earliest.div_ceil(TICK_MS).max(reached) * TICK_MS));
                }
            }
        }
    }
}
