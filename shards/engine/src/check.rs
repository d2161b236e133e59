//! Health checks by TCP connection, and by MQTT over it (`mqtt`): made here for the control thread, which decides when, and what the
//! outcome means.

mod mqtt;

use ringmain_model::MqttCheck;

use crate::mailbox::{MqttAnswer, Probe, ProbeOutcome, Report};
use crate::ring::{self, S, Sock};
use crate::shard::Shard;
use crate::signal::{Either, race};
use crate::socket;

/// Makes one check and reports how it went.
pub(crate) async fn probe(shard: &'static Shard, probe: Probe) {
    let started_us = ring::now_us();
    let outcome = connect(shard, &probe, started_us).await;
    let duration_us = ring::now_us().saturating_sub(started_us);
    shard.report(Report::Probe { id: probe.id, outcome, duration_us }).await;
}

async fn connect(shard: &Shard, probe: &Probe, started_us: u64) -> ProbeOutcome {
    let local = |error: std::io::Error| ProbeOutcome::Local(error.raw_os_error().unwrap_or(libc::EINVAL));
    let tuning = shard.road.borrow().as_ref().map(|road| road.model().global.tuning).unwrap_or_default();
    let made = socket::resolve(&probe.destination, || 0).and_then(|address| socket::outgoing(address, probe.source.as_ref(), &tuning));
    let outgoing = match made {
        Ok(outgoing) => outgoing,
        Err(error) => return local(error),
    };
    let sock = Sock::adopt_nonblocking(outgoing.socket);
    let connected = race(sock.handle().connect(&outgoing.address), ring::sleep_ms(probe.timeout_ms)).await;
    let outcome = match connected {
        Either::Left(Ok(())) => match &probe.mqtt {
            Some(check) => {
                let answer = converse(shard, probe, check, started_us, sock.handle()).await;
                if answer == MqttAnswer::Accepted {
                    // The server has been told in order; a reset could reach it first.
                    return ProbeOutcome::Answered(answer);
                }
                ProbeOutcome::Answered(answer)
            }
            None => ProbeOutcome::Connected,
        },
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

/// Speaks MQTT within the time for answers: `timeout check` from now on, else what is left of the check's time.
async fn converse(shard: &Shard, probe: &Probe, check: &MqttCheck, started_us: u64, server: S) -> MqttAnswer {
    let spent_ms = ring::now_us().saturating_sub(started_us) / 1000;
    let limit_ms = probe.answer_timeout_ms.unwrap_or_else(|| probe.timeout_ms.saturating_sub(spent_ms).max(1));
    match race(mqtt::greet(server, check, &shard.random), ring::sleep_ms(limit_ms)).await {
        Either::Left(answer) => answer,
        Either::Right(()) => MqttAnswer::TimedOut,
    }
}
