//! One attempt to run a pipeline: from its checkpoints until it is stopped or something fails.
//!
//! Four kinds of task, joined by bounded channels:
//!
//! * the **reader** owns the source, waits for the byte budget, and tells the source what is confirmed;
//! * the **worker** runs stages and encoding in order, on the compute runtime;
//! * one **sink** task for each sink delivers, retries, and reports what is durable;
//! * the **committer** stores checkpoints and finds out what may be confirmed.
//!
//! The order at the end is always the same: sink durable, then checkpoint stored, then source confirmed.

use std::sync::Arc;

use deltaforge_model::position::Order;
use deltaforge_model::{Position, SourceInfo};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, warn};

use crate::budget::Budget;
use crate::dlq::Dlq;
use crate::plan::{PipelinePlan, Services, SourcePlan};
use crate::snapshots::Snapshots;
use crate::source::{SourceContext, SourceFactory, SourceReader};
use crate::status::{Failure, Shared};

mod again;
mod backlog;
mod commit;
mod delivering;
mod drain;
mod envelopes;
mod feed;
pub(crate) mod gaps;
mod handed;
mod hearing;
mod inside;
mod journal;
mod lineage;
mod mark;
mod reader;
mod sink;
mod skip;
mod stage_set;
pub(crate) mod standing;
mod swaps;
pub(crate) mod tapped;
mod unload;
mod unwritten;
mod worker;

use backlog::{Backlog, Closing};
use envelopes::Envelopes;
pub(crate) use envelopes::NewEnvelope;
pub(crate) use handed::HandedOut;
use journal::{Journal, Writing};
pub(crate) use lineage::Successor;
use mark::Beginnings;
pub use mark::SinkCheckpoint;
pub(crate) use mark::{
    forget as forget_checkpoints, now_ms, stored as stored_checkpoints, stored_lowest as lowest_checkpoint,
};
use skip::Skip;
pub(crate) use stage_set::NewStage;
use stage_set::StageSet;
pub use stage_set::Swapped;
pub(crate) use swaps::{Swap, Swaps};

/// Counts versions that were put back for another one.
const ROLLED_BACK: &str = "deltaforge_swap_rollbacks_total";
/// How long the state store may take for checkpoints of an earlier attempt.
const FLUSHED_WITHIN: std::time::Duration = std::time::Duration::from_secs(10);

/// What an attempt is given besides its plan.
pub(crate) struct Attempt {
    pub plan: Arc<PipelinePlan>,
    pub services: Services,
    pub shared: Arc<Shared>,
    /// Ends the attempt well: what was read is delivered, checkpointed, confirmed.
    pub drain: CancellationToken,
    /// While true nothing is read from the source.
    pub paused: watch::Receiver<bool>,
    /// Swaps, carried out by the worker between batches.
    pub swaps: Arc<Swaps>,
    /// What sinks may have had in the attempts before.
    pub handed: Arc<HandedOut>,
    /// Names the start of the pipeline that this is an attempt of.
    pub run: Arc<str>,
    /// Snapshots beside the stream.
    pub snapshots: Snapshots,
}

/// How long deliveries under way may take when a failure ends the attempt.
const WINDS_DOWN_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// The first failure of any task ends the attempt: nothing more is read, and what was read before is delivered and
/// checkpointed if that goes quickly. Cut off at once it would come again with each new attempt.
#[derive(Clone)]
pub(crate) struct Fuse {
    /// Nothing more is read.
    winding_down: CancellationToken,
    failure: Arc<parking_lot::Mutex<Option<Failure>>>,
}

impl Fuse {
    fn new(drain: &CancellationToken) -> Self {
        Self { winding_down: drain.child_token(), failure: Arc::default() }
    }

    /// Ends the attempt; only the first failure counts.
    pub fn blow(&self, failure: Failure) {
        self.failure.lock().get_or_insert(failure);
        self.winding_down.cancel();
    }

    /// Waits until a failure has ended the attempt and the time for what is under way has passed.
    async fn burned_out(&self) {
        self.winding_down.cancelled().await;
        if self.failure.lock().is_none() {
            // An operator ends it, and whoever does that looks at the clock.
            return std::future::pending().await;
        }
        tokio::time::sleep(WINDS_DOWN_WITHIN).await;
    }
}

impl Attempt {
    /// Runs until the source ends, a drain is done, or something fails.
    pub async fn run(self) -> Result<(), Failure> {
        let Self { plan, services, shared, drain, paused, swaps, handed, run, snapshots } = self;
        let compare = |a: &Position, b: &Position| plan.source.factory.compare(a, b);
        // What the attempt before handed in must not be stored over what this one begins with.
        let flushed = tokio::time::timeout(FLUSHED_WITHIN, services.checkpoints.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            return Err(Failure {
                code: "state_store".into(),
                message: "earlier checkpoints wait for the state store, which does not take them".into(),
                retriable: true,
            });
        }
        let Ok(storing) = tokio::time::timeout(FLUSHED_WITHIN, swaps.storing()).await else {
            return Err(Failure {
                code: "state_store".into(),
                message: "an earlier swap waits for the state store, which does not take it".into(),
                retriable: true,
            });
        };
        let mut own = self::mark::load(&plan, &services).await?;
        let fuse = Fuse::new(&drain);
        let budget = Budget::new(plan.max_memory_bytes, Some(services.budget.clone()));
        let dlq = plan.dlq.map(|limits| {
            Dlq::new(services.store.clone(), &plan.tenant, &plan.name, limits)
                .telling(shared.waits().clone(), plan.secrets.clone())
        });
        let (event_tx, event_rx) = mpsc::channel(1024);
        let sinks = sink::SinkShared {
            plan: plan.clone(),
            services: services.clone(),
            dlq: dlq.clone(),
            progress: event_tx.clone(),
            run: uuid::Uuid::new_v4().to_string().into(),
            hurry: shared.waits().hurry().clone(),
            drain: fuse.winding_down.clone(),
            handed: handed.clone(),
            budget: budget.clone(),
        };
        let opened = tokio::select! {
            biased;
            () = drain.cancelled() => return Ok(()),
            opened = standing::ask(&sinks, &shared, &mut own) => opened?,
        };
        let mut marks = own.clone();
        let mut backlogs = Vec::new();
        for (index, sink) in plan.sinks.iter().enumerate() {
            let may_spill = backlog::may_spill(&plan, sink);
            // What a sink was sent to disk for while it might be stays due when it may not any more.
            if !may_spill && !backlog::is_left(&plan, &services, sink).await {
                backlogs.push(None);
                continue;
            }
            let (budget, shared, ends) = (budget.clone(), shared.clone(), fuse.winding_down.clone());
            let opened = Backlog::open(index, &plan, &services, budget, shared, ends, &mut marks[index]);
            backlogs.push(Some(opened.await?).filter(|backlog| may_spill || backlog.is_spilling()));
        }
        for (start, sink) in marks.iter_mut().zip(&plan.sinks) {
            let SourcePlan { factory, config, .. } = &plan.source;
            inside::settle(start, &sink.id, |transaction| factory.is_counted_alike(config, transaction))?;
        }
        let resume = mark::lowest(&marks, &*plan.source.factory)?;
        let marks = mark::place_new_sinks(&plan, marks, resume.as_ref(), compare);
        let (waits, taps) = (shared.waits().clone(), shared.taps().clone());
        let (journal, writing) = Journal::start(&services, waits.clone(), fuse.clone(), storing);
        let journal = Arc::new(journal);
        let building = {
            let (plan, services, journal) = (plan.clone(), services.clone(), journal.clone());
            let (resume, own, shared) = (resume.clone(), own, shared.clone());
            async move {
                let at = resume.as_ref();
                let stages = StageSet::build(&plan, &services, &journal, resume.clone(), waits, taps).await?;
                shared.set_stages(stages.describe());
                let envelopes = Envelopes::build(&plan, &services, &journal, at, &own).await?;
                Ok::<_, Failure>((stages, envelopes))
            }
        };
        let (stages, envelopes) = services.tenants.run_on(&services.compute, &plan.tenant, building).await?;
        shared.set_envelopes(envelopes.describe());
        if let Some(dlq) = &dlq {
            shared.dead_letters_lost(dlq.look().await?);
        }

        let (batch_tx, batch_rx) = mpsc::channel(1);
        let (confirm_tx, confirm_rx) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let mut feeds = Vec::new();
        let kept_backlogs = backlogs.clone();
        let _closing = Closing(backlogs.clone());
        let mut tried = Vec::new();
        // These have something to deliver at once, which is checkpointed only when everything is at work.
        let mut with_spill = Vec::new();
        for (index, (backlog, opened)) in backlogs.into_iter().zip(opened).enumerate() {
            let envelope = envelopes.late(index);
            let (feed, task) = sink::start(index, &sinks, &marks[index], backlog, envelope, opened);
            feeds.push(feed);
            match task.tried() {
                Some(token) => {
                    tried.push(token);
                    tasks.spawn(work_on(task, shared.clone(), fuse.clone()).in_current_span());
                }
                None => with_spill.push(task),
            }
        }
        drop(sinks);
        // A sink of the commit policy that cannot be opened for good ends the attempt before the source is touched:
        // else each attempt would read what nobody takes.
        let opened = futures::future::join_all(tried.iter().map(CancellationToken::cancelled));
        tokio::select! {
            biased;
            () = fuse.winding_down.cancelled() => return end(tasks, &fuse, writing).await,
            _ = opened => {}
        }
        let stands = marks.iter().filter_map(|start| start.resume.clone()).collect();
        let connected = connect(&plan, &services, &shared, run, snapshots, resume.clone(), stands).await;
        let source = match connected {
            Ok(source) => source,
            Err(failure) => {
                fuse.blow(failure);
                return end(tasks, &fuse, writing).await;
            }
        };
        for task in with_spill {
            tasks.spawn(work_on(task, shared.clone(), fuse.clone()).in_current_span());
        }
        let is_paused = paused.clone();
        let worker = worker::Worker {
            plan: plan.clone(),
            shared: shared.clone(),
            stages,
            envelopes,
            feeds,
            skips: marks.iter().zip(&plan.sinks).map(|(mark, sink)| Skip::of(&sink.id, mark)).collect(),
            beginnings: Beginnings::of(&plan, &services, &marks),
            dlq,
            events: event_tx,
            swaps,
            journal,
            seq: 0,
            through: resume,
            had: mark::highest(&marks, compare),
            handed,
            inside: false,
        };
        {
            let fuse = fuse.clone();
            let worker = async move {
                if let Err(failure) = worker.run(batch_rx).await {
                    fuse.blow(failure);
                }
            };
            let worker = services.tenants.run_demotable(&plan.tenant, worker.in_current_span());
            tasks.spawn_on(worker, &services.compute);
        }
        {
            let committer =
                commit::Committer::new(&plan, &services, shared.clone(), confirm_tx, &marks, kept_backlogs);
            tasks.spawn(committer.run(event_rx).in_current_span());
        }
        {
            let reader = reader::Reader {
                source,
                batches: batch_tx,
                confirms: confirm_rx,
                budget,
                paused,
                drain: fuse.winding_down.clone(),
                shared: shared.clone(),
            };
            let fuse = fuse.clone();
            let reader = async move {
                if let Err(failure) = reader.run().await {
                    fuse.blow(failure);
                }
            };
            tasks.spawn(reader.in_current_span());
        }
        shared.running(*is_paused.borrow());
        let burned_out = fuse.burned_out();
        tokio::pin!(burned_out);
        loop {
            tokio::select! {
                () = &mut burned_out => break,
                ended = tasks.join_next() => match ended {
                    None => break,
                    Some(Ok(())) => {}
                    Some(Err(error)) if error.is_panic() => {
                        metrics::counter!("deltaforge_panics_total").increment(1);
                        fuse.blow(Failure::internal(format!("a task of the pipeline panicked: {error}")));
                    }
                    Some(Err(_)) => {}
                },
            }
        }
        end(tasks, &fuse, writing).await
    }
}

/// Runs a sink to its end.
async fn work_on(task: sink::SinkTask, shared: Arc<Shared>, fuse: Fuse) {
    // However the task ends, nobody waits for it in vain.
    let _tried = task.tried().map(CancellationToken::drop_guard);
    if let Err(failure) = task.run(shared).await {
        fuse.blow(failure);
    }
}

/// Ends what is still at work; answers what ended the attempt. What it handed in is stored by then, if that goes quickly:
/// others may read it.
async fn end(mut tasks: JoinSet<()>, fuse: &Fuse, writing: Writing) -> Result<(), Failure> {
    tasks.shutdown().await;
    writing.end().await;
    match fuse.failure.lock().take() {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// Connects the source, to go on after `resume`.
async fn connect(
    plan: &PipelinePlan,
    services: &Services,
    shared: &Shared,
    run: Arc<str>,
    snapshots: Snapshots,
    resume: Option<Position>,
    stands: Vec<Position>,
) -> Result<Box<dyn SourceReader>, Failure> {
    snapshots.load().await?;
    snapshots.rest();
    let info = SourceInfo {
        connector: plan.source.factory.kind().to_owned(),
        version: services.version.clone(),
        pipeline: plan.name.clone(),
        tenant: plan.tenant.clone(),
        source_id: plan.source.id.clone(),
        pos_name: String::new(),
        pos_is_lsn: false,
    };
    let context = SourceContext {
        info,
        resume: resume.clone(),
        stands,
        run,
        limits: plan.limits,
        state: services.store.clone(),
        waits: shared.waits().clone(),
        snapshots,
    };
    let source = plan.source.factory.connect(&plan.source.config, context).await?;
    info!(resume = resume.map(|at| at.readable()), "source connected");
    Ok(source)
}

/// Logs what a position relation means at start, once, for operators.
fn unrelated(a: &Position, b: &Position) -> Failure {
    let (a, b) = (a.readable(), b.readable());
    warn!(a, b, "two checkpoints have nothing to do with each other");
    Failure::operator(
        "unrelated_positions",
        format!(
            "the checkpoints ({a}) and ({b}) belong to different histories of the source; remove one of them or take a new snapshot"
        ),
    )
}

fn is_before(order: Order) -> bool {
    matches!(order, Order::Before)
}

/// The earlier of a position and another one, where there is one.
fn earliest(one: Option<Position>, other: Position, source: &dyn SourceFactory) -> Position {
    match one {
        Some(one) if !is_before(source.compare(&other, &one)) => one,
        _ => other,
    }
}
