//! Expressions compiled at load: a fetch and its converters, with arguments checked and names resolved (HAProxy manual sections 7.1 to 7.3).
//!
//! The configuration's parser builds them from the registries in `policy::expression`, which also runs them. Nothing here evaluates.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::pattern::{Map, Regex};
use crate::{BackendId, FrontendId, Milliseconds, ServerId, TableId};

/// Types of values, with HAProxy's names (manual section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleType {
    /// Whatever comes: input of converters that take everything.
    Any,
    /// Output of converters that give back the type that came in.
    Same,
    /// `boolean`.
    Boolean,
    /// `integer`, 64 bits with sign.
    Integer,
    /// An address of either family.
    Address,
    /// `ipv4`.
    Ipv4,
    /// `ipv6`.
    Ipv6,
    /// `string`.
    String,
    /// `binary`.
    Binary,
}

impl SampleType {
    /// The name that messages use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Same => "same",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Address => "address",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::String => "string",
            Self::Binary => "binary",
        }
    }

    /// Whether a value of this type can be turned into the other at all (manual section 7.2, table of casts). A cast that exists may still
    /// fail on a value, as text that is no address does.
    pub const fn casts_to(self, to: Self) -> bool {
        use SampleType as T;
        matches!(
            (self, to),
            (_, T::Any | T::Same)
                | (T::Any | T::Same, _)
                | (T::Boolean, T::Boolean | T::Integer | T::String | T::Binary)
                | (T::Integer, T::Boolean | T::Integer | T::Ipv4 | T::Address | T::Ipv6 | T::String | T::Binary)
                | (T::Address, T::Address | T::Ipv4 | T::Ipv6 | T::Boolean | T::Integer | T::String | T::Binary)
                | (T::Ipv4, T::Boolean | T::Ipv4 | T::Ipv6 | T::Address | T::Integer | T::String | T::Binary)
                | (T::Ipv6, T::Ipv6 | T::Ipv4 | T::Address | T::String | T::Binary)
                | (T::String, T::String | T::Integer | T::Boolean | T::Ipv4 | T::Ipv6 | T::Address | T::Binary)
                | (T::Binary, T::Binary | T::String)
        )
    }
}

/// A fetch and the converters behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// As written, blanks after commas taken out; for messages and `convert`.
    pub source: Arc<str>,
    /// What is fetched: an entry of `policy::expression::FETCHES`.
    pub fetch: Call,
    /// What is done with it, in order: entries of `policy::expression::CONVERTERS`.
    pub converters: Box<[Call]>,
    /// The type of the result as far as it is known at load.
    pub output: SampleType,
    /// What the evaluation looks at.
    pub needs: Needs,
}

/// One entry of a registry with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Index into the registry.
    pub entry: u16,
    /// Its arguments; those not given are `Absent` or missing at the end.
    pub arguments: Box<[Argument]>,
}

/// A checked argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Left out.
    Absent,
    /// A number, also of times (milliseconds) and sizes (bytes).
    Integer(i64),
    /// Text.
    Text(Arc<str>),
    /// An IPv4 address or mask.
    Ipv4(Ipv4Addr),
    /// An IPv6 address or mask.
    Ipv6(Ipv6Addr),
    /// A duration.
    Time(Milliseconds),
    /// A frontend.
    Frontend(FrontendId),
    /// A backend.
    Backend(BackendId),
    /// A server.
    Server(ServerId),
    /// A stick table.
    Table(TableId),
    /// A variable.
    Variable(Variable),
    /// A regular expression.
    Regex(Regex),
    /// The contents of a map file.
    Map(Arc<Map>),
}

/// A variable's place (manual section 2.8): names are resolved at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variable {
    /// How long it lives.
    pub scope: Scope,
    /// Index into `Model::variables`, one numbering for all scopes.
    pub slot: u16,
}

/// Life of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `proc`: the process, over reloads.
    Process,
    /// `sess`: the client's connection.
    Session,
    /// `txn`: one request with its response; in tcp mode the connection's.
    Transaction,
    /// `req`: while the request is processed.
    Request,
    /// `res`: while the response is processed.
    Response,
    /// `check`: one health check.
    Check,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 6] = [Self::Process, Self::Session, Self::Transaction, Self::Request, Self::Response, Self::Check];

    /// The prefix of names in this scope, without the dot.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "proc",
            Self::Session => "sess",
            Self::Transaction => "txn",
            Self::Request => "req",
            Self::Response => "res",
            Self::Check => "check",
        }
    }
}

/// What an evaluation looks at: decides where an expression may stand and what a session must keep for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u16);

impl Needs {
    /// Nothing of the session.
    pub const NOTHING: Self = Self(0);
    /// The client's address.
    pub const CLIENT_ADDRESS: Self = Self(1);
    /// The address that the client connected to.
    pub const LOCAL_ADDRESS: Self = Self(2);
    /// Bytes that the client sent.
    pub const REQUEST: Self = Self(4);
    /// Bytes that the server sent.
    pub const RESPONSE: Self = Self(8);
    /// Stick tables: the evaluation may have to ask another shard.
    pub const TABLE: Self = Self(16);
    /// The chosen backend.
    pub const BACKEND: Self = Self(32);
    /// The chosen server and the connection to it.
    pub const SERVER: Self = Self(64);
    /// The finished session: log lines only.
    pub const END: Self = Self(128);

    /// MQTT's first packets: whoever asks wants MQTT's statistics, too.
    pub const MQTT: Self = Self(256);

    /// The last rule that ended a set of content rules.
    pub const LAST_RULE: Self = Self(1024);

    /// Both together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any of the other's needs is among these.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
