//! From a nested value to its leaves.

use std::borrow::Cow;

use deltaforge_plugin_kit::{elements, members, value_of};
use deltaforge_sdk::Value;

use crate::config::{Config, Empty, Lists};

/// Levels that are taken apart at most: a document may be nested deeper than a stack can bear.
const DEEPEST: u32 = 128;

/// What a cell is to the walk.
pub(crate) enum Node<'a> {
    /// Nothing to take apart.
    Kept,
    /// A JSON document, or a part of one.
    Json(Cow<'a, str>),
    /// An array of the database's own.
    Array(Value<'a>),
}

/// What stands at the end of a path.
pub(crate) enum Leaf {
    /// The cell as it is.
    Kept,
    /// This value.
    Value(Value<'static>),
}

/// The way to a value.
pub(crate) struct Walk<'c> {
    pub(crate) config: &'c Config,
    pub(crate) path: String,
}

impl Walk<'_> {
    /// Tells every leaf of a cell with its path, in order.
    pub(crate) fn leaves(mut self, node: Node<'_>, mut tell: impl FnMut(&str, Leaf)) {
        match node {
            Node::Kept => tell(&self.path, Leaf::Kept),
            Node::Json(text) => self.json(&text, 0, &mut tell),
            Node::Array(value) => self.array(&value, 0, &mut tell),
        }
    }

    fn goes_deeper(&self, depth: u32) -> bool {
        depth < self.config.max_depth.unwrap_or(DEEPEST).min(DEEPEST)
    }

    fn json(&mut self, raw: &str, depth: u32, tell: &mut impl FnMut(&str, Leaf)) {
        let raw = raw.trim();
        let kept = || if depth == 0 { Leaf::Kept } else { Leaf::Value(value_of(raw)) };
        if raw.starts_with('{') {
            match members(raw) {
                Some(members) if members.is_empty() => self.empty(self.config.empty_object, kept(), tell),
                Some(members) if self.goes_deeper(depth) => {
                    for (name, value) in members {
                        self.step(&name, |walk| walk.json(value, depth + 1, tell));
                    }
                }
                // At the depth that is asked for, or no JSON after all.
                _ => tell(&self.path, kept()),
            }
        } else if raw.starts_with('[') {
            match elements(raw) {
                Some(elements) if elements.is_empty() => self.empty(self.config.empty_list, kept(), tell),
                Some(elements) if self.config.lists == Lists::Index && self.goes_deeper(depth) => {
                    for (at, value) in elements.into_iter().enumerate() {
                        self.step(&at.to_string(), |walk| walk.json(value, depth + 1, tell));
                    }
                }
                _ => tell(&self.path, kept()),
            }
        } else {
            tell(&self.path, kept());
        }
    }

    fn array(&mut self, value: &Value<'_>, depth: u32, tell: &mut impl FnMut(&str, Leaf)) {
        let kept = || if depth == 0 { Leaf::Kept } else { Leaf::Value(value.clone().into_owned()) };
        let elements: Vec<Value<'_>> = value.elements().into_iter().flatten().collect();
        if elements.is_empty() {
            return self.empty(self.config.empty_list, kept(), tell);
        }
        if self.config.lists == Lists::Preserve || !self.goes_deeper(depth) {
            return tell(&self.path, kept());
        }
        for (at, value) in elements.into_iter().enumerate() {
            self.step(&at.to_string(), |walk| match &value {
                Value::Array(_) => walk.array(&value, depth + 1, tell),
                Value::Json(text) => walk.json(text, depth + 1, tell),
                _ => tell(&walk.path, Leaf::Value(value.clone().into_owned())),
            });
        }
    }

    fn empty(&self, becomes: Empty, kept: Leaf, tell: &mut impl FnMut(&str, Leaf)) {
        match becomes {
            Empty::Preserve => tell(&self.path, kept),
            Empty::Drop => {}
            Empty::Null => tell(&self.path, Leaf::Value(Value::Null)),
        }
    }

    fn step(&mut self, name: &str, go: impl FnOnce(&mut Self)) {
        let end = self.path.len();
        self.path.push_str(&self.config.separator);
        self.path.push_str(name);
        go(self);
        self.path.truncate(end);
    }
}
