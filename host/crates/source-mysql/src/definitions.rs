//! What tables look like at the point of the log that is being read.
//!
//! With `binlog_row_metadata = FULL` the log says most of it itself. What it does not say (names without FULL, MariaDB's
//! own types, unique keys) comes from the history of definitions, which begins with what the server says at the start
//! and follows the statements in the log.

use std::collections::HashMap;
use std::sync::Arc;

use deltaforge_engine::source::SourceContext;
use deltaforge_model::Position;

use crate::binlog::query::Query;
use crate::charset::Charset;
use crate::config::Captured;
use crate::connect::Endpoint;
use crate::ddl::{self, Body, Change, Context, Definition, Mode, Statement, TableName};
use crate::failure::MysqlError;
use crate::history::{Charsets, History, Known};
use crate::layout::Declared;
use crate::position::{self, At};
use crate::server::{Flavour, Server};
use crate::session::{self, Session};
use crate::tables;

/// A table that a statement changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touched {
    pub table: TableName,
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

/// What a statement means for copies of tables that are under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redefined {
    Altered(TableName),
    Renamed { from: TableName, to: TableName },
}

/// What a statement did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    pub touched: Vec<Touched>,
    /// In this order.
    pub redefined: Vec<Redefined>,
}

impl Effect {
    fn redefined(change: &Change) -> Vec<Redefined> {
        let renamed =
            |from: &TableName, to: &TableName| Redefined::Renamed { from: from.clone(), to: to.clone() };
        match change {
            Change::Rename(pairs) => pairs.iter().map(|(from, to)| renamed(from, to)).collect(),
            Change::Alter { table, actions } => {
                let mut to = actions.iter().flatten().filter_map(|action| match action {
                    ddl::Action::Rename(to) => Some(renamed(table, to)),
                    _ => None,
                });
                [Redefined::Altered(table.clone())].into_iter().chain(to.next_back()).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The tables' definitions. Asked in the order of the log.
pub(crate) struct Definitions {
    endpoint: Endpoint,
    server: Server,
    history: History,
    /// As rows are read by them; made when they are first asked for.
    declared: HashMap<TableName, Arc<Declared>>,
}

const ACTION: &str = "ask for the definitions of tables of";

impl Definitions {
    /// The definitions that held at `start`. A history that there is not yet begins with what the server says now, where
    /// nothing may have changed since.
    ///
    /// # Errors
    ///
    /// When the history cannot be read or written, or the server does not answer.
    pub async fn open(
        endpoint: Endpoint,
        session: &mut Session,
        server: Server,
        captured: &Captured,
        context: &SourceContext,
        start: &Position,
    ) -> Result<Self, MysqlError> {
        let info = &context.info;
        let prefix = History::prefix(&info.tenant, &info.pipeline, &info.source_id);
        let resume = context.resume.as_ref();
        let history = History::open(context.state.clone(), prefix, resume, position::compare_logs).await?;
        let mut definitions = Self { endpoint, server, history, declared: HashMap::new() };
        if definitions.history.is_empty() {
            // A checkpoint without its history: the host's state is lost, and a sink knows where it stood.
            let is_now = match resume {
                None => true,
                Some(_) => At::parse(start)?.start().has_all(&definitions.server.tail(session).await?.place),
            };
            definitions.begin(session, captured, start, is_now).await?;
        }
        Ok(definitions)
    }

    /// Those of a history, for events that come from no server.
    #[cfg(test)]
    pub fn over(endpoint: Endpoint, server: Server, history: History) -> Self {
        Self { endpoint, server, history, declared: HashMap::new() }
    }

    async fn begin(
        &mut self,
        session: &mut Session,
        captured: &Captured,
        start: &Position,
        is_now: bool,
    ) -> Result<(), MysqlError> {
        if !is_now {
            tracing::warn!(
                server = self.server.address,
                "the history of tables' definitions is gone: what the log does not say of a table is not known until the log \
                 has been read to its end"
            );
        }
        let sql = "SELECT schema_name, default_character_set_name FROM information_schema.schemata";
        let databases: Vec<(String, String)> = pairs(session.to(ACTION).texts(sql).await?).collect();
        // Of the others it is enough that there are such tables: one may get the name of one that is captured.
        let mut known = Vec::new();
        for name in tables::seen(session).await? {
            let is_captured = captured.has(&name.database, &name.table);
            let definition = if is_captured && is_now { self.ask(session, &name).await? } else { None };
            known.push((name, definition));
        }
        Ok(self.history.learn(start, databases, known).await?)
    }

    /// What is known of the captured tables.
    pub fn learned(&self, captured: &Captured) -> Asked {
        let known = self.tables().into_iter().filter(|name| captured.has(&name.database, &name.table));
        let definition = |name: TableName| {
            let definition = match self.history.table(&name) {
                Known::Table(definition) => Some((**definition).clone()),
                Known::Unknown | Known::Gone => None,
            };
            (name, definition)
        };
        known.map(definition).collect()
    }

    async fn ask(&self, session: &mut Session, name: &TableName) -> Result<Option<Definition>, MysqlError> {
        ask(session, &self.server, name).await
    }

    fn context<'a>(&self, database: &'a str, mode: Mode) -> Context<'a> {
        context(&self.server, database, mode)
    }

    /// The definition that a table has at this point of the log, which was read up to `read`; `None`: it is not known.
    ///
    /// # Errors
    ///
    /// When the server is to be asked, and does not answer.
    pub async fn of(&mut self, table: &TableName, read: &At) -> Result<Option<Arc<Declared>>, MysqlError> {
        if let Some(declared) = self.declared.get(table) {
            return Ok(Some(declared.clone()));
        }
        let declared = match self.history.table(table) {
            Known::Table(definition) => definition.declared(),
            // A change was not understood. What the server says now is right only if there is nothing behind `read` that
            // may have changed it.
            Known::Unknown | Known::Gone => {
                let mut session = Session::plain(&self.endpoint).await?;
                let asked = self.ask(&mut session, table).await?;
                let is_tail = read.place.has_all(&self.server.tail(&mut session).await?.place);
                let Some(definition) = asked.filter(|_| is_tail) else {
                    tracing::warn!(%table, "its definition at this point of the log is not known: only what the log says of it is");
                    return Ok(None);
                };
                let declared = definition.declared();
                self.history.learn_unknown(table, definition, &read.position()).await?;
                declared
            }
        };
        let declared = Arc::new(declared);
        self.declared.insert(table.clone(), declared.clone());
        Ok(Some(declared))
    }

    /// The definition by which a table's rows are copied: the one of this point of the log, or else today's, which the
    /// copy's own statements put to the test; `None`: there is no such table. `asked_for`: by somebody who is told so.
    ///
    /// # Errors
    ///
    /// When the server is to be asked, and does not answer; when it has no such table any more, nobody is told, and the log
    /// does not say so yet.
    pub async fn for_copy(
        &self,
        table: &TableName,
        asked_for: bool,
    ) -> Result<Option<Arc<Definition>>, MysqlError> {
        match self.history.table(table) {
            Known::Table(definition) => return Ok(Some(definition.clone())),
            Known::Gone => return Ok(None),
            Known::Unknown => {}
        }
        let mut session = Session::plain(&self.endpoint).await?;
        if let Some(definition) = self.ask(&mut session, table).await? {
            return Ok(Some(Arc::new(definition)));
        }
        if asked_for {
            return Ok(None);
        }
        // The log goes on to what became of it once another view is open.
        Err(MysqlError::Unreachable {
            action: "copy tables of",
            address: self.server.address.clone(),
            cause: format!(
                "{table} is not there any more, and a statement that changed it was not understood: if it has another name now, \
                 delete the checkpoint to begin the snapshot anew"
            ),
        })
    }

    /// Whether the rows of a table have names that last.
    pub fn has_key(&self, table: &TableName) -> bool {
        matches!(self.history.table(table), Known::Table(definition) if !definition.row_key().is_empty())
    }

    /// All tables that there are here, by name.
    pub fn tables(&self) -> Vec<TableName> {
        let mut tables: Vec<TableName> = self.history.tables().cloned().collect();
        tables.sort();
        tables
    }

    /// A statement of the log that is neither of a transaction's own words nor rows; `behind`: the position right behind
    /// it. Answers what it did.
    ///
    /// # Errors
    ///
    /// When the history cannot be written.
    pub async fn statement(&mut self, query: &Query<'_>, behind: &Position) -> Result<Effect, MysqlError> {
        let mode = Mode::from_bits(query.session.sql_mode.unwrap_or_default());
        let text = text_of(query);
        let Statement::Changes(changes) = ddl::read(&text, &self.context(query.database, mode)) else {
            return Ok(Effect::default());
        };
        let mut touched: Vec<Touched> = Vec::new();
        for Touched { table, how } in changes.iter().flat_map(|change| self.touched(change)) {
            match touched.iter_mut().find(|other| other.table == table) {
                // MariaDB's CREATE OR REPLACE drops the table first.
                Some(other) => other.how = How::Changed,
                None => touched.push(Touched { table, how }),
            }
        }
        let charset = |collation: Option<u16>| collation.and_then(Charset::name_of_collation);
        let charsets = Charsets {
            database: charset(query.session.database_collation).map(|charset| (query.database, charset)),
            server: charset(query.session.server_collation),
        };
        let redefined = self.history.change(behind, &changes, charsets).await?;
        touched.retain(|touched| touched.how == How::Emptied || redefined.contains(&touched.table));
        for table in &redefined {
            self.declared.remove(table);
        }
        let redefined = changes.iter().flat_map(Effect::redefined).collect();
        Ok(Effect { touched, redefined })
    }

    fn touched(&self, change: &Change) -> Vec<Touched> {
        let one = |table: &TableName, how| vec![Touched { table: table.clone(), how }];
        match change {
            Change::Create { table, .. } => one(table, How::Created),
            Change::Alter { table, actions } => {
                let others = actions.iter().flatten().filter_map(|action| match action {
                    ddl::Action::Rename(other) | ddl::Action::Exchange(other) => Some(other),
                    _ => None,
                });
                [table].into_iter().chain(others).flat_map(|table| one(table, How::Changed)).collect()
            }
            Change::Drop { table } => one(table, How::Dropped),
            Change::Truncate { table } => one(table, How::Emptied),
            Change::Rename(pairs) => {
                let mut tables: Vec<&TableName> = pairs.iter().flat_map(|(from, to)| [from, to]).collect();
                tables.sort();
                tables.dedup();
                tables.into_iter().flat_map(|table| one(table, How::Changed)).collect()
            }
            Change::Database { .. } => Vec::new(),
            Change::DropDatabase { database } => {
                let tables = self.history.tables().filter(|table| table.database == *database);
                tables.flat_map(|table| one(table, How::Dropped)).collect()
            }
        }
    }

    /// All checkpoints have got to `position`, or further.
    pub fn confirm(&mut self, position: &Position) {
        self.history.confirm(position);
    }
}

/// Captured tables with their definitions; `None`: not known.
pub(crate) type Asked = Vec<(TableName, Option<Definition>)>;

/// What the server says of all captured tables, as a history begins with it.
///
/// # Errors
///
/// When it does not answer.
pub(crate) async fn asked(
    session: &mut Session,
    server: &Server,
    captured: &Captured,
) -> Result<Asked, MysqlError> {
    let mut all = Vec::new();
    for name in captured.among(&tables::seen(session).await?) {
        let definition = ask(session, server, &name).await?;
        all.push((name, definition));
    }
    Ok(all)
}

/// What the server says of a table now; `None`: there is none, or what it says is not understood.
///
/// # Errors
///
/// When it does not answer.
pub(crate) async fn ask(
    session: &mut Session,
    server: &Server,
    name: &TableName,
) -> Result<Option<Definition>, MysqlError> {
    const GONE: [u16; 2] = [1049, 1146];
    let sql = format!("SHOW CREATE TABLE {}.{}", session::name(&name.database), session::name(&name.table));
    let row = match session.to(ACTION).first(&sql).await {
        Err(MysqlError::Statement { code, .. }) if GONE.contains(&code) => return Ok(None),
        row => row?,
    };
    let text = row.into_iter().nth(1).flatten().unwrap_or_default();
    let Statement::Changes(changes) = ddl::read(&text, &context(server, &name.database, Mode::default()))
    else {
        return Ok(None);
    };
    let made = changes.into_iter().find_map(|change| match change {
        Change::Create { body: Body::Definition(mut definition), .. } => {
            definition.resolve(None);
            Some(*definition)
        }
        _ => None,
    });
    Ok(made)
}

fn context<'a>(server: &Server, database: &'a str, mode: Mode) -> Context<'a> {
    let flavour = match server.flavour {
        Flavour::MySql => ddl::Server::MySql,
        Flavour::MariaDb => ddl::Server::MariaDb,
    };
    Context { server: flavour, database, mode, fold_names: server.variable("lower_case_table_names") != "0" }
}

/// Rows of two texts.
pub(crate) fn pairs(rows: Vec<Vec<Option<String>>>) -> impl Iterator<Item = (String, String)> {
    rows.into_iter().map(|row| {
        let mut row = row.into_iter().map(Option::unwrap_or_default);
        (row.next().unwrap_or_default(), row.next().unwrap_or_default())
    })
}

/// A statement's text, from its session's charset.
pub(crate) fn text_of(query: &Query<'_>) -> String {
    let charset =
        query.session.client_collation.and_then(Charset::name_of_collation).and_then(Charset::from_name);
    let mut scratch = String::new();
    match charset.unwrap_or(Charset::Utf8).decode(query.sql, &mut scratch) {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(query.sql).into_owned(),
    }
}
