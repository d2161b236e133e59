//! `global` keywords about the process: identity, privileges, environment, shutdown (manual section 3.1).

use std::sync::Arc;

use crate::config::check::builder::{Arguments, GlobalBuilder};
use crate::config::draft::Word;
use crate::config::haproxy::value;
use crate::config::keyword::{Keyword, Meaning, Places};

/// The entries.
pub const KEYWORDS: &[Keyword] = &[
    entry("daemon", "", "Detach from the terminal and run in the background", daemon),
    entry(
        "strict-limits",
        "",
        "Do not start when the limit of open files is too low for maxconn, instead of lowering maxconn",
        strict_limits,
    )
    .negatable(),
    entry("no-memory-trimming", "", "Keep the memory of sessions that have ended for later ones", no_memory_trimming),
    entry("state-file", "<file>", "Keep stick tables in this file over restarts (Ringmain's own)", state_file),
    entry("pidfile", "<file>", "Write the process id into this file", pidfile),
    entry("user", "<name>", "Run as this user once everything is open", user),
    entry("uid", "<number>", "Run as the user with this id once everything is open", uid),
    entry("group", "<name>", "Run as this group once everything is open", group),
    entry("gid", "<number>", "Run as the group with this id once everything is open", gid),
    entry("chroot", "<directory>", "Make this directory the root of the file system once everything is open", chroot),
    entry("node", "<name>", "Name of this node in statistics", node),
    entry("description", "<text>...", "Free text shown in statistics", description),
    entry("hard-stop-after", "<time>", "Longest time a soft stop, or sessions of an old configuration, may take", hard_stop_after),
    entry("grace", "<time>", "Keep listening this long after a soft stop was asked for", grace),
    entry("setenv", "<name> <value>", "Set an environment variable for the lines that follow", set_environment),
    entry("presetenv", "<name> <value>", "Set an environment variable unless it exists", set_environment),
    entry("unsetenv", "<name>...", "Remove environment variables", unset_environment),
    entry("resetenv", "[<name>...]", "Remove all environment variables except these", reset_environment),
    entry("zero-warning", "", "Refuse a configuration that gives warnings", zero_warning),
    Keyword::new("nbproc", Places::GLOBAL, "1", "Number of processes; there is always one", Meaning::Global(processes)),
];

const fn entry(
    name: &'static str,
    syntax: &'static str,
    summary: &'static str,
    apply: fn(&mut GlobalBuilder, &mut Arguments<'_>),
) -> Keyword {
    Keyword::new(name, Places::GLOBAL, syntax, summary, Meaning::Global(apply))
}

fn strict_limits(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let strict = arguments.negation().is_none();
    if arguments.finish() {
        global.strict_limits = strict;
    }
}

fn no_memory_trimming(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    global.keeps_memory |= arguments.finish();
}

fn daemon(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    global.daemon |= arguments.finish();
}

fn state_file(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(word) = arguments.only("a file name") {
        global.state_file = Some(word.text.as_str().into());
    }
}

fn pidfile(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(word) = arguments.only("a file name") {
        global.pidfile = Some(word.text.as_str().into());
    }
}

fn user(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.only("a user's name") else { return };
    let id = arguments.context.names.user(&word.text);
    if id.is_none() {
        arguments.error(word, format!("there is no user '{}' on this system", word.text));
    }
    replace_id(&mut global.uid, id, word, arguments);
}

fn group(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.only("a group's name") else { return };
    let id = arguments.context.names.group(&word.text);
    if id.is_none() {
        arguments.error(word, format!("there is no group '{}' on this system", word.text));
    }
    replace_id(&mut global.gid, id, word, arguments);
}

fn uid(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    numeric_id(&mut global.uid, arguments);
}

fn gid(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    numeric_id(&mut global.gid, arguments);
}

fn numeric_id(slot: &mut Option<u32>, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.only("a number") else { return };
    let (number, clean) = value::leading_number(&word.text);
    let id = u32::try_from(number).ok().filter(|_| clean || number > 0);
    if id.is_none() {
        // HAProxy warns and runs as root; an operator who names a user never means that.
        let kind = if arguments.name() == "uid" { "user" } else { "group" };
        arguments.error(word, format!("'{}' is not the number of a {kind}", word.text)).help(format!("names are written with '{kind}'"));
    }
    replace_id(slot, id, word, arguments);
}

fn replace_id(slot: &mut Option<u32>, id: Option<u32>, word: &Word, arguments: &mut Arguments<'_>) {
    if let (Some(old), Some(new)) = (*slot, id)
        && old != new
    {
        arguments.diagnostics.warning(word.span, format!("'{}' replaces the id {old} given before", arguments.name()));
    }
    *slot = id.or(*slot);
}

fn chroot(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.only("a directory") else { return };
    if global.chroot.is_some() {
        arguments.diagnostics.warning(word.span, "'chroot' was given before; the first one counts");
        return;
    }
    global.chroot = Some(word.text.as_str().into());
}

fn node(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.only("a name") else { return };
    match word.text.chars().find(|letter| !letter.is_ascii_alphanumeric() && !"._-".contains(*letter)) {
        Some(bad) => {
            arguments
                .error(word, format!("'{}' cannot be part of a node's name", bad.escape_debug()))
                .help("letters, digits, '.', '-' and '_' can");
        }
        None => global.node = Some(word.text.as_str().into()),
    }
}

fn description(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    global.description = text(arguments).or(global.description.take());
}

/// All words of a free text, joined by single blanks.
pub fn text(arguments: &mut Arguments<'_>) -> Option<Arc<str>> {
    let first = arguments.required("a text")?;
    let rest = arguments.rest().iter().map(|word| word.text.as_str());
    Some(std::iter::once(first.text.as_str()).chain(rest).collect::<Vec<_>>().join(" ").into())
}

fn hard_stop_after(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(time) = arguments.time(0) {
        warn_extra(arguments);
        global.hard_stop_after = Some(time).filter(|time| time.0 > 0);
    }
}

fn grace(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if let Some(time) = arguments.time(0) {
        warn_extra(arguments);
        global.grace = Some(time).filter(|time| time.0 > 0);
    }
}

/// For keywords behind which HAProxy ignores further words.
pub fn warn_extra(arguments: &mut Arguments<'_>) {
    if let Some(extra) = arguments.rest().first() {
        arguments.diagnostics.warning(extra.span, format!("'{}' and what follows is ignored", extra.text));
    }
}

/// The variable itself was set when the line was read, because later lines depend on it.
fn set_environment(_: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if arguments.required("a name and a value").is_some() && arguments.peek().is_none_or(|value| value.text.is_empty()) {
        let (span, message) = (arguments.whole_span(), format!("'{}' needs a value for the variable", arguments.name()));
        arguments.diagnostics.error(span, message);
    } else {
        arguments.take();
        warn_extra(arguments);
    }
}

fn unset_environment(_: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    arguments.required("the name of a variable");
    arguments.rest();
}

fn reset_environment(_: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    arguments.rest();
}

fn zero_warning(global: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    if arguments.finish() {
        global.zero_warning = Some(arguments.span());
    }
}

/// HAProxy took `nbproc` until 2.4; "1" says what is the case anyway.
fn processes(_: &mut GlobalBuilder, arguments: &mut Arguments<'_>) {
    let Some(word) = arguments.only("a number") else { return };
    if value::leading_number(&word.text) == (1, true) {
        arguments.diagnostics.no_effect(word.span, "'nbproc 1' says what is the case anyway");
    } else {
        arguments
            .error(word, "there is only one process")
            .help("'nbthread' sets the number of cores that work; it is all of them by default");
    }
}
