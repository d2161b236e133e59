//! The ways to an end.

mod process_support;

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use process_support::{Echo, Site, exchange, free_port, visit, wait_for};

fn configuration(port: u16, server: std::net::SocketAddr, global: &str) -> String {
    format!(
        "global\n  stats socket @/run.sock level admin\n  nbthread 2\n  maxconn 200\n{global}defaults\n  mode tcp\n  timeout connect 2s\n  \
         timeout client 60s\n  timeout server 60s\nfrontend web\n  bind 127.0.0.1:{port}\n  default_backend servers\n\
         backend servers\n  server one {server}\n"
    )
}

#[test]
fn a_soft_stop_waits_for_the_last_session() {
    let server = Echo::start("one");
    let port = free_port();
    let mut process = Site::new(&configuration(port, server.address, "")).start(&[]);
    let (mut connection, _) = visit(port, 3).expect("served");
    process.signal(Signal::SIGUSR1);
    process.wait_line("Proxy web stopped (cumulated conns: FE: 1, BE: 0).");
    process.wait_line("Proxy servers stopped (cumulated conns: FE: 0, BE: 1).");
    wait_for("listeners are closed", || visit(port, 3).is_none());
    assert!(exchange(&mut connection, "finishing"), "the session goes on");
    assert!(process.child.try_wait().expect("a child").is_none(), "the process waits for it");
    drop(connection);
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn hard_stop_after_bounds_a_soft_stop() {
    let server = Echo::start("one");
    let port = free_port();
    let mut process = Site::new(&configuration(port, server.address, "  hard-stop-after 200ms\n")).start(&[]);
    let (_connection, _) = visit(port, 3).expect("served");
    process.signal(Signal::SIGUSR1);
    process.wait_line("soft-stop running for too long, performing a hard-stop.");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn hard_stop_after_bounds_old_generations() {
    let server = Echo::start("one");
    let port = free_port();
    let process = Site::new(&configuration(port, server.address, "  hard-stop-after 200ms\n")).start(&[]);
    let (mut old, _) = visit(port, 3).expect("served");
    process.signal(Signal::SIGUSR2);
    process.wait_line("Reload succeeded");
    let (mut new, _) = visit(port, 3).expect("served");
    wait_for("the old session is ended", || !exchange(&mut old, "?"));
    assert!(exchange(&mut new, "sessions of the current generation stay"));
}

#[test]
fn term_and_int_end_it_now_by_their_own_effect() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Echo::start("one");
        let port = free_port();
        let mut process = Site::new(&configuration(port, server.address, "")).start(&[]);
        let (mut connection, _) = visit(port, 3).expect("served");
        process.signal(signal);
        assert_eq!(process.wait().signal(), Some(signal as i32));
        assert!(!exchange(&mut connection, "?"), "sessions end with it");
    }
}

#[test]
fn grace_keeps_listeners_open_for_a_while() {
    let server = Echo::start("one");
    let port = free_port();
    let mut process = Site::new(&configuration(port, server.address, "  grace 1s\n")).start(&[]);
    process.signal(Signal::SIGUSR1);
    wait_for("the stop is known", || process.ask("show info").is_some_and(|answer| answer.contains("Stopping: 1\n")));
    assert!(visit(port, 3).is_some(), "grace is not over");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn listeners_rest_and_go_on() {
    let server = Echo::start("one");
    let port = free_port();
    let process = Site::new(&configuration(port, server.address, "")).start(&[]);
    process.signal(Signal::SIGTTOU);
    process.wait_line("Paused frontend web.");
    process.signal(Signal::SIGTTIN);
    process.wait_line("Resumed frontend web.");
    wait_for("it serves again", || visit(port, 3).is_some());
}
