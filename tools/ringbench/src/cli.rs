//! The command line of `ringbench`: raw arguments to checked plans. Documentation comments here are the text of `--help`.

mod load;

pub use load::{HttpArguments, LoadCommand, MqttArguments, OutputArguments, PaceArguments, TcpArguments, TlsArguments};

use crate::protocol::ServerName;
use crate::server::{Delay, Failure, Mode};
use crate::units::parse_duration;
use crate::versus::FloorArguments;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
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
    Load(Box<LoadCommand>),
    /// Show several runs side by side: the JSON files that `load --json` wrote.
    Compare(CompareArguments),
    /// Run a proxy in front of three demo servers, drive it for a few seconds and say whether all went well.
    Demo(DemoArguments),
    /// Measure Ringmain, HAProxy and nginx side by side.
    Versus(VersusArguments),
    /// Forward without any feature: the floor that `versus` compares with.
    #[command(hide = true)]
    Floor(FloorArguments),
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
    /// Time between a request and its answer in milliseconds: a number, uniform:LOW,HIGH, normal:MEAN,DEVIATION or exponential:MEAN.
    #[arg(long, default_value = "0", value_name = "DELAY")]
    pub delay_ms: Delay,
    /// How the servers misbehave.
    #[arg(long, value_enum, default_value = "none")]
    pub fail: Failure,
    /// HTTP: answer everything with this status.
    #[arg(long, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub status: Option<u16>,
    /// MQTT: answer every CONNECT with this code; above 0 refuses the session.
    #[arg(long, value_name = "CODE", default_value_t = 0)]
    pub connack: u8,
    /// Speak TLS, with a self-signed certificate made at the start.
    #[arg(long)]
    pub tls: bool,
    /// Names and addresses in the certificate.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "localhost,127.0.0.1,::1")]
    pub certificate_names: Vec<String>,
    /// Write the certificate to this file, for `load --ca`.
    #[arg(long, value_name = "FILE")]
    pub write_certificate: Option<PathBuf>,
    /// Core for the servers' threads.
    #[arg(long, value_name = "CPU")]
    pub pin: Option<usize>,
    /// End when standard input ends: servers of a script that is killed do not stay behind.
    #[arg(long)]
    pub until_stdin_closes: bool,
}

/// `ringbench compare`.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// JSON files of runs; the first is what the others are compared with.
    #[arg(required = true, value_name = "FILE")]
    pub runs: Vec<PathBuf>,
    /// Names of the runs, one for each file (default: the files' names).
    #[arg(long, value_delimiter = ',')]
    pub names: Vec<String>,
    /// Write a page with all runs overlaid to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
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
    /// A second Ringmain, such as one built before a change, to compare with the first.
    #[arg(long, value_name = "PATH")]
    pub other_ringmain: Option<PathBuf>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }
}
