//! Stick tables and process-wide variables as all threads see them. The entries of a table are with the shards: each owns the keys that
//! hash to it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_utils::CachePadded;
use ringmain_model::table::Table;
use ringmain_policy::expression::Value;

/// A stick table; its identity over reloads is its name with the type of its keys.
#[derive(Debug)]
pub struct TableLive {
    /// Its name.
    pub name: Arc<str>,
    /// Unlike that of any other table of the process.
    pub identity: u64,
    /// Entries of each shard. Written by their shard.
    pub used: Box<[CachePadded<AtomicU32>]>,
    config: Mutex<Arc<Table>>,
}

impl TableLive {
    /// A table without entries.
    pub fn new(identity: u64, shards: usize, config: Arc<Table>) -> Self {
        let used = (0..shards).map(|_| CachePadded::default()).collect();
        Self { name: config.name.clone(), identity, used, config: Mutex::new(config) }
    }

    /// The settings of the current generation. The lock is held for the copy of a pointer.
    pub fn config(&self) -> Arc<Table> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the settings of a new generation; shards apply them when they adopt it.
    pub fn configure(&self, config: Arc<Table>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Entries over all shards.
    pub fn entries(&self) -> u32 {
        self.used.iter().map(|used| used.load(Ordering::Relaxed)).fold(0, u32::saturating_add)
    }
}

/// A variable of scope `proc`; its identity over reloads is its name.
#[derive(Debug, Default)]
pub struct ProcessVariable {
    value: Mutex<Option<Value<'static>>>,
}

impl ProcessVariable {
    /// A copy of its value. The lock is held for the copy.
    pub fn get(&self) -> Option<Value<'static>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets or removes its value.
    pub fn set(&self, value: Option<Value<'static>>) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}
