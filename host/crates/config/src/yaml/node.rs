//! The tree.

use serde_json::Value;

use crate::path::{Path, Step};
use crate::text::Place;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub place: Place,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A value with a problem that is reported already; checks let it pass.
    Broken,
}

/// A null, boolean, number or text.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub value: Value,
    /// How it was written, where that differs from `value`'s own text.
    pub text: Option<String>,
    pub style: Style,
    /// Whether an environment variable is part of it, so that no message may quote it.
    pub expanded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    /// Text from the next line on, line for line (`|`).
    Literal,
    /// From JSON, or folded.
    Other,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

impl Node {
    pub(crate) fn broken(place: Place) -> Self {
        Self { place, kind: Kind::Broken }
    }

    /// A JSON value, which has no places; `None` when it is nested too deep.
    pub(crate) fn from_json(value: &Value, depth: usize) -> Option<Self> {
        if depth > super::MAX_DEPTH {
            return None;
        }
        let kind = match value {
            Value::Array(items) => {
                Kind::List(items.iter().map(|item| Self::from_json(item, depth + 1)).collect::<Option<_>>()?)
            }
            Value::Object(map) => {
                let entry = |(key, value): (&String, &Value)| {
                    let value = Self::from_json(value, depth + 1)?;
                    Some(Entry { key: key.clone(), place: Place::default(), value })
                };
                Kind::Map(map.iter().map(entry).collect::<Option<_>>()?)
            }
            scalar => Kind::Scalar(Scalar {
                value: scalar.clone(),
                text: None,
                style: Style::Other,
                expanded: false,
            }),
        };
        Some(Self { place: Place::default(), kind })
    }

    pub(crate) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.value.clone(),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect(),
            ),
            Kind::Broken => Value::Null,
        }
    }

    /// Values in this tree, itself counted.
    pub(crate) fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::List(items) => items.iter().map(Self::size).sum(),
            Kind::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
            Kind::Scalar(_) | Kind::Broken => 0,
        }
    }

    /// Blocks inside one another, itself counted.
    pub(crate) fn depth(&self) -> usize {
        1 + match &self.kind {
            Kind::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Kind::Map(entries) => entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
            Kind::Scalar(_) | Kind::Broken => 0,
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        if let Kind::Map(entries) = &self.kind { entries } else { &[] }
    }

    pub(crate) fn items(&self) -> &[Self] {
        if let Kind::List(items) = &self.kind { items } else { &[] }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value below `keys`, as far as they are there.
    pub(crate) fn find(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// The value at `path`, or the nearest one above it that is there.
    pub(crate) fn nearest(&self, path: &Path) -> &Self {
        let mut node = self;
        for step in path.steps() {
            match node.at(step) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// `block` with what `written` names below it, as [`Path::below_written`] reads it; but the keys that are there may
    /// have dots in them.
    pub(crate) fn below_written(&self, block: &Path, written: &str) -> Path {
        if written.starts_with('/') {
            return block.below_written(written);
        }
        let mut path = block.clone();
        let mut node = self.find_at(block.steps());
        let mut rest = written;
        loop {
            rest = rest.trim_start_matches(['.', '[', ']']);
            if rest.is_empty() {
                return path;
            }
            let leads = |key: &&str| {
                rest.strip_prefix(key).is_some_and(|left| left.is_empty() || left.starts_with(['.', '[']))
            };
            let keys = node.map(Self::entries).unwrap_or_default().iter().map(|entry| entry.key.as_str());
            if let Some(key) = keys.filter(leads).max_by_key(|key| key.len()) {
                path.key(key);
                rest = &rest[key.len()..];
            } else {
                let (step, left) = rest.split_at(rest.find(['.', '[', ']']).unwrap_or(rest.len()));
                path.step(step);
                rest = left;
            }
            node = node.and_then(|node| node.at(path.last()?));
        }
    }

    /// Where the key at the end of `path` stands.
    pub(crate) fn key_at(&self, path: &Path) -> Option<Place> {
        let Some((Step::Key(key), above)) = path.steps().split_last() else { return None };
        self.find_at(above)?.entry(key).map(|entry| entry.place)
    }

    fn find_at(&self, steps: &[Step]) -> Option<&Self> {
        steps.iter().try_fold(self, |node, step| node.at(step))
    }

    fn at(&self, step: &Step) -> Option<&Self> {
        match step {
            Step::Key(key) => self.get(key),
            Step::Index(index) => self.items().get(*index),
        }
    }

    pub(crate) fn scalar(&self) -> Option<&Value> {
        if let Kind::Scalar(scalar) = &self.kind { Some(&scalar.value) } else { None }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        self.scalar()?.as_str()
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.kind, Kind::Broken)
    }

    /// Whether a value in this tree has a problem that is reported already.
    pub(crate) fn has_broken(&self) -> bool {
        self.is_broken()
            || self.items().iter().any(Self::has_broken)
            || self.entries().iter().any(|entry| entry.value.has_broken())
    }

    /// Whether `text` has a part of a value in this tree that came from the environment: six characters in a row, or
    /// half of a shorter value.
    pub(crate) fn shows_expanded(&self, text: &str) -> bool {
        if let Kind::Scalar(scalar) = &self.kind {
            let own = || scalar.value.as_str().map_or_else(|| scalar.value.to_string(), str::to_owned);
            return scalar.expanded && has_part(text, &scalar.text.clone().unwrap_or_else(own));
        }
        self.items().iter().any(|item| item.shows_expanded(text))
            || self.entries().iter().any(|entry| entry.value.shows_expanded(text))
    }

    /// Whether an environment variable is part of this very value.
    pub(crate) fn is_expanded(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.expanded)
    }
}

fn has_part(text: &str, value: &str) -> bool {
    const PART: usize = 6;
    let (text, value) = (text.to_lowercase(), value.to_lowercase());
    let part = value.chars().count().div_ceil(2).min(PART);
    let text: Vec<char> = text.chars().collect();
    part > 0 && text.windows(part).any(|window| value.contains(&window.iter().collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::has_part;

    #[test]
    fn a_part_of_a_value_is_seen_in_a_text_and_common_letters_are_not() {
        for (text, value) in [
            ("`hunter2` is no number", "hunter2"),
            ("the host is HUNTER2", "https://me:hunter2@example.com/"),
            ("12 is too small", "12"),
            ("no user hun…", "hunter"),
        ] {
            assert!(has_part(text, value), "{text}: {value}");
        }
        for (text, value) in [
            ("must begin with http:// or https://", "ftp://me:hunter2@example.com"),
            ("must name a file, such as out/events.jsonl", "logs/"),
            ("must be at least 1", ""),
        ] {
            assert!(!has_part(text, value), "{text}: {value}");
        }
    }
}
