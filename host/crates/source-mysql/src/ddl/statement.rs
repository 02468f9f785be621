//! What a statement begins with: what it does, and to which tables.

use super::alter::{self, Action};
use super::words::{Words, split};
use super::{Body, Change, Context, Statement, TableName, column, create, keys};

/// Reads a statement. Never fails: of what is not understood only the table is told, if it is one's definition at all.
pub fn read(sql: &str, context: &Context<'_>) -> Statement {
    let (words, whole) = split(sql, context);
    let mut words = Words::new(&words).rest();
    // MariaDB: SET STATEMENT max_statement_time = 10 FOR ALTER TABLE …
    if words.take(&["SET", "STATEMENT"]) {
        while !words.is_done() && !words.take(&["FOR"]) {
            words.next();
        }
    }
    if is_about_accounts(&words) {
        return Statement::Accounts;
    }
    match changes(&mut words, context, whole) {
        Some(changes) if !changes.is_empty() => Statement::Changes(changes),
        _ => Statement::Other,
    }
}

fn is_about_accounts(words: &Words<'_>) -> bool {
    let mut words = words.clone();
    let verb = words.keyword();
    words.next();
    match verb.as_str() {
        "GRANT" | "REVOKE" => true,
        "CREATE" | "ALTER" | "DROP" | "RENAME" => {
            if words.take(&["OR", "REPLACE"]) {}
            words.take_any(&["USER", "ROLE", "SERVER"])
        }
        "SET" => {
            let mut role = words.clone();
            words.take(&["PASSWORD"]) || role.take(&["ROLE"]) || role.take(&["DEFAULT", "ROLE"])
        }
        // They hold the replication's password.
        "CHANGE" => true,
        _ => false,
    }
}

fn changes(words: &mut Words<'_>, context: &Context<'_>, whole: bool) -> Option<Vec<Change>> {
    let verb = words.keyword();
    words.next()?;
    match verb.as_str() {
        "CREATE" => create(words, context, whole),
        "ALTER" => alter(words, context, whole),
        "DROP" => drop_(words, context),
        "RENAME" => rename(words, context),
        "TRUNCATE" => {
            words.take(&["TABLE"]);
            Some(vec![Change::Truncate { table: table_name(words, context)? }])
        }
        _ => None,
    }
}

/// `[database.]table`, folded as the server folds names.
pub(super) fn table_name(words: &mut Words<'_>, context: &Context<'_>) -> Option<TableName> {
    let first = words.name()?;
    let name = match words.mark('.') {
        true => TableName { database: first, table: words.name()? },
        false => TableName { database: context.database.to_owned(), table: first },
    };
    if !context.fold_names {
        return Some(name);
    }
    Some(TableName { database: name.database.to_lowercase(), table: name.table.to_lowercase() })
}

fn database_name(words: &mut Words<'_>, context: &Context<'_>) -> Option<String> {
    let name = words.name()?;
    Some(if context.fold_names { name.to_lowercase() } else { name })
}

fn create(words: &mut Words<'_>, context: &Context<'_>, whole: bool) -> Option<Vec<Change>> {
    let replaces = words.take(&["OR", "REPLACE"]);
    if words.take_any(&["DATABASE", "SCHEMA"]) {
        let if_not_exists = words.take(&["IF", "NOT", "EXISTS"]);
        let database = database_name(words, context)?;
        let charset = database_charset(words);
        if if_not_exists && charset.is_none() {
            return None;
        }
        return Some(vec![Change::Database { database, charset }]);
    }
    if words.take(&["TEMPORARY"]) {
        return None;
    }
    if words.take(&["TABLE"]) {
        let if_not_exists = words.take(&["IF", "NOT", "EXISTS"]);
        let table = table_name(words, context)?;
        let body = if whole { create::body(words, context) } else { Body::Unknown };
        let mut changes = Vec::with_capacity(2);
        if replaces {
            changes.push(Change::Drop { table: table.clone() });
        }
        changes.push(Change::Create { table, if_not_exists, body });
        return Some(changes);
    }
    let unique = words.take(&["UNIQUE"]);
    words.take_any(&["FULLTEXT", "SPATIAL", "VECTOR"]);
    if !words.take(&["INDEX"]) {
        return None;
    }
    let if_not_exists = words.take(&["IF", "NOT", "EXISTS"]);
    let name = words.name()?;
    if words.take_any(&["USING", "TYPE"]) {
        words.next();
    }
    words.take(&["ON"]).then_some(())?;
    let table = table_name(words, context)?;
    let key = keys::key(words, name, unique).filter(|_| whole);
    let mut actions = key.map(|key| vec![Action::AddKey { key, if_not_exists }]);
    if let (Some(actions), true) = (&mut actions, replaces)
        && let Some(Action::AddKey { key, .. }) = actions.first()
    {
        actions.insert(0, Action::DropKey { key: key.name.clone(), if_exists: true });
    }
    Some(vec![Change::Alter { table, actions }])
}

fn database_charset(words: &mut Words<'_>) -> Option<String> {
    let mut found = None;
    while !words.is_done() {
        words.take(&["DEFAULT"]);
        match column::charset(words)? {
            column::Said::Nothing => drop(words.next()),
            said => said.apply(&mut found),
        }
    }
    found
}

fn alter(words: &mut Words<'_>, context: &Context<'_>, whole: bool) -> Option<Vec<Change>> {
    if words.take_any(&["DATABASE", "SCHEMA"]) {
        // Without a name it is the default one.
        let unnamed = matches!(words.keyword().as_str(), "CHARACTER" | "CHARSET" | "COLLATE" | "DEFAULT");
        let database = if unnamed { context.database.to_owned() } else { database_name(words, context)? };
        let charset = database_charset(words)?;
        return Some(vec![Change::Database { database, charset: Some(charset) }]);
    }
    words.take(&["ONLINE"]);
    words.take(&["IGNORE"]);
    words.take(&["TABLE"]).then_some(())?;
    words.take(&["IF", "EXISTS"]);
    let table = table_name(words, context)?;
    if words.take(&["WAIT"]) {
        words.next();
    }
    words.take(&["NOWAIT"]);
    let actions = if words.is_done() { Some(Vec::new()) } else { alter::actions(words, context) };
    Some(vec![Change::Alter { table, actions: actions.filter(|_| whole) }])
}

fn drop_(words: &mut Words<'_>, context: &Context<'_>) -> Option<Vec<Change>> {
    if words.take_any(&["DATABASE", "SCHEMA"]) {
        words.take(&["IF", "EXISTS"]);
        return Some(vec![Change::DropDatabase { database: database_name(words, context)? }]);
    }
    if words.take(&["INDEX"]) {
        let if_exists = words.take(&["IF", "EXISTS"]);
        let key = words.name()?;
        words.take(&["ON"]).then_some(())?;
        let table = table_name(words, context)?;
        let actions = Some(vec![Action::DropKey { key, if_exists }]);
        return Some(vec![Change::Alter { table, actions }]);
    }
    // Of temporary tables the log has no rows.
    words.take_any(&["TABLE", "TABLES"]).then_some(())?;
    words.take(&["IF", "EXISTS"]);
    let mut changes = Vec::new();
    loop {
        changes.push(Change::Drop { table: table_name(words, context)? });
        if !words.mark(',') {
            return Some(changes);
        }
    }
}

fn rename(words: &mut Words<'_>, context: &Context<'_>) -> Option<Vec<Change>> {
    words.take_any(&["TABLE", "TABLES"]).then_some(())?;
    words.take(&["IF", "EXISTS"]);
    let mut pairs = Vec::new();
    loop {
        let from = table_name(words, context)?;
        if words.take(&["WAIT"]) {
            words.next();
        }
        words.take(&["NOWAIT"]);
        words.take(&["TO"]).then_some(())?;
        pairs.push((from, table_name(words, context)?));
        if !words.mark(',') {
            return Some(vec![Change::Rename(pairs)]);
        }
    }
}
