//! Instruction counts as a guard against regressions: valgrind counts them exactly, however busy the machine is.
//!
//! Each piece of work runs in two child processes, with different counts; the difference is the work alone, without building its data.
//! The stored numbers belong to one compiler and one set of dependencies: `--guard --update FILE` writes them anew after a deliberate
//! change.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Share by which a count may differ from the stored one.
const TOLERANCE: f64 = 0.10;
/// What is guarded, and how often it runs: enough that one run's share of the difference is exact.
const GUARDED: [(&str, u64); 6] = [
    ("load/haproxy-1000-servers", 2),
    ("balance/build-1000-servers", 4),
    ("balance/pick-roundrobin", 100_000),
    ("balance/pick-leastconn", 10_000),
    ("log/tcp-line", 10_000),
    ("syslog/rfc3164", 20_000),
];

/// Compares all counts with a file; fails when one left its range, also downwards: a gain wants to be written down.
pub fn compare(file: &Path) -> ExitCode {
    if let Some(reason) = missing_valgrind() {
        println!("skipped: {reason}");
        return ExitCode::SUCCESS;
    }
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("micro: cannot read {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    };
    let mut failed = false;
    for (name, count) in GUARDED {
        let stored = stored(&text, name);
        let verdict = match (measure(name, count), stored) {
            (Err(reason), _) => Err(format!("not measured: {reason}")),
            (Ok(now), None) => Err(format!("{now:.0} instructions, none stored")),
            (Ok(now), Some(before)) => judge(now, before),
        };
        match verdict {
            Ok(words) => println!("ok      {name:<28} {words}"),
            Err(words) => {
                println!("FAILED  {name:<28} {words}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Writes the file anew.
pub fn update(file: &Path) -> ExitCode {
    let mut text = String::from("# Instructions of one run of each bench, in a release build; `make guard` compares. See guard.rs.\n");
    for (name, count) in GUARDED {
        match measure(name, count) {
            Ok(now) => {
                let _ = writeln!(text, "{name} {now:.0}");
            }
            Err(reason) => {
                eprintln!("micro: {name}: {reason}");
                return ExitCode::FAILURE;
            }
        }
    }
    match std::fs::write(file, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("micro: cannot write {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn judge(now: f64, before: f64) -> Result<String, String> {
    let change = now / before - 1.0;
    let words = format!("{now:.0} instructions, {:+.1} % of {before:.0}", 100.0 * change);
    if change.abs() <= TOLERANCE { Ok(words) } else { Err(words) }
}

fn stored(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn missing_valgrind() -> Option<String> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("valgrind does not work here ({})", output.status)),
        Err(error) => Some(format!("valgrind is not installed ({error})")),
    }
}

/// Instructions of one run.
fn measure(name: &str, count: u64) -> Result<f64, String> {
    let (few, many) = (instructions(name, count)?, instructions(name, 3 * count)?);
    Ok(many.saturating_sub(few) as f64 / (2 * count) as f64)
}

fn instructions(name: &str, count: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args(["--once", name, &count.to_string()]);
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.filter(|_| output.status.success()).ok_or_else(|| format!("valgrind ended with {}: {}", output.status, text.trim()))
}
