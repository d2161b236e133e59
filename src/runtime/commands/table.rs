//! Commands that show and change stick tables: `show table`, `clear table`, `set table`.
//!
//! They say what HAProxy says, rights included: its commands look at their words first and at the rights only when something is to be
//! read or changed. Differences: entries come in no particular order, an IPv4 key must be an address and an integer key a number (HAProxy
//! takes what it can read of them), keys of binary tables may be named in hexadecimal digits, and `clear table` without the rights says so.

mod row;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ringmain_engine::live::TableLive;
use ringmain_model::StatsLevel;
use ringmain_policy::table::{Answer, Filter, Key, Request, Target, owner};

use crate::runtime::reply::STEP_BYTES;
use crate::runtime::{Call, Command, ControlContext, Producer, Progress, Reply};

/// Stick tables.
pub const TABLES: &[Command] = &[
    Command {
        words: &["clear", "table"],
        level: StatsLevel::User,
        usage: "clear table <table> [<filter>]*",
        summary: "remove entries of a stick table: all, 'key <key>', or 'data.<type> <operator> <value>'",
        listed: true,
        run: |call| run(call, Act::Clear),
    },
    Command {
        words: &["set", "table"],
        level: StatsLevel::User,
        usage: "set table <table> key <key> [data.* <v>]*",
        summary: "create or change an entry of a stick table",
        listed: true,
        run: |call| run(call, Act::Set),
    },
    Command {
        words: &["show", "table"],
        level: StatsLevel::User,
        usage: "show table [<table> [<filter>]*]",
        summary: "list the stick tables, or show entries of one: all, 'key <key>', or 'data.<type> <operator> <value>'",
        listed: true,
        run: |call| run(call, Act::Show),
    },
];

/// Entries that a shard is asked for at a time.
const PAGE_ROWS: u32 = 128;
/// Entries that a shard removes at a time.
const REMOVED_PER_STEP: u32 = 256;
/// What is said when a shard does not answer.
const NO_ANSWER: &str = "A shard gives no answer, try again";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Show,
    Clear,
    Set,
}

fn run(call: &mut Call<'_, '_>, act: Act) -> Reply {
    if call.word(2).is_empty() {
        return if act == Act::Show { list(call) } else { Reply::message(words::usage(act)) };
    }
    let tables = &call.context.fleet.generation().tables;
    let Some(table) = tables.iter().find(|table| *table.name == *call.word(2)).cloned() else {
        return Reply::message("No such table");
    };
    match call.word(3) {
        "key" => of_key(call, act, &table),
        data if data.starts_with("data.") && act == Act::Set => {
            Reply::message("content-based lookup is only supported with the \"show\" and \"clear\" actions")
        }
        "" => of_filter(call, act, &table, Filter::default()),
        data if data.starts_with("data.") => match words::filter(call, &table.config()) {
            Ok(filter) => of_filter(call, act, &table, filter),
            Err(message) => Reply::Message(message),
        },
        _ => Reply::message(words::usage(act)),
    }
}

/// The last table of the configuration comes first, as in HAProxy.
fn list(call: &mut Call<'_, '_>) -> Reply {
    Reply::Text(call.context.fleet.generation().tables.iter().rev().map(|table| row::header(table)).collect())
}

fn of_key(call: &mut Call<'_, '_>, act: Act, table: &Arc<TableLive>) -> Reply {
    if call.word(4).is_empty() {
        return Reply::message("Key value expected");
    }
    let Some(key) = Key::from_command(call.word(4), table.config().key) else {
        return Reply::message("Invalid key");
    };
    if !call.allows(StatsLevel::Operator) {
        return Reply::message("Permission denied");
    }
    let answer = match act {
        Act::Show => show_key(call.context, table, key),
        Act::Clear => clear_key(call.context, table, key),
        Act::Set => set_key(call, table, key),
    };
    answer.unwrap_or_else(|| Reply::message(NO_ANSWER))
}

fn ask(context: &ControlContext<'_>, table: &Arc<TableLive>, key: &Key, request: Request) -> Option<Answer> {
    let tables = &context.state.tables;
    tables.ask(owner(key, tables.shards()), table, request)
}

/// An entry that is not there gives no line at all, not even the title.
fn show_key(context: &ControlContext<'_>, table: &Arc<TableLive>, key: Key) -> Option<Reply> {
    let Answer::Rows(page) = ask(context, table, &key, Request::ReadRow { target: Target::Key(key.clone()) })? else { return None };
    let mut text = String::new();
    for found in &page.rows {
        text.push_str(&row::header(table));
        row::line(&mut text, table, &table.config(), found);
    }
    Some(Reply::Text(text))
}

fn clear_key(context: &ControlContext<'_>, table: &Arc<TableLive>, key: Key) -> Option<Reply> {
    if ask(context, table, &key, Request::RemoveKey { key: key.clone() })? == Answer::Done(true) {
        return Some(Reply::Done);
    }
    let kept = ask(context, table, &key, Request::Exists { key: key.clone() })? == Answer::Done(true);
    Some(if kept { Reply::message("Entry currently in use, cannot remove") } else { Reply::Done })
}

/// What stands before a mistake is carried out, as in HAProxy.
fn set_key(call: &Call<'_, '_>, table: &Arc<TableLive>, key: Key) -> Option<Reply> {
    let (values, mistake) = words::values(call, &table.config());
    let request = Request::SetRow { key: key.clone(), values: values.into() };
    let reply = match ask(call.context, table, &key, request)? {
        Answer::Refused => Reply::message("Unable to allocate a new entry"),
        _ => mistake.map_or(Reply::Done, Reply::message),
    };
    Some(reply)
}

fn of_filter(call: &Call<'_, '_>, act: Act, table: &Arc<TableLive>, filter: Filter) -> Reply {
    let allowed = call.allows(StatsLevel::Operator);
    let place = Place { table: table.clone(), filter, shard: 0, cursor: 0 };
    match act {
        Act::Show if allowed => Reply::Stream(Box::new(Dump { place, begun: false })),
        Act::Show => Reply::Text(row::header(table) + "# contents not dumped due to insufficient privileges\n"),
        Act::Clear if allowed => Reply::Stream(Box::new(Clearing { place })),
        Act::Clear => Reply::message("Permission denied"),
        Act::Set => Reply::Done,
    }
}

/// How far a walk over all shards is.
struct Place {
    table: Arc<TableLive>,
    filter: Filter,
    shard: usize,
    cursor: u32,
}

impl Place {
    /// Goes on where the answer says; at the end of a share with the next shard.
    fn advance(&mut self, next: Option<u32>) {
        match next {
            Some(cursor) => self.cursor = cursor,
            None => (self.shard, self.cursor) = (self.shard + 1, 0),
        }
    }

    /// Passes shards without entries, which need not be asked.
    fn pass_empty(&mut self) {
        let is_empty = |used: &AtomicU32| used.load(Ordering::Relaxed) == 0;
        while self.table.used.get(self.shard).is_some_and(|used| is_empty(used)) {
            self.advance(None);
        }
    }

    /// Whether there is no shard left, or the table went with a reload.
    fn is_over(&self, context: &ControlContext<'_>) -> bool {
        let known = context.fleet.generation().tables.iter().any(|table| Arc::ptr_eq(table, &self.table));
        !known || self.shard >= context.state.tables.shards()
    }

    fn ask(&self, context: &ControlContext<'_>, request: Request) -> Option<Answer> {
        context.state.tables.ask(self.shard, &self.table, request)
    }
}

/// `show table NAME`, some entries at a time.
struct Dump {
    place: Place,
    begun: bool,
}

impl Producer for Dump {
    fn produce(&mut self, context: &mut ControlContext<'_>, out: &mut String) -> Progress {
        if !std::mem::replace(&mut self.begun, true) {
            out.push_str(&row::header(&self.place.table));
        }
        self.place.pass_empty();
        if self.place.is_over(context) {
            return Progress::Done;
        }
        let config = self.place.table.config();
        let request = Request::Page { cursor: self.place.cursor, limit: PAGE_ROWS, filter: self.place.filter.clone() };
        let Some(Answer::Rows(page)) = self.place.ask(context, request) else {
            out.push_str(&format!("# {NO_ANSWER}\n"));
            return Progress::Done;
        };
        out.reserve(STEP_BYTES);
        page.rows.iter().for_each(|found| row::line(out, &self.place.table, &config, found));
        self.place.advance(page.next);
        Progress::More
    }
}

/// `clear table NAME`, some entries at a time.
struct Clearing {
    place: Place,
}

impl Producer for Clearing {
    fn produce(&mut self, context: &mut ControlContext<'_>, out: &mut String) -> Progress {
        self.place.pass_empty();
        if self.place.is_over(context) {
            return Progress::Done;
        }
        let request = Request::Remove { cursor: self.place.cursor, limit: REMOVED_PER_STEP, filter: self.place.filter.clone() };
        let Some(Answer::Removed { next, .. }) = self.place.ask(context, request) else {
            out.push_str(NO_ANSWER);
            out.push('\n');
            return Progress::Done;
        };
        self.place.advance(next);
        Progress::More
    }
}
