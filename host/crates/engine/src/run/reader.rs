//! The task that owns the source.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_model::{Position, SourceBatch};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::budget::{Budget, Reservation};
use crate::failpoint;
use crate::source::SourceReader;
use crate::status::{Failure, Shared};

/// A batch costs about this many times its size until its messages are delivered: itself and what is made of it.
const ESTIMATE: usize = 3;

/// How long a batch may wait for memory. A slow sink makes it wait, and that is as it should be.
const MEMORY_PATIENCE: Duration = Duration::from_secs(60);

/// A batch with the bytes reserved for it.
pub(crate) type Held = (SourceBatch, Reservation);

pub(crate) struct Reader {
    pub source: Box<dyn SourceReader>,
    pub batches: mpsc::Sender<Held>,
    pub confirms: watch::Receiver<Option<Position>>,
    pub budget: Budget,
    pub paused: watch::Receiver<bool>,
    pub drain: CancellationToken,
    pub shared: Arc<Shared>,
}

#[allow(clippy::large_enum_variant, reason = "it lives for one turn of the loop")]
enum Wake {
    Batch(Option<SourceBatch>),
    Confirm,
    Paused,
    Drain,
}

impl Reader {
    pub async fn run(mut self) -> Result<(), Failure> {
        loop {
            let paused = *self.paused.borrow_and_update();
            let wake = tokio::select! {
                biased;
                () = self.drain.cancelled() => Wake::Drain,
                changed = self.confirms.changed() => if changed.is_ok() { Wake::Confirm } else { return Ok(()) },
                _ = self.paused.changed() => Wake::Paused,
                batch = self.source.next_batch(), if !paused => Wake::Batch(batch?),
            };
            match wake {
                Wake::Paused => {}
                Wake::Confirm => self.confirm().await,
                Wake::Drain | Wake::Batch(None) => break,
                Wake::Batch(Some(batch)) => {
                    failpoint::hit("source.batch");
                    self.shared.metrics.source_batch(&batch.batch);
                    if !self.hand_on(batch).await {
                        return Ok(());
                    }
                }
            }
        }
        // The worker ends when nothing more comes, the sinks after it, the committer after them.
        drop(std::mem::replace(&mut self.batches, mpsc::channel(1).0));
        while self.confirms.changed().await.is_ok() {
            self.confirm().await;
        }
        Ok(())
    }

    /// Waits for the budget and the worker; confirms go on meanwhile. False: the attempt is over.
    async fn hand_on(&mut self, batch: SourceBatch) -> bool {
        let bytes = batch.batch.byte_size() * ESTIMATE;
        let (budget, batches) = (self.budget.clone(), self.batches.clone());
        let waits = self.shared.waits().clone();
        let send = async move {
            let held = match budget.try_reserve(bytes) {
                Some(held) => held,
                None => {
                    let text = format!(
                        "{bytes} bytes are needed for the next batch, and the memory budget is held by what is not \
                         delivered yet; the sinks do not keep up, or other pipelines hold the host's budget"
                    );
                    let _waiting =
                        waits.begin_usual(Failure::operator("memory_budget", text), MEMORY_PATIENCE);
                    budget.reserve(bytes).await
                }
            };
            batches.send((batch, held)).await.is_ok()
        };
        tokio::pin!(send);
        loop {
            tokio::select! {
                sent = &mut send => return sent,
                // What is read again later need not wait for room now.
                () = self.drain.cancelled() => return true,
                changed = self.confirms.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    self.confirm().await;
                }
            }
        }
    }

    async fn confirm(&mut self) {
        let Some(position) = self.confirms.borrow_and_update().clone() else { return };
        failpoint::hit("source.confirm");
        match self.source.confirm(&position).await {
            Ok(()) => failpoint::hit("source.confirmed"),
            Err(error) => {
                warn!(code = error.code, error = %error, "the source could not be told what is confirmed; it will be told again");
            }
        }
    }
}
