//! Commands that show facts about the process.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmain_engine::live::ProcessCounters;
use ringmain_engine::ring;
use ringmain_model::StatsLevel;
use ringmain_wire::calendar::Calendar;

use crate::runtime::{Call, Command, Reply};
use crate::stats::format::{Style, info_line, json_info, typed_info};
use crate::stats::info::{VERSION, fields};

/// Facts about the process.
pub const READS: &[Command] = &[
    Command {
        words: &["show", "info"],
        level: StatsLevel::User,
        usage: "show info [desc|json|typed]*",
        summary: "show facts about the process",
        listed: true,
        run: show_info,
    },
    Command {
        words: &["show", "version"],
        level: StatsLevel::User,
        usage: "show version",
        summary: "show the version of the program",
        listed: true,
        run: |_| Reply::message(VERSION),
    },
    Command {
        words: &["show", "env"],
        level: StatsLevel::Operator,
        usage: "show env [var]",
        summary: "show the environment of the process, or one variable",
        listed: true,
        run: show_environment,
    },
    Command {
        words: &["show", "errors"],
        level: StatsLevel::Operator,
        usage: "show errors [<px>] [request|response]",
        summary: "show the last malformed request and response of each proxy",
        listed: true,
        run: show_errors,
    },
    Command {
        words: &["show", "activity"],
        level: StatsLevel::User,
        usage: "show activity",
        summary: "show what each shard has done",
        listed: true,
        run: show_activity,
    },
    Command {
        words: &["show", "pools"],
        level: StatsLevel::Operator,
        usage: "show pools",
        summary: "show what the shards' rings hold and have done",
        listed: true,
        run: show_pools,
    },
    Command {
        words: &["show", "sess"],
        level: StatsLevel::Operator,
        usage: "show sess",
        summary: "show how many sessions each shard serves",
        listed: true,
        run: show_sessions,
    },
    Command {
        words: &["show", "generations"],
        level: StatsLevel::User,
        usage: "show generations",
        summary: "show the configurations in use and how many sessions each holds",
        listed: true,
        run: show_generations,
    },
];

fn show_info(call: &mut Call<'_, '_>) -> Reply {
    let (mut style, mut describe) = (Style::Plain, false);
    for word in call.words.iter().skip(2) {
        match word.as_str() {
            "typed" => style = Style::Typed,
            "json" => style = Style::Json,
            "desc" => describe = true,
            _ => {}
        }
    }
    let fields = fields(call.context.state, call.context.fleet, call.surroundings.totals);
    let mut text = String::new();
    match style {
        Style::Plain => fields.iter().for_each(|field| info_line(&mut text, field, describe)),
        Style::Typed => fields.iter().for_each(|field| typed_info(&mut text, field, describe)),
        Style::Json => {
            for (place, field) in fields.iter().enumerate() {
                text.push(if place == 0 { '[' } else { ',' });
                json_info(&mut text, field);
            }
            text.push_str("]\n");
        }
    }
    Reply::Text(text)
}

/// The environment as the configuration left it.
fn show_environment(call: &mut Call<'_, '_>) -> Reply {
    let changes = &call.context.fleet.model().global.environment;
    let inherited = std::env::vars_os().map(|(name, value)| (lossy(&name), lossy(&value)));
    let mut variables: Vec<(String, String)> =
        inherited.filter(|(name, _)| !changes.iter().any(|(changed, _)| **changed == **name)).collect();
    variables.extend(changes.iter().filter_map(|(name, value)| Some((name.to_string(), value.as_deref()?.to_string()))));
    let wanted = call.word(2);
    let mut text = String::new();
    for (name, value) in &variables {
        if wanted.is_empty() || name == wanted {
            text.push_str(&format!("{name}={value}\n"));
        }
    }
    if text.is_empty() && !wanted.is_empty() {
        return Reply::message("Variable not found");
    }
    Reply::Text(text)
}

fn lossy(text: &std::ffi::OsStr) -> String {
    text.to_string_lossy().into_owned()
}

/// In tcp mode no request is ever malformed, so there are none to show.
fn show_errors(call: &mut Call<'_, '_>) -> Reply {
    let model = call.context.fleet.model();
    let wanted = call.word(2);
    let named = |name: &str, number: u32| name == wanted || Ok(number) == wanted.parse();
    let known = matches!(wanted, "" | "-1" | "request" | "response")
        || model.frontends.iter().any(|frontend| named(&frontend.name, frontend.proxy_id))
        || model.backends.iter().any(|backend| named(&backend.name, backend.proxy_id));
    if !known {
        return Reply::message("No such proxy.");
    }
    Reply::Message(format!("Total events captured on [{}] : 0", local_date(SystemTime::now())))
}

/// `21/Nov/2026:18:15:46.905`, local time.
fn local_date(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let offset = crate::log::local_time().offset_at(seconds);
    let date = Calendar::from_seconds(seconds.saturating_add(i64::from(offset)));
    let (day, month, year) = (date.day, String::from_utf8_lossy(date.month_name()), date.year);
    let (hour, minute, second, millisecond) = (date.hour, date.minute, date.second, since.subsec_millis());
    format!("{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02}.{millisecond:03}")
}

fn show_activity(call: &mut Call<'_, '_>) -> Reply {
    let process = &call.context.state.process;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut text = format!("shards: {}\ndate_now: {}.{:06}\n", process.loads.len(), now.as_secs(), now.subsec_micros());
    per_shard(&mut text, "sessions", process.loads.iter().map(|load| u64::from(load.load(Ordering::Relaxed))).collect());
    let counters: [(&str, CounterOf); 5] = [
        ("accepted", |counters| counters.connections.get()),
        ("handed_over", |counters| counters.handed_over.get()),
        ("accept_errors", |counters| counters.accept_errors.get()),
        ("bytes", |counters| counters.bytes.get()),
        ("dropped_logs", |counters| counters.dropped_logs.get()),
    ];
    for (name, counter) in counters {
        per_shard(&mut text, name, process.counters.iter().map(|counters| counter(counters)).collect());
    }
    for (shard, ring) in call.context.state.rings.iter().enumerate() {
        text.push_str(&format!("ring_{shard}: {ring}\n"));
    }
    Reply::Text(text)
}

/// What the rings held when they last brought their counters up to date, which they do before each turn of runtime commands.
fn show_pools(call: &mut Call<'_, '_>) -> Reply {
    let process = &call.context.state.process;
    let rings: Vec<ring::Counters> = process.rings.iter().map(|ring| *ring.lock().unwrap_or_else(PoisonError::into_inner)).collect();
    let held: [(&str, RingCounterOf); 17] = [
        ("slots", |ring| ring.slots.into()),
        ("listeners", |ring| ring.listeners.into()),
        ("buffers_out", |ring| ring.buffers_out.into()),
        ("buffers_total", |ring| ring.buffers_total.into()),
        ("pipes_in_use", |ring| ring.pipes_in_use.into()),
        ("pipes_total", |ring| ring.pipes_total.into()),
        ("timers", |ring| ring.timers.into()),
        ("tasks", |ring| ring.tasks.into()),
        ("in_flight", |ring| ring.in_flight.into()),
        ("turns", |ring| ring.turns),
        ("sleeps", |ring| ring.sleeps),
        ("enobufs", |ring| ring.enobufs),
        ("recv_cancels", |ring| ring.recv_cancels),
        ("short_sends", |ring| ring.short_sends),
        ("queue_full", |ring| ring.queue_full),
        ("strays", |ring| ring.strays),
        ("panics", |ring| ring.panics),
    ];
    let mut text = String::new();
    for (name, counter) in held {
        per_shard(&mut text, name, rings.iter().map(counter).collect());
    }
    Reply::Text(text)
}

/// Picks one counter of a ring.
type RingCounterOf = fn(&ring::Counters) -> u64;

/// Picks one counter of a shard.
type CounterOf = fn(&ProcessCounters) -> u64;

/// A sum and, with several shards, its parts.
fn per_shard(text: &mut String, name: &str, parts: Vec<u64>) {
    text.push_str(&format!("{name}: {}", parts.iter().sum::<u64>()));
    if parts.len() > 1 {
        let parts: Vec<_> = parts.iter().map(u64::to_string).collect();
        text.push_str(&format!(" [ {} ]", parts.join(" ")));
    }
    text.push('\n');
}

fn show_sessions(call: &mut Call<'_, '_>) -> Reply {
    let mut text = "# shard sessions\n".to_string();
    for (shard, load) in call.context.state.process.loads.iter().enumerate() {
        text.push_str(&format!("{shard} {}\n", load.load(Ordering::Relaxed)));
    }
    Reply::Text(text)
}

fn show_generations(call: &mut Call<'_, '_>) -> Reply {
    let current = call.context.fleet.generation().number;
    let mut text = "# generation sessions state\n".to_string();
    for entry in call.context.state.generations() {
        let state = if entry.number == current { "current" } else { "old" };
        text.push_str(&format!("{} {} {state}\n", entry.number, entry.sessions()));
    }
    Reply::Text(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_read_as_in_haproxy() {
        let text = local_date(UNIX_EPOCH + Duration::from_millis(1_795_284_946_905));
        assert!(text.contains("/Nov/2026:") && text.ends_with(":46.905"), "{text}");
    }

    #[test]
    fn parts_are_shown_only_when_there_are_several() {
        let mut text = String::new();
        per_shard(&mut text, "one", vec![3]);
        per_shard(&mut text, "two", vec![3, 4]);
        assert_eq!(text, "one: 3\ntwo: 7 [ 3 4 ]\n");
    }
}
