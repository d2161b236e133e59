//! Servers as child processes, for the tests of the binary.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The binary under test.
pub const RINGBENCH: &str = env!("CARGO_BIN_EXE_ringbench");

/// Servers that end with their standard input, which ends with this handle.
pub struct Servers {
    child: Child,
    lines: Vec<(String, String)>,
}

impl Servers {
    /// Starts servers and waits for their addresses.
    pub fn start(arguments: &[&str], count: usize) -> Self {
        let mut command = Command::new(RINGBENCH);
        command.arg("serve").arg("--until-stdin-closes").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("serve starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let lines = output.lines().take(count).map(|line| {
            let line = line.expect("a line of text");
            let (name, address) = line.split_once(' ').expect("NAME ADDRESS");
            (name.to_owned(), address.to_owned())
        });
        Self { lines: lines.collect(), child }
    }

    /// Address of one of them.
    pub fn address(&self, index: usize) -> &str {
        &self.lines[index].1
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
