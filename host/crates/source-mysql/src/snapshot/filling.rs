//! Copied rows into batches.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::batcher::Batcher;
use deltaforge_model::{
    BatchBuilder, Boundary, EventHead, EventId, Image, OUTBOX_MARK, Op, Position, Side, SnapshotMark,
    SourceBatch,
};

use tokio::time::Instant;

use super::Parts;
use super::columns::{Columns, Room};
use super::condition;
use super::copy::{Copying, Piece, Task, Turn, marks_at};
use super::progress::{Copies, Job, Left, Range};
use super::view::{self, Mark, View};
use super::walk::Walk;
use super::window::Window;
use crate::ddl::{Definition, TableName};
use crate::failure::MysqlError;
use crate::position::At;
use crate::server::{Flavour, Server};
use crate::session::Session;

/// Errors by which servers say that a table is not what it was when the view was opened.
const TABLE_MOVED: [u16; 4] = [1054, 1146, 1412, 1051];

/// A table that is being copied.
#[derive(Debug)]
struct Plan {
    name: TableName,
    columns: Columns,
    walk: Arc<Walk>,
    /// What is left of each of its ranges; `None`: nothing.
    ranges: Vec<Option<Range>>,
    rows: u64,
    shape: Option<String>,
    outbox: bool,
}

/// The copy of a job's tables in one view.
#[derive(Debug)]
pub(super) struct Filling {
    job: Job,
    plans: Vec<Plan>,
    /// Tables that are not copied in this view.
    rest: Vec<Left>,
    window: Window,
    /// `None`: a table is not what it was, and another view is needed; or the log has its turn.
    copying: Option<Copying>,
    /// The view's connections, while nothing is read.
    sessions: Vec<Session>,
    opened: Instant,
    /// Whether the view outlasts a turn.
    keeps_view: bool,
    /// Rows and bytes that were read.
    read: (usize, usize),
    /// Rows that have come, and how many of them were taken.
    piece: Option<(Piece, usize)>,
    room: Room,
    identity: Vec<u8>,
}

/// What came of filling a batch.
pub(super) enum Outcome {
    Batch(SourceBatch),
    /// A chunk is copied, and the log has its turn.
    Turn(Option<SourceBatch>),
    /// Everything is copied.
    Last(Option<SourceBatch>),
    /// A table is no longer what it was in the view.
    Moved,
}

impl Filling {
    /// Plans the copy of what is left of a job; of one that takes turns with the log, of its first table, and there of those rows for
    /// which `condition` holds.
    pub async fn begin(
        parts: &Parts,
        job: Job,
        view: &mut View,
        known: Vec<(TableName, Arc<Definition>)>,
        window: Window,
        condition: Option<&str>,
    ) -> Result<Self, MysqlError> {
        let mut job = job;
        let mut renewed = false;
        let in_turns = job.request.is_some();
        let (now, rest) = job.tables.split_at(if in_turns { 1 } else { job.tables.len() });
        let mut plans = Vec::with_capacity(now.len());
        for left in now {
            let name = left.name();
            let Some((_, definition)) = known.iter().find(|(known, _)| *known == name) else {
                tracing::warn!(table = %name, "not copied: there is no such table any more, or its definition is not known");
                continue;
            };
            let columns = Columns::of(&name, definition).map_err(|column| {
                MysqlError::Unsupported(format!(
                    "copy {name}: the type of its column {column} is not known here; leave the table out, or upgrade DeltaForge"
                ))
            })?;
            let names: Vec<&str> = definition.columns.iter().map(|column| column.name.as_str()).collect();
            let condition = condition.map(|text| condition::sql(text, &names)).transpose();
            let condition = condition
                .map_err(|why| MysqlError::Unsupported(format!("choose the rows of {name}: {why}")))?;
            let walk = Arc::new(Walk::of(&name, definition).of_rows(condition));
            let (mut ranges, mut rows) = (left.ranges.clone(), left.rows);
            if !left.key.is_empty() && left.key != walk.key() {
                tracing::info!(table = %name, "copied from the start again: it has another key");
                (ranges, rows, renewed) = (Vec::new(), 0, true);
            }
            if ranges.is_empty() {
                let config = &parts.config;
                let at_once = config.intra_table_parallel && !in_turns;
                let most = if at_once { config.max_parallel_chunks.get() } else { 1 };
                ranges = walk.split(&mut view.sessions[0], most, config.chunk_size.get()).await?;
            }
            let ranges = ranges.into_iter().map(Some).collect();
            let outbox = parts.outboxes.matches(&name.database, &name.table) && !parts.outboxes.is_empty();
            let shape = left.shape.clone();
            plans.push(Plan { name, columns, walk, ranges, rows, shape, outbox });
        }
        let rest = rest.to_vec();
        if renewed {
            job.renew();
        }
        let keeps_view = parts.server.flavour == Flavour::MySql;
        let (copying, sessions, piece) = (None, std::mem::take(&mut view.sessions), None);
        let (opened, read, room, identity) = (Instant::now(), (0, 0), Room::default(), Vec::new());
        Ok(Self {
            job,
            plans,
            rest,
            window,
            copying,
            sessions,
            opened,
            keeps_view,
            read,
            piece,
            room,
            identity,
        })
    }

    /// Sets the view's connections to work.
    pub fn start(&mut self, chunk: usize, most_bytes: usize) {
        let mut tasks = Vec::new();
        for (table, plan) in self.plans.iter().enumerate() {
            for (range, from) in plan.ranges.iter().enumerate() {
                let Some(from) = from.clone() else { continue };
                tasks.push(Task { table, range, walk: plan.walk.clone(), from });
            }
        }
        let turn = self.job.request.map(|_| if self.keeps_view { Turn::Locks } else { Turn::AndView });
        let sessions = std::mem::take(&mut self.sessions);
        self.copying = Some(Copying::start(sessions, tasks, chunk, turn, most_bytes));
    }

    /// The log has its turn: up to the answer. What is noted of it meanwhile goes into the window, which comes back with
    /// [`Filling::go_on`].
    pub async fn rest(&mut self, server: &Server) -> Result<(Mark, Window), MysqlError> {
        self.sessions = self.sessions().await;
        let gone = || MysqlError::Unreachable {
            action: "copy rows from",
            address: server.address.clone(),
            cause: "a copy ended before its end".to_owned(),
        };
        let session = self.sessions.first_mut().ok_or_else(gone)?;
        Ok((view::end_of_log(session, server).await?, std::mem::take(&mut self.window)))
    }

    /// The connections of its view, for another one.
    pub async fn sessions(&mut self) -> Vec<Session> {
        match self.copying.take() {
            Some(copying) => copying.sessions().await,
            None => std::mem::take(&mut self.sessions),
        }
    }

    /// Whether its view outlasts a turn.
    pub fn keeps_view(&self) -> bool {
        self.keeps_view
    }

    /// Goes on in the same view, in which nothing is that the window has.
    pub fn go_on(&mut self, window: Window, chunk: usize, most_bytes: usize) {
        self.window = window;
        self.start(chunk, most_bytes);
    }

    /// Since when its view is open.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// How long its view is open.
    pub fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Rows and bytes that were read in it.
    pub fn read(&self) -> (usize, usize) {
        self.read
    }

    /// Whether all of its tables are copied.
    pub fn is_done(&self) -> bool {
        self.plans.iter().all(|plan| plan.ranges.iter().all(Option::is_none))
    }

    /// Whether the rows of one of its tables have names that last.
    pub fn has_key(&self, table: &TableName) -> bool {
        self.plans.iter().any(|plan| plan.name == *table && plan.walk.has_key())
    }

    /// Fills the next batch, and moves `copies` along.
    pub async fn batch(
        &mut self,
        parts: &Parts,
        at: &At,
        given: &Position,
        copies: &mut Copies,
    ) -> Result<Outcome, MysqlError> {
        let builder = BatchBuilder::new(parts.info.clone());
        let mut batcher = Batcher::new(builder, parts.limits, given.clone());
        let (mut is_last, mut is_turn) = (false, false);
        loop {
            if self.piece.is_none() {
                let Some(copying) = &mut self.copying else {
                    if batcher.builder.is_empty() {
                        return Ok(Outcome::Moved);
                    }
                    break;
                };
                self.piece = match copying.next().await {
                    Ok(Some(piece)) => {
                        self.read.0 += piece.len();
                        self.read.1 += piece.bytes();
                        Some((piece, 0))
                    }
                    Ok(None) if self.job.request.is_some() => {
                        is_last = self.is_done() && self.rest.is_empty();
                        is_turn = !is_last;
                        break;
                    }
                    Ok(None) => {
                        if !self.is_done() {
                            let (action, cause) =
                                ("copy rows from", "a copy ended before its end".to_owned());
                            let address = parts.server.address.clone();
                            return Err(MysqlError::Unreachable { action, address, cause });
                        }
                        is_last = true;
                        break;
                    }
                    Err(MysqlError::Statement { code, message, .. }) if TABLE_MOVED.contains(&code) => {
                        tracing::info!(
                            message,
                            "a table changed while it was copied: another view is opened"
                        );
                        self.copying = None;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
            }
            if self.take(parts, at, copies, &mut batcher)? {
                break;
            }
        }
        self.note(copies);
        if is_last && !batcher.builder.is_empty() {
            batcher.builder.mark_snapshot_last();
        }
        let mut behind = at.clone();
        behind.copies = copies.clone();
        if is_last {
            behind.copies.jobs.remove(0);
        }
        let is_empty = batcher.builder.is_empty();
        let batch = batcher.close(behind.position(), Boundary::Transaction);
        let some = |batch| (!is_empty).then_some(batch);
        Ok(match (is_last, is_turn) {
            (true, _) => Outcome::Last(some(batch)),
            (_, true) => Outcome::Turn(some(batch)),
            _ => Outcome::Batch(batch),
        })
    }

    /// Takes rows of the present piece; answers whether the batch is full.
    fn take(
        &mut self,
        parts: &Parts,
        at: &At,
        copies: &mut Copies,
        batcher: &mut Batcher,
    ) -> Result<bool, MysqlError> {
        let Some((piece, mut taken)) = self.piece.take() else { return Ok(false) };
        let mut is_full = false;
        while taken < piece.len() {
            if !batcher.builder.is_empty() && batcher.is_full(true, false) {
                is_full = true;
                break;
            }
            if !self.row(parts, at, copies, &piece, taken, batcher)? {
                is_full = true;
                break;
            }
            taken += 1;
        }
        let plan = &mut self.plans[piece.table];
        if taken == piece.len() && piece.ends_range {
            plan.ranges[piece.range] = None;
        } else if taken == piece.len()
            && let (Some(range), Some(reached)) = (&mut plan.ranges[piece.range], &piece.reached)
        {
            range.after.clone_from(reached);
        } else if taken > 0
            && let Some(range) = &mut plan.ranges[piece.range]
        {
            range.after = marks_at(&plan.walk, &piece, taken - 1)?;
        }
        if taken < piece.len() {
            self.piece = Some((piece, taken));
        }
        Ok(is_full)
    }

    /// Adds a row; answers whether it had room.
    fn row(
        &mut self,
        parts: &Parts,
        at: &At,
        copies: &mut Copies,
        piece: &Piece,
        row: usize,
        batcher: &mut Batcher,
    ) -> Result<bool, MysqlError> {
        let plan = &mut self.plans[piece.table];
        let (packet, wired) = (piece.row(row), &piece.wired);
        let broken = |cause| MysqlError::Unsupported(format!("copy the rows of {}: {cause}", plan.name));
        self.identity.clear();
        plan.walk.identity(wired, packet, &mut self.identity).map_err(broken)?;
        if self.identity.is_empty() {
            self.identity.extend_from_slice(&plan.rows.to_le_bytes());
        }
        let schema = plan.columns.schema();
        let parts_of_id = [self.job.generation.as_bytes(), schema.qualified().as_bytes(), &self.identity];
        let bytes = batcher.builder.row_bytes();
        let table = batcher.builder.table(schema);
        batcher.builder.event(EventHead {
            id: EventId::derive(self.job.started_ms, &parts_of_id),
            op: Op::Read,
            table,
            transaction: None,
            ordinal: (copies.rows + 1) as u32,
            ts_us: self.job.started_ms.saturating_mul(1_000),
            pos: at.place.pos,
            last: true,
            snapshot: if self.job.rows == 0 { SnapshotMark::First } else { SnapshotMark::True },
        });
        if plan.outbox {
            batcher.builder.side(Side { tags: Some(vec![OUTBOX_MARK.to_owned()]), ..Side::default() });
        }
        let room = &mut self.room;
        let read =
            batcher.builder.image(Image::After, |writer| plan.columns.read(wired, packet, writer, room));
        read.map_err(broken)?;
        let most = parts.limits.hard_bytes;
        if batcher.builder.row_bytes() > most {
            let size = batcher.builder.row_bytes() - bytes;
            batcher.builder.undo();
            if !batcher.builder.is_empty() && size <= most {
                return Ok(false);
            }
            return Err(MysqlError::RowTooLarge(format!(
                "a row of {} takes {size} bytes; one may take {most}, a quarter of spec.max_memory_bytes: raise it, or \
                 leave the table out",
                plan.name
            )));
        }
        plan.rows += 1;
        let said = batcher
            .builder
            .last()
            .and_then(|event| event.after())
            .is_some_and(|row| self.window.has(schema, &row));
        if said {
            batcher.builder.undo();
            return Ok(true);
        }
        self.job.rows += 1;
        copies.rows += 1;
        Ok(true)
    }

    /// Writes into `copies` what is left.
    fn note(&mut self, copies: &mut Copies) {
        let left = |plan: &Plan| {
            let ranges: Vec<Range> = plan.ranges.iter().flatten().cloned().collect();
            let TableName { database, table } = plan.name.clone();
            let (rows, key, shape) = (plan.rows, plan.walk.key(), plan.shape.clone());
            (!ranges.is_empty()).then_some(Left { database, table, ranges, rows, key, shape })
        };
        self.job.tables = self.plans.iter().filter_map(left).chain(self.rest.iter().cloned()).collect();
        if let Some(job) = copies.jobs.first_mut() {
            job.clone_from(&self.job);
        }
    }
}
