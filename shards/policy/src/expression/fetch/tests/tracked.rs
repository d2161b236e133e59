//! Fetches of tracked entries, with HAProxy's distinction of no counter, no entry and no column.

use std::net::{IpAddr, Ipv4Addr};

use ringmain_model::table::{Column, DataType, KeyType, Table};
use ringmain_model::{Milliseconds, TableId};

use super::super::super::facts::{TableQuery, TableSubject};
use super::super::super::testing::Literal;
use super::{check, given, refused, session};
use crate::table::Key;

fn table(columns: &[(DataType, u32)], key: KeyType) -> Table {
    let column = |&(data, length): &(DataType, u32)| Column { data, period: data.has_period().then_some(Milliseconds(10_000)), length };
    Table { name: "t".into(), key, size: 10, expire: None, no_purge: false, write_to: None, columns: columns.iter().map(column).collect() }
}

/// Table 0 stores single columns and arrays, table 1 only a rate, table 2 has text keys.
fn facts() -> Literal {
    let wide = [(DataType::ConnCnt, 1), (DataType::BytesInCnt, 1), (DataType::Gpc, 2), (DataType::GpcRate, 2), (DataType::Gpt, 2)];
    let tables = vec![
        table(&wide, KeyType::Ip),
        table(&[(DataType::Gpc0Rate, 1)], KeyType::Ip),
        table(&[(DataType::Gpc0, 1)], KeyType::String { length: 31 }),
    ];
    Literal { tables, tracked: [Some(TableId::new(0)), None, None], ..session() }
}

fn own() -> TableSubject {
    TableSubject::Tracked(0, None)
}

fn other() -> TableSubject {
    TableSubject::Tracked(0, Some(TableId::new(1)))
}

fn of_client(table: usize) -> TableSubject {
    let id = TableId::new(table);
    let key_type = if table == 2 { KeyType::String { length: 31 } } else { KeyType::Ip };
    TableSubject::Key(id, Key::from_address(IpAddr::V4(Ipv4Addr::LOCALHOST), key_type).unwrap())
}

#[test]
fn a_query_without_answer_is_fetched_first() {
    let mut facts = facts();
    assert_eq!(given(&facts, "sc_conn_cnt(0)", false), "table");
    assert_eq!(*facts.asked.borrow(), [TableQuery::Read(own(), DataType::ConnCnt, 0)]);
    facts.answers = vec![(TableQuery::Read(own(), DataType::ConnCnt, 0), Some(5))];
    check(&facts, &[("sc_conn_cnt(0)", "5"), ("sc0_conn_cnt", "5"), ("sc0_conn_cnt(0)", "5"), ("sc_conn_cnt(0,0)", "5")]);
}

#[test]
fn a_counter_that_tracks_nothing_has_no_value() {
    let facts = facts();
    check(
        &facts,
        &[("sc_conn_cnt(1)", "-"), ("sc1_conn_cnt", "-"), ("sc2_conn_cnt(0)", "-"), ("sc2_trackers", "-"), ("sc_inc_gpc0(1,1)", "-")],
    );
    check(&facts, &[("sc_tracked(0)", "1"), ("sc0_tracked(1)", "1"), ("sc1_tracked", "0"), ("sc_tracked(2,0)", "0")]);
    assert!(facts.asked.borrow().is_empty());
}

#[test]
fn no_entry_is_zero_and_no_column_is_nothing() {
    let mut facts = facts();
    facts.answers = vec![
        (TableQuery::Read(of_client(0), DataType::ConnCnt, 0), None),
        (TableQuery::Read(of_client(0), DataType::BytesInCnt, 0), Some(5000)),
        (TableQuery::Exists(of_client(0)), Some(1)),
        (TableQuery::Exists(of_client(1)), Some(0)),
        (TableQuery::Exists(own()), Some(1)),
        (TableQuery::Exists(other()), None),
        (TableQuery::Read(own(), DataType::Gpc, 1), Some(7)),
        (TableQuery::Read(own(), DataType::Gpc0, 0), Some(8)),
    ];
    check(
        &facts,
        &[
            ("src_conn_cnt(0)", "0"),
            ("src_kbytes_in(0)", "4"),
            ("src_sess_cnt(0)", "-"),
            ("src_sess_cnt(1)", "0"),
            ("sc_sess_cnt(0)", "-"),
            ("sc_conn_cnt(0,1)", "0"),
            ("sc_get_gpc(1,0)", "7"),
            ("sc_get_gpc(2,0)", "-"),
            ("sc_get_gpc0(0)", "8"),
            ("src_get_gpc(5,0)", "-"),
            ("src_get_gpc(5,1)", "0"),
        ],
    );
}

#[test]
fn counters_grow_and_are_cleared() {
    let mut facts = facts();
    facts.answers = vec![
        (TableQuery::Add(own(), DataType::Gpc, 1, 1), Some(3)),
        (TableQuery::Add(own(), DataType::Gpc0, 0, 1), Some(4)),
        (TableQuery::Clear(own(), DataType::Gpc, 1), Some(3)),
        (TableQuery::Add(of_client(1), DataType::Gpc0, 0, 1), Some(9)),
        (TableQuery::Add(of_client(2), DataType::Gpc0, 0, 1), Some(1)),
        (TableQuery::Clear(of_client(2), DataType::Gpc0, 0), None),
        (TableQuery::Add(of_client(0), DataType::ConnCnt, 0, 1), Some(2)),
        (TableQuery::Exists(of_client(1)), Some(1)),
    ];
    check(
        &facts,
        &[
            ("sc_inc_gpc(1,0)", "3"),
            ("sc0_inc_gpc0", "4"),
            ("sc_clr_gpc(1,0)", "3"),
            ("src_inc_gpc0(1)", "9"),
            ("src_inc_gpc0(2)", "1"),
            ("src_clr_gpc0(2)", "0"),
            ("src_clr_gpc0(1)", "-"),
            ("src_updt_conn_cnt(0)", "2"),
            ("src_updt_conn_cnt(1)", "-"),
            ("src_inc_gpc(5,0)", "0"),
        ],
    );
}

#[test]
fn no_entry_is_made_in_another_table() {
    let mut facts = facts();
    facts.answers = vec![(TableQuery::Exists(other()), Some(0))];
    check(&facts, &[("sc_inc_gpc0(0,1)", "0")]);
    assert_eq!(*facts.asked.borrow(), [TableQuery::Exists(other())]);
    facts.answers = vec![(TableQuery::Exists(other()), Some(1)), (TableQuery::Add(other(), DataType::Gpc0, 0, 1), Some(6))];
    check(&facts, &[("sc_inc_gpc0(0,1)", "6"), ("sc0_inc_gpc0(1)", "6")]);
}

#[test]
fn a_client_that_is_no_key_has_no_value() {
    let mut facts = facts();
    facts.client = Some("[2001:db8::1]:5".parse().unwrap());
    check(&facts, &[("src_conn_cnt(0)", "-"), ("src_inc_gpc0(1)", "-")]);
    facts.client = None;
    check(&facts, &[("src_conn_cnt(0)", "-")]);
    assert!(facts.asked.borrow().is_empty());
}

#[test]
fn converters_look_their_input_up() {
    let mut facts = facts();
    let text_key = TableSubject::Key(TableId::new(2), Key::from_text(b"x", KeyType::String { length: 31 }).unwrap());
    facts.answers = vec![
        (TableQuery::Read(of_client(0), DataType::ConnCnt, 0), Some(3)),
        (TableQuery::Exists(of_client(0)), Some(1)),
        (TableQuery::Exists(of_client(1)), None),
        (TableQuery::Idle(of_client(0)), Some(250)),
        (TableQuery::Idle(of_client(1)), None),
        (TableQuery::Trackers(of_client(0)), Some(2)),
        (TableQuery::Read(text_key.clone(), DataType::Gpc0, 0), Some(6)),
        (TableQuery::Read(of_client(0), DataType::Gpc, 1), Some(4)),
    ];
    check(
        &facts,
        &[
            ("src,table_conn_cnt(0)", "3"),
            ("str(127.0.0.1),table_conn_cnt(0)", "3"),
            ("int(2130706433),table_conn_cnt(0)", "3"),
            ("src,table_http_req_cnt(0)", "-"),
            ("src,table_http_req_cnt(1)", "0"),
            ("src,in_table(0)", "1"),
            ("src,in_table(1)", "0"),
            ("str(xx),in_table(0)", "-"),
            ("bool(1),in_table(0)", "-"),
            ("ipv6(::1),table_idle(0,6)", "-"),
            ("src,table_idle(0)", "250"),
            ("src,table_idle(1)", "-"),
            ("src,table_idle(1,-7)", "-7"),
            ("src,table_expire(0)", "0"),
            ("src,table_expire(1,8)", "8"),
            ("src,table_trackers(0)", "2"),
            ("str(x),table_gpc0(2)", "6"),
            ("bin(78),table_gpc0(2)", "6"),
            ("src,table_gpc(1,0)", "4"),
            ("src,table_gpc(5,0)", "-"),
            ("str(y),table_gpc0(2)", "table"),
        ],
    );
    assert!(refused("src,table_gpc(100,0)").contains("0 to 99"));
}

#[test]
fn numbers_of_counters_and_elements_are_checked() {
    for (source, part) in [
        ("sc_conn_cnt(3)", "argument 1"),
        ("sc_conn_cnt(-1)", "argument 1"),
        ("sc_get_gpc(100,0)", "argument 1"),
        ("sc_get_gpc(0,3)", "argument 2"),
        ("src_get_gpc(-1,0)", "argument 1"),
        ("sc_tracked(9)", "argument 1"),
    ] {
        assert!(refused(source).contains(part), "{source}: {}", refused(source));
    }
}
