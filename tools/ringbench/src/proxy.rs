//! A proxy under test as a child process: started pinned, waited for, stopped; its messages kept for the case that something fails.
//!
//! Used by `demo` and `versus`. A child that is still alive when its handle is dropped is killed.

use crate::cpu;
use crate::protocol::{RESPONSE_HEADER_BYTES, Request, ResponseHeader};
use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of output kept of each child.
const LINES_MAX: usize = 200;
/// Pause between two looks at a child that starts or stops.
const POLL: Duration = Duration::from_millis(5);

/// A running proxy.
pub struct Proxy {
    child: Child,
    title: String,
    lines: Arc<Mutex<VecDeque<String>>>,
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
        for pipe in [child.stdout.take().map(boxed), child.stderr.take().map(boxed)].into_iter().flatten() {
            let lines = lines.clone();
            thread::spawn(move || collect(pipe, &lines));
        }
        Ok(Self { child, title: title.to_owned(), lines })
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
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended while starting ({status}); its last words:\n{}", self.title, self.output());
            }
            let problem = match exchange_once(address) {
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
        // A process that is gone already is what was wanted.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        let begun = Instant::now();
        while begun.elapsed() <= limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(POLL);
        }
        Ok(None)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
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

fn exchange_once(address: SocketAddr) -> std::io::Result<()> {
    let patience = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let bytes = RESPONSE_HEADER_BYTES as u32;
    stream.write_all(&Request::Exchange { request_bytes: 16, response_bytes: bytes, sequence: 1 }.encode())?;
    let mut answer = [0; RESPONSE_HEADER_BYTES];
    stream.read_exact(&mut answer)?;
    ResponseHeader::decode(&answer).map(|_| ()).map_err(std::io::Error::other)
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
