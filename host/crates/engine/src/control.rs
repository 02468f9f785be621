//! The only way to command pipelines: the API, signals and tools all go through [`Control`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::dlq::Dlq;
use crate::error::ConfigError;
use crate::pipeline::Pipeline;
use crate::run::{SinkCheckpoint, Swapped};
use crate::stage::{StageCode, StageSpec};
use crate::state::StateError;
use crate::status::{Failure, Gap, PipelineStatus, StageStatus, State};
use crate::swap::{Generation, History, Note};

/// How long a resumed pipeline may take to show what came of it.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// The pipelines of a host, by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Control {
    pipelines: Arc<RwLock<Registry>>,
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
    /// Stages that run something else than the document says.
    pub overrides: Vec<StageStatus>,
}

/// What a stage is to run from now on. What is left out stays as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Another version of a plugin, another configuration, or both. A built-in keeps its code.
    Stage {
        /// A plugin reference, as in the pipeline's document.
        plugin: Option<String>,
        /// The whole configuration.
        config: Option<Value>,
    },
    /// Another script, for a stage that runs one.
    Script(String),
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

/// Code that a stage runs, or may have to run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePlugin {
    /// The pipeline's tenant.
    pub tenant: String,
    /// SHA-256 of the code, hex.
    pub digest: String,
    /// The stage.
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
    /// The stage cannot run that kind of code.
    #[error("{0}")]
    WrongKind(String),
    /// The new code or configuration is not fit to run.
    #[error("processor {stage}: {}", listed(problems))]
    Invalid {
        /// The stage.
        stage: String,
        /// What is wrong with it.
        problems: Vec<ConfigError>,
    },
    /// The stage never ran anything else.
    #[error("processor {0} has run nothing else before, so there is nothing to go back to")]
    NothingBefore(String),
    /// The pipeline has no dead-letter queue.
    #[error("pipeline {0} has no dead-letter queue; it is switched on by spec.journal.enabled")]
    NoDlq(String),
    /// The pipeline could not do it.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The state store failed.
    #[error(transparent)]
    State(#[from] StateError),
}

fn listed(problems: &[ConfigError]) -> String {
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

    /// What a stage runs, or is to run once its pipeline does.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline or stage.
    pub fn stage(&self, name: &str, stage: &str) -> Result<StageSpec, ControlError> {
        self.entry(name)?.current(stage)
    }

    /// Gives a stage other code or another configuration, from a batch boundary on. What it does to the first
    /// `probation` batches is judged before anything of them leaves; if that is worse than what ran before did, that is
    /// put back.
    ///
    /// # Errors
    ///
    /// When the stage cannot run it. What ran before goes on then.
    pub async fn swap(
        &self,
        name: &str,
        stage: &str,
        change: Change,
        probation: u32,
        note: Note,
    ) -> Result<Swapped, ControlError> {
        let entry = self.commanded(name)?;
        let _turn = entry.swapping.lock().await;
        let spec = entry.changed(stage, change)?;
        entry
            .pipeline
            .check_stage(&spec)
            .await
            .map_err(|problems| ControlError::Invalid { stage: stage.to_owned(), problems })?;
        let swapped = entry.pipeline.swap(spec, None, probation, note).await?;
        tell_of_swap(name, stage, &swapped);
        Ok(swapped)
    }

    /// Puts what a stage ran before what it runs now back in place, from a batch boundary on: exactly that code, with
    /// its configuration.
    ///
    /// # Errors
    ///
    /// When there was nothing else before, or it cannot be built any more. What runs goes on then.
    pub async fn rollback(&self, name: &str, stage: &str, note: Note) -> Result<Swapped, ControlError> {
        let entry = self.commanded(name)?;
        let _turn = entry.swapping.lock().await;
        let mut spec = entry.planned(stage)?;
        let history = entry.pipeline.history(stage).await?;
        let before = history.as_ref().and_then(History::before);
        let before = before.ok_or_else(|| ControlError::NothingBefore(stage.to_owned()))?;
        spec.code = StageCode::of_text(&before.code);
        spec.config = before.config.clone();
        let swapped = entry.pipeline.swap(spec, Some(&before.version.digest), 0, note).await?;
        tell_of_swap(name, stage, &swapped);
        Ok(swapped)
    }

    /// What a stage ran and runs, newest first. Of what came before the latest that a replay may need, the last hundred.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline or stage, or the state store fails.
    pub async fn history(&self, name: &str, stage: &str) -> Result<Vec<Generation>, ControlError> {
        let entry = self.entry(name)?;
        entry.planned(stage)?;
        let history = entry.pipeline.history(stage).await?.unwrap_or_default();
        Ok(history.all())
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

    /// What every stage runs, or may have to run again for a replay.
    ///
    /// # Errors
    ///
    /// When the state store fails.
    pub async fn stage_plugins(&self) -> Result<Vec<StagePlugin>, ControlError> {
        let entries: Vec<Entry> = self.pipelines.read().entries.values().cloned().collect();
        let mut all = Vec::new();
        for entry in entries {
            let plan = entry.pipeline.plan();
            for (stage, generations) in entry.pipeline.generations().await? {
                let newest_first = generations.iter().rev().enumerate();
                let mut seen = BTreeSet::new();
                for (age, generation) in newest_first {
                    let digest = &generation.version.digest;
                    if !seen.insert(digest) {
                        continue;
                    }
                    all.push(StagePlugin {
                        tenant: plan.tenant.clone(),
                        digest: digest.clone(),
                        place: PluginUse {
                            pipeline: plan.name.clone(),
                            stage: Some(stage.clone()),
                            sink: None,
                            current: age == 0,
                        },
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
            let place = |stage: Option<&str>, sink: Option<&str>, current| PluginUse {
                pipeline: plan.name.clone(),
                stage: stage.map(str::to_owned),
                sink: sink.map(str::to_owned),
                current,
            };
            let stages =
                plan.stages.iter().map(|one| (&one.spec.code, place(Some(&one.spec.id), None, false)));
            let sinks = plan.sinks.iter().map(|one| (&one.envelope.code, place(None, Some(&one.id), true)));
            for (code, place) in stages.chain(sinks) {
                if let StageCode::Plugin(reference) = code {
                    all.push((plan.tenant.clone(), reference.clone(), place));
                }
            }
        }
        all
    }

    /// The dead-letter queue of a pipeline.
    ///
    /// # Errors
    ///
    /// When there is no such pipeline or it has no queue.
    pub fn dlq(&self, name: &str) -> Result<Dlq, ControlError> {
        self.entry(name)?.pipeline.dlq().ok_or_else(|| ControlError::NoDlq(name.to_owned()))
    }

    /// Stops every pipeline for good, all at once, and takes no more in.
    pub async fn shutdown_all(&self) {
        let entries: Vec<Entry> = {
            let mut registry = self.pipelines.write();
            registry.closed = true;
            registry.entries.values().cloned().collect()
        };
        join_all(entries.iter().map(|entry| entry.pipeline.shutdown())).await;
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

fn tell_of_swap(pipeline: &str, stage: &str, swapped: &Swapped) {
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
        "stage swapped"
    );
}

impl Entry {
    fn known(&self) -> Known {
        let status = self.pipeline.status();
        let as_planned = |now: &&StageStatus| {
            let planned = self.pipeline.plan().stages.iter().find(|stage| stage.spec.id == now.id);
            planned.is_none_or(|stage| stage.spec.code == now.code && stage.spec.config == now.config)
        };
        let overrides = status.stages.iter().filter(|now| !as_planned(now)).cloned().collect();
        Known { status, document: self.document.clone(), origin: self.origin.clone(), overrides }
    }

    /// The spec of a stage as the pipeline's document has it.
    fn planned(&self, stage: &str) -> Result<StageSpec, ControlError> {
        let plan = self.pipeline.plan();
        let found = plan.stages.iter().find(|known| known.spec.id == stage);
        found
            .map(|known| known.spec.clone())
            .ok_or_else(|| ControlError::NoStage { pipeline: plan.name.clone(), stage: stage.to_owned() })
    }

    /// The spec of a stage as it runs now; before it has run, as the document has it.
    fn current(&self, stage: &str) -> Result<StageSpec, ControlError> {
        let mut spec = self.planned(stage)?;
        if let Some(now) = self.pipeline.status().stages.into_iter().find(|now| now.id == stage) {
            spec.code = now.code;
            spec.config = now.config;
        }
        Ok(spec)
    }

    /// The spec of a stage with a change to what runs now.
    fn changed(&self, stage: &str, change: Change) -> Result<StageSpec, ControlError> {
        let mut spec = self.current(stage)?;
        match change {
            Change::Stage { plugin: None, config: None } => {
                return Err(ControlError::WrongKind("name a plugin, a config or both".to_owned()));
            }
            Change::Stage { plugin, config } => {
                if let Some(reference) = plugin {
                    match &spec.code {
                        // What a swap answers as the previous version is also what brings it back.
                        StageCode::Builtin(name) if reference == format!("builtin:{name}") => {}
                        StageCode::Builtin(name) => {
                            return Err(ControlError::WrongKind(format!(
                                "processor {stage} is the built-in {name}, which takes a new config but no plugin; to run a plugin there, write `plugin:` in the pipeline's document"
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
                    return Err(ControlError::WrongKind(format!("processor {stage} runs no script")));
                };
                *script = Value::String(inline);
            }
        }
        Ok(spec)
    }
}
