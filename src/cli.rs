//! The command line: HAProxy's flags, spelled and combined as HAProxy takes them, turned into plain options.
//!
//! Called by `main` once. Parsing is a pure function of the arguments; nothing here reads a file or prints.

mod help;

use std::ffi::OsString;
use std::path::PathBuf;

pub use help::{USAGE, version, version_details};

/// What the process was asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Load, start, serve.
    #[default]
    Run,
    /// `-c`: load, say whether the configuration is valid, exit.
    Check,
    /// `convert`: load and print the configuration in TOML.
    Convert,
    /// `-v`: one line about the version.
    Version,
    /// `-vv`: version, build and what this machine offers.
    VersionDetails,
    /// `--help`.
    Help,
    /// `--help-keyword [WORD]`: the manual of configuration keywords.
    KeywordHelp,
}

/// What old processes are told once this one is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// `-sf`: SIGUSR1, finish what you have.
    Finish,
    /// `-st`: SIGTERM, end now.
    Terminate,
}

/// The command line, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub action: Action,
    /// Configuration files and directories, in order (`-f`, `--`, arguments of `convert`).
    pub files: Vec<PathBuf>,
    /// `-C`: the directory to change to before anything is read.
    pub directory: Option<PathBuf>,
    /// The word of `--help-keyword`.
    pub keyword: Option<String>,
    /// `-V`: say more.
    pub verbose: bool,
    /// `-q`: say nothing that is not an error.
    pub quiet: bool,
    /// `-D`: to the background.
    pub daemon: bool,
    /// `-db`, `-d` and `-Ws`: stay in the foreground whatever else says.
    pub foreground: bool,
    /// `-Ws`: tell systemd, and fail when it cannot be told.
    pub systemd: bool,
    /// `-p`: overrides `pidfile`.
    pub pidfile: Option<PathBuf>,
    /// `-n`: overrides the global `maxconn`.
    pub maxconn: Option<u32>,
    /// `-N`: `maxconn` of proxies that have none.
    pub proxy_maxconn: Option<u32>,
    /// `-L`: value of `HAPROXY_LOCALPEER` in the configuration.
    pub local_peer: Option<String>,
    /// `-dW`: warnings fail the load.
    pub zero_warning: bool,
    /// `-dD`: report settings that have no effect here, too.
    pub diagnostics: bool,
    /// `-dS`: never splice.
    pub no_splice: bool,
    /// What `-sf` or `-st` tell the old processes.
    pub farewell: Option<Farewell>,
    /// Process ids that followed `-sf` or `-st`.
    pub old_processes: Vec<i32>,
}

/// Why a command line makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// A flag that needs an argument came last.
    #[error("'{0}' needs {1}")]
    Missing(String, &'static str),
    /// An argument is not what the flag needs.
    #[error("'{0}' needs {1}, not '{2}'")]
    Malformed(String, &'static str, String),
    /// HAProxy has this flag, Ringmain does not.
    #[error("'{0}' is known to HAProxy but not supported here")]
    Unsupported(String),
    /// Nobody has this flag.
    #[error("unknown option '{0}'{1}")]
    Unknown(String, String),
    /// There is nothing to load.
    #[error("no configuration file: name one with '-f FILE'")]
    NoFile,
}

/// Flags of HAProxy that exist there and not here.
const UNSUPPORTED: [&str; 9] = ["-m", "-cc", "-dG", "-dK", "-dL", "-dR", "-dV", "-dF", "-dr"];
/// Flags without an argument, for the advice on unknown ones.
const KNOWN: [&str; 30] = [
    "-f",
    "-c",
    "-C",
    "-V",
    "-v",
    "-vv",
    "-d",
    "-db",
    "-D",
    "-W",
    "-Ws",
    "-p",
    "-q",
    "-n",
    "-N",
    "-L",
    "-S",
    "-dM",
    "-dI",
    "-dW",
    "-dD",
    "-dS",
    "-de",
    "-dp",
    "-sf",
    "-st",
    "-x",
    "-h",
    "--help",
    "--help-keyword",
];

/// Understands a command line, program name excluded.
///
/// # Errors
/// The first thing that makes no sense.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, UsageError> {
    let mut options = Options::default();
    let mut rest = Arguments { list: arguments.into_iter().collect::<Vec<_>>().into_iter().peekable() };
    if rest.list.peek().is_some_and(|first| first == "convert") {
        rest.list.next();
        options.action = Action::Convert;
    }
    while let Some(argument) = rest.list.next() {
        let Some(flag) = argument.to_str().filter(|text| text.starts_with('-') && text.len() > 1) else {
            if options.action == Action::Convert {
                options.files.push(argument.into());
                continue;
            }
            return Err(unknown(&argument.to_string_lossy()));
        };
        take_flag(&mut options, flag, &mut rest)?;
    }
    if options.files.is_empty() && matches!(options.action, Action::Run | Action::Check | Action::Convert) {
        return Err(UsageError::NoFile);
    }
    Ok(options)
}

struct Arguments {
    list: std::iter::Peekable<std::vec::IntoIter<OsString>>,
}

impl Arguments {
    fn value(&mut self, flag: &str, what: &'static str) -> Result<OsString, UsageError> {
        self.list.next().ok_or_else(|| UsageError::Missing(flag.into(), what))
    }

    fn number(&mut self, flag: &str) -> Result<u32, UsageError> {
        let text = self.value(flag, "a number")?.to_string_lossy().into_owned();
        text.parse().map_err(|_| UsageError::Malformed(flag.into(), "a number", text))
    }

    /// Process ids up to the next flag or the end.
    fn processes(&mut self, flag: &str) -> Result<Vec<i32>, UsageError> {
        let mut list = Vec::new();
        while let Some(word) = self.list.next_if(|word| !word.to_string_lossy().starts_with('-')) {
            let word = word.to_string_lossy().into_owned();
            // `-sf $(cat pidfile)` in quotes gives several in one word.
            for text in word.split_whitespace() {
                let number = text.parse().ok().filter(|pid| *pid > 0);
                list.push(number.ok_or_else(|| UsageError::Malformed(flag.into(), "process ids", text.into()))?);
            }
        }
        Ok(list)
    }
}

fn take_flag(options: &mut Options, flag: &str, rest: &mut Arguments) -> Result<(), UsageError> {
    match flag {
        "-f" => options.files.push(rest.value(flag, "a file or directory")?.into()),
        "--" => options.files.extend(rest.list.by_ref().map(PathBuf::from)),
        "-c" => options.action = Action::Check,
        "-v" | "--version" => options.action = Action::Version,
        "-vv" => options.action = Action::VersionDetails,
        "-h" | "--help" => options.action = Action::Help,
        "--help-keyword" => {
            options.action = Action::KeywordHelp;
            let words: Vec<String> = rest.list.by_ref().map(|word| word.to_string_lossy().into_owned()).collect();
            options.keyword = (!words.is_empty()).then(|| words.join(" "));
        }
        "-C" => options.directory = Some(rest.value(flag, "a directory")?.into()),
        "-V" => (options.verbose, options.quiet) = (true, false),
        "-q" => (options.verbose, options.quiet) = (false, true),
        "-D" => options.daemon = true,
        "-d" => (options.verbose, options.quiet, options.foreground) = (true, false, true),
        "-db" => options.foreground = true,
        "-Ws" => (options.foreground, options.systemd) = (true, true),
        "-p" => options.pidfile = Some(rest.value(flag, "a file")?.into()),
        "-n" => options.maxconn = Some(rest.number(flag)?),
        "-N" => options.proxy_maxconn = Some(rest.number(flag)?),
        "-L" => options.local_peer = Some(rest.value(flag, "a name")?.to_string_lossy().into_owned()),
        "-dW" => options.zero_warning = true,
        "-dD" => options.diagnostics = true,
        "-dS" => options.no_splice = true,
        "-sf" | "-st" => {
            options.farewell = Some(if flag == "-sf" { Farewell::Finish } else { Farewell::Terminate });
            options.old_processes.extend(rest.processes(flag)?);
        }
        // They choose or debug parts of HAProxy's own machinery (memory pools, pollers), or are about its master process, whose work one
        // process does here. Accepted so that unit files and scripts work; `--help` says so.
        "-x" | "-S" => drop(rest.value(flag, "a socket")?),
        "-W" | "-dI" | "-de" | "-dp" => {}
        _ if flag.starts_with("-dM") => {}
        _ if UNSUPPORTED.contains(&flag) => return Err(UsageError::Unsupported(flag.into())),
        _ => return take_long(options, flag),
    }
    Ok(())
}

fn take_long(options: &mut Options, flag: &str) -> Result<(), UsageError> {
    let Some(word) = flag.strip_prefix("--help-keyword=") else { return Err(unknown(flag)) };
    options.action = Action::KeywordHelp;
    options.keyword = Some(word.to_string());
    Ok(())
}

fn unknown(argument: &str) -> UsageError {
    let advice = match KNOWN.iter().find(|known| known.eq_ignore_ascii_case(argument)) {
        Some(known) => format!(", did you mean '{known}'?"),
        None if !argument.starts_with('-') => ", configuration files are given with '-f FILE'".into(),
        None => String::new(),
    };
    UsageError::Unknown(argument.into(), advice)
}

/// Carries out what a command line asks of the process before anything is loaded: the directory of `-C`, the name of `-L`.
///
/// # Errors
/// When the directory cannot be entered.
#[allow(unsafe_code)]
pub fn prepare_process(options: &Options) -> Result<(), String> {
    if let Some(directory) = &options.directory {
        std::env::set_current_dir(directory).map_err(|error| format!("Could not change to directory {}: {error}", directory.display()))?;
    }
    if let Some(name) = &options.local_peer {
        // SAFETY: called by `main` before the first thread is started, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var("HAPROXY_LOCALPEER", name) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, UsageError> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_unit_file_of_debian_is_understood() {
        let run = options("-Ws -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid -S /run/haproxy-master.sock").expect("valid");
        assert_eq!(run.files, [PathBuf::from("/etc/haproxy/haproxy.cfg")]);
        assert!(run.systemd && run.foreground && !run.daemon);
        assert_eq!(run.pidfile, Some("/run/haproxy.pid".into()));
        let check = options("-Ws -f /etc/haproxy/haproxy.cfg -c -q").expect("valid");
        assert_eq!((check.action, check.quiet), (Action::Check, true));
    }

    #[test]
    fn files_come_in_order_from_everywhere() {
        let run = options("-f a -f b -D -- c -d").expect("valid");
        assert_eq!(run.files, ["a", "b", "c", "-d"].map(PathBuf::from));
        assert!(run.daemon && !run.foreground, "after -- everything is a file");
    }

    #[test]
    fn process_ids_end_at_the_next_flag_and_may_be_none() {
        let run = options("-f a -sf 12 13 -V").expect("valid");
        assert_eq!((run.farewell, run.old_processes), (Some(Farewell::Finish), vec![12, 13]));
        assert!(run.verbose);
        let run = options("-f a -st").expect("valid");
        assert_eq!((run.farewell, run.old_processes), (Some(Farewell::Terminate), vec![]));
        let words = ["-f", "a", "-sf", "7 8\n"].map(OsString::from);
        assert_eq!(parse(words).expect("valid").old_processes, [7, 8]);
        assert_eq!(options("-f a -sf 1 x"), Err(UsageError::Malformed("-sf".into(), "process ids", "x".into())));
        assert!(options("-f a -sf 0").is_err(), "0 would signal the whole process group");
    }

    #[test]
    fn mistakes_are_named() {
        let message = |line: &str| options(line).expect_err("a mistake").to_string();
        assert_eq!(message("-f"), "'-f' needs a file or directory");
        assert_eq!(message("-f a -n many"), "'-n' needs a number, not 'many'");
        assert_eq!(message("-f a -ws"), "unknown option '-ws', did you mean '-Ws'?");
        assert_eq!(message("haproxy.cfg"), "unknown option 'haproxy.cfg', configuration files are given with '-f FILE'");
        assert_eq!(message("-f a -dK"), "'-dK' is known to HAProxy but not supported here");
        assert_eq!(message("-c"), UsageError::NoFile.to_string());
        assert_eq!(message(""), UsageError::NoFile.to_string());
        assert_eq!(message("convert"), UsageError::NoFile.to_string());
    }

    #[test]
    fn convert_takes_plain_files_and_help_takes_words() {
        let convert = options("convert a.cfg b.cfg").expect("valid");
        assert_eq!((convert.action, convert.files.len()), (Action::Convert, 2));
        let help = options("--help-keyword timeout client").expect("valid");
        assert_eq!((help.action, help.keyword.as_deref()), (Action::KeywordHelp, Some("timeout client")));
        assert_eq!(options("--help-keyword=bind").expect("valid").keyword.as_deref(), Some("bind"));
        assert_eq!(options("--help-keyword").expect("valid").keyword, None);
    }

    #[test]
    fn flags_of_haproxys_own_machinery_change_nothing() {
        assert_eq!(options("-f a -dMfail -dM -dI -de -dp -x /run/s -S /run/m"), options("-f a"));
    }
}
