//! Client sides of scenarios.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use socket2::SockRef;

/// Longest wait for bytes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects to a port of this machine.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|error| panic!("connect to {port}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
    stream
}

/// Reads until the other side ends or resets; the bytes before that.
pub fn drain(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("set an option");
}

/// Ends the sending half.
pub fn half_close(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).expect("shut down the sending half");
}

/// The name that a `peer::named` server says first; `None` when the connection ends before.
pub fn server_name(stream: &TcpStream) -> Option<String> {
    let mut line = String::new();
    BufReader::with_capacity(64, stream).read_line(&mut line).ok()?;
    let name = line.trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Sends a text and reads as many bytes back.
pub fn exchange(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text)?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
