//! Captured tables that foreign keys change without a word in the log.

use deltaforge_engine::source::Complaint;

use crate::ddl::TableName;
use crate::failure::MysqlError;
use crate::server::{Flavour, Server};
use crate::session::{self, Session};

/// Those of `tables`.
///
/// # Errors
///
/// When the server does not answer.
pub(crate) async fn cascades(
    session: &mut Session,
    server: &Server,
    tables: &[TableName],
) -> Result<Vec<TableName>, MysqlError> {
    // MySQL 9.6 carries them out where they are logged.
    if server.flavour == Flavour::MySql && server.version() >= (9, 6) {
        return Ok(Vec::new());
    }
    // MariaDB shows the foreign keys of information_schema to nobody who may only read a table. Its definition it does.
    session.to("ask for the foreign keys of").run("SET SESSION sql_quote_show_create = 1").await?;
    let mut found = Vec::new();
    for table in tables {
        let sql =
            format!("SHOW CREATE TABLE {}.{}", session::name(&table.database), session::name(&table.table));
        let row = match session.first(&sql).await {
            // It is gone, or the account may not: that is told elsewhere.
            Err(MysqlError::Statement { .. } | MysqlError::NotReady(_) | MysqlError::LoginRefused { .. }) => {
                continue;
            }
            row => row?,
        };
        if row.get(1).and_then(Option::as_deref).is_some_and(is_changed_by_keys) {
            found.push(table.clone());
        }
    }
    Ok(found)
}

/// Whether a table's definition, in the servers' own words, has a foreign key that changes rows of it.
fn is_changed_by_keys(definition: &str) -> bool {
    let is_key = |line: &&str| line.starts_with("CONSTRAINT `") && line.contains("` FOREIGN KEY (");
    definition.lines().map(str::trim_start).filter(is_key).any(|line| {
        // Behind the columns that it refers to.
        let actions = line.rsplit(')').next().unwrap_or_default();
        ["CASCADE", "SET NULL", "SET DEFAULT"].iter().any(|word| actions.contains(word))
    })
}

/// What is to be said of them.
pub(crate) fn complaint(tables: &[TableName]) -> Option<Complaint> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_changes_rows_is_told_from_others() {
        let definition = |line: &str| {
            format!("CREATE TABLE `c` (\n  `p` int COMMENT 'x) CASCADE',\n  {line}\n) ENGINE=InnoDB")
        };
        for (line, is_one) in [
            ("CONSTRAINT `a` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON DELETE CASCADE", true),
            (
                "CONSTRAINT `a` FOREIGN KEY (`p`) REFERENCES `d`.`p (x)` (`id`) ON DELETE SET NULL ON UPDATE CASCADE,",
                true,
            ),
            ("CONSTRAINT `a` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON UPDATE SET NULL,", true),
            (
                "CONSTRAINT `a` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON DELETE RESTRICT ON UPDATE NO ACTION",
                false,
            ),
            ("CONSTRAINT `CASCADE` FOREIGN KEY (`CASCADE`) REFERENCES `CASCADE` (`CASCADE`),", false),
            ("CONSTRAINT `a` CHECK (`v` <> ' ON DELETE CASCADE')", false),
            ("KEY `FOREIGN KEY (` (`p`) COMMENT 'ON DELETE CASCADE'", false),
        ] {
            assert_eq!(is_changed_by_keys(&definition(line)), is_one, "{line}");
        }
    }
}
