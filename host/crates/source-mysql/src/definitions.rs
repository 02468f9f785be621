//! What tables look like at the point of the log that is being read.
//!
//! With `binlog_row_metadata = FULL` the log says most of it itself. What it does not say (names without FULL, MariaDB's
//! own types, unique keys) comes from here.

use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_model::Position;

use crate::binlog::query::Query;
use crate::ddl::{Definition, TableName};
use crate::failure::MysqlError;
use crate::layout::Declared;
use crate::position::At;

/// Who knows the tables' definitions. Asked in the order of the log.
#[async_trait]
pub(crate) trait Definitions: Send {
    /// The definition that a table has at this point of the log, which was read up to `read`; `None`: it is not known.
    async fn of(&mut self, database: &str, table: &str, read: &At) -> Result<Option<Arc<Declared>>, MysqlError>;

    /// The whole definition, if it is known without asking.
    fn known(&self, table: &TableName) -> Option<Arc<Definition>>;

    /// All tables there are at this point, by name.
    fn tables(&self) -> Vec<TableName>;

    /// A statement of the log that is neither of a transaction's own words nor rows, and the position right behind it.
    /// Answers which tables it changed.
    async fn statement(&mut self, query: &Query<'_>, behind: &Position) -> Result<Vec<Touched>, MysqlError>;
}

/// A table that a statement changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touched {
    pub database: String,
    pub table: String,
    pub how: How,
}

/// What happened to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It came into being.
    Created,
    /// Its definition, or its name, is another one.
    Changed,
    /// It is gone.
    Dropped,
    /// It is empty.
    Emptied,
}
