//! A share against a naive model, and what several sessions at once may see.

mod naive;
mod reconfiguration;
mod snapshots;

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use ringmain_model::Milliseconds;
use ringmain_model::table::{Column, DataType, KeyType, Table};

use super::snapshot::{Damage, Snapshot, Writer};
use super::*;

const STRING: KeyType = KeyType::String { length: 32 };

fn column(data: DataType) -> Column {
    Column { data, period: data.has_period().then_some(Milliseconds(700)), length: if data.is_array() { 3 } else { 1 } }
}

fn table(size: u32, expire_ms: Option<u32>, columns: &[DataType]) -> Table {
    Table {
        name: "t".into(),
        key: STRING,
        size,
        expire: expire_ms.map(Milliseconds),
        no_purge: false,
        write_to: None,
        columns: columns.iter().copied().map(column).collect(),
    }
}

fn key(text: impl ToString) -> Key {
    Key::from_text(text.to_string().as_bytes(), STRING).unwrap()
}

fn server(id: u32) -> StickServer {
    StickServer { id, name: format!("s{id}").into() }
}

/// All rows, a few at a time.
fn rows(share: &mut Share, now_ms: u64) -> Vec<Row> {
    let (mut rows, mut cursor) = (Vec::new(), Some(0));
    while let Some(from) = cursor {
        let Answer::Rows(page) = share.apply(now_ms, &Request::Page { cursor: from, limit: 7, filter: Filter::default() }) else {
            panic!()
        };
        rows.extend(page.rows);
        cursor = page.next;
    }
    rows
}

fn track(share: &mut Share, now_ms: u64, name: &str) -> Handle {
    let Answer::Handle(Some(handle)) = share.apply(now_ms, &Request::Track { key: key(name) }) else { panic!("no room") };
    handle
}

fn number(share: &mut Share, now_ms: u64, name: &str, data: DataType, index: u32) -> Option<i64> {
    match share.apply(now_ms, &Request::Read { target: Target::Key(key(name)), data, index }) {
        Answer::Number(number) => number,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_entry_longest_unused_makes_room() {
    let mut share = Share::new(&table(3, None, &[DataType::ServerId]), 0, 1, 1);
    for (now, name) in [(1, "a"), (2, "b"), (3, "c")] {
        share.apply(now, &Request::Store { key: key(name), server: server(1) });
    }
    share.apply(4, &Request::Match { key: key("a") });
    let held = track(&mut share, 5, "b");
    share.apply(6, &Request::Match { key: key("a") });
    share.apply(7, &Request::Store { key: key("d"), server: server(1) });
    assert_eq!(share.apply(8, &Request::Exists { key: key("c") }), Answer::Done(false));
    // `b` is the oldest now, and stays because it is tracked.
    share.apply(9, &Request::Store { key: key("e"), server: server(1) });
    let mut left: Vec<String> = rows(&mut share, 9).iter().map(|row| row.key.display(STRING).to_string()).collect();
    left.sort();
    assert_eq!(left, ["b", "d", "e"]);
    share.apply(10, &Request::Untrack { handle: held });
    share.apply(11, &Request::Store { key: key("f"), server: server(1) });
    assert_eq!(share.apply(12, &Request::Exists { key: key("b") }), Answer::Done(false));
}

#[test]
fn a_full_table_that_may_not_purge_refuses() {
    let mut share = Share::new(&Table { no_purge: true, ..table(1, Some(100), &[DataType::ServerId]) }, 0, 1, 1);
    share.apply(1, &Request::Store { key: key("a"), server: server(1) });
    assert_eq!(share.apply(2, &Request::Store { key: key("b"), server: server(1) }), Answer::Refused);
    assert_eq!(share.apply(2, &Request::Track { key: key("b") }), Answer::Handle(None));
    assert_eq!(share.apply(101, &Request::Store { key: key("b"), server: server(1) }), Answer::Done(true));
}

#[test]
fn expiry_goes_in_steps_and_is_exact_for_who_asks() {
    let mut share = Share::new(&table(100, Some(1000), &[DataType::ServerId]), 0, 1, 1);
    for number in 0..50 {
        share.apply(number, &Request::Store { key: key(number), server: server(1) });
    }
    assert_eq!((share.next_expiry_ms(), share.expire(999, 100)), (Some(1000), 0));
    assert_eq!((share.expire(1030, 10), share.len()), (10, 40));
    assert_eq!(share.apply(1030, &Request::Exists { key: key(30) }), Answer::Done(false));
    assert_eq!(share.apply(1030, &Request::Exists { key: key(31) }), Answer::Done(true));
    assert_eq!((share.expire(1030, 100), share.next_expiry_ms()), (20, Some(1031)));
    assert_eq!((share.expire(5000, 100), share.next_expiry_ms(), share.is_empty()), (19, None, true));
}

#[test]
fn a_claim_is_withdrawn_only_while_nobody_relies_on_it() {
    let mut share = Share::new(&table(10, None, &[DataType::ServerId, DataType::ServerKey]), 0, 1, 1);
    let claim = |id, expected| Request::Claim { key: key("a"), expected, server: server(id) };
    let withdraw = |id| Request::Withdraw { key: key("a"), server: server(id) };
    assert_eq!(share.apply(1, &claim(1, None)), Answer::Claimed { server: server(1), won: true });
    assert_eq!(share.apply(2, &withdraw(2)), Answer::Done(false));
    assert_eq!((share.apply(2, &withdraw(1)), share.len()), (Answer::Done(true), 0));
    share.apply(3, &claim(1, None));
    assert_eq!(share.apply(3, &claim(2, None)), Answer::Claimed { server: server(1), won: false });
    assert_eq!(share.apply(3, &withdraw(1)), Answer::Done(false));
    // The first server went down: two sessions found it, one of them replaces it.
    assert_eq!(share.apply(4, &claim(2, Some(server(1)))), Answer::Claimed { server: server(2), won: true });
    assert_eq!(share.apply(4, &claim(3, Some(server(1)))), Answer::Claimed { server: server(2), won: false });
    assert_eq!(share.apply(5, &Request::Match { key: key("a") }), Answer::Server(Some(server(2))));
}

#[test]
fn a_servers_name_counts_before_its_number() {
    let mut share = Share::new(&table(10, None, &[DataType::ServerId, DataType::ServerKey]), 0, 1, 1);
    share.apply(1, &Request::Store { key: key("a"), server: server(1) });
    let moved = StickServer { id: 9, name: "s1".into() };
    let answer = share.apply(2, &Request::Claim { key: key("a"), expected: Some(moved), server: server(2) });
    assert_eq!(answer, Answer::Claimed { server: server(2), won: true });
    let only_number = StickServer { id: 2, name: "".into() };
    let answer = share.apply(2, &Request::Claim { key: key("a"), expected: Some(only_number), server: server(3) });
    assert_eq!(answer, Answer::Claimed { server: server(3), won: true });
}

#[test]
fn an_array_serves_the_first_counters() {
    let mut share = Share::new(&table(10, None, &[DataType::Gpc, DataType::GpcRate, DataType::Gpt]), 0, 1, 1);
    let count = |event| Request::Count { target: Target::Key(key("a")), event, amount: 2 };
    assert_eq!(share.apply(1, &count(Event::Gpc1)), Answer::Number(Some(2)));
    assert_eq!(share.apply(1, &count(Event::Gpc(1))), Answer::Number(Some(4)));
    assert_eq!(number(&mut share, 1, "a", DataType::Gpc1, 0), Some(4));
    assert_eq!(number(&mut share, 1, "a", DataType::Gpc1Rate, 0), Some(4));
    assert_eq!(number(&mut share, 1, "a", DataType::Gpc, 3), None);
    assert_eq!(share.apply(1, &count(Event::Gpc(3))), Answer::Number(None));
    assert_eq!(share.apply(1, &Request::Count { target: Target::Key(key("b")), event: Event::Session, amount: 1 }), Answer::Number(None));
    assert_eq!((share.len(), rows(&mut share, 1)[0].cells.len()), (1, 9));
}

#[test]
fn numbers_stop_at_both_ends() {
    let mut share = Share::new(&table(10, None, &[DataType::Gpc0, DataType::BytesInCnt]), 0, 1, 1);
    let add = |data, amount| Request::Add { target: Target::Key(key("a")), data, index: 0, amount };
    assert_eq!(share.apply(1, &add(DataType::Gpc0, 5)), Answer::Number(Some(5)));
    assert_eq!(share.apply(1, &add(DataType::Gpc0, -7)), Answer::Number(Some(0)));
    assert_eq!(share.apply(1, &add(DataType::Gpc0, i64::MAX)), Answer::Number(Some(i64::from(u32::MAX))));
    for _ in 0..3 {
        assert_eq!(share.apply(1, &add(DataType::BytesInCnt, i64::MAX)), Answer::Number(Some(i64::MAX)));
    }
    assert_eq!(share.apply(1, &add(DataType::Gpc0, i64::MIN)), Answer::Number(Some(0)));
}

#[test]
fn commands_find_and_remove_by_value() {
    let mut share = Share::new(&table(1000, None, &[DataType::Gpc0]), 0, 1, 1);
    for number in 0..1000_u32 {
        let values = Box::new([Cell { data: DataType::Gpc0, index: 0, value: Value::Number(u64::from(number % 10)) }]);
        assert_eq!(share.apply(1, &Request::SetRow { key: key(number), values }), Answer::Done(true));
    }
    let held = track(&mut share, 2, "999");
    let condition = Condition { data: DataType::Gpc0, index: 0, operator: Operator::Greater, value: 7 };
    let filter = Filter { conditions: vec![condition] };
    let (mut cursor, mut removed) = (Some(0), 0);
    while let Some(from) = cursor {
        let Answer::Removed { count, next } = share.apply(3, &Request::Remove { cursor: from, limit: 50, filter: filter.clone() }) else {
            panic!()
        };
        assert!(count <= 50);
        (removed, cursor) = (removed + count, next);
    }
    assert_eq!((removed, share.len()), (199, 801));
    assert_eq!(share.apply(3, &Request::RemoveKey { key: key("999") }), Answer::Done(false));
    share.apply(3, &Request::Untrack { handle: held });
    assert_eq!(share.apply(3, &Request::RemoveKey { key: key("999") }), Answer::Done(true));
    assert_eq!(share.apply(3, &Request::Untrack { handle: held }), Answer::Done(false));
}

#[test]
fn owners_share_evenly_and_stay() {
    let mut counts = [0; 3];
    for number in 0..30_000 {
        counts[owner(&key(format!("client-{number}")), 3)] += 1;
    }
    assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");
    // Snapshots of other processes rely on these.
    assert_eq!(["a", "client-1", "10.0.0.1"].map(|text| owner(&key(text), 64)), [57, 2, 45]);
}

proptest! {
    /// Sessions on several shards ask for the same keys; the messages of each keep their order, otherwise they mix freely.
    #[test]
    fn two_sessions_never_get_two_servers(order in prop::collection::vec(0_usize..6, 1..200), names in 1_usize..4, size in 3_u32..6) {
        let mut share = Share::new(&table(size, None, &[DataType::ServerId, DataType::ServerKey]), 0, 1, 7);
        let mut standing: HashMap<String, StickServer> = HashMap::new();
        let mut steps = [0_usize; 6];
        let mut matched: Vec<Option<StickServer>> = vec![None; 6];
        for (now, session) in order.into_iter().enumerate() {
            let name = format!("k{}", session % names);
            if steps[session] % 2 == 0 {
                let Answer::Server(found) = share.apply(now as u64, &Request::Match { key: key(&name) }) else { panic!() };
                matched[session] = found;
            } else {
                let own = server(session as u32 + 1);
                let used = match matched[session].take() {
                    Some(found) => found,
                    None => match share.apply(now as u64, &Request::Claim { key: key(&name), expected: None, server: own }) {
                        Answer::Claimed { server, .. } => server,
                        other => panic!("{other:?}"),
                    },
                };
                prop_assert_eq!(standing.entry(name).or_insert_with(|| used.clone()), &used);
            }
            steps[session] += 1;
        }
    }

    /// Entries that are there from the first page to the last are seen once, whatever comes and goes in between.
    #[test]
    fn pages_miss_nothing_that_stays(initial in 1_u32..1500, changes in prop::collection::vec((0_u32..2000, any::<bool>()), 0..60)) {
        let mut share = Share::new(&table(10_000, None, &[DataType::Gpc0]), 0, 1, 3);
        let create = |number: u32| Request::SetRow { key: key(number), values: Box::default() };
        for number in 0..initial {
            share.apply(1, &create(number));
        }
        let touched: Vec<u32> = changes.iter().map(|(number, _)| *number).collect();
        let (mut seen, mut cursor, mut changes) = (HashMap::<Key, u32>::new(), Some(0), changes.into_iter());
        while let Some(from) = cursor {
            let Answer::Rows(page) = share.apply(2, &Request::Page { cursor: from, limit: 100, filter: Filter::default() }) else { panic!() };
            prop_assert!(page.rows.len() <= 100);
            page.rows.iter().for_each(|row| *seen.entry(row.key.clone()).or_default() += 1);
            cursor = page.next;
            if let Some((number, add)) = changes.next() {
                share.apply(3, &if add { create(number) } else { Request::RemoveKey { key: key(number) } });
            }
        }
        for number in (0..initial).filter(|number| !touched.contains(number)) {
            prop_assert_eq!(seen.get(&key(number)), Some(&1));
        }
    }
}

#[test]
fn names_are_shared() {
    let mut share = Share::new(&table(10, None, &[DataType::ServerKey]), 0, 1, 1);
    let name: Arc<str> = "s1".into();
    for text in ["a", "b", "c"] {
        share.apply(1, &Request::Store { key: key(text), server: StickServer { id: 1, name: name.clone() } });
    }
    // One for the list, one to find it by.
    assert_eq!(Arc::strong_count(&name), 3);
    share.apply(2, &Request::Remove { cursor: 0, limit: 10, filter: Filter::default() });
    share.apply(2, &Request::Store { key: key("a"), server: server(2) });
    assert_eq!(Arc::strong_count(&name), 1);
}
