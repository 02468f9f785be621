//! Whether what somebody asks for can be copied beside the log, before it is taken in.

use deltaforge_engine::error::ConfigError;
use deltaforge_engine::snapshots::{Outlook, SnapshotError, Table};
use deltaforge_engine::source::SourceError;
use deltaforge_engine::suggest::near;

use super::columns::Columns;
use super::{condition, retention};
use crate::config::{Captured, MysqlConfig};
use crate::connect::Endpoint;
use crate::ddl::TableName;
use crate::definitions::{self, pairs};
use crate::failure::MysqlError;
use crate::server::Server;
use crate::session::{self, Session};

/// Looks at the tables, their keys and conditions, and at how long the server keeps its log.
///
/// # Errors
///
/// When one of them cannot be copied, or the server does not answer.
pub(crate) async fn check(config: &MysqlConfig, tables: &[Table]) -> Result<Outlook, SnapshotError> {
    let captured = config.captured();
    let (problems, outlook) = look(config, &captured, tables).await.map_err(SourceError::from)?;
    if problems.is_empty() { Ok(outlook) } else { Err(SnapshotError::Invalid(problems)) }
}

async fn look(
    config: &MysqlConfig,
    captured: &Captured,
    tables: &[Table],
) -> Result<(Vec<ConfigError>, Outlook), MysqlError> {
    let endpoint = Endpoint::of(config)?;
    let mut session = Session::plain(&endpoint).await?;
    let server = Server::ask(&mut session, endpoint.address()).await?;
    let there = there(&mut session, captured).await?;
    let (mut problems, mut names) = (Vec::new(), Vec::new());
    for (at, table) in tables.iter().enumerate() {
        let path = format!("tables[{at}]");
        let name = TableName::parse(&table.name)
            .filter(|name| captured.has(&name.database, &name.table) && there.contains(&table.name));
        let Some(name) = name else {
            problems.push(ConfigError::new(path, missing(&table.name, captured, &there)));
            continue;
        };
        match examine(&mut session, &server, &name, table.condition.as_deref()).await? {
            None => names.push(name),
            Some(Problem::Table(why)) => problems.push(ConfigError::new(path, format!("{name}: {why}"))),
            Some(Problem::Condition(why)) => {
                problems.push(ConfigError::new(format!("where.{name}"), why));
            }
        }
    }
    let outlook = retention::outlook(&mut session, &server, &names).await?;
    Ok((problems, outlook))
}

/// The captured tables that the server shows us.
async fn there(session: &mut Session, captured: &Captured) -> Result<Vec<String>, MysqlError> {
    let sql = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')";
    let found = pairs(session.to("ask for the tables of").texts(sql).await?);
    let found = found.filter(|(database, table)| captured.has(database, table));
    Ok(found.map(|(database, table)| format!("{database}.{table}")).collect())
}

/// Why a table is not to be had.
fn missing(name: &str, captured: &Captured, there: &[String]) -> String {
    let help = match near(name, there.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => {
            match there.iter().find(|known| known.split_once('.').is_some_and(|(_, table)| table == name)) {
                Some(known) => format!("; did you mean `{known}`?"),
                None => String::new(),
            }
        }
    };
    match TableName::parse(name) {
        None => format!("`{name}` is no full name; write database.table{help}"),
        Some(parsed) if captured.has(&parsed.database, &parsed.table) => {
            format!("there is no table {name}, or the account does not see it{help}")
        }
        Some(_) => {
            format!("{name} is not captured by this pipeline: it is not among the source's `tables`{help}")
        }
    }
}

enum Problem {
    Table(String),
    Condition(String),
}

/// Looks at one table.
async fn examine(
    session: &mut Session,
    server: &Server,
    name: &TableName,
    chosen: Option<&str>,
) -> Result<Option<Problem>, MysqlError> {
    let Some(definition) = definitions::ask(session, server, name).await? else {
        return Ok(Some(Problem::Table("its definition is not understood".to_owned())));
    };
    if definition.row_key().is_empty() {
        let why = "it has neither a primary key nor a unique one of columns that are NOT NULL: only a whole snapshot copies it \
                   (`snapshot: {mode: initial}`, with the checkpoint deleted)";
        return Ok(Some(Problem::Table(why.to_owned())));
    }
    if let Err(column) = Columns::of(name, &definition) {
        return Ok(Some(Problem::Table(format!("the type of its column {column} is not known here"))));
    }
    let columns: Vec<&str> = definition.columns.iter().map(|column| column.name.as_str()).collect();
    let chosen = match chosen.map(|text| condition::sql(text, &columns)).transpose() {
        Ok(sql) => sql.map(|sql| format!(" WHERE ({sql})")),
        Err(why) => return Ok(Some(Problem::Condition(why))),
    };
    let is_chosen = chosen.is_some();
    let sql = format!(
        "SELECT 1 FROM {}.{}{} LIMIT 0",
        session::name(&name.database),
        session::name(&name.table),
        chosen.unwrap_or_default()
    );
    match session.to("look at the tables of").run(&sql).await {
        Err(MysqlError::Statement { message, .. } | MysqlError::NotReady(message)) => {
            Ok(Some(if is_chosen { Problem::Condition(message) } else { Problem::Table(message) }))
        }
        read => read.map(|()| None),
    }
}
