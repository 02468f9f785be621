//! Plugins behind the engine's factories.

use std::sync::Arc;

use async_trait::async_trait;
use deltaforge_engine::catalog::PluginId;
use deltaforge_engine::error::ConfigError;
use deltaforge_engine::lines::StageLines;
use deltaforge_engine::message::{Formatter, FormatterFactory};
use deltaforge_engine::stage::{
    Stage, StageCode, StageError, StageFactory, StageLimits, StageSpec, StageVersion,
};
use deltaforge_engine::tenants::{LimitReached, Seat, TenantLimits, Tenants};
use deltaforge_engine::usage::Usage;
use deltaforge_model::pattern::Patterns;
use semver::Version;

use crate::error::{LOAD, cut};
use crate::formatter::WasmFormatter;
use crate::grants::Grants;
use crate::instance::{Blueprint, Instance};
use crate::limits::{self, DEFAULT_LIMITS, Limits};
use crate::mistakes;
use crate::plugin::{Description, PluginKind};
use crate::registry::{Registry, Resolved};
use crate::runtime::{Loaded, Runtime};
use crate::schema::{self, Misfit};
use crate::stage::WasmStage;
use crate::voice::Voice;

/// Most memory that `limits.mem_mb` may ask for: what 32-bit memories have.
const MAX_MEM_MB: u64 = 4096;
/// The built-in component that hides values.
const MASK: &str = "mask";

/// Makes [`WasmStage`]s.
#[derive(Clone)]
pub struct WasmStageFactory {
    workshop: Workshop,
}

/// Makes [`WasmFormatter`]s.
#[derive(Clone)]
pub struct WasmFormatterFactory {
    workshop: Workshop,
}

impl WasmStageFactory {
    /// A factory over a runtime and a registry.
    pub fn new(runtime: Arc<Runtime>, registry: Arc<Registry>) -> Self {
        Self { workshop: Workshop { runtime, registry, tenants: unbounded() } }
    }

    /// With the bounds of a host's tenants.
    #[must_use]
    pub fn with_tenants(mut self, tenants: Arc<Tenants>) -> Self {
        self.workshop.tenants = tenants;
        self
    }
}

impl WasmFormatterFactory {
    /// A factory over a runtime and a registry.
    pub fn new(runtime: Arc<Runtime>, registry: Arc<Registry>) -> Self {
        Self { workshop: Workshop { runtime, registry, tenants: unbounded() } }
    }

    /// With the bounds of a host's tenants.
    #[must_use]
    pub fn with_tenants(mut self, tenants: Arc<Tenants>) -> Self {
        self.workshop.tenants = tenants;
        self
    }
}

impl WasmStageFactory {
    /// Checks a stage as far as its plugin need not be run for it: it is there, it is a processor, its grants suffice, it
    /// could be seated alone, and the configuration fits what it said of itself when it was published.
    ///
    /// # Errors
    ///
    /// Every problem found.
    pub async fn look(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        self.workshop.look(spec, PluginKind::Processor).await.map_err(Problem::into_config)
    }
}

impl WasmFormatterFactory {
    /// The same for an envelope.
    ///
    /// # Errors
    ///
    /// Every problem found.
    pub async fn look(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        self.workshop.look(spec, PluginKind::Formatter).await.map_err(Problem::into_config)
    }
}

#[async_trait]
impl StageFactory for WasmStageFactory {
    fn handles(&self, code: &StageCode) -> bool {
        matches!(code, StageCode::Plugin(_))
    }

    fn hides(&self, code: &StageCode) -> bool {
        matches!(code, StageCode::Plugin(reference) if reference == MASK || reference.split_once('@').is_some_and(|(name, _)| name == MASK))
    }

    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        let ready = self.workshop.ready(spec, None, PluginKind::Processor, Aim::Check).await;
        ready.map(drop).map_err(Problem::into_config)
    }

    async fn build(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Stage>, StageVersion), StageError> {
        let ready = self.workshop.ready(spec, recorded, PluginKind::Processor, Aim::Work).await;
        let mut ready = ready.map_err(|problem| problem.into_stage(spec, PluginKind::Processor))?;
        let version = self.workshop.keep(ready.resolved, &mut ready.blueprint).await?;
        let tables = Patterns::parse(&ready.description.tables).unwrap_or_default(); // checked by `ready`
        Ok((Box::new(WasmStage::new(ready.blueprint, tables, ready.instance)), version))
    }
}

#[async_trait]
impl FormatterFactory for WasmFormatterFactory {
    fn handles(&self, code: &StageCode) -> bool {
        matches!(code, StageCode::Plugin(_))
    }

    async fn validate(&self, spec: &StageSpec) -> Result<(), Vec<ConfigError>> {
        self.workshop.formatter(spec, None, Aim::Check).await.map(drop).map_err(Problem::into_config)
    }

    async fn build(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
    ) -> Result<(Box<dyn Formatter>, StageVersion), StageError> {
        let ready = self.workshop.formatter(spec, recorded, Aim::Work).await;
        let (mut ready, content_type) =
            ready.map_err(|problem| problem.into_stage(spec, PluginKind::Formatter))?;
        let version = self.workshop.keep(ready.resolved, &mut ready.blueprint).await?;
        Ok((Box::new(WasmFormatter::new(ready.blueprint, content_type, ready.instance)), version))
    }
}

/// What both factories do.
#[derive(Clone)]
struct Workshop {
    runtime: Arc<Runtime>,
    registry: Arc<Registry>,
    tenants: Arc<Tenants>,
}

/// Tenants that may have anything.
pub(crate) fn unbounded() -> Arc<Tenants> {
    Tenants::new(TenantLimits::default(), 1)
}

/// What a plugin is made ready for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// To be looked at: it takes no seat of its tenant's, and is nobody's in the metrics.
    Check,
    /// To work in a pipeline.
    Work,
}

/// A plugin found, checked, described and opened.
struct Ready {
    resolved: Resolved,
    blueprint: Blueprint,
    description: Description,
    instance: Instance,
}

/// A plugin and where it runs, for messages.
fn who(plugin: &str, spec: &StageSpec, kind: PluginKind) -> String {
    match kind {
        PluginKind::Processor => format!("plugin {plugin} of stage {}", spec.id),
        PluginKind::Formatter => {
            format!("plugin {plugin} of sink {}", spec.id.strip_suffix(".envelope").unwrap_or(&spec.id))
        }
    }
}

/// What a plugin's metrics are named after: its own name, and before that its tenant, where it is one's own. Another tenant's plugin of
/// that name has others.
fn metrics_name<'a>(plugin: &'a str, id: &'a str) -> String {
    let name = Some(name_in(plugin)).filter(|name| !name.is_empty()).unwrap_or(id);
    match plugin.strip_prefix('@').and_then(|own| own.split_once('/')) {
        Some((tenant, _)) => format!("{tenant}/{name}"),
        None => name.to_owned(),
    }
}

/// A plugin's own name, without its tenant, folder, version or file's ending.
fn name_in(plugin: &str) -> &str {
    let name = plugin.rsplit('/').next().unwrap_or(plugin);
    name.split('@').next().unwrap_or(name).trim_end_matches(".wasm")
}

/// What keeps a stage from being built.
enum Problem {
    Config(Vec<ConfigError>),
    /// Not the configuration's fault.
    Stage(StageError),
}

impl From<Misfit> for Problem {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Schema(text) => {
                Self::at("plugin", format!("its configuration's schema is none: {}", cut(&text)))
            }
            Misfit::Config(problems) => Self::Config(problems),
        }
    }
}

impl Problem {
    fn at(path: &str, message: impl Into<String>) -> Self {
        Self::Config(vec![ConfigError::new(path, message)])
    }

    /// A tenant's or the host's limit; no other try mends that by itself.
    fn reached(path: &str, reached: LimitReached) -> Self {
        Self::Config(vec![reached.in_block(path)])
    }

    fn into_config(self) -> Vec<ConfigError> {
        match self {
            Self::Config(problems) => problems,
            Self::Stage(error) => vec![ConfigError::new("plugin", error.message)],
        }
    }

    fn into_stage(self, spec: &StageSpec, kind: PluginKind) -> StageError {
        match self {
            Self::Stage(error) => error,
            Self::Config(problems) => {
                let text: Vec<String> = problems
                    .into_iter()
                    .map(|ConfigError { path, message, .. }| format!("{path}: {message}"))
                    .collect();
                StageError::stop(LOAD, format!("{}: {}", who(&spec.code.text(), spec, kind), text.join("; ")))
            }
        }
    }
}

impl Workshop {
    /// Finds a stage's plugin and makes the first instance of it: nothing that could be known before the first
    /// batch is left to find out.
    async fn ready(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
        kind: PluginKind,
        aim: Aim,
    ) -> Result<Ready, Problem> {
        let grants = Grants::parse(&spec.grants).map_err(Problem::Config)?;
        let asked = check_limits(spec.limits).map_err(Problem::Config)?;
        let bounded = self.tenants.stage_limits(&spec.tenant, asked, DEFAULT_LIMITS);
        let call = bounded.map_err(|reached| Problem::Config(limits::refused(reached)))?;
        let (resolved, loaded) = self.load(spec, recorded).await?;
        check(&loaded, grants, kind).map_err(Problem::Config)?;
        let name = metrics_name(&resolved.plugin, &spec.id);
        let stage = match kind {
            PluginKind::Processor => spec.id.clone(),
            PluginKind::Formatter => format!("sink/{}", spec.id),
        };
        let seat = match aim {
            Aim::Check => self.tenants.could_seat(&spec.tenant, call.mem_mb).map(|()| None),
            Aim::Work => {
                let seat = Seat { pipeline: spec.pipeline.clone(), stage };
                self.tenants.seat(&spec.tenant, seat, call.mem_mb).map(Some)
            }
        };
        let seat = seat.map_err(|reached| Problem::reached("plugin", reached))?;
        let lines = StageLines::new(&call, spec.tenant.as_str(), self.tenants.clone());
        let voice = Voice::new(&spec.pipeline, &spec.tenant, &spec.id, &name, lines);
        let (usage, voice) = match aim {
            Aim::Check => (Usage::nobodys(), voice.without_metrics()),
            Aim::Work => (Usage::of(&spec.tenant, &resolved.plugin), voice),
        };
        let blueprint = Blueprint {
            _seat: seat,
            _kept: None,
            runtime: self.runtime.clone(),
            loaded,
            who: who(&resolved.plugin, spec, kind),
            grants,
            limits: Limits::new(call),
            usage,
            voice: Arc::new(voice),
            config: if spec.config.is_null() { "{}".to_owned() } else { spec.config.to_string() },
        };
        let description = blueprint.describe().await.map_err(|text| Problem::at("plugin", text))?;
        if let Err(pattern) = Patterns::parse(&description.tables) {
            let text = format!("its table pattern {:?} is none", cut(&pattern));
            return Err(Problem::at("plugin", text));
        }
        schema::check(&description.config_schema, &spec.config).await?;
        let mut instance =
            blueprint.instantiate().await.map_err(|error| Problem::at("plugin", error.describe().1))?;
        match instance.open(&blueprint.config).await {
            Ok(Ok(())) => Ok(Ready { resolved, blueprint, description, instance }),
            Ok(Err(failure)) if failure.kind == "retry" => {
                Err(Problem::Stage(crate::error::failed(&blueprint.who, &failure.kind, &failure.message)))
            }
            Ok(Err(failure)) => {
                let first = ConfigError::told("config", &spec.config, &cut(&failure.message));
                Err(Problem::Config(match aim {
                    Aim::Check => mistakes::all(&blueprint, &spec.config, first).await,
                    Aim::Work => vec![first],
                }))
            }
            Err(error) => Err(Problem::at("config", format!("opening the plugin: {}", error.describe().1))),
        }
    }

    /// Checks a stage without running its plugin.
    async fn look(&self, spec: &StageSpec, kind: PluginKind) -> Result<(), Problem> {
        let grants = Grants::parse(&spec.grants).map_err(Problem::Config)?;
        let asked = check_limits(spec.limits).map_err(Problem::Config)?;
        let bounded = self.tenants.stage_limits(&spec.tenant, asked, DEFAULT_LIMITS);
        let call = bounded.map_err(|reached| Problem::Config(limits::refused(reached)))?;
        let (resolved, loaded) = self.load(spec, None).await?;
        check(&loaded, grants, kind).map_err(Problem::Config)?;
        let seat = self.tenants.could_seat(&spec.tenant, call.mem_mb);
        seat.map_err(|reached| Problem::reached("plugin", reached))?;
        let Ok(id) = resolved.plugin.parse::<PluginId>() else { return Ok(()) };
        let registry = self.registry.clone();
        let says = off_thread(move || {
            let version = Version::parse(&id.version).ok()?;
            let info = registry.version(id.tenant.as_deref(), &id.name, &version).ok()?;
            Some(info.manifest.config_schema)
        });
        Ok(schema::check(&says.await.unwrap_or_default(), &spec.config).await?)
    }

    /// A formatter, and what it makes.
    async fn formatter(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
        aim: Aim,
    ) -> Result<(Ready, String), Problem> {
        let mut ready = self.ready(spec, recorded, PluginKind::Formatter, aim).await?;
        let content_type = ready.instance.content_type().await.map_err(|error| {
            Problem::at("plugin", format!("asking for its content type: {}", error.describe().1))
        })?;
        if content_type.is_empty() || content_type.len() > 256 || content_type.chars().any(char::is_control) {
            return Err(Problem::at("plugin", format!("{:?} is no MIME type", cut(&content_type))));
        }
        Ok((ready, content_type))
    }

    /// Keeps the code of what was built, so that a replay finds it again; at least as long as it is at work.
    async fn keep(&self, resolved: Resolved, built: &mut Blueprint) -> Result<StageVersion, StageError> {
        let registry = self.registry.clone();
        let version = StageVersion { plugin: resolved.plugin.clone(), digest: resolved.digest.clone() };
        let kept = off_thread(move || registry.keep(&resolved)).await;
        let kept =
            kept.map_err(|error| StageError::stop(LOAD, format!("{}: {}", built.who, chain(&error))))?;
        built._kept = Some(kept);
        Ok(version)
    }

    async fn load(
        &self,
        spec: &StageSpec,
        recorded: Option<&StageVersion>,
    ) -> Result<(Resolved, Arc<Loaded>), Problem> {
        let StageCode::Plugin(reference) = &spec.code else {
            return Err(Problem::at("plugin", "it names no plugin"));
        };
        let (runtime, registry) = (self.runtime.clone(), self.registry.clone());
        let (reference, recorded) = (reference.clone(), recorded.cloned());
        let (tenant, base_dir) = (spec.tenant.clone(), spec.base_dir.clone());
        off_thread(move || {
            let resolved = match recorded {
                Some(version) => registry.recorded(&version),
                None => registry.resolve(&reference, &tenant, base_dir.as_deref()),
            };
            let resolved = resolved.map_err(|error| Problem::at("plugin", chain(&error)))?;
            let loaded = runtime
                .load(Some(&resolved.plugin), &resolved.bytes)
                .map_err(|error| Problem::at("plugin", format!("{}: {error}", resolved.plugin)))?;
            Ok((resolved, loaded))
        })
        .await
    }
}

pub(crate) fn check_limits(limits: Option<StageLimits>) -> Result<StageLimits, Vec<ConfigError>> {
    let limits = limits.unwrap_or(DEFAULT_LIMITS);
    let StageLimits { cpu_ms, timeout_ms, mem_mb, log_lines_per_second, .. } = limits;
    let mut problems = Vec::new();
    for (name, value) in [
        ("cpu_ms", cpu_ms),
        ("timeout_ms", timeout_ms),
        ("mem_mb", mem_mb),
        ("log_lines_per_second", log_lines_per_second),
    ] {
        if value == 0 {
            problems.push(ConfigError::new(format!("limits.{name}"), "it must be at least 1"));
        }
    }
    if mem_mb > MAX_MEM_MB {
        problems.push(ConfigError::new("limits.mem_mb", format!("it must be at most {MAX_MEM_MB}")));
    }
    if problems.is_empty() { Ok(limits) } else { Err(problems) }
}

/// Checks a component's world and imports.
pub(crate) fn check(loaded: &Loaded, grants: Grants, kind: PluginKind) -> Result<(), Vec<ConfigError>> {
    if loaded.kind != kind {
        let text = format!("it is a {}, and a {kind} is needed here", loaded.kind);
        return Err(vec![ConfigError::new("plugin", text)]);
    }
    let problems: Vec<ConfigError> = loaded
        .imports
        .iter()
        .filter_map(|import| grants.allow(import).err())
        .map(|problem| ConfigError::new("grants", problem))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Runs what reads files or compiles.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await, // the host is shutting down
        },
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::name_in;

    #[test]
    fn metrics_bear_the_plugins_own_name_whoever_it_belongs_to() {
        for plugin in ["mask@1.0.0", "@acme/mask@1.0.0", "./mask.wasm", "/opt/plugins/mask.wasm", "mask"] {
            assert_eq!(name_in(plugin), "mask", "{plugin}");
        }
    }
}
