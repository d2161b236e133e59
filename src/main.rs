//! `ringmain`: understands the command line and hands over to the control plane.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use ringmain::cli::{self, Action, Options};
use ringmain::config;
use ringmain::control::console::Console;
use ringmain::control::load::{Loader, Outcome};
use ringmain::control::start::{Run, die_by, run};
use ringmain::control::stop::Ended;
use ringmain_model::Model;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = program_name(arguments.next());
    let options = match cli::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{program}: {error}\n\n{}", cli::USAGE);
            return ExitCode::FAILURE;
        }
    };
    match options.action {
        Action::Version => print(&cli::version()),
        Action::VersionDetails => print(&cli::version_details()),
        Action::Help => print(cli::USAGE),
        Action::KeywordHelp => keyword_help(&options),
        Action::Check | Action::Convert | Action::Run => with_configuration(&options, program),
    }
}

/// The name the program was started under, without its directory: the default log tag.
fn program_name(first: Option<std::ffi::OsString>) -> Arc<str> {
    let path = first.map(std::path::PathBuf::from);
    path.as_deref().and_then(std::path::Path::file_name).and_then(|name| name.to_str()).unwrap_or("ringmain").into()
}

fn keyword_help(options: &Options) -> ExitCode {
    match options.keyword.as_deref().map_or_else(|| Ok(config::manual::markdown()), config::manual::help) {
        Ok(text) => print(&text),
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn with_configuration(options: &Options, program: Arc<str>) -> ExitCode {
    let console = Console::new(options.quiet);
    if let Err(message) = cli::prepare_process(options) {
        console.alert(&message);
        return ExitCode::FAILURE;
    }
    let loader = Loader::new(options);
    if options.action == Action::Convert {
        return convert(&loader, console);
    }
    let Outcome { model, findings, warned } = loader.load();
    if !findings.is_empty() && (model.is_none() || !options.quiet) {
        console.raw(&findings);
    }
    let Some(model) = model else {
        console.alert("Fatal errors found in configuration.");
        return ExitCode::FAILURE;
    };
    match options.action {
        Action::Check if options.quiet => ExitCode::SUCCESS,
        Action::Check => {
            print(if warned { "Warnings were found.\nConfiguration file is valid\n" } else { "Configuration file is valid\n" })
        }
        _ => serve(options, loader, model, program, console),
    }
}

fn convert(loader: &Loader, console: Console) -> ExitCode {
    let (findings, text) = loader.convert();
    console.raw(&findings);
    match text {
        Some(text) => print(&text),
        None => {
            console.alert("Fatal errors found in configuration.");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options, loader: Loader, model: Model, program: Arc<str>, console: Console) -> ExitCode {
    match run(options, loader, model, program, console) {
        Ok(Run::Exit(code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(Run::Served(Ended::Softly)) => ExitCode::SUCCESS,
        Ok(Run::Served(Ended::Failed)) => ExitCode::FAILURE,
        Ok(Run::Served(Ended::BySignal(signal))) => ExitCode::from(u8::try_from(die_by(signal)).unwrap_or(1)),
        Err(lines) => {
            lines.iter().for_each(|line| console.alert(line));
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; a reader that has gone is no failure of ours.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
