//! Documents without their secrets, and secrets put back.

use serde_json::Value;

use super::{HIDDEN, has_hidden_password, hide_passwords, is_secret, passwords, sounds_secret};
use crate::catalog::Catalog;
use crate::path::{Path, Step};
use crate::problem::{Code, Report};
use crate::problems::Problems;
use crate::shape::resolve_ref;
use crate::text::Place;

impl Catalog {
    /// `document` with `***` for every secret: settings that their schema marks, settings whose name
    /// says it, and passwords inside URLs and connection strings.
    pub fn redact(&self, document: &Value) -> Value {
        let mut document = document.clone();
        self.visit(&mut document, &mut |_, text, secret| {
            *text = if secret { HIDDEN.to_owned() } else { hide_passwords(text) };
        });
        document
    }

    /// The secrets in `document` that must not appear in any text: what [`Catalog::redact`] hides, but for headers
    /// whose name does not sound secret. `X-Source: shop` is nobody's to see in an answer, and yet `shop` is a word that
    /// other texts are full of.
    pub fn secrets(&self, document: &Value) -> Vec<String> {
        let mut secrets = Vec::new();
        self.visit(&mut document.clone(), &mut |path, text, secret| match secret {
            true if is_plain_header(path) => {}
            // `Bearer TOKEN`: the token by itself is as secret.
            true => secrets.extend(
                text.rsplit_once(' ').map(|(_, last)| last.to_owned()).into_iter().chain([text.clone()]),
            ),
            false => secrets.extend(passwords(text)),
        });
        secrets
    }

    /// `sent` with the secrets of `stored` wherever `sent` has what [`Catalog::redact`] shows for
    /// them. Entries of lists are paired by their `id`, else by their place.
    ///
    /// # Errors
    ///
    /// A report with a [`Code::UnknownSecret`] for each `***` that stands for no stored secret, as
    /// when the rest of a URL was changed with it.
    pub fn restore_secrets(&self, sent: &Value, stored: &Value) -> Result<Value, Report> {
        let mut restored = sent.clone();
        restore(&mut restored, stored, &self.redact(stored));
        let mut problems = Problems::default();
        self.visit(&mut restored, &mut |path, text, secret| {
            if (secret && text == HIDDEN) || has_hidden_password(text) {
                problems
                    .add(
                        path,
                        Place::default(),
                        Code::UnknownSecret,
                        format!("`{HIDDEN}` stands for no stored secret here"),
                    )
                    .suggest("send the secret itself; a changed URL needs its password again");
            }
        });
        match Report::of(problems.finish()) {
            Some(report) => Err(report),
            None => Ok(restored),
        }
    }

    /// Calls `with` for each text of `document` and whether it is a secret as a whole.
    fn visit(&self, document: &mut Value, with: &mut dyn FnMut(&Path, &mut String, bool)) {
        let root = self.json_schema();
        Visitor { root, path: Path::default(), with }.value(document, &[root], false);
    }
}

fn is_plain_header(path: &Path) -> bool {
    match path.steps() {
        [.., Step::Key(parent), Step::Key(name)] if parent == "headers" => {
            let name = name.to_ascii_lowercase();
            !sounds_secret(&name) && !["auth", "key", "session"].iter().any(|word| name.contains(word))
        }
        _ => false,
    }
}

struct Visitor<'a> {
    root: &'a Value,
    path: Path,
    with: &'a mut dyn FnMut(&Path, &mut String, bool),
}

impl<'a> Visitor<'a> {
    /// `schemas` are those that may describe `value`; none when nothing is known about it.
    fn value(&mut self, value: &mut Value, schemas: &[&'a Value], named_secret: bool) {
        let mut all = Vec::new();
        schemas.iter().for_each(|schema| self.flatten(schema, value, &mut all, 0));
        match value {
            Value::String(text) => {
                let secret = named_secret || all.iter().any(|schema| is_secret(schema));
                (self.with)(&self.path, text, secret);
            }
            Value::Array(items) => {
                let inner: Vec<&Value> = all.iter().filter_map(|schema| schema.get("items")).collect();
                for (at, item) in items.iter_mut().enumerate() {
                    self.path.index(at);
                    self.value(item, &inner, named_secret);
                    self.path.pop();
                }
            }
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    let declared: Vec<&Value> =
                        all.iter().filter_map(|schema| schema.get("properties")?.get(key)).collect();
                    let rest = || {
                        let rest = all.iter().filter_map(|schema| schema.get("additionalProperties"));
                        rest.filter(|schema| schema.is_object()).collect::<Vec<&Value>>()
                    };
                    // Where no schema speaks, in a plugin's settings, a `key` is most likely one to keep.
                    let unknown = declared.is_empty();
                    let inner = if unknown { rest() } else { declared };
                    let guess = unknown && matches!(key.as_str(), "key" | "salt" | "pwd");
                    let secret = named_secret || guess || sounds_secret(key);
                    self.path.key(key);
                    self.value(item, &inner, secret);
                    self.path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// `schema` and what it refers to and chooses from, without branches for another `type`.
    fn flatten(&self, schema: &'a Value, value: &Value, all: &mut Vec<&'a Value>, depth: usize) {
        if depth > 16 {
            return;
        }
        if let Some(target) = resolve_ref(self.root, schema) {
            self.flatten(target, value, all, depth + 1);
        }
        all.push(schema);
        for keyword in ["oneOf", "anyOf", "allOf"] {
            for branch in schema.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                let wants = branch.pointer("/properties/type/const");
                if wants.is_none() || value.get("type").is_none() || wants == value.get("type") {
                    self.flatten(branch, value, all, depth + 1);
                }
            }
        }
    }
}

/// Takes texts of `stored` for those of `sent` that are as `shown`.
fn restore(sent: &mut Value, stored: &Value, shown: &Value) {
    match (sent, stored, shown) {
        (Value::String(sent), Value::String(stored), Value::String(shown)) if sent == shown => {
            sent.clone_from(stored);
        }
        (Value::Object(sent), Value::Object(stored), Value::Object(shown)) => {
            for (key, sent) in sent {
                if let (Some(stored), Some(shown)) = (stored.get(key), shown.get(key)) {
                    restore(sent, stored, shown);
                }
            }
        }
        (Value::Array(sent), Value::Array(stored), Value::Array(shown)) => {
            for (at, sent) in sent.iter_mut().enumerate() {
                let partner = match id_of(sent) {
                    Some(id) => stored.iter().position(|stored| id_of(stored) == Some(id)),
                    None => Some(at),
                };
                if let Some((stored, shown)) = partner.and_then(|at| stored.get(at).zip(shown.get(at))) {
                    restore(sent, stored, shown);
                }
            }
        }
        _ => {}
    }
}

fn id_of(item: &Value) -> Option<&str> {
    item.get("id").or_else(|| item.get("config")?.get("id")).and_then(Value::as_str)
}
