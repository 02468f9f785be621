//! A stage's configuration against what its plugin says that it may be.

use deltaforge_engine::error::ConfigError;
use deltaforge_engine::suggest::near;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

/// What a plugin says that its configuration may be.
#[derive(Debug)]
pub(crate) struct ConfigSchema {
    text: Value,
    validator: Validator,
}

/// Compiles a plugin's schema; `None`: it says nothing.
///
/// # Errors
///
/// When it is no JSON Schema. One that refers to something outside itself is none here.
pub(crate) fn compile(schema: &str) -> Result<Option<ConfigSchema>, String> {
    if schema.is_empty() {
        return Ok(None);
    }
    let text: Value = serde_json::from_str(schema).map_err(|error| format!("it is no JSON: {error}"))?;
    let validator = jsonschema::validator_for(&text).map_err(|error| error.to_string())?;
    Ok(Some(ConfigSchema { text, validator }))
}

impl ConfigSchema {
    /// Checks a configuration.
    ///
    /// # Errors
    ///
    /// Each place where it does not fit.
    pub(crate) fn check(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        let empty = Value::Object(serde_json::Map::new());
        let config = if config.is_null() { &empty } else { config };
        let problems: Vec<ConfigError> =
            self.validator.iter_errors(config).flat_map(|error| self.problems(&error)).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn problems(&self, error: &ValidationError<'_>) -> Vec<ConfigError> {
        let at = error.instance_path().as_str().replace('/', ".").replace("~1", "/").replace("~0", "~");
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let known = self.properties(error.schema_path().as_str());
                let unknown = |key: &String| {
                    let help = match near(key, known.iter().copied()) {
                        Some(near) => format!("; did you mean `{near}`?"),
                        None => String::new(),
                    };
                    ConfigError::new(format!("config{at}.{key}"), format!("unknown key `{key}`{help}"))
                        .of_key()
                };
                unexpected.iter().map(unknown).collect()
            }
            ValidationErrorKind::Enum { .. }
            | ValidationErrorKind::Constant { .. }
            | ValidationErrorKind::AnyOf { .. }
            | ValidationErrorKind::OneOfNotValid { .. } => {
                let text = match self.words(error.schema_path().as_str()).as_slice() {
                    [] => error.masked().to_string(),
                    words => unknown_word(error.instance(), words),
                };
                vec![ConfigError::new(format!("config{at}"), text)]
            }
            _ => vec![ConfigError::new(format!("config{at}"), error.masked().to_string())],
        }
    }

    /// The words that the keyword at `pointer` allows; none where it allows anything else.
    fn words(&self, pointer: &str) -> Vec<&str> {
        let Some((above, keyword)) = pointer.rsplit_once('/') else { return Vec::new() };
        let block = self.at(above);
        let allowed = block.and_then(|block| block.get(keyword));
        allowed.and_then(|allowed| self.allowed(keyword, allowed)).unwrap_or_default()
    }

    fn allowed<'a>(&'a self, keyword: &str, allowed: &'a Value) -> Option<Vec<&'a str>> {
        if keyword == "const" {
            return allowed.as_str().map(|word| vec![word]);
        }
        let branches = allowed.as_array()?;
        if keyword == "enum" {
            return branches.iter().map(Value::as_str).collect();
        }
        let of = |branch: &'a Value| {
            let (keyword, allowed) =
                ["const", "enum"].iter().find_map(|key| Some((*key, branch.get(key)?)))?;
            self.allowed(keyword, allowed)
        };
        branches.iter().map(of).collect::<Option<Vec<_>>>().map(|words| words.concat())
    }

    /// What a pointer of the validator leads to, which goes through references.
    fn at(&self, pointer: &str) -> Option<&Value> {
        let mut at = &self.text;
        for step in pointer.split('/').skip(1) {
            at = match (step, at) {
                ("$ref", block) => self.text.pointer(block.get("$ref")?.as_str()?.strip_prefix('#')?)?,
                (step, Value::Array(items)) => items.get(step.parse::<usize>().ok()?)?,
                (step, block) => block.get(step.replace("~1", "/").replace("~0", "~"))?,
            };
        }
        Some(at)
    }

    /// The keys beside which the keyword at `pointer` lets no other be.
    fn properties(&self, pointer: &str) -> Vec<&str> {
        let block = pointer.rsplit_once('/').and_then(|(block, _)| self.at(block));
        let properties = block.and_then(|block| block.get("properties")).and_then(Value::as_object);
        properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect()
    }
}

/// What is said of a value that is none of the words that stand to choose, without the value.
fn unknown_word(value: &Value, words: &[&str]) -> String {
    let known: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let text = format!("the value is none of {}", known.join(", "));
    match value.as_str().and_then(|value| near(value, words.iter().copied())) {
        Some(near) => format!("{text}; did you mean `{near}`?"),
        None => text,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_named_without_its_value() {
        let schema = json!({
            "type": "object",
            "required": ["key"],
            "additionalProperties": false,
            "properties": { "key": { "type": "string" }, "deep": { "items": { "type": "integer" } } },
        });
        let schema = compile(&schema.to_string()).unwrap().unwrap();
        assert_eq!(schema.check(&json!({ "key": "k" })), Ok(()));
        let problems = schema.check(&json!({ "key": 4711, "deep": [1, "pa55word"], "kye": 1 })).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert!(paths.contains(&"config.key") && paths.contains(&"config.deep.1"), "{problems:?}");
        let unknown = problems.iter().find(|problem| problem.path == "config.kye").unwrap();
        assert_eq!(unknown.message, "unknown key `kye`; did you mean `key`?");
        assert!(!format!("{problems:?}").contains("pa55word"), "{problems:?}");
        assert!(schema.check(&Value::Null).is_err(), "an empty configuration lacks the key");
    }

    #[test]
    fn a_word_that_is_none_comes_with_those_that_are_and_the_one_that_was_meant() {
        let schema = json!({
            "properties": {
                "one": { "enum": ["redact", "hash"] },
                "other": { "$ref": "#/$defs/action" },
                "many": { "items": { "$ref": "#/$defs/item" } },
                "either": { "anyOf": [{ "const": "a" }, { "type": "integer" }] },
            },
            "$defs": {
                "action": { "oneOf": [{ "const": "redact", "description": "…" }, { "enum": ["hash", "keep"] }] },
                "item": { "additionalProperties": false, "properties": { "length": { "type": "integer" } } },
            },
        });
        let schema = compile(&schema.to_string()).unwrap().unwrap();
        for (config, path, message) in [
            (json!({ "one": "hasch" }), "one", "the value is none of `redact`, `hash`; did you mean `hash`?"),
            (json!({ "one": 5 }), "one", "the value is none of `redact`, `hash`"),
            (
                json!({ "other": "redakt" }),
                "other",
                "the value is none of `redact`, `hash`, `keep`; did you mean `redact`?",
            ),
            (
                json!({ "many": [{}, { "lenght": 1 }] }),
                "many.1.lenght",
                "unknown key `lenght`; did you mean `length`?",
            ),
        ] {
            let problems = schema.check(&config).unwrap_err();
            let found = (problems[0].path.as_str(), problems[0].message.as_str());
            assert_eq!(found, (format!("config.{path}").as_str(), message));
        }
        let either = schema.check(&json!({ "either": "b" })).unwrap_err();
        assert!(!either[0].message.contains("did you mean"), "there is more than words: {either:?}");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        assert!(compile("").unwrap().is_none());
        assert!(compile("{").is_err());
        assert!(compile(r#"{"type": "nothing"}"#).is_err());
        assert!(compile(r#"{"$ref": "http://example.com/schema.json"}"#).is_err());
    }
}
