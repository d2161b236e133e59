//! The fixed map of `static-rr` and of map-based hashing: one slot per unit of weight, laid out so that a hash modulo its length, or a walk
//! over it, reaches each server as often as its weight says. Called by the picker when it is built.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::schedule::greatest_common_divisor;

/// The map over `members`, (server index, weight above 0) in file order. `configured` are the weights of all servers of the backend as
/// written: HAProxy divides by their greatest common divisor once at start, so that a server that is down does not change it.
///
/// Each slot gives every server its weight in credit and goes to the one with the most whole rounds of credit, the first in file order
/// among equals; a round of credit, as much as there are slots, is what a slot costs.
pub(super) fn build(members: &[(u32, u32)], configured: impl Iterator<Item = u32>) -> Vec<u32> {
    let divisor = configured.fold(0, greatest_common_divisor).max(1);
    let weights: Vec<u64> = members.iter().map(|&(_, weight)| u64::from(weight.div_ceil(divisor)).max(1)).collect();
    let slots: u64 = weights.iter().sum();
    let mut map = Vec::with_capacity(slots as usize);
    // Credit is not added up slot by slot: the slot at which a server's rounds of credit rise is known beforehand, as neither weights nor
    // slots change. Rounds are counted from the start, what was spent included.
    let rise = |member: usize, rounds: u64| (slots * rounds).div_ceil(weights[member]);
    let mut rises: BinaryHeap<Reverse<(u64, usize, u64)>> =
        (0..members.len()).map(|member| Reverse((rise(member, 1), member, 1))).collect();
    let mut standings = Standings { of: vec![0; members.len()], ranks: vec![BTreeSet::new(), (0..members.len()).collect()] };
    for slot in 1..=slots {
        while let Some(&Reverse((at, member, rounds))) = rises.peek()
            && at <= slot
        {
            rises.pop();
            rises.push(Reverse((rise(member, rounds + 1), member, rounds + 1)));
            standings.raise(member);
        }
        match standings.take_first() {
            Some(member) => map.push(members[member].0),
            None => break,
        }
    }
    map
}

/// Servers by the whole rounds of credit they hold; negative ones are in debt.
struct Standings {
    of: Vec<i64>,
    /// Members by rounds; the first rank is one round of debt.
    ranks: Vec<BTreeSet<usize>>,
}

impl Standings {
    fn rank(rounds: i64) -> usize {
        (rounds + 1).max(0) as usize
    }

    fn move_to(&mut self, member: usize, rounds: i64) {
        let (from, to) = (Self::rank(self.of[member]), Self::rank(rounds));
        if let Some(rank) = self.ranks.get_mut(from) {
            rank.remove(&member);
        }
        if self.ranks.len() <= to {
            self.ranks.resize_with(to + 1, BTreeSet::new);
        }
        self.ranks[to].insert(member);
        self.of[member] = rounds;
    }

    fn raise(&mut self, member: usize) {
        self.move_to(member, self.of[member] + 1);
    }

    /// Charges the first of the best one round.
    fn take_first(&mut self) -> Option<usize> {
        let member = self.ranks.iter().rev().find_map(|rank| rank.first().copied())?;
        self.move_to(member, self.of[member] - 1);
        Some(member)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same with credit added up slot by slot.
    fn plain(weights: &[u32]) -> Vec<u32> {
        let slots: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
        let mut credits = vec![0_i64; weights.len()];
        let step = |_| {
            credits.iter_mut().zip(weights).for_each(|(credit, &weight)| *credit += i64::from(weight));
            let rounds = |member: &usize| credits[*member].div_euclid(slots);
            let best = (0..weights.len()).rev().max_by_key(rounds).unwrap();
            credits[best] -= slots;
            best as u32
        };
        (0..slots).map(step).collect()
    }

    fn letters(weights: &[u32]) -> String {
        let members: Vec<(u32, u32)> = weights.iter().enumerate().map(|(index, &weight)| (index as u32, weight)).collect();
        build(&members, weights.iter().copied()).into_iter().map(|server| char::from(b'a' + server as u8)).collect()
    }

    #[test]
    fn slots_are_those_haproxy_shows() {
        // One round each, captured from HAProxy 2.6.12 with `balance static-rr`.
        assert_eq!(letters(&[1, 1, 1]), "abc");
        assert_eq!(letters(&[5, 2]), "aaabaab");
        assert_eq!(letters(&[5, 2, 1]), "aabaabac");
        assert_eq!(letters(&[1, 2, 3]), "acbcbc");
        assert_eq!(letters(&[3, 3, 2, 1]), "ababcabcd");
        assert_eq!(letters(&[4, 2, 6]), "acacbc");
        assert_eq!(letters(&[10, 1]), "aaaaaaaaaab");
    }

    #[test]
    fn the_divisor_does_not_depend_on_who_is_up() {
        assert_eq!(build(&[(0, 3), (1, 6)], [3, 6, 4].into_iter()).len(), 9);
        assert_eq!(build(&[(0, 3), (1, 6)], [3, 6].into_iter()).len(), 3);
        assert_eq!(build(&[], [0, 0].into_iter()), Vec::<u32>::new());
    }

    proptest! {
        #[test]
        fn the_map_is_what_slow_counting_gives(weights in prop::collection::vec(1_u32..=60, 1..9)) {
            let members: Vec<(u32, u32)> = weights.iter().enumerate().map(|(index, &weight)| (index as u32, weight)).collect();
            prop_assert_eq!(build(&members, [1].into_iter()), plain(&weights));
        }
    }
}
