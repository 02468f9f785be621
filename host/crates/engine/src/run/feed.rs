//! The way from the worker to a sink: its queue, and its spill while that is full.

use std::sync::Arc;
use std::time::Instant;

use deltaforge_model::{Batch, Boundary, Position};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use super::again::Recipe;
use super::backlog::{Backlog, Meta, Queued};
use super::commit::Progress;
use super::handed::Reach;
use super::journal::Gate;
use crate::budget::Reservation;
use crate::ledger::Mark;
use crate::message::{Bodies, MessageBatch};
use crate::sink::Delivery;
use crate::status::Failure;

/// A delivery with what must stay until it is durable.
pub(crate) struct FeedItem {
    /// Its `seq` is the sink's own count, set when the sink takes it.
    pub delivery: Delivery,
    /// Where it came from.
    pub origin: Origin,
    /// What of it concerns the sink at all, but for what went to the dead-letter queue.
    pub wanted: Arc<[u32]>,
    /// The events, for the dead-letter queue.
    pub batch: Option<Arc<Batch>>,
    /// When it was made.
    pub taken_at: Instant,
    pub held: Arc<Option<Reservation>>,
    /// It leaves once this is open; `None`: nothing stands before it.
    pub gate: Option<Gate>,
    /// What its messages are made of; `None`: they stay, or can be read again from disk.
    pub recipe: Option<Recipe>,
    /// How many messages and bytes it had, once they were given back.
    pub gone: Option<(u64, u64)>,
}

impl FeedItem {
    /// What it has to wait for before it may leave.
    pub fn shut(&self) -> Option<Gate> {
        self.gate.clone().filter(|gate| !gate.is_open())
    }

    /// Gives back the memory of what the sink has taken: it can be read again from disk.
    pub fn let_go(&mut self) {
        self.gone = Some(self.size());
        self.delivery.messages = Arc::new(MessageBatch::new("", Bodies::default()));
        (self.batch, self.recipe) = (None, None);
        self.held = Arc::default();
    }

    /// Whether it can be had again only from disk.
    pub fn is_let_go(&self) -> bool {
        self.gone.is_some() && self.recipe.is_none()
    }

    /// Its messages, and their bytes.
    pub fn size(&self) -> (u64, u64) {
        self.gone.unwrap_or_else(|| {
            // What was rejected is not among them.
            let body = |index: &u32| self.delivery.messages.get(*index as usize).body.map_or(0, <[u8]>::len);
            (self.wanted.len() as u64, self.wanted.iter().map(body).sum::<usize>() as u64)
        })
    }
}

/// Where a delivery came from.
pub(crate) enum Origin {
    /// The worker: the batch's number in this run, how far a sink gets by it, and what its checkpoint says then.
    Queue { seq: u64, reach: Reach, mark: Mark },
    /// The sink's spill: its number there, and how it was stored.
    Spill { number: u64, meta: Meta },
}

impl Origin {
    /// Where a sink stands that has it.
    pub fn mark(&self) -> Mark {
        match self {
            Self::Queue { mark, .. } => mark.clone(),
            Self::Spill { meta, .. } => meta.mark(),
        }
    }
}

/// One batch for one sink, as the worker has it.
pub(crate) struct Offer<'a> {
    pub item: FeedItem,
    pub batch: &'a Arc<Batch>,
    pub seq: u64,
    pub first_row: u32,
    pub from: &'a Position,
    pub through: &'a Position,
    pub boundary: &'a Boundary,
}

/// The worker's end of a sink's queue.
pub(crate) struct Feed {
    pub(super) index: usize,
    pub(super) run: Arc<str>,
    pub(super) queue: mpsc::Sender<FeedItem>,
    pub(super) backlog: Option<Backlog>,
    /// The sink keeps its position, and what it has taken for a while.
    pub(super) keeps: bool,
    pub(super) progress: mpsc::Sender<Progress>,
    /// Tells the sink that nothing more will come.
    pub(super) _ended: DropGuard,
}

impl Feed {
    /// Hands a batch to the sink. While its queue is full a sink that the commit policy waits for holds the
    /// stream back; for another one the batch goes to disk.
    pub async fn offer(&mut self, offer: Offer<'_>) -> Result<(), Failure> {
        let Some(backlog) = &self.backlog else {
            // The sink task is gone only when the attempt is ending.
            let _ = self.queue.send(offer.item).await;
            return Ok(());
        };
        let Offer { item, batch, seq, first_row, from, through, boundary } = offer;
        let meta = Meta::new(&self.run, seq, first_row, from, through, boundary);
        let queued = Queued {
            meta,
            from: from.clone(),
            through: through.clone(),
            batch: batch.clone(),
            _held: item.held.clone(),
        };
        if backlog.queue(&queued, || self.queue.try_send(item).is_ok()) {
            return Ok(());
        }
        if backlog.push(queued).await? {
            let _ = self.progress.send(Progress::Spilled { sink: self.index, seq }).await;
        }
        Ok(())
    }

    /// The sink had this batch before this run.
    pub async fn covered(&self, seq: u64) {
        let sink = self.index;
        let progress = match &self.backlog {
            Some(backlog) if !backlog.is_covered(seq) => Progress::Spilled { sink, seq },
            _ => Progress::Covered { sink, seq },
        };
        let _ = self.progress.send(progress).await;
    }

    /// Whether batches for this sink may have to go to disk.
    pub fn may_spill(&self) -> bool {
        self.backlog.is_some()
    }
}
