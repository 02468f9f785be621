//! How the messages of what a sink has taken are made once more.
//!
//! What a transaction has taken must be at hand until it is committed, for another try. As messages that is much; as the batch that
//! they were made of it is often a third. So the messages go as soon as the sink has taken them, and are made again if it fails.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use deltaforge_model::{Batch, Boundary, Position};

use super::envelopes::LateEnvelope;
use super::feed::FeedItem;
use super::sink::SinkTask;
use crate::message::{Bodies, MessageBatch};
use crate::status::Failure;

/// What the messages of a delivery are made of.
pub(crate) struct Recipe {
    pub batch: Arc<Batch>,
    pub from: Position,
    pub boundary: Boundary,
    /// Of what comes from here on.
    pub first_row: u32,
    /// Of the messages that were given back.
    pub outline: u64,
}

/// What tells the messages of a batch from others of it: the rows that they are of, and which have a body.
fn outline(messages: &MessageBatch) -> u64 {
    let mut hasher = DefaultHasher::new();
    for message in (0..messages.len()).map(|at| messages.get(at)) {
        (message.meta.batch_row, message.body.is_some()).hash(&mut hasher);
    }
    hasher.finish()
}

impl FeedItem {
    /// Gives back the messages that the sink has taken, where they can be made again and nobody else has them.
    fn lighten(&mut self) {
        let Some(recipe) = &mut self.recipe else { return };
        if self.gone.is_some() || Arc::strong_count(&self.delivery.messages) > 1 {
            return;
        }
        let bytes = recipe.batch.byte_size();
        let Some(Some(held)) = Arc::get_mut(&mut self.held) else { return };
        held.resize(bytes);
        recipe.outline = outline(&self.delivery.messages);
        self.gone = Some(self.size());
        self.delivery.messages = Arc::new(MessageBatch::new("", Bodies::default()));
    }

    /// Makes them again, for good: what is known of single ones by now must be true of the next try too.
    async fn restore(&mut self, envelope: &mut LateEnvelope, sink: &str) -> Result<(), Failure> {
        let Some(recipe) = self.recipe.take_if(|_| self.gone.is_some()) else { return Ok(()) };
        let Recipe { batch, from, boundary, first_row, outline: before } = &recipe;
        // What no message can be made of was told the first time.
        let (messages, _) = envelope.compose(batch, from, boundary, *first_row).await?;
        if outline(&messages) != *before {
            let text = format!(
                "the envelope of sink {sink} made messages of other rows than before, of the same batch; the pipeline begins again from \
                 where the sink stands"
            );
            return Err(Failure { code: "envelope_differs".into(), message: text, retriable: true });
        }
        if let Some(Some(held)) = Arc::get_mut(&mut self.held) {
            held.resize(messages.byte_size() + self.batch.as_ref().map_or(0, |batch| batch.byte_size()));
        }
        self.delivery.messages = Arc::new(messages);
        self.gone = None;
        Ok(())
    }
}

impl SinkTask {
    /// What the sink took last is held for another try, by what needs less room.
    pub(super) fn lighten(&mut self) {
        if self.written > 0 {
            self.pending[self.written - 1].lighten();
        }
    }

    /// The next delivery is to be whole.
    pub(super) async fn restore(&mut self) -> Result<(), Failure> {
        self.pending[self.written].restore(&mut self.envelope, &self.plan.id).await
    }

    /// Whether no more may be held of a transaction. What is in it only in part is to be in it whole.
    pub(super) fn is_laden(&self) -> bool {
        let is_torn = || self.pending.get(self.written).is_some_and(|item| item.delivery.done > 0);
        let held = |item: &FeedItem| item.held.as_ref().as_ref().map_or(0, |held| held.bytes());
        let all = || self.pending.iter().take(self.written).map(held).sum::<usize>();
        let (budget, most) = (&self.context.budget, self.context.budget.limit() / 4);
        self.keeps.is_some() && budget.held() >= most && all() >= most && !is_torn()
    }
}
