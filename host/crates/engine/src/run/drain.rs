//! How a sink that fell behind gets its batches from disk.

use std::sync::Arc;
use std::time::Instant;

use deltaforge_model::Batch;

use super::backlog::{Ahead, Backlog, Meta};
use super::envelopes::LateEnvelope;
use super::feed::{FeedItem, Origin};
use super::unwritten;
use crate::budget::Reservation;
use crate::dlq::Dlq;
use crate::message::{Bodies, MessageBatch};
use crate::sink::Delivery;
use crate::status::Failure;

pub(crate) struct Drain {
    pub backlog: Backlog,
    pub run: Arc<str>,
    /// For events that no message can be made of, as the configuration is now.
    pub dlq: Option<Dlq>,
    /// Read already, and not delivered: what was queued before it comes first, and room is made for it.
    pub ahead: Option<Ahead>,
}

impl Drain {
    /// Reads the next batch, where there is one and room for it; `idle`: the sink has nothing in flight.
    pub async fn look_ahead(&mut self, idle: bool) -> Result<bool, Failure> {
        if self.ahead.is_none() {
            self.ahead = match self.backlog.next(idle).await {
                Ok(next) => next,
                // What was taken before becomes durable first; then the attempt ends here.
                Err(_) if !idle => None,
                Err(failure) => return Err(failure),
            };
        }
        Ok(self.ahead.is_some())
    }

    /// Makes a delivery of the batch read ahead. `None`: there is none, or the dead-letter queue is needed for it, which
    /// may be full: no memory is held meanwhile for deliveries that could be done with.
    pub async fn take(
        &mut self,
        envelope: &mut LateEnvelope,
        queued_through: u64,
        idle: bool,
    ) -> Result<Option<FeedItem>, Failure> {
        let Some(Ahead { number, meta, batch }) = self.ahead.take() else { return Ok(None) };
        // What was spilled while it waited in the queue has come from there.
        let has_come = meta.seq_of(&self.run).is_some_and(|seq| seq <= queued_through);
        let Some((batch, mut held)) = batch.filter(|_| !has_come) else {
            let nothing = MessageBatch::new("", Bodies::default());
            return Ok(Some(item(number, meta, nothing, Arc::new([]), None, None)));
        };
        let (messages, unwritten) =
            envelope.compose(&batch, &meta.from(), &meta.boundary(), meta.first_row).await?;
        if !unwritten.is_empty() && !idle {
            self.ahead = Some(Ahead { number, meta, batch: Some((batch, held)) });
            return Ok(None);
        }
        let Backlog { shared, sink, .. } = &self.backlog;
        unwritten::send(self.dlq.as_ref(), shared, &batch, &[(sink, 0)], &unwritten).await?;
        let wanted = (0..messages.len() as u32).collect();
        let kept = self.dlq.is_some().then_some(batch);
        held.resize(messages.byte_size() + kept.as_ref().map_or(0, |batch| batch.byte_size()));
        Ok(Some(item(number, meta, messages, wanted, kept, Some(held))))
    }
}

fn item(
    number: u64,
    meta: Meta,
    messages: MessageBatch,
    wanted: Arc<[u32]>,
    batch: Option<Arc<Batch>>,
    held: Option<Reservation>,
) -> FeedItem {
    FeedItem {
        delivery: Delivery::of(messages.into(), wanted.clone()),
        wanted,
        origin: Origin::Spill { number, meta },
        batch,
        taken_at: Instant::now(),
        held: Arc::new(held),
        gate: None,
        recipe: None,
        gone: None,
    }
}
