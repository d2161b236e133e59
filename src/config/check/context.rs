//! What the checker knows about the machine: limits, CPUs, names. Tests replace it, so that a check gives the same model everywhere.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};

use nix::unistd::{Group, User};

/// Turns names of hosts, users and groups into numbers.
pub trait Names {
    /// The addresses of a host, in the order of preference; empty when there are none.
    fn host(&self, name: &str) -> Vec<IpAddr>;
    /// The id of a user.
    fn user(&self, name: &str) -> Option<u32>;
    /// The id of a group.
    fn group(&self, name: &str) -> Option<u32>;
}

/// Names as the system's libraries know them. Blocks while a name server is asked; each host is asked for once.
#[derive(Default)]
pub struct SystemNames {
    hosts: RefCell<HashMap<String, Vec<IpAddr>>>,
}

impl Names for SystemNames {
    fn host(&self, name: &str) -> Vec<IpAddr> {
        if let Some(known) = self.hosts.borrow().get(name) {
            return known.clone();
        }
        let mut found: Vec<IpAddr> = match (name, 0).to_socket_addrs() {
            Ok(addresses) => addresses.map(|address| address.ip()).collect(),
            Err(_) => Vec::new(),
        };
        found.dedup();
        self.hosts.borrow_mut().insert(name.to_owned(), found.clone());
        found
    }

    fn user(&self, name: &str) -> Option<u32> {
        User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn group(&self, name: &str) -> Option<u32> {
        Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
    }
}

/// The machine that a configuration is checked for.
pub struct Context<'a> {
    /// Most file descriptors the process may open (its hard limit), from which `maxconn` is derived when not given.
    pub descriptor_limit: u64,
    /// CPUs the process may run on: the number of shards when `nbthread` is not given.
    pub cpu_count: u16,
    /// The host's name, for `log-send-hostname`.
    pub host_name: &'a str,
    /// Names of hosts, users and groups.
    pub names: &'a dyn Names,
}
