//! A plugin tried out, outside of a pipeline: opened and called as a stage does it, under the same limits.

use std::sync::Arc;
use std::time::Duration;

use deltaforge_engine::error::ConfigError;
use deltaforge_engine::message::Bodies;
use deltaforge_engine::stage::StageLimits;
use deltaforge_engine::usage::Usage;
use deltaforge_model::pattern::Patterns;
use deltaforge_model::{Overlay, View};
use serde_json::Value;

use crate::adapter::Failure;
use crate::bodies::judge;
use crate::error::{CallError, EDIT, cut};
use crate::factory::{check, check_limits, off_thread};
use crate::grants::Grants;
use crate::instance::{Blueprint, Instance};
use crate::limits::Limits;
use crate::plugin::{Description, PluginKind};
use crate::runtime::{LoadError, Runtime};
use crate::schema::{self, Misfit};
use crate::stage::narrow;
use crate::transcript::Transcript;
use crate::voice::{Voice, free_lines};

/// What a plugin is tried with: a stage's block.
#[derive(Debug, Clone, Default)]
pub struct TrialSpec {
    /// Its configuration; null: none.
    pub config: Value,
    /// Its limits; none: the defaults.
    pub limits: Option<StageLimits>,
    /// Its grants by name.
    pub grants: Vec<String>,
    /// Whose use of the machine it is in the metrics; empty: nobody's.
    pub tenant: String,
    /// Where what it says goes; none: into the log.
    pub transcript: Option<Transcript>,
}

/// What keeps a plugin from being tried, or ended a call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// It is no plugin, or one for another host.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The limits, the grants, or the configuration by the plugin's own schema.
    #[error("{}", problems(.0))]
    Config(Vec<ConfigError>),
    /// The plugin answered that it could not do its work, in these words.
    #[error("{0}")]
    Failed(String),
    /// The host ended the call, or it trapped.
    #[error("{message}{}", .functions.as_ref().map(|at| format!(", in {at}")).unwrap_or_default())]
    Ended {
        /// A code with a page in docs/errors.
        code: &'static str,
        /// What ended it.
        message: String,
        /// In which of the guest's functions, innermost first.
        functions: Option<String>,
    },
}

fn problems(all: &[ConfigError]) -> String {
    let all = all.iter().map(|ConfigError { path, message, .. }| format!("{path}: {message}"));
    all.collect::<Vec<_>>().join("; ")
}

impl TrialError {
    /// What a golden file holds of it: the words that the same mistake has where the plugin runs natively.
    pub fn words(&self) -> String {
        match self {
            Self::Ended { code, message, .. } if *code == EDIT => message.clone(),
            other => other.to_string(),
        }
    }
}

impl From<CallError> for TrialError {
    fn from(error: CallError) -> Self {
        let (code, message, functions) = error.parts();
        Self::Ended { code, message, functions }
    }
}

impl From<Failure> for TrialError {
    fn from(failure: Failure) -> Self {
        Self::Failed(cut(&failure.message))
    }
}

/// A plugin that is open.
pub struct Trial {
    blueprint: Blueprint,
    description: Description,
    tables: Patterns,
    /// `None` after a call that ended it.
    instance: Option<Instance>,
    used: Used,
}

/// What an instance had used when its last call ended.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    memory_bytes: usize,
    burnt: Option<u64>,
    ran: Duration,
}

impl Used {
    fn by(instance: &Instance) -> Self {
        Self { memory_bytes: instance.memory_bytes(), burnt: instance.burnt(), ran: instance.ran() }
    }
}

impl Runtime {
    /// Opens a component as a stage would.
    ///
    /// # Errors
    ///
    /// See [`TrialError`].
    pub async fn trial(self: &Arc<Self>, component: &[u8], spec: TrialSpec) -> Result<Trial, TrialError> {
        let grants = Grants::parse(&spec.grants).map_err(TrialError::Config)?;
        let limits = check_limits(spec.limits).map_err(TrialError::Config)?;
        let (runtime, bytes) = (self.clone(), component.to_vec());
        let loaded = off_thread(move || runtime.load(None, &bytes)).await?;
        check(&loaded, grants, loaded.kind).map_err(TrialError::Config)?;
        let mut voice = Voice::new("trial", "trial", "trial", "trial", free_lines(limits)).without_metrics();
        if let Some(transcript) = spec.transcript {
            voice = voice.into_transcript(transcript);
        }
        let config = if spec.config.is_null() { "{}".to_owned() } else { spec.config.to_string() };
        let blueprint = Blueprint {
            runtime: self.clone(),
            loaded,
            who: "trial".to_owned(),
            grants,
            _seat: None,
            _kept: None,
            usage: Usage::nobodys(),
            limits: Limits::new(limits),
            voice: Arc::new(voice),
            config,
        };
        let description = blueprint.describe().await.map_err(LoadError::NotAPlugin)?;
        let tables = Patterns::parse(&description.tables).map_err(|pattern| {
            LoadError::NotAPlugin(format!("its table pattern {:?} is none", cut(&pattern)))
        })?;
        let mut instance = blueprint.instantiate().await?;
        // The plugin's own words first: they are the same where it runs natively, which knows no schema.
        instance.open(&blueprint.config).await??;
        schema::check(&description.config_schema, &spec.config).await.map_err(|misfit| match misfit {
            Misfit::Schema(text) => {
                LoadError::NotAPlugin(format!("its configuration's schema is none: {}", cut(&text))).into()
            }
            Misfit::Config(problems) => TrialError::Config(problems),
        })?;
        let used = Used::by(&instance);
        Ok(Trial { blueprint, description, tables, instance: Some(instance), used })
    }
}

impl Trial {
    /// What it does.
    pub fn kind(&self) -> PluginKind {
        self.blueprint.loaded.kind
    }

    /// What it says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The memory that the instance holds, bytes: the most that it ever needed, up to the call that ended it.
    pub fn memory_bytes(&self) -> usize {
        self.used.memory_bytes
    }

    /// The fuel that the instance has burnt, up to the call that ended it; `None` where the runtime does not meter.
    pub fn burnt(&self) -> Option<u64> {
        self.used.burnt
    }

    /// How long the guest itself ran in the last call.
    pub fn ran(&self) -> Duration {
        self.used.ran
    }

    /// Puts among what it said that lines were left out, where no line came after them that would say so.
    pub(crate) fn tell_left_out(&self) {
        self.blueprint.voice.tell_left_out();
    }

    async fn take(&mut self) -> Result<Instance, TrialError> {
        if let Some(instance) = self.instance.take() {
            return Ok(instance);
        }
        let mut instance = self.blueprint.instantiate().await?;
        instance.open(&self.blueprint.config).await??;
        Ok(instance)
    }

    /// Shows a processor some rows; answers its edits.
    ///
    /// # Errors
    ///
    /// See [`TrialError`]. The next call gets a new instance where this one is at its end.
    pub async fn process(&mut self, view: &View) -> Result<Overlay, TrialError> {
        let view = narrow(&self.tables, view);
        if view.is_empty() {
            return Ok(Overlay::new());
        }
        let mut instance = self.take().await?;
        let (answer, edits) = instance.process(view, Overlay::new()).await;
        self.used = Used::by(&instance);
        let answer = answer?;
        self.instance = Some(instance);
        answer?;
        Ok(edits)
    }

    /// Has a formatter make bodies.
    ///
    /// # Errors
    ///
    /// As [`Trial::process`].
    pub async fn format(&mut self, view: &View, tx_end: &[bool]) -> Result<Bodies, TrialError> {
        let mut bodies = Bodies::default();
        if view.is_empty() {
            return Ok(bodies);
        }
        let mut instance = self.take().await?;
        let answer = instance.format(view.clone(), tx_end, &mut bodies).await;
        self.used = Used::by(&instance);
        let answer = answer?;
        if answer.is_ok() {
            judge("the plugin", &instance.content_type().await?, 0, &mut bodies);
        }
        self.instance = Some(instance);
        answer?;
        Ok(bodies)
    }
}
