//! Prints a checked model as clean TOML: the converter (`ringmain convert FILE`).
//!
//! Loading the text gives the identical model. What a model holds beyond what was written (defaults, derived limits, numbers of proxies) is
//! left out where loading gives it anyway; instead of knowing these rules, the text is loaded and what came out differently is written
//! down: first plain settings, then values that are derived from others. `convert` reads files through `load`; `explain` is lent a loader.

mod address;
mod defaults;
mod global;
mod proxy;
mod rules;
mod server;
mod writer;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use ringmain_model::{Backend, BackendId, Frontend, Model, TableId};

use super::Loaded;
use super::check::{Context, Names};
use super::draft::SectionKind;
use super::environment::Environment;
use super::source::Request;
use writer::Section;

/// Steps of refinement: a setting of level L is written when the text without settings of levels L and above loads with another value.
const LEVELS: usize = 3;
/// Level of plain settings with a default.
const PLAIN: usize = 0;
/// Level of settings whose default is derived from other settings.
const DERIVED: usize = 1;
/// Level of numbers that move when one before them is written: where one still differs, all of a kind are written.
const ALL: usize = 2;

/// Reads what `-f` names and gives it as one TOML text; `None` when it does not load, for reasons that are in the diagnostics.
///
/// Names of hosts are not asked for: a configuration can be converted far from the machines it names.
pub fn convert(request: &Request, context: &Context<'_>) -> (Loaded, Option<String>) {
    let names = AnyHost(context.names);
    let context = Context { names: &names, ..*context };
    let loaded = super::load(request, &context);
    let again = |text: &str| super::load_texts(&[("converted.toml", text)], Environment::inherited(), &context).model;
    let text = loaded.model.as_ref().and_then(|model| explain(model, again));
    (loaded, text)
}

/// Names of which every host has an address, the same for all: one of those kept for documentation (RFC 5737).
struct AnyHost<'a>(&'a dyn Names);

impl Names for AnyHost<'_> {
    fn host(&self, _: &str) -> Vec<IpAddr> {
        vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))]
    }

    fn user(&self, name: &str) -> Option<u32> {
        self.0.user(name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.0.group(name)
    }
}

/// The model as TOML. `load` loads a text as one file in the native language, in the circumstances that the model was loaded in.
///
/// The text was seen to load as this very model; `None` when it did not.
pub fn explain(model: &Model, load: impl Fn(&str) -> Option<Model>) -> Option<String> {
    let mut references: Vec<Model> = Vec::new();
    loop {
        let text = print(model, &references);
        let reference = load(&text)?;
        if references.len() == LEVELS {
            return (reference == *model).then_some(text);
        }
        let same_shape = reference.frontends.len() == model.frontends.len()
            && reference.backends.len() == model.backends.len()
            && reference.servers.len() == model.servers.len();
        if !same_shape {
            return None;
        }
        references.push(reference);
    }
}

/// A part of the model and the same part of the texts that were loaded so far.
struct Part<'a, T: ?Sized> {
    own: &'a T,
    references: Vec<Option<&'a T>>,
}

impl<'a, T: ?Sized> Part<'a, T> {
    /// The part that `pick` finds in a model.
    fn of(model: &'a Model, references: &'a [Model], pick: impl Fn(&'a Model) -> &'a T) -> Self {
        Self { own: pick(model), references: references.iter().map(|reference| Some(pick(reference))).collect() }
    }

    /// Whether a value must be written: loading does not give it by itself.
    fn differs<V: PartialEq>(&self, level: usize, value: impl Fn(&T) -> V) -> bool {
        self.references.get(level).is_some_and(|reference| reference.is_none_or(|reference| value(reference) != value(self.own)))
    }

    /// A part of this part; `own` has it, a reference may lack it.
    fn inner<U: ?Sized>(&self, own: &'a U, pick: impl Fn(&'a T) -> Option<&'a U>) -> Part<'a, U> {
        Part { own, references: self.references.iter().map(|reference| reference.and_then(&pick)).collect() }
    }
}

/// One proxy section: the halves that are in it.
struct Proxy<'a> {
    front: Option<(usize, &'a Frontend)>,
    back: Option<(usize, &'a Backend)>,
}

fn print(model: &Model, references: &[Model]) -> String {
    let mut sections = Vec::new();
    let mut global = Section::new(SectionKind::Global, None);
    global::print(&mut global, &Part::of(model, references, |model| &model.global));
    rules::variables(&mut global, &model.global, model);
    if !global.is_empty() {
        sections.push(global);
    }
    let proxies = proxies(model);
    let differs =
        |proxy: &Proxy<'_>, level: usize| references.get(level).is_some_and(|reference| number(proxy, reference) != number(proxy, model));
    let all_numbered = proxies.iter().any(|proxy| differs(proxy, ALL));
    let section = |proxy: &Proxy<'_>| {
        let numbered = all_numbered || differs(proxy, DERIVED);
        proxy::print(proxy, own_table(proxy, &proxies, model), model, references, numbered.then(|| number(proxy, model)))
    };
    let mut printed: Vec<Section> = proxies.iter().map(section).collect();
    sections.extend(defaults::collect(&mut printed));
    let mut places: Vec<Option<usize>> = proxies.iter().map(|proxy| own_table(proxy, &proxies, model).map(TableId::index)).collect();
    for (index, table) in model.tables.iter().enumerate().filter(|(index, _)| !places.contains(&Some(*index))).collect::<Vec<_>>() {
        // Tables keep their order.
        let at = places.iter().position(|place| place.is_some_and(|place| place > index)).unwrap_or(places.len());
        let mut section = Section::new(SectionKind::Table, Some(&table.name));
        rules::table(&mut section, TableId::new(index), model);
        printed.insert(at, section);
        places.insert(at, Some(index));
    }
    sections.append(&mut printed);
    let text: String = sections.iter().map(Section::render).collect();
    format!("{}\n", text.trim_end())
}

/// The stick table that is named after a proxy. Of a frontend and a backend of one name the backend has it.
fn own_table(proxy: &Proxy<'_>, all: &[Proxy<'_>], model: &Model) -> Option<TableId> {
    let name = match (proxy.front, proxy.back) {
        (_, Some((_, back))) => &back.name,
        (Some((_, front)), None) => &front.name,
        (None, None) => return None,
    };
    let elsewhere = proxy.back.is_none() && all.iter().any(|other| other.back.is_some_and(|(_, back)| back.name == *name));
    model.tables.iter().position(|table| table.name == *name && !elsewhere).map(TableId::new)
}

/// HAProxy's number of a proxy.
fn number(proxy: &Proxy<'_>, model: &Model) -> u32 {
    match (proxy.front, proxy.back) {
        (Some((index, _)), _) => model.frontends[index].proxy_id,
        (None, Some((index, _))) => model.backends[index].proxy_id,
        (None, None) => 0,
    }
}

/// The sections in an order that gives frontends and backends their places and, where possible, proxies their numbers.
fn proxies(model: &Model) -> Vec<Proxy<'_>> {
    let mut fronts = model.frontends.iter().enumerate().peekable();
    let mut backs = model.backends.iter().enumerate().peekable();
    let serving: HashSet<(u32, &str)> = model.backends.iter().map(|back| (back.proxy_id, &*back.name)).collect();
    let listens: HashSet<(u32, &str)> =
        model.frontends.iter().map(|front| (front.proxy_id, &*front.name)).filter(|identity| serving.contains(identity)).collect();
    let tables: HashMap<&str, usize> = model.tables.iter().enumerate().map(|(index, table)| (&*table.name, index)).collect();
    let table = |name: &str| tables.get(name).copied();
    let mut proxies = Vec::new();
    loop {
        // The one whose tables come first must come first, too.
        let first_table = |names: &mut dyn Iterator<Item = &str>| names.filter_map(table).min().unwrap_or(usize::MAX);
        let front_waits = fronts
            .peek()
            .and_then(|(_, front)| table(&front.name))
            .is_some_and(|own| first_table(&mut backs.clone().map(|(_, back)| &*back.name)) < own);
        let back_waits = backs
            .peek()
            .and_then(|(_, back)| table(&back.name))
            .is_some_and(|own| first_table(&mut fronts.clone().map(|(_, front)| &*front.name)) < own);
        let back_is_listen = backs.peek().is_some_and(|(_, back)| listens.contains(&(back.proxy_id, &*back.name)));
        let front_is_listen = fronts.peek().is_some_and(|(_, front)| listens.contains(&(front.proxy_id, &*front.name)));
        match (fronts.peek().copied(), backs.peek().copied()) {
            (None, None) => return proxies,
            (Some((_, front)), Some((_, back))) if is_listen(front, back) => {
                proxies.push(Proxy { front: fronts.next(), back: backs.next() });
            }
            // A half of a 'listen' waits for its other half.
            (Some((_, front)), Some((_, back)))
                if back_is_listen || (!front_is_listen && !front_waits && (back_waits || front.proxy_id <= back.proxy_id)) =>
            {
                proxies.push(Proxy { front: fronts.next(), back: None });
            }
            (_, Some(_)) => proxies.push(Proxy { front: None, back: backs.next() }),
            (Some(_), None) => proxies.push(Proxy { front: fronts.next(), back: None }),
        }
    }
}

/// Whether the two are the halves of one `listen` section.
fn is_listen(front: &Frontend, back: &Backend) -> bool {
    front.proxy_id == back.proxy_id && front.name == back.name
}

/// The name of a backend, for a route.
fn backend_name(model: &Model, id: BackendId) -> Option<&str> {
    model.backends.get(id.index()).map(|backend| &*backend.name)
}
