//! Copies of existing rows, a chunk at a time.
//!
//! A chunk is read only in a read transaction that has also read the log to its end. So the changes that the
//! chunk's rows already show stand before it in the stream, and every later change after it: no gap, no row that
//! goes back, and never a long transaction that would hold up writers or the WAL's checkpoint.

use deltaforge_engine::batcher::Batcher;
use deltaforge_model::{EventHead, EventId, Image, Op, SnapshotMark};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

use crate::catalog;
use crate::changes::Changes;
use crate::decode::{self, Form};
use crate::error::{Doing, SqliteError};
use crate::outbox;
use crate::position::{At, Job, Mark};
use crate::sql::name;
use crate::table::Definition;

/// How a chunk is read.
pub(crate) struct Chunk<'a> {
    pub db: &'a Connection,
    pub changes: &'a Changes,
    pub database: &'a str,
    /// The schema version of the present read transaction.
    pub schema_version: i64,
    /// Most rows.
    pub max_rows: usize,
    pub hard_bytes: usize,
}

/// A table being copied: what to ask for and how to show it.
struct Copied {
    definition: Definition,
    schema: std::sync::Arc<deltaforge_model::TableSchema>,
    forms: Vec<Form>,
    /// Columns by which the copy moves on, as SQL; the row number, or the key of a table without one.
    order: Vec<String>,
    /// Indexes in the result of the values that `order` names.
    marks: Vec<usize>,
    key: Vec<usize>,
    is_outbox: bool,
}

impl Chunk<'_> {
    /// Appends rows of the copies under way and moves `at` along, until the chunk or the batch is full or nothing is
    /// left to copy.
    pub fn read(&self, at: &mut At, batcher: &mut Batcher) -> Result<(), SqliteError> {
        let mut left = self.max_rows;
        let mut scratch = String::new();
        while let Some(mut job) = (!at.jobs.is_empty()).then(|| at.jobs.remove(0)) {
            let wrote = job.rows;
            let open = self.job(&mut job, at, batcher, &mut left, &mut scratch)?;
            if open {
                at.jobs.insert(0, job);
                return Ok(());
            }
            if job.rows > wrote {
                batcher.builder.mark_snapshot_last();
            }
            tracing::info!(generation = job.generation, rows = job.rows, "snapshot finished");
        }
        Ok(())
    }

    /// Copies on; answers whether rows are left.
    fn job(
        &self,
        job: &mut Job,
        at: &mut At,
        batcher: &mut Batcher,
        left: &mut usize,
        scratch: &mut String,
    ) -> Result<bool, SqliteError> {
        while let Some(table) = job.tables.first().cloned() {
            let version =
                catalog::live(self.changes.versions(), &table).filter(|_| self.changes.wants(&table));
            let Some(version) = version else {
                job.tables.remove(0); // dropped since
                job.after.clear();
                continue;
            };
            let copied = Copied::new(&version.definition, self.database, self.changes.is_outbox(&table));
            if job.schema != Some(self.schema_version) {
                if job.schema.is_some() && copied.definition.walk().is_none() {
                    job.after.clear(); // VACUUM may have renumbered the rows
                }
                job.schema = Some(self.schema_version);
            }
            if self.table(&copied, job, at, batcher, left, scratch)? {
                return Ok(true);
            }
            job.tables.remove(0);
            job.after.clear();
        }
        Ok(false)
    }

    fn table(
        &self,
        copied: &Copied,
        job: &mut Job,
        at: &mut At,
        batcher: &mut Batcher,
        left: &mut usize,
        scratch: &mut String,
    ) -> Result<bool, SqliteError> {
        let action = || format!("copy the rows of {}", copied.definition.name);
        let mut statement = self.db.prepare_cached(&copied.statement(!job.after.is_empty())).doing(action)?;
        let after: Vec<Value> = job.after.iter().map(value).collect();
        let mut rows = statement.query(params_from_iter(after)).doing(action)?;
        while let Some(row) = rows.next().doing(action)? {
            if *left == 0 || (!batcher.builder.is_empty() && batcher.is_full(true, false)) {
                return Ok(true);
            }
            let bytes = batcher.builder.row_bytes();
            let mark = if job.rows == 0 { SnapshotMark::First } else { SnapshotMark::True };
            self.event(copied, job, at, row, mark, batcher, scratch).doing(action)?;
            if batcher.builder.row_bytes() > self.hard_bytes {
                let size = batcher.builder.row_bytes() - bytes;
                batcher.builder.undo();
                if !batcher.builder.is_empty() && size <= self.hard_bytes {
                    return Ok(true);
                }
                return Err(SqliteError::row_too_large(
                    &format!("a row of {}", copied.schema.qualified()),
                    size,
                    self.hard_bytes,
                ));
            }
            *left -= 1;
            job.rows += 1;
            at.snapshot_rows += 1;
            job.after.clear();
            for column in &copied.marks {
                job.after.push(mark_of(row.get_ref(*column).doing(action)?, &copied.definition.name)?);
            }
        }
        Ok(false)
    }

    #[allow(clippy::too_many_arguments)]
    fn event(
        &self,
        copied: &Copied,
        job: &Job,
        at: &At,
        row: &Row<'_>,
        snapshot: SnapshotMark,
        batcher: &mut Batcher,
        scratch: &mut String,
    ) -> rusqlite::Result<()> {
        let mut key = Vec::with_capacity(32);
        for column in &copied.key {
            key_bytes(&mut key, row.get_ref(*column)?);
        }
        let parts: [&[u8]; 3] = [job.generation.as_bytes(), copied.definition.name.as_bytes(), &key];
        let table = batcher.builder.table(&copied.schema);
        batcher.builder.event(EventHead {
            id: EventId::derive(job.started_ms, &parts),
            op: Op::Read,
            table,
            transaction: None,
            ordinal: (at.snapshot_rows + 1) as u32,
            ts_us: job.started_ms.saturating_mul(1_000),
            pos: at.sequence as u64,
            last: true,
            snapshot,
        });
        outbox::mark(batcher, copied.is_outbox);
        batcher.builder.image(Image::After, |writer| {
            for (column, form) in copied.forms.iter().enumerate() {
                decode::push(writer, *form, row.get_ref(column + 1)?, scratch);
            }
            Ok(())
        })
    }
}

impl Copied {
    fn new(definition: &Definition, database: &str, is_outbox: bool) -> Self {
        let schema = definition.schema(database);
        let forms = schema.columns().iter().map(|column| Form::of(column.kind)).collect();
        let at = |column: &String| 1 + schema.column(column).map_or(0, usize::from);
        let (order, marks) = match (definition.walk(), &definition.rowid) {
            (Some(columns), _) => {
                let ordered = |column: &String| name(column) + &definition.key_collation(column);
                (columns.iter().map(ordered).collect(), columns.iter().map(at).collect())
            }
            (None, Some(alias)) => (vec![alias.clone()], vec![0]),
            (None, None) => (Vec::new(), Vec::new()),
        };
        let mut key: Vec<usize> = definition.key.iter().map(at).collect();
        if definition.walk().is_none() {
            // A row that is deleted and comes back under another number is copied again, as another event.
            key.push(0);
        }
        Self { definition: definition.clone(), schema, forms, order, marks, key, is_outbox }
    }

    /// Result column 0 is the row number, or NULL; then the table's columns.
    fn statement(&self, resumed: bool) -> String {
        let columns: Vec<String> = self.definition.columns.iter().map(|column| name(&column.name)).collect();
        let rowid = match (&self.definition.rowid_column, &self.definition.rowid) {
            (Some(column), _) => name(column),
            (None, Some(alias)) => alias.clone(),
            (None, None) => "NULL".into(),
        };
        let order = self.order.join(", ");
        let marks: Vec<String> = (1..=self.order.len()).map(|at| format!("?{at}")).collect();
        let after =
            if resumed { format!(" WHERE ({order}) > ({})", marks.join(", ")) } else { String::new() };
        format!(
            "SELECT {rowid}, {} FROM {}{after} ORDER BY {order}",
            columns.join(", "),
            name(&self.definition.name)
        )
    }
}

/// Whether a copy of this table cannot go on where it was, since its rows have no names that last.
pub(crate) fn must_restart(job: &Job, versions: &catalog::Versions) -> bool {
    !job.after.is_empty()
        && job
            .tables
            .first()
            .and_then(|table| catalog::live(versions, table))
            .is_some_and(|v| v.definition.key.is_empty())
}

fn key_bytes(out: &mut Vec<u8>, value: ValueRef<'_>) {
    let (tag, number);
    let bytes: &[u8] = match value {
        ValueRef::Null => {
            tag = 0;
            &[]
        }
        ValueRef::Integer(v) => {
            (tag, number) = (1, v.to_le_bytes());
            &number
        }
        ValueRef::Real(v) => {
            (tag, number) = (2, v.to_bits().to_le_bytes());
            &number
        }
        ValueRef::Text(text) => {
            tag = 3;
            text
        }
        ValueRef::Blob(blob) => {
            tag = 4;
            blob
        }
    };
    out.push(tag);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn mark_of(value: ValueRef<'_>, table: &str) -> Result<Mark, SqliteError> {
    Ok(match value {
        ValueRef::Integer(v) => Mark::Int(v),
        ValueRef::Real(v) => Mark::Real(v.to_bits()),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Mark::Text(text.to_owned()),
            Err(_) => {
                return Err(SqliteError::Unsupported(format!(
                    "table {table} has a key that is no UTF-8 text, and no copy can be marked there; leave the table out \
                     or repair the row"
                )));
            }
        },
        ValueRef::Blob(blob) => Mark::Blob(hex::encode(blob)),
        ValueRef::Null => {
            return Err(SqliteError::Unsupported(format!(
                "table {table} has a NULL in a key that cannot hold one"
            )));
        }
    })
}

fn value(mark: &Mark) -> Value {
    match mark {
        Mark::Int(v) => Value::Integer(*v),
        Mark::Real(bits) => Value::Real(f64::from_bits(*bits)),
        Mark::Text(text) => Value::Text(text.clone()),
        Mark::Blob(hex) => Value::Blob(hex::decode(hex).unwrap_or_default()),
    }
}
