//! Secrets: a text that never shows itself, and documents without theirs.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use percent_encoding::percent_decode_str;
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

/// Whether the name of a URL's query parameter says that its value is secret: words that mean something else in
/// other places count here.
fn sounds_secret_in_query(name: &str) -> bool {
    const WORDS: [&str; 11] = [
        "key",
        "sig",
        "code",
        "auth",
        "credential",
        "credentials",
        "pass",
        "pwd",
        "bearer",
        "jwt",
        "session",
    ];
    sounds_secret(name) || words(name).iter().any(|word| WORDS.contains(&word.as_str()))
}

/// The words of `subscription-key`, `api_key` or `apiKey`, in small letters.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (small && c.is_uppercase()) {
            words.push(String::new());
        }
        small = c.is_lowercase();
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words
}

/// A line of a document with the passwords of URLs and connection strings covered, letter for letter, and what may be one in
/// `user:password@host`, which some write where only a host belongs: rather too much than too little.
pub(crate) fn cover_passwords(text: &str) -> String {
    let stars =
        |text: &str| text.chars().map(|c| if c.is_whitespace() { c } else { '*' }).collect::<String>();
    let covered = with_passwords(text, |found| stars(found.text()));
    let is_login = |at: &usize| {
        let behind = &covered[at + 1..];
        !behind.starts_with("//") && behind.starts_with(|c: char| !c.is_whitespace())
    };
    let colon = covered.match_indices(':').map(|(at, _)| at).find(is_login);
    match (colon, covered.rfind('@')) {
        (Some(colon), Some(at)) if colon < at => {
            format!("{}{}{}", &covered[..=colon], stars(&covered[colon + 1..at]), &covered[at..])
        }
        _ => covered,
    }
}

/// `text` with `***` for the passwords of URLs and connection strings: who logs in, and secrets in queries.
pub fn hide_passwords(text: &str) -> String {
    with_passwords(text, |_| HIDDEN.to_owned())
}

/// The passwords of URLs and connection strings in `text`.
pub(crate) fn passwords(text: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    with_passwords(text, |found| {
        secrets.push(found.text().to_owned());
        if let Found::Login(login) = found {
            // By itself a user's name is a word that other texts may be full of; without a password it is a token.
            let password = |login: &str| match login.split_once(':') {
                Some((user, "")) => user.to_owned(),
                Some((_, password)) => password.to_owned(),
                None => login.to_owned(),
            };
            secrets.push(password(login));
            // A path may hold an `@` as well as a password may.
            let authority = &login[..login.find(['/', '?', '#']).unwrap_or(login.len())];
            secrets.extend(authority.rsplit_once('@').map(|(login, _)| password(login)));
            // As the server has it, which may quote it: decoded, and as the header it comes in.
            let plain = percent_decode_str(login).decode_utf8_lossy();
            secrets.push(password(&plain));
            let pair = if plain.contains(':') { plain.into_owned() } else { format!("{plain}:") };
            secrets.push(BASE64_STANDARD.encode(pair));
        }
        found.text().to_owned()
    });
    secrets
}

/// Whether a password in `text` is `***`, so that the real one is not there.
pub(crate) fn has_hidden_password(text: &str) -> bool {
    let mut hidden = false;
    with_passwords(text, |found| {
        hidden |= match found {
            Found::Login(login) => login.rsplit(':').next() == Some(HIDDEN),
            Found::Value(value) => value == HIDDEN,
        };
        found.text().to_owned()
    });
    hidden
}

/// A secret in a text.
#[derive(Clone, Copy)]
enum Found<'a> {
    /// What stands before the host of a URL: `user:password`, or a token.
    Login(&'a str),
    /// What is assigned to a name.
    Value(&'a str),
}

impl<'a> Found<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Login(text) | Self::Value(text) => text,
        }
    }
}

/// Replaces the logins in `scheme://user:password@host` and what follows `password=` and the like.
fn with_passwords(text: &str, mut cover: impl FnMut(Found<'_>) -> String) -> String {
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(scheme) = rest.find("://") {
        let start = scheme + 3;
        shown.push_str(&rest[..start]);
        rest = &rest[start..];
        let url = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let url = &url[..url.find("://").unwrap_or(url.len())];
        if let Some(at) = login_end(url) {
            shown.push_str(&cover(Found::Login(&url[..at])));
            rest = &rest[at..];
        }
    }
    shown.push_str(rest);
    with_assignments(&shown, &mut cover)
}

/// Where the `@` behind the login stands in a URL without its scheme.
fn login_end(url: &str) -> Option<usize> {
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    // A password may hold an unescaped `/` or `@`: then the last `@` counts.
    let whole = if authority.contains(':') { url } else { authority };
    whole.rfind('@').filter(|at| *at > 0)
}

/// Replaces what follows `password=` and similar words, and in the query of a URL, `key=` and the like.
fn with_assignments(text: &str, cover: &mut impl FnMut(Found<'_>) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(equals) = rest.find('=') {
        let name = |is_part: fn(char) -> bool| {
            let before = rest[..equals].char_indices().rev().find(|(_, c)| !is_part(*c));
            let start = before.map_or(0, |(at, c)| at + c.len_utf8());
            (before.map(|(_, c)| c), &rest[start..equals])
        };
        let (_, own) = name(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
        let (before, in_query) =
            name(|c| !(c.is_whitespace() || matches!(c, '?' | '&' | ';' | '#' | '"' | '\'' | '/')));
        let in_query = matches!(before, Some('?' | '&')).then_some(in_query);
        shown.push_str(&rest[..=equals]);
        rest = &rest[equals + 1..];
        let secret = sounds_secret(own)
            || own.eq_ignore_ascii_case("pwd")
            // A row's value will stand where a template does.
            || in_query.is_some_and(|name| sounds_secret_in_query(name) && !rest.starts_with("${"));
        if secret {
            let quoted = rest.starts_with('\'').then(|| rest[1..].find('\'')).flatten();
            let ends = |c: char| {
                c.is_whitespace() || matches!(c, '&' | ';' | '"') || (c == '#' && in_query.is_some())
            };
            let end = match quoted {
                Some(close) => close + 2,
                None => rest.find(ends).unwrap_or(rest.len()),
            };
            if end > 0 {
                shown.push_str(&cover(Found::Value(&rest[..end])));
            }
            rest = &rest[end..];
        }
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::cover_passwords;

    #[test]
    fn lines_of_documents_are_shown_without_what_stands_before_an_at() {
        for (line, shown) in [
            ("brokers: user:secret@host:9092", "brokers: user:******@host:9092"),
            ("brokers: [\"a:9092\", \"u:s@b:9092\"]", "brokers: [\"a:****** ****@b:9092\"]"),
            ("brokers: a:9092,u:s:t@b:9092", "brokers: a:**********@b:9092"),
            ("brokers: u:s,e@c{r}et@b:9092", "brokers: u:**********@b:9092"),
            ("dsn: mysql://u:1@s/p@host/db", "dsn: mysql://*******@host/db"),
            ("plugin: mask@1.0.0, id: a", "plugin: mask@1.0.0, id: a"),
            ("mail: bob@example.com:25", "mail: bob@example.com:25"),
        ] {
            assert_eq!(cover_passwords(line), shown);
        }
    }
}
