//! What an evaluation may ask: the session, its bytes, the process, the tables.
//!
//! The engine answers for sessions, tests answer from literals. Every answer is at hand: what another shard owns is asked for beforehand,
//! by the caller of `evaluate` that was told [`super::Absent::Table`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringmain_model::table::{DataType, KeyType, Table};
use ringmain_model::{BackendId, FrontendId, ServerId, TableId, Variable};

use super::sample::Value;
use crate::table::Key;

/// Bytes received in one direction and not forwarded yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes<'a> {
    /// The bytes, from the first of the connection on.
    pub data: &'a [u8],
    /// Nothing will come after them: the sender has finished, or there is no room.
    pub complete: bool,
}

/// Numbers about the process, frontends, backends and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Sessions of the process (`act_conn`).
    ProcessConnections,
    /// Shards (`nbthread`, 1 for `nbproc`).
    Shards,
    /// Index of this shard, from 0 (`thread`).
    Shard,
    /// Sessions of a frontend.
    FrontendConnections(FrontendId),
    /// New sessions per second of a frontend.
    FrontendSessionRate(FrontendId),
    /// Sessions of a backend.
    BackendConnections(BackendId),
    /// Free slots on usable servers of a backend; -1 when there is no limit.
    BackendConnectionsFree(BackendId),
    /// New sessions per second of a backend.
    BackendSessionRate(BackendId),
    /// Free slots and places in queues of a backend.
    ConnectionSlots(BackendId),
    /// Sessions waiting in a backend and its servers.
    Queue(BackendId),
    /// The same, divided by usable servers, rounded up.
    AverageQueue(BackendId),
    /// Usable servers of a backend.
    UsableServers(BackendId),
    /// Sessions of a server.
    ServerConnections(ServerId),
    /// Free slots of a server; -1 when there is no limit.
    ServerConnectionsFree(ServerId),
    /// 1 when a server takes new sessions.
    ServerIsUp(ServerId),
    /// Sessions waiting for a server.
    ServerQueue(ServerId),
    /// New sessions per second of a server.
    ServerSessionRate(ServerId),
    /// Weight now in force.
    ServerWeight(ServerId),
    /// Weight as configured.
    ServerInitialWeight(ServerId),
    /// Weight as set by the operator, without slow start.
    ServerUserWeight(ServerId),
    /// Entries of a table.
    TableUsed(TableId),
    /// Free entries of a table.
    TableFree(TableId),
}

/// What of a table is asked about.
#[derive(Clone, Debug, PartialEq)]
pub enum TableSubject {
    /// The entry tracked by one of the session's counters; with a table, that counter's key in that table.
    Tracked(u8, Option<TableId>),
    /// The entry with this key.
    Key(TableId, Key),
}

/// A question to a table, or an order that answers with the new value.
#[derive(Clone, Debug, PartialEq)]
pub enum TableQuery {
    /// Whether there is an entry.
    Exists(TableSubject),
    /// A cell; rates as of now. `None` when there is no such entry: whether the column is there was looked up before, in
    /// [`Facts::table_definition`].
    Read(TableSubject, DataType, u8),
    /// Adds to a cell, making the entry when it is missing, and answers the new value. A general purpose counter counts in its rate too,
    /// and answers with the rate where only that is stored.
    Add(TableSubject, DataType, u8, u32),
    /// Sets a cell to zero, making the entry when it is missing, and answers what it was.
    Clear(TableSubject, DataType, u8),
    /// The idle time of the entry: milliseconds since it was last touched (`table_idle`, `sc_...`).
    Idle(TableSubject),
    /// Milliseconds until the entry expires (`table_expire`).
    Expire(TableSubject),
    /// Sessions that track the entry (`sc_trackers`, `table_trackers`).
    Trackers(TableSubject),
    /// The name of the stored server (`table_server_id` asks `Read`).
    ServerKey(TableSubject),
}

/// Names of backends and servers, for fetches that give names.
pub trait Backends {
    /// Name of a backend.
    fn backend_name(&self, id: BackendId) -> &str;
    /// Name of a server.
    fn server_name(&self, id: ServerId) -> &str;
    /// Name of a frontend.
    fn frontend_name(&self, id: FrontendId) -> &str;
}

/// Everything an evaluation may ask. Methods with a default do not exist everywhere: a health check has no client.
pub trait Facts {
    /// Milliseconds on the monotonic clock.
    fn now_ms(&self) -> u64;
    /// Microseconds since 1970.
    fn wall_us(&self) -> u64;
    /// Seconds that local time is ahead of UTC at this second since 1970, and the name of the zone then.
    fn local_zone(&self, _seconds: i64) -> (i32, &str) {
        (0, "UTC")
    }
    /// A random number.
    fn random(&self) -> u64;
    /// The host's name.
    fn hostname(&self) -> &str;
    /// The process id.
    fn process_id(&self) -> u32;
    /// A number about the process.
    fn count(&self, count: Count) -> Option<i64>;
    /// Names by id.
    fn names(&self) -> &dyn Backends;
    /// HAProxy's number of a frontend (`fe_id`), backend (`be_id`) or server (`srv_id`).
    fn frontend_number(&self, id: FrontendId) -> u32;
    /// HAProxy's number of a backend.
    fn backend_number(&self, id: BackendId) -> u32;
    /// HAProxy's number of a server.
    fn server_number(&self, id: ServerId) -> u32;

    /// The client's address; `None` on unix sockets.
    fn client(&self) -> Option<SocketAddr> {
        None
    }
    /// The client's address before rules changed it (`fc_src`).
    fn original_client(&self) -> Option<SocketAddr> {
        self.client()
    }
    /// The address that the client connected to before rules changed it (`fc_dst`).
    fn original_local(&self) -> Option<SocketAddr> {
        self.local()
    }
    /// Whether this host has an address (`src_is_local`); `None` when that is not known.
    fn is_own_address(&self, _address: IpAddr) -> Option<bool> {
        None
    }
    /// The address that the client connected to; `None` on unix sockets.
    fn local(&self) -> Option<SocketAddr> {
        None
    }
    /// Our address towards the server (`bc_src`).
    fn server_side_local(&self) -> Option<SocketAddr> {
        None
    }
    /// The server's address (`bc_dst`).
    fn server_side_remote(&self) -> Option<SocketAddr> {
        None
    }
    /// The bind's number (`so_id`) and name (`so_name`).
    fn bind(&self) -> Option<(u32, Option<&str>)> {
        None
    }
    /// Sessions that came in by the same bind (`dst_conn`), this one among them.
    fn bind_connections(&self) -> Option<i64> {
        None
    }
    /// Whether the client began with a PROXY protocol header (`fc_rcvd_proxy`).
    fn received_proxy_header(&self) -> Option<bool> {
        None
    }
    /// The process is about to end (`stopping`).
    fn stopping(&self) -> bool {
        false
    }
    /// A timeout in milliseconds; `None` when it does not exist here.
    fn timeout_ms(&self, _timeout: Timeout) -> Option<u64> {
        None
    }
    /// File and line of the last rule that ended a set of content rules (`last_rule_file`, `last_rule_line`).
    fn last_rule(&self) -> Option<(&str, u32)> {
        None
    }
    /// The frontend's `default_backend` (`fe_defbe`).
    fn default_backend(&self) -> Option<BackendId> {
        None
    }
    /// The frontend.
    fn frontend(&self) -> Option<FrontendId> {
        None
    }
    /// The backend, once chosen.
    fn backend(&self) -> Option<BackendId> {
        None
    }
    /// The server, once chosen.
    fn server(&self) -> Option<ServerId> {
        None
    }
    /// What the client has sent; `None` where nothing is kept.
    fn request(&self) -> Option<Bytes<'_>> {
        None
    }
    /// What the server has sent; `None` where nothing is kept.
    fn response(&self) -> Option<Bytes<'_>> {
        None
    }
    /// Most bytes of each direction that are kept to be looked at (`tune.bufsize`): what lies beyond will never be there.
    fn inspected_bytes_max(&self) -> usize {
        16_384
    }
    /// Bytes from the client so far (`bytes_in`), and to it (`bytes_out`).
    fn transferred(&self) -> (u64, u64) {
        (0, 0)
    }
    /// A variable's value.
    fn variable(&self, variable: Variable) -> Option<Value<'_>>;
    /// What a table's keys and columns are.
    fn table_definition(&self, _table: TableId) -> Option<&Table> {
        None
    }
    /// The table of the entry that one of the session's counters tracks, 0 to 2; `None` while it tracks none.
    fn tracked(&self, _counter: u8) -> Option<TableId> {
        None
    }
    /// Answers a table query: `None` when the answer must be fetched first.
    fn table(&self, query: &TableQuery) -> Option<Option<i64>>;
    /// The name in a `ServerKey` answer: `None` when it must be fetched first.
    fn table_text(&self, query: &TableQuery) -> Option<Option<Arc<str>>>;
    /// What the keys of a table are.
    fn table_key_type(&self, id: TableId) -> KeyType;
    /// Termination state, for log lines.
    fn termination(&self) -> Option<[u8; 2]> {
        None
    }
    /// Microseconds from accept until now, or the end.
    fn age_us(&self) -> u64 {
        0
    }
    /// Kernel facts of the client's connection (TCP_INFO): `fc_rtt` and others, by name.
    fn client_tcp_info(&self, _field: TcpField) -> Option<i64> {
        None
    }
}

/// Fields of TCP_INFO that fetches give (`fc_rtt`, `fc_rttvar`, `fc_unacked`, `fc_sacked`, `fc_retrans`, `fc_fackets`, `fc_lost`,
/// `fc_reordering`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TcpField {
    RttUs,
    RttVarianceUs,
    Unacked,
    Sacked,
    Retransmissions,
    ForwardAcked,
    Lost,
    Reordering,
}

/// Timeouts that fetches give, in milliseconds; 0 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// `timeout client` of the frontend (`fe_client_timeout`).
    Client,
    /// `timeout server` of the backend (`be_server_timeout`).
    Server,
    /// `timeout tunnel` of the backend (`be_tunnel_timeout`).
    Tunnel,
    /// `timeout server` as this session has it (`cur_server_timeout`).
    CurrentServer,
    /// `timeout tunnel` as this session has it (`cur_tunnel_timeout`).
    CurrentTunnel,
}
