//! What keeps a server from being read, or from being read well, and the SQL that mends it.

use deltaforge_engine::source::Complaint;

use crate::config::{Captured, MysqlConfig};
use crate::connect::Endpoint;
use crate::ddl::TableName;
use crate::definitions::pairs;
use crate::failure::MysqlError;
use crate::server::{Flavour, Server};
use crate::session::{self, Session};

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
    let mut complaints = settings(&server);
    complaints.extend(privileges(&mut session, config).await?);
    let cascades = cascades(&mut session, &server, &config.captured()).await?;
    complaints.extend(cascade_complaint(&cascades));
    Ok(complaints)
}

/// What of the server's settings is in the way.
pub(crate) fn settings(server: &Server) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let is = |name: &str, wanted: &str| server.variable(name).eq_ignore_ascii_case(wanted);
    let has = |name: &str| !server.variable(name).is_empty();
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
    for name in ["log_replica_updates", "log_slave_updates"] {
        if has(name) && !server.is_on(name) {
            let what = format!("{name} is OFF: what the server gets from another one is not in its log");
            complaints
                .push(Complaint::minor(what, format!("start the server with --{}", name.replace('_', "-"))));
        }
    }
    if let Some(kept) = kept_seconds(server).filter(|kept| (1..KEPT_SECONDS).contains(kept)) {
        let what =
            format!("the log is kept for {kept} s only: a stop that lasts longer needs a new snapshot");
        complaints.push(Complaint::minor(what, set("binlog_expire_logs_seconds = 604800")));
    }
    complaints
}

/// How long the log is kept; 0: for ever.
pub(crate) fn kept_seconds(server: &Server) -> Option<u64> {
    let seconds = server.variable("binlog_expire_logs_seconds").parse().ok();
    let days = || Some((server.variable("expire_logs_days").parse::<f64>().ok()? * 86_400.0) as u64);
    seconds.or_else(days)
}

async fn privileges(session: &mut Session, config: &MysqlConfig) -> Result<Vec<Complaint>, MysqlError> {
    let mut complaints = Vec::new();
    session.to("ask for the privileges at");
    let user = session.first("SELECT CURRENT_USER()").await?.into_iter().next().flatten();
    let account = user.unwrap_or_default().replacen('@', "'@'", 1);
    let grants: Vec<String> = session.texts("SHOW GRANTS").await?.into_iter().flatten().flatten().collect();
    let on_all = grants
        .iter()
        .filter_map(|grant| grant.split_once(" ON *.* "))
        .map(|(what, _)| what.to_ascii_uppercase());
    let on_all: Vec<String> = on_all.collect();
    let may = |words: &[&str]| {
        on_all
            .iter()
            .any(|grant| grant.contains("ALL PRIVILEGES") || words.iter().any(|word| grant.contains(word)))
    };
    for (what, words) in [
        ("REPLICATION SLAVE", &["REPLICATION SLAVE", "REPLICATION REPLICA"][..]),
        ("REPLICATION CLIENT", &["REPLICATION CLIENT", "BINLOG MONITOR"][..]),
    ] {
        if !may(words) {
            let mend = format!("GRANT {what} ON *.* TO '{account}'");
            complaints.push(Complaint::fatal(format!("the account may not read the log ({what})"), mend));
        }
    }
    let sql =
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'";
    let captured = config.captured();
    let tables = pairs(session.texts(sql).await?).filter(|(database, table)| captured.has(database, table));
    let tables: Vec<(String, String)> = tables.collect();
    if tables.is_empty() {
        let mend = format!("create them, or GRANT SELECT ON database.* TO '{account}'");
        complaints
            .push(Complaint::minor("no table matches `tables`, or the account sees none of them", mend));
    }
    for (database, table) in tables {
        let name = TableName::new(database, table);
        let sql =
            format!("SELECT 1 FROM {}.{} LIMIT 0", session::name(&name.database), session::name(&name.table));
        match session.run(&sql).await {
            Err(MysqlError::Statement { message, .. } | MysqlError::NotReady(message)) => {
                let mend = format!("GRANT SELECT ON {}.* TO '{account}'", session::name(&name.database));
                complaints.push(Complaint::fatal(format!("{name} cannot be read: {message}"), mend));
            }
            read => read?,
        }
    }
    Ok(complaints)
}

/// Captured tables that foreign keys change without a word in the log.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn cascades(
    session: &mut Session,
    server: &Server,
    captured: &Captured,
) -> Result<Vec<TableName>, MysqlError> {
    // MySQL 9.6 carries them out where they are logged.
    if server.flavour == Flavour::MySql && server.version() >= (9, 6) {
        return Ok(Vec::new());
    }
    let sql = "SELECT DISTINCT constraint_schema, table_name FROM information_schema.referential_constraints \
               WHERE delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT') OR update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')";
    let found = pairs(session.to("ask for the foreign keys of").texts(sql).await?);
    let found = found.filter(|(database, table)| captured.has(database, table));
    let mut tables: Vec<TableName> = found.map(|(database, table)| TableName::new(database, table)).collect();
    tables.sort();
    Ok(tables)
}

/// What is to be said of them.
pub(crate) fn cascade_complaint(tables: &[TableName]) -> Option<Complaint> {
    if tables.is_empty() {
        return None;
    }
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let what = format!(
        "ON DELETE and ON UPDATE of foreign keys change rows that this server does not log: {}",
        names.join(", ")
    );
    let mend = "let the application, or a trigger, change those rows; MySQL 9.6 and later log them. `on_fk_cascade: refuse` does \
                not start with such tables";
    Some(Complaint::minor(what, mend))
}
