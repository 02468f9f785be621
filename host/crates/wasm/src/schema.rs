//! A stage's configuration against what its plugin says that it may be.

use deltaforge_engine::error::ConfigError;
use jsonschema::Validator;
use serde_json::Value;

/// Compiles a plugin's schema; `None`: it says nothing.
///
/// # Errors
///
/// When it is no JSON Schema. One that refers to something outside itself is none here.
pub(crate) fn compile(schema: &str) -> Result<Option<Validator>, String> {
    if schema.is_empty() {
        return Ok(None);
    }
    let schema: Value = serde_json::from_str(schema).map_err(|error| format!("it is no JSON: {error}"))?;
    jsonschema::validator_for(&schema).map(Some).map_err(|error| error.to_string())
}

/// Checks a configuration.
///
/// # Errors
///
/// Each place where it does not fit.
pub(crate) fn check(validator: &Validator, config: &Value) -> Result<(), Vec<ConfigError>> {
    let empty = Value::Object(serde_json::Map::new());
    let config = if config.is_null() { &empty } else { config };
    let problems: Vec<ConfigError> = validator
        .iter_errors(config)
        .map(|error| {
            let place = error.instance_path().to_string().replace('/', ".");
            ConfigError::new(format!("config{place}"), error.masked().to_string())
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
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
        let validator = compile(&schema.to_string()).unwrap().unwrap();
        assert_eq!(check(&validator, &json!({ "key": "k" })), Ok(()));
        let problems =
            check(&validator, &json!({ "key": 4711, "deep": [1, "pa55word"], "kye": 1 })).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert!(paths.contains(&"config.key") && paths.contains(&"config.deep.1"), "{problems:?}");
        assert!(problems.iter().any(|problem| problem.message.contains("kye")), "{problems:?}");
        assert!(!format!("{problems:?}").contains("pa55word"), "{problems:?}");
        assert!(check(&validator, &Value::Null).is_err(), "an empty configuration lacks the key");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        assert!(compile("").unwrap().is_none());
        assert!(compile("{").is_err());
        assert!(compile(r#"{"type": "nothing"}"#).is_err());
        assert!(compile(r#"{"$ref": "http://example.com/schema.json"}"#).is_err());
    }
}
