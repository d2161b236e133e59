//! The order in which `roundrobin` serves: a weighted schedule computed once, walked with an atomic ticket.
//!
//! HAProxy keeps this order in trees under a lock; here its arithmetic is run once, when the set of servers changes, and its outcome is laid
//! down as a list. Called by the picker when it is built.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};

/// Longest list of turns. Weights that need more turns (their sum divided by their greatest common divisor) are scaled down first, which
/// changes no server's share by more than one part in this many.
pub(super) const MAX_TURNS: u64 = 65_536;

/// A cyclic list of turns, with what comes before the cycle when that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Turns taken once, before the cycle; empty when the first round is like all others.
    lead: Box<[u32]>,
    /// Turns repeated for ever; each server has exactly its share of them. Never empty.
    cycle: Box<[u32]>,
}

impl Schedule {
    /// A schedule of the order HAProxy's `roundrobin` has from a fresh start. `weights` are (server index, effective weight above 0);
    /// `None` when empty.
    ///
    /// With a few mixes of weights, such as 3 3 2, HAProxy itself leaves its order for a moment every sixteen times the sum of weights;
    /// the cycle does not.
    pub(super) fn smooth(weights: &[(u32, u32)]) -> Option<Self> {
        let (weights, turns) = bounded(weights)?;
        let mut order = TurnOrder::new(&weights);
        let lead: Box<[u32]> = (0..turns).map(|_| order.next_server()).collect();
        let cycle: Box<[u32]> = (0..turns).map(|_| order.next_server()).collect();
        let lead = if lead == cycle { Box::default() } else { lead };
        Some(Self { lead, cycle })
    }

    /// A schedule that repeats the given list; `None` when empty.
    pub(super) fn repeat(list: Vec<u32>) -> Option<Self> {
        if list.is_empty() { None } else { Some(Self { lead: Box::default(), cycle: list.into() }) }
    }

    /// The server whose turn number `turn` is, counted from 0.
    pub(super) fn at(&self, turn: u64) -> usize {
        let lead = self.lead.len() as u64;
        let server = if turn < lead { self.lead[turn as usize] } else { self.cycle[((turn - lead) % self.cycle.len() as u64) as usize] };
        server as usize
    }

    /// The turn at which a walk continues that was at `turn` of `previous`: the server due next stays next (or the one after it, if it is
    /// gone), at the occurrence closest to the part of the round already served. So no server loses its turn however often the schedule
    /// changes, as weights do every second of a slow start.
    pub(super) fn resume(&self, previous: &Schedule, turn: u64) -> u64 {
        let lead = self.lead.len() as u64;
        let old_length = previous.cycle.len() as u64;
        let new_length = self.cycle.len() as u64;
        let old_place =
            if turn < previous.lead.len() as u64 { turn % old_length } else { (turn - previous.lead.len() as u64) % old_length };
        let known: HashSet<u32> = self.cycle.iter().copied().collect();
        for ahead in 0..old_length {
            let due = previous.at(turn.wrapping_add(ahead)) as u32;
            if !known.contains(&due) {
                continue;
            }
            let target = ((old_place + ahead) % old_length) * new_length / old_length;
            let distance = |place: u64| place.abs_diff(target).min(new_length - place.abs_diff(target));
            let nearest = (0..new_length).filter(|&place| self.cycle[place as usize] == due).min_by_key(|&place| distance(place));
            return lead + nearest.unwrap_or(0);
        }
        0
    }

    /// Turns in one round.
    #[cfg(test)]
    pub(super) fn round(&self) -> usize {
        self.cycle.len()
    }
}

/// Weights that need no more than `MAX_TURNS` turns, and that number of turns.
fn bounded(weights: &[(u32, u32)]) -> Option<(Vec<(u32, u32)>, u64)> {
    let turns = |weights: &[(u32, u32)]| {
        let divisor = weights.iter().fold(0, |divisor, &(_, weight)| greatest_common_divisor(divisor, weight));
        let sum: u64 = weights.iter().map(|&(_, weight)| u64::from(weight)).sum();
        (sum, if divisor == 0 { 0 } else { sum / u64::from(divisor) })
    };
    let (sum, needed) = turns(weights);
    match needed {
        0 => None,
        1..=MAX_TURNS => Some((weights.to_vec(), needed)),
        _ => {
            // Half the room is kept for the servers whose weight rounds up to one.
            let scaled: Vec<(u32, u32)> =
                weights.iter().map(|&(server, weight)| (server, (u64::from(weight) * (MAX_TURNS / 2) / sum).max(1) as u32)).collect();
            let needed = turns(&scaled).1;
            Some((scaled, needed))
        }
    }
}

pub(super) fn greatest_common_divisor(mut first: u32, mut second: u32) -> u32 {
    while second != 0 {
        (first, second) = (second, first % second);
    }
    first
}

/// One server on its way round the schedule.
#[derive(Clone, Copy)]
struct Runner {
    server: u32,
    weight: u64,
    /// Turn at which it should be served next.
    due: u64,
    /// What the division of the round by the weight left over so far.
    remainder: u64,
}

/// HAProxy's smooth weighted round robin. A round has as many turns as the sum of weights. A server that was served becomes due again after
/// round / weight turns, the remainders being carried. Servers wait in three places: not yet served in this round (heaviest first), due in
/// this round (earliest first, heavier first among equals), and served out until the next round.
struct TurnOrder {
    round: u64,
    turn: u64,
    fresh: VecDeque<Runner>,
    due: BinaryHeap<Reverse<DueEntry>>,
    served_out: Vec<Runner>,
    insertions: u64,
}

/// Key, order of insertion, server, and the runner's state: compared in this order.
type DueEntry = (u64, u64, u32, u64, u64, u64);

impl TurnOrder {
    fn new(weights: &[(u32, u32)]) -> Self {
        let mut fresh: Vec<Runner> =
            weights.iter().map(|&(server, weight)| Runner { server, weight: u64::from(weight), due: 0, remainder: 0 }).collect();
        fresh.sort_by_key(|runner| Reverse(runner.weight));
        let round = fresh.iter().map(|runner| runner.weight).sum();
        // HAProxy starts at the end of a round, and its order has an irregularity at the end of the next. Counting from 0 gives the same
        // order and moves that to after the second round, so that the second round is the exact cycle.
        Self { round, turn: 0, fresh: fresh.into(), due: BinaryHeap::new(), served_out: Vec::new(), insertions: 0 }
    }

    fn next_server(&mut self) -> u32 {
        let mut runner = self.take_next();
        if runner.due == 0 {
            runner.due = self.turn;
        }
        runner.due += self.round / runner.weight;
        runner.remainder += self.round % runner.weight;
        if runner.remainder >= runner.weight {
            runner.remainder -= runner.weight;
            runner.due += 1;
        }
        self.turn += 1;
        let server = runner.server;
        self.put_back(runner);
        server
    }

    /// A server that is due comes first; else one that was not served yet in this round; else the one due soonest, ahead of its time.
    fn take_next(&mut self) -> Runner {
        loop {
            let is_due = self.due.peek().is_some_and(|Reverse(entry)| entry.4 <= self.turn);
            if !is_due && let Some(runner) = self.fresh.pop_front() {
                return Runner { due: 0, remainder: 0, ..runner };
            }
            if let Some(Reverse((_, _, server, weight, due, remainder))) = self.due.pop() {
                return Runner { server, weight, due, remainder };
            }
            // Nobody is left in this round: the served-out ones open the next.
            let mut next = std::mem::take(&mut self.served_out);
            next.sort_by_key(|runner| Reverse(runner.weight));
            self.fresh = next.into();
            self.turn = self.round;
        }
    }

    fn put_back(&mut self, mut runner: Runner) {
        if runner.due >= 2 * self.round {
            runner.due -= self.round;
            self.served_out.push(runner);
            return;
        }
        // Heavier servers go first among those due at the same turn, in sixteenths of weight as HAProxy rounds it.
        let precedence = (u64::from(super::MAX_EFFECTIVE_WEIGHT) + runner.remainder - runner.weight) / u64::from(super::FULL_THROTTLE);
        let key = 256 * runner.due + precedence;
        self.due.push(Reverse((key, self.insertions, runner.server, runner.weight, runner.due, runner.remainder)));
        self.insertions += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(weights: &[u32], count: u64) -> String {
        let weighted: Vec<(u32, u32)> =
            weights.iter().enumerate().filter(|(_, weight)| **weight > 0).map(|(index, weight)| (index as u32, weight * 16)).collect();
        let schedule = Schedule::smooth(&weighted).unwrap();
        (0..count).map(|turn| char::from(b'a' + schedule.at(turn) as u8)).collect()
    }

    #[test]
    fn order_is_the_one_haproxy_shows() {
        // Captured from HAProxy 2.6.12 with sequential connections.
        assert_eq!(letters(&[1, 1, 1], 7), "abcabca");
        assert_eq!(letters(&[5, 2], 20), "aaabaabaaabaabaaabaa");
        assert_eq!(letters(&[5, 2, 1], 20), "aabaacabaabaacabaaba");
        assert_eq!(letters(&[1, 2, 3], 20), "cbcacbcbcacbcbcacbcb");
        assert_eq!(letters(&[3, 3, 2, 1], 20), "abcabdacbabcabdacbab");
        assert_eq!(letters(&[7, 0, 3], 20), "aaacaacaacaaacaacaac");
        assert_eq!(letters(&[100, 99, 98], 20), "abacbacbacbacbacbacb");
        assert_eq!(letters(&[195, 1, 1, 5, 50, 3, 10], 20), "aaaeaaagaeaaaaeaaaea");
    }

    #[test]
    fn the_list_is_bounded_in_the_worst_case() {
        let weights: Vec<(u32, u32)> = (0..4000).map(|server| (server, 3000 + server % 1096)).collect();
        let schedule = Schedule::smooth(&weights).unwrap();
        assert!(schedule.round() as u64 <= MAX_TURNS);
        for &(server, _) in &weights {
            assert!(schedule.cycle.contains(&server));
        }
        assert_eq!(Schedule::smooth(&[]), None);
    }

    #[test]
    fn a_server_that_leaves_hands_its_turn_to_the_next() {
        let four = Schedule::smooth(&[(0, 16), (1, 16), (2, 16), (3, 16)]).unwrap();
        let three = Schedule::smooth(&[(0, 16), (1, 16), (3, 16)]).unwrap();
        assert_eq!(three.at(three.resume(&four, 6)), 3);
        assert_eq!(three.at(three.resume(&four, 5)), 1);
        assert_eq!(four.resume(&four, 7), 3);
    }

    #[test]
    fn frequent_changes_starve_nobody() {
        // A light server beside a heavy one whose weight changes every five connections.
        let mut schedule = Schedule::smooth(&[(0, 1600), (1, 16)]).unwrap();
        let (mut turn, mut light) = (0, 0);
        for step in 0..1000_u32 {
            for _ in 0..5 {
                light += schedule.at(turn);
                turn += 1;
            }
            let next = Schedule::smooth(&[(0, 1600 - step % 7), (1, 16)]).unwrap();
            turn = next.resume(&schedule, turn);
            schedule = next;
        }
        assert!((35..=70).contains(&light), "{light} of 5000, about 50 are due");
    }

    proptest! {
        #[test]
        fn a_round_gives_each_server_exactly_its_share(weights in prop::collection::vec((1_u32..=100, 1_u32..=16), 1..8)) {
            let weighted: Vec<(u32, u32)> = weights.iter().enumerate().map(|(index, &(weight, throttle))| (index as u32, weight * throttle)).collect();
            let divisor = weighted.iter().fold(0, |divisor, &(_, weight)| greatest_common_divisor(divisor, weight));
            let schedule = Schedule::smooth(&weighted).unwrap();
            for &(server, weight) in &weighted {
                let share = schedule.cycle.iter().filter(|&&entry| entry == server).count();
                prop_assert_eq!(share as u32, weight / divisor);
                if !schedule.lead.is_empty() {
                    let first = schedule.lead.iter().filter(|&&entry| entry == server).count() as u32;
                    prop_assert!(first.abs_diff(weight / divisor) <= 1);
                }
            }
        }

        #[test]
        fn any_stretch_is_close_to_its_share(weights in prop::collection::vec(1_u32..=20, 2..6), start in 0_u64..200, length in 1_u64..200) {
            let weighted: Vec<(u32, u32)> = weights.iter().enumerate().map(|(index, &weight)| (index as u32, weight * 16)).collect();
            let total: u32 = weights.iter().sum();
            let schedule = Schedule::smooth(&weighted).unwrap();
            for (server, weight) in weights.iter().enumerate() {
                let got = (start..start + length).filter(|&turn| schedule.at(turn) == server).count() as f64;
                let due = length as f64 * f64::from(*weight) / f64::from(total);
                prop_assert!((got - due).abs() <= 3.0, "server {} got {} of {}", server, got, due);
            }
        }
    }
}
