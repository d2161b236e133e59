//! Tests of the picker that need no HAProxy; `tests/haproxy_choices.rs` compares with the real one.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

fn backend(balance: Balance, hash: Hash) -> Backend {
    Backend { proxy_id: 1, balance, hash, ..Backend::new("b") }
}

fn servers(weights: &[u16]) -> Vec<ServerView> {
    let view = |(index, &weight): (usize, &u16)| ServerView {
        id: index as u32 + 1,
        usable: true,
        backup: false,
        configured_weight: weight,
        weight,
        throttle: 16,
    };
    weights.iter().enumerate().map(view).collect()
}

fn pick(picker: &Picker, ticket: &AtomicU64, load: impl Fn(usize) -> Load, exclude: Option<usize>) -> Choice {
    picker.pick(Input { ticket, key: Key::None, load, random: || 0, exclude })
}

fn idle(_: usize) -> Load {
    Load::default()
}

#[test]
fn threads_share_one_order() {
    let picker = Arc::new(Picker::build(&backend(Balance::RoundRobin, Hash::default()), &servers(&[5, 2, 1])));
    let ticket = AtomicU64::new(0);
    let counts = Mutex::new([0_u32; 3]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let server = pick(&picker, &ticket, idle, None).server().unwrap();
                    counts.lock().unwrap()[server] += 1;
                }
            });
        }
    });
    assert_eq!(*counts.lock().unwrap(), [2500, 1000, 500]);
}

#[test]
fn equal_servers_differ_by_at_most_one() {
    let picker = Picker::build(&backend(Balance::RoundRobin, Hash::default()), &servers(&[1; 7]));
    let ticket = AtomicU64::new(0);
    let mut counts = [0_u32; 7];
    for _ in 0..1000 {
        counts[pick(&picker, &ticket, idle, None).server().unwrap()] += 1;
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
    }
}

#[test]
fn full_and_failed_servers_are_passed_over() {
    let picker = Picker::build(&backend(Balance::RoundRobin, Hash::default()), &servers(&[1, 1, 1]));
    let ticket = AtomicU64::new(0);
    let full = |which: &'static [usize]| {
        move |server: usize| Load { active: if which.contains(&server) { 4 } else { 0 }, limit: 4, ..Load::default() }
    };
    assert_eq!(pick(&picker, &ticket, full(&[0, 1]), None), Choice::Server(2));
    assert_eq!(pick(&picker, &ticket, full(&[0, 1, 2]), None), Choice::Full);
    assert_eq!(pick(&picker, &ticket, full(&[0, 1]), Some(2)), Choice::Server(2), "the failed one is taken if no other is free");
    assert_eq!(pick(&picker, &ticket, full(&[1]), Some(0)), Choice::Server(2));
}

#[test]
fn a_light_free_server_is_found_behind_heavy_full_ones() {
    let picker = Picker::build(&backend(Balance::RoundRobin, Hash::default()), &servers(&[256, 256, 1]));
    let ticket = AtomicU64::new(0);
    let load = |server: usize| Load { active: u32::from(server != 2), limit: 1, ..Load::default() };
    assert_eq!(pick(&picker, &ticket, load, None), Choice::Server(2));
    assert!(ticket.load(std::sync::atomic::Ordering::Relaxed) <= TICKETS_PER_PICK as u64);
}

#[test]
fn backups_serve_only_when_no_other_can() {
    let mut views = servers(&[1, 1, 1, 1]);
    views[2].backup = true;
    views[3].backup = true;
    let mut section = backend(Balance::RoundRobin, Hash::default());
    let used = |section: &Backend, views: &[ServerView]| {
        let (picker, ticket) = (Picker::build(section, views), AtomicU64::new(0));
        (0..8).filter_map(|_| pick(&picker, &ticket, idle, None).server()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(used(&section, &views), [0, 1].into());
    views[0].usable = false;
    assert_eq!(used(&section, &views), [1].into());
    views[1].weight = 0;
    assert_eq!(used(&section, &views), [2].into());
    section.options.all_backups = true;
    assert_eq!(used(&section, &views), [2, 3].into());
    views[2].usable = false;
    views[3].usable = false;
    assert!(!Picker::build(&section, &views).has_servers());
    assert!(used(&section, &views).is_empty());
}

#[test]
fn first_fills_by_id() {
    let mut views = servers(&[1, 1, 1]);
    views[0].id = 30;
    views[1].id = 10;
    views[2].id = 20;
    let picker = Picker::build(&backend(Balance::First, Hash::default()), &views);
    let (ticket, active) = (AtomicU64::new(0), RefCell::new([0_u32; 3]));
    let order: Vec<Choice> = (0..7)
        .map(|_| {
            let choice = pick(&picker, &ticket, |server| Load { active: active.borrow()[server], limit: 2, ..Load::default() }, None);
            choice.server().into_iter().for_each(|server| active.borrow_mut()[server] += 1);
            choice
        })
        .collect();
    let by_id = [1, 1, 2, 2, 0, 0].map(Choice::Server);
    assert_eq!(order[..6], by_id);
    assert_eq!(order[6], Choice::Full);
}

/// Keeps loads as the engine does: with the time of their last change.
struct Loads(RefCell<Vec<Load>>, AtomicU64);

impl Loads {
    fn change(&self, server: usize, by: i32) {
        let stamp = self.1.fetch_add(1, Ordering::Relaxed) + 1;
        let load = &mut self.0.borrow_mut()[server];
        load.active = load.active.saturating_add_signed(by);
        load.changed = stamp;
    }
}

fn least_sequence(weights: &[u16], count: usize, keep: bool) -> String {
    let picker = Picker::build(&backend(Balance::LeastConnections, Hash::default()), &servers(weights));
    let (ticket, loads) = (AtomicU64::new(0), Loads(RefCell::new(vec![Load::default(); weights.len()]), AtomicU64::new(0)));
    let step = |_| {
        let server = pick(&picker, &ticket, |server| loads.0.borrow()[server], None).server().unwrap();
        loads.change(server, 1);
        if !keep {
            loads.change(server, -1);
        }
        char::from(b'a' + server as u8)
    };
    (0..count).map(step).collect()
}

#[test]
fn least_connections_orders_as_haproxy_shows() {
    // Captured from HAProxy 2.6.12 with connections kept open, then with one after the other.
    assert_eq!(least_sequence(&[1, 1, 1], 9, true), "abcabcabc");
    assert_eq!(least_sequence(&[5, 2], 30, true), "abaaabaaabaabaaabaabaaabaabaaa");
    assert_eq!(least_sequence(&[5, 2, 1], 30, true), "abcaaabaaabaacbaaabaacbaaabaac");
    assert_eq!(least_sequence(&[1, 2, 3], 30, true), "abccbccbcabccbcabccbcabccbcabc");
    assert_eq!(least_sequence(&[5, 2, 1], 9, false), "abcabcabc");
}

#[test]
fn least_connections_respects_limits() {
    let picker = Picker::build(&backend(Balance::LeastConnections, Hash::default()), &servers(&[1, 1]));
    let ticket = AtomicU64::new(0);
    let load = |active: [u32; 2]| move |server: usize| Load { active: active[server], limit: 2, queue_limit: 1, ..Load::default() };
    assert_eq!(pick(&picker, &ticket, load([3, 2]), None), Choice::Server(1), "it may queue there");
    assert_eq!(pick(&picker, &ticket, load([3, 3]), None), Choice::Full);
    assert_eq!(pick(&picker, &ticket, load([3, 2]), Some(1)), Choice::Server(1));
    assert_eq!(pick(&picker, &ticket, load([0, 2]), Some(0)), Choice::Server(1));
}

#[test]
fn turns_survive_a_change_of_servers() {
    let section = backend(Balance::RoundRobin, Hash::default());
    let mut views = servers(&[1, 1, 1, 1]);
    let before = Picker::build(&section, &views);
    let ticket = AtomicU64::new(0);
    let next = |picker: &Picker| pick(picker, &ticket, idle, None).server().unwrap();
    assert_eq!([next(&before), next(&before)], [0, 1]);
    views[2].usable = false;
    let without = Picker::build(&section, &views).continue_from(&before, ticket.load(Ordering::Relaxed));
    assert_eq!([next(&without), next(&without), next(&without)], [3, 0, 1]);
    views[2].usable = true;
    let again = Picker::build(&section, &views).continue_from(&without, ticket.load(Ordering::Relaxed));
    assert_eq!(next(&again), 3);
    let same = Picker::build(&section, &views).continue_from(&again, ticket.load(Ordering::Relaxed));
    assert_eq!(next(&same), 0);
}

fn hash_of(method: HashMethod, avalanche: bool) -> Hash {
    Hash { method, avalanche, ..Hash::default() }
}

#[test]
fn consistent_hashing_moves_only_the_keys_of_the_lost_server() {
    let section = backend(Balance::Source, hash_of(HashMethod::Consistent, false));
    let mut views = servers(&[10, 10, 10]);
    let all = Picker::build(&section, &views);
    views[1].usable = false;
    let fewer = Picker::build(&section, &views);
    let ticket = AtomicU64::new(0);
    let choose = |picker: &Picker, key: u32| {
        let bytes = key.to_be_bytes();
        picker.pick(Input { ticket: &ticket, key: Key::Bytes(&bytes), load: idle, random: || 0, exclude: None }).server().unwrap()
    };
    let mut moved = 0;
    for key in 0..2000_u32 {
        let (before, after) = (choose(&all, key.wrapping_mul(0x9e37_79b9)), choose(&fewer, key.wrapping_mul(0x9e37_79b9)));
        assert!(before == 1 || before == after);
        moved += u32::from(before == 1);
    }
    assert!((300..1100).contains(&moved), "{moved} of 2000 keys were on the lost server");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Threads that draw tickets in any interleaving get every turn exactly once, so any mix of shards serves whole rounds exactly.
    #[test]
    fn whole_rounds_are_exact_over_interleaved_shards(weights in prop::collection::vec(0_u16..8, 1..6), order in prop::collection::vec(0_usize..3, 1..50)) {
        let views = servers(&weights);
        let picker = Picker::build(&backend(Balance::RoundRobin, Hash::default()), &views);
        prop_assume!(picker.has_servers());
        let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let ticket = AtomicU64::new(0);
        let mut counts = vec![[0_u64; 3]; weights.len()];
        let mut shards = order.iter().copied().cycle();
        for _ in 0..total * 6 {
            let server = pick(&picker, &ticket, idle, None).server().unwrap();
            counts[server][shards.next().unwrap()] += 1;
        }
        for (server, &weight) in weights.iter().enumerate() {
            let got: u64 = counts[server].iter().sum();
            prop_assert!(got.abs_diff(u64::from(weight) * 6) <= 1, "server {} got {} of {}", server, got, weight * 6);
        }
    }

    /// Whatever the state of the servers: a pick is a usable server, and there is one unless none is usable or all are full.
    #[test]
    fn a_pick_is_always_usable(
        states in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u16..5, 0_u32..3, 0_u32..3), 1..8),
        method in 0_usize..8, seeds in prop::collection::vec(any::<u64>(), 1..20), exclude in prop::option::of(0_usize..8), all_backups: bool,
    ) {
        let balance = [
            Balance::RoundRobin, Balance::StaticRoundRobin, Balance::LeastConnections, Balance::First, Balance::Random { draws: 2 },
            Balance::Random { draws: 0 }, Balance::Source, Balance::Source,
        ][method];
        let hash = hash_of(if method == 6 { HashMethod::MapBased } else { HashMethod::Consistent }, true);
        let mut section = backend(balance, hash);
        section.options.all_backups = all_backups;
        let views: Vec<ServerView> = states.iter().enumerate().map(|(index, &(usable, backup, weight, ..))| ServerView {
            id: 7 * index as u32 + 1, usable, backup, configured_weight: weight, weight, throttle: 16,
        }).collect();
        let picker = Picker::build(&section, &views);
        let load = |server: usize| Load { active: states[server].3, limit: states[server].4, ..Load::default() };
        let ticket = AtomicU64::new(seeds[0]);
        for &seed in &seeds {
            let mut state = seed;
            let random = || { state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407); state >> 32 };
            let address = IpAddr::V4((seed as u32).into());
            match picker.pick(Input { ticket: &ticket, key: Key::Address(address), load, random, exclude }) {
                Choice::Server(server) => prop_assert!(views[server].usable && views[server].weight > 0),
                Choice::NoServer => prop_assert!(!views.iter().any(|view| view.usable && view.weight > 0)),
                Choice::Full => {
                    let active = views.iter().any(|view| view.usable && view.weight > 0 && !view.backup);
                    let in_use = |view: &ServerView| view.usable && view.weight > 0 && view.backup != active;
                    let in_use_and_full = |(view, state): (&ServerView, &(bool, bool, u16, u32, u32))| in_use(view) && state.4 > 0 && state.3 >= state.4;
                    let is_random = matches!(balance, Balance::Random { .. });
                    prop_assert!(is_random || views.iter().zip(&states).any(in_use_and_full));
                }
            }
        }
    }
}
