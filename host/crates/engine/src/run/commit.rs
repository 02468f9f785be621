//! Stores checkpoints and finds out what may be confirmed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaforge_model::{Boundary, Position};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use metrics::{Gauge, gauge};
use tokio::sync::{mpsc, watch};

use super::backlog::Backlog;
use super::mark::{CheckpointRecord, Start, checkpoint_key, now_ms};
use crate::checkpoint::{CheckpointKey, Checkpoints};
use crate::failpoint;
use crate::ledger::{Ledger, Mark};
use crate::plan::{PipelinePlan, Services};
use crate::status::{Failure, STALLED_AFTER, Shared};

/// What the other tasks tell the committer.
#[allow(clippy::large_enum_variant, reason = "one for each batch, which is far larger")]
pub(crate) enum Progress {
    /// A batch is on its way to the sinks. Sent before any sink gets it.
    Opened { seq: u64, through: Position, boundary: Boundary, newest_us: i64, rows: u64 },
    /// A sink has everything up to `seq` durable.
    Durable { sink: usize, seq: u64, state: Option<Vec<u8>> },
    /// A sink's stored checkpoint covers everything up to `seq`: it has had that before this run.
    Covered { sink: usize, seq: u64 },
    /// A sink has everything up to `seq` in its fsynced spill, or in a recorded gap.
    Spilled { sink: usize, seq: u64 },
    /// A sink has delivered everything up to batch `number` of its spill; `seq`: of this run.
    Drained {
        sink: usize,
        number: u64,
        seq: Option<u64>,
        mark: Mark,
        state: Option<Vec<u8>>,
        backlog: Backlog,
    },
}

/// A checkpoint that is stored.
struct Stored {
    sink: usize,
    /// 0: none of this run.
    seq: u64,
    resume: String,
    drained: Option<(u64, Backlog)>,
}

pub(crate) struct Committer {
    ledger: Ledger,
    keys: Vec<CheckpointKey>,
    checkpoints: Arc<Checkpoints>,
    shared: Arc<Shared>,
    confirms: watch::Sender<Option<Position>>,
    stored: FuturesUnordered<BoxFuture<'static, Option<Stored>>>,
    last_checkpoint: Gauge,
    /// Per sink: the newest batch of its spill that it is done with.
    drained: Vec<u64>,
    backlogs: Vec<Option<Backlog>>,
    /// Per sink: the newest batch of this run that it has durable.
    reached: Vec<Option<(u64, Mark)>>,
}

/// A store that takes longer than this for everything handed in does not work.
pub(crate) const SLOW_STORE: Duration = Duration::from_secs(5);

/// What a pipeline then waits for.
pub(crate) fn store_is_slow() -> Failure {
    let text = "checkpoints wait for the state store, which does not take them";
    Failure { code: "state_store".into(), message: text.into(), retriable: true }
}

/// Checkpoints that may wait for the store at once. Past it everything waits: while the store fails the stream
/// must not run away from it.
const MAX_UNSTORED: usize = 4096;

impl Committer {
    pub fn new(
        plan: &PipelinePlan,
        services: &Services,
        shared: Arc<Shared>,
        confirms: watch::Sender<Option<Position>>,
        starts: &[Start],
        backlogs: Vec<Option<Backlog>>,
    ) -> Self {
        Self {
            ledger: Ledger::new(plan.policy, plan.sinks.iter().map(|sink| sink.required).collect()),
            keys: plan.sinks.iter().map(|sink| checkpoint_key(plan, &sink.id)).collect(),
            checkpoints: services.checkpoints.clone(),
            shared,
            confirms,
            stored: FuturesUnordered::new(),
            drained: starts.iter().map(|start| start.spill_acked).collect(),
            backlogs,
            reached: vec![None; plan.sinks.len()],
            last_checkpoint: gauge!("deltaforge_last_checkpoint_ts", "pipeline" => plan.name.clone()),
        }
    }

    /// Runs until every other task has ended and every checkpoint handed in is stored.
    pub async fn run(mut self, mut progress: mpsc::Receiver<Progress>) {
        let mut open = true;
        let mut waiting = None;
        // When the store last took one, or was given the first.
        let mut alive = tokio::time::Instant::now();
        while open || !self.stored.is_empty() {
            tokio::select! {
                event = progress.recv(), if open && self.stored.len() < MAX_UNSTORED => match event {
                    Some(event) => {
                        if self.stored.is_empty() {
                            alive = tokio::time::Instant::now();
                        }
                        self.take(event);
                    }
                    None => open = false,
                },
                () = tokio::time::sleep_until(alive + SLOW_STORE), if !self.stored.is_empty() && waiting.is_none() => {
                    waiting = Some(self.shared.waits().begin(store_is_slow(), Some(STALLED_AFTER)));
                }
                Some(stored) = self.stored.next(), if !self.stored.is_empty() => {
                    waiting = None;
                    alive = tokio::time::Instant::now();
                    // None: the host is going down and the checkpoint was not stored.
                    let Some(Stored { sink, seq, resume, drained }) = stored else { continue };
                    failpoint::hit("checkpoint.stored");
                    self.ledger.checkpointed(sink, seq);
                    if let Some(backlog) = &self.backlogs[sink] {
                        backlog.settled(seq);
                    }
                    if let Some((number, backlog)) = drained {
                        if let Some(seq) = backlog.covered_by(number) {
                            self.shared.durable(sink, seq);
                            self.ledger.checkpointed(sink, seq);
                        }
                        backlog.ack(number);
                    }
                    self.last_checkpoint.set(now_ms() as f64 / 1000.0);
                    self.shared.checkpointed(sink, &resume, now_ms());
                }
            }
            if let Some(position) = self.ledger.take_confirmed() {
                self.confirms.send_replace(Some(position));
            }
            self.shared.metrics.in_flight(self.ledger.open_batches());
        }
    }

    fn take(&mut self, event: Progress) {
        match event {
            Progress::Opened { seq, through, boundary, newest_us, rows } => {
                self.ledger.open(seq, &through, &boundary);
                self.shared.opened(seq, newest_us, rows, Instant::now());
            }
            Progress::Durable { sink, seq, state } => {
                self.shared.durable(sink, seq);
                // No mark: the batch is confirmed, which needed a later checkpoint of this sink.
                let Some(mark) = self.ledger.mark(seq) else { return };
                let mark = mark.clone();
                self.reached[sink] = Some((seq, mark.clone()));
                let record = CheckpointRecord::new(&mark, state.as_deref(), self.drained[sink]);
                self.store(sink, seq, record, None);
            }
            Progress::Covered { sink, seq } => {
                self.shared.durable(sink, seq);
                self.ledger.checkpointed(sink, seq);
            }
            Progress::Spilled { sink, seq } => self.ledger.spilled(sink, seq),
            Progress::Drained { sink, number, seq, mark, state, backlog } => {
                if let Some(seq) = seq {
                    self.shared.durable(sink, seq);
                }
                // It was read again, and the checkpoint is past it.
                if number <= self.drained[sink] {
                    return;
                }
                self.drained[sink] = number;
                // What was delivered from the queue may be ahead of its copy in the spill.
                let (seq, mark) = match self.reached[sink].take() {
                    Some((reached, mark)) if reached > seq.unwrap_or(0) => (reached, mark),
                    _ => (seq.unwrap_or(0), mark),
                };
                let record = CheckpointRecord::new(&mark, state.as_deref(), number);
                self.reached[sink] = Some((seq, mark));
                self.store(sink, seq, record, Some((number, backlog)));
            }
        }
    }

    fn store(&mut self, sink: usize, seq: u64, record: CheckpointRecord, drained: Option<(u64, Backlog)>) {
        failpoint::hit("checkpoint.hand_in");
        let bytes = serde_json::to_vec(&record).expect("a checkpoint record is plain JSON");
        let stored = self.checkpoints.put(&self.keys[sink], bytes);
        self.stored.push(Box::pin(async move {
            stored.await.ok().map(|()| Stored { sink, seq, resume: record.resume, drained })
        }));
    }
}
