//! What a reload keeps.

use super::*;

fn filled(columns: &[DataType], entries: u32) -> Share {
    let mut share = Share::new(&table(10_000, Some(60_000), columns), 0, 1, 1);
    for number in 0..entries {
        share.apply(u64::from(number), &Request::Store { key: key(number), server: server(1 + number % 3) });
        let count = Request::Count { target: Target::Key(key(number)), event: Event::Gpc0, amount: 1 + u64::from(number) };
        share.apply(u64::from(number), &count);
    }
    share
}

#[test]
fn columns_that_stay_keep_their_values() {
    let mut share = filled(&[DataType::ServerKey, DataType::ServerId, DataType::Gpc0, DataType::Gpc0Rate], 2000);
    let handle = track(&mut share, 2000, "7");
    let columns = [DataType::Gpc, DataType::Gpc0, DataType::ConnCur, DataType::ServerKey];
    share.reconfigure(&table(10_000, Some(60_000), &columns), 0, 1);
    assert_eq!(share.len(), 2000);
    for number in (0..2000_u32).rev() {
        let text = number.to_string();
        assert_eq!(super::number(&mut share, 2001, &text, DataType::Gpc0, 0), Some(i64::from(number) + 1));
        assert_eq!(super::number(&mut share, 2001, &text, DataType::Gpc0Rate, 0), None);
        assert_eq!(super::number(&mut share, 2001, &text, DataType::Gpc, 2), Some(0));
        let Answer::Server(Some(found)) = share.apply(2001, &Request::Match { key: key(number) }) else { panic!() };
        assert_eq!((found.id, &*found.name), (0, format!("s{}", 1 + number % 3).as_str()));
    }
    assert_eq!(share.apply(2002, &Request::Untrack { handle }), Answer::Done(true));
    assert_eq!(super::number(&mut share, 2002, "7", DataType::ConnCur, 0), Some(0));
}

#[test]
fn a_column_that_was_away_starts_over() {
    let mut share = filled(&[DataType::ServerKey, DataType::Gpc0], 1000);
    share.reconfigure(&table(10_000, None, &[DataType::Gpt0]), 0, 1);
    share.reconfigure(&table(10_000, None, &[DataType::ServerKey, DataType::Gpc0]), 0, 1);
    for number in 0..1000 {
        assert_eq!(super::number(&mut share, 5000, &number.to_string(), DataType::Gpc0, 0), Some(0));
        assert_eq!(share.apply(5000, &Request::Match { key: key(number) }), Answer::Server(None));
    }
}

#[test]
fn another_period_starts_over_and_a_longer_array_goes_on() {
    let columns = [DataType::Gpc, DataType::GpcRate];
    let mut share = Share::new(&table(10, None, &columns), 0, 1, 1);
    share.apply(1, &Request::Count { target: Target::Key(key("a")), event: Event::Gpc(2), amount: 4 });
    let mut changed = table(10, None, &columns);
    changed.columns[0].length = 5;
    changed.columns[1].period = Some(Milliseconds(9000));
    share.reconfigure(&changed, 0, 1);
    assert_eq!(number(&mut share, 2, "a", DataType::Gpc, 2), Some(4));
    assert_eq!(number(&mut share, 2, "a", DataType::Gpc, 4), Some(0));
    assert_eq!(number(&mut share, 2, "a", DataType::GpcRate, 2), Some(0));
}

#[test]
fn a_smaller_size_lets_the_oldest_go_in_steps() {
    let mut share = filled(&[DataType::Gpc0], 1000);
    share.reconfigure(&table(100, Some(60_000), &[DataType::Gpc0]), 0, 1);
    assert_eq!(share.next_expiry_ms(), Some(999));
    assert_eq!((share.expire(1000, 300), share.len()), (300, 700));
    assert_eq!((share.expire(1000, 1000), share.len()), (600, 100));
    assert_eq!(share.apply(1000, &Request::Exists { key: key(899) }), Answer::Done(false));
    assert_eq!(share.apply(1000, &Request::Exists { key: key(900) }), Answer::Done(true));
}

#[test]
fn a_new_life_counts_for_entries_that_are_there() {
    let mut share = filled(&[DataType::Gpc0], 10);
    share.reconfigure(&table(100, Some(500), &[DataType::Gpc0]), 0, 1);
    assert_eq!((share.next_expiry_ms(), share.expire(504, 100), share.len()), (Some(500), 5, 5));
    share.reconfigure(&table(100, None, &[DataType::Gpc0]), 0, 1);
    assert_eq!((share.next_expiry_ms(), share.expire(5_000_000, 100)), (None, 0));
}

#[test]
fn another_key_type_starts_empty_and_old_handles_hold_nothing() {
    let mut share = filled(&[DataType::Gpc0], 1000);
    let handle = track(&mut share, 1001, "0");
    share.reconfigure(&Table { key: KeyType::Integer, ..table(100, None, &[DataType::Gpc0]) }, 0, 1);
    assert!(share.is_empty());
    assert_eq!(share.next_expiry_ms(), Some(1001));
    assert_eq!(share.expire(1002, 100), 0);
    assert_eq!(share.next_expiry_ms(), None);
    let number = Key::from_integer(0, KeyType::Integer).unwrap();
    let Answer::Handle(Some(other)) = share.apply(1003, &Request::Track { key: number }) else { panic!() };
    assert_ne!(handle, other);
    assert_eq!(share.apply(1003, &Request::Untrack { handle }), Answer::Done(false));
    assert_eq!(share.apply(1003, &Request::Untrack { handle: other }), Answer::Done(true));
}

#[test]
fn keys_survive_every_length() {
    let mut share = filled(&[DataType::Gpc0], 600);
    for length in [64, 16, 8, 128] {
        share.reconfigure(&Table { key: KeyType::String { length }, ..table(10_000, None, &[DataType::Gpc0]) }, 0, 1);
        for number in 0..600_u32 {
            assert_eq!(super::number(&mut share, 700, &number.to_string(), DataType::Gpc0, 0), Some(i64::from(number) + 1));
        }
    }
    let long = "x".repeat(200);
    let cut = Key::from_text(long.as_bytes(), KeyType::String { length: 128 }).unwrap();
    share.apply(701, &Request::SetRow { key: cut.clone(), values: Box::default() });
    assert!(rows(&mut share, 701).iter().any(|row| row.key == cut && row.key.as_bytes().len() == 128));
}
