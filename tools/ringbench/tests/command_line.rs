//! The binary as its users meet it: `serve` prints addresses, `load` reports and ends with a telling exit code.

mod common;

use common::{RINGBENCH, Servers};
use serde_json::Value;
use std::process::{Command, Output};

fn load(arguments: &[&str]) -> Output {
    Command::new(RINGBENCH).args(["load", "tcp"]).args(arguments).output().expect("load runs")
}

#[test]
fn served_addresses_answer_with_their_names() {
    let servers = Servers::start(&["--listen", "127.0.0.1:0", "--name", "one", "--listen", "127.0.0.1:0", "--name", "two"], 2);
    for (index, name) in ["one", "two"].iter().enumerate() {
        let output = load(&["--target", servers.address(index), "--count", "50", "-c", "5", "--json", "-"]);
        assert!(output.status.success(), "{output:?}");
        let result: Value = serde_json::from_slice(&output.stdout).expect("nothing but JSON");
        assert_eq!(result.pointer(&format!("/servers/{name}/answers")), Some(&Value::from(50)));
        assert_eq!(result.pointer("/latency_us/count"), Some(&Value::from(50)));
        assert_eq!(result.pointer("/errors_total"), Some(&Value::from(0)));
    }
}

#[test]
fn the_table_shows_percentiles_and_errors_and_the_exit_code_tells() {
    let servers = Servers::start(&["--fail", "hang-up"], 1);
    let output = load(&["--target", servers.address(0), "--count", "5"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("p99.99") && text.contains("(100.00 %)"), "{text}");
}

#[test]
fn a_known_delay_is_measured_as_such() {
    let servers = Servers::start(&["--delay-ms", "20"], 1);
    let output = load(&["--target", servers.address(0), "--count", "40", "-c", "4", "--json", "-"]);
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of = |name: &str| result.pointer(&format!("/latency_us/{name}")).and_then(Value::as_f64).expect("a number");
    // A busy machine may add to it, nothing may take away.
    assert!(of("min") >= 20_000.0 && of("p50") >= 20_000.0, "{result}");
}

#[test]
fn nonsense_is_refused_in_words() {
    let output = load(&["--target", "127.0.0.1:1", "--size", "8"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("framed requests have at least 16 bytes"), "{output:?}");
    assert_eq!(load(&["--target", "127.0.0.1:1", "--size", "many"]).status.code(), Some(2));
}
