//! What keeps a server from being read, or from being read well, and the SQL that mends it.

use std::collections::BTreeSet;

use deltaforge_engine::source::Complaint;

use crate::beginning::{self, Listed};
use crate::cascade;
use crate::config::{Captured, MysqlConfig, SnapshotMode};
use crate::connect::Endpoint;
use crate::ddl::TableName;
use crate::definitions::pairs;
use crate::failure::MysqlError;
use crate::server::{Flavour, Server};
use crate::session::{self, Session};
use crate::tables;

mod grants;

use grants::Grants;

/// A log that is kept for less time than this does not outlast a weekend.
const KEPT_SECONDS: u64 = 3 * 24 * 60 * 60;

/// Looks at all of it.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn examine(config: &MysqlConfig) -> Result<Vec<Complaint>, MysqlError> {
    let endpoint = Endpoint::of(config)?;
    let mut session = Session::plain(&endpoint).await?;
    let server = Server::ask(&mut session, endpoint.address()).await?;
    let seen = tables::seen(&mut session).await?;
    let account = tables::account(&mut session).await?;
    let captured = config.captured().among(&seen);
    let mut complaints = settings(&server);
    complaints.extend(replicated(&mut session, &server).await?);
    complaints.extend(left_out(&mut session, &server, config, &captured).await?);
    let grants = Grants::ask(&mut session).await?;
    complaints.extend(grants.of_the_log(&account));
    if let Listed::MayNotAsk { mend } = beginning::listed(&mut session, &server).await? {
        let what = "XA transactions are used, and the account may not list them (XA_RECOVER_ADMIN): a first start cannot look for \
                    the rows of those that are prepared then, and stops at their commit";
        complaints.push(Complaint::minor(what, mend));
    }
    complaints.extend(tables::absent(config, &seen, &account));
    complaints.extend(unreadable(&mut session, &captured, &account).await?);
    let cascades = cascade::cascades(&mut session, &server, &captured).await?;
    complaints.extend(cascade::complaint(&cascades));
    if config.snapshot_mode() != SnapshotMode::Never {
        complaints.extend(without_views(&mut session, &config.captured()).await?);
        complaints.extend(grants.of_copies(&mut session, &server, &captured, &account).await?);
    }
    Ok(complaints)
}

/// Tables that a snapshot cannot read as they were at one moment.
async fn without_views(session: &mut Session, captured: &Captured) -> Result<Option<Complaint>, MysqlError> {
    let sql = "SELECT t.table_schema, t.table_name FROM information_schema.tables t JOIN information_schema.engines e ON \
               e.engine = t.engine WHERE t.table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND COALESCE(e.transactions, 'NO') <> 'YES'";
    let found = pairs(session.to("ask for the engines of").texts(sql).await?);
    let mut names: Vec<String> = found
        .filter(|(database, table)| captured.has(database, table))
        .map(|(database, table)| TableName::new(database, table).to_string())
        .collect();
    names.sort();
    if names.is_empty() {
        return Ok(None);
    }
    let what = format!(
        "tables of engines without transactions (MyISAM, Aria and such) cannot be read as they were at one moment: what changes in \
         them while they are copied may come twice, or in part: {}",
        names.join(", ")
    );
    Ok(Some(Complaint::minor(
        what,
        "ALTER TABLE … ENGINE = InnoDB, or change nothing in them while they are copied",
    )))
}

/// What of the server's settings is in the way.
pub(crate) fn settings(server: &Server) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let is = |name: &str, wanted: &str| server.variable(name).eq_ignore_ascii_case(wanted);
    let set = |assignment: &str| match server.flavour {
        Flavour::MySql => format!("SET PERSIST {assignment}"),
        Flavour::MariaDb => {
            format!("SET GLOBAL {assignment}, and the same in the server's configuration file")
        }
    };
    if !server.is_on("log_bin") {
        let mend = "start the server with --log-bin";
        complaints.push(Complaint::fatal("the server writes no log of changes (log_bin is OFF)", mend));
    }
    if !is("binlog_format", "ROW") {
        let what = format!(
            "binlog_format is {}: the log has statements in place of rows",
            server.variable("binlog_format")
        );
        complaints.push(Complaint::fatal(what, set("binlog_format = 'ROW'")));
    }
    if !is("binlog_row_image", "FULL") {
        let what = format!(
            "binlog_row_image is {}: changes lack columns that did not change",
            server.variable("binlog_row_image")
        );
        complaints.push(Complaint::minor(what, set("binlog_row_image = 'FULL'")));
    }
    if !is("binlog_row_image", "FULL") && server.variable("binlog_row_value_options").contains("PARTIAL_JSON")
    {
        let what = "binlog_row_value_options is PARTIAL_JSON and binlog_row_image is not FULL: updates may have what changed in a JSON \
                    document and not the document, at which the stream stops";
        complaints.push(Complaint::minor(what, set("binlog_row_image = 'FULL'")));
    }
    if !is("binlog_row_metadata", "FULL") {
        let what = "binlog_row_metadata is not FULL: names of columns come from a history of definitions, which has none from \
                    before this source first ran";
        complaints.push(Complaint::minor(what, set("binlog_row_metadata = 'FULL'")));
    }
    if server.flavour == Flavour::MySql && !server.has_gtids() {
        let what = format!(
            "gtid_mode is {}: a place in the log means nothing on another server, so there is no failover",
            server.variable("gtid_mode")
        );
        let mend = "SET PERSIST enforce_gtid_consistency = ON, then SET PERSIST gtid_mode = OFF_PERMISSIVE, ON_PERMISSIVE and ON, \
                    one after the other";
        complaints.push(Complaint::minor(what, mend));
    }
    if server.flavour == Flavour::MariaDb && !server.is_strict() {
        let what = "gtid_strict_mode is OFF: after a failover the order of transactions is not certain";
        complaints.push(Complaint::minor(what, set("gtid_strict_mode = ON")));
    }
    if let Some(kept) = kept_seconds(server).filter(|kept| (1..KEPT_SECONDS).contains(kept)) {
        let what =
            format!("the log is kept for {kept} s only: a stop that lasts longer needs a new snapshot");
        complaints.push(Complaint::minor(what, set("binlog_expire_logs_seconds = 604800")));
    }
    complaints
}

/// Whether the server gets changes from another one that it does not log.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn replicated(
    session: &mut Session,
    server: &Server,
) -> Result<Option<Complaint>, MysqlError> {
    let is_off = |name: &&str| !server.variable(name).is_empty() && !server.is_on(name);
    let Some(name) = ["log_replica_updates", "log_slave_updates"].into_iter().find(is_off) else {
        return Ok(None);
    };
    let mend = format!("start the server with --{}", name.replace('_', "-"));
    Ok(Some(match of_another(session, server).await? {
        Replication::None => {
            let what = format!(
                "{name} is OFF: once the server is a replica, what it gets from another one is not in its log"
            );
            Complaint::minor(what, mend)
        }
        Replication::Some => {
            let what = format!(
                "{name} is OFF, and the server is a replica: what it gets from the other one is not in its log"
            );
            Complaint::fatal(what, mend)
        }
        Replication::Unknown(privilege) => {
            let account = tables::account(session).await?;
            let what = format!(
                "{name} is OFF: if the server is a replica, what it gets from another one is not in its log. The account may not ask \
                 whether it is"
            );
            Complaint::minor(what, format!("GRANT {privilege} ON *.* TO {account}, or {mend}"))
        }
    }))
}

/// Whether a server gets changes from another one.
enum Replication {
    None,
    Some,
    /// The account may not ask; by this privilege it may.
    Unknown(&'static str),
}

async fn of_another(session: &mut Session, server: &Server) -> Result<Replication, MysqlError> {
    let ask = match server.flavour {
        Flavour::MySql if server.version() >= (8, 4) => "SHOW REPLICA STATUS",
        Flavour::MySql => "SHOW SLAVE STATUS",
        Flavour::MariaDb => "SHOW ALL SLAVES STATUS",
    };
    match session.to("ask what is replicated by").texts(ask).await {
        Ok(sources) if sources.is_empty() => return Ok(Replication::None),
        Ok(_) => return Ok(Replication::Some),
        Err(MysqlError::NotReady(_) | MysqlError::Statement { .. }) => {}
        Err(error) => return Err(error),
    }
    if server.flavour == Flavour::MySql {
        return Ok(Replication::Unknown("REPLICATION CLIENT"));
    }
    // MariaDB wants a privilege more for that since 10.5, and for these none: how many connections to others run, and what
    // came over them ever.
    let running = session.first("SHOW GLOBAL STATUS LIKE 'Slaves_running'").await?;
    let had = session.first("SELECT @@GLOBAL.gtid_slave_pos").await?;
    let is = |row: &[Option<String>], at: usize, nothing: &str| {
        row.get(at).and_then(Option::as_deref).is_none_or(|told| told == nothing)
    };
    Ok(match (is(&running, 1, "0"), is(&had, 0, "")) {
        (false, _) => Replication::Some,
        (true, true) => Replication::None,
        // It was one, and may be one that has stopped.
        (true, false) => Replication::Unknown("SLAVE MONITOR"),
    })
}

/// How long the log is kept; 0: for ever.
pub(crate) fn kept_seconds(server: &Server) -> Option<u64> {
    let seconds = server.variable("binlog_expire_logs_seconds").parse().ok();
    let days = || Some((server.variable("expire_logs_days").parse::<f64>().ok()? * 86_400.0) as u64);
    seconds.or_else(days)
}

/// Databases with captured tables whose changes the server leaves out of its log.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn left_out(
    session: &mut Session,
    server: &Server,
    config: &MysqlConfig,
    captured: &[TableName],
) -> Result<Option<Complaint>, MysqlError> {
    let status = match session.to("ask what is logged by").first(server.status_statement()).await {
        // That the account may not ask is told elsewhere.
        Err(MysqlError::NotReady(_) | MysqlError::Statement { .. }) => return Ok(None),
        status => status?,
    };
    let folds = server.variable("lower_case_table_names") != "0";
    let named = |at: usize, database: &str| {
        let names = status.get(at).and_then(Option::as_deref).unwrap_or_default();
        let is_it = |name: &str| name == database || folds && name.eq_ignore_ascii_case(database);
        (!names.is_empty()).then(|| names.split(',').any(is_it))
    };
    let is_left_out = |database: &&str| named(2, database) == Some(false) || named(3, database) == Some(true);
    let entries = config.tables.iter().filter_map(|entry| Some(entry.split_once('.')?.0));
    let entries = entries.filter(|database| !database.contains(['*', '%']));
    let databases: BTreeSet<&str> =
        captured.iter().map(|name| name.database.as_str()).chain(entries).filter(is_left_out).collect();
    if databases.is_empty() {
        return Ok(None);
    }
    let what = format!(
        "the server does not log what changes in {} (binlog-do-db, binlog-ignore-db), which `tables` captures",
        databases.into_iter().collect::<Vec<_>>().join(", ")
    );
    let mend =
        "start the server without these two options, or capture nothing there: name other tables in `tables`";
    Ok(Some(Complaint::fatal(what, mend)))
}

/// Captured tables of which the account may not read every column.
async fn unreadable(
    session: &mut Session,
    captured: &[TableName],
    account: &str,
) -> Result<Vec<Complaint>, MysqlError> {
    let mut complaints = Vec::new();
    session.to("read tables of");
    for name in captured {
        let table = format!("{}.{}", session::name(&name.database), session::name(&name.table));
        match session.run(&format!("SELECT * FROM {table} LIMIT 0")).await {
            Err(MysqlError::Statement { message, .. } | MysqlError::NotReady(message)) => {
                let mend = format!("GRANT SELECT ON {table} TO {account}");
                complaints.push(Complaint::fatal(format!("{name} cannot be read: {message}"), mend));
            }
            read => read?,
        }
    }
    Ok(complaints)
}
