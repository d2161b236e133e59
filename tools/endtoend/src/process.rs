//! Child processes that end with their test, and what /proc says about them.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// A child process; killed by pid when dropped.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a program with its output in `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let output = std::fs::File::create(log).expect("create the process's log");
        let errors = output.try_clone().expect("clone a file");
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { child, name }
    }

    /// The process's id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("signal a running child");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} to exit", self.name);
        wait::for_value(&what, limit, || self.child.try_wait().expect("wait for a child"))
    }

    /// A line of /proc/PID/status in kB, such as `VmRSS`.
    pub fn status_kb(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("read /proc/PID/status");
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("no {field} in status"));
        line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).expect("a number of kB")
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("read /proc/PID/fd").count()
    }

    /// CPU time of all threads, nanoseconds.
    pub fn cpu_ns(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("read /proc/PID/task");
        let times = tasks.flatten().filter_map(|task| {
            let mut text = String::new();
            std::fs::File::open(task.path().join("schedstat")).ok()?.read_to_string(&mut text).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        times.sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a program is on the PATH or at one of the usual places of daemons.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]);
    folders.map(|folder| Path::new(folder).join(program)).find(|candidate| candidate.is_file())
}
