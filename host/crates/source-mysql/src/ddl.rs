//! What statements of the log do to tables.
//!
//! The log has DDL as text. [`read`] tells which tables a statement creates, changes, renames or drops, and
//! [`Definition`] carries that out on what was known of a table, so that rows are read by the definition that held when
//! they were written.
//!
//! Words come from a library (`sqlparser`), which knows strings, comments and names. Its grammar does not know much of
//! what the two servers accept in DDL, and has no way to pass over a part that says nothing about columns; so what
//! matters here is read from the words themselves. A part that is not understood makes the whole change unknown: the
//! definition must then come from elsewhere, and is never guessed.

mod alter;
mod apply;
mod column;
mod create;
mod definition;
mod keys;
mod statement;
mod types;
mod words;

pub use alter::Action;
pub use definition::{ColumnDefinition, Definition, Generated, Key, KeyPart, RowTime};
pub use statement::read;
pub use words::Mode;

/// Which server wrote a statement: the two spell types differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// MySQL 8 and 9.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// What a statement's meaning depends on besides its text.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The server that ran it.
    pub server: Server,
    /// The default database.
    pub database: &'a str,
    /// Of the session's `sql_mode`, what changes how text is read.
    pub mode: Mode,
    /// Whether names of databases and tables are kept in lower case (`lower_case_table_names` is not 0).
    pub fold_names: bool,
}

/// A table's full name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Its database.
    pub database: String,
    /// Its own name.
    pub table: String,
}

impl TableName {
    /// A name of its parts.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        Self { database: database.into(), table: table.into() }
    }

    /// Reads `database.table`.
    pub fn parse(text: &str) -> Option<Self> {
        let (database, table) = text.split_once('.')?;
        (!database.is_empty() && !table.is_empty()).then(|| Self::new(database, table))
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// Tables or databases: in this order.
    Changes(Vec<Change>),
    /// Users, roles, grants, passwords: its text is never shown to anybody.
    Accounts,
    /// Nothing that concerns the definition of a table.
    Other,
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A table comes into being.
    Create {
        /// Its name.
        table: TableName,
        /// Whether a table of that name stays as it is.
        if_not_exists: bool,
        /// What it looks like.
        body: Body,
    },
    /// A table changes.
    Alter {
        /// Its name.
        table: TableName,
        /// What is done to it, in order; `None`: it was not understood.
        actions: Option<Vec<Action>>,
    },
    /// A table is gone.
    Drop {
        /// The name it had.
        table: TableName,
    },
    /// Tables get other names, one after the other.
    Rename(Vec<(TableName, TableName)>),
    /// All rows of a table are gone.
    Truncate {
        /// Its name.
        table: TableName,
    },
    /// A database is made, or gets another default charset.
    Database {
        /// Its name.
        database: String,
        /// The charset of tables that name none; `None`: the statement does not say.
        charset: Option<String>,
    },
    /// A database is gone with all its tables.
    DropDatabase {
        /// Its name.
        database: String,
    },
}

/// What a new table looks like.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// As the statement says.
    Definition(Box<Definition>),
    /// As another table.
    Like(TableName),
    /// As a query's result, or in words that were not understood.
    Unknown,
}

/// A table that takes another's place under its name: how tools that change tables online (gh-ost,
/// pt-online-schema-change) end their work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOver<'a> {
    /// The table that keeps its name and gets other contents.
    pub table: &'a TableName,
    /// The name that the new one had.
    pub was: &'a TableName,
    /// The name that the old one has now.
    pub retired: &'a TableName,
}

impl Change {
    /// The tables that a rename puts in others' places: `t TO old, new TO t`.
    pub fn cut_overs(&self) -> Vec<CutOver<'_>> {
        let Self::Rename(pairs) = self else { return Vec::new() };
        let cut_over = |(at, (was, table)): (usize, &'_ (TableName, TableName))| {
            let (_, retired) = pairs[..at].iter().find(|(from, _)| from == table)?;
            Some((was.clone(), table.clone(), retired.clone()))
        };
        let found = pairs.iter().enumerate().filter_map(cut_over);
        found
            .filter_map(|(was, table, retired)| {
                let name = |wanted: &TableName| {
                    pairs.iter().flat_map(|(from, to)| [from, to]).find(|name| *name == wanted)
                };
                Some(CutOver { table: name(&table)?, was: name(&was)?, retired: name(&retired)? })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
