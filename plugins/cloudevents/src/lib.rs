//! The CloudEvents 1.0 envelope, structured mode: the row images as `data` under the specification's attributes.
//!
//! ```json
//! {"specversion":"1.0","id":"…","source":"deltaforge/prod/shop.orders","type":"com.example.cdc.created",
//!  "time":"2023-11-14T22:13:20.000Z","datacontenttype":"application/json","subject":"shop.orders",
//!  "data":{"after":{"id":1},"op":"c"}}
//! ```
//!
//! An image that an event does not have is left out of `data`. A change of definition has its `ddl` there, a log
//! message its `message`.

use std::collections::HashMap;

use deltaforge_sdk::{Batch, Bodies, Extras, Failure, Formatter, Image, Manifest, Op, Source, Table, json};

#[cfg(test)]
mod tests;

/// The envelope.
#[derive(Debug)]
pub struct CloudEvents {
    type_prefix: String,
}

/// Its configuration.
#[derive(Debug, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What every `type` starts with: `com.example.cdc` makes `com.example.cdc.created`.
    pub type_prefix: String,
}

impl Formatter for CloudEvents {
    type Config = Config;

    fn describe() -> Manifest {
        Manifest::new("cloudevents", env!("CARGO_PKG_VERSION"), "the event as a CloudEvents 1.0 message")
    }

    fn open(config: Config) -> Result<Self, Failure> {
        let type_prefix = config.type_prefix.trim_end_matches('.');
        if type_prefix.is_empty() {
            return Err(Failure::fatal("type_prefix: a prefix such as com.example.cdc is needed"));
        }
        Ok(Self { type_prefix: type_prefix.to_owned() })
    }

    fn format(&mut self, batch: &Batch<'_>, bodies: &mut Bodies) -> Result<(), Failure> {
        let source = batch.source();
        let heads: Vec<Head> = batch.tables().iter().map(|table| Head::new(table, &source)).collect();
        let mut types = HashMap::new();
        let (ops, table_of, origins) = (batch.ops(), batch.table_of(), batch.origins());
        let mut events = batch.json_events();
        for (row, ((op, table), origin)) in ops.into_iter().zip(table_of).zip(origins).enumerate() {
            let head = &heads[table as usize];
            let of_type = types.entry(op).or_insert_with(|| self.type_member(op));
            bodies.push(|out| {
                out.extend_from_slice(br#"{"specversion":"1.0","id":""#);
                out.extend_from_slice(&origin.event_id.to_ascii());
                out.extend_from_slice(&head.source);
                out.extend_from_slice(of_type);
                out.extend_from_slice(br#","time":""#);
                json::write_rfc3339_millis(origin.ts_us, out);
                out.extend_from_slice(&head.subject);
                for (image, name) in
                    [(Image::Before, &br#""before":"#[..]), (Image::After, &br#""after":"#[..])]
                {
                    let start = out.len();
                    out.extend_from_slice(name);
                    if events.write_image(row, image, out) {
                        out.push(b',');
                    } else {
                        out.truncate(start);
                    }
                }
                if matches!(op, Op::Ddl | Op::Message) {
                    write_extras(&batch.extras(row), out);
                }
                out.extend_from_slice(br#""op":""#);
                out.extend_from_slice(op.code().as_bytes());
                out.extend_from_slice(br#""}}"#);
            });
        }
        Ok(())
    }
}

impl CloudEvents {
    /// `,"type":"…"`
    fn type_member(&self, op: Op) -> Vec<u8> {
        let what = match op {
            Op::Create => "created",
            Op::Update => "updated",
            Op::Delete => "deleted",
            Op::Read => "snapshot",
            Op::Truncate => "truncated",
            Op::Ddl => "ddl",
            Op::Message => "message",
            Op::Heartbeat => "heartbeat",
        };
        let mut out = br#","type":"#.to_vec();
        json::write_string(&format!("{}.{what}", self.type_prefix), &mut out);
        out
    }
}

/// What events of one table share.
struct Head {
    /// `","source":"…"`
    source: Vec<u8>,
    /// `","datacontenttype":"application/json","subject":"…","data":{`
    subject: Vec<u8>,
}

impl Head {
    fn new(table: &Table, from: &Source) -> Self {
        let mut source = br#"","source":"#.to_vec();
        json::write_string(&format!("deltaforge/{}/{}", from.pipeline, table.qualified()), &mut source);
        let mut subject = br#"","datacontenttype":"application/json","subject":"#.to_vec();
        json::write_string(table.qualified(), &mut subject);
        subject.extend_from_slice(br#","data":{"#);
        Self { source, subject }
    }
}

fn write_extras(extras: &Extras, out: &mut Vec<u8>) {
    if let Some((sql, database)) = &extras.ddl {
        out.extend_from_slice(br#""ddl":{"sql":"#);
        json::write_string(sql, out);
        out.extend_from_slice(br#","database":"#);
        json::write_string(database, out);
        out.extend_from_slice(b"},");
    }
    if let Some(message) = &extras.message {
        out.extend_from_slice(br#""message":"#);
        if !json::write_compact(message, out) {
            json::write_string(message, out);
        }
        out.push(b',');
    }
}

deltaforge_sdk::formatter!(CloudEvents);
