//! Stick tables across shards: every key has one owner, which alone looks at and changes its entry; the others ask by mail.
//!
//! Sessions call [`ask`]; `shard` brings mail of other shards and of the control thread to [`serve`] and [`take_answer`]. What the entries
//! are and do is in `policy::table`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use hashbrown::HashMap;
use ringmain_model::table::{Column, DataType};
use ringmain_policy::table::{Answer, Request, Share};
use slab::Slab;

use crate::action;
use crate::live::{Generation, TableLive};
use crate::mailbox::{Mail, TableMail};
use crate::ring;
use crate::session::Session;
use crate::shard::Shard;

/// How often expired entries are looked for while there are tables. Nobody sees an expired entry: this only frees its room.
const EXPIRY_INTERVAL_MS: u64 = 1000;
/// Entries removed before sessions have their turn.
const EXPIRED_PER_TURN: usize = 256;
/// Pause before a full mailbox is tried again.
const FULL_RETRY_MS: u64 = 1;

/// The tables of one shard.
#[derive(Default)]
pub(crate) struct Tables {
    shares: RefCell<HashMap<u64, Owned>>,
    /// Questions on their way, by token.
    questions: RefCell<Slab<Question>>,
    sweeping: Cell<bool>,
    /// A table stores numbers of bytes: sessions tell theirs while they go on.
    count_bytes: Cell<bool>,
}

struct Owned {
    live: Arc<TableLive>,
    share: Share,
}

/// A question to another shard.
enum Question {
    Asked(Option<Waker>),
    Answered(Answer),
    /// Nobody waits for the answer any more.
    Dropped,
}

/// Asks the owner of a key; answers at once when that is this shard.
///
/// A table that the newest generation does not have any more refuses everything.
pub(crate) async fn ask(shard: &'static Shard, owner: usize, table: &Arc<TableLive>, request: Request) -> Answer {
    if owner == shard.index {
        return apply(shard, table, &request);
    }
    let token = shard.tables.questions.borrow_mut().insert(Question::Asked(None));
    let question = Asked { tables: &shard.tables, token };
    let from = shard.index as u32;
    let mut mail = Mail::Table(Box::new(TableMail { from, token: token as u32, table: table.clone(), request }));
    while let Err(returned) = shard.ports[owner].send(mail) {
        mail = *returned;
        ring::sleep_ms(FULL_RETRY_MS).await;
    }
    question.answer().await
}

/// Carries out another shard's question and sends the answer.
pub(crate) fn serve(shard: &'static Shard, mail: TableMail) {
    let answer = apply(shard, &mail.table, &mail.request);
    let asker = mail.from as usize;
    let Some(port) = shard.ports.get(asker) else { return };
    if let Err(returned) = port.send(Mail::TableAnswer(mail.token, answer)) {
        ring::spawn(async move {
            let mut answer = *returned;
            loop {
                ring::sleep_ms(FULL_RETRY_MS).await;
                match shard.ports[asker].send(answer) {
                    Ok(()) => return,
                    Err(returned) => answer = *returned,
                }
            }
        });
    }
}

/// Hands an answer to the session that asked.
pub(crate) fn take_answer(shard: &Shard, token: u32, answer: Answer) {
    let mut questions = shard.tables.questions.borrow_mut();
    let Some(question) = questions.get_mut(token as usize) else { return };
    match std::mem::replace(question, Question::Answered(answer)) {
        Question::Asked(waker) => {
            drop(questions);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        Question::Answered(_) | Question::Dropped => {
            questions.remove(token as usize);
        }
    }
}

/// Carries out a request on the share of this shard.
pub(crate) fn apply(shard: &'static Shard, table: &Arc<TableLive>, request: &Request) -> Answer {
    let mut shares = shard.tables.shares.borrow_mut();
    let owned = shares.entry(table.identity).or_insert_with(|| {
        sweep(shard);
        Owned { live: table.clone(), share: Share::new(&table.config(), shard.index, shard.ports.len(), shard.random.next()) }
    });
    let answer = owned.share.apply(ring::now_ms(), request);
    owned.note_size(shard.index);
    answer
}

/// Takes the settings of a new generation and forgets tables that it does not have.
pub(crate) fn adopt(shard: &Shard, generation: &Generation) {
    let of_bytes = |column: &Column| {
        use DataType as D;
        matches!(column.data, D::BytesInCnt | D::BytesInRate | D::BytesOutCnt | D::BytesOutRate)
    };
    let tables = &generation.model.tables;
    shard.tables.count_bytes.set(tables.iter().any(|table| table.columns.iter().any(of_bytes)));
    let mut shares = shard.tables.shares.borrow_mut();
    shares.retain(|identity, _| generation.tables.iter().any(|table| table.identity == *identity));
    for owned in shares.values_mut() {
        owned.share.reconfigure(&owned.live.config(), shard.index, shard.ports.len());
        owned.note_size(shard.index);
    }
}

impl Owned {
    fn note_size(&self, shard: usize) {
        self.live.used[shard].store(u32::try_from(self.share.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// Starts the task that removes expired entries, unless it runs.
fn sweep(shard: &'static Shard) {
    if shard.tables.sweeping.replace(true) {
        return;
    }
    ring::spawn(async move {
        // It sleeps first: tasks begin to run as they are spawned, and the one who spawns it holds the tables.
        loop {
            ring::sleep_ms(EXPIRY_INTERVAL_MS).await;
            if shard.tables.shares.borrow().is_empty() {
                break;
            }
            if shard.tables.count_bytes.get() {
                shard.visit_sessions(tell_bytes).await;
            }
            while remove_expired(shard) {
                ring::yield_now().await;
            }
        }
        shard.tables.sweeping.set(false);
    });
}

/// Tells the entries that a session tracks what it has forwarded so far.
fn tell_bytes(session: &Rc<Session>) {
    if session.extra.borrow().as_ref().is_some_and(|extra| extra.all_tracked().next().is_some()) {
        let session = session.clone();
        ring::spawn(async move { action::count_bytes(&session).await });
    }
}

/// One step of the removal; `true` when there is more to do.
fn remove_expired(shard: &Shard) -> bool {
    let now_ms = ring::now_ms();
    let mut more = false;
    for owned in shard.tables.shares.borrow_mut().values_mut() {
        more |= owned.share.expire(now_ms, EXPIRED_PER_TURN) == EXPIRED_PER_TURN;
        owned.note_size(shard.index);
    }
    more
}

/// A question whose answer somebody waits for.
struct Asked<'a> {
    tables: &'a Tables,
    token: usize,
}

impl Asked<'_> {
    async fn answer(self) -> Answer {
        poll_fn(|context| {
            let mut questions = self.tables.questions.borrow_mut();
            match questions.get_mut(self.token) {
                Some(Question::Asked(waker)) => {
                    *waker = Some(context.waker().clone());
                    Poll::Pending
                }
                Some(Question::Answered(answer)) => Poll::Ready(std::mem::replace(answer, Answer::Refused)),
                Some(Question::Dropped) | None => Poll::Ready(Answer::Refused),
            }
        })
        .await
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut questions = self.tables.questions.borrow_mut();
        match questions.get_mut(self.token) {
            Some(Question::Answered(_)) => {
                questions.remove(self.token);
            }
            Some(question) => *question = Question::Dropped,
            None => {}
        }
    }
}
