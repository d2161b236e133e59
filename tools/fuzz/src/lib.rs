//! What the fuzz targets share: loading a text as a configuration on a machine that is the same everywhere, a process to talk to, and what
//! must hold for packets.

pub mod mqtt;
pub mod runtime;

use std::net::{IpAddr, Ipv4Addr};

use ringmain::config::check::{Context, Names};
use ringmain::config::environment::Environment;
use ringmain::config::{Loaded, load_texts};

/// Names that need no system: one host, one user.
struct FixedNames;

impl Names for FixedNames {
    fn host(&self, name: &str) -> Vec<IpAddr> {
        if name == "localhost" { vec![Ipv4Addr::LOCALHOST.into()] } else { Vec::new() }
    }

    fn user(&self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.user(name)
    }
}

/// Loads bytes as a file with this name. Panics, for the fuzzer, when the load has neither a model nor an error, or a finding that points
/// outside of the text.
pub fn load(name: &str, bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let loaded = load_text(name, text);
    assert_ne!(loaded.model.is_some(), loaded.diagnostics.failed(), "neither a model nor an error, or both");
    for span in loaded.diagnostics.list().iter().filter_map(|finding| finding.span) {
        assert!(span.start <= span.end && span.end as usize <= text.len(), "a finding points outside of the text");
    }
}

fn load_text(name: &str, text: &str) -> Loaded {
    let environment: Environment = [("A", "one two"), ("B", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let context = Context { descriptor_limit: 1024, cpu_count: 2, host_name: "fuzz", names: &FixedNames };
    load_texts(&[(name, text)], environment, &context)
}
