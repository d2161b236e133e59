//! The registries: every fetch and every converter once, with its arguments, types, summary and code.
//!
//! The families are in `fetch/` and `convert/`; this file joins them and looks names up. The configuration's parser checks arguments by
//! their [`Parameter`]s, so that code here never sees a wrong one; README's tables are made from the summaries.

use std::collections::HashMap;
use std::sync::LazyLock;

use ringmain_model::{Argument, Needs, SampleType};

use super::evaluate::{Evaluation, Outcome};
use super::sample::Sample;
use super::{convert, fetch};

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A whole number.
    Integer,
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An IPv4 mask, as an address or a prefix length.
    Mask4,
    /// An IPv6 mask, as an address or a prefix length.
    Mask6,
    /// A duration; milliseconds without a unit.
    Time,
    /// A size in bytes.
    Size,
    /// A frontend's name; the current one when left out.
    Frontend,
    /// A backend's name; the current one when left out.
    Backend,
    /// A server: `backend/server`, or `server` of the current backend.
    Server,
    /// A stick table's name; the current proxy's when left out.
    Table,
    /// A stick table's name; when left out it stays out, and the tracked entry's own table is meant (`sc0_conn_cnt`).
    OtherTable,
    /// The name of an environment variable; the parser puts its value in its place, or `Absent` when it is not set (`env`).
    Environment,
    /// A variable's name with its scope.
    Variable,
    /// A number, or a variable that holds one.
    IntegerOrVariable,
    /// Text, or a variable whose value is used (`hmac`).
    VariableName,
    /// A regular expression; flags are in the argument after it.
    Regex,
    /// A map file; how its keys match is said by the entry's name.
    Map,
    /// A map file of a table's key, value pair default: the value when nothing matches.
    MapDefault,
}

/// A fetch.
pub struct FetchEntry {
    /// Its name; aliases are entries of their own.
    pub name: &'static str,
    /// Its arguments.
    pub parameters: &'static [Parameter],
    /// How many of them must be given.
    pub required: usize,
    /// Type of the value.
    pub output: SampleType,
    /// What it looks at.
    pub needs: Needs,
    /// What it gives, in one line without a full stop.
    pub summary: &'static str,
    /// Further checks of the arguments at load, which may also rewrite them; the error names an argument by position.
    pub check: Option<ArgumentCheck>,
    /// Fetches.
    pub run: for<'a> fn(Evaluation<'a>, &'a [Argument]) -> Outcome<'a>,
}

/// A converter.
pub struct ConverterEntry {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub parameters: &'static [Parameter],
    /// How many of them must be given.
    pub required: usize,
    /// Type that it takes; values are cast to it.
    pub input: SampleType,
    /// Type that it gives.
    pub output: SampleType,
    /// What it looks at beyond its input.
    pub needs: Needs,
    /// What it does, in one line without a full stop.
    pub summary: &'static str,
    /// Further checks of the arguments at load, which may also rewrite them; the error names an argument by position.
    pub check: Option<ArgumentCheck>,
    /// Converts.
    pub run: for<'a> fn(Evaluation<'a>, Sample<'a>, &'a [Argument]) -> Outcome<'a>,
}

/// A check of a call's arguments: the position of the wrong one and a sentence about it.
pub type ArgumentCheck = fn(&mut Vec<Argument>) -> Result<(), (usize, String)>;

/// All fetches; `Call::entry` of a fetch is an index into it.
pub static FETCHES: LazyLock<Vec<&'static FetchEntry>> = LazyLock::new(|| fetch::FAMILIES.iter().copied().flatten().collect());

/// All converters; `Call::entry` of a converter is an index into it.
pub static CONVERTERS: LazyLock<Vec<&'static ConverterEntry>> = LazyLock::new(|| convert::FAMILIES.iter().copied().flatten().collect());

static FETCHES_BY_NAME: LazyLock<HashMap<&'static str, u16>> =
    LazyLock::new(|| FETCHES.iter().enumerate().map(|(index, entry)| (entry.name, index as u16)).collect());

static CONVERTERS_BY_NAME: LazyLock<HashMap<&'static str, u16>> =
    LazyLock::new(|| CONVERTERS.iter().enumerate().map(|(index, entry)| (entry.name, index as u16)).collect());

/// The fetch with this name, and its index.
pub fn fetch_entry(name: &str) -> Option<(u16, &'static FetchEntry)> {
    let index = *FETCHES_BY_NAME.get(name)?;
    FETCHES.get(usize::from(index)).map(|entry| (index, *entry))
}

/// The converter with this name, and its index.
pub fn converter(name: &str) -> Option<(u16, &'static ConverterEntry)> {
    let index = *CONVERTERS_BY_NAME.get(name)?;
    CONVERTERS.get(usize::from(index)).map(|entry| (index, *entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_with_a_summary() {
        assert_eq!(FETCHES_BY_NAME.len(), FETCHES.len());
        assert_eq!(CONVERTERS_BY_NAME.len(), CONVERTERS.len());
        let summaries = FETCHES.iter().map(|entry| (entry.name, entry.summary));
        for (name, summary) in summaries.chain(CONVERTERS.iter().map(|entry| (entry.name, entry.summary))) {
            assert!(!summary.is_empty() && !summary.ends_with('.'), "{name}: '{summary}'");
        }
        for (required, parameters, name) in FETCHES
            .iter()
            .map(|entry| (entry.required, entry.parameters.len(), entry.name))
            .chain(CONVERTERS.iter().map(|entry| (entry.required, entry.parameters.len(), entry.name)))
        {
            assert!(required <= parameters, "{name}");
        }
    }
}
