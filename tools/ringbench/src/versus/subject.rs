//! A running proxy of the comparison: what it used, and how one is started from its recipe.

use super::network::Network;
use super::plan::VersusWorkload;
use super::recipe::{Kind, Recipe, Role};
use crate::cli::VersusArguments;
use crate::cpu::{self, CpuTime};
use crate::load::{self, Outcome, Plan, Snapshot};
use crate::protocol::ServerName;
use crate::proxy::{Proxy, free_address};
use crate::server::{Mode, Server, ServerOptions};
use anyhow::{Context, bail};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Patience with a proxy's start.
const PATIENCE: Duration = Duration::from_secs(10);

/// The baseline of all ratios.
pub(super) const BASELINE: &str = "haproxy";
/// The baseline of proxies with two threads.
pub(super) const BASELINE_TWO: &str = "haproxy-2";
/// The baseline of MQTT as plain TCP.
pub(super) const BASELINE_MQTT: &str = "haproxy-mqtt";
/// The baseline of MQTT with a stick table.
pub(super) const BASELINE_TABLE: &str = "haproxy-table";
/// The forwarder without features.
pub(super) const FLOOR: &str = "floor";
/// The same before a broker.
pub(super) const FLOOR_MQTT: &str = "floor-mqtt";

/// A running proxy of the comparison.
pub(super) struct Subject {
    /// Name in results, without blanks.
    pub(super) key: &'static str,
    /// Name in tables.
    pub(super) title: &'static str,
    /// What it says its version is.
    pub(super) version: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
    threads: usize,
    role: Role,
    // Ends before the server behind it.
    proxy: Proxy,
    _server: Server,
    network: Network,
}

impl Subject {
    /// Whether it takes part in a workload.
    pub(super) fn runs(&self, workload: VersusWorkload) -> bool {
        self.threads == workload.threads() && self.role.includes(workload)
    }

    /// Puts load on it, from within its network.
    ///
    /// # Errors
    /// As [`load::run`].
    pub(super) fn load(&self, plan: &Plan, observe: impl FnMut(Snapshot) + Send) -> anyhow::Result<Outcome> {
        self.network.within(|| Ok(load::run(plan, observe)?))
    }

    /// Whether its idle memory and its system calls are worth a row of their own.
    pub(super) fn is_distinct(&self) -> bool {
        self.threads == 1 && self.role == Role::Tcp && self.key != "haproxy-splice-auto"
    }

    /// The proxy and its children.
    pub(super) fn processes(&self) -> Vec<u32> {
        cpu::process_tree(self.proxy.pid())
    }

    /// Processor time of the proxy and its children until now.
    pub(super) fn cpu_time(&self) -> anyhow::Result<CpuTime> {
        let mut total = CpuTime::default();
        for pid in self.processes() {
            let time = cpu::process_time(pid).with_context(|| self.gone())?;
            total.running += time.running;
            total.waiting += time.waiting;
        }
        Ok(total)
    }

    /// Resident memory of the proxy and its children, in bytes.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.processes().into_iter().map(|pid| cpu::resident_bytes(pid).with_context(|| self.gone())).sum()
    }

    fn gone(&self) -> String {
        format!("{} has ended; its last words:\n{}", self.title, self.proxy.output())
    }
}

/// Where proxies run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    /// All proxies.
    pub(super) first: usize,
    /// The second thread of those that have two.
    pub(super) second: usize,
    /// Generator and server.
    pub(super) load: usize,
}

impl Cores {
    /// The second core is one that nobody else uses, or that of the generator.
    pub(super) fn of(first: usize, load: usize, available: usize) -> Self {
        let second = (0..available).find(|core| *core != first && *core != load).unwrap_or(load);
        Self { first, second, load }
    }
}

/// Starts a proxy with a server behind it, both in a network of their own, and waits until it answers.
///
/// # Errors
/// When it is not installed or does not come up.
pub(super) fn start(recipe: &Recipe, arguments: &VersusArguments, network: Network, cores: Cores) -> anyhow::Result<Subject> {
    let Some(program) = find(&recipe.program) else { bail!("not here ({})", recipe.program.display()) };
    let version = if recipe.kind == Kind::Floor { "bare epoll".to_owned() } else { version(&program) };
    let (proxy, server, address) = network.within(|| {
        let mut options = ServerOptions::named(ServerName::new("target")?);
        options.cpu = Some(cores.load);
        if recipe.role.speaks_mqtt() {
            options.mode = Mode::Mqtt;
        }
        let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), options)?;
        let (proxy, address) = start_proxy(recipe, arguments, &program, server.address(), cores)?;
        Ok((proxy, server, address))
    })?;
    let Recipe { key, title, threads, role, .. } = *recipe;
    Ok(Subject { key, title, version, address, threads, role, proxy, _server: server, network })
}

fn start_proxy(
    recipe: &Recipe,
    arguments: &VersusArguments,
    program: &Path,
    server: SocketAddr,
    cores: Cores,
) -> anyhow::Result<(Proxy, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(program);
    match recipe.kind {
        Kind::Floor => {
            command.arg("floor").arg("--listen").arg(address.to_string()).arg("--target").arg(server.to_string());
        }
        Kind::Haproxy => {
            let template = if recipe.role == Role::MqttTable { "haproxy-mqtt.cfg" } else { "haproxy.cfg" };
            command.arg("-f").arg(arguments.templates.join(template)).arg("-db");
            command.env("VERSUS_LISTEN", address.to_string()).env("VERSUS_SERVER", server.to_string());
            command.env("VERSUS_THREADS", recipe.threads.to_string());
            for variable in ["VERSUS_SPLICE_AUTO", "VERSUS_SPLICE", "VERSUS_PIPESIZE"] {
                command.env_remove(variable);
            }
            command.envs(recipe.variables.iter().copied());
        }
        Kind::Nginx => {
            let (directory, path) = fill_nginx(recipe, arguments, address, server)?;
            command.arg("-e").arg("stderr").arg("-p").arg(directory).arg("-c").arg(path);
        }
    }
    let mut proxy = if recipe.threads == 1 {
        Proxy::start(recipe.title, command, Some(cores.first))?
    } else {
        Proxy::start(recipe.title, on_both(&command, cores), None)?
    };
    if recipe.role.speaks_mqtt() {
        proxy.wait_until_connecting(address, PATIENCE)?;
    } else {
        proxy.wait_until_answering(address, PATIENCE)?;
    }
    Ok((proxy, address))
}

/// The same command on two cores.
fn on_both(command: &Command, cores: Cores) -> Command {
    let mut both = Command::new("taskset");
    both.arg("-c").arg(format!("{},{}", cores.first, cores.second)).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => both.env(name, value),
            None => both.env_remove(name),
        };
    }
    both
}

fn fill_nginx(recipe: &Recipe, arguments: &VersusArguments, address: SocketAddr, server: SocketAddr) -> anyhow::Result<(PathBuf, PathBuf)> {
    let template = arguments.templates.join("nginx.conf");
    let directory = fs::canonicalize(&arguments.output)?;
    let text = fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
    let filled = text
        .replace("@LISTEN@", &address.to_string())
        .replace("@SERVER@", &server.to_string())
        .replace("@WORKERS@", &recipe.threads.to_string())
        .replace("@PID@", &directory.join(format!("{}.pid", recipe.key)).to_string_lossy());
    let path = directory.join(format!("{}.conf", recipe.key));
    fs::write(&path, filled).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((directory, path))
}

/// A path as it is, a bare name from PATH and from where daemons are installed.
pub(super) fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.exists().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    places.map(|place| place.join(program)).find(|candidate| candidate.is_file())
}

/// First line that a program prints about its version.
fn version(program: &Path) -> String {
    let Ok(output) = Command::new(program).arg("-v").output() else { return "unknown version".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown version").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_core_is_free_if_there_is_one() {
        assert_eq!(Cores::of(0, 1, 2).second, 1);
        assert_eq!(Cores::of(0, 3, 4).second, 1);
        assert_eq!(Cores::of(1, 3, 4).second, 0);
        assert_eq!(Cores::of(0, 0, 1).second, 0);
    }

    #[test]
    fn a_wrapped_command_keeps_arguments_and_environment() {
        let mut command = Command::new("proxy");
        command.arg("-x").env("A", "1").env_remove("B");
        let both = on_both(&command, Cores { first: 2, second: 5, load: 7 });
        assert_eq!(both.get_args().collect::<Vec<_>>(), ["-c", "2,5", "proxy", "-x"]);
        assert_eq!(both.get_envs().count(), 2);
    }
}
