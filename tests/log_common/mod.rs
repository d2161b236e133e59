//! HAProxy with inherited listeners, and a syslog receiver, for tests that compare log lines.

// Each test binary uses its part of this.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::{Domain, Socket, Type};

/// How long anything may take.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// HAProxy, ended with the test.
pub struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl HaProxy {
    /// Tells it to finish its sessions, and waits until it has: all lines were sent then.
    pub fn finish(mut self) {
        let process = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGUSR1).expect("signalled");
        let status = self.0.wait().expect("ended");
        assert!(status.success(), "haproxy ended with {status}");
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Starts it on a configuration, in a time zone with an odd offset. Listeners in the configuration are inherited descriptors.
    pub fn start(directory: &std::path::Path, config: &str) -> Self {
        let path = directory.join("haproxy.cfg");
        std::fs::write(&path, config).expect("configuration written");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&path).env("TZ", "America/St_Johns").stdout(Stdio::null());
        Self(command.spawn().expect("haproxy runs (it is a test dependency)"))
    }
}

/// Makes a descriptor one that children inherit, and gives the address of `bind` for it.
pub fn inherited(socket: &impl AsFd) -> String {
    fcntl(socket.as_fd(), FcntlArg::F_SETFD(FdFlag::empty())).expect("descriptor flags");
    format!("fd@{}", socket.as_fd().as_raw_fd())
}

/// A socket for a log target.
pub fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    socket
}

/// The next line a log target got.
pub fn received(socket: &UdpSocket) -> String {
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer).expect("a line in time");
    String::from_utf8(buffer[..length].to_vec()).expect("text")
}

/// One session to its end.
pub fn session(mut stream: impl Read + Write) {
    let _ = stream.write_all(b"hi");
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Seconds of `-0330` or `-03:30`.
pub fn offset_s(text: &str) -> i32 {
    let digits: i32 = text[1..].replace(':', "").parse().expect("an offset");
    let seconds = (digits / 100 * 60 + digits % 100) * 60;
    if text.starts_with('-') { -seconds } else { seconds }
}

/// An address that refuses connections for as long as the socket lives: bound, so that nobody else gets the port, but not listening.
pub fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
    (socket, address)
}
