//! Environment variables as a configuration sees them: inherited, then changed by `setenv` and its relatives while sections are read.
//!
//! Both languages expand variables from here. Never changes the process's own environment: the model says what children get.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The variables that expansions see.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    inherited: BTreeMap<String, String>,
    current: BTreeMap<String, String>,
}

impl Environment {
    /// The environment of this process; variables that are not UTF-8 are left out.
    pub fn inherited() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.current.get(name).map(String::as_str)
    }

    /// `setenv`: sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.current.insert(name.to_owned(), value.to_owned());
    }

    /// `presetenv`: sets a variable unless it exists.
    pub fn preset(&mut self, name: &str, value: &str) {
        self.current.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// `unsetenv`: forgets a variable.
    pub fn unset(&mut self, name: &str) {
        self.current.remove(name);
    }

    /// `resetenv`: forgets all variables except those named.
    pub fn reset<'a>(&mut self, keep: impl Iterator<Item = &'a str>) {
        let old = std::mem::take(&mut self.current);
        for name in keep {
            if let Some(value) = old.get(name) {
                self.current.insert(name.to_owned(), value.clone());
            }
        }
    }

    /// What differs from the inherited environment, by name: `None` for a variable that was removed.
    pub fn changes(&self) -> Vec<(Arc<str>, Option<Arc<str>>)> {
        let set = self.current.iter().filter(|(name, value)| self.inherited.get(*name) != Some(*value));
        let gone = self.inherited.keys().filter(|name| !self.current.contains_key(*name));
        let mut changes: Vec<(Arc<str>, Option<Arc<str>>)> =
            set.map(|(name, value)| (name.as_str().into(), Some(value.as_str().into()))).collect();
        changes.extend(gone.map(|name| (name.as_str().into(), None)));
        changes.sort();
        changes
    }
}

impl FromIterator<(String, String)> for Environment {
    /// An environment that inherits these variables.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let inherited: BTreeMap<String, String> = variables.into_iter().collect();
        Self { current: inherited.clone(), inherited }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_what_children_must_be_told() {
        let mut environment: Environment =
            [("A", "1"), ("B", "2"), ("C", "3")].map(|(name, value)| (name.into(), value.into())).into_iter().collect();
        environment.set("A", "9");
        environment.preset("B", "9");
        environment.preset("D", "4");
        environment.unset("C");
        let changes: Vec<_> =
            environment.changes().into_iter().map(|(name, value)| (name.to_string(), value.map(|text| text.to_string()))).collect();
        assert_eq!(changes, [("A".into(), Some("9".into())), ("C".into(), None), ("D".into(), Some("4".into()))]);
        environment.reset(["B"].into_iter());
        assert_eq!((environment.get("A"), environment.get("B")), (None, Some("2")));
    }
}
