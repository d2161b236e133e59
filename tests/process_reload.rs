//! Reload in place: what is new is there, what stays is untouched, and a bad file changes nothing.

mod process_support;

use nix::sys::signal::Signal;
use process_support::{Echo, Site, exchange, free_port, visit, wait_for};

const HEAD: &str = "global\n  stats socket @/run.sock level admin\n  nbthread 2\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 2s\n  \
                    timeout client 30s\n  timeout server 30s\n";

fn reload(process: &process_support::Process) -> String {
    process.ask("reload").expect("an answer")
}

#[test]
fn servers_and_binds_come_and_go_and_sessions_stay() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    let (stays, goes, comes) = (free_port(), free_port(), free_port());
    let process = Site::new(&format!(
        "{HEAD}frontend f\n  bind 127.0.0.1:{stays}\n  bind 127.0.0.1:{goes}\n  default_backend b\nbackend b\n  server one {}\n",
        one.address
    ))
    .start(&[]);
    let (mut on_stays, _) = visit(stays, 3).expect("served");
    let (mut on_goes, _) = visit(goes, 3).expect("served");
    process.write(&format!(
        "{HEAD}frontend f\n  bind 127.0.0.1:{stays}\n  bind 127.0.0.1:{comes}\n  default_backend b\nbackend b\n  server two {}\n",
        two.address
    ));
    process.signal(Signal::SIGUSR2);
    process.wait_line("Reload succeeded: generation 2 is in service.");
    assert_eq!(visit(stays, 3).expect("served").1, "two", "new sessions go where the new file says");
    assert_eq!(visit(comes, 3).expect("a new bind is there at once").1, "two");
    assert!(exchange(&mut on_stays, "kept") && exchange(&mut on_goes, "kept"), "sessions outlive their server line and their bind");
    wait_for("the old bind is closed", || visit(goes, 3).is_none());
    assert!(exchange(&mut on_goes, "still kept"));
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let one = Echo::start("one");
    let port = free_port();
    let good = format!("{HEAD}listen web\n  bind 127.0.0.1:{port}\n  server one {}\n", one.address);
    let process = Site::new(&good).start(&[]);
    process.write(&good.replace("timeout client", "timeout clinet"));
    let answer = reload(&process);
    assert!(answer.contains("Reload failed, nothing has changed") && answer.contains("clinet"), "{answer}");
    assert!(visit(port, 3).is_some());
    let information = process.ask("show info").expect("an answer");
    assert!(information.contains("FailedReloads: 1\n") && information.contains("Generation: 1\n"), "{information}");
    process.write(&good);
    process.signal(Signal::SIGHUP);
    process.wait_line("Reload succeeded: generation 2 is in service.");
}

#[test]
fn a_bind_that_cannot_be_had_changes_nothing() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    let (port, taken) = (free_port(), Echo::start("other"));
    let process = Site::new(&format!("{HEAD}listen web\n  bind 127.0.0.1:{port}\n  server one {}\n", one.address)).start(&[]);
    process.write(&format!("{HEAD}listen web\n  bind 127.0.0.1:{port}\n  bind {}\n  server two {}\n", taken.address, two.address));
    let answer = reload(&process);
    assert!(answer.contains("cannot bind socket (Address already in use)"), "{answer}");
    assert_eq!(visit(port, 3).expect("served").1, "one", "the old configuration is still in force");
}

#[test]
fn what_an_operator_changed_survives_unless_the_file_changed_it() {
    let (one, two) = (Echo::start("one"), Echo::start("two"));
    let port = free_port();
    let file = |weight: u32| {
        format!(
            "{HEAD}listen web\n  bind 127.0.0.1:{port}\n  server one {} weight {weight}\n  server two {} weight 10\n",
            one.address, two.address
        )
    };
    let process = Site::new(&file(10)).start(&[]);
    process.ask("set server web/one weight 20; set server web/two weight 30; set server web/two state drain").expect("an answer");
    let state = |server: &str| {
        let text = process.ask("show servers state").expect("an answer");
        let line = text.lines().find(|line| line.contains(&format!(" {server} "))).expect("a line").to_string();
        let words: Vec<String> = line.split(' ').map(str::to_string).collect();
        (words[6].clone(), words[7].clone())
    };
    assert_eq!(state("one"), ("0".into(), "20".into()));
    process.write(&file(12));
    assert!(reload(&process).contains("succeeded"));
    assert_eq!(state("one"), ("0".into(), "12".into()), "the file's new weight is the newer word");
    assert_eq!(state("two"), ("8".into(), "30".into()), "nothing about it changed in the file");
}

#[test]
fn what_needs_a_new_process_is_said() {
    let one = Echo::start("one");
    let port = free_port();
    let file = format!("{HEAD}listen web\n  bind 127.0.0.1:{port}\n  server one {}\n", one.address);
    let process = Site::new(&file).start(&[]);
    let changed = file.replace("nbthread 2", "nbthread 3").replace(&format!(":{port}\n"), &format!(":{port} backlog 77\n"));
    process.write(&changed);
    assert!(reload(&process).contains("succeeded"));
    process.wait_line("changed, which takes effect after a restart.");
    process.wait_line("backlog or permissions of [");
    process.wait_line("the number of shards ('nbthread') changed, which takes effect after a restart");
    assert!(process.ask("show info").expect("an answer").contains("Nbthread: 2\n"));
}

#[test]
fn many_reloads_leave_nothing_behind() {
    let one = Echo::start("one");
    let (port, other) = (free_port(), free_port());
    let file = |bind: bool| {
        let extra = if bind { format!("  bind 127.0.0.1:{other}\n") } else { String::new() };
        format!("{HEAD}listen web\n  bind 127.0.0.1:{port}\n{extra}  server one {}\n", one.address)
    };
    let process = Site::new(&file(false)).start(&[]);
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", process.child.id())).expect("a process").count();
    let (mut connection, _) = visit(port, 3).expect("served");
    reload(&process);
    let before = descriptors();
    for round in 0..20 {
        process.write(&file(round % 2 == 0));
        assert!(reload(&process).contains("succeeded"));
        assert!(visit(port, 3).is_some(), "no connection is refused in round {round}");
    }
    assert!(exchange(&mut connection, "still here after twenty"));
    wait_for("descriptors are given back", || descriptors() <= before);
}
