//! Commands about the connection itself.

use ringmain_model::StatsLevel;

use crate::runtime::registry::help;
use crate::runtime::{Call, Command, Reply};

/// `help`, `prompt`, `quit`, levels and modes.
pub const CONNECTION: &[Command] = &[
    Command {
        words: &["help"],
        level: StatsLevel::User,
        usage: "help [<command>]",
        summary: "list all commands, or those that match",
        listed: true,
        run: |call| Reply::Text(help(call.words.get(1..).unwrap_or_default(), call.session.level)),
    },
    Command {
        words: &["prompt"],
        level: StatsLevel::User,
        usage: "prompt",
        summary: "switch the prompt on or off",
        listed: true,
        run: |call| {
            call.session.interactive = !call.session.interactive;
            Reply::Done
        },
    },
    Command {
        words: &["quit"],
        level: StatsLevel::User,
        usage: "quit",
        summary: "close the connection",
        listed: true,
        run: |_| Reply::Close,
    },
    Command {
        words: &["operator"],
        level: StatsLevel::Operator,
        usage: "operator",
        summary: "give up the rights above level operator on this connection",
        listed: true,
        run: |call| lower(call, StatsLevel::Operator),
    },
    Command {
        words: &["user"],
        level: StatsLevel::User,
        usage: "user",
        summary: "give up the rights above level user on this connection",
        listed: true,
        run: |call| lower(call, StatsLevel::User),
    },
    Command {
        words: &["expert-mode"],
        level: StatsLevel::Admin,
        usage: "expert-mode [on|off]",
        summary: "show or set expert mode; no command here needs it",
        listed: false,
        run: |call| {
            let word = call.word(1).to_string();
            switch(&mut call.session.expert, "expert-mode", &word)
        },
    },
    Command {
        words: &["experimental-mode"],
        level: StatsLevel::Admin,
        usage: "experimental-mode [on|off]",
        summary: "show or set experimental mode; no command here needs it",
        listed: false,
        run: |call| {
            let word = call.word(1).to_string();
            switch(&mut call.session.experimental, "experimental-mode", &word)
        },
    },
    Command {
        words: &["set", "timeout"],
        level: StatsLevel::User,
        usage: "set timeout cli <delay>",
        summary: "close this connection after so long a silence",
        listed: true,
        run: set_timeout,
    },
    Command {
        words: &["show", "cli", "level"],
        level: StatsLevel::User,
        usage: "show cli level",
        summary: "show the level of this connection",
        listed: true,
        run: |call| Reply::message(level_name(call.session.level)),
    },
    Command {
        words: &["show", "cli", "sockets"],
        level: StatsLevel::User,
        usage: "show cli sockets",
        summary: "list the runtime sockets",
        listed: true,
        run: show_sockets,
    },
];

/// Delays above this many milliseconds are refused, as HAProxy's timers have 31 bits.
const TIMEOUT_MAX_MS: u64 = 0x7fff_ffff;

fn lower(call: &mut Call<'_, '_>, level: StatsLevel) -> Reply {
    call.session.level = call.session.level.min(level);
    Reply::Done
}

fn switch(mode: &mut bool, name: &str, word: &str) -> Reply {
    if word.is_empty() {
        return Reply::Message(format!("{name} is {}", if *mode { "ON" } else { "OFF" }));
    }
    *mode = word == "on";
    Reply::Done
}

fn set_timeout(call: &mut Call<'_, '_>) -> Reply {
    if call.word(2) != "cli" {
        return Reply::message("'set timeout' only supports 'cli'.");
    }
    if call.word(3).is_empty() {
        return Reply::message("Expects an integer value.");
    }
    match parse_delay_ms(call.word(3)) {
        Some(delay_ms) => {
            call.session.timeout_ms = delay_ms;
            Reply::Done
        }
        None => Reply::message("Invalid timeout value."),
    }
}

/// A delay, in seconds unless it has a unit.
fn parse_delay_ms(text: &str) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let number: u64 = number.parse().ok()?;
    let delay_ms = match unit {
        "us" => number / 1000,
        "ms" => number,
        "" | "s" => number.checked_mul(1000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        "d" => number.checked_mul(86_400_000)?,
        _ => return None,
    };
    (1..=TIMEOUT_MAX_MS).contains(&delay_ms).then_some(delay_ms)
}

fn level_name(level: StatsLevel) -> &'static str {
    match level {
        StatsLevel::User => "user",
        StatsLevel::Operator => "operator",
        StatsLevel::Admin => "admin",
    }
}

fn show_sockets(call: &mut Call<'_, '_>) -> Reply {
    let mut text = "# socket lvl processes\n".to_string();
    for (address, level) in call.surroundings.sockets {
        text.push_str(&format!("{address} {} all\n", level_name(*level)));
    }
    Reply::Text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_have_units() {
        assert_eq!(parse_delay_ms("30"), Some(30_000));
        assert_eq!(parse_delay_ms("30s"), Some(30_000));
        assert_eq!(parse_delay_ms("5m"), Some(300_000));
        assert_eq!(parse_delay_ms("1500ms"), Some(1500));
        for wrong in ["", "0", "x", "-1", "1y", "9999999999", "99999999999999999999", "10us", "é"] {
            assert_eq!(parse_delay_ms(wrong), None, "{wrong:?}");
        }
    }
}
