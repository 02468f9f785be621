//! Rows of the log to events, straight from SQLite's values into the batch.

mod change;

use std::collections::HashMap;
use std::sync::Arc;

use deltaforge_engine::batcher::Batcher;
use deltaforge_model::pattern::Patterns;
use deltaforge_model::{EventHead, EventId, Op, Side, SnapshotMark, TableSchema};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use self::change::Change;
use crate::catalog::{Reason, Version, Versions};
use crate::decode::Form;
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
    /// Whether its table is an outbox.
    is_outbox: bool,
    own: Shape,
    /// From this sequence on, rows are shown in the successor's shape, whose further columns are unavailable.
    late: Option<(i64, Shape)>,
}

/// All that turns rows of the log into events.
#[derive(Debug)]
pub(crate) struct Changes {
    database: String,
    patterns: Patterns,
    outboxes: Patterns,
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
    pub fn new(database: String, patterns: Patterns, outboxes: Patterns, identity: String) -> Self {
        Self {
            database,
            patterns,
            outboxes,
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

    /// Whether the table is a transactional outbox.
    pub fn is_outbox(&self, table: &str) -> bool {
        self.outboxes.matches(&self.database, table)
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
            is_outbox: self.is_outbox(&version.definition.name),
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
                    Took::Narrow(cells) if width == has => {
                        return Err(SqliteError::Unsupported(format!(
                            "the change log is damaged: a change has {cells} cells, and the log {has}; `deltaforge \
                             source uninstall` and a new snapshot mend that"
                        )));
                    }
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
        at.began = at.began.filter(|began| sequence < *began);
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
        // What was there when this reader began is new to others only.
        let was_there = reason == Reason::Created && at.began.is_some_and(|began| sequence <= began);
        let reason = if was_there { Reason::Installed } else { reason };
        let marker = Marker {
            reason,
            statement: text(1).map(str::to_owned),
            snapshot: !was_there && integer(row, HEAD + 2) == Some(1),
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
            at.begin(Job {
                generation: format!("{}-{sequence}", self.identity),
                started_ms: ts_ms,
                since: sequence,
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
            ts_us: ts_ms.saturating_mul(1_000),
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
