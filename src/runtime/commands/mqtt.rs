//! `show mqtt`: what was seen of MQTT's first packets, by frontend and backend. Ours; HAProxy has no such command.

use std::fmt::Write;

use ringmain_engine::live::{Counter, Generation, MqttCounters, MqttLive};
use ringmain_model::StatsLevel;
use ringmain_wire::mqtt::Version;

use crate::runtime::{Call, Command, Reply};
use crate::stats::format::json_text;

/// Statistics of MQTT.
pub const MQTT: &[Command] = &[Command {
    words: &["show", "mqtt"],
    level: StatsLevel::User,
    usage: "show mqtt [json]",
    summary: "show MQTT connections by version and answer, and how long the answers took",
    listed: true,
    run: show_mqtt,
}];

/// The names of the versions, as in the JSON output.
const VERSIONS: [(Version, &str); 3] = [(Version::V3_1, "3.1"), (Version::V3_1_1, "3.1.1"), (Version::V5, "5.0")];
/// CONNACKs of 3.1 and 3.1.1 have the same codes.
const ANSWERS: [(Version, &str); 2] = [(Version::V3_1_1, "3"), (Version::V5, "5")];
/// Quantiles of times and what they are called.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

fn show_mqtt(call: &mut Call<'_, '_>) -> Reply {
    let json = match call.word(2) {
        "" => false,
        "json" => true,
        _ => return Reply::message("'show mqtt' takes 'json' or nothing."),
    };
    let proxies: Vec<Seen> = seen(call.context.fleet.generation());
    let mut text = String::new();
    if json {
        text.push('[');
        for (index, proxy) in proxies.iter().enumerate() {
            text.push_str(if index > 0 { "," } else { "" });
            proxy.json(&mut text);
        }
        text.push_str("]\n");
    } else if proxies.is_empty() {
        text.push_str("No MQTT has been seen. Frontends look at it when rules do, or with 'option mqtt-stats'.\n");
    } else {
        proxies.iter().for_each(|proxy| proxy.lines(&mut text));
    }
    Reply::Text(text)
}

/// What was seen at one proxy, all shards together.
struct Seen {
    name: String,
    kind: &'static str,
    connects: [(&'static str, u64); 3],
    invalid: u64,
    large: u64,
    connacks: Vec<(&'static str, u8, &'static str, u64)>,
    invalid_connacks: u64,
    /// Number of times, quantiles and the longest in microseconds.
    times: Option<(u64, [(&'static str, u64); 5])>,
    long_keepalives: u64,
    drained: u64,
}

/// All proxies at which something was seen.
fn seen(generation: &Generation) -> Vec<Seen> {
    let frontends = generation.frontends.iter().map(|live| (&live.name, "frontend", &live.mqtt));
    let backends = generation.backends.iter().map(|live| (&live.name, "backend", &live.mqtt));
    let something = |live: &MqttLive| live.counters.iter().flat_map(|counters| counters.totals()).any(|counter| counter.get() > 0);
    frontends.chain(backends).filter(|(_, _, live)| something(live)).map(|(name, kind, live)| Seen::of(name, kind, live)).collect()
}

impl Seen {
    fn of(name: &str, kind: &'static str, live: &MqttLive) -> Self {
        let sum = |counter: fn(&MqttCounters) -> &Counter| live.counters.iter().map(|counters| counter(counters).get()).sum::<u64>();
        let connects =
            VERSIONS.map(|(version, name)| (name, live.counters.iter().map(|counters| counters.connects_of(version).get()).sum::<u64>()));
        let mut connacks: Vec<(&'static str, u8, &'static str, u64)> = Vec::new();
        for (version, name) in ANSWERS {
            for (code, text, counter) in live.counters.iter().flat_map(|counters| counters.connacks_of(version)) {
                match connacks.iter_mut().find(|(known, other, ..)| (*known, *other) == (name, code)) {
                    Some((.., count)) => *count += counter.get(),
                    None => connacks.push((name, code, text, counter.get())),
                }
            }
        }
        connacks.retain(|(.., count)| *count > 0);
        let times = live.times().filter(|times| !times.is_empty()).map(|times| {
            let [a, b, c, d] = QUANTILES.map(|(quantile, name)| (name, times.value_at_quantile(quantile)));
            (times.len(), [a, b, c, d, ("max", times.max())])
        });
        Self {
            name: name.to_owned(),
            kind,
            connects,
            invalid: sum(|counters| &counters.invalid_connects),
            large: sum(|counters| &counters.large_connects),
            connacks,
            invalid_connacks: sum(|counters| &counters.invalid_connacks),
            times,
            long_keepalives: sum(|counters| &counters.long_keepalives),
            drained: sum(|counters| &counters.drained),
        }
    }

    // Writing to a String cannot fail.

    fn lines(&self, out: &mut String) {
        let _ = writeln!(out, "{} {}", self.kind, self.name);
        let connects: Vec<String> = self.connects.iter().map(|(name, count)| format!("{name}: {count}")).collect();
        let _ = writeln!(out, "  CONNECT {}, invalid: {}, too large: {}", connects.join(", "), self.invalid, self.large);
        for (version, code, text, count) in &self.connacks {
            let _ = writeln!(out, "  CONNACK of version {version}, code {code} ({text}): {count}");
        }
        let _ = writeln!(out, "  CONNACK invalid: {}", self.invalid_connacks);
        if let Some((count, times)) = &self.times {
            let times: Vec<String> = times.iter().map(|(name, us)| format!("{name} {}", milliseconds(*us))).collect();
            let _ = writeln!(out, "  CONNECT to CONNACK in ms: {} ({count} answers)", times.join(", "));
        }
        let _ = writeln!(out, "  keep alive too long for the timeout: {}", self.long_keepalives);
        let _ = writeln!(out, "  told to go: {}", self.drained);
    }

    fn json(&self, out: &mut String) {
        out.push_str("{\"proxy\":");
        json_text(out, &self.name);
        let _ = write!(out, ",\"type\":\"{}\",\"connects\":{{", self.kind);
        for (index, (name, count)) in self.connects.iter().enumerate() {
            let _ = write!(out, "{}\"{name}\":{count}", if index > 0 { "," } else { "" });
        }
        let _ = write!(out, "}},\"invalid_connects\":{},\"large_connects\":{},\"connacks\":[", self.invalid, self.large);
        for (index, (version, code, text, count)) in self.connacks.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{{\"version\":{version},\"code\":{code},\"text\":\"{text}\",\"count\":{count}}}");
        }
        let _ = write!(out, "],\"invalid_connacks\":{},\"connack_ms\":", self.invalid_connacks);
        match &self.times {
            None => out.push_str("null"),
            Some((count, times)) => {
                let _ = write!(out, "{{\"count\":{count}");
                times.iter().for_each(|(name, us)| {
                    let _ = write!(out, ",\"{name}\":{}", milliseconds(*us));
                });
                out.push('}');
            }
        }
        let _ = write!(out, ",\"long_keepalives\":{},\"drained\":{}}}", self.long_keepalives, self.drained);
    }
}

/// Microseconds as milliseconds with three decimals.
fn milliseconds(us: u64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_shards_are_summed_and_written_in_both_forms() {
        let live = MqttLive::new(2);
        for counters in &live.counters {
            counters.connects_of(Version::V5).add(2);
            counters.connacks_of(Version::V5).for_each(|(code, _, counter)| counter.add(u64::from(code == 0x87)));
            counters.invalid_connects.add(1);
        }
        let seen = Seen::of("brokers \"a\"", "backend", &live);
        let (mut lines, mut json) = (String::new(), String::new());
        seen.lines(&mut lines);
        seen.json(&mut json);
        assert!(lines.starts_with("backend brokers \"a\"\n  CONNECT 3.1: 0, 3.1.1: 0, 5.0: 4, invalid: 2, too large: 0\n"), "{lines}");
        assert!(lines.contains("\n  CONNACK of version 5, code 135 (not authorized): 2\n"), "{lines}");
        assert!(
            json.starts_with("{\"proxy\":\"brokers \\\"a\\\"\",\"type\":\"backend\",\"connects\":{\"3.1\":0,\"3.1.1\":0,\"5.0\":4},"),
            "{json}"
        );
        assert!(json.contains("\"connacks\":[{\"version\":5,\"code\":135,\"text\":\"not authorized\",\"count\":2}]"), "{json}");
        assert!(json.contains("\"connack_ms\":null"), "{json}");
    }

    #[test]
    fn times_have_three_decimals() {
        assert_eq!([0, 7, 1000, 1_234_567].map(milliseconds), ["0.000", "0.007", "1.000", "1234.567"]);
    }
}
