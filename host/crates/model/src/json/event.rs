//! Whole events in the native form: what formatters start from, what the dead-letter queue keeps, what plugins
//! that want JSON are shown.
//!
//! Members in this order, those in brackets only where there is something to say: `before`, `after`, `source`
//! (`version`, `connector`, `name`, `ts_ms`, `db`, \[`schema`\], `table`, \[`snapshot`\], what the connector adds,
//! \[its position\]), `op`, `ts_ms`, \[`transaction`\], `event_id`, \[`tenant_id`\], `schema_version`, \[`ddl`\],
//! \[`message`\], \[`tags`\], \[`synthetic`\], \[`tx_end`\], and then what a script has added.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::read::Members;
use super::{RowEncoder, RowEncoders, write_compact, write_string};
use crate::batch::{Batch, Event, Side, SnapshotMark, is_mark};
use crate::row::Row;
use crate::schema::TableSchema;

/// Writes events of one batch. What tables, transactions and tags contribute is made once and copied.
#[derive(Debug)]
pub struct EventWriter<'a> {
    batch: &'a Batch,
    rows: Vec<Arc<RowEncoder>>,
    /// `{"source":{"version":…,"connector":…,"name":…,"ts_ms":`
    head: Vec<u8>,
    tables: Vec<TableParts>,
    transaction: (Option<u32>, TransactionParts),
    side: (u32, Vec<u8>),
}

#[derive(Debug, Default)]
struct TableParts {
    /// `,"db":…,"schema":…,"table":…`
    source: Vec<u8>,
    /// `","tenant_id":…,"schema_version":"…"`
    tail: Vec<u8>,
}

#[derive(Debug, Default)]
struct TransactionParts {
    /// `,"gtid":…,"file":…`
    source: Vec<u8>,
    /// `,"transaction":{"id":…}`
    member: Vec<u8>,
}

impl<'a> EventWriter<'a> {
    /// Prepares for a batch. `encoders` outlives batches, so that a schema is looked at once.
    pub fn new(batch: &'a Batch, encoders: &mut RowEncoders) -> Self {
        let info = batch.info();
        let mut head = br#"{"source":{"version":"#.to_vec();
        write_string(&info.version, &mut head);
        head.extend_from_slice(br#","connector":"#);
        write_string(&info.connector, &mut head);
        head.extend_from_slice(br#","name":"#);
        write_string(&info.pipeline, &mut head);
        head.extend_from_slice(br#","ts_ms":"#);
        Self {
            batch,
            rows: encoders.of_batch(batch),
            head,
            tables: batch.tables().iter().map(|table| TableParts::new(table, &info.tenant)).collect(),
            transaction: (None, TransactionParts::default()),
            side: (0, Vec::new()),
        }
    }

    /// Appends a row image of one of the batch's events; `null` for no image.
    #[inline]
    pub fn write_image(&self, event: &Event<'_>, row: Option<Row<'_>>, out: &mut Vec<u8>) {
        match row {
            Some(row) => self.rows[event.table_index()].write_row(&row, out),
            None => out.extend_from_slice(b"null"),
        }
    }

    /// Appends the whole event. `tx_end`: it is the last of its transaction that goes on.
    pub fn write_event(&mut self, event: &Event<'_>, tx_end: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"before":"#);
        self.write_image(event, event.before(), out);
        out.extend_from_slice(br#","after":"#);
        self.write_image(event, event.after(), out);
        let brace = out.len();
        self.write_origin(event, tx_end, out);
        out[brace] = b',';
    }

    /// Appends all of the event but its images, as an object.
    pub fn write_origin(&mut self, event: &Event<'_>, tx_end: bool, out: &mut Vec<u8>) {
        let start = out.len();
        self.select(event);
        let table = &self.tables[event.table_index()];
        let mut ts_ms = itoa::Buffer::new();
        let ts_ms = ts_ms.format(event.ts_us().div_euclid(1000)).as_bytes();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(ts_ms);
        out.extend_from_slice(&table.source);
        out.extend_from_slice(match event.snapshot() {
            SnapshotMark::No => b"",
            SnapshotMark::First => br#","snapshot":"first""#,
            SnapshotMark::True => br#","snapshot":"true""#,
            SnapshotMark::Last => br#","snapshot":"last""#,
        });
        out.extend_from_slice(&self.transaction.1.source);
        if event.snapshot() == SnapshotMark::No {
            self.write_pos(event.pos(), out);
        }
        out.extend_from_slice(br#"},"op":""#);
        out.extend_from_slice(event.op().code().as_bytes());
        out.extend_from_slice(br#"","ts_ms":"#);
        out.extend_from_slice(ts_ms);
        out.extend_from_slice(&self.transaction.1.member);
        out.extend_from_slice(br#","event_id":""#);
        out.extend_from_slice(&event.id().to_ascii());
        out.extend_from_slice(&table.tail);
        out.extend_from_slice(&self.side.1);
        if tx_end {
            out.extend_from_slice(br#","tx_end":true"#);
        }
        out.push(b'}');
        if !event.side().fields.is_empty() {
            let plain = out.split_off(start);
            set_fields(&plain, &event.side().fields, out);
        }
    }

    /// Makes the parts that this event shares with its neighbours, unless they are there already.
    #[inline]
    fn select(&mut self, event: &Event<'_>) {
        if self.transaction.0 != event.transaction_index() {
            self.transaction = (event.transaction_index(), TransactionParts::new(event));
        }
        if self.side.0 != event.side_index() {
            let mut part = Vec::new();
            write_side(event.side(), &mut part);
            self.side = (event.side_index(), part);
        }
    }

    #[inline]
    fn write_pos(&self, pos: u64, out: &mut Vec<u8>) {
        let info = self.batch.info();
        if info.pos_name.is_empty() {
            return;
        }
        out.push(b',');
        write_string(&info.pos_name, out);
        out.push(b':');
        if info.pos_is_lsn {
            out.extend_from_slice(format!("\"{:X}/{:X}\"", pos >> 32, pos as u32).as_bytes());
        } else {
            out.extend_from_slice(itoa::Buffer::new().format(pos).as_bytes());
        }
    }
}

impl TableParts {
    fn new(table: &TableSchema, tenant: &str) -> Self {
        let mut source = br#","db":"#.to_vec();
        write_string(table.database(), &mut source);
        if let Some(schema) = table.schema() {
            source.extend_from_slice(br#","schema":"#);
            write_string(schema, &mut source);
        }
        source.extend_from_slice(br#","table":"#);
        write_string(table.name(), &mut source);
        let mut tail = b"\"".to_vec();
        if !tenant.is_empty() {
            tail.extend_from_slice(br#","tenant_id":"#);
            write_string(tenant, &mut tail);
        }
        tail.extend_from_slice(format!(r#","schema_version":"{:016x}""#, table.fingerprint()).as_bytes());
        Self { source, tail }
    }
}

impl TransactionParts {
    fn new(event: &Event<'_>) -> Self {
        let mut parts = Self::default();
        let Some(transaction) = event.transaction() else { return parts };
        for (name, value) in &transaction.source {
            parts.source.push(b',');
            write_string(name, &mut parts.source);
            parts.source.push(b':');
            write_raw(value, &mut parts.source);
        }
        if !transaction.id.is_empty() {
            parts.member.extend_from_slice(br#","transaction":{"id":"#);
            write_string(&transaction.id, &mut parts.member);
            parts.member.push(b'}');
        }
        parts
    }
}

fn write_side(side: &Side, out: &mut Vec<u8>) {
    if let Some((sql, database)) = &side.ddl {
        out.extend_from_slice(br#","ddl":{"sql":"#);
        write_string(sql, out);
        out.extend_from_slice(br#","database":"#);
        write_string(database, out);
        out.push(b'}');
    }
    if let Some(message) = &side.message {
        out.extend_from_slice(br#","message":"#);
        write_raw(message, out);
    }
    if let Some(tags) = &side.tags
        && (tags.is_empty() || !tags.iter().all(|tag| is_mark(tag)))
    {
        out.extend_from_slice(br#","tags":["#);
        for (at, tag) in tags.iter().filter(|tag| !is_mark(tag)).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(tag, out);
        }
        out.push(b']');
    }
    if let Some(producer) = &side.synthetic {
        out.extend_from_slice(br#","synthetic":"#);
        write_string(producer, out);
    }
}

/// JSON as it is, anything else as a string.
fn write_raw(text: &str, out: &mut Vec<u8>) {
    if !write_compact(text, out) {
        write_string(text, out);
    }
}

/// Puts a script's members into an event. Off the fast path: the object is read and written again.
#[cold]
fn set_fields(plain: &[u8], fields: &[(String, String)], out: &mut Vec<u8>) {
    let plain = std::str::from_utf8(plain).expect("this module writes text");
    let mut event = Object::parse(plain).expect("this module wrote the object");
    for (path, json) in fields {
        if json.is_empty() {
            event.remove(path);
            continue;
        }
        let mut value = Vec::new();
        write_raw(json, &mut value);
        event.set(path, &value);
    }
    event.write(out);
}

/// A JSON object whose members are looked into only where a path leads: what a source wrote as JSON need not be
/// what the parser can hold (numbers beyond a double, nesting, lone surrogates).
#[derive(Default)]
struct Object {
    /// In order; `None`: taken away.
    members: Vec<Option<(String, Member)>>,
    /// Where each name stands among the first `indexed` members. An object of few members needs no index.
    places: HashMap<String, Vec<usize>>,
    indexed: usize,
}

enum Member {
    Object(Object),
    Json(Vec<u8>),
}

impl Member {
    /// The object it is, to look into; `None` if it is none, or not one that the parser can hold.
    fn open(&mut self) -> Option<&mut Object> {
        if let Self::Json(json) = self {
            let held = std::str::from_utf8(json).ok().and_then(Object::parse)?;
            *self = Self::Object(held);
        }
        match self {
            Self::Object(object) => Some(object),
            Self::Json(_) => None,
        }
    }
}

impl Object {
    /// Deepest path that is followed; what is left of a longer one is one name.
    const MAX_DEPTH: usize = 32;
    /// Up to so many members are searched one by one.
    const FEW: usize = 16;

    fn parse(json: &str) -> Option<Self> {
        let members: Members<'_> = serde_json::from_str(json).ok()?;
        let own =
            |(name, value): (String, &RawValue)| Some((name, Member::Json(value.get().as_bytes().to_vec())));
        Some(Self { members: members.0.into_iter().map(own).collect(), ..Self::default() })
    }

    fn set(&mut self, path: &str, json: &[u8]) {
        let mut object = self;
        let mut names = path.splitn(Self::MAX_DEPTH, '.').peekable();
        while let Some(name) = names.next() {
            let member = object.member(name);
            if names.peek().is_none() {
                *member = Member::Json(json.to_vec());
                return;
            }
            if member.open().is_none() {
                *member = Member::Object(Self::default());
            }
            let Some(inner) = member.open() else { return };
            object = inner;
        }
    }

    fn remove(&mut self, path: &str) {
        let mut object = self;
        let mut names = path.splitn(Self::MAX_DEPTH, '.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                while let Some(at) = object.last(name) {
                    object.members[at] = None;
                }
                return;
            }
            let Some(at) = object.last(name) else { return };
            let Some(inner) = object.members[at].as_mut().and_then(|(_, member)| member.open()) else {
                return;
            };
            object = inner;
        }
    }

    /// The member of this name, made if there is none.
    fn member(&mut self, name: &str) -> &mut Member {
        let at = self.last(name).unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        let made = || (name.to_owned(), Member::Object(Self::default()));
        &mut self.members[at].get_or_insert_with(made).1
    }

    /// Where the last member of this name stands.
    fn last(&mut self, name: &str) -> Option<usize> {
        let is_there =
            |member: &Option<(String, Member)>| member.as_ref().is_some_and(|(known, _)| known == name);
        if self.members.len() <= Self::FEW {
            return self.members.iter().rposition(is_there);
        }
        for (at, member) in self.members.iter().enumerate().skip(self.indexed) {
            if let Some((name, _)) = member {
                self.places.entry(name.clone()).or_default().push(at);
            }
        }
        self.indexed = self.members.len();
        let places = self.places.get_mut(name)?;
        while places.last().is_some_and(|at| self.members[*at].is_none()) {
            places.pop();
        }
        places.last().copied()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (name, member)) in self.members.iter().flatten().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_string(name, out);
            out.push(b':');
            match member {
                Member::Object(object) => object.write(out),
                Member::Json(json) => out.extend_from_slice(json),
            }
        }
        out.push(b'}');
    }
}
