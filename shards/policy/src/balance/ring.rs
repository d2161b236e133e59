//! The ring of consistent hashing and of `random`: each server stands at as many points as its effective weight says, and a hash belongs to
//! the closest point. A server that leaves moves only its own keys. Called by the picker.

use super::hash::ring_point;

/// Points sorted by place. Memory is 8 bytes per sixteenth of weight: 16 points for a server of weight 1, 4096 for one of weight 256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    /// (place, server index). Never empty.
    points: Box<[(u32, u32)]>,
}

impl Ring {
    /// The ring of `members`: (server index, server id, effective weight above 0), in file order. `None` when empty.
    pub(super) fn new(members: impl Iterator<Item = (u32, u32, u32)>) -> Option<Self> {
        let mut points: Vec<(u32, u32)> =
            members.flat_map(|(server, id, weight)| (0..weight).map(move |point| (ring_point(id, point), server))).collect();
        // Stable: points at the same place keep file order, as HAProxy's tree does.
        points.sort_by_key(|&(place, _)| place);
        if points.is_empty() { None } else { Some(Self { points: points.into() }) }
    }

    /// The server at the point closest to `hash`, the one before it when both are as close. `avoid` is passed over in ring order unless
    /// it is alone.
    pub(super) fn closest(&self, hash: u32, avoid: Option<usize>) -> usize {
        let count = self.points.len();
        let next = self.points.partition_point(|&(place, _)| place < hash) % count;
        let previous = (next + count - 1) % count;
        let distance_back = hash.wrapping_sub(self.points[previous].0);
        let distance_ahead = self.points[next].0.wrapping_sub(hash);
        let start = if distance_back <= distance_ahead { previous } else { next };
        let first = self.points[start].1 as usize;
        if avoid != Some(first) {
            return first;
        }
        (1..count).map(|step| self.points[(start + step) % count].1 as usize).find(|&server| avoid != Some(server)).unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closest_point_wraps_around() {
        let ring = Ring { points: vec![(100, 0), (200, 1), (4_000_000_000, 2)].into() };
        assert_eq!(ring.closest(140, None), 0);
        assert_eq!(ring.closest(150, None), 0, "the earlier point wins when both are as close");
        assert_eq!(ring.closest(151, None), 1);
        assert_eq!(ring.closest(4_294_967_290, None), 0);
        assert_eq!(ring.closest(0, None), 0);
        assert_eq!(ring.closest(140, Some(0)), 1);
        assert_eq!(ring.closest(4_000_000_000, Some(2)), 0);
    }

    #[test]
    fn a_lone_server_is_taken_even_if_avoided() {
        let ring = Ring::new([(7, 1, 16)].into_iter()).unwrap();
        assert_eq!(ring.closest(5, Some(7)), 7);
        assert_eq!(Ring::new([].into_iter()), None);
    }
}
