//! sendmmsg(2): several datagrams with one system call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::SockAddr;

/// Most datagrams of one call.
pub const MESSAGES_LIMIT: usize = 64;

/// Sends messages, without ever waiting, to an address or to the socket's peer. Gives how many were sent: the first ones.
///
/// # Errors
/// The error of the first message when not even that could be sent.
#[allow(unsafe_code)]
pub fn send_many(socket: BorrowedFd<'_>, address: Option<&SockAddr>, messages: &[&[u8]]) -> io::Result<usize> {
    let messages = &messages[..messages.len().min(MESSAGES_LIMIT)];
    let mut slices: Vec<libc::iovec> =
        messages.iter().map(|message| libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() }).collect();
    let mut headers: Vec<libc::mmsghdr> = slices
        .iter_mut()
        .map(|slice| {
            // SAFETY: msghdr is plain data for which all zeros mean "nothing".
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
            if let Some(address) = address {
                header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_namelen = address.len();
            }
            header
        })
        .collect();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every header points at its own element of `slices` and at `address`, which outlive the call; the kernel reads the messages and
    // writes only `msg_len` of the headers, whose number is passed.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as libc::c_uint, flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}
