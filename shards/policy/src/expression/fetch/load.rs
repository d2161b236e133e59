//! Fetches of how busy frontends, backends, servers and tables are (manual section 7.3.2).

use ringmain_model::{Argument, BackendId, FrontendId, Needs, SampleType, ServerId, TableId};

use super::super::evaluate::argument;
use super::super::facts::Count;
use super::super::registry::{FetchEntry, Parameter};
use super::super::{Absent, Evaluation, Outcome};
use super::{entry, flag, known, number, optional_from};

/// The entries.
pub const ENTRIES: &[FetchEntry] = &[
    backend("avg_queue", "Sessions that wait in a backend, per usable server", |e, a| of_backend(e, a, Count::AverageQueue)),
    backend("be_conn", "Sessions of a backend", |e, a| of_backend(e, a, Count::BackendConnections)),
    backend("be_conn_free", "Free connections to usable servers of a backend, -1 without limit", |e, a| {
        of_backend(e, a, Count::BackendConnectionsFree)
    }),
    backend("be_sess_rate", "New sessions of a backend per second", |e, a| of_backend(e, a, Count::BackendSessionRate)),
    backend("connslots", "Free connections and places in queues of a backend, -1 without limit", |e, a| {
        of_backend(e, a, Count::ConnectionSlots)
    }),
    backend("nbsrv", "Usable servers of a backend", |e, a| of_backend(e, a, Count::UsableServers)),
    backend("queue", "Sessions that wait in a backend and for its servers", |e, a| of_backend(e, a, Count::Queue)),
    frontend("fe_conn", "Sessions of a frontend", |e, a| of_frontend(e, a, Count::FrontendConnections)),
    frontend("fe_sess_rate", "New sessions of a frontend per second", |e, a| of_frontend(e, a, Count::FrontendSessionRate)),
    server("srv_conn", "Sessions of a server", |e, a| of_server(e, a, Count::ServerConnections)),
    server("srv_conn_free", "Free connections to a server, -1 without limit", |e, a| of_server(e, a, Count::ServerConnectionsFree)),
    server("srv_iweight", "A server's weight as configured", |e, a| of_server(e, a, Count::ServerInitialWeight)),
    server("srv_queue", "Sessions that wait for a server", |e, a| of_server(e, a, Count::ServerQueue)),
    server("srv_sess_rate", "New sessions of a server per second", |e, a| of_server(e, a, Count::ServerSessionRate)),
    server("srv_uweight", "A server's weight as set by the operator", |e, a| of_server(e, a, Count::ServerUserWeight)),
    server("srv_weight", "A server's weight now in force", |e, a| of_server(e, a, Count::ServerWeight)),
    entry("srv_is_up", &[Parameter::Server], SampleType::Boolean, Needs::NOTHING, "Whether a server takes new sessions", |e, a| {
        flag(known(e.facts.count(Count::ServerIsUp(named_server(a)?)))? != 0)
    }),
    table("table_avl", "Free entries of a stick table", |e, a| of_table(e, a, Count::TableFree)),
    table("table_cnt", "Entries of a stick table", |e, a| of_table(e, a, Count::TableUsed)),
];

const fn backend(name: &'static str, summary: &'static str, run: super::Run) -> FetchEntry {
    optional_from(0, entry(name, &[Parameter::Backend], SampleType::Integer, Needs::NOTHING, summary, run))
}

const fn frontend(name: &'static str, summary: &'static str, run: super::Run) -> FetchEntry {
    optional_from(0, entry(name, &[Parameter::Frontend], SampleType::Integer, Needs::NOTHING, summary, run))
}

const fn server(name: &'static str, summary: &'static str, run: super::Run) -> FetchEntry {
    entry(name, &[Parameter::Server], SampleType::Integer, Needs::NOTHING, summary, run)
}

const fn table(name: &'static str, summary: &'static str, run: super::Run) -> FetchEntry {
    optional_from(0, entry(name, &[Parameter::Table], SampleType::Integer, Needs::NOTHING, summary, run))
}

fn of_backend<'a>(evaluation: Evaluation<'a>, arguments: &[Argument], count: fn(BackendId) -> Count) -> Outcome<'a> {
    let id = match argument(arguments, 0) {
        Argument::Backend(id) => *id,
        _ => known(evaluation.facts.backend())?,
    };
    number(known(evaluation.facts.count(count(id)))?)
}

fn of_frontend<'a>(evaluation: Evaluation<'a>, arguments: &[Argument], count: fn(FrontendId) -> Count) -> Outcome<'a> {
    let id = match argument(arguments, 0) {
        Argument::Frontend(id) => *id,
        _ => known(evaluation.facts.frontend())?,
    };
    number(known(evaluation.facts.count(count(id)))?)
}

fn of_server<'a>(evaluation: Evaluation<'a>, arguments: &[Argument], count: fn(ServerId) -> Count) -> Outcome<'a> {
    number(known(evaluation.facts.count(count(named_server(arguments)?)))?)
}

fn named_server(arguments: &[Argument]) -> Result<ServerId, Absent> {
    match argument(arguments, 0) {
        Argument::Server(id) => Ok(*id),
        _ => Err(Absent::Missing),
    }
}

fn of_table<'a>(evaluation: Evaluation<'a>, arguments: &[Argument], count: fn(TableId) -> Count) -> Outcome<'a> {
    let Argument::Table(id) = argument(arguments, 0) else { return Err(Absent::Missing) };
    number(known(evaluation.facts.count(count(*id)))?)
}
