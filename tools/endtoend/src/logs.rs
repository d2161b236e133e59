//! A syslog server that keeps what it receives.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::wait;

/// Receives lines on a UDP port for as long as the test runs.
pub struct Logs {
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Logs {
    /// Starts on a free port.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind a log socket");
        let port = socket.local_addr().expect("a bound socket").port();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let collected = lines.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65536];
            while let Ok(length) = socket.recv(&mut buffer) {
                collected.lock().expect("collect a line").push(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned());
            }
        });
        Self { port, lines }
    }

    /// Where to send lines.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("read lines").clone()
    }

    /// Lines that contain a text.
    pub fn containing(&self, text: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(text)).collect()
    }

    /// Waits for a line that contains a text.
    pub fn wait_for(&self, text: &str) -> String {
        wait::for_value(&format!("a log line with {text:?}"), Duration::from_secs(20), || self.containing(text).into_iter().next())
    }
}
