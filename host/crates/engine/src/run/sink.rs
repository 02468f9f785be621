//! One task for each sink: its own queue, retry and checkpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use deltaforge_model::{Batch, Boundary, Position};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::commit::Progress;
use super::mark::Start;
use crate::budget::Reservation;
use crate::dlq::{Dlq, Letter};
use crate::error::Next;
use crate::failpoint;
use crate::plan::{PipelinePlan, Services, SinkPlan};
use crate::retry::Backoff;
use crate::sink::{Delivery, Sink, SinkContext, SinkError};
use crate::status::{Failure, Shared};

/// A delivery with what must stay until it is durable.
pub(crate) struct FeedItem {
    pub delivery: Delivery,
    /// The events, for the dead-letter queue.
    pub batch: Option<Arc<Batch>>,
    pub _held: Arc<Option<Reservation>>,
}

/// The worker's end of a sink's queue.
pub(crate) struct Feed {
    queue: mpsc::Sender<FeedItem>,
}

impl Feed {
    /// Hands a delivery to the sink. A sink of the commit policy holds the stream back while its queue is full.
    pub async fn send(
        &mut self,
        item: FeedItem,
        _batch: &Arc<Batch>,
        _from: &Position,
        _through: &Position,
        _boundary: &Boundary,
    ) -> Result<(), Failure> {
        // The sink task is gone only when the attempt is ending.
        let _ = self.queue.send(item).await;
        Ok(())
    }
}

/// Makes a sink's queue and task.
#[allow(clippy::too_many_arguments, reason = "made once, from the attempt's parts")]
pub(crate) async fn start(
    index: usize,
    sink: &SinkPlan,
    plan: &Arc<PipelinePlan>,
    services: &Services,
    start: &Start,
    dlq: Option<Dlq>,
    progress: &mpsc::Sender<Progress>,
) -> Result<(Feed, SinkTask), Failure> {
    let (queue, items) = mpsc::channel(plan.max_inflight.max(1));
    let task = SinkTask {
        index,
        plan: sink.clone(),
        context: SinkContext {
            pipeline: plan.name.clone(),
            tenant: plan.tenant.clone(),
            sink_id: sink.id.clone(),
            state: start.state.clone(),
            base_dir: services.base_dir.clone(),
        },
        max_inflight: plan.max_inflight.max(1),
        dlq,
        progress: progress.clone(),
        items,
        pending: VecDeque::new(),
        written: 0,
    };
    Ok((Feed { queue }, task))
}

pub(crate) struct SinkTask {
    index: usize,
    plan: SinkPlan,
    context: SinkContext,
    max_inflight: usize,
    dlq: Option<Dlq>,
    progress: mpsc::Sender<Progress>,
    items: mpsc::Receiver<FeedItem>,
    /// Deliveries that are not durable, oldest first.
    pending: VecDeque<FeedItem>,
    /// How many of them the open sink has taken.
    written: usize,
}

/// What ended a stretch of work on an open sink.
enum End {
    /// Nothing more will come, and everything is durable.
    Finished,
    /// The sink failed; it is opened anew.
    Failed(SinkError),
}

impl SinkTask {
    pub async fn run(mut self, shared: Arc<Shared>) -> Result<(), Failure> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        loop {
            let (end, progressed) =
                match self.plan.factory.open(&self.plan.config, self.context.clone()).await {
                    Ok(sink) => {
                        shared.sink_open(self.index);
                        self.work(sink, &shared).await?
                    }
                    Err(error) => (End::Failed(error), false),
                };
            let error = match end {
                End::Finished => return Ok(()),
                End::Failed(error) => error,
            };
            if progressed {
                backoff.reset();
            }
            self.written = 0;
            let (next, code) = match &error {
                SinkError::Failed { next, code, .. } => (*next, *code),
                SinkError::Rejected { code, .. } => (Next::Operator, *code),
            };
            shared.sink_failed(self.index, code, &error);
            if next == Next::Operator && self.plan.required {
                return Err(Failure::of_sink(&self.plan.id, error));
            }
            let pause = backoff.next();
            warn!(sink = self.plan.id, code, error = %error, cause = ?std::error::Error::source(&error),
                retry_in_ms = pause.as_millis() as u64, "sink failed");
            tokio::time::sleep(pause).await;
        }
    }

    /// Works on an open sink until it fails or nothing more comes. Also tells whether anything became durable.
    async fn work(&mut self, mut sink: Box<dyn Sink>, shared: &Shared) -> Result<(End, bool), Failure> {
        let mut progressed = false;
        let mut open = true;
        loop {
            if self.written < self.pending.len() {
                match self.write(&mut *sink, shared).await? {
                    Some(error) => return Ok((End::Failed(error), progressed)),
                    None => continue,
                }
            }
            if open && self.pending.len() < self.max_inflight {
                match self.items.try_recv() {
                    Ok(item) => {
                        self.pending.push_back(item);
                        continue;
                    }
                    Err(mpsc::error::TryRecvError::Disconnected) => open = false,
                    Err(mpsc::error::TryRecvError::Empty) => {}
                }
            }
            if self.pending.is_empty() {
                if open && let Some(item) = self.items.recv().await {
                    self.pending.push_back(item);
                    continue;
                }
                if let Err(error) = sink.close().await {
                    error!(sink = self.plan.id, error = %error, "sink could not be closed; nothing is lost");
                }
                info!(sink = self.plan.id, "sink closed");
                return Ok((End::Finished, progressed));
            }
            match self.await_durable(&mut *sink).await {
                Ok(()) => {
                    progressed = true;
                    shared.sink_ok(self.index);
                }
                Err(error) => return Ok((End::Failed(error), progressed)),
            }
        }
    }

    /// Writes the next delivery. An event that can never be delivered goes to the dead-letter queue.
    async fn write(&mut self, sink: &mut dyn Sink, shared: &Shared) -> Result<Option<SinkError>, Failure> {
        let item = &mut self.pending[self.written];
        if item.delivery.is_empty() {
            self.written += 1;
            return Ok(None);
        }
        failpoint::hit("sink.write");
        match sink.write(&item.delivery).await {
            Ok(()) => {
                failpoint::hit("sink.written");
                self.written += 1;
                Ok(None)
            }
            Err(SinkError::Rejected { place, kind, code, message }) => {
                let index = item.delivery.indexes[place] as usize;
                let event_id = item.delivery.messages.get(index).meta.event_id;
                let (Some(dlq), Some(batch)) = (&self.dlq, &item.batch) else {
                    let text = format!("sink {} can never deliver event {event_id}: {message}", self.plan.id);
                    return Err(Failure::operator(code, text));
                };
                let row = item.delivery.messages.get(index).meta.batch_row as usize;
                let letter = Letter {
                    event: batch.event(row),
                    hide: false,
                    sink_id: &self.plan.id,
                    stage_id: "",
                    kind,
                    code,
                    message: &message,
                    attempts: 1,
                };
                dlq.put(&[letter]).await?;
                failpoint::hit("dlq.stored");
                shared.metrics.sink_rejected(self.index);
                item.delivery.done = place + 1;
                Ok(None)
            }
            Err(error) => {
                if let SinkError::Failed { delivered, .. } = &error {
                    item.delivery.done = item.delivery.done.max(*delivered);
                }
                Ok(Some(error))
            }
        }
    }

    async fn await_durable(&mut self, sink: &mut dyn Sink) -> Result<(), SinkError> {
        // Deliveries with nothing in them need no sink, once all before them are durable.
        let mut through = None;
        if self.pending.iter().take(self.written).any(|item| !item.delivery.indexes.is_empty()) {
            let durable = sink.durable().await?;
            failpoint::hit("sink.durable");
            if durable.state.is_some() {
                self.context.state = durable.state;
            }
            through = Some(durable.through);
        }
        let mut done = None;
        while let Some(item) = self.pending.front() {
            let seq = item.delivery.seq;
            if self.written == 0
                || !(item.delivery.indexes.is_empty() || through.is_some_and(|through| seq <= through))
            {
                break;
            }
            done = Some(seq);
            self.pending.pop_front();
            self.written -= 1;
        }
        if let Some(seq) = done {
            let state = self.context.state.clone();
            // The committer outlives the sinks.
            let _ = self.progress.send(Progress::Durable { sink: self.index, seq, state }).await;
        }
        Ok(())
    }
}
