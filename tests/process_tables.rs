//! Stick tables over restarts of the real binary: saved at its end and at a reload, restored at its start, never from damaged bytes.

mod process_support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::sys::signal::Signal;
use process_support::{Echo, Process, Site, exchange, free_port, visit, wait_for};

/// A process with these tables whose state file is `path`.
fn start(shards: u32, path: &Path, global: &str) -> Process {
    Site::new(&configuration(shards, path, global)).start(&[])
}

fn configuration(shards: u32, path: &Path, global: &str) -> String {
    format!(
        "global\n stats socket @/run.sock level admin\n nbthread {shards}\n state-file {}\n{global}\
         defaults\n mode tcp\n timeout connect 2s\n timeout client 60s\n timeout server 60s\n\
         frontend fe\n bind 127.0.0.1:{}\n default_backend names\n\
         backend names\n stick-table type string len 40 size 10k expire 30m store server_id,gpc1,bytes_in_cnt\n server s1 127.0.0.1:1\n\
         backend numbers\n stick-table type integer size 1k store gpt(3)\n",
        path.display(),
        free_port()
    )
}

/// Fills both tables.
fn fill(process: &Process, count: u64) {
    let set = |number: u64| {
        format!(
            "set table names key client\\ {number} data.server_id 1 data.gpc1 {number} data.bytes_in_cnt {};set table numbers key {number} data.gpt {number}",
            number << 33
        )
    };
    for first in (0..count).step_by(50) {
        let commands: Vec<String> = (first..count.min(first + 50)).map(set).collect();
        assert_eq!(process.ask(&commands.join(";")).expect("an answer").trim(), "");
    }
}

/// The entries of a table: what stands behind the key, without the time that is left, and that time.
fn entries(process: &Process, table: &str) -> BTreeMap<String, (String, u64)> {
    let shown = process.ask(&format!("show table {table}")).expect("an answer");
    let entry = |line: &str| {
        let (key, rest) = line.split_once("key=")?.1.split_once(" use=0 exp=")?;
        let (left_ms, values) = rest.split_once(' ')?;
        Some((key.to_string(), (values.to_string(), left_ms.parse().expect("a number"))))
    };
    shown.lines().filter_map(entry).collect()
}

fn values(entries: &BTreeMap<String, (String, u64)>) -> Vec<(&str, &str)> {
    entries.iter().map(|(key, (values, _))| (key.as_str(), values.as_str())).collect()
}

fn end(mut process: Process, signal: Signal) {
    process.signal(signal);
    process.wait();
}

#[test]
fn entries_outlive_restarts_with_the_time_that_they_had_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tables");
    let first = start(2, &path, "");
    fill(&first, 700);
    let (names, numbers) = (entries(&first, "names"), entries(&first, "numbers"));
    assert_eq!((names.len(), numbers.len()), (700, 700));
    end(first, Signal::SIGTERM);
    // Another number of shards, and each way to an end.
    for (shards, signal) in [(3, Signal::SIGUSR1), (1, Signal::SIGINT), (2, Signal::SIGTERM)] {
        let process = start(shards, &path, "");
        process.wait_line("Stick tables: 1400 entries restored from");
        let now = entries(&process, "names");
        assert_eq!(values(&now), values(&names));
        for (key, (_, left_ms)) in &now {
            assert!(*left_ms <= names[key].1 && *left_ms > 0, "{key}: {left_ms} of {}", names[key].1);
        }
        assert_eq!(entries(&process, "numbers"), numbers, "without an end");
        end(process, signal);
    }
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "nothing but the state file");
}

#[test]
fn clients_stick_to_their_server_over_a_restart_and_end_as_connections() {
    let directory = tempfile::tempdir().expect("a directory");
    let (servers, port) = (["a", "b"].map(Echo::start), free_port());
    let text = format!(
        "global\n stats socket @/run.sock level admin\n nbthread 2\n state-file {}\n\
         defaults\n mode tcp\n timeout connect 2s\n timeout client 60s\n timeout server 60s\n\
         frontend fe\n bind 127.0.0.1:{port}\n stick-table type ip size 10 expire 1h store conn_cnt,conn_cur\n\
         tcp-request connection track-sc0 src\n default_backend be\n\
         backend be\n stick-table type ip size 10 expire 1h\n stick on src\n server a {}\n server b {}\n",
        directory.path().join("tables").display(),
        servers[0].address,
        servers[1].address
    );
    let process = Site::new(&text).start(&[]);
    let (mut connection, first) = visit(port, 1).expect("served");
    // The session runs on while its process ends.
    assert!(exchange(&mut connection, "hello"));
    end(process, Signal::SIGTERM);
    let process = Site::new(&text).start(&[]);
    let shown = process.ask("show table fe").expect("an answer");
    assert!(shown.contains("key=127.0.0.1 use=0 ") && shown.contains("conn_cnt=1 conn_cur=0"), "{shown}");
    assert!(process.ask("show table be").expect("an answer").contains(&format!("server_key={first}")));
    for _ in 0..4 {
        assert_eq!(visit(port, 1).expect("served").1, first);
    }
}

#[test]
fn tables_that_have_changed_take_what_fits() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tables");
    let first = start(1, &path, "");
    fill(&first, 20);
    end(first, Signal::SIGTERM);
    let text =
        configuration(2, &path, "").replace("store server_id,gpc1,bytes_in_cnt", "store gpc1,gpt0").replace("type integer", "type ip");
    let process = Site::new(&text).start(&[]);
    let names = entries(&process, "names");
    assert_eq!((names.len(), names["client\\ 7"].0.as_str()), (20, "gpt0=0 gpc1=7"));
    assert!(entries(&process, "numbers").is_empty(), "other keys");
}

#[test]
fn a_damaged_file_is_told_and_nothing_of_it_is_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tables");
    let first = start(1, &path, "");
    fill(&first, 50);
    end(first, Signal::SIGTERM);
    let whole = fs::read(&path).expect("the state file");
    let mut damaged: Vec<(String, Vec<u8>)> = vec![("empty".into(), Vec::new()), ("something else".into(), b"global\n".to_vec())];
    for length in [10, 25, whole.len() / 2, whole.len() - 1] {
        damaged.push((format!("{length} of {} bytes", whole.len()), whole[..length].to_vec()));
    }
    for offset in [0, 9, 21, whole.len() / 3, whole.len() / 2, whole.len() - 3] {
        let mut bytes = whole.clone();
        bytes[offset] ^= 0x10;
        damaged.push((format!("a bit of byte {offset}"), bytes));
    }
    for (what, bytes) in damaged {
        fs::write(&path, bytes).expect("the state file");
        let process = start(1, &path, "");
        process.wait_line("cannot be restored, stick tables start empty: ");
        assert!(entries(&process, "names").is_empty() && entries(&process, "numbers").is_empty(), "{what}");
        // It serves as any other.
        fill(&process, 1);
        assert_eq!(entries(&process, "names").len(), 1, "{what}");
    }
}

#[test]
fn a_process_that_is_killed_while_it_writes_leaves_the_old_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tables");
    let first = start(2, &path, "");
    // The table of numbers has room for 1024.
    fill(&first, 3000);
    let names = entries(&first, "names");
    end(first, Signal::SIGTERM);
    let saved = fs::read(&path).expect("the state file");
    let mut unchanged = 0;
    for delay_us in (0..20).map(|step| step * 400) {
        let mut process = start(2, &path, "");
        process.signal(Signal::SIGTERM);
        // Not a wait for something: the kill falls somewhere into the save.
        std::thread::sleep(std::time::Duration::from_micros(delay_us));
        process.signal(Signal::SIGKILL);
        process.wait();
        unchanged += u32::from(fs::read(&path).expect("the state file") == saved);
    }
    assert!(unchanged > 0, "the kills came too late to show anything");
    let process = start(2, &path, "");
    process.wait_line("Stick tables: 4024 entries restored from");
    assert_eq!(values(&entries(&process, "names")), values(&names));
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "leftovers are removed");
}

#[test]
fn a_reload_changes_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
    let process = start(2, &old, "");
    fill(&process, 600);
    process.write(&configuration(2, &new, "").replace("nbthread 2\n", "nbthread 2\n node other\n"));
    process.signal(Signal::SIGHUP);
    process.wait_line("Reload succeeded");
    // Whole as soon as it is there.
    wait_for("the new file", || new.exists());
    assert!(!old.exists());
    let copy = directory.path().join("copy");
    fs::copy(&new, &copy).expect("a copy");
    let second = start(1, &copy, "");
    second.wait_line("Stick tables: 1200 entries restored from");
    process.write(&configuration(2, &new, "").replace(&format!(" state-file {}\n", new.display()), ""));
    process.signal(Signal::SIGHUP);
    wait_for("the second reload", || process.stderr().matches("Reload succeeded").count() == 2);
    fs::remove_file(&new).expect("the file");
    end(process, Signal::SIGTERM);
    assert!(!new.exists(), "there is no state file any more");
}

#[test]
fn variables_of_the_global_section_are_set_again_by_a_reload() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tables");
    let text = |value| configuration(1, &path, &format!(" set-var proc.limit int({value})\n"));
    let process = Site::new(&text(5)).start(&[]);
    assert_eq!(process.ask("get var proc.limit").as_deref(), Some("proc.limit: type=sint value=<5>\n"));
    process.write(&text(6));
    process.signal(Signal::SIGHUP);
    process.wait_line("Reload succeeded");
    assert_eq!(process.ask("get var proc.limit").as_deref(), Some("proc.limit: type=sint value=<6>\n"));
}

#[test]
fn what_another_process_has_saved_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tables");
    let old = start(1, &path, "");
    fill(&old, 5);
    let new = start(1, &path, "");
    fill(&new, 9);
    end(new, Signal::SIGTERM);
    old.signal(Signal::SIGTERM);
    old.wait_line("was written by another process and is left as it is.");
    end(old, Signal::SIGKILL);
    start(1, &path, "").wait_line("Stick tables: 18 entries restored from");
}

#[test]
fn a_file_that_cannot_be_kept_is_told_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = start(1, &directory.path().join("nowhere/tables"), "");
    process.wait_line("cannot be used, stick tables are not kept: ");
    end(process, Signal::SIGTERM);
    let path = directory.path().join("tables");
    fs::create_dir(&path).expect("a directory");
    start(1, &path, "").wait_line("cannot be read, stick tables start empty: it is no ordinary file");
}

#[test]
fn the_file_is_written_without_rights_and_from_a_jail() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let jail = directory.path().join("jail");
    fs::create_dir(&jail).expect("a directory");
    let nobody = nix::unistd::User::from_name("nobody").expect("users").expect("nobody");
    let global = format!(" user nobody\n chroot {}\n", jail.display());
    let path = directory.path().join("tables");
    start(1, &path, &global).wait_line("cannot be written, stick tables are not kept: ");
    chown(directory.path(), Some(nobody.uid.as_raw()), None).expect("given");
    let process = start(1, &path, &global);
    fill(&process, 3);
    assert!(!process.stderr().contains("State file"), "{}", process.stderr());
    end(process, Signal::SIGTERM);
    start(1, &path, &global).wait_line("Stick tables: 6 entries restored from");
}
