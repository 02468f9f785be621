//! What the YAML of the Kafka sink may say.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use deltaforge_engine::error::{ConfigError, parse};
use deltaforge_engine::template::Template;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::Value;

use crate::client_conf;
use crate::properties::PROPERTIES;
use crate::topics::{check_name, check_part};

/// Records in topics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// The brokers to ask first: `host:port`, with commas between.
    pub brokers: String,
    /// The topic. `${source.table}` and the like are replaced by the event's values; an event without such a value cannot
    /// be routed.
    pub topic: String,
    /// The key of the records, a template too; without it, the table's key columns as JSON. A value of the row that a
    /// delete does not have after it is the one before it; an event without such a value cannot be routed.
    #[serde(default)]
    pub key: Option<String>,
    /// Whether each event is in its topic once, for consumers with `isolation.level=read_committed`: by transactions, which hold
    /// where the sink stands too, in the topic `deltaforge-checkpoints`.
    #[serde(default)]
    pub exactly_once: bool,
    /// Whether a record with the key alone follows each delete, so that a compacted topic forgets the row.
    #[serde(default)]
    pub tombstones: bool,
    /// Longest time without any acknowledgement while records wait for one, in seconds. Then a new producer sends them
    /// again. At most 60 with `exactly_once`.
    #[serde(default = "send_timeout")]
    pub send_timeout_secs: NonZeroU64,
    /// Makes topics that are not there. Without it that is up to the brokers (`auto.create.topics.enable`).
    #[serde(default)]
    pub create_topics: Option<CreateTopics>,
    /// Settings of librdkafka, which win over the sink's own.
    #[serde(default)]
    #[schemars(with = "ClientConfSchema")]
    pub client_conf: BTreeMap<String, ConfValue>,
}

/// What topics are made with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTopics {
    /// How many partitions; without it, as the brokers say.
    #[serde(default)]
    pub partitions: Option<NonZeroU32>,
    /// How many brokers keep each; without it, as the brokers say.
    #[serde(default)]
    pub replication_factor: Option<NonZeroU16>,
    /// Settings of the topics: `cleanup.policy: compact`.
    #[serde(default)]
    pub config: BTreeMap<String, ConfValue>,
}

/// A value in `client_conf`, which may be a credential: it is never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ConfValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Flag(bool),
}

impl ConfValue {
    /// As librdkafka reads it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
        }
    }
}

impl fmt::Debug for ConfValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl JsonSchema for ConfValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ConfValue".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer", "boolean"] })
    }
}

/// `client_conf`: anything, with the known names, by which one that stands elsewhere is told its place, and the credentials
/// marked.
struct ClientConfSchema;

impl JsonSchema for ClientConfSchema {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClientConf".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let secret = serde_json::json!({ "type": "string", "format": "password", "writeOnly": true });
        let any = serde_json::json!({ "type": ["string", "integer", "boolean"] });
        // Misspelt, or of another client: it may be one all the same.
        let unknown = serde_json::json!({ "type": ["string", "integer", "boolean"], "writeOnly": true });
        let secrets = client_conf::SECRETS.map(|key| (key.to_owned(), secret.clone()));
        let others = PROPERTIES.map(|key| (key.to_owned(), any.clone()));
        // Credentials are properties too.
        let properties = others.into_iter().chain(secrets).collect();
        json_schema!({
            "type": "object",
            "properties": Value::Object(properties),
            "additionalProperties": unknown,
        })
    }
}

const fn send_timeout() -> NonZeroU64 {
    NonZeroU64::new(30).expect("a default is not 0")
}

impl KafkaConfig {
    /// Reads and checks a block.
    pub(crate) fn read(config: &Value) -> Result<Self, Vec<ConfigError>> {
        let config: Self = parse(config)?;
        let mut problems = Vec::new();
        let mut wrong = |path: &str, message: String| problems.push(ConfigError::new(path, message));
        if let Some(bad) = config.brokers.split(',').map(str::trim).find(|broker| !is_broker(broker)) {
            let what = match bad {
                "" => "an empty one".to_owned(),
                // What stands before it is a secret. Who logs in is said in `client_conf`.
                login if login.contains('@') => {
                    "one with a login (`sasl.username` and `sasl.password` in `client_conf`)".to_owned()
                }
                bad => format!("`{bad}`"),
            };
            wrong("brokers", format!("has {what}; write `host:port`, with commas between"));
        }
        match Template::parse(&config.topic) {
            Err(error) => wrong("topic", error.to_string()),
            Ok(template) => {
                let checked = match template.constant() {
                    Some(name) => check_name(name),
                    // What the events put in between is known when they come.
                    None => template.literals().try_for_each(check_part),
                };
                if let Err(message) = checked {
                    wrong("topic", message.to_owned());
                }
            }
        }
        if let Some(Err(error)) = config.key.as_deref().map(Template::parse) {
            wrong("key", error.to_string());
        }
        if let Some(message) =
            client_conf::check_patience(config.send_timeout_secs.get(), config.exactly_once)
        {
            wrong("send_timeout_secs", message);
        }
        problems.extend(client_conf::check(&config.client_conf, config.exactly_once));
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

/// Whether it is `host`, `host:port` or `protocol://host:port`.
fn is_broker(text: &str) -> bool {
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') || host.starts_with('[') => (host, Some(port)),
        _ => (address, None),
    };
    !host.is_empty()
        && !address.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@' | '$'))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        for good in ["kafka", "kafka:9092", "10.0.0.1:9092", "[::1]:9092", "SASL_SSL://kafka:9093"] {
            assert!(is_broker(good), "{good}");
        }
        for bad in ["", ":9092", "kafka:", "kafka:0", "kafka:90920", "a b:1", "kafka:9092/x", "${BROKERS}"] {
            assert!(!is_broker(bad), "{bad}");
        }
    }
}
