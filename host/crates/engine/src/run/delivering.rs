//! How deliveries go to an open sink, and what happens when they are durable.

use std::sync::Arc;

use super::commit::Progress;
use super::feed::{FeedItem, Origin};
use super::hearing::Hearing;
use super::sink::SinkTask;
use crate::dlq::Letter;
use crate::failpoint;
use crate::sink::{Sink, SinkError};
use crate::status::{Failure, Shared};

impl SinkTask {
    /// Writes the next delivery. An event that can never be delivered goes to the dead-letter queue.
    pub(super) async fn write(
        &mut self,
        sink: &mut dyn Sink,
        shared: &Shared,
        hearing: &Hearing,
    ) -> Result<Option<SinkError>, Failure> {
        let item = &mut self.pending[self.written];
        let has_had_none = item.delivery.indexes.is_empty();
        if item.delivery.is_empty() && (has_had_none || self.keeps.is_none()) {
            // Nothing in it for this sink, or nothing left after rejects: there is nothing to wait for. But one that keeps
            // its position is told where a delivery ends that it has a part of.
            item.delivery.indexes = Arc::new([]);
            item.delivery.done = 0;
            self.written += 1;
            return Ok(None);
        }
        self.restore().await?;
        failpoint::hit("sink.write");
        let item = &self.pending[self.written];
        // What waits on disk has passed its stages, and its envelopes stand behind it.
        let had = match &item.origin {
            Origin::Queue { reach, .. } => {
                Some(self.handed.extend(self.index, reach, |a, b| self.source.compare(a, b)))
            }
            Origin::Spill { .. } => None,
        };
        self.pauses.trying();
        let (delivery, batch) = (item.delivery.clone(), item.batch.clone());
        match self.patiently(Some(hearing), sink.write(&delivery)).await? {
            Ok(()) => {
                failpoint::hit("sink.written");
                drop(delivery);
                self.written += 1;
                self.lighten();
                Ok(None)
            }
            Err(SinkError::Rejected { place, kind, code, message }) => {
                let index = delivery.indexes[place] as usize;
                let meta = delivery.messages.get(index).meta;
                let (Some(dlq), Some(batch)) = (self.dlq.clone(), batch) else {
                    if let Some(had) = had.filter(|_| place == 0) {
                        // Nothing of the batch is out: another version may mend it.
                        self.handed.take_back(self.index, had);
                    }
                    let text =
                        format!("sink {} can never deliver event {}: {message}", self.plan.id, meta.event_id);
                    if self.written > 0 && self.keeps.is_none() {
                        // What got through before it need not be sent again at each try.
                        let _ = self.await_durable(sink, shared, hearing).await?;
                    }
                    return Err(Failure::operator(code, text));
                };
                let plan = self.plan.clone();
                let letters = [Letter {
                    event: batch.event(meta.batch_row as usize),
                    hide: false,
                    sink_id: &plan.id,
                    stage_id: "",
                    kind,
                    code,
                    message: &message,
                    attempts: 1,
                }];
                let lost = self.patiently(None, dlq.put(&letters)).await??;
                shared.dead_letters_lost(lost);
                failpoint::hit("dlq.stored");
                shared.metrics.sink_rejected(self.index);
                let item = &mut self.pending[self.written];
                item.delivery.done = place + 1;
                item.wanted = item.wanted.iter().copied().filter(|at| *at as usize != index).collect();
                Ok(None)
            }
            Err(error) => {
                if let SinkError::Failed { delivered, .. } = &error {
                    let item = &mut self.pending[self.written];
                    item.delivery.done = item.delivery.done.max(*delivered);
                }
                Ok(Some(error))
            }
        }
    }

    /// Waits until what is written is durable. Answers whether the sink was asked for that.
    pub(super) async fn await_durable(
        &mut self,
        sink: &mut dyn Sink,
        shared: &Shared,
        hearing: &Hearing,
    ) -> Result<Result<bool, SinkError>, Failure> {
        // Deliveries with nothing in them need no sink, once all before them are durable.
        let mut through = None;
        if self.pending.iter().take(self.written).any(|item| !item.delivery.indexes.is_empty()) {
            let durable = match self.patiently(Some(hearing), sink.durable()).await? {
                Ok(durable) => durable,
                Err(error) => return Ok(Err(error)),
            };
            failpoint::hit("sink.durable");
            if durable.state.is_some() {
                self.context.state = durable.state;
            }
            through = Some(durable.through);
        }
        self.delivered(through, shared).await;
        Ok(Ok(through.is_some()))
    }

    /// Everything that was written up to `through`, and what comes after it and has nothing in it, is durable.
    async fn delivered(&mut self, through: Option<u64>, shared: &Shared) {
        if through.is_some() {
            shared.sink_gets_on(self.index);
        }
        // The last one from the queue and the last one from the spill, in the order they came.
        let mut done: Vec<Origin> = Vec::with_capacity(2);
        while self.written > 0 {
            let Some(item) = self.pending.front() else { break };
            let seq = item.delivery.seq;
            if !item.delivery.indexes.is_empty() && through.is_none_or(|through| seq > through) {
                break;
            }
            self.written -= 1;
            let item = self.pending.pop_front().expect("the front was looked at");
            shared.metrics.delivered(self.index, item.size(), item.taken_at);
            done.retain(|origin| std::mem::discriminant(origin) != std::mem::discriminant(&item.origin));
            done.push(item.origin);
        }
        for origin in done {
            let (sink, state) = (self.index, self.context.state.clone());
            let progress = match (origin, &self.drain) {
                (Origin::Queue { seq, .. }, _) => {
                    self.queue_done = seq;
                    Progress::Durable { sink, seq, state }
                }
                (Origin::Spill { number, meta }, Some(drain)) => {
                    self.spill_done = number;
                    let (seq, mark) = (meta.seq_of(&self.run), meta.mark());
                    Progress::Drained { sink, number, seq, mark, state, backlog: drain.backlog.clone() }
                }
                (Origin::Spill { .. }, None) => continue,
            };
            // The committer outlives the sinks.
            let _ = self.progress.send(progress).await;
        }
    }

    /// An open sink that keeps its position itself says where it stands. It stands where it was known to, or at the end of a
    /// delivery that was written and of which nothing was heard any more.
    pub(super) async fn stands(
        &mut self,
        stands: Option<Arc<[u8]>>,
        shared: &Shared,
    ) -> Result<bool, Failure> {
        if self.keeps.is_none() || stands.as_deref() == self.context.state.as_deref() {
            return Ok(false);
        }
        let is_there = |item: &FeedItem| stands.is_some() && item.delivery.stands == stands;
        let Some(at) = self.pending.iter().position(is_there) else {
            let text = format!(
                "sink {} stands where this run of the pipeline has not brought it; the pipeline begins again from there",
                self.plan.id
            );
            return Err(Failure { code: "sink_moved_on".into(), message: text, retriable: true });
        };
        self.context.state = stands.map(|stands| stands.to_vec());
        self.written = at + 1;
        self.delivered(Some(self.pending[at].delivery.seq), shared).await;
        Ok(true)
    }
}
