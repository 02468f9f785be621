//! Unit tests without a host: build a batch from JSON, run the plugin, look at what came out.
//!
//! See the [crate's first page](crate) for a test in full.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use deltaforge_model::edit::OwnedCell;
use deltaforge_model::json::{EventWriter, RowEncoders, members_of_json};
use deltaforge_model::schema::Column;
use deltaforge_model::{
    Batch, BatchBuilder, Cell, EventHead, EventId, Image, Kind, Op, Overlay, Side, SnapshotMark, SourceInfo,
    TableSchema, Transaction, View,
};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::native::{self, CallError};
use crate::{Bodies, Failure, Formatter, Processor};

mod cells;
mod golden;
mod record;

/// Most bytes of the rows of a batch: each has a place for every column of its table.
const MAX_ROW_BYTES: usize = 64 << 20;

#[doc(hidden)] // for the host that runs the same files
pub use golden::{Difference, Found, Golden, golden_files};
pub use golden::{assert_golden_bodies, assert_golden_files};
#[doc(hidden)]
pub use record::record;

/// Builds a batch, event by event.
///
/// Tables that are not declared with [`TestBatch::table`] get their columns from the rows: kinds as JSON has them,
/// and `id` as the key where there is such a column.
#[derive(Debug, Default)]
pub struct TestBatch {
    tables: Vec<(String, Vec<Column>, Vec<String>)>,
    events: Vec<TestEvent>,
    /// Whose it is; `None`: acme's.
    tenant: Option<String>,
}

#[derive(Debug, Clone)]
struct TestEvent {
    table: String,
    op: Op,
    /// The text of a JSON object, as it was given: reading it as numbers of one kind would change some.
    before: Option<String>,
    after: Option<String>,
    tags: Option<Vec<String>>,
    ddl: Option<(String, String)>,
    message: Option<String>,
}

/// A batch as a file holds it: what golden files are made of.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    /// Words for people.
    #[serde(default, rename = "about")]
    _about: serde::de::IgnoredAny,
    config: Option<Json>,
    #[serde(default)]
    tables: Vec<DocumentTable>,
    #[serde(borrow)]
    events: Vec<DocumentEvent<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentTable {
    name: String,
    columns: Vec<(String, String)>,
    #[serde(default)]
    key: Vec<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentEvent<'a> {
    table: String,
    op: String,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    tags: Option<Vec<String>>,
    ddl: Option<(String, String)>,
    message: Option<String>,
}

impl<'a> Document<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        if !text.trim_ascii_start().starts_with('{') {
            return Err("expected a map with `events`".to_owned());
        }
        serde_json::from_str(text).map_err(|error| match Self::misfit(text) {
            Some(at) => format!("events[{at}]: {error}"),
            None => error.to_string(),
        })
    }

    /// The first event of a text that is JSON, but none of ours.
    fn misfit(text: &str) -> Option<usize> {
        #[derive(serde::Deserialize)]
        struct Events<'a> {
            #[serde(borrow)]
            events: Vec<&'a RawValue>,
        }
        let Events { events } = serde_json::from_str(text).ok()?;
        events.iter().position(|event| serde_json::from_str::<DocumentEvent<'_>>(event.get()).is_err())
    }
}

impl TestBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a table, `database.table`: its columns with their kinds (`int`, `text`, `decimal`, `timestamp`, …)
    /// and its key columns.
    ///
    /// # Panics
    ///
    /// If a kind has no such name.
    pub fn table(self, table: &str, columns: &[(&str, &str)], key: &[&str]) -> Self {
        self.try_table(table, columns, key).unwrap_or_else(|problem| panic!("{problem}"))
    }

    fn try_table(mut self, table: &str, columns: &[(&str, &str)], key: &[&str]) -> Result<Self, String> {
        let columns = columns.iter().map(|(name, kind)| match Kind::from_name(kind) {
            Some(kind) => Ok(Column::new(*name, kind, "")),
            None => Err(format!("{kind} is no kind of column")),
        });
        let key = key.iter().map(|name| (*name).to_owned()).collect();
        self.tables.push((table.to_owned(), columns.collect::<Result<_, _>>()?, key));
        Ok(self)
    }

    /// Adds a created row.
    pub fn insert(self, table: &str, after: Json) -> Self {
        self.event(table, Op::Create, Json::Null, after)
    }

    /// Adds a changed row.
    pub fn update(self, table: &str, before: Json, after: Json) -> Self {
        self.event(table, Op::Update, before, after)
    }

    /// Adds a deleted row.
    pub fn delete(self, table: &str, before: Json) -> Self {
        self.event(table, Op::Delete, before, Json::Null)
    }

    /// Adds any event; an image that is JSON `null` is not there.
    pub fn event(mut self, table: &str, op: Op, before: Json, after: Json) -> Self {
        let table = table.to_owned();
        let text = |image: Json| (!image.is_null()).then(|| image.to_string());
        let (before, after) = (text(before), text(after));
        self.events.push(TestEvent { table, op, before, after, tags: None, ddl: None, message: None });
        self
    }

    /// Tags the event that was added last.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn tagged(mut self, tags: &[&str]) -> Self {
        let event = self.events.last_mut().expect("an event to tag");
        event.tags = Some(tags.iter().map(|tag| (*tag).to_owned()).collect());
        self
    }

    /// Adds a message from the source's log.
    pub fn message(self, table: &str, content: &str) -> Self {
        let mut batch = self.event(table, Op::Message, Json::Null, Json::Null);
        if let Some(event) = batch.events.last_mut() {
            event.message = Some(content.to_owned());
        }
        batch
    }

    /// Reads a batch from JSON: `tables` (`name`, `columns` as pairs of name and kind, `key`) and `events` (`table`,
    /// `op` as on the wire, and where there are any `before`, `after`, `tags`, `message`, `ddl` as statement and
    /// database).
    ///
    /// # Panics
    ///
    /// If the text is not that.
    pub fn from_json(text: &str) -> Self {
        Self::try_from_json(text).unwrap_or_else(|problem| panic!("a batch as JSON: {problem}"))
    }

    /// As [`TestBatch::from_json`], without the panic.
    ///
    /// # Errors
    ///
    /// What does not fit.
    pub fn try_from_json(text: &str) -> Result<Self, String> {
        let document = Document::parse(text)?;
        if document.config.is_some() {
            return Err("a batch has no `config`; with one it is a golden input".to_owned());
        }
        Self::of_document(document)
    }

    fn of_document(document: Document<'_>) -> Result<Self, String> {
        let mut batch = Self::new();
        for table in document.tables {
            let columns: Vec<(&str, &str)> =
                table.columns.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
            let key: Vec<&str> = table.key.iter().map(String::as_str).collect();
            batch = batch.try_table(&table.name, &columns, &key)?;
        }
        for (at, event) in document.events.into_iter().enumerate() {
            let op = Op::from_code(&event.op)
                .ok_or_else(|| format!("events[{at}].op: {} is no operation", event.op))?;
            let text = |image: Option<&RawValue>| image.map(|image| image.get().to_owned());
            let (before, after) = (text(event.before), text(event.after));
            let DocumentEvent { table, tags, ddl, message, .. } = event;
            batch.events.push(TestEvent { table, op, before, after, tags, ddl, message });
        }
        Ok(batch)
    }

    /// The same as a tenant's.
    #[doc(hidden)]
    #[must_use]
    pub fn of_tenant(self, tenant: &str) -> Self {
        Self { tenant: Some(tenant.to_owned()), ..self }
    }

    /// How many events it has.
    #[doc(hidden)]
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Its events again and again, until there are so many.
    #[doc(hidden)]
    #[must_use]
    pub fn repeated(self, events: usize) -> Self {
        Self { events: self.events.iter().cycle().take(events).cloned().collect(), ..self }
    }

    /// The batch in the host's own form.
    ///
    /// # Panics
    ///
    /// If an image is neither an object nor `null`, or names a column that a declared table lacks.
    pub fn build(&self) -> Batch {
        self.try_build().unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// As [`TestBatch::build`], without the panic.
    ///
    /// # Errors
    ///
    /// What does not fit.
    pub fn try_build(&self) -> Result<Batch, String> {
        let info = SourceInfo {
            connector: "test".to_owned(),
            version: "deltaforge-test".to_owned(),
            pipeline: "test".to_owned(),
            tenant: self.tenant.clone().unwrap_or_else(|| "acme".to_owned()),
            source_id: "test".to_owned(),
            pos_name: "sequence".to_owned(),
            pos_is_lsn: false,
        };
        let mut builder = BatchBuilder::new(Arc::new(info));
        let mut schemas: Vec<(&str, Arc<TableSchema>)> = Vec::new();
        let transaction = builder.transaction(Transaction { id: "tx-1".to_owned(), source: Vec::new() });
        for (at, event) in self.events.iter().enumerate() {
            let known = schemas.iter().position(|(table, _)| *table == event.table);
            let known = known.unwrap_or_else(|| {
                schemas.push((&event.table, self.schema(&event.table)));
                schemas.len() - 1
            });
            let schema = schemas[known].1.clone();
            if schema.columns().len() > TableSchema::MAX_COLUMNS {
                let (table, most) = (schema.qualified(), TableSchema::MAX_COLUMNS);
                return Err(format!("{table} has {} columns, the most is {most}", schema.columns().len()));
            }
            if builder.row_bytes() > MAX_ROW_BYTES {
                return Err(format!("the rows take more than {} MiB", MAX_ROW_BYTES >> 20));
            }
            let table = builder.table(&schema);
            let ts_us = 1_700_000_000_000_000 + at as i64 * 1_000;
            builder.event(EventHead {
                id: EventId::derive(ts_us / 1000, &[&(at as u64).to_le_bytes()]),
                op: event.op,
                table,
                transaction: Some(transaction),
                ordinal: at as u32,
                ts_us,
                pos: at as u64 + 1,
                last: at + 1 == self.events.len(),
                snapshot: SnapshotMark::No,
            });
            for (name, image, row) in
                [("before", Image::Before, &event.before), ("after", Image::After, &event.after)]
            {
                if let Some(row) = row {
                    write_image(&mut builder, &schema, image, row)
                        .map_err(|problem| format!("events[{at}].{name}: {problem}"))?;
                }
            }
            let TestEvent { tags, ddl, message, .. } = event;
            if tags.is_some() || ddl.is_some() || message.is_some() {
                let (tags, ddl, message) = (tags.clone(), ddl.clone(), message.clone());
                builder.side(Side { tags, ddl, message, ..Side::default() });
            }
        }
        Ok(builder.finish())
    }

    fn schema(&self, table: &str) -> Arc<TableSchema> {
        let (database, name) = table.split_once('.').unwrap_or(("main", table));
        if let Some((_, columns, key)) = self.tables.iter().find(|(known, ..)| known == table) {
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            return TableSchema::new(database, None, name, columns.clone(), &key);
        }
        let mut columns: Vec<Column> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for event in self.events.iter().filter(|event| event.table == table) {
            let images = [&event.before, &event.after].into_iter().flatten();
            // What is no row is told when it is written.
            for (name, value) in images.filter_map(|row| members_of_json(row).ok()).flatten() {
                let kind = cells::kind_of(value);
                match known.get(&name).map(|at| &mut columns[*at]) {
                    Some(column) if column.kind == Kind::Any => column.kind = kind,
                    Some(_) => {}
                    None => {
                        columns.push(Column::new(&name, kind, ""));
                        known.insert(name, columns.len() - 1);
                    }
                }
            }
        }
        TableSchema::new(database, None, name, columns, &["id"])
    }

    /// Opens a processor, shows it the batch and applies what it changes.
    ///
    /// # Errors
    ///
    /// What the plugin answered, or an edit that makes no sense.
    pub fn process<P: Processor>(&self, config: Json) -> Result<Outcome, CallError> {
        let mut plugin: P = native::open(&config.to_string(), P::open).map_err(CallError::Failure)?;
        self.process_with(&mut plugin)
    }

    /// As [`TestBatch::process`], with a processor that is open already.
    ///
    /// # Errors
    ///
    /// As [`TestBatch::process`].
    pub fn process_with<P: Processor>(&self, plugin: &mut P) -> Result<Outcome, CallError> {
        process(self.build(), plugin)
    }

    /// Opens a formatter and makes the bodies of the batch.
    ///
    /// # Errors
    ///
    /// What the plugin answered.
    pub fn format<F: Formatter>(&self, config: Json) -> Result<Bodies, Failure> {
        let mut plugin: F = native::open(&config.to_string(), F::open)?;
        let view = View::all(Arc::new(self.build()));
        let tx_end: Vec<bool> = view.events().map(|event| event.is_last()).collect();
        let mut bodies = Bodies::default();
        match native::format(&mut plugin, &view, &tx_end, &RefCell::default(), &mut bodies) {
            Ok(()) => Ok(bodies),
            Err(CallError::Failure(failure)) => Err(failure),
            Err(CallError::Edit(error)) => Err(Failure::fatal(error.to_string())),
        }
    }
}

fn process<P: Processor>(mut batch: Batch, plugin: &mut P) -> Result<Outcome, CallError> {
    let mut edits = Overlay::new();
    let view = View::all(Arc::new(batch.clone()));
    native::process(plugin, &view, &mut edits, &RefCell::default())?;
    drop(view);
    let applied = edits.apply(&mut batch, "test");
    Ok(Outcome { batch, dropped: applied.dropped })
}

/// What a processor left.
#[derive(Debug)]
pub struct Outcome {
    batch: Batch,
    dropped: usize,
}

impl Outcome {
    /// Shows what is left to a processor that stands behind the first.
    ///
    /// # Errors
    ///
    /// As [`TestBatch::process`].
    pub fn process<P: Processor>(&self, config: Json) -> Result<Self, CallError> {
        let mut plugin: P = native::open(&config.to_string(), P::open).map_err(CallError::Failure)?;
        process(self.batch.clone(), &mut plugin)
    }

    /// The events that go on, in the native form.
    pub fn events(&self) -> Vec<Json> {
        events_of(&self.batch)
    }

    /// The events that go on, in the native form, a line each: to the digit as a sink would have them, for golden files.
    pub fn lines(&self) -> String {
        lines_of(&self.batch).map(|line| line + "\n").collect()
    }

    /// How many events were dropped.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// The reasons of the events that were rejected, in order.
    pub fn rejects(&self) -> Vec<String> {
        self.batch.rejects().map(|(_, reject)| reject.reason.clone()).collect()
    }

    /// What is left in the host's own form.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }
}

/// Compares what came out with a golden file. With `UPDATE_GOLDEN` set in the environment the file is written anew
/// instead, to be looked at before it is committed.
///
/// # Panics
///
/// If they differ, naming the first line that does.
pub fn assert_golden(path: impl AsRef<std::path::Path>, found: &[u8]) {
    let path = path.as_ref();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, found).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        return;
    }
    let golden = std::fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
    let (golden, found) = (lines(&golden), lines(found));
    for (at, (golden, found)) in golden.iter().zip(&found).enumerate() {
        assert_eq!(found, golden, "{}, line {}", path.display(), at + 1);
    }
    assert_eq!(found.len(), golden.len(), "lines of {}", path.display());
}

/// The events of a batch in the native form.
fn events_of(batch: &Batch) -> Vec<Json> {
    // What is nested too deep to be read again is shown as the text that it is.
    let read = |text: String| serde_json::from_str(&text).unwrap_or(Json::String(text));
    lines_of(batch).map(read).collect()
}

/// The events in the native form, each as it is written.
fn lines_of(batch: &Batch) -> impl Iterator<Item = String> {
    let mut encoders = RowEncoders::default();
    let mut writer = EventWriter::new(batch, &mut encoders);
    let lines: Vec<String> = batch
        .events()
        .map(|event| {
            let mut text = Vec::new();
            writer.write_event(&event, event.is_last(), &mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
        .collect();
    lines.into_iter()
}

fn write_image(
    builder: &mut BatchBuilder,
    schema: &TableSchema,
    image: Image,
    row: &str,
) -> Result<(), String> {
    let members = members_of_json(row).map_err(|_| format!("a row is an object, not {row}"))?;
    if let Some((name, _)) = members.iter().find(|(name, _)| schema.column(name).is_none()) {
        return Err(format!("{} has no column {name}", schema.qualified()));
    }
    let members: HashMap<String, &str> = members.into_iter().collect();
    let cell = |column: &Column| match members.get(&column.name) {
        None => Ok(OwnedCell::from(&Cell::Absent)),
        Some(value) => {
            cells::read(value, column.kind).map_err(|problem| format!("{}: {problem}", column.name))
        }
    };
    let row: Vec<OwnedCell> = schema.columns().iter().map(cell).collect::<Result<_, String>>()?;
    builder.image(image, |writer| {
        for cell in &row {
            writer.push(&cell.as_cell());
        }
    });
    Ok(())
}
