//! One io_uring per shard, driven by one task; operations as futures with sound cancellation.
//!
//! [`run`] makes the ring on the current glommio executor and drives it; everything else here works within it and on
//! its thread only ([`Doorbell`] excepted). Sessions are tasks started with [`spawn`] that own sockets ([`Sock`],
//! [`Listener`]), wait for their operations ([`S`]) and for timers ([`Timer`]).
//!
//! Two modes stand behind the same futures: *fast* uses what Linux 6.1 offers, *portable* works on 5.15; see [`Mode`].
//!
//! Rules that keep it sound: an operation whose future is dropped is cancelled or goes on without harm; its memory and
//! descriptor live until the kernel is done with them; no borrow of shared state spans a wake or a poll. This is the
//! only module of the data plane with unsafe code. It never blocks but in the driver's enter, and allocates nothing
//! per message.
#![allow(unsafe_code)]

mod accept;
mod buffer;
mod clock;
mod core;
mod doorbell;
mod driver;
mod kernel;
mod pipe;
mod probe;
mod ready;
mod receive;
mod send;
mod slot;
mod sock;
mod syscall;
mod task;
mod timer;
mod wheel;

pub use self::accept::{Accepted, Listener};
pub use self::buffer::Buf;
pub use self::clock::{now_ms, now_us, wall, wall_since_epoch};
pub use self::doorbell::{Doorbell, doorbell, rung};
pub use self::pipe::{Load, Pipe};
pub use self::probe::{Features, Mode, RingError, probe};
pub use self::send::Sent;
pub use self::sock::{S, Sock};
pub use self::task::{spawn, yield_now};
pub use self::timer::{Timer, sleep_ms};

/// How a shard's ring is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which kernel features to use.
    pub mode: Mode,
    /// Receive buffers per shard: a power of two, 2 to 32768.
    pub buffer_count: u16,
    /// Bytes per receive buffer, 256 to 32768.
    pub buffer_size: u32,
    /// Bytes per splice pipe, 0 for 256 KiB.
    pub pipe_size: u32,
    /// Entries of the submission queue, 1 to 4096; the completion queue has eight times as many.
    pub entries: u32,
    /// How long sockets and tasks may go on after main has ended, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config { mode: Mode::Auto, buffer_count: 512, buffer_size: 4096, pipe_size: 0, entries: 1024, drain_ms: 0 }
    }
}

impl Config {
    fn check(&self) -> Result<(), RingError> {
        let wrong = if !self.buffer_count.is_power_of_two() || !(2..=32768).contains(&self.buffer_count) {
            "buffer_count must be a power of two from 2 to 32768"
        } else if !(256..=32768).contains(&self.buffer_size) {
            "buffer_size must be 256 to 32768 bytes"
        } else if !(1..=4096).contains(&self.entries) {
            "entries must be 1 to 4096"
        } else if self.pipe_size > 1 << 30 {
            "pipe_size must be at most 1 GiB"
        } else {
            return Ok(());
        };
        Err(RingError::Configuration(wrong))
    }
}

/// Makes a ring on the current executor, drives it, and runs `main` in it. When `main` ends, other tasks may go on for
/// `drain_ms`; then they are dropped, sockets are closed, and its output is returned. Work that does not end within
/// another second is abandoned: its memory is kept for ever and the thread cannot have another ring.
///
/// # Errors
/// [`RingError`]: no ring can be had here, or the kernel refused an enter for good.
pub fn run<T: 'static>(config: Config, main: impl Future<Output = T> + 'static) -> impl Future<Output = Result<T, RingError>> {
    driver::run(config, main)
}

/// What this thread's ring found; `None` without a ring.
pub fn features() -> Option<Features> {
    core::with(|core| core.features.clone())
}

/// Bytes in one receive buffer; a message of this length is most likely part of a longer one.
pub fn buffer_size() -> usize {
    core::with(|core| core.pool.size() as usize).unwrap_or(usize::MAX)
}

/// What a shard's ring holds now, and running totals since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sockets, closing ones included.
    pub slots: u32,
    /// Listening sockets.
    pub listeners: u32,
    /// Receive buffers that hold bytes.
    pub buffers_out: u32,
    /// Receive buffers.
    pub buffers_total: u32,
    /// Splice pipes that hold bytes or are being filled.
    pub pipes_in_use: u32,
    /// Splice pipes.
    pub pipes_total: u32,
    /// Timers, set or not.
    pub timers: u32,
    /// Tasks.
    pub tasks: u32,
    /// Operations in the kernel's hands, the doorbell's poll included.
    pub in_flight: u32,
    /// Turns of the driver (total).
    pub turns: u64,
    /// Turns that were allowed to sleep (total).
    pub sleeps: u64,
    /// Receives that found no buffer (total).
    pub enobufs: u64,
    /// Receives cancelled because their reader was behind (total).
    pub recv_cancels: u64,
    /// Sends the kernel did not take whole (total).
    pub short_sends: u64,
    /// Times the submission queue was full (total).
    pub queue_full: u64,
    /// Completions nobody expected (total): always zero.
    pub strays: u64,
    /// Tasks that ended by a panic (total of the thread): always zero.
    pub panics: u64,
}

/// The counters of this thread's ring; all zero without one.
pub fn counters() -> Counters {
    core::with(|core| Counters {
        slots: core.slots.live(),
        listeners: core.listeners.borrow().len() as u32,
        buffers_out: core.pool.out(),
        buffers_total: core.pool.count() as u32,
        pipes_in_use: core.pipes.in_use(),
        pipes_total: core.pipes.total(),
        timers: core.wheel.borrow().live(),
        tasks: task::alive(),
        in_flight: core.in_flight.get(),
        turns: core.totals.turns.get(),
        sleeps: core.totals.sleeps.get(),
        enobufs: core.totals.enobufs.get(),
        recv_cancels: core.totals.recv_cancels.get(),
        short_sends: core.totals.short_sends.get(),
        queue_full: core.totals.queue_full.get(),
        strays: core.totals.strays.get(),
        panics: task::panics(),
    })
    .unwrap_or_default()
}
