//! A stage's configuration against what its plugin says that it may be.
//!
//! That is the plugin's own text, and no limit of a call holds while the host looks at it: so it is one whose checks are few and known
//! beforehand. It has no cycles, comes to a bounded number of blocks with its references followed, and its patterns run in
//! linear time.

mod effort;

use deltaforge_engine::error::ConfigError;
use deltaforge_engine::suggest::near;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;
use tokio::sync::Mutex;

use self::effort::Effort;
use crate::factory::off_thread;

/// What a pattern comes to, each.
const MAX_PATTERN_BYTES: usize = 64 << 10;
/// Bytes of a configuration times blocks of its schema: a tenth of a second's work.
const MAX_EFFORT: usize = 100_000_000;
/// As much of those that take long: a second or so.
const MAX_DEAR_EFFORT: usize = 128 << 10;
/// As much effort, where each problem is told: some hundred bytes for each value and block.
const MAX_TOLD: usize = 500_000;
/// Problems that are told at once.
const MAX_PROBLEMS: usize = 50;

/// Why a configuration and a schema do not go together.
pub(crate) enum Misfit {
    /// The schema is none, or too much.
    Schema(String),
    /// Each place where the configuration is not as it says.
    Config(Vec<ConfigError>),
}

/// One at a time, whether its caller still waits or not, so that they take one core and a hundred megabytes at most.
static TURN: Mutex<()> = Mutex::const_new(());

/// Checks a configuration by a plugin's schema, on a thread that no stream waits for.
///
/// # Errors
///
/// As [`Misfit`] says.
pub(crate) async fn check(schema: &str, config: &Value) -> Result<(), Misfit> {
    if schema.is_empty() {
        return Ok(());
    }
    let (schema, config) = (schema.to_owned(), config.clone());
    let turn = TURN.lock().await;
    off_thread(move || {
        let _turn = turn;
        ConfigSchema::compile(&schema).map_err(Misfit::Schema)?.check(&config).map_err(Misfit::Config)
    })
    .await
}

/// Whether a plugin's schema is one that configurations can be checked by.
///
/// # Errors
///
/// When it is no JSON Schema, or one that takes too much to check. One that refers to something outside itself is none here.
pub(crate) async fn look_at(schema: &str) -> Result<(), String> {
    if schema.is_empty() {
        return Ok(());
    }
    let schema = schema.to_owned();
    let turn = TURN.lock().await;
    off_thread(move || {
        let _turn = turn;
        ConfigSchema::compile(&schema).map(|_| ())
    })
    .await
}

/// What a plugin says that its configuration may be.
#[derive(Debug)]
struct ConfigSchema {
    text: Value,
    validator: Validator,
    /// What it takes to look at a value.
    effort: Effort,
}

impl ConfigSchema {
    fn compile(schema: &str) -> Result<Self, String> {
        let text: Value = serde_json::from_str(schema).map_err(|error| format!("it is no JSON: {error}"))?;
        let effort = Effort::of(&text)?;
        let patterns =
            PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
        // A `format` says what a text is for, and checks nothing, as JSON Schema has it since 2019-09.
        let options = jsonschema::options().with_pattern_options(patterns).should_validate_formats(false);
        let validator = options.build(&text).map_err(|error| error.to_string())?;
        Ok(Self { text, validator, effort })
    }

    fn check(&self, config: &Value) -> Result<(), Vec<ConfigError>> {
        let empty = Value::Object(serde_json::Map::new());
        let config = if config.is_null() { &empty } else { config };
        let bytes = config.to_string().len();
        let Effort { blocks, dear } = self.effort;
        let most = (MAX_EFFORT / blocks).min(MAX_DEAR_EFFORT.checked_div(dear).unwrap_or(usize::MAX));
        if bytes > most {
            let text = format!(
                "it has {bytes} bytes; with the schema of this plugin, of {blocks} blocks and {dear} patterns and multipleOf, it may \
                 have {most}"
            );
            return Err(vec![ConfigError::new("config", text)]);
        }
        if self.validator.is_valid(config) {
            return Ok(());
        }
        if bytes * blocks > MAX_TOLD {
            let text = "it is not as the plugin's schema says, and too large to say where";
            return Err(vec![ConfigError::new("config", text)]);
        }
        let mut problems = Vec::new();
        for problem in self.validator.iter_errors(config).flat_map(|error| self.problems(&error)) {
            if problems.len() < MAX_PROBLEMS && !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        Err(problems)
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
        let schema = ConfigSchema::compile(&schema.to_string()).unwrap();
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
        let schema = ConfigSchema::compile(&schema.to_string()).unwrap();
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
        assert!(ConfigSchema::compile("{").is_err());
        assert!(ConfigSchema::compile(r#"{"type": "nothing"}"#).is_err());
        assert!(ConfigSchema::compile(r#"{"$ref": "http://example.com/schema.json"}"#).is_err());
    }

    #[test]
    fn what_takes_too_long_to_check_is_refused_before_it_is_begun() {
        let doubles = |from: usize| {
            let twice = json!([{ "$ref": format!("#/$defs/d{}", from - 1) }, { "$ref": format!("#/$defs/d{}", from - 1) }]);
            (format!("d{from}"), json!({ "allOf": twice }))
        };
        let mut defs: serde_json::Map<String, Value> = (1..40).map(doubles).collect();
        defs.insert("d0".to_owned(), json!({ "type": "object" }));
        let bomb = json!({ "$defs": defs, "$ref": "#/$defs/d39" });
        assert!(ConfigSchema::compile(&bomb.to_string()).unwrap_err().contains("blocks"));
        // Engines that go back and forth take a minute for it.
        let pattern = json!({ "properties": { "a": { "pattern": "^(a+)+$" } } });
        let schema = ConfigSchema::compile(&pattern.to_string()).unwrap();
        assert!(schema.check(&json!({ "a": format!("{}b", "a".repeat(10_000)) })).is_err());
        // They take time for each byte and each of their states.
        let slow: Vec<Value> =
            (0..60).map(|at| json!({ "not": { "pattern": format!("(?:[ab]?){{300}}[^ab{at}]") } })).collect();
        let schema = ConfigSchema::compile(&json!({ "allOf": slow }).to_string()).unwrap();
        assert!(schema.check(&json!("ab".repeat(20_000))).unwrap_err()[0].message.contains("60 patterns"));
        assert_eq!(schema.check(&json!("ab".repeat(100))), Ok(()));
        assert!(ConfigSchema::compile(r#"{"pattern": "(?=a)b"}"#).is_err(), "it takes such an engine");
        let wide = json!({ "items": { "allOf": vec![json!({ "type": "string" }); 900] } });
        let schema = ConfigSchema::compile(&wide.to_string()).unwrap();
        assert_eq!(schema.check(&json!(vec!["a"; 1_000])), Ok(()));
        assert!(
            schema.check(&json!(vec![1; 10_000])).unwrap_err()[0].message.contains("too large to say where")
        );
        let problems = schema.check(&json!(vec!["a"; 100_000])).unwrap_err();
        assert!(problems[0].message.contains("it may have "), "{problems:?}");
    }
}
