//! Tests of the way from text to model.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use proptest::prelude::*;
use ringmain_model::*;

use super::*;
use crate::config::diagnostic::Class;
use crate::config::{Loaded, load_texts};

/// A machine that is the same everywhere.
pub(crate) struct FixedNames;

impl Names for FixedNames {
    fn host(&self, name: &str) -> Vec<IpAddr> {
        match name {
            "localhost" => vec![Ipv4Addr::LOCALHOST.into()],
            "both.test" => vec!["2001:db8::1".parse().expect("an address"), Ipv4Addr::new(192, 0, 2, 1).into()],
            name if name.ends_with(".emqx.io") => vec![Ipv4Addr::new(192, 0, 2, 7).into()],
            _ => Vec::new(),
        }
    }

    fn user(&self, name: &str) -> Option<u32> {
        [("root", 0), ("haproxy", 101)].iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.user(name)
    }
}

pub(crate) fn context() -> Context<'static> {
    Context { descriptor_limit: 20_000, cpu_count: 2, host_name: "node.test", names: &FixedNames }
}

pub(crate) fn load(text: &str) -> Loaded {
    load_texts(&[("f.cfg", text)], Environment::default(), &context())
}

const PRE: &str = "defaults\n timeout connect 1s\n timeout client 2s\n timeout server 3s\n";

fn model(text: &str) -> Model {
    let loaded = load(&format!("{PRE}{text}"));
    loaded.model.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

fn findings(text: &str) -> Vec<(Class, String)> {
    let loaded = load(&format!("{PRE}{text}"));
    loaded.diagnostics.list().iter().map(|finding| (finding.class, finding.message.clone())).collect()
}

fn errors(text: &str) -> Vec<String> {
    let loaded = load(&format!("{PRE}{text}"));
    assert!(loaded.model.is_none(), "accepted: {text}");
    let bad = loaded.diagnostics.list().iter().filter(|finding| matches!(finding.class, Class::Error | Class::Unsupported));
    bad.map(|finding| finding.message.clone()).collect()
}

#[test]
fn a_broker_cluster_becomes_a_model() {
    let text = "global\n log 127.0.0.1 local3 info\n daemon\n maxconn 1024000\ndefaults\n log global\n mode tcp\n option tcplog\n \
                timeout connect 10000\n timeout client 240s\n timeout server 240s\n maxconn 20000\nbackend mqtt_backend\n mode tcp\n balance \
                roundrobin\n server emqx1 emqx1-cluster.emqx.io:1883 check weight 5\n server emqx2 emqx2-cluster.emqx.io:1883 check weight \
                2\n server emqx3 emqx3-cluster.emqx.io:1883 check\nfrontend mqtt_servers\n bind *:1883\n mode tcp\n default_backend \
                mqtt_backend\n";
    let loaded = load(text);
    assert!(loaded.diagnostics.list().is_empty(), "{:#?}", loaded.diagnostics);
    let model = loaded.model.expect("valid");
    assert!(model.global.daemon);
    assert_eq!((model.global.maxconn, model.global.shards), (1_024_000, 2));
    let (front, back) = (&model.frontends[0], &model.backends[0]);
    assert_eq!((&*front.name, front.maxconn, front.route, front.proxy_id), ("mqtt_servers", 20_000, Some(BackendId::new(0)), 2));
    assert_eq!(front.binds[0].endpoint, Endpoint::Inet("0.0.0.0:1883".parse().expect("an address")));
    assert_eq!(front.binds[0].backlog, 20_000);
    assert_eq!(front.log.targets, model.global.log_targets);
    assert!(front.log.format.is_some());
    assert_eq!(back.timeouts.queue, Some(Milliseconds(10_000)));
    assert_eq!(back.fullconn, 2000);
    assert_eq!(model.servers.iter().map(|server| server.weight).collect::<Vec<_>>(), [5, 2, 1]);
    let expected = ServerAddress {
        host_text: "emqx1-cluster.emqx.io".into(),
        host: ServerHost::Ip(Ipv4Addr::new(192, 0, 2, 7).into()),
        port: ServerPort::Fixed(1883),
    };
    assert_eq!(model.servers[0].address, expected);
    let interval = Milliseconds(2000);
    let check = Check { inter: interval, fastinter: interval, downinter: interval, rise: 2, fall: 3, port: None, address: None };
    assert_eq!(model.servers[0].check, Some(check));
}

#[test]
fn defaults_are_copied_and_switched_off_again() {
    let text = "defaults a\n retries 7\n option tcpka\n option splice-auto\n default-server inter 5s weight 9\n timeout connect 4s\n timeout \
                client 4s\n timeout server 4s\ndefaults b from a\n retries 8\n no option srvtcpka\nlisten one from a\n bind :1\n default-server \
                weight 3\n server s 192.0.2.1:1 check\n no option splice-request\nlisten two from b\n bind :2\n server s 192.0.2.1:1\n";
    let model = model(text);
    assert_eq!(model.backends.iter().map(|back| back.retries).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(model.backends.iter().map(|back| back.options.server_tcp_keepalive).collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        (model.frontends[0].options.splice_request, model.frontends[0].options.splice_response),
        (SplicePolicy::Never, SplicePolicy::Always)
    );
    assert_eq!(model.servers.iter().map(|server| server.weight).collect::<Vec<_>>(), [3, 9]);
    assert_eq!(model.servers[0].check.map(|check| check.inter), Some(Milliseconds(5000)));
    assert!(model.servers[1].check.is_none());
}

/// The numbers that HAProxy 2.6.12 showed in `show stat` for this file.
#[test]
fn numbers_are_haproxys() {
    let text = "global\n stats socket /tmp/x level admin\nfrontend f1\n bind :1\n bind :2 id 1\n bind :3-4\n bind :5 name x\n default_backend \
                b1\n maxconn 1000\nbackend b1\n server s1 192.0.2.1:1\n server s2 192.0.2.1:1 id 1\n server s3 192.0.2.1:1\n server s4 \
                192.0.2.1:1 id 7\n server s5 192.0.2.1:1\nlisten l1\n id 2\n bind :6\n server s1 192.0.2.1:1\n server s2 192.0.2.1:1 minconn \
                5\nbackend b2\n server s1 192.0.2.1:1\nfrontend f2\n bind :7\n maxconn 50\n default_backend b1\n";
    let model = model(text);
    assert_eq!(model.frontends.iter().map(|front| front.proxy_id).collect::<Vec<_>>(), [3, 2, 7]);
    assert_eq!(model.backends.iter().map(|back| back.proxy_id).collect::<Vec<_>>(), [4, 2, 6]);
    assert_eq!(model.frontends[0].binds.iter().map(|bind| bind.id).collect::<Vec<_>>(), [2, 1, 4, 5, 6]);
    assert_eq!(model.servers.iter().map(|server| server.id).collect::<Vec<_>>(), [2, 1, 4, 7, 6, 1, 2, 1]);
    assert_eq!(model.backends[0].fullconn, 105);
    assert_eq!(model.backends[2].fullconn, 1);
    assert_eq!((model.servers[6].minconn, model.servers[6].maxconn), (5, 5));
}

#[test]
fn capacity_follows_from_descriptors() {
    let model = model("listen l\n bind :1\n server s 192.0.2.1:1\n");
    // 20000 descriptors less those of the process, of two shards with a listener each, and of ten runtime connections, halved.
    let expected = (20_000 - capacity::own_descriptors(2, 1, 0, 10)) / 2;
    assert_eq!(u64::from(model.global.maxconn), expected);
    assert_eq!(u64::from(model.frontends[0].maxconn), expected);
    assert_eq!(u64::from(model.backends[0].fullconn), expected.div_ceil(10));
    let limited =
        super::tests::model("global\n fd-hard-limit 1000\n nbthread 1\n cpu-map 1/all 3\nlisten l\n bind :1\n server s 192.0.2.1:1\n");
    let expected = (1000 - capacity::own_descriptors(1, 1, 0, 10)) / 2;
    assert_eq!((u64::from(limited.global.maxconn), limited.global.shard_cpus), (expected, vec![Some(3)]));
}

#[test]
fn backends_do_not_inherit_routes() {
    let text = "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n default_backend b\nbackend b\n server s \
                192.0.2.1:1\nfrontend f\n bind :1\n";
    let model = load(text).model.expect("valid");
    assert_eq!(model.frontends[0].route, Some(BackendId::new(0)));
}

#[test]
fn cpu_map_spreads_shards() {
    let map = |line: &str| model(&format!("global\n nbthread 4\n {line}\nlisten l\n bind :1\n server s 192.0.2.1:1\n")).global.shard_cpus;
    assert_eq!(map("cpu-map auto:1/1-4 0-3"), [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(map("cpu-map 1/2-3 4-5"), [None, Some(5), Some(4), None]);
    assert_eq!(map("cpu-map 1 6"), [Some(6); 4]);
    assert_eq!(map("cpu-map 2/1 6"), [None; 4]);
}

#[test]
fn names_are_resolved_by_family_and_method() {
    let host = |server: &str| model(&format!("listen l\n bind :1\n server s {server}\n")).servers[0].address.host.clone();
    assert_eq!(host("both.test:1"), ServerHost::Ip("2001:db8::1".parse().expect("an address")));
    assert_eq!(host("ipv4@both.test:1"), ServerHost::Ip(Ipv4Addr::new(192, 0, 2, 1).into()));
    assert_eq!(host("absent.test:1 init-addr none"), ServerHost::Unresolved);
    assert_eq!(host("absent.test:1 init-addr last,libc,192.0.2.9"), ServerHost::Ip(Ipv4Addr::new(192, 0, 2, 9).into()));
    assert_eq!(errors("listen l\n bind :1\n server s absent.test:1\n"), ["the name 'absent.test' cannot be resolved"]);
}

#[test]
fn tracking_needs_a_checked_server_at_its_end() {
    let listen = |servers: &str| format!("listen l\n bind :1\n{servers}");
    let chain = model(&listen(" server a 192.0.2.1:1 track b\n server b 192.0.2.1:1 track l/c\n server c 192.0.2.1:1 check disabled\n"));
    assert_eq!(chain.servers.iter().map(|server| server.track).collect::<Vec<_>>(), [Some(ServerId::new(1)), Some(ServerId::new(2)), None]);
    let ring = errors(&listen(" server a 192.0.2.1:1 track b\n server b 192.0.2.1:1 track a\n"));
    assert_eq!(ring, ["these servers track each other in a ring"; 2]);
    assert_eq!(errors(&listen(" server a 192.0.2.1:1 track a\n")), ["these servers track each other in a ring"]);
    let lasso = " server a 192.0.2.1:1 track b\n server b 192.0.2.1:1 track c\n server c 192.0.2.1:1 track b\n";
    assert_eq!(errors(&listen(lasso)).len(), 2);
    assert_eq!(
        errors(&listen(" server a 192.0.2.1:1 track b\n server b 192.0.2.1:1\n")),
        ["server 'b' cannot be tracked: it has no health check"]
    );
    let both = " server a 192.0.2.1:1 track b check\n server b 192.0.2.1:1 check\n";
    assert_eq!(errors(&listen(both)), ["a server cannot have checks and track another one at the same time"]);
    assert_eq!(errors(&listen(" server a 192.0.2.1:1 track x/b\n")), ["there is no backend 'x' to track a server of"]);
}

#[test]
fn all_errors_are_reported_in_one_run() {
    let text = "global\n maxcon 5\nfrontend f\n bind :70000\n bind :80 nam x backlog 5\n timeout client 25d\n default_backend nowhere\nbackend b\n \
                balance roundrobbin\n server s 192.0.2.1:80 chek inter 0 weight 300\n server s 192.0.2.2:80\n";
    let expected = [
        "unknown keyword 'maxcon'",
        "'70000' is not a port",
        "'nam' is no option of 'bind'",
        "'25d' is too long a time for 'timeout client'",
        "there is no balancing algorithm 'roundrobbin'",
        "'chek' is no option of 'server'",
        "'inter' must be more than 0",
        "'weight' must be between 0 and 256",
        "there is no backend 'nowhere'",
        "backend 'b' has a server 's' already, at f.cfg:14",
    ];
    assert_eq!(errors(text), expected);
}

#[test]
fn slips_are_answered_with_what_was_meant() {
    assert_eq!(findings("global\n stats sokcet /tmp/x\n")[0].1, "there is no 'stats sokcet'");
    assert_eq!(errors("backend b\n server s 192.0.2.1:1 inter 5 wieght 5\n"), ["'wieght' is no option of 'server'"]);
    let loaded = load("frontend f\n bind :80 bakclog 5\n time-out client 3s\n timeout clinet 3s\n option tcp-log\n user x\n");
    let help: Vec<_> = loaded.diagnostics.list().iter().filter_map(|finding| finding.help.as_deref()).collect();
    let expected = [
        "did you mean 'backlog'?",
        "did you mean 'timeout'?",
        "did you mean 'timeout client'?",
        "did you mean 'option tcplog'?",
        "it belongs into global",
    ];
    assert_eq!(help[..5], expected);
}

#[test]
fn what_haproxy_knows_beyond_is_a_class_of_its_own() {
    for line in [
        "bind :81 ssl crt /etc/x.pem",
        "stick-table type ip size 1k peers p",
        "stick-table type ip size 1k srvkey addr",
        "http-request deny",
        "stats enable",
        "option httpchk GET /",
        "mode http",
        "balance uri",
        "server t 192.0.2.1:80 send-proxy",
        "server t 192.0.2.1:80 cookie w1 check",
        "server t *:80",
        "log tcp@192.0.2.1:514 local0",
        "source 0.0.0.0 usesrc client",
    ] {
        let found = findings(&format!("backend b\n server s 192.0.2.1:1\nlisten l\n bind :80\n server s 192.0.2.1:80\n {line}\n"));
        let mut bad = found.iter().filter(|(class, _)| *class != Class::Warning).peekable();
        assert!(bad.peek().is_some() && bad.all(|(class, _)| *class == Class::Unsupported), "{line}: {found:?}");
    }
}

#[test]
fn addresses_in_use_are_noticed() {
    let twice = "frontend f\n bind :80\n bind :79-80\n default_backend b\nbackend b\n server s 192.0.2.1:1\n";
    assert_eq!(model(twice).frontends[0].binds.len(), 2);
    assert_eq!(findings(twice).len(), 1);
    let rivals = "listen a\n bind :80\n server s 192.0.2.1:1\nlisten b\n bind *:80\n server s 192.0.2.1:1\n";
    assert_eq!(errors(rivals), ["frontend 'a' listens on this address already, at f.cfg:6"]);
    assert!(load(&format!("{PRE}{}", rivals.replace("listen b\n", "listen b\n disabled\n"))).model.is_some());
}

#[test]
fn warnings_are_given_where_haproxy_gives_them() {
    let warned = |text: &str| {
        let found = load(text);
        found
            .diagnostics
            .list()
            .iter()
            .filter(|finding| finding.class == Class::Warning)
            .map(|finding| finding.message.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warned("listen l\n bind :80\n server s 192.0.2.1:1\n"),
        ["proxy 'l' has no timeout client, no timeout connect, no timeout server: sessions may hang forever"]
    );
    let pre = |text: &str| warned(&format!("{PRE}{text}"));
    assert_eq!(
        pre("frontend f\n default_backend b\nbackend b\n server s 192.0.2.1:1\n"),
        ["frontend 'f' has no 'bind' and never gets a connection"]
    );
    assert_eq!(pre("frontend f\n bind :80\n"), ["frontend 'f' has no backend: every connection is closed"]);
    assert_eq!(pre("backend b\n maxconn 5\n server s 192.0.2.1:1\n"), ["'maxconn' is ignored: backend 'b' has no listening half"]);
    assert_eq!(
        pre("listen l\n bind :80\n server s 192.0.2.1:1 weight 10x\n"),
        ["'10x' is not a number; it is read as 10, as HAProxy does"]
    );
    assert_eq!(
        pre("listen l\n bind :80\n option httplog\n log 127.0.0.1 local0\n server s 192.0.2.1:1\n"),
        ["'option httplog' is 'option tcplog' for proxy 'l': it is not in mode http"]
    );
    assert_eq!(
        pre("listen l\n bind :80\n option tcplog\n server s 192.0.2.1:1\n"),
        ["this log format is not used: proxy 'l' has no log target"]
    );
    assert!(pre("listen l\n bind :80\n server s 192.0.2.1:1\n").is_empty());
    assert!(!errors("global\n zero-warning\nfrontend f\n bind :80\n").is_empty());
}

#[test]
fn the_environment_is_handed_to_children() {
    let model = model("global\n setenv A b\n unsetenv B\nlisten l\n bind :1\n server s 192.0.2.1:1\n");
    assert_eq!(model.global.environment, [("A".into(), Some("b".into()))]);
}

#[test]
fn a_large_file_is_read_in_linear_time() {
    let text = |servers: usize| {
        let mut text = format!("{PRE}listen l\n bind :1\n");
        for number in 0..servers {
            text.push_str(&format!(" server s{number} 192.0.2.1:1 check inter 5s weight 10 track t/s{number}\n").replace("check ", ""));
        }
        text.push_str("backend t\n");
        for number in 0..servers {
            text.push_str(&format!(" server s{number} 192.0.2.1:1 check inter 5s weight 10\n"));
        }
        text
    };
    // No clock: ten thousand servers with quadratic look-ups would take minutes in a debug build and hit the test runner's patience.
    let model = load(&text(10_000)).model.expect("valid");
    assert_eq!(model.servers.len(), 20_000);
}

/// Every example configuration, cut off at every line and at many bytes, gives a model or an error.
#[test]
fn every_prefix_of_an_example_gives_diagnostics_or_a_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "cfg")) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let step = (text.len() / 300).max(1);
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end) && end % step == 0) {
            let loaded = load(&text[..end]);
            assert!(loaded.model.is_some() || loaded.diagnostics.failed(), "{} cut at {end}", file.display());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn words_in_any_order_never_panic(lines in prop::collection::vec((0..KEYWORDS.len(), prop::collection::vec(0..WORDS.len(), 0..6)), 0..12)) {
        let mut text = String::from("global\n");
        for (keyword, words) in lines {
            let words: Vec<_> = words.into_iter().map(|word| WORDS[word]).collect();
            text.push_str(&format!("{} {}\n", KEYWORDS[keyword], words.join(" ")));
        }
        let loaded = load(&text);
        prop_assert!(loaded.model.is_some() || loaded.diagnostics.failed());
        for finding in loaded.diagnostics.list() {
            if let Some(span) = finding.span {
                prop_assert!(span.start <= span.end && span.end as usize <= text.len());
            }
        }
    }
}

const KEYWORDS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "bind",
    "server",
    "default-server",
    "balance",
    "hash-type",
    "timeout",
    "option",
    "no option",
    "log",
    "log-format",
    "maxconn",
    "stats socket",
    "cpu-map",
    "setenv",
    "source",
    "use_backend",
    "default_backend",
    "id",
    "mode",
    "rate-limit sessions",
    "tune.ring.buffers",
    "user",
    ".if",
    ".else",
    ".endif",
    "nbthread",
    "fullconn",
    "retries",
    "disabled",
    "peers",
    "table",
    "acl",
    "stick-table",
    "stick",
    "tcp-request content",
    "tcp-request connection",
    "tcp-response content",
    "use-server",
    "force-persist",
    "declare capture",
    "balance hash",
    "set-var",
];
const WORDS: &[&str] = &[
    "a",
    "b",
    "from",
    "127.0.0.1:80",
    ":80-90",
    "::1:5",
    "unix@/x",
    "check",
    "inter",
    "5s",
    "99999999999",
    "-1",
    "0",
    "1",
    "track",
    "a/b",
    "weight",
    "maxconn",
    "source",
    "interface",
    "lo",
    "random(2)",
    "random(",
    "leastconn",
    "consistent",
    "client",
    "tcplog",
    "global",
    "local0",
    "len",
    "sample",
    "1-2:3",
    "%ci",
    "\"${A-x}\"",
    "'",
    "\\x41",
    "1/all",
    "0-3",
    "if",
    "TRUE",
    "id",
    "port",
    "init-addr",
    "none",
    "level",
    "admin",
    "é",
    "type",
    "string",
    "size",
    "store",
    "gpc0,conn_rate(5s)",
    "on",
    "src,",
    "{",
    "}",
    "!a",
    "or",
    "accept",
    "track-sc0",
    "set-var(txn.a,",
    "sc-inc-gpc(1,2)",
    "capture",
    "proc.a",
    "%[src]",
];
