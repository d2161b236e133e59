//! What only some sessions have: variables, tracked entries, captures, addresses that rules or log lines ask for.
//!
//! Stages reach it through `Session::extra`; a session without rules and with a plain log line never has one.

use std::sync::Arc;

use ringmain_model::{Level, Scope, Variable};
use ringmain_policy::expression::Value;
use ringmain_policy::record::Peer;
use ringmain_policy::table::{Handle, Key};

use crate::live::TableLive;
use crate::record::Addresses;
use crate::stick::Sticking;
use crate::view::Answers;

/// Tracked counters of a session (`track-sc0` to `track-sc2`).
const TRACKED: usize = 3;

/// See the module.
#[derive(Default)]
pub(crate) struct Extra {
    pub addresses: Addresses,
    /// The client as rules say it is (`set-src`, `expect-proxy`).
    pub client: Option<Peer>,
    /// The client began with a PROXY protocol header.
    pub had_proxy_header: bool,
    /// The last content rule that ended its set.
    pub last_rule: Option<ringmain_model::Location>,
    /// Where it connected to, as rules say (`set-dst`, `expect-proxy`).
    pub local: Option<Peer>,
    /// Variables by slot, each once: bounded by the configuration.
    variables: Vec<(u16, Value<'static>)>,
    /// Entries by counter, at most one each.
    tracked: Vec<(u8, Tracked)>,
    /// Captured values by slot.
    pub captures: Vec<Option<Box<[u8]>>>,
    /// `set-log-level`; `Some(None)` writes no line.
    pub log_level: Option<Option<Level>>,
    /// `force-persist` holds: servers that are down are used by sessions that stick to them.
    pub forces_persistence: bool,
    /// What stick rules found and are to store; until a server is reached.
    pub sticking: Option<Box<Sticking>>,
    /// Answers of tables for the log line.
    pub log_answers: Option<Box<Answers>>,
    /// Bytes already told to tracked entries, from and to the client.
    pub told: (u64, u64),
}

/// An entry that the session tracks.
#[derive(Clone)]
pub(crate) struct Tracked {
    pub table: Arc<TableLive>,
    pub owner: usize,
    pub handle: Handle,
    pub key: Key,
}

impl Extra {
    /// A variable's value; those of the process are elsewhere.
    pub fn variable(&self, variable: Variable) -> Option<&Value<'static>> {
        self.variables.iter().find(|(slot, _)| *slot == variable.slot).map(|(_, value)| value)
    }

    /// The entry that a counter tracks.
    pub fn tracked(&self, counter: u8) -> Option<&Tracked> {
        self.tracked.iter().find(|(number, _)| *number == counter).map(|(_, tracked)| tracked)
    }

    /// All tracked entries.
    pub fn all_tracked(&self) -> impl Iterator<Item = &Tracked> {
        self.tracked.iter().map(|(_, tracked)| tracked)
    }

    /// Has a counter track an entry, unless it tracks one already.
    pub fn track(&mut self, counter: u8, tracked: Tracked) {
        if usize::from(counter) < TRACKED && self.tracked(counter).is_none() {
            self.tracked.push((counter, tracked));
        }
    }

    /// Tracks nothing any more.
    pub fn untrack(&mut self) {
        self.tracked = Vec::new();
    }

    /// Whether nothing is kept that the rest of the session needs.
    pub fn is_spent(&self) -> bool {
        let Self { addresses, client, had_proxy_header, last_rule, local, variables, tracked, captures, log_level, .. } = self;
        let keeps_address = [addresses.local, addresses.server, addresses.source, *client, *local].iter().any(Option::is_some);
        let keeps_value = !variables.is_empty() || !tracked.is_empty() || !captures.is_empty();
        !(keeps_address || keeps_value || *had_proxy_header || last_rule.is_some() || log_level.is_some())
            && self.sticking.is_none()
            && self.log_answers.is_none()
    }

    /// Sets or removes a variable.
    pub fn set_variable(&mut self, variable: Variable, value: Option<Value<'static>>) {
        self.variables.retain(|(slot, _)| *slot != variable.slot);
        if let Some(value) = value {
            self.variables.push((variable.slot, value));
        }
    }

    /// Forgets the variables of a scope that has ended.
    pub fn end_scope(&mut self, ended: Scope, scope_of: impl Fn(u16) -> Option<Scope>) {
        self.variables.retain(|(slot, _)| scope_of(*slot) != Some(ended));
    }
}
