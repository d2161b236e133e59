//! The real binary under test: started with a configuration in a directory of its own, watched through its standard error.

#![allow(dead_code)] // each test file uses a part of it

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for anything; the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The program under test.
pub const RINGMAIN: &str = env!("CARGO_BIN_EXE_ringmain");

/// Waits until a condition holds.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A server that sends its name to each connection and then echoes.
pub struct Echo {
    pub address: SocketAddr,
}

impl Echo {
    pub fn start(name: &'static str) -> Self {
        Self::start_at(name, 0)
    }

    /// The same on a given port, for a server that comes back.
    pub fn start_at(name: &'static str, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                thread::spawn(move || echo(connection, name));
            }
        });
        Self { address }
    }
}

fn echo(mut connection: TcpStream, name: &str) {
    let mut buffer = [0; 4096];
    if connection.write_all(name.as_bytes()).is_err() {
        return;
    }
    while let Ok(length @ 1..) = connection.read(&mut buffer) {
        if connection.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// A running process with its directory.
pub struct Process {
    pub child: Child,
    directory: tempfile::TempDir,
    stderr: Arc<Mutex<String>>,
}

/// A directory with a configuration, before the process.
pub struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    pub fn new(configuration: &str) -> Self {
        let site = Self { directory: tempfile::tempdir().expect("a directory") };
        site.write(configuration);
        site
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration; `@` stands for the directory.
    pub fn write(&self, configuration: &str) {
        let text = configuration.replace('@', &self.directory.path().display().to_string());
        fs::write(self.path("ringmain.cfg"), text).expect("the configuration");
    }

    /// The command to run it with these flags.
    pub fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(RINGMAIN);
        command.arg("-f").arg(self.path("ringmain.cfg")).args(flags).env_remove("NOTIFY_SOCKET");
        command
    }

    /// Runs it to its end: exit status, standard output, standard error.
    pub fn run(&self, flags: &[&str]) -> (ExitStatus, String, String) {
        let output = self.command(flags).output().expect("the program");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// Starts it in the foreground and waits until its runtime socket answers.
    pub fn start(self, flags: &[&str]) -> Process {
        let mut command = self.command(flags);
        self.spawn(command.arg("-db"))
    }

    /// The same with a command of one's own.
    pub fn spawn(self, command: &mut Command) -> Process {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the program");
        let stderr = Arc::new(Mutex::new(String::new()));
        let (pipe, collected) = (child.stderr.take().expect("piped"), stderr.clone());
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let mut text = collected.lock().expect("not poisoned");
                text.push_str(&line);
                text.push('\n');
            }
        });
        let mut process = Process { child, directory: self.directory, stderr };
        wait_for("the runtime socket", || {
            let ended = process.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", process.stderr());
            process.ask("show info").is_some_and(|answer| answer.contains("Name: "))
        });
        process
    }
}

impl Process {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a new configuration; `@` stands for the directory.
    pub fn write(&self, configuration: &str) {
        let text = configuration.replace('@', &self.directory.path().display().to_string());
        fs::write(self.path("ringmain.cfg"), text).expect("the configuration");
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("not poisoned").clone()
    }

    /// Waits until standard error holds a text.
    pub fn wait_line(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.stderr().contains(text) {
            assert!(Instant::now() < deadline, "never said: {text}\n{}", self.stderr());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the process is there");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it never ended\n{}", self.stderr());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks its runtime socket `@/run.sock`; `None` when nobody answers.
    pub fn ask(&self, command: &str) -> Option<String> {
        ask(&self.path("run.sock"), command)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks a runtime socket; `None` when nobody answers.
pub fn ask(path: &Path, command: &str) -> Option<String> {
    let mut connection = UnixStream::connect(path).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    connection.write_all(format!("{command}\n").as_bytes()).ok()?;
    connection.shutdown(Shutdown::Write).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Connects and reads the server's name of `length` bytes; `None` when that fails.
pub fn visit(port: u16, length: usize) -> Option<(TcpStream, String)> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut name = vec![0; length];
    connection.read_exact(&mut name).ok()?;
    Some((connection, String::from_utf8_lossy(&name).into_owned()))
}

/// Sends a line and reads it back.
pub fn exchange(connection: &mut TcpStream, text: &str) -> bool {
    let mut back = vec![0; text.len()];
    connection.write_all(text.as_bytes()).is_ok() && connection.read_exact(&mut back).is_ok() && back == text.as_bytes()
}
