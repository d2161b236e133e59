//! Targets given as a file descriptor: `stdout`, `stderr`, `fd@N`. May be a pipe, a terminal, a file or a socket of either kind.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use socket2::{SockRef, Type};

use super::batch::Batch;
use super::datagram::{Progress, is_busy, send_lines};

/// Bytes of one write: what pipes take without mixing it with the lines of other processes (PIPE_BUF).
const PIECE_BYTES: usize = 4096;

/// An inherited descriptor.
#[derive(Debug)]
pub struct Descriptor {
    file: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A socket that keeps messages apart: one line each.
    DatagramSocket,
    /// Any other socket.
    StreamSocket,
    /// A pipe, terminal or file.
    File,
}

impl Descriptor {
    /// Takes a copy of the descriptor, so that nobody else can close it.
    ///
    /// # Errors
    /// When there is no such descriptor, or no room for another.
    pub fn open(number: RawFd) -> io::Result<Self> {
        let file = duplicate(number)?;
        let format = SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT;
        let kind = if format != SFlag::S_IFSOCK {
            Kind::File
        } else if SockRef::from(&file).r#type()? == Type::STREAM {
            Kind::StreamSocket
        } else {
            Kind::DatagramSocket
        };
        if format != SFlag::S_IFIFO && format != SFlag::S_IFCHR {
            return Ok(Self { file, kind });
        }
        // Non-blocking mode belongs to the open file, which we may share with a shell: open our own.
        let own = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(format!("/proc/self/fd/{number}"));
        Ok(Self { file: own.map_or(file, OwnedFd::from), kind })
    }

    /// Sends what it can, without waiting for the reader.
    pub fn send(&self, batch: &mut Batch) -> Progress {
        if self.kind == Kind::DatagramSocket {
            return send_lines(self.file.as_fd(), None, batch);
        }
        while !batch.is_empty() {
            let piece = batch.piece(PIECE_BYTES);
            match self.write(&piece[..piece.len().min(PIECE_BYTES)]) {
                Ok(count) => batch.sent_bytes(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_busy(&error) => return Progress::Busy,
                Err(_) => return Progress::Gone,
            }
        }
        Progress::Done
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.kind == Kind::StreamSocket {
            return SockRef::from(&self.file).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
        }
        // Where our own open file could not be had, this keeps a full pipe from holding up the other targets.
        let mut wait = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut wait, PollTimeout::ZERO)? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(nix::unistd::write(&self.file, bytes)?)
    }
}

#[allow(unsafe_code)]
fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // -1 is not a descriptor, and the borrowing type must never hold it.
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the borrow lasts for the one call that checks whether the descriptor is open and copies it.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    let copy = fcntl(inherited, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just made this descriptor, and nothing else knows it.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(copy) })
}
