//! Stick tables: what a `stick-table` line declares (HAProxy manual, `stick-table`).
//!
//! Written by the configuration checker, read by each shard to lay out its share of the table (`policy::table`), by `show table` and by
//! the fetches that read columns. The entries themselves are never in here: they outlive models.

use std::sync::Arc;

use crate::id::TableId;
use crate::time::Milliseconds;

/// Most elements of an array column (`gpc`, `gpc_rate`, `gpt`), as in HAProxy.
pub const ARRAY_LENGTH_MAX: u32 = 100;

/// Bytes of a string key when `len` is not given: HAProxy 2.6 keeps 31, although its manual says 32; with `len N` it keeps N.
pub const STRING_LENGTH_DEFAULT: u32 = 31;

/// Bytes of a binary key when `len` is not given.
pub const BINARY_LENGTH_DEFAULT: u32 = 32;

/// One stick table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name of the proxy or the peers-free section that declares it; by this name it outlives reloads.
    pub name: Arc<str>,
    /// What its keys are (`type`).
    pub key: KeyType,
    /// Most entries over all shards (`size`), at least 1.
    pub size: u32,
    /// Life of an entry after its last use (`expire`); without it entries stay until the table is full.
    pub expire: Option<Milliseconds>,
    /// New entries are refused when the table is full (`nopurge`); otherwise the oldest entry makes room.
    pub no_purge: bool,
    /// The table that takes a copy of what is learned from elsewhere (`write-to`).
    pub write_to: Option<TableId>,
    /// What is stored with each key (`store`), each data type at most once.
    pub columns: Vec<Column>,
}

impl Table {
    /// The column of this data type, if it is stored.
    pub fn column(&self, data: DataType) -> Option<&Column> {
        self.columns.iter().find(|column| column.data == data)
    }

    /// Adds a column without a period, if it is not there yet: a `stick` rule needs `server_id` and `server_key` without a `store`.
    pub fn require(&mut self, data: DataType) {
        if self.column(data).is_none() {
            self.columns.push(Column { data, period: None, length: 1 });
        }
    }
}

/// What the keys of a table are (`type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// IPv4 addresses (`ip`).
    Ip,
    /// IPv6 addresses (`ipv6`); IPv4 addresses are stored mapped.
    Ipv6,
    /// 32-bit numbers (`integer`).
    Integer,
    /// Texts, cut after `length` bytes (`string len N`).
    String {
        /// Most bytes of a key, at least 1.
        length: u32,
    },
    /// Blocks of exactly `length` bytes, cut or filled with zeros (`binary len N`).
    Binary {
        /// Bytes of each key, at least 1.
        length: u32,
    },
}

impl KeyType {
    /// HAProxy's word for it, as in `type WORD` and in the heading of `show table`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ipv6 => "ipv6",
            Self::Integer => "integer",
            Self::String { .. } => "string",
            Self::Binary { .. } => "binary",
        }
    }
}

/// One stored data type with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// What is stored.
    pub data: DataType,
    /// The period of a rate; `None` for everything else.
    pub period: Option<Milliseconds>,
    /// Elements of an array, 1 to [`ARRAY_LENGTH_MAX`]; 1 for everything else.
    pub length: u32,
}

/// How the values of a data type are stored and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataClass {
    /// An unsigned 32-bit number: a counter or a tag. It stays at its largest value instead of starting over.
    Number,
    /// An unsigned 64-bit counter.
    Large,
    /// Events per period.
    Rate,
    /// The identity of a server: a number (`server_id`).
    ServerId,
    /// The identity of a server: its name (`server_key`).
    ServerKey,
}

macro_rules! data_types {
    ($($variant:ident $name:literal $class:ident $array:literal $doc:literal,)*) => {
        /// A data type that a table may store; the order is the one in which HAProxy's `show table` prints them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DataType {
            $(#[doc = $doc] $variant,)*
        }

        impl DataType {
            /// All of them, in the order of `show table`.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in `store NAME`, `data.NAME` and `show table`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How its values are stored.
            pub const fn class(self) -> DataClass {
                match self { $(Self::$variant => DataClass::$class,)* }
            }

            /// Whether it is an array, so that `store NAME(LENGTH)` needs a length.
            pub const fn is_array(self) -> bool {
                match self { $(Self::$variant => $array,)* }
            }

            /// One line for `--help-keyword`.
            pub const fn documentation(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

data_types! {
    ServerId "server_id" ServerId false "Number of the server that the key sticks to.",
    Gpt0 "gpt0" Number false "General purpose tag.",
    Gpc0 "gpc0" Number false "First general purpose counter.",
    Gpc0Rate "gpc0_rate" Rate false "Increments of the first general purpose counter per period.",
    ConnCnt "conn_cnt" Number false "Connections received.",
    ConnRate "conn_rate" Rate false "Connections received per period.",
    ConnCur "conn_cur" Number false "Connections open now.",
    SessCnt "sess_cnt" Number false "Sessions: connections that the layer 4 rules accepted.",
    SessRate "sess_rate" Rate false "Sessions per period.",
    HttpReqCnt "http_req_cnt" Number false "HTTP requests received, valid or not.",
    HttpReqRate "http_req_rate" Rate false "HTTP requests received per period.",
    HttpErrCnt "http_err_cnt" Number false "HTTP requests that the client did wrong: invalid, denied, or answered with 4xx.",
    HttpErrRate "http_err_rate" Rate false "Wrong HTTP requests per period.",
    BytesInCnt "bytes_in_cnt" Large false "Bytes received from the client.",
    BytesInRate "bytes_in_rate" Rate false "Bytes received from the client per period.",
    BytesOutCnt "bytes_out_cnt" Large false "Bytes sent to the client.",
    BytesOutRate "bytes_out_rate" Rate false "Bytes sent to the client per period.",
    Gpc1 "gpc1" Number false "Second general purpose counter.",
    Gpc1Rate "gpc1_rate" Rate false "Increments of the second general purpose counter per period.",
    ServerKey "server_key" ServerKey false "Name of the server that the key sticks to.",
    HttpFailCnt "http_fail_cnt" Number false "HTTP requests that failed on the server's side: 5xx except 501 and 505.",
    HttpFailRate "http_fail_rate" Rate false "Failed HTTP requests per period.",
    Gpt "gpt" Number true "Array of general purpose tags.",
    Gpc "gpc" Number true "Array of general purpose counters.",
    GpcRate "gpc_rate" Rate true "Increments of an array of general purpose counters per period.",
    GlitchCnt "glitch_cnt" Number false "Protocol glitches of the client.",
    GlitchRate "glitch_rate" Rate false "Protocol glitches of the client per period.",
}

impl DataType {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The data type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|data| data.name() == name)
    }

    /// Whether it is a rate, so that `store NAME(PERIOD)` needs a period.
    pub const fn has_period(self) -> bool {
        matches!(self.class(), DataClass::Rate)
    }

    /// Its place in [`DataType::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The array that excludes this data type from a table and serves its fetches and actions instead (`gpc0` is element 0 of `gpc`),
    /// with the element.
    pub const fn array(self) -> Option<(Self, u32)> {
        match self {
            Self::Gpt0 => Some((Self::Gpt, 0)),
            Self::Gpc0 => Some((Self::Gpc, 0)),
            Self::Gpc1 => Some((Self::Gpc, 1)),
            Self::Gpc0Rate => Some((Self::GpcRate, 0)),
            Self::Gpc1Rate => Some((Self::GpcRate, 1)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_type_is_found_by_its_name_and_place() {
        for (place, data) in DataType::ALL.iter().copied().enumerate() {
            assert_eq!((DataType::from_name(data.name()), data.index()), (Some(data), place));
            assert_eq!(data.has_period(), data.name().ends_with("_rate"), "{}", data.name());
            assert!(data.array().is_none_or(|(array, _)| array.is_array() && array.class() == data.class()));
        }
        assert_eq!(DataType::from_name("gpc2"), None);
    }

    #[test]
    fn a_required_column_is_added_once() {
        let mut table =
            Table { name: "b".into(), key: KeyType::Integer, size: 1, expire: None, no_purge: false, write_to: None, columns: Vec::new() };
        table.require(DataType::ServerId);
        table.require(DataType::ServerId);
        assert_eq!(table.columns, [Column { data: DataType::ServerId, period: None, length: 1 }]);
    }
}
