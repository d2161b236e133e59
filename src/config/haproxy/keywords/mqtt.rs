//! `option` keywords about MQTT: our own, in the notation of HAProxy's.

use std::sync::Arc;

use ringmain_model::{MqttCheck, MqttVersion};

use crate::config::check::builder::{Arguments, ProxyBuilder};
use crate::config::draft::Word;
use crate::config::keyword::{Keyword, Meaning, Places};

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    Keyword::new(
        "option mqtt-check",
        Places::BACK,
        "[version 3.1.1|5] [user <name>] [password <text>] [client-id <id>]",
        "Check servers by a CONNECT that they must accept (ours)",
        Meaning::Proxy(check),
    )
    .negatable(),
    Keyword::new(
        "option mqtt-stats",
        Places::FRONT,
        "",
        "Count MQTT's first packets although no rule looks at them (ours)",
        Meaning::Proxy(stats),
    )
    .negatable(),
    Keyword::new(
        "option mqtt-drain",
        Places::PROXY,
        "[rate <clients>]",
        "Tell MQTT clients to go when their server is drained or the process stops softly: 100 each second and shard when not given (ours)",
        Meaning::Proxy(drain),
    )
    .negatable(),
];

/// Clients that are told to go each second on each shard.
const DRAIN_RATE: u32 = 100;
/// The most of them: faster than brokers take clients back.
const HIGHEST_DRAIN_RATE: i64 = 10_000;

/// The longest text in a packet.
const LONGEST_TEXT: usize = u16::MAX as usize;

fn check(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if !arguments.switch(false) {
        arguments.rest();
        proxy.mqtt_check = None;
        return;
    }
    let mut check = MqttCheck::default();
    let mut password = None;
    while let Some(word) = arguments.take() {
        let given = match word.text.as_str() {
            "version" => version(arguments).map(|version| check.version = version),
            "user" => text(arguments, "the name of a user").map(|(_, text)| check.user = Some(text)),
            "password" => text(arguments, "a password").map(|(word, text)| {
                password = Some(word);
                check.password = Some(text);
            }),
            "client-id" => text(arguments, "a client identifier").map(|(_, text)| check.client_id = Some(text)),
            "ssl" | "tls" => {
                arguments.diagnostics.unsupported(word.span, "checks by MQTT over TLS are not supported here yet");
                None
            }
            other => {
                let message = format!("'option mqtt-check' does not know '{other}'");
                arguments.error(word, message).help("it takes 'version', 'user', 'password' and 'client-id', each with a value");
                None
            }
        };
        if given.is_none() {
            arguments.rest();
            return;
        }
    }
    if let (Some(word), None, MqttVersion::V3_1_1) = (password, &check.user, check.version) {
        arguments.error(word, "MQTT 3.1.1 has no password without a user name").help("add 'user <name>', or use 'version 5'");
        return;
    }
    proxy.mqtt_check = Some(Arc::new(check));
}

fn stats(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if arguments.finish() {
        proxy.flags.mqtt_stats = arguments.switch(false);
    }
}

fn drain(proxy: &mut ProxyBuilder, arguments: &mut Arguments<'_>) {
    if !arguments.switch(false) {
        arguments.rest();
        proxy.mqtt_drain = None;
        return;
    }
    let rate = match arguments.peek() {
        None => Some(i64::from(DRAIN_RATE)),
        Some(_) => arguments.choice(&[("rate", ())]).and_then(|()| arguments.number(1, HIGHEST_DRAIN_RATE)),
    };
    if let Some(rate) = rate
        && arguments.finish()
    {
        proxy.mqtt_drain = Some(rate as u32);
    }
}

fn version(arguments: &mut Arguments<'_>) -> Option<MqttVersion> {
    arguments.choice(&[("3.1.1", MqttVersion::V3_1_1), ("5", MqttVersion::V5), ("5.0", MqttVersion::V5)])
}

fn text<'a>(arguments: &mut Arguments<'a>, what: &str) -> Option<(&'a Word, Arc<str>)> {
    let word = arguments.required(what)?;
    if word.text.len() > LONGEST_TEXT || word.text.contains('\0') {
        arguments.error(word, format!("MQTT cannot carry this: {what} has at most {LONGEST_TEXT} bytes and no zero among them"));
        return None;
    }
    Some((word, word.text.as_str().into()))
}
