//! What the command line says about itself.

use ringmain_engine::ring;

/// The text of `--help`.
pub const USAGE: &str = "\
Usage: ringmain [-f FILE|DIRECTORY]... [OPTION]... [-- FILE...]
       ringmain convert FILE...
       ringmain --help-keyword [KEYWORD]

Files named *.toml are TOML, all others are haproxy.cfg.

Configuration
  -f PATH          load this file, or the *.cfg and *.toml files of this directory; may be repeated
  -- FILE...       load all of these
  -C DIRECTORY     change to this directory before anything is read
  -c               check only: exit with 0 when the configuration is valid, with 1 when it is not
  -dW              treat warnings as errors
  -dD, -V          say more, such as which settings have no effect here
  -q               say nothing but errors
  -n NUMBER        global maxconn, before the configuration's
  -N NUMBER        maxconn of frontends that have none
  -L NAME          value of HAPROXY_LOCALPEER in the configuration, else the host's name
  -dS              never use splice(2)

Process
  -D               run in the background
  -db              stay in the foreground
  -d               the same, and say more (-V)
  -Ws              the same as -db, and report to systemd
  -p FILE          write the process id here
  -sf [PID]...     when ready, ask these processes to finish and leave (SIGUSR1)
  -st [PID]...     when ready, ask these processes to end (SIGTERM)

Information
  -v, -vv          version; with build, kernel and io_uring features
  --help           this text
  --help-keyword   all configuration keywords, or one
  convert          print the configuration as TOML

Accepted for the sake of scripts written for HAProxy, without effect here: -x SOCKET, -S SOCKET (listening sockets
never leave the process on a reload), -W (this one process reloads itself), -dM..., -dI (memory debugging), -de,
-dp (pollers).

Signals: SIGUSR2 and SIGHUP reload, SIGUSR1 finishes the sessions and exits, SIGTERM and SIGINT exit now,
SIGTTOU pauses the listeners and SIGTTIN resumes them.
";

/// `Ringmain version ...`, one line with its end.
pub fn version() -> String {
    format!("Ringmain version {}\n", env!("CARGO_PKG_VERSION"))
}

/// The text of `-vv`: version, build, kernel, what the rings can use, limits, each with advice where something is missing.
pub fn version_details() -> String {
    let mut text = version();
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    text.push_str(&format!("Build: {profile}, {} {}\n", std::env::consts::ARCH, std::env::consts::OS));
    if let Ok(kernel) = nix::sys::utsname::uname() {
        text.push_str(&format!("Running on: {} {}\n", kernel.sysname().to_string_lossy(), kernel.release().to_string_lossy()));
    }
    match ring::probe() {
        Ok(features) => text.push_str(&format!("Ring: {features}\n")),
        Err(error) => text.push_str(&format!("Ring: unusable: {error}\n")),
    }
    text.push_str(&crate::control::limits::describe());
    text.push_str("Languages: haproxy.cfg, TOML\n");
    text
}
