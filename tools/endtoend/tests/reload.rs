//! Reload in place: nothing refused, nothing broken, nothing lost, memory flat; a bad file changes nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use endtoend::client::{connect, exchange};
use endtoend::peer::{self, Peer};
use endtoend::proxy::{Kind, Proxy};
use endtoend::{port, wait};
use nix::sys::signal::Signal;

/// Reloads under load.
const RELOADS: u32 = 200;
/// Growth of resident memory over the 180 reloads after the first 20, in kB; a leak of one model a reload would show.
const GROWTH_MAX_KB: u64 = 8 * 1024;

struct Ports {
    main: u16,
    extra: u16,
    servers: Vec<u16>,
}

/// The configuration of a round: servers come, go and change weight, a bind comes and goes.
fn config(ports: &Ports, round: u32) -> String {
    let mut text = format!(
        "global\n  stats socket @SOCKET@ level admin\n  nbthread 2\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\nfrontend entry\n  bind 127.0.0.1:{}\n",
        ports.main
    );
    if round % 2 == 1 {
        text.push_str(&format!("  bind 127.0.0.1:{}\n", ports.extra));
    }
    text.push_str("  default_backend pool\nbackend pool\n  balance roundrobin\n");
    for (index, server) in ports.servers.iter().enumerate() {
        let leaves = index > 0 && (round as usize + index).is_multiple_of(4);
        if !leaves {
            let weight = 1 + (round + index as u32) % 5;
            text.push_str(&format!("  server s{index} 127.0.0.1:{server} weight {weight} check inter 500\n"));
        }
    }
    text
}

fn start(servers: &[Peer]) -> (Proxy, Ports) {
    let ports = Ports { main: port::free(), extra: port::free(), servers: servers.iter().map(Peer::port).collect() };
    (Proxy::start(Kind::Ringmain, &config(&ports, 0)), ports)
}

#[test]
fn two_hundred_reloads_under_load_break_nothing() {
    let servers: Vec<_> = (0..4).map(|_| Peer::start(peer::echo)).collect();
    let (proxy, ports) = start(&servers);
    let (stop, exchanges) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in 0..6 {
            let (stop, exchanges, port) = (&stop, &exchanges, ports.main);
            scope.spawn(move || {
                let mut lasting = connect(port);
                while !stop.load(Ordering::Relaxed) {
                    let message = format!("worker {worker} says {}", exchanges.load(Ordering::Relaxed));
                    let answer = exchange(&mut lasting, message.as_bytes()).expect("a lasting connection is not broken");
                    assert_eq!(answer, message.as_bytes());
                    let mut short = connect(port);
                    let answer = exchange(&mut short, message.as_bytes()).expect("a new connection is served");
                    assert_eq!(answer, message.as_bytes());
                    exchanges.fetch_add(2, Ordering::Relaxed);
                }
            });
        }
        let mut early_kb = 0;
        for round in 1..=RELOADS {
            proxy.reload(&config(&ports, round));
            if round % 2 == 1 {
                let mut through_extra = connect(ports.extra);
                assert_eq!(exchange(&mut through_extra, b"hello").expect("the new bind serves"), b"hello");
            }
            if round == 20 {
                early_kb = proxy.process.status_kb("VmRSS");
            }
        }
        let late_kb = proxy.process.status_kb("VmRSS");
        stop.store(true, Ordering::Relaxed);
        assert!(late_kb < early_kb + GROWTH_MAX_KB, "resident memory grew from {early_kb} to {late_kb} kB");
    });
    assert!(exchanges.load(Ordering::Relaxed) > 1000, "the load was real: {}", exchanges.load(Ordering::Relaxed));
    assert_eq!(proxy.info("Generation"), (RELOADS + 1).to_string());
    wait::until("old generations to end", || proxy.info("CurrConns") == "0");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let servers: Vec<_> = (0..2).map(|_| Peer::start(peer::echo)).collect();
    let (proxy, ports) = start(&servers);
    let mut lasting = connect(ports.main);
    exchange(&mut lasting, b"before").expect("served");
    let generation = proxy.info("Generation");
    proxy.rewrite(&config(&ports, 0).replace("balance roundrobin", "balance roundrobbin"));
    proxy.process.signal(Signal::SIGUSR2);
    wait::until("the failed reload to be counted", || proxy.info("FailedReloads") == "1");
    assert_eq!(proxy.info("Generation"), generation);
    let output = proxy.output();
    assert!(output.contains("roundrobbin") && output.contains("roundrobin"), "the message names what is wrong: {output}");
    exchange(&mut lasting, b"after").expect("the session goes on");
    exchange(&mut connect(ports.main), b"new").expect("new sessions are served");
    proxy.reload(&config(&ports, 1));
}

#[test]
fn health_and_counters_survive() {
    let servers: Vec<_> = (0..2).map(|_| Peer::start(peer::echo)).collect();
    let (proxy, ports) = start(&servers);
    for _ in 0..6 {
        exchange(&mut connect(ports.main), b"hello").expect("served");
    }
    wait::until("sessions to be counted", || proxy.stat("entry", "FRONTEND", "stot") == "6" && proxy.info("CurrConns") == "0");
    proxy.command("set server pool/s1 state maint");
    assert_eq!(proxy.stat("pool", "s1", "status"), "MAINT");
    let to_first = proxy.stat("pool", "s0", "stot");
    let added = config(&ports, 0) + "listen other\n  bind 127.0.0.1:" + &ports.extra.to_string() + "\n  server x 127.0.0.1:1\n";
    proxy.reload(&added);
    assert_eq!(proxy.stat("pool", "s1", "status"), "MAINT", "an administrator's word outlives a reload");
    assert_eq!(proxy.stat("pool", "s0", "stot"), to_first);
    assert_eq!(proxy.stat("entry", "FRONTEND", "stot"), "6");
    assert_eq!(proxy.stat("other", "x", "status"), "no check");
}

#[test]
fn an_old_session_keeps_its_removed_server() {
    let servers: Vec<_> = (0..2).map(|_| Peer::start(peer::echo)).collect();
    let (proxy, ports) = start(&servers);
    let mut sessions: Vec<_> = (0..2).map(|_| connect(ports.main)).collect();
    for session in &mut sessions {
        exchange(session, b"before").expect("served");
    }
    let only_first = Ports { servers: ports.servers[..1].to_vec(), ..ports };
    proxy.reload(&config(&only_first, 0));
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        for session in &mut sessions {
            exchange(session, b"after").expect("sessions of the old generation go on");
        }
    }
    let on_second = servers[1].connections();
    for _ in 0..4 {
        exchange(&mut connect(only_first.main), b"new").expect("served");
    }
    assert_eq!(servers[1].connections(), on_second, "new sessions stay away from a removed server");
}
