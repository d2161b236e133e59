//! Many clients at once: who has been served, in which order, and who still waits.
//!
//! The servers behind the proxy are `peer::named`: a client is served when it has read a server's name.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::wait;

/// Clients by the order in which they came.
#[derive(Default)]
pub struct Crowd {
    members: Vec<Member>,
    served: Vec<usize>,
}

struct Member {
    stream: Option<TcpStream>,
    said: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Served,
    Ended,
}

impl Crowd {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more client, connected to a port of this machine; its number.
    pub fn join(&mut self, port: u16) -> usize {
        self.join_from(IpAddr::from([127, 0, 0, 1]), port)
    }

    /// Several more, one after the other.
    pub fn join_many(&mut self, count: usize, port: u16) {
        for _ in 0..count {
            self.join(port);
        }
    }

    /// One more, from an address of its own.
    pub fn join_from(&mut self, source: IpAddr, port: u16) -> usize {
        let stream = connect_from(source, port);
        stream.set_nonblocking(true).expect("set an option");
        self.members.push(Member { stream: Some(stream), said: String::new(), state: State::Waiting });
        self.members.len() - 1
    }

    /// Looks at every client; the numbers of those that have been served so far, in order.
    pub fn served(&mut self) -> &[usize] {
        for (number, member) in self.members.iter_mut().enumerate() {
            if member.state == State::Waiting && member.look() == State::Served {
                self.served.push(number);
            }
        }
        &self.served
    }

    /// Waits until this many have been served.
    pub fn wait_served(&mut self, count: usize) {
        assert!(self.reaches(count, wait::SOON), "{} of {count} clients were served", self.served.len());
    }

    /// Whether this many are served before `limit` is over.
    pub fn reaches(&mut self, count: usize, limit: Duration) -> bool {
        wait::reached(limit, || self.served().len() >= count)
    }

    /// How many wait without having been served or turned away.
    pub fn waiting(&mut self) -> usize {
        self.served();
        self.members.iter().filter(|member| member.state == State::Waiting).count()
    }

    /// Whether a client's connection ended before it was served.
    pub fn turned_away(&mut self, number: usize) -> bool {
        self.served();
        self.members[number].state == State::Ended
    }

    /// The server that serves a client.
    pub fn server_of(&self, number: usize) -> &str {
        self.members[number].said.trim_end()
    }

    /// How many clients each of these servers serves or served.
    pub fn shares(&self, names: &[&str]) -> Vec<usize> {
        let count = |name: &&str| self.members.iter().filter(|member| member.said.trim_end() == *name).count();
        names.iter().map(count).collect()
    }

    /// A client closes its connection.
    pub fn leave(&mut self, number: usize) {
        self.members[number].stream = None;
    }

    /// A client that is connected, to send and receive.
    pub fn stream(&mut self, number: usize) -> &mut TcpStream {
        let stream = self.members[number].stream.as_mut().expect("a client that has not left");
        stream.set_nonblocking(false).expect("set an option");
        stream
    }

    /// How many clients have come so far.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody has come.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl Member {
    fn look(&mut self) -> State {
        let mut buffer = [0; 64];
        let Some(stream) = &mut self.stream else { return self.state };
        self.state = match stream.read(&mut buffer) {
            Ok(0) => State::Ended,
            Ok(length) => {
                self.said.push_str(&String::from_utf8_lossy(&buffer[..length]));
                if self.said.ends_with('\n') { State::Served } else { State::Waiting }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => State::Waiting,
            Err(_) => State::Ended,
        };
        self.state
    }
}

/// Connects to a port of this machine from one of its loopback addresses.
pub fn connect_from(source: IpAddr, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::for_address(SocketAddr::new(source, 0)), Type::STREAM, None).expect("make a socket");
    if source != IpAddr::from([127, 0, 0, 1]) {
        // The port is chosen at connect, when one that is in use elsewhere will do.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpBindAddressNoPort, &true).expect("set an option");
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap_or_else(|error| panic!("bind {source}: {error}"));
    }
    let target = if source.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]) };
    socket.connect(&SocketAddr::new(target, port).into()).unwrap_or_else(|error| panic!("connect to {port}: {error}"));
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set a timeout");
    stream
}
