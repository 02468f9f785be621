//! Runs a batch through the stages: slices, isolation of failing rows, `on_error`.

mod given_up;
mod refusals;
mod rests;

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_model::edit::Applied;
use deltaforge_model::pattern::Patterns;
use deltaforge_model::{Batch, Event, Op, Overlay, TableSchema, View};
use futures::FutureExt;
pub use given_up::GivenUp;
use metrics::{Counter, Histogram, counter, histogram};
pub use refusals::{REFUSES_ALL, Refusals, RefusesAll};
pub use rests::Rests;

use crate::search::{Piece, Search};
use crate::secrets::Secrets;
use crate::stage::{EditBudget, Stage, StageAction, StageError, StageLimits, StageVersion};
use crate::status::{Failure, STALLED_AFTER};
use crate::usage::Usage;
use crate::waits::Waits;

/// Most events a stage gets at once.
const SLICE: usize = 500;
/// What the message of an added event takes beside its values, about.
const ENVELOPE_BYTES: usize = 512;
/// So long a version on probation may say that something outside is not available.
const PROBATION_WAITS: Duration = Duration::from_secs(5);

/// What becomes of a row that a stage fails on or rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The pipeline stops there.
    #[default]
    Fail,
    /// It goes to the dead-letter queue.
    Dlq,
    /// It is dropped, and counted.
    Skip,
}

/// Which tables a stage is for.
#[derive(Debug, Clone, Default)]
pub struct TableFilter {
    /// Empty: all.
    pub include: Patterns,
    /// Takes precedence.
    pub exclude: Patterns,
}

impl TableFilter {
    fn admits(&self, table: &TableSchema) -> bool {
        let (qualifier, table) = (table.schema().unwrap_or(table.database()), table.name());
        (self.include.is_empty() || self.include.matches(qualifier, table))
            && !self.exclude.matches(qualifier, table)
    }
}

/// A stage at work.
pub struct RunningStage {
    /// Its id in the pipeline.
    pub id: String,
    /// What runs.
    pub stage: Box<dyn Stage>,
    /// Which code that is.
    pub version: StageVersion,
    /// Its generation: grows with every swap.
    pub generation: u64,
    /// What becomes of failing rows.
    pub on_error: OnError,
    /// What one call may come to.
    pub limits: StageLimits,
    /// Which rows it sees.
    pub tables: TableFilter,
    /// No row may be larger, also not by its edits.
    pub max_row_bytes: usize,
    /// What rows that are run by themselves, since others fail with them, may add to one batch together: the pipeline's
    /// memory.
    pub max_memory_bytes: usize,
    /// Its metrics.
    pub metrics: StageMetrics,
    /// What it has failed on.
    pub given_up: GivenUp,
    /// Whether it lets anything through.
    pub refusals: Refusals,
    /// When it rests, on a host that other tenants use too.
    pub rests: Rests,
    /// Where it says that it waits for something.
    pub waits: Waits,
    /// What it must not say.
    pub secrets: Secrets,
    /// The first failure that is not over with a fresh instance ends the batch: it is not known yet whether the code is
    /// any good, so no time is spent on finding the rows.
    pub on_probation: bool,
    /// It is what a version on probation is compared with, and waits no longer than that for what is not available.
    pub is_compared: bool,
    /// The last batch had rows that the code wanted to see; only known of a version on probation.
    pub saw_rows: bool,
}

/// What became of one batch in a stage, in events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Toll {
    /// Shown to the stage.
    pub shown: u64,
    /// The stage failed on these.
    pub failed: u64,
    /// The stage rejected these.
    pub rejected: u64,
    /// The stage dropped these of its own will.
    pub dropped: u64,
    /// In the batch afterwards.
    pub left: u64,
    /// Of these, not shown to the stage.
    pub passed_by: u64,
}

/// Handles made once, so that a batch formats no label.
pub struct StageMetrics {
    latency: Histogram,
    errors: Counter,
    skipped: Counter,
    dropped: Counter,
    events_in: Counter,
    events_out: Counter,
    usage: Usage,
}

impl StageMetrics {
    /// The metrics of one stage, and of the plugin that runs there for a tenant.
    pub fn new(pipeline: &str, stage: &str, usage: Usage) -> Self {
        let labels = [("pipeline", pipeline.to_owned()), ("processor", stage.to_owned())];
        Self {
            latency: histogram!("deltaforge_processor_latency_seconds", &labels),
            errors: counter!("deltaforge_processor_errors_total", &labels),
            skipped: counter!("deltaforge_processor_skipped_total", &labels),
            dropped: counter!("deltaforge_filter_dropped_total", &labels),
            events_in: counter!("deltaforge_processor_events_in_total", &labels),
            events_out: counter!("deltaforge_processor_events_out_total", &labels),
            usage,
        }
    }

    /// Nobody is shown these.
    fn nobodys() -> Self {
        Self {
            latency: Histogram::noop(),
            errors: Counter::noop(),
            skipped: Counter::noop(),
            dropped: Counter::noop(),
            events_in: Counter::noop(),
            events_out: Counter::noop(),
            usage: Usage::nobodys(),
        }
    }
}

impl RunningStage {
    /// The same for rows that are only looked at: what becomes of them is not counted, nor told, as the stream's.
    pub(crate) fn aside(self) -> Self {
        Self {
            on_error: OnError::Skip,
            on_probation: false,
            metrics: StageMetrics::nobodys(),
            given_up: GivenUp::in_silence(),
            rests: Rests::never(),
            waits: self.waits.aside(),
            ..self
        }
    }

    /// Runs a batch through the stage. The batch comes back as it was when this fails.
    ///
    /// # Errors
    ///
    /// What the pipeline stops with.
    pub async fn run(&mut self, batch: Batch) -> Result<Batch, StageError> {
        let (result, toll) = self.attempt(batch).await;
        if result.is_ok() {
            self.count(toll);
        }
        result
    }

    /// Counts what became of a batch that goes on.
    pub fn count(&mut self, toll: Toll) {
        // Where the pipeline stops at the first one, that says it all.
        if self.on_error != OnError::Fail {
            self.refusals.count(&self.id, &toll);
        }
        let Toll { shown, failed, rejected, dropped, left, passed_by } = toll;
        self.metrics.usage.count(&toll, passed_by);
        let skipped = if self.on_error == OnError::Skip { failed + rejected } else { 0 };
        self.metrics.events_in.increment(shown);
        self.metrics.skipped.increment(skipped);
        self.metrics.dropped.increment(dropped + skipped);
        self.metrics.events_out.increment(left);
    }

    /// Runs a batch through the stage without counting its events, which may not go on from here.
    pub async fn attempt(&mut self, batch: Batch) -> (Result<Batch, StageError>, Toll) {
        let mut toll = Toll::default();
        let result = self.through(batch, &mut toll).await;
        self.rests.batch_ended();
        (result, toll)
    }

    async fn through(&mut self, batch: Batch, toll: &mut Toll) -> Result<Batch, StageError> {
        let started = Instant::now();
        self.given_up.tell();
        let rows = self.rows(&batch);
        if rows.is_empty() {
            return Ok(batch);
        }
        self.saw_rows = false;
        toll.shown = rows.len() as u64;
        toll.passed_by = (batch.len() - rows.len()) as u64;
        let batch = Arc::new(batch);
        let view = View::new(batch.clone(), rows);
        let mut edits = Overlay::new();
        let mut grown = 0;
        let mut start = 0;
        while start < view.len() {
            let end = (start + SLICE).min(view.len());
            let done = self.run_slice(&view, start..end, &mut edits, &mut grown, toll).await;
            done.map_err(|error| StageError {
                message: format!("processor {}: {}", self.id, error.message),
                ..error
            })?;
            start = end;
        }
        drop(batch);
        let mut batch = view.into_batch();
        let applied: Applied = edits.apply(&mut batch, &self.id);
        let given_up = if self.on_error == OnError::Skip { toll.failed + toll.rejected } else { 0 };
        toll.dropped = (applied.dropped as u64).saturating_sub(given_up);
        toll.left = batch.len() as u64;
        self.metrics.latency.record(started.elapsed().as_secs_f64());
        Ok(batch)
    }

    /// Whether the code is shown an event.
    pub(crate) fn sees(&self, event: &Event<'_>) -> bool {
        event.op() != Op::Heartbeat && self.tables.admits(event.table())
    }

    fn rows(&self, batch: &Batch) -> Arc<[u32]> {
        let admitted: Vec<bool> = batch.tables().iter().map(|table| self.tables.admits(table)).collect();
        (0..batch.len() as u32)
            .filter(|row| {
                let event = batch.event(*row as usize);
                event.op() != Op::Heartbeat && admitted[event.table_index()]
            })
            .collect()
    }

    /// Runs one slice; when it fails, once more on a fresh instance, then by halves, so that only rows that
    /// fail by themselves are given up; row by row, once all seem to. `grown`: what parts of slices have added to the batch.
    async fn run_slice(
        &mut self,
        view: &View,
        range: Range<usize>,
        edits: &mut Overlay,
        grown: &mut usize,
        toll: &mut Toll,
    ) -> Result<(), StageError> {
        let mut search = Search::of(range);
        let (mut searching, mut newest) = (None, None);
        loop {
            let piece = if self.rests.is_futile() { search.next_row() } else { search.next() };
            let Some(piece) = piece else { return Ok(()) };
            let rested = self.rest().await;
            if let Some(newest) = newest.take_if(|_| rested || search.is_long())
                && self.makes_room()
            {
                return Err(StageError { action: StageAction::Retry, ..newest });
            }
            let slice = view.slice(piece.rows.clone());
            self.saw_rows |= self.on_probation && self.stage.wants(&slice);
            let answer = self.call(&slice, toll).await.and_then(|own| {
                let growth = self.growth(&piece, &own, view, *grown)?;
                edits
                    .absorb(view.batch(), own)
                    .map_err(|error| StageError::isolate("plugin_edit", error.to_string()))?;
                *grown += growth;
                Ok(())
            });
            self.metrics.usage.called(answer.as_ref().err().map(|error| error.code));
            let Err(error) = answer else {
                self.rests.went_well();
                continue;
            };
            self.rests.failed(|| self.secrets.hide(&error.message));
            self.metrics.errors.increment(1);
            let ends = self.on_error == OnError::Fail || self.on_probation;
            // A stage that still says `retry` here was interrupted by a command, which comes before the next attempt: no
            // row is to blame.
            // What fails on everything is no measure for anybody.
            let is_hopeless = self.is_compared && self.rests.is_futile();
            if error.action != StageAction::Isolate || (piece.again && ends) || is_hopeless {
                return Err(error);
            }
            if search.is_long() {
                let failure = self.secrets.hide_in(Failure::from(error.clone()));
                searching.get_or_insert_with(|| self.waits.begin(failure, None));
            }
            if search.failed(piece) {
                toll.failed += slice.len() as u64;
                self.give_up(&slice, &error, edits)?;
            }
            newest = Some(error);
        }
    }

    /// Whether a command waits for the end of this batch, which is far. The attempt ends, and the next one begins with the
    /// command and the same batch: nothing of it has been delivered. What is run on behalf of the command itself goes on.
    fn makes_room(&self) -> bool {
        !self.on_probation && !self.is_compared && self.waits.commanded().now_or_never().is_some()
    }

    /// Rests, if that is due and nobody waits for the batch. Whether it was due.
    async fn rest(&mut self) -> bool {
        let Some(due) = self.rests.due() else { return false };
        let (id, waits) = (&self.id, &self.waits);
        let waiting = self.rests.shown(|newest| {
            let message = format!(
                "processor {id}: its calls fail, one after the other, and it rests after each, so that others can compute: \
                 mend the plugin, or take its version back. {newest}"
            );
            waits.begin(Failure::operator("processor_rests", message), Some(STALLED_AFTER))
        });
        waiting.again_in(due);
        waiting.holds_up(true);
        tokio::select! {
            () = tokio::time::sleep(due) => {}
            () = self.waits.wanted() => {}
        }
        true
    }

    /// What a part of a slice adds to the batch. A whole slice is held to the bound of one call; its parts, of which
    /// there may be hundreds, have the same bound each, and this one together.
    fn growth(&self, piece: &Piece, own: &Overlay, view: &View, grown: usize) -> Result<usize, StageError> {
        if !piece.is_part {
            return Ok(0);
        }
        let growth = own.growth(view.batch()) + own.emitted() * ENVELOPE_BYTES;
        let one_call = usize::try_from(self.limits.edit_bytes).unwrap_or(usize::MAX);
        let bound = self.max_memory_bytes.max(one_call);
        if growth == 0 || grown + growth <= bound {
            return Ok(growth);
        }
        let message = format!(
            "its edits would add {growth} bytes to a batch that has grown by {grown} already; rows that are run by \
             themselves may add {bound} together (spec.max_memory_bytes)"
        );
        Err(StageError::isolate("edits_too_large", message))
    }

    fn give_up(&mut self, slice: &View, error: &StageError, edits: &mut Overlay) -> Result<(), StageError> {
        let rows = slice.len();
        let text = self.secrets.hide(&error.message);
        self.refusals.newest(error.code, text.clone());
        self.given_up.add(rows, error, text);
        let mut own = Overlay::new();
        for row in 0..rows {
            let edit = match self.on_error {
                OnError::Skip => own.drop_row(slice, row),
                _ => own.reject(slice, row, error.code, &error.message),
            };
            edit.map_err(|edit| StageError::stop("internal", edit.to_string()))?;
        }
        edits.absorb(slice.batch(), own).map_err(|edit| StageError::stop("internal", edit.to_string()))
    }

    /// One call: waits out what is unavailable, takes a panic as a trap, and looks at what the stage rejected.
    async fn call(&mut self, slice: &View, toll: &mut Toll) -> Result<Overlay, StageError> {
        let began = Instant::now();
        let (first, mut waiting) = (Duration::from_millis(500), None);
        let mut pause = first;
        let mut pauses = self.waits.hurry().pauses();
        loop {
            pauses.trying();
            self.rests.begins();
            let mut own = Overlay::new();
            let call = AssertUnwindSafe(self.stage.process(slice, &mut own)).catch_unwind();
            let result = call.await.unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                Err(StageError::isolate("plugin_trap", format!("stage {} panicked: {text}", self.id)))
            });
            match result {
                Ok(()) => {
                    // Edits that are small themselves may come to much more than the stage was held to.
                    let growth = EditBudget::new(&self.limits).charge(slice, own.growth(slice.batch()));
                    growth.map_err(|bound| {
                        let message =
                            format!("its edits would add more to the batch than the bound of {bound}");
                        StageError::isolate("edits_too_large", message)
                    })?;
                    if let Some(bytes) = own.row_above(slice.batch(), self.max_row_bytes) {
                        let message = format!(
                            "it makes a row of {bytes} bytes; a row may take {}, a quarter of spec.max_memory_bytes: \
                             raise it, or let the stage make less of the row",
                            self.max_row_bytes
                        );
                        return Err(StageError::isolate("row_too_large", message));
                    }
                    return self.judge_rejects(own, toll);
                }
                Err(error)
                    if error.action == StageAction::Retry
                        && (self.on_probation || self.is_compared)
                        && began.elapsed() >= PROBATION_WAITS =>
                {
                    // What a new version is compared with only waits, as it would have.
                    let action = if self.is_compared { StageAction::Retry } else { StageAction::Stop };
                    return Err(StageError { action, ..error });
                }
                Err(error) if error.action == StageAction::Retry => {
                    self.metrics.errors.increment(1);
                    self.metrics.usage.called(Some(error.code));
                    let again = error.clone();
                    let waiting = waiting.get_or_insert_with(|| {
                        let message = format!("processor {}: {}", self.id, error.message);
                        let failure = self.secrets.hide_in(Failure::from(StageError { message, ..error }));
                        self.waits.begin(failure, Some(STALLED_AFTER))
                    });
                    waiting.again_in(pause);
                    let hurried = tokio::select! {
                        hurried = pauses.pause(pause) => hurried,
                        // A swap may be what it waits for, and comes at a batch boundary only: the next attempt begins
                        // with it.
                        () = self.waits.commanded() => return Err(again),
                    };
                    pause = if hurried { first } else { (pause * 2).min(Duration::from_secs(60)) };
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn judge_rejects(&mut self, mut own: Overlay, toll: &mut Toll) -> Result<Overlay, StageError> {
        let Some((_, code, reason)) = own.rejects().last() else { return Ok(own) };
        toll.rejected += own.rejects().len() as u64;
        match self.on_error {
            OnError::Fail => {
                let message = format!("stage {} rejected {} events: {reason}", self.id, own.rejects().len());
                Err(StageError::stop("plugin_rejected", message))
            }
            OnError::Skip | OnError::Dlq => {
                self.refusals.newest(code, self.secrets.hide(reason));
                if self.on_error == OnError::Skip {
                    own.drop_rejects();
                }
                Ok(own)
            }
        }
    }
}

#[cfg(test)]
mod tests;
