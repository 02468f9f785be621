//! Copies of existing rows, in step with the log.
//!
//! Rows are read in a *view*: transactions that see the server as it was at one moment, of which only this is known:
//! everything that was read of the log before is in it, and nothing behind its *mark*, a place further on. So the log is
//! read on to the mark first, and every key that changes on the way is noted: what the copy would say of it is older or
//! newer than what the log has said, and is left out, since the log says it all. The rest of the rows are handed out at
//! the mark, and are right there: who has them all has the state of the mark's place. Nothing is locked for that, and a
//! key's history never goes back.
//!
//! An interrupted copy goes on at its next row, in a new view with a mark of its own.
//!
//! * [`progress`]: how far copies have got, for positions;
//! * [`view`]: views and their marks;
//! * [`window`]: what changes on the way to a mark;
//! * [`walk`]: a table in the order of its key, from any row on;
//! * [`copy`]: tasks that read them;
//! * [`columns`]: rows to cells, the same as the log's.

mod columns;
mod copy;
mod filling;
mod progress;
mod retention;
mod view;
mod walk;
mod window;

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_model::pattern::Patterns;
use deltaforge_model::{Position, SourceBatch, SourceInfo};

use crate::config::SnapshotConfig;
use crate::connect::Endpoint;
use crate::ddl::{Definition, TableName};
use crate::failure::MysqlError;
use crate::position::At;
use crate::server::Server;
use filling::{Filling, Outcome};
use progress::Left;
pub(crate) use progress::{Copies, Job};
use retention::Retention;
use view::View;
pub(crate) use window::Window;

/// How often a view is opened anew because something changed under it.
const MOST_VIEWS: u32 = 50;
/// How often before what changes is locked for that moment.
const FREE_VIEWS: u32 = 5;
/// Most keys that are noted on the way to a mark. A view that takes more is opened anew.
const MOST_KEYS: usize = 1 << 18;

/// What a snapshot is made of.
pub(crate) struct Parts {
    pub config: SnapshotConfig,
    pub endpoint: Endpoint,
    pub server: Server,
    pub info: Arc<SourceInfo>,
    pub limits: BatchLimits,
    pub outboxes: Patterns,
}

/// The copies of a stream.
pub(crate) struct Snapshot {
    parts: Parts,
    phase: Phase,
    /// Views that were opened since rows were handed out last.
    views: u32,
    /// Tables that changed as a whole under one of those.
    restless: Vec<TableName>,
}

enum Phase {
    /// Nothing is being copied.
    Idle,
    /// A view is open, and the log is read on to its mark.
    Waiting(View),
    /// Rows are handed out.
    Copying { filling: Box<Filling>, retention: Box<Retention> },
}

/// What is next.
pub(crate) enum Next {
    /// The log, and nothing else.
    Log,
    /// The log, and its batches are to be noted in this.
    LogInto(Window),
    /// This batch, with the copies as they are behind it.
    Batch(SourceBatch, Copies),
    /// Copies have got further without rows.
    Progress(Copies),
}

impl Snapshot {
    pub fn new(parts: Parts) -> Self {
        Self { parts, phase: Phase::Idle, views: 0, restless: Vec::new() }
    }

    /// Whether there is something to do before more of the log is read: at a place between transactions of which all
    /// batches are given.
    pub fn is_due(&self, at: &At) -> bool {
        match &self.phase {
            Phase::Idle => !at.copies.jobs.is_empty(),
            Phase::Waiting(view) => view.mark.is_reached(&at.place),
            Phase::Copying { .. } => true,
        }
    }

    /// The tables whose definitions the next step takes.
    pub fn asks_for(&self, at: &At) -> Vec<TableName> {
        let job = at.copies.jobs.first().filter(|_| matches!(self.phase, Phase::Waiting(_)));
        job.into_iter().flat_map(|job| &job.tables).map(Left::name).collect()
    }

    /// Does it. `given`: where what was handed out so far ends; `known`: the definitions that it asks for, where there are such tables; `window`: what was noted since
    /// it was last asked for.
    ///
    /// # Errors
    ///
    /// When the server fails or refuses, when it no longer keeps the log that comes next, when a row is too large.
    pub async fn step(
        &mut self,
        at: &At,
        given: &Position,
        known: Vec<(TableName, Arc<Definition>)>,
        window: Option<Window>,
    ) -> Result<Next, MysqlError> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => self.open(at).await,
            Phase::Waiting(view) => self.begin(at, view, known, window.unwrap_or_default()).await,
            Phase::Copying { filling, retention } => self.copy(at, given, filling, retention).await,
        }
    }

    async fn open(&mut self, at: &At) -> Result<Next, MysqlError> {
        let Some(job) = at.copies.jobs.first() else { return Ok(Next::Log) };
        self.views += 1;
        if self.views > MOST_VIEWS {
            return Err(MysqlError::NotReady(format!(
                "copy the tables of {}: their definitions, or tables without a key, change all the time; try again when they \
                 do not, or give every table a primary key",
                self.parts.server.address
            )));
        }
        let config = &self.parts.config;
        let ranges = if config.intra_table_parallel { config.max_parallel_chunks.get() } else { 1 };
        let count = config.max_parallel_tables.get().min(job.tables.len().max(1)).max(ranges);
        let Parts { endpoint, server, limits, .. } = &self.parts;
        let names = || job.tables.iter().map(Left::name);
        let restless: Vec<TableName> = match self.views > FREE_VIEWS {
            true => names().filter(|name| self.restless.contains(name)).collect(),
            false => Vec::new(),
        };
        let most = limits.hard_bytes.saturating_mul(2);
        let view = View::open(endpoint, server, &at.place, count, most, &restless).await?;
        // What was held still is in the view as the log has it at the mark.
        let window = Window::of(names().filter(|name| !(view.is_still && restless.contains(name))));
        self.phase = Phase::Waiting(view);
        Ok(Next::LogInto(window))
    }

    async fn begin(
        &mut self,
        at: &At,
        mut view: View,
        known: Vec<(TableName, Arc<Definition>)>,
        window: Window,
    ) -> Result<Next, MysqlError> {
        if window.len() > MOST_KEYS || window.changed_as_a_whole().next().is_some() {
            for table in window
                .changed_as_a_whole()
                .filter(|table| !self.restless.contains(table))
                .cloned()
                .collect::<Vec<_>>()
            {
                self.restless.push(table);
            }
            tokio::time::sleep(Duration::from_millis(10 * u64::from(self.views))).await;
            return self.open(at).await;
        }
        let Some(job) = at.copies.jobs.first() else { return Ok(Next::Log) };
        let retention = Box::new(Retention::new(&self.parts, &at.place));
        let filling = Filling::begin(&self.parts, job.clone(), &mut view, known, window).await?;
        let filling =
            Box::new(filling.start(view, self.parts.config.chunk_size.get(), self.parts.limits.hard_bytes));
        self.phase = Phase::Copying { filling, retention };
        // The first step of the copy follows at once.
        Ok(Next::Progress(at.copies.clone()))
    }

    async fn copy(
        &mut self,
        at: &At,
        given: &Position,
        mut filling: Box<Filling>,
        mut retention: Box<Retention>,
    ) -> Result<Next, MysqlError> {
        retention.check().await?;
        let mut copies = at.copies.clone();
        let outcome = filling.batch(&self.parts, at, given, &mut copies).await?;
        match outcome {
            Outcome::Batch(batch) => {
                (self.views, self.restless) = (0, Vec::new());
                self.phase = Phase::Copying { filling, retention };
                Ok(Next::Batch(batch, copies))
            }
            Outcome::Last(batch) => {
                (self.views, self.restless) = (0, Vec::new());
                let job = copies.jobs.remove(0);
                tracing::info!(generation = job.generation, rows = job.rows, "snapshot finished");
                Ok(match batch {
                    Some(batch) => Next::Batch(batch, copies),
                    None => Next::Progress(copies),
                })
            }
            Outcome::Moved => {
                copies.restart(|table| filling.has_key(table));
                Ok(Next::Progress(copies))
            }
        }
    }
}
