//! Tables' definitions as of the position: what the log's rows are read by, where their table maps do not say it all.
//!
//! The history is kept in the host's state, by table: from which position on it had which definition. It is written
//! before anything behind the statement is handed out, so a checkpoint never stands behind what is not in it. A restart
//! goes back to the definitions that held at its checkpoint, and comes by the same statements again; versions that every
//! checkpoint has passed are dropped when the table changes next, and tables that were gone there when any one does.
//!
//! A change that was not understood makes a definition unknown. It is then read from the server, where the log has been
//! read to its end; anywhere else nobody knows it any more.

mod tables;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use deltaforge_engine::state::{StateError, StateStore};
use deltaforge_model::Position;
use deltaforge_model::position::Order;
use serde::{Deserialize, Serialize};

use crate::ddl::{Change, Definition, TableName};
use tables::Tables;
pub(crate) use tables::{Charsets, Known};

/// How two positions of the source relate.
pub(crate) type Compare = fn(&Position, &Position) -> Order;

/// The history failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    /// The host's state could not be read or written.
    #[error("the history of definitions")]
    State(#[from] StateError),
    /// What is stored is not a history.
    #[error("the history of definitions: {key} cannot be read ({why}); remove it, and take a new snapshot")]
    Damaged {
        /// The key in the store.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// It belongs to another server's log.
    #[error(
        "the history of definitions is not of the checkpoint's log: {name} is known from {at} on; restore both from one \
         backup, or take a new snapshot"
    )]
    Unrelated {
        /// Of what.
        name: String,
        /// The position in the history.
        at: String,
    },
}

/// What something was from one position on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Version {
    /// Right behind the statement.
    #[serde(with = "position_text")]
    at: Position,
    is: Is,
}

/// What a table or a database was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Is {
    /// There was none.
    Gone,
    /// A table of which no more is known.
    Unknown,
    /// A table.
    Table(Arc<Definition>),
    /// A database, and its default charset.
    Database(Option<String>),
}

/// A table, or without one a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Name {
    database: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<String>,
}

impl Name {
    fn table(name: &TableName) -> Self {
        Self { database: name.database.clone(), table: Some(name.table.clone()) }
    }

    /// Its place behind the prefix of the source.
    fn key(&self) -> String {
        let escape = |name: &str| name.replace('%', "%25").replace('/', "%2F");
        match &self.table {
            Some(table) => format!("{}/{}", escape(&self.database), escape(table)),
            None => escape(&self.database),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.key())
    }
}

/// All that is stored under one name, oldest first.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    v: u8,
    #[serde(flatten)]
    name: Name,
    versions: Vec<Version>,
}

/// The definitions at one position, and those before and after it.
pub(crate) struct History {
    state: Arc<dyn StateStore>,
    prefix: String,
    compare: Compare,
    now: Tables,
    versions: HashMap<Name, Vec<Version>>,
    /// What is gone, or came back since, and from where on, in the order of the log.
    gone: VecDeque<(Name, Position)>,
    /// Every checkpoint is here or further on.
    lowest: Option<Position>,
}

impl History {
    const FORGOTTEN_AT_ONCE: usize = 8;

    /// The key that all of a source's history begins with.
    pub fn prefix(tenant: &str, pipeline: &str, source_id: &str) -> String {
        let escape = |name: &str| name.replace('%', "%25").replace('/', "%2F");
        format!("schema/{}/{}/{}/", escape(tenant), escape(pipeline), escape(source_id))
    }

    /// The history as it was at `resume`. Without a checkpoint it begins anew.
    ///
    /// # Errors
    ///
    /// When the state cannot be read, or has no history of `resume`'s log.
    pub async fn open(
        state: Arc<dyn StateStore>,
        prefix: String,
        resume: Option<&Position>,
        compare: Compare,
    ) -> Result<Self, HistoryError> {
        let stored = state.list(&prefix).await?;
        let (now, versions) = (Tables::default(), HashMap::new());
        let (gone, lowest) = (VecDeque::new(), resume.cloned());
        let mut history = Self { state, prefix, compare, now, versions, gone, lowest };
        let Some(resume) = resume else {
            for (key, _) in stored {
                history.state.delete(&key).await?;
            }
            return Ok(history);
        };
        for (key, bytes) in stored {
            let Stored { v, name, versions } = serde_json::from_slice(&bytes)
                .map_err(|error| HistoryError::Damaged { key: key.clone(), why: error.to_string() })?;
            if v != 1 {
                return Err(HistoryError::Damaged { key, why: format!("version {v} of its form") });
            }
            let mut held = None;
            for version in &versions {
                match compare(&version.at, resume) {
                    Order::Before | Order::Same => held = Some(&version.is),
                    Order::After => {}
                    Order::Unrelated => {
                        let at = version.at.as_str().to_owned();
                        return Err(HistoryError::Unrelated { name: name.to_string(), at });
                    }
                }
            }
            if let Some(is) = held {
                history.now.set(&name, is);
            }
            // Whatever is behind the checkpoint comes again, and is in order then.
            if let (Some(Is::Gone), Some(last)) = (held, versions.last())
                && last.is == Is::Gone
                && compare(&last.at, resume) != Order::After
            {
                history.gone.push_back((name.clone(), last.at.clone()));
            }
            history.versions.insert(name, versions);
        }
        Ok(history)
    }

    /// Whether nothing is known: definitions are to be read from the server before the log is.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// What is known of a table where the log has been read to.
    pub fn table(&self, name: &TableName) -> Known<'_> {
        self.now.table(name)
    }

    /// All tables that there are.
    pub fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.now.names()
    }

    /// Takes in what the server says, which holds at `at`: the default charsets of databases, and definitions of
    /// tables (`None`: there is such a table, and no more is known).
    ///
    /// # Errors
    ///
    /// When it cannot be stored.
    pub async fn learn(
        &mut self,
        at: &Position,
        databases: Vec<(String, String)>,
        tables: Vec<(TableName, Option<Definition>)>,
    ) -> Result<(), HistoryError> {
        let database = |(database, charset): (String, String)| {
            (Name { database, table: None }, Is::Database(Some(charset)))
        };
        let table = |(name, definition): (TableName, Option<Definition>)| {
            let is = definition.map_or(Is::Unknown, |definition| Is::Table(Arc::new(definition)));
            (Name::table(&name), is)
        };
        let learnt: Vec<(Name, Is)> =
            databases.into_iter().map(database).chain(tables.into_iter().map(table)).collect();
        self.put(learnt.into_iter().map(|(name, is)| (name, at.clone(), is)).collect()).await
    }

    /// Takes in the definition of a table that was unknown, as the server has it now that the log has been read to its
    /// end. It has held since the table became unknown.
    ///
    /// # Errors
    ///
    /// When it cannot be stored.
    pub async fn learn_unknown(
        &mut self,
        table: &TableName,
        definition: Definition,
        now: &Position,
    ) -> Result<(), HistoryError> {
        let name = Name::table(table);
        let since = self.versions.get(&name).and_then(|versions| self.held(versions, now));
        let at = since.map_or_else(|| now.clone(), |version| version.at.clone());
        self.put(vec![(name, at, Is::Table(Arc::new(definition)))]).await
    }

    /// Carries out a statement's changes, which hold from `at` on: the place right behind it. Answers the tables whose
    /// definitions it touched.
    ///
    /// # Errors
    ///
    /// When it cannot be stored.
    pub async fn change(
        &mut self,
        at: &Position,
        changes: &[Change],
        charsets: Charsets<'_>,
    ) -> Result<Vec<TableName>, HistoryError> {
        let touched = self.now.change(changes, charsets);
        let mut tables = Vec::new();
        let mut entries = Vec::with_capacity(touched.len());
        for name in touched {
            let mut is = self.now.get(&name);
            if is == Is::Unknown {
                // The server was asked when this was read for the first time.
                let known = self.versions.get(&name).into_iter().flatten();
                let mut same = known.filter(|version| (self.compare)(&version.at, at) == Order::Same);
                if let Some(version) = same.next_back() {
                    is = version.is.clone();
                }
            }
            if let Some(table) = &name.table {
                tables.push(TableName::new(name.database.clone(), table.clone()));
            }
            entries.push((name, at.clone(), is));
        }
        self.put(entries).await?;
        Ok(tables)
    }

    /// All checkpoints have got to `position`, or further.
    pub fn confirm(&mut self, position: &Position) {
        self.lowest = Some(position.clone());
    }

    /// The version that holds at a position.
    fn held<'a>(&self, versions: &'a [Version], at: &Position) -> Option<&'a Version> {
        let is_past =
            |version: &&Version| matches!((self.compare)(&version.at, at), Order::Before | Order::Same);
        versions.iter().rfind(is_past)
    }

    /// Stores what holds from a position on, in one commit. What was stored of places behind it came from reading the
    /// log before, and comes again.
    async fn put(&mut self, entries: Vec<(Name, Position, Is)>) -> Result<(), HistoryError> {
        let mut bytes = Vec::with_capacity(entries.len());
        for (name, at, is) in entries {
            self.now.set(&name, &is);
            let mut versions = self.versions.remove(&name).unwrap_or_default();
            versions.retain(|version| (self.compare)(&version.at, &at) == Order::Before);
            if let Some(lowest) = &self.lowest
                && let Some(held) = self.held(&versions, lowest)
            {
                let held = held.at.clone();
                versions.retain(|version| (self.compare)(&version.at, &held) != Order::Before);
            }
            if is == Is::Gone {
                self.gone.push_back((name.clone(), at.clone()));
            }
            versions.push(Version { at, is });
            let stored = Stored { v: 1, name, versions };
            let form = serde_json::to_vec(&stored).expect("a history is plain data");
            bytes.push((format!("{}{}", self.prefix, stored.name.key()), form));
            self.versions.insert(stored.name, stored.versions);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.state.put_many(bytes, None).await?;
        self.forget_gone().await
    }

    /// Forgets what was gone where every checkpoint has passed: that it was ever there is nobody's question any more. A few at
    /// once, more than most statements leave, so that none waits for long.
    async fn forget_gone(&mut self) -> Result<(), HistoryError> {
        let Some(lowest) = self.lowest.clone() else { return Ok(()) };
        for _ in 0..Self::FORGOTTEN_AT_ONCE {
            // A history of nothing would begin anew, with what the server says.
            if self.versions.len() < 2 {
                break;
            }
            let is_passed = |(_, at): &mut (Name, Position)| {
                matches!((self.compare)(at, &lowest), Order::Before | Order::Same)
            };
            let Some((name, at)) = self.gone.pop_front_if(is_passed) else { break };
            let last = self.versions.get(&name).and_then(|versions| versions.last());
            // It may have come back.
            if last.is_some_and(|last| last.is == Is::Gone && last.at == at) {
                self.state.delete(&format!("{}{}", self.prefix, name.key())).await?;
                self.versions.remove(&name);
            }
        }
        Ok(())
    }
}

/// A position is a JSON text of its own.
mod position_text {
    use deltaforge_model::Position;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(position: &Position, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(position.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Position, D::Error> {
        String::deserialize(from).map(Position::new)
    }
}

#[cfg(test)]
mod goldens;
#[cfg(test)]
mod tests;
