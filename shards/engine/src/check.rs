//! Health checks by TCP connection: made here for the control thread, which decides when, and what the outcome means.

use crate::mailbox::{Probe, ProbeOutcome, Report};
use crate::ring::{self, Sock};
use crate::shard::Shard;
use crate::signal::{Either, race};
use crate::socket;

/// Makes one check and reports how it went.
pub(crate) async fn probe(shard: &'static Shard, probe: Probe) {
    let started_us = ring::now_us();
    let outcome = connect(shard, &probe).await;
    let duration_us = ring::now_us().saturating_sub(started_us);
    shard.report(Report::Probe { id: probe.id, outcome, duration_us }).await;
}

async fn connect(shard: &Shard, probe: &Probe) -> ProbeOutcome {
    let local = |error: std::io::Error| ProbeOutcome::Local(error.raw_os_error().unwrap_or(libc::EINVAL));
    let tuning = shard.road.borrow().as_ref().map(|road| road.model().global.tuning).unwrap_or_default();
    let made = socket::resolve(&probe.destination, || 0).and_then(|address| socket::outgoing(address, probe.source.as_ref(), &tuning));
    let outgoing = match made {
        Ok(outgoing) => outgoing,
        Err(error) => return local(error),
    };
    let sock = Sock::adopt_nonblocking(outgoing.socket);
    let outcome = match race(sock.handle().connect(&outgoing.address), ring::sleep_ms(probe.timeout_ms)).await {
        Either::Left(Ok(())) => ProbeOutcome::Connected,
        Either::Left(Err(error)) => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL) => local(error),
            errno => ProbeOutcome::Failed(errno.unwrap_or(libc::ECONNREFUSED)),
        },
        Either::Right(()) => ProbeOutcome::TimedOut,
    };
    // A reset leaves nothing in TIME_WAIT on either side, check after check.
    sock.reset();
    outcome
}
