//! Entries of stick tables, found and changed by fetches and converters, step by step beside the real HAProxy.

use std::cell::RefCell;
use std::io::Read;
use std::net::{IpAddr, TcpStream};

use ringmain_model::table::{Column, DataType, KeyType, Table};
use ringmain_model::{FrontendId, Milliseconds, TableId};
use ringmain_policy::expression::testing::Literal;
use ringmain_policy::expression::{TableQuery, TableSubject};
use ringmain_policy::table::{Answer, Event, Handle, Key, Request, Share, Target};

use super::support::{Haproxy, PATIENCE, haproxy_is_installed};
use super::*;

/// Fetches and converters of tables in the order in which they run: each may change what the next ones find.
const TABLE_STEPS: &[&str] = &[
    "sc_tracked(0)",
    "sc0_tracked",
    "sc_tracked(0,1)",
    "sc_tracked(1)",
    "sc_trackers(0)",
    "sc0_trackers(1)",
    "sc1_trackers",
    "sc_conn_cnt(0)",
    "sc0_conn_cnt",
    "sc0_conn_cnt(0)",
    "sc_conn_cnt(0,1)",
    "sc_conn_cnt(1)",
    "sc2_conn_cnt(0)",
    "sc_conn_cur(0)",
    "sc_conn_rate(0)",
    "sc_get_gpc(0,0)",
    "sc_get_gpc(5,0)",
    "sc_inc_gpc(1,0)",
    "sc_inc_gpc(1,0)",
    "sc_inc_gpc(5,0)",
    "sc_get_gpc(1,0)",
    "sc_get_gpc1(0)",
    "sc_inc_gpc1(0)",
    "sc_get_gpc(1,0)",
    "sc_gpc_rate(1,0)",
    "sc_gpc_rate(5,0)",
    "sc_gpc1_rate(0)",
    "sc_clr_gpc(1,0)",
    "sc_get_gpc(1,0)",
    "sc_clr_gpc(5,0)",
    "sc_inc_gpc0(0)",
    "sc_get_gpc0(0)",
    "sc_gpc0_rate(0)",
    "sc_clr_gpc0(0)",
    "sc_get_gpt(1,0)",
    "sc_get_gpt(5,0)",
    "sc_get_gpt0(0)",
    "sc_kbytes_in(0)",
    "sc_kbytes_out(0)",
    "sc_bytes_in_rate(0)",
    "sc_http_req_cnt(0)",
    "sc_sess_cnt(0)",
    "sc_inc_gpc0(0,1)",
    "sc_get_gpc0(0,1)",
    "sc_clr_gpc0(0,1)",
    "sc_gpc0_rate(0,1)",
    "sc_inc_gpc0(1,1)",
    "src_conn_cnt(0)",
    "src_conn_cnt(1)",
    "src_get_gpc(1,1)",
    "src_inc_gpc0(1)",
    "src_inc_gpc0(1)",
    "src_get_gpc0(1)",
    "src_get_gpc1(1)",
    "src_gpc0_rate(1)",
    "sc_inc_gpc0(0,1)",
    "src_clr_gpc0(1)",
    "src_get_gpc0(1)",
    "src_inc_gpc0(2)",
    "src_inc_gpc0(2)",
    "src_gpc0_rate(2)",
    "src_clr_gpc0(2)",
    "src_get_gpc0(2)",
    "src_updt_conn_cnt(0)",
    "src_conn_cnt(0)",
    "src_updt_conn_cnt(1)",
    "src_conn_cur(0)",
    "src_http_req_cnt(0)",
    "src_http_req_cnt(3)",
    "src_inc_gpc0(3)",
    "src_inc_gpc0(4)",
    "src_inc_gpc0(4)",
    "src_get_gpc0(4)",
    "src_inc_gpc0(5)",
    "src_inc_gpc0(6)",
    "src_kbytes_in(0)",
    "src,table_conn_cnt(0)",
    "src,table_conn_cnt(1)",
    "src,table_conn_cnt(7)",
    "src,table_gpc0(4)",
    "src,table_gpc0(1)",
    "src,table_gpc1(0)",
    "src,table_gpc(0,0)",
    "src,table_gpc(5,0)",
    "src,table_gpc_rate(0,0)",
    "src,table_gpt(1,0)",
    "src,table_gpt0(0)",
    "src,table_server_id(0)",
    "src,table_server_id(3)",
    "src,table_sess_rate(7)",
    "src,table_http_err_cnt(7)",
    "src,table_kbytes_in(0)",
    "src,table_bytes_in_rate(0)",
    "src,in_table(0)",
    "src,in_table(7)",
    "src,table_trackers(7)",
    "src,table_idle(7)",
    "src,table_idle(7,-7)",
    "src,table_expire(7,8)",
    "src,table_expire(7)",
    "src,table_expire(4)",
    "str(127.0.0.1),table_conn_cnt(0)",
    "str(xx),table_conn_cnt(0)",
    "str(xx),in_table(0)",
    "str(xx),table_idle(0,5)",
    "str(xx),table_trackers(0)",
    "str(127.0.0.1),in_table(3)",
    "str(),in_table(3)",
    "str(),table_gpc0(3)",
    "bin(7f000001),in_table(6)",
    "bin(3132372e302e302e31),in_table(3)",
    "bin(7f000001),in_table(0)",
    "int(2130706433),in_table(0)",
    "int(2130706433),in_table(5)",
    "int(2130706433),in_table(4)",
    "ipv6(::1),in_table(0)",
    "ipv6(::ffff:127.0.0.1),in_table(0)",
    "ipv6(::1),table_idle(0,6)",
    "bool(1),in_table(5)",
    "bool(1),in_table(0)",
];

fn stored(key: KeyType, columns: &[(DataType, u32)]) -> Table {
    let column = |&(data, length): &(DataType, u32)| Column { data, period: data.has_period().then_some(Milliseconds(60_000)), length };
    let expire = Some(Milliseconds(60_000));
    Table { name: "t".into(), key, size: 10, expire, no_purge: false, write_to: None, columns: columns.iter().map(column).collect() }
}

fn tables() -> Vec<Table> {
    use DataType as D;
    let simple = [(D::ConnCnt, 1), (D::Gpc0, 1), (D::ServerId, 1)];
    let wide = [
        (D::ConnCnt, 1),
        (D::ConnCur, 1),
        (D::ConnRate, 1),
        (D::BytesInCnt, 1),
        (D::BytesInRate, 1),
        (D::Gpt, 2),
        (D::Gpc, 2),
        (D::GpcRate, 2),
    ];
    vec![
        stored(KeyType::Ip, &wide),
        stored(KeyType::Ip, &[(D::Gpc0, 1), (D::Gpc0Rate, 1)]),
        stored(KeyType::Ip, &[(D::Gpc0Rate, 1)]),
        stored(KeyType::String { length: 31 }, &simple),
        Table { expire: None, ..stored(KeyType::Ipv6, &simple) },
        stored(KeyType::Integer, &simple),
        stored(KeyType::Binary { length: 4 }, &simple),
        stored(KeyType::Ip, &[(D::ConnCnt, 1)]),
    ]
}

/// The sections that declare the tables, named by their ids.
fn declared(tables: &[Table]) -> String {
    let mut sections = String::new();
    for (id, table) in tables.iter().enumerate() {
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| match (column.data.is_array(), column.period) {
                (true, Some(_)) => format!("{}({},60s)", column.data.name(), column.length),
                (true, None) => format!("{}({})", column.data.name(), column.length),
                (false, Some(_)) => format!("{}(60s)", column.data.name()),
                (false, None) => column.data.name().to_owned(),
            })
            .collect();
        let length = if let KeyType::Binary { length } = table.key { format!(" len {length}") } else { String::new() };
        let expire = if table.expire.is_some() { " expire 60s" } else { "" };
        sections.push_str(&format!(
            "backend {id}\n stick-table type {}{length} size 10{expire} store {}\n",
            table.key.name(),
            columns.join(",")
        ));
    }
    sections
}

/// Answers table queries from shares, as the owners of the entries would.
fn answer(tables: &[Table], shares: &mut [Share], (own, handle, client): (TableId, Handle, IpAddr), query: &TableQuery) -> Option<i64> {
    const NOW_MS: u64 = 1_000_000;
    let key_in = |table: TableId| Key::from_address(client, tables[table.index()].key).unwrap();
    let target = |subject: &TableSubject| match subject {
        TableSubject::Tracked(_, None) => (own, Target::Handle(handle)),
        TableSubject::Tracked(_, Some(table)) => (*table, Target::Key(key_in(*table))),
        TableSubject::Key(table, key) => (*table, Target::Key(key.clone())),
    };
    let mut ask = |subject: &TableSubject, request: &dyn Fn(Target) -> Request| {
        let (table, target) = target(subject);
        match shares[table.index()].apply(NOW_MS, &request(target)) {
            Answer::Number(number) => number,
            Answer::Done(done) => Some(done.into()),
            Answer::Rows(page) => page.rows.first().map(|row| row.remaining_ms.unwrap_or(0) as i64),
            other => panic!("{other:?}"),
        }
    };
    match query {
        TableQuery::Exists(subject) => ask(subject, &|target| match target {
            Target::Key(key) => Request::Exists { key },
            Target::Handle(_) => Request::Exists { key: key_in(own) },
        }),
        TableQuery::Read(subject, data, index) => ask(subject, &|target| Request::Read { target, data: *data, index: (*index).into() }),
        TableQuery::Add(subject, data, index, amount) => ask(subject, &|target| {
            let event = match data {
                DataType::Gpc0 => Event::Gpc0,
                DataType::Gpc1 => Event::Gpc1,
                DataType::Gpc => Event::Gpc(u32::from(*index)),
                _ => return Request::Add { target, data: *data, index: 0, amount: (*amount).into() },
            };
            Request::Count { target, event, amount: (*amount).into() }
        }),
        TableQuery::Clear(subject, data, index) => {
            ask(subject, &|target| Request::Set { target, data: *data, index: (*index).into(), value: 0 })
        }
        TableQuery::Trackers(subject) => ask(subject, &|target| Request::Trackers { target }),
        TableQuery::Idle(subject) | TableQuery::Expire(subject) => ask(subject, &|target| Request::ReadRow { target }),
        TableQuery::ServerKey(_) => panic!("no fetch asks for names"),
    }
}

#[test]
fn entries_of_tables_are_found_and_changed_in_the_same_way() {
    if !haproxy_is_installed() {
        return;
    }
    let tables = tables();
    let rules: String =
        TABLE_STEPS.iter().enumerate().map(|(step, source)| format!(" tcp-request content set-var(txn.v{step}) {source}\n")).collect();
    let items: Vec<String> = (0..TABLE_STEPS.len()).map(|step| format!("%[var(txn.v{step})]")).collect();
    let haproxy = Haproxy::start(&format!(
        "frontend f\n mode tcp\n bind fd@LISTENER\n log-format \"#{}\"\n tcp-request connection track-sc0 src table 0\n{rules} tcp-request content reject\n{}",
        items.join("|"),
        declared(&tables),
    ));
    let mut stream = TcpStream::connect(haproxy.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = stream.local_addr().unwrap();
    let _ = stream.read(&mut [0; 1]);
    let line = log_text(&haproxy);

    let mut shares: Vec<Share> = tables.iter().map(|table| Share::new(table, 0, 1, 7)).collect();
    let key = Key::from_address(client.ip(), KeyType::Ip).unwrap();
    let Answer::Handle(Some(handle)) = shares[0].apply(1_000_000, &Request::Track { key }) else { panic!("no room") };
    let known = tables.clone();
    let shares = RefCell::new(shares);
    let tracked = (TableId::new(0), handle, client.ip());
    let facts = Literal {
        client: Some(client),
        frontend: Some((FrontendId::new(0), 1, "f")),
        tables,
        tracked: [Some(TableId::new(0)), None, None],
        answer_by: Some(Box::new(move |query| answer(&known, &mut shares.borrow_mut(), tracked, query))),
        ..Literal::default()
    };
    let theirs: Vec<&str> = line.split('|').collect();
    assert_eq!(theirs.len(), TABLE_STEPS.len(), "{line}");
    let ours: Vec<String> = TABLE_STEPS.iter().map(|source| shown(&facts, source)).collect();
    let pairs = TABLE_STEPS.iter().zip(ours.iter().map(String::as_str).zip(theirs));
    let different: Vec<_> = pairs.filter(|(_, (ours, theirs))| ours != theirs).collect();
    assert!(different.is_empty(), "haproxy is on the right: {different:#?}");
}
