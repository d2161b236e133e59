//! `ringbench demo`: a proxy in front of three embedded servers, driven for a few seconds, judged plainly.

use crate::cli::DemoArguments;
use crate::cpu;
use crate::load::{self, Outcome, Plan, Workload};
use crate::progress::Progress;
use crate::protocol::ServerName;
use crate::proxy::{Proxy, free_address};
use crate::report;
use crate::server::{Server, ServerOptions};
use crate::units;
use crate::{output, say};
use anyhow::Context;
use nix::sys::signal::Signal;
use std::fmt;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Environment variable and server name of each demo server.
const SERVERS: [(&str, &str); 3] = [("RINGMAIN_DEMO_A", "alpha"), ("RINGMAIN_DEMO_B", "bravo"), ("RINGMAIN_DEMO_C", "charlie")];
/// Environment variable of the address that the proxy shall listen on.
const LISTEN: &str = "RINGMAIN_DEMO_LISTEN";
/// Connections of each part; divisible by the number of servers.
const CONNECTIONS: usize = 24;
/// Patience with the proxy's start and stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the demo and prints what it sees; the list of what went wrong is empty when all is well.
///
/// # Errors
/// When servers or proxy cannot be started at all.
pub fn run(arguments: &DemoArguments) -> anyhow::Result<Vec<String>> {
    let mut servers = Vec::new();
    let mut command = Command::new(&arguments.ringmain);
    command.arg("-f").arg(&arguments.config).arg("-db");
    for (variable, name) in SERVERS {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(any_port, ServerOptions::named(ServerName::new(name)?)).context("cannot start a demo server")?;
        command.env(variable, server.address().to_string());
        say!("server {name:<8} on {}", server.address());
        servers.push(server);
    }
    let listen = free_address()?;
    command.env(LISTEN, listen.to_string());
    let title = arguments.ringmain.file_name().map_or_else(|| "the proxy".to_owned(), |name| name.to_string_lossy().into_owned());
    let mut proxy = Proxy::start(&title, command, None)?;
    proxy.wait_until_answering(listen, PATIENCE)?;
    say!("{title:<15} on {listen}, configuration {}", arguments.config.display());
    let before = Footprint::of(proxy.pid());

    let messages = drive("messages   ", &messages_plan(listen, arguments.duration.mul_f64(0.7)))?;
    let connections = drive("connections", &connections_plan(listen, arguments.duration.mul_f64(0.3)))?;
    let mut problems = Vec::new();
    print_results(&messages, &connections);
    judge("messages", &messages, &mut problems);
    judge("connections", &connections, &mut problems);
    say!("{title}: {before} before the load, {} after it", Footprint::settled(proxy.pid(), &before));
    stop(&mut proxy, &title, &mut problems)?;
    Ok(problems)
}

/// What a process holds at a moment; zeros when it cannot be read.
struct Footprint {
    resident_bytes: u64,
    descriptors: usize,
}

impl Footprint {
    fn of(pid: u32) -> Self {
        Self { resident_bytes: cpu::resident_bytes(pid).unwrap_or(0), descriptors: cpu::open_descriptors(pid).unwrap_or(0) }
    }

    /// After the load: once the last sessions are closed, or as it is after a second.
    fn settled(pid: u32, before: &Self) -> Self {
        let begun = Instant::now();
        loop {
            let now = Self::of(pid);
            if now.descriptors <= before.descriptors || begun.elapsed() > Duration::from_secs(1) {
                return now;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of memory, {} open descriptors", units::bytes(self.resident_bytes as f64), self.descriptors)
    }
}

fn messages_plan(target: SocketAddr, duration: Duration) -> Plan {
    Plan { connections: CONNECTIONS, duration, verify: true, ..Plan::new(target) }
}

fn connections_plan(target: SocketAddr, duration: Duration) -> Plan {
    Plan { workload: Workload::Connect, ..messages_plan(target, duration) }
}

fn drive(title: &str, plan: &Plan) -> anyhow::Result<Outcome> {
    let mut progress = Progress::new(title, plan);
    Ok(load::run(plan, |snapshot| progress.update(snapshot))?)
}

fn print_results(messages: &Outcome, connections: &Outcome) {
    say!("");
    say!("{} messages of 128 bytes on {CONNECTIONS} connections: {}/s", messages.operations, units::count(messages.rate()));
    say!("{} connections, one message each: {}/s", connections.operations, units::count(connections.rate()));
    say!("");
    output::write(format_args!("{}", report::percentiles(&[("message", &messages.latency), ("connection", &connections.latency)])));
    say!("");
    say!("messages");
    output::write(format_args!("{}", report::distribution(messages)));
    say!("connections");
    output::write(format_args!("{}", report::distribution(connections)));
    say!("");
}

/// Notes what is wrong with one part of the demo.
fn judge(part: &str, outcome: &Outcome, problems: &mut Vec<String>) {
    for (_, name) in SERVERS {
        if !outcome.servers.contains_key(name) {
            problems.push(format!("{part}: server {name} got no traffic"));
        }
    }
    for (kind, count) in outcome.errors.iter() {
        problems.push(format!("{part}: {count} times {}", kind.describe()));
    }
}

/// Soft stop first; each harder step is a problem worth naming.
fn stop(proxy: &mut Proxy, title: &str, problems: &mut Vec<String>) -> anyhow::Result<()> {
    for signal in [Signal::SIGUSR1, Signal::SIGTERM] {
        match proxy.stop(signal, PATIENCE)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                problems.push(format!("{title} ended badly after {signal} ({status}); its last words:\n{}", proxy.output()));
                return Ok(());
            }
            None => problems.push(format!("{title} still runs {} s after {signal}", PATIENCE.as_secs())),
        }
    }
    Ok(())
}
