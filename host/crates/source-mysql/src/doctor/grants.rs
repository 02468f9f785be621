//! What the account may do.

use std::collections::BTreeSet;

use deltaforge_engine::source::Complaint;

use crate::ddl::TableName;
use crate::definitions::pairs;
use crate::failure::MysqlError;
use crate::server::{Flavour, Server};
use crate::session::{self, Session};

/// What SHOW GRANTS says.
pub(super) struct Grants(Vec<String>);

impl Grants {
    pub async fn ask(session: &mut Session) -> Result<Self, MysqlError> {
        let grants = session.to("ask for the privileges at").texts("SHOW GRANTS").await?;
        Ok(Self(grants.into_iter().flatten().flatten().collect()))
    }

    /// Whether the account has one of these privileges on everything.
    fn has(&self, words: &[&str]) -> bool {
        let on_all = self.0.iter().filter_map(|grant| grant.split_once(" ON *.* "));
        // One privilege's name may be the beginning of another one's.
        let mut granted = on_all.flat_map(|(what, _)| what.trim_start_matches("GRANT ").split(','));
        granted.any(|has| {
            words.iter().chain(&["ALL PRIVILEGES"]).any(|word| word.eq_ignore_ascii_case(has.trim()))
        })
    }

    /// What is missing to read the log.
    pub fn of_the_log(&self, account: &str) -> Vec<Complaint> {
        let wanted = [
            ("REPLICATION SLAVE", &["REPLICATION SLAVE", "REPLICATION REPLICA"][..]),
            ("REPLICATION CLIENT", &["REPLICATION CLIENT", "BINLOG MONITOR"][..]),
        ];
        let missing = wanted.into_iter().filter(|(_, words)| !self.has(words));
        let complaint = |(what, _)| {
            let mend = format!("GRANT {what} ON *.* TO {account}");
            Complaint::fatal(format!("the account may not read the log ({what})"), mend)
        };
        missing.map(complaint).collect()
    }

    /// What is missing to copy rows.
    pub async fn of_copies(
        &self,
        session: &mut Session,
        server: &Server,
        captured: &[TableName],
        account: &str,
    ) -> Result<Vec<Complaint>, MysqlError> {
        let mut complaints = Vec::new();
        if server.flavour == Flavour::MySql && !server.has_gtids() && !self.has(&["RELOAD", "FLUSH_TABLES"]) {
            let what = "a snapshot locks all tables for a moment where transactions have no GTIDs (gtid_mode is not ON), and the account \
                        may not (RELOAD)";
            complaints.push(Complaint::fatal(what, format!("GRANT RELOAD ON *.* TO {account}")));
        }
        if !self.has(&["LOCK TABLES"]) {
            complaints.extend(unlockable(session, server, captured, account).await?);
        }
        Ok(complaints)
    }
}

/// Tables that are locked for a moment if they change all the time while they are copied, and that the account may not lock.
async fn unlockable(
    session: &mut Session,
    server: &Server,
    captured: &[TableName],
    account: &str,
) -> Result<Option<Complaint>, MysqlError> {
    let is_full = server.variable("binlog_row_image").eq_ignore_ascii_case("FULL");
    session.to("ask for the keys at");
    let keyless = "SELECT t.table_schema, t.table_name FROM information_schema.tables t WHERE t.table_type = 'BASE TABLE' AND NOT EXISTS \
                   (SELECT 1 FROM information_schema.statistics s WHERE s.table_schema = t.table_schema AND s.table_name = t.table_name \
                   AND s.non_unique = 0 GROUP BY s.index_name HAVING SUM(s.nullable = 'YES') = 0)";
    let keyless: BTreeSet<(String, String)> = pairs(session.texts(keyless).await?).collect();
    let is_keyless = |table: &&TableName| keyless.contains(&(table.database.clone(), table.table.clone()));
    let wanted: Vec<&TableName> = captured.iter().filter(|table| !is_full || is_keyless(table)).collect();
    let databases: BTreeSet<&str> = wanted.iter().map(|table| table.database.as_str()).collect();
    let mut closed = Vec::new();
    session.to("ask for the privileges at");
    for database in databases {
        let granted = format!(
            "SELECT COUNT(*) FROM information_schema.schema_privileges WHERE grantee = {} AND privilege_type = 'LOCK TABLES' AND {} LIKE \
             table_schema",
            session::text(account),
            session::text(database)
        );
        let granted = session.first(&granted).await?.into_iter().next().flatten();
        if granted.is_none_or(|count| count == "0") {
            closed.push(database);
        }
    }
    let names = wanted.iter().filter(|table| closed.contains(&table.database.as_str()));
    let names: Vec<String> = names.map(ToString::to_string).collect();
    if names.is_empty() {
        return Ok(None);
    }
    let why = if is_full { "have no key" } else { "are logged in part (binlog_row_image is not FULL)" };
    let what = format!(
        "tables that {why} are locked for a moment if they change all the time while they are copied, and the account may not (LOCK \
         TABLES): {}",
        names.join(", ")
    );
    let grants: Vec<String> = closed
        .iter()
        .map(|database| format!("GRANT LOCK TABLES ON {}.* TO {account}", session::name(database)))
        .collect();
    Ok(Some(Complaint::minor(what, grants.join("; "))))
}
