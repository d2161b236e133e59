//! Which server gets the next connection: every `balance` method of HAProxy (manual section 4.2) as one immutable [`Picker`] per backend.
//!
//! The control thread builds a picker whenever a server comes, goes or changes weight, and publishes it to all shards, which call
//! [`Picker::pick`] for each connection. What changes with every connection (the ticket, the loads) stays outside and is passed in. Nothing
//! here allocates while picking, reads a clock, or keeps count of anything.

pub(crate) mod hash;
mod map;
mod ring;
mod schedule;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use ringmain_model::{Backend, Balance, Hash, HashMethod};

pub use hash::{hash_address, hash_key};
use ring::Ring;
use schedule::Schedule;

/// Sixteenths of its weight that a server has when it is not in slow start.
pub const FULL_THROTTLE: u32 = 16;

/// The effective weight of a server of weight 256 at full throttle.
pub const MAX_EFFECTIVE_WEIGHT: u32 = 256 * FULL_THROTTLE;

/// Saturated servers passed over by ticket before a picker looks for a free one directly.
const TICKETS_PER_PICK: usize = 8;

/// What a picker must know of one server; its index is its position in the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerView {
    /// HAProxy's server id, unique in the backend: it places the server on the ring and orders `first`.
    pub id: u32,
    /// May take new connections: running, neither in maintenance nor draining. A weight of 0 makes it unusable too.
    pub usable: bool,
    /// `backup`.
    pub backup: bool,
    /// Weight as configured, 0 to 256.
    pub configured_weight: u16,
    /// Weight now in force (`set server ... weight`), 0 to 256.
    pub weight: u16,
    /// Sixteenths of the weight that slow start allows now, 1 to 16.
    pub throttle: u8,
}

impl ServerView {
    /// Weight in sixteenths, slow start applied; 0 to 4096.
    pub fn effective_weight(&self) -> u32 {
        u32::from(self.weight.min(256)) * u32::from(self.throttle).clamp(1, FULL_THROTTLE)
    }

    fn takes_connections(&self) -> bool {
        self.usable && self.weight > 0
    }
}

/// How busy a server is at the moment of a pick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections it serves.
    pub active: u32,
    /// Connections waiting for this very server.
    pub queued: u32,
    /// Its dynamic maxconn (see [`crate::queue::dynamic_limit`]); 0 is without limit.
    pub limit: u32,
    /// `maxqueue`; only `leastconn` looks at it.
    pub queue_limit: u32,
    /// When its load last changed, as any number that grows (taking it from the backend's ticket will do); 0 if not kept. Among equally
    /// loaded servers `leastconn` takes the one that changed longest ago.
    pub changed: u64,
}

impl Load {
    /// A free slot and nobody waiting for it.
    fn is_free(&self) -> bool {
        self.limit == 0 || (self.queued == 0 && self.active < self.limit)
    }
}

/// What a hashing method hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// Nothing to hash: hashing methods take turns instead.
    None,
    /// The client's address (`balance source`).
    Address(IpAddr),
    /// A key of bytes, hashed with the function of `hash-type`.
    Bytes(&'a [u8]),
}

/// What a pick depends on besides the picker.
pub struct Input<'a, L, R> {
    /// The backend's ticket, shared by all shards and kept across pickers.
    pub ticket: &'a AtomicU64,
    /// Key of hashing methods.
    pub key: Key<'a>,
    /// The load of the server at a position of the backend.
    pub load: L,
    /// A source of uniform random numbers.
    pub random: R,
    /// The server that just failed this connection: avoided when there is another.
    pub exclude: Option<usize>,
}

/// The outcome of a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The server at this position of the backend. Hashing methods choose it even when it is full: the connection then waits for it.
    Server(usize),
    /// All usable servers are full: the connection waits in the backend's queue.
    Full,
    /// No server is usable.
    NoServer,
}

impl Choice {
    /// The position of the chosen server.
    pub fn server(self) -> Option<usize> {
        match self {
            Self::Server(index) => Some(index),
            Self::Full | Self::NoServer => None,
        }
    }
}

/// How one backend chooses, for one state of its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picker {
    method: Method,
    hash: Hash,
    /// Positions of the servers in use, with effective weight; in file order, by id for `first`.
    members: Box<[(u32, u32)]>,
    /// Ticket at which the schedule's turn 0 was or would have been.
    origin: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Method {
    Nobody,
    /// The first backup server, alone in use: taken whatever its load.
    OnlyBackup(usize),
    Turns(Schedule),
    Least,
    First,
    /// A hash is taken as the number of a turn, which repeat with the map's length.
    HashMap(Schedule),
    HashRing(Ring),
    Random(Ring, u32),
}

impl Picker {
    /// A picker for `servers`, listed in the order of the backend. Backup servers are used only when no other is usable, and then only the
    /// first one unless `option allbackups`, as the manual says (HAProxy 2.6's fixed maps use others too when their weights differ).
    pub fn build(backend: &Backend, servers: &[ServerView]) -> Self {
        let (members, single_backup) = servers_in_use(servers, backend.options.all_backups);
        let full_map = || {
            let weights: Vec<(u32, u32)> = members.iter().map(|&index| (index, u32::from(servers[index as usize].weight))).collect();
            map::build(&weights, servers.iter().map(|server| u32::from(server.configured_weight)))
        };
        let weighted = || members.iter().map(|&index| (index, servers[index as usize].effective_weight())).collect::<Vec<_>>();
        let full_ring = || Ring::new(weighted().into_iter().map(|(index, weight)| (index, servers[index as usize].id, weight)));
        let method = match (backend.balance, single_backup) {
            _ if members.is_empty() => Some(Method::Nobody),
            // The fixed map and random's draw do check the load of a lone backup server; the others do not.
            (Balance::StaticRoundRobin, _) => Schedule::repeat(full_map()).map(Method::Turns),
            (Balance::Random { draws }, _) => full_ring().map(|ring| Method::Random(ring, draws.max(1))),
            (_, Some(index)) => Some(Method::OnlyBackup(index)),
            (Balance::RoundRobin, None) => Schedule::smooth(&weighted()).map(Method::Turns),
            (Balance::LeastConnections, None) => Some(Method::Least),
            (Balance::First, None) => Some(Method::First),
            (Balance::Source | Balance::Hash, None) => match backend.hash.method {
                HashMethod::MapBased => Schedule::repeat(full_map()).map(Method::HashMap),
                HashMethod::Consistent => full_ring().map(Method::HashRing),
            },
        };
        let mut members = weighted();
        if backend.balance == Balance::First {
            members.sort_by_key(|&(index, _)| servers[index as usize].id);
        }
        Self { method: method.unwrap_or(Method::Nobody), hash: backend.hash, members: members.into(), origin: 0 }
    }

    /// This picker in place of `previous`, whose backend's ticket stands at `ticket`: turns go on with the server that is due, so that a
    /// change of servers or weights does not favour the first in the file.
    pub fn continue_from(mut self, previous: &Picker, ticket: u64) -> Self {
        self.origin = match (self.turns(), previous.turns()) {
            (Some(new), Some(old)) if new == old => previous.origin,
            (Some(new), Some(old)) => ticket.wrapping_sub(new.resume(old, ticket.wrapping_sub(previous.origin))),
            _ => ticket,
        };
        self
    }

    /// Whether any server is usable.
    pub fn has_servers(&self) -> bool {
        !matches!(self.method, Method::Nobody)
    }

    /// Chooses the server for a connection. Never allocates. O(1) for methods that take turns while servers are free (O(servers) when
    /// most are full), O(1) for map-based hashing, O(log points) for rings, O(servers) for `leastconn` and `first`.
    pub fn pick<L, R>(&self, mut input: Input<'_, L, R>) -> Choice
    where
        L: Fn(usize) -> Load,
        R: FnMut() -> u64,
    {
        match &self.method {
            Method::Nobody => Choice::NoServer,
            Method::OnlyBackup(index) => Choice::Server(*index),
            Method::Turns(schedule) => self.pick_by_turn(schedule, &input),
            Method::Least => self.pick_least(&input),
            Method::First => self.pick_first(&input),
            Method::HashMap(schedule) => match self.hash_of(input.key) {
                Some(hash) => Choice::Server(schedule.at(u64::from(hash))),
                None => self.pick_by_turn(schedule, &input),
            },
            Method::HashRing(ring) => {
                let hash = self.hash_of(input.key).unwrap_or_else(|| (input.random)() as u32);
                Choice::Server(ring.closest(hash, input.exclude))
            }
            Method::Random(ring, draws) => self.pick_random(ring, *draws, &mut input),
        }
    }

    fn turns(&self) -> Option<&Schedule> {
        match &self.method {
            Method::Turns(schedule) | Method::HashMap(schedule) => Some(schedule),
            _ => None,
        }
    }

    fn hash_of(&self, key: Key<'_>) -> Option<u32> {
        match key {
            Key::None => None,
            // HAProxy does not hash when there is nothing to choose from; the result is the same.
            Key::Address(address) => Some(hash_address(self.hash, address)),
            Key::Bytes(bytes) => Some(hash_key(self.hash, bytes)),
        }
    }

    /// The next server by ticket. A server that is full, or excluded, loses its turn.
    fn pick_by_turn<L: Fn(usize) -> Load, R>(&self, schedule: &Schedule, input: &Input<'_, L, R>) -> Choice {
        let mut ticket = 0;
        let mut passed_over = None;
        for _ in 0..TICKETS_PER_PICK {
            // Relaxed: the ticket orders nothing but itself.
            ticket = input.ticket.fetch_add(1, Ordering::Relaxed);
            let server = schedule.at(ticket.wrapping_sub(self.origin));
            if (input.load)(server).is_free() {
                if input.exclude != Some(server) {
                    return Choice::Server(server);
                }
                passed_over = Some(server);
                if self.members.len() == 1 {
                    break;
                }
            }
        }
        // Most servers are full or weigh next to nothing: take any free one, starting at a place that moves on.
        let count = self.members.len();
        let start = (ticket % count as u64) as usize;
        let free = (0..count)
            .map(|step| self.members[(start + step) % count].0 as usize)
            .find(|&server| input.exclude != Some(server) && (input.load)(server).is_free());
        free.or(passed_over)
            .or_else(|| input.exclude.filter(|&server| self.is_free_member(server, &input.load)))
            .map_or(Choice::Full, Choice::Server)
    }

    fn is_free_member(&self, server: usize, load: &impl Fn(usize) -> Load) -> bool {
        self.members.iter().any(|&(member, _)| member as usize == server) && load(server).is_free()
    }

    /// The least connections per weight; among equals the server whose load changed longest ago, then the next by ticket.
    ///
    /// Looks at every server: 80 ns for 3 of them, 6 us for 1,000. Should that ever weigh, a tournament tree over the loads, updated in
    /// O(log servers) by whoever takes or frees a slot, would keep the least loaded at its root.
    fn pick_least<L: Fn(usize) -> Load, R>(&self, input: &Input<'_, L, R>) -> Choice {
        let count = self.members.len();
        let start = (input.ticket.fetch_add(1, Ordering::Relaxed) % count as u64) as usize;
        let mut best: Option<((u64, u64), usize)> = None;
        let mut excluded_is_free = false;
        for step in 0..count {
            let (server, weight) = self.members[(start + step) % count];
            let server = server as usize;
            let load = (input.load)(server);
            let busy = u64::from(load.active) + u64::from(load.queued);
            if load.limit > 0 && busy >= u64::from(load.limit) + u64::from(load.queue_limit) {
                continue;
            }
            if input.exclude == Some(server) {
                excluded_is_free = true;
                continue;
            }
            // One more connection per weight, except that an idle server is as good as any other idle one.
            let key = if busy == 0 { 0 } else { (busy + 1) * u64::from(MAX_EFFECTIVE_WEIGHT) / u64::from(weight.max(1)) };
            if best.is_none_or(|(least, _)| (key, load.changed) < least) {
                best = Some(((key, load.changed), server));
            }
        }
        let chosen = best.map(|(_, server)| server).or(input.exclude.filter(|_| excluded_is_free));
        chosen.map_or(Choice::Full, Choice::Server)
    }

    /// The free server with the smallest id.
    fn pick_first<L: Fn(usize) -> Load, R>(&self, input: &Input<'_, L, R>) -> Choice {
        let mut excluded_is_free = false;
        for &(server, _) in &self.members {
            let server = server as usize;
            if (input.load)(server).is_free() {
                if input.exclude != Some(server) {
                    return Choice::Server(server);
                }
                excluded_is_free = true;
            }
        }
        input.exclude.filter(|_| excluded_is_free).map_or(Choice::Full, Choice::Server)
    }

    /// The least loaded, by weight, of several draws.
    fn pick_random<L: Fn(usize) -> Load, R: FnMut() -> u64>(&self, ring: &Ring, draws: u32, input: &mut Input<'_, L, R>) -> Choice {
        let mut chosen = ring.closest((input.random)() as u32, input.exclude);
        for _ in 1..draws {
            let drawn = ring.closest((input.random)() as u32, input.exclude);
            if drawn != chosen && self.burden(drawn, chosen, &input.load) <= self.burden(chosen, drawn, &input.load) {
                chosen = drawn;
            }
        }
        if (input.load)(chosen).is_free() { Choice::Server(chosen) } else { Choice::Full }
    }

    /// Connections of `server` multiplied by the weight of `other`: what to compare without dividing.
    fn burden(&self, server: usize, other: usize, load: &impl Fn(usize) -> Load) -> u64 {
        // Members are in file order here, so a position is found by bisection.
        let weight = self.members.binary_search_by_key(&(other as u32), |&(member, _)| member).map_or(1, |place| self.members[place].1);
        u64::from(load(server).active) * u64::from(weight)
    }
}

/// The servers in use: all active usable ones, else all usable backup ones or the first of them, which is then also given alone.
fn servers_in_use(servers: &[ServerView], all_backups: bool) -> (Vec<u32>, Option<usize>) {
    let usable = |backup: bool| {
        let chosen = servers.iter().enumerate().filter(move |(_, server)| server.takes_connections() && server.backup == backup);
        chosen.map(|(index, _)| index as u32)
    };
    let active: Vec<u32> = usable(false).collect();
    if !active.is_empty() {
        return (active, None);
    }
    if all_backups {
        return (usable(true).collect(), None);
    }
    let first: Option<u32> = usable(true).next();
    (first.into_iter().collect(), first.map(|index| index as usize))
}

#[cfg(test)]
mod tests;
