//! The settings of one connector, processor or envelope.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use jsonschema::Validator;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Limits, Scrutiny};

type Check = Arc<dyn Fn(&Value, &Scrutiny<'_>) -> Vec<Finding> + Send + Sync>;
type Reads = Arc<dyn Fn(&Value) -> Vec<PathBuf> + Send + Sync>;

/// The settings that one connector, processor or envelope takes, and how they are checked.
#[derive(Clone)]
pub struct Block {
    pub(crate) schema: Value,
    checks: Vec<Check>,
    pub(crate) nested: bool,
    pub(crate) limits: Option<Limits>,
    pub(crate) own_file: Option<&'static str>,
    pub(crate) needs_source: Option<&'static str>,
    reads_files: Option<Reads>,
    validator: Arc<OnceLock<Option<Validator>>>,
}

/// Something wrong in a block, found by the part that the block configures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub(crate) pointer: String,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
    pub(crate) inside: Option<(u32, u32)>,
    pub(crate) is_of_key: bool,
}

impl Finding {
    /// A finding below the block: at a JSON pointer (`/rotate/max_bytes`) or at keys with dots
    /// (`rotate.max_bytes`, `tables[0]`), which may have dots in them themselves; empty for the block itself. The message
    /// must not quote secrets.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let (pointer, message) = (pointer.into(), message.into());
        Self { pointer, message, suggestion: None, inside: None, is_of_key: false }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Points at the key that the pointer names, and not at its value.
    #[must_use]
    pub fn of_key(mut self) -> Self {
        self.is_of_key = true;
        self
    }

    /// Points at a line and column, from 1, inside the text that the pointer names (a script).
    #[must_use]
    pub fn at_line(mut self, line: u32, column: u32) -> Self {
        self.inside = Some((line.max(1), column.max(1)));
        self
    }
}

impl Block {
    /// Settings of type `T`: what its schema says is checked, and that it can be deserialised.
    pub fn of<T: DeserializeOwned + JsonSchema>() -> Self {
        Self::from_schema(schemars::schema_for!(T)).check(|config| match decode::<T>(config) {
            Ok(_) => Vec::new(),
            Err(finding) => vec![finding],
        })
    }

    /// Settings that `schema`, which describes an object, allows.
    pub fn from_schema(schema: Schema) -> Self {
        Self {
            schema: schema.to_value(),
            checks: Vec::new(),
            nested: false,
            limits: None,
            own_file: None,
            needs_source: None,
            reads_files: None,
            validator: Arc::default(),
        }
    }

    /// No settings.
    pub fn empty() -> Self {
        let mut schema = Schema::default();
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("additionalProperties".to_owned(), json!(false));
        Self::from_schema(schema)
    }

    /// Adds a check of settings that fit the schema; it gets them without the keys that this crate
    /// types itself.
    #[must_use]
    pub fn check(self, check: impl Fn(&Value) -> Vec<Finding> + Send + Sync + 'static) -> Self {
        self.check_with(move |config, _| check(config))
    }

    /// Adds a check that also looks at what stands around the settings, or may run what they bring: it is told for whom,
    /// and asks whether it may. Its findings about what stands around point below the block as well: `limits.mem_mb`.
    #[must_use]
    pub fn check_with(
        mut self,
        check: impl Fn(&Value, &Scrutiny<'_>) -> Vec<Finding> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push(Arc::new(check));
        self
    }

    /// Adds a check of the settings as a `T`.
    #[must_use]
    pub fn check_as<T: DeserializeOwned>(
        self,
        check: impl Fn(&T) -> Vec<Finding> + Send + Sync + 'static,
    ) -> Self {
        // A value that is no `T` is the finding of `Block::of`.
        self.check(move |config| decode::<T>(config).map_or_else(|_| Vec::new(), |config| check(&config)))
    }

    /// For a processor whose own settings stand under `config:` instead of beside `type:`.
    #[must_use]
    pub fn nested(mut self) -> Self {
        self.nested = true;
        self
    }

    /// For a processor that can enforce `limits:`; `default` holds where a document is silent.
    #[must_use]
    pub fn limits(mut self, default: Limits) -> Self {
        self.limits = Some(default);
        self
    }

    /// For a sink that has the file at the setting `key` for itself, so that no other one may name it.
    #[must_use]
    pub fn own_file(mut self, key: &'static str) -> Self {
        self.own_file = Some(key);
        self
    }

    /// For a processor that has nothing to do unless the source has the setting `key`.
    #[must_use]
    pub fn needs_source(mut self, key: &'static str) -> Self {
        self.needs_source = Some(key);
        self
    }

    /// For a source that reads the files that `files` makes of its settings, so that no sink may write them.
    #[must_use]
    pub fn reads_files(mut self, files: impl Fn(&Value) -> Vec<PathBuf> + Send + Sync + 'static) -> Self {
        self.reads_files = Some(Arc::new(files));
        self
    }

    /// The files that the source reads with `own` settings.
    pub(crate) fn files_read(&self, own: &Value) -> Vec<PathBuf> {
        self.reads_files.as_ref().map(|files| files(own)).unwrap_or_default()
    }

    pub(crate) fn declares(&self, key: &str) -> bool {
        self.schema.get("properties").is_some_and(|properties| properties.get(key).is_some())
    }

    /// The settings that must be there.
    pub(crate) fn required(&self) -> impl Iterator<Item = &str> {
        self.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether all settings may be left out.
    pub(crate) fn is_optional(&self) -> bool {
        self.required().next().is_none()
    }

    /// What the block's part sees of `config`: all but the keys in `common` that it does not declare.
    pub(crate) fn own(&self, config: &Value, common: &[&str]) -> Value {
        let entries = config.as_object().into_iter().flatten();
        let own = entries.filter(|(key, _)| !common.contains(&key.as_str()) || self.declares(key));
        Value::Object(own.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Whether it has more to say than its schema.
    pub(crate) fn has_checks(&self) -> bool {
        !self.checks.is_empty()
    }

    /// Whether `own` settings are what the schema says.
    pub(crate) fn fits(&self, own: &Value) -> bool {
        self.validator().is_none_or(|validator| validator.is_valid(own))
    }

    fn validator(&self) -> Option<&Validator> {
        self.validator.get_or_init(|| jsonschema::validator_for(&self.schema).ok()).as_ref()
    }

    /// What is wrong with `own` settings: first the schema, where it holds more than the words that
    /// this crate checks itself, then the checks.
    pub(crate) fn findings(&self, own: &Value, scrutiny: &Scrutiny<'_>) -> Vec<Finding> {
        let by_schema: Vec<Finding> = self
            .validator()
            .into_iter()
            .flat_map(|validator| validator.iter_errors(own))
            .map(|error| {
                Finding::new(error.instance_path().as_str(), error.masked_with("the value").to_string())
            })
            .collect();
        if !by_schema.is_empty() {
            return by_schema;
        }
        let mut findings = Vec::new();
        for check in &self.checks {
            findings.extend(check(own, scrutiny));
        }
        findings
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("schema", &self.schema).finish_non_exhaustive()
    }
}

fn decode<T: DeserializeOwned>(config: &Value) -> Result<T, Finding> {
    serde_path_to_error::deserialize(config).map_err(|error| {
        let mut pointer = String::new();
        for segment in error.path() {
            let segment = segment.to_string();
            let segment = segment.trim_start_matches('[').trim_end_matches(']');
            pointer.push('/');
            pointer.push_str(&segment.replace('~', "~0").replace('/', "~1"));
        }
        if pointer == "/." {
            pointer.clear();
        }
        Finding::new(pointer, without_value(&error.inner().to_string()))
    })
}

/// What a deserialiser says, without the text that it quotes, which may be secret.
fn without_value(message: &str) -> String {
    const QUOTE: &str = "string \"";
    let Some((before, quoted)) = message.split_once(QUOTE) else { return message.to_owned() };
    let after = quoted.rsplit_once('"').map_or("", |(_, after)| after);
    format!("{before}text{after}")
}
