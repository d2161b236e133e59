//! The proxies that are compared: how each is configured and started.

use crate::cli::VersusArguments;
use crate::cpu::{self, CpuTime};
use crate::proxy::{Proxy, free_address};
use crate::say;
use anyhow::{Context, bail};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Patience with a proxy's start.
const PATIENCE: Duration = Duration::from_secs(10);

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
    proxy: Proxy,
}

impl Subject {
    /// Processor time of the proxy and its children until now.
    pub(super) fn cpu_time(&self) -> anyhow::Result<CpuTime> {
        let mut total = CpuTime::default();
        for pid in cpu::process_tree(self.proxy.pid()) {
            let time = cpu::process_time(pid).with_context(|| self.gone())?;
            total.running += time.running;
            total.waiting += time.waiting;
        }
        Ok(total)
    }

    /// Resident memory of the proxy and its children, in bytes.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let tree = cpu::process_tree(self.proxy.pid());
        tree.into_iter().map(|pid| cpu::resident_bytes(pid).with_context(|| self.gone())).sum()
    }

    fn gone(&self) -> String {
        format!("{} has ended; its last words:\n{}", self.title, self.proxy.output())
    }
}

/// How one proxy is started.
struct Recipe {
    key: &'static str,
    title: &'static str,
    program: PathBuf,
    version_flag: &'static str,
    template: &'static str,
    variables: &'static [(&'static str, &'static str)],
}

/// The baseline of all ratios.
pub(super) const BASELINE: &str = "haproxy";

/// Starts every proxy that is installed and waits until each answers; says which ones are missing.
///
/// # Errors
/// When an installed proxy does not come up, or none is there.
pub(super) fn start_all(arguments: &VersusArguments, server: SocketAddr) -> anyhow::Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for recipe in recipes(&arguments.ringmain) {
        let Some(program) = find(&recipe.program) else {
            say!("{}: not here ({}), left out", recipe.title, recipe.program.display());
            continue;
        };
        let subject = start(&recipe, &program, arguments, server)?;
        say!("{}: {}", subject.title, subject.version);
        subjects.push(subject);
    }
    if subjects.is_empty() {
        bail!("there is no proxy to measure; tools/setup/install.sh versus installs HAProxy and nginx");
    }
    Ok(subjects)
}

fn recipes(ringmain: &Path) -> Vec<Recipe> {
    let haproxy = |key, title, variables| Recipe {
        key,
        title,
        program: PathBuf::from("haproxy"),
        version_flag: "-v",
        template: "haproxy.cfg",
        variables,
    };
    vec![
        Recipe { program: ringmain.to_owned(), ..haproxy("ringmain", "Ringmain", &[]) },
        haproxy(BASELINE, "HAProxy", &[]),
        haproxy("haproxy-splice-auto", "HAProxy splice-auto", &[("VERSUS_SPLICE_AUTO", "1")]),
        haproxy("haproxy-splice", "HAProxy splice", &[("VERSUS_SPLICE", "1")]),
        haproxy("haproxy-splice-1m", "HAProxy splice 1 MiB", &[("VERSUS_SPLICE", "1"), ("VERSUS_PIPESIZE", "1048576")]),
        Recipe {
            key: "nginx",
            title: "nginx stream",
            program: PathBuf::from("nginx"),
            version_flag: "-v",
            template: "nginx.conf",
            variables: &[],
        },
    ]
}

fn start(recipe: &Recipe, program: &Path, arguments: &VersusArguments, server: SocketAddr) -> anyhow::Result<Subject> {
    let address = free_address()?;
    let template = arguments.templates.join(recipe.template);
    let mut command = Command::new(program);
    if recipe.template == "nginx.conf" {
        let directory = fs::canonicalize(&arguments.output)?;
        let text = fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
        let filled = text
            .replace("@LISTEN@", &address.to_string())
            .replace("@SERVER@", &server.to_string())
            .replace("@DIRECTORY@", &directory.to_string_lossy());
        let path = directory.join(recipe.template);
        fs::write(&path, filled).with_context(|| format!("cannot write {}", path.display()))?;
        command.arg("-e").arg("stderr").arg("-p").arg(&directory).arg("-c").arg(&path);
    } else {
        command.arg("-f").arg(&template).arg("-db");
        command.env("VERSUS_LISTEN", address.to_string()).env("VERSUS_SERVER", server.to_string());
        for variable in ["VERSUS_SPLICE_AUTO", "VERSUS_SPLICE", "VERSUS_PIPESIZE"] {
            command.env_remove(variable);
        }
        command.envs(recipe.variables.iter().copied());
    }
    let mut proxy = Proxy::start(recipe.title, command, Some(arguments.proxy_cpu))?;
    proxy.wait_until_answering(address, PATIENCE)?;
    Ok(Subject { key: recipe.key, title: recipe.title, version: version(program, recipe.version_flag), address, proxy })
}

/// A path as it is, a bare name from PATH and from where daemons are installed.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.exists().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    places.map(|place| place.join(program)).find(|candidate| candidate.is_file())
}

/// First line that a program prints about its version.
fn version(program: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown version".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown version").to_owned()
}
