//! Rows of the log to events, straight from SQLite's values into the batch.

use std::collections::HashMap;
use std::sync::Arc;

use deltaforge_engine::batcher::Batcher;
use deltaforge_model::pattern::Patterns;
use deltaforge_model::{EventHead, EventId, Image, Op, Side, SnapshotMark, TableSchema};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::catalog::{Reason, Version, Versions};
use crate::decode::{self, Form};
use crate::error::{Doing, SqliteError};
use crate::log::{Layout, PART, op};
use crate::position::{At, Job};

/// Columns before the cells in the statement that reads the log.
const HEAD: usize = 5;
/// Numbers of cells that the statement comes with; a row that needs more is read by the next one.
const WIDTHS: [usize; 4] = [16, 48, 112, PART];

/// The shape that rows of one version are shown in.
#[derive(Debug)]
struct Shape {
    schema: Arc<TableSchema>,
    forms: Vec<Form>,
}

impl Shape {
    fn new(version: &Version, database: &str) -> Self {
        let schema = version.definition.schema(database);
        let forms = schema.columns().iter().map(|column| Form::of(column.kind)).collect();
        Self { schema, forms }
    }
}

/// How to read one version's rows.
#[derive(Debug)]
struct Decoder {
    layout: Layout,
    own: Shape,
    /// From this sequence on, rows are shown in the successor's shape, whose further columns are unavailable.
    late: Option<(i64, Shape)>,
}

/// All that turns rows of the log into events.
#[derive(Debug)]
pub(crate) struct Changes {
    database: String,
    patterns: Patterns,
    /// By version; `None`: not captured by this reader.
    decoders: HashMap<i64, Option<Decoder>>,
    versions: Versions,
    /// Index into [`WIDTHS`] that the last rows needed.
    width: usize,
    scratch: String,
    identity: String,
}

/// Why reading stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// At the end of the log.
    Tail,
    /// The batch is full.
    Full,
}

/// What a marker asks the reader to know.
struct Marker {
    reason: Reason,
    statement: Option<String>,
    snapshot: bool,
    gap: bool,
}

impl Changes {
    pub fn new(database: String, patterns: Patterns, identity: String) -> Self {
        Self {
            database,
            patterns,
            decoders: HashMap::new(),
            versions: Versions::new(),
            width: 0,
            scratch: String::new(),
            identity,
        }
    }

    /// Learns the versions anew.
    pub fn set_versions(&mut self, versions: Versions) {
        self.decoders =
            versions.values().map(|version| (version.id, self.decoder(version, &versions))).collect();
        self.versions = versions;
    }

    /// The versions as last learned.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Whether this reader captures the table.
    pub fn wants(&self, table: &str) -> bool {
        self.patterns.is_empty() || self.patterns.matches(&self.database, table)
    }

    fn decoder(&self, version: &Version, versions: &Versions) -> Option<Decoder> {
        if !self.wants(&version.definition.name) {
            return None;
        }
        let successor = version.successor.and_then(|id| versions.get(&id));
        let late =
            version.stale_after.zip(successor).map(|(after, next)| (after, Shape::new(next, &self.database)));
        Some(Decoder {
            layout: Layout { columns: version.definition.columns.len() },
            own: Shape::new(version, &self.database),
            late,
        })
    }

    /// Appends events after `at` until the batch is full or the log ends; moves `at` along. Inside the caller's
    /// read transaction.
    pub fn read(
        &mut self,
        db: &Connection,
        at: &mut At,
        batcher: &mut Batcher,
        hard_bytes: usize,
    ) -> Result<Stopped, SqliteError> {
        let has = crate::log::width_of(db)?;
        let mut used = 0;
        let stopped = loop {
            let width = WIDTHS[self.width].min(has);
            let cells: String = (0..width).map(|cell| format!(", c{cell}")).collect();
            let sql = format!(
                "SELECT sequence, tab, op, ts, nonce{cells} FROM _df_cdc_log WHERE sequence > ?1 ORDER BY sequence"
            );
            let mut statement = db.prepare_cached(&sql).doing(|| "read the change log".into())?;
            let mut rows = statement.query([at.sequence]).doing(|| "read the change log".into())?;
            let wider = loop {
                let Some(row) = rows.next().doing(|| "read the change log".into())? else { break None };
                let outcome = self.row(db, row, width, at, batcher, hard_bytes)?;
                match outcome {
                    Took::Row(cells) => {
                        used = used.max(cells);
                        if batcher.is_full(true, false) {
                            break Some(Stopped::Full);
                        }
                    }
                    Took::NoRoom => break Some(Stopped::Full),
                    Took::Narrow(cells) => {
                        used = used.max(cells);
                        self.width = class_of(cells);
                        break Some(Stopped::Tail);
                    }
                }
            };
            match wider {
                None => break Stopped::Tail,
                Some(Stopped::Full) => break Stopped::Full,
                Some(Stopped::Tail) => {} // once more, with a wider statement
            }
        };
        self.width = class_of(used);
        Ok(stopped)
    }

    fn row(
        &mut self,
        db: &Connection,
        row: &Row<'_>,
        width: usize,
        at: &mut At,
        batcher: &mut Batcher,
        hard_bytes: usize,
    ) -> Result<Took, SqliteError> {
        let sequence = integer(row, 0).unwrap_or_default();
        let nonce = integer(row, 4);
        let op = integer(row, 2).unwrap_or(op::INSERTING);
        let tab = integer(row, 1).unwrap_or_default();
        let mut cells = 0;
        if op == op::MARKER {
            if !batcher.builder.is_empty() && batcher.builder.len() + 2 > u32::MAX as usize {
                return Ok(Took::NoRoom);
            }
            self.marker(db, row, sequence, tab, at, batcher)?;
        } else if op >= 0 {
            let decoder = match self.decoders.get(&tab) {
                Some(decoder) => decoder,
                None => {
                    return Err(SqliteError::Unsupported(format!(
                        "change {sequence} in the log belongs to capture {tab}, which is not in _df_cdc_tables"
                    )));
                }
            };
            if let Some(decoder) = decoder {
                cells = if op == op::UPDATE {
                    decoder.layout.log_cells()
                } else {
                    decoder.layout.columns.min(PART)
                };
                if cells > width {
                    return Ok(Took::Narrow(cells));
                }
                let change = Change { db, row, sequence, op, decoder, identity: self.identity.as_bytes() };
                let (len, bytes) = (batcher.builder.len(), batcher.builder.row_bytes());
                change.write(batcher, &mut self.scratch)?;
                if batcher.builder.row_bytes() > hard_bytes {
                    let size = batcher.builder.row_bytes() - bytes;
                    while batcher.builder.len() > len {
                        batcher.builder.undo();
                    }
                    if len > 0 && size <= hard_bytes {
                        return Ok(Took::NoRoom);
                    }
                    return Err(SqliteError::row_too_large(
                        &format!("change {sequence} of {}", decoder.own.schema.qualified()),
                        size,
                        hard_bytes,
                    ));
                }
            }
        }
        at.sequence = sequence;
        at.nonce = nonce;
        Ok(Took::Row(cells))
    }

    fn marker(
        &mut self,
        db: &Connection,
        row: &Row<'_>,
        sequence: i64,
        tab: i64,
        at: &mut At,
        batcher: &mut Batcher,
    ) -> Result<(), SqliteError> {
        if !self.decoders.contains_key(&tab) {
            self.set_versions(crate::catalog::load(db)?);
        }
        let Some(Some(decoder)) = self.decoders.get(&tab) else { return Ok(()) };
        let text = |cell: usize| match row.get_ref(HEAD + cell) {
            Ok(ValueRef::Text(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        };
        let Some(reason) = text(0).and_then(Reason::parse) else {
            return Err(SqliteError::Unsupported(format!(
                "the marker {sequence} in the change log is not understood"
            )));
        };
        let marker = Marker {
            reason,
            statement: text(1).map(str::to_owned),
            snapshot: integer(row, HEAD + 2) == Some(1),
            gap: integer(row, HEAD + 3) == Some(1),
        };
        let ts_ms = integer(row, 3).unwrap_or_default();
        let schema = decoder.own.schema.clone();
        let table = schema.name().to_owned();
        if !matches!(reason, Reason::Installed | Reason::Upgraded)
            && let Some(statement) = &marker.statement
        {
            self.note(
                batcher,
                &schema,
                sequence,
                0,
                ts_ms,
                Op::Ddl,
                Side { ddl: Some((statement.clone(), self.database.clone())), ..Side::default() },
            );
        }
        if marker.gap {
            tracing::warn!(
                table = schema.qualified(),
                sequence,
                reason = reason.word(),
                "capture_gap: changes of this table were not captured for a while; its rows are read again"
            );
            metrics::counter!("deltaforge_source_capture_gaps_total", "table" => schema.qualified().to_owned()).increment(1);
            let content = serde_json::json!({
                "type": "capture_gap",
                "table": schema.qualified(),
                "reason": marker.reason.word(),
                "sequence": sequence,
            });
            let side = Side { message: Some(content.to_string()), ..Side::default() };
            self.note(batcher, &schema, sequence, 1, ts_ms, Op::Message, side);
        }
        if marker.snapshot {
            at.jobs.push(Job {
                generation: format!("{}-{sequence}", self.identity),
                started_ms: ts_ms,
                tables: vec![table],
                after: Vec::new(),
                schema: None,
                rows: 0,
            });
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn note(
        &self,
        batcher: &mut Batcher,
        schema: &Arc<TableSchema>,
        sequence: i64,
        ordinal: u32,
        ts_ms: i64,
        op: Op,
        side: Side,
    ) {
        let table = batcher.builder.table(schema);
        batcher.builder.event(EventHead {
            id: id(ts_ms, self.identity.as_bytes(), sequence, ordinal),
            op,
            table,
            transaction: None,
            ordinal,
            ts_us: ts_ms * 1_000,
            pos: sequence as u64,
            last: true,
            snapshot: SnapshotMark::No,
        });
        batcher.builder.side(side);
    }

    /// Appends an event that carries progress only.
    pub fn heartbeat(&self, at: &At, batcher: &mut Batcher) {
        let schema = TableSchema::new(self.database.clone(), None, "_df_heartbeat", Vec::new(), &[]);
        self.note(batcher, &schema, at.sequence, u32::MAX, 0, Op::Heartbeat, Side::default());
    }
}

enum Took {
    /// The row, which needed so many cells of the statement.
    Row(usize),
    /// Nothing: the batch must close first.
    NoRoom,
    /// Nothing: the statement reads fewer cells than the row has.
    Narrow(usize),
}

fn class_of(cells: usize) -> usize {
    WIDTHS.iter().position(|width| cells <= *width).unwrap_or(WIDTHS.len() - 1)
}

fn integer(row: &Row<'_>, column: usize) -> Option<i64> {
    match row.get_ref(column) {
        Ok(ValueRef::Integer(value)) => Some(value),
        _ => None,
    }
}

fn id(ts_ms: i64, identity: &[u8], sequence: i64, ordinal: u32) -> EventId {
    EventId::derive(ts_ms, &[identity, &sequence.to_le_bytes(), &ordinal.to_le_bytes()])
}

/// One row of the log that is a change.
struct Change<'a> {
    db: &'a Connection,
    row: &'a Row<'a>,
    sequence: i64,
    op: i64,
    decoder: &'a Decoder,
    identity: &'a [u8],
}

impl Change<'_> {
    fn write(&self, batcher: &mut Batcher, scratch: &mut String) -> Result<(), SqliteError> {
        let layout = self.decoder.layout;
        match self.op {
            op::CREATE => {
                self.event(batcher, Op::Create, 0);
                self.image(batcher, Image::After, 0, scratch)
            }
            op::DELETE => {
                self.event(batcher, Op::Delete, 0);
                self.image(batcher, Image::Before, 0, scratch)
            }
            op::UPDATE if !self.key_changed()? => {
                self.event(batcher, Op::Update, 0);
                self.image(batcher, Image::Before, 0, scratch)?;
                self.image(batcher, Image::After, layout.after(), scratch)
            }
            op::UPDATE => {
                let (old, new) = (self.key(0)?, self.key(layout.after())?);
                self.event(batcher, Op::Delete, 0);
                self.image(batcher, Image::Before, 0, scratch)?;
                batcher.builder.side(header("__debezium.newkey", new));
                self.event(batcher, Op::Create, 1);
                self.image(batcher, Image::After, layout.after(), scratch)?;
                batcher.builder.side(header("__debezium.oldkey", old));
                Ok(())
            }
            other => Err(SqliteError::Unsupported(format!(
                "change {} in the log has the unknown operation {other}",
                self.sequence
            ))),
        }
    }

    fn shape(&self) -> &Shape {
        match &self.decoder.late {
            Some((after, shape)) if self.sequence > *after => shape,
            _ => &self.decoder.own,
        }
    }

    fn event(&self, batcher: &mut Batcher, op: Op, ordinal: u32) {
        let ts_ms = integer(self.row, 3).unwrap_or_default();
        let table = batcher.builder.table(&self.shape().schema);
        batcher.builder.event(EventHead {
            id: id(ts_ms, self.identity, self.sequence, ordinal),
            op,
            table,
            transaction: None,
            ordinal,
            ts_us: ts_ms.saturating_mul(1_000),
            pos: self.sequence as u64,
            last: true,
            snapshot: SnapshotMark::No,
        });
    }

    fn image(
        &self,
        batcher: &mut Batcher,
        image: Image,
        first: usize,
        scratch: &mut String,
    ) -> Result<(), SqliteError> {
        let forms = &self.shape().forms;
        let columns = self.decoder.layout.columns;
        batcher.builder.image(image, |writer| {
            for (part, range) in self.decoder.layout.parts(first) {
                if part == 0 {
                    for column in range {
                        let value = self.row.get_ref(HEAD + first + column).doing(|| self.action())?;
                        decode::push(writer, forms[column], value, scratch);
                    }
                } else {
                    self.wide(part, |row| {
                        for column in range {
                            let value = row.get_ref((first + column) % PART).doing(|| self.action())?;
                            decode::push(writer, forms[column], value, scratch);
                        }
                        Ok(())
                    })?;
                }
            }
            for _ in columns..forms.len() {
                writer.push(&deltaforge_model::Cell::Unavailable);
            }
            Ok(())
        })
    }

    fn action(&self) -> String {
        format!("read change {}", self.sequence)
    }

    fn wide<T>(
        &self,
        part: usize,
        read: impl FnOnce(&Row<'_>) -> Result<T, SqliteError>,
    ) -> Result<T, SqliteError> {
        let cells: Vec<String> = (0..PART).map(|cell| format!("c{cell}")).collect();
        let sql =
            format!("SELECT {} FROM _df_cdc_log_wide WHERE sequence = ?1 AND part = ?2", cells.join(", "));
        let mut statement = self.db.prepare_cached(&sql).doing(|| self.action())?;
        let mut rows = statement.query([self.sequence, part as i64]).doing(|| self.action())?;
        match rows.next().doing(|| self.action())? {
            Some(row) => read(row),
            None => Err(SqliteError::PositionLost(format!(
                "change {} is in the log, but part {part} of it is not",
                self.sequence
            ))),
        }
    }

    fn with_cell<T>(&self, cell: usize, read: impl FnOnce(ValueRef<'_>) -> T) -> Result<T, SqliteError> {
        if cell < PART {
            return self.row.get_ref(HEAD + cell).map(read).doing(|| self.action());
        }
        self.wide(cell / PART, |row| row.get_ref(cell % PART).map(read).doing(|| self.action()))
    }

    fn key_changed(&self) -> Result<bool, SqliteError> {
        let after = self.decoder.layout.after();
        for column in self.decoder.own.schema.key() {
            let column = usize::from(*column);
            let same = self.with_cell(column, |old| self.with_cell(after + column, |new| old == new))??;
            if !same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn key(&self, first: usize) -> Result<serde_json::Value, SqliteError> {
        let schema = &self.decoder.own.schema;
        let mut key = serde_json::Map::new();
        for column in schema.key() {
            let value = self.with_cell(first + usize::from(*column), json)?;
            key.insert(schema.columns()[usize::from(*column)].name.clone(), value);
        }
        Ok(key.into())
    }
}

fn header(name: &str, key: serde_json::Value) -> Side {
    Side { headers: vec![(name.to_owned(), key.to_string())], ..Side::default() }
}

fn json(value: ValueRef<'_>) -> serde_json::Value {
    match value {
        ValueRef::Null => serde_json::Value::Null,
        ValueRef::Integer(v) => v.into(),
        ValueRef::Real(v) => v.into(),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into(),
        ValueRef::Blob(bytes) => hex::encode(bytes).into(),
    }
}
