//! Limits of the system: open files and locked memory, raised to what the configuration needs before anything is opened.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringmain_model::Model;

use crate::config::check::own_descriptors;

/// Locked memory that one shard's executor and rings register at most, bytes; kernels before 5.12 count it against the limit.
const LOCKED_MEMORY_OF_A_SHARD: u64 = 1 << 20;

/// Descriptors that the configuration needs: both sides of every session, listeners of each shard, checks, and the process's own.
pub fn descriptors_needed(model: &Model) -> u64 {
    let global = &model.global;
    let listeners = model.frontends.iter().map(|frontend| frontend.binds.len() as u64).sum();
    let checks = model.servers.iter().filter(|server| server.check.is_some()).count() as u64;
    let runtime = u64::from(global.stats_maxconn) + global.stats_sockets.len() as u64;
    u64::from(global.maxconn) * 2 + own_descriptors(u64::from(global.shards), listeners, checks, runtime)
}

/// What the limit of open files came to.
pub struct Descriptors {
    /// The limit in force.
    pub limit: u64,
    /// That `maxconn` had to be lowered to fit it.
    pub warning: Option<String>,
}

/// Raises the limit of open files to what is needed, or to `ulimit-n`; where that is refused, lowers the model's `maxconn` to what the limit
/// allows.
///
/// # Errors
/// With `strict-limits`, when the limit cannot be raised far enough; without, when it does not even allow one connection.
pub fn fit_descriptors(model: &mut Model) -> Result<Descriptors, String> {
    let needed = model.global.ulimit_n.unwrap_or(0).max(descriptors_needed(model));
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| format!("cannot read the limit of open files: {error}"))?;
    if soft >= needed || setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).is_ok() {
        return Ok(Descriptors { limit: soft.max(needed), warning: None });
    }
    let advice = "Raise it (`ulimit -n`, LimitNOFILE=) or lower 'maxconn'";
    if model.global.strict_limits {
        return Err(format!("Cannot raise FD limit to {needed}, limit is {hard}. {advice}; each connection needs two."));
    }
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let wanted = model.global.maxconn;
    let own = descriptors_needed(model) - u64::from(wanted) * 2;
    let possible = u32::try_from(limit.saturating_sub(own) / 2).unwrap_or(u32::MAX);
    if possible == 0 {
        return Err(format!("The limit of open files, {limit}, is too low for any connection: {own} are needed beside. {advice}."));
    }
    if possible >= wanted {
        return Ok(Descriptors { limit, warning: None });
    }
    model.global.maxconn = possible;
    for frontend in &mut model.frontends {
        frontend.maxconn = frontend.maxconn.min(possible);
    }
    let warning =
        format!("Cannot raise FD limit to {needed}, limit is {limit}: serving {possible} connections instead of {wanted}. {advice}.");
    Ok(Descriptors { limit, warning: Some(warning) })
}

/// Raises the limit of locked memory as far as it may be, up to what all shards register.
pub fn raise_locked_memory(shards: u16) {
    let needed = u64::from(shards.max(1)) * LOCKED_MEMORY_OF_A_SHARD;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) else { return };
    if soft < needed && setrlimit(Resource::RLIMIT_MEMLOCK, needed, hard.max(needed)).is_err() {
        // A shard that really runs short says so in its own words.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard.min(needed), hard);
    }
}

/// The limits for `-vv`.
pub fn describe() -> String {
    let show = |resource, unit: &str, divisor: u64| match getrlimit(resource) {
        Ok((soft, hard)) => format!("{} of {}{unit}", number(soft, divisor), number(hard, divisor)),
        Err(error) => error.to_string(),
    };
    let files = show(Resource::RLIMIT_NOFILE, "", 1);
    let memory = show(Resource::RLIMIT_MEMLOCK, " KiB", 1024);
    format!("Limits: open files {files}, locked memory {memory}\n")
}

fn number(value: u64, divisor: u64) -> String {
    if value == nix::libc::RLIM_INFINITY { "unlimited".into() } else { (value / divisor).to_string() }
}
