//! Runs the real HAProxy as the reference: generated configuration, inherited listeners, its stats socket and its log lines.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// How long a test waits for the reference before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Whether HAProxy is installed; prints why the test is skipped when it is not.
pub fn haproxy_is_installed() -> bool {
    let found = Command::new("haproxy").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("skipped: haproxy is not installed, so there is nothing to compare with");
    }
    found
}

/// A TCP socket of our own on a free loopback port, not listening yet.
pub fn bound_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0).into()).unwrap();
    socket
}

/// The address of a bound socket.
pub fn address_of(socket: &Socket) -> SocketAddr {
    socket.local_addr().unwrap().as_socket().unwrap()
}

/// A server that checks can find up or down, always on the same port.
pub struct Target(Socket);

impl Target {
    /// Refuses connections.
    pub fn new() -> Self {
        let socket = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket
        };
        // The kernel lets a socket keep its port after it stopped listening only if the port was asked for by number.
        let (finder, keeper) = (socket(), socket());
        finder.bind(&SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0).into()).unwrap();
        keeper.bind(&address_of(&finder).into()).unwrap();
        Self(keeper)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        address_of(&self.0)
    }

    /// Lets connections be made; nobody answers on them.
    pub fn up(&self) {
        self.0.listen(1024).unwrap();
    }

    /// Refuses connections again; the port stays ours.
    pub fn down(&self) {
        self.0.shutdown(std::net::Shutdown::Both).unwrap();
    }
}

/// A server that answers with its name.
pub struct NamedServer(pub SocketAddr);

impl NamedServer {
    /// In mode tcp: the name at once. In mode http: a response with the name after the request.
    pub fn start(name: String, http: bool) -> Self {
        let socket = bound_socket();
        socket.listen(1024).unwrap();
        let address = address_of(&socket);
        std::thread::spawn(move || {
            while let Ok((connection, _)) = socket.accept() {
                let mut stream = TcpStream::from(connection);
                let answer = if http {
                    let mut request = [0; 2048];
                    let _ = stream.read(&mut request);
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{name}", name.len())
                } else {
                    name.clone()
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self(address)
    }
}

/// A running HAProxy.
pub struct Haproxy {
    process: Child,
    directory: tempfile::TempDir,
    logs: UdpSocket,
    /// Where `bind fd@LISTENER` of its configuration listens.
    pub address: SocketAddr,
}

impl Haproxy {
    /// Starts it with `sections` behind a global section and timeouts. `LISTENER` in it stands for a listening socket that it inherits.
    pub fn start(sections: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let logs = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        logs.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let listener = bound_socket();
        listener.listen(1024).unwrap();
        listener.set_cloexec(false).unwrap();
        let configuration = format!(
            "global\n stats socket {0}/stats level admin\n log {1} format priority local0\n\
             defaults\n log global\n timeout connect 2s\n timeout client 10s\n timeout server 10s\n{2}\n",
            directory.path().display(),
            logs.local_addr().unwrap(),
            sections.replace("LISTENER", &listener.as_raw_fd().to_string()),
        );
        let file = directory.path().join("haproxy.cfg");
        std::fs::write(&file, configuration).unwrap();
        let process = Command::new("haproxy").arg("-db").arg("-f").arg(&file).stderr(Stdio::null()).spawn().unwrap();
        let running = Self { process, directory, logs, address: address_of(&listener) };
        let deadline = Instant::now() + PATIENCE;
        while running.try_command("show info").is_none() {
            assert!(Instant::now() < deadline, "haproxy did not start with\n{}", std::fs::read_to_string(&file).unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
        running
    }

    fn try_command(&self, command: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.directory.path().join("stats")).ok()?;
        stream.write_all(format!("{command}\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The answer of the stats socket.
    pub fn command(&self, command: &str) -> String {
        self.try_command(command).unwrap()
    }

    /// The next log line, with its level in angle brackets; `None` when none comes for a moment.
    pub fn log_line(&self) -> Option<String> {
        let mut line = [0; 4096];
        let length = self.logs.recv(&mut line).ok()?;
        Some(String::from_utf8_lossy(&line[..length]).trim_end().to_owned())
    }

    /// One column of `show stat` for a server.
    pub fn column(&self, backend: &str, server: &str, column: &str) -> String {
        let table = self.command("show stat");
        let mut lines = table.lines();
        let place = lines.next().unwrap().trim_start_matches("# ").split(',').position(|name| name == column).unwrap();
        let row = lines.find(|line| line.starts_with(&format!("{backend},{server},"))).unwrap();
        row.split(',').nth(place).unwrap().to_owned()
    }

    /// Connects, sends `request`, and reads the answer to its end.
    pub fn ask(&self, source: Option<IpAddr>, request: &str) -> String {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        }
        socket.connect(&self.address.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    /// Connects and keeps the connection, with the first bytes of the answer.
    pub fn hold(&self) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).unwrap_or(0);
        (stream, String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
