//! The fleet over real live objects, without shards.

use ringmain_engine::mailbox::ProbeOutcome;
use ringmain_model::{BackendId, FrontendId, ServerHost};

use super::*;
use crate::control::fixture::model;
use crate::control::registry::Registry;

const SERVERS: &str = "listen web\n  bind 127.0.0.1:1\n  server one 127.0.0.1:11 check inter 100 maxconn 5\n  server two 127.0.0.1:12\n  \
                       server three 127.0.0.1:13 track web/one\n";
const ONE: ServerId = ServerId::new(0);
const TWO: ServerId = ServerId::new(1);
const THREE: ServerId = ServerId::new(2);

struct World {
    registry: Registry,
    fleet: Fleet,
}

impl World {
    fn new(sections: &str) -> Self {
        let mut registry = Registry::new(1, "ringmain".into());
        let (generation, _) = registry.accept(registry.propose(model(sections)));
        let mut fleet = Fleet::new(generation, 1000);
        fleet.take_effects();
        Self { registry, fleet }
    }

    fn reload(&mut self, sections: &str) {
        let (generation, _) = self.registry.accept(self.registry.propose(model(sections)));
        self.fleet.adopt(generation);
    }

    fn fail(&mut self, id: ServerId) {
        let due_ms = self.fleet.due_at_ms(id).expect("a check is due");
        self.fleet.set_now(due_ms);
        assert!(self.fleet.begin_check(id));
        self.fleet.probe_ended(id, ProbeOutcome::Failed(libc::ECONNREFUSED), 0);
    }

    fn usable(&self) -> Vec<bool> {
        self.fleet.generation().backends[0].snapshot().servers.iter().map(|server| server.usable).collect()
    }

    fn lines(&mut self) -> Vec<String> {
        let line = |effect| if let Effect::Log { text, .. } = effect { Some(text) } else { None };
        self.fleet.take_effects().into_iter().filter_map(line).collect()
    }
}

#[test]
fn a_failed_first_check_takes_the_server_and_its_followers_down_for_shards() {
    let mut world = World::new(SERVERS);
    assert_eq!(world.usable(), [true, true, true]);
    world.fail(ONE);
    assert_eq!(world.usable(), [false, true, false], "the snapshot is out before the turn ends");
    assert_eq!(world.fleet.server(THREE).operational, Operational::Stopped);
    assert_eq!(world.fleet.backend(BackendId::new(0)).active_servers, 1);
    let lines = world.lines();
    assert!(lines[0].starts_with("Server web/one is DOWN, reason: Layer4 connection problem"), "{lines:?}");
    assert!(lines[1].starts_with("Server web/three is DOWN via web/one."), "{lines:?}");
}

#[test]
fn servers_that_are_left_have_their_mqtt_clients_told() {
    let told = |world: &mut World| {
        let name = |effect| if let Effect::DrainMqtt(live) = effect { Some(live.name.to_string()) } else { None };
        world.fleet.take_effects().into_iter().filter_map(name).collect::<Vec<_>>()
    };
    let drained = SERVERS.replace("listen web\n", "listen web\n  option mqtt-drain\n");
    for state in [WantedState::Drain, WantedState::Maintenance] {
        let mut world = World::new(&drained);
        world.fleet.set_state(ONE, state);
        assert_eq!(told(&mut world), ["one", "three"], "a server and its follower");
        world.fleet.set_state(ONE, WantedState::Ready);
        world.fail(ONE);
        assert_eq!(told(&mut world), [""; 0], "neither back nor down is a reason");
    }
    let mut world = World::new(SERVERS);
    world.fleet.set_state(ONE, WantedState::Maintenance);
    assert_eq!(told(&mut world), [""; 0], "not without the option");

    let mut world = World::new(&drained);
    world.reload(&drained.replace("127.0.0.1:12", "127.0.0.1:12 disabled"));
    assert_eq!(told(&mut world), ["two"], "a reload takes a server out of service, too");
}

#[test]
fn every_change_of_a_server_has_its_timer_looked_at() {
    let mut world = World::new(SERVERS);
    world.fleet.set_state(ONE, WantedState::Maintenance);
    assert_eq!(world.fleet.due_at_ms(ONE), None, "no check in maintenance");
    let rescheduled = |effects: Vec<Effect>| effects.iter().any(|effect| matches!(effect, Effect::Reschedule(id) if *id == ONE));
    assert!(rescheduled(world.fleet.take_effects()));
    world.fleet.set_state(ONE, WantedState::Ready);
    assert!(world.fleet.due_at_ms(ONE).is_some());
    assert!(rescheduled(world.fleet.take_effects()));
}

#[test]
fn addresses_change_at_once_and_in_haproxys_words() {
    let mut world = World::new(SERVERS);
    let answer = world.fleet.set_address(TWO, "127.0.0.2", Some("99"));
    let expected = "IP changed from '127.0.0.1' to '127.0.0.2', port changed from '12' to '99' by 'stats socket command'";
    assert_eq!(answer.as_deref(), Ok(expected));
    let snapshot = world.fleet.generation().backends[0].snapshot();
    let wanted = ringmain_engine::live::Destination::Inet(([127, 0, 0, 2], 99).into());
    assert_eq!(snapshot.servers[1].destination, Some(wanted));
    assert_eq!(world.fleet.set_address(TWO, "foo", None), Err("Invalid addr 'foo' by 'stats socket command'".into()));
    let refused = world.fleet.set_address(TWO, "127.0.0.2", Some("foo"));
    assert_eq!(refused, Err("no need to change the addr, problem converting port 'foo' to an int by 'stats socket command'".into()));
    assert_eq!(world.fleet.set_address(ONE, "127.0.0.1", Some("+1")).map_err(|text| text.contains("port map")), Err(true));
}

#[test]
fn weights_are_read_as_haproxy_reads_them() {
    let mut world = World::new(SERVERS);
    let mut set = |text: &str| world.fleet.set_weight(TWO, text);
    assert_eq!(set("300"), Err("Absolute weight can only be between 0 and 256 inclusive.".into()));
    assert_eq!(set("-10%"), Err("Relative weight must be positive.".into()));
    assert_eq!(set("10x"), Err("Trailing garbage in weight string".into()));
    assert_eq!(set("foo"), Err("Empty weight string empty or preceded by garbage".into()));
    assert_eq!(set(""), Err("Require <weight> or <weight%>.".into()));
    assert_eq!(set("99999999999999999999"), Err("Empty weight string empty or preceded by garbage".into()));
    assert_eq!(set("0"), Ok(()));
    assert_eq!(world.usable(), [true, false, true]);
    assert_eq!(world.lines(), Vec::<String>::new());
    world.fleet.set_weight(ONE, "0%").and(world.fleet.set_weight(THREE, "0")).expect("valid");
    assert_eq!(world.lines(), ["proxy web has no server available!"]);
    let mut world = World::new(&SERVERS.replace("listen web", "listen web\n  balance static-rr"));
    assert!(world.fleet.set_weight(TWO, "5").is_err() && world.fleet.set_weight(TWO, "0%").is_ok());
    assert!(world.fleet.set_weight(TWO, "100%").is_ok());
}

#[test]
fn limits_reach_the_shards() {
    let mut world = World::new(SERVERS);
    assert_eq!(world.fleet.set_server_maxconn(ONE, "7"), Ok(()));
    assert_eq!(world.fleet.set_server_maxconn(ONE, "7x"), Err("Trailing garbage in maxconn string".into()));
    assert_eq!(world.fleet.generation().backends[0].snapshot().servers[0].maxconn, 7);
    assert_eq!(world.fleet.set_frontend_maxconn(FrontendId::new(0), "3"), Ok(()));
    assert_eq!(world.fleet.generation().frontends[0].sessions.limit(), 3);
}

#[test]
fn a_reload_keeps_what_the_file_does_not_change() {
    let mut world = World::new(SERVERS);
    world.fail(ONE);
    world.fleet.set_address(TWO, "127.0.0.9", None).expect("valid");
    world.fleet.set_weight(TWO, "7").expect("valid");
    world.fleet.set_server_maxconn(ONE, "9").expect("valid");
    let keys: Vec<u64> = world.fleet.servers().map(|(_, state)| state.key).collect();
    // The order changes, a server is new, and the file has another maxconn for the first.
    world.reload(
        "listen web\n  bind 127.0.0.1:1\n  server new 127.0.0.1:14\n  server two 127.0.0.1:12\n  \
         server one 127.0.0.1:11 check inter 100 maxconn 6\n  server three 127.0.0.1:13 track web/one\n",
    );
    let fleet = &world.fleet;
    let (two, one, three) = (fleet.server(ServerId::new(1)), fleet.server(ServerId::new(2)), fleet.server(ServerId::new(3)));
    assert_eq!([one.key, two.key, three.key], keys[..]);
    assert_eq!((one.operational, one.maxconn, one.check.status), (Operational::Stopped, 6, CheckStatus::Layer4Connection));
    assert_eq!((two.user_weight, &two.host), (7, &ServerHost::Ip([127, 0, 0, 9].into())));
    assert_eq!(three.operational, Operational::Stopped, "it still follows");
    assert_eq!(world.usable(), [true, true, false, false]);
    assert_eq!(world.fleet.server_by_key(keys[0]), Some(ServerId::new(2)));
}

#[test]
fn frontends_open_pause_and_stop_in_haproxys_words() {
    let mut world = World::new(SERVERS);
    let id = FrontendId::new(0);
    let set = |world: &mut World, wanted| world.fleet.set_frontend_service(id, wanted);
    assert_eq!(set(&mut world, FrontendService::Open), Err("All sockets are already enabled.".into()));
    assert_eq!(set(&mut world, FrontendService::Paused), Ok(()));
    assert_eq!(set(&mut world, FrontendService::Paused), Err("All sockets are already disabled.".into()));
    world.reload(SERVERS);
    assert_eq!(world.fleet.frontend(id).service, FrontendService::Paused, "a reload does not open what an operator paused");
    assert_eq!(set(&mut world, FrontendService::Stopped), Ok(()));
    assert_eq!(set(&mut world, FrontendService::Open), Err("Frontend was previously shut down, cannot enable.".into()));
    assert!(world.lines().contains(&"Paused frontend web.".to_string()));
}

#[test]
fn servers_and_frontends_are_found_by_name_and_number() {
    let world = World::new(SERVERS);
    assert_eq!(world.fleet.find_server("web/two"), Ok(TWO));
    assert_eq!(world.fleet.find_server("web/#2"), Ok(TWO));
    assert_eq!(world.fleet.find_server("web"), Err("Require 'backend/server'.".into()));
    assert_eq!(world.fleet.find_server("nope/two"), Err("No such backend.".into()));
    assert_eq!(world.fleet.find_server("web/nope"), Err("No such server.".into()));
    assert_eq!(world.fleet.find_frontend("nope"), Err("No such frontend.".into()));
}
