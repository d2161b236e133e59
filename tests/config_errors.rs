//! A gallery of what is said about mistakes, in both languages: read the snapshots as an operator would.

mod config_common;

use config_common::{load, said};
use ringmain::config::diagnostic::Class;

/// All that is said about each of these texts, one after the other.
fn gallery(name: &str, texts: &[&str]) -> String {
    let show = |text: &&str| {
        let loaded = load(name, text);
        let said = said(&loaded);
        assert!(!said.is_empty(), "nothing was said about:\n{text}");
        said
    };
    texts.iter().map(show).collect::<Vec<_>>().join("----------\n")
}

#[test]
fn mistakes_in_haproxy_cfg() {
    let texts = [
        "global\n  maxcon 100\n",
        "globl\n  maxconn 100\n",
        "maxconn 100\n",
        "global\n  maxconn many\n",
        "defaults\n  timeout client 10x\n",
        "defaults\n  timeout clint 10s\n",
        "defaults\n  timeout client\n",
        "defaults\n  option tcplgo\n",
        "listen a\n  mode http\n  bind :1\n",
        "peers mine\n  peer a 192.0.2.1:1024\n",
        "frontend a\n  bind :1883 ssl crt /etc/server.pem\n  default_backend b\nbackend b\n",
        "frontend a\n  bind *:99999\n  default_backend nowhere\n",
        "frontend a b\n  bind :1\n",
        "frontend a\n  bind :1\nfrontend a\n  bind :2\n",
        "backend b\n  balance roundrobbin\n  server s 127.0.0.1:80 chek\n  server s 127.0.0.1:81\n",
        "backend b\n  server s 127.0.0.1:80 weight 257 check inter 0\n",
        "backend b\n  server s no-such-host.invalid:80\n",
        "backend b\n  server s 127.0.0.1:80 track b/t\n",
        "backend b\n  stick-table type strng len 32 size 100k expire 30m\n  stick on req.payload(0,0), mqtt_field_value(conect, client_identifier)\n",
        "backend b\n  stick-table type string size 100k store gpc0,con_rate(10s)\n  stick on src table a\n  use-server s if { src 10.0.0.0/8 }\n",
        "frontend a\n  bind :1\n  tcp-request content rejct unless { req.payload(0,0), mqtt_is_valid }\n  tcp-request content track-sc0 src\n  \
         tcp-request connection capture src len 5\n  tcp-request content reject if invalid\n  use_backend c if { src 10.0.0.1 }\n",
        "frontend a\n  bind :1\n  tcp-request content set-var(txn.a,ifempt) src\n  tcp-request content switch-mode http\n  tcp-response content accept\n",
        "global\n  description \"never closed\n",
        "global\n  description \"${NEVER_CLOSED\"\n",
        "global\n.if defined(X)\n  maxconn 1\n",
        "listen a from nowhere\n  bind :1\n",
        "listen a\n  bind :1\n  server s 127.0.0.1:1\n",
        "global\n  maxconn 1",
    ];
    insta::assert_snapshot!(gallery("haproxy.cfg", &texts));
}

#[test]
fn mistakes_in_toml() {
    let texts = [
        "[global]\nmaxcon = 100\n",
        "[globl]\nmaxconn = 100\n",
        "maxconn = 100\n",
        "[global]\nmaxconn = \"many\"\n",
        "[global]\nmaxconn = [1,\n",
        "[global]\nmaxconn = 1\nmaxconn = 2\n",
        "[defaults]\ntimeout = { client = \"10x\", clint = \"10s\" }\n",
        "[defaults]\ntimeout_client = \"10s\"\n",
        "[defaults]\ntimeout = { client = true }\noption = { tcpka = \"maybe\" }\n",
        "[listen.a]\nmode = \"http\"\nbind = \"*:1\"\n",
        "[peers.mine]\n",
        "[frontend.a]\nbind = [{ address = \"*:8883\", tls = { certificate = [\"server.pem\"], verify = \"required\" } }]\ndefault_backend = \"b\"\n[backend.b]\n",
        "[frontend.a]\nbind = { adress = \"*:1883\" }\ndefault_backend = \"nowhere\"\n",
        "[frontend.a]\nbind = \"*:1883\"\ntcp_request = { inspect_delay = \"10s\", rules = [\"content reject unless { req.payload(0,0),mqtt_is_valid }\"] }\n\
         default_backend = \"b\"\n[backend.b]\nstick_table = { type = \"string\", lenght = 32 }\nstick = \"onn src\"\nservers = [{ name = \"s\", address = \"127.0.0.1:1\" }]\n",
        "[backend.b]\nbalance = \"roundrobbin\"\nservers = [\n  { name = \"s\", address = \"127.0.0.1:80\", chek = true },\n  { name = \"s\" },\n]\n",
        "[backend.b]\nservers = [{ name = \"s\", address = \"127.0.0.1:80\", weight = 257 }]\n",
        "[backend.b]\nservers = [{ name = \"s\", address = \"127.0.0.1:80\", send_proxy = \"v2-ssl-cn\" }]\n",
        "[backend.'a b']\n",
        "[listen.a]\nfrom = \"nowhere\"\nbind = 1883\n",
        "[global]\ndescription = \"${NEVER_CLOSED\"\nlog = { to = \"127.0.0.1\" }\n",
        "[frontend]\nbind = \"*:1\"\n",
    ];
    insta::assert_snapshot!(gallery("ringmain.toml", &texts));
}

/// The native language as it was designed; what is not there yet is refused as such, each thing once, and nothing else is wrong.
const SKETCH: &str = r#"
[global]
maxconn = 1_024_000
log = [{ to = "127.0.0.1:514", facility = "local3", level = "info" }]

[defaults]
mode = "tcp"
log_format = "tcp"
timeout = { connect = "10s", client = "240s", server = "240s" }

[frontend.mqtt]
bind = ["*:1883", { address = "*:8883", tls = { certificate = ["certs/server.pem"], client_ca = "certs/ca.pem", verify = "required" } }]
tcp_request = { inspect_delay = "10s", rules = ["content reject unless { req.payload(0,0),mqtt_is_valid }"] }
default_backend = "brokers"

[backend.brokers]
balance = "roundrobin"
stick_table = { type = "string", length = 32, size = "100k", expire = "30m" }
stick = ["on req.payload(0,0),mqtt_field_value(connect,client_identifier)"]
servers = [
  { name = "emqx1", address = "emqx1-cluster.emqx.io:1883", check = true, weight = 5 },
  { name = "emqx2", address = "emqx2-cluster.emqx.io:1883", check = true, weight = 2, send_proxy = "v2-ssl-cn" },
]
"#;

#[test]
fn the_sketch_of_the_native_language() {
    let loaded = load("sketch.toml", SKETCH);
    assert!(loaded.diagnostics.list().iter().all(|finding| finding.class != Class::Error), "{}", said(&loaded));
    let refused: Vec<&str> = loaded
        .diagnostics
        .list()
        .iter()
        .filter(|finding| finding.class == Class::Unsupported)
        .filter_map(|finding| finding.span)
        .map(|span| &SKETCH[span.start as usize..span.end as usize])
        .collect();
    assert_eq!(refused, ["tls", "send_proxy"]);
    let supported =
        SKETCH.replace(", tls = { certificate = [\"certs/server.pem\"], client_ca = \"certs/ca.pem\", verify = \"required\" }", "");
    let supported = supported.replace(", send_proxy = \"v2-ssl-cn\"", "");
    let model = load("sketch.toml", &supported).model.expect("the rest loads");
    assert_eq!((model.frontends[0].rules.content.len(), model.backends[0].rules.stick_request.len(), model.tables.len()), (1, 1, 1));
    assert_eq!((model.global.maxconn, model.frontends[0].binds.len(), model.servers[1].weight), (1_024_000, 2, 2));
}
