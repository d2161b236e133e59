//! Whole runs of HTTP, TLS and MQTT load against embedded servers on loopback.

use super::*;
use crate::mqtt::Version;
use crate::protocol::ServerName;
use crate::server::{Delay, Failure, Mode, Server, ServerOptions};
use crate::tls::{TlsServer, Trust};

fn serve(mode: Mode, change: impl FnOnce(&mut ServerOptions)) -> Server {
    let mut options = ServerOptions::named(ServerName::new("delta").expect("valid name"));
    options.mode = mode;
    change(&mut options);
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), options).expect("server starts")
}

fn certificate() -> TlsServer {
    TlsServer::self_signed(&["localhost".to_owned()]).expect("a certificate")
}

fn client(resume: bool, version: crate::tls::Version) -> TlsClient {
    TlsClient::new("localhost", &Trust::Anyone, version, resume, None).expect("settings")
}

fn plan(server: &Server, change: impl FnOnce(&mut Plan)) -> Plan {
    let mut plan = Plan::new(server.address());
    plan.duration = Duration::from_secs(60);
    change(&mut plan);
    plan
}

fn go(plan: &Plan) -> Outcome {
    run(plan, |_| {}).expect("the run works")
}

fn http(change: impl FnOnce(&mut HttpParts)) -> Option<HttpRequest> {
    let mut parts = HttpParts { path: "/bytes/5000".to_owned(), verify: true, ..HttpParts::default() };
    change(&mut parts);
    Some(HttpRequest::new(&parts).expect("valid"))
}

fn answered_by_delta(outcome: &Outcome, count: u64) {
    assert_eq!((outcome.operations, outcome.errors.total(), outcome.latency.len()), (count, 0, count), "{:?}", outcome.errors);
    assert_eq!(outcome.servers.get("delta").map(|share| share.answers), Some(count));
}

#[test]
fn http_requests_are_answered_in_every_way_of_asking() {
    let server = serve(Mode::Http, |_| {});
    let keep_alive = go(&plan(&server, |plan| {
        (plan.protocol, plan.connections, plan.threads, plan.count) = (Protocol::Http, 5, 2, Some(500));
        plan.http = http(|parts| (parts.method, parts.body_bytes) = ("POST".to_owned(), 300));
    }));
    answered_by_delta(&keep_alive, 500);
    assert_eq!(keep_alive.connect.len(), 5);
    let close = go(&plan(&server, |plan| {
        (plan.protocol, plan.workload, plan.connections, plan.count) = (Protocol::Http, Workload::Connect, 5, Some(200));
        plan.http = http(|parts| parts.close = true);
    }));
    answered_by_delta(&close, 200);
    assert_eq!(close.connect.len(), 200);
    let pipelined = go(&plan(&server, |plan| {
        (plan.protocol, plan.connections, plan.pipeline, plan.count) = (Protocol::Http, 3, 16, Some(3000));
        plan.http = http(|_| {});
    }));
    answered_by_delta(&pipelined, 3000);
    assert_eq!(pipelined.connect.len(), 3);
}

#[test]
fn a_server_that_closes_kept_connections_is_no_error() {
    let server = serve(Mode::Http, |_| {});
    let outcome = go(&plan(&server, |plan| {
        (plan.protocol, plan.connections, plan.count) = (Protocol::Http, 4, Some(100));
        plan.http = http(|parts| parts.close = true);
    }));
    answered_by_delta(&outcome, 100);
    assert!(outcome.connect.len() >= 100, "each answer ended its connection");
}

#[test]
fn http_failures_are_counted_by_kind() {
    let status = |path: &str, answer: Option<u16>| {
        let server = serve(Mode::Http, |options| options.status = answer);
        let outcome = go(&plan(&server, |plan| {
            (plan.protocol, plan.connections, plan.pipeline, plan.count) = (Protocol::Http, 2, 4, Some(40));
            plan.http = http(|parts| (parts.path, parts.verify) = (path.to_owned(), false));
        }));
        (outcome.operations, outcome.errors.of(ErrorKind::Status4xx), outcome.errors.of(ErrorKind::Status5xx), outcome.errors.total())
    };
    assert_eq!(status("/status/404", None), (0, 40, 0, 40));
    assert_eq!(status("/", Some(503)), (0, 0, 40, 40));
    for (failure, kind) in
        [(Failure::Truncate, ErrorKind::Closed), (Failure::HangUp, ErrorKind::Closed), (Failure::Silent, ErrorKind::Timeout)]
    {
        let server = serve(Mode::Http, |options| options.failure = failure);
        let outcome = go(&plan(&server, |plan| {
            (plan.protocol, plan.connections, plan.pipeline, plan.count) = (Protocol::Http, 2, 3, Some(12));
            (plan.http, plan.timeout) = (http(|_| {}), Duration::from_millis(150));
        }));
        // A pipeline may have had whole answers before the cut.
        let counted = outcome.errors.of(kind) + outcome.errors.of(ErrorKind::Reset);
        assert!(counted > 0 && counted == outcome.errors.total(), "{failure:?}: {:?}", outcome.errors);
        assert_eq!(outcome.operations + outcome.errors.total(), 12, "{failure:?}");
    }
}

#[test]
fn a_pipeline_waits_for_its_turn_in_an_open_loop() {
    let server = serve(Mode::Http, |options| options.delay = Delay::Fixed(20.0));
    let outcome = go(&plan(&server, |plan| {
        (plan.protocol, plan.connections, plan.pipeline, plan.rate) = (Protocol::Http, 2, 8, Some(400.0));
        (plan.http, plan.duration) = (http(|_| {}), Duration::from_millis(500));
    }));
    answered_by_delta(&outcome, 200);
    assert!(outcome.latency.min() >= 19_900_000, "{}", outcome.latency.min());
}

#[test]
fn handshakes_are_full_or_resumed_as_asked() {
    use crate::tls::Version::{Any, V1_2, V1_3};
    let tls = certificate();
    let server = serve(Mode::Tls, |options| options.tls = Some(tls));
    for (resume, version) in [(false, Any), (false, V1_2), (true, V1_3), (true, V1_2)] {
        let outcome = go(&plan(&server, |plan| {
            (plan.protocol, plan.workload, plan.connections, plan.count) = (Protocol::Handshake, Workload::Connect, 4, Some(60));
            plan.tls = Some(client(resume, version));
        }));
        assert_eq!((outcome.operations, outcome.errors.total()), (60, 0), "{version:?}: {:?}", outcome.errors);
        let expected = if resume { Handshakes { full: 0, resumed: 60 } } else { Handshakes { full: 60, resumed: 0 } };
        assert_eq!(outcome.handshakes, expected, "{version:?}");
    }
}

#[test]
fn exchanges_and_bulk_go_over_tls() {
    let tls = certificate();
    let server = serve(Mode::Tls, |options| options.tls = Some(tls));
    for (workload, connects) in [(Workload::Pingpong, 4), (Workload::Connect, 100)] {
        let outcome = go(&plan(&server, |plan| {
            (plan.workload, plan.connections, plan.count, plan.verify) = (workload, 4, Some(100), true);
            (plan.response_bytes, plan.tls) = (300_000, Some(client(false, crate::tls::Version::Any)));
        }));
        answered_by_delta(&outcome, 100);
        assert_eq!(outcome.connect.len(), connects);
    }
    for workload in [Workload::BulkUp, Workload::BulkDown, Workload::BulkBoth] {
        let outcome = go(&plan(&server, |plan| {
            (plan.workload, plan.connections, plan.verify, plan.stream_bytes) = (workload, 2, true, Some(2_000_001));
            plan.tls = Some(client(false, crate::tls::Version::Any));
        }));
        assert_eq!((outcome.operations, outcome.errors.total()), (2, 0), "{workload:?}: {:?}", outcome.errors);
        assert_eq!(outcome.bytes_up, if workload == Workload::BulkDown { 0 } else { 4_000_002 });
    }
    let timed = go(&plan(&server, |plan| {
        (plan.workload, plan.duration) = (Workload::BulkBoth, Duration::from_millis(300));
        plan.tls = Some(client(false, crate::tls::Version::Any));
    }));
    assert_eq!((timed.operations, timed.errors.total()), (1, 0));
}

#[test]
fn only_trusted_certificates_are_accepted() {
    let tls = certificate();
    let file = std::env::temp_dir().join(format!("ringbench-{}.pem", std::process::id()));
    std::fs::write(&file, tls.certificate_pem()).expect("written");
    let server = serve(Mode::Http, |options| options.tls = Some(tls));
    let ask = |name: &str, trust: &Trust| {
        go(&plan(&server, |plan| {
            (plan.protocol, plan.connections, plan.count, plan.http) = (Protocol::Http, 2, Some(10), http(|_| {}));
            plan.tls = Some(TlsClient::new(name, trust, crate::tls::Version::Any, false, Some("http/1.1")).expect("settings"));
        }))
    };
    answered_by_delta(&ask("localhost", &Trust::File(file.clone())), 10);
    let wrong_name = ask("elsewhere", &Trust::File(file.clone()));
    assert!(wrong_name.operations == 0 && wrong_name.errors.of(ErrorKind::Tls) >= 10, "{:?}", wrong_name.errors);
    assert!(wrong_name.examples.get(&ErrorKind::Tls).is_some_and(|words| words.contains("certificate")), "{:?}", wrong_name.examples);
    let _ = std::fs::remove_file(file);
    let no_tls = serve(Mode::NamedEcho, |_| {});
    let outcome = go(&plan(&no_tls, |plan| {
        (plan.protocol, plan.workload, plan.count) = (Protocol::Handshake, Workload::Connect, Some(5));
        plan.tls = Some(client(false, crate::tls::Version::Any));
    }));
    assert_eq!((outcome.operations, outcome.errors.total()), (0, 5));
}

fn mqtt(version: Version, action: MqttAction, qos: u8) -> Option<MqttSession> {
    Some(MqttSession { version, action, qos, payload_bytes: 500, ..MqttSession::default() })
}

#[test]
fn messages_come_back_at_every_quality_of_service() {
    let server = serve(Mode::Mqtt, |_| {});
    for version in [Version::V3, Version::V5] {
        for qos in 0..=2 {
            let outcome = go(&plan(&server, |plan| {
                (plan.protocol, plan.connections, plan.threads, plan.count) = (Protocol::Mqtt, 6, 2, Some(300));
                (plan.mqtt, plan.verify) = (mqtt(version, MqttAction::Publish, qos), true);
            }));
            answered_by_delta(&outcome, 300);
            assert_eq!(outcome.connect.len(), 6, "{version:?} {qos}");
        }
    }
}

#[test]
fn sessions_storm_and_hold() {
    let server = serve(Mode::Mqtt, |_| {});
    let storm = go(&plan(&server, |plan| {
        (plan.protocol, plan.workload, plan.connections, plan.count) = (Protocol::Mqtt, Workload::Connect, 8, Some(200));
        plan.mqtt = mqtt(Version::V5, MqttAction::Connect, 0);
    }));
    answered_by_delta(&storm, 200);
    let held = go(&plan(&server, |plan| {
        (plan.protocol, plan.connections, plan.rate, plan.duration) = (Protocol::Mqtt, 50, Some(250.0), Duration::from_millis(400));
        plan.mqtt = mqtt(Version::V3, MqttAction::Ping, 0);
    }));
    assert_eq!((held.operations, held.errors.total(), held.connect.len()), (100, 0, 50), "{:?}", held.errors);
}

#[test]
fn a_refused_session_is_counted_as_such() {
    let server = serve(Mode::Mqtt, |options| options.connack = 5);
    for version in [Version::V3, Version::V5] {
        let outcome = go(&plan(&server, |plan| {
            (plan.protocol, plan.workload, plan.connections, plan.count) = (Protocol::Mqtt, Workload::Connect, 3, Some(12));
            plan.mqtt = mqtt(version, MqttAction::Connect, 0);
        }));
        assert_eq!((outcome.operations, outcome.errors.of(ErrorKind::Rejected), outcome.errors.total()), (0, 12, 12));
    }
}

#[test]
fn mqtt_goes_over_tls() {
    let tls = certificate();
    let server = serve(Mode::Mqtt, |options| options.tls = Some(tls));
    let outcome = go(&plan(&server, |plan| {
        (plan.protocol, plan.connections, plan.count) = (Protocol::Mqtt, 3, Some(60));
        (plan.mqtt, plan.tls) = (mqtt(Version::V5, MqttAction::Publish, 1), Some(client(false, crate::tls::Version::Any)));
    }));
    answered_by_delta(&outcome, 60);
}
