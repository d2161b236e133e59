//! Draft -> model: names resolved, ranges checked, rules across sections, lints.
//!
//! `load` calls `check` for both languages. Each setting is understood by its entry in the keyword registry, which fills a builder; the
//! files here put the builders together. Opens nothing and starts nothing, but asks the given names for hosts, users and groups.

pub mod action;
pub mod address;
mod arguments;
mod backend;
pub mod builder;
mod capacity;
mod context;
mod frontend;
mod lint;
mod number;
pub mod rule_lines;
mod rules;
mod sections;
mod server;
pub mod tables;
mod track;
mod variables;

use ringmain_model::{Model, TableId};

use super::diagnostic::{Diagnostics, Sources, Span};
use super::draft::Draft;
use super::environment::Environment;
use super::expression::{Compilation, Names as ExpressionNames};

pub use capacity::own_descriptors;
pub use context::{Context, Names, SystemNames};

/// Makes the model of a draft. Reports everything that is wrong with it; `None` when that, or an earlier finding, makes it unusable.
pub fn check(
    draft: &Draft,
    sources: &Sources,
    environment: &Environment,
    context: &Context<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Model> {
    let gathered = sections::gather(draft, sources, context, diagnostics);
    lint::modes(&gathered.proxies, diagnostics);
    let mut tables = tables::Tables::new(&gathered.tables, sources, diagnostics);
    let numbers = number::proxies(&gathered, sources, diagnostics);
    let directory = backend::Directory::new(&gathered.proxies, sources, diagnostics);
    let routes = frontend::routes(&gathered.proxies, &directory, diagnostics);
    let limits = capacity::limits(&gathered, context);
    let fullconns = capacity::fullconns(&gathered.proxies, &directory, &routes, &limits);
    let mut global = capacity::global(&gathered.global, &limits, environment);
    let mut names = ExpressionNames::new(&gathered.proxies);
    for (index, table) in tables.list.iter().enumerate() {
        names.add_table(table.name.clone(), TableId::new(index));
    }
    let mut compilation = Compilation::new(names, draft.directory.clone(), sources, environment, context);
    global.variables = rules::variables(&gathered, &mut compilation, diagnostics);
    let logs = lint::Logs::new(&gathered, &mut compilation, diagnostics);

    let mut servers = Vec::new();
    let mut backends = Vec::new();
    for (id, proxy) in directory.backends(&gathered.proxies) {
        let range = server::append(proxy, id, sources, context, &mut servers, diagnostics);
        backends.push(backend::build(proxy, &numbers, range, fullconns[id.index()], logs.of(proxy)));
    }
    track::resolve(&gathered.proxies, &directory, &backends, &mut servers, diagnostics);
    let mut frontends = frontend::build(&gathered, &numbers, &routes, &limits, &logs, sources, diagnostics);
    rules::compile(&gathered, &directory, &mut tables, &mut compilation, (&mut frontends, &mut backends), diagnostics);

    lint::warn(&gathered, &routes, diagnostics);
    if let Some(span) = gathered.global.zero_warning {
        lint::refuse_warnings(span, diagnostics);
    }
    let variables = compilation.into_variables();
    if diagnostics.failed() {
        return None;
    }
    let mut model = Model { global, frontends, backends, servers, tables: tables.list, variables };
    variables::renumber(&mut model);
    Some(model)
}

/// "at file:line", for messages that name a second place.
fn at(sources: &Sources, span: Span) -> String {
    format!("at {}", sources.location(span))
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod tests;
