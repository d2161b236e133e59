//! recv(2) and send(2) on raw memory: the two system calls the data path makes itself.

/// Non-blocking recv(2); the error is the errno.
///
/// # Safety
/// `data` must point to `length` writable bytes nobody else refers to.
pub(super) unsafe fn recv(fd: i32, data: *mut u8, length: usize) -> Result<usize, i32> {
    // SAFETY: the caller vouches for the memory.
    outcome(unsafe { libc::recv(fd, data.cast(), length, libc::MSG_DONTWAIT) })
}

/// Non-blocking send(2) without SIGPIPE; the error is the errno.
pub(super) fn send(fd: i32, data: &[u8]) -> Result<usize, i32> {
    // SAFETY: a slice is readable for its length.
    outcome(unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

fn outcome(result: isize) -> Result<usize, i32> {
    usize::try_from(result).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}
