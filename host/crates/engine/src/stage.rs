//! The boundary to what changes events: built-in processors, WebAssembly components, scripts.

use async_trait::async_trait;
use deltaforge_model::{Overlay, View};

mod limits;

pub use limits::{EditBudget, Limit, LimitName, Made, SetBy, StageLimits, TooMany};

/// One processor at work in one pipeline.
///
/// The engine calls it with slices of at most 500 events, in order, one call at a time. It shows only rows of
/// the tables the stage is for, and never heartbeats.
#[async_trait]
pub trait Stage: Send {
    /// Looks at the rows in view and writes what it changes into `edits`. Nothing is applied when this fails.
    ///
    /// After a failure the next call must find the stage fit to work: whoever holds an instance that trapped or
    /// ran out of time replaces it. Dropping the future leaves the stage in the same condition.
    ///
    /// # Errors
    ///
    /// [`StageError::action`] tells what to do with the slice.
    async fn process(&mut self, view: &View, edits: &mut Overlay) -> Result<(), StageError>;

    /// Whether some of these rows are any of its code's business: a plugin may say which tables it reads.
    fn wants(&self, _view: &View) -> bool {
        true
    }
}

/// What to do with a slice that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageAction {
    /// Call again later with the same slice: something outside is not available.
    Retry,
    /// The fault may lie with one row: run again, then halves, down to the rows that fail alone; `on_error`
    /// decides what becomes of those.
    Isolate,
    /// Stop the pipeline with this error.
    Stop,
}

/// A stage could not process a slice.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct StageError {
    /// What to do next.
    pub action: StageAction,
    /// A stable code with a page in docs/errors: `plugin_trap`, `plugin_deadline`, `script_error`, …
    pub code: &'static str,
    /// What went wrong. A guest's own words are cut to a bound and quoted.
    pub message: String,
}

impl StageError {
    /// An error that may be one row's fault.
    pub fn isolate(code: &'static str, message: impl Into<String>) -> Self {
        Self { action: StageAction::Isolate, code, message: message.into() }
    }

    /// An error that no other try mends.
    pub fn stop(code: &'static str, message: impl Into<String>) -> Self {
        Self { action: StageAction::Stop, code, message: message.into() }
    }

    /// An error that a later try may mend.
    pub fn retry(code: &'static str, message: impl Into<String>) -> Self {
        Self { action: StageAction::Retry, code, message: message.into() }
    }
}

/// What a stage is built from.
#[derive(Debug, Clone)]
pub struct StageSpec {
    /// Its id in the pipeline.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// The tenant.
    pub tenant: String,
    /// What runs.
    pub code: StageCode,
    /// Its own configuration: the block's remaining keys for built-ins, `config:` for plugins.
    pub config: serde_json::Value,
    /// Limits, where the block sets them.
    pub limits: Option<StageLimits>,
    /// Granted imports by name (`log`, `metrics`, `clock`).
    pub grants: Vec<String>,
    /// The folder that `./x.wasm` is relative to.
    pub base_dir: Option<std::path::PathBuf>,
}

/// What runs in a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageCode {
    /// A built-in, linked natively: `filter`, `mask`, `javascript`.
    Builtin(String),
    /// A plugin reference: `name`, `name@1`, `name@1.2.3`, `@tenant/name@1`, `./path.wasm`.
    Plugin(String),
}

impl StageCode {
    /// It as one text: a reference, or `builtin:` and a name.
    pub fn text(&self) -> String {
        match self {
            Self::Builtin(name) => format!("builtin:{name}"),
            Self::Plugin(reference) => reference.clone(),
        }
    }

    /// What [`StageCode::text`] named.
    pub fn of_text(text: &str) -> Self {
        match text.strip_prefix("builtin:") {
            Some(name) => Self::Builtin(name.to_owned()),
            None => Self::Plugin(text.to_owned()),
        }
    }

    /// What runs and its configuration as a block of a pipeline's document.
    pub fn block(&self, config: &serde_json::Value) -> serde_json::Value {
        match self {
            Self::Plugin(reference) => serde_json::json!({ "plugin": reference, "config": config }),
            Self::Builtin(kind) => {
                let mut block = config.clone();
                if let Some(block) = block.as_object_mut() {
                    block.insert("type".to_owned(), kind.as_str().into());
                }
                block
            }
        }
    }
}

/// What was really built: the reference resolved to bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct StageVersion {
    /// `name@1.2.3`, `./x.wasm`, `builtin:filter` or `inline`.
    pub plugin: String,
    /// SHA-256 of the code, hex.
    pub digest: String,
}

/// Makes stages.
#[async_trait]
pub trait StageFactory: Send + Sync + 'static {
    /// Whether this factory builds such code.
    fn handles(&self, code: &StageCode) -> bool;
    /// Whether such code is there to hide values, so that rows that leave by another door than the sinks pass it too.
    fn hides(&self, _code: &StageCode) -> bool {
        false
    }
    /// Checks a spec as far as possible without running it: the reference resolves, the component has the right
    /// world, the script compiles, the configuration fits.
    ///
    /// # Errors
    ///
    /// Every problem found.
    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<crate::error::ConfigError>>;
    /// Builds a stage ready for its first slice. `recorded` asks for exactly that code, under the name it ran by: the
    /// version a position was processed with must be found again whatever `name@1` means by now.
    ///
    /// # Errors
    ///
    /// When it cannot be built; the message names the stage.
    async fn build(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError>;
}
