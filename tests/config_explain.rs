//! The converter: what it prints loads as the identical model, for the examples and for configurations put together at random.

mod config_common;

use config_common::{Random, examples, load, model, read, said};
use ringmain::config::explain::{convert, explain};
use ringmain::config::source::Request;
use ringmain_model::Model;

/// The model as TOML, which was seen to load as this very model.
fn round_trip(name: &str, original: &Model) -> String {
    let text = explain(original, |text| {
        let loaded = load("explained.toml", text);
        assert!(loaded.model.is_some(), "{name}: the converter's text does not load:\n{}\n{text}", said(&loaded));
        loaded.model
    });
    let text = text.unwrap_or_else(|| panic!("{name}: the converter's text has another shape"));
    let again = model("explained.toml", &text);
    assert_eq!(again.global, original.global, "{name}:\n{text}");
    assert_eq!(again.frontends, original.frontends, "{name}:\n{text}");
    assert_eq!(again.backends, original.backends, "{name}:\n{text}");
    assert_eq!(again.servers, original.servers, "{name}:\n{text}");
    assert_eq!(again.tables, original.tables, "{name}:\n{text}");
    assert_eq!(again.variables, original.variables, "{name}:\n{text}");
    text
}

#[test]
fn every_example_survives_conversion() {
    for path in examples() {
        let (name, text) = read(&path);
        round_trip(&name, &model(&name, &text));
    }
}

#[test]
fn names_of_hosts_are_not_asked_for() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let text = "defaults\n timeout connect 1s\n timeout server 1s\nbackend b\n server s no-such-host.invalid:1883 check\n";
    std::fs::write(directory.path().join("a.cfg"), text).expect("written");
    let request = Request { paths: vec!["a.cfg".into()], directory: Some(directory.path().to_owned()) };
    let (loaded, text) = convert(&request, &config_common::context());
    let text = text.unwrap_or_else(|| panic!("{}", said(&loaded)));
    assert!(text.contains(r#"{ name = "s", address = "no-such-host.invalid:1883", check = true }"#), "{text}");
}

#[test]
fn the_text_is_clean() {
    let (name, text) = read(&examples().into_iter().find(|path| path.ends_with("mqtt.cfg")).expect("mqtt.cfg"));
    insta::assert_snapshot!(round_trip(&name, &model(&name, &text)));
}

/// Lines for each kind of section; what does not go together is left to the loader to refuse.
const GLOBAL: &[&str] = &[
    "maxconn 500",
    "nbthread 3",
    "cpu-map 1/2 1",
    "daemon",
    "pidfile /run/x.pid",
    "log 127.0.0.1:514 local0",
    "log /dev/log format iso daemon notice",
    "log stdout format short local7 debug err",
    "log fd@5 len 80 sample 2:3 kern",
    "log-tag tag",
    "log-send-hostname",
    "log-send-hostname me",
    "node n",
    "description 'a b \"c\" \\ ${D} #'",
    "uid 7",
    "gid 8",
    "chroot /var/empty",
    "ulimit-n 3000",
    "hard-stop-after 90s",
    "grace 1500ms",
    "setenv A '${X}'",
    "presetenv B \"it's\"",
    "unsetenv RINGMAIN_DEMO_A",
    "stats socket /run/s.sock mode 600 level admin",
    "stats socket 127.0.0.1:9 level user",
    "stats socket abns@x",
    "stats timeout 3s",
    "stats maxconn 3",
    "tune.pipesize 65536",
    "tune.rcvbuf.client 4096",
    "tune.sndbuf.server 8192",
    "tune.ring.mode portable",
    "tune.ring.buffers 64",
    "tune.ring.buffer-size 1024",
    "nosplice",
    "fd-hard-limit 5000",
    "state-file /var/lib/state",
    "set-var proc.start date",
    "set-var proc.z int(%)",
];
const BOTH: &[&str] = &[
    "id 50",
    "id 7",
    "description \"d e\"",
    "disabled",
    "log global",
    "log 127.0.0.1:1 local1",
    "no log",
    "log-tag mine",
    "option tcplog",
    "log-format \"%ci '%b' [%t]\"",
    "option nolinger",
    "option independent-streams",
    "option tcpka",
    "option mqtt-drain",
    "option mqtt-drain rate 9",
    "no option mqtt-drain",
    "option splice-auto",
    "no option splice-response",
    "acl a src 10.0.0.0/8 ::1",
    "acl a src_port gt 5 lt 3",
    "acl b var(txn.v) -m str 'x y' \"it's\"",
    "acl TRUE src 127.0.0.1",
    "tcp-request inspect-delay 5s",
    "tcp-request content accept if a or TRUE",
    "tcp-request content reject unless { req.len 0 } !WAIT_END",
    "tcp-request content set-var(txn.v) str('a b'),upper if !a",
    "tcp-request content set-var(sess.w,ifnotexists,ifgt) src_port",
    "tcp-request content set-var-fmt(req.f) \"%[src] %[var(sess.w)]\"",
    "tcp-request content unset-var(sess.w)",
    "tcp-request content track-sc2 src table shared/t",
    "tcp-request content sc-inc-gpc0(2) if b",
    "tcp-request content sc-inc-gpc(4,1)",
    "tcp-request content sc-set-gpt0(0) src_port",
    "tcp-request content sc-add-gpc(1,2) 7",
    "tcp-request content set-src src,ipmask(24)",
    "tcp-request content set-dst-port int(80)",
    "tcp-request content set-mark 0x10",
    "tcp-request content set-tos 32",
    "tcp-request content set-log-level notice",
    "tcp-request content set-nice -10",
    "tcp-request content silent-drop",
    "tcp-request content do-log",
    "stick-table type ip size 1k",
    "stick-table type string len 9 size 2k expire 1h nopurge store gpc(3),gpc_rate(2,10s),conn_cur write-to shared/t",
    "stick-table type binary size 5 store server_key",
    "stick-table type integer size 5 store server_id,server_key,bytes_in_rate(1m)",
];
const FRONT: &[&str] = &[
    "bind 127.0.0.1:%",
    "bind :% name n",
    "bind [::1]:% v6only id 9",
    "bind :::% v4v6 backlog 5",
    "bind 127.0.0.1:% maxconn 3 interface lo",
    "bind /run/%.sock mode 600 uid 3 gid 4",
    "bind unix@rel-%.sock",
    "bind abns@a%",
    "bind fd@3",
    "maxconn 77",
    "backlog 99",
    "rate-limit sessions 5",
    "timeout client 10s",
    "timeout client 0",
    "timeout client-fin 1",
    "option dontlognull",
    "option dontlog-normal",
    "option logasap",
    "option log-separate-errors",
    "option clitcpka",
    "option socket-stats",
    "option mqtt-stats",
    "default_backend b0",
    "use_backend b1",
    "use_backend b0 if a",
    "use_backend b%[src_port] unless { src ::1 } b",
    "tcp-request content capture src len 5",
    "tcp-request connection expect-proxy layer4 if a",
    "tcp-request connection track-sc0 src table shared/t",
    "tcp-request session reject if { sc_conn_rate(0) gt 5 }",
    "error-log-format %ci",
    "log-format-sd \"[a@1 b=\\\"%ci\\\"]\"",
];
const BACK: &[&str] = &[
    "balance leastconn",
    "balance static-rr",
    "balance first",
    "balance source",
    "balance random(4)",
    "balance hash src,ipmask(24)",
    "stick on src table shared/t",
    "stick match src,ipmask(24) if a || b",
    "stick store-request src unless FALSE",
    "stick store-response src table shared/t if { res.len gt 3 }",
    "use-server t if { src 127.0.0.1 }",
    "use-server %[src] if TRUE",
    "force-persist if a",
    "ignore-persist unless b",
    "tcp-response inspect-delay 100ms",
    "tcp-response content close if { res.len gt 9 }",
    "tcp-response content set-var(res.x) res.len",
    "hash-type consistent wt6 avalanche",
    "hash-type map-based crc32",
    "fullconn 33",
    "retries 0",
    "option redispatch",
    "option redispatch 2",
    "option redispatch -3",
    "timeout connect 3s",
    "timeout server 1h",
    "timeout server-fin 61s",
    "timeout queue 7s",
    "timeout check 1d",
    "timeout tunnel 2m",
    "source 127.0.0.1",
    "source 127.0.0.1:99 interface lo",
    "source ::1",
    "option allbackups",
    "option abortonclose",
    "option srvtcpka",
    "option log-health-checks",
    "option mqtt-check",
    "option mqtt-check version 5 user 'a b' password c client-id d",
    "default-server inter 5s weight 9",
    "default-server check fall 7",
    "server % 127.0.0.1:80",
    "server % [::1]:80 check inter 1s",
    "server % localhost:80 check fastinter 10ms downinter 9s rise 4 fall 5 port 81 addr 127.0.0.2",
    "server % six.example.org:1 maxconn 5 minconn 2",
    "server % 127.0.0.1 backup disabled",
    "server % 127.0.0.1:+10 weight 0 id 77",
    "server % :-10 slowstart 5s check",
    "server % 127.0.0.1:1 check observe layer4 error-limit 3 on-error sudden-death on-marked-down shutdown-sessions",
    "server % nowhere.invalid:1 init-addr none",
    "server % nowhere.invalid:1 init-addr libc,192.0.2.1",
    "server % /run/s.sock",
    "server % abns@x maxqueue 4 source 127.0.0.3",
    "server % 127.0.0.1:1 track b0/t",
    "server % 127.0.0.1:1 check on-marked-up shutdown-backup-sessions",
];

fn lines(text: &mut String, random: &mut Random, choices: &[&str], most: usize) {
    for _ in 0..random.below(most) {
        let unique = format!("{}", random.next() % 30_000 + 1000);
        let mark = if choices.len() == BOTH.len() { "%" } else { &unique };
        // An expression keeps its percent sign.
        let line = random.pick(choices).replace("%[", "\u{1}").replace('%', mark).replace('\u{1}', "%[");
        text.push_str(&format!("  {line}\n"));
    }
}

fn random_configuration(seed: u64) -> String {
    let mut random = Random(seed);
    let mut text = "global\n".to_owned();
    lines(&mut text, &mut random, GLOBAL, 12);
    if random.below(2) == 0 {
        text.push_str("peers shared\n  table t type ip size 1k store gpc0,conn_rate(10s)\n");
    }
    if random.below(2) == 0 {
        text.push_str("defaults\n  timeout connect 4s\n  option dontlognull\n  retries 5\n  log global\n");
    }
    text.push_str("backend b0\n  server t 127.0.0.1:9 check\n");
    for number in 0..random.below(5) {
        match random.below(3) {
            0 => {
                text.push_str(&format!("frontend f{number}\n  bind :{}\n", 100 + number));
                lines(&mut text, &mut random, BOTH, 5);
                lines(&mut text, &mut random, FRONT, 9);
            }
            1 => {
                text.push_str(&format!("backend b{}\n", number + 2));
                lines(&mut text, &mut random, BOTH, 5);
                lines(&mut text, &mut random, BACK, 9);
            }
            _ => {
                text.push_str(&format!("listen l{number}\n  bind :{}\n", 200 + number));
                lines(&mut text, &mut random, BOTH, 5);
                lines(&mut text, &mut random, FRONT, 6);
                lines(&mut text, &mut random, BACK, 9);
            }
        }
    }
    text.push_str("backend b1\n  server t 127.0.0.1:9\n");
    text
}

/// Drops lines that are refused until the rest loads.
fn loadable(mut text: String) -> Option<(String, Model)> {
    for _ in 0..40 {
        let loaded = load("random.cfg", &text);
        if let Some(model) = loaded.model {
            return Some((text, model));
        }
        let bad = loaded.diagnostics.list().iter().filter(|finding| finding.class != ringmain::config::diagnostic::Class::Warning);
        let line = bad
            .filter_map(|finding| finding.span)
            .map(|span| loaded.sources.get(span.source).map(|source| source.line_number(span.start)))
            .next()??;
        text = text.lines().enumerate().filter(|(index, _)| index + 1 != line).map(|(_, line)| format!("{line}\n")).collect();
    }
    None
}

#[test]
fn random_configurations_survive_conversion() {
    let mut tried = 0;
    for seed in 0..300 {
        if let Some((text, original)) = loadable(random_configuration(seed)) {
            tried += 1;
            round_trip(&format!("seed {seed}\n{text}"), &original);
        }
    }
    assert!(tried > 200, "only {tried} of 300 configurations were usable");
}
