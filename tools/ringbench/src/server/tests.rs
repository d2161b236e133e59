//! The embedded servers, spoken to over loopback with blocking sockets.

use super::*;
use crate::pattern;
use crate::protocol::{RESPONSE_HEADER_BYTES, Request, ResponseHeader, SUMMARY_BYTES, Summary};
use std::io::{Read, Write};
use std::net::Shutdown;

fn start(change: impl FnOnce(&mut ServerOptions)) -> Server {
    let mut options = ServerOptions::named(ServerName::new("alpha").expect("valid name"));
    change(&mut options);
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), options).expect("server starts")
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout is set");
    stream
}

fn ask(stream: &mut TcpStream, request_bytes: u32, response_bytes: u32, sequence: u32) -> io::Result<Vec<u8>> {
    let mut request = Request::Exchange { request_bytes, response_bytes, sequence }.encode().to_vec();
    request.resize(request_bytes as usize, 7);
    stream.write_all(&request)?;
    let mut answer = vec![0; response_bytes as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn answers_name_the_server_and_carry_the_pattern() {
    let server = start(|_| {});
    let mut stream = connect(&server);
    for (sequence, response_bytes) in [(5, 32), (6, 128), (7, 3_000_000)] {
        let answer = ask(&mut stream, 100, response_bytes, sequence).expect("answered");
        let (header, filler) = answer.split_at(RESPONSE_HEADER_BYTES);
        let header = ResponseHeader::decode(header.try_into().expect("32 bytes")).expect("valid header");
        assert_eq!((header.name.as_str(), header.sequence), ("alpha", sequence));
        assert_eq!(pattern::first_difference(u64::from(sequence), filler), None);
    }
    assert_eq!(server.counters().answered.load(Ordering::Relaxed), 3);
    assert_eq!(server.counters().accepted.load(Ordering::Relaxed), 1);
}

#[test]
fn garbage_closes_the_connection_only() {
    let server = start(|_| {});
    let mut bad = connect(&server);
    bad.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("written");
    let mut rest = Vec::new();
    // Unread bytes may turn the close into a reset.
    let _ = bad.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert!(ask(&mut connect(&server), 16, 32, 1).is_ok());
}

#[test]
fn streams_end_with_a_summary() {
    let server = start(|_| {});
    let mut stream = connect(&server);
    let total = 5_000_000;
    let header = Request::Stream { up: true, down: true, verify: true, down_bytes: total };
    stream.write_all(&header.encode()).expect("header");
    let mut sender = stream.try_clone().expect("clone");
    let upward = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pattern::append(&mut bytes, 0, 3_000_000);
        bytes[2_500_000] ^= 0x80;
        sender.write_all(&bytes).and_then(|()| sender.shutdown(Shutdown::Write))
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("until the end");
    upward.join().expect("no panic").expect("sent");
    let (flow, summary) = received.split_at(received.len() - SUMMARY_BYTES);
    assert_eq!(flow.len() as u64, total);
    assert_eq!(pattern::first_difference(0, flow), None);
    let summary = Summary::decode(summary.try_into().expect("64 bytes")).expect("valid summary");
    assert_eq!((summary.received, summary.sent, summary.first_mismatch), (3_000_000, total, Some(2_500_000)));
}

#[test]
fn raw_modes_do_what_they_say() {
    let echo = start(|options| options.mode = Mode::Echo);
    let mut stream = connect(&echo);
    stream.write_all(b"hello").expect("written");
    stream.shutdown(Shutdown::Write).expect("half-closed");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("echoed");
    assert_eq!(answer, "hello");

    let source = start(|options| options.mode = Mode::Source);
    let mut stream = connect(&source);
    let mut bytes = vec![0; 1_000_000];
    stream.read_exact(&mut bytes).expect("an endless source");
    assert!(bytes.chunks(64 * 1024).count() > 10);

    let discard = start(|options| options.mode = Mode::Discard);
    let mut stream = connect(&discard);
    stream.write_all(&bytes).expect("swallowed");
    stream.shutdown(Shutdown::Write).expect("half-closed");
    assert_eq!(stream.read(&mut bytes).expect("closed"), 0);
}

#[test]
fn failures_are_what_was_asked_for() {
    let refuse = start(|options| options.failure = Failure::Refuse);
    let refused = TcpStream::connect(refuse.address()).map(drop).map_err(|error| error.kind());
    assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused));
    for failure in [Failure::Close, Failure::Reset, Failure::HangUp, Failure::Truncate] {
        let server = start(|options| options.failure = failure);
        let result = ask(&mut connect(&server), 64, 4096, 1);
        assert!(result.is_err(), "{failure:?} answered");
    }
    let silent = start(|options| options.failure = Failure::Silent);
    let mut stream = connect(&silent);
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout is set");
    assert_eq!(ask(&mut stream, 64, 64, 1).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
}

#[test]
fn a_delayed_answer_is_late_and_complete() {
    let server = start(|options| options.delay = Duration::from_millis(30).into());
    let mut stream = connect(&server);
    for sequence in 0..3 {
        let begin = Instant::now();
        assert_eq!(ask(&mut stream, 64, 256, sequence).expect("answered").len(), 256);
        assert!(begin.elapsed() >= Duration::from_millis(30));
    }
}
