//! To the background: the parent waits for the child's word and exits with it, so that a script sees whether the start succeeded.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, pipe, setsid};

/// Which side of the fork this is.
pub enum Side {
    /// The process that was started: exit with this code.
    Parent(i32),
    /// The daemon, which owes its parent a word.
    Child(Waiting),
    /// Nobody was forked: the process stays in the foreground.
    Alone,
}

/// The parent that waits for a word.
pub struct Waiting {
    pipe: File,
}

/// Forks. Must be called before the first thread is started.
///
/// # Errors
/// When the process cannot be forked.
#[allow(unsafe_code)]
pub fn detach() -> Result<Side, String> {
    let (reader, writer) = pipe().map_err(|error| format!("[ringmain.main()] Cannot make a pipe: {}.", error.desc()))?;
    // SAFETY: no other thread runs yet, so the child may use everything that the parent could.
    let forked = unsafe { nix::unistd::fork() }.map_err(|error| format!("[ringmain.main()] Cannot fork: {}.", error.desc()))?;
    match forked {
        ForkResult::Parent { .. } => {
            drop(writer);
            let mut word = [1; 1];
            // An end without a word means that the child died while starting; it has said why on standard error.
            let read = File::from(reader).read(&mut word).unwrap_or(0);
            Ok(Side::Parent(if read == 1 { i32::from(word[0]) } else { 1 }))
        }
        ForkResult::Child => {
            drop(reader);
            setsid().map_err(|error| format!("[ringmain.main()] Cannot start a session: {}.", error.desc()))?;
            Ok(Side::Child(Waiting { pipe: writer.into() }))
        }
    }
}

impl Waiting {
    /// Leaves the terminal and lets the parent exit with 0. Streams that are log targets stay.
    ///
    /// # Errors
    /// When the streams cannot be redirected.
    pub fn succeed(mut self, kept: &[i32]) -> io::Result<()> {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        if !kept.contains(&0) {
            dup2_stdin(null.as_fd())?;
        }
        if !kept.contains(&1) {
            dup2_stdout(null.as_fd())?;
        }
        if !kept.contains(&2) {
            dup2_stderr(null.as_fd())?;
        }
        self.pipe.write_all(&[0])
    }
}

/// Writes the process id to its file, whole or not at all for somebody who reads it meanwhile.
///
/// # Errors
/// In HAProxy's words, when the file cannot be written.
pub fn write_pidfile(path: &Path) -> Result<(), String> {
    let describe = |error: io::Error| format!("[ringmain.main()] Cannot create pidfile {} : {error}", path.display());
    fs::write(path, format!("{}\n", std::process::id())).map_err(describe)
}
