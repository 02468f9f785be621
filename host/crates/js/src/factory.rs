//! Makes script stages.

use std::num::NonZeroU64;
use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::error::{ConfigError, parse};
use deltaforge_engine::lines::StageLines;
use deltaforge_engine::stage::{
    Limit, Stage, StageCode, StageError, StageFactory, StageLimits, StageSpec, StageVersion,
};
use deltaforge_engine::tenants::{Seat, Seated, TenantLimits, Tenants};
use sha2::{Digest, Sha256};

use crate::console::Owner;
use crate::script::{ScriptError, Task};
use crate::stage::{LOAD, NotReady, ScriptStage, ended, patience};
use crate::worker::{Kind, Workshop};

/// The block of a `type: javascript` processor, besides what all processors have.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JavascriptConfig {
    /// The script: defines `function processBatch(events)`, or is a function `(event) => …`.
    pub inline: String,
}

/// Limits where a block sets none: 50 ms of CPU and 500 ms of wall time a slice, 128 MiB of heap, 50 lines a second.
pub const DEFAULT_LIMITS: StageLimits = StageLimits {
    cpu_ms: 50,
    timeout_ms: 500,
    mem_mb: 128,
    log_lines_per_second: 50,
    ..StageLimits::DEFAULT
};

/// Least memory an engine starts with; below it not even the prelude runs.
const MIN_MEM_MB: u64 = 8;
/// Longest script taken, in bytes.
const MAX_SCRIPT: usize = 1 << 20;

/// Builds `type: javascript` stages. One for a host: its stages share the watchdog and the idle engines.
#[derive(Debug, Clone)]
pub struct Javascript {
    workshop: Arc<Workshop>,
}

impl Default for Javascript {
    /// For tenants that may have anything.
    fn default() -> Self {
        Self::new(Tenants::new(TenantLimits::default(), usize::MAX))
    }
}

impl Javascript {
    /// How many script engines were started so far: each costs 25 ms, and some memory for good.
    pub fn engines_started(&self) -> usize {
        self.workshop.started()
    }

    /// Under the bounds of a host's tenants.
    pub fn new(tenants: Arc<Tenants>) -> Self {
        Self { workshop: Arc::new(Workshop::new(tenants)) }
    }

    fn check(&self, spec: &StageSpec) -> Result<(Arc<str>, StageLimits), Vec<ConfigError>> {
        let config: JavascriptConfig = parse(&spec.config)?;
        let mut problems = Vec::new();
        let asked = spec.limits.unwrap_or(DEFAULT_LIMITS);
        let bounded = self.workshop.tenants().stage_limits(&spec.tenant, asked, DEFAULT_LIMITS);
        let limits = bounded.unwrap_or_else(|reached| {
            problems.extend(reached.into_iter().map(|reached| reached.in_block("limits")));
            asked
        });
        if config.inline.trim().is_empty() {
            problems
                .push(ConfigError::new("inline", "is empty; it must define function processBatch(events)"));
        }
        if config.inline.len() > MAX_SCRIPT {
            problems.push(ConfigError::new("inline", format!("is longer than {MAX_SCRIPT} bytes")));
        }
        for (path, value) in [
            ("limits.cpu_ms", limits.cpu_ms),
            ("limits.timeout_ms", limits.timeout_ms),
            ("limits.log_lines_per_second", limits.log_lines_per_second),
        ] {
            if NonZeroU64::new(value).is_none() {
                problems.push(ConfigError::new(path, "must be at least 1"));
            }
        }
        if limits.mem_mb < MIN_MEM_MB {
            problems.push(ConfigError::new("limits.mem_mb", format!("must be at least {MIN_MEM_MB}")));
        }
        if problems.is_empty() { Ok((config.inline.into(), limits)) } else { Err(problems) }
    }

    /// Checks that a stage could be seated if there were no other one.
    fn could_seat(&self, spec: &StageSpec, limits: &StageLimits) -> Result<(), Vec<ConfigError>> {
        let seated = self.workshop.tenants().could_seat(&spec.tenant, limits.mem_mb);
        seated.map_err(|reached| vec![reached.in_block("limits")])
    }

    /// Checks a stage as far as its script need not be run for it: it could be seated alone, and it compiles, whatever it does
    /// then.
    ///
    /// # Errors
    ///
    /// Every problem found.
    pub async fn compile(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        let (source, limits) = self.check(spec)?;
        self.could_seat(spec, &limits)?;
        self.compiled(source).await.map_err(|error| vec![problem(&error)])
    }

    async fn compiled(&self, source: Arc<str>) -> Result<(), ScriptError> {
        // Nothing of the script is left in the engine, which so is nobody's.
        let kind = Kind { tenant: String::new(), mem_mb: DEFAULT_LIMITS.mem_mb };
        let worker = self.workshop.worker(&kind).await?;
        match tokio::time::timeout(patience(&LOAD), worker.compile(source, LOAD)).await {
            Ok(Ok(compiled @ (Ok(()) | Err(ScriptError::Thrown { .. })))) => {
                self.workshop.keep(worker);
                compiled
            }
            Ok(Ok(failed)) => failed,
            Ok(Err(_)) => Err(ended()),
            Err(_) => {
                worker.abandon(&self.workshop);
                Err(ScriptError::Stuck { limit: Task::Load.time(Limit::TimeoutMs, &LOAD) })
            }
        }
    }

    async fn start(
        &self,
        spec: &StageSpec,
        source: Arc<str>,
        limits: StageLimits,
        seat: Option<Seated>,
    ) -> Result<ScriptStage, NotReady> {
        let tenants = self.workshop.tenants().clone();
        let lines = StageLines::new(&limits, spec.tenant.as_str(), tenants);
        let owner = Owner {
            tenant: spec.tenant.clone(),
            pipeline: spec.pipeline.clone(),
            stage: spec.id.clone(),
            lines: Some(Arc::new(lines)),
        };
        ScriptStage::start(self.workshop.clone(), owner, source, limits, seat).await
    }
}

/// What is wrong with a script, and where in its text.
fn problem(error: &ScriptError) -> ConfigError {
    let problem = ConfigError::new("inline", error.to_string());
    match error.place() {
        Some(place) => problem.at_line(place.line, place.column),
        None => problem,
    }
}

/// SHA-256 of a script's text, hex.
pub fn digest(inline: &str) -> String {
    hex::encode(Sha256::digest(inline.as_bytes()))
}

#[async_trait]
impl StageFactory for Javascript {
    fn handles(&self, code: &StageCode) -> bool {
        matches!(code, StageCode::Builtin(name) if name == "javascript")
    }

    /// Loads the script for a moment, so that its definitions run but no event is shown to it. It takes no seat of its
    /// tenant's.
    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        let (source, limits) = self.check(spec)?;
        self.could_seat(spec, &limits)?;
        match self.start(spec, source, limits, None).await {
            Ok(_) => Ok(()),
            Err(NotReady::Script(error)) => Err(vec![problem(&error)]),
            Err(error) => Err(vec![ConfigError::new("inline", error.to_string())]),
        }
    }

    async fn build(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        let (source, limits) = self.check(spec).map_err(|problems| {
            let problems: Vec<String> =
                problems.iter().map(|problem| format!("{} {}", problem.path, problem.message)).collect();
            StageError::stop("script_error", format!("processor {}: {}", spec.id, problems.join("; ")))
        })?;
        let found = self::digest(&source);
        if let Some(StageVersion { digest: wanted, .. }) = recorded
            && *wanted != found
        {
            return Err(StageError::stop(
                "script_version",
                format!(
                    "processor {}: script {wanted} is wanted, the configuration has {found}; \
                     put the earlier text back, or delete the pipeline's record of it",
                    spec.id
                ),
            ));
        }
        let seat = Seat { pipeline: spec.pipeline.clone(), stage: spec.id.clone() };
        let seat = self.workshop.tenants().seat(&spec.tenant, seat, limits.mem_mb).map_err(NotReady::from);
        let started = match seat {
            Ok(seat) => self.start(spec, source, limits, Some(seat)).await,
            Err(reached) => Err(reached),
        };
        let stage = started.map_err(|error| {
            let mut error = StageError::from(error);
            error.message = format!("processor {}: {}", spec.id, error.message);
            error
        })?;
        Ok((Box::new(stage), StageVersion { plugin: "inline".to_owned(), digest: found }))
    }
}
