//! What is run and in which order. Pure.

use super::subject::{BASELINE, BASELINE_MQTT, BASELINE_TABLE, BASELINE_TWO, FLOOR, FLOOR_MQTT};
use crate::load::{MqttSession, Plan, Protocol, Workload};
use anyhow::bail;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of each message.
const MESSAGE_BYTES: usize = 128;
/// Share of HAProxy's own peak at which latency is compared.
pub(super) const PACE: f64 = 0.7;
/// Connections of one run at most. The network of a proxy has 32,000 ports that connect(2) tries first; a run that needed more of them
/// would meet its own, not yet rested, and measure the search.
const CONNECTIONS_PER_RUN: u64 = 24_000;
/// Client identifiers of each connection of an MQTT storm, used in turn: enough to fill a table, few enough that most of them return.
const IDENTITIES: u32 = 512;
/// Most connections of a workload: two descriptors each in the proxy must fit into common limits.
const CONNECTIONS_MAX: usize = 4000;

/// One workload with its number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersusWorkload {
    /// `pp:N`: exchanges of 128-byte messages, as fast as answers come.
    Messages(usize),
    /// `cps:N`: connect, exchange, close.
    Connections(usize),
    /// `bulk:N`: download.
    Bulk(usize),
    /// `rate:N`: exchanges in an open loop, at the same fixed rate for all: 70 % of HAProxy's own peak.
    Paced(usize),
    /// `pp2:N`: exchanges through proxies with two threads.
    MessagesTwo(usize),
    /// `cps2:N`: connections through proxies with two threads.
    ConnectionsTwo(usize),
    /// `mqtt:N`: CONNECT, CONNACK, DISCONNECT, close, forwarded as plain TCP.
    Sessions(usize),
    /// `mqtt-table:N`: as `mqtt:N`, through proxies that read the CONNECT and keep each client identifier on its server.
    SessionsTable(usize),
}

impl fmt::Display for VersusWorkload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(count) => write!(formatter, "pp:{count}"),
            Self::Connections(count) => write!(formatter, "cps:{count}"),
            Self::Bulk(count) => write!(formatter, "bulk:{count}"),
            Self::Paced(count) => write!(formatter, "rate:{count}"),
            Self::MessagesTwo(count) => write!(formatter, "pp2:{count}"),
            Self::ConnectionsTwo(count) => write!(formatter, "cps2:{count}"),
            Self::Sessions(count) => write!(formatter, "mqtt:{count}"),
            Self::SessionsTable(count) => write!(formatter, "mqtt-table:{count}"),
        }
    }
}

impl VersusWorkload {
    /// What happens, in words.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Messages(1) => format!("1 connection, {MESSAGE_BYTES}-byte messages"),
            Self::Messages(count) => format!("{count} connections, {MESSAGE_BYTES}-byte messages"),
            Self::Connections(count) => format!("{count} at a time: connect, exchange, close"),
            Self::Bulk(1) => "1 connection, download".to_owned(),
            Self::Bulk(count) => format!("{count} connections, download"),
            Self::Paced(count) => format!("{count} connections, messages at {:.0} % of HAProxy's peak rate (open loop)", 100.0 * PACE),
            Self::MessagesTwo(count) => format!("two threads: {count} connections, {MESSAGE_BYTES}-byte messages"),
            Self::ConnectionsTwo(count) => format!("two threads: {count} at a time: connect, exchange, close"),
            Self::Sessions(count) => format!("{count} at a time: MQTT connect storm, forwarded as plain TCP"),
            Self::SessionsTable(count) => format!("{count} at a time: MQTT connect storm, with a stick table of client identifiers"),
        }
    }

    /// What its figure is measured in.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Bulk(_) => "CPU s per GB",
            Self::Connections(_) | Self::ConnectionsTwo(_) | Self::Sessions(_) | Self::SessionsTable(_) => "CPU us per connection",
            Self::Messages(_) | Self::Paced(_) | Self::MessagesTwo(_) => "CPU us per exchange",
        }
    }

    pub(super) fn is_bulk(self) -> bool {
        matches!(self, Self::Bulk(_))
    }

    /// Threads of the proxies that take part.
    pub(super) fn threads(self) -> usize {
        if matches!(self, Self::MessagesTwo(_) | Self::ConnectionsTwo(_)) { 2 } else { 1 }
    }

    /// Key of the proxy that ratios compare with.
    pub(super) fn baseline(self) -> &'static str {
        match self {
            Self::Sessions(_) => BASELINE_MQTT,
            Self::SessionsTable(_) => BASELINE_TABLE,
            _ if self.threads() == 2 => BASELINE_TWO,
            _ => BASELINE,
        }
    }

    /// Key of the bare floor; it has one thread and reads nothing.
    pub(super) fn floor(self) -> Option<&'static str> {
        match self {
            Self::Sessions(_) => Some(FLOOR_MQTT),
            Self::SessionsTable(_) => None,
            _ => (self.threads() == 1).then_some(FLOOR),
        }
    }

    /// The closed loop whose peak fixes the rate of this workload.
    pub(super) fn calibration(self) -> Option<Self> {
        if let Self::Paced(count) = self { Some(Self::Messages(count)) } else { None }
    }

    /// The load of one run; `rate` is for paced workloads only.
    pub(super) fn load(self, target: SocketAddr, duration: Duration, cpu: usize, rate: Option<f64>) -> Plan {
        let (workload, connections) = match self {
            Self::Messages(count) | Self::MessagesTwo(count) | Self::Paced(count) => (Workload::Pingpong, count),
            Self::Connections(count) | Self::ConnectionsTwo(count) => (Workload::Connect, count),
            Self::Sessions(count) | Self::SessionsTable(count) => (Workload::Connect, count),
            Self::Bulk(count) => (Workload::BulkDown, count),
        };
        let mqtt = matches!(self, Self::Sessions(_) | Self::SessionsTable(_));
        Plan {
            workload,
            protocol: if mqtt { Protocol::Mqtt } else { Protocol::Framed },
            mqtt: mqtt.then(|| MqttSession { identities: IDENTITIES, ..MqttSession::default() }),
            count: (workload == Workload::Connect).then_some(CONNECTIONS_PER_RUN),
            connections,
            duration,
            rate: rate.filter(|_| matches!(self, Self::Paced(_))),
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
/// When a name is not one of `pp:N`, `cps:N`, `bulk:N`, `rate:N`, `pp2:N`, `cps2:N`, `mqtt:N`, `mqtt-table:N`.
pub(super) fn workloads(names: &[String]) -> anyhow::Result<Vec<VersusWorkload>> {
    use VersusWorkload::{Bulk, Connections, ConnectionsTwo, Messages, MessagesTwo, Paced, Sessions, SessionsTable};
    if names.is_empty() {
        let plain = [Messages(64), Messages(1), Connections(32), Bulk(1), Bulk(16), Paced(64), MessagesTwo(64), ConnectionsTwo(32)];
        return Ok(plain.into_iter().chain([Sessions(32), SessionsTable(32)]).collect());
    }
    names.iter().map(|name| parse(name)).collect()
}

fn parse(name: &str) -> anyhow::Result<VersusWorkload> {
    let (kind, count) = name.split_once(':').unwrap_or((name, ""));
    let make: fn(usize) -> VersusWorkload = match kind {
        "pp" => VersusWorkload::Messages,
        "cps" => VersusWorkload::Connections,
        "bulk" => VersusWorkload::Bulk,
        "rate" => VersusWorkload::Paced,
        "pp2" => VersusWorkload::MessagesTwo,
        "cps2" => VersusWorkload::ConnectionsTwo,
        "mqtt" => VersusWorkload::Sessions,
        "mqtt-table" => VersusWorkload::SessionsTable,
        _ => bail!("unknown workload '{name}': expected pp:N, cps:N, bulk:N, rate:N, pp2:N, cps2:N, mqtt:N or mqtt-table:N"),
    };
    match count.parse::<usize>() {
        Ok(count @ 1..=CONNECTIONS_MAX) => Ok(make(count)),
        _ => bail!("workload '{name}' needs a number of connections from 1 to {CONNECTIONS_MAX}, such as {kind}:64"),
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
        for bad in ["", "pp", "pp:0", "bulk:x", "http:1", "rate:4001"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn storms_stop_before_ports_are_scarce_and_bring_many_clients() {
        let target = SocketAddr::from(([127, 0, 0, 1], 1));
        for workload in [VersusWorkload::Connections(4), VersusWorkload::Sessions(4), VersusWorkload::SessionsTable(4)] {
            let plan = workload.load(target, Duration::from_secs(1), 0, None);
            assert_eq!(plan.count, Some(CONNECTIONS_PER_RUN), "{workload}");
            let identities = plan.mqtt.map_or(1, |session| session.identities);
            assert_eq!(identities > 1, plan.protocol == Protocol::Mqtt, "{workload}");
        }
        assert_eq!(VersusWorkload::Bulk(1).load(target, Duration::from_secs(1), 0, None).count, None);
    }

    #[test]
    fn only_paced_workloads_have_a_rate() {
        let target = SocketAddr::from(([127, 0, 0, 1], 1));
        let load = |workload: VersusWorkload| workload.load(target, Duration::from_secs(1), 0, Some(500.0));
        assert_eq!(load(VersusWorkload::Paced(4)).rate, Some(500.0));
        assert_eq!(load(VersusWorkload::Messages(4)).rate, None);
        assert_eq!(VersusWorkload::Paced(4).calibration(), Some(VersusWorkload::Messages(4)));
    }
}
