//! Makes events of the domain out of rows that an application wrote into its outbox.
//!
//! The source tags what it takes from an outbox with [`OUTBOX`]; everything else passes untouched. The payload becomes
//! the event's `after`; where it goes, its key and headers come from the other columns. With `raw_payload` the event
//! is tagged [`RAW`]: its message is `after` alone, whatever the envelope.
//!
//! Only what was inserted counts: updates and deletes of an outbox are housekeeping and dropped. An event without a
//! payload, or with one that is no JSON object, is dropped with a warning, or with `strict` rejected. What is dropped
//! is counted by its reason.

use std::borrow::Cow;
use std::collections::BTreeMap;

use deltaforge_plugin_kit::{Scope, Template, members, value_of};
use deltaforge_sdk::{
    Batch, Failure, Image, Manifest, Op, Processor, Route, RowView, Table, Value, log, metrics,
};

mod config;
mod fields;
#[cfg(test)]
mod tests;

pub use config::{Columns, Config};
use fields::{Fields, Wanted};

/// The tag that a source puts on events from an outbox. Tags that begin with two underscores are marks inside of the
/// host: no message shows them.
pub const OUTBOX: &str = "__outbox";
/// The tag of an event whose message is its `after` alone.
pub const RAW: &str = "__raw";
/// The header that says where an event came from. Events that have it are done: another outbox stage leaves them.
const SOURCE_KIND: &str = "df-source-kind";

/// The header of an insert that is the second half of an update that changed the row's key.
const OLD_KEY: &str = "__debezium.oldkey";

/// Routes the events of an outbox.
pub struct Outbox {
    scope: Scope,
    topic: Option<Template>,
    key: Option<Template>,
    config: Config,
    wanted: Wanted,
}

/// What becomes of an outbox event.
enum Fate {
    /// It goes on as this.
    Goes { after: Option<Vec<(String, Value<'static>)>>, route: Route },
    /// It is dropped for this reason.
    Dropped(&'static str),
    /// It is rejected for this one.
    Rejected(String),
}

impl Processor for Outbox {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("outbox", env!("CARGO_PKG_VERSION"), "routes the events of a transactional outbox")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        let template = |text: &Option<String>, option: &str| {
            let template = text.as_deref().map(Template::parse).transpose();
            template.map_err(|problem| Failure::fatal(format!("{option}: the template {problem}")))
        };
        let (topic, key) = (template(&config.topic, "topic")?, template(&config.key, "key")?);
        if config.default_topic.as_deref() == Some("") {
            return Err(Failure::fatal("default_topic: is empty"));
        }
        if let Some((header, _)) =
            config.additional_headers.iter().find(|(a, b)| a.is_empty() || b.is_empty())
        {
            return Err(Failure::fatal(format!("additional_headers: {header:?} lacks a name or a column")));
        }
        let Columns { payload, aggregate_type, aggregate_id, event_type, topic: own_topic, event_id } =
            &config.columns;
        let mut wanted = Wanted::default();
        for (option, column) in [
            ("payload", payload),
            ("aggregate_type", aggregate_type),
            ("aggregate_id", aggregate_id),
            ("event_type", event_type),
            ("topic", own_topic),
            ("event_id", event_id),
        ] {
            if column.is_empty() {
                return Err(Failure::fatal(format!("columns.{option}: is empty")));
            }
            wanted.column(column);
        }
        config.additional_headers.values().for_each(|column| wanted.column(column));
        [&topic, &key].into_iter().flatten().flat_map(Template::paths).for_each(|path| wanted.path(path));
        Ok(Self { scope: Scope::including(&config.tables, "tables")?, topic, key, config, wanted })
    }

    fn process(&mut self, batch: &mut Batch<'_>) -> Result<(), Failure> {
        let tables = batch.tables();
        let covered = self.scope.of(&tables);
        let table_of = batch.table_of();
        // With each row that is of an outbox, whether an update moved it there.
        let of_outbox = |row: usize| {
            let extras = batch.extras(row);
            let has = |header: &str| extras.headers.iter().any(|(name, _)| name == header);
            (extras.tags.iter().any(|tag| tag == OUTBOX) && !has(SOURCE_KIND)).then(|| (row, has(OLD_KEY)))
        };
        let rows: Vec<(usize, bool)> =
            (0..batch.len()).filter(|row| covered[table_of[*row] as usize]).filter_map(of_outbox).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let cells = batch.rows(&self.wanted.names());
        let mut dropped = BTreeMap::new();
        let mut transformed = 0;
        let mut next = rows.into_iter().peekable();
        for view in cells.iter() {
            let Some((row, moved)) = next.next_if(|(row, _)| *row == view.index()) else { continue };
            let fate = match view.op() {
                Op::Create if moved => Fate::Dropped("non_insert"),
                Op::Create | Op::Read | Op::Message => self.fate(batch, view),
                Op::Update | Op::Delete | Op::Truncate => Fate::Dropped("non_insert"),
                _ => continue,
            };
            match fate {
                Fate::Goes { after, route } => {
                    if let Some(after) = after {
                        batch.set_image(row, Image::After, Some(&after));
                    }
                    if view.has(Image::Before) {
                        batch.set_image(row, Image::Before, None);
                    }
                    if view.op() == Op::Message {
                        batch.set_op(row, Op::Create);
                    }
                    batch.route(row, &route);
                    if self.config.raw_payload {
                        batch.tag(row, RAW);
                    }
                    transformed += 1;
                }
                Fate::Dropped(reason) => {
                    batch.drop_row(row);
                    *dropped.entry((view.table(), reason)).or_insert(0_u64) += 1;
                }
                Fate::Rejected(reason) => batch.reject(row, &reason),
            }
        }
        report(&tables, transformed, &dropped);
        Ok(())
    }
}

impl Outbox {
    fn fate(&self, batch: &Batch<'_>, view: RowView<'_, '_>) -> Fate {
        let names = &self.config.columns;
        let message = if view.has(Image::After) { None } else { batch.extras(view.index()).message };
        let fields = match &message {
            _ if view.has(Image::After) => Fields::row(&self.wanted, view),
            None => return self.malformed("null_payload", "it has no row"),
            Some(text) => match members(text) {
                Some(members) => Fields::message(members),
                None => return self.malformed("non_object", "the message is no JSON object"),
            },
        };
        let after = match fields.get(&names.payload) {
            // The rest of the row is all there is.
            Value::Absent => fields.whole(),
            Value::Null => return self.malformed("null_payload", "its payload is NULL"),
            Value::Unavailable => {
                return Fate::Rejected(format!("outbox: the source did not log {}", names.payload));
            }
            payload => match object(&payload) {
                Some(after) => Some(after),
                None => return self.malformed("non_object", "its payload is no JSON object"),
            },
        };
        let text = |column: &str| fields.text(column);
        let topic = self.topic.as_ref().and_then(|topic| topic.render(|path| fields.text_at(path)).ok());
        let topic = topic
            .filter(|topic| !topic.is_empty())
            .or_else(|| text(&names.topic).filter(|topic| !topic.is_empty()))
            .or_else(|| self.config.default_topic.clone());
        let aggregate_id = text(&names.aggregate_id);
        if self.config.strict {
            let missing = [
                ("topic", topic.is_none()),
                (&names.payload, fields.get(&names.payload) == Value::Absent),
                (&names.aggregate_type, text(&names.aggregate_type).is_none()),
                (&names.aggregate_id, aggregate_id.is_none()),
                (&names.event_type, text(&names.event_type).is_none()),
            ];
            let missing: Vec<&str> = missing.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
            if !missing.is_empty() {
                metrics::add("dropped_strict_missing_fields_total", 1);
                return Fate::Rejected(format!("outbox: the event lacks {}", missing.join(", ")));
            }
        }
        let mut headers = vec![(SOURCE_KIND.to_owned(), "outbox".to_owned())];
        let own = [
            ("df-event-id", text(&names.event_id)),
            ("df-aggregate-type", text(&names.aggregate_type)),
            ("df-aggregate-id", aggregate_id.clone()),
            ("df-event-type", text(&names.event_type)),
        ];
        headers.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        for (header, column) in &self.config.additional_headers {
            headers.extend(text(column).map(|value| (header.clone(), value)));
        }
        let key = self.key.as_ref().and_then(|key| key.render(|path| fields.text_at(path)).ok());
        Fate::Goes { after, route: Route { topic, key: key.or(aggregate_id), headers } }
    }

    fn malformed(&self, reason: &'static str, why: &str) -> Fate {
        if self.config.strict {
            metrics::add(&format!("dropped_{reason}_total"), 1);
            Fate::Rejected(format!("outbox: {why}"))
        } else {
            Fate::Dropped(reason)
        }
    }
}

/// The members of a payload that is a JSON object: as JSON, or as a text or bytes that hold one.
fn object(payload: &Value<'_>) -> Option<Vec<(String, Value<'static>)>> {
    let text = match payload {
        Value::Json(text) | Value::Text(text) => Cow::Borrowed(&**text),
        Value::Bytes(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
        _ => return None,
    };
    let members = members(&text)?;
    Some(members.into_iter().map(|(name, raw)| (name, value_of(raw))).collect())
}

fn report(tables: &[Table], transformed: u64, dropped: &BTreeMap<(usize, &'static str), u64>) {
    if transformed > 0 {
        metrics::add("transformed_total", transformed);
    }
    for ((table, reason), events) in dropped {
        metrics::add(&format!("dropped_{reason}_total"), *events);
        let level = if *reason == "non_insert" { log::Level::Debug } else { log::Level::Warn };
        let fields =
            [("table", tables[*table].qualified()), ("reason", reason), ("events", &events.to_string())];
        log::write(level, "dropped outbox events", &fields);
    }
}

deltaforge_sdk::processor!(Outbox);
