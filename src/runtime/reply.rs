//! What a command answers.

use super::ControlContext;

/// The answer of a command, without the blank line that ends it.
pub enum Reply {
    /// Nothing to say.
    Done,
    /// Text whose lines are all ended.
    Text(String),
    /// One line, such as an error.
    Message(String),
    /// A long answer, made step by step.
    Stream(Box<dyn Producer>),
    /// The answer comes when the reload has ended.
    AfterReload,
    /// End the connection.
    Close,
}

impl Reply {
    /// A line with fixed words.
    pub fn message(text: &str) -> Self {
        Self::Message(text.to_string())
    }
}

impl From<Result<(), String>> for Reply {
    fn from(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(message) => Self::Message(message),
        }
    }
}

/// How far a `Producer` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more.
    More,
    /// That was all.
    Done,
}

/// Makes a long answer in steps of some 16 KiB.
pub trait Producer {
    /// Appends the next piece. State may have changed since the last one; a producer that finds its objects gone ends early.
    fn produce(&mut self, context: &mut ControlContext<'_>, out: &mut String) -> Progress;
}

/// A producer stops a step when it has appended this many bytes.
pub const STEP_BYTES: usize = 16 * 1024;
