//! How other threads reach a shard: a bounded channel of mail, a list of granted waiters, and a doorbell that ends its sleep.
//!
//! The control thread and other shards hold `Port`s; the shard itself holds the `Inbox`. What happens when the channel is full is said at
//! each `Mail`: the sender gets it back and decides.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::OnceLock;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use crossbeam_queue::SegQueue;
use ringmain_model::{BindId, FrontendId};
use ringmain_policy::log::LocalTime;
use ringmain_policy::table::{Answer, Request};

use crate::live::{BackendLive, Destination, FrontendLive, Generation, ServerLive, TableLive, Waiter};
use crate::ring::Doorbell;

/// Mail in a shard's channel at most.
pub const MAILBOX_CAPACITY: usize = 4096;

/// A message to a shard.
#[derive(Debug)]
pub enum Mail {
    /// A new generation: swap to it; open and close listeners as it says. The control thread repeats it until it is taken.
    Publish(Arc<Publication>),
    /// An accepted connection from a busier shard; when the channel is full the sender keeps it.
    Handover(Handover),
    /// Probe a server; the answer is a `Report::Probe`. The control thread repeats it at the next turn when the channel is full.
    Probe(Probe),
    /// End the sessions of a server that went down (`on-marked-down shutdown-sessions`); logged with `D`.
    ShutdownSessions(Arc<ServerLive>),
    /// End the sessions of a server by order (`shutdown sessions server`); logged with `K`.
    KillSessions(Arc<ServerLive>),
    /// Tell the MQTT clients of a server to use another one, those of proxies with `option mqtt-drain`; logged with `K`.
    DrainMqtt(Arc<ServerLive>),
    /// End the sessions of a frontend by order (`shutdown frontend`); logged with `K`.
    KillFrontendSessions(Arc<FrontendLive>),
    /// End the sessions on backup servers of a backend (`on-marked-up shutdown-backup-sessions`).
    ShutdownBackupSessions(Arc<BackendLive>),
    /// Stop or go on accepting on the listener with this key (`disable frontend`, `enable frontend`, SIGTTOU, SIGTTIN).
    SetAccepting(u64, bool),
    /// A refreshed table of local time for log lines; sent when the time zone's offset changes.
    SetLocalTime(Arc<LocalTime>),
    /// A question about a key that this shard owns; the answer is a `TableAnswer`. When the channel is full the asker tries again.
    Table(Box<TableMail>),
    /// The answer to a question of this shard, by its token. When the channel is full the owner tries again.
    TableAnswer(u32, Answer),
    /// An order of the control thread to this shard's share of a table; when the channel is full the order fails.
    TableOrder(Box<TableOrder>),
    /// Move what running sessions have forwarded into the counters, then answer on the ticket.
    FlushCounters(FlushTicket),
    /// Stop accepting; sessions finish (SIGUSR1).
    SoftStop,
    /// End everything now.
    HardStop,
    /// End all sessions that pin a generation older than this (`hard-stop-after` for old generations).
    ShutdownGenerationsBefore(u64),
}

/// A shard's question to the owner of a key.
#[derive(Debug)]
pub struct TableMail {
    /// The shard that asks.
    pub from: u32,
    /// Given back with the answer.
    pub token: u32,
    /// The table.
    pub table: Arc<TableLive>,
    /// The question.
    pub request: Request,
}

/// An order of the control thread to one shard's share of a table (`show table`, `clear table`, `set table`, snapshots).
#[derive(Debug)]
pub struct TableOrder {
    /// The table.
    pub table: Arc<TableLive>,
    /// The order.
    pub request: Request,
    /// Takes the answer; has room for it.
    pub reply: Sender<Answer>,
}

/// Counts down the shards that have flushed their counters.
#[derive(Debug, Clone)]
pub struct FlushTicket(Arc<std::sync::atomic::AtomicUsize>);

impl FlushTicket {
    /// A ticket for this many shards.
    pub fn new(shards: usize) -> Self {
        Self(Arc::new(std::sync::atomic::AtomicUsize::new(shards)))
    }

    /// One shard has flushed.
    pub fn done(&self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
    }

    /// Whether all have.
    pub fn is_complete(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Acquire) == 0
    }
}

/// A generation with the listening sockets of one shard.
#[derive(Debug)]
pub struct Publication {
    /// The generation.
    pub generation: Arc<Generation>,
    /// For each shard, its sockets: listeners that are new in this generation, keyed by frontend and bind. Taken by the shard.
    pub listeners: Vec<std::sync::Mutex<Vec<ListenerMail>>>,
}

/// One listening socket for one shard, or the word to keep the one that it has.
#[derive(Debug)]
pub struct ListenerMail {
    /// Frontend in the new generation.
    pub frontend: FrontendId,
    /// Bind in the new generation.
    pub bind: BindId,
    /// Identity that stays over reloads, given by the control thread.
    pub key: u64,
    /// The socket, when this shard does not have it yet under this key.
    pub socket: Option<OwnedFd>,
}

/// An accepted connection on its way to another shard.
#[derive(Debug)]
pub struct Handover {
    /// The generation it was accepted under.
    pub generation: Arc<Generation>,
    /// Where it came in.
    pub frontend: FrontendId,
    /// Where it came in.
    pub bind: BindId,
    /// The connection.
    pub socket: OwnedFd,
    /// When it was accepted, monotonic microseconds.
    pub accepted_us: u64,
}

/// One health check to be made by TCP connection, and by MQTT over it if asked for.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Given back in the report.
    pub id: u64,
    /// Where to connect.
    pub destination: Destination,
    /// Source address for the connection.
    pub source: Option<ringmain_model::SourceAddress>,
    /// The connection is given up after this many milliseconds; the whole check unless `answer_timeout_ms` is set.
    pub timeout_ms: u64,
    /// The server must accept a CONNECT.
    pub mqtt: Option<Arc<ringmain_model::MqttCheck>>,
    /// Milliseconds for the answer from the moment the connection stands (`timeout check`).
    pub answer_timeout_ms: Option<u64>,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// The connection stood.
    Connected,
    /// Refused or failed with this errno.
    Failed(i32),
    /// No connection in time.
    TimedOut,
    /// The connection stood; what became of the CONNECT.
    Answered(MqttAnswer),
    /// No socket could be made: errno. The server is not to blame.
    Local(i32),
}

/// What a server made of a check's CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MqttAnswer {
    /// It accepts.
    Accepted,
    /// It refuses.
    Refused {
        /// Return code, reason code in MQTT 5.0.
        code: u8,
        /// The code in words.
        text: &'static str,
    },
    /// What it sent is no CONNACK, for this reason.
    Invalid(&'static str),
    /// It closed the connection before a whole CONNACK.
    Closed,
    /// The connection failed with this errno.
    Failed(i32),
    /// No whole CONNACK in time.
    TimedOut,
}

/// A message from a shard to the control thread.
#[derive(Debug)]
pub enum Report {
    /// A shard has started: its ring stands. Or not: the plain-word reason.
    Started {
        /// Which shard.
        shard: usize,
        /// What its ring runs on, or why it could not start.
        ring: Result<String, String>,
    },
    /// A probe came back.
    Probe {
        /// From `Probe::id`.
        id: u64,
        /// How it ended.
        outcome: ProbeOutcome,
        /// How long it took, microseconds.
        duration_us: u64,
    },
    /// A client announced a keep alive that is too long for the timeout that ends it; once for each frontend and generation.
    LongKeepalive {
        /// The frontend's name.
        frontend: Arc<str>,
        /// The keep alive, seconds.
        keepalive_s: u16,
        /// The timeout, milliseconds.
        timeout_ms: u64,
        /// The timeout is `timeout tunnel`, not `timeout client`.
        is_tunnel: bool,
    },
    /// A server reached its `error-limit` of observed errors.
    ErrorLimit(Arc<ServerLive>),
    /// A shard runs this generation now.
    Adopted {
        /// Which shard.
        shard: usize,
        /// Generation number.
        generation: u64,
    },
    /// A shard has no session left after a soft stop, or has ended.
    Drained {
        /// Which shard.
        shard: usize,
    },
    /// A shard has far fewer sessions than it had: what their memory was can go back to the system.
    Shrunk {
        /// Which shard.
        shard: usize,
    },
    /// A listener could not accept (message once per state change).
    AcceptTrouble {
        /// Which shard.
        shard: usize,
        /// errno.
        error: i32,
    },
}

/// The way to a shard, for every other thread.
pub struct Port {
    shard: usize,
    mail: Sender<Mail>,
    granted: SegQueue<Arc<Waiter>>,
    doorbell: OnceLock<Doorbell>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Port").field("shard", &self.shard).field("waiting", &self.mail.len()).finish_non_exhaustive()
    }
}

impl Port {
    /// A port and the receiving end, before the shard runs.
    pub fn new(shard: usize) -> (Arc<Self>, Receiver<Mail>) {
        let (mail, inbox) = crossbeam_channel::bounded(MAILBOX_CAPACITY);
        (Arc::new(Self { shard, mail, granted: SegQueue::new(), doorbell: OnceLock::new() }), inbox)
    }

    /// Which shard this leads to.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Sends; a full channel gives the mail back.
    pub fn send(&self, mail: Mail) -> Result<(), Box<Mail>> {
        self.mail.try_send(mail).map_err(|error| match error {
            TrySendError::Full(mail) | TrySendError::Disconnected(mail) => Box::new(mail),
        })?;
        self.ring();
        Ok(())
    }

    /// Ends the shard's sleep.
    pub fn ring(&self) {
        if let Some(doorbell) = self.doorbell.get() {
            doorbell.ring();
        }
    }

    /// Tells the shard that one of its waiters was granted a slot. Bounded by the number of waiters, each being a session.
    pub(crate) fn wake(&self, waiter: Arc<Waiter>) {
        self.granted.push(waiter);
        self.ring();
    }

    pub(crate) fn next_granted(&self) -> Option<Arc<Waiter>> {
        self.granted.pop()
    }

    pub(crate) fn install_doorbell(&self, doorbell: Doorbell) {
        let _ = self.doorbell.set(doorbell);
        self.ring();
    }
}

/// Reports waiting for the control thread at most.
pub const REPORTS_CAPACITY: usize = 16384;

/// The way from the shards to the control thread: a bounded channel and an eventfd that the control loop polls.
#[derive(Debug, Clone)]
pub struct ControlPort {
    reports: Sender<Report>,
    bell: Arc<nix::sys::eventfd::EventFd>,
}

impl ControlPort {
    /// The port and the receiving end; `bell` becomes readable when there is something in it.
    pub fn new() -> nix::Result<(Self, Receiver<Report>)> {
        use nix::sys::eventfd::{EfdFlags, EventFd};
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let (reports, inbox) = crossbeam_channel::bounded(REPORTS_CAPACITY);
        Ok((Self { reports, bell: Arc::new(bell) }, inbox))
    }

    /// Sends; a full channel gives the report back and the shard tries again later.
    pub fn send(&self, report: Report) -> Result<(), Box<Report>> {
        self.reports.try_send(report).map_err(|error| Box::new(error.into_inner()))?;
        // The write fails only when the counter is full, in which case the bell is ringing already.
        let _ = self.bell.write(1);
        Ok(())
    }

    /// What the control loop polls and reads empty before it takes reports.
    pub fn bell(&self) -> &nix::sys::eventfd::EventFd {
        &self.bell
    }
}
