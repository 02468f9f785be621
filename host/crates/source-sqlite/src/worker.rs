//! The thread that talks to SQLite: reads, copies, reconciles, cleans up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_engine::batcher::{BatchLimits, Batcher};
use deltaforge_engine::source::SourceContext;
use deltaforge_model::pattern::Patterns;
use deltaforge_model::{BatchBuilder, Boundary, SourceBatch, SourceInfo};
use rusqlite::Connection;

use crate::catalog::{self, Known};
use crate::changes::{Changes, Stopped};
use crate::config::{SchemaDrift, SnapshotMode, SqliteConfig};
use crate::error::{Doing, SqliteError, is_busy};
use crate::install;
use crate::log;
use crate::outbox;
use crate::position::{At, Job};
use crate::readers::reader_name;
use crate::resume;
use crate::snapshot::{Chunk, must_restart};
use crate::thread::Work;

/// Most rows removed from the log in one write transaction, and the time one may take.
const SLICE: i64 = 1_000;
const SLICE_TIME: Duration = Duration::from_millis(5);
/// The application's transactions that have read before they write fail when another connection writes in between. So
/// what is confirmed is written down, and the log shortened, when the application has been quiet for this long, or
/// for so many rows but no more often than that, or after all that time.
const QUIET_FOR: Duration = Duration::from_secs(1);
const TIDY_ROWS: i64 = SLICE;
const TIDY_WITHIN: Duration = Duration::from_secs(30);
/// Rows of the log that may pass without an event before progress is told all the same.
const SILENT_ROWS: i64 = 512;
/// How long progress without an event may stay untold.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// How long a read waits for a lock before it is tried again later, and how long an installation waits.
const READ_WAIT: Duration = Duration::from_millis(100);
const INSTALL_WAIT: Duration = Duration::from_secs(5);
/// How often the log's size is looked at.
const SIZE_EVERY: Duration = Duration::from_secs(10);

/// All that one reading thread owns.
pub(crate) struct Worker {
    db: Connection,
    path: PathBuf,
    file_id: Option<u64>,
    database: String,
    patterns: Patterns,
    config: SqliteConfig,
    reader: String,
    info: Arc<SourceInfo>,
    limits: BatchLimits,
    at: At,
    /// The position told last.
    told: At,
    told_when: Instant,
    changes: Changes,
    schema_version: i64,
    data_version: i64,
    /// Every captured table had its version's definition up to this change.
    consistent_through: i64,
    confirmed: i64,
    /// What of it is written down in the database, and when that was.
    tidied: i64,
    tidied_when: Instant,
    /// When the last batch was read.
    active_when: Instant,
    /// More can be removed at once.
    tidying: bool,
    slice: i64,
    size_seen: Instant,
}

/// Whether a look at the log found something.
enum Looked {
    Batch(Box<SourceBatch>),
    Nothing,
    /// The schema is another one now.
    SchemaChanged,
}

impl Worker {
    /// Opens the database, checks that the checkpoint belongs to it, and installs capture where it is missing.
    pub fn open(config: SqliteConfig, context: SourceContext) -> Result<Self, SqliteError> {
        let path =
            config.file().ok_or_else(|| SqliteError::Unsupported("no database file is configured".into()))?;
        let database = install::database_name(&path);
        let mut db = install::open(&path)?;
        let held = context.resume.as_ref().map(At::parse).transpose()?;
        if let Some(at) = &held {
            resume::check(&db, at)?;
        }
        let stands = context.stands.iter().map(At::parse).collect::<Result<Vec<_>, _>>()?;
        for at in &stands {
            resume::check(&db, at)?;
        }
        let patterns = config.patterns();
        let known =
            Known { reading: held.is_some(), consistent_through: held.as_ref().map_or(0, |at| at.sequence) };
        let installed = reconcile(&mut db, &config, &database, &patterns, known)?;
        let identity = log::incarnation(&db)?.ok_or_else(|| {
            SqliteError::Unsupported("the change log vanished while it was installed".into())
        })?;
        let mut changes =
            Changes::new(database.clone(), patterns.clone(), config.outboxes(), identity.clone());
        changes.set_versions(catalog::load(&db)?);
        let first = held.is_none();
        let told = held.clone();
        let mut at = held.unwrap_or_else(|| At::start(identity));
        for job in &mut at.jobs {
            if must_restart(job, changes.versions()) {
                job.generation = new_generation(&db)?;
                job.after.clear();
                job.rows = 0;
            }
        }
        let snapshot = match config.snapshot_mode() {
            SnapshotMode::Never => false,
            SnapshotMode::Initial => first,
            SnapshotMode::Always => true,
        };
        let info = SourceInfo {
            connector: "sqlite".into(),
            pos_name: "sequence".into(),
            pos_is_lsn: false,
            ..context.info
        };
        let reader = reader_name(&info.tenant, &info.pipeline, &info.source_id);
        if first {
            // Known before it starts: what another one installs from here on is new to this reader.
            log::register(&db, &reader, 0)?;
            resume::start(&db, &mut at, snapshot)?;
        }
        if snapshot {
            at.jobs = vec![initial_job(&db, &database, &patterns)?];
        }
        at.go_on(&stands);
        log::register(&db, &reader, at.sequence)?;
        db.busy_timeout(READ_WAIT).doing(|| "set the lock time-out".into())?;
        install::warn_of_journal(&db, &path)?;
        let tables = crate::table::matching(&db, &database, &patterns)?;
        // A log that was there, from its first change on, has seen rows come.
        if first && !snapshot && (installed || log::lowest(&db)? != Some(1)) {
            resume::warn_of_rows(&db, &tables)?;
        }
        if tables.is_empty() {
            tracing::warn!(path = %path.display(), "no table matches yet; tables are captured when they are created");
        }
        outbox::warn_of_none(&config, &path, tables.iter().any(|table| changes.is_outbox(table)));
        Ok(Self {
            file_id: file_id(&path),
            database,
            patterns,
            reader,
            info: Arc::new(info),
            limits: context.limits,
            told: told.unwrap_or_else(|| at.clone()),
            told_when: Instant::now(),
            consistent_through: at.sequence,
            confirmed: at.sequence,
            tidied: at.sequence,
            tidied_when: Instant::now(),
            active_when: Instant::now(),
            tidying: false,
            slice: SLICE,
            size_seen: Instant::now(),
            schema_version: -1,
            data_version: -1,
            db,
            path,
            config,
            at,
            changes,
        })
    }

    /// The database's incarnation.
    pub fn identity(&self) -> String {
        self.at.identity.clone()
    }

    /// One short read transaction: the schema's version, the log from where we are, and at its end a chunk of the
    /// copies under way.
    fn poll(&mut self) -> Result<Looked, SqliteError> {
        let tx = self.db.unchecked_transaction().doing(|| "begin reading".into())?;
        let schema_version: i64 = pragma(&tx, "schema_version")?;
        if schema_version != self.schema_version {
            return Ok(Looked::SchemaChanged);
        }
        if let Some(expected) = self.at.nonce {
            resume::check_nonce(&tx, self.at.sequence, expected)?;
        }
        self.consistent_through = log::highest(&tx)?;
        let builder = BatchBuilder::new(self.info.clone());
        let mut batcher = Batcher::new(builder, self.limits, self.told.position());
        let hard_bytes = self.limits.hard_bytes;
        let stopped = self.changes.read(&tx, &mut self.at, &mut batcher, hard_bytes)?;
        if stopped == Stopped::Tail && !self.at.jobs.is_empty() {
            let chunk = Chunk {
                db: &tx,
                changes: &self.changes,
                database: &self.database,
                schema_version,
                max_rows: self.config.chunk_size(),
                hard_bytes,
            };
            chunk.read(&mut self.at, &mut batcher)?;
        }
        tx.finish().doing(|| "end reading".into())?;
        if batcher.builder.is_empty() {
            return Ok(self
                .silent_progress(SILENT_FOR)
                .map_or(Looked::Nothing, |batch| Looked::Batch(Box::new(batch))));
        }
        Ok(Looked::Batch(Box::new(self.close(batcher))))
    }

    fn close(&mut self, batcher: Batcher) -> SourceBatch {
        self.told = self.at.clone();
        self.told_when = Instant::now();
        self.active_when = Instant::now();
        batcher.close(self.at.position(), Boundary::Transaction)
    }

    /// Tells progress that came without events, so that the log can be cleaned up behind it.
    fn silent_progress(&mut self, patience: Duration) -> Option<SourceBatch> {
        let rows = self.at.sequence - self.told.sequence;
        let jobs_ended = self.at.jobs.len() < self.told.jobs.len();
        if !(rows > 0 || jobs_ended) || (rows < SILENT_ROWS && self.told_when.elapsed() < patience) {
            return None;
        }
        let builder = BatchBuilder::new(self.info.clone());
        let mut batcher = Batcher::new(builder, self.limits, self.told.position());
        self.changes.heartbeat(&self.at, &mut batcher);
        Some(self.close(batcher))
    }

    /// Brings capture up to date after the schema changed.
    fn adapt(&mut self) -> Result<(), SqliteError> {
        let known =
            Known { reading: true, consistent_through: self.consistent_through.max(self.at.sequence) };
        // The version is read before the plan: if another change comes between, the next poll sees it.
        let seen: i64 = pragma(&self.db, "schema_version")?;
        if log::incarnation(&self.db)?.as_deref() != Some(&self.at.identity) {
            // Removed for good, or a file that is being restored right now: the next start can tell.
            return Err(SqliteError::Replaced(
                "the change log is gone from the database, or is another one; connecting anew".into(),
            ));
        }
        self.db.busy_timeout(INSTALL_WAIT).doing(|| "set the lock time-out".into())?;
        let changed = reconcile(&mut self.db, &self.config, &self.database, &self.patterns, known)?;
        self.db.busy_timeout(READ_WAIT).doing(|| "set the lock time-out".into())?;
        self.changes.set_versions(catalog::load(&self.db)?);
        self.schema_version = if changed { pragma(&self.db, "schema_version")? } else { seen };
        if changed {
            // Our own changes of the schema may hide another one that came between: look once more.
            let versions = self.changes.versions();
            if !catalog::plan(&self.db, &self.database, &self.patterns, versions, known)?.is_empty() {
                self.schema_version = -1;
            }
        }
        Ok(())
    }

    /// Another file may have taken the database's place; our connection would never notice.
    fn check_file(&self) -> Result<(), SqliteError> {
        if file_id(&self.path) == self.file_id {
            return Ok(());
        }
        Err(SqliteError::Replaced(format!(
            "{} was replaced by another file; connecting anew",
            self.path.display()
        )))
    }

    /// Whether the database is to be told what is confirmed.
    fn is_untidy(&self) -> bool {
        let (rows, since) = (self.confirmed - self.tidied, self.tidied_when.elapsed());
        let may = rows > 0 && since >= QUIET_FOR;
        self.tidying
            || (may && (rows >= TIDY_ROWS || since >= TIDY_WITHIN || self.active_when.elapsed() >= QUIET_FOR))
    }

    fn check_size(&mut self) {
        if self.size_seen.elapsed() < SIZE_EVERY {
            return;
        }
        self.size_seen = Instant::now();
        let (Ok(Some(low)), Ok(high)) = (log::lowest(&self.db), log::highest(&self.db)) else { return };
        let rows = (high - low + 1).max(0) as u64;
        metrics::gauge!("deltaforge_source_sqlite_log_rows", "pipeline" => self.info.pipeline.clone())
            .set(rows as f64);
        if rows > self.config.log_alert_rows.get() {
            tracing::warn!(
                rows,
                alert = self.config.log_alert_rows.get(),
                "the change log grows: a reader is behind or gone (`deltaforge source readers` tells which); a full \
                 disk would fail the application's writes"
            );
        }
    }
}

impl Work for Worker {
    fn path(&self) -> &Path {
        &self.path
    }

    fn idle_pause(&self) -> Duration {
        Duration::from_millis(self.config.poll_interval_ms.get())
    }

    fn look(&mut self) -> Result<Option<SourceBatch>, SqliteError> {
        let version: i64 = pragma(&self.db, "data_version")?;
        if version == self.data_version && self.at.jobs.is_empty() && self.schema_version >= 0 {
            self.check_file()?;
            return Ok(self.silent_progress(SILENT_FOR));
        }
        loop {
            let before = self.at.clone();
            let looked = self.poll().inspect_err(|_| self.at = before)?;
            match looked {
                Looked::Batch(batch) => return Ok(Some(*batch)),
                Looked::Nothing => {
                    self.data_version = version;
                    return Ok(self.silent_progress(SILENT_FOR));
                }
                Looked::SchemaChanged => self.adapt()?,
            }
        }
    }

    fn confirmed(&mut self, sequence: i64) {
        self.confirmed = sequence;
    }

    /// Removes what no reader needs, one short transaction at a time; gives way to everybody.
    fn tidy(&mut self) -> bool {
        self.check_size();
        if !self.is_untidy() {
            return false;
        }
        let began = Instant::now();
        let outcome = self
            .db
            .busy_timeout(Duration::ZERO)
            .and_then(|()| log::confirm(&mut self.db, &self.reader, self.confirmed, self.slice));
        if let Err(error) = self.db.busy_timeout(READ_WAIT) {
            tracing::warn!(%error, "set the lock time-out");
        }
        match outcome {
            Ok(cleaned) => {
                let slow = began.elapsed() > SLICE_TIME;
                self.slice = if slow { (self.slice / 2).max(50) } else { (self.slice * 2).min(SLICE) };
                self.tidying = cleaned.more;
                (self.tidied, self.tidied_when) = (self.confirmed, Instant::now());
            }
            Err(error) if is_busy(&error) => return true,
            Err(error) => {
                tracing::warn!(%error, "clean up the change log");
                self.tidying = false;
                self.tidied_when = Instant::now();
            }
        }
        self.tidying
    }
}

fn reconcile(
    db: &mut Connection,
    config: &SqliteConfig,
    database: &str,
    patterns: &Patterns,
    known: Known,
) -> Result<bool, SqliteError> {
    if log::incarnation(db)?.is_some() {
        let versions = catalog::load(db)?;
        let steps = catalog::plan(db, database, patterns, &versions, known)?;
        if steps.is_empty() {
            return Ok(false);
        }
        let drifted =
            steps.iter().find(|step| matches!(step.reason, catalog::Reason::Altered | catalog::Reason::Gone));
        if let (SchemaDrift::Halt, Some(step)) = (config.on_schema_drift, drifted) {
            return Err(SqliteError::Drift(format!(
                "table {} is not what it was when capture was installed ({}), and on_schema_drift is halt; run \
                 `deltaforge source install` to go on with its new definition",
                step.table,
                step.reason.word()
            )));
        }
    }
    match install::reconcile(db, database, patterns, known) {
        Ok(steps) => {
            for (table, reason) in &steps {
                tracing::info!(table, reason = reason.word(), "capture installed");
            }
            Ok(!steps.is_empty())
        }
        Err(SqliteError::Database { cause, .. })
            if cause.sqlite_error_code() == Some(rusqlite::ErrorCode::ReadOnly) =>
        {
            Err(SqliteError::Unsupported(format!(
                "triggers cannot be installed in a database that cannot be written ({cause}); `cdc_mode: polling` with \
                 `lossy: accept` reads inserts only, best effort"
            )))
        }
        Err(error) => Err(error),
    }
}

fn initial_job(db: &Connection, database: &str, patterns: &Patterns) -> Result<Job, SqliteError> {
    let started_ms = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64);
    Ok(Job {
        generation: new_generation(db)?,
        started_ms,
        since: 0,
        tables: crate::table::matching(db, database, patterns)?,
        after: Vec::new(),
        schema: None,
        rows: 0,
    })
}

fn new_generation(db: &Connection) -> Result<String, SqliteError> {
    db.query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0))
        .doing(|| "name the snapshot's generation".into())
}

fn pragma(db: &Connection, name: &str) -> Result<i64, SqliteError> {
    db.prepare_cached(&format!("PRAGMA {name}"))
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing(|| format!("read {name}"))
}

#[cfg(unix)]
fn file_id(path: &std::path::Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|metadata| metadata.ino())
}

#[cfg(not(unix))]
fn file_id(_path: &std::path::Path) -> Option<u64> {
    None
}
