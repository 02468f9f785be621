//! The columns of an outbox event, wherever it has them from.

use std::borrow::Cow;
use std::collections::BTreeSet;

use deltaforge_plugin_kit::{text_at, text_of, value_of};
use deltaforge_sdk::{RowView, Value};

/// The columns that the options name: what is asked of the batch, in one go.
#[derive(Debug, Default)]
pub(crate) struct Wanted(BTreeSet<String>);

impl Wanted {
    pub(crate) fn column(&mut self, name: &str) {
        self.0.insert(name.to_owned());
    }

    /// A path may be a column, or the way into one that holds JSON.
    pub(crate) fn path(&mut self, path: &str) {
        splits(path).for_each(|(column, _)| self.column(column));
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// What a path may mean: a column and the way into it, the longest column first.
fn splits(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let dots = path.char_indices().rev().filter(|(_, c)| *c == '.');
    std::iter::once((path, "")).chain(dots.map(move |(at, _)| (&path[..at], &path[at + 1..])))
}

/// The columns of one event.
pub(crate) enum Fields<'a> {
    /// Of a row: those that are wanted, in order of their names.
    Row(Vec<(&'a str, Value<'a>)>),
    /// Of a message in the log: its members, as written.
    Message(Vec<(String, &'a str)>),
}

impl<'a> Fields<'a> {
    pub(crate) fn row(wanted: &'a Wanted, view: RowView<'a, '_>) -> Self {
        Self::Row(wanted.0.iter().enumerate().map(|(nth, name)| (name.as_str(), view.after(nth))).collect())
    }

    pub(crate) fn message(members: Vec<(String, &'a str)>) -> Self {
        Self::Message(members)
    }

    pub(crate) fn get(&self, column: &str) -> Value<'_> {
        match self {
            Self::Row(cells) => match cells.binary_search_by_key(&column, |(name, _)| name) {
                Ok(at) => cells[at].1.by_ref(),
                Err(_) => Value::Absent,
            },
            Self::Message(members) => {
                let member = members.iter().rfind(|(name, _)| name == column);
                member.map_or(Value::Absent, |(_, raw)| match value_of(raw) {
                    Value::Json(_) => Value::Json(Cow::Borrowed(raw)),
                    value => value,
                })
            }
        }
    }

    /// A column as text.
    pub(crate) fn text(&self, column: &str) -> Option<String> {
        text_of(&self.get(column))
    }

    /// What a path in a template means, as text.
    pub(crate) fn text_at(&self, path: &str) -> Option<String> {
        let known = |(column, inside): (&str, &str)| match self.get(column) {
            Value::Absent => None,
            value => {
                Some(text_at(&value, if inside.is_empty() { vec![] } else { inside.split('.').collect() }))
            }
        };
        splits(path).find_map(known).flatten()
    }

    /// All of a message; `None` of a row, which is there already.
    pub(crate) fn whole(&self) -> Option<Vec<(String, Value<'static>)>> {
        match self {
            Self::Row(_) => None,
            Self::Message(members) => {
                Some(members.iter().map(|(name, raw)| (name.clone(), value_of(raw))).collect())
            }
        }
    }
}
