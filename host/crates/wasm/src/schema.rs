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
            _ => vec![ConfigError::new(format!("config{at}"), error.masked().to_string())],
        }
    }

    /// The keys beside which the keyword at `pointer` lets no other be.
    fn properties(&self, pointer: &str) -> Vec<&str> {
        let block = pointer.rsplit_once('/').and_then(|(block, _)| self.text.pointer(block));
        let properties = block.and_then(|block| block.get("properties")).and_then(Value::as_object);
        properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect()
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
    fn what_is_no_schema_is_refused() {
        assert!(compile("").unwrap().is_none());
        assert!(compile("{").is_err());
        assert!(compile(r#"{"type": "nothing"}"#).is_err());
        assert!(compile(r#"{"$ref": "http://example.com/schema.json"}"#).is_err());
    }
}
