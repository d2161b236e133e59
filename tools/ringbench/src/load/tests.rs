//! Whole runs against embedded servers on loopback.

use super::*;
use crate::protocol::ServerName;
use crate::server::{Delay, Failure, Mode, Server, ServerOptions};
use std::thread;

fn serve(change: impl FnOnce(&mut ServerOptions)) -> Server {
    let mut options = ServerOptions::named(ServerName::new("gamma").expect("valid name"));
    change(&mut options);
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), options).expect("server starts")
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

#[test]
fn counted_exchanges_are_all_measured() {
    let server = serve(|_| {});
    let outcome = go(&plan(&server, |plan| {
        (plan.connections, plan.threads, plan.count, plan.verify) = (7, 2, Some(1001), true);
        plan.response_bytes = 5000;
    }));
    assert_eq!((outcome.operations, outcome.latency.len(), outcome.errors.total()), (1001, 1001, 0));
    assert_eq!(outcome.servers.get("gamma").copied(), Some(Share { answers: 1001, connections: 7 }));
    assert_eq!((outcome.bytes_up, outcome.bytes_down), (1001 * 128, 1001 * 5000));
    assert_eq!(outcome.connect.len(), 7);
    assert_eq!(outcome.generator.len(), 2);
}

#[test]
fn warm_up_is_done_but_not_measured() {
    let server = serve(|_| {});
    let outcome = go(&plan(&server, |plan| {
        (plan.connections, plan.rate, plan.warmup) = (5, Some(1000.0), Duration::from_millis(300));
        plan.duration = Duration::from_millis(200);
    }));
    assert_eq!((outcome.operations + outcome.errors.total(), outcome.latency.len()), (200, 200));
    assert_eq!(outcome.servers.get("gamma").map(|share| share.connections), Some(5));
    assert_eq!(server.counters().answered.load(std::sync::atomic::Ordering::Relaxed), 500);
}

#[test]
fn connections_are_opened_for_each_operation() {
    let server = serve(|_| {});
    let outcome = go(&plan(&server, |plan| {
        (plan.workload, plan.connections, plan.count) = (Workload::Connect, 8, Some(300));
    }));
    assert_eq!((outcome.operations, outcome.errors.total()), (300, 0));
    assert_eq!(outcome.servers.get("gamma").copied(), Some(Share { answers: 300, connections: 300 }));
}

#[test]
fn idle_connections_exchange_before_and_after() {
    let server = serve(|_| {});
    let outcome = go(&plan(&server, |plan| {
        (plan.workload, plan.connections, plan.duration) = (Workload::Idle, 50, Duration::from_millis(300));
    }));
    assert_eq!((outcome.operations, outcome.errors.total()), (100, 0));
}

#[test]
fn streams_are_checked_in_both_directions() {
    let server = serve(|_| {});
    for workload in [Workload::BulkUp, Workload::BulkDown, Workload::BulkBoth] {
        let outcome = go(&plan(&server, |plan| {
            (plan.workload, plan.connections, plan.verify) = (workload, 3, true);
            plan.stream_bytes = Some(4_000_001);
        }));
        assert_eq!((outcome.operations, outcome.errors.total()), (3, 0), "{workload:?}");
        let expected = 3 * 4_000_001;
        assert_eq!(outcome.bytes_up, if workload == Workload::BulkDown { 0 } else { expected }, "{workload:?}");
        let summaries = 3 * crate::protocol::SUMMARY_BYTES as u64;
        assert_eq!(outcome.bytes_down, summaries + if workload == Workload::BulkUp { 0 } else { expected }, "{workload:?}");
    }
}

#[test]
fn timed_streams_end_orderly() {
    for (mode, protocol) in [(Mode::NamedEcho, Protocol::Framed), (Mode::Echo, Protocol::Raw)] {
        let server = serve(|options| options.mode = mode);
        let outcome = go(&plan(&server, |plan| {
            (plan.workload, plan.protocol, plan.duration) = (Workload::BulkBoth, protocol, Duration::from_millis(300));
            plan.verify = true;
        }));
        assert_eq!((outcome.operations, outcome.errors.total()), (1, 0), "{mode:?}");
        assert!(outcome.bytes_up > 100_000 && outcome.bytes_down > 100_000, "{mode:?}");
    }
    let source = serve(|options| options.mode = Mode::Source);
    let outcome = go(&plan(&source, |plan| {
        (plan.workload, plan.protocol, plan.duration) = (Workload::BulkDown, Protocol::Raw, Duration::from_millis(200));
    }));
    assert_eq!((outcome.operations, outcome.errors.total()), (1, 0));
}

#[test]
fn failures_are_counted_by_kind() {
    let expected = [
        (Failure::Refuse, ErrorKind::Refused),
        (Failure::HangUp, ErrorKind::Closed),
        (Failure::Truncate, ErrorKind::Closed),
        (Failure::Silent, ErrorKind::Timeout),
    ];
    for (failure, kind) in expected {
        let server = serve(|options| options.failure = failure);
        for workload in [Workload::Pingpong, Workload::Connect] {
            let outcome = go(&plan(&server, |plan| {
                (plan.workload, plan.connections, plan.timeout) = (workload, 3, Duration::from_millis(100));
                plan.count = Some(6);
            }));
            assert_eq!(outcome.operations, 0, "{failure:?} {workload:?}");
            // A hang-up with unread bytes may arrive as a reset.
            let counted = outcome.errors.of(kind) + outcome.errors.of(ErrorKind::Reset);
            assert!(counted > 0 && counted == outcome.errors.total(), "{failure:?} {workload:?}: {:?}", outcome.errors);
            if kind == ErrorKind::Timeout {
                assert_eq!(outcome.latency.len(), outcome.errors.total(), "time waited is in the percentiles");
                assert!(outcome.latency.min() >= 99_000_000);
            }
        }
    }
}

#[test]
fn a_counted_run_ends_although_nobody_listens() {
    let server = serve(|options| options.failure = Failure::Refuse);
    for workload in [Workload::Pingpong, Workload::Connect] {
        let outcome = go(&plan(&server, |plan| (plan.workload, plan.connections, plan.count) = (workload, 2, Some(10))));
        // Connects that were tried before the count began come on top.
        assert_eq!(outcome.operations, 0);
        assert!((10..=12).contains(&outcome.errors.of(ErrorKind::Refused)), "{:?}", outcome.errors);
    }
}

/// The reason for open loops: a server that stands still for 100 ms must show in the percentiles, because every request that was due
/// meanwhile waited. A closed loop sees one slow answer per connection and looks fine.
#[test]
fn a_stall_shows_in_open_loop_percentiles() {
    let server = serve(|_| {});
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while server.counters().answered.load(std::sync::atomic::Ordering::Relaxed) < 200 {
                thread::sleep(Duration::from_millis(1));
            }
            server.stall(Duration::from_millis(100));
        });
        go(&plan(&server, |plan| {
            (plan.connections, plan.rate, plan.duration) = (4, Some(1000.0), Duration::from_secs(1));
        }))
    });
    assert_eq!(outcome.operations + outcome.errors.total(), 1000, "every due operation is accounted for");
    assert_eq!(outcome.latency.len(), 1000);
    // 100 of 1000 requests were due during the stall, evenly: those of its first k ms waited at least 100 - k. So 5 % of all waited
    // 50 ms or more and 1 % 90 ms. Only lower bounds, a little lower still: a busy machine makes everything slower, nothing faster.
    for (quantile, least_ms) in [(0.945, 40), (0.985, 80), (1.0, 95)] {
        let waited = outcome.latency.value_at_quantile(quantile);
        assert!(waited >= least_ms * 1_000_000, "quantile {quantile} is {waited} ns");
    }
}

/// The closed loop's blindness to the same stall, as a contrast: one operation of each connection shows it, whatever was due meanwhile.
#[test]
fn a_stall_hides_from_closed_loop_percentiles() {
    let server = serve(|options| options.delay = Delay::Fixed(1.0));
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while server.counters().answered.load(std::sync::atomic::Ordering::Relaxed) < 200 {
                thread::sleep(Duration::from_millis(1));
            }
            server.stall(Duration::from_millis(100));
        });
        go(&plan(&server, |plan| (plan.connections, plan.count) = (4, Some(1000))))
    });
    assert_eq!((outcome.operations, outcome.latency.len()), (1000, 1000));
    assert!(outcome.latency.max() >= 95_000_000);
    let slow = outcome.latency.iter_recorded().filter(|step| step.value_iterated_to() >= 95_000_000).map(|step| step.count_at_value());
    assert!(slow.sum::<u64>() >= 1);
}

/// A server whose answers are late by a known distribution is measured as such. The stated error: no quantile is below the drawn one by
/// more than the histogram's resolution and the sampling error; above it a busy machine may put anything, so the bound there is wide.
#[test]
fn a_known_delay_distribution_is_measured() {
    // Deciles of 10 to 30 ms, and of a mean of 20 ms with a deviation of 4.
    let known = [(Delay::Uniform(10.0, 30.0), [12.0, 20.0, 28.0]), (Delay::Normal(20.0, 4.0), [14.87, 20.0, 25.13])];
    for (delay, deciles) in known {
        let server = serve(|options| options.delay = delay);
        let outcome = go(&plan(&server, |plan| (plan.connections, plan.count) = (64, Some(6000))));
        assert_eq!((outcome.operations, outcome.errors.total()), (6000, 0));
        for (quantile, expected) in [0.1, 0.5, 0.9].into_iter().zip(deciles) {
            let measured = outcome.latency.value_at_quantile(quantile) as f64 / 1e6;
            assert!(
                (expected - 0.6..expected + 15.0).contains(&measured),
                "{delay:?}: quantile {quantile} is {measured} ms for {expected}"
            );
        }
    }
}

#[test]
fn an_overloaded_open_loop_reports_what_it_could_not_send() {
    let server = serve(|options| options.delay = Duration::from_millis(50).into());
    let outcome = go(&plan(&server, |plan| {
        (plan.connections, plan.rate, plan.duration) = (1, Some(500.0), Duration::from_millis(400));
        plan.timeout = Duration::from_millis(200);
    }));
    // One connection carries at most 20 exchanges a second.
    assert!(outcome.operations <= 14, "{} operations", outcome.operations);
    assert!(outcome.errors.of(ErrorKind::Unsent) > 150, "{:?}", outcome.errors);
    assert_eq!(outcome.operations + outcome.errors.total(), 200);
    assert_eq!(outcome.latency.len(), 200, "unsent operations are in the percentiles");
}

#[test]
fn contradictions_are_refused_in_words() {
    let server = serve(|_| {});
    let changes: [fn(&mut Plan); 5] = [
        |plan| plan.connections = 0,
        |plan| plan.threads = 2,
        |plan| plan.request_bytes = 8,
        |plan| plan.rate = Some(0.0),
        |plan| (plan.workload, plan.rate) = (Workload::BulkUp, Some(1.0)),
    ];
    for change in changes {
        let result = run(&plan(&server, change), |_| {}).map(drop).map_err(|error| error.kind());
        assert_eq!(result, Err(std::io::ErrorKind::InvalidInput));
    }
}
