//! Simulations of the fleet in virtual time; `tests/haproxy_health.rs` compares its lines with the real HAProxy's.

use std::ops::Range;

use proptest::prelude::*;
use ringmain_model::{
    Backend, BackendId, Check, Global, Milliseconds, Model, Observe, OnError, Server, ServerAddress, ServerHost, ServerId, ServerPort,
    Tuning,
};

use super::*;

/// The same numbers for every server.
struct Load {
    active: u32,
    queued: u32,
    backend_queued: u32,
}

const NOBODY: Load = Load { active: 0, queued: 0, backend_queued: 0 };

impl Sessions for Load {
    fn active(&self, _server: usize) -> u32 {
        self.active
    }
    fn queued(&self, _server: usize) -> u32 {
        self.queued
    }
    fn backend_queued(&self, _backend: usize) -> u32 {
        self.backend_queued
    }
}

fn server(name: &str) -> Server {
    Server {
        name: name.into(),
        id: 1,
        backend: BackendId::new(0),
        address: ServerAddress { host_text: "h".into(), host: ServerHost::Ip("127.0.0.1".parse().unwrap()), port: ServerPort::Fixed(1) },
        weight: 10,
        check: Some(Check {
            inter: Milliseconds(2000),
            fastinter: Milliseconds(500),
            downinter: Milliseconds(5000),
            rise: 2,
            fall: 3,
            port: None,
            address: None,
        }),
        backup: false,
        disabled: false,
        maxconn: 0,
        minconn: 0,
        maxqueue: 0,
        maxconnrate: 0,
        slowstart: None,
        observe: Some(Observe::Layer4),
        error_limit: 3,
        on_error: OnError::FailCheck,
        shutdown_sessions_when_down: false,
        shutdown_backup_sessions_when_up: false,
        track: None,
        source: None,
    }
}

fn backend(servers: Range<usize>) -> Backend {
    Backend { servers, redispatch_interval: -1, ..Backend::new("b") }
}

fn model(servers: Vec<Server>) -> Model {
    let global = Global {
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
    };
    Model { backends: vec![backend(0..servers.len())], servers, ..Model::empty(global) }
}

fn lines(effects: &[Effect]) -> Vec<String> {
    let line = |effect: &Effect| match effect {
        Effect::Log { level, text, .. } => Some(format!("{}: {text}", level.name())),
        _ => None,
    };
    effects.iter().filter_map(line).collect()
}

fn refused() -> CheckOutcome {
    CheckOutcome::Failed("Connection refused".into())
}

/// Runs the server's checks one by one with these outcomes; the times at which they started, and all effects.
fn run(fleet: &mut Fleet, server: usize, outcomes: &[CheckOutcome]) -> (Vec<u64>, Vec<Effect>) {
    let (mut times, mut effects) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        let due = fleet.get(server).unwrap().check.as_ref().unwrap().next_at_ms;
        assert!(due == 0 || !fleet.begin_check(server, due - 1), "not before its time");
        assert!(fleet.begin_check(server, due));
        assert!(!fleet.begin_check(server, due), "one at a time");
        times.push(due);
        effects.extend(fleet.check_ended(server, outcome.clone(), 0, due, &NOBODY));
    }
    (times, effects)
}

#[test]
fn answers_are_told_with_their_codes() {
    let mut model = model(vec![server("s")]);
    model.backends[0].options.log_health_checks = true;
    let mut fleet = Fleet::new(&model, 0);
    let refused = CheckOutcome::Refused { code: 5, info: "CONNACK code 5: not authorized".into() };
    let told = |fleet: &Fleet| {
        let report = fleet.check_report(0).expect("a check that runs");
        (report.status, report.code, report.info)
    };
    let (_, effects) = run(&mut fleet, 0, &[CheckOutcome::Accepted { code: 0 }]);
    assert_eq!(
        lines(&effects),
        ["notice: Health check for server b/s succeeded, reason: Layer7 check passed, code: 0, check duration: 0ms, status: 3/3 UP."]
    );
    assert_eq!(told(&fleet), ("L7OK".into(), Some(0), String::new()));
    let (_, effects) = run(&mut fleet, 0, &[refused, CheckOutcome::Invalid("no CONNACK: why".into()), CheckOutcome::Unanswered]);
    assert_eq!(
        lines(&effects)[..3],
        [
            "notice: Health check for server b/s failed, reason: Layer7 wrong status, code: 5, info: \"CONNACK code 5: not authorized\", \
             check duration: 0ms, status: 2/3 UP.",
            "notice: Health check for server b/s failed, reason: Layer7 invalid response, info: \"no CONNACK: why\", check duration: 0ms, \
             status: 1/3 UP.",
            "notice: Health check for server b/s failed, reason: Layer7 timeout, check duration: 0ms, status: 0/2 DOWN.",
        ]
    );
    assert_eq!(told(&fleet), ("L7TOUT".into(), None, String::new()));
    assert_eq!(fleet.status_text(0), "DOWN");
}

#[test]
fn intervals_follow_the_state() {
    use CheckOutcome::Connected;
    let mut fleet = Fleet::new(&model(vec![server("s")]), 0);
    assert_eq!(fleet.status_text(0), "UP 1/3");
    let outcomes = [Connected, Connected, refused(), refused(), refused(), refused(), Connected, Connected, Connected];
    let (times, effects) = run(&mut fleet, 0, &outcomes);
    // Stable: 2000. After the first failure: 500. Down: 5000. After the first success: 500. Stable again: 2000.
    assert_eq!(times, [0, 2000, 4000, 4500, 5000, 10_000, 15_000, 15_500, 17_500]);
    let states = lines(&effects);
    assert_eq!(states.len(), 3, "{states:?}");
    assert!(states[0].starts_with("alert: Server b/s is DOWN, reason: Layer4 connection problem, info: \"Connection refused\""));
    assert_eq!(states[1], "emerg: backend b has no server available!");
    assert!(states[2].starts_with("notice: Server b/s is UP, reason: Layer4 check passed, check duration: 0ms. 1 active"));
    assert_eq!(fleet.get(0).unwrap().down_time_ms(99_000), 10_500);
}

#[test]
fn first_checks_are_spread() {
    let mut quick = server("quick");
    quick.check.as_mut().unwrap().inter = Milliseconds(100);
    let servers = vec![server("a"), server("b"), quick, server("d")];
    let fleet = Fleet::new(&model(servers), 1000);
    let due: Vec<u64> = (0..4).map(|index| fleet.due_at_ms(index).unwrap()).collect();
    assert_eq!(due, [1000, 1500, 2000, 2500], "an interval below a second does not crowd the others");
}

#[test]
fn lack_of_local_resources_is_not_held_against_a_server() {
    let mut fleet = Fleet::new(&model(vec![server("s")]), 0);
    let (_, effects) = run(&mut fleet, 0, &[CheckOutcome::LocalError, CheckOutcome::LocalError]);
    assert_eq!((effects, fleet.status_text(0)), (Vec::new(), "UP 1/3".into()));
    assert_eq!(fleet.check_report(0).unwrap().status, "SOCKERR");
}

#[test]
fn going_down_tells_what_becomes_of_sessions() {
    let mut leaving = server("s");
    leaving.shutdown_sessions_when_down = true;
    let mut fleet = Fleet::new(&model(vec![leaving, server("other")]), 0);
    assert!(fleet.begin_check(0, 0));
    let load = Load { active: 7, queued: 3, backend_queued: 0 };
    let effects = fleet.check_ended(0, CheckOutcome::TimedOut, 301, 301, &load);
    let text = "Server b/s is DOWN, reason: Layer4 timeout, check duration: 301ms. 1 active and 0 backup servers left. \
                7 sessions active, 3 requeued, 0 remaining in queue.";
    let expected = [
        Effect::Publish { backend: 0 },
        Effect::ShutdownSessions { server: 0 },
        Effect::Requeue { server: 0 },
        Effect::Log { backend: 0, level: Level::Alert, text: text.into() },
    ];
    assert_eq!(effects, expected);
}

#[test]
fn observed_errors_act_as_configured() {
    for (on_error, status, fail_count) in [
        (OnError::FastInter, "UP", 0),
        (OnError::FailCheck, "UP 2/3", 1),
        (OnError::SuddenDeath, "UP 1/3", 1),
        (OnError::MarkDown, "DOWN", 1),
    ] {
        let mut fleet = Fleet::new(&model(vec![Server { on_error, ..server("s") }]), 0);
        run(&mut fleet, 0, &[CheckOutcome::Connected]);
        let effects = fleet.error_limit_reached(0, 3, 100, &NOBODY);
        assert_eq!(fleet.status_text(0), status, "{on_error:?}");
        assert_eq!(fleet.due_at_ms(0), Some(600), "the next check comes within fastinter");
        assert_eq!(fleet.get(0).unwrap().check.as_ref().unwrap().failures, fail_count);
        if on_error == OnError::MarkDown {
            assert!(lines(&effects)[0].starts_with(
                "alert: Server b/s is DOWN, reason: Health analyze, info: \"Detected 3 consecutive errors, last one was: L4 unsuccessful \
                 connection\". 0 active"
            ));
        }
    }
}

#[test]
fn slow_start_steps_every_second_and_says_when_it_ends() {
    let slow = Server { slowstart: Some(Milliseconds(10_000)), ..server("s") };
    let mut fleet = Fleet::new(&model(vec![slow, server("other")]), 0);
    assert_eq!(fleet.get(0).unwrap().throttle, 16, "no slow start at boot");
    run(&mut fleet, 0, &[refused(), CheckOutcome::Connected, CheckOutcome::Connected]);
    let up_at = fleet.get(0).unwrap().changed_at_ms;
    let mut throttles = vec![fleet.views(0)[0].throttle];
    assert_eq!([up_at, up_at + 3999, up_at + 10_000].map(|now| fleet.get(0).unwrap().slowstart_percent(now)), [0, 30, 100]);
    let mut last = Vec::new();
    for second in 1..=10 {
        assert!(fleet.slowstart_step(0, up_at + second * 1000 - 1, &NOBODY).is_empty());
        last = fleet.slowstart_step(0, up_at + second * 1000, &NOBODY);
        assert_eq!(last.first(), Some(&Effect::Publish { backend: 0 }));
        throttles.push(fleet.views(0)[0].throttle);
    }
    assert_eq!(throttles, [1, 2, 4, 5, 7, 9, 10, 12, 13, 15, 16]);
    assert_eq!(lines(&last), ["notice: Server b/s is UP. 2 active and 0 backup servers online. 0 sessions requeued, 0 total in queue."]);
    assert_eq!(fleet.get(0).unwrap().operation, Operation::Running);
}

#[test]
fn a_reload_keeps_what_it_knows() {
    let before = model(vec![server("a"), server("b"), server("gone"), Server { disabled: true, ..server("d") }]);
    let mut fleet = Fleet::new(&before, 0);
    run(&mut fleet, 0, &[refused()]);
    fleet.set_state(1, AdminState::Drain, 100, &NOBODY);
    fleet.set_weight(1, 77);
    let after = model(vec![Server { id: 9, ..server("new") }, server("b"), Server { weight: 50, ..server("a") }, server("d")]);
    let reloaded = Fleet::reloaded(&after, &fleet, &before, 5000);
    assert_eq!((reloaded.status_text(2), reloaded.get(2).unwrap().weight), ("DOWN".into(), 50), "health stays, a new weight is taken");
    assert_eq!((reloaded.status_text(1), reloaded.get(1).unwrap().weight), ("DRAIN 1/3".into(), 77), "what operators changed stays");
    assert_eq!(reloaded.status_text(0), "UP 1/3");
    assert_eq!(reloaded.status_text(3), "UP 1/3", "enabled by the new configuration");
    assert_eq!(reloaded.due_at_ms(2), fleet.due_at_ms(0), "checks keep their time");
    assert_eq!(Fleet::reloaded(&before, &fleet, &before, 5000), fleet);
}

/// One thing that may happen to a fleet.
#[derive(Clone, Debug)]
enum Event {
    Check(usize, bool),
    Errors(usize),
    State(usize, u8),
    Health(usize, u8),
    Weight(usize, u16),
    Resolved(usize, bool),
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let server = 0_usize..6;
    prop_oneof![
        4 => (server.clone(), any::<bool>()).prop_map(|(server, passes)| Event::Check(server, passes)),
        1 => server.clone().prop_map(Event::Errors),
        3 => (server.clone(), 0_u8..3).prop_map(|(server, state)| Event::State(server, state)),
        1 => (server.clone(), 0_u8..3).prop_map(|(server, health)| Event::Health(server, health)),
        1 => (server.clone(), 0_u16..300).prop_map(|(server, weight)| Event::Weight(server, weight)),
        1 => (server, any::<bool>()).prop_map(|(server, resolved)| Event::Resolved(server, resolved)),
        2 => (0_u64..4000).prop_map(Event::Time),
    ]
}

/// Two checked servers, a backup, a follower of the first, a follower of that, and one outside the model.
fn family() -> Model {
    let follower = |name: &str, track| Server { check: None, track: Some(ServerId::new(track)), ..server(name) };
    let slow = Server { slowstart: Some(Milliseconds(3000)), ..server("slow") };
    model(vec![slow, server("plain"), Server { backup: true, ..server("backup") }, follower("f", 0), follower("g", 3)])
}

fn apply(fleet: &mut Fleet, event: &Event, now_ms: &mut u64) -> Vec<Effect> {
    let now = *now_ms;
    match *event {
        Event::Check(server, passes) => {
            let Some(due) = fleet.get(server).and_then(|member| member.check.as_ref()).map(|check| check.next_at_ms) else {
                return Vec::new();
            };
            *now_ms = now.max(due);
            if !fleet.begin_check(server, *now_ms) {
                return Vec::new();
            }
            let outcome = if passes { CheckOutcome::Connected } else { CheckOutcome::TimedOut };
            fleet.check_ended(server, outcome, 1, *now_ms, &NOBODY)
        }
        Event::Errors(server) => fleet.error_limit_reached(server, 3, now, &NOBODY),
        Event::State(server, state) => {
            let state = [AdminState::Ready, AdminState::Drain, AdminState::Maintenance][usize::from(state)];
            fleet.set_state(server, state, now, &NOBODY)
        }
        Event::Health(server, health) => {
            let health = [ForcedHealth::Up, ForcedHealth::Stopping, ForcedHealth::Down][usize::from(health)];
            fleet.set_health(server, health, now, &NOBODY).unwrap_or_default()
        }
        Event::Weight(server, weight) => fleet.set_weight(server, weight),
        Event::Resolved(server, resolved) => fleet.set_resolved(server, resolved, now, &NOBODY),
        Event::Time(step) => {
            *now_ms += step;
            (0..fleet.len()).flat_map(|server| fleet.slowstart_step(server, *now_ms, &NOBODY)).collect()
        }
    }
}

proptest! {
    #[test]
    fn the_fleet_stays_consistent(events in prop::collection::vec(event(), 1..120)) {
        let model = family();
        let mut fleet = Fleet::new(&model, 0);
        let mut now_ms = 0;
        for event in &events {
            let views = fleet.views(0);
            let effects = apply(&mut fleet, event, &mut now_ms);
            // Whatever changes for the picker is published.
            prop_assert!(views == fleet.views(0) || effects.contains(&Effect::Publish { backend: 0 }), "{:?}", event);
            for server in 0..fleet.len() {
                let member = fleet.get(server).unwrap();
                prop_assert!(!member.admin.in_maintenance() || member.operation == Operation::Stopped);
                prop_assert_eq!(member.operation == Operation::Starting, member.next_step_ms.is_some());
                prop_assert!((1..=16).contains(&member.throttle));
                prop_assert!(member.operation == Operation::Starting || member.throttle == 16);
                prop_assert!(!fleet.status_text(server).is_empty());
                if let Some(check) = &member.check {
                    prop_assert!(check.health <= check.full_health());
                    prop_assert!(member.operation != Operation::Running || check.is_up());
                    prop_assert!(!check.in_progress);
                }
                if let Some(tracked) = member.track.and_then(|tracked| fleet.get(tracked)) {
                    prop_assert_eq!(member.admin.has(Admin::INHERITED_MAINTENANCE), tracked.admin.in_maintenance());
                    prop_assert_eq!(member.admin.has(Admin::INHERITED_DRAIN), tracked.admin.drains());
                    let follows = (tracked.operation == Operation::Stopped) == (member.operation == Operation::Stopped);
                    prop_assert!(follows || member.admin.in_maintenance());
                }
            }
            let last_word = lines(&effects).iter().rev().any(|line| line.ends_with("has no server available!"));
            prop_assert!(!last_word || fleet.servers_in_use(0) == (0, 0));
        }
        // A reload that changes nothing changes nothing; whether there is an address is for the new model to say.
        for server in 0..fleet.len() {
            fleet.set_resolved(server, true, now_ms, &NOBODY);
        }
        prop_assert_eq!(Fleet::reloaded(&model, &fleet, &model, now_ms), fleet);
    }

    #[test]
    fn a_check_is_never_late_nor_early(outcomes in prop::collection::vec(any::<bool>(), 1..60), rise in 1_u32..5, fall in 1_u32..5) {
        let mut checked = server("s");
        let settings = checked.check.as_mut().unwrap();
        (settings.rise, settings.fall) = (rise, fall);
        let mut fleet = Fleet::new(&model(vec![checked]), 0);
        let (mut streak, mut up, mut last) = (0, true, None);
        for (index, &passes) in outcomes.iter().enumerate() {
            streak = if last == Some(passes) { streak + 1 } else { 1 };
            last = Some(passes);
            let outcome = if passes { CheckOutcome::Connected } else { refused() };
            let (times, _) = run(&mut fleet, 0, &[outcome]);
            // One failure is enough at first; later `fall` in a row, and `rise` successes in a row to come back.
            if up && !passes && (streak >= fall || index == 0) {
                up = false;
            } else if !up && passes && streak >= rise {
                up = true;
            }
            prop_assert_eq!(fleet.get(0).unwrap().operation != Operation::Stopped, up, "after {} outcomes", index + 1);
            let delay = fleet.due_at_ms(0).unwrap() - times[0];
            prop_assert!([500, 2000, 5000].contains(&delay));
        }
    }
}
