//! `show stat` and the schema of JSON output.

use ringmain_model::StatsLevel;

use crate::control::Fleet;
use crate::runtime::reply::STEP_BYTES;
use crate::runtime::{Call, Command, ControlContext, Producer, Progress, Reply};
use crate::stats::collect::Object;
use crate::stats::format::{Style, csv_header, csv_row, json_row, typed_row};
use crate::stats::{Collector, Selection};

/// Statistics.
pub const STATISTICS: &[Command] = &[
    Command {
        words: &["show", "stat"],
        level: StatsLevel::User,
        usage: "show stat [desc|json|no-maint|typed|up]*",
        summary: "show the counters of frontends, servers and backends",
        listed: true,
        run: show_stat,
    },
    Command {
        words: &["show", "schema", "json"],
        level: StatsLevel::User,
        usage: "show schema json",
        summary: "show the schema of JSON output",
        listed: true,
        run: |_| Reply::message(include_str!("schema.json").trim_end()),
    },
];

fn show_stat(call: &mut Call<'_, '_>) -> Reply {
    let mut words = call.words.iter().skip(2).map(String::as_str).collect::<Vec<_>>();
    if words.first() == Some(&"domain") {
        if words.get(1) != Some(&"proxy") {
            return Reply::message("Invalid statistics domain.");
        }
        words.drain(..2);
    }
    let mut selection = match parse_selection(call.context.fleet, &words) {
        Ok(selection) => selection,
        Err(message) => return Reply::Message(message),
    };
    let (mut style, mut describe) = (Style::Plain, false);
    for word in words {
        match word {
            "typed" => style = Style::Typed,
            "json" => style = Style::Json,
            "desc" => describe = true,
            "no-maint" => selection.hide_maintenance = true,
            "up" => selection.hide_down = true,
            _ => {}
        }
    }
    let show_legends = call.allows(StatsLevel::Operator);
    let context = &mut call.context;
    context.averages.refresh(context.fleet.generation());
    let objects = Collector { fleet: context.fleet, averages: context.averages, show_legends }.objects(&selection);
    let generation = context.fleet.generation().number;
    Reply::Stream(Box::new(Dump { objects, next: 0, generation, selection, style, describe, show_legends }))
}

/// `<iid|proxy> <type> <sid>`: looked at only when all three are there.
fn parse_selection(fleet: &Fleet, words: &[&str]) -> Result<Selection, String> {
    let [proxy, kinds, object, ..] = words else { return Ok(Selection::default()) };
    let (Ok(kinds), Ok(object)) = (kinds.parse::<i64>(), object.parse::<i64>()) else { return Ok(Selection::default()) };
    let proxy = match proxy.parse::<i64>() {
        Ok(number) => u32::try_from(number).ok(),
        Err(_) => Some(proxy_number(fleet, proxy).ok_or("No such proxy.")?),
    };
    // Negative numbers have all bits set.
    Ok(Selection { proxy, kinds: kinds as u32, object: u32::try_from(object).ok(), ..Selection::default() })
}

fn proxy_number(fleet: &Fleet, name: &str) -> Option<u32> {
    let model = fleet.model();
    let frontend = model.frontends.iter().find(|frontend| *frontend.name == *name).map(|frontend| frontend.proxy_id);
    frontend.or_else(|| model.backends.iter().find(|backend| *backend.name == *name).map(|backend| backend.proxy_id))
}

/// Rows, some at a time. Ends early when the configuration changes while it is being read.
struct Dump {
    objects: Vec<Object>,
    next: usize,
    generation: u64,
    selection: Selection,
    style: Style,
    describe: bool,
    show_legends: bool,
}

impl Producer for Dump {
    fn produce(&mut self, context: &mut ControlContext<'_>, out: &mut String) -> Progress {
        if self.next == 0 {
            match self.style {
                Style::Plain => csv_header(out),
                Style::Json => out.push('['),
                Style::Typed => {}
            }
        }
        let current = context.fleet.generation().number == self.generation;
        let collector = Collector { fleet: context.fleet, averages: context.averages, show_legends: self.show_legends };
        while let Some(&object) = self.objects.get(self.next).filter(|_| current) {
            if out.len() >= STEP_BYTES {
                return Progress::More;
            }
            self.next += 1;
            let Some(row) = collector.row(object, &self.selection) else { continue };
            match self.style {
                Style::Plain => csv_row(out, &row),
                Style::Typed => typed_row(out, &row, self.describe),
                Style::Json => {
                    out.push_str(if self.next > 1 { "," } else { "" });
                    json_row(out, &row);
                }
            }
        }
        if self.style == Style::Json {
            out.push_str("]\n");
        }
        Progress::Done
    }
}
