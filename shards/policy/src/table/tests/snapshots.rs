//! Tables that are written and read again, whole and damaged.

use super::*;

const COLUMNS: [DataType; 6] =
    [DataType::ServerId, DataType::ServerKey, DataType::Gpc, DataType::BytesInCnt, DataType::ConnRate, DataType::ConnCur];

fn written(table: &Table, share: &mut Share, now_ms: u64) -> Vec<u8> {
    let mut writer = Writer::new(1_000_000);
    writer.table(table);
    let mut bytes = writer.take();
    for chunk in rows(share, now_ms).chunks(10) {
        writer.rows(chunk);
        bytes.extend(writer.take());
    }
    bytes.extend(writer.finish());
    bytes
}

fn filled(table: &Table, entries: u32) -> Share {
    let mut share = Share::new(table, 0, 1, 1);
    for number in 0..entries {
        let now = u64::from(number) * 10;
        share.apply(now, &Request::Store { key: key(number), server: server(1 + number % 5) });
        let target = Target::Key(key(number));
        share.apply(now, &Request::Count { target: target.clone(), event: Event::Gpc(2), amount: 1 << (number % 33) });
        share.apply(now, &Request::Add { target, data: DataType::BytesInCnt, index: 0, amount: 1 << (number % 60) });
    }
    share
}

fn restored(bytes: &[u8], now_ms: u64, table: &Table) -> Share {
    let snapshot = Snapshot::open(bytes, now_ms, std::slice::from_ref(table)).unwrap();
    assert_eq!(snapshot.damage(), None);
    let mut share = Share::new(table, 0, 1, 2);
    for row in snapshot.rows(0) {
        assert_eq!(share.apply(20, &Request::Restore { row: Box::new(row) }), Answer::Done(true));
    }
    share
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|row| row.key.as_bytes().to_vec());
    rows
}

#[test]
fn a_table_comes_back_as_it_was() {
    let table = table(5000, Some(600_000), &COLUMNS);
    let mut share = filled(&table, 3000);
    let held = track(&mut share, 30_000, "17");
    let bytes = written(&table, &mut share, 30_000);
    share.apply(30_000, &Request::Untrack { handle: held });
    let mut again = restored(&bytes, 1_000_000, &table);
    let (mut before, after) = (sorted(rows(&mut share, 30_000)), sorted(rows(&mut again, 20)));
    let rate =
        |row: &mut Row| row.cells.iter_mut().filter(|cell| cell.data == DataType::ConnRate).for_each(|cell| cell.value = Value::Number(1));
    before.iter_mut().filter(|row| row.key == key(17)).for_each(rate);
    assert_eq!(before, after);
    // The order of use came back, too: the oldest expire first.
    assert_eq!(again.next_expiry_ms(), Some(600_000 - 30_000 + 20));
    assert_eq!(again.expire(600_000 - 30_000 + 20 + 95, 100), 10);
}

#[test]
fn time_goes_on_while_nothing_runs() {
    let table = table(5000, Some(20_000), &COLUMNS);
    let mut share = filled(&table, 1000);
    let bytes = written(&table, &mut share, 10_000);
    let again = restored(&bytes, 1_000_000 + 15_000, &table);
    assert_eq!((again.len(), again.next_expiry_ms()), (499, Some(30)));
    assert_eq!(restored(&bytes, 500_000, &table).len(), 1000);
}

#[test]
fn columns_that_are_gone_are_left_out() {
    let old = table(100, Some(600_000), &COLUMNS);
    let bytes = written(&old, &mut filled(&old, 50), 500);
    let mut new = table(100, None, &[DataType::Gpc, DataType::Gpt0, DataType::ConnRate]);
    new.columns[0].length = 2;
    new.columns[2].period = Some(Milliseconds(5));
    let mut again = restored(&bytes, 1_000_000, &new);
    assert_eq!((again.len(), number(&mut again, 30, "7", DataType::Gpc, 1)), (50, Some(0)));
    assert_eq!(again.next_expiry_ms(), None);
    for other in [KeyType::Ip, KeyType::Binary { length: 32 }] {
        assert_eq!(restored(&bytes, 1_000_000, &Table { key: other, ..new.clone() }).len(), 0);
    }
    assert_eq!(restored(&bytes, 1_000_000, &Table { key: KeyType::String { length: 1 }, ..new.clone() }).len(), 10);
    assert_eq!(restored(&bytes, 1_000_000, &Table { name: "u".into(), ..new }).len(), 0);
}

#[test]
fn a_newer_entry_is_not_overwritten() {
    let table = table(100, None, &COLUMNS);
    let bytes = written(&table, &mut filled(&table, 3), 30);
    let mut share = Share::new(&table, 0, 1, 1);
    share.apply(5, &Request::Store { key: key(1), server: server(9) });
    let snapshot = Snapshot::open(&bytes, 0, std::slice::from_ref(&table)).unwrap();
    let answers: Vec<Answer> = snapshot.rows(0).map(|row| share.apply(6, &Request::Restore { row: Box::new(row) })).collect();
    assert_eq!(answers, [true, false, true].map(Answer::Done));
    assert_eq!(share.apply(7, &Request::Match { key: key(1) }), Answer::Server(Some(server(9))));
}

#[test]
fn the_wrong_file_is_told() {
    assert_eq!(Snapshot::open(b"global\n maxconn 5\n", 0, &[]).unwrap_err(), Damage::NotASnapshot);
    assert_eq!(Snapshot::open(b"RINGTABL\x09\0\0\0", 0, &[]).unwrap_err(), Damage::UnknownVersion(9));
    let table = table(100, None, &COLUMNS);
    let bytes = written(&table, &mut filled(&table, 30), 300);
    let cut = Snapshot::open(&bytes[..bytes.len() - 13], 0, std::slice::from_ref(&table)).unwrap();
    assert_eq!((cut.damage(), cut.count(0)), (Some(Damage::Truncated), 30));
}

proptest! {
    #[test]
    fn damage_is_found_and_never_trusted(entries in 1_u32..60, place: prop::sample::Index, change in 1_u8..=255, cut: prop::sample::Index) {
        let table = table(100, Some(600_000), &COLUMNS);
        let mut share = filled(&table, entries);
        let good = rows(&mut share, 700);
        let mut bytes = written(&table, &mut share, 700);
        let place = 12 + place.index(bytes.len() - 12);
        bytes[place] ^= change;
        match Snapshot::open(&bytes, 1_000_000, std::slice::from_ref(&table)) {
            Ok(damaged) => {
                prop_assert!(place >= 28 && damaged.damage().is_some());
                damaged.rows(0).for_each(|row| assert!(good.iter().any(|good| good.key == row.key)));
            }
            Err(damage) => prop_assert!(place < 28 && damage == Damage::Damaged(0)),
        }
        let cut = cut.index(bytes.len());
        if let Ok(cut) = Snapshot::open(&bytes[..cut], 0, std::slice::from_ref(&table)) {
            prop_assert!(cut.damage().is_some());
        }
    }

    #[test]
    fn any_bytes_may_be_opened(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let table = table(100, None, &COLUMNS);
        let whole: Vec<u8> = b"RINGTABL\x01\0\0\0".iter().copied().chain(bytes).collect();
        if let Ok(snapshot) = Snapshot::open(&whole, 0, std::slice::from_ref(&table)) {
            prop_assert_eq!(snapshot.rows(0).count(), snapshot.count(0));
        }
    }
}
