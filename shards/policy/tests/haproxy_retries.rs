//! Connections to servers that refuse them: the same numbers of retries and redispatches, on the same servers, as the real HAProxy.

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use ringmain_model::{Backend, BackendOptions, Balance, Hash, HashMethod};
use ringmain_policy::balance::{Input, Key, Load, Picker, ServerView};
use ringmain_policy::retry::{Failure, Retry, Settings, after_failure};
use support::{Haproxy, PATIENCE, Target, haproxy_is_installed};

/// Retries and redispatches of each server, and what `%rc` shows.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    per_server: Vec<(u32, u32)>,
    logged: String,
}

struct Case {
    balance: (Balance, Hash, &'static str),
    retries: u32,
    redispatch: i32,
    servers: usize,
    backups: bool,
}

impl Case {
    fn on_haproxy(&self) -> Counted {
        let targets: Vec<Target> = (0..self.servers).map(|_| Target::new()).collect();
        let backup = if self.backups { " backup" } else { "" };
        let servers: String =
            targets.iter().enumerate().map(|(index, target)| format!(" server s{index} {}{backup}\n", target.address())).collect();
        let redispatch = if self.redispatch == 0 { String::new() } else { format!(" option redispatch {}\n", self.redispatch) };
        let haproxy = Haproxy::start(&format!(
            "frontend f\n mode tcp\n bind fd@LISTENER\n log-format %rc\n default_backend b\n\
             backend b\n mode tcp\n timeout connect 50ms\n option allbackups\n retries {}\n balance {}\n{redispatch}{servers}",
            self.retries, self.balance.2
        ));
        assert_eq!(haproxy.ask(None, ""), "");
        let deadline = Instant::now() + PATIENCE;
        let logged = loop {
            if let Some(line) = haproxy.log_line() {
                break line.trim_start_matches("<134>").to_owned();
            }
            assert!(Instant::now() < deadline);
        };
        let count = |index: usize, column| haproxy.column("b", &format!("s{index}"), column).parse().unwrap();
        Counted { per_server: (0..self.servers).map(|index| (count(index, "wretr"), count(index, "wredis"))).collect(), logged }
    }

    fn on_paper(&self) -> Counted {
        let view = |index: usize| ServerView {
            id: index as u32 + 1,
            usable: true,
            backup: self.backups,
            configured_weight: 1,
            weight: 1,
            throttle: 16,
        };
        let picker = Picker::build(&self.backend(), &(0..self.servers).map(view).collect::<Vec<_>>());
        let ticket = AtomicU64::new(0);
        let pick = |exclude| {
            let key = Key::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
            picker.pick(Input { ticket: &ticket, key, load: |_| Load::default(), random: || 0, exclude }).server().unwrap()
        };
        let settings =
            Settings { retries: self.retries, redispatch_interval: self.redispatch, connect_timeout_ms: Some(50), balance: self.balance.0 };
        let mut per_server = vec![(0, 0); self.servers];
        let (mut server, mut retries_made, mut redispatched) = (pick(None), 0, false);
        loop {
            let failure = Failure {
                retries_made,
                timed_out: false,
                server_not_running: false,
                active_servers: if self.backups { 0 } else { self.servers as u32 },
                persistent: false,
            };
            let chosen = match after_failure(failure, settings) {
                Retry::GiveUp => break,
                Retry::SameServer { .. } => server,
                Retry::Redispatch { .. } => pick(Some(server)),
            };
            retries_made += 1;
            if chosen == server {
                per_server[server].0 += 1;
            } else {
                per_server[server].1 += 1;
                redispatched = true;
            }
            server = chosen;
        }
        Counted { per_server, logged: format!("{}{retries_made}", if redispatched { "+" } else { "" }) }
    }

    fn backend(&self) -> Backend {
        Backend {
            proxy_id: 3,
            servers: 0..self.servers,
            balance: self.balance.0,
            hash: self.balance.1,
            retries: self.retries,
            redispatch_interval: self.redispatch,
            options: BackendOptions { all_backups: true, ..BackendOptions::default() },
            ..Backend::new("b")
        }
    }
}

#[test]
fn retries_fall_on_the_same_servers() {
    if !haproxy_is_installed() {
        return;
    }
    // `hash-type consistent` without a function implies the avalanche.
    let consistent = Hash { method: HashMethod::Consistent, avalanche: true, ..Hash::default() };
    let methods = [
        (Balance::RoundRobin, Hash::default(), "roundrobin"),
        (Balance::StaticRoundRobin, Hash::default(), "static-rr"),
        (Balance::LeastConnections, Hash::default(), "leastconn"),
        (Balance::First, Hash::default(), "first"),
        (Balance::Source, Hash::default(), "source"),
        (Balance::Source, consistent, "source\n hash-type consistent"),
    ];
    let settings = [(3, -1), (4, 2), (3, 0), (4, -2), (2, 1), (0, -1)];
    let sizes = [(3, false), (2, false), (1, false), (2, true)];
    for balance in methods {
        // The whole grid for one method of each kind, a corner of it for the others.
        let whole = balance.0 == Balance::RoundRobin || balance.1.method == HashMethod::Consistent;
        for (retries, redispatch) in settings.into_iter().take(if whole { 6 } else { 2 }) {
            for (servers, backups) in sizes.into_iter().take(if whole { 4 } else { 1 }) {
                let case = Case { balance, retries, redispatch, servers, backups };
                let (on_paper, on_haproxy) = (case.on_paper(), case.on_haproxy());
                assert_eq!(
                    on_paper, on_haproxy,
                    "balance {}, retries {retries}, redispatch {redispatch}, {servers} servers, backups {backups}",
                    balance.2
                );
            }
        }
    }
}
