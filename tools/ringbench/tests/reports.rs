//! The files that runs leave: JSON, percentiles, interval logs and pages, and the comparison of several runs.

mod common;

use common::{RINGBENCH, Servers};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of this test process, gone with this handle.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringbench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ringbench(arguments: &[&str]) -> Output {
    let output = Command::new(RINGBENCH).args(arguments).output().expect("ringbench runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

fn json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("the file")).expect("JSON")
}

#[test]
fn every_file_tells_of_the_same_run() {
    let folder = Folder::new("files");
    let servers = Servers::start(&["--mode", "http", "--delay-ms", "uniform:1,3"], 1);
    let [result, hgrm, hlog, html] = ["run.json", "run.hgrm", "run.hlog", "run.html"].map(|name| folder.file(name));
    let files = ["--json", &result, "--hgrm", &hgrm, "--hlog", &hlog, "--html", &html];
    let load = ["load", "http", "--target", servers.address(0), "-c", "8", "-r", "400", "-d", "1500ms"];
    ringbench(&[load.as_slice(), files.as_slice()].concat());

    let value = json(&result);
    let operations = value.pointer("/operations").and_then(Value::as_u64).expect("a count");
    assert_eq!(operations, 600);
    let mut whole: Histogram<u64> = Histogram::new(3).expect("a histogram");
    for entry in IntervalLogIterator::new(&fs::read(&hlog).expect("the log")) {
        if let LogEntry::Interval(interval) = entry.expect("a valid line") {
            let bytes = base64(interval.encoded_histogram());
            whole += Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice()).expect("a histogram");
        }
    }
    assert_eq!(whole.len(), operations, "the log holds every operation");
    let median = value.pointer("/latency_us/p50").and_then(Value::as_f64).expect("a median");
    assert!((whole.value_at_quantile(0.5) as f64 / 1000.0 - median).abs() <= 0.003 * median, "log and JSON agree on the median");
    let text = fs::read_to_string(&hgrm).expect("the percentiles");
    assert!(text.contains(&format!("Total count    = {operations:>12}]")), "{text}");
    let page = fs::read_to_string(&html).expect("the page");
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("\"operations\":600"));
}

#[test]
fn runs_are_compared_as_text_and_page() {
    let folder = Folder::new("compare");
    let mut runs = Vec::new();
    for delay in ["2", "6"] {
        let servers = Servers::start(&["--delay-ms", delay], 1);
        let path = folder.file(&format!("delay{delay}.json"));
        ringbench(&["load", "tcp", "--target", servers.address(0), "-c", "4", "-n", "100", "--json", &path]);
        runs.push(path);
    }
    let page = folder.file("both.html");
    let output = ringbench(&["compare", &runs[0], &runs[1], "--names", "fast,slow", "--html", &page]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.lines().any(|line| line.contains("fast") && line.contains("slow")), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("p50") && line.contains(" x")), "{text}");
    let page = fs::read_to_string(&page).expect("the page");
    assert!(page.contains("\"name\":\"fast\"") && page.contains("\"name\":\"slow\""));

    fs::write(folder.file("other.json"), "{}").expect("written");
    let refused = Command::new(RINGBENCH).args(["compare", &folder.file("other.json")]).output().expect("ringbench runs");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("is not a run of"), "{refused:?}");
}

#[test]
fn a_written_certificate_is_trusted() {
    let folder = Folder::new("certificate");
    let certificate = folder.file("server.pem");
    let servers = Servers::start(&["--mode", "tls", "--write-certificate", &certificate], 1);
    assert!(Path::new(&certificate).exists(), "written before the address is told");
    for workload in ["handshake", "resume", "pingpong"] {
        ringbench(&["load", "tls", "--target", servers.address(0), "--ca", &certificate, "--workload", workload, "-n", "20", "-c", "2"]);
    }
    let stranger =
        Command::new(RINGBENCH).args(["load", "tls", "--target", servers.address(0), "-n", "3"]).output().expect("ringbench runs");
    assert!(!stranger.status.success(), "the system does not trust a self-signed certificate");
}

/// Decodes standard base64 without a library, so that the log is read as a stranger would.
fn base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = alphabet.iter().position(|one| *one == letter).expect("base64");
        bits = (bits << 6 | value as u32) & 0x3FFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
