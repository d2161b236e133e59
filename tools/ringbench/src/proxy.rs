//! A proxy under test as a child process: started pinned, waited for, stopped; its messages kept for the case that something fails.
//!
//! Used by `demo` and `versus`. A child that is still alive when its handle is dropped is
//! terminated, and killed if that does not help.

use crate::cpu;
use crate::mqtt::{Packet, Version};
use crate::protocol::{RESPONSE_HEADER_BYTES, Request, ResponseHeader};
use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of output kept of each child.
const LINES_MAX: usize = 200;
/// Time to end after SIGTERM before SIGKILL follows.
const FAREWELL: Duration = Duration::from_secs(3);
/// Time for the output of a program that has ended to arrive.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Pause between two looks at a child that starts or stops.
const POLL: Duration = Duration::from_millis(5);

/// A running proxy.
pub struct Proxy {
    child: Child,
    title: String,
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Output pipes still open.
    pipes: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a command, on one core if wanted, with its output collected.
    ///
    /// # Errors
    /// When the program cannot be started or the core does not exist.
    pub fn start(title: &str, mut command: Command, pin: Option<usize>) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().to_owned();
        // A child inherits the affinity of the thread that starts it, so this thread is pinned instead of the child: no code runs
        // between fork and exec.
        let starter = thread::spawn(move || -> std::io::Result<Child> {
            if let Some(cpu) = pin {
                cpu::pin_current_thread(cpu)?;
            }
            command.spawn()
        });
        let started = starter.join().unwrap_or_else(|_| Err(std::io::Error::other("the starting thread panicked")));
        let mut child = started.with_context(|| format!("cannot start {title} ({})", program.display()))?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let pipes = Arc::new(AtomicUsize::new(0));
        for pipe in [child.stdout.take().map(boxed), child.stderr.take().map(boxed)].into_iter().flatten() {
            let (lines, pipes) = (lines.clone(), pipes.clone());
            pipes.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || {
                collect(pipe, &lines);
                pipes.fetch_sub(1, Ordering::Release);
            });
        }
        Ok(Self { child, title: title.to_owned(), lines, pipes })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The last lines it printed.
    pub fn output(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("    {line}\n")).collect()
    }

    /// Waits until an exchange through `address` succeeds.
    ///
    /// # Errors
    /// When the process ends first or `limit` passes; with the process's own words.
    pub fn wait_until_answering(&mut self, address: SocketAddr, limit: Duration) -> anyhow::Result<()> {
        self.wait_until(address, limit, exchange_once)
    }

    /// As [`Proxy::wait_until_answering`], with an MQTT session instead of an exchange.
    ///
    /// # Errors
    /// As [`Proxy::wait_until_answering`].
    pub fn wait_until_connecting(&mut self, address: SocketAddr, limit: Duration) -> anyhow::Result<()> {
        self.wait_until(address, limit, session_once)
    }

    fn wait_until(&mut self, address: SocketAddr, limit: Duration, probe: fn(SocketAddr) -> std::io::Result<()>) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                bail!("{} ended while starting ({status}); its last words:\n{}", self.title, self.output());
            }
            let problem = match probe(address) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if begun.elapsed() > limit {
                bail!("{} does not answer on {address} after {limit:?} ({problem}); its last words:\n{}", self.title, self.output());
            }
            thread::sleep(POLL);
        }
    }

    /// Sends a signal and waits for the end; none when the process outlives `limit`.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
        if let Some(status) = self.ended()? {
            return Ok(Some(status));
        }
        // Not waited for until now, so the id is still this child's.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        let begun = Instant::now();
        while begun.elapsed() <= limit {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            thread::sleep(POLL);
        }
        Ok(None)
    }

    /// How it ended, if it has, once its last words are in. A grandchild may hold the pipes open, so that wait is short.
    fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        let begun = Instant::now();
        while status.is_some() && self.pipes.load(Ordering::Acquire) > 0 && begun.elapsed() < LAST_WORDS {
            thread::sleep(POLL);
        }
        Ok(status)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Asked first: a master process that is killed outright leaves its workers behind.
        if !matches!(self.stop(Signal::SIGTERM, FAREWELL), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A loopback address that was free a moment ago. Another process may take it before the proxy does; then the proxy says so.
///
/// # Errors
/// When no port is left.
pub fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let patience = Duration::from_millis(500);
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    Ok(stream)
}

fn exchange_once(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect(address)?;
    let bytes = RESPONSE_HEADER_BYTES as u32;
    stream.write_all(&Request::Exchange { request_bytes: 16, response_bytes: bytes, sequence: 1 }.encode())?;
    let mut answer = [0; RESPONSE_HEADER_BYTES];
    stream.read_exact(&mut answer)?;
    ResponseHeader::decode(&answer).map(|_| ()).map_err(std::io::Error::other)
}

/// A session from CONNECT to an accepting CONNACK (MQTT 3.1.1, section 3.2).
fn session_once(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = connect(address)?;
    let mut packet = Vec::new();
    let client_id = "probe".to_owned();
    Packet::Connect { version: Version::V3, client_id, keepalive_s: 60, credentials: None }.encode(Version::V3, &mut packet);
    stream.write_all(&packet)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer == [0x20, 2, 0, 0] { Ok(()) } else { Err(std::io::Error::other("the session was not accepted")) }
}

fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}

fn collect(pipe: Box<dyn Read + Send>, lines: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let mut kept = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= LINES_MAX {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&line).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Proxy {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Proxy::start("script", command, None).expect("sh starts")
    }

    #[test]
    fn a_program_that_ends_is_reported_with_its_words() {
        let mut proxy = shell("echo cannot bind >&2; exit 3");
        let error = proxy.wait_until_answering(free_address().expect("a port"), Duration::from_secs(20)).expect_err("it ended");
        let text = error.to_string();
        assert!(text.contains("script ended while starting") && text.contains("cannot bind"), "{text}");
    }

    #[test]
    fn a_program_that_ignores_a_signal_is_told_apart() {
        let mut proxy = shell("trap '' USR1; echo ready; while :; do sleep 0.01; done");
        while !proxy.output().contains("ready") {
            thread::sleep(POLL);
        }
        assert_eq!(proxy.stop(Signal::SIGUSR1, Duration::from_millis(50)).expect("waited"), None);
        assert!(proxy.stop(Signal::SIGTERM, Duration::from_secs(20)).expect("waited").is_some());
    }
}
