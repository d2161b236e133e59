//! The options about MQTT in both languages, and what is said about mistakes in them.

mod config_common;

use config_common::{load, model, said};
use ringmain_model::{MqttCheck, MqttVersion};

const CFG: &str = "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n";

fn in_backend(line: &str) -> String {
    format!("{CFG}backend b\n {line}\n server s 127.0.0.1:1883 check\n")
}

#[test]
fn both_languages_say_the_same() {
    let cfg = format!(
        "{CFG} option mqtt-drain rate 7\nfrontend f\n bind :1883\n option mqtt-stats\n default_backend b\n\
         backend b\n option mqtt-check version 5 user \"lena m\" password \"a 'b'\" client-id me\n no option mqtt-drain\n server s 127.0.0.1:1884\n"
    );
    let toml = r#"
        [defaults]
        timeout = { connect = "1s", client = "1s", server = "1s" }
        option = { mqtt_drain = "rate 7" }
        [frontend.f]
        bind = ":1883"
        option = { mqtt_stats = true }
        default_backend = "b"
        [backend.b]
        option = { mqtt_check = "version 5 user 'lena m' password \"a 'b'\" client-id me", mqtt_drain = false }
        servers = [{ name = "s", address = "127.0.0.1:1884" }]
    "#;
    let (left, right) = (model("a.cfg", &cfg), model("a.toml", toml));
    assert_eq!((&left.frontends[0].options, &left.backends), (&right.frontends[0].options, &right.backends));
    let options = left.frontends[0].options;
    assert_eq!((options.mqtt_stats, options.mqtt_drain, left.backends[0].options.mqtt_drain), (true, Some(7), None));
    let text = |text: &str| Some(text.into());
    let check = MqttCheck { version: MqttVersion::V5, user: text("lena m"), password: text("a 'b'"), client_id: text("me") };
    assert_eq!(left.backends[0].mqtt_check.as_deref(), Some(&check));
}

#[test]
fn defaults_are_version_3_1_1_and_a_hundred_clients_a_second() {
    let model = model("a.cfg", &in_backend("option mqtt-check\n option mqtt-drain"));
    assert_eq!(model.backends[0].mqtt_check.as_deref(), Some(&MqttCheck::default()));
    assert_eq!(model.backends[0].options.mqtt_drain, Some(100));
}

#[test]
fn mistakes_are_named() {
    for (line, message) in [
        ("option mqtt-check version 4", "'option mqtt-check' does not know '4'"),
        ("option mqtt-check version", "'option mqtt-check' needs one of '3.1.1', '5', '5.0'"),
        ("option mqtt-check user", "'option mqtt-check' needs the name of a user"),
        ("option mqtt-check username lena", "'option mqtt-check' does not know 'username'"),
        ("option mqtt-check password geheim", "MQTT 3.1.1 has no password without a user name"),
        ("option mqtt-check tls", "checks by MQTT over TLS are not supported here yet"),
        ("option mqtt-drain rate 0", "must be between 1 and 10000"),
        ("option mqtt-drain rat 5", "'option mqtt-drain' does not know 'rat'"),
        ("option mqtt-drain rate 5 6", "unexpected '6'"),
        ("option mqtt-stats", "mqtt-stats"),
        ("option mqtt-chek", "did you mean 'option mqtt-check'?"),
    ] {
        let loaded = load("a.cfg", &in_backend(line));
        let said = said(&loaded);
        assert!(said.contains(message), "{line}:\n{said}");
        assert_eq!(loaded.model.is_some(), line == "option mqtt-stats", "{line}");
    }
    let long = format!("option mqtt-check client-id {}", "x".repeat(65_536));
    assert!(said(&load("a.cfg", &in_backend(&long))).contains("at most 65535 bytes"));
}
