//! What every failure says about what to do next.

use serde_json::Value;

use crate::suggest::near;

/// What the pipeline does after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again, with growing pauses.
    Retry,
    /// Stop and show the error; retried all the same, slowly, in case somebody mends it outside.
    Operator,
    /// Stop until somebody resumes it: another one does its work, and trying again would stop that one.
    Stop,
}

/// A problem in a block of configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where, relative to the block: `rotate.max_bytes`; empty: the block itself.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Line and column, from 1, inside the text at the path: a script's.
    pub place: Option<(u32, u32)>,
    /// Whether the key at the path is wrong, and not its value.
    pub is_of_key: bool,
}

impl ConfigError {
    /// A problem at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), place: None, is_of_key: false }
    }

    /// What a plugin says of the configuration that stands at `block`. It is a problem at the path that the text begins
    /// with (`columns[0].length: …`, `` `columns.length` … ``), or at the only key with the name of an `unknown field`;
    /// one that names no place in `config` is a problem of the block. Of a word that it does not know among those it does it
    /// says which one was meant.
    pub fn told(block: &str, config: &Value, text: &str) -> Self {
        let text = &with_meant(text);
        let below = |path: &str| if block.is_empty() { path.to_owned() } else { format!("{block}.{path}") };
        if let Some((path, problem)) = text.split_once(": ")
            && begins_in(config, path)
        {
            let told = Self::new(below(path), problem);
            return if problem.starts_with(UNKNOWN_FIELD) { told.of_key() } else { told };
        }
        if let Some((path, _)) = text.strip_prefix('`').and_then(|text| text.split_once('`'))
            && begins_in(config, path)
        {
            return Self::new(below(path), text);
        }
        if let Some((_, named)) = text.split_once(UNKNOWN_FIELD)
            && let Some((name, _)) = named.split_once('`')
        {
            let mut places = Vec::new();
            keys_named(config, name, "", &mut places);
            if let [path] = places.as_slice() {
                return Self::new(below(path), text).of_key();
            }
        }
        Self::new(block, text)
    }

    /// The key is wrong, and not its value.
    #[must_use]
    pub fn of_key(mut self) -> Self {
        self.is_of_key = true;
        self
    }

    /// Points into the text at the path, by line and column from 1.
    #[must_use]
    pub fn at_line(mut self, line: u32, column: u32) -> Self {
        self.place = Some((line.max(1), column.max(1)));
        self
    }
}

/// Reads a typed configuration block.
///
/// # Errors
///
/// The first thing that does not fit the type.
pub fn parse<T: serde::de::DeserializeOwned>(config: &Value) -> Result<T, Vec<ConfigError>> {
    T::deserialize(config).map_err(|error| vec![ConfigError::new("", error.to_string())])
}

/// What `serde` says of a key and of a word that a type does not have, and before those that it has.
const UNKNOWN_FIELD: &str = "unknown field `";
const UNKNOWN_VARIANT: &str = "unknown variant `";
const EXPECTED: &str = "`, expected ";

/// A text, with the word that was most likely meant by one that it does not know.
fn with_meant(text: &str) -> String {
    let meant = || {
        let (_, rest) = text.split_once(UNKNOWN_VARIANT).or_else(|| text.split_once(UNKNOWN_FIELD))?;
        let (word, known) = rest.split_once(EXPECTED)?;
        near(word, known.split('`').skip(1).step_by(2))
    };
    match meant() {
        Some(near) => format!("{text}; did you mean `{near}`?"),
        None => text.to_owned(),
    }
}

/// Whether a path (`columns[0].name`) leads into `config`; not all of it need be there.
fn begins_in(config: &Value, path: &str) -> bool {
    let leads = |key: &String| {
        path.strip_prefix(key.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    !path.contains(char::is_whitespace) && config.as_object().is_some_and(|members| members.keys().any(leads))
}

/// Adds the paths of all members of that name.
fn keys_named(value: &Value, name: &str, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                keys_named(member, name, &path, found);
                if key == name {
                    found.push(path);
                }
            }
        }
        Value::Array(items) => {
            for (nth, item) in items.iter().enumerate() {
                keys_named(item, name, &format!("{at}[{nth}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
