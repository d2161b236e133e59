//! One core: start a pinned executor with its ring, run until told to stop.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use ringmain_policy::log::LogHandle;

use crate::live::ProcessLive;
use crate::mailbox::{ControlPort, Mail, Port};
use crate::ring;

/// All that a shard needs to start. It runs nothing until the first `Mail::Publish`.
pub struct ShardSetup {
    /// 0 to the number of shards - 1.
    pub index: usize,
    /// CPU to pin to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// The ring's settings.
    pub ring: ring::Config,
    /// Process-wide live state.
    pub process: Arc<ProcessLive>,
    /// Ports of all shards, this one included, by index.
    pub ports: Vec<Arc<Port>>,
    /// The receiving end of this shard's port.
    pub inbox: Receiver<Mail>,
    /// Reports to the control thread.
    pub control: ControlPort,
    /// Where log lines go.
    pub log: LogHandle,
}

/// Starts the shard's thread. The first report is `Report::Started`.
///
/// # Errors
/// When the thread or its executor cannot be made (memlock limit, threads), with the reason in plain words.
pub fn start(setup: ShardSetup) -> Result<JoinHandle<()>, String> {
    let _ = setup;
    Err(String::new())
}
