//! Entry point of `ringbench`: reads the command line, does one thing, and ends with 0 when all went well, 1 when something failed,
//! 2 when the arguments make no sense.

use anyhow::{Context, bail};
use clap::Parser;
use ringbench::cli::{Arguments, Command, LoadArguments, LoadCommand, ServeArguments};
use ringbench::load::{self, Outcome, Plan};
use ringbench::progress::Progress;
use ringbench::protocol::ServerName;
use ringbench::server::{Server, ServerOptions};
use ringbench::{cpu, demo, output, report, say, versus};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cpu::raise_open_files();
    let result = match &arguments.command {
        Command::Serve(serve) => run_servers(serve),
        Command::Load(LoadCommand::Tcp(load)) => run_load(load),
        Command::Demo(demo) => demo::run(demo).map(|problems| tell(&problems)),
        Command::Versus(versus) => versus::run(versus),
        Command::Floor(floor) => versus::run_floor(floor),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ringbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the servers, prints `NAME ADDRESS` for each, and serves until killed.
fn run_servers(arguments: &ServeArguments) -> anyhow::Result<bool> {
    if !(0.0..=86_400_000.0).contains(&arguments.delay_ms) {
        bail!("--delay-ms must be 0 to one day");
    }
    if !arguments.name.is_empty() && arguments.name.len() != arguments.listen.len() {
        bail!("there are {} --listen and {} --name: give one name for each address, or none", arguments.listen.len(), arguments.name.len());
    }
    let mut servers = Vec::new();
    for (index, &listen) in arguments.listen.iter().enumerate() {
        let name = match arguments.name.get(index) {
            Some(name) => *name,
            None => ServerName::new(&format!("server{}", index + 1))?,
        };
        let delay = Duration::from_secs_f64(arguments.delay_ms / 1000.0);
        let options = ServerOptions { name, mode: arguments.mode, failure: arguments.fail, delay, cpu: arguments.pin };
        let server = Server::start(listen, options).with_context(|| format!("cannot serve on {listen}"))?;
        say!("{} {}", name.as_str(), server.address());
        servers.push(server);
    }
    if arguments.until_stdin_closes {
        std::io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(true);
    }
    servers.into_iter().try_for_each(Server::wait)?;
    Ok(true)
}

fn run_load(arguments: &LoadArguments) -> anyhow::Result<bool> {
    let plan = arguments.plan()?;
    let outcome = {
        let mut progress = Progress::new(&plan.target.to_string(), &plan);
        load::run(&plan, |snapshot| progress.update(snapshot))?
    };
    let to_stdout = arguments.json.as_deref() == Some(Path::new("-"));
    if !to_stdout {
        output::write(format_args!("{}", report::summary(&plan, &outcome)));
    }
    if let Some(path) = &arguments.json {
        write_json(path, to_stdout, &plan, &outcome)?;
    }
    Ok(outcome.errors.total() == 0 && outcome.operations > 0)
}

fn write_json(path: &Path, to_stdout: bool, plan: &Plan, outcome: &Outcome) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&report::json(plan, outcome))?;
    if to_stdout {
        say!("{text}");
        return Ok(());
    }
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Says how a demo went; true when nothing went wrong.
fn tell(problems: &[String]) -> bool {
    for problem in problems {
        eprintln!("FAILED: {problem}");
    }
    if problems.is_empty() {
        say!("The demo worked: every server answered and nothing failed.");
    }
    problems.is_empty()
}
