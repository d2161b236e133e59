//! `expect-proxy layer4`: the PROXY protocol header that a trusted proxy in front sends first. Called by rules on the connection.

use ringmain_policy::record::{Cause, Peer, Phase, Termination};
use ringmain_wire::proxy_protocol::{Header, Progress, parse};

use crate::held::{self, Held, Last, Waited};
use crate::ring;
use crate::session::Session;

/// How long a header may take to come when the frontend has no `timeout client`.
const TIMEOUT_MS: u64 = 10_000;

/// Waits for the header, takes its addresses for the session's and its bytes away.
///
/// # Errors
/// How the session ends without a header.
pub(crate) async fn expect(session: &Session, held: &mut Held) -> Result<(), Termination> {
    let deadline_ms = ring::now_ms() + session.frontend_config().timeouts.client.map_or(TIMEOUT_MS, |timeout| timeout.get());
    let mut last = None;
    loop {
        match parse(held.as_slice()) {
            Progress::Done(header, length) => {
                held.drop_first(length, &session.up);
                let mut extra = session.extra.borrow_mut();
                let extra = extra.get_or_insert_default();
                extra.had_proxy_header = true;
                if let Header::Inet { source, destination } = header {
                    (extra.client, extra.local) = (Some(Peer::Inet(source)), Some(Peer::Inet(destination)));
                }
                return Ok(());
            }
            Progress::NeedMore if last.is_none() => match held::wait(session, held, Some(deadline_ms)).await {
                Waited::Bytes => {}
                Waited::Last(why) => last = Some(why),
                Waited::Ordered(termination) => return Err(termination),
            },
            Progress::NeedMore | Progress::Invalid => {
                let cause = match last {
                    Some(Last::Timeout | Last::Delay) => Cause::ClientTimeout,
                    Some(Last::Ended | Last::Failed) => Cause::ClientAbort,
                    Some(Last::Full) | None => Cause::Proxy,
                };
                // What was no header was nothing of a session either.
                held.drop_first(usize::MAX, &session.up);
                return Err(Termination { cause, phase: Phase::Request });
            }
        }
    }
}
