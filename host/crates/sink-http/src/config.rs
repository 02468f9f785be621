//! What the YAML of the HTTP sink may say.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use deltaforge_engine::error::{ConfigError, parse};
use deltaforge_engine::template::Template;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use crate::request::Target;

/// Headers that belong to the connection and not to whoever sends a message.
const RESERVED: [&str; 8] =
    ["connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Requests to a URL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to. `${source.table}` and the like are replaced by the event's values; an event without such a
    /// value cannot be routed.
    pub url: String,
    /// How.
    #[serde(default)]
    pub method: Method,
    /// Headers of every request. They win over headers that a processor gives an event.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// Whether the events of a batch go together as a JSON array, one for each URL.
    #[serde(default)]
    pub batch_mode: bool,
    /// Longest time for a request with one event, in seconds.
    #[serde(default = "send_timeout")]
    pub send_timeout_secs: NonZeroU64,
    /// Longest time for a request with a batch, in seconds; without `batch_mode`, for one event with all its
    /// tries.
    #[serde(default = "batch_timeout")]
    pub batch_timeout_secs: NonZeroU64,
    /// Longest time for a connection to come about, in seconds.
    #[serde(default = "connect_timeout")]
    pub connect_timeout_secs: NonZeroU64,
}

/// The method of the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

/// The value of a header, which is most often a credential: it is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct HeaderText(String);

impl HeaderText {
    /// The value itself, for the requests.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl JsonSchema for HeaderText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HeaderText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password", "writeOnly": true })
    }
}

const fn seconds(seconds: u64) -> NonZeroU64 {
    NonZeroU64::new(seconds).expect("a default is not 0")
}

const fn send_timeout() -> NonZeroU64 {
    seconds(10)
}

const fn batch_timeout() -> NonZeroU64 {
    seconds(30)
}

const fn connect_timeout() -> NonZeroU64 {
    seconds(5)
}

impl HttpConfig {
    /// Reads and checks a block.
    pub(crate) fn read(config: &Value) -> Result<Self, Vec<ConfigError>> {
        let config: Self = parse(config)?;
        let mut problems = Vec::new();
        if let Err(message) = config.target() {
            problems.push(ConfigError::new("url", message));
        }
        for (name, value) in &config.headers {
            if let Err(message) = header(name, value.reveal()) {
                problems.push(ConfigError::new(format!("headers.{name}"), message));
            }
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Where requests go.
    pub(crate) fn target(&self) -> Result<Target, String> {
        let template = Template::parse(&self.url).map_err(|error| error.to_string())?;
        Target::new(&self.url, template.constant().is_some())
    }

    /// The headers of every request.
    pub(crate) fn header_map(&self) -> Result<HeaderMap, String> {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let (key, mut text) =
                header(name, value.reveal()).map_err(|message| format!("headers.{name}: {message}"))?;
            text.set_sensitive(true);
            map.insert(key, text);
        }
        Ok(map)
    }

    pub(crate) fn send_timeout(&self) -> Duration {
        Duration::from_secs(self.send_timeout_secs.get())
    }

    pub(crate) fn batch_timeout(&self) -> Duration {
        Duration::from_secs(self.batch_timeout_secs.get())
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_secs.get())
    }
}

/// A header that a message may carry. The reason why not does not quote the value.
pub(crate) fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::try_from(name).map_err(|_| "is no name that a header can have")?;
    if RESERVED.contains(&name.as_str()) {
        return Err("belongs to the connection and cannot be set");
    }
    let value = HeaderValue::try_from(value).map_err(|_| "has a value that a header cannot have")?;
    Ok((name, value))
}
