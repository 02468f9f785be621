//! When a source closes a batch. One policy for all sources.

use std::time::{Duration, Instant};

use deltaforge_model::{BatchBuilder, Boundary, LogSpan, Position, SourceBatch};

/// What an event takes beside its row once it is a message: its place in the log, its ids, the names of its columns.
pub const MESSAGE_BYTES: usize = 1 << 10;

/// When a batch is closed; the first bound reached closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most events in one batch.
    pub max_events: usize,
    /// Most bytes of rows in one batch.
    pub max_bytes: usize,
    /// Longest time the first event waits for company. An idle source closes at once.
    pub max_wait: Duration,
    /// Whether a batch may pass `max_events` and `max_bytes`, up to `hard_bytes`, to end with its transaction.
    pub respect_source_tx: bool,
    /// A quarter of the pipeline's budget: no batch grows beyond it, each event counted with what it takes as a message; and
    /// no row may be larger.
    pub hard_bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            max_events: 2_000,
            max_bytes: 3 << 20,
            max_wait: Duration::from_millis(50),
            respect_source_tx: true,
            hard_bytes: 32 << 20,
        }
    }
}

/// A batch being filled.
#[derive(Debug)]
pub struct Batcher {
    /// Where the source puts its events.
    pub builder: BatchBuilder,
    limits: BatchLimits,
    from: Position,
    first_at: Option<Instant>,
}

impl Batcher {
    /// Starts a batch after `from`.
    pub fn new(builder: BatchBuilder, limits: BatchLimits, from: Position) -> Self {
        Self { builder, limits, from, first_at: None }
    }

    /// Whether the batch must close now.
    ///
    /// `between_transactions`: whether the events so far end with a transaction; `idle`: whether the source has
    /// nothing more to read at this moment.
    pub fn is_full(&mut self, between_transactions: bool, idle: bool) -> bool {
        if self.builder.is_empty() {
            return false;
        }
        let first_at = *self.first_at.get_or_insert_with(Instant::now);
        let bytes = self.builder.row_bytes();
        let messages = self.builder.len().saturating_mul(MESSAGE_BYTES);
        if bytes.saturating_add(messages) >= self.limits.hard_bytes {
            return true;
        }
        if self.limits.respect_source_tx && !between_transactions {
            return false;
        }
        idle || self.builder.len() >= self.limits.max_events
            || bytes >= self.limits.max_bytes
            || first_at.elapsed() >= self.limits.max_wait
    }

    /// For how long its first event has waited, since [`Batcher::is_full`] was asked about it.
    pub fn age(&self) -> Duration {
        self.first_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    /// Closes the batch at `through`.
    pub fn close(self, through: Position, boundary: Boundary) -> SourceBatch {
        SourceBatch { batch: self.builder.finish(), covers: LogSpan { from: self.from, through }, boundary }
    }
}

#[cfg(test)]
mod tests;
