//! The fleet and the real HAProxy see the same servers come and go, and must write the same lines at the same levels and show the same
//! states: scenarios are played on both.

mod support;

use std::collections::HashSet;
use std::time::Instant;

use ringmain_model::{
    Backend, BackendId, BackendOptions, Check, Global, Milliseconds, Model, Observe, OnError, Server, ServerAddress, ServerHost, ServerId,
    ServerPort, Tuning,
};
use ringmain_policy::health::{AdminState, CheckOutcome, Effect, Fleet, ForcedHealth, Sessions};
use support::{Haproxy, PATIENCE, Target, haproxy_is_installed};

/// Facility local0 in a syslog priority.
const LOCAL0: u8 = 16 * 8;

/// Nobody is connected in these scenarios.
struct Nobody;

impl Sessions for Nobody {
    fn active(&self, _server: usize) -> u32 {
        0
    }
    fn queued(&self, _server: usize) -> u32 {
        0
    }
    fn backend_queued(&self, _backend: usize) -> u32 {
        0
    }
}

/// A server of a scenario; `target` says which socket it is, `track` which server it follows.
#[derive(Clone, Copy)]
struct Spec {
    name: &'static str,
    target: usize,
    check: bool,
    rise: u32,
    fall: u32,
    backup: bool,
    disabled: bool,
    weight: u16,
    track: Option<usize>,
}

const CHECKED: Spec = Spec { name: "", target: 0, check: true, rise: 2, fall: 3, backup: false, disabled: false, weight: 1, track: None };

const FOLLOWER: Spec = Spec { check: false, ..CHECKED };

/// The same two backends for both: `b` with checks, `t` with followers.
struct Play {
    haproxy: Haproxy,
    fleet: Fleet,
    targets: Vec<Target>,
    specs: Vec<Spec>,
    first_of_t: usize,
    up: HashSet<usize>,
    now_ms: u64,
}

fn backend(name: &str, proxy_id: u32, servers: std::ops::Range<usize>, log_health_checks: bool) -> Backend {
    Backend { proxy_id, servers, options: BackendOptions { log_health_checks, ..BackendOptions::default() }, ..Backend::new(name) }
}

fn server(spec: &Spec, id: u32, backend: usize, address: std::net::SocketAddr) -> Server {
    let inter = Milliseconds(100);
    Server {
        name: spec.name.into(),
        id,
        backend: BackendId::new(backend),
        address: ServerAddress {
            host_text: address.ip().to_string().into(),
            host: ServerHost::Ip(address.ip()),
            port: ServerPort::Fixed(address.port()),
        },
        weight: spec.weight,
        check: spec.check.then_some(Check {
            inter,
            fastinter: inter,
            downinter: inter,
            rise: spec.rise,
            fall: spec.fall,
            port: None,
            address: None,
        }),
        backup: spec.backup,
        disabled: spec.disabled,
        maxconn: 0,
        minconn: 0,
        maxqueue: 0,
        maxconnrate: 0,
        slowstart: None,
        observe: Some(Observe::Layer4),
        error_limit: 10,
        on_error: OnError::FailCheck,
        shutdown_sessions_when_down: false,
        shutdown_backup_sessions_when_up: false,
        track: spec.track.map(ServerId::new),
        source: None,
    }
}

fn global() -> Global {
    Global {
        maxconn: 100,
        shards: 1,
        shard_cpus: Vec::new(),
        daemon: false,
        strict_limits: false,
        keeps_memory: false,
        pidfile: None,
        log_targets: Vec::new(),
        log_tag: None,
        log_hostname: None,
        node: None,
        description: None,
        uid: None,
        gid: None,
        chroot: None,
        ulimit_n: None,
        hard_stop_after: None,
        grace: None,
        environment: Vec::new(),
        stats_sockets: Vec::new(),
        stats_timeout: Milliseconds(10_000),
        stats_maxconn: 10,
        tuning: Tuning::default(),
        state_file: None,
        variables: Vec::new(),
    }
}

impl Play {
    fn start(specs: &[Spec], first_of_t: usize, log_health_checks: bool, up: &[usize]) -> Self {
        let count = specs.iter().map(|spec| spec.target).max().unwrap() + 1;
        let targets: Vec<Target> = (0..count).map(|_| Target::new()).collect();
        up.iter().for_each(|&target| targets[target].up());
        let name = |index: usize| format!("{}/{}", if index < first_of_t { "b" } else { "t" }, specs[index].name);
        let line = |spec: &Spec| {
            let word = |set: bool, word: &str| if set { format!(" {word}") } else { String::new() };
            let check = format!("check inter 100 rise {} fall {}", spec.rise, spec.fall);
            let track = spec.track.map(|tracked| format!(" track {}", name(tracked))).unwrap_or_default();
            format!(
                " server {} {} weight {}{}{}{}{track}\n",
                spec.name,
                targets[spec.target].address(),
                spec.weight,
                word(spec.check, &check),
                word(spec.backup, "backup"),
                word(spec.disabled, "disabled"),
            )
        };
        let lines: Vec<String> = specs.iter().map(line).collect();
        let option = if log_health_checks { " option log-health-checks\n" } else { "" };
        let (of_b, of_t) = lines.split_at(first_of_t);
        let haproxy = Haproxy::start(&format!(
            "frontend f\n mode tcp\n bind fd@LISTENER\n default_backend b\nbackend b\n mode tcp\n{option}{}backend t\n mode tcp\n{}",
            of_b.concat(),
            of_t.concat()
        ));
        let servers = (0..specs.len())
            .map(|index| {
                let in_t = index >= first_of_t;
                let id = if in_t { index - first_of_t } else { index } as u32 + 1;
                server(&specs[index], id, usize::from(in_t), targets[specs[index].target].address())
            })
            .collect();
        let model = Model {
            backends: vec![backend("b", 3, 0..first_of_t, log_health_checks), backend("t", 4, first_of_t..specs.len(), false)],
            servers,
            ..Model::empty(global())
        };
        let fleet = Fleet::new(&model, 0);
        Self { haproxy, fleet, targets, specs: specs.to_vec(), first_of_t, up: up.iter().copied().collect(), now_ms: 0 }
    }

    /// Lets the fleet's checks run until nothing changes any more.
    fn run_checks(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..20 {
            for index in 0..self.fleet.len() {
                let Some(due) = self.fleet.due_at_ms(index) else { continue };
                self.now_ms = self.now_ms.max(due);
                if self.fleet.begin_check(index, self.now_ms) {
                    let outcome = if self.up.contains(&self.specs[index].target) {
                        CheckOutcome::Connected
                    } else {
                        CheckOutcome::Failed("Connection refused".into())
                    };
                    effects.extend(self.fleet.check_ended(index, outcome, 0, self.now_ms, &Nobody));
                }
            }
        }
        effects
    }

    /// Waits for the lines that the fleet wrote, and compares them and then the states.
    fn compare(&mut self, step: &str, mut effects: Vec<Effect>) {
        effects.extend(self.run_checks());
        let expected: Vec<String> = effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Log { level, text, .. } => Some(format!("<{}>{text}", LOCAL0 + level.code())),
                _ => None,
            })
            .collect();
        let (mut lines, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while lines.len() < expected.len() && Instant::now() < deadline {
            lines.extend(self.haproxy.log_line().map(|line| without_duration(&line)));
        }
        assert_eq!(expected, lines, "lines of step: {step}");
        for index in 0..self.fleet.len() {
            let backend = if index < self.first_of_t { "b" } else { "t" };
            let expected = self.fleet.status_text(index);
            let status = || self.haproxy.column(backend, self.specs[index].name, "status");
            // The last check of a step may still be on its way.
            while status() != expected && Instant::now() < deadline {}
            assert_eq!(expected, status(), "state of {backend}/{} after: {step}", self.specs[index].name);
            let down_transitions = self.fleet.get(index).unwrap().down_transitions;
            let reported = self.haproxy.column(backend, self.specs[index].name, "chkdown");
            assert!(reported.is_empty() || reported == down_transitions.to_string(), "{reported} {down_transitions} after: {step}");
        }
        for (index, backend) in ["b", "t"].into_iter().enumerate() {
            let (active, backup) = self.fleet.servers_in_use(index);
            let status = if (active, backup) == (0, 0) { "DOWN" } else { "UP" };
            assert_eq!(self.haproxy.column(backend, "BACKEND", "status"), status, "{backend} after: {step}");
            assert_eq!(self.haproxy.column(backend, "BACKEND", "act"), active.to_string(), "{backend} after: {step}");
            assert_eq!(self.haproxy.column(backend, "BACKEND", "bck"), backup.to_string(), "{backend} after: {step}");
        }
    }

    fn target(&mut self, target: usize, up: bool) {
        if up {
            self.targets[target].up();
            self.up.insert(target);
        } else {
            self.targets[target].down();
            self.up.remove(&target);
        }
        self.compare(&format!("target {target} up: {up}"), Vec::new());
    }

    fn state(&mut self, index: usize, state: AdminState) {
        let word = match state {
            AdminState::Ready => "ready",
            AdminState::Drain => "drain",
            AdminState::Maintenance => "maint",
        };
        let command = format!("set server {} state {word}", self.name(index));
        self.haproxy.command(&command);
        let effects = self.fleet.set_state(index, state, self.now_ms, &Nobody);
        self.compare(&command, effects);
    }

    fn health(&mut self, index: usize, health: ForcedHealth) {
        let word = match health {
            ForcedHealth::Up => "up",
            ForcedHealth::Stopping => "stopping",
            ForcedHealth::Down => "down",
        };
        let command = format!("set server {} health {word}", self.name(index));
        self.haproxy.command(&command);
        let effects = self.fleet.set_health(index, health, self.now_ms, &Nobody).unwrap();
        self.compare(&command, effects);
    }

    fn name(&self, index: usize) -> String {
        format!("{}/{}", if index < self.first_of_t { "b" } else { "t" }, self.specs[index].name)
    }
}

/// Checks on loopback take 0 or 1 ms, as it happens.
fn without_duration(line: &str) -> String {
    match line.split_once("check duration: ") {
        Some((before, after)) => {
            let after = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
            format!("{before}check duration: 0{after}")
        }
        None => line.to_owned(),
    }
}

#[test]
fn checks_and_backups_and_followers() {
    if !haproxy_is_installed() {
        return;
    }
    for log_health_checks in [false, true] {
        let specs = [
            Spec { name: "s0", ..CHECKED },
            Spec { name: "s1", target: 1, backup: true, ..CHECKED },
            Spec { name: "s2", target: 2, rise: 3, fall: 2, ..CHECKED },
            Spec { name: "t0", track: Some(0), ..FOLLOWER },
            Spec { name: "t1", track: Some(1), ..FOLLOWER },
            Spec { name: "t3", track: Some(3), ..FOLLOWER },
        ];
        let mut play = Play::start(&specs, 3, log_health_checks, &[0, 1]);
        play.compare("start", Vec::new());
        for (target, up) in [(0, false), (1, false), (2, true), (0, true), (1, true), (2, false)] {
            play.target(target, up);
        }
    }
}

#[test]
fn wishes_of_operators() {
    use AdminState::{Drain, Maintenance, Ready};
    if !haproxy_is_installed() {
        return;
    }
    let specs = [
        Spec { name: "s0", weight: 3, ..CHECKED },
        Spec { name: "s1", target: 1, backup: true, disabled: true, ..CHECKED },
        Spec { name: "s2", target: 2, weight: 0, rise: 1, ..CHECKED },
        Spec { name: "s3", check: false, ..CHECKED },
        Spec { name: "t0", track: Some(0), ..FOLLOWER },
        Spec { name: "t1", track: Some(1), ..FOLLOWER },
        Spec { name: "t2", track: Some(0), disabled: true, ..FOLLOWER },
        Spec { name: "t3", track: Some(4), ..FOLLOWER },
        Spec { name: "x", disabled: true, ..FOLLOWER },
    ];
    let mut play = Play::start(&specs, 4, false, &[0]);
    play.compare("start", Vec::new());
    for state in [Maintenance, Ready, Drain, Ready, Drain, Maintenance, Drain, Maintenance, Ready] {
        play.state(0, state);
    }
    for (index, state) in [(4, Maintenance), (0, Maintenance), (4, Ready), (0, Ready), (4, Drain), (0, Drain), (4, Ready), (0, Ready)] {
        play.state(index, state);
    }
    play.target(0, false);
    for state in [Drain, Ready, Drain, Maintenance, Drain] {
        play.state(0, state);
    }
    play.target(0, true);
    play.state(0, Ready);
    for (index, state) in [(1, Ready), (8, Ready), (8, Drain), (8, Ready), (6, Ready), (6, Maintenance)] {
        play.state(index, state);
    }
    play.target(2, true);
    for index in 0..4 {
        play.state(index, Maintenance);
    }
    for index in 0..4 {
        play.state(index, Ready);
    }
}

#[test]
fn forced_health() {
    if !haproxy_is_installed() {
        return;
    }
    let specs =
        [Spec { name: "s0", ..CHECKED }, Spec { name: "s1", check: false, ..CHECKED }, Spec { name: "t0", track: Some(0), ..FOLLOWER }];
    let mut play = Play::start(&specs, 2, false, &[0]);
    play.compare("start", Vec::new());
    // While its checks are off, what was forced stays.
    play.haproxy.command("disable health b/s0");
    play.fleet.set_check_enabled(0, false, play.now_ms);
    use ForcedHealth::{Down, Stopping, Up};
    for (index, health) in [(0, Down), (0, Up), (0, Stopping), (0, Down), (1, Stopping), (0, Stopping), (0, Up), (1, Up)] {
        play.health(index, health);
    }
    play.health(0, Down);
    play.haproxy.command("enable health b/s0");
    play.fleet.set_check_enabled(0, true, play.now_ms);
    play.compare("enable health", Vec::new());
}
