//! What a schema takes to check.

use std::borrow::Cow;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// Blocks of a schema, with those that it refers to counted at each reference.
const MAX_BLOCKS: usize = 10_000;
/// Blocks inside each other, with those that they refer to: each is a call on the stack.
const MAX_DEPTH: usize = 100;
/// As many that look at a value for long.
const MAX_DEAR: usize = 256;
/// Bytes of a pattern, as it is written: what comes of it before its size is known is a thousand times as much.
const MAX_PATTERN: usize = 1_024;
/// References that have other ways to say where they lead.
const OTHER_REFERENCES: [&str; 4] = ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor"];
/// What looks at all that stands beside it again, some times.
const UNEVALUATED: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
const TIMES: usize = 4;
/// What stands in these is data.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// What stands in these are names, and what a schema says of each.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];
/// Drafts whose `$id` is called otherwise.
const OLD_DRAFTS: &str = "draft-04";

/// How much of a schema looks at a value at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effort {
    /// All of its values.
    pub blocks: usize,
    /// Those of them that take long: a pattern, and `multipleOf`, which is exact whatever the numbers are.
    pub dear: usize,
}

impl Effort {
    /// What a schema takes.
    ///
    /// # Errors
    ///
    /// When it is too much, or endless, or cannot be told.
    pub fn of(schema: &Value) -> Result<Self, String> {
        Counting { schema, known: HashMap::new(), depth: 0 }.schema(schema, true)
    }

    fn add(&mut self, other: Self) -> Result<(), String> {
        self.blocks += other.blocks;
        self.dear += other.dear;
        if self.blocks > MAX_BLOCKS {
            return Err(format!("it comes to more than {MAX_BLOCKS} blocks, with those that it refers to"));
        }
        if self.dear > MAX_DEAR {
            return Err(format!(
                "it comes to more than {MAX_DEAR} patterns and multipleOf, with those that it refers to"
            ));
        }
        Ok(())
    }
}

const ONE: Effort = Effort { blocks: 1, dear: 0 };
const NOTHING: Effort = Effort { blocks: 0, dear: 0 };

struct Counting<'a> {
    schema: &'a Value,
    /// What references lead to; `None`: it is being counted.
    known: HashMap<&'a str, Option<Effort>>,
    /// How many blocks it stands in.
    depth: usize,
}

impl<'a> Counting<'a> {
    /// A value that is a schema, or a list of them, or something that is neither.
    fn schema(&mut self, value: &'a Value, is_root: bool) -> Result<Effort, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!(
                "more than {MAX_DEPTH} blocks of it are inside each other, with those that it refers to"
            ));
        }
        let mut effort = ONE;
        match value {
            Value::Object(fields) => self.keywords(fields, is_root, &mut effort)?,
            Value::Array(items) => {
                for item in items {
                    effort.add(self.schema(item, false)?)?;
                }
            }
            _ => {}
        }
        self.depth -= 1;
        Ok(effort)
    }

    fn keywords(
        &mut self,
        fields: &'a Map<String, Value>,
        is_root: bool,
        effort: &mut Effort,
    ) -> Result<(), String> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        if let Some(name) = OTHER_REFERENCES.into_iter().find(|name| text(name).is_some()) {
            return Err(format!("it says `{name}`; what it refers to is written as `$ref`"));
        }
        // Pointers below it would begin there, or mean something else.
        if let Some(name) = ["$id", "$schema"].into_iter().find(|name| !is_root && text(name).is_some()) {
            return Err(format!("it says `{name}` below its beginning"));
        }
        if text("$schema").is_some_and(|draft| draft.contains(OLD_DRAFTS)) {
            return Err(format!("it is of JSON Schema {OLD_DRAFTS}; write it for 2020-12"));
        }
        for (name, value) in fields {
            effort.add(match (name.as_str(), value) {
                ("$ref", Value::String(reference)) => self.referred(reference)?,
                ("pattern", Value::String(pattern)) => {
                    bound(pattern)?;
                    Effort { dear: 1, ..ONE }
                }
                ("multipleOf", Value::Number(_)) => Effort { dear: 1, ..ONE },
                (data, value) if DATA.contains(&data) => self.data(value)?,
                (named, Value::Object(schemas)) if NAMED.contains(&named) => {
                    self.named(schemas, named == "patternProperties")?
                }
                (_, value) => self.schema(value, false)?,
            })?;
        }
        if UNEVALUATED.into_iter().any(|name| fields.contains_key(name)) {
            let again = *effort;
            for _ in 1..TIMES {
                effort.add(again)?;
            }
        }
        Ok(())
    }

    /// Schemas with names, which may be patterns.
    fn named(&mut self, schemas: &'a Map<String, Value>, are_patterns: bool) -> Result<Effort, String> {
        let mut effort = ONE;
        for (name, schema) in schemas {
            effort.add(self.schema(schema, false)?)?;
            if are_patterns {
                bound(name)?;
                effort.add(Effort { dear: 1, ..NOTHING })?;
            }
        }
        Ok(effort)
    }

    fn data(&self, value: &Value) -> Result<Effort, String> {
        let mut effort = ONE;
        match value {
            Value::Object(fields) => {
                for value in fields.values() {
                    effort.add(self.data(value)?)?;
                }
            }
            Value::Array(items) => {
                for item in items {
                    effort.add(self.data(item)?)?;
                }
            }
            _ => {}
        }
        Ok(effort)
    }

    fn referred(&mut self, reference: &'a str) -> Result<Effort, String> {
        match self.known.get(reference) {
            Some(Some(effort)) => return Ok(*effort),
            Some(None) => {
                return Err(format!(
                    "{reference} refers to itself; say nothing of what is so deep, and look at it in `open`"
                ));
            }
            None => {}
        }
        let target = pointer(reference).and_then(|pointer| self.schema.pointer(&pointer));
        let target = target.ok_or_else(|| format!("there is no {reference} in it"))?;
        self.known.insert(reference, None);
        let effort = self.schema(target, false)?;
        self.known.insert(reference, Some(effort));
        Ok(effort)
    }
}

fn bound(pattern: &str) -> Result<(), String> {
    match pattern.len() {
        0..=MAX_PATTERN => Ok(()),
        bytes => Err(format!("it has a pattern of {bytes} bytes, and one may have {MAX_PATTERN}")),
    }
}

/// The pointer into the schema itself that a reference is, as it is read by what follows it.
fn pointer(reference: &str) -> Option<Cow<'_, str>> {
    let pointer = percent_decode_str(reference.strip_prefix('#')?).decode_utf8().ok()?;
    let is_escaped = |rest: &str| rest.starts_with(['0', '1']);
    let is_one = pointer.is_empty() || pointer.starts_with('/');
    (is_one && pointer.split('~').skip(1).all(is_escaped)).then_some(pointer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_referred_to_counts_at_each_reference() {
        let schema = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "type": "object" }, "b": { "$ref": "#/$defs/a" } } });
        assert_eq!(Effort::of(&schema), Ok(Effort { blocks: 9, dear: 0 }));
        assert_eq!(Effort::of(&json!(true)), Ok(ONE));
        let schema = json!({ "$defs": { "a": { "pattern": "a" } }, "patternProperties": { "^a": { "$ref": "#/$defs/a" } } });
        assert_eq!(Effort::of(&schema).unwrap().dear, 3);
    }

    /// What looks at a value `2^depth` times and more.
    fn unevaluated(depth: usize) -> Value {
        (0..depth).fold(json!(true), |inner, _| json!({ "allOf": [inner], "unevaluatedProperties": false }))
    }

    /// Each refers to the next one.
    fn chain(length: usize) -> Value {
        let link = |at: usize| (at.to_string(), json!({ "$ref": format!("#/$defs/{}", at + 1) }));
        let mut defs: Map<String, Value> = (0..length).map(link).collect();
        defs.insert(length.to_string(), json!(true));
        json!({ "$defs": defs, "$ref": "#/$defs/0" })
    }

    #[test]
    fn what_has_no_end_or_is_too_much_is_refused() {
        for (schema, why) in [
            (json!({ "$ref": "#" }), "refers to itself"),
            (
                json!({ "$ref": "#/$defs/a", "$defs": { "a": { "items": { "$ref": "#/$defs/a" } } } }),
                "refers to itself",
            ),
            (
                json!({ "$ref": "http://example.com/schema.json" }),
                "there is no http://example.com/schema.json in it",
            ),
            (json!({ "$ref": "#name" }), "there is no #name in it"),
            // What follows it decodes it, and does not find what it seems to be.
            (
                json!({ "$defs": { "a": { "$ref": "#/$defs/%61" }, "%61": true }, "$ref": "#/$defs/a" }),
                "refers to itself",
            ),
            (json!({ "$defs": { "~2": true }, "$ref": "#/$defs/~2" }), "there is no #/$defs/~2 in it"),
            (json!({ "$dynamicRef": "#a" }), "$dynamicRef"),
            (json!({ "items": { "$id": "http://example.com/" } }), "$id"),
            (json!({ "items": { "$schema": "http://json-schema.org/draft-04/schema#" } }), "$schema"),
            (json!({ "$schema": "http://json-schema.org/draft-04/schema#" }), "2020-12"),
            (json!({ "allOf": vec![json!({ "type": "string" }); 5_000] }), "more than 10000 blocks"),
            (json!({ "allOf": vec![json!({ "pattern": "a" }); 260] }), "more than 256 patterns"),
            (json!({ "allOf": vec![json!({ "multipleOf": 0.1 }); 260] }), "more than 256 patterns"),
            // What is said of a property is no data, whatever the property is called.
            (json!({ "properties": { "default": { "$ref": "#" } } }), "refers to itself"),
            (unevaluated(7), "more than 10000 blocks"),
            (json!({ "pattern": "a".repeat(2_000) }), "a pattern of 2000 bytes"),
            (json!({ "patternProperties": { "a".repeat(2_000): true } }), "a pattern of 2000 bytes"),
            (chain(20_000), "more than 100 blocks of it are inside each other"),
        ] {
            let problem = Effort::of(&schema).unwrap_err();
            assert!(problem.contains(why), "{problem}");
        }
        assert!(Effort::of(&unevaluated(2)).is_ok());
        // Data and properties may look like schemas.
        assert!(Effort::of(&json!({ "default": { "$ref": "x" }, "enum": [{ "$id": "x" }] })).is_ok());
        assert!(Effort::of(&json!({ "properties": { "$id": { "type": "string" }, "$ref": {} } })).is_ok());
    }
}
