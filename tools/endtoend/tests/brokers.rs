//! Three real mosquitto brokers behind Ringmain, real MQTT clients in front: distribution, a broker killed, and its return.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use endtoend::logs::Logs;
use endtoend::process::{Process, find};
use endtoend::proxy::{Kind, Proxy, wait_for_port};
use endtoend::{port, wait};
use nix::sys::signal::Signal;

/// A mosquitto broker.
struct Broker {
    port: u16,
    process: Process,
}

impl Broker {
    fn start(folder: &Path, port: u16) -> Self {
        let config = folder.join(format!("mosquitto-{port}.conf"));
        std::fs::write(&config, format!("listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"))
            .expect("write a broker's file");
        let program = find("mosquitto").expect("mosquitto is installed (make test installs it)");
        let log = folder.join(format!("mosquitto-{port}.log"));
        let process = Process::start(Command::new(program).arg("-c").arg(config), &log);
        wait_for_port(port);
        Self { port, process }
    }
}

/// Where the same cluster is described.
#[derive(Clone, Copy)]
enum Language {
    HaProxy,
    Toml,
}

struct Cluster {
    brokers: Vec<Broker>,
    listen: u16,
    logs: Logs,
    proxy: Proxy,
    folder: tempfile::TempDir,
}

impl Cluster {
    fn start(language: Language, shards: u32) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let brokers: Vec<_> = (0..3).map(|_| Broker::start(folder.path(), port::free())).collect();
        let (listen, logs) = (port::free(), Logs::start());
        let proxy = match language {
            Language::HaProxy => Proxy::start(Kind::Ringmain, &haproxy_text(shards, listen, logs.port(), &brokers)),
            Language::Toml => Proxy::start_as(Kind::Ringmain, "mqtt.toml", &toml_text(shards, listen, logs.port(), &brokers), &[]),
        };
        for number in 1..=3 {
            wait::until("a broker to be checked", || proxy.stat("mqtt_backend", &format!("emqx{number}"), "check_status") == "L4OK");
        }
        Self { brokers, listen, logs, proxy, folder }
    }

    /// Starts a subscriber that stays; its session is the client's whole life.
    fn subscriber(&self, name: &str) -> Process {
        let program = find("mosquitto_sub").expect("mosquitto_sub is installed (make test installs it)");
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.listen.to_string(), "-i", name, "-t", "#", "-k", "30"]);
        Process::start(&mut command, &self.folder.path().join(format!("{name}.log")))
    }

    /// One message through the proxy; whether the broker took it.
    fn publish(&self, name: &str) -> bool {
        let program = find("mosquitto_pub").expect("mosquitto_pub is installed (make test installs it)");
        let status = Command::new(program)
            .args(["-h", "127.0.0.1", "-p", &self.listen.to_string(), "-i", name, "-q", "1", "-t", "road", "-m", "ok"])
            .stderr(Stdio::null())
            .status();
        status.expect("run mosquitto_pub").success()
    }

    fn sessions(&self) -> BTreeMap<String, u32> {
        let current = |name: &str| self.proxy.stat("mqtt_backend", name, "scur").parse().expect("a number");
        ["emqx1", "emqx2", "emqx3"].map(|name| (name.to_owned(), current(name))).into()
    }

    fn total(&self, server: &str) -> u32 {
        self.proxy.stat("mqtt_backend", server, "stot").parse().expect("a number")
    }

    fn status(&self, server: &str) -> String {
        self.proxy.stat("mqtt_backend", server, "status")
    }
}

fn haproxy_text(shards: u32, listen: u16, log: u16, brokers: &[Broker]) -> String {
    let mut text = format!(
        "global\n  log 127.0.0.1:{log} local3 info\n  maxconn 5000\n  nbthread {shards}\n  stats socket @SOCKET@ level admin\n\n\
         defaults\n  log global\n  mode tcp\n  option tcplog\n  option redispatch\n  timeout connect 10000\n  timeout client 240s\n  \
         timeout server 240s\n  maxconn 2000\n\nbackend mqtt_backend\n  mode tcp\n  balance roundrobin\n"
    );
    for (number, broker) in (1..).zip(brokers) {
        let _ = writeln!(text, "  server emqx{number} 127.0.0.1:{} check inter 200 rise 2 fall 3", broker.port);
    }
    let _ = write!(text, "\nfrontend mqtt_servers\n  bind *:{listen}\n  mode tcp\n  default_backend mqtt_backend\n");
    text
}

fn toml_text(shards: u32, listen: u16, log: u16, brokers: &[Broker]) -> String {
    let mut text = format!(
        r#"[global]
maxconn = 5000
shards = {shards}
log = [{{ to = "127.0.0.1:{log}", facility = "local3", level = "info" }}]
stats = {{ socket = [{{ address = "@SOCKET@", level = "admin" }}] }}

[defaults]
mode = "tcp"
log = "global"
log_format = "tcp"
option = {{ redispatch = true }}
timeout = {{ connect = "10s", client = "240s", server = "240s" }}
maxconn = 2000

[frontend.mqtt_servers]
bind = ["*:{listen}"]
default_backend = "mqtt_backend"

[backend.mqtt_backend]
balance = "roundrobin"
servers = [
"#
    );
    for (number, broker) in (1..).zip(brokers) {
        let _ = writeln!(
            text,
            "  {{ name = \"emqx{number}\", address = \"127.0.0.1:{}\", check = true, inter = \"200ms\", rise = 2, fall = 3 }},",
            broker.port
        );
    }
    text.push_str("]\n");
    text
}

fn ten_clients_and_a_dead_broker(language: Language, shards: u32) {
    let mut cluster = Cluster::start(language, shards);
    let clients: Vec<_> = (0..10).map(|number| cluster.subscriber(&format!("client-{number}"))).collect();
    wait::until("ten sessions", || cluster.sessions().values().sum::<u32>() == 10);
    let mut counts: Vec<u32> = cluster.sessions().into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [3, 3, 4], "ten connections over three brokers");
    assert!(cluster.publish("publisher"), "a message goes through");

    let victim = cluster.brokers[1].port;
    cluster.brokers[1].process.signal(Signal::SIGKILL);
    cluster.brokers[1].process.wait(Duration::from_secs(5));
    // Until the checks notice, redispatch serves clients.
    for number in 0..6 {
        assert!(cluster.publish(&format!("meanwhile-{number}")), "a client during the outage is served by another broker");
    }
    cluster.logs.wait_for("Server mqtt_backend/emqx2 is DOWN");
    assert!(cluster.status("emqx2").starts_with("DOWN"), "{}", cluster.status("emqx2"));
    let before = cluster.total("emqx2");
    for number in 0..9 {
        assert!(cluster.publish(&format!("down-{number}")));
    }
    assert_eq!(cluster.total("emqx2"), before, "no new connection reaches a broker that is down");

    cluster.brokers[1] = Broker::start(cluster.folder.path(), victim);
    cluster.logs.wait_for("Server mqtt_backend/emqx2 is UP");
    let reachable = SocketAddr::from(([127, 0, 0, 1], victim));
    assert!(TcpStream::connect(reachable).is_ok());
    for number in 0..6 {
        assert!(cluster.publish(&format!("back-{number}")));
    }
    assert_eq!(cluster.total("emqx2"), before + 2, "it gets its share again");
    drop(clients);
    wait::until("all sessions to end", || cluster.sessions().values().sum::<u32>() == 0);
}

#[test]
fn one_shard_from_haproxy_cfg() {
    ten_clients_and_a_dead_broker(Language::HaProxy, 1);
}

#[test]
fn two_shards_from_haproxy_cfg() {
    ten_clients_and_a_dead_broker(Language::HaProxy, 2);
}

#[test]
fn one_shard_from_toml() {
    ten_clients_and_a_dead_broker(Language::Toml, 1);
}

#[test]
fn two_shards_from_toml() {
    ten_clients_and_a_dead_broker(Language::Toml, 2);
}
