//! A script as a stage of a pipeline.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deltaforge_engine::stage::{Limit, Stage, StageAction, StageError, StageLimits};
use deltaforge_engine::tenants::{LimitReached, Seated};
use deltaforge_engine::usage::{Running, Usage};
use deltaforge_model::{Overlay, View};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::error;

use crate::changes::{ApplyError, apply};
use crate::console::Owner;
use crate::script::{Outcome, ScriptError, Task};
use crate::worker::{Kind, Loaded, MAX_ABANDONED, MAX_ABANDONED_OF_A_TENANT, Ran, Worker, Workshop};

/// Counts threads given up because their script would not stop.
pub(crate) const ABANDONED: &str = "deltaforge_script_abandoned_total";
/// Counts slices that ended at a limit.
pub(crate) const LIMITS: &str = "deltaforge_script_limits_total";

/// How long definitions may take when a script is loaded; a slice's limits are not meant for them.
pub(crate) const LOAD: StageLimits = StageLimits { cpu_ms: 1_000, timeout_ms: 5_000, ..StageLimits::DEFAULT };

/// A script, its limits and, while all is well, the thread that runs it.
pub(crate) struct ScriptStage {
    workshop: Arc<Workshop>,
    kind: Kind,
    owner: Owner,
    source: Arc<str>,
    limits: StageLimits,
    worker: Option<Worker>,
    /// Its place among what its tenant may have; `None`: it is only looked at.
    _seat: Option<Seated>,
    running: Running,
    /// A slice whose caller went away before it was done.
    unanswered: Option<Unanswered>,
}

struct Unanswered {
    answer: oneshot::Receiver<Ran>,
    until: Instant,
}

/// Why a script does not run yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    /// It cannot be loaded.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Too many others keep their threads.
    #[error(
        "{MAX_ABANDONED} scripts of this host did not stop at their limits and keep their threads; no new one is \
         started until one of them ends or the host is started anew"
    )]
    Abandoned,
    /// Too many of its tenant's do.
    #[error(
        "{MAX_ABANDONED_OF_A_TENANT} scripts of this tenant did not stop at their limits and keep their threads; no new \
         one of it is started until one of them ends or the host is started anew"
    )]
    AbandonedOfTenant,
    /// Its tenant may have no more.
    #[error(transparent)]
    Limit(#[from] LimitReached),
}

impl From<NotReady> for StageError {
    fn from(error: NotReady) -> Self {
        match error {
            NotReady::Script(error) => error.into(),
            NotReady::Limit(reached) => Self::stop("tenant_limit", reached.to_string()),
            NotReady::Abandoned | NotReady::AbandonedOfTenant => {
                Self::stop("script_abandoned_limit", error.to_string())
            }
        }
    }
}

impl ScriptStage {
    /// Loads the script, which is only looked at where it has no `seat`.
    ///
    /// # Errors
    ///
    /// As [`ScriptError`] has it; `script_abandoned_limit` when too many scripts keep their threads.
    pub(crate) async fn start(
        workshop: Arc<Workshop>,
        owner: Owner,
        source: Arc<str>,
        limits: StageLimits,
        seat: Option<Seated>,
    ) -> Result<Self, NotReady> {
        let kind = Kind { tenant: owner.tenant.clone(), mem_mb: limits.mem_mb };
        let usage = if seat.is_some() { Usage::of(&owner.tenant, "inline") } else { Usage::nobodys() };
        let running = Running::new(usage);
        let mut stage = Self {
            workshop,
            kind,
            owner,
            source,
            limits,
            worker: None,
            _seat: seat,
            running,
            unanswered: None,
        };
        stage.ready().await?;
        Ok(stage)
    }

    /// A worker with the script loaded.
    async fn ready(&mut self) -> Result<(), NotReady> {
        if self.worker.is_some() {
            return Ok(());
        }
        if self.workshop.abandoned() >= MAX_ABANDONED {
            return Err(NotReady::Abandoned);
        }
        if self.workshop.abandoned_of(&self.kind.tenant) >= MAX_ABANDONED_OF_A_TENANT {
            return Err(NotReady::AbandonedOfTenant);
        }
        let worker = self.workshop.worker(&self.kind).await?;
        let mut place = self.workshop.tenants().place(&self.kind.tenant).await;
        let bounds = StageLimits { cpu_ms: LOAD.cpu_ms, timeout_ms: LOAD.timeout_ms, ..self.limits };
        let answer = worker.load(self.source.clone(), self.owner.clone(), bounds);
        let loaded = match tokio::time::timeout(patience(&LOAD), answer).await {
            Ok(loaded) => loaded,
            Err(_) => {
                place.charge(Duration::from_millis(LOAD.timeout_ms));
                return Err(self.give_up(worker, Task::Load, &LOAD).into());
            }
        };
        let Ok(Loaded { result, took }) = loaded else { return Err(ended().into()) };
        place.charge(took);
        match result {
            Ok(()) => {
                self.worker = Some(worker);
                Ok(())
            }
            Err(error @ (ScriptError::Failed(_) | ScriptError::Thrown { .. })) => {
                worker.retire(&self.workshop);
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the slice in work. The worker is gone afterwards if it is of no more use. Answers also how long the
    /// script ran.
    async fn answer(&mut self) -> (Result<Outcome, ScriptError>, Duration) {
        let Some(Unanswered { answer, until }) = &mut self.unanswered else {
            return (Err(ended()), Duration::ZERO);
        };
        let result = tokio::time::timeout_at(*until, answer).await;
        self.unanswered = None;
        let mut took = Duration::from_millis(self.limits.timeout_ms);
        let result = match result {
            Ok(Ok(ran)) => {
                took = ran.took;
                ran.result
            }
            Ok(Err(_)) => {
                self.worker = None;
                Err(ended())
            }
            Err(_) => match self.worker.take() {
                Some(worker) => Err(self.give_up(worker, Task::Slice, &self.limits)),
                None => Err(ended()),
            },
        };
        let limit = match &result {
            Err(ScriptError::Memory { .. }) => {
                self.worker = None;
                "memory"
            }
            Err(ScriptError::Overrun { .. }) => "time",
            Err(ScriptError::Stuck { .. }) => "abandoned",
            Err(ScriptError::Edits(_)) => "edits",
            _ => return (result, took),
        };
        self.count_limit(limit);
        (result, took)
    }

    fn count_limit(&self, limit: &'static str) {
        metrics::counter!(LIMITS, "pipeline" => self.owner.pipeline.clone(),
            "processor" => self.owner.stage.clone(), "limit" => limit)
        .increment(1);
    }

    fn give_up(&self, worker: Worker, task: Task, limits: &StageLimits) -> ScriptError {
        let Owner { tenant, pipeline, stage, .. } = &self.owner;
        worker.abandon(&self.workshop);
        metrics::counter!(ABANDONED, "pipeline" => pipeline.clone(), "processor" => stage.clone())
            .increment(1);
        error!(
            tenant,
            pipeline,
            stage,
            timeout_ms = limits.timeout_ms,
            abandoned = self.workshop.abandoned(),
            "a script does not stop; its thread is given up"
        );
        ScriptError::Stuck { limit: task.time(Limit::TimeoutMs, limits) }
    }
}

/// How long a script may take to come back before its thread is given up.
pub(crate) fn patience(limits: &StageLimits) -> Duration {
    Duration::from_millis(limits.timeout_ms.saturating_mul(2).saturating_add(100))
}

/// A script that ran before cannot be loaded again: no row's fault.
fn gone(error: NotReady) -> StageError {
    let action = match &error {
        NotReady::Script(ScriptError::Thrown { .. }) => StageAction::Stop,
        // There was no time, no memory or no thread for it.
        NotReady::Script(_) => StageAction::Retry,
        NotReady::Abandoned | NotReady::AbandonedOfTenant | NotReady::Limit(_) => StageAction::Stop,
    };
    StageError { action, ..error.into() }
}

pub(crate) fn ended() -> ScriptError {
    ScriptError::Failed("the script engine ended unexpectedly".to_owned())
}

#[async_trait]
impl Stage for ScriptStage {
    async fn process(&mut self, view: &View, edits: &mut Overlay) -> Result<(), StageError> {
        if self.unanswered.is_some() {
            // Its caller is gone; only whether the engine is still fit matters.
            let _ = self.answer().await;
        }
        if view.is_empty() {
            return Ok(());
        }
        self.ready().await.map_err(gone)?;
        let Some(worker) = &self.worker else { return Err(ended().into()) };
        let mut place = self.workshop.tenants().place(&self.owner.tenant).await;
        let answer = worker.run(view.clone(), self.limits);
        self.unanswered = Some(Unanswered { answer, until: Instant::now() + patience(&self.limits) });
        let (result, took) = self.answer().await;
        place.charge(took);
        self.running.ran(took);
        self.running.holds(self.worker.as_ref().map_or(0, Worker::held));
        drop(place);
        let Outcome { plan, changes } = result?;
        let before = edits.savepoint();
        apply(view, &plan, &changes, &self.owner.stage, &self.limits, edits).map_err(|error| {
            edits.rollback(before);
            if matches!(error, ApplyError::TooMany(_)) {
                self.count_limit("edits");
            }
            error.into()
        })
    }
}

impl Drop for ScriptStage {
    fn drop(&mut self) {
        match self.worker.take() {
            // Nobody knows whether it comes back: it counts as given up until it does.
            Some(worker) if self.unanswered.is_some() => worker.abandon(&self.workshop),
            Some(worker) => worker.retire(&self.workshop),
            None => {}
        }
    }
}
