//! The ring at its limits: queues full, buffers and descriptors exhausted, thousands of sockets; and the doorbell and
//! the sleep.

mod ring_common;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ring_common::*;
use ringmain_engine::ring::{self, Config, Listener, Mode, Sock};

const MODES: [Mode; 2] = [Mode::Fast, Mode::Portable];

/// 400 sockets on a ring of 4 submissions and 32 completions: both queues overflow in every round.
#[test]
fn more_operations_than_the_queues_hold() {
    for mode in MODES {
        on_ring(Config { entries: 4, buffer_count: 512, ..small(mode) }, || async {
            let pairs: Vec<(Sock, TcpStream)> = (0..400).map(|_| pair()).collect();
            let received = Rc::new(Cell::new(0));
            for (sock, _) in &pairs {
                let (s, received) = (sock.handle(), received.clone());
                ring::spawn(async move {
                    while let Ok(Some(buf)) = s.recv().await {
                        received.set(received.get() + 1);
                        s.send(buf).await.expect("send");
                    }
                });
            }
            for round in 1..=20 {
                pairs.iter().for_each(|(_, far)| (&*far).write_all(b"m").expect("write"));
                while received.get() < 400 * round {
                    ring::sleep_ms(1).await;
                }
                for (sock, far) in &pairs {
                    sock.handle().tx_idle().await.expect("idle");
                    (&*far).read_exact(&mut [0]).expect("read");
                }
            }
            assert!(ring::counters().queue_full > 0);
            drop(pairs);
            settled().await;
        });
    }
}

#[test]
fn exhausted_buffers_delay_but_lose_nothing() {
    for mode in MODES {
        on_ring(Config { buffer_count: 4, buffer_size: 512, ..small(mode) }, move || async move {
            let pairs: Vec<(Sock, TcpStream)> = (0..30).map(|_| pair()).collect();
            let sums: Rc<RefCell<Vec<u64>>> = Rc::new(RefCell::new(vec![0; 30]));
            for (index, (sock, _)) in pairs.iter().enumerate() {
                let (s, sums) = (sock.handle(), sums.clone());
                ring::spawn(async move {
                    while let Ok(Some(buf)) = s.recv().await {
                        // Holds the buffer for a while.
                        ring::yield_now().await;
                        sums.borrow_mut()[index] += buf.len() as u64;
                    }
                });
            }
            let writers: Vec<_> = pairs.iter().map(|(_, far)| far.try_clone().expect("clone")).collect();
            let thread = std::thread::spawn(move || {
                for _ in 0..20 {
                    writers.iter().for_each(|far| (&*far).write_all(&[1; 1000]).expect("write"));
                }
            });
            while sums.borrow().iter().any(|sum| *sum < 20_000) {
                ring::sleep_ms(1).await;
            }
            thread.join().expect("writer");
            assert!(sums.borrow().iter().all(|sum| *sum == 20_000));
            assert!(ring::counters().enobufs > 0, "the buffers were never short");
            drop(pairs);
            settled().await;
        });
    }
}

#[test]
fn a_reader_that_is_behind_holds_a_bounded_queue() {
    on_ring(Config { buffer_count: 512, ..small(Mode::Fast) }, || async {
        let (sock, far) = pair();
        let writer = std::thread::spawn(move || {
            (&far).write_all(&vec![9; 4 << 20]).expect("write");
        });
        // Starts the receive, then reads nothing for a while.
        let mut total = sock.handle().recv().await.expect("recv").map_or(0, |buf| buf.len());
        ring::sleep_ms(50).await;
        let held = ring::counters().buffers_out as usize * 4096;
        // The limit of 64 KiB and what the kernel takes before the cancellation reaches it.
        assert!(held <= 64 * 1024 + 100 * 4096, "{held} bytes held");
        while let Some(buf) = sock.handle().recv().await.expect("recv") {
            total += buf.len();
        }
        assert_eq!(total, 4 << 20);
        writer.join().expect("writer");
        assert!(ring::counters().recv_cancels > 0);
        drop(sock);
        settled().await;
    });
}

/// Runs in a process of its own: the limit of descriptors is the process's.
#[test]
fn exhausted_descriptors_pause_accepting() {
    let child = Command::new(std::env::current_exe().expect("self"))
        .args(["--ignored", "--exact", "child_runs_out_of_descriptors", "--nocapture"])
        .output()
        .expect("child");
    let text = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by exhausted_descriptors_pause_accepting in a process of its own"]
fn child_runs_out_of_descriptors() {
    use nix::sys::resource::{Resource, setrlimit};
    for mode in MODES {
        setrlimit(Resource::RLIMIT_NOFILE, 256, 4096).expect("limit");
        on_ring(small(mode), move || async move {
            let (fd, address) = listening();
            let listener = Listener::adopt(fd);
            let clients: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(address).expect("connect")).collect();
            let mut hoard = Vec::new();
            while let Ok(fd) = nix::unistd::dup(std::io::stderr()) {
                hoard.push(fd);
            }
            let turns = ring::counters().turns;
            let mut errors = 0;
            let started = ring::now_ms();
            while errors < 3 {
                match listener.accept().await {
                    Ok(_) => panic!("accepted without a descriptor"),
                    Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE)),
                }
                errors += 1;
            }
            assert!(ring::now_ms() - started >= 200, "the listener did not rest");
            assert!(ring::counters().turns - turns < 60, "busy loop: {} turns", ring::counters().turns - turns);
            // No pipe and no socket can be made either; the ring itself lives on.
            assert!(ring::Pipe::take(ring::Load::Usual).is_err());
            drop(hoard);
            for _ in &clients {
                drop(listener.accept().await.expect("accept"));
            }
            drop(listener);
            settled().await;
        });
    }
}

#[test]
fn no_ring_of_the_doorbell_is_lost() {
    for mode in MODES {
        on_ring(small(mode), || async {
            let (sent, seen) = (Arc::new(AtomicU64::new(0)), Rc::new(Cell::new(0)));
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let (sent, bell) = (sent.clone(), ring::doorbell());
                    std::thread::spawn(move || {
                        for count in 0..25_000 {
                            sent.fetch_add(1, Ordering::SeqCst);
                            bell.ring();
                            if count % 512 == 0 {
                                std::thread::yield_now();
                            }
                        }
                    })
                })
                .collect();
            while seen.get() < 100_000 {
                // A lost ring would leave this waiting for ever: nothing else wakes it.
                ring::rung().await;
                seen.set(sent.load(Ordering::SeqCst));
            }
            threads.into_iter().for_each(|thread| thread.join().expect("thread"));
        });
    }
}

/// One ring at a time, each answered before the next: the shard sleeps in between, every time.
#[test]
fn each_single_ring_wakes_a_sleeper() {
    for mode in MODES {
        on_ring(small(mode), || async {
            let answered = Arc::new(AtomicU64::new(0));
            let (bell, answers) = (ring::doorbell(), answered.clone());
            let thread = std::thread::spawn(move || {
                for count in 0..3_000 {
                    bell.ring();
                    while answers.load(Ordering::SeqCst) <= count {
                        std::thread::yield_now();
                    }
                }
            });
            for _ in 0..3_000 {
                ring::rung().await;
                answered.fetch_add(1, Ordering::SeqCst);
            }
            thread.join().expect("thread");
        });
    }
}

#[test]
fn an_idle_ring_sleeps() {
    for mode in MODES {
        on_ring(small(mode), || async {
            // Connections, a listener and a far timer: none of them is a reason to wake up.
            let pairs: Vec<(Sock, TcpStream)> = (0..50).map(|_| pair()).collect();
            for (sock, _) in &pairs {
                let s = sock.handle();
                ring::spawn(async move { drop(s.recv().await) });
            }
            let listener = Listener::adopt(listening().0);
            ring::spawn(async move { drop(listener.accept().await) });
            ring::spawn(ring::sleep_ms(3_600_000));
            ring::sleep_ms(20).await;
            let (before, start) = (ring::counters().turns, Instant::now());
            ring::sleep_ms(600).await;
            let turns = ring::counters().turns - before;
            assert!(start.elapsed() >= Duration::from_millis(600));
            // One wake for the timer, a few for levels of the wheel.
            assert!(turns <= 8, "{turns} turns in an idle ring");
        });
    }
}

#[test]
fn thousands_of_sockets_come_and_go() {
    for mode in MODES {
        on_ring(small(mode), || async {
            let (fd, address) = listening();
            let listener = Listener::adopt(fd);
            let served = Rc::new(Cell::new(0));
            let count = served.clone();
            ring::spawn(async move {
                while let Ok(accepted) = listener.accept().await {
                    let count = count.clone();
                    ring::spawn(async move {
                        let sock = accepted.into_sock();
                        while let Ok(Some(buf)) = sock.handle().recv().await {
                            if sock.handle().send(buf).await.is_err() {
                                break;
                            }
                        }
                        count.set(count.get() + 1);
                    });
                }
            });
            let stop = Arc::new(AtomicBool::new(false));
            let done = stop.clone();
            let clients = std::thread::spawn(move || {
                for index in 0..2_000u32 {
                    let mut client = TcpStream::connect(address).expect("connect");
                    client.write_all(&index.to_le_bytes()).expect("write");
                    let mut back = [0; 4];
                    client.read_exact(&mut back).expect("read");
                    assert_eq!(back, index.to_le_bytes());
                }
                done.store(true, Ordering::SeqCst);
            });
            while !stop.load(Ordering::SeqCst) || served.get() < 2_000 {
                ring::sleep_ms(2).await;
            }
            clients.join().expect("clients");
            let now = ring::counters();
            assert_eq!((now.slots, now.buffers_out, now.tasks), (0, 0, 2), "{now:?}");
        });
    }
}

/// A client that connects and resets before it is accepted must not stop the listener.
#[test]
fn aborted_connections_do_not_stop_a_listener() {
    in_both_modes(|_| async {
        let (fd, address) = listening();
        let listener = Listener::adopt(fd);
        for _ in 0..50 {
            let doomed = TcpStream::connect(address).expect("connect");
            socket2::SockRef::from(&doomed).set_linger(Some(Duration::ZERO)).expect("linger");
        }
        let mut sound = TcpStream::connect(address).expect("connect");
        sound.write_all(b"!").expect("write");
        loop {
            let sock = listener.accept().await.expect("accept").into_sock();
            if let Ok(Some(buf)) = sock.handle().recv().await {
                assert_eq!(&buf[..], b"!");
                break;
            }
        }
    });
}

#[test]
fn listeners_can_be_duplicated_for_hand_over() {
    in_both_modes(|_| async {
        let (fd, address) = listening();
        let listener = Listener::adopt(fd);
        let copy: OwnedFd = listener.duplicate().expect("duplicate");
        drop(listener);
        settled().await;
        let copy = TcpListener::from(copy);
        let client = TcpStream::connect(address).expect("connect");
        copy.set_nonblocking(false).expect("blocking");
        let (_, from) = copy.accept().expect("accept");
        assert_eq!(from, client.local_addr().expect("address"));
    });
}
