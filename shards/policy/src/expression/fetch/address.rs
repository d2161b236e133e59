//! Fetches of addresses and ports of both connections (manual section 7.3.3).

use std::net::{IpAddr, SocketAddr};

use ringmain_model::{Needs, SampleType};

use super::super::registry::FetchEntry;
use super::super::{Evaluation, Facts, Outcome, Sample, Value};
use super::{entry, flag, known, number};

/// The entries.
pub const ENTRIES: &[FetchEntry] = &[
    address("src", Needs::CLIENT_ADDRESS, "The client's address", |e, _| ip(e.facts.client())),
    port("src_port", Needs::CLIENT_ADDRESS, "The client's port", |e, _| port_of(e.facts.client())),
    local("src_is_local", Needs::CLIENT_ADDRESS, "Whether the client's address is this host's", |e, _| is_own(e, Facts::client)),
    address("dst", Needs::LOCAL_ADDRESS, "The address that the client connected to", |e, _| ip(e.facts.local())),
    port("dst_port", Needs::LOCAL_ADDRESS, "The port that the client connected to", |e, _| port_of(e.facts.local())),
    local("dst_is_local", Needs::LOCAL_ADDRESS, "Whether the address that the client connected to is this host's", |e, _| {
        is_own(e, Facts::local)
    }),
    address("fc_src", Needs::CLIENT_ADDRESS, "The client's address before rules changed it", |e, _| ip(e.facts.original_client())),
    port("fc_src_port", Needs::CLIENT_ADDRESS, "The client's port before rules changed it", |e, _| port_of(e.facts.original_client())),
    local("fc_src_is_local", Needs::CLIENT_ADDRESS, "Whether the client's address before rules changed it is this host's", |e, _| {
        is_own(e, Facts::original_client)
    }),
    address("fc_dst", Needs::LOCAL_ADDRESS, "The address that the client connected to before rules changed it", |e, _| {
        ip(e.facts.original_local())
    }),
    port("fc_dst_port", Needs::LOCAL_ADDRESS, "The port that the client connected to before rules changed it", |e, _| {
        port_of(e.facts.original_local())
    }),
    local(
        "fc_dst_is_local",
        Needs::LOCAL_ADDRESS,
        "Whether the address that the client connected to before rules changed it is this host's",
        |e, _| is_own(e, Facts::original_local),
    ),
    address("bc_src", Needs::SERVER, "Our address towards the server", |e, _| ip(e.facts.server_side_local())),
    port("bc_src_port", Needs::SERVER, "Our port towards the server", |e, _| port_of(e.facts.server_side_local())),
    address("bc_dst", Needs::SERVER, "The server's address", |e, _| ip(e.facts.server_side_remote())),
    port("bc_dst_port", Needs::SERVER, "The server's port", |e, _| port_of(e.facts.server_side_remote())),
];

const fn address(name: &'static str, needs: Needs, summary: &'static str, run: super::Run) -> FetchEntry {
    entry(name, &[], SampleType::Address, needs, summary, run)
}

const fn port(name: &'static str, needs: Needs, summary: &'static str, run: super::Run) -> FetchEntry {
    entry(name, &[], SampleType::Integer, needs, summary, run)
}

const fn local(name: &'static str, needs: Needs, summary: &'static str, run: super::Run) -> FetchEntry {
    entry(name, &[], SampleType::Boolean, needs, summary, run)
}

fn ip<'a>(address: Option<SocketAddr>) -> Outcome<'a> {
    Ok(Sample::fixed(match known(address)?.ip() {
        IpAddr::V4(address) => Value::Ipv4(address),
        IpAddr::V6(address) => Value::Ipv6(address),
    }))
}

fn port_of<'a>(address: Option<SocketAddr>) -> Outcome<'a> {
    number(known(address)?.port())
}

/// A connection without addresses came in by a unix socket, so it is from here.
fn is_own<'a>(evaluation: Evaluation<'a>, address: fn(&'a (dyn Facts + 'a)) -> Option<SocketAddr>) -> Outcome<'a> {
    match address(evaluation.facts) {
        Some(address) => flag(known(evaluation.facts.is_own_address(address.ip()))?),
        None => known(evaluation.facts.frontend()).and_then(|_| flag(true)),
    }
}
