//! What stands behind the name in CREATE TABLE.

use super::column::{self, Declaration, Said, charset};
use super::definition::{Definition, Key, KeyPart, PRIMARY};
use super::keys::{self, Element};
use super::words::{Word, Words};
use super::{Body, Context, TableName, statement};

pub(super) fn body(words: &mut Words<'_>, context: &Context<'_>) -> Body {
    if words.take(&["LIKE"]) {
        return like(words, context);
    }
    let mut ahead = words.clone();
    if let Some(mut inner) = ahead.parenthesized()
        && inner.take(&["LIKE"])
    {
        return like(&mut inner, context);
    }
    match definition(words, context) {
        Some(definition) => Body::Definition(Box::new(definition)),
        None => Body::Unknown,
    }
}

fn like(words: &mut Words<'_>, context: &Context<'_>) -> Body {
    statement::table_name(words, context).map_or(Body::Unknown, |table: TableName| Body::Like(table))
}

fn definition(words: &mut Words<'_>, context: &Context<'_>) -> Option<Definition> {
    let elements = words.parenthesized()?.items()?;
    let Options { charset, versioned } = options(words)?;
    let mut definition = Definition { charset, ..Definition::default() };
    let mut foreign = Vec::new();
    for mut element in elements {
        match keys::read(&mut element)? {
            Some(Element::Key { key, .. }) => definition.add_key(key),
            Some(Element::Foreign { name, columns }) => foreign.push((name, columns)),
            Some(Element::Check | Element::Period) => {}
            None => {
                let declaration = column::read(&mut element, context)?;
                definition.declare(declaration);
            }
        }
    }
    for (name, columns) in foreign {
        definition.add_foreign(&name, &columns);
    }
    let named = |part: &KeyPart| part.column.as_deref().is_none_or(|name| definition.column(name).is_some());
    if !definition.keys.iter().all(|key| key.parts.iter().all(named)) {
        return None;
    }
    if versioned {
        definition.keep_versions();
    }
    Some(definition)
}

/// What stands behind the columns, as far as it matters.
struct Options {
    charset: Option<String>,
    versioned: bool,
}

/// `None`: rows come from a query.
fn options(words: &mut Words<'_>) -> Option<Options> {
    let (mut found, mut versioned) = (None, false);
    while !words.is_done() {
        match charset(words)? {
            Said::Nothing => {}
            said => {
                said.apply(&mut found);
                continue;
            }
        }
        if words.take(&["WITH", "SYSTEM", "VERSIONING"]) {
            versioned = true;
            continue;
        }
        if matches!(words.keyword().as_str(), "SELECT" | "VALUES" | "TABLE" | "WITH" | "IGNORE" | "REPLACE") {
            return None;
        }
        match words.peek() {
            Some(Word::Mark('(')) => {
                words.parenthesized()?;
            }
            _ => {
                words.next();
            }
        }
    }
    Some(Options { charset: found, versioned })
}

impl Definition {
    /// Adds a column, at the end, with the keys that it alone makes.
    pub(super) fn declare(&mut self, declaration: Declaration) {
        let Declaration { column, primary, unique, .. } = declaration;
        self.declare_keys(&column.name, primary, unique);
        self.columns.push(column);
    }

    pub(super) fn declare_keys(&mut self, column: &str, primary: bool, unique: bool) {
        let parts = || vec![KeyPart { column: Some(column.to_owned()), prefix: false }];
        if primary {
            self.add_key(Key { name: PRIMARY.into(), unique: true, parts: parts() });
        }
        if unique {
            self.add_key(Key { name: String::new(), unique: true, parts: parts() });
        }
    }
}
