//! MQTT clients that people use, through the first document's configuration: mosquitto's own, Eclipse Paho for Python and MQTT.js, versions
//! 3.1.1 and 5, over TCP and WebSocket, before three mosquitto brokers that pass messages on to each other.
//!
//! The checks themselves are in `clients/`, in the clients' languages; `tools/setup/install.sh test` installs what they need.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use endtoend::logs::Logs;
use endtoend::process::{Process, find};
use endtoend::proxy::{Kind, Proxy, wait_for_port};
use endtoend::{port, wait};
use nix::sys::signal::Signal;

/// What `tools/setup/install.sh test` installed for a language.
fn installed(what: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")), PathBuf::from);
    let folder = target.join("setup").join(what);
    assert!(folder.is_dir(), "{} is missing: run tools/setup/install.sh test", folder.display());
    folder
}

fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is not installed: run tools/setup/install.sh test"))
}

/// A broker with a plain and a WebSocket port. All but the first are bridged to the first, below `t/`.
struct Broker {
    port: u16,
    websocket: u16,
    _process: Process,
}

impl Broker {
    fn start(folder: &Path, number: usize, hub: Option<u16>) -> Self {
        let (port, websocket) = (port::free(), port::free());
        let mut text = format!(
            "allow_anonymous true\npersistence false\nlistener {port} 127.0.0.1\n\
             listener {websocket} 127.0.0.1\nprotocol websockets\n"
        );
        if let Some(hub) = hub {
            let _ = write!(
                text,
                "connection bridge{number}\naddress 127.0.0.1:{hub}\nbridge_protocol_version mqttv50\ntopic t/# both 2\n\
                 notifications_local_only true\ntry_private true\n"
            );
        }
        let config = folder.join(format!("broker{number}.conf"));
        std::fs::write(&config, text).expect("write a broker's file");
        let mut command = Command::new(program("mosquitto"));
        command.arg("-c").arg(config);
        let process = Process::start(&mut command, &folder.join(format!("broker{number}.log")));
        wait_for_port(port);
        wait_for_port(websocket);
        Self { port, websocket, _process: process }
    }
}

struct Cluster {
    proxy: Proxy,
    text: String,
    plain: u16,
    websocket: u16,
    brokers: Vec<Broker>,
    _logs: Logs,
    folder: tempfile::TempDir,
}

impl Cluster {
    fn start(shards: u32) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let hub = Broker::start(folder.path(), 1, None);
        let others = [2, 3].map(|number| Broker::start(folder.path(), number, Some(hub.port)));
        let brokers: Vec<_> = [hub].into_iter().chain(others).collect();
        let (plain, websocket, logs) = (port::free(), port::free(), Logs::start());
        let text = text(shards, plain, websocket, logs.port(), &brokers);
        let proxy = Proxy::start(Kind::Ringmain, &text);
        let cluster = Self { proxy, text, plain, websocket, brokers, _logs: logs, folder };
        cluster.wait_bridged();
        cluster
    }

    /// Waits until a message of any broker reaches every broker.
    fn wait_bridged(&self) {
        for (number, broker) in self.brokers.iter().enumerate().skip(1) {
            let topic = format!("t/bridged/{number}");
            let mut subscriber = self.mosquitto_sub(self.brokers[0].port, &["-t", &topic, "-C", "1"], &topic.replace('/', "-"));
            wait::until("a bridge", || {
                self.mosquitto_pub(broker.port, &["-t", &topic, "-m", "over", "-r", "-q", "1"]);
                !subscriber.is_running()
            });
        }
    }

    fn mosquitto_sub(&self, port: u16, arguments: &[&str], name: &str) -> Process {
        let mut command = Command::new(program("mosquitto_sub"));
        command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
        Process::start(&mut command, &self.folder.path().join(name))
    }

    fn mosquitto_pub(&self, port: u16, arguments: &[&str]) {
        let mut command = Command::new(program("mosquitto_pub"));
        let status = command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments).status();
        assert!(status.expect("run mosquitto_pub").success(), "mosquitto_pub {arguments:?}");
    }

    fn output(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn wait_for_output(&self, name: &str, text: &str) {
        wait::until(&format!("{text:?} from {name}"), || self.output(name).contains(text));
    }

    fn paho(&self, mode: &str) -> Command {
        let mut command = Command::new(program("python3"));
        command.env("PYTHONPATH", installed("python"));
        self.script(command, "paho_client.py", mode)
    }

    fn mqttjs(&self, mode: &str) -> Command {
        let mut command = Command::new(program("node"));
        command.env("MQTTJS_FOLDER", installed("node"));
        self.script(command, "mqttjs_client.mjs", mode)
    }

    fn script(&self, mut command: Command, file: &str, mode: &str) -> Command {
        command.arg(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/clients")).join(file));
        command.args([mode, &self.plain.to_string(), &self.websocket.to_string()]);
        command
    }

    /// Every broker has had connections of both kinds, and none of the proxy's sessions is left.
    fn settle(&self) {
        for backend in ["mqtt_backend", "mqtt_ws_backend"] {
            for number in 1..=self.brokers.len() {
                let total = self.proxy.stat(backend, &format!("emqx{number}"), "stot");
                assert_ne!(total, "0", "connections to {backend}/emqx{number}");
            }
            wait::until("all sessions to end", || self.proxy.stat(backend, "BACKEND", "scur") == "0");
            for column in ["econ", "eresp"] {
                assert_eq!(self.proxy.stat(backend, "BACKEND", column), "0", "{column} of {backend}");
            }
        }
        assert_eq!(self.proxy.stat("mqtt_servers", "FRONTEND", "dreq"), "0", "everything was MQTT");
    }
}

/// The document's sections; its blanks and comments as it has them.
fn text(shards: u32, plain: u16, websocket: u16, log: u16, brokers: &[Broker]) -> String {
    let servers = |websocket: bool, options: &str| {
        let mut lines = String::new();
        for (number, broker) in (1..).zip(brokers) {
            let port = if websocket { broker.websocket } else { broker.port };
            let _ = writeln!(lines, "  server emqx{number} 127.0.0.1:{port}{options}");
        }
        lines
    };
    format!(
        "global\n  log 127.0.0.1:{log} local3 info\n  daemon\n  maxconn 5000\n  nbthread {shards}\n  stats socket @SOCKET@ level admin\n\n\
         defaults\n  log global\n  mode tcp\n  option tcplog\n  #option dontlognull\n  timeout connect 10000\n  \
         # timeout > mqttのkeepalive * 1.2\n  timeout client 240s\n  timeout server 240s\n  maxconn 2000\n\n\
         backend mqtt_backend\n  mode tcp\n  stick-table type string len 32 size 100k expire 30m\n  \
         stick on req.payload(0,0), mqtt_field_value(connect, client_identifier)\n{}\n\
         frontend mqtt_servers\n  bind *:{plain}\n  mode tcp\n  # MQTTメッセージ解析のためバッファが溜まるのを待つ\n  \
         tcp-request inspect-delay 10s\n  # MQTT以外の接続を拒否\n  \
         tcp-request content reject unless {{ req.payload(0,0), mqtt_is_valid }}\n  default_backend mqtt_backend\n\n\
         backend mqtt_ws_backend\n  mode tcp\n  balance roundrobin\n{}\n\
         frontend mqtt_ws_frontend\n  bind *:{websocket}\n  mode tcp\n  default_backend mqtt_ws_backend\n",
        servers(false, ""),
        servers(true, " check")
    )
}

/// Runs a script to its end: its lines, all of them "ok".
fn lines_of(mut command: Command) -> Vec<String> {
    let output = command.output().expect("run a client's script");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn paho_and_mqttjs_find_everything_as_on_a_broker() {
    let cluster = Cluster::start(2);
    let (paho, mqttjs) = std::thread::scope(|scope| {
        let paho = scope.spawn(|| lines_of(cluster.paho("checks")));
        let mqttjs = lines_of(cluster.mqttjs("checks"));
        (paho.join().expect("Paho"), mqttjs)
    });
    for (name, lines) in [("paho", paho), ("mqttjs", mqttjs)] {
        // Four transports and versions with four checks, sessions over TCP, properties in version 5.
        assert_eq!(lines.iter().filter(|line| line.starts_with("ok ")).count(), 20, "{name}: {lines:#?}");
    }
    cluster.settle();
}

/// One version of mosquitto's clients: every quality of service, a retained message, a large one, a will.
fn mosquitto_clients(cluster: &Cluster, version: &str) {
    let topic = |name: &str| format!("t/mosquitto-{version}/{name}");
    let plain = cluster.plain;
    let id = |name: &str| format!("mosquitto-{version}-{name}");
    for qos in ["0", "1", "2"] {
        let (topic, name) = (topic(qos), id(qos));
        let arguments = ["-V", version, "-i", &name, "-q", qos, "-t", &topic, "-C", "2", "-F", "%q %p"];
        let mut reader = cluster.mosquitto_sub(plain, &arguments, &name);
        // The first message is kept: it is there whenever the subscription comes.
        cluster.mosquitto_pub(plain, &["-V", version, "-q", qos, "-t", &topic, "-r", "-m", "kept"]);
        cluster.wait_for_output(&name, &format!("{qos} kept\n"));
        cluster.mosquitto_pub(plain, &["-V", version, "-q", qos, "-t", &topic, "-m", "live"]);
        assert!(reader.wait(Duration::from_secs(20)).success());
        assert_eq!(cluster.output(&name), format!("{qos} kept\n{qos} live\n"));
    }
    large_message(cluster, version, &topic("large"), &id("large"));
    let (will, watcher, victim) = (topic("will"), id("watcher"), id("victim"));
    let _watcher = cluster.mosquitto_sub(plain, &["-V", version, "-i", &watcher, "-q", "1", "-t", &will], &watcher);
    cluster.mosquitto_pub(plain, &["-V", version, "-q", "1", "-t", &will, "-r", "-m", "watching"]);
    cluster.wait_for_output(&watcher, "watching\n");
    let arguments =
        ["-V", version, "-i", &victim, "-t", &will, "--will-topic", &will, "--will-payload", "gone", "--will-qos", "1", "-k", "30"];
    let mut process = cluster.mosquitto_sub(plain, &arguments, &victim);
    cluster.wait_for_output(&victim, "watching\n");
    process.signal(Signal::SIGKILL);
    process.wait(Duration::from_secs(20));
    cluster.wait_for_output(&watcher, "gone\n");
}

fn large_message(cluster: &Cluster, version: &str, topic: &str, name: &str) {
    let file = cluster.folder.path().join(format!("{name}-payload"));
    let payload: Vec<u8> = (0..1_usize << 20).map(|index| b'a' + (index * 7 % 25) as u8).collect();
    std::fs::write(&file, &payload).expect("write a payload");
    let mut reader = cluster.mosquitto_sub(cluster.plain, &["-V", version, "-i", name, "-q", "2", "-t", topic, "-C", "1", "-N"], name);
    cluster.mosquitto_pub(cluster.plain, &["-V", version, "-q", "2", "-r", "-t", topic, "-f", &file.to_string_lossy()]);
    assert!(reader.wait(Duration::from_secs(20)).success());
    assert!(cluster.output(name).as_bytes() == payload, "1 MiB came whole");
}

#[test]
fn mosquitto_clients_find_everything_as_on_a_broker() {
    let cluster = Cluster::start(2);
    std::thread::scope(|scope| {
        scope.spawn(|| mosquitto_clients(&cluster, "mqttv311"));
        scope.spawn(|| mosquitto_clients(&cluster, "mqttv5"));
    });
    user_properties(&cluster);
}

fn user_properties(cluster: &Cluster) {
    let arguments = ["-V", "mqttv5", "-i", "reader", "-t", "t/properties", "-q", "1", "-C", "1", "-F", "%P %p"];
    let mut reader = cluster.mosquitto_sub(cluster.plain, &arguments, "reader");
    let send = ["-V", "mqttv5", "-t", "t/properties", "-q", "1", "-r", "-m", "x", "-D", "publish", "user-property", "key", "value"];
    let connect = ["-D", "connect", "user-property", "site", "plant", "-D", "connect", "user-property", "site", "again"];
    cluster.mosquitto_pub(cluster.plain, &[&send[..], &connect[..]].concat());
    assert!(reader.wait(Duration::from_secs(20)).success());
    assert_eq!(cluster.output("reader"), "key:value x\n");
}

/// A script that runs until its standard input ends.
struct Held {
    name: &'static str,
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Held {
    fn start(name: &'static str, mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("run a client's script");
        let mut lines = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("read a line");
        assert_eq!(line, "ready\n", "{name}");
        Self { name, child, lines }
    }

    /// Ends it: how many messages each of its subscribers had.
    fn end(mut self) -> usize {
        drop(self.child.stdin.take());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.lines, &mut text).expect("read lines");
        assert!(self.child.wait().expect("wait for a script").success(), "{}: {text}", self.name);
        let count = text.lines().find_map(|line| line.strip_prefix("held ")).and_then(|count| count.parse().ok());
        count.unwrap_or_else(|| panic!("{}: {text}", self.name))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn reloads_drop_nothing() {
    let cluster = Cluster::start(2);
    let arguments = ["-V", "mqttv5", "-i", "stays", "-q", "1", "-t", "t/paho-hold-tcp-v5", "-F", "%p"];
    let mut mosquitto = cluster.mosquitto_sub(cluster.plain, &arguments, "stays");
    wait::until("a session", || cluster.proxy.stat("mqtt_backend", "BACKEND", "scur") == "1");
    let (paho, mqttjs) = std::thread::scope(|scope| {
        let paho = scope.spawn(|| Held::start("Paho", cluster.paho("hold")));
        let mqttjs = Held::start("MQTT.js", cluster.mqttjs("hold"));
        (paho.join().expect("Paho"), mqttjs)
    });
    let sessions = || cluster.proxy.stat("mqtt_servers", "FRONTEND", "stot");
    let before = sessions();
    let bytes = || cluster.proxy.stat("mqtt_servers", "FRONTEND", "bin").parse::<u64>().expect("a number");
    for round in 0..4 {
        let seen = bytes();
        cluster.proxy.reload(&cluster.text.replace("maxconn 5000", &format!("maxconn {}", 4000 + round)));
        wait::until("messages after a reload", || bytes() > seen + 2_000);
    }
    assert!(mosquitto.is_running(), "mosquitto_sub's connection stands");
    let (paho, mqttjs) = (paho.end(), mqttjs.end());
    assert!(paho > 20 && mqttjs > 20, "messages all the time: {paho} and {mqttjs}");
    cluster.wait_for_output("stays", &format!("\n{}\n", paho - 1));
    assert_eq!(sessions(), before, "nobody had to connect again");
}
