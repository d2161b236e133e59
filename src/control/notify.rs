//! Tells systemd how the process is doing (sd_notify(3)), where systemd asked to be told.
//!
//! The socket is connected before a chroot, as its path lies outside of it; that is why the protocol is spoken here.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The connection to systemd, or nothing.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// Connects to the socket that `NOTIFY_SOCKET` names.
    pub fn from_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").and_then(|name| name.into_string().ok());
        Self { socket: name.and_then(|name| connect(&name)) }
    }

    /// Whether somebody listens.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The process serves.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nMAINPID={}\nSTATUS={status}\n", std::process::id()));
    }

    /// A reload has begun at this time of the monotonic clock; `ready` says that it is over.
    pub fn reloading(&self, now_us: u64) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=reloading the configuration\n"));
    }

    /// The process finishes.
    pub fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={status}\n"));
    }

    fn tell(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // A supervisor that is gone or busy must not take the service with it.
            let _ = socket.send(text.as_bytes());
        }
    }
}

fn connect(name: &str) -> Option<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect_addr(&address.ok()?).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_hears_the_whole_life() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("a socket");
        let notifier = Notifier { socket: connect(path.to_str().expect("text")) };
        assert!(notifier.is_connected());
        notifier.ready("1 frontend");
        notifier.reloading(12_345);
        notifier.stopping("bye");
        let next = || {
            let mut buffer = [0; 200];
            let length = listener.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(next(), format!("READY=1\nMAINPID={}\nSTATUS=1 frontend\n", std::process::id()));
        assert_eq!(next(), "RELOADING=1\nMONOTONIC_USEC=12345\nSTATUS=reloading the configuration\n");
        assert_eq!(next(), "STOPPING=1\nSTATUS=bye\n");
    }

    #[test]
    fn nobody_to_tell_is_no_error() {
        assert!(connect("/nonexistent/notify").is_none());
        Notifier { socket: None }.ready("alone");
    }
}
