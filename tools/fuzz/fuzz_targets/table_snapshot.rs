//! Any bytes as a snapshot of stick tables: no panic, no row that does not fit its table, and what was read can be written and read again.
#![no_main]

use ringmain_model::Milliseconds;
use ringmain_model::table::{Column, DataType, KeyType, Table};
use ringmain_policy::table::snapshot::{Snapshot, Writer};
use ringmain_policy::table::{Answer, Request, Row, Share};
use xxhash_rust::xxh3::xxh3_64;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    open(bytes);
    open(&with_checksums(bytes));
});

fn table(name: &str, key: KeyType, columns: &[DataType]) -> Table {
    let column = |&data: &DataType| Column {
        data,
        period: data.has_period().then_some(Milliseconds(1)),
        length: if data.is_array() { 2 } else { 1 },
    };
    let columns = columns.iter().map(column).collect();
    Table { name: name.into(), key, size: 100, expire: Some(Milliseconds(60_000)), no_purge: false, write_to: None, columns }
}

fn open(bytes: &[u8]) {
    let tables = [
        table("t", KeyType::String { length: 8 }, &[DataType::ServerId, DataType::ServerKey, DataType::Gpc]),
        table("i", KeyType::Ip, &[DataType::ConnRate, DataType::BytesInCnt]),
    ];
    let Ok(snapshot) = Snapshot::open(bytes, 1, &tables) else { return };
    for (place, table) in tables.iter().enumerate() {
        let mut share = Share::new(table, 0, 1, 1);
        let rows: Vec<Row> = snapshot.rows(place).collect();
        assert_eq!(rows.len(), snapshot.count(place));
        for row in &rows {
            assert!(row.key.as_bytes().len() <= 8);
            assert!(matches!(share.apply(1, &Request::Restore { row: Box::new(row.clone()) }), Answer::Done(_)));
        }
        let mut writer = Writer::new(1);
        writer.table(table);
        writer.rows(&rows);
        let written = writer.finish();
        let again = Snapshot::open(&written, 1, std::slice::from_ref(table)).expect("what was written begins like a snapshot");
        assert_eq!((again.damage(), again.count(0)), (None, rows.len()));
    }
}

/// The bytes as a header and blocks whose checksums hold, so that the fuzzer gets past them: of each block the kind, a length, the payload.
fn with_checksums(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = b"RINGTABL\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    while let [kind, length, rest @ ..] = bytes {
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        whole.push(*kind);
        whole.extend((payload.len() as u32).to_le_bytes());
        whole.extend(payload);
        whole.extend(xxh3_64(payload).to_le_bytes());
        bytes = rest;
    }
    whole
}
