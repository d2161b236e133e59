//! System calls per operation: strace counts them in a run of its own, because being traced slows a proxy down.
//!
//! Each workload runs twice, once with as little work as possible, and the difference counts: opening and closing the connections is in
//! both and drops out.

use super::plan::VersusWorkload;
use super::subject::{Subject, find};
use crate::load;
use anyhow::{Context, bail};
use serde::Serialize;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Workloads whose system calls are counted.
pub(super) const TRACED: [VersusWorkload; 3] = [VersusWorkload::Messages(64), VersusWorkload::Messages(1), VersusWorkload::Connections(1)];

/// System calls of one proxy under one workload.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TraceSample {
    /// Key of the proxy.
    pub(crate) proxy: &'static str,
    /// Name of the workload.
    pub(crate) workload: String,
    /// Per exchange (two forwarded messages) or per connection.
    pub(crate) calls_per_operation: f64,
    /// Operations they were counted over.
    pub(crate) operations: u64,
    /// The most frequent calls, each per operation.
    pub(crate) most_frequent: Vec<(String, f64)>,
}

/// Whether there is a tracer at all.
///
/// # Errors
/// Says what to install.
pub(super) fn check() -> anyhow::Result<()> {
    match find(Path::new("strace")) {
        Some(_) => Ok(()),
        None => bail!("strace is not installed"),
    }
}

/// Counts the calls of one workload.
///
/// # Errors
/// When the proxy may not be traced, or nothing came through.
pub(super) fn run(subject: &Subject, workload: VersusWorkload, duration: Duration, cpu: usize, file: &Path) -> anyhow::Result<TraceSample> {
    let mut plan = workload.load(subject.address, duration, cpu, None);
    let full = traced(subject, &plan, file)?;
    plan.count = Some(plan.connections as u64);
    let least = traced(subject, &plan, file)?;
    let operations = full.operations.saturating_sub(least.operations);
    if operations == 0 {
        bail!("nothing came through under {workload} while it was traced");
    }
    let per_operation = |calls: u64| calls as f64 / operations as f64;
    let each = full.calls.iter().map(|(name, count)| {
        let before = least.calls.iter().find(|(other, _)| other == name).map_or(0, |(_, count)| *count);
        (name.clone(), count.saturating_sub(before))
    });
    let mut calls: Vec<(String, u64)> = each.filter(|(_, count)| *count > 0).collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(TraceSample {
        proxy: subject.key,
        workload: workload.to_string(),
        calls_per_operation: per_operation(calls.iter().map(|(_, count)| count).sum()),
        operations,
        most_frequent: calls.into_iter().take(6).map(|(name, count)| (name, per_operation(count))).collect(),
    })
}

struct Counted {
    operations: u64,
    calls: Vec<(String, u64)>,
}

fn traced(subject: &Subject, plan: &load::Plan, file: &Path) -> anyhow::Result<Counted> {
    let mut tracer = attach(subject, file)?;
    let outcome = subject.load(plan, |_| {});
    // SIGINT lets strace write its summary; the proxy goes on.
    let pid = nix::unistd::Pid::from_raw(tracer.id().cast_signed());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
    tracer.wait()?;
    let outcome = outcome?;
    let text = fs::read_to_string(file).context("strace has written no summary")?;
    Ok(Counted { operations: outcome.operations, calls: parse(&text) })
}

/// Starts strace on all processes of a proxy and waits until it has them.
fn attach(subject: &Subject, file: &Path) -> anyhow::Result<Child> {
    let processes = subject.processes();
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-o"]).arg(file);
    for pid in &processes {
        command.arg("-p").arg(pid.to_string());
    }
    let mut tracer = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start strace")?;
    let Some(messages) = tracer.stderr.take() else { bail!("strace has no output") };
    let mut seen = String::new();
    let mut attached = 0;
    let mut lines = BufReader::new(messages).lines().map_while(Result::ok);
    for line in lines.by_ref() {
        attached += usize::from(line.contains(" attached"));
        if attached == processes.len() {
            // Read on: a tracer whose messages nobody takes would be ended by them.
            thread::spawn(move || lines.for_each(drop));
            return Ok(tracer);
        }
        seen.push_str(&line);
    }
    tracer.wait()?;
    bail!("strace cannot attach: {}", seen.trim())
}

/// Names and counts of strace's summary.
fn parse(text: &str) -> Vec<(String, u64)> {
    let rows = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (name, calls) = (fields.last()?, fields.get(3)?);
        // The share of time comes first in every row that is one, and the sum is no call.
        fields.first()?.parse::<f64>().ok()?;
        (*name != "total").then_some(((*name).to_owned(), calls.parse::<u64>().ok()?))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ----------------\n \
                    60.00    0.001200           1      1200           io_uring_enter\n \
                    40.00    0.000800           2       400        12 splice\n\
                    ------ ----------- ----------- --------- --------- ----------------\n\
                    100.00    0.002000           1      1600        12 total\n";
        assert_eq!(parse(text), [("io_uring_enter".to_owned(), 1200), ("splice".to_owned(), 400)]);
        assert!(parse("strace: Process 1 detached\n").is_empty());
    }
}
