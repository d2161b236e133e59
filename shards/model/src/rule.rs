//! Conditions and rules (HAProxy manual sections 7.1 and 4.2: `acl`, `tcp-request`, `tcp-response`, `use_backend`, `use-server`, `stick`).
//!
//! The configuration's checker builds them, `policy::rule` decides, the engine acts. Nothing here decides.

use std::sync::Arc;

use crate::expression::{Expression, Variable};
use crate::log_format::LogFormat;
use crate::pattern::Patterns;
use crate::{BackendId, Location, ServerId, TableId};

/// A named ACL with all lines of its name, or an anonymous one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Its name; anonymous ones have none.
    pub name: Option<Arc<str>>,
    /// It holds when one of these does.
    pub tests: Vec<Test>,
}

/// One `acl` line: a value and what it is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The line after the ACL's name, in the grammar of rules; for messages and `convert`.
    pub source: Arc<str>,
    /// The value.
    pub expression: Expression,
    /// What it is compared with.
    pub patterns: Patterns,
}

/// `if` or `unless` and what follows: one of the alternatives must hold, with all its terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// From `if` or `unless` on, in the grammar of rules; for messages and `convert`.
    pub source: Arc<str>,
    /// `unless`.
    pub negated: bool,
    /// Joined by `or`; the terms within each by `and`.
    pub alternatives: Vec<Vec<Term>>,
}

/// An ACL's name in a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// `!` in front.
    pub negated: bool,
    /// The ACL.
    pub acl: Arc<Acl>,
}

/// One rule: what is done, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<A> {
    /// What is done.
    pub action: A,
    /// When; always without one.
    pub condition: Option<Condition>,
    /// Where it stands, for messages.
    pub location: Location,
}

/// Actions of `tcp-request` and `tcp-response` rules. Not every action is allowed in every set of rules; the checker has seen to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `accept`: no further rule of this set.
    Accept,
    /// `reject`: close the connection.
    Reject,
    /// `close` (responses): close the connection to the server.
    Close,
    /// `silent-drop`: forget the connection without telling the client.
    SilentDrop,
    /// `set-var` and `set-var-fmt`.
    SetVariable(Variable, VariableValue, SetWhen),
    /// `unset-var`.
    UnsetVariable(Variable),
    /// `track-sc0` to `track-sc2`.
    Track {
        /// Which of the session's tracked counters.
        counter: u8,
        /// The key.
        key: Expression,
        /// The table.
        table: TableId,
    },
    /// `sc-inc-gpc`, `sc-inc-gpc0`, `sc-inc-gpc1`: index `None` is of the single columns `gpc0` and `gpc1`, given as their digit.
    IncrementCounter(TrackedColumn),
    /// `sc-add-gpc`.
    AddCounter(TrackedColumn, IntegerValue),
    /// `sc-set-gpt`, `sc-set-gpt0`.
    SetTag(TrackedColumn, IntegerValue),
    /// `expect-proxy layer4`.
    ExpectProxy,
    /// `expect-netscaler-cip layer4` is not supported; `capture EXPRESSION len N`.
    Capture {
        /// The value.
        expression: Expression,
        /// Its slot in the log's list of captures.
        slot: u16,
        /// Bytes kept at most.
        length: u32,
    },
    /// `set-src`.
    SetSource(Expression),
    /// `set-src-port`.
    SetSourcePort(Expression),
    /// `set-dst`.
    SetDestination(Expression),
    /// `set-dst-port`.
    SetDestinationPort(Expression),
    /// `set-mark`: SO_MARK of the client's connection.
    SetMark(u32),
    /// `set-tos`: the type-of-service byte towards the client.
    SetTos(u8),
    /// `set-log-level`: `None` is `silent`.
    SetLogLevel(Option<crate::Level>),
    /// `set-nice`: accepted; every session has its turn here.
    SetNice(i16),
    /// `do-log` (HAProxy 3.1): writes a log line now.
    DoLog,
}

/// A cell of a tracked entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackedColumn {
    /// Which of the session's tracked counters, 0 to 2.
    pub counter: u8,
    /// Whether the array form (`gpc(n)`, `gpt(n)`) was asked for.
    pub array: bool,
    /// Index in the array, or the digit of the single column.
    pub index: u8,
}

/// The right-hand side of `set-var`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VariableValue {
    /// `set-var(name)`.
    Expression(Expression),
    /// `set-var-fmt(name)`.
    Format(Arc<LogFormat>),
}

/// Conditions of `set-var(name,condition)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetWhen {
    /// `ifexists` (true) or `ifnotexists` (false).
    pub exists: Option<bool>,
    /// `ifempty` (true) or `ifnotempty` (false): of the value to be set.
    pub empty: Option<bool>,
    /// `ifset` (true) or `ifnotset` (false): of the variable.
    pub set: Option<bool>,
    /// `ifgt` (true) or `iflt` (false): compared with the variable's number.
    pub greater: Option<bool>,
}

/// A number or how to get one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntegerValue {
    /// As written.
    Fixed(i64),
    /// The value of an expression.
    Expression(Expression),
}

/// A target by name, fixed or made of a format string for each session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<Id> {
    /// Known at load.
    Fixed(Id),
    /// `use_backend %[...]`: the name is looked up when the rule applies.
    Format(Arc<LogFormat>),
}

/// A `use_backend` rule's action.
pub type BackendTarget = Target<BackendId>;

/// A `use-server` rule's action.
pub type ServerTarget = Target<ServerId>;

/// The rules of a frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontendRules {
    /// `tcp-request connection`: before anything else is known than addresses.
    pub connection: Vec<Rule<Action>>,
    /// `tcp-request session`: after handshakes.
    pub session: Vec<Rule<Action>>,
    /// `tcp-request content`.
    pub content: Vec<Rule<Action>>,
    /// `tcp-request inspect-delay`; `None` does not wait.
    pub inspect_delay: Option<crate::Milliseconds>,
    /// `use_backend`, in order.
    pub routes: Vec<Rule<BackendTarget>>,
}

/// The rules of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendRules {
    /// `tcp-request content`.
    pub content: Vec<Rule<Action>>,
    /// `tcp-request inspect-delay`; `None` does not wait.
    pub inspect_delay: Option<crate::Milliseconds>,
    /// `tcp-response content`.
    pub response: Vec<Rule<Action>>,
    /// `tcp-response inspect-delay`.
    pub response_inspect_delay: Option<crate::Milliseconds>,
    /// `use-server`, in order.
    pub servers: Vec<Rule<ServerTarget>>,
    /// `stick match`, `stick on`, `stick store-request`, in order.
    pub stick_request: Vec<Rule<Stick>>,
    /// `stick store-response`, in order.
    pub stick_response: Vec<Rule<Stick>>,
    /// `force-persist`: servers that are down are used by matching sessions that stick to them.
    pub force_persist: Vec<Condition>,
    /// `ignore-persist`: for cookies, which tcp mode does not have; kept for `convert`.
    pub ignore_persist: Vec<Condition>,
}

/// One `stick` rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stick {
    /// The key.
    pub key: Expression,
    /// The table.
    pub table: TableId,
    /// `match`, `on`: the server stored under the key is used.
    pub matches: bool,
    /// `store-request`, `on`, `store-response`: the server used is stored under the key.
    pub stores: bool,
}
