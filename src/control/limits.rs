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

/// Raises the limit of open files to what is needed, or to `ulimit-n`. Returns the limit in force.
///
/// # Errors
/// When the limit cannot be raised far enough, with what to do, as HAProxy refuses to start (strict limits).
pub fn raise_descriptors(model: &Model) -> Result<u64, String> {
    let needed = model.global.ulimit_n.unwrap_or_else(|| descriptors_needed(model));
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|error| format!("cannot read the limit of open files: {error}"))?;
    if soft >= needed {
        return Ok(soft);
    }
    let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, needed, hard));
    raised.map(|()| needed).map_err(|_| {
        // What an unprivileged process can have is at least worth having for the message's sake of a smaller maxconn.
        format!(
            "Cannot raise FD limit to {needed}, limit is {hard}. Raise it (`ulimit -n`, LimitNOFILE=) or lower 'maxconn' \
             (now {}, each connection needs two).",
            model.global.maxconn
        )
    })
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
