//! Servers that behave as a scenario wants.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::wait;

/// How long a silent peer keeps a connection; longer than any scenario.
const LONG: Duration = Duration::from_secs(30);

/// A server with a thread for each connection.
pub struct Peer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Peer {
    /// A server that runs `serve` for each connection.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), serve)
    }

    /// The same at an address.
    pub fn start_at(address: SocketAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = listen(address);
        let address = listener.local_addr().expect("a bound socket");
        let (connections, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped, serve) = (connections.clone(), stop.clone(), Arc::new(serve));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let serve = serve.clone();
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, connections, stop }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("make a socket");
    socket.set_reuse_address(true).expect("set an option");
    // The socket that found the port to be free lives on for a moment in a child that another test is just starting.
    wait::until("a free address", || match socket.bind(&address.into()) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AddrInUse => false,
        Err(error) => panic!("bind {address}: {error}"),
    });
    socket.listen(1024).expect("listen");
    socket.into()
}

/// Sends back what comes.
pub fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 65536];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Says a name, then echoes.
pub fn named(name: &str) -> impl Fn(TcpStream) + Send + Sync + 'static {
    let name = name.to_owned();
    move |mut stream| {
        if writeln!(stream, "{name}").is_ok() {
            echo(stream);
        }
    }
}

/// Resets the connection unasked, late enough for the proxy to have noticed that it stood.
pub fn reset_soon(stream: TcpStream) {
    thread::sleep(Duration::from_millis(100));
    reset(stream);
}

/// Resets the connection.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("set an option");
}

/// Resets the connection after the first bytes.
pub fn reset_after_first(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 16]);
    reset(stream);
}

/// Keeps the connection and says nothing.
pub fn silent(stream: TcpStream) {
    thread::sleep(LONG);
    drop(stream);
}

/// Sends a greeting and closes.
pub fn greet_and_close(mut stream: TcpStream) {
    let _ = stream.write_all(b"hello");
}

/// Sends a greeting, closes its half, and keeps the other.
pub fn greet_and_half_close(mut stream: TcpStream) {
    let _ = stream.write_all(b"hello");
    let _ = stream.shutdown(Shutdown::Write);
    thread::sleep(LONG);
}

/// Reads to the end and then says nothing.
pub fn read_then_silent(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    thread::sleep(LONG);
}

/// A port at which connections are never answered: its queue is full.
pub struct BlackHole {
    listener: Socket,
    _fillers: Vec<Socket>,
}

impl BlackHole {
    /// Fills the queue of a listener that nobody accepts from.
    pub fn start() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("make a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bind");
        listener.listen(0).expect("listen");
        let address = listener.local_addr().expect("a bound socket");
        let fillers = (0..4).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("make a socket");
            // EINPROGRESS: it waits for ever, which is the purpose.
            let _ = socket.connect(&address);
            socket
        });
        Self { _fillers: fillers.collect(), listener }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().ok().and_then(|address| address.as_socket()).map_or(0, |address| address.port())
    }
}
