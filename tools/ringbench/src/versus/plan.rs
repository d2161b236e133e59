//! What is run and in which order. Pure.

use crate::load::{Plan, Workload};
use anyhow::bail;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of each message.
const MESSAGE_BYTES: usize = 128;

/// One workload with its number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersusWorkload {
    /// `pp:N`: exchanges of 128-byte messages.
    Messages(usize),
    /// `cps:N`: connect, exchange, close.
    Connections(usize),
    /// `bulk:N`: download.
    Bulk(usize),
}

impl fmt::Display for VersusWorkload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(count) => write!(formatter, "pp:{count}"),
            Self::Connections(count) => write!(formatter, "cps:{count}"),
            Self::Bulk(count) => write!(formatter, "bulk:{count}"),
        }
    }
}

impl VersusWorkload {
    /// What happens, in words.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Messages(count) => format!("{count} connection(s), {MESSAGE_BYTES}-byte messages; CPU us per exchange"),
            Self::Connections(count) => format!("{count} at a time: connect, exchange, close; CPU us per connection"),
            Self::Bulk(count) => format!("{count} connection(s), download; CPU seconds per gigabyte"),
        }
    }

    pub(super) fn is_bulk(self) -> bool {
        matches!(self, Self::Bulk(_))
    }

    /// The load of one run.
    pub(super) fn load(self, target: SocketAddr, duration: Duration, cpu: usize) -> Plan {
        let (workload, connections) = match self {
            Self::Messages(count) => (Workload::Pingpong, count),
            Self::Connections(count) => (Workload::Connect, count),
            Self::Bulk(count) => (Workload::BulkDown, count),
        };
        Plan {
            workload,
            connections,
            duration,
            cpus: vec![cpu],
            request_bytes: MESSAGE_BYTES,
            response_bytes: MESSAGE_BYTES,
            ..Plan::new(target)
        }
    }
}

/// The named workloads, or all of the standard ones.
///
/// # Errors
/// When a name is not one of `pp:N`, `cps:N`, `bulk:N`.
pub(super) fn workloads(names: &[String]) -> anyhow::Result<Vec<VersusWorkload>> {
    use VersusWorkload::{Bulk, Connections, Messages};
    if names.is_empty() {
        return Ok(vec![Messages(64), Messages(1), Connections(32), Bulk(1), Bulk(16)]);
    }
    names.iter().map(|name| parse(name)).collect()
}

fn parse(name: &str) -> anyhow::Result<VersusWorkload> {
    let (kind, count) = name.split_once(':').unwrap_or((name, ""));
    match (kind, count.parse::<usize>()) {
        ("pp", Ok(count @ 1..=4000)) => Ok(VersusWorkload::Messages(count)),
        ("cps", Ok(count @ 1..=4000)) => Ok(VersusWorkload::Connections(count)),
        ("bulk", Ok(count @ 1..=4000)) => Ok(VersusWorkload::Bulk(count)),
        _ => bail!("unknown workload '{name}': expected pp:N, cps:N or bulk:N with N from 1 to 4000"),
    }
}

/// The numbers below `count` in an order that depends on nothing but the seed (Fisher-Yates over splitmix64).
pub fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    };
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, (next() % (last as u64 + 1)) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_and_repeats_with_its_seed() {
        let order = shuffled(25, 7);
        assert_eq!(order, shuffled(25, 7));
        assert_ne!(order, shuffled(25, 8));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..25).collect::<Vec<_>>());
        assert!(shuffled(0, 1).is_empty());
    }

    #[test]
    fn workloads_read_as_they_print() {
        for workload in workloads(&[]).expect("standard ones") {
            assert_eq!(parse(&workload.to_string()).expect("own name"), workload);
        }
        for bad in ["", "pp", "pp:0", "bulk:x", "http:1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
