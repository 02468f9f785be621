//! What tables look like at the point of the log that is being read.
//!
//! With `binlog_row_metadata = FULL` the log says most of it itself. What it does not say (names without FULL, MariaDB's
//! own types, unique keys) comes from here.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::binlog::query::Query;
use crate::connect::Endpoint;
use crate::failure::{Doing, MysqlError};
use crate::layout::{Declared, DeclaredColumn};

/// Who knows the tables' definitions. Asked in the order of the log.
#[async_trait]
pub(crate) trait Definitions: Send {
    /// The definition that a table has at this point of the log; `None`: it is not known.
    async fn of(&mut self, database: &str, table: &str) -> Result<Option<Arc<Declared>>, MysqlError>;

    /// A statement of the log that is neither of a transaction's own words nor rows. Answers which tables it changed.
    async fn statement(&mut self, query: &Query<'_>) -> Result<Vec<Touched>, MysqlError>;
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

/// Definitions as they are now, from `information_schema`: right as long as no statement behind this point of the
/// log has changed them.
pub(crate) struct Today {
    endpoint: Endpoint,
    conn: Option<Conn>,
    known: HashMap<(String, String), Option<Arc<Declared>>>,
}

impl Today {
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, conn: None, known: HashMap::new() }
    }

    async fn ask(&mut self, database: &str, table: &str) -> Result<Option<Declared>, MysqlError> {
        const ACTION: &str = "ask for the definition of a table of";
        let address = self.endpoint.address().to_owned();
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(self.endpoint.connect().await?),
        };
        let columns = "SELECT column_name, column_type, character_set_name FROM information_schema.columns \
                       WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position";
        let columns: Vec<(String, String, Option<String>)> =
            conn.exec(columns, (database, table)).await.doing(ACTION, &address)?;
        if columns.is_empty() {
            return Ok(None);
        }
        let keys = "SELECT s.index_name, s.column_name, c.is_nullable FROM information_schema.statistics s \
                    JOIN information_schema.columns c USING (table_schema, table_name, column_name) \
                    WHERE s.table_schema = ? AND s.table_name = ? AND s.non_unique = 0 AND s.sub_part IS NULL \
                    ORDER BY s.index_name <> 'PRIMARY', s.index_name, s.seq_in_index";
        let keys: Vec<(String, String, String)> = conn.exec(keys, (database, table)).await.doing(ACTION, &address)?;
        let of_columns = |(name, column_type, charset)| DeclaredColumn { name, column_type, charset };
        Ok(Some(Declared { columns: columns.into_iter().map(of_columns).collect(), key: key_of(&keys) }))
    }
}

/// The columns of the primary key, else of the first unique key without a NULL.
fn key_of(parts: &[(String, String, String)]) -> Vec<String> {
    let indexes = parts.chunk_by(|(a, ..), (b, ..)| a == b);
    let mut whole = indexes.filter(|parts| parts.iter().all(|(.., nullable)| nullable == "NO"));
    let chosen = whole.next().unwrap_or_default();
    chosen.iter().map(|(_, column, _)| column.clone()).collect()
}

#[async_trait]
impl Definitions for Today {
    async fn of(&mut self, database: &str, table: &str) -> Result<Option<Arc<Declared>>, MysqlError> {
        let name = (database.to_owned(), table.to_owned());
        if let Some(known) = self.known.get(&name) {
            return Ok(known.clone());
        }
        let asked = self.ask(database, table).await;
        if asked.is_err() {
            self.conn = None;
        }
        let found = asked?.map(Arc::new);
        self.known.insert(name, found.clone());
        Ok(found)
    }

    async fn statement(&mut self, _query: &Query<'_>) -> Result<Vec<Touched>, MysqlError> {
        self.known.clear();
        Ok(Vec::new())
    }
}
