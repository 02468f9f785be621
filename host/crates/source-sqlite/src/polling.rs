//! Polling: new rows by their row number. Inserts only, best effort.
//!
//! Updates and deletes are never seen; nor are rows that are deleted, or inserted below a number already seen,
//! between two looks. Nothing is written to the database.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deltaforge_engine::batcher::{BatchLimits, Batcher};
use deltaforge_engine::source::SourceContext;
use deltaforge_model::{
    BatchBuilder, Boundary, EventHead, EventId, Image, Op, SnapshotMark, SourceBatch, SourceInfo, TableSchema,
};
use rusqlite::{Connection, OpenFlags};

use crate::config::{SnapshotMode, SqliteConfig};
use crate::decode::{self, Form};
use crate::error::{Doing, SqliteError};
use crate::install::{self, database_name};
use crate::outbox;
use crate::position::At;
use crate::sql::name;
use crate::table::{self, Definition};
use crate::thread::Work;

/// All that a polling thread owns.
pub(crate) struct Polling {
    db: Connection,
    path: PathBuf,
    database: String,
    config: SqliteConfig,
    info: Arc<SourceInfo>,
    limits: BatchLimits,
    at: At,
    /// The position told last.
    told: At,
    tables: Vec<Polled>,
    schema_version: i64,
    data_version: i64,
}

struct Polled {
    name: String,
    schema: Arc<TableSchema>,
    forms: Vec<Form>,
    statement: String,
    is_outbox: bool,
}

impl Polling {
    /// Opens the database, read only.
    pub fn open(config: SqliteConfig, context: SourceContext) -> Result<Self, SqliteError> {
        let path =
            config.file().ok_or_else(|| SqliteError::Unsupported("no database file is configured".into()))?;
        let db = install::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.busy_timeout(Duration::from_secs(5)).doing(|| "set the lock time-out".into())?;
        let identity = format!("path:{}", path.canonicalize().unwrap_or_else(|_| path.clone()).display());
        let resume = context.resume.as_ref().map(At::parse).transpose()?;
        if let Some(at) = resume.as_ref().filter(|at| at.identity != identity) {
            return Err(SqliteError::Unrelated(format!(
                "the checkpoint is of {}, but this pipeline polls {identity}; delete the checkpoint to start anew",
                at.identity
            )));
        }
        tracing::warn!(path = %path.display(), "polling sees inserts only, best effort");
        install::warn_of_journal(&db, &path)?;
        let first = resume.is_none();
        let mut at = resume.unwrap_or_else(|| At::start(identity));
        at.started_ms.get_or_insert_with(|| now_us() / 1_000);
        let database = database_name(&path);
        let tables = polled(&db, &database, &config)?;
        outbox::warn_of_none(&config, &path, tables.iter().any(|table| table.is_outbox));
        if first && config.snapshot_mode() == SnapshotMode::Never {
            for table in &tables {
                let highest = db
                    .query_row(
                        &format!("SELECT coalesce(max(rowid), {}) FROM {}", i64::MIN, name(&table.name)),
                        [],
                        |row| row.get(0),
                    )
                    .doing(|| format!("find the last row of {}", table.name))?;
                at.tables.insert(table.name.clone(), highest);
            }
        }
        let told = at.clone();
        // Rows may have come that are read before those that some sink has had. So what is read from here on is counted
        // after all that any sink has had, and comes to all of them.
        for stand in &context.stands {
            at.sequence = at.sequence.max(At::parse(stand)?.sequence);
        }
        let info = SourceInfo {
            connector: "sqlite".into(),
            pos_name: "sequence".into(),
            pos_is_lsn: false,
            ..context.info
        };
        Ok(Self {
            db,
            path,
            database,
            config,
            info: Arc::new(info),
            limits: context.limits,
            at,
            told,
            tables,
            schema_version: -1,
            data_version: -1,
        })
    }

    /// What positions call the database.
    pub fn identity(&self) -> String {
        self.at.identity.clone()
    }

    fn read(&mut self, batcher: &mut Batcher) -> Result<bool, SqliteError> {
        let mut scratch = String::new();
        for polled in &self.tables {
            let action = || format!("poll {}", polled.name);
            let mut statement = self.db.prepare_cached(&polled.statement).doing(action)?;
            let after = self.at.tables.get(&polled.name).copied();
            let mut rows = statement.query([after]).doing(action)?;
            while let Some(row) = rows.next().doing(action)? {
                if batcher.is_full(true, false) {
                    return Ok(true);
                }
                let rowid: i64 = row.get(0).doing(action)?;
                let bytes = batcher.builder.row_bytes();
                let table = batcher.builder.table(&polled.schema);
                let parts: [&[u8]; 3] =
                    [self.at.identity.as_bytes(), polled.name.as_bytes(), &rowid.to_le_bytes()];
                batcher.builder.event(EventHead {
                    id: EventId::derive(self.at.started_ms.unwrap_or_default(), &parts),
                    op: Op::Create,
                    table,
                    transaction: None,
                    ordinal: 0,
                    ts_us: now_us(),
                    pos: (self.at.sequence + 1) as u64,
                    last: true,
                    snapshot: SnapshotMark::No,
                });
                outbox::mark(batcher, polled.is_outbox);
                batcher
                    .builder
                    .image(Image::After, |writer| {
                        for (column, form) in polled.forms.iter().enumerate() {
                            decode::push(writer, *form, row.get_ref(column + 1)?, &mut scratch);
                        }
                        Ok(())
                    })
                    .doing(action)?;
                if batcher.builder.row_bytes() > self.limits.hard_bytes {
                    let size = batcher.builder.row_bytes() - bytes;
                    batcher.builder.undo();
                    if size <= self.limits.hard_bytes && !batcher.builder.is_empty() {
                        return Ok(true);
                    }
                    return Err(SqliteError::row_too_large(
                        &format!("row {rowid} of {}", polled.schema.qualified()),
                        size,
                        self.limits.hard_bytes,
                    ));
                }
                self.at.sequence += 1;
                self.at.tables.insert(polled.name.clone(), rowid);
            }
        }
        Ok(false)
    }

    fn poll(&mut self) -> Result<Option<(SourceBatch, bool)>, SqliteError> {
        let tx = self.db.unchecked_transaction().doing(|| "begin reading".into())?;
        let schema_version = pragma(&tx, "schema_version")?;
        if schema_version != self.schema_version {
            self.tables = polled(&tx, &self.database, &self.config)?;
            self.schema_version = schema_version;
        }
        drop(tx);
        let mut batcher =
            Batcher::new(BatchBuilder::new(self.info.clone()), self.limits, self.told.position());
        let more = self.read(&mut batcher)?;
        if batcher.builder.is_empty() {
            return Ok(None);
        }
        self.told = self.at.clone();
        Ok(Some((batcher.close(self.at.position(), Boundary::Transaction), more)))
    }
}

impl Work for Polling {
    fn path(&self) -> &Path {
        &self.path
    }

    fn idle_pause(&self) -> Duration {
        Duration::from_millis(self.config.poll_interval_ms.get())
    }

    fn look(&mut self) -> Result<Option<SourceBatch>, SqliteError> {
        let version = pragma(&self.db, "data_version")?;
        if version == self.data_version {
            return Ok(None);
        }
        let before = self.at.clone();
        match self.poll().inspect_err(|_| self.at = before)? {
            Some((batch, more)) => {
                if !more {
                    self.data_version = version;
                }
                Ok(Some(batch))
            }
            None => {
                self.data_version = version;
                Ok(None)
            }
        }
    }

    fn confirmed(&mut self, _sequence: i64) {}

    fn tidy(&mut self) -> bool {
        false
    }
}

fn polled(db: &Connection, database: &str, config: &SqliteConfig) -> Result<Vec<Polled>, SqliteError> {
    let mut tables = Vec::new();
    let outboxes = config.outboxes();
    for table in table::matching(db, database, &config.patterns())? {
        let Some(definition) = Definition::read(db, &table)? else { continue };
        let Some(rowid) = &definition.rowid else {
            return Err(SqliteError::Unsupported(format!(
                "table {table} has no row numbers (WITHOUT ROWID), so polling cannot follow it; leave it out of \
                 `tables` or use `cdc_mode: triggers`"
            )));
        };
        let rowid = name(rowid);
        let schema = definition.schema(database);
        let columns: Vec<String> = definition.columns.iter().map(|column| name(&column.name)).collect();
        tables.push(Polled {
            // The very lowest row number there can be is out of reach; nobody has it.
            statement: format!(
                "SELECT {rowid}, {} FROM {} WHERE {rowid} > coalesce(?1, {}) ORDER BY {rowid}",
                columns.join(", "),
                name(&table),
                i64::MIN
            ),
            forms: schema.columns().iter().map(|column| Form::of(column.kind)).collect(),
            schema,
            is_outbox: outboxes.matches(database, &table),
            name: table,
        });
    }
    Ok(tables)
}

fn pragma(db: &Connection, name: &str) -> Result<i64, SqliteError> {
    db.prepare_cached(&format!("PRAGMA {name}"))
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing(|| format!("read {name}"))
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
