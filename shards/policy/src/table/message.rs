//! What sessions, commands and fetches ask of a share, and what it answers: small owned values that travel through mailboxes.

use std::sync::Arc;

use ringmain_model::table::DataType;

use super::key::Key;

/// Most conditions of one [`Filter`], as in HAProxy.
pub const CONDITIONS_MAX: usize = 4;

/// The server that a key sticks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickServer {
    /// Its number (`server_id`), 0 when the table does not store numbers.
    pub id: u32,
    /// Its name (`server_key`), empty when the table does not store names. After a reload the name decides: numbers may have moved.
    pub name: Arc<str>,
}

/// An entry that a session tracks; valid until it is released with [`Request::Untrack`], and on the owning shard only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// Which entry is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The entry of this key, tracked or not.
    Key(Key),
    /// A tracked entry.
    Handle(Handle),
}

/// Something that happened to a client: each counts in a counter and in its rate, whichever of the two the table stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The layer 4 rules accepted the connection (`sess_cnt`, `sess_rate`).
    Session,
    /// An HTTP request (`http_req_cnt`, `http_req_rate`).
    HttpRequest,
    /// A request that the client did wrong (`http_err_cnt`, `http_err_rate`).
    HttpError,
    /// A request that failed on the server's side (`http_fail_cnt`, `http_fail_rate`).
    HttpFail,
    /// A protocol glitch (`glitch_cnt`, `glitch_rate`).
    Glitch,
    /// Bytes from the client (`bytes_in_cnt`, `bytes_in_rate`).
    BytesIn,
    /// Bytes to the client (`bytes_out_cnt`, `bytes_out_rate`).
    BytesOut,
    /// The first general purpose counter (`gpc0` or element 0 of `gpc`, and their rates).
    Gpc0,
    /// The second general purpose counter (`gpc1` or element 1 of `gpc`, and their rates).
    Gpc1,
    /// An element of the array of general purpose counters (`gpc`, `gpc_rate`); `gpc0` and `gpc1` are not meant.
    Gpc(u32),
}

/// What a share can be asked. Requests that name an entry which is not there, or a column which is not stored, change nothing.
#[derive(Clone, Debug)]
pub enum Request {
    /// The server that the key sticks to (`stick match`); the use refreshes the entry. Answer: [`Answer::Server`].
    Match {
        /// The client's key.
        key: Key,
    },
    /// Lets the key stick to `server` unless another session was faster (`stick on`, `stick store-request`). Answer: [`Answer::Claimed`],
    /// or [`Answer::Refused`] when the table has no room.
    Claim {
        /// The client's key.
        key: Key,
        /// The server that was found there and may be replaced (it is down); `None` claims only a key that has no server.
        expected: Option<StickServer>,
        /// The server of this session.
        server: StickServer,
    },
    /// Lets the key stick to `server` whatever was there (`stick store-response`). Answer: [`Answer::Done`].
    Store {
        /// The key.
        key: Key,
        /// The server.
        server: StickServer,
    },
    /// Takes a claim back whose connection never stood, if nobody else has used it since. Answer: [`Answer::Done`].
    Withdraw {
        /// The key that was claimed.
        key: Key,
        /// The server that won the claim.
        server: StickServer,
    },
    /// Finds or creates the entry, counts the connection and holds the entry (`track-sc`). Answer: [`Answer::Handle`].
    Track {
        /// The tracked key.
        key: Key,
    },
    /// Ends a [`Request::Track`]: one connection less. Answer: [`Answer::Done`].
    Untrack {
        /// What tracking gave.
        handle: Handle,
    },
    /// Whether there is an entry (`in_table`); it is not refreshed. Answer: [`Answer::Done`].
    Exists {
        /// The key.
        key: Key,
    },
    /// One value; the entry is not refreshed. Answer: [`Answer::Number`].
    Read {
        /// The entry.
        target: Target,
        /// The column; the rates are those of this moment.
        data: DataType,
        /// The element of an array, otherwise 0.
        index: u32,
    },
    /// The whole entry; it is not refreshed. Answer: [`Answer::Rows`] with one row or none.
    ReadRow {
        /// The entry.
        target: Target,
    },
    /// References to the entry (`sc_trackers`, `table_trackers`). Answer: [`Answer::Number`].
    Trackers {
        /// The entry.
        target: Target,
    },
    /// Counts an event; a key without an entry gets one (`sc-inc-gpc`, `src_inc_gpc0`, sessions, requests, bytes). Answer:
    /// [`Answer::Number`] with the counter, or with the rate where only that is stored.
    Count {
        /// The entry.
        target: Target,
        /// What happened.
        event: Event,
        /// How often; bytes for the bytes.
        amount: u64,
    },
    /// Counts the bytes of a tracked session in both directions with one message. Answer: [`Answer::Done`].
    Transfer {
        /// The entry.
        handle: Handle,
        /// Bytes from the client.
        received: u64,
        /// Bytes to the client.
        sent: u64,
    },
    /// Adds to a number in place, not below 0; a key without an entry gets one. Answer: [`Answer::Number`] with the new value.
    Add {
        /// The entry.
        target: Target,
        /// The column.
        data: DataType,
        /// The element of an array, otherwise 0.
        index: u32,
        /// What to add.
        amount: i64,
    },
    /// Writes a number (`sc-set-gpt`, `sc_clr_gpc0`); a key without an entry gets one. Answer: [`Answer::Number`] with the value before.
    Set {
        /// The entry.
        target: Target,
        /// The column.
        data: DataType,
        /// The element of an array, otherwise 0.
        index: u32,
        /// The new value; a rate counts as if so many events had happened just now.
        value: u64,
    },
    /// Creates or refreshes an entry and writes values (`set table`). Answer: [`Answer::Done`], [`Answer::Refused`] without room.
    SetRow {
        /// The key.
        key: Key,
        /// What to write; the rest stays.
        values: Box<[Cell]>,
    },
    /// A page of entries (`show table`), in no particular order. Answer: [`Answer::Rows`].
    Page {
        /// Where to go on: 0 at first, then what the last answer said.
        cursor: u32,
        /// Most rows of the answer.
        limit: u32,
        /// Which entries.
        filter: Filter,
    },
    /// Removes the entry of a key, unless it is tracked (`clear table NAME key`). Answer: [`Answer::Done`].
    RemoveKey {
        /// The key.
        key: Key,
    },
    /// Removes entries that are not tracked (`clear table`), in steps like [`Request::Page`]. Answer: [`Answer::Removed`].
    Remove {
        /// Where to go on: 0 at first, then what the last answer said.
        cursor: u32,
        /// Most entries to remove in this step.
        limit: u32,
        /// Which entries.
        filter: Filter,
    },
    /// Puts an entry of a snapshot back, unless the key has a newer one. Rows should come oldest first. Answer: [`Answer::Done`].
    Restore {
        /// The entry as [`Answer::Rows`] gave it.
        row: Box<Row>,
    },
}

/// What a share answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The server there, if the entry has one.
    Server(Option<StickServer>),
    /// Where the key sticks to from now on.
    Claimed {
        /// The winner, of this session or of the one that was faster.
        server: StickServer,
        /// Whether it is this session's; only then may it be withdrawn.
        won: bool,
    },
    /// The tracked entry; `None` when the table has no room.
    Handle(Option<Handle>),
    /// A value; `None` without entry or column.
    Number(Option<i64>),
    /// Whether it was done, or is so.
    Done(bool),
    /// The table is full and nothing may be purged.
    Refused,
    /// Entries.
    Rows(Box<Page>),
    /// Entries are gone.
    Removed {
        /// How many in this step.
        count: u32,
        /// Where to go on; `None` at the end.
        next: Option<u32>,
    },
}

/// Some entries of a share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The entries.
    pub rows: Vec<Row>,
    /// Where to go on; `None` at the end. A page may be short, even empty, before the end: the work of one step is bounded.
    pub next: Option<u32>,
}

/// One entry as `show table` and snapshots see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its key.
    pub key: Key,
    /// Sessions that track it (`use=`).
    pub references: u32,
    /// Milliseconds until it expires (`exp=`); `None` when the table's entries do not.
    pub remaining_ms: Option<u64>,
    /// Milliseconds since its last use.
    pub idle_ms: u64,
    /// Its values in the order of `show table`, each array element by itself.
    pub cells: Vec<Cell>,
}

/// One value of an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The column.
    pub data: DataType,
    /// The element of an array, otherwise 0.
    pub index: u32,
    /// What it holds.
    pub value: Value,
}

/// The value of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, or the rate of this moment.
    Number(u64),
    /// The name of a server, if there is one (`server_key`).
    Name(Option<Arc<str>>),
}

/// Which entries a command means: those that meet all conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// At most [`CONDITIONS_MAX`]; more are not looked at. Without any, all entries are meant. A column that is not stored meets none.
    pub conditions: Vec<Condition>,
}

/// `data.COLUMN OPERATOR VALUE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The column.
    pub data: DataType,
    /// The element of an array, otherwise 0.
    pub index: u32,
    /// How to compare the entry's value with `value`.
    pub operator: Operator,
    /// The command's number.
    pub value: i64,
}

/// How a [`Condition`] compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `eq`
    Equal,
    /// `ne`
    NotEqual,
    /// `le`
    LessOrEqual,
    /// `ge`
    GreaterOrEqual,
    /// `lt`
    Less,
    /// `gt`
    Greater,
}

impl Event {
    /// The counter, the rate and the element in which it counts.
    pub const fn columns(self) -> (DataType, DataType, u32) {
        match self {
            Self::Session => (DataType::SessCnt, DataType::SessRate, 0),
            Self::HttpRequest => (DataType::HttpReqCnt, DataType::HttpReqRate, 0),
            Self::HttpError => (DataType::HttpErrCnt, DataType::HttpErrRate, 0),
            Self::HttpFail => (DataType::HttpFailCnt, DataType::HttpFailRate, 0),
            Self::Glitch => (DataType::GlitchCnt, DataType::GlitchRate, 0),
            Self::BytesIn => (DataType::BytesInCnt, DataType::BytesInRate, 0),
            Self::BytesOut => (DataType::BytesOutCnt, DataType::BytesOutRate, 0),
            Self::Gpc0 => (DataType::Gpc0, DataType::Gpc0Rate, 0),
            Self::Gpc1 => (DataType::Gpc1, DataType::Gpc1Rate, 0),
            Self::Gpc(index) => (DataType::Gpc, DataType::GpcRate, index),
        }
    }
}

impl Operator {
    /// From the command's word.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "eq" => Self::Equal,
            "ne" => Self::NotEqual,
            "le" => Self::LessOrEqual,
            "ge" => Self::GreaterOrEqual,
            "lt" => Self::Less,
            "gt" => Self::Greater,
            _ => return None,
        })
    }

    /// Whether `left OPERATOR right` holds.
    pub fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::LessOrEqual => left <= right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::Greater => left > right,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_small_and_travel() {
        fn travels<T: Send + 'static>() {}
        travels::<Request>();
        travels::<Answer>();
        assert!(size_of::<Key>() <= 40);
        assert!(size_of::<Request>() <= 96, "{}", size_of::<Request>());
        assert!(size_of::<Answer>() <= 40, "{}", size_of::<Answer>());
    }
}
