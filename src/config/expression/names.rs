//! What expressions may name: frontends, backends, servers, tables, variables.
//!
//! The ids are those that the model will have: they follow from the order of the sections, so expressions can be compiled before the model
//! is put together.

use std::collections::HashMap;
use std::sync::Arc;

use ringmain_model::{BackendId, FrontendId, Scope, ServerId, TableId, Variable};

use crate::config::check::builder::ProxyBuilder;

/// Names of the whole configuration.
#[derive(Debug, Default)]
pub struct Names {
    frontends: HashMap<Arc<str>, FrontendId>,
    backends: HashMap<Arc<str>, BackendId>,
    servers: HashMap<BackendId, HashMap<Arc<str>, ServerId>>,
    tables: HashMap<Arc<str>, TableId>,
}

impl Names {
    /// Lists what the sections declare, in their order.
    pub fn new(proxies: &[ProxyBuilder]) -> Self {
        let mut names = Self::default();
        let (mut frontend_count, mut backend_count, mut server_count) = (0, 0, 0);
        for proxy in proxies {
            if proxy.is_front() {
                names.frontends.entry(proxy.name.clone()).or_insert(FrontendId::new(frontend_count));
                frontend_count += 1;
            }
            if proxy.is_back() {
                let id = BackendId::new(backend_count);
                backend_count += 1;
                names.backends.entry(proxy.name.clone()).or_insert(id);
                let servers = names.servers.entry(id).or_default();
                for server in &proxy.servers {
                    if let Some(name) = &server.name {
                        servers.entry(name.text.as_str().into()).or_insert(ServerId::new(server_count));
                    }
                    server_count += 1;
                }
            }
        }
        names
    }

    /// Adds a stick table under the name of the section that declares it.
    pub fn add_table(&mut self, name: Arc<str>, id: TableId) {
        self.tables.entry(name).or_insert(id);
    }

    /// The frontend of this name.
    pub fn frontend(&self, name: &str) -> Option<FrontendId> {
        self.frontends.get(name).copied()
    }

    /// The backend of this name.
    pub fn backend(&self, name: &str) -> Option<BackendId> {
        self.backends.get(name).copied()
    }

    /// The server of this name in a backend.
    pub fn server(&self, backend: BackendId, name: &str) -> Option<ServerId> {
        self.servers.get(&backend)?.get(name).copied()
    }

    /// The stick table of this name.
    pub fn table(&self, name: &str) -> Option<TableId> {
        self.tables.get(name).copied()
    }

    /// All frontends' names.
    pub fn frontends(&self) -> impl Iterator<Item = &str> {
        self.frontends.keys().map(|name| &**name)
    }

    /// All backends' names.
    pub fn backends(&self) -> impl Iterator<Item = &str> {
        self.backends.keys().map(|name| &**name)
    }

    /// All servers' names of a backend.
    pub fn servers(&self, backend: BackendId) -> impl Iterator<Item = &str> {
        self.servers.get(&backend).into_iter().flat_map(|servers| servers.keys().map(|name| &**name))
    }

    /// All tables' names.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.keys().map(|name| &**name)
    }
}

/// The variables that expressions and rules name, numbered for the whole model.
#[derive(Debug, Default)]
pub struct Variables {
    list: Vec<(Scope, Arc<str>)>,
    slots: HashMap<(Scope, Arc<str>), u16>,
}

impl Variables {
    /// The variable of this full name, such as `txn.id`.
    ///
    /// # Errors
    /// A sentence about what is wrong with the name.
    pub fn intern(&mut self, name: &str) -> Result<Variable, String> {
        let scopes = || Scope::ALL.map(|scope| format!("'{}.'", scope.name())).join(", ");
        let missing = || format!("the name of a variable begins with its scope: one of {}", scopes());
        let (scope, rest) = name.split_once('.').ok_or_else(missing)?;
        let scope = Scope::ALL.into_iter().find(|known| known.name() == scope).ok_or_else(missing)?;
        if rest.is_empty() {
            return Err(format!("the name of this variable ends after its scope '{}.'", scope.name()));
        }
        if let Some(bad) = rest.chars().find(|character| !character.is_ascii_alphanumeric() && !matches!(character, '.' | '_')) {
            return Err(format!("'{}' cannot be part of a variable's name", bad.escape_debug()));
        }
        let key = (scope, Arc::from(rest));
        if let Some(&slot) = self.slots.get(&key) {
            return Ok(Variable { scope, slot });
        }
        let slot = u16::try_from(self.list.len()).map_err(|_| "there are more than 65536 variables".to_owned())?;
        self.list.push(key.clone());
        self.slots.insert(key, slot);
        Ok(Variable { scope, slot })
    }

    /// `Model::variables`.
    pub fn into_list(self) -> Vec<(Scope, Arc<str>)> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_one_slot_per_scope() {
        let mut variables = Variables::default();
        let first = variables.intern("txn.a").expect("a variable");
        assert_eq!(variables.intern("sess.a").map(|variable| variable.slot), Ok(1));
        assert_eq!(variables.intern("txn.a"), Ok(first));
        assert_eq!(variables.intern("txn.a.b").map(|variable| variable.slot), Ok(2));
        for bad in ["a", "foo.a", "txn.", "txn.a-b", "", "txn", "txn.ä"] {
            assert!(variables.intern(bad).is_err(), "{bad}");
        }
        assert_eq!(variables.into_list().len(), 3);
    }
}
