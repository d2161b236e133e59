//! Every operation dropped at every point: after no poll, after one, after some turns, with and without the socket. The
//! ring must survive, give everything back, and lose no byte that was received.

mod ring_common;

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use ring_common::*;
use ringmain_engine::forward::{Meter, Splice, direction};
use ringmain_engine::ring::{self, Config, Listener, Mode, S, Sock, Timer};
use socket2::{Domain, SockAddr, Socket, Type};

/// Polls `future` at most `polls` times, a turn of the ring apart, and drops it. Whether it had ended.
async fn poll_times(future: impl Future, polls: u32) -> bool {
    let mut future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
        future.await;
    });
    for _ in 0..polls {
        let ended = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if ended {
            return true;
        }
        ring::yield_now().await;
    }
    false
}

/// Runs `case` with every number of polls; in each, everything must be given back.
fn at_every_point<F: Future<Output = ()> + 'static>(case: impl Fn(u32) -> F + Send + Clone + 'static) {
    for mode in [Mode::Fast, Mode::Portable] {
        // With room for few operations, cancellations meet operations that have not reached the kernel.
        for entries in [256, 2] {
            let case = case.clone();
            on_ring(Config { entries, ..small(mode) }, move || async move {
                for polls in 0..6 {
                    case(polls).await;
                    settled().await;
                }
            });
        }
    }
}

fn write(far: &TcpStream, bytes: &[u8]) {
    (&*far).write_all(bytes).expect("write");
}

/// Drops our side while the peers stay: only cancellation can end what is in flight.
async fn let_go<T, P>(ours: T, peers: P) {
    drop(ours);
    settled().await;
    drop(peers);
}

/// Fills the way to a peer that does not read, until the ring's rest is pending.
async fn clog(s: S) {
    while !s.is_slow() {
        s.send_bytes(&[3; 100_000]).await.expect("send");
        ring::yield_now().await;
    }
}

#[test]
fn receive_then_drop_the_socket() {
    at_every_point(|polls| async move {
        for data in [false, true] {
            let (sock, far) = pair();
            if data {
                write(&far, &[1; 20_000]);
            }
            poll_times(sock.handle().recv(), polls).await;
            let_go(sock, far).await;
        }
    });
}

#[test]
fn a_dropped_receive_loses_no_byte() {
    at_every_point(|polls| async move {
        let (sock, far) = pair();
        let s = sock.handle();
        let mut got = Vec::new();
        for round in 0..10u8 {
            poll_times(async { got.extend_from_slice(&s.recv().await.expect("recv").expect("bytes")) }, polls).await;
            write(&far, &[round; 100]);
            poll_times(async { got.extend_from_slice(&s.recv().await.expect("recv").expect("bytes")) }, polls).await;
        }
        let missing = 1_000 - got.len();
        got.extend(receive(s, missing).await);
        let expected: Vec<u8> = (0..10u8).flat_map(|round| [round; 100]).collect();
        assert!(got == expected);
    });
}

#[test]
fn sends_of_every_kind() {
    at_every_point(|polls| async move {
        for clogged in [false, true] {
            let (sock, far) = pair();
            shrink(&far);
            let s = sock.handle();
            if clogged {
                clog(s).await;
            }
            poll_times(s.send_bytes(&[1; 5_000]), polls).await;
            poll_times(s.tx_idle(), polls).await;
            poll_times(s.send_owned(vec![2; 300_000].into()), polls).await;
            if polls % 2 == 0 {
                let _ = s.shutdown_write();
            }
            let_go(sock, far).await;
        }
    });
}

/// The peer stays and reads nothing: only the cancellation can end the pending rest.
#[test]
fn a_clogged_socket_closes_at_once() {
    at_every_point(|polls| async move {
        let (sock, far) = pair();
        clog(sock.handle()).await;
        poll_times(sock.handle().tx_idle(), polls).await;
        let_go(sock, far).await;
    });
}

#[test]
fn sends_of_received_buffers() {
    at_every_point(|polls| async move {
        let ((sock, far), (other, sink)) = (pair(), pair());
        write(&far, b"payload");
        let buf = sock.handle().recv().await.expect("recv").expect("bytes");
        let waiting = sock.handle().send(buf);
        poll_times(waiting, polls).await;
        write(&far, b"payload");
        let buf = sock.handle().recv().await.expect("recv").expect("bytes");
        clog(other.handle()).await;
        poll_times(other.handle().send(buf), polls).await;
        let_go((sock, other), (far, sink)).await;
    });
}

#[test]
fn connects() {
    at_every_point(|polls| async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = SockAddr::from(listener.local_addr().expect("address"));
        // Nobody answers there: the attempt stays in flight (or fails where there is no route).
        let nowhere = SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 1)));
        for address in [&address, &nowhere] {
            let sock = Sock::adopt(OwnedFd::from(Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket")));
            poll_times(sock.handle().connect(address), polls).await;
            poll_times(sock.handle().connect(address), polls).await;
            drop(sock);
        }
    });
}

/// A full backlog leaves connects unanswered.
#[test]
fn connects_nobody_answers() {
    at_every_point(|polls| async move {
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        full.bind(&SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))).expect("bind");
        full.listen(0).expect("listen");
        let address = full.local_addr().expect("address");
        let mut waiting = Vec::new();
        for _ in 0..4 {
            let sock = Sock::adopt(OwnedFd::from(Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket")));
            poll_times(sock.handle().connect(&address), polls).await;
            waiting.push(sock);
        }
        ring::yield_now().await;
        let_go(waiting, full).await;
    });
}

#[test]
fn accepts() {
    at_every_point(|polls| async move {
        let (fd, address) = listening();
        let listener = Listener::adopt(fd);
        poll_times(listener.accept(), polls).await;
        let clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).expect("connect")).collect();
        // What an abandoned accept had been given goes to the next one.
        let mut taken = u32::from(poll_times(listener.accept(), polls).await);
        listener.pause();
        listener.resume();
        while taken < 2 {
            drop(listener.accept().await.expect("accept"));
            taken += 1;
        }
        drop(listener);
        settled().await;
        for mut client in clients {
            client.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
            assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "still open");
        }
    });
}

#[test]
fn readiness_and_close_waits() {
    at_every_point(|polls| async move {
        for data in [false, true] {
            let (sock, far) = pair();
            let s = sock.handle();
            if data {
                write(&far, b"data");
            }
            poll_times(s.closed(), polls).await;
            poll_times(s.readable(), polls).await;
            poll_times(s.writable(), polls).await;
            poll_times(s.readable(), polls).await;
            poll_times(s.recv(), polls).await;
            poll_times(s.stop_recv(), polls).await;
            poll_times(s.closed(), polls).await;
            let_go(sock, far).await;
        }
    });
}

#[test]
fn timers_and_the_doorbell() {
    at_every_point(|polls| async move {
        let timer = Timer::new();
        timer.set(ring::now_ms() + 5);
        poll_times(timer.fired(), polls).await;
        poll_times(ring::sleep_ms(1), polls).await;
        ring::doorbell().ring();
        poll_times(ring::rung(), polls).await;
        poll_times(ring::yield_now(), polls).await;
        drop(timer);
    });
}

/// A direction dropped while it forwards, splices, or waits for a slow reader.
#[test]
fn directions() {
    at_every_point(|polls| async move {
        for (splice, slow) in
            [(Splice::Adaptive, false), (Splice::Adaptive, true), (Splice::Always, false), (Splice::Always, true), (Splice::Never, true)]
        {
            let ((from, far), (to, sink)) = (pair(), pair());
            if slow {
                shrink(&sink);
                shrink(to.fd());
            }
            let flood = far.try_clone().expect("clone");
            flood.set_nonblocking(true).expect("nonblocking");
            let meter = std::rc::Rc::new(Meter::new());
            let mut forwarding = Box::pin(direction(from.handle(), to.handle(), meter, splice));
            for _ in 0..polls * 4 {
                while matches!((&flood).write(&[1; 60_000]), Ok(1..)) {}
                if poll_fn(|context| Poll::Ready(forwarding.as_mut().poll(context).is_ready())).await {
                    break;
                }
                ring::yield_now().await;
            }
            drop(forwarding);
            let_go((from, to), (sink, far)).await;
        }
    });
}

async fn echo_once(s: S) {
    if let Ok(Some(buf)) = s.recv().await {
        let _ = s.send(buf).await;
    }
}

/// Random operations on random sockets, dropped at random.
#[test]
fn a_storm_of_cancellations() {
    for mode in [Mode::Fast, Mode::Portable] {
        on_ring(Config { entries: 8, buffer_count: 16, ..small(mode) }, || async {
            let mut random = Random(0x5eed);
            for _ in 0..40 {
                let pairs: Vec<(Sock, TcpStream)> = (0..12).map(|_| pair()).collect();
                for (_, far) in &pairs {
                    far.set_nonblocking(true).expect("nonblocking");
                }
                for _ in 0..120 {
                    let (sock, far) = &pairs[random.below(12) as usize];
                    let (s, polls) = (sock.handle(), random.below(4) as u32);
                    match random.below(9) {
                        0 => poll_times(s.recv(), polls).await,
                        1 => poll_times(s.send_bytes(&[1; 3_000]), polls).await,
                        2 => poll_times(s.send_owned(vec![2; 200_000].into()), polls).await,
                        3 => poll_times(s.tx_idle(), polls).await,
                        4 => poll_times(s.closed(), polls).await,
                        5 => poll_times(s.stop_recv(), polls).await,
                        6 => (&*far).write(&[3; 10_000]).is_ok(),
                        7 => (&*far).read(&mut [0; 16_384]).is_ok(),
                        _ => poll_times(echo_once(s), polls).await,
                    };
                }
                let (socks, fars): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
                let_go(socks, fars).await;
            }
        });
    }
}
