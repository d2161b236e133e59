//! The `global` section of a model as TOML.

use std::path::Path;

use ringmain_model::{Global, Level, LogEncoding, LogTarget, RingMode, StatsLevel, StatsSocket};

use super::writer::{Section, Value, duration};
use super::{DERIVED, PLAIN, Part, address};

/// Writes the settings that loading would not give by itself.
pub fn print(section: &mut Section, global: &Part<'_, Global>) {
    let own = global.own;
    process(section, global);
    for (name, text) in
        [("log_tag", &own.log_tag), ("log_send_hostname", &own.log_hostname), ("node", &own.node), ("description", &own.description)]
    {
        if let Some(text) = text {
            section.set(name, &**text);
        }
    }
    if !own.log_targets.is_empty() {
        section.set("log", Value::List(own.log_targets.iter().map(log_target).collect()));
    }
    environment(section, global);
    if !own.stats_sockets.is_empty() {
        section.set("stats.socket", Value::List(own.stats_sockets.iter().map(stats_socket).collect()));
    }
    if global.differs(PLAIN, |global| global.stats_timeout) {
        section.set("stats.timeout", duration(own.stats_timeout.0));
    }
    if global.differs(PLAIN, |global| global.stats_maxconn) {
        section.set("stats.maxconn", own.stats_maxconn);
    }
    tuning(section, global);
}

fn process(section: &mut Section, global: &Part<'_, Global>) {
    let own = global.own;
    if global.differs(PLAIN, |global| global.maxconn) {
        section.set("maxconn", own.maxconn);
    }
    if global.differs(PLAIN, |global| global.shards) {
        section.set("shards", u32::from(own.shards));
    }
    if global.differs(DERIVED, |global| global.shard_cpus.clone()) {
        let pinned = own.shard_cpus.iter().enumerate().filter_map(|(shard, cpu)| cpu.map(|cpu| format!("1/{} {cpu}", shard + 1).into()));
        section.set("cpu_map", Value::List(pinned.collect()));
    }
    for (name, is_set) in [("daemon", own.daemon), ("strict_limits", own.strict_limits), ("no_memory_trimming", own.keeps_memory)] {
        if is_set {
            section.set(name, true);
        }
    }
    let path = |section: &mut Section, name: &str, path: &Option<std::path::PathBuf>| {
        if let Some(path) = path {
            section.set(name, Path::display(path).to_string());
        }
    };
    path(section, "state_file", &own.state_file);
    path(section, "pidfile", &own.pidfile);
    path(section, "chroot", &own.chroot);
    for (name, id) in [("uid", own.uid), ("gid", own.gid)] {
        if let Some(id) = id {
            section.set(name, id);
        }
    }
    if let Some(limit) = own.ulimit_n {
        section.set("ulimit_n", Value::Number(i64::try_from(limit).unwrap_or(i64::MAX)));
    }
    for (name, time) in [("hard_stop_after", own.hard_stop_after), ("grace", own.grace)] {
        if let Some(time) = time {
            section.set(name, duration(time.0));
        }
    }
}

fn environment(section: &mut Section, global: &Part<'_, Global>) {
    if !global.differs(PLAIN, |global| global.environment.clone()) {
        return;
    }
    let mut removed = Vec::new();
    let mut set = Vec::new();
    for (name, value) in &global.own.environment {
        match value {
            Some(value) => set.push((name.to_string(), Value::from(&**value))),
            None => removed.push(Value::from(&**name)),
        }
    }
    if !removed.is_empty() {
        section.set("unsetenv", Value::List(removed));
    }
    if !set.is_empty() {
        section.set("setenv", Value::Table(set));
    }
}

fn tuning(section: &mut Section, global: &Part<'_, Global>) {
    let own = &global.own.tuning;
    if global.differs(PLAIN, |global| global.tuning.buffer_bytes) {
        section.set("tune.bufsize", own.buffer_bytes);
    }
    if global.differs(PLAIN, |global| global.tuning.reserved_bytes) {
        section.set("tune.maxrewrite", own.reserved_bytes);
    }
    if global.differs(PLAIN, |global| global.tuning.pipe_size) {
        section.set("tune.pipesize", own.pipe_size);
    }
    let buffers = [
        ("tune.rcvbuf.client", own.client_receive_buffer),
        ("tune.rcvbuf.server", own.server_receive_buffer),
        ("tune.sndbuf.client", own.client_send_buffer),
        ("tune.sndbuf.server", own.server_send_buffer),
    ];
    for (name, size) in buffers {
        if let Some(size) = size {
            section.set(name, size);
        }
    }
    if global.differs(PLAIN, |global| global.tuning.ring.mode) {
        let mode = match own.ring.mode {
            RingMode::Auto => "auto",
            RingMode::Fast => "fast",
            RingMode::Portable => "portable",
        };
        section.set("ring.mode", mode);
    }
    if global.differs(PLAIN, |global| global.tuning.ring.buffer_count) {
        section.set("ring.buffers", u32::from(own.ring.buffer_count));
    }
    if global.differs(PLAIN, |global| global.tuning.ring.buffer_size) {
        section.set("ring.buffer_size", own.ring.buffer_size);
    }
}

fn stats_socket(socket: &StatsSocket) -> Value {
    let mut parameters = address::permissions(&socket.permissions);
    let level = match socket.level {
        StatsLevel::User => Some("user"),
        StatsLevel::Operator => None,
        StatsLevel::Admin => Some("admin"),
    };
    if let Some(level) = level {
        parameters.insert(0, ("level".into(), level.into()));
    }
    let address = address::endpoint(&socket.endpoint);
    if parameters.is_empty() {
        return address.into();
    }
    parameters.insert(0, ("address".into(), address.into()));
    Value::Table(parameters)
}

/// One `log` line; what a line does not say is left out.
pub fn log_target(target: &LogTarget) -> Value {
    let mut parts: Vec<(String, Value)> = vec![("to".into(), address::log_destination(&target.destination).into())];
    if target.length != 1024 {
        parts.push(("length".into(), u32::from(target.length).into()));
    }
    if let Some(chosen) = target.encoding {
        parts.push(("format".into(), encoding(chosen).into()));
    }
    if let Some(sample) = &target.sample {
        let range = |&(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        let ranges: Vec<String> = sample.ranges.iter().map(range).collect();
        parts.push(("sample".into(), format!("{}:{}", ranges.join(","), sample.size).into()));
    }
    parts.push(("facility".into(), target.facility.name().into()));
    let lowest = target.minimum_level != Level::Emerg;
    if target.level != Level::Debug || lowest {
        parts.push(("level".into(), target.level.name().into()));
    }
    if lowest {
        parts.push(("minimum_level".into(), target.minimum_level.name().into()));
    }
    Value::Table(parts)
}

fn encoding(encoding: LogEncoding) -> &'static str {
    match encoding {
        LogEncoding::Rfc3164 => "rfc3164",
        LogEncoding::Rfc5424 => "rfc5424",
        LogEncoding::Local => "local",
        LogEncoding::Priority => "priority",
        LogEncoding::Short => "short",
        LogEncoding::Timed => "timed",
        LogEncoding::Iso => "iso",
        LogEncoding::Raw => "raw",
    }
}
