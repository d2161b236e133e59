//! What a table of a million keys costs: bytes per entry, and the longest single operation. Ignored by default because it measures;
//! run it with `cargo test --release -p ringmain-policy --test table_cost -- --ignored --nocapture --test-threads=1`.

use std::time::Instant;

use ringmain_model::Milliseconds;
use ringmain_model::table::{Column, DataType, KeyType, Table};
use ringmain_policy::table::{Answer, Event, Filter, Key, Request, Share, StickServer, Target};

const ENTRIES: usize = 1_000_000;
/// HAProxy 2.6.12 on x86-64: growth of its resident memory by `set table` with the same million keys of 20 bytes, each with a server_id,
/// in `stick-table type string len 32 size 1m expire 1h store server_id`.
const HAPROXY_BYTES: usize = 208;

fn table(columns: &[DataType]) -> Table {
    let column = |&data: &DataType| Column { data, period: data.has_period().then_some(Milliseconds(10_000)), length: 1 };
    Table {
        name: "t".into(),
        key: KeyType::String { length: 32 },
        size: ENTRIES as u32,
        expire: Some(Milliseconds(3_600_000)),
        no_purge: false,
        write_to: None,
        columns: columns.iter().map(column).collect(),
    }
}

fn key(number: usize) -> Key {
    Key::new(format!("client-{number:013}").as_bytes())
}

fn server(number: usize) -> StickServer {
    StickServer { id: 1 + number as u32 % 3, name: "".into() }
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
#[ignore = "measures memory"]
fn bytes_per_entry() {
    for columns in [&[DataType::ServerId][..], &[DataType::ServerId, DataType::ServerKey], &[DataType::ConnRate, DataType::Gpc0]] {
        let before = resident_bytes();
        let mut share = Share::new(&table(columns), 0, 1, 1);
        let empty = resident_bytes() - before;
        for number in 0..ENTRIES {
            share.apply(1, &Request::Store { key: key(number), server: server(number) });
        }
        assert_eq!(share.len(), ENTRIES);
        let each = (resident_bytes() - before) / ENTRIES;
        println!("{columns:?}: {each} bytes per entry, {empty} bytes when empty");
        assert!(columns != [DataType::ServerId] || each <= HAPROXY_BYTES);
        std::mem::forget(share);
    }
}

/// Milliseconds of each operation of one run.
fn run(seed: u64) -> Vec<(&'static str, f64)> {
    let mut share = Share::new(&table(&[DataType::ServerId, DataType::Gpc0]), 0, 1, seed);
    let mut times = Vec::with_capacity(4 * ENTRIES);
    let mut timed = |name, share: &mut Share, work: &mut dyn FnMut(&mut Share)| {
        let start = Instant::now();
        work(share);
        times.push((name, start.elapsed().as_secs_f64() * 1e3));
    };
    for number in 0..ENTRIES + ENTRIES / 10 {
        let name = if number < ENTRIES { "store, growing" } else { "store, full" };
        let request = Request::Store { key: key(number), server: server(number) };
        timed(name, &mut share, &mut |share| assert_eq!(share.apply(number as u64 / 1000, &request), Answer::Done(true)));
    }
    let mut wider = table(&[DataType::ServerId, DataType::Gpc0, DataType::Gpc0Rate]);
    timed("reconfigure", &mut share, &mut |share| share.reconfigure(&wider, 0, 1));
    for number in (0..ENTRIES).step_by(3) {
        let target = Target::Key(key(ENTRIES / 10 + number));
        let request = Request::Count { target, event: Event::Gpc0, amount: 1 };
        timed("count after reconfigure", &mut share, &mut |share| {
            share.apply(2000, &request);
        });
    }
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        let request = Request::Page { cursor: from, limit: 100, filter: Filter::default() };
        timed("page of 100", &mut share, &mut |share| {
            let Answer::Rows(page) = share.apply(2000, &request) else { panic!() };
            cursor = page.next;
        });
    }
    wider.size = ENTRIES as u32 / 2;
    timed("reconfigure", &mut share, &mut |share| share.reconfigure(&wider, 0, 1));
    while share.next_expiry_ms().is_some() {
        timed("expire 64", &mut share, &mut |share| {
            share.expire(u64::from(u32::MAX), 64);
        });
    }
    wider.key = KeyType::Integer;
    for number in 0..ENTRIES {
        share.apply(u64::from(u32::MAX), &Request::Store { key: key(number), server: server(number) });
    }
    timed("reconfigure, other keys", &mut share, &mut |share| share.reconfigure(&wider, 0, 1));
    while share.next_expiry_ms().is_some() {
        timed("free 64 segments", &mut share, &mut |share| {
            share.expire(u64::from(u32::MAX), 64);
        });
    }
    times
}

#[test]
#[ignore = "measures time"]
fn longest_operations() {
    // The same operations three times: what is long every time is not the noise of the machine.
    let runs: Vec<Vec<(&str, f64)>> = (0..3).map(|_| run(7)).collect();
    let mut longest: Vec<(&str, f64, f64, usize)> = Vec::new();
    for (place, &(name, first)) in runs[0].iter().enumerate() {
        let least = runs.iter().map(|run| run[place].1).fold(first, f64::min);
        match longest.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, most, sum, count)) => (*most, *sum, *count) = (most.max(least), *sum + least, *count + 1),
            None => longest.push((name, least, least, 1)),
        }
    }
    for (name, most, sum, count) in &longest {
        println!("{name:<26} {count:>8} times, mean {:>8.4} ms, longest {most:.4} ms", sum / *count as f64);
    }
    assert!(longest.iter().all(|(_, most, ..)| *most < 1.0));
}
