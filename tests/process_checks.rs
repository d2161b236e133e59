//! Health checks of the real process: who is up, what is said about it, and where connections go.

mod process_support;

use nix::sys::signal::Signal;
use process_support::{Echo, Process, Site, free_port, visit, wait_for};

const HEAD: &str = "global\n  stats socket @/run.sock level admin\n  nbthread 2\n  maxconn 200\ndefaults\n  mode tcp\n  retries 0\n  timeout connect 2s\n  \
                    timeout client 30s\n  timeout server 30s\n";

fn status(process: &Process, server: &str) -> String {
    let table = process.ask("show stat").expect("an answer");
    let names: Vec<&str> = table.lines().next().expect("a header").split(',').collect();
    let column = names.iter().position(|name| *name == "status").expect("a column");
    let row = table.lines().find(|line| line.contains(&format!(",{server},"))).expect("a row");
    row.split(',').nth(column).expect("a field").to_string()
}

#[test]
fn a_server_goes_down_and_comes_back() {
    let one = Echo::start("one");
    let gone = free_port();
    let port = free_port();
    let process = Site::new(&format!(
        "{HEAD}frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\nbackend b\n  server one {} check inter 50\n  \
         server two 127.0.0.1:{gone} check inter 50 rise 2 fall 3\n",
        one.address
    ))
    .start(&[]);
    process.wait_line("Server b/two is DOWN, reason: Layer4 connection problem, info: \"Connection refused\", check duration: ");
    process.wait_line("ms. 1 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.");
    for _ in 0..6 {
        assert_eq!(visit(port, 3).expect("served").1, "one");
    }
    let _back = Echo::start_at("two", gone);
    process.wait_line("Server b/two is UP, reason: Layer4 check passed, check duration: ");
    process.wait_line("ms. 2 active and 0 backup servers online. 0 sessions requeued, 0 total in queue.");
    let names: Vec<String> = (0..4).map(|_| visit(port, 3).expect("served").1).collect();
    assert_eq!(names.iter().filter(|name| *name == "two").count(), 2, "{names:?}");
}

#[test]
fn the_last_server_is_an_alarm_and_a_backup_steps_in() {
    let backup = Echo::start("bak");
    let port = free_port();
    let process = Site::new(&format!(
        "{HEAD}listen f\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{} check inter 50\n  server bak {} backup check inter 50\n",
        free_port(),
        backup.address
    ))
    .start(&[]);
    process.wait_line("0 active and 1 backup servers left. Running on backup. 0 sessions active");
    assert_eq!(visit(port, 3).expect("served").1, "bak");
    process.ask("set server f/bak state maint").expect("an answer");
    process.wait_line("Backup Server f/bak is going DOWN for maintenance.");
    process.wait_line("has no server available!");
    assert!(visit(port, 3).is_none());
    assert_eq!(status(&process, "bak"), "MAINT");
    process.ask("enable server f/bak").expect("an answer");
    wait_for("the backup is back", || visit(port, 3).is_some());
}

#[test]
fn followers_follow_over_backends() {
    let one = Echo::start("one");
    let process =
        Site::new(&format!("{HEAD}backend a\n  server one {0} check inter 50\nbackend b\n  server two {0} track a/one\n", one.address))
            .start(&[]);
    process.ask("set server a/one state maint").expect("an answer");
    process.wait_line("Server b/two is going DOWN for maintenance via a/one.");
    process.ask("set server a/one state ready").expect("an answer");
    process.wait_line("Server b/two is UP/READY (leaving maintenance).");
    wait_for("it is fully up", || status(&process, "two") == "UP");
}

#[test]
fn health_survives_a_reload_without_a_new_start() {
    let one = Echo::start("one");
    let port = free_port();
    let file = format!(
        "{HEAD}listen f\n  bind 127.0.0.1:{port}\n  server one {} check inter 50\n  server two 127.0.0.1:{} check inter 50\n",
        one.address,
        free_port()
    );
    let process = Site::new(&file).start(&[]);
    process.wait_line("Server f/two is DOWN");
    process.signal(Signal::SIGUSR2);
    process.wait_line("Reload succeeded");
    assert_eq!(status(&process, "two"), "DOWN", "it does not count as up until it is checked again");
    process.ask("set server f/two addr 127.0.0.1 port 0");
    process.ask(&format!("set server f/two addr 127.0.0.1 port {}", one.address.port())).expect("an answer");
    process.wait_line("Server f/two is UP");
}
