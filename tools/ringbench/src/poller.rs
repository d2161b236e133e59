//! The one place that waits: an epoll instance with a precise timer, shared by the embedded servers and the load workers.
//!
//! Tokens are chosen by the caller. Nothing here reads or writes a socket.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Token reported when a timed wait is over; never used for a socket.
pub const TIMER_TOKEN: u64 = u64::MAX;
/// Events taken per wait.
const EVENTS_MAX: usize = 512;

/// Waits shorter than this use the precise timer.
const PRECISE_BELOW: Duration = Duration::from_millis(10);

/// What a socket is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Report when bytes or an end of stream can be read.
    pub read: bool,
    /// Report when bytes can be written or a connect has ended.
    pub write: bool,
}

impl Interest {
    /// Reading only.
    pub const READ: Self = Self { read: true, write: false };
    /// Writing only.
    pub const WRITE: Self = Self { read: false, write: true };

    fn flags(self) -> EpollFlags {
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, self.read);
        flags.set(EpollFlags::EPOLLOUT, self.write);
        flags
    }
}

/// One ready socket.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The caller's token.
    pub token: u64,
    /// Bytes, an end of stream or an error can be read.
    pub read: bool,
    /// Room to write, or an error.
    pub write: bool,
}

/// Level-triggered epoll plus one timer with nanosecond precision.
pub struct Poller {
    epoll: Epoll,
    timer: TimerFd,
    armed: bool,
    events: Vec<EpollEvent>,
}

impl Poller {
    /// Opens both descriptors.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER_TOKEN))?;
        // The default slack of 50 us would appear as latency in open-loop runs.
        nix::sys::prctl::set_timerslack(1)?;
        Ok(Self { epoll, timer, armed: false, events: vec![EpollEvent::empty(); EVENTS_MAX] })
    }

    /// Starts waiting for a socket.
    ///
    /// # Errors
    /// When the kernel refuses the descriptor.
    pub fn add(&self, socket: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.add(socket, EpollEvent::new(interest.flags(), token))?)
    }

    /// Changes what a socket is waited for.
    ///
    /// # Errors
    /// When the descriptor was not added.
    pub fn modify(&self, socket: &impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(self.epoll.modify(socket, &mut EpollEvent::new(interest.flags(), token))?)
    }

    /// Waits for events, at most `timeout` (for ever when absent), and puts them into `ready`.
    ///
    /// # Errors
    /// Only when the kernel reports a broken descriptor; an interrupting signal ends the wait without events.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let limit = self.arm(timeout)?;
        let count = match self.epoll.wait(&mut self.events, limit) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let broken = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        ready.extend(self.events.iter().take(count).filter(|event| event.data() != TIMER_TOKEN).map(|event| Ready {
            token: event.data(),
            read: event.events().intersects(EpollFlags::EPOLLIN | broken),
            write: event.events().intersects(EpollFlags::EPOLLOUT | broken),
        }));
        Ok(())
    }

    /// Long waits use epoll's own milliseconds, rounded down; short ones the timer. So a busy loop with a distant deadline makes one
    /// system call per wait, and a precise one two.
    fn arm(&mut self, timeout: Option<Duration>) -> io::Result<EpollTimeout> {
        let Some(duration) = timeout.filter(|duration| !duration.is_zero() && *duration < PRECISE_BELOW) else {
            if self.armed {
                self.timer.unset()?;
                self.armed = false;
            }
            let milliseconds = timeout.map(|duration| u16::try_from(duration.as_millis()).unwrap_or(u16::MAX));
            return Ok(milliseconds.map_or(EpollTimeout::NONE, EpollTimeout::from));
        };
        self.timer.set(Expiration::OneShot(TimeSpec::from_duration(duration)), TimerSetTimeFlags::empty())?;
        self.armed = true;
        Ok(EpollTimeout::NONE)
    }
}

/// Wakes a poller from another thread.
pub struct Doorbell(EventFd);

impl Doorbell {
    /// Opens the descriptor.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Makes the bell readable until it is answered.
    pub fn ring(&self) {
        // The only failure is a full counter, which is readable already.
        let _ = self.0.write(1);
    }

    /// Makes the bell quiet again.
    pub fn answer(&self) {
        // Nothing to read means that it is quiet already.
        let _ = self.0.read();
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
