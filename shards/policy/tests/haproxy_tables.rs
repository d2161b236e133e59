//! Stick tables beside the real HAProxy: what commands and connections leave in its tables, and what the same leaves in a share.

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use ringmain_model::Milliseconds;
use ringmain_model::table::{BINARY_LENGTH_DEFAULT, Column, DataType, KeyType, STRING_LENGTH_DEFAULT, Table};
use ringmain_policy::table::{Answer, Cell, Event, Filter, Handle, Key, Request, Row, Share, StickServer, Target, Value};
use support::{Haproxy, NamedServer, PATIENCE, haproxy_is_installed};

/// Time that the shares are told; HAProxy's own runs on, so only entries that live long are compared.
const NOW_MS: u64 = 1_000_000;

fn column(data: DataType, period_ms: u32) -> Column {
    Column { data, period: data.has_period().then_some(Milliseconds(period_ms)), length: 1 }
}

fn table(key: KeyType, size: u32, expire_ms: Option<u32>, columns: &[DataType]) -> Table {
    let columns = columns.iter().map(|&data| column(data, 10_000)).collect();
    Table { name: "t".into(), key, size, expire: expire_ms.map(Milliseconds), no_purge: false, write_to: None, columns }
}

fn rows(share: &mut Share, now_ms: u64) -> Vec<Row> {
    match share.apply(now_ms, &Request::Page { cursor: 0, limit: 1000, filter: Filter::default() }) {
        Answer::Rows(page) => page.rows,
        other => panic!("{other:?}"),
    }
}

/// Rows as `show table` writes them, without addresses and times, sorted.
fn shown(share: &mut Share, table: &Table) -> Vec<String> {
    let text = |row: &Row| {
        let mut text = format!("key={} use={}", row.key.display(table.key), row.references);
        for Cell { data, value, .. } in &row.cells {
            let period = table.column(*data).and_then(|column| column.period).map_or(String::new(), |period| format!("({})", period.0));
            let value = match value {
                Value::Number(number) => number.to_string(),
                Value::Name(name) => name.as_deref().unwrap_or("-").to_owned(),
            };
            text.push_str(&format!(" {}{period}={value}", data.name()));
        }
        text
    };
    let mut lines: Vec<String> = rows(share, NOW_MS).iter().map(text).collect();
    lines.sort();
    lines
}

/// The same from HAProxy.
fn haproxys(haproxy: &Haproxy, table: &str) -> Vec<String> {
    let answer = haproxy.command(&format!("show table {table}"));
    let line = |line: &str| line.split(' ').skip(1).filter(|word| !word.starts_with("exp=")).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = answer.lines().filter(|line| line.starts_with("0x")).map(line).collect();
    lines.sort();
    lines
}

/// Remaining life of HAProxy's entries, in milliseconds.
fn remaining(haproxy: &Haproxy, table: &str) -> Vec<u64> {
    let answer = haproxy.command(&format!("show table {table}"));
    answer.lines().filter_map(|line| line.split(" exp=").nth(1)?.split(' ').next()?.parse().ok()).collect()
}

/// Waits until HAProxy's table is as expected; shows the difference when it never is.
fn assert_becomes(haproxy: &Haproxy, table: &str, expected: &[String], case: &str) {
    let deadline = Instant::now() + PATIENCE;
    while haproxys(haproxy, table) != expected && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(haproxys(haproxy, table), expected, "{case}: haproxy is on the left");
}

fn set(share: &mut Share, key: Key, values: &[(DataType, u64)]) {
    let values = values.iter().map(|&(data, value)| Cell { data, index: 0, value: Value::Number(value) }).collect();
    assert_eq!(share.apply(NOW_MS, &Request::SetRow { key, values }), Answer::Done(true));
}

#[test]
fn set_table_leaves_the_same_rows() {
    if !haproxy_is_installed() {
        return;
    }
    let columns = [
        DataType::Gpc1,
        DataType::ServerId,
        DataType::Gpc0,
        DataType::Gpc0Rate,
        DataType::ConnCur,
        DataType::HttpFailCnt,
        DataType::BytesInCnt,
        DataType::ServerKey,
    ];
    let store = "store gpc1,server_id,gpc0,gpc0_rate(10s),conn_cur,http_fail_cnt,bytes_in_cnt,server_key";
    let haproxy = Haproxy::start(&format!(
        "backend plain\n stick-table type string size 100 expire 1h {store}\n\
         backend short\n stick-table type string len 4 size 100 expire 1h {store}\n\
         backend number\n stick-table type integer size 100 expire 1h {store}\n\
         backend ip\n stick-table type ip size 100 expire 1h {store}\n\
         backend ip6\n stick-table type ipv6 size 100 expire 1h {store}\n"
    ));
    let cases = [
        ("plain", KeyType::String { length: STRING_LENGTH_DEFAULT }, &["abc", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"][..]),
        ("short", KeyType::String { length: 4 }, &["a", "abcd", "abcdef"]),
        ("number", KeyType::Integer, &["0", "7", "4294967295", "4294967296", "-1"]),
        ("ip", KeyType::Ip, &["127.0.0.1", "255.255.255.255"]),
        ("ip6", KeyType::Ipv6, &["::1", "2001:db8::5:6"]),
    ];
    for (name, key_type, keys) in cases {
        let table = table(key_type, 100, Some(3_600_000), &columns);
        let mut share = Share::new(&table, 0, 1, 1);
        for (place, text) in keys.iter().enumerate() {
            let values = [
                (DataType::Gpc0, place as u64 + 1),
                (DataType::Gpc0Rate, 100 + place as u64),
                (DataType::ServerId, 3),
                (DataType::BytesInCnt, 5_000_000_000),
            ];
            let words: String = values.iter().map(|(data, value)| format!(" data.{} {value}", data.name())).collect();
            let refused = haproxy.command(&format!("set table {name} key {text}{words}")).contains("Invalid key");
            match Key::from_command(text, key_type) {
                Some(key) => set(&mut share, key, &values),
                None => assert!(refused, "haproxy takes {text} in {name}"),
            }
        }
        assert_eq!(haproxys(&haproxy, name), shown(&mut share, &table));
    }
}

#[test]
fn samples_become_the_same_keys() {
    if !haproxy_is_installed() {
        return;
    }
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let by_text = |text: &'static str| move |key_type| Key::from_text(text.as_bytes(), key_type);
    let by_bytes = |bytes: &'static [u8]| move |key_type| Key::from_bytes(bytes, key_type);
    let by_number = |number: i64| move |key_type| Key::from_integer(number, key_type);
    let by_address = |text: &'static str| move |key_type| Key::from_address(address(text), key_type);
    type Make = Box<dyn Fn(KeyType) -> Option<Key>>;
    let samples: Vec<(&str, Make)> = vec![
        ("str(abc)", Box::new(by_text("abc"))),
        ("str()", Box::new(by_text(""))),
        ("str(12abc)", Box::new(by_text("12abc"))),
        ("str(-7)", Box::new(by_text("-7"))),
        ("str(+8)", Box::new(by_text("+8"))),
        ("str(-)", Box::new(by_text("-"))),
        ("str(0x10)", Box::new(by_text("0x10"))),
        ("str(9223372036854775807)", Box::new(by_text("9223372036854775807"))),
        ("str(4294967298)", Box::new(by_text("4294967298"))),
        ("str(10.1.2.3)", Box::new(by_text("10.1.2.3"))),
        ("str(10.1.2.300)", Box::new(by_text("10.1.2.300"))),
        ("str(2001:db8::1)", Box::new(by_text("2001:db8::1"))),
        ("str(abcdefghijklmnopqrstuvwxyz0123456789ABCDEF)", Box::new(by_text("abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"))),
        ("int(0)", Box::new(by_number(0))),
        ("int(16909060)", Box::new(by_number(16_909_060))),
        ("int(-2)", Box::new(by_number(-2))),
        ("int(4294967298)", Box::new(by_number(4_294_967_298))),
        ("bin(6100626364)", Box::new(by_bytes(b"a\0bcd"))),
        ("bin(616263)", Box::new(by_bytes(b"abc"))),
        ("str(10.9.8.7),ipmask(32,128)", Box::new(by_address("10.9.8.7"))),
        ("str(::ffff:10.9.8.6),ipmask(32,128)", Box::new(by_address("10.9.8.6"))),
        ("str(2002:102:304::5),ipmask(32,128)", Box::new(by_address("2002:102:304::5"))),
        ("str(::5.5.5.5),ipmask(32,128)", Box::new(by_address("::5.5.5.5"))),
        ("str(2001:db8::1),ipmask(32,128)", Box::new(by_address("2001:db8::1"))),
    ];
    for (sample, make) in &samples {
        // HAProxy refuses bytes as addresses and numbers when it reads the configuration.
        let refused = |key_type: KeyType| matches!(key_type, KeyType::Ip | KeyType::Ipv6 | KeyType::Integer);
        let possible: Vec<_> = TABLES.iter().filter(|(_, key_type)| !sample.starts_with("bin") || !refused(*key_type)).collect();
        // Three tables at a time: as many as a connection may be tracked in.
        for some in possible.chunks(3) {
            assert_same_keys("", "connection", sample, make, some, "");
        }
    }
}

#[test]
fn addresses_of_clients_become_the_same_keys() {
    if !haproxy_is_installed() {
        return;
    }
    let tables: Vec<_> = TABLES.iter().collect();
    for address in ["::ffff:10.9.8.7", "2002:102:304::5", "::5.5.5.5", "2001:db8::1", "::1"] {
        let make = |key_type| Key::from_address(address.parse().unwrap(), key_type);
        for some in tables.chunks(3) {
            assert_same_keys("accept-proxy", "session", "src", &make, some, &format!("PROXY TCP6 {address} 2001:db8::9 1111 2222\r\n"));
        }
    }
}

/// What every kind of table makes of a sample.
const TABLES: [(&str, KeyType); 7] = [
    ("type ip", KeyType::Ip),
    ("type ipv6", KeyType::Ipv6),
    ("type integer", KeyType::Integer),
    ("type string", KeyType::String { length: STRING_LENGTH_DEFAULT }),
    ("type string len 5", KeyType::String { length: 5 }),
    ("type binary len 3", KeyType::Binary { length: 3 }),
    ("type binary", KeyType::Binary { length: BINARY_LENGTH_DEFAULT }),
];

/// Tracks `sample` in some tables, on both sides.
fn assert_same_keys(
    bind: &str,
    level: &str,
    sample: &str,
    make: &dyn Fn(KeyType) -> Option<Key>,
    tables: &[&(&str, KeyType)],
    request: &str,
) {
    let mut configuration = format!("frontend f\n mode tcp\n bind fd@LISTENER {bind}\n");
    for place in 0..tables.len() {
        configuration.push_str(&format!(" tcp-request {level} track-sc{place} {sample} table t{place}\n"));
    }
    configuration.push_str(&format!(" tcp-request {level} reject\n"));
    for (place, (words, _)) in tables.iter().enumerate() {
        configuration.push_str(&format!("backend t{place}\n stick-table {words} size 100 expire 1h store conn_cnt\n"));
    }
    let haproxy = Haproxy::start(&configuration);
    haproxy.ask(None, request);
    for (place, (words, key_type)) in tables.iter().enumerate() {
        let table = table(*key_type, 100, None, &[DataType::ConnCnt]);
        let mut share = Share::new(&table, 0, 1, 1);
        if let Some(key) = make(*key_type) {
            set(&mut share, key, &[(DataType::ConnCnt, 1)]);
        }
        assert_becomes(&haproxy, &format!("t{place}"), &shown(&mut share, &table), &format!("{sample} {request} in a table of {words}"));
    }
}

#[test]
fn tracking_counts_the_same_at_each_level() {
    if !haproxy_is_installed() {
        return;
    }
    let echo = NamedServer::start("named".to_owned(), false);
    let columns =
        [DataType::ConnCnt, DataType::ConnRate, DataType::ConnCur, DataType::SessCnt, DataType::BytesInCnt, DataType::BytesOutCnt];
    let haproxy = Haproxy::start(&format!(
        "frontend f\n mode tcp\n bind fd@LISTENER\n tcp-request inspect-delay 5s\n\
         tcp-request connection track-sc0 int(1) table t\n tcp-request session track-sc1 int(2) table t\n\
         tcp-request content track-sc2 int(3) table t if {{ req.len gt 0 }}\n default_backend b\n\
         backend t\n stick-table type integer size 100 expire 1h store conn_cnt,conn_rate(10s),conn_cur,sess_cnt,bytes_in_cnt,bytes_out_cnt\n\
         backend b\n mode tcp\n server s {}\n",
        echo.0
    ));
    let table = table(KeyType::Integer, 100, Some(3_600_000), &columns);
    let mut share = Share::new(&table, 0, 1, 1);
    let track = |share: &mut Share, number: i64| -> Handle {
        let key = Key::from_integer(number, KeyType::Integer).unwrap();
        let Answer::Handle(Some(handle)) = share.apply(NOW_MS, &Request::Track { key }) else { panic!() };
        handle
    };
    let mut client = TcpStream::connect(haproxy.address).unwrap();
    let (first, second) = (track(&mut share, 1), track(&mut share, 2));
    for handle in [first, second] {
        share.apply(NOW_MS, &Request::Count { target: Target::Handle(handle), event: Event::Session, amount: 1 });
    }
    assert_becomes(&haproxy, "t", &shown(&mut share, &table), "begun");
    client.write_all(b"hello").unwrap();
    let third = track(&mut share, 3);
    assert_becomes(&haproxy, "t", &shown(&mut share, &table), "inspected");
    let mut answer = String::new();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    client.read_to_string(&mut answer).unwrap();
    drop(client);
    for handle in [first, second, third] {
        share.apply(NOW_MS, &Request::Transfer { handle, received: 5, sent: answer.len() as u64 });
        share.apply(NOW_MS, &Request::Untrack { handle });
    }
    assert_becomes(&haproxy, "t", &shown(&mut share, &table), "ended");
}

#[test]
fn a_full_table_loses_the_entry_longest_unused_or_refuses() {
    if !haproxy_is_installed() {
        return;
    }
    let haproxy = Haproxy::start(
        "backend purge\n stick-table type string len 8 size 3 expire 1h store gpc0\n\
         backend forever\n stick-table type string len 8 size 3 store gpc0\n\
         backend refuse\n stick-table type string len 8 size 3 expire 1h nopurge store gpc0\n",
    );
    let key_type = KeyType::String { length: 8 };
    for (name, expire, no_purge) in [("purge", Some(3_600_000), false), ("forever", None, false), ("refuse", Some(3_600_000), true)] {
        let table = Table { no_purge, ..table(key_type, 3, expire, &[DataType::Gpc0]) };
        let mut share = Share::new(&table, 0, 1, 1);
        for (now, text) in ["a", "b", "c", "a", "d", "c", "e"].into_iter().enumerate() {
            // HAProxy orders by milliseconds.
            std::thread::sleep(Duration::from_millis(3));
            let answer = haproxy.command(&format!("set table {name} key {text} data.gpc0 {now}"));
            let values = Box::new([Cell { data: DataType::Gpc0, index: 0, value: Value::Number(now as u64) }]);
            let key = Key::from_command(text, key_type).unwrap();
            let ours = share.apply(now as u64, &Request::SetRow { key, values });
            assert_eq!(answer.contains("Unable to allocate"), ours == Answer::Refused, "{text} in {name}");
        }
        assert_eq!(haproxys(&haproxy, name), shown(&mut share, &table), "{name}");
    }
}

#[test]
fn uses_refresh_and_reads_do_not() {
    if !haproxy_is_installed() {
        return;
    }
    let server = NamedServer::start("x".to_owned(), false);
    let haproxy = Haproxy::start(&format!(
        "frontend f\n mode tcp\n bind fd@LISTENER\n tcp-request inspect-delay 5s\n\
         tcp-request content accept if {{ req.payload(0,1) -m str r }} {{ str(k),in_table(t) }} {{ str(k),table_server_id(t) gt 0 }}\n\
         tcp-request content accept if {{ req.len gt 0 }}\n use_backend m if {{ req.payload(0,1) -m str m }}\n default_backend p\n\
         backend t\n stick-table type string len 8 size 100 expire 1h store server_id,server_key\n\
         backend m\n mode tcp\n stick match str(k) table t\n server s {0}\n\
         backend p\n mode tcp\n server s {0}\n",
        server.0
    ));
    let expire_ms = 3_600_000;
    let table = table(KeyType::String { length: 8 }, 100, Some(expire_ms), &[DataType::ServerId, DataType::ServerKey]);
    let mut share = Share::new(&table, 0, 1, 1);
    let key = || Key::from_command("k", table.key).unwrap();
    haproxy.command("set table t key k data.server_id 1");
    set(&mut share, key(), &[(DataType::ServerId, 1)]);
    std::thread::sleep(Duration::from_millis(400));
    let our_age = |share: &mut Share, request: &Request| {
        share.apply(NOW_MS + 400, request);
        rows(share, NOW_MS + 400)[0].idle_ms
    };
    haproxy.ask(None, "r");
    assert!(remaining(&haproxy, "t")[0] <= u64::from(expire_ms) - 400, "reading is no use");
    assert_eq!(our_age(&mut share, &Request::Exists { key: key() }), 400);
    assert_eq!(our_age(&mut share, &Request::Read { target: Target::Key(key()), data: DataType::ServerId, index: 0 }), 400);
    haproxy.ask(None, "m");
    assert!(remaining(&haproxy, "t")[0] > u64::from(expire_ms) - 400, "a match is a use");
    assert_eq!(our_age(&mut share, &Request::Match { key: key() }), 0);
    let found = share.apply(NOW_MS + 400, &Request::Match { key: key() });
    assert_eq!(found, Answer::Server(Some(StickServer { id: 1, name: "".into() })));
}

#[test]
fn rates_fade_along_the_same_curve() {
    if !haproxy_is_installed() {
        return;
    }
    const PERIOD_MS: u32 = 700;
    const LIFE_MS: u64 = 3_600_000;
    // With several threads the clock of rates runs ahead of the one that expires entries.
    let haproxy = Haproxy::start("global\n nbthread 1\nbackend t\n stick-table type string len 8 size 10 expire 1h store conn_rate(700)\n");
    let mut table = table(KeyType::String { length: 8 }, 10, Some(LIFE_MS as u32), &[]);
    table.columns = vec![column(DataType::ConnRate, PERIOD_MS)];
    let key = || Key::from_command("k", table.key).unwrap();
    for count in [1, 2, 1000, 3_000_000_000] {
        let share_of = |table: &Table, key: Key, count: u64| {
            let mut share = Share::new(table, 0, 1, 1);
            set(&mut share, key, &[(DataType::ConnRate, count)]);
            share
        };
        haproxy.command(&format!("set table t key k data.conn_rate {count}"));
        loop {
            let answer = haproxy.command("show table t");
            let (_, words) = answer.split_once(" exp=").unwrap();
            let age = LIFE_MS - words.split(' ').next().unwrap().parse::<u64>().unwrap();
            let theirs: i64 = words.trim().rsplit('=').next().unwrap().parse().unwrap();
            // Its clock of rates and its clock of entries round their milliseconds separately.
            let near = [age.saturating_sub(1), age, age + 1].map(|age| {
                let read = Request::Read { target: Target::Key(key()), data: DataType::ConnRate, index: 0 };
                share_of(&table, key(), count).apply(NOW_MS + age, &read)
            });
            assert!(near.contains(&Answer::Number(Some(theirs))), "{theirs} of {count} after {age} ms, ours {near:?}");
            if age > 2 * u64::from(PERIOD_MS) + 1 {
                assert_eq!(theirs, 0);
                break;
            }
        }
    }
}
