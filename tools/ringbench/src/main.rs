//! Entry point of `ringbench`: reads the command line, does one thing, and ends with 0 when all went well, 1 when something failed,
//! 2 when the arguments make no sense.

use anyhow::{Context, bail};
use clap::Parser;
use ringbench::cli::{Arguments, Command, CompareArguments, LoadCommand, OutputArguments, ServeArguments};
use ringbench::load::{self, Outcome, Plan};
use ringbench::progress::Progress;
use ringbench::protocol::ServerName;
use ringbench::report::Run;
use ringbench::server::{Mode, Server, ServerOptions};
use ringbench::tls::TlsServer;
use ringbench::{cpu, demo, output, report, say, versus};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cpu::raise_open_files();
    let result = match &arguments.command {
        Command::Serve(serve) => run_servers(serve),
        Command::Load(load) => run_load(load),
        Command::Compare(compare) => run_compare(compare),
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
    if !arguments.name.is_empty() && arguments.name.len() != arguments.listen.len() {
        bail!("there are {} --listen and {} --name: give one name for each address, or none", arguments.listen.len(), arguments.name.len());
    }
    let tls = certificate(arguments)?;
    let mut servers = Vec::new();
    for (index, &listen) in arguments.listen.iter().enumerate() {
        let name = match arguments.name.get(index) {
            Some(name) => *name,
            None => ServerName::new(&format!("server{}", index + 1))?,
        };
        let options = ServerOptions {
            name,
            mode: arguments.mode,
            failure: arguments.fail,
            delay: arguments.delay_ms,
            cpu: arguments.pin,
            tls: tls.clone(),
            status: arguments.status,
            connack: arguments.connack,
        };
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

/// The certificate of the servers, where they speak TLS.
fn certificate(arguments: &ServeArguments) -> anyhow::Result<Option<TlsServer>> {
    if !arguments.tls && arguments.mode != Mode::Tls {
        return Ok(None);
    }
    let tls = TlsServer::self_signed(&arguments.certificate_names)?;
    if let Some(path) = &arguments.write_certificate {
        write_file(path, tls.certificate_pem().as_bytes())?;
    }
    Ok(Some(tls))
}

fn run_load(command: &LoadCommand) -> anyhow::Result<bool> {
    let plan = command.plan()?;
    let outcome = {
        let mut progress = Progress::new(&plan.target.to_string(), &plan);
        load::run(&plan, |snapshot| progress.update(snapshot))?
    };
    write_results(command.output(), &plan, &outcome)?;
    Ok(outcome.errors.total() == 0 && outcome.operations > 0)
}

fn write_results(files: &OutputArguments, plan: &Plan, outcome: &Outcome) -> anyhow::Result<()> {
    let json = report::json(plan, outcome);
    let to_stdout = files.json.as_deref() == Some(Path::new("-"));
    if to_stdout {
        say!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        output::write(format_args!("{}", report::summary(plan, outcome)));
    }
    if let Some(path) = files.json.as_deref().filter(|_| !to_stdout) {
        write_file(path, (serde_json::to_string_pretty(&json)? + "\n").as_bytes())?;
    }
    if let Some(path) = &files.hgrm {
        write_file(path, report::hgrm(&outcome.latency).as_bytes())?;
    }
    if let Some(path) = &files.hlog {
        write_file(path, &report::hlog(outcome)?)?;
    }
    if let Some(path) = &files.html {
        let title = path.file_stem().map_or_else(|| "run".to_owned(), |stem| stem.to_string_lossy().into_owned());
        write_file(path, report::page(&[Run::from_json(&title, &json)?]).as_bytes())?;
    }
    Ok(())
}

/// Prints stored runs side by side and writes their page.
fn run_compare(arguments: &CompareArguments) -> anyhow::Result<bool> {
    if !arguments.names.is_empty() && arguments.names.len() != arguments.runs.len() {
        bail!("there are {} files and {} --names: give one name for each file, or none", arguments.runs.len(), arguments.names.len());
    }
    let mut runs = Vec::new();
    for (index, path) in arguments.runs.iter().enumerate() {
        let file_name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
        let name = arguments.names.get(index).unwrap_or(&file_name);
        runs.push(Run::from_json(name, &value).with_context(|| format!("{} is not a run of `ringbench load --json`", path.display()))?);
    }
    output::write(format_args!("{}", report::comparison(&runs)));
    if let Some(path) = &arguments.html {
        write_file(path, report::page(&runs).as_bytes())?;
    }
    Ok(true)
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
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
