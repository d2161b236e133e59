//! Queues of sessions that wait for a server's slot: first in, first out across shards, touched only when slots are full.
//!
//! A waiter is granted a slot by whichever shard frees one; the slot is taken before the waiter is told, so a grant is never lost: a waiter
//! that has given up meanwhile refuses it and the slot goes to the next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::ServerLive;
use crate::mailbox::Port;

const WAITING: u8 = 0;
const GRANTED: u8 = 1;
const RETHINK: u8 = 2;
const GONE: u8 = 3;

/// What a waiter was woken with.
#[derive(Debug)]
pub enum Grant {
    /// A slot of this server, already taken on the waiter's behalf.
    Server(Arc<ServerLive>),
    /// The server it waited for is gone: choose again.
    Rethink,
}

/// One waiting session. Shared between its session and the queue it stands in.
#[derive(Debug)]
pub struct Waiter {
    state: AtomicU8,
    granted: OnceLock<Arc<ServerLive>>,
    /// Order of arrival over all queues of the process.
    ticket: u64,
    /// Where the session lives.
    port: Arc<Port>,
    /// The session's place in its shard's table of waiters.
    pub(crate) token: u32,
}

impl Waiter {
    /// A waiter that has not been queued yet.
    pub(crate) fn new(ticket: u64, port: Arc<Port>, token: u32) -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(WAITING), granted: OnceLock::new(), ticket, port, token })
    }

    /// What was granted, if anything was.
    pub fn grant(&self) -> Option<Grant> {
        match self.state.load(Ordering::Acquire) {
            GRANTED => self.granted.get().cloned().map(Grant::Server),
            RETHINK => Some(Grant::Rethink),
            _ => None,
        }
    }

    /// Gives up waiting. A grant that came first is returned and must be used or released.
    pub fn give_up(&self) -> Option<Grant> {
        match self.state.compare_exchange(WAITING, GONE, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => None,
            Err(_) => self.grant(),
        }
    }

    /// Offers the server's slot; `false` when the waiter has gone.
    fn offer(self: &Arc<Self>, server: &Arc<ServerLive>) -> bool {
        if self.state.load(Ordering::Acquire) != WAITING {
            return false;
        }
        let _ = self.granted.set(server.clone());
        self.conclude(GRANTED)
    }

    fn conclude(self: &Arc<Self>, state: u8) -> bool {
        let concluded = self.state.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if concluded {
            self.port.wake(self.clone());
        }
        concluded
    }
}

/// A queue of waiters. Its length is bounded by the process's maxconn, as each waiter is a session.
#[derive(Debug, Default)]
pub struct Queue {
    waiters: Mutex<VecDeque<Arc<Waiter>>>,
    waiting: AtomicU32,
    /// Highest number of waiters.
    pub peak: super::Maximum,
}

impl Queue {
    /// How many wait.
    pub fn len(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a waiter at the end; returns how many were before it.
    pub(crate) fn push(&self, waiter: Arc<Waiter>) -> u32 {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.push_back(waiter);
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        self.peak.raise(before + 1);
        before
    }

    /// Takes out a waiter that gave up.
    pub(crate) fn remove(&self, waiter: &Arc<Waiter>) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(place) = waiters.binary_search_by_key(&waiter.ticket, |other| other.ticket) {
            waiters.remove(place);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        } else if let Some(place) = waiters.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            waiters.remove(place);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The ticket of the first waiter.
    pub(crate) fn first_ticket(&self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.front().map(|waiter| waiter.ticket)
    }

    /// Gives a slot of `server`, already taken, to the first waiter that still waits. `false` when there is none: the slot is still the caller's.
    pub(crate) fn grant(&self, server: &Arc<ServerLive>) -> bool {
        while let Some(waiter) = self.pop() {
            if waiter.offer(server) {
                return true;
            }
        }
        false
    }

    /// Sends all waiters back to choose again (the server went down); returns how many.
    pub fn dissolve(&self) -> u32 {
        let mut sent = 0;
        while let Some(waiter) = self.pop() {
            sent += u32::from(waiter.conclude(RETHINK));
        }
        sent
    }

    fn pop(&self) -> Option<Arc<Waiter>> {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let waiter = waiters.pop_front()?;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(waiter)
    }
}
