//! Ringmain or HAProxy with a configuration file.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::{Process, find};
use crate::wait;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ours.
    Ringmain,
    /// The real HAProxy, the specification of its own language.
    HaProxy,
}

/// A running proxy.
pub struct Proxy {
    /// The process.
    pub process: Process,
    directory: TempDir,
    name: String,
}

/// Name of the runtime socket in a proxy's folder. Configurations say `stats socket @SOCKET@ level admin`.
const SOCKET: &str = "runtime.sock";

impl Proxy {
    /// Starts a proxy with a haproxy.cfg text in which `@SOCKET@` stands for the path of the runtime socket, and waits until it answers there.
    pub fn start(kind: Kind, text: &str) -> Self {
        Self::start_as(kind, "proxy.cfg", text, &[])
    }

    /// The same with a file name (its extension chooses the language) and further arguments.
    pub fn start_as(kind: Kind, file: &str, text: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("make a folder");
        write_config(directory.path(), file, text);
        let mut command = Command::new(binary(kind));
        command.arg("-f").arg(directory.path().join(file)).arg("-db").args(arguments);
        let process = Process::start(&mut command, &directory.path().join("output"));
        let mut proxy = Self { process, directory, name: file.to_owned() };
        if text.contains("@SOCKET@") {
            proxy.wait_ready();
        }
        proxy
    }

    fn wait_ready(&mut self) {
        let socket = self.directory.path().join(SOCKET);
        wait::until("the runtime socket", || {
            assert!(self.process.is_running(), "the proxy ended: {}", self.output());
            UnixStream::connect(&socket).is_ok()
        });
    }

    /// Replaces the configuration file; a reload reads it.
    pub fn rewrite(&self, text: &str) {
        write_config(self.directory.path(), &self.name, text);
    }

    /// Replaces the file, sends SIGUSR2 and waits until the new generation runs. Ringmain only.
    pub fn reload(&self, text: &str) {
        let before = self.info("Generation");
        self.rewrite(text);
        self.process.signal(Signal::SIGUSR2);
        wait::until("a new generation", || self.info("Generation") != before);
    }

    /// What it wrote to its standard output and error.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("output")).unwrap_or_default()
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// Sends a command to the runtime socket and returns the whole answer.
    pub fn command(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.directory.path().join(SOCKET)).expect("connect to the runtime socket");
        stream.write_all(format!("{command}\n").as_bytes()).expect("send a command");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read an answer");
        answer
    }

    /// A field of `show info`.
    pub fn info(&self, field: &str) -> String {
        let info = self.command("show info");
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{field}: ")));
        line.unwrap_or_else(|| panic!("no {field} in show info:\n{info}")).to_owned()
    }

    /// The whole of `show stat`: columns by name, rows by `proxy,server`.
    pub fn table(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let table = self.command("show stat");
        let header: Vec<&str> = table.lines().next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
        let rows = table.lines().skip(1).filter(|line| line.contains(',')).map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let row = header.iter().zip(&cells).map(|(name, cell)| ((*name).to_owned(), (*cell).to_owned())).collect();
            (cells[..2].join(","), row)
        });
        rows.collect()
    }

    /// A column of `show stat` for one row.
    pub fn stat(&self, proxy: &str, server: &str, column: &str) -> String {
        let table = self.command("show stat");
        let header = table.lines().next().unwrap_or_default().trim_start_matches("# ");
        let index = header.split(',').position(|name| name == column).unwrap_or_else(|| panic!("no column {column} in {header}"));
        let row = table.lines().find(|line| line.starts_with(&format!("{proxy},{server},")));
        let row = row.unwrap_or_else(|| panic!("no row {proxy},{server} in\n{table}"));
        row.split(',').nth(index).unwrap_or_default().to_owned()
    }
}

fn write_config(folder: &Path, file: &str, text: &str) {
    let text = text.replace("@SOCKET@", &folder.join(SOCKET).to_string_lossy());
    // Written aside and renamed, so that a reload never reads half a file.
    let aside = folder.join("new");
    std::fs::write(&aside, text).expect("write a configuration");
    std::fs::rename(aside, folder.join(file)).expect("rename a configuration");
}

/// The proxy's program. Ringmain is `$RINGMAIN_BIN`, else the newest of the workspace's builds.
pub fn binary(kind: Kind) -> PathBuf {
    match kind {
        Kind::HaProxy => find("haproxy").expect("haproxy is installed (make test installs it)"),
        Kind::Ringmain => built("ringmain", "RINGMAIN_BIN"),
    }
}

/// A program of the workspace: `$variable`, else the newest of its builds.
pub fn built(program: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")), PathBuf::from);
    let builds = ["release", "debug"].map(|profile| target.join(profile).join(program));
    let newest = builds.into_iter().filter(|path| path.is_file()).max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
    newest.unwrap_or_else(|| panic!("{program} is not built: run cargo build -p {program}, or set {variable}"))
}

/// Waits until something accepts connections at a port.
pub fn wait_for_port(port: u16) {
    wait::until("a listening port", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}
