//! The tables there are at one position, and what statements do to them.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Is, Name};
use crate::ddl::{Body, Change, Definition, TableName};

/// What is known of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Known<'a> {
    /// There is none.
    Gone,
    /// Its definition changed in a way that was not understood, or was never read.
    Unknown,
    /// This.
    Table(&'a Arc<Definition>),
}

/// What a statement's session says of charsets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Charsets<'a> {
    /// The default database, and its charset.
    pub database: Option<(&'a str, &'a str)>,
    /// The server's: of new databases that name none.
    pub server: Option<&'a str>,
}

#[derive(Debug, Default)]
pub(super) struct Tables {
    /// `None`: not known.
    tables: HashMap<TableName, Option<Arc<Definition>>>,
    databases: HashMap<String, Option<String>>,
}

impl Tables {
    pub fn table(&self, name: &TableName) -> Known<'_> {
        match self.tables.get(name) {
            None => Known::Gone,
            Some(None) => Known::Unknown,
            Some(Some(definition)) => Known::Table(definition),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &TableName> {
        self.tables.keys()
    }

    pub fn get(&self, name: &Name) -> Is {
        let Some(table) = &name.table else {
            let charset = self.databases.get(&name.database);
            return charset.map_or(Is::Gone, |charset| Is::Database(charset.clone()));
        };
        match self.table(&TableName::new(name.database.clone(), table.clone())) {
            Known::Gone => Is::Gone,
            Known::Unknown => Is::Unknown,
            Known::Table(definition) => Is::Table(definition.clone()),
        }
    }

    pub fn set(&mut self, name: &Name, is: &Is) {
        let table = name.table.as_ref().map(|table| TableName::new(name.database.clone(), table.clone()));
        match (is, table) {
            (Is::Database(charset), _) => {
                self.databases.insert(name.database.clone(), charset.clone());
            }
            (Is::Gone, None) => drop(self.databases.remove(&name.database)),
            (Is::Gone, Some(table)) => drop(self.tables.remove(&table)),
            (Is::Unknown, Some(table)) => drop(self.tables.insert(table, None)),
            (Is::Table(definition), Some(table)) => {
                self.tables.insert(table, Some(definition.clone()));
            }
            // A table's state under a database's name is nobody's writing.
            (Is::Unknown | Is::Table(_), None) => {}
        }
    }

    /// Carries out changes in order; answers what they touched, each once.
    pub fn change(&mut self, changes: &[Change], charsets: Charsets<'_>) -> Vec<Name> {
        let mut touched: Vec<Name> = Vec::new();
        for change in changes {
            for name in self.one(change, charsets) {
                if !touched.contains(&name) {
                    touched.push(name);
                }
            }
        }
        touched
    }

    fn one(&mut self, change: &Change, charsets: Charsets<'_>) -> Vec<Name> {
        match change {
            Change::Create { table, if_not_exists, body } => {
                if *if_not_exists && self.tables.contains_key(table) {
                    return Vec::new();
                }
                let definition = match body {
                    Body::Definition(definition) => {
                        let mut definition = (**definition).clone();
                        definition.resolve(self.charset_of(&table.database, charsets).as_deref());
                        Some(Arc::new(definition))
                    }
                    Body::Like(other) => self.tables.get(other).cloned().flatten(),
                    Body::Unknown => None,
                };
                self.tables.insert(table.clone(), definition);
                vec![Name::table(table)]
            }
            Change::Alter { table, actions } => self.alter(table, actions.as_deref(), charsets),
            Change::Drop { table } => {
                // What nobody knew of is gone all the same.
                self.tables.remove(table).map_or_else(Vec::new, |_| vec![Name::table(table)])
            }
            Change::Rename(pairs) => pairs.iter().flat_map(|(from, to)| self.rename(from, to)).collect(),
            Change::Truncate { .. } => Vec::new(),
            Change::Database { database, charset } => {
                let charset = charset.clone().or_else(|| charsets.server.map(str::to_owned));
                self.databases.insert(database.clone(), charset);
                vec![Name { database: database.clone(), table: None }]
            }
            Change::DropDatabase { database } => {
                let mut gone: Vec<Name> =
                    self.tables.keys().filter(|table| table.database == *database).map(Name::table).collect();
                self.tables.retain(|table, _| table.database != *database);
                self.databases.remove(database);
                gone.push(Name { database: database.clone(), table: None });
                gone
            }
        }
    }

    fn alter(
        &mut self,
        table: &TableName,
        actions: Option<&[crate::ddl::Action]>,
        charsets: Charsets<'_>,
    ) -> Vec<Name> {
        use crate::ddl::Action;
        let charset = self.charset_of(&table.database, charsets);
        let known = self.tables.entry(table.clone()).or_default();
        let is_renamed =
            |actions: &[Action]| actions.iter().all(|action| matches!(action, Action::Rename(_)));
        *known = known.take().zip(actions).and_then(|(definition, actions)| {
            // Where the server puts new columns, among its own, is not said.
            if definition.versioned && !is_renamed(actions) {
                return None;
            }
            let mut definition = Arc::unwrap_or_clone(definition);
            definition.apply(actions, charset.as_deref()).ok().map(|()| Arc::new(definition))
        });
        let to = actions.unwrap_or_default().iter().rev().find_map(|action| match action {
            Action::Rename(to) => Some(to),
            _ => None,
        });
        let mut touched = match to {
            Some(to) => self.rename(table, to).to_vec(),
            None => vec![Name::table(table)],
        };
        let exchanged = actions.unwrap_or_default().iter().filter_map(|action| match action {
            Action::Exchange(with) if self.tables.contains_key(with) => Some(Name::table(with)),
            _ => None,
        });
        touched.extend(exchanged);
        touched
    }

    fn rename(&mut self, from: &TableName, to: &TableName) -> [Name; 2] {
        let definition = self.tables.remove(from).flatten();
        self.tables.insert(to.clone(), definition);
        [Name::table(from), Name::table(to)]
    }

    /// The charset of new tables that name none.
    fn charset_of(&self, database: &str, charsets: Charsets<'_>) -> Option<String> {
        let session =
            charsets.database.filter(|(name, _)| *name == database).map(|(_, charset)| charset.to_owned());
        self.databases.get(database).cloned().flatten().or(session)
    }
}
