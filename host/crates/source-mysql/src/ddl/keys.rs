//! Indexes as statements declare them.

use super::column::references;
use super::definition::{Definition, Key, KeyPart, PRIMARY, same_name};
use super::words::{Word, Words};

/// What is not a column in a table's parentheses.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Element {
    /// An index; an empty name is made up by the server. One of that name may be there already if so.
    Key { key: Key, if_not_exists: bool },
    /// A foreign key: the server makes an index for it where there is none. Its name, and its columns.
    Foreign { name: String, columns: Vec<String> },
    /// A check.
    Check,
    /// Which columns are the ends of a row's time (MariaDB).
    Period,
}

/// Reads an index or a constraint, if `words` begin with one; the inner `None`: it is a column. To the end of `words`.
#[allow(clippy::option_option)]
pub(super) fn read(words: &mut Words<'_>) -> Option<Option<Element>> {
    let mut constraint = String::new();
    let named = words.take(&["CONSTRAINT"]);
    if named && !matches!(words.keyword().as_str(), "PRIMARY" | "UNIQUE" | "FOREIGN" | "CHECK") {
        words.take(&["IF", "NOT", "EXISTS"]);
        constraint = words.name()?;
    }
    if words.take(&["CHECK"]) {
        words.parenthesized()?;
        words.take(&["NOT"]);
        words.take(&["ENFORCED"]);
        return words.is_done().then_some(Some(Element::Check));
    }
    // PERIOD is a name too.
    if words.take(&["PERIOD", "FOR", "SYSTEM_TIME"]) {
        words.parenthesized()?;
        return words.is_done().then_some(Some(Element::Period));
    }
    if words.take(&["FOREIGN", "KEY"]) {
        words.take(&["IF", "NOT", "EXISTS"]);
        let mut name = constraint;
        if words.peek() != Some(&Word::Mark('(')) {
            let index = words.name()?;
            if name.is_empty() {
                name = index;
            }
        }
        let key = parts(words)?;
        if !words.take(&["REFERENCES"]) {
            return None;
        }
        references(words)?;
        let columns = key.into_iter().filter_map(|part| part.column).collect();
        return words.is_done().then_some(Some(Element::Foreign { name, columns }));
    }
    if words.take(&["PRIMARY", "KEY"]) {
        let if_not_exists = words.take(&["IF", "NOT", "EXISTS"]);
        return key(words, PRIMARY.into(), true).map(|key| Some(Element::Key { key, if_not_exists }));
    }
    let unique = words.take(&["UNIQUE"]);
    let other = !unique
        && (words.take_any(&["FULLTEXT", "SPATIAL"]) || {
            // VECTOR is a name too.
            let mut ahead = words.clone();
            let is = ahead.take(&["VECTOR"]) && matches!(ahead.keyword().as_str(), "INDEX" | "KEY");
            if is {
                words.next();
            }
            is
        });
    let index = words.take_any(&["INDEX", "KEY"]);
    if !(unique || other || index) {
        return if named { None } else { Some(None) };
    }
    let if_not_exists = words.take(&["IF", "NOT", "EXISTS"]);
    key(words, constraint, unique).map(|key| Some(Element::Key { key, if_not_exists }))
}

/// `[name] [USING x] (parts) options`
pub(super) fn key(words: &mut Words<'_>, mut name: String, unique: bool) -> Option<Key> {
    let is_primary = name == PRIMARY;
    if words.peek() != Some(&Word::Mark('(')) && !matches!(words.keyword().as_str(), "USING" | "TYPE") {
        let given = words.name()?;
        if !is_primary {
            name = given;
        }
    }
    if words.take_any(&["USING", "TYPE"]) {
        words.next()?;
    }
    let parts = parts(words)?;
    // What follows is of no weight for rows: types, comments, parsers, sizes. MariaDB's periods are.
    while let Some(word) = words.next() {
        match word {
            Word::Mark('(') | Word::Mark(',') => return None,
            _ => {}
        }
    }
    Some(Key { name, unique, parts })
}

/// `(a, b(10) DESC, (lower(c)))`
pub(super) fn parts(words: &mut Words<'_>) -> Option<Vec<KeyPart>> {
    let part = |mut words: Words<'_>| {
        if words.parenthesized().is_some() {
            return Some(KeyPart { column: None, prefix: false });
        }
        let column = words.name()?;
        let prefix = words.parenthesized().is_some();
        // A period in MariaDB's WITHOUT OVERLAPS is no column.
        words.take_any(&["ASC", "DESC"]);
        words.is_done().then_some(KeyPart { column: Some(column), prefix })
    };
    words.parenthesized()?.items()?.into_iter().map(part).collect()
}

impl Definition {
    /// Adds an index, under a name that the server would give it too.
    pub(super) fn add_key(&mut self, mut key: Key) {
        if key.name.is_empty() {
            key.name = self.free_name(key.parts.first().and_then(|part| part.column.as_deref()));
        }
        self.keys.push(key);
    }

    /// Adds what the server adds for a foreign key, where no index begins with its columns.
    pub(super) fn add_foreign(&mut self, name: &str, columns: &[String]) {
        let begins = |key: &Key| {
            key.parts.len() >= columns.len()
                && key.parts.iter().zip(columns).all(|(part, column)| {
                    !part.prefix && part.column.as_deref().is_some_and(|part| same_name(part, column))
                })
        };
        if !self.keys.iter().any(begins) {
            let parts = columns.iter().map(|column| KeyPart { column: Some(column.clone()), prefix: false });
            self.add_key(Key { name: name.to_owned(), unique: false, parts: parts.collect() });
        }
    }

    /// The first column's name, with a number where that is taken.
    fn free_name(&self, column: Option<&str>) -> String {
        let base = match column {
            Some(column) if !same_name(column, PRIMARY) => column,
            Some(_) => "PRIMARY_2",
            None => "functional_index",
        };
        let taken = |name: &str| self.keys.iter().any(|key| same_name(&key.name, name));
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let mut names = std::iter::once(base.to_owned()).chain(numbered);
        names.find(|name| !taken(name)).unwrap_or_default()
    }
}
