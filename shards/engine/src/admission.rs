//! Admission: the gates that a connection passes before it is a session (process, frontend, bind, session rate), and the order in which
//! those held back pass them.
//!
//! `listen` calls this for every connection it accepts and for every one it holds. Whoever is held back takes a ticket; the first in each
//! listener's line shows it at the gate that is closed, so that shards take turns in order of arrival and none is starved by another.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmain_model::{BindId, FrontendId};

use crate::live::{Gate, Generation, NOBODY};
use crate::ring;
use crate::shard::{Arrival, Shard};

/// Why a connection may not enter now.
pub(crate) enum Obstacle {
    /// A gate is full or others are before it; it is told when that may have changed.
    Full(Barrier),
    /// The frontend's session rate is used up.
    Rate,
}

/// The gates, by what they guard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barrier {
    Process,
    Frontend,
    Bind,
}

/// Innermost first: one that is turned away further out has not counted there.
const BARRIERS: [Barrier; 3] = [Barrier::Bind, Barrier::Frontend, Barrier::Process];

/// A connection that waits for a gate.
pub(crate) struct Held {
    pub arrival: Arrival,
    ticket: u64,
    /// Where its ticket lies.
    waits_at: Option<Barrier>,
}

impl Held {
    pub fn new(shard: &Shard, arrival: Arrival) -> Self {
        Self { arrival, ticket: shard.process.next_waiter.fetch_add(1, Ordering::Relaxed), waits_at: None }
    }

    /// Passes all gates, or waits at the one in the way. For the first in a listener's line.
    pub fn try_enter(&mut self, shard: &Shard) -> Result<(), Obstacle> {
        loop {
            match enter_with(shard, &self.arrival, self.ticket) {
                Err(Obstacle::Full(barrier)) if self.waits_at == Some(barrier) => return Err(Obstacle::Full(barrier)),
                Err(Obstacle::Full(barrier)) => {
                    self.stop_waiting(shard);
                    gate(shard, &self.arrival, barrier).wait(self.ticket);
                    self.waits_at = Some(barrier);
                    // Whoever was in the way may have gone before the ticket lay there, and told nobody: look once more.
                }
                passed => {
                    self.stop_waiting(shard);
                    return passed;
                }
            }
        }
    }

    fn stop_waiting(&mut self, shard: &Shard) {
        if let Some(barrier) = self.waits_at.take()
            && gate(shard, &self.arrival, barrier).stop_waiting(self.ticket)
        {
            wake_parked(shard);
        }
    }
}

/// Passes all gates or none, as somebody who has just come.
pub(crate) fn enter(shard: &Shard, arrival: &Arrival) -> Result<(), Obstacle> {
    enter_with(shard, arrival, NOBODY)
}

fn enter_with(shard: &Shard, arrival: &Arrival, ticket: u64) -> Result<(), Obstacle> {
    let frontend = arrival.road.generation.frontend(arrival.frontend);
    let rate = arrival.road.frontend(arrival.frontend).rate_limit_sessions;
    if rate != 0 && frontend.session_rate.remaining(ring::now_ms(), rate) == 0 {
        return Err(Obstacle::Rate);
    }
    // Looked at before any is entered, so that places are not taken and given back under the eyes of other shards.
    if let Some(barrier) = BARRIERS.into_iter().find(|&barrier| gate(shard, arrival, barrier).holds_back(ticket)) {
        return Err(Obstacle::Full(barrier));
    }
    for (passed, barrier) in BARRIERS.into_iter().enumerate() {
        if !gate(shard, arrival, barrier).enter() {
            // Another shard was faster. Somebody may have seen the places that are given back here as taken.
            let was_full = BARRIERS[..passed].iter().filter(|&&barrier| gate(shard, arrival, barrier).leave()).count();
            if was_full > 0 {
                wake_parked(shard);
            }
            return Err(Obstacle::Full(barrier));
        }
    }
    frontend.session_rate.add(ring::now_ms(), 1);
    shard.process.session_rate.add(ring::now_ms(), 1);
    Ok(())
}

fn gate<'a>(shard: &'a Shard, arrival: &'a Arrival, barrier: Barrier) -> &'a Gate {
    let generation = &arrival.road.generation;
    match barrier {
        Barrier::Process => &shard.process.sessions,
        Barrier::Frontend => &generation.frontend(arrival.frontend).sessions,
        Barrier::Bind => &generation.bind(arrival.frontend, arrival.bind).sessions,
    }
}

/// Leaves the gates that `enter` passed and tells the shards that wait for them.
pub(crate) fn leave(shard: &Shard, generation: &Arc<Generation>, frontend: FrontendId, bind: BindId) {
    let was_full =
        [generation.bind(frontend, bind).sessions.leave(), generation.frontend(frontend).sessions.leave(), shard.process.sessions.leave()];
    if was_full.contains(&true) {
        wake_parked(shard);
    }
}

/// Has every shard that holds connections try again.
fn wake_parked(shard: &Shard) {
    std::sync::atomic::fence(Ordering::SeqCst);
    for (index, parked) in shard.process.parked.iter().enumerate() {
        match parked.load(Ordering::SeqCst) {
            true if index == shard.index => shard.gate_opened.raise(),
            true => shard.ports[index].ring(),
            false => {}
        }
    }
}
