//! The fixed map of `static-rr` and of map-based hashing: one slot per unit of weight, laid out so that a hash modulo its length, or a walk
//! over it, reaches each server as often as its weight says. Called by the picker when it is built.

use super::schedule::greatest_common_divisor;

/// The map over `members`, (server index, weight above 0) in file order. `configured` are the weights of all servers of the backend as
/// written: HAProxy divides by their greatest common divisor once at start, so that a server that is down does not change it.
///
/// Each slot goes to the server that is furthest behind its share, the first in file order among equals.
pub(super) fn build(members: &[(u32, u32)], configured: impl Iterator<Item = u32>) -> Vec<u32> {
    let divisor = configured.fold(0, greatest_common_divisor).max(1);
    let weights: Vec<(u32, i64)> = members.iter().map(|&(server, weight)| (server, i64::from(weight.div_ceil(divisor)))).collect();
    let slots: i64 = weights.iter().map(|&(_, weight)| weight).sum();
    let mut credits = vec![0_i64; weights.len()];
    let mut map = Vec::with_capacity(slots as usize);
    for _ in 0..slots {
        let mut best: Option<(usize, i64)> = None;
        for (member, &(_, weight)) in weights.iter().enumerate() {
            credits[member] += weight;
            // Only whole rounds of credit count: that is what gives HAProxy's order among servers of equal standing.
            let standing = (credits[member] + slots) / slots;
            if best.is_none_or(|(_, most)| standing > most) {
                best = Some((member, standing));
            }
        }
        if let Some((member, _)) = best {
            credits[member] -= slots;
            map.push(weights[member].0);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
