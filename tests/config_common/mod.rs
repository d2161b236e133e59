//! What the configuration tests share: a machine that is the same everywhere, and the example files.

#![allow(dead_code)]

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ringmain::config::check::{Context, Names};
use ringmain::config::diagnostic::{RenderOptions, render};
use ringmain::config::environment::Environment;
use ringmain::config::{Loaded, load_texts};
use ringmain_model::Model;

/// Host names, users and groups of the tests' machine.
pub struct TestNames;

impl Names for TestNames {
    fn host(&self, name: &str) -> Vec<IpAddr> {
        let known = match name {
            "localhost" => "127.0.0.1",
            "six.example.org" => "2001:db8::6",
            "emqx1-cluster.emqx.io" => "192.0.2.1",
            "emqx2-cluster.emqx.io" => "192.0.2.2",
            _ => return Vec::new(),
        };
        vec![known.parse().expect("an address")]
    }

    fn user(&self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }
}

/// The tests' machine.
pub fn context() -> Context<'static> {
    Context { descriptor_limit: 65_536, cpu_count: 4, host_name: "test.example.org", names: &TestNames }
}

/// The environment that the example files may rely on.
pub fn environment() -> Environment {
    let pairs = [
        ("RINGMAIN_DEMO_LISTEN", "127.0.0.1:18830"),
        ("RINGMAIN_DEMO_A", "127.0.0.1:18831"),
        ("RINGMAIN_DEMO_B", "127.0.0.1:18832"),
        ("RINGMAIN_DEMO_C", "127.0.0.1:18833"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect()
}

/// Loads one text.
pub fn load(name: &str, text: &str) -> Loaded {
    load_texts(&[(name, text)], environment(), &context())
}

/// Everything said about a load, as the operator sees it.
pub fn said(loaded: &Loaded) -> String {
    render(&loaded.sources, &loaded.diagnostics, RenderOptions::default())
}

/// The model of a text that must load.
pub fn model(name: &str, text: &str) -> Model {
    let loaded = load(name, text);
    let said = said(&loaded);
    loaded.model.unwrap_or_else(|| panic!("{name} does not load:\n{said}"))
}

/// The example files, sorted.
pub fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let entries = fs::read_dir(directory).expect("configs/ can be listed");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cfg" || extension == "toml"));
    files.sort();
    assert!(files.len() >= 9, "{files:?}");
    files
}

/// Name and text of a file.
pub fn read(path: &Path) -> (String, String) {
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    (name, fs::read_to_string(path).expect("readable"))
}

/// Reproducible random numbers (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
