//! The history at work: asked and told by who reads the log.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_model::Position;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::{Charsets, History, HistoryError, Known};
use crate::binlog::query::Query;
use crate::charset::Charset;
use crate::config::{Captured, OWN_DATABASES};
use crate::connect::Endpoint;
use crate::ddl::{self, Action, Body, Change, Context, Definition, Mode, Statement, TableName};
use crate::definitions::{Definitions, How, Touched};
use crate::failure::{Doing, MysqlError};
use crate::layout::Declared;
use crate::position::{At, Place};
use crate::server::{Flavour, Server};

/// The history of a stream's tables.
pub(crate) struct Recorded {
    history: History,
    endpoint: Endpoint,
    server: Server,
    conn: Option<Conn>,
}

impl Recorded {
    /// Takes the history up. Where there is none yet, `at` is where the server's log ends now, and what it has is what
    /// held there.
    ///
    /// # Errors
    ///
    /// When the history cannot be read, or the server does not tell.
    pub async fn begin(
        mut history: History,
        endpoint: Endpoint,
        server: Server,
        captured: &Captured,
        at: &At,
    ) -> Result<Self, MysqlError> {
        if history.is_empty() {
            let mut conn = endpoint.connect().await?;
            let is_tail = server.tail(&mut conn).await?.place.gtid.are_in(&at.place.gtid);
            if is_tail == Some(false) {
                tracing::warn!(
                    "what the tables looked like at the checkpoint was not recorded: what the log does not say of them is \
                     not known until it was read to its end"
                );
            }
            let (databases, tables) = all(&mut conn, &server, captured, is_tail != Some(false)).await?;
            history.learn(&at.position(), databases, tables).await?;
        }
        Ok(Self { history, endpoint, server, conn: None })
    }

    /// Reads an unknown definition from the server, if nothing that was not read of the log can have changed it.
    async fn ask(&mut self, name: &TableName, read: &Place) -> Result<Option<Definition>, MysqlError> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.endpoint.connect().await?,
        };
        let definition = definition(&mut conn, &self.server, name).await?;
        let tail = self.server.tail(&mut conn).await?;
        self.conn = Some(conn);
        Ok(definition.filter(|_| tail.place.gtid.are_in(&read.gtid) == Some(true)))
    }
}

#[async_trait]
impl Definitions for Recorded {
    async fn of(&mut self, database: &str, table: &str, read: &At) -> Result<Option<Arc<Declared>>, MysqlError> {
        let name = TableName::new(database, table);
        if let Known::Table(definition) = self.history.table(&name) {
            return Ok(Some(Arc::new(definition.declared())));
        }
        let Some(definition) = self.ask(&name, &read.place).await? else { return Ok(None) };
        let declared = Arc::new(definition.declared());
        self.history.learn_unknown(&name, definition, &read.position()).await?;
        Ok(Some(declared))
    }

    fn known(&self, table: &TableName) -> Option<Arc<Definition>> {
        match self.history.table(table) {
            Known::Table(definition) => Some(definition.clone()),
            Known::Gone | Known::Unknown => None,
        }
    }

    fn tables(&self) -> Vec<TableName> {
        let mut tables: Vec<TableName> = self.history.tables().cloned().collect();
        tables.sort();
        tables
    }

    async fn statement(&mut self, query: &Query<'_>, behind: &Position) -> Result<Vec<Touched>, MysqlError> {
        let session = &query.session;
        let context = Context {
            server: self.server.ddl(),
            database: query.database,
            mode: Mode::from_bits(session.sql_mode.unwrap_or(0)),
            fold_names: folds(&self.server),
        };
        let Statement::Changes(changes) = ddl::read(&text_of(query), &context) else { return Ok(Vec::new()) };
        let charset = |collation: Option<u16>| collation.and_then(Charset::name_of_collation);
        let charsets = Charsets {
            database: charset(session.database_collation).map(|charset| (query.database, charset)),
            server: charset(session.server_collation),
        };
        let names = |history: &History, touched: &[TableName]| -> Vec<bool> {
            touched.iter().map(|name| history.table(name) != Known::Gone).collect()
        };
        let before: std::collections::HashSet<TableName> = self.history.tables().cloned().collect();
        let touched = self.history.change(behind, &changes, charsets).await?;
        let after = names(&self.history, &touched);
        let mut told: Vec<Touched> = Vec::new();
        for (name, is_there) in touched.into_iter().zip(after) {
            let how = match (before.contains(&name), is_there) {
                (false, true) => How::Created,
                (_, false) => How::Dropped,
                (true, true) => How::Changed,
            };
            told.push(Touched { database: name.database, table: name.table, how });
        }
        for change in changes {
            match change {
                Change::Truncate { table: TableName { database, table } } => {
                    told.push(Touched { database, table, how: How::Emptied });
                }
                Change::Alter { table, actions: Some(actions) } if actions.contains(&Action::RowsUnlogged) => {
                    tracing::warn!(%table, "a statement took rows out of a table or put some in, and the log does not say which");
                }
                _ => {}
            }
        }
        Ok(told)
    }
}

fn folds(server: &Server) -> bool {
    !matches!(server.variable("lower_case_table_names"), "" | "0")
}

/// All databases with their charsets, and all tables; of those that are captured the definitions, if they are wanted.
#[allow(clippy::type_complexity)]
async fn all(
    conn: &mut Conn,
    server: &Server,
    captured: &Captured,
    wanted: bool,
) -> Result<(Vec<(String, String)>, Vec<(TableName, Option<Definition>)>), MysqlError> {
    const ACTION: &str = "ask for the tables of";
    let own = OWN_DATABASES.map(|name| format!("'{name}'")).join(", ");
    let sql = "SELECT schema_name, default_character_set_name FROM information_schema.schemata";
    let databases: Vec<(String, String)> = conn.query(sql).await.doing(ACTION, &server.address)?;
    let sql = format!(
        "SELECT table_schema, table_name FROM information_schema.tables \
         WHERE table_type LIKE '%BASE TABLE%' AND table_schema NOT IN ({own})"
    );
    let names: Vec<(String, String)> = conn.query(sql).await.doing(ACTION, &server.address)?;
    let mut tables = Vec::with_capacity(names.len());
    for (database, table) in names {
        let name = TableName { database, table };
        let is_captured = wanted && captured.has(&name.database, &name.table);
        let definition = if is_captured { definition(conn, server, &name).await? } else { None };
        tables.push((name, definition));
    }
    Ok((databases, tables))
}

/// A table's definition now; `None`: there is no such table, or it was not understood.
async fn definition(
    conn: &mut Conn,
    server: &Server,
    name: &TableName,
) -> Result<Option<Definition>, MysqlError> {
    const UNKNOWN_TABLE: u16 = 1146;
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let sql = format!("SHOW CREATE TABLE {}.{}", quoted(&name.database), quoted(&name.table));
    let row: Option<mysql_async::Row> = match conn.query_first(sql).await {
        Err(mysql_async::Error::Server(error)) if error.code == UNKNOWN_TABLE => return Ok(None),
        other => other.doing("ask for the definition of a table of", &server.address)?,
    };
    let sql: Option<String> = row.and_then(|row| row.get_opt(1)?.ok());
    let context = Context {
        server: server.ddl(),
        database: &name.database,
        mode: Mode::default(),
        fold_names: false,
    };
    let Statement::Changes(changes) = ddl::read(&sql.unwrap_or_default(), &context) else { return Ok(None) };
    Ok(changes.into_iter().find_map(|change| match change {
        Change::Create { body: Body::Definition(mut definition), .. } => {
            definition.resolve(None);
            Some(*definition)
        }
        _ => None,
    }))
}

impl Server {
    /// Whose words its statements are in.
    fn ddl(&self) -> ddl::Server {
        match self.flavour {
            Flavour::MySql => ddl::Server::MySql,
            Flavour::MariaDb => ddl::Server::MariaDb,
        }
    }
}

/// A statement's text, from its session's charset.
pub(crate) fn text_of<'a>(query: &Query<'a>) -> Cow<'a, str> {
    let charset = query.session.client_collation.and_then(Charset::name_of_collation).and_then(Charset::from_name);
    let mut scratch = String::new();
    match charset.unwrap_or(Charset::Utf8).decode(query.sql, &mut scratch) {
        Some(text) => Cow::Owned(text.to_owned()),
        None => String::from_utf8_lossy(query.sql),
    }
}

impl From<HistoryError> for MysqlError {
    fn from(error: HistoryError) -> Self {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Self::State(format!("{error}{cause}"))
    }
}
