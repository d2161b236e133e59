//! Rows from live counters and the control thread's view, with the values and the gaps that HAProxy has for a tcp proxy.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;
use ringmain_engine::live::{Counter, FrontendCounters, ServerLive, ServiceCounters};
use ringmain_model::{Backend, BackendId, Balance, Bind, BindId, Check, Endpoint, FrontendId, Mode, ServerHost, ServerId, ServerPort};
use ringmain_policy::rate::SharedRate;

use super::averages::MeanTimes;
use super::column::{COLUMNS, Column};
use super::status;
use super::{Averages, ObjectKind, Row};
use crate::control::fleet::{CheckStatus, Fleet, Operational, ServerState};

/// Which rows a command wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Proxy id; `None` is all.
    pub proxy: Option<u32>,
    /// Kinds of objects as HAProxy's bits: 1 frontends, 2 backends, 4 servers, 8 listeners.
    pub kinds: u32,
    /// Server or listener id; `None` is all. Frontends and backends are not selected by it.
    pub object: Option<u32>,
    /// Leave out servers in maintenance (`no-maint`).
    pub hide_maintenance: bool,
    /// Leave out servers that are down (`up`).
    pub hide_down: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self { proxy: None, kinds: u32::MAX, object: None, hide_maintenance: false, hide_down: false }
    }
}

impl Selection {
    /// Whether objects of this kind are wanted.
    pub fn wants(&self, kind: ObjectKind) -> bool {
        let bit = match kind {
            ObjectKind::Frontend => 1,
            ObjectKind::Backend => 2,
            ObjectKind::Server => 4,
            ObjectKind::Listener => 8,
        };
        self.kinds & bit != 0
    }

    /// Whether this server or listener is wanted.
    pub fn wants_object(&self, kind: ObjectKind, id: u32) -> bool {
        self.wants(kind) && self.object.is_none_or(|wanted| wanted == id)
    }
}

/// One object that has a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A frontend.
    Frontend(FrontendId),
    /// One of its binds.
    Listener(FrontendId, BindId),
    /// A server.
    Server(ServerId),
    /// A backend.
    Backend(BackendId),
}

/// Builds rows from one moment's state.
#[derive(Clone, Copy)]
pub struct Collector<'a> {
    /// The control thread's view, with its generation and its time.
    pub fleet: &'a Fleet,
    /// Mean times.
    pub averages: &'a Averages,
    /// Show addresses and algorithms, which level `user` may not see.
    pub show_legends: bool,
}

impl Collector<'_> {
    /// The objects that a selection wants, in HAProxy's order: proxy by proxy its frontend, its listeners, its servers, its backend.
    pub fn objects(&self, selection: &Selection) -> Vec<Object> {
        let model = self.fleet.model();
        let mut objects = Vec::new();
        for (frontend, backend) in proxies(self.fleet) {
            let id = frontend.map(|id| model.frontend(id).proxy_id).or(backend.map(|id| model.backend(id).proxy_id));
            if selection.proxy.is_some() && selection.proxy != id {
                continue;
            }
            if let Some(id) = frontend.filter(|&id| !model.frontend(id).disabled) {
                self.frontend_objects(id, selection, &mut objects);
            }
            if let Some(id) = backend.filter(|&id| !model.backend(id).disabled) {
                self.backend_objects(id, selection, &mut objects);
            }
        }
        objects
    }

    fn frontend_objects(&self, id: FrontendId, selection: &Selection, objects: &mut Vec<Object>) {
        let frontend = self.fleet.model().frontend(id);
        if selection.wants(ObjectKind::Frontend) {
            objects.push(Object::Frontend(id));
        }
        if frontend.options.socket_stats {
            let binds = frontend.binds.iter().enumerate();
            let wanted = binds.filter(|(_, bind)| selection.wants_object(ObjectKind::Listener, bind.id));
            objects.extend(wanted.map(|(place, _)| Object::Listener(id, BindId::new(place))));
        }
    }

    fn backend_objects(&self, id: BackendId, selection: &Selection, objects: &mut Vec<Object>) {
        for (server, settings) in self.fleet.model().servers_of(id) {
            let state = self.fleet.server(server);
            let in_maintenance = state.admin.any(crate::control::fleet::Admin::MAINTENANCE);
            let hidden = selection.hide_maintenance && in_maintenance || selection.hide_down && !state.up();
            if !hidden && selection.wants_object(ObjectKind::Server, settings.id) {
                objects.push(Object::Server(server));
            }
        }
        if selection.wants(ObjectKind::Backend) {
            objects.push(Object::Backend(id));
        }
    }

    /// The row of an object; `None` when it is not in the current generation.
    pub fn row(&self, object: Object, selection: &Selection) -> Option<Row> {
        let generation = self.fleet.generation();
        match object {
            Object::Frontend(id) => generation.frontends.get(id.index()).map(|_| self.frontend(id)),
            Object::Listener(frontend, bind) => self.listener(frontend, bind),
            Object::Server(id) => generation.servers.get(id.index()).map(|_| self.server(id)),
            Object::Backend(id) => {
                let counted = selection.hide_maintenance || selection.hide_down;
                generation.backends.get(id.index()).map(|_| self.backend(id, counted))
            }
        }
    }

    fn frontend(&self, id: FrontendId) -> Row {
        let (settings, state) = (self.fleet.model().frontend(id), self.fleet.frontend(id));
        let live = self.fleet.generation().frontend(id);
        let now_ms = self.fleet.now_ms();
        let mut row = Row::new(ObjectKind::Frontend, &settings.name, settings.proxy_id, "FRONTEND", 0);
        row.set(Column::SCur, live.sessions.inside());
        row.set(Column::SMax, live.sessions.peak.get());
        row.set(Column::SLim, state.maxconn.unwrap_or(settings.maxconn));
        incoming(&mut row, live.counters.iter().map(|counters| &**counters));
        row.set(Column::Status, status::frontend(state, live));
        let (rate, peak) = (live.session_rate.read(now_ms), live.session_rate.peak());
        row.set(Column::Rate, rate);
        row.set(Column::RateLim, settings.rate_limit_sessions);
        row.set(Column::RateMax, peak);
        // In tcp mode each accepted connection is a session.
        row.set(Column::ConnRate, rate);
        row.set(Column::ConnRateMax, peak);
        row.set(Column::ConnTot, sum(live.counters.iter(), |counters| &counters.connections));
        for column in [Column::ReqRate, Column::ReqRateMax] {
            row.set(column, 0u32);
        }
        for column in [Column::ReqTot, Column::CompIn, Column::CompOut, Column::CompByp, Column::CompRsp] {
            row.set(column, 0u64);
        }
        row.set(Column::Mode, mode(settings.mode));
        module_columns(&mut row, COLUMNS.len());
        row
    }

    fn listener(&self, frontend: FrontendId, bind: BindId) -> Option<Row> {
        let generation = self.fleet.generation();
        let proxy = self.fleet.model().frontends.get(frontend.index())?;
        let settings = proxy.binds.get(bind.index())?;
        let live = generation.binds.get(frontend.index())?.get(bind.index())?;
        let name = settings.name.as_ref().map_or_else(|| format!("sock-{}", settings.id), |name| name.to_string());
        let mut row = Row::new(ObjectKind::Listener, &proxy.name, proxy.proxy_id, &name, settings.id);
        row.set(Column::SCur, live.sessions.inside());
        row.set(Column::SMax, live.sessions.peak.get());
        row.set(Column::SLim, live.sessions.limit());
        incoming(&mut row, live.counters.iter().map(|counters| &**counters));
        row.set(Column::Status, status::listener(live));
        if self.show_legends {
            row.set(Column::Addr, bind_address(settings));
        }
        row.set(Column::Mode, mode(proxy.mode));
        module_columns(&mut row, Column::SslFailedHandshake as usize + 1);
        Some(row)
    }

    fn server(&self, id: ServerId) -> Row {
        let model = self.fleet.model();
        let (settings, state) = (model.server(id), self.fleet.server(id));
        let live = self.fleet.generation().server(id);
        let backend = model.backend(settings.backend);
        let mut row = Row::new(ObjectKind::Server, &backend.name, backend.proxy_id, &settings.name, settings.id);
        self.server_load(&mut row, live);
        if state.maxconn > 0 {
            row.set(Column::SLim, state.maxconn);
        }
        if settings.maxqueue > 0 {
            row.set(Column::QLimit, settings.maxqueue);
        }
        row.set(Column::Status, self.fleet.status_text(id));
        row.set(Column::Weight, state.shown_weight());
        row.set(Column::UWeight, u32::from(state.user_weight));
        row.set(Column::Act, u32::from(!settings.backup));
        row.set(Column::Bck, u32::from(settings.backup));
        let now_ms = self.fleet.now_ms();
        row.set(Column::LastChg, seconds_since(now_ms, state.last_change_ms));
        if let (Operational::Starting, Some(slowstart)) = (state.operational, settings.slowstart) {
            let elapsed_ms = now_ms.saturating_sub(state.last_change_ms);
            let percent = elapsed_ms.saturating_mul(100) / slowstart.get().max(1);
            row.set(Column::Throttle, saturate(percent.clamp(1, 100)));
        }
        if let Some(tracked) = settings.track {
            row.set(Column::Tracked, status::server_path(model, tracked));
        }
        if let Some(check) = &settings.check {
            check_columns(&mut row, check, state, now_ms);
        }
        if self.show_legends {
            row.set(Column::Addr, server_address(state));
        }
        times(&mut row, self.averages.server(live), &maxima(&live.counters));
        row.set(Column::Mode, mode(backend.mode));
        module_columns(&mut row, Column::SslFailedHandshake as usize + 1);
        row
    }

    fn server_load(&self, row: &mut Row, live: &ServerLive) {
        let now_ms = self.fleet.now_ms();
        service_counts(row, &live.counters, &live.session_rate, now_ms);
        row.set(Column::QCur, live.queue.len());
        row.set(Column::QMax, live.queue.peak.get());
        row.set(Column::SCur, live.active.load(Ordering::Relaxed));
        row.set(Column::SMax, live.active_peak.get());
        row.set(Column::DResp, sum(live.counters.iter().map(|counters| &**counters), |counters| &counters.denied_responses));
        row.set(Column::Connect, connects(&live.counters));
        for column in [Column::WRew, Column::Reuse, Column::EInt] {
            row.set(column, 0u64);
        }
        // HAProxy counts only connections that could be used again, which are none in tcp mode.
        let idle = [Column::SrvICur, Column::IdleConnCur, Column::SafeConnCur, Column::UsedConnCur, Column::NeedConnEst];
        idle.into_iter().for_each(|column| row.set(column, 0u32));
    }

    fn backend(&self, id: BackendId, counted: bool) -> Row {
        let (settings, state) = (self.fleet.model().backend(id), self.fleet.backend(id));
        let mut row = Row::new(ObjectKind::Backend, &settings.name, settings.proxy_id, "BACKEND", 0);
        self.backend_load(&mut row, id);
        row.set(Column::SLim, settings.fullconn);
        row.set(Column::Status, status::backend(self.fleet, state, settings.servers.clone(), counted));
        let (mut effective, mut given) = (0, 0);
        for server in self.servers_in_use(id) {
            effective += server.effective_weight();
            given += u32::from(server.user_weight);
        }
        row.set(Column::Weight, effective.div_ceil(crate::control::fleet::WEIGHT_SCALE));
        row.set(Column::UWeight, given);
        row.set(Column::Act, state.active_servers);
        row.set(Column::Bck, state.backup_servers);
        row.set(Column::ChkDown, state.down_transitions);
        let now_ms = self.fleet.now_ms();
        row.set(Column::LastChg, seconds_since(now_ms, state.last_change_ms));
        if !settings.servers.is_empty() {
            row.set(Column::DownTime, saturate(state.downtime_until(now_ms) / 1000));
        }
        if self.show_legends {
            row.set(Column::Algo, algorithm(settings));
        }
        row.set(Column::Mode, mode(settings.mode));
        for column in [Column::AggServerStatus, Column::AggServerCheckStatus, Column::AggCheckStatus] {
            row.set(column, 0u32);
        }
        module_columns(&mut row, COLUMNS.len());
        row
    }

    fn backend_load(&self, row: &mut Row, id: BackendId) {
        let live = self.fleet.generation().backend(id);
        let now_ms = self.fleet.now_ms();
        service_counts(row, &live.counters, &live.session_rate, now_ms);
        row.set(Column::QCur, live.queue.len());
        row.set(Column::QMax, live.queue.peak.get());
        row.set(Column::SCur, live.sessions.inside());
        row.set(Column::SMax, live.sessions.peak.get());
        let of_servers = self.fleet.model().servers_of(id).map(|(server, _)| connects(&self.fleet.generation().server(server).counters));
        // Attempts are counted at the servers; what the backend itself counted comes from servers that have left.
        row.set(Column::Connect, of_servers.sum::<u64>().max(connects(&live.counters)));
        let total = |field: fn(&ServiceCounters) -> &Counter| sum(live.counters.iter().map(|counters| &**counters), field);
        row.set(Column::DReq, total(|counters| &counters.denied_requests));
        row.set(Column::DResp, total(|counters| &counters.denied_responses));
        let zeros = [Column::WRew, Column::Reuse, Column::EInt];
        let compression = [Column::CompIn, Column::CompOut, Column::CompByp, Column::CompRsp];
        zeros.into_iter().chain(compression).for_each(|column| row.set(column, 0u64));
        times(row, self.averages.backend(live), &maxima(&live.counters));
    }

    /// The servers that a backend's weight is the sum of: the usable ones, or when there is none the usable backup servers, of which only
    /// the first counts without `option allbackups`.
    fn servers_in_use(&self, id: BackendId) -> Vec<&ServerState> {
        let model = self.fleet.model();
        let of_kind = |backup: bool| {
            let servers = model.servers_of(id).filter(move |(_, settings)| settings.backup == backup);
            servers.map(|(server, _)| self.fleet.server(server)).filter(|state| state.usable()).collect::<Vec<_>>()
        };
        let mut servers = of_kind(false);
        if servers.is_empty() {
            servers = of_kind(true);
            servers.truncate(if model.backend(id).options.all_backups { usize::MAX } else { 1 });
        }
        servers
    }
}

/// Frontends and backends in file order as far as their numbers tell, the two halves of a `listen` together.
fn proxies(fleet: &Fleet) -> Vec<(Option<FrontendId>, Option<BackendId>)> {
    let model = fleet.model();
    let mut found: BTreeMap<u32, (Option<FrontendId>, Option<BackendId>)> = BTreeMap::new();
    for (place, frontend) in model.frontends.iter().enumerate() {
        found.entry(frontend.proxy_id).or_default().0 = Some(FrontendId::new(place));
    }
    for (place, backend) in model.backends.iter().enumerate() {
        found.entry(backend.proxy_id).or_default().1 = Some(BackendId::new(place));
    }
    found.into_values().collect()
}

/// The columns that frontends and listeners share.
fn incoming<'a>(row: &mut Row, counters: impl Iterator<Item = &'a FrontendCounters> + Clone) {
    let total = |field: fn(&FrontendCounters) -> &Counter| counters.clone().map(|counters| field(counters).get()).sum::<u64>();
    row.set(Column::STot, total(|counters| &counters.sessions));
    row.set(Column::BIn, total(|counters| &counters.bytes_in));
    row.set(Column::BOut, total(|counters| &counters.bytes_out));
    row.set(Column::DReq, total(|counters| &counters.denied_requests));
    row.set(Column::DResp, total(|counters| &counters.denied_responses));
    row.set(Column::DCon, total(|counters| &counters.denied_connections));
    row.set(Column::DSes, total(|counters| &counters.denied_sessions));
    row.set(Column::EReq, total(|counters| &counters.request_errors));
    for column in [Column::WRew, Column::EInt] {
        row.set(column, 0u64);
    }
}

/// What servers and backends count alike.
fn service_counts(row: &mut Row, counters: &[CachePadded<ServiceCounters>], rate: &SharedRate, now_ms: u64) {
    let total = |field: fn(&ServiceCounters) -> &Counter| sum(counters.iter().map(|counters| &**counters), field);
    row.set(Column::STot, total(|counters| &counters.sessions));
    row.set(Column::BIn, total(|counters| &counters.bytes_in));
    row.set(Column::BOut, total(|counters| &counters.bytes_out));
    row.set(Column::ECon, total(|counters| &counters.connect_errors));
    row.set(Column::EResp, total(|counters| &counters.response_errors));
    row.set(Column::WRetr, total(|counters| &counters.retries));
    row.set(Column::WRedis, total(|counters| &counters.redispatches));
    row.set(Column::LbTot, total(|counters| &counters.selected));
    row.set(Column::CliAbrt, total(|counters| &counters.client_aborts));
    row.set(Column::SrvAbrt, total(|counters| &counters.server_aborts));
    row.set(Column::Rate, rate.read(now_ms));
    row.set(Column::RateMax, rate.peak());
    let last = counters.iter().map(|counters| counters.last_session_ms.get()).max();
    row.set(Column::LastSess, last_session(now_ms, last));
}

/// Attempts to connect.
fn connects(counters: &[CachePadded<ServiceCounters>]) -> u64 {
    sum(counters.iter().map(|counters| &**counters), |counters| &counters.connects)
}

fn sum<'a, T: 'a>(counters: impl Iterator<Item = &'a T>, field: fn(&T) -> &Counter) -> u64 {
    counters.map(|counters| field(counters).get()).sum()
}

/// HAProxy's columns of TLS, HTTP/2 and HTTP/1, all 0 in tcp mode without TLS; `end` is the first that this kind of object does not have.
fn module_columns(row: &mut Row, end: usize) {
    const FIRST: usize = Column::SslSess as usize;
    row.zero(FIRST..end);
}

fn check_columns(row: &mut Row, check: &Check, state: &ServerState, now_ms: u64) {
    if !state.check.enabled {
        return;
    }
    row.set(Column::ChkFail, state.check.failures);
    row.set(Column::ChkDown, state.down_transitions);
    row.set(Column::DownTime, saturate(state.downtime_until(now_ms) / 1000));
    if state.check.paused {
        return;
    }
    let ended = !matches!(state.check.status, CheckStatus::Unknown | CheckStatus::Initializing);
    let running = if state.check.in_progress && ended { "* " } else { "" };
    row.set(Column::CheckStatus, format!("{running}{}", state.check.status.code()));
    if let Some(code) = state.check.code {
        row.set(Column::CheckCode, u32::from(code));
    }
    if let Some(duration_ms) = state.check.duration_ms {
        row.set(Column::CheckDuration, duration_ms);
    }
    row.set(Column::LastChk, state.check.info.as_str());
    row.set(Column::CheckDesc, state.check.status.description());
    row.set(Column::CheckRise, check.rise);
    row.set(Column::CheckFall, check.fall);
    row.set(Column::CheckHealth, state.check.health);
}

fn times(row: &mut Row, mean: MeanTimes, maxima: &[u64; 3]) {
    let [queue, connect, total] = *maxima;
    row.set(Column::QTime, mean.queue_ms as u32);
    row.set(Column::CTime, mean.connect_ms as u32);
    row.set(Column::RTime, 0u32);
    row.set(Column::TTime, mean.total_ms as u32);
    row.set(Column::QTimeMax, saturate(queue));
    row.set(Column::CTimeMax, saturate(connect));
    row.set(Column::RTimeMax, 0u32);
    row.set(Column::TTimeMax, saturate(total));
}

fn maxima(counters: &[CachePadded<ServiceCounters>]) -> [u64; 3] {
    counters.iter().map(|counters| counters.maxima().map(Counter::get)).fold([0; 3], larger)
}

fn larger(left: [u64; 3], right: [u64; 3]) -> [u64; 3] {
    let ([a, b, c], [d, e, f]) = (left, right);
    [a.max(d), b.max(e), c.max(f)]
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Tcp => "tcp",
    }
}

fn algorithm(backend: &Backend) -> &'static str {
    match backend.balance {
        Balance::RoundRobin => "roundrobin",
        Balance::StaticRoundRobin => "static-rr",
        Balance::LeastConnections => "leastconn",
        Balance::First => "first",
        Balance::Source => "source",
        Balance::Hash => "hash",
        Balance::Random { .. } => "random",
    }
}

/// The address of a bind as statistics show it.
fn bind_address(bind: &Bind) -> String {
    match &bind.endpoint {
        Endpoint::Inet(address) => address.to_string(),
        Endpoint::Unix(_) | Endpoint::Abstract(_) => "unix".to_string(),
        Endpoint::Descriptor(number) => format!("fd@{number}"),
    }
}

/// The address of a server as statistics show it: a port that depends on the client is shown as 0, or as its offset.
fn server_address(state: &ServerState) -> String {
    match &state.host {
        ServerHost::Ip(ip) => std::net::SocketAddr::new(*ip, shown_port(state.port)).to_string(),
        ServerHost::Unix(_) | ServerHost::Abstract(_) => "unix".to_string(),
        ServerHost::Unresolved => String::new(),
    }
}

/// The port number that stands for a port rule.
pub(crate) fn shown_port(port: ServerPort) -> u16 {
    match port {
        ServerPort::Fixed(port) => port,
        ServerPort::Client => 0,
        // HAProxy keeps the offset in the port's 16 bits.
        ServerPort::Offset(offset) => offset as u16,
    }
}

fn seconds_since(now_ms: u64, then_ms: u64) -> u32 {
    saturate(now_ms.saturating_sub(then_ms) / 1000)
}

fn last_session(now_ms: u64, last_ms: Option<u64>) -> i32 {
    match last_ms {
        None | Some(0) => -1,
        Some(last_ms) => i32::try_from(now_ms.saturating_sub(last_ms) / 1000).unwrap_or(i32::MAX),
    }
}

fn saturate(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
