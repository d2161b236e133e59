//! Fetches of the session: where it came in, where it goes, what the kernel knows of its connection (manual sections 7.3.3 and 7.3.5).

use ringmain_model::{Argument, Needs, SampleType};

use super::super::evaluate::text;
use super::super::facts::{TcpField, Timeout};
use super::super::registry::{FetchEntry, Parameter};
use super::super::{Absent, Data, Evaluation, Outcome, Sample, Value};
use super::{entry, flag, known, number, optional_from, unsigned, words};

/// The entries.
pub const ENTRIES: &[FetchEntry] = &[
    integer("be_id", Needs::BACKEND, "Number of the backend", |e, _| number(e.facts.backend_number(known(e.facts.backend())?))),
    string("be_name", Needs::BACKEND, "Name of the backend", |e, _| words(e.facts.names().backend_name(known(e.facts.backend())?))),
    integer("be_server_timeout", Needs::BACKEND, "The backend's timeout server in milliseconds", |e, _| timeout(e, Timeout::Server)),
    integer("be_tunnel_timeout", Needs::BACKEND, "The backend's timeout tunnel in milliseconds", |e, _| timeout(e, Timeout::Tunnel)),
    integer("cur_server_timeout", Needs::BACKEND, "The session's timeout server in milliseconds", |e, _| {
        timeout(e, Timeout::CurrentServer)
    }),
    integer("cur_tunnel_timeout", Needs::BACKEND, "The session's timeout tunnel in milliseconds", |e, _| {
        timeout(e, Timeout::CurrentTunnel)
    }),
    integer("bytes_in", Needs::NOTHING, "Bytes received from the client", |e, _| unsigned(e.facts.transferred().0)),
    integer("bytes_out", Needs::NOTHING, "Bytes sent to the client", |e, _| unsigned(e.facts.transferred().1)),
    integer("dst_conn", Needs::NOTHING, "Sessions that came in by the same bind", |e, _| number(known(e.facts.bind_connections())?)),
    boolean("fc_rcvd_proxy", "Whether the client began with a PROXY protocol header", |e, _| flag(known(e.facts.received_proxy_header())?)),
    integer("fc_fackets", Needs::NOTHING, "The client connection's forward acknowledged segments", |e, _| tcp(e, TcpField::ForwardAcked)),
    integer("fc_lost", Needs::NOTHING, "The client connection's lost segments", |e, _| tcp(e, TcpField::Lost)),
    integer("fc_reordering", Needs::NOTHING, "The client connection's reordering of segments", |e, _| tcp(e, TcpField::Reordering)),
    integer("fc_retrans", Needs::NOTHING, "The client connection's retransmissions under way", |e, _| tcp(e, TcpField::Retransmissions)),
    integer("fc_sacked", Needs::NOTHING, "The client connection's selectively acknowledged segments", |e, _| tcp(e, TcpField::Sacked)),
    integer("fc_unacked", Needs::NOTHING, "The client connection's segments without acknowledgement", |e, _| tcp(e, TcpField::Unacked)),
    round_trip("fc_rtt", "The client connection's round trip time", |e, a| tcp_time(e, a, TcpField::RttUs)),
    round_trip("fc_rttvar", "The variance of the client connection's round trip time", |e, a| tcp_time(e, a, TcpField::RttVarianceUs)),
    integer("fe_client_timeout", Needs::NOTHING, "The frontend's timeout client in milliseconds", |e, _| timeout(e, Timeout::Client)),
    string("fe_defbe", Needs::NOTHING, "Name of the frontend's default backend", |e, _| {
        words(e.facts.names().backend_name(known(e.facts.default_backend())?))
    }),
    integer("fe_id", Needs::NOTHING, "Number of the frontend", |e, _| number(e.facts.frontend_number(known(e.facts.frontend())?))),
    string("fe_name", Needs::NOTHING, "Name of the frontend", |e, _| words(e.facts.names().frontend_name(known(e.facts.frontend())?))),
    string("last_rule_file", Needs::LAST_RULE, "File of the last content rule that ended its set", |e, _| {
        words(known(e.facts.last_rule())?.0)
    }),
    integer("last_rule_line", Needs::LAST_RULE, "Line of the last content rule that ended its set", |e, _| {
        number(known(e.facts.last_rule())?.1)
    }),
    integer("so_id", Needs::NOTHING, "Number of the bind", |e, _| number(known(e.facts.bind())?.0)),
    string("so_name", Needs::NOTHING, "Name of the bind", |e, _| words(known(known(e.facts.bind())?.1)?)),
    integer("srv_id", Needs::SERVER, "Number of the server", |e, _| number(e.facts.server_number(known(e.facts.server())?))),
    string("srv_name", Needs::SERVER, "Name of the server", |e, _| words(e.facts.names().server_name(known(e.facts.server())?))),
    string("txn.sess_term_state", Needs::END, "How the session ended: the two letters of the log", termination),
    boolean("wait_end", "True once the time for inspection is over or all is there", wait_end),
];

const fn boolean(name: &'static str, summary: &'static str, run: super::Run) -> FetchEntry {
    entry(name, &[], SampleType::Boolean, Needs::NOTHING, summary, run)
}

const fn integer(name: &'static str, needs: Needs, summary: &'static str, run: super::Run) -> FetchEntry {
    entry(name, &[], SampleType::Integer, needs, summary, run)
}

const fn string(name: &'static str, needs: Needs, summary: &'static str, run: super::Run) -> FetchEntry {
    entry(name, &[], SampleType::String, needs, summary, run)
}

const fn round_trip(name: &'static str, summary: &'static str, run: super::Run) -> FetchEntry {
    optional_from(0, entry(name, &[Parameter::Word(&["ms", "us"])], SampleType::Integer, Needs::NOTHING, summary, run))
}

fn timeout(evaluation: Evaluation<'_>, timeout: Timeout) -> Outcome<'_> {
    unsigned(known(evaluation.facts.timeout_ms(timeout))?)
}

fn tcp(evaluation: Evaluation<'_>, field: TcpField) -> Outcome<'_> {
    number(known(evaluation.facts.client_tcp_info(field))?)
}

/// Milliseconds unless microseconds are asked for.
fn tcp_time<'a>(evaluation: Evaluation<'a>, arguments: &[Argument], field: TcpField) -> Outcome<'a> {
    let us = known(evaluation.facts.client_tcp_info(field))?;
    number(if text(arguments, 0) == Some("us") { us } else { us / 1000 })
}

fn termination<'a>(evaluation: Evaluation<'a>, _: &'a [Argument]) -> Outcome<'a> {
    let letters = known(evaluation.facts.termination())?;
    Ok(Sample::fixed(Value::String(Data::Owned(smallvec::SmallVec::from_slice(&letters)))))
}

fn wait_end<'a>(evaluation: Evaluation<'a>, _: &'a [Argument]) -> Outcome<'a> {
    if evaluation.is_final { flag(true) } else { Err(Absent::NotYet) }
}
