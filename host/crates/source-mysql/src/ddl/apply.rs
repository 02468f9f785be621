//! What changes do to a definition.

use super::Action;
use super::column::{Declaration, Place};
use super::definition::{ColumnDefinition, Definition, Key, same_name};

/// A change that does not fit what is known of the table: that is not what the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the statement does not fit what is known of the table")]
pub(crate) struct NotApplied;

impl Definition {
    /// Carries out the actions of one statement, as the servers do: columns that stay, change or go first, each under
    /// the name it had; then those that come or move, in order; then indexes.
    ///
    /// # Errors
    ///
    /// When the table lacks what an action is about, or has what it adds.
    pub(crate) fn apply(&mut self, actions: &[Action], database: Option<&str>) -> Result<(), NotApplied> {
        let mut convert = None;
        for action in actions {
            let of_database = || database.map(str::to_owned);
            match action {
                Action::Convert(charset) => {
                    self.charset = charset.clone().or_else(of_database);
                    convert = Some(self.charset.clone());
                }
                Action::Charset(charset) => self.charset = charset.clone().or_else(of_database),
                _ => {}
            }
        }
        let names: Vec<String> = self.columns.iter().map(|column| column.name.clone()).collect();
        let mut columns: Vec<Option<ColumnDefinition>> = self.columns.drain(..).map(Some).collect();
        if let Some(charset) = convert {
            columns.iter_mut().flatten().for_each(|column| column.convert(charset.as_deref()));
        }
        let find = |wanted: &str, if_exists: bool| {
            let at = names.iter().position(|name| same_name(name, wanted));
            if at.is_none() && !if_exists { Err(NotApplied) } else { Ok(at) }
        };
        // Of every old column what it is called now; `None`: it is gone.
        let mut renamed: Vec<Option<String>> = names.iter().cloned().map(Some).collect();
        for action in actions {
            match action {
                Action::Drop { column, if_exists } => {
                    if let Some(at) = find(column, *if_exists)? {
                        (columns[at], renamed[at]) = (None, None);
                    }
                }
                Action::Change { column, to, if_exists } => {
                    if let Some(at) = find(column, *if_exists)? {
                        renamed[at] = Some(to.column.name.clone());
                        columns[at] = (to.place == Place::Unsaid).then(|| self.declared_now(to));
                    }
                }
                Action::RenameColumn { from, to, if_exists } => {
                    if let Some(at) = find(from, *if_exists)? {
                        renamed[at] = Some(to.clone());
                        if let Some(column) = &mut columns[at] {
                            column.name.clone_from(to);
                        }
                    }
                }
                Action::Invisible { column, invisible } => {
                    if let Some(Some(column)) = find(column, false)?.map(|at| &mut columns[at]) {
                        column.invisible = *invisible;
                    }
                }
                _ => {}
            }
        }
        self.columns = columns.into_iter().flatten().collect();
        self.follow(&names, &renamed);
        for action in actions {
            match action {
                Action::Add { column, if_not_exists } => {
                    match (self.position(&column.column.name), if_not_exists) {
                        (None, _) => self.insert(column)?,
                        (Some(_), true) => continue,
                        (Some(_), false) => return Err(NotApplied),
                    }
                }
                Action::Change { column, to, .. } if find(column, true)?.is_some() => {
                    if to.place != Place::Unsaid {
                        self.insert(to)?;
                    }
                }
                _ => {}
            }
        }
        self.change_keys(actions)?;
        self.sort_keys();
        let doubled = |(at, column): (usize, &ColumnDefinition)| {
            self.columns[..at].iter().any(|other| same_name(&other.name, &column.name))
        };
        if self.columns.iter().enumerate().any(doubled) { Err(NotApplied) } else { Ok(()) }
    }

    /// A column as it is declared, in a table of this charset.
    fn declared_now(&self, declaration: &Declaration) -> ColumnDefinition {
        let mut column = declaration.column.clone();
        column.resolve(self.charset.as_deref());
        column
    }

    fn insert(&mut self, declaration: &Declaration) -> Result<(), NotApplied> {
        let at = match &declaration.place {
            Place::Unsaid => self.columns.len(),
            Place::First => 0,
            Place::After(column) => self.position(column).ok_or(NotApplied)? + 1,
        };
        self.columns.insert(at, self.declared_now(declaration));
        Ok(())
    }

    /// Indexes lose the columns that are gone, and follow those that have other names.
    fn follow(&mut self, names: &[String], renamed: &[Option<String>]) {
        for key in &mut self.keys {
            key.parts.retain_mut(|part| {
                let Some(column) = &part.column else { return true };
                let at = names.iter().position(|name| same_name(name, column));
                match at.and_then(|at| renamed.get(at)) {
                    Some(Some(now)) => part.column = Some(now.clone()),
                    Some(None) => return false,
                    None => {}
                }
                true
            });
        }
        self.keys.retain(|key| !key.parts.is_empty());
    }

    fn change_keys(&mut self, actions: &[Action]) -> Result<(), NotApplied> {
        let at = |keys: &[Key], name: &str| keys.iter().position(|key| same_name(&key.name, name));
        for action in actions {
            match action {
                Action::DropKey { key, if_exists } => match at(&self.keys, key) {
                    Some(at) => drop(self.keys.remove(at)),
                    // It went with the last of its columns, or is not there.
                    None if *if_exists
                        || actions.iter().any(|other| matches!(other, Action::Drop { .. })) => {}
                    None => return Err(NotApplied),
                },
                Action::DropConstraint(name) => {
                    if let Some(at) = at(&self.keys, name) {
                        self.keys.remove(at);
                    }
                }
                _ => {}
            }
        }
        for action in actions {
            match action {
                Action::RenameKey { from, to } => {
                    let at = at(&self.keys, from).ok_or(NotApplied)?;
                    self.keys[at].name.clone_from(to);
                }
                Action::AddKey { key, if_not_exists } => {
                    let is_new = key.name.is_empty() || at(&self.keys, &key.name).is_none();
                    if !is_new && !if_not_exists {
                        return Err(NotApplied);
                    }
                    if !key.parts.iter().all(|part| {
                        part.column.as_deref().is_none_or(|column| self.position(column).is_some())
                    }) {
                        return Err(NotApplied);
                    }
                    if is_new {
                        self.add_key(key.clone());
                    }
                }
                Action::AddForeign { name, columns } => self.add_foreign(name, columns),
                Action::Add { column, .. } | Action::Change { to: column, .. } => {
                    self.declare_keys(&column.column.name, column.primary, column.unique);
                }
                _ => {}
            }
        }
        Ok(())
    }
}
