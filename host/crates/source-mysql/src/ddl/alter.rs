//! The actions of ALTER TABLE.

use super::column::{self, Declaration, Said, charset};
use super::definition::{Key, PRIMARY};
use super::keys::{self, Element};
use super::words::{Word, Words};
use super::{Context, TableName, statement};

/// One thing that is done to a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A column comes.
    Add {
        /// It.
        column: Box<Declaration>,
        /// Whether a column of that name stays as it is.
        if_not_exists: bool,
    },
    /// A column is declared anew, maybe under another name.
    Change {
        /// The name it had.
        column: String,
        /// As it is now.
        to: Box<Declaration>,
        /// Whether it may be missing.
        if_exists: bool,
    },
    /// A column gets another name.
    RenameColumn {
        /// The name it had.
        from: String,
        /// The name it gets.
        to: String,
        /// Whether it may be missing.
        if_exists: bool,
    },
    /// A column is gone.
    Drop {
        /// Its name.
        column: String,
        /// Whether it may be missing.
        if_exists: bool,
    },
    /// `SELECT *` shows a column, or leaves it out.
    Invisible {
        /// Its name.
        column: String,
        /// Whether it leaves it out.
        invisible: bool,
    },
    /// An index comes.
    AddKey {
        /// It; without a name where the server makes one up.
        key: Key,
        /// Whether an index of that name stays as it is.
        if_not_exists: bool,
    },
    /// A foreign key comes.
    AddForeign {
        /// Its name, where it has one.
        name: String,
        /// Its columns.
        columns: Vec<String>,
    },
    /// An index is gone.
    DropKey {
        /// Its name.
        key: String,
        /// Whether it may be missing.
        if_exists: bool,
    },
    /// A constraint is gone, of which kind it does not say.
    DropConstraint(String),
    /// An index gets another name.
    RenameKey {
        /// The name it had.
        from: String,
        /// The name it gets.
        to: String,
    },
    /// All text becomes text of this charset; `None`: of the database's.
    Convert(Option<String>),
    /// New columns have this charset; `None`: the database's.
    Charset(Option<String>),
    /// The table gets another name.
    Rename(TableName),
    /// Rows go or come without an entry in the log: partitions that are dropped or emptied.
    RowsUnlogged,
    /// The same: those of a partition and of this table change places.
    Exchange(TableName),
}

/// Actions that say nothing about columns or rows.
const OTHERS: [&str; 55] = [
    "ALGORITHM",
    "ANALYZE",
    "AUTOEXTEND_SIZE",
    "AUTO_INCREMENT",
    "AVG_ROW_LENGTH",
    "CHECK",
    "CHECKSUM",
    "COALESCE",
    "COMMENT",
    "COMPRESSION",
    "CONNECTION",
    "DELAY_KEY_WRITE",
    "DISABLE",
    "ENABLE",
    "ENCRYPTED",
    "ENCRYPTION",
    "ENCRYPTION_KEY_ID",
    "ENGINE",
    "ENGINE_ATTRIBUTE",
    "FORCE",
    "IETF_QUOTES",
    "INSERT_METHOD",
    "KEY_BLOCK_SIZE",
    "LOCK",
    "MAX_ROWS",
    "MIN_ROWS",
    "NOWAIT",
    "OPTIMIZE",
    "ORDER",
    "PACK_KEYS",
    "PAGE_CHECKSUM",
    "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL",
    "PARTITION",
    "PASSWORD",
    "REBUILD",
    "REMOVE",
    "REORGANIZE",
    "REPAIR",
    "ROW_FORMAT",
    "SECONDARY_ENGINE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "SECONDARY_LOAD",
    "SECONDARY_UNLOAD",
    "SEQUENCE",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "STORAGE",
    "TABLESPACE",
    "TRANSACTIONAL",
    "TYPE",
    "UNION",
    "WAIT",
    "WITHOUT",
];

/// Reads all actions; `None`: one of them was not understood.
pub(super) fn actions(words: &mut Words<'_>, context: &Context<'_>) -> Option<Vec<Action>> {
    let mut actions = Vec::new();
    let mut items = words.items()?.into_iter();
    while let Some(mut item) = items.next() {
        if is_of_partitions(&item) {
            // It stands alone; commas are between the names of partitions.
            action(&mut item, context, &mut actions)?;
            break;
        }
        let orders = item.keyword() == "ORDER";
        action(&mut item, context, &mut actions)?;
        while orders && items.as_slice().first().is_some_and(is_of_order) {
            items.next();
        }
    }
    Some(actions)
}

/// `DROP PARTITION a` and its like.
fn is_of_partitions(item: &Words<'_>) -> bool {
    let mut ahead = item.clone();
    ahead.next();
    ahead.take(&["PARTITION"])
}

/// A column that a table is ordered by, after the first one.
fn is_of_order(item: &Words<'_>) -> bool {
    let mut ahead = item.clone();
    let is_name = ahead.name().is_some() && (!ahead.mark('.') || ahead.name().is_some());
    ahead.take_any(&["ASC", "DESC"]);
    is_name && ahead.is_done()
}

fn action(words: &mut Words<'_>, context: &Context<'_>, actions: &mut Vec<Action>) -> Option<()> {
    let keyword = words.keyword();
    match keyword.as_str() {
        "ADD" => {
            words.next();
            add(words, context, actions)?;
        }
        "MODIFY" | "CHANGE" => {
            words.next();
            words.take(&["COLUMN"]);
            let if_exists = words.take(&["IF", "EXISTS"]);
            let mut ahead = words.clone();
            let column = ahead.name()?;
            let to = Box::new(column::read(if keyword == "CHANGE" { &mut ahead } else { words }, context)?);
            actions.push(Action::Change { column, to, if_exists });
        }
        "DROP" => {
            words.next();
            actions.extend(drop_action(words)?);
        }
        "RENAME" => {
            words.next();
            actions.push(rename(words, context)?);
        }
        "ALTER" => {
            words.next();
            actions.extend(alter(words)?);
        }
        "CONVERT" => {
            words.next();
            if !words.take(&["TO"]) {
                return None;
            }
            let mut to = None;
            charset(words)?.apply(&mut to);
            charset(words)?.apply(&mut to);
            // Text that becomes bytes changes its length too.
            if to.as_deref() == Some("binary") || !words.is_done() {
                return None;
            }
            actions.push(Action::Convert(to));
        }
        "EXCHANGE" => {
            words.next();
            words.take(&["PARTITION"]).then_some(())?;
            words.name()?;
            words.take(&["WITH", "TABLE"]).then_some(())?;
            actions.push(Action::Exchange(statement::table_name(words, context)?));
        }
        "DISCARD" | "IMPORT" | "TRUNCATE" => actions.push(Action::RowsUnlogged),
        _ => options(words, actions)?,
    }
    Some(())
}

fn add(words: &mut Words<'_>, context: &Context<'_>, actions: &mut Vec<Action>) -> Option<()> {
    if words.take(&["PARTITION"]) {
        return Some(());
    }
    // A table that keeps its history has columns that stand nowhere; so have periods.
    if words.take(&["SYSTEM", "VERSIONING"]) || words.take(&["PERIOD"]) {
        return None;
    }
    words.take(&["COLUMN"]);
    let if_not_exists = words.take(&["IF", "NOT", "EXISTS"]);
    let mut elements = vec![words.clone()];
    if words.peek() == Some(&Word::Mark('(')) {
        elements = words.parenthesized()?.items()?;
        words.is_done().then_some(())?;
    }
    for mut element in elements {
        actions.push(match keys::read(&mut element)? {
            Some(Element::Key { key, if_not_exists }) => Action::AddKey { key, if_not_exists },
            Some(Element::Foreign { name, columns }) => Action::AddForeign { name, columns },
            Some(Element::Check | Element::Period) => continue,
            None => {
                let column = Box::new(column::read(&mut element, context)?);
                Action::Add { column, if_not_exists }
            }
        });
    }
    Some(())
}

fn drop_action(words: &mut Words<'_>) -> Option<Option<Action>> {
    let action = if words.take(&["PRIMARY", "KEY"]) {
        Some(Action::DropKey { key: PRIMARY.into(), if_exists: false })
    } else if words.take_any(&["INDEX", "KEY"]) {
        let if_exists = words.take(&["IF", "EXISTS"]);
        Some(Action::DropKey { key: words.name()?, if_exists })
    } else if words.take(&["CONSTRAINT"]) {
        words.take(&["IF", "EXISTS"]);
        Some(Action::DropConstraint(words.name()?))
    } else if words.take(&["FOREIGN", "KEY"]) || words.take(&["CHECK"]) {
        words.take(&["IF", "EXISTS"]);
        words.name()?;
        None
    } else if words.take(&["PARTITION"]) {
        return Some(Some(Action::RowsUnlogged));
    } else if words.take(&["SYSTEM", "VERSIONING"]) || words.take(&["PERIOD"]) {
        return None;
    } else {
        words.take(&["COLUMN"]);
        let if_exists = words.take(&["IF", "EXISTS"]);
        let column = words.name()?;
        words.take_any(&["CASCADE", "RESTRICT"]);
        Some(Action::Drop { column, if_exists })
    };
    words.is_done().then_some(action)
}

fn rename(words: &mut Words<'_>, context: &Context<'_>) -> Option<Action> {
    if words.take(&["COLUMN"]) {
        let if_exists = words.take(&["IF", "EXISTS"]);
        let from = words.name()?;
        let to = words.take(&["TO"]).then(|| words.name())??;
        return words.is_done().then_some(Action::RenameColumn { from, to, if_exists });
    }
    if words.take_any(&["INDEX", "KEY"]) {
        words.take(&["IF", "EXISTS"]);
        let from = words.name()?;
        let to = words.take(&["TO"]).then(|| words.name())??;
        return words.is_done().then_some(Action::RenameKey { from, to });
    }
    if !words.take_any(&["TO", "AS"]) {
        words.mark('=');
    }
    let to = statement::table_name(words, context)?;
    words.is_done().then_some(Action::Rename(to))
}

/// `ALTER x SET DEFAULT 1` and its like.
fn alter(words: &mut Words<'_>) -> Option<Option<Action>> {
    if words.take_any(&["INDEX", "KEY", "CHECK", "CONSTRAINT"]) {
        return Some(None);
    }
    words.take(&["COLUMN"]);
    words.take(&["IF", "EXISTS"]);
    let column = words.name()?;
    if words.take(&["SET", "INVISIBLE"]) {
        return Some(Some(Action::Invisible { column, invisible: true }));
    }
    if words.take(&["SET", "VISIBLE"]) {
        return Some(Some(Action::Invisible { column, invisible: false }));
    }
    (words.take(&["SET", "DEFAULT"]) || words.take(&["DROP", "DEFAULT"])).then_some(None)
}

/// Options of the table, one behind the other.
fn options(words: &mut Words<'_>, actions: &mut Vec<Action>) -> Option<()> {
    let mut first = true;
    while !words.is_done() {
        words.take(&["DEFAULT"]);
        match charset(words)? {
            Said::Nothing => {}
            said => {
                let mut charset = None;
                let changes = said != Said::Collation;
                said.apply(&mut charset);
                actions.extend(changes.then_some(Action::Charset(charset)));
                first = false;
                continue;
            }
        }
        let keyword = words.keyword();
        let known = OTHERS.contains(&keyword.as_str()) || words.take(&["WITH", "VALIDATION"]);
        if first && !known {
            return None;
        }
        first = false;
        match words.peek() {
            Some(Word::Mark('(')) => {
                words.parenthesized()?;
            }
            _ => {
                words.next();
            }
        }
    }
    Some(())
}
