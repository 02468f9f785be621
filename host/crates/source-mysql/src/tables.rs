//! The tables that the account sees, and what `tables` names beside them.

use deltaforge_engine::source::Complaint;
use deltaforge_engine::suggest::near;
use deltaforge_model::pattern::Patterns;

use crate::config::{MysqlConfig, OWN_DATABASES};
use crate::ddl::TableName;
use crate::definitions::pairs;
use crate::failure::MysqlError;
use crate::session::{self, Session};

/// All but the server's own, by name. MariaDB has a type of its own for those that keep the rows that they had; views and
/// sequences are none.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn seen(session: &mut Session) -> Result<Vec<TableName>, MysqlError> {
    let sql = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type IN ('BASE TABLE', 'SYSTEM \
               VERSIONED')";
    let found = pairs(session.to("ask for the tables of").texts(sql).await?);
    let found = found.filter(|(database, _)| !OWN_DATABASES.contains(&database.as_str()));
    let mut tables: Vec<TableName> = found.map(|(database, table)| TableName::new(database, table)).collect();
    tables.sort();
    Ok(tables)
}

/// The account as statements have it.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn account(session: &mut Session) -> Result<String, MysqlError> {
    let user = session.to("ask for the account at").first("SELECT CURRENT_USER()").await?;
    let user = user.into_iter().next().flatten().unwrap_or_default();
    // A user's name may have an @, a host's has none.
    let (user, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
    Ok(format!("{}@{}", session::text(user), session::text(host)))
}

/// What `tables` names and `account` sees nothing of: a name without a wildcard is taken for a mistake.
pub(crate) fn absent(config: &MysqlConfig, seen: &[TableName], account: &str) -> Vec<Complaint> {
    if config.tables.is_empty() {
        let mend = format!("create some, or GRANT SELECT ON database.* TO {account}");
        let what = "there are no tables, or the account sees none of them";
        return seen.is_empty().then(|| Complaint::minor(what, mend)).into_iter().collect();
    }
    let mut entries: Vec<&String> = config.tables.iter().collect();
    entries.sort();
    entries.dedup();
    entries.into_iter().filter_map(|entry| absent_entry(entry, seen, account)).collect()
}

fn absent_entry(entry: &str, seen: &[TableName], account: &str) -> Option<Complaint> {
    let pattern = Patterns::parse(&[entry]).ok()?;
    if seen.iter().any(|table| pattern.matches(&table.database, &table.table)) {
        return None;
    }
    let meant = meant(entry, seen).map_or_else(String::new, |near| format!("did you mean {near}? Else "));
    if entry.contains(['*', '%']) {
        let what = format!("{entry} of `tables` matches no table that the account sees");
        let mend = format!(
            "{meant}create one, which is captured from then on, or GRANT SELECT ON database.* TO {account}"
        );
        return Some(Complaint::minor(what, mend));
    }
    let named = match entry.split_once('.') {
        Some((database, table)) => format!("{}.{}", session::name(database), session::name(table)),
        None => format!("database.{}", session::name(entry)),
    };
    let what = format!("the account sees no table {entry}, which `tables` names, or it does not exist");
    let mend = format!(
        "{meant}GRANT SELECT ON {named} TO {account}, or create it, or take it out of `tables` until there is one"
    );
    Some(Complaint::fatal(what, mend))
}

/// The table whose name is most like an entry, first among those of the same database.
fn meant(entry: &str, seen: &[TableName]) -> Option<String> {
    let Some((database, table)) = entry.split_once('.') else {
        return near(entry, seen.iter().map(|name| name.table.as_str())).map(str::to_owned);
    };
    let beside = seen.iter().filter(|name| name.database == database).map(|name| name.table.as_str());
    let beside = near(table, beside).map(|table| format!("{database}.{table}"));
    let names: Vec<String> = seen.iter().map(ToString::to_string).collect();
    beside.or_else(|| near(entry, names.iter().map(String::as_str)).map(str::to_owned))
}
