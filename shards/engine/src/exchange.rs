//! Forwarding stage of a session: both directions joined, half-closes, inactivity timeouts, orders to end.
//!
//! A side's timeout counts as that side's end of stream, as in HAProxy: what the other side still sends is delivered until it ends too.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use ringmain_model::{Milliseconds, SplicePolicy};
use ringmain_policy::record::{Cause, Phase, Termination};

use crate::forward::{End, Meter, Splice, direction};
use crate::held;
use crate::mqtt;
use crate::record;
use crate::response;
use crate::ring::{self, S, Sock};
use crate::session::{Down, Session, Up};

/// Forwards until both directions have ended; returns how. Closes both sockets.
pub(crate) fn run(session: &Rc<Session>, client: Sock, server: Sock) -> impl Future<Output = Termination> {
    record::at_connect(session);
    mqtt::begin(session);
    async move {
        if session.hold.with(|_| ()).is_some() && Box::pin(held::hand_over(session, server.handle())).await.is_err() {
            close(session, client, server);
            return Termination { cause: Cause::ServerAbort, phase: Phase::Data };
        }
        let (c, s) = (client.handle(), server.handle());
        let options = session.frontend_config().options;
        let mut up = pin!(Some(direction(c, s, Up(session.clone()), splice(options.splice_request))));
        let mut down = pin!(Some(direction(s, c, Down(session.clone()), splice(options.splice_response))));
        let mut ends = Ends::new(c, s);
        ends.arm(session);
        let termination = poll_fn(|context| {
            loop {
                let mut progress = false;
                if session.ended.poll_taken(context).is_ready()
                    && let Some(ending) = session.ending()
                {
                    if ending.disconnect.is_none() || down.is_none() || !mqtt::can_drain(session) {
                        return Poll::Ready(ending.termination());
                    }
                    // The direction from the server sees to it; the order that insists is waited for in the next round.
                    progress = true;
                }
                if let Some(end) = poll_direction(up.as_mut(), context) {
                    progress = true;
                    ends.finish(Side::Client, end);
                }
                if let Some(end) = poll_direction(down.as_mut(), context) {
                    progress = true;
                    ends.finish(Side::Server, end);
                }
                if pin!(session.timer.fired()).poll(context).is_ready() {
                    progress = true;
                    for side in ends.expired(session) {
                        match side {
                            // The last word is the inspection's.
                            Side::Server if response::time_out(session) => continue,
                            Side::Client => up.set(None),
                            Side::Server => down.set(None),
                        }
                        ends.time_out(side);
                    }
                }
                if ends.over() {
                    return Poll::Ready(ends.termination.unwrap_or(Termination::NORMAL));
                }
                if !progress {
                    return Poll::Pending;
                }
                ends.arm(session);
            }
        })
        .await;
        up.set(None);
        down.set(None);
        close(session, client, server);
        termination
    }
}

fn poll_direction<F: Future<Output = End>>(mut direction: Pin<&mut Option<F>>, context: &mut Context<'_>) -> Option<End> {
    let Poll::Ready(end) = direction.as_mut().as_pin_mut()?.poll(context) else { return None };
    direction.set(None);
    Some(end)
}

fn close(session: &Session, client: Sock, server: Sock) {
    if session.frontend_config().options.nolinger {
        client.reset();
    }
    let backend = session.assigned.backend.get().map(|id| session.road.model().backend(id));
    if backend.is_some_and(|backend| backend.options.nolinger) {
        server.reset();
    }
}

fn splice(policy: SplicePolicy) -> Splice {
    match policy {
        SplicePolicy::Adaptive => Splice::Adaptive,
        SplicePolicy::Always => Splice::Always,
        SplicePolicy::Never => Splice::Never,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// One side's half of the state.
#[derive(Clone, Copy)]
struct Half {
    socket: S,
    /// It sends nothing more (end of stream or timeout).
    silent: bool,
    /// When our end of stream was sent to it, monotonic ms; 0 is not yet.
    shut_ms: u32,
}

/// Which sides have ended, and how it began.
struct Ends {
    client: Half,
    server: Half,
    /// When forwarding began, monotonic ms: shut times are kept relative to it in 32 bits.
    since_ms: u64,
    failed: bool,
    termination: Option<Termination>,
}

impl Ends {
    fn new(client: S, server: S) -> Self {
        let half = |socket| Half { socket, silent: false, shut_ms: 0 };
        Self { client: half(client), server: half(server), since_ms: ring::now_ms(), failed: false, termination: None }
    }

    fn half(&mut self, side: Side) -> (&mut Half, &mut Half) {
        match side {
            Side::Client => (&mut self.client, &mut self.server),
            Side::Server => (&mut self.server, &mut self.client),
        }
    }

    fn over(&self) -> bool {
        self.failed || self.client.silent && self.server.silent
    }

    /// The direction that comes from `side` has ended.
    fn finish(&mut self, side: Side, end: End) {
        match end {
            End::Eof => self.pass_on_the_end(side),
            End::ReadError(_) => self.fail(side),
            End::WriteError(_) => self.fail(if side == Side::Client { Side::Server } else { Side::Client }),
            End::TimedOut => self.time_out(side),
            End::Refused => {
                self.termination.get_or_insert(held::SERVER_REFUSED);
                self.failed = true;
            }
            End::Finished => self.failed = true,
            End::SentOff => {
                self.termination.get_or_insert(Termination { cause: Cause::Killed, phase: Phase::Done });
                self.failed = true;
            }
        }
    }

    fn fail(&mut self, culprit: Side) {
        let cause = if culprit == Side::Client { Cause::ClientAbort } else { Cause::ServerAbort };
        self.termination.get_or_insert(Termination { cause, phase: Phase::Data });
        self.failed = true;
    }

    fn time_out(&mut self, side: Side) {
        let cause = if side == Side::Client { Cause::ClientTimeout } else { Cause::ServerTimeout };
        self.termination.get_or_insert(Termination { cause, phase: Phase::Data });
        let (half, _) = self.half(side);
        if half.silent {
            // It had nothing more to say and does not take what is left for it.
            self.failed = true;
        } else {
            self.pass_on_the_end(side);
        }
    }

    /// `side` sends nothing more: tell the other side, unless both are done and closing tells it.
    fn pass_on_the_end(&mut self, side: Side) {
        let since_ms = self.since_ms;
        let (half, other) = self.half(side);
        half.silent = true;
        if other.silent {
            return;
        }
        other.shut_ms = u32::try_from(ring::now_ms().saturating_sub(since_ms)).unwrap_or(u32::MAX).max(1);
        if other.socket.shutdown_write().is_err() {
            self.fail(if side == Side::Client { Side::Server } else { Side::Client });
        }
    }

    /// Sets the session's timer to the next moment at which a side may have been inactive for too long.
    fn arm(&self, session: &Session) {
        let deadlines = [self.deadline_ms(session, Side::Client), self.deadline_ms(session, Side::Server)];
        match deadlines.into_iter().flatten().min() {
            Some(deadline) => session.timer.set(deadline),
            None => session.timer.clear(),
        }
    }

    /// The sides whose time is up, the client first.
    fn expired(&self, session: &Session) -> impl Iterator<Item = Side> + use<> {
        let now_ms = ring::now_ms();
        let is_expired = |side| self.deadline_ms(session, side).is_some_and(|deadline| deadline <= now_ms);
        let expired = [is_expired(Side::Client).then_some(Side::Client), is_expired(Side::Server).then_some(Side::Server)];
        expired.into_iter().flatten()
    }

    /// When a side will have been inactive for too long, as far as can be said now; `None` without a timeout.
    fn deadline_ms(&self, session: &Session, side: Side) -> Option<u64> {
        let (half, from, to) = match side {
            Side::Client => (&self.client, &session.up, &session.down),
            Side::Server => (&self.server, &session.down, &session.up),
        };
        let timeouts = Timeouts::of(session, side);
        let fin = timeouts.fin.filter(|_| half.shut_ms != 0);
        let timeout = fin.or(timeouts.data)?;
        if half.silent && to.pending.get() == 0 && !half.socket.is_slow() {
            // Its silence does not matter, but it may yet stop taking what it is sent: nothing else would have that looked at.
            return Some(ring::now_ms() + timeout.get().max(1));
        }
        let shut_ms = if fin.is_some() { self.since_ms + u64::from(half.shut_ms) } else { 0 };
        // A client that has not sent anything is inactive from the beginning, also while it waited for its server.
        let never_active = side == Side::Client && !half.silent && from.bytes.get() == 0;
        let since_ms = if never_active { session.accepted_us / 1000 } else { self.since_ms };
        Some(last_activity_ms(from, to, half.silent, timeouts.independent).max(since_ms).max(shut_ms) + timeout.get())
    }
}

/// When a side last sent something or took something, as far as its timeout is concerned.
fn last_activity_ms(from: &Meter, to: &Meter, silent: bool, independent: bool) -> u64 {
    let read_ms = if silent { 0 } else { from.last_read_ms.get() };
    let written_ms = if independent && !silent { 0 } else { to.last_write_ms.get() };
    read_ms.max(written_ms)
}

/// The timeouts that apply to one side.
struct Timeouts {
    data: Option<Milliseconds>,
    fin: Option<Milliseconds>,
    independent: bool,
}

impl Timeouts {
    fn of(session: &Session, side: Side) -> Self {
        let frontend = session.frontend_config();
        let backend = session.assigned.backend.get().map(|id| session.road.model().backend(id));
        let tunnel = backend.and_then(|backend| backend.timeouts.tunnel);
        match side {
            Side::Client => Self {
                data: tunnel.or(frontend.timeouts.client),
                fin: frontend.timeouts.client_fin,
                independent: frontend.options.independent_streams,
            },
            Side::Server => Self {
                data: tunnel.or(backend.and_then(|backend| backend.timeouts.server)),
                fin: backend.and_then(|backend| backend.timeouts.server_fin),
                independent: backend.is_some_and(|backend| backend.options.independent_streams),
            },
        }
    }
}
