//! The writer against real sockets and pipes.

use std::io::Read;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use ringmain_model::{Facility, Level, LogEncoding, LogSample, LogSettings, LogTarget};
use ringmain_policy::log::Line;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn target(destination: LogDestination) -> LogTarget {
    LogTarget {
        destination,
        encoding: Some(LogEncoding::Short),
        length: 1024,
        facility: Facility::Local0,
        level: Level::Info,
        minimum_level: Level::Emerg,
        sample: None,
    }
}

fn channel(targets: Vec<LogTarget>) -> Arc<LogChannel> {
    let settings = LogSettings { targets, ..LogSettings::default() };
    Arc::new(LogChannel::new(&settings, None, None, "ringmain"))
}

fn start(producers: usize) -> (Logs, Vec<LogHandle>) {
    Logs::start(producers, Arc::default()).expect("a writer")
}

fn push(handle: &mut LogHandle, channel: &Arc<LogChannel>, text: &str) -> bool {
    handle.push(Line { channel, level: Level::Info, written_us: 0, text: text.as_bytes(), structured_data: b"" })
}

fn udp() -> (UdpSocket, LogDestination) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let destination = LogDestination::Udp(socket.local_addr().expect("an address"));
    (socket, destination)
}

fn received(receive: impl Fn(&mut [u8]) -> io::Result<usize>) -> String {
    let mut buffer = [0; 2048];
    let length = receive(&mut buffer).expect("a line");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting");
        std::thread::yield_now();
    }
}

#[test]
fn lines_of_all_producers_reach_all_targets_in_order() {
    let ((first, first_destination), (second, second_destination)) = (udp(), udp());
    let sampled = LogTarget { sample: Some(LogSample { ranges: vec![(2, 2)], size: 2 }), ..target(second_destination) };
    let channel = channel(vec![target(first_destination), sampled]);
    let (logs, mut handles) = start(2);
    assert!(logs.open(std::slice::from_ref(&channel)).is_empty());
    for number in 0..100 {
        assert!(push(&mut handles[0], &channel, &format!("line {number}")));
    }
    for number in 0..100 {
        assert_eq!(received(|buffer| first.recv(buffer)), format!("<6>line {number}\n"));
    }
    for number in 0..50 {
        assert_eq!(received(|buffer| second.recv(buffer)), format!("<6>line {}\n", number * 2 + 1));
    }
    assert!(push(&mut handles[1], &channel, "from the other"));
    assert_eq!(received(|buffer| first.recv(buffer)), "<6>from the other\n");
    assert!(logs.stop(TIMEOUT));
}

#[test]
fn a_sleeping_writer_wakes_for_every_lone_line() {
    let (socket, destination) = udp();
    let channel = channel(vec![target(destination)]);
    let (logs, mut handles) = start(1);
    logs.open(std::slice::from_ref(&channel));
    for number in 0..20 {
        // Longer than the writer lingers, so that it sleeps in between.
        std::thread::sleep(Duration::from_millis(12));
        push(&mut handles[0], &channel, &number.to_string());
        assert_eq!(received(|buffer| socket.recv(buffer)), format!("<6>{number}\n"));
    }
    assert!(logs.stop(TIMEOUT));
}

#[test]
fn a_recreated_unix_socket_is_found_again_and_its_absence_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let listen = || {
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        socket
    };
    let channel = channel(vec![target(LogDestination::UnixDatagram(path.clone()))]);
    let (logs, mut handles) = start(1);
    let failures = logs.open(std::slice::from_ref(&channel));
    assert!(failures.len() == 1 && failures[0].contains("cannot open log target"), "{failures:?}");
    push(&mut handles[0], &channel, "nobody listens");
    wait_until(|| logs.dropped() == 1);
    let socket = listen();
    push(&mut handles[0], &channel, "first");
    assert_eq!(received(|buffer| socket.recv(buffer)), "<6>first\n");
    drop(socket);
    std::fs::remove_file(&path).expect("removed");
    push(&mut handles[0], &channel, "lost");
    wait_until(|| logs.dropped() == 2);
    let socket = listen();
    push(&mut handles[0], &channel, "second");
    assert_eq!(received(|buffer| socket.recv(buffer)), "<6>second\n");
    assert_eq!(logs.dropped_by_target(), [(LogDestination::UnixDatagram(path.clone()), 2)]);
    assert!(logs.stop(TIMEOUT));
}

#[test]
fn an_abstract_socket_has_a_padded_name() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("ringmain-log-{}", std::process::id());
    let mut padded = [0; 107];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(padded).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let channel = channel(vec![target(LogDestination::AbstractDatagram(name.as_str().into()))]);
    let (logs, mut handles) = start(1);
    assert!(logs.open(std::slice::from_ref(&channel)).is_empty());
    push(&mut handles[0], &channel, "hello");
    assert_eq!(received(|buffer| socket.recv(buffer)), "<6>hello\n");
    assert!(logs.stop(TIMEOUT));
}

#[test]
fn a_full_pipe_costs_its_own_lines_only() {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let (socket, destination) = udp();
    let slow = channel(vec![target(LogDestination::Descriptor(writer.as_raw_fd()))]);
    let quick = channel(vec![target(destination)]);
    let (logs, mut handles) = start(1);
    assert!(logs.open(&[slow.clone(), quick.clone()]).is_empty());
    let text = "x".repeat(1000);
    let mut pushed = 0u64;
    // A pipe holds 64 KiB and a batch 256 KiB: nobody reads, so lines get lost, and the pushes never wait.
    while logs.dropped() == 0 {
        pushed += u64::from(push(&mut handles[0], &slow, &text));
    }
    push(&mut handles[0], &quick, "quick");
    assert_eq!(received(|buffer| socket.recv(buffer)), "<6>quick\n");
    wait_until(|| handles[0].dropped() + logs.dropped() > 0);
    let draining = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| all)
    });
    let at_target = logs.targets.lock().expect("targets").values().map(|target| target.dropped.clone()).collect::<Vec<_>>();
    assert!(logs.stop(TIMEOUT));
    drop(writer);
    let all = draining.join().expect("joined").expect("read");
    let lost: u64 = at_target.iter().map(|counter| counter.load(Ordering::Relaxed)).sum();
    let lines: Vec<&[u8]> = all.split_inclusive(|&byte| byte == b'\n').collect();
    assert!(lines.iter().all(|line| line.len() == 1004), "a line was torn");
    assert_eq!(lines.len() as u64 + lost, pushed);
}

#[test]
fn stream_and_datagram_sockets_are_told_apart() {
    let (ours, theirs) = UnixDatagram::pair().expect("a pair");
    let (stream, mut peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let descriptors = [theirs.as_raw_fd(), stream.as_raw_fd()].map(LogDestination::Descriptor);
    let channel = channel(descriptors.map(target).to_vec());
    let (logs, mut handles) = start(1);
    assert!(logs.open(std::slice::from_ref(&channel)).is_empty());
    push(&mut handles[0], &channel, "one");
    push(&mut handles[0], &channel, "two");
    assert_eq!(received(|buffer| ours.recv(buffer)), "<6>one\n");
    assert_eq!(received(|buffer| ours.recv(buffer)), "<6>two\n");
    let mut both = [0; 14];
    peer.read_exact(&mut both).expect("both lines");
    assert_eq!(&both, b"<6>one\n<6>two\n");
    assert!(logs.stop(TIMEOUT));
}

#[test]
fn what_cannot_be_opened_is_told_and_counted() {
    let channel = channel(vec![target(LogDestination::Descriptor(99_999)), target(LogDestination::Descriptor(-1))]);
    let (logs, mut handles) = start(1);
    assert_eq!(logs.open(std::slice::from_ref(&channel)).len(), 2);
    push(&mut handles[0], &channel, "lost");
    wait_until(|| logs.dropped() == 2);
    assert_eq!(logs.open(std::slice::from_ref(&channel)).len(), 2, "a reload tries again and tells again");
    push(&mut handles[0], &channel, "lost");
    wait_until(|| logs.dropped() == 4);
    let (_, destination) = udp();
    push(&mut handles[0], &super::tests::channel(vec![target(destination)]), "never opened");
    wait_until(|| logs.dropped() == 5);
    assert!(logs.stop(TIMEOUT));
}

#[test]
fn a_datagram_that_is_too_long_does_not_take_others_with_it() {
    let (socket, destination) = udp();
    let long = LogTarget { length: 65_535, ..target(destination) };
    let channel = channel(vec![long]);
    let (logs, mut handles) = start(1);
    logs.open(std::slice::from_ref(&channel));
    push(&mut handles[0], &channel, &"x".repeat(65_534));
    push(&mut handles[0], &channel, "after");
    assert_eq!(received(|buffer| socket.recv(buffer)), "<6>after\n");
    // Counted when the whole batch is done.
    wait_until(|| logs.dropped() == 1);
    assert!(logs.stop(TIMEOUT));
}
