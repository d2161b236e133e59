//! Numbers of proxies, servers and listeners as HAProxy counts them (columns `iid` and `sid` of the statistics).

use std::collections::HashMap;

use super::at;
use super::builder::Placed;
use super::sections::Gathered;
use crate::config::diagnostic::{Diagnostics, Sources, Span};

/// Gives numbers from 1 to those who asked for none.
///
/// HAProxy's rule: a counter steps over numbers that were asked for, and takes one step for everybody, also for those who asked.
pub fn assign(asked: impl Iterator<Item = Option<u32>> + Clone) -> Vec<u32> {
    let used: std::collections::HashSet<u32> = asked.clone().flatten().collect();
    let mut next = 1_u32;
    asked
        .map(|asked| {
            let number = asked.unwrap_or_else(|| {
                while used.contains(&next) {
                    next = next.saturating_add(1);
                }
                next
            });
            next = next.saturating_add(1);
            number
        })
        .collect()
}

/// Reports numbers that were asked for twice; `what` is "proxy", "server" or "bind".
pub fn report_duplicates(asked: impl Iterator<Item = Placed<u32>>, what: &str, sources: &Sources, diagnostics: &mut Diagnostics) {
    let mut seen: HashMap<u32, Span> = HashMap::new();
    for (number, span) in asked {
        if let Some(first) = seen.insert(number, span) {
            diagnostics.error(span, format!("the id {number} of this {what} is taken by the one {}", at(sources, first)));
            seen.insert(number, first);
        }
    }
}

/// The numbers of all proxies, in their order. The runtime socket counts as a proxy at the place of its first line.
pub fn proxies(gathered: &Gathered, sources: &Sources, diagnostics: &mut Diagnostics) -> HashMap<Span, u32> {
    report_duplicates(gathered.proxies.iter().filter_map(|proxy| proxy.id), "proxy", sources, diagnostics);
    let mut asked: Vec<Option<u32>> = gathered.proxies.iter().map(|proxy| proxy.id.map(|(number, _)| number)).collect();
    let socket = gathered.global.stats_position.map(|position| position.min(asked.len()));
    if let Some(position) = socket {
        asked.insert(position, None);
    }
    let mut numbers = assign(asked.iter().copied());
    if let Some(position) = socket {
        numbers.remove(position);
    }
    gathered.proxies.iter().map(|proxy| proxy.span).zip(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `show stat` of HAProxy 2.6.12 numbered the same servers.
    #[test]
    fn asked_numbers_are_stepped_over() {
        assert_eq!(assign([None, Some(1), None, Some(7), None].into_iter()), [2, 1, 4, 7, 6]);
        assert_eq!(assign([None, None, Some(2), None, None].into_iter()), [1, 3, 2, 5, 6]);
        assert_eq!(assign([None, None].into_iter()), [1, 2]);
    }
}
