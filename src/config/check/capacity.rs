//! Limits that follow from others: maxconn from descriptors, fullconn from maxconn, shards from CPUs.

use ringmain_model::{BackendId, Global, Milliseconds};

use super::backend::Directory;
use super::builder::{GlobalBuilder, ProxyBuilder};
use super::context::Context;
use super::frontend::Route;
use super::sections::Gathered;
use crate::config::environment::Environment;

/// Descriptors assumed when the system sets no limit, and the most that `maxconn` is derived from (HAProxy's DEFAULT_MAXFD).
const DESCRIPTORS_CEILING: u64 = 1 << 20;
/// Descriptors of the process itself: standard streams, log targets, files read by a reload, some room.
const PROCESS_DESCRIPTORS: u64 = 100;
/// Descriptors of one shard: its ring, its executor's rings, doorbells, pipes that are kept ready.
const SHARD_DESCRIPTORS: u64 = 64;
/// Descriptors of a listener on one shard: the socket, and the one by which its options are set.
const LISTENER_DESCRIPTORS: u64 = 2;
const STATS_TIMEOUT: Milliseconds = Milliseconds(10_000);
const STATS_MAXCONN: u32 = 10;

/// The process's limits.
pub struct Limits {
    /// Connections at once.
    pub maxconn: u32,
    /// Number of shards.
    pub shards: u16,
}

/// Resolves what `global` left open.
pub fn limits(gathered: &Gathered, context: &Context<'_>) -> Limits {
    let global = &gathered.global;
    let highest = super::super::haproxy::keywords::SHARDS_LIMIT;
    let shards = global.shards.unwrap_or(context.cpu_count).clamp(1, highest);
    let maxconn = global.maxconn.filter(|number| *number > 0).unwrap_or_else(|| derived_maxconn(gathered, shards, context));
    Limits { maxconn, shards }
}

/// Two descriptors for each connection, after those that everything else needs.
fn derived_maxconn(gathered: &Gathered, shards: u16, context: &Context<'_>) -> u32 {
    let global = &gathered.global;
    let asked = global.ulimit_n.unwrap_or(context.descriptor_limit);
    let descriptors = asked.min(global.descriptor_limit.unwrap_or(DESCRIPTORS_CEILING)).min(DESCRIPTORS_CEILING);
    let active = || gathered.proxies.iter().filter(|proxy| !proxy.disabled);
    let listeners: u64 =
        active().filter(|proxy| proxy.is_front()).flat_map(|proxy| &proxy.binds).map(|bind| bind.endpoints.len() as u64).sum();
    let checks = active().flat_map(|proxy| &proxy.servers).filter(|server| server.check.is_some()).count() as u64;
    let runtime = u64::from(global.stats_maxconn.unwrap_or(STATS_MAXCONN)) + global.stats_sockets.len() as u64;
    let reserved = own_descriptors(u64::from(shards), listeners, checks, runtime);
    (descriptors.saturating_sub(reserved) / 2).max(1) as u32
}

/// Descriptors beside those of connections: `listeners` addresses on `shards` shards, `checks` at once, `runtime` sockets and clients.
pub fn own_descriptors(shards: u64, listeners: u64, checks: u64, runtime: u64) -> u64 {
    PROCESS_DESCRIPTORS + shards * (SHARD_DESCRIPTORS + listeners * LISTENER_DESCRIPTORS) + checks + runtime
}

/// `fullconn` of every backend: as given, else 10 % of the maxconn of all frontends that may use it, begun ones included, at least 1.
pub fn fullconns(proxies: &[ProxyBuilder], directory: &Directory, routes: &[Route], limits: &Limits) -> Vec<u32> {
    let mut totals = vec![0_u64; directory.len()];
    for (position, proxy) in proxies.iter().enumerate().filter(|(_, proxy)| proxy.is_front()) {
        let mut reached: Vec<BackendId> = routes.get(position).map(|route| route.reachable.clone()).unwrap_or_default();
        reached.extend(directory.at_position(position));
        reached.sort_unstable();
        reached.dedup();
        for id in reached {
            if let Some(total) = totals.get_mut(id.index()) {
                *total += u64::from(frontend_maxconn(proxy, limits));
            }
        }
    }
    let given = directory.backends(proxies).map(|(_, proxy)| proxy.fullconn);
    let default = |total: u64| u32::try_from(total.div_ceil(10)).unwrap_or(u32::MAX).max(1);
    given.zip(totals).map(|(given, total)| if given > 0 { given } else { default(total) }).collect()
}

/// A listening half's maxconn: as given, else the process's.
pub fn frontend_maxconn(proxy: &ProxyBuilder, limits: &Limits) -> u32 {
    if proxy.maxconn > 0 { proxy.maxconn } else { limits.maxconn }
}

/// The model of the `global` sections.
pub fn global(global: &GlobalBuilder, limits: &Limits, environment: &Environment) -> Global {
    Global {
        maxconn: limits.maxconn,
        shards: limits.shards,
        shard_cpus: shard_cpus(global, limits.shards),
        daemon: global.daemon,
        strict_limits: global.strict_limits,
        keeps_memory: global.keeps_memory,
        pidfile: global.pidfile.clone(),
        log_targets: global.log_targets.clone(),
        log_tag: global.log_tag.clone(),
        log_hostname: global.log_hostname.clone(),
        node: global.node.clone(),
        description: global.description.clone(),
        uid: global.uid,
        gid: global.gid,
        chroot: global.chroot.clone(),
        ulimit_n: global.ulimit_n,
        hard_stop_after: global.hard_stop_after,
        grace: global.grace,
        environment: environment.changes(),
        stats_sockets: global.stats_sockets.clone(),
        stats_timeout: global.stats_timeout.unwrap_or(STATS_TIMEOUT),
        stats_maxconn: global.stats_maxconn.unwrap_or(STATS_MAXCONN),
        tuning: global.tuning,
        state_file: global.state_file.clone(),
        variables: Vec::new(),
    }
}

/// The CPU of each shard. Shards that may use several CPUs share them out in turn; the last line about a shard counts.
fn shard_cpus(global: &GlobalBuilder, shards: u16) -> Vec<Option<u16>> {
    let mut cpus = vec![None; shards.into()];
    for (shard, allowed) in &global.cpu_map {
        if let Some(slot) = cpus.get_mut(usize::from(*shard))
            && !allowed.is_empty()
        {
            *slot = allowed.get(usize::from(*shard) % allowed.len()).copied();
        }
    }
    cpus
}
