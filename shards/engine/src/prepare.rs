//! The road of a session whose frontend or backend has rules, up to the connected server: inspect -> route -> inspect again -> balance ->
//! connect. Sessions without rules go straight to `assign`.

use std::rc::Rc;

use ringmain_policy::log::Moment;
use ringmain_policy::record::Termination;

use crate::assign;
use crate::held::{self, CLIENT_REFUSED, Held, State};
use crate::inspect::{self, Passed, Stopped};
use crate::live::FrontendCounters;
use crate::mqtt;
use crate::response::Inspection;
use crate::ring::Sock;
use crate::session::Session;
use crate::{action, record, route, socket, stick};

/// Finds a server and connects to it, as the rules say.
///
/// # Errors
/// How the session ends without one.
pub(crate) async fn reach(session: &Rc<Session>) -> Result<Sock, Termination> {
    let mut held = Held::new(held::limit(&session.road.model().global.tuning));
    admit(session, &mut held).await?;
    let rules = &session.frontend_config().rules;
    let passed = inspect::content(session, &rules.content, rules.inspect_delay, &mut held).await;
    mqtt::look(session, held.as_slice());
    let mut passed = passed.map_err(|stopped| refused(session, stopped))?;
    if held.state() == State::Open && held.is_empty() {
        // Nothing waited for bytes; rules of the backend may look at those that are here already.
        held.take_ready(session.client, &session.up);
    }
    let Some(backend) = assign::enter(session, route::backend(session, inspect::seen(&held)).await) else {
        return Err(assign::NO_SERVER);
    };
    if passed.departure.is_none() {
        let again = inspect::backend_content(session, backend, &mut held).await;
        mqtt::look(session, held.as_slice());
        passed = again.map_err(|stopped| refused(session, stopped))?;
    }
    if let Passed { departure: Some(termination) } = passed {
        return Err(termination);
    }
    let preference = route::prefer(session, backend, inspect::seen(&held)).await;
    let rules = &session.road.model().backend(backend).rules;
    if !rules.response.is_empty() || !rules.stick_response.is_empty() {
        let delay_ms = rules.response_inspect_delay.map(|delay| delay.get());
        session.hold.put_inspection(Inspection { delay_ms });
    }
    session.hold.put_client(held);
    let reached = assign::reach(session, backend, preference).await;
    match reached {
        Ok(_) => {
            let run = session.road.run(session.frontend);
            if run.line_asks_tables && run.moment == Some(Moment::Connect) {
                record::prepare_line(session).await;
            }
            // The request has been dealt with: what was noted for it alone goes.
            session.end_request();
        }
        Err(_) => stick::withdraw(session).await,
    }
    reached
}

/// Rules on the connection itself. Connections that they refuse were never sessions: they are not logged, and counted only as refused, as
/// in HAProxy, where one that is forgotten counts as a denied request.
async fn admit(session: &Rc<Session>, held: &mut Held) -> Result<(), Termination> {
    let rules = &session.frontend_config().rules;
    let sets = [(&rules.connection, true), (&rules.session, false)];
    for (set, is_first) in sets {
        let stopped = inspect::connection(session, set, held).await;
        if let Err(stopped) = stopped {
            session.assigned.logged.set(true);
            match (stopped, is_first) {
                (Stopped::Rejected, true) => count_refusal(session, |counters| &counters.denied_connections),
                (Stopped::Rejected, false) => count_refusal(session, |counters| &counters.denied_sessions),
                (Stopped::Dropped, _) => count_refusal(session, |counters| &counters.denied_requests),
                (Stopped::Ended(_), _) => {}
            }
            ended(session, stopped);
            // What came behind a PROXY header was nothing of a session.
            held.drop_first(usize::MAX, &session.up);
            return Err(CLIENT_REFUSED);
        }
    }
    session.count();
    action::count_session(session).await;
    Ok(())
}

/// Counts a refusal by content and says how the session ends. HAProxy counts it in the frontend, also when a rule of the backend refuses.
fn refused(session: &Session, stopped: Stopped) -> Termination {
    if !matches!(stopped, Stopped::Ended(_)) {
        count_refusal(session, |counters| &counters.denied_requests);
    }
    ended(session, stopped)
}

fn count_refusal(session: &Session, counter: fn(&FrontendCounters) -> &crate::live::Counter) {
    let (generation, shard) = (&session.road.generation, session.shard.index);
    counter(&generation.frontend(session.frontend).counters[shard]).add(1);
    counter(&generation.bind(session.frontend, session.bind).counters[shard]).add(1);
}

fn ended(session: &Session, stopped: Stopped) -> Termination {
    match stopped {
        Stopped::Rejected => CLIENT_REFUSED,
        Stopped::Dropped => {
            socket::forget(session.client);
            CLIENT_REFUSED
        }
        Stopped::Ended(termination) => termination,
    }
}

/// Before the line of a session that has ended: tells tables what was forwarded, and asks them what the line shows.
pub(crate) async fn conclude(session: &Session) {
    action::count_bytes(session).await;
    if session.road.run(session.frontend).line_asks_tables && !session.assigned.logged.get() {
        record::prepare_line(session).await;
    }
}
