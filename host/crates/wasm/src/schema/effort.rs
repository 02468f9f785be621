//! What a schema takes to check.

use std::borrow::Cow;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// Blocks of a schema, with those that it refers to counted at each reference.
const MAX_BLOCKS: usize = 2_000;
/// References that have other ways to say where they lead.
const OTHER_REFERENCES: [&str; 4] = ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor"];
/// What looks at all that stands beside it again, some times.
const UNEVALUATED: [&str; 2] = ["unevaluatedProperties", "unevaluatedItems"];
const TIMES: usize = 4;
/// What looks at a value for longer counts as.
const DEAR: usize = 60;
/// Drafts whose `$id` is called otherwise.
const OLD_DRAFTS: &str = "draft-04";

/// How many blocks look at a value at most.
///
/// # Errors
///
/// When they are too many, or endless, or cannot be told.
pub(super) fn blocks(schema: &Value) -> Result<usize, String> {
    Counting { schema, known: HashMap::new() }.of(schema, true)
}

struct Counting<'a> {
    schema: &'a Value,
    /// What references lead to; `None`: it is being counted.
    known: HashMap<&'a str, Option<usize>>,
}

impl<'a> Counting<'a> {
    fn of(&mut self, block: &'a Value, is_root: bool) -> Result<usize, String> {
        let mut count = 1;
        let children: Box<dyn Iterator<Item = &'a Value>> = match block {
            Value::Object(fields) => {
                let names = |name: &str| fields.get(name).is_some_and(Value::is_string);
                if let Some(name) = OTHER_REFERENCES.into_iter().find(|name| names(name)) {
                    return Err(format!("it says `{name}`; what it refers to is written as `$ref`"));
                }
                // Pointers below it would begin there, or mean something else.
                if let Some(name) = ["$id", "$schema"].into_iter().find(|name| !is_root && names(name)) {
                    return Err(format!("it says `{name}` below its beginning"));
                }
                if fields
                    .get("$schema")
                    .and_then(Value::as_str)
                    .is_some_and(|draft| draft.contains(OLD_DRAFTS))
                {
                    return Err(format!("it is of JSON Schema {OLD_DRAFTS}; write it for 2020-12"));
                }
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    count += self.referred(reference)?;
                }
                if fields.get("pattern").is_some_and(Value::is_string) {
                    count += DEAR;
                }
                if let Some(Value::Object(patterns)) = fields.get("patternProperties") {
                    count += DEAR * patterns.len();
                }
                // It is exact, whatever the numbers are.
                if fields.get("multipleOf").is_some_and(Value::is_number) {
                    count += DEAR;
                }
                Box::new(fields.values())
            }
            Value::Array(items) => Box::new(items.iter()),
            _ => return Ok(1),
        };
        for child in children {
            count += self.of(child, false)?;
        }
        if UNEVALUATED.into_iter().any(|name| block.get(name).is_some()) {
            count *= TIMES;
        }
        if count > MAX_BLOCKS {
            return Err(format!("it comes to more than {MAX_BLOCKS} blocks, with those that it refers to"));
        }
        Ok(count)
    }

    fn referred(&mut self, reference: &'a str) -> Result<usize, String> {
        match self.known.get(reference) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => return Err(format!("{reference} refers to itself")),
            None => {}
        }
        let target = pointer(reference).and_then(|pointer| self.schema.pointer(&pointer));
        let target = target.ok_or_else(|| format!("there is no {reference} in it"))?;
        self.known.insert(reference, None);
        let count = self.of(target, false)?;
        self.known.insert(reference, Some(count));
        Ok(count)
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
        assert_eq!(blocks(&schema), Ok(11));
        assert_eq!(blocks(&json!(true)), Ok(1));
    }

    /// What looks at a value `2^depth` times and more.
    fn unevaluated(depth: usize) -> Value {
        (0..depth).fold(json!(true), |inner, _| json!({ "allOf": [inner], "unevaluatedProperties": false }))
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
            (json!({ "allOf": vec![json!({ "type": "string" }); 1_000] }), "more than 2000 blocks"),
            (json!({ "allOf": vec![json!({ "pattern": "a" }); 40] }), "more than 2000 blocks"),
            (json!({ "allOf": vec![json!({ "multipleOf": 0.1 }); 40] }), "more than 2000 blocks"),
            (unevaluated(5), "more than 2000 blocks"),
        ] {
            let problem = blocks(&schema).unwrap_err();
            assert!(problem.contains(why), "{problem}");
        }
        assert!(blocks(&unevaluated(2)).is_ok());
        // A property may be called so.
        assert!(blocks(&json!({ "properties": { "$id": { "type": "string" }, "$ref": {} } })).is_ok());
    }
}
