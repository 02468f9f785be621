//! The options, as pipelines write them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How outbox events become events of the domain. Everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Tables, or prefixes of log messages, whose outbox events are meant: `shop.orders_outbox`, `*.outbox`,
    /// `outbox`. Empty: every outbox event.
    pub tables: Vec<String>,
    /// Where events go: `${aggregate_type}.${event_type}`, with columns of the outbox as they are named there.
    pub topic: Option<String>,
    /// Where an event goes that lacks a column of `topic` and has no topic of its own.
    pub default_topic: Option<String>,
    /// The message key, with columns as in `topic`. Left out, or a column is missing: the aggregate's id.
    pub key: Option<String>,
    /// Which columns hold what.
    pub columns: Columns,
    /// More headers: the header's name, and the column that holds its value.
    pub additional_headers: BTreeMap<String, String>,
    /// Delivers the payload as it is, without an envelope around it.
    pub raw_payload: bool,
    /// Rejects events that lack a topic, a payload, or the aggregate's type, its id or the event's type.
    pub strict: bool,
}

/// Columns of an outbox table, or members of a log message.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// The event's content, a JSON object.
    pub payload: String,
    /// What kind of thing the event is about.
    pub aggregate_type: String,
    /// Which one; the message key unless `key` says otherwise.
    pub aggregate_id: String,
    /// What happened.
    pub event_type: String,
    /// Where this event goes, where `topic` does not say.
    pub topic: String,
    /// The event's own id.
    pub event_id: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            payload: "payload".to_owned(),
            aggregate_type: "aggregate_type".to_owned(),
            aggregate_id: "aggregate_id".to_owned(),
            event_type: "event_type".to_owned(),
            topic: "topic".to_owned(),
            event_id: "id".to_owned(),
        }
    }
}
