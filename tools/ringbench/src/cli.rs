//! The command line of `ringbench`: raw arguments to checked plans. Documentation comments here are the text of `--help`.

use crate::load::{Plan, Protocol, Workload};
use crate::protocol::ServerName;
use crate::server::{Failure, Mode};
use crate::units::{parse_duration, parse_size};
use crate::versus::FloorArguments;
use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// Latency benchmark and demo servers for proxies.
#[derive(Debug, Parser)]
#[command(name = "ringbench", version, about, arg_required_else_help = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run servers for a proxy to forward to.
    Serve(ServeArguments),
    /// Put load on an address and report latency. The exit code is 0 only when operations were done and none failed.
    #[command(subcommand)]
    Load(LoadCommand),
    /// Run a proxy in front of three demo servers, drive it for a few seconds and say whether all went well.
    Demo(DemoArguments),
    /// Measure Ringmain, HAProxy and nginx side by side.
    Versus(VersusArguments),
    /// Forward without any feature: the floor that `versus` compares with.
    #[command(hide = true)]
    Floor(FloorArguments),
}

/// What kind of load.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Plain TCP.
    Tcp(LoadArguments),
}

/// `ringbench serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// What the servers do with a connection.
    #[arg(long, value_enum, default_value = "named-echo")]
    pub mode: Mode,
    /// Address to listen on, one server each; port 0 takes a free port.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: Vec<SocketAddr>,
    /// Name in the answers, one for each --listen (default: server1, server2, ...).
    #[arg(long, value_parser = |text: &str| ServerName::new(text).map_err(|error| error.to_string()))]
    pub name: Vec<ServerName>,
    /// Time between a request and its answer, in milliseconds.
    #[arg(long, default_value_t = 0.0)]
    pub delay_ms: f64,
    /// How the servers misbehave.
    #[arg(long, value_enum, default_value = "none")]
    pub fail: Failure,
    /// Core for the servers' threads.
    #[arg(long, value_name = "CPU")]
    pub pin: Option<usize>,
    /// End when standard input ends: servers of a script that is killed do not stay behind.
    #[arg(long)]
    pub until_stdin_closes: bool,
}

/// `ringbench load tcp`.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// Address or name and port to connect to.
    #[arg(long)]
    pub target: String,
    /// What the connections do.
    #[arg(long, value_enum, default_value = "pingpong")]
    pub workload: Workload,
    /// How they speak: framed needs `serve --mode named-echo` behind the target, raw works with any echo, discard or source.
    #[arg(long, value_enum, default_value = "framed")]
    pub protocol: Protocol,
    /// Connections over all threads.
    #[arg(long, short = 'c', default_value_t = 1)]
    pub connections: usize,
    /// Bytes of each request and answer (k, m: powers of 1024).
    #[arg(long, short = 's', default_value = "128", value_parser = parse_size)]
    pub size: u64,
    /// Bytes of each answer, when different from --size.
    #[arg(long, value_parser = parse_size)]
    pub response_size: Option<u64>,
    /// Bulk: bytes of each stream and direction; without it streams flow for the whole duration.
    #[arg(long, value_parser = parse_size)]
    pub bytes: Option<u64>,
    /// Measured time (default 10s; with --count or --bytes at most one hour).
    #[arg(long, short = 'd', value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Operations to do, over all connections.
    #[arg(long, short = 'n')]
    pub count: Option<u64>,
    /// Open loop: operations per second over all connections; latency counts from the time each one was due.
    #[arg(long, short = 'r')]
    pub rate: Option<f64>,
    /// Worker threads.
    #[arg(long, short = 't', default_value_t = 1)]
    pub threads: usize,
    /// Cores for the workers, used in turn.
    #[arg(long, value_name = "CPU", value_delimiter = ',')]
    pub pin: Vec<usize>,
    /// Time before the measured part.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub warmup: Duration,
    /// Time over which connections are opened.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub ramp: Duration,
    /// Longest wait for a connect, and for an answer.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Compare every byte with what must have been sent.
    #[arg(long)]
    pub verify: bool,
    /// Write the result to this file as JSON (- is standard output, without the table).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `ringbench demo`.
#[derive(Debug, Args)]
pub struct DemoArguments {
    /// The proxy's binary; it is started with `-f CONFIG -db`.
    #[arg(long, value_name = "PATH")]
    pub ringmain: PathBuf,
    /// Its configuration. It finds its own address in RINGMAIN_DEMO_LISTEN and its servers' in RINGMAIN_DEMO_A, _B and _C.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// How long to drive it.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    pub duration: Duration,
}

/// `ringbench versus`.
#[derive(Debug, Args)]
pub struct VersusArguments {
    /// Ringmain's binary; left out of the comparison when there is none.
    #[arg(long, value_name = "PATH", default_value = "target/release/ringmain")]
    pub ringmain: PathBuf,
    /// Folder with the proxies' configuration templates.
    #[arg(long, value_name = "DIRECTORY", default_value = "benches/versus")]
    pub templates: PathBuf,
    /// Folder for results.
    #[arg(long, value_name = "DIRECTORY", default_value = "target/versus")]
    pub output: PathBuf,
    /// Fewer and shorter runs: under three minutes in all.
    #[arg(long)]
    pub quick: bool,
    /// Runs of each proxy and workload (default 8, quick 3).
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Measured time of one run (default 2s, quick 600ms).
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Only these workloads, such as pp:64,bulk:1,rate:64,pp2:64 (default: all).
    #[arg(long, value_delimiter = ',')]
    pub workloads: Vec<String>,
    /// Idle connections for the memory figure (default 5000, quick 2000; 0 leaves it out).
    #[arg(long)]
    pub idle: Option<usize>,
    /// Print the results as a Markdown table instead of tables for the terminal.
    #[arg(long)]
    pub markdown: bool,
    /// Seed of the order of runs.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Core of the proxies; those with two threads also use the next one that is free.
    #[arg(long, value_name = "CPU", default_value_t = 0)]
    pub proxy_cpu: usize,
    /// Core of generator and servers (default: the last).
    #[arg(long, value_name = "CPU")]
    pub load_cpu: Option<usize>,
}

impl LoadArguments {
    /// The checked plan.
    ///
    /// # Errors
    /// When the target cannot be resolved or the arguments contradict each other.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let target = resolve(&self.target)?;
        let bounded_otherwise = self.count.is_some() || self.bytes.is_some();
        let default_duration = Duration::from_secs(if bounded_otherwise { 3600 } else { 10 });
        let response_bytes = self.response_size.unwrap_or(self.size);
        if self.bytes == Some(0) {
            bail!("--bytes must be at least 1");
        }
        let plan = Plan {
            target,
            workload: self.workload,
            protocol: self.protocol,
            connections: self.connections,
            threads: self.threads,
            cpus: self.pin.clone(),
            request_bytes: usize::try_from(self.size).unwrap_or(usize::MAX),
            response_bytes: usize::try_from(response_bytes).unwrap_or(usize::MAX),
            stream_bytes: self.bytes,
            duration: self.duration.unwrap_or(default_duration),
            count: self.count,
            rate: self.rate,
            warmup: self.warmup,
            ramp: self.ramp,
            timeout: self.timeout,
            verify: self.verify,
        };
        plan.check()?;
        Ok(plan)
    }
}

/// First address of a name and port.
fn resolve(target: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = target.to_socket_addrs().with_context(|| format!("cannot resolve {target}: expected NAME:PORT"))?;
    addresses.next().with_context(|| format!("{target} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_count_lifts_the_default_duration() {
        let plan = |extra: &[&str]| {
            let words = ["ringbench", "load", "tcp", "--target", "127.0.0.1:1"].iter().chain(extra);
            match Arguments::try_parse_from(words).map(|arguments| arguments.command) {
                Ok(Command::Load(LoadCommand::Tcp(load))) => load.plan(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(plan(&[]).expect("valid").duration, Duration::from_secs(10));
        assert_eq!(plan(&["--count", "5"]).expect("valid").duration, Duration::from_secs(3600));
        assert_eq!(plan(&["-s", "2k", "--response-size", "64"]).expect("valid").response_bytes, 64);
        assert!(plan(&["--size", "8"]).is_err());
        assert!(plan(&["--pin", "0,1"]).is_ok());
    }
}
