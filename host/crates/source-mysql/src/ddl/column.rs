//! A column's declaration: its type and the words behind it.

use super::definition::{ColumnDefinition, Generated, RowTime};
use super::types;
use super::words::{Word, Words};
use super::{Context, Server};
use crate::charset::Charset;

/// A column as a statement declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// The column.
    pub column: ColumnDefinition,
    /// Whether it alone is the primary key.
    pub primary: bool,
    /// Whether it alone is a unique key.
    pub unique: bool,
    /// Where it goes.
    pub place: Place,
}

/// Where a column goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// To the end, or where it is.
    Unsaid,
    /// Before all others.
    First,
    /// Behind this one.
    After(String),
}

/// Reads a declaration to the end of `words`.
pub(super) fn read(words: &mut Words<'_>, context: &Context<'_>) -> Option<Declaration> {
    let name = words.name()?;
    let read = types::read(words, context)?;
    let mut declaration = Declaration {
        column: ColumnDefinition {
            name,
            column_type: read.spelled,
            charset: read.charset.map(str::to_owned),
            nullable: !read.serial,
            json: read.json,
            ..ColumnDefinition::default()
        },
        primary: false,
        unique: read.serial,
        place: Place::Unsaid,
    };
    while !words.is_done() {
        attribute(words, &mut declaration, context)?;
    }
    Some(declaration)
}

/// Reads what stands behind a type, a word or a clause at a time.
fn attribute(words: &mut Words<'_>, declaration: &mut Declaration, context: &Context<'_>) -> Option<()> {
    let column = &mut declaration.column;
    let keyword = words.keyword();
    match charset(words)? {
        Said::Nothing => {}
        said => {
            said.apply(&mut column.charset);
            return Some(());
        }
    }
    words.next()?;
    match keyword.as_str() {
        "NOT" => {
            if words.take(&["NULL"]) {
                column.nullable = false;
            } else {
                // NOT ENFORCED of a check, NOT SECONDARY.
                words.next()?;
            }
        }
        "NULL" => column.nullable = true,
        "PRIMARY" => {
            words.take(&["KEY"]);
            declaration.primary = true;
        }
        "KEY" => declaration.primary = true,
        "UNIQUE" => {
            words.take(&["KEY"]);
            declaration.unique = true;
        }
        // Of MySQL it is "CHARACTER SET of the same name", of numbers "with a sign".
        "BINARY" | "SIGNED" | "ENFORCED" | "AUTO_INCREMENT" | "VISIBLE" => {}
        "INVISIBLE" => column.invisible = true,
        "BYTE" => column.charset = Some("binary".into()),
        "ASCII" => column.charset = Some("latin1".into()),
        "UNICODE" => column.charset = Some("ucs2".into()),
        "DEFAULT" => value(words)?,
        "ON" => {
            // ON UPDATE NOW()
            words.take(&["UPDATE"]);
            value(words)?;
        }
        "COMMENT" | "ENGINE_ATTRIBUTE" | "SECONDARY_ENGINE_ATTRIBUTE" => text(words)?,
        "COLUMN_FORMAT" | "STORAGE" | "CONSTRAINT" => {
            // A constraint may have no name.
            if keyword != "CONSTRAINT" || words.keyword() != "CHECK" {
                words.next()?;
            }
        }
        "SRID" => drop(words.number()?),
        "REF_SYSTEM_ID" => {
            words.mark('=');
            words.number()?;
        }
        "GENERATED" => {
            words.take(&["ALWAYS"]);
        }
        "AS" => {
            let ends = [(["ROW", "START"], RowTime::Start), (["ROW", "END"], RowTime::End)];
            match ends.into_iter().find(|(name, _)| words.take(name)) {
                // The server writes it with the row, as any other.
                Some((_, time)) => (column.row_time, column.nullable) = (Some(time), false),
                None => {
                    words.parenthesized()?;
                    column.generated.get_or_insert(Generated::Virtual);
                }
            }
        }
        "VIRTUAL" => column.generated = Some(Generated::Virtual),
        "STORED" | "PERSISTENT" => column.generated = Some(Generated::Stored),
        "CHECK" => {
            let check = words.parenthesized()?;
            if context.server == Server::MariaDb && is_json(check, column) {
                column.json = true;
            }
        }
        "REFERENCES" => references(words)?,
        "COMPRESSED" if context.server == Server::MariaDb => {
            if words.mark('=') {
                words.next()?;
            }
            column.column_type.push_str(" /*M!100301 COMPRESSED*/");
        }
        "WITHOUT" if words.take(&["SYSTEM", "VERSIONING"]) => {}
        "FIRST" => declaration.place = Place::First,
        "AFTER" => declaration.place = Place::After(words.name()?),
        _ => return None,
    }
    Some(())
}

/// `json_valid(column)`, by which MariaDB knows its JSON.
fn is_json(mut check: Words<'_>, column: &ColumnDefinition) -> bool {
    let named = check.take(&["json_valid"]);
    let inner = check.parenthesized().and_then(|mut inner| inner.name());
    named && inner.as_deref() == Some(&column.name) && check.is_done() && column.column_type == "longtext"
}

/// What words say of a charset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// They are about something else.
    Nothing,
    /// A collation that every charset has (MariaDB).
    Collation,
    /// The default one.
    Default,
    /// This one.
    Charset(String),
}

impl Said {
    pub fn apply(self, charset: &mut Option<String>) {
        match self {
            Self::Nothing | Self::Collation => {}
            Self::Default => *charset = None,
            Self::Charset(name) => *charset = Some(name),
        }
    }
}

/// `CHARACTER SET x`, `CHARSET x`, `COLLATE x`, if it is there. `None`: it is not whole.
pub(super) fn charset(words: &mut Words<'_>) -> Option<Said> {
    let names_charset =
        words.take(&["CHARACTER", "SET"]) || words.take(&["CHAR", "SET"]) || words.take(&["CHARSET"]);
    if !names_charset && !words.take(&["COLLATE"]) {
        return Some(Said::Nothing);
    }
    words.mark('=');
    let name = match words.next()? {
        Word::Bare(name) | Word::Quoted(name) | Word::Text(name) => name.to_ascii_lowercase(),
        _ => return None,
    };
    Some(match charset_of(&name) {
        _ if name == "default" => Said::Default,
        _ if names_charset => Said::Charset(normal(&name)),
        Some(charset) => Said::Charset(charset),
        None => Said::Collation,
    })
}

/// A charset's name as the servers have it today.
pub(super) fn normal(name: &str) -> String {
    match Charset::known_name(name) {
        Some("utf8") => "utf8mb3".into(),
        Some(known) => known.into(),
        None => name.into(),
    }
}

/// The charset of a collation, by its name.
fn charset_of(collation: &str) -> Option<String> {
    let name = collation.split_once('_').map_or(collation, |(name, _)| name);
    Charset::known_name(name).map(normal)
}

/// A default: a literal, a call, or an expression in parentheses.
fn value(words: &mut Words<'_>) -> Option<()> {
    if words.parenthesized().is_some() {
        return Some(());
    }
    let signed = words.mark('-') || words.mark('+');
    match words.next()? {
        Word::Number(_) | Word::Text(_) => {}
        _ if signed => return None,
        Word::Bare(word) => {
            // A charset before a text, or what a function is called with.
            if word.starts_with('_') && matches!(words.peek(), Some(Word::Text(_) | Word::Other)) {
                words.next();
            } else if word.eq_ignore_ascii_case("NEXT") || word.eq_ignore_ascii_case("NEXTVAL") {
                return None;
            } else {
                words.parenthesized();
            }
        }
        Word::Other => {}
        Word::Quoted(_) | Word::Mark(_) => return None,
    }
    // Texts that stand beside each other are one.
    while matches!(words.peek(), Some(Word::Text(_))) {
        words.next();
    }
    Some(())
}

fn text(words: &mut Words<'_>) -> Option<()> {
    words.mark('=');
    matches!(words.next()?, Word::Text(_)).then_some(())
}

/// `REFERENCES t (c) ON DELETE SET NULL`
pub(super) fn references(words: &mut Words<'_>) -> Option<()> {
    words.name()?;
    if words.mark('.') {
        words.name()?;
    }
    words.parenthesized();
    loop {
        if words.take(&["MATCH"]) {
            words.next()?;
        } else if words.take(&["ON", "DELETE"]) || words.take(&["ON", "UPDATE"]) {
            let known = words.take(&["SET", "NULL"])
                || words.take(&["SET", "DEFAULT"])
                || words.take(&["NO", "ACTION"])
                || words.take_any(&["CASCADE", "RESTRICT"]);
            if !known {
                return None;
            }
        } else {
            return Some(());
        }
    }
}
