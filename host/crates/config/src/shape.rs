//! Holds a document against its schema, and says in plain words where it differs.
//!
//! This is not a whole JSON Schema validator: it knows the keywords that settings are described
//! with, picks the one branch of a choice that the author meant, and explains only that. What it
//! leaves unsaid in a connector's block the validator of [`Block`](crate::Block) finds afterwards.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::catalog::{Catalog, REFUSED};
use crate::path::{Path, Step};
use crate::problem::{Code, did_you_mean, listed, quoted};
use crate::problems::Problems;
use crate::secret;
use crate::text::Place;
use crate::yaml::{Kind, Node};

mod bounds;
mod choice;
mod words;

use words::{Type, found_words, type_words};

/// Most `$ref`s that lead from one to the next.
const MAX_REFS: usize = 32;

/// Adds what differs between `node` and the catalog's schema to `problems`.
///
/// A value from the environment becomes text where only text is wanted; the lines of secrets are
/// covered.
pub(crate) fn check(catalog: &Catalog, node: &mut Node, problems: &mut Problems) {
    check_against(catalog, catalog.json_schema(), node, problems);
}

/// As [`check`], against another schema: of a file that is no pipeline.
pub(crate) fn check_against(catalog: &Catalog, root: &Value, node: &mut Node, problems: &mut Problems) {
    let place = node.place;
    cover_named(node, problems);
    Walker { catalog, root, problems, path: Path::default() }.node(node, root, place);
}

struct Walker<'a> {
    catalog: &'a Catalog,
    root: &'a Value,
    problems: &'a mut Problems,
    path: Path,
}

impl<'a> Walker<'a> {
    /// Checks `node`; `at` is where its key stands, for what is missing in it.
    fn node(&mut self, node: &mut Node, schema: &'a Value, at: Place) {
        if node.is_broken() {
            return;
        }
        let Some(map) = schema.as_object() else { return };
        if let Some(target) = self.target(schema) {
            self.node(node, target, at);
        }
        if secret::is_secret(schema) {
            cover(node, self.problems);
        }
        for part in map.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.node(node, part, at);
        }
        if let Some(branches) = map.get("oneOf").or_else(|| map.get("anyOf")).and_then(Value::as_array) {
            self.choice(node, schema, branches, at);
        }
        if !self.typed(node, schema) {
            return;
        }
        if let Some(words) = choice::words(self.root, schema)
            && (map.contains_key("const") || map.contains_key("enum"))
        {
            self.word(node, schema, &words);
        }
        match &node.kind {
            Kind::Scalar(_) => self.scalar_bounds(node, map),
            Kind::List(_) => self.list(node, map),
            Kind::Map(_) => self.map(node, schema, map, at),
            Kind::Broken => {}
        }
    }

    /// What `$ref` names, through any chain of them.
    fn target(&self, schema: &'a Value) -> Option<&'a Value> {
        resolve_ref(self.root, schema)
    }

    /// Checks the type; turns a value from the environment into text where only text is wanted.
    fn typed(&mut self, node: &mut Node, schema: &'a Value) -> bool {
        let wanted = Type::of_schema(schema);
        if wanted.is_empty() || Type::of_node(node).iter().any(|have| wanted.contains(have)) {
            return true;
        }
        if wanted.contains(&Type::Text) && become_text(node) {
            return true;
        }
        self.wrong_type(node, schema, &wanted);
        false
    }

    fn wrong_type(&mut self, node: &Node, schema: &Value, wanted: &[Type]) {
        let hidden = self.hides(node, schema);
        if wanted.contains(&Type::Whole) && words::is_huge(node) {
            let message = "the number is too large for any setting";
            self.problems.add(&self.path, node.place, Code::OutOfRange, message);
            return;
        }
        let message = format!("expected {}, found {}", type_words(wanted), found_words(node, hidden));
        let help = words::type_help(node, wanted, hidden, self.path.last());
        self.problems.add(&self.path, node.place, Code::WrongType, message).maybe(help);
    }

    /// Whether the value must not be quoted.
    fn hides(&self, node: &Node, schema: &Value) -> bool {
        let by_name = matches!(self.path.last(), Some(Step::Key(key)) if secret::sounds_secret(key));
        secret::is_secret(schema) || node.is_expanded() || by_name
    }

    /// Checks that a scalar is one of `known` words.
    fn word(&mut self, node: &Node, schema: &Value, known: &[&str]) {
        if node.text().is_some_and(|text| known.contains(&text)) {
            return;
        }
        // The version and kind of a document are no choice.
        let only = if let [one] = known { Some(*one) } else { None };
        match node.text() {
            Some(text) => {
                let shown = if self.hides(node, schema) { "the value".to_owned() } else { quoted(text) };
                let help = match did_you_mean(text, known.iter().copied()) {
                    Some(near) if only.is_none() => format!("did you mean {}?", quoted(near)),
                    _ if only.is_some() => format!("write {}", listed(known, "or")),
                    _ => format!("one of {}", listed(known, "or")),
                };
                let message = format!("{shown} is not known here");
                self.problems.add(&self.path, node.place, Code::UnknownValue, message).suggest(help);
            }
            None => {
                let hidden = self.hides(node, schema);
                let message =
                    format!("expected {}, found {}", listed(known, "or"), found_words(node, hidden));
                let is_null = matches!(node.scalar(), Some(Value::Null));
                let help = (is_null && known.contains(&"null")).then_some(NULL_WORD);
                self.problems.add(&self.path, node.place, Code::WrongType, message).maybe(help);
            }
        }
    }

    fn list(&mut self, node: &mut Node, schema: &'a Map<String, Value>) {
        self.list_bounds(node, schema);
        let Kind::List(items) = &mut node.kind else { return };
        let Some(item_schema) = schema.get("items") else { return };
        for (at, item) in items.iter_mut().enumerate() {
            let place = item.place;
            self.path.index(at);
            self.node(item, item_schema, place);
            self.path.pop();
        }
    }

    fn map(&mut self, node: &mut Node, whole: &'a Value, schema: &'a Map<String, Value>, at: Place) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let present: HashSet<String> = node.entries().iter().map(|entry| entry.key.clone()).collect();
        let absent: Vec<&str> = properties
            .map(|properties| {
                properties.keys().map(String::as_str).filter(|key| !present.contains(*key)).collect()
            })
            .unwrap_or_default();
        let mut meant: Vec<&str> = Vec::new();
        let Kind::Map(entries) = &mut node.kind else { return };
        for entry in entries {
            self.path.key(&entry.key);
            let property = properties.and_then(|properties| properties.get(&entry.key));
            match (property, schema.get("additionalProperties")) {
                (Some(property), _) => self.node(&mut entry.value, property, entry.place),
                (None, Some(Value::Bool(false))) => {
                    let near = self.unknown_key(&entry.key, entry.place, whole, &absent);
                    meant.extend(near);
                    // What stands at a key that was misspelt, or has no place here, may be a secret.
                    let is_secret = match near.and_then(|near| properties?.get(near)) {
                        Some(meant) => secret::holds_secret(meant),
                        None => secret::may_be_secret(&entry.key),
                    };
                    if is_secret {
                        cover_texts(&entry.value, self.problems);
                    } else {
                        cover_unknown(&entry.value, self.problems);
                    }
                }
                (None, Some(rest @ Value::Object(_))) => self.node(&mut entry.value, rest, entry.place),
                (None, _) => {}
            }
            self.path.pop();
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            if !present.contains(key) && !meant.contains(&key) {
                self.missing_key(key, properties.and_then(|properties| properties.get(key)), at);
            }
        }
    }

    fn missing_key(&mut self, key: &str, schema: Option<&Value>, at: Place) {
        let path = self.path.below(&[key]);
        let description = schema.and_then(|schema| schema.get("description")).and_then(Value::as_str);
        // A block with keys that must be there is described best by these.
        let block = schema.map(|schema| self.target(schema).unwrap_or(schema));
        let required = block.and_then(|block| block.get("required")).and_then(Value::as_array);
        let inner: Vec<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
        let help = if inner.is_empty() {
            description.map(|text| format!("`{key}`: {}", words::first_sentence(text)))
        } else {
            Some(format!("write `{key}: {{ {}: … }}`", inner.join(": …, ")))
        };
        let message = format!("the key {} is missing", quoted(key));
        self.problems.add(&path, at, Code::MissingKey, message).maybe(help);
    }

    /// Reports a key that is not in `known`; the one that was probably meant.
    fn unknown_key(
        &mut self,
        key: &str,
        place: Place,
        schema: &'a Value,
        known: &[&'a str],
    ) -> Option<&'a str> {
        if self.problems.is_full() {
            return None;
        }
        if let Some(reason) = schema.get(REFUSED).and_then(|refused| refused.get(key)).and_then(Value::as_str)
        {
            self.problems
                .add(&self.path, place, Code::NotSupported, reason)
                .suggest(format!("remove {}", quoted(key)));
            return None;
        }
        let inner = self.home_of(key, schema);
        let near = did_you_mean(key, known.iter().copied()).filter(|_| inner.is_none());
        let alike = near.is_none().then(|| self.alike_below(key, schema)).flatten();
        let help = match (inner, near) {
            (Some(block), _) => Some(format!("it belongs under {}", quoted(&format!("{block}:")))),
            (None, Some(near)) => Some(format!("did you mean {}?", quoted(near))),
            (None, None) if alike.is_some() => alike.map(|(block, name)| {
                format!("did you mean {} under {}?", quoted(name), quoted(&format!("{block}:")))
            }),
            (None, None) if known.is_empty() => None,
            (None, None) => {
                const MOST: usize = 12;
                let more = if known.len() > MOST { ", …" } else { "" };
                let keys: Vec<String> = known.iter().take(MOST).map(|key| quoted(key)).collect();
                Some(format!("what may stand here besides: {}{more}", keys.join(", ")))
            }
        };
        let message = format!("unknown key {}", quoted(key));
        self.problems.add(&self.path, place, Code::UnknownKey, message).maybe(help);
        near
    }

    /// What was probably meant in the blocks right below this one: the block, and the key in it. Of a name with dots the
    /// first word is enough.
    fn alike_below(&self, key: &str, schema: &'a Value) -> Option<(&'a str, &'a str)> {
        let properties = schema.get("properties")?.as_object()?;
        properties.iter().find_map(|(block, below)| {
            let below = self.target(below).unwrap_or(below).get("properties")?.as_object()?;
            let names = || below.keys().map(String::as_str);
            let word = |name: &'a str| name.split_once('.').map_or(name, |(word, _)| word);
            let whole = did_you_mean(key, names());
            let name = whole.or_else(|| {
                let first = did_you_mean(key, names().map(word))?;
                names().find(|name| word(name) == first)
            })?;
            Some((block.as_str(), name))
        })
    }

    /// The block right below this one that takes `key`.
    fn home_of(&self, key: &str, schema: &'a Value) -> Option<&'a str> {
        let properties = schema.get("properties")?.as_object()?;
        let takes = |block: &'a Value| {
            let block = self.target(block).unwrap_or(block);
            block.get("properties").is_some_and(|inner| inner.get(key).is_some())
        };
        properties.iter().find(|(_, block)| takes(block)).map(|(name, _)| name.as_str())
    }
}

/// Covers every value in `node`.
fn cover(node: &Node, problems: &mut Problems) {
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| cover(item, problems)),
        Kind::Map(entries) => entries.iter().for_each(|entry| cover(&entry.value, problems)),
        Kind::Scalar(_) | Kind::Broken => problems.lines.cover(node.place),
    }
}

/// Covers every text in `node`.
fn cover_texts(node: &Node, problems: &mut Problems) {
    node.items().iter().for_each(|item| cover_texts(item, problems));
    node.entries().iter().for_each(|entry| cover_texts(&entry.value, problems));
    if node.text().is_some() {
        cover(node, problems);
    }
}

/// Covers what may be a secret below a key that no schema knows.
fn cover_unknown(node: &Node, problems: &mut Problems) {
    node.items().iter().for_each(|item| cover_unknown(item, problems));
    for entry in node.entries() {
        if secret::may_be_secret(&entry.key) {
            cover_texts(&entry.value, problems);
        } else {
            cover_unknown(&entry.value, problems);
        }
    }
}

/// Covers every value whose key says that it is secret, whatever the schema knows of it.
fn cover_named(node: &Node, problems: &mut Problems) {
    node.items().iter().for_each(|item| cover_named(item, problems));
    for entry in node.entries() {
        if secret::sounds_secret(&entry.key) {
            cover(&entry.value, problems);
        } else {
            cover_named(&entry.value, problems);
        }
    }
}

/// How to write the word that YAML takes for nothing.
const NULL_WORD: &str = "write `\"null\"` with its quotes; without them YAML reads it as nothing";

/// Turns a scalar that came from the environment into the text it was.
fn become_text(node: &mut Node) -> bool {
    let Kind::Scalar(scalar) = &mut node.kind else { return false };
    match scalar.text.take() {
        Some(text) if scalar.expanded => {
            scalar.value = Value::String(text);
            true
        }
        text => {
            scalar.text = text;
            false
        }
    }
}

/// What `$ref` in `schema` names, through any chain of them.
pub(crate) fn resolve_ref<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let mut target = None;
    let mut schema = schema;
    for _ in 0..MAX_REFS {
        let Some(pointer) = schema.get("$ref").and_then(Value::as_str) else { break };
        schema = root.pointer(pointer.strip_prefix('#')?)?;
        target = Some(schema);
    }
    target
}
