//! Bytes held for rules: split, bounded, ended, reset; and what becomes of them and of the shared buffers.

mod ring_common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use ring_common::*;
use ringmain_engine::forward::{End, Meter, Splice, direction};
use ringmain_engine::held::{Held, State};
use ringmain_engine::ring::{self, Config, Mode, Sock};

const LIMIT: usize = 15360;

/// Waits until `held` has at least `count` bytes or its sender has no more.
async fn hold(held: &mut Held, from: &Sock, meter: &Meter, count: usize) {
    while held.as_slice().len() < count && held.more(from.handle(), meter).await == State::Open {}
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("linger");
}

#[test]
fn a_message_split_at_every_byte_is_contiguous() {
    in_both_modes(|_| async {
        let (near, mut far) = pair();
        let (mut held, meter) = (Held::new(LIMIT), Meter::new());
        let message: Vec<u8> = (0..200).collect();
        for (sent, byte) in message.iter().enumerate() {
            far.write_all(&[*byte]).expect("write");
            hold(&mut held, &near, &meter, sent + 1).await;
            assert_eq!(held.as_slice(), &message[..sent + 1]);
        }
        assert_eq!((held.state(), meter.bytes.get(), meter.pending.get()), (State::Open, 200, 0));
        // However slow it is, its bytes are not in the shared buffers.
        assert_eq!(ring::counters().buffers_out, 0);
    });
}

#[test]
fn the_end_is_known_before_and_after_bytes() {
    in_both_modes(|_| async {
        let (near, far) = pair();
        let (mut held, meter) = (Held::new(LIMIT), Meter::new());
        far.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(held.more(near.handle(), &meter).await, State::Ended);
        assert_eq!(held.more(near.handle(), &meter).await, State::Ended);
        assert!(held.is_empty());

        let (near, mut far) = pair();
        let mut held = Held::new(LIMIT);
        far.write_all(b"abc").expect("write");
        far.shutdown(Shutdown::Write).expect("shutdown");
        hold(&mut held, &near, &meter, usize::MAX).await;
        assert_eq!((held.as_slice(), held.state()), (&b"abc"[..], State::Ended));
    });
}

#[test]
fn a_reset_keeps_what_came_before_it() {
    in_both_modes(|_| async {
        let (near, mut far) = pair();
        let (mut held, meter) = (Held::new(LIMIT), Meter::new());
        far.write_all(b"abc").expect("write");
        hold(&mut held, &near, &meter, 3).await;
        reset(far);
        hold(&mut held, &near, &meter, usize::MAX).await;
        assert_eq!((held.as_slice(), held.state()), (&b"abc"[..], State::Failed(libc::ECONNRESET)));
    });
}

#[test]
fn a_full_hold_stops_receiving_and_loses_nothing() {
    in_both_modes(|_| async {
        const TOTAL: usize = 4 << 20;
        let (near, mut far) = pair();
        let (to, mut receiver) = pair();
        let writer = std::thread::spawn(move || {
            let (mut random, mut hash) = (Random(7), Hash::new());
            let mut chunk = vec![0; 64 << 10];
            for _ in 0..TOTAL / chunk.len() {
                random.fill(&mut chunk);
                far.write_all(&chunk).expect("write");
                hash.add(&chunk);
            }
            hash.0
        });
        let (mut held, meter) = (Held::new(LIMIT), Rc::new(Meter::new()));
        hold(&mut held, &near, &meter, usize::MAX).await;
        assert_eq!((held.state(), held.as_slice().len(), meter.bytes.get()), (State::Full, LIMIT, LIMIT as u64));
        // Nothing is received any more: what is in the shared buffers stays what it is while others run.
        let out = ring::counters().buffers_out;
        for _ in 0..20 {
            ring::yield_now().await;
        }
        ring::sleep_ms(10).await;
        assert_eq!(ring::counters().buffers_out, out);
        let reader = std::thread::spawn(move || {
            let (mut hash, mut count, mut buffer) = (Hash::new(), 0, vec![0; 64 << 10]);
            loop {
                match receiver.read(&mut buffer).expect("read") {
                    0 => return (count, hash.0),
                    got => {
                        hash.add(&buffer[..got]);
                        count += got;
                    }
                }
            }
        });
        let bytes = held.take(&meter);
        assert_eq!(meter.bytes.get(), bytes.len() as u64);
        to.handle().send_owned(bytes).await.expect("send");
        meter.pending.set(0);
        assert_eq!(direction(near.handle(), to.handle(), meter.clone(), Splice::Adaptive).await, End::Eof);
        to.handle().shutdown_write().expect("shutdown");
        drop(near);
        assert_eq!(meter.bytes.get(), TOTAL as u64);
        // Both have long finished: the end has been passed on.
        while !(writer.is_finished() && reader.is_finished()) {
            ring::sleep_ms(2).await;
        }
        assert_eq!((TOTAL, writer.join().expect("writer")), reader.join().expect("reader"));
    });
}

#[test]
fn an_end_seen_while_holding_follows_the_bytes() {
    in_both_modes(|_| async {
        for splice in [Splice::Adaptive, Splice::Never, Splice::Always] {
            let (near, mut far) = pair();
            let (to, mut receiver) = pair();
            let (mut held, meter) = (Held::new(LIMIT), Rc::new(Meter::new()));
            far.write_all(b"abc").expect("write");
            far.shutdown(Shutdown::Write).expect("shutdown");
            hold(&mut held, &near, &meter, usize::MAX).await;
            to.handle().send_owned(held.take(&meter)).await.expect("send");
            assert_eq!(direction(near.handle(), to.handle(), meter.clone(), splice).await, End::Eof);
            to.handle().shutdown_write().expect("shutdown");
            let mut all = Vec::new();
            receiver.read_to_end(&mut all).expect("read");
            assert_eq!((&all[..], meter.bytes.get()), (&b"abc"[..], 3));
        }
    });
}

#[test]
fn a_wait_that_is_given_up_loses_nothing() {
    in_both_modes(|_| async {
        let (near, mut far) = pair();
        let (mut held, meter) = (Held::new(LIMIT), Meter::new());
        for _ in 0..3 {
            let mut wait = Box::pin(held.more(near.handle(), &meter));
            let polled = std::future::poll_fn(|context| std::task::Poll::Ready(wait.as_mut().poll(context).is_ready())).await;
            assert!(!polled);
        }
        far.write_all(b"abcdef").expect("write");
        hold(&mut held, &near, &meter, 6).await;
        assert_eq!((held.as_slice(), meter.bytes.get()), (&b"abcdef"[..], 6));
    });
}

/// More slow clients than there are shared buffers, each with a first part held: a quick one is served all the same.
#[test]
fn slow_clients_do_not_keep_the_buffers() {
    for mode in [Mode::Fast, Mode::Portable] {
        let config = Config { mode, buffer_count: 4, buffer_size: 4096, ..Config::default() };
        on_ring(config, || async {
            let mut slow = Vec::new();
            for number in 0..32_u8 {
                let (near, mut far) = pair();
                let (mut held, meter) = (Held::new(LIMIT), Meter::new());
                far.write_all(&[number]).expect("write");
                hold(&mut held, &near, &meter, 1).await;
                slow.push((near, far, held));
            }
            assert_eq!(ring::counters().buffers_out, 0);
            for (number, (_, _, held)) in slow.iter().enumerate() {
                assert_eq!(held.as_slice(), &[number as u8]);
            }
            drop(slow);
            settled().await;
        });
    }
}

#[test]
fn bytes_that_are_there_are_taken_in_order_without_waiting() {
    in_both_modes(|_| async {
        let (near, mut far) = pair();
        let (mut held, meter) = (Held::new(LIMIT), Meter::new());
        held.take_ready(near.handle(), &meter);
        assert!(held.is_empty());
        far.write_all(b"abc").expect("write");
        held.take_ready(near.handle(), &meter);
        assert_eq!((held.as_slice(), held.state()), (&b"abc"[..], State::Open));
        // Once the ring receives, what it has comes first.
        let mut wait = Box::pin(held.more(near.handle(), &meter));
        let _ = std::future::poll_fn(|context| std::task::Poll::Ready(wait.as_mut().poll(context).is_ready())).await;
        drop(wait);
        far.write_all(b"def").expect("write");
        ring::sleep_ms(20).await;
        far.write_all(b"ghi").expect("write");
        held.take_ready(near.handle(), &meter);
        hold(&mut held, &near, &meter, 9).await;
        assert_eq!((held.as_slice(), meter.bytes.get()), (&b"abcdefghi"[..], 9));
    });
}
