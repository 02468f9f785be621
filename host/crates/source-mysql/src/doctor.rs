//! What keeps a server from being read, or from being read well, and the SQL that mends it.

use deltaforge_engine::source::Complaint;

use crate::config::{Captured, MysqlConfig, SnapshotMode};
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
    complaints.extend(replicated(&mut session, &server).await?);
    complaints.extend(privileges(&mut session, config).await?);
    let cascades = cascades(&mut session, &server, &config.captured()).await?;
    complaints.extend(cascade_complaint(&cascades));
    if config.snapshot_mode() != SnapshotMode::Never {
        complaints.extend(without_views(&mut session, &config.captured()).await?);
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
    let ask = match server.flavour {
        Flavour::MySql if server.version() >= (8, 4) => "SHOW REPLICA STATUS",
        Flavour::MySql => "SHOW SLAVE STATUS",
        Flavour::MariaDb => "SHOW ALL SLAVES STATUS",
    };
    let what = match session.to("ask what is replicated by").texts(ask).await {
        Ok(sources) if sources.is_empty() => {
            format!(
                "{name} is OFF: once the server is a replica, what it gets from another one is not in its log"
            )
        }
        Ok(_) => {
            let what = format!(
                "{name} is OFF, and the server is a replica: what it gets from the other one is not in its log"
            );
            return Ok(Some(Complaint::fatal(what, mend)));
        }
        Err(MysqlError::NotReady(_) | MysqlError::Statement { .. }) => format!(
            "{name} is OFF: if the server is a replica, what it gets from another one is not in its log. The account may not ask \
             whether it is"
        ),
        Err(error) => return Err(error),
    };
    Ok(Some(Complaint::minor(what, mend)))
}

/// How long the log is kept; 0: for ever.
fn kept_seconds(server: &Server) -> Option<u64> {
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
    let may = |words: &[&str]| {
        let on_all = grants.iter().filter_map(|grant| grant.split_once(" ON *.* "));
        // One privilege's name may be the beginning of another one's.
        let mut granted = on_all.flat_map(|(what, _)| what.trim_start_matches("GRANT ").split(','));
        granted.any(|has| {
            words.iter().chain(&["ALL PRIVILEGES"]).any(|word| word.eq_ignore_ascii_case(has.trim()))
        })
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
    let sql = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')";
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
