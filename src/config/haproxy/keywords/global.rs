//! `global` keywords about capacity, CPUs and the runtime socket (manual sections 3.1 and 3.2, management guide section 9.3).

use crate::config::check::builder::{Arguments, GlobalBuilder};
use crate::config::keyword::{Keyword, Meaning, Places};

use ringmain_model::StatsSocket;

/// Most shards, HAProxy's limit of threads.
pub const SHARDS_LIMIT: u16 = 64;
/// CPUs that `cpu-map` can name.
const CPU_LIMIT: u16 = 1024;

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    entry("maxconn", "<number>", "Connections served at once; derived from the limit of open files when not given", maxconn),
    entry("ulimit-n", "<number>", "Limit of open files to ask the system for", ulimit_n),
    entry("fd-hard-limit", "<number>", "Upper bound for the limit of open files", descriptor_limit),
    entry("nbthread", "<number>", "Number of shards, each a thread on a CPU of its own; all CPUs when not given", nbthread),
    entry("cpu-map", "[auto:]<process>[/<threads>] <cpus>...", "CPUs that shards are pinned to", cpu_map),
    entry("stats socket", "<address> [<option>...]", "Listen for runtime commands", stats_socket),
    entry("stats timeout", "<time>", "Close runtime connections that are idle this long (10s when not given)", stats_timeout),
    entry("stats maxconn", "<number>", "Runtime connections at once (10 when not given)", stats_maxconn),
    entry("nosplice", "", "Never move data with splice(2)", no_splice),
];

const fn entry(
    name: &'static str,
    syntax: &'static str,
    summary: &'static str,
    apply: fn(&mut GlobalBuilder, &mut Arguments<'_>),
) -> Keyword {
    Keyword::new(name, Places::GLOBAL, syntax, summary, Meaning::Global(apply))
}

fn maxconn(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.count()
        && arguments.finish()
    {
        global.maxconn = Some(number);
    }
}

fn ulimit_n(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.count()
        && arguments.finish()
    {
        global.ulimit_n = Some(number.into()).filter(|number| *number > 0);
    }
}

fn descriptor_limit(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.count()
        && arguments.finish()
    {
        global.descriptor_limit = Some(number.into()).filter(|number| *number > 0);
    }
}

fn nbthread(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.required("a number") else { return };
    let digits = word.text.bytes().all(|byte| byte.is_ascii_digit());
    match word.text.parse::<u16>().ok().filter(|number| digits && (1..=SHARDS_LIMIT).contains(number)) {
        Some(number) if arguments.finish() => global.shards = Some(number),
        Some(_) => {}
        None => {
            arguments.error(word, format!("'nbthread' must be a number between 1 and {SHARDS_LIMIT}"));
        }
    }
}

fn no_splice(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    global.no_splice |= arguments.finish();
}

/// `cpu-map [auto:]P[/T] CPUS...`: the only process is 1; threads are shards.
fn cpu_map(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(whom) = arguments.required("a process or thread set and CPUs") else { return };
    let (auto, set) = match whom.text.strip_prefix("auto:") {
        Some(rest) => (true, rest),
        None => (false, whom.text.as_str()),
    };
    let (process, threads) = set.split_once('/').unwrap_or((set, "all"));
    let (Some(processes), Some(threads)) = (number_set(process), number_set(threads)) else {
        arguments
            .error(whom, format!("'{}' is not a set of threads", whom.text))
            .help("such as '1/all', '1/1-4' or 'auto:1/1-4'; a set is 'all', 'odd', 'even', a number or a range from 1 to 64");
        return;
    };
    if arguments.peek().is_none() {
        let span = arguments.whole_span();
        arguments.diagnostics.error(span, "'cpu-map' needs the CPUs").help("such as '0', '0-3' or '0 2 4'");
        return;
    }
    let mut cpus = Vec::new();
    for word in arguments.rest() {
        match cpu_list(&word.text) {
            Some(list) => cpus.extend(list),
            None => {
                arguments
                    .error(word, format!("'{}' is not a range of CPUs", word.text))
                    .help(format!("CPUs have numbers from 0 to {}", CPU_LIMIT - 1));
                return;
            }
        }
    }
    if !processes.contains(&1) {
        arguments.diagnostics.no_effect(whom.span, "there is only process 1; this 'cpu-map' is about another one");
        return;
    }
    cpus.sort_unstable();
    cpus.dedup();
    for (position, thread) in threads.iter().enumerate() {
        let own = match (auto, cpus.get(position)) {
            (true, Some(cpu)) => vec![*cpu],
            (true, None) => continue,
            (false, _) => cpus.clone(),
        };
        global.cpu_map.push((thread - 1, own));
    }
}

/// `all`, `odd`, `even`, `N`, `N-`, `N-M`: numbers from 1 to 64.
pub fn number_set(text: &str) -> Option<Vec<u16>> {
    let all = 1..=SHARDS_LIMIT;
    match text {
        "all" => Some(all.collect()),
        "odd" => Some(all.step_by(2).collect()),
        "even" => Some((2..=SHARDS_LIMIT).step_by(2).collect()),
        _ => {
            let (low, high) = match text.split_once('-') {
                Some((low, "")) => (low.parse().ok()?, SHARDS_LIMIT),
                Some((low, high)) => (low.parse().ok()?, high.parse().ok()?),
                None => (text.parse().ok()?, text.parse().ok()?),
            };
            let (low, high): (u16, u16) = if low > high { (high, low) } else { (low, high) };
            (low >= 1 && high <= SHARDS_LIMIT).then(|| (low..=high).collect())
        }
    }
}

/// `0`, `0-3`, `0-1,4-5`; `2-` reaches to the last CPU that HAProxy counts, and a comma may end the list.
fn cpu_list(text: &str) -> Option<Vec<u16>> {
    let mut cpus = Vec::new();
    for part in text.strip_suffix(',').unwrap_or(text).split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (u16, u16) = (low.parse().ok()?, if high.is_empty() { SHARDS_LIMIT - 1 } else { high.parse().ok()? });
        if high >= CPU_LIMIT || low >= CPU_LIMIT {
            return None;
        }
        cpus.extend(low.min(high)..=low.max(high));
    }
    Some(cpus)
}

fn stats_socket(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(bind) = super::apply_bind_line(arguments, true) else { return };
    for endpoint in bind.endpoints {
        global.stats_sockets.push(StatsSocket { endpoint, level: bind.level, permissions: bind.permissions });
    }
}

fn stats_timeout(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(time) = arguments.time(1) {
        super::process::warn_extra(arguments);
        global.stats_timeout = Some(time);
    }
}

fn stats_maxconn(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(number) = arguments.number(1, i64::from(i32::MAX)) {
        super::process::warn_extra(arguments);
        global.stats_maxconn = Some(number as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_threads_and_cpus() {
        assert_eq!(number_set("3"), Some(vec![3]));
        assert_eq!(number_set("2-4"), Some(vec![2, 3, 4]));
        assert_eq!(number_set("63-"), Some(vec![63, 64]));
        assert_eq!(number_set("odd").map(|set| set.len()), Some(32));
        assert_eq!((number_set("0"), number_set("65"), number_set("x"), number_set("")), (None, None, None, None));
        assert_eq!(cpu_list("0-1,4"), Some(vec![0, 1, 4]));
        assert_eq!((cpu_list("62-"), cpu_list("3,")), (Some(vec![62, 63]), Some(vec![3])));
        assert_eq!((cpu_list("x"), cpu_list("-1"), cpu_list("65535"), cpu_list("")), (None, None, None, None));
    }
}
