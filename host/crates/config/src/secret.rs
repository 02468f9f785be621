//! Secrets: a text that never shows itself, and documents without theirs.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

mod redact;

/// What stands for a secret in every answer, log and message.
pub const HIDDEN: &str = "***";

/// A text that prints and serialises as `***`; its schema marks the setting as secret, which makes
/// reports and answers hide it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password", "writeOnly": true })
    }
}

/// Whether `schema` marks its value as secret.
pub(crate) fn is_secret(schema: &Value) -> bool {
    schema.get("writeOnly") == Some(&Value::Bool(true))
        || schema.get("format").and_then(Value::as_str) == Some("password")
}

/// Whether `schema` marks its value, or a value in it, as secret.
pub(crate) fn holds_secret(schema: &Value) -> bool {
    is_secret(schema)
        || match schema {
            Value::Object(map) => map.values().any(holds_secret),
            Value::Array(items) => items.iter().any(holds_secret),
            _ => false,
        }
}

/// Whether a key's name says that its value is secret.
pub(crate) fn sounds_secret(key: &str) -> bool {
    const WORDS: [&str; 11] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "apikey",
        "privatekey",
        "accesskey",
        "authorization",
        "cookie",
        "signature",
    ];
    let bare: String = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let is_place = bare.ends_with("file") || bare.ends_with("path") || bare.ends_with("url");
    !is_place && WORDS.iter().any(|word| bare.contains(word))
}

/// Whether a key that no schema knows may hold a secret all the same: it is near to a word for one.
pub(crate) fn may_be_secret(key: &str) -> bool {
    const WORDS: [&str; 19] = [
        "password",
        "passwd",
        "passphrase",
        "pass",
        "pwd",
        "secret",
        "token",
        "api_key",
        "private_key",
        "access_key",
        "key",
        "authorization",
        "auth",
        "bearer",
        "credential",
        "credentials",
        "cookie",
        "salt",
        "headers",
    ];
    sounds_secret(key)
        || key
            .split(['_', '-', '.'])
            .chain([key])
            .any(|part| crate::problem::did_you_mean(part, WORDS).is_some())
}

/// `text` with the passwords of URLs and connection strings covered, letter for letter.
pub(crate) fn cover_passwords(text: &str) -> String {
    with_passwords(text, |password| "*".repeat(password.chars().count()))
}

/// `text` with the passwords of URLs and connection strings replaced by `***`.
pub fn hide_passwords(text: &str) -> String {
    with_passwords(text, |_| HIDDEN.to_owned())
}

/// The passwords of URLs and connection strings in `text`.
pub(crate) fn passwords(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    with_passwords(text, |password| {
        found.push(password.to_owned());
        password.to_owned()
    });
    found
}

/// Whether a password in `text` is `***`, so that the real one is not there.
pub(crate) fn has_hidden_password(text: &str) -> bool {
    let mut hidden = false;
    with_passwords(text, |password| {
        hidden |= password == HIDDEN;
        password.to_owned()
    });
    hidden
}

/// Replaces the passwords in `scheme://user:password@host` and in `password=…` and the like.
fn with_passwords(text: &str, mut cover: impl FnMut(&str) -> String) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(scheme) = rest.find("://") {
        let start = scheme + 3;
        shown.push_str(&rest[..start]);
        rest = &rest[start..];
        let url = &rest[..rest.find(ends).unwrap_or(rest.len())];
        // A password may hold an unescaped `/` or `@`: the last `@` before the next URL counts.
        let url = &url[..url.find("://").unwrap_or(url.len())];
        if let (Some(colon), Some(at)) = (url.find(':'), url.rfind('@'))
            && colon < at
        {
            shown.push_str(&url[..=colon]);
            shown.push_str(&cover(&url[colon + 1..at]));
            rest = &rest[at..];
        }
    }
    shown.push_str(rest);
    with_assignments(&shown, &mut cover)
}

/// Replaces what follows `password=` and similar words.
fn with_assignments(text: &str, cover: &mut impl FnMut(&str) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(equals) = rest.find('=') {
        let name_start = rest[..equals]
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-')))
            .map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
        let name = &rest[name_start..equals];
        shown.push_str(&rest[..=equals]);
        rest = &rest[equals + 1..];
        if sounds_secret(name) || name.eq_ignore_ascii_case("pwd") {
            let quoted = rest.starts_with('\'').then(|| rest[1..].find('\'')).flatten();
            let end = match quoted {
                Some(close) => close + 2,
                None => rest
                    .find(|c: char| c.is_whitespace() || matches!(c, '&' | ';' | '"'))
                    .unwrap_or(rest.len()),
            };
            if end > 0 {
                shown.push_str(&cover(&rest[..end]));
            }
            rest = &rest[end..];
        }
    }
    shown.push_str(rest);
    shown
}
