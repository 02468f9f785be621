//! A pipeline under supervision: started, paused, swapped, retried, stopped.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use metrics::counter;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, warn};

use crate::anew;
use crate::dlq::Dlq;
use crate::error::ConfigError;
use crate::ledger::CommitPolicy;
use crate::narrate;
use crate::plan::{PipelinePlan, Services};
use crate::retry::Backoff;
use crate::run::{
    self, Attempt, HandedOut, NewEnvelope, NewStage, SinkCheckpoint, Successor, Swap, Swapped, Swaps,
};
use crate::snapshots::Snapshots;
use crate::span;
use crate::stage::{StageError, StageSpec, StageVersion};
use crate::state::StateError;
use crate::status::{Failure, Gap, PipelineStatus, Shared, State};
use crate::swap::{Generation, History, Note, Swappable};
use crate::tap::{self, Place, Tapped};

/// What an operator wants of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Run,
    Stop,
}

/// A pipeline, running or not. Cheap to clone.
#[derive(Clone)]
pub struct Pipeline {
    plan: Arc<PipelinePlan>,
    services: Services,
    shared: Arc<Shared>,
    want: Arc<watch::Sender<Want>>,
    paused: Arc<watch::Sender<bool>>,
    swaps: Arc<Swaps>,
    handed: Arc<HandedOut>,
    snapshots: Snapshots,
    supervisor: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Pipeline {
    /// Starts a pipeline and keeps it going until it is stopped.
    pub fn start(plan: PipelinePlan, services: Services) -> Self {
        let plan = Arc::new(plan);
        let shared = Arc::new(Shared::new(&plan));
        let (want, wanted) = watch::channel(Want::Run);
        let (paused, is_paused) = watch::channel(false);
        let swaps = Arc::<Swaps>::default();
        let handed = Arc::new(HandedOut::nothing(plan.sinks.len()));
        let (store, source) = (services.store.clone(), &plan.source.id);
        let snapshots = Snapshots::new(store, &plan.tenant, &plan.name, source);
        let supervisor = Supervisor {
            plan: plan.clone(),
            services: services.clone(),
            shared: shared.clone(),
            wanted,
            paused: is_paused,
            swaps: swaps.clone(),
            handed: handed.clone(),
            run: new_run(),
            snapshots: snapshots.clone(),
        };
        counter!("deltaforge_pipelines_total").increment(1);
        let narrate = narrate::narrate(shared.clone());
        let supervised = async move {
            tokio::select! {
                () = supervisor.run() => {}
                () = narrate => {}
            }
        };
        let task = tokio::spawn(supervised.instrument(span::of_pipeline(&plan.name)));
        Self {
            plan,
            services,
            shared,
            want: Arc::new(want),
            paused: Arc::new(paused),
            swaps,
            handed,
            snapshots,
            supervisor: Arc::new(Mutex::new(Some(task))),
        }
    }

    /// Its plan.
    pub fn plan(&self) -> &PipelinePlan {
        &self.plan
    }

    /// What it is doing.
    pub fn status(&self) -> PipelineStatus {
        self.shared.snapshot()
    }

    /// Its dead-letter queue, where it has one.
    pub fn dlq(&self) -> Option<Dlq> {
        let PipelinePlan { tenant, name, dlq, .. } = &*self.plan;
        dlq.map(|limits| Dlq::new(self.services.store.clone(), tenant, name, limits))
    }

    /// The snapshots of its source that were asked for.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// The stored checkpoint of each sink that has one, in the order of the sinks.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn checkpoints(&self) -> Result<Vec<SinkCheckpoint>, Failure> {
        run::stored_checkpoints(&self.plan, &self.services).await
    }

    /// What runs in its stages and envelopes, and what a replay may need of them, oldest first. Without what
    /// never ran.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn generations(&self) -> Result<Vec<(Swappable<'_>, Vec<Generation>)>, Failure> {
        let (plan, services) = (&self.plan, &self.services);
        let lowest = run::lowest_checkpoint(plan, services).await?;
        let stages = plan.stages.iter().map(|stage| Swappable::Stage(&stage.spec.id));
        let envelopes = plan.sinks.iter().map(|sink| Swappable::Envelope(&sink.id));
        let mut all = Vec::new();
        for part in stages.chain(envelopes) {
            let Some(mut history) = self.history(part).await? else { continue };
            history.prune(lowest.as_ref(), |a, b| plan.source.factory.compare(a, b));
            all.push((part, history.generations));
        }
        Ok(all)
    }

    /// What a stage or an envelope ran and runs; `None`: it never ran.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn history(&self, part: Swappable<'_>) -> Result<Option<History>, StateError> {
        History::load(&*self.services.store, &part.key(&self.plan.tenant, &self.plan.name)).await
    }

    /// Deletes the checkpoints of one sink or of all, with their spills and recorded gaps: the next start takes those
    /// sinks for new ones. Only of a stopped pipeline. Answers whose they were.
    ///
    /// # Errors
    ///
    /// When the pipeline is not stopped, or the state store fails.
    pub async fn forget_checkpoints(&self, sink: Option<&str>) -> Result<Vec<String>, Failure> {
        let status = self.status().status;
        if status != State::Stopped {
            return Err(Failure::operator(
                "pipeline_not_stopped",
                format!("pipeline {} is {}; stop it first", self.plan.name, status.word()),
            ));
        }
        let forgotten = run::forget_checkpoints(&self.plan, &self.services, sink).await?;
        let index = |sink| self.plan.sinks.iter().position(|known| known.id == sink);
        match sink.map(index) {
            None => self.handed.forget(None),
            Some(Some(index)) => self.handed.forget(Some(index)),
            // It is in the document no more.
            Some(None) => {}
        }
        Ok(forgotten)
    }

    /// Acknowledges the recorded gaps of a sink: they are still shown, but the pipeline is not degraded by them. Answers
    /// those that were not acknowledged before; `None`: the pipeline has no such sink.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn acknowledge_gaps(&self, sink: &str) -> Result<Option<Vec<Gap>>, Failure> {
        let Some(index) = self.plan.sinks.iter().position(|known| known.id == sink) else { return Ok(None) };
        let gaps = run::gaps::Gaps::of(&self.plan, index);
        Ok(Some(gaps.acknowledge(&*self.services.store, &self.shared).await?))
    }

    /// Checks code for a stage or an envelope as far as possible without running it.
    ///
    /// # Errors
    ///
    /// Every problem found.
    pub async fn check(&self, part: Swappable<'_>, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        let (services, spec) = (self.services.clone(), spec.clone());
        let is_stage = matches!(part, Swappable::Stage(_));
        let checked = self.compute(async move {
            if is_stage {
                Some(services.stage_factory(&spec)?.validate(&spec).await)
            } else {
                Some(services.formatter_factory(&spec)?.validate(&spec).await)
            }
        });
        let checked = checked.await;
        let nothing = || Err(vec![ConfigError::new("", "this host has nothing that builds such code")]);
        checked.unwrap_or_else(nothing).map_err(|problems| {
            let hide = |problem: ConfigError| ConfigError {
                message: self.plan.secrets.hide(&problem.message),
                ..problem
            };
            problems.into_iter().map(hide).collect()
        })
    }

    /// Runs what a new version begins with as its later calls are run: on the compute threads, on its tenant's account.
    async fn compute<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let Services { tenants, compute, .. } = &self.services;
        tenants.run_on(compute, &self.plan.tenant, work.instrument(span::of_pipeline(&self.plan.name))).await
    }

    /// Stops reading the source; what was read is delivered.
    pub fn pause(&self) {
        if !self.paused.send_replace(true) {
            counter!("deltaforge_pipeline_pauses_total", "pipeline" => self.plan.name.clone()).increment(1);
        }
        self.shared.pause(true);
    }

    /// Goes on after a pause or a stop; whatever waits for its next try after a failure tries at once: the pipeline, a
    /// sink, a stage.
    pub fn resume(&self) {
        if self.paused.send_replace(false) {
            counter!("deltaforge_pipeline_resumes_total", "pipeline" => self.plan.name.clone()).increment(1);
            self.shared.pause(false);
        }
        self.shared.halt().end();
        self.shared.unstick();
        self.want.send_replace(Want::Run);
        self.shared.waits().hurry().now();
    }

    /// Ends well within the host's shutdown timeout: what was read is delivered and checkpointed. The pipeline
    /// can be resumed.
    pub async fn stop(&self) {
        self.want.send_replace(Want::Stop);
        let deadline = self.services.shutdown_timeout + Duration::from_secs(5);
        let _ = tokio::time::timeout(deadline, async {
            while self.shared.snapshot().status != State::Stopped {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// Stops for good and waits until every task has ended. Answers whether all that was read was delivered and checkpointed within
    /// the shutdown timeout; the rest comes again.
    pub async fn shutdown(&self) -> bool {
        let had_ended = self.status().status == State::Stopped;
        self.stop().await;
        if let Some(task) = self.supervisor.lock().await.take() {
            task.abort();
        }
        had_ended || self.status().status == State::Stopped && !self.shared.is_undrained()
    }

    /// Puts other code into a stage or an envelope at the next batch boundary; at once when the pipeline is idle. The code
    /// is built and checked first, while the stream goes on. Its first `probation` batches are judged before anything of
    /// them leaves; if it is worse than what ran before, that is put back.
    ///
    /// # Errors
    ///
    /// When it cannot be built, there is no such part, or the pipeline is not at work. Nothing changed then.
    pub async fn swap(
        &self,
        part: Swappable<'_>,
        spec: StageSpec,
        recorded: Option<&StageVersion>,
        probation: u32,
        note: Note,
    ) -> Result<Swapped, Failure> {
        self.swap_within(&mut Patience::of(self), part, spec, recorded, probation, note).await
    }

    /// The same for one that has been waited for already.
    pub(crate) async fn swap_within(
        &self,
        patience: &mut Patience,
        part: Swappable<'_>,
        spec: StageSpec,
        recorded: Option<&StageVersion>,
        probation: u32,
        note: Note,
    ) -> Result<Swapped, Failure> {
        if self.status().status == State::Stopped {
            return Err(Failure::operator(
                "pipeline_not_running",
                format!("pipeline {} is stopped; resume it first", self.plan.name),
            ));
        }
        self.plan.secrets.learn(&spec);
        let built = match part {
            Swappable::Stage(_) => self.new_stage(spec, recorded, probation, note).await.map(Swap::Stage),
            Swappable::Envelope(sink) => {
                self.new_envelope(sink, spec, recorded, probation, note).await.map(Swap::Envelope)
            }
        };
        self.put_in(built.map_err(|failure| self.plan.secrets.hide_in(failure))?, patience).await
    }

    async fn new_stage(
        &self,
        spec: StageSpec,
        recorded: Option<&StageVersion>,
        probation: u32,
        note: Note,
    ) -> Result<NewStage, Failure> {
        let factory = self.services.stage_factory(&spec).cloned().ok_or_else(|| {
            Failure::operator("unknown_processor", format!("nothing builds the code for stage {}", spec.id))
        })?;
        let hides = factory.hides(&spec.code);
        let recorded = recorded.cloned();
        let built = self.compute(async move {
            let (stage, version) = factory.build(&spec, recorded.as_ref()).await?;
            let mask = match hides {
                true => Some(factory.build(&spec, Some(&version)).await?.0),
                false => None,
            };
            Ok::<_, StageError>((stage, mask, spec, version))
        });
        let (stage, mask, spec, version) = built.await?;
        let successor = Successor { note, probation, instead_of: None, spec, version };
        Ok(NewStage { successor, stage, mask })
    }

    async fn new_envelope(
        &self,
        sink: &str,
        spec: StageSpec,
        recorded: Option<&StageVersion>,
        probation: u32,
        note: Note,
    ) -> Result<NewEnvelope, Failure> {
        let index = self.plan.sinks.iter().position(|known| known.id == sink);
        let index = index
            .ok_or_else(|| Failure::operator("unknown_sink", format!("the pipeline has no sink {sink}")))?;
        let factory = self.services.formatter_factory(&spec).cloned().ok_or_else(|| {
            Failure::operator("unknown_envelope", format!("nothing builds the envelope for sink {sink}"))
        })?;
        let recorded = recorded.cloned();
        let built = self.compute(async move {
            let built = factory.build(&spec, recorded.as_ref()).await?;
            Ok::<_, StageError>((built, spec))
        });
        let ((formatter, version), spec) = built.await?;
        let successor = Successor { note, probation, instead_of: None, spec, version };
        Ok(NewEnvelope { sink: index, successor, formatter })
    }

    /// Copies the next events, up to [`crate::tap::MOST_EVENTS`], that enter a stage or an envelope, for at most `within`. The
    /// stream does not wait for it. What the stages that they have yet to pass hide is hidden in them.
    ///
    /// # Errors
    ///
    /// When there is no such part, the pipeline is not at work and nothing came, there are too many taps, or a mask fails.
    pub async fn tap(&self, part: Swappable<'_>, events: usize, within: Duration) -> Result<Tapped, Failure> {
        let (place, first) = self.place(part)?;
        if self.status().status == State::Stopped {
            return Err(self.not_at_work("resume it first"));
        }
        let tapping = self.shared.taps().open(place, events, &self.services.budget)?;
        let over = tokio::time::sleep(within);
        tokio::pin!(over);
        let otherwise = loop {
            tokio::select! {
                biased;
                () = tapping.ended() => break tap::Ended::Full,
                () = &mut over => break tap::Ended::Time,
                () = tokio::time::sleep(LOOKS_EVERY) => {
                    if self.status().status == State::Stopped {
                        break tap::Ended::Stopped;
                    }
                }
            }
        };
        let (events, ended) = tapping.close(otherwise);
        let status = self.status();
        if events.is_empty() && !self.shared.is_tried() {
            return Err(self.not_at_work("nothing came to the tap"));
        }
        let mask = run::tapped::mask(self.plan.clone(), self.services.clone(), status.stages, first, events);
        let mask = mask.instrument(span::of_pipeline(&self.plan.name));
        let masked = self.services.tenants.run(&self.plan.tenant, mask);
        let masked = self.services.compute.spawn(masked).await;
        let (events, masked_by) = masked
            .unwrap_or_else(|_| Err(Failure::internal("what was tapped was not masked")))
            .map_err(|failure| self.plan.secrets.hide_in(failure))?;
        Ok(Tapped { events, ended, masked_by, open: tapping })
    }

    /// Where a part stands, and the first stage that what enters it has yet to pass.
    fn place(&self, part: Swappable<'_>) -> Result<(Place, usize), Failure> {
        let unknown = |code, what: String| Failure::operator(code, format!("the pipeline has no {what}"));
        match part {
            Swappable::Stage(id) => {
                let index = self.plan.stages.iter().position(|stage| stage.spec.id == id);
                let index = index.ok_or_else(|| unknown("unknown_stage", format!("stage {id}")))?;
                Ok((Place::Stage(index), index))
            }
            Swappable::Envelope(id) => {
                let index = self.plan.sinks.iter().position(|sink| sink.id == id);
                let index = index.ok_or_else(|| unknown("unknown_sink", format!("sink {id}")))?;
                Ok((Place::Envelope(index), self.plan.stages.len()))
            }
        }
    }

    /// What is answered where nothing comes.
    fn not_at_work(&self, then: &str) -> Failure {
        let status = self.status();
        let why = status.error.map(|error| format!(" ({})", error.message)).unwrap_or_default();
        let message = format!("pipeline {} is {}{why}; {then}", self.plan.name, status.status.word());
        Failure::operator("pipeline_not_running", message)
    }

    /// Hands over what was built, and waits until it is in place.
    async fn put_in(&self, swap: Swap, patience: &mut Patience) -> Result<Swapped, Failure> {
        let status = self.status().status;
        let mut asked = self.swaps.ask(swap, self.shared.waits().command());
        if !matches!(status, State::Running | State::Paused) {
            // It may be what mends the pipeline: the next attempt begins with it, and begins now.
            self.want.send_modify(|_| {});
        }
        let gone =
            || Failure::operator("pipeline_not_running", "the pipeline stopped before the swap took effect");
        let answer = match patience.wait(asked.answer()).await {
            Ok(answer) => answer,
            // It is at work, and what is said of it is what came of it, however long the store takes.
            Err(_) if !asked.give_up() => asked.answer().await,
            Err(given_up) => return Err(given_up),
        };
        let swapped = answer.ok_or_else(gone)??;
        self.shared.unstick();
        Ok(swapped)
    }
}

/// How long a swap waits for a pipeline that does not run to come so far that it can take it.
const SWAPS_WITHIN: Duration = Duration::from_secs(20);

/// For how long a swap may yet be waited for, with its turn to be made: [`SWAPS_WITHIN`] in all, and as long as it
/// takes while the pipeline runs.
pub(crate) struct Patience {
    pipeline: Pipeline,
    left: Duration,
}

impl Patience {
    /// Of somebody who asks a pipeline now.
    pub fn of(pipeline: &Pipeline) -> Self {
        Self { pipeline: pipeline.clone(), left: SWAPS_WITHIN }
    }

    /// Waits for something that comes when the pipeline gets on.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub async fn wait<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::pin!(what);
        let status = loop {
            let began = tokio::time::Instant::now();
            if let Ok(came) = tokio::time::timeout(self.left, &mut what).await {
                self.left = self.left.saturating_sub(began.elapsed());
                return Ok(came);
            }
            let status = self.pipeline.status();
            // Of a large transaction the rest comes first.
            if !self.pipeline.shared.is_tried() {
                break status;
            }
            self.left = SWAPS_WITHIN;
        };
        let why = status.error.map(|error| format!(": {}", error.message)).unwrap_or_default();
        Err(Failure::operator(
            "pipeline_not_running",
            format!(
                "pipeline {} is {} and does not come far enough to take the swap, which is given up{why}",
                status.name,
                status.status.word()
            ),
        ))
    }
}

/// How often a tap looks whether its pipeline was stopped.
const LOOKS_EVERY: Duration = Duration::from_millis(100);
/// How an attempt came to a good end.
enum Ended {
    /// The source has nothing more, for good.
    Source,
    /// It was told to.
    Drained,
}

struct Supervisor {
    plan: Arc<PipelinePlan>,
    services: Services,
    shared: Arc<Shared>,
    wanted: watch::Receiver<Want>,
    paused: watch::Receiver<bool>,
    swaps: Arc<Swaps>,
    handed: Arc<HandedOut>,
    /// Names the start of the pipeline.
    run: Arc<str>,
    snapshots: Snapshots,
}

/// A name that nothing else has.
fn new_run() -> Arc<str> {
    uuid::Uuid::new_v4().to_string().into()
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.swaps.close();
    }
}

/// Refuses swaps, as long as it is waited for: they would wait for the next attempt, and whoever is to begin that
/// waits for them.
async fn refuse_swaps(swaps: &Swaps) {
    let _turn = swaps.turn().await;
    loop {
        drop(swaps.next().await);
    }
}

impl Supervisor {
    async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut pauses = self.shared.waits().hurry().pauses();
        if self.plan.policy == CommitPolicy::All {
            for sink in self.plan.sinks.iter().filter(|sink| !sink.required) {
                warn!(
                    sink = sink.id,
                    "required: false has no effect on this sink: commit_policy.mode `all` waits for every one"
                );
            }
        }
        // Where it cannot be read, the attempt fails by that too.
        self.shared.begun_anew(anew::list(&self.plan, &self.services).await.unwrap_or_default());
        loop {
            while *self.wanted.borrow_and_update() == Want::Stop {
                self.run = new_run();
                self.shared.set_state(State::Stopped);
                tokio::select! {
                    changed = self.wanted.changed() => if changed.is_err() { return },
                    () = refuse_swaps(&self.swaps) => {}
                }
            }
            if let Some(failure) = self.shared.halt().why() {
                for (index, sink) in self.plan.sinks.iter().enumerate() {
                    if sink.factory.keeps_position(&sink.config) {
                        self.shared.sink_held(index, &failure);
                    }
                }
                self.shared.failed(self.plan.secrets.hide_in(failure), None);
                tokio::select! {
                    changed = self.wanted.changed() => if changed.is_err() { return },
                    () = self.shared.halt().over() => {}
                    () = refuse_swaps(&self.swaps) => {}
                }
                continue;
            }
            pauses.trying();
            // Of an attempt that was stopped meanwhile.
            self.shared.waits().made_room();
            self.shared.set_state(State::Starting);
            let began = Instant::now();
            // A panic while something is built or connected must not leave the pipeline without a supervisor.
            let result = AssertUnwindSafe(self.attempt()).catch_unwind().await.unwrap_or_else(|_| {
                counter!("deltaforge_panics_total").increment(1);
                Err(Failure::internal("the pipeline panicked while it was being built"))
            });
            if *self.wanted.borrow() == Want::Stop {
                if let Err(failure) = result {
                    let Failure { code, message, .. } = self.plan.secrets.hide_in(failure);
                    warn!(
                        code,
                        error = message,
                        "it failed while it was stopped; what is not checkpointed will be read again"
                    );
                    self.shared.undrained();
                }
                continue;
            }
            let failure = self.plan.secrets.hide_in(match result {
                // Stopped, and resumed before the end of it.
                Ok(Ended::Drained) => continue,
                Ok(Ended::Source) => {
                    info!("the source has ended; everything is delivered");
                    self.shared.set_state(State::Stopped);
                    while *self.wanted.borrow_and_update() == Want::Run {
                        tokio::select! {
                            changed = self.wanted.changed() => if changed.is_err() { return },
                            () = refuse_swaps(&self.swaps) => {}
                        }
                    }
                    continue;
                }
                Err(failure) => failure,
            });
            let failure = match anew::after(&failure, &self.plan, &self.services, &self.handed).await {
                Ok(None) => failure,
                Ok(Some(all)) => {
                    self.shared.begun_anew(all);
                    continue;
                }
                Err(of_that) => self.plan.secrets.hide_in(of_that),
            };
            backoff.worked_for(began.elapsed());
            let pause = backoff.next();
            let (Failure { code, message, .. }, retry_in_ms) = (&failure, pause.as_millis() as u64);
            // Nothing is worse than before: what waited was told when it began to.
            match self.shared.waits().made_room() && failure.retriable {
                true => info!(
                    code,
                    waited_for = message,
                    retry_in_ms,
                    "pipeline begins anew, with the command that came"
                ),
                false => error!(code, error = message, retry_in_ms, "pipeline failed"),
            }
            if self.shared.halt().why().is_some() {
                continue;
            }
            self.shared.failed(failure, Some(pause));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.wanted.changed() => if changed.is_err() { return },
                true = pauses.pause(pause) => backoff.reset(),
            }
        }
    }

    /// One attempt; ended by a drain, within the shutdown timeout, when the pipeline is to stop.
    async fn attempt(&mut self) -> Result<Ended, Failure> {
        let drain = CancellationToken::new();
        self.shared.waits().set_ending(false);
        let attempt = Attempt {
            plan: self.plan.clone(),
            services: self.services.clone(),
            shared: self.shared.clone(),
            drain: drain.clone(),
            paused: self.paused.clone(),
            swaps: self.swaps.clone(),
            handed: self.handed.clone(),
            run: self.run.clone(),
            snapshots: self.snapshots.clone(),
        };
        let run = attempt.run();
        tokio::pin!(run);
        loop {
            tokio::select! {
                result = &mut run => {
                    result?;
                    self.shared.drained();
                    return Ok(Ended::Source);
                }
                changed = self.wanted.changed() => {
                    if changed.is_err() || *self.wanted.borrow_and_update() == Want::Stop {
                        break;
                    }
                }
            }
        }
        drain.cancel();
        self.shared.waits().set_ending(true);
        match tokio::time::timeout(self.services.shutdown_timeout, run).await {
            Ok(result) => {
                result?;
                self.shared.drained();
                Ok(Ended::Drained)
            }
            Err(_) => {
                warn!("did not drain in time; what is not checkpointed will be read again");
                self.shared.undrained();
                Ok(Ended::Drained)
            }
        }
    }
}
