//! Signals as something to read: they are blocked in every thread and come through a signalfd, so no handler ever runs.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What the process does on purpose when it is told to.
const HANDLED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
];

/// The signals of the process.
#[derive(Debug)]
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the signals for this thread and all that it will start. Call it before the first thread.
    ///
    /// # Errors
    /// When the kernel refuses a signalfd.
    pub fn block() -> nix::Result<Self> {
        let set: SigSet = HANDLED.into_iter().collect();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { descriptor })
    }

    /// The next signal that came; `None` when there is none.
    pub fn next(&self) -> Option<Signal> {
        let information = self.descriptor.read_signal().ok().flatten()?;
        Signal::try_from(i32::try_from(information.ssi_signo).ok()?).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
