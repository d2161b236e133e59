//! How the process starts, refuses to start, goes to the background and replaces another.

mod process_support;

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use process_support::{Echo, RINGMAIN, Site, ask, exchange, free_port, visit, wait_for};

fn configuration(port: u16, server: std::net::SocketAddr) -> String {
    format!(
        "global\n  stats socket @/run.sock level admin\n  nbthread 2\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 2s\n  \
         timeout client 20s\n  timeout server 20s\nlisten web\n  bind 127.0.0.1:{port}\n  server one {server}\n"
    )
}

#[test]
fn check_mode_says_whether_the_file_is_valid() {
    let site = Site::new(&configuration(free_port(), ([127, 0, 0, 1], 9).into()));
    let (status, output, errors) = site.run(&["-c"]);
    assert_eq!((status.code(), output.as_str()), (Some(0), "Configuration file is valid\n"), "{errors}");
    let (status, output, _) = site.run(&["-c", "-q"]);
    assert_eq!((status.code(), output.as_str()), (Some(0), ""));
    site.write("listen web\n  bind 127.0.0.1:x\n  servr one 127.0.0.1:9\n");
    let (status, output, errors) = site.run(&["-c", "-q"]);
    assert_eq!((status.code(), output.as_str()), (Some(1), ""));
    assert!(errors.contains("servr") && errors.contains("Fatal errors found in configuration."), "{errors}");
}

#[test]
fn warnings_fail_only_under_zero_warning() {
    let site = Site::new("listen web\n  mode tcp\n  bind 127.0.0.1:9999\n  server one 127.0.0.1:9\n");
    let (status, output, errors) = site.run(&["-c"]);
    assert_eq!((status.code(), output.as_str()), (Some(0), "Warnings were found.\nConfiguration file is valid\n"), "{errors}");
    assert_eq!(site.run(&["-c", "-dW"]).0.code(), Some(1));
}

#[test]
fn the_command_line_explains_itself() {
    let run = |arguments: &[&str]| {
        let output = Command::new(RINGMAIN).args(arguments).output().expect("the program");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, output, _) = run(&["-v"]);
    assert_eq!((code, output), (Some(0), format!("Ringmain version {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, output, _) = run(&["-vv"]);
    assert!(code == Some(0) && output.contains("Ring: ") && output.contains("Limits: open files"), "{output}");
    let (code, output, _) = run(&["--help"]);
    assert!(code == Some(0) && output.contains("-sf [PID]..."), "{output}");
    let (code, output, errors) = run(&["-zz"]);
    assert!(code == Some(1) && output.is_empty() && errors.contains("unknown option '-zz'"), "{errors}");
    assert_eq!(run(&[]).0, Some(1));
    let (code, output, _) = run(&["--help-keyword", "bind"]);
    assert!(code == Some(0) && output.contains("bind"), "{output}");
}

#[test]
fn a_converted_configuration_is_valid_too() {
    let site = Site::new(&configuration(free_port(), ([127, 0, 0, 1], 9).into()));
    let path = site.path("ringmain.cfg");
    let output = Command::new(RINGMAIN).arg("convert").arg(&path).output().expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let toml = site.path("converted.toml");
    std::fs::write(&toml, &output.stdout).expect("a file");
    let check = Command::new(RINGMAIN).arg("-c").arg("-f").arg(&toml).output().expect("the program");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn a_port_in_use_is_refused_in_the_usual_words() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let site = Site::new(&configuration(port, ([127, 0, 0, 1], 9).into()));
    let (status, _, errors) = site.run(&["-db"]);
    assert_eq!(status.code(), Some(1));
    assert!(errors.contains(&format!("for frontend web: cannot bind socket (Address already in use) for [127.0.0.1:{port}]")), "{errors}");
    assert!(errors.contains("Some protocols failed to start their listeners! Exiting."), "{errors}");
}

#[test]
fn a_port_that_shares_is_still_somebody_elses() {
    let server = Echo::start("one");
    let port = free_port();
    let first = Site::new(&configuration(port, server.address)).start(&[]);
    let site = Site::new(&configuration(port, server.address));
    let (status, _, errors) = site.run(&["-db"]);
    assert_eq!(status.code(), Some(1), "{errors}");
    assert!(errors.contains("Address already in use"), "{errors}");
    drop(first);
}

#[test]
fn a_daemon_says_that_it_serves_by_exiting_and_leaves_its_number() {
    let server = Echo::start("one");
    let port = free_port();
    let site = Site::new(&configuration(port, server.address));
    let pidfile = site.path("pid");
    let status = site.command(&["-D", "-p"]).arg(&pidfile).status().expect("the program");
    assert_eq!(status.code(), Some(0));
    let number: i32 = std::fs::read_to_string(&pidfile).expect("a file").trim().parse().expect("a number");
    let (mut connection, name) = visit(port, 3).expect("it serves when the parent has ended");
    assert!(name == "one" && exchange(&mut connection, "hello"));
    kill(Pid::from_raw(number), Signal::SIGTERM).expect("the daemon is there");
    wait_for("the daemon's end", || ask(&site.path("run.sock"), "show info").is_none());
}

#[test]
fn a_daemon_that_cannot_start_tells_its_parent() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let site = Site::new(&configuration(port, ([127, 0, 0, 1], 9).into()));
    assert_eq!(site.command(&["-D"]).output().expect("the program").status.code(), Some(1));
    // This one fails in the child, after the fork.
    let site = Site::new(&configuration(free_port(), ([127, 0, 0, 1], 9).into()));
    let output = site.command(&["-D", "-p", "/nonexistent/pid"]).output().expect("the program");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("Cannot create pidfile /nonexistent/pid"));
}

#[test]
fn a_new_process_takes_over_from_an_old_one() {
    let server = Echo::start("one");
    let port = free_port();
    let mut old = Site::new(&configuration(port, server.address)).start(&[]);
    let (mut connection, _) = visit(port, 3).expect("the old one serves");
    let pid = old.child.id().to_string();
    let new = Site::new(&configuration(port, server.address)).start(&["-sf", &pid]);
    wait_for("the new one serves", || visit(port, 3).is_some());
    assert!(exchange(&mut connection, "still there"), "the old one finishes what it has");
    drop(connection);
    assert_eq!(old.wait().code(), Some(0), "{}", old.stderr());
    assert!(visit(port, 3).is_some(), "the new one serves on");
    drop(new);
}

#[test]
fn systemd_hears_when_it_is_ready_reloads_and_stops() {
    let server = Echo::start("one");
    let site = Site::new(&configuration(free_port(), server.address));
    let path = site.path("notify");
    let listener = UnixDatagram::bind(&path).expect("a socket");
    listener.set_read_timeout(Some(process_support::PATIENCE)).expect("a timeout");
    let next = || {
        let mut buffer = [0; 500];
        let length = listener.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = site.command(&["-Ws"]);
    let mut process = site.spawn(command.env("NOTIFY_SOCKET", &path));
    assert!(next().starts_with(&format!("READY=1\nMAINPID={}\n", process.child.id())));
    process.signal(Signal::SIGUSR2);
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert!(next().starts_with("READY=1\n"));
    process.signal(Signal::SIGUSR1);
    assert!(next().starts_with("STOPPING=1\n"));
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn rights_are_given_up_and_a_reload_says_so() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let server = Echo::start("one");
    let port = free_port();
    let site = Site::new(&configuration(port, server.address).replace("global\n", "global\n  user nobody\n  chroot @/jail\n"));
    std::fs::create_dir(site.path("jail")).expect("a directory");
    let process = site.start(&[]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).expect("a process");
    let ids = status.lines().find(|line| line.starts_with("Uid:")).expect("a line").to_string();
    assert!(!ids.split_whitespace().skip(1).any(|id| id == "0"), "{ids}");
    let root = std::fs::read_link(format!("/proc/{}/root", process.child.id())).expect("a link");
    assert!(root.ends_with("jail"), "{root:?}");
    assert!(visit(port, 3).is_some());
    let answer = process.ask("reload").expect("an answer");
    assert!(answer.contains("nothing has changed") && answer.contains("'chroot'"), "{answer}");
    assert!(visit(port, 3).is_some());
}
