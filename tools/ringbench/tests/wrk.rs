//! Cross-check against an independent tool: wrk and `ringbench load http` must see the same server alike.

mod common;

use common::{RINGBENCH, Servers};
use serde_json::Value;
use std::process::Command;

/// A latency of wrk's report, such as `5.43ms`, in microseconds.
fn microseconds(text: &str) -> f64 {
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => panic!("unknown unit in '{text}'"),
    };
    number.parse::<f64>().expect("a number") * factor
}

/// The second word of a line that starts with this word.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("no '{name}' in {text}"));
    line.split_whitespace().nth(1).expect("a value")
}

#[test]
fn wrk_sees_the_same_server() {
    if Command::new("wrk").arg("--version").output().is_err() {
        eprintln!("skipped: wrk is not installed (tools/setup/install.sh versus)");
        return;
    }
    // The delay dwarfs what tools and machine add, so both must agree; without it they would measure themselves.
    let servers = Servers::start(&["--mode", "http", "--delay-ms", "8"], 1);
    let address = servers.address(0);
    let wrk = Command::new("wrk").args(["-t1", "-c8", "-d2s", &format!("http://{address}/bytes/500")]).output().expect("wrk runs");
    let theirs = String::from_utf8(wrk.stdout).expect("text");
    assert!(wrk.status.success() && !theirs.contains("Socket errors") && !theirs.contains("Non-2xx"), "{theirs}");
    let arguments = ["load", "http", "--target", address, "-c", "8", "-d", "2s", "--path", "/bytes/500", "--verify", "--json", "-"];
    let ours = Command::new(RINGBENCH).args(arguments).output().expect("ringbench runs");
    assert!(ours.status.success(), "{ours:?}");
    let ours: Value = serde_json::from_slice(&ours.stdout).expect("JSON");
    let of = |name: &str| ours.pointer(name).and_then(Value::as_f64).expect("a number");

    let latency = of("/latency_us/mean") / microseconds(field(&theirs, "Latency"));
    let rate = of("/rate_per_s") / field(&theirs, "Requests/sec:").parse::<f64>().expect("a rate");
    // Both measure the same 8 ms: a factor of three is far more than a busy machine puts between them, far less than a wrong unit would.
    assert!((1.0 / 3.0..3.0).contains(&latency), "mean latency is {latency} times wrk's");
    assert!((1.0 / 3.0..3.0).contains(&rate), "rate is {rate} times wrk's");
    assert!(of("/latency_us/min") >= 8000.0);
}
