//! A small MQTT client and real brokers that can be told apart: each broker keeps its name as a retained message on the topic `who`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Process, find};
use crate::proxy::wait_for_port;

/// Longest wait for a packet.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mosquitto broker.
pub struct Broker {
    /// Where it listens.
    pub port: u16,
    /// What it says on the topic `who`.
    pub name: String,
    /// The process.
    pub process: Process,
}

impl Broker {
    /// Starts a broker at a port of this machine; its files are in `folder`.
    pub fn start(folder: &Path, port: u16, name: &str) -> Self {
        let config = folder.join(format!("mosquitto-{port}.conf"));
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_connections -1\n");
        std::fs::write(&config, text).expect("write a broker's file");
        let program = find("mosquitto").expect("mosquitto is installed (make test installs it)");
        let log = folder.join(format!("mosquitto-{port}.log"));
        let process = Process::start(Command::new(program).arg("-c").arg(config), &log);
        wait_for_port(port);
        let publish = find("mosquitto_pub").expect("mosquitto_pub is installed (make test installs it)");
        let port_text = port.to_string();
        let status = Command::new(publish).args(["-h", "127.0.0.1", "-p", &port_text, "-r", "-q", "1", "-t", "who", "-m", name]).status();
        assert!(status.expect("run mosquitto_pub").success());
        Self { port, name: name.to_owned(), process }
    }
}

/// The bytes of a CONNECT of MQTT 3.1.1 with a clean session.
pub fn connect_packet(id: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60];
    put_text(&mut body, id);
    packet(0x10, &body)
}

/// The bytes of a CONNECT of MQTT 5.0 with a clean start and no properties.
pub fn connect_packet_v5(id: &str) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0];
    put_text(&mut body, id);
    packet(0x10, &body)
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut length = body.len();
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        bytes.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

/// A connected client.
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects to a port of this machine under an id; `None` when no CONNACK of success comes.
    pub fn connect(port: u16, id: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.write_all(&connect_packet(id)).ok()?;
        let mut client = Self { stream };
        let (kind, body) = client.read_packet()?;
        (kind == 0x20 && body == [0, 0]).then_some(client)
    }

    /// The name of the broker that serves this client.
    pub fn who(&mut self) -> Option<String> {
        let mut body = vec![0, 1];
        put_text(&mut body, "who");
        body.push(0);
        self.stream.write_all(&packet(0x82, &body)).ok()?;
        loop {
            let (kind, body) = self.read_packet()?;
            if kind >> 4 == 3 {
                let topic = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
                return String::from_utf8(body.get(2 + topic..)?.to_vec()).ok();
            }
        }
    }

    /// Leaves in order.
    pub fn disconnect(mut self) {
        // Whoever has gone already need not be told.
        let _ = self.stream.write_all(&[0xe0, 0]);
    }

    /// The next packet: its first byte and its body.
    pub fn read_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut byte = [0; 1];
        self.stream.read_exact(&mut byte).ok()?;
        let kind = byte[0];
        let (mut length, mut shift) = (0usize, 0);
        loop {
            self.stream.read_exact(&mut byte).ok()?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                return None;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some((kind, body))
    }
}

/// The broker that a client with this id is served by; the client leaves again.
pub fn broker_of(port: u16, id: &str) -> Option<String> {
    let mut client = Client::connect(port, id)?;
    let name = client.who();
    client.disconnect();
    name
}
