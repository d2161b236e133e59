//! Slots and queues under threads that stand for shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringmain_model::{Backend, BackendId, Global, Milliseconds, Model, Server, ServerAddress, ServerHost, ServerId, ServerPort, Tuning};
use ringmain_policy::balance::Picker;

use super::{BackendLive, Grant, ServerLive, Snapshot, SnapshotServer, Waiter};
use crate::mailbox::Port;

fn model(servers: usize) -> Model {
    let backend = Backend { servers: 0..servers, ..Backend::new("b") };
    let server = |index: usize| Server {
        name: format!("s{index}").into(),
        id: index as u32 + 1,
        backend: BackendId::new(0),
        address: ServerAddress { host_text: "127.0.0.1".into(), host: ServerHost::Ip([127, 0, 0, 1].into()), port: ServerPort::Fixed(1) },
        weight: 1,
        check: None,
        backup: false,
        disabled: false,
        maxconn: 0,
        minconn: 0,
        maxqueue: 0,
        maxconnrate: 0,
        slowstart: None,
        observe: None,
        error_limit: 10,
        on_error: Default::default(),
        shutdown_sessions_when_down: false,
        shutdown_backup_sessions_when_up: false,
        track: None,
        source: None,
    };
    Model { backends: vec![backend], servers: (0..servers).map(server).collect(), ..Model::empty(global()) }
}

fn global() -> Global {
    Global {
        maxconn: 1000,
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

fn backend(servers: usize, maxconn: u32) -> (Arc<BackendLive>, Arc<Snapshot>) {
    let model = Arc::new(model(servers));
    let servers = (0..servers).map(|index| SnapshotServer {
        id: ServerId::new(index),
        live: Arc::new(ServerLive::new(format!("s{index}").into(), 2)),
        destination: None,
        usable: true,
        runs: true,
        weight: 1,
        user_weight: 1,
        maxconn,
        minconn: maxconn,
        maxqueue: 0,
        limit_percent: 100,
    });
    let servers: Vec<_> = servers.collect();
    let picker = Picker::build(&model.backends[0], &[]);
    let snapshot = Arc::new(Snapshot { generation: 1, active_servers: servers.len() as u32, model, picker, servers });
    (Arc::new(BackendLive::new("b".into(), 2, 0, snapshot.clone())), snapshot)
}

#[test]
fn a_freed_slot_goes_to_the_first_in_the_queue() {
    let (backend, snapshot) = backend(1, 1);
    let (port, _inbox) = Port::new(0);
    let slot = backend.take_slot(&snapshot.servers[0]).expect("the only slot");
    assert!(backend.take_slot(&snapshot.servers[0]).is_none());
    let waiters: Vec<_> = (0..3).map(|ticket| Waiter::new(ticket, port.clone(), ticket as u32)).collect();
    for (before, waiter) in waiters.iter().enumerate() {
        assert_eq!(backend.queue.push(waiter.clone()) as usize, before);
    }
    assert!(waiters[0].give_up().is_none(), "the first loses patience");
    drop(slot);
    assert!(matches!(waiters[1].grant(), Some(Grant::Server(_))), "the second is next");
    assert!(waiters[2].grant().is_none());
    let woken = port.next_granted().expect("a waiter was woken");
    assert!(Arc::ptr_eq(&woken, &waiters[1]));
    assert_eq!(snapshot.servers[0].live.active.load(Ordering::SeqCst), 1, "the slot is taken for it already");
}

#[test]
fn a_dissolved_queue_sends_everybody_back() {
    let (backend, snapshot) = backend(1, 1);
    let (port, _inbox) = Port::new(0);
    let server = &snapshot.servers[0].live;
    let waiter = Waiter::new(1, port.clone(), 0);
    server.queue.push(waiter.clone());
    assert_eq!(server.queue.dissolve(), 1);
    assert!(matches!(waiter.grant(), Some(Grant::Rethink)));
    assert!(server.queue.is_empty() && backend.queue.is_empty());
}

/// Sessions on several threads take, queue for, give up and free slots; the limit always holds, nobody is forgotten, nothing is left.
#[test]
fn slots_and_queues_hold_under_contention() {
    const THREADS: u32 = 4;
    const SESSIONS: u32 = 3000;
    const LIMIT: u32 = 2;
    let (backend, snapshot) = backend(3, LIMIT);
    let (ticket, served, gave_up, overfull) = (AtomicU64::new(0), AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let inside: Vec<AtomicU32> = snapshot.servers.iter().map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (backend, snapshot, ticket, served, gave_up, inside, overfull) =
                (&backend, &snapshot, &ticket, &served, &gave_up, &inside, &overfull);
            scope.spawn(move || {
                let (port, _inbox) = Port::new(thread as usize);
                for session in 0..SESSIONS {
                    let first = ((session + thread) % 3) as usize;
                    let slot = match backend.take_slot(&snapshot.servers[first]) {
                        Some(slot) => slot,
                        None => {
                            let waiter = Waiter::new(ticket.fetch_add(1, Ordering::SeqCst), port.clone(), 0);
                            backend.queue.push(waiter.clone());
                            snapshot.servers.iter().for_each(|server| backend.serve_queues(&server.live));
                            let patience = if session % 7 == 0 { Duration::ZERO } else { Duration::from_secs(30) };
                            let Some(Grant::Server(server)) = wait(&waiter, patience) else {
                                backend.queue.remove(&waiter);
                                gave_up.fetch_add(1, Ordering::SeqCst);
                                continue;
                            };
                            backend.granted_slot(server)
                        }
                    };
                    let place = snapshot.position(slot.server()).expect("a server of the backend");
                    if inside[place].fetch_add(1, Ordering::SeqCst) >= LIMIT {
                        overfull.fetch_add(1, Ordering::SeqCst);
                    }
                    std::thread::yield_now();
                    inside[place].fetch_sub(1, Ordering::SeqCst);
                    served.fetch_add(1, Ordering::SeqCst);
                    drop(slot);
                }
            });
        }
    });
    assert_eq!(overfull.into_inner(), 0, "a server had more sessions than its limit");
    assert_eq!(served.into_inner() + gave_up.into_inner(), THREADS * SESSIONS);
    assert!(backend.queue.is_empty());
    for server in &snapshot.servers {
        assert_eq!(server.live.active.load(Ordering::SeqCst), 0);
    }
}

fn wait(waiter: &Arc<Waiter>, patience: Duration) -> Option<Grant> {
    let start = Instant::now();
    loop {
        if let Some(grant) = waiter.grant() {
            return Some(grant);
        }
        if start.elapsed() >= patience {
            return waiter.give_up();
        }
        std::thread::yield_now();
    }
}
