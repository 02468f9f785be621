//! How a sink with a spill gives its memory back: what it holds is read again from disk.

use std::time::Duration;

use tracing::info;

use super::commit::Progress;
use super::feed::{FeedItem, Origin};
use super::sink::SinkTask;
use crate::status::Failure;

/// A sink with a spill that is waited for longer than this holds no batches in memory that could be on disk.
pub(super) const UNLOADS_AFTER: Duration = Duration::from_secs(5);

impl SinkTask {
    /// Leaves what is not delivered to the next start.
    pub(super) async fn leave(&mut self) -> Result<(), Failure> {
        if self.drain.is_some() {
            self.keep_queued().await?;
            info!(sink = self.plan.id, "sink does not work; what it has not had waits in its spill");
        }
        Ok(())
    }

    /// A sink that fails again and again holds nothing: what it has goes to disk, as all that comes, and is read again
    /// from there. Else the others would wait for the memory.
    pub(super) async fn unload(&mut self) -> Result<(), Failure> {
        if self.pending.is_empty() && self.items.is_empty() {
            return Ok(());
        }
        if self.keep_queued().await? {
            self.read_again();
        }
        Ok(())
    }

    /// A sink that is waited for holds the delivery at work and no other one. What it has not taken is read again from
    /// disk; of what it has taken only so much stays as must be told once that is durable. Answers whether it is so.
    pub(super) async fn unload_rest(&mut self) -> Result<bool, Failure> {
        if self.pending.is_empty() && self.items.is_empty() {
            return Ok(self.drain.is_none());
        }
        if !self.keep_queued().await? {
            return Ok(self.drain.is_none());
        }
        while self.items.try_recv().is_ok() {}
        for taken in self.pending.iter_mut().take(self.written) {
            taken.let_go();
        }
        let kept = self.pending.len().min(self.written + 1);
        let first_dropped = self.pending.drain(kept..).find_map(|item| match item.origin {
            Origin::Spill { number, .. } => Some(number),
            Origin::Queue { .. } => None,
        });
        // What stays comes from here, not from its copy in the spill.
        let last_kept = self.pending.iter().rev().find_map(|item| match item.origin {
            Origin::Queue { seq, .. } => Some(seq),
            Origin::Spill { .. } => None,
        });
        self.queued_through = last_kept.unwrap_or(self.queue_done);
        if let Some(drain) = &mut self.drain {
            let ahead = drain.ahead.take().map(|ahead| ahead.number);
            if let Some(number) = first_dropped.or(ahead) {
                drain.backlog.rewind_to(number);
            }
        }
        Ok(true)
    }

    /// Whether part of what is pending cannot be sent again from memory. All of it is on disk then, and nothing is in
    /// the queue.
    pub(super) fn has_let_go(&self) -> bool {
        self.pending.front().is_some_and(FeedItem::is_let_go)
    }

    /// Forgets what is pending: all of it is on disk.
    pub(super) fn read_again(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        while self.items.try_recv().is_ok() {}
        self.pending.clear();
        self.written = 0;
        self.queued_through = self.queue_done;
        drain.ahead = None;
        drain.backlog.rewind_to(self.spill_done + 1);
    }

    /// Puts on disk what came through the queue. Answers whether all of it is there.
    async fn keep_queued(&mut self) -> Result<bool, Failure> {
        let Some(drain) = &self.drain else { return Ok(false) };
        let (newest, all) = drain.backlog.keep_queued().await?;
        if let Some(seq) = newest {
            // The committer outlives the sinks.
            let _ = self.progress.send(Progress::Spilled { sink: self.index, seq }).await;
        }
        Ok(all)
    }
}
