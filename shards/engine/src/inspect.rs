//! Inspect stage of a session: `tcp-request` rules on the connection and on its first bytes, in the order of the configuration.
//!
//! Rules decide on what is there; one that cannot decide yet waits for bytes, within the inspect delay and the buffer. What rules do is in
//! `action.rs`.

use std::rc::Rc;

use ringmain_model::rule::{Action, Rule};
use ringmain_model::{BackendId, Milliseconds};
use ringmain_policy::expression::{Absent, Bytes, Evaluation};
use ringmain_policy::record::Termination;
use ringmain_policy::rule::{Next, next};

use crate::action::{self, Effect, Verdict};
use crate::held::{self, Held, Last, State, Waited};
use crate::response::{Decision, Look};
use crate::session::Session;
use crate::stick::{self, Seen};
use crate::view::Answers;
use crate::{record, ring};

/// How a set of rules ends that lets the session go on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    /// The session ends with this although the rules let it through: its client has gone. The backend is chosen first.
    pub departure: Option<Termination>,
}

/// How a set of rules ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// A rule closes the connection.
    Rejected,
    /// A rule has the connection forgotten, without a word to the client.
    Dropped,
    /// Something else ends the session.
    Ended(Termination),
}

/// Bytes that are held, as rules see them.
pub(crate) fn seen(held: &Held) -> Bytes<'_> {
    Bytes { data: held.as_slice(), complete: held.state() != State::Open }
}

/// `tcp-request connection` and `tcp-request session` rules: nothing is known but addresses and tables.
///
/// # Errors
/// How they end the session.
pub(crate) async fn connection(session: &Rc<Session>, rules: &[Rule<Action>], held: &mut Held) -> Result<(), Stopped> {
    let mut progress = Progress::default();
    loop {
        match progress.advance(session, rules, held, true).await? {
            Advance::Done => return Ok(()),
            // Nothing more will be known: the rule is passed over.
            Advance::Wait => progress.skip(),
        }
    }
}

/// `tcp-request content` rules of a frontend or backend.
///
/// # Errors
/// How they end the session.
pub(crate) async fn content(
    session: &Rc<Session>,
    rules: &[Rule<Action>],
    delay: Option<Milliseconds>,
    held: &mut Held,
) -> Result<Passed, Stopped> {
    let delay_end_ms = delay.map(|delay| ring::now_ms() + delay.get());
    if delay.is_none() && !rules.is_empty() && held.state() == State::Open && held.is_empty() {
        // Nobody waits for bytes here, but those that have come already are looked at.
        held.take_ready(session.client, &session.up);
    }
    let mut progress = Progress::default();
    let mut last = None;
    loop {
        let is_final = last.is_some() || delay.is_none();
        match progress.advance(session, rules, held, is_final).await? {
            Advance::Done => break,
            Advance::Wait if is_final => progress.skip(),
            Advance::Wait => match held::wait(session, held, delay_end_ms).await {
                Waited::Bytes => {}
                Waited::Last(why) => last = Some(why),
                Waited::Ordered(termination) => return Err(Stopped::Ended(termination)),
            },
        }
    }
    Ok(Passed { departure: last.and_then(Last::client_termination) })
}

/// The rules of a backend's content, once it is chosen.
///
/// # Errors
/// How they end the session.
pub(crate) async fn backend_content(session: &Rc<Session>, backend: BackendId, held: &mut Held) -> Result<Passed, Stopped> {
    let rules = &session.road.model().backend(backend).rules;
    content(session, &rules.content, rules.inspect_delay, held).await
}

/// `tcp-response content` and `stick store-response` rules, evaluated as the server's first bytes come.
#[derive(Default)]
pub(crate) struct ResponseRules {
    progress: Progress,
}

impl ResponseRules {
    /// Goes on with the rules as far as they can be decided now.
    pub async fn evaluate(&mut self, session: &Rc<Session>, look: Look<'_>) -> Decision {
        let Some(backend) = session.assigned.backend.get() else { return Decision::Pass };
        let rules = &session.road.model().backend(backend).rules.response;
        let bytes = Bytes { data: look.bytes, complete: look.last.is_some() };
        loop {
            match self.progress.step(session, rules, Seen::Response(bytes), look.last.is_some()) {
                Step::End => break,
                Step::Wait if look.last.is_none() => return Decision::Wait,
                Step::Wait => self.progress.skip(),
                Step::Table => self.progress.fetch(session).await,
                Step::Act(effect) => {
                    self.progress.skip();
                    match action::apply(session, effect, None).await {
                        Verdict::Continue => {}
                        Verdict::Accept => break,
                        Verdict::Close => return Decision::Close,
                        Verdict::Reject | Verdict::Drop | Verdict::End(_) => {
                            record::count_refused_response(session);
                            return Decision::Refuse;
                        }
                    }
                }
            }
        }
        stick::store_response(session, bytes).await;
        Decision::Pass
    }
}

/// Where a set of rules stands.
#[derive(Default)]
pub(crate) struct Progress {
    position: usize,
    answers: Answers,
}

/// What keeps a set of rules from going on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advance {
    /// Nothing: it is through.
    Done,
    /// A rule cannot decide yet.
    Wait,
}

impl Progress {
    /// Passes over the rule that cannot decide.
    pub fn skip(&mut self) {
        self.position += 1;
        self.answers.clear();
    }

    /// Carries out rules as far as they can be decided now.
    async fn advance(
        &mut self,
        session: &Rc<Session>,
        rules: &[Rule<Action>],
        held: &mut Held,
        is_final: bool,
    ) -> Result<Advance, Stopped> {
        loop {
            let step = self.step(session, rules, Seen::Request(seen(held)), is_final);
            let effect = match step {
                Step::End => return Ok(Advance::Done),
                Step::Wait => return Ok(Advance::Wait),
                Step::Table => {
                    self.fetch(session).await;
                    continue;
                }
                Step::Act(effect) => effect,
            };
            let place = rules.get(self.position).map(|rule| &rule.location);
            self.skip();
            let verdict = action::apply(session, effect, Some(held)).await;
            if verdict != Verdict::Continue && session.road.run(session.frontend).line_names_rule {
                session.extra.borrow_mut().get_or_insert_default().last_rule = place.cloned();
            }
            match verdict {
                Verdict::Continue => {}
                Verdict::Accept => return Ok(Advance::Done),
                Verdict::Reject | Verdict::Close => return Err(Stopped::Rejected),
                Verdict::Drop => return Err(Stopped::Dropped),
                Verdict::End(termination) => return Err(Stopped::Ended(termination)),
            }
        }
    }

    /// Finds the next rule that applies and what it does, without doing it.
    pub fn step(&mut self, session: &Session, rules: &[Rule<Action>], seen: Seen<'_>, is_final: bool) -> Step {
        let view = seen.view(session, &self.answers);
        let evaluation = Evaluation { facts: &view, is_final };
        match next(rules, self.position, evaluation) {
            Next::End => Step::End,
            Next::NotYet(position) => {
                self.position = position;
                Step::Wait
            }
            Next::Table(position) => {
                self.position = position;
                Step::Table
            }
            Next::Apply(position) => {
                self.position = position;
                match action::decide(session, &rules[position].action, evaluation) {
                    // A format string that asks a table is rendered without the answer first.
                    Ok(_) if self.answers.misses() => Step::Table,
                    Ok(effect) => Step::Act(effect),
                    Err(Absent::Table) => Step::Table,
                    Err(Absent::NotYet) => Step::Wait,
                    // A value that does not exist: the action has nothing to work on.
                    Err(Absent::Missing) => Step::Act(Effect::Nothing),
                }
            }
        }
    }

    /// The answers of the rule at hand.
    pub async fn fetch(&mut self, session: &Session) {
        if !self.answers.fetch(session).await {
            self.skip();
        }
    }
}

/// The next thing to do.
pub(crate) enum Step {
    End,
    Wait,
    Table,
    Act(Effect),
}
