//! The only way to command pipelines: the API, signals and tools all go through [`Control`].

mod snapshots;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::dlq::Dlq;
use crate::error::ConfigError;
use crate::follow::Followed;
use crate::pipeline::{Patience, Pipeline};
use crate::run::{SinkCheckpoint, Swapped};
use crate::snapshots::SnapshotError;
use crate::stage::{StageCode, StageSpec, StageVersion};
use crate::state::StateError;
use crate::status::{Failure, Gap, PipelineStatus, StageStatus, State};
use crate::swap::{Generation, History, Note, Part, SwapKind, Swappable};
use crate::takings::{Leaving, Taking, Takings};
use crate::tap::Tapped;

pub use snapshots::SnapshotAsk;

/// Largest configuration that a swap brings, bytes of JSON.
const MOST_CONFIG: usize = 64 << 10;
/// Longest script that a swap brings, bytes.
const MOST_SCRIPT: usize = 256 << 10;
/// How long a resumed pipeline may take to show what came of it.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// The pipelines of a host, by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Control {
    pipelines: Arc<RwLock<Registry>>,
    takings: Arc<Takings>,
}

#[derive(Default)]
struct Registry {
    entries: BTreeMap<String, Entry>,
    closed: bool,
}

#[derive(Clone)]
struct Entry {
    pipeline: Pipeline,
    document: Arc<Value>,
    origin: Option<Arc<str>>,
    /// What changes a pipeline for good comes one after the other: a swap keeps what the one before left.
    swapping: Arc<Mutex<()>>,
    /// Held while checkpoints are deleted: nothing begins from them meanwhile.
    deleting: Arc<Mutex<()>>,
}

/// A pipeline as it is known here.
#[derive(Debug, Clone)]
pub struct Known {
    /// What it is doing.
    pub status: PipelineStatus,
    /// Its document, without secrets.
    pub document: Arc<Value>,
    /// Where the document came from; `None`: over the network.
    pub origin: Option<Arc<str>>,
    /// Stages and envelopes that run something else than the document says.
    pub overrides: Vec<StageStatus>,
}

/// What a stage or an envelope is to run from now on. What is left out stays as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Another version of a plugin, another configuration, or both. A built-in keeps its code.
    Plugin {
        /// A plugin reference, as in the pipeline's document.
        plugin: Option<String>,
        /// The whole configuration.
        config: Option<Value>,
    },
    /// Another script, for a stage that runs one.
    Script(String),
}

impl Change {
    /// Whether it is small enough to be kept with every swap that follows it.
    fn fits(&self) -> Result<(), ConfigError> {
        let refused = |path: &str, bytes: usize, most: usize| {
            let text = format!(
                "it has {bytes} bytes, and a swap takes {most}: what is larger goes into the pipeline's document"
            );
            Err(ConfigError::new(path, text))
        };
        let script = |text: &str| match text.len() {
            0..=MOST_SCRIPT => Ok(()),
            bytes => refused("inline", bytes, MOST_SCRIPT),
        };
        match self {
            Self::Script(text) => script(text),
            Self::Plugin { config: None, .. } => Ok(()),
            Self::Plugin { config: Some(config), .. } => {
                // A script among the settings has a bound of its own.
                let inline = config.get("inline").and_then(Value::as_str).unwrap_or_default();
                script(inline)?;
                let bytes = config.to_string().len();
                let beside = bytes.saturating_sub(Value::from(inline).to_string().len());
                if beside > MOST_CONFIG { refused("config", bytes, MOST_CONFIG) } else { Ok(()) }
            }
        }
    }
}

/// A place where a version of a plugin is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginUse {
    /// The pipeline.
    pub pipeline: String,
    /// The stage, where it is one.
    pub stage: Option<String>,
    /// The sink, where it makes its envelope.
    pub sink: Option<String>,
    /// Whether it runs there now; else a replay may need it.
    pub current: bool,
}

impl PluginUse {
    fn of(pipeline: &str, part: Swappable<'_>, current: bool) -> Self {
        let (stage, sink) = match part {
            Swappable::Stage(stage) => (Some(stage.to_owned()), None),
            Swappable::Envelope(sink) => (None, Some(sink.to_owned())),
        };
        Self { pipeline: pipeline.to_owned(), stage, sink, current }
    }
}

/// Code that a stage or an envelope runs, or may have to run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPlugin {
    /// The pipeline's tenant.
    pub tenant: String,
    /// The version as it is named, and the code behind it.
    pub version: StageVersion,
    /// Where.
    pub place: PluginUse,
}

/// A command could not be carried out; nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no such pipeline.
    #[error("there is no pipeline {0}")]
    NoPipeline(String),
    /// Names are unique in a host.
    #[error("there is a pipeline {0} already")]
    Exists(String),
    /// The host is going down.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// The pipeline has no such stage.
    #[error("pipeline {pipeline} has no processor {stage}")]
    NoStage {
        /// The pipeline.
        pipeline: String,
        /// What was asked for.
        stage: String,
    },
    /// The pipeline has no such sink.
    #[error("pipeline {pipeline} has no sink {sink}")]
    NoSink {
        /// The pipeline.
        pipeline: String,
        /// What was asked for.
        sink: String,
    },
    /// The stage or envelope cannot run that kind of code.
    #[error("{message}")]
    WrongKind {
        /// Which of the two it is.
        part: Part,
        /// Why not.
        message: String,
    },
    /// The new code or configuration is not fit to run.
    #[error("{what}: {}", listed(problems))]
    Invalid {
        /// Whether it is for a stage or an envelope.
        part: Part,
        /// Which one, in words.
        what: String,
        /// What is wrong with it.
        problems: Vec<ConfigError>,
    },
    /// The stage or envelope never ran anything else.
    #[error(
        "{0} has run nothing else before that got through its first rows, so there is nothing to go back to; deploy what it is to run"
    )]
    NothingBefore(String),
    /// The pipeline has no dead-letter queue.
    #[error("pipeline {0} has no dead-letter queue; it is switched on by spec.journal.enabled")]
    NoDlq(String),
    /// A snapshot is not taken, or not commanded.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The pipeline could not do it.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The state store failed.
    #[error(transparent)]
    State(#[from] StateError),
}

pub(crate) fn listed(problems: &[ConfigError]) -> String {
    let one = |problem: &ConfigError| match problem.path.as_str() {
        "" => problem.message.clone(),
        path => format!("{path}: {}", problem.message),
    };
    problems.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl Control {
    /// No pipelines yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a pipeline in. `document` is shown to whoever asks, so it must hold no secrets; `origin` is the
    /// file it came from.
    ///
    /// # Errors
    ///
    /// When the name is taken or the host is shutting down; the pipeline is not touched then.
    pub fn add(
        &self,
        pipeline: Pipeline,
        document: Value,
        origin: Option<String>,
    ) -> Result<(), ControlError> {
        let name = pipeline.plan().name.clone();
        let mut registry = self.pipelines.write();
        if registry.closed {
            return Err(ControlError::ShuttingDown);
        }
        if registry.entries.contains_key(&name) {
            return Err(ControlError::Exists(name));
        }
        let entry = Entry {
            pipeline,
            document: Arc::new(document),
            origin: origin.map(Arc::from),
            swapping: Arc::default(),
            deleting: Arc::default(),
        };
        registry.entries.insert(name, entry);
        Ok(())
    }

    /// Every pipeline, by name.
    pub fn list(&self) -> Vec<Known> {
        self.pipelines.read().entries.values().map(Entry::known).collect()
    }

    /// One pipeline.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoPipeline`].
    pub fn get(&self, name: &str) -> Result<Known, ControlError> {
        self.entry(name).map(|entry| entry.known())
    }

    /// Stops reading the source; what was read is delivered.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoPipeline`].
    pub fn pause(&self, name: &str) -> Result<Known, ControlError> {
        let entry = self.commanded(name)?;
        entry.pipeline.pause();
        info!(pipeline = name, "paused");
        Ok(entry.known())
    }

    /// Goes on after a pause or a stop, and tries at once after a failure. Waits a moment for what comes of it.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoPipeline`].
    pub async fn resume(&self, name: &str) -> Result<Known, ControlError> {
        let entry = self.commanded(name)?;
        {
            // Not while its checkpoints are being deleted.
            let _turn = entry.deleting.lock().await;
            entry.pipeline.resume();
        }
        info!(pipeline = name, "resumed");
        let settled = async {
            while matches!(entry.pipeline.status().status, State::Stopped | State::Starting) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Whatever it does after that time is its status.
        let _ = tokio::time::timeout(SETTLES_WITHIN, settled).await;
        Ok(entry.known())
    }

    /// Delivers and checkpoints what was read, and lets go of the source. The pipeline can be resumed.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoPipeline`].
    pub async fn stop(&self, name: &str) -> Result<Known, ControlError> {
        let entry = self.commanded(name)?;
        entry.pipeline.stop().await;
        info!(pipeline = name, "stopped");
        Ok(entry.known())
    }

    /// What a stage or an envelope was given last: it runs that, or is to run it once its stream, or its pipeline, has
    /// come so far.
    ///
    /// # Errors
    ///
    /// When the pipeline does not have it, or the state store fails.
    pub async fn runs(&self, name: &str, part: Swappable<'_>) -> Result<StageSpec, ControlError> {
        self.entry(name)?.newest(part).await
    }

    /// Gives a stage or an envelope other code or another configuration, from a batch boundary on. What it does to the
    /// first `probation` batches is judged before anything of them leaves; if that is worse than what ran before did, that
    /// is put back.
    ///
    /// # Errors
    ///
    /// When it cannot run there. What ran before goes on then.
    pub async fn swap(
        &self,
        name: &str,
        part: Swappable<'_>,
        change: Change,
        probation: u32,
        note: Note,
    ) -> Result<Swapped, ControlError> {
        let entry = self.commanded(name)?;
        let mut patience = Patience::of(&entry.pipeline);
        let _turn = patience.wait(entry.swapping.lock()).await?;
        let invalid =
            |problems| ControlError::Invalid { part: part.part(), what: part.to_string(), problems };
        change.fits().map_err(|problem| invalid(vec![problem]))?;
        let spec = entry.changed(part, change).await?;
        let _taking = self.taking(&spec.code).await;
        let checked = entry.pipeline.check(part, &spec).await;
        checked.map_err(invalid)?;
        let note = note.of(SwapKind::Deploy);
        let swapped = entry.pipeline.swap_within(&mut patience, part, spec, None, probation, note).await?;
        tell_of_swap(name, part, &swapped);
        Ok(swapped)
    }

    /// Puts what ran before back in place, from a batch boundary on: exactly that code, with its configuration.
    ///
    /// # Errors
    ///
    /// When there was nothing else before, or it cannot be built any more. What runs goes on then.
    pub async fn rollback(
        &self,
        name: &str,
        part: Swappable<'_>,
        note: Note,
    ) -> Result<Swapped, ControlError> {
        let entry = self.commanded(name)?;
        let mut patience = Patience::of(&entry.pipeline);
        let _turn = patience.wait(entry.swapping.lock()).await?;
        let mut spec = entry.planned(part)?;
        let history = entry.pipeline.history(part).await?;
        let before = history.as_ref().and_then(History::before);
        let before = before.ok_or_else(|| ControlError::NothingBefore(part.to_string()))?;
        spec.code = StageCode::of_text(&before.code);
        spec.config = before.config.clone();
        let _taking = self.taking(&spec.code).await;
        let (recorded, note) = (Some(&before.version), note.of(SwapKind::Rollback));
        let swapped = entry.pipeline.swap_within(&mut patience, part, spec, recorded, 0, note).await?;
        tell_of_swap(name, part, &swapped);
        Ok(swapped)
    }

    /// Copies the next `events` that enter a stage or an envelope, for at most `within`, beside the stream. Answers what runs
    /// there too.
    ///
    /// # Errors
    ///
    /// When the pipeline does not have it, is not at work and nothing came, has too many taps, or cannot mask what was tapped.
    pub async fn tap(
        &self,
        name: &str,
        part: Swappable<'_>,
        events: usize,
        within: Duration,
    ) -> Result<(Tapped, StageSpec), ControlError> {
        let entry = self.commanded(name)?;
        entry.planned(part)?;
        let tapped = entry.pipeline.tap(part, events, within).await?;
        Ok((tapped, entry.newest(part).await?))
    }

    /// What a stage or an envelope ran and runs, newest first. Of what came before the latest that a replay may need, the
    /// last hundred.
    ///
    /// # Errors
    ///
    /// When the pipeline does not have it, or the state store fails.
    pub async fn history(&self, name: &str, part: Swappable<'_>) -> Result<Vec<Generation>, ControlError> {
        let entry = self.entry(name)?;
        entry.planned(part)?;
        let history = entry.pipeline.history(part).await?.unwrap_or_default();
        Ok(history.all())
    }

    /// What [`Control::rollback`] would put back now; `None`: there is nothing.
    ///
    /// # Errors
    ///
    /// As [`Control::history`].
    pub async fn before(&self, name: &str, part: Swappable<'_>) -> Result<Option<Generation>, ControlError> {
        let entry = self.entry(name)?;
        entry.planned(part)?;
        let history = entry.pipeline.history(part).await?.unwrap_or_default();
        Ok(history.before().cloned())
    }

    /// The stored checkpoints of a pipeline's sinks.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline or the state store fails.
    pub async fn checkpoints(&self, name: &str) -> Result<Vec<SinkCheckpoint>, ControlError> {
        let entry = self.entry(name)?;
        Ok(entry.pipeline.checkpoints().await?)
    }

    /// Deletes the checkpoints of a stopped pipeline, of one sink or of all. Answers whose they were.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline, it is not stopped, or the state store fails.
    pub async fn forget_checkpoints(
        &self,
        name: &str,
        sink: Option<&str>,
    ) -> Result<Vec<String>, ControlError> {
        let entry = self.commanded(name)?;
        let (_turn, _deleting) = (entry.swapping.lock().await, entry.deleting.lock().await);
        let forgotten = entry.pipeline.forget_checkpoints(sink).await?;
        warn!(pipeline = name, sinks = ?forgotten, "checkpoints deleted: these sinks start anew");
        Ok(forgotten)
    }

    /// Acknowledges the recorded gaps of a sink: they no longer count as a fault. Answers those that nobody had
    /// acknowledged before.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline or sink, or the state store fails.
    pub async fn acknowledge_gaps(&self, name: &str, sink: &str) -> Result<Vec<Gap>, ControlError> {
        let entry = self.entry(name)?;
        let gaps = entry.pipeline.acknowledge_gaps(sink).await?;
        let gaps =
            gaps.ok_or_else(|| ControlError::NoSink { pipeline: name.to_owned(), sink: sink.to_owned() })?;
        info!(pipeline = name, sink, gaps = gaps.len(), "gaps acknowledged");
        Ok(gaps)
    }

    /// What every stage and envelope runs, or may have to run again for a replay.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn running_plugins(&self) -> Result<Vec<RunningPlugin>, ControlError> {
        let entries: Vec<Entry> = self.pipelines.read().entries.values().cloned().collect();
        let mut all = Vec::new();
        for entry in entries {
            let plan = entry.pipeline.plan();
            // What is at work may be on its way to the store.
            let status = entry.pipeline.status();
            let envelopes =
                status.sinks.iter().map(|sink| (Part::Envelope.of(&sink.id), sink.envelope.as_ref()));
            let stages = status.stages.iter().map(|stage| (Part::Stage.of(&stage.id), Some(stage)));
            let at_work: Vec<_> = stages.chain(envelopes).collect();
            for (part, generations) in entry.pipeline.generations().await? {
                let works = at_work.iter().filter(|(one, _)| *one == part).filter_map(|(_, status)| *status);
                let stored = generations.iter().rev().enumerate();
                let stored = stored.map(|(age, one)| (one.version.clone(), age == 0));
                let works = works.map(|status| (status.version(), true));
                let mut seen = HashSet::new();
                for (version, is_current) in stored.chain(works) {
                    if seen.insert(version.clone()) {
                        let place = PluginUse::of(&plan.name, part, is_current);
                        all.push(RunningPlugin { tenant: plan.tenant.clone(), version, place });
                    }
                }
            }
        }
        Ok(all)
    }

    /// What a rollback of each stage and envelope would put back, or will once what is on probation is taken back.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn plugins_before(&self) -> Result<Vec<RunningPlugin>, ControlError> {
        let entries: Vec<Entry> = self.pipelines.read().entries.values().cloned().collect();
        let mut all = Vec::new();
        for entry in entries {
            let plan = entry.pipeline.plan();
            let stages = plan.stages.iter().map(|stage| Swappable::Stage(&stage.spec.id));
            let envelopes = plan.sinks.iter().map(|sink| Swappable::Envelope(&sink.id));
            for part in stages.chain(envelopes) {
                let history = entry.pipeline.history(part).await?;
                for before in history.iter().flat_map(History::may_come_back) {
                    let (tenant, version) = (plan.tenant.clone(), before.version.clone());
                    all.push(RunningPlugin {
                        tenant,
                        version,
                        place: PluginUse::of(&plan.name, part, false),
                    });
                }
            }
        }
        Ok(all)
    }

    /// The plugins that pipelines' documents name, whatever runs in their place now: the tenant, the reference, the
    /// place. A restart begins with a look at them.
    pub fn named_plugins(&self) -> Vec<(String, String, PluginUse)> {
        let registry = self.pipelines.read();
        let mut all = Vec::new();
        for entry in registry.entries.values() {
            let plan = entry.pipeline.plan();
            let stages = plan.stages.iter().map(|one| (&one.spec.code, Swappable::Stage(&one.spec.id)));
            let sinks = plan.sinks.iter().map(|one| (&one.envelope.code, Swappable::Envelope(&one.id)));
            for (code, part) in stages.chain(sinks) {
                if let StageCode::Plugin(reference) = code {
                    let place = PluginUse::of(&plan.name, part, false);
                    all.push((plan.tenant.clone(), reference.clone(), place));
                }
            }
        }
        all
    }

    /// The stages and envelopes that follow new versions of their plugins.
    pub fn followed(&self) -> Vec<Followed> {
        let registry = self.pipelines.read();
        let mut all = Vec::new();
        for entry in registry.entries.values() {
            let plan = entry.pipeline.plan();
            let stages = plan.stages.iter().filter(|stage| stage.follows);
            let stages = stages.map(|stage| (&stage.spec.code, Part::Stage, &stage.spec.id));
            let sinks = plan.sinks.iter().filter(|sink| sink.follows);
            let sinks = sinks.map(|sink| (&sink.envelope.code, Part::Envelope, &sink.id));
            for (code, part, id) in stages.chain(sinks) {
                if let StageCode::Plugin(reference) = code {
                    all.push(Followed {
                        tenant: plan.tenant.clone(),
                        pipeline: plan.name.clone(),
                        part,
                        id: id.clone(),
                        reference: reference.clone(),
                    });
                }
            }
        }
        all
    }

    /// Whether a pipeline is not stopped.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoPipeline`].
    pub fn is_at_work(&self, name: &str) -> Result<bool, ControlError> {
        Ok(self.entry(name)?.pipeline.status().status != State::Stopped)
    }

    /// Keeps swaps from a version that is to be taken away, for as long as the answer lives: `is_meant` tells whether a
    /// reference may mean it. `None`: a swap is taking it just now.
    pub fn leaving(&self, is_meant: impl Fn(&str) -> bool + Send + Sync + 'static) -> Option<Leaving> {
        self.takings.leave(is_meant)
    }

    /// Keeps what code names from being taken away until a history says that it is used.
    async fn taking(&self, code: &StageCode) -> Option<Taking> {
        match code {
            StageCode::Plugin(reference) => Some(self.takings.take(reference).await),
            StageCode::Builtin(_) => None,
        }
    }

    /// The dead-letter queue of a pipeline.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline or it has no queue.
    pub fn dlq(&self, name: &str) -> Result<Dlq, ControlError> {
        self.entry(name)?.pipeline.dlq().ok_or_else(|| ControlError::NoDlq(name.to_owned()))
    }

    /// Stops every pipeline for good, all at once, and takes no more in. Answers whether each has delivered and checkpointed what it
    /// had read.
    pub async fn shutdown_all(&self) -> bool {
        let entries: Vec<Entry> = {
            let mut registry = self.pipelines.write();
            registry.closed = true;
            registry.entries.values().cloned().collect()
        };
        join_all(entries.iter().map(|entry| entry.pipeline.shutdown()))
            .await
            .into_iter()
            .all(|drained| drained)
    }

    /// Whether the host is going down.
    pub fn is_closed(&self) -> bool {
        self.pipelines.read().closed
    }

    /// A pipeline that is to be commanded.
    fn commanded(&self, name: &str) -> Result<Entry, ControlError> {
        if self.is_closed() {
            return Err(ControlError::ShuttingDown);
        }
        self.entry(name)
    }

    fn entry(&self, name: &str) -> Result<Entry, ControlError> {
        let registry = self.pipelines.read();
        registry.entries.get(name).cloned().ok_or_else(|| ControlError::NoPipeline(name.to_owned()))
    }
}

fn tell_of_swap(pipeline: &str, part: Swappable<'_>, swapped: &Swapped) {
    let (Swappable::Stage(stage) | Swappable::Envelope(stage)) = part;
    info!(
        pipeline,
        stage,
        previous = swapped.previous.version.plugin,
        current = swapped.current.version.plugin,
        generation = swapped.current.generation,
        position = swapped.current.from().map(|at| at.readable()),
        by = swapped.current.note.by,
        why = swapped.current.note.why,
        pause_us = swapped.pause.as_micros() as u64,
        "{} swapped",
        match part {
            Swappable::Stage(_) => "stage",
            Swappable::Envelope(_) => "envelope",
        }
    );
}

impl Entry {
    fn known(&self) -> Known {
        let status = self.pipeline.status();
        let plan = self.pipeline.plan();
        let as_planned = |now: &&StageStatus| {
            let planned = match now.part {
                Part::Stage => plan.stages.iter().map(|stage| &stage.spec).find(|spec| spec.id == now.id),
                Part::Envelope => plan.sinks.iter().map(|sink| &sink.envelope).find(|spec| spec.id == now.id),
            };
            planned.is_none_or(|spec| spec.code == now.code && spec.config == now.config)
        };
        let envelopes = status.sinks.iter().filter_map(|sink| sink.envelope.as_ref());
        let overrides =
            status.stages.iter().chain(envelopes).filter(|now| !as_planned(now)).cloned().collect();
        Known { status, document: self.document.clone(), origin: self.origin.clone(), overrides }
    }

    /// The spec of a stage or an envelope as the pipeline's document has it.
    fn planned(&self, part: Swappable<'_>) -> Result<StageSpec, ControlError> {
        let plan = self.pipeline.plan();
        let pipeline = || plan.name.clone();
        match part {
            Swappable::Stage(id) => {
                let found = plan.stages.iter().find(|known| known.spec.id == id);
                let missing = || ControlError::NoStage { pipeline: pipeline(), stage: id.to_owned() };
                found.map(|known| known.spec.clone()).ok_or_else(missing)
            }
            Swappable::Envelope(id) => {
                let found = plan.sinks.iter().find(|known| known.id == id);
                let missing = || ControlError::NoSink { pipeline: pipeline(), sink: id.to_owned() };
                found.map(|known| known.envelope.clone()).ok_or_else(missing)
            }
        }
    }

    /// What was put in place last, be it at work yet or not; what the document says where that is something else than
    /// it was put in place of.
    async fn newest(&self, part: Swappable<'_>) -> Result<StageSpec, ControlError> {
        let mut spec = self.planned(part)?;
        let block = match part {
            Swappable::Stage(id) => {
                let stages = &self.pipeline.plan().stages;
                stages.iter().find(|stage| stage.spec.id == id).map(|stage| stage.block.clone())
            }
            Swappable::Envelope(_) => Some(spec.code.block(&spec.config)),
        };
        let history =
            self.pipeline.history(part).await?.filter(|history| block.as_ref() == Some(&history.block));
        if let Some(newest) = history.as_ref().and_then(|history| history.generations.last()) {
            spec.code = StageCode::of_text(&newest.code);
            spec.config = newest.config.clone();
        }
        Ok(spec)
    }

    /// What was put in place last with a change to it.
    async fn changed(&self, part: Swappable<'_>, change: Change) -> Result<StageSpec, ControlError> {
        let mut spec = self.newest(part).await?;
        let wrong = |message: String| ControlError::WrongKind { part: part.part(), message };
        match change {
            Change::Plugin { plugin: None, config: None } => {
                return Err(wrong("name a plugin, a config or both".to_owned()));
            }
            Change::Plugin { plugin, config } => {
                if let Some(reference) = plugin {
                    let planned = self.planned(part)?;
                    match &spec.code {
                        // What a swap answers as the previous version is also what brings it back.
                        StageCode::Builtin(name) if reference == format!("builtin:{name}") => {}
                        StageCode::Plugin(_) if reference == planned.code.text() => {
                            if matches!(planned.code, StageCode::Builtin(_)) {
                                spec.config = planned.config;
                            }
                            spec.code = planned.code;
                        }
                        // Either shapes messages, and what configures the one means nothing to the other.
                        StageCode::Builtin(_) if part.part() == Part::Envelope => {
                            spec.code = StageCode::Plugin(reference);
                            spec.config = Value::Object(Default::default());
                        }
                        StageCode::Builtin(name) => {
                            return Err(wrong(format!(
                                "{part} is the built-in {name}, which takes a new config but no plugin; to run a plugin there, write `plugin:` in the pipeline's document"
                            )));
                        }
                        StageCode::Plugin(_) => spec.code = StageCode::Plugin(reference),
                    }
                }
                if let Some(config) = config {
                    spec.config = config;
                }
            }
            Change::Script(inline) => {
                let script =
                    spec.config.get_mut("inline").filter(|_| matches!(spec.code, StageCode::Builtin(_)));
                let Some(script) = script else {
                    return Err(wrong(format!("{part} runs no script")));
                };
                *script = Value::String(inline);
            }
        }
        Ok(spec)
    }
}
