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
//! A copy that somebody asks for while the log is read takes turns with it: after each chunk the log is read to the end that it
//! had then, and what it says goes into the window too. So the same view serves for many chunks: a row of it is right as
//! long as the log has not spoken of its key since the view was opened.
//!
//! * [`progress`]: how far copies have got, for positions;
//! * [`view`], [`views`]: views and their marks, and one after the other;
//! * [`window`]: what changes on the way to a mark;
//! * [`requests`], [`check`], [`condition`]: what somebody asks for, whether it can be done, and of which rows;
//! * [`walk`]: a table in the order of its key, from any row on;
//! * [`copy`]: tasks that read them;
//! * [`columns`]: rows to cells, the same as the log's.

pub(crate) mod check;
mod columns;
mod condition;
mod copy;
mod filling;
mod progress;
mod requests;
mod retention;
mod view;
mod views;
mod walk;
mod window;

use std::sync::Arc;

use deltaforge_engine::batcher::BatchLimits;
use deltaforge_model::pattern::Patterns;
use deltaforge_model::{Position, SourceBatch, SourceInfo};

use crate::config::{Captured, SnapshotConfig};
use crate::connect::Endpoint;
use crate::ddl::{Definition, TableName};
use crate::failure::MysqlError;
use crate::position::At;
use crate::server::Server;
use filling::{Filling, Outcome};
use progress::Left;
pub(crate) use progress::{Copies, Job};
pub(crate) use requests::Requests;
use retention::Retention;
pub(crate) use retention::outlook;
use view::{Mark, View};
use views::{Views, serves};
pub(crate) use window::Window;

/// A copy that takes turns with the log: bytes of a chunk that are aimed at, and the rows of its first one.
const CHUNK_BYTES: usize = 8 << 20;
const FIRST_CHUNK: usize = 500;

/// What a snapshot is made of.
pub(crate) struct Parts {
    pub config: SnapshotConfig,
    pub endpoint: Endpoint,
    pub server: Server,
    pub info: Arc<SourceInfo>,
    pub limits: BatchLimits,
    pub outboxes: Patterns,
    pub captured: Captured,
    pub requests: Requests,
}

/// The copies of a stream.
pub(crate) struct Snapshot {
    parts: Parts,
    phase: Phase,
    views: Views,
    /// Rows of the next chunk of a copy that takes turns with the log.
    chunk: usize,
}

enum Phase {
    /// Nothing is being copied.
    Idle,
    /// A view is open, and the log is read on to its mark.
    Waiting(View),
    /// Rows are handed out.
    Copying { filling: Box<Filling>, retention: Box<Retention> },
    /// The log has its turn, up to this mark.
    Resting { filling: Box<Filling>, mark: Mark },
}

/// What is next.
pub(crate) enum Next {
    /// The log, and nothing else.
    Log,
    /// The log, and its batches are to be noted in this.
    LogInto(Window),
    /// This batch, with the copies as they are behind it.
    Batch(SourceBatch, Copies),
    /// This batch, with the copies as they are behind it; then the log, to be noted in this.
    Turn(Option<SourceBatch>, Copies, Box<Window>),
    /// Copies have got further without rows.
    Progress(Copies),
}

impl Snapshot {
    pub fn new(parts: Parts) -> Self {
        Self { parts, phase: Phase::Idle, views: Views::new(), chunk: FIRST_CHUNK }
    }

    /// Waits until something else is asked for, or it is time to try again. Cancel-safe.
    pub async fn news(&mut self) {
        tokio::select! {
            () = self.parts.requests.news() => {}
            () = self.views.due() => {}
        }
    }

    /// Whether something else is asked for.
    pub fn has_news(&self) -> bool {
        self.parts.requests.are_news()
    }

    /// Goes by what is asked for now; answers whether that ends what is under way.
    pub fn follow(&mut self, copies: &mut Copies) -> bool {
        let name = |copies: &Copies| copies.jobs.first().map(|job| job.request);
        let before = name(copies);
        self.parts.requests.follow(copies);
        let goes_on = name(copies) == before && !self.pauses(copies);
        if !goes_on {
            self.phase = Phase::Idle;
            self.views = Views::new();
        }
        self.tell(copies);
        !goes_on
    }

    /// Keeps a view open on the way to its mark, which may be long; the server closes one that is not kept.
    pub async fn keep(&mut self) {
        if let Phase::Waiting(view) = &mut self.phase
            && !view.keep().await
        {
            self.phase = Phase::Idle;
            self.views.closed();
        }
    }

    /// Whether there is nothing to copy for now.
    fn pauses(&self, copies: &Copies) -> bool {
        // Those that are to pause stand behind the others.
        copies.jobs.first().is_none_or(|job| self.parts.requests.is_paused(job))
    }

    /// Tells how far copies have got.
    pub fn tell(&self, copies: &Copies) {
        self.parts.requests.tell(copies, !self.pauses(copies));
    }

    /// Whether there is something to do before more of the log is read: at a place between transactions of which all
    /// batches are given.
    pub fn is_due(&self, at: &At) -> bool {
        match &self.phase {
            Phase::Idle => !self.pauses(&at.copies) && self.views.are_due(),
            Phase::Waiting(View { mark, .. }) | Phase::Resting { mark, .. } => mark.is_reached(&at.place),
            Phase::Copying { .. } => true,
        }
    }

    /// The tables whose definitions the next step takes.
    pub fn asks_for(&self, at: &At) -> Vec<TableName> {
        let job = at.copies.jobs.first().filter(|_| matches!(self.phase, Phase::Waiting(_)));
        job.into_iter().flat_map(in_view).map(Left::name).collect()
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
        match self.stepped(at, given, known, window).await {
            Err(error) if at.copies.are_asked_for() && error.can_wait() => {
                // The log goes on meanwhile.
                self.phase = Phase::Idle;
                self.views.wait();
                if let Some(job) = at.copies.jobs.first() {
                    self.parts.requests.note(job, &error.to_string()).await?;
                }
                Ok(Next::Log)
            }
            Err(error) if at.copies.are_asked_for() && error.is_of_table() => {
                self.phase = Phase::Idle;
                self.views.are_of_use();
                let mut copies = at.copies.clone();
                self.parts.requests.give_up(&mut copies, &error.to_string()).await?;
                Ok(Next::Progress(copies))
            }
            next => next,
        }
    }

    async fn stepped(
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
            Phase::Resting { filling, .. } => self.go_on(at, filling, window.unwrap_or_default()).await,
        }
    }

    async fn open(&mut self, at: &At) -> Result<Next, MysqlError> {
        let Some(job) = at.copies.jobs.first() else { return Ok(Next::Log) };
        if job.request.is_some() {
            self.must_be_captured(in_view(job))?;
        }
        let config = &self.parts.config;
        let ranges = if config.intra_table_parallel { config.max_parallel_chunks.get() } else { 1 };
        let count = match job.request {
            Some(_) => 1,
            None => config.max_parallel_tables.get().min(job.tables.len().max(1)).max(ranges),
        };
        self.parts.requests.begun(job).await?;
        let (view, window) = self.views.open(&self.parts, job, at, count).await?;
        self.phase = Phase::Waiting(view);
        Ok(Next::LogInto(window))
    }

    async fn begin(
        &mut self,
        at: &At,
        mut view: View,
        known: Vec<(TableName, Arc<Definition>)>,
        mut window: Window,
    ) -> Result<Next, MysqlError> {
        let mut copies = at.copies.clone();
        let Some(job) = copies.jobs.first_mut() else { return Ok(Next::Log) };
        if !view.keep().await {
            self.views.closed();
            return self.open(at).await;
        }
        if self.views.have_changed(&window) {
            if job.request.is_none() {
                self.views.breathe().await;
            }
            return self.open(at).await;
        }
        // From the mark on the log may speak of what was held still until there, too.
        window.watch(in_view(job).iter().map(Left::name));
        let (mut chunk, mut condition) = (self.parts.config.chunk_size.get(), None);
        if job.request.is_some() {
            let requests = &self.parts.requests;
            let table = job.tables.first().map(Left::name);
            let definition = known.first().map(|(_, definition)| &**definition);
            requests.ready(job, definition).await?;
            condition = table.and_then(|table| requests.condition(job, &table));
            if job.tables.first().is_none_or(|left| left.ranges.is_empty()) {
                self.chunk = FIRST_CHUNK;
            }
            chunk = chunk.min(self.chunk);
        }
        let retention = Box::new(Retention::new(&self.parts, &at.place));
        let condition = condition.as_deref();
        let filling = Filling::begin(&self.parts, job.clone(), &mut view, known, window, condition).await?;
        let mut filling = Box::new(filling);
        filling.start(chunk, self.parts.limits.hard_bytes);
        self.phase = Phase::Copying { filling, retention };
        // The first step of the copy follows at once.
        Ok(Next::Progress(copies))
    }

    /// Refuses tables that the log says nothing of here: they were taken out of `tables` since somebody asked for them.
    fn must_be_captured(&self, tables: &[Left]) -> Result<(), MysqlError> {
        let captured = &self.parts.captured;
        match tables.iter().all(|left| captured.has(&left.database, &left.table)) {
            true => Ok(()),
            false => Err(MysqlError::Unsupported(
                "this pipeline does not capture it any more, it was taken out of the source's `tables`"
                    .into(),
            )),
        }
    }

    /// The next chunk has the bytes that are aimed at, by what was read so far.
    fn aim(&mut self, filling: &Filling) {
        let (rows, bytes) = filling.read();
        self.chunk = match rows {
            // Of those that were read, none was chosen.
            0 => self.parts.config.chunk_size.get(),
            rows => (CHUNK_BYTES.saturating_mul(rows) / bytes.max(1)).max(1),
        };
    }

    /// The log has had its turn.
    async fn go_on(
        &mut self,
        at: &At,
        mut filling: Box<Filling>,
        window: Window,
    ) -> Result<Next, MysqlError> {
        let Some(job) = at.copies.jobs.first() else { return Ok(Next::Log) };
        if self.views.have_changed(&window) || job.is_doubted() || filling.age() > serves(&self.parts, job) {
            return self.open(at).await;
        }
        let chunk = self.chunk.min(self.parts.config.chunk_size.get());
        filling.go_on(window, chunk, self.parts.limits.hard_bytes);
        let retention = Box::new(Retention::new(&self.parts, &at.place));
        self.phase = Phase::Copying { filling, retention };
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
                self.views.are_of_use();
                self.phase = Phase::Copying { filling, retention };
                Ok(Next::Batch(batch, copies))
            }
            Outcome::Turn(batch) => {
                self.views.are_of_use();
                self.aim(&filling);
                let serves = at.copies.jobs.first().map(|job| serves(&self.parts, job));
                // The server may have closed what nobody used for so long.
                let is_over = serves.is_none_or(|serves| filling.age() > serves);
                if is_over || filling.is_done() || !filling.keeps_view() {
                    if !is_over {
                        let opened = filling.opened();
                        self.views.spare(filling.sessions().await, opened);
                    }
                    return Ok(match batch {
                        Some(batch) => Next::Batch(batch, copies),
                        None => Next::Progress(copies),
                    });
                }
                let (mark, window) = filling.rest(&self.parts.server).await?;
                self.phase = Phase::Resting { filling, mark };
                Ok(Next::Turn(batch, copies, Box::new(window)))
            }
            Outcome::Last(batch) => {
                self.views.are_of_use();
                let job = copies.jobs.remove(0);
                self.parts.requests.copied(&job).await?;
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

/// The tables of a copy that are read in one view: of one that takes turns with the log, one.
fn in_view(job: &Job) -> &[Left] {
    match job.request {
        Some(_) => job.tables.get(..1).unwrap_or_default(),
        None => &job.tables,
    }
}
