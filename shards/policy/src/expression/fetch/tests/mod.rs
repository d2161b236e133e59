//! Fetches against literal facts.

mod mqtt;
mod payload;
mod rdp;
mod tracked;

use std::net::SocketAddr;

use ringmain_model::{BackendId, FrontendId, SampleType, ServerId, TableId};

use super::super::facts::{Count, TcpField, Timeout};
use super::super::testing::{Literal, expression};
use super::super::{Absent, Data, Evaluation, Facts, Value, evaluate};

/// What an expression gives: text as logs have it, with `~` in front when more bytes may change it; `-` for nothing, `?` for nothing yet
/// and `table` where a table must be asked first.
fn given(facts: &Literal, source: &str, is_final: bool) -> String {
    let expression = expression(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    match evaluate(&expression, Evaluation { facts, is_final }) {
        Ok(sample) => {
            let mark = if sample.may_change { "~" } else { "" };
            format!("{mark}{}", text(sample.value))
        }
        Err(Absent::Missing) => String::from("-"),
        Err(Absent::NotYet) => String::from("?"),
        Err(Absent::Table) => String::from("table"),
    }
}

fn text(value: Value<'_>) -> String {
    match value {
        Value::Binary(data) => data.text().into_owned(),
        value => match value.cast(SampleType::String) {
            Some(Value::String(data)) => data.text().into_owned(),
            other => panic!("no text: {other:?}"),
        },
    }
}

fn check(facts: &Literal, expected: &[(&str, &str)]) {
    for (source, value) in expected {
        assert_eq!(given(facts, source, false), *value, "{source}");
    }
}

fn refused(source: &str) -> String {
    expression(source).expect_err(source)
}

fn session() -> Literal {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Literal {
        wall_us: 1_795_296_393_368_495,
        client: Some(address("127.0.0.1:37656")),
        original_client: Some(address("[2001:db8::7]:99")),
        local: Some(address("10.0.0.1:1883")),
        server_side: Some((address("127.0.0.1:40248"), address("127.0.0.2:36639"))),
        bind: Some((77, Some("sock"))),
        frontend: Some((FrontendId::new(0), 42, "f")),
        backend: Some((BackendId::new(0), 43, "b")),
        server: Some((ServerId::new(1), 9, "s1")),
        timeouts: vec![(Timeout::Client, 5000), (Timeout::Server, 6000), (Timeout::Tunnel, 0), (Timeout::CurrentServer, 6001)],
        tcp: vec![(TcpField::RttUs, 1999), (TcpField::RttVarianceUs, 10), (TcpField::Lost, 3)],
        ..Literal::default()
    }
}

#[test]
fn constants() {
    let facts = Literal::default();
    check(
        &facts,
        &[
            ("always_true", "1"),
            ("always_false", "0"),
            ("bool(TRUE)", "1"),
            ("bool(0)", "0"),
            ("int(-5)", "-5"),
            ("str", ""),
            ("str()", ""),
            ("str(x)", "x"),
            ("bin(4865)", "He"),
            ("ipv4(1.2.3.4)", "1.2.3.4"),
            ("ipv6(::1)", "::1"),
            ("env(FOO)", "FOO"),
            ("env", "-"),
        ],
    );
    for wrong in
        ["bool(yes)", "bool(2)", "bin(4)", "bin(4g)", "bin()", "ipv4(1.2.3)", "ipv4(1.2.3.4/8)", "ipv6(1.2.3.4)", "int(x)", "uuid(3)"]
    {
        assert!(refused(wrong).contains("argument 1 of") || wrong == "int(x)", "{wrong}: {}", refused(wrong));
    }
}

#[test]
fn the_process() {
    let facts =
        Literal { counts: vec![(Count::Shards, 2), (Count::Shard, 1), (Count::ProcessConnections, 12)], stopping: true, ..session() };
    check(
        &facts,
        &[
            ("date", "1795296393"),
            ("date(5)", "1795296398"),
            ("date(-3,s)", "1795296390"),
            ("date(0,ms)", "1795296393368"),
            ("date(5,us)", "1795296393368500"),
            ("date_us", "368495"),
            ("hostname", "host"),
            ("pid", "4711"),
            ("nbproc", "1"),
            ("proc", "1"),
            ("nbthread", "2"),
            ("thread", "1"),
            ("act_conn", "12"),
            ("prio_class", "0"),
            ("prio_offset", "0"),
            ("quic_enabled", "0"),
            ("stopping", "1"),
            ("var(3)", "-"),
            ("var(3,other)", "other"),
            ("var(3,)", ""),
        ],
    );
    assert!(refused("date(5,m)").contains("none of"));
}

#[test]
fn random_numbers_stay_in_their_range() {
    let facts = Literal::default();
    facts.random.set(u64::MAX);
    check(&facts, &[("rand", "4294967295"), ("rand", "0")]);
    for (random, range, value) in [(u64::MAX, 6, 5), (0, 6, 0), (1 << 31, 6, 3), (u64::MAX, 0, 0), (u64::MAX, 1, 0)] {
        facts.random.set(random);
        check(&facts, &[(&format!("rand({range})"), &value.to_string())]);
    }
}

#[test]
fn uuids_have_version_and_variant() {
    let facts = Literal::default();
    facts.random.set(u64::MAX);
    assert_eq!(given(&facts, "uuid", false), "ffffffff-ffff-4fff-8000-000000000000");
    facts.random.set(0);
    assert_eq!(given(&facts, "uuid(4)", false), "00000000-0000-4000-8000-000000000001");
}

#[test]
fn loads_are_of_what_is_named_or_of_the_current_proxy() {
    let (backend, other) = (BackendId::new(0), BackendId::new(7));
    let (server, table) = (ServerId::new(2), TableId::new(1));
    let counts = vec![
        (Count::AverageQueue(backend), 1),
        (Count::BackendConnections(backend), 2),
        (Count::BackendConnections(other), 3),
        (Count::BackendConnectionsFree(backend), -1),
        (Count::BackendSessionRate(backend), 4),
        (Count::ConnectionSlots(backend), 5),
        (Count::UsableServers(other), 6),
        (Count::Queue(backend), 7),
        (Count::FrontendConnections(FrontendId::new(0)), 8),
        (Count::FrontendSessionRate(FrontendId::new(3)), 9),
        (Count::ServerConnections(server), 10),
        (Count::ServerConnectionsFree(server), 11),
        (Count::ServerIsUp(server), 1),
        (Count::ServerQueue(server), 12),
        (Count::ServerSessionRate(server), 13),
        (Count::ServerInitialWeight(server), 14),
        (Count::ServerUserWeight(server), 15),
        (Count::ServerWeight(server), 16),
        (Count::TableUsed(table), 17),
        (Count::TableFree(table), 18),
    ];
    check(
        &Literal { counts, ..session() },
        &[
            ("avg_queue", "1"),
            ("be_conn", "2"),
            ("be_conn(7)", "3"),
            ("be_conn_free", "-1"),
            ("be_sess_rate", "4"),
            ("connslots", "5"),
            ("nbsrv(7)", "6"),
            ("queue(0)", "7"),
            ("fe_conn", "8"),
            ("fe_sess_rate(3)", "9"),
            ("srv_conn(2)", "10"),
            ("srv_conn_free(2)", "11"),
            ("srv_is_up(2)", "1"),
            ("srv_queue(2)", "12"),
            ("srv_sess_rate(2)", "13"),
            ("srv_iweight(2)", "14"),
            ("srv_uweight(2)", "15"),
            ("srv_weight(2)", "16"),
            ("table_cnt(1)", "17"),
            ("table_avl(1)", "18"),
            ("srv_is_up(5)", "-"),
        ],
    );
    check(&Literal::default(), &[("be_conn", "-"), ("fe_conn", "-"), ("nbsrv(7)", "-")]);
}

#[test]
fn addresses() {
    check(
        &session(),
        &[
            ("src", "127.0.0.1"),
            ("src_port", "37656"),
            ("src_is_local", "1"),
            ("fc_src", "2001:db8::7"),
            ("fc_src_port", "99"),
            ("fc_src_is_local", "0"),
            ("dst", "10.0.0.1"),
            ("dst_port", "1883"),
            ("dst_is_local", "0"),
            ("fc_dst", "10.0.0.1"),
            ("fc_dst_port", "1883"),
            ("fc_dst_is_local", "0"),
            ("bc_src", "127.0.0.1"),
            ("bc_src_port", "40248"),
            ("bc_dst", "127.0.0.2"),
            ("bc_dst_port", "36639"),
        ],
    );
    let unix = Literal { client: None, original_client: None, local: None, server_side: None, ..session() };
    check(&unix, &[("src", "-"), ("src_port", "-"), ("src_is_local", "1"), ("dst_is_local", "1"), ("bc_src", "-")]);
    check(&Literal::default(), &[("src", "-"), ("src_is_local", "-")]);
}

#[test]
fn names_numbers_and_timeouts_of_the_session() {
    let facts =
        Literal { request: Some((vec![0; 5], false)), response: Some((vec![0; 7], false)), last_rule: Some(("a.cfg", 12)), ..session() };
    check(
        &facts,
        &[
            ("fe_id", "42"),
            ("fe_name", "f"),
            ("fe_defbe", "b"),
            ("fe_client_timeout", "5000"),
            ("be_id", "43"),
            ("be_name", "b"),
            ("be_server_timeout", "6000"),
            ("be_tunnel_timeout", "0"),
            ("cur_server_timeout", "6001"),
            ("cur_tunnel_timeout", "-"),
            ("srv_id", "9"),
            ("srv_name", "s1"),
            ("so_id", "77"),
            ("so_name", "sock"),
            ("dst_conn", "1"),
            ("bytes_in", "5"),
            ("bytes_out", "7"),
            ("fc_rcvd_proxy", "0"),
            ("fc_rtt", "1"),
            ("fc_rtt(ms)", "1"),
            ("fc_rtt(us)", "1999"),
            ("fc_rttvar", "0"),
            ("fc_rttvar(us)", "10"),
            ("fc_lost", "3"),
            ("fc_sacked", "-"),
            ("last_rule_file", "a.cfg"),
            ("last_rule_line", "12"),
            ("txn.sess_term_state", "-"),
        ],
    );
    let nameless = Literal { bind: Some((3, None)), ..Literal::default() };
    check(&nameless, &[("so_id", "3"), ("so_name", "-"), ("fe_name", "-"), ("be_name", "-"), ("srv_name", "-"), ("last_rule_line", "-")]);
    assert!(refused("fc_rtt(s)").contains("none of"));
}

#[test]
fn wait_end_waits_for_the_end() {
    let facts = Literal::of_request(b"abc", false);
    assert_eq!((given(&facts, "wait_end", false), given(&facts, "wait_end", true)), ("?".into(), "1".into()));
}

#[test]
fn values_borrow_from_the_facts() {
    let facts = Literal::of_request(b"abc", true);
    let source = expression("req.payload(0,0)").unwrap();
    let Ok(sample) = evaluate(&source, Evaluation { facts: &facts, is_final: false }) else { panic!("no value") };
    let (Value::Binary(Data::Borrowed(found)), Some(kept)) = (sample.value, facts.request()) else { panic!("copied") };
    assert!(std::ptr::eq(found, kept.data));
}
