//! The commands: one entry each, read by the interpreter and by `help`.

use std::fmt::Write;

use ringmain_model::StatsLevel;

use super::line::split_words;
use super::{ControlContext, Reply, commands};
use crate::stats::RuntimeTotals;

/// One command.
pub struct Command {
    /// The words that name it.
    pub words: &'static [&'static str],
    /// Who may use it.
    pub level: StatsLevel,
    /// How it is written, for `help`.
    pub usage: &'static str,
    /// What it does, for `help`.
    pub summary: &'static str,
    /// Whether `help` shows it.
    pub listed: bool,
    /// Does it.
    pub run: fn(&mut Call<'_, '_>) -> Reply,
}

/// What a connection has set for itself.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its rights: those of the socket, or lower.
    pub level: StatsLevel,
    /// Whether it is shown a prompt and stays open.
    pub interactive: bool,
    /// `expert-mode`.
    pub expert: bool,
    /// `experimental-mode`.
    pub experimental: bool,
    /// Closed after this long without traffic, ms.
    pub timeout_ms: u64,
}

/// What a runtime socket knows of its siblings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// The runtime sockets in HAProxy's spelling with their levels.
    pub sockets: &'a [(String, StatsLevel)],
    /// Connections and commands so far.
    pub totals: RuntimeTotals,
}

/// One command with its surroundings.
pub struct Call<'a, 'b> {
    /// All words, those of the command's name first.
    pub words: &'a [String],
    /// The payload, if there is one.
    pub payload: Option<&'a str>,
    /// The connection's settings.
    pub session: &'a mut Session,
    /// What there is besides this connection.
    pub surroundings: Surroundings<'a>,
    /// The process.
    pub context: &'a mut ControlContext<'b>,
}

impl Call<'_, '_> {
    /// A word by position, empty when it is not there.
    pub fn word(&self, position: usize) -> &str {
        self.words.get(position).map_or("", String::as_str)
    }

    /// Whether the connection has at least these rights.
    pub fn allows(&self, level: StatsLevel) -> bool {
        self.session.level >= level
    }
}

/// All commands, sorted as `help` shows them, the three that are always shown last.
pub static COMMANDS: &[&[Command]] = &[
    commands::CHANGES,
    commands::SERVERS,
    commands::LIMITS,
    commands::READS,
    commands::STATISTICS,
    commands::STATES,
    commands::MQTT,
    commands::TABLES,
    commands::VARIABLES,
    commands::CONNECTION,
];

/// Runs one command. Any bytes are fine.
pub fn execute(
    text: &[u8],
    payload: Option<&[u8]>,
    session: &mut Session,
    surroundings: Surroundings<'_>,
    context: &mut ControlContext<'_>,
) -> Reply {
    let words = split_words(text);
    let payload = payload.map(String::from_utf8_lossy);
    let Some(command) = find(&words) else { return Reply::Text(unknown(&words, session.level)) };
    if session.level < command.level {
        return Reply::message("Permission denied");
    }
    (command.run)(&mut Call { words: &words, payload: payload.as_deref(), session, surroundings, context })
}

fn all() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().flat_map(|group| group.iter())
}

/// The command with the longest name that the words start with.
fn find(words: &[String]) -> Option<&'static Command> {
    let named = |command: &&Command| command.words.len() <= words.len() && command.words.iter().zip(words).all(|(name, word)| name == word);
    all().filter(named).max_by_key(|command| command.words.len())
}

/// The text of `help`: what this level may use, of that what starts with the given words, or comes near them when nothing does.
pub(super) fn help(words: &[String], level: StatsLevel) -> String {
    let mut text = "The following commands are valid at this level:\n".to_string();
    list(&mut text, matching(words, level));
    text
}

fn unknown(words: &[String], level: StatsLevel) -> String {
    let mut text = if words.is_empty() {
        "Unknown command. Please enter one of the following commands only:\n".to_string()
    } else {
        "Unknown command, but maybe one of the following ones is a better match:\n".to_string()
    };
    list(&mut text, matching(words, level));
    text
}

fn list(text: &mut String, mut found: Vec<&Command>) {
    found.sort_by_key(|command| command.usage);
    let tail = commands::CONNECTION.iter().filter(|command| command.listed && always_listed(command));
    for command in found.into_iter().chain(tail) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<40}: {}", command.usage, command.summary);
    }
}

fn always_listed(command: &Command) -> bool {
    matches!(command.words, ["help" | "prompt" | "quit"])
}

/// Listed commands of this level whose name starts with the words, the last of which may be cut short; without any, the nearest five.
fn matching(words: &[String], level: StatsLevel) -> Vec<&'static Command> {
    let usable: Vec<_> = all().filter(|command| command.listed && !always_listed(command) && command.level <= level).collect();
    let starts = |command: &&&Command| {
        let name = command.words.join(" ");
        let wanted = words.join(" ");
        name.starts_with(&wanted) || !words.is_empty() && wanted.starts_with(&format!("{name} "))
    };
    let found: Vec<_> = usable.iter().filter(starts).copied().collect();
    if !found.is_empty() {
        return found;
    }
    let wanted: String = words.join(" ").chars().take(64).collect();
    let mut near: Vec<_> = usable.iter().map(|command| (distance(&wanted, &command.words.join(" ")), *command)).collect();
    near.sort_by_key(|&(distance, command)| (distance, command.usage));
    near.into_iter().take(5).map(|(_, command)| command).collect()
}

/// Letters to add, drop or change (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(&right) {
            let changed = diagonal + usize::from(from != *to);
            diagonal = *cell;
            before = changed.min(*cell + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split_words(text.as_bytes())
    }

    #[test]
    fn the_longest_name_wins() {
        let name = |text| find(&words(text)).map(|command| command.words);
        assert_eq!(name("show stat -1 1 -1"), Some(&["show", "stat"][..]));
        assert_eq!(name("set maxconn server b/s 3"), Some(&["set", "maxconn", "server"][..]));
        assert_eq!(name("set maxconn"), None);
        assert_eq!(name("shows tat"), None);
    }

    #[test]
    fn help_shows_what_the_level_may_use() {
        let user = help(&[], StatsLevel::User);
        assert!(user.contains("  show info [desc|json|typed]*            : ") && !user.contains("set server"), "{user}");
        assert!(help(&[], StatsLevel::Admin).contains("set server"));
        let narrowed = help(&words("show st"), StatsLevel::Admin);
        assert_eq!(narrowed.lines().count(), 5, "title, show stat, help, prompt, quit: {narrowed}");
    }

    #[test]
    fn an_unknown_command_gets_the_nearest_ones() {
        let text = unknown(&words("shwo stat"), StatsLevel::Admin);
        assert!(text.starts_with("Unknown command, but maybe") && text.contains("show stat"), "{text}");
        assert!(unknown(&[], StatsLevel::User).starts_with("Unknown command. Please enter"));
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        assert_eq!((distance("kitten", "sitting"), distance("", "abc"), distance("abc", "")), (3, 3, 3));
    }

    #[test]
    fn names_are_unique_and_usages_start_with_them() {
        let mut names: Vec<_> = all().map(|command| command.words).collect();
        for command in all() {
            assert!(command.usage.starts_with(&command.words.join(" ")), "{}", command.usage);
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
