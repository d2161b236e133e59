//! What rules do, beside the real HAProxy with the same file: whom they let in, where they send them, what clients get, what the log line
//! says, and every counter of the statistics that rules move.

mod mix;

use mix::{GLOBALS, TWO, Then, Visit, asking, compare, scenario, visits};

#[test]
fn refusals_are_counted_and_logged_as_by_haproxy() {
    let two = [(1, "hello"), (2, "hello"), (1, "bad"), (2, "bad"), (1, "hello")];
    let delay = "tcp-request inspect-delay 5s";
    let bad = format!("{delay}\ntcp-request content reject if {{ req.payload(0,3) -m str bad }}");
    let forgotten = |name, rule: &str| {
        let visits = [(1, Then::Asks), (2, Then::Silence), (1, Then::Asks)];
        scenario(name, rule, TWO, visits.map(|(source, then)| (source, Vec::new(), then)).to_vec())
    };
    let scenarios = [
        scenario("connection", "tcp-request connection reject if { src 127.0.0.2 }", TWO, visits(&two)),
        scenario("session", "tcp-request session reject if { src 127.0.0.2 }", TWO, visits(&two)),
        scenario("content", &bad, TWO, visits(&two)),
        scenario("content-behind", "", &format!("{bad}\n{TWO}"), visits(&two)),
        scenario(
            "answer",
            "",
            &format!("tcp-response inspect-delay 5s\ntcp-response content reject if {{ res.payload(0,1) -m str b }}\n{TWO}"),
            asking(4),
        ),
        scenario(
            "answer-closed",
            "",
            &format!("tcp-response inspect-delay 5s\ntcp-response content close if {{ res.payload(0,1) -m str b }}\n{TWO}"),
            asking(4),
        ),
        forgotten("forgotten-connection", "tcp-request connection silent-drop if { src 127.0.0.2 }"),
        forgotten("forgotten-session", "tcp-request session silent-drop if { src 127.0.0.2 }"),
        forgotten("forgotten-content", "tcp-request content silent-drop if { src 127.0.0.2 }"),
        scenario(
            "quiet",
            &format!("{delay}\ntcp-request content set-log-level silent if {{ req.payload(0,3) -m str bad }}"),
            TWO,
            visits(&two),
        ),
        scenario("nobody", "", "server a @nobody@", asking(2)),
        scenario("leaves", "", TWO, vec![(1, Vec::new(), Then::Resets), (1, b"hello".to_vec(), Then::Ends)]),
        scenario("no-server", "", "server a @a@ disabled", asking(2)),
        scenario("until-end", "tcp-request inspect-delay 300\ntcp-request content accept if WAIT_END", TWO, visits(&two[..2])),
        scenario(
            "long-enough",
            &format!("{delay}\ntcp-request content accept if {{ req.len gt 4 }}\ntcp-request content reject"),
            TWO,
            visits(&two),
        ),
        scenario(
            "accepted-early",
            "tcp-request connection accept if { src 127.0.0.2 }\ntcp-request connection reject\ntcp-request session accept\n\
             tcp-request session reject",
            TWO,
            visits(&two),
        ),
    ];
    compare(&scenarios, &GLOBALS);
}

#[test]
fn connections_go_where_haproxy_sends_them() {
    let folder = tempfile::tempdir().expect("make a folder");
    let map = folder.path().join("map");
    std::fs::write(&map, "# a comment\none to-mapped.one\n  two   to-mapped.two\nnone nowhere\n").expect("write a map");
    let words = [(1, "one.."), (1, "two.."), (1, "three"), (1, "none."), (1, "xx"), (1, "")];
    let delay = "tcp-request inspect-delay 1s\ntcp-request content accept if { req.len ge 5 }";
    let backends = |name: &str| format!("server d @b@\nbackend to-{name}.one\nserver one @a@\nbackend to-{name}.two\nserver two @b@");
    let scenarios = [
        scenario(
            "chosen",
            &format!(
                "{delay}\nacl first req.payload(0,3) -m str one\nuse_backend to-chosen.one if first\n\
                 use_backend to-chosen.two if {{ req.payload(0,5) -m beg two thr }}"
            ),
            &backends("chosen"),
            visits(&words),
        ),
        scenario(
            "mapped",
            &format!("{delay}\nuse_backend %[req.payload(0,5),field(1,.),map_str({},to-mapped)]", map.display()),
            &backends("mapped"),
            visits(&words),
        ),
        scenario(
            "named",
            &format!("{delay}\nuse_backend to-named.%[req.payload(0,3)] if {{ req.len ge 5 }}"),
            &backends("named"),
            visits(&words),
        ),
        scenario(
            "server",
            delay,
            &format!(
                "use-server b if {{ req.payload(0,3) -m str one }}\nuse-server c unless {{ req.len gt 2 }}\n{TWO}\nserver c @a@ weight 0"
            ),
            visits(&words),
        ),
        scenario(
            "source",
            "",
            "balance hash src\nhash-type consistent\nserver a @a@\nserver b @b@",
            (1..=9).map(|source| (source, b"hello".to_vec(), Then::Ends)).collect(),
        ),
    ];
    compare(&scenarios, &GLOBALS);
}

#[test]
fn values_reach_the_log_as_in_haproxy() {
    let two = [(1, "hello"), (2, "other"), (1, "third"), (2, "")];
    let delay = "tcp-request inspect-delay 1s";
    let scenarios = [
        scenario(
            "variables",
            &format!(
                "tcp-request connection set-var(sess.from) src\ntcp-request session set-var(sess.port) int(7)\n{delay}\n\
                 tcp-request content set-var(txn.word) req.payload(0,5),upper if {{ req.len ge 5 }}\n\
                 tcp-request content set-var(req.word) req.payload(0,1) if {{ req.len ge 5 }}\n\
                 tcp-request content set-var(proc.rules_last) req.payload(0,5) if {{ req.len ge 5 }}\n\
                 tcp-request content unset-var(sess.port) if {{ src 127.0.0.2 }}\n\
                 log-format \"%[var(sess.from)] %[var(sess.port)] %[var(txn.word)] [%[var(req.word)]] [%[var(res.word)]] %[var(proc.rules_last)] %[var(txn.back)]\""
            ),
            &format!(
                "tcp-request content set-var(txn.back) var(req.word),concat(-,txn.word)\ntcp-response inspect-delay 1s\n\
                 tcp-response content set-var(res.word) res.payload(0,1)\n{TWO}"
            ),
            visits(&two),
        ),
        scenario(
            "captured",
            &format!(
                "{delay}\ntcp-request content capture req.payload(0,5) len 4 if {{ req.len ge 5 }}\n\
                 tcp-request content capture src len 20\nlog-format \"%hr\""
            ),
            TWO,
            visits(&two),
        ),
        scenario(
            "tagged",
            &format!(
                "stick-table type ip size 100 expire 1m store gpt0,gpc0,gpc1,conn_cnt,sess_cnt,bytes_in_cnt,bytes_out_cnt\n\
                 tcp-request connection track-sc0 src\n{delay}\ntcp-request content reject if {{ sc0_get_gpt0 eq 9 }} {{ req.len gt 0 }}\n\
                 tcp-request content sc-set-gpt0(0) 9 if {{ req.payload(0,5) -m str other }}\n\
                 tcp-request content sc-inc-gpc0(0)\ntcp-request content sc-inc-gpc1(0) if {{ req.len ge 5 }}\n\
                 log-format \"%ci %ts %[sc0_get_gpt0] %[sc0_get_gpc0] %[sc0_get_gpc1] %[sc0_conn_cnt] %[sc0_sess_cnt] %[sc0_conn_cur] %[src_get_gpt0]\""
            ),
            TWO,
            visits(&[(1, "hello"), (2, "other"), (2, "hello"), (1, "third"), (2, ""), (1, "other"), (1, "hello")]),
        ),
        scenario(
            "moved",
            &format!(
                "tcp-request connection set-src str(10.1.2.3) if {{ src 127.0.0.2 }}\n\
                 tcp-request connection set-src-port int(4444) if {{ src 10.1.2.3 }}\n{delay}\n\
                 tcp-request content set-dst str(10.9.9.9) if {{ src 10.1.2.3 }}\n\
                 tcp-request content set-dst-port int(5555) if {{ src 10.1.2.3 }}\n\
                 log-format \"%ci %fi %[src] %[dst] %cp %fp %[src_port] %[dst_port]\""
            ),
            TWO,
            visits(&[(2, "hello"), (2, ""), (2, "other")]),
        ),
        scenario(
            "levels",
            &format!(
                "{delay}\ntcp-request content set-log-level silent if {{ req.payload(0,3) -m str thi }}\n\
                 tcp-request content set-log-level err if {{ src 127.0.0.2 }}\nlog-format \"%ci\""
            ),
            TWO,
            visits(&two),
        ),
    ];
    compare(&scenarios, &GLOBALS);
}

/// A PROXY header of version 2 with addresses of version 4.
fn proxy_v2(command: u8, source: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    bytes.extend([0x20 | command, 0x11, 0, 12]);
    bytes.extend(source);
    bytes.extend([10, 0, 0, 9]);
    bytes.extend(port.to_be_bytes());
    bytes.extend(1883_u16.to_be_bytes());
    bytes
}

#[test]
fn proxy_headers_are_expected_from_whom_the_rule_says() {
    let headers: Vec<(u8, Vec<u8>)> = vec![
        (2, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 1883\r\nhello".to_vec()),
        (2, b"PROXY UNKNOWN\r\nhello".to_vec()),
        (2, b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 1883\r\nhello".to_vec()),
        (2, [proxy_v2(1, [192, 0, 2, 8], 4712), b"hello".to_vec()].concat()),
        (2, [proxy_v2(0, [192, 0, 2, 9], 4713), b"hello".to_vec()].concat()),
        (2, b"hello without a header\r\n".to_vec()),
        (2, b"PROXY TCP4 192.0.2.x 198.51.100.1 4711 1883\r\nhello".to_vec()),
        (2, b"PROXY TCP4 192.0.2.7".to_vec()),
        (1, b"hello".to_vec()),
        (1, b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 1883\r\nhello".to_vec()),
    ];
    let all: Vec<Visit> = headers.into_iter().map(|(source, bytes)| (source, bytes, Then::Ends)).collect();
    let format = "log-format \"%ci %[src] %[dst] %ts %U %B %s\"";
    let scenarios = [
        scenario("expected", &format!("tcp-request connection expect-proxy layer4 if {{ src 127.0.0.2 }}\n{format}"), TWO, all.clone()),
        scenario(
            "expected-then-refused",
            &format!(
                "tcp-request connection expect-proxy layer4 if {{ src 127.0.0.2 }}\n\
                 tcp-request session reject if {{ src 192.0.2.8 }}\ntcp-request content reject if {{ src 2001:db8::7 }} {{ req.len ge 0 }}\n{format}"
            ),
            TWO,
            all,
        ),
    ];
    compare(&scenarios, &GLOBALS);
}

#[test]
fn tables_are_matched_and_stored_apart() {
    let words = [(1, "aaaaa"), (1, "bbbbb"), (1, "aaaaa"), (1, "ccccc"), (1, "bbbbb"), (1, "aa"), (1, "ccccc")];
    let delay = "tcp-request inspect-delay 1s\ntcp-request content accept if { req.len ge 5 }";
    let table = "stick-table type string len 8 size 100 expire 1m";
    let scenarios = [
        scenario(
            "split",
            delay,
            &format!(
                "{table}\nstick match req.payload(0,5) if {{ req.len ge 5 }}\nstick store-request req.payload(0,5) unless {{ req.payload(0,1) -m str b }}\n{TWO}"
            ),
            visits(&words),
        ),
        scenario("answered", delay, &format!("{table}\nstick store-response res.payload(0,1)\n{TWO}"), visits(&words)),
        scenario(
            "answered-then-asked",
            delay,
            &format!("{table}\nstick match req.payload(0,1)\nstick store-response res.payload(0,1)\n{TWO}"),
            visits(&words),
        ),
        scenario(
            "elsewhere",
            delay,
            &format!("stick on req.payload(0,5) table to-elsewhere.keys\n{TWO}\nbackend to-elsewhere.keys\n{table} store conn_cnt"),
            visits(&words),
        ),
        scenario(
            "two-keys",
            delay,
            &format!("{table}\nstick match req.payload(0,1)\nstick on req.payload(0,5)\nstick store-request req.payload(0,1)\n{TWO}"),
            visits(&words),
        ),
    ];
    compare(&scenarios, &GLOBALS);
}

/// Tracked keys of all kinds, tables of other sections, converters that ask tables, and rules that come back to what others noted.
#[test]
fn rules_and_tables_work_together_as_in_haproxy() {
    let words = [(1, "aaaaa"), (2, "bbbbb"), (1, "aaaaa"), (2, "aaaaa"), (1, "bbbbb"), (1, "aaaaa"), (2, "bbbbb"), (1, "aa"), (2, "aaaaa")];
    let delay = "tcp-request inspect-delay 1s";
    let five = "{ req.len ge 5 }";
    let table = "stick-table type string len 8 size 100 expire 1m";
    let scenarios = [
        scenario(
            "words",
            &format!(
                "{delay}\ntcp-request content track-sc1 req.payload(0,5) table to-words.keys if {five}\n\
                 tcp-request content track-sc2 src table to-words.sources\n\
                 tcp-request content reject if {{ sc1_conn_cnt gt 3 }}\n\
                 tcp-request content sc-inc-gpc1(1) if {{ src 127.0.0.2 }}\n\
                 tcp-request content reject if {{ req.payload(0,5),table_gpc1(to-words.keys) gt 1 }} || {{ sc2_conn_cnt gt 5 }}\n\
                 log-format \"%ci %ts %[sc1_conn_cnt] %[sc2_conn_cnt] %[sc1_get_gpc1] %[src,in_table(to-words.sources)] %[src,table_conn_cnt(to-words.sources)] %[sc2_tracked]\""
            ),
            &format!(
                "{TWO}\nbackend to-words.keys\n{table} store conn_cnt,gpc1\nbackend to-words.sources\nstick-table type ip size 100 expire 1m store conn_cnt"
            ),
            visits(&words),
        ),
        scenario(
            "asked",
            "log-format \"%ci %[src,in_table(to-asked.sources)] %[src,table_conn_cnt(to-asked.sources)]\"",
            &format!("{TWO}\nbackend to-asked.sources\nstick-table type ip size 100 expire 1m store conn_cnt"),
            visits(&words),
        ),
        scenario(
            "asked-at-the-end",
            "log-format \"%ci %U %[src,in_table(to-asked-at-the-end.sources)]\"",
            &format!("{TWO}\nbackend to-asked-at-the-end.sources\nstick-table type ip size 100 expire 1m store conn_cnt"),
            visits(&words),
        ),
        scenario(
            "persisted",
            &format!("{delay}\ntcp-request content accept if {five}"),
            "use-server b if { req.payload(0,1) -m str b }\nforce-persist if { src 127.0.0.2 }\nserver a @a@\nserver b @b@ disabled",
            visits(&words),
        ),
        scenario(
            "conditions",
            &format!(
                "{delay}\nacl long req.len ge 5\nacl is_a req.payload(0,1) -m str a\nacl is_b req.payload(0,1) -m beg b\nacl mine src 127.0.0.1 10.0.0.0/8\n\
                 tcp-request content set-var(txn.seen) str(first) if long is_a or long is_b !mine\n\
                 tcp-request content set-var(txn.seen,ifexists) str(second) if mine\n\
                 tcp-request content set-var-fmt(txn.text) \"%ci-%[var(txn.seen)]-%[req.len]\"\n\
                 tcp-request content reject unless long || mine\ntcp-request content accept if is_b\n\
                 tcp-request content set-var(txn.last) int(5),add(2)\n\
                 log-format \"%ts %[var(txn.seen)] %[var(txn.text)] %[var(txn.last)]\""
            ),
            TWO,
            visits(&words),
        ),
        scenario(
            "early-tags",
            "stick-table type ip size 100 expire 1m store gpt0,gpc0,conn_cnt,sess_cnt\n\
             tcp-request connection track-sc0 src\ntcp-request connection sc-set-gpt0(0) 3 if { sc0_conn_cnt ge 3 }\n\
             tcp-request connection reject if { sc0_get_gpt0 eq 3 } { src 127.0.0.2 }\n\
             tcp-request session sc-inc-gpc0(0)\ntcp-request session reject if { sc0_get_gpc0 gt 3 }\n\
             log-format \"%ci %[sc0_get_gpt0] %[sc0_get_gpc0] %[sc0_sess_cnt] %[sc0_conn_cnt]\"",
            TWO,
            visits(&words),
        ),
    ];
    compare(&scenarios, &GLOBALS);
}
