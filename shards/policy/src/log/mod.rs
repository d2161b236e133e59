//! Log lines: what a session's record looks like as text, which level it has, and the bounded ring that carries it off the shard.
//!
//! A session's last step calls `verdict`, `Renderer::render` and `LogHandle::push`; envelopes, sampling and sending are the log writer's
//! work on its own thread. Nothing in here makes a system call except waking that thread when it sleeps.

mod channel;
mod date;
mod render;
mod ring;
mod text;
mod verdict;

pub use channel::{ChannelTarget, LogChannel, Sampler};
pub use date::LocalTime;
pub use render::{Renderer, render_accept};
pub use ring::{Entry, Line, LogHandle, LogReader, RING_BYTES, RING_LINES, Wake, ring};
pub use verdict::{Moment, moment, verdict};
