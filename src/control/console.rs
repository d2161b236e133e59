//! Messages on standard error in HAProxy's shape: `[WARNING]  (pid) : text`.
//!
//! In the background standard error leads nowhere, so nobody needs to ask whether it is worth writing.

use std::io::Write;

/// How bad a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something failed.
    Alert,
    /// Worth a look.
    Warning,
    /// For information.
    Notice,
}

/// Standard error, with what `-q` and the phase of life let through.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    quiet: bool,
    starting: bool,
}

impl Console {
    /// The console of a process that is starting: errors always show.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, starting: true }
    }

    /// From here on `-q` hides errors too, as they go to the log.
    pub fn started(&mut self) {
        self.starting = false;
    }

    /// Writes a message, each line of it ended.
    pub fn say(&self, severity: Severity, text: &str) {
        if self.quiet && !(self.starting && severity == Severity::Alert) {
            return;
        }
        let head = match severity {
            Severity::Alert => "[ALERT]   ",
            Severity::Warning => "[WARNING] ",
            Severity::Notice => "[NOTICE]  ",
        };
        let line = format!("{head} ({}) : {text}\n", std::process::id());
        self.raw(&line);
    }

    /// An error.
    pub fn alert(&self, text: &str) {
        self.say(Severity::Alert, text);
    }

    /// A warning.
    pub fn warning(&self, text: &str) {
        self.say(Severity::Warning, text);
    }

    /// A notice.
    pub fn notice(&self, text: &str) {
        self.say(Severity::Notice, text);
    }

    /// Writes text as it is. There is nobody to tell when standard error is gone.
    pub fn raw(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}
