//! Processor placement, processor time and memory of this and other processes, read from `/proc`.
//!
//! Called by the load generator for its own cost, and by `versus` for each proxy's. Never unsafe: pinning goes through `core_affinity`,
//! everything else is text.

use std::fs;
use std::io;
use std::time::Duration;

/// Pins the calling thread, and what it spawns from now on, to one core.
///
/// # Errors
/// When the machine has no such core or the kernel refuses.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("cannot pin a thread to core {cpu}: no such core, or not allowed here")))
}

/// Number of cores this thread may run on; at least 1.
pub fn available_cores() -> usize {
    core_affinity::get_core_ids().map_or(1, |cores| cores.len().max(1))
}

/// Processor time of one thread or of all threads of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Time on a core.
    pub running: Duration,
    /// Time ready to run but waiting for a core.
    pub waiting: Duration,
}

impl CpuTime {
    /// What was used since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self { running: self.running.saturating_sub(earlier.running), waiting: self.waiting.saturating_sub(earlier.waiting) }
    }
}

/// Processor time of the calling thread (`/proc/thread-self/schedstat`).
///
/// # Errors
/// When the kernel has no scheduler statistics.
pub fn current_thread_time() -> io::Result<CpuTime> {
    parse_schedstat(&fs::read_to_string("/proc/thread-self/schedstat")?)
}

/// Processor time of all live threads of a process, kernel workers of its rings included (`/proc/PID/task/*/schedstat`).
///
/// # Errors
/// When the process does not exist.
pub fn process_time(pid: u32) -> io::Result<CpuTime> {
    let mut total = CpuTime::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading: its time is then out of reach.
        if let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) {
            let time = parse_schedstat(&text)?;
            total.running += time.running;
            total.waiting += time.waiting;
        }
    }
    Ok(total)
}

/// A process and its descendants, parents first. What cannot be read is left out.
pub fn process_tree(pid: u32) -> Vec<u32> {
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            tree.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    tree
}

/// Resident memory of a process in bytes; exact (`smaps_rollup`), not the batched counter of `status`.
///
/// # Errors
/// When the process does not exist or may not be inspected.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kilobytes: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok());
    kilobytes.map(|count| count * 1024).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no Rss line in smaps_rollup"))
}

/// Number of open descriptors of a process.
///
/// # Errors
/// When the process does not exist or may not be inspected.
pub fn open_descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Raises the soft limit of open files to the hard limit and returns it.
pub fn raise_open_files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// Model of the first processor, for reports.
pub fn model_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    name.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

fn parse_schedstat(text: &str) -> io::Result<CpuTime> {
    let mut fields = text.split_whitespace().map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(running)), Some(Ok(waiting))) => {
            Ok(CpuTime { running: Duration::from_nanos(running), waiting: Duration::from_nanos(waiting) })
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "unreadable scheduler statistics")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_is_read() {
        let time = parse_schedstat("1500000 2000 7\n").expect("three numbers");
        assert_eq!(time.running, Duration::from_micros(1500));
        assert_eq!(time.waiting, Duration::from_micros(2));
        assert!(parse_schedstat("x y z").is_err());
        assert!(parse_schedstat("").is_err());
    }

    #[test]
    fn own_process_can_be_read() {
        let pid = std::process::id();
        assert!(process_time(pid).is_ok());
        assert!(resident_bytes(pid).expect("own memory") > 100_000);
        assert!(process_time(u32::MAX).is_err());
    }
}
