//! Route stage of a session: which backend (`use_backend`, `default_backend`), and what in it decides on the server before balancing does
//! (`use-server`, stick rules, the key of `balance hash`).

use std::sync::Arc;

use ringmain_model::rule::{Condition, Rule, Target};
use ringmain_model::{BackendId, Balance, SampleType, ServerId};
use ringmain_policy::expression::{Absent, Bytes, Evaluation, Value, evaluate_as};
use ringmain_policy::rule::{self, Next, Verdict};
use smallvec::SmallVec;

use crate::live::ServerLive;
use crate::record;
use crate::session::Session;
use crate::stick::{self, Seen};
use crate::view::Answers;

/// Longest name that a `use_backend` or `use-server` format may give, in bytes.
const NAME_LIMIT: usize = 1024;

/// What decides on the server before balancing does.
#[derive(Default)]
pub(crate) struct Preference {
    /// This one, if it can be used.
    pub server: Option<Arc<ServerLive>>,
    /// Also when it is drained, and not to be left on the first failure.
    pub persistent: bool,
    /// The key of `balance hash`.
    pub hash: Option<SmallVec<[u8; 64]>>,
}

/// The backend: what the first rule that applies names, else the default. HAProxy, too, goes to the default when nobody has the name that a
/// format gives.
pub(crate) async fn backend(session: &Session, request: Bytes<'_>) -> Option<BackendId> {
    let config = session.frontend_config();
    let backends = &session.road.model().backends;
    let named = |name: &[u8]| backends.iter().position(|backend| backend.name.as_bytes() == name).map(BackendId::new);
    let target = Targets { session, rules: &config.rules.routes, request }.next(0, named).await;
    target.and_then(|(_, id)| id).or(config.route)
}

/// Rules that name where a session goes.
struct Targets<'a, Id> {
    session: &'a Session,
    rules: &'a [Rule<Target<Id>>],
    request: Bytes<'a>,
}

impl<Id: Copy> Targets<'_, Id> {
    /// The first rule from `position` on that applies, and its target; `None` for the target when nobody has the name that its format gives.
    async fn next(&self, mut position: usize, named: impl Fn(&[u8]) -> Option<Id>) -> Option<(usize, Option<Id>)> {
        let answers = Answers::default();
        loop {
            let missing = {
                let view = Seen::Request(self.request).view(self.session, &answers);
                match rule::next(self.rules, position, Evaluation { facts: &view, is_final: true }) {
                    Next::End => return None,
                    Next::NotYet(at) => {
                        position = at + 1;
                        continue;
                    }
                    Next::Table(at) => at,
                    Next::Apply(at) => match &self.rules[at].action {
                        Target::Fixed(id) => return Some((at, Some(*id))),
                        Target::Format(format) => {
                            let mut name = Vec::new();
                            record::format(self.session, format, &view, NAME_LIMIT, &mut name);
                            if !answers.misses() {
                                return Some((at, named(&name)));
                            }
                            at
                        }
                    },
                }
            };
            position = if answers.fetch(self.session).await { missing } else { missing + 1 };
        }
    }
}

/// What decides on the server of a session in this backend.
pub(crate) async fn prefer(session: &Session, backend: BackendId, request: Bytes<'_>) -> Preference {
    let config = session.road.model().backend(backend);
    let mut preference = Preference::default();
    if !config.rules.force_persist.is_empty() && holds_any(session, &config.rules.force_persist, request).await {
        session.extra.borrow_mut().get_or_insert_default().forces_persistence = true;
    }
    if !config.rules.servers.is_empty() {
        preference.server = server(session, backend, request).await;
        preference.persistent = preference.server.is_some();
    }
    if !config.rules.stick_request.is_empty() {
        stick::consult(session, backend, request).await;
        let found = session.extra.borrow().as_ref().and_then(|extra| extra.sticking.as_ref()?.server.clone());
        if preference.server.is_none() && found.is_some() {
            preference.server = found;
            preference.persistent = true;
        }
    }
    if config.balance == Balance::Hash {
        preference.hash = hash_key(session, backend, request).await;
    }
    preference
}

/// The server of the first `use-server` rule that applies and whose server serves.
async fn server(session: &Session, backend: BackendId, request: Bytes<'_>) -> Option<Arc<ServerLive>> {
    let model = session.road.model();
    let targets = Targets { session, rules: &model.backend(backend).rules.servers, request };
    let named = |name: &[u8]| model.servers_of(backend).find(|(_, server)| server.name.as_bytes() == name).map(|(id, _)| id);
    let mut position = 0;
    while let Some((at, id)) = targets.next(position, named).await {
        if let Some(live) = id.and_then(|id| serving(session, backend, id)) {
            return Some(live);
        }
        position = at + 1;
    }
    None
}

fn serving(session: &Session, backend: BackendId, id: ServerId) -> Option<Arc<ServerLive>> {
    let live = session.road.generation.server(id);
    let snapshot = session.road.snapshot(backend);
    let server = &snapshot.servers[snapshot.position(live)?];
    let forced = session.extra.borrow().as_ref().is_some_and(|extra| extra.forces_persistence);
    (server.runs || forced || session.road.model().backend(backend).options.persist).then(|| live.clone())
}

async fn hash_key(session: &Session, backend: BackendId, request: Bytes<'_>) -> Option<SmallVec<[u8; 64]>> {
    let expression = session.road.model().backend(backend).hash_key.as_ref()?;
    let answers = Answers::default();
    loop {
        {
            let view = Seen::Request(request).view(session, &answers);
            match evaluate_as(expression, SampleType::Binary, Evaluation { facts: &view, is_final: true }) {
                Ok(sample) => {
                    return match sample.value {
                        Value::Binary(data) => Some(SmallVec::from_slice(data.bytes())),
                        _ => None,
                    };
                }
                Err(Absent::Table) => {}
                Err(_) => return None,
            }
        }
        if !answers.fetch(session).await {
            return None;
        }
    }
}

/// Whether one of the conditions holds.
async fn holds_any(session: &Session, conditions: &[Condition], request: Bytes<'_>) -> bool {
    let answers = Answers::default();
    for condition in conditions {
        loop {
            let verdict = {
                let view = Seen::Request(request).view(session, &answers);
                rule::holds(condition, Evaluation { facts: &view, is_final: true })
            };
            match verdict {
                Verdict::Pass => return true,
                Verdict::Table if answers.fetch(session).await => {}
                _ => break,
            }
        }
        answers.clear();
    }
    false
}
