//! Forwarding: bytes arrive whole and in order whatever the buffers, the chunks, the ends and the readers do.

mod ring_common;

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ring_common::*;
use ringmain_engine::forward::{End, Meter, Splice, direction};
use ringmain_engine::ring::{self, Config, Mode, Sock};

type Ends = Rc<Cell<Option<(End, End)>>>;

/// Starts a session between two streams: both directions, half-closes passed on. Reports when it has ended.
fn session(left: TcpStream, right: TcpStream, splice: Splice) -> (Ends, Rc<Meter>, Rc<Meter>) {
    let (left, right) = (Sock::adopt(OwnedFd::from(left)), Sock::adopt(OwnedFd::from(right)));
    let (up, down) = (Rc::new(Meter::new()), Rc::new(Meter::new()));
    let ended = Rc::new(Cell::new(None));
    let (report, up_meter, down_meter) = (ended.clone(), up.clone(), down.clone());
    ring::spawn(async move {
        let one_way = |from: &Sock, to: &Sock, meter| {
            let (from, to) = (from.handle(), to.handle());
            async move {
                let end = direction(from, to, meter, splice).await;
                if end == End::Eof {
                    // The receiver may have gone meanwhile; then the other direction tells.
                    let _ = to.shutdown_write();
                }
                end
            }
        };
        let ends = both(one_way(&left, &right, up_meter), one_way(&right, &left, down_meter)).await;
        report.set(Some(ends));
    });
    (ended, up, down)
}

/// Runs both futures; an end by error stops the other.
async fn both(up: impl Future<Output = End>, down: impl Future<Output = End>) -> (End, End) {
    let (mut up, mut down) = (Box::pin(up), Box::pin(down));
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(|context| {
        let mut poll = |end: &mut Option<End>, future: &mut dyn FnMut(&mut std::task::Context<'_>) -> std::task::Poll<End>| {
            if end.is_none()
                && let std::task::Poll::Ready(done) = future(context)
            {
                *end = Some(done);
            }
        };
        poll(&mut first, &mut |context| up.as_mut().poll(context));
        poll(&mut second, &mut |context| down.as_mut().poll(context));
        match (first, second) {
            (Some(first), Some(second)) => std::task::Poll::Ready((first, second)),
            (Some(end), None) | (None, Some(end)) if end != End::Eof => std::task::Poll::Ready((end, end)),
            _ => std::task::Poll::Pending,
        }
    })
    .await
}

async fn wait_for<T: Copy>(cell: &Cell<Option<T>>) -> T {
    loop {
        if let Some(value) = cell.get() {
            return value;
        }
        ring::sleep_ms(2).await;
    }
}

/// Writes `total` repeatable bytes in random chunks, then half-closes; returns the hash of what it wrote.
fn writer(mut stream: TcpStream, seed: u64, total: usize, largest: u64) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let (mut random, mut sizes, mut hash) = (Random(seed), Random(seed ^ 0xffff), Hash::new());
        let mut chunk = vec![0; largest as usize];
        let mut left = total;
        while left > 0 {
            let length = ((1 + sizes.below(largest)) as usize).min(left);
            random.fill(&mut chunk[..length]);
            stream.write_all(&chunk[..length]).expect("write");
            hash.add(&chunk[..length]);
            left -= length;
            if sizes.below(64) == 0 {
                std::thread::sleep(Duration::from_micros(sizes.below(800)));
            }
        }
        stream.shutdown(Shutdown::Write).expect("shutdown");
        hash.0
    })
}

/// Reads to the end in random chunks; returns count and hash.
fn reader(mut stream: TcpStream, seed: u64, stall: Option<Duration>) -> JoinHandle<(usize, u64)> {
    std::thread::spawn(move || {
        let (mut sizes, mut hash, mut count) = (Random(seed), Hash::new(), 0);
        let mut buffer = vec![0; 128 << 10];
        loop {
            let length = 1 + sizes.below(buffer.len() as u64) as usize;
            match stream.read(&mut buffer[..length]).expect("read") {
                0 => return (count, hash.0),
                got => {
                    hash.add(&buffer[..got]);
                    if count < 100_000 && count + got >= 100_000 {
                        std::thread::sleep(stall.unwrap_or_default());
                    }
                    count += got;
                }
            }
        }
    })
}

struct Load {
    up: usize,
    down: usize,
    largest: u64,
    tiny: bool,
    stall: Option<Duration>,
}

/// Forwards a load both ways at once over `count` sessions and compares hashes.
fn exchange(mode: Mode, splice: Splice, count: u64, load: Load) {
    on_ring(Config { mode, buffer_count: 64, ..Config::default() }, move || async move {
        let mut all = Vec::new();
        for index in 0..count {
            let ((client, left), (right, server)) = (tcp_pair(), tcp_pair());
            if load.tiny {
                [&client, &left, &right, &server].into_iter().for_each(shrink);
            }
            let seed = 1 + index * 77;
            let threads = (
                writer(client.try_clone().expect("clone"), seed, load.up, load.largest),
                writer(server.try_clone().expect("clone"), seed + 1, load.down, load.largest),
                reader(server, seed + 2, load.stall),
                reader(client, seed + 3, None),
            );
            all.push((session(left, right, splice), threads));
        }
        for ((ended, up, down), (up_writer, down_writer, up_reader, down_reader)) in all {
            assert_eq!(wait_for(&ended).await, (End::Eof, End::Eof));
            assert_eq!((up.bytes.get(), down.bytes.get()), (load.up as u64, load.down as u64));
            assert_eq!((up.pending.get(), down.pending.get()), (0, 0));
            assert_eq!(up_reader.join().expect("reader"), (load.up, up_writer.join().expect("writer")));
            assert_eq!(down_reader.join().expect("reader"), (load.down, down_writer.join().expect("writer")));
        }
        settled().await;
    });
}

const MODES: [Mode; 2] = [Mode::Fast, Mode::Portable];
const SPLICES: [Splice; 3] = [Splice::Adaptive, Splice::Never, Splice::Always];

#[test]
fn random_chunks_arrive_whole() {
    for mode in MODES {
        for splice in SPLICES {
            let load = Load { up: 300_000, down: 200_000, largest: 9_000, tiny: false, stall: None };
            exchange(mode, splice, 4, load);
        }
    }
}

#[test]
fn bulk_both_ways_at_once() {
    for mode in MODES {
        for splice in SPLICES {
            let load = Load { up: 12 << 20, down: 9 << 20, largest: 200_000, tiny: false, stall: None };
            exchange(mode, splice, 2, load);
        }
    }
}

#[test]
fn tiny_socket_buffers() {
    for mode in MODES {
        for splice in SPLICES {
            let load = Load { up: 400_000, down: 300_000, largest: 20_000, tiny: true, stall: None };
            exchange(mode, splice, 2, load);
        }
    }
}

#[test]
fn a_reader_that_stalls_for_seconds() {
    let runs = MODES.map(|mode| {
        std::thread::spawn(move || {
            let load = Load { up: 8 << 20, down: 50_000, largest: 30_000, tiny: true, stall: Some(Duration::from_secs(2)) };
            exchange(mode, Splice::Adaptive, 2, Load { up: 1 << 20, ..load });
        })
    });
    runs.into_iter().for_each(|run| run.join().expect("run"));
}

#[test]
fn a_half_closed_session_goes_on_the_other_way() {
    in_both_modes(|_| async {
        let ((mut client, left), (right, mut server)) = (tcp_pair(), tcp_pair());
        let (ended, ..) = session(left, right, Splice::Adaptive);
        client.write_all(b"question").expect("write");
        client.shutdown(Shutdown::Write).expect("shutdown");
        let answer = std::thread::spawn(move || {
            let mut question = String::new();
            server.read_to_string(&mut question).expect("read");
            std::thread::sleep(Duration::from_millis(20));
            server.write_all(b"answer").expect("write");
            question
        });
        assert_eq!(wait_for(&ended).await, (End::Eof, End::Eof));
        assert_eq!(answer.join().expect("server"), "question");
        let mut text = String::new();
        client.read_to_string(&mut text).expect("read");
        assert_eq!(text, "answer");
    });
}

#[test]
fn resets_in_mid_stream_end_the_session() {
    for splice in SPLICES {
        in_both_modes(move |_| async move {
            for from_client in [true, false] {
                let ((client, left), (right, server)) = (tcp_pair(), tcp_pair());
                let (ended, up, _) = session(left, right, splice);
                let (doomed, mut other) = if from_client { (client, server) } else { (server, client) };
                let mut noisy = doomed.try_clone().expect("clone");
                let thread = std::thread::spawn(move || {
                    noisy.write_all(&vec![7; 100_000]).expect("write");
                    socket2::SockRef::from(&noisy).set_linger(Some(Duration::ZERO)).expect("linger");
                });
                let mut buffer = vec![0; 1_000];
                let drain = std::thread::spawn(move || {
                    // Some is read, the rest is cut off.
                    let first = other.read(&mut buffer).expect("read");
                    (first, other)
                });
                while !thread.is_finished() || !drain.is_finished() {
                    ring::sleep_ms(1).await;
                }
                thread.join().expect("writer");
                let (first, mut other) = drain.join().expect("reader");
                assert!(first > 0);
                drop(doomed);
                let end = loop {
                    // The other side reads on, so that the forwarder reaches the reset.
                    let mut sink = vec![0; 65536];
                    other.set_nonblocking(true).expect("nonblocking");
                    while matches!(other.read(&mut sink), Ok(1..)) {}
                    if let Some(end) = ended.get() {
                        break end;
                    }
                    ring::sleep_ms(1).await;
                };
                let reset = matches!(end.0, End::ReadError(libc::ECONNRESET) | End::WriteError(_))
                    || matches!(end.1, End::ReadError(libc::ECONNRESET) | End::WriteError(_));
                assert!(reset, "{end:?} after {} bytes", up.bytes.get());
            }
        });
    }
}

/// 64 readers that read nothing must not keep others from the shared buffers.
#[test]
fn slow_sinks_leave_buffers_to_others() {
    for mode in MODES {
        for splice in [Splice::Adaptive, Splice::Never] {
            on_ring(Config { mode, buffer_count: 128, ..Config::default() }, move || async move {
                let stop = Arc::new(AtomicBool::new(false));
                let mut sinks = Vec::new();
                let mut ends = Vec::new();
                for _ in 0..64 {
                    let ((client, left), (right, server)) = (tcp_pair(), tcp_pair());
                    shrink(&right);
                    shrink(&server);
                    ends.push(session(left, right, splice));
                    sinks.push((client, server));
                }
                let stuck = Arc::new(AtomicUsize::new(0));
                let floods: Vec<_> = sinks.iter().map(|(client, _)| client.try_clone().expect("clone")).collect();
                let (flag, count) = (stop.clone(), stuck.clone());
                let flood = std::thread::spawn(move || {
                    floods.iter().for_each(|client| client.set_nonblocking(true).expect("nonblocking"));
                    let chunk = [1; 16 << 10];
                    while !flag.load(Ordering::SeqCst) {
                        let full = floods
                            .iter()
                            .filter(|client| matches!((&**client).write(&chunk), Err(error) if error.kind() == ErrorKind::WouldBlock));
                        count.store(full.count(), Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
                while stuck.load(Ordering::SeqCst) < 64 {
                    ring::sleep_ms(2).await;
                }
                // Everybody is stuck now. The shared buffers are free, and messages of others flow.
                ring::sleep_ms(20).await;
                let held = ring::counters().buffers_out;
                assert!(held <= 8, "{held} buffers held by slow readers");
                let ((client, left), (right, server)) = (tcp_pair(), tcp_pair());
                let (ended, ..) = session(left, right, splice);
                let talk = std::thread::spawn(move || {
                    let (mut client, mut server) = (client, server);
                    for _ in 0..200 {
                        client.write_all(&[5; 100]).expect("write");
                        server.read_exact(&mut [0; 100]).expect("read");
                    }
                });
                wait_for(&ended).await;
                talk.join().expect("talk");
                stop.store(true, Ordering::SeqCst);
                flood.join().expect("flood");
                drop(sinks);
                for (ended, ..) in &ends {
                    wait_for(ended).await;
                }
                settled().await;
            });
        }
    }
}

#[test]
fn bulk_is_found_and_left_again() {
    in_both_modes(|_| async {
        let ((mut client, left), (right, server)) = (tcp_pair(), tcp_pair());
        let (ended, up, _) = session(left, right, Splice::Adaptive);
        let sink = reader(server, 3, None);
        let writes = std::thread::spawn(move || {
            client.write_all(&vec![1; 4 << 20]).expect("write");
            for _ in 0..100 {
                client.write_all(b"small").expect("write");
                std::thread::sleep(Duration::from_millis(1));
            }
            client.write_all(&vec![1; 4 << 20]).expect("write");
            for _ in 0..5 {
                client.write_all(b"small").expect("write");
            }
        });
        wait_for(&ended).await;
        writes.join().expect("writer");
        assert_eq!(sink.join().expect("reader").0, (8 << 20) + 105 * 5);
        assert!(up.bulk_phases.get() >= 2, "{} bulk phases", up.bulk_phases.get());
        assert_eq!(ring::counters().pipes_in_use, 0);
    });
}
