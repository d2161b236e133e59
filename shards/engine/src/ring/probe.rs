//! What this kernel's io_uring can do, found by trying it; and plain words when it cannot be used at all.
//!
//! [`probe`] is called at start-up (and by `-vv`); [`super::run`] calls it once more for its own thread.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{cqueue, opcode, squeue, types};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};

use super::buffer::{GROUP, Pool};
use super::kernel::{Kernel, Setup, Wait};

/// Which set of io_uring features the ring uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Fast if the kernel has what it takes, else portable.
    #[default]
    Auto,
    /// Provided buffers, multishot operations, completions skipped on success (Linux 6.1 and later).
    Fast,
    /// One-shot polls and plain system calls (Linux 5.15 and later).
    Portable,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Auto => "auto",
            Mode::Fast => "fast",
            Mode::Portable => "portable",
        })
    }
}

/// What the probe found. `Display` gives one line for the log and `-vv`.
#[derive(Clone, Debug)]
pub struct Features {
    /// The mode in use, [`Mode::Fast`] or [`Mode::Portable`].
    pub mode: Mode,
    /// One accept operation yields many connections (5.19).
    pub multishot_accept: bool,
    /// One receive operation yields many messages (6.0).
    pub multishot_receive: bool,
    /// The kernel picks receive buffers from a shared ring (5.19).
    pub provided_buffers: bool,
    /// Successful sends post no completion (5.17).
    pub skip_success: bool,
    /// Completion work runs only when the shard enters the kernel (6.1).
    pub deferred_task_work: bool,
    /// The kernel knows that one thread uses the ring (6.0).
    pub single_issuer: bool,
    /// A failed entry does not stop the batch (5.18).
    pub submit_all: bool,
    /// The ring's descriptor is registered (5.18).
    pub registered_ring: bool,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring {} mode on Linux {}:", self.mode, self.kernel)?;
        let all = [
            (self.multishot_accept, "multishot accept"),
            (self.multishot_receive, "multishot receive"),
            (self.provided_buffers, "provided buffers"),
            (self.skip_success, "silent sends"),
            (self.deferred_task_work, "deferred task work"),
            (self.single_issuer, "single issuer"),
            (self.submit_all, "submit all"),
            (self.registered_ring, "registered ring"),
        ];
        for (index, (present, name)) in all.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator} {}{name}", if *present { "+" } else { "-" })?;
        }
        Ok(())
    }
}

/// Why a ring cannot be had, in words that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// `kernel.io_uring_disabled` forbids it.
    #[error(
        "io_uring is disabled on this machine (kernel.io_uring_disabled = {0}): \
         run `sysctl -w kernel.io_uring_disabled=0`{1}"
    )]
    Disabled(u32, &'static str),
    /// A seccomp filter or security module forbids it.
    #[error(
        "io_uring is not permitted (a seccomp filter or security module refuses it): \
         in a container, allow io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Denied,
    /// The kernel lacks io_uring or is older than 5.15.
    #[error("the kernel ({0}) is too old or built without io_uring: Linux 5.15 or later is needed, 6.1 recommended")]
    TooOld(String),
    /// The limit of locked memory is too low.
    #[error("the limit of locked memory is too low ({0} KiB): raise it to at least 512 KiB (`ulimit -l`, LimitMEMLOCK=)")]
    MemoryLock(u64),
    /// No descriptor left.
    #[error("no file descriptor is left for the ring: raise the limit of open files (`ulimit -n`, LimitNOFILE=)")]
    FileLimit,
    /// The fast mode was asked for by name.
    #[error("the fast mode was asked for, but this kernel ({0}) lacks {1}")]
    NotFast(String, &'static str),
    /// The configuration is out of range.
    #[error("the ring's configuration is out of range: {0}")]
    Configuration(&'static str),
    /// A ring runs on this thread, or one was abandoned with work in flight.
    #[error("this thread already has a ring, or had one that was abandoned with work in flight")]
    Occupied,
    /// Any other failure: what was tried, and the error.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// Finds out what the ring can use on this kernel. Costs well under a millisecond and leaves nothing behind.
///
/// # Errors
/// A [`RingError`] when io_uring cannot be used at all; its text says why and what to do.
pub fn probe() -> Result<Features, RingError> {
    examine(Mode::Auto)
}

/// Like [`probe`], with the mode that was asked for.
pub(super) fn examine(wanted: Mode) -> Result<Features, RingError> {
    let kernel = nix::sys::utsname::uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default();
    let (ring, setup) = Kernel::open(8, false).map_err(|error| explain(error, &kernel))?;
    if !ring.can_time_out() {
        return Err(RingError::TooOld(kernel));
    }
    let skip = ring.can_skip_success();
    let mut features = Features {
        mode: Mode::Fast,
        multishot_accept: false,
        multishot_receive: false,
        provided_buffers: false,
        skip_success: false,
        deferred_task_work: setup.deferred_task_work,
        single_issuer: setup.single_issuer,
        submit_all: setup.submit_all,
        registered_ring: setup.registered_ring,
        kernel,
    };
    drop(ring);
    if wanted == Mode::Portable {
        return Ok(portable(features));
    }
    try_all(&mut features, skip).map_err(|error| RingError::System("probing io_uring", error))?;
    let missing = [
        (features.provided_buffers, "provided buffers"),
        (features.multishot_receive, "multishot receive"),
        (features.skip_success, "skipped completions"),
    ]
    .into_iter()
    .find(|(present, _)| !present);
    match (missing, wanted) {
        (None, _) => Ok(features),
        (Some((_, what)), Mode::Fast) => Err(RingError::NotFast(features.kernel, what)),
        (Some(_), _) => Ok(portable(features)),
    }
}

fn portable(features: Features) -> Features {
    Features {
        mode: Mode::Portable,
        multishot_accept: false,
        multishot_receive: false,
        provided_buffers: false,
        skip_success: false,
        deferred_task_work: false,
        single_issuer: false,
        submit_all: false,
        registered_ring: false,
        kernel: features.kernel,
    }
}

fn try_all(features: &mut Features, skip: bool) -> io::Result<()> {
    let pool = Pool::new(2, 4096, true).ok_or(io::ErrorKind::OutOfMemory)?;
    let (mut ring, _) = Kernel::open(8, false)?;
    features.provided_buffers = ring.register_buffers(&pool).is_ok();
    if features.provided_buffers {
        features.multishot_receive = receives(&ring)?;
    }
    features.skip_success = skip && sends_silently(&ring)?;
    features.multishot_accept = accepts(&ring).unwrap_or(false);
    // All operations have ended or hang on sockets that are closed by now; the ring goes before the pool.
    drop(ring);
    drop(pool);
    Ok(())
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, flags)?)
}

/// Submits one entry and returns the completions it gave at once: (user data, result, flags).
fn attempt(ring: &Kernel, entry: &squeue::Entry) -> io::Result<Vec<(u64, i32, u32)>> {
    if !ring.push(entry) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    ring.enter(Wait::No)?;
    let mut space = [const { MaybeUninit::<cqueue::Entry>::uninit() }; 16];
    Ok(ring.completions(&mut space).iter().map(|c| (c.user_data(), c.result(), c.flags())).collect())
}

fn cancel(ring: &Kernel, user_data: u64) -> io::Result<()> {
    let entry = opcode::AsyncCancel::new(user_data).build().user_data(99);
    // One enter for the cancellation, a second for completions that were deferred by it.
    attempt(ring, &entry)?;
    attempt(ring, &opcode::Nop::new().build().user_data(98))?;
    Ok(())
}

fn receives(ring: &Kernel) -> io::Result<bool> {
    let (near, far) = pair()?;
    nix::unistd::write(&far, b"x")?;
    let entry = opcode::RecvMulti::new(types::Fd(near.as_raw_fd()), GROUP).build().user_data(1);
    let seen = attempt(ring, &entry)?;
    let works = seen.iter().any(|(_, result, flags)| *result == 1 && cqueue::more(*flags) && cqueue::buffer_select(*flags).is_some());
    cancel(ring, 1)?;
    Ok(works)
}

/// A send that fits must post nothing, one that does not must tell how much went.
fn sends_silently(ring: &Kernel) -> io::Result<bool> {
    let (near, far) = pair()?;
    setsockopt(&near, sockopt::SndBuf, &4096)?;
    let data = vec![0u8; 1 << 20];
    let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    let send = |length: u32, user_data| {
        opcode::Send::new(types::Fd(near.as_raw_fd()), data.as_ptr(), length)
            .flags(flags)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data)
    };
    let small = attempt(ring, &send(16, 2))?;
    let large = attempt(ring, &send(data.len() as u32, 3))?;
    drop(far);
    let short = |c: &(u64, i32, u32)| c.0 == 3 && c.1 > 0 && (c.1 as usize) < data.len();
    Ok(small.is_empty() && large.len() == 1 && large.iter().all(short))
}

fn accepts(ring: &Kernel) -> io::Result<bool> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let entry =
        opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).build().user_data(4);
    // A kernel without it refuses at once; one with it waits.
    let works = attempt(ring, &entry)?.iter().all(|(_, result, _)| *result >= 0);
    cancel(ring, 4)?;
    Ok(works)
}

/// Turns the error of io_uring_setup(2) into words.
pub(super) fn explain(error: io::Error, kernel: &str) -> RingError {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match disabled.as_deref().map(str::trim) {
            Some("2") => RingError::Disabled(2, ""),
            Some("1") => RingError::Disabled(1, ", start as root, or put the user's group into kernel.io_uring_group"),
            _ => RingError::Denied,
        },
        Some(libc::ENOSYS) => RingError::TooOld(kernel.to_owned()),
        Some(libc::ENOMEM) => {
            let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK);
            RingError::MemoryLock(limit.map(|(soft, _)| soft / 1024).unwrap_or(0))
        }
        Some(libc::EMFILE | libc::ENFILE) => RingError::FileLimit,
        _ => RingError::System("setting up io_uring", error),
    }
}

/// The set-up a features report describes, for a ring that has just been made.
pub(super) fn with_setup(mut features: Features, setup: Setup) -> Features {
    features.single_issuer = setup.single_issuer;
    features.deferred_task_work = setup.deferred_task_work;
    features.submit_all = setup.submit_all;
    features.registered_ring = setup.registered_ring;
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_one_line() {
        let features = probe().expect("io_uring");
        let text = features.to_string();
        assert!(!text.contains('\n') && text.starts_with("io_uring "), "{text}");
    }

    #[test]
    fn refusals_are_told_apart() {
        let errno = io::Error::from_raw_os_error;
        assert!(matches!(explain(errno(libc::ENOSYS), "4.4"), RingError::TooOld(_)));
        assert!(matches!(explain(errno(libc::EMFILE), ""), RingError::FileLimit));
        assert!(matches!(explain(errno(libc::ENOMEM), ""), RingError::MemoryLock(_)));
        assert!(matches!(explain(errno(libc::EPERM), ""), RingError::Denied | RingError::Disabled(..)));
        assert!(explain(errno(libc::EPERM), "").to_string().contains("io_uring"));
    }

    #[test]
    fn portable_uses_nothing_new() {
        let features = examine(Mode::Portable).expect("io_uring");
        assert_eq!(features.mode, Mode::Portable);
        assert!(!features.multishot_accept && !features.deferred_task_work && !features.skip_success);
    }
}
