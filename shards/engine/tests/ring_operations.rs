//! Each operation of the ring on its own: what it does when all is well, and its errors.

mod ring_common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use ring_common::*;
use ringmain_engine::ring::{self, Config, Listener, Mode, RingError, Sock, Timer};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

#[test]
fn bytes_come_in_and_go_out() {
    in_both_modes(|_| async {
        let (sock, mut far) = pair();
        let s = sock.handle();
        far.write_all(b"hello").expect("write");
        let buf = s.recv().await.expect("recv").expect("bytes");
        assert_eq!(&buf[..], b"hello");
        s.send(buf).await.expect("send");
        s.tx_idle().await.expect("idle");
        let mut back = [0; 5];
        far.read_exact(&mut back).expect("read");
        assert_eq!(&back, b"hello");
        far.shutdown(Shutdown::Write).expect("shutdown");
        assert!(s.recv().await.expect("recv").is_none());
        assert!(s.recv().await.expect("recv").is_none(), "the end stays the end");
    });
}

#[test]
fn sends_of_any_length_keep_their_order() {
    in_both_modes(|_| async {
        let (sock, mut far) = pair();
        shrink(&far);
        let s = sock.handle();
        let mut expected = Vec::new();
        let mut random = Random(7);
        let mut parts = Vec::new();
        for length in [1, 4096, 0, 70_000, 3, 1 << 20, 17] {
            let mut part = vec![0; length];
            random.fill(&mut part);
            expected.extend_from_slice(&part);
            parts.push(part);
        }
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            far.read_to_end(&mut got).expect("read");
            got
        });
        for part in parts {
            s.send_bytes(&part).await.expect("send");
        }
        s.shutdown_write().expect("shutdown");
        s.tx_idle().await.expect("idle");
        while !reader.is_finished() {
            ring::sleep_ms(2).await;
        }
        assert!(reader.join().expect("reader") == expected);
    });
}

#[test]
fn connect_reaches_a_listener_and_reports_refusal() {
    in_both_modes(|_| async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = listener.local_addr().expect("address");
        let sock = fresh();
        sock.handle().connect(&SockAddr::from(address)).await.expect("connect");
        let (mut far, _) = listener.accept().expect("accept");
        far.write_all(b"x").expect("write");
        assert_eq!(receive(sock.handle(), 1).await, b"x");
        assert_eq!(sock.handle().peer().expect("peer").as_socket(), Some(address));
        drop(listener);
        let sock = fresh();
        let error = sock.handle().connect(&SockAddr::from(address)).await;
        assert_eq!(error.map_err(|e| e.raw_os_error()), Err(Some(libc::ECONNREFUSED)));
    });
}

#[test]
fn connect_works_over_unix_sockets() {
    in_both_modes(|_| async {
        let directory = std::env::temp_dir().join(format!("ring-unix-{}-{:?}", std::process::id(), ring::now_us()));
        let listener = std::os::unix::net::UnixListener::bind(&directory).expect("bind");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("socket");
        let sock = Sock::adopt(OwnedFd::from(socket));
        sock.handle().connect(&SockAddr::unix(&directory).expect("address")).await.expect("connect");
        let (mut far, _) = listener.accept().expect("accept");
        far.write_all(b"unix").expect("write");
        assert_eq!(receive(sock.handle(), 4).await, b"unix");
        std::fs::remove_file(&directory).expect("remove");
        let error = Sock::adopt(OwnedFd::from(Socket::new(Domain::UNIX, Type::STREAM, None).expect("socket")));
        assert!(error.handle().connect(&SockAddr::unix(&directory).expect("address")).await.is_err());
    });
}

fn fresh() -> Sock {
    Sock::adopt(OwnedFd::from(Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket")))
}

#[test]
fn listeners_accept_pause_and_resume() {
    in_both_modes(|_| async {
        let (fd, address) = listening();
        let listener = Listener::adopt(fd);
        let clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).expect("connect")).collect();
        let mut accepted = Vec::new();
        for _ in 0..20 {
            accepted.push(listener.accept().await.expect("accept").into_sock());
        }
        drop(clients);
        for sock in &accepted {
            assert!(sock.handle().recv().await.expect("recv").is_none());
        }
        listener.pause();
        // The cancellation has to reach the kernel before connections can be kept in its backlog.
        ring::sleep_ms(5).await;
        let waiting = TcpStream::connect(address).expect("connect");
        let before = ring::now_ms();
        let resume = async {
            ring::sleep_ms(30).await;
            listener.resume();
            std::future::pending::<()>().await
        };
        let outcome = first(listener.accept(), resume).await;
        assert!(outcome.expect("accept").is_ok());
        assert!(ring::now_ms() - before >= 30);
        drop(waiting);
        // Left in the listener's hands: closed with it.
        let mut last = TcpStream::connect(address).expect("connect");
        ring::sleep_ms(5).await;
        drop(listener);
        last.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        ring::sleep_ms(5).await;
        assert!(matches!(last.read(&mut [0]), Ok(0) | Err(_)));
    });
}

#[test]
fn a_paused_listener_gives_out_what_it_has_taken() {
    in_both_modes(|mode| async move {
        let (fd, address) = listening();
        let backlog = fd.try_clone().expect("duplicate");
        let listener = Listener::adopt(fd);
        let clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).expect("connect")).collect();
        let mut kept = vec![listener.accept().await.expect("accept")];
        // Time for the kernel to bring the others, where it does so unasked.
        ring::sleep_ms(5).await;
        listener.pause();
        while let Some(accepted) = listener.take_last().await {
            kept.push(accepted);
        }
        if mode == Mode::Fast {
            assert_eq!(kept.len(), clients.len(), "none of those taken is forgotten");
        }
        drop(listener);
        // The others wait in the kernel's backlog.
        let mut waiting = 0;
        while SockRef::from(&backlog).accept().is_ok() {
            waiting += 1;
        }
        assert_eq!(kept.len() + waiting, clients.len());
    });
}

/// Polls both; the output of the first if it ends first.
async fn first<T>(left: impl Future<Output = T>, right: impl Future<Output = ()>) -> Option<T> {
    let (mut left, mut right) = (std::pin::pin!(left), std::pin::pin!(right));
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(output) = left.as_mut().poll(context) {
            return std::task::Poll::Ready(Some(output));
        }
        right.as_mut().poll(context).map(|()| None)
    })
    .await
}

#[test]
fn the_peers_close_is_seen_without_reading() {
    in_both_modes(|_| async {
        let (sock, mut far) = pair();
        far.write_all(b"unread").expect("write");
        assert!(first(sock.handle().closed(), ring::sleep_ms(10)).await.is_none());
        drop(far);
        sock.handle().closed().await;
        assert_eq!(receive(sock.handle(), 6).await, b"unread");
    });
}

#[test]
fn reset_sends_a_reset() {
    in_both_modes(|_| async {
        let (sock, mut far) = pair();
        sock.reset();
        far.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        ring::sleep_ms(5).await;
        let error = far.read(&mut [0]).expect_err("reset");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    });
}

#[test]
fn a_reset_peer_is_an_error_on_both_halves() {
    in_both_modes(|_| async {
        let (sock, far) = pair();
        socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).expect("linger");
        drop(far);
        let s = sock.handle();
        let error = s.recv().await.map(drop).expect_err("reset");
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        let mut failed = false;
        for _ in 0..3 {
            failed |= s.send_bytes(b"x").await.is_err() || s.tx_idle().await.is_err();
        }
        assert!(failed);
    });
}

#[test]
fn handles_of_closed_sockets_reach_nothing() {
    in_both_modes(|_| async {
        let (sock, _far) = pair();
        let stale = sock.handle();
        drop(sock);
        settled().await;
        let (other, mut far) = pair();
        far.write_all(b"secret").expect("write");
        assert_eq!(stale.recv().await.map(drop).expect_err("stale").raw_os_error(), Some(libc::ENOTCONN));
        assert!(stale.send_bytes(b"x").await.is_err());
        assert!(stale.shutdown_write().is_err());
        assert_eq!(receive(other.handle(), 6).await, b"secret");
    });
}

#[test]
fn timers_fire_in_order_and_can_be_moved() {
    in_both_modes(|_| async {
        let start = ring::now_ms();
        let timers: Vec<Timer> = (0..50).map(|_| Timer::new()).collect();
        for (index, timer) in timers.iter().enumerate() {
            timer.set(start + 2_000 - 10 * index as u64);
        }
        // Earlier, later, never.
        timers[0].set(start + 20);
        timers[1].touch(start + 1_000_000);
        timers[2].clear();
        timers[0].fired().await;
        assert!(ring::now_ms() >= start + 20 && ring::now_ms() < start + 1_500);
        for timer in &timers {
            timer.set(ring::now_ms());
            timer.fired().await;
        }
    });
}

#[test]
fn tasks_end_with_main_and_a_panic_ends_but_one() {
    let silent = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let output = on_ring(small(Mode::Auto), || async {
        let (sock, far) = pair();
        ring::spawn(async move {
            let _far = far;
            // Waits for ever; must be dropped when main ends.
            let _ = sock.handle().recv().await;
        });
        ring::spawn(async { panic!("one task") });
        ring::sleep_ms(5).await;
        ring::counters().panics
    });
    std::panic::set_hook(silent);
    assert_eq!(output, 1);
}

#[test]
fn a_thread_can_have_one_ring_after_another_but_not_two() {
    let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound).io_memory(64 << 10).make();
    executor.expect("executor").run(async {
        for round in 0..3 {
            let inner = ring::run(small(Mode::Auto), async move {
                let nested = ring::run(small(Mode::Auto), async {}).await;
                assert!(matches!(nested, Err(RingError::Occupied)));
                round
            });
            assert_eq!(inner.await.expect("ring"), round);
        }
    });
}

/// What outlives the ring stays valid, and the thread gets no second ring that could confuse the two.
#[test]
fn an_abandoned_ring_leaves_its_memory() {
    let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound).io_memory(64 << 10).make();
    executor.expect("executor").run(async {
        let buf = ring::run(small(Mode::Auto), async {
            let (sock, mut far) = pair();
            far.write_all(b"survivor").expect("write");
            let buf = sock.handle().recv().await.expect("recv").expect("bytes");
            std::mem::forget(sock);
            buf
        });
        let buf = buf.await.expect("ring");
        assert_eq!(&buf[..], b"survivor");
        drop(buf);
        assert!(matches!(ring::run(small(Mode::Auto), async {}).await, Err(RingError::Occupied)));
        let (sock, _far) = pair();
        assert!(sock.handle().send_bytes(b"x").await.is_err());
    });
}

#[test]
fn wrong_configurations_are_refused() {
    let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound).io_memory(64 << 10).make();
    executor.expect("executor").run(async {
        for config in [
            Config { buffer_count: 100, ..Config::default() },
            Config { buffer_size: 16, ..Config::default() },
            Config { entries: 0, ..Config::default() },
        ] {
            assert!(matches!(ring::run(config, async {}).await, Err(RingError::Configuration(_))));
        }
    });
}

#[test]
fn without_a_ring_everything_fails_quietly() {
    let (near, _far) = tcp_pair();
    let sock = Sock::adopt(OwnedFd::from(near));
    assert!(sock.handle().shutdown_write().is_err());
    assert!(sock.handle().peer().is_err());
    assert_eq!(ring::counters(), ring::Counters::default());
    assert!(ring::now_ms() > 0);
    ring::doorbell().ring();
    let _: SocketAddr = listening().1;
}
