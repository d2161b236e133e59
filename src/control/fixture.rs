//! Models for unit tests, made of haproxy.cfg text.

use std::net::IpAddr;
use std::sync::Arc;

use ringmain_model::Model;

use crate::config::check::{Context, Names};
use crate::config::environment::Environment;
use crate::config::load_texts;

struct NoNames;

impl Names for NoNames {
    fn host(&self, _name: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn user(&self, _name: &str) -> Option<u32> {
        None
    }

    fn group(&self, _name: &str) -> Option<u32> {
        None
    }
}

/// The model of these sections, in mode tcp with timeouts.
pub(crate) fn model(sections: &str) -> Arc<Model> {
    let head = "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n";
    let context = Context { descriptor_limit: 10_000, cpu_count: 1, host_name: "host", names: &NoNames };
    let loaded = load_texts(&[("test.cfg", &format!("{head}{sections}"))], Environment::default(), &context);
    Arc::new(loaded.model.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics)))
}
